//! What flowstone's plugins need to talk to AWS: the few API operations they use as a trait over plain types
//! ([`LogsApi`]), errors that say what is missing and what to do ([`ApiError`]), CloudWatch's event ids
//! ([`EventKey`]), ARNs, and a rate governor ([`Governors`]).
//!
//! Everything here is plain Rust without a socket, so that a simulated service and a real one look alike to a
//! plugin. The real one is the module `sdk`, behind the feature of that name.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod api;
mod arn;
mod error;
mod event_id;
mod governor;
#[cfg(feature = "sdk")]
pub mod sdk;

pub use api::{
    FilterPage, FilterRequest, FlowLog, GroupsPage, GroupsRequest, LogEvent, LogGroup, LogsApi, MinuteCount,
    StreamFilter,
};
pub use arn::{Arn, LogGroupName};
pub use error::{ApiError, ErrorKind, Operation};
pub use event_id::EventKey;
pub use governor::{Governor, Governors, quota_per_second};
