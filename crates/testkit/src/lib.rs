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
pub mod sigv4;
pub mod sinks;

/// The environment variables that lead AWS's SDKs and command line to a server of a test, and keep them from everything
/// else.
fn aws_environment(url: &str, region: &str, access_key: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_ACCESS_KEY_ID", access_key.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "simulated".to_owned()),
        ("AWS_REGION", region.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
    ]
}
