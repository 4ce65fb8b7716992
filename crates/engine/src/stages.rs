//! The stages of a topology at work: one intake per source, the workers, one delivery per sink, each supervised.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flowstone_config::Topology;
use flowstone_core::{
    Clock, ComponentId, HandOver, Health, Metrics, SinkCx, SourceCx, SourceMetrics, Task, Tasks,
};
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};
use tracing::{error, warn};

use crate::budget::Budget;
use crate::delivery::{Delivery, Shared, SinkEnd, warn_of_strangers};
use crate::graph::Graph;
use crate::intake::{Intake, SourceEnd};
use crate::phase::{Failure, Phase};
use crate::pool::BufferPool;
use crate::reload::state_dir;
use crate::runner::{At, Runner};
use crate::standing::Lag;
use crate::supervise::{Stage, supervise};
use crate::worker::{self, Job};

/// The stages of a run that have not ended, and how those ended that have.
pub(crate) struct Stages {
    tasks: JoinSet<Ended>,
    open: HashMap<task::Id, Open>,
    /// Sources that have not ended.
    sources: usize,
    /// For each sink whether rows wait in it that its sources are rid of.
    sinks: Vec<Arc<AtomicBool>>,
    lags: Vec<(SourceMetrics, Lag)>,
    /// Whether something is to be read again.
    pub(crate) undelivered: bool,
    /// Why a source could not go on.
    pub(crate) failure: Option<String>,
}

/// What the stages of a run share with whoever runs them.
pub(crate) struct Around<'a> {
    pub(crate) metrics: &'a Metrics,
    pub(crate) health: &'a Health,
    /// Where tasks run.
    pub(crate) io: &'a Handle,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) failures: mpsc::Sender<Failure>,
    /// See [`Intake`].
    pub(crate) stays: bool,
    /// What the topology before this one left.
    pub(crate) hand_over: HandOver,
}

/// A stage that has not ended.
enum Open {
    Task(Stage),
    Worker(Arc<At>),
}

/// How a stage ended.
enum Ended {
    Source(SourceEnd),
    Worker,
    Sink(SinkEnd),
    Panicked,
}

// === impl Stages ===

impl Stages {
    /// Starts every stage.
    pub(crate) fn start(topology: Topology, around: Around<'_>) -> std::io::Result<Self> {
        let Around { metrics, health, io, phase, failures, stays, hand_over } = around;
        let settings = topology.settings.clone();
        let workers = settings.workers.max(1);
        let (graph, owned) = Graph::of(topology, metrics);
        let graph = Arc::new(graph);
        let budget = Budget::new(settings.memory, metrics.clone());
        let pool = BufferPool::new(workers + 6);
        let runner = || Runner::new(Arc::clone(&graph), &owned.transforms, Clock::System, Arc::clone(&pool));
        let mut stages = Self {
            tasks: JoinSet::new(),
            open: HashMap::new(),
            sources: owned.sources.len(),
            sinks: Vec::new(),
            lags: Vec::new(),
            undelivered: false,
            failure: None,
        };

        let (inputs, outputs): (Vec<_>, Vec<_>) =
            graph.sinks.iter().map(|_| mpsc::channel(workers + 1)).unzip();
        warn_of_strangers(
            &settings.data_dir.join("waiting"),
            graph.sinks.iter().filter(|entry| !entry.limits.ordered).map(|entry| &*entry.id.name),
        );
        for (index, messages) in outputs.into_iter().enumerate() {
            let id = &graph.sinks[index].id;
            let reaches = graph.sinks_behind_rejected(index);
            let letters =
                inputs.iter().enumerate().map(|(sink, input)| reaches.contains(&sink).then(|| input.clone()));
            let shared = Shared::new(
                Arc::clone(&graph),
                index,
                runner(),
                letters.collect(),
                failures.clone(),
                health.of(id),
            );
            let tasks = tasks_of(id, &failures);
            let cx = SinkCx {
                id: id.clone(),
                state: state_dir(&settings, id),
                metrics: metrics.sink(id),
                health: health.of(id),
                clock: Clock::System,
                tasks: tasks.clone(),
            };
            let delivery = Delivery::new(shared, cx, messages, Arc::clone(&budget), phase.clone(), &settings);
            let (failures, shared) = (failures.clone(), delivery.shared());
            stages.sinks.push(Arc::clone(shared.waits()));
            let stage = Stage { name: "delivery", component: id.clone() };
            stages.spawn(io, Open::Task(stage), async move {
                let end = supervise(failures, || shared.culprit(), delivery.run()).await;
                tasks.end().await;
                shared.waits().store(false, Ordering::Relaxed);
                end.map_or(Ended::Panicked, Ended::Sink)
            });
        }

        let (jobs, jobs_taken) = mpsc::channel::<Job>(workers);
        let jobs_taken = Arc::new(Mutex::new(jobs_taken));
        for index in 0..workers {
            let (jobs, inputs) = (Arc::clone(&jobs_taken), inputs.clone());
            match worker::spawn(index, Arc::clone(&graph), runner(), jobs, inputs, failures.clone()) {
                Ok((ended, at)) => {
                    // Its sender is gone when the thread is at its end.
                    let ended = async move { ended.await.map_or(Ended::Worker, |()| Ended::Worker) };
                    stages.spawn(io, Open::Worker(at), ended);
                }
                // A run with fewer threads is better than none.
                Err(error) if index > 0 => {
                    warn!(%error, workers, started = index, "no more worker threads can be started");
                    break;
                }
                Err(error) => return Err(error),
            }
        }

        for (index, source) in owned.sources.into_iter().enumerate() {
            let id = graph.sources[index].id.clone();
            let tasks = tasks_of(&id, &failures);
            let cx = SourceCx {
                id: id.clone(),
                state: state_dir(&settings, &id),
                metrics: metrics.source(&id),
                health: health.of(&id),
                max_rows: settings.batch_rows,
                max_bytes: settings.batch_bytes,
                clock: Clock::System,
                tasks: tasks.clone(),
                hand_over: hand_over.clone(),
            };
            let lag = Lag::default();
            stages.lags.push((cx.metrics.clone(), lag.clone()));
            let intake = Intake {
                index,
                id: id.clone(),
                source,
                cx,
                budget: Arc::clone(&budget),
                jobs: Some(jobs.clone()),
                phase: phase.clone(),
                failures: failures.clone(),
                lag,
                stays,
            };
            let (failures, stage) = (failures.clone(), Stage { name: "intake", component: id });
            let culprit = stage.clone();
            stages.spawn(io, Open::Task(stage), async move {
                let end = supervise(failures, || culprit, intake.run()).await;
                tasks.end().await;
                end.map_or(Ended::Panicked, Ended::Source)
            });
        }
        Ok(stages)
    }

