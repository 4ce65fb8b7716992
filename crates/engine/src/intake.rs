//! One task per source: reads when there is memory and room, registers the batches, commits what is delivered.

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{ComponentId, Next, Position, Source, SourceBatch, SourceCx, SourceError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

use crate::backoff::{Backoff, instant_after};
use crate::budget::{Budget, Permit};
use crate::phase::{Failure, Phase, ending, stopped_for};
use crate::settle::{Misfit, Tracker};
use crate::standing::{Lag, Standing};
use crate::worker::Job;

/// What a byte that was read costs in memory until it is delivered: the text itself, its columns, and the encoded
/// document, which is three to four times as long as a flow-log line (measured: 116 bytes become 430).
const EXPANSION: usize = 4;

/// How long a source may wait inside `next` before the memory reserved for its batch is lent to others.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a commit may take in a run that is stopped: longer than a disk needs.
pub(crate) const LAST_COMMIT: Duration = Duration::from_secs(1);

/// How a source's task ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SourceEnd {
    /// Everything it read is delivered and committed.
    Delivered,
    /// The run was ended with batches in flight; they are read again at the next start.
    Undelivered,
    /// The source cannot go on.
    Failed(String),
}

/// Everything a source's task works with.
pub(crate) struct Intake {
    pub(crate) index: usize,
    pub(crate) id: ComponentId,
    pub(crate) source: Box<dyn Source>,
    pub(crate) cx: SourceCx,
    pub(crate) budget: Arc<Budget>,
    /// Dropped when nothing more will be read, so that the stages behind end one after the other and flush.
    pub(crate) jobs: Option<mpsc::Sender<Job>>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) failures: mpsc::Sender<Failure>,
    pub(crate) lag: Lag,
    /// Whether a source that cannot be started waits for the run's end: then the run goes on, not ready.
    pub(crate) stays: bool,
}

struct State {
    standing: Standing,
    tracker: Tracker,
    reading: bool,
    permit: Option<Permit>,
    /// Since when memory has been waited for.
    short_since: Option<Instant>,
    pending: Option<Job>,
    read_at: Instant,
    read_backoff: Backoff,
    /// When to commit next, and when to do so again after a commit has failed.
    commit_at: Instant,
    commit_again_at: Instant,
    commit_backoff: Backoff,
    /// The last stretch that was read again, and since when: until it is delivered the next one waits longer.
    replayed: Option<(Position, Instant)>,
    replay_backoff: Backoff,
    failure: Option<String>,
    /// Something must be read again and cannot be in this run.
    lost: bool,
    /// A call into the source did not return in time; it is not called again.
    hangs: bool,
}

// === impl Intake ===

impl Intake {
    /// Runs the source until its end, a stop or an error that will not pass.
    pub(crate) async fn run(mut self) -> SourceEnd {
        let mut state = State::new(&self.cx);
        if !self.start(&mut state).await {
            // Nothing was read: whoever waits for the last batch need not wait for this source.
            self.jobs = None;
            let Some(failure) = state.failure else { return SourceEnd::Delivered };
            if self.stays {
                ending(&mut self.phase).await;
            }
            return SourceEnd::Failed(failure);
        }
        let reserve = (self.cx.max_bytes * EXPANSION).max(1);
        loop {
            for position in state.tracker.on_done() {
                self.read_again(&position, &mut state).await;
            }
            let phase = *self.phase.borrow_and_update();
            if phase != Phase::Run {
                state.reading = false;
            }
            if !state.reading && state.pending.is_none() {
                self.jobs = None;
            }
            let done = self.jobs.is_none() && state.tracker.in_flight() == 0;
            let commit_at = state.next_commit(done);
            if commit_at.is_some_and(|at| phase == Phase::Stop || Instant::now() >= at) {
                self.commit(&mut state).await;
            }
            if state.hangs {
                return SourceEnd::Undelivered;
            }
            if phase == Phase::Stop {
                return match state.tracker.in_flight() {
                    0 if state.pending.is_none() && !state.tracker.has_due() && !state.lost => {
                        SourceEnd::Delivered
                    }
                    _ => SourceEnd::Undelivered,
                };
            }
            if done && !state.tracker.has_due() {
                // A source that failed falls behind from now on.
                self.lag.set(state.failure.as_ref().map(|_| Instant::now()));
                return match state.failure {
                    Some(failure) => SourceEnd::Failed(failure),
                    None if state.lost => SourceEnd::Undelivered,
                    None => SourceEnd::Delivered,
                };
            }
            let commit_at = state.next_commit(done);
            self.step(&mut state, reserve, commit_at).await;
        }
    }

