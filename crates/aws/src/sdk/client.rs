//! [`LogsApi`] against AWS.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use aws_config::Region;
use aws_credential_types::Credentials;
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;

use super::endpoint::{Endpoint, Service};
use super::fault::Call;
use super::query::{self, Form};
use super::session::Session;
use super::{http, replies};
use crate::{
    ApiError, Arn, ErrorKind, FilterPage, FilterRequest, FlowLog, GroupsPage, GroupsRequest, LogEvent,
    LogGroup, LogsApi, MinuteCount, Operation, StreamFilter,
};

/// One region of one account. Clones are one client.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    region: String,
    logs: aws_sdk_cloudwatchlogs::Client,
    sts: aws_sdk_sts::Client,
    /// By [`Service`].
    asked: [Asked; 4],
}

/// Where a service is asked, and whether it has ever answered.
#[derive(Debug)]
struct Asked {
    endpoint: Endpoint,
    reached: AtomicBool,
}

/// Log groups in a page of `DescribeLogGroups` at most: what the service allows.
const GROUPS: i32 = 50;
/// Flow logs in a page of `DescribeFlowLogs` at most: what the service allows.
const FLOW_LOGS: &str = "1000";
/// Minutes in a page of `GetMetricData` at most: what the service allows.
const MINUTES: &str = "100800";
/// Pages of one question at most: some hundred thousand flow logs, or minutes of more than ten years.
const PAGES_AT_MOST: usize = 100;

// === impl Client ===

impl Client {
    /// Asks one region with a session's credentials. All clients share their connections.
    pub fn new(session: &Session, region: &str) -> Self {
        let config = session.config().to_builder().region(Region::new(region.to_owned())).build();
        let asked = [Service::Logs, Service::Ec2, Service::CloudWatch, Service::Sts].map(|service| Asked {
            endpoint: service.endpoint(&config, session.endpoint(), region),
            reached: AtomicBool::new(false),
        });
        let inner = Inner {
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            region: region.to_owned(),
            asked,
            session: session.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The region that is asked.
    pub fn region(&self) -> &str {
        &self.inner.region
    }

    /// A request through the SDK. Nothing of it is sent before there are credentials.
    async fn sdk<T, E>(
        &self,
        operation: Operation,
        service: Service,
        had_token: bool,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, ApiError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let credentials = self.inner.session.credentials().get(operation).await?;
        let call = self.call(operation, service, had_token, &credentials);
        let result = match request.await {
            Ok(output) => Ok(output),
            Err(e) => Err(call.confirmed(call.of_sdk(&e)).await),
        };
        self.after(service, &credentials, result).await
    }

    /// A request of the query protocol; its reply is what `read` makes of the text.
    async fn query<T, E: ToString>(
        &self,
        operation: Operation,
        service: Service,
        had_token: bool,
        form: Form,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ApiError> {
        let credentials = self.inner.session.credentials().get(operation).await?;
        let call = self.call(operation, service, had_token, &credentials);
        let request = query::send(&call, service, &self.inner.region, form);
        let result = match tokio::time::timeout(http::ATTEMPT, request).await {
            Ok(Ok(text)) => read(&text).map_err(|e| call.unreadable(&e.to_string())),
            Ok(Err(e)) => Err(call.confirmed(e).await),
            Err(_) => Err(call.late()),
        };
        self.after(service, &credentials, result).await
    }

    fn call<'a>(
        &'a self,
        operation: Operation,
        service: Service,
        had_token: bool,
        credentials: &'a Credentials,
    ) -> Call<'a> {
        let asked = &self.inner.asked[service as usize];
        let reached = asked.reached.load(Ordering::Relaxed);
        Call { operation, endpoint: &asked.endpoint, had_token, reached, credentials }
    }

    /// The error of a good answer without what AWS always gives: a proxy or a gateway has made it.
    fn not_aws(&self, operation: Operation, service: Service) -> ApiError {
        let url = &self.inner.asked[service as usize].endpoint.url;
        let message = format!("the answer of {url} is not AWS's; check proxies");
        ApiError::new(operation, ErrorKind::Unavailable, "", message)
    }

    /// Notes what a result says about the service's endpoint and the credentials.
    async fn after<T>(
        &self,
        service: Service,
        credentials: &Credentials,
        result: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let answered = result.as_ref().err().is_none_or(|e| !e.code.is_empty());
        if answered {
            self.inner.asked[service as usize].reached.store(true, Ordering::Relaxed);
        }
        if let Err(e) = &result
            && matches!(e.kind, ErrorKind::ExpiredCredentials | ErrorKind::NoCredentials)
        {
            self.inner.session.credentials().forget(credentials).await;
        }
        result
    }
}

#[async_trait]
impl LogsApi for Client {
    async fn filter_log_events(&self, request: &FilterRequest) -> Result<FilterPage, ApiError> {
        let asked_at = Arc::new(AtomicI64::new(UNKNOWN));
        let name = &request.group;
        let (own, foreign) = match &name.foreign_arn {
            Some(arn) => (None, Some(arn.clone())),
            None => (Some(name.name.clone()), None),
        };
        let (prefix, names) = match &request.streams {
            StreamFilter::All => (None, None),
            StreamFilter::Prefix(prefix) => (Some(prefix.clone()), None),
            StreamFilter::Names(names) => (None, Some(names.clone())),
        };
        #[expect(deprecated, reason = "AWS ignores `interleaved`, and always does so; moto goes by it")]
        let builder = self
            .inner
            .logs
            .filter_log_events()
            .set_log_group_name(own)
            .set_log_group_identifier(foreign)
            .set_log_stream_name_prefix(prefix)
            .set_log_stream_names(names)
            .set_filter_pattern(Some(request.pattern.clone()).filter(|pattern| !pattern.is_empty()))
            .set_next_token(request.token.clone())
            .start_time(request.start_ms)
            .end_time(request.end_ms)
            .limit(FilterRequest::LIMIT)
            .interleaved(true);
        let sent = async {
            let interceptor = AskedAt { begin: Instant::now(), at_ms: Arc::clone(&asked_at) };
            builder.customize().interceptor(interceptor).send().await
        };
        let had_token = request.token.is_some();
        let operation = Operation::FilterLogEvents;
        let output = self.sdk(operation, Service::Logs, had_token, sent).await?;
        // The SDK reads an empty text as a page without events and token, which would end the scan.
        if output.events.is_none() && output.request_id().is_none() {
            return Err(self.not_aws(operation, Service::Logs));
        }
        Ok(FilterPage {
            events: output.events.unwrap_or_default().into_iter().map(event).collect(),
            next_token: output.next_token,
            asked_at_ms: Some(asked_at.load(Ordering::Relaxed)).filter(|&at| at != UNKNOWN),
        })
    }

