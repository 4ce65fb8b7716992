//! The engine for regular expressions in the strict sense: linear in the length of the text, whatever the pattern. It
//! takes an expression only where "leftmost, first alternative first" is all there is to say about it.

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Capture, Class, Hir, Look as HirLook, Repetition};

use crate::ast::{Assert, Look, Node, Repeat};
use crate::machine::UNSET;

/// Repetitions are unfolded; beyond this many the expression is not for this engine.
const MAX_REPEAT: u32 = 1000;
/// Bytes that the compiled expression may take.
const MAX_BYTES: usize = 10 << 20;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    regex: Regex,
    slots: usize,
}

/// What matching needs in memory.
#[derive(Clone, Debug)]
pub(crate) struct LinearCache {
    cache: Cache,
    slots: Vec<Option<NonMaxUsize>>,
}

// === impl Linear ===

impl Linear {
    /// Compiles an expression of so many groups, if it is of this kind.
    pub(crate) fn new(root: &Node, groups: usize) -> Option<Self> {
        let root = node(root, true, true)?;
        let config = Regex::config().nfa_size_limit(Some(MAX_BYTES)).onepass_size_limit(Some(1 << 20));
        let regex = Regex::builder().configure(config).build_from_hir(&root).ok()?;
        Some(Self { regex, slots: groups * 2 })
    }

    /// Memory for matching.
    pub(crate) fn cache(&self) -> LinearCache {
        LinearCache { cache: self.regex.create_cache(), slots: vec![None; self.slots + 2] }
    }

    /// The leftmost match; `slots` gets start and end of each group.
    pub(crate) fn search(&self, text: &str, slots: &mut Vec<u32>, cache: &mut LinearCache) -> bool {
        slots.clear();
        let input = Input::new(text).anchored(Anchored::No);
        if self.regex.search_slots_with(&mut cache.cache, &input, &mut cache.slots).is_none() {
            slots.resize(self.slots, UNSET);
            return false;
        }
        slots.extend(cache.slots[2..].iter().map(|slot| slot.map_or(UNSET, |slot| slot.get() as u32)));
        true
    }
}

/// The same in the library's terms. `first`: nothing stands before it in the pattern. `last`: nothing follows.
fn node(original: &Node, first: bool, last: bool) -> Option<Hir> {
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
            Assert::TextEndNewline => return None,
        }),
        Node::Capture(group, inner) => {
            let index = u32::try_from(*group).ok()?.checked_add(1)?;
            Hir::capture(Capture { index, name: None, sub: Box::new(node(inner, false, false)?) })
        }
        Node::Concat(nodes) => {
            let end = nodes.len() - 1;
            let mut parts = Vec::with_capacity(nodes.len());
            for (index, part) in nodes.iter().enumerate() {
                parts.push(node(part, first && index == 0, last && index == end)?);
            }
            Hir::concat(parts)
        }
        Node::Alternate(branches) => Hir::alternation(
            branches
                .iter()
                .map(|branch| node(branch, first && branches.len() == 1, last))
                .collect::<Option<_>>()?,
        ),
        Node::Repeat(repeat) => return loop_of(repeat, last),
        Node::Look(look) => return look_of(look, first, last),
        Node::Atomic(_) | Node::BackReference { .. } => return None,
    })
}

fn loop_of(repeat: &Repeat, last: bool) -> Option<Hir> {
    let Repeat { node: body, min, max, greedy } = repeat;
    // A body that matches nothing is where engines differ.
    if (body.is_nullable() && !matches!(max, Some(0 | 1))) || max.unwrap_or(*min) > MAX_REPEAT {
        return None;
    }
    let sub = Box::new(node(body, false, last && *max == Some(1))?);
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
