//! flowstone sink that writes events to Elasticsearch 6 to 9 and OpenSearch: bulk requests with deterministic ids, a
//! built-in index template, and a verdict on every row that tells a full disk from a document that does not fit.
//!
//! - [`options`](ElasticsearchOptions): what a user can set; `check`: what is wrong with it.
//! - `action`: rows become lines of a bulk request, on CPU threads.
//! - `client`, `hosts`: one request to one of the servers. `auth`, `signing`, `tls`: who
//!   we are, and who they are. `asking`, `server`, `template`, `mapping`, `lifecycle`:
//!   what is said at start.
//! - `verdict`, `operator`: what a reply means, and what to do about it.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod action;
mod asking;
mod auth;
mod check;
mod chunks;
mod client;
mod hosts;
mod index_name;
mod lifecycle;
mod mapping;
mod operator;
mod options;
mod reply;
mod server;
mod signing;
mod sink;
mod template;
mod tls;
mod verdict;

pub use options::{
    AuthOptions, AwsOptions, AwsService, BatchOptions, BulkOperation, Codec, Compression, DataStreamOptions,
    ElasticsearchOptions, IdMode, IndexMode, ServerName, TemplateMode, TlsOptions, VersionType,
};

use flowstone_core::{BuildCx, register_sink};

use crate::sink::Elasticsearch;

register_sink! {
    "elasticsearch",
    summary: "writes events to Elasticsearch or OpenSearch",
    options: ElasticsearchOptions,
    example: r#"hosts = ["http://127.0.0.1:9200"]
index = "vpcflowlogs-%{+YYYY.MM.dd}""#,
    build: |options: ElasticsearchOptions, _cx: &BuildCx| Ok(Box::new(Elasticsearch::new(options)?)),
}
