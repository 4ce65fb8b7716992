//! One task per source: reads when there is memory and room, numbers the batches, commits what is delivered.

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{ComponentId, Next, Position, Source, SourceCx, SourceError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

use crate::backoff::Backoff;
use crate::budget::{Budget, Permit};
use crate::run::Phase;
use crate::settle::Tracker;
use crate::worker::Job;

/// What a byte that was read costs in memory until it is delivered: the text itself, its columns, and the encoded
/// document, which is three to four times as long as a flow-log line (measured: 116 bytes become 430).
const EXPANSION: usize = 4;

/// How long a source may wait inside `next` before the memory reserved for its batch is lent to others.
const PATIENCE: Duration = Duration::from_millis(20);

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
    /// See [`RunOptions`](crate::RunOptions).
    pub(crate) commit_before_delivery: bool,
}

struct State {
    tracker: Tracker,
    number: u64,
    reading: bool,
    permit: Option<Permit>,
    pending: Option<Job>,
    read_at: Instant,
    commit_at: Instant,
    read_backoff: Backoff,
    commit_backoff: Backoff,
    failure: Option<String>,
    /// Something must be read again and cannot be in this run.
    lost: bool,
}

// === impl Intake ===

impl Intake {
    /// Runs the source until its end, a stop or an error that will not pass.
    pub(crate) async fn run(mut self) -> SourceEnd {
        let mut state = State {
            tracker: Tracker::new(),
            number: 0,
            reading: true,
            permit: None,
            pending: None,
            read_at: Instant::now(),
            commit_at: Instant::now(),
            read_backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            commit_backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            failure: None,
            lost: false,
        };
        if !self.start(&mut state).await {
            return state.failure.map_or(SourceEnd::Delivered, SourceEnd::Failed);
        }
        let reserve = (self.cx.max_bytes * EXPANSION).max(1);
        loop {
            for position in state.tracker.note_arrivals() {
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
            if state.tracker.has_due() && (done || phase == Phase::Stop || Instant::now() >= state.commit_at)
            {
                self.commit(&mut state).await;
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
                return match state.failure {
                    Some(failure) => SourceEnd::Failed(failure),
                    None if state.lost => SourceEnd::Undelivered,
                    None => SourceEnd::Delivered,
                };
            }
            self.step(&mut state, reserve).await;
        }
    }

    /// Waits for whatever comes first and takes one step.
    async fn step(&mut self, state: &mut State, reserve: usize) {
        if state.permit.as_ref().is_some_and(Permit::is_empty) {
            state.permit = None;
        }
        let has_pending = state.pending.is_some();
        let free = state.reading && !has_pending;
        let rests = free && state.read_at > Instant::now();
        let wants_permit = free && !rests && state.permit.is_none();
        let may_read = free && !rests && state.permit.is_some();
        tokio::select! {
            biased;
            _ = self.phase.changed() => {}
            () = state.tracker.arrival() => {}
            handed_on = hand_on(self.jobs.as_ref(), &mut state.pending), if has_pending => {
                // A closed channel means that the run is being ended, and the phase will say so.
                state.reading = state.reading && handed_on;
            }
            () = sleep_until(state.commit_at), if state.tracker.has_due() => {}
            () = sleep_until(state.read_at), if rests => {}
            permit = self.budget.acquire(reserve), if wants_permit => state.permit = Some(permit),
            next = read(&mut *self.source, &mut self.cx, state.permit.as_ref()), if may_read => {
                self.take_in(next, state);
            }
        }
    }

    fn take_in(&mut self, next: Result<Next, SourceError>, state: &mut State) {
        match next {
            Ok(Next::Batch(read)) => {
                state.read_backoff.reset();
                let Some(permit) = state.permit.take() else { return };
                self.cx.metrics.component.received_bytes.inc_by(read.bytes as u64);
                permit.resize(read.batch.memory_bytes().max(read.bytes) * EXPANSION);
                let permit = Arc::new(permit);
                if self.commit_before_delivery {
                    state.tracker.put_back(vec![read.position.clone()]);
                }
                let ack = state.tracker.depart(read.position.clone(), Arc::clone(&permit));
                let number = state.number;
                state.number += 1;
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
                state.read_backoff.reset();
                // Memory is for those who have something to read.
                state.permit = None;
                state.read_at = Instant::now() + wait;
            }
            Ok(Next::End) => {
                debug!(component = %self.id, "source is at its end");
                state.permit = None;
                state.reading = false;
            }
            Err(problem) => {
                state.permit = None;
                self.report(&problem, state);
                state.read_at = Instant::now() + state.read_backoff.next();
            }
        }
    }

    async fn start(&mut self, state: &mut State) -> bool {
        loop {
            let problem = match self.source.start(&mut self.cx).await {
                Ok(()) => return true,
                Err(problem) => problem,
            };
            self.report(&problem, state);
            if state.failure.is_some() {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(state.read_backoff.next()) => {}
                _ = self.phase.wait_for(|phase| *phase != Phase::Run) => return false,
            }
        }
    }

    fn report(&self, problem: &SourceError, state: &mut State) {
        self.cx.metrics.component.error(problem.reason, 1);
        if problem.fatal {
            error!(component = %self.id, reason = problem.reason, error = problem.message, "source cannot go on");
            state.failure = Some(format!("{}: {}", self.id, problem.message));
            state.reading = false;
        } else {
            warn!(component = %self.id, reason = problem.reason, error = problem.message, "source failed, trying again");
        }
    }

    async fn commit(&mut self, state: &mut State) {
        let due = state.tracker.take_due();
        match self.source.commit(&due).await {
            Ok(()) => {
                state.commit_backoff.reset();
                state.commit_at = Instant::now() + self.source.commit_interval();
            }
            Err(problem) => {
                // A full disk, say. Nothing is lost: what is not committed is read again.
                self.report(&problem, state);
                state.tracker.put_back(due);
                state.commit_at = Instant::now() + state.commit_backoff.next();
                if *self.phase.borrow() != Phase::Stop && !state.reading {
                    sleep_until(state.commit_at).await;
                }
            }
        }
    }

    async fn read_again(&mut self, position: &Position, state: &mut State) {
        warn!(
            component = %self.id,
            partition = %position.partition,
            position = position.value,
            "a stretch was not delivered and is read again"
        );
        if self.jobs.is_none() {
            state.lost = true;
            return;
        }
        match self.source.rewind(position).await {
            Ok(()) => state.reading = *self.phase.borrow() == Phase::Run,
            Err(problem) => self.report(&SourceError { fatal: true, ..problem }, state),
        }
    }
}

/// Gives the pending batch to the workers as soon as there is room. Cancel-safe.
async fn hand_on(jobs: Option<&mpsc::Sender<Job>>, pending: &mut Option<Job>) -> bool {
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
