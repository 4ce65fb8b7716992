//! A spanned tree of TOML values: what a configuration file says and where it says it.

use indexmap::IndexMap;

use crate::{Diagnostic, Diagnostics, OptionSpec, nearest};

/// A stretch of a configuration file in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Which file, in the order they were given.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

/// A TOML value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value, quotes included.
    pub span: Span,
    /// Where a string's text begins, when the file spells it without escapes, so that a byte of the value is a byte
    /// of the file. Unset for strings with escapes or variables.
    pub text_start: Option<usize>,
    /// Whether the string was one whole `${VAR}`: it may then fill a number or a boolean.
    pub from_variable: bool,
    /// The value.
    pub kind: NodeKind,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum NodeKind {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A TOML table in the order of the file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    /// The header (`[sinks.es]`) or the braces.
    pub span: Span,
    /// Keys with their values.
    pub entries: IndexMap<String, Entry>,
}

/// A key of a [`Table`] and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

// === impl Node ===

impl Node {
    /// The value's type as a message says it.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::String(_) => "a string",
            NodeKind::Integer(_) => "an integer",
            NodeKind::Float(_) => "a float",
            NodeKind::Boolean(_) => "a boolean",
            NodeKind::Datetime(_) => "a date-time",
            NodeKind::Array(_) => "an array",
            NodeKind::Table(_) => "a table",
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            NodeKind::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The stretch of the file that holds bytes `start..end` of this string's text; the whole value where the text
    /// is spelled with escapes or comes from a variable.
    pub fn span_within(&self, start: usize, end: usize) -> Span {
        match self.text_start {
            Some(text) => Span { file: self.span.file, start: text + start, end: text + end.max(start + 1) },
            None => self.span,
        }
    }

    /// Says that this value is not of the expected type.
    pub fn expected(&self, expected: &str, diagnostics: &mut Diagnostics) {
        diagnostics.push(
            Diagnostic::error(
                "wrong-type",
                format!("expected {expected}, found {}", self.kind_name()),
                self.span,
            )
            .label(format!("expected {expected}")),
        );
    }

    /// Says that this value is of the right type but means nothing.
    pub fn invalid(
        &self,
        message: impl Into<String>,
        expected: impl Into<String>,
        diagnostics: &mut Diagnostics,
    ) {
        diagnostics.push(Diagnostic::error("invalid-value", message, self.span).label(expected));
    }
}

impl Table {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Of a misspelt key that must be there two things are said, that it is unknown and that it is missing: leaves out
    /// the second among what was said `since`.
    pub fn report_misspelt_once(&self, since: usize, diagnostics: &mut Diagnostics) {
        let is_key = |span| self.entries.values().any(|entry| Some(entry.key_span) == span);
        let said = diagnostics[since..].iter();
        let meant: Vec<String> = said
            .filter(|said| said.code == "unknown-option" && is_key(said.span))
            .filter_map(|said| said.label.strip_prefix("did you mean `")?.strip_suffix("`?"))
            .map(|meant| format!("option `{meant}` is missing"))
            .collect();
        let mut number = 0;
        diagnostics.retain(|said| {
            number += 1;
            let missing = said.code == "missing-option" && said.span == Some(self.span);
            number <= since || !(missing && meant.iter().any(|meant| said.message.starts_with(meant)))
        });
    }

    /// Says which keys are neither in `known` nor in `more`.
    pub fn refuse_unknown(
        &self,
        component: &str,
        known: &[OptionSpec],
        more: &[&str],
        diagnostics: &mut Diagnostics,
    ) {
        for (key, entry) in &self.entries {
            let names = || known.iter().map(|spec| spec.name).chain(more.iter().copied());
            if names().any(|name| name == key) {
                continue;
            }
            let error = Diagnostic::error(
                "unknown-option",
                format!("unknown option `{key}` in {component}"),
                entry.key_span,
            );
            diagnostics.push(match nearest(key, names()) {
                Some(name) => error.label(format!("did you mean `{name}`?")),
                None => error.label(format!("expected one of {}", names().collect::<Vec<_>>().join(", "))),
            });
        }
    }
}
