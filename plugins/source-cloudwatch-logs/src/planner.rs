//! Many log groups under one budget of requests: which group's page to ask for next, which batch to emit, and which scan
//! a delivery belongs to. Like the ledger it does no I/O and knows no clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use flowstone_aws::{
    ApiError, ErrorKind, FilterPage, FilterRequest, Governor, Governors, LogGroupName, MinuteCount,
    Operation, StreamFilter,
};
use flowstone_core::Position;

use crate::ledger::{Chunk, ChunkLimits, Class, Counts, Finding, Ledger, Restored, Ticket};

/// The log groups of one source.
#[derive(Debug)]
pub struct Planner {
    limits: Limits,
    governors: Governors,
    partitions: Vec<Partition>,
    /// Whose turn it is.
    turn: usize,
    /// The number of the next chunk: ascending over the whole source, so that no sub-partition uses one twice.
    number: u64,
    ready: VecDeque<Ready>,
    in_flight: usize,
    /// Pages asked for so far.
    asked: u64,
    /// The sub-partitions in use.
    sub_partitions: HashMap<Arc<str>, SubPartition>,
    /// What was counted of log groups that were let go.
    counts: Counts,
    balanced_at: i64,
    random: fastrand::Rng,
}

/// Bounds of a planner.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How large a batch may be.
    pub chunk: ChunkLimits,
    /// Requests for pages that may be in flight at once.
    pub in_flight: usize,
    /// Batches that may wait to be emitted; above that no page is asked for.
    pub ready: usize,
    /// Bytes of event ids kept; above that the largest log group's are bounded by the ingestion rule.
    pub id_bytes: usize,
    /// The share of AWS's quota that may be used.
    pub quota_share: f64,
}

/// A log group within an account and region, and its ledger.
#[derive(Debug)]
pub struct Partition {
    /// What it reads, and its name in the checkpoint.
    pub scope: Scope,
    /// Its ledger.
    pub ledger: Ledger,
    /// Each scan with batches in flight has a sub-partition, so that scans settle independently.
    sub_partition_of: HashMap<u64, Arc<str>>,
    /// Refused until then.
    blocked_until: i64,
    refused_in_a_row: u32,
    /// Scans that were given up since a chain of pages came to its end.
    given_up_in_a_row: u32,
    /// Since when AWS says that it does not exist.
    missing_since: Option<i64>,
    in_flight: usize,
    /// It does not exist, and is not waited for.
    given_up: bool,
    /// It is not read any more, and another group may take its number.
    let_go: bool,
    /// No audit is begun before: one is going on, or could not be done.
    audit_after: i64,
}

/// What a partition reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Its name: `ACCOUNT/REGION/GROUP`. Names its entries in the checkpoint.
    pub name: Arc<str>,
    /// Whose quota its requests use: the account of the credentials.
    pub account: Arc<str>,
    /// The region.
    pub region: Arc<str>,
    /// The log group.
    pub group: LogGroupName,
    /// Which of its streams.
    pub streams: StreamFilter,
    /// Which of its events.
    pub pattern: String,
}

/// A page to ask for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which partition asks.
    pub partition: usize,
    /// To be handed back with the reply.
    pub ticket: Ticket,
    /// The request.
    pub request: FilterRequest,
}

/// The batches of a scan: they settle in order.
#[derive(Debug)]
struct SubPartition {
    partition: usize,
    scan: u64,
    /// The last number that was delivered, and those that were emitted since.
    emitted: VecDeque<u64>,
}

/// A batch to emit.
#[derive(Debug)]
pub struct Ready {
    /// Which partition it comes from.
    pub partition: usize,
    /// Where the scan stood before.
    pub from: u64,
    /// Where the scan stands once it is delivered.
    pub position: Position,
    /// The events.
    pub chunk: Chunk,
}

/// How long a partition rests after its first refusal in a row, doubled by each further one up to a minute.
const FIRST_REST_MS: i64 = 1000;
const LONGEST_REST_MS: i64 = 60_000;
/// A group that AWS has not known for this long is gone: it is asked for less often, and has no lag.
const GONE_AFTER_MS: i64 = 600_000;
const LOOK_AGAIN_MS: i64 = 300_000;
/// The share of a quota that reading idle groups may use.
const IDLE_SHARE: f64 = 0.25;
/// A slice is read about this often.
const READS_PER_SLICE: f64 = 5.0;
const BALANCE_EVERY_MS: i64 = 1000;
/// How long an audit waits whose counts could not be had.
const AUDIT_REST_MS: i64 = 300_000;

// === impl Scope ===

