//! Files that grow by whole pieces: written with as few calls as possible, synced, and cut back when the disk did not
//! take all of it.
#![expect(clippy::disallowed_methods, reason = "it blocks: its callers are on threads that may")]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::Path;

use bytes::Bytes;

use crate::private_files::{make_private_dir, open_private, sync_dir};

/// A file that grows by whole pieces: a piece is on the disk, or nothing of it is in the file.
///
/// Others may append to the same file. What they wrote is never cut off, and a piece that could not be cut off for their
/// sake is told with the error.
#[derive(Debug)]
pub struct AppendFile<F = File> {
    file: F,
    /// Up to here the file is whole: nothing behind it is an unfinished piece of ours.
    whole: u64,
    /// Behind `whole` lie so many bytes of a piece that was not written to its end and could not be cut off yet.
    partial: u64,
}

/// What an [`AppendFile`] asks of the file below it.
#[doc(hidden)]
pub trait Disk {
    fn length(&self) -> io::Result<u64>;
    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The system takes so many pieces in one call.
const MOST_PIECES: usize = 1024;

// === impl AppendFile ===

impl AppendFile {
    /// Opens a file for this user alone (0600, its folder 0700), or makes it; its name survives a power cut.
    pub fn private(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make_private_dir(folder)?;
        let file = open_private(path, OpenOptions::new().read(true).append(true).create(true))?;
        if file.metadata()?.len() == 0 {
            sync_dir(folder)?;
        }
        Self::of(file)
    }
}

impl<F: Disk> AppendFile<F> {
    /// A file that was opened for appending. All that is in it counts as whole.
    pub fn of(file: F) -> io::Result<Self> {
        let whole = file.length()?;
        Ok(Self { file, whole, partial: 0 })
    }

    /// How long the file is, as far as it is whole.
    pub fn len(&self) -> u64 {
        self.whole
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.whole == 0
    }

    /// The file itself.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Appends these pieces, one behind the other, and syncs. After an error nothing of them is in the file; if they
    /// could not even be cut off, the error says so, and the next call tries that again first.
    pub fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        self.mend()?;
        self.whole = self.file.length()?;
        let mut written = 0;
        let appended = write_all(&mut self.file, pieces, &mut written).and_then(|()| self.file.sync());
        if let Err(error) = appended {
            self.partial = written;
            return Err(match self.mend() {
                Ok(()) => error,
                Err(cut) => io::Error::new(
                    error.kind(),
                    format!("{error}; what was written of it could not be cut off: {cut}"),
                ),
            });
        }
        self.whole += written;
        Ok(())
    }

    /// Cuts the file to a length that it had before.
    pub fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length)?;
        (self.whole, self.partial) = (length, 0);
        Ok(())
    }

    /// Cuts off what was written of a piece, unless somebody has written behind it.
    fn mend(&mut self) -> io::Result<()> {
        if self.partial == 0 {
            return Ok(());
        }
        if self.file.length()? != self.whole + self.partial {
            self.partial = 0;
            return Err(io::Error::other("another process has written behind it"));
        }
        self.cut(self.whole)
    }
}

