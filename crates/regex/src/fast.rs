//! The fast engine: a program that never goes back. Wherever the analysis proves that only one way can lead to a match,
//! that way is taken; elsewhere the way that a backtracking engine would try first. If all goes well, the result is the
//! backtracking engine's. If a match fails after a choice that was not proven, the engine says so, and another is asked.

use std::sync::Arc;

use crate::ast::{Expression, Look, Node, Repeat};
use crate::charset::{ByteSet, CharSet};
use crate::dfa::{Dfa, Fuel};
use crate::fast_run::{Op, Program, Way};
use crate::first::{Before, First, cannot_fail};

/// Copies of a part that is repeated a few times.
const MAX_COPIES: u32 = 8;
/// Parts, at most, that one automaton takes together.
const MAX_TOGETHER: usize = 6;
/// A longer program is slower than the other engines.
const MAX_OPS: usize = 4000;

/// Compiles an expression that went through `simplify`. `None` where it holds what this engine cannot do at all.
pub(crate) fn compile(root: &Node, expression: &Expression, fuel: &Fuel) -> Option<Program> {
    let mut compiler = Compiler { ops: Vec::new(), proven: true, automata: Vec::new(), fuel };
    let around = Around { after: First::ANYTHING, before: Before::ANYTHING, settled: true };
    compiler.node(root, around)?;
    compiler.emit(Op::Done)?;
    let first = First::of(root, First::ANYTHING, Before::ANYTHING);
    Some(Program::new(compiler.ops, compiler.proven, expression.groups.len() * 2, first, min_bytes(root)))
}

/// What is known about the place of a part.
#[derive(Clone, Copy)]
struct Around {
    after: First,
    before: Before,
    /// Nothing that follows can fail.
    settled: bool,
}

/// A part of a sequence, groups opened up.
#[derive(Clone, Copy)]
enum Item<'n> {
    Save(u32),
    Node(&'n Node),
}

/// What an automaton is for, and the automaton, if there is one for it.
type Made = (Vec<Node>, Option<First>, Option<Arc<Dfa>>);

struct Compiler<'e> {
    ops: Vec<Op>,
    /// Every choice is proven.
    proven: bool,
    /// Automata made so far, by what they are for.
    automata: Vec<Made>,
    fuel: &'e Fuel,
}

fn flatten<'n>(node: &'n Node, out: &mut Vec<Item<'n>>) {
    match node {
        Node::Empty => {}
        Node::Concat(nodes) => nodes.iter().for_each(|node| flatten(node, out)),
        Node::Capture(group, inner) => {
            out.push(Item::Save(*group as u32 * 2));
            flatten(inner, out);
            out.push(Item::Save(*group as u32 * 2 + 1));
        }
        node => out.push(Item::Node(node)),
    }
}

