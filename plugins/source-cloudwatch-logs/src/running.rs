//! A source at work: requests in flight, the planner they are asked of, the checkpoint.

mod account;
mod groups;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use flowstone_aws::{
    ApiError, ErrorKind, FilterPage, FlowLog, Governors, LogGroup, LogGroupName, MinuteCount, Operation,
    quota_per_second,
};
use flowstone_core::{Position, SourceBatch, SourceCx, SourceError, StateDir};
use tokio::sync::mpsc;

use crate::backfill::Stretch;
use crate::checkpoint::{self, Checkpoint};
use crate::clock::{self, ServiceClock};
use crate::discovery::{self, Discovery, FlowFacts, Found, Question, Quota};
use crate::events::Origin;
use crate::ledger::{ChunkLimits, Counts};
use crate::metrics::CloudwatchLogsMetrics;
use crate::naming::Naming;
use crate::notices::{Notices, Refusal};
use crate::options::Plan;
use crate::planner::{Ask, Limits, Planner};
use crate::sincedb::Sincedb;
use crate::sites::{self, Site};

/// Everything that a started source holds.
pub(crate) struct Running {
    plan: Arc<Plan>,
    mode: Mode,
    sites: Vec<Site>,
    planner: Planner,
    /// What each partition reads.
    reads: Vec<Read>,
    checkpoint: Checkpoint,
    /// What the own account's groups are named after, and where that is kept.
    naming: (Naming, StateDir),
    /// When STS is asked again which account it is.
    identify_at: i64,
    discovery: Discovery,
    governors: Governors,
    clock: ServiceClock,
    notices: Notices,
    metrics: CloudwatchLogsMetrics,
    cx: SourceCx,
    /// What came of the requests that were answered.
    answers: mpsc::UnboundedSender<Done>,
    answered: mpsc::UnboundedReceiver<Done>,
    first_start_ms: i64,
    /// Where Logstash stopped, for groups of the first site.
    sincedb: Option<Sincedb>,
    reported: Counts,
    /// When counts are reported next.
    report_at: Option<i64>,
    /// How many events a backfill will meet, as far as the metric says.
    expected: Option<u64>,
    /// Audits that could not be done since one could.
    audits_failed: usize,
    /// An error that a finite reading cannot go on after.
    fatal: Option<SourceError>,
}

/// A partition's group.
struct Read {
    /// What its events have in common.
    origin: Origin,
    /// Where it is.
    found: Found,
}

/// What is read.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// New events as they come, and the past.
    Live,
    /// Events with a time in this stretch, once.
    Backfill(Stretch),
}

/// A request that was answered.
enum Done {
    Page { ask: Ask, asked_ms: i64, asked_local_ms: i64, reply: Result<FilterPage, ApiError> },
    Audited { partition: usize, minutes: (i64, i64), reply: Result<Vec<MinuteCount>, ApiError> },
    Listed { site: usize, reply: Result<Vec<LogGroup>, ApiError> },
    Described { question: Question, reply: Result<Vec<FlowLog>, ApiError> },
    Expected { events: Option<u64> },
    Identified { reply: Result<String, ApiError> },
}

/// What a running source is made of.
pub(crate) struct Parts {
    pub(crate) plan: Arc<Plan>,
    pub(crate) mode: Mode,
    pub(crate) sites: Vec<Site>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) naming: (Naming, StateDir),
    pub(crate) governors: Governors,
    pub(crate) clock: ServiceClock,
    pub(crate) first_start_ms: i64,
    pub(crate) sincedb: Option<Sincedb>,
}

/// Counts are reported this often.
const REPORT_EVERY_MS: i64 = 1000;
/// Requests for pages in flight: what a quota gives in this time, which a call takes at most.
const CALL_SECONDS: f64 = 0.6;
/// A page in flight takes some 4 MB while it is read.
const IN_FLIGHT_AT_MOST: usize = 8;
/// Batches that wait to be taken: the events of two pages.
const READY_AT_MOST: usize = 6;
/// So many audits of each group in vain (five minutes apart) end them until the next start.
const AUDITS_IN_VAIN: usize = 24;
/// Where the account is not known, or only from before, STS is asked this often.
const IDENTIFY_EVERY_MS: i64 = 600_000;

// === impl Running ===

