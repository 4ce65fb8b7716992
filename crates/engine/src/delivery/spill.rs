//! Rows that wait on disk: appended and synced, and from then on acknowledged; found again at the next start. What is
//! taken by its destination is marked, and the file shrinks when most of it is.
#![expect(clippy::disallowed_methods, reason = "the spill's calls run within `blocking`")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flowstone_core::{
    Ack, AckOutcome, AppendFile, Segment, blocking, make_private_dir, open_private, sync_dir,
};
use tokio::sync::Notify;
use tracing::{error, warn};

use super::blocks::{MARK, TAKEN, frame, is_whole, newest, next_block, units_of, whole_block};
use super::units::{Unit, count};
use crate::budget::Budget;

/// The first line of the file, followed by the sink's type.
const VERSION: &str = "flowstone waiting rows, version 1, for ";

/// The file is written anew when more than half of it, and more than this, is taken.
const WORTH_REWRITING: u64 = 1 << 20;

/// The rows of one sink that wait on disk.
#[derive(Clone)]
pub(crate) struct Spill(Arc<Shared>);

struct Shared {
    path: PathBuf,
    made_for: &'static str,
    max: u64,
    log: Mutex<Option<Log>>,
    /// Blocks whose rows are gone from memory, settled or not.
    returned: Mutex<Vec<Returned>>,
    has_returned: Notify,
}

/// Some rows of one destination on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Later blocks have higher numbers.
    pub(crate) id: u64,
    pub(crate) rows: u32,
    pub(crate) bytes: u32,
    /// Since when the row waits that came last.
    pub(crate) since: i64,
}

/// A destination, and a block or some rows of it.
pub(crate) type BlockOf = (Arc<str>, Block);
pub(crate) type UnitsOf = (Arc<str>, Vec<Unit>);

/// A block whose rows are gone from memory.
pub(crate) struct Returned {
    pub(crate) key: Arc<str>,
    pub(crate) block: Block,
    /// Whether they were taken, rejected, or written anew.
    pub(crate) settled: bool,
}

/// Why rows cannot be put on disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// `waiting_max` is reached.
    Full(u64),
    /// What the system said.
    Failed(String),
}

/// The open file.
struct Log {
    append: AppendFile,
    /// The same file, for what `O_APPEND` cannot do; holds the lock.
    file: File,
    /// Where the first block begins.
    begin: u64,
    /// Where each block is that is not taken, and how long.
    places: BTreeMap<u64, (u64, u64)>,
    next_id: u64,
    /// The file was replaced, and the folder not synced yet.
    renamed: bool,
}

// === impl Block ===

impl Block {
    /// What is known about a block takes so much memory: itself, and its place in the file.
    pub(crate) const WEIGHT: usize = 2 * size_of::<Self>() + 32;
}

