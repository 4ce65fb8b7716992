//! Components: the named, configured instances of plugins in a topology.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::StateDir;

/// The three kinds of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Reads records.
    Source,
    /// Rewrites batches.
    Transform,
    /// Delivers records.
    Sink,
}

impl Kind {
    /// `source`, `transform`, `sink`: the metric label and the word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which component: its name in the file, its kind and its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ComponentId {
    /// The name the user gave it: `es` in `[sinks.es]`.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// Its `type`: `elasticsearch`.
    pub type_name: &'static str,
}

impl std::fmt::Display for ComponentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` ({})", self.kind, self.name, self.type_name)
    }
}

/// What time it is, so that tests can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// Always this instant, in milliseconds since the epoch (`clock` in `[[tests]]`).
    Fixed(i64),
}

impl Clock {
    /// Milliseconds since the epoch.
    pub fn now_ms(self) -> i64 {
        match self {
            Self::Fixed(millis) => millis,
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
        }
    }
}

/// What a plugin knows while it is built. Building spawns nothing and opens no socket: `validate` builds too.
#[derive(Clone, Debug)]
pub struct BuildCx {
    /// The component being built.
    pub id: ComponentId,
    /// Where flowstone keeps state.
    pub data_dir: PathBuf,
    /// The time.
    pub clock: Clock,
}

impl BuildCx {
    /// This component's own folder for checkpoints; made when first written to.
    pub fn state_dir(&self) -> StateDir {
        StateDir::new(self.data_dir.join(self.id.kind.as_str()).join(&*self.id.name))
    }
}

/// Why a component cannot be built from options that are well-formed each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// The option to point at; empty for the whole component.
    pub option: String,
    /// The element of a list option, if one is to blame.
    pub index: Option<usize>,
    /// The stretch of a string's text to point at.
    pub within: Option<(usize, usize)>,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// What was expected or the nearest name: stands beside the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether all that is wrong is that a file is not there: an example in the reference names files of its reader.
    pub file_is_missing: bool,
}

impl BuildError {
    /// An error about one option.
    pub fn option(option: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            option: option.into(),
            index: None,
            within: None,
            message: message.into(),
            label: String::new(),
            help: None,
            file_is_missing: false,
        }
    }

    /// An error about the component as a whole.
    pub fn component(message: impl Into<String>) -> Self {
        Self::option("", message)
    }

    /// In this element of the list.
    #[must_use]
    pub fn at_index(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// At these bytes of the option's text.
    #[must_use]
    pub fn within(mut self, start: usize, end: usize) -> Self {
        self.within = Some((start, end));
        self
    }

    /// With words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Because a file is not there.
    #[must_use]
    pub fn file_is_missing(mut self) -> Self {
        self.file_is_missing = true;
        self
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
