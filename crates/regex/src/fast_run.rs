//! Runs the programs of the fast engine.

use std::sync::Arc;

use memchr::memmem;

use crate::ast::Assert;
use crate::budget::{Budget, GaveUp};
use crate::charset::{ByteSet, CharSet};
use crate::dfa::{Dfa, Found};
use crate::first::First;
use crate::machine::{UNSET, holds};

/// Bytes that failed attempts may have read, beside some for each byte of the text. A program that reads a long text
/// again and again from each place is of no use on it.
const MAX_READ: usize = 64 << 10;
/// Times that each byte of the text may be read in failed attempts.
const MAX_READINGS: usize = 32;

/// Membership by byte.
type Table = Box<[bool; 256]>;

/// A program that never goes back.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    ops: Box<[Op]>,
    /// It never has to say that it is inconclusive, but for what a byte beyond ASCII may be.
    pub(crate) proven: bool,
    slots: usize,
    /// The bytes that a match can begin with; `None` if it can be empty at the end of the text.
    starts: Option<Table>,
    /// The program begins with this run, so that starting later within it comes to the same.
    lead: Option<Table>,
    /// What a match begins with.
    prefix: Option<memmem::Finder<'static>>,
    /// A match has at least so many bytes.
    least: usize,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Byte(u8),
    /// Several bytes.
    Bytes(Box<[u8]>),
    /// One character, of which the first byte tells whether it belongs.
    One(Table),
    /// One character.
    OneOf(CharSet),
    /// Every byte to the end of the text.
    Rest,
    /// Bytes as long as they belong, at least one if so.
    While(Table, bool),
    /// As `While`, with the start and the end kept, and then this byte.
    Field {
        set: Table,
        start: u32,
        byte: u8,
    },
    /// Bytes up to this one or to the end of the text, at least one if so.
    UpTo(u8, bool),
    /// Characters as long as they belong.
    Run(Box<Run>),
    /// To the first or the last place where this text stands.
    Find(Box<Find>),
    Dfa(Arc<Dfa>),
    Save(u32),
    Assert(Assert),
    Behind {
        set: CharSet,
        negated: bool,
    },
    Ahead {
        set: CharSet,
        negated: bool,
    },
    /// On at the number for the next byte, the last one for the end of the text.
    Switch(Box<[u16; 257]>),
    Jump(u32),
    /// If what follows up to `Commit` fails, on at `otherwise` with these slots as they were.
    Try {
        otherwise: u32,
        slots: Box<[u32]>,
    },
    /// What was tried stands; `settled` if nothing that follows can fail.
    Commit {
        settled: bool,
    },
    /// What follows up to `Release` is settled once it matched.
    Hold,
    Release,
    Done,
}

/// A run that is more than bytes of a table.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    set: CharSet,
    min: u32,
    max: u32,
    way: Way,
}

/// Where a run ends.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Where the characters do.
    Longest,
    /// At the last place at which the text can go on.
    Last(Follow),
    /// At the first.
    First(Follow),
}

/// What can follow a place.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    bytes: Table,
    end: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Find {
    finder: memmem::Finder<'static>,
    finder_last: memmem::FinderRev<'static>,
    one_at_least: bool,
    last: bool,
}

/// What a match attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The slots hold the match.
    Match,
    /// There is none.
    NoMatch,
    /// Another engine must be asked.
    Inconclusive,
}

/// The memory of a match, used again for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries {
    /// Bytes that failed attempts have read.
    read: usize,
    frames: Vec<Frame>,
    saved: Vec<u32>,
    held: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    op: u32,
    at: usize,
    /// Choices that were not proven, when this was tried.
    unproven: u32,
    /// Atomic groups that were open.
    held: usize,
}

impl From<First> for Follow {
    fn from(first: First) -> Self {
        Self { bytes: first.bytes.table(), end: first.end }
    }
}

impl Follow {
    #[inline]
    fn admits(&self, text: &[u8], at: usize) -> bool {
        text.get(at).map_or(self.end, |&byte| self.bytes[usize::from(byte)])
    }
}

// === impl Op ===

impl Op {
    /// In a switch: no branch begins so.
    pub(crate) const NOWHERE: u16 = u16::MAX;

