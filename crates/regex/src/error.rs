//! Why a pattern cannot be used, with the place to point at.

use std::sync::Arc;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternError {
    /// The text that is to blame.
    pub source: Source,
    /// First byte of that text to point at.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// What was expected: stands beside the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A text that is read as a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The pattern itself.
    Pattern,
    /// What a `%{NAME}` in it stands for.
    Definition {
        /// Which name.
        name: Arc<str>,
        /// Its expression.
        text: Arc<str>,
    },
}

impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.label)
    }
}

impl std::error::Error for PatternError {}
