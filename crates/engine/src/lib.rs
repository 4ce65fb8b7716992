//! flowstone's engine: it runs a topology. Sources are read when there is memory for what they give; CPU threads run
//! batches through transforms and encoding; one delivery loop per sink sends, retries and settles.
//!
//! Bounded channels join the stages: a full sink stops the workers, full workers stop the sources. A batch is
//! acknowledged when its last row is delivered, rejected into a delivered dead letter, or discarded on purpose; a
//! handle that is dropped unresolved makes the source read the stretch again.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod backoff;
#[doc(hidden)]
pub mod bench;
mod budget;
mod dead_letters;
mod delivery;
mod graph;
mod http;
mod intake;
mod letter;
mod phase;
mod pool;
mod reload;
mod run;
mod runner;
mod serving;
mod settle;
mod signals;
mod stages;
mod standing;
mod supervise;
mod testing;
mod worker;

pub use reload::Prepared;
pub use run::{Outcome, RunOptions, run};
pub use signals::survive_file_size_limit;
pub use testing::{TestReport, run_tests};

/// Commits positions when they are read instead of when they are delivered: the crash test shows that it notices.
#[cfg(feature = "broken")]
pub static COMMIT_BEFORE_DELIVERY: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
