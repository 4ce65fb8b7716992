//! Tools for flowstone's own tests. Nothing here is part of the program.
//!
//! - [`servers`]: real Elasticsearch and OpenSearch nodes, to start, kill and restart.
//! - [`batches`]: batches of lines, as sources make them.
//! - [`cases`]: cases recorded from Logstash's own code, run through a transform.
//! - [`chaos`]: a proxy in front of such a node, for what a real node will not do when asked.
//! - [`cloudwatch`]: a simulated CloudWatch Logs on a virtual clock.
//! - [`moto`]: what is put into moto, which stands for AWS.
//! - [`sinks`]: a sink, built from its options and driven without the engine.
//! - [`mmdb`]: MaxMind databases made for a test.
//! - [`http`]: a scriptable HTTP server with recorded requests, and a small blocking client.
#![forbid(unsafe_code)]

pub mod batches;
pub mod cases;
pub mod chaos;
pub mod cloudwatch;
pub mod http;
pub mod mmdb;
pub mod moto;
pub mod servers;
pub mod sinks;
