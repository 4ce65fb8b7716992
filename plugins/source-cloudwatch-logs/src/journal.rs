//! The checkpoint: an append-only log of facts about ledgers, readable, at most 1 MB a second.
//!
//! Each line is a checksum and a JSON object; a line that is torn or broken is skipped, which makes events be read
//! again and loses none. The log is kept in numbered files: when one has grown large, all that is still true is
//! written into the next, bit by bit, and then the older ones are deleted.

mod entry;
mod files;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use flowstone_core::StateDir;

use crate::ledger::{Change, Ledger, Restored};
use files::Files;

/// The checkpoint of one source.
#[derive(Debug)]
pub struct Journal {
    files: Files,
    encoder: Encoder,
    /// What is known of log groups that nobody reads (now): kept for when they are read again.
    orphans: BTreeMap<String, Restored>,
    /// Not everything that is true is in the newest file yet; the older ones stay.
    rewriting: bool,
    /// Bytes of the file when all that is true was in it.
    compact_size: u64,
    /// Something could not be written, and what it said is gone: all is written anew.
    broken: bool,
}

/// Turns changes into lines, at a bounded rate.
#[derive(Debug)]
pub struct Encoder {
    lines: VecDeque<Vec<u8>>,
    budget: i64,
    filled_at: i64,
    unbounded: bool,
    turn: usize,
}

/// What reading a checkpoint met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Entries that were understood.
    pub entries: usize,
    /// Lines that were not: torn, broken, or of a newer version.
    pub skipped: usize,
}

/// Bytes a second that are written in the long run, bytes that may be saved up, and by how much a single line exceeds
/// what is left: together less than 1 MB in any second.
const BYTES_PER_SECOND: i64 = 512 << 10;
const BURST_BYTES: i64 = 256 << 10;
/// A file that has grown to this size, and to four times what is true of it, is begun anew.
const REWRITE_AT: u64 = 4 << 20;

// === impl Journal ===

impl Journal {
    /// Opens the checkpoint in `dir`, reads it, and begins a new file. `source` is written into it, for people.
    pub fn open(dir: &StateDir, source: &str, now_ms: i64) -> io::Result<(Self, ReadReport)> {
        let (content, files) = Files::open(dir.path(), &entry::header(source, now_ms))?;
        let mut orphans = BTreeMap::new();
        let mut report = ReadReport::default();
        for file in content {
            let one = entry::read(&file, &mut orphans);
            report.entries += one.entries;
            report.skipped += one.skipped;
        }
        let mut journal = Self {
            files,
            encoder: Encoder::default(),
            orphans,
            rewriting: false,
            compact_size: 0,
            broken: false,
        };
        journal.begin_rewrite();
        Ok((journal, report))
    }

    /// What is known of a log group, if it was read before. The caller's ledger speaks for it from now on.
    pub fn take(&mut self, partition: &str) -> Option<Restored> {
        self.orphans.remove(partition)
    }

    /// The folder that it is kept in.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// Writes what the ledgers have to say, as far as the rate allows, and makes it durable.
    ///
    /// # Errors
    /// A full disk, say. Nothing is lost by it: what is not written is read again after a restart, and once there is
    /// room everything is written anew.
    pub fn flush(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) -> io::Result<()> {
        if self.broken {
            self.rewrite(ledgers)?;
            self.broken = false;
        }
        let bytes = self.encoder.take(ledgers, now_ms);
        if !bytes.is_empty()
            && let Err(error) = self.files.append(&bytes)
        {
            self.broken = true;
            return Err(error);
        }
        let written = self.encoder.is_empty() && !ledgers.iter().any(|(_, ledger)| ledger.is_rewriting());
        if self.rewriting && written {
            self.files.drop_older()?;
            self.rewriting = false;
            self.compact_size = self.files.size();
        } else if !self.rewriting && self.files.size() > REWRITE_AT.max(4 * self.compact_size) {
            self.rewrite(ledgers)?;
        }
        Ok(())
    }

