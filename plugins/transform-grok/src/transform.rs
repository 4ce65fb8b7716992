//! The transform: which patterns are tried on which fields, and what their captures do to the event.

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::event::{Batch, BitSet, Column, Path, Value};
use flowstone_core::{Transform, TransformCx};
use flowstone_dialect::regex::{Budget, GaveUp, Scratch};

use crate::columns::{Alone, Columns, Layout};
use crate::pattern::{Capture, Pattern};
use crate::text::text_of;

/// What a `grok` does, shared by its forks.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) sources: Vec<Source>,
    /// How captures become whole columns, where they can.
    pub(crate) layout: Option<Layout>,
    pub(crate) break_on_match: bool,
    pub(crate) keep_empty: bool,
    pub(crate) tags_on_failure: Vec<Arc<str>>,
    pub(crate) tag_on_timeout: Arc<str>,
    pub(crate) limit: Option<Duration>,
    pub(crate) limit_is_per_event: bool,
}

/// A field and the patterns to try on it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: Path,
    pub(crate) patterns: Vec<Pattern>,
    /// The number of the first of them among all.
    pub(crate) first: usize,
}

/// The transform.
pub(crate) struct Grok {
    spec: Arc<Spec>,
    /// One for each pattern, in their order.
    scratch: Vec<Scratch>,
    budget: Budget,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Matched,
    Failed,
    TimedOut,
}

/// Why the patterns of a field are given up.
enum Stop {
    /// Matching took too long.
    TimedOut,
    /// A capture has no place in the event: something that is no object stands in the way.
    NoPlace,
}

/// Events by what became of them, where that is not a match.
struct Rest {
    failed: BitSet,
    timed_out: BitSet,
}

// === impl Spec ===

impl Spec {
    fn scratch(&self) -> Vec<Scratch> {
        self.sources.iter().flat_map(|source| &source.patterns).map(|_| Scratch::default()).collect()
    }
}

// === impl Grok ===

impl Grok {
    pub(crate) fn new(spec: Spec) -> Self {
        Self { budget: Budget::time(spec.limit), scratch: spec.scratch(), spec: Arc::new(spec) }
    }

    /// Fills whole columns; gives the rows that must be done alone.
    fn fill(&mut self, spec: &Spec, batch: &Batch, columns: &mut Columns<'_>, rest: &mut Rest) -> Vec<usize> {
        let sources: Vec<Option<&Column>> =
            spec.sources.iter().map(|source| batch.column_of(&source.path)).collect();
        let mut alone = Vec::new();
        for row in batch.active_rows() {
            match self.fill_row(spec, batch, &sources, columns, row) {
                Ok(Outcome::Matched) => {}
                Ok(Outcome::Failed) => rest.failed.insert(row),
                Ok(Outcome::TimedOut) => rest.timed_out.insert(row),
                Err(Alone) => {
                    columns.clear(row, batch);
                    alone.push(row);
                }
            }
        }
        alone
    }

    #[inline]
    fn fill_row(
        &mut self,
        spec: &Spec,
        batch: &Batch,
        sources: &[Option<&Column>],
        columns: &mut Columns<'_>,
        row: usize,
    ) -> Result<Outcome, Alone> {
        self.budget.reset();
        let mut outcome = Outcome::Failed;
        for (source, column) in spec.sources.iter().zip(sources) {
            // Only plain text is at home here; a list, a number or nothing is looked at alone.
            let Some(Column::Str(cells)) = column else { return Err(Alone) };
            let place = cells[row];
            if place.is_absent() {
                return Err(Alone);
            }
            let text = batch.text(place);
            let mut matched = false;
            for (number, pattern) in source.patterns.iter().enumerate() {
                let number = source.first + number;
                if !spec.limit_is_per_event {
                    self.budget.reset();
                }
                let scratch = &mut self.scratch[number];
                match pattern.search(text, scratch, &mut self.budget) {
                    Err(GaveUp) => return Ok(Outcome::TimedOut),
                    Ok(found) => matched = found,
                }
                if matched {
                    columns.write(number, pattern, scratch, row, place, text)?;
                    if spec.break_on_match {
                        break;
                    }
                }
            }
            if matched {
                outcome = Outcome::Matched;
                if spec.break_on_match {
                    break;
                }
            }
        }
        Ok(outcome)
    }