    /// A run.
    pub(crate) fn run(set: &CharSet, min: u32, max: Option<u32>, way: Way) -> Self {
        if matches!(way, Way::Longest) && set.is_bytewise() && max.is_none() && min <= 1 {
            let bytes = set.all_bytes();
            let others: Vec<u8> = bytes.complement().iter().collect();
            return match others[..] {
                [] if min == 0 => Self::Rest,
                [one] => Self::UpTo(one, min == 1),
                _ => Self::While(bytes.table(), min == 1),
            };
        }
        Self::Run(Box::new(Run { set: set.clone(), min, max: max.unwrap_or(u32::MAX), way }))
    }

    /// Everything up to a text.
    pub(crate) fn find(text: String, one_at_least: bool, last: bool) -> Self {
        let finder = memmem::Finder::new(text.as_bytes()).into_owned();
        let finder_last = memmem::FinderRev::new(text.as_bytes()).into_owned();
        Self::Find(Box::new(Find { finder, finder_last, one_at_least, last }))
    }
}

// === impl Program ===

impl Program {
    pub(crate) fn new(ops: Vec<Op>, proven: bool, slots: usize, first: First, least: usize) -> Self {
        let ops = joined(ops);
        let leading = ops.iter().find(|op| !matches!(op, Op::Save(_)));
        let lead = match leading {
            Some(Op::While(table, _) | Op::Field { set: table, .. }) => Some(table.clone()),
            Some(Op::UpTo(byte, _)) => Some(ByteSet::one(*byte).complement().table()),
            _ => None,
        };
        let prefix = match leading {
            Some(Op::Bytes(bytes)) => Some(memmem::Finder::new(bytes).into_owned()),
            Some(Op::Byte(byte)) => Some(memmem::Finder::new(&[*byte]).into_owned()),
            _ => None,
        };
        let starts = (!first.end).then(|| first.bytes.table());
        Self { ops: ops.into(), proven, slots, starts, lead, prefix, least }
    }

    /// The leftmost match; `slots` gets start and end of each group.
    pub(crate) fn search(
        &self,
        text: &str,
        slots: &mut Vec<u32>,
        tries: &mut Tries,
        budget: &mut Budget,
    ) -> Result<Answer, GaveUp> {
        let bytes = text.as_bytes();
        slots.clear();
        slots.resize(self.slots, UNSET);
        let Some(last) = bytes.len().checked_sub(self.least) else { return Ok(Answer::NoMatch) };
        let most = MAX_READ + MAX_READINGS * bytes.len();
        let mut look = MAX_READ;
        tries.read = 0;
        let mut at = 0;
        let mut touched = false;
        while at <= last {
            if let Some(prefix) = &self.prefix {
                match prefix.find(&bytes[at..]) {
                    Some(found) => at += found,
                    None => return Ok(Answer::NoMatch),
                }
            } else if let Some(starts) = &self.starts {
                match bytes[at..].iter().position(|&byte| starts[usize::from(byte)]) {
                    Some(found) => at += found,
                    None => return Ok(Answer::NoMatch),
                }
                if !text.is_char_boundary(at) {
                    at += 1;
                    continue;
                }
            } else if !text.is_char_boundary(at) {
                at += 1;
                continue;
            }
            if touched {
                slots.fill(UNSET);
            }
            match self.attempt(text, at, slots, tries) {
                Answer::NoMatch if tries.read > most => return Ok(Answer::Inconclusive),
                Answer::NoMatch if tries.read > look => {
                    budget.spend(MAX_READ)?;
                    look = tries.read + MAX_READ;
                    touched = true;
                }
                Answer::NoMatch => touched = true,
                answer => return Ok(answer),
            }
            match &self.lead {
                Some(lead) if bytes.get(at).is_some_and(|&byte| lead[usize::from(byte)]) => {
                    at += 1;
                    while bytes.get(at).is_some_and(|&byte| lead[usize::from(byte)]) {
                        at += 1;
                    }
                }
                _ => at += 1,
            }
        }
        Ok(Answer::NoMatch)
    }