impl Compiler<'_> {
    fn emit(&mut self, op: Op) -> Option<usize> {
        if self.ops.len() >= MAX_OPS {
            return None;
        }
        self.ops.push(op);
        Some(self.ops.len() - 1)
    }

    fn here(&self) -> u32 {
        self.ops.len() as u32
    }

    fn node(&mut self, node: &Node, around: Around) -> Option<()> {
        let mut items = Vec::new();
        flatten(node, &mut items);
        let mut places = Vec::with_capacity(items.len());
        let mut before = around.before;
        for item in &items {
            places.push(Around { before, ..around });
            if let Item::Node(node) = item {
                before = Before::of(node, before);
            }
        }
        let (mut after, mut settled) = (around.after, around.settled);
        for (item, place) in items.iter().zip(&mut places).rev() {
            (place.after, place.settled) = (after, settled);
            if let Item::Node(node) = item {
                after = First::of(node, after, place.before);
                settled = settled && cannot_fail(node);
            }
        }
        let mut index = 0;
        while index < items.len() {
            index += match items[index] {
                Item::Save(slot) => {
                    self.emit(Op::Save(slot))?;
                    1
                }
                Item::Node(_) => self.part(&items[index..], &places[index..])?,
            };
        }
        Some(())
    }

    /// Compiles the part at the start of the list, perhaps together with some that follow; how many.
    fn part(&mut self, items: &[Item<'_>], places: &[Around]) -> Option<usize> {
        let Item::Node(node) = items[0] else { return None };
        let place = places[0];
        match node {
            Node::Empty => {}
            Node::Char(c) => self.literal(*c)?,
            Node::Set(set) => {
                let op = if set.is_bytewise() {
                    Op::One(set.first_bytes().table())
                } else {
                    Op::OneOf(CharSet::clone(set))
                };
                self.emit(op)?;
            }
            Node::Assert(assert) => drop(self.emit(Op::Assert(*assert))?),
            Node::Look(look) => self.look(look)?,
            Node::Atomic(inner) => self.atomic(inner, place)?,
            Node::Repeat(repeat) if repeat.node.as_set().is_some() => return self.run(repeat, items, places),
            Node::Alternate(branches) => return self.alternate(branches, items, places),
            Node::Repeat(repeat) => return self.repeat(repeat, items, places),
            Node::BackReference { .. } | Node::Keep => return None,
            Node::Concat(_) | Node::Capture(..) => self.node(node, place)?,
        }
        Some(1)
    }

    fn literal(&mut self, c: char) -> Option<()> {
        let mut buffer = [0; 4];
        for &byte in c.encode_utf8(&mut buffer).as_bytes() {
            self.emit(Op::Byte(byte))?;
        }
        Some(())
    }

    fn look(&mut self, look: &Look) -> Option<()> {
        let set = CharSet::clone(&*look.node.as_set()?);
        let Look { behind, negated, .. } = *look;
        self.emit(if behind { Op::Behind { set, negated } } else { Op::Ahead { set, negated } })?;
        Some(())
    }

    /// The first way to match, and no other: afterwards nothing within is a choice any more.
    fn atomic(&mut self, inner: &Node, place: Around) -> Option<()> {
        if !inner.has_captures()
            && let Some(dfa) = self.automaton(std::slice::from_ref(inner), None)
        {
            self.emit(Op::Dfa(dfa))?;
            return Some(());
        }
        if let Node::Repeat(repeat) = inner
            && let Some(set) = repeat.node.as_set()
            && repeat.greedy
        {
            return self.emit(Op::run(&set, repeat.min, repeat.max, Way::Longest)).map(drop);
        }
        self.emit(Op::Hold)?;
        self.node(inner, Around { after: First::ANYTHING, before: place.before, settled: true })?;
        self.emit(Op::Release)?;
        Some(())
    }

    fn automaton(&mut self, nodes: &[Node], after: Option<First>) -> Option<Arc<Dfa>> {
        if let Some((.., dfa)) =
            self.automata.iter().find(|(known, follows, _)| known == nodes && *follows == after)
        {
            return dfa.clone();
        }
        let dfa = match after {
            Some(after) => Dfa::only(nodes, after, self.fuel),
            None => Dfa::preferred(nodes, self.fuel),
        };
        let dfa = dfa.map(Arc::new);
        self.automata.push((nodes.to_vec(), after, dfa.clone()));
        dfa
    }

    /// The automaton of the first `count` parts, in their place.
    fn automaton_of(&mut self, items: &[Item<'_>], places: &[Around], count: usize) -> Option<Arc<Dfa>> {
        let mut nodes = Vec::with_capacity(count);
        for item in items.get(..count)? {
            match item {
                Item::Node(node) if !node.has_captures() => nodes.push((*node).clone()),
                _ => return None,
            }
        }
        let place = places[count - 1];
        self.automaton(&nodes, (!place.settled).then_some(place.after))
    }

    /// An automaton that is never inconclusive, of the first part and as few of the following as possible.
    fn conclusive_automaton(&mut self, items: &[Item<'_>], places: &[Around]) -> Option<(Arc<Dfa>, usize)> {
        for count in 1..=items.len().min(MAX_TOGETHER) {
            if matches!(items[count - 1], Item::Save(_)) {
                return None;
            }
            match self.automaton_of(items, places, count) {
                Some(dfa) if !dfa.inconclusive => return Some((dfa, count)),
                _ => {}
            }
        }
        None
    }

    /// One character of a set, repeated.
    fn run(&mut self, repeat: &Repeat, items: &[Item<'_>], places: &[Around]) -> Option<usize> {
        let Repeat { node, min, max, greedy } = repeat;
        let set = node.as_set()?;
        let Around { after, settled, .. } = places[0];
        if *max == Some(0) {
            return Some(1);
        }
        if settled && !greedy {
            self.emit(Op::run(&set, *min, Some(*min), Way::Longest))?;
            return Some(1);
        }
        // What follows cannot begin within the run: it ends where the characters do.
        if settled || after.bytes.intersection(set.first_bytes()).is_empty() {
            self.emit(Op::run(&set, *min, *max, Way::Longest))?;
            return Some(1);
        }
        if let Some((dfa, count)) = self.conclusive_automaton(items, places) {
            self.emit(Op::Dfa(dfa))?;
            return Some(count);
        }
        self.proven = false;
        let everything = set.is_bytewise() && set.all_bytes() == ByteSet::ALL;
        let literal = literal_at(&items[1..]);
        if everything && max.is_none() && *min <= 1 && literal.len() > 1 {
            self.emit(Op::find(literal, *min == 1, *greedy))?;
        } else {
            let way = if *greedy { Way::Last(after.into()) } else { Way::First(after.into()) };
            self.emit(Op::run(&set, *min, *max, way))?;
        }
        Some(1)
    }

    fn alternate(&mut self, branches: &[Node], items: &[Item<'_>], places: &[Around]) -> Option<usize> {
        let place = places[0];
        let Item::Node(whole) = items[0] else { return None };
        if !whole.has_captures()
            && let Some((dfa, count)) = self.conclusive_automaton(items, places)
        {
            self.emit(Op::Dfa(dfa))?;
            return Some(count);
        }
        let firsts: Vec<First> =
            branches.iter().map(|branch| First::of(branch, place.after, place.before)).collect();
        if (0..branches.len()).all(|index| (0..index).all(|other| firsts[index].is_disjoint(firsts[other]))) {
            self.switch(branches, &firsts, place)?;
            return Some(1);
        }
        if let Some(dfa) = self.automaton_of(items, places, 1) {
            self.proven = false;
            self.emit(Op::Dfa(dfa))?;
            return Some(1);
        }
        self.attempts(branches, place)?;
        Some(1)
    }

    /// The next byte says which branch.
    fn switch(&mut self, branches: &[Node], firsts: &[First], place: Around) -> Option<()> {
        let switch = self.emit(Op::Done)?;
        let mut table = Box::new([Op::NOWHERE; 257]);
        let mut ends = Vec::new();
        for (branch, first) in branches.iter().zip(firsts) {
            let here = self.here() as u16;
            first.bytes.iter().for_each(|byte| table[usize::from(byte)] = here);
            if first.end {
                table[256] = here;
            }
            self.node(branch, place)?;
            ends.push(self.emit(Op::Done)?);
        }
        let out = self.here();
        ends.into_iter().for_each(|end| self.ops[end] = Op::Jump(out));
        self.ops[switch] = Op::Switch(table);
        Some(())
    }

    /// One branch after the other, until one matches.
    fn attempts(&mut self, branches: &[Node], place: Around) -> Option<()> {
        if !place.settled {
            self.proven = false;
        }
        let mut ends = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            if index + 1 == branches.len() {
                self.node(branch, place)?;
                break;
            }
            let start = self.emit(Op::Done)?;
            self.node(branch, place)?;
            self.emit(Op::Commit { settled: place.settled })?;
            ends.push(self.emit(Op::Done)?);
            self.ops[start] = Op::Try { otherwise: self.here(), slots: slots_of(branch) };
        }
        let out = self.here();
        ends.into_iter().for_each(|end| self.ops[end] = Op::Jump(out));
        Some(())
    }

    fn repeat(&mut self, repeat: &Repeat, items: &[Item<'_>], places: &[Around]) -> Option<usize> {
        let Repeat { node, min, max, greedy } = repeat;
        let place = places[0];
        if *max == Some(0) {
            return Some(1);
        }
        if !node.has_captures()
            && let Some((dfa, count)) = self.conclusive_automaton(items, places)
        {
            self.emit(Op::Dfa(dfa))?;
            return Some(count);
        }
        if node.is_nullable() && *max != Some(1) {
            return None;
        }
        let optional = max.map(|max| max - min);
        if *min > MAX_COPIES || optional.is_some_and(|optional| optional > MAX_COPIES) {
            return None;
        }
        let around = Before::of(node, place.before).union(place.before);
        let again = First::again(repeat, place.after, place.before);
        let inside = First::of(node, again, around);
        // Behind a copy that need not be there, everything may be left out: nothing fails unless what follows does.
        let body = Around { after: again, before: around, settled: place.settled };
        for _ in 0..*min {
            self.node(node, Around { settled: false, ..body })?;
        }
        let apart = inside.is_disjoint(place.after);
        let head = self.here();
        let mut exits = Vec::new();
        for _ in 0..optional.unwrap_or(1) {
            exits.push((self.entry(node, apart, *greedy, place)?, self.here()));
            self.node(node, body)?;
            if !apart {
                self.emit(Op::Commit { settled: place.settled })?;
            }
        }
        if optional.is_none() {
            self.emit(Op::Jump(head))?;
        }
        let out = self.here();
        for (entry, body) in exits {
            match &mut self.ops[entry] {
                Op::Switch(table) => {
                    inside.bytes.iter().for_each(|byte| table[usize::from(byte)] = body as u16);
                    place.after.bytes.iter().for_each(|byte| table[usize::from(byte)] = out as u16);
                    if place.after.end || inside.end {
                        table[256] = if inside.end { body } else { out } as u16;
                    }
                }
                Op::Try { otherwise, .. } => *otherwise = out,
                _ => {}
            }
        }
        Some(1)
    }

    /// Decides whether an optional part, or one more of a loop, is entered.
    fn entry(&mut self, node: &Node, apart: bool, greedy: bool, place: Around) -> Option<usize> {
        if apart {
            return self.emit(Op::Switch(Box::new([Op::NOWHERE; 257])));
        }
        if !greedy {
            return None;
        }
        if !place.settled {
            self.proven = false;
        }
        self.emit(Op::Try { otherwise: 0, slots: slots_of(node) })
    }
}

/// The literal text that surely comes next.
fn literal_at(items: &[Item<'_>]) -> String {
    let mut text = String::new();
    for item in items {
        match item {
            Item::Save(_) => {}
            Item::Node(Node::Char(c)) => text.push(*c),
            Item::Node(_) => break,
        }
    }
    text
}

/// The slots that a part can set.
fn slots_of(node: &Node) -> Box<[u32]> {
    fn collect(node: &Node, out: &mut Vec<u32>) {
        if let Node::Capture(group, _) = node {
            out.extend([*group as u32 * 2, *group as u32 * 2 + 1]);
        }
        node.children().iter().for_each(|child| collect(child, out));
    }
    let mut slots = Vec::new();
    collect(node, &mut slots);
    slots.into()
}

/// The least length of a match in bytes.
fn min_bytes(node: &Node) -> usize {
    match node {
        Node::Char(c) => c.len_utf8(),
        Node::Set(_) => 1,
        Node::Capture(_, inner) | Node::Atomic(inner) => min_bytes(inner),
        Node::Concat(nodes) => nodes.iter().fold(0, |sum, node| sum.saturating_add(min_bytes(node))),
        Node::Alternate(branches) => branches.iter().map(min_bytes).min().unwrap_or(0),
        Node::Repeat(repeat) => min_bytes(&repeat.node).saturating_mul(repeat.min as usize),
        Node::Empty | Node::Keep | Node::Assert(_) | Node::Look(_) | Node::BackReference { .. } => 0,
    }
}
