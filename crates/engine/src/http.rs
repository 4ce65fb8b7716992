//! The HTTP endpoint: `/metrics` for Prometheus, `/healthz` (the process lives), `/readyz` (it does its work).

use std::future::ready;

use flowstone_core::{Health, Metrics};
use flowstone_http::header::{CONTENT_TYPE, HeaderValue};
use flowstone_http::{Response, Routes, StatusCode, text};

/// What the endpoint answers.
pub(crate) fn routes(metrics: Metrics, health: Health) -> Routes {
    Routes::new()
        .get("/healthz", |_| ready(text(StatusCode::OK, "ok\n")))
        .get("/readyz", move |_| ready(readiness(&health)))
        .get("/metrics", move |_| ready(rendering(&metrics)))
}

fn readiness(health: &Health) -> Response {
    match health.problems() {
        problems if problems.is_empty() => text(StatusCode::OK, "ready\n"),
        problems => text(StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n"),
    }
}

fn rendering(metrics: &Metrics) -> Response {
    let mut response = text(StatusCode::OK, metrics.render());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
