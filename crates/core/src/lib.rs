//! What a flowstone plugin is written against: the traits [`Source`], [`Transform`] and [`Sink`], their options and
//! registration, acknowledgements, verdicts, checkpoints and metric handles.
//!
//! A plugin depends on this crate, on `flowstone-dialect` for conditions and templates and on `flowstone-lines` for
//! streams of lines, never on another plugin, on `flowstone-config` or on `flowstone-engine`. Plugins classify outcomes; the engine retries, batches, drains and counts.
//!
//! ```
//! use flowstone_core::prelude::*;
//!
//! options! {
//!     /// Options of `shout`.
//!     pub struct ShoutOptions {
//!         /// The field to change.
//!         field: String = "message".to_owned(),
//!     }
//! }
//!
//! #[derive(Clone)]
//! struct Shout(ShoutOptions);
//!
//! impl Transform for Shout {
//!     fn apply(&mut self, batch: &mut Batch, _cx: &mut TransformCx<'_>) {
//!         batch.rows(|row| {
//!             if let Some(text) = row.str(&self.0.field).map(str::to_uppercase) {
//!                 row.set(&self.0.field, text).ok();
//!             }
//!         });
//!     }
//!     fn fork(&self) -> Box<dyn Transform> {
//!         Box::new(self.clone())
//!     }
//! }
//!
//! register_transform! {
//!     "shout",
//!     summary: "writes a field in upper case",
//!     options: ShoutOptions,
//!     example: "field = \"message\"",
//!     build: |options: ShoutOptions, _cx: &BuildCx| Ok(Box::new(Shout(options))),
//! }
//! ```
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod ack;
mod append;
mod component;
mod diagnostic;
mod health;
pub mod json;
mod kept;
mod metrics;
mod node;
mod option_types;
mod options;
mod plugin_metrics;
mod private_files;
mod registry;
pub mod shown;
mod sink;
mod source;
mod state;
mod stored;
mod tasks;
mod transform;
mod verdict;

pub use ack::{Ack, AckOutcome, AckSlot};
pub use append::AppendFile;
pub use component::{BuildCx, BuildError, Clock, ComponentId, Kind};
pub use diagnostic::{Diagnostic, Diagnostics, Severity, nearest};
pub use flowstone_event as event;
pub use health::{ComponentHealth, Health};
pub use json::parse_json;
pub use kept::Origin;
pub use metrics::{CommonMetrics, ComponentMetrics, DeliveryMetrics, Metrics, SinkMetrics, SourceMetrics};
pub use node::{Entry, Node, NodeKind, Span, Table};
pub use option_types::{ByteSize, Secret, parse_duration, show_duration};
pub use options::{OptionSpec, OptionType};
pub use plugin_metrics::{
    Family, Labelled, Metric, MetricHandle, MetricKind, MetricSpec, PluginMetrics, metric_problems,
};
pub use private_files::{make_data_dir, make_private_dir, open_private, sync_dir};
pub use prometheus::{
    Counter as FloatCounter, Gauge as FloatGauge, Histogram, IntCounter as Counter, IntGauge as Gauge,
};
pub use registry::{Build, Built, Plugin, find, plugins};
pub use sink::{Body, Request, RowSpan, Rows, Segment, Sink, SinkCx, SinkLimits};
pub use source::{
    Backfill, BackfillEstimate, BackfillProgress, Next, Position, Source, SourceBatch, SourceCx, SourceError,
    SourceTraits,
};
pub use state::StateDir;
pub use tasks::{HandOver, Task, Tasks, blocking};
pub use transform::{Transform, TransformCx};
pub use verdict::{Rejection, Verdict, Verdicts};

#[doc(hidden)]
pub mod private {
    //! What the macros expand to.
    pub use crate::plugin_metrics::Scope;
    pub use indexmap;
    pub use inventory;
}

/// Everything a plugin needs, in one line.
pub mod prelude {
    pub use crate::event::{Batch, Path, Row, RowId, RowView, Value};
    pub use crate::{
        Body, BuildCx, BuildError, ByteSize, Next, Position, Rejection, Request, Rows, Secret, Sink, SinkCx,
        SinkLimits, Source, SourceBatch, SourceCx, SourceError, SourceTraits, Transform, TransformCx,
        Verdict, Verdicts, blocking, choices, metrics, options, register_sink, register_source,
        register_transform,
    };
    pub use async_trait::async_trait;
}
