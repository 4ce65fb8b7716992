//! What is done with the file of a [`crate::tail::Tail`] by the thread that makes calls into file systems: it is opened,
//! read on, and looked at.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use flowstone_lines::{LineOptions, Lines};

use crate::calls::Late;
use crate::identity::{Checkpoint, HEAD_BYTES, Head};
use crate::listing::{Found, Stat, Whereabouts};
use crate::proof::{Evidence, Proof, ProofStep};
use crate::reader::{Beginning, Outcome, PlainReader, Reader};

/// The open file.
#[derive(Debug)]
pub(crate) enum Stream {
    Closed,
    /// On the way to where reading goes on, in a file that can only be read from the front.
    Seeking(Proof),
    Open(Reader, Lines),
    /// Reading failed; what was read before that is still to be given out.
    Failed(io::Error, Lines),
    /// A call on it has not returned. With `true` its result is of no use any more.
    Late(Late<Done>, bool),
}

/// A call, with all that it needs.
// One per step, moved a few times: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Work {
    /// By its path.
    Open(Opening),
    /// The file that is open, from the place that the opening names.
    Reopen(Reader, Opening),
    Seek(Proof),
    /// Reads up to `room` bytes. `head` is given where nothing was read before: only the head shows that it is the file.
    Read {
        reader: Reader,
        lines: Lines,
        room: usize,
        head: Option<Head>,
    },
    Check(Stream, Check),
}

/// What a call came to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Done {
    Opened(io::Result<Opened>),
    Sought(io::Result<ProofStep>),
    Read { reader: Reader, lines: Lines, outcome: io::Result<Outcome> },
    Checked(Stream, io::Result<Checked>),
}

/// What opening a file needs, and reading on in it.
pub(crate) struct Opening {
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    pub(crate) head: Head,
    pub(crate) gzip: bool,
    pub(crate) evidence: Evidence,
    pub(crate) options: LineOptions,
}

/// The outcome of opening a file.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Opened {
    Stream(Stream),
    /// It does not hold what was read of it.
    Replaced,
    /// Rotated since the last look; the next one will find it.
    Elsewhere,
}

/// What looking at a file needs.
pub(crate) struct Check {
    /// As the listing has it, if it has.
    pub(crate) found: Option<Found>,
    /// Where it was seen last.
    pub(crate) path: PathBuf,
    /// How it was seen last.
    pub(crate) stat: Stat,
    /// On which device its folder was.
    pub(crate) folder: Option<u64>,
    pub(crate) head: Head,
    pub(crate) gzip: bool,
    pub(crate) read: Checkpoint,
    pub(crate) has_little_evidence: bool,
}

/// The outcome of a look at a file.
#[derive(Debug)]
pub(crate) enum Checked {
    /// It still holds what was read of it.
    Intact {
        path: PathBuf,
        stat: Stat,
        /// Its name leads to it no longer, `path` does.
        renamed: bool,
        /// Its beginning, if that was read.
        beginning: Option<Box<Beginning>>,
    },
    /// It does not.
    Replaced,
    /// It was not found. `gone` if that is certain, and `stat` if it is open.
    NotFound { gone: bool, stat: Option<Stat> },
}

// === impl Work ===

impl Work {
    pub(crate) fn perform(self) -> Done {
        match self {
            Self::Open(opening) => Done::Opened(opening.open()),
            Self::Reopen(reader, opening) => {
                let gzip = matches!(reader, Reader::Gzip(_));
                Done::Opened(reader.into_file().and_then(|file| opening.stream_of(file, gzip)))
            }
            Self::Seek(proof) => Done::Sought(proof.step()),
            Self::Read { mut reader, mut lines, room, head } => {
                let outcome = read(&mut reader, &mut lines, room, head.as_ref());
                Done::Read { reader, lines, outcome }
            }
            Self::Check(stream, check) => {
                let outcome = check.run(&stream);
                Done::Checked(stream, outcome)
            }
        }
    }
}

fn read(reader: &mut Reader, lines: &mut Lines, room: usize, head: Option<&Head>) -> io::Result<Outcome> {
    if let Reader::Plain(reader) = reader {
        reader.pass_hole(lines, u64::MAX)?;
    }
    let mut replaced = false;
    let count = lines.fill(room, |buffer| {
        replaced = reader.read(buffer, room)? == Outcome::Replaced;
        if let (Some(head), Reader::Plain(reader)) = (head, &*reader) {
            replaced |= !reader.still_has(head)?;
        }
        Ok(())
    })?;
    Ok(if replaced { Outcome::Replaced } else { Outcome::Bytes(count) })
}

