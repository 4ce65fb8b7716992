//! What the user should hear of AWS's refusals: once when it begins, now and then while it lasts, and once when it is over.

use std::collections::HashMap;

use flowstone_aws::{ApiError, ErrorKind, Operation};
use flowstone_core::{ComponentId, SourceMetrics};

use crate::sites::Site;

/// A refusal that lasts is told again after this time.
const AGAIN_MS: i64 = 600_000;
/// A service that does not answer is worth a word only when it does not for a while: every network hiccups.
const PATIENCE_MS: i64 = 15_000;

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    told: HashMap<Key, Told>,
}

type Key = (String, Operation);

#[derive(Debug)]
struct Told {
    kind: ErrorKind,
    since_ms: i64,
    at_ms: Option<i64>,
}

// === impl Notices ===

impl Notices {
    /// A call of `operation` about `resource` (a log group, or empty) was refused. `elsewhere` says that groups are looked
    /// for in other places too, so that it is no trouble if one is not here. An audit or a format that cannot be had
    /// costs no event: that is no more than worth knowing.
    pub(crate) fn refused(
        &mut self,
        (id, metrics): (&ComponentId, &SourceMetrics),
        (site, elsewhere): (&Site, bool),
        (operation, resource): (Operation, &str),
        error: &ApiError,
        now_ms: i64,
    ) {
        if matches!(error.kind, ErrorKind::Throttled | ErrorKind::BadToken) {
            return;
        }
        metrics.component.error(error.kind.as_str(), 1);
        // Credentials, clock and region are the same for all of a site's groups: a word on each would be a hundred.
        let resource = if of_site(error.kind) { "" } else { resource };
        let told = self.told.entry(key(site, operation, resource)).or_insert(Told {
            kind: error.kind,
            since_ms: now_ms,
            at_ms: None,
        });
        let waits = error.kind == ErrorKind::Unavailable && now_ms - told.since_ms < PATIENCE_MS;
        let known = told.kind == error.kind && told.at_ms.is_some_and(|at_ms| now_ms - at_ms < AGAIN_MS);
        told.kind = error.kind;
        if waits || known {
            return;
        }
        told.at_ms = Some(now_ms);
        let Site { account, region, .. } = site;
        let advice = site.advice(error, resource);
        if error.kind == ErrorKind::NotFound && elsewhere {
            tracing::info!(component = %id, %account, %region, log_group = resource, "the log group is not in this account and region; it is looked for again");
        } else if operation.needed() {
            tracing::warn!(component = %id, %account, %region, log_group = resource, %error, advice, "AWS refuses a request");
        } else {
            let without = operation.goes_on();
            tracing::info!(component = %id, %account, %region, log_group = resource, %error, advice, "{without}");
        }
    }

    /// A call was answered.
    pub(crate) fn answered(
        &mut self,
        id: &ComponentId,
        site: &Site,
        (operation, resource): (Operation, &str),
    ) {
        if self.told.is_empty() {
            return;
        }
        let of_resource = self.told.remove(&key(site, operation, resource));
        let of_site = self.told.remove(&key(site, operation, ""));
        if let Some(Told { at_ms: Some(_), .. }) = of_resource.or(of_site) {
            let Site { account, region, .. } = site;
            tracing::info!(component = %id, %account, %region, log_group = resource, "AWS answers {operation} again");
        }
    }
}

/// Whether it is the same for all of a site's groups.
fn of_site(kind: ErrorKind) -> bool {
    use ErrorKind::{ClockSkew, ExpiredCredentials, NoCredentials, Unavailable, WrongRegion};
    matches!(kind, ClockSkew | ExpiredCredentials | NoCredentials | Unavailable | WrongRegion)
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
            _ => "what is read is not compared with what CloudWatch took in",
        }
    }
}
