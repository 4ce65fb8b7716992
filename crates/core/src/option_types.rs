//! How each type of an option is read from the file and shown in the reference.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use crate::event::Path;
use crate::{Diagnostic, Diagnostics, Node, NodeKind, OptionSpec, OptionType};

/// Text that is never shown: passwords, API keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A size in bytes, written as a number or as `"512KiB"`, `"8MiB"`, `"10MB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The size as an index or a capacity.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

// === impl OptionType ===

fn quote(text: &str) -> String {
    if text.contains(['"', '\\']) && !text.contains('\'') { format!("'{text}'") } else { format!("{text:?}") }
}

impl OptionType for String {
    const TYPE: &'static str = "string";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.as_str().map(str::to_owned);
        if text.is_none() {
            node.expected("a string", diagnostics);
        }
        text
    }

    fn show(&self) -> String {
        quote(self)
    }
}

impl OptionType for Secret {
    const TYPE: &'static str = "string, secret";
    const SECRET: bool = true;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        String::read(node, diagnostics).map(Self)
    }

    fn show(&self) -> String {
        "\"***\"".to_owned()
    }
}

impl OptionType for PathBuf {
    const TYPE: &'static str = "path";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        String::read(node, diagnostics).map(Self::from)
    }

    fn show(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

impl OptionType for Path {
    const TYPE: &'static str = "field reference";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = String::read(node, diagnostics)?;
        Self::parse(&text)
            .map_err(|error| {
                diagnostics.push(
                    Diagnostic::error(
                        "field-reference",
                        format!("`{text}` is no field reference"),
                        node.span_within(error.offset, error.offset + 1),
                    )
                    .label(error.message),
                );
            })
            .ok()
    }

    fn show(&self) -> String {
        quote(self.as_str())
    }
}

impl OptionType for bool {
    const TYPE: &'static str = "boolean";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Boolean(value) => return Some(*value),
            NodeKind::String(text) if node.from_variable => {
                if let Ok(value) = text.parse() {
                    return Some(value);
                }
            }
            _ => {}
        }
        node.expected("`true` or `false`", diagnostics);
        None
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl OptionType for $type {
            const TYPE: &'static str = "integer";

            fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
                let range = || format!("an integer from {} to {}", Self::MIN, Self::MAX);
                let value = match &node.kind {
                    NodeKind::Integer(value) => *value,
                    NodeKind::String(text) if node.from_variable => match text.parse() {
                        Ok(value) => value,
                        Err(_) => {
                            node.invalid(format!("the variable holds {text:?}"), format!("expected {}", range()), diagnostics);
                            return None;
                        }
                    },
                    _ => {
                        node.expected("an integer", diagnostics);
                        return None;
                    }
                };
                let fits = Self::try_from(value).ok();
                if fits.is_none() {
                    node.invalid(format!("{value} is out of range"), format!("expected {}", range()), diagnostics);
                }
                fits
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
integers!(u8, u16, u32, u64, usize, i64);

impl OptionType for f64 {
    const TYPE: &'static str = "number";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Integer(value) => return Some(*value as Self),
            NodeKind::Float(value) if value.is_finite() => return Some(*value),
            NodeKind::String(text) if node.from_variable => {
                if let Some(value) = text.parse::<Self>().ok().filter(|value| value.is_finite()) {
                    return Some(value);
                }
            }
            _ => {}
        }
        node.expected("a number", diagnostics);
        None
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number in front of a unit, for durations and sizes.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..split].parse().ok()?, text[split..].trim()))
}

impl OptionType for Duration {
    const TYPE: &'static str = "duration";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str =
            "a duration such as \"500ms\", \"5s\", \"2m\", \"1h\" or \"1d\", of at most 100 years";
        let Some(text) = node.as_str() else {
            node.expected(EXPECTED, diagnostics);
            return None;
        };
        let duration = parse_duration(text);
        if duration.is_none() {
            let unit =
                if matches!(number_and_unit(text), Some((_, ""))) { "the unit is missing: " } else { "" };
            let label = format!("{unit}expected {EXPECTED}");
            node.invalid(format!("{text:?} is no duration"), label, diagnostics);
        }
        duration
    }

    fn show(&self) -> String {
        quote(&show_duration(*self))
    }
}

