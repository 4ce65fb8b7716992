//! A planner, a simulated CloudWatch Logs and a sink on one virtual clock: what the property test and the bench run.
//!
//! The world knows what was ingested, emitted, delivered and checkpointed, without asking the ledger.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};

use flowstone_aws::{ApiError, EventKey, FilterPage, Governors, LogGroupName, MinuteCount, StreamFilter};
use flowstone_core::Position;
use flowstone_testkit::cloudwatch::{SimulatedEvent, SimulatedLogs};
use source_cloudwatch_logs::journal::{self, Encoder};
use source_cloudwatch_logs::ledger::{Finding, Ledger, Restored, Rules, Stage};
use source_cloudwatch_logs::planner::{Ask, Limits, Planner, Scope};

/// How the parts of a [`World`] behave.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The rules of every ledger.
    pub rules: Rules,
    /// The log groups.
    pub groups: Vec<String>,
    /// Where event time begins.
    pub from_ms: i64,
    /// Where it ends, for a backfill.
    pub until_ms: Option<i64>,
    /// The planner's bounds.
    pub limits: Limits,
    /// A request takes up to this long.
    pub latency_ms: i64,
    /// A batch is delivered after up to this long.
    pub delivery_ms: i64,
    /// The share of batches that are lost in flight and must be read again.
    pub lost_batches: f64,
    /// Seed of all chance.
    pub seed: u64,
}

/// Everything, at one instant.
pub(crate) struct World {
    setup: Setup,
    service: SimulatedLogs,
    /// The time.
    pub now_ms: i64,
    planner: Planner,
    encoder: Encoder,
    random: fastrand::Rng,
    happenings: BinaryHeap<Reverse<(i64, u64)>>,
    what: HashMap<u64, Happening>,
    next_happening: u64,
    /// Batches in flight, by sub-partition: they settle in order.
    sub_partitions: HashMap<SubPartition, VecDeque<Batch>>,
    /// Up to which batch each sub-partition was emitted.
    stands: HashMap<SubPartition, u64>,
    /// Batches behind a lost one: they may arrive, but nobody waits for them.
    astray: HashMap<u64, Vec<Event>>,
    flush_at: i64,
    /// The checkpoint on disk.
    pub disk: Vec<u8>,
    last_flush: usize,
    /// How often each event was delivered.
    pub sent: HashMap<Event, u32>,
    /// Deliveries that were reported to the planner.
    pub committed: HashSet<Event>,
    /// Of those, the ones that the checkpoint has not been complete with yet.
    unwritten: Vec<Event>,
    /// The others, with the number of the write that made it complete.
    durable: HashMap<Event, u64>,
    flushes: u64,
    /// Events that may be delivered once more: a crash, a lost batch or an audit says so.
    pub may_repeat: HashMap<Event, u32>,
    /// Time from visibility to delivery, in milliseconds.
    pub delays: Vec<i64>,
    /// What audits found, and the truth at that time: ingested and delivered.
    pub findings: Vec<(usize, Finding, (u64, u64))>,
    /// Audited minutes, with the truth at that time: ingested and delivered.
    pub audited_minutes: Vec<(usize, i64, (u64, u64))>,
    /// An error that nothing in this world explains.
    pub unexpected: Option<ApiError>,
    truth: Vec<Truth>,
    epoch: u64,
    /// Bytes written to the checkpoint by second.
    pub written: BTreeMap<i64, usize>,
}

type SubPartition = std::sync::Arc<str>;

/// An event of the log group of this number.
pub(crate) type Event = (usize, EventKey);

struct Batch {
    from: u64,
    number: u64,
    events: Vec<Event>,
    arrived: bool,
}

/// What there is in a log group.
struct Truth {
    visible: HashMap<EventKey, i64>,
    by_minute: BTreeMap<i64, Vec<EventKey>>,
}

enum Happening {
    Reply { epoch: u64, ask: Ask, asked_ms: i64, reply: Result<FilterPage, ApiError> },
    Delivered { epoch: u64, sub_partition: SubPartition, number: u64 },
    Audited { epoch: u64, partition: usize, minutes: (i64, i64), counts: Vec<MinuteCount> },
}