// === impl Problem ===

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(max) => write!(
                f,
                "rows that wait fill `waiting_max` ({max} bytes); help their destinations, set `blocked_for`, or raise \
                 `waiting_max`"
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

// === impl Spill ===

impl Spill {
    /// The file of the sink `name` below `folder`, of at most `max` bytes. Touches nothing yet.
    pub(crate) fn new(folder: &Path, name: &str, made_for: &'static str, max: u64) -> Self {
        Self(Arc::new(Shared {
            path: folder.join(file_name(name)),
            made_for,
            max,
            log: Mutex::default(),
            returned: Mutex::default(),
            has_returned: Notify::new(),
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// The blocks that an earlier run has left, in their order.
    pub(crate) async fn recover(&self) -> Result<Vec<BlockOf>, Problem> {
        self.work(|shared| {
            if !shared.path.exists() {
                return Ok(Vec::new());
            }
            let (log, found) = Log::open(&shared.path, shared.made_for)?;
            *shared.log() = Some(log);
            Ok(found)
        })
        .await
        .map_err(Problem::Failed)
    }

    /// Puts groups of rows of one destination each on disk; once they are there their rows are settled.
    pub(crate) async fn put(&self, groups: Vec<UnitsOf>) -> Result<Vec<BlockOf>, (Problem, Vec<UnitsOf>)> {
        let groups = Arc::new(groups);
        let ours = Arc::clone(&groups);
        let put = self.work(move |shared| Ok(shared.put(&ours))).await;
        let groups = Arc::into_inner(groups).unwrap_or_default();
        match put.unwrap_or_else(|why| Err(Problem::Failed(why))) {
            Ok(blocks) => {
                for unit in groups.iter().flat_map(|(_, units)| units) {
                    unit.settle();
                }
                Ok(groups.into_iter().map(|(key, _)| key).zip(blocks).collect())
            }
            Err(problem) => Err((problem, groups)),
        }
    }

    /// Reads a block; it stays on disk until all its rows are settled.
    pub(crate) async fn load(
        &self,
        key: &Arc<str>,
        block: Block,
        budget: &Arc<Budget>,
    ) -> Result<Vec<Unit>, String> {
        let saved = self.work(move |shared| shared.read(block)).await?;
        let (shared, key) = (Arc::clone(&self.0), Arc::clone(key));
        let back = move |outcome| {
            let settled = outcome == AckOutcome::Settled;
            lock(&shared.returned).push(Returned { key, block, settled });
            shared.has_returned.notify_one();
        };
        let ack = Ack::new(back, ());
        let units = saved
            .into_iter()
            .map(|(since, tries, segment)| Unit {
                since: Some(since),
                tries,
                ..Unit::apart_of(segment.with_ack(ack.clone()), budget)
            })
            .collect();
        ack.resolve();
        Ok(units)
    }

    /// Waits until the rows of a block are gone from memory. Cancel-safe.
    pub(crate) async fn any_returned(&self) {
        self.0.has_returned.notified().await;
    }

    /// Blocks that are not taken yet and whose rows are gone from memory. Those that are taken are marked.
    pub(crate) async fn returned(&self) -> Vec<Returned> {
        let returned = std::mem::take(&mut *lock(&self.0.returned));
        let (taken, back): (Vec<Returned>, Vec<Returned>) =
            returned.into_iter().partition(|returned| returned.settled);
        if !taken.is_empty() {
            let marked = self.work(move |shared| {
                shared.log().as_mut().map_or(Ok(()), |log| log.mark(&taken, &shared.path))
            });
            if let Err(why) = marked.await {
                // They would be sent once more after a restart, under the same ids.
                warn!(file = %self.path().display(), error = why, "rows that were taken cannot be marked");
            }
        }
        back
    }

    /// Does blocking work away from the threads that drive the network.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let shared = Arc::clone(&self.0);
        let path = self.path().display().to_string();
        blocking(move || work(&shared)).await.map_err(|error| format!("{path}: {error}"))
    }
}

/// Says which sinks that are no longer there have left rows behind. They are kept.
pub(crate) fn warn_of_strangers<'a>(folder: &Path, sinks: impl Iterator<Item = &'a str>) {
    let known: Vec<String> = sinks.map(file_name).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log") && !known.contains(&name) {
            warn!(
                file = %entry.path().display(),
                bytes = entry.metadata().map_or(0, |found| found.len()),
                "rows wait here for a sink that is no longer in the configuration, or is of a type that keeps no rows \
                 waiting; they are kept: bring the sink back under its name, or remove the file"
            );
        }
    }
}

fn file_name(sink: &str) -> String {
    format!("{}.log", sink.replace(['/', '\\', '\0'], "_"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Shared ===

impl Shared {
    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        lock(&self.log)
    }

    fn put(&self, groups: &[UnitsOf]) -> Result<Vec<Block>, Problem> {
        let failed = |error: io::Error| Problem::Failed(format!("{}: {error}", self.path.display()));
        let mut log = self.log();
        let log = match &mut *log {
            Some(log) => log,
            closed => closed.insert(Log::open(&self.path, self.made_for).map_err(failed)?.0),
        };
        let frames: Vec<Bytes> = groups.iter().map(|(key, units)| frame(key, units)).collect();
        let length: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        log.bring_back(&self.path).map_err(failed)?;
        log.make_room(length, self.max, &self.path).map_err(failed)?;
        if log.append.len().saturating_add(length) > self.max {
            return Err(Problem::Full(self.max));
        }
        log.sync_name(&self.path).map_err(failed)?;
        let mut at = log.append.len();
        log.append.append(&frames).map_err(failed)?;
        let mut blocks = Vec::with_capacity(frames.len());
        for (frame, (_, units)) in frames.iter().zip(groups) {
            log.places.insert(log.next_id, (at, frame.len() as u64));
            blocks.push(Block {
                id: log.next_id,
                rows: count(units) as u32,
                bytes: frame.len() as u32,
                since: newest(units),
            });
            log.next_id += 1;
            at += frame.len() as u64;
        }
        Ok(blocks)
    }

    fn read(&self, block: Block) -> io::Result<Vec<(i64, u32, Segment)>> {
        let log = self.log();
        let log = log.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let &(at, length) = log.places.get(&block.id).ok_or(io::ErrorKind::NotFound)?;
        let mut frame = vec![0; length as usize];
        log.file.read_exact_at(&mut frame, at)?;
        if !is_whole(&frame) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block has changed on the disk"));
        }
        units_of(&frame)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a block cannot be understood"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let taken: Vec<Returned> = std::mem::take(&mut *lock(&self.returned))
            .into_iter()
            .filter(|returned| returned.settled)
            .collect();
        if let Some(log) = &mut *lock(&self.log) {
            // What cannot be marked is sent once more, under the same ids.
            log.mark(&taken, &self.path).ok();
        }
    }
}

// === impl Log ===

impl Log {
    /// Opens the file, or makes it, and finds the blocks in it. Cuts off what a crash has left of the last write.
    fn open(path: &Path, made_for: &str) -> io::Result<(Self, Vec<BlockOf>)> {
        make_private_dir(path.parent().unwrap_or(Path::new(".")))?;
        let file = open_and_lock(path)?;
        let header = format!("{VERSION}{made_for}\n");
        let begin = header.len() as u64;
        let mut start = vec![0; header.len()];
        let read = read_up_to(&file, &mut start)?;
        if start[..read] != header.as_bytes()[..read] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "it was written by another version of flowstone or for a sink of another type (expected \
                     {:?}); use that one until the file is empty, or move it away",
                    header.trim_end()
                ),
            ));
        }
        if read < header.len() {
            file.set_len(0)?;
            file.write_all_at(header.as_bytes(), 0)?;
            file.sync_all()?;
            sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        }
        let append = AppendFile::private(path)?;
        let mut log = Self { append, file, begin, places: BTreeMap::new(), next_id: 0, renamed: false };
        let found = log.scan(path)?;
        if log.places.is_empty() && log.append.len() > log.begin {
            log.append.cut(log.begin)?;
        }
        Ok((log, found))
    }

    fn scan(&mut self, path: &Path) -> io::Result<Vec<BlockOf>> {
        let mut found = Vec::new();
        let mut at = self.begin;
        let end = self.append.len();
        let mut damaged = false;
        while at < end {
            let Some((length, mark, preface)) = whole_block(&self.file, at, end)? else {
                match next_block(&self.file, at + 1, end)? {
                    Some(next) => {
                        // Somebody has changed it, or the disk: what was acknowledged is lost, which must be reported.
                        damaged = true;
                        error!(file = %path.display(), at, bytes = next - at, "rows that waited are damaged; a copy of the file is kept beside it");
                        at = next;
                    }
                    None => {
                        warn!(file = %path.display(), at, bytes = end - at, "the last rows were not written to their end; they are read again from their source");
                        self.append.cut(at)?;
                        break;
                    }
                }
                continue;
            };
            if mark != TAKEN {
                let id = self.next_id;
                self.next_id += 1;
                self.places.insert(id, (at, length));
                let block = Block { id, rows: preface.rows, bytes: length as u32, since: preface.since };
                found.push((preface.key, block));
            }
            at += length;
        }
        if damaged {
            let copy = path.with_extension("damaged");
            if !copy.exists() {
                fs::copy(path, copy)?;
            }
        }
        Ok(found)
    }

    /// These blocks are taken: after a restart they are not sent again.
    fn mark(&mut self, taken: &[Returned], path: &Path) -> io::Result<()> {
        for returned in taken {
            if let Some(&(at, _)) = self.places.get(&returned.block.id) {
                self.file.write_all_at(&[TAKEN], at + MARK)?;
                self.places.remove(&returned.block.id);
            }
        }
        self.make_room(0, u64::MAX, path)
    }

    /// Gives the disk back what is taken, when that is most of the file or the room is needed.
    fn make_room(&mut self, length: u64, max: u64, path: &Path) -> io::Result<()> {
        let kept: u64 = self.places.values().map(|(_, length)| length).sum();
        let taken = self.append.len() - self.begin - kept;
        if kept == 0 && taken > 0 {
            return self.append.cut(self.begin);
        }
        let is_needed = self.append.len().saturating_add(length) > max && taken > max / 8;
        if (taken > kept && taken > WORTH_REWRITING) || is_needed {
            self.rewrite(path)?;
        }
        Ok(())
    }

    /// Makes the file anew if somebody has deleted it: what is written to a file without a name is lost with the process.
    fn bring_back(&mut self, path: &Path) -> io::Result<()> {
        if self.file.metadata()?.nlink() > 0 {
            return Ok(());
        }
        warn!(file = %path.display(), "the file of rows that wait was deleted; it is made anew");
        if let Some(folder) = path.parent() {
            make_private_dir(folder)?;
        }
        self.rewrite(path)
    }

    /// Writes what is not taken into a new file, which takes the place of the old one.
    fn rewrite(&mut self, path: &Path) -> io::Result<()> {
        let new_path = path.with_extension("new");
        let mut file =
            open_private(&new_path, OpenOptions::new().read(true).write(true).create(true).truncate(true))?;
        file.lock()?;
        let copied = self.copy_into(&mut file).and_then(|places| {
            file.sync_all()?;
            Ok((AppendFile::private(&new_path)?, places))
        });
        let (append, places) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                fs::remove_file(&new_path).ok();
                return Err(error);
            }
        };
        fs::rename(&new_path, path)?;
        *self = Self { append, file, places, renamed: true, ..*self };
        self.sync_name(path)
    }

    /// After a power cut the name must lead to the new file: nothing is appended to it before.
    fn sync_name(&mut self, path: &Path) -> io::Result<()> {
        if self.renamed {
            sync_dir(path.parent().unwrap_or(Path::new(".")))?;
            self.renamed = false;
        }
        Ok(())
    }

    fn copy_into(&self, file: &mut File) -> io::Result<BTreeMap<u64, (u64, u64)>> {
        let mut old = self.file.try_clone()?;
        let mut copy = |from: u64, length: u64, file: &mut File| {
            old.seek(SeekFrom::Start(from))?;
            match io::copy(&mut (&mut old).take(length), file)? {
                copied if copied == length => Ok(()),
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            }
        };
        copy(0, self.begin, file)?;
        let mut places = BTreeMap::new();
        let mut at = self.begin;
        for (&id, &(from, length)) in &self.places {
            copy(from, length, file)?;
            places.insert(id, (at, length));
            at += length;
        }
        Ok(places)
    }
}

/// Opens the file for us alone. Whoever has it open keeps it, and one that was replaced meanwhile is not the file.
fn open_and_lock(path: &Path) -> io::Result<File> {
    loop {
        let file =
            open_private(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another flowstone uses it; end that one, or give this one a `data_dir` of its own",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (file.metadata()?.dev(), file.metadata()?.ino()) => {
                return Ok(file);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads from the beginning of a file: as much as it has, or as fits.
fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], read as u64)? {
            0 => break,
            some => read += some,
        }
    }
    Ok(read)
}

#[cfg(test)]
#[path = "spill_tests.rs"]
mod tests;
