//! Deterministic automata for capture-free parts of an expression. One byte, one table look-up; and a third answer
//! beside "ends here" and "no": "not for me to say", upon which the caller asks an engine that can.

use std::cell::Cell;
use std::collections::HashMap;

use crate::ast::Node;
use crate::charset::ByteSet;
use crate::first::First;
use crate::nfa::{Condition, Nfa, State};

/// A table larger than this no longer stays close to the processor.
const MAX_ENTRIES: usize = 0x7f00;

/// From here on, an entry is no state to go to.
const SPECIAL: u16 = 0x8000;
/// Go on, but note that a match could end before this byte.
const NOTE: u16 = SPECIAL;
const FAIL: u16 = 0xfff0;
const END: u16 = 0xfff1;
const STOP: u16 = 0xfff2;
const INCONCLUSIVE: u16 = 0xfff3;

/// Steps that go into all automata of one expression; what would need more does without.
const MAX_FUEL: usize = 1 << 28;

/// What may still go into the automata of one expression.
#[derive(Debug)]
pub(crate) struct Fuel(Cell<usize>);

/// An automaton.
#[derive(Clone, Debug)]
pub(crate) struct Dfa {
    classes: Box<[u8; 256]>,
    /// The class of the end of the text.
    end: usize,
    table: Box<[u16]>,
    start: Start,
    /// It may answer that it does not know.
    pub(crate) inconclusive: bool,
}

#[derive(Clone, Debug)]
enum Start {
    Always(u16),
    /// By the byte before; the last one is for the start of the text.
    ByByte(Box<[u16]>),
}

/// Where a part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Before this byte.
    At(usize),
    /// Nowhere.
    Nowhere,
    /// The automaton cannot tell.
    Inconclusive,
}

/// How ends are chosen.
#[derive(Clone, Copy)]
enum Choice {
    /// The first in the order of preference, as a backtracking engine that is not asked again would have it.
    Preferred,
    /// The only one after which the text goes on like this.
    Only(First),
}

// === impl Fuel ===

impl Fuel {
    /// All of it.
    pub(crate) fn new() -> Self {
        Self(Cell::new(MAX_FUEL))
    }

    /// Takes some; `None` if not so much is left.
    fn spend(&self, steps: usize) -> Option<()> {
        self.0.set(self.0.get().checked_sub(steps)?);
        Some(())
    }
}

// === impl Dfa ===

impl Dfa {
    /// The automaton that ends where `nodes` would end if nothing were ever tried again.
    pub(crate) fn preferred(nodes: &[Node], fuel: &Fuel) -> Option<Self> {
        Self::build(nodes, Choice::Preferred, fuel)
    }

    /// The automaton that ends at the only place at which `nodes` can end if what follows is to match; inconclusive where
    /// there could be two. `None` also if it would always be inconclusive.
    pub(crate) fn only(nodes: &[Node], after: First, fuel: &Fuel) -> Option<Self> {
        Self::build(nodes, Choice::Only(after), fuel)
    }

