//! Field references: `message`, `[src_geoip][location][lat]`, `[tags][0]`.

use std::sync::{Arc, LazyLock};

/// The name of the subtree that travels with an event and is never serialised.
pub const METADATA: &str = "@metadata";
/// The name of the event's own time.
pub const TIMESTAMP: &str = "@timestamp";
/// The name of the schema version field that Logstash writes; its value is always `1`.
pub const VERSION: &str = "@version";

/// A field as a path of names. `[a][b]` has two names; a bare name is one, dots included (`a.b` is one field).
///
/// Cheap to clone. Two paths are equal when their names are.
#[derive(Clone)]
pub struct Path {
    /// Canonical text: the bare name of a one-name path, else every name in brackets.
    text: Arc<str>,
    names: Arc<[Arc<str>]>,
}

/// Why a text is no field reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// What was wrong, in lower case without a full stop.
    pub message: String,
    /// Byte offset of the problem within the text.
    pub offset: usize,
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PathError {}

impl Path {
    /// A path of these names, which are taken as they are.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let names: Arc<[Arc<str>]> = names.into_iter().map(|name| Arc::from(name.as_ref())).collect();
        Self::from_names(names)
    }

    /// A path of one name.
    pub fn top(name: &str) -> Self {
        Self::new([name])
    }

    fn from_names(names: Arc<[Arc<str>]>) -> Self {
        let text = match &*names {
            // A single name in brackets stays in brackets where the bare form would read differently.
            [name] if !name.contains(['[', ']']) => Arc::clone(name),
            names => names.iter().map(|name| format!("[{name}]")).collect::<String>().into(),
        };
        Self { text, names }
    }

    /// `@timestamp`.
    pub fn timestamp() -> Self {
        static PATH: LazyLock<Path> = LazyLock::new(|| Path::top(TIMESTAMP));
        PATH.clone()
    }

    /// `message`.
    pub fn message() -> Self {
        static PATH: LazyLock<Path> = LazyLock::new(|| Path::top("message"));
        PATH.clone()
    }

    /// `tags`.
    pub fn tags() -> Self {
        static PATH: LazyLock<Path> = LazyLock::new(|| Path::top("tags"));
        PATH.clone()
    }

    /// Reads a field reference strictly: `name` or `[name]...[name]`, no name empty (Logstash 7's `STRICT`).
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |offset, message: &str| Err(PathError { message: message.to_owned(), offset });
        if text.is_empty() {
            return error(0, "a field reference cannot be empty");
        }
        if !text.starts_with('[') {
            return match text.find(['[', ']']) {
                Some(offset) => {
                    error(offset, "expected a bare name or every name in brackets, as in `[a][b]`")
                }
                None => Ok(Self::top(text)),
            };
        }
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut at = 0;
        while at < text.len() {
            if !text[at..].starts_with('[') {
                return error(at, "expected `[`");
            }
            let Some(end) = text[at + 1..].find(['[', ']']).map(|end| at + 1 + end) else {
                return error(text.len(), "expected `]`");
            };
            if text[end..].starts_with('[') {
                return error(end, "expected `]`");
            }
            if end == at + 1 {
                return error(end, "a name in a field reference cannot be empty");
            }
            names.push(text[at + 1..end].into());
            at = end + 1;
        }
        Ok(Self::from_names(names.into()))
    }

    /// Reads a field reference as Logstash 6 does: brackets only separate, so `a[b]`, `[a]b`, `[a][b` and `a]` are
    /// accepted and an empty text is a field named `""`.
    pub fn parse_lenient(text: &str) -> Self {
        let names: Vec<&str> = text.split(['[', ']']).filter(|name| !name.is_empty()).collect();
        if names.is_empty() { Self::new([""]) } else { Self::new(names) }
    }

    /// The names, at least one.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The canonical text: `message`, `[a][b]`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// This path and one more name.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::new(self.names.iter().map(|name| &**name).chain([name]))
    }

    /// This path followed by the names of `rest`.
    #[must_use]
    pub fn join(&self, rest: &[Arc<str>]) -> Self {
        Self::new(self.names.iter().chain(rest))
    }

    /// The path above, if there is one.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.names.split_last()?;
        (!above.is_empty()).then(|| Self::new(above))
    }

    /// Whether `self` is `above` or lies below it.
    pub fn is_within(&self, above: &Self) -> bool {
        self.names.len() >= above.names.len() && self.names[..above.names.len()] == above.names[..]
    }

    /// Whether the path is `[@metadata]` or below it: never serialised.
    pub fn is_metadata(&self) -> bool {
        &*self.names[0] == METADATA
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.text == other.text
    }
}
impl Eq for Path {}
impl std::hash::Hash for Path {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl std::borrow::Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.text
    }
}
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Path({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<&str> {
        path.names().iter().map(|name| &**name).collect()
    }

    #[test]
    fn strict_references_are_read() {
        assert_eq!(names(&Path::parse("a.b").unwrap()), ["a.b"]);
        assert_eq!(names(&Path::parse("[a]").unwrap()), ["a"]);
        assert_eq!(names(&Path::parse("[a][b c]").unwrap()), ["a", "b c"]);
        assert_eq!(Path::parse("[a]").unwrap(), Path::parse("a").unwrap());
    }

    #[test]
    fn what_is_no_reference_is_refused_at_its_place() {
        for (text, offset) in
            [("", 0), ("a[b]", 1), ("[a]b", 3), ("[a][b", 5), ("a]", 1), ("[]", 1), ("[a[b]]", 2)]
        {
            assert_eq!(Path::parse(text).unwrap_err().offset, offset, "{text}");
        }
    }

    #[test]
    fn lenient_references_read_as_logstash_6_does() {
        for (text, expect) in [
            ("a[b]", vec!["a", "b"]),
            ("[a]b", vec!["a", "b"]),
            ("[a][b", vec!["a", "b"]),
            ("a]", vec!["a"]),
            ("", vec![""]),
        ] {
            assert_eq!(names(&Path::parse_lenient(text)), expect, "{text}");
        }
    }

    #[test]
    fn below_and_above() {
        let path = Path::parse("[a][b][c]").unwrap();
        assert!(path.is_within(&Path::parse("[a][b]").unwrap()));
        assert!(!Path::top("ab").is_within(&Path::top("a")));
        assert_eq!(path.parent().unwrap().as_str(), "[a][b]");
        assert_eq!(Path::top("a").parent(), None);
    }
}
