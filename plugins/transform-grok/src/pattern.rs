//! One pattern, compiled: its engine, and what becomes of each of its groups.

use flowstone_core::event::Path;

use crate::library::Library;
use crate::names::{Convert, GroupName};
use crate::regex::ast::Expression;
use crate::regex::backtrack::{Budget, Machine, Program, TimedOut, UNSET};
use crate::regex::error::PatternError;
use crate::regex::parse::parse;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    captures: Vec<Capture>,
    half_converted: Vec<String>,
    program: Program,
}

/// A group whose text becomes a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capture {
    /// The group's number.
    group: usize,
    /// Where its text goes.
    pub(crate) field: Path,
    /// As what.
    pub(crate) convert: Convert,
    /// It replaces what is there.
    pub(crate) overwrites: bool,
}

/// What matching needs in memory, used again from match to match.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    slots: Vec<u32>,
    machine: Machine,
}

// === impl Pattern ===

impl Pattern {
    /// Compiles `text`.
    pub(crate) fn new(text: &str, library: &Library, named_only: bool) -> Result<Self, PatternError> {
        let expression = parse(text, library, named_only)?;
        let captures = captures(&expression);
        let half_converted = half_converted(&expression);
        Ok(Self { captures, half_converted, program: Program::new(&expression, true) })
    }

    /// Which engine it got, as `explain` says it.
    pub(crate) fn engine(&self) -> &'static str {
        "backtracking"
    }

    /// The names of which only the first group is converted.
    pub(crate) fn half_converted(&self) -> impl Iterator<Item = &str> {
        self.half_converted.iter().map(String::as_str)
    }

    /// Puts every field below `target`. A field replaces what is there if `overwrite` names it, as the pattern does or
    /// whole.
    pub(crate) fn place(&mut self, target: Option<&Path>, overwrite: &[Path]) {
        for capture in &mut self.captures {
            let whole = target.map_or_else(|| capture.field.clone(), |target| target.join(capture.field.names()));
            capture.overwrites = overwrite.contains(&capture.field) || overwrite.contains(&whole);
            capture.field = whole;
        }
    }

    /// The fields, in the order in which they are written.
    pub(crate) fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// Looks for the leftmost match; the groups are then to be had by [`Scratch::group`].
    pub(crate) fn search(&self, text: &str, scratch: &mut Scratch, budget: &mut Budget) -> Result<bool, TimedOut> {
        self.program.search(text, &mut scratch.slots, &mut scratch.machine, budget)
    }
}

impl Scratch {
    /// Start and end of what `capture` matched, if it took part.
    #[inline]
    pub(crate) fn group(&self, capture: &Capture) -> Option<(u32, u32)> {
        let (start, end) = (self.slots[capture.group * 2], self.slots[capture.group * 2 + 1]);
        (start != UNSET && end != UNSET).then_some((start, end))
    }
}

/// The captures in Logstash's order: by name in the order in which names first occur, then by place. Of several
/// groups with one and the same full name (`%{INT:n:int}` in two alternatives) Logstash converts only the first; the
/// documents it makes are the reference, so this does too.
fn captures(expression: &Expression) -> Vec<Capture> {
    let mut captures: Vec<Capture> = Vec::new();
    for (first, name) in expression.groups.iter().enumerate() {
        // The parser has checked every name.
        let Ok(parsed) = GroupName::parse(name) else { continue };
        if expression.groups[..first].contains(name) {
            continue;
        }
        let same = (first..expression.groups.len()).filter(|&group| expression.groups[group] == *name);
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
fn half_converted(expression: &Expression) -> Vec<String> {
    let groups = &expression.groups;
    let typed = |name: &str| GroupName::parse(name).is_ok_and(|name| name.convert != Convert::Text);
    let again = |(first, name): &(usize, &String)| typed(name) && groups[..*first].contains(name);
    let mut names: Vec<String> = groups.iter().enumerate().filter(again).map(|(_, name)| name.clone()).collect();
    names.dedup();
    names
}
