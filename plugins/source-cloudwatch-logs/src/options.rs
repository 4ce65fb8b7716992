//! The options, and what of them is checked before anything is started.

use std::path::PathBuf;
use std::time::Duration;

use flowstone_aws::sdk::is_endpoint;
use flowstone_aws::{Arn, StreamFilter};
use flowstone_core::prelude::*;
use flowstone_core::show_duration;

use crate::ledger::Rules;
use crate::select::Groups;
pub use crate::start::StartPosition;

options! {
    /// Options of `cloudwatch_logs`.
    pub struct CloudwatchLogsOptions {
        /// The AWS region. Unset, and without `regions`: the one that the AWS CLI would take (`AWS_REGION`,
        /// `AWS_DEFAULT_REGION`, the profile, the instance).
        pub region: Option<String> = None,
        /// Several regions instead of one; each log group is looked for in all of them.
        pub regions: Vec<String> = Vec::new(),
        /// The log groups to read: names, ARNs, and globs (`*` also stands for `/`). Groups that a glob matches later are read
        /// from then on; looking for them takes `logs:DescribeLogGroups`.
        pub log_groups: Vec<String> = Vec::new(),
        /// Also read all log groups whose names begin so.
        pub log_group_prefix: Option<String> = None,
        /// Read only log streams whose names begin so (`eni-0`).
        pub log_stream_prefix: Option<String> = None,
        /// Read only these log streams, at most 100.
        pub log_streams: Vec<String> = Vec::new(),
        /// CloudWatch's filter pattern: only events that it matches are sent over.
        pub filter_pattern: Option<String> = None,
        /// Several accounts: each entry names a role to assume, and its own `regions` if they differ. One without a role is the
        /// account of the credentials themselves, which is the only one if this is not set.
        pub accounts: Vec<AccountOptions> = Vec::new(),
        /// The account of the credentials themselves, twelve digits. Unset: STS is asked once, at the start; where it does not
        /// answer, DescribeLogGroups tells the account, or else the events are read all the same, with ids of their own and
        /// without `[@metadata][cloudwatch_logs][account_id]`.
        pub account_id: Option<String> = None,
        /// The profile of `~/.aws/config` whose credentials are taken. Unset: AWS's default chain (environment, profile, SSO,
        /// web identity, container, instance).
        pub profile: Option<String> = None,
        /// Where reading begins at the very first start: at the `"beginning"`, at the `"end"` (with what is written after the
        /// first start, and some minutes before it), at a time before the first start (`"-2h"`, `"-7d"`) or at a time (RFC 3339). By the events' own time.
        /// Afterwards the checkpoint counts.
        pub start_position: StartPosition = StartPosition::Beginning,
        /// The sincedb file of Logstash's `cloudwatch_logs` input: log groups that it names begin where Logstash stopped, earlier
        /// by `late_window`, since Logstash has not read what came late. The groups are those of the first account and region.
        pub import_sincedb: Option<PathBuf> = None,
        /// How late an event may be ingested after its own time and still surely be read. Unset: six times the aggregation
        /// interval of the flow logs that write to the group, at least `30m`; `1h` where the interval cannot be asked for.
        pub late_window: Option<Duration> = None,
        /// How long after it was ingested an event may become visible and still surely be read.
        pub visibility_margin: Duration = Duration::from_secs(300),
        /// Ages at which everything is read once more, with requests that nothing else needs, for what came later than
        /// `late_window`.
        pub sweeps: Vec<Duration> = vec![Duration::from_secs(6 * 3600)],
        /// Look for new events this often. Unset: when half, 90 %, 99 % and 99.9 % of them are in, as measured, which takes a
        /// quarter of the requests.
        pub poll_interval: Option<Duration> = None,
        /// The share of AWS's quota of requests that may be used: 5, 10 or 25 a second for each account, by region. All sources
        /// of a process share one budget, for which the first of them speaks; a backfill beside it has its own.
        pub quota_share: f64 = 0.8,
        /// Compare what was read with what CloudWatch says it ingested, minute by minute, and read again where something is
        /// missing. Takes `cloudwatch:GetMetricData`, one request for each group every five minutes; never done for a part of
        /// a group or for another account's.
        pub audit: bool = true,
        /// Memory for the ids of events that may be met again. A group that needs more is known by ingestion time instead.
        pub dedupe_max_bytes: ByteSize = ByteSize(64 << 20),
        /// Another endpoint for all services: a proxy, a VPC endpoint, a test server.
        pub endpoint: Option<String> = None,
    }
}

