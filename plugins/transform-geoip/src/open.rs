//! The open databases: one copy of each file, shared by all transforms, and reloaded without a pause when the file
//! changes. A batch is looked up in the old copy or the new one, never in both.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::database::{Database, OpenError};

/// A database file, and the database that was read from it last.
pub(crate) struct Watched {
    path: PathBuf,
    current: Mutex<Arc<Database>>,
    watch: Mutex<Watch>,
    started: Instant,
    /// When the file is checked next, in milliseconds after `started`; [`LOADING`] while a thread reads it.
    due: AtomicU64,
    /// How many new files were refused and are not in the metrics yet.
    refused: AtomicU64,
}

/// The attributes of a file by which another file is told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    file: u64,
}

struct Watch {
    /// The stamp of the file that was read or refused last.
    known: Option<Stamp>,
    /// The stamp of the last check: a file that still changes is not read.
    seen: Option<Stamp>,
}

/// How often a file is checked.
const INTERVAL: Duration = Duration::from_secs(1);
const LOADING: u64 = u64::MAX;

/// The open databases. One that no transform holds is closed.
static OPEN: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

/// The database in this file: read now, unless it is open already.
pub(crate) fn open(path: &Path) -> Result<Arc<Watched>, OpenError> {
    // Two paths to one file are one database. The path is kept as given, for a link may be pointed at another file.
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut all = lock(&OPEN);
    all.retain(|watched| watched.strong_count() > 0);
    let same = |watched: &Arc<Watched>| {
        watched.path == path || fs::canonicalize(&watched.path).is_ok_and(|other| other == file)
    };
    if let Some(known) = all.iter().filter_map(Weak::upgrade).find(same) {
        return Ok(known);
    }
    let watched = Arc::new(Watched::open(path)?);
    all.push(Arc::downgrade(&watched));
    Ok(watched)
}

// === impl Watched ===

impl Watched {
    fn open(path: &Path) -> Result<Self, OpenError> {
        let before = Stamp::of(path);
        let database = Database::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            current: Mutex::new(Arc::new(database)),
            // A file that changed while it was read is read again.
            watch: Mutex::new(Watch { known: before, seen: before }),
            started: Instant::now(),
            due: AtomicU64::new(INTERVAL.as_millis() as u64),
            refused: AtomicU64::new(0),
        })
    }

    /// The database that was read last. A batch is looked up in one, whatever is read meanwhile.
    pub(crate) fn current(&self) -> Arc<Database> {
        Arc::clone(&lock(&self.current))
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks once a second whether the file is another one. A thread of its own reads it; the caller does not wait.
    #[inline]
    pub(crate) fn check(self: &Arc<Self>) {
        let now = self.started.elapsed().as_millis() as u64;
        if now >= self.due.load(Ordering::Relaxed) {
            self.check_now(now);
        }
    }

    #[cold]
    fn check_now(self: &Arc<Self>, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        let is_mine = now >= due
            && self.due.compare_exchange(due, LOADING, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_mine {
            return;
        }
        if !self.has_settled_anew() {
            return self.check_later();
        }
        // Dropped with the thread, whatever becomes of it: then the file is checked again.
        let loading = Loading(Arc::clone(self));
        let work = move || loading.0.reload();
        if let Err(error) = std::thread::Builder::new().name("geoip-reload".to_owned()).spawn(work) {
            tracing::warn!(%error, "no thread to read a new database with; tried again");
        }
    }

    fn check_later(&self) {
        let next = self.started.elapsed() + INTERVAL;
        self.due.store(next.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether there is another file, with the same stamp as at the last check: it is complete.
    fn has_settled_anew(&self) -> bool {
        let now = Stamp::of(&self.path);
        let mut watch = lock(&self.watch);
        let has_settled = now.is_some() && now == watch.seen;
        watch.seen = now;
        has_settled && now != watch.known
    }

    /// Reads the file and replaces the database. A file that is no database is not tried again until it changes.
    pub(crate) fn reload(&self) {
        let before = Stamp::of(&self.path);
        let read = Database::open(&self.path);
        if before != Stamp::of(&self.path) {
            // It was written to meanwhile, and is read again when it has settled.
            return;
        }
        lock(&self.watch).known = before;
        match read {
            Ok(database) => {
                *lock(&self.current) = Arc::new(database);
                tracing::info!(path = %self.path.display(), "a new geoip database is in use");
            }
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = %error.message, "the new geoip database is not used; the old one stays");
            }
        }
    }

    /// How many new files were refused since the last call.
    pub(crate) fn take_refused(&self) -> u64 {
        match self.refused.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.refused.swap(0, Ordering::Relaxed),
        }
    }
}

// === impl Loading ===

/// A file that is being read; dropped, it lets the next check happen.
struct Loading(Arc<Watched>);

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.check_later();
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let file = 0;
        Some(Self { length: metadata.len(), modified: metadata.modified().ok(), file })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