impl World {
    /// A world that begins at `now_ms`, with an empty checkpoint.
    pub(crate) fn new(setup: Setup, service: SimulatedLogs, now_ms: i64) -> Self {
        let truth = setup.groups.iter().map(|group| {
            let events = service.all_events(group, 0, i64::MAX >> 17);
            let mut by_minute: BTreeMap<i64, Vec<EventKey>> = BTreeMap::new();
            for event in &events {
                by_minute.entry(event.key.ingestion() / 60_000 * 60_000).or_default().push(event.key);
            }
            Truth { visible: events.iter().map(|event| (event.key, event.visible_ms)).collect(), by_minute }
        });
        let mut world = Self {
            truth: truth.collect(),
            planner: Planner::new(setup.limits, Governors::default(), setup.seed),
            random: fastrand::Rng::with_seed(setup.seed),
            setup,
            service,
            now_ms,
            encoder: Encoder::default(),
            happenings: BinaryHeap::new(),
            what: HashMap::new(),
            next_happening: 0,
            sub_partitions: HashMap::new(),
            stands: HashMap::new(),
            astray: HashMap::new(),
            flush_at: now_ms,
            disk: Vec::new(),
            last_flush: 0,
            sent: HashMap::new(),
            committed: HashSet::new(),
            unwritten: Vec::new(),
            durable: HashMap::new(),
            flushes: 0,
            may_repeat: HashMap::new(),
            delays: Vec::new(),
            findings: Vec::new(),
            audited_minutes: Vec::new(),
            unexpected: None,
            epoch: 0,
            written: BTreeMap::new(),
        };
        world.start();
        world
    }

    /// The planner.
    pub(crate) fn planner(&self) -> &Planner {
        &self.planner
    }