options! {
    /// An account to read.
    pub struct AccountOptions {
        /// The role to assume (`arn:aws:iam::123456789012:role/flowstone-reader`). Unset: the credentials' own account.
        pub role_arn: Option<String> = None,
        /// The external id that the role asks for.
        pub external_id: Option<Secret> = None,
        /// Its regions, if they are not those of the source.
        pub regions: Vec<String> = Vec::new(),
    }
}

/// Options that were checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it reads.
    pub accounts: Vec<AccountPlan>,
    /// The account of the credentials themselves.
    pub account_id: Option<String>,
    /// The profile.
    pub profile: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// Which groups.
    pub groups: Groups,
    /// Which of their streams.
    pub streams: StreamFilter,
    /// Which of their events; empty is all.
    pub pattern: String,
    /// Where reading begins.
    pub start: StartPosition,
    /// Logstash's positions.
    pub sincedb: Option<PathBuf>,
    /// Whether the late window follows the group's aggregation interval.
    pub late_window: Option<i64>,
    /// How it is read; the late window is that of a group of which nothing is known.
    pub rules: Rules,
    /// The share of the quota.
    pub quota_share: f64,
    /// Bytes for event ids.
    pub id_bytes: usize,
}

/// An account to read, and how it is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPlan {
    /// The role to assume.
    pub role: Option<String>,
    /// Its external id.
    pub external_id: Option<Secret>,
    /// Its regions; empty for the one that the environment names.
    pub regions: Vec<String>,
}

/// The late window of a group whose flow logs cannot be asked for: AWS's default interval is 600 s.
const UNKNOWN_LATE_WINDOW_MS: i64 = 3_600_000;
/// The shortest late window that follows from an interval.
const LEAST_LATE_WINDOW_MS: i64 = 1_800_000;
/// FilterLogEvents takes so many stream names.
const STREAMS_AT_MOST: usize = 100;
/// FilterLogEvents takes a pattern of so many characters.
const PATTERN_AT_MOST: usize = 1024;
/// PutLogEvents takes events up to 14 days old: nothing comes later.
const LATEST: Duration = Duration::from_secs(14 * 86_400);

/// Milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The late window that an aggregation interval asks for, at most [`LATEST`].
pub(crate) fn late_window_of(aggregation_s: Option<u32>) -> i64 {
    let window_ms = |seconds| (6 * 1000 * i64::from(seconds)).clamp(LEAST_LATE_WINDOW_MS, millis(LATEST));
    aggregation_s.map_or(UNKNOWN_LATE_WINDOW_MS, window_ms)
}

// === impl Plan ===

impl Plan {
    /// Checks the options; gives all that is wrong with them.
    pub fn new(options: CloudwatchLogsOptions) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let regions = regions(&options, &mut errors);
        let accounts = accounts(&options, &regions, &mut errors);
        check_account_id(&options, &accounts, &mut errors);
        let groups = Groups::new(&options.log_groups, options.log_group_prefix.as_deref())
            .map_err(|wrong| errors.extend(wrong))
            .ok();
        if let Some(groups) = &groups {
            groups.check_regions(&accounts, &mut errors);
        }
        let streams = streams(&options, &mut errors);
        check_numbers(&options, &mut errors);
        let late_window = options.late_window.map(millis);
        let sweeps = sweeps(&options, late_window, &mut errors);
        let Some(groups) = groups.filter(|_| errors.is_empty()) else { return Err(errors) };
        // The metric counts what a group takes in, not a part of it.
        let whole = streams == StreamFilter::All && options.filter_pattern.is_none();
        Ok(Self {
            accounts,
            account_id: options.account_id,
            profile: options.profile,
            endpoint: options.endpoint,
            groups,
            streams,
            pattern: options.filter_pattern.unwrap_or_default(),
            start: options.start_position,
            sincedb: options.import_sincedb,
            late_window,
            rules: Rules {
                late_window_ms: late_window.unwrap_or_else(|| late_window_of(None)),
                visibility_margin_ms: millis(options.visibility_margin),
                sweeps_ms: sweeps,
                poll_interval_ms: options.poll_interval.map(millis),
                audit: options.audit && whole,
                ..Rules::default()
            },
            quota_share: options.quota_share,
            id_bytes: options.dedupe_max_bytes.as_usize(),
        })
    }
}

