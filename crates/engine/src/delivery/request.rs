//! One request on its way: sent until every row of it is delivered, rejected or waits for an operator.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowstone_core::event::Value;
use flowstone_core::{ComponentHealth, Rejection, Request, Verdict, Verdicts, parse_json};
use indexmap::IndexMap;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::units::{Unit, count, halve, push_row};
use crate::backoff::Backoff;
use crate::graph::{Graph, SinkEntry};
use crate::phase::Failure;
use crate::runner::{Outgoing, Runner, batch_of};
use crate::supervise::Stage;
use crate::worker::Message;

/// After so many refusals in a row the sink does not count as ready.
const NOT_READY_AFTER: u32 = 3;

/// What all requests of one sink share.
pub(crate) struct Shared {
    graph: Arc<Graph>,
    sink: usize,
    /// Runs dead letters; nothing waits while it is locked.
    runner: Mutex<Runner>,
    /// The sinks that dead letters may reach.
    sinks: Vec<Option<Sender<Message>>>,
    failed: Sender<Failure>,
    refusals: AtomicU32,
    pub(crate) health: ComponentHealth,
    pub(crate) limiter: Limiter,
}

/// How many requests at once: one more for each round without a refusal, half for a refusal (AIMD).
pub(crate) struct Limiter {
    max: f64,
    state: Mutex<LimiterState>,
}

struct LimiterState {
    limit: f64,
    last_cut: Option<Instant>,
}

/// How a request ended. Every row of it is settled, or waits in `parked`.
pub(crate) struct Done {
    /// The blocked destination it tried.
    pub(crate) probe: Option<Arc<str>>,
    pub(crate) parked: Vec<Parked>,
}

/// Rows whose destination takes none until somebody acts.
pub(crate) struct Parked {
    pub(crate) key: Arc<str>,
    pub(crate) units: Vec<Unit>,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) detail: String,
    pub(crate) what_to_do: String,
}

