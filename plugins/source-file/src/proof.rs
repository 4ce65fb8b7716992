//! Proof that a file begins with all that was read of another one: its lines are read again, silently, and the
//! digest of their ids compared. The only way in which an identity moves to another inode.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use flowstone_lines::{LineIds, LineOptions, Lines};

use crate::identity::{Checkpoint, digest_line};
use crate::reader::{Outcome, Reader};

/// How much one step reads: between steps other files get their turn.
const STEP_BYTES: usize = 256 << 10;

/// What another file must begin with to have the same content.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) ids: LineIds,
    /// Where reading began.
    pub(crate) start: u64,
    /// Where lines without a newline were taken as lines.
    pub(crate) unterminated: Vec<u64>,
    /// How far it was read.
    pub(crate) read: Checkpoint,
}

/// A proof that is not finished.
#[derive(Debug)]
pub(crate) struct Proof {
    reader: Reader,
    lines: Lines,
    evidence: Evidence,
    digest: u64,
    /// Where lines end although there is no newline; the last one is where the proof ends.
    ends: VecDeque<u64>,
}

/// What is known after a step.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum ProofStep {
    /// So far they agree.
    Inconclusive(Proof),
    /// The file begins with all that was read; the reader stands behind it.
    Proven(Reader),
    /// It does not.
    Refuted,
}

// === impl Proof ===

impl Proof {
    pub(crate) fn new(file: File, gzip: bool, evidence: Evidence, options: LineOptions) -> Self {
        let end = evidence.read.offset;
        let ends = evidence.unterminated.iter().copied().filter(|at| *at < end).chain([end]).collect();
        let lines = Lines::new(options, evidence.start);
        Self { reader: Reader::from_start(file, gzip), lines, evidence, digest: 0, ends }
    }

    /// Reads a little further; an error is one of the file.
    pub(crate) fn step(mut self) -> io::Result<ProofStep> {
        let Self { reader, lines, evidence, digest, ends } = &mut self;
        let Some(end) = ends.front().copied() else { return Ok(ProofStep::Refuted) };
        let room = |from: u64, to: u64| usize::try_from(to - from).unwrap_or(usize::MAX).min(STEP_BYTES);
        if reader.offset() < evidence.start {
            let room = room(reader.offset(), evidence.start);
            if let Reader::Plain(reader) = reader {
                reader.skip_to(evidence.start);
            } else if reader.read(&mut Vec::new(), room)? == Outcome::Bytes(0) {
                return Ok(ProofStep::Refuted);
            }
            return Ok(ProofStep::Inconclusive(self));
        }
        if let Reader::Plain(reader) = reader {
            reader.pass_hole(lines, end)?;
        }
        let room = room(reader.offset(), end);
        if room > 0 {
            let mut replaced = false;
            let count = lines.fill(room, |buffer| {
                replaced = reader.read(buffer, room)? == Outcome::Replaced;
                Ok(())
            })?;
            if replaced || count == 0 {
                return Ok(ProofStep::Refuted);
            }
        }
        let at_end = reader.offset() == end;
        lines.skim(end, at_end, |offset, line| *digest = digest_line(*digest, evidence.ids.id(offset, line)));
        if at_end {
            ends.pop_front();
            if ends.is_empty() {
                let same = lines.offset() == end && *digest == evidence.read.digest;
                return Ok(if same { ProofStep::Proven(self.reader) } else { ProofStep::Refuted });
            }
        }
        Ok(ProofStep::Inconclusive(self))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flowstone_lines::Decoding;

    use super::*;

    const OPTIONS: LineOptions = LineOptions { max_line_bytes: 1000, decoding: Decoding::Text };

    /// What a source that read `content` up to `end` knows of it; `unterminated` are ends of unfinished lines.
    fn known(content: &[u8], start: usize, end: usize, unterminated: &[u64]) -> Evidence {
        let ids = LineIds::new(1);
        let mut digest = 0;
        let mut at = start;
        for end in unterminated.iter().map(|at| *at as usize).chain([end]) {
            for line in content[at..end].split_inclusive(|byte| *byte == b'\n') {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                digest = digest_line(digest, ids.id(at as u64, text));
                at += line.len();
            }
        }
        Evidence {
            ids,
            start: start as u64,
            unterminated: unterminated.to_vec(),
            read: Checkpoint { offset: end as u64, digest, ..Checkpoint::start(0) },
        }
    }

    fn prove(content: &[u8], as_gzip: bool, known: Evidence) -> bool {
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
                ProofStep::Inconclusive(next) => proof = next,
                ProofStep::Proven(mut reader) => {
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
        assert!(!prove(content, false, known(content, 0, 17, &[]).tap(|known| known.unterminated = vec![6])));
    }

    trait Tap: Sized {
        fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }
    }
    impl Tap for Evidence {}
}
