//! A regular expression as a tree, after every `%{NAME}` in it was replaced by what the name means. What the engines
//! and their analyses all start from.

use std::sync::Arc;

use crate::charset::CharSet;

/// A regular expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Matches the empty text.
    Empty,
    /// Exactly this character.
    Char(char),
    /// One character of a set.
    Set(Arc<CharSet>),
    /// A place in the text; consumes nothing.
    Assert(Assert),
    /// A group whose text is kept under a number (from 0).
    Capture(usize, Box<Node>),
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that leads to a match, in this order.
    Alternate(Vec<Node>),
    /// The same several times.
    Repeat(Box<Repeat>),
    /// `(?>...)`: the first way in which it matches, and no other.
    Atomic(Box<Node>),
    /// Look-around.
    Look(Box<Look>),
    /// The text that the last of these groups to take part has matched. Several only where a name is used twice.
    BackReference {
        /// The groups, by their number, in the order of the pattern.
        groups: Vec<usize>,
        /// Whether case is ignored.
        ignore_case: bool,
    },
    /// `\K`: the match is said to begin here.
    Keep,
}

/// How often something is repeated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Repeat {
    /// What is repeated.
    pub(crate) node: Node,
    /// At least this often.
    pub(crate) min: u32,
    /// At most this often; `None` without limit.
    pub(crate) max: Option<u32>,
    /// As often as possible first, or as seldom as possible.
    pub(crate) greedy: bool,
}

/// What must (or must not) stand before or behind a place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Look {
    /// Before the place, or behind it.
    pub(crate) behind: bool,
    /// It must not stand there.
    pub(crate) negated: bool,
    /// What. For look-behind a choice of expressions with one fixed length each.
    pub(crate) node: Node,
}

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assert {
    /// `^`: the start of a line.
    LineStart,
    /// `$`: the end of a line.
    LineEnd,
    /// `\A` and `\G`: the start of the text.
    TextStart,
    /// `\z`: the end of the text.
    TextEnd,
    /// `\Z`: the end of the text, or before a newline that ends it.
    TextEndNewline,
    /// `\b`.
    WordBoundary,
    /// `\B`.
    NotWordBoundary,
}

/// The named groups of an expression: the text in `(?<...>`, one per group number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    /// The tree.
    pub(crate) root: Node,
    /// The full name of each group, by its number; empty for a group that is only there for a back reference.
    pub(crate) groups: Vec<String>,
}

// === impl Node ===

impl Node {
    /// A sequence, as flat as it can be.
    pub(crate) fn concat(nodes: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Self::Empty => {}
                Self::Concat(inner) => flat.extend(inner),
                node => flat.push(node),
            }
        }
        match flat.len() {
            0 => Self::Empty,
            1 => flat.remove(0),
            _ => Self::Concat(flat),
        }
    }

    /// A choice.
    pub(crate) fn alternate(mut branches: Vec<Self>) -> Self {
        if branches.len() == 1 { branches.remove(0) } else { Self::Alternate(branches) }
    }

    /// The nodes of a sequence.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Empty => &[],
            Self::Concat(nodes) => nodes,
            node => std::slice::from_ref(node),
        }
    }

    /// The nodes directly within this one.
    pub(crate) fn children(&self) -> &[Self] {
        match self {
            Self::Capture(_, node) | Self::Atomic(node) => std::slice::from_ref(node),
            Self::Concat(nodes) | Self::Alternate(nodes) => nodes,
            Self::Repeat(repeat) => std::slice::from_ref(&repeat.node),
            Self::Look(look) => std::slice::from_ref(&look.node),
            _ => &[],
        }
    }

    /// Whether this or anything within satisfies `test`.
    pub(crate) fn any(&self, test: &impl Fn(&Self) -> bool) -> bool {
        test(self) || self.children().iter().any(|child| child.any(test))
    }

    /// Whether it keeps any text.
    pub(crate) fn has_captures(&self) -> bool {
        self.any(&|node| matches!(node, Self::Capture(..)))
    }

    /// Whether it can match the empty text.
    pub(crate) fn is_nullable(&self) -> bool {
        match self {
            Self::Empty | Self::Keep | Self::Assert(_) | Self::Look(_) | Self::BackReference { .. } => true,
            Self::Char(_) | Self::Set(_) => false,
            Self::Capture(_, node) | Self::Atomic(node) => node.is_nullable(),
            Self::Concat(nodes) => nodes.iter().all(Self::is_nullable),
            Self::Alternate(nodes) => nodes.iter().any(Self::is_nullable),
            Self::Repeat(repeat) => repeat.min == 0 || repeat.node.is_nullable(),
        }
    }

    /// The set of a node that matches exactly one character.
    pub(crate) fn as_set(&self) -> Option<Arc<CharSet>> {
        match self {
            Self::Char(c) => Some(Arc::new(CharSet::one(*c))),
            Self::Set(set) => Some(Arc::clone(set)),
            _ => None,
        }
    }

    /// How many characters every match has, if that is always the same number.
    pub(crate) fn fixed_chars(&self) -> Option<usize> {
        match self {
            Self::Empty | Self::Keep | Self::Assert(_) | Self::Look(_) => Some(0),
            Self::Char(_) | Self::Set(_) => Some(1),
            Self::Capture(_, node) | Self::Atomic(node) => node.fixed_chars(),
            Self::Concat(nodes) => nodes.iter().map(Self::fixed_chars).sum(),
            Self::Alternate(nodes) => {
                let mut lengths = nodes.iter().map(Self::fixed_chars);
                let first = lengths.next()??;
                lengths.all(|length| length == Some(first)).then_some(first)
            }
            Self::Repeat(repeat) if repeat.max == Some(repeat.min) => {
                repeat.node.fixed_chars()?.checked_mul(repeat.min as usize)
            }
            Self::Repeat(_) | Self::BackReference { .. } => None,
        }
    }

    /// How many characters it has when every repetition is written out.
    pub(crate) fn unfolded(&self) -> usize {
        match self {
            Self::Repeat(repeat) => {
                let times = repeat.max.unwrap_or(repeat.min).max(1);
                repeat.node.unfolded().saturating_mul(times as usize)
            }
            node => node.children().iter().fold(1, |sum, child| sum.saturating_add(child.unfolded())),
        }
    }

    /// Gives groups their final numbers and drops those that have none.
    pub(crate) fn renumbered(self, numbers: &[Option<usize>]) -> Self {
        let all =
            |nodes: Vec<Self>| nodes.into_iter().map(|node| node.renumbered(numbers)).collect::<Vec<_>>();
        match self {
            Self::Capture(number, inner) => {
                let inner = inner.renumbered(numbers);
                match numbers[number] {
                    Some(number) => Self::Capture(number, Box::new(inner)),
                    None => inner,
                }
            }
            Self::Concat(nodes) => Self::concat(all(nodes)),
            Self::Alternate(nodes) => Self::Alternate(all(nodes)),
            Self::Repeat(repeat) => {
                Self::Repeat(Box::new(Repeat { node: repeat.node.renumbered(numbers), ..*repeat }))
            }
            Self::Atomic(inner) => Self::Atomic(Box::new(inner.renumbered(numbers))),
            Self::Look(look) => Self::Look(Box::new(Look { node: look.node.renumbered(numbers), ..*look })),
            Self::BackReference { groups, ignore_case } => Self::BackReference {
                groups: groups.into_iter().filter_map(|group| numbers[group]).collect(),
                ignore_case,
            },
            node => node,
        }
    }
}
