//! One loop per sink: gathers encoded rows into requests, sends them, and acts on what the sink says became of them.
//! Retry, backoff, splitting, waiting for an operator, dead letters and pacing are here and nowhere else.

mod blocks;
mod limiter;
mod pending;
mod request;
mod settlement;
mod spill;
mod units;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flowstone_config::Settings;
use flowstone_core::{Segment, SinkCx, SinkLimits};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use self::pending::{Order, Pending};
use self::settlement::Settlement;
use self::spill::{Block, BlockOf, Problem, Spill, UnitsOf};
use self::units::Unit;
use self::waiting::{LONGEST_WAIT, News, Refused, Waiting};
use crate::backoff::{Backoff, instant_after};
use crate::budget::Budget;
use crate::phase::{Phase, stopped};
use crate::worker::Message;

pub(crate) use self::request::Shared;
pub(crate) use self::spill::warn_of_strangers;

/// How a sink's loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SinkEnd {
    /// Everything that came was delivered or rejected.
    Delivered,
    /// The run was ended with rows undelivered; they are read again at the next start.
    Undelivered,
}

/// A sink's delivery loop.
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    cx: SinkCx,
    limits: SinkLimits,
    messages: mpsc::Receiver<Message>,
    budget: Arc<Budget>,
    phase: watch::Receiver<Phase>,
    pending: Pending,
    order: Order,
    waiting: Waiting,
    /// So many bytes of rows may wait in memory.
    share: usize,
    spill: Spill,
    /// Whether rows are being written to the disk, and when to try again what failed.
    spilling: bool,
    spill_again_at: Option<Instant>,
    /// When to look for rows of an earlier run; before that nothing new goes to the disk.
    recover_at: Option<Instant>,
    spilled_at: Option<Instant>,
    /// [`Shared::taken`] when rows went to the disk last.
    taken_then: u64,
    /// Blocks that are being read to try their destinations with, or for those that take rows again.
    reading: usize,
    probing: bool,
    reported_blocked: usize,
    reported_spill: bool,
    beside: FuturesUnordered<BoxFuture<'static, Beside>>,
}

/// What goes on beside the requests.
enum Beside {
    Rejected,
    Spilled(Result<Vec<BlockOf>, (Problem, Vec<UnitsOf>)>),
    Read(Arc<str>, Result<Vec<Unit>, String>),
    /// A block whose rows have waited for too long.
    ReadExpired(Arc<str>, Result<Vec<Unit>, String>),
    Returned(Vec<spill::Returned>),
}

/// What came of opening a sink.
enum Opening {
    Open,
    /// The run ended before the sink was open, and nothing had come for it.
    NothingToDeliver,
    Stopped,
}

/// A disk that is full or away is tried again after this time.
const TRY_DISK_AGAIN: Duration = Duration::from_secs(5);

// === impl Delivery ===

impl Delivery {
    pub(crate) fn new(
        shared: Shared,
        cx: SinkCx,
        messages: mpsc::Receiver<Message>,
        budget: Arc<Budget>,
        phase: watch::Receiver<Phase>,
        settings: &Settings,
    ) -> Self {
        let entry = shared.entry();
        let limits = entry.limits;
        let folder = settings.data_dir.join("waiting");
        let spill = Spill::new(&folder, &entry.id.name, entry.id.type_name, settings.waiting_max);
        let waiting = Waiting::new(limits.blocked_for, Arc::clone(&budget), shared.clock);
        Self {
            share: settings.memory / 4 / shared.sinks_that_wait().max(1),
            shared: Arc::new(shared),
            cx,
            limits,
            messages,
            budget,
            phase,
            pending: Pending::default(),
            order: Order::default(),
            waiting,
            spill,
            spilling: false,
            spill_again_at: None,
            recover_at: None,
            spilled_at: None,
            taken_then: 0,
            reading: 0,
            probing: false,
            reported_blocked: 0,
            reported_spill: false,
            beside: FuturesUnordered::new(),
        }
    }

