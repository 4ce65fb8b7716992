//! What a dead letter says beside its event: the field `rejected`, format 1, from which the record can be sent again as
//! the same record.
//!
//! The event itself is as it was, `[@metadata]` included. Sinks do not write `[@metadata]`, so the letter repeats it:
//!
//! | member of `rejected` | what |
//! |---|---|
//! | `component`, `type`, `reason`, `detail`, `time` | who rejected the event, why and when |
//! | `status`, `index` | what a server said, where one did |
//! | `v` | 1 |
//! | `id` | the record's id when it was rejected, as documents have it (22 characters) |
//! | `source`, `partition`, `position` | where the record's batch came from, and where that partition stood behind it |
//! | `metadata` | the event's `[@metadata]`, if it had any |
//! | `types` | by field reference, what JSON cannot tell: `time` of a text that is an instant, `float` of `"NaN"`, `"Infinity"` and `"-Infinity"`, and `string` of a `@timestamp` that only looks like an instant |
//! | `before` | what the event's field `rejected` held before: the story of a letter that was refused again, which has a `v`, or a field of the event's own |
//!
//! To have the record again: take `rejected` off, put `metadata` back as `[@metadata]`, read `@timestamp` as an instant
//! and the rest as JSON but for `types`, and put `before` back if it is no story.

use std::sync::Arc;

use flowstone_core::event::{Batch, Cell, METADATA, Map, Path, TIMESTAMP, Value, parse_iso_millis};
use flowstone_core::shown::scrub;
use flowstone_core::{ComponentId, Origin, Rejection};

/// The format's number.
const VERSION: i64 = 1;

/// Writes into each row of a batch why it was rejected, and what else is needed to send it again.
pub(crate) fn mark(
    batch: &mut Batch,
    by: &ComponentId,
    reasons: Vec<Rejection>,
    origin: Option<&Origin>,
    now_ms: i64,
) {
    let (field, metadata) = (Path::top("rejected"), Path::top(METADATA));
    for (row, why) in reasons.into_iter().enumerate() {
        let mut story = Map::default();
        let mut put = |name: &str, value: Value| story.insert(name.into(), value);
        put("component", Value::from(&*by.name));
        put("type", Value::from(by.type_name));
        put("reason", Value::from(&*scrub(&why.reason)));
        put("detail", Value::from(&*scrub(&why.detail)));
        put("time", Value::Time(now_ms));
        if let Some(status) = why.status {
            put("status", Value::Int(status.into()));
        }
        if let Some(index) = why.index {
            put("index", Value::from(index));
        }
        put("v", Value::Int(VERSION));
        put("id", Value::from(batch.id(row).to_string()));
        if let Some(Origin { source, position }) = origin {
            put("source", Value::Str(Arc::clone(source)));
            put("partition", Value::Str(Arc::clone(&position.partition)));
            put("position", i64::try_from(position.value).map_or_else(|_| big(position.value), Value::Int));
        }
        // What stood in the field's place is no field of the event any more; it is put below.
        let before = batch.remove(row, &field);
        let types = types(batch, row);
        if let Some(metadata) = batch.get(row, &metadata) {
            put("metadata", metadata);
        }
        if !types.is_empty() {
            put("types", Value::Object(types));
        }
        if let Some(before) = before {
            put("before", before);
        }
        batch.set_top(row, &field, Value::Object(story));
    }
}

/// The name of the component that a dead letter comes from.
pub(crate) fn component_of(batch: &Batch, row: usize) -> Option<String> {
    match batch.row(row).cell("rejected") {
        Cell::Any(Value::Object(story)) => story.get("component").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    }
}

fn big(number: u64) -> Value {
    Value::BigInt(number.to_string().into())
}

/// By field reference, the types of values that JSON does not tell.
fn types(batch: &Batch, row: usize) -> Map {
    let mut types = Map::default();
    for (index, field) in batch.schema().fields().iter().enumerate() {
        match batch.cell(index, row) {
            Cell::Time(_) if field.as_str() == TIMESTAMP => {}
            Cell::Str(text) if field.as_str() == TIMESTAMP && parse_iso_millis(text).is_some() => {
                note(field, "string", &mut types);
            }
            Cell::Time(_) => note(field, "time", &mut types),
            Cell::Float(value) if !value.is_finite() => note(field, "float", &mut types),
            Cell::Any(value) => types_within(value, field, &mut types),
            _ => {}
        }
    }
    types
}

fn types_within(value: &Value, at: &Path, types: &mut Map) {
    match value {
        Value::Time(_) => note(at, "time", types),
        Value::Float(value) if !value.is_finite() => note(at, "float", types),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if may_need_a_type(item) {
                    types_within(item, &at.join(&[index.to_string().into()]), types);
                }
            }
        }
        Value::Object(members) => {
            for (name, item) in members {
                if may_need_a_type(item) {
                    types_within(item, &at.join(&[Arc::clone(name)]), types);
                }
            }
        }
        _ => {}
    }
}

fn may_need_a_type(value: &Value) -> bool {
    matches!(value, Value::Time(_) | Value::Float(_) | Value::Array(_) | Value::Object(_))
}

fn note(field: &Path, kind: &str, types: &mut Map) {
    types.insert(field.as_str().into(), Value::from(kind));
}
