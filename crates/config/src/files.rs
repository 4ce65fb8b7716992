//! The files of a configuration: reading them (single files, folders, text already read) and finding line and column
//! of a byte.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use flowstone_core::{Diagnostic, Diagnostics, Span};

/// Where a part of the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigInput {
    /// A file, or a folder: all `*.toml` in it, in the order of their names.
    Path(PathBuf),
    /// Text that was read already: standard input, which can be read only once, or a test.
    Text {
        /// What diagnostics call it: `<standard input>`.
        name: String,
        /// The TOML.
        text: String,
    },
}

/// One file: its name as the user gave it, and its text.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All files, numbered as [`Span::file`] has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(Vec<File>);

/// A line of a file and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// Where the line begins, in bytes.
    pub(crate) line_start: usize,
    /// Where it ends, its line break not included.
    pub(crate) line_end: usize,
}

// === impl Files ===

impl Files {
    /// Reads everything; what cannot be read is a diagnostic. A file that is named twice, by itself and by its folder
    /// perhaps, is read once.
    pub(crate) fn read(inputs: &[ConfigInput], diagnostics: &mut Diagnostics) -> Self {
        let mut files = Self::default();
        let mut known: HashSet<PathBuf> = HashSet::new();
        let mut is_new = |path: &Path| path.canonicalize().map_or(true, |path| known.insert(path));
        for input in inputs {
            match input {
                ConfigInput::Text { name, text } => {
                    files.0.push(File { name: name.clone(), text: text.clone() })
                }
                ConfigInput::Path(path) if path.is_dir() => match toml_files(path) {
                    Ok(paths) if paths.is_empty() => diagnostics.push(
                        unplaced(
                            "no-configuration",
                            format!("the folder `{}` holds no `.toml` file", path.display()),
                        )
                        .help("put the configuration there, or name a file with `-c FILE`"),
                    ),
                    Ok(paths) => {
                        let new = paths.iter().filter(|path| is_new(path));
                        new.for_each(|path| files.read_file(path, diagnostics));
                    }
                    Err(error) => {
                        diagnostics.push(unplaced(
                            "unreadable",
                            format!("cannot list `{}`: {error}", path.display()),
                        ));
                    }
                },
                ConfigInput::Path(path) if is_new(path) => files.read_file(path, diagnostics),
                ConfigInput::Path(_) => {}
            }
        }
        files
    }

    fn read_file(&mut self, path: &Path, diagnostics: &mut Diagnostics) {
        let name = path.display().to_string();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot read `{name}`: {error}");
                return diagnostics
                    .push(unplaced("unreadable", message).help("name the configuration with `-c FILE`"));
            }
        };
        let file = self.0.len();
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let start = error.utf8_error().valid_up_to();
                let span = Span { file, start, end: start + 1 };
                diagnostics.push(
                    Diagnostic::error("not-utf8", format!("byte {start} of `{name}` is no UTF-8 text"), span)
                        .label("TOML is written in UTF-8"),
                );
                // What stands before it can still be checked, and the place be shown.
                let bytes = error.as_bytes();
                let line_end = bytes[start..]
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .map_or(bytes.len(), |at| start + at);
                String::from_utf8_lossy(&bytes[..line_end]).into_owned()
            }
        };
        self.0.push(File { name, text });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    pub(crate) fn get(&self, file: usize) -> Option<&File> {
        self.0.get(file)
    }

    /// The names, for a message about the configuration as a whole.
    pub(crate) fn names(&self) -> String {
        self.0.iter().map(|file| format!("`{}`", file.name)).collect::<Vec<_>>().join(", ")
    }
}

impl File {
    /// The line and column of a byte; of the end of the text, where `at` lies behind it.
    pub(crate) fn locate(&self, at: usize) -> Location {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        let line_end = line_end - usize::from(line_end > at && self.text[..line_end].ends_with('\r'));
        Location {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            line_start,
            line_end,
        }
    }
}

/// A diagnostic about no place in a file.
pub(crate) fn unplaced(code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic { span: None, ..Diagnostic::error(code, message, Span::default()) }
}

fn toml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, at: usize) -> (usize, usize, &str) {
        let file = File { name: String::new(), text: text.to_owned() };
        let location = file.locate(at);
        (location.line, location.column, &text[location.line_start..location.line_end])
    }

    #[test]
    fn a_byte_has_a_line_and_a_column_in_characters() {
        for (text, at, expect) in [
            ("", 0, (1, 1, "")),
            ("a\nbc", 3, (2, 2, "bc")),
            ("a\r\nbc\r\n", 4, (2, 2, "bc")),
            ("é = 1", 2, (1, 2, "é = 1")),
            ("é = 1", 1, (1, 1, "é = 1")),
            ("a\n", 2, (2, 1, "")),
            ("a\n", 99, (2, 1, "")),
        ] {
            assert_eq!(place(text, at), expect, "{text:?} at {at}");
        }
    }

    #[test]
    fn a_folder_is_all_its_toml_files_in_the_order_of_their_names_each_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", ".hidden.toml", "notes.txt"] {
            fs::write(folder.path().join(name), format!("# {name}")).unwrap();
        }
        let mut diagnostics = Vec::new();
        let by_folder = ConfigInput::Path(folder.path().to_owned());
        let by_name = ConfigInput::Path(folder.path().join("./b.toml"));
        let files = Files::read(&[by_folder, by_name], &mut diagnostics);
        assert_eq!(files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>(), ["# a.toml", "# b.toml"]);
        assert!(diagnostics.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let latin1 = folder.path().join("latin1.toml");
        fs::write(&latin1, b"a = 1\nb = \"\xe9\"\nc = 2").unwrap();
        let inputs =
            [folder.path().join("absent.toml"), latin1, folder.path().join("absent")].map(ConfigInput::Path);
        let mut diagnostics = Vec::new();
        let files = Files::read(&inputs, &mut diagnostics);
        assert_eq!(
            diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(),
            ["unreadable", "not-utf8", "unreadable"]
        );
        assert_eq!(files.get(0).unwrap().text, "a = 1\nb = \"\u{fffd}\"");
    }
}
