//! One pattern, compiled: its engine, and what becomes of each of its groups.

use flowstone_core::event::Path;

use crate::library::Library;
use crate::names::{Convert, GroupName};
use crate::regex::ast::Expression;
use crate::regex::backtrack::{self, Budget, Machine, TimedOut, UNSET};
use crate::regex::error::PatternError;
use crate::regex::fast;
use crate::regex::fast_run::{self, Answer, Tries};
use crate::regex::linear::{Linear, LinearCache};
use crate::regex::parse::parse;
use crate::regex::simplify::simplify;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    captures: Vec<Capture>,
    half_converted: Vec<String>,
    fast: Option<fast_run::Program>,
    linear: Option<Linear>,
    backtracking: backtrack::Program,
}

/// Which engine a pattern got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A program that never goes back: it is proven that nothing in the pattern is a choice.
    Fast,
    /// The same as far as it goes; a line for which a choice must be taken back is matched in linear time instead.
    FastThenLinear,
    /// The same as far as it goes; a line for which a choice must be taken back is matched by backtracking instead.
    FastThenBacktracking,
    /// Linear in the length of the text, whatever the pattern.
    Linear,
    /// Backtracking, as in Oniguruma, within `timeout_millis`.
    Backtracking,
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
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    slots: Vec<u32>,
    machine: Machine,
    tries: Tries,
    linear: Option<LinearCache>,
    asked: u32,
    unsure: u32,
}

/// So many lines must show that the quick engine is of no use, and more than half of all, before it is no longer asked.
const ENOUGH: u32 = 32;

// === impl Pattern ===

impl Pattern {
    /// Compiles `text`.
    pub(crate) fn new(text: &str, library: &Library, named_only: bool) -> Result<Self, PatternError> {
        let expression = parse(text, library, named_only)?;
        let root = simplify(&expression.root);
        Ok(Self {
            captures: captures(&expression),
            half_converted: half_converted(&expression),
            fast: fast::compile(&root, &expression),
            linear: Linear::new(&root, expression.groups.len()),
            backtracking: backtrack::Program::new(&Expression { root, groups: expression.groups }, true),
        })
    }

    /// Which engine it got.
    pub(crate) fn engine(&self) -> Engine {
        match (&self.fast, &self.linear) {
            (Some(fast), _) if fast.is_proven() => Engine::Fast,
            (Some(_), Some(_)) => Engine::FastThenLinear,
            (Some(_), None) => Engine::FastThenBacktracking,
            (None, Some(_)) => Engine::Linear,
            (None, None) => Engine::Backtracking,
        }
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
    ) -> Result<bool, TimedOut> {
        if let Some(fast) = &self.fast
            && (scratch.unsure < ENOUGH || scratch.unsure * 2 <= scratch.asked)
        {
            scratch.asked += 1;
            match fast.search(text, &mut scratch.slots, &mut scratch.tries) {
                Answer::Match => return Ok(true),
                Answer::NoMatch => return Ok(false),
                Answer::Unsure => scratch.unsure += 1,
            }
        }
        self.search_slowly(text, scratch, budget)
    }

    fn search_slowly(
        &self,
        text: &str,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<bool, TimedOut> {
        match &self.linear {
            Some(linear) => {
                let cache = scratch.linear.get_or_insert_with(|| linear.cache());
                Ok(linear.search(text, &mut scratch.slots, cache))
            }
            None => self.backtracking.search(text, &mut scratch.slots, &mut scratch.machine, budget),
        }
    }
}

impl Scratch {
    /// Begins anew to judge whether the quick engine is of use.
    pub(crate) fn forget(&mut self) {
        (self.asked, self.unsure) = (0, 0);
    }

    /// Start and end of what `capture` matched, if it took part.
    #[inline]
    pub(crate) fn group(&self, capture: &Capture) -> Option<(u32, u32)> {
        let (start, end) = (self.slots[capture.group * 2], self.slots[capture.group * 2 + 1]);
        (start != UNSET && end != UNSET).then_some((start, end))
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast: nothing in the pattern is a choice",
            Self::FastThenLinear => "fast; linear for a line that needs a choice taken back",
            Self::FastThenBacktracking => "fast; backtracking for a line that needs a choice taken back",
            Self::Linear => "linear",
            Self::Backtracking => "backtracking, within timeout_millis",
        })
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
    let mut names: Vec<String> =
        groups.iter().enumerate().filter(again).map(|(_, name)| name.clone()).collect();
    names.dedup();
    names
}