/// The rows of a request by what became of them.
#[derive(Default)]
struct Sorted {
    settled: Vec<Unit>,
    duplicates: usize,
    busy: Vec<Unit>,
    busy_why: Option<(Cow<'static, str>, String)>,
    after: Option<Duration>,
    blocked: IndexMap<Arc<str>, Parked>,
    split: Vec<Unit>,
    split_why: (Cow<'static, str>, String),
    rejected: Vec<(Unit, Rejection)>,
    closed: bool,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        graph: Arc<Graph>,
        sink: usize,
        runner: Runner,
        sinks: Vec<Option<Sender<Message>>>,
        failed: Sender<Failure>,
        health: ComponentHealth,
    ) -> Self {
        let entry = &graph.sinks[sink];
        let limiter = Limiter::new(entry.limits.max_concurrency);
        entry.metrics.concurrency_limit.set(limiter.limit() as i64);
        Self {
            sink,
            runner: Mutex::new(runner),
            sinks,
            failed,
            refusals: AtomicU32::new(0),
            health,
            limiter,
            graph,
        }
    }

    pub(crate) fn entry(&self) -> &SinkEntry {
        &self.graph.sinks[self.sink]
    }

    /// Where a panic of the sink's loop happened: in the sink, or in what its dead letters run through.
    pub(crate) fn culprit(&self) -> Stage {
        match self.runner.lock() {
            Ok(_) => Stage { name: "delivery", component: self.entry().id.clone() },
            Err(poisoned) => {
                Stage { name: "dead letters", component: poisoned.get_ref().at().component().clone() }
            }
        }
    }

    fn settle(&self, units: &[Unit]) {
        for unit in units {
            unit.encoded.settle(unit.rows.len());
        }
    }

    fn deliver(&self, units: &[Unit], duplicates: usize) {
        let metrics = &self.entry().metrics;
        let rows = count(units);
        metrics.component.sent.inc_by(rows as u64);
        metrics.component.sent_bytes.inc_by(units.iter().map(Unit::byte_len).sum::<usize>() as u64);
        metrics.component.in_flight.sub(rows as i64);
        metrics.duplicates.inc_by(duplicates as u64);
        self.settle(units);
    }

    /// Sends rows to the sink's `rejected` port: each as the document that it was to become.
    async fn reject(&self, rejected: Vec<(Unit, Rejection)>) {
        let mut outgoing = Vec::new();
        let mut rejected = VecDeque::from(rejected);
        while let Some((first, why)) = rejected.pop_front() {
            let mut rows: Vec<(Unit, Rejection)> = vec![(first, why)];
            while let Some((next, _)) = rejected.front()
                && Arc::ptr_eq(&next.encoded, &rows[0].0.encoded)
            {
                rows.extend(rejected.pop_front());
            }
            let encoded = Arc::clone(&rows[0].0.encoded);
            let metrics = &self.entry().metrics.component;
            let mut events = Vec::new();
            let mut reasons = Vec::new();
            for (unit, why) in rows {
                for row in unit.rows.iter() {
                    let document = encoded.segment.document(row);
                    // What an encoder wrote and cannot be read again (a text, say) is kept as a message.
                    let event = parse_json(&mut document.to_vec())
                        .ok()
                        .filter(|event| matches!(event, Value::Object(_)));
                    let event =
                        event.unwrap_or_else(|| Value::from(String::from_utf8_lossy(document).trim_end()));
                    events.push((encoded.segment.id(row), event));
                    reasons.push(why.clone());
                }
            }
            let rows = events.len();
            {
                let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
                let letters = runner.letters(&self.entry().id, metrics, batch_of(events), reasons);
                runner.emit(&self.entry().rejected, letters, encoded.ack());
                outgoing.extend(runner.take_outgoing());
            }
            metrics.in_flight.sub(rows as i64);
            encoded.settle(rows);
        }
        let mut by_sink: IndexMap<usize, Vec<Outgoing>> = IndexMap::new();
        for row in outgoing {
            by_sink.entry(row.sink).or_default().push(row);
        }
        for (sink, rows) in by_sink {
            if let Some(input) = &self.sinks[sink]
                && input.send(Message::Rows(rows)).await.is_err()
            {
                // The letters are made again at the next start.
                self.failed.send(Failure::Gone(self.graph.sinks[sink].id.clone())).await.ok();
            }
        }
    }

    /// Rows that have waited for an operator for as long as they may.
    pub(crate) async fn reject_expired(&self, units: Vec<Unit>) {
        let why = Rejection {
            reason: "blocked_for".into(),
            detail: "the destination took no rows for as long as `blocked_for` says".to_owned(),
            ..Rejection::default()
        };
        self.reject(units.into_iter().map(|unit| (unit, why.clone())).collect()).await;
    }

    /// The server refused: said at the first refusal, and from the third on the sink is not ready.
    fn refused(&self, reason: &str, detail: &str) {
        let entry = self.entry();
        entry.metrics.retried(reason);
        entry.metrics.component.error(reason, 1);
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if refusals == 1 {
            warn!(component = %entry.id, reason, detail, "rows are refused for now; trying again with backoff");
        } else {
            debug!(component = %entry.id, reason, detail, refusals, "rows are refused for now");
        }
        if refusals >= NOT_READY_AFTER {
            self.health.not_ready("refused", format!("{reason}: {detail}"));
        }
        self.limiter.cut();
        entry.metrics.concurrency_limit.set(self.limiter.limit() as i64);
    }

    fn accepted(&self) {
        let entry = self.entry();
        if self.refusals.swap(0, Ordering::Relaxed) > 0 {
            info!(component = %entry.id, "rows are taken again");
            self.health.ready("refused");
        }
        if self.limiter.grow() {
            entry.metrics.concurrency_limit.set(self.limiter.limit() as i64);
        }
    }
}

/// Sends these rows, and again those that are refused for now, until none is left. Keeps its place among the sink's
/// requests all the while.
pub(crate) async fn deliver(shared: Arc<Shared>, units: Vec<Unit>, probe: Option<Arc<str>>) -> Done {
    let mut done = Done { probe, parked: Vec::new() };
    let mut work = VecDeque::from([units]);
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
    // An ordered sink's rows wait where they are, or later ones would overtake them.
    let waits_in_place = shared.entry().limits.ordered;
    let mut said_blocked = false;
    while let Some(units) = work.pop_front() {
        let sorted = send(&shared, units).await;
        shared.deliver(&sorted.settled, sorted.duplicates);
        if sorted.closed {
            shared.failed.send(Failure::Closed(shared.entry().id.clone())).await.ok();
        }
        let mut rejected = sorted.rejected;
        if count(&sorted.split) == 1 {
            let (reason, detail) = sorted.split_why;
            let why = Rejection { reason, detail, ..Rejection::default() };
            rejected.extend(sorted.split.into_iter().map(|unit| (unit, why.clone())));
        } else if !sorted.split.is_empty() {
            let (first, second) = halve(sorted.split);
            work.push_front(second);
            work.push_front(first);
        }
        if !rejected.is_empty() {
            shared.reject(rejected).await;
        }
        let mut again = sorted.busy;
        let mut wait = sorted.after;
        if waits_in_place && !sorted.blocked.is_empty() {
            for parked in sorted.blocked.into_values() {
                shared.health.not_ready(
                    "blocked",
                    format!("{}: {}; {}", parked.reason, parked.detail, parked.what_to_do),
                );
                if !said_blocked {
                    error!(
                        component = %shared.entry().id,
                        destination = %parked.key,
                        reason = %parked.reason,
                        detail = parked.detail,
                        what_to_do = parked.what_to_do,
                        "sink takes no rows until somebody acts; they are kept and tried slowly"
                    );
                    said_blocked = true;
                }
                shared.entry().metrics.retried(&parked.reason);
                again.extend(parked.units);
            }
            shared.entry().metrics.blocked.set(count(&again) as i64);
        } else {
            done.parked.extend(sorted.blocked.into_values());
            if said_blocked && again.is_empty() {
                info!(component = %shared.entry().id, "sink takes rows again");
                shared.entry().metrics.blocked.set(0);
                shared.health.ready("blocked");
                said_blocked = false;
            }
        }
        if let Some((reason, detail)) = sorted.busy_why {
            shared.refused(&reason, &detail);
        } else if again.is_empty() {
            shared.accepted();
            backoff.reset();
        }
        if !again.is_empty() {
            work.push_front(again);
            sleep(wait.take().unwrap_or_else(|| backoff.next())).await;
        }
    }
    done
}

async fn send(shared: &Shared, units: Vec<Unit>) -> Sorted {
    let entry = shared.entry();
    let parts = units.iter().map(|unit| (Arc::clone(&unit.encoded.segment), unit.rows.clone())).collect();
    let request = Request::new(parts);
    let rows = request.rows();
    entry.metrics.batch_rows.observe(rows as f64);
    entry.metrics.batch_bytes.observe(request.byte_len() as f64);
    let started = Instant::now();
    let in_flight = InFlight::new(entry);
    let verdicts = entry.sink.send(&request).await;
    drop(in_flight);
    entry.metrics.request_seconds.observe(started.elapsed().as_secs_f64());
    let mut sorted = Sorted::default();
    match verdicts {
        Verdicts::All(verdict) => {
            for unit in units {
                sorted.whole(unit, &verdict);
            }
        }
        Verdicts::Rows(verdicts) if verdicts.len() == rows => {
            let mut verdicts = verdicts.into_iter();
            for unit in &units {
                for row in unit.rows.iter() {
                    if let Some(verdict) = verdicts.next() {
                        sorted.row(unit, row, verdict);
                    }
                }
            }
        }
        Verdicts::Rows(verdicts) => {
            let detail = format!("{} verdicts for {rows} rows", verdicts.len());
            error!(component = %entry.id, detail, "a bug in the sink: nothing of this request is settled");
            sorted.busy = units;
            sorted.busy_why = Some(("verdict_count".into(), detail));
        }
    }
    sorted
}

struct InFlight<'a>(&'a SinkEntry);

