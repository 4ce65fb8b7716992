//! A simulated CloudWatch Logs, for what moto does not do: pages of 1 MB or 10,000 events, empty pages with tokens,
//! events that become visible late, tokens that expire, throttling by requests a second, ids in AWS's real layout.
//!
//! [`SimulatedLogs`] is plain synchronous Rust over a time that the caller says, so a million events pass in seconds;
//! [`SimulatedApi`] is the same as flowstone's [`LogsApi`](flowstone_aws::LogsApi), and [`SimulatedServer`] the same
//! over HTTP, for AWS's SDK and the whole program. [`FlowTraffic`] makes events as late as VPC Flow Logs are.

mod api;
mod events;
mod http;
mod service;
mod traffic;

pub use api::SimulatedApi;
pub use events::{MadeEvents, MakeBlock, SimulatedEvent};
pub use http::{Clock, Fault, ServerOptions, SimulatedServer};
pub use service::{Behaviour, Calls, Maze, MazeKind, SimulatedLogs};
pub use traffic::{FlowTraffic, flow_line};
