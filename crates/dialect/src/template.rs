//! Templates: Logstash's `sprintf`, `vpcflowlogs-%{+YYYY.MM.dd}`, `%{[src_geoip][country_code2]}`.

use crate::ExprError;
use crate::access::{Access, Held};
use crate::date_letters::{self, Letter};
use crate::java_time::JavaDateFormat;
use crate::joda::DateFormat;
use flowstone_core::event::{
    Batch, Cell, Digits, Path, RowView, Value, format_java_f64, push_iso_millis, write_json_cell,
};
use flowstone_core::{Diagnostics, Node, OptionType};

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
    /// `@timestamp` in a pattern.
    Date(Path, DateFormat),
    /// `@timestamp` in a pattern of java.time.
    JavaDate(Path, JavaDateFormat),
    /// `@timestamp` in whole seconds since the epoch, cut towards zero.
    EpochSeconds(Path),
}

/// A [`Template`] whose fields are looked up in one batch.
pub struct BoundTemplate<'a> {
    template: &'a Template,
    batch: &'a Batch,
    /// In the order of the parts that read one.
    fields: Vec<Access<'a>>,
}

// === impl Template ===

impl Template {
    /// Reads a template. An illegal date letter is an error; an unclosed `%{` is plain text.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let parts = places(text)?.into_iter().map(|(_, part)| part).collect();
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Date letters that mean something, but hardly what was meant: `mm` where a month belongs.
    pub fn warnings(text: &str) -> Vec<ExprError> {
        let places = places(text).unwrap_or_default();
        let letters = places.iter().flat_map(|(at, part)| match part {
            // Behind `%{+` and `%{{`.
            Part::Date(_, format) => Letter::of_joda(format, at + 3),
            Part::JavaDate(_, format) => Letter::of_java(format, at + 3),
            _ => Vec::new(),
        });
        date_letters::warnings(&letters.collect::<Vec<_>>())
    }

    /// Whether it tells one minute from the next, whatever else it reads: what it names is then new every minute.
    pub fn has_minutes(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Literal(_) | Part::Field { .. } => false,
            Part::Date(_, format) => format.window_ms() < 3_600_000,
            Part::JavaDate(_, format) => format.window_ms() < 3_600_000,
            Part::EpochSeconds(_) => true,
        })
    }

    /// Appends the text for one event.
    pub fn render(&self, row: RowView<'_>, out: &mut String) {
        self.render_with(out, |path| Held::of(row.cell_at(path), || row.get_path(path), path));
    }

    /// The template with its fields looked up in a batch, to render many rows.
    pub fn bind<'a>(&'a self, batch: &'a Batch) -> BoundTemplate<'a> {
        let fields = self.parts.iter().filter_map(Part::path).map(|path| Access::of(batch, path)).collect();
        BoundTemplate { template: self, batch, fields }
    }

    fn render_with<'a>(&'a self, out: &mut String, mut held: impl FnMut(&'a Path) -> Held<'a>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Field { path, source } => push_cell(held(path).cell(), source, out),
                Part::Date(timestamp, format) => {
                    if let Cell::Time(millis) = held(timestamp).cell() {
                        format.format(millis, out);
                    }
                }
                Part::JavaDate(timestamp, format) => {
                    if let Cell::Time(millis) = held(timestamp).cell() {
                        format.format(millis, out);
                    }
                }
                Part::EpochSeconds(timestamp) => {
                    if let Cell::Time(millis) = held(timestamp).cell() {
                        out.push_str(Digits::of(millis / 1000).as_str());
                    }
                }
            }
        }
    }

    /// The text in front of the first thing that varies.
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
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
            Part::Date(_, format) => Some(format.window_ms()),
            Part::JavaDate(_, format) => Some(format.window_ms()),
            // Cut towards zero, so the second before 1970 is no aligned window.
            Part::EpochSeconds(_) => Some(1),
        };
        self.parts.iter().try_fold(i64::MAX, |shortest, part| Some(shortest.min(window(part)?)))
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
        for warning in Self::warnings(&text) {
            warning.warn("date-letters", node, diagnostics);
        }
        let read = Self::parse(&text);
        // Each `%{...}` that cannot be read is told, not only the first.
        let (mut wrong, mut from) = (read.as_ref().err().cloned(), 0);
        while let Some(error) = wrong {
            let error = error.shifted(from);
            error.report("template", node, diagnostics);
            let Some(close) = text[error.start..].find('}') else { break };
            from = error.start + close + 1;
            wrong = Self::parse(&text[from..]).err();
        }
        read.ok()
    }

    fn show(&self) -> String {
        self.text.show()
    }
}

// === impl BoundTemplate ===

impl BoundTemplate<'_> {
    /// Appends the text for one row of the batch.
    pub fn render(&self, row: usize, out: &mut String) {
        let mut fields = self.fields.iter();
        self.template.render_with(out, |path| match fields.next() {
            Some(access) => access.held(self.batch, row),
            None => Held::of(Cell::Absent, || None, path),
        });
    }
}

