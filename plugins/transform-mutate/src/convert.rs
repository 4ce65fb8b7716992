//! `convert`: values of one type to another, with Ruby's `to_i`, `to_f` and `to_s`.

use std::borrow::Cow;

use flowstone_core::event::Value;
use flowstone_dialect::{to_f, to_i};

use crate::StepError;
use crate::ruby::to_s;

flowstone_core::choices! {
    /// What `convert` makes of a value.
    pub(crate) enum Conversion {
        /// Text.
        String = "string",
        /// An integer; commas between digits are dropped.
        Integer = "integer",
        /// A float; commas between digits are dropped.
        Float = "float",
        /// An integer in European spelling: `1.234,5` is 1234.
        IntegerEu = "integer_eu",
        /// A float in European spelling: `1.234,5` is 1234.5.
        FloatEu = "float_eu",
        /// `true`, `t`, `yes`, `y`, `1`, `1.0` and their opposites in any case; other values stay as they are.
        Boolean = "boolean",
    }
}

// === impl Conversion ===

impl Conversion {
    /// Converts a value: an object stays, null stays, a list is converted element by element.
    pub(crate) fn apply(self, value: Value) -> Result<Value, StepError> {
        match value {
            Value::Object(_) | Value::Null => Ok(value),
            Value::Array(items) => {
                let converted = items.into_iter().map(|item| match item {
                    Value::Null => Ok(Value::Null),
                    item => self.one(item),
                });
                converted.collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            value => self.one(value),
        }
    }

    /// Converts text, which always succeeds; `None` leaves it as it is.
    pub(crate) fn text(self, text: &str) -> Option<Value> {
        match self {
            Self::String => None,
            Self::Integer => Some(to_i(&without_commas(text))),
            Self::Float => Some(Value::Float(to_f(&without_commas(text)))),
            Self::IntegerEu => Some(to_i(&from_european(text))),
            Self::FloatEu => Some(Value::Float(to_f(&from_european(text)))),
            Self::Boolean => boolean(text).map(Value::Bool),
        }
    }

    fn one(self, value: Value) -> Result<Value, StepError> {
        if let Value::Str(text) = &value {
            return Ok(self.text(text).unwrap_or(value));
        }
        match self {
            Self::String => Ok(Value::from(to_s(&value))),
            Self::Integer | Self::IntegerEu => integer(value),
            Self::Float | Self::FloatEu => float(value),
            Self::Boolean => Ok(boolean(&to_s(&value)).map_or(value, Value::Bool)),
        }
    }
}

fn integer(value: Value) -> Result<Value, StepError> {
    match value {
        Value::Bool(value) => Ok(Value::Int(i64::from(value))),
        Value::Int(_) | Value::BigInt(_) => Ok(value),
        Value::Float(value) if !value.is_finite() => Err(StepError::new(format!("{value} is no integer"))),
        // 2^63 is the first float that is no i64.
        Value::Float(value) if value.abs() < 9_223_372_036_854_775_808.0 => Ok(Value::Int(value as i64)),
        Value::Float(value) => Ok(Value::BigInt(format!("{:.0}", value.trunc()).into())),
        Value::Time(millis) => Ok(Value::Int(millis.div_euclid(1000))),
        other => Err(no_number(&other)),
    }
}

fn float(value: Value) -> Result<Value, StepError> {
    match value {
        Value::Bool(value) => Ok(Value::Float(f64::from(u8::from(value)))),
        Value::Int(value) => Ok(Value::Float(value as f64)),
        Value::BigInt(digits) => Ok(Value::Float(digits.parse().unwrap_or(f64::INFINITY))),
        Value::Float(_) => Ok(value),
        Value::Time(millis) => Ok(Value::Float(millis as f64 / 1000.0)),
        other => Err(no_number(&other)),
    }
}

fn no_number(value: &Value) -> StepError {
    StepError::new(format!("a value of type {} cannot be converted to a number", value.kind()))
}

fn without_commas(text: &str) -> Cow<'_, str> {
    if text.contains(',') { Cow::Owned(text.replace(',', "")) } else { Cow::Borrowed(text) }
}

