//! The numbered files of the checkpoint: `ledger-00000007.log`.
#![expect(clippy::disallowed_methods, reason = "appended to once a second, on the disk of `data_dir`")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flowstone_core::{AppendFile, sync_dir};

/// The files of one checkpoint, the last of which is open.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    header: Vec<u8>,
    /// The number of the newest file.
    number: u64,
    /// It, once this run has written into it. Never one of an earlier run, whose end may be unterminated.
    newest: Option<AppendFile>,
    older: Vec<PathBuf>,
}

/// A file that was found, and what is in it.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) content: Vec<u8>,
}

// === impl Files ===

impl Files {
    /// Reads all files in `dir`, oldest first. Nothing is made before something is written.
    pub(super) fn open(dir: &Path, header: &[u8]) -> io::Result<(Vec<Found>, Self)> {
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    let path = entry?.path();
                    if let Some(number) = path.file_name().and_then(|name| number_of(name.to_str()?)) {
                        found.push((number, path));
                    }
                }
            }
        }
        found.sort();
        let read = |(_, path): &(u64, PathBuf)| Ok(Found { path: path.clone(), content: fs::read(path)? });
        let content = found.iter().map(read).collect::<io::Result<Vec<_>>>()?;
        let number = found.last().map_or(0, |(number, _)| *number);
        let older = found.into_iter().map(|(_, path)| path).collect();
        let files = Self { dir: dir.to_owned(), header: header.to_owned(), number, newest: None, older };
        Ok((content, files))
    }

    /// Appends and makes durable. After an error nothing of it is in the file, and the same bytes may be tried again.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.newest.is_none() {
            self.begin_next()?;
        }
        let Some(file) = &mut self.newest else { return Ok(()) };
        file.append(&[bytes.to_vec().into()])
    }

    /// Bytes in the newest file.
    pub(super) fn size(&self) -> u64 {
        self.newest.as_ref().map_or(0, AppendFile::len)
    }

    /// Begins the next file. One that cannot be begun (the disk is full) is gone again, and tried again under the same
    /// number; the one before stays open.
    pub(super) fn begin_next(&mut self) -> io::Result<()> {
        let path = self.path_of(self.number + 1);
        let begin = || -> io::Result<AppendFile> {
            let mut file = AppendFile::private(&path)?;
            // What a try before this one may have left there.
            file.cut(0)?;
            file.append(&[self.header.clone().into()])?;
            Ok(file)
        };
        let file = begin().inspect_err(|_| {
            fs::remove_file(&path).ok();
        })?;
        if self.newest.replace(file).is_some() {
            self.older.push(self.path_of(self.number));
        }
        self.number += 1;
        Ok(())
    }

    /// Deletes all files before the newest one.
    pub(super) fn drop_older(&mut self) -> io::Result<()> {
        if self.older.is_empty() {
            return Ok(());
        }
        while let Some(path) = self.older.last() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.older.pop(),
            };
        }
        sync_dir(&self.dir)
    }

    fn path_of(&self, number: u64) -> PathBuf {
        self.dir.join(format!("ledger-{number:08}.log"))
    }

    /// From now on the disk is full, as far as the open file goes.
    #[cfg(test)]
    pub(super) fn fill_disk(&mut self) {
        let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
        self.newest = Some(AppendFile::of(full).unwrap());
    }

    /// There is room again.
    #[cfg(test)]
    pub(super) fn make_room(&mut self) {
        self.newest = Some(AppendFile::private(&self.path_of(self.number)).unwrap());
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("ledger-")?.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn content(dir: &Path) -> Vec<Vec<u8>> {
        Files::open(dir, b"h\n").unwrap().0.into_iter().map(|found| found.content).collect()
    }

    #[test]
    fn a_file_that_cannot_be_begun_is_tried_again_under_the_same_number() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("vpc");
        let (_, mut files) = Files::open(&dir, b"h\n").unwrap();
        files.append(b"one\n").unwrap();
        // Something that cannot be written into and cannot be removed.
        let in_the_way = dir.join("ledger-00000002.log");
        fs::create_dir(&in_the_way).unwrap();
        for _ in 0..3 {
            assert!(files.begin_next().is_err());
            files.append(b"more\n").unwrap();
        }
        assert_eq!(names(&dir).len(), 2);
        fs::remove_dir(&in_the_way).unwrap();
        // What a full disk and a power cut leave behind: the name, with a part of the header.
        fs::write(&in_the_way, b"h").unwrap();
        files.begin_next().unwrap();
        files.append(b"two\n").unwrap();
        assert_eq!(content(&dir), [b"h\none\nmore\nmore\nmore\n".to_vec(), b"h\ntwo\n".to_vec()]);
    }

    #[test]
    fn files_follow_one_another_and_the_old_ones_go_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("vpc");
        let (found, mut files) = Files::open(&dir, b"h\n").unwrap();
        assert!(found.is_empty() && !dir.exists(), "nothing is made before something is written");
        files.append(b"one\n").unwrap();
        files.begin_next().unwrap();
        files.append(b"two\n").unwrap();
        drop(files);
        assert_eq!(content(&dir), [b"h\none\n".to_vec(), b"h\ntwo\n".to_vec()]);
        let (_, mut files) = Files::open(&dir, b"h\n").unwrap();
        files.append(b"three\n").unwrap();
        files.drop_older().unwrap();
        assert_eq!(names(&dir), ["ledger-00000003.log"]);
        assert_eq!(content(&dir), [b"h\nthree\n".to_vec()]);
    }

    #[test]
    fn nobody_else_may_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("vpc");
        let (_, mut files) = Files::open(&dir, b"h\n").unwrap();
        files.append(b"one\n").unwrap();
        for (path, mode) in [(dir.clone(), 0o700), (dir.join("ledger-00000001.log"), 0o600)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
    }
}
