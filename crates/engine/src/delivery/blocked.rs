//! Rows for destinations that take none until somebody acts: kept, tried slowly, and out of the way of the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{Rows, SinkLimits};
use indexmap::IndexMap;
use tokio::time::Instant;

use super::units::{Unit, count, push_row};

/// The first try comes after this time, and each further one after twice the time of the one before.
const FIRST_TRY: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The blocked destinations of one sink.
pub(crate) struct Blocked {
    keys: IndexMap<Arc<str>, Key>,
    give_up_after: Option<Duration>,
}

struct Key {
    units: VecDeque<Unit>,
    next_try: Instant,
    wait: Duration,
    probing: bool,
}

/// Rows that try whether a destination takes any again.
pub(crate) struct Probe {
    pub(crate) key: Arc<str>,
    pub(crate) units: Vec<Unit>,
}

// === impl Blocked ===

impl Blocked {
    pub(crate) fn new(give_up_after: Option<Duration>) -> Self {
        Self { keys: IndexMap::new(), give_up_after }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many rows wait.
    pub(crate) fn rows(&self) -> usize {
        self.keys.values().flat_map(|key| &key.units).map(|unit| unit.rows.len()).sum()
    }

    /// Keeps rows for `key`. `true` when the destination was not blocked before.
    pub(crate) fn park(&mut self, key: &Arc<str>, units: Vec<Unit>) -> bool {
        let now = Instant::now();
        let new = !self.keys.contains_key(key);
        let entry = self.keys.entry(Arc::clone(key)).or_insert_with(|| Key {
            units: VecDeque::new(),
            next_try: now + FIRST_TRY,
            wait: FIRST_TRY,
            probing: false,
        });
        if entry.probing {
            entry.probing = false;
            entry.wait = (entry.wait * 2).min(LONGEST_WAIT);
            entry.next_try = now + entry.wait;
        }
        entry.units.extend(units.into_iter().map(|unit| unit.blocked_since(now)));
        new
    }

    /// Keeps those rows of `unit` that go to blocked destinations and gives the others back.
    pub(crate) fn divert(&mut self, unit: Unit) -> Option<Unit> {
        let keys = unit.encoded.segment.keys();
        if self.keys.is_empty() || !keys.iter().any(|key| self.keys.contains_key(key)) {
            return Some(unit);
        }
        let mut free = Vec::new();
        let mut parked: IndexMap<Arc<str>, Vec<Unit>> = IndexMap::new();
        for row in unit.rows.iter() {
            let key = unit.encoded.segment.key(row);
            if self.keys.contains_key(key) {
                push_row(parked.entry(Arc::clone(key)).or_default(), &unit, row);
            } else {
                free.push(row as u32);
            }
        }
        for (key, units) in parked {
            if let Some(entry) = self.keys.get_mut(&key) {
                let now = Instant::now();
                entry.units.extend(units.into_iter().map(|unit| unit.blocked_since(now)));
            }
        }
        (!free.is_empty()).then(|| unit.with_rows(Rows::List(free)))
    }

    /// Rows to try the destinations with whose time has come.
    pub(crate) fn due_probes(&mut self, now: Instant, limits: &SinkLimits) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (key, entry) in &mut self.keys {
            if entry.probing || entry.next_try > now || entry.units.is_empty() {
                continue;
            }
            let mut units: Vec<Unit> = entry.units.pop_front().into_iter().collect();
            let mut bytes: usize = units.iter().map(Unit::byte_len).sum();
            while let Some(next) = entry.units.front() {
                bytes += next.byte_len();
                if bytes > limits.max_bytes || count(&units) + next.rows.len() > limits.max_rows {
                    break;
                }
                units.extend(entry.units.pop_front());
            }
            entry.probing = true;
            probes.push(Probe { key: Arc::clone(key), units });
        }
        probes
    }

    /// The destination takes rows again: gives everything that was kept for it.
    pub(crate) fn release(&mut self, key: &Arc<str>) -> Vec<Unit> {
        self.keys.shift_remove(key).map(|entry| entry.units.into()).unwrap_or_default()
    }

    /// Rows that have waited for longer than they may.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Unit> {
        let Some(limit) = self.give_up_after else { return Vec::new() };
        let mut expired = Vec::new();
        for entry in self.keys.values_mut() {
            let (over, rest): (Vec<Unit>, Vec<Unit>) = std::mem::take(&mut entry.units)
                .into_iter()
                .partition(|unit| unit.since.is_some_and(|since| now.duration_since(since) >= limit));
            entry.units = rest.into();
            expired.extend(over);
        }
        self.keys.retain(|_, entry| entry.probing || !entry.units.is_empty());
        expired
    }

    /// When there is something to do next.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let tries = self.keys.values().filter(|entry| !entry.probing).map(|entry| entry.next_try);
        let ends = self.give_up_after.into_iter().flat_map(|limit| {
            self.keys
                .values()
                .flat_map(|entry| &entry.units)
                .filter_map(move |unit| Some(unit.since? + limit))
        });
        tries.chain(ends).min()
    }

    /// What is blocked, in one line.
    pub(crate) fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.keys().map(|key| &**key).take(5).collect();
        format!("{} destinations take no rows: {}", self.keys.len(), keys.join(", "))
    }
}
