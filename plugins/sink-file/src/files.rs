//! The files themselves: opened when first written to, cut back to whole lines, synced after each request, closed when
//! others are needed more.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use flowstone_core::Request;
use tracing::warn;

/// So many files are open at once; a path with a field in it may name any number.
const MAX_OPEN: usize = 64;

/// Files open for appending, by path.
#[derive(Debug)]
pub(crate) struct Files {
    open: HashMap<Arc<str>, Open>,
    max_bytes: Option<u64>,
    /// Counts requests, to find the file that was not used for longest.
    now: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    used: u64,
}

/// Why lines could not be written.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// One word, a metric label.
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    pub(crate) what_to_do: String,
}

// === impl Files ===

impl Files {
    pub(crate) fn new(max_bytes: Option<u64>) -> Self {
        Self { open: HashMap::new(), max_bytes, now: 0 }
    }

    /// Writes and syncs every row. Gives what was wrong, row by row; a row without trouble is on the disk.
    pub(crate) fn write(&mut self, request: &Request) -> Vec<Option<Arc<Trouble>>> {
        self.now += 1;
        let mut rows_of: Vec<(Arc<str>, Vec<Bytes>)> = Vec::new();
        let mut path_of_row = Vec::with_capacity(request.rows());
        let mut number_of: HashMap<Arc<str>, usize> = HashMap::new();
        for (segment, row) in request.each_row() {
            let path = segment.key(row);
            let number = *number_of.entry(Arc::clone(path)).or_insert_with(|| {
                rows_of.push((Arc::clone(path), Vec::new()));
                rows_of.len() - 1
            });
            let span = segment.span(row);
            rows_of[number].1.push(segment.bytes().slice(span.start as usize..span.end as usize));
            path_of_row.push(number);
        }
        let mut troubles = Vec::with_capacity(rows_of.len());
        for (path, lines) in &rows_of {
            let written = self.append(path, lines);
            if written.is_err() {
                // Whatever state the file is in, the next try begins with a look at it.
                self.open.remove(path);
            }
            troubles.push(written.err().map(|error| Arc::new(Trouble::of(path, &error))));
        }
        path_of_row.into_iter().map(|number| troubles[number].clone()).collect()
    }

    /// Closes all files; they were synced after each write.
    pub(crate) fn close(&mut self) {
        self.open.clear();
    }

    fn append(&mut self, path: &Arc<str>, lines: &[Bytes]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let limit = self.max_bytes;
            let open = self.file(path)?;
            let fits = match limit {
                Some(limit) => {
                    let mut length = open.length;
                    let fitting = rest.iter().take_while(|line| {
                        length += line.len() as u64;
                        length <= limit
                    });
                    fitting.count()
                }
                None => rest.len(),
            };
            // A line larger than a file may be has a file of its own.
            if fits == 0 && open.length > 0 {
                open.file.sync_data()?;
                self.open.remove(path);
                rotate(Path::new(&**path))?;
                continue;
            }
            let (now, later) = rest.split_at(fits.max(1));
            open.append(now)?;
            rest = later;
        }
        self.file(path)?.file.sync_data()
    }

    /// The file at `path`, opened if it is not, or if somebody has moved it away.
    fn file(&mut self, path: &Arc<str>) -> io::Result<&mut Open> {
        let moved = self.open.get(path).is_some_and(|open| !open.is_at(Path::new(&**path)));
        if moved {
            self.open.remove(path);
        }
        if !self.open.contains_key(path) {
            if self.open.len() >= MAX_OPEN
                && let Some(oldest) =
                    self.open.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| Arc::clone(path))
            {
                self.open.remove(&oldest);
            }
            self.open.insert(Arc::clone(path), Open::new(Path::new(&**path))?);
        }
        let now = self.now;
        let Some(open) = self.open.get_mut(path) else { return Err(io::ErrorKind::NotFound.into()) };
        open.used = now;
        Ok(open)
    }
}

// === impl Open ===

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            fs::create_dir_all(folder)?;
        }
        let new = !path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let length = whole_lines(&mut file)?;
        let torn = file.metadata()?.len() - length;
        if torn > 0 {
            warn!(path = %path.display(), bytes = torn, "the last line is unfinished, from a crash; it is cut off and written again");
            file.set_len(length)?;
        }
        if new {
            // The file's name must survive a power cut as well.
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Self { file, length, used: 0 })
    }

    /// Appends lines; on an error the file is as long as before.
    fn append(&mut self, lines: &[Bytes]) -> io::Result<()> {
        let buffer: Vec<u8> = lines.concat();
        // Another process (a backfill beside the run) may append to the same file: what it wrote is not ours to cut off.
        self.length = self.length.max(self.file.metadata()?.len());
        if let Err(error) = self.file.write_all(&buffer) {
            self.file.set_len(self.length).ok();
            return Err(error);
        }
        self.length += buffer.len() as u64;
        Ok(())
    }

    /// Whether the file that is open is the one at `path`.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(here), Ok(open)) = (fs::metadata(path), self.file.metadata()) else { return false };
        (here.dev(), here.ino()) == (open.dev(), open.ino()) && open.len() >= self.length
    }
}

/// How many bytes of the file are whole lines.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 64 << 10];
    while end > 0 {
        let part = buffer.len().min(usize::try_from(end).unwrap_or(usize::MAX));
        let start = end - part as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut buffer[..part])?;
        if let Some(newline) = buffer[..part].iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
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
    File::open(folder)?.sync_all()
}

// === impl Trouble ===

impl Trouble {
    fn of(path: &str, error: &io::Error) -> Self {
        let (reason, what_to_do) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ("disk_full", "make room on the disk, or choose another `path`".to_owned())
            }
            io::ErrorKind::PermissionDenied => (
                "permission_denied",
                format!(
                    "let the user that flowstone runs as write to {path} and its folder, or choose another `path`"
                ),
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                ("read_only", "mount the file system for writing, or choose another `path`".to_owned())
            }
            _ => ("write", format!("see why {path} cannot be written to, or choose another `path`")),
        };
        Self { reason, detail: format!("cannot write to {path}: {error}"), what_to_do }
    }
}
