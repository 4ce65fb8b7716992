//! Which page to ask for next.

use super::rule::{Rule, broken};
use super::scan::{Class, Scan, Ticket};
use super::schedule::{align_down, align_up};
use super::slice::Slice;
use super::{HISTORY_MIN_MS, Ledger, PageRequest, SLICE_MS};

/// A slice should hold at most about 20 pages of some 8,000 events.
const SLICE_EVENTS: f64 = 160_000.0;
/// Lengths that a busy group's slices fall back to.
const SHORT_SLICES_MS: [i64; 4] = [60_000, 30_000, 20_000, 10_000];
/// So many empty slices in a row make a group idle.
const IDLE_AFTER: u32 = 5;
/// After so many reads of the past were given up in a row, only those are retried and no new one begins.
const GIVEN_UP_AT_MOST: u32 = 32;
/// A scan over several slices takes at most this much of event time.
const TOGETHER_MS: i64 = 3_600_000;

// === impl Ledger ===

impl Ledger {
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
            end_ms: scan.to - if broken(Rule::LastMillisecondIsRead) { 2 } else { 1 },
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

    /// Event time before this is history: its first read seals it.
    pub(super) fn history_before(&self, now_ms: i64) -> i64 {
        match self.rules.live {
            true => {
                align_down(now_ms - self.rules.late_window_ms - self.rules.visibility_margin_ms, SLICE_MS)
            }
            false => i64::MAX,
        }
    }

    /// Makes slices unread again that were never read and are history by now, because reading was refused for long.
    /// History is read many slices at once.
    pub fn fold(&mut self, now_ms: i64) {
        let before = self.history_before(now_ms);
        let given_up = self.slices.values().filter(|slice| slice.given_up > 0).count();
        let few = given_up <= GIVEN_UP_AT_MOST as usize;
        let folded: Vec<(i64, i64)> = (self.slices.values())
            .take_while(|slice| slice.end <= before)
            .filter(|slice| self.rules.live && slice.is_untouched() && (slice.given_up == 0 || !few))
            .map(|slice| (slice.start, slice.end))
            .collect();
        for (start, end) in folded {
            self.unschedule(start);
            self.slices.remove(&start);
            self.unread.add(start, end);
        }
    }

    /// Cuts the slices whose first read is due.
    pub(super) fn carve(&mut self, now_ms: i64) {
        while let Some((start, end, due)) = self.next_fresh(now_ms).filter(|&(_, _, due)| due <= now_ms) {
            self.unread.remove(start, end);
            let mut slice = Slice::new(start, end, !self.bounded);
            slice.due = Some(due);
            self.due[Class::Hot as usize].insert((due, start));
            self.slices.insert(start, slice);
        }
    }

    /// The next slice of fresh events and when to read it first.
    pub(super) fn next_fresh(&self, now_ms: i64) -> Option<(i64, i64, i64)> {
        if !self.rules.live {
            return None;
        }
        let (start, limit) = self.unread.first_from(self.history_before(now_ms))?;
        let end = align_up(start + 1, self.fresh_length()).min(limit);
        Some((start, end, self.rules.first_read(start, end, self.lateness.quantiles())))
    }

    pub(super) fn fresh_length(&self) -> i64 {
        if self.lengths.empty >= IDLE_AFTER && self.rules.poll_interval_ms.is_none() {
            return self.lengths.idle_ms;
        }
        let longest = SLICE_EVENTS / self.lengths.density.max(f64::MIN_POSITIVE);
        let fits = SHORT_SLICES_MS.into_iter().find(|&length| length as f64 <= longest);
        fits.unwrap_or(SHORT_SLICES_MS[SHORT_SLICES_MS.len() - 1])
    }

    pub(super) fn may_begin_history(&self) -> bool {
        self.scans.values().filter(|scan| scan.class == Class::History).count() < self.rules.parallel_history
    }

    pub(super) fn next_history(&self, now_ms: i64) -> Option<(i64, i64)> {
        // Where every read is given up, no further ones begin.
        if self.history_given_up >= GIVEN_UP_AT_MOST {
            return None;
        }
        let before = self.history_before(now_ms);
        let (start, end) = self.unread.first_from(i64::MIN).filter(|&(start, _)| start < before)?;
        let long = align_up(start.saturating_add(1), HISTORY_MIN_MS)
            .max(align_down(start + self.lengths.history_ms, HISTORY_MIN_MS));
        Some((start, long.min(end).min(before)))
    }

    /// Begins a scan of this class.
    pub(super) fn begin(&mut self, class: Class, now_ms: i64) -> Option<u64> {
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
    pub(super) fn together(&self, class: Class, start: i64, now_ms: i64) -> (i64, i64) {
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
                    || first.given_up + next.given_up > 0
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
}
