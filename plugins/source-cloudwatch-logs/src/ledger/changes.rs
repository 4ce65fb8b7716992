//! What the checkpoint does not know yet of a ledger, and what it gives back at the next start.

use std::collections::{BTreeMap, BTreeSet};

use flowstone_aws::EventKey;

use super::lateness::Quantiles;
use super::ranges::Ranges;
use super::slice::{Facts, Slice};

/// One entry of the checkpoint. Each is a fact by itself: an entry that is lost makes events be read again, and no
/// entry depends on one before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The ledger begins here, and this is what it has measured.
    Opened {
        /// Where event time begins.
        from_ms: i64,
        /// How late events are.
        lateness: Option<Quantiles>,
        /// Minutes before this one are audited.
        audited_to: Option<i64>,
    },
    /// This stretch is finished with.
    Done {
        /// First millisecond.
        start: i64,
        /// The millisecond behind the last one.
        end: i64,
    },
    /// All that is known of a slice: it supersedes every earlier entry about this stretch.
    Slice {
        /// First millisecond.
        start: i64,
        /// The millisecond behind the last one.
        end: i64,
        /// What is known of it.
        facts: Facts,
    },
    /// Nobody reads the log group since then; any later entry supersedes this one.
    Gone {
        /// In milliseconds since the epoch.
        since_ms: i64,
    },
    /// More events of a slice are delivered although its read goes on.
    Ids {
        /// First millisecond of the slice.
        start: i64,
        /// The millisecond behind its last one.
        end: i64,
        /// The events.
        keys: Vec<EventKey>,
    },
}

/// A ledger as its checkpoint knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restored {
    /// Where event time begins.
    pub from_ms: i64,
    /// Slices that are open or wait for a sweep: where each ends and what is known of it, by its start.
    pub slices: BTreeMap<i64, (i64, Facts)>,
    /// What is finished with.
    pub done: Ranges,
    /// How late events were.
    pub lateness: Option<Quantiles>,
    /// Minutes before this one are audited.
    pub audited_to: Option<i64>,
    /// Since when nobody reads it.
    pub gone_ms: Option<i64>,
}

/// The changes of a ledger that wait to be written.
#[derive(Debug)]
pub(super) struct Changes {
    from_ms: i64,
    opened: bool,
    /// All that was ever finished with.
    pub(super) done: Ranges,
    newly_done: Ranges,
    slices: BTreeSet<i64>,
    /// Those of `slices` that are only written again because the log begins anew.
    rewriting: BTreeSet<i64>,
    ids: BTreeMap<i64, (i64, Vec<EventKey>)>,
}

// === impl Restored ===

impl Restored {
    /// Applies one entry.
    pub fn apply(&mut self, change: Change) {
        self.gone_ms = None;
        match change {
            Change::Gone { since_ms } => self.gone_ms = Some(since_ms),
            Change::Opened { from_ms, lateness, audited_to } => {
                (self.from_ms, self.lateness, self.audited_to) = (from_ms, lateness, audited_to);
            }
            Change::Done { start, end } => {
                self.clear(start, end);
                self.done.add(start, end);
            }
            Change::Slice { start, end, facts } => {
                self.clear(start, end);
                self.slices.insert(start, (end, facts));
            }
            Change::Ids { start, end, keys } => {
                let known = self.slices.get(&start).filter(|(known_end, _)| *known_end == end);
                let facts = match known {
                    Some((_, facts)) => facts.clone(),
                    None => {
                        self.clear(start, end);
                        Facts { exact: true, ..Facts::default() }
                    }
                };
                let mut slice = Slice::new(start, end, facts.exact);
                slice.facts = facts;
                slice.delivered(&keys);
                self.slices.insert(start, (end, slice.facts));
            }
        }
    }

    /// Forgets the slices that `start..end` touches.
    fn clear(&mut self, start: i64, end: i64) {
        self.slices.retain(|&other, (other_end, _)| other >= end || *other_end <= start);
    }
}

// === impl Changes ===

impl Changes {
    pub(super) fn new(from_ms: i64) -> Self {
        Self {
            from_ms,
            opened: true,
            done: Ranges::default(),
            newly_done: Ranges::default(),
            slices: BTreeSet::new(),
            rewriting: BTreeSet::new(),
            ids: BTreeMap::new(),
        }
    }

    /// What the ledger has measured is worth writing.
    pub(super) fn state(&mut self) {
        self.opened = true;
    }

