//! One budget of requests per account, region and operation, shared by everything in this process that asks for them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::Operation;

/// How many `FilterLogEvents` a second AWS allows an account in this region; the quota cannot be raised.
/// Source: AWS's page "CloudWatch Logs quotas" as of 2026.
fn filter_log_events(region: &str) -> f64 {
    match region {
        "us-east-1" => 25.0,
        "eu-central-1" | "ap-northeast-3" | "ap-southeast-3" | "ca-west-1" | "il-central-1" => 5.0,
        _ => 10.0,
    }
}

/// How many requests of this kind a second AWS allows an account in this region.
pub fn quota_per_second(operation: Operation, region: &str) -> f64 {
    match operation {
        Operation::FilterLogEvents => filter_log_events(region),
        // CloudWatch Logs quotas: 10 a second; EC2's and STS's buckets are larger and these calls rare.
        Operation::DescribeLogGroups
        | Operation::DescribeFlowLogs
        | Operation::GetCallerIdentity
        | Operation::AssumeRole => 10.0,
        // CloudWatch: 50 a second.
        Operation::GetMetricData => 50.0,
    }
}

/// A budget of requests that shrinks when the service throttles and grows back slowly (AIMD). It knows no clock:
/// every call says what time it is, in milliseconds. After a clock is set back it starts over, and loses no more than a moment.
#[derive(Clone, Debug)]
pub struct Governor {
    /// Requests a second at most: quota times share.
    ceiling: f64,
    /// Requests a second now.
    rate: f64,
    /// Requests that may go at once.
    tokens: f64,
    refilled_ms: i64,
    raised_ms: i64,
    cut_ms: i64,
    paused_until_ms: i64,
    throttles_in_a_row: u32,
}

/// Throttling multiplies the rate by this, at most once a second.
const CUT: f64 = 0.7;
/// A second in which requests succeed adds this many requests a second.
const RAISE_PER_SECOND: f64 = 0.2;
/// The rate never falls below this part of the ceiling: where somebody else uses up the account's quota, a lower rate
/// only starves us.
const FLOOR: f64 = 0.5;
/// Calls come in no strict order; a clock that goes back by more was set.
const SET_BACK_MS: i64 = 1000;
/// After so many refusals without one success in between, it is not our rate that is the problem.
const REFUSED_FOR_GOOD: u32 = 10;

/// Governors by account, region and operation. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct Governors {
    shared: Arc<Mutex<HashMap<Key, Governor>>>,
}

type Key = (Arc<str>, Arc<str>, Operation);

// === impl Governor ===

impl Governor {
    /// A governor that starts at its ceiling, in requests a second.
    pub fn new(ceiling: f64) -> Self {
        debug_assert!(ceiling > 0.0, "a ceiling of {ceiling} requests a second lets nothing through");
        Self {
            ceiling,
            rate: ceiling,
            tokens: 1.0,
            refilled_ms: i64::MIN,
            raised_ms: i64::MIN,
            cut_ms: i64::MIN,
            paused_until_ms: i64::MIN,
            throttles_in_a_row: 0,
        }
    }

    /// Requests a second now.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes one request out of the budget, or says when there will be one.
    pub fn take(&mut self, now_ms: i64) -> Result<(), i64> {
        self.note_clock(now_ms);
        if now_ms < self.paused_until_ms {
            return Err(self.paused_until_ms);
        }
        self.refill(now_ms);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now_ms + (((1.0 - self.tokens) / self.rate * 1000.0).ceil() as i64).max(1))
    }

    /// When a request may go: now, or later.
    pub fn free_at(&self, now_ms: i64) -> i64 {
        self.clone().take(now_ms).err().unwrap_or(now_ms)
    }

    /// A request was answered: refused as one too many (then with a jitter), or in some other way.
    pub fn answered(&mut self, now_ms: i64, throttled: Option<f64>) {
        match throttled {
            Some(jitter) => self.throttled(now_ms, jitter),
            None => self.succeeded(now_ms),
        }
    }

    /// A request was answered.
    pub fn succeeded(&mut self, now_ms: i64) {
        self.throttles_in_a_row = 0;
        let seconds = now_ms.saturating_sub(self.raised_ms).clamp(0, 1000) as f64 / 1000.0;
        self.raised_ms = self.raised_ms.max(now_ms);
        self.rate = (self.rate + RAISE_PER_SECOND * seconds).min(self.ceiling);
    }

    /// A request was refused for being one too many. `jitter` in 0..1 spreads those who were refused together.
    pub fn throttled(&mut self, now_ms: i64, jitter: f64) {
        self.refill(now_ms);
        self.throttles_in_a_row += 1;
        // Requests that were in flight together are refused together: that is one piece of news, not ten.
        if now_ms.saturating_sub(self.cut_ms) >= 1000 {
            self.cut_ms = now_ms;
            self.rate = (self.rate * CUT).max(FLOOR * self.ceiling);
        }
        self.tokens = 0.0;
        let for_good = self.throttles_in_a_row.saturating_sub(REFUSED_FOR_GOOD).min(5);
        let pause = (f64::from(for_good) * 1000.0 + 1000.0 / self.rate) * (0.5 + jitter);
        self.paused_until_ms = self.paused_until_ms.max(now_ms + pause as i64);
    }

    /// Times that lie far ahead come from a clock that has been set back since: nobody waits for them.
    fn note_clock(&mut self, now_ms: i64) {
        if now_ms < self.refilled_ms.saturating_sub(SET_BACK_MS) {
            self.refilled_ms = now_ms;
            self.raised_ms = self.raised_ms.min(now_ms);
            self.cut_ms = self.cut_ms.min(now_ms);
            self.paused_until_ms = self.paused_until_ms.min(now_ms);
        }
    }

    fn refill(&mut self, now_ms: i64) {
        let seconds = now_ms.saturating_sub(self.refilled_ms).max(0) as f64 / 1000.0;
        self.refilled_ms = self.refilled_ms.max(now_ms);
        // A tenth of a second's requests may go together; more would be a burst that the service refuses.
        self.tokens = (self.tokens + seconds * self.rate).min((self.rate / 10.0).max(1.0));
    }
}

