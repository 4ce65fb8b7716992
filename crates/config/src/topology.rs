//! A topology: checked, built components and how they are joined. What the engine runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flowstone_core::event::Value;
use flowstone_core::{ComponentId, Sink, Source, Transform};
use flowstone_dialect::{Condition, Decorations};

/// Everything the engine needs to run. Built without opening a socket or spawning anything.
pub struct Topology {
    /// What the top level of the file says.
    pub settings: Settings,
    /// The sources, in the order of the file.
    pub sources: Vec<SourceNode>,
    /// The transforms, in the order of the file.
    pub transforms: Vec<TransformNode>,
    /// The sinks, in the order of the file.
    pub sinks: Vec<SinkNode>,
}

/// The options that belong to no component.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where checkpoints and unread dead letters are kept.
    pub data_dir: PathBuf,
    /// The budget in bytes for events in flight.
    pub memory: usize,
    /// At most this many bytes of waiting rows on disk, for each sink.
    pub waiting_max: u64,
    /// CPU threads for transforms and encoding.
    pub workers: usize,
    /// A batch has at most this many rows.
    pub batch_rows: usize,
    /// A batch has at most about this many bytes of text.
    pub batch_bytes: usize,
    /// How long a stop may take to deliver what is in flight.
    pub shutdown_timeout: Duration,
    /// Where `/metrics`, `/healthz` and `/readyz` are served, if they are.
    pub metrics_listen: Option<SocketAddr>,
}

/// A source and its name.
pub struct SourceNode {
    /// Which component.
    pub id: ComponentId,
    /// The source itself.
    pub source: Box<dyn Source>,
}

/// A transform, where it reads from, and the options that every transform has.
pub struct TransformNode {
    /// Which component.
    pub id: ComponentId,
    /// What it reads.
    pub inputs: Vec<Port>,
    /// The transform itself.
    pub transform: Box<dyn Transform>,
    /// Its named outputs ([`Transform::outputs`]).
    pub outputs: Vec<String>,
    /// Only rows for which this holds are handed to it; the others pass untouched.
    pub when: Option<Condition>,
    /// `add_field`, `remove_field`, `add_tag`, `remove_tag`.
    pub decorations: Decorations,
}

/// A sink and where it reads from.
pub struct SinkNode {
    /// Which component.
    pub id: ComponentId,
    /// What it reads.
    pub inputs: Vec<Port>,
    /// The sink itself.
    pub sink: Arc<dyn Sink>,
}

/// An output of a component, as named in `inputs`: `flow`, `flow.rejected`, `by_action.accepted`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// The component's name.
    pub component: Arc<str>,
    /// Which of its outputs.
    pub output: Output,
}

/// Which output of a component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// The one without a name.
    Default,
    /// `NAME.rejected`: its dead letters.
    Rejected,
    /// The named output of this number in [`TransformNode::outputs`].
    Named(usize),
}

/// A `[[tests]]` entry: a unit test of the configuration.
#[derive(Clone, Debug)]
pub struct UnitTest {
    /// Its name.
    pub name: String,
    /// The transform that the inputs are given to.
    pub insert_at: Arc<str>,
    /// The events: a line becomes the `message` of an event, a table is a whole event.
    pub inputs: Vec<Value>,
    /// What "now" is, in milliseconds since the epoch.
    pub clock: Option<i64>,
    /// What must come out where.
    pub outputs: Vec<ExpectedOutput>,
    /// Ports from which nothing may come.
    pub no_outputs_from: Vec<Port>,
}

/// What a [`UnitTest`] expects of one port.
#[derive(Clone, Debug)]
pub struct ExpectedOutput {
    /// The port.
    pub extract_from: Port,
    /// The whole documents, in order, if given.
    pub documents: Option<Vec<Value>>,
    /// Conditions, each of which must hold for some event of the port.
    pub conditions: Vec<Condition>,
}
