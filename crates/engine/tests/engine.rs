//! The engine with fakes at both ends: retry, splitting, blocked destinations, dead letters, order, memory, drain.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Builder, Each, Lines, Scripted, assert_conserved, line_id};
use flowstone_core::event::RowId;
use flowstone_core::{Metrics, SinkLimits, Verdict};
use flowstone_engine::{Outcome, RunOptions, run};
use tokio::sync::watch;

fn run_it(builder: Builder) -> (Outcome, Metrics, tempfile::TempDir) {
    let metrics = Metrics::new();
    let options = RunOptions { metrics: metrics.clone(), signals: false, ..RunOptions::default() };
    let outcome = run(builder.topology, options);
    assert_conserved(&metrics);
    (outcome, metrics, builder.folder)
}

type Taken = Arc<Mutex<Vec<(RowId, String)>>>;

#[track_caller]
fn assert_each_once(taken: &Taken, lines: u64) {
    let taken = taken.lock().unwrap();
    let ids: BTreeSet<RowId> = taken.iter().map(|(id, _)| *id).collect();
    assert_eq!((taken.len() as u64, ids.len() as u64), (lines, lines), "every line exactly once");
    assert!((0..lines).all(|line| ids.contains(&line_id(line))));
}

#[test]
fn everything_arrives_and_is_committed() {
    let (lines, log) = Lines::new(10_000, 100);
    let sink = Scripted::accepting();
    let taken = Arc::clone(&sink.taken);
    let (outcome, metrics, _folder) = run_it(Builder::new().source("in", lines).sink("out", &["in"], sink));
    assert_eq!(outcome, Outcome::Finished);
    assert_each_once(&taken, 10_000);
    let log = log.lock().unwrap();
    assert_eq!(log.committed.last(), Some(&10_000));
    assert!(log.committed.is_sorted(), "a position never moves back");
    assert!(log.rewound.is_empty());
    assert_eq!(metrics.memory_used.get(), 0, "all memory is returned");
}

#[test]
fn only_rows_that_were_refused_are_sent_again() {
    let (lines, _) = Lines::new(100, 100);
    let mut first = true;
    let sink = Scripted::new(move |rows| {
        let refuse = std::mem::replace(&mut first, false);
        let busy = Verdict::busy("too_many_requests", "queue is full");
        (0..rows.len())
            .map(|row| if refuse && row % 10 == 0 { busy.clone() } else { Verdict::Delivered })
            .collect()
    });
    let (taken, requests) = (Arc::clone(&sink.taken), Arc::clone(&sink.requests));
    let (outcome, ..) = run_it(Builder::new().source("in", lines).sink("out", &["in"], sink));
    assert_eq!(outcome, Outcome::Finished);
    assert_each_once(&taken, 100);
    assert_eq!(*requests.lock().unwrap(), [100, 10]);
}

#[test]
fn a_request_that_is_too_large_is_halved_down_to_the_row_to_blame() {
    let (lines, _) = Lines::new(64, 64);
    let sink = Scripted::new(|rows| {
        let bad = rows.iter().any(|row| row.contains("line 37\""));
        vec![if bad { Verdict::split("request_refused", "no") } else { Verdict::Delivered }; rows.len()]
    });
    let dead = Scripted::accepting();
    let (taken, letters) = (Arc::clone(&sink.taken), Arc::clone(&dead.taken));
    let (outcome, metrics, _folder) = run_it(
        Builder::new().source("in", lines).sink("out", &["in"], sink).sink("dead", &["out.rejected"], dead),
    );
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(taken.lock().unwrap().len(), 63);
    let letters = letters.lock().unwrap();
    assert_eq!(letters.len(), 1);
    let (id, document) = &letters[0];
    assert_eq!(*id, line_id(37), "a rejected row keeps its id");
    for part in [
        r#""message":"line 37""#,
        r#""component":"out""#,
        r#""reason":"request_refused""#,
        r#""detail":"no""#,
    ] {
        assert!(document.contains(part), "{document}");
    }
    assert!(metrics.render().contains("component_rejected_events_total{component_id=\"out\""));
}

