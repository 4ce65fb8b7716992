//! Transforms: batches rewritten in place.

use crate::event::Batch;
use crate::{Clock, ComponentMetrics};

/// Rewrites batches. Runs on CPU threads, each with a fork of its own, and sees batches in any order: it carries
/// nothing from one batch to the next that changes what comes out.
pub trait Transform: Send {
    /// Named outputs beside the default one, as `NAME.output` in `inputs`; most transforms have none. Their order is
    /// the numbering of [`Batch::send_to`].
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Rewrites the active rows of the batch in place. A row it cannot process is rejected
    /// ([`Batch::reject`]), one that is not wanted discarded ([`Batch::discard`]), never silently dropped; one to
    /// which it did not apply is marked [`Batch::not_matched`]. Inactive rows stay byte for byte what they were.
    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>);

    /// Whether it takes `@timestamp` from the record itself, in every event that it does not reject or tag as failed
    /// (see [`Source::dates`](crate::Source::dates)).
    fn dates(&self) -> bool {
        false
    }

    /// Whether it may ever reject an event. Where it may, a `rejected` port that nobody reads is warned about.
    fn rejects(&self) -> bool {
        true
    }

    /// A copy for another worker thread.
    fn fork(&self) -> Box<dyn Transform>;
}

/// What a transform may ask while it runs.
pub struct TransformCx<'a> {
    metrics: &'a ComponentMetrics,
    clock: Clock,
}

impl<'a> TransformCx<'a> {
    /// For the engine and for tests.
    pub fn new(metrics: &'a ComponentMetrics, clock: Clock) -> Self {
        Self { metrics, clock }
    }

    /// The time in milliseconds since the epoch; a test may fix it.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The component's counters.
    pub fn metrics(&self) -> &ComponentMetrics {
        self.metrics
    }
}
