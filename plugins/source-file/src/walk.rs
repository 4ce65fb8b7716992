//! The paths that a glob names: by the bytes of their names, so that names which are no UTF-8 are found too, each folder
//! once, so that links to an ancestor do not make it endless, and no more than [`MAX_ENTRIES`].
#![expect(clippy::disallowed_methods, reason = "runs on a thread for calls that may block")]

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};

/// A scan of one glob reads at most this many names.
const MAX_ENTRIES: usize = 1_000_000;

/// A glob, component by component.
#[derive(Debug)]
pub(crate) struct Glob {
    root: PathBuf,
    parts: Vec<Part>,
    /// All of it, as its paths are made up.
    whole: Pattern,
}

#[derive(Debug)]
enum Part {
    /// A name as it stands.
    Name(OsString),
    Pattern(Pattern),
    /// `**`: any number of folders.
    Folders,
}

/// The state of a walk.
struct Walk<'a> {
    glob: &'a Glob,
    /// Folders, each with the part of the glob that is to be found in it.
    todo: Vec<(PathBuf, usize)>,
    /// The folders that were read, by device and inode.
    seen: HashSet<(u64, u64, usize)>,
    entries: usize,
    max_entries: usize,
    found: Vec<PathBuf>,
    errors: Vec<(PathBuf, io::Error)>,
}

// === impl Glob ===

impl Glob {
    /// Reads a glob; the error is that of its first part that is none.
    pub(crate) fn new(text: &str) -> Result<Self, PatternError> {
        Pattern::new(text)?;
        let parts = text.split('/').filter(|part| !part.is_empty()).map(|part| {
            Ok(match part {
                "**" => Part::Folders,
                _ if part.contains(['*', '?', '[']) => Part::Pattern(Pattern::new(part)?),
                _ => Part::Name(part.into()),
            })
        });
        let parts = parts.collect::<Result<_, _>>()?;
        let root = if text.starts_with('/') { "/" } else { "" };
        let names: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let whole = Pattern::new(&format!("{root}{}", names.join("/")))?;
        Ok(Self { root: root.into(), parts, whole })
    }

    /// Whether it names this path, be that there or not.
    pub(crate) fn names(&self, path: &Path) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        self.whole.matches_with(&text_of(path.as_os_str()), options)
    }

    /// The path, if it is one and no glob.
    pub(crate) fn literal(&self) -> Option<PathBuf> {
        let is_literal = self.parts.iter().all(|part| matches!(part, Part::Name(_)));
        is_literal.then(|| self.root.join(self.beginning()))
    }

    /// The paths it names, which need not all be there, in an order that is always the same; and what could not be
    /// looked into.
    pub(crate) fn paths(&self) -> (Vec<PathBuf>, Vec<(PathBuf, io::Error)>) {
        self.paths_within(MAX_ENTRIES)
    }

    fn paths_within(&self, max_entries: usize) -> (Vec<PathBuf>, Vec<(PathBuf, io::Error)>) {
        let mut walk = Walk {
            glob: self,
            todo: vec![(self.root.clone(), 0)],
            seen: HashSet::new(),
            entries: 0,
            max_entries,
            found: Vec::new(),
            errors: Vec::new(),
        };
        while let Some((folder, part)) = walk.todo.pop() {
            walk.look_into(folder, part);
            if walk.entries > max_entries {
                let message = format!("more than {max_entries} names in it; narrow `paths`");
                walk.errors.push((self.root.join(self.beginning()), io::Error::other(message)));
                break;
            }
        }
        (walk.found, walk.errors)
    }

    /// The path up to the first part that is a pattern.
    fn beginning(&self) -> PathBuf {
        let names = self.parts.iter().map_while(|part| match part {
            Part::Name(name) => Some(name),
            _ => None,
        });
        names.collect()
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn look_into(&mut self, folder: PathBuf, index: usize) {
        let glob = self.glob;
        let Some(part) = glob.parts.get(index) else { return };
        let is_last = index + 1 == glob.parts.len();
        match part {
            Part::Name(name) => self.take(folder.join(name), is_last, index + 1),
            Part::Pattern(pattern) => {
                let mut names = Vec::new();
                self.entries_of(&folder, index, |entry| {
                    let name = entry.file_name();
                    if pattern.matches(&text_of(&name)) {
                        names.push((name, entry));
                    }
                });
                // The last one pushed is the first one looked into.
                names.sort_by(|a, b| if is_last { a.0.cmp(&b.0) } else { b.0.cmp(&a.0) });
                for (name, entry) in names {
                    let path = folder.join(name);
                    if is_last || self.is_folder(&path, &entry) {
                        self.take(path, is_last, index + 1);
                    }
                }
            }
            Part::Folders => {
                let mut entries = Vec::new();
                self.entries_of(&folder, index, |entry| {
                    // A name is a hundred bytes and a folder's names are many; most are no folders.
                    if entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink()) {
                        entries.push((entry.file_name(), entry));
                    }
                });
                entries.sort_by(|a, b| b.0.cmp(&a.0));
                for (name, entry) in entries {
                    let path = folder.join(name);
                    if self.is_folder(&path, &entry) {
                        self.todo.push((path, index));
                    }
                }
                if !is_last {
                    self.todo.push((folder, index + 1));
                }
            }
        }
    }

    fn take(&mut self, path: PathBuf, is_last: bool, next: usize) {
        if is_last {
            self.found.push(path);
        } else {
            self.todo.push((path, next));
        }
    }

    /// Goes through the names in a folder, unless that was done for this part of the glob before.
    fn entries_of(&mut self, folder: &Path, index: usize, mut each: impl FnMut(DirEntry)) {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut read = || -> io::Result<()> {
            let metadata = fs::metadata(here)?;
            if !metadata.is_dir() || !self.seen.insert((metadata.dev(), metadata.ino(), index)) {
                return Ok(());
            }
            for entry in fs::read_dir(here)? {
                self.entries += 1;
                if self.entries > self.max_entries {
                    break;
                }
                each(entry?);
            }
            Ok(())
        };
        if let Err(error) = read()
            && !is_no_folder(&error)
        {
            self.errors.push((here.to_owned(), error));
        }
    }

    fn is_folder(&mut self, path: &Path, entry: &DirEntry) -> bool {
        let is_folder = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => Ok(kind.is_dir()),
            _ => fs::metadata(path).map(|metadata| metadata.is_dir()),
        };
        match is_folder {
            Ok(is_folder) => is_folder,
            Err(error) => {
                if !is_no_folder(&error) && error.raw_os_error() != Some(LOOP) {
                    self.errors.push((path.to_owned(), error));
                }
                false
            }
        }
    }
}

