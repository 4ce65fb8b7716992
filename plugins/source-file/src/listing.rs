//! Which files there are: the globs of `paths` without those of `exclude`, each file once.
#![expect(clippy::disallowed_methods, reason = "runs on a thread for calls that may block")]

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use flowstone_core::BuildError;
use glob::Pattern;

use crate::walk::{Glob, text_of};

/// The files that a source reads.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    paths: Vec<String>,
    globs: Vec<Arc<Glob>>,
    exclude: Arc<[Pattern]>,
}

/// A file as it was seen: enough to know whether anything changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Bytes on disk.
    pub(crate) size: u64,
    /// When it was last written to, in nanoseconds since the epoch.
    pub(crate) modified: i64,
    /// When it was made, where the file system knows.
    pub(crate) born: Option<i64>,
}

/// A file and the path under which it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// It was there when this one of `paths` was looked at for the first time.
    pub(crate) is_first: bool,
}

/// The outcome of one look.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Oldest first.
    pub(crate) files: Vec<Found>,
    pub(crate) errors: Vec<(PathBuf, io::Error)>,
    /// What `paths` names without a glob, and is not there.
    pub(crate) missing: Vec<PathBuf>,
}

/// Where a known file is now, by its path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whereabouts {
    /// Where it was.
    Here(Stat),
    /// Its name leads to another file, or is not in its folder.
    Gone,
    /// Its folder is not there.
    Adrift,
    /// That cannot be told: its folder cannot be entered, is on another device now, or the link that led to it leads
    /// nowhere.
    Unknown,
}

// === impl Listing ===

impl Listing {
    /// The errors point at the patterns that are none.
    pub(crate) fn new(paths: &[String], exclude: &[String]) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        if paths.is_empty() {
            let error =
                BuildError::option("paths", "no path is given").label("expected at least one path or glob");
            errors.push(error.help("for example `paths = [\"/var/log/flow/*.log\"]`"));
        }
        let mut globs = Vec::new();
        let mut check = |option: &str, patterns: &[String]| -> Vec<Pattern> {
            let mut read = Vec::new();
            for (index, pattern) in patterns.iter().enumerate() {
                let glob = match option {
                    "paths" => Glob::new(pattern).map(|glob| globs.push(Arc::new(glob))),
                    _ => Ok(()),
                };
                match glob.and_then(|()| Pattern::new(pattern)) {
                    Ok(_) if pattern.is_empty() => {
                        errors
                            .push(BuildError::option(option, "an empty path names no file").at_index(index));
                    }
                    Ok(pattern) => read.push(pattern),
                    Err(error) => errors.push(
                        BuildError::option(option, format!("{pattern:?} is no glob"))
                            .at_index(index)
                            .within(error.pos.min(pattern.len()), pattern.len())
                            .label(error.msg),
                    ),
                }
            }
            read
        };
        check("paths", paths);
        let exclude = check("exclude", exclude).into();
        if errors.is_empty() { Ok(Self { paths: paths.to_vec(), globs, exclude }) } else { Err(errors) }
    }

    /// One call for each of `paths`, which looks at what that names: one `stat` per file, nothing is opened.
    pub(crate) fn calls(&self) -> impl Iterator<Item = impl FnOnce() -> Listed + Send + 'static> + '_ {
        self.globs.iter().map(|glob| {
            let (glob, exclude) = (Arc::clone(glob), Arc::clone(&self.exclude));
            move || list(&glob, &exclude)
        })
    }

    /// Looks, and waits for it.
    #[cfg(test)]
    fn list(&self) -> Listed {
        Listed::merge(self.calls().map(|call| call()))
    }

    /// Whether `paths` name this path, be that there or not, and `exclude` does not.
    pub(crate) fn names(&self, path: &Path) -> bool {
        self.globs.iter().any(|glob| glob.names(path)) && !excludes(&self.exclude, path)
    }

    /// One of `paths`.
    pub(crate) fn path(&self, index: usize) -> PathBuf {
        self.paths[index].clone().into()
    }

    /// `paths` as a message shows it.
    pub(crate) fn describe(&self) -> String {
        self.paths.join(", ")
    }
}

