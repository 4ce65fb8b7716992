//! Proof that a file begins with all that was read of another one: its lines are read again, silently, and the
//! digest of their ids compared. The only way in which an identity moves to another inode.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use flowstone_lines::{LineIds, LineOptions, Lines};

use crate::identity::{Mark, digest_line};
use crate::reader::{Outcome, Reader};

/// How much is read in one step, so that a long proof does not hold up the runtime.
const STEP_BYTES: usize = 256 << 10;

/// What was read of a file.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) ids: LineIds,
    /// Where reading began.
    pub(crate) start: u64,
    /// Where unfinished lines were taken as lines.
    pub(crate) torn: Vec<u64>,
    /// How far it was read.
    pub(crate) read: Mark,
}

/// A proof under way.
#[derive(Debug)]
pub(crate) struct Proof {
    reader: Reader,
    lines: Lines,
    known: Known,
    digest: u64,
    /// Where lines end although there is no newline; the last one is where the proof ends.
    ends: VecDeque<u64>,
}

/// What is known after a step.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// So far they agree.
    Open,
    /// The file begins with all that was read; the reader stands behind it.
    Proven(Reader),
    /// It does not.
    Refuted,
}

// === impl Proof ===

impl Proof {
    pub(crate) fn new(file: File, gzip: bool, known: Known, options: LineOptions) -> Self {
        let end = known.read.offset;
        let ends = known.torn.iter().copied().filter(|torn| *torn < end).chain([end]).collect();
        let lines = Lines::new(options, known.start);
        Self { reader: Reader::from_start(file, gzip), lines, known, digest: 0, ends }
    }

    /// Reads a little further; an error is one of the file.
    pub(crate) fn step(mut self) -> io::Result<(Verdict, Option<Self>)> {
        let Some(end) = self.ends.front().copied() else { return Ok((Verdict::Refuted, None)) };
        if self.reader.offset() < self.known.start {
            let room = usize::try_from(self.known.start - self.reader.offset()).unwrap_or(usize::MAX);
            match &mut self.reader {
                Reader::Plain(reader) => reader.skip_to(self.known.start),
                Reader::Gzip(_) => {
                    let mut skipped = Vec::new();
                    if self.reader.read(&mut skipped, room.min(STEP_BYTES))? == Outcome::Bytes(0) {
                        return Ok((Verdict::Refuted, None));
                    }
                }
            }
            return Ok((Verdict::Open, Some(self)));
        }
        if let Reader::Plain(reader) = &mut self.reader {
            reader.pass_hole(&mut self.lines, end)?;
        }
        let room = usize::try_from(end - self.reader.offset()).unwrap_or(usize::MAX).min(STEP_BYTES);
        if room > 0 {
            let mut replaced = false;
            let Self { reader, lines, .. } = &mut self;
            let count = lines.fill(room, |buffer| {
                replaced = reader.read(buffer, room)? == Outcome::Replaced;
                Ok(())
            })?;
            if replaced || count == 0 {
                return Ok((Verdict::Refuted, None));
            }
        }
        let Self { reader, lines, known, digest, ends } = &mut self;
        let at_end = reader.offset() == end;
        lines.skim(end, at_end, |offset, line| *digest = digest_line(*digest, known.ids.id(offset, line)));
        if at_end {
            ends.pop_front();
            if ends.is_empty() {
                let same = lines.offset() == end && *digest == known.read.digest;
                return Ok((if same { Verdict::Proven(self.reader) } else { Verdict::Refuted }, None));
            }
        }
        Ok((Verdict::Open, Some(self)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flowstone_lines::Decoding;

    use super::*;

    const OPTIONS: LineOptions = LineOptions { max_line_bytes: 1000, decoding: Decoding::Text };

    /// What a source that read `content` up to `end` knows of it; `torn` are ends of unfinished lines.
    fn known(content: &[u8], start: usize, end: usize, torn: &[u64]) -> Known {
        let ids = LineIds::new(1);
        let mut digest = 0;
        let mut at = start;
        for end in torn.iter().map(|torn| *torn as usize).chain([end]) {
            for line in content[at..end].split_inclusive(|byte| *byte == b'\n') {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                digest = digest_line(digest, ids.id(at as u64, text));
                at += line.len();
            }
        }
        Known {
            ids,
            start: start as u64,
            torn: torn.to_vec(),
            read: Mark { offset: end as u64, digest, ..Mark::start(0) },
        }
    }

    fn prove(content: &[u8], as_gzip: bool, known: Known) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        if as_gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            fs::write(&path, encoder.finish().unwrap()).unwrap();
        } else {
            fs::write(&path, content).unwrap();
        }
        let end = known.read.offset;
        let mut proof = Proof::new(File::open(&path).unwrap(), as_gzip, known, OPTIONS);
        loop {
            match proof.step().unwrap() {
                (Verdict::Open, Some(next)) => proof = next,
                (Verdict::Proven(mut reader), _) => {
                    assert_eq!(reader.offset(), end);
                    let mut rest = Vec::new();
                    reader.read(&mut rest, 1 << 20).unwrap();
                    assert_eq!(rest, content[end as usize..]);
                    return true;
                }
                _ => return false,
            }
        }
    }

    #[test]
    fn a_file_is_proven_only_if_all_that_was_read_stands_at_its_beginning() {
        let content: Vec<u8> = (0..60_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
        let middle = content.len() / 2
            + content[content.len() / 2..].iter().position(|byte| *byte == b'\n').unwrap()
            + 1;
        for as_gzip in [false, true] {
            for (end, start) in [(content.len(), 0), (middle, 0), (content.len(), 7), (7, 0), (0, 0)] {
                assert!(
                    prove(&content, as_gzip, known(&content, start, end, &[])),
                    "{as_gzip} {start} {end}"
                );
            }
            let mut other = content.clone();
            other[1000] = b'x';
            assert!(!prove(&other, as_gzip, known(&content, 0, middle, &[])));
            assert!(!prove(&content[..middle - 9], as_gzip, known(&content, 0, middle, &[])));
            assert!(!prove(b"", as_gzip, known(&content, 0, 7, &[])));
        }
    }

    #[test]
    fn lines_that_were_taken_unfinished_do_not_spoil_a_proof() {
        let content = b"one\ntwo and more\nthree";
        assert!(prove(content, false, known(content, 0, 17, &[6, 7])));
        assert!(prove(content, false, known(content, 0, 6, &[])));
        assert!(prove(content, true, known(content, 0, content.len(), &[6])));
        assert!(!prove(content, false, known(content, 0, 17, &[]).tap(|known| known.torn = vec![6])));
    }

    trait Tap: Sized {
        fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }
    }
    impl Tap for Known {}
}