/// A longer duration is a slip of the pen, and no clock could be set to its end: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads a duration as the configuration spells it: `500ms`, `5s`, `2m`, `1.5h`, `1d`; at most a hundred years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * factor).ok().filter(|duration| *duration <= LONGEST)
}

/// A duration in the spelling of the configuration: `500ms`, `5s`, `2m`, `1h`, `1d`.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

impl OptionType for ByteSize {
    const TYPE: &'static str = "size in bytes";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str = "a size such as \"512KiB\", \"8MiB\", \"10MB\" or a number of bytes";
        let text = match &node.kind {
            NodeKind::Integer(value) if *value >= 0 => return Some(Self(*value as u64)),
            NodeKind::Integer(value) => {
                node.invalid(format!("{value} is no size"), format!("expected {EXPECTED}"), diagnostics);
                return None;
            }
            NodeKind::String(text) => text,
            _ => {
                node.expected(EXPECTED, diagnostics);
                return None;
            }
        };
        let size = number_and_unit(text).and_then(|(number, unit)| {
            let factor: u64 = match unit.to_ascii_lowercase().as_str() {
                "" | "b" => 1,
                "kb" => 1000,
                "kib" | "k" => 1 << 10,
                "mb" => 1_000_000,
                "mib" | "m" => 1 << 20,
                "gb" => 1_000_000_000,
                "gib" | "g" => 1 << 30,
                _ => return None,
            };
            Some(Self((number * factor as f64) as u64))
        });
        if size.is_none() {
            node.invalid(format!("{text:?} is no size"), format!("expected {EXPECTED}"), diagnostics);
        }
        size
    }

    fn show(&self) -> String {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return quote(&format!("{}{unit}", self.0 / size));
            }
        }
        self.0.to_string()
    }
}

impl<T: OptionType> OptionType for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const SECRET: bool = T::SECRET;
    const FIELDS: &'static [OptionSpec] = T::FIELDS;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::read(node, diagnostics).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

impl<T: OptionType> OptionType for Vec<T> {
    const TYPE: &'static str = const {
        match T::TYPE.as_bytes() {
            b"string" => "list of strings",
            b"field reference" => "list of field references",
            b"path" => "list of paths",
            b"table" => "list of tables",
            b"duration" => "list of durations",
            _ => "list",
        }
    };
    const SECRET: bool = T::SECRET;
    const FIELDS: &'static [OptionSpec] = T::FIELDS;

    /// A single value is a list of one, as Logstash has it.
    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Array(items) => {
                let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, diagnostics)).collect();
                read.into_iter().collect()
            }
            NodeKind::Table(_) => {
                node.expected(&format!("a {}", Self::TYPE), diagnostics);
                None
            }
            _ => T::read(node, diagnostics).map(|item| vec![item]),
        }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

impl<T: OptionType> OptionType for IndexMap<String, T> {
    const TYPE: &'static str = "table";
    const SECRET: bool = T::SECRET;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(table) = node.as_table() else {
            node.expected("a table such as { name = \"value\" }", diagnostics);
            return None;
        };
        let read: Vec<(String, Option<T>)> = table
            .entries
            .iter()
            .map(|(key, entry)| (key.clone(), T::read(&entry.value, diagnostics)))
            .collect();
        read.into_iter().map(|(key, value)| Some((key, value?))).collect()
    }

    fn show(&self) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        let entries: Vec<String> =
            self.iter().map(|(key, value)| format!("{} = {}", quote(key), value.show())).collect();
        format!("{{ {} }}", entries.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_beyond_a_hundred_years_is_none() {
        assert_eq!(parse_duration("36500d"), Some(LONGEST));
        for text in ["36501d", "99999999999d", "1e30s", "18446744073709551616ms", "-1s", "25"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
