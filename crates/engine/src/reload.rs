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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use async_trait::async_trait;
    use flowstone_config::SourceNode;
    use flowstone_core::{Kind, Next, Position, Source, SourceCx, SourceError};

    use super::*;

    struct Damaged(bool);

    #[async_trait]
    impl Source for Damaged {
        async fn next(&mut self, _cx: &mut SourceCx) -> Result<Next, SourceError> {
            Ok(Next::End)
        }

        async fn commit(&mut self, _positions: &[Position]) -> Result<(), SourceError> {
            Ok(())
        }

        async fn rewind(&mut self, _position: &Position) -> Result<(), SourceError> {
            Ok(())
        }

        fn check_state(&self, state: &StateDir) -> Result<(), String> {
            assert_eq!(state.path(), PathBuf::from("state/source/in"));
            if self.0 { Err("the checkpoint is damaged; restore it".to_owned()) } else { Ok(()) }
        }
    }

    fn prepared(workers: usize, damaged: bool) -> Prepared {
        let settings = Settings {
            data_dir: "state".into(),
            memory: 1 << 20,
            waiting_max: 1 << 20,
            workers,
            batch_rows: 1,
            batch_bytes: 1,
            shutdown_timeout: Duration::ZERO,
            metrics_listen: None,
        };
        let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "fake" };
        let sources = vec![SourceNode { id, source: Box::new(Damaged(damaged)) }];
        Topology { settings, sources, transforms: Vec::new(), sinks: Vec::new() }.into()
    }

    #[tokio::test]
    async fn who_asks_while_it_loads_gets_what_is_there_then_and_nobody_what_was_there_before() {
        let (go, wait) = channel::<()>();
        let mut loads = 0;
        let mut reload = Reload::new(Some(Box::new(move || {
            wait.recv().ok();
            loads += 1;
            Some(prepared(loads, false))
        })));
        assert!(!reload.is_loading());
        for _ in 0..3 {
            reload.ask();
        }
        (0..3).for_each(|_| go.send(()).unwrap());
        let newest = reload.loaded().await.expect("it is usable");
        assert_eq!(
            newest.topology.settings.workers, 2,
            "loaded once more, and once for all who asked meanwhile"
        );
        assert!(!reload.is_loading());
        reload.ask();
        assert_eq!(reload.loaded().await.unwrap().topology.settings.workers, 3, "it can be asked again");
    }

    #[tokio::test]
    async fn what_panics_or_finds_a_damaged_checkpoint_is_refused_and_the_next_one_is_not() {
        let mut loads = 0;
        let mut reload = Reload::new(Some(Box::new(move || {
            loads += 1;
            assert_ne!(loads, 1, "a bug");
            Some(prepared(1, loads == 2))
        })));
        let mut usable = Vec::new();
        for _ in 0..3 {
            reload.ask();
            usable.push(reload.loaded().await.is_some());
        }
        assert_eq!(usable, [false, false, true]);
    }
}