    /// Waits for whatever comes first and takes one step.
    async fn step(&mut self, state: &mut State, reserve: usize, commit_at: Option<Instant>) {
        if state.permit.as_ref().is_some_and(Permit::is_empty) {
            state.permit = None;
        }
        let now = Instant::now();
        let has_pending = state.pending.is_some();
        let free = state.reading && !has_pending;
        let rests = free && state.read_at > now;
        let wants_permit = free && !rests && state.permit.is_none();
        let may_read = free && !rests && state.permit.is_some();
        state.short_since = wants_permit.then(|| state.short_since.unwrap_or(now));
        self.lag.set(state.behind_since());
        let report_at = state.standing.report_at();
        tokio::select! {
            biased;
            _ = self.phase.changed() => {}
            () = state.tracker.any_done() => {}
            submitted = submit(self.jobs.as_ref(), &mut state.pending), if has_pending => if !submitted {
                state.reading = false;
                self.failures.try_send(Failure::Gone(self.id.clone())).ok();
            },
            () = sleep_until(commit_at.unwrap_or(now)), if commit_at.is_some() => {}
            () = sleep_until(report_at.unwrap_or(now)), if report_at.is_some() => state.standing.report(),
            () = sleep_until(state.read_at), if rests => {}
            permit = self.budget.acquire(reserve), if wants_permit => state.permit = Some(permit),
            next = read(&mut *self.source, &mut self.cx, state.permit.as_ref()), if may_read => {
                self.accept(next, state);
            }
        }
    }

    fn accept(&mut self, next: Result<Next, SourceError>, state: &mut State) {
        match next {
            Ok(Next::Batch(read)) => {
                state.on_read();
                // Whatever it was read with: it counts from now on, and nothing of it is dropped.
                let permit = state.permit.take().unwrap_or_else(|| self.budget.charge(0));
                self.cx.metrics.component.received_bytes.inc_by(read.bytes as u64);
                permit.resize(read.batch.memory_bytes().max(read.bytes) * EXPANSION);
                let permit = Arc::new(permit);
                #[cfg(feature = "broken")]
                if crate::COMMIT_BEFORE_DELIVERY.load(std::sync::atomic::Ordering::Relaxed) {
                    state.tracker.put_back(vec![read.position.clone()]);
                }
                let registered =
                    state.tracker.register(read.from, read.position.clone(), Arc::clone(&permit));
                let (number, ack) = match registered {
                    Ok(registered) => registered,
                    Err(misfit) => return self.refuse(&read, misfit, state),
                };
                state.pending = Some(Job {
                    source: self.index,
                    number,
                    batch: read.batch,
                    position: read.position,
                    ack,
                    permit,
                });
            }
            Ok(Next::Idle(wait)) => {
                state.on_read();
                // Memory is for those who have something to read.
                state.permit = None;
                state.read_at = instant_after(wait);
            }
            Ok(Next::End) => {
                debug!(component = %self.id, "source is at its end");
                state.on_read();
                state.permit = None;
                state.reading = false;
            }
            Err(problem) => {
                state.permit = None;
                state.standing.read_failed(&problem);
                let retry_in = state.read_backoff.next();
                self.report(&problem, "source failed", retry_in, state);
                state.read_at = instant_after(retry_in);
            }
        }
    }

    /// Ends the run: going on, records would be lost or repeated.
    fn refuse(&self, read: &SourceBatch, misfit: Misfit, state: &mut State) {
        error!(
            component = %self.id,
            partition = %read.position.partition,
            from = read.from,
            to = read.position.value,
            stands_at = misfit.at,
            "a source's batch does not begin where its partition stands, a bug of the source; the run ends, and what is undelivered is read again"
        );
        state.reading = false;
        state.lost = true;
        self.failures.try_send(Failure::Bug(self.id.clone())).ok();
    }

    /// Starts the source, as often as it takes. `false` when it cannot be, or the run is to end.
    async fn start(&mut self, state: &mut State) -> bool {
        self.lag.set(Some(Instant::now()));
        loop {
            let started = tokio::select! {
                biased;
                started = self.source.start(&mut self.cx) => started,
                // A start that hangs must not hold up the end; the source is not called again.
                () = ending(&mut self.phase) => return false,
            };
            let problem = match started {
                Ok(()) => {
                    state.standing.started();
                    return true;
                }
                Err(problem) => problem,
            };
            state.standing.start_failed(&problem);
            let retry_in = state.read_backoff.next();
            self.report(&problem, "source failed", retry_in, state);
            if state.failure.is_some() {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                () = ending(&mut self.phase) => return false,
            }
        }
    }

    fn report(&self, problem: &SourceError, what: &str, retry_in: Duration, state: &mut State) {
        self.cx.metrics.component.error(problem.reason, 1);
        if problem.fatal {
            error!(component = %self.id, reason = problem.reason, error = problem.message, "source cannot go on");
            state.standing.failed_for_good(problem);
            state.failure = Some(format!("{}: {}", self.id, problem.message));
            state.reading = false;
        } else {
            warn!(component = %self.id, reason = problem.reason, error = problem.message, ?retry_in, "{what}; retrying");
        }
    }

