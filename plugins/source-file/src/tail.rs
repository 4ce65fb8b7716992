//! One file's content: bytes of its reader become batches, and checkpoints move from read to delivered.

mod checks;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use flowstone_core::event::{Column, Path as Field, Value};
use flowstone_core::{Position, SourceBatch, SourceCx};
use flowstone_lines::{LineIds, LineOptions, Lines};
use tokio::time::Instant;

use crate::calls::Late;
use crate::identity::{Checkpoint, FileId, Head};
use crate::listing::Stat;
use crate::proof::{Evidence, ProofStep};
use crate::reader::{Beginning, Outcome, Reader};
use crate::state::Record;
use crate::work::{Done, Opened, Opening, Stream, Work};

static PATH_FIELD: LazyLock<Field> = LazyLock::new(|| Field::new(["@metadata", "path"]));
static FORMAT_FIELD: LazyLock<Field> = LazyLock::new(|| Field::new(["@metadata", "flow_log_format"]));

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOptions {
    pub(crate) lines: LineOptions,
    /// Whether a first line may be a header.
    pub(crate) headers: bool,
    /// Whether files are read on when they grow.
    pub(crate) follow: bool,
    /// How long after its last growth a file that was rotated away is taken to be at its end.
    pub(crate) rotate_wait: Duration,
}

/// One file's content: its identity, how far it was read, how far it is delivered.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) id: FileId,
    /// The partition of its positions.
    pub(crate) key: Arc<str>,
    /// Where it was seen last.
    pub(crate) path: PathBuf,
    /// How it was seen last.
    pub(crate) stat: Stat,
    pub(crate) head: Head,
    pub(crate) gzip: bool,
    pub(crate) status: FileStatus,
    /// When it was there last, in milliseconds since the epoch.
    pub(crate) seen: i64,
    /// Out of the state, and not met by this process yet.
    pub(crate) remembered: bool,
    /// Waits for its turn to be read.
    pub(crate) queued: bool,
    ids: LineIds,
    start: u64,
    unterminated: Vec<u64>,
    committed: Checkpoint,
    /// Where reading stands.
    pub(crate) read: Checkpoint,
    /// The end of each batch that was emitted and is not committed.
    in_flight: VecDeque<Checkpoint>,
    /// The end of the last batch that was committed: `committed` may have passed NULs since.
    delivered: u64,
    header: Option<Arc<str>>,
    origin: String,
    pub(crate) stream: Stream,
    /// How the file was when reading came to its end; until it changes there is no more to read.
    ended_at: Option<Stat>,
    /// When it was last seen to have grown.
    pub(crate) grown: Instant,
    /// When it was seen under another name than before.
    rotated: Option<Instant>,
    /// When it was first not found.
    missing_since: Option<Instant>,
    /// Since when bytes of it are lost, until that is reported.
    pub(crate) lost_since: Option<Instant>,
    /// That was reported.
    pub(crate) lost: bool,
    /// On which device its folder is, where that is known.
    folder: Option<u64>,
    /// The compressed file, as it is, was given out to its end.
    complete: bool,
    /// At the last look it had just been written to.
    racy: bool,
    /// Reading failed the last time.
    pub(crate) broken: bool,
    /// Behind the last member of the compressed file there is something else.
    garbage: bool,
    /// That was reported.
    garbage_reported: bool,
}

/// Where the content of a [`Tail`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileStatus {
    /// In the file at its path.
    Present,
    /// Nowhere that `paths` shows: renamed out of sight or deleted. An open reader still has it.
    Gone,
    /// Overwritten: its inode holds something else.
    Replaced,
}

/// What one step of reading came to.
// One per step, moved once: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Step {
    Batch(SourceBatch),
    /// Nothing to hand out yet; go on.
    More,
    /// There is no more now.
    End,
    /// The file no longer holds what was read of it.
    Replaced,
    /// The file cannot be read now.
    Failed(io::Error),
    /// This is to be done first, by the thread that makes calls.
    Work(Work),
}

// === impl Tail ===