    async fn describe_log_groups(&self, request: &GroupsRequest) -> Result<GroupsPage, ApiError> {
        let sent = self
            .inner
            .logs
            .describe_log_groups()
            .set_log_group_name_prefix(Some(request.prefix.clone()).filter(|prefix| !prefix.is_empty()))
            .set_next_token(request.token.clone())
            .limit(GROUPS)
            .send();
        let had_token = request.token.is_some();
        let operation = Operation::DescribeLogGroups;
        let output = self.sdk(operation, Service::Logs, had_token, sent).await?;
        if output.log_groups.is_none() && output.request_id().is_none() {
            return Err(self.not_aws(operation, Service::Logs));
        }
        let account = |arn: &str| Arn::parse(arn).map(|arn| arn.account.to_owned());
        let group = |group: aws_sdk_cloudwatchlogs::types::LogGroup| LogGroup {
            account: group.arn.as_deref().or(group.log_group_arn.as_deref()).and_then(account),
            name: group.log_group_name.unwrap_or_default(),
            created_ms: group.creation_time,
            retention_days: group.retention_in_days,
        };
        Ok(GroupsPage {
            groups: output.log_groups.unwrap_or_default().into_iter().map(group).collect(),
            next_token: output.next_token,
        })
    }

    async fn describe_flow_logs(&self, log_group: &str) -> Result<Vec<FlowLog>, ApiError> {
        let operation = Operation::DescribeFlowLogs;
        let mut flow_logs = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_AT_MOST {
            let form = Form::new(operation.name(), "2016-11-15")
                .with("Filter.1.Name", "log-group-name")
                .with("Filter.1.Value.1", log_group)
                .with("MaxResults", FLOW_LOGS);
            let form = with_token(form, token.as_deref());
            let page = self.query(operation, Service::Ec2, token.is_some(), form, replies::flow_logs).await?;
            flow_logs.extend(page.flow_logs);
            token = match further(operation, token, page.next_token)? {
                None => return Ok(flow_logs),
                token => token,
            };
        }
        Err(endless(operation))
    }

