//! A slice: a stretch of event time, and what is known of it.

use flowstone_aws::EventKey;

use super::ids::Ids;
use super::rule::{Rule, broken};
use super::schedule::{Rules, align_down};

/// A minute in milliseconds: what the audit counts by.
pub const MINUTE_MS: i64 = 60_000;

/// A stretch of event time and what was delivered of it.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// First millisecond.
    pub(super) start: i64,
    /// The millisecond behind the last one.
    pub(super) end: i64,
    /// What is written to the checkpoint.
    pub(super) facts: Facts,
    /// When to read it next; `None` while it is being read and when it never is again.
    pub(super) due: Option<i64>,
    /// Being read.
    pub(super) reading: bool,
    /// What an audit wants of the next read.
    pub(super) recheck: Recheck,
    /// Reads that were given up in a row, and until when it is left alone for that.
    pub(super) given_up: u32,
    pub(super) not_before: i64,
}

/// What is known of a slice, as the checkpoint keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// How often it was read whole.
    pub scans: u32,
    /// All events that were visible at this time of the service's clock are delivered.
    pub watermark: Option<i64>,
    /// `ids` has every delivered event. Otherwise it has those that the ingestion rule does not cover: events ingested
    /// after the watermark minus the visibility margin.
    pub exact: bool,
    /// Past the late window: only sweeps read it.
    pub sealed: bool,
    /// How often the seal was put off because events still came.
    pub put_off: u8,
    /// Events delivered.
    pub ids: Ids,
    /// Events delivered by ingestion minute.
    pub minutes: Minutes,
}

/// Numbers of events by ingestion minute, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minutes(pub Vec<(i64, u32)>);

/// What an audit wants of the next read of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Recheck {
    /// Nothing.
    #[default]
    No,
    /// Count the events of these ingestion minutes, delivered or not.
    Count(Minutes),
    /// Deliver all events of these ingestion minutes again: some were never delivered, and nobody knows which. Counts
    /// the events that are known by their ids or were delivered since. The slice's own count and the checkpoint change
    /// once all of a minute are delivered.
    Admit(Minutes),
}

impl Slice {
    /// A slice of which nothing is known.
    pub(super) fn new(start: i64, end: i64, exact: bool) -> Self {
        let facts = Facts { exact, ..Facts::default() };
        Self {
            start,
            end,
            facts,
            due: None,
            reading: false,
            recheck: Recheck::No,
            given_up: 0,
            not_before: i64::MIN,
        }
    }

    /// Whether nothing is known of it, and no read is going on.
    pub(super) fn is_untouched(&self) -> bool {
        let Self { facts, reading, recheck, .. } = self;
        let unknown = facts.scans == 0 && facts.ids.is_empty() && facts.minutes.0.is_empty();
        unknown && !reading && *recheck == Recheck::No
    }

    /// Whether the event was delivered: its id is known, or the ingestion rule covers it.
    pub(super) fn has(&self, key: EventKey, rules: &Rules) -> bool {
        if self.facts.ids.contains(key) && !broken(Rule::DeliveredIsKnown) {
            return true;
        }
        if self.facts.exact {
            return false;
        }
        if self.admits(key) {
            return false;
        }
        let margin = if broken(Rule::IngestionRuleKeepsMargin) { 0 } else { rules.visibility_margin_ms };
        self.facts.watermark.is_some_and(|watermark| key.ingestion() <= watermark - margin)
    }

    /// Whether the event may be one that an audit missed.
    pub(super) fn admits(&self, key: EventKey) -> bool {
        matches!(&self.recheck, Recheck::Admit(minutes) if minutes.contains(minute_of(key)))
    }

    /// Notes that these events are delivered.
    pub(super) fn delivered(&mut self, keys: &[EventKey]) {
        let Self { facts, recheck, .. } = self;
        for &key in keys.iter().filter(|&&key| !facts.ids.contains(key)) {
            let minute = minute_of(key);
            match recheck {
                Recheck::Admit(minutes) if minutes.contains(minute) => minutes.add(minute, 1),
                _ => facts.minutes.add(minute, 1),
            }
        }
        facts.ids.extend(keys.iter().copied());
    }

