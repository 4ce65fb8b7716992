//! Rows that their destination does not take while others go on: kept out of the way of the others, tried slowly, on disk
//! where they are many, and given back in their order when the destination takes rows again.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{Rows, SinkLimits};
use indexmap::IndexMap;
use tokio::time::Instant;

use super::spill::{Block, BlockOf, UnitsOf};
use super::units::{SteadyClock, Unit, count, millis, push_row};
use crate::backoff::{clamp, instant_after};
use crate::budget::Budget;

/// The first try of what needs an operator comes after this time, of what passes by itself after a quarter of it; each
/// further one after twice the time of the one before.
const FIRST_TRY: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(250);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// After so many tries in vain rows that wait for something that should pass keep the sink from being ready.
const NOT_READY_AFTER: u32 = 3;

/// Why rows were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) detail: String,
    /// What an operator must do; `None` for what should pass by itself.
    pub(crate) help: Option<String>,
}

/// Rows that were refused together: of one destination, or a whole request.
pub(crate) struct Refused {
    pub(crate) units: Vec<Unit>,
    pub(crate) why: Why,
    /// How long the other end wants to be left alone.
    pub(crate) after: Option<Duration>,
    /// The server failed and does not say why.
    pub(crate) failed: bool,
    /// Whether the destination took other rows of the same request: then it is about these rows.
    pub(crate) takes_others: bool,
}

/// What is new about a destination.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    Known,
    /// It takes no rows; they are tried again after this time.
    Down(Duration),
    /// Some of its rows were refused again and again, while it took others.
    Alone(Duration),
}

/// The rows of one sink that wait.
pub(crate) struct Waiting {
    keys: IndexMap<Arc<str>, Destination>,
    budget: Arc<Budget>,
    clock: SteadyClock,
    give_up_after: Option<i64>,
    /// No row has waited for too long before this moment.
    expires_at: i64,
    weight: usize,
}

struct Destination {
    state: State,
    /// On disk, and older than what is in memory.
    blocks: VecDeque<Block>,
    units: VecDeque<Unit>,
    /// What is left of a block that was read to try the destination with.
    loaded: Vec<Unit>,
    why: Why,
    wait: Duration,
    next_try: Instant,
    /// How often it was tried in vain.
    tries: u32,
    /// It is being tried, or a block of it is being read.
    busy: bool,
    /// The row that tries it was read from a block.
    from_block: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It takes nothing: rows that come for it wait as well, and one of them tries it now and then.
    Down,
    /// It takes rows, but not these: they are tried again, now and then.
    Alone,
    /// It takes rows again and is given those that waited.
    Open,
}

/// Rows that try whether their destinations take any again.
#[derive(Default)]
pub(crate) struct Probe {
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) units: Vec<Unit>,
}

// === impl Why ===

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, detail, help } = self;
        write!(f, "{reason}: {detail}")?;
        help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

// === impl Waiting ===

