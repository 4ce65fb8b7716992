//! A compiled expression: the one place that decides which engine is asked.

use crate::ast::Expression;
use crate::backtrack;
use crate::budget::{Budget, TimedOut};
use crate::error::PatternError;
use crate::fast;
use crate::fast_run::{self, Answer, Tries};
use crate::linear::{Linear, LinearCache};
use crate::machine::{Machine, UNSET};
use crate::names::Names;
use crate::parse::parse;
use crate::simplify::simplify;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Matcher {
    groups: Vec<String>,
    fast: Option<fast_run::Program>,
    linear: Option<Linear>,
    backtracking: backtrack::Program,
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
    slots: Vec<u32>,
    machine: Machine,
    tries: Tries,
    linear: Option<LinearCache>,
    asked: u32,
    unsure: u32,
}

/// So many lines must show that the quick engine is of no use, and more than half of all, before it is no longer asked.
const ENOUGH: u32 = 32;

// === impl Matcher ===

impl Matcher {
    /// Compiles a grok pattern. Unless `named_only`, a reference without a field (`%{WORD}`) is a group of its own
    /// name.
    pub fn grok(text: &str, names: &dyn Names, named_only: bool) -> Result<Self, PatternError> {
        let expression = parse(text, names, named_only)?;
        let root = simplify(&expression.root);
        Ok(Self {
            fast: fast::compile(&root, &expression),
            linear: Linear::new(&root, expression.groups.len()),
            groups: expression.groups.clone(),
            backtracking: backtrack::Program::new(&Expression { root, groups: expression.groups }, true),
        })
    }

    /// Which engine it got.
    pub fn engine(&self) -> Engine {
        match (&self.fast, &self.linear) {
            (Some(fast), _) if fast.is_proven() => Engine::Fast,
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
    pub fn search(&self, text: &str, scratch: &mut Scratch, budget: &mut Budget) -> Result<bool, TimedOut> {
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

// === impl Scratch ===

impl Scratch {
    /// Begins anew to judge whether the quick engine is of use.
    pub fn forget(&mut self) {
        (self.asked, self.unsure) = (0, 0);
    }

    /// Start and end of what the group matched, if it took part.
    #[inline]
    pub fn group(&self, group: usize) -> Option<(u32, u32)> {
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
