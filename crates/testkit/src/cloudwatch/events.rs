//! The events of a simulated log group: kept in memory, or made anew block by block so that a day of a busy group
//! needs no gigabyte.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use flowstone_aws::EventKey;

/// An event as the simulation keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedEvent {
    /// Its id, which holds its time and its ingestion time.
    pub key: EventKey,
    /// From when on `FilterLogEvents` returns it, in milliseconds since the epoch.
    pub visible_ms: i64,
    /// Which stream of its group.
    pub stream: u32,
    /// Its text; `None` makes a flow-log line out of the key.
    pub message: Option<Box<str>>,
}

/// Makes all events whose time lies in the block that begins at the given millisecond, sorted by key.
pub type MakeBlock = dyn Fn(i64) -> Vec<SimulatedEvent> + Send + Sync;

/// Events that are made when they are read, a block of event time at once.
#[derive(Clone)]
pub struct MadeEvents {
    /// Where event time begins, in milliseconds since the epoch.
    pub from_ms: i64,
    /// Where it ends (exclusive).
    pub to_ms: i64,
    /// How long a block is.
    pub block_ms: i64,
    /// No event is taken in later than this after its time, and none is taken in or seen before it.
    pub latest_ms: i64,
    /// Makes a block; twice the same events for the same block.
    pub make: Arc<MakeBlock>,
}

/// Where a group's events come from.
pub(super) enum Events {
    Kept { events: Vec<SimulatedEvent>, sorted: bool },
    Made(Made),
}

/// Made events, and what is known of the blocks that were made before.
pub(super) struct Made {
    about: MadeEvents,
    recent: VecDeque<(i64, Arc<Vec<SimulatedEvent>>)>,
    tallies: BTreeMap<i64, Tally>,
}

/// How many events a block has, in all and by the minute in which they were taken in.
struct Tally {
    events: u64,
    minutes: Box<[(i64, u32)]>,
}

/// Blocks that stay in memory: pages of one scan fall into the same or the next block.
const RECENT_BLOCKS: usize = 16;

const MINUTE_MS: i64 = 60_000;

// === impl Events ===

impl Events {
    pub(super) fn kept() -> Self {
        Self::Kept { events: Vec::new(), sorted: true }
    }

    pub(super) fn made(about: MadeEvents) -> Self {
        Self::Made(Made { about, recent: VecDeque::new(), tallies: BTreeMap::new() })
    }

    /// Events with a time after this are not seen yet at `now_ms`: a group may have events to come without end.
    pub(super) fn seen_until(&self, now_ms: i64) -> i64 {
        match self {
            Self::Kept { .. } => i64::MAX,
            Self::Made(_) => now_ms,
        }
    }

    pub(super) fn put(&mut self, more: impl IntoIterator<Item = SimulatedEvent>) {
        let Self::Kept { events, sorted } = self else {
            unreachable!("a group is either filled by `put` or made by a function");
        };
        events.extend(more);
        *sorted = false;
    }

    /// Visits the events from `start_ms` to `end_ms` (inclusive) that come after `after`, in order, until told to stop.
    pub(super) fn visit(
        &mut self,
        start_ms: i64,
        end_ms: i64,
        after: Option<EventKey>,
        mut each: impl FnMut(&SimulatedEvent) -> ControlFlow<()>,
    ) {
        let start = EventKey::new(start_ms, 0, 0, 0);
        let begin = |events: &[SimulatedEvent]| match after {
            Some(after) => events.partition_point(|event| event.key <= after),
            None => events.partition_point(|event| event.key < start),
        };
        match self {
            Self::Kept { events, sorted } => {
                if !*sorted {
                    events.sort_unstable_by_key(|event| event.key);
                    *sorted = true;
                }
                for event in
                    events[begin(events)..].iter().take_while(|event| event.key.timestamp() <= end_ms)
                {
                    if each(event).is_break() {
                        return;
                    }
                }
            }
            Self::Made(made) => {
                let first = after.map_or(start_ms, EventKey::timestamp).max(made.about.from_ms);
                let mut block = made.block_of(first);
                while block < made.about.to_ms && block <= end_ms {
                    let events = made.block(block);
                    for event in
                        events[begin(&events)..].iter().take_while(|event| event.key.timestamp() <= end_ms)
                    {
                        if each(event).is_break() {
                            return;
                        }
                    }
                    block += made.about.block_ms;
                }
            }
        }
    }

