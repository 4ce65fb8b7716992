//! Files of lines, appended to by path: opened when first written to, synced after each write, cut back when the disk did
//! not take all of it, closed when others are needed more. Nothing is cut off that was not written here.
#![expect(clippy::disallowed_methods, reason = "it blocks: `SharedLineFiles` calls it within `blocking`")]

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tracing::{debug, warn};

use crate::unsynced::{Unsynced, Write};
use flowstone_core::AppendFile;
use flowstone_core::{Request, Segment, Verdict, Verdicts, blocking, open_private, sync_dir};

/// So many files are open at once; a path with a field in it may name any number.
const MAX_OPEN: usize = 64;

/// How files of lines are made and kept.
#[derive(Clone, Debug)]
pub struct LineFileOptions {
    /// Permissions of files that are made, whatever the umask; folders can be entered by whoever may read.
    pub mode: u32,
    /// Whether files that are there are for nobody else either.
    pub private: bool,
    /// A file that would become larger is first renamed to `PATH.1`, `PATH.2` and so on.
    pub max_bytes: Option<u64>,
    /// The file that says what is being written, so that what a crash leaves unfinished is known as ours.
    pub unsynced: PathBuf,
}

/// Files of lines that tasks write to, on threads that may wait for a disk. Clones share them.
#[derive(Clone, Debug)]
pub struct SharedLineFiles(Arc<Mutex<LineFiles>>);

/// Files of lines that are open for appending, by path.
#[derive(Debug)]
struct LineFiles {
    open: HashMap<Arc<str>, Open>,
    options: LineFileOptions,
    unsynced: Unsynced,
    /// Counts requests, to find the file that was not used for longest.
    now: u64,
}

/// Why lines could not be written.
#[derive(Debug)]
pub struct WriteError {
    /// Where to.
    pub path: PathBuf,
    /// What happened.
    pub error: io::Error,
}

#[derive(Debug)]
struct Open {
    file: AppendFile,
    path: PathBuf,
    /// What is in the file ends within a line: ours begin with a newline.
    within_line: bool,
    used: u64,
}

/// Rows of one segment that lie side by side.
struct Stretch {
    segment: Arc<Segment>,
    start: u32,
    end: u32,
}

// === impl SharedLineFiles ===

impl SharedLineFiles {
    /// Opens nothing yet.
    pub fn new(options: LineFileOptions) -> Self {
        Self(Arc::new(Mutex::new(LineFiles::new(options))))
    }

    /// Writes and syncs every row, each a whole number of lines, to the file that `path_of` makes of its key. A row that
    /// is not on the disk gets the verdict on what was wrong.
    pub async fn write(
        &self,
        request: &Request,
        path_of: impl Fn(&str) -> PathBuf + Send + 'static,
        verdict: impl Fn(&WriteError) -> Verdict,
    ) -> Verdicts {
        let request = request.clone();
        let failed = self.with(move |files| files.write(&request, path_of)).await;
        if failed.iter().all(Option::is_none) {
            return Verdicts::All(Verdict::Delivered);
        }
        let verdict =
            |failed: &Option<Arc<WriteError>>| failed.as_deref().map_or(Verdict::Delivered, &verdict);
        Verdicts::Rows(failed.iter().map(verdict).collect())
    }

    /// Closes every file.
    pub async fn close(&self) {
        self.with(LineFiles::close).await;
    }

