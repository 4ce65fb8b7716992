//! JSON text to [`Value`]s, by simd-json.

use std::sync::Arc;

use simd_json::{Node as TapeNode, StaticNode};

use crate::event::{Map, Value};

/// Reads one JSON value. The text is rewritten in place while it is read (simd-json unescapes there), so a caller
/// who may have to show it again hands over a copy. Members keep their order; of a repeated key the last counts; an
/// integer beyond 64 bits is an error of the text, as simd-json has it.
pub fn parse_json(text: &mut [u8]) -> Result<Value, String> {
    let tape = simd_json::to_tape(text).map_err(|error| error.to_string())?;
    let mut nodes = tape.0.iter();
    value_of(&mut nodes).ok_or_else(|| "the text ends too early".to_owned())
}

/// The value that begins at the next node of a tape; `None` if the nodes end before it does.
pub fn value_of<'a, 'text: 'a>(nodes: &mut impl Iterator<Item = &'a TapeNode<'text>>) -> Option<Value> {
    Some(match nodes.next()? {
        TapeNode::Static(StaticNode::Null) => Value::Null,
        TapeNode::Static(StaticNode::Bool(value)) => Value::Bool(*value),
        TapeNode::Static(StaticNode::I64(value)) => Value::Int(*value),
        TapeNode::Static(StaticNode::U64(value)) => match i64::try_from(*value) {
            Ok(value) => Value::Int(value),
            Err(_) => Value::BigInt(value.to_string().into()),
        },
        TapeNode::Static(StaticNode::F64(value)) => Value::Float(*value),
        TapeNode::String(text) => Value::Str(Arc::from(*text)),
        TapeNode::Array { len, .. } => {
            let mut items = Vec::with_capacity(*len);
            for _ in 0..*len {
                items.push(value_of(nodes)?);
            }
            Value::Array(items)
        }
        TapeNode::Object { len, .. } => {
            let mut map = Map::default();
            for _ in 0..*len {
                let Some(TapeNode::String(key)) = nodes.next() else { return None };
                map.insert(Arc::from(*key), value_of(nodes)?);
            }
            Value::Object(map)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::write_json_value;

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            r#"{"b":[1,-2,6.0,1.2345678E7,null,true],"a":{"x":"a\"b","y":{}},"":[]}"#,
            "18446744073709551615",
            r#""text""#,
            "[]",
        ] {
            let value = parse_json(&mut text.as_bytes().to_vec()).unwrap();
            let mut out = Vec::new();
            write_json_value(&value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", "nul", "{\"a\":1} x", "[1,]", "\"\\x\"", "\u{1}"] {
            assert!(parse_json(&mut text.as_bytes().to_vec()).is_err(), "{text}");
        }
    }
}
