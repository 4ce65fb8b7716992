//! One request in flight: sent until every row of it is delivered, rejected or waits for an operator.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowstone_core::event::Batch;
use flowstone_core::{
    ComponentHealth, ComponentId, Rejection, Request, Segment, SinkLimits, Verdict, Verdicts,
};
use indexmap::IndexMap;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::limiter::Limiter;
use super::settlement::Settlement;
use super::units::{SteadyClock, Unit, count, halve, millis};
use super::waiting::{LONGEST_WAIT, Refused, Why};
use crate::backoff::Backoff;
use crate::graph::{Graph, SinkEntry};
use crate::phase::Failure;
use crate::runner::Runner;
use crate::supervise::Stage;
use crate::worker::Message;

/// After so many refusals in a row the sink does not count as ready.
const NOT_READY_AFTER: u32 = 3;
/// And after a request without an answer for so long.
const NO_ANSWER: Duration = Duration::from_secs(10);
/// Nor while it waits for longer than this before it tries again.
const NOT_READY_WAIT: Duration = Duration::from_secs(3);
/// A request that failed so often is sent in smaller pieces, to find out whether a row of it is to blame.
const HALVE_AFTER: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What all requests of one sink share.
pub(crate) struct Shared {
    graph: Arc<Graph>,
    sink: usize,
    /// Runs dead letters; nothing waits while it is locked.
    runner: Mutex<Runner>,
    /// The sinks that dead letters may reach.
    sinks: Vec<Option<Sender<Message>>>,
    failed: Sender<Failure>,
    /// How often requests as a whole were refused since rows were taken.
    refusals: AtomicU32,
    /// Rows wait in memory or on disk.
    waits: Arc<AtomicBool>,
    /// Requests that have had no answer for long.
    silent: AtomicU32,
    taken: AtomicU64,
    pub(crate) clock: SteadyClock,
    pub(crate) health: ComponentHealth,
    pub(crate) limiter: Limiter,
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
            // Until it is known what an earlier run has left.
            waits: Arc::new(AtomicBool::new(true)),
            silent: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            clock: SteadyClock::new(),
            health,
            limiter,
            graph,
        }
    }

    pub(crate) fn entry(&self) -> &SinkEntry {
        &self.graph.sinks[self.sink]
    }

    /// How many sinks of the run may have rows that wait beside the others.
    pub(crate) fn sinks_that_wait(&self) -> usize {
        self.graph.sinks.iter().filter(|entry| !entry.limits.ordered).count()
    }

    /// Whether rows wait in memory or on disk, which their sources know nothing of. Whoever holds this holds no channel
    /// open.
    pub(crate) fn waits(&self) -> &Arc<AtomicBool> {
        &self.waits
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

    fn deliver(&self, units: &[Unit], duplicates: usize) {
        let metrics = &self.entry().metrics;
        let rows = count(units);
        metrics.component.sent.inc_by(rows as u64);
        metrics.component.sent_bytes.inc_by(units.iter().map(Unit::byte_len).sum::<usize>() as u64);
        metrics.component.in_flight.sub(rows as i64);
        metrics.duplicates.inc_by(duplicates as u64);
        units.iter().for_each(Unit::settle);
    }

    /// Sends rows to the sink's `rejected` port: each as the event that it was.
    async fn reject(&self, rejected: Vec<(Unit, Rejection)>) {
        let mut encoded = Vec::new();
        let mut rejected = VecDeque::from(rejected);
        while let Some((first, why)) = rejected.pop_front() {
            let mut rows: Vec<(Unit, Rejection)> = vec![(first, why)];
            while let Some((next, _)) = rejected.front()
                && Arc::ptr_eq(&next.segment, &rows[0].0.segment)
            {
                rows.extend(rejected.pop_front());
            }
            let segment = Arc::clone(&rows[0].0.segment);
            let metrics = &self.entry().metrics.component;
            let mut events = Vec::new();
            let mut reasons = Vec::new();
            for (unit, why) in rows {
                for row in unit.rows.iter() {
                    events.push((segment.id(row), segment.event(row)));
                    reasons.push(why.clone());
                }
            }
            let rows = events.len();
            {
                let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
                runner.origin = segment.origin().cloned();
                let letters = runner.letters(&self.entry().id, metrics, Batch::of_events(events), reasons);
                runner.emit(&self.entry().rejected, letters, segment.ack());
                encoded.extend(runner.take_encoded());
            }
            metrics.in_flight.sub(rows as i64);
            segment.settle(rows);
        }
        let mut by_sink: IndexMap<usize, Vec<Segment>> = IndexMap::new();
        for (sink, segment) in encoded {
            by_sink.entry(sink).or_default().push(segment);
        }
        for (sink, segments) in by_sink {
            if let Some(input) = &self.sinks[sink]
                && input.send(Message::Rows(segments)).await.is_err()
            {
                // The letters are made again at the next start.
                self.failed.send(Failure::Gone(self.graph.sinks[sink].id.clone())).await.ok();
            }
        }
    }

    /// Rows that have waited for as long as they may.
    pub(crate) async fn reject_expired(&self, units: Vec<Unit>) {
        let why = Rejection {
            reason: "blocked_for".into(),
            detail: "the destination did not take it for as long as `blocked_for` says".to_owned(),
            ..Rejection::default()
        };
        let (id, rows) = (&self.entry().id, count(&units));
        warn!(component = %id, rows, reason = "blocked_for", "rows that waited for too long are rejected");
        self.reject(units.into_iter().map(|unit| (unit, why.clone())).collect()).await;
    }

    /// A request as a whole was refused and is sent again: said at the first refusal; from the third on, or when the wait
    /// is long, the sink is not ready.
    fn report_refused(&self, whole: &Refused, retry_in: Duration) {
        let entry = self.entry();
        let Why { reason, detail, help } = &whole.why;
        entry.metrics.retried(reason);
        entry.metrics.component.error(reason, 1);
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if refusals > 1 {
            debug!(component = %entry.id, %reason, detail, refusals, ?retry_in, "rows are refused; retrying");
        } else if help.is_some() {
            error!(component = %entry.id, %reason, detail, help, ?retry_in, "sink is blocked until somebody acts; its rows wait");
        } else {
            warn!(component = %entry.id, %reason, detail, ?retry_in, "rows are refused for now; retrying");
        }
        if refusals >= NOT_READY_AFTER || help.is_some() || retry_in > NOT_READY_WAIT {
            self.health.not_ready("refused", whole.why.to_string());
        }
        if help.is_none() {
            self.overloaded();
        }
    }

    /// Fewer requests at once.
    fn overloaded(&self) {
        self.limiter.cut();
        self.entry().metrics.concurrency_limit.set(self.limiter.limit() as i64);
    }

    /// Rows were taken.
    fn accepted(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if self.refusals.swap(0, Ordering::Relaxed) > 0 {
            info!(component = %self.entry().id, "rows are taken again");
            self.health.ready("refused");
        }
    }

    /// How often rows were taken: what grows while something is refused shows that it is not about the server.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Counts how often rows failed while others of their destination were taken, and rejects those that have done so
    /// too often. The others wait.
    fn judge(
        &self,
        key: Arc<str>,
        mut refused: Refused,
        rejected: &mut Vec<(Unit, Rejection)>,
        end: &mut Settlement,
    ) {
        if refused.failed {
            // Rows that failed so before are tried by themselves. It counts unless the server refuses everything.
            let is_well = self.refusals.load(Ordering::Relaxed) == 0;
            let most = self.entry().limits.max_tries_alone.max(1);
            let mut kept = Vec::new();
            for mut unit in std::mem::take(&mut refused.units) {
                if refused.takes_others || (unit.tries > 0 && is_well) {
                    unit.tries += 1;
                }
                if unit.tries < most {
                    kept.push(unit);
                    continue;
                }
                let Why { reason, detail, .. } = &refused.why;
                warn!(
                    component = %self.entry().id,
                    destination = %key,
                    %reason,
                    detail,
                    tries = unit.tries,
                    "a row that fails alone is rejected"
                );
                let why = Rejection {
                    reason: reason.clone(),
                    detail: format!("{detail}; it failed {} times while other rows were taken", unit.tries),
                    ..Rejection::default()
                };
                rejected.push((unit, why));
            }
            refused.units = kept;
        }
        if !refused.units.is_empty() {
            end.refuse(key, refused);
        }
    }
}