    async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut LineFiles) -> T + Send + 'static) -> T {
        let files = Arc::clone(&self.0);
        blocking(move || work(&mut files.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

// === impl LineFiles ===

impl LineFiles {
    fn new(options: LineFileOptions) -> Self {
        let unsynced = Unsynced::new(options.unsynced.clone());
        Self { open: HashMap::new(), options, unsynced, now: 0 }
    }

    /// Gives what was wrong, row by row; a row without an error is on the disk.
    fn write(
        &mut self,
        request: &Request,
        path_of: impl Fn(&str) -> PathBuf,
    ) -> Vec<Option<Arc<WriteError>>> {
        self.now += 1;
        if let Some(torn) = self.unsynced.begin()
            && let Err(error) = cut_torn(&torn)
        {
            warn!(path = %torn.path.display(), %error, "a line that an earlier run left unfinished cannot be cut off");
        }
        let one_by_one = self.options.max_bytes.is_some();
        let mut files: Vec<(Arc<str>, Vec<Stretch>)> = Vec::new();
        let mut number_of: HashMap<Arc<str>, usize> = HashMap::new();
        let mut file_of_row = Vec::with_capacity(request.rows());
        for (segment, row) in request.each_row() {
            let key = segment.key(row);
            let number = *number_of.entry(Arc::clone(key)).or_insert_with(|| {
                files.push((Arc::clone(key), Vec::new()));
                files.len() - 1
            });
            let span = segment.span(row);
            match files[number].1.last_mut() {
                Some(last)
                    if !one_by_one && last.end == span.start && Arc::ptr_eq(&last.segment, segment) =>
                {
                    last.end = span.end;
                }
                _ => files[number].1.push(Stretch {
                    segment: Arc::clone(segment),
                    start: span.start,
                    end: span.end,
                }),
            }
            file_of_row.push(number);
        }
        let mut errors = Vec::with_capacity(files.len());
        for (key, stretches) in &files {
            let path = path_of(key);
            let lines: Vec<Bytes> = stretches.iter().map(Stretch::bytes).collect();
            let written = self.append(key, &path, &lines);
            if written.is_err() {
                // Whatever state the file is in, the next try begins with a look at it.
                self.open.remove(key);
            }
            errors.push(written.err().map(|error| Arc::new(WriteError { path, error })));
        }
        file_of_row.into_iter().map(|number| errors[number].clone()).collect()
    }

    /// Closes all files; they were synced after each write.
    fn close(&mut self) {
        self.open.clear();
        self.unsynced.close();
    }

    fn append(&mut self, key: &Arc<str>, path: &Path, lines: &[Bytes]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let limit = self.options.max_bytes;
            self.open(key, path)?;
            let Some(open) = self.open.get_mut(key) else { return Err(io::ErrorKind::NotFound.into()) };
            let fits = match limit {
                Some(limit) => {
                    let mut length = open.file.len();
                    let fitting = rest.iter().take_while(|line| {
                        length += line.len() as u64;
                        length <= limit
                    });
                    fitting.count()
                }
                None => rest.len(),
            };
            // A line larger than a file may be has a file of its own.
            if fits == 0 && !open.file.is_empty() {
                self.open.remove(key);
                rotate(path)?;
                continue;
            }
            let (now, later) = rest.split_at(fits.max(1));
            open.append(now, &mut self.unsynced)?;
            rest = later;
        }
        Ok(())
    }

    /// Opens the file at `path` if it is not open, or if somebody has moved it away.
    fn open(&mut self, key: &Arc<str>, path: &Path) -> io::Result<()> {
        if self.open.get(key).is_some_and(|open| !open.is_at(path)) {
            self.open.remove(key);
        }
        if !self.open.contains_key(key) {
            if self.open.len() >= MAX_OPEN
                && let Some(oldest) =
                    self.open.iter().min_by_key(|(_, open)| open.used).map(|(key, _)| Arc::clone(key))
            {
                self.open.remove(&oldest);
            }
            let opened = match Open::new(path, &self.options) {
                // Others of ours can be opened again at any time.
                Err(error) if is_out_of_descriptors(&error) && !self.open.is_empty() => {
                    self.open.clear();
                    Open::new(path, &self.options)?
                }
                opened => opened?,
            };
            if let Some(torn) = self.unsynced.torn(&opened.file)? {
                // Left by a write of this run that could not be cut off then.
                drop(opened);
                cut_torn(&torn)?;
                return self.open(key, path);
            }
            self.open.insert(Arc::clone(key), opened);
        }
        if let Some(open) = self.open.get_mut(key) {
            open.used = self.now;
        }
        Ok(())
    }
}

// === impl WriteError ===

impl WriteError {
    /// Whether the name itself is to blame (too long, a folder, a file where a folder should be, a character that the
    /// file system does not have): nothing that an operator does to the disk would help.
    pub fn is_about_the_name(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::InvalidFilename
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidInput
        ) || self.error.raw_os_error() == Some(rustix::io::Errno::ILSEQ.raw_os_error())
    }
}

// === impl Stretch ===

impl Stretch {
    fn bytes(&self) -> Bytes {
        self.segment.bytes().slice(self.start as usize..self.end as usize)
    }
}

// === impl Open ===

impl Open {
    fn new(path: &Path, options: &LineFileOptions) -> io::Result<Self> {
        let file = match existing(path, options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match make(path, options.mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => existing(path, options)?,
                made => made?,
            },
            opened => opened?,
        };
        let found = file.metadata()?;
        let mut last = [b'\n'];
        if found.is_file() && found.len() > 0 {
            file.read_exact_at(&mut last, found.len() - 1)?;
        }
        let path = std::path::absolute(path)?;
        Ok(Self { file: AppendFile::of(file)?, path, within_line: last != *b"\n", used: 0 })
    }

    /// Appends lines and syncs; on an error the file is as long as before.
    fn append(&mut self, lines: &[Bytes], unsynced: &mut Unsynced) -> io::Result<()> {
        let mut pieces = Vec::with_capacity(lines.len() + 1);
        pieces.extend(self.within_line.then_some(Bytes::from_static(b"\n")));
        pieces.extend_from_slice(lines);
        let found = self.file.file().metadata()?;
        unsynced.note(Write {
            path: self.path.clone(),
            device: found.dev(),
            inode: found.ino(),
            from: found.len(),
            to: found.len() + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>(),
        });
        self.file.append(&pieces)?;
        self.within_line = false;
        Ok(())
    }

    /// Whether the file that is open is the one at `path`.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(here), Ok(open)) = (fs::metadata(path), self.file.file().metadata()) else { return false };
        (here.dev(), here.ino()) == (open.dev(), open.ino()) && open.len() >= self.file.len()
    }
}

fn existing(path: &Path, options: &LineFileOptions) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.read(true).append(true);
    if options.private { open_private(path, &mut how) } else { how.open(path) }
}

/// Makes a file and the folders above it; the names survive a power cut.
fn make(path: &Path, mode: u32) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folders(folder, mode | ((mode & 0o444) >> 2))?;
    let file = OpenOptions::new().read(true).append(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken something away.
    file.set_permissions(Permissions::from_mode(mode))?;
    sync_dir(folder)?;
    Ok(file)
}

fn make_folders(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folders(above, mode)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether no file can be opened for want of descriptors.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Cuts off what a crash or a failing disk left of a write, if the file is still as that left it.
fn cut_torn(write: &Write) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(&write.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if write.is_torn(&file)? {
        debug!(path = %write.path.display(), length = write.from, "an unfinished write is cut off and written again");
        file.set_len(write.from)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Renames a full file to the next free number.
fn rotate(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut highest = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let number = entry
            .to_string_lossy()
            .strip_prefix(&format!("{name}."))
            .and_then(|rest| rest.parse::<u64>().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    let mut full = path.as_os_str().to_owned();
    full.push(format!(".{}", highest + 1));
    fs::rename(path, PathBuf::from(full))?;
    sync_dir(folder)
}
