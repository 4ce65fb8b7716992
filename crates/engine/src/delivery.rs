//! One loop per sink: gathers encoded rows into requests, sends them, and acts on what the sink says became of them.
//! Retry, backoff, splitting, waiting for an operator, dead letters and pacing are here and nowhere else.

mod blocked;
mod request;
mod units;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{SinkLimits, Verdict};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::blocked::Blocked;
use self::request::Done;
use self::units::{Unit, take_request};
use crate::backoff::Backoff;
use crate::budget::Budget;
use crate::phase::{Phase, stopped};
use crate::runner::Outgoing;
use crate::worker::Message;

pub(crate) use self::request::Shared;

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
    limits: SinkLimits,
    messages: mpsc::Receiver<Message>,
    budget: Arc<Budget>,
    phase: watch::Receiver<Phase>,
    pending: Pending,
    order: Order,
    blocked: Blocked,
}

/// Rows that wait for others to share a request.
#[derive(Default)]
struct Pending {
    units: VecDeque<Unit>,
    bytes: usize,
    rows: usize,
    flush_at: Option<Instant>,
}

/// What came of opening a sink.
enum Opening {
    Open,
    /// The run ended before the sink was open, and nothing had come for it.
    NothingToDeliver,
    Stopped,
}

/// Puts the batches of each source back into its order.
#[derive(Default)]
struct Order {
    next: HashMap<usize, u64>,
    early: BTreeMap<(usize, u64), Vec<Outgoing>>,
}

// === impl Delivery ===

impl Delivery {
    pub(crate) fn new(
        shared: Shared,
        messages: mpsc::Receiver<Message>,
        budget: Arc<Budget>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let limits = shared.entry().limits;
        Self {
            shared: Arc::new(shared),
            limits,
            messages,
            budget,
            phase,
            pending: Pending::default(),
            order: Order::default(),
            blocked: Blocked::new(limits.blocked_for),
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
        let mut in_flight = FuturesUnordered::new();
        let mut closed = false;
        loop {
            while in_flight.len() < shared.limiter.limit() && self.should_send(closed, in_flight.is_empty()) {
                let units = self.pending.take_request(&self.limits);
                in_flight.push(request::deliver(Arc::clone(&shared), units, None));
            }
            for probe in self.blocked.due_probes(Instant::now(), &self.limits) {
                in_flight.push(request::deliver(Arc::clone(&shared), probe.units, Some(probe.key)));
            }
            let expired = self.blocked.take_expired(Instant::now());
            if !expired.is_empty() {
                shared.reject_expired(expired).await;
                self.tell_blocked();
            }
            if closed && self.pending.units.is_empty() && in_flight.is_empty() && self.blocked.is_empty() {
                break;
            }
            let has_pending = !self.pending.units.is_empty();
            let may_receive = !closed && self.pending.bytes < self.limits.max_bytes.saturating_mul(2);
            let flush_at = self.pending.flush_at.unwrap_or_else(Instant::now);
            let blocked_at = self.blocked.next_event();
            tokio::select! {
                biased;
                () = stopped(&mut self.phase) => {
                    let idle = in_flight.is_empty() && self.blocked.is_empty() && self.holds_nothing();
                    return if idle && self.messages.is_empty() {
                        SinkEnd::Delivered
                    } else {
                        SinkEnd::Undelivered
                    };
                }
                Some(done) = in_flight.next(), if !in_flight.is_empty() => self.note(done),
                message = self.messages.recv(), if may_receive => match message {
                    Some(message) => self.accept(message),
                    None => closed = true,
                },
                () = sleep_until(flush_at), if has_pending && in_flight.len() < shared.limiter.limit() => {}
                () = self.budget.becomes_short(), if has_pending && in_flight.is_empty() => {}
                () = sleep_until(blocked_at.unwrap_or(flush_at)), if blocked_at.is_some() => {}
            }
        }
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
            Message::Rows(rows) => self.push(rows),
            Message::InOrder { source, number, rows } => {
                self.order.early.insert((source, number), rows);
                while let Some(rows) = self.order.take_next(source) {
                    self.push(rows);
                }
            }
        }
    }

