//! Metrics that every component of a kind has; those that a plugin has of its own stand with it
//! ([`metrics!`](crate::metrics!)).
//!
//! Names follow Prometheus's conventions (base units, `_total` for counters) and Vector's vocabulary.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::plugin_metrics::{Families, MetricHandle, MetricSpec, PluginMetrics};
use crate::shown::fit_to_show;
use crate::{ComponentId, find};

/// Reasons may be a server's words: a component's labels have at most so many of at most so many bytes, the others are
/// one.
const MAX_REASONS: usize = 64;
const MAX_REASON_BYTES: usize = 64;
const OTHER_REASON: &str = "other";

pub(crate) const COMPONENT: [&str; 3] = ["component_id", "component_kind", "component_type"];

/// All metric families of one run, and the registry that serves them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    received_events: IntCounterVec,
    received_bytes: IntCounterVec,
    sent_events: IntCounterVec,
    sent_bytes: IntCounterVec,
    created_events: IntCounterVec,
    discarded_events: IntCounterVec,
    rejected_events: IntCounterVec,
    errors: IntCounterVec,
    in_flight: IntGaugeVec,
    busy_seconds: prometheus::CounterVec,
    reloads: IntCounterVec,
    source_lag: GaugeVec,
    requests_in_flight: IntGaugeVec,
    concurrency_limit: IntGaugeVec,
    request_seconds: HistogramVec,
    batch_rows: HistogramVec,
    batch_bytes: HistogramVec,
    retries: IntCounterVec,
    sink_duplicates: IntCounterVec,
    sink_blocked: IntGaugeVec,
    sink_waiting: IntGaugeVec,
    sink_waiting_bytes: IntGaugeVec,
    sink_spilled: IntGaugeVec,
    /// `memory_budget_bytes`.
    pub memory_budget: IntGauge,
    /// `memory_used_bytes`.
    pub memory_used: IntGauge,
}

/// The counters every component has.
#[derive(Clone, Debug)]
pub struct ComponentMetrics {
    labels: [String; 3],
    families: Families,
    reasons: Arc<Mutex<BTreeSet<String>>>,
    /// `component_received_events_total`: rows that came in (for a source: that it read).
    pub received: IntCounter,
    /// `component_received_bytes_total`.
    pub received_bytes: IntCounter,
    /// `component_sent_events_total`: rows that went on (for a sink: delivered).
    pub sent: IntCounter,
    /// `component_sent_bytes_total`.
    pub sent_bytes: IntCounter,
    /// `component_created_events_total`: rows made beyond those received; one sent to n outputs creates n - 1.
    pub created: IntCounter,
    /// `component_events_in_flight`: rows inside the component.
    pub in_flight: IntGauge,
    busy: prometheus::Counter,
    discarded: IntCounterVec,
    rejected: IntCounterVec,
    errors: IntCounterVec,
}

/// A source's metrics beside the common ones.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    /// The common counters.
    pub component: ComponentMetrics,
    /// How far the source itself knows to be behind, where records have a time of their own: CloudWatch's events.
    /// `source_lag_seconds` is the greater of this and of what the engine sees ([`SourceMetrics::show_lag`]).
    pub lag: Gauge,
    shown_lag: Gauge,
}