impl Part {
    /// The field it reads.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Literal(_) => None,
            Self::Field { path, .. }
            | Self::Date(path, _)
            | Self::JavaDate(path, _)
            | Self::EpochSeconds(path) => Some(path),
        }
    }
}

/// The parts of a template, each with its first byte.
fn places(text: &str) -> Result<Vec<(usize, Part)>, ExprError> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("%{").map(|found| at + found) {
        let Some(close) = text[open..].find('}').map(|found| open + found) else { break };
        if open > at {
            parts.push((at, Part::Literal(text[at..open].to_owned())));
        }
        if let Some(format) = java_date(text, open, close)? {
            parts.push((open, Part::JavaDate(Path::timestamp(), format)));
            at = close + 2;
        } else {
            parts.push((open, reference(text, open, close)?));
            at = close + 1;
        }
    }
    if at < text.len() {
        parts.push((at, Part::Literal(text[at..].to_owned())));
    }
    Ok(parts)
}

/// The pattern of `%{{...}}`, if the text at `open` is one; `close` is the first of its two braces.
fn java_date(text: &str, open: usize, close: usize) -> Result<Option<JavaDateFormat>, ExprError> {
    let (Some(pattern), true) = (text[open + 2..close].strip_prefix('{'), text[close + 1..].starts_with('}'))
    else {
        return Ok(None);
    };
    if pattern == "TIME_NOW" {
        return Err(ExprError::new(
            "`TIME_NOW` is not supported: an event that is read again would get another text",
            "write the event's own time, `%{+YYYY-MM-dd'T'HH:mm:ss.SSS'Z'}`",
            open,
            close + 2,
        ));
    }
    JavaDateFormat::parse(pattern).map(Some).map_err(|error| error.shifted(open + 3))
}

/// What stands between `%{` at `open` and `}` at `close`.
fn reference(text: &str, open: usize, close: usize) -> Result<Part, ExprError> {
    let inner = &text[open + 2..close];
    // Logstash compares with the beginning of `+%s` only as far as there is text.
    if "+%s".starts_with(inner) {
        return Ok(Part::EpochSeconds(Path::timestamp()));
    }
    if let Some(pattern) = inner.strip_prefix('+') {
        let format = DateFormat::parse(pattern).map_err(|error| error.shifted(open + 3))?;
        return Ok(Part::Date(Path::timestamp(), format));
    }
    let path = Path::parse(inner).unwrap_or_else(|_| Path::parse_lenient(inner));
    Ok(Part::Field { path, source: text[open..=close].to_owned() })
}

