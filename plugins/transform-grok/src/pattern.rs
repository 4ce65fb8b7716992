//! One pattern, compiled, and what becomes of each of its groups.

use flowstone_core::event::Path;
use flowstone_dialect::regex::{Budget, Engine, GaveUp, Matcher, PatternError, Scratch};

use crate::library::Library;
use crate::names::{Convert, GroupName};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    captures: Vec<Capture>,
    half_converted: Vec<String>,
    matcher: Matcher,
}

/// A group whose text becomes a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capture {
    /// The group's number.
    pub(crate) group: usize,
    /// Where its text goes.
    pub(crate) field: Path,
    /// As what.
    pub(crate) convert: Convert,
    /// It replaces what is there.
    pub(crate) overwrites: bool,
}

// === impl Pattern ===

impl Pattern {
    /// Compiles `text`.
    pub(crate) fn new(text: &str, library: &Library, named_only: bool) -> Result<Self, PatternError> {
        let matcher = Matcher::grok(text, library, named_only)?;
        let groups = matcher.groups();
        Ok(Self { captures: captures(groups), half_converted: half_converted(groups), matcher })
    }

    /// Which engine it got.
    pub(crate) fn engine(&self) -> Engine {
        self.matcher.engine()
    }

    /// The names of which only the first group is converted.
    pub(crate) fn half_converted(&self) -> impl Iterator<Item = &str> {
        self.half_converted.iter().map(String::as_str)
    }

    /// Puts every field below `target`. A field replaces what is there if `overwrite` names it, as the pattern does or
    /// whole.
    pub(crate) fn place(&mut self, target: Option<&Path>, overwrite: &[Path]) {
        for capture in &mut self.captures {
            let whole =
                target.map_or_else(|| capture.field.clone(), |target| target.join(capture.field.names()));
            capture.overwrites = overwrite.contains(&capture.field) || overwrite.contains(&whole);
            capture.field = whole;
        }
    }

    /// The fields, in the order in which they are written.
    pub(crate) fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// Looks for the leftmost match; the groups are then to be had by [`Scratch::group`].
    #[inline]
    pub(crate) fn search(
        &self,
        text: &str,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<bool, GaveUp> {
        self.matcher.search(text, scratch, budget)
    }
}

/// The captures in Logstash's order: by name in the order in which names first occur, then by place. Of several
/// groups with one and the same full name (`%{INT:n:int}` in two alternatives) Logstash converts only the first; the
/// documents it makes are the reference, so this does too.
fn captures(groups: &[String]) -> Vec<Capture> {
    let mut captures: Vec<Capture> = Vec::new();
    for (first, name) in groups.iter().enumerate() {
        // The parser has checked every name.
        let Ok(parsed) = GroupName::parse(name) else { continue };
        if groups[..first].contains(name) {
            continue;
        }
        let same = (first..groups.len()).filter(|&group| groups[group] == *name);
        captures.extend(same.map(|group| Capture {
            group,
            field: parsed.field.clone(),
            convert: if group == first { parsed.convert } else { Convert::Text },
            overwrites: false,
        }));
    }
    captures
}

/// The names with a type that more than one group has.
fn half_converted(groups: &[String]) -> Vec<String> {
    let typed = |name: &str| GroupName::parse(name).is_ok_and(|name| name.convert != Convert::Text);
    let again = |(first, name): &(usize, &String)| typed(name) && groups[..*first].contains(name);
    let mut names: Vec<String> =
        groups.iter().enumerate().filter(again).map(|(_, name)| name.clone()).collect();
    names.dedup();
    names
}
