//! Reading the bytes of a file: as they are, or out of gzip, told apart by the file's first two bytes.
#![expect(clippy::disallowed_methods, reason = "runs on a thread for calls that may block")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use flowstone_lines::{GzipMembers, Lines};
use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;

use crate::identity::{ANCHOR_BYTES, Checkpoint, HEAD_BYTES, Head};
use crate::listing::{Stat, folder_of};

/// A file that is read from front to back.
#[derive(Debug)]
pub(crate) enum Reader {
    Plain(PlainReader),
    Gzip(Box<GzipReader>),
}

/// Reads a plain file, and notices when its content is replaced under it.
#[derive(Debug)]
pub(crate) struct PlainReader {
    file: File,
    offset: u64,
    /// The bytes right before `offset`, as they were read.
    last: Vec<u8>,
}

/// Reads what is in a gzip file, of any number of members.
#[derive(Debug)]
pub(crate) struct GzipReader {
    members: GzipMembers<File>,
    offset: u64,
}

/// What a reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This many bytes, 0 at the end of the file.
    Bytes(usize),
    /// The bytes before these are not those that were read: the file was truncated or written anew.
    Replaced,
}

/// The beginning of a file as it is now.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// The first bytes of the stream, at most [`HEAD_BYTES`].
    pub(crate) bytes: Vec<u8>,
    /// The same, hashed.
    pub(crate) head: Head,
    /// That is all of a compressed file, to its end.
    pub(crate) whole: bool,
    pub(crate) gzip: bool,
    pub(crate) stat: Stat,
    /// On which device its folder is, if it was opened by its path.
    pub(crate) folder: Option<u64>,
    /// A compressed file is damaged, or ends too early, so near its beginning that there is no more of it.
    pub(crate) broken: Option<io::Error>,
}

/// First bytes of compressed files that cannot be read here, and what makes them.
const FOREIGN: &[(&[u8], &str)] =
    &[(b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4")];

// === impl Reader ===

impl Reader {
    /// Reads on: appends up to `room` bytes to `buffer`. What came before an error is kept.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> io::Result<Outcome> {
        match self {
            Self::Plain(reader) => reader.read(buffer, room),
            Self::Gzip(reader) => reader.read(buffer, room).map(Outcome::Bytes),
        }
    }

    /// A reader of the whole stream of `file`.
    pub(crate) fn from_start(file: File, gzip: bool) -> Self {
        if gzip {
            Self::Gzip(Box::new(GzipReader { members: GzipMembers::new(file), offset: 0 }))
        } else {
            Self::Plain(PlainReader { file, offset: 0, last: Vec::new() })
        }
    }

    /// The file, to be read anew.
    pub(crate) fn into_file(self) -> io::Result<File> {
        match self {
            Self::Plain(reader) => Ok(reader.file),
            Self::Gzip(reader) => {
                let mut file = reader.members.into_inner();
                file.rewind()?;
                Ok(file)
            }
        }
    }

    /// How far it is in the uncompressed stream.
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::Plain(reader) => reader.offset,
            Self::Gzip(reader) => reader.offset,
        }
    }

    /// How the file is now, and how many names it has.
    pub(crate) fn stat(&self) -> io::Result<(Stat, u64)> {
        let file = match self {
            Self::Plain(reader) => &reader.file,
            Self::Gzip(reader) => reader.members.get_ref(),
        };
        let metadata = file.metadata()?;
        Ok((Stat::of(&metadata), metadata.nlink()))
    }

    /// Whether something that is no gzip follows the last member of a compressed file.
    pub(crate) fn has_garbage(&self) -> bool {
        matches!(self, Self::Gzip(reader) if reader.members.has_garbage())
    }
}

// === impl PlainReader ===

impl PlainReader {
    /// A reader that goes on after `checkpoint`; `None` if what stands before it is something else.
    pub(crate) fn after(file: File, checkpoint: &Checkpoint) -> io::Result<Option<Self>> {
        let mut reader = Self { file, offset: 0, last: Vec::new() };
        Ok(reader.go_to(checkpoint)?.then_some(reader))
    }

    /// Moves to `checkpoint`; `false` if what stands before it is something else.
    pub(crate) fn go_to(&mut self, checkpoint: &Checkpoint) -> io::Result<bool> {
        let before = bytes_before(&self.file, checkpoint.offset, checkpoint.anchor_len)?;
        if self.file.metadata()?.len() < checkpoint.offset || !checkpoint.fits(&before) {
            return Ok(false);
        }
        self.offset = checkpoint.offset;
        self.last = before;
        Ok(true)
    }

