//! A run: starts the stages of a topology, listens to signals, drains, reloads.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flowstone_config::{Settings, Topology};
use flowstone_core::{Clock, ComponentId, Health, Kind, Metrics, SourceCx, StateDir};
use flowstone_http::{Limits, Listener, Server};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::budget::Budget;
use crate::delivery::{Delivery, Shared, SinkEnd};
use crate::graph::{Graph, Target};
use crate::http;
use crate::intake::{Intake, SourceEnd};
use crate::pool::BufferPool;
use crate::runner::Runner;
use crate::signals::{Signal, Signals};
use crate::worker::{self, Job};

/// How far a run is towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything goes on.
    Run,
    /// Nothing more is read; what was read is delivered.
    Drain,
    /// Nothing more is done; what is undelivered is read again at the next start.
    Stop,
}

/// What ends a run before its time.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A plugin panicked.
    Bug(ComponentId),
    /// The reader of a sink's output is gone.
    Closed(ComponentId),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was read is delivered: exit code 0.
    Finished,
    /// Undelivered data remains; it will be read again: exit code 1.
    Undelivered,
    /// Something made the run impossible: exit code 1. The text says what.
    Failed(String),
    /// A component panicked: exit code 70.
    Bug(ComponentId),
}

/// What a run may be given beside its topology.
pub struct RunOptions {
    /// Where its metrics are kept.
    pub metrics: Metrics,
    /// Makes the topology anew on SIGHUP. `None` means that the configuration is not usable (the callee has said
    /// why); the old topology goes on then.
    #[allow(clippy::type_complexity)]
    pub reload: Option<Box<dyn FnMut() -> Option<Topology> + Send>>,
    /// Told where the metrics endpoint listens, once it does.
    #[allow(clippy::type_complexity)]
    pub listening: Option<Box<dyn Fn(std::net::SocketAddr) + Send>>,
    /// Whether SIGTERM, SIGINT and SIGHUP are listened to. Tests that run several topologies in one process do not.
    pub signals: bool,
    /// Drains the run when it turns true, as SIGTERM does.
    pub stop: Option<watch::Receiver<bool>>,
    /// Commits positions when they are read instead of when they are delivered: wrong on purpose, so that the crash
    /// test can show that it would notice.
    #[doc(hidden)]
    pub commit_before_delivery: bool,
}

/// Threads of the I/O runtime: sources and deliveries. Parsing and encoding have threads of their own.
const IO_THREADS: usize = 2;

// === impl RunOptions ===

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            metrics: Metrics::new(),
            reload: None,
            listening: None,
            signals: true,
            stop: None,
            commit_before_delivery: false,
        }
    }
}

/// Runs a topology to its end: until every source is at its end and all is delivered, or a signal ends it.
///
/// SIGTERM and SIGINT drain within `shutdown_timeout`; a second one stops at once. SIGHUP reloads.
pub fn run(topology: Topology, options: RunOptions) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .thread_name("io")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(supervise(topology, options));
            // A source's blocking read must not hold up the exit.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Outcome::Failed(format!("cannot start the I/O threads: {error}")),
    }
}

/// [`run`] inside a runtime that is there already.
pub async fn supervise(mut topology: Topology, mut options: RunOptions) -> Outcome {
    let mut signals = match Signals::new(options.signals, options.stop.take()) {
        Ok(signals) => signals,
        Err(error) => return Outcome::Failed(format!("cannot listen to signals: {error}")),
    };
    let health = Health::default();
    let mut endpoint: Option<Server> = None;
    loop {
        let listen = topology.settings.metrics_listen;
        if endpoint.as_ref().map(Server::asked) != listen {
            endpoint = None;
            if let Some(address) = listen {
                let routes = http::routes(options.metrics.clone(), health.clone());
                match Listener::bind(address).and_then(|listener| listener.serve(Limits::default(), routes)) {
                    Ok(started) => {
                        info!(address = %started.address(), "metrics endpoint listens");
                        if let Some(tell) = &options.listening {
                            tell(started.address());
                        }
                        endpoint = Some(started);
                    }
                    Err(error) => {
                        return Outcome::Failed(format!(
                            "cannot serve metrics on {address}: {error}; choose another `[metrics] listen`"
                        ));
                    }
                }
            }
        }
        health.clear();
        let timeout = topology.settings.shutdown_timeout;
        let mut running = match Running::start(topology, &options, &health) {
            Ok(running) => running,
            Err(error) => return Outcome::Failed(format!("cannot start: {error}")),
        };
        match running.until_end(&mut signals, timeout, options.reload.as_mut()).await {
            End::Ended(outcome) => return outcome,
            End::Replaced(next) => {
                topology = *next;
                info!("the new configuration takes over");
            }
        }
    }
}

