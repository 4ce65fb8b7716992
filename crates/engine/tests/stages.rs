//! Components that panic or never return, call by call: the run names them and ends, without a signal and in time.

mod common;

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{Builder, Lines, Scripted};
use flowstone_core::event::Batch;
use flowstone_core::{
    Body, Next, Position, Request, Sink, SinkCx, SinkLimits, Source, SourceCx, SourceError, Transform,
    TransformCx, Verdict, Verdicts,
};
use flowstone_engine::{Outcome, RunOptions, run};
use tokio::sync::watch;

/// A call into a component. `rewind` is called only after a bug of the engine's; its case stands beside the intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Start,
    Next,
    Commit,
    Apply,
    Encode,
    Open,
    Send,
    Close,
    /// A task beside the source, and one beside the sink.
    SourceTask,
    SinkTask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Panics,
    /// Waits for ever.
    Hangs,
    /// Holds its thread for ever.
    Blocks,
}

/// Lets one call of one component go wrong.
#[derive(Clone)]
struct Fault {
    call: Call,
    wrong: Wrong,
    reached: Arc<AtomicBool>,
}

impl Fault {
    async fn at(&self, call: Call) {
        self.at_on_thread(call);
        if self.call == call && self.wrong == Wrong::Hangs {
            pending::<()>().await;
        }
    }

    async fn in_task(self, call: Call) {
        self.at(call).await;
    }

    fn at_on_thread(&self, call: Call) {
        if self.call != call {
            return;
        }
        self.reached.store(true, Ordering::SeqCst);
        match self.wrong {
            Wrong::Panics => panic!("a bug in {call:?}"),
            Wrong::Blocks => thread::sleep(Duration::from_secs(3600)),
            Wrong::Hangs => {}
        }
    }

    /// The component that makes this call.
    fn component(&self) -> &'static str {
        match self.call {
            Call::Start | Call::Next | Call::Commit | Call::SourceTask => "bad_source",
            Call::Apply => "bad_transform",
            Call::Encode | Call::Open | Call::Send | Call::Close | Call::SinkTask => "bad_sink",
        }
    }
}

struct FaultySource(Lines, Fault);

#[async_trait]
impl Source for FaultySource {
    async fn start(&mut self, cx: &mut SourceCx) -> Result<(), SourceError> {
        self.1.at(Call::Start).await;
        cx.spawn(self.1.clone().in_task(Call::SourceTask));
        self.0.start(cx).await
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        self.1.at(Call::Next).await;
        self.0.next(cx).await
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        self.1.at(Call::Commit).await;
        self.0.commit(positions).await
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        self.0.rewind(position).await
    }
}

struct FaultyTransform(Fault);

impl Transform for FaultyTransform {
    fn apply(&mut self, _batch: &mut Batch, _cx: &mut TransformCx<'_>) {
        self.0.at_on_thread(Call::Apply);
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Self(self.0.clone()))
    }
}

struct FaultySink(Scripted, Fault);

#[async_trait]
impl Sink for FaultySink {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        self.1.at_on_thread(Call::Encode);
        self.0.encode(batch, body);
    }

    async fn open(&self, cx: &SinkCx) -> Result<(), Verdict> {
        self.1.at(Call::Open).await;
        cx.spawn(self.1.clone().in_task(Call::SinkTask));
        self.0.open(cx).await
    }

    async fn send(&self, request: &Request) -> Verdicts {
        self.1.at(Call::Send).await;
        self.0.send(request).await
    }

    async fn close(&self) {
        self.1.at(Call::Close).await;
    }

    fn limits(&self) -> SinkLimits {
        self.0.limits()
    }
}

const LINES: u64 = 100;
/// Far longer than any of it takes on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(60);

