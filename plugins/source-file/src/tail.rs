//! One file's content as it is being read: from a reader to batches, and between what was read and what is delivered.

mod looks;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use flowstone_core::event::{Column, Path as Field, Value};
use flowstone_core::{LineIds, LineOptions, Lines, Position, SourceBatch, SourceCx};
use tokio::time::Instant;

use crate::hands::Late;
use crate::identity::{FileId, Head, Mark};
use crate::listing::Stat;
use crate::proof::{Known, Verdict};
use crate::reader::{Beginning, Outcome, Reader};
use crate::state::Record;
use crate::work::{Done, Opened, Opening, Stream, Work};

static PATH_FIELD: LazyLock<Field> = LazyLock::new(|| Field::new(["@metadata", "path"]));
static FORMAT_FIELD: LazyLock<Field> = LazyLock::new(|| Field::new(["@metadata", "flow_log_format"]));

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
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
    pub(crate) place: Place,
    /// When it was there last, in milliseconds since the epoch.
    pub(crate) seen: i64,
    /// Out of the state, and not met by this process yet.
    pub(crate) remembered: bool,
    /// Waits for its turn to be read.
    pub(crate) queued: bool,
    ids: LineIds,
    start: u64,
    torn: Vec<u64>,
    committed: Mark,
    read: Mark,
    /// Behind each batch that was given out and is not committed.
    given: VecDeque<Mark>,
    /// The end of the last batch that was committed: `committed` may have passed NULs since.
    delivered: u64,
    header: Option<Arc<str>>,
    origin: String,
    stream: Stream,
    /// How the file was when reading came to its end; until it changes there is no more to read.
    ended_at: Option<Stat>,
    /// When it was last seen to have grown.
    grown: Instant,
    /// When it was seen under another name than before.
    rotated: Option<Instant>,
    /// Since when it is not found.
    missed: Option<Instant>,
    /// Since when what was not read of it can no longer be read.
    unread: Option<Instant>,
    /// That was said.
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
    /// That was said.
    told_garbage: bool,
}

