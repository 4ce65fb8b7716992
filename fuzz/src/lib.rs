//! What the fuzz targets do with their bytes: everything that flowstone reads from outside, held to a property.
//!
//! `fuzz_targets/` calls these functions with whatever libFuzzer comes up with, `tests/fuzz_corpora.rs` of the main
//! workspace, which includes this very file, with every file of `corpus/`.
#![allow(missing_docs, unreachable_pub)]

// Testkit itself brings servers and an HTTP stack along.
#[path = "../../crates/testkit/src/batches.rs"]
mod batches;
mod condition;
mod date;
mod grok;
mod mmdb;
mod ndjson;
mod support;
mod vpcflow;

pub use condition::condition;
pub use date::date;
pub use grok::grok;
pub use mmdb::mmdb;
pub use ndjson::ndjson;
pub use vpcflow::vpcflow;

/// A target: its name, which is that of its corpus too, and what it does with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("condition", condition),
    ("date", date),
    ("grok", grok),
    ("mmdb", mmdb),
    ("ndjson", ndjson),
    ("vpcflow", vpcflow),
];
