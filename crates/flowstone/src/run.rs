//! `flowstone run`: a loaded topology handed to the engine, its data folder locked, and loaded anew on SIGHUP.

use flowstone_config::{Loaded, Topology};
use flowstone_engine::{Outcome, RunOptions};
use tracing::{error, warn};

use crate::exit::Exit;
use crate::loading::{self, Configuration};
use crate::lock::DataDirLock;
use crate::logging::LogFormat;

/// Runs the topology to its end.
pub(crate) fn run(configuration: Configuration, format: LogFormat) -> Exit {
    let loaded = configuration.load();
    tell(&loaded, format);
    let panicked = loaded.panicked;
    let Some(topology) = loaded.topology else {
        return if panicked { Exit::Bug } else { Exit::Configuration };
    };
    let mut folders = DataFolders::default();
    if let Err(problem) = folders.take_for(&topology) {
        error!("{problem}");
        return Exit::Configuration;
    }
    // The locks live in here, and so as long as the engine does.
    let reload = move || {
        let loaded = configuration.load();
        tell(&loaded, format);
        let topology = loaded.topology?;
        match folders.take_for(&topology) {
            Ok(()) => Some(topology),
            Err(problem) => {
                error!("{problem}");
                None
            }
        }
    };
    exit_of(flowstone_engine::run(
        topology,
        RunOptions { reload: Some(Box::new(reload)), ..RunOptions::default() },
    ))
}

/// The data folders of this process: one, unless a reload names another; then the old topology still commits to its
/// own while it drains.
#[derive(Default)]
struct DataFolders(Vec<DataDirLock>);

impl DataFolders {
    /// Locks the topology's folder if some component keeps state in it. Without one the folder is not even made.
    fn take_for(&mut self, topology: &Topology) -> Result<(), String> {
        let folder = &topology.settings.data_dir;
        let keeps_state = topology.sources.iter().any(|node| node.source.keeps_state());
        if keeps_state && !self.0.iter().any(|lock| lock.folder() == folder) {
            self.0.push(DataDirLock::take(folder)?);
        }
        Ok(())
    }
}

/// Says what is to be said about the configuration: to people as it is, into JSON logs as a field.
fn tell(loaded: &Loaded, format: LogFormat) {
    if format == LogFormat::Text {
        return loading::tell(loaded);
    }
    let diagnostics = loaded.render(false);
    if loaded.has_errors() {
        error!(diagnostics, "the configuration is not usable");
    } else if !diagnostics.is_empty() {
        warn!(diagnostics, "the configuration has warnings");
    }
}

/// The exit code of a run, with a word on why.
pub(crate) fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Finished => Exit::Done,
        Outcome::Undelivered => {
            warn!("undelivered data remains; it is read again at the next start");
            Exit::Failed
        }
        Outcome::Failed(reason) => {
            error!(reason, "the run has failed");
            Exit::Failed
        }
        Outcome::Bug(component) => {
            error!(%component, "a bug in this component has ended the run");
            Exit::Bug
        }
    }
}
