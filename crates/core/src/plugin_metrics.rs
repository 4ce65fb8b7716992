//! Metrics that a plugin declares beside its options, and the typed handles that it gets for them.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::Plugin;
use crate::metrics::COMPONENT;

/// What is known of a metric without running: one place for its name, kind, labels and description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricSpec {
    /// The name behind `flowstone_`: base units, `_total` for counters.
    pub name: &'static str,
    /// What it counts or shows, in lower case without a full stop.
    pub help: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels beside those of the component.
    pub labels: &'static [&'static str],
}

/// The kind of a metric, as Prometheus has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// A counter of fractions, as of seconds.
    FloatCounter,
    /// A number that goes up and down.
    Gauge,
    /// A gauge of fractions.
    FloatGauge,
    /// How often values fell below each of these bounds.
    Histogram(&'static [f64]),
}

/// The metrics of a plugin, made by [`metrics!`](crate::metrics!).
pub trait PluginMetrics: Sized {
    /// What is declared.
    const SPECS: &'static [MetricSpec];

    /// The handles; see [`ComponentMetrics::own`](crate::ComponentMetrics::own).
    fn of(scope: &Scope) -> Self;
}

/// A metric without labels of its own, or [`Labelled`].
pub trait MetricHandle: Sized {
    #[doc(hidden)]
    fn of(family: Family, component: &Arc<[String; 3]>) -> Self;
}

/// A kind of handle.
pub trait Metric: Sized {
    #[doc(hidden)]
    fn with(family: &Family, values: &[&str]) -> Self;
}

/// A metric with labels of its own.
#[derive(Clone, Debug)]
pub struct Labelled<M> {
    family: Family,
    component: Arc<[String; 3]>,
    metric: PhantomData<M>,
}

/// All metrics of one name.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Family {
    Counter(IntCounterVec),
    FloatCounter(CounterVec),
    Gauge(IntGaugeVec),
    FloatGauge(GaugeVec),
    Histogram(HistogramVec),
    /// Its declaration is wrong: what is counted is not shown.
    Unknown,
}

/// The families that plugins declared, made when the first component needs them.
#[derive(Clone, Debug)]
pub(crate) struct Families {
    registry: Registry,
    made: Arc<Mutex<BTreeMap<&'static str, (MetricSpec, Family)>>>,
}

/// A component's labels, and where the families of its metrics are.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Scope {
    component: Arc<[String; 3]>,
    families: Families,
}

/// Declares a struct of metrics: each one's name, kind, labels and description in one place.
///
/// A field is `counter`, `gauge`, `float_counter`, `float_gauge` or `histogram(&BOUNDS)` with its name, and labels if it has any:
/// `lookups: counter "geoip_lookups_total" ["outcome"]`. The component's labels are added. Handles come from
/// [`ComponentMetrics::own`](crate::ComponentMetrics::own).
#[macro_export]
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident : $kind:ident $(($bounds:expr))? $metric:literal $([$($label:literal),+])?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $($(#[doc = $doc])+ $vis $field: $crate::metrics!(@handle $kind $([$($label),+])?),)*
        }

        impl $crate::PluginMetrics for $name {
            const SPECS: &'static [$crate::MetricSpec] = &[
                $($crate::metrics!(@spec $kind $(($bounds))? $metric $([$($label),+])? $($doc)+)),*
            ];

            fn of(scope: &$crate::private::Scope) -> Self {
                Self {
                    $($field: scope.handle(
                        const { &$crate::metrics!(@spec $kind $(($bounds))? $metric $([$($label),+])? $($doc)+) }
                    ),)*
                }
            }
        }
    };
    (@handle $kind:ident) => { $crate::metrics!(@metric $kind) };
    (@handle $kind:ident [$($label:literal),+]) => { $crate::Labelled<$crate::metrics!(@metric $kind)> };
    (@metric counter) => { $crate::Counter };
    (@metric float_counter) => { $crate::FloatCounter };
    (@metric gauge) => { $crate::Gauge };
    (@metric float_gauge) => { $crate::FloatGauge };
    (@metric histogram) => { $crate::Histogram };
    (@spec $kind:ident $(($bounds:expr))? $metric:literal $([$($label:literal),+])? $($doc:literal)+) => {
        $crate::MetricSpec {
            name: $metric,
            help: concat!($($doc),+).trim_ascii(),
            kind: $crate::metrics!(@kind $kind $(($bounds))?),
            labels: &[$($($label),+)?],
        }
    };
    (@kind counter) => { $crate::MetricKind::Counter };
    (@kind float_counter) => { $crate::MetricKind::FloatCounter };
    (@kind gauge) => { $crate::MetricKind::Gauge };
    (@kind float_gauge) => { $crate::MetricKind::FloatGauge };
    (@kind histogram($bounds:expr)) => { $crate::MetricKind::Histogram($bounds) };
}