    /// One event by itself, whatever it holds.
    fn row(&mut self, spec: &Spec, batch: &mut Batch, row: usize) -> Outcome {
        self.budget.reset();
        let mut outcome = Outcome::Failed;
        for source in &spec.sources {
            match self.source(spec, source, batch, row) {
                Ok(true) => {
                    outcome = Outcome::Matched;
                    if spec.break_on_match {
                        break;
                    }
                }
                Ok(false) | Err(Stop::NoPlace) => {}
                Err(Stop::TimedOut) => return Outcome::TimedOut,
            }
        }
        outcome
    }

    /// Every element of a list is tried; a missing field is the empty text.
    fn source(&mut self, spec: &Spec, source: &Source, batch: &mut Batch, row: usize) -> Result<bool, Stop> {
        match batch.get(row, &source.path) {
            Some(Value::Array(items)) => {
                let mut any = false;
                for item in &items {
                    any |= self.text(spec, source, &text_of(item), batch, row)?;
                }
                Ok(any)
            }
            Some(value) => self.text(spec, source, &text_of(&value), batch, row),
            None => self.text(spec, source, "", batch, row),
        }
    }

    fn text(
        &mut self,
        spec: &Spec,
        source: &Source,
        text: &str,
        batch: &mut Batch,
        row: usize,
    ) -> Result<bool, Stop> {
        let mut matched = false;
        for (number, pattern) in source.patterns.iter().enumerate() {
            let scratch = &mut self.scratch[source.first + number];
            if !spec.limit_is_per_event {
                self.budget.reset();
            }
            matched = pattern.search(text, scratch, &mut self.budget).map_err(|GaveUp| Stop::TimedOut)?;
            if matched {
                for capture in pattern.captures() {
                    let value = match scratch.group(capture.group) {
                        Some((start, end)) => capture.convert.value(&text[start as usize..end as usize]),
                        None => Value::Null,
                    };
                    write(spec, capture, value, batch, row)?;
                }
                if spec.break_on_match {
                    break;
                }
            }
        }
        Ok(matched)
    }
}

impl Transform for Grok {
    fn apply(&mut self, batch: &mut Batch, _cx: &mut TransformCx<'_>) {
        let spec = Arc::clone(&self.spec);
        self.scratch.iter_mut().for_each(Scratch::forget);
        let mut rest = Rest { failed: BitSet::none(batch.len()), timed_out: BitSet::none(batch.len()) };
        let columns = spec.layout.as_ref().and_then(|layout| layout.columns(batch));
        let alone = match columns {
            Some(mut columns) => {
                let alone = self.fill(&spec, batch, &mut columns, &mut rest);
                batch.put_columns(columns.finish());
                alone
            }
            None => batch.active_rows().collect(),
        };
        for row in alone {
            match self.row(&spec, batch, row) {
                Outcome::Matched => {}
                Outcome::Failed => rest.failed.insert(row),
                Outcome::TimedOut => rest.timed_out.insert(row),
            }
        }
        batch.tag_rows(&rest.failed, &spec.tags_on_failure);
        batch.tag_rows(&rest.timed_out, std::slice::from_ref(&spec.tag_on_timeout));
        [&rest.failed, &rest.timed_out].into_iter().for_each(|rows| batch.rows_not_matched(rows));
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Self {
            spec: Arc::clone(&self.spec),
            scratch: self.spec.scratch(),
            budget: self.budget.clone(),
        })
    }
}

/// Puts a capture where it belongs: alone, in place of what is there, or beside it. What is neither text nor a list
/// keeps its place and the capture is dropped, as in Logstash.
fn write(spec: &Spec, capture: &Capture, value: Value, batch: &mut Batch, row: usize) -> Result<(), Stop> {
    let empty = match &value {
        Value::Null => true,
        Value::Str(text) => text.is_empty(),
        _ => false,
    };
    if empty && !spec.keep_empty {
        return Ok(());
    }
    let existing = if capture.overwrites { None } else { batch.get(row, &capture.field) };
    let value = match existing {
        None | Some(Value::Null) => match value {
            // These two accept only their own kind: text becomes a list of tags, and no time at all.
            Value::Str(_) if capture.field == Path::tags() => Value::Array(vec![value]),
            _ if capture.field == Path::timestamp() => return Err(Stop::NoPlace),
            value => value,
        },
        Some(Value::Str(text)) => Value::Array(vec![Value::Str(text), value]),
        Some(Value::Array(mut items)) => {
            items.push(value);
            Value::Array(items)
        }
        Some(_) => return Ok(()),
    };
    batch.set(row, &capture.field, value).map_err(|error| {
        tracing::debug!(%error, "a capture has no place");
        Stop::NoPlace
    })
}