impl Scope {
    /// The budget that its pages are asked out of.
    fn budget<T>(&self, of: &Governors, limits: &Limits, each: impl FnOnce(&mut Governor) -> T) -> T {
        of.with(&self.account, &self.region, Operation::FilterLogEvents, limits.quota_share, each)
    }
}

// === impl Planner ===

impl Planner {
    /// A planner without log groups.
    pub fn new(limits: Limits, governors: Governors, seed: u64) -> Self {
        Self {
            limits,
            governors,
            partitions: Vec::new(),
            turn: 0,
            number: 1,
            ready: VecDeque::new(),
            in_flight: 0,
            asked: 0,
            sub_partitions: HashMap::new(),
            counts: Counts::default(),
            balanced_at: i64::MIN,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Adds a log group and gives its number.
    pub fn add(&mut self, scope: Scope, ledger: Ledger) -> usize {
        let partition = Partition {
            scope,
            ledger,
            sub_partition_of: HashMap::new(),
            blocked_until: i64::MIN,
            refused_in_a_row: 0,
            given_up_in_a_row: 0,
            missing_since: None,
            in_flight: 0,
            given_up: false,
            let_go: false,
            audit_after: i64::MIN,
        };
        let free = self.partitions.iter().position(|partition| partition.let_go);
        let number = free.unwrap_or(self.partitions.len());
        match free {
            Some(free) => self.partitions[free] = partition,
            None => self.partitions.push(partition),
        }
        self.spread_idle();
        number
    }

    /// A log group is gone: nothing of it is asked for any more. Gives what is known of it, unless something of it is in
    /// flight; then this is to be tried again later.
    pub fn let_go(&mut self, number: usize) -> Option<Restored> {
        let partition = &mut self.partitions[number];
        let is_idle = partition.in_flight == 0
            && partition.sub_partition_of.is_empty()
            && partition.audit_after != i64::MAX
            && !self.ready.iter().any(|ready| ready.partition == number);
        if partition.let_go || !is_idle {
            return None;
        }
        partition.let_go = true;
        let known = partition.ledger.known();
        self.counts = self.counts.plus(partition.ledger.counts());
        let empty = Ledger::new(partition.ledger.rules().clone(), 0, None);
        partition.ledger = empty;
        Some(known)
    }

    /// The log groups.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The ledger of a partition.
    pub fn ledger_mut(&mut self, partition: usize) -> &mut Ledger {
        &mut self.partitions[partition].ledger
    }

    /// The ledgers, with the names of their partitions.
    pub fn ledgers_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Ledger)> {
        self.partitions
            .iter_mut()
            .filter(|partition| !partition.let_go)
            .map(|partition| (&partition.scope.name, &mut partition.ledger))
    }

    /// A log group does not exist and is not waited for: a backfill of it is over.
    pub fn give_up(&mut self, partition: usize) {
        self.partitions[partition].given_up = true;
    }

    /// The ledgers of the log groups that are read.
    pub fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.partitions.iter().filter(|partition| partition.is_read()).map(|partition| &partition.ledger)
    }