#[test]
fn a_blocked_destination_does_not_hold_up_the_others() {
    let (lines, log) = Lines::new(2_000, 100);
    let closed = Arc::new(AtomicUsize::new(3));
    let tries = Arc::clone(&closed);
    let sink = Scripted::new(move |rows| {
        let is_odd = |row: &String| {
            let text = row.split("line ").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            text.parse::<u64>().unwrap() % 2 == 1
        };
        let blocked = rows.iter().any(is_odd)
            && tries.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        rows.iter()
            .map(|row| {
                if blocked && is_odd(row) {
                    Verdict::blocked("index_closed", "closed", "open the index")
                } else {
                    Verdict::Delivered
                }
            })
            .collect()
    });
    let taken = Arc::clone(&sink.taken);
    let watching = Arc::clone(&taken);
    let started = Instant::now();
    let watcher = std::thread::spawn(move || {
        // All even rows arrive while the first odd ones still wait for their second try.
        while watching
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, row)| row.contains("0\"") || row.contains("2\""))
            .count()
            < 400
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        started.elapsed()
    });
    let mut builder = Builder::new().source("in", lines).sink("out", &["in"], sink);
    builder.topology.settings.shutdown_timeout = Duration::from_secs(60);
    let (outcome, ..) = run_it(builder);
    assert_eq!(outcome, Outcome::Finished);
    assert_each_once(&taken, 2_000);
    assert!(watcher.join().unwrap() < Duration::from_secs(1));
    assert_eq!(log.lock().unwrap().committed.last(), Some(&2_000));
    assert_eq!(closed.load(Ordering::SeqCst), 0);
}

