//! What `benches/` measures and no public item reaches.

use std::sync::Arc;

use flowstone_core::{Ack, Position};

use crate::budget::Budget;
use crate::settle::Tracker;

/// The bookkeeping of acknowledgements without a topology around it.
#[derive(Debug)]
pub struct AckBench {
    tracker: Tracker,
    budget: Arc<Budget>,
    partition: Arc<str>,
    position: u64,
}

// === impl AckBench ===

impl AckBench {
    #[expect(clippy::new_without_default, reason = "of use to the bench alone")]
    pub fn new() -> Self {
        let budget = Budget::new(1 << 30, flowstone_core::Metrics::new());
        Self { tracker: Tracker::new(), budget, partition: "bench".into(), position: 0 }
    }

    /// So many batches are registered, are shared by so many sinks and resolved by each; how many positions were passed.
    pub fn run(&mut self, batches: usize, sinks: usize) -> usize {
        let before = self.position;
        let mut handles = Vec::with_capacity(batches * sinks);
        for _ in 0..batches {
            let from = self.position;
            self.position += 1;
            let position = Position { partition: Arc::clone(&self.partition), value: self.position };
            let permit = self.budget.try_acquire(1 << 10).expect("as much as is asked for");
            let (_, ack) = self.tracker.register(from, position, Arc::new(permit)).expect("it fits");
            handles.extend((1..sinks).map(|_| ack.clone()));
            handles.push(ack);
        }
        handles.into_iter().for_each(Ack::resolve);
        assert!(self.tracker.on_done().is_empty(), "nothing was lost");
        let due = self.tracker.take_due();
        due.first().map_or(0, |position| (position.value - before) as usize)
    }
}