/// What is wrong with the metrics that these plugins declare, each with the plugin that is to blame: a name that is none
/// for Prometheus or that means something else elsewhere, or a metric without a word on it.
pub fn metric_problems<'a>(plugins: impl IntoIterator<Item = &'a Plugin>) -> Vec<(&'a Plugin, String)> {
    let metrics = crate::Metrics::new();
    let families = metrics.families();
    let mut problems = Vec::new();
    for plugin in plugins {
        for spec in plugin.metrics {
            let wrong = match spec.help {
                help if help.len() < 5 || help.ends_with('.') => {
                    Some("has no line of help without a full stop")
                }
                _ if (spec.kind.to_string() == "counter") != spec.name.ends_with("_total") => {
                    Some("ends with `_total` if it is a counter, and only then")
                }
                _ if matches!(families.family(spec), Family::Unknown) => {
                    Some("is no name for a metric, or one with another meaning elsewhere")
                }
                _ => None,
            };
            problems.extend(wrong.map(|wrong| (plugin, format!("the metric `{}` {wrong}", spec.name))));
        }
    }
    problems
}

// === impl MetricKind ===

impl std::fmt::Display for MetricKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Counter | Self::FloatCounter => "counter",
            Self::Gauge | Self::FloatGauge => "gauge",
            Self::Histogram(_) => "histogram",
        })
    }
}

// === impl Families ===

impl Families {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, made: Arc::default() }
    }

    /// The family of this metric. Plugins that declare the same share it.
    pub(crate) fn family(&self, spec: &MetricSpec) -> Family {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.get(spec.name) {
            Some((known, family)) if known == spec => family.clone(),
            Some(_) => Family::Unknown,
            None => {
                let family = self.register(spec).unwrap_or(Family::Unknown);
                made.insert(spec.name, (*spec, family.clone()));
                family
            }
        }
    }

    fn register(&self, spec: &MetricSpec) -> prometheus::Result<Family> {
        let labels: Vec<&str> = COMPONENT.iter().chain(spec.labels).copied().collect();
        let opts = Opts::new(spec.name, spec.help);
        macro_rules! registered {
            ($kind:ident, $family:expr) => {{
                let family = $family?;
                self.registry.register(Box::new(family.clone()))?;
                Family::$kind(family)
            }};
        }
        Ok(match spec.kind {
            MetricKind::Counter => registered!(Counter, IntCounterVec::new(opts, &labels)),
            MetricKind::FloatCounter => registered!(FloatCounter, CounterVec::new(opts, &labels)),
            MetricKind::Gauge => registered!(Gauge, IntGaugeVec::new(opts, &labels)),
            MetricKind::FloatGauge => registered!(FloatGauge, GaugeVec::new(opts, &labels)),
            MetricKind::Histogram(bounds) => {
                let opts = HistogramOpts::from(opts).buckets(bounds.to_vec());
                registered!(Histogram, HistogramVec::new(opts, &labels))
            }
        })
    }
}

// === impl Scope ===

impl Scope {
    pub(crate) fn new(component: [String; 3], families: Families) -> Self {
        Self { component: Arc::new(component), families }
    }

    #[doc(hidden)]
    pub fn handle<H: MetricHandle>(&self, spec: &MetricSpec) -> H {
        H::of(self.families.family(spec), &self.component)
    }