impl<'a> InFlight<'a> {
    fn new(entry: &'a SinkEntry) -> Self {
        entry.metrics.requests_in_flight.inc();
        Self(entry)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.metrics.requests_in_flight.dec();
    }
}

// === impl Sorted ===

impl Sorted {
    /// The same verdict for all rows of a unit.
    fn whole(&mut self, unit: Unit, verdict: &Verdict) {
        match verdict {
            Verdict::Delivered => self.settled.push(unit),
            Verdict::Duplicate => {
                self.duplicates += unit.rows.len();
                self.settled.push(unit);
            }
            Verdict::Busy { reason, detail, after } => {
                self.note_busy(reason.clone(), detail, *after);
                self.busy.push(unit);
            }
            Verdict::Split { reason, detail } => {
                self.split_why = (reason.clone(), detail.clone());
                self.split.push(unit);
            }
            Verdict::Closed => {
                self.closed = true;
                self.settled.push(unit);
            }
            Verdict::Blocked { .. } | Verdict::Reject(_) => {
                for row in unit.rows.iter() {
                    self.row(&unit, row, verdict.clone());
                }
            }
        }
    }

    fn row(&mut self, unit: &Unit, row: usize, verdict: Verdict) {
        match verdict {
            Verdict::Delivered | Verdict::Closed => {
                self.closed |= verdict == Verdict::Closed;
                push_row(&mut self.settled, unit, row);
            }
            Verdict::Duplicate => {
                self.duplicates += 1;
                push_row(&mut self.settled, unit, row);
            }
            Verdict::Busy { reason, detail, after } => {
                self.note_busy(reason, &detail, after);
                push_row(&mut self.busy, unit, row);
            }
            Verdict::Split { reason, detail } => {
                self.split_why = (reason, detail);
                push_row(&mut self.split, unit, row);
            }
            Verdict::Blocked { reason, detail, what_to_do } => {
                let key = unit.encoded.segment.key(row);
                let parked = self.blocked.entry(Arc::clone(key)).or_insert_with(|| Parked {
                    key: Arc::clone(key),
                    units: Vec::new(),
                    reason,
                    detail,
                    what_to_do,
                });
                push_row(&mut parked.units, unit, row);
            }
            Verdict::Reject(why) => {
                let mut units = Vec::new();
                push_row(&mut units, unit, row);
                self.rejected.extend(units.into_iter().map(|unit| (unit, (*why).clone())));
            }
        }
    }

