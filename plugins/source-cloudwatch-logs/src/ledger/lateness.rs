//! How late a log group's events are: ingestion minus the event's own time.

/// A histogram of lateness with eight buckets per doubling (9 % wide), which forgets slowly.
#[derive(Clone, Debug)]
pub struct Lateness {
    buckets: Vec<u32>,
    total: u64,
    /// What an earlier run measured, until this one has seen enough.
    inherited: Option<Quantiles>,
}

/// The ages, in milliseconds, at which half, 90 %, 99 % and 99.9 % of the events of a moment have been ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of them.
    pub q50: i64,
    /// 90 %.
    pub q90: i64,
    /// 99 %.
    pub q99: i64,
    /// 99.9 %.
    pub q999: i64,
}

/// Differences below a second are not measured: events have whole seconds, and so have AWS's clocks as we see them.
const FIRST_MS: f64 = 1000.0;
const PER_DOUBLING: f64 = 8.0;
/// Reaches 14 days, which is as late as AWS accepts an event.
const BUCKETS: usize = 165;
/// Fewer events say little about the slowest percent.
const ENOUGH: u64 = 200;
/// Counts are halved at this total, so that the quantiles follow the group within some 100,000 events.
const HALVE_AT: u64 = 200_000;

impl Lateness {
    /// Knows nothing but what an earlier run measured.
    pub fn new(inherited: Option<Quantiles>) -> Self {
        Self { buckets: vec![0; BUCKETS], total: 0, inherited }
    }

    /// Notes one event.
    pub fn note(&mut self, late_ms: i64) {
        let doublings = (late_ms.max(1) as f64 / FIRST_MS).log2().max(0.0);
        let bucket = ((doublings * PER_DOUBLING) as usize).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.total += 1;
        if self.total >= HALVE_AT {
            self.buckets.iter_mut().for_each(|count| *count /= 2);
            self.total = self.buckets.iter().map(|&count| u64::from(count)).sum();
        }
    }

    /// The quantiles, once enough is known.
    pub fn quantiles(&self) -> Option<Quantiles> {
        if self.total < ENOUGH {
            return self.inherited;
        }
        let at = |quantile: f64| {
            let rank = (self.total as f64 * quantile).ceil() as u64;
            let mut seen = 0;
            let bucket = self.buckets.iter().position(|&count| {
                seen += u64::from(count);
                seen >= rank
            });
            // The bucket's upper edge: when its last event is in.
            let edge = bucket.map_or(BUCKETS, |bucket| bucket + 1);
            (FIRST_MS * (edge as f64 / PER_DOUBLING).exp2()) as i64
        };
        Some(Quantiles { q50: at(0.5), q90: at(0.9), q99: at(0.99), q999: at(0.999) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_a_tenth() {
        let mut lateness = Lateness::new(None);
        for late in 1..=1000 {
            lateness.note(late * 1000);
        }
        let found = lateness.quantiles().unwrap();
        for (found, expect) in
            [(found.q50, 500_000), (found.q90, 900_000), (found.q99, 990_000), (found.q999, 999_000)]
        {
            assert!(found >= expect && (found as f64) < expect as f64 * 1.1, "{found} for {expect}");
        }
    }

    #[test]
    fn an_earlier_run_counts_until_this_one_knows_better() {
        let earlier = Quantiles { q50: 1, q90: 2, q99: 3, q999: 4 };
        assert_eq!(Lateness::new(None).quantiles(), None);
        let mut lateness = Lateness::new(Some(earlier));
        (0..ENOUGH - 1).for_each(|_| lateness.note(5000));
        assert_eq!(lateness.quantiles(), Some(earlier));
        lateness.note(-7);
        assert_ne!(lateness.quantiles(), Some(earlier));
    }

    #[test]
    fn habits_of_long_ago_are_forgotten() {
        let mut lateness = Lateness::new(None);
        (0..200_000).for_each(|_| lateness.note(1_000_000));
        (0..500_000).for_each(|_| lateness.note(10_000));
        assert!(lateness.quantiles().unwrap().q50 < 11_000);
        lateness.note(i64::MAX);
    }
}
