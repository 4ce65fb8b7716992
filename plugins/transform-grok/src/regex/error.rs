//! Why a pattern cannot be used, with the place to point at.

use std::sync::Arc;

use crate::library::Origin;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PatternError {
    /// The text that is to blame.
    pub(crate) source: Source,
    /// First byte of that text to point at.
    pub(crate) start: usize,
    /// The byte behind the last one.
    pub(crate) end: usize,
    /// What is wrong, in lower case without a full stop.
    pub(crate) message: String,
    /// What was expected: stands beside the caret.
    pub(crate) label: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

/// A text that is read as a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// The pattern in the option `match`.
    Pattern,
    /// The definition of a name.
    Definition {
        /// Which name.
        name: Arc<str>,
        /// Its expression.
        text: Arc<str>,
        /// Where it was read.
        origin: Origin,
    },
}

impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.label)
    }
}