impl Tail {
    /// A new file that is read from `start`.
    pub(crate) fn new(
        id: FileId,
        path: &Path,
        beginning: &Beginning,
        start: u64,
        options: &ReadOptions,
        now: Instant,
    ) -> Self {
        let record = Record {
            id,
            path: path.to_owned(),
            stat: beginning.stat,
            head: beginning.head.clone(),
            start,
            committed: Checkpoint::start(start),
            unterminated: Vec::new(),
            gzip: beginning.gzip,
            complete: false,
            rotated: false,
            lost: false,
            seen: 0,
        };
        let mut tail = Self::from_record(record, now);
        tail.refresh(beginning, options);
        tail
    }

    /// A file out of the state. Where it is now is not known yet.
    pub(crate) fn from_record(record: Record, now: Instant) -> Self {
        Self {
            id: record.id,
            key: record.id.key(),
            origin: record.path.to_string_lossy().into_owned(),
            path: record.path,
            stat: record.stat,
            head: record.head,
            gzip: record.gzip,
            status: FileStatus::Gone,
            seen: record.seen,
            remembered: true,
            queued: false,
            ids: record.id.line_ids(),
            start: record.start,
            unterminated: record.unterminated,
            committed: record.committed,
            read: record.committed,
            in_flight: VecDeque::new(),
            delivered: record.committed.offset,
            header: None,
            stream: Stream::Closed,
            ended_at: record.complete.then_some(record.stat),
            grown: now,
            rotated: record.rotated.then_some(now),
            missing_since: None,
            lost_since: None,
            lost: record.lost,
            folder: None,
            complete: record.complete,
            racy: false,
            broken: false,
            garbage: false,
            garbage_reported: false,
        }
    }

    /// What the state keeps of it.
    pub(crate) fn record(&self) -> Record {
        Record {
            id: self.id,
            path: self.path.clone(),
            stat: self.stat,
            head: self.head.clone(),
            start: self.start,
            committed: self.committed,
            unterminated: self
                .unterminated
                .iter()
                .copied()
                .filter(|at| *at <= self.committed.offset)
                .collect(),
            gzip: self.gzip,
            complete: self.complete && self.committed.offset == self.read.offset,
            rotated: self.rotated.is_some(),
            lost: self.lost,
            seen: self.seen,
        }
    }

    // --- what is known of it

    /// What a file must begin with to be this one under another inode.
    pub(crate) fn evidence(&self) -> Evidence {
        Evidence {
            ids: self.ids,
            start: self.start,
            unterminated: self.unterminated.clone(),
            read: self.read,
        }
    }

    /// Whether so little is known that an unrelated file could begin with the same bytes. After a crash the head may
    /// say more than what is committed.
    pub(crate) fn has_little_evidence(&self) -> bool {
        (self.read.offset - self.start).max(self.head.len as u64) < 1024
    }

