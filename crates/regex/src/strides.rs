//! Goes through long texts stride by stride, within a budget: automata that are made as the text needs them, stepped
//! here byte by byte, because the library's own searches cannot be stopped.

use std::ops::Range;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use crate::budget::{Budget, GaveUp};

/// Bytes between two entries in the budget. A byte may need a new state, which costs as much as hundreds of known
/// ones.
const STRIDE: usize = 64;
/// Steps that a stride counts for.
const STEPS: usize = 16;
/// Bytes of states that are kept; beyond them all are forgotten and made anew.
const MAX_STATES: usize = 2 << 20;
/// Bytes of the graph that the automata are made from.
const MAX_GRAPH: usize = 10 << 20;

/// An automaton for where a match ends, and one that reads backwards for where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Strides {
    forward: DFA,
    backward: DFA,
}

/// What became of a look at a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// There is no match.
    Nowhere,
    /// The leftmost match lies here.
    At(Range<usize>),
    /// The text has a character that the automaton cannot judge, such as a word's boundary beyond ASCII.
    Unknown,
}

// === impl Strides ===

impl Strides {
    /// The automata of an expression; `None` if they do not fit.
    pub(crate) fn new(hir: &Hir) -> Option<Self> {
        let automaton = |backward: bool| {
            let graph = NFA::config()
                .reverse(backward)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(MAX_GRAPH));
            let graph = NFA::compiler().configure(graph).build_from_hir(hir).ok()?;
            let kind = if backward { MatchKind::All } else { MatchKind::LeftmostFirst };
            let config = DFA::config()
                .match_kind(kind)
                .unicode_word_boundary(true)
                .cache_capacity(MAX_STATES)
                .skip_cache_capacity_check(true);
            DFA::builder().configure(config).build_from_nfa(graph).ok()
        };
        Some(Self { forward: automaton(false)?, backward: automaton(true)? })
    }

    /// Looks for the leftmost match that begins at `from` or behind it.
    pub(crate) fn find(&self, text: &str, from: usize, budget: &mut Budget) -> Result<Sighting, GaveUp> {
        let end = match self.run(&self.forward, text, from..text.len(), false, budget)? {
            Sighting::At(found) => found.end,
            other => return Ok(other),
        };
        self.run(&self.backward, text, from..end, true, budget)
    }

    /// Runs one automaton over a part of the text, from its start or from its end; the match touches that side.
    fn run(
        &self,
        dfa: &DFA,
        text: &str,
        part: Range<usize>,
        backward: bool,
        budget: &mut Budget,
    ) -> Result<Sighting, GaveUp> {
        let bytes = text.as_bytes();
        let mut cache: Cache = dfa.create_cache();
        let input = Input::new(text).range(part.clone());
        let start = if backward {
            dfa.start_state_reverse(&mut cache, &input.anchored(Anchored::Yes))
        } else {
            dfa.start_state_forward(&mut cache, &input)
        };
        let Ok(mut state) = start else { return Ok(Sighting::Unknown) };
        let mut found = None;
        // A match is known one byte late, so that the byte behind it can have a say.
        for passed in 0..part.len() {
            if passed % STRIDE == 0 {
                budget.spend(STEPS)?;
            }
            let at = if backward { part.end - 1 - passed } else { part.start + passed };
            let Ok(next) = dfa.next_state(&mut cache, state, bytes[at]) else { return Ok(Sighting::Unknown) };
            state = next;
            if state.is_tagged() {
                if state.is_match() {
                    found = Some(passed);
                } else if state.is_dead() {
                    return Ok(sighting(found, &part, backward));
                } else if state.is_quit() {
                    return Ok(Sighting::Unknown);
                }
            }
        }
        let beyond =
            if backward { part.start.checked_sub(1) } else { (part.end < bytes.len()).then_some(part.end) };
        let last = match beyond {
            Some(at) => dfa.next_state(&mut cache, state, bytes[at]),
            None => dfa.next_eoi_state(&mut cache, state),
        };
        match last {
            Ok(state) if state.is_match() => found = Some(part.len()),
            Ok(state) if !state.is_quit() => {}
            _ => return Ok(Sighting::Unknown),
        }
        Ok(sighting(found, &part, backward))
    }
}

fn sighting(passed: Option<usize>, part: &Range<usize>, backward: bool) -> Sighting {
    match passed {
        None => Sighting::Nowhere,
        Some(passed) if backward => Sighting::At(part.end - passed..part.end),
        Some(passed) => Sighting::At(part.start..part.start + passed),
    }
}
