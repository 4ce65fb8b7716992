//! The files of a source: looks at the file system, decides what each found file is, and whose turn it is to be read.

mod decide;
mod schedule;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flowstone_core::SourceCx;
use flowstone_lines::is_out_of_descriptors;
use indexmap::IndexMap;
use tokio::time::Instant;

use crate::calls::{Call, CallThread, Late};
use crate::identity::FileId;
use crate::listing::{Found, Listed, Listing, Stat, Whereabouts};
use crate::new_file::NewFile;
use crate::state::{Identities, Record};
use crate::tail::{FileStatus, ReadOptions, Tail};
pub(crate) use crate::watch::schedule::Progress;
use crate::work::Done;

/// How many files that are gone or overwritten are remembered.
const MAX_MISSING: usize = 1000;
/// The files of one source.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) listing: Listing,
    options: ReadOptions,
    ignore_older: Option<Duration>,
    close_inactive: Duration,
    /// At the first start, what is in the files already is not read.
    skip_present: bool,
    pub(crate) identities: Identities,
    tails: IndexMap<Arc<str>, Tail>,
    new_files: Vec<NewFile>,
    queue: VecDeque<Arc<str>>,
    turn: usize,
    /// How many scans were made.
    pub(crate) scans: usize,
    call_thread: CallThread,
    /// For each of `paths`: it was looked at once, and a look at it that did not return in time.
    listed: Vec<(bool, Option<Late<Listed>>)>,
    /// What the first look at one of `paths` did not find.
    pub(crate) missing: Vec<PathBuf>,
    /// What cannot be read, as it was reported.
    errors: HashMap<PathBuf, ReadError>,
    is_not_ready: bool,
    /// A file got an identity that is not in the state yet.
    pub(crate) unsaved: bool,
    /// A file was overwritten while it was read: look again soon.
    pub(crate) scan_again: bool,
}

