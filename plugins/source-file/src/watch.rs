//! The files of a source: looks at the file system, tells what each file found is, and whose turn it is to be read.

mod settle;
mod turns;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flowstone_core::SourceCx;
use indexmap::IndexMap;
use tokio::time::Instant;

use crate::hands::{Call, Hands, Late};
use crate::identity::FileId;
use crate::listing::{Found, Listed, Listing, Stat, Whereabouts};
use crate::newcomer::Newcomer;
use crate::state::{Identities, Record};
use crate::tail::{Manner, Place, Tail};
pub(crate) use crate::watch::turns::Progress;
use crate::work::Done;

/// How many files whose content is not at its place any more are remembered.
const MAX_MISSED: usize = 1000;
/// The files of one source.
#[derive(Debug)]
pub(crate) struct Watch {
    listing: Listing,
    manner: Manner,
    ignore_older: Option<Duration>,
    close_inactive: Duration,
    /// At the first start, what is in the files already is not read.
    skip_present: bool,
    identities: Identities,
    tails: IndexMap<Arc<str>, Tail>,
    newcomers: Vec<Newcomer>,
    queue: VecDeque<Arc<str>>,
    turn: usize,
    looks: usize,
    hands: Hands,
    /// For each of `paths`: it was looked at once, and a look at it that did not return in time.
    listed: Vec<(bool, Option<Late<Listed>>)>,
    /// What the first look at one of `paths` did not find.
    missing: Vec<PathBuf>,
    /// What cannot be read, with what was said about it.
    troubles: HashMap<PathBuf, Trouble>,
    is_unwell: bool,
    /// A file got an identity that is not in the state yet.
    pub(crate) unsaved: bool,
    /// A file was overwritten while it was read: look again soon.
    pub(crate) look_again: bool,
}

