//! `flowstone backfill`: a stretch of the past, read once through the topology of the configuration.
//!
//! It has a data folder of its own, named by the stretch, so that it runs beside `flowstone run` and the same command
//! goes on where it was stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flowstone_config::Topology;
use flowstone_core::event::{format_iso_millis, parse_iso_millis};
use flowstone_core::prelude::*;
use flowstone_core::{Backfill, BackfillEstimate, BackfillProgress};
use flowstone_engine::{Outcome, RunOptions};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use crate::exit::Exit;
use crate::loading::{self, Configuration};
use crate::lock::DataDirLock;
use crate::run::exit_of;
use crate::{logging, output};

/// What is read.
pub(crate) struct Request {
    /// The first event time, in milliseconds since the epoch.
    pub(crate) from_ms: i64,
    /// The event time behind the last one.
    pub(crate) to_ms: i64,
    /// The source, where several could.
    pub(crate) source: Option<String>,
    /// Only say what it would take.
    pub(crate) dry_run: bool,
}

/// A bar is drawn in thousandths.
const BAR: u64 = 1000;
const DRAWN_EVERY: Duration = Duration::from_millis(250);
/// Where standard error is no terminal, a line of log says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// A time on the command line: RFC 3339, or a day, which begins at midnight UTC.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let day = format!("{text}T00:00:00Z");
    parse_iso_millis(text)
        .or_else(|| parse_iso_millis(&day))
        .ok_or_else(|| "expected a time such as 2026-05-30T12:00:00Z or a day such as 2026-05-30".to_owned())
}

/// Reads the stretch, or says what that takes.
pub(crate) fn run(configuration: &Configuration, request: &Request) -> Exit {
    let loaded = configuration.load();
    loading::tell(&loaded);
    let Some(mut topology) = loaded.topology else {
        return if loaded.panicked { Exit::Bug } else { Exit::Configuration };
    };
    if request.from_ms >= request.to_ms {
        output::complain("`--from` is not before `--to`");
        return Exit::Configuration;
    }
    let backfill = match choose(&mut topology, request) {
        Ok(backfill) => backfill,
        Err(problem) => {
            output::complain(&problem);
            return Exit::Configuration;
        }
    };
    if request.dry_run {
        return estimate(&*backfill);
    }
    let settings = &mut topology.settings;
    let name = |at_ms: i64| format_iso_millis(at_ms).replace([':', '.'], "");
    let folder = format!("backfill-{}-{}", name(request.from_ms), name(request.to_ms));
    settings.data_dir = settings.data_dir.join(folder);
    // The port belongs to `flowstone run`.
    settings.metrics_listen = None;
    let _lock = match DataDirLock::take(&settings.data_dir) {
        Ok(lock) => lock,
        Err(problem) => {
            output::complain(&problem);
            return Exit::Configuration;
        }
    };
    let began = Instant::now();
    let outcome = watched(&*backfill, || flowstone_engine::run(topology, RunOptions::default()));
    let progress = backfill.progress();
    let summary = format!(
        "{} events in {} with {} {}",
        HumanCount(progress.events),
        HumanDuration(began.elapsed()),
        HumanCount(progress.cost.0),
        progress.cost.1
    );
    match exit_of(outcome.clone()) {
        Exit::Done if progress.share < 1.0 => {
            output::complain(&format!(
                "stopped after {summary}: {:.1} % is read; the same command goes on from there",
                100.0 * progress.share
            ));
            Exit::Failed
        }
        Exit::Done => {
            output::complain(&format!("done: {summary}"));
            Exit::Done
        }
        exit => {
            if outcome == Outcome::Undelivered {
                output::complain("the same command goes on with what is not delivered");
            }
            exit
        }
    }
}

/// Puts the source that can read its past in its place, and ends that have nothing in place of all others.
fn choose(topology: &mut Topology, request: &Request) -> Result<Box<dyn Backfill>, String> {
    let named = |name: &str| request.source.as_deref().is_none_or(|source| source == name);
    if !topology.sources.iter().any(|node| named(&node.id.name)) {
        let names: Vec<&str> = topology.sources.iter().map(|node| &*node.id.name).collect();
        let asked = request.source.as_deref().unwrap_or_default();
        return Err(format!("there is no source `{asked}`; there are: {}", names.join(", ")));
    }
    let mut able: Vec<(Arc<str>, Box<dyn Backfill>)> = Vec::new();
    let mut unable = Vec::new();
    for node in &mut topology.sources {
        let backfill = if named(&node.id.name) {
            node.source.backfill(request.from_ms, request.to_ms)
        } else {
            Err(String::new())
        };
        match backfill {
            Ok(backfill) => able.push((Arc::clone(&node.id.name), backfill)),
            Err(why) => {
                if !why.is_empty() {
                    unable.push(format!("{}: {why}", node.id));
                }
                node.source = Box::new(Nothing);
            }
        }
    }
    if !able.is_empty() {
        for why in &unable {
            output::complain(&format!("left out: {why}"));
        }
    }
    match (able.pop(), able.is_empty()) {
        (Some((_, backfill)), true) => Ok(backfill),
        (None, _) => Err(format!("no source can be backfilled; {}", unable.join("; "))),
        (Some((last, _)), false) => {
            let names: BTreeSet<&str> = able.iter().map(|(name, _)| &**name).chain([&*last]).collect();
            let names: Vec<&str> = names.into_iter().collect();
            Err(format!(
                "several sources can be backfilled: choose one with `--source`: {}",
                names.join(", ")
            ))
        }
    }
}

fn estimate(backfill: &dyn Backfill) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("cannot start what requests need: {error}"));
            return Exit::Failed;
        }
    };
    match runtime.block_on(backfill.estimate()) {
        Ok(estimate) => output::print(&show(&estimate)),
        Err(problem) => {
            output::complain(&problem);
            Exit::Failed
        }
    }
}

