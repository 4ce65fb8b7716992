//! A compiled expression: the one place that decides which engine is asked.

use std::sync::{Arc, OnceLock};

use regex_syntax::hir::Hir;

use crate::ast::{Assert, Expression, Node};
use crate::backtrack;
use crate::budget::{Budget, GaveUp};
use crate::dfa::Fuel;
use crate::error::PatternError;
use crate::fast;
use crate::fast_run::{self, Answer, Tries};
use crate::lazy_dfa::{Candidate, LazyDfa};
use crate::linear::{self, Linear, LinearCache};
use crate::machine::{Machine, UNSET};
use crate::names::Definitions;
use crate::parse::{Bounds, Syntax, parse};
use crate::simplify::simplify;

/// The fast engine is no longer asked once this many lines, and more than half of all, were inconclusive.
const MIN_INCONCLUSIVE: u32 = 32;
/// For texts from here on the clock of a budget runs from the start.
const LONG: usize = 16 << 10;

/// A grok pattern, compiled.
#[derive(Clone, Debug)]
pub struct Matcher {
    groups: Vec<String>,
    fast: Option<fast_run::Program>,
    general: GeneralEngines,
}

/// The engines that take any expression, and the prefilter of long texts.
#[derive(Clone, Debug)]
pub(crate) struct GeneralEngines {
    pub(crate) linear: Option<Linear>,
    backtracking: backtrack::Program,
    has_line_start: bool,
    /// Matches wherever the expression does; the very same where that is linear.
    approximation: Option<Hir>,
    /// Built from the approximation when a text first needs it.
    prefilter: Arc<OnceLock<Option<LazyDfa>>>,
}

/// Which engine an expression got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A program that never goes back: it is proven that nothing in the pattern is a choice.
    Fast,
    /// The same as far as it goes; a line for which a choice must be taken back is matched in linear time instead.
    FastThenLinear,
    /// The same as far as it goes; a line for which a choice must be taken back is matched by backtracking instead.
    FastThenBacktracking,
    /// Linear in the length of the text, whatever the pattern.
    Linear,
    /// Backtracking, as in Oniguruma, within the budget.
    Backtracking,
}

/// What matching needs in memory, used again from match to match.
#[derive(Debug, Default)]
pub struct Scratch {
    working: Working,
    tries: Tries,
    asked: u32,
    inconclusive: u32,
}

/// What the general engines need in memory.
#[derive(Debug, Default)]
pub(crate) struct Working {
    /// Start and end of each group, and then of the whole match.
    pub(crate) slots: Vec<u32>,
    machine: Machine,
    linear: Option<LinearCache>,
}

// === impl Matcher ===

impl Matcher {
    /// Compiles a grok pattern. Unless `named_only`, a reference without a field (`%{WORD}`) is a group of its own
    /// name.
    pub fn grok(text: &str, names: &dyn Definitions, named_only: bool) -> Result<Self, PatternError> {
        let expression = parse(text, Syntax::Grok { names, named_only }, &Bounds::CONFIGURED)?;
        let fuel = Fuel::new();
        let root = simplify(&expression.root, &fuel);
        let groups = expression.groups.clone();
        Ok(Self {
            fast: fast::compile(&root, &expression, &fuel),
            general: GeneralEngines::new(Expression { root, ..expression }, false, &Bounds::CONFIGURED),
            groups,
        })
    }

    /// Which engine it got.
    pub fn engine(&self) -> Engine {
        match (&self.fast, &self.general.linear) {
            (Some(fast), _) if fast.proven => Engine::Fast,
            (Some(_), Some(_)) => Engine::FastThenLinear,
            (Some(_), None) => Engine::FastThenBacktracking,
            (None, Some(_)) => Engine::Linear,
            (None, None) => Engine::Backtracking,
        }
    }

    /// The name of each group, by its number.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Looks for the leftmost match; the groups are then to be had by [`Scratch::group`].
    #[inline]
    pub fn search(&self, text: &str, scratch: &mut Scratch, budget: &mut Budget) -> Result<bool, GaveUp> {
        if let Some(fast) = &self.fast
            && self.general.has_ruby_lines(text)
            && (scratch.inconclusive < MIN_INCONCLUSIVE || scratch.inconclusive * 2 <= scratch.asked)
        {
            if text.len() >= LONG {
                budget.start();
            }
            scratch.asked += 1;
            match fast.search(text, &mut scratch.working.slots, &mut scratch.tries, budget)? {
                Answer::Match => return Ok(true),
                Answer::NoMatch => return Ok(false),
                Answer::Inconclusive => scratch.inconclusive += 1,
            }
        }
        self.general.search(text, 0, &mut scratch.working, budget)
    }
}

