//! The data folder belongs to one process at a time: two would read the same checkpoints and overwrite each other's.
#![expect(
    clippy::disallowed_methods,
    reason = "a run has not begun, or a thread of its own loads the next one"
)]

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flowstone_core::{make_data_dir, open_private};

/// A locked data folder; unlocked when dropped, and by the system when the process ends in whatever way.
///
/// Two locks: the folder's own, which nobody can take away by deleting a file, and that of the file `lock`, which says
/// whose it is and works where a folder cannot be locked (NFS).
#[derive(Debug)]
pub(crate) struct DataDirLock {
    folder: File,
    _file: File,
}

// === impl DataDirLock ===

impl DataDirLock {
    /// Makes the folder if need be and takes it for this process. The error says who has it and what to do.
    pub(crate) fn take(folder: &Path) -> Result<Self, String> {
        let shown = folder.display();
        let cannot = |what: &str, error: io::Error| {
            format!(
                "cannot {what} the data folder `{shown}`: {error}; set `data_dir` or `--data-dir` to a folder that can be written"
            )
        };
        let is_in_use = || {
            let holder = fs::read_to_string(folder.join("lock")).unwrap_or_default();
            let holder = holder.trim();
            let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
            format!(
                "the data folder `{shown}` is in use by another flowstone{who}; end that one, or give this one a folder of its own with `data_dir` or `--data-dir`"
            )
        };
        make_data_dir(folder).map_err(|error| cannot("make", error))?;
        loop {
            let locked = File::open(folder).map_err(|error| cannot("open", error))?;
            match locked.try_lock() {
                // Where folders cannot be locked the file has to do.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => return Err(is_in_use()),
            }
            let path = folder.join("lock");
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = open_private(&path, options).map_err(|error| cannot("write to", error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(is_in_use()),
                Err(TryLockError::Error(error)) => return Err(cannot("lock", error)),
            }
            // Deleted between opening and locking, a file's lock is worth nothing.
            if !is_at(&locked, folder) || !is_at(&file, &path) {
                continue;
            }
            // Only for the message above: that it can be told matters to nobody's data.
            let told = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()));
            return match told {
                Ok(()) => Ok(Self { folder: locked, _file: file }),
                Err(error) => Err(cannot("write to", error)),
            };
        }
    }

    /// Whether it is this folder that is locked, whatever its path is called.
    pub(crate) fn is_of(&self, folder: &Path) -> bool {
        is_at(&self.folder, folder)
    }
}

/// Whether a file that was opened is what the path leads to now.
fn is_at(open: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let (open, there) = (open.metadata().map(identity), fs::metadata(path).map(identity));
    matches!((open, there), (Ok(open), Ok(there)) if open == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_with_the_first_ones_process_and_a_third_after_its_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("deep/data");
        let first = DataDirLock::take(&data_dir).unwrap();
        assert!(first.is_of(&folder.path().join("deep/../deep/data")), "by whatever name");
        assert!(!first.is_of(folder.path()));
        let refused = DataDirLock::take(&data_dir).unwrap_err();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        DataDirLock::take(&data_dir).unwrap();
    }

    #[test]
    fn deleting_the_lock_file_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(folder.path()).unwrap();
        fs::remove_file(folder.path().join("lock")).unwrap();
        let refused = DataDirLock::take(folder.path()).unwrap_err();
        assert!(refused.contains("in use by another flowstone"), "{refused}");
        drop(first);
        DataDirLock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_file_that_was_deleted_by_another_is_not_taken_for_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = File::create(&path).unwrap();
        assert!(is_at(&open, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&open, &path));
        File::create(&path).unwrap();
        assert!(!is_at(&open, &path));
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