    /// The number of the partition of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.partitions.iter().position(|partition| !partition.let_go && &*partition.scope.name == name)
    }

    /// Everything seen so far, over all log groups.
    pub fn counts(&self) -> Counts {
        self.partitions.iter().map(|partition| partition.ledger.counts()).fold(self.counts, Counts::plus)
    }

    /// How far behind the log group is that is furthest behind, in milliseconds. One that is gone is not behind.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        let there = self.partitions.iter().filter(|one| one.is_read() && !one.is_gone(now_ms));
        there.map(|partition| partition.ledger.lag_ms(now_ms)).max().unwrap_or(0)
    }

    /// Whether all there is to read is read and delivered; never for a planner of live ledgers.
    pub fn is_done(&self) -> bool {
        self.ready.is_empty()
            && self.in_flight == 0
            && self.partitions.iter().all(|partition| !partition.is_read() || partition.ledger.is_done())
    }

    // --- what to ask for

    /// The next page to ask for now, if the bounds and the quota allow one. The most urgent class goes first, with a
    /// share for each of the others, and within a class each log group has one page in its turn.
    pub fn next_request(&mut self, now_ms: i64) -> Option<Ask> {
        if self.in_flight >= self.limits.in_flight || self.ready.len() >= self.limits.ready {
            return None;
        }
        let blocked = |partition: &Partition| partition.rests_until(now_ms) > now_ms || partition.waits();
        let ready: Vec<[bool; 4]> = (self.partitions.iter_mut())
            .map(|partition| if blocked(partition) { [false; 4] } else { partition.ledger.ready(now_ms) })
            .collect();
        let count = ready.len();
        for class in classes_of_turn(self.asked) {
            for number in (0..count).map(|step| (self.turn + step) % count) {
                let Partition { scope, ledger, in_flight, .. } = &mut self.partitions[number];
                let take = |budget: &mut Governor| budget.take(now_ms).is_ok();
                if !ready[number][class as usize] || !scope.budget(&self.governors, &self.limits, take) {
                    continue;
                }
                let Some(page) = ledger.next_request(class, now_ms) else { continue };
                *in_flight += 1;
                self.turn = (number + 1) % count;
                self.in_flight += 1;
                self.asked += 1;
                let request = FilterRequest {
                    group: scope.group.clone(),
                    start_ms: page.start_ms,
                    end_ms: page.end_ms,
                    streams: scope.streams.clone(),
                    pattern: scope.pattern.clone(),
                    token: page.token,
                };
                return Some(Ask { partition: number, ticket: page.ticket, request });
            }
        }
        None
    }

    /// Requests for pages that are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When to look again, if no reply and no delivery comes before.
    pub fn wakes_at(&mut self, now_ms: i64) -> Option<i64> {
        if self.in_flight >= self.limits.in_flight || self.ready.len() >= self.limits.ready {
            return None;
        }
        let reads = self.partitions.iter().filter(|partition| !partition.waits());
        let wakes = reads.filter_map(|partition| {
            let due = partition.ledger.wakes_at(now_ms)?.max(partition.rests_until(now_ms));
            let free = |budget: &mut Governor| budget.free_at(now_ms);
            Some(due.max(partition.scope.budget(&self.governors, &self.limits, free)))
        });
        wakes.min()
    }

    /// An audit that is due: the partition, and the ingestion minutes to ask the metric for.
    pub fn next_audit(&mut self, now_ms: i64) -> Option<(usize, (i64, i64))> {
        // A rest that seems longer than it can be comes from a clock that was wrong.
        let rested = |after: i64| after <= now_ms || after != i64::MAX && after > now_ms + AUDIT_REST_MS;
        let due = (self.partitions.iter_mut().enumerate())
            .filter(|(_, one)| rested(one.audit_after) && !one.let_go && one.missing_since.is_none());
        let (number, minutes) =
            due.filter_map(|(number, it)| Some((number, it.ledger.audit_due(now_ms)?))).next()?;
        self.partitions[number].audit_after = i64::MAX;
        Some((number, minutes))
    }

    // --- what came back

    /// A page arrived or a request failed. `asked_ms` is when it was sent, by our idea of the service's clock. Gives back
    /// an error that the ledger does not handle: it is to be reported, and the log group rests for a while.
    pub fn reply(
        &mut self,
        ask: &Ask,
        reply: Result<FilterPage, ApiError>,
        asked_ms: i64,
        now_ms: i64,
    ) -> Option<ApiError> {
        self.in_flight -= 1;
        let throttled =
            matches!(&reply, Err(error) if error.kind == ErrorKind::Throttled).then(|| self.random.f64());
        let partition = &mut self.partitions[ask.partition];
        partition.in_flight -= 1;
        let answered = |budget: &mut Governor| budget.answered(now_ms, throttled);
        partition.scope.budget(&self.governors, &self.limits, answered);
        match reply {
            Ok(page) => {
                partition.refused_in_a_row = 0;
                partition.missing_since = None;
                if page.next_token.as_deref().is_none_or(str::is_empty) {
                    partition.given_up_in_a_row = 0;
                }
                let chunks =
                    partition.ledger.page(ask.ticket, page, asked_ms, self.limits.chunk, &mut self.number);
                for chunk in chunks {
                    let (scan, before) = (chunk.scan, chunk.number - 1);
                    let sub_partition = partition.sub_partition(scan, chunk.number);
                    self.sub_partitions.entry(Arc::clone(&sub_partition)).or_insert_with(|| SubPartition {
                        partition: ask.partition,
                        scan,
                        emitted: [before].into(),
                    });
                    let position = Position { partition: sub_partition, value: chunk.number };
                    self.ready.push_back(Ready { partition: ask.partition, from: before, position, chunk });
                }
                let stalled = partition.ledger.is_stalled(ask.ticket);
                if stalled {
                    partition.give_up(ask.ticket, now_ms);
                }
                self.release_sub_partitions(ask.partition);
                self.balance(now_ms);
                let why = "page after page brings nothing new, and there is always a next one";
                stalled.then(|| ApiError::new(Operation::FilterLogEvents, ErrorKind::NoProgress, "", why))
            }
            Err(error) => {
                let handled = partition.ledger.failed(ask.ticket, error.kind);
                match error.kind {
                    ErrorKind::Throttled => {}
                    ErrorKind::BadToken if handled => {}
                    ErrorKind::BadToken => {
                        partition.give_up(ask.ticket, now_ms);
                        self.release_sub_partitions(ask.partition);
                        let why = format!("the token of the next page is always refused: {}", error.message);
                        return Some(ApiError::new(error.operation, ErrorKind::NoProgress, error.code, why));
                    }
                    _ => partition.refused(error.kind, now_ms),
                }
                (!handled).then_some(error)
            }
        }
    }

    /// The metric's counts for an audit arrived, or could not be had.
    pub fn audited(
        &mut self,
        partition: usize,
        minutes: (i64, i64),
        counts: Option<&[MinuteCount]>,
        now_ms: i64,
    ) {
        let partition = &mut self.partitions[partition];
        partition.audit_after = now_ms + if counts.is_some() { 0 } else { AUDIT_REST_MS };
        if let Some(counts) = counts {
            partition.ledger.audit(minutes, counts, now_ms);
        }
    }

    /// What audits found, with the numbers of the partitions.
    pub fn take_findings(&mut self) -> Vec<(usize, Finding)> {
        let all = self.partitions.iter_mut().enumerate();
        all.flat_map(|(number, partition)| {
            partition.ledger.take_findings().into_iter().map(move |finding| (number, finding))
        })
        .collect()
    }

    // --- what is emitted and delivered

    /// The next batch to emit.
    pub fn next_batch(&mut self) -> Option<Ready> {
        let mut ready = self.ready.pop_front()?;
        if let Some(sub_partition) = self.sub_partitions.get_mut(&ready.position.partition) {
            ready.from = sub_partition.emitted.back().copied().unwrap_or(ready.from);
            sub_partition.emitted.push_back(ready.position.value);
        }
        Some(ready)
    }

    /// All batches of this sub-partition up to this position are delivered.
    pub fn delivered(&mut self, position: &Position) {
        if let Some(sub_partition) = self.sub_partitions.get_mut(&position.partition) {
            while sub_partition.emitted.get(1).is_some_and(|&next| next <= position.value) {
                sub_partition.emitted.pop_front();
            }
            let partition = sub_partition.partition;
            self.partitions[partition].ledger.delivered(sub_partition.scan, position.value);
            self.release_sub_partitions(partition);
        }
    }

    /// The batch at this position was lost: it and all of its sub-partition after it are read again.
    pub fn rewind(&mut self, position: &Position) {
        if let Some(sub_partition) = self.sub_partitions.get_mut(&position.partition) {
            sub_partition.emitted.retain(|&emitted| emitted < position.value);
            self.ready.retain(|ready| {
                ready.position.partition != position.partition || ready.position.value < position.value
            });
            self.partitions[sub_partition.partition].ledger.rewind(sub_partition.scan, position.value);
        }
    }

    /// Closes the sub-partitions of scans that are over.
    fn release_sub_partitions(&mut self, partition: usize) {
        let Partition { ledger, sub_partition_of, .. } = &mut self.partitions[partition];
        sub_partition_of.retain(|&scan, sub_partition| {
            let running = ledger.is_running(scan);
            if !running {
                self.sub_partitions.remove(sub_partition);
            }
            running
        });
    }

    /// Keeps ids within their bound: the log group that holds the most goes by the ingestion rule first, and gets its
    /// ids back when there is plenty of room again.
    fn balance(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.balanced_at) < BALANCE_EVERY_MS {
            return;
        }
        self.balanced_at = now_ms;
        let held: Vec<usize> = self.partitions.iter().map(|partition| partition.ledger.id_bytes()).collect();
        let total: usize = held.iter().sum();
        let exact = (0..held.len()).filter(|&number| !self.partitions[number].ledger.is_bounded());
        if total > self.limits.id_bytes {
            if let Some(largest) = exact.max_by_key(|&number| held[number]) {
                self.partitions[largest].ledger.set_bounded(true);
            }
        } else {
            // Exact ids take some six times as much as bounded ones.
            let fits = |&number: &usize| {
                self.partitions[number].ledger.is_bounded()
                    && total + 8 * held[number] < self.limits.id_bytes / 2
            };
            if let Some(smallest) = (0..held.len()).filter(fits).min_by_key(|&number| held[number]) {
                self.partitions[smallest].ledger.set_bounded(false);
            }
        }
    }

    /// Idle groups that share a quota are read in longer slices, so that reading nothing uses a quarter of it at most.
    fn spread_idle(&mut self) {
        let mut groups: HashMap<(Arc<str>, Arc<str>), f64> = HashMap::new();
        let key = |scope: &Scope| (Arc::clone(&scope.account), Arc::clone(&scope.region));
        for partition in self.partitions.iter().filter(|partition| partition.is_read()) {
            *groups.entry(key(&partition.scope)).or_default() += 1.0;
        }
        for partition in &mut self.partitions {
            let quota = flowstone_aws::quota_per_second(Operation::FilterLogEvents, &partition.scope.region);
            let per_second = quota * self.limits.quota_share * IDLE_SHARE;
            let count = groups.get(&key(&partition.scope)).copied().unwrap_or(1.0);
            let seconds = READS_PER_SLICE * count / per_second;
            let idle_s =
                [60, 300, 900].into_iter().find(|&length| seconds <= f64::from(length)).unwrap_or(3600);
            partition.ledger.set_idle_slice(i64::from(idle_s) * 1000);
        }
    }
}

