//! A configuration that is loaded while the one before it runs, so that one that cannot be used changes nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use flowstone_config::{Settings, Topology};
use flowstone_core::{ComponentId, StateDir};
use tokio::task::JoinHandle;
use tracing::error;

/// A topology that can be run.
pub struct Prepared {
    /// What is run.
    pub topology: Topology,
    /// Dropped when the topology is not run any more: the lock of its data folder, say.
    pub held: Box<dyn Any + Send>,
}

/// Loads the configuration anew; `None` when it is not usable, which has been said by then.
pub(crate) type Load = Box<dyn FnMut() -> Option<Prepared> + Send>;

/// Loads when asked to, on a thread of its own; asked meanwhile, once more.
pub(crate) struct Reload {
    load: Option<Load>,
    loading: Option<JoinHandle<(Load, Option<Prepared>)>>,
    again: bool,
}

// === impl Prepared ===

impl From<Topology> for Prepared {
    fn from(topology: Topology) -> Self {
        Self { topology, held: Box::new(()) }
    }
}

// === impl Reload ===

impl Reload {
    pub(crate) fn new(load: Option<Load>) -> Self {
        Self { load, loading: None, again: false }
    }

    /// Somebody wants the configuration of now.
    pub(crate) fn ask(&mut self) {
        self.again |= self.is_loading();
        if let Some(mut load) = self.load.take() {
            self.loading = Some(tokio::task::spawn_blocking(move || {
                let loaded = catch_unwind(AssertUnwindSafe(|| load().filter(can_go_on)));
                if loaded.is_err() {
                    error!("loading the configuration panicked");
                }
                (load, loaded.ok().flatten())
            }));
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// What was loaded at last; waits for ever when nothing is. Cancel-safe.
    pub(crate) async fn loaded(&mut self) -> Option<Prepared> {
        loop {
            let Some(loading) = &mut self.loading else { return std::future::pending().await };
            let loaded = loading.await;
            self.loading = None;
            let (load, prepared) = loaded.ok()?;
            self.load = Some(load);
            if !std::mem::take(&mut self.again) {
                return prepared;
            }
            // The files may be others by now.
            self.ask();
        }
    }
}

/// Where a component keeps its state.
pub(crate) fn state_dir(settings: &Settings, id: &ComponentId) -> StateDir {
    StateDir::new(settings.data_dir.join(id.kind.as_str()).join(&*id.name))
}

/// Whether each source can go on from the state that it would find.
fn can_go_on(prepared: &Prepared) -> bool {
    let Topology { settings, sources, .. } = &prepared.topology;
    let mut can = true;
    for node in sources {
        if let Err(problem) = node.source.check_state(&state_dir(settings, &node.id)) {
            error!(component = %node.id, error = problem, "source could not go on with its state");
            can = false;
        }
    }
    can
}