/// Something that cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    message: String,
    /// Whether somebody can put it right without changing the file.
    passes: bool,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(
        listing: Listing,
        manner: Manner,
        ignore_older: Option<Duration>,
        close_inactive: Duration,
    ) -> Self {
        Self {
            listed: listing.calls().map(|_| (false, None)).collect(),
            listing,
            manner,
            ignore_older,
            close_inactive,
            skip_present: false,
            identities: Identities::default(),
            tails: IndexMap::new(),
            newcomers: Vec::new(),
            queue: VecDeque::new(),
            turn: 0,
            looks: 0,
            hands: Hands::new(),
            missing: Vec::new(),
            troubles: HashMap::new(),
            is_unwell: false,
            unsaved: false,
            look_again: false,
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

    pub(crate) fn listing(&self) -> &Listing {
        &self.listing
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.identities
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.tails.values().map(Tail::record)
    }

    pub(crate) fn tail(&mut self, key: &str) -> Option<&mut Tail> {
        self.tails.get_mut(key)
    }

    // --- looking

    /// Looks at the file system once.
    pub(crate) fn look(&mut self, cx: &SourceCx, now: Instant) {
        self.look_again = false;
        let listed = self.list(cx);
        self.forget_troubles(&listed);
        for (path, error) in &listed.errors {
            self.trouble(cx, path, error);
        }
        let mut found: IndexMap<(u64, u64), Found> =
            listed.files.into_iter().map(|found| ((found.stat.dev, found.stat.ino), found)).collect();
        let gone = self.look_at_known(cx, &mut found, now);
        self.look_at_new(found, cx, now);
        self.looks += 1;
        // Whatever was found: from now on it is no longer the first start.
        self.unsaved |= self.skip_present;
        self.skip_present &= !self.is_listed();
        self.settle(cx, now);
        // What the first look did not find is missed from now on like any other file.
        for key in gone {
            if let Some(tail) = self.tails.get_mut(&key) {
                tail.remembered = false;
            }
        }
        self.tell_unread(cx, now, false);
        self.tidy(now);
        self.enqueue(now);
        self.report(cx);
    }

    /// Whether each of `paths` was looked at, and no look is under way.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.iter().all(|(once, late)| *once && late.is_none())
    }

    /// What the first looks did not find.
    pub(crate) fn missing(&self) -> &[PathBuf] {
        &self.missing
    }

    /// Which files there are, as far as looks return: each of `paths` is looked at by a call of its own.
    fn list(&mut self, cx: &SourceCx) -> Listed {
        let (mut asked, mut calls, mut looks) = (Vec::new(), Vec::new(), Vec::new());
        for (index, call) in self.listing.calls().enumerate() {
            match self.listed[index].1.take() {
                Some(late) => match late.take() {
                    Some(listed) => looks.push((index, listed)),
                    None => self.listed[index].1 = Some(late),
                },
                None => {
                    asked.push(index);
                    // Whose device is not known; no file is on such a one.
                    calls.push(Call::new(u64::MAX - index as u64, call));
                }
            }
        }
        for (index, result) in asked.into_iter().zip(self.hands.run_all(calls)) {
            match result {
                Ok(listed) => looks.push((index, listed)),
                Err(late) => {
                    self.listed[index].1 = Some(late);
                    self.trouble(cx, &self.listing.path(index), &no_answer());
                }
            }
        }
        // Of two paths of a file the first one counts, every time.
        looks.sort_by_key(|(index, _)| *index);
        let listed = Listed::merge(looks.into_iter().map(|(index, mut listed)| {
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

    /// Troubles with what is not there any more are none.
    fn forget_troubles(&mut self, listed: &Listed) {
        if self.troubles.is_empty() {
            return;
        }
        let late = self.listed.iter().enumerate().filter(|(_, (_, late))| late.is_some());
        let late = late.map(|(index, _)| self.listing.path(index));
        let known = self.tails.values().filter(|tail| tail.place == Place::Here).map(|tail| &tail.path);
        let known = known.chain(self.newcomers.iter().map(|newcomer| &newcomer.path));
        let found = listed.files.iter().map(|found| &found.path);
        let failed = listed.errors.iter().map(|(path, _)| path);
        let there: HashSet<PathBuf> = known.chain(found).chain(failed).cloned().chain(late).collect();
        self.troubles.retain(|path, _| there.contains(path));
    }

    /// Finds the known files, and leaves the others in `found`. Gives those that are certainly not where they were.
    fn look_at_known(
        &mut self,
        cx: &SourceCx,
        found: &mut IndexMap<(u64, u64), Found>,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let seen = cx.clock.now_ms();
        // Nobody else may have those.
        let mut taken = HashSet::new();
        let (mut asked, mut calls, mut well) = (Vec::new(), Vec::new(), Vec::new());
        let mut gone = Vec::new();
        let Self { tails, hands, troubles, listing, .. } = self;
        for tail in tails.values_mut().filter(|tail| tail.place != Place::Replaced) {
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
            if tail.is_late() || hands.is_hung(device) {
                taken.extend(inode);
            } else if here.is_some_and(|here| tail.is_as_seen(here)) {
                tail.seen = seen;
                taken.extend(inode);
                if !troubles.is_empty() {
                    well.push(tail.path.clone());
                }
            } else if tail.remembered && here.is_none() && !listing.names(&tail.path) {
                // The configuration has changed: wherever it is, it is not to be read.
                gone.push(Arc::clone(&tail.key));
            } else if here.is_some() || tail.place == Place::Here || tail.is_open() || tail.remembered {
                let work = tail.look(here.cloned());
                calls.push(Call::new(device, move || work.perform()));
                asked.push((Arc::clone(&tail.key), inode));
            }
        }
        for ((key, inode), result) in asked.into_iter().zip(self.hands.run_all(calls)) {
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            let path = tail.path.clone();
            match result {
                Ok(Done::Looked(stream, Ok(looked))) => {
                    if tail.take_look(stream, looked, &self.manner, now) {
                        taken.extend(inode);
                        if inode.is_some() {
                            tail.seen = seen;
                            well.push(tail.path.clone());
                        }
                    } else {
                        gone.push(key);
                    }
                }
                Ok(Done::Looked(stream, Err(error))) => {
                    // It is still that file as far as one can tell.
                    tail.put_back(stream);
                    taken.extend(inode);
                    if error.kind() != io::ErrorKind::NotFound {
                        self.trouble(cx, &path, &error);
                    }
                }
                Ok(_) => {}
                Err(late) => {
                    tail.wait_for(late);
                    taken.extend(inode);
                    self.trouble(cx, &path, &no_answer());
                }
            }
        }
        for path in well {
            self.no_trouble_to_look_at(&path);
        }
        found.retain(|inode, _| !taken.contains(inode));
        gone
    }

    fn look_at_new(&mut self, mut found: IndexMap<(u64, u64), Found>, cx: &SourceCx, now: Instant) {
        let (mut missed, mut calls) = (Vec::new(), Vec::new());
        for mut newcomer in std::mem::take(&mut self.newcomers) {
            match found.shift_remove(&(newcomer.stat.dev, newcomer.stat.ino)) {
                Some(found) => {
                    newcomer.see(found, now);
                    self.newcomers.push(newcomer);
                }
                None if newcomer.late.is_some() || self.hands.is_hung(newcomer.stat.dev) => {
                    self.newcomers.push(newcomer);
                }
                None => {
                    let (path, stat) = (newcomer.path.clone(), newcomer.stat);
                    calls.push(Call::new(stat.dev, move || Whereabouts::of(&path, &stat, None)));
                    missed.push(newcomer);
                }
            }
        }
        for (newcomer, whereabouts) in missed.into_iter().zip(self.hands.run_all(calls)) {
            match whereabouts {
                Ok(Whereabouts::Gone | Whereabouts::Adrift) if newcomer.stat.size > 0 => {
                    tracing::warn!(path = %newcomer.path.display(), bytes = newcomer.stat.size, component = %cx.id.name, "a file vanished before it was read");
                    cx.metrics.component.error("vanished", 1);
                }
                Ok(Whereabouts::Gone | Whereabouts::Adrift) => {}
                _ => self.newcomers.push(newcomer),
            }
        }
        for found in found.into_values() {
            let written_anew = || {
                self.tails
                    .values()
                    .any(|tail| tail.place == Place::Replaced && tail.stat.same_inode(&found.stat))
            };
            // A finite run reads what was there when it began.
            if !self.manner.follow && !found.is_first && !written_anew() {
                continue;
            }
            let skip = self.skip_present && found.is_first;
            // Not with `read_from = "end"` at the first start: that is where reading of the old ones begins, too.
            if !skip && self.ignore_older.is_some_and(|age| is_older(&found.stat, age)) {
                continue;
            }
            self.newcomers.push(Newcomer::new(found, skip, now));
        }
    }

    /// Tells what can no longer be read, once no copy of it turned up in the time that a rotation may take; `at_once`
    /// before that.
    pub(crate) fn tell_unread(&mut self, cx: &SourceCx, now: Instant, at_once: bool) {
        for tail in self.tails.values_mut() {
            let Some(since) = tail.unread_since() else { continue };
            let is_over = now.duration_since(since) >= self.manner.rotate_wait;
            let may_turn_up = self.newcomers.iter().any(|newcomer| newcomer.may_become(tail.id));
            if !at_once && (!is_over || may_turn_up) {
                continue;
            }
            let (bytes, offset) = (tail.unread_bytes(), tail.read().offset);
            let reason = if tail.place == Place::Replaced {
                tracing::warn!(path = %tail.path.display(), bytes, offset, component = %cx.id.name, "a file was truncated or overwritten before it was read to its end: the rest is lost");
                "truncated"
            } else {
                tracing::warn!(path = %tail.path.display(), bytes, offset, component = %cx.id.name, "a file is gone before it was read to its end; the rest is read if it turns up again");
                "vanished"
            };
            cx.metrics.component.error(reason, 1);
            tail.note_told();
            // After a restart it is not told again.
            self.unsaved = true;
        }
    }

    /// Says whether all that can be read is read: a file that is damaged is for somebody to see, but no reason to take
    /// this process for broken.
    fn report(&mut self, cx: &SourceCx) {
        let mut messages: Vec<&str> = self
            .troubles
            .values()
            .filter(|trouble| trouble.passes)
            .map(|trouble| &*trouble.message)
            .collect();
        messages.sort_unstable();
        match messages.first() {
            Some(first) if messages.len() > 1 => {
                cx.health.not_ready("files", format!("{first}; and {} more", messages.len() - 1));
            }
            Some(first) => cx.health.not_ready("files", *first),
            None if self.is_unwell => cx.health.ready("files"),
            None => {}
        }
        self.is_unwell = !messages.is_empty();
    }

    /// Whether a finite run has read all there is.
    pub(crate) fn is_done(&self) -> bool {
        let pending = |newcomer: &Newcomer| newcomer.proof.is_some();
        !self.manner.follow
            && self.looks > 0
            && self.is_listed()
            && self.queue.is_empty()
            && !self.newcomers.iter().any(pending)
    }

    /// What cannot be read, sorted.
    pub(crate) fn troubles(&self) -> Vec<&String> {
        let mut troubles: Vec<&String> = self.troubles.values().map(|trouble| &trouble.message).collect();
        troubles.sort();
        troubles
    }

    /// How often was looked.
    pub(crate) fn looks(&self) -> usize {
        self.looks
    }

    /// Whether anything was ever found.
    pub(crate) fn has_files(&self) -> bool {
        !self.tails.is_empty() || !self.newcomers.is_empty()
    }

    // --- keeping house

    /// Closes what is not needed open and forgets what was missed for longest.
    fn tidy(&mut self, now: Instant) {
        for tail in self.tails.values_mut().filter(|tail| tail.is_open() && !tail.queued && !tail.is_late()) {
            let inactive =
                now.duration_since(tail.grown()) >= self.close_inactive && tail.place == Place::Here;
            if (inactive || tail.is_finished(&self.manner, now)) && !tail.is_awaited() {
                tail.close();
            }
        }
        let mut missed: Vec<(i64, Arc<str>, FileId)> = self
            .tails
            .values()
            .filter(|tail| {
                tail.place != Place::Here && !tail.remembered && !tail.is_open() && !tail.is_awaited()
            })
            .map(|tail| (tail.seen, Arc::clone(&tail.key), tail.id))
            .collect();
        if missed.len() > MAX_MISSED {
            missed.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            for (_, key, id) in missed.drain(..missed.len() - MAX_MISSED) {
                self.tails.shift_remove(&key);
                self.identities.forget(id);
            }
        }
    }

    fn trouble(&mut self, cx: &SourceCx, path: &Path, error: &io::Error) {
        let trouble = Trouble { message: message(path, error), passes: passes(error) };
        if self.troubles.get(path) != Some(&trouble) {
            tracing::warn!(path = %path.display(), %error, what_to_do = what_to_do(error), component = %cx.id.name, "a file cannot be read; the others are read on");
            cx.metrics.component.error(reason(error), 1);
            self.troubles.insert(path.to_owned(), trouble);
        }
    }

    /// The file could be looked at. If reading failed further on, that still stands.
    fn no_trouble_to_look_at(&mut self, path: &Path) {
        if self.troubles.contains_key(path)
            && !self.tails.values().any(|tail| tail.path == *path && tail.broken)
        {
            self.troubles.remove(path);
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
    format!("cannot read {}: {error}; {}", path.display(), what_to_do(error))
}

/// What is said of a call that does not return.
pub(crate) fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the file system does not answer")
}

/// Whether the error is not one of the file itself.
fn passes(error: &io::Error) -> bool {
    let of_file = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
    !of_file.contains(&error.kind())
}

fn has_too_few_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
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

fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that flowstone runs as read it and enter its folder",
        io::ErrorKind::UnexpectedEof => "the gzip file ends too early; it is read on when it changes",
        io::ErrorKind::InvalidInput => "name it in `exclude`",
        io::ErrorKind::InvalidData => "it is read again when it changes",
        io::ErrorKind::TimedOut => {
            "see whether what is mounted there is reachable; it is read on when it answers"
        }
        _ if has_too_few_descriptors(error) => {
            "raise the limit of open files (`ulimit -n`); it is tried again"
        }
        _ => "it is tried again",
    }
}