/// Runs one case beside a source and a sink that are well. How it ended, how long after the stop, if one was needed, and
/// how many rows the healthy sink got.
fn run_case(call: Call, wrong: Wrong) -> (Outcome, Option<Duration>, usize) {
    let fault = Fault { call, wrong, reached: Arc::default() };
    let lines = || {
        let (mut lines, _) = Lines::new(LINES, 10);
        // A sink is closed when everything is delivered; all else happens while a source lives.
        lines.endless = call != Call::Close;
        lines
    };
    let healthy = Scripted::accepting();
    let taken = Arc::clone(&healthy.taken);
    let mut builder = Builder::new()
        .source("good_source", lines())
        .source("bad_source", FaultySource(lines(), fault.clone()))
        .transform("bad_transform", &["bad_source"], FaultyTransform(fault.clone()))
        .sink("bad_sink", &["bad_transform"], FaultySink(Scripted::accepting(), fault.clone()))
        .sink("good_sink", &["good_source", "bad_source"], healthy);
    builder.topology.settings.shutdown_timeout = Duration::from_millis(500);
    let (stop, stopped) = watch::channel(false);
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let options = RunOptions { signals: false, stop: Some(stopped), ..RunOptions::default() };
        ended.send(run(builder.topology, options)).ok();
    });
    let needs_stop = wrong != Wrong::Panics && call != Call::Close;
    let since = Instant::now();
    if needs_stop {
        while !fault.reached.load(Ordering::SeqCst) {
            assert!(since.elapsed() < LONG, "{call:?} was not called");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(
            end.recv_timeout(Duration::from_millis(300)).is_err(),
            "{call:?} {wrong:?}: nobody stopped it"
        );
        stop.send(true).unwrap();
    }
    let asked = Instant::now();
    let outcome = end.recv_timeout(LONG).unwrap_or_else(|_| panic!("{call:?} {wrong:?}: it does not end"));
    let rows = taken.lock().unwrap().len();
    (outcome, needs_stop.then(|| asked.elapsed()), rows)
}

/// All cases at once: most of them only wait.
fn each_case(cases: Vec<(Call, Wrong)>, check: fn(Call, Wrong, (Outcome, Option<Duration>, usize))) {
    let running: Vec<_> = cases
        .into_iter()
        .map(|(call, wrong)| thread::spawn(move || check(call, wrong, run_case(call, wrong))))
        .collect();
    let failed: Vec<_> = running.into_iter().filter_map(|case| case.join().err()).collect();
    assert!(failed.is_empty(), "{} cases failed, see above", failed.len());
}

const CALLS: [Call; 10] = [
    Call::Start,
    Call::Next,
    Call::Commit,
    Call::Apply,
    Call::Encode,
    Call::Open,
    Call::Send,
    Call::Close,
    Call::SourceTask,
    Call::SinkTask,
];

#[test]
fn a_component_that_panics_ends_the_run_with_its_name_while_others_live_and_floods_nobody() {
    let cases = CALLS.map(|call| (call, Wrong::Panics)).to_vec();
    each_case(cases, |call, wrong, (outcome, _, rows)| {
        let fault = Fault { call, wrong, reached: Arc::default() };
        assert!(
            matches!(&outcome, Outcome::Bug(id) if &*id.name == fault.component()),
            "{call:?}: {outcome:?}"
        );
        // Two sources, each line once, and perhaps once more.
        assert!(rows as u64 <= 3 * LINES, "{call:?}: {rows} rows in the healthy sink");
    });
}

#[test]
fn a_component_that_never_returns_holds_up_no_stop_beyond_its_time_out() {
    let mut cases: Vec<_> = CALLS.map(|call| (call, Wrong::Blocks)).to_vec();
    // What runs on a worker's thread has nothing to wait with.
    let waiting = CALLS.into_iter().filter(|call| !matches!(call, Call::Apply | Call::Encode));
    cases.extend(waiting.map(|call| (call, Wrong::Hangs)));
    each_case(cases, |call, wrong, (outcome, stopped_for, _)| {
        // A component from which nothing was read owes nothing, nor does one that only does not close. A task that waits is
        // ended with its component.
        let expected = match (call, wrong) {
            (Call::Start | Call::Next | Call::Close | Call::SourceTask | Call::SinkTask, Wrong::Hangs) => {
                Outcome::Finished
            }
            _ => Outcome::Undelivered,
        };
        assert_eq!(outcome, expected, "{call:?} {wrong:?}");
        // Half a second, and two for what does not answer; on a machine that is busy, some more.
        let stopped_for = stopped_for.unwrap_or_default();
        assert!(stopped_for < Duration::from_secs(20), "{call:?} {wrong:?}: {stopped_for:?}");
    });
}
