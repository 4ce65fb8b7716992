//! Sources: where records come from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::Batch;
use crate::{Clock, ComponentHealth, ComponentId, HandOver, Health, Metrics, SourceMetrics, StateDir, Tasks};

/// Reads records, batch by batch, when there is room for them.
///
/// Pull, not a run loop: shutdown, backpressure, acknowledgement and metrics are the engine's. Every method is called
/// from one task, one at a time.
#[async_trait]
pub trait Source: Send {
    /// Called once before [`Source::next`]: loads the checkpoint, opens files and connections.
    async fn start(&mut self, _cx: &mut SourceCx) -> Result<(), SourceError> {
        Ok(())
    }

    /// The next batch, how long to wait, or the end. Called again only when there is room. Cancel-safe: the engine
    /// drops the future to commit, rewind or stop, and what was read stays in `self`.
    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError>;

    /// Everything up to these positions, one per partition, is delivered: remember that, release it upstream. A
    /// partition's positions come in the order in which they were given out, possibly only the last of several. The
    /// engine calls this every [`SourceTraits::commit_interval`] and before the end.
    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError>;

    /// The batch that ends at `position` was not delivered: give it, and all of its partition after it, out again. The
    /// next batch's `from` is that one's.
    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError>;

    /// What the engine and the configuration must know of it; the same at every call.
    fn traits(&self) -> SourceTraits {
        SourceTraits::default()
    }

    /// Whether it could go on from what `state` holds. Reads, and changes nothing: on a reload the engine asks a source
    /// that is not started while the one before it still runs. The error says what is wrong and what to do.
    fn check_state(&self, _state: &StateDir) -> Result<(), String> {
        Ok(())
    }

    /// Makes a source that was not started read only the events with a time in `from_ms..to_ms` (milliseconds since the
    /// epoch), once, and then end: `flowstone backfill`. The error says why it cannot.
    fn backfill(&mut self, _from_ms: i64, _to_ms: i64) -> Result<Box<dyn Backfill>, String> {
        Err("it has no past that could be read by time".to_owned())
    }

    /// Can what it needs be reached (`validate --connect`)? The error says what is missing and what to do.
    async fn probe(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// What is true of a source for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTraits {
    /// What this component alone may use (`file /var/lib/x`, `tcp 127.0.0.1:514`); two components that claim the same
    /// are a configuration error.
    pub claims: Vec<String>,
    /// How often [`Source::commit`] is called at most. A second is right where a commit writes to disk; a source that
    /// holds what it gave out until it is committed wants to be told at once.
    pub commit_interval: Duration,
    /// Whether every event's `@timestamp` comes from the record itself and not from the time of reading. An index
    /// named by the day of an event that nothing dates is warned about: read again after midnight, the event would
    /// be stored a second time.
    pub dates: bool,
    /// Whether it keeps checkpoints: the data folder is made and locked when some source does.
    pub keeps_state: bool,
    /// Whether it may ever reject an event. Where it may, a `rejected` port that nobody reads is warned about.
    pub rejects: bool,
}

impl Default for SourceTraits {
    fn default() -> Self {
        Self {
            claims: Vec::new(),
            commit_interval: Duration::from_secs(1),
            dates: false,
            keeps_state: false,
            rejects: true,
        }
    }
}

/// A stretch of a source's past: what its reading takes, and how far it has come.
#[async_trait]
pub trait Backfill: Send + Sync {
    /// Asks the upstream how much there is; nothing is read. The error says what is missing and what to do.
    async fn estimate(&self) -> Result<BackfillEstimate, String>;

    /// How far reading has come.
    fn progress(&self) -> BackfillProgress;
}

/// What reading a stretch of the past takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfillEstimate {
    /// What is read: names, and how many events of each lie in the stretch, or why nobody knows.
    pub events: Vec<(String, Result<u64, &'static str>)>,
    /// What these names are names of, in the singular: `log group`.
    pub noun: &'static str,
    /// What the reading costs, about, and in what: `160 requests`.
    pub cost: (u64, &'static str),
    /// The upstream lets it be done no faster.
    pub at_least: Duration,
}

/// How far a backfill has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackfillProgress {
    /// Events handed on in this run.
    pub events: u64,
    /// Events in the whole stretch, if the upstream says.
    pub expected: Option<u64>,
    /// What that has cost, in the estimate's unit.
    pub cost: (u64, &'static str),
    /// The share of event time that was read, 0 to 1.
    pub share: f64,
}

/// What [`Source::next`] gives.
// One per batch, moved a few times: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub enum Next {
    /// Records.
    Batch(SourceBatch),
    /// None now: ask again after this time.
    Idle(Duration),
    /// None ever again: when all is delivered the run may end.
    End,
}

/// Records, and the place up to which they reach.
pub struct SourceBatch {
    /// The records; rows that the source itself had to reject or discard are marked in it.
    pub batch: Batch,
    /// Where the partition stood before these: the position of the batch before, or where it was rewound to. The engine
    /// takes a batch that does not fit for a bug of the source, which would lose or repeat records.
    pub from: u64,
    /// Where the partition stands once these are delivered; behind `from`.
    pub position: Position,
    /// Bytes read, for the metric.
    pub bytes: usize,
}

/// A place in a source: how far a partition (a file, a slice of a log group) has come. Settled in order within a
/// partition and independently between partitions; never moves back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which partition.
    pub partition: Arc<str>,
    /// How far, in the source's own measure.
    pub value: u64,
}

/// Why a source cannot go on. Retried by the engine with backoff unless it is fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// One word, a metric label: `open`, `read`, `access_denied`.
    pub reason: &'static str,
    /// What happened, where, and what to do, in lower case without a full stop.
    pub message: String,
    /// Trying again is pointless: the source goes on no more, and the run ends with this error when the others have.
    pub fatal: bool,
}

impl SourceError {
    /// An error that may pass.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), fatal: false }
    }

    /// An error that will not pass.
    pub fn fatal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), fatal: true }
    }
}

/// What a source may use while it runs.
#[derive(Clone, Debug)]
pub struct SourceCx {
    /// Which component this is.
    pub id: ComponentId,
    /// Its folder for checkpoints.
    pub state: StateDir,
    /// Its metrics.
    pub metrics: SourceMetrics,
    /// What `/readyz` says of it. The engine reports what [`Source::start`], [`Source::next`] and [`Source::commit`]
    /// answer; a source that goes on past a failure (one of several log groups, a checkpoint) reports it here.
    pub health: ComponentHealth,
    /// A batch has at most this many rows.
    pub max_rows: usize,
    /// A batch has at most about this many bytes of text.
    pub max_bytes: usize,
    /// The time.
    pub clock: Clock,
    /// The engine's; see [`SourceCx::spawn`].
    pub tasks: Tasks,
    /// What it may leave to, or take over from, the source in its place before and after a reload.
    pub hand_over: HandOver,
}

// === impl SourceCx ===

impl SourceCx {
    /// A context outside of a run, for tests and tools: metrics and health of its own, batches of 4,096 rows or 1 MiB.
    pub fn alone(id: ComponentId, state: StateDir) -> Self {
        Self {
            metrics: Metrics::new().source(&id),
            health: Health::default().of(&id),
            id,
            state,
            max_rows: 4096,
            max_bytes: 1 << 20,
            clock: Clock::System,
            tasks: Tasks::default(),
            hand_over: HandOver::default(),
        }
    }

    /// Runs `work` beside the source, on the I/O runtime. A panic of it ends the run as the source's own would; when the
    /// source ends, the task is dropped at its next `await` and waited for. What it finds out comes back by a channel.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }
}
