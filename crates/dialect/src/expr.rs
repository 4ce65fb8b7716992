//! Why a condition, a template or a date pattern cannot be read.

use flowstone_regex::PatternError;

use flowstone_core::{Diagnostic, Diagnostics, Node};

/// Why a condition, a template or a date pattern cannot be read: a place in its text and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// What was expected: stands beside the caret.
    pub label: String,
    /// First byte of the text to point at.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

// === impl ExprError ===

impl ExprError {
    /// An error at bytes `start..end` of the text.
    pub fn new(message: impl Into<String>, label: impl Into<String>, start: usize, end: usize) -> Self {
        Self { message: message.into(), label: label.into(), start, end }
    }

    /// The same error in a text that holds this one from byte `offset` on.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        self.start += offset;
        self.end += offset;
        self
    }

    /// Says it at its place within the string `node`.
    pub fn report(&self, code: &'static str, node: &Node, diagnostics: &mut Diagnostics) {
        diagnostics.push(
            Diagnostic::error(code, &self.message, node.span_within(self.start, self.end)).label(&self.label),
        );
    }

    /// The same as a warning.
    pub fn warn(&self, code: &'static str, node: &Node, diagnostics: &mut Diagnostics) {
        diagnostics.push(
            Diagnostic::warning(code, &self.message, node.span_within(self.start, self.end))
                .label(&self.label),
        );
    }
}

impl From<PatternError> for ExprError {
    fn from(error: PatternError) -> Self {
        Self::new(error.message, error.label, error.start, error.end)
    }
}

impl std::fmt::Display for ExprError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}: {}", self.message, self.start, self.label)
    }
}

impl std::error::Error for ExprError {}
