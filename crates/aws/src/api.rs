//! The operations of AWS that flowstone uses, as a trait over plain types.

use async_trait::async_trait;

use crate::{ApiError, LogGroupName};

/// CloudWatch Logs, and the two questions about a log group that other services answer. One value stands for one
/// account and region.
///
/// An implementation sends one request per call and never retries: the caller has one budget for all calls to an
/// account and must see every refusal.
#[async_trait]
pub trait LogsApi: Send + Sync {
    /// One page of `logs:FilterLogEvents`.
    async fn filter_log_events(&self, request: &FilterRequest) -> Result<FilterPage, ApiError>;

    /// One page of `logs:DescribeLogGroups`.
    async fn describe_log_groups(&self, request: &GroupsRequest) -> Result<GroupsPage, ApiError>;

    /// All flow logs that `ec2:DescribeFlowLogs` knows for this log group; [`ErrorKind::NoProgress`](crate::ErrorKind)
    /// where they have no end.
    async fn describe_flow_logs(&self, log_group: &str) -> Result<Vec<FlowLog>, ApiError>;

    /// The metric `AWS/Logs IncomingLogEvents` of a log group for `from_ms <= time < to_ms`, in periods of `period_s`
    /// seconds: 60 for the last 15 days, 300 for 63, 3600 for 455 (`cloudwatch:GetMetricData`). A period without events
    /// may be left out.
    async fn incoming_log_events(
        &self,
        log_group: &str,
        from_ms: i64,
        to_ms: i64,
        period_s: u32,
    ) -> Result<Vec<MinuteCount>, ApiError>;

    /// The account that the credentials belong to (`sts:GetCallerIdentity`, which needs no permission).
    async fn account_id(&self) -> Result<String, ApiError>;
}

/// What to ask `FilterLogEvents` for. All but `token` must stay as they are while a token lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRequest {
    /// The log group.
    pub group: LogGroupName,
    /// Earliest event time, milliseconds since the epoch, inclusive.
    pub start_ms: i64,
    /// Latest event time, milliseconds since the epoch, **inclusive**.
    pub end_ms: i64,
    /// Which streams.
    pub streams: StreamFilter,
    /// CloudWatch's filter pattern; empty matches everything.
    pub pattern: String,
    /// The `nextToken` of the page before.
    pub token: Option<String>,
}

impl FilterRequest {
    /// Events in a page at most: what the service allows.
    pub const LIMIT: i32 = 10_000;
}

/// Which streams of a log group are read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum StreamFilter {
    /// All of them.
    #[default]
    All,
    /// Those whose names begin so.
    Prefix(String),
    /// These, at most 100.
    Names(Vec<String>),
}

/// One page of events, ordered by time, ingestion and request. It may be empty and still have a token.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FilterPage {
    /// The events.
    pub events: Vec<LogEvent>,
    /// How to get the next page; `None` is the end of the data.
    pub next_token: Option<String>,
    /// A time of the service's clock before it answered, in milliseconds since the epoch: the chain of pages from this
    /// one on has every event that was visible then. `None` if the reply had no `Date`.
    pub asked_at_ms: Option<i64>,
}

/// One log event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogEvent {
    /// The event's own time in milliseconds since the epoch.
    pub timestamp: i64,
    /// When CloudWatch ingested it, in milliseconds since the epoch.
    pub ingestion_time: i64,
    /// The text.
    pub message: String,
    /// The stream it lies in.
    pub log_stream: String,
    /// CloudWatch's name for it: 56 decimal digits.
    pub event_id: String,
}

/// What to ask `DescribeLogGroups` for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GroupsRequest {
    /// Names that begin so; empty for all.
    pub prefix: String,
    /// The `nextToken` of the page before.
    pub token: Option<String>,
}

/// One page of log groups, ordered by name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GroupsPage {
    /// The groups.
    pub groups: Vec<LogGroup>,
    /// How to get the next page; `None` is the end.
    pub next_token: Option<String>,
}

/// A log group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogGroup {
    /// Its name.
    pub name: String,
    /// The account that its ARN names.
    pub account: Option<String>,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: Option<i64>,
    /// After how many days events are deleted; `None` keeps them for ever.
    pub retention_days: Option<i32>,
}

/// A flow log that writes to a log group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FlowLog {
    /// `fl-0123456789abcdef0`.
    pub id: String,
    /// Its format: `${version} ${account-id} ...`.
    pub format: String,
    /// `MaxAggregationInterval`: 60 or 600 seconds.
    pub aggregation_s: u32,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: Option<i64>,
}

/// How many events a log group ingested within one period, for an audit a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCount {
    /// The period's first millisecond since the epoch.
    pub minute_ms: i64,
    /// Events.
    pub events: u64,
}
