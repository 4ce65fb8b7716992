//! A file with an inode that nobody knows: a new file, a known one under a new inode, or a copy of one that is there.
//!
//! Who may take over an identity, and why the rules are what they are:
//!
//! * Rotation by copy and truncation (`copytruncate`), compression and a move to another file system give known
//!   content a new inode. The original is gone or overwritten by then. So the candidates are the files whose content
//!   is no longer at its place, and the new file must hold everything that was read of one ([`crate::proof`]).
//! * For a moment both are there: the copy is written before the original is truncated, the `.gz` before it is
//!   removed. A new file that begins like a file that is still there is therefore held back until it was quiet for
//!   `rotate_wait`. If the original is there after that, the two are different files with the same beginning, and
//!   both are read. Only a `.gz` with exactly the content of a plain file beside it (`gzip -k`) is passed over.
//! * Little content proves little: every file of a program may begin with the same banner, and nothing else of it may
//!   have been read. Below 1 KiB the circumstances must agree as well: the name must begin alike, and either a plain
//!   file became a `.gz`, or a truncated file a plain one, or the length is that of the file that is missed.
//! * A file at the path of one that this process saw disappear was created anew, whatever is in it. After a restart
//!   that cannot be told from a file that was restored or moved with its folder; there its content decides.
//! * An inode that was overwritten never takes its own former content back: it was truncated and written anew. A `.gz`
//!   may: it got an inode number that had become free.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memchr::memrchr;
use tokio::time::Instant;

use crate::calls::Late;
use crate::identity::FileId;
use crate::listing::{Found, Stat};
use crate::proof::{Proof, ProofStep};
use crate::reader::Beginning;
use crate::tail::{FileStatus, Tail};

/// A file that has no identity yet.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// Its first bytes, once they could be read.
    pub(crate) beginning: Option<Beginning>,
    /// Since when it has not changed.
    pub(crate) quiet_since: Instant,
    /// When it was seen to have been renamed.
    pub(crate) rotated: Option<Instant>,
    /// What is in it at the first start is not to be read (`read_from = "end"`).
    pub(crate) skip_present: bool,
    /// It was there then: nothing in it is to be read whatever it may be a copy of.
    pub(crate) was_present: bool,
    /// Where reading begins in that case.
    pub(crate) start: u64,
    /// The call that reads its first bytes, if it did not return in time.
    pub(crate) late: Option<Late<io::Result<First>>>,
    /// The proof that has begun.
    pub(crate) proof: Option<(ProofGoal, Proving)>,
    /// Identities that are not this file's.
    pub(crate) refuted: Vec<ProofGoal>,
}

/// What a proof shows if it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofGoal {
    /// The new file is this file, and goes on with it.
    Successor(FileId),
    /// The new file is a compressed copy of this file, and nothing else.
    Copy(FileId),
}

/// A proof between two steps, or in one that did not return in time.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Proving {
    Next(Proof),
    Late(Late<io::Result<ProofStep>>),
}

/// What is read of a new file first.
#[derive(Debug)]
pub(crate) struct First {
    beginning: Beginning,
    /// Where its lines end, if what is there is not to be read.
    end: Option<u64>,
}

// === impl NewFile ===

impl NewFile {
    /// A file that was just found.
    pub(crate) fn new(found: Found, skip_present: bool, now: Instant) -> Self {
        Self {
            path: found.path,
            stat: found.stat,
            beginning: None,
            quiet_since: now,
            rotated: None,
            skip_present,
            was_present: skip_present,
            start: 0,
            late: None,
            proof: None,
            refuted: Vec::new(),
        }
    }

    /// The file was found again.
    pub(crate) fn see(&mut self, found: Found, now: Instant) {
        if self.path != found.path {
            self.path = found.path;
            self.rotated = Some(now);
        }
        if self.stat != found.stat {
            self.stat = found.stat;
            self.quiet_since = now;
            self.beginning = None;
            // With more content an identity may fit that did not.
            self.proof = None;
            self.refuted.clear();
        }
    }