fn regions(options: &CloudwatchLogsOptions, errors: &mut Vec<BuildError>) -> Vec<String> {
    if options.region.is_some() && !options.regions.is_empty() {
        errors.push(
            BuildError::option("region", "`region` and `regions` both say where to read")
                .label("expected one of them"),
        );
    }
    if let Some(region) = &options.region {
        check_region(region, |error| errors.push(error), || BuildError::option("region", ""));
    }
    for (index, region) in options.regions.iter().enumerate() {
        check_region(
            region,
            |error| errors.push(error),
            || BuildError::option("regions", "").at_index(index),
        );
    }
    if let Some(twice) = repeated(&options.regions) {
        errors.push(
            BuildError::option("regions", format!("region {twice} is there twice"))
                .label("expected each region once"),
        );
    }
    options.region.iter().chain(&options.regions).cloned().collect()
}

fn repeated(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)).map(|(_, name)| name)
}

/// A region's name has letters, digits and hyphens: anything else would become a part of the endpoint's host name.
fn check_region(region: &str, mut report: impl FnMut(BuildError), at: impl Fn() -> BuildError) {
    let plausible = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() || !region.bytes().all(plausible) || !region.contains('-') {
        let message = format!("{region:?} is no region of AWS");
        report(BuildError { message, ..at() }.label("expected a name such as \"eu-west-1\""));
    }
}

fn accounts(
    options: &CloudwatchLogsOptions,
    regions: &[String],
    errors: &mut Vec<BuildError>,
) -> Vec<AccountPlan> {
    if options.accounts.is_empty() {
        return vec![AccountPlan { role: None, external_id: None, regions: regions.to_vec() }];
    }
    let mut accounts: Vec<AccountPlan> = Vec::new();
    for (index, account) in options.accounts.iter().enumerate() {
        let at = |message: String| BuildError::option("accounts", message).at_index(index);
        if let Some(role) = &account.role_arn
            && !Arn::parse(role).is_some_and(|arn| arn.is_role())
        {
            let expected = "expected `role_arn = \"arn:aws:iam::123456789012:role/NAME\"`";
            errors.push(at(format!("{role:?} is no ARN of a role")).label(expected));
        }
        if account.external_id.is_some() && account.role_arn.is_none() {
            errors
                .push(at("an external id without a role".to_owned()).label("expected `role_arn` beside it"));
        }
        for region in &account.regions {
            check_region(region, |error| errors.push(error), || at(String::new()));
        }
        let plan = AccountPlan {
            role: account.role_arn.clone(),
            external_id: account.external_id.clone(),
            regions: if account.regions.is_empty() { regions.to_vec() } else { account.regions.clone() },
        };
        if let Some(twice) = repeated(&plan.regions) {
            errors.push(at(format!("region {twice} is there twice")).label("expected each region once"));
        }
        if accounts.iter().any(|other| other.role == plan.role) {
            let name = plan.role.as_deref().unwrap_or("the credentials' own account");
            errors.push(at(format!("{name} is there twice")).label("expected each account once"));
        }
        accounts.push(plan);
    }
    accounts
}

fn check_account_id(options: &CloudwatchLogsOptions, accounts: &[AccountPlan], errors: &mut Vec<BuildError>) {
    let Some(account) = &options.account_id else { return };
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        errors.push(
            BuildError::option("account_id", format!("{account:?} is no account of AWS"))
                .label("expected twelve digits, such as \"123456789012\""),
        );
    } else if accounts.iter().all(|account| account.role.is_some()) {
        errors.push(
            BuildError::option("account_id", "the credentials' own account is not read")
                .label("expected an entry without `role_arn` among `accounts`, or no `account_id`"),
        );
    }
}

