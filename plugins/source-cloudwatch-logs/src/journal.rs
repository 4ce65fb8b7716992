//! The checkpoint: an append-only log of facts about ledgers, readable, at most 1 MB a second.
//!
//! Each line is a checksum and a JSON object. A line that is unterminated or damaged is skipped: its events are read
//! again, and none is lost. The log is kept in numbered files: when one has grown large, all that is still true is
//! written into the next, bit by bit, and then the older ones are deleted. Files of another version are left as they
//! are, and nothing is read.

mod entry;
mod files;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use flowstone_core::StateDir;

use crate::ledger::{Change, Ledger, Restored};
use files::{Files, Found};

/// The checkpoint of one source.
#[derive(Debug)]
pub struct Journal {
    files: Files,
    encoder: Encoder,
    /// What is known of log groups that nobody reads (now): kept for a while for when they are read again.
    orphans: BTreeMap<String, Restored>,
    /// Not everything that is true is in the newest file yet; the older ones stay.
    rewriting: bool,
    /// Bytes of the file when all that is true was in it.
    compact_size: u64,
    /// What could not be written: it is tried again before anything else.
    unwritten: Vec<u8>,
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
    /// Files without an end: whoever wrote them was killed in the middle of a line.
    pub unterminated: usize,
    /// Other lines that could not be understood.
    pub damaged: usize,
}

/// The entries are of a version of the format that is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherVersion(pub String);

/// Bytes a second that are written in the long run, bytes that may be saved up, and by how much a single line exceeds
/// what is left: together less than 1 MB in any second.
const BYTES_PER_SECOND: i64 = 512 << 10;
const BURST_BYTES: i64 = 256 << 10;
/// A file that has grown to this size, and to four times what is true of it, is begun anew.
const REWRITE_AT: u64 = 4 << 20;
/// How long a log group is known that nobody reads. CloudWatch ingests what is up to 14 days old.
const KEPT_MS: i64 = 30 * 86_400_000;
/// So many of them are known at most.
const KEPT_AT_MOST: usize = 10_000;

// === impl Journal ===

impl Journal {
    /// Reads the checkpoint in `dir`; the first write begins a new file. `source` is written into it, for people.
    ///
    /// # Errors
    /// What is there cannot be read, or is of another version. The text says what to do.
    pub fn open(dir: &StateDir, source: &str, now_ms: i64) -> Result<(Self, ReadReport), String> {
        let away = format!("move {} away to read all log groups anew", dir.path().display());
        let (found, files) = Files::open(dir.path(), &entry::header(source, now_ms)).map_err(|error| {
            let path = dir.path().display();
            format!("cannot read the checkpoint in {path}: {error}; give flowstone the right to read it, or {away}")
        })?;
        let mut orphans = BTreeMap::new();
        let mut report = ReadReport::default();
        for Found { path, content } in found {
            let path = path.display();
            let one = entry::read(&content, &mut orphans).map_err(|OtherVersion(version)| {
                format!(
                    "{path} has version {version}, this flowstone knows version {}; use the flowstone that wrote it, \
                     or {away}",
                    entry::VERSION
                )
            })?;
            if one.entries == 0 && one.damaged > 0 && !entry::has_header(&content) {
                return Err(format!(
                    "{path} is damaged, or no checkpoint of this flowstone: not one of its {} lines can be read; \
                     restore it, or {away}",
                    one.damaged
                ));
            }
            report.entries += one.entries;
            report.unterminated += one.unterminated;
            report.damaged += one.damaged;
        }
        for known in orphans.values_mut() {
            known.gone_ms = Some(known.gone_ms.map_or(now_ms, |gone_ms| gone_ms.min(now_ms)));
        }
        let mut journal = Self {
            files,
            encoder: Encoder::default(),
            orphans,
            rewriting: false,
            compact_size: 0,
            unwritten: Vec::new(),
        };
        journal.forget_orphans(now_ms);
        journal.begin_rewrite();
        Ok((journal, report))
    }

    /// Gives what is known of a log group, if it was read before. The caller's ledger supersedes it from now on.
    pub fn take(&mut self, partition: &str) -> Option<Restored> {
        self.orphans.remove(partition)
    }

