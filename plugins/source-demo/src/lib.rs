//! flowstone source of believable VPC Flow Log lines: a small VPC at work, and what the internet does to it.
//!
//! Record `n` is a function of the seed, the start and `n` alone, so that a stretch can be given again, and the same
//! seed and start give the same records with the same ids.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod vpc;

use std::collections::VecDeque;
use std::time::Duration;

use flowstone_core::event::{Page, StrRef, parse_iso_millis};
use flowstone_core::prelude::*;

use crate::vpc::Vpc;

options! {
    /// Options of `demo`.
    pub struct DemoOptions {
        /// Records per second; unset: as fast as they are taken.
        rate: Option<f64> = None,
        /// How many records; unset: without end.
        count: Option<u64> = None,
        /// Another seed makes another VPC.
        seed: u64 = 1,
        /// The time of the first record (RFC 3339, `2026-05-30T12:00:00Z`); unset: a minute before now, as flow logs
        /// arrive late.
        start: Option<String> = None,
    }
}

/// The one partition.
const PARTITION: &str = "demo";

/// Without a rate, event time advances by this much per record: 200 records a second, a modest VPC.
const STEP_MS: f64 = 5.0;

/// A batch at a rate is not made for fewer records than come in this time.
const TICK: Duration = Duration::from_millis(50);

struct Demo {
    options: DemoOptions,
    start_ms: Option<i64>,
    vpc: Vpc,
    next: u64,
    /// The wall clock when record `paced_from` was due.
    paced_since_ms: i64,
    paced_from: u64,
    /// What was given out and not committed: first record and the one behind the last.
    given: VecDeque<(u64, u64)>,
}

// === impl Demo ===

impl Demo {
    fn new(options: DemoOptions) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        if options.rate.is_some_and(|rate| rate <= 0.0) {
            errors.push(
                BuildError::option("rate", "a rate must be more than 0")
                    .label("expected records per second")
                    .help("leave `rate` out for as fast as they are taken"),
            );
        }
        let start_ms = options.start.as_deref().map(parse_iso_millis);
        if start_ms == Some(None) {
            errors.push(
                BuildError::option("start", "this is no time")
                    .label("expected RFC 3339, such as \"2026-05-30T12:00:00Z\""),
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let vpc = Vpc::new(options.seed);
        Ok(Self {
            start_ms: start_ms.flatten(),
            vpc,
            options,
            next: 0,
            paced_since_ms: 0,
            paced_from: 0,
            given: VecDeque::new(),
        })
    }

    /// How many records may be given now, or how long to wait.
    fn due(&self, now_ms: i64, at_most: u64) -> Result<u64, Duration> {
        let Some(rate) = self.options.rate else { return Ok(at_most) };
        let elapsed = (now_ms - self.paced_since_ms).max(0) as f64 / 1000.0;
        let due = self.paced_from + (elapsed * rate) as u64;
        match due.saturating_sub(self.next) {
            0 => {
                let next_ms = (self.next + 1 - self.paced_from) as f64 / rate * 1000.0;
                let wait = Duration::from_millis((next_ms - elapsed * 1000.0).max(1.0) as u64);
                Err(wait.max(TICK))
            }
            records => Ok(records.min(at_most)),
        }
    }

    fn batch(&mut self, records: u64, start_ms: i64, now_ms: i64) -> SourceBatch {
        let step_ms = self.options.rate.map_or(STEP_MS, |rate| 1000.0 / rate);
        let (mut text, mut places, mut ids) = (
            String::with_capacity(records as usize * 128),
            Vec::with_capacity(records as usize),
            Vec::with_capacity(records as usize),
        );
        for number in self.next..self.next + records {
            let offset = text.len();
            let at_ms = start_ms + (number as f64 * step_ms) as i64;
            self.vpc.write_record(number, at_ms / 1000, &mut text);
            places.push(StrRef { page: 0, offset: offset as u32, len: (text.len() - offset) as u32 });
            text.push('\n');
            ids.push(self.id(number, start_ms));
        }
        let from = self.next;
        self.next += records;
        self.given.push_back((from, self.next));
        let bytes = text.len();
        let batch = Batch::of_lines(Page::of_lines(text), places, ids, now_ms);
        let position = Position { partition: PARTITION.into(), value: self.next };
        SourceBatch { batch, from, position, bytes }
    }

    /// The start belongs to the id: records of another run are others, also with the same seed.
    fn id(&self, number: u64, start_ms: i64) -> RowId {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.options.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&start_ms.to_le_bytes());
        bytes[16..].copy_from_slice(&number.to_le_bytes());
        RowId::of(&bytes)
    }
}

#[async_trait]
impl Source for Demo {
    async fn start(&mut self, cx: &mut SourceCx) -> Result<(), SourceError> {
        self.paced_since_ms = cx.clock.now_ms();
        self.start_ms.get_or_insert(self.paced_since_ms - 60_000);
        Ok(())
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        let left = self.options.count.map_or(u64::MAX, |count| count.saturating_sub(self.next));
        if left == 0 {
            return Ok(Next::End);
        }
        let now_ms = cx.clock.now_ms();
        let fits = cx.max_rows.min((cx.max_bytes / 128).max(1)) as u64;
        match self.due(now_ms, left.min(fits)) {
            Ok(records) => {
                let start_ms = self.start_ms.unwrap_or(now_ms);
                Ok(Next::Batch(self.batch(records, start_ms, now_ms)))
            }
            Err(wait) => Ok(Next::Idle(wait)),
        }
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        for position in positions {
            self.given.retain(|(_, end)| *end > position.value);
        }
        Ok(())
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        if let Some(&(first, _)) = self.given.iter().find(|(_, end)| *end == position.value) {
            self.given.retain(|(start, _)| *start < first);
            self.next = first;
        }
        Ok(())
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits { rejects: false, ..SourceTraits::default() }
    }
}

