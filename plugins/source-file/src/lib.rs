//! flowstone source that reads and follows files.
//!
//! Finds the files of some globs, reads them line by line, follows them as they grow and through every kind of
//! rotation, and gives each line out exactly once, over restarts too.
//!
//! | module | job |
//! |---|---|
//! | [`listing`] | which files there are |
//! | [`watch`] | what each file found is, and whose turn it is |
//! | [`newcomer`] | a file under an inode nobody knows: new, moved, or a copy |
//! | [`identity`] | which content is which, and why ids never name two records |
//! | [`proof`] | that a file begins with all that was read of another |
//! | [`tail`] | one file's content, from reading to delivery |
//! | [`reader`] | bytes out of plain and gzip files |
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
//! Lines come a second time, under new ids,
//!
//! * if a plain file of under 1 KiB is moved to another file system, or unpacked from a `.gz`, and was changed meanwhile,
//!   or its inode number was used again: so little could begin any file. They are never taken for delivered;
//! * if a file is replaced by an edited copy of itself under the same name (`sed -i`, most editors): that is a new file;
//! * if a `.gz` of a part of a plain file lies beside it for longer than `rotate_wait` (`gzip -k` of a growing file);
//! * if a file was gone while a thousand others went, and then comes back.
//!
//! An unfinished last line waits for its newline as long as its file has its name. In a file that was renamed or deleted
//! it is taken as it is after `rotate_wait`; what is appended later becomes a line of its own.
//!
//! # Reading
//!
//! Reading is blocking and done within [`Source::next`]: some hundred kilobytes at a time out of a regular file, which
//! takes well under a millisecond. A look at the file system takes longer the more files there are, and at most a
//! twentieth of the time is spent on looks.

mod header;
mod identity;
mod listing;
mod newcomer;
mod proof;
mod reader;
mod state;
mod tail;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::prelude::*;
use flowstone_core::{Decoding, LineOptions, StateDir};
use tokio::time::Instant;

use crate::listing::Listing;
use crate::tail::Manner;
use crate::watch::{Progress, Watch};

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
#[derive(Debug)]
pub struct FileSource {
    watch: Watch,
    poll_interval: Duration,
    skip_present: bool,
    state: StateDir,
    name: Arc<str>,
    next_look: Option<Instant>,
    /// What `paths` names and the first look did not find.
    missing: Vec<String>,
    /// Something is delivered that the state file does not say yet.
    dirty: bool,
}

/// A call of `next` that brings no batch ends after about this time, to let others run.
const STRETCH: Duration = Duration::from_millis(5);
/// How often a finite run looks for a file that cannot be read before it gives up.
const FINITE_LOOKS: usize = 4;

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
                let manner = Manner {
                    lines,
                    headers: options.header == HeaderMode::Auto && options.decoding == Decoding::Text,
                    follow: options.follow,
                    rotate_wait: options.rotate_wait,
                };
                Ok(Self {
                    watch: Watch::new(listing, manner, options.ignore_older, options.close_inactive),
                    poll_interval,
                    skip_present: options.read_from == ReadFrom::End,
                    state: cx.state_dir(),
                    name: Arc::clone(&cx.id.name),
                    next_look: None,
                    missing: Vec::new(),
                    dirty: false,
                })
            }
            (listing, ..) => {
                errors.extend(listing.err().into_iter().flatten());
                Err(errors)
            }
        }
    }

    fn look(&mut self, cx: &SourceCx, now: Instant) {
        self.watch.look(cx, now);
        if self.watch.looks() == 1 {
            let missing = self.watch.listing().literal_paths().filter(|path| !path.exists());
            self.missing =
                missing.map(|path| format!("{} is not there; correct `paths`", path.display())).collect();
            if !self.watch.has_files() {
                tracing::warn!(paths = self.watch.listing().describe(), component = %self.name, "no file matches `paths` yet");
            }
        }
        // Many files, or a slow file system: look less often.
        self.next_look = Some(now + self.poll_interval.max(now.elapsed() * 20));
    }

    fn save(&mut self) -> Result<(), SourceError> {
        state::save(&self.state, self.watch.identities(), self.watch.records())
            .map_err(|message| SourceError::new("checkpoint", message))?;
        self.watch.unsaved = false;
        self.dirty = false;
        Ok(())
    }

    /// What a finite run ends with.
    fn end(&self) -> Result<Next, SourceError> {
        let troubles: Vec<&String> = self.watch.troubles().into_iter().chain(&self.missing).collect();
        if troubles.is_empty() {
            return Ok(Next::End);
        }
        let shown: Vec<&str> = troubles.iter().take(5).map(|trouble| trouble.as_str()).collect();
        let more =
            if troubles.len() > 5 { format!("; and {} more", troubles.len() - 5) } else { String::new() };
        Err(SourceError::fatal(
            "unreadable",
            format!("not everything could be read: {}{more}", shown.join("; ")),
        ))
    }
}

#[async_trait]
impl Source for FileSource {
    async fn start(&mut self, _cx: &mut SourceCx) -> Result<(), SourceError> {
        let state = state::load(&self.state).map_err(|message| SourceError::fatal("checkpoint", message))?;
        self.watch.resume(state, self.skip_present);
        Ok(())
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        let started = Instant::now();
        if self.watch.look_again || self.next_look.is_none_or(|at| started >= at) {
            self.look(cx, started);
        }
        loop {
            // An identity is in the state before the first record that bears it leaves.
            if self.watch.unsaved {
                self.save()?;
            }
            match self.watch.step(cx, Instant::now()) {
                Progress::Batch(batch) => return Ok(Next::Batch(batch)),
                Progress::More if started.elapsed() < STRETCH => {}
                Progress::More => return Ok(Next::Idle(Duration::ZERO)),
                Progress::Nothing => break,
            }
        }
        if self.watch.look_again {
            return Ok(Next::Idle(Duration::ZERO));
        }
        let hopeless = self.watch.looks() >= FINITE_LOOKS;
        if self.watch.is_done() && (hopeless || self.watch.troubles().is_empty()) {
            return self.end();
        }
        let next_look = self.next_look.unwrap_or(started);
        Ok(Next::Idle(next_look.saturating_duration_since(Instant::now())))
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        for position in positions {
            if let Some(tail) = self.watch.tail(&position.partition) {
                self.dirty |= tail.commit(position.value);
            }
        }
        if self.dirty { self.save() } else { Ok(()) }
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        self.watch.rewind(&position.partition, position.value, &self.name);
        Ok(())
    }

    fn claims(&self) -> Vec<String> {
        vec![format!("folder {}", self.state.path().display())]
    }

    fn keeps_state(&self) -> bool {
        true
    }

    async fn probe(&mut self) -> Result<(), String> {
        let listed = self.watch.listing().list();
        let errors = listed.errors.into_iter().map(|(path, error)| watch::message(&path, &error));
        let unreadable = listed.files.iter().filter_map(|found| {
            let error = reader::Beginning::of(&found.path).err()?;
            Some(watch::message(&found.path, &error))
        });
        match errors.chain(unreadable).next() {
            Some(message) => Err(message),
            None => Ok(()),
        }
    }
}