enum End {
    Ended(Outcome),
    Replaced(Box<Topology>),
}

/// A topology at work.
struct Running {
    phase: watch::Sender<Phase>,
    failed: mpsc::Receiver<Failure>,
    stages: Stages,
    bug: Option<ComponentId>,
    closed: bool,
}

/// The tasks and threads of a run, and how those ended that have.
struct Stages {
    sources: JoinSet<SourceEnd>,
    workers: Option<JoinHandle<()>>,
    sinks: JoinSet<SinkEnd>,
    ids: Ids,
    failures: mpsc::Sender<Failure>,
    undelivered: bool,
    failure: Option<String>,
}

/// Which component each task belongs to, for the message when one panics.
#[derive(Default)]
struct Ids(Vec<(tokio::task::Id, ComponentId)>);

// === impl Running ===

impl Running {
    fn start(topology: Topology, options: &RunOptions, health: &Health) -> std::io::Result<Self> {
        let metrics = &options.metrics;
        let settings = topology.settings.clone();
        let Settings { workers, .. } = settings;
        let workers = workers.max(1);
        let (graph, owned) = Graph::of(topology, metrics);
        let graph = Arc::new(graph);
        let budget = Budget::new(settings.memory, metrics.clone());
        let pool = BufferPool::new(workers + 6);
        let (phase, phase_seen) = watch::channel(Phase::Run);
        let (failed_out, failed) = mpsc::channel(workers + graph.sinks.len() + 1);
        let runner = || Runner::new(Arc::clone(&graph), &owned.transforms, Clock::System, Arc::clone(&pool));

        let (inputs, outputs): (Vec<_>, Vec<_>) =
            graph.sinks.iter().map(|_| mpsc::channel(workers + 1)).unzip();
        let mut ids = Ids::default();
        let mut sinks = JoinSet::new();
        for (index, messages) in outputs.into_iter().enumerate() {
            let reaches = graph.sinks_behind_rejected(index);
            let letters =
                inputs.iter().enumerate().map(|(sink, input)| reaches.contains(&sink).then(|| input.clone()));
            let shared = Shared::new(
                Arc::clone(&graph),
                index,
                runner(),
                letters.collect(),
                failed_out.clone(),
                health.of(&graph.sinks[index].id),
            );
            let delivery = Delivery::new(shared, messages, Arc::clone(&budget), phase_seen.clone());
            ids.note(sinks.spawn(delivery.run()).id(), &graph.sinks[index].id);
        }

        let (jobs, jobs_taken) = mpsc::channel::<Job>(workers);
        let jobs_taken = Arc::new(Mutex::new(jobs_taken));
        let mut threads = Vec::new();
        for index in 0..workers {
            let jobs = Arc::clone(&jobs_taken);
            threads.push(worker::spawn(
                index,
                Arc::clone(&graph),
                runner(),
                jobs,
                inputs.clone(),
                failed_out.clone(),
            )?);
        }
        drop(inputs);
        let workers = tokio::task::spawn_blocking(move || join_all(threads));

        let mut sources = JoinSet::new();
        for (index, source) in owned.sources.into_iter().enumerate() {
            let id = graph.sources[index].id.clone();
            let state = settings.data_dir.join(Kind::Source.as_str()).join(&*id.name);
            let cx = SourceCx {
                id: id.clone(),
                state: StateDir::new(state),
                metrics: metrics.source(&id),
                health: health.of(&id),
                max_rows: settings.batch_rows,
                max_bytes: settings.batch_bytes,
                clock: Clock::System,
            };
            let intake = Intake {
                index,
                id: id.clone(),
                source,
                cx,
                budget: Arc::clone(&budget),
                jobs: Some(jobs.clone()),
                phase: phase_seen.clone(),
                commit_before_delivery: options.commit_before_delivery,
            };
            ids.note(sources.spawn(intake.run()).id(), &id);
        }
        let stages = Stages {
            sources,
            workers: Some(workers),
            sinks,
            ids,
            failures: failed_out,
            undelivered: false,
            failure: None,
        };
        Ok(Self { phase, failed, stages, bug: None, closed: false })
    }