    /// Moves to `offset` without a look at what stands before it.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.offset = offset;
        self.last.clear();
    }

    /// Passes the hole that begins where the reader stands, up to `until`, if `lines` may pass it: a truncated file
    /// whose writer goes on at its old place has one of any size, which is not there to be read.
    pub(crate) fn pass_hole(&mut self, lines: &mut Lines, until: u64) -> io::Result<()> {
        if self.last.last() != Some(&0) || !lines.may_pass_nuls() {
            return Ok(());
        }
        let Some(end) = self.end_of_hole()? else { return Ok(()) };
        let count = end.min(until).saturating_sub(self.offset);
        if count > 0 {
            lines.pass_nuls(count);
            self.offset += count;
            let nuls = usize::try_from(count).unwrap_or(usize::MAX).min(ANCHOR_BYTES);
            self.note_last(&[0; ANCHOR_BYTES][..nuls]);
        }
        Ok(())
    }

    /// Where data begins again; nothing where the system cannot tell holes.
    #[cfg(target_os = "linux")]
    fn end_of_hole(&self) -> io::Result<Option<u64>> {
        use rustix::io::Errno;
        // Before the search: all up to there is a hole if no data is found.
        let size = self.file.metadata()?.len();
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(self.offset)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(Some(size)),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn end_of_hole(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// A checkpoint where the reader stands, if only NUL bytes were passed since `checkpoint`.
    pub(crate) fn checkpoint_after(&self, checkpoint: Checkpoint) -> Checkpoint {
        checkpoint.moved_to(self.offset, &self.last)
    }

    fn note_last(&mut self, new: &[u8]) {
        if new.len() >= ANCHOR_BYTES {
            self.last.clear();
        }
        self.last.extend_from_slice(&new[new.len().saturating_sub(ANCHOR_BYTES)..]);
        let surplus = self.last.len().saturating_sub(ANCHOR_BYTES);
        self.last.drain(..surplus);
    }

    fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> io::Result<Outcome> {
        let carried = buffer.len();
        buffer.reserve(room);
        let count = rustix::io::retry_on_intr(|| {
            rustix::io::pread(self.file.as_fd(), spare_capacity(buffer), self.offset)
        })?;
        buffer.truncate(carried + count.min(room));
        // Checked after the reading: if the file was truncated before or during it, this shows it now.
        if !self.is_intact()? {
            buffer.truncate(carried);
            return Ok(Outcome::Replaced);
        }
        let new = &buffer[carried..];
        self.note_last(new);
        self.offset += new.len() as u64;
        Ok(Outcome::Bytes(new.len()))
    }

    /// Whether the bytes right before the reader are still those that it read.
    fn is_intact(&self) -> io::Result<bool> {
        Ok(bytes_before(&self.file, self.offset, self.last.len())? == self.last)
    }

    /// Whether the file still begins with `head` and holds what was read.
    pub(crate) fn still_has(&self, head: &Head) -> io::Result<bool> {
        let mut bytes = vec![0; head.len];
        let count = read_full_at(&self.file, &mut bytes, 0)?;
        let begins = Head::of(&bytes[..count]).is_same(head);
        Ok(begins && self.file.metadata()?.len() >= self.offset && self.is_intact()?)
    }

    /// The first bytes of the file as it is now.
    pub(crate) fn beginning(&self) -> io::Result<Beginning> {
        Beginning::of_file(&self.file)
    }
}

// === impl GzipReader ===

impl GzipReader {
    fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let carried = buffer.len();
        let outcome = (&mut self.members).take(room as u64).read_to_end(buffer);
        self.offset += (buffer.len() - carried) as u64;
        outcome
    }
}

// === impl Beginning ===

impl Beginning {
    /// Reads the first bytes of the file at `path` and leaves it open.
    pub(crate) fn of(path: &Path) -> io::Result<(Self, File)> {
        let file = open(path)?;
        let folder = folder_of(path).metadata().ok().map(|metadata| metadata.dev());
        Ok((Self { folder, ..Self::of_file(&file)? }, file))
    }

    /// Reads the first bytes of an open file.
    ///
    /// A gzip file that ends too early, or is damaged, gives what is there so far: it may still be being written.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        let stat = Stat::of(&file.metadata()?);
        let mut head = vec![0; HEAD_BYTES];
        let count = read_full_at(file, &mut head, 0)?;
        head.truncate(count);
        // The first byte alone: the others are still to come.
        let gzip = head.starts_with(b"\x1f\x8b") || head == b"\x1f";
        let (mut whole, mut broken) = (false, None);
        if gzip {
            head.clear();
            match GzipMembers::new(At { file, offset: 0 }).take(HEAD_BYTES as u64).read_to_end(&mut head) {
                Ok(count) => whole = count < HEAD_BYTES,
                Err(error) => broken = Some(error),
            }
        } else if let Some(name) = foreign_compression(&head) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("it is compressed with {name}, and only gzip can be read"),
            ));
        }
        Ok(Self { head: Head::of(&head), bytes: head, whole, gzip, stat, folder: None, broken })
    }

    /// Whether the file begins with `head`; an error if damage hides that.
    pub(crate) fn begins_with(&mut self, head: &Head) -> io::Result<bool> {
        let begins = head.begins(self);
        match self.broken.take_if(|error| !begins && error.kind() != io::ErrorKind::UnexpectedEof) {
            Some(error) => Err(error),
            None => Ok(begins),
        }
    }
}

