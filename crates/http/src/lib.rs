//! The HTTP server of what flowstone serves: an address is bound first and served later, from a thread of its own.
//! It knows no component and no metric.

mod listener;
mod routes;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};

pub use hyper::body::Bytes;
pub use hyper::{Method, StatusCode, header};
pub use listener::{Listener, Server};
pub use routes::Routes;

/// A request, its body not read yet.
pub type Request = hyper::Request<Incoming>;
/// A response; its body may be a stream.
pub type Response = hyper::Response<Body>;
/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A response of one text, as `text/plain` in UTF-8; [`header`] has the names for what differs.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
