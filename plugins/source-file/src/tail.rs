//! One file's content as it is being read: from a reader to batches, and between what was read and what is delivered.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use flowstone_core::event::{Column, Path as Field, Value};
use flowstone_core::{LineIds, LineOptions, Lines, Position, SourceBatch, SourceCx};
use tokio::time::Instant;

use crate::identity::{FileId, Head, Mark, header_of};
use crate::listing::Stat;
use crate::proof::{Known, Proof, Verdict};
use crate::reader::{Beginning, Outcome, PlainReader, Reader};
use crate::state::Record;

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
    /// The compressed file, as it is, was given out to its end.
    complete: bool,
    /// At the last look it had just been written to.
    racy: bool,
    /// Reading failed the last time.
    pub(crate) broken: bool,
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

/// The open file.
#[derive(Debug)]
enum Stream {
    Closed,
    /// On the way to where reading goes on, in a file that can only be read from the front.
    Returning(Proof),
    Open(Reader, Lines),
    /// Reading failed; what was read before that is still to be given out.
    Failed(io::Error, Lines),
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
}

// === impl Tail ===

impl Tail {
    /// A new file that is read from `start`.
    pub(crate) fn new(id: FileId, path: &Path, beginning: &Beginning, start: u64, manner: &Manner) -> Self {
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
            seen: 0,
        };
        let mut tail = Self::from_record(record);
        tail.meet(beginning, manner);
        tail
    }

    /// A file out of the state. Where it is now is not known yet.
    pub(crate) fn from_record(record: Record) -> Self {
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
            header: None,
            stream: Stream::Closed,
            ended_at: record.complete.then_some(record.stat),
            grown: Instant::now(),
            rotated: record.rotated.then(Instant::now),
            missed: None,
            complete: record.complete,
            racy: false,
            broken: false,
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
            seen: self.seen,
        }
    }

    // --- looks

    /// The file was found and is what it was: takes note of how it is now.
    fn meet(&mut self, beginning: &Beginning, manner: &Manner) {
        if beginning.head.len > self.head.len || self.remembered {
            self.head = beginning.head.clone();
        }
        if manner.headers && self.header.is_none() {
            self.header = header_of(&beginning.bytes, beginning.whole || !manner.follow);
        }
        self.remembered = false;
        self.place = Place::Here;
        self.stat = beginning.stat;
    }

    /// The file was found at `path` with `stat`: checks that it still holds what was read of it, unless nothing
    /// changed. `false` if not; an error if that cannot be told now.
    pub(crate) fn look(
        &mut self,
        path: &Path,
        stat: Stat,
        manner: &Manner,
        now: Instant,
    ) -> io::Result<bool> {
        let back = self.place == Place::Gone;
        // A write that came right after the last look may have left the same time behind.
        let was_racy = std::mem::replace(&mut self.racy, true);
        if stat == self.stat && !self.remembered && !back && !was_racy {
            self.racy = is_racy(&stat);
            self.see_at(path, now);
            return Ok(true);
        }
        let intact = match &self.stream {
            Stream::Open(Reader::Plain(reader), _) if reader.stat()?.same_inode(&stat) => {
                let intact = reader.still_has(&self.head)?;
                if intact && self.head.len < crate::identity::HEAD_BYTES {
                    self.head = reader.beginning()?.head;
                }
                intact
            }
            _ => {
                let (beginning, file) = Beginning::of(path)?;
                if !beginning.stat.same_inode(&stat) {
                    // Rotated since the listing; the next look finds it under its new name.
                    return Err(io::ErrorKind::NotFound.into());
                }
                let same_kind = beginning.gzip == self.gzip;
                let reborn = stat.born.is_some() && self.stat.born.is_some() && stat.born != self.stat.born;
                let intact = same_kind
                    && self.head.begins(&beginning)
                    // A compressed file is proven when reading returns to where it was.
                    && (self.gzip || PlainReader::behind(file, &self.read)?.is_some())
                    && !(reborn && self.has_little_evidence());
                if intact {
                    let before = self.stat;
                    self.meet(&beginning, manner);
                    self.stat = before;
                }
                intact
            }
        };
        if intact {
            if stat.size != self.stat.size {
                self.grown = now;
            }
            self.complete &= stat.size == self.stat.size && stat.modified == self.stat.modified;
            self.see_at(path, now);
            self.place = Place::Here;
            self.missed = None;
            self.racy = is_racy(&stat);
            self.stat = stat;
        }
        Ok(intact)
    }

    /// The file was not found. `true` if it has just gone and something in it was never read.
    pub(crate) fn miss(&mut self, now: Instant) -> bool {
        let has_gone = self.place == Place::Here;
        if has_gone {
            self.place = Place::Gone;
            self.missed = Some(now);
        }
        // An open file can still be written to, or have been truncated before it went.
        if let Stream::Open(Reader::Plain(reader), _) = &self.stream
            && let Ok(stat) = reader.stat()
            && stat.size != self.stat.size
        {
            if matches!(reader.still_has(&self.head), Ok(false)) {
                self.replace();
                return false;
            }
            self.stat = stat;
            self.grown = now;
        }
        has_gone && !self.is_open() && self.ended_at.is_none()
    }

    /// The file was overwritten: what was not read of it is lost, unless a copy turns up.
    pub(crate) fn replace(&mut self) {
        self.place = Place::Replaced;
        self.stream = Stream::Closed;
    }

    /// The content was found, whole, in another file; `reader` stands behind `proven`.
    pub(crate) fn adopt(
        &mut self,
        path: &Path,
        beginning: &Beginning,
        proven: u64,
        reader: Reader,
        manner: &Manner,
        now: Instant,
    ) {
        self.move_to(path);
        self.rotated = Some(now);
        self.missed = None;
        self.grown = now;
        self.gzip = beginning.gzip;
        self.complete = false;
        self.ended_at = None;
        self.meet(beginning, manner);
        // A reader of the deleted original goes on to its end.
        if matches!(self.stream, Stream::Closed) && self.read.offset == proven {
            self.stream = Stream::Open(reader, Lines::new(manner.lines, proven));
        }
    }

    /// Everything in the file counts as read and delivered.
    pub(crate) fn take_as_read(&mut self, upto: Mark) {
        self.committed = upto;
        self.read = upto;
        self.complete = true;
        self.ended_at = Some(self.stat);
    }

    fn see_at(&mut self, path: &Path, now: Instant) {
        if self.path != path {
            self.move_to(path);
            self.rotated = Some(now);
        }
    }

    fn move_to(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
        self.origin = path.to_string_lossy().into_owned();
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

    /// When it was last seen to have grown.
    pub(crate) fn grown(&self) -> Instant {
        self.grown
    }

    /// Whether a step may bring something.
    pub(crate) fn wants_reading(&self, manner: &Manner, now: Instant) -> bool {
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

    /// Reads a little: at most one batch, at most some hundred kilobytes.
    pub(crate) fn step(&mut self, cx: &SourceCx, manner: &Manner, now: Instant) -> Step {
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Closed => self.open(manner),
            Stream::Returning(proof) => match proof.step() {
                Ok((Verdict::Open, Some(proof))) => {
                    self.stream = Stream::Returning(proof);
                    Step::More
                }
                Ok((Verdict::Proven(reader), _)) => {
                    self.stream = Stream::Open(reader, Lines::new(manner.lines, self.read.offset));
                    Step::More
                }
                Ok(_) => Step::Replaced,
                Err(error) => self.fail(error),
            },
            Stream::Open(reader, lines) => self.read_on(reader, lines, cx, manner, now),
            Stream::Failed(error, mut lines) => match self.batch(&mut lines, false, cx) {
                Some(batch) => {
                    self.stream = Stream::Failed(error, lines);
                    Step::Batch(batch)
                }
                None => self.fail(error),
            },
        }
    }

    fn open(&mut self, manner: &Manner) -> Step {
        let opened = Beginning::of(&self.path).and_then(|(beginning, file)| {
            if !beginning.stat.same_inode(&self.stat) {
                // Rotated since the last look; the next one will find it.
                return Ok(None);
            }
            if beginning.gzip != self.gzip || !self.head.begins(&beginning) {
                return Ok(Some(None));
            }
            self.stream_of(file, beginning.gzip, manner).map(Some)
        });
        match opened {
            Ok(Some(Some(stream))) => {
                self.stream = stream;
                Step::More
            }
            Ok(Some(None)) => Step::Replaced,
            Ok(None) => Step::End,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Step::End,
            Err(error) => self.fail(error),
        }
    }

    /// A stream that goes on where reading stands; `None` if the file does not hold what was read.
    fn stream_of(&self, file: File, gzip: bool, manner: &Manner) -> io::Result<Option<Stream>> {
        let lines = || Lines::new(manner.lines, self.read.offset);
        if self.read.offset == 0 {
            return Ok(Some(Stream::Open(Reader::from_start(file, gzip), lines())));
        }
        if gzip {
            return Ok(Some(Stream::Returning(Proof::new(file, true, self.known(), manner.lines))));
        }
        let reader = PlainReader::behind(file, &self.read)?;
        Ok(reader.map(|reader| Stream::Open(Reader::Plain(reader), lines())))
    }

    fn read_on(
        &mut self,
        mut reader: Reader,
        mut lines: Lines,
        cx: &SourceCx,
        manner: &Manner,
        now: Instant,
    ) -> Step {
        let room = lines.room(cx);
        let mut at_end = false;
        if room > 0 {
            let mut replaced = false;
            let is_first = lines.end() == 0;
            let filled = lines.fill(room, |buffer| {
                replaced = reader.read(buffer, room)? == Outcome::Replaced;
                // Where nothing was read before, only the head shows it.
                if is_first && let Reader::Plain(reader) = &reader {
                    replaced |= !reader.still_has(&self.head)?;
                }
                Ok(())
            });
            match filled {
                _ if replaced => return Step::Replaced,
                Ok(count) => at_end = count == 0,
                Err(error) => {
                    self.stream = Stream::Failed(error, lines);
                    return Step::More;
                }
            }
        }
        let is_gzip = matches!(reader, Reader::Gzip(_));
        let ends = at_end && (is_gzip || self.is_over(manner, now));
        let batch = self.batch(&mut lines, ends, cx);
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
        let mut taken = lines.batch(cx, &self.origin, ends, |offset, line| ids.id(offset, line))?;
        let batch = &mut taken.batch;
        if taken.start == 0 && self.header.is_some() && batch.is_live(0) {
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
        self.given.push_back(mark);
        let position = Position { partition: Arc::clone(&self.key), value: taken.end };
        Some(SourceBatch { batch: taken.batch, position, bytes: (taken.end - taken.start) as usize })
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
        if self.ended_at.is_some() {
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
        }
        self.committed.offset > before
    }

    /// What ends at `offset`, and all after it, is to be given out again. `false` if the content is nowhere any more.
    pub(crate) fn rewind(&mut self, offset: u64, manner: &Manner) -> bool {
        let keep = self.given.iter().take_while(|mark| mark.offset < offset).count();
        self.given.truncate(keep);
        let to = self.given.back().copied().unwrap_or(self.committed);
        self.read = to;
        self.torn.retain(|torn| *torn <= to.offset);
        self.ended_at = None;
        self.complete = false;
        let stream = std::mem::replace(&mut self.stream, Stream::Closed);
        match stream {
            Stream::Open(reader, _) => {
                // By the open file, which is there even if its name is gone.
                let is_gzip = matches!(reader, Reader::Gzip(_));
                match reader.into_file().and_then(|file| self.stream_of(file, is_gzip, manner)) {
                    Ok(Some(stream)) => {
                        self.stream = stream;
                        true
                    }
                    _ => self.place == Place::Here,
                }
            }
            _ => self.place == Place::Here,
        }
    }
}

/// Whether the file was written to so recently that another write could leave the same time behind: the clock of a
/// file system is coarse, some milliseconds.
fn is_racy(stat: &Stat) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    now.saturating_sub(stat.modified) < Duration::from_secs(2).as_nanos() as i64
}
