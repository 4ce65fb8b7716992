//! Rows that are refused while others are taken, through the whole engine: a year of closed indices, a red index, poison
//! rows, a server that is sick, and what waits over restarts.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{Builder, Lines, assert_conserved};
use flowstone_core::event::{Batch, EncodeOptions, RowId};
use flowstone_core::{Body, Metrics, Request, Sink, SinkLimits, Verdict, Verdicts};
use flowstone_engine::{Outcome, RunOptions, run};
use tokio::sync::watch;

/// A row as the store sees it: its destination and its line.
type Row = (String, u64);

type Answer = Box<dyn Fn(&[Row]) -> Verdicts + Send + Sync>;

/// A server with indices. It stores each row once; `answer` decides.
struct Store {
    limits: SinkLimits,
    key_of: fn(u64) -> String,
    padding: usize,
    answer: Answer,
    world: Arc<World>,
}

/// What is seen from outside, and stays over restarts.
#[derive(Default)]
struct World {
    stored: Mutex<BTreeMap<u64, RowId>>,
    requests: Mutex<Vec<Vec<Row>>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Store {
    fn new(
        world: &Arc<World>,
        key_of: fn(u64) -> String,
        answer: impl Fn(&[Row]) -> Verdicts + Send + Sync + 'static,
    ) -> Self {
        let limits = SinkLimits {
            flush_interval: Duration::from_millis(20),
            max_concurrency: 8,
            ordered: false,
            ..SinkLimits::default()
        };
        Self { limits, key_of, padding: 0, answer: Box::new(answer), world: Arc::clone(world) }
    }
}

fn line_of(document: &[u8]) -> u64 {
    let text = std::str::from_utf8(document).unwrap();
    text.split("line ").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

#[async_trait]
impl Sink for Store {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        body.json(EncodeOptions::default());
        for row in batch.live_rows() {
            let line: u64 = batch.row(row).str("message").unwrap()[5..].parse().unwrap();
            let key = body.key(&(self.key_of)(line));
            body.row(batch.id(row), key, |buffer| {
                buffer.resize(buffer.len() + self.padding, b' ');
                let start = buffer.len();
                batch.write_json(row, EncodeOptions::default(), buffer);
                start
            });
        }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        let world = &self.world;
        let now = world.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        world.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let rows: Vec<(RowId, Row)> = request
            .each_row()
            .map(|(segment, row)| {
                (segment.id(row), (segment.key(row).to_string(), line_of(segment.document(row))))
            })
            .collect();
        let seen: Vec<Row> = rows.iter().map(|(_, row)| row.clone()).collect();
        let mut verdicts = (self.answer)(&seen);
        let mut stored = world.stored.lock().unwrap();
        let mut store = |(id, (_, line)): &(RowId, Row), verdict: &mut Verdict| {
            if *verdict == Verdict::Delivered && stored.insert(*line, *id).is_some() {
                *verdict = Verdict::Duplicate;
            }
        };
        if let Verdicts::All(Verdict::Delivered) = verdicts {
            verdicts = Verdicts::Rows(vec![Verdict::Delivered; rows.len()]);
        }
        if let Verdicts::Rows(verdicts) = &mut verdicts {
            rows.iter().zip(verdicts).for_each(|(row, verdict)| store(row, verdict));
        }
        drop(stored);
        world.requests.lock().unwrap().push(seen);
        world.at_once.fetch_sub(1, Ordering::SeqCst);
        verdicts
    }

    fn limits(&self) -> SinkLimits {
        self.limits
    }
}

fn each(rows: &[Row], verdict: impl FnMut(&Row) -> Verdict) -> Verdicts {
    Verdicts::Rows(rows.iter().map(verdict).collect())
}

/// A run that is watched and stopped from outside.
struct Running {
    metrics: Metrics,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<Outcome>,
}

impl Running {
    fn start(builder: Builder) -> (Self, tempfile::TempDir) {
        let metrics = Metrics::new();
        let (stop, stopped) = watch::channel(false);
        let options = RunOptions {
            metrics: metrics.clone(),
            signals: false,
            stop: Some(stopped),
            ..RunOptions::default()
        };
        let Builder { topology, folder } = builder;
        let thread = std::thread::spawn(move || run(topology, options));
        (Self { metrics, stop, thread }, folder)
    }

