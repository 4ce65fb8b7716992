//! What is being written and not synced yet, noted where a crash leaves it: so that the next run knows which unfinished
//! end of a file is ours, and cuts off nothing else.
#![expect(clippy::disallowed_methods, reason = "it blocks: `SharedLineFiles` calls it within `blocking`")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use tracing::debug;

use flowstone_core::AppendFile;
use flowstone_core::event::{Map, Value, write_json_value};
use flowstone_core::{make_private_dir, open_private, parse_json};

/// The last write, in a small file that one process holds. It is not synced: it is for crashes of this process, behind
/// which the system still writes what it was given.
#[derive(Debug)]
pub(crate) struct Unsynced {
    path: PathBuf,
    file: Option<File>,
    /// Folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    last: Option<Write>,
}

/// A write to the end of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// How long the file was before, and will be.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

// === impl Unsynced ===

impl Unsynced {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, made: Vec::new(), last: None }
    }

    /// Takes the file for this process, if it has not got it, and gives what an earlier run was writing when it ended.
    /// Where that fails, or another process has it, writing goes on without: what a crash leaves is then left alone.
    pub(crate) fn begin(&mut self) -> Option<Write> {
        if self.file.is_some() {
            return None;
        }
        match self.take() {
            Ok(last) => last,
            Err(error) => {
                debug!(path = %self.path.display(), %error, "a line that a crash leaves unfinished would not be cut off");
                None
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Write>> {
        if let Some(folder) = self.path.parent() {
            let missing =
                folder.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists());
            self.made.extend(missing.map(PathBuf::from));
            make_private_dir(folder)?;
        }
        let file =
            open_private(&self.path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process has it")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0).min(64 << 10);
        let mut content = vec![0; length];
        file.read_exact_at(&mut content, 0)?;
        self.file = Some(file);
        Ok(Write::read(&content))
    }

    /// This is written next.
    pub(crate) fn note(&mut self, write: Write) {
        if let Some(file) = &self.file
            && let Err(error) = write.store(file)
        {
            debug!(path = %self.path.display(), %error, "what is being written cannot be noted");
            // No note is better than an old one.
            file.set_len(0).ok();
        }
        self.last = Some(write);
    }

    /// The last write, if it stands unfinished in this file.
    pub(crate) fn torn(&self, file: &AppendFile) -> io::Result<Option<Write>> {
        match &self.last {
            Some(write) if write.is_torn(file.file())? => Ok(Some(write.clone())),
            _ => Ok(None),
        }
    }

    /// Everything is synced: nothing remains to be said.
    pub(crate) fn close(&mut self) {
        self.last = None;
        // Held until its name is gone, or another process could take it in between.
        if let Some(_file) = self.file.take() {
            // What stays behind is a note of a write that was finished, which means nothing to the next run.
            fs::remove_file(&self.path).ok();
        }
        // A pipeline that keeps nothing leaves nothing behind; folders in use are not empty and stay.
        for folder in self.made.drain(..) {
            fs::remove_dir(folder).ok();
        }
    }
}

// === impl Write ===

impl Write {
    /// Whether this file ends within the write: it is the same file, and nobody has written behind it or cut it.
    pub(crate) fn is_torn(&self, file: &File) -> io::Result<bool> {
        let found = file.metadata()?;
        Ok((found.dev(), found.ino()) == (self.device, self.inode)
            && (self.from + 1..self.to).contains(&found.len()))
    }

    fn store(&self, file: &File) -> io::Result<()> {
        let path = self.path.to_str().ok_or_else(|| io::Error::other("the path is no UTF-8"))?;
        let number = |value: u64| Value::BigInt(value.to_string().into());
        let members = [
            ("path", Value::from(path)),
            ("device", number(self.device)),
            ("inode", number(self.inode)),
            ("from", number(self.from)),
            ("to", number(self.to)),
        ];
        let members: Map = members.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut line = Vec::new();
        write_json_value(&Value::Object(members), &mut line);
        line.push(b'\n');
        file.write_all_at(&line, 0)?;
        file.set_len(line.len() as u64)
    }

    fn read(content: &[u8]) -> Option<Self> {
        let line = content.split(|&byte| byte == b'\n').next()?;
        let Ok(Value::Object(members)) = parse_json(&mut line.to_vec()) else { return None };
        let number = |name: &str| match members.get(name)? {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::BigInt(digits) => digits.parse().ok(),
            _ => None,
        };
        Some(Self {
            path: members.get("path")?.as_str()?.into(),
            device: number("device")?,
            inode: number("inode")?,
            from: number("from")?,
            to: number("to")?,
        })
    }
}