/// What a link to itself gives.
const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();

fn is_no_folder(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A name or path as text, to compare it with patterns: a byte that is no UTF-8 is one character, which no pattern names
/// but `*`, `?` and `[!...]` match.
pub(crate) fn text_of(name: &OsStr) -> Cow<'_, str> {
    if let Some(text) = name.to_str() {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        let private = |byte: &u8| char::from_u32(0xf_0000 + u32::from(*byte));
        text.extend(chunk.invalid().iter().filter_map(private));
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(root: &Path, glob: &str) -> Vec<String> {
        let glob = Glob::new(&format!("{}/{glob}", root.display())).unwrap();
        let (paths, errors) = glob.paths();
        assert!(errors.is_empty(), "{errors:?}");
        let below = |path: PathBuf| text_of(path.strip_prefix(root).unwrap().as_os_str()).into_owned();
        assert!(paths.iter().all(|path| glob.names(path)), "{paths:?}");
        paths.into_iter().filter(|path| path.exists()).map(below).collect()
    }

    #[test]
    fn a_glob_names_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["a/b/c", "x", ".hid"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["1.log", "a/2.log", "a/b/3.log", "a/b/c/4.log", "x/5.txt", ".hid/6.log", "a/[7].log"] {
            fs::write(root.join(name), "").unwrap();
        }
        for (glob, expect) in [
            ("1.log", vec!["1.log"]),
            ("none.log", vec![]),
            ("*.log", vec!["1.log"]),
            ("*/*.log", vec![".hid/6.log", "a/2.log", "a/[7].log"]),
            ("**/*.log", vec!["1.log", ".hid/6.log", "a/2.log", "a/[7].log", "a/b/3.log", "a/b/c/4.log"]),
            ("**/b/*", vec!["a/b/3.log", "a/b/c"]),
            ("a/**/c/*.log", vec!["a/b/c/4.log"]),
            ("a/../?.log", vec!["a/../1.log"]),
            ("a//[[]7].log", vec!["a/[7].log"]),
            ("x/[0-9].txt", vec!["x/5.txt"]),
            ("1.log/*", vec![]),
            ("**", vec![]),
        ] {
            assert_eq!(paths(root, glob), expect, "{glob}");
        }
        assert_eq!(Glob::new("/a/b").unwrap().literal(), Some("/a/b".into()));
        assert_eq!(Glob::new("a/*").unwrap().literal(), None);
        assert!(Glob::new("a/b**").is_err());
    }

    #[test]
    fn names_that_are_no_utf_8_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"\xff\xfe.log")), "").unwrap();
        fs::create_dir(folder.path().join(OsStr::from_bytes(b"d\xc3"))).unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"d\xc3/a.log")), "").unwrap();
        for (glob, count) in
            [("*", 2), ("??.log", 1), ("???.log", 0), ("*.log", 1), ("**/*.log", 2), ("d?/*", 1)]
        {
            assert_eq!(paths(folder.path(), glob).len(), count, "{glob}");
        }
    }

    #[test]
    fn links_to_ancestors_are_walked_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("in");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::write(root.join("sub/deep/a.log"), "").unwrap();
        for number in 0..10 {
            symlink(&root, root.join(format!("sub/up{number}"))).unwrap();
            symlink("..", root.join(format!("sub/deep/up{number}"))).unwrap();
        }
        symlink("self", root.join("self")).unwrap();
        for glob in ["**/*.log", "**/**/*.log", "*/*/*/*/*/*/*/*/*.log", "**/deep/**/*.log"] {
            let glob = Glob::new(&format!("{}/{glob}", root.display())).unwrap();
            let (paths, errors) = glob.paths_within(20_000);
            assert!(errors.is_empty(), "{errors:?}");
            assert!(paths.len() <= 1, "{paths:?}");
        }
        assert_eq!(paths(&root, "**/*.log"), ["sub/deep/a.log"]);
    }

    #[test]
    fn a_folder_of_too_many_names_is_an_error_and_not_endless() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..100 {
            fs::write(folder.path().join(format!("{number}.log")), "").unwrap();
        }
        let glob = Glob::new(&format!("{}/*.log", folder.path().display())).unwrap();
        assert!(glob.paths_within(100).1.is_empty());
        let (paths, errors) = glob.paths_within(50);
        assert!(paths.len() <= 50);
        assert!(
            errors[0].0 == folder.path() && errors[0].1.to_string().contains("narrow `paths`"),
            "{errors:?}"
        );
    }
}