impl Running {
    /// Nothing is read yet.
    pub(crate) fn new(parts: Parts, cx: &SourceCx) -> Self {
        let Parts { plan, mode, sites, checkpoint, naming, governors, clock, first_start_ms, sincedb } =
            parts;
        let quota = |site: &Site| quota_per_second(Operation::FilterLogEvents, &site.region);
        let per_second: f64 = sites.iter().map(|site| quota(site) * plan.quota_share).sum();
        let limits = Limits {
            chunk: ChunkLimits { rows: cx.max_rows, bytes: cx.max_bytes },
            in_flight: ((per_second * CALL_SECONDS).ceil() as usize).clamp(2, IN_FLIGHT_AT_MOST),
            ready: READY_AT_MOST,
            id_bytes: plan.id_bytes,
            quota_share: plan.quota_share,
        };
        let (answers, answered) = mpsc::unbounded_channel();
        let mut running = Self {
            planner: Planner::new(limits, governors.clone(), fastrand::u64(..)),
            reads: Vec::new(),
            identify_at: clock.now_ms() + IDENTIFY_EVERY_MS,
            discovery: Discovery::new(sites.len()),
            notices: Notices::default(),
            metrics: cx.metrics.component.own(),
            cx: cx.clone(),
            answers,
            answered,
            reported: Counts::default(),
            report_at: None,
            expected: None,
            audits_failed: 0,
            fatal: None,
            plan,
            mode,
            sites,
            checkpoint,
            naming,
            governors,
            clock,
            first_start_ms,
            sincedb,
        };
        running.find_named();
        running
    }

