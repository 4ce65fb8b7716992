//! The slice ledger of one log group: which stretch of event time to read when, which events are new, and what is
//! delivered. It does no I/O and knows no clock: every call says what time it is.
//!
//! Event time is cut into *slices*. A slice is read whole, several times: at the ages at which half, 90 %, 99 % and
//! 99.9 % of its events have been ingested, once more at the end of the late window (then it is *sealed*), and at
//! each sweep. One such read is a *scan*: a chain of pages whose range does not change while a page token lives.
//!
//! What holds, and the test in `tests/properties.rs` breaks each on purpose:
//!
//! - **A scan counts only when it was read to its end and everything it found is delivered.** Its *watermark* is a time
//!   before the service answered the first page: the scan has seen every event that was visible then.
//! - **An event is new unless its id was delivered or is in flight**, or, where the ids are forgotten (sealed slices;
//!   all slices above the memory bound), unless it was ingested before the watermark minus the visibility margin.
//! - **A slice is sealed only by a scan after its end plus the late window plus the visibility margin**, and swept
//!   only by a scan after its age plus the margin. An event that is no later than that is delivered.
//! - **What is not known to be delivered is unread.** The ledger keeps no cursor, only the stretches it knows; the
//!   rest of event time since the start is to be read. A lost checkpoint entry repeats events, it never loses one.

mod ask;
mod audit;
mod changes;
mod ids;
mod lateness;
mod page;
mod ranges;
mod rule;
mod scan;
mod schedule;
mod settle;
mod slice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flowstone_aws::{EventKey, LogEvent};

use audit::Audit;
pub use audit::{Finding, Stage};
use changes::Changes;
pub use changes::{Change, Restored};
pub use ids::{Ids, decode as decode_ids, encode as encode_ids};
pub use lateness::{Lateness, Quantiles};
pub use ranges::Ranges;
pub use rule::Rule;
#[cfg(feature = "broken")]
pub use rule::breaking;
use rule::broken;
use scan::Scan;
pub use scan::{Class, Ticket};
pub use schedule::{Rules, align_down, align_up};
use slice::Slice;
pub use slice::{Facts, MINUTE_MS, Minutes};

/// The ledger of one log group.
#[derive(Debug)]
pub struct Ledger {
    rules: Rules,
    /// What no slice covers and is not done.
    unread: Ranges,
    slices: BTreeMap<i64, Slice>,
    /// Slices waiting for their time, by class.
    due: [BTreeSet<(i64, i64)>; 4],
    scans: BTreeMap<u64, Scan>,
    next_scan: u64,
    lateness: Lateness,
    lengths: Lengths,
    /// Ids are bounded by the ingestion rule.
    bounded: bool,
    audit: Audit,
    changes: Changes,
    counts: Counts,
    /// Reads of the past that were given up since one came to its end.
    history_given_up: u32,
}

/// What a ledger has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events emitted.
    pub fresh: u64,
    /// Events recognised by their ids.
    pub duplicates: u64,
    /// Events recognised by the ingestion rule alone.
    pub by_rule: u64,
    /// Events outside the range that was asked for: left to the slice they belong to.
    pub outside: u64,
    /// Pages read.
    pub pages: u64,
    /// Scans restarted because their token was refused.
    pub restarts: u64,
    /// Scans given up because their pages brought nothing new.
    pub given_up: u64,
    /// Events emitted again because an audit found that some of their minute were missing.
    pub resent: u64,
}

/// One page to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// To be handed back with the reply.
    pub ticket: Ticket,
    /// First millisecond of event time.
    pub start_ms: i64,
    /// Last millisecond of event time, **inclusive** as the API has it.
    pub end_ms: i64,
    /// The token of the page before.
    pub token: Option<String>,
}

/// New events to emit together.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The scan that found them.
    pub scan: u64,
    /// Their number: ascending within a scan.
    pub number: u64,
    /// The events.
    pub events: Vec<LogEvent>,
    /// Their keys, in the same order.
    pub keys: Arc<[EventKey]>,
}

/// How much of a scan is restarted.
#[derive(Clone, Copy, Debug)]
enum Extent {
    All,
    FirstHalf,
}

/// How large a [`Chunk`] may be.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    /// Events.
    pub rows: usize,
    /// Bytes of text.
    pub bytes: usize,
}

/// How long the next slices are.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    /// Events per millisecond of recent slices.
    density: f64,
    /// Sealed slices without events in a row.
    empty: u32,
    /// How long slices of an idle group are: longer where many groups share a quota.
    idle_ms: i64,
    /// How long the next stretch of history is.
    history_ms: i64,
}

const SLICE_MS: i64 = 60_000;
/// A stretch of history is no shorter.
const HISTORY_MIN_MS: i64 = 10_000;

// === impl Counts ===

impl Counts {
    /// What two ledgers have seen.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            fresh: self.fresh + other.fresh,
            duplicates: self.duplicates + other.duplicates,
            by_rule: self.by_rule + other.by_rule,
            outside: self.outside + other.outside,
            pages: self.pages + other.pages,
            restarts: self.restarts + other.restarts,
            given_up: self.given_up + other.given_up,
            resent: self.resent + other.resent,
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// A ledger that begins at `from_ms` and knows nothing. `until_ms` ends it (a backfill).
    pub fn new(rules: Rules, from_ms: i64, until_ms: Option<i64>) -> Self {
        Self::restore(rules, until_ms, Restored { from_ms, ..Restored::default() }, from_ms)
    }

