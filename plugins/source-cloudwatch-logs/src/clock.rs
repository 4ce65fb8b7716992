//! The service's clock, as its replies give it: everything is scheduled by it, so that a machine whose own clock is wrong
//! reads neither too early nor too late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use flowstone_core::Clock;

/// Gives this machine's time in milliseconds since the epoch. It never goes back, whatever is done to the machine's clock;
/// it may stand still while the machine sleeps.
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

/// This machine's clock as it is now, and from now on by the time that passes: setting the clock does not reach it.
pub fn monotonic(clock: Clock) -> LocalClock {
    let (begun, begun_ms) = (Instant::now(), clock.now_ms());
    Arc::new(move || begun_ms + i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// So many measures count.
const KEPT: usize = 16;

/// AWS refuses requests of machines whose clocks are off by five minutes: a larger difference is a proxy's clock, by which
/// events that have not happened yet would count as read.
const WRONG_AT_MOST_MS: i64 = 86_400_000;

/// Whether the service's clock can have said `asked_at_ms` when this machine's said `local_ms`.
pub(crate) fn plausible(asked_at_ms: i64, local_ms: i64) -> bool {
    asked_at_ms.abs_diff(local_ms) <= WRONG_AT_MOST_MS.unsigned_abs()
}

// === impl ServiceClock ===

impl ServiceClock {
    /// A clock that knows of no difference yet.
    pub fn new(local: LocalClock) -> Self {
        Self { local, measured: VecDeque::with_capacity(KEPT), offset_ms: 0 }
    }

    /// The service's time now, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.local_ms() + self.offset_ms
    }

    /// Whether the service's time was ever learned.
    pub fn is_set(&self) -> bool {
        !self.measured.is_empty()
    }

    /// This machine's time now, in milliseconds since the epoch.
    pub fn local_ms(&self) -> i64 {
        (self.local)()
    }

    /// A reply said that the service's clock had reached `asked_at_ms` when a request was sent at `sent_local_ms` of this
    /// machine's.
    pub fn learn(&mut self, asked_at_ms: i64, sent_local_ms: i64) {
        let asked_at_ms = if plausible(asked_at_ms, sent_local_ms) { asked_at_ms } else { sent_local_ms };
        if self.measured.len() == KEPT {
            self.measured.pop_front();
        }
        self.measured.push_back(asked_at_ms - sent_local_ms);
        let largest = self.measured.iter().copied().max().unwrap_or(0);
        // A `Date` has whole seconds: a smaller difference is none.
        self.offset_ms = if (-1500..=500).contains(&largest) { 0 } else { largest };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_time_that_no_clock_can_tell_is_none() {
        let mut clock = ServiceClock::new(Arc::new(|| 1_800_000_000_000));
        for peer_says in [i64::MIN, 0, 1_799_900_000_000, 1_800_100_000_000, 253_402_300_799_000, i64::MAX] {
            clock.learn(peer_says, 1_800_000_000_000);
            assert_eq!((clock.now_ms(), clock.is_set()), (1_800_000_000_000, true), "{peer_says}");
        }
    }

    #[test]
    fn a_wrong_clock_is_set_and_a_right_one_left_alone() {
        for (wrong_by, expect_within) in
            [(0, 0..=0), (-100_000, 98_500..=100_000), (90_000, -91_500..=-90_000)]
        {
            let local = Arc::new(AtomicI64::new(1_000_000 + wrong_by));
            let reader = Arc::clone(&local);
            let mut clock = ServiceClock::new(Arc::new(move || reader.load(Ordering::Relaxed)));
            // Four requests are in flight at any time: a reply to one that was sent before the clock was set says the same.
            let mut in_flight = VecDeque::new();
            for call in 0..40 {
                let service = 1_000_000 + call * 7_130;
                local.store(service + wrong_by, Ordering::Relaxed);
                in_flight.push_back((service, clock.local_ms()));
                if in_flight.len() > 4
                    && let Some((sent_service, sent_local)) = in_flight.pop_front()
                {
                    let took = 20 + call * 13 % 400;
                    clock.learn((sent_service + took) / 1000 * 1000 - took, sent_local);
                }
            }
            let off = clock.now_ms() - local.load(Ordering::Relaxed);
            assert!(expect_within.contains(&off), "{wrong_by}: set by {off}");
        }
    }
}
