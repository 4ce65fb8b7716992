//! Metrics that every component of a kind has, declared as a plugin declares its own ([`metrics!`](crate::metrics!)).
//!
//! Names follow Prometheus's conventions (base units, `_total` for counters) and Vector's vocabulary.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::plugin_metrics::{Families, Labelled, PluginMetrics, Scope};
use crate::shown::fit_to_show;
use crate::{ComponentId, FloatGauge, find, metrics};

/// Reasons may be a server's words: a component's labels have at most so many of at most so many bytes, the others are
/// one.
const MAX_REASONS: usize = 64;
const MAX_REASON_BYTES: usize = 64;
const OTHER_REASON: &str = "other";

pub(crate) const COMPONENT: [&str; 3] = ["component_id", "component_kind", "component_type"];

/// 1 ms to 33 s.
const SECONDS: [f64; 16] = powers(0.001, 2.0);
const ROWS: [f64; 10] = powers(1.0, 4.0);
const BYTES: [f64; 10] = powers(1024.0, 4.0);

/// All metric families of one run, and the registry that serves them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    reloads: IntCounterVec,
    /// `memory_budget_bytes`.
    pub memory_budget: IntGauge,
    /// `memory_used_bytes`.
    pub memory_used: IntGauge,
}

metrics! {
    /// What is counted of every component.
    pub struct CommonMetrics {
        /// events that came in
        received: counter "component_received_events_total",
        /// bytes that came in
        received_bytes: counter "component_received_bytes_total",
        /// events that went on, for a sink: were delivered
        sent: counter "component_sent_events_total",
        /// bytes that went on
        sent_bytes: counter "component_sent_bytes_total",
        /// events made beyond those received
        created: counter "component_created_events_total",
        /// events inside the component
        in_flight: gauge "component_events_in_flight",
        /// CPU thread time spent
        busy: float_counter "component_busy_seconds_total",
        /// events dropped on purpose
        discarded: counter "component_discarded_events_total" ["reason"],
        /// events sent to the rejected port
        rejected: counter "component_rejected_events_total" ["reason"],
        /// errors
        errors: counter "component_errors_total" ["error_type"],
    }
}

metrics! {
    struct LagMetrics {
        /// how long the oldest record that is not delivered has been due
        lag: float_gauge "source_lag_seconds",
    }
}

metrics! {
    /// What is counted of every sink.
    pub struct DeliveryMetrics {
        /// requests sent and not answered
        requests_in_flight: gauge "sink_requests_in_flight",
        /// requests allowed at once now
        concurrency_limit: gauge "sink_concurrency_limit",
        /// time from sending a request to its answer
        request_seconds: histogram(&SECONDS) "sink_request_seconds",
        /// rows per request
        batch_rows: histogram(&ROWS) "sink_batch_rows",
        /// bytes per request
        batch_bytes: histogram(&BYTES) "sink_batch_bytes",
        /// events that the server had already
        duplicates: counter "sink_duplicates_total",
        /// events that wait for somebody to act
        blocked: gauge "sink_blocked_events",
        /// events whose destination does not take them while others go on
        waiting: gauge "sink_waiting_events",
        /// memory held by events that wait
        waiting_bytes: gauge "sink_waiting_bytes",
        /// events that wait on disk
        spilled: gauge "sink_spilled_events",
        /// requests tried again
        retries: counter "sink_retries_total" ["reason"],
    }
}

/// A component's metrics: [`CommonMetrics`], and the way to its plugin's own.
#[derive(Clone, Debug)]
pub struct ComponentMetrics {
    scope: Scope,
    reasons: Arc<Mutex<BTreeSet<String>>>,
    common: CommonMetrics,
}

/// A source's metrics beside the common ones.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    /// The common ones.
    pub component: ComponentMetrics,
    /// How far the source itself knows to be behind, where records have a time of their own: CloudWatch's events.
    /// `source_lag_seconds` is the greater of this and of what the engine sees ([`SourceMetrics::show_lag`]).
    pub lag: FloatGauge,
    shown: LagMetrics,
}

