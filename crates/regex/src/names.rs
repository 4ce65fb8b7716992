//! What a pattern's `%{NAME}` stand for: the side of grok that a regular expression does not know.

use std::sync::Arc;

/// What `%{NAME}` stands for, and what the name of a group may be.
pub trait Definitions {
    /// The expression that `name` stands for.
    fn get(&self, name: &str) -> Option<Arc<str>>;

    /// Every name, for the nearest one in a message.
    fn all(&self) -> Vec<&str>;

    /// Whether a group may have this name: `NUMBER:bytes:int`, or what stands in `(?<...>`.
    fn check(&self, group: &str) -> Result<(), NameError>;
}

/// Why a group's name means nothing, and which bytes of it are to blame.
#[derive(Clone, Debug, PartialEq)]
pub struct NameError {
    /// First byte to point at.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// What was expected: stands beside the caret.
    pub label: String,
}

/// The known name that a wrong one most likely means.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase());
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2.max(wrong.len() / 3))
        .map(|(_, name)| name)
}