    fn attempt(&self, text: &str, start: usize, slots: &mut [u32], tries: &mut Tries) -> Answer {
        let bytes = text.as_bytes();
        let (mut op, mut at, mut unproven) = (0, start, 0_u32);
        tries.frames.clear();
        tries.saved.clear();
        tries.held.clear();
        // How far was read, where that is further than `at`.
        let mut read_to = start;
        loop {
            let went_on = match &self.ops[op] {
                Op::Byte(byte) => {
                    let found = bytes.get(at) == Some(byte);
                    at += usize::from(found);
                    found
                }
                Op::Field { set, start, byte } => {
                    let from = at;
                    let mut to = at;
                    while let Some(&next) = bytes.get(to)
                        && set[usize::from(next)]
                    {
                        to += 1;
                    }
                    slots[*start as usize] = from as u32;
                    slots[*start as usize + 1] = to as u32;
                    at = to + 1;
                    to > from && bytes.get(to) == Some(byte)
                }
                Op::Bytes(wanted) => {
                    let found = bytes[at..].starts_with(wanted);
                    at += if found { wanted.len() } else { 0 };
                    found
                }
                Op::Save(slot) => {
                    slots[*slot as usize] = at as u32;
                    true
                }
                Op::While(set, one_at_least) => {
                    let from = at;
                    while let Some(&next) = bytes.get(at)
                        && set[usize::from(next)]
                    {
                        at += 1;
                    }
                    at > from || !one_at_least
                }
                Op::Dfa(dfa) => {
                    let (found, read) = dfa.find(bytes, at);
                    read_to = read_to.max(read);
                    match found {
                        Found::At(end) => at = end,
                        Found::Nowhere => {}
                        Found::Inconclusive => return Answer::Inconclusive,
                    }
                    matches!(found, Found::At(_))
                }
                Op::UpTo(byte, one_at_least) => {
                    let length = memchr::memchr(*byte, &bytes[at..]).unwrap_or(bytes.len() - at);
                    at += length;
                    length > 0 || !one_at_least
                }
                Op::Rest => {
                    at = bytes.len();
                    true
                }
                Op::One(set) => match bytes.get(at) {
                    Some(&byte) if set[usize::from(byte)] => {
                        at += char_len(byte);
                        true
                    }
                    _ => false,
                },
                Op::OneOf(set) => match text[at..].chars().next() {
                    Some(c) if set.contains(c) => {
                        at += c.len_utf8();
                        true
                    }
                    _ => false,
                },
                Op::Run(run) => {
                    let (end, read) = run.end(text, at);
                    read_to = read_to.max(read);
                    if let Some(end) = end {
                        at = end;
                        unproven += u32::from(!matches!(run.way, Way::Longest));
                    }
                    end.is_some()
                }
                Op::Find(find) => {
                    let place = find.place(bytes, at);
                    if find.last || place.is_none() {
                        read_to = bytes.len();
                    }
                    if let Some(place) = place {
                        at = place;
                        unproven += 1;
                    }
                    place.is_some()
                }
                Op::Assert(assert) => holds(*assert, text, at),
                Op::Behind { set, negated } => {
                    text[..at].chars().next_back().is_some_and(|c| set.contains(c)) != *negated
                }
                Op::Ahead { set, negated } => {
                    text[at..].chars().next().is_some_and(|c| set.contains(c)) != *negated
                }
                Op::Switch(table) => {
                    let next = table[bytes.get(at).map_or(256, |&byte| usize::from(byte))];
                    if next != Op::NOWHERE {
                        op = usize::from(next);
                        continue;
                    }
                    false
                }
                Op::Jump(to) => {
                    op = *to as usize;
                    continue;
                }
                Op::Try { slots: kept, .. } => {
                    tries.frames.push(Frame { op: op as u32, at, unproven, held: tries.held.len() });
                    tries.saved.extend(kept.iter().map(|&slot| slots[slot as usize]));
                    true
                }
                Op::Commit { settled } => {
                    if let Some(frame) = tries.frames.pop()
                        && let Op::Try { slots: kept, .. } = &self.ops[frame.op as usize]
                    {
                        tries.saved.truncate(tries.saved.len() - kept.len());
                    }
                    unproven += u32::from(!settled);
                    true
                }
                Op::Hold => {
                    tries.held.push(unproven);
                    true
                }
                Op::Release => {
                    unproven = tries.held.pop().unwrap_or(unproven);
                    true
                }
                Op::Done => return Answer::Match,
            };
            if went_on {
                op += 1;
                continue;
            }
            let from = tries.frames.last().map_or(start, |frame| frame.at);
            tries.read += at.max(read_to).saturating_sub(from);
            let Some(frame) = tries.frames.pop() else {
                return if unproven == 0 { Answer::NoMatch } else { Answer::Inconclusive };
            };
            let Op::Try { otherwise, slots: kept } = &self.ops[frame.op as usize] else {
                return Answer::Inconclusive;
            };
            // A choice within what was tried could have been another one: then it has not failed yet.
            if frame.unproven != unproven {
                return Answer::Inconclusive;
            }
            let saved = tries.saved.split_off(tries.saved.len() - kept.len());
            for (&slot, was) in kept.iter().zip(saved) {
                slots[slot as usize] = was;
            }
            tries.held.truncate(frame.held);
            (op, at, read_to) = (*otherwise as usize, frame.at, frame.at);
        }
    }
}

