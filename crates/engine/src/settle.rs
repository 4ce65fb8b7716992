//! What became of a source's batches: positions commit in order within a partition, and only over settled ones.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use flowstone_core::{Ack, AckOutcome, Position};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::budget::Permit;

/// Where the acks of one source report; read by its task. Never longer than the batches in flight.
#[derive(Debug, Default)]
struct Inbox {
    outcomes: Mutex<Vec<(u64, AckOutcome)>>,
    done: Notify,
}

/// The batches of one source that are in flight, partition by partition.
#[derive(Debug)]
pub(crate) struct Tracker {
    inbox: Arc<Inbox>,
    next_number: u64,
    /// The partition of each batch and since when it is in flight. Numbers ascend: the first is the oldest.
    in_flight: BTreeMap<u64, (Arc<str>, Instant)>,
    partitions: HashMap<Arc<str>, Partition>,
    /// With so many partitions those are forgotten of which nothing is in flight.
    most_partitions: usize,
    due: HashMap<Arc<str>, u64>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Up to where it was read.
    at: u64,
    flights: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    from: u64,
    value: u64,
    settled: bool,
}

/// A batch does not begin where its partition stands, or does not end behind that: a bug of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Up to where the partition was read.
    pub(crate) at: u64,
}

/// Partitions that are remembered at least, for a check of their next batch.
const FORGET_ABOVE: usize = 1024;

// === impl Tracker ===

impl Tracker {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Arc::default(),
            next_number: 0,
            in_flight: BTreeMap::new(),
            partitions: HashMap::new(),
            most_partitions: FORGET_ABOVE,
            due: HashMap::new(),
        }
    }

    /// Numbers a batch from `from` up to `position`; its ack says what became of it. Of a partition that is not known the
    /// source alone knows where it stands.
    pub(crate) fn register(
        &mut self,
        from: u64,
        position: Position,
        permit: Arc<Permit>,
    ) -> Result<(u64, Ack), Misfit> {
        self.forget_partitions();
        let name = Arc::clone(&position.partition);
        let partition = self.partitions.entry(position.partition);
        let partition = partition.or_insert_with(|| Partition { at: from, flights: VecDeque::new() });
        if partition.at != from || position.value <= from {
            return Err(Misfit { at: partition.at });
        }
        partition.at = position.value;
        let number = self.next_number;
        self.next_number += 1;
        partition.flights.push_back(InFlight { number, from, value: position.value, settled: false });
        self.in_flight.insert(number, (name, Instant::now()));
        let inbox = Arc::clone(&self.inbox);
        Ok((number, Ack::new(move |outcome| inbox.push(number, outcome), permit)))
    }

    /// Waits until some batch has ended.
    pub(crate) async fn any_done(&self) {
        self.inbox.done.notified().await;
    }

    /// Takes note of all that has ended and gives the stretches that must be read again, first first.
    #[must_use = "a stretch that is not read again is lost"]
    pub(crate) fn on_done(&mut self) -> Vec<Position> {
        let mut again = Vec::new();
        for (number, outcome) in self.inbox.take() {
            // Unknown numbers are those of a stretch that is being read again already.
            let Some((partition, _)) = self.in_flight.get(&number).cloned() else { continue };
            let Some(Partition { at: stands, flights }) = self.partitions.get_mut(&partition) else {
                continue;
            };
            let Some(at) = flights.iter().position(|flight| flight.number == number) else { continue };
            match outcome {
                AckOutcome::Settled => {
                    flights[at].settled = true;
                    while flights.front().is_some_and(|first| first.settled) {
                        if let Some(first) = flights.pop_front() {
                            self.in_flight.remove(&first.number);
                            self.due.insert(Arc::clone(&partition), first.value);
                        }
                    }
                }
                AckOutcome::Unresolved => {
                    let value = flights[at].value;
                    *stands = flights[at].from;
                    for flight in flights.drain(at..) {
                        self.in_flight.remove(&flight.number);
                    }
                    again.push(Position { partition: Arc::clone(&partition), value });
                }
            }
        }
        again
    }

    /// Whether there is something to commit.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The positions up to which all is delivered, one per partition, and forgets them.
    pub(crate) fn take_due(&mut self) -> Vec<Position> {
        let due = self.due.drain().map(|(partition, value)| Position { partition, value });
        let mut due: Vec<Position> = due.collect();
        due.sort_by(|a, b| a.partition.cmp(&b.partition));
        due
    }

    /// A commit failed: its positions are due again, unless a later one is by now.
    pub(crate) fn put_back(&mut self, positions: Vec<Position>) {
        for position in positions {
            self.due.entry(position.partition).or_insert(position.value);
        }
    }

    /// Since when the oldest batch is in flight: it is the first of its partition, and so not settled.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|(_, (_, since))| *since)
    }

    /// How many batches are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Files are rotated and scans end: partitions come without end.
    fn forget_partitions(&mut self) {
        if self.partitions.len() >= self.most_partitions {
            self.partitions.retain(|_, partition| !partition.flights.is_empty());
            self.most_partitions = FORGET_ABOVE + 2 * self.partitions.len();
        }
    }
}

// === impl Inbox ===