    /// The log groups that nobody reads.
    pub fn partitions(&self) -> impl Iterator<Item = &str> {
        self.orphans.keys().map(String::as_str)
    }

    /// A log group is not read any more: what is known of it is kept for a while.
    pub fn keep(&mut self, partition: &str, known: Restored, now_ms: i64) {
        let known = Restored { gone_ms: Some(now_ms), ..known };
        for change in all_of(&known) {
            self.encoder.push(partition, change);
        }
        self.orphans.insert(partition.to_owned(), known);
        self.forget_orphans(now_ms);
    }

    /// What is forgotten is not in the next file.
    fn forget_orphans(&mut self, now_ms: i64) {
        let gone_ms = |known: &Restored| known.gone_ms.unwrap_or(now_ms);
        self.orphans.retain(|_, known| now_ms.saturating_sub(gone_ms(known)) < KEPT_MS);
        while self.orphans.len() > KEPT_AT_MOST {
            let first = self.orphans.iter().min_by_key(|(_, known)| gone_ms(known));
            let Some(name) = first.map(|(name, _)| name.clone()) else { break };
            self.orphans.remove(&name);
        }
    }

    /// Writes what the ledgers have to say, as far as the rate allows, and makes it durable.
    ///
    /// # Errors
    /// A full disk, say. Nothing is lost by it: what is not written is read again after a restart, and the next call
    /// tries the same bytes again at the same place.
    pub fn flush(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) -> io::Result<()> {
        if self.unwritten.is_empty() {
            self.unwritten = self.encoder.take(ledgers, now_ms);
        }
        if !self.unwritten.is_empty() {
            self.files.append(&self.unwritten)?;
            self.unwritten = Vec::new();
        }
        let written = self.encoder.is_empty() && !ledgers.iter().any(|(_, ledger)| ledger.is_rewriting());
        if self.rewriting && written {
            self.files.drop_older()?;
            self.rewriting = false;
            self.compact_size = self.files.size();
            self.forget_orphans(now_ms);
        } else if !self.rewriting && self.files.size() > REWRITE_AT.max(4 * self.compact_size) {
            self.rewrite(ledgers)?;
        }
        Ok(())
    }

    /// Writes all that the ledgers have to say, at whatever rate: the source ends.
    pub fn finish(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) -> io::Result<()> {
        if !self.unwritten.is_empty() {
            self.flush(ledgers, now_ms)?;
        }
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
    let gone = known.gone_ms.map(|since_ms| Change::Gone { since_ms });
    std::iter::once(opened).chain(done).chain(slices).chain(gone)
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
///
/// # Errors
/// They are of a version that is not known here.
pub fn read(content: &[u8], known: &mut BTreeMap<String, Restored>) -> Result<ReadReport, OtherVersion> {
    entry::read(content, known)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::ledger::Rules;

    const NAME: &str = "1/eu-west-1//vpc/flow";

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_disk_is_tried_again_in_the_same_file_and_nothing_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path().to_owned());
        let (mut journal, _) = Journal::open(&dir, "vpc", 0).unwrap();
        let (name, mut ledger) = (Arc::from(NAME), Ledger::new(Rules::default(), 60_000, None));
        let (other, mut second) = (Arc::from("1/eu-west-1//vpc/2"), Ledger::new(Rules::default(), 7, None));
        journal.flush(&mut [(&other, &mut second)], 500).unwrap();
        journal.files.fill_disk();
        for second in 1..100 {
            assert!(journal.flush(&mut [(&name, &mut ledger)], second * 1000).is_err());
        }
        // What the ledger said is taken from it, and kept.
        assert!(!ledger.has_changes());
        assert!(journal.finish(&mut [(&name, &mut ledger)], 100_000).is_err());
        assert_eq!(names(folder.path()), ["ledger-00000001.log"]);
        journal.files.make_room();
        journal.flush(&mut [(&name, &mut ledger)], 101_000).unwrap();
        drop(journal);
        assert_eq!(names(folder.path()), ["ledger-00000001.log"]);
        let (mut journal, report) = Journal::open(&dir, "vpc", 103_000).unwrap();
        assert_eq!((report.unterminated, report.damaged), (0, 0));
        assert_eq!(journal.take(NAME).map(|known| known.from_ms), Some(60_000));
        assert_eq!(journal.take(&other).map(|known| known.from_ms), Some(7));
    }

