//! How far a run is towards its end, which every stage watches, and what ends it before its time, which every stage may
//! report.

use std::time::Duration;

use flowstone_core::ComponentId;
use tokio::sync::watch;

/// How far a run is towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything goes on.
    Run,
    /// Nothing more is read; what was read is delivered.
    Drain,
    /// Nothing more is done; what is undelivered is read again at the next start.
    Stop,
}

/// What ends a run before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A component panicked.
    Bug(ComponentId),
    /// Nobody receives what is sent to this component. In a run that is being stopped that is its end; in any other a
    /// bug.
    Gone(ComponentId),
    /// The reader of a sink's output is gone.
    Closed(ComponentId),
}

/// Waits until the run is to end, in whatever way.
pub(crate) async fn ending(phase: &mut watch::Receiver<Phase>) {
    // A sender that is gone means that the run is over.
    phase.wait_for(|phase| *phase != Phase::Run).await.ok();
}

/// Waits until the run is stopped.
pub(crate) async fn stopped(phase: &mut watch::Receiver<Phase>) {
    phase.wait_for(|phase| *phase == Phase::Stop).await.ok();
}

/// Waits until the run has been stopped for this long.
pub(crate) async fn stopped_for(phase: &mut watch::Receiver<Phase>, grace: Duration) {
    stopped(phase).await;
    tokio::time::sleep(grace).await;
}
