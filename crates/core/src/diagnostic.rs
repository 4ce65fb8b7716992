//! What there is to say about a configuration: where, what was expected, what to do.

use crate::Span;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; the topology runs.
    Warning,
    /// The topology cannot run.
    Error,
}

/// One thing to say about a configuration: where, what was expected, what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable name in kebab case: `unknown-option`.
    pub code: &'static str,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// Where; `None` when it is about no place in a file.
    pub span: Option<Span>,
    /// A few words beside the caret: what was expected, the nearest name.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to it, each with its words: where a name was first used, the links of a cycle.
    pub also: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span: Some(span),
            label: String::new(),
            help: None,
            also: Vec::new(),
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, span) }
    }

    /// With words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a line that says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place that belongs to it.
    #[must_use]
    pub fn also(mut self, span: Span, words: impl Into<String>) -> Self {
        self.also.push((span, words.into()));
        self
    }
}

/// Everything found so far; a configuration is read to its end and all problems are told at once.
pub type Diagnostics = Vec<Diagnostic>;

/// The name among `known` that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .map(|(distance, name)| {
            // `flush_secs` for `flush_interval`: far in letters, but the same first word.
            let shared = wrong.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
            (if shared >= 5 { distance.min(2) } else { distance }, name)
        })
        // `opensearch-9` is as near to each version: the last one is meant.
        .min_by_key(|(distance, name)| (*distance, number(wrong).abs_diff(number(name))))
        .filter(|(distance, _)| *distance <= 2.max(wrong.len() / 3))
        .map(|(_, name)| name)
}

/// The number at the end of a name, 0 without one.
fn number(name: &str) -> u64 {
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[digits..].parse().unwrap_or(0)
}