    /// The events of a group, whether visible or not.
    pub(crate) fn events(&self, group: usize) -> impl Iterator<Item = (EventKey, i64)> + '_ {
        self.truth[group].visible.iter().map(|(&key, &visible)| (key, visible))
    }

    /// What the checkpoint on disk says.
    pub(crate) fn restored(&self) -> BTreeMap<String, Restored> {
        let mut known = BTreeMap::new();
        journal::read(&self.disk, &mut known).unwrap();
        known
    }

    fn start(&mut self) {
        self.epoch += 1;
        let mut known = self.restored();
        self.planner = Planner::new(self.setup.limits, Governors::default(), self.setup.seed);
        self.encoder = Encoder::default();
        self.sub_partitions.clear();
        self.stands.clear();
        self.astray.clear();
        self.unwritten.clear();
        for group in &self.setup.groups {
            let scope = Scope {
                name: format!("1/eu-west-1/{group}").into(),
                account: "1".into(),
                region: "eu-west-1".into(),
                group: LogGroupName::own(group.as_str()),
                streams: StreamFilter::All,
                pattern: String::new(),
            };
            let begin = || Restored { from_ms: self.setup.from_ms, ..Restored::default() };
            let known = known.remove(&*scope.name).unwrap_or_else(begin);
            let ledger = Ledger::restore(self.setup.rules.clone(), self.setup.until_ms, known, self.now_ms);
            self.planner.add(scope, ledger);
        }
    }

    /// Everything in memory is gone, and the last write may be unterminated. Starts again after `down_ms`.
    pub(crate) fn crash(&mut self, down_ms: i64) {
        let torn = self.random.usize(..=self.last_flush);
        self.disk.truncate(self.disk.len() - torn);
        if !self.disk.is_empty() {
            // Each run begins a file of its own.
            self.disk.push(b'\n');
        }
        if torn > 0 {
            // What that write said is not known, so it counts as not said.
            self.durable.retain(|_, flush| *flush < self.flushes);
        }
        // Whatever was delivered and is not in the checkpoint may be delivered once more.
        for event in self.sent.keys().filter(|event| !self.durable.contains_key(event)) {
            *self.may_repeat.entry(*event).or_default() += 1;
        }
        self.last_flush = 0;
        self.now_ms += down_ms;
        self.flush_at = self.now_ms;
        self.start();
    }

    /// Lets time pass until `until_ms`, or until all is done.
    pub(crate) fn run(&mut self, until_ms: i64) {
        while self.now_ms < until_ms && !self.planner.is_done() {
            self.step(until_ms);
        }
    }

    /// One instant: everything that can happen now does, then time goes on to the next instant.
    pub(crate) fn step(&mut self, until_ms: i64) {
        while self.happenings.peek().is_some_and(|Reverse((at, _))| *at <= self.now_ms) {
            let Some(Reverse((_, number))) = self.happenings.pop() else { break };
            if let Some(happening) = self.what.remove(&number) {
                self.happen(happening);
            }
        }
        self.hand_on();
        self.ask();
        self.audit();
        self.flush();
        let next = self.happenings.peek().map(|Reverse((at, _))| *at);
        let wake = self.planner.wakes_at(self.now_ms);
        let has_changes =
            self.planner.ledgers_mut().any(|(_, ledger)| ledger.has_changes()) || !self.encoder.is_empty();
        let flush = has_changes.then_some(self.flush_at);
        let at = next.into_iter().chain(wake).chain(flush).min().unwrap_or(until_ms);
        self.now_ms = at.max(self.now_ms + 1).min(until_ms.max(self.now_ms + 1));
    }

    fn later(&mut self, after_ms: i64, happening: Happening) {
        self.next_happening += 1;
        self.what.insert(self.next_happening, happening);
        self.happenings.push(Reverse((self.now_ms + after_ms.max(1), self.next_happening)));
    }

    fn ask(&mut self) {
        while let Some(ask) = self.planner.next_request(self.now_ms) {
            let latency = self.random.i64(1..=self.setup.latency_ms.max(1));
            // The service answers half-way.
            let reply =
                self.service.filter_log_events(self.now_ms + latency / 2, &ask.request).map(|mut page| {
                    // What a client knows of the service's clock: `Date` less the time the call took.
                    page.asked_at_ms = page.asked_at_ms.map(|date| date - latency);
                    page
                });
            let asked_ms = self.now_ms;
            self.later(latency, Happening::Reply { epoch: self.epoch, ask, asked_ms, reply });
        }
    }

    fn audit(&mut self) {
        while let Some((partition, minutes)) = self.planner.next_audit(self.now_ms) {
            let group = &self.setup.groups[partition];
            let counts = self
                .service
                .incoming_log_events(self.now_ms, group, minutes.0, minutes.1, 60)
                .unwrap_or_default();
            self.later(500, Happening::Audited { epoch: self.epoch, partition, minutes, counts });
        }
        for (partition, finding) in self.planner.take_findings() {
            let truth = self.minute(partition, finding.minute_ms);
            if finding.stage == Stage::Missing {
                // The sink knows what it emits again.
                for key in self.truth[partition].by_minute.get(&finding.minute_ms).into_iter().flatten() {
                    *self.may_repeat.entry((partition, *key)).or_default() += 1;
                }
            }
            self.findings.push((partition, finding, truth));
        }
    }

    /// Events ingested within a minute, and how many of them were delivered.
    fn minute(&self, partition: usize, minute_ms: i64) -> (u64, u64) {
        let keys = self.truth[partition].by_minute.get(&minute_ms).map_or(&[][..], Vec::as_slice);
        let delivered = keys.iter().filter(|key| self.committed.contains(&(partition, **key))).count();
        (keys.len() as u64, delivered as u64)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Reply { epoch, ask, asked_ms, reply } if epoch == self.epoch => {
                let told = self.planner.reply(&ask, reply, asked_ms, self.now_ms);
                self.unexpected = self.unexpected.take().or(told);
            }
            Happening::Audited { epoch, partition, minutes, counts } if epoch == self.epoch => {
                let truth: Vec<_> = (minutes.0..minutes.1)
                    .step_by(60_000)
                    .map(|minute| (partition, minute, self.minute(partition, minute)))
                    .collect();
                self.planner.audited(partition, minutes, Some(&counts), self.now_ms);
                self.audited_minutes.extend(truth);
            }
            Happening::Delivered { epoch, sub_partition, number } if epoch == self.epoch => {
                self.arrive(sub_partition, number)
            }
            _ => {}
        }
    }

    fn arrive(&mut self, sub_partition: SubPartition, number: u64) {
        if let Some(events) = self.astray.remove(&number) {
            for event in events {
                *self.sent.entry(event).or_default() += 1;
                *self.may_repeat.entry(event).or_default() += 1;
            }
            return;
        }
        let Some(batches) = self.sub_partitions.get_mut(&sub_partition) else { return };
        let Some(at) = batches.iter().position(|batch| batch.number == number) else { return };
        if self.random.f64() < self.setup.lost_batches {
            // Lost in flight: it and what follows it in its sub-partition is read again, although that may arrive too.
            self.stands.insert(std::sync::Arc::clone(&sub_partition), batches[at].from);
            for behind in batches.split_off(at).into_iter().skip(1) {
                if behind.arrived {
                    behind.events.iter().for_each(|event| *self.may_repeat.entry(*event).or_default() += 1);
                } else {
                    self.astray.insert(behind.number, behind.events);
                }
            }
            self.planner.rewind(&Position { partition: sub_partition, value: number });
            return;
        }
        batches[at].arrived = true;
        for event in &batches[at].events {
            *self.sent.entry(*event).or_default() += 1;
            self.delays.push(self.now_ms - self.truth[event.0].visible[&event.1]);
        }
        let mut upto = None;
        while batches.front().is_some_and(|batch| batch.arrived) {
            let Some(batch) = batches.pop_front() else { break };
            self.unwritten.extend(&batch.events);
            self.committed.extend(batch.events);
            upto = Some(batch.number);
        }
        if let Some(value) = upto {
            self.planner.delivered(&Position { partition: sub_partition, value });
        }
    }

    fn hand_on(&mut self) {
        while let Some(ready) = self.planner.next_batch() {
            let events: Vec<Event> = ready.chunk.keys.iter().map(|&key| (ready.partition, key)).collect();
            let Position { partition: sub_partition, value: number } = ready.position;
            let stands =
                self.stands.insert(std::sync::Arc::clone(&sub_partition), number).unwrap_or(ready.from);
            assert_eq!(ready.from, stands, "a batch begins where its sub-partition stands");
            self.sub_partitions.entry(sub_partition.clone()).or_default().push_back(Batch {
                from: ready.from,
                number,
                events,
                arrived: false,
            });
            let after = self.random.i64(1..=self.setup.delivery_ms.max(1));
            self.later(after, Happening::Delivered { epoch: self.epoch, sub_partition, number });
        }
    }

    fn flush(&mut self) {
        if self.now_ms < self.flush_at {
            return;
        }
        self.flush_at = self.now_ms + 1000;
        let mut ledgers: Vec<_> = self.planner.ledgers_mut().collect();
        let bytes = self.encoder.take(&mut ledgers, self.now_ms);
        let complete = self.encoder.is_empty() && !ledgers.iter().any(|(_, ledger)| ledger.has_changes());
        *self.written.entry(self.now_ms / 1000).or_default() += bytes.len();
        self.last_flush = bytes.len();
        self.disk.extend_from_slice(&bytes);
        self.flushes += 1;
        if complete {
            self.durable.extend(self.unwritten.drain(..).map(|event| (event, self.flushes)));
        }
    }
}

/// An event whose text is made from its key.
pub(crate) fn event(timestamp: i64, ingestion: i64, visible_ms: i64, request: u64) -> SimulatedEvent {
    SimulatedEvent {
        key: EventKey::new(timestamp, ingestion, request, 0),
        visible_ms,
        stream: 0,
        message: None,
    }
}