    /// Where the part that begins at `at` ends, and how far was read to know it.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], at: usize) -> (Found, usize) {
        let mut state = match &self.start {
            Start::Always(state) => *state,
            Start::ByByte(by) => by[at.checked_sub(1).map_or(256, |before| usize::from(text[before]))],
        };
        let mut place = at;
        let mut noted = None;
        loop {
            let class = match text.get(place) {
                Some(&byte) => usize::from(self.classes[usize::from(byte)]),
                None => self.end,
            };
            let entry = self.table[usize::from(state) + class];
            if entry < SPECIAL {
                state = entry;
                place += 1;
                continue;
            }
            match entry {
                END => return (Found::At(place), place),
                FAIL => return (Found::Nowhere, place),
                STOP => return (noted.map_or(Found::Nowhere, Found::At), place),
                INCONCLUSIVE => return (Found::Inconclusive, place),
                _ => {
                    noted = Some(place);
                    state = entry - NOTE;
                    place += 1;
                }
            }
        }
    }

    fn build(nodes: &[Node], choice: Choice, fuel: &Fuel) -> Option<Self> {
        let nfa = Nfa::new(nodes)?;
        let mut extra = Vec::new();
        if let Choice::Only(after) = choice {
            extra.push(after.bytes);
        }
        let raw = Raw::new(&nfa, &extra, matches!(choice, Choice::Preferred), fuel)?;
        let width = raw.width;
        let follows: Vec<bool> = match choice {
            Choice::Preferred => vec![true; width],
            Choice::Only(after) => {
                let mut follows = vec![false; width];
                after
                    .bytes
                    .iter()
                    .for_each(|byte| follows[usize::from(raw.classes[usize::from(byte)])] = true);
                follows[width - 1] = after.end;
                follows
            }
        };
        let live = raw.live(&follows);
        let leads_on = |entry: &Entry| entry.next.filter(|&next| live[next]);
        let always: Vec<bool> = raw.rows.iter().map(|row| row.iter().all(|entry| entry.accepts)).collect();
        let (mut ends, mut inconclusive) = (false, false);
        let mut table = Vec::with_capacity(raw.rows.len() * width);
        for row in &raw.rows {
            for (class, entry) in row.iter().enumerate() {
                let go = |next: usize| (next * width) as u16;
                let code = match (choice, leads_on(entry)) {
                    _ if entry.unknown => INCONCLUSIVE,
                    (Choice::Preferred, None) if entry.accepts => END,
                    (Choice::Preferred, None) => STOP,
                    (Choice::Preferred, Some(next)) if entry.accepts && !always[next] => NOTE + go(next),
                    (Choice::Only(_), Some(_)) if entry.accepts && follows[class] => INCONCLUSIVE,
                    (Choice::Only(_), None) if entry.accepts && follows[class] => END,
                    (Choice::Only(_), None) => FAIL,
                    (_, Some(next)) => go(next),
                };
                ends |= code == END || code == STOP;
                inconclusive |= code == INCONCLUSIVE;
                table.push(code);
            }
        }
        if !ends {
            return None;
        }
        let start = match &raw.starts[..] {
            [only] => Start::Always((only * width) as u16),
            by_class => {
                let of = |byte: u8| (by_class[usize::from(raw.classes[usize::from(byte)])] * width) as u16;
                let mut by: Vec<u16> = (0..=255).map(of).collect();
                by.push((by_class[width - 1] * width) as u16);
                Start::ByByte(by.into())
            }
        };
        Some(Self { classes: raw.classes, end: width - 1, table: table.into(), start, inconclusive })
    }
}

/// Whether no match of `nodes` is the beginning of another, so that it matters not whether it is tried again.
pub(crate) fn is_prefix_free(nodes: &[Node], fuel: &Fuel) -> bool {
    let raw = Nfa::new(nodes).and_then(|nfa| Raw::new(&nfa, &[], false, fuel));
    raw.is_some_and(|raw| {
        let live = raw.live(&vec![true; raw.width]);
        let goes_on = |next: Option<usize>| next.is_some_and(|next| live[next]);
        raw.rows.iter().flatten().all(|entry| !entry.unknown && (!entry.accepts || !goes_on(entry.next)))
    })
}

/// The automaton before it is known what its answers are for.
struct Raw {
    classes: Box<[u8; 256]>,
    /// Classes of bytes, and one more for the end of the text.
    width: usize,
    rows: Vec<Vec<Entry>>,
    /// One, or one for each class of the byte before (the last for the start of the text).
    starts: Vec<usize>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    next: Option<usize>,
    /// A match can end before this byte.
    accepts: bool,
    /// Bytes do not tell.
    unknown: bool,
}

impl Raw {
    fn new(nfa: &Nfa, extra: &[ByteSet], ordered: bool, fuel: &Fuel) -> Option<Self> {
        let (classes, samples) = classes(nfa, extra);
        let width = samples.len() + 1;
        let looks_back = nfa.looks_back();
        let mut builder = Builder { nfa, ordered, known: HashMap::new(), todo: Vec::new() };
        let starts: Vec<usize> = if looks_back {
            samples
                .iter()
                .copied()
                .map(Some)
                .chain([None])
                .map(|before| builder.state(vec![nfa.start], before))
                .collect()
        } else {
            vec![builder.state(vec![nfa.start], None)]
        };
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        while let Some((seeds, before)) = builder.todo.get(rows.len()).cloned() {
            if (rows.len() + 1) * width > MAX_ENTRIES {
                return None;
            }
            fuel.spend(width * nfa.states.len())?;
            let mut row = Vec::with_capacity(width);
            for sample in samples.iter().copied().map(Some).chain([None]) {
                let reached = builder.closure(&seeds, before, sample);
                let mut next = Vec::new();
                if let Some(byte) = sample {
                    for state in reached.states {
                        if let State::Bytes(set, then) = &nfa.states[state]
                            && set.contains(byte)
                            && !next.contains(then)
                        {
                            next.push(*then);
                        }
                    }
                }
                let next = (!next.is_empty()).then(|| builder.state(next, sample.filter(|_| looks_back)));
                row.push(Entry { next, accepts: reached.accepts, unknown: reached.unknown });
            }
            rows.push(row);
        }
        Some(Self { classes, width, rows, starts })
    }

