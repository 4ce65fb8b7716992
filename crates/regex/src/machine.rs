//! Runs the programs of the backtracking engine: a machine over an explicit stack, within a budget.

use crate::ast::Assert;
use crate::backtrack::{Inst, Program, RunKind};
use crate::budget::{Budget, GaveUp};
use crate::charset::{CharSet, is_word};

/// A slot that no group has set.
pub(crate) const UNSET: u32 = u32::MAX;
/// Ways back that are kept at most, of 16 bytes each: 8 MiB, which are given back after the match. A pattern that needs
/// more has run away.
const MAX_FRAMES: usize = 512 << 10;
/// Ways back for which memory is kept from match to match.
const KEPT_FRAMES: usize = 16 << 10;

/// The memory of a match, used again for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    stack: Vec<Frame>,
    registers: Vec<u32>,
}

/// The way back.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Branch {
        pc: u32,
        at: u32,
    },
    /// Fewer characters of the run at `pc`: down from `at`, not below `low`.
    Shorter {
        pc: u32,
        low: u32,
        at: u32,
    },
    /// One more character of the run at `pc`, which has `left` to go.
    Longer {
        pc: u32,
        at: u32,
        left: u32,
    },
    Slot {
        slot: u32,
        was: u32,
    },
    Register {
        register: u32,
        was: u32,
    },
}

// === impl Program ===

impl Program {
    /// The leftmost match that begins at `from` or behind it; `slots` gets start and end of each group, then those of
    /// the whole. Whether there is one.
    pub(crate) fn search(
        &self,
        text: &str,
        from: usize,
        slots: &mut Vec<u32>,
        machine: &mut Machine,
        budget: &mut Budget,
    ) -> Result<bool, GaveUp> {
        let found = self.find(text, from, slots, machine, budget);
        if machine.stack.capacity() > KEPT_FRAMES {
            machine.stack = Vec::new();
        }
        found
    }

    fn find(
        &self,
        text: &str,
        from: usize,
        slots: &mut Vec<u32>,
        machine: &mut Machine,
        budget: &mut Budget,
    ) -> Result<bool, GaveUp> {
        let bytes = text.as_bytes();
        slots.clear();
        slots.resize(self.slots, UNSET);
        machine.stack.clear();
        machine.registers.clear();
        machine.registers.resize(self.registers, 0);
        let whole = self.slots - 2;
        let mut run = Run { program: self, text, bytes, slots, machine, budget };
        let mut at = from;
        loop {
            let can_start = match (&self.starts, bytes.get(at)) {
                (Some(starts), Some(&byte)) => starts[usize::from(byte)],
                (Some(_), None) => false,
                (None, _) => true,
            };
            if can_start
                && text.is_char_boundary(at)
                && let Some(end) = run.attempt(0, at as u32, 0)?
            {
                // `\K` has said where it begins.
                if run.slots[whole] == UNSET {
                    run.slots[whole] = at as u32;
                }
                run.slots[whole + 1] = end;
                return Ok(true);
            }
            at += 1;
            if at > bytes.len() || self.anchored {
                return Ok(false);
            }
            run.budget.step()?;
        }
    }
}

struct Run<'r> {
    program: &'r Program,
    text: &'r str,
    bytes: &'r [u8],
    slots: &'r mut Vec<u32>,
    machine: &'r mut Machine,
    budget: &'r mut Budget,
}

