//! The slice ledger of one log group: which stretch of event time to read when, which events are new, and what is
//! delivered. It does no I/O and knows no clock: every call says what time it is.
//!
//! Event time is cut into *slices*. A slice is read whole, several times: at the ages at which half, 90 %, 99 % and
//! 99.9 % of its events have been taken in, once more at the end of the late window (then it is *sealed*), and at
//! each sweep. One such read is a *scan*: a chain of pages whose range does not change while a page token lives.
//!
//! What holds, and the test in `tests/properties.rs` breaks each on purpose:
//!
//! - **A scan counts only when it was read to its end and everything it found is delivered.** Its time, `through`, is
//!   one at which the service had not begun to answer, so that all that was visible then is in it.
//! - **An event is new unless its id was delivered or is on its way**, or, where the ids are forgotten (sealed
//!   slices; all slices above the memory bound), unless it was taken in before `through` minus the visibility margin.
//! - **A slice is sealed only by a scan after its end plus the late window plus the visibility margin**, and swept
//!   only by a scan as much later; so whatever is no later than that is delivered.
//! - **What is not known to be delivered is unread.** The ledger keeps no cursor, only the stretches it knows; the
//!   rest of event time since the start is to be read. A lost checkpoint entry repeats events, it never loses one.

mod audit;
mod changes;
mod ids;
mod lateness;
mod ranges;
mod rule;
mod scan;
mod schedule;
mod slice;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use flowstone_aws::{ErrorKind, EventKey, FilterPage, LogEvent};

use audit::Audit;
pub use audit::{Finding, Stage};
use changes::Changes;
pub use changes::{Change, Restored};
pub use ids::{Ids, decode as decode_ids, encode as encode_ids};
pub use lateness::{Lateness, Quantiles};
pub use ranges::Ranges;
pub use rule::Rule;
pub use scan::{Class, Ticket};
use scan::{Outgoing, Scan};
pub use schedule::{Rules, align_down, align_up};
pub use slice::{Facts, MINUTE_MS, Minutes};
use slice::{Recheck, Slice, minute_of};

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
}

/// What a ledger has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events handed on.
    pub fresh: u64,
    /// Events recognised by their ids.
    pub duplicates: u64,
    /// Events recognised by the ingestion rule alone.
    pub by_rule: u64,
    /// Events outside the range that was asked for: left to the slice they belong to.
    pub outside: u64,
    /// Pages read.
    pub pages: u64,
    /// Scans begun anew because their token was refused.
    pub restarts: u64,
    /// Events handed on again because an audit found that some of their minute had never been.
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

/// New events to hand on together.
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

/// How much of a scan is begun anew.
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

