//! CPU threads: each takes a batch, runs it through transforms and encoding, and hands what came out to the sinks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flowstone_core::event::Batch;
use flowstone_core::{Ack, Position, Segment};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;

use crate::budget::Permit;
use crate::graph::Graph;
use crate::phase::Failure;
use crate::runner::{At, Runner};
use crate::supervise::{Stage, caught};

/// A batch from a source.
pub(crate) struct Job {
    pub(crate) source: usize,
    /// The how-many-th batch of its source this is.
    pub(crate) number: u64,
    pub(crate) batch: Batch,
    /// Where the batch came from.
    pub(crate) position: Position,
    pub(crate) ack: Ack,
    pub(crate) permit: Arc<Permit>,
}

/// What a sink's delivery loop receives.
pub(crate) enum Message {
    /// Encoded rows, in no particular order.
    Rows(Vec<Segment>),
    /// What became of the `number`-th batch of `source`, perhaps nothing: for sinks that keep the order.
    InOrder { source: usize, number: u64, segments: Vec<Segment> },
}

/// Starts a worker. It ends when the channel of jobs is closed and empty, or after a plugin has panicked; then the sender
/// of the returned channel is dropped. Its runner can be asked where it is.
pub(crate) fn spawn(
    index: usize,
    graph: Arc<Graph>,
    mut runner: Runner,
    jobs: Arc<Mutex<Receiver<Job>>>,
    sinks: Vec<Sender<Message>>,
    failures: Sender<Failure>,
) -> std::io::Result<(oneshot::Receiver<()>, Arc<At>)> {
    let (lives, ended) = oneshot::channel();
    let at = Arc::clone(runner.at());
    thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let _lives = lives;
        let worked = catch_unwind(AssertUnwindSafe(|| work(&graph, &mut runner, &jobs, &sinks, &failures)));
        caught(&failures, || Stage { name: "worker", component: runner.at().component().clone() }, worked);
    })?;
    Ok((ended, at))
}

fn work(
    graph: &Graph,
    runner: &mut Runner,
    jobs: &Mutex<Receiver<Job>>,
    sinks: &[Sender<Message>],
    failures: &Sender<Failure>,
) {
    // What is dropped when nobody receives it is read again.
    let send = |sink: usize, message| {
        let sent = sinks[sink].blocking_send(message).is_ok();
        if !sent {
            failures.blocking_send(Failure::Gone(graph.sinks[sink].id.clone())).ok();
        }
        sent
    };
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Job { source, number, batch, position, ack, permit }) = job else { return };
        runner.run_source(source, batch, position, ack);
        let mut by_sink: Vec<Vec<Segment>> = Vec::new();
        let mut bytes = 0;
        for (sink, segment) in runner.take_encoded() {
            if by_sink.is_empty() {
                by_sink.resize_with(sinks.len(), Vec::new);
            }
            bytes += segment.memory_bytes();
            by_sink[sink].push(segment);
        }
        // The events themselves are gone; what is held from here on is their encoded form.
        permit.resize(bytes);
        for segment in by_sink.iter_mut().flatten() {
            // Each sink returns its part when it is done with it, whatever the others wait for.
            segment.hold(permit.split(segment.memory_bytes()));
        }
        drop(permit);
        let ordered = &graph.sources[source].ordered_sinks;
        for &sink in ordered {
            let segments = by_sink.get_mut(sink).map(std::mem::take).unwrap_or_default();
            if !send(sink, Message::InOrder { source, number, segments }) {
                return;
            }
        }
        for (sink, segments) in by_sink.into_iter().enumerate() {
            if !segments.is_empty() && !send(sink, Message::Rows(segments)) {
                return;
            }
        }
    }
}
