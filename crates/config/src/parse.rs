//! TOML text into the spanned tree that options are read from, and syntax errors into diagnostics. The grammar is the
//! `toml` crate's, which goes on after an error; this module gives its tree our spans and its messages our form.

use std::ops::Range;

use flowstone_core::{Diagnostic, Diagnostics, Entry, Node, NodeKind, Span, Table};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// A parsed file.
pub(crate) struct Parsed {
    pub(crate) table: Table,
    /// Whether the tree is whole: without this, what seems to be missing in it may just not have been understood.
    pub(crate) complete: bool,
}

/// Parses one file. Errors are told, and what was understood is given all the same.
pub(crate) fn parse(text: &str, file: usize, diagnostics: &mut Diagnostics) -> Parsed {
    let (root, errors) = DeTable::parse_recoverable(text);
    let before = diagnostics.len();
    let line_of =
        |span: &Range<usize>| text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count();
    let mut placed: Vec<(usize, Range<usize>, &str)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or_default(), error.message()))
        .map(|(span, message)| (line_of(&span), span, message))
        .collect();
    placed.sort_by_key(|(_, span, _)| span.start);
    let mut in_array = false;
    for line in placed.chunk_by(|a, b| a.0 == b.0) {
        // One error a line: what follows in it mostly follows from it. An array that is not closed swallows the lines
        // below it, each a list of errors; the first such line is told.
        let about_array = line.iter().find(|(_, _, message)| message.contains("array"));
        let (_, span, message) = about_array.unwrap_or(&line[0]);
        if !(about_array.is_some() && in_array) {
            diagnostics.push(syntax_error(message, text, Span { file, start: span.start, end: span.end }));
        }
        in_array = about_array.is_some();
    }
    let mut reader = Reader { text, file, diagnostics };
    let table = reader.table(root.get_ref(), Span { file, start: 0, end: 0 });
    Parsed { table, complete: diagnostics.len() == before }
}

fn syntax_error(message: &str, text: &str, span: Span) -> Diagnostic {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let here = text.get(span.start..span.end).unwrap_or_default();
    // `yes`, and `no`, which begins like `nan`: words without quotes.
    let bare_word =
        ["invalid float", "invalid boolean"].contains(&what) && here.starts_with(char::is_alphabetic);
    if bare_word || what.starts_with("string values must be quoted") {
        return if here.is_empty() {
            Diagnostic::error("syntax", "a value is missing", span)
                .label("expected a \"string\", a number, true, false, [..] or {..}")
        } else {
            Diagnostic::error("syntax", "this is no value", span).label("expected quotes around a string")
        };
    }
    let error = Diagnostic::error("syntax", what, span);
    match what {
        "duplicate key" => error
            .label("given before")
            .help("a table or key can be given once; put everything under one header, or give the component another name"),
        "unexpected `=` in array" => error.label("expected a value or `]`").help("an array above is not closed with `]`"),
        _ if expected.is_empty() => error,
        _ => error.label(format!("expected {expected}")),
    }
}

struct Reader<'a> {
    text: &'a str,
    file: usize,
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn span<T>(&self, spanned: &Spanned<T>) -> Span {
        let span = spanned.span();
        Span { file: self.file, start: span.start, end: span.end }
    }

    fn table(&mut self, table: &DeTable<'_>, span: Span) -> Table {
        let mut entries: Vec<(String, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let entry = Entry { key_span: self.span(key), value: self.node(value) };
                (key.get_ref().to_string(), entry)
            })
            .collect();
        // The `toml` crate sorts by name; people read in the order of the file.
        entries.sort_by_key(|(_, entry)| entry.key_span.start);
        Table { span, entries: entries.into_iter().collect() }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let span = self.span(value);
        let mut text_start = None;
        let kind = match value.get_ref() {
            DeValue::String(text) => {
                text_start = plain_text_start(self.text, span, text);
                NodeKind::String(text.to_string())
            }
            DeValue::Integer(number) => NodeKind::Integer(self.integer(number, span)),
            DeValue::Float(number) => NodeKind::Float(self.float(number.as_str(), span)),
            DeValue::Boolean(value) => NodeKind::Boolean(*value),
            DeValue::Datetime(value) => NodeKind::Datetime(value.to_string()),
            DeValue::Array(items) => NodeKind::Array(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => NodeKind::Table(self.table(table, span)),
        };
        Node { span, text_start, from_variable: false, kind }
    }

    fn integer(&mut self, number: &DeInteger<'_>, span: Span) -> i64 {
        i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
            self.diagnostics.push(
                Diagnostic::error("syntax", "the integer does not fit into 64 bits", span).label(format!(
                    "expected {} to {}",
                    i64::MIN,
                    i64::MAX
                )),
            );
            0
        })
    }

    fn float(&mut self, digits: &str, span: Span) -> f64 {
        let number =
            digits.parse::<f64>().ok().filter(|number| number.is_finite() || digits.contains(['n', 'i']));
        number.unwrap_or_else(|| {
            self.diagnostics.push(Diagnostic::error("syntax", "the number does not fit into 64 bits", span));
            0.0
        })
    }
}

