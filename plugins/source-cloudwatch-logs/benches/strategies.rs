//! How much each way of reading CloudWatch Logs loses, and how often it reads each event: a million events as late as
//! those of VPC Flow Logs, over virtual time, by the code that flowstone runs.
//!
//! `cargo bench -p source-cloudwatch-logs --bench strategies`

#![allow(clippy::print_stdout)] // a table is what it is for

#[path = "../tests/support/simulation.rs"]
#[allow(dead_code)]
mod simulation;

use std::collections::HashSet;
use std::time::Instant;

use flowstone_aws::{FilterRequest, LogGroupName, StreamFilter};
use flowstone_testkit::cloudwatch::{Behaviour, FlowTraffic, SimulatedLogs};
use simulation::{Setup, World};
use source_cloudwatch_logs::ledger::{ChunkLimits, Rules};
use source_cloudwatch_logs::planner::Limits;

const BEGIN: i64 = 1_800_000_000_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const GROUP: &str = "/vpc/flow";
/// How long events are written.
const WRITTEN: i64 = 4 * HOUR;

/// A way of reading.
#[derive(Clone, Copy)]
enum Strategy {
    /// From the last timestamp seen plus 1 ms, every minute: the Logstash plugin, OTel's receiver.
    Cursor,
    /// Every minute the minute that lies so far back: Filebeat.
    ShiftedWindow { latency_s: i64 },
    /// The last half hour, every so often.
    Rescan { every_s: i64 },
    /// flowstone's ledger, with sweeps at these hours.
    Ledger { sweeps_h: &'static [i64] },
}

const STRATEGIES: [Strategy; 8] = [
    Strategy::Cursor,
    Strategy::ShiftedWindow { latency_s: 60 },
    Strategy::ShiftedWindow { latency_s: 300 },
    Strategy::ShiftedWindow { latency_s: 600 },
    Strategy::ShiftedWindow { latency_s: 1200 },
    Strategy::Rescan { every_s: 10 },
    Strategy::Ledger { sweeps_h: &[] },
    Strategy::Ledger { sweeps_h: &[6] },
];

/// What a strategy came to.
struct Figures {
    lost: f64,
    reads: f64,
    calls: u64,
    delay_s: Option<f64>,
    took_s: f64,
}

fn main() {
    // Run as a test it is quick.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let per_second = if is_bench { 70.0 } else { 7.0 };
    println!("| strategy | aggregation | lost | reads of an event | calls | median delay | simulated in |");
    println!("|---|---|---|---|---|---|---|");
    for strategy in STRATEGIES {
        for aggregation_ms in [MINUTE, 10 * MINUTE] {
            let figures = run(strategy, aggregation_ms, per_second);
            let delay = figures.delay_s.map_or(String::from("-"), |delay| format!("{delay:.0} s"));
            println!(
                "| {} | {} s | {:.3} % | {:.1} | {} | {delay} | {:.1} s |",
                strategy.name(),
                aggregation_ms / 1000,
                figures.lost * 100.0,
                figures.reads,
                figures.calls,
                figures.took_s,
            );
            if let Strategy::Ledger { sweeps_h: [_, ..] } = strategy {
                assert!(figures.lost == 0.0, "the ledger loses nothing within its last sweep");
            }
        }
    }
}

fn run(strategy: Strategy, aggregation_ms: i64, per_second: f64) -> Figures {
    // To read everything 180 times takes its time: a tenth of the events will do.
    let per_second = if matches!(strategy, Strategy::Rescan { .. }) { 0.1 * per_second } else { per_second };
    let traffic = FlowTraffic { aggregation_ms, per_second, ..FlowTraffic::default() };
    let service = SimulatedLogs::new(Behaviour { per_second: Some(f64::INFINITY), ..Behaviour::default() });
    service.create_group(GROUP, 0, traffic.stream_names());
    let events: Vec<_> = (0..WRITTEN / MINUTE)
        .flat_map(|minute| traffic.events(BEGIN + minute * MINUTE, BEGIN + (minute + 1) * MINUTE))
        .collect();
    let total = events.len() as f64;
    service.put(GROUP, events);
    let begun = Instant::now();
    let (delivered, delay_s) = match strategy {
        Strategy::Cursor => (cursor(&service), None),
        Strategy::ShiftedWindow { latency_s } => (shifted_window(&service, latency_s * 1000), None),
        Strategy::Rescan { every_s } => (rescan(&service, every_s * 1000), None),
        Strategy::Ledger { sweeps_h } => ledger(&service, aggregation_ms, sweeps_h),
    };
    let calls = service.calls();
    Figures {
        lost: 1.0 - delivered as f64 / total,
        reads: calls.events as f64 / total,
        calls: calls.pages,
        delay_s,
        took_s: begun.elapsed().as_secs_f64(),
    }
}

/// Reads a whole range at one instant.
fn read(service: &SimulatedLogs, now_ms: i64, start_ms: i64, end_ms: i64, mut each: impl FnMut(i64, String)) {
    let mut token = None;
    loop {
        let request = FilterRequest {
            group: LogGroupName::own(GROUP),
            start_ms,
            end_ms,
            streams: StreamFilter::All,
            pattern: String::new(),
            token,
        };
        let page = service.filter_log_events(now_ms, &request).expect("no quota, no fault");
        page.events.into_iter().for_each(|event| each(event.timestamp, event.event_id));
        token = page.next_token;
        if token.is_none() {
            return;
        }
    }
}

fn polls(every_ms: i64) -> impl Iterator<Item = i64> {
    (BEGIN..BEGIN + WRITTEN + HOUR).step_by(every_ms as usize)
}

fn cursor(service: &SimulatedLogs) -> usize {
    let (mut seen, mut from) = (HashSet::new(), BEGIN);
    for now in polls(MINUTE) {
        let mut last = from - 1;
        read(service, now, from, now, |timestamp, id| {
            last = last.max(timestamp);
            seen.insert(id);
        });
        from = last + 1;
    }
    seen.len()
}

fn shifted_window(service: &SimulatedLogs, latency_ms: i64) -> usize {
    let mut seen = HashSet::new();
    for now in polls(MINUTE) {
        let end = now - latency_ms;
        read(service, now, end - MINUTE, end - 1, |_, id| {
            seen.insert(id);
        });
    }
    seen.len()
}

fn rescan(service: &SimulatedLogs, every_ms: i64) -> usize {
    let mut seen = HashSet::new();
    for now in polls(every_ms) {
        read(service, now, now - 30 * MINUTE, now, |_, id| {
            seen.insert(id);
        });
    }
    seen.len()
}

fn ledger(service: &SimulatedLogs, aggregation_ms: i64, sweeps_h: &[i64]) -> (usize, Option<f64>) {
    let rules = Rules {
        late_window_ms: (30 * MINUTE).max(6 * aggregation_ms),
        sweeps_ms: sweeps_h.iter().map(|hours| hours * HOUR).collect(),
        ..Rules::default()
    };
    let ends = BEGIN + WRITTEN + rules.reach_ms() + 2 * HOUR;
    let setup = Setup {
        rules,
        groups: vec![GROUP.to_owned()],
        from_ms: BEGIN,
        until_ms: None,
        limits: Limits {
            chunk: ChunkLimits { rows: 4096, bytes: 1 << 20 },
            in_flight: 8,
            ready: 24,
            id_bytes: 64 << 20,
            quota_share: 0.8,
        },
        latency_ms: 300,
        delivery_ms: 500,
        lost_batches: 0.0,
        seed: 1,
    };
    let mut world = World::new(setup, service.clone(), BEGIN);
    world.run(ends);
    assert!(world.sent.values().all(|&times| times == 1), "the ledger hands each event on once");
    let delivered = world.sent.len();
    let middle = world.delays.len() / 2;
    let median = world.delays.select_nth_unstable(middle).1;
    (delivered, Some(*median as f64 / 1000.0))
}

// === impl Strategy ===

impl Strategy {
    fn name(self) -> String {
        match self {
            Self::Cursor => "cursor: last timestamp + 1 ms, every 60 s".to_owned(),
            Self::ShiftedWindow { latency_s } => format!("window shifted by {latency_s} s"),
            Self::Rescan { every_s } => format!("the last 30 min every {every_s} s"),
            Self::Ledger { sweeps_h: [] } => "slice ledger, no sweep".to_owned(),
            Self::Ledger { sweeps_h } => format!("slice ledger, swept at {sweeps_h:?} h"),
        }
    }
}
