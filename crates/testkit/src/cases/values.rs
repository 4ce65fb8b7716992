//! JSON, configuration and event values, one made into the other.

use flowstone_core::{Entry, Node, NodeKind, Span, Table};
use flowstone_event::{Batch, Map, Path, Value, write_json_value};
use serde_json::Value as Json;

/// A configuration value as the file would give it.
pub fn node_of(value: &Json) -> Node {
    let kind = match value {
        Json::Null => NodeKind::String(String::new()),
        Json::Bool(value) => NodeKind::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => NodeKind::Integer(value),
            None => NodeKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => NodeKind::String(text.clone()),
        Json::Array(items) => NodeKind::Array(items.iter().map(node_of).collect()),
        Json::Object(members) => {
            let entry = |value| Entry { key_span: Span::default(), value: node_of(value) };
            let entries = members.iter().map(|(name, value)| (name.clone(), entry(value))).collect();
            NodeKind::Table(Table { span: Span::default(), entries })
        }
    };
    Node { span: Span::default(), text_start: None, from_variable: false, kind }
}

/// A JSON value as an event holds it.
pub fn value_of(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.is_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, true) => Value::BigInt(number.to_string().into()),
            (None, false) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        Json::Object(members) => Value::Object(
            members.iter().map(|(name, value)| (name.as_str().into(), value_of(value))).collect::<Map>(),
        ),
    }
}

/// A value as JSON, in the spelling of the wire.
///
/// # Panics
/// If what is written is no JSON.
pub fn json_of(value: &Value) -> Json {
    let mut text = Vec::new();
    write_json_value(value, &mut text);
    match serde_json::from_slice(&text) {
        Ok(json) => json,
        Err(error) => panic!("{} is JSON: {error}", String::from_utf8_lossy(&text)),
    }
}

/// Sets the fields of an event.
pub(super) fn set_event(batch: &mut Batch, row: usize, event: &[(Path, Value)]) {
    for (path, value) in event {
        if let Err(error) = batch.set(row, path, value.clone()) {
            panic!("{} of a case's event can be set: {error}", path.as_str());
        }
    }
}

/// What a path means in a JSON document.
pub fn at<'a>(document: &'a Json, path: &Path) -> Option<&'a Json> {
    path.names().iter().try_fold(document, |value, name| value.get(&**name))
}
