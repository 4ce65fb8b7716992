//! `flowstone backfill`: what a stretch of the past will take, and how far its reading has come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flowstone_aws::{Governors, LogGroupName, Operation, quota_per_second};
use flowstone_core::{Backfill, BackfillEstimate, BackfillProgress};

use crate::clock::ServiceClock;
use crate::connect::Connect;
use crate::discovery::{self, Quota};
use crate::ledger::{align_down, align_up};
use crate::naming::Naming;
use crate::options::Plan;
use crate::sites::{self, Site};

/// A stretch of event time that is read once, and how far that is.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// Its first millisecond.
    pub(crate) from_ms: i64,
    /// The millisecond behind its last one.
    pub(crate) to_ms: i64,
    progress: Arc<Mutex<BackfillProgress>>,
}

/// Answers the command's questions.
pub(crate) struct Estimator {
    pub(crate) plan: Arc<Plan>,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) governors: Governors,
    pub(crate) clock: ServiceClock,
    pub(crate) stretch: Stretch,
    pub(crate) naming: Naming,
}

/// What reading costs.
pub(crate) const REQUESTS: &str = "requests";

/// Events on a page: 1 MB of records of version 2 (109 bytes and CloudWatch's 26 on each), as the design measured.
const EVENTS_PER_PAGE: u64 = 7_800;

// === impl Stretch ===

impl Stretch {
    pub(crate) fn new(from_ms: i64, to_ms: i64) -> Self {
        Self { from_ms, to_ms, progress: Arc::default() }
    }

    /// Says how far reading is.
    pub(crate) fn tell(&self, progress: BackfillProgress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    fn progress(&self) -> BackfillProgress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backfill for Estimator {
    async fn estimate(&self) -> Result<BackfillEstimate, String> {
        let mut naming = self.naming.clone();
        let sites =
            sites::enter(&self.plan, &*self.connect, &mut naming).await.map_err(|error| error.message)?;
        let mut estimate = BackfillEstimate { noun: "log group", ..BackfillEstimate::default() };
        let mut all_requests = 0;
        for site in &sites {
            let mut requests = 0;
            for group in self.groups_of(site).await? {
                let stretch = (self.stretch.from_ms, self.stretch.to_ms);
                let events = expected(site, &group, stretch, self.clock.now_ms()).await;
                requests += events.unwrap_or(0) / EVENTS_PER_PAGE + 1;
                let name = format!("{}/{}/{}", site.account, site.region, group.name);
                estimate.events.push((name, events.ok_or("allow cloudwatch:GetMetricData to know it")));
            }
            let per_second =
                quota_per_second(Operation::FilterLogEvents, &site.region) * self.plan.quota_share;
            // Quotas of sites are used side by side.
            let least = Duration::from_secs_f64(requests as f64 / per_second);
            estimate.at_least = estimate.at_least.max(least);
            all_requests += requests;
        }
        estimate.cost = (all_requests, REQUESTS);
        Ok(estimate)
    }

    fn progress(&self) -> BackfillProgress {
        self.stretch.progress()
    }
}

// === impl Estimator ===

impl Estimator {
    async fn groups_of(&self, site: &Site) -> Result<Vec<LogGroupName>, String> {
        let mut groups = site.named(&self.plan.groups);
        let prefixes = self.plan.groups.prefixes();
        if !prefixes.is_empty() {
            let quota = Quota::of(site, &self.governors, self.plan.quota_share, &self.clock);
            let listed = discovery::list(Arc::clone(&site.api), prefixes.to_vec(), quota)
                .await
                .map_err(|error| site.explain(&error, ""))?;
            let matching = listed.iter().filter(|group| self.plan.groups.matches(&group.name));
            groups.extend(matching.map(|group| LogGroupName::own(&group.name)));
            groups.sort();
            groups.dedup();
        }
        Ok(groups)
    }
}

/// How many events a group ingested within a stretch of time, as the metric says, if it may be asked for. Events are
/// ingested some minutes after their own time, which at the length of a backfill is no matter.
pub(crate) async fn expected(
    site: &Site,
    group: &LogGroupName,
    (from_ms, to_ms): (i64, i64),
    now_ms: i64,
) -> Option<u64> {
    if group.foreign_arn.is_some() {
        return None;
    }
    let period_s = period_s(from_ms, now_ms);
    let period_ms = 1000 * i64::from(period_s);
    let (from_ms, to_ms) = (align_down(from_ms, period_ms), align_up(to_ms, period_ms));
    let counts = site.api.incoming_log_events(&group.name, from_ms, to_ms, period_s).await.ok()?;
    Some(counts.iter().fold(0, |sum, count| sum.saturating_add(count.events)))
}

/// The shortest period that CloudWatch still keeps of a time: minutes for 15 days, five of them for 63, hours for 455
/// (CloudWatch user guide, "Metrics retention").
fn period_s(from_ms: i64, now_ms: i64) -> u32 {
    match (now_ms - from_ms) / 86_400_000 {
        ..2 => 60,
        2..60 => 300,
        _ => 3600,
    }
}