/// Dots group digits and are dropped, the comma is the decimal point.
fn from_european(text: &str) -> String {
    text.chars().filter(|&c| c != '.').map(|c| if c == ',' { '.' } else { c }).collect()
}

/// Ruby's `^` and `$` are the limits of a line, so that any line may decide.
fn boolean(text: &str) -> Option<bool> {
    let any_line = |words: &[&str]| {
        text.split('\n').any(|line| {
            words.iter().any(|word| line.eq_ignore_ascii_case(word)) || is_one_dot_zero(line, words[4])
        })
    };
    if any_line(&["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if text.is_empty() || any_line(&["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// `1.0` and `0.0`. The dot in Logstash's pattern is not escaped and stands for any character.
fn is_one_dot_zero(line: &str, digit: &str) -> bool {
    let rest = line.strip_prefix(digit).and_then(|rest| rest.strip_suffix('0'));
    rest.is_some_and(|rest| rest.chars().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(conversion: Conversion, value: impl Into<Value>, expect: impl Into<Value>) {
        let value = value.into();
        assert_eq!(conversion.apply(value.clone()).unwrap(), expect.into(), "{conversion:?} of {value:?}");
    }

    #[test]
    fn text_becomes_numbers_as_ruby_reads_them() {
        for (text, expect) in
            [("1.9", 1), ("1,234", 1234), (" 5", 5), ("", 0), ("0x1A", 0), ("1_0", 10), ("-7 C", -7)]
        {
            check(Conversion::Integer, text, expect as i64);
        }
        for (text, expect) in [("1,234.5", 1234.5), (".5", 0.5), ("abc", 0.0), ("1e3", 1000.0)] {
            check(Conversion::Float, text, expect);
        }
        check(Conversion::IntegerEu, "1.234,9", 1234_i64);
        check(Conversion::FloatEu, "3.141,5926", 3141.5926);
    }

    #[test]
    fn other_types_become_numbers() {
        check(Conversion::Integer, true, 1_i64);
        check(Conversion::Integer, -1.9, -1_i64);
        check(Conversion::Integer, 1e20, Value::BigInt("100000000000000000000".into()));
        check(Conversion::Integer, Value::Time(-1), -1_i64);
        check(Conversion::Float, false, 0.0);
        check(Conversion::Float, Value::BigInt("18446744073709551616".into()), 18_446_744_073_709_551_616.0);
        check(Conversion::Float, Value::Time(1500), 1.5);
        assert!(Conversion::Integer.apply(Value::Float(f64::NAN)).is_err());
        assert!(Conversion::Float.apply(Value::Array(vec![Value::object()])).is_err());
    }

    #[test]
    fn words_become_booleans_and_others_stay() {
        for text in ["TRUE", "t", "yes", "Y", "1", "1.0", "1x0", "no more\nyes"] {
            check(Conversion::Boolean, text, true);
        }
        for text in ["False", "F", "no", "n", "0", "0.0", ""] {
            check(Conversion::Boolean, text, false);
        }
        for text in ["2", "1.00", "ja", " true"] {
            check(Conversion::Boolean, text, text);
        }
        check(Conversion::Boolean, 1_i64, true);
        check(Conversion::Boolean, 0.0, false);
        check(Conversion::Boolean, 7_i64, 7_i64);
    }

    #[test]
    fn lists_are_converted_element_by_element_and_objects_not_at_all() {
        check(
            Conversion::String,
            Value::Array(vec![Value::Int(1), Value::Null, Value::Float(1e10)]),
            Value::Array(vec![Value::from("1"), Value::Null, Value::from("10000000000.0")]),
        );
        check(Conversion::Float, Value::object(), Value::object());
        check(Conversion::Integer, Value::Null, Value::Null);
    }
}