/// Something that cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct ReadError {
    message: String,
    /// Whether an operator can mend it without changing the file.
    passes: bool,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(
        listing: Listing,
        options: ReadOptions,
        ignore_older: Option<Duration>,
        close_inactive: Duration,
    ) -> Self {
        Self {
            listed: listing.calls().map(|_| (false, None)).collect(),
            listing,
            options,
            ignore_older,
            close_inactive,
            skip_present: false,
            identities: Identities::default(),
            tails: IndexMap::new(),
            new_files: Vec::new(),
            queue: VecDeque::new(),
            turn: 0,
            scans: 0,
            call_thread: CallThread::new(),
            missing: Vec::new(),
            errors: HashMap::new(),
            is_not_ready: false,
            unsaved: false,
            scan_again: false,
        }
    }

    /// Goes on from the state; without one it is the first start, at which `skip_present` counts.
    pub(crate) fn resume(
        &mut self,
        state: Option<(Identities, Vec<Record>)>,
        skip_present: bool,
        now: Instant,
    ) {
        match state {
            Some((identities, records)) => {
                self.identities = identities;
                self.tails = records
                    .into_iter()
                    .map(|record| Tail::from_record(record, now))
                    .map(|tail| (Arc::clone(&tail.key), tail))
                    .collect();
            }
            None => self.skip_present = skip_present,
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.tails.values().map(Tail::record)
    }

    pub(crate) fn tail(&mut self, key: &str) -> Option<&mut Tail> {
        self.tails.get_mut(key)
    }

    // --- looking

    /// Looks at the file system once.
    pub(crate) fn scan(&mut self, cx: &SourceCx, now: Instant) {
        self.scan_again = false;
        let listed = self.list(cx);
        self.forget_errors(&listed);
        for (path, error) in &listed.errors {
            self.report_error(cx, path, error);
        }
        let mut found: IndexMap<(u64, u64), Found> =
            listed.files.into_iter().map(|found| ((found.stat.dev, found.stat.ino), found)).collect();
        let gone = self.check_known(cx, &mut found, now);
        self.check_new(found, cx, now);
        self.scans += 1;
        // The next start is no longer the first one, whatever was found.
        self.unsaved |= self.skip_present;
        self.skip_present &= !self.is_listed();
        self.decide_new_files(cx, now);
        // What the first look did not find is missed from now on like any other file.
        for key in gone {
            if let Some(tail) = self.tails.get_mut(&key) {
                tail.remembered = false;
            }
        }
        self.report_unread(cx, now, false);
        self.tidy(now);
        self.enqueue(now);
        self.report_health(cx);
    }

    /// Whether each of `paths` was scanned, and no scan is running.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.iter().all(|(once, late)| *once && late.is_none())
    }

    /// Which files there are, as far as looks return: each of `paths` is looked at by a call of its own.
    fn list(&mut self, cx: &SourceCx) -> Listed {
        let (mut asked, mut calls, mut scans) = (Vec::new(), Vec::new(), Vec::new());
        for (index, call) in self.listing.calls().enumerate() {
            match self.listed[index].1.take() {
                Some(late) => match late.take() {
                    Some(listed) => scans.push((index, listed)),
                    None => self.listed[index].1 = Some(late),
                },
                None => {
                    asked.push(index);
                    // The device is not known: a number that no device has.
                    calls.push(Call::new(u64::MAX - index as u64, call));
                }
            }
        }
        for (index, result) in asked.into_iter().zip(self.call_thread.run_all(calls)) {
            match result {
                Ok(listed) => scans.push((index, listed)),
                Err(late) => {
                    self.listed[index].1 = Some(late);
                    self.report_error(cx, &self.listing.path(index), &no_answer());
                }
            }
        }
        // Of two paths of a file the first one counts, every time.
        scans.sort_by_key(|(index, _)| *index);
        let listed = Listed::merge(scans.into_iter().map(|(index, mut listed)| {
            let is_first = !std::mem::replace(&mut self.listed[index].0, true);
            listed.files.iter_mut().for_each(|found| found.is_first = is_first);
            if !is_first {
                listed.missing.clear();
            }
            listed
        }));
        self.missing.extend(listed.missing.iter().cloned());
        listed
    }

    /// Forgets the errors of files that are no longer there.
    fn forget_errors(&mut self, listed: &Listed) {
        if self.errors.is_empty() {
            return;
        }
        let late = self.listed.iter().enumerate().filter(|(_, (_, late))| late.is_some());
        let late = late.map(|(index, _)| self.listing.path(index));
        let known =
            self.tails.values().filter(|tail| tail.status == FileStatus::Present).map(|tail| &tail.path);
        let known = known.chain(self.new_files.iter().map(|new_file| &new_file.path));
        let found = listed.files.iter().map(|found| &found.path);
        let failed = listed.errors.iter().map(|(path, _)| path);
        let there: HashSet<PathBuf> = known.chain(found).chain(failed).cloned().chain(late).collect();
        self.errors.retain(|path, _| there.contains(path));
    }

    /// Checks the known files and leaves the others in `found`; returns those that are certainly gone.
    fn check_known(
        &mut self,
        cx: &SourceCx,
        found: &mut IndexMap<(u64, u64), Found>,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let seen = cx.clock.now_ms();
        // Inodes of known files.
        let mut taken = HashSet::new();
        let (mut asked, mut calls, mut well) = (Vec::new(), Vec::new(), Vec::new());
        let mut gone = Vec::new();
        let Self { tails, call_thread, errors, listing, .. } = self;
        for tail in tails.values_mut().filter(|tail| tail.status != FileStatus::Replaced) {
            let here = match found.get(&(tail.stat.dev, tail.stat.ino)) {
                Some(here) => Some(here),
                // Device numbers change when file systems are mounted anew.
                None if tail.remembered => {
                    found.values().find(|found| found.path == tail.path && found.stat.ino == tail.stat.ino)
                }
                None => None,
            };
            let inode = here.map(|here| (here.stat.dev, here.stat.ino));
            let device = inode.map_or(tail.stat.dev, |(device, _)| device);
            if tail.is_late() || call_thread.is_hung(device) {
                taken.extend(inode);
            } else if here.is_some_and(|here| tail.is_as_seen(here)) {
                tail.seen = seen;
                taken.extend(inode);
                if !errors.is_empty() {
                    well.push(tail.path.clone());
                }
            } else if tail.remembered && here.is_none() && !listing.names(&tail.path) {
                // The configuration has changed: wherever it is, it is not to be read.
                gone.push(Arc::clone(&tail.key));
            } else if here.is_some()
                || tail.status == FileStatus::Present
                || tail.is_open()
                || tail.remembered
            {
                let work = tail.check(here.cloned());
                calls.push(Call::new(device, move || work.perform()));
                asked.push((Arc::clone(&tail.key), inode));
            }
        }
        for ((key, inode), result) in asked.into_iter().zip(self.call_thread.run_all(calls)) {
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            let path = tail.path.clone();
            match result {
                Ok(Done::Checked(stream, Ok(checked))) => {
                    if tail.finish_check(stream, checked, &self.options, now) {
                        taken.extend(inode);
                        if inode.is_some() {
                            tail.seen = seen;
                            well.push(tail.path.clone());
                        }
                    } else {
                        gone.push(key);
                    }
                }
                Ok(Done::Checked(stream, Err(error))) => {
                    // The error does not show that it is another file.
                    tail.stream = stream;
                    taken.extend(inode);
                    if error.kind() != io::ErrorKind::NotFound {
                        self.report_error(cx, &path, &error);
                    }
                }
                Ok(_) => {}
                Err(late) => {
                    tail.wait_for(late);
                    taken.extend(inode);
                    self.report_error(cx, &path, &no_answer());
                }
            }
        }
        for path in well {
            self.clear_error(&path);
        }
        found.retain(|inode, _| !taken.contains(inode));
        gone
    }

    fn check_new(&mut self, mut found: IndexMap<(u64, u64), Found>, cx: &SourceCx, now: Instant) {
        let (mut missed, mut calls) = (Vec::new(), Vec::new());
        for mut new_file in std::mem::take(&mut self.new_files) {
            match found.shift_remove(&(new_file.stat.dev, new_file.stat.ino)) {
                Some(found) => {
                    new_file.see(found, now);
                    self.new_files.push(new_file);
                }
                None if new_file.late.is_some() || self.call_thread.is_hung(new_file.stat.dev) => {
                    self.new_files.push(new_file);
                }
                None => {
                    let (path, stat) = (new_file.path.clone(), new_file.stat);
                    calls.push(Call::new(stat.dev, move || Whereabouts::of(&path, &stat, None)));
                    missed.push(new_file);
                }
            }
        }
        for (new_file, whereabouts) in missed.into_iter().zip(self.call_thread.run_all(calls)) {
            match whereabouts {
                Ok(Whereabouts::Gone | Whereabouts::Adrift) if new_file.stat.size > 0 => {
                    tracing::warn!(path = %new_file.path.display(), bytes = new_file.stat.size, component = %cx.id.name, "a file vanished before it was read");
                    cx.metrics.component.error("vanished", 1);
                }
                Ok(Whereabouts::Gone | Whereabouts::Adrift) => {}
                _ => self.new_files.push(new_file),
            }
        }
        for found in found.into_values() {
            let written_anew = || {
                self.tails
                    .values()
                    .any(|tail| tail.status == FileStatus::Replaced && tail.stat.same_inode(&found.stat))
            };
            // A finite run reads what was there when it began.
            if !self.options.follow && !found.is_first && !written_anew() {
                continue;
            }
            let skip = self.skip_present && found.is_first;
            // Not with `read_from = "end"` at the first start: that is where reading of the old ones begins, too.
            if !skip && self.ignore_older.is_some_and(|age| is_older(&found.stat, age)) {
                continue;
            }
            self.new_files.push(NewFile::new(found, skip, now));
        }
    }

    /// Reports what can no longer be read, once no copy turned up in `rotate_wait`; with `at_once` before that.
    pub(crate) fn report_unread(&mut self, cx: &SourceCx, now: Instant, at_once: bool) {
        for tail in self.tails.values_mut() {
            let Some(since) = tail.lost_since else { continue };
            let is_over = now.duration_since(since) >= self.options.rotate_wait;
            let may_turn_up = self.new_files.iter().any(|new_file| new_file.may_become(tail.id));
            if !at_once && (!is_over || may_turn_up) {
                continue;
            }
            let (bytes, offset) = (tail.unread_bytes(), tail.read.offset);
            let reason = if tail.status == FileStatus::Replaced {
                tracing::warn!(path = %tail.path.display(), bytes, offset, component = %cx.id.name, "a file was truncated or overwritten before it was read to its end: the rest is lost");
                "truncated"
            } else {
                tracing::warn!(path = %tail.path.display(), bytes, offset, component = %cx.id.name, "a file is gone before it was read to its end; the rest is read if it turns up again");
                "vanished"
            };
            cx.metrics.component.error(reason, 1);
            tail.lost_since = None;
            tail.lost = true;
            // So that a restart does not report it again.
            self.unsaved = true;
        }
    }

    /// Reports the source as not ready while a file cannot be read; a damaged file is no reason for that.
    fn report_health(&mut self, cx: &SourceCx) {
        let mut messages: Vec<&str> =
            self.errors.values().filter(|error| error.passes).map(|error| &*error.message).collect();
        messages.sort_unstable();
        match messages.first() {
            Some(first) if messages.len() > 1 => {
                cx.health.not_ready("files", format!("{first}; and {} more", messages.len() - 1));
            }
            Some(first) => cx.health.not_ready("files", *first),
            None if self.is_not_ready => cx.health.ready("files"),
            None => {}
        }
        self.is_not_ready = !messages.is_empty();
    }

    /// Whether a finite run has read all there is.
    pub(crate) fn is_done(&self) -> bool {
        let pending = |new_file: &NewFile| new_file.proof.is_some();
        !self.options.follow
            && self.scans > 0
            && self.is_listed()
            && self.queue.is_empty()
            && !self.new_files.iter().any(pending)
    }

    /// What cannot be read, sorted.
    pub(crate) fn errors(&self) -> Vec<&String> {
        let mut errors: Vec<&String> = self.errors.values().map(|error| &error.message).collect();
        errors.sort();
        errors
    }

    /// Whether anything was ever found.
    pub(crate) fn has_files(&self) -> bool {
        !self.tails.is_empty() || !self.new_files.is_empty()
    }

    // --- keeping house

    /// Closes what is not needed open and forgets what was missed for longest.
    fn tidy(&mut self, now: Instant) {
        for tail in self.tails.values_mut().filter(|tail| tail.is_open() && !tail.queued && !tail.is_late()) {
            let inactive =
                now.duration_since(tail.grown) >= self.close_inactive && tail.status == FileStatus::Present;
            if (inactive || tail.is_finished(&self.options, now)) && !tail.has_in_flight() {
                tail.close();
            }
        }
        let mut missing: Vec<(i64, Arc<str>, FileId)> = self
            .tails
            .values()
            .filter(|tail| {
                tail.status != FileStatus::Present
                    && !tail.remembered
                    && !tail.is_open()
                    && !tail.has_in_flight()
            })
            .map(|tail| (tail.seen, Arc::clone(&tail.key), tail.id))
            .collect();
        if missing.len() > MAX_MISSING {
            missing.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            for (_, key, id) in missing.drain(..missing.len() - MAX_MISSING) {
                self.tails.shift_remove(&key);
                self.identities.forget(id);
            }
        }
    }

    fn report_error(&mut self, cx: &SourceCx, path: &Path, error: &io::Error) {
        let read_error = ReadError { message: message(path, error), passes: passes(error) };
        if self.errors.get(path) != Some(&read_error) {
            tracing::warn!(path = %path.display(), %error, help = help(error), component = %cx.id.name, "a file cannot be read; the others are read on");
            cx.metrics.component.error(reason(error), 1);
            self.errors.insert(path.to_owned(), read_error);
        }
    }

    /// Forgets the error of a file that could be checked, unless reading it failed further on.
    fn clear_error(&mut self, path: &Path) {
        if self.errors.contains_key(path)
            && !self.tails.values().any(|tail| tail.path == *path && tail.broken)
        {
            self.errors.remove(path);
        }
    }
}