    fn note_busy(&mut self, reason: Cow<'static, str>, detail: &str, after: Option<Duration>) {
        if self.busy_why.is_none() {
            self.busy_why = Some((reason, detail.to_owned()));
        }
        self.after = self.after.max(after);
    }
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Self { max, state: Mutex::new(LimiterState { limit: max.min(2.0), last_cut: None }) }
    }

    /// How many requests may be under way.
    pub(crate) fn limit(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit as usize
    }

    /// A request went through: a whole round of them makes one more. `true` when the limit rose.
    fn grow(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.limit;
        state.limit = (before + 1.0 / before).min(self.max);
        state.limit as usize > before as usize
    }

    /// A refusal: half, but once for all requests that were refused together.
    fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.last_cut.is_none_or(|cut| now.duration_since(cut) > Duration::from_millis(100)) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.last_cut = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn concurrency_rises_by_one_a_round_and_halves_once_per_refusal() {
        let limiter = Limiter::new(8);
        assert_eq!(limiter.limit(), 2);
        (0..100).for_each(|_| {
            limiter.grow();
        });
        assert_eq!(limiter.limit(), 8);
        limiter.cut();
        limiter.cut();
        assert_eq!(limiter.limit(), 4);
        tokio::time::advance(Duration::from_millis(200)).await;
        limiter.cut();
        assert_eq!(limiter.limit(), 2);
        assert_eq!(Limiter::new(1).limit(), 1);
    }
}