    /// What its requests share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Runs until its input is closed and everything is delivered, or the run is stopped.
    pub(crate) async fn run(mut self) -> SinkEnd {
        let shared = Arc::clone(&self.shared);
        match self.open().await {
            Opening::Open => {}
            Opening::NothingToDeliver => return SinkEnd::Delivered,
            // What waits is read again.
            Opening::Stopped if self.holds_nothing() && self.messages.is_empty() => {
                return SinkEnd::Delivered;
            }
            Opening::Stopped => return SinkEnd::Undelivered,
        }
        if !self.limits.ordered {
            self.recover().await;
        }
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Settlement>> = FuturesUnordered::new();
        let mut closed = false;
        loop {
            let phase = *self.phase.borrow_and_update();
            // What came back from the disk is known to no source any more, also while it is in flight.
            let idle = in_flight.is_empty()
                && self.beside.is_empty()
                && self.waiting.is_empty()
                && self.holds_nothing();
            shared.waits().store(!idle, Ordering::Relaxed);
            if phase == Phase::Stop {
                return if idle && self.messages.is_empty() {
                    SinkEnd::Delivered
                } else {
                    SinkEnd::Undelivered
                };
            }
            // A probe and a request can always be in flight together, or the one would wait for the other: a red index
            // answers after half a minute.
            let places = shared.limiter.limit().max(2.min(self.limits.max_concurrency));
            let draining = closed && phase == Phase::Drain;
            if self.recover_at.is_some_and(|at| at <= Instant::now()) {
                self.recover().await;
            }
            if let Some(probe) = self.next_probe(in_flight.len() < places && !draining) {
                in_flight.push(probe);
            }
            let may_send = |in_flight: usize, probing: bool| {
                in_flight < places && in_flight - usize::from(probing) < shared.limiter.limit()
            };
            while may_send(in_flight.len(), self.probing) && self.should_send(closed, in_flight.is_empty()) {
                let units = self.pending.take_request(&self.limits);
                in_flight.push(request::deliver(Arc::clone(&shared), units, Vec::new()).boxed());
            }
            self.give_back();
            self.expire();
            self.spill(draining);
            if closed && self.pending.units.is_empty() && in_flight.is_empty() && self.beside.is_empty() {
                if self.waiting.is_empty() {
                    break;
                }
                if draining && self.waiting.is_on_disk() {
                    let rows = self.waiting.counts().0;
                    let file = self.spill.path().display();
                    info!(component = %shared.entry().id, rows, %file, "rows wait on disk and are sent after the next start");
                    break;
                }
            }
            let has_pending = !self.pending.units.is_empty();
            let may_receive = !closed
                && self.pending.bytes < self.limits.max_bytes.saturating_mul(2)
                && self.waiting.weight() <= self.share;
            let has_place = may_send(in_flight.len(), self.probing);
            let can_probe = in_flight.len() < places && !draining;
            let flush_at = self.pending.flush_at.unwrap_or_else(Instant::now);
            let wake_at = self.wake_at(can_probe, draining);
            tokio::select! {
                biased;
                changed = self.phase.changed() => if changed.is_err() { return SinkEnd::Undelivered },
                Some(done) = in_flight.next(), if !in_flight.is_empty() => self.on_done(done),
                Some(done) = self.beside.next(), if !self.beside.is_empty() => self.on_beside(done),
                () = self.spill.any_returned() => {
                    let spill = self.spill.clone();
                    self.beside.push(async move { Beside::Returned(spill.returned().await) }.boxed());
                }
                message = self.messages.recv(), if may_receive => match message {
                    Some(message) => self.accept(message),
                    None => closed = true,
                },
                () = sleep_until(flush_at), if has_pending && has_place => {}
                () = self.budget.becomes_short(), if has_pending && in_flight.is_empty() => {}
                () = sleep_until(wake_at.unwrap_or(flush_at)), if wake_at.is_some() => {}
            }
        }
        // A source whose acks were just resolved runs first: woken by this task, only this thread can run it, and closing
        // may block the thread.
        tokio::task::yield_now().await;
        // All is delivered, whatever closing comes to: one that hangs must not hold up the end.
        tokio::select! {
            biased;
            () = shared.entry().sink.close() => {}
            () = stopped(&mut self.phase) => {
                warn!(component = %shared.entry().id, "sink does not close in time");
            }
        }
        SinkEnd::Delivered
    }