    async fn until_end(
        &mut self,
        signals: &mut Signals,
        timeout: Duration,
        mut reload: Option<&mut Box<dyn FnMut() -> Option<Topology> + Send>>,
    ) -> End {
        let mut deadline: Option<Instant> = None;
        let mut next: Option<Box<Topology>> = None;
        loop {
            let now = Instant::now();
            tokio::select! {
                biased;
                Some(failure) = self.failed.recv() => self.fail(failure),
                () = self.stages.ended() => break,
                () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {
                    warn!(?timeout, "not everything could be delivered in time; the rest is read again");
                    self.phase.send_replace(Phase::Stop);
                    deadline = None;
                }
                signal = signals.next() => match signal {
                    Signal::Terminate if *self.phase.borrow() == Phase::Run || next.is_some() => {
                        info!(?timeout, "stopping: what was read is delivered first; a second signal stops at once");
                        next = None;
                        self.phase.send_replace(Phase::Drain);
                        deadline = Some(Instant::now() + timeout);
                    }
                    Signal::Terminate => {
                        warn!("stopping at once");
                        return End::Ended(Outcome::Undelivered);
                    }
                    Signal::Reload if *self.phase.borrow() == Phase::Run => {
                        let Some(reload) = reload.as_mut() else { continue };
                        match reload() {
                            Some(topology) => {
                                info!("reloading: what was read is delivered first");
                                next = Some(Box::new(topology));
                                self.phase.send_replace(Phase::Drain);
                                deadline = Some(Instant::now() + timeout);
                            }
                            None => error!("the configuration is not usable; the old one goes on"),
                        }
                    }
                    Signal::Reload => {}
                },
            }
        }
        // A worker may have failed in the very moment in which everything ended.
        while let Ok(failure) = self.failed.try_recv() {
            self.fail(failure);
        }
        let outcome = if let Some(id) = self.bug.take() {
            Outcome::Bug(id)
        } else if self.closed {
            Outcome::Finished
        } else if let Some(failure) = self.stages.failure.take() {
            Outcome::Failed(failure)
        } else if self.stages.undelivered {
            Outcome::Undelivered
        } else {
            Outcome::Finished
        };
        match (next, outcome) {
            // What the old topology left undelivered the new one reads again from the checkpoints.
            (Some(topology), Outcome::Finished | Outcome::Undelivered) => End::Replaced(topology),
            (_, outcome) => End::Ended(outcome),
        }
    }

    fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::Bug(id) => {
                error!(component = %id, "a component panicked; the run ends, and what is undelivered is read again");
                self.bug.get_or_insert(id);
                self.phase.send_replace(Phase::Stop);
            }
            Failure::Closed(id) => {
                info!(component = %id, "the reader of the output is gone; the run ends");
                self.closed = true;
                self.phase.send_replace(Phase::Stop);
            }
        }
    }
}

// === impl Stages ===

impl Stages {
    /// Waits until every stage has ended: sources first, for they wait for all the others. Cancel-safe.
    async fn ended(&mut self) {
        while let Some(ended) = self.sources.join_next_with_id().await {
            match ended {
                Ok((_, SourceEnd::Delivered)) => {}
                Ok((_, SourceEnd::Undelivered)) => self.undelivered = true,
                Ok((_, SourceEnd::Failed(failure))) => self.failure = Some(failure),
                Err(error) => self.panicked(error.id()).await,
            }
        }
        if let Some(workers) = &mut self.workers {
            workers.await.ok();
            self.workers = None;
        }
        while let Some(ended) = self.sinks.join_next_with_id().await {
            match ended {
                Ok((_, SinkEnd::Delivered)) => {}
                Ok((_, SinkEnd::Undelivered)) => self.undelivered = true,
                Err(error) => self.panicked(error.id()).await,
            }
        }
    }

    async fn panicked(&self, task: tokio::task::Id) {
        if let Some(id) = self.ids.of(task) {
            self.failures.send(Failure::Bug(id)).await.ok();
        }
    }
}

fn join_all(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        // A worker catches what its plugins panic and says so itself.
        thread.join().ok();
    }
}

// === impl Ids ===

impl Ids {
    fn note(&mut self, task: tokio::task::Id, component: &ComponentId) {
        self.0.push((task, component.clone()));
    }

    fn of(&self, task: tokio::task::Id) -> Option<ComponentId> {
        self.0.iter().find(|(known, _)| *known == task).map(|(_, component)| component.clone())
    }
}

// === impl Graph ===

impl Graph {
    /// The sinks that dead letters of this sink may reach.
    fn sinks_behind_rejected(&self, sink: usize) -> Vec<usize> {
        let mut met = Vec::new();
        let mut open: Vec<Target> = self.sinks[sink].rejected.iter().map(|edge| edge.to).collect();
        while let Some(target) = open.pop() {
            match target {
                Target::Transform(transform) => open.extend(self.transforms[transform].outputs.targets()),
                Target::Sink(next) if !met.contains(&next) => {
                    met.push(next);
                    open.extend(self.sinks[next].rejected.iter().map(|edge| edge.to));
                }
                Target::Sink(_) => {}
            }
        }
        met
    }
}
