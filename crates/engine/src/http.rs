//! The HTTP endpoint: `/metrics` for Prometheus, `/healthz` (the process lives), `/readyz` (it does its work).

use std::convert::Infallible;
use std::net::SocketAddr;

use flowstone_core::{Health, Metrics};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;

/// A running endpoint; ends when dropped.
pub(crate) struct Endpoint {
    /// Where it was to listen.
    pub(crate) asked: SocketAddr,
    /// Where it does: the same, but for port 0.
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
}

/// More connections than any scraper needs; the next one waits.
const MAX_CONNECTIONS: usize = 32;

// === impl Endpoint ===

impl Endpoint {
    /// Listens on `address`; port 0 takes a free one.
    pub(crate) async fn start(
        address: SocketAddr,
        metrics: Metrics,
        health: Health,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let server = tokio::spawn(serve(listener, metrics, health));
        Ok(Self { asked: address, address: bound, server })
    }

    /// Waits until it serves no more, which only a bug makes happen. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        (&mut self.server).await.ok();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, metrics: Metrics, health: Health) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, say: it passes, and a busy loop would not help.
                    debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (metrics, health) = (metrics.clone(), health.clone());
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let response = respond(&request, &metrics, &health);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                debug!(%error, "a connection ended early");
            }
        });
    }
}

fn respond(request: &Request<Incoming>, metrics: &Metrics, health: &Health) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render()),
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match health.problems() {
            problems if problems.is_empty() => (StatusCode::OK, TEXT, "ready\n".to_owned()),
            problems => (StatusCode::SERVICE_UNAVAILABLE, TEXT, problems.join("\n") + "\n"),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, "/metrics, /healthz or /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
