//! `flowstone run`: a loaded topology handed to the engine, its data folder locked, and loaded anew on SIGHUP.

use std::sync::{Arc, Weak};

use flowstone_config::{Loaded, Topology};
use flowstone_engine::{Outcome, Prepared, RunOptions};
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
    let prepared = match folders.prepare(topology) {
        Ok(prepared) => prepared,
        Err(problem) => {
            error!("{problem}");
            return Exit::Configuration;
        }
    };
    let reload = move || {
        let loaded = configuration.load();
        tell(&loaded, format);
        match folders.prepare(loaded.topology?) {
            Ok(prepared) => Some(prepared),
            Err(problem) => {
                error!("{problem}");
                None
            }
        }
    };
    exit_of(flowstone_engine::run(
        prepared,
        RunOptions { reload: Some(Box::new(reload)), ..RunOptions::default() },
    ))
}

/// The data folders that topologies of this process hold: one, unless a reload names another; then the old topology
/// commits to its own until it has drained.
#[derive(Default)]
struct DataFolders(Vec<Weak<DataDirLock>>);

impl DataFolders {
    /// Locks the topology's folder, for as long as it is run, if some component keeps state in it; what another
    /// topology of this process has locked they share. Without such a component the folder is not even made.
    fn prepare(&mut self, topology: Topology) -> Result<Prepared, String> {
        let folder = &topology.settings.data_dir;
        if !topology.sources.iter().any(|node| node.source.traits().keeps_state) {
            return Ok(Prepared::from(topology));
        }
        self.0.retain(|lock| lock.strong_count() > 0);
        let held = self.0.iter().filter_map(Weak::upgrade).find(|lock| lock.is_of(folder));
        let lock = match held {
            Some(lock) => lock,
            None => Arc::new(DataDirLock::take(folder)?),
        };
        self.0.push(Arc::downgrade(&lock));
        Ok(Prepared { topology, held: Box::new(lock) })
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
