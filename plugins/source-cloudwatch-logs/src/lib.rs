//! flowstone source that reads CloudWatch Logs and loses nothing.
//!
//! A VPC flow-log record has the time at which its window began and becomes visible minutes later; whoever remembers
//! "the last time seen" skips what comes late. This source cuts event time into slices and reads each several times,
//! remembers what was delivered of it, and checks the result against CloudWatch's own count.
//!
//! | module | job |
//! |---|---|
//! | [`ledger`] | one log group: what to read when, what is new, what is delivered |
//! | [`planner`] | many log groups under one budget of requests |
//! | [`journal`] | the checkpoint: an append-only log of what is delivered |
//! | [`options`] | its options, checked |
//! | [`select`] | which log groups that means |
//! | [`sincedb`] | where Logstash stopped |
//! | `sites`, `naming` | accounts and regions, and what groups are named after |
//! | `discovery` | which there are, and the flow logs that write to them |
//! | `running` | requests in flight, and what comes back |
//! | `checkpoint` | the journal at work: when it is written, and what is said of it |
//! | `notices` | what is said of AWS's refusals, and whether reading is ready |
//! | `events` | from CloudWatch's events to a batch |
//! | `backfill` | a stretch of the past: what it takes, how far it is |
//! | `probe` | `validate --connect` |
//! | [`connect`], [`sdk`] | how accounts are entered: AWS itself, or something else in tests |
//! | [`source`] | all of it as the engine sees it |
//!
//! # What is promised
//!
//! Every event that CloudWatch ingested at most `late_window` (or the last of `sweeps`) after its own time, and showed at
//! most `visibility_margin` after that, is delivered. It is sent twice only if flowstone was killed between its delivery
//! and its checkpoint, and then under the same id. Where `cloudwatch:GetMetricData` is allowed, what is later than that is
//! noticed and reported, minute by minute.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod backfill;
mod checkpoint;
pub mod clock;
pub mod connect;
mod discovery;
mod events;
pub mod journal;
pub mod ledger;
mod metrics;
mod naming;
mod notices;
pub mod options;
pub mod planner;
mod probe;
mod running;
pub mod sdk;
pub mod select;
pub mod sincedb;
mod sites;
pub mod source;
mod start;

use std::sync::Arc;

use flowstone_core::prelude::*;

pub use options::CloudwatchLogsOptions;

register_source! {
    "cloudwatch_logs",
    summary: "reads log groups of CloudWatch Logs, late events and all, and loses none",
    options: CloudwatchLogsOptions,
    metrics: metrics::CloudwatchLogsMetrics,
    example: "region = \"eu-west-1\"\nlog_groups = [\"/vpc/flow\"]",
    build: |options: CloudwatchLogsOptions, cx: &BuildCx| {
        let plan = options::Plan::new(options)?;
        let connect = Arc::new(sdk::Aws::new(&plan));
        Ok(Box::new(source::CloudwatchLogs::new(plan, connect, clock::monotonic(cx.clock), cx)))
    },
}
