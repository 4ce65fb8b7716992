//! The files of a source: looks at the file system, tells what each file found is, and whose turn it is to be read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flowstone_core::{SourceBatch, SourceCx};
use indexmap::IndexMap;
use tokio::time::Instant;

use crate::identity::{FileId, Mark, birth_hash};
use crate::listing::{Found, Listing, Stat};
use crate::newcomer::{Aim, Newcomer};
use crate::proof::{Known, Proof, Verdict};
use crate::reader::{Beginning, Outcome, Reader};
use crate::state::{Identities, Record};
use crate::tail::{Manner, Place, Step, Tail};

/// How many files whose content is not at its place any more are remembered.
const MAX_MISSED: usize = 1000;
/// How many files are open at once, as long as others can be closed.
const MAX_OPEN: usize = 500;
/// After so many batches of one file it is the next one's turn.
const TURN_BATCHES: usize = 32;

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
    /// What cannot be read, with what was said about it.
    troubles: HashMap<PathBuf, String>,
    /// A file got an identity that is not in the state yet.
    pub(crate) unsaved: bool,
    /// A file was overwritten while it was read: look again soon.
    pub(crate) look_again: bool,
}

/// What reading came to.
// One per step, moved once: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Progress {
    Batch(SourceBatch),
    /// Something was done; there may be more to do.
    More,
    /// Nothing can be done before the next look.
    Nothing,
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
            troubles: HashMap::new(),
            unsaved: false,
            look_again: false,
        }
    }

    /// Goes on from the state; without one it is the first start, at which `skip_present` counts.
    pub(crate) fn resume(&mut self, state: Option<(Identities, Vec<Record>)>, skip_present: bool) {
        match state {
            Some((identities, records)) => {
                self.identities = identities;
                self.tails = records
                    .into_iter()
                    .map(Tail::from_record)
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
        let listed = self.listing.list();
        if !self.troubles.is_empty() {
            let files = listed.files.iter().map(|found| &found.path);
            let there: HashSet<&PathBuf> = files.chain(listed.errors.iter().map(|(path, _)| path)).collect();
            self.troubles.retain(|path, _| there.contains(path));
        }
        for (path, error) in &listed.errors {
            self.trouble(cx, path, error);
        }
        let mut found: IndexMap<(u64, u64), Found> =
            listed.files.into_iter().map(|found| ((found.stat.dev, found.stat.ino), found)).collect();
        self.look_at_known(cx, &mut found, now);
        self.look_at_new(found, cx, now);
        self.looks += 1;
        // Whatever was found: from now on it is no longer the first start.
        self.unsaved |= self.skip_present;
        self.skip_present = false;
        self.settle(cx, now);
        // What the first look did not find is missed from now on like any other file.
        self.tails.values_mut().for_each(|tail| tail.remembered = false);
        self.tidy(now);
        self.enqueue(now);
    }

    /// Finds the known files, and leaves the others in `found`.
    fn look_at_known(&mut self, cx: &SourceCx, found: &mut IndexMap<(u64, u64), Found>, now: Instant) {
        let mut reports = Vec::new();
        let seen = cx.clock.now_ms();
        for tail in self.tails.values_mut().filter(|tail| tail.place != Place::Replaced) {
            let here = match found.get(&(tail.stat.dev, tail.stat.ino)) {
                Some(here) => Some(here),
                // Device numbers change when file systems are mounted anew.
                None if tail.remembered => {
                    found.values().find(|found| found.path == tail.path && found.stat.ino == tail.stat.ino)
                }
                None => None,
            };
            let Some(here) = here.cloned() else {
                if tail.miss(now) {
                    tracing::warn!(path = %tail.path.display(), offset = tail.read().offset, component = %cx.id.name, "a file is gone before it was read to its end; the rest is read if it turns up again");
                    cx.metrics.component.error("vanished", 1);
                }
                continue;
            };
            let inode = (here.stat.dev, here.stat.ino);
            match tail.look(&here.path, here.stat, &self.manner, now) {
                Ok(true) => {
                    tail.seen = seen;
                    found.shift_remove(&inode);
                    reports.push((here.path, None));
                }
                Ok(false) => tail.replace(),
                Err(error) => {
                    // It is still that file as far as one can tell; nobody else may have it.
                    found.shift_remove(&inode);
                    if error.kind() != io::ErrorKind::NotFound {
                        reports.push((here.path, Some(error)));
                    }
                }
            }
        }
        for (path, error) in reports {
            match error {
                Some(error) => self.trouble(cx, &path, &error),
                None => self.no_trouble_to_look_at(&path),
            }
        }
    }

    fn look_at_new(&mut self, mut found: IndexMap<(u64, u64), Found>, cx: &SourceCx, now: Instant) {
        self.newcomers.retain_mut(|newcomer| {
            match found.shift_remove(&(newcomer.stat.dev, newcomer.stat.ino)) {
                Some(found) => {
                    newcomer.see(found, now);
                    true
                }
                None => {
                    if newcomer.stat.size > 0 {
                        tracing::warn!(path = %newcomer.path.display(), component = %cx.id.name, "a file vanished before it was read");
                        cx.metrics.component.error("vanished", 1);
                    }
                    false
                }
            }
        });
        for found in found.into_values() {
            let written_anew = || {
                self.tails
                    .values()
                    .any(|tail| tail.place == Place::Replaced && tail.stat.same_inode(&found.stat))
            };
            // A finite run reads what was there when it began.
            if !self.manner.follow && self.looks > 0 && !written_anew() {
                continue;
            }
            // Not with `read_from = "end"` at the first start: that is where reading of the old ones begins, too.
            if !self.skip_present && self.ignore_older.is_some_and(|age| is_older(&found.stat, age)) {
                continue;
            }
            self.newcomers.push(Newcomer::new(found, self.skip_present, now));
        }
    }

    // --- telling what newcomers are

    /// Decides about every newcomer that can be decided about; begins proofs for those that may be known files.
    fn settle(&mut self, cx: &SourceCx, now: Instant) {
        let mut waiting = Vec::new();
        for mut newcomer in std::mem::take(&mut self.newcomers) {
            if newcomer.beginning.is_none() {
                match newcomer.read_beginning() {
                    Ok(()) => self.no_trouble_to_look_at(&newcomer.path),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.trouble(cx, &newcomer.path, &error),
                }
            }
            if newcomer.proof.is_some() || !self.decide(&mut newcomer, cx, now) {
                waiting.push(newcomer);
            }
        }
        self.newcomers = waiting;
    }

    /// Whether the newcomer became a file that is read.
    fn decide(&mut self, newcomer: &mut Newcomer, cx: &SourceCx, now: Instant) -> bool {
        let Some(beginning) = newcomer.beginning.take() else { return false };
        let became = self.decide_by(newcomer, &beginning, cx, now);
        newcomer.beginning = Some(beginning);
        became
    }

    fn decide_by(
        &mut self,
        newcomer: &mut Newcomer,
        beginning: &Beginning,
        cx: &SourceCx,
        now: Instant,
    ) -> bool {
        let heir_of = self
            .tails
            .values()
            .filter(|tail| newcomer.may_succeed(tail, beginning))
            .max_by_key(|tail| tail.read().offset);
        if let Some(tail) = heir_of {
            let aim = Aim::Heir(tail.id);
            let known = tail.known();
            newcomer.proof = self.begin_proof(cx, newcomer, beginning, known).map(|proof| (aim, proof));
            return false;
        }
        let quiet =
            |since: Instant| !self.manner.follow || now.duration_since(since) >= self.manner.rotate_wait;
        if let Some(original) = self.tails.values().find(|tail| newcomer.resembles(tail, beginning)) {
            if !quiet(newcomer.quiet_since) {
                return false;
            }
            let aim = Aim::Copy(original.id);
            if beginning.gzip && !original.gzip && !newcomer.refuted.contains(&aim) {
                if original.has_ended() {
                    let known = original.known();
                    newcomer.proof =
                        self.begin_proof(cx, newcomer, beginning, known).map(|proof| (aim, proof));
                }
                return false;
            }
        }
        let over = newcomer.rotated.is_some_and(quiet) && quiet(newcomer.quiet_since);
        let complete = !self.manner.follow || beginning.whole || over;
        let Some(birth) = birth_hash(&beginning.bytes, complete, self.manner.headers) else { return false };
        let id = self.identities.new_id(birth);
        let mut tail = Tail::new(id, &newcomer.path, beginning, newcomer.start, &self.manner);
        tail.seen = cx.clock.now_ms();
        if newcomer.skip_present && beginning.gzip {
            tail.take_as_read(Mark::start(0));
        }
        tracing::debug!(path = %newcomer.path.display(), component = %cx.id.name, key = %tail.key, "new file");
        self.tails.insert(Arc::clone(&tail.key), tail);
        self.unsaved = true;
        true
    }

    fn begin_proof(
        &mut self,
        cx: &SourceCx,
        newcomer: &Newcomer,
        beginning: &Beginning,
        known: Known,
    ) -> Option<Proof> {
        match std::fs::File::open(&newcomer.path) {
            Ok(file) => Some(Proof::new(file, beginning.gzip, known, self.manner.lines)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.trouble(cx, &newcomer.path, &error);
                None
            }
        }
    }

    /// Brings a proof a step further; `false` if none is under way.
    fn prove(&mut self, cx: &SourceCx, now: Instant) -> bool {
        let Some(index) = self.newcomers.iter().position(|newcomer| newcomer.proof.is_some()) else {
            return false;
        };
        let newcomer = &mut self.newcomers[index];
        let Some((aim, proof)) = newcomer.proof.take() else { return false };
        match proof.step() {
            Ok((Verdict::Open, Some(proof))) => {
                newcomer.proof = Some((aim, proof));
                return true;
            }
            Ok((Verdict::Proven(reader), _)) => self.accept(index, aim, reader, cx, now),
            Ok(_) => newcomer.refuted.push(aim),
            Err(error) => {
                newcomer.refuted.push(aim);
                let path = newcomer.path.clone();
                self.trouble(cx, &path, &error);
            }
        }
        // Another identity may fit, or it is a new file.
        self.settle(cx, now);
        self.enqueue(now);
        true
    }

    /// The newcomer has been proven to be what `aim` says.
    fn accept(&mut self, index: usize, aim: Aim, mut reader: Reader, cx: &SourceCx, now: Instant) {
        let newcomer = &mut self.newcomers[index];
        let (Aim::Heir(id) | Aim::Copy(id)) = aim;
        let Some(beginning) = newcomer.beginning.take() else { return };
        let Some(tail) = self.tails.get_mut(&id.key()) else { return };
        match aim {
            // In the meantime it may have turned up itself.
            Aim::Heir(_) if tail.place != Place::Here => {
                tracing::debug!(from = %tail.path.display(), to = %newcomer.path.display(), component = %cx.id.name, "a file moved");
                let proven = reader.offset();
                tail.adopt(&newcomer.path, &beginning, proven, reader, &self.manner, now);
                tail.seen = cx.clock.now_ms();
                self.newcomers.remove(index);
            }
            Aim::Copy(_) if matches!(reader.read(&mut Vec::new(), 1), Ok(Outcome::Bytes(0))) => {
                tracing::info!(path = %newcomer.path.display(), of = %tail.path.display(), component = %cx.id.name, "a compressed copy of a file that was read is passed over");
                let upto = tail.read();
                let birth = birth_hash(&beginning.bytes, true, self.manner.headers).unwrap_or_default();
                let path = newcomer.path.clone();
                self.newcomers.remove(index);
                let id = self.identities.new_id(birth);
                let mut copy = Tail::new(id, &path, &beginning, 0, &self.manner);
                copy.seen = cx.clock.now_ms();
                copy.take_as_read(upto);
                self.tails.insert(Arc::clone(&copy.key), copy);
                self.unsaved = true;
            }
            _ => {
                newcomer.refuted.push(aim);
                newcomer.beginning = Some(beginning);
            }
        }
    }

    // --- whose turn it is

    /// Queues the files that have something to read, oldest first.
    fn enqueue(&mut self, now: Instant) {
        let manner = self.manner;
        let mut ready: Vec<&mut Tail> =
            self.tails.values_mut().filter(|tail| !tail.queued && tail.wants_reading(&manner, now)).collect();
        ready.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
        for tail in ready {
            tail.queued = true;
            self.queue.push_back(Arc::clone(&tail.key));
        }
    }

    /// Does a little: one step of a proof or of reading.
    pub(crate) fn step(&mut self, cx: &SourceCx, now: Instant) -> Progress {
        if self.prove(cx, now) {
            return Progress::More;
        }
        let Some(key) = self.queue.front().cloned() else {
            if self.manner.follow {
                return Progress::Nothing;
            }
            // Newcomers may have waited for what was read meanwhile.
            self.settle(cx, now);
            self.enqueue(now);
            return if self.is_done() { Progress::Nothing } else { Progress::More };
        };
        let Some(tail) = self.tails.get_mut(&key) else {
            self.queue.pop_front();
            return Progress::More;
        };
        if !tail.is_open() {
            self.make_room(now);
        }
        let Some(tail) = self.tails.get_mut(&key) else { return Progress::More };
        let step = tail.step(cx, &self.manner, now);
        if let Step::Batch(batch) = step {
            self.turn += 1;
            if self.turn >= TURN_BATCHES {
                self.turn = 0;
                self.queue.rotate_left(1);
                // Files that are half read stay open, so among very many it is the turn of those.
                if self.open_files() >= MAX_OPEN
                    && let Some(next) = self.queue.iter().position(|key| self.tails[key].is_open())
                {
                    self.queue.rotate_left(next);
                }
            }
            return Progress::Batch(batch);
        }
        if let Step::More = step {
            return Progress::More;
        }
        self.turn = 0;
        tail.queued = false;
        self.queue.pop_front();
        match step {
            Step::Replaced => {
                tail.replace();
                self.look_again = true;
            }
            Step::Failed(error) => {
                let path = tail.path.clone();
                self.trouble(cx, &path, &error);
            }
            _ => {
                let path = tail.path.clone();
                self.troubles.remove(&path);
            }
        }
        Progress::More
    }

    /// The stretch of `key` that ends at `offset` is to be given out again.
    pub(crate) fn rewind(&mut self, key: &str, offset: u64, cx_name: &str) {
        let manner = self.manner;
        let Some(tail) = self.tails.get_mut(key) else { return };
        if tail.rewind(offset, &manner) {
            if !tail.queued {
                tail.queued = true;
                self.queue.push_back(Arc::clone(&tail.key));
            }
        } else {
            tracing::error!(
                path = %tail.path.display(), component = cx_name, offset,
                "lines that were not delivered cannot be read again: their file was overwritten or deleted"
            );
        }
    }

    /// Whether a finite run has read all there is.
    pub(crate) fn is_done(&self) -> bool {
        let pending = |newcomer: &Newcomer| newcomer.proof.is_some();
        !self.manner.follow && self.looks > 0 && self.queue.is_empty() && !self.newcomers.iter().any(pending)
    }

    /// What cannot be read, sorted.
    pub(crate) fn troubles(&self) -> Vec<&String> {
        let mut troubles: Vec<&String> = self.troubles.values().collect();
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
        for tail in self.tails.values_mut().filter(|tail| tail.is_open() && !tail.queued) {
            let inactive =
                now.duration_since(tail.grown()) >= self.close_inactive && tail.place == Place::Here;
            if (inactive || tail.is_finished(&self.manner, now)) && !tail.is_awaited() {
                tail.close();
            }
        }
        let mut missed: Vec<(i64, Arc<str>, FileId)> = self
            .tails
            .values()
            .filter(|tail| tail.place != Place::Here && !tail.is_open() && !tail.is_awaited())
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

    /// Before another file is opened: closes the one that has been quiet for longest if many are open.
    fn make_room(&mut self, now: Instant) {
        if self.open_files() < MAX_OPEN {
            return;
        }
        let idle = |tail: &&mut Tail| tail.is_open() && !tail.queued && tail.place == Place::Here;
        // One that is awaited only if there is no other: until it is delivered it may be asked for again, and then its
        // name must still lead to it.
        let quiet = |tail: &&mut Tail| (!tail.is_awaited(), now.duration_since(tail.grown()));
        if let Some(tail) = self.tails.values_mut().filter(idle).max_by_key(quiet) {
            tail.close();
        }
    }

    fn open_files(&self) -> usize {
        self.tails.values().filter(|tail| tail.is_open()).count()
    }

    fn trouble(&mut self, cx: &SourceCx, path: &Path, error: &io::Error) {
        let message = message(path, error);
        if self.troubles.get(path) != Some(&message) {
            tracing::warn!(path = %path.display(), %error, what_to_do = what_to_do(error), component = %cx.id.name, "a file cannot be read; the others are read on");
            cx.metrics.component.error(reason(error), 1);
            self.troubles.insert(path.to_owned(), message);
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

/// The metric label of an error.
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission_denied",
        io::ErrorKind::UnexpectedEof => "gzip_incomplete",
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => "unreadable",
        _ => "read",
    }
}

fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that flowstone runs as read it and enter its folder",
        io::ErrorKind::UnexpectedEof => "the gzip file ends too early; it is read on when it changes",
        io::ErrorKind::InvalidInput => "name it in `exclude`",
        io::ErrorKind::InvalidData => "it is read again when it changes",
        _ => "it is tried again",
    }
}