fn push_cell(cell: Cell<'_>, source: &str, out: &mut String) {
    match cell {
        Cell::Absent | Cell::Null => out.push_str(source),
        Cell::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Cell::Int(value) => out.push_str(Digits::of(value).as_str()),
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
        Cell::Object(_) | Cell::Any(_) => push_bytes(out, |bytes| write_json_cell(cell, bytes)),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use flowstone_core::event::RowId;
    use flowstone_core::{NodeKind, Span, parse_json};

    /// 2019-02-24T09:58:29.007Z.
    const T: i64 = 1_551_002_309_007;

    fn batch(event: &str, timestamp: Option<i64>) -> Batch {
        let mut batch = Batch::new(vec![RowId::default()]);
        let Ok(Value::Object(fields)) = parse_json(&mut event.as_bytes().to_vec()) else { panic!("{event}") };
        for (name, value) in fields {
            batch.set(0, &Path::top(&name), value).unwrap();
        }
        if let Some(millis) = timestamp {
            batch.set(0, &Path::timestamp(), Value::Time(millis)).unwrap();
        }
        batch
    }

    fn render(template: &str, event: &str, timestamp: Option<i64>) -> String {
        let mut out = String::from("<");
        Template::parse(template).unwrap().render(batch(event, timestamp).row(0), &mut out);
        out.split_off(1)
    }

    #[test]
    fn fields_are_inserted_as_logstash_spells_them() {
        for (value, expect) in [
            (r#""x""#, "x"),
            (r#""%{b}""#, "%{b}"),
            ("1", "1"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.0", "1.0"),
            ("12345678.0", "1.2345678E7"),
            ("-0.0", "-0.0"),
            ("true", "true"),
            ("false", "false"),
            ("null", "%{a}"),
            (r#"["x","y"]"#, "x,y"),
            (r#"[["x",null],[],56]"#, "x,,,56"),
            ("[]", ""),
            (r#"{"k":[1,{"m":null}]}"#, r#"{"k":[1,{"m":null}]}"#),
            ("{}", "{}"),
            (r#"[{"k":"v","l":[1,null]},2.5]"#, "{k=v, l=[1, null]},2.5"),
        ] {
            assert_eq!(render("%{a}", &format!(r#"{{"a":{value}}}"#), Some(T)), expect);
        }
    }

    #[test]
    fn references_reach_into_objects_and_lists() {
        for (template, expect) in [
            ("%{[a][b]}", "x"),
            ("%{a[b]}", "x"),
            ("%{[l][0]}-%{[l][-1]}", "1-2"),
            ("%{a.b}", "dot"),
            ("%{ a }", "blanks"),
            ("%{nope}", "%{nope}"),
            ("%{[a][nope]}", "%{[a][nope]}"),
            ("%{[@metadata][k]}", "v"),
            ("%{@metadata}", r#"{"k":"v"}"#),
            ("%{@timestamp}", "2019-02-24T09:58:29.007Z"),
            ("%{@version}", "1"),
            ("a%{l}b%{a.b}", "a1,2bdot"),
        ] {
            let event = r#"{"a":{"b":"x"},"l":[1,2],"a.b":"dot"," a ":"blanks","@metadata":{"k":"v"}}"#;
            assert_eq!(render(template, event, Some(T)), expect, "{template}");
        }
        assert_eq!(render("%{@metadata}", "{}", None), "{}");
    }

    #[test]
    fn dates_are_those_of_the_timestamp() {
        for (template, millis, expect) in [
            ("vpc-%{+YYYY.MM.dd}", Some(T), "vpc-2019.02.24"),
            ("%{+YYYY.MM.dd}}", Some(T), "2019.02.24}"),
            ("%{}%{+}%{+%}%{+%s}", Some(1000), "1111"),
            ("%{+%s}", Some(-1), "0"),
            ("%{+%ss}", Some(T), "%29"),
            ("%{+'week'ww}", Some(T), "week08"),
            ("/%{{YYYY-DDD}}/%{{HH}}", Some(T), "/2019-055/09"),
            ("%{{yyyy}", Some(T), "%{{yyyy}"),
            ("a%{{yyyy}}b", None, "ab"),
            ("a%{+YYYY}b%{+%s}c", None, "abc"),
        ] {
            assert_eq!(render(template, "{}", millis), expect, "{template}");
        }
        // A string is no timestamp.
        assert_eq!(render("a%{+YYYY}b", r#"{"@timestamp":"2019"}"#, None), "ab");
    }

    #[test]
    fn what_is_no_reference_is_text() {
        for text in ["", "plain", "x%{", "x%{a", "%", "}{", r"\%", "%{+YYY/web", "% {a}"] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.literal(), Some(text));
            assert_eq!(render(text, r#"{"a":"x"}"#, Some(T)), text);
        }
        assert_eq!(Template::parse("%{a}").unwrap().literal(), None);
    }

    #[test]
    fn an_illegal_date_letter_is_refused_at_its_place() {
        for (template, start, end) in [
            ("x%{+Q}", 4, 5),
            ("%{a}-%{+YYYY.TT}", 13, 15),
            ("%{{yyyy.tt}}", 8, 10),
            ("x%{{TIME_NOW}}", 1, 14),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert_eq!((error.start, error.end), (start, end), "{template}");
        }
    }

    #[test]
    fn every_reference_that_cannot_be_read_is_told_at_its_place() {
        let text = "a-%{+TT}-%{b}-%{{yyyy.tt}}-%{+YYYY}-%{+}}%{+Q}";
        let node = Node {
            span: Span { file: 0, start: 0, end: 60 },
            text_start: Some(100),
            from_variable: false,
            kind: NodeKind::String(text.to_owned()),
        };
        let mut diagnostics = Diagnostics::new();
        assert!(Template::read(&node, &mut diagnostics).is_none());
        let places: Vec<&str> = diagnostics
            .iter()
            .map(|said| said.span.unwrap())
            .map(|span| &text[span.start - 100..span.end - 100])
            .collect();
        assert_eq!(places, ["TT", "tt", "Q"]);
    }

    #[test]
    fn the_window_is_known_where_only_the_time_counts() {
        for (template, expect) in [
            ("vpc-%{+YYYY.MM.dd}", Some(86_400_000)),
            ("%{+YYYY}-%{+HH}", Some(3_600_000)),
            ("plain", Some(i64::MAX)),
            ("%{+%s}", Some(1)),
            ("%{{HH:mm}}", Some(60_000)),
            ("%{a}-%{+YYYY}", None),
        ] {
            assert_eq!(Template::parse(template).unwrap().window_ms(), expect, "{template}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[%{}+a-z'.\\[\\]YMds é]{0,30}", millis in any::<i64>()) {
            match Template::parse(&text) {
                Ok(template) => {
                    let batch = batch(r#"{"a":{"b":["x",{"y":1.5}]}}"#, Some(millis.max(-i64::MAX)));
                    let mut out = String::new();
                    template.render(batch.row(0), &mut out);
                    if template.literal().is_some() {
                        prop_assert_eq!(out, text);
                    }
                }
                Err(error) => prop_assert!(error.start <= error.end && error.end <= text.len(), "{:?}", error),
            }
        }
    }
}
