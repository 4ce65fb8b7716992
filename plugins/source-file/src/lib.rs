//! flowstone source that reads and follows files.
//!
//! Finds the files of some globs, reads them line by line, follows them as they grow and through every kind of
//! rotation, and gives each line out exactly once, over restarts too.
//!
//! | module | job |
//! |---|---|
//! | [`thread`] | the thread that the source works on |
//! | [`calls`] | the thread for calls into file systems that may not return |
//! | [`walk`] | the paths that a glob names |
//! | [`listing`] | which files there are |
//! | [`watch`] | what each file found is, and whose turn it is |
//! | [`new_file`] | a file under an inode nobody knows: new, moved, or a copy |
//! | [`identity`] | which content is which, and why ids never name two records |
//! | [`proof`] | that a file begins with all that was read of another |
//! | [`tail`] | one file's content, from reading to delivery |
//! | [`work`] | what is done with its file |
//! | [`reader`], [`gzip`] | bytes out of plain and gzip files |
//! | [`header`] | header lines of flow-log files |
//! | [`state`] | what survives a restart |
//!
//! # What cannot be promised
//!
//! Lines are lost
//!
//! * that stood only in a file which was emptied, overwritten or deleted before they were read, and of which `paths`
//!   shows no copy. An open file is read to its end although its name is gone; one that was closed (at a restart, after
//!   `close_inactive`, or because 500 are open) is not. A `copytruncate` itself loses what is written between its copy
//!   and its truncation;
//! * of a file that was written over in place, between two looks or while flowstone was stopped, with content that
//!   begins with all that was read of the old one: that looks like growth.
//!
//! A loss that is seen is logged with its bytes and counted (`truncated`, `vanished`), once no copy turned up in
//! `rotate_wait`.
//!
//! Lines come a second time, under new ids,
//!
//! * if a plain file of under 1 KiB is moved to another file system, or unpacked from a `.gz`, and was changed meanwhile,
//!   or its inode number was used again: so little could begin any file. They are never taken for delivered;
//! * if a file is replaced by an edited copy of itself under the same name (`sed -i`, most editors): that is a new file;
//! * if a `.gz` of a part of a plain file lies beside it for longer than `rotate_wait` (`gzip -k` of a growing file);
//! * if a file was gone while a thousand others went, and then comes back.
//!
//! An unfinished last line waits for its newline as long as its file has its name. In a file that was renamed or deleted
//! it is taken as it is after `rotate_wait`; what is appended later becomes a line of its own. That a file was renamed or
//! deleted is known only from a folder that is there and does not have its name, or from an open file without a name: an
//! error says nothing about a file, and a file that is open is read on meanwhile. In a folder that was itself moved away
//! a file keeps its unfinished line until it is closed, after `close_inactive`; then the loss is reported.
//!
//! # What is no content
//!
//! NULs where a line begins: a file that is truncated under a writer without `O_APPEND` has a hole up to its old end. It
//! is passed and not read. A UTF-8 byte order mark at the beginning of a file. In a `.gz` zeros behind the last member,
//! and, with a warning, whatever else follows it.
//!
//! # Reading
//!
//! The source works on a thread of its own ([`thread`]), a batch per request, and calls into file systems are made by
//! another one ([`calls`]). A call that does not return within two seconds (a hung mount) costs its file, or one of
//! `paths`, until it does; that is reported, and the other files are read on. A look at the file system takes longer the more
//! files there are, and at most a twentieth of the time is spent on looks.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod calls;
mod identity;
mod listing;
mod new_file;
mod proof;
mod reader;
mod state;
#[cfg(test)]
mod stuck;
mod tail;
mod thread;
mod walk;
mod watch;
mod work;

use std::time::Duration;

use flowstone_core::StateDir;
use flowstone_core::prelude::*;
use flowstone_lines::{Decoding, LineOptions};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::calls::{Call, CallThread};
use crate::listing::{Listed, Listing};
use crate::tail::ReadOptions;
use crate::thread::{Answer, Outcome, Request, SourceThread};
use crate::watch::Watch;

choices! {
    /// Where reading begins at the very first start.
    pub enum ReadFrom {
        /// With the first line of each file.
        Beginning = "beginning",
        /// With what is written after the start.
        End = "end",
    }
}

choices! {
    /// Whether a file's first line may be a header.
    pub enum HeaderMode {
        /// Yes, if it consists of nothing but names of flow-log fields.
        Auto = "auto",
        /// No: it is a record.
        None = "none",
    }
}

