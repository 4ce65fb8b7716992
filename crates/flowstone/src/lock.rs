//! The data folder belongs to one process at a time: two would read the same checkpoints and overwrite each other's.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use flowstone_core::{make_data_dir, open_private};

/// A locked data folder; unlocked when dropped, and by the system when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    folder: PathBuf,
    _file: File,
}

// === impl DataDirLock ===

impl DataDirLock {
    /// Makes the folder if need be and takes it for this process. The error says who has it and what to do.
    pub(crate) fn take(folder: &Path) -> Result<Self, String> {
        let shown = folder.display();
        make_data_dir(folder).map_err(|error| {
            format!("cannot make the data folder `{shown}`: {error}; set `data_dir` or `--data-dir` to a folder that can be written")
        })?;
        let path = folder.join("lock");
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = open_private(&path, options).map_err(|error| {
            format!("cannot write to the data folder `{shown}`: {error}; set `data_dir` or `--data-dir` to a folder that can be written")
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                let holder = holder.trim();
                let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                return Err(format!(
                    "the data folder `{shown}` is in use by another flowstone{who}; end that one, or give this one a folder of its own with `data_dir` or `--data-dir`"
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(format!("cannot lock the data folder `{shown}`: {error}"));
            }
        }
        // Only for the message above: that it can be told matters to nobody's data.
        let told = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = told {
            return Err(format!("cannot write to the data folder `{shown}`: {error}"));
        }
        Ok(Self { folder: folder.to_owned(), _file: file })
    }

    /// The folder that is locked.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_with_the_first_ones_process_and_a_third_after_its_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("deep/data");
        let first = DataDirLock::take(&data_dir).unwrap();
        assert_eq!(first.folder(), data_dir);
        let refused = DataDirLock::take(&data_dir).unwrap_err();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        DataDirLock::take(&data_dir).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = DataDirLock::take(&file.join("data")).unwrap_err();
        assert!(refused.contains("set `data_dir`"), "{refused}");
    }
}
