//! How long to wait before trying again.

use std::time::Duration;

use tokio::time::Instant;

/// The other end's wish to be left alone is obeyed for so long and no longer.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: each wait is anything up to twice the one before's bound, so that clients
/// that failed together do not come back together (AWS Architecture Blog, "Exponential Backoff And Jitter").
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    bound: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, bound: first }
    }

    /// The next wait: at least a tenth of its bound, so that a refusal is never answered by a stampede.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(self.longest);
        bound.mul_f64(0.1 + 0.9 * fastrand::f64())
    }

    /// The next wait, or the one that the other end asks for: no shorter than the first of our own, and no longer than
    /// half a minute, for a proxy's maintenance page may ask for a day.
    pub(crate) fn next_or(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.next();
        asked.map_or(own, |asked| clamp(asked, self.first))
    }

    pub(crate) fn reset(&mut self) {
        self.bound = self.first;
    }
}

/// A wait that the other end asks for, as far as it is obeyed.
pub(crate) fn clamp(asked: Duration, first: Duration) -> Duration {
    asked.min(LONGEST_ASKED).max(first)
}

/// `after` from now, however long: what no clock can show is far away.
pub(crate) fn instant_after(after: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(after).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for bound in [100, 200, 400, 400] {
            let wait = backoff.next().as_millis();
            assert!((bound / 10..=bound).contains(&wait), "{wait} of {bound}");
        }
        backoff.reset();
        assert!(backoff.next().as_millis() <= 100);
    }

    #[test]
    fn a_wish_is_obeyed_within_bounds_and_no_duration_is_too_long_for_the_clock() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        for (asked, wait) in [(0, 0.25), (5, 5.0), (30, 30.0), (3600, 30.0), (u64::MAX, 30.0)] {
            assert_eq!(backoff.next_or(Some(Duration::from_secs(asked))), Duration::from_secs_f64(wait));
        }
        assert!(backoff.next_or(None) <= Duration::from_secs(10));
        assert!(instant_after(Duration::MAX) > Instant::now() + Duration::from_secs(86_400));
    }
}