/// A slice should hold at most about 20 pages of some 8,000 events.
const SLICE_EVENTS: f64 = 160_000.0;
const SLICE_MS: i64 = 60_000;
/// Lengths that a busy group's slices fall back to.
const SHORT_SLICES_MS: [i64; 4] = [60_000, 30_000, 20_000, 10_000];
/// So many empty slices in a row make a group idle.
const IDLE_AFTER: u32 = 5;
/// History: a scan should take about this many pages, whatever lies there.
const HISTORY_PAGES: i64 = 10;
const HISTORY_MIN_MS: i64 = 10_000;
const HISTORY_MAX_MS: i64 = 90 * 86_400_000;
/// The seal is put off at most this often.
const PUT_OFF_MOST: u8 = 3;
/// Neighbours that were read together or are empty become one slice, up to this length.
const MERGED_MS: i64 = 86_400_000;
/// A scan over several slices takes at most this much of event time.
const TOGETHER_MS: i64 = 3_600_000;

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
            rules,
        };
        for (start, end) in known.done.iter() {
            ledger.unread.remove(start, end);
            ledger.changes.done.add(start, end);
        }
        if !ledger.rules.keeps(Rule::UnknownIsUnread) {
            let last = known.slices.values().map(|(end, _)| *end).max().unwrap_or(known.from_ms);
            ledger.unread.remove(known.from_ms, last);
        }
        for (start, (end, facts)) in known.slices {
            ledger.unread.remove(start, end);
            let mut slice = Slice::new(start, end, facts.exact);
            slice.facts = facts;
            ledger.slices.insert(start, slice);
            ledger.plan(start, now_ms);
        }
        ledger
    }

    /// Everything, for a checkpoint that begins anew.
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

    /// Bytes held by ids: those of slices, and those on their way.
    pub fn id_bytes(&self) -> usize {
        let held: usize = self.slices.values().map(|slice| slice.facts.ids.memory_bytes()).sum();
        let going: usize =
            self.scans.values().flat_map(|scan| &scan.batches).map(|batch| batch.keys.len()).sum();
        held + going * size_of::<EventKey>()
    }

    /// Whether ids are bounded by the ingestion rule.
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Bounds the ids by the ingestion rule from now on, or stops to: slices that are exact stay it or, when bounded,
    /// forget the ids that the rule stands for.
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

    // --- what to ask for

    /// In which classes a page can be asked for now, by the order of [`Class::ALL`].
    pub fn ready(&mut self, now_ms: i64) -> [bool; 4] {
        self.carve(now_ms);
        let mut ready = Class::ALL.map(|class| {
            let waits = self.due[class as usize].first().is_some_and(|&(due, _)| due <= now_ms);
            match class {
                Class::History => self.may_begin_history() && (waits || self.next_history(now_ms).is_some()),
                _ => waits,
            }
        });
        for scan in self.scans.values().filter(|scan| scan.wants_page()) {
            ready[scan.class as usize] = true;
        }
        ready
    }

    /// The next page to ask for in this class. A chain that was begun goes on before another begins.
    pub fn next_request(&mut self, class: Class, now_ms: i64) -> Option<PageRequest> {
        let running = self
            .scans
            .iter()
            .find(|(_, scan)| scan.class == class && scan.wants_page())
            .map(|(&number, _)| number);
        let number = match running {
            Some(number) => number,
            None => self.begin(class, now_ms)?,
        };
        let scan = self.scans.get_mut(&number)?;
        scan.in_flight = true;
        Some(PageRequest {
            ticket: Ticket { scan: number, attempt: scan.attempt },
            start_ms: scan.from,
            end_ms: scan.to - if self.rules.keeps(Rule::LastMillisecondIsRead) { 1 } else { 2 },
            token: scan.token.clone(),
        })
    }

    /// When there will be something to ask for, unless a reply or a delivery comes first.
    pub fn wakes_at(&self, now_ms: i64) -> Option<i64> {
        let history = self.may_begin_history();
        let classes = if history { &self.due[..] } else { &self.due[..Class::History as usize] };
        let due = classes.iter().filter_map(|due| due.first()).map(|&(due, _)| due);
        let fresh = self.next_fresh(now_ms).map(|(_, _, due)| due);
        let at_once =
            self.scans.values().any(Scan::wants_page) || history && self.next_history(now_ms).is_some();
        due.chain(fresh).chain(at_once.then_some(now_ms)).min()
    }

    /// Event time before this is history: what was never read of it would be sealed by its first read.
    fn history_before(&self, now_ms: i64) -> i64 {
        match self.rules.live {
            true => {
                align_down(now_ms - self.rules.late_window_ms - self.rules.visibility_margin_ms, SLICE_MS)
            }
            false => i64::MAX,
        }
    }

    /// Cuts the slices whose first read is due.
    fn carve(&mut self, now_ms: i64) {
        while let Some((start, end, due)) = self.next_fresh(now_ms).filter(|&(_, _, due)| due <= now_ms) {
            self.unread.remove(start, end);
            let mut slice = Slice::new(start, end, !self.bounded);
            slice.due = Some(due);
            self.due[Class::Hot as usize].insert((due, start));
            self.slices.insert(start, slice);
        }
    }

    /// The next slice of fresh events and when to read it first.
    fn next_fresh(&self, now_ms: i64) -> Option<(i64, i64, i64)> {
        if !self.rules.live {
            return None;
        }
        let (start, limit) = self.unread.first_from(self.history_before(now_ms))?;
        let end = align_up(start + 1, self.fresh_length()).min(limit);
        Some((start, end, self.rules.first_read(start, end, self.lateness.quantiles())))
    }

    fn fresh_length(&self) -> i64 {
        if self.lengths.empty >= IDLE_AFTER && self.rules.poll_interval_ms.is_none() {
            return self.lengths.idle_ms;
        }
        let longest = SLICE_EVENTS / self.lengths.density.max(f64::MIN_POSITIVE);
        let fits = SHORT_SLICES_MS.into_iter().find(|&length| length as f64 <= longest);
        fits.unwrap_or(SHORT_SLICES_MS[SHORT_SLICES_MS.len() - 1])
    }

    fn may_begin_history(&self) -> bool {
        self.scans.values().filter(|scan| scan.class == Class::History).count() < self.rules.parallel_history
    }

    fn next_history(&self, now_ms: i64) -> Option<(i64, i64)> {
        let before = self.history_before(now_ms);
        let (start, end) = self.unread.first_from(i64::MIN).filter(|&(start, _)| start < before)?;
        let long = align_up(start.saturating_add(1), HISTORY_MIN_MS)
            .max(align_down(start + self.lengths.history_ms, HISTORY_MIN_MS));
        Some((start, long.min(end).min(before)))
    }

    /// Begins a scan of this class.
    fn begin(&mut self, class: Class, now_ms: i64) -> Option<u64> {
        let due = self.due[class as usize].first().copied().filter(|&(due, _)| due <= now_ms);
        let (from, to) = match due {
            Some((_, start)) => self.together(class, start, now_ms),
            None if class == Class::History => {
                let (start, end) = self.next_history(now_ms)?;
                self.unread.remove(start, end);
                self.slices.insert(start, Slice::new(start, end, !self.bounded));
                (start, end)
            }
            None => return None,
        };
        for slice in self.slices.range_mut(from..to).map(|(_, slice)| slice) {
            slice.reading = true;
            if let Some(due) = slice.due.take() {
                self.due[class as usize].remove(&(due, slice.start));
            }
        }
        let number = self.next_scan;
        self.next_scan += 1;
        self.scans.insert(number, Scan::new(class, from, to));
        Some(number)
    }

    /// The stretch that one scan reads, beginning with the slice at `start`: neighbours that are due too join it while
    /// they are few and small.
    fn together(&self, class: Class, start: i64, now_ms: i64) -> (i64, i64) {
        let first = &self.slices[&start];
        let (mut to, mut events) = (first.end, first.events());
        if class == Class::Seal || class == Class::Sweep {
            for next in self.slices.range(first.end..).map(|(_, slice)| slice) {
                let is_due = next.due.is_some_and(|due| {
                    self.due[class as usize].contains(&(due, next.start)) && due <= now_ms
                });
                events += next.events();
                if next.start != to
                    || !is_due
                    || next.end - start > TOGETHER_MS
                    || events as f64 > SLICE_EVENTS
                {
                    break;
                }
                to = next.end;
            }
        }
        (start, to)
    }

    // --- what came back

    /// A page arrived: gives its new events, in chunks to hand on. `asked_ms` is when the request was sent, by the
    /// caller's idea of the service's clock, for replies without a `Date`. Each chunk takes the next number.
    pub fn page(
        &mut self,
        ticket: Ticket,
        page: FilterPage,
        asked_ms: i64,
        limits: ChunkLimits,
        number: &mut u64,
    ) -> Vec<Chunk> {
        let rules = &self.rules;
        let current =
            |scan: &&mut Scan| scan.attempt == ticket.attempt || !rules.keeps(Rule::OldRepliesAreIgnored);
        let Some(scan) = self.scans.get_mut(&ticket.scan).filter(current) else { return Vec::new() };
        self.counts.pages += 1;
        scan.in_flight = false;
        scan.pages += 1;
        if scan.asked_at.is_none() || !rules.keeps(Rule::FirstPageSaysWhen) {
            scan.asked_at = Some(page.asked_at_ms.unwrap_or(asked_ms));
        }
        scan.ended =
            page.next_token.is_none() || page.events.is_empty() && !rules.keeps(Rule::EmptyPagesGoOn);
        scan.token = page.next_token;
        let mut chunker = Chunker { limits, bytes: 0, chunks: Vec::new() };
        let mut fresh: Option<HashSet<EventKey>> = None;
        let mut slice_range = (0, 0);
        for event in page.events {
            let key = EventKey::of(&event);
            let time = key.timestamp();
            if time != event.timestamp || !(scan.from..scan.to).contains(&time) {
                self.counts.outside += 1;
                continue;
            }
            scan.ordered = scan.ordered && scan.last.is_none_or(|last| last <= key);
            if !scan.ordered && fresh.is_none() {
                // From here on an event may repeat one of this page, which no batch on its way holds yet.
                fresh = Some(chunker.chunks.iter().flat_map(|chunk| chunk.keys.iter().copied()).collect());
            }
            let seen_here =
                scan.last == Some(key) || fresh.as_ref().is_some_and(|fresh| fresh.contains(&key));
            let repeated = seen_here || scan.carries(key) && rules.keeps(Rule::OnItsWayIsKnown);
            scan.last = Some(key);
            if !(slice_range.0..slice_range.1).contains(&time) {
                slice_range = self
                    .slices
                    .range(..=time)
                    .next_back()
                    .map_or((0, 0), |(_, slice)| (slice.start, slice.end));
            }
            let slice = if (slice_range.0..slice_range.1).contains(&time) {
                self.slices.get_mut(&slice_range.0)
            } else {
                None
            };
            if let Some(slice) = slice {
                if let Recheck::Count(minutes) = &mut slice.recheck
                    && let Ok(at) = minutes.0.binary_search_by_key(&minute_of(key), |entry| entry.0)
                    && !repeated
                {
                    minutes.0[at].1 += 1;
                }
                if !repeated && slice.has(key, rules) {
                    match slice.facts.ids.contains(key) {
                        true => self.counts.duplicates += 1,
                        false => self.counts.by_rule += 1,
                    }
                    continue;
                }
            }
            if repeated {
                self.counts.duplicates += 1;
                continue;
            }
            self.counts.fresh += 1;
            scan.newest = scan.newest.max(Some(key));
            if let Some(fresh) = &mut fresh {
                fresh.insert(key);
            }
            chunker.push(event, key);
        }
        let mut chunks = Vec::with_capacity(chunker.chunks.len());
        for Pending { events, keys } in chunker.chunks {
            let keys: Arc<[EventKey]> = keys.into();
            scan.batches.push_back(Outgoing::new(*number, Arc::clone(&keys)));
            chunks.push(Chunk { scan: ticket.scan, number: *number, events, keys });
            *number += 1;
        }
        if let Some(last) = scan.last.filter(|_| !rules.keeps(Rule::RangeIsFrozen)) {
            scan.from = last.timestamp() + 1;
        }
        if !rules.keeps(Rule::IdsAreDelivered) {
            let keys: Vec<EventKey> =
                scan.batches.iter().flat_map(|batch| batch.keys.iter().copied()).collect();
            note_delivered(&mut self.slices, &mut self.lateness, &mut self.changes, &keys);
        }
        if scan.is_complete(rules) {
            self.advance(ticket.scan);
        }
        chunks
    }

    /// A request failed. Gives whether the ledger takes care of it: a page is asked for again with the same
    /// parameters, or the chain begins anew because its token is not valid any more.
    pub fn failed(&mut self, ticket: Ticket, kind: ErrorKind) -> bool {
        let Some(scan) = self.scans.get_mut(&ticket.scan).filter(|scan| scan.attempt == ticket.attempt)
        else {
            return true;
        };
        scan.in_flight = false;
        match kind {
            ErrorKind::BadToken if !self.rules.keeps(Rule::RefusedTokenRestarts) => {
                scan.ended = true;
                if scan.is_complete(&self.rules) {
                    self.advance(ticket.scan);
                }
                true
            }
            ErrorKind::BadToken if scan.token.is_some() => {
                self.counts.restarts += 1;
                self.restart(ticket.scan, Extent::FirstHalf);
                true
            }
            ErrorKind::Throttled | ErrorKind::Unavailable => true,
            _ => false,
        }
    }

    /// Begins a scan's chain anew over the slices that it still reads: all of them, or only the first half when a
    /// chain over all was too long for the life of its tokens.
    fn restart(&mut self, number: u64, extent: Extent) {
        let Some(scan) = self.scans.get_mut(&number) else { return };
        let mut reads = Vec::new();
        for (_, slice) in self.slices.range_mut(scan.from..scan.to).filter(|(_, slice)| slice.reading) {
            reads.push((slice.start, slice.end));
            if let Recheck::Count(minutes) = &mut slice.recheck {
                minutes.0.iter_mut().for_each(|entry| entry.1 = 0);
            }
        }
        let last = match extent {
            Extent::All => reads.len().saturating_sub(1),
            Extent::FirstHalf => (reads.len() / 2).saturating_sub(1),
        };
        let from = reads.first().map_or(scan.from, |&(start, _)| start);
        scan.restart(from, reads.get(last).map_or(scan.to, |&(_, end)| end));
    }

    // --- what was delivered

    /// Whether this scan is still going on or has something on its way.
    pub fn is_running(&self, scan: u64) -> bool {
        self.scans.contains_key(&scan)
    }

    /// All batches of this scan up to this number are delivered.
    pub fn delivered(&mut self, scan: u64, number: u64) {
        let Some(running) = self.scans.get_mut(&scan) else { return };
        while running.batches.front().is_some_and(|batch| batch.number <= number) {
            let Some(batch) = running.batches.pop_front() else { break };
            note_delivered(&mut self.slices, &mut self.lateness, &mut self.changes, &batch.keys);
        }
        if running.is_complete(&self.rules) {
            self.advance(scan);
        } else {
            self.settle_history(scan);
        }
    }

    /// The batch of this number was not delivered, nor any later one of its scan: they will be found again.
    pub fn rewind(&mut self, scan: u64, number: u64) {
        let Some(running) = self.scans.get_mut(&scan) else { return };
        if self.rules.keeps(Rule::LostIsFoundAgain) {
            running.batches.retain(|batch| batch.number < number);
        }
        running.newest = running.batches.iter().flat_map(|batch| batch.keys.iter().copied()).max();
        self.restart(scan, Extent::All);
    }

    /// History is read once and in order: what lies before the last event that was read and before all that are on
    /// their way is done although its scan goes on, so that a stop in the middle of a long one repeats nothing.
    fn settle_history(&mut self, number: u64) {
        let Some(scan) = self.scans.get(&number).filter(|scan| scan.class == Class::History && scan.ordered)
        else {
            return;
        };
        let (Some(through), Some(last)) = (scan.asked_at, scan.last) else { return };
        let on_the_way =
            scan.batches.iter().flat_map(|batch| batch.keys.iter()).map(|key| key.timestamp()).min();
        let on_the_way = on_the_way.filter(|_| self.rules.keeps(Rule::HistoryWaitsForDelivery));
        let upto = on_the_way.map_or(last.timestamp(), |time| time.min(last.timestamp()))
            + i64::from(!self.rules.keeps(Rule::BoundaryStaysOpen));
        let reading = self.slices.range(scan.from..scan.to).find(|(_, slice)| slice.reading);
        let Some(start) = reading.filter(|(_, slice)| slice.facts.scans == 0).map(|(&start, _)| start) else {
            return;
        };
        if upto <= start {
            return;
        }
        let Some(whole) = self.slices.remove(&start) else { return };
        let (before, boundary): (Vec<EventKey>, Vec<EventKey>) =
            whole.facts.ids.iter().partition(|key| key.timestamp() < upto);
        let mut done = Slice::new(start, upto, whole.facts.exact);
        let mut rest = Slice::new(upto, whole.end, whole.facts.exact);
        done.delivered(&before);
        rest.delivered(&boundary);
        rest.reading = true;
        self.slices.insert(start, done);
        self.slices.insert(upto, rest);
        self.changes.gone(start);
        self.changes.ids(upto, whole.end, &boundary);
        self.finish_read(start, through, false);
        self.merge(start);
        self.forget_finished();
    }

    /// A scan is complete: all that was visible when it began is delivered.
    fn advance(&mut self, number: u64) {
        let Some(scan) = self.scans.remove(&number) else { return };
        let through = scan.asked_at.unwrap_or(i64::MIN);
        let read: Vec<i64> = self
            .slices
            .range(scan.from..scan.to)
            .filter(|(_, slice)| slice.reading)
            .map(|(&start, _)| start)
            .collect();
        for &start in &read {
            self.finish_read(start, through, true);
        }
        // Slices that were given up for now are as they were before the scan.
        let given_up: Vec<i64> = self.slices.range(scan.to..scan.holds_to).map(|(&start, _)| start).collect();
        for start in given_up {
            if let Some(slice) = self.slices.get_mut(&start) {
                slice.reading = false;
            }
            self.plan(start, through);
        }
        match scan.class {
            Class::History => {
                // By what a page held of time this time, the next scan takes about as many pages as it should.
                let length = (scan.to - scan.from).max(HISTORY_MIN_MS);
                let wanted = length.saturating_mul(HISTORY_PAGES) / i64::from(scan.pages.max(1));
                self.lengths.history_ms =
                    wanted.clamp(length / 4, length.saturating_mul(4)).clamp(HISTORY_MIN_MS, HISTORY_MAX_MS);
            }
            Class::Seal => {
                self.changes.state();
                for slice in read.iter().filter_map(|start| self.slices.get(start)) {
                    self.lengths.empty = if slice.events() == 0 { self.lengths.empty + 1 } else { 0 };
                }
            }
            Class::Hot | Class::Sweep => {}
        }
        for start in read {
            self.merge(start);
        }
        self.conclude_audit();
        self.forget_finished();
    }

    /// A slice was read whole by a scan that began at `through`.
    fn finish_read(&mut self, start: i64, through: i64, ends_scan: bool) {
        let margin = self.rules.visibility_margin_ms;
        let Some(slice) = self.slices.get_mut(&start) else { return };
        slice.reading = false;
        slice.facts.scans += 1;
        slice.facts.through = slice.facts.through.max(Some(through));
        if through >= self.rules.seal_at(slice.end) && !slice.facts.sealed {
            // Events that came within the last moments say that more may come.
            let still_coming =
                ends_scan && slice.facts.ids.iter().any(|key| key.ingestion() > through - margin);
            if still_coming && slice.facts.put_off < PUT_OFF_MOST && self.rules.live {
                slice.facts.put_off += 1;
            } else {
                slice.facts.sealed = true;
                slice.facts.exact = false;
            }
        }
        slice.prune(&self.rules);
        if !slice.facts.sealed && slice.facts.scans > 1 {
            let density = slice.events() as f64 / (slice.end - slice.start) as f64;
            self.lengths.density = if self.lengths.density == 0.0 {
                density
            } else {
                0.8 * self.lengths.density + 0.2 * density
            };
        }
        self.changes.slice(start);
        self.settle_recheck(start);
        self.plan(start, through);
    }

    /// Says when a slice is read next. `known` is the time up to which its class is judged.
    fn plan(&mut self, start: i64, now_ms: i64) {
        let history_before = self.history_before(now_ms);
        let Some(slice) = self.slices.get_mut(&start) else { return };
        let facts = &slice.facts;
        let (class, due) = match facts.through {
            _ if slice.recheck != Recheck::No => (Class::Sweep, Some(now_ms)),
            None if slice.end <= history_before => (Class::History, Some(now_ms)),
            None => (Class::Hot, Some(now_ms)),
            Some(through) if facts.sealed => (Class::Sweep, self.rules.next_sweep(slice.end, through)),
            Some(through) if facts.put_off > 0 => {
                (Class::Seal, Some(through + self.rules.visibility_margin_ms))
            }
            Some(through) => {
                let due = self.rules.next_read(start, slice.end, through, self.lateness.quantiles());
                let class = if due >= self.rules.seal_at(slice.end) { Class::Seal } else { Class::Hot };
                (class, Some(due))
            }
        };
        slice.due = due;
        if let Some(due) = due {
            self.due[class as usize].insert((due, start));
        }
    }

    /// Joins a slice to its left neighbour where nothing is lost by it: both were read by the same scan, or both are
    /// empty.
    fn merge(&mut self, start: i64) {
        let Some((_, left)) = self.slices.range(..start).next_back() else { return };
        let Some(slice) = self.slices.get(&start) else { return };
        let idle = |slice: &Slice| slice.facts.sealed && !slice.reading && slice.recheck == Recheck::No;
        let empty = |slice: &Slice| slice.facts.ids.is_empty() && slice.facts.minutes.0.is_empty();
        let joinable = left.end == start
            && idle(left)
            && idle(slice)
            && slice.end - left.start <= MERGED_MS
            && left.due == slice.due
            && (left.facts.through == slice.facts.through || empty(left) && empty(slice));
        if !joinable {
            return;
        }
        let left = left.start;
        self.unplan(left);
        self.unplan(start);
        let (Some(right), Some(joined)) = (self.slices.remove(&start), self.slices.get_mut(&left)) else {
            return;
        };
        joined.end = right.end;
        // Empty slices of different times: the earlier time admits more, and there is nothing it could admit twice.
        joined.facts.through = match self.rules.keeps(Rule::JoinedTakeEarlierTime) {
            true => joined.facts.through.min(right.facts.through),
            false => joined.facts.through.max(right.facts.through),
        };
        joined.facts.ids.extend(right.facts.ids.iter());
        for (minute, events) in right.facts.minutes.0 {
            joined.facts.minutes.add(minute, events);
        }
        let through = joined.facts.through.unwrap_or(0);
        self.changes.slice(left);
        self.changes.gone(start);
        self.plan(left, through);
    }

    fn unplan(&mut self, start: i64) {
        if let Some(slice) = self.slices.get_mut(&start)
            && let Some(due) = slice.due.take()
        {
            self.due.iter_mut().for_each(|waiting| {
                waiting.remove(&(due, start));
            });
        }
    }

    /// Drops slices of which nothing more is to be known.
    fn forget_finished(&mut self) {
        let audit = &self.audit;
        let rules = &self.rules;
        let finished: Vec<(i64, i64)> = self
            .slices
            .values()
            .filter(|slice| {
                slice.facts.sealed
                    && slice.due.is_none()
                    && !slice.reading
                    && audit.is_done_with(slice, rules)
            })
            .map(|slice| (slice.start, slice.end))
            .collect();
        for (start, end) in finished {
            self.slices.remove(&start);
            self.changes.done(start, end);
        }
    }
}

