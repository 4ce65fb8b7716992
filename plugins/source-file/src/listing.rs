//! Which files there are: the globs of `paths` without those of `exclude`, each file once.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flowstone_core::BuildError;
use glob::Pattern;

/// The files that a source reads.
#[derive(Debug)]
pub(crate) struct Listing {
    paths: Vec<String>,
    exclude: Vec<Pattern>,
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
}

/// The outcome of one look.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Oldest first.
    pub(crate) files: Vec<Found>,
    pub(crate) errors: Vec<(PathBuf, io::Error)>,
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
        let mut check = |option: &str, patterns: &[String]| -> Vec<Pattern> {
            let mut read = Vec::new();
            for (index, pattern) in patterns.iter().enumerate() {
                match Pattern::new(pattern) {
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
        let exclude = check("exclude", exclude);
        if errors.is_empty() { Ok(Self { paths: paths.to_vec(), exclude }) } else { Err(errors) }
    }

    /// Looks: one `stat` per file, nothing is opened.
    pub(crate) fn list(&self) -> Listed {
        let mut listed = Listed::default();
        let mut seen = HashSet::new();
        for pattern in &self.paths {
            let Ok(paths) = glob::glob(pattern) else { continue };
            for path in paths {
                let path = match path {
                    Ok(path) => path,
                    Err(error) => {
                        listed.errors.push((error.path().to_owned(), error.into()));
                        continue;
                    }
                };
                if self.excludes(&path) {
                    continue;
                }
                match path.metadata() {
                    Ok(metadata) if metadata.is_file() => {
                        let stat = Stat::of(&metadata);
                        // Two globs, a hard link or a symbolic link: still one file.
                        if seen.insert((stat.dev, stat.ino)) {
                            listed.files.push(Found { path, stat });
                        }
                    }
                    Ok(metadata) if metadata.is_dir() => {}
                    Ok(_) => {
                        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
                        listed.errors.push((path, error));
                    }
                    // Gone between the glob and the look, or a link that leads nowhere yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => listed.errors.push((path, error)),
                }
            }
        }
        listed.files.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
        listed
    }

    /// The paths that are no globs, so that a missing file can be told from an empty folder.
    pub(crate) fn literal_paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|path| !path.contains(['*', '?', '['])).map(Path::new)
    }

    /// `paths` as a message shows it.
    pub(crate) fn describe(&self) -> String {
        self.paths.join(", ")
    }

    fn excludes(&self, path: &Path) -> bool {
        self.exclude.iter().any(|pattern| {
            let name = path.file_name().map(Path::new);
            let of_name =
                !pattern.as_str().contains('/') && name.is_some_and(|name| pattern.matches_path(name));
            of_name || pattern.matches_path(path)
        })
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
        assert_eq!(listing.literal_paths().collect::<Vec<_>>(), [at("a.log")]);
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
