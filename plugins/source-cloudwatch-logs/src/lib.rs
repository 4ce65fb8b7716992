//! flowstone source that reads CloudWatch Logs and loses nothing.
#![forbid(unsafe_code)]

pub mod journal;
pub mod ledger;
pub mod planner;

#[cfg(test)]
extern crate self as source_cloudwatch_logs;
#[cfg(test)]
mod properties;
#[cfg(test)]
#[path = "../tests/support/simulation.rs"]
mod simulation;
