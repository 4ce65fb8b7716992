//! What every stage of a run runs under: a panic is caught, named and reported at once. The other stages wait for
//! each other; for one that is gone they would wait for ever.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use flowstone_core::ComponentId;
use futures::FutureExt;
use tokio::sync::mpsc::Sender;
use tracing::error;

use crate::phase::Failure;

/// A stage of a run, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    /// `intake`, `worker`, `delivery`, `task`, `dead letters`, `service`.
    pub(crate) name: &'static str,
    /// The component that it works for.
    pub(crate) component: ComponentId,
}

/// Runs a stage. `None` when it panicked, which is reported by then; `culprit` says in which component.
pub(crate) async fn supervise<T>(
    failures: Sender<Failure>,
    culprit: impl FnOnce() -> Stage,
    work: impl Future<Output = T>,
) -> Option<T> {
    caught(&failures, culprit, AssertUnwindSafe(work).catch_unwind().await)
}

/// What [`supervise`] does with a stage's end, for stages that are threads.
pub(crate) fn caught<T>(
    failures: &Sender<Failure>,
    culprit: impl FnOnce() -> Stage,
    result: Result<T, Box<dyn Any + Send>>,
) -> Option<T> {
    let panic = match result {
        Ok(done) => return Some(done),
        Err(panic) => panic,
    };
    let Stage { name, component } = culprit();
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    error!(%component, stage = name, panic = text, "a component panicked; the run ends, and what is undelivered is read again");
    // A channel that is full holds failures enough to end the run.
    failures.try_send(Failure::Bug(component)).ok();
    None
}
