//! The events of a simulated log group: kept in memory, or made anew block by block so that a day of a busy group
//! needs no gigabyte.

use std::collections::VecDeque;
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
pub(super) type MakeBlock = dyn Fn(i64) -> Vec<SimulatedEvent> + Send + Sync;

/// Where a group's events come from.
pub(super) enum Events {
    Kept {
        events: Vec<SimulatedEvent>,
        sorted: bool,
    },
    Made {
        from_ms: i64,
        to_ms: i64,
        block_ms: i64,
        make: Arc<MakeBlock>,
        recent: VecDeque<(i64, Arc<Vec<SimulatedEvent>>)>,
    },
}

/// Blocks that stay in memory: pages of one scan fall into the same or the next block.
const RECENT_BLOCKS: usize = 16;

impl Events {
    pub(super) fn kept() -> Self {
        Self::Kept { events: Vec::new(), sorted: true }
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
            Self::Made { from_ms, to_ms, block_ms, make, recent } => {
                let first = after.map_or(start_ms, EventKey::timestamp).max(*from_ms);
                let mut block = first - (first - *from_ms).rem_euclid(*block_ms);
                while block < *to_ms && block <= end_ms {
                    let events = match recent.iter().find(|(start, _)| *start == block) {
                        Some((_, events)) => Arc::clone(events),
                        None => {
                            let events = Arc::new(make(block));
                            debug_assert!(
                                events.is_sorted_by_key(|event| event.key),
                                "a block is sorted by key"
                            );
                            recent.push_back((block, Arc::clone(&events)));
                            if recent.len() > RECENT_BLOCKS {
                                recent.pop_front();
                            }
                            events
                        }
                    };
                    for event in
                        events[begin(&events)..].iter().take_while(|event| event.key.timestamp() <= end_ms)
                    {
                        if each(event).is_break() {
                            return;
                        }
                    }
                    block += *block_ms;
                }
            }
        }
    }
}
