//! Takes out of an expression what provably changes nothing: look-around that the neighbours already guarantee, atomic
//! groups that could not end elsewhere anyway, runs within loops. What is left is within reach of more engines.

use crate::ast::{Assert, Look, Node, Repeat};
use crate::charset::ByteSet;
use crate::dfa::{Fuel, is_prefix_free};
use crate::first::{Before, First};

/// The same expression in fewer words.
pub(crate) fn simplify(root: &Node, fuel: &Fuel) -> Node {
    node(root, First::ANYTHING, Before::ANYTHING, true, fuel)
}

/// `settled`: nothing that follows can fail, so that nothing in here is ever asked for another way.
fn node(original: &Node, after: First, before: Before, settled: bool, fuel: &Fuel) -> Node {
    match original {
        Node::Empty | Node::Keep | Node::Char(_) | Node::Set(_) | Node::BackReference { .. } => {
            original.clone()
        }
        Node::Assert(assert) => {
            if is_given(*assert, after, before) {
                Node::Empty
            } else {
                original.clone()
            }
        }
        Node::Capture(group, inner) => captured(*group, node(inner, after, before, settled, fuel)),
        Node::Concat(nodes) => {
            let places = Before::each(nodes, before);
            let mut result = Vec::with_capacity(nodes.len());
            let (mut after, mut settled) = (after, settled);
            for (item, before) in nodes.iter().zip(places).rev() {
                result.push(node(item, after, before, settled, fuel));
                after = First::of(item, after, before);
                settled = settled && crate::first::cannot_fail(item);
            }
            result.reverse();
            Node::concat(result)
        }
        Node::Alternate(branches) => {
            // A branch that fails sends the engine to the next one, whatever follows.
            Node::Alternate(
                branches.iter().map(|branch| node(branch, after, before, settled, fuel)).collect(),
            )
        }
        Node::Repeat(repeat) => loop_of(repeat, after, before, settled, fuel),
        Node::Atomic(inner) => {
            let inside = node(inner, First::ANYTHING, before, true, fuel);
            if settled || is_neutral(&inside, after, before, fuel) {
                inside
            } else {
                Node::Atomic(Box::new(inside))
            }
        }
        Node::Look(look) if is_implied(look, after, before) => Node::Empty,
        Node::Look(look) => {
            let inside = node(&look.node, First::ANYTHING, Before::ANYTHING, !look.behind, fuel);
            Node::Look(Box::new(Look { node: inside, ..**look }))
        }
    }
}

/// A group whose text begins behind the places it begins with and ends before those it ends with: `(?<a>(?<!x)y)` keeps
/// the same text as `(?<!x)(?<a>y)`, and the place can then be seen together with what stands around the group.
fn captured(group: usize, inner: Node) -> Node {
    let is_place = |node: &&Node| matches!(node, Node::Assert(_) | Node::Look(_));
    let items = inner.items();
    let before = items.iter().take_while(is_place).count();
    let behind = items[before..].iter().rev().take_while(is_place).count();
    let (start, end) = (before, items.len() - behind);
    let mut parts = items[..start].to_vec();
    parts.push(Node::Capture(group, Box::new(Node::concat(items[start..end].to_vec()))));
    parts.extend_from_slice(&items[end..]);
    Node::concat(parts)
}

fn loop_of(repeat: &Repeat, after: First, before: Before, settled: bool, fuel: &Fuel) -> Node {
    let again = if repeat.max == Some(1) { after } else { First::again(repeat, after, before) };
    let inside = Before::of(&repeat.node, before).union(before);
    // In a loop, what follows the body is the body, which can fail.
    let settled = settled && repeat.max == Some(1);
    let mut body = node(&repeat.node, again, inside, settled, fuel);
    if repeat.max.is_none() && repeat.min <= 1 && repeat.greedy {
        body = without_runs(body, after);
    }
    Node::Repeat(Box::new(Repeat { node: body, ..*repeat }))
}

/// The body of a greedy loop in which a branch is itself a run, `(?>\\.|[^\\"]+)+`: one character of the run at a time
/// gives the same matches in the same order, if no other branch can begin within the run. Where the run may not be
/// given up (an atomic group), what follows the loop must not be able to begin within it either.
fn without_runs(body: Node, after: First) -> Node {
    let (inner, atomic) = match &body {
        Node::Atomic(inner) => (&**inner, true),
        body => (body, false),
    };
    if inner.has_captures() {
        return body;
    }
    let branches = if let Node::Alternate(branches) = inner { branches } else { std::slice::from_ref(inner) };
    let firsts: Vec<First> =
        branches.iter().map(|branch| First::of(branch, First::ANYTHING, Before::ANYTHING)).collect();
    let apart = |index: usize| (0..index).all(|other| firsts[index].is_disjoint(firsts[other]));
    if !(0..branches.len()).all(apart) {
        return body;
    }
    let mut changed = Vec::with_capacity(branches.len());
    for branch in branches {
        let (run, possessed) = match branch {
            Node::Atomic(possessed) => (&**possessed, true),
            branch => (branch, false),
        };
        let single = match run {
            Node::Repeat(run) if run.greedy && run.min == 1 && run.max.is_none() => {
                run.node.as_set().map(|set| (set, &run.node))
            }
            _ => None,
        };
        if let Some((set, _)) = &single
            && (atomic || possessed)
            && !after.bytes.intersection(set.first_bytes()).is_empty()
        {
            return body;
        }
        let node = single.map_or_else(|| branch.clone(), |(_, one)| one.clone());
        // One way only through each branch: then there is nothing to hold on to.
        if !has_one_way(&node) {
            return body;
        }
        changed.push(node);
    }
    Node::alternate(changed)
}