    /// The call that reads its first bytes, and finds where reading begins.
    pub(crate) fn first(&self) -> impl FnOnce() -> io::Result<First> + Send + 'static {
        let (path, stat) = (self.path.clone(), self.stat);
        let skip = self.skip_present && self.start == 0;
        move || {
            let (beginning, file) = Beginning::of(&path)?;
            if !beginning.stat.same_inode(&stat) {
                // Rotated since the look; the next one sees it.
                return Err(io::ErrorKind::NotFound.into());
            }
            let end = (skip && !beginning.gzip).then(|| end_of_lines(&file)).transpose()?;
            Ok(First { beginning, end })
        }
    }

    /// Records the result of that call.
    pub(crate) fn take_first(&mut self, first: First) {
        let First { beginning, end } = first;
        self.start = end.unwrap_or(self.start);
        if beginning.stat.size < self.start {
            self.start = 0;
        }
        // What is in it now was looked at; what comes later is to be read.
        self.skip_present &= beginning.gzip;
        self.stat = beginning.stat;
        self.beginning = Some(beginning);
    }

    /// Whether `tail`, whose content is not at its place any more, may have this file as its successor.
    pub(crate) fn may_succeed(&self, tail: &Tail, beginning: &Beginning) -> bool {
        let written_anew = self.stat.same_inode(&tail.stat) && beginning.gzip == tail.gzip;
        let made_anew = self.path == tail.path && !tail.remembered;
        if tail.status == FileStatus::Present
            || written_anew
            || made_anew
            || self.refuted.contains(&ProofGoal::Successor(tail.id))
            || !tail.head.begins(beginning)
        {
            return false;
        }
        let was_compressed = beginning.gzip && !tail.gzip;
        let was_copied = tail.status == FileStatus::Replaced && !beginning.gzip;
        let is_as_long = !beginning.gzip && !tail.gzip && beginning.stat.size == tail.stat.size;
        !tail.has_little_evidence()
            || (are_related(&self.path, &tail.path) && (was_compressed || was_copied || is_as_long))
    }

    /// Whether it may still turn out to be what was read as `id`.
    pub(crate) fn may_become(&self, id: FileId) -> bool {
        matches!(self.proof, Some((ProofGoal::Successor(goal), _)) if goal == id)
    }

    /// Whether the file begins like `tail`, which is there, and so may be a copy of it, complete or still being made.
    pub(crate) fn resembles(&self, tail: &Tail, beginning: &Beginning) -> bool {
        !self.was_present && tail.status == FileStatus::Present && tail.head.agrees(beginning)
    }
}

/// Whether the names begin alike, up to the first character that rotation could have put there.
fn are_related(a: &Path, b: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = |name: &str| name.split(['.', '-', '_']).next().unwrap_or_default().to_owned();
    stem(&name(a)) == stem(&name(b))
}

/// Where reading begins if what is there now is not wanted: behind the last newline, so that an unfinished line is
/// read whole. A file without one is read from its beginning: none of its lines was complete.
fn end_of_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 64 << 10];
    while end > 0 {
        let part = buffer.len().min(usize::try_from(end).unwrap_or(usize::MAX));
        let start = end - part as u64;
        file.read_exact_at(&mut buffer[..part], start)?;
        if let Some(newline) = memrchr(b'\n', &buffer[..part]) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_could_have_made_are_related() {
        for (a, b, expect) in [
            ("/x/app.log", "/x/app.log.1", true),
            ("/x/app.log", "/old/app-20260101.log.gz", true),
            ("/x/app.log.1", "/x/app.log.2.gz", true),
            ("/x/app.log", "/x/web.log", false),
            ("/x/2026-01-01.log", "/x/2027-01-01.log", false),
        ] {
            assert_eq!(are_related(Path::new(a), Path::new(b)), expect, "{a} {b}");
        }
    }

    #[test]
    fn reading_from_the_end_begins_behind_the_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let long = "x".repeat(200_000);
        for (content, expect) in [
            ("", 0),
            ("abc", 0),
            ("abc\n", 4),
            ("abc\nde", 4),
            (&format!("a\n{long}"), 2),
            (&format!("{long}\n"), 200_001),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(end_of_lines(&File::open(&path).unwrap()).unwrap(), expect);
        }
    }
}