#[inline]
fn char_len(first: u8) -> usize {
    match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

/// Joins ops that nothing jumps in between.
fn joined(ops: Vec<Op>) -> Vec<Op> {
    let mut targets = vec![false; ops.len() + 1];
    for op in &ops {
        match op {
            Op::Jump(to) | Op::Try { otherwise: to, .. } => targets[*to as usize] = true,
            Op::Switch(table) => {
                table.iter().filter(|&&to| to != Op::NOWHERE).for_each(|&to| targets[usize::from(to)] = true);
            }
            _ => {}
        }
    }
    let mut result: Vec<Op> = Vec::with_capacity(ops.len());
    // Where each op went.
    let mut moved = vec![0_u32; ops.len() + 1];
    let mut index = 0;
    while index < ops.len() {
        moved[index] = result.len() as u32;
        let free = |count: usize| (1..count).all(|more| !targets[index + more]);
        match &ops[index..] {
            [Op::Save(start), Op::While(set, true), Op::Save(end), Op::Byte(byte), ..]
                if *end == start + 1 && free(4) && !set[usize::from(*byte)] =>
            {
                result.push(Op::Field { set: set.clone(), start: *start, byte: *byte });
                index += 4;
            }
            [Op::Byte(_), ..] => {
                let more = ops[index + 1..].iter().zip(&targets[index + 1..]);
                let count =
                    1 + more.take_while(|(op, target)| matches!(op, Op::Byte(_)) && !**target).count();
                let bytes: Vec<u8> = ops[index..index + count]
                    .iter()
                    .map(|op| if let Op::Byte(byte) = op { *byte } else { 0 })
                    .collect();
                result.push(if let [byte] = bytes[..] { Op::Byte(byte) } else { Op::Bytes(bytes.into()) });
                index += count;
            }
            _ => {
                result.push(ops[index].clone());
                index += 1;
            }
        }
    }
    moved[ops.len()] = result.len() as u32;
    for op in &mut result {
        match op {
            Op::Jump(to) | Op::Try { otherwise: to, .. } => *to = moved[*to as usize],
            Op::Switch(table) => {
                table
                    .iter_mut()
                    .filter(|to| **to != Op::NOWHERE)
                    .for_each(|to| *to = moved[usize::from(*to)] as u16);
            }
            _ => {}
        }
    }
    result
}

// === impl Run ===

impl Run {
    /// The end, and how far was read to find it.
    fn end(&self, text: &str, start: usize) -> (Option<usize>, usize) {
        let bytes = text.as_bytes();
        let mut at = start;
        let mut low = start;
        let mut count = 0;
        while count < self.max {
            if let Way::First(follow) = &self.way
                && count >= self.min
                && follow.admits(bytes, at)
            {
                return (Some(at), at);
            }
            let Some(c) = text[at..].chars().next() else { break };
            if !self.set.contains(c) {
                break;
            }
            at += c.len_utf8();
            count += 1;
            if count == self.min {
                low = at;
            }
        }
        let end = match &self.way {
            _ if count < self.min => None,
            Way::Longest => Some(at),
            Way::First(follow) => follow.admits(bytes, at).then_some(at),
            Way::Last(follow) => {
                (low..=at).rev().find(|&place| text.is_char_boundary(place) && follow.admits(bytes, place))
            }
        };
        (end, at)
    }
}

// === impl Find ===

impl Find {
    fn place(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let from = start + if self.one_at_least { char_len(*bytes.get(start)?) } else { 0 };
        let rest = bytes.get(from..)?;
        let found = if self.last { self.finder_last.rfind(rest) } else { self.finder.find(rest) };
        found.map(|place| from + place)
    }
}