/// A sink's metrics beside the common ones.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// The common counters.
    pub component: ComponentMetrics,
    /// `sink_requests_in_flight`.
    pub requests_in_flight: IntGauge,
    /// `sink_concurrency_limit`: how many requests at once the engine allows now.
    pub concurrency_limit: IntGauge,
    /// `sink_request_seconds`.
    pub request_seconds: Histogram,
    /// `sink_batch_rows`: rows per request.
    pub batch_rows: Histogram,
    /// `sink_batch_bytes`: bytes per request.
    pub batch_bytes: Histogram,
    /// `sink_duplicates_total`: rows that the server had already.
    pub duplicates: IntCounter,
    /// `sink_blocked_events`: rows that wait for somebody to act.
    pub blocked: IntGauge,
    /// `sink_waiting_events`: rows whose destination does not take them while others go on.
    pub waiting: IntGauge,
    /// `sink_waiting_bytes`: the memory that they hold.
    pub waiting_bytes: IntGauge,
    /// `sink_spilled_events`: those of them that are on disk.
    pub spilled: IntGauge,
    retries: IntCounterVec,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Families with nothing in them, in a registry of their own.
    ///
    /// # Panics
    /// Never: the names below are valid and differ, which the first test of this module shows.
    #[allow(clippy::expect_used)]
    pub fn new() -> Self {
        let registry = Registry::new_custom(Some("flowstone".to_owned()), None).expect("a valid prefix");
        let with = |more: &[&'static str]| COMPONENT.iter().chain(more).copied().collect::<Vec<_>>();
        macro_rules! family {
            ($type:ident, $opts:expr, $labels:expr) => {{
                let family = $type::new($opts, $labels).expect("valid names");
                registry.register(Box::new(family.clone())).expect("names differ");
                family
            }};
        }
        let counter = |name: &str, help: &str, more: &[&'static str]| {
            family!(IntCounterVec, Opts::new(name, help), &with(more))
        };
        let gauge = |name: &str, help: &str| family!(IntGaugeVec, Opts::new(name, help), &COMPONENT);
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            family!(HistogramVec, HistogramOpts::new(name, help).buckets(buckets), &COMPONENT)
        };
        let plain = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("valid names");
            registry.register(Box::new(gauge.clone())).expect("names differ");
            gauge
        };
        let powers = |start: f64, factor: f64, count: usize| {
            prometheus::exponential_buckets(start, factor, count).expect("positive buckets")
        };
        let seconds = || powers(0.001, 2.0, 16);
        let build = family!(IntGaugeVec, Opts::new("build_info", "version of this build"), &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        use prometheus::CounterVec;
        Self {
            received_events: counter("component_received_events_total", "events that came in", &[]),
            received_bytes: counter("component_received_bytes_total", "bytes that came in", &[]),
            sent_events: counter(
                "component_sent_events_total",
                "events that went on, for a sink: were delivered",
                &[],
            ),
            sent_bytes: counter("component_sent_bytes_total", "bytes that went on", &[]),
            created_events: counter(
                "component_created_events_total",
                "events made beyond those received",
                &[],
            ),
            discarded_events: counter(
                "component_discarded_events_total",
                "events dropped on purpose",
                &["reason"],
            ),
            rejected_events: counter(
                "component_rejected_events_total",
                "events sent to the rejected port",
                &["reason"],
            ),
            errors: counter("component_errors_total", "errors", &["error_type"]),
            in_flight: gauge("component_events_in_flight", "events inside the component"),
            busy_seconds: family!(
                CounterVec,
                Opts::new("component_busy_seconds_total", "CPU thread time spent"),
                &COMPONENT
            ),
            reloads: family!(
                IntCounterVec,
                Opts::new("reloads_total", "configurations loaded again, and what became of them"),
                &["outcome"]
            ),
            source_lag: family!(
                GaugeVec,
                Opts::new(
                    "source_lag_seconds",
                    "how long the oldest record that is not delivered has been due"
                ),
                &COMPONENT
            ),
            requests_in_flight: gauge("sink_requests_in_flight", "requests sent and not answered"),
            concurrency_limit: gauge("sink_concurrency_limit", "requests allowed at once now"),
            request_seconds: histogram(
                "sink_request_seconds",
                "time from sending a request to its answer",
                seconds(),
            ),
            batch_rows: histogram("sink_batch_rows", "rows per request", powers(1.0, 4.0, 10)),
            batch_bytes: histogram("sink_batch_bytes", "bytes per request", powers(1024.0, 4.0, 10)),
            retries: counter("sink_retries_total", "requests tried again", &["reason"]),
            sink_duplicates: counter("sink_duplicates_total", "events that the server had already", &[]),
            sink_blocked: gauge("sink_blocked_events", "events that wait for somebody to act"),
            sink_waiting: gauge(
                "sink_waiting_events",
                "events whose destination does not take them while others go on",
            ),
            sink_waiting_bytes: gauge("sink_waiting_bytes", "memory held by events that wait"),
            sink_spilled: gauge("sink_spilled_events", "events that wait on disk"),
            memory_budget: plain("memory_budget_bytes", "the budget for events in flight"),
            memory_used: plain("memory_used_bytes", "bytes held by events in flight"),
            families: Families::new(registry.clone()),
            registry,
        }
    }

    pub(crate) fn families(&self) -> Families {
        self.families.clone()
    }

    /// The metrics in Prometheus's text format, version 0.0.4.
    pub fn render(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// The registry, for tests that read values.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// `reloads_total{outcome}`: `taken_over`, or `refused` while the old configuration goes on.
    pub fn reloaded(&self, outcome: &str) {
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// The counters of one component. What its plugin declares without labels is there from the start, at 0.
    pub fn component(&self, id: &ComponentId) -> ComponentMetrics {
        let labels = [id.name.to_string(), id.kind.as_str().to_owned(), id.type_name.to_owned()];
        let at = labels.each_ref().map(String::as_str);
        for spec in find(id.kind, id.type_name).map_or(&[][..], |plugin| plugin.metrics) {
            if spec.labels.is_empty() {
                self.families.family(spec).show(&at);
            }
        }
        ComponentMetrics {
            families: self.families.clone(),
            reasons: Arc::default(),
            received: self.received_events.with_label_values(&at),
            received_bytes: self.received_bytes.with_label_values(&at),
            sent: self.sent_events.with_label_values(&at),
            sent_bytes: self.sent_bytes.with_label_values(&at),
            created: self.created_events.with_label_values(&at),
            in_flight: self.in_flight.with_label_values(&at),
            busy: self.busy_seconds.with_label_values(&at),
            discarded: self.discarded_events.clone(),
            rejected: self.rejected_events.clone(),
            errors: self.errors.clone(),
            labels,
        }
    }

    /// The metrics of a source.
    ///
    /// # Panics
    /// Never: the name below is valid.
    #[allow(clippy::expect_used)]
    pub fn source(&self, id: &ComponentId) -> SourceMetrics {
        let component = self.component(id);
        let at = component.labels.each_ref().map(String::as_str);
        SourceMetrics {
            lag: Gauge::new("lag", "of no registry").expect("a valid name"),
            shown_lag: self.source_lag.with_label_values(&at),
            component: component.clone(),
        }
    }

    /// The metrics of a sink.
    pub fn sink(&self, id: &ComponentId) -> SinkMetrics {
        let component = self.component(id);
        let at = component.labels.each_ref().map(String::as_str);
        SinkMetrics {
            requests_in_flight: self.requests_in_flight.with_label_values(&at),
            concurrency_limit: self.concurrency_limit.with_label_values(&at),
            request_seconds: self.request_seconds.with_label_values(&at),
            batch_rows: self.batch_rows.with_label_values(&at),
            batch_bytes: self.batch_bytes.with_label_values(&at),
            duplicates: self.sink_duplicates.with_label_values(&at),
            blocked: self.sink_blocked.with_label_values(&at),
            waiting: self.sink_waiting.with_label_values(&at),
            waiting_bytes: self.sink_waiting_bytes.with_label_values(&at),
            spilled: self.sink_spilled.with_label_values(&at),
            retries: self.retries.clone(),
            component: component.clone(),
        }
    }
}

// === impl ComponentMetrics ===

impl ComponentMetrics {
    fn labelled(&self, family: &IntCounterVec, more: &[&str]) -> IntCounter {
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).chain(more.iter().copied()).collect();
        family.with_label_values(&labels)
    }

    /// Counts under a reason that may be a server's word.
    fn count(&self, family: &IntCounterVec, reason: &str, count: u64) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.contains(reason) {
            return self.labelled(family, &[reason]).inc_by(count);
        }
        let shown = fit_to_show(reason);
        let reason = match &*shown {
            known if reasons.contains(known) => known,
            new if new.len() <= MAX_REASON_BYTES && reasons.len() < MAX_REASONS => {
                reasons.insert(new.to_owned());
                new
            }
            _ => OTHER_REASON,
        };
        self.labelled(family, &[reason]).inc_by(count);
    }

    /// `component_discarded_events_total{reason}`.
    pub fn discarded(&self, reason: &str, events: u64) {
        self.labelled(&self.discarded, &[reason]).inc_by(events);
    }

    /// `component_rejected_events_total{reason}`.
    pub fn rejected(&self, reason: &str, events: u64) {
        self.count(&self.rejected, reason, events);
    }

    /// `component_errors_total{error_type}`.
    pub fn error(&self, error_type: &str, count: u64) {
        self.count(&self.errors, error_type, count);
    }

    /// `component_busy_seconds_total`.
    pub fn busy(&self, seconds: f64) {
        self.busy.inc_by(seconds);
    }

    /// The handles of the plugin's own metrics. Resolve them once, or once a batch.
    pub fn own<M: PluginMetrics>(&self) -> M {
        M::of(self)
    }

    #[doc(hidden)]
    pub fn handle<H: MetricHandle>(&self, spec: &MetricSpec) -> H {
        H::of(self.families.family(spec), &self.labels)
    }
}

