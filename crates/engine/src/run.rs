//! A run: carries a topology to its end, listens to signals, drains, reloads.

use std::time::Duration;

use flowstone_config::Topology;
use flowstone_core::{ComponentId, HandOver, Health, Metrics};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::intake::LAST_COMMIT;
use crate::phase::{Failure, Phase};
use crate::reload::{Prepared, Reload};
use crate::serving::Serving;
use crate::signals::{Signal, Signals};
use crate::stages::{Around, Stages};

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
    pub reload: Option<Box<dyn FnMut() -> Option<Prepared> + Send>>,
    /// Told where the metrics endpoint listens, once it does.
    #[allow(clippy::type_complexity)]
    pub listening: Option<Box<dyn Fn(std::net::SocketAddr) + Send>>,
    /// Whether SIGTERM, SIGINT and SIGHUP are listened to. Tests that run several topologies in one process do not.
    pub signals: bool,
    /// Drains the run when it turns true, as SIGTERM does.
    pub stop: Option<watch::Receiver<bool>>,
}

/// Threads of the I/O runtime: sources and deliveries. Parsing and encoding have threads of their own.
const IO_THREADS: usize = 2;

/// How long the stages of a run that is stopped may take to end, and then those that were given up.
const STOP: Duration = LAST_COMMIT.saturating_add(Duration::from_millis(500));
const GIVE_UP: Duration = Duration::from_millis(500);

/// How often `source_lag_seconds` is set.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// More failures than that end a run no sooner.
const FAILURES: usize = 64;

// === impl RunOptions ===

impl Default for RunOptions {
    fn default() -> Self {
        Self { metrics: Metrics::new(), reload: None, listening: None, signals: true, stop: None }
    }
}

/// Runs a topology to its end: until every source is at its end and all is delivered, or a signal ends it.
///
/// SIGTERM and SIGINT drain within `shutdown_timeout`; a second one stops at once. SIGHUP reloads. A call into a
/// component that never returns holds up neither: the run ends without it.
pub fn run(topology: impl Into<Prepared>, options: RunOptions) -> Outcome {
    let io = Builder::new_multi_thread().worker_threads(IO_THREADS).thread_name("io").enable_all().build();
    // Signals, deadlines and health are seen to on this thread: a component may block every I/O thread there is.
    let control = Builder::new_current_thread().enable_all().build();
    let (io, control) = match (io, control) {
        (Ok(io), Ok(control)) => (io, control),
        (Err(error), _) | (_, Err(error)) => {
            return Outcome::Failed(format!("cannot start the I/O threads: {error}"));
        }
    };
    let outcome = control.block_on(carry(topology.into(), options, io.handle()));
    // A call that blocks must not hold up the exit.
    control.shutdown_background();
    io.shutdown_background();
    outcome
}

async fn carry(mut prepared: Prepared, mut options: RunOptions, io: &Handle) -> Outcome {
    let mut signals = match Signals::new(options.signals, options.stop.take()) {
        Ok(signals) => signals,
        Err(error) => return Outcome::Failed(format!("cannot listen to signals: {error}")),
    };
    let (health, hand_over) = (Health::default(), HandOver::default());
    let mut serving = Serving::new(options.metrics.clone(), health.clone(), options.listening.take());
    let mut reload = Reload::new(options.reload.take());
    if let Err(problem) = serving.listen_on(prepared.topology.settings.metrics_listen).await {
        return Outcome::Failed(problem);
    }
    let mut reloaded = false;
    loop {
        let Prepared { topology, held } = prepared;
        health.clear();
        let mut running = match Running::start(topology, &options, &health, &hand_over, io, reloaded) {
            Ok(running) => running,
            Err(error) => return Outcome::Failed(format!("cannot start: {error}")),
        };
        prepared = match running.until_end(&mut signals, &mut serving, &mut reload).await {
            End::Ended(outcome) => return outcome,
            End::Replaced(next) => *next,
        };
        reloaded = true;
        options.metrics.reloaded("taken_over");
        info!("the new configuration takes over");
        drop(held);
    }
}

enum End {
    Ended(Outcome),
    Replaced(Box<Prepared>),
}

/// A topology at work.
struct Running {
    metrics: Metrics,
    timeout: Duration,
    phase: watch::Sender<Phase>,
    /// When the phase has lasted for as long as it may.
    deadline: Option<Instant>,
    failed: mpsc::Receiver<Failure>,
    stages: Stages,
    /// The stages that wait for something were given up; and it is over, whatever still goes on.
    given_up: bool,
    over: bool,
    /// Somebody wants the run to end, and not to be replaced.
    ends: bool,
    next: Option<Box<Prepared>>,
    bug: Option<ComponentId>,
    closed: bool,
}

// === impl Running ===

impl Running {
    fn start(
        topology: Topology,
        options: &RunOptions,
        health: &Health,
        hand_over: &HandOver,
        io: &Handle,
        reloaded: bool,
    ) -> std::io::Result<Self> {
        let timeout = topology.settings.shutdown_timeout;
        let (phase, phase_seen) = watch::channel(Phase::Run);
        let (failures, failed) = mpsc::channel(FAILURES);
        let around = Around {
            metrics: &options.metrics,
            health,
            io,
            phase: phase_seen,
            failures,
            // What the check before the reload could not find out must not end what ran before it.
            stays: reloaded,
            hand_over: hand_over.clone(),
        };
        let stages = Stages::start(topology, around)?;
        Ok(Self {
            metrics: options.metrics.clone(),
            timeout,
            phase,
            deadline: None,
            failed,
            stages,
            given_up: false,
            over: false,
            ends: false,
            next: None,
            bug: None,
            closed: false,
        })
    }