    /// From which states a match can still be reached that ends before a class that `follows`.
    fn live(&self, follows: &[bool]) -> Vec<bool> {
        let mut live = vec![false; self.rows.len()];
        loop {
            let mut changed = false;
            for (state, row) in self.rows.iter().enumerate() {
                if !live[state]
                    && row.iter().zip(follows).any(|(entry, &follows)| {
                        entry.unknown
                            || (entry.accepts && follows)
                            || entry.next.is_some_and(|next| live[next])
                    })
                {
                    live[state] = true;
                    changed = true;
                }
            }
            if !changed {
                return live;
            }
        }
    }
}

/// Bytes that nothing in the graph tells apart, by class, and one byte of each class.
fn classes(nfa: &Nfa, extra: &[ByteSet]) -> (Box<[u8; 256]>, Vec<u8>) {
    let mut sets: Vec<ByteSet> = extra.to_vec();
    for state in &nfa.states {
        match state {
            State::Bytes(set, _) => sets.push(*set),
            State::When(Condition::Before { bytes, .. } | Condition::Behind { bytes, .. }, _) => {
                sets.push(*bytes)
            }
            State::When(Condition::Boundary { .. }, _) => {
                sets.extend([ByteSet::ascii_word(), ByteSet::beyond_ascii()])
            }
            State::Match | State::Split(_) => {}
        }
    }
    sets.sort_unstable_by_key(|set| set.iter().collect::<Vec<_>>());
    sets.dedup();
    let mut classes = Box::new([0; 256]);
    let mut samples: Vec<u8> = Vec::new();
    let mut known: HashMap<Vec<bool>, u8> = HashMap::new();
    for byte in 0..=255u8 {
        let signature: Vec<bool> = sets.iter().map(|set| set.contains(byte)).collect();
        let class = *known.entry(signature).or_insert_with(|| {
            samples.push(byte);
            (samples.len() - 1) as u8
        });
        classes[usize::from(byte)] = class;
    }
    (classes, samples)
}

/// Graph states before the empty steps, and the byte before (where it matters).
type Key = (Vec<usize>, Option<u8>);

struct Builder<'n> {
    nfa: &'n Nfa,
    /// The order of graph states is their order of preference.
    ordered: bool,
    known: HashMap<Key, usize>,
    todo: Vec<Key>,
}

struct Reached {
    states: Vec<usize>,
    accepts: bool,
    unknown: bool,
}

impl Builder<'_> {
    fn state(&mut self, mut seeds: Vec<usize>, before: Option<u8>) -> usize {
        if !self.ordered {
            seeds.sort_unstable();
        }
        let key = (seeds, before);
        if let Some(&state) = self.known.get(&key) {
            return state;
        }
        self.todo.push(key.clone());
        self.known.insert(key, self.todo.len() - 1);
        self.todo.len() - 1
    }

    /// What the seeds lead to between these two bytes.
    fn closure(&self, seeds: &[usize], before: Option<u8>, behind: Option<u8>) -> Reached {
        let mut reached = Reached { states: Vec::new(), accepts: false, unknown: false };
        let mut seen = vec![false; self.nfa.states.len()];
        let mut stack: Vec<usize> = seeds.iter().rev().copied().collect();
        while let Some(state) = stack.pop() {
            if std::mem::replace(&mut seen[state], true) {
                continue;
            }
            match &self.nfa.states[state] {
                State::Match => {
                    reached.accepts = true;
                    if self.ordered {
                        break;
                    }
                }
                State::Bytes(..) => reached.states.push(state),
                State::Split(ways) => stack.extend(ways.iter().rev()),
                State::When(condition, then) => match condition.holds(before, behind) {
                    Some(true) => stack.push(*then),
                    Some(false) => {}
                    None => reached.unknown = true,
                },
            }
        }
        reached
    }
}

impl Condition {
    /// Whether it holds between these bytes; `None` if bytes do not tell.
    fn holds(self, before: Option<u8>, behind: Option<u8>) -> Option<bool> {
        match self {
            Self::Before { bytes, start } => Some(before.map_or(start, |byte| bytes.contains(byte))),
            Self::Behind { bytes, end } => Some(behind.map_or(end, |byte| bytes.contains(byte))),
            Self::Boundary { negated } => {
                let word = |byte: Option<u8>| match byte {
                    None => Some(false),
                    Some(byte) if byte < 0x80 => Some(ByteSet::ascii_word().contains(byte)),
                    Some(_) => None,
                };
                Some((word(before)? != word(behind)?) != negated)
            }
        }
    }
}