impl Run<'_> {
    /// Runs the instructions at `pc` from place `at` to `Succeed`; the place reached. The stack below `base` belongs
    /// to the caller; on failure everything above is undone, on success it stays for the caller to judge.
    fn attempt(&mut self, pc: u32, at: u32, base: usize) -> Result<Option<u32>, GaveUp> {
        let (mut pc, mut at) = (pc as usize, at);
        let program = self.program;
        loop {
            self.budget.step()?;
            let went_on = match &program.code[pc] {
                Inst::Literal(literal) => {
                    let found = self.bytes[at as usize..].starts_with(literal.as_bytes());
                    at += if found { literal.len() as u32 } else { 0 };
                    found
                }
                Inst::Set(set) => match self.one(&program.sets[*set as usize], at) {
                    Some(next) => {
                        at = next;
                        true
                    }
                    None => false,
                },
                Inst::Split(first, second) => {
                    self.push(Frame::Branch { pc: *second, at })?;
                    pc = *first as usize;
                    continue;
                }
                Inst::Jump(to) => {
                    pc = *to as usize;
                    continue;
                }
                Inst::Save(slot) => {
                    let was = std::mem::replace(&mut self.slots[*slot as usize], at);
                    self.push(Frame::Slot { slot: *slot, was })?;
                    true
                }
                Inst::Assert(assert) => holds(*assert, self.text, at as usize),
                Inst::Run { set, min, max, kind } => {
                    match self.run(pc as u32, *set, (*min, *max), *kind, at)? {
                        Some(next) => {
                            at = next;
                            true
                        }
                        None => false,
                    }
                }
                Inst::Atomic(then) => {
                    let mark = self.machine.stack.len();
                    match self.attempt(pc as u32 + 1, at, mark)? {
                        Some(reached) => {
                            self.forget_branches(mark);
                            at = reached;
                            pc = *then as usize;
                            continue;
                        }
                        None => false,
                    }
                }
                Inst::Ahead { negated, then } => {
                    let mark = self.machine.stack.len();
                    let found = self.attempt(pc as u32 + 1, at, mark)?.is_some();
                    if self.looked(found, *negated, mark) {
                        pc = *then as usize;
                        continue;
                    }
                    false
                }
                Inst::Behind { negated, branches, then } => {
                    let mark = self.machine.stack.len();
                    let mut found = false;
                    for &(chars, branch) in branches {
                        self.budget.spend(chars as usize / 8)?;
                        let Some(start) = self.back(at, chars) else { continue };
                        if self.attempt(branch, start, mark)? == Some(at) {
                            found = true;
                            break;
                        }
                        self.undo(mark);
                    }
                    if self.looked(found, *negated, mark) {
                        pc = *then as usize;
                        continue;
                    }
                    false
                }
                Inst::BackReference { groups, ignore_case } => {
                    match self.back_reference(groups, *ignore_case, at)? {
                        Some(next) => {
                            at = next;
                            true
                        }
                        None => false,
                    }
                }
                Inst::Zero(register) => {
                    self.write(*register, 0)?;
                    true
                }
                Inst::Increment(register) => {
                    self.write(*register, self.machine.registers[*register as usize] + 1)?;
                    true
                }
                Inst::Count { register, min, max, greedy, out } => {
                    let count = self.machine.registers[*register as usize];
                    let body = pc + 1;
                    pc = if count < *min {
                        body
                    } else if count >= *max {
                        *out as usize
                    } else if *greedy {
                        self.push(Frame::Branch { pc: *out, at })?;
                        body
                    } else {
                        self.push(Frame::Branch { pc: body as u32, at })?;
                        *out as usize
                    };
                    continue;
                }
                Inst::Mark(register) => {
                    self.write(*register, at)?;
                    true
                }
                Inst::IfEmpty(register, out) => {
                    if self.machine.registers[*register as usize] == at {
                        pc = *out as usize;
                        continue;
                    }
                    true
                }
                Inst::Succeed => return Ok(Some(at)),
            };
            if went_on {
                pc += 1;
                continue;
            }
            match self.go_back(base) {
                Some((next_pc, next_at)) => (pc, at) = (next_pc as usize, next_at),
                None => return Ok(None),
            }
        }
    }

    #[inline]
    fn push(&mut self, frame: Frame) -> Result<(), GaveUp> {
        if self.machine.stack.len() >= MAX_FRAMES {
            return Err(GaveUp);
        }
        self.machine.stack.push(frame);
        Ok(())
    }

    fn write(&mut self, register: u32, value: u32) -> Result<(), GaveUp> {
        let was = std::mem::replace(&mut self.machine.registers[register as usize], value);
        self.push(Frame::Register { register, was })
    }

    /// The latest way back above `base`.
    fn go_back(&mut self, base: usize) -> Option<(u32, u32)> {
        while self.machine.stack.len() > base {
            match self.machine.stack.pop()? {
                Frame::Branch { pc, at } => return Some((pc, at)),
                Frame::Slot { slot, was } => self.slots[slot as usize] = was,
                Frame::Register { register, was } => self.machine.registers[register as usize] = was,
                Frame::Shorter { pc, low, at } => {
                    let at = self.back(at, 1)?;
                    if at > low {
                        self.machine.stack.push(Frame::Shorter { pc, low, at });
                    }
                    return Some((pc + 1, at));
                }
                Frame::Longer { pc, at, left } => {
                    let Inst::Run { set, .. } = &self.program.code[pc as usize] else { continue };
                    let Some(at) = self.one(&self.program.sets[*set as usize], at) else { continue };
                    if left > 1 {
                        self.machine.stack.push(Frame::Longer { pc, at, left: left - 1 });
                    }
                    return Some((pc + 1, at));
                }
            }
        }
        None
    }

    /// Takes back everything above `base`.
    fn undo(&mut self, base: usize) {
        while self.machine.stack.len() > base {
            match self.machine.stack.pop() {
                Some(Frame::Slot { slot, was }) => self.slots[slot as usize] = was,
                Some(Frame::Register { register, was }) => self.machine.registers[register as usize] = was,
                _ => {}
            }
        }
    }

    /// Keeps what must be undone above `base`, but no other way to go.
    fn forget_branches(&mut self, base: usize) {
        let stack = &mut self.machine.stack;
        let mut keep = base;
        for index in base..stack.len() {
            if matches!(stack[index], Frame::Slot { .. } | Frame::Register { .. }) {
                stack[keep] = stack[index];
                keep += 1;
            }
        }
        stack.truncate(keep);
    }

    fn looked(&mut self, found: bool, negated: bool, mark: usize) -> bool {
        if negated || !found {
            self.undo(mark);
        } else {
            self.forget_branches(mark);
        }
        found != negated
    }

    /// The place behind the character at `at`, if it is in the set.
    #[inline]
    fn one(&self, set: &CharSet, at: u32) -> Option<u32> {
        let byte = *self.bytes.get(at as usize)?;
        if byte < 0x80 {
            return set.contains(char::from(byte)).then_some(at + 1);
        }
        let c = self.text[at as usize..].chars().next()?;
        set.contains(c).then_some(at + c.len_utf8() as u32)
    }

    /// The place so many characters before `at`.
    #[inline]
    fn back(&self, at: u32, chars: u32) -> Option<u32> {
        let mut at = at as usize;
        for _ in 0..chars {
            at = at.checked_sub(1)?;
            while self.bytes[at] & 0xc0 == 0x80 {
                at = at.checked_sub(1)?;
            }
        }
        Some(at as u32)
    }

    fn run(
        &mut self,
        pc: u32,
        set: u32,
        (min, max): (u32, u32),
        kind: RunKind,
        at: u32,
    ) -> Result<Option<u32>, GaveUp> {
        let set = &self.program.sets[set as usize];
        let mut place = at;
        let mut count = 0;
        let mut low = at;
        let wanted = if kind == RunKind::Lazy { min } else { max };
        while count < wanted {
            let Some(next) = self.one(set, place) else { break };
            place = next;
            count += 1;
            if count == min {
                low = place;
            }
        }
        if count < min {
            self.budget.spend((place - at) as usize / 16)?;
            return Ok(None);
        }
        match kind {
            RunKind::Possessive => {}
            RunKind::Greedy if place > low => self.push(Frame::Shorter { pc, low, at: place })?,
            RunKind::Lazy if max > min => self.push(Frame::Longer { pc, at: place, left: max - min })?,
            RunKind::Greedy | RunKind::Lazy => {}
        }
        // Long runs are work too.
        self.budget.spend((place - at) as usize / 16)?;
        Ok(Some(place))
    }

    /// As in Oniguruma: of several groups of one name, the last that took part counts first.
    fn back_reference(&mut self, groups: &[u32], ignore_case: bool, at: u32) -> Result<Option<u32>, GaveUp> {
        for &group in groups.iter().rev() {
            let (start, end) = (self.slots[group as usize * 2], self.slots[group as usize * 2 + 1]);
            if start == UNSET || end == UNSET || start > end {
                continue;
            }
            self.budget.spend((end - start) as usize / if ignore_case { 1 } else { 64 })?;
            let wanted = &self.text[start as usize..end as usize];
            let rest = &self.text[at as usize..];
            if !ignore_case {
                if rest.starts_with(wanted) {
                    return Ok(Some(at + wanted.len() as u32));
                }
                continue;
            }
            let mut left = rest.chars();
            let same = |a: char, b: char| a == b || a.to_lowercase().eq(b.to_lowercase());
            if wanted.chars().all(|c| left.next().is_some_and(|other| same(c, other))) {
                return Ok(Some(at + (rest.len() - left.as_str().len()) as u32));
            }
        }
        Ok(None)
    }
}

/// Whether a place in the text is of the kind.
#[inline]
pub(crate) fn holds(assert: Assert, text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    match assert {
        // Behind a newline that ends the text no line begins.
        Assert::LineStart => at == 0 || (bytes[at - 1] == b'\n' && at < bytes.len()),
        Assert::LineEnd => bytes.get(at).is_none_or(|&byte| byte == b'\n'),
        Assert::TextStart => at == 0,
        Assert::TextEnd => at == bytes.len(),
        Assert::TextEndNewline => at == bytes.len() || (at + 1 == bytes.len() && bytes[at] == b'\n'),
        Assert::WordBoundary => is_boundary(text, at),
        Assert::NotWordBoundary => !is_boundary(text, at),
    }
}

#[inline]
fn is_boundary(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let before = match at.checked_sub(1).map(|before| bytes[before]) {
        None => false,
        Some(byte) if byte < 0x80 => word(byte),
        Some(_) => text[..at].chars().next_back().is_some_and(is_word),
    };
    let behind = match bytes.get(at) {
        None => false,
        Some(&byte) if byte < 0x80 => word(byte),
        Some(_) => text[at..].chars().next().is_some_and(is_word),
    };
    before != behind
}