impl Waiting {
    pub(crate) fn new(give_up_after: Option<Duration>, budget: Arc<Budget>, clock: SteadyClock) -> Self {
        let give_up_after = give_up_after.map(millis);
        Self { keys: IndexMap::new(), budget, clock, give_up_after, expires_at: i64::MAX, weight: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether nothing waits in memory alone.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.keys.values().all(|entry| entry.units.is_empty() && !entry.busy)
    }

    /// How many bytes it holds in memory: rows, and what is known about those on disk.
    pub(crate) fn weight(&self) -> usize {
        let blocks: usize = self.keys.values().map(|entry| entry.blocks.len()).sum();
        self.weight + blocks * Block::WEIGHT
    }

    /// Whether a destination waits for an operator, who may be long in coming.
    pub(crate) fn needs_operator(&self) -> bool {
        self.keys.values().any(|entry| entry.state != State::Open && entry.why.help.is_some())
    }

    /// Whether there are rows in memory that could go to the disk.
    pub(crate) fn can_shrink(&self) -> bool {
        self.weight > 0
    }

    /// How many rows wait; how many of them for an operator, and how many on disk.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for entry in self.keys.values() {
            let on_disk: usize = entry.blocks.iter().map(|block| block.rows as usize).sum();
            let rows = on_disk
                + count(&entry.loaded)
                + entry.units.iter().map(|unit| unit.rows.len()).sum::<usize>();
            counts.0 += rows;
            counts.1 += if entry.why.help.is_some() { rows } else { 0 };
            counts.2 += on_disk;
        }
        counts
    }

    /// Keeps rows that a destination refused. `probed`: it was their turn to try it.
    pub(crate) fn park(&mut self, key: &Arc<str>, refused: Refused, probed: bool) -> News {
        let Refused { units, why, after, takes_others, .. } = refused;
        let first = if why.help.is_some() { FIRST_TRY } else { FIRST_RETRY };
        let first = after.map_or(first, |after| clamp(after, first));
        let before = self.keys.get(key).map_or(State::Open, |entry| entry.state);
        let entry = self.keys.entry(Arc::clone(key)).or_insert_with(|| Destination::new(why.clone()));
        if before == State::Open {
            entry.wait = first;
            entry.next_try = instant_after(first);
            entry.tries = 0;
        }
        // Rows that are tried because they were refused alone say nothing about the others.
        let alone = takes_others || (probed && before == State::Alone);
        entry.state = if alone { State::Alone } else { State::Down };
        entry.why = why;
        if probed {
            entry.busy = false;
            entry.tries = entry.tries.saturating_add(1);
            // Where some of them were taken the pace is right.
            let wait = if takes_others { entry.wait } else { entry.wait.saturating_mul(2) };
            entry.wait = wait.max(first).min(LONGEST_WAIT);
            entry.next_try = instant_after(entry.wait);
        }
        let news = match entry.state {
            State::Down if before != State::Down => News::Down(entry.wait),
            State::Alone if probed && entry.tries == NOT_READY_AFTER => News::Alone(entry.wait),
            _ => News::Known,
        };
        if probed && std::mem::take(&mut entry.from_block) && entry.state == State::Down {
            // The block is on disk still, and comes back into its place when the last of its units is gone.
            entry.loaded.clear();
            return news;
        }
        self.add(key, units);
        news
    }

    fn add(&mut self, key: &Arc<str>, units: Vec<Unit>) {
        let now = self.clock.now_ms();
        let Some(entry) = self.keys.get_mut(key) else { return };
        for unit in units {
            let unit = unit.apart(&self.budget).waiting_since(now);
            if let (Some(limit), Some(since)) = (self.give_up_after, unit.since) {
                self.expires_at = self.expires_at.min(since.saturating_add(limit));
            }
            self.weight += unit.weight;
            entry.units.push_back(unit);
        }
    }

    /// Keeps those rows of `unit` that go to destinations that take none and gives the others back.
    pub(crate) fn divert(&mut self, unit: Unit) -> Option<Unit> {
        let segment = Arc::clone(&unit.segment);
        let down = |key: &Arc<str>| self.keys.get(key).is_some_and(|entry| entry.state == State::Down);
        if self.keys.is_empty() || !segment.keys().iter().any(down) {
            return Some(unit);
        }
        let mut free = Vec::new();
        let mut waiting: IndexMap<Arc<str>, Vec<Unit>> = IndexMap::new();
        for row in unit.rows.iter() {
            let key = segment.key(row);
            if down(key) {
                push_row(waiting.entry(Arc::clone(key)).or_default(), &unit, row);
            } else {
                free.push(row as u32);
            }
        }
        drop(segment);
        for (key, units) in waiting {
            self.add(&key, units);
        }
        (!free.is_empty()).then(|| unit.with_rows(Rows::List(free)))
    }

    /// Rows to try the destinations with whose time has come: one row of each that takes nothing, and what fits of the
    /// others. Where they are on disk: the blocks to read first, of `load` bytes at most.
    pub(crate) fn due(&mut self, limits: &SinkLimits, load: usize) -> (Probe, Vec<BlockOf>) {
        let now = Instant::now();
        let mut probe = Probe::default();
        let mut blocks = Vec::new();
        let (mut rows, mut bytes, mut loading) = (0, 0, 0);
        for (key, entry) in &mut self.keys {
            if entry.busy || entry.state == State::Open || entry.next_try > now || rows >= limits.max_rows {
                continue;
            }
            if entry.wants_block() {
                let length = entry.blocks[0].bytes as usize;
                if blocks.is_empty() || loading + length <= load {
                    loading += length;
                    entry.busy = true;
                    blocks.extend(entry.blocks.pop_front().map(|block| (Arc::clone(key), block)));
                }
                continue;
            }
            let room = (limits.max_bytes.saturating_sub(bytes), limits.max_rows - rows);
            let units = entry.take_probe(room.0, room.1, rows == 0, &mut self.weight);
            if !units.is_empty() {
                rows += count(&units);
                bytes += units.iter().map(Unit::byte_len).sum::<usize>();
                entry.busy = true;
                probe.keys.push(Arc::clone(key));
                probe.units.extend(units);
            }
        }
        (probe, blocks)
    }

    /// A block was read: its rows, or what has to be sent now. `None`: it cannot be read.
    pub(crate) fn loaded(&mut self, key: &Arc<str>, units: Option<Vec<Unit>>) -> Vec<Unit> {
        let units = units.unwrap_or_default();
        let Some(entry) = self.keys.get_mut(key) else { return units };
        entry.busy = false;
        if entry.state != State::Open {
            entry.loaded = units;
            return Vec::new();
        }
        self.forget_if_empty(key);
        units
    }

    /// What tried this destination was taken. `true`: it had taken nothing before.
    pub(crate) fn takes(&mut self, key: &Arc<str>) -> (Vec<Unit>, bool) {
        let Some(entry) = self.keys.get_mut(key) else { return (Vec::new(), false) };
        entry.busy = false;
        entry.from_block = false;
        let was_down = entry.state == State::Down;
        entry.state = State::Open;
        (std::mem::take(&mut entry.loaded), was_down)
    }

    /// What destinations that take rows again are to be given next, in its order: a block to read, or rows.
    pub(crate) fn give_back(&mut self) -> Option<Result<BlockOf, Vec<Unit>>> {
        let open = |entry: &Destination| entry.state == State::Open && !entry.busy;
        let (key, entry) = self.keys.iter_mut().find(|(_, entry)| open(entry))?;
        if let Some(block) = entry.blocks.pop_front() {
            entry.busy = true;
            return Some(Ok((Arc::clone(key), block)));
        }
        let key = Arc::clone(key);
        let units: Vec<Unit> = std::mem::take(&mut entry.units).into();
        self.weight -= units.iter().map(|unit| unit.weight).sum::<usize>();
        self.forget_if_empty(&key);
        Some(Err(units))
    }

    /// Takes rows out for the disk, those first that have waited longest, until no more than `down_to` bytes are left; each
    /// group becomes a block.
    pub(crate) fn take_oldest(&mut self, down_to: usize, block: usize) -> Vec<UnitsOf> {
        let mut taken = Vec::new();
        let mut by_age: Vec<(i64, Arc<str>)> = self
            .keys
            .iter()
            .filter(|(_, entry)| entry.state != State::Open)
            .filter_map(|(key, entry)| Some((entry.units.front()?.since?, Arc::clone(key))))
            .collect();
        by_age.sort_unstable();
        for (_, key) in by_age {
            if self.weight <= down_to {
                break;
            }
            let Some(entry) = self.keys.get_mut(&key) else { continue };
            let mut group = Vec::new();
            let mut bytes = 0;
            for unit in std::mem::take(&mut entry.units) {
                self.weight -= unit.weight;
                if !group.is_empty() && bytes + unit.byte_len() > block {
                    taken.push((Arc::clone(&key), std::mem::take(&mut group)));
                    bytes = 0;
                }
                bytes += unit.byte_len();
                group.push(unit);
            }
            taken.extend((!group.is_empty()).then_some((key, group)));
        }
        taken
    }

    /// Blocks that are on disk now, behind those that were there before.
    pub(crate) fn spilled(&mut self, blocks: Vec<BlockOf>) {
        for (key, block) in blocks {
            self.expires_at = self.expires_at.min(self.expiry_of(&block));
            self.entry_for(key).blocks.push_back(block);
        }
    }

    /// These rows could not be put on disk: they wait in memory, where they were.
    pub(crate) fn put_back(&mut self, groups: Vec<UnitsOf>) {
        for (key, units) in groups.into_iter().rev() {
            self.weight += units.iter().map(|unit| unit.weight).sum::<usize>();
            let entry = self.entry_for(key);
            units.into_iter().rev().for_each(|unit| entry.units.push_front(unit));
        }
    }

    /// Rows of an earlier run: their destinations are tried at once.
    pub(crate) fn recovered(&mut self, blocks: Vec<BlockOf>) {
        for (key, block) in blocks {
            self.expires_at = self.expires_at.min(self.expiry_of(&block));
            let entry = self.entry_for(key);
            entry.state = State::Down;
            entry.blocks.push_back(block);
        }
    }

    /// A block whose rows are gone from memory and were not settled: it goes back into its place.
    pub(crate) fn returned(&mut self, key: Arc<str>, block: Block) {
        let entry = self.entry_for(key);
        let at = entry.blocks.partition_point(|other| other.id < block.id);
        entry.blocks.insert(at, block);
    }

    /// Rows that have waited for longer than they may, and blocks that hold none that have not.
    pub(crate) fn take_expired(&mut self) -> (Vec<Unit>, Vec<BlockOf>) {
        let now = self.clock.now_ms();
        let Some(limit) = self.give_up_after.filter(|_| self.expires_at <= now) else {
            return Default::default();
        };
        let over = |since: i64| since.saturating_add(limit) <= now;
        let (mut units, mut blocks) = (Vec::new(), Vec::new());
        let mut earliest = i64::MAX;
        for (key, entry) in &mut self.keys {
            if entry.units.iter().any(|unit| unit.since.is_some_and(over)) {
                let (old, rest): (Vec<Unit>, Vec<Unit>) = std::mem::take(&mut entry.units)
                    .into_iter()
                    .partition(|unit| unit.since.is_some_and(over));
                self.weight -= old.iter().map(|unit| unit.weight).sum::<usize>();
                entry.units = rest.into();
                units.extend(old);
            }
            let (old, rest): (Vec<Block>, Vec<Block>) =
                std::mem::take(&mut entry.blocks).into_iter().partition(|block| over(block.since));
            entry.blocks = rest.into();
            blocks.extend(old.into_iter().map(|block| (Arc::clone(key), block)));
            let since = entry.units.iter().filter_map(|unit| unit.since);
            let since = since.chain(entry.blocks.iter().map(|block| block.since)).min();
            earliest = earliest.min(since.map_or(i64::MAX, |since| since.saturating_add(limit)));
        }
        self.expires_at = earliest;
        self.keys.retain(|_, entry| !entry.is_empty());
        (units, blocks)
    }

    /// When the next destination is to be tried.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        let idle = self.keys.values().filter(|entry| !entry.busy && entry.state != State::Open);
        idle.map(|entry| entry.next_try).min()
    }

    /// When the next rows will have waited for too long.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let left =
            self.expires_at.checked_sub(self.clock.now_ms()).filter(|_| self.expires_at != i64::MAX)?;
        Instant::now().checked_add(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    /// What waits in such a way that somebody should know, in one line.
    pub(crate) fn problem(&self) -> Option<String> {
        let counts = |entry: &&Destination| {
            entry.state != State::Open && (entry.why.help.is_some() || entry.tries >= NOT_READY_AFTER)
        };
        let mut bad = self.keys.iter().filter(|(_, entry)| counts(entry));
        let (key, first) = bad.next()?;
        let more = match bad.count() {
            0 => String::new(),
            more => format!(", and {more} more destinations"),
        };
        let taken = if first.state == State::Down { "takes no rows" } else { "does not take some rows" };
        Some(format!("{key} {taken}{more}: {}", first.why))
    }

    fn expiry_of(&self, block: &Block) -> i64 {
        self.give_up_after.map_or(i64::MAX, |limit| block.since.saturating_add(limit))
    }

    /// The destination; one that was forgotten meanwhile takes rows.
    fn entry_for(&mut self, key: Arc<str>) -> &mut Destination {
        self.keys.entry(key).or_insert_with(|| {
            let why = Why { reason: "waiting".into(), detail: "since an earlier run".to_owned(), help: None };
            Destination { state: State::Open, next_try: Instant::now(), ..Destination::new(why) }
        })
    }

    fn forget_if_empty(&mut self, key: &Arc<str>) {
        if self.keys.get(key).is_some_and(Destination::is_empty) {
            self.keys.swap_remove(key);
        }
    }
}

