//! Acknowledgements: one handle per batch, cloned at each fan-out, failing closed.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a stretch of records ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Every row was delivered, rejected into a dead letter that was delivered, or discarded on purpose.
    Settled,
    /// A handle was dropped unresolved: something lost sight of rows. The source reads the stretch again.
    Unresolved,
}

type Notify = Box<dyn FnOnce(AckOutcome) + Send + Sync>;

/// The shared end of all handles of one batch. Lives until the last [`Ack`] is gone, then tells the source.
pub struct AckSlot {
    unresolved: AtomicBool,
    notify: Option<Notify>,
    /// What is to be returned when the batch is settled: its memory permit.
    _held: Box<dyn Any + Send + Sync>,
}

/// A claim on a batch: whoever holds it is responsible for rows of it.
///
/// There is no default success: a handle that is dropped without [`Ack::resolve`] makes the source read the batch
/// again.
#[must_use = "a dropped handle means that the batch is read again"]
pub struct Ack {
    slot: Option<Arc<AckSlot>>,
}

impl Ack {
    /// The first handle of a batch. `notify` runs once, when the last clone is gone; `held` is dropped with it.
    pub fn new(
        notify: impl FnOnce(AckOutcome) + Send + Sync + 'static,
        held: impl Any + Send + Sync,
    ) -> Self {
        let slot = AckSlot {
            unresolved: AtomicBool::new(false),
            notify: Some(Box::new(notify)),
            _held: Box::new(held),
        };
        Self { slot: Some(Arc::new(slot)) }
    }

    /// A handle that belongs to nothing, for tests and for rows made out of nothing.
    pub fn detached() -> Self {
        Self { slot: None }
    }

    /// This share of the batch is done: delivered, or discarded on purpose.
    pub fn resolve(mut self) {
        self.slot = None;
    }
}

impl Clone for Ack {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone() }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(slot) = &self.slot {
            slot.unresolved.store(true, Ordering::Release);
        }
    }
}

impl Drop for AckSlot {
    fn drop(&mut self) {
        let outcome = if *self.unresolved.get_mut() { AckOutcome::Unresolved } else { AckOutcome::Settled };
        if let Some(notify) = self.notify.take() {
            notify(outcome);
        }
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ack")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn ack() -> (Ack, Arc<Mutex<Vec<AckOutcome>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        (Ack::new(move |outcome| log.lock().unwrap().push(outcome), ()), seen)
    }

    #[test]
    fn the_last_handle_settles() {
        let (first, seen) = ack();
        let second = first.clone();
        first.resolve();
        assert!(seen.lock().unwrap().is_empty());
        second.resolve();
        assert_eq!(*seen.lock().unwrap(), [AckOutcome::Settled]);
    }

    #[test]
    fn a_batch_dropped_unresolved_is_replayed() {
        let (first, seen) = ack();
        let second = first.clone();
        drop(first);
        second.resolve();
        assert_eq!(*seen.lock().unwrap(), [AckOutcome::Unresolved]);
    }

    #[test]
    fn a_panic_while_a_handle_is_held_does_not_settle() {
        let (first, seen) = ack();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = first;
            panic!("a plugin's bug");
        }));
        assert!(panicked.is_err());
        assert_eq!(*seen.lock().unwrap(), [AckOutcome::Unresolved]);
    }
}
