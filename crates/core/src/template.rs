//! Templates: Logstash's `sprintf`, `vpcflowlogs-%{+YYYY.MM.dd}`, `%{[src_geoip][country_code2]}`.

use crate::event::{
    Cell, METADATA, Path, RowView, VERSION, Value, format_java_f64, push_iso_millis, write_json_value,
};
use crate::joda::DateFormat;
use crate::{Diagnostics, ExprError, Node, OptionType};

/// A text with `%{field}` and `%{+date}` in it, parsed once.
///
/// A field that is missing or null leaves its `%{field}` in the text, as in Logstash. Dates are those of
/// `@timestamp` in UTC and English; an event without one prints nothing there.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    /// A field and the text that stays where it is missing.
    Field {
        path: Path,
        source: String,
    },
    Date(DateFormat),
    /// Whole seconds since the epoch, cut towards zero.
    EpochSeconds,
}

// === impl Template ===

impl Template {
    /// Reads a template. An illegal date letter is an error; an unclosed `%{` is plain text.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("%{").map(|found| at + found) {
            let Some(close) = text[open..].find('}').map(|found| open + found) else { break };
            if open > at {
                parts.push(Part::Literal(text[at..open].to_owned()));
            }
            parts.push(reference(text, open, close)?);
            at = close + 1;
        }
        if at < text.len() {
            parts.push(Part::Literal(text[at..].to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Appends the text for one event.
    pub fn render(&self, row: RowView<'_>, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Field { path, source } => push_field(row, path, source, out),
                Part::Date(format) => {
                    if let Cell::Time(millis) = row.cell_at(&Path::timestamp()) {
                        format.format(millis, out);
                    }
                }
                Part::EpochSeconds => {
                    if let Cell::Time(millis) = row.cell_at(&Path::timestamp()) {
                        out.push_str(itoa::Buffer::new().format(millis / 1000));
                    }
                }
            }
        }
    }

    /// The text itself where nothing in it varies.
    pub fn literal(&self) -> Option<&str> {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_))).then_some(&*self.text)
    }

    /// When the template depends on nothing but `@timestamp`: the length in milliseconds of the aligned UTC windows
    /// within which its text is the same (86,400,000 for a daily index), so that a caller may keep the text. `None`
    /// when it reads a field.
    pub fn window_ms(&self) -> Option<i64> {
        let window = |part: &Part| match part {
            Part::Literal(_) => Some(i64::MAX),
            Part::Field { .. } => None,
            Part::Date(format) => Some(format.window_ms()),
            // Cut towards zero, so the second before 1970 is no aligned window.
            Part::EpochSeconds => Some(1),
        };
        self.parts.iter().try_fold(i64::MAX, |shortest, part| Some(shortest.min(window(part)?)))
    }

    /// Whether a date of `@timestamp` stands in it.
    pub fn reads_timestamp(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Date(_) | Part::EpochSeconds => true,
            Part::Field { path, .. } => *path == Path::timestamp(),
            Part::Literal(_) => false,
        })
    }

    /// The fields it names, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field { path, .. } => Some(path),
            _ => None,
        })
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl OptionType for Template {
    const TYPE: &'static str = "template";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = String::read(node, diagnostics)?;
        Self::parse(&text).map_err(|error| error.report("template", node, diagnostics)).ok()
    }

    fn show(&self) -> String {
        self.text.show()
    }
}

/// What stands between `%{` at `open` and `}` at `close`.
fn reference(text: &str, open: usize, close: usize) -> Result<Part, ExprError> {
    let inner = &text[open + 2..close];
    // Logstash compares with the beginning of `+%s` only as far as there is text.
    if "+%s".starts_with(inner) {
        return Ok(Part::EpochSeconds);
    }
    if let Some(pattern) = inner.strip_prefix('+') {
        return DateFormat::parse(pattern).map(Part::Date).map_err(|error| error.shifted(open + 3));
    }
    let path = Path::parse(inner).unwrap_or_else(|_| Path::parse_lenient(inner));
    Ok(Part::Field { path, source: text[open..=close].to_owned() })
}

fn push_field(row: RowView<'_>, path: &Path, source: &str, out: &mut String) {
    let cell = row.cell_at(path);
    if !cell.is_absent() {
        return push_cell(cell, source, out);
    }
    match row.get_path(path) {
        Some(value) => push_cell(Cell::of(&value), source, out),
        // Every event of Logstash has these two.
        None if path.as_str() == VERSION => out.push('1'),
        None if path.as_str() == METADATA => out.push_str("{}"),
        None => out.push_str(source),
    }
}

fn push_cell(cell: Cell<'_>, source: &str, out: &mut String) {
    match cell {
        Cell::Absent | Cell::Null => out.push_str(source),
        Cell::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Cell::Int(value) => out.push_str(itoa::Buffer::new().format(value)),
        Cell::Float(value) => push_bytes(out, |bytes| format_java_f64(value, bytes)),
        Cell::Time(millis) => push_bytes(out, |bytes| push_iso_millis(millis, bytes)),
        Cell::Str(text) => out.push_str(text),
        Cell::Tags(tags) => {
            for (index, tag) in tags.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(tag);
            }
        }
        Cell::Any(Value::Array(items)) => push_joined(items, out),
        Cell::Any(value) => push_bytes(out, |bytes| write_json_value(value, bytes)),
    }
}

/// Lets `write` append ASCII or UTF-8 to the text without a copy.
fn push_bytes(out: &mut String, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::mem::take(out).into_bytes();
    write(&mut bytes);
    *out = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
}

/// A list's elements with commas, lists within flattened, null empty.
fn push_joined(items: &[Value], out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match item {
            Value::Null => {}
            Value::Array(inner) => push_joined(inner, out),
            Value::Object(_) => push_java(item, out),
            scalar => push_cell(Cell::of(scalar), "", out),
        }
    }
}

/// A value as Java's collections print it: `{k=v, l=[1, 2]}`.
fn push_java(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                push_java(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(key);
                out.push('=');
                push_java(value, out);
            }
            out.push('}');
        }
        scalar => push_cell(Cell::of(scalar), "", out),
    }
}