fn show(estimate: &BackfillEstimate) -> String {
    let mut text = String::new();
    for (name, events) in &estimate.events {
        let events = match events {
            Ok(events) => format!("about {} events", HumanCount(*events)),
            Err(why) => format!("an unknown number of events ({why})"),
        };
        text.push_str(&format!("{name}: {events}\n"));
    }
    if estimate.events.is_empty() {
        text.push_str(&format!("no {} is found\n", estimate.noun));
    }
    let whole = estimate.events.iter().all(|(_, events)| events.is_ok());
    text.push_str(&format!(
        "{} {} {}, at least {}\n",
        if whole { "about" } else { "more than" },
        HumanCount(estimate.cost.0),
        estimate.cost.1,
        HumanDuration(estimate.at_least),
    ));
    text
}

/// Runs `work` under a progress bar, or with a line of log now and then where nobody looks.
fn watched<T>(backfill: &dyn Backfill, work: impl FnOnce() -> T) -> T {
    let bar = ProgressBar::new(BAR);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let visible = !bar.is_hidden();
    if visible {
        logging::draw_above(&bar);
    }
    let done = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| watch(backfill, &bar, visible, &done));
        let result = work();
        done.store(true, Ordering::Release);
        result
    });
    bar.finish_and_clear();
    result
}

fn watch(backfill: &dyn Backfill, bar: &ProgressBar, visible: bool, done: &AtomicBool) {
    let mut first: Option<(Instant, f64)> = None;
    let mut told = Instant::now();
    while !done.load(Ordering::Acquire) {
        std::thread::sleep(DRAWN_EVERY);
        let progress = backfill.progress();
        let part = part_of(&progress);
        // What an earlier run read says nothing of this one's rate.
        let (since, before) = *first.get_or_insert((Instant::now(), progress.share));
        let message = message(&progress, since.elapsed(), part, before);
        if visible {
            bar.set_position((part * BAR as f64) as u64);
            bar.set_message(flowstone_core::shown::fit_to_show(&message));
        } else if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            tracing::info!("backfill: {:.1} %, {message}", 100.0 * part);
        }
    }
}

/// How much is read: by events where their number is known and all of them are read in this run, else by time.
fn part_of(progress: &BackfillProgress) -> f64 {
    match progress.expected {
        Some(expected) if expected > 0 && progress.events > 0 => {
            // Never done before the time is: the metric counts by ingestion.
            (progress.events as f64 / expected as f64).max(progress.share * 0.5).min(0.999)
        }
        _ => progress.share,
    }
    .max(if progress.share >= 1.0 { 1.0 } else { 0.0 })
}

fn message(progress: &BackfillProgress, elapsed: Duration, part: f64, before: f64) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = progress.events as f64 / seconds;
    let events = match progress.expected {
        Some(expected) => format!("{} of {} events", HumanCount(progress.events), HumanCount(expected)),
        None => format!("{} events", HumanCount(progress.events)),
    };
    let gained = part - before;
    let left = if gained > 0.0 && part < 1.0 {
        let left = Duration::from_secs_f64((seconds * (1.0 - part) / gained).min(1e9));
        format!(", {} left", HumanDuration(left))
    } else {
        String::new()
    };
    format!("{events}, {}/s{left}", HumanCount(rate as u64))
}

/// In place of a source that is not read.
struct Nothing;

#[async_trait]
impl Source for Nothing {
    async fn next(&mut self, _cx: &mut SourceCx) -> Result<Next, SourceError> {
        Ok(Next::End)
    }

    async fn commit(&mut self, _positions: &[Position]) -> Result<(), SourceError> {
        Ok(())
    }

    async fn rewind(&mut self, _position: &Position) -> Result<(), SourceError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_days() {
        assert_eq!(parse_time("2026-05-30T12:00:00Z"), Ok(1_780_142_400_000));
        assert_eq!(parse_time("2026-05-30"), Ok(1_780_099_200_000));
        for wrong in ["yesterday", "2026-13-01", "-2h", ""] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_estimate_says_what_is_known_and_what_is_not() {
        let mut estimate = BackfillEstimate {
            events: vec![("1/eu-west-1//vpc/flow".to_owned(), Ok(1_234_567))],
            noun: "log group",
            cost: (160, "requests"),
            at_least: Duration::from_secs(20),
        };
        assert_eq!(
            show(&estimate),
            "1/eu-west-1//vpc/flow: about 1,234,567 events\nabout 160 requests, at least 20 seconds\n"
        );
        estimate.events.push(("1/eu-west-1/other".to_owned(), Err("nobody says it")));
        let text = show(&estimate);
        assert!(
            text.contains("other: an unknown number of events (nobody says it)\nmore than 160"),
            "{text}"
        );
        estimate.events.clear();
        assert!(show(&estimate).contains("no log group is found"));
    }

    #[test]
    fn the_part_that_is_read_goes_by_events_and_is_whole_only_at_the_end() {
        let progress =
            |events, expected, share| BackfillProgress { events, expected, share, cost: (1, "requests") };
        assert_eq!(part_of(&progress(50, Some(200), 0.1)), 0.25);
        assert_eq!(part_of(&progress(250, Some(200), 0.9)), 0.999);
        assert_eq!(part_of(&progress(10, None, 0.4)), 0.4);
        assert_eq!(part_of(&progress(190, Some(200), 1.0)), 1.0);
        let text = message(&progress(1000, Some(4000), 0.2), Duration::from_secs(10), 0.25, 0.0);
        assert_eq!(text, "1,000 of 4,000 events, 100/s, 30 seconds left");
    }
}
