//! Values as Ruby writes them: `to_s` and `inspect`, which is what Logstash's `convert` to string and `join` show.
//!
//! They differ from the spelling of `%{field}` and of JSON: `1.0e10.to_s` is `10000000000.0` here and `1.0E10` there.

use flowstone_core::event::{Map, Value, format_iso_millis};

/// Ruby's `to_s`: nothing for null, the text itself for text, `inspect` for lists and objects.
pub(crate) fn to_s(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Str(text) => text.to_string(),
        other => inspect(other),
    }
}

/// Ruby's `inspect`: `nil`, `"a\n"`, `[1, nil]`, `{"a"=>1}` (as Ruby before 3.4 wrote it).
pub(crate) fn inspect(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::BigInt(digits) => digits.to_string(),
        Value::Float(value) => float(*value),
        Value::Time(millis) => format_iso_millis(*millis),
        Value::Str(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inspect).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => object(map),
    }
}

fn object(map: &Map) -> String {
    let members: Vec<String> =
        map.iter().map(|(name, value)| format!("{}=>{}", quoted(name), inspect(value))).collect();
    format!("{{{}}}", members.join(", "))
}

/// The digits that read back equal; with an exponent below 0.0001 and from 1.0e16 upwards.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    if value == 0.0 {
        return format!("{sign}0.0");
    }
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Where the decimal point stands relative to the first digit.
    let point = exponent + 1;
    if (1..=16).contains(&point) {
        let point = point as usize;
        if digits.len() > point {
            format!("{sign}{}.{}", &digits[..point], &digits[point..])
        } else {
            format!("{sign}{digits}{}.0", "0".repeat(point - digits.len()))
        }
    } else if (-3..=0).contains(&point) {
        format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else {
        let (first, rest) = digits.split_at(1);
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        let rest = if rest.is_empty() { "0" } else { rest };
        format!("{sign}{first}.{rest}e{exponent_sign}{:02}", exponent.abs())
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            '\u{7}' => out.push_str("\\a"),
            '\u{1b}' => out.push_str("\\e"),
            // What would read as the start of an interpolation.
            '#' if matches!(rest.peek(), Some('{' | '$' | '@')) => out.push_str("\\#"),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelled_as_ruby_does() {
        for (value, expect) in [
            (1.5, "1.5"),
            (1e10, "10000000000.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1.0e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1.0e-05"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1.0e+100"),
            (-0.0, "-0.0"),
            (-2.25, "-2.25"),
            (100.0, "100.0"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(value), expect);
        }
    }

    #[test]
    fn values_are_shown_as_ruby_does() {
        let mut map = Map::default();
        map.insert("a".into(), Value::Null);
        map.insert("b".into(), Value::from("x\n\"\u{1}é#{y}#"));
        let list = Value::Array(vec![Value::Int(1), Value::Object(map), Value::Bool(true)]);
        assert_eq!(to_s(&list), r##"[1, {"a"=>nil, "b"=>"x\n\"\x01é\#{y}#"}, true]"##);
        assert_eq!(to_s(&Value::Null), "");
        assert_eq!(to_s(&Value::from("a\n")), "a\n");
        assert_eq!(to_s(&Value::Time(0)), "1970-01-01T00:00:00.000Z");
    }
}
