//! The real AWS behind [`LogsApi`](crate::LogsApi): a [`Session`] holds one account's credentials, a [`Client`] asks one
//! region with them.
//!
//! CloudWatch Logs and STS are asked through their SDK crates. EC2's and CloudWatch's are larger than everything else
//! together, and one operation of each is wanted: those two are signed requests of our own (`query`, `replies`).
//!
//! Nothing here is ever sent twice: the SDK's retries are off, so that the caller sees every refusal and one budget
//! holds for all calls.

mod client;
mod credentials;
mod endpoint;
mod fault;
mod http;
mod query;
mod replies;
mod session;
mod signer;

pub use client::Client;
pub use credentials::Role;
pub use session::{Session, SessionSettings, is_endpoint};
pub use signer::{Signed, Signer, Unsigned};
