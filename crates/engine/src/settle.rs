//! What became of a source's batches: positions commit in order within a partition, and only over settled ones.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use flowstone_core::{Ack, AckOutcome, Position};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::budget::{Budget, Permit};

/// Where the acks of one source report; read by its task. Never longer than the batches in flight.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    outcomes: Mutex<Vec<(u64, AckOutcome)>>,
    arrived: Notify,
}

/// The batches of one source that are in flight, partition by partition.
#[derive(Debug)]
pub(crate) struct Tracker {
    inbox: Arc<Inbox>,
    next_token: u64,
    /// The partition of each batch and when it set out. Tokens ascend: the first is the oldest.
    departed: BTreeMap<u64, (Arc<str>, Instant)>,
    partitions: HashMap<Arc<str>, VecDeque<InFlight>>,
    due: HashMap<Arc<str>, u64>,
}

#[derive(Debug)]
struct InFlight {
    token: u64,
    value: u64,
    settled: bool,
}

/// The bookkeeping of acknowledgements without a topology around it, for the bench.
#[doc(hidden)]
#[derive(Debug)]
pub struct AckRound {
    tracker: Tracker,
    budget: Arc<Budget>,
    partition: Arc<str>,
    position: u64,
}

// === impl AckRound ===

impl AckRound {
    #[expect(clippy::new_without_default, reason = "of use to the bench alone")]
    pub fn new() -> Self {
        let budget = Budget::new(1 << 30, flowstone_core::Metrics::new());
        Self { tracker: Tracker::new(), budget, partition: "bench".into(), position: 0 }
    }

    /// So many batches depart, are shared by so many sinks and resolved by each; how many positions were passed.
    pub fn run(&mut self, batches: usize, sinks: usize) -> usize {
        let before = self.position;
        let mut handles = Vec::with_capacity(batches * sinks);
        for _ in 0..batches {
            self.position += 1;
            let position = Position { partition: Arc::clone(&self.partition), value: self.position };
            let permit = self.budget.try_acquire(1 << 10).expect("as much as is asked for");
            let ack = self.tracker.depart(position, Arc::new(permit));
            handles.extend((1..sinks).map(|_| ack.clone()));
            handles.push(ack);
        }
        handles.into_iter().for_each(Ack::resolve);
        assert!(self.tracker.note_arrivals().is_empty(), "nothing was lost");
        let due = self.tracker.take_due();
        due.first().map_or(0, |position| (position.value - before) as usize)
    }
}

// === impl Tracker ===

impl Tracker {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Arc::default(),
            next_token: 0,
            departed: BTreeMap::new(),
            partitions: HashMap::new(),
            due: HashMap::new(),
        }
    }

    /// A batch up to `position` sets out; the handle says what became of it.
    pub(crate) fn depart(&mut self, position: Position, permit: Arc<Permit>) -> Ack {
        let token = self.next_token;
        self.next_token += 1;
        self.departed.insert(token, (Arc::clone(&position.partition), Instant::now()));
        let flight = InFlight { token, value: position.value, settled: false };
        self.partitions.entry(position.partition).or_default().push_back(flight);
        let inbox = Arc::clone(&self.inbox);
        Ack::new(move |outcome| inbox.push(token, outcome), permit)
    }

    /// Waits until some batch has ended.
    pub(crate) async fn arrival(&self) {
        self.inbox.arrived.notified().await;
    }

    /// Takes note of all that has ended and gives the stretches that must be read again, first first.
    #[must_use = "a stretch that is not read again is lost"]
    pub(crate) fn note_arrivals(&mut self) -> Vec<Position> {
        let mut again = Vec::new();
        for (token, outcome) in self.inbox.take() {
            // Unknown tokens are those of a stretch that is being read again already.
            let Some((partition, _)) = self.departed.get(&token).cloned() else { continue };
            let Some(flights) = self.partitions.get_mut(&partition) else { continue };
            let Some(at) = flights.iter().position(|flight| flight.token == token) else { continue };
            match outcome {
                AckOutcome::Settled => {
                    flights[at].settled = true;
                    while flights.front().is_some_and(|first| first.settled) {
                        if let Some(first) = flights.pop_front() {
                            self.departed.remove(&first.token);
                            self.due.insert(Arc::clone(&partition), first.value);
                        }
                    }
                }
                AckOutcome::Unresolved => {
                    let value = flights[at].value;
                    for flight in flights.drain(at..) {
                        self.departed.remove(&flight.token);
                    }
                    again.push(Position { partition: Arc::clone(&partition), value });
                }
            }
            if flights.is_empty() {
                self.partitions.remove(&partition);
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

    /// When the oldest batch set out that is in flight: it is the first of its partition, and so not settled.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.departed.first_key_value().map(|(_, (_, departed))| *departed)
    }

    /// How many batches are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.departed.len()
    }
}

// === impl Inbox ===

impl Inbox {
    fn push(&self, token: u64, outcome: AckOutcome) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((token, outcome));
        self.arrived.notify_one();
    }

    fn take(&self) -> Vec<(u64, AckOutcome)> {
        std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::Metrics;

    use super::*;

    async fn permit() -> Arc<Permit> {
        Arc::new(Budget::new(1, Metrics::new()).acquire(1).await)
    }

    fn at(partition: &str, value: u64) -> Position {
        Position { partition: partition.into(), value }
    }

    #[tokio::test]
    async fn a_position_commits_only_when_everything_before_it_is_settled() {
        let mut tracker = Tracker::new();
        let first = tracker.depart(at("a", 10), permit().await);
        let second = tracker.depart(at("a", 20), permit().await);
        let other = tracker.depart(at("b", 5), permit().await);
        second.resolve();
        other.resolve();
        assert!(tracker.note_arrivals().is_empty());
        assert_eq!(tracker.take_due(), [at("b", 5)]);
        first.resolve();
        assert!(tracker.note_arrivals().is_empty());
        assert_eq!(tracker.take_due(), [at("a", 20)]);
        assert_eq!(tracker.in_flight(), 0);
    }

    #[tokio::test]
    async fn an_unresolved_stretch_is_read_again_with_all_that_follows_it() {
        let mut tracker = Tracker::new();
        let first = tracker.depart(at("a", 10), permit().await);
        let second = tracker.depart(at("a", 20), permit().await);
        let third = tracker.depart(at("a", 30), permit().await);
        drop(second);
        assert_eq!(tracker.note_arrivals(), [at("a", 20)]);
        // The third was read after the second: it is given out again, and what becomes of it now does not count.
        third.resolve();
        first.resolve();
        assert!(tracker.note_arrivals().is_empty());
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
            handles.push(tracker.depart(position, permit().await));
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        let mut settle = |index: usize| {
            handles.remove(index).resolve();
            assert!(tracker.note_arrivals().is_empty());
            tracker.oldest().map(|oldest| (oldest - began).as_secs())
        };
        assert_eq!(settle(1), Some(0), "the first of the other partition is in flight still");
        assert_eq!(settle(0), Some(2));
        assert_eq!(settle(0), None);
    }

    #[tokio::test]
    async fn a_failed_commit_never_moves_a_position_back() {
        let mut tracker = Tracker::new();
        tracker.depart(at("a", 10), permit().await).resolve();
        assert!(tracker.note_arrivals().is_empty());
        let failed = tracker.take_due();
        tracker.depart(at("a", 20), permit().await).resolve();
        assert!(tracker.note_arrivals().is_empty());
        tracker.put_back(failed);
        assert_eq!(tracker.take_due(), [at("a", 20)]);
    }
}