    fn gauge(&self, name: &str) -> f64 {
        let families = self.metrics.registry().gather();
        let family = families.iter().find(|family| family.name() == format!("flowstone_{name}"));
        let of_sink = |metric: &&prometheus::proto::Metric| {
            metric.get_label().iter().any(|label| label.name() == "component_id" && label.value() == "out")
        };
        let metric = family.and_then(|family| family.get_metric().iter().find(of_sink));
        metric.map_or(0.0, |metric| metric.get_gauge().get_value())
    }

    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "expected within a minute: {what}");
            assert!(!self.thread.is_finished(), "the run ended before: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) -> (Outcome, Metrics) {
        self.stop.send(true).ok();
        (self.thread.join().unwrap(), self.metrics)
    }
}

fn endless(count: u64, per_batch: u64) -> Lines {
    let (mut lines, _) = Lines::new(count, per_batch);
    lines.endless = true;
    lines
}

fn letters(folder: &tempfile::TempDir) -> Vec<String> {
    let text = fs::read_to_string(folder.path().join("rejected/out.ndjson")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn index(line: u64) -> String {
    if line.is_multiple_of(50) {
        format!("flow-2001.{:03}", line / 50 % 365)
    } else {
        "flow-today".to_owned()
    }
}

fn closed(rows: &[Row]) -> Verdicts {
    each(rows, |(key, _)| match key.as_str() {
        "flow-today" => Verdict::Delivered,
        _ => Verdict::blocked("index_closed", "closed", "open the index"),
    })
}

#[test]
fn a_year_of_closed_indices_leaves_todays_records_alone_and_waits_over_a_restart() {
    const LINES: u64 = 400_000;
    let world = Arc::new(World::default());
    let build = |lines: Lines, store: Store| {
        let mut builder = Builder::new().source("in", lines).sink("out", &["in"], store);
        builder.topology.settings.memory = 12 << 20;
        builder.topology.settings.batch_bytes = 1 << 20;
        builder
    };
    let mut store = Store::new(&world, index, closed);
    store.padding = 400;
    let begun = Instant::now();
    let (running, folder) = Running::start(build(endless(LINES, 4096), store));
    let most = AtomicUsize::new(0);
    running.wait("all records of today are stored", |running| {
        most.fetch_max(running.gauge("sink_waiting_bytes") as usize, Ordering::Relaxed);
        world.stored.lock().unwrap().len() as u64 == LINES - LINES / 50
    });
    let took = begun.elapsed();
    running
        .wait("the others wait", |running| running.gauge("sink_waiting_events") as u64 >= LINES / 50 - 365);
    assert!(running.gauge("sink_spilled_events") > 0.0, "they are more than a quarter of the memory");
    // A quarter, and what a batch and a request bring at once.
    let most = most.into_inner();
    assert!(most < (3 << 20) + (1 << 20), "{most} bytes wait in memory");
    assert_eq!(world.most_at_once.load(Ordering::SeqCst).min(9), world.most_at_once.load(Ordering::SeqCst));
    let requests = world.requests.lock().unwrap().len();
    assert!(requests < 1000, "{requests} requests: 365 destinations are tried together");
    // A stop does not wait for indices that nobody opens: what waits is on disk.
    let stopped = Instant::now();
    let (outcome, metrics) = running.stop();
    assert_eq!(outcome, Outcome::Finished);
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
    assert_conserved(&metrics);
    eprintln!("{LINES} lines in {took:?}, {requests} requests, at most {most} bytes waiting");

    // Somebody opens the indices.
    let store = Store::new(&world, index, |rows| each(rows, |_| Verdict::Delivered));
    let mut builder = build(endless(0, 1), store);
    builder.topology.settings.data_dir = folder.path().to_owned();
    let (running, _new_folder) = Running::start(builder);
    running.wait("what waited is stored", |_| world.stored.lock().unwrap().len() as u64 == LINES);
    running.wait("nothing waits any more", |running| running.gauge("sink_waiting_events") == 0.0);
    let (outcome, metrics) = running.stop();
    assert_eq!(outcome, Outcome::Finished);
    assert_conserved(&metrics);
    assert!(letters(&folder).is_empty());
    let left = fs::metadata(folder.path().join("waiting/out.log")).unwrap().len();
    assert!(left < 100, "{left} bytes are left in the file");
}

#[test]
fn a_destination_that_is_busy_costs_the_others_neither_places_nor_concurrency() {
    let world = Arc::new(World::default());
    let healed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&healed);
    let store = Store::new(&world, index, move |rows| {
        each(rows, |(key, _)| match key.as_str() {
            "flow-2001.001" if !now.load(Ordering::SeqCst) => {
                Verdict::busy("unavailable", "no primary shard")
            }
            _ => Verdict::Delivered,
        })
    });
    let (running, folder) =
        Running::start(Builder::new().source("in", endless(20_000, 100)).sink("out", &["in"], store));
    running.wait("the others are stored", |_| world.stored.lock().unwrap().len() == 20_000 - 2);
    assert!(running.gauge("sink_concurrency_limit") >= 2.0);
    assert_eq!(running.gauge("sink_waiting_events"), 2.0 - running.gauge("sink_requests_in_flight"));
    healed.store(true, Ordering::SeqCst);
    running.wait("it heals", |_| world.stored.lock().unwrap().len() == 20_000);
    let (outcome, metrics) = running.stop();
    assert_eq!(outcome, Outcome::Finished);
    assert_conserved(&metrics);
    assert!(letters(&folder).is_empty());
}

/// Rows that fail by themselves, whichever way the server says so.
fn poison(whole: bool) {
    let world = Arc::new(World::default());
    let bad = |line: u64| line == 3 || line == 7777;
    let mut store = Store::new(
        &world,
        |_| "one".to_owned(),
        move |rows| {
            let failed = Verdict::failed("server_error", "null_pointer_exception");
            if whole && rows.iter().any(|(_, line)| bad(*line)) {
                return Verdicts::All(failed);
            }
            each(rows, |(_, line)| if bad(*line) { failed.clone() } else { Verdict::Delivered })
        },
    );
    store.limits.max_tries_alone = 3;
    let (lines, _) = Lines::new(10_000, 100);
    let (running, folder) = Running::start(Builder::new().source("in", lines).sink("out", &["in"], store));
    let (outcome, metrics) = (running.thread.join().unwrap(), running.metrics);
    assert_eq!(outcome, Outcome::Finished);
    assert_conserved(&metrics);
    assert_eq!(world.stored.lock().unwrap().len(), 10_000 - 2);
    let letters = letters(&folder);
    assert_eq!(letters.len(), 2, "{letters:?}");
    for letter in &letters {
        assert!(
            letter.contains(r#""message":"line 3""#) || letter.contains(r#""message":"line 7777""#),
            "{letter}"
        );
        assert!(
            letter.contains("null_pointer_exception; it failed 3 times while other rows were taken"),
            "{letter}"
        );
    }
    let requests = world.requests.lock().unwrap().len();
    assert!(requests < 300, "{requests} requests");
}

#[test]
fn a_row_that_fails_alone_is_rejected_and_the_others_go_on() {
    poison(false);
}

#[test]
fn a_row_that_makes_whole_requests_fail_is_found_and_rejected() {
    poison(true);
}

#[test]
fn a_server_that_fails_at_everything_is_waited_for_and_not_hammered() {
    let world = Arc::new(World::default());
    let (left, seen) = (AtomicUsize::new(6), Arc::clone(&world));
    let mut store = Store::new(
        &world,
        |_| "one".to_owned(),
        move |rows| {
            let sick =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if sick {
                Verdicts::All(Verdict::failed("server_error", "sick"))
            } else {
                each(rows, |_| Verdict::Delivered)
            }
        },
    );
    store.limits.max_tries_alone = 1;
    let (lines, _) = Lines::new(2_000, 100);
    let (running, folder) = Running::start(Builder::new().source("in", lines).sink("out", &["in"], store));
    assert_eq!(running.thread.join().unwrap(), Outcome::Finished);
    assert_eq!(seen.stored.lock().unwrap().len(), 2_000);
    assert!(letters(&folder).is_empty(), "nothing is rejected for a server's fault");
    let requests = seen.requests.lock().unwrap().len();
    assert!(requests < 60, "{requests} requests");
}

#[test]
fn a_wish_without_end_is_no_panic_and_a_stop_is_seen() {
    for verdict in [
        Verdict::Busy {
            reason: "too_many_requests".into(),
            detail: String::new(),
            after: Some(Duration::MAX),
        },
        Verdict::Failed { reason: "server_error".into(), detail: String::new(), after: Some(Duration::MAX) },
    ] {
        for whole in [true, false] {
            let world = Arc::new(World::default());
            let verdict = verdict.clone();
            let mut store = Store::new(&world, index, move |rows| match whole {
                true => Verdicts::All(verdict.clone()),
                false => each(rows, |_| verdict.clone()),
            });
            store.limits.flush_interval = Duration::MAX;
            store.limits.blocked_for = Some(Duration::MAX);
            store.limits.max_rows = 10;
            let (running, _folder) =
                Running::start(Builder::new().source("in", endless(100, 10)).sink("out", &["in"], store));
            running.wait("a request was refused", |_| !world.requests.lock().unwrap().is_empty());
            std::thread::sleep(Duration::from_millis(50));
            let (outcome, _) = running.stop();
            assert!(matches!(outcome, Outcome::Undelivered | Outcome::Finished), "{outcome:?}");
        }
    }
}

#[test]
fn with_the_spill_full_the_sink_stops_reading_and_goes_on_when_there_is_room() {
    let world = Arc::new(World::default());
    let opened = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&opened);
    let mut store = Store::new(
        &world,
        |_| "closed".to_owned(),
        move |rows| match now.load(Ordering::SeqCst) {
            true => each(rows, |_| Verdict::Delivered),
            false => each(rows, |_| Verdict::blocked("index_closed", "closed", "open it")),
        },
    );
    store.padding = 1000;
    let (mut lines, log) = Lines::new(10_000, 50);
    lines.endless = true;
    let mut builder = Builder::new().source("in", lines).sink("out", &["in"], store);
    builder.topology.settings.waiting_max = 1 << 20;
    let (running, folder) = Running::start(builder);
    let read = || log.lock().unwrap().read;
    running.wait("something is on disk", |running| running.gauge("sink_spilled_events") > 0.0);
    running.wait("reading stops", |_| {
        let before = read();
        std::thread::sleep(Duration::from_millis(300));
        read() == before
    });
    assert!((500..4000).contains(&read()), "{}", read());
    let length = fs::metadata(folder.path().join("waiting/out.log")).unwrap().len();
    assert!(length <= 1 << 20, "{length}");
    opened.store(true, Ordering::SeqCst);
    running.wait("all is stored", |_| world.stored.lock().unwrap().len() == 10_000);
    let (outcome, metrics) = running.stop();
    assert_eq!(outcome, Outcome::Finished);
    assert_conserved(&metrics);
}

#[test]
fn rows_whose_disk_is_away_wait_in_memory() {
    let world = Arc::new(World::default());
    let mut store = Store::new(&world, index, closed);
    store.padding = 4000;
    let builder = Builder::new().source("in", endless(20_000, 50)).sink("out", &["in"], store);
    // No folder can be made where a file is.
    fs::write(builder.folder.path().join("waiting"), "").unwrap();
    let (running, _folder) = Running::start(builder);
    running.wait("the share is full", |running| running.gauge("sink_waiting_bytes") > (1 << 18) as f64);
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.gauge("sink_waiting_bytes") < (3 << 18) as f64);
    assert_eq!(running.gauge("sink_spilled_events"), 0.0);
    let (outcome, _) = running.stop();
    assert_eq!(outcome, Outcome::Undelivered, "what waits in memory alone is read again");
}

