//! The engine for regular expressions in the strict sense: linear in the length of the text, whatever the pattern. It
//! takes an expression only where "leftmost, first alternative first" is all there is to say about it.

use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_syntax::hir::{Capture, Class, Dot, Hir, HirKind, Look as HirLook, Repetition};

use crate::ast::{Assert, Look, Node, Repeat};
use crate::machine::UNSET;

/// Repetitions are unfolded; beyond this many the expression is not for this engine.
const MAX_REPEAT: u32 = 1000;
/// Bytes that the compiled expression may take.
const MAX_BYTES: usize = 10 << 20;
/// A search is at worst the size of the expression times the length of the text, and nothing stops it. Up to here it
/// takes less than a tenth of a second; longer texts are searched within the budget.
const MAX_WORK: usize = 1 << 23;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    regex: Regex,
    slots: usize,
    /// How large it is, unfolded.
    weight: usize,
}

/// What matching needs in memory.
#[derive(Clone, Debug)]
pub(crate) struct LinearCache {
    cache: Cache,
    slots: Vec<Option<NonMaxUsize>>,
}

// === impl Linear ===

impl Linear {
    /// Compiles what [`regular`] gave for an expression of so many groups.
    pub(crate) fn new(hir: &Hir, groups: usize) -> Option<Self> {
        let config = Regex::config().nfa_size_limit(Some(MAX_BYTES)).onepass_size_limit(Some(1 << 20));
        let regex = Regex::builder().configure(config).build_from_hir(hir).ok()?;
        Some(Self { regex, slots: groups * 2, weight: weight(hir) })
    }

    /// Memory for matching.
    pub(crate) fn cache(&self) -> LinearCache {
        LinearCache { cache: self.regex.create_cache(), slots: vec![None; self.slots + 2] }
    }

    /// Whether a search in so many bytes is short enough not to need a budget.
    pub(crate) fn is_within_bounds(&self, bytes: usize) -> bool {
        self.weight.saturating_mul(bytes) <= MAX_WORK
    }

    /// Whether there is a match that begins at `from` or behind it.
    pub(crate) fn is_match(&self, text: &str, from: usize, cache: &mut LinearCache) -> bool {
        let input = Input::new(text).range(from..).earliest(true);
        self.regex.search_half_with(&mut cache.cache, &input).is_some()
    }

    /// The leftmost match that begins at `from` or behind it; `slots` gets start and end of each group, then those of
    /// the whole.
    pub(crate) fn search(
        &self,
        text: &str,
        from: usize,
        slots: &mut Vec<u32>,
        cache: &mut LinearCache,
    ) -> bool {
        slots.clear();
        let input = Input::new(text).range(from..);
        if self.regex.search_slots_with(&mut cache.cache, &input, &mut cache.slots).is_none() {
            slots.resize(self.slots + 2, UNSET);
            return false;
        }
        let (whole, groups) = cache.slots.split_at(2);
        slots.extend(groups.iter().chain(whole).map(|slot| slot.map_or(UNSET, |slot| slot.get() as u32)));
        true
    }
}

/// An expression in the library's terms, if it is of this kind and unfolds to no more than `max_weight`. With `exact`,
/// where the match as a whole begins and ends matters too.
pub(crate) fn regular(root: &Node, exact: bool, max_weight: usize) -> Option<Hir> {
    node(root, !exact, !exact, false).filter(|hir| weight(hir) <= max_weight)
}

/// An expression of this kind that matches wherever `root` does, and perhaps elsewhere: without the places that it
/// looks at, with every way back open.
pub(crate) fn approximation(root: &Node, max_weight: usize) -> Option<Hir> {
    node(root, false, false, true).filter(|hir| weight(hir) <= max_weight)
}

/// About as many states as the expression has when it is unfolded.
fn weight(hir: &Hir) -> usize {
    let all = |parts: &[Hir]| parts.iter().fold(1, |sum: usize, part| sum.saturating_add(weight(part)));
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => {
            class.ranges().iter().map(|range| range.end().len_utf8()).sum::<usize>().max(1)
        }
        HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min + 1).max(1);
            weight(&repetition.sub).saturating_mul(times as usize)
        }
        HirKind::Capture(capture) => weight(&capture.sub) + 2,
        HirKind::Concat(parts) | HirKind::Alternation(parts) => all(parts),
    }
}