    /// A ledger as its checkpoint knows it.
    pub fn restore(rules: Rules, until_ms: Option<i64>, known: Restored, now_ms: i64) -> Self {
        let mut ledger = Self {
            unread: Ranges::of(known.from_ms, until_ms.unwrap_or(i64::MAX)),
            slices: BTreeMap::new(),
            due: Default::default(),
            scans: BTreeMap::new(),
            next_scan: 0,
            lateness: Lateness::new(known.lateness),
            lengths: Lengths { density: 0.0, empty: 0, idle_ms: SLICE_MS, history_ms: SLICE_MS },
            bounded: false,
            audit: Audit::new(&rules, known.from_ms, known.audited_to),
            changes: Changes::new(known.from_ms),
            counts: Counts::default(),
            history_given_up: 0,
            rules,
        };
        for (start, end) in known.done.iter() {
            ledger.unread.remove(start, end);
            ledger.changes.done.add(start, end);
        }
        if broken(Rule::UnknownIsUnread) {
            let last = known.slices.values().map(|(end, _)| *end).max().unwrap_or(known.from_ms);
            ledger.unread.remove(known.from_ms, last);
        }
        for (start, (end, facts)) in known.slices {
            ledger.unread.remove(start, end);
            let mut slice = Slice::new(start, end, facts.exact);
            slice.facts = facts;
            ledger.slices.insert(start, slice);
            ledger.schedule(start, now_ms);
        }
        ledger
    }

    /// What a checkpoint would restore now: events in flight do not count as delivered.
    pub fn known(&self) -> Restored {
        let slices = self.slices.values().map(|slice| (slice.start, (slice.end, slice.facts.clone())));
        Restored {
            from_ms: self.changes.begins_at(),
            slices: slices.collect(),
            done: self.changes.done.clone(),
            lateness: self.lateness.quantiles(),
            audited_to: self.audit.audited_to(),
            gone_ms: None,
        }
    }

    /// Marks everything as not written, for a new file of the checkpoint.
    pub fn rewrite(&mut self) {
        self.changes.rewrite(self.slices.keys().copied());
    }

    /// Whether something of the last [`Ledger::rewrite`] is still to be written.
    pub fn is_rewriting(&self) -> bool {
        self.changes.is_rewriting()
    }

    /// The next thing that the checkpoint does not know yet, most useful first.
    pub fn next_change(&mut self) -> Option<Change> {
        self.changes.next(&self.slices, self.lateness.quantiles(), self.audit.audited_to())
    }

    /// Whether there is anything the checkpoint does not know yet.
    pub fn has_changes(&self) -> bool {
        self.changes.any()
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sets the late window: the group's aggregation interval became known. Slices that are not sealed follow it.
    pub fn set_late_window(&mut self, late_window_ms: i64) {
        self.rules.late_window_ms = late_window_ms;
    }

    /// How long slices of this group are while it is idle, in milliseconds: longer where many groups share a quota.
    pub fn set_idle_slice(&mut self, idle_ms: i64) {
        self.lengths.idle_ms = idle_ms.max(SLICE_MS);
    }

    /// Bytes held by ids: those of slices, and those in flight.
    pub fn id_bytes(&self) -> usize {
        let held: usize = self.slices.values().map(|slice| slice.facts.ids.memory_bytes()).sum();
        let in_flight: usize =
            self.scans.values().flat_map(|scan| &scan.batches).map(|batch| batch.keys.len()).sum();
        held + in_flight * size_of::<EventKey>()
    }

    /// Whether ids are bounded by the ingestion rule.
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Switches the bound of ids by the ingestion rule on or off. Switched on, exact slices forget the ids that the rule
    /// covers.
    pub fn set_bounded(&mut self, bounded: bool) {
        self.bounded = bounded;
        if !bounded {
            return;
        }
        for slice in self.slices.values_mut().filter(|slice| slice.facts.exact) {
            slice.facts.exact = false;
            slice.prune(&self.rules);
            self.changes.slice(slice.start);
        }
    }

    /// Whether all there ever was to read is delivered: only a ledger with an end gets there.
    pub fn is_done(&self) -> bool {
        !self.rules.live
            && self.unread.is_empty()
            && self.scans.is_empty()
            && self.slices.values().all(|s| s.due.is_none())
    }

    /// How far reading of fresh events is behind, in milliseconds: the age of the oldest event time, within the late
    /// window, that was never read.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        let fresh = self.history_before(now_ms);
        let unread = self.unread.first_from(fresh).map_or(now_ms, |(start, _)| start);
        let begun = self.slices.range(fresh..).map(|(_, slice)| slice).find(|slice| slice.facts.scans == 0);
        (now_ms - begun.map_or(unread, |slice| slice.start.min(unread))).max(0)
    }

    /// How much of event time was never read, in milliseconds, and not counting what has not passed yet.
    pub fn unread_ms(&self, now_ms: i64) -> i64 {
        let mut unread = self.unread.clone();
        unread.remove(now_ms, i64::MAX);
        let begun =
            self.slices.values().filter(|slice| slice.facts.scans == 0).map(|slice| slice.end - slice.start);
        unread.total() + begun.sum::<i64>()
    }
}