options! {
    /// Options of `file`.
    pub struct FileOptions {
        /// The files to read: paths and globs (`*`, `?`, `[a-z]`, `**` for any folders). A `.gz` is read as what is in
        /// it, and is known again if it is a file that was read before it was compressed.
        paths: Vec<String>,
        /// Globs of files to leave out; one without a `/` is compared with the file's name.
        exclude: Vec<String> = Vec::new(),
        /// Where reading begins at the very first start: with the `"beginning"` of each file, or at its `"end"`. From
        /// then on the checkpoint counts, and files that appear later are read from their beginning.
        read_from: ReadFrom = ReadFrom::Beginning,
        /// `true`: wait for more lines and more files. `false`: read once what is there, then end; the last line then
        /// needs no newline.
        follow: bool = true,
        /// How often to look for new lines and files.
        poll_interval: Duration = Duration::from_millis(250),
        /// How long a rotation may take. So long after its last growth a file that was renamed away or deleted is
        /// taken to be at its end (its last line then needs no newline), and so long a new file that begins like
        /// another one is held back: it may be the copy that a rotation makes.
        rotate_wait: Duration = Duration::from_secs(5),
        /// A file that has not grown for this long is closed. It is opened again when it grows.
        close_inactive: Duration = Duration::from_secs(300),
        /// Leave out files that were not written to for this long when they are found.
        ignore_older: Option<Duration> = None,
        /// A longer line is rejected with its first and its last 64 KiB.
        max_line_bytes: ByteSize = ByteSize(1 << 20),
        /// What a line is: `"text"` becomes `message`, the members of a `"json"` object become fields.
        decoding: Decoding = Decoding::Text,
        /// `"auto"`: a first line that consists of names of flow-log fields, as in the files that AWS writes to S3, is
        /// no event; it becomes `[@metadata][flow_log_format]` of all lines of the file. `"none"`, and always with
        /// `decoding = "json"`: it is an event.
        header: HeaderMode = HeaderMode::Auto,
    }
}

/// Reads and follows files.
pub struct FileSource {
    /// Until the source starts.
    watch: Option<Watch>,
    listing: Listing,
    poll_interval: Duration,
    skip_present: bool,
    state: StateDir,
    thread: Option<SourceThread>,
    /// A batch was asked for, and with `Some` a look at that time.
    asked: Option<Option<Instant>>,
    /// What came when somebody else waited for it.
    kept: Option<Outcome>,
    next_scan: Option<Instant>,
}

register_source! {
    "file",
    summary: "reads files line by line and follows them through rotation",
    options: FileOptions,
    example: "paths = [\"/var/log/flow/*.log\"]\nfollow = true",
    build: |options: FileOptions, cx: &BuildCx| Ok(Box::new(FileSource::new(options, cx)?)),
}

// === impl FileSource ===

impl FileSource {
    /// A source with these options; all that is wrong with them at once.
    pub fn new(options: FileOptions, cx: &BuildCx) -> Result<Self, Vec<BuildError>> {
        let listing = Listing::new(&options.paths, &options.exclude);
        let lines = LineOptions::new(options.max_line_bytes, options.decoding);
        let interval =
            match options.poll_interval.is_zero() {
                true => Err(BuildError::option("poll_interval", "cannot look all the time")
                    .label("expected more than 0")),
                false => Ok(options.poll_interval),
            };
        let mut errors = Vec::new();
        let mut note = |error: BuildError| errors.push(error);
        let lines = lines.map_err(&mut note).ok();
        let interval = interval.map_err(&mut note).ok();
        match (listing, lines, interval) {
            (Ok(listing), Some(lines), Some(poll_interval)) => {
                let reading = ReadOptions {
                    lines,
                    headers: options.header == HeaderMode::Auto && options.decoding == Decoding::Text,
                    follow: options.follow,
                    rotate_wait: options.rotate_wait,
                };
                let (old, inactive) = (options.ignore_older, options.close_inactive);
                Ok(Self {
                    watch: Some(Watch::new(listing.clone(), reading, old, inactive)),
                    listing,
                    poll_interval,
                    skip_present: options.read_from == ReadFrom::End,
                    state: cx.state_dir(),
                    thread: None,
                    asked: None,
                    kept: None,
                    next_scan: None,
                })
            }
            (listing, ..) => {
                errors.extend(listing.err().into_iter().flatten());
                Err(errors)
            }
        }
    }

    /// The thread, which `start` starts.
    fn thread(&mut self) -> Result<&mut SourceThread, SourceError> {
        self.thread.as_mut().ok_or_else(|| SourceError::fatal("start", "the source was not started"))
    }