    /// A slice changed.
    pub(super) fn slice(&mut self, start: i64) {
        self.slices.insert(start);
    }

    /// A slice is gone: another one's entry supersedes it.
    pub(super) fn gone(&mut self, start: i64) {
        self.slices.remove(&start);
        self.rewriting.remove(&start);
        self.ids.remove(&start);
    }

    /// Events of a slice are delivered while it is being read.
    pub(super) fn ids(&mut self, start: i64, end: i64, keys: &[EventKey]) {
        if !keys.is_empty() {
            self.ids.entry(start).or_insert_with(|| (end, Vec::new())).1.extend_from_slice(keys);
        }
    }

    /// A stretch is finished with.
    pub(super) fn done(&mut self, start: i64, end: i64) {
        self.gone(start);
        self.done.add(start, end);
        self.newly_done.add(start, end);
    }

    /// Everything is to be written again.
    pub(super) fn rewrite(&mut self, slices: impl Iterator<Item = i64>) {
        self.opened = true;
        self.newly_done = self.done.clone();
        self.rewriting.extend(slices);
        self.slices.extend(self.rewriting.iter().copied());
    }

    /// Whether a rewrite is going on.
    pub(super) fn is_rewriting(&self) -> bool {
        self.opened || !self.newly_done.is_empty() || !self.rewriting.is_empty()
    }

    /// Where event time begins.
    pub(super) fn begins_at(&self) -> i64 {
        self.from_ms
    }

    pub(super) fn any(&self) -> bool {
        self.is_rewriting() || !self.slices.is_empty() || !self.ids.is_empty()
    }

    /// The next entry to write: what is finished, then whole slices, then what is delivered of those being read.
    pub(super) fn next(
        &mut self,
        slices: &BTreeMap<i64, Slice>,
        lateness: Option<Quantiles>,
        audited_to: Option<i64>,
    ) -> Option<Change> {
        if std::mem::take(&mut self.opened) {
            return Some(Change::Opened { from_ms: self.from_ms, lateness, audited_to });
        }
        if let Some((start, end)) = self.newly_done.first_from(i64::MIN) {
            self.newly_done.remove(start, end);
            return Some(Change::Done { start, end });
        }
        while let Some(start) = self.slices.pop_first() {
            self.rewriting.remove(&start);
            self.ids.remove(&start);
            if let Some(slice) = slices.get(&start) {
                return Some(Change::Slice { start, end: slice.end, facts: slice.facts.clone() });
            }
        }
        let (start, (end, keys)) = self.ids.pop_first()?;
        Some(Change::Ids { start, end, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(time: i64) -> EventKey {
        EventKey::new(time, time + 5, 7, 0)
    }

    #[test]
    fn entries_take_the_place_of_what_was_said_of_their_stretch() {
        let mut known = Restored::default();
        known.apply(Change::Ids { start: 0, end: 100, keys: vec![key(1)] });
        known.apply(Change::Ids { start: 0, end: 100, keys: vec![key(1), key(2)] });
        assert_eq!(known.slices[&0].1.ids.len(), 2);
        assert!(known.slices[&0].1.exact && known.slices[&0].1.watermark.is_none());
        let facts = Facts { watermark: Some(9), ..Facts::default() };
        known.apply(Change::Slice { start: 0, end: 50, facts: facts.clone() });
        known.apply(Change::Ids { start: 50, end: 100, keys: vec![key(50)] });
        assert_eq!(known.slices[&0], (50, facts));
        known.apply(Change::Done { start: 0, end: 50 });
        assert_eq!((known.slices.len(), known.done), (1, Ranges::of(0, 50)));
    }

    #[test]
    fn a_whole_slice_speaks_for_the_events_that_were_to_be_written() {
        let mut changes = Changes::new(0);
        let slices = BTreeMap::from([(0, Slice::new(0, 100, true))]);
        changes.ids(0, 100, &[key(1)]);
        changes.slice(0);
        changes.ids(200, 300, &[key(201)]);
        let written: Vec<Change> = std::iter::from_fn(|| changes.next(&slices, None, None)).collect();
        assert!(
            matches!(
                written[..],
                [Change::Opened { .. }, Change::Slice { .. }, Change::Ids { start: 200, .. }]
            ),
            "{written:?}"
        );
        assert!(!changes.any());
        changes.rewrite(slices.keys().copied());
        assert!(changes.is_rewriting());
        while changes.next(&slices, None, None).is_some() {}
        assert!(!changes.is_rewriting());
    }
}