fn streams(options: &CloudwatchLogsOptions, errors: &mut Vec<BuildError>) -> StreamFilter {
    if options.log_stream_prefix.is_some() && !options.log_streams.is_empty() {
        errors.push(
            BuildError::option(
                "log_stream_prefix",
                "AWS takes a prefix or names of streams, not both in one request",
            )
            .label("expected one of `log_stream_prefix` and `log_streams`"),
        );
    }
    if options.log_streams.len() > STREAMS_AT_MOST {
        errors.push(
            BuildError::option("log_streams", format!("{} streams", options.log_streams.len()))
                .label("expected at most 100, which is what AWS takes")
                .help("use `log_stream_prefix`, or a second source for the rest"),
        );
    }
    match &options.log_stream_prefix {
        Some(prefix) => StreamFilter::Prefix(prefix.clone()),
        None if options.log_streams.is_empty() => StreamFilter::All,
        None => StreamFilter::Names(options.log_streams.clone()),
    }
}

fn check_numbers(options: &CloudwatchLogsOptions, errors: &mut Vec<BuildError>) {
    if !(options.quota_share > 0.0 && options.quota_share <= 1.0) {
        errors.push(
            BuildError::option("quota_share", format!("a share of {}", options.quota_share))
                .label("expected more than 0 and at most 1"),
        );
    }
    if options.filter_pattern.as_ref().is_some_and(|pattern| pattern.chars().count() > PATTERN_AT_MOST) {
        errors.push(
            BuildError::option("filter_pattern", "the pattern is too long")
                .label("expected at most 1,024 characters, which is what AWS takes"),
        );
    }
    let least = |name: &str, given: Option<Duration>, least: Duration| {
        let given = given.filter(|given| *given < least)?;
        let message = format!("`{name}` of {}", show_duration(given));
        Some(BuildError::option(name, message).label(format!("expected at least {}", show_duration(least))))
    };
    // A source that looks more often gets no event earlier, only its quota used up.
    errors.extend(least("poll_interval", options.poll_interval, Duration::from_secs(1)));
    errors.extend(least("late_window", options.late_window, Duration::from_secs(60)));
    if options.late_window.is_some_and(|window| window > LATEST) {
        errors.push(
            BuildError::option("late_window", "CloudWatch ingests no event that late")
                .label("expected at most 14d"),
        );
    }
    for (name, text) in
        [("log_stream_prefix", &options.log_stream_prefix), ("filter_pattern", &options.filter_pattern)]
    {
        if text.as_ref().is_some_and(String::is_empty) {
            errors.push(
                BuildError::option(name, format!("`{name}` is empty"))
                    .label("expected some text, or no such option for everything"),
            );
        }
    }
    if options.endpoint.as_deref().is_some_and(|endpoint| !is_endpoint(endpoint)) {
        errors.push(
            BuildError::option("endpoint", "this is no URL of a server")
                .label("expected \"https://HOST[:PORT]\", without credentials"),
        );
    }
    errors.extend(least("visibility_margin", Some(options.visibility_margin), Duration::from_secs(1)));
}