/// Opens a file to read it. A pipe that took its place is not waited for.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    crate::stuck::wait_if_stuck(path);
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

fn foreign_compression(head: &[u8]) -> Option<&'static str> {
    let known = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    // "BZh", a digit for the block size, and pi.
    let bzip2 = head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY");
    known.or(bzip2.then_some("bzip2"))
}

/// Reads a file from a place of its own, so that the file's position does not matter.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Whether the bytes at the end of `shorter` also stand at that place in `longer`: whether it may be a copy of it that
/// is still being made.
pub(crate) fn may_be_part_of(shorter: &Path, longer: &Path) -> io::Result<bool> {
    let (shorter, longer) = (open(shorter)?, open(longer)?);
    let end = shorter.metadata()?.len();
    let len = usize::try_from(end).unwrap_or(usize::MAX).min(ANCHOR_BYTES);
    Ok(bytes_before(&shorter, end, len)? == bytes_before(&longer, end, len)?)
}

fn bytes_before(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let count = match offset.checked_sub(len as u64) {
        Some(start) => read_full_at(file, &mut bytes, start)?,
        None => 0,
    };
    bytes.truncate(count);
    Ok(bytes)
}

fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read_all(reader: &mut Reader, room: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match reader.read(&mut all, room)? {
                Outcome::Bytes(0) => return Ok(all),
                Outcome::Bytes(count) => assert!(count <= room),
                Outcome::Replaced => panic!("nothing was replaced"),
            }
        }
    }

    #[test]
    fn plain_and_gzip_files_give_the_same_stream() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|byte| (byte * 7 % 253) as u8).collect();
        let members = [gzip(&content[..40_000]), gzip(b""), gzip(&content[40_000..])].concat();
        for (name, bytes, is_gzip) in [("a", content.clone(), false), ("a.gz", members, true)] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let (beginning, file) = Beginning::of(&path).unwrap();
            assert_eq!(beginning.gzip, is_gzip);
            assert_eq!(beginning.bytes, content[..HEAD_BYTES]);
            let mut reader = Reader::from_start(file, is_gzip);
            assert_eq!(read_all(&mut reader, 999).unwrap(), content);
            assert_eq!(reader.offset(), content.len() as u64);
        }
    }

    #[test]
    fn a_gzip_file_that_ends_too_early_gives_what_is_there_and_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let whole = gzip(&b"line\n".repeat(5000));
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let (beginning, file) = Beginning::of(&path).unwrap();
        assert!(beginning.bytes.len() == HEAD_BYTES && beginning.broken.is_none());
        let mut all = Vec::new();
        let error = Reader::from_start(file, true).read(&mut all, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(all.len() > 20_000, "{}", all.len());
    }

    #[test]
    fn other_compressions_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (magic, name) in FOREIGN.iter().copied().chain([(&b"BZh91AY&SY"[..], "bzip2")]) {
            let path = folder.path().join(name);
            fs::write(&path, magic).unwrap();
            assert!(Beginning::of(&path).unwrap_err().to_string().contains(name));
        }
    }

    #[test]
    fn content_that_is_replaced_under_a_reader_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let old = b"0123456789\n".repeat(100);
        for (new, noticed) in [
            (Vec::new(), true),
            (b"short\n".to_vec(), true),
            (b"other line\n".repeat(200), true),
            ([old.clone(), b"more\n".to_vec()].concat(), false),
        ] {
            fs::write(&path, &old).unwrap();
            let file = File::open(&path).unwrap();
            let mut reader = Reader::from_start(file, false);
            let mut buffer = Vec::new();
            assert_eq!(reader.read(&mut buffer, 500).unwrap(), Outcome::Bytes(500));
            fs::write(&path, &new).unwrap();
            let outcome = reader.read(&mut buffer, 10_000).unwrap();
            assert_eq!(outcome == Outcome::Replaced, noticed, "{} bytes", new.len());
            assert_eq!(buffer.len(), if noticed { 500 } else { old.len() + 5 });
            let Reader::Plain(reader) = reader else { panic!() };
            assert_eq!(reader.still_has(&Head::of(&old)).unwrap(), !noticed);
        }
    }

    #[test]
    fn a_reader_goes_on_after_a_checkpoint_only_if_that_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"one\ntwo\nthree\n").unwrap();
        let checkpoint = Checkpoint::start(0).after(8, std::iter::empty(), b"one\ntwo\n");
        let mut reader = PlainReader::after(File::open(&path).unwrap(), &checkpoint).unwrap().unwrap();
        let mut buffer = Vec::new();
        reader.read(&mut buffer, 100).unwrap();
        assert_eq!(buffer, b"three\n");
        for other in [&b"one\ntwx\nthree\n"[..], b"one\n"] {
            fs::write(&path, other).unwrap();
            assert!(PlainReader::after(File::open(&path).unwrap(), &checkpoint).unwrap().is_none());
        }
    }
}
