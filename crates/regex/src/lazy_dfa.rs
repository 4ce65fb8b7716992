//! A prefilter for long texts: a pair of lazy DFAs, stepped here byte by byte within a budget, because the library's own
//! searches cannot be stopped.

use std::ops::Range;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use crate::budget::{Budget, GaveUp};

/// Bytes between two entries in the budget. A byte may need a new state, which costs as much as hundreds of known
/// ones.
const BYTES_PER_SPEND: usize = 64;
/// Steps that these bytes count for.
const STEPS_PER_SPEND: usize = 16;
/// Bytes of states that are kept; beyond them all are forgotten and made anew.
const MAX_STATES: usize = 2 << 20;
/// Bytes of the graph that the automata are made from.
const MAX_GRAPH: usize = 10 << 20;

/// An automaton for where a match ends, and one that reads backwards for where it begins.
#[derive(Clone, Debug)]
pub(crate) struct LazyDfa {
    forward: DFA,
    backward: DFA,
}

/// Where a match may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// There is no match.
    Nowhere,
    /// The leftmost match lies here.
    At(Range<usize>),
    /// The text has a character that the automaton cannot judge, such as a word's boundary beyond ASCII.
    Inconclusive,
}

// === impl LazyDfa ===

impl LazyDfa {
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
    pub(crate) fn find(&self, text: &str, from: usize, budget: &mut Budget) -> Result<Candidate, GaveUp> {
        let end = match self.run(&self.forward, text, from..text.len(), false, budget)? {
            Candidate::At(found) => found.end,
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
    ) -> Result<Candidate, GaveUp> {
        let bytes = text.as_bytes();
        let mut cache: Cache = dfa.create_cache();
        let input = Input::new(text).range(part.clone());
        let start = if backward {
            dfa.start_state_reverse(&mut cache, &input.anchored(Anchored::Yes))
        } else {
            dfa.start_state_forward(&mut cache, &input)
        };
        let Ok(mut state) = start else { return Ok(Candidate::Inconclusive) };
        let mut found = None;
        // A match is known one byte late, so that the byte behind it can have a say.
        for passed in 0..part.len() {
            if passed % BYTES_PER_SPEND == 0 {
                budget.spend(STEPS_PER_SPEND)?;
            }
            let at = if backward { part.end - 1 - passed } else { part.start + passed };
            let Ok(next) = dfa.next_state(&mut cache, state, bytes[at]) else {
                return Ok(Candidate::Inconclusive);
            };
            state = next;
            if state.is_tagged() {
                if state.is_match() {
                    found = Some(passed);
                } else if state.is_dead() {
                    return Ok(candidate(found, &part, backward));
                } else if state.is_quit() {
                    return Ok(Candidate::Inconclusive);
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
            _ => return Ok(Candidate::Inconclusive),
        }
        Ok(candidate(found, &part, backward))
    }
}

fn candidate(passed: Option<usize>, part: &Range<usize>, backward: bool) -> Candidate {
    match passed {
        None => Candidate::Nowhere,
        Some(passed) if backward => Candidate::At(part.end - passed..part.end),
        Some(passed) => Candidate::At(part.start..part.start + passed),
    }
}
