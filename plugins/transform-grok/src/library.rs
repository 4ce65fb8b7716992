//! The pattern library: names and the expressions they stand for, from the files shipped with the crate, from the
//! user's files and from the configuration. A later definition of a name replaces an earlier one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowstone_dialect::regex::{Definitions, NameError};

use crate::names::GroupName;

/// Names and what they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Library {
    definitions: HashMap<Arc<str>, Definition>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    /// The expression.
    pub(crate) text: Arc<str>,
    /// Where it was read.
    pub(crate) origin: Origin,
}

/// Where an expression was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// In a file: shipped ones by their name, the user's by their path.
    File {
        /// Which file.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// How many bytes of the line stand before the expression.
        column: usize,
    },
    /// In the option `pattern_definitions`.
    Option,
}

/// Why pattern files could not be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LibraryError {
    /// What is wrong, the file and the line included.
    pub(crate) message: String,
    /// What was expected.
    pub(crate) label: String,
}

/// Which of the shipped sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shipped {
    /// Field names as Logstash has always had them: `clientip`.
    Legacy,
    /// Field names of the Elastic Common Schema: `[source][ip]`.
    Ecs,
}

macro_rules! files {
    ($($folder:literal: $($name:literal)+;)+) => {
        &[$($(($folder, concat!($folder, "/", $name), include_str!(concat!("../patterns/", $folder, "/", $name)))),+),+]
    };
}

/// Folder, name within the crate, text.
const FILES: &[(&str, &str, &str)] = files! {
    "common": "base" "dates" "hosts" "paths" "syslog" "exim" "httpd" "java" "bacula" "misc";
    "legacy": "aws" "bacula" "bind" "bro" "exim" "firewalls" "haproxy" "httpd" "java" "junos" "linux-syslog" "mongodb"
        "nagios" "postgresql" "rails" "redis" "squid" "mcollective";
    "ecs": "aws" "bacula" "bind" "zeek" "exim" "firewalls" "haproxy" "httpd" "java" "junos" "linux-syslog" "mongodb"
        "nagios" "postgresql" "rails" "redis" "squid" "mcollective";
};

// === impl Library ===

impl Library {
    /// The patterns shipped with flowstone.
    pub(crate) fn shipped(set: Shipped) -> Self {
        let folder = match set {
            Shipped::Legacy => "legacy",
            Shipped::Ecs => "ecs",
        };
        let mut library = Self::default();
        for (_, name, text) in FILES.iter().filter(|(of, ..)| *of == "common" || *of == folder) {
            // A shipped file that cannot be read would fail the first test of this module.
            if let Err(error) = library.add_text(name, text) {
                debug_assert!(false, "{}", error.message);
            }
        }
        library
    }

    /// Defines `name`.
    pub(crate) fn define(&mut self, name: &str, definition: Definition) {
        self.definitions.insert(name.into(), definition);
    }

    /// Where what `name` stands for was read.
    pub(crate) fn origin(&self, name: &str) -> Option<&Origin> {
        self.definitions.get(name).map(|definition| &definition.origin)
    }

    /// Reads the lines of a pattern file: a name, blanks, the expression up to the end of the line. Lines that are
    /// blank or begin with `#` are passed over.
    fn add_text(&mut self, path: &str, text: &str) -> Result<(), LibraryError> {
        let path: Arc<str> = path.into();
        for (number, whole) in text.split('\n').enumerate() {
            let whole = whole.strip_suffix('\r').unwrap_or(whole);
            let line = whole.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split_whitespace().next().unwrap_or_default();
            let expression = line[name.len()..].trim_start();
            if expression.is_empty() {
                return Err(LibraryError {
                    message: format!("{path}:{}: pattern `{name}` has no expression", number + 1),
                    label: "expected a name, blanks and a regular expression on each line".to_owned(),
                });
            }
            let column = whole.len() - expression.len();
            let origin = Origin::File { path: Arc::clone(&path), line: number + 1, column };
            self.define(name, Definition { text: expression.into(), origin });
        }
        Ok(())
    }

    /// Adds what `place` names: a file, every file of a directory that `files_glob` matches, or whatever a glob
    /// pattern finds. A place where nothing is found is an error.
    pub(crate) fn add_place(&mut self, place: &str, files_glob: &str) -> Result<(), LibraryError> {
        let failed = |message: String, label: &str| LibraryError { message, label: label.to_owned() };
        let pattern = if Path::new(place).is_dir() {
            format!("{}/{files_glob}", glob::Pattern::escape(place.trim_end_matches('/')))
        } else {
            place.to_owned()
        };
        let found = glob::glob(&pattern).map_err(|error| {
            failed(
                format!("`{pattern}` is no file pattern: {}", error.msg),
                "expected a path, or a pattern such as `dir/*.grok`",
            )
        })?;
        let mut files: Vec<PathBuf> = found.flatten().filter(|path| path.is_file()).collect();
        files.sort();
        if files.is_empty() {
            return Err(failed(
                format!("`{pattern}` matches no file"),
                "expected a pattern file, a directory with pattern files or a glob pattern",
            ));
        }
        for file in files {
            let shown = file.display().to_string();
            let bytes = std::fs::read(&file).map_err(|error| {
                failed(format!("cannot read {shown}: {error}"), "expected a readable file")
            })?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count();
                failed(format!("{shown}:{line}: the file is not UTF-8"), "expected text")
            })?;
            self.add_text(&shown, &text)?;
        }
        Ok(())
    }
}

impl Definitions for Library {
    fn get(&self, name: &str) -> Option<Arc<str>> {
        self.definitions.get(name).map(|definition| Arc::clone(&definition.text))
    }

    fn all(&self) -> Vec<&str> {
        self.definitions.keys().map(|name| &**name).collect()
    }

    fn check(&self, group: &str) -> Result<(), NameError> {
        GroupName::parse(group).map(drop)
    }
}