// === impl GeneralEngines ===

impl GeneralEngines {
    /// Compiles an expression that went through `simplify`. With `exact`, where the match as a whole begins and ends
    /// matters too.
    pub(crate) fn new(expression: Expression, exact: bool, bounds: &Bounds) -> Self {
        let root = &expression.root;
        let regular = linear::regular(root, exact, bounds.weight);
        let linear = regular.as_ref().and_then(|hir| Linear::new(hir, expression.groups.len()));
        Self {
            approximation: regular
                .filter(|_| linear.is_some())
                .or_else(|| linear::approximation(root, bounds.weight)),
            linear,
            prefilter: Arc::default(),
            has_line_start: root.any(&|node| matches!(node, Node::Assert(Assert::LineStart))),
            backtracking: backtrack::Program::new(&expression, true),
        }
    }

    /// Looks for the leftmost match that begins at `from` or behind it.
    pub(crate) fn search(
        &self,
        text: &str,
        from: usize,
        working: &mut Working,
        budget: &mut Budget,
    ) -> Result<bool, GaveUp> {
        if text.len() >= LONG {
            budget.start();
        }
        let bytes = text.len() - from;
        match self.linear_for(text) {
            Some(linear) if linear.is_within_bounds(bytes) => {
                let cache = working.linear.get_or_insert_with(|| linear.cache());
                return Ok(linear.search(text, from, &mut working.slots, cache));
            }
            Some(_) => {}
            None => {
                // Nearly every text is done with in a few steps for each byte.
                let (slots, machine) = (&mut working.slots, &mut working.machine);
                let found = self.backtracking.search(text, from, slots, machine, &mut budget.trial(bytes));
                if found.is_ok() {
                    return found;
                }
            }
        }
        let prefilter = self.prefilter.get_or_init(|| self.approximation.as_ref().and_then(LazyDfa::new));
        let mut from = from;
        match prefilter.as_ref().map(|prefilter| prefilter.find(text, from, budget)).transpose()? {
            Some(Candidate::Nowhere) => return Ok(false),
            // No match begins before.
            Some(Candidate::At(found)) => from = found.start,
            Some(Candidate::Inconclusive) | None => {}
        }
        self.backtracking.search(text, from, &mut working.slots, &mut working.machine, budget)
    }

    /// Whether there is a match.
    pub(crate) fn is_match(
        &self,
        text: &str,
        working: &mut Working,
        budget: &mut Budget,
    ) -> Result<bool, GaveUp> {
        match self.linear_for(text) {
            Some(linear) if linear.is_within_bounds(text.len()) => {
                let cache = working.linear.get_or_insert_with(|| linear.cache());
                Ok(linear.is_match(text, 0, cache))
            }
            _ => self.search(text, 0, working, budget),
        }
    }

    fn linear_for(&self, text: &str) -> Option<&Linear> {
        self.linear.as_ref().filter(|_| self.has_ruby_lines(text))
    }

    /// Whether automata read `^` as Oniguruma does in this text: to them a line begins behind a newline that ends the
    /// text, to Oniguruma none does.
    #[inline]
    fn has_ruby_lines(&self, text: &str) -> bool {
        !self.has_line_start || !text.ends_with('\n')
    }
}

// === impl Scratch ===

impl Scratch {
    /// Forgets how many lines were inconclusive for the fast engine.
    pub fn forget(&mut self) {
        (self.asked, self.inconclusive) = (0, 0);
    }

    /// Start and end of what the group matched, if it took part.
    #[inline]
    pub fn group(&self, group: usize) -> Option<(u32, u32)> {
        self.working.group(group)
    }
}

// === impl Working ===

impl Working {
    #[inline]
    pub(crate) fn group(&self, group: usize) -> Option<(u32, u32)> {
        let (start, end) = (self.slots[group * 2], self.slots[group * 2 + 1]);
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