impl Inbox {
    fn push(&self, number: u64, outcome: AckOutcome) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((number, outcome));
        self.done.notify_one();
    }

    fn take(&self) -> Vec<(u64, AckOutcome)> {
        std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::Metrics;

    use super::*;
    use crate::budget::Budget;

    async fn permit() -> Arc<Permit> {
        Arc::new(Budget::new(1, Metrics::new()).acquire(1).await)
    }

    fn at(partition: &str, value: u64) -> Position {
        Position { partition: partition.into(), value }
    }

    /// The batch of ten (of `b`, five) that ends there.
    async fn register(tracker: &mut Tracker, position: Position) -> Ack {
        let length = if &*position.partition == "a" { 10 } else { 5 };
        tracker.register(position.value - length, position, permit().await).unwrap().1
    }

    #[tokio::test]
    async fn a_position_commits_only_when_everything_before_it_is_settled() {
        let mut tracker = Tracker::new();
        let first = register(&mut tracker, at("a", 10)).await;
        let second = register(&mut tracker, at("a", 20)).await;
        let other = register(&mut tracker, at("b", 5)).await;
        second.resolve();
        other.resolve();
        assert!(tracker.on_done().is_empty());
        assert_eq!(tracker.take_due(), [at("b", 5)]);
        first.resolve();
        assert!(tracker.on_done().is_empty());
        assert_eq!(tracker.take_due(), [at("a", 20)]);
        assert_eq!(tracker.in_flight(), 0);
    }

    #[tokio::test]
    async fn an_unresolved_stretch_is_read_again_with_all_that_follows_it() {
        let mut tracker = Tracker::new();
        let first = register(&mut tracker, at("a", 10)).await;
        let second = register(&mut tracker, at("a", 20)).await;
        let third = register(&mut tracker, at("a", 30)).await;
        drop(second);
        assert_eq!(tracker.on_done(), [at("a", 20)]);
        // The third was read after the second: it is given out again, and what becomes of it now does not count.
        third.resolve();
        first.resolve();
        assert!(tracker.on_done().is_empty());
        assert_eq!(tracker.take_due(), [at("a", 10)]);
        assert_eq!(tracker.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_batch_in_flight_is_the_oldest_over_all_partitions() {
        let mut tracker = Tracker::new();
        assert_eq!(tracker.oldest(), None);
        let began = Instant::now();
        let mut handles = Vec::new();
        for position in [at("a", 10), at("b", 5), at("a", 20)] {
            handles.push(register(&mut tracker, position).await);
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        let mut settle = |index: usize| {
            handles.remove(index).resolve();
            assert!(tracker.on_done().is_empty());
            tracker.oldest().map(|oldest| (oldest - began).as_secs())
        };
        assert_eq!(settle(1), Some(0), "the first of the other partition is in flight still");
        assert_eq!(settle(0), Some(2));
        assert_eq!(settle(0), None);
    }

    #[tokio::test]
    async fn a_failed_commit_never_moves_a_position_back() {
        let mut tracker = Tracker::new();
        register(&mut tracker, at("a", 10)).await.resolve();
        assert!(tracker.on_done().is_empty());
        let failed = tracker.take_due();
        register(&mut tracker, at("a", 20)).await.resolve();
        assert!(tracker.on_done().is_empty());
        tracker.put_back(failed);
        assert_eq!(tracker.take_due(), [at("a", 20)]);
    }

    #[tokio::test]
    async fn a_batch_that_does_not_begin_where_its_partition_stands_is_refused() {
        let mut tracker = Tracker::new();
        let first = register(&mut tracker, at("a", 20)).await;
        for (from, to, what) in [
            (30, 40, "a gap"),
            (10, 20, "again, unasked"),
            (15, 25, "an overlap"),
            (20, 20, "nothing"),
            (20, 10, "back"),
        ] {
            let refused = tracker.register(from, at("a", to), permit().await).err();
            assert_eq!(refused, Some(Misfit { at: 20 }), "{what}");
        }
        first.resolve();
        assert!(tracker.on_done().is_empty());
        assert_eq!(tracker.take_due(), [at("a", 20)]);
        // Also where nothing is in flight, all is committed, and what was lost began elsewhere.
        assert!(tracker.register(30, at("a", 40), permit().await).is_err());
        drop(register(&mut tracker, at("a", 30)).await);
        assert_eq!(tracker.on_done(), [at("a", 30)]);
        assert_eq!(tracker.register(30, at("a", 40), permit().await).err(), Some(Misfit { at: 20 }));
        assert!(tracker.register(20, at("a", 40), permit().await).is_ok());
    }

    #[tokio::test]
    async fn partitions_come_and_go_and_few_are_remembered() {
        let mut tracker = Tracker::new();
        let kept = register(&mut tracker, at("a", 20)).await;
        for number in 0..3 * FORGET_ABOVE {
            register(&mut tracker, at(&format!("scan {number}"), 5)).await.resolve();
            assert!(tracker.on_done().is_empty());
        }
        assert!(tracker.partitions.len() <= FORGET_ABOVE + 2, "{}", tracker.partitions.len());
        assert!(tracker.register(30, at("a", 40), permit().await).is_err(), "of it something is in flight");
        kept.resolve();
    }
}