#[test]
fn rows_that_are_blocked_for_too_long_become_dead_letters() {
    let (lines, _) = Lines::new(10, 10);
    let mut sink =
        Scripted::new(|rows| vec![Verdict::blocked("index_closed", "closed", "open it"); rows.len()]);
    sink.limits.blocked_for = Some(Duration::from_millis(300));
    let (outcome, _, folder) = run_it(Builder::new().source("in", lines).sink("out", &["in"], sink));
    assert_eq!(outcome, Outcome::Finished);
    let letters = fs::read_to_string(folder.path().join("rejected/out.ndjson")).unwrap();
    assert_eq!(letters.lines().count(), 10);
    assert!(letters.contains(r#""reason":"blocked_for""#));
}

#[test]
fn dead_letters_that_nobody_reads_are_kept_in_a_file() {
    let (lines, _) = Lines::new(100, 10);
    let transform = Each(|row| {
        if row.str("message").is_some_and(|text| text.ends_with('7')) {
            row.reject("seven", "expected anything but a seven");
        } else if row.str("message").is_some_and(|text| text.ends_with('8')) {
            row.discard("eight");
        }
    });
    let sink = Scripted::accepting();
    let taken = Arc::clone(&sink.taken);
    let (outcome, _, folder) = run_it(
        Builder::new().source("in", lines).transform("t", &["in"], transform).sink("out", &["t"], sink),
    );
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(taken.lock().unwrap().len(), 80);
    let letters = fs::read_to_string(folder.path().join("rejected/t.ndjson")).unwrap();
    assert_eq!(letters.lines().count(), 10);
    assert!(
        letters
            .lines()
            .all(|letter| letter.contains(r#""rejected":{"component":"t","type":"fake","reason":"seven""#))
    );
}

#[test]
fn an_ordered_sink_gets_a_sources_records_in_its_order() {
    let (lines, _) = Lines::new(5_000, 7);
    // Workers finish out of order: some batches take longer, and some have nothing left.
    let transform = Each(|row| {
        let number: u64 = row.str("message").and_then(|text| text[5..].parse().ok()).unwrap();
        if number.is_multiple_of(21) {
            std::thread::sleep(Duration::from_micros(200));
        }
        if (number / 7).is_multiple_of(5) {
            row.discard("some batches are empty");
        }
    });
    let mut sink = Scripted::accepting();
    sink.limits = SinkLimits { flush_interval: Duration::from_millis(1), ..SinkLimits::default() };
    let taken = Arc::clone(&sink.taken);
    let (outcome, ..) = run_it(Builder::new().source("in", lines).transform("t", &["in"], transform).sink(
        "out",
        &["t"],
        sink,
    ));
    assert_eq!(outcome, Outcome::Finished);
    let numbers: Vec<u64> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|(_, row)| row.split("line ").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
        .collect();
    // 143 of the 715 batches, of seven lines each, are empty.
    assert_eq!(numbers.len(), 5_000 - 143 * 7);
    assert!(numbers.is_sorted());
}

#[test]
fn two_ways_from_one_source_into_one_sink_bring_two_documents() {
    let (lines, _) = Lines::new(100, 10);
    let sink = Scripted::accepting();
    let taken = Arc::clone(&sink.taken);
    let (outcome, ..) = run_it(
        Builder::new()
            .source("in", lines)
            .transform("a", &["in"], Each(|_| ()))
            .transform("b", &["in"], Each(|_| ()))
            .sink("out", &["a", "b"], sink),
    );
    assert_eq!(outcome, Outcome::Finished);
    let taken = taken.lock().unwrap();
    let ids: BTreeSet<RowId> = taken.iter().map(|(id, _)| *id).collect();
    assert_eq!((taken.len(), ids.len()), (200, 200));
    assert!((0..100).all(|line| ids.contains(&line_id(line))), "the first way keeps the ids");
}

#[test]
fn reading_stops_when_the_memory_is_taken() {
    let (mut lines, log) = Lines::new(u64::MAX, 1000);
    lines.endless = true;
    let mut sink = Scripted::accepting();
    sink.delay = Duration::from_secs(600);
    let (stop, stopped) = watch::channel(false);
    let mut builder = Builder::new().source("in", lines).sink("out", &["in"], sink);
    builder.topology.settings.shutdown_timeout = Duration::from_millis(50);
    let metrics = Metrics::new();
    let options =
        RunOptions { metrics: metrics.clone(), signals: false, stop: Some(stopped), ..RunOptions::default() };
    let running = std::thread::spawn(move || (run(builder.topology, options), builder.folder));
    std::thread::sleep(Duration::from_millis(300));
    let read = log.lock().unwrap().read;
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(log.lock().unwrap().read, read, "nothing more is read");
    // 1 MiB, at some 40 bytes a line and four times that in flight, and what three workers hold.
    assert!((1000..40_000).contains(&read), "{read}");
    stop.send(true).unwrap();
    let (outcome, _folder) = running.join().unwrap();
    assert_eq!(outcome, Outcome::Undelivered);
    assert!(log.lock().unwrap().committed.is_empty(), "nothing was delivered, nothing is committed");
    assert_conserved(&metrics);
}

#[test]
fn a_stop_delivers_what_was_read_and_reads_no_more() {
    let (mut lines, log) = Lines::new(u64::MAX, 10);
    lines.endless = true;
    let mut sink = Scripted::accepting();
    sink.delay = Duration::from_millis(5);
    let taken = Arc::clone(&sink.taken);
    let (stop, stopped) = watch::channel(false);
    let mut builder = Builder::new().source("in", lines).sink("out", &["in"], sink);
    builder.topology.settings.shutdown_timeout = Duration::from_secs(30);
    let options = RunOptions { signals: false, stop: Some(stopped), ..RunOptions::default() };
    let running = std::thread::spawn(move || (run(builder.topology, options), builder.folder));
    while taken.lock().unwrap().len() < 100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    stop.send(true).unwrap();
    let (outcome, _folder) = running.join().unwrap();
    assert_eq!(outcome, Outcome::Finished);
    let read = log.lock().unwrap().read;
    assert_each_once(&taken, read);
    assert_eq!(log.lock().unwrap().committed.last(), Some(&read));
}

#[test]
fn a_panic_in_a_plugin_ends_the_run_with_its_name_and_commits_nothing_beyond_it() {
    let (lines, log) = Lines::new(1000, 10);
    let transform = Each(|row| assert_ne!(row.str("message"), Some("line 500"), "a bug"));
    let (outcome, ..) =
        run_it_unconserved(Builder::new().source("in", lines).transform("buggy", &["in"], transform).sink(
            "out",
            &["buggy"],
            Scripted::accepting(),
        ));
    assert!(matches!(&outcome, Outcome::Bug(id) if &*id.name == "buggy"), "{outcome:?}");
    assert!(log.lock().unwrap().committed.iter().all(|&position| position <= 500));
}

fn run_it_unconserved(builder: Builder) -> (Outcome, tempfile::TempDir) {
    (run(builder.topology, RunOptions { signals: false, ..RunOptions::default() }), builder.folder)
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let (mut lines, _) = Lines::new(u64::MAX, 10);
    lines.endless = true;
    let sink = Scripted::new(|rows| vec![Verdict::Closed; rows.len()]);
    let (outcome, ..) = run_it_unconserved(Builder::new().source("in", lines).sink("out", &["in"], sink));
    assert_eq!(outcome, Outcome::Finished);
}

#[test]
fn a_sink_that_cannot_be_opened_is_waited_for() {
    let (lines, _) = Lines::new(100, 10);
    let sink = Scripted::accepting();
    let (taken, open) = (Arc::clone(&sink.taken), Arc::clone(&sink.open));
    *open.lock().unwrap() = false;
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        *open.lock().unwrap() = true;
    });
    let (outcome, ..) = run_it(Builder::new().source("in", lines).sink("out", &["in"], sink));
    assert_eq!(outcome, Outcome::Finished);
    assert_each_once(&taken, 100);
}

#[test]
fn a_run_that_has_read_nothing_does_not_wait_for_a_server_that_is_away() {
    let never_open = || {
        let sink = Scripted::accepting();
        *sink.open.lock().unwrap() = false;
        sink
    };
    // At its end by itself.
    let (lines, _) = Lines::new(0, 10);
    let (outcome, ..) = run_it(Builder::new().source("in", lines).sink("out", &["in"], never_open()));
    assert_eq!(outcome, Outcome::Finished);

    // Stopped: at once, and not when the time for it is over.
    let (mut lines, _) = Lines::new(0, 10);
    lines.endless = true;
    let mut builder = Builder::new().source("in", lines).sink("out", &["in"], never_open());
    builder.topology.settings.shutdown_timeout = Duration::from_secs(600);
    let (stop, stopped) = watch::channel(false);
    let options = RunOptions { signals: false, stop: Some(stopped), ..RunOptions::default() };
    let running = std::thread::spawn(move || (run(builder.topology, options), builder.folder));
    std::thread::sleep(Duration::from_millis(50));
    stop.send(true).unwrap();
    assert_eq!(running.join().unwrap().0, Outcome::Finished);

    // With something read the run waits, and says in the end that it is still there to be read.
    let (lines, _) = Lines::new(5, 10);
    let builder = Builder::new().source("in", lines).sink("out", &["in"], never_open());
    let (stop, stopped) = watch::channel(false);
    let options = RunOptions { signals: false, stop: Some(stopped), ..RunOptions::default() };
    let running = std::thread::spawn(move || (run(builder.topology, options), builder.folder));
    std::thread::sleep(Duration::from_millis(50));
    stop.send(true).unwrap();
    assert_eq!(running.join().unwrap().0, Outcome::Undelivered);
}
