//! What the user should hear of AWS's refusals: once when it begins, now and then while it lasts, and once when it is over;
//! and whether the source is ready to read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use flowstone_aws::{ApiError, ErrorKind, Operation};
use flowstone_core::{ComponentHealth, ComponentId, SourceMetrics, show_duration};

use crate::sites::Site;

/// A refusal that lasts is reported again after this time.
const AGAIN_MS: i64 = 600_000;
/// A service that does not answer is worth a word only when it does not for a while: every network hiccups.
const PATIENCE_MS: i64 = 15_000;
/// What could be read before is not ready when it cannot be for so long.
const NOT_READY_MS: i64 = 10_000;
/// The same where every request is throttled, by which AWS asks to wait, and for listings, which come
/// seldom.
const NOT_READY_SLOWLY_MS: i64 = 60_000;
/// So many problems are reported in full.
const SHOWN: usize = 3;

/// What was reported.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Refusals that last.
    open: HashMap<Key, Notice>,
    /// Calls that were answered at some time.
    answered: HashSet<Key>,
    /// What is said about reading where readiness is asked for.
    shown: Option<String>,
}

type Key = (String, Operation);

#[derive(Debug)]
struct Notice {
    kind: ErrorKind,
    since_ms: i64,
    at_ms: Option<i64>,
    /// It was never answered before.
    first: bool,
    /// Groups are looked for in other places too.
    elsewhere: bool,
    resource: String,
    problem: String,
}

/// A call that was refused.
pub(crate) struct Refusal<'a> {
    pub(crate) site: &'a Site,
    /// Groups are looked for in other places too, so that it is no trouble if one is not here.
    pub(crate) elsewhere: bool,
    pub(crate) operation: Operation,
    /// What it was about: a log group, or nothing.
    pub(crate) resource: &'a str,
    pub(crate) error: &'a ApiError,
    /// In how many milliseconds it is tried again.
    pub(crate) retry_ms: i64,
}

// === impl Notices ===

impl Notices {
    /// A call was refused. An audit or a format that cannot be had costs no event: that is no more than worth knowing.
    pub(crate) fn refused(
        &mut self,
        (id, metrics): (&ComponentId, &SourceMetrics),
        refusal: &Refusal<'_>,
        now_ms: i64,
    ) {
        let Refusal { site, elsewhere, operation, resource, error, retry_ms } = *refusal;
        if error.kind == ErrorKind::BadToken {
            return;
        }
        let throttled = error.kind == ErrorKind::Throttled;
        if !throttled {
            metrics.component.error(error.kind.as_str(), 1);
        }
        // Credentials, clock and region are the same for all of a site's groups: a word on each would be a hundred.
        let resource = if of_site(error.kind) { "" } else { resource };
        let key = key(site, operation, resource);
        let first = !self.answered.contains(&key);
        let notice = self.open.entry(key).or_insert_with(|| Notice {
            kind: error.kind,
            since_ms: now_ms,
            at_ms: None,
            first,
            elsewhere,
            resource: resource.to_owned(),
            problem: String::new(),
        });
        notice.since_ms = notice.since_ms.min(now_ms);
        let waits = error.kind == ErrorKind::Unavailable && now_ms - notice.since_ms < PATIENCE_MS;
        let known = notice.kind == error.kind && notice.at_ms.is_some_and(|at_ms| now_ms - at_ms < AGAIN_MS);
        notice.kind = error.kind;
        let advice = site.advice(error, resource);
        let Site { account, region, .. } = site;
        let place = match resource {
            "" => format!("region {region} of account {account}"),
            group => format!("log group `{group}` in region {region} of account {account}"),
        };
        notice.problem = format!("{place}: {error}; {advice}");
        if waits || known || throttled {
            return;
        }
        notice.at_ms = Some(now_ms);
        let retry_in = show_duration(Duration::from_millis(retry_ms.unsigned_abs()));
        if error.kind == ErrorKind::NotFound && elsewhere {
            tracing::info!(component = %id, %account, %region, log_group = resource, "the log group is not in this account and region; it is looked for again");
        } else if error.kind == ErrorKind::NoProgress && operation.needed() {
            tracing::warn!(component = %id, %account, %region, log_group = resource, %error, advice, retry_in, "AWS's answers lead nowhere, retrying");
        } else if operation.needed() {
            tracing::warn!(component = %id, %account, %region, log_group = resource, %error, advice, retry_in, "AWS refuses a request, retrying");
        } else {
            let without = operation.goes_on();
            tracing::info!(component = %id, %account, %region, log_group = resource, %error, advice, "{without}");
        }
    }