// === impl Opening ===

impl Opening {
    fn open(self) -> io::Result<Opened> {
        let (mut beginning, file) = match Beginning::of(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Elsewhere),
            other => other?,
        };
        if !beginning.stat.same_inode(&self.stat) {
            return Ok(Opened::Elsewhere);
        }
        if beginning.gzip != self.gzip || !beginning.begins_with(&self.head)? {
            return Ok(Opened::Replaced);
        }
        let gzip = self.gzip;
        self.stream_of(file, gzip)
    }

    /// A stream that goes on where reading stands.
    fn stream_of(self, file: File, gzip: bool) -> io::Result<Opened> {
        let read = self.evidence.read;
        let lines = Lines::new(self.options, read.offset);
        if read.offset == 0 {
            return Ok(Opened::Stream(Stream::Open(Reader::from_start(file, gzip), lines)));
        }
        if gzip {
            return Ok(Opened::Stream(Stream::Seeking(Proof::new(file, true, self.evidence, self.options))));
        }
        Ok(match PlainReader::after(file, &read)? {
            Some(reader) => Opened::Stream(Stream::Open(Reader::Plain(reader), lines)),
            None => Opened::Replaced,
        })
    }
}

// === impl Look ===

impl Check {
    fn run(self, stream: &Stream) -> io::Result<Checked> {
        let whereabouts = || Whereabouts::of(&self.path, &self.stat, self.folder);
        let (path, stat, renamed) = match &self.found {
            Some(found) if found.path == self.path => (&found.path, found.stat, false),
            Some(found) => match whereabouts() {
                // It has several names: that is no rotation.
                Whereabouts::Here(stat) => (&self.path, stat, false),
                Whereabouts::Unknown => (&found.path, found.stat, false),
                Whereabouts::Gone | Whereabouts::Adrift => (&found.path, found.stat, true),
            },
            None => match whereabouts() {
                Whereabouts::Here(stat) => (&self.path, stat, false),
                other => return self.not_found(other, stream),
            },
        };
        let beginning = match stream {
            Stream::Open(reader @ Reader::Plain(plain), _) if reader.stat()?.0.same_inode(&stat) => {
                if !plain.still_has(&self.head)? {
                    return Ok(Checked::Replaced);
                }
                let grows = self.head.len < HEAD_BYTES;
                grows.then(|| plain.beginning()).transpose()?
            }
            _ => {
                let (mut beginning, file) = Beginning::of(path)?;
                if !beginning.stat.same_inode(&stat) {
                    // Rotated since the listing; the next look finds it under its new name.
                    return Err(io::ErrorKind::NotFound.into());
                }
                let reborn = stat.born.is_some() && self.stat.born.is_some() && stat.born != self.stat.born;
                let intact = beginning.gzip == self.gzip
                    && beginning.begins_with(&self.head)?
                    // A compressed file is proven when reading returns to where it was.
                    && (self.gzip || PlainReader::after(file, &self.read)?.is_some())
                    && !(reborn && self.has_little_evidence);
                if !intact {
                    return Ok(Checked::Replaced);
                }
                Some(beginning)
            }
        };
        let beginning = beginning.map(Box::new);
        Ok(Checked::Intact { path: path.clone(), stat, renamed, beginning })
    }

    /// Nothing leads to it now. An open file can still be written to, or have been truncated before it went.
    fn not_found(&self, whereabouts: Whereabouts, stream: &Stream) -> io::Result<Checked> {
        let in_folder = matches!(whereabouts, Whereabouts::Gone);
        let Stream::Open(reader, _) = stream else {
            // It can be read again only where it was, and that is not there.
            let gone = in_folder || matches!(whereabouts, Whereabouts::Adrift);
            return Ok(Checked::NotFound { gone, stat: None });
        };
        let (stat, names) = reader.stat()?;
        if let Reader::Plain(plain) = reader
            && stat.size != self.stat.size
            && matches!(plain.still_has(&self.head), Ok(false))
        {
            return Ok(Checked::Replaced);
        }
        let gone = in_folder || names == 0;
        Ok(Checked::NotFound { gone, stat: matches!(reader, Reader::Plain(_)).then_some(stat) })
    }
}
