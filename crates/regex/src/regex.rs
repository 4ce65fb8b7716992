//! An expression without grok's references, for conditions and substitutions.

use std::ops::Range;
use std::sync::Arc;

use regex_automata::util::pool::Pool;

use crate::ast::Expression;
use crate::budget::{Budget, GaveUp};
use crate::dfa::Fuel;
use crate::error::{PatternError, Source};
use crate::matcher::{GeneralEngines, Working};
use crate::parse::{Bounds, Syntax, parse};
use crate::simplify::simplify;

/// Classes that are looked up by name, at most, in an expression that an event brings: each costs some dozens of
/// microseconds.
const MAX_NAMED_CLASSES: usize = 8;

/// A regular expression in Ruby's syntax: `^` and `$` are per line, the dot matches a newline only where `(?m)` says
/// so, `\d`, `\s`, `\w` and `\h` are ASCII.
#[derive(Clone, Debug)]
pub struct Regex(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engines: GeneralEngines,
    groups: Vec<String>,
    working: Pool<Working, fn() -> Working>,
}

// === impl Regex ===

impl Regex {
    /// Compiles a pattern of the configuration.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        Self::within(pattern, &Bounds::CONFIGURED)
    }

    /// Compiles a pattern that an event brings: it must be small, so that compiling is done in no time.
    pub fn from_event(pattern: &str) -> Result<Self, PatternError> {
        let named =
            ["\\p", "\\P", "[:"].into_iter().map(|class| pattern.matches(class).count()).sum::<usize>();
        if named > MAX_NAMED_CLASSES {
            return Err(PatternError {
                source: Source::Pattern,
                start: 0,
                end: pattern.len(),
                message: "an expression of an event with too many named classes".to_owned(),
                label: format!("at most {MAX_NAMED_CLASSES}"),
                help: None,
            });
        }
        Self::within(pattern, &Bounds::FROM_EVENT)
    }

    fn within(pattern: &str, bounds: &Bounds) -> Result<Self, PatternError> {
        let expression = parse(pattern, Syntax::Ruby, bounds)?;
        let groups = expression.groups.clone();
        let root = simplify(&expression.root, &Fuel::new());
        let engines = GeneralEngines::new(Expression { root, ..expression }, true, bounds);
        Ok(Self(Arc::new(Inner { engines, groups, working: Pool::new(Working::default) })))
    }

    /// Whether it matches anywhere in `text`; `None` when that took too many steps to find out.
    pub fn is_match(&self, text: &str) -> Option<bool> {
        let mut budget = Budget::steps(text.len());
        self.0.engines.is_match(text, &mut self.0.working.get(), &mut budget).ok()
    }

    /// Where the first match lies that begins at byte `from` of `text` or behind it.
    pub fn find_at(
        &self,
        text: &str,
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<Range<usize>>, GaveUp> {
        self.search(text, from, budget, |working| range(working, self.0.groups.len()))
    }

    /// [`Regex::find_at`] with the groups, the whole match being group 0; nothing for a group that took no part.
    /// Beside groups with names, those without do not count, as in Ruby.
    pub fn groups_at(
        &self,
        text: &str,
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<Vec<Option<Range<usize>>>>, GaveUp> {
        let count = self.0.groups.len();
        self.search(text, from, budget, |working| {
            let groups = std::iter::once(count).chain(0..count);
            Some(groups.map(|group| range(working, group)).collect())
        })
    }

    /// The number of the group with this name in [`Regex::groups_at`]; of several, the last.
    pub fn group_number(&self, name: &str) -> Option<usize> {
        self.0.groups.iter().rposition(|group| group == name && !name.is_empty()).map(|index| index + 1)
    }

    fn search<T>(
        &self,
        text: &str,
        from: usize,
        budget: &mut Budget,
        found: impl FnOnce(&Working) -> Option<T>,
    ) -> Result<Option<T>, GaveUp> {
        // A match may end with the text, but many matches in one text may each look at all of it.
        budget.spend(1 + (text.len() - from) / 64)?;
        let mut working = self.0.working.get();
        let is_match = self.0.engines.search(text, from, &mut working, budget)?;
        Ok(if is_match { found(&working) } else { None })
    }
}

fn range(working: &Working, group: usize) -> Option<Range<usize>> {
    working.group(group).map(|(start, end)| start as usize..end as usize)
}