    async fn commit(&mut self, state: &mut State) {
        let due = state.tracker.take_due();
        let committed = tokio::select! {
            biased;
            committed = self.source.commit(&due) => committed,
            () = stopped_for(&mut self.phase, LAST_COMMIT) => {
                error!(component = %self.id, "checkpoint failed: the source does not commit in time; what is delivered is read again");
                state.hangs = true;
                return;
            }
        };
        match committed {
            Ok(()) => {
                state.standing.committed();
                state.commit_backoff.reset();
                state.commit_at = instant_after(self.source.traits().commit_interval);
                state.commit_again_at = Instant::now();
                state.on_committed(&due);
            }
            Err(problem) => {
                // A full disk, say. Nothing is lost: what is not committed is read again.
                state.standing.commit_failed(&problem);
                let retry_in = state.commit_backoff.next();
                self.report(&problem, "checkpoint failed", retry_in, state);
                state.tracker.put_back(due);
                state.commit_again_at = instant_after(retry_in);
            }
        }
    }

    /// Has a stretch read again that was not delivered: after a while, or what goes wrong with it would go wrong in a
    /// hot loop.
    async fn read_again(&mut self, position: &Position, state: &mut State) {
        warn!(
            component = %self.id,
            partition = %position.partition,
            position = position.value,
            "a stretch was not delivered and is read again"
        );
        let ends = self.jobs.is_none() || *self.phase.borrow() != Phase::Run;
        if ends || state.failure.is_some() || state.hangs {
            state.lost = true;
            return;
        }
        let rewound = tokio::select! {
            biased;
            rewound = self.source.rewind(position) => rewound,
            () = stopped_for(&mut self.phase, Duration::ZERO) => {
                error!(component = %self.id, "source does not go back in time; what is undelivered is read again");
                state.hangs = true;
                return;
            }
        };
        match rewound {
            Ok(()) => {
                let now = Instant::now();
                state.reading = true;
                state.read_at = state.read_at.max(instant_after(state.replay_backoff.next()));
                let since = state.replayed.take().map_or(now, |(_, since)| since);
                state.replayed = Some((position.clone(), since));
            }
            Err(problem) => {
                let problem = SourceError { fatal: true, ..problem };
                self.report(&problem, "source failed", Duration::ZERO, state);
            }
        }
    }
}

// === impl State ===

impl State {
    fn new(cx: &SourceCx) -> Self {
        let now = Instant::now();
        let backoff = || Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        Self {
            standing: Standing::new(cx.health.clone()),
            tracker: Tracker::new(),
            reading: true,
            permit: None,
            short_since: None,
            pending: None,
            read_at: now,
            read_backoff: backoff(),
            commit_at: now,
            commit_again_at: now,
            commit_backoff: backoff(),
            replayed: None,
            replay_backoff: backoff(),
            failure: None,
            lost: false,
            hangs: false,
        }
    }

    fn on_read(&mut self) {
        self.read_backoff.reset();
        self.standing.has_read();
    }

    /// Whether what was read again is delivered by now.
    fn on_committed(&mut self, due: &[Position]) {
        if let Some((replayed, _)) = &self.replayed
            && due.iter().any(|one| one.partition == replayed.partition && one.value >= replayed.value)
        {
            self.replayed = None;
            self.replay_backoff.reset();
        }
    }

    /// When to commit, if there is something to: at the end as soon as may be, before it in intervals.
    fn next_commit(&self, done: bool) -> Option<Instant> {
        let at = if done { self.commit_again_at } else { self.commit_again_at.max(self.commit_at) };
        self.tracker.has_due().then_some(at)
    }

    /// Since when the oldest record that is due has been waiting: one that was read and is not delivered, or one that
    /// cannot be read for want of memory or because reading fails.
    fn behind_since(&self) -> Option<Instant> {
        let replayed = self.replayed.as_ref().map(|(_, since)| *since);
        [self.tracker.oldest(), self.short_since, self.standing.failing_since(), replayed]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Gives the pending batch to the workers as soon as there is room. Cancel-safe.
async fn submit(jobs: Option<&mpsc::Sender<Job>>, pending: &mut Option<Job>) -> bool {
    let slot = match jobs {
        Some(jobs) => jobs.reserve().await.ok(),
        None => None,
    };
    match (slot, pending.take()) {
        (Some(slot), Some(job)) => {
            slot.send(job);
            true
        }
        _ => false,
    }
}

/// Asks the source. One that waits for something to happen (a pipe, a poll) gives its memory to those who have
/// something to read; what it reads then is accounted for as soon as it is there.
async fn read(
    source: &mut dyn Source,
    cx: &mut SourceCx,
    permit: Option<&Permit>,
) -> Result<Next, SourceError> {
    let next = source.next(cx);
    tokio::pin!(next);
    match tokio::time::timeout(PATIENCE, &mut next).await {
        Ok(next) => next,
        Err(_) => {
            if let Some(permit) = permit {
                permit.resize(0);
            }
            next.await
        }
    }
}

#[cfg(test)]
mod tests;
