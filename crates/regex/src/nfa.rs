//! A capture-free part of an expression as a graph of bytes, from which the automata are made. What cannot be decided
//! from one byte before and one byte behind a place is refused.

use regex_syntax::utf8::Utf8Sequences;

use crate::ast::{Assert, Look, Node, Repeat};
use crate::charset::{ByteSet, CharSet, Wide};

/// More states than this are no fast automaton any more.
const MAX_STATES: usize = 4000;

/// The graph. State 0 is the match.
#[derive(Debug)]
pub(crate) struct Nfa {
    pub(crate) states: Vec<State>,
    pub(crate) start: usize,
}

/// A state and where it leads.
#[derive(Debug)]
pub(crate) enum State {
    Match,
    /// One byte of the set.
    Bytes(ByteSet, usize),
    /// Without a byte, in this order.
    Split(Vec<usize>),
    /// Without a byte, if the place is so.
    When(Condition, usize),
}

/// What is asked of the bytes around a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    /// The byte before is one of these, or there may be none.
    Before { bytes: ByteSet, start: bool },
    /// The byte behind is one of these, or there may be none.
    Behind { bytes: ByteSet, end: bool },
    /// A word begins or ends here, or does not. Beyond ASCII this cannot be told from bytes.
    Boundary { negated: bool },
}

impl Nfa {
    /// The graph of a sequence; `None` if it holds something that a byte on either side does not decide.
    pub(crate) fn new(nodes: &[Node]) -> Option<Self> {
        let mut nfa = Self { states: vec![State::Match], start: 0 };
        nfa.start = nfa.sequence(nodes, 0)?;
        Some(nfa)
    }

    /// Whether what stands before a place is ever asked for.
    pub(crate) fn looks_back(&self) -> bool {
        self.states.iter().any(|state| {
            matches!(state, State::When(Condition::Before { .. } | Condition::Boundary { .. }, _))
        })
    }

    fn add(&mut self, state: State) -> Option<usize> {
        if self.states.len() >= MAX_STATES {
            return None;
        }
        self.states.push(state);
        Some(self.states.len() - 1)
    }

    fn sequence(&mut self, nodes: &[Node], then: usize) -> Option<usize> {
        nodes.iter().rev().try_fold(then, |then, node| self.node(node, then))
    }

    fn node(&mut self, node: &Node, then: usize) -> Option<usize> {
        match node {
            Node::Empty => Some(then),
            Node::Char(c) => {
                let mut buffer = [0; 4];
                let bytes = c.encode_utf8(&mut buffer).as_bytes();
                bytes
                    .iter()
                    .rev()
                    .try_fold(then, |then, &byte| self.add(State::Bytes(ByteSet::one(byte), then)))
            }
            Node::Set(set) => self.set(set, then),
            Node::Assert(assert) => self.assert(*assert, then),
            Node::Concat(nodes) => self.sequence(nodes, then),
            Node::Alternate(branches) => {
                let starts =
                    branches.iter().map(|branch| self.node(branch, then)).collect::<Option<Vec<_>>>()?;
                self.add(State::Split(starts))
            }
            Node::Repeat(repeat) => self.repeat(repeat, then),
            Node::Look(look) => self.look(look, then),
            Node::Capture(..) | Node::Atomic(_) | Node::BackReference { .. } | Node::Keep => None,
        }
    }

    fn set(&mut self, set: &CharSet, then: usize) -> Option<usize> {
        let ascii = set.first_bytes().intersection(ByteSet::range(0, 0x7f));
        let mut ways = Vec::new();
        if !ascii.is_empty() {
            ways.push(self.add(State::Bytes(ascii, then))?);
        }
        let tail = ByteSet::range(0x80, 0xbf);
        match set.wide() {
            Wide::None => {}
            // The text is UTF-8, so that a first byte says how many follow.
            Wide::All => {
                let one = self.add(State::Bytes(tail, then))?;
                let two = self.add(State::Bytes(tail, one))?;
                let three = self.add(State::Bytes(tail, two))?;
                for (first, last, next) in [(0xc2, 0xdf, one), (0xe0, 0xef, two), (0xf0, 0xf4, three)] {
                    ways.push(self.add(State::Bytes(ByteSet::range(first, last), next))?);
                }
            }
            Wide::Ranges(ranges) => {
                for &(start, end) in ranges.iter() {
                    for sequence in Utf8Sequences::new(start, end) {
                        let way = sequence.as_slice().iter().rev().try_fold(then, |then, range| {
                            self.add(State::Bytes(ByteSet::range(range.start, range.end), then))
                        })?;
                        ways.push(way);
                    }
                }
            }
        }
        if ways.len() == 1 { ways.pop() } else { self.add(State::Split(ways)) }
    }

    fn assert(&mut self, assert: Assert, then: usize) -> Option<usize> {
        let newline = ByteSet::one(b'\n');
        let condition = match assert {
            Assert::LineStart => Condition::Before { bytes: newline, start: true },
            Assert::TextStart => Condition::Before { bytes: ByteSet::NONE, start: true },
            Assert::LineEnd => Condition::Behind { bytes: newline, end: true },
            Assert::TextEnd => Condition::Behind { bytes: ByteSet::NONE, end: true },
            Assert::WordBoundary => Condition::Boundary { negated: false },
            Assert::NotWordBoundary => Condition::Boundary { negated: true },
            Assert::TextEndNewline => return None,
        };
        self.add(State::When(condition, then))
    }

    fn look(&mut self, look: &Look, then: usize) -> Option<usize> {
        let set = look.node.as_set().filter(|set| set.is_bytewise())?;
        let bytes = set.certain_bytes();
        let bytes = if look.negated { bytes.complement() } else { bytes };
        let condition = if look.behind {
            Condition::Before { bytes, start: look.negated }
        } else {
            Condition::Behind { bytes, end: look.negated }
        };
        self.add(State::When(condition, then))
    }

    fn repeat(&mut self, repeat: &Repeat, then: usize) -> Option<usize> {
        let Repeat { node, min, max, greedy } = repeat;
        // A body that matches nothing is where engines differ.
        if node.is_nullable() && *max != Some(1) && *max != Some(0) {
            return None;
        }
        let order = |inside: usize, out: usize| if *greedy { vec![inside, out] } else { vec![out, inside] };
        let mut start = then;
        match max {
            None => {
                let head = self.add(State::Split(Vec::new()))?;
                let body = self.node(node, head)?;
                self.states[head] = State::Split(order(body, then));
                start = head;
            }
            Some(max) => {
                for _ in *min..*max {
                    let body = self.node(node, start)?;
                    start = self.add(State::Split(order(body, then)))?;
                }
            }
        }
        for _ in 0..*min {
            start = self.node(node, start)?;
        }
        Some(start)
    }
}
