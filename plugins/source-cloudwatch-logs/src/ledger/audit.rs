//! The audit: events delivered per ingestion minute against the number that CloudWatch says it ingested.

use std::collections::BTreeMap;

use flowstone_aws::MinuteCount;

use super::Ledger;
use super::schedule::{Rules, align_down};
use super::slice::{MINUTE_MS, Minutes, Recheck, Slice, minute_of};

/// What an audit found about one ingestion minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The minute's first millisecond.
    pub minute_ms: i64,
    /// How many events CloudWatch ingested.
    pub expected: u64,
    /// How many were delivered.
    pub delivered: u64,
    /// What this means.
    pub stage: Stage,
}

/// How far an audit of a minute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Events are missing; the slices they may lie in are read again.
    Missing,
    /// Reading again found them.
    Recovered,
    /// Reading again did not find them all: they are older than the last sweep reaches.
    Lost,
}

/// The state of a ledger's audit.
#[derive(Debug)]
pub(super) struct Audit {
    /// The first minute that is not audited; `None` when nothing is.
    next: Option<i64>,
    /// Minutes with missing events, and how many events they should have.
    missing: BTreeMap<i64, u64>,
    findings: Vec<Finding>,
}

/// CloudWatch keeps minutes of a metric for 15 days.
const METRIC_KEPT_MS: i64 = 14 * 86_400_000;
/// Clocks of senders may be ahead: events of a minute may have a time up to this much later.
const AHEAD_MS: i64 = 300_000;
/// Minutes are audited at least this many at a time, and at most a day's.
const TOGETHER_MS: i64 = 5 * MINUTE_MS;
const AT_MOST_MS: i64 = 1440 * MINUTE_MS;

// === impl Audit ===

impl Audit {
    pub(super) fn new(rules: &Rules, from_ms: i64, audited_to: Option<i64>) -> Self {
        // What was ingested right after the start may belong to a time before it.
        let first = align_down(from_ms.saturating_add(rules.reach_ms() + MINUTE_MS), MINUTE_MS);
        let next = rules.audit.then(|| audited_to.map_or(first, |audited| audited.max(first)));
        Self { next, missing: BTreeMap::new(), findings: Vec::new() }
    }

    /// Minutes before this one need no audit after a restart.
    pub(super) fn audited_to(&self) -> Option<i64> {
        let missing = self.missing.keys().next().copied();
        self.next.map(|next| missing.map_or(next, |minute| minute.min(next)))
    }

    /// Whether no audit will ask about this slice any more.
    pub(super) fn is_done_with(&self, slice: &Slice, rules: &Rules) -> bool {
        let Some(next) = self.next else { return true };
        let last = slice.facts.minutes.0.last().map_or(slice.end, |(minute, _)| *minute);
        self.missing.is_empty() && next > last.max(slice.end + rules.reach_ms())
    }
}

// === impl Ledger ===

impl Ledger {
    /// The ingestion minutes (`from..to`) that can be compared with the metric now: every slice that may hold their
    /// events has been read for the last time.
    pub fn audit_due(&mut self, now_ms: i64) -> Option<(i64, i64)> {
        if !self.audit.missing.is_empty() {
            return None;
        }
        let kept_from = align_down(now_ms - METRIC_KEPT_MS, MINUTE_MS);
        let next = self.audit.next.as_mut()?;
        *next = kept_from.max(*next);
        let next = *next;
        let unread = self.unread.first_from(i64::MIN).map_or(i64::MAX, |(start, _)| start);
        let open = self
            .slices
            .values()
            .find(|slice| slice.reading || slice.due.is_some())
            .map_or(i64::MAX, |slice| slice.start);
        let ready = align_down(unread.min(open).min(now_ms) - AHEAD_MS, MINUTE_MS).min(next + AT_MOST_MS);
        (ready - next >= TOGETHER_MS).then_some((next, ready))
    }