    /// A call was answered. `advances` says that answers lead somewhere.
    pub(crate) fn answered(
        &mut self,
        id: &ComponentId,
        site: &Site,
        (operation, resource): (Operation, &str),
        advances: bool,
    ) {
        let mut over = false;
        for key in [key(site, operation, resource), key(site, operation, "")] {
            if self.open.get(&key).is_some_and(|notice| advances || notice.kind != ErrorKind::NoProgress) {
                over |= self.open.remove(&key).is_some_and(|notice| notice.at_ms.is_some());
            }
            if !self.answered.contains(&key) {
                self.answered.insert(key);
            }
        }
        if over {
            let Site { account, region, .. } = site;
            tracing::info!(component = %id, %account, %region, log_group = resource, "AWS answers {operation} again");
        }
    }

    /// A log group is gone, and nothing about it matters any more.
    pub(crate) fn forget(&mut self, site: &Site, resource: &str) {
        let key = key(site, Operation::FilterLogEvents, resource);
        self.open.remove(&key);
        self.answered.remove(&key);
    }

    /// Says whether reading is ready, if that has changed: not while a first read fails, nor when what could be read
    /// before cannot be for a while. `sites` is the number of places in which groups are looked for.
    pub(crate) fn report_readiness(&mut self, health: &ComponentHealth, sites: usize, now_ms: i64) {
        if self.open.is_empty() && self.shown.is_none() {
            return;
        }
        let mut nowhere: HashMap<&str, usize> = HashMap::new();
        let mut problems: BTreeSet<&str> = BTreeSet::new();
        for ((_, operation), notice) in self.open.iter().filter(|((_, operation), _)| operation.needed()) {
            if now_ms - notice.since_ms < notice.patience_ms(*operation) {
                continue;
            }
            if notice.kind == ErrorKind::NotFound && notice.elsewhere {
                let places = nowhere.entry(&notice.resource).or_default();
                *places += 1;
                if *places < sites {
                    continue;
                }
            }
            problems.insert(&notice.problem);
        }
        let more = problems.len().saturating_sub(SHOWN);
        let mut text = problems.into_iter().take(SHOWN).collect::<Vec<_>>().join("; ");
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        let shown = Some(text).filter(|text| !text.is_empty());
        if shown != self.shown {
            match &shown {
                Some(problem) => health.not_ready("read", problem.as_str()),
                None => health.ready("read"),
            }
            self.shown = shown;
        }
    }
}

impl Notice {
    fn patience_ms(&self, operation: Operation) -> i64 {
        match self.kind {
            ErrorKind::Throttled => NOT_READY_SLOWLY_MS,
            ErrorKind::NoProgress => 0,
            _ if self.first => 0,
            _ if operation == Operation::DescribeLogGroups => NOT_READY_SLOWLY_MS,
            _ => NOT_READY_MS,
        }
    }
}

/// Whether it is the same for all of a site's groups.
fn of_site(kind: ErrorKind) -> bool {
    use ErrorKind::{ClockSkew, ExpiredCredentials, NoCredentials, Throttled, Unavailable, WrongRegion};
    matches!(kind, ClockSkew | ExpiredCredentials | NoCredentials | Throttled | Unavailable | WrongRegion)
}

fn key(site: &Site, operation: Operation, resource: &str) -> Key {
    (format!("{}/{}/{resource}", site.account, site.region), operation)
}

/// What a plugin does without an operation.
trait Need {
    /// Whether events are not read without it.
    fn needed(self) -> bool;
    /// What happens without it.
    fn goes_on(self) -> &'static str;
}

impl Need for Operation {
    fn needed(self) -> bool {
        !matches!(self, Self::DescribeFlowLogs | Self::GetMetricData)
    }

    fn goes_on(self) -> &'static str {
        match self {
            Self::DescribeFlowLogs => {
                "formats are taken from the configuration, and `late_window` is an hour, for AWS does not tell them"
            }
            _ => "what is read is not compared with what CloudWatch ingested",
        }
    }
}
