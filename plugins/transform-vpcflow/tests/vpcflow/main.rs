//! The transform as a whole: every rule on lines of our own, real and edge-case lines where they are at hand, and the
//! columns against a slow parser that shares nothing with it.
#![allow(missing_docs)]

mod ecs;
mod equivalence;
mod rules;
mod samples;

use flowstone_core::event::{Act, Batch, Path, Reject};
use flowstone_core::{Clock, ComponentId, Kind, Metrics, Transform, TransformCx};
use flowstone_testkit::batches;
use transform_vpcflow::{Vpcflow, VpcflowOptions};

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Document(serde_json::Value),
    Rejected(Reject),
    Discarded(&'static str),
}

/// The time of reading of every batch here.
pub(crate) const READ_AT: i64 = 1_700_000_000_000;

/// The options with this format.
pub(crate) fn with_format(format: &str) -> VpcflowOptions {
    VpcflowOptions { format: vec![format.to_owned()], ..VpcflowOptions::defaults() }
}

/// A batch of lines in one page, as a source makes it.
pub(crate) fn batch_of(lines: &[&str]) -> Batch {
    batches::lines(lines, READ_AT)
}

/// Runs a batch through a fork of the transform; gives the rendered metrics.
pub(crate) fn apply(options: &VpcflowOptions, batch: &mut Batch) -> String {
    let metrics = Metrics::new();
    let id = ComponentId { name: "flow".into(), kind: Kind::Transform, type_name: "vpcflow" };
    let mut transform = Vpcflow::new(options).unwrap().fork();
    transform.apply(batch, &mut TransformCx::new(&metrics.component(&id), Clock::Fixed(READ_AT)));
    metrics.render()
}

/// What became of each row of a batch that went through the transform.
pub(crate) fn outcomes_of(batch: &mut Batch) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> =
        (0..batch.len()).map(|row| Outcome::Document(document(batch, row))).collect();
    for act in batch.take_acts() {
        match act {
            Act::Discard { reason, rows } => {
                rows.iter().for_each(|row| outcomes[row] = Outcome::Discarded(reason))
            }
            Act::Reject(row, reject) => outcomes[row] = Outcome::Rejected(reject),
            Act::Send { .. } => panic!("vpcflow has no named outputs"),
        }
    }
    outcomes
}

/// What becomes of these lines.
pub(crate) fn outcomes(options: &VpcflowOptions, lines: &[&str]) -> Vec<Outcome> {
    let mut batch = batch_of(lines);
    apply(options, &mut batch);
    outcomes_of(&mut batch)
}

/// The one document that a line becomes.
pub(crate) fn parsed(options: &VpcflowOptions, line: &str) -> serde_json::Value {
    match outcomes(options, &[line]).remove(0) {
        Outcome::Document(document) => document,
        other => panic!("{line:?}: {other:?}"),
    }
}

pub(crate) fn document(batch: &Batch, row: usize) -> serde_json::Value {
    let mut out = Vec::new();
    batch.write_json(row, Default::default(), &mut out);
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}
