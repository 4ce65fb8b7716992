//! Programs of the engine that can do everything, the backtracking one. The other engines are measured against it.

use crate::ast::{Assert, Expression, Look, Node, Repeat};
use crate::charset::{ByteSet, CharSet};
use crate::first::{Before, First};

/// An expression as instructions.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) code: Vec<Inst>,
    pub(crate) sets: Vec<CharSet>,
    pub(crate) registers: usize,
    /// Start and end of each group, and then of the whole match.
    pub(crate) slots: usize,
    /// The bytes that a match can begin with; `None` if it can be empty at the end of the text.
    pub(crate) starts: Option<Box<[bool; 256]>>,
    /// The expression begins with `.*`: if it fails at one place, it fails at every later one.
    pub(crate) anchored: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Inst {
    Literal(Box<str>),
    Set(u32),
    /// First the one, then the other.
    Split(u32, u32),
    Jump(u32),
    Save(u32),
    Assert(Assert),
    /// One character of a set, repeated.
    Run {
        set: u32,
        min: u32,
        max: u32,
        kind: RunKind,
    },
    /// The part that follows, up to `Succeed`, as one thing; then on at the number.
    Atomic(u32),
    Ahead {
        negated: bool,
        then: u32,
    },
    /// The branches, each with its length in characters.
    Behind {
        negated: bool,
        branches: Box<[(u32, u32)]>,
        then: u32,
    },
    BackReference {
        groups: Box<[u32]>,
        ignore_case: bool,
    },
    /// Register = 0.
    Zero(u32),
    Increment(u32),
    /// The head of a counted loop whose body follows.
    Count {
        register: u32,
        min: u32,
        max: u32,
        greedy: bool,
        out: u32,
    },
    /// Register = place.
    Mark(u32),
    /// On at the number if nothing was consumed since the mark.
    IfEmpty(u32, u32),
    Succeed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RunKind {
    Greedy,
    Lazy,
    Possessive,
}

// === impl Program ===

impl Program {
    /// Compiles an expression. With `proofs`, choices that the analysis shows to be none are not compiled as such;
    /// without, the program is the plain reading of the expression that everything else is compared with.
    pub(crate) fn new(expression: &Expression, proofs: bool) -> Self {
        let whole = expression.groups.len() as u32 * 2;
        let mut compiler =
            Compiler { code: Vec::new(), sets: Vec::new(), registers: 0, proofs, target: 0, whole };
        compiler.node(&expression.root, First::ANYTHING, Before::ANYTHING);
        compiler.emit(Inst::Succeed);
        let first = First::of(&expression.root, First::ANYTHING, Before::ANYTHING);
        let uses_groups = expression.root.any(&|node| matches!(node, Node::BackReference { .. }));
        Self {
            code: compiler.code,
            sets: compiler.sets,
            registers: compiler.registers as usize,
            slots: expression.groups.len() * 2 + 2,
            starts: (!first.end).then(|| first.bytes.table()),
            anchored: proofs && !uses_groups && begins_with_everything(&expression.root),
        }
    }
}

/// Whether the first thing in the expression is `.*`, dot for everything.
fn begins_with_everything(node: &Node) -> bool {
    match node {
        Node::Capture(_, inner) => begins_with_everything(inner),
        Node::Concat(nodes) => nodes.first().is_some_and(begins_with_everything),
        Node::Repeat(repeat) => {
            let all = |set: &CharSet| {
                set.first_bytes().union(ByteSet::beyond_ascii()) == ByteSet::ALL && set.is_bytewise()
            };
            repeat.max.is_none() && repeat.node.as_set().is_some_and(|set| all(&set))
        }
        _ => false,
    }
}

struct Compiler {
    code: Vec<Inst>,
    sets: Vec<CharSet>,
    registers: u32,
    proofs: bool,
    /// A jump leads here: a literal that ends here must not grow.
    target: usize,
    /// The slot for the start of the whole match.
    whole: u32,
}

impl Compiler {
    fn emit(&mut self, inst: Inst) -> usize {
        self.code.push(inst);
        self.code.len() - 1
    }

    /// The next instruction, as something to jump to.
    fn here(&mut self) -> u32 {
        self.target = self.code.len();
        self.code.len() as u32
    }

    fn set(&mut self, set: &CharSet) -> u32 {
        let index = self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        });
        index as u32
    }

    fn register(&mut self) -> u32 {
        self.registers += 1;
        self.registers - 1
    }

    /// `after` and `before` are what the text can hold behind and before the node.
    fn node(&mut self, node: &Node, after: First, before: Before) {
        match node {
            Node::Empty => {}
            Node::Keep => drop(self.emit(Inst::Save(self.whole))),
            Node::Char(c) => self.literal(*c),
            Node::Set(set) => {
                let set = self.set(set);
                self.emit(Inst::Set(set));
            }
            Node::Assert(assert) => drop(self.emit(Inst::Assert(*assert))),
            Node::Capture(group, inner) => {
                self.emit(Inst::Save(*group as u32 * 2));
                self.node(inner, after, before);
                self.emit(Inst::Save(*group as u32 * 2 + 1));
            }
            Node::Concat(nodes) => {
                let places = Before::each(nodes, before);
                let mut afters = vec![after; nodes.len()];
                for index in (1..nodes.len()).rev() {
                    afters[index - 1] = First::of(&nodes[index], afters[index], places[index]);
                }
                for (index, node) in nodes.iter().enumerate() {
                    self.node(node, afters[index], places[index]);
                }
            }
            Node::Alternate(branches) => self.alternate(branches, after, before),
            Node::Repeat(repeat) => self.repeat(repeat, after, before),
            Node::Atomic(inner) => {
                if let Node::Repeat(repeat) = &**inner
                    && let Some(set) = repeat.node.as_set()
                    && repeat.greedy
                {
                    return self.run(&set, repeat, RunKind::Possessive);
                }
                let start = self.emit(Inst::Succeed);
                self.node(inner, First::ANYTHING, before);
                self.emit(Inst::Succeed);
                let then = self.here();
                self.code[start] = Inst::Atomic(then);
            }
            Node::Look(look) => self.look(look, before),
            Node::BackReference { groups, ignore_case } => {
                let groups = groups.iter().map(|&group| group as u32).collect();
                self.emit(Inst::BackReference { groups, ignore_case: *ignore_case });
            }
        }
    }

    fn literal(&mut self, c: char) {
        let grows = self.target < self.code.len();
        if let Some(Inst::Literal(text)) = self.code.last_mut()
            && grows
        {
            let mut longer = String::from(std::mem::take(text));
            longer.push(c);
            *text = longer.into();
            return;
        }
        self.emit(Inst::Literal(c.to_string().into()));
    }

    fn alternate(&mut self, branches: &[Node], after: First, before: Before) {
        let mut ends = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            if index + 1 == branches.len() {
                self.node(branch, after, before);
                break;
            }
            let split = self.emit(Inst::Succeed);
            self.node(branch, after, before);
            ends.push(self.emit(Inst::Succeed));
            let next = self.here();
            self.code[split] = Inst::Split(split as u32 + 1, next);
        }
        let here = self.here();
        for end in ends {
            self.code[end] = Inst::Jump(here);
        }
    }

    fn run(&mut self, set: &CharSet, repeat: &Repeat, kind: RunKind) {
        let set = self.set(set);
        self.emit(Inst::Run { set, min: repeat.min, max: repeat.max.unwrap_or(u32::MAX), kind });
    }

    fn repeat(&mut self, repeat: &Repeat, after: First, before: Before) {
        let Repeat { node, min, max, greedy } = repeat;
        if *max == Some(0) {
            return;
        }
        if let Some(set) = node.as_set() {
            // No place within the run can begin what follows: a shorter run leads nowhere.
            let follows = after.bytes.intersection(set.first_bytes());
            let kind = match greedy {
                _ if self.proofs && follows.is_empty() => RunKind::Possessive,
                true => RunKind::Greedy,
                false => RunKind::Lazy,
            };
            return self.run(&set, repeat, kind);
        }
        if *max == Some(1) {
            if *min == 1 {
                return self.node(node, after, before);
            }
            let split = self.emit(Inst::Succeed);
            self.node(node, after, before);
            let (inside, out) = (split as u32 + 1, self.here());
            self.code[split] = if *greedy { Inst::Split(inside, out) } else { Inst::Split(out, inside) };
            return;
        }
        let counter = (*min > 0 || max.is_some()).then(|| self.register());
        let mark = node.is_nullable().then(|| self.register());
        if let Some(register) = counter {
            self.emit(Inst::Zero(register));
        }
        let head = self.emit(Inst::Succeed);
        let body = self.here();
        if let Some(register) = counter {
            self.emit(Inst::Increment(register));
        }
        if let Some(register) = mark {
            self.emit(Inst::Mark(register));
        }
        self.node(node, First::again(repeat, after, before), Before::of(node, before).union(before));
        let check = mark.map(|register| (register, self.emit(Inst::Succeed)));
        self.emit(Inst::Jump(head as u32));
        let out = self.here();
        if let Some((register, check)) = check {
            self.code[check] = Inst::IfEmpty(register, out);
        }
        self.code[head] = match counter {
            Some(register) => {
                Inst::Count { register, min: *min, max: max.unwrap_or(u32::MAX), greedy: *greedy, out }
            }
            None if *greedy => Inst::Split(body, out),
            None => Inst::Split(out, body),
        };
    }

    fn look(&mut self, look: &Look, before: Before) {
        let start = self.emit(Inst::Succeed);
        if !look.behind {
            self.node(&look.node, First::ANYTHING, before);
            self.emit(Inst::Succeed);
            let then = self.here();
            self.code[start] = Inst::Ahead { negated: look.negated, then };
            return;
        }
        let branches = if let Node::Alternate(branches) = &look.node {
            branches
        } else {
            std::slice::from_ref(&look.node)
        };
        let mut compiled = Vec::new();
        for branch in branches {
            // The parser has seen to it that every branch has a length.
            compiled.push((branch.fixed_chars().unwrap_or(0) as u32, self.here()));
            self.node(branch, First::ANYTHING, Before::ANYTHING);
            self.emit(Inst::Succeed);
        }
        let then = self.here();
        self.code[start] = Inst::Behind { negated: look.negated, branches: compiled.into(), then };
    }
}