/// Rows of a request that are sent together, and what became of them so far.
struct Slice {
    units: Vec<Unit>,
    /// How often they were refused as a whole.
    refusals: u32,
    /// [`Shared::taken`] at the first of these times.
    taken: u64,
}

/// Sends these rows, and again what is refused as a whole, until none is left. Rows that are refused while others are
/// taken leave their place to others. A probe of destinations that refuse rows leaves at once.
pub(crate) async fn deliver(shared: Arc<Shared>, units: Vec<Unit>, probed: Vec<Arc<str>>) -> Settlement {
    let limits = shared.entry().limits;
    let is_probe = !probed.is_empty();
    let mut end = Settlement { probed, ..Settlement::default() };
    let mut work = VecDeque::from([Slice { units, refusals: 0, taken: 0 }]);
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    // A single row was refused since rows were taken last: smaller pieces would show nothing more.
    let mut tried_alone = false;
    // How many slices in a row were refused.
    let mut barren = 0;
    while let Some(slice) = work.pop_front() {
        let Settlement {
            settled,
            duplicates,
            closed,
            split,
            split_why,
            mut rejected,
            whole,
            refused,
            destinations,
            ..
        } = send(&shared, slice.units, &limits).await;
        let taken = !settled.is_empty() || !rejected.is_empty();
        if taken {
            shared.accepted();
            backoff.reset();
            (tried_alone, barren) = (false, 0);
        }
        if whole.is_none() && refused.is_empty() && taken && shared.limiter.grow() {
            shared.entry().metrics.concurrency_limit.set(shared.limiter.limit() as i64);
        }
        shared.deliver(&settled, duplicates);
        drop(settled);
        if closed {
            shared.failed.send(Failure::Closed(shared.entry().id.clone())).await.ok();
        }
        if count(&split) == 1 {
            let (reason, detail) = split_why;
            let why = Rejection { reason, detail, ..Rejection::default() };
            rejected.extend(split.into_iter().map(|unit| (unit, why.clone())));
        } else if !split.is_empty() {
            let (first, second) = halve(split);
            for units in [second, first] {
                work.push_front(Slice { units, refusals: slice.refusals, taken: slice.taken });
            }
        }
        let busy = refused.values().filter(|refused| refused.why.help.is_none()).count();
        if !is_probe && busy * 2 > destinations {
            shared.overloaded();
        }
        for (key, one) in refused {
            let metrics = &shared.entry().metrics;
            metrics.retried(&one.why.reason);
            metrics.component.error(&one.why.reason, 1);
            shared.judge(key, one, &mut rejected, &mut end);
        }
        let mut wait = None;
        if let Some(mut whole) = whole {
            let evidence = slice.refusals > 0 && shared.taken() > slice.taken;
            let refusals = slice.refusals + 1;
            // Since the first refusal: of rows that are all to blame none has a neighbour that is taken later.
            let since = if slice.refusals > 0 { slice.taken } else { shared.taken() };
            let again = |units| Slice { units, refusals, taken: since };
            let rows = count(&whole.units);
            barren += 1;
            let halves = whole.failed
                && !limits.ordered
                && rows > 1
                && (evidence
                    || (is_probe && refusals == 1)
                    || (refusals >= HALVE_AFTER && !tried_alone && !is_probe));
            if halves {
                let (first, second) = halve(std::mem::take(&mut whole.units));
                work.push_front(again(first));
                work.push_back(again(second));
            } else if whole.failed && rows == 1 && evidence && !limits.ordered {
                for (key, one) in whole.by_destination(true) {
                    shared.judge(key, one, &mut rejected, &mut end);
                }
            } else if is_probe && barren > work.len() {
                // Nothing of it is taken now.
                let rest = work.drain(..).flat_map(|slice| slice.units);
                whole.units.extend(rest);
                for (key, one) in whole.by_destination(false) {
                    shared.judge(key, one, &mut rejected, &mut end);
                }
            } else if whole.failed && !limits.ordered {
                tried_alone |= rows == 1;
                work.push_back(again(std::mem::take(&mut whole.units)));
            } else {
                work.push_front(again(std::mem::take(&mut whole.units)));
            }
            if is_probe {
                shared.entry().metrics.retried(&whole.why.reason);
            } else {
                let retry_in = backoff.next_or(whole.after);
                if evidence && whole.failed {
                    // It is about these rows, and says nothing about the server. A connection that is refused, or a server
                    // that is busy, is about the server, whatever it took meanwhile.
                    shared.entry().metrics.retried(&whole.why.reason);
                } else {
                    shared.report_refused(&whole, retry_in);
                }
                wait = Some((retry_in, whole.why.help.is_some()));
            }
        }
        if !rejected.is_empty() {
            shared.reject(rejected).await;
        }
        if let Some((retry_in, blocked)) = wait.filter(|_| !work.is_empty()) {
            let rows = work.iter().map(|slice| count(&slice.units)).sum::<usize>() as i64;
            let gauge = &shared.entry().metrics.blocked;
            gauge.add(if blocked { rows } else { 0 });
            sleep(retry_in).await;
            gauge.sub(if blocked { rows } else { 0 });
            if blocked && !limits.ordered {
                reject_expired(&shared, &mut work, &limits).await;
            }
        }
    }
    end
}

