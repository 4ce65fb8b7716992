//! The standard plugins: each is linked by the cargo feature of its crate's name, and known by name without it.

use flowstone_config::StandardPlugin;
use flowstone_core::Kind;

macro_rules! standard_plugins {
    ($($feature:literal, $crate_name:ident => $kind:ident $type_name:literal;)+) => {
        $(
            #[cfg(feature = $feature)]
            use $crate_name as _;
        )+

        /// Every plugin that flowstone comes with, whether it is in this build or not.
        pub const STANDARD_PLUGINS: &[StandardPlugin] = &[
            $(StandardPlugin { kind: Kind::$kind, type_name: $type_name, feature: $feature },)+
        ];
    };
}

standard_plugins! {
    "source-cloudwatch-logs", source_cloudwatch_logs => Source "cloudwatch_logs";
    "source-demo", source_demo => Source "demo";
    "source-file", source_file => Source "file";
    "source-stdin", source_stdin => Source "stdin";
    "transform-date", transform_date => Transform "date";
    "transform-filter", transform_filter => Transform "filter";
    "transform-geoip", transform_geoip => Transform "geoip";
    "transform-grok", transform_grok => Transform "grok";
    "transform-mutate", transform_mutate => Transform "mutate";
    "transform-route", transform_route => Transform "route";
    "transform-vpcflow", transform_vpcflow => Transform "vpcflow";
    "sink-blackhole", sink_blackhole => Sink "blackhole";
    "sink-console", sink_console => Sink "console";
    "sink-elasticsearch", sink_elasticsearch => Sink "elasticsearch";
    "sink-file", sink_file => Sink "file";
}
