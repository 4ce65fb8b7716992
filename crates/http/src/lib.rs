//! The HTTP server of what flowstone serves: an address is bound first and served later, from a thread of its own.
//! It knows no component and no metric.
//!
//! Whatever clients do, the paths of [`Routes::first`] are answered. Connections, time and sizes are bounded by
//! [`Limits`]; when there are too many connections, the one that has waited longest for its client makes room, of the
//! peer that has the most. Where none waits, the newest gets these paths and 503 for all others.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod activity;
mod body;
mod connection;
mod listener;
mod routes;
mod table;

use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};

pub use body::{BodyError, RequestBody};
pub use hyper::body::Bytes;
pub use hyper::{Method, StatusCode, header};
pub use listener::{Listener, Server};
pub use routes::Routes;

/// A request, its body not read yet.
pub type Request = hyper::Request<RequestBody>;
/// A response; its body may be a stream.
pub type Response = hyper::Response<Body>;
/// The body of a response. One that ends in an error ends the connection, so that no client takes it for whole.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What clients may take of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address; of IPv6 from one network of 64 bits, which is what one host is given.
    pub connections_per_peer: usize,
    /// Requests on one connection; the last one's response says that it is closed.
    pub requests_per_connection: usize,
    /// The size of a request's head; at least 8 KiB are taken into memory.
    pub header_bytes: usize,
    /// The size of a request's body; a handler may lower it for itself.
    pub body_bytes: u64,
    /// From the first byte of a request's head to its last.
    pub header_time: Duration,
    /// From the head of a request to the last byte of its body.
    pub body_time: Duration,
    /// How long the client may take no byte of a response.
    pub write_time: Duration,
    /// How long a connection may be open without a request.
    pub idle_time: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            connections_per_peer: 32,
            requests_per_connection: 1000,
            header_bytes: 16 << 10,
            body_bytes: 1 << 20,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(10),
            // Longer than a scraper's usual interval of 15 s to 60 s.
            idle_time: Duration::from_secs(75),
        }
    }
}

/// A response of one text, as `text/plain` in UTF-8; [`header`] has the names for what differs.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
