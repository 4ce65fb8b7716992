//! `mutate` changes fields as Logstash's filter of that name does: rename, replace, convert, substitute, split, join
//! and more, always in the same order whatever the order in the file.
//!
//! What is done to every event of a batch is done to whole columns: renaming one costs the same for one event and for
//! four thousand.

mod change;
mod convert;
mod gsub;
mod options;
mod ruby;
mod step;
mod text;

use std::sync::Arc;

use flowstone_core::prelude::*;

use crate::change::Change;
use crate::gsub::Substitution;
pub use crate::options::{FieldName, Fields, MutateOptions, Renames, Text};
use crate::step::Step;

/// The transform.
#[derive(Clone)]
struct Mutate {
    steps: Arc<[Step]>,
    tag: Arc<str>,
    /// Whether a failure was logged: once for each worker, the others are only counted.
    warned: bool,
}

/// Why a step cannot be done in an event; the steps behind it are not done there.
#[derive(Clone, Debug)]
pub(crate) struct StepError(String);

register_transform! {
    "mutate",
    summary: "renames, replaces, converts, splits, joins and copies fields, in Logstash's order",
    options: MutateOptions,
    example: "rename = { srcaddr = \"source_address\" }\nconvert = { bytes = \"integer\" }\nlowercase = [\"action\"]",
    build: |options: MutateOptions, _cx: &BuildCx| {
        let mutate = Mutate { tag: Arc::from(options.tag_on_failure.as_str()), steps: steps(options)?.into(), warned: false };
        Ok(Box::new(mutate))
    },
}

// === impl StepError ===

impl StepError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

// === impl Mutate ===

impl Transform for Mutate {
    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>) {
        let mut rows = batch.active_set();
        let mut failed: Vec<(usize, StepError)> = Vec::new();
        for step in &*self.steps {
            let whole = batch.all_active() && failed.is_empty();
            if whole && step.apply_to_columns(batch) {
                continue;
            }
            let before = failed.len();
            for row in rows.iter() {
                if let Err(failure) = step.apply_to_row(batch, row) {
                    failed.push((row, failure));
                }
            }
            failed[before..].iter().for_each(|(row, _)| rows.remove(*row));
        }
        self.mark(batch, &failed, cx);
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

impl Mutate {
    fn mark(&mut self, batch: &mut Batch, failed: &[(usize, StepError)], cx: &TransformCx<'_>) {
        let Some((_, StepError(first))) = failed.first() else { return };
        for (row, _) in failed {
            batch.tag(*row, &self.tag);
            batch.not_matched(*row);
        }
        cx.metrics().error("mutate", failed.len() as u64);
        if !self.warned {
            self.warned = true;
            tracing::warn!(error = %first, tag = %self.tag, "a field could not be changed; further ones are counted, not logged");
        }
    }
}

/// The steps in the order in which Logstash does them.
fn steps(options: MutateOptions) -> Result<Vec<Step>, Vec<BuildError>> {
    let mut steps = Vec::new();
    steps.extend(options.coerce.0.into_iter().map(|(path, text)| Step::Coerce(path, text.0)));
    steps.extend(options.rename.0.into_iter().map(|(old, new)| Step::Rename(old, new)));
    steps.extend(options.update.0.into_iter().map(|(path, text)| Step::Update(path, text.0)));
    steps.extend(options.replace.0.into_iter().map(|(path, text)| Step::Replace(path, text.0)));
    let mut change = |paths: Vec<Path>, change: Change| {
        steps.extend(paths.into_iter().map(|path| Step::Change(path, change.clone())));
    };
    for (path, conversion) in options.convert.0 {
        change(vec![path], Change::Convert(conversion));
    }
    for (path, substitution) in substitutions(&options.gsub)? {
        change(vec![path], Change::Gsub(Arc::new(substitution)));
    }
    change(options.uppercase, Change::Text(text::uppercase));
    change(options.capitalize, Change::Text(text::capitalize));
    change(options.lowercase, Change::Text(text::lowercase));
    change(options.strip, Change::Strip);
    for (path, separator) in options.split.0 {
        change(vec![path], Change::Split(separator));
    }
    for (path, separator) in options.join.0 {
        change(vec![path], Change::Join(separator));
    }
    steps.extend(options.merge.0.into_iter().map(|(target, sources)| Step::Merge(target, sources)));
    steps.extend(options.copy.0.into_iter().map(|(from, to)| Step::Copy(from, to)));
    Ok(steps)
}

/// `gsub` is a flat list of three texts for each substitution.
fn substitutions(gsub: &[String]) -> Result<Vec<(Path, Substitution)>, Vec<BuildError>> {
    let mut read = Vec::new();
    let mut errors = Vec::new();
    for (number, triple) in gsub.chunks(3).enumerate() {
        let first = number * 3;
        let [field, needle, replacement] = triple else {
            errors.push(
                BuildError::option("gsub", "the list of substitutions ends within one")
                    .at_index(first)
                    .label("expected three texts: field, regular expression, replacement"),
            );
            break;
        };
        let path = Path::parse(field).map_err(|error| {
            BuildError::option("gsub", format!("`{field}` is no field reference"))
                .at_index(first)
                .within(error.offset, error.offset + 1)
                .label(error.message)
        });
        let substitution = Substitution::new(needle, replacement).map_err(|(element, error)| {
            BuildError::option("gsub", error.message)
                .at_index(first + element)
                .within(error.start, error.end)
                .label(error.label)
        });
        match (path, substitution) {
            (Ok(path), Ok(substitution)) => read.push((path, substitution)),
            (path, substitution) => errors.extend(path.err().into_iter().chain(substitution.err())),
        }
    }
    if errors.is_empty() { Ok(read) } else { Err(errors) }
}