/// Rejects the rows that wait in place for an operator and have done so for too long.
async fn reject_expired(shared: &Shared, work: &mut VecDeque<Slice>, limits: &SinkLimits) {
    let Some(limit) = limits.blocked_for.map(millis) else { return };
    let now = shared.clock.now_ms();
    let over = |unit: &Unit| unit.since.is_some_and(|since| since.saturating_add(limit) <= now);
    let mut expired = Vec::new();
    for slice in work.iter_mut() {
        let (old, rest) = std::mem::take(&mut slice.units).into_iter().partition(over);
        slice.units = rest;
        expired.extend::<Vec<Unit>>(old);
    }
    work.retain(|slice| !slice.units.is_empty());
    if !expired.is_empty() {
        shared.reject_expired(expired).await;
    }
}

async fn send(shared: &Shared, units: Vec<Unit>, limits: &SinkLimits) -> Settlement {
    let entry = shared.entry();
    let parts = units.iter().map(|unit| (Arc::clone(&unit.segment), unit.rows.clone())).collect();
    let request = Request::new(parts);
    let rows = request.rows();
    entry.metrics.batch_rows.observe(rows as f64);
    entry.metrics.batch_bytes.observe(request.byte_len() as f64);
    let started = Instant::now();
    let in_flight = RequestGauge::new(entry);
    let verdicts = answered(entry.sink.send(&request), &entry.id, &shared.health, &shared.silent).await;
    drop((in_flight, request));
    entry.metrics.request_seconds.observe(started.elapsed().as_secs_f64());
    let verdicts = match verdicts {
        Verdicts::Rows(verdicts) if verdicts.len() != rows => {
            let detail = format!("{} verdicts for {rows} rows", verdicts.len());
            error!(component = %entry.id, detail, "a bug in the sink: nothing of this request is settled");
            Verdicts::All(Verdict::busy("verdict_count", detail))
        }
        verdicts => verdicts,
    };
    Settlement::of(units, verdicts, limits.ordered, &shared.clock)
}

