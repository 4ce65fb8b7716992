//! Accounts and regions: entered once, at the start.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use flowstone_aws::{
    ApiError, Arn, ErrorKind, FilterRequest, GroupsRequest, LogGroupName, LogsApi, Operation,
};

use crate::connect::{Account, Connect};
use crate::naming::{self, Naming};
use crate::options::{AccountPlan, Plan};
use crate::select::Groups;

/// An account and region that is read.
#[derive(Clone)]
pub(crate) struct Site {
    /// What its groups are named after: the account's number, or that it was not known when they were read first.
    pub(crate) account: Arc<str>,
    /// The account's number, as far as it is known.
    pub(crate) known: Option<Arc<str>>,
    /// Whether it is known for certain, and not from before.
    pub(crate) certain: bool,
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
    /// Those of its groups that need not be looked for.
    pub(crate) fn named(&self, groups: &Groups) -> Vec<LogGroupName> {
        groups.named(self.known.as_deref().unwrap_or(naming::UNKNOWN), &self.region, &self.monitors)
    }

    /// Whether it is the credentials' own account.
    pub(crate) fn is_own(&self) -> bool {
        self.role.is_none()
    }

    /// What to do about an error of a call about `resource`, a log group's name or its foreign ARN, or empty.
    pub(crate) fn advice(&self, error: &ApiError, resource: &str) -> String {
        // A session is renewed within any call.
        let role = self.role.as_deref().filter(|_| error.operation == Operation::AssumeRole);
        let foreign = Arn::parse(resource).and_then(|arn| Some((arn.account, arn.log_group()?)));
        match foreign {
            Some((account, group)) => error.advice(&self.region, account, role.unwrap_or(group)),
            None => {
                error.advice(&self.region, self.known.as_deref().unwrap_or("*"), role.unwrap_or(resource))
            }
        }
    }

    /// An error of a call about `resource` with what to do.
    pub(crate) fn explain(&self, error: &ApiError, resource: &str) -> String {
        format!("{error}; {}", self.advice(error, resource))
    }
}

/// How long STS may take to tell the account; it takes well below a second where it can be asked.
const ASK: Duration = Duration::from_secs(6);

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

/// Enters every account of a plan and finds out which it is. `naming` says what the own account's groups are named
/// after, and learns what is known of it.
pub(crate) async fn enter(
    plan: &Plan,
    connect: &dyn Connect,
    naming: &mut Naming,
) -> Result<Vec<Site>, Refused> {
    let mut sites: Vec<Site> = Vec::new();
    for account in &plan.accounts {
        let entered = connect.enter(account).await.map_err(|error| refused(&error, account, None))?;
        let mut named: Option<(Arc<str>, Option<Arc<str>>, bool)> = None;
        for region in regions(account, &*entered)? {
            let api = entered.logs(&region);
            let (name, known, certain) = match named.take() {
                Some(named) => named,
                None => match account.role.as_deref().and_then(Arn::parse) {
                    Some(arn) => (arn.account.into(), Some(arn.account.into()), true),
                    None => {
                        let known = own_account(plan, account, &*api, &region, naming.last()).await?;
                        let name = naming.name_of(known.as_deref());
                        (name, known.as_deref().or(naming.last()).map(Arc::from), known.is_some())
                    }
                },
            };
            let same = |site: &Site| site.known == known && *site.region == *region;
            if let Some(known) = known.as_ref().filter(|_| sites.iter().any(same)) {
                let message = format!(
                    "account {known} is read twice in region {region}: by the credentials themselves and a role of \
                     theirs, or by two roles of one account; leave one of them out of `accounts`"
                );
                return Err(Refused { reason: "account_twice", message, passes: false, fatal: true });
            }
            named = Some((Arc::clone(&name), known.clone(), certain));
            let role = account.role.clone();
            let region = region.into();
            sites.push(Site { account: name, known, certain, region, api, monitors: Vec::new(), role });
        }
    }
    // Groups of accounts that are not entered are read from one site of their region: where it is not known which account
    // a site is, an ARN may also name a group of its own.
    let mut regions = HashSet::new();
    let (unknown, known): (Vec<usize>, Vec<usize>) =
        (0..sites.len()).partition(|&number| sites[number].known.is_none());
    for number in unknown.into_iter().chain(known) {
        let region = Arc::clone(&sites[number].region);
        if regions.insert(Arc::clone(&region)) {
            let entered = |account: &String| {
                sites.iter().any(|site| site.known.as_deref() == Some(account) && site.region == region)
            };
            let mut monitors = plan.groups.accounts_in(&region);
            monitors.retain(|account| !entered(account));
            sites[number].monitors = monitors;
        }
    }
    Ok(sites)
}