/// The same in the library's terms. `first`: nothing stands before it in the pattern. `last`: nothing follows.
/// `approximation`: what cannot be said is left out.
fn node(original: &Node, first: bool, last: bool, approximation: bool) -> Option<Hir> {
    Some(match original {
        Node::Empty => Hir::empty(),
        Node::Char(c) => Hir::literal(c.to_string().into_bytes()),
        Node::Set(set) => Hir::class(Class::Unicode(set.to_class())),
        Node::Assert(assert) => Hir::look(match assert {
            Assert::LineStart => HirLook::StartLF,
            Assert::LineEnd => HirLook::EndLF,
            Assert::TextStart => HirLook::Start,
            Assert::TextEnd => HirLook::End,
            Assert::WordBoundary => HirLook::WordUnicode,
            Assert::NotWordBoundary => HirLook::WordUnicodeNegate,
            Assert::TextEndNewline if approximation => return Some(Hir::empty()),
            Assert::TextEndNewline => return None,
        }),
        Node::Capture(group, inner) => {
            let index = u32::try_from(*group).ok()?.checked_add(1)?;
            Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(node(inner, false, false, approximation)?),
            })
        }
        Node::Concat(nodes) => {
            let end = nodes.len() - 1;
            let mut parts = Vec::with_capacity(nodes.len());
            for (index, part) in nodes.iter().enumerate() {
                parts.push(node(part, first && index == 0, last && index == end, approximation)?);
            }
            Hir::concat(parts)
        }
        Node::Alternate(branches) => Hir::alternation(
            branches
                .iter()
                .map(|branch| node(branch, first && branches.len() == 1, last, approximation))
                .collect::<Option<_>>()?,
        ),
        Node::Repeat(repeat) => return loop_of(repeat, last, approximation),
        Node::Look(_) | Node::Keep if approximation => Hir::empty(),
        Node::Atomic(inner) if approximation => return node(inner, false, false, approximation),
        Node::BackReference { .. } if approximation => {
            let sub = Box::new(Hir::dot(Dot::AnyChar));
            Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub })
        }
        Node::Look(look) => return look_of(look, first, last),
        Node::Atomic(_) | Node::BackReference { .. } | Node::Keep => return None,
    })
}

fn loop_of(repeat: &Repeat, last: bool, approximation: bool) -> Option<Hir> {
    let Repeat { node: body, min, max, greedy } = repeat;
    if approximation && max.unwrap_or(*min) > MAX_REPEAT {
        let sub = Box::new(node(body, false, false, approximation)?);
        return Some(Hir::repetition(Repetition { min: (*min).min(1), max: None, greedy: *greedy, sub }));
    }
    // A body that matches nothing is where engines differ.
    let is_odd = body.is_nullable() && !matches!(max, Some(0 | 1)) && !approximation;
    if is_odd || max.unwrap_or(*min) > MAX_REPEAT {
        return None;
    }
    let sub = Box::new(node(body, false, last && *max == Some(1), approximation)?);
    Some(Hir::repetition(Repetition { min: *min, max: *max, greedy: *greedy, sub }))
}

/// At the very start, "not behind X" is "the text begins here, or a character that is not X stands here": where the
/// match as a whole begins does not matter. The same at the very end.
fn look_of(look: &Look, first: bool, last: bool) -> Option<Hir> {
    let at_edge = if look.behind { first } else { last };
    let set = look.node.as_set()?;
    if !at_edge {
        return None;
    }
    let mut class = set.to_class();
    if !look.negated {
        return Some(Hir::class(Class::Unicode(class)));
    }
    class.negate();
    let other = Hir::class(Class::Unicode(class));
    let edge = Hir::look(if look.behind { HirLook::Start } else { HirLook::End });
    Some(Hir::alternation(vec![edge, other]))
}
