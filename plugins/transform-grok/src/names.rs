//! What the name of a group says: `NUMBER:packets:float` is a field called `packets` that becomes a float.

use flowstone_core::event::{Path, Value};
use flowstone_core::nearest;
use flowstone_dialect::regex::NameError;
use flowstone_dialect::{to_f, to_i};

/// What becomes of a captured text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convert {
    /// It stays text.
    Text,
    /// Ruby's `to_i`.
    Int,
    /// Ruby's `to_f`.
    Float,
}

/// A group's name, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupName {
    /// Where the text goes.
    pub(crate) field: Path,
    /// As what.
    pub(crate) convert: Convert,
}

const TYPES: [&str; 2] = ["int", "float"];

// === impl GroupName ===

impl GroupName {
    /// Takes `syntax:field:type`, `syntax:field` or `field` apart. A plain group `(?<a:b>...)` follows the same rule,
    /// as in Logstash: its field is `b`.
    pub(crate) fn parse(full: &str) -> Result<Self, NameError> {
        let mut parts = Vec::new();
        let mut at = 0;
        for part in full.split(':') {
            parts.push((at, part));
            at += part.len() + 1;
        }
        while parts.len() > 1 && parts.last().is_some_and(|(_, part)| part.is_empty()) {
            parts.pop();
        }
        let error = |(start, part): (usize, &str), message: String, label: String| {
            Err(NameError { start, end: start + part.len().max(1), message, label })
        };
        let (start, field) = if parts.len() > 1 { parts[1] } else { parts[0] };
        let path = match Path::parse(field) {
            Ok(path) => path,
            Err(why) => {
                return Err(NameError {
                    start: start + why.offset,
                    end: (start + why.offset + 1).min(full.len().max(1)),
                    message: format!("`{field}` is no field reference"),
                    label: why.message,
                });
            }
        };
        if let Some(&extra) = parts.get(3) {
            let label = "expected `%{NAME:field:type}`".to_owned();
            return error(extra, format!("nothing can follow the type, found `{}`", extra.1), label);
        }
        let convert = match parts.get(2) {
            None => Convert::Text,
            Some((_, "int")) => Convert::Int,
            Some((_, "float")) => Convert::Float,
            Some(&other) => {
                let label = match nearest(other.1, TYPES).or(wider_name(other.1)) {
                    Some(name) => {
                        format!("did you mean `{name}`? (a type is `int` or `float`; without one it is text)")
                    }
                    None => "expected `int` or `float`, or nothing for text".to_owned(),
                };
                return error(other, format!("unknown type `{}`", other.1), label);
            }
        };
        Ok(Self { field: path, convert })
    }
}

/// What people mean who write the names of other systems' types.
fn wider_name(name: &str) -> Option<&'static str> {
    match name.to_lowercase().as_str() {
        "long" | "short" | "number" | "bigint" => Some("int"),
        "double" | "real" | "decimal" => Some("float"),
        _ => None,
    }
}

// === impl Convert ===

impl Convert {
    /// The value that a captured text becomes.
    pub(crate) fn value(self, text: &str) -> Value {
        match self {
            Self::Text => Value::from(text),
            Self::Int => to_i(text),
            Self::Float => Value::Float(to_f(text)),
        }
    }

    /// The integer of a plain run of digits, with or without a sign, that surely fits.
    #[inline]
    pub(crate) fn plain_int(text: &[u8]) -> Option<i64> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        let mut number: i64 = 0;
        for &digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            number = number * 10 + i64::from(digit - b'0');
        }
        Some(if negative { -number } else { number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_the_text_goes_and_as_what() {
        for (full, field, convert) in [
            ("NUMBER:packets:float", "packets", Convert::Float),
            ("INT:[a][b]:int", "[a][b]", Convert::Int),
            ("WORD:account-id", "account-id", Convert::Text),
            ("WORD", "WORD", Convert::Text),
            ("NUMBER:n:", "n", Convert::Text),
            ("num:int", "int", Convert::Text),
        ] {
            let name = GroupName::parse(full).unwrap();
            assert_eq!((name.field.as_str(), name.convert), (field, convert), "{full}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_at_its_place_with_the_nearest() {
        for (full, start, end, says) in [
            ("NUMBER:n:long", 9, 13, "`int`"),
            ("NUMBER:n:INT", 9, 12, "`int`"),
            ("NUMBER:n:flot", 9, 13, "`float`"),
            ("NUMBER:n:integer", 9, 16, "int"),
            ("NUMBER:n:boolean", 9, 16, "expected `int` or `float`"),
            ("NUMBER:n:int:x", 13, 14, "%{NAME:field:type}"),
            ("WORD:a[b]", 6, 7, "every name in brackets"),
            ("WORD::int", 5, 6, "cannot be empty"),
        ] {
            let error = GroupName::parse(full).unwrap_err();
            assert_eq!((error.start, error.end), (start, end), "{full}");
            assert!(error.label.contains(says), "{full}: {}", error.label);
        }
    }

    #[test]
    fn plain_integers_are_read_as_to_i_reads_them() {
        for text in
            ["0", "7", "007", "-3", "+4", "123456789012345", "", "-", "1234567890123456", "1_0", "1.5", "x"]
        {
            if let Some(number) = Convert::plain_int(text.as_bytes()) {
                assert_eq!(Value::Int(number), to_i(text), "{text}");
                assert!((to_f(text) - number as f64).abs() < f64::EPSILON, "{text}");
            } else {
                assert!(
                    text.len() > 15
                        || !text.trim_start_matches(['-', '+']).bytes().all(|b| b.is_ascii_digit())
                        || text.len() < 2
                );
            }
        }
    }
}