fn write_all(file: &mut impl Disk, pieces: &[Bytes], written: &mut u64) -> io::Result<()> {
    for some in pieces.chunks(MOST_PIECES) {
        let mut slices: Vec<IoSlice<'_>> = some.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match file.write_some(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *written += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

// === impl Disk for File ===

impl Disk for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(pieces)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::rc::Rc;

    use super::*;

    /// A disk with so much room that fails when it is told to, and takes `at_once` bytes a call.
    #[derive(Debug, Default)]
    struct Fake {
        content: Vec<u8>,
        room: usize,
        at_once: usize,
        sync_fails: bool,
        cut_fails: bool,
        calls: usize,
    }

    impl Disk for Rc<RefCell<Fake>> {
        fn length(&self) -> io::Result<u64> {
            Ok(self.borrow().content.len() as u64)
        }

        fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut fake = self.borrow_mut();
            fake.calls += 1;
            let bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
            let fits = fake.room.saturating_sub(fake.content.len()).min(fake.at_once);
            let taken: Vec<u8> = bytes.take(fits).collect();
            if taken.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            fake.content.extend_from_slice(&taken);
            Ok(taken.len())
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.borrow().sync_fails { Err(io::Error::other("input/output error")) } else { Ok(()) }
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            if self.borrow().cut_fails {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            self.borrow_mut().content.truncate(length as usize);
            Ok(())
        }
    }

    fn disk(content: &str, room: usize) -> (Rc<RefCell<Fake>>, AppendFile<Rc<RefCell<Fake>>>) {
        let fake = Fake { content: content.into(), room, at_once: usize::MAX, ..Fake::default() };
        let fake = Rc::new(RefCell::new(fake));
        (Rc::clone(&fake), AppendFile::of(fake).unwrap())
    }

    fn pieces(texts: &[&'static str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
    }

    fn content(fake: &RefCell<Fake>) -> String {
        String::from_utf8(fake.borrow().content.clone()).unwrap()
    }

    #[test]
    fn pieces_are_written_in_one_call_and_short_writes_go_on() {
        let (fake, mut file) = disk("", 1000);
        file.append(&pieces(&["", "one\n", "", "two\n"])).unwrap();
        assert_eq!((content(&fake).as_str(), fake.borrow().calls), ("one\ntwo\n", 1));
        fake.borrow_mut().at_once = 3;
        file.append(&pieces(&["three\n", "four\n"])).unwrap();
        assert_eq!(content(&fake), "one\ntwo\nthree\nfour\n");
        assert_eq!(file.len(), 19);
        file.append(&[]).unwrap();
    }

    #[test]
    fn a_full_disk_leaves_nothing_of_a_piece_and_the_next_try_is_whole() {
        let (fake, mut file) = disk("old\n", 7);
        assert_eq!(file.append(&pieces(&["one\n", "two\n"])).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(content(&fake), "old\n");
        fake.borrow_mut().room = 100;
        file.append(&pieces(&["one\n", "two\n"])).unwrap();
        assert_eq!(content(&fake), "old\none\ntwo\n");
    }

    #[test]
    fn what_was_not_synced_is_cut_off_too() {
        let (fake, mut file) = disk("old\n", 100);
        fake.borrow_mut().sync_fails = true;
        assert!(file.append(&pieces(&["one\n"])).is_err());
        assert_eq!(content(&fake), "old\n");
    }

    #[test]
    fn a_piece_that_cannot_be_cut_off_is_told_and_cut_off_later() {
        let (fake, mut file) = disk("old\n", 6);
        fake.borrow_mut().cut_fails = true;
        let error = file.append(&pieces(&["one\n"])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("could not be cut off"), "{error}");
        fake.borrow_mut().room = 100;
        assert!(file.append(&pieces(&["one\n"])).is_err(), "half a line is in the way");
        fake.borrow_mut().cut_fails = false;
        file.append(&pieces(&["one\n"])).unwrap();
        assert_eq!(content(&fake), "old\none\n");
    }

    #[test]
    fn what_another_process_wrote_is_never_cut_off() {
        let (fake, mut file) = disk("old\n", 100);
        fake.borrow_mut().content.extend_from_slice(b"theirs\n");
        fake.borrow_mut().sync_fails = true;
        assert!(file.append(&pieces(&["one\n"])).is_err());
        assert_eq!(content(&fake), "old\ntheirs\n");
        fake.borrow_mut().cut_fails = true;
        assert!(file.append(&pieces(&["one\n"])).is_err());
        fake.borrow_mut().content.extend_from_slice(b"theirs too\n");
        fake.borrow_mut().cut_fails = false;
        assert!(file.append(&pieces(&["one\n"])).is_err());
        assert_eq!(content(&fake), "old\ntheirs\none\ntheirs too\n");
    }

    #[test]
    fn a_private_file_is_made_with_its_folder_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("waiting/es.log");
        for _ in 0..2 {
            AppendFile::private(&path).unwrap().append(&pieces(&["a\n"])).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\na\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
