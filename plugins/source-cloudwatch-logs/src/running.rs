//! A source at work: requests in flight, the planner they are asked of, the checkpoint.

use std::sync::Arc;
use std::time::Duration;

use flowstone_aws::{
    ApiError, ErrorKind, FilterPage, FlowLog, Governors, LogGroup, LogGroupName, MinuteCount, Operation,
    quota_per_second,
};
use flowstone_core::{BackfillProgress, ComponentId, Position, SourceBatch, SourceCx, SourceError};
use tokio::task::JoinSet;

use crate::backfill::{self, Stretch};
use crate::clock::ServiceClock;
use crate::discovery::{self, Discovery, FlowFacts, Found, Question, Quota};
use crate::events::Origin;
use crate::journal::Journal;
use crate::ledger::{ChunkLimits, Counts, Finding, Ledger, Rules, Stage};
use crate::notices::Notices;
use crate::options::{Plan, late_window_of};
use crate::planner::{Ask, Limits, Planner, Target};
use crate::sincedb::Sincedb;
use crate::sites::{self, Site};

/// Everything that a started source holds.
pub(crate) struct Running {
    plan: Arc<Plan>,
    mode: Mode,
    sites: Vec<Site>,
    planner: Planner,
    /// What each partition's events have in common.
    origins: Vec<Origin>,
    /// The site of each partition.
    site_of: Vec<usize>,
    journal: Journal,
    discovery: Discovery,
    governors: Governors,
    clock: ServiceClock,
    notices: Notices,
    tasks: JoinSet<Done>,
    first_start_ms: i64,
    /// Where Logstash stopped, for groups of the first site.
    sincedb: Option<Sincedb>,
    flush_at: i64,
    told: Counts,
    /// How many events a backfill will meet, as far as the metric says.
    expected: Option<u64>,
    /// Audits that could not be done since one could.
    audits_failed: usize,
    /// An error that a finite reading cannot go on after.
    fatal: Option<SourceError>,
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
}

/// What a running source is made of.
pub(crate) struct Parts {
    pub(crate) plan: Arc<Plan>,
    pub(crate) mode: Mode,
    pub(crate) sites: Vec<Site>,
    pub(crate) journal: Journal,
    pub(crate) governors: Governors,
    pub(crate) clock: ServiceClock,
    pub(crate) first_start_ms: i64,
    pub(crate) sincedb: Option<Sincedb>,
}

/// The checkpoint is written this often.
const FLUSH_EVERY_MS: i64 = 1000;
/// Requests for pages in flight: what a quota gives in this time, which a call takes at most.
const CALL_SECONDS: f64 = 0.6;
/// A page in flight takes some 4 MB while it is read.
const IN_FLIGHT_AT_MOST: usize = 8;
/// Batches that wait to be taken: the events of two pages.
const READY_AT_MOST: usize = 6;
/// So many audits of each group in vain (five minutes apart) end them until the next start.
const AUDITS_IN_VAIN: usize = 24;
/// The day on which CloudWatch Logs began: there is nothing older.
const BEGINNING_MS: i64 = 1_404_950_400_000;
const DAY_MS: i64 = 86_400_000;

// === impl Running ===

impl Running {
    /// Nothing is read yet.
    pub(crate) fn new(parts: Parts, cx: &SourceCx) -> Self {
        let Parts { plan, mode, sites, journal, governors, clock, first_start_ms, sincedb } = parts;
        let quota = |site: &Site| quota_per_second(Operation::FilterLogEvents, &site.region);
        let per_second: f64 = sites.iter().map(|site| quota(site) * plan.quota_share).sum();
        let limits = Limits {
            chunk: ChunkLimits { rows: cx.max_rows, bytes: cx.max_bytes },
            in_flight: ((per_second * CALL_SECONDS).ceil() as usize).clamp(2, IN_FLIGHT_AT_MOST),
            ready: READY_AT_MOST,
            id_bytes: plan.id_bytes,
            quota_share: plan.quota_share,
        };
        let mut running = Self {
            planner: Planner::new(limits, governors.clone(), fastrand::u64(..)),
            origins: Vec::new(),
            site_of: Vec::new(),
            discovery: Discovery::new(sites.len()),
            notices: Notices::default(),
            tasks: JoinSet::new(),
            flush_at: i64::MIN,
            told: Counts::default(),
            expected: None,
            audits_failed: 0,
            fatal: None,
            plan,
            mode,
            sites,
            journal,
            governors,
            clock,
            first_start_ms,
            sincedb,
        };
        running.find_named();
        running
    }

