//! The source over a simulated CloudWatch Logs on tokio's paused clock, with the engine's part of reading and a sink
//! that remembers what it was sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flowstone_aws::{ApiError, EventKey, Governors, LogsApi, Operation};
use flowstone_core::event::{EncodeOptions, RowId};
use flowstone_core::{
    BuildCx, Clock, ComponentId, Health, Kind, Metrics, Next, Position, Source, SourceCx, SourceError,
    StateDir,
};
use flowstone_testkit::cloudwatch::{Behaviour, SimulatedApi, SimulatedEvent, SimulatedLogs};
use serde_json::Value;
use source_cloudwatch_logs::CloudwatchLogsOptions;
use source_cloudwatch_logs::connect::{Account, Connect};
use source_cloudwatch_logs::options::{AccountPlan, Plan};
use source_cloudwatch_logs::source::CloudwatchLogs;
use tempfile::TempDir;
use tokio::time::{Instant, timeout_at};

/// When every test begins.
pub(crate) const BEGIN: i64 = 1_800_000_000_000;
pub(crate) const SECOND: i64 = 1000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// What the world is made of.
pub(crate) struct Rig {
    pub(crate) service: SimulatedLogs,
    pub(crate) options: CloudwatchLogsOptions,
    /// What there is in us-east-1.
    pub(crate) elsewhere: SimulatedLogs,
    /// Whether AWS refuses the credentials.
    pub(crate) entry_is_refused: bool,
    /// By how much this machine's clock is wrong, in milliseconds.
    pub(crate) wrong_by: Arc<AtomicI64>,
    data_dir: TempDir,
    zero: Instant,
    run: Option<Run>,
    pub(crate) metrics: Metrics,
    /// How often each event was sent, by `event_id`.
    pub(crate) sent: BTreeMap<String, u32>,
    /// The documents, by `event_id`, and the ids they had.
    pub(crate) documents: BTreeMap<String, (RowId, Value)>,
    /// `[@metadata][cloudwatch_logs][account_id]` of each event that has one.
    pub(crate) accounts: BTreeMap<String, String>,
    /// What `/readyz` says.
    pub(crate) health: Health,
    /// `[@metadata][flow_log_format]` of each event that has one.
    pub(crate) formats: BTreeMap<String, String>,
}

struct Run {
    source: Box<dyn Source>,
    cx: SourceCx,
}

/// One account that is the same service in all regions but us-east-1.
#[derive(Clone)]
struct World {
    here: SimulatedApi,
    elsewhere: SimulatedApi,
    refuses: bool,
}

#[async_trait]
impl Connect for World {
    async fn enter(&self, _account: &AccountPlan) -> Result<Box<dyn Account>, ApiError> {
        if self.refuses {
            return Err(ApiError::of_reply(Operation::AssumeRole, 403, "AccessDenied", "no", false));
        }
        Ok(Box::new(self.clone()))
    }
}

impl Account for World {
    fn default_region(&self) -> Option<String> {
        Some("eu-west-1".to_owned())
    }

    fn logs(&self, region: &str) -> Arc<dyn LogsApi> {
        Arc::new(if region == "us-east-1" { self.elsewhere.clone() } else { self.here.clone() })
    }
}

/// An event of a group's only stream, seen `visible` after it was ingested.
pub(crate) fn event(time_ms: i64, late_ms: i64, request: u64) -> SimulatedEvent {
    SimulatedEvent {
        key: EventKey::new(time_ms, time_ms + late_ms, request, 0),
        visible_ms: time_ms + late_ms + 2 * SECOND,
        stream: 0,
        message: None,
    }
}

// === impl Rig ===

impl Rig {
    /// A source of `/vpc/flow` that begins at the beginning, and an empty service.
    pub(crate) fn new() -> Self {
        Self::with(Behaviour::default())
    }