    async fn until_end(&mut self, signals: &mut Signals, serving: &mut Serving, reload: &mut Reload) -> End {
        let mut lag_shown = interval(LAG_EVERY);
        lag_shown.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A configuration that is being loaded is newer than the one that waits.
            let newer_comes = self.next.is_some() && reload.is_loading();
            if self.over || (self.stages.all_ended() && !newer_comes) {
                break;
            }
            let deadline = self.deadline;
            tokio::select! {
                biased;
                Some(failure) = self.failed.recv() => self.fail(failure),
                () = self.stages.next_end(), if !self.stages.all_ended() => self.on_end(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.on_deadline();
                }
                signal = signals.next() => if self.heed(signal, reload) {
                    return End::Ended(Outcome::Undelivered);
                },
                loaded = reload.loaded(), if reload.is_loading() => self.take(loaded, serving).await,
                id = serving.failed() => self.fail(Failure::Bug(id)),
                _ = lag_shown.tick() => {
                    self.stages.show_lags();
                    self.on_end();
                }
            }
        }
        // A worker may have failed in the very moment in which everything ended.
        while let Ok(failure) = self.failed.try_recv() {
            self.fail(failure);
        }
        let hangs = self.stages.report_hanging();
        if let Some(id) = self.bug.take() {
            return End::Ended(Outcome::Bug(id));
        }
        match self.next.take() {
            // Two topologies would be at the same files.
            Some(_) if hangs => End::Ended(Outcome::Failed(
                "the new configuration cannot take over while a component of the old one does not end"
                    .to_owned(),
            )),
            // What the old topology left undelivered, or could not read, the new one reads from the checkpoints.
            Some(next) => End::Replaced(next),
            None if self.closed => End::Ended(Outcome::Finished),
            None => End::Ended(match self.stages.failure.take() {
                Some(failure) => Outcome::Failed(failure),
                None if self.stages.undelivered || hangs => Outcome::Undelivered,
                None => Outcome::Finished,
            }),
        }
    }

    /// When the sources have ended and the sinks hold nothing more, what is left is closing, which has a time-out too.
    fn on_end(&mut self) {
        if self.stages.all_delivered() && self.deadline.is_none() {
            self.deadline = Instant::now().checked_add(self.timeout);
        }
    }

    /// The phase has lasted for as long as it may.
    fn on_deadline(&mut self) {
        if *self.phase.borrow() != Phase::Stop {
            let timeout = self.timeout;
            warn!(
                ?timeout,
                "not everything could be delivered and closed in time; what is left is read again"
            );
            self.stop();
        } else if !self.given_up {
            self.given_up = true;
            self.stages.give_up();
            self.deadline = Instant::now().checked_add(GIVE_UP);
        } else {
            self.over = true;
        }
    }

    /// Acts on a signal; `true` when the run ends at once.
    fn heed(&mut self, signal: Signal, reload: &mut Reload) -> bool {
        match signal {
            Signal::Terminate if self.ends => {
                warn!("stopping at once");
                return true;
            }
            Signal::Terminate => {
                let timeout = self.timeout;
                info!(?timeout, "stopping: what was read is delivered first; a second signal stops at once");
                self.ends = true;
                self.next = None;
                self.drain();
            }
            Signal::Reload if self.ends => debug!("the run ends; the configuration is not loaded anew"),
            Signal::Reload => reload.ask(),
        }
        false
    }

    /// A configuration was loaded: what can go wrong with it goes wrong now, while the old topology runs.
    async fn take(&mut self, loaded: Option<Prepared>, serving: &mut Serving) {
        if self.ends {
            return;
        }
        let refused = match loaded {
            None => None,
            Some(next) => match serving.listen_on(next.topology.settings.metrics_listen).await {
                Ok(()) => {
                    info!("reloading: what was read is delivered first");
                    // A second one has the time that the first one began with.
                    if self.next.replace(Box::new(next)).is_none() {
                        self.drain();
                    }
                    return;
                }
                Err(reason) => Some(reason),
            },
        };
        self.metrics.reloaded("refused");
        if self.next.is_some() {
            error!(reason = refused, "the newest configuration is not usable; the one before it takes over");
        } else {
            error!(reason = refused, "the configuration is not usable; the old one goes on");
        }
    }

    fn drain(&mut self) {
        if *self.phase.borrow() != Phase::Stop {
            self.phase.send_replace(Phase::Drain);
            self.deadline = Instant::now().checked_add(self.timeout);
        }
    }

    fn stop(&mut self) {
        if *self.phase.borrow() != Phase::Stop {
            self.phase.send_replace(Phase::Stop);
            self.deadline = Instant::now().checked_add(STOP);
        }
    }

    fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::Bug(id) => {
                self.bug.get_or_insert(id);
            }
            Failure::Gone(_) if *self.phase.borrow() == Phase::Stop => {}
            Failure::Gone(id) => {
                error!(component = %id, "nobody receives what is sent to a component; the run ends, and what is undelivered is read again");
                self.bug.get_or_insert(id);
            }
            Failure::Closed(id) => {
                info!(component = %id, "the reader of the output is gone; the run ends");
                self.closed = true;
            }
        }
        self.stop();
    }
}
