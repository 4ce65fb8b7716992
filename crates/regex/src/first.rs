//! What can stand right behind a place, and right before it: the facts from which the compilers prove that a choice
//! is no choice. Every set here is an upper bound: a byte that is missing from it surely cannot occur there.

use crate::ast::{Assert, Look, Node, Repeat};
use crate::charset::ByteSet;

/// What the text can go on with if the rest of the pattern is to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// The next byte.
    pub(crate) bytes: ByteSet,
    /// The text may end here.
    pub(crate) end: bool,
}

/// What can stand before a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// The byte before it.
    pub(crate) bytes: ByteSet,
    /// The place may be the start of the text.
    pub(crate) start: bool,
}

// === impl First ===

impl First {
    /// Anything, the end of the text included.
    pub(crate) const ANYTHING: Self = Self { bytes: ByteSet::ALL, end: true };
    /// Nothing: the place cannot be part of a match.
    const NOTHING: Self = Self { bytes: ByteSet::NONE, end: false };

    pub(crate) fn bytes(bytes: ByteSet) -> Self {
        Self { bytes, end: false }
    }

    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self { bytes: self.bytes.union(other.bytes), end: self.end || other.end }
    }

    #[must_use]
    fn within(self, bytes: ByteSet, end: bool) -> Self {
        Self { bytes: self.bytes.intersection(bytes), end: self.end && end }
    }

    /// Whether no text begins as both say.
    pub(crate) fn is_disjoint(self, other: Self) -> bool {
        self.bytes.intersection(other.bytes).is_empty() && !(self.end && other.end)
    }

    /// What `node` can begin with if `after` follows it and `before` stands before it.
    pub(crate) fn of(node: &Node, after: Self, before: Before) -> Self {
        match node {
            Node::Empty | Node::Keep => after,
            Node::Char(c) => Self::bytes(ByteSet::one(c.encode_utf8(&mut [0; 4]).as_bytes()[0])),
            Node::Set(set) => Self::bytes(set.first_bytes()),
            Node::Assert(assert) => after.asserted(*assert, before),
            Node::Look(look) => after.looked(look, before),
            Node::Capture(_, inner) | Node::Atomic(inner) => Self::of(inner, after, before),
            Node::Concat(nodes) => Self::of_all(nodes, after, before),
            Node::Alternate(branches) => {
                branches.iter().fold(Self::NOTHING, |sum, branch| sum.union(Self::of(branch, after, before)))
            }
            Node::Repeat(repeat) => {
                let again = if repeat.node.is_nullable() { Self::ANYTHING } else { after };
                let before_any = Before::of(&repeat.node, before).union(before);
                let inside = if repeat.max == Some(0) {
                    Self::NOTHING
                } else {
                    Self::of(&repeat.node, again, before_any)
                };
                if repeat.min == 0 { inside.union(after) } else { inside }
            }
            Node::BackReference { .. } => Self::ANYTHING,
        }
    }

    /// What follows the body of a loop: the body again, or `after`.
    pub(crate) fn again(repeat: &Repeat, after: Self, before: Before) -> Self {
        if repeat.node.is_nullable() {
            return Self::ANYTHING;
        }
        Self::of(&repeat.node, after, Before::of(&repeat.node, before)).union(after)
    }

    /// The same for a sequence.
    pub(crate) fn of_all(nodes: &[Node], after: Self, before: Before) -> Self {
        let places = Before::each(nodes, before);
        nodes.iter().zip(places).rev().fold(after, |after, (node, before)| Self::of(node, after, before))
    }

    fn asserted(self, assert: Assert, before: Before) -> Self {
        let word = ByteSet::ascii_word();
        let maybe_word = word.union(ByteSet::beyond_ascii());
        let newline = ByteSet::one(b'\n');
        let is_word = !before.start && before.bytes.is_within(word);
        let no_word = before.bytes.intersection(maybe_word).is_empty();
        match assert {
            Assert::LineEnd | Assert::TextEndNewline => self.within(newline, true),
            Assert::TextEnd => self.within(ByteSet::NONE, true),
            Assert::LineStart if !before.start && !before.bytes.contains(b'\n') => Self::NOTHING,
            Assert::TextStart if !before.start => Self::NOTHING,
            Assert::LineStart | Assert::TextStart => self,
            Assert::WordBoundary if is_word => self.within(word.complement(), true),
            Assert::WordBoundary if no_word => self.within(maybe_word, false),
            Assert::NotWordBoundary if is_word => self.within(maybe_word, false),
            Assert::NotWordBoundary if no_word => self.within(word.complement(), true),
            Assert::WordBoundary | Assert::NotWordBoundary => self,
        }
    }

    fn looked(self, look: &Look, before: Before) -> Self {
        let Some(set) = look.node.as_set() else { return self };
        let certain = set.certain_bytes();
        match (look.behind, look.negated) {
            (false, false) => self.within(set.first_bytes(), false),
            (false, true) => self.within(certain.complement(), true),
            (true, true) if !before.start && before.bytes.is_within(certain) => Self::NOTHING,
            (true, false) if before.bytes.intersection(set.last_bytes()).is_empty() => Self::NOTHING,
            _ => self,
        }
    }
}

// === impl Before ===

impl Before {
    /// Anything, the start of the text included.
    pub(crate) const ANYTHING: Self = Self { bytes: ByteSet::ALL, start: true };

    pub(crate) fn bytes(bytes: ByteSet) -> Self {
        Self { bytes, start: false }
    }

    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self { bytes: self.bytes.union(other.bytes), start: self.start || other.start }
    }

    /// What stands before the place behind `node`.
    pub(crate) fn of(node: &Node, before: Self) -> Self {
        const NOTHING: Before = Before { bytes: ByteSet::NONE, start: false };
        match node {
            Node::Empty | Node::Keep | Node::Assert(_) | Node::Look(_) => before,
            Node::Char(c) => {
                let mut buffer = [0; 4];
                let bytes = c.encode_utf8(&mut buffer).as_bytes();
                Self::bytes(ByteSet::one(bytes[bytes.len() - 1]))
            }
            Node::Set(set) => Self::bytes(set.last_bytes()),
            Node::Capture(_, inner) | Node::Atomic(inner) => Self::of(inner, before),
            Node::Concat(nodes) => nodes.iter().fold(before, |before, node| Self::of(node, before)),
            Node::Alternate(branches) => {
                branches.iter().fold(NOTHING, |sum, branch| sum.union(Self::of(branch, before)))
            }
            Node::Repeat(repeat) => {
                let inside = Self::of(&repeat.node, before);
                if repeat.min == 0 || repeat.node.is_nullable() { inside.union(before) } else { inside }
            }
            Node::BackReference { .. } => Self::ANYTHING,
        }
    }

    /// What stands before each node of a sequence.
    pub(crate) fn each(nodes: &[Node], before: Self) -> Vec<Self> {
        let mut places = Vec::with_capacity(nodes.len());
        let mut here = before;
        for node in nodes {
            places.push(here);
            here = Self::of(node, here);
        }
        places
    }
}

/// Whether `node` matches wherever it is tried, so that nothing before it is ever asked for another way.
pub(crate) fn cannot_fail(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Keep => true,
        Node::Capture(_, inner) | Node::Atomic(inner) => cannot_fail(inner),
        Node::Concat(nodes) => nodes.iter().all(cannot_fail),
        Node::Alternate(branches) => branches.iter().any(cannot_fail),
        Node::Repeat(repeat) => repeat.min == 0 || cannot_fail(&repeat.node),
        _ => false,
    }
}