// === impl Governors ===

impl Governors {
    /// The governors of this process: two sources that read the same account share its quota.
    pub fn of_process() -> Self {
        static PROCESS: LazyLock<Governors> = LazyLock::new(Governors::default);
        PROCESS.clone()
    }

    /// A budget of requests. `share` of AWS's quota is its ceiling; the first who asks sets it.
    pub fn with<T>(
        &self,
        account: &Arc<str>,
        region: &Arc<str>,
        operation: Operation,
        share: f64,
        each: impl FnOnce(&mut Governor) -> T,
    ) -> T {
        let key = (Arc::clone(account), Arc::clone(region), operation);
        let mut governors = self.lock();
        let new = || Governor::new(quota_per_second(operation, region) * share);
        each(governors.entry(key).or_insert_with(new))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Governor>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as many requests as the governor allows from `from` to `to`, refusing those that `refuse` picks; gives
    /// how many were answered and how many were refused.
    fn drive(
        governor: &mut Governor,
        from: i64,
        to: i64,
        mut refuse: impl FnMut(i64, u32) -> bool,
    ) -> (u32, u32) {
        let (mut now, mut answered, mut refused) = (from, 0, 0);
        while now < to {
            match governor.take(now) {
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
                Ok(()) if refuse(now, answered + refused) => {
                    refused += 1;
                    governor.throttled(now, 0.5);
                }
                Ok(()) => {
                    answered += 1;
                    governor.succeeded(now);
                }
            }
        }
        (answered, refused)
    }

    #[test]
    fn requests_go_at_the_ceiling_and_never_in_a_burst() {
        let mut governor = Governor::new(8.0);
        let (answered, _) = drive(&mut governor, 0, 60_000, |_, _| false);
        assert!((470..=481).contains(&answered), "{answered} in a minute at 8 a second");
        // An hour of rest is no credit for a burst.
        let mut at_once = 0;
        while governor.take(3_600_000).is_ok() {
            at_once += 1;
        }
        assert_eq!(at_once, 1);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut governor = Governor::new(8.0);
        drive(&mut governor, 7_200_000, 7_210_000, |_, _| false);
        governor.throttled(7_210_000, 0.5);
        let (answered, _) = drive(&mut governor, 0, 60_000, |_, _| false);
        assert!(answered > 250, "{answered} in the minute after the clock was set back by two hours");
    }

    #[test]
    fn throttling_slows_down_at_once_and_success_speeds_up_slowly() {
        let mut governor = Governor::new(20.0);
        governor.take(0).unwrap();
        governor.throttled(0, 0.5);
        governor.throttled(10, 0.5);
        assert_eq!(governor.rate(), 14.0, "refusals of one moment count once");
        drive(&mut governor, 1000, 11_000, |_, _| false);
        assert!((15.5..=16.2).contains(&governor.rate()), "{}", governor.rate());
        drive(&mut governor, 11_000, 60_000, |_, _| false);
        assert_eq!(governor.rate(), 20.0);
    }

    #[test]
    fn two_of_three_calls_throttled_still_reads_on() {
        let mut governor = Governor::new(20.0);
        let (answered, refused) = drive(&mut governor, 0, 60_000, |_, number| number % 3 != 0);
        assert!(refused > answered);
        assert!(answered >= 60, "{answered} pages in a minute");
    }

    #[test]
    fn a_service_that_answers_nobody_is_asked_rarely_but_asked() {
        let mut governor = Governor::new(20.0);
        let (_, refused) = drive(&mut governor, 0, 120_000, |_, _| true);
        assert!((15..=60).contains(&refused), "{refused} requests in two minutes");
        let (answered, _) = drive(&mut governor, 130_000, 140_000, |_, _| false);
        assert!(answered >= 30, "{answered}");
    }

    #[test]
    fn quotas_differ_by_region_and_budgets_by_account() {
        for (region, expect) in
            [("us-east-1", 25.0), ("eu-central-1", 5.0), ("eu-west-1", 10.0), ("mars-north-1", 10.0)]
        {
            assert_eq!(quota_per_second(Operation::FilterLogEvents, region), expect);
        }
        let governors = Governors::default();
        let (one, two, region): (Arc<str>, Arc<str>, Arc<str>) = ("1".into(), "2".into(), "eu-west-1".into());
        let take = |account| {
            governors.clone().with(account, &region, Operation::FilterLogEvents, 0.8, |one| one.take(0))
        };
        assert_eq!((take(&one), take(&one), take(&two)), (Ok(()), Err(125), Ok(())));
        governors.with(&one, &region, Operation::FilterLogEvents, 0.8, |one| one.answered(0, Some(0.5)));
        assert!(take(&one).unwrap_err() > 125);
    }
}
