//! A place in a text that is read.

use crate::error::{PatternError, Source};

/// A place in one of the texts being read.
pub(crate) struct Cursor<'t> {
    pub(crate) text: &'t str,
    pub(crate) at: usize,
    /// Where `text` begins within the text of `source`.
    pub(crate) base: usize,
    pub(crate) source: Source,
}

// === impl Cursor ===

impl Cursor<'_> {
    pub(crate) fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(crate) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The digits here, as long as they are of `radix` and no more than `limit`.
    pub(crate) fn digits(&mut self, radix: u32, limit: usize) -> &str {
        let start = self.at;
        while self.at - start < limit && self.peek().is_some_and(|c| c.is_digit(radix)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Everything up to `end`, which is eaten as well.
    pub(crate) fn until(&mut self, end: char) -> Option<&str> {
        let start = self.at;
        let length = self.rest().find(end)?;
        self.at += length + end.len_utf8();
        Some(&self.text[start..start + length])
    }

    pub(crate) fn error(
        &self,
        start: usize,
        end: usize,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> PatternError {
        PatternError {
            source: self.source.clone(),
            start: self.base + start,
            end: self.base + end,
            message: message.into(),
            label: label.into(),
            help: None,
        }
    }
}