register_source! {
    "demo",
    summary: "makes believable VPC Flow Log records (version 2): web, DNS, a database, brute force, a port scan",
    options: DemoOptions,
    example: "rate = 20\ncount = 100",
    build: |options: DemoOptions, _cx: &BuildCx| Ok(Box::new(Demo::new(options)?)),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flowstone_core::{Clock, ComponentId, Kind, StateDir};

    use super::*;

    fn cx(now_ms: i64) -> SourceCx {
        let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "demo" };
        SourceCx {
            max_rows: 1000,
            clock: Clock::Fixed(now_ms),
            ..SourceCx::alone(id, StateDir::new("unused".into()))
        }
    }

    fn demo(rate: Option<f64>, count: Option<u64>) -> Demo {
        let start = Some("2026-05-30T12:00:00Z".to_owned());
        Demo::new(DemoOptions { rate, count, seed: 7, start }).unwrap()
    }

    async fn all(demo: &mut Demo, cx: &mut SourceCx) -> Vec<(RowId, String)> {
        demo.start(cx).await.unwrap();
        let mut rows = Vec::new();
        while let Next::Batch(read) = demo.next(cx).await.unwrap() {
            for row in read.batch.live_rows() {
                let text = read.batch.row(row).str("message").unwrap().to_owned();
                rows.push((read.batch.id(row), text));
            }
        }
        rows
    }

    #[tokio::test]
    async fn the_same_seed_and_start_give_the_same_records_and_ids() {
        let first = all(&mut demo(None, Some(5000)), &mut cx(0)).await;
        let second = all(&mut demo(None, Some(5000)), &mut cx(99)).await;
        assert_eq!(first, second);
        assert_eq!(first.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>().len(), 5000);
    }

    #[tokio::test]
    async fn records_have_the_fourteen_fields_of_version_2_and_all_that_a_vpc_shows() {
        let rows = all(&mut demo(None, Some(20_000)), &mut cx(0)).await;
        let count = |is: &dyn Fn(&[&str]) -> bool| {
            rows.iter().filter(|(_, text)| is(&text.split(' ').collect::<Vec<_>>())).count()
        };
        assert_eq!(count(&|words| words.len() == 14 && words[0] == "2"), rows.len());
        assert_eq!(count(&|words| words[13] == "OK" && words.contains(&"-")), 0);
        let times = |words: &[&str]| {
            let (start, end): (i64, i64) = (words[10].parse().unwrap(), words[11].parse().unwrap());
            start <= end && end - start <= 600
        };
        assert_eq!(count(&times), rows.len());
        for (what, is) in [
            (
                "web",
                &(|words: &[&str]| words[6] == "443" && words[12] == "ACCEPT") as &dyn Fn(&[&str]) -> bool,
            ),
            ("DNS", &|words| words[6] == "53" && words[7] == "17"),
            ("SSH brute force", &|words| words[6] == "22"),
            ("rejects", &|words| words[12] == "REJECT"),
            ("NODATA", &|words| words[13] == "NODATA" && words[3] == "-"),
            ("IPv6", &|words| words[3].contains(':')),
            ("ICMP", &|words| words[7] == "1" && words[5] == "0"),
        ] {
            assert!(count(is) > 20, "{what}: {}", count(is));
        }
        assert!(count(&|words| words[13] == "SKIPDATA") > 0);
        let scanned: BTreeSet<&str> = rows
            .iter()
            .map(|(_, text)| text.split(' ').collect::<Vec<_>>())
            .filter(|words| words[12] == "REJECT" && words[8] == "1")
            .map(|words| words[6])
            .collect();
        assert!(scanned.len() > 200, "a port scan meets many ports, here {}", scanned.len());
    }

    #[tokio::test]
    async fn a_rate_is_kept() {
        let mut demo = demo(Some(100.0), None);
        let mut cx = cx(1_000_000);
        demo.start(&mut cx).await.unwrap();
        assert!(matches!(demo.next(&mut cx).await.unwrap(), Next::Idle(wait) if wait >= TICK));
        cx.clock = Clock::Fixed(1_000_500);
        let Next::Batch(read) = demo.next(&mut cx).await.unwrap() else { panic!("50 are due") };
        assert_eq!(read.batch.len(), 50);
        assert!(matches!(demo.next(&mut cx).await.unwrap(), Next::Idle(_)));
    }

    #[tokio::test]
    async fn a_stretch_is_given_again_with_the_same_ids() {
        let mut demo = demo(None, Some(3000));
        let mut cx = cx(0);
        demo.start(&mut cx).await.unwrap();
        let mut positions = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let Next::Batch(read) = demo.next(&mut cx).await.unwrap() else { panic!("records") };
            ids.push(read.batch.id(0));
            positions.push(read.position);
        }
        demo.commit(&positions[..1]).await.unwrap();
        demo.rewind(&positions[1]).await.unwrap();
        let Next::Batch(read) = demo.next(&mut cx).await.unwrap() else { panic!("records") };
        assert_eq!((read.batch.id(0), &read.position), (ids[1], &positions[1]));
        assert_eq!(read.from, positions[0].value);
    }

    #[test]
    fn mistakes_are_told_all_at_once() {
        let options = DemoOptions { rate: Some(0.0), count: None, seed: 1, start: Some("noon".to_owned()) };
        let errors = Demo::new(options).err().unwrap();
        assert_eq!(errors.iter().map(|error| error.option.as_str()).collect::<Vec<_>>(), ["rate", "start"]);
    }
}