fn rest_ms(times: u32) -> i64 {
    (FIRST_REST_MS << (times.clamp(1, 7) - 1)).min(LONGEST_REST_MS)
}

/// The order of the classes for a request: the most urgent first, but every fourth request begins with the seals, and
/// every eighth and sixteenth with sweeps and history. Otherwise a quota that fresh events alone exceed would put off
/// the reads that the promise rests on for ever.
fn classes_of_turn(asked: u64) -> impl Iterator<Item = Class> {
    let favoured = match asked % 16 {
        15 => Class::History,
        7 => Class::Sweep,
        3 | 11 => Class::Seal,
        _ => Class::Hot,
    };
    std::iter::once(favoured).chain(Class::ALL.into_iter().filter(move |&class| class != favoured))
}

// === impl Partition ===

impl Partition {
    /// Since when AWS says that it does not exist, if it does.
    pub fn missing_since(&self) -> Option<i64> {
        self.missing_since
    }

    /// Whether it has not existed for long.
    pub fn is_gone(&self, now_ms: i64) -> bool {
        self.missing_since.is_some_and(|since_ms| now_ms - since_ms >= GONE_AFTER_MS)
    }

    /// Whether another group may take its number.
    pub fn was_let_go(&self) -> bool {
        self.let_go
    }