/// The number of the credentials' own account, if anybody says it. Reading needs the logs API alone: that STS hangs or
/// refuses is no reason not to read, but that credentials are no good is one to wait.
async fn own_account(
    plan: &Plan,
    account: &AccountPlan,
    api: &dyn LogsApi,
    region: &str,
    last: Option<&str>,
) -> Result<Option<String>, Refused> {
    if let Some(account) = &plan.account_id {
        return Ok(Some(account.clone()));
    }
    let operation = Operation::GetCallerIdentity;
    let asked = tokio::time::timeout(ASK, api.account_id()).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", ASK.as_secs());
        Err(ApiError::new(operation, ErrorKind::Unavailable, "", message))
    });
    let refusal = match asked {
        Ok(number) if is_number(&number) => return Ok(Some(number)),
        Ok(number) => {
            let message = format!("{number:?} is no number of an account");
            ApiError::new(operation, ErrorKind::Unavailable, "", message)
        }
        Err(error) => error,
    };
    if last.is_some() {
        tracing::info!(%refusal, account = last, "STS does not tell the account; it is taken for the one of before");
        return Ok(None);
    }
    // A policy may allow to read and nothing else: then a page says whether the credentials are good.
    let (listed, read) = tokio::join!(listed_account(plan, api), try_page(plan, api));
    let error = match (listed, read) {
        (Ok(Some(number)), _) => return Ok(Some(number)),
        (Ok(None), _) | (_, Some(Ok(()))) => None,
        (Err(of_list), None) => Some(of_list),
        (Err(_), Some(Err(of_page))) => Some(of_page),
    };
    let says_no = |error: &ApiError| matches!(error.kind, ErrorKind::AccessDenied | ErrorKind::NotFound);
    if let Some(error) = error.filter(|error| !says_no(error)) {
        // What STS says of bad credentials is what the others say, too.
        let error = if error.kind == refusal.kind { refusal } else { error };
        return Err(refused(&error, account, Some(region)));
    }
    tracing::warn!(
        %refusal,
        "nobody tells which account is read: events are named without it, now and ever after, and have no \
         `[@metadata][cloudwatch_logs][account_id]`; set `account_id` before the first start to name them by it"
    );
    Ok(None)
}

/// The account of some log group: one that is read, or any.
async fn listed_account(plan: &Plan, api: &dyn LogsApi) -> Result<Option<String>, ApiError> {
    for prefix in [plan.groups.first_name().unwrap_or_default(), ""] {
        let request = GroupsRequest { prefix: prefix.to_owned(), token: None };
        let page = api.describe_log_groups(&request).await?;
        let number = page.groups.into_iter().find_map(|group| group.account);
        if let Some(number) = number.filter(|number| is_number(number)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Whether a page can be read of the first group that is named, if one is.
async fn try_page(plan: &Plan, api: &dyn LogsApi) -> Option<Result<(), ApiError>> {
    let now_ms = flowstone_core::Clock::System.now_ms();
    let request = FilterRequest {
        group: LogGroupName::own(plan.groups.first_name()?),
        start_ms: now_ms - 60_000,
        end_ms: now_ms,
        streams: plan.streams.clone(),
        pattern: plan.pattern.clone(),
        token: None,
    };
    Some(api.filter_log_events(&request).await.map(drop))
}

/// Whether it can be an account: it becomes a part of names.
pub(crate) fn is_number(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
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
