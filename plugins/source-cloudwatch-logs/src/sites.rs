//! Accounts and regions: entered once, at the start.

use std::collections::HashSet;
use std::sync::Arc;

use flowstone_aws::{ApiError, Arn, ErrorKind, LogsApi, Operation};

use crate::connect::{Account, Connect};
use crate::options::{AccountPlan, Plan};
use crate::select::Place;

/// An account and region that is read.
#[derive(Clone)]
pub(crate) struct Site {
    /// The account's number.
    pub(crate) account: Arc<str>,
    /// The region.
    pub(crate) region: Arc<str>,
    /// CloudWatch Logs there.
    pub(crate) api: Arc<dyn LogsApi>,
    /// The accounts that are not entered and whose groups are read from here.
    monitors: Vec<String>,
    /// The role that was assumed to enter it.
    role: Option<String>,
}

// === impl Site ===

impl Site {
    /// Its name and region, as groups are named by.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { account: &self.account, region: &self.region, monitors: &self.monitors }
    }

    /// What to do about an error of a call about `resource`, a log group's name or its foreign ARN, or empty.
    pub(crate) fn advice(&self, error: &ApiError, resource: &str) -> String {
        // A session is renewed within any call.
        let role = self.role.as_deref().filter(|_| error.operation == Operation::AssumeRole);
        let foreign = Arn::parse(resource).and_then(|arn| Some((arn.account, arn.log_group()?)));
        match foreign {
            Some((account, group)) => error.advice(&self.region, account, role.unwrap_or(group)),
            None => error.advice(&self.region, &self.account, role.unwrap_or(resource)),
        }
    }

    /// An error of a call about `resource` with what to do.
    pub(crate) fn told(&self, error: &ApiError, resource: &str) -> String {
        format!("{error}; {}", self.advice(error, resource))
    }
}

/// Why an account cannot be entered.
#[derive(Debug)]
pub(crate) struct Refused {
    /// One word, a metric label.
    pub(crate) reason: &'static str,
    /// What happened and what to do.
    pub(crate) message: String,
    /// The same may succeed later without anybody doing anything.
    pub(crate) passes: bool,
    /// Nothing that happens outside of the configuration can mend it.
    pub(crate) fatal: bool,
}

/// Enters every account of a plan and finds out which it is.
pub(crate) async fn enter(plan: &Plan, connect: &dyn Connect) -> Result<Vec<Site>, Refused> {
    let mut sites: Vec<Site> = Vec::new();
    for account in &plan.accounts {
        let entered = connect.enter(account).await.map_err(|error| refused(&error, account, None))?;
        let mut number: Option<Arc<str>> = None;
        for region in regions(account, &*entered)? {
            let api = entered.logs(&region);
            let known = match number.take() {
                Some(known) => known,
                None => number_of(account, &*api, &region).await?,
            };
            if sites.iter().any(|site| site.account == known && *site.region == *region) {
                let message = format!(
                    "account {known} is read twice in region {region}: by the credentials themselves and a role of \
                     theirs, or by two roles of one account; leave one of them out of `accounts`"
                );
                return Err(Refused { reason: "account_twice", message, passes: false, fatal: true });
            }
            number = Some(Arc::clone(&known));
            let role = account.role.clone();
            sites.push(Site { account: known, region: region.into(), api, monitors: Vec::new(), role });
        }
    }
    // Groups of accounts that are not entered are read from the first site of their region.
    let mut regions = HashSet::new();
    for number in 0..sites.len() {
        let region = Arc::clone(&sites[number].region);
        if regions.insert(Arc::clone(&region)) {
            let entered = |account: &String| {
                sites.iter().any(|site| *site.account == **account && site.region == region)
            };
            let mut monitors = plan.groups.accounts_in(&region);
            monitors.retain(|account| !entered(account));
            sites[number].monitors = monitors;
        }
    }
    Ok(sites)
}

/// The account's number: a role's ARN says it, otherwise STS does, which also tries the credentials.
async fn number_of(account: &AccountPlan, api: &dyn LogsApi, region: &str) -> Result<Arc<str>, Refused> {
    if let Some(arn) = account.role.as_deref().and_then(Arn::parse) {
        return Ok(arn.account.into());
    }
    let number = api.account_id().await.map_err(|error| refused(&error, account, Some(region)))?;
    Ok(number.into())
}

fn regions(plan: &AccountPlan, account: &dyn Account) -> Result<Vec<String>, Refused> {
    if !plan.regions.is_empty() {
        return Ok(plan.regions.clone());
    }
    match account.default_region() {
        Some(region) => Ok(vec![region]),
        None => Err(Refused {
            reason: "no_region",
            message: "no region is named: set `region = \"eu-west-1\"` in the source, or AWS_REGION, or a region in \
                      the profile"
                .to_owned(),
            passes: false,
            fatal: true,
        }),
    }
}

/// Whether the same call may succeed later although this process is not started anew: a session is renewed beside it.
pub(crate) fn may_pass(kind: ErrorKind) -> bool {
    kind.passes() || kind == ErrorKind::ExpiredCredentials
}

fn refused(error: &ApiError, plan: &AccountPlan, region: Option<&str>) -> Refused {
    let role = plan.role.as_deref();
    let whose = role.map_or_else(String::new, |role| format!(" as {role}"));
    let region = region.or(plan.regions.first().map(String::as_str)).unwrap_or("*");
    let advice = error.advice(region, "*", role.unwrap_or_default());
    Refused {
        reason: error.kind.as_str(),
        message: format!("{error}{whose}; {advice}"),
        passes: may_pass(error.kind),
        fatal: error.kind == ErrorKind::Invalid,
    }
}