    /// Waits until a stage has ended. Cancel-safe.
    pub(crate) async fn next_end(&mut self) {
        match self.tasks.join_next_with_id().await {
            None => {}
            Some(Ok((task, ended))) => {
                self.open.remove(&task);
                self.sources -= usize::from(matches!(ended, Ended::Source(_)));
                match ended {
                    Ended::Source(SourceEnd::Failed(failure)) => self.failure = Some(failure),
                    Ended::Source(SourceEnd::Undelivered) | Ended::Sink(SinkEnd::Undelivered) => {
                        self.undelivered = true;
                    }
                    Ended::Source(SourceEnd::Delivered) | Ended::Sink(SinkEnd::Delivered) => {}
                    Ended::Worker | Ended::Panicked => {}
                }
            }
            // It was given up. That ends a task that waits, and no thread.
            Some(Err(error)) => {
                self.undelivered = true;
                if let Some(Open::Task(stage)) = self.open.get(&error.id()) {
                    warn!(component = %stage.component, stage = stage.name, "a component does not answer and was given up; what it holds is read again");
                    self.open.remove(&error.id());
                }
            }
        }
    }

    /// Whether every stage has ended or was given up.
    pub(crate) fn all_ended(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether every source has ended, and so everything is delivered but for rows that wait, and none does.
    pub(crate) fn all_delivered(&self) -> bool {
        self.sources == 0 && !self.sinks.iter().any(|waits| waits.load(Ordering::Relaxed))
    }

    /// Gives up the stages that wait for something. One whose call does not return goes on, for nothing can end it.
    pub(crate) fn give_up(&mut self) {
        self.tasks.abort_all();
    }

    /// Reports the calls that do not return; whether there are any.
    pub(crate) fn report_hanging(&self) -> bool {
        for open in self.open.values() {
            let (component, stage) = match open {
                Open::Task(stage) => (&stage.component, stage.name),
                Open::Worker(at) => (at.component(), "worker"),
            };
            error!(%component, stage, "a call into a component does not return; the run ends without it, and what it holds is read again");
        }
        !self.open.is_empty()
    }

    /// Sets the lag of each source as it is now.
    pub(crate) fn show_lags(&self) {
        for (metrics, lag) in &self.lags {
            metrics.show_lag(lag.seconds());
        }
    }

    fn spawn(&mut self, io: &Handle, open: Open, work: impl Future<Output = Ended> + Send + 'static) {
        let task = self.tasks.spawn_on(work, io).id();
        self.open.insert(task, open);
    }
}

/// The tasks of a component, supervised as its stage is.
fn tasks_of(id: &ComponentId, failures: &mpsc::Sender<Failure>) -> Tasks {
    let (failures, stage) = (failures.clone(), Stage { name: "task", component: id.clone() });
    Tasks::new(move |work: Task| {
        let stage = stage.clone();
        supervise(failures.clone(), || stage, work).map(drop).boxed()
    })
}

impl Drop for Stages {
    /// A source that is not there any more is not behind.
    fn drop(&mut self) {
        for (metrics, _) in &self.lags {
            metrics.lag.set(0.0);
            metrics.show_lag(0.0);
        }
    }
}