    /// Compares minutes with the metric. Where events are missing, all slices that may hold them are read again.
    pub fn audit(&mut self, (from, to): (i64, i64), counts: &[MinuteCount], now_ms: i64) {
        if self.audit.next != Some(from) {
            return;
        }
        self.audit.next = Some(to);
        self.changes.state();
        let mut delivered: BTreeMap<i64, u64> = BTreeMap::new();
        for (minute, events) in self.slices.values().flat_map(|slice| &slice.facts.minutes.0) {
            *delivered.entry(*minute).or_default() += u64::from(*events);
        }
        let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
        for count in counts.iter().filter(|count| (from..to).contains(&count.minute_ms)) {
            let expected = expected.entry(align_down(count.minute_ms, MINUTE_MS)).or_default();
            *expected = expected.saturating_add(count.events);
        }
        // The metric may count an event in a neighbouring minute: a surplus there makes up for what is missing here.
        let mut surplus: BTreeMap<i64, u64> = BTreeMap::new();
        for (&minute, &events) in delivered.range(from..to) {
            surplus.insert(minute, events.saturating_sub(expected.get(&minute).copied().unwrap_or(0)));
        }
        for (&minute, &expected) in &expected {
            let had = delivered.get(&minute).copied().unwrap_or(0);
            let mut missing = expected.saturating_sub(had);
            for neighbour in [minute - MINUTE_MS, minute + MINUTE_MS] {
                if let Some(spare) = surplus.get_mut(&neighbour) {
                    let lent = missing.min(*spare);
                    *spare -= lent;
                    missing -= lent;
                }
            }
            if missing > 0 {
                self.audit.missing.insert(minute, had.saturating_add(missing));
                let finding = Finding {
                    minute_ms: minute,
                    expected: had.saturating_add(missing),
                    delivered: had,
                    stage: Stage::Missing,
                };
                self.audit.findings.push(finding);
            }
        }
        self.recheck(now_ms);
        self.conclude_audit();
        self.forget_finished();
    }

    /// Minutes before this one are audited; `None` without an audit.
    pub fn audited_to(&self) -> Option<i64> {
        self.audit.audited_to()
    }

    /// No audit from now on: the metric cannot be had.
    pub fn stop_audit(&mut self) {
        self.audit.next = None;
        self.audit.missing.clear();
        self.forget_finished();
    }

    /// What audits found since this was asked last.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.audit.findings)
    }

    pub(super) fn recheck(&mut self, now_ms: i64) {
        let reach = self.rules.reach_ms();
        let mut again = Vec::new();
        for slice in self.slices.values_mut().filter(|slice| !slice.reading && slice.due.is_none()) {
            let mut minutes = Minutes::default();
            for &minute in self
                .audit
                .missing
                .range(slice.start - AHEAD_MS - MINUTE_MS..slice.end + reach)
                .map(|(minute, _)| minute)
            {
                minutes.add(minute, 0);
            }
            if !minutes.0.is_empty() {
                slice.recheck = Recheck::Count(minutes);
                again.push(slice.start);
            }
        }
        for start in again {
            self.schedule(start, now_ms);
        }
    }

    /// A slice was read again for an audit. Where it held more events of a minute than were delivered, the ledger does
    /// not know which were missing, and emits all of that minute again. The sink recognises the others by their ids.
    pub(super) fn settle_recheck(&mut self, start: i64) {
        let Some(slice) = self.slices.get_mut(&start) else { return };
        let facts = &mut slice.facts;
        match std::mem::take(&mut slice.recheck) {
            Recheck::No => {}
            Recheck::Count(found) => {
                let mut short = Minutes::default();
                for (minute, _) in
                    found.0.into_iter().filter(|&(minute, events)| events > facts.minutes.of(minute))
                {
                    let known = facts.ids.iter().filter(|&key| minute_of(key) == minute).count() as u32;
                    self.counts.resent += u64::from(facts.minutes.of(minute).saturating_sub(known));
                    short.add(minute, known);
                }
                if !short.0.is_empty() {
                    slice.recheck = Recheck::Admit(short);
                }
            }
            Recheck::Admit(delivered) => {
                for (minute, events) in delivered.0 {
                    facts.minutes.set(minute, events);
                }
            }
        }
    }

    /// Says what became of missing events once all slices have been read again.
    pub(super) fn conclude_audit(&mut self) {
        if self.audit.missing.is_empty() || self.slices.values().any(|slice| slice.recheck != Recheck::No) {
            return;
        }
        for (minute_ms, expected) in std::mem::take(&mut self.audit.missing) {
            let delivered =
                self.slices.values().map(|slice| u64::from(slice.facts.minutes.of(minute_ms))).sum();
            let stage = if delivered >= expected { Stage::Recovered } else { Stage::Lost };
            self.audit.findings.push(Finding { minute_ms, expected, delivered, stage });
        }
        self.changes.state();
    }
}