fn list(glob: &Glob, exclude: &[Pattern]) -> Listed {
    #[cfg(test)]
    crate::stuck::wait_if_stuck(glob.literal().as_deref().unwrap_or(Path::new("")));
    let (paths, errors) = glob.paths();
    let mut listed = Listed { errors, ..Listed::default() };
    for path in paths.into_iter().filter(|path| !excludes(exclude, path)) {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {
                listed.files.push(Found { path, stat: Stat::of(&metadata), is_first: false });
            }
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
                listed.errors.push((path, error));
            }
            // Gone between the glob and the look, or a link that leads nowhere yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                listed.missing.extend(glob.literal());
            }
            Err(error) => listed.errors.push((path, error)),
        }
    }
    listed
}

fn excludes(exclude: &[Pattern], path: &Path) -> bool {
    exclude.iter().any(|pattern| {
        let of_name = !pattern.as_str().contains('/')
            && path.file_name().is_some_and(|name| pattern.matches(&text_of(name)));
        of_name || pattern.matches(&text_of(path.as_os_str()))
    })
}

// === impl Listed ===

impl Listed {
    /// What several looks found; a file that two found is the first one's.
    pub(crate) fn merge(scans: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        let mut seen = HashSet::new();
        for listed in scans {
            // Two globs, a hard link or a symbolic link: still one file.
            let new = listed.files.into_iter().filter(|found| seen.insert((found.stat.dev, found.stat.ino)));
            all.files.extend(new);
            all.errors.extend(listed.errors);
            all.missing.extend(listed.missing);
        }
        all.files.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
        all
    }
}

// === impl Whereabouts ===

impl Whereabouts {
    /// Looks for the file with this inode at `path`, in a folder that was on the device `folder`. An error says nothing
    /// about a file: only a folder that is there, and in which its name is not, does.
    pub(crate) fn of(path: &Path, inode: &Stat, folder: Option<u64>) -> Self {
        match path.metadata() {
            Ok(metadata) => match Stat::of(&metadata) {
                stat if stat.same_inode(inode) => Self::Here(stat),
                // Something was mounted there, or is no longer.
                stat if stat.dev != inode.dev => Self::Unknown,
                _ => Self::Gone,
            },
            Err(error) if error.kind() != io::ErrorKind::NotFound => Self::Unknown,
            Err(_) if path.symlink_metadata().is_ok() => Self::Unknown,
            Err(_) => match folder_of(path).metadata() {
                Ok(metadata) if folder.is_none_or(|device| device == metadata.dev()) => Self::Gone,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Adrift,
                _ => Self::Unknown,
            },
        }
    }
}

/// The folder of the file at `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

// === impl Stat ===

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            modified: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            born: born.and_then(|since| i64::try_from(since.as_nanos()).ok()),
        }
    }

    /// Whether it is the same inode.
    pub(crate) fn same_inode(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn files_are_listed_once_oldest_first_without_the_excluded() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("sub/dir.log")).unwrap();
        for (age, name) in
            ["b.log", "a.log", "sub/c.log", "a.log.gz", "old.log", "other.txt"].iter().enumerate()
        {
            let file = fs::File::create(at(name)).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1000 + age as u64)).unwrap();
        }
        fs::hard_link(at("a.log"), at("same.log")).unwrap();
        std::os::unix::fs::symlink(at("b.log"), at("link.log")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling.log")).unwrap();
        let root = folder.path().to_str().unwrap();
        let listing = Listing::new(
            &[format!("{root}/**/*.log"), format!("{root}/a.log")],
            &[String::from("old.*"), format!("{root}/*.gz")],
        )
        .unwrap();
        let listed = listing.list();
        let names: Vec<&str> = listed
            .files
            .iter()
            .map(|found| found.path.strip_prefix(root).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["b.log", "a.log", "sub/c.log"]);
        assert!(listed.errors.is_empty());
        assert!(listed.missing.is_empty());
        fs::remove_file(at("a.log")).unwrap();
        assert_eq!(listing.list().missing, [at("a.log")]);
    }

    #[test]
    fn what_is_no_glob_is_refused_at_its_place() {
        let errors = Listing::new(&strings(&["/a", "/x/[a", ""]), &strings(&["a**"])).unwrap_err();
        let seen: Vec<(&str, Option<usize>)> =
            errors.iter().map(|error| (error.option.as_str(), error.index)).collect();
        assert_eq!(seen, [("paths", Some(1)), ("paths", Some(2)), ("exclude", Some(0))]);
        assert_eq!(Listing::new(&[], &[]).unwrap_err()[0].message, "no path is given");
    }
}
