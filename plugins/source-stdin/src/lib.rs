//! flowstone source of lines on standard input, until that ends.
//!
//! A pipe cannot be read again, so across a crash this source promises nothing. Within a process it does: a stretch
//! that was not delivered is given again, and what one topology has read and not delivered the next one (a reload)
//! begins with. Ids are of this process: the same lines piped in again are other records.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod feed;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flowstone_core::HandOver;
use flowstone_core::prelude::*;
use flowstone_lines::{Decoding, LineIds, LineOptions, Lines};

use crate::feed::{Feed, Input};

options! {
    /// Options of `stdin`.
    pub struct StdinOptions {
        /// What a line is: the event's `message`, or a JSON object that becomes the event's fields.
        decoding: Decoding = Decoding::Text,
        /// A longer line is rejected with its first and its last 64 KiB.
        max_line_bytes: ByteSize = ByteSize(1 << 20),
    }
}

const PARTITION: &str = "stdin";

struct Stdin {
    options: LineOptions,
    /// The process's standard input; a test brings another.
    input: Option<Input>,
    /// Set by `start`.
    reading: Option<Reading>,
    /// Where the stream, and what was read and not delivered, passes to the next topology.
    hand_over: HandOver,
}

struct Reading {
    feed: Feed,
    lines: Lines,
    ids: LineIds,
    /// Batches that were given out and not committed: their end in the stream, and their bytes.
    given: VecDeque<(u64, Bytes)>,
    /// The end of the last batch that was committed.
    committed: u64,
}

// === impl Stdin ===

impl Stdin {
    fn new(options: StdinOptions, input: Option<Input>) -> Result<Self, Vec<BuildError>> {
        let options =
            LineOptions::new(options.max_line_bytes, options.decoding).map_err(|error| vec![error])?;
        Ok(Self { options, input, reading: None, hand_over: HandOver::default() })
    }
}

/// Another seed in every process.
fn seed() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u128::from_be_bytes(RowId::of(format!("stdin {} {}", std::process::id(), now.as_nanos()).as_bytes()).0)
}

#[async_trait]
impl Source for Stdin {
    async fn start(&mut self, cx: &mut SourceCx) -> Result<(), SourceError> {
        if self.reading.is_some() {
            return Ok(());
        }
        self.hand_over = cx.hand_over.clone();
        let feed = self.hand_over.take().map_or_else(
            || Feed::new(self.input.take().unwrap_or_else(|| Box::new(std::io::stdin())), seed()),
            Ok,
        );
        let feed = feed.map_err(|error| {
            SourceError::fatal("start", format!("cannot start the thread that reads standard input: {error}"))
        })?;
        self.reading = Some(Reading::new(feed, self.options));
        Ok(())
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        let Some(reading) = &mut self.reading else {
            return Err(SourceError::fatal("start", "standard input was not opened"));
        };
        reading.next(cx).await
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        if let Some(reading) = &mut self.reading {
            for position in positions {
                reading.given.retain(|(end, _)| *end > position.value);
                reading.committed = position.value;
            }
        }
        Ok(())
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        if let Some(reading) = &mut self.reading {
            let options = self.options;
            reading.rewind(options, position.value);
        }
        Ok(())
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            claims: vec!["standard input".to_owned()],
            // What was given out is held until then.
            commit_interval: Duration::ZERO,
            ..SourceTraits::default()
        }
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.hand_over.give(reading.into_feed());
        }
    }
}

// === impl Reading ===

impl Reading {
    fn new(feed: Feed, options: LineOptions) -> Self {
        let (lines, ids) = (Lines::new(options, feed.offset), LineIds::new(feed.seed));
        Self { committed: feed.offset, feed, lines, ids, given: VecDeque::new() }
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        loop {
            // Whatever is here already shares a batch; one line alone does not wait for others.
            while self.lines.room(cx) > 0
                && let Some(chunk) = self.feed.ready()
            {
                self.push(&chunk);
            }
            let ends = self.feed.is_at_end();
            let ids = self.ids;
            if let Some(read) =
                self.lines.batch(cx, "standard input", ends, |offset, line| ids.id(offset, line))
            {
                let bytes = read.raw.len();
                let from = self.given.back().map_or(self.committed, |(end, _)| *end);
                self.given.push_back((read.end, read.raw));
                let position = Position { partition: PARTITION.into(), value: read.end };
                return Ok(Next::Batch(SourceBatch { batch: read.batch, from, position, bytes }));
            }
            if ends {
                return match self.feed.error.take() {
                    Some(error) => {
                        Err(SourceError::fatal("read", format!("cannot read standard input: {error}")))
                    }
                    None => Ok(Next::End),
                };
            }
            if let Some(chunk) = self.feed.wait().await {
                self.push(&chunk);
            }
        }
    }

    fn push(&mut self, chunk: &Bytes) {
        let filled = self.lines.fill(chunk.len(), |buffer| {
            buffer.extend_from_slice(chunk);
            Ok(())
        });
        debug_assert!(filled.is_ok(), "copying does not fail");
    }

    /// Begins again with the batch that ends at `end`.
    fn rewind(&mut self, options: LineOptions, end: u64) {
        let Some(at) = self.given.iter().position(|(given_end, _)| *given_end == end) else { return };
        let again: Vec<(u64, Bytes)> = self.given.drain(at..).collect();
        let start = end - again[0].1.len() as u64;
        let chunks = self.from(start, again);
        self.feed.put_back(chunks.into_iter());
        self.lines = Lines::new(options, start);
    }

    /// The stream for another topology: it begins with what this one did not deliver.
    fn into_feed(mut self) -> Feed {
        let given: Vec<(u64, Bytes)> = self.given.drain(..).collect();
        let start = given.first().map_or(self.lines.offset(), |(end, raw)| end - raw.len() as u64);
        let chunks = self.from(start, given);
        self.feed.offset = start;
        self.feed.put_back(chunks.into_iter());
        self.feed
    }

    /// The stream from `at` on: these batches, each with its end, and what was read and not given out. NULs stand for
    /// what was passed between them, so that each line begins where it did.
    fn from(&self, mut at: u64, given: Vec<(u64, Bytes)>) -> Vec<Bytes> {
        static NULS: [u8; 64 << 10] = [0; 64 << 10];
        let mut chunks = Vec::new();
        for (end, raw) in given.into_iter().chain([(self.lines.end(), self.lines.rest().clone())]) {
            let mut gap = (end - raw.len() as u64).saturating_sub(at);
            while gap > 0 {
                let part = gap.min(NULS.len() as u64);
                chunks.push(Bytes::from_static(&NULS[..part as usize]));
                gap -= part;
            }
            chunks.push(raw);
            at = end;
        }
        chunks
    }
}

register_source! {
    "stdin",
    summary: "reads lines on standard input until it ends",
    options: StdinOptions,
    example: "decoding = \"text\"",
    build: |options: StdinOptions, _cx: &BuildCx| Ok(Box::new(Stdin::new(options, None)?)),
}

#[cfg(test)]
mod tests;
