//! The body of a request, which must be as small and as quick as the server's limits say.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::{Bytes, Response, StatusCode, text};

/// A request's body as it comes in. A handler that does not read it costs its client the connection at most.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    limit: u64,
    taken: u64,
    end: Pin<Box<Sleep>>,
}

/// Why a request's body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than this.
    TooLarge(u64),
    /// The client did not send it in time.
    TooSlow,
    /// The connection broke.
    Broken(hyper::Error),
}

// === impl RequestBody ===

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: u64, time: Duration) -> Self {
        Self { incoming, limit, taken: 0, end: Box::pin(sleep(time)) }
    }

    /// Takes at most this many bytes from now on, where the server would take more.
    pub fn limit(&mut self, bytes: u64) {
        self.limit = self.limit.min(bytes);
    }

    /// Whether its client has said that it is larger than may be.
    pub(crate) fn is_too_large(&self) -> bool {
        self.incoming.size_hint().lower() > self.limit
    }

    /// All of it.
    pub async fn read(self) -> Result<Bytes, BodyError> {
        if self.is_too_large() {
            return Err(BodyError::TooLarge(self.limit));
        }
        Ok(self.collect().await?.to_bytes())
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.end.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyError::TooSlow)));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                self.taken += frame.data_ref().map_or(0, |data| data.len() as u64);
                Some(if self.taken > self.limit { Err(BodyError::TooLarge(self.limit)) } else { Ok(frame) })
            }
            Some(Err(error)) => Some(Err(BodyError::Broken(error))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

// === impl BodyError ===

impl BodyError {
    /// What the client is answered.
    pub fn response(&self) -> Response {
        let status = match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        };
        text(status, format!("{self}\n"))
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "the body of the request is larger than {limit} bytes"),
            Self::TooSlow => f.write_str("the body of the request did not come in time"),
            Self::Broken(error) => write!(f, "the body of the request cannot be read: {error}"),
        }
    }
}

impl Error for BodyError {}