    /// Forgets the ids that the ingestion rule covers.
    pub(super) fn prune(&mut self, rules: &Rules) {
        let margin = if broken(Rule::YoungIdsAreKept) { 0 } else { rules.visibility_margin_ms };
        match self.facts.watermark {
            _ if self.facts.exact => {}
            Some(watermark) => self.facts.ids.keep_younger_than(watermark - margin),
            None => {}
        }
    }

    /// Events delivered.
    pub(super) fn events(&self) -> u64 {
        self.facts.minutes.0.iter().map(|(_, events)| u64::from(*events)).sum()
    }
}

impl Minutes {
    /// Adds events to a minute.
    pub fn add(&mut self, minute: i64, events: u32) {
        match self.0.binary_search_by_key(&minute, |entry| entry.0) {
            Ok(at) => self.0[at].1 += events,
            Err(at) => self.0.insert(at, (minute, events)),
        }
    }

    /// Whether the minute is among them, be it without events.
    pub fn contains(&self, minute: i64) -> bool {
        self.0.binary_search_by_key(&minute, |entry| entry.0).is_ok()
    }

    /// The events of a minute.
    pub fn of(&self, minute: i64) -> u32 {
        self.0.binary_search_by_key(&minute, |entry| entry.0).map_or(0, |at| self.0[at].1)
    }

    /// Sets the events of a minute.
    pub fn set(&mut self, minute: i64, events: u32) {
        self.0.retain(|entry| entry.0 != minute);
        self.add(minute, events);
    }
}

/// The minute in which CloudWatch ingested the event.
pub(super) fn minute_of(key: EventKey) -> i64 {
    align_down(key.ingestion(), MINUTE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ingestion: i64, request: u64) -> EventKey {
        EventKey::new(1000, ingestion, request, 0)
    }

    #[test]
    fn an_exact_slice_knows_events_by_their_ids_alone() {
        let (mut slice, rules) = (Slice::new(0, 60_000, true), Rules::default());
        slice.facts.watermark = Some(10_000_000);
        slice.delivered(&[key(70_000, 1)]);
        assert!(slice.has(key(70_000, 1), &rules));
        assert!(!slice.has(key(70_000, 2), &rules), "however long ago it was ingested");
    }

    #[test]
    fn without_exact_ids_the_ingestion_rule_covers_what_was_visible() {
        let (mut slice, rules) = (Slice::new(0, 60_000, false), Rules::default());
        slice.delivered(&[key(700_000, 1), key(700_001, 2)]);
        slice.facts.watermark = Some(1_000_000);
        slice.prune(&rules);
        assert_eq!(slice.facts.ids.len(), 1);
        for (key, known) in [(key(700_000, 9), true), (key(700_001, 9), false), (key(700_001, 2), true)] {
            assert_eq!(slice.has(key, &rules), known, "{key:?}");
        }
        slice.recheck = Recheck::Admit(Minutes(vec![(660_000, 1)]));
        assert!(!slice.has(key(700_000, 9), &rules) && slice.has(key(700_001, 2), &rules));
        slice.delivered(&[key(700_000, 9)]);
        assert_eq!(slice.recheck, Recheck::Admit(Minutes(vec![(660_000, 2)])));
        assert_eq!(
            slice.facts.minutes.of(660_000),
            2,
            "as it was until all of the minute were delivered again"
        );
    }

    #[test]
    fn deliveries_are_counted_by_ingestion_minute_and_once() {
        let mut slice = Slice::new(0, 60_000, true);
        slice.delivered(&[key(60_000, 1), key(119_999, 2), key(120_000, 3)]);
        slice.delivered(&[key(60_000, 1), key(60_000, 4)]);
        assert_eq!(slice.facts.minutes, Minutes(vec![(60_000, 3), (120_000, 1)]));
        assert_eq!(slice.events(), 4);
    }
}