    fn push(&mut self, rows: Vec<Outgoing>) {
        for outgoing in rows {
            let unit = Unit::of(outgoing.segment, outgoing.ack);
            let free = self.blocked.divert(unit);
            self.pending.push(free, self.limits.flush_interval);
        }
    }

    fn note(&mut self, done: Done) {
        if let Some(key) = &done.probe
            && !done.parked.iter().any(|parked| parked.key == *key)
        {
            info!(component = %self.shared.entry().id, destination = %key, "destination takes rows again");
            for unit in self.blocked.release(key) {
                self.pending.push(Some(unit), Duration::ZERO);
            }
        }
        for parked in done.parked {
            let id = &self.shared.entry().id;
            if self.blocked.park(&parked.key, parked.units) {
                warn!(
                    component = %id,
                    destination = %parked.key,
                    reason = %parked.reason,
                    detail = parked.detail,
                    what_to_do = parked.what_to_do,
                    "destination takes no rows until somebody acts; they are kept and tried slowly"
                );
            }
        }
        self.tell_blocked();
    }

    fn tell_blocked(&self) {
        self.shared.entry().metrics.blocked.set(self.blocked.rows() as i64);
        if self.blocked.is_empty() {
            self.shared.health.ready("blocked");
        } else {
            self.shared.health.not_ready("blocked", self.blocked.describe());
        }
    }

    /// Opens the sink, as often as it takes. Meanwhile no more than one message is taken: enough to see whether
    /// there is anything to deliver at all, for a run that has read nothing does not wait for a server.
    async fn open(&mut self) -> Opening {
        let shared = Arc::clone(&self.shared);
        let entry = shared.entry();
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut said = false;
        shared.health.not_ready("open", "not open yet");
        loop {
            let mut opening = entry.sink.open();
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
            let (reason, detail, what_to_do, after) = match opened {
                Ok(()) => break,
                Err(Verdict::Busy { reason, detail, after }) => (reason, detail, None, after),
                Err(Verdict::Blocked { reason, detail, what_to_do }) => {
                    (reason, detail, Some(what_to_do), None)
                }
                Err(other) => ("open".into(), format!("{other:?}"), None, None),
            };
            entry.metrics.component.error(&reason, 1);
            let advice = what_to_do.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
            shared.health.not_ready("open", format!("{reason}: {detail}{advice}"));
            if !said {
                warn!(component = %entry.id, %reason, detail, what_to_do, "sink cannot be opened; waiting for it");
                said = true;
            }
            let again_at = Instant::now() + after.unwrap_or_else(|| backoff.next());
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

// === impl Pending ===

impl Pending {
    fn push(&mut self, unit: Option<Unit>, flush_interval: Duration) {
        let Some(unit) = unit else { return };
        self.bytes += unit.byte_len();
        self.rows += unit.rows.len();
        let flush_at = Instant::now() + flush_interval;
        self.flush_at = Some(self.flush_at.map_or(flush_at, |earlier| earlier.min(flush_at)));
        self.units.push_back(unit);
    }

    fn take_request(&mut self, limits: &SinkLimits) -> Vec<Unit> {
        let units = take_request(&mut self.units, limits.max_bytes, limits.max_rows);
        for unit in &units {
            self.bytes -= unit.byte_len();
            self.rows -= unit.rows.len();
        }
        if self.units.is_empty() {
            self.flush_at = None;
        }
        units
    }
}

// === impl Order ===

impl Order {
    fn take_next(&mut self, source: usize) -> Option<Vec<Outgoing>> {
        let next = self.next.entry(source).or_insert(0);
        let rows = self.early.remove(&(source, *next))?;
        *next += 1;
        Some(rows)
    }
}
