//! The service's clock, as its replies tell it: everything is scheduled by it, so that a machine whose own clock is wrong
//! reads neither too early nor too late.

use std::collections::VecDeque;
use std::sync::Arc;

/// Gives this machine's time in milliseconds since the epoch.
pub type LocalClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// This machine's clock, set by the service's.
#[derive(Clone)]
pub struct ServiceClock {
    local: LocalClock,
    /// The last measured differences, service minus local. Each is too small by what the reply's `Date` lacks: up to a
    /// second that it is cut by, and the time of the call.
    measured: VecDeque<i64>,
    offset_ms: i64,
}

/// So many measures count.
const KEPT: usize = 16;

// === impl ServiceClock ===

impl ServiceClock {
    /// A clock that knows of no difference yet.
    pub fn new(local: LocalClock) -> Self {
        Self { local, measured: VecDeque::with_capacity(KEPT), offset_ms: 0 }
    }

    /// The service's time now, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        (self.local)() + self.offset_ms
    }

    /// A reply said that the service's clock had reached `asked_at_ms` when a request was sent at `sent_ms` of this
    /// clock.
    pub fn learn(&mut self, asked_at_ms: i64, sent_ms: i64) {
        if self.measured.len() == KEPT {
            self.measured.pop_front();
        }
        // `sent_ms` holds the difference that was known then.
        self.measured.push_back(asked_at_ms - (sent_ms - self.offset_ms));
        let largest = self.measured.iter().copied().max().unwrap_or(0);
        // What a `Date` in whole seconds cannot tell is no difference.
        self.offset_ms = if (-1500..=500).contains(&largest) { 0 } else { largest };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_wrong_clock_is_set_and_a_right_one_left_alone() {
        for (wrong_by, expect_within) in
            [(0, 0..=0), (-100_000, 98_500..=100_000), (90_000, -91_500..=-90_000)]
        {
            let local = Arc::new(AtomicI64::new(1_000_000 + wrong_by));
            let reader = Arc::clone(&local);
            let mut clock = ServiceClock::new(Arc::new(move || reader.load(Ordering::Relaxed)));
            for call in 0..40 {
                let service = 1_000_000 + call * 7_130;
                local.store(service + wrong_by, Ordering::Relaxed);
                let took = 20 + call * 13 % 400;
                clock.learn((service + took) / 1000 * 1000 - took, clock.now_ms());
            }
            let off = clock.now_ms() - local.load(Ordering::Relaxed);
            assert!(expect_within.contains(&off), "{wrong_by}: set by {off}");
        }
    }
}