    /// Writes all that the ledgers have to say, at whatever rate: the source ends.
    pub fn finish(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) -> io::Result<()> {
        self.encoder.unbounded = true;
        self.flush(ledgers, now_ms)
    }

    /// Begins a file and writes all that is true into it, bit by bit.
    fn rewrite(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)]) -> io::Result<()> {
        self.files.begin_next()?;
        self.encoder.forget();
        self.begin_rewrite();
        ledgers.iter_mut().for_each(|(_, ledger)| ledger.rewrite());
        Ok(())
    }

    fn begin_rewrite(&mut self) {
        self.rewriting = true;
        for (partition, known) in &self.orphans {
            for change in all_of(known) {
                self.encoder.push(partition, change);
            }
        }
    }
}

/// Everything that is known of a ledger, as entries.
fn all_of(known: &Restored) -> impl Iterator<Item = Change> + '_ {
    let opened =
        Change::Opened { from_ms: known.from_ms, lateness: known.lateness, audited_to: known.audited_to };
    let done = known.done.iter().map(|(start, end)| Change::Done { start, end });
    let slices = known.slices.iter().map(|(&start, (end, facts))| Change::Slice {
        start,
        end: *end,
        facts: facts.clone(),
    });
    std::iter::once(opened).chain(done).chain(slices)
}

// === impl Encoder ===

impl Default for Encoder {
    fn default() -> Self {
        Self { lines: VecDeque::new(), budget: BURST_BYTES, filled_at: i64::MIN, unbounded: false, turn: 0 }
    }
}

impl Encoder {
    /// Lines to append now, within the budget. Each ledger has one entry in its turn.
    pub fn take(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) -> Vec<u8> {
        let millis = now_ms.saturating_sub(self.filled_at).clamp(0, 10_000);
        // A clock that was set back begins anew.
        self.filled_at = now_ms;
        self.budget = (self.budget + millis * BYTES_PER_SECOND / 1000).min(BURST_BYTES);
        let mut bytes = Vec::new();
        let mut silent = 0;
        while self.budget > 0 || self.unbounded {
            if let Some(line) = self.lines.pop_front() {
                self.budget -= line.len() as i64;
                bytes.extend_from_slice(&line);
                continue;
            }
            if silent >= ledgers.len() {
                break;
            }
            self.turn = (self.turn + 1) % ledgers.len();
            let (partition, ledger) = &mut ledgers[self.turn];
            match ledger.next_change() {
                Some(change) => {
                    silent = 0;
                    let partition = Arc::clone(partition);
                    self.push(&partition, change);
                }
                None => silent += 1,
            }
        }
        bytes
    }

    /// Drops entries that were begun: all is said anew.
    fn forget(&mut self) {
        self.lines.clear();
    }

    /// Whether every entry that was begun is written.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn push(&mut self, partition: &str, change: Change) {
        entry::write(partition, change, |line| self.lines.push_back(line));
    }
}

/// Reads the lines that [`Encoder::take`] gave.
pub fn read(content: &[u8], known: &mut BTreeMap<String, Restored>) -> ReadReport {
    entry::read(content, known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Rules;

    const NAME: &str = "1/eu-west-1//vpc/flow";

    #[test]
    fn after_a_full_disk_all_that_is_true_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path().to_owned());
        let (mut journal, _) = Journal::open(&dir, "vpc", 0).unwrap();
        let (name, mut ledger) = (Arc::from(NAME), Ledger::new(Rules::default(), 60_000, None));
        journal.files.fill_disk();
        // What the ledger says here is taken from it and lost.
        assert!(journal.flush(&mut [(&name, &mut ledger)], 1000).is_err());
        assert!(!ledger.has_changes());
        journal.flush(&mut [(&name, &mut ledger)], 2000).unwrap();
        drop(journal);
        let (mut journal, report) = Journal::open(&dir, "vpc", 3000).unwrap();
        assert_eq!(report.skipped, 0);
        assert_eq!(journal.take(NAME).map(|known| known.from_ms), Some(60_000));
    }
}