/// Whether a text is matched in at most one way and with one length.
fn has_one_way(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Char(_) | Node::Set(_) | Node::Assert(_) => true,
        Node::Capture(_, inner) | Node::Atomic(inner) => has_one_way(inner),
        Node::Concat(nodes) => nodes.iter().all(has_one_way),
        Node::Repeat(repeat) => repeat.max == Some(repeat.min) && has_one_way(&repeat.node),
        _ => false,
    }
}

/// Whether the first way in which `inside` matches is the only one after which the text can go on with `after`.
fn is_neutral(inside: &Node, after: First, before: Before, fuel: &Fuel) -> bool {
    if has_one_way(inside) {
        return true;
    }
    if inside.has_captures() {
        return false;
    }
    // Every way to match is the beginning of the longest, which is the first; none of the shorter ones can be followed.
    let longest_first = is_forced(inside, First { bytes: ByteSet::NONE, end: false }, before)
        && bytes_of(inside).intersection(after.bytes).is_empty();
    longest_first || is_prefix_free(std::slice::from_ref(inside), fuel)
}

/// Whether the next byte decides every choice within, and going on is always preferred to ending.
fn is_forced(node: &Node, after: First, before: Before) -> bool {
    match node {
        Node::Empty | Node::Char(_) | Node::Set(_) => true,
        Node::Capture(_, inner) => is_forced(inner, after, before),
        Node::Concat(nodes) => {
            let places = Before::each(nodes, before);
            let mut after = after;
            nodes.iter().zip(places).rev().all(|(node, before)| {
                let forced = is_forced(node, after, before);
                after = First::of(node, after, before);
                forced
            })
        }
        Node::Alternate(branches) => {
            let firsts: Vec<First> = branches.iter().map(|branch| First::of(branch, after, before)).collect();
            let last = branches.len() - 1;
            (0..=last).all(|index| {
                (index == last || !branches[index].is_nullable())
                    && (0..index).all(|other| firsts[index].is_disjoint(firsts[other]))
                    && is_forced(&branches[index], after, before)
            })
        }
        Node::Repeat(repeat) => {
            let around = Before::of(&repeat.node, before).union(before);
            let again = First::again(repeat, after, before);
            repeat.greedy
                && !repeat.node.is_nullable()
                && (repeat.max == Some(repeat.min)
                    || First::of(&repeat.node, again, around).is_disjoint(after))
                && is_forced(&repeat.node, again, around)
        }
        _ => false,
    }
}

/// Every byte that a match can hold.
fn bytes_of(node: &Node) -> ByteSet {
    match node {
        Node::Char(c) => crate::charset::CharSet::one(*c).all_bytes(),
        Node::Set(set) => set.all_bytes(),
        Node::BackReference { .. } => ByteSet::ALL,
        Node::Look(_) => ByteSet::NONE,
        node => node.children().iter().fold(ByteSet::NONE, |sum, child| sum.union(bytes_of(child))),
    }
}

fn is_given(assert: Assert, after: First, before: Before) -> bool {
    let word = ByteSet::ascii_word();
    let plain = |bytes: ByteSet| bytes.intersection(word.union(ByteSet::beyond_ascii())).is_empty();
    let word_before = !before.start && before.bytes.is_within(word);
    let word_behind = !after.end && after.bytes.is_within(word);
    let newline = ByteSet::one(b'\n');
    match assert {
        Assert::WordBoundary => (word_before && plain(after.bytes)) || (plain(before.bytes) && word_behind),
        Assert::NotWordBoundary => {
            (word_before && word_behind) || (plain(before.bytes) && plain(after.bytes))
        }
        // Behind a newline that ends the text no line begins.
        Assert::LineStart => before.bytes.is_within(newline) && !after.end,
        Assert::LineEnd => after.bytes.is_within(newline),
        Assert::TextStart => before.bytes.is_empty(),
        Assert::TextEnd => after.bytes.is_empty(),
        Assert::TextEndNewline => false,
    }
}

/// Whether the neighbours already see to what a look at one character asks for.
fn is_implied(look: &Look, after: First, before: Before) -> bool {
    let Some(set) = look.node.as_set() else { return false };
    let certain = set.certain_bytes();
    match (look.behind, look.negated) {
        (false, true) => after.bytes.intersection(set.first_bytes()).is_empty(),
        (false, false) => !after.end && after.bytes.is_within(certain),
        (true, true) => before.bytes.intersection(set.last_bytes()).is_empty(),
        (true, false) => !before.start && before.bytes.is_within(certain),
    }
}