    /// Goes on until there is a batch; `None` is the end.
    pub(crate) async fn next(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        loop {
            while let Ok(done) = self.answered.try_recv() {
                self.take_in(done);
            }
            if let Some(fatal) = self.fatal.take() {
                return Err(fatal);
            }
            let now_ms = self.clock.now_ms();
            self.look_for_groups(now_ms);
            self.identify(now_ms);
            self.ask(now_ms);
            let is_done = self.is_done();
            if is_done || self.report_at.is_none_or(|at| now_ms >= at || now_ms < at - 2 * REPORT_EVERY_MS) {
                self.report_at = Some(now_ms + REPORT_EVERY_MS);
                // It takes a walk over all log groups: once a second is plenty.
                self.report_counts(now_ms);
            }
            if is_done || self.checkpoint.is_due(now_ms) {
                self.flush(now_ms);
            }
            self.notices.report_readiness(&self.cx.health, self.sites.len(), now_ms);
            if let Some(batch) = self.batch() {
                return Ok(Some(batch));
            }
            if is_done {
                return Ok(None);
            }
            let wait = self.wakes_at(now_ms).saturating_sub(now_ms).max(1);
            tokio::select! {
                Some(done) = self.answered.recv() => self.take_in(done),
                () = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())) => {}
            }
        }
    }

    /// All batches up to these positions are delivered. The checkpoint is written within a second, and when the source
    /// ends. It reports a failed write itself; nothing is delivered again for that.
    pub(crate) fn commit(&mut self, positions: &[Position]) {
        for position in positions {
            self.planner.delivered(position);
        }
        let now_ms = self.clock.now_ms();
        if self.checkpoint.is_due(now_ms) {
            self.flush(now_ms);
        }
    }

    /// The batch at this position is to be read again.
    pub(crate) fn rewind(&mut self, position: &Position) {
        self.planner.rewind(position);
    }

    /// Whether all log groups are known that there are to read.
    pub(crate) fn knows_all_groups(&self) -> bool {
        self.discovery.knows_all(self.lists())
    }

    fn lists(&self) -> bool {
        !self.plan.groups.prefixes().is_empty()
    }

    fn is_live(&self) -> bool {
        matches!(self.mode, Mode::Live)
    }

    fn is_done(&self) -> bool {
        !self.is_live() && self.knows_all_groups() && self.planner.is_done()
    }

    fn wakes_at(&mut self, now_ms: i64) -> i64 {
        let mut wakes = now_ms + checkpoint::EVERY_MS;
        for at in [self.planner.wakes_at(now_ms), self.discovery.wakes_at(self.lists())].into_iter().flatten()
        {
            wakes = wakes.min(at);
        }
        wakes
    }

    // --- what is asked for

    fn look_for_groups(&mut self, now_ms: i64) {
        if self.lists() {
            while let Some(number) = self.discovery.next_listing(now_ms) {
                let api = Arc::clone(&self.sites[number].api);
                let listing = discovery::list(api, self.plan.groups.prefixes().to_vec(), self.quota(number));
                self.spawn(async move { Done::Listed { site: number, reply: listing.await } });
            }
        }
        while let Some(next) = self.discovery.next_question(now_ms) {
            match next {
                discovery::Next::Ask(question) => {
                    let api = Arc::clone(&self.sites[question.found.site].api);
                    let quota = self.quota(question.found.site);
                    self.spawn(async move {
                        quota.take(Operation::DescribeFlowLogs).await;
                        let reply = api.describe_flow_logs(&question.found.name.name).await;
                        quota.answered(Operation::DescribeFlowLogs, &reply);
                        Done::Described { question, reply }
                    });
                }
                discovery::Next::Without(question) => self.learn(question, FlowFacts::default(), now_ms),
            }
        }
    }

    fn ask(&mut self, now_ms: i64) {
        // One reply tells the service's time; until then a wrong clock could ask for what has not happened yet.
        while (self.clock.is_set() || self.planner.in_flight() == 0)
            && let Some(ask) = self.planner.next_request(now_ms)
        {
            let api = Arc::clone(&self.sites[self.reads[ask.partition].found.site].api);
            let asked_local_ms = self.clock.local_ms();
            self.spawn(async move {
                let reply = api.filter_log_events(&ask.request).await;
                Done::Page { ask, asked_ms: now_ms, asked_local_ms, reply }
            });
        }
        while let Some((partition, minutes)) = self.planner.next_audit(now_ms) {
            let site = self.reads[partition].found.site;
            let api = Arc::clone(&self.sites[site].api);
            let group = self.planner.partitions()[partition].scope.group.name.clone();
            let quota = self.quota(site);
            self.spawn(async move {
                quota.take(Operation::GetMetricData).await;
                let reply = api.incoming_log_events(&group, minutes.0, minutes.1, 60).await;
                quota.answered(Operation::GetMetricData, &reply);
                Done::Audited { partition, minutes, reply }
            });
        }
    }

    fn quota(&self, site: usize) -> Quota {
        Quota::of(&self.sites[site], &self.governors, self.plan.quota_share, &self.clock)
    }

    /// Runs a request beside the source.
    fn spawn(&self, call: impl Future<Output = Done> + Send + 'static) {
        let answers = self.answers.clone();
        self.cx.spawn(async move {
            // Nobody listens when the source has ended.
            answers.send(call.await).ok();
        });
    }

    // --- what came back

    fn take_in(&mut self, done: Done) {
        let now_ms = self.clock.now_ms();
        match done {
            Done::Page { ask, asked_ms, asked_local_ms, mut reply } => {
                if let Ok(page) = &mut reply
                    && let Some(asked_at_ms) = page.asked_at_ms
                {
                    self.clock.learn(asked_at_ms, asked_local_ms);
                    // A time that no clock of AWS's can have said must not become a watermark.
                    page.asked_at_ms = Some(asked_at_ms).filter(|&at| clock::plausible(at, asked_local_ms));
                }
                self.page(&ask, asked_ms, reply, now_ms);
            }
            Done::Audited { partition, minutes, reply } => {
                self.note_partition(partition, Operation::GetMetricData, reply.as_ref().err(), true);
                let denied = matches!(&reply, Err(error) if error.kind == ErrorKind::AccessDenied);
                self.audits_failed = if reply.is_ok() { 0 } else { self.audits_failed + 1 };
                self.planner.audited(partition, minutes, reply.ok().as_deref(), now_ms);
                // Slices are kept until they are audited: without audits that is for two weeks.
                if denied || self.audits_failed > AUDITS_IN_VAIN * self.planner.partitions().len() {
                    self.planner.ledger_mut(partition).stop_audit();
                }
                for (partition, finding) in self.planner.take_findings() {
                    self.report_finding(partition, finding);
                }
            }
            Done::Listed { site, reply } => {
                let call = (Operation::DescribeLogGroups, "");
                self.note(site, call, reply.as_ref().err(), discovery::LIST_AGAIN_MS, true);
                if let Some(error) = reply.as_ref().err().filter(|error| self.ends(error)) {
                    let message = self.sites[site].explain(error, "");
                    self.fatal = Some(SourceError::fatal(error.kind.as_str(), message));
                }
                self.discovery.listed(site, reply.is_ok(), now_ms);
                if let Ok(groups) = &reply {
                    self.let_go_of(site, groups, now_ms);
                }
                let groups = reply.unwrap_or_default();
                let account = groups.iter().find_map(|group| group.account.clone());
                if let Some(account) = account.filter(|_| self.sites[site].known.is_none()) {
                    self.identified(&account, now_ms);
                }
                for about in groups {
                    if self.plan.groups.matches(&about.name) {
                        let name = LogGroupName::own(&about.name);
                        self.discovery.found(Found { site, name, about }, now_ms);
                    }
                }
            }
            Done::Expected { events } => {
                if let Some(events) = events {
                    *self.expected.get_or_insert(0) += events;
                }
            }
            Done::Identified { reply } => {
                self.identify_at = now_ms + IDENTIFY_EVERY_MS;
                self.metrics
                    .requests
                    .with(&[Operation::GetCallerIdentity.name(), outcome(reply.as_ref().err())])
                    .inc();
                if let Ok(account) = reply {
                    self.identified(&account, now_ms);
                }
            }
            Done::Described { question, reply } => {
                let (site, group) = (question.found.site, question.found.name.name.clone());
                let call = (Operation::DescribeFlowLogs, &*group);
                self.note(site, call, reply.as_ref().err(), 0, true);
                if let Some(facts) = self.discovery.answered(&question, &reply, now_ms) {
                    self.learn(question, facts, now_ms);
                }
            }
        }
    }

    fn page(&mut self, ask: &Ask, asked_ms: i64, reply: Result<FilterPage, ApiError>, now_ms: i64) {
        let refused = reply.as_ref().err().cloned();
        let unhelped = self.planner.reply(ask, reply, asked_ms, now_ms);
        // A page without progress counts as a refusal.
        let stalled = unhelped.as_ref().filter(|error| error.kind == ErrorKind::NoProgress);
        let refused = stalled.or(refused.as_ref());
        let advances = self.planner.partitions()[ask.partition].advances();
        self.note_partition(ask.partition, Operation::FilterLogEvents, refused, advances);
        if let Some(error) = unhelped.filter(|error| self.ends(error)) {
            if error.kind == ErrorKind::NotFound && self.sites.len() > 1 {
                // Groups are looked for in every region and account; where one is not there is nothing of it to read.
                self.planner.give_up(ask.partition);
                if self.planner.ledgers().next().is_some() {
                    return;
                }
            }
            let site = &self.sites[self.reads[ask.partition].found.site];
            let message = site.explain(&error, &ask.request.group.name);
            self.fatal = Some(SourceError::fatal(error.kind.as_str(), message));
        }
    }

    /// Whether reading cannot go on after an error. Live reading always can: somebody may grant the permission. A backfill
    /// would wait for ever.
    fn ends(&self, error: &ApiError) -> bool {
        !self.is_live() && !sites::may_pass(error.kind)
    }

    fn note_partition(
        &mut self,
        partition: usize,
        operation: Operation,
        error: Option<&ApiError>,
        advances: bool,
    ) {
        let retry_ms = self.planner.partitions()[partition].rest_ms(self.clock.now_ms());
        let Found { site, name, .. } = self.reads[partition].found.clone();
        self.note(site, (operation, resource_of(&name)), error, retry_ms, advances);
    }

    fn note(
        &mut self,
        site: usize,
        (operation, resource): (Operation, &str),
        error: Option<&ApiError>,
        retry_ms: i64,
        advances: bool,
    ) {
        let now_ms = self.clock.now_ms();
        let site = &self.sites[site];
        self.metrics.requests.with(&[operation.name(), outcome(error)]).inc();
        match error {
            Some(error) => {
                let elsewhere = self.sites.len() > 1;
                let refusal = Refusal { site, elsewhere, operation, resource, error, retry_ms };
                self.notices.refused((&self.cx.id, &self.cx.metrics), &refusal, now_ms);
            }
            None => self.notices.answered(&self.cx.id, site, (operation, resource), advances),
        }
    }

    // --- what goes out

    fn batch(&mut self) -> Option<SourceBatch> {
        let ready = self.planner.next_batch()?;
        let lateness = self.metrics.lateness.local();
        for event in &ready.chunk.events {
            lateness.observe(event.ingestion_time.saturating_sub(event.timestamp) as f64 / 1000.0);
        }
        lateness.flush();
        let origin = &self.reads[ready.partition].origin;
        Some(origin.batch(&ready.chunk.events, &ready.chunk.keys, ready.from, ready.position))
    }

    fn flush(&mut self, now_ms: i64) {
        let mut ledgers: Vec<_> = self.planner.ledgers_mut().collect();
        self.checkpoint.flush(&mut ledgers, now_ms);
    }
}

impl Drop for Running {
    /// What was delivered since the last write is written, so that a stop repeats nothing.
    fn drop(&mut self) {
        let now_ms = self.clock.now_ms();
        let mut ledgers: Vec<_> = self.planner.ledgers_mut().collect();
        self.checkpoint.finish(&mut ledgers, now_ms);
    }
}

/// What a refusal of a call about a group is about.
fn resource_of(group: &LogGroupName) -> &str {
    group.foreign_arn.as_ref().unwrap_or(&group.name)
}

/// How a request ended, a metric label.
fn outcome(error: Option<&ApiError>) -> &'static str {
    error.map_or("ok", |error| error.kind.as_str())
}