    pub(crate) fn with(behaviour: Behaviour) -> Self {
        let options = CloudwatchLogsOptions {
            log_groups: vec!["/vpc/flow".to_owned()],
            ..CloudwatchLogsOptions::defaults()
        };
        let service = SimulatedLogs::new(behaviour);
        service.create_group("/vpc/flow", BEGIN - HOUR, ["eni-1-all".to_owned()]);
        Self {
            service,
            options,
            elsewhere: SimulatedLogs::new(Behaviour {
                region: "us-east-1".to_owned(),
                ..Behaviour::default()
            }),
            entry_is_refused: false,
            wrong_by: Arc::default(),
            data_dir: tempfile::tempdir().unwrap(),
            zero: Instant::now(),
            run: None,
            metrics: Metrics::new(),
            sent: BTreeMap::new(),
            documents: BTreeMap::new(),
            accounts: BTreeMap::new(),
            health: Health::default(),
            formats: BTreeMap::new(),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        BEGIN + self.zero.elapsed().as_millis() as i64
    }

    fn build(&self) -> (CloudwatchLogs, SourceCx) {
        let zero = self.zero;
        let now = move || BEGIN + zero.elapsed().as_millis() as i64;
        let api =
            |service: &SimulatedLogs| SimulatedApi::new(service.clone(), now, Duration::from_millis(200));
        let refuses = self.entry_is_refused;
        let world = World { here: api(&self.service), elsewhere: api(&self.elsewhere), refuses };
        let wrong_by = Arc::clone(&self.wrong_by);
        let clock = move || now() + wrong_by.load(Ordering::Relaxed);
        let id = ComponentId { name: "vpc".into(), kind: Kind::Source, type_name: "cloudwatch_logs" };
        let build =
            BuildCx { id: id.clone(), data_dir: self.data_dir.path().to_owned(), clock: Clock::System };
        let plan = Plan::new(self.options.clone()).unwrap();
        let source = CloudwatchLogs::new(plan, Arc::new(world), Arc::new(clock), &build)
            .with_governors(Governors::default());
        let (metrics, health) = (self.metrics.source(&id), self.health.of(&id));
        let cx = SourceCx { metrics, health, ..SourceCx::alone(id, build.state_dir()) };
        (source, cx)
    }

    /// The folder of the checkpoint.
    pub(crate) fn state(&self) -> PathBuf {
        self.build().1.state.path().to_owned()
    }

    /// What `/readyz` says, one problem a line; empty when all is well.
    pub(crate) fn problems(&self) -> String {
        self.health.problems().join("\n")
    }

    /// The source as it is before it is started.
    pub(crate) fn source(&self) -> CloudwatchLogs {
        self.build().0
    }

    /// Starts the source; a running one ends, with what it has in flight.
    pub(crate) async fn start(&mut self) {
        let (source, _) = self.build();
        self.start_with(source).await;
    }

    pub(crate) async fn start_with(&mut self, source: CloudwatchLogs) {
        self.start_in(source, self.state()).await;
    }

    /// The same with another folder for the checkpoint, as a backfill has.
    pub(crate) async fn start_in(&mut self, mut source: CloudwatchLogs, state: PathBuf) {
        self.run = None;
        let (_, cx) = self.build();
        let mut cx = SourceCx { state: StateDir::new(state), ..cx };
        source.start(&mut cx).await.unwrap();
        self.run = Some(Run { source: Box::new(source), cx });
    }

    /// Why a source cannot be started.
    pub(crate) async fn refused_at_start(&self, mut source: CloudwatchLogs) -> SourceError {
        let (_, mut cx) = self.build();
        source.start(&mut cx).await.unwrap_err()
    }

    /// The next batch before a time, or `None`; not delivered yet.
    pub(crate) async fn next_until(&mut self, until_ms: i64) -> Result<Read, SourceError> {
        let deadline = self.zero + Duration::from_millis((until_ms - BEGIN).max(0) as u64);
        let run = self.run.as_mut().expect("started");
        match timeout_at(deadline, run.source.next(&mut run.cx)).await {
            Err(_) => Ok(Read::Nothing),
            Ok(Ok(Next::Batch(read))) => {
                let mut events = Vec::new();
                for row in 0..read.batch.len() {
                    let mut json = Vec::new();
                    read.batch.write_json(row, EncodeOptions::default(), &mut json);
                    let document: Value = serde_json::from_slice(&json).unwrap();
                    let event_id = document["cloudwatch_logs"]["event_id"].as_str().unwrap().to_owned();
                    if let Some(account) = read.batch.row(row).str("[@metadata][cloudwatch_logs][account_id]")
                    {
                        self.accounts.insert(event_id.clone(), account.to_owned());
                    }
                    if let Some(format) = read.batch.row(row).str("[@metadata][flow_log_format]") {
                        self.formats.insert(event_id.clone(), format.to_owned());
                    }
                    events.push((event_id, read.batch.id(row), document));
                }
                Ok(Read::Batch(events, read.position))
            }
            Ok(Ok(Next::End)) => Ok(Read::End),
            Ok(Ok(Next::Idle(wait))) => {
                tokio::time::sleep(wait).await;
                Ok(Read::Nothing)
            }
            Ok(Err(error)) => Err(error),
        }
    }

    /// The sink stores these events; the source does not hear of it.
    pub(crate) fn store(&mut self, events: Vec<(String, RowId, Value)>) {
        for (event_id, id, document) in events {
            *self.sent.entry(event_id.clone()).or_default() += 1;
            let known = self.documents.entry(event_id).or_insert_with(|| (id, document.clone()));
            assert_eq!(*known, (id, document), "an event is the same document under the same id, always");
        }
    }

    pub(crate) async fn commit(&mut self, position: Position) {
        self.run.as_mut().expect("started").source.commit(&[position]).await.unwrap();
    }

    pub(crate) async fn rewind(&mut self, position: &Position) {
        self.run.as_mut().expect("started").source.rewind(position).await.unwrap();
    }

    /// Delivers and commits the next batch before a time, if there is one; says whether it was the end.
    pub(crate) async fn deliver_next(&mut self, until_ms: i64) -> bool {
        match self.next_until(until_ms).await.unwrap() {
            Read::Batch(events, position) => {
                self.store(events);
                self.commit(position).await;
                false
            }
            Read::Nothing => false,
            Read::End => true,
        }
    }

    /// Reads, delivers and commits up to a time, or to the end; says whether it was the end.
    pub(crate) async fn read_until(&mut self, until_ms: i64) -> bool {
        while self.now_ms() < until_ms {
            if self.deliver_next(until_ms).await {
                return true;
            }
        }
        false
    }

    /// Everything that lies in `/vpc/flow` was sent, and how often at most.
    pub(crate) fn assert_all_sent(&self, at_most: u32) {
        let all = self.service.all_events("/vpc/flow", 0, i64::MAX >> 17);
        let missing: Vec<String> = (all.iter())
            .map(|event| event.key.to_decimal())
            .filter(|event_id| !self.sent.contains_key(event_id))
            .collect();
        assert!(missing.is_empty(), "{} of {} are missing: {:?}", missing.len(), all.len(), &missing[..1]);
        assert_eq!(self.sent.len(), all.len());
        let most = self.sent.values().copied().max().unwrap_or(0);
        assert!(most <= at_most, "an event was sent {most} times");
    }

    /// Everything that lies in these groups was sent.
    pub(crate) fn assert_all_sent_of(&self, groups: &[&str]) {
        for group in groups {
            let all = self.service.all_events(group, 0, i64::MAX >> 17);
            let missing = all.iter().filter(|event| !self.sent.contains_key(&event.key.to_decimal())).count();
            assert_eq!(missing, 0, "{missing} of {} of {group} are missing", all.len());
        }
    }

    /// Ends the source, with what it has in flight.
    pub(crate) fn stop(&mut self) {
        self.run = None;
    }

    /// The value of a metric of the source, the sum over its other labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with(&format!("flowstone_{name}{{")));
        let lines = lines.filter(|line| line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// What reading gave.
pub(crate) enum Read {
    Batch(Vec<(String, RowId, Value)>, Position),
    Nothing,
    End,
}
