//! The words of a condition: strings, numbers, fields, lists and regular expressions, each with its place.

use crate::ExprError;
use flowstone_core::event::{Path, Value};

/// How deep parentheses and lists may nest, so that no text exhausts the stack.
pub(super) const MAX_DEPTH: usize = 100;

/// A position within the text of a condition, moved forward by what is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// One operand and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) kind: OperandKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What stands on a side of an operator.
#[derive(Clone, Debug)]
pub(super) enum OperandKind {
    /// `[a][b]`.
    Field(Path),
    /// A string or a number.
    Scalar(Value),
    /// `["a", "b"]`, and the places of the elements do not matter any more.
    List(Vec<Value>),
    /// `/.../` without its slashes.
    Regex(String),
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The byte the cursor stands before.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is not yet read.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Reads `token` if it stands here.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Skips blanks and comments; a comment begins with `#` and ends with its line, which must end.
    pub(super) fn skip_blanks(&mut self) {
        loop {
            self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
            match self.rest().find('\n') {
                Some(newline) if self.rest().starts_with('#') => self.at += newline + 1,
                _ => return,
            }
        }
    }

    /// The word or the character here, for an error to point at.
    pub(super) fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 { &rest[..end] } else { &rest[..rest.chars().next().map_or(0, char::len_utf8)] }
    }

    /// An error about the word here.
    pub(super) fn error(&self, label: impl Into<String>) -> ExprError {
        let word = self.word();
        let message = if word.is_empty() {
            "the condition ends too early".to_owned()
        } else {
            format!("unexpected `{word}` in a condition")
        };
        ExprError::new(message, label, self.at, self.at + word.len())
    }

    fn error_from(&self, start: usize, message: &str, label: &str) -> ExprError {
        ExprError::new(message, label, start, self.text.len())
    }

    /// Reads an operand.
    pub(super) fn operand(&mut self) -> Result<Operand, ExprError> {
        let start = self.at;
        let kind = match self.rest().bytes().next() {
            Some(b'"' | b'\'') => OperandKind::Scalar(Value::from(self.string()?)),
            Some(b'-' | b'0'..=b'9') => OperandKind::Scalar(self.number()?),
            Some(b'/') => {
                OperandKind::Regex(self.quoted('/', "the regular expression is not closed")?.to_owned())
            }
            Some(b'[') => match self.field() {
                Some(path) => OperandKind::Field(path),
                None => OperandKind::List(self.list(0)?),
            },
            _ => return Err(self.no_operand()),
        };
        Ok(Operand { kind, start, end: self.at })
    }

    fn no_operand(&self) -> ExprError {
        let word = self.word();
        let after = self.rest()[word.len()..].trim_start();
        match word {
            "true" | "false" => self.error(format!(
                "there is no `{word}`: test the field itself, `[field]` or `![field]`, or compare with the text \"{word}\""
            )),
            "not" => self.error("write `!(...)` or `![field]`; `not` only stands in `not in`"),
            _ if after.starts_with('(') && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => {
                self.error("there are no functions in conditions")
            }
            _ if word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '@') => {
                self.error(format!("a field stands in brackets, `[{word}]`, and a text in quotes, \"{word}\""))
            }
            _ => self.error("expected a field `[name]`, a string, a number, a list or a regular expression"),
        }
    }

    /// `[a][b]`: every name in brackets, without `[`, `]` and `,`. Moves only if it is one.
    pub(super) fn field(&mut self) -> Option<Path> {
        let mut names = Vec::new();
        let mut rest = self.rest();
        while let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = inner.find(['[', ']', ',']) else { break };
            if end == 0 || !inner[end..].starts_with(']') {
                break;
            }
            names.push(&inner[..end]);
            rest = &inner[end + 1..];
        }
        if names.is_empty() {
            return None;
        }
        self.at = self.text.len() - rest.len();
        Some(Path::new(names))
    }

    /// A string in single or double quotes. Nothing is unescaped (Logstash's default), but a quote behind a backslash
    /// does not end the string.
    fn string(&mut self) -> Result<&'a str, ExprError> {
        let quote = if self.rest().starts_with('"') { '"' } else { '\'' };
        self.quoted(quote, "the string is not closed")
    }

    fn quoted(&mut self, quote: char, unclosed: &str) -> Result<&'a str, ExprError> {
        let start = self.at;
        let inner = &self.rest()[1..];
        let bytes = inner.as_bytes();
        let mut end = 0;
        loop {
            match bytes.get(end) {
                None => {
                    return Err(self.error_from(start, unclosed, &format!("expected `{quote}` at the end")));
                }
                Some(b'\\') if bytes.get(end + 1) == Some(&(quote as u8)) => end += 2,
                Some(&byte) if byte == quote as u8 => break,
                Some(_) => end += 1,
            }
        }
        self.at += end + 2;
        Ok(&inner[..end])
    }

    /// `-?digits` or `-?digits.digits`.
    fn number(&mut self) -> Result<Value, ExprError> {
        let start = self.at;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        self.eat("-");
        let whole = digits(self.rest());
        if whole == 0 {
            return Err(self.error("expected digits after `-`"));
        }
        self.at += whole;
        if !self.eat(".") {
            return Ok(crate::to_i(&self.text[start..self.at]));
        }
        let fraction = digits(self.rest());
        if fraction == 0 {
            return Err(ExprError::new(
                format!("`{}` is no number", &self.text[start..self.at]),
                "expected digits after the point",
                start,
                self.at,
            ));
        }
        self.at += fraction;
        Ok(Value::Float(crate::to_f(&self.text[start..self.at])))
    }

    /// `[]` or `[value, value]`; a list of one scalar reads as a field and never comes here.
    fn list(&mut self, depth: usize) -> Result<Vec<Value>, ExprError> {
        let start = self.at;
        if depth >= MAX_DEPTH {
            return Err(ExprError::new(
                "lists nest too deep",
                format!("at most {MAX_DEPTH} levels"),
                start,
                start + 1,
            ));
        }
        self.eat("[");
        self.skip_blanks();
        let mut items = Vec::new();
        if self.eat("]") {
            return Ok(items);
        }
        loop {
            items.push(self.list_item(depth)?);
            self.skip_blanks();
            if self.eat("]") {
                return Ok(items);
            }
            if !self.eat(",") {
                return Err(if self.is_at_end() {
                    self.error_from(start, "the list is not closed", "expected `,` or `]`")
                } else {
                    self.error("expected `,` or `]`")
                });
            }
            self.skip_blanks();
        }
    }

    fn list_item(&mut self, depth: usize) -> Result<Value, ExprError> {
        match self.rest().bytes().next() {
            Some(b'"' | b'\'') => Ok(Value::from(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.list(depth + 1).map(Value::Array),
            Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
                let rest = self.rest();
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                // Logstash's bare words have two letters or more.
                if end < 2 {
                    return Err(self.error("a text stands in quotes"));
                }
                self.at += end;
                Ok(Value::from(&rest[..end]))
            }
            _ => Err(self.error("expected a string, a number or `]`")),
        }
    }
}
