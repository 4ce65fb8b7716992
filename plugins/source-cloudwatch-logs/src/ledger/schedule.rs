//! When a slice is read: the rules of a partition, and the times that follow from them.

use super::lateness::Quantiles;
use super::rule::{Rule, broken};

/// How a partition is read. All times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Every event that is ingested at most this long after its own time is delivered before its slice is sealed.
    pub late_window_ms: i64,
    /// Events are visible at most this long after they were ingested.
    pub visibility_margin_ms: i64,
    /// Sealed slices are read once more at each of these ages, ascending.
    pub sweeps_ms: Vec<i64>,
    /// Slices are read this often until 99 % of their events are in; `None` reads them at the quantiles only.
    pub poll_interval_ms: Option<i64>,
    /// New events are read as they come; without this only what is to do at the start is read (a backfill).
    pub live: bool,
    /// Events are counted by ingestion minute and compared with what CloudWatch says it ingested.
    pub audit: bool,
    /// How many stretches of the past are read at once.
    pub parallel_history: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            late_window_ms: 1_800_000,
            visibility_margin_ms: 300_000,
            sweeps_ms: vec![6 * 3_600_000],
            poll_interval_ms: None,
            live: true,
            audit: false,
            parallel_history: 4,
        }
    }
}

/// How much a request may come before the time that it is for, by the service's clock: that clock is known from
/// `Date` headers, which have whole seconds.
const CLOCK_SLACK_MS: i64 = 2000;
/// Reads closer together than this are one.
const MIN_GAP_MS: i64 = 10_000;
/// Ages after the slice's end at which it is read while nothing is known about its group's lateness.
const UNKNOWN_MS: [i64; 5] = [60_000, 120_000, 240_000, 480_000, 960_000];
/// Sweeps are never urgent: they wait for a common time, so that neighbours share requests.
const SWEEP_ROUND_MS: i64 = 1_800_000;
/// A poll goes on until this age where nothing is known about lateness.
const UNKNOWN_HOT_MS: i64 = 300_000;

impl Rules {
    /// An event that is ingested later than this after its own time is outside every guarantee.
    pub fn reach_ms(&self) -> i64 {
        self.sweeps_ms.last().copied().unwrap_or(0).max(self.late_window_ms)
    }

    /// When a slice that ends here has been read for the last time before it is sealed.
    pub fn seal_at(&self, end: i64) -> i64 {
        let margin = if broken(Rule::SealWaits) { 0 } else { self.visibility_margin_ms };
        end + self.late_window_ms + margin
    }

    /// When to read a slice for the first time.
    pub fn first_read(&self, start: i64, end: i64, quantiles: Option<Quantiles>) -> i64 {
        if let Some(poll) = self.poll_interval_ms {
            return start + poll;
        }
        match quantiles {
            // Half of the slice's events are in when half of those of its middle are.
            Some(quantiles) => end.max(middle(start, end) + quantiles.q50) + CLOCK_SLACK_MS,
            None => end + UNKNOWN_MS[0],
        }
    }

    /// When to read an unsealed slice with this watermark again.
    pub fn next_read(&self, start: i64, end: i64, watermark: i64, quantiles: Option<Quantiles>) -> i64 {
        let seal = self.seal_at(end) + CLOCK_SLACK_MS;
        let middle = middle(start, end);
        if let Some(poll) = self.poll_interval_ms {
            let hot_until = quantiles.map_or(end + UNKNOWN_HOT_MS, |quantiles| middle + quantiles.q99);
            if watermark < hot_until {
                return (watermark + poll).min(seal);
            }
        }
        let ages = match quantiles {
            Some(q) => [q.q50, q.q90, q.q99, q.q999].map(|age| middle + age).to_vec(),
            None => UNKNOWN_MS.map(|age| end + age).to_vec(),
        };
        let next = ages.into_iter().find(|&at| at >= watermark + MIN_GAP_MS && at >= end);
        next.map_or(seal, |at| (at + CLOCK_SLACK_MS).min(seal))
    }

    /// When to read a sealed slice with this watermark again; `None` when it never is.
    pub fn next_sweep(&self, end: i64, watermark: i64) -> Option<i64> {
        let margin = if broken(Rule::SweepWaits) { -SWEEP_ROUND_MS } else { self.visibility_margin_ms };
        let due = self.sweeps_ms.iter().map(|age| end + age + margin).find(|&at| at > watermark)?;
        Some(align_up(due, SWEEP_ROUND_MS) + CLOCK_SLACK_MS)
    }
}

fn middle(start: i64, end: i64) -> i64 {
    start + (end - start) / 2
}

/// The first multiple of `step` that is not below `value`.
pub fn align_up(value: i64, step: i64) -> i64 {
    align_down(value.saturating_add(step - 1), step)
}

/// The last multiple of `step` that is not above `value`.
pub fn align_down(value: i64, step: i64) -> i64 {
    value - value.rem_euclid(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Quantiles = Quantiles { q50: 95_000, q90: 166_000, q99: 287_000, q999: 538_000 };

    /// The ages, in seconds after the end of a slice of one minute, at which it is read until it is sealed.
    fn ages(rules: &Rules, quantiles: Option<Quantiles>) -> Vec<i64> {
        let mut at = rules.first_read(0, 60_000, quantiles);
        let mut ages = vec![(at - 60_000) / 1000];
        while at < rules.seal_at(60_000) {
            at = rules.next_read(0, 60_000, at, quantiles);
            ages.push((at - 60_000) / 1000);
        }
        ages
    }

    #[test]
    fn a_slice_is_read_at_the_quantiles_of_lateness_and_at_the_seal() {
        assert_eq!(ages(&Rules::default(), Some(FLOW)), [67, 138, 259, 510, 2102]);
    }

    #[test]
    fn without_a_measure_a_slice_is_read_at_doubling_ages() {
        assert_eq!(ages(&Rules::default(), None), [60, 122, 242, 482, 962, 2102]);
    }

    #[test]
    fn quantiles_that_fall_together_are_one_read() {
        let quick = Quantiles { q50: 1000, q90: 1200, q99: 2000, q999: 45_000 };
        assert_eq!(ages(&Rules::default(), Some(quick)), [2, 17, 2102]);
        let slow = Quantiles { q50: 3_000_000, q90: 4_000_000, q99: 5_000_000, q999: 6_000_000 };
        assert_eq!(ages(&Rules::default(), Some(slow)).last(), Some(&2972), "never before the first read");
    }

    #[test]
    fn a_poll_interval_reads_until_nearly_all_is_in() {
        let rules = Rules { poll_interval_ms: Some(10_000), ..Rules::default() };
        let ages = ages(&rules, Some(FLOW));
        assert_eq!(ages[..3], [-50, -40, -30]);
        assert_eq!(ages.len(), 34);
        assert_eq!(ages[31..], [260, 510, 2102]);
    }

    #[test]
    fn sweeps_are_rounded_up_and_never_early() {
        let rules = Rules { sweeps_ms: vec![21_600_000, 86_400_000], ..Rules::default() };
        let first = rules.next_sweep(60_000, 2_162_000).unwrap();
        assert!(first >= 60_000 + 21_600_000 + 300_000 && (first - 2000) % 1_800_000 == 0);
        let second = rules.next_sweep(60_000, first).unwrap();
        assert!(second > 86_400_000);
        assert_eq!(rules.next_sweep(60_000, second), None);
        assert_eq!(Rules::default().reach_ms(), 21_600_000);
    }
}
