//! How many requests of a sink may be in flight: found out by what the other end takes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many requests at once: one more for each round without a refusal, half for a refusal (AIMD).
pub(crate) struct Limiter {
    max: f64,
    state: Mutex<LimiterState>,
}

struct LimiterState {
    limit: f64,
    last_cut: Option<Instant>,
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Self { max, state: Mutex::new(LimiterState { limit: max.min(2.0), last_cut: None }) }
    }

    /// How many requests may be in flight.
    pub(crate) fn limit(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit as usize
    }

    /// A request went through: a whole round of them makes one more. `true` when the limit rose.
    pub(super) fn grow(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.limit;
        state.limit = (before + 1.0 / before).min(self.max);
        state.limit as usize > before as usize
    }

    /// A refusal: half, but once for all requests that were refused together.
    pub(super) fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.last_cut.is_none_or(|cut| now.duration_since(cut) > Duration::from_millis(100)) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.last_cut = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn concurrency_rises_by_one_a_round_and_halves_once_per_refusal() {
        let limiter = Limiter::new(8);
        assert_eq!(limiter.limit(), 2);
        (0..100).for_each(|_| {
            limiter.grow();
        });
        assert_eq!(limiter.limit(), 8);
        limiter.cut();
        limiter.cut();
        assert_eq!(limiter.limit(), 4);
        tokio::time::advance(Duration::from_millis(200)).await;
        limiter.cut();
        assert_eq!(limiter.limit(), 2);
        assert_eq!(Limiter::new(1).limit(), 1);
    }
}