/// Waits for an answer. One that does not come for long is reported: a mount that hangs, a server that keeps silent.
async fn answered(
    mut answer: impl Future<Output = Verdicts> + Unpin,
    id: &ComponentId,
    health: &ComponentHealth,
    silent: &AtomicU32,
) -> Verdicts {
    if let Ok(verdicts) = timeout(NO_ANSWER, &mut answer).await {
        return verdicts;
    }
    warn!(component = %id, after = ?NO_ANSWER, "a request has had no answer; waiting for it");
    silent.fetch_add(1, Ordering::Relaxed);
    health.not_ready(
        "send",
        format!("a request has had no answer for {NO_ANSWER:?}; see whether the disk or the server is well"),
    );
    let verdicts = answer.await;
    if silent.fetch_sub(1, Ordering::Relaxed) == 1 {
        health.ready("send");
    }
    verdicts
}

struct RequestGauge<'a>(&'a SinkEntry);

impl<'a> RequestGauge<'a> {
    fn new(entry: &'a SinkEntry) -> Self {
        entry.metrics.requests_in_flight.inc();
        Self(entry)
    }
}

impl Drop for RequestGauge<'_> {
    fn drop(&mut self) {
        self.0.metrics.requests_in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::{Health, Kind};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_reported_until_the_last_of_them_is_answered() {
        let health = Health::default();
        let id = ComponentId { kind: Kind::Sink, name: "out".into(), type_name: "file" };
        let (mine, silent) = (health.of(&id), AtomicU32::new(0));
        let hangs = |seconds: u64| {
            let answer = Box::pin(async move {
                sleep(Duration::from_secs(seconds)).await;
                Verdicts::All(Verdict::Delivered)
            });
            answered(answer, &id, &mine, &silent)
        };
        let watch = async {
            let mut seen = Vec::new();
            for _ in 0..4 {
                sleep(Duration::from_secs(6)).await;
                seen.push(health.problems().len());
            }
            seen
        };
        let (_, _, seen) = tokio::join!(hangs(11), hangs(19), watch);
        assert_eq!(seen, [0, 1, 1, 0], "after 6, 12, 18 and 24 seconds");
    }
}