    /// Waits for what was asked for. Cancel-safe: what comes later is waited for again.
    async fn wait(&mut self) -> Result<Outcome, SourceError> {
        if let Some(outcome) = self.kept.take() {
            return Ok(outcome);
        }
        let thread = self.thread()?;
        let Some(Answer { outcome, scan_took }) = thread.answers.recv().await else {
            return Err(thread.gone());
        };
        if let (Some(Some(at)), Some(took)) = (self.asked.take(), scan_took) {
            // Many files, or a slow file system: look less often.
            let took = took.min(at.elapsed());
            self.next_scan = at.checked_add(self.poll_interval.max(took.saturating_mul(20)));
        }
        Ok(outcome)
    }

    /// Waits for an answer that is given once.
    async fn answer<T>(&mut self, answer: oneshot::Receiver<T>) -> Result<T, SourceError> {
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.thread()?.gone()),
        }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn start(&mut self, cx: &mut SourceCx) -> Result<(), SourceError> {
        if let Some(watch) = self.watch.take() {
            let thread = SourceThread::new(watch, self.skip_present, self.state.clone(), cx.clone())
                .map_err(|error| {
                    SourceError::fatal("start", format!("cannot start the thread that reads files: {error}"))
                })?;
            self.thread = Some(thread);
        }
        let (reply, answer) = oneshot::channel();
        self.thread()?.ask(Request::Start(cx.clone(), Instant::now(), reply));
        self.answer(answer).await?
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        if self.asked.is_none() && self.kept.is_none() {
            let now = Instant::now();
            let scan = self.next_scan.is_none_or(|at| now >= at);
            self.thread()?.ask(Request::Next { cx: cx.clone(), now, scan });
            self.asked = Some(scan.then_some(now));
        }
        Ok(match self.wait().await? {
            Outcome::Batch(batch) => Next::Batch(batch),
            Outcome::Busy => Next::Idle(Duration::ZERO),
            Outcome::Nothing(scan_again) => {
                let now = Instant::now();
                if scan_again {
                    self.next_scan = Some(now);
                }
                Next::Idle(self.next_scan.unwrap_or(now).saturating_duration_since(now))
            }
            Outcome::End(end) => end.map(|()| Next::End)?,
            Outcome::Error(error) => return Err(error),
        })
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        let (reply, answer) = oneshot::channel();
        self.thread()?.ask(Request::Commit(positions.to_vec(), reply));
        self.answer(answer).await?
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        // A batch in flight from the thread is dropped if it is read again, and kept otherwise.
        if self.asked.is_some() {
            let outcome = self.wait().await?;
            self.kept = Some(outcome);
        }
        if let Some(Outcome::Batch(batch)) = &self.kept
            && batch.position.partition == position.partition
            && batch.position.value >= position.value
        {
            self.kept = None;
        }
        let (reply, answer) = oneshot::channel();
        self.thread()?.ask(Request::Rewind(position.clone(), Instant::now(), reply));
        self.answer(answer).await
    }

    fn traits(&self) -> SourceTraits {
        let claims = vec![format!("folder {}", self.state.path().display())];
        SourceTraits { claims, keeps_state: true, ..SourceTraits::default() }
    }

    fn check_state(&self, state: &StateDir) -> Result<(), String> {
        state::load(state).map(drop)
    }

    async fn probe(&mut self) -> Result<(), String> {
        let listing = self.listing.clone();
        let (reply, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("files".to_owned());
        let spawned = thread.spawn(move || drop(reply.send(probe(&listing))));
        spawned.map_err(|error| format!("cannot start a thread: {error}"))?;
        answer.await.unwrap_or_else(|_| Err("looking at `paths` failed".to_owned()))
    }
}

/// What is first found to be unreadable.
fn probe(listing: &Listing) -> Result<(), String> {
    let mut call_thread = CallThread::new();
    let calls = listing.calls().enumerate().map(|(index, call)| Call::new(u64::MAX - index as u64, call));
    let mut scans = Vec::new();
    for (index, scan) in call_thread.run_all(calls.collect()).into_iter().enumerate() {
        scans.push(scan.map_err(|_| watch::message(&listing.path(index), &watch::no_answer()))?);
    }
    let listed = Listed::merge(scans);
    if let Some((path, error)) = listed.errors.first() {
        return Err(watch::message(path, error));
    }
    for found in listed.files {
        let path = found.path.clone();
        let beginning = call_thread.run(found.stat.dev, move || reader::Beginning::of(&path).map(drop));
        if let Err(error) = beginning.unwrap_or_else(|_| Err(watch::no_answer())) {
            return Err(watch::message(&found.path, &error));
        }
    }
    Ok(())
}