    /// How many events have a time from `start_ms` to `end_ms` (inclusive).
    pub(super) fn count(&mut self, start_ms: i64, end_ms: i64) -> u64 {
        let mut count = 0;
        let mut visited = |events: &mut Self, from: i64, to: i64| {
            events.visit(from, to, None, |_| {
                count += 1;
                ControlFlow::Continue(())
            });
        };
        let Self::Made(made) = self else {
            visited(self, start_ms, end_ms);
            return count;
        };
        let MadeEvents { from_ms, to_ms, block_ms, .. } = made.about;
        let (start_ms, end_ms) = (start_ms.max(from_ms), end_ms.min(to_ms - 1));
        let mut whole = 0;
        let mut block = made.block_of(start_ms);
        while block <= end_ms {
            let last = block + block_ms - 1;
            if start_ms <= block && last <= end_ms {
                let Self::Made(made) = self else { unreachable!("it was made events above") };
                whole += made.tally(block).events;
            } else {
                visited(self, start_ms.max(block), end_ms.min(last));
            }
            block += block_ms;
        }
        count + whole
    }

    /// How many events were taken in within each minute that begins in `from_ms..to_ms`.
    pub(super) fn taken_in(&mut self, from_ms: i64, to_ms: i64) -> BTreeMap<i64, u64> {
        let mut minutes: BTreeMap<i64, u64> = BTreeMap::new();
        let mut add = |minute: i64, events: u64| {
            if (from_ms..to_ms).contains(&minute) {
                *minutes.entry(minute).or_default() += events;
            }
        };
        match self {
            // An event may be up to 14 days older than its ingestion, and up to two hours younger.
            Self::Kept { .. } => {
                self.visit(from_ms - 14 * 86_400_000, to_ms + 2 * 3_600_000, None, |event| {
                    add(minute_of(event), 1);
                    ControlFlow::Continue(())
                })
            }
            Self::Made(made) => {
                let MadeEvents { from_ms: begin, to_ms: end, block_ms, latest_ms, .. } = made.about;
                let mut block = made.block_of((from_ms - latest_ms).max(begin));
                while block < end.min(to_ms.saturating_add(MINUTE_MS)) {
                    made.tally(block).minutes.iter().for_each(|&(minute, events)| add(minute, events.into()));
                    block += block_ms;
                }
            }
        }
        minutes
    }
}

// === impl Made ===

impl Made {
    /// The beginning of the block in which an instant lies.
    fn block_of(&self, ms: i64) -> i64 {
        ms - (ms - self.about.from_ms).rem_euclid(self.about.block_ms)
    }

    fn block(&mut self, block: i64) -> Arc<Vec<SimulatedEvent>> {
        if let Some((_, events)) = self.recent.iter().find(|(start, _)| *start == block) {
            return Arc::clone(events);
        }
        let events = Arc::new((self.about.make)(block));
        debug_assert!(events.is_sorted_by_key(|event| event.key), "a block is sorted by key");
        self.recent.push_back((block, Arc::clone(&events)));
        if self.recent.len() > RECENT_BLOCKS {
            self.recent.pop_front();
        }
        events
    }

    /// Tallies stay: a day's take some hundred kilobytes, and audits ask for each of them many times.
    fn tally(&mut self, block: i64) -> &Tally {
        if !self.tallies.contains_key(&block) {
            let events = self.block(block);
            let mut minutes: BTreeMap<i64, u32> = BTreeMap::new();
            for event in events.iter() {
                *minutes.entry(minute_of(event)).or_default() += 1;
            }
            let tally = Tally { events: events.len() as u64, minutes: minutes.into_iter().collect() };
            self.tallies.insert(block, tally);
        }
        &self.tallies[&block]
    }
}

/// The minute in which an event was taken in.
fn minute_of(event: &SimulatedEvent) -> i64 {
    event.key.ingestion().div_euclid(MINUTE_MS) * MINUTE_MS
}