// === impl Destination ===

impl Destination {
    fn new(why: Why) -> Self {
        let wait = if why.help.is_some() { FIRST_TRY } else { FIRST_RETRY };
        Self {
            state: State::Down,
            blocks: VecDeque::new(),
            units: VecDeque::new(),
            loaded: Vec::new(),
            why,
            wait,
            next_try: instant_after(wait),
            tries: 0,
            busy: false,
            from_block: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.units.is_empty() && self.loaded.is_empty() && !self.busy
    }

    /// Whether a block must be read before it can be tried. Now and then it is tried with a row in memory, for the row on
    /// disk may be refused for its own sake.
    fn wants_block(&self) -> bool {
        self.loaded.is_empty()
            && !self.blocks.is_empty()
            && (self.units.is_empty() || self.state == State::Alone || self.tries.is_multiple_of(2))
    }

    fn take_probe(
        &mut self,
        max_bytes: usize,
        max_rows: usize,
        first: bool,
        weight: &mut usize,
    ) -> Vec<Unit> {
        self.from_block = !self.loaded.is_empty();
        if self.state == State::Down {
            if self.from_block {
                // Another row each time.
                let at = self.tries as usize / 2 % self.loaded.len();
                let row = self.tries as usize % self.loaded[at].rows.len();
                let row = self.loaded[at].take_row(row);
                self.loaded.retain(|unit| !unit.rows.is_empty());
                return vec![row];
            }
            let Some(mut unit) = self.units.pop_front() else { return Vec::new() };
            if unit.rows.len() == 1 {
                *weight -= unit.weight;
                return vec![unit];
            }
            let row = unit.take_row(0);
            // The row that failed goes to the end, and the others come first.
            self.units.push_front(unit);
            return vec![row];
        }
        if self.from_block {
            let (bytes, rows) = (self.loaded.iter().map(Unit::byte_len).sum::<usize>(), count(&self.loaded));
            let fits = first || (bytes <= max_bytes && rows <= max_rows);
            return if fits { std::mem::take(&mut self.loaded) } else { Vec::new() };
        }
        let mut taken: Vec<Unit> = Vec::new();
        let (mut bytes, mut rows) = (0, 0);
        while let Some(next) = self.units.front() {
            bytes += next.byte_len();
            rows += next.rows.len();
            if (bytes > max_bytes || rows > max_rows) && !(first && taken.is_empty()) {
                break;
            }
            *weight -= next.weight;
            taken.extend(self.units.pop_front());
        }
        taken
    }
}