/// Events were delivered: their slices know them from now on.
fn note_delivered(
    slices: &mut BTreeMap<i64, Slice>,
    lateness: &mut Lateness,
    changes: &mut Changes,
    keys: &[EventKey],
) {
    let mut rest = keys;
    while let Some(first) = rest.first() {
        let holder = slices.range_mut(..=first.timestamp()).next_back().map(|(_, slice)| slice);
        let holder = holder.filter(|slice| first.timestamp() < slice.end);
        let range = holder
            .as_ref()
            .map_or((first.timestamp(), first.timestamp() + 1), |slice| (slice.start, slice.end));
        let run = rest.iter().take_while(|key| (range.0..range.1).contains(&key.timestamp())).count();
        let (keys, behind) = rest.split_at(run.max(1));
        rest = behind;
        for key in keys {
            lateness.note(key.ingestion() - key.timestamp());
        }
        // No slice: an event out of order, before what its scan had settled. It is delivered, and that is all.
        let Some(slice) = holder else { continue };
        // The checkpoint counts these already: it hears of them when all of their minute are delivered.
        let told: Vec<EventKey> = keys.iter().copied().filter(|&key| !slice.admits(key)).collect();
        slice.delivered(keys);
        changes.ids(slice.start, slice.end, &told);
    }
}

/// Events of one chunk while a page is taken apart.
struct Pending {
    events: Vec<LogEvent>,
    keys: Vec<EventKey>,
}

struct Chunker {
    limits: ChunkLimits,
    bytes: usize,
    chunks: Vec<Pending>,
}

impl Chunker {
    fn push(&mut self, event: LogEvent, key: EventKey) {
        let full = self.chunks.last().is_none_or(|chunk| {
            chunk.events.len() >= self.limits.rows || self.bytes + event.message.len() > self.limits.bytes
        });
        if full {
            self.bytes = 0;
            self.chunks.push(Pending { events: Vec::new(), keys: Vec::new() });
        }
        self.bytes += event.message.len();
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.events.push(event);
            chunk.keys.push(key);
        }
    }
}