    fn find_named(&mut self) {
        let now_ms = self.clock.now_ms();
        for (number, site) in self.sites.iter().enumerate() {
            for name in self.plan.groups.named(site.place()) {
                let about = LogGroup { name: name.name.clone(), ..LogGroup::default() };
                self.discovery.found(Found { site: number, name, about }, now_ms);
            }
        }
    }

    /// Goes on until there is a batch; `None` is the end.
    pub(crate) async fn next(&mut self, cx: &SourceCx) -> Result<Option<SourceBatch>, SourceError> {
        loop {
            while let Some(done) = self.tasks.try_join_next() {
                self.take_in(joined(done), cx);
            }
            if let Some(fatal) = self.fatal.take() {
                return Err(fatal);
            }
            let now_ms = self.clock.now_ms();
            self.look_for_groups(now_ms, cx);
            self.ask(now_ms);
            let is_done = self.is_done();
            if is_done || now_ms >= self.flush_at || now_ms < self.flush_at - 2 * FLUSH_EVERY_MS {
                // It takes a walk over all log groups: once a second is plenty.
                self.tell_counts(now_ms, cx);
                // `commit` tells of an error: what was read is delivered all the same.
                self.flush().ok();
            }
            if let Some(batch) = self.batch(cx) {
                return Ok(Some(batch));
            }
            if is_done {
                return Ok(None);
            }
            let wait = self.wakes_at(now_ms).saturating_sub(now_ms).max(1);
            tokio::select! {
                Some(done) = self.tasks.join_next() => self.take_in(joined(done), cx),
                () = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())) => {}
            }
        }
    }

    /// All batches up to these positions are delivered.
    pub(crate) fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        for position in positions {
            self.planner.delivered(position);
        }
        // What is not written yet is written within a second, and when the source ends.
        if self.clock.now_ms() >= self.flush_at { self.flush() } else { Ok(()) }
    }

    /// The batch at this position is to be found again.
    pub(crate) fn rewind(&mut self, position: &Position) {
        self.planner.rewind(position);
    }

    /// Whether all log groups are known that there are to read.
    pub(crate) fn knows_all_groups(&self) -> bool {
        (!self.lists() || self.discovery.has_listed()) && !self.discovery.has_new()
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
        let mut wakes = now_ms + FLUSH_EVERY_MS;
        for at in [self.planner.wakes_at(now_ms), self.discovery.wakes_at(self.lists())].into_iter().flatten()
        {
            wakes = wakes.min(at);
        }
        wakes
    }

    // --- what is asked for

    fn look_for_groups(&mut self, now_ms: i64, cx: &SourceCx) {
        if self.lists() {
            while let Some(number) = self.discovery.next_listing(now_ms) {
                let api = Arc::clone(&self.sites[number].api);
                let listing = discovery::list(api, self.plan.groups.prefixes().to_vec(), self.quota(number));
                self.tasks.spawn(async move { Done::Listed { site: number, reply: listing.await } });
            }
        }
        while let Some(next) = self.discovery.next_question(now_ms) {
            match next {
                discovery::Next::Ask(question) => {
                    let api = Arc::clone(&self.sites[question.found.site].api);
                    let quota = self.quota(question.found.site);
                    self.tasks.spawn(async move {
                        quota.take(Operation::DescribeFlowLogs).await;
                        let reply = api.describe_flow_logs(&question.found.name.name).await;
                        quota.answered(Operation::DescribeFlowLogs, &reply);
                        Done::Described { question, reply }
                    });
                }
                discovery::Next::Without(question) => self.learn(question, FlowFacts::default(), now_ms, cx),
            }
        }
    }

    fn ask(&mut self, now_ms: i64) {
        // One reply tells the service's time; until then a wrong clock could ask for what has not happened yet.
        while (self.clock.is_set() || self.planner.in_flight() == 0)
            && let Some(ask) = self.planner.next_request(now_ms)
        {
            let api = Arc::clone(&self.sites[self.site_of[ask.partition]].api);
            let asked_local_ms = self.clock.local_ms();
            self.tasks.spawn(async move {
                let reply = api.filter_log_events(&ask.request).await;
                Done::Page { ask, asked_ms: now_ms, asked_local_ms, reply }
            });
        }
        while let Some((partition, minutes)) = self.planner.next_audit(now_ms) {
            let api = Arc::clone(&self.sites[self.site_of[partition]].api);
            let group = self.planner.partitions()[partition].target.group.name.clone();
            let quota = self.quota(self.site_of[partition]);
            self.tasks.spawn(async move {
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

    // --- what came back

    fn take_in(&mut self, done: Done, cx: &SourceCx) {
        let now_ms = self.clock.now_ms();
        match done {
            Done::Page { ask, asked_ms, asked_local_ms, reply } => {
                if let Ok(FilterPage { asked_at_ms: Some(asked_at_ms), .. }) = &reply {
                    self.clock.learn(*asked_at_ms, asked_local_ms);
                }
                self.page(&ask, asked_ms, reply, now_ms, cx);
            }
            Done::Audited { partition, minutes, reply } => {
                self.note_partition(partition, Operation::GetMetricData, reply.as_ref().err(), cx);
                let denied = matches!(&reply, Err(error) if error.kind == ErrorKind::AccessDenied);
                self.audits_failed = if reply.is_ok() { 0 } else { self.audits_failed + 1 };
                self.planner.audited(partition, minutes, reply.ok().as_deref(), now_ms);
                // What waits for an audit is kept: without one in sight that would be two weeks of slices.
                if denied || self.audits_failed > AUDITS_IN_VAIN * self.planner.partitions().len() {
                    self.planner.ledger_mut(partition).stop_audit();
                }
                for (partition, finding) in self.planner.take_findings() {
                    self.tell_finding(partition, finding, cx);
                }
            }
            Done::Listed { site, reply } => {
                self.note(site, "", Operation::DescribeLogGroups, reply.as_ref().err(), cx);
                if let Some(error) = reply.as_ref().err().filter(|error| self.ends(error)) {
                    let told = self.sites[site].told(error, "");
                    self.fatal = Some(SourceError::fatal(error.kind.as_str(), told));
                }
                self.discovery.listed(site, reply.is_ok(), now_ms);
                for about in reply.unwrap_or_default() {
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
            Done::Described { question, reply } => {
                let (site, group) = (question.found.site, question.found.name.name.clone());
                self.note(site, &group, Operation::DescribeFlowLogs, reply.as_ref().err(), cx);
                if let Some(facts) = self.discovery.answered(&question, &reply, now_ms) {
                    self.learn(question, facts, now_ms, cx);
                }
            }
        }
    }

    fn page(
        &mut self,
        ask: &Ask,
        asked_ms: i64,
        reply: Result<FilterPage, ApiError>,
        now_ms: i64,
        cx: &SourceCx,
    ) {
        self.note_partition(ask.partition, Operation::FilterLogEvents, reply.as_ref().err(), cx);
        let unhelped = self.planner.reply(ask, reply, asked_ms, now_ms);
        if let Some(error) = unhelped.filter(|error| self.ends(error)) {
            if error.kind == ErrorKind::NotFound && self.sites.len() > 1 {
                // Groups are looked for in every region and account; where one is not there is nothing of it to read.
                self.planner.give_up(ask.partition);
                if self.planner.ledgers().next().is_some() {
                    return;
                }
            }
            let site = &self.sites[self.site_of[ask.partition]];
            let told = site.told(&error, &ask.request.group.name);
            self.fatal = Some(SourceError::fatal(error.kind.as_str(), told));
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
        cx: &SourceCx,
    ) {
        let LogGroupName { name, foreign_arn } = &self.planner.partitions()[partition].target.group;
        let group = foreign_arn.as_ref().unwrap_or(name).clone();
        self.note(self.site_of[partition], &group, operation, error, cx);
    }

    fn note(
        &mut self,
        site: usize,
        resource: &str,
        operation: Operation,
        error: Option<&ApiError>,
        cx: &SourceCx,
    ) {
        let now_ms = self.clock.now_ms();
        let site = &self.sites[site];
        let call = (operation, resource);
        cx.metrics.aws_request(operation.name(), error.map_or("ok", |error| error.kind.as_str()));
        match error {
            Some(error) => {
                let elsewhere = self.sites.len() > 1;
                self.notices.refused((&cx.id, &cx.metrics), (site, elsewhere), call, error, now_ms);
            }
            None => self.notices.answered(&cx.id, site, call),
        }
    }

    // --- log groups

    /// What EC2 says of a group, or that it says nothing: from now on the group is read.
    fn learn(&mut self, question: Question, facts: FlowFacts, now_ms: i64, cx: &SourceCx) {
        let Question { found, partition, .. } = question;
        let partition = partition.unwrap_or_else(|| self.admit(&found, now_ms, &cx.id));
        let format = facts.format.as_ref().map(|(format, since_ms)| (&**format, *since_ms));
        // What is not told any more may still hold: a permission was taken away, EC2 is in trouble.
        if format.is_some() || facts.aggregation_s.is_some() {
            self.origins[partition].set_format(format);
            if self.plan.late_window.is_none() {
                let late_window_ms = late_window_of(facts.aggregation_s);
                self.planner.ledger_mut(partition).set_late_window(late_window_ms);
            }
        }
        self.discovery.is_read(found, partition, now_ms);
    }

    fn admit(&mut self, found: &Found, now_ms: i64, id: &ComponentId) -> usize {
        let Found { site: number, name, about } = found;
        let site = &self.sites[*number];
        let owner = name.foreign_arn.as_deref().and_then(flowstone_aws::Arn::parse);
        let owner = owner.map_or(&*site.account, |arn| arn.account);
        let partition: Arc<str> = format!("{owner}/{}/{}", site.region, name.name).into();
        if let Some(known) = self.planner.find(&partition) {
            return known;
        }
        let rules = Rules {
            // The metric of another account's group is in that account.
            audit: self.plan.rules.audit && name.foreign_arn.is_none() && self.is_live(),
            // What may still come in is left to live reading.
            sweeps_ms: if self.is_live() { self.plan.rules.sweeps_ms.clone() } else { Vec::new() },
            live: self.is_live(),
            parallel_history: if self.is_live() { 4 } else { IN_FLIGHT_AT_MOST },
            ..self.plan.rules.clone()
        };
        let (until_ms, begins_at) = match &self.mode {
            Mode::Live => (None, self.begins_at(*number, about, now_ms)),
            Mode::Backfill(stretch) => (Some(stretch.to_ms), stretch.from_ms),
        };
        let known = self.journal.take(&partition);
        let is_new = known.is_none();
        let ledger = match known {
            Some(known) => Ledger::restore(rules, until_ms, known, now_ms),
            None => Ledger::new(rules, begins_at, until_ms),
        };
        tracing::info!(
            component = %id,
            account = owner,
            region = &*site.region,
            log_group = name.name,
            begins_at = is_new.then(|| flowstone_core::event::format_iso_millis(begins_at)),
            "{}",
            if is_new { "a log group is read from now on" } else { "a log group is read on" }
        );
        if let Mode::Backfill(stretch) = &self.mode {
            let (site, name, times) = (site.clone(), name.clone(), (stretch.from_ms, stretch.to_ms));
            self.tasks.spawn(async move {
                Done::Expected { events: backfill::expected(&site, &name, times, now_ms).await }
            });
        }
        self.origins.push(Origin::new(owner, &site.region, &name.name));
        self.site_of.push(*number);
        let target = Target {
            name: partition,
            account: Arc::clone(&site.account),
            region: Arc::clone(&site.region),
            group: name.clone(),
            streams: self.plan.streams.clone(),
            pattern: self.plan.pattern.clone(),
        };
        self.planner.add(target, ledger)
    }

    fn begins_at(&self, site: usize, about: &LogGroup, now_ms: i64) -> i64 {
        let kept = about.retention_days.map_or(i64::MIN, |days| now_ms - i64::from(days) * DAY_MS);
        // Events may be two weeks older than the group that they are put into.
        let created = about.created_ms.map_or(i64::MIN, |created_ms| created_ms - 14 * DAY_MS);
        let oldest = BEGINNING_MS.max(kept).max(created);
        // The plan's window: the group's own is not known yet, and is not longer.
        let late_window_ms = self.plan.rules.late_window_ms;
        let imported = self.sincedb.as_ref().filter(|_| site == 0);
        match imported.and_then(|sincedb| sincedb.begins_at(&about.name, late_window_ms, now_ms)) {
            Some(begins_at) => begins_at.max(oldest),
            None => self.plan.start.begins_at(self.first_start_ms, oldest),
        }
    }

    // --- what goes out

    fn batch(&mut self, cx: &SourceCx) -> Option<SourceBatch> {
        let ready = self.planner.next_batch()?;
        let lateness = cx.metrics.lateness.local();
        for event in &ready.chunk.events {
            lateness.observe((event.ingestion_time - event.timestamp) as f64 / 1000.0);
        }
        lateness.flush();
        let origin = &self.origins[ready.partition];
        Some(origin.batch(&ready.chunk.events, &ready.chunk.keys, ready.position))
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        let now_ms = self.clock.now_ms();
        self.flush_at = now_ms + FLUSH_EVERY_MS;
        let mut ledgers: Vec<_> = self.planner.ledgers_mut().collect();
        self.journal.flush(&mut ledgers, now_ms).map_err(|error| {
            SourceError::new(
                "checkpoint",
                format!(
                    "cannot write the checkpoint in {}: {error}; what is not in it is read again after a restart: make \
                     room or give flowstone the right to write there",
                    self.journal.dir().display()
                ),
            )
        })
    }

    fn tell_counts(&mut self, now_ms: i64, cx: &SourceCx) {
        let counts = self.planner.counts();
        let again = |counts: &Counts| counts.duplicates + counts.by_rule;
        cx.metrics.duplicates.inc_by(again(&counts) - again(&self.told));
        self.told = counts;
        match &self.mode {
            Mode::Live => cx.metrics.lag.set(self.planner.lag_ms(now_ms) as f64 / 1000.0),
            Mode::Backfill(stretch) => {
                let whole = (stretch.to_ms - stretch.from_ms) as f64 * self.planner.ledgers().count() as f64;
                let unread: i64 = self.planner.ledgers().map(|ledger| ledger.unread_ms(now_ms)).sum();
                stretch.tell(BackfillProgress {
                    events: counts.fresh,
                    expected: self.expected,
                    requests: counts.pages,
                    share: if whole > 0.0 && self.knows_all_groups() {
                        1.0 - unread as f64 / whole
                    } else {
                        0.0
                    },
                });
            }
        }
        let bounded = self.planner.partitions().iter().filter(|one| one.ledger.is_bounded()).count();
        cx.metrics.dedupe_margin_mode.set(bounded as i64);
    }

    fn tell_finding(&self, partition: usize, finding: Finding, cx: &SourceCx) {
        let Target { account, region, group, .. } = &self.planner.partitions()[partition].target;
        let Finding { minute_ms, expected, delivered, stage } = finding;
        let minute = flowstone_core::event::format_iso_millis(minute_ms);
        let missing = expected.saturating_sub(delivered);
        let (component, log_group) = (&cx.id, &*group.name);
        match stage {
            Stage::Missing => {
                cx.metrics.missing("found", missing);
                tracing::warn!(%component, %account, %region, log_group, minute, expected, delivered, "CloudWatch took in more events than were read; their slices are read again");
            }
            Stage::Recovered => {
                tracing::info!(%component, %account, %region, log_group, minute, expected, delivered, "missing events were found");
            }
            Stage::Lost => {
                cx.metrics.missing("lost", missing);
                tracing::error!(%component, %account, %region, log_group, minute, expected, delivered, "events are missing: they are later than `late_window` and the last of `sweeps`, or the metric counts what cannot be read; widen `sweeps`");
            }
        }
    }
}

impl Drop for Running {
    /// What was delivered since the last write is written, so that a stop repeats nothing.
    fn drop(&mut self) {
        let now_ms = self.clock.now_ms();
        let mut ledgers: Vec<_> = self.planner.ledgers_mut().collect();
        if let Err(error) = self.journal.finish(&mut ledgers, now_ms) {
            let path = self.journal.dir().display().to_string();
            tracing::error!(path, %error, "the checkpoint could not be written; what it lacks is read again");
        }
    }
}

/// A request's task does not panic, unless there is a bug: then the run ends with it.
fn joined(done: Result<Done, tokio::task::JoinError>) -> Done {
    match done {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