    /// Whether something that was given out is not committed.
    pub(crate) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether its file is open.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.stream, Stream::Closed)
    }

    /// Whether all that is there now was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Whether a call on it has not returned.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self.stream, Stream::Late(..))
    }

    /// Whether a step may bring something.
    pub(crate) fn wants_reading(&self, options: &ReadOptions, now: Instant) -> bool {
        if let Stream::Late(late, _) = &self.stream {
            return late.is_there();
        }
        let reachable = self.status == FileStatus::Present || self.is_open();
        let ended = match self.ended_at {
            Some(_) if !options.follow => true,
            Some(stat) => stat.size == self.stat.size && stat.modified == self.stat.modified,
            None => false,
        };
        let last_line = ended && self.is_over(options, now) && self.has_unfinished_line();
        reachable && (!ended || last_line)
    }

    /// Whether the file is taken to be at its end for good, so that a last line needs no newline.
    fn is_over(&self, options: &ReadOptions, now: Instant) -> bool {
        let quiet = |since: Instant| now.duration_since(since) >= options.rotate_wait;
        let left = self.missing_since.or(self.rotated);
        !options.follow || left.is_some_and(|left| quiet(left) && quiet(self.grown))
    }

    fn has_unfinished_line(&self) -> bool {
        match &self.stream {
            Stream::Open(_, lines) => lines.end() > lines.offset(),
            Stream::Closed if !self.gzip => self.read.offset < self.stat.size,
            _ => false,
        }
    }

    // --- reading

    /// Reads a little: at most one batch, at most some hundred kilobytes. What must be done with its file comes back as
    /// [`Step::Work`], and goes on with [`Tail::finish`].
    pub(crate) fn step(&mut self, cx: &SourceCx, options: &ReadOptions, now: Instant) -> Step {
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Closed => Step::Work(Work::Open(self.opening(options))),
            Stream::Seeking(proof) => Step::Work(Work::Seek(proof)),
            Stream::Open(reader, lines) => match lines.room(cx) {
                0 => self.emit(reader, lines, false, cx, options, now),
                room => {
                    let head = (lines.end() == 0).then(|| self.head.clone());
                    Step::Work(Work::Read { reader, lines, room, head })
                }
            },
            Stream::Failed(error, mut lines) => match self.batch(&mut lines, false, cx) {
                Some(batch) => {
                    self.stream = Stream::Failed(error, lines);
                    Step::Batch(batch)
                }
                None => self.fail(error),
            },
            Stream::Late(late, stale) => match late.take() {
                Some(_) if stale => Step::More,
                Some(done) => self.finish(done, cx, options, now),
                None => {
                    self.stream = Stream::Late(late, stale);
                    Step::End
                }
            },
        }
    }

    /// Goes on with what a call came to.
    pub(crate) fn finish(&mut self, done: Done, cx: &SourceCx, options: &ReadOptions, now: Instant) -> Step {
        match done {
            Done::Opened(Ok(Opened::Stream(stream))) => {
                self.stream = stream;
                Step::More
            }
            Done::Opened(Ok(Opened::Elsewhere)) => Step::End,
            Done::Opened(Ok(Opened::Replaced)) => Step::Replaced,
            Done::Sought(Ok(ProofStep::Inconclusive(proof))) => {
                self.stream = Stream::Seeking(proof);
                Step::More
            }
            Done::Sought(Ok(ProofStep::Proven(reader))) => {
                self.stream = Stream::Open(reader, Lines::new(options.lines, self.read.offset));
                Step::More
            }
            Done::Sought(Ok(ProofStep::Refuted)) => Step::Replaced,
            Done::Opened(Err(error)) | Done::Sought(Err(error)) => self.fail(error),
            Done::Read { reader, lines, outcome } => match outcome {
                Ok(Outcome::Bytes(count)) => self.emit(reader, lines, count == 0, cx, options, now),
                Ok(Outcome::Replaced) => {
                    // What was read of it and not given out is lost with the rest.
                    self.stream = Stream::Open(reader, lines);
                    Step::Replaced
                }
                Err(error) => {
                    self.stream = Stream::Failed(error, lines);
                    Step::More
                }
            },
            // The next look looks again.
            Done::Checked(stream, _) => {
                self.stream = stream;
                Step::More
            }
        }
    }

    /// Whether garbage behind the last gzip member was found and not reported yet.
    pub(crate) fn has_new_garbage(&mut self) -> bool {
        self.garbage && !std::mem::replace(&mut self.garbage_reported, true)
    }

    /// The call did not return in time: its result is taken when it is there.
    pub(crate) fn wait_for(&mut self, late: Late<Done>) {
        self.stream = Stream::Late(late, false);
    }

    fn opening(&self, options: &ReadOptions) -> Opening {
        Opening {
            path: self.path.clone(),
            stat: self.stat,
            head: self.head.clone(),
            gzip: self.gzip,
            evidence: self.evidence(),
            options: options.lines,
        }
    }

    fn emit(
        &mut self,
        reader: Reader,
        mut lines: Lines,
        at_end: bool,
        cx: &SourceCx,
        options: &ReadOptions,
        now: Instant,
    ) -> Step {
        let is_gzip = matches!(reader, Reader::Gzip(_));
        let ends = at_end && (is_gzip || self.is_over(options, now));
        let batch = self.batch(&mut lines, ends, cx);
        if batch.is_none()
            && at_end
            && lines.end() == lines.offset()
            && lines.end() > self.read.offset
            && let Reader::Plain(reader) = &reader
        {
            // Only NULs came, which are no line and need not be read again.
            self.read = reader.checkpoint_after(self.read);
        }
        self.garbage = reader.has_garbage();
        self.stream = Stream::Open(reader, lines);
        match batch {
            Some(batch) => Step::Batch(batch),
            None if !at_end => Step::More,
            None => {
                self.ended_at = Some(self.stat);
                self.complete = is_gzip;
                self.broken = false;
                Step::End
            }
        }
    }

    fn batch(&mut self, lines: &mut Lines, ends: bool, cx: &SourceCx) -> Option<SourceBatch> {
        let ids = self.ids;
        let is_first = self.read.offset == 0;
        let mut taken = lines.batch(cx, &self.origin, ends, |offset, line| ids.id(offset, line))?;
        let batch = &mut taken.batch;
        if is_first && self.header.is_some() && batch.is_live(0) {
            batch.discard(0, "header_line");
        }
        if ends && taken.raw.last() != Some(&b'\n') {
            self.unterminated.push(taken.end);
        }
        let mut columns = vec![(PATH_FIELD.clone(), Column::Const(Value::from(self.origin.as_str())))];
        if let Some(header) = &self.header {
            columns.push((FORMAT_FIELD.clone(), Column::Const(Value::Str(Arc::clone(header)))));
        }
        batch.put_columns(columns);
        let checkpoint = self.read.after(taken.end, (0..batch.len()).map(|row| batch.id(row)), &taken.raw);
        self.read = checkpoint;
        let from = self.in_flight.back().map_or(self.delivered, |before| before.offset);
        self.in_flight.push_back(checkpoint);
        let position = Position { partition: Arc::clone(&self.key), value: taken.end };
        Some(SourceBatch { batch: taken.batch, from, position, bytes: (taken.end - taken.start) as usize })
    }

    fn fail(&mut self, error: io::Error) -> Step {
        self.stream = Stream::Closed;
        // A compressed file that is cut short or damaged stays so until it changes.
        if self.gzip {
            self.ended_at = Some(self.stat);
        }
        self.broken = true;
        Step::Failed(error)
    }

    /// Closes the file if it was read to its end. What was given out and is not committed can be asked for again only
    /// as long as the file is at its place.
    pub(crate) fn close(&mut self) {
        if self.ended_at.is_some() && !self.is_late() {
            self.stream = Stream::Closed;
        }
    }

    /// Whether the file can be closed: it is at its end for good.
    pub(crate) fn is_finished(&self, options: &ReadOptions, now: Instant) -> bool {
        self.ended_at.is_some()
            && (self.complete
                || (self.status == FileStatus::Gone
                    && self.is_over(options, now)
                    && !self.has_unfinished_line()))
    }

    // --- delivery

    /// Everything up to `offset` is delivered. Never moves back.
    pub(crate) fn commit(&mut self, offset: u64) -> bool {
        let before = self.committed.offset;
        while let Some(checkpoint) =
            self.in_flight.front().copied().filter(|checkpoint| checkpoint.offset <= offset)
        {
            self.in_flight.pop_front();
            self.committed = checkpoint;
            self.delivered = checkpoint.offset;
        }
        if self.in_flight.is_empty() {
            // It may have passed NULs since.
            self.committed = self.read;
        }
        self.committed.offset > before
    }

    /// What ends at `offset`, and all after it, is to be given out again. The call that goes back in the open file, which
    /// is there even if its name is gone; [`Tail::finish`] takes what it comes to.
    pub(crate) fn rewind(&mut self, offset: u64, options: &ReadOptions) -> Option<Work> {
        let keep = self.in_flight.iter().take_while(|checkpoint| checkpoint.offset < offset).count();
        self.in_flight.truncate(keep);
        let to = self.in_flight.back().copied().unwrap_or(self.committed);
        self.read = to;
        self.unterminated.retain(|at| *at <= to.offset);
        self.ended_at = None;
        self.complete = false;
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Open(reader, _) => Some(Work::Reopen(reader, self.opening(options))),
            // It stands where reading stood before.
            Stream::Late(late, _) => {
                self.stream = Stream::Late(late, true);
                None
            }
            _ => None,
        }
    }
}