/// Where the text of a string begins in the file, if the file spells it byte for byte.
fn plain_text_start(file: &str, span: Span, text: &str) -> Option<usize> {
    let raw = file.get(span.start..span.end)?;
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes))?;
    let mut start = quotes.len();
    if quotes.len() == 3 {
        // A line break right behind the opening quotes is not part of the text.
        start +=
            ["\r\n", "\n"].into_iter().find(|newline| raw[start..].starts_with(newline)).map_or(0, str::len);
    }
    raw[start..].starts_with(text).then_some(span.start + start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_of(text: &str) -> Node {
        let mut diagnostics = Vec::new();
        let table = parse(text, 0, &mut diagnostics).table;
        assert_eq!(diagnostics, [], "{text}");
        table.get("a").unwrap().clone()
    }

    #[test]
    fn a_byte_of_a_plain_string_is_a_byte_of_the_file() {
        for (text, expect) in [
            ("a = \"abc\"", Some(5)),
            ("a = 'a\\bc'", Some(5)),
            ("a = \"\"\"abc\"\"\"", Some(7)),
            ("a = \"\"\"\nabc\n\"\"\"", Some(8)),
            ("a = '''\r\nabc'''", Some(9)),
            ("a = \"\"", Some(5)),
            ("a = \"a\\tb\"", None),
            ("a = \"\"\"a\\\n   b\"\"\"", None),
        ] {
            assert_eq!(node_of(text).text_start, expect, "{text}");
        }
    }

    #[test]
    fn values_are_read_as_toml_means_them() {
        for (text, expect) in [
            ("a = 0x1F", NodeKind::Integer(31)),
            ("a = -1_000", NodeKind::Integer(-1000)),
            ("a = 1e3", NodeKind::Float(1000.0)),
            ("a = inf", NodeKind::Float(f64::INFINITY)),
            ("a = true", NodeKind::Boolean(true)),
            ("a = 2019-02-24T09:58:29Z", NodeKind::Datetime("2019-02-24T09:58:29Z".to_owned())),
            ("a = \"\"\"x\\\n   y\"\"\"", NodeKind::String("xy".to_owned())),
        ] {
            assert_eq!(node_of(text).kind, expect, "{text}");
        }
    }

    #[test]
    fn tables_keep_the_order_of_the_file_whichever_way_they_are_written() {
        let mut diagnostics = Vec::new();
        let text = "[s.b]\nz = 1\ny.x = 2\n[s.a]\n[t]\nq = { d = 1, c = 2 }\n";
        let table = parse(text, 7, &mut diagnostics).table;
        let keys = |table: &Table| table.entries.keys().cloned().collect::<Vec<_>>().join(",");
        let s = table.get("s").unwrap().as_table().unwrap();
        let b = s.get("b").unwrap().as_table().unwrap();
        assert_eq!((keys(&table), keys(s), keys(b)), ("s,t".into(), "b,a".into(), "z,y".into()));
        assert_eq!(b.span, Span { file: 7, start: 0, end: 5 }, "the header");
        let q = table.get("t").unwrap().as_table().unwrap().get("q").unwrap();
        assert_eq!(keys(q.as_table().unwrap()), "d,c");
        assert_eq!(&text[q.span.start..q.span.end], "{ d = 1, c = 2 }");
    }

    #[test]
    fn every_syntax_error_is_told_once_at_its_place() {
        for (text, expect) in [
            ("a = ", vec![(4, "a value is missing")]),
            ("a = yes\nb = no", vec![(4, "this is no value"), (12, "this is no value")]),
            ("[a\nb = 1", vec![(2, "unclosed table")]),
            ("a = [1,\nb = 2\nc = 3\nd = 4", vec![(10, "unexpected `=` in array")]),
            ("a = 1\na = 2", vec![(6, "duplicate key")]),
            ("[a]\n[a]", vec![(5, "duplicate key")]),
            ("a = \"x\nb = \"y", vec![(6, "invalid basic string"), (13, "invalid basic string")]),
            ("a = 99999999999999999999", vec![(4, "the integer does not fit into 64 bits")]),
            ("a = 1e999", vec![(4, "the number does not fit into 64 bits")]),
            ("a = 2020-13-01", vec![(4, "invalid date")]),
        ] {
            let mut diagnostics = Vec::new();
            let parsed = parse(text, 0, &mut diagnostics);
            let found: Vec<_> =
                diagnostics.iter().map(|d| (d.span.unwrap().start, d.message.as_str())).collect();
            assert_eq!(found, expect, "{text}");
            assert!(!parsed.complete);
        }
    }
}
