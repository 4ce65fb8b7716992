//! How long to wait before trying again.

use std::time::Duration;

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

    pub(crate) fn reset(&mut self) {
        self.bound = self.first;
    }
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
}