impl SourceMetrics {
    /// Sets `source_lag_seconds`, the engine's: so long the oldest record has been due that was read and is not
    /// delivered, or cannot be read.
    pub fn show_lag(&self, seconds: f64) {
        self.shown_lag.set(seconds.max(self.lag.get()));
    }
}

impl SinkMetrics {
    /// `sink_retries_total{reason}`.
    pub fn retried(&self, reason: &str) {
        self.component.count(&self.retries, reason, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn a_server_that_has_a_new_reason_each_time_makes_no_metric_without_end() {
        let metrics = Metrics::new();
        let id = ComponentId { name: "es".into(), kind: Kind::Sink, type_name: "elasticsearch" };
        let sink = metrics.sink(&id);
        crate::shown::hide("hunter2-of-metrics");
        sink.component.rejected("the password hunter2-of-metrics\n", 1);
        for number in 0..10_000 {
            sink.component.rejected(&format!("reason-{number}"), 1);
            sink.component.error(&format!("error-{number}"), 1);
            sink.retried(&"x".repeat(number));
        }
        let text = metrics.render();
        assert!(text.lines().count() < 400, "{}", text.lines().count());
        assert!(text.contains("reason=\"the password ***\\\\n\""), "{text}");
        let rejected =
            text.lines().filter(|line| line.starts_with("flowstone_component_rejected_events_total{"));
        let sum: f64 = rejected.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
        assert_eq!(sum, 10_001.0, "each is counted");
        assert!(text.contains("reason=\"other\""));
    }

    #[test]
    fn names_follow_prometheus_conventions() {
        let metrics = Metrics::new();
        let id = ComponentId { name: "es".into(), kind: Kind::Sink, type_name: "elasticsearch" };
        metrics.sink(&id).retried("busy");
        metrics.component(&id).discarded("empty_line", 2);
        let text = metrics.render();
        assert!(text.contains(
            "flowstone_component_discarded_events_total{component_id=\"es\",component_kind=\"sink\",component_type=\"elasticsearch\",reason=\"empty_line\"} 2"
        ), "{text}");
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            assert!(name.starts_with("flowstone_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} {kind}");
        }
    }
}
