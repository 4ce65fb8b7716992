//! The memory budget: bytes are taken before a source reads and given back when what was read is settled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flowstone_core::Metrics;
use tokio::sync::Notify;

/// One budget in bytes for everything in flight.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: Mutex<usize>,
    freed: Notify,
    short: Notify,
    waiting: AtomicUsize,
    metrics: Metrics,
}

/// A share of the budget; returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    bytes: Mutex<usize>,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limit: usize, metrics: Metrics) -> Arc<Self> {
        metrics.memory_budget.set(limit as i64);
        metrics.memory_used.set(0);
        Arc::new(Self {
            limit,
            used: Mutex::new(0),
            freed: Notify::new(),
            short: Notify::new(),
            waiting: AtomicUsize::new(0),
            metrics,
        })
    }

    /// Waits for `bytes`; more than the whole budget waits for all of it. Cancel-safe.
    pub(crate) async fn acquire(self: &Arc<Self>, bytes: usize) -> Permit {
        let bytes = bytes.min(self.limit);
        if let Some(permit) = self.try_acquire(bytes) {
            return permit;
        }
        let _waiting = Waiter::new(&self.waiting);
        self.short.notify_waiters();
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the second look, so that nothing freed in between goes unheard.
            freed.as_mut().enable();
            if let Some(permit) = self.try_acquire(bytes) {
                return permit;
            }
            freed.await;
        }
    }

    /// `bytes` if they are free now.
    pub(crate) fn try_acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if *used + bytes > self.limit {
            return None;
        }
        *used += bytes;
        self.metrics.memory_used.set(*used as i64);
        drop(used);
        Some(Permit { budget: Arc::clone(self), bytes: Mutex::new(bytes) })
    }

    /// `bytes` at once, even beyond the limit: for rows that are here already and change their form.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Permit {
        let permit = Permit { budget: Arc::clone(self), bytes: Mutex::new(0) };
        permit.resize(bytes);
        permit
    }

    /// Waits until a source waits for memory. Cancel-safe.
    pub(crate) async fn becomes_short(&self) {
        loop {
            let short = self.short.notified();
            tokio::pin!(short);
            short.as_mut().enable();
            if self.is_short() {
                return;
            }
            short.await;
        }
    }

    /// Whether a source waits for memory: then whoever gathers rows for a larger request sends what it has.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Permit ===

impl Permit {
    /// How much it holds.
    pub(crate) fn bytes(&self) -> usize {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it holds nothing any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Gives `bytes` of what it holds to a permit of their own.
    pub(crate) fn split(&self, bytes: usize) -> Self {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let given = bytes.min(*held);
        *held -= given;
        Self { budget: Arc::clone(&self.budget), bytes: Mutex::new(given) }
    }

    /// Holds `bytes` from now on. Growing never waits, or two batches could wait for each other: the budget may be
    /// exceeded by what the batches in the workers' hands grow, and reading stops until it is met again.
    pub(crate) fn resize(&self, bytes: usize) {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = *used - *held + bytes;
        self.budget.metrics.memory_used.set(*used as i64);
        let shrunk = bytes < *held;
        *held = bytes;
        drop(used);
        if shrunk {
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_for_too_much_waits_until_enough_is_returned() {
        let budget = Budget::new(100, Metrics::new());
        let first = budget.acquire(60).await;
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.acquire(60).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(budget.is_short());
        first.resize(40);
        let second = waiting.await.unwrap();
        assert!(!budget.is_short());
        drop((first, second));
        assert_eq!(*budget.used.lock().unwrap(), 0);
        // More than there is waits for all there is, not for ever.
        drop(budget.acquire(1000).await);
    }

    #[tokio::test]
    async fn a_part_is_returned_by_itself() {
        let budget = Budget::new(100, Metrics::new());
        let whole = budget.acquire(100).await;
        let part = whole.split(70);
        drop(whole);
        assert!(budget.try_acquire(31).is_none());
        drop(part);
        drop(budget.charge(500));
        assert!(budget.try_acquire(100).is_some());
    }

    #[tokio::test]
    async fn growing_may_exceed_the_budget_and_stops_the_next_reader() {
        let budget = Budget::new(100, Metrics::new());
        let permit = budget.acquire(10).await;
        permit.resize(150);
        assert!(budget.try_acquire(1).is_none());
        drop(permit);
        assert!(budget.try_acquire(100).is_some());
    }
}