    #[test]
    fn a_checkpoint_of_another_version_is_refused_and_left_as_it_is() {
        let write = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("ledger-00000007.log"), text).unwrap();
            folder
        };
        let line = |text: &str| format!("{:016x} {text}\n", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        let entry = line(r#"{"p":"1/eu-west-1//vpc/flow","done":[5,1000]}"#);
        let newer = line(r#"{"v":2,"source":"vpc"}"#);
        let known = line(r#"{"v":1,"source":"vpc"}"#);
        for (text, told) in [
            (format!("{newer}{entry}"), "ledger-00000007.log has version 2, this flowstone knows version 1"),
            (format!("{}{entry}", line(r#"{"v":"2a"}"#)), "has version \"2a\""),
            (format!("{known}{entry}{newer}{entry}"), "has version 2"),
            // A format that does not even have these lines.
            ("FLOWSTONE3\nabc\ndef\n".to_owned(), "not one of its 3 lines can be read"),
        ] {
            let folder = write(&text);
            let dir = StateDir::new(folder.path().to_owned());
            let error = Journal::open(&dir, "vpc", 0).unwrap_err();
            assert!(error.contains(told) && error.contains("away to read all log groups anew"), "{error}");
            assert_eq!(names(folder.path()), ["ledger-00000007.log"]);
            assert_eq!(fs::read_to_string(folder.path().join("ledger-00000007.log")).unwrap(), text);
        }
        // What a crash leaves behind is none of these.
        for text in [String::new(), newer[..9].to_owned(), known.clone(), format!("{known}{}", &entry[..20])]
        {
            let folder = write(&text);
            let (_, report) = Journal::open(&StateDir::new(folder.path().to_owned()), "vpc", 0).unwrap();
            assert_eq!((report.entries, report.damaged), (0, 0), "{text}");
        }
    }

    #[test]
    fn a_group_that_nobody_reads_is_known_for_a_while_and_then_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path().to_owned());
        let (name, mut ledger) = (Arc::from(NAME), Ledger::new(Rules::default(), 60_000, None));
        let (mut journal, _) = Journal::open(&dir, "vpc", 0).unwrap();
        journal.flush(&mut [(&name, &mut ledger)], 1000).unwrap();
        journal.keep(NAME, ledger.known(), 5000);
        journal.flush(&mut [], 6000).unwrap();
        // However often it is started in between.
        for now_ms in [7000, 5000 + KEPT_MS / 2, 4999 + KEPT_MS] {
            let (mut journal, _) = Journal::open(&dir, "vpc", now_ms).unwrap();
            assert_eq!(journal.orphans[NAME].gone_ms, Some(5000));
            journal.flush(&mut [], now_ms).unwrap();
        }
        let (mut journal, report) = Journal::open(&dir, "vpc", 5000 + KEPT_MS).unwrap();
        assert!(report.entries > 0 && journal.orphans.is_empty());
        journal.finish(&mut [], 5000 + KEPT_MS).unwrap();
        assert_eq!(Journal::open(&dir, "vpc", 0).unwrap().1.entries, 0);
        // One that is read again begins a time of its own when it is gone again.
        let mut ledger = Ledger::restore(Rules::default(), None, ledger.known(), 7000);
        journal.flush(&mut [(&name, &mut ledger)], 8000).unwrap();
        let (journal, _) = Journal::open(&dir, "vpc", 9000).unwrap();
        assert_eq!(journal.orphans[NAME].gone_ms, Some(9000));
    }

    #[test]
    fn groups_that_nobody_reads_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&StateDir::new(folder.path().to_owned()), "vpc", 0).unwrap();
        for number in 0..KEPT_AT_MOST as i64 + 3 {
            journal.keep(&format!("1/r/{number}"), Restored::default(), number);
        }
        assert_eq!(journal.orphans.len(), KEPT_AT_MOST);
        assert!(!journal.orphans.contains_key("1/r/2") && journal.orphans.contains_key("1/r/3"));
    }
}