fn is_older(stat: &Stat, age: Duration) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let modified = Duration::from_nanos(u64::try_from(stat.modified).unwrap_or(0));
    now.saturating_sub(modified) > age
}

/// What cannot be read, why, and what to do.
pub(crate) fn message(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}; {}", path.display(), help(error))
}

/// The error of a call that does not return.
pub(crate) fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the file system does not answer")
}

/// Whether the error is not the file's own, and so may pass.
fn passes(error: &io::Error) -> bool {
    let of_file = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
    !of_file.contains(&error.kind())
}

/// The metric label of an error.
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission_denied",
        io::ErrorKind::UnexpectedEof => "gzip_incomplete",
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => "unreadable",
        io::ErrorKind::TimedOut => "blocked",
        _ => "read",
    }
}

fn help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that flowstone runs as read it and enter its folder",
        io::ErrorKind::UnexpectedEof => "the gzip file ends too early; it is read on when it changes",
        io::ErrorKind::InvalidInput => "name it in `exclude`",
        io::ErrorKind::InvalidData => "it is read again when it changes",
        io::ErrorKind::TimedOut => {
            "see whether what is mounted there is reachable; it is read on when it answers"
        }
        _ if is_out_of_descriptors(error) => "raise the limit of open files (`ulimit -n`); it is tried again",
        _ => "it is tried again",
    }
}
