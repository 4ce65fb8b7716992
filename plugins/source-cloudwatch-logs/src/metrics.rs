//! The source's own metrics.

use flowstone_core::metrics;

/// Bounds of lateness in seconds: 1 s to a day and a half, by doubling.
const LATENESS: [f64; 18] = {
    let mut bounds = [1.0; 18];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
};

metrics! {
    /// What it counts beside what every source counts.
    pub(crate) struct CloudwatchLogsMetrics {
        /// requests to AWS
        requests: counter "aws_requests_total" ["operation", "outcome"],
        /// ingestion minus event time
        lateness: histogram(&LATENESS) "source_event_lateness_seconds",
        /// records recognised as read before
        duplicates: counter "source_duplicates_total",
        /// events that the upstream gave although they are outside of the time it was asked for
        outside: counter "source_outside_events_total",
        /// events that the upstream counted and that were not read: found by an audit, or lost for good
        missing: counter "source_missing_events_total" ["stage"],
        /// partitions whose events are known by their time of ingestion instead of their ids
        dedupe_margin_mode: gauge "source_dedupe_margin_mode",
    }
}
