//! One connection: its requests one after the other, each answered within the limits.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::{debug, error};

use crate::activity::{Activity, Watched, WorkingBody};
use crate::{BodyError, Limits, RequestBody, Response, Routes, StatusCode, text};

/// Less is not possible with hyper.
const LEAST_BUFFER: usize = 8 << 10;

/// How a connection is served.
pub(crate) struct Terms {
    pub(crate) routes: Arc<Routes>,
    pub(crate) limits: Limits,
    pub(crate) activity: Arc<Activity>,
    /// There is no room: one request is answered, and only if its path goes first.
    pub(crate) crowded: bool,
    /// Changes when the server ends: the request under way is the last one.
    pub(crate) ending: watch::Receiver<()>,
}

// === impl Terms ===

impl Terms {
    /// Serves a connection to its end. TLS, if there is any, lies below `stream`.
    pub(crate) async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut ending = self.ending.clone();
        let limits = self.limits;
        let stream = Watched::new(stream, limits, Arc::clone(&self.activity));
        let terms = Arc::new(self);
        let answer = service_fn(move |request| {
            let terms = Arc::clone(&terms);
            async move { Ok::<_, Infallible>(terms.answer(request).await) }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper's time for a head begins with the waiting for it.
            .header_read_timeout(limits.idle_time)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(LEAST_BUFFER))
            .serve_connection(TokioIo::new(stream), answer);
        let mut serving = pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            _ = ending.changed() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            debug!(%error, "a connection ended early");
        }
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<WorkingBody> {
        let (working, requests) = self.activity.begin();
        let request =
            request.map(|body| RequestBody::new(body, self.limits.body_bytes, self.limits.body_time));
        let path = request.uri().path().to_owned();
        let too_large = request.body().is_too_large();
        let mut response = if self.crowded && !self.routes.goes_first(&path) {
            let mut busy = text(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n");
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            busy
        } else if too_large {
            BodyError::TooLarge(self.limits.body_bytes).response()
        } else {
            // A handler's panic is one response's, not the server's.
            AssertUnwindSafe(self.routes.answer(request)).catch_unwind().await.unwrap_or_else(|_| {
                error!(path, "a handler of the HTTP server panicked");
                text(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug of flowstone\n")
            })
        };
        if self.crowded || too_large || requests >= self.limits.requests_per_connection {
            close_behind(&mut response);
        }
        response.map(|body| working.with(body))
    }
}

fn close_behind(response: &mut Response) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}
