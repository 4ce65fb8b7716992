//! What was delivered: scans that count, slices that are sealed, merged and forgotten.

use std::collections::BTreeMap;

use flowstone_aws::EventKey;

use super::changes::Changes;
use super::rule::{Rule, broken};
use super::scan::{Scan, Ticket};
use super::slice::{Recheck, Slice};
use super::{Class, Extent, HISTORY_MIN_MS, Lateness, Ledger};

/// History: a scan should take about this many pages, whatever lies there.
const HISTORY_PAGES: i64 = 10;
const HISTORY_MAX_MS: i64 = 90 * 86_400_000;
/// The seal is put off at most this often.
const PUT_OFF_MOST: u8 = 3;
/// How long a slice is left alone after its read was given up, doubled each time up to an hour.
const FIRST_REST_MS: i64 = 60_000;
const LONGEST_REST_MS: i64 = 3_600_000;
/// Neighbours that were read together or are empty become one slice, up to this length.
const MERGED_MS: i64 = 86_400_000;

// === impl Ledger ===

impl Ledger {
    /// Whether this scan is still reading or has batches in flight.
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
        if running.is_complete() {
            self.advance(scan);
        } else {
            self.settle_history(scan);
        }
    }

    /// Whether this request's chain of pages brings nothing new: see [`Ledger::give_up`].
    pub fn is_stalled(&self, ticket: Ticket) -> bool {
        self.scans.get(&ticket.scan).is_some_and(Scan::is_stalled)
    }

    /// Ends a scan whose pages bring nothing new. It does not count: only what was delivered stays known. Its slices are
    /// read again after a while, longer each time; all other slices are read on.
    pub fn give_up(&mut self, ticket: Ticket, now_ms: i64) {
        let Some(scan) = self.scans.get_mut(&ticket.scan) else { return };
        scan.ended = true;
        scan.given_up = Some(now_ms);
        self.counts.given_up += 1;
        if scan.is_complete() {
            self.advance(ticket.scan);
        }
    }

    /// Whether something is unread because reading it was given up.
    pub fn has_given_up(&self) -> bool {
        self.slices.values().any(|slice| slice.given_up > 0)
    }

    fn release(&mut self, scan: &Scan, now_ms: i64) {
        let held: Vec<i64> = (self.slices.range(scan.from..scan.holds_to))
            .filter(|(_, slice)| slice.reading)
            .map(|(&start, _)| start)
            .collect();
        for start in held {
            if scan.class == Class::History {
                self.shorten(start);
            }
            let Some(slice) = self.slices.get_mut(&start) else { continue };
            slice.reading = false;
            slice.given_up = slice.given_up.saturating_add(1);
            slice.not_before = now_ms + (FIRST_REST_MS << (slice.given_up - 1).min(6)).min(LONGEST_REST_MS);
            self.schedule(start, now_ms);
        }
        if scan.class == Class::History {
            self.history_given_up += 1;
            self.lengths.history_ms = HISTORY_MIN_MS;
        }
    }

    /// Cuts a slice that was never read whole to its first quarter, if nothing is known of the rest. The rest is unread
    /// again: a shorter read may come to its end.
    fn shorten(&mut self, start: i64) {
        let Some(slice) = self.slices.get_mut(&start).filter(|slice| slice.facts.scans == 0) else { return };
        let (cut, end) = (start + ((slice.end - start) / 4).max(HISTORY_MIN_MS), slice.end);
        if cut < end && slice.facts.ids.iter().all(|key| key.timestamp() < cut) {
            slice.end = cut;
            self.unread.add(cut, end);
            self.changes.slice(start);
        }
    }

    /// The batch of this number was lost, with every later one of its scan: their events are read again.
    pub fn rewind(&mut self, scan: u64, number: u64) {
        let Some(running) = self.scans.get_mut(&scan) else { return };
        if !broken(Rule::LostIsReadAgain) {
            running.batches.retain(|batch| batch.number < number);
        }
        running.newest = running.batches.iter().flat_map(|batch| batch.keys.iter().copied()).max();
        self.restart(scan, Extent::All);
    }

    /// Marks history as done up to the last event read or the first one in flight, whichever is earlier, while its scan
    /// goes on: history is read once and in order, and a stop in the middle of a long scan repeats nothing.
    pub(super) fn settle_history(&mut self, number: u64) {
        let Some(scan) = self.scans.get(&number).filter(|scan| scan.class == Class::History && scan.ordered)
        else {
            return;
        };
        let (Some(watermark), Some(last)) = (scan.watermark, scan.last) else { return };
        let in_flight =
            scan.batches.iter().flat_map(|batch| batch.keys.iter()).map(|key| key.timestamp()).min();
        let in_flight = in_flight.filter(|_| !broken(Rule::HistoryWaitsForDelivery));
        let upto = in_flight.map_or(last.timestamp(), |time| time.min(last.timestamp()))
            + i64::from(broken(Rule::BoundaryStaysOpen));
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
        self.finish_read(start, watermark, false);
        self.merge(start);
        self.forget_finished();
    }

    /// Ends a scan: all that was visible at its watermark is delivered.
    pub(super) fn advance(&mut self, number: u64) {
        let Some(scan) = self.scans.remove(&number) else { return };
        if let Some(now_ms) = scan.given_up {
            return self.release(&scan, now_ms);
        }
        let watermark = scan.watermark.unwrap_or(i64::MIN);
        let read: Vec<i64> = self
            .slices
            .range(scan.from..scan.to)
            .filter(|(_, slice)| slice.reading)
            .map(|(&start, _)| start)
            .collect();
        for &start in &read {
            self.finish_read(start, watermark, true);
        }
        // Slices that a restart has left out are as they were before the scan.
        let left_out: Vec<i64> = self.slices.range(scan.to..scan.holds_to).map(|(&start, _)| start).collect();
        for start in left_out {
            if let Some(slice) = self.slices.get_mut(&start) {
                slice.reading = false;
            }
            self.schedule(start, watermark);
        }
        match scan.class {
            Class::History => {
                self.history_given_up = 0;
                // The next scan should take `HISTORY_PAGES` pages, if a page covers as much time as in this one.
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

    /// A slice was read whole by a scan with this watermark.
    pub(super) fn finish_read(&mut self, start: i64, watermark: i64, ends_scan: bool) {
        let margin = self.rules.visibility_margin_ms;
        let Some(slice) = self.slices.get_mut(&start) else { return };
        slice.reading = false;
        (slice.given_up, slice.not_before) = (0, i64::MIN);
        slice.facts.scans += 1;
        slice.facts.watermark = slice.facts.watermark.max(Some(watermark));
        if watermark >= self.rules.seal_at(slice.end) && !slice.facts.sealed {
            // Recent events announce more.
            let still_coming =
                ends_scan && slice.facts.ids.iter().any(|key| key.ingestion() > watermark - margin);
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
        self.schedule(start, watermark);
    }

    /// Schedules the next read of a slice.
    pub(super) fn schedule(&mut self, start: i64, now_ms: i64) {
        let history_before = self.history_before(now_ms);
        let Some(slice) = self.slices.get_mut(&start) else { return };
        let facts = &slice.facts;
        let (class, due) = match facts.watermark {
            _ if slice.recheck != Recheck::No => (Class::Sweep, Some(now_ms)),
            None if slice.end <= history_before => (Class::History, Some(now_ms)),
            None => (Class::Hot, Some(now_ms)),
            Some(watermark) if facts.sealed => (Class::Sweep, self.rules.next_sweep(slice.end, watermark)),
            Some(watermark) if facts.put_off > 0 => {
                (Class::Seal, Some(watermark + self.rules.visibility_margin_ms))
            }
            Some(watermark) => {
                let due = self.rules.next_read(start, slice.end, watermark, self.lateness.quantiles());
                let class = if due >= self.rules.seal_at(slice.end) { Class::Seal } else { Class::Hot };
                (class, Some(due))
            }
        };
        let due = due.map(|due| due.max(slice.not_before));
        slice.due = due;
        if let Some(due) = due {
            self.due[class as usize].insert((due, start));
        }
    }

    /// Merges a slice into its left neighbour where no knowledge is lost: both have the same watermark, or both are empty.
    pub(super) fn merge(&mut self, start: i64) {
        let Some((_, left)) = self.slices.range(..start).next_back() else { return };
        let Some(slice) = self.slices.get(&start) else { return };
        let idle = |slice: &Slice| slice.facts.sealed && !slice.reading && slice.recheck == Recheck::No;
        let empty = |slice: &Slice| slice.facts.ids.is_empty() && slice.facts.minutes.0.is_empty();
        let mergeable = left.end == start
            && idle(left)
            && idle(slice)
            && slice.end - left.start <= MERGED_MS
            && left.due == slice.due
            && (left.facts.watermark == slice.facts.watermark || empty(left) && empty(slice));
        if !mergeable {
            return;
        }
        let left = left.start;
        self.unschedule(left);
        self.unschedule(start);
        let (Some(right), Some(merged)) = (self.slices.remove(&start), self.slices.get_mut(&left)) else {
            return;
        };
        merged.end = right.end;
        // The earlier watermark covers less, so that no event is taken for delivered.
        merged.facts.watermark = match broken(Rule::MergedTakesEarlierWatermark) {
            false => merged.facts.watermark.min(right.facts.watermark),
            true => merged.facts.watermark.max(right.facts.watermark),
        };
        merged.facts.ids.extend(right.facts.ids.iter());
        for (minute, events) in right.facts.minutes.0 {
            merged.facts.minutes.add(minute, events);
        }
        let watermark = merged.facts.watermark.unwrap_or(0);
        self.changes.slice(left);
        self.changes.gone(start);
        self.schedule(left, watermark);
    }

    pub(super) fn unschedule(&mut self, start: i64) {
        if let Some(slice) = self.slices.get_mut(&start)
            && let Some(due) = slice.due.take()
        {
            self.due.iter_mut().for_each(|waiting| {
                waiting.remove(&(due, start));
            });
        }
    }

    /// Drops slices that are neither read nor audited again.
    pub(super) fn forget_finished(&mut self) {
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

/// Notes delivered events in their slices.
pub(super) fn note_delivered(
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
        // An event out of order, before what its scan had settled, has no slice any more.
        let Some(slice) = holder else { continue };
        // The checkpoint counts admitted events already, and is told once all of their minute are delivered.
        let new: Vec<EventKey> = keys.iter().copied().filter(|&key| !slice.admits(key)).collect();
        slice.delivered(keys);
        changes.ids(slice.start, slice.end, &new);
    }
}
