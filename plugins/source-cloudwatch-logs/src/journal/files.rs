//! The numbered files of the checkpoint: `ledger-00000007.log`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flowstone_core::{make_private_dir, open_private};

/// The files of one checkpoint, the last of which is open.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    header: Vec<u8>,
    number: u64,
    file: File,
    size: u64,
    older: Vec<PathBuf>,
}

// === impl Files ===

impl Files {
    /// Reads all files in `dir`, oldest first, and begins the next one with `header`.
    pub(super) fn open(dir: &Path, header: &[u8]) -> io::Result<(Vec<Vec<u8>>, Self)> {
        make_private_dir(dir)?;
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some(number) = path.file_name().and_then(|name| number_of(name.to_str()?)) {
                found.push((number, path));
            }
        }
        found.sort();
        let content = found.iter().map(|(_, path)| fs::read(path)).collect::<io::Result<Vec<_>>>()?;
        // Never append behind a torn tail: each run has a file of its own.
        let number = found.last().map_or(1, |(number, _)| number + 1);
        let file = begin(dir, number, header)?;
        let older = found.into_iter().map(|(_, path)| path).collect();
        let files = Self {
            dir: dir.to_owned(),
            header: header.to_owned(),
            number,
            file,
            size: header.len() as u64,
            older,
        };
        Ok((content, files))
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends and makes durable.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.file.sync_data()
    }

    /// From now on the disk is full, as far as the open file goes.
    #[cfg(test)]
    pub(super) fn fill_disk(&mut self) {
        self.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    }

    /// Bytes in the open file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Begins the next file. One that could not be begun (the disk is full behind its name) is never tried again: its
    /// number is passed over.
    pub(super) fn begin_next(&mut self) -> io::Result<()> {
        self.older.push(self.dir.join(name_of(self.number)));
        self.number += 1;
        self.file = begin(&self.dir, self.number, &self.header)?;
        self.size = self.header.len() as u64;
        Ok(())
    }

    /// Deletes all files before the open one.
    pub(super) fn drop_older(&mut self) -> io::Result<()> {
        while let Some(path) = self.older.last() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.older.pop(),
            };
        }
        sync_dir(&self.dir)
    }
}

fn begin(dir: &Path, number: u64, header: &[u8]) -> io::Result<File> {
    let mut file =
        open_private(&dir.join(name_of(number)), OpenOptions::new().append(true).create_new(true))?;
    file.write_all(header)?;
    file.sync_all()?;
    // The name itself must survive a power cut.
    sync_dir(dir)?;
    Ok(file)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn name_of(number: u64) -> String {
    format!("ledger-{number:08}.log")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("ledger-")?.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_begun_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut files) = Files::open(folder.path(), b"h\n").unwrap();
        // What a full disk leaves behind: the name, without the header.
        std::fs::write(folder.path().join(name_of(2)), b"").unwrap();
        assert!(files.begin_next().is_err());
        files.begin_next().unwrap();
        files.append(b"three\n").unwrap();
        files.drop_older().unwrap();
        drop(files);
        assert_eq!(Files::open(folder.path(), b"h\n").unwrap().0, [b"h\nthree\n".to_vec()]);
    }

    #[test]
    fn files_follow_one_another_and_the_old_ones_go_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let (content, mut files) = Files::open(folder.path(), b"h\n").unwrap();
        assert!(content.is_empty());
        files.append(b"one\n").unwrap();
        files.begin_next().unwrap();
        files.append(b"two\n").unwrap();
        drop(files);
        let (content, mut files) = Files::open(folder.path(), b"h\n").unwrap();
        assert_eq!(content, [b"h\none\n".to_vec(), b"h\ntwo\n".to_vec()]);
        files.drop_older().unwrap();
        drop(files);
        assert_eq!(Files::open(folder.path(), b"h\n").unwrap().0, [b"h\n".to_vec()]);
    }
}