    /// Makes a metric without labels of its own visible, at 0.
    pub(crate) fn show(&self, spec: &MetricSpec) {
        match (spec.labels, spec.kind) {
            ([], MetricKind::Counter) => drop(self.handle::<IntCounter>(spec)),
            ([], MetricKind::FloatCounter) => drop(self.handle::<Counter>(spec)),
            ([], MetricKind::Gauge) => drop(self.handle::<IntGauge>(spec)),
            ([], MetricKind::FloatGauge) => drop(self.handle::<Gauge>(spec)),
            ([], MetricKind::Histogram(_)) => drop(self.handle::<Histogram>(spec)),
            _ => {}
        }
    }
}

// === impl handles ===

impl<M: Metric> MetricHandle for M {
    fn of(family: Family, component: &Arc<[String; 3]>) -> Self {
        M::with(&family, &component.each_ref().map(String::as_str))
    }
}

impl<M> MetricHandle for Labelled<M> {
    fn of(family: Family, component: &Arc<[String; 3]>) -> Self {
        Self { family, component: Arc::clone(component), metric: PhantomData }
    }
}

impl<M: Metric> Labelled<M> {
    /// The metric with these values of its labels, in their order.
    pub fn with(&self, values: &[&str]) -> M {
        let values: Vec<&str> =
            self.component.iter().map(String::as_str).chain(values.iter().copied()).collect();
        M::with(&self.family, &values)
    }
}

/// A handle of no registry, where a declaration is wrong, is as good to count with.
macro_rules! metric {
    ($metric:ty, $variant:ident, $detached:expr) => {
        impl Metric for $metric {
            #[allow(clippy::expect_used)] // The name is valid.
            fn with(family: &Family, values: &[&str]) -> Self {
                let known = match family {
                    Family::$variant(family) => family.get_metric_with_label_values(values).ok(),
                    _ => None,
                };
                known.unwrap_or_else(|| $detached.expect("a valid name"))
            }
        }
    };
}
metric!(IntCounter, Counter, IntCounter::new("detached", "of no registry"));
metric!(Counter, FloatCounter, Counter::new("detached", "of no registry"));
metric!(IntGauge, Gauge, IntGauge::new("detached", "of no registry"));
metric!(Gauge, FloatGauge, Gauge::new("detached", "of no registry"));
metric!(Histogram, Histogram, Histogram::with_opts(HistogramOpts::new("detached", "of no registry")));

#[cfg(test)]
mod tests {
    use crate::{ComponentId, Kind, Metrics};

    metrics! {
        /// Metrics of a test.
        struct TestMetrics {
            /// pages
            /// that were read
            pages: counter "test_pages_total" ["outcome"],
            /// pages left
            left: gauge "test_pages",
            /// how long a page took
            seconds: histogram(&[1.0, 2.0]) "test_page_seconds",
        }
    }

    metrics! {
        /// The same name with another meaning.
        struct OtherMetrics {
            /// something else
            pages: gauge "test_pages_total",
        }
    }

    #[test]
    fn components_and_their_forks_share_a_family_and_a_clash_counts_for_itself() {
        let metrics = Metrics::new();
        for name in ["a", "b", "a"] {
            let id = ComponentId { name: name.into(), kind: Kind::Transform, type_name: "test" };
            let own: TestMetrics = metrics.component(&id).own();
            own.pages.with(&["ok"]).inc();
            own.left.set(3);
            own.seconds.observe(1.5);
            metrics.component(&id).own::<OtherMetrics>().pages.set(9);
        }
        let text = metrics.render();
        for line in [
            "# HELP flowstone_test_pages_total pages that were read",
            "# TYPE flowstone_test_pages_total counter",
            "flowstone_test_pages_total{component_id=\"a\",component_kind=\"transform\",component_type=\"test\",outcome=\"ok\"} 2",
            "flowstone_test_pages_total{component_id=\"b\",component_kind=\"transform\",component_type=\"test\",outcome=\"ok\"} 1",
            "flowstone_test_pages{component_id=\"b\",component_kind=\"transform\",component_type=\"test\"} 3",
            "flowstone_test_page_seconds_bucket{component_id=\"a\",component_kind=\"transform\",component_type=\"test\",le=\"2\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
