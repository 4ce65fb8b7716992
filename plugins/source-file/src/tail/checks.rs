//! What a check of a file finds: where it is, whether it is still the same content, and what of it is lost.

use std::path::Path;
use std::time::Duration;

use flowstone_lines::Lines;
use tokio::time::Instant;

use super::{FileStatus, ReadOptions, Tail};
use crate::identity::{Checkpoint, header_of};
use crate::listing::{Found, Stat};
use crate::reader::{Beginning, Reader};
use crate::work::{Check, Checked, Stream, Work};

// === impl Tail ===

impl Tail {
    /// The file still has its content: records how it is now.
    pub(super) fn refresh(&mut self, beginning: &Beginning, options: &ReadOptions) {
        if beginning.head.len > self.head.len || self.remembered {
            self.head = beginning.head.clone();
        }
        if options.headers && self.header.is_none() {
            self.header = header_of(&beginning.bytes, beginning.whole || !options.follow);
        }
        self.folder = beginning.folder.or(self.folder);
        self.remembered = false;
        self.status = FileStatus::Present;
        self.stat = beginning.stat;
    }

    /// Whether it was found as it was seen last, so that its content need not be looked at.
    pub(crate) fn is_as_seen(&mut self, found: &Found) -> bool {
        let same = found.stat == self.stat && found.path == self.path && self.status == FileStatus::Present;
        // A write that came right after the last look may have left the same time behind.
        let was_racy = std::mem::replace(&mut self.racy, true);
        let as_seen = same && !self.remembered && !was_racy;
        if as_seen {
            self.racy = is_racy(&found.stat);
        }
        as_seen
    }

    /// The call that checks whether the file, as `found` or wherever it is, still holds what was read of it.
    pub(crate) fn check(&mut self, found: Option<Found>) -> Work {
        let check = Check {
            found,
            path: self.path.clone(),
            stat: self.stat,
            folder: self.folder,
            head: self.head.clone(),
            gzip: self.gzip,
            read: self.read,
            has_little_evidence: self.has_little_evidence(),
        };
        Work::Check(std::mem::replace(&mut self.stream, Stream::Closed), check)
    }

    /// Records what a check found; `true` if the file is there, under this name or another.
    pub(crate) fn finish_check(
        &mut self,
        stream: Stream,
        checked: Checked,
        options: &ReadOptions,
        now: Instant,
    ) -> bool {
        self.stream = stream;
        match checked {
            Checked::Intact { path, stat, renamed, beginning } => {
                if let Some(beginning) = beginning {
                    let before = self.stat;
                    self.refresh(&beginning, options);
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
                self.status = FileStatus::Present;
                self.missing_since = None;
                self.lost_since = None;
                self.lost = false;
                self.racy = is_racy(&stat);
                self.stat = stat;
                true
            }
            Checked::Replaced => {
                self.replace(now);
                false
            }
            Checked::NotFound { gone, stat } => {
                if let Some(stat) = stat.filter(|stat| stat.size != self.stat.size) {
                    self.stat = stat;
                    self.grown = now;
                }
                if gone && self.status == FileStatus::Present {
                    self.status = FileStatus::Gone;
                    self.missing_since = Some(now);
                }
                if gone && !self.is_open() {
                    self.note_lost(now);
                }
                !gone
            }
        }
    }

    /// The file was overwritten: what was not read of it is lost, unless a copy turns up.
    pub(crate) fn replace(&mut self, now: Instant) {
        self.note_lost(now);
        self.status = FileStatus::Replaced;
        self.stream = Stream::Closed;
    }

    fn note_lost(&mut self, now: Instant) {
        if self.lost_since.is_none() && !self.lost && self.unread_bytes() > 0 {
            self.lost_since = Some(now);
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

    /// The content was found, whole, in another file; `reader` stands behind `proven`.
    pub(crate) fn adopt(
        &mut self,
        path: &Path,
        beginning: &Beginning,
        proven: u64,
        reader: Reader,
        options: &ReadOptions,
        now: Instant,
    ) {
        self.move_to(path);
        self.rotated = Some(now);
        self.missing_since = None;
        self.grown = now;
        self.gzip = beginning.gzip;
        self.complete = false;
        self.ended_at = None;
        self.lost_since = None;
        self.lost = false;
        self.refresh(beginning, options);
        // A reader of the deleted original goes on to its end.
        if matches!(self.stream, Stream::Closed) && self.read.offset == proven {
            self.stream = Stream::Open(reader, Lines::new(options.lines, proven));
        }
    }

    /// Everything in the file counts as read and delivered.
    pub(crate) fn take_as_read(&mut self, upto: Checkpoint) {
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