fn sweeps(
    options: &CloudwatchLogsOptions,
    late_window: Option<i64>,
    errors: &mut Vec<BuildError>,
) -> Vec<i64> {
    let mut sweeps: Vec<i64> = Vec::new();
    for (index, &sweep) in options.sweeps.iter().enumerate() {
        let at = |message: String| BuildError::option("sweeps", message).at_index(index);
        if sweep > LATEST {
            errors.push(
                at(format!("a sweep at {}", show_duration(sweep)))
                    .label("expected at most 14d: CloudWatch takes nothing older"),
            );
        }
        let window_ms = late_window.unwrap_or(UNKNOWN_LATE_WINDOW_MS);
        if millis(sweep) <= window_ms {
            let window = show_duration(Duration::from_millis(window_ms.unsigned_abs()));
            errors.push(
                at(format!("a sweep at {} within the late window", show_duration(sweep)))
                    .label(format!("expected more than `late_window`, {window}")),
            );
        }
        if sweeps.last().is_some_and(|&last| last >= millis(sweep)) {
            errors.push(at(format!("a sweep at {}", show_duration(sweep))).label("expected ascending ages"));
        }
        sweeps.push(millis(sweep));
    }
    sweeps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> CloudwatchLogsOptions {
        CloudwatchLogsOptions {
            log_groups: vec!["/vpc/flow".to_owned()],
            ..CloudwatchLogsOptions::defaults()
        }
    }

    /// What is wrong with the options, and at which of them.
    fn wrong(change: impl FnOnce(&mut CloudwatchLogsOptions)) -> Vec<(String, String)> {
        let mut options = defaults();
        change(&mut options);
        let errors = Plan::new(options).map(|_| ()).unwrap_err();
        errors.into_iter().map(|error| (error.option, error.message)).collect()
    }

    #[test]
    fn options_that_mean_nothing_are_told_before_anything_is_started() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let role = "arn:aws:iam::123456789012:role/reader";
        let account =
            |role: &str| AccountOptions { role_arn: Some(role.to_owned()), ..AccountOptions::defaults() };
        type Change<'a> = Box<dyn FnOnce(&mut CloudwatchLogsOptions) + 'a>;
        let cases: Vec<(&str, &str, Change<'_>)> = vec![
            ("", "no log group is named", Box::new(|o| o.log_groups.clear())),
            ("region", "\"Europe\" is no region of AWS", Box::new(|o| o.region = Some("Europe".into()))),
            (
                "region",
                "`region` and `regions` both say where to read",
                Box::new(|o| (o.region, o.regions) = (Some("eu-west-1".into()), vec!["eu-west-2".into()])),
            ),
            (
                "regions",
                "region eu-west-1 is there twice",
                Box::new(|o| o.regions = vec!["eu-west-1".into(), "eu-west-1".into()]),
            ),
            (
                "account_id",
                "\"12345\" is no account of AWS",
                Box::new(|o| o.account_id = Some("12345".into())),
            ),
            (
                "account_id",
                "the credentials' own account is not read",
                Box::new(|o| {
                    o.account_id = Some("123456789012".into());
                    o.accounts = vec![account(role)];
                }),
            ),
            ("accounts", "\"me\" is no ARN of a role", Box::new(|o| o.accounts = vec![account("me")])),
            (
                "accounts",
                "arn:aws:iam::123456789012:role/reader is there twice",
                Box::new(|o| o.accounts = vec![account(role), account(role)]),
            ),
            (
                "log_stream_prefix",
                "AWS takes a prefix or names of streams, not both in one request",
                Box::new(|o| {
                    (o.log_stream_prefix, o.log_streams) = (Some("eni-".into()), vec!["eni-1-all".into()]);
                }),
            ),
            (
                "log_stream_prefix",
                "`log_stream_prefix` is empty",
                Box::new(|o| o.log_stream_prefix = Some(String::new())),
            ),
            (
                "filter_pattern",
                "`filter_pattern` is empty",
                Box::new(|o| o.filter_pattern = Some(String::new())),
            ),
            ("quota_share", "a share of 1.5", Box::new(|o| o.quota_share = 1.5)),
            (
                "poll_interval",
                "`poll_interval` of 10ms",
                Box::new(|o| o.poll_interval = Some(Duration::from_millis(10))),
            ),
            (
                "late_window",
                "CloudWatch ingests no event that late",
                Box::new(|o| {
                    (o.late_window, o.sweeps) = (Some(hours(24 * 15)), vec![]);
                }),
            ),
            ("sweeps", "a sweep at 30m within the late window", Box::new(|o| o.sweeps = vec![hours(1) / 2])),
            ("sweeps", "a sweep at 6h", Box::new(|o| o.sweeps = vec![hours(24), hours(6)])),
            (
                "endpoint",
                "this is no URL of a server",
                Box::new(|o| o.endpoint = Some("localhost:4566".into())),
            ),
            (
                "log_groups",
                "no account is read in region us-east-1",
                Box::new(|o| {
                    o.region = Some("eu-west-1".into());
                    o.log_groups.push("arn:aws:logs:us-east-1:123456789012:log-group:/vpc/flow".into());
                }),
            ),
        ];
        for (option, message, change) in cases {
            assert_eq!(wrong(change), [(option.to_owned(), message.to_owned())]);
        }
    }

    #[test]
    fn a_window_follows_the_interval_and_is_an_hour_where_that_is_unknown() {
        assert_eq!([Some(60), Some(600), None].map(late_window_of), [1_800_000, 3_600_000, 3_600_000]);
        assert_eq!(late_window_of(Some(u32::MAX)), 14 * 86_400_000, "a number that a peer names");
        let plan = Plan::new(defaults()).unwrap();
        assert_eq!((plan.late_window, plan.rules.late_window_ms), (None, 3_600_000));
        assert!(plan.rules.audit);
        let part = CloudwatchLogsOptions { log_stream_prefix: Some("eni-0".into()), ..defaults() };
        assert!(!Plan::new(part).unwrap().rules.audit, "the metric counts the whole group");
    }
}
