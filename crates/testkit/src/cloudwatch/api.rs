//! The simulated service as flowstone's own API trait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowstone_aws::{
    ApiError, FilterPage, FilterRequest, FlowLog, GroupsPage, GroupsRequest, LogsApi, MinuteCount, Operation,
};

use super::service::SimulatedLogs;

/// [`SimulatedLogs`] behind [`LogsApi`]. Give it tokio's time (`tokio::time::pause` in a test) for a clock, and each
/// call takes `latency` of it.
#[derive(Clone)]
pub struct SimulatedApi {
    service: SimulatedLogs,
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    latency: Duration,
}

impl SimulatedApi {
    /// The service on this clock, which gives milliseconds since the epoch.
    pub fn new(
        service: SimulatedLogs,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
        latency: Duration,
    ) -> Self {
        Self { service, now_ms: Arc::new(now_ms), latency }
    }

    /// On the way there half of the latency passes, and half on the way back.
    async fn call<T>(&self, operation: Operation, each: impl FnOnce(&SimulatedLogs, i64) -> T) -> T {
        tokio::time::sleep(self.latency / 2).await;
        if self.service.is_silent(operation) {
            return std::future::pending().await;
        }
        let reply = each(&self.service, (self.now_ms)());
        tokio::time::sleep(self.latency / 2).await;
        reply
    }
}

#[async_trait]
impl LogsApi for SimulatedApi {
    async fn filter_log_events(&self, request: &FilterRequest) -> Result<FilterPage, ApiError> {
        self.call(Operation::FilterLogEvents, |service, now| service.filter_log_events(now, request)).await
    }

    async fn describe_log_groups(&self, request: &GroupsRequest) -> Result<GroupsPage, ApiError> {
        self.call(Operation::DescribeLogGroups, |service, _| service.describe_log_groups(request)).await
    }

    async fn describe_flow_logs(&self, log_group: &str) -> Result<Vec<FlowLog>, ApiError> {
        self.call(Operation::DescribeFlowLogs, |service, _| service.describe_flow_logs(log_group)).await
    }

    async fn incoming_log_events(
        &self,
        log_group: &str,
        from_ms: i64,
        to_ms: i64,
        period_s: u32,
    ) -> Result<Vec<MinuteCount>, ApiError> {
        let operation = Operation::GetMetricData;
        self.call(operation, |service, now| {
            service.incoming_log_events(now, log_group, from_ms, to_ms, period_s)
        })
        .await
    }

    async fn account_id(&self) -> Result<String, ApiError> {
        self.call(Operation::GetCallerIdentity, |service, _| service.account_id()).await
    }
}