    async fn incoming_log_events(
        &self,
        log_group: &str,
        from_ms: i64,
        to_ms: i64,
        period_s: u32,
    ) -> Result<Vec<MinuteCount>, ApiError> {
        let operation = Operation::GetMetricData;
        let period = period_s.to_string();
        let time = |ms: i64| {
            let time = DateTime::from_millis(ms).fmt(Format::DateTime);
            time.map_err(|e| ApiError::new(operation, ErrorKind::Invalid, "", e.to_string()))
        };
        let (from, to) = (time(from_ms)?, time(to_ms)?);
        let mut minutes = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_AT_MOST {
            let form = Form::new(operation.name(), "2010-08-01")
                .with("StartTime", &from)
                .with("EndTime", &to)
                .with("ScanBy", "TimestampAscending")
                .with("MaxDatapoints", MINUTES)
                .with("MetricDataQueries.member.1.Id", "events")
                .with("MetricDataQueries.member.1.MetricStat.Metric.Namespace", "AWS/Logs")
                .with("MetricDataQueries.member.1.MetricStat.Metric.MetricName", "IncomingLogEvents")
                .with("MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Name", "LogGroupName")
                .with("MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Value", log_group)
                .with("MetricDataQueries.member.1.MetricStat.Period", &period)
                .with("MetricDataQueries.member.1.MetricStat.Stat", "Sum");
            let form = with_token(form, token.as_deref());
            let page =
                self.query(operation, Service::CloudWatch, token.is_some(), form, replies::metric).await?;
            let refused = match page.status.as_str() {
                "Forbidden" => Some(ErrorKind::AccessDenied),
                "InternalError" => Some(ErrorKind::Unavailable),
                _ => None,
            };
            if let Some(kind) = refused {
                return Err(ApiError::new(operation, kind, page.status, "the metric was not read"));
            }
            // The service rounds the times outwards.
            minutes.extend(
                page.minutes.into_iter().filter(|minute| (from_ms..to_ms).contains(&minute.minute_ms)),
            );
            token = match further(operation, token, page.next_token)? {
                None => return Ok(minutes),
                token => token,
            };
        }
        Err(endless(operation))
    }

    async fn account_id(&self) -> Result<String, ApiError> {
        let operation = Operation::GetCallerIdentity;
        let output =
            self.sdk(operation, Service::Sts, false, self.inner.sts.get_caller_identity().send()).await?;
        output.account.ok_or_else(|| self.not_aws(operation, Service::Sts))
    }
}

/// The texts are moved, not copied: a page has 10,000 of each.
fn event(event: FilteredLogEvent) -> LogEvent {
    LogEvent {
        timestamp: event.timestamp.unwrap_or_default(),
        ingestion_time: event.ingestion_time.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        log_stream: event.log_stream_name.unwrap_or_default(),
        event_id: event.event_id.unwrap_or_default(),
    }
}

fn with_token(form: Form, token: Option<&str>) -> Form {
    match token {
        Some(token) => form.with("NextToken", token),
        None => form,
    }
}

/// The token of the next page; one that was just used would go on for ever.
fn further(
    operation: Operation,
    used: Option<String>,
    next: Option<String>,
) -> Result<Option<String>, ApiError> {
    if next.is_some() && used == next {
        let message = "the answer names itself as its next page";
        return Err(ApiError::new(operation, ErrorKind::NoProgress, "", message));
    }
    Ok(next)
}

fn endless(operation: Operation) -> ApiError {
    let message = format!("the answer has no end after {PAGES_AT_MOST} pages");
    ApiError::new(operation, ErrorKind::NoProgress, "", message)
}

// === impl AskedAt ===

/// Notes a time of the service's clock at which it had not yet begun to answer.
///
/// `Date` is the service's clock when it wrote the head of its reply, in whole seconds, cut off, and thus between
/// sending the request and receiving the head. So `Date` less the time between these two is no later than the moment
/// of sending; it may be earlier by that time and one second. The machine's own clock, which may be wrong, does not
/// come into it.
#[derive(Debug)]
struct AskedAt {
    begin: Instant,
    at_ms: Arc<AtomicI64>,
}

const UNKNOWN: i64 = i64::MIN;

impl Intercept for AskedAt {
    fn name(&self) -> &'static str {
        "AskedAt"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let took = i64::try_from(self.begin.elapsed().as_millis())?;
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        if let Some(ms) = date.and_then(|date| date.to_millis().ok()) {
            // A millisecond more, for the part of one that `took` lacks.
            self.at_ms.store(ms - took - 1, Ordering::Relaxed);
        }
        Ok(())
    }
}