/// Random verdicts for each destination and row, crashes, stops and restarts: in the end every row is stored or a dead
/// letter, never both, and what waits in memory stays within its share.
#[test]
fn every_row_ends_once_whatever_is_refused_and_whenever_the_run_ends() {
    const LINES: u64 = 600;
    for seed in 0..6_u64 {
        let world = Arc::new(World::default());
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let folder = tempfile::tempdir().unwrap();
        let mut from = 0;
        let mut letters = BTreeSet::new();
        for round in 0..5 {
            let last = round == 4;
            let dice = Arc::clone(&random);
            let answer = move |rows: &[Row]| {
                let mut random = dice.lock().unwrap();
                let whole = if last { 20 } else { random.u32(0..20) };
                match whole {
                    0 => return Verdicts::All(Verdict::busy("unavailable", "away")),
                    1 => return Verdicts::All(Verdict::failed("server_error", "sick")),
                    2 if rows.len() > 1 => return Verdicts::All(Verdict::split("too_large", "too large")),
                    _ => {}
                }
                let down: u32 = if last { 0 } else { random.u32(..) };
                each(rows, |(key, line)| {
                    let number: u32 = key[1..].parse().unwrap();
                    match (line % 97, random.u32(0..30)) {
                        (5, _) => Verdict::reject("mapper_parsing_exception", "a bad row"),
                        _ if down >> number & 1 == 1 && number < 6 => {
                            Verdict::blocked("closed", "closed", "open")
                        }
                        _ if down >> number & 1 == 1 && number < 12 => Verdict::busy("unavailable", "red"),
                        (_, 0) if !last => Verdict::busy("too_many_requests", "hot"),
                        (_, 1) if !last => Verdict::failed("server_error", "once"),
                        _ => Verdict::Delivered,
                    }
                })
            };
            let mut store = Store::new(&world, |line| format!("k{}", line % 16), answer);
            store.padding = 3000;
            let (mut lines, log) = Lines::new(LINES, 20);
            lines.next = from;
            lines.endless = !last;
            let mut builder = Builder::new().source("in", lines).sink("out", &["in"], store);
            builder.topology.settings.data_dir = folder.path().to_owned();
            builder.topology.settings.shutdown_timeout =
                Duration::from_millis(if round % 2 == 0 { 0 } else { 5000 });
            let (running, _unused) = Running::start(builder);
            if last {
                let begun = Instant::now();
                while !running.thread.is_finished() {
                    assert!(begun.elapsed() < Duration::from_secs(120), "seed {seed}: the last round ends");
                    std::thread::sleep(Duration::from_millis(20));
                }
                assert_eq!(running.thread.join().unwrap(), Outcome::Finished, "seed {seed}");
                assert_conserved(&running.metrics);
            } else {
                let until = Instant::now() + Duration::from_millis(random.lock().unwrap().u64(50..1200));
                let mut most = 0;
                while Instant::now() < until {
                    most = most.max(running.gauge("sink_waiting_bytes") as usize);
                    std::thread::sleep(Duration::from_millis(2));
                }
                // Its share, or what the requests in flight held when they were refused, at most all of the memory, with
                // an eighth for what rows take that are copied out one by one.
                assert!(most < (1 << 20) * 9 / 8, "seed {seed}: {most} bytes wait in memory");
                let (outcome, _) = running.stop();
                assert!(
                    matches!(outcome, Outcome::Finished | Outcome::Undelivered),
                    "seed {seed}: {outcome:?}"
                );
            }
            from = log.lock().unwrap().committed.last().copied().unwrap_or(from);
            let text = fs::read_to_string(folder.path().join("rejected/out.ndjson")).unwrap_or_default();
            letters.extend(text.lines().map(|letter| line_of(letter.as_bytes())));
        }
        let stored: BTreeSet<u64> = world.stored.lock().unwrap().keys().copied().collect();
        let missing: Vec<u64> =
            (0..LINES).filter(|line| !stored.contains(line) && !letters.contains(line)).collect();
        assert!(missing.is_empty(), "seed {seed}: lost {missing:?}");
        let both: Vec<&u64> = stored.intersection(&letters).collect();
        assert!(both.is_empty(), "seed {seed}: stored and rejected {both:?}");
        assert!(letters.iter().all(|line| line % 97 == 5), "seed {seed}: {letters:?}");
    }
}
