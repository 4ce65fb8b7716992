//! HTTP/1.1 for tests: a scriptable server ([`FakeServer`]), the messages it records and sends, and a small
//! blocking [`Client`].
//!
//! Own code, and not hyper, because tests ask for what a correct library refuses to do: a reply cut in its
//! middle, a connection closed instead of an answer, the bytes of a message exactly as they came.

mod client;
mod fake;
mod message;
mod wire;

pub use client::{Client, Response};
pub use fake::FakeServer;
pub use message::{Headers, Reply, Request};

pub(crate) use message::{Ending, plain};
pub(crate) use wire::{Background, Message, Wire, send};
