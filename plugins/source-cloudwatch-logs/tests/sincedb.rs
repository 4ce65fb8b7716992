//! `import_sincedb`: a source that takes over from Logstash.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flowstone_aws::{ApiError, EventKey, Governors, LogsApi, StreamFilter};
use flowstone_core::{BuildCx, Clock, ComponentId, Kind, Next, Source as _, SourceCx};
use flowstone_testkit::cloudwatch::{Behaviour, SimulatedApi, SimulatedEvent, SimulatedLogs};
use source_cloudwatch_logs::connect::{Account, Connect};
use source_cloudwatch_logs::ledger::Rules;
use source_cloudwatch_logs::options::{AccountPlan, Plan, StartPosition};
use source_cloudwatch_logs::select::Groups;
use source_cloudwatch_logs::source::CloudwatchLogs;

const MINUTE: i64 = 60_000;
/// Where Logstash stopped, and when flowstone is started.
const POSITION: i64 = 1_800_000_000_000;
const NOW: i64 = POSITION + 60 * MINUTE;

/// The simulated service as the only account.
struct Simulated(SimulatedApi);

#[async_trait]
impl Connect for Simulated {
    async fn enter(&self, _account: &AccountPlan) -> Result<Box<dyn Account>, ApiError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl Account for Simulated {
    fn default_region(&self) -> Option<String> {
        None
    }

    fn logs(&self, _region: &str) -> Arc<dyn LogsApi> {
        Arc::new(self.0.clone())
    }
}

/// A group with an event at each of these times, long visible.
fn group(service: &SimulatedLogs, name: &str, times: &[i64]) {
    service.create_group(name, 0, ["eni-1-all".to_owned()]);
    let event = |time: &i64| SimulatedEvent {
        key: EventKey::new(*time, time + 1000, 7, 0),
        visible_ms: 0,
        stream: 0,
        message: None,
    };
    service.put(name, times.iter().map(event));
}

/// A source on this service that imports the file, and what it runs in.
fn source(service: &SimulatedLogs, file: &Path, data_dir: &Path) -> (CloudwatchLogs, SourceCx) {
    let late_window_ms = 30 * MINUTE;
    let plan = Plan {
        account_id: None,
        accounts: vec![AccountPlan { role: None, external_id: None, regions: vec!["us-east-1".to_owned()] }],
        profile: None,
        endpoint: None,
        groups: Groups::new(&["/vpc/flow".to_owned(), "/vpc/new".to_owned()], None).unwrap(),
        streams: StreamFilter::All,
        pattern: String::new(),
        start: StartPosition::End,
        sincedb: Some(file.to_owned()),
        late_window: Some(late_window_ms),
        rules: Rules { late_window_ms, ..Rules::default() },
        quota_share: 1.0,
        id_bytes: 1 << 20,
    };
    let began = Instant::now();
    let now_ms = move || NOW + began.elapsed().as_millis() as i64;
    let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "cloudwatch_logs" };
    let build = BuildCx { id: id.clone(), data_dir: data_dir.to_owned(), clock: Clock::System };
    let connect = Arc::new(Simulated(SimulatedApi::new(service.clone(), now_ms, Duration::ZERO)));
    let source =
        CloudwatchLogs::new(plan, connect, Arc::new(now_ms), &build).with_governors(Governors::default());
    let cx = SourceCx::alone(id, build.state_dir());
    (source, cx)
}

/// The groups and times of the first `count` events, and of what comes within a second more.
async fn read(source: &mut CloudwatchLogs, cx: &mut SourceCx, count: usize) -> Vec<(String, i64)> {
    let mut events = Vec::new();
    let mut ends = Instant::now() + Duration::from_secs(30);
    while let Ok(next) = tokio::time::timeout_at(ends.into(), source.next(cx)).await {
        let Next::Batch(read) = next.unwrap() else { continue };
        for row in read.batch.live_rows() {
            let row = read.batch.row(row);
            let group = row.str("[cloudwatch_logs][log_group]").unwrap().to_owned();
            events.push((group, row.time("@timestamp").unwrap() - POSITION));
        }
        if events.len() >= count {
            ends = ends.min(Instant::now() + Duration::from_secs(1));
        }
    }
    events.sort();
    events
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn reading_starts_a_late_window_before_where_logstash_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sincedb");
    std::fs::write(&file, format!("/vpc/flow {POSITION}\n000\n")).unwrap();
    let service = SimulatedLogs::new(Behaviour { per_second: Some(f64::INFINITY), ..Behaviour::default() });
    let times = [POSITION - 32 * MINUTE, POSITION - 29 * MINUTE, POSITION - 1, POSITION + 5 * MINUTE];
    group(&service, "/vpc/flow", &times);
    group(&service, "/vpc/new", &times);
    let (mut source, mut cx) = source(&service, &file, folder.path());
    block_on(async {
        source.start(&mut cx).await.unwrap();
        let expect = [-29 * MINUTE, -1, 5 * MINUTE].map(|time| ("/vpc/flow".to_owned(), time));
        assert_eq!(read(&mut source, &mut cx, 3).await, expect);
    });
}

#[test]
fn a_file_that_is_missing_is_an_error_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sincedb");
    let service = SimulatedLogs::new(Behaviour::default());
    let (mut source, mut cx) = source(&service, &file, folder.path());
    let error = block_on(source.start(&mut cx)).unwrap_err();
    assert!(error.fatal && error.reason == "sincedb", "{error:?}");
    assert!(error.message.contains(file.to_str().unwrap()), "{}", error.message);
}
