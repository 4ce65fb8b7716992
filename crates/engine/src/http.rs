//! The HTTP endpoint: `/metrics` for Prometheus, `/healthz` (the process lives), `/readyz` (it does its work).

use std::future::ready;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flowstone_core::{Health, Metrics};
use flowstone_http::header::{CONTENT_TYPE, HeaderValue};
use flowstone_http::{Bytes, Response, Routes, StatusCode, text};

/// How old a rendering of the metrics may be: however many ask, it is made at most so often.
const RENDERED_FOR: Duration = Duration::from_millis(50);

/// What the endpoint answers.
pub(crate) fn routes(metrics: Metrics, health: Health) -> Routes {
    let rendering = Rendering { metrics, last: Mutex::new(None) };
    Routes::new()
        .first("/healthz", |_| ready(text(StatusCode::OK, "ok\n")))
        .get("/readyz", move |_| ready(readiness(&health)))
        .get("/metrics", move |_| ready(rendering.response()))
}

/// The metrics as text, shared by those who ask in the same moment.
struct Rendering {
    metrics: Metrics,
    last: Mutex<Option<(Instant, Bytes)>>,
}

// === impl Rendering ===

impl Rendering {
    fn response(&self) -> Response {
        let mut response = text(StatusCode::OK, self.text());
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    fn text(&self) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, text)) if at.elapsed() < RENDERED_FOR => text.clone(),
            _ => {
                let text = Bytes::from(self.metrics.render());
                *last = Some((Instant::now(), text.clone()));
                text
            }
        }
    }
}

fn readiness(health: &Health) -> Response {
    match health.problems() {
        problems if problems.is_empty() => text(StatusCode::OK, "ready\n"),
        problems => text(StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_ask_the_metrics_are_rendered_once_in_a_while() {
        let rendering = Rendering { metrics: Metrics::new(), last: Mutex::new(None) };
        let begun = Instant::now();
        let texts: Vec<Bytes> = (0..1000).map(|_| rendering.text()).collect();
        let renderings = 1 + texts.windows(2).filter(|pair| pair[0].as_ptr() != pair[1].as_ptr()).count();
        let most = 1 + (begun.elapsed().as_millis() / RENDERED_FOR.as_millis()) as usize;
        assert!(renderings <= most, "{renderings} renderings, at most {most}");
        std::thread::sleep(RENDERED_FOR);
        assert_ne!(rendering.text().as_ptr(), texts[999].as_ptr(), "it does not get old");
    }
}
