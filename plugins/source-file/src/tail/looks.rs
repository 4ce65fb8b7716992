//! What looks at a file tell of it: where it is, whether it is still what it was, and what of it can no longer be read.

use std::path::Path;
use std::time::Duration;

use flowstone_lines::Lines;
use tokio::time::Instant;

use super::{Manner, Place, Tail};
use crate::identity::{Mark, header_of};
use crate::listing::{Found, Stat};
use crate::reader::{Beginning, Reader};
use crate::work::{Look, Looked, Stream, Work};

// === impl Tail ===

impl Tail {
    /// The file was found and is what it was: takes note of how it is now.
    pub(super) fn meet(&mut self, beginning: &Beginning, manner: &Manner) {
        if beginning.head.len > self.head.len || self.remembered {
            self.head = beginning.head.clone();
        }
        if manner.headers && self.header.is_none() {
            self.header = header_of(&beginning.bytes, beginning.whole || !manner.follow);
        }
        self.folder = beginning.folder.or(self.folder);
        self.remembered = false;
        self.place = Place::Here;
        self.stat = beginning.stat;
    }

    /// Whether it was found as it was seen last, so that its content need not be looked at.
    pub(crate) fn is_as_seen(&mut self, found: &Found) -> bool {
        let same = found.stat == self.stat && found.path == self.path && self.place == Place::Here;
        // A write that came right after the last look may have left the same time behind.
        let was_racy = std::mem::replace(&mut self.racy, true);
        let as_seen = same && !self.remembered && !was_racy;
        if as_seen {
            self.racy = is_racy(&found.stat);
        }
        as_seen
    }

    /// The call that looks whether the file, as `found` or wherever it is, still holds what was read of it.
    pub(crate) fn look(&mut self, found: Option<Found>) -> Work {
        let look = Look {
            found,
            path: self.path.clone(),
            stat: self.stat,
            folder: self.folder,
            head: self.head.clone(),
            gzip: self.gzip,
            read: self.read,
            has_little_evidence: self.has_little_evidence(),
        };
        Work::Look(std::mem::replace(&mut self.stream, Stream::Closed), look)
    }

    /// Takes in what a look came to. `true` if the file is where it was, or under another name.
    pub(crate) fn take_look(
        &mut self,
        stream: Stream,
        looked: Looked,
        manner: &Manner,
        now: Instant,
    ) -> bool {
        self.stream = stream;
        match looked {
            Looked::Intact { path, stat, renamed, beginning } => {
                if let Some(beginning) = beginning {
                    let before = self.stat;
                    self.meet(&beginning, manner);
                    self.stat = before;
                }
                if stat.size != self.stat.size {
                    self.grown = now;
                }
                self.complete &= stat.size == self.stat.size && stat.modified == self.stat.modified;
                if renamed {
                    self.move_to(&path);
                    self.rotated = Some(now);
                }
                self.place = Place::Here;
                self.missed = None;
                self.unread = None;
                self.lost = false;
                self.racy = is_racy(&stat);
                self.stat = stat;
                true
            }
            Looked::Replaced => {
                self.replace(now);
                false
            }
            Looked::Missed { gone, stat } => {
                if let Some(stat) = stat.filter(|stat| stat.size != self.stat.size) {
                    self.stat = stat;
                    self.grown = now;
                }
                if gone && self.place == Place::Here {
                    self.place = Place::Gone;
                    self.missed = Some(now);
                }
                if gone && !self.is_open() {
                    self.note_unread(now);
                }
                !gone
            }
        }
    }

    /// The file was overwritten: what was not read of it is lost, unless a copy turns up.
    pub(crate) fn replace(&mut self, now: Instant) {
        self.note_unread(now);
        self.place = Place::Replaced;
        self.stream = Stream::Closed;
    }

    fn note_unread(&mut self, now: Instant) {
        if self.unread.is_none() && !self.lost && self.unread_bytes() > 0 {
            self.unread = Some(now);
        }
    }

    /// How many bytes, of those that are known of, were not read; of a compressed file that was not read to its end,
    /// all of its own.
    pub(crate) fn unread_bytes(&self) -> u64 {
        match self.gzip {
            true if self.has_ended() => 0,
            true => self.stat.size,
            false => self.stat.size.max(self.held()).saturating_sub(self.read.offset),
        }
    }

    /// The end of what was read, given out or not.
    fn held(&self) -> u64 {
        match &self.stream {
            Stream::Open(_, lines) | Stream::Failed(_, lines) => lines.end(),
            _ => 0,
        }
    }

    /// Since when bytes of it are lost, if nobody was told yet.
    pub(crate) fn unread_since(&self) -> Option<Instant> {
        self.unread
    }

    /// Somebody was told.
    pub(crate) fn note_told(&mut self) {
        self.unread = None;
        self.lost = true;
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
        self.unread = None;
        self.lost = false;
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

    fn move_to(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
        self.origin = path.to_string_lossy().into_owned();
    }
}

/// Whether the file was written to so recently that another write could leave the same time behind: the clock of a
/// file system is coarse, some milliseconds.
fn is_racy(stat: &Stat) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    now.saturating_sub(stat.modified) < Duration::from_secs(2).as_nanos() as i64
}
