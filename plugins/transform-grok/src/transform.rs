//! The transform: which patterns are tried on which fields, and what their captures do to the event.

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::event::{Batch, Path, Value};
use flowstone_core::{Transform, TransformCx};

use crate::pattern::{Capture, Pattern, Scratch};
use crate::regex::backtrack::{Budget, TimedOut};
use crate::text::text_of;

/// What a `grok` does, shared by its forks.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) sources: Vec<Source>,
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
    plan: Arc<Plan>,
    /// One for each pattern, in their order.
    scratch: Vec<Scratch>,
    budget: Budget,
}

/// Why the patterns of a field are given up.
enum Stop {
    /// Matching took too long.
    TimedOut,
    /// A capture has no place in the event: something that is no object stands in the way.
    NoPlace,
}

// === impl Plan ===

impl Plan {
    fn scratch(&self) -> Vec<Scratch> {
        self.sources.iter().flat_map(|source| &source.patterns).map(|_| Scratch::default()).collect()
    }
}

// === impl Grok ===

impl Grok {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { budget: Budget::new(plan.limit), scratch: plan.scratch(), plan: Arc::new(plan) }
    }

    fn row(&mut self, batch: &mut Batch, row: usize) {
        let plan = Arc::clone(&self.plan);
        self.budget.reset();
        let mut matched = false;
        for source in &plan.sources {
            match self.source(&plan, source, batch, row) {
                Ok(true) => {
                    matched = true;
                    if plan.break_on_match {
                        break;
                    }
                }
                Ok(false) | Err(Stop::NoPlace) => {}
                Err(Stop::TimedOut) => {
                    batch.tag(row, &plan.tag_on_timeout);
                    batch.not_matched(row);
                    return;
                }
            }
        }
        if !matched {
            plan.tags_on_failure.iter().for_each(|tag| batch.tag(row, tag));
            batch.not_matched(row);
        }
    }

    /// Every element of a list is tried; a missing field is the empty text.
    fn source(&mut self, plan: &Plan, source: &Source, batch: &mut Batch, row: usize) -> Result<bool, Stop> {
        match batch.get(row, &source.path) {
            Some(Value::Array(items)) => {
                let mut any = false;
                for item in &items {
                    any |= self.text(plan, source, &text_of(item), batch, row)?;
                }
                Ok(any)
            }
            Some(value) => self.text(plan, source, &text_of(&value), batch, row),
            None => self.text(plan, source, "", batch, row),
        }
    }

    fn text(&mut self, plan: &Plan, source: &Source, text: &str, batch: &mut Batch, row: usize) -> Result<bool, Stop> {
        let mut matched = false;
        for (number, pattern) in source.patterns.iter().enumerate() {
            let scratch = &mut self.scratch[source.first + number];
            if !plan.limit_is_per_event {
                self.budget.reset();
            }
            matched = pattern.search(text, scratch, &mut self.budget).map_err(|TimedOut| Stop::TimedOut)?;
            if matched {
                for capture in pattern.captures() {
                    let value = match scratch.group(capture) {
                        Some((start, end)) => capture.convert.value(&text[start as usize..end as usize]),
                        None => Value::Null,
                    };
                    write(plan, capture, value, batch, row)?;
                }
                if plan.break_on_match {
                    break;
                }
            }
        }
        Ok(matched)
    }
}

impl Transform for Grok {
    fn apply(&mut self, batch: &mut Batch, _cx: &mut TransformCx<'_>) {
        self.scratch.iter_mut().for_each(Scratch::forget);
        for row in batch.active_set().iter() {
            self.row(batch, row);
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Self { plan: Arc::clone(&self.plan), scratch: self.plan.scratch(), budget: self.budget.clone() })
    }
}

/// Puts a capture where it belongs: alone, in place of what is there, or beside it. What is neither text nor a list
/// keeps its place and the capture is dropped, as in Logstash.
fn write(plan: &Plan, capture: &Capture, value: Value, batch: &mut Batch, row: usize) -> Result<(), Stop> {
    let empty = match &value {
        Value::Null => true,
        Value::Str(text) => text.is_empty(),
        _ => false,
    };
    if empty && !plan.keep_empty {
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