    /// Whether the last chain of pages came to its end, and no slice waits because one did not.
    pub fn advances(&self) -> bool {
        self.given_up_in_a_row == 0 && !self.ledger.has_given_up()
    }

    /// How long it rests from now on, for what was refused.
    pub fn rest_ms(&self, now_ms: i64) -> i64 {
        self.rests_until(now_ms).saturating_sub(now_ms).max(0)
    }

    /// Until when it rests. A time further ahead comes from a clock that has been set back since.
    fn rests_until(&self, now_ms: i64) -> i64 {
        self.blocked_until.min(now_ms.saturating_add(LOOK_AGAIN_MS))
    }

    fn is_read(&self) -> bool {
        !self.given_up && !self.let_go
    }

    /// Whether nothing is asked for now: what was refused is tried with one request at a time.
    fn waits(&self) -> bool {
        !self.is_read() || self.refused_in_a_row > 0 && self.in_flight > 0
    }

    /// A request was refused: the group rests for a while.
    fn refused(&mut self, kind: ErrorKind, now_ms: i64) {
        self.refused_in_a_row += 1;
        if kind == ErrorKind::NotFound {
            self.missing_since = Some(self.missing_since.unwrap_or(now_ms).min(now_ms));
        }
        let rest_ms = if self.is_gone(now_ms) { LOOK_AGAIN_MS } else { rest_ms(self.refused_in_a_row) };
        self.blocked_until = now_ms + rest_ms;
        self.ledger.fold(now_ms);
    }

    /// Ends a scan that brings nothing new; the group rests for a while before the next one.
    fn give_up(&mut self, ticket: Ticket, now_ms: i64) {
        self.given_up_in_a_row += 1;
        self.ledger.give_up(ticket, now_ms);
        self.ledger.fold(now_ms);
        self.blocked_until = now_ms + rest_ms(self.given_up_in_a_row);
    }

    /// The sub-partition of a scan, named after its first chunk, so that no two have one name.
    fn sub_partition(&mut self, scan: u64, number: u64) -> Arc<str> {
        let Self { sub_partition_of, scope, .. } = self;
        Arc::clone(sub_partition_of.entry(scan).or_insert_with(|| format!("{}#{number}", scope.name).into()))
    }
}