    /// The rows that an earlier run has left on disk.
    async fn recover(&mut self) {
        self.recover_at = None;
        let entry = self.shared.entry();
        match self.spill.recover().await {
            Ok(blocks) if blocks.is_empty() => self.report_spill(None),
            Ok(blocks) => {
                let rows: usize = blocks.iter().map(|(_, block)| block.rows as usize).sum();
                info!(component = %entry.id, rows, "rows of an earlier run wait on disk; their destinations are tried");
                // After a reload they are in flight already.
                let new = (rows as i64 - entry.metrics.component.in_flight.get().max(0)).max(0);
                entry.metrics.component.received.inc_by(new as u64);
                entry.metrics.component.in_flight.add(new);
                self.waiting.recovered(blocks);
                self.report_spill(None);
            }
            Err(problem) => {
                // Dead letters of the run before a reload may still hold the file.
                self.recover_at = Some(instant_after(TRY_DISK_AGAIN));
                self.report_spill(Some(&problem));
            }
        }
        self.report_waiting();
    }

    /// Rows that try destinations which took none, one request at a time.
    fn next_probe(&mut self, has_place: bool) -> Option<BoxFuture<'static, Settlement>> {
        let is_due = self.waiting.next_try().is_some_and(|at| at <= Instant::now());
        if !has_place || self.probing || self.reading > 0 || !is_due {
            return None;
        }
        let (probe, blocks) = self.waiting.due(&self.limits, self.share / 2);
        for (key, block) in blocks {
            self.read(key, block);
        }
        self.probing = !probe.keys.is_empty();
        self.probing.then(|| request::deliver(Arc::clone(&self.shared), probe.units, probe.keys).boxed())
    }

    fn read(&mut self, key: Arc<str>, block: Block) {
        self.reading += 1;
        let (spill, budget) = (self.spill.clone(), Arc::clone(&self.budget));
        let read = async move {
            let units = spill.load(&key, block, &budget).await;
            Beside::Read(key, units)
        };
        self.beside.push(read.boxed());
    }

    /// Gives rows back to destinations that take them again, a block at a time.
    fn give_back(&mut self) {
        while self.pending.bytes < self.limits.max_bytes.saturating_mul(2) && self.reading == 0 {
            match self.waiting.give_back() {
                None => return,
                Some(Ok((key, block))) => self.read(key, block),
                Some(Err(units)) => {
                    units.into_iter().for_each(|unit| self.pending.push(Some(unit), Duration::ZERO));
                    self.report_waiting();
                }
            }
        }
    }

    /// Rejects what has waited for too long, beside everything else.
    fn expire(&mut self) {
        let (units, blocks) = self.waiting.take_expired();
        for (key, block) in blocks {
            let (spill, budget) = (self.spill.clone(), Arc::clone(&self.budget));
            let read = async move {
                let units = spill.load(&key, block, &budget).await;
                Beside::ReadExpired(key, units)
            };
            self.beside.push(read.boxed());
        }
        self.reject_expired(units);
    }

    fn reject_expired(&mut self, units: Vec<Unit>) {
        if units.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let reject = async move {
            shared.reject_expired(units).await;
            Beside::Rejected
        };
        self.beside.push(reject.boxed());
        self.report_waiting();
    }

    /// Puts on disk what waits beyond its share of memory, or everything when the run is being ended.
    fn spill(&mut self, everything: bool) {
        if self.spill_at(everything).is_none_or(|at| at > Instant::now()) {
            return;
        }
        let down_to = if everything { 0 } else { self.share / 2 };
        let groups = self.waiting.take_oldest(down_to, (self.share / 8).max(1 << 16));
        if groups.is_empty() {
            if !self.waiting.can_shrink() {
                // What is known about rows on disk fills the share by itself.
                self.report_spill(Some(&Problem::Full(self.share as u64)));
            }
            self.spill_again_at = Some(instant_after(Duration::from_secs(1)));
            return;
        }
        self.spilling = true;
        (self.spilled_at, self.taken_then) = (Some(Instant::now()), self.shared.taken());
        let spill = self.spill.clone();
        self.beside.push(async move { Beside::Spilled(spill.put(groups).await) }.boxed());
    }

    /// When rows are to go to the disk, if they are.
    fn spill_at(&self, everything: bool) -> Option<Instant> {
        let wanted = match everything {
            true => self.waiting.can_shrink(),
            false => self.waiting.weight() > self.share,
        };
        if !wanted || self.spilling || self.recover_at.is_some() {
            return None;
        }
        // While a server that is overloaded takes nothing at all, reading on would only fill the disk: slowly, then, until
        // there are rows that something takes.
        let in_vain = self.shared.taken() == self.taken_then && !self.waiting.needs_operator() && !everything;
        let slow = self.spilled_at.filter(|_| in_vain).and_then(|at| at.checked_add(LONGEST_WAIT));
        [self.spill_again_at, slow].into_iter().flatten().max().or_else(|| Some(Instant::now()))
    }

    /// When there is something to do for what waits.
    fn wake_at(&self, can_probe: bool, draining: bool) -> Option<Instant> {
        let next_try = self.waiting.next_try().filter(|_| can_probe && !self.probing && self.reading == 0);
        let times = [next_try, self.waiting.next_expiry(), self.spill_at(draining), self.recover_at];
        times.into_iter().flatten().min()
    }

    fn on_beside(&mut self, done: Beside) {
        match done {
            Beside::Rejected => {}
            Beside::Spilled(Ok(blocks)) => {
                (self.spilling, self.spill_again_at) = (false, None);
                self.waiting.spilled(blocks);
                self.report_spill(None);
            }
            Beside::Spilled(Err((problem, groups))) => {
                self.spilling = false;
                self.spill_again_at = Some(instant_after(TRY_DISK_AGAIN));
                self.waiting.put_back(groups);
                self.report_spill(Some(&problem));
            }
            Beside::Read(key, units) => {
                self.reading -= 1;
                let units = self.waiting.loaded(&key, self.readable(&key, units));
                units.into_iter().for_each(|unit| self.pending.push(Some(unit), Duration::ZERO));
            }
            Beside::ReadExpired(key, units) => {
                let units = self.readable(&key, units).unwrap_or_default();
                self.reject_expired(units);
            }
            Beside::Returned(returned) => {
                returned.into_iter().for_each(|returned| self.waiting.returned(returned.key, returned.block));
            }
        }
        self.report_waiting();
    }

    fn readable(&self, key: &str, units: Result<Vec<Unit>, String>) -> Option<Vec<Unit>> {
        if let Err(why) = &units {
            let id = &self.shared.entry().id;
            error!(component = %id, destination = key, error = why, "rows that wait on disk cannot be read; they stay there");
        }
        units.ok()
    }

    fn should_send(&self, closed: bool, idle: bool) -> bool {
        let pending = &self.pending;
        if pending.units.is_empty() {
            return false;
        }
        closed
            || pending.bytes >= self.limits.max_bytes
            || pending.rows >= self.limits.max_rows
            || pending.flush_at.is_some_and(|at| at <= Instant::now())
            || (idle && self.budget.is_short())
    }

    fn accept(&mut self, message: Message) {
        match message {
            Message::Rows(segments) => self.push(segments),
            Message::InOrder { source, number, segments } => {
                self.order.early.insert((source, number), segments);
                while let Some(segments) = self.order.take_next(source) {
                    self.push(segments);
                }
            }
        }
    }

    fn push(&mut self, segments: Vec<Segment>) {
        for mut segment in segments {
            if !segment.is_held() {
                segment.hold(self.budget.charge(segment.memory_bytes()));
            }
            let free = self.waiting.divert(Unit::of(segment));
            self.pending.push(free, self.limits.flush_interval);
        }
    }

    fn on_done(&mut self, done: Settlement) {
        let id = &self.shared.entry().id;
        let is_probe = !done.probed.is_empty();
        self.probing &= !is_probe;
        for key in &done.probed {
            if done.refused.contains_key(key) {
                continue;
            }
            let (units, was_down) = self.waiting.takes(key);
            if was_down {
                info!(component = %id, destination = %key, "destination takes rows again");
            }
            units.into_iter().for_each(|unit| self.pending.push(Some(unit), Duration::ZERO));
        }
        for (key, refused) in done.refused {
            let waiting::Why { reason, detail, help } = refused.why.clone();
            match self.waiting.park(&key, refused, is_probe) {
                News::Known => {}
                News::Down(retry_in) if help.is_some() => warn!(
                    component = %id, destination = %key, %reason, detail, help, ?retry_in,
                    "destination is blocked until somebody acts; its rows wait and are tried slowly"
                ),
                News::Down(retry_in) => warn!(
                    component = %id, destination = %key, %reason, detail, ?retry_in,
                    "destination takes no rows for now; retrying, while others go on"
                ),
                News::Alone(retry_in) => warn!(
                    component = %id, destination = %key, %reason, detail, ?retry_in,
                    "some rows are refused again and again while others are taken; retrying"
                ),
            }
        }
        self.report_waiting();
    }

    fn report_waiting(&mut self) {
        let metrics = &self.shared.entry().metrics;
        let (waiting, blocked, on_disk) = self.waiting.counts();
        // Requests that wait in their place are in the same gauge.
        metrics.blocked.add(blocked as i64 - self.reported_blocked as i64);
        metrics.waiting.set(waiting as i64);
        metrics.spilled.set(on_disk as i64);
        metrics.waiting_bytes.set(self.waiting.weight() as i64);
        self.reported_blocked = blocked;
        match self.waiting.problem() {
            Some(problem) => self.shared.health.not_ready("waiting", problem),
            None => self.shared.health.ready("waiting"),
        }
        // What waited may have left through the server: then no write to the disk says that it is well.
        if self.reported_spill && self.recover_at.is_none() && self.waiting.weight() <= self.share {
            self.report_spill(None);
        }
    }

    fn report_spill(&mut self, problem: Option<&Problem>) {
        let Some(problem) = problem else {
            self.reported_spill = false;
            return self.shared.health.ready("spill");
        };
        let text = format!("rows that wait cannot go to the disk, and the sink takes no more: {problem}");
        self.shared.health.not_ready("spill", text);
        if !std::mem::replace(&mut self.reported_spill, true) {
            let id = &self.shared.entry().id;
            error!(component = %id, error = %problem, "rows that wait cannot go to the disk; the sink takes no more until they can");
        }
    }

    /// Opens the sink, as often as it takes. Meanwhile no more than one message is taken: enough to see whether
    /// there is anything to deliver at all, for a run that has read nothing does not wait for a server.
    async fn open(&mut self) -> Opening {
        let shared = Arc::clone(&self.shared);
        let (entry, cx) = (shared.entry(), self.cx.clone());
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut said = false;
        shared.health.not_ready("open", "not open yet");
        loop {
            let mut opening = entry.sink.open(&cx);
            let opened = loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut self.phase) => return Opening::Stopped,
                    opened = &mut opening => break opened,
                    message = self.messages.recv(), if self.holds_nothing() => match message {
                        Some(message) => self.accept(message),
                        None => return Opening::NothingToDeliver,
                    },
                }
            };
            let Err(verdict) = opened else { break };
            let Refused { why, after, .. } = Refused::by(verdict);
            entry.metrics.component.error(&why.reason, 1);
            shared.health.not_ready("open", why.to_string());
            let waiting::Why { reason, detail, help } = why;
            let retry_in = backoff.next_or(after);
            if !said {
                warn!(component = %entry.id, %reason, detail, help, ?retry_in, "sink cannot be opened; retrying");
                said = true;
            }
            let again_at = instant_after(retry_in);
            loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut self.phase) => return Opening::Stopped,
                    () = sleep_until(again_at) => break,
                    message = self.messages.recv(), if self.holds_nothing() => match message {
                        Some(message) => self.accept(message),
                        None => return Opening::NothingToDeliver,
                    },
                }
            }
        }
        if said {
            info!(component = %entry.id, "sink is open");
        }
        shared.health.ready("open");
        Opening::Open
    }

    fn holds_nothing(&self) -> bool {
        self.pending.units.is_empty() && self.order.early.is_empty()
    }
}
