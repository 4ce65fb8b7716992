//! Values as the text that Logstash matches: what Ruby's `to_s` makes of them.

use flowstone_core::event::{Value, format_iso_millis};

/// The text of a value.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Str(text) => text.to_string(),
        value => {
            let mut text = String::new();
            inspect(value, &mut text);
            text
        }
    }
}

fn inspect(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::BigInt(digits) => out.push_str(digits),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Time(millis) => out.push_str(&format_iso_millis(*millis)),
        Value::Str(text) => out.push_str(&format!("{text:?}")),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                inspect(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&format!("{key:?}=>"));
                inspect(value, out);
            }
            out.push('}');
        }
    }
}

/// Ruby writes floats with a point, and from 1e16 and below 1e-4 with an exponent of at least two digits.
fn float(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".to_owned()
        } else {
            format!("{}Infinity", if value < 0.0 { "-" } else { "" })
        };
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        let number: i32 = exponent.parse().unwrap_or(0);
        return format!("{digits}{point}e{}{:02}", if number < 0 { '-' } else { '+' }, number.abs());
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_ruby_writes_them() {
        for (value, text) in [
            (Value::Null, ""),
            (Value::from("x"), "x"),
            (Value::Int(-5), "-5"),
            (Value::Float(1.5), "1.5"),
            (Value::Float(6.0), "6.0"),
            (Value::Float(1e20), "1.0e+20"),
            (Value::Float(1.25e-5), "1.25e-05"),
            (Value::Float(0.0001), "0.0001"),
            (Value::Bool(true), "true"),
            (Value::Time(0), "1970-01-01T00:00:00.000Z"),
            (Value::from(vec!["a", "b"]), r#"["a", "b"]"#),
            (Value::Array(vec![Value::Null, Value::Int(1)]), "[nil, 1]"),
        ] {
            assert_eq!(text_of(&value), text);
        }
        let mut map = Value::object();
        if let Value::Object(map) = &mut map {
            map.insert("k".into(), Value::from("v"));
        }
        assert_eq!(text_of(&map), r#"{"k"=>"v"}"#);
    }
}