/// A sink's metrics beside the common ones: [`DeliveryMetrics`].
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// The common ones.
    pub component: ComponentMetrics,
    own: DeliveryMetrics,
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
        macro_rules! registered {
            ($family:expr) => {{
                let family = $family.expect("valid names");
                registry.register(Box::new(family.clone())).expect("names differ");
                family
            }};
        }
        let build = Opts::new("build_info", "version of this build");
        registered!(IntGaugeVec::new(build, &["version"]))
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let families = Families::new(registry.clone());
        // These names are taken, whatever a plugin declares.
        for spec in [CommonMetrics::SPECS, LagMetrics::SPECS, DeliveryMetrics::SPECS].concat() {
            families.family(&spec);
        }
        let reloads = Opts::new("reloads_total", "configurations loaded again, and what became of them");
        Self {
            reloads: registered!(IntCounterVec::new(reloads, &["outcome"])),
            memory_budget: registered!(IntGauge::new(
                "memory_budget_bytes",
                "the budget for events in flight"
            )),
            memory_used: registered!(IntGauge::new("memory_used_bytes", "bytes held by events in flight")),
            families,
            registry,
        }
    }

    pub(crate) fn families(&self) -> &Families {
        &self.families
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

    /// The metrics of one component. What its plugin declares without labels is there from the start, at 0.
    pub fn component(&self, id: &ComponentId) -> ComponentMetrics {
        let labels = [id.name.to_string(), id.kind.as_str().to_owned(), id.type_name.to_owned()];
        let scope = Scope::new(labels, self.families.clone());
        let plugin = find(id.kind, id.type_name);
        plugin.into_iter().flat_map(|plugin| plugin.metrics).for_each(|spec| scope.show(spec));
        ComponentMetrics { common: CommonMetrics::of(&scope), reasons: Arc::default(), scope }
    }

    /// The metrics of a source.
    ///
    /// # Panics
    /// Never: the name below is valid.
    #[allow(clippy::expect_used)]
    pub fn source(&self, id: &ComponentId) -> SourceMetrics {
        let component = self.component(id);
        let lag = FloatGauge::new("lag", "of no registry").expect("a valid name");
        SourceMetrics { lag, shown: component.own(), component }
    }

    /// The metrics of a sink.
    pub fn sink(&self, id: &ComponentId) -> SinkMetrics {
        let component = self.component(id);
        SinkMetrics { own: component.own(), component }
    }
}

// === impl ComponentMetrics ===

impl Deref for ComponentMetrics {
    type Target = CommonMetrics;

    fn deref(&self) -> &CommonMetrics {
        &self.common
    }
}

impl ComponentMetrics {
    /// Counts under a reason that may be a server's word.
    fn count(&self, metric: &Labelled<IntCounter>, reason: &str, count: u64) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.contains(reason) {
            return metric.with(&[reason]).inc_by(count);
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
        metric.with(&[reason]).inc_by(count);
    }

    /// `component_discarded_events_total{reason}`.
    pub fn discarded(&self, reason: &str, events: u64) {
        self.common.discarded.with(&[reason]).inc_by(events);
    }

    /// `component_rejected_events_total{reason}`.
    pub fn rejected(&self, reason: &str, events: u64) {
        self.count(&self.common.rejected, reason, events);
    }

    /// `component_errors_total{error_type}`.
    pub fn error(&self, error_type: &str, count: u64) {
        self.count(&self.errors, error_type, count);
    }

    /// The handles of the plugin's own metrics. Resolve them once, or once a batch.
    pub fn own<M: PluginMetrics>(&self) -> M {
        M::of(&self.scope)
    }
}

impl SourceMetrics {
    /// Sets `source_lag_seconds`, the engine's: so long the oldest record has been due that was read and is not
    /// delivered, or cannot be read.
    pub fn show_lag(&self, seconds: f64) {
        self.shown.lag.set(seconds.max(self.lag.get()));
    }
}

impl Deref for SinkMetrics {
    type Target = DeliveryMetrics;

    fn deref(&self) -> &DeliveryMetrics {
        &self.own
    }
}

impl SinkMetrics {
    /// `sink_retries_total{reason}`.
    pub fn retried(&self, reason: &str) {
        self.component.count(&self.retries, reason, 1);
    }
}

/// Bounds of a histogram.
const fn powers<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    let (mut bounds, mut at) = ([start; N], 1);
    while at < N {
        bounds[at] = bounds[at - 1] * factor;
        at += 1;
    }
    bounds
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
