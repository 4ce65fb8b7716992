//! Where a component keeps what must survive a restart.
#![expect(clippy::disallowed_methods, reason = "it blocks: a small file on the disk of `data_dir`")]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::private_files::{make_private_dir, open_private, sync_dir};

/// A component's folder under `data_dir`, for this user alone. Files are replaced as a whole: written beside, synced, renamed.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// The state kept in `dir`, which need not exist yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The content of the file `name`; `None` if it was never saved.
    pub fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file `name`: after a crash either the old content or the new one is there, whole.
    pub fn save(&self, name: &str, content: &[u8]) -> io::Result<()> {
        make_private_dir(&self.dir)?;
        let temporary = self.dir.join(format!(".{name}.new"));
        let mut file = open_private(&temporary, OpenOptions::new().write(true).create(true).truncate(true))?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, self.dir.join(name))?;
        // The rename itself must survive a power cut.
        sync_dir(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nothing_half_written_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().join("source/in"));
        assert_eq!(state.load("checkpoint").unwrap(), None);
        state.save("checkpoint", b"one").unwrap();
        fs::write(state.path().join(".checkpoint.new"), b"tw").unwrap();
        assert_eq!(state.load("checkpoint").unwrap().unwrap(), b"one");
        state.save("checkpoint", b"two").unwrap();
        assert_eq!(state.load("checkpoint").unwrap().unwrap(), b"two");
    }
}
