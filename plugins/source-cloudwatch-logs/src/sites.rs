//! Accounts and regions: entered once, at the start.

use std::collections::HashSet;
use std::sync::Arc;

use flowstone_aws::{ApiError, Arn, LogsApi, Operation};
use flowstone_core::SourceError;

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
    /// Whether groups of accounts that are not entered are read from here.
    pub(crate) monitors: bool,
    /// The role that was assumed to enter it.
    role: Option<String>,
}

// === impl Site ===

impl Site {
    /// Its name and region, as groups are named by.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { account: &self.account, region: &self.region, monitors: self.monitors }
    }

    /// What to do about an error of a call about `resource`, a log group's name or empty.
    pub(crate) fn advice(&self, error: &ApiError, resource: &str) -> String {
        // A session is renewed within any call.
        let role = self.role.as_deref().filter(|_| error.operation == Operation::AssumeRole);
        error.advice(&self.region, &self.account, role.unwrap_or(resource))
    }

    /// An error of a call about `resource` with what to do.
    pub(crate) fn told(&self, error: &ApiError, resource: &str) -> String {
        format!("{error}; {}", self.advice(error, resource))
    }
}

/// Enters every account of a plan and finds out which it is.
pub(crate) async fn enter(plan: &Plan, connect: &dyn Connect) -> Result<Vec<Site>, SourceError> {
    let mut sites: Vec<Site> = Vec::new();
    for account in &plan.accounts {
        let entered = connect.enter(account).await.map_err(|error| refused(&error, account, "*"))?;
        let mut number: Option<Arc<str>> = None;
        for region in regions(account, &*entered)? {
            let api = entered.logs(&region);
            let known = match number.take() {
                Some(known) => known,
                None => number_of(account, &*api, &region).await?,
            };
            number = Some(Arc::clone(&known));
            let role = account.role.clone();
            sites.push(Site { account: known, region: region.into(), api, monitors: false, role });
        }
    }
    // Groups of accounts that are not entered are read from the first site of their region.
    let mut regions = HashSet::new();
    for site in &mut sites {
        site.monitors = regions.insert(Arc::clone(&site.region));
    }
    Ok(sites)
}

/// The account's number: a role's ARN says it, otherwise STS does, which also tries the credentials.
async fn number_of(account: &AccountPlan, api: &dyn LogsApi, region: &str) -> Result<Arc<str>, SourceError> {
    if let Some(arn) = account.role.as_deref().and_then(Arn::parse) {
        return Ok(arn.account.into());
    }
    let number = api.account_id().await.map_err(|error| refused(&error, account, region))?;
    Ok(number.into())
}

fn regions(plan: &AccountPlan, account: &dyn Account) -> Result<Vec<String>, SourceError> {
    if !plan.regions.is_empty() {
        return Ok(plan.regions.clone());
    }
    match account.default_region() {
        Some(region) => Ok(vec![region]),
        None => Err(SourceError::fatal(
            "no_region",
            "no region is named: set `region = \"eu-west-1\"` in the source, or AWS_REGION, or a region in the profile",
        )),
    }
}

/// Why an account cannot be entered. What passes by itself is tried again; so is a refusal, for somebody may mend it.
fn refused(error: &ApiError, plan: &AccountPlan, region: &str) -> SourceError {
    let role = plan.role.as_deref();
    let whose = role.map_or_else(String::new, |role| format!(" as {role}"));
    let advice = error.advice(region, "*", role.unwrap_or_default());
    SourceError::new(error.kind.as_str(), format!("{error}{whose}; {advice}"))
}