/// Where the content of a [`Tail`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the file at its path.
    Here,
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
        manner: &Manner,
        now: Instant,
    ) -> Self {
        let record = Record {
            id,
            path: path.to_owned(),
            stat: beginning.stat,
            head: beginning.head.clone(),
            start,
            committed: Mark::start(start),
            torn: Vec::new(),
            gzip: beginning.gzip,
            complete: false,
            rotated: false,
            lost: false,
            seen: 0,
        };
        let mut tail = Self::from_record(record, now);
        tail.meet(beginning, manner);
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
            place: Place::Gone,
            seen: record.seen,
            remembered: true,
            queued: false,
            ids: record.id.line_ids(),
            start: record.start,
            torn: record.torn,
            committed: record.committed,
            read: record.committed,
            given: VecDeque::new(),
            delivered: record.committed.offset,
            header: None,
            stream: Stream::Closed,
            ended_at: record.complete.then_some(record.stat),
            grown: now,
            rotated: record.rotated.then_some(now),
            missed: None,
            unread: None,
            lost: record.lost,
            folder: None,
            complete: record.complete,
            racy: false,
            broken: false,
            garbage: false,
            told_garbage: false,
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
            torn: self.torn.iter().copied().filter(|torn| *torn <= self.committed.offset).collect(),
            gzip: self.gzip,
            complete: self.complete && self.committed.offset == self.read.offset,
            rotated: self.rotated.is_some(),
            lost: self.lost,
            seen: self.seen,
        }
    }

    // --- what is known of it

    /// What a file must begin with to be this one under another inode.
    pub(crate) fn known(&self) -> Known {
        Known { ids: self.ids, start: self.start, torn: self.torn.clone(), read: self.read }
    }

    /// Where reading stands.
    pub(crate) fn read(&self) -> Mark {
        self.read
    }

    /// Whether so little is known that an unrelated file could begin with the same bytes. After a crash the head may
    /// say more than what is committed.
    pub(crate) fn has_little_evidence(&self) -> bool {
        (self.read.offset - self.start).max(self.head.len as u64) < 1024
    }

    /// Whether something that was given out is not committed.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.given.is_empty()
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

    /// When it was last seen to have grown.
    pub(crate) fn grown(&self) -> Instant {
        self.grown
    }

    /// Whether a step may bring something.
    pub(crate) fn wants_reading(&self, manner: &Manner, now: Instant) -> bool {
        if let Stream::Late(late, _) = &self.stream {
            return late.is_there();
        }
        let reachable = self.place == Place::Here || self.is_open();
        let ended = match self.ended_at {
            Some(_) if !manner.follow => true,
            Some(stat) => stat.size == self.stat.size && stat.modified == self.stat.modified,
            None => false,
        };
        let last_line = ended && self.is_over(manner, now) && self.has_unfinished_line();
        reachable && (!ended || last_line)
    }

    /// Whether the file is taken to be at its end for good, so that a last line needs no newline.
    fn is_over(&self, manner: &Manner, now: Instant) -> bool {
        let quiet = |since: Instant| now.duration_since(since) >= manner.rotate_wait;
        let left = self.missed.or(self.rotated);
        !manner.follow || left.is_some_and(|left| quiet(left) && quiet(self.grown))
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
    pub(crate) fn step(&mut self, cx: &SourceCx, manner: &Manner, now: Instant) -> Step {
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Closed => Step::Work(Work::Open(self.opening(manner))),
            Stream::Returning(proof) => Step::Work(Work::Return(proof)),
            Stream::Open(reader, lines) => match lines.room(cx) {
                0 => self.give_out(reader, lines, false, cx, manner, now),
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
                Some(done) => self.finish(done, cx, manner, now),
                None => {
                    self.stream = Stream::Late(late, stale);
                    Step::End
                }
            },
        }
    }

    /// Goes on with what a call came to.
    pub(crate) fn finish(&mut self, done: Done, cx: &SourceCx, manner: &Manner, now: Instant) -> Step {
        match done {
            Done::Opened(Ok(Opened::Stream(stream))) => {
                self.stream = stream;
                Step::More
            }
            Done::Opened(Ok(Opened::Elsewhere)) => Step::End,
            Done::Opened(Ok(Opened::Replaced)) => Step::Replaced,
            Done::Returned(Ok((Verdict::Open, Some(proof)))) => {
                self.stream = Stream::Returning(proof);
                Step::More
            }
            Done::Returned(Ok((Verdict::Proven(reader), _))) => {
                self.stream = Stream::Open(reader, Lines::new(manner.lines, self.read.offset));
                Step::More
            }
            Done::Returned(Ok(_)) => Step::Replaced,
            Done::Opened(Err(error)) | Done::Returned(Err(error)) => self.fail(error),
            Done::Read { reader, lines, outcome } => match outcome {
                Ok(Outcome::Bytes(count)) => self.give_out(reader, lines, count == 0, cx, manner, now),
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
            Done::Looked(stream, _) => {
                self.stream = stream;
                Step::More
            }
        }
    }

    /// A call gives back what it was given.
    pub(crate) fn put_back(&mut self, stream: Stream) {
        self.stream = stream;
    }

    /// Whether something that is no gzip was found behind the last member, and nobody was told yet.
    pub(crate) fn has_new_garbage(&mut self) -> bool {
        self.garbage && !std::mem::replace(&mut self.told_garbage, true)
    }

    /// The call did not return in time: its result is taken when it is there.
    pub(crate) fn wait_for(&mut self, late: Late<Done>) {
        self.stream = Stream::Late(late, false);
    }

    fn opening(&self, manner: &Manner) -> Opening {
        Opening {
            path: self.path.clone(),
            stat: self.stat,
            head: self.head.clone(),
            gzip: self.gzip,
            known: self.known(),
            options: manner.lines,
        }
    }

    fn give_out(
        &mut self,
        reader: Reader,
        mut lines: Lines,
        at_end: bool,
        cx: &SourceCx,
        manner: &Manner,
        now: Instant,
    ) -> Step {
        let is_gzip = matches!(reader, Reader::Gzip(_));
        let ends = at_end && (is_gzip || self.is_over(manner, now));
        let batch = self.batch(&mut lines, ends, cx);
        if batch.is_none()
            && at_end
            && lines.end() == lines.offset()
            && lines.end() > self.read.offset
            && let Reader::Plain(reader) = &reader
        {
            // Only NULs came, which are no line and need not be read again.
            self.read = reader.mark_after(self.read);
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
            self.torn.push(taken.end);
        }
        let mut columns = vec![(PATH_FIELD.clone(), Column::Const(Value::from(self.origin.as_str())))];
        if let Some(header) = &self.header {
            columns.push((FORMAT_FIELD.clone(), Column::Const(Value::Str(Arc::clone(header)))));
        }
        batch.put_columns(columns);
        let mark = self.read.after(taken.end, (0..batch.len()).map(|row| batch.id(row)), &taken.raw);
        self.read = mark;
        let from = self.given.back().map_or(self.delivered, |before| before.offset);
        self.given.push_back(mark);
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
    pub(crate) fn is_finished(&self, manner: &Manner, now: Instant) -> bool {
        self.ended_at.is_some()
            && (self.complete
                || (self.place == Place::Gone && self.is_over(manner, now) && !self.has_unfinished_line()))
    }

    // --- delivery

    /// Everything up to `offset` is delivered. Never moves back.
    pub(crate) fn commit(&mut self, offset: u64) -> bool {
        let before = self.committed.offset;
        while let Some(mark) = self.given.front().copied().filter(|mark| mark.offset <= offset) {
            self.given.pop_front();
            self.committed = mark;
            self.delivered = mark.offset;
        }
        if self.given.is_empty() {
            // It may have passed NULs since.
            self.committed = self.read;
        }
        self.committed.offset > before
    }

    /// What ends at `offset`, and all after it, is to be given out again. The call that goes back in the open file, which
    /// is there even if its name is gone; [`Tail::finish`] takes what it comes to.
    pub(crate) fn rewind(&mut self, offset: u64, manner: &Manner) -> Option<Work> {
        let keep = self.given.iter().take_while(|mark| mark.offset < offset).count();
        self.given.truncate(keep);
        let to = self.given.back().copied().unwrap_or(self.committed);
        self.read = to;
        self.torn.retain(|torn| *torn <= to.offset);
        self.ended_at = None;
        self.complete = false;
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Open(reader, _) => Some(Work::Reopen(reader, self.opening(manner))),
            // It stands where reading stood before.
            Stream::Late(late, _) => {
                self.stream = Stream::Late(late, true);
                None
            }
            _ => None,
        }
    }
}
