//! One batch, run to completion through transforms and encoding, on one thread and without a hop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flowstone_core::event::{Act, Batch, BitSet, Reject};
use flowstone_core::{
    Ack, Body, Clock, ComponentId, ComponentMetrics, Kind, Origin, Position, Rejection, Segment, Transform,
    TransformCx,
};

use crate::graph::{Edge, Graph, Reader};
use crate::letter;
use crate::pool::BufferPool;

/// Runs batches through a graph. Every worker and every delivery loop has its own, with forks of the transforms.
pub(crate) struct Runner {
    graph: Arc<Graph>,
    transforms: Vec<Box<dyn Transform>>,
    clock: Clock,
    pool: Arc<BufferPool>,
    out: Vec<(usize, Segment)>,
    at: Arc<At>,
    /// Where what comes next came from.
    pub(crate) origin: Option<Origin>,
    /// Gets what leaves each transform, and the sinks nothing.
    pub(crate) tap: Option<Tap>,
}

/// Where a runner is, so that a panic, or a call that does not return, names its component.
pub(crate) struct At {
    graph: Arc<Graph>,
    /// The kind of the component and its number in the graph.
    component: Mutex<(Kind, usize)>,
}

/// An output of a component as the runner's tap sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TapPort {
    Default,
    Rejected,
    Named(usize),
}

/// Sees what leaves each transform (`flowstone test`); sinks are not fed then.
pub(crate) type Tap = Box<dyn FnMut(usize, TapPort, &Batch) + Send>;

// === impl Runner ===

impl Runner {
    pub(crate) fn new(
        graph: Arc<Graph>,
        transforms: &[Box<dyn Transform>],
        clock: Clock,
        pool: Arc<BufferPool>,
    ) -> Self {
        let transforms = transforms.iter().map(|transform| transform.fork()).collect();
        let at = At { graph: Arc::clone(&graph), component: Mutex::new((Kind::Source, 0)) };
        Self { graph, transforms, clock, pool, out: Vec::new(), at: Arc::new(at), origin: None, tap: None }
    }

    /// Which component the last call was in; also while it goes on.
    pub(crate) fn at(&self) -> &Arc<At> {
        &self.at
    }

    /// What was encoded since the last call, and for which sink.
    pub(crate) fn take_encoded(&mut self) -> std::vec::Drain<'_, (usize, Segment)> {
        self.out.drain(..)
    }

    /// Runs a batch as a source gave it.
    pub(crate) fn run_source(&mut self, source: usize, mut batch: Batch, position: Position, ack: Ack) {
        self.at.enter(Kind::Source, source);
        let graph = Arc::clone(&self.graph);
        let entry = &graph.sources[source];
        self.origin = Some(Origin { source: Arc::clone(&entry.id.name), position });
        entry.metrics.received.inc_by(batch.len() as u64);
        self.settle_acts(
            &entry.id,
            &entry.metrics,
            &entry.outputs.named,
            &entry.outputs.rejected,
            None,
            &mut batch,
            &ack,
        );
        entry.metrics.sent.inc_by(batch.live_count() as u64);
        self.emit(&entry.outputs.default, batch, ack);
    }

    /// Runs a batch into a transform, as if something had sent it there.
    pub(crate) fn run_transform(&mut self, transform: usize, mut batch: Batch, ack: Ack) {
        self.at.enter(Kind::Transform, transform);
        let graph = Arc::clone(&self.graph);
        let entry = &graph.transforms[transform];
        let started = Instant::now();
        entry.metrics.received.inc_by(batch.live_count() as u64);

        let mut applies = true;
        if let Some(condition) = &entry.when {
            let live = batch.live_set();
            let selection = condition.select(&batch, &live);
            if selection.incomparable > 0 {
                entry.metrics.error("incomparable", selection.incomparable);
            }
            applies = selection.rows.count() > 0;
            batch.set_active((selection.rows.count() < live.count()).then_some(selection.rows));
        }
        if applies {
            self.transforms[transform].apply(&mut batch, &mut TransformCx::new(&entry.metrics, self.clock));
            let unmatched = batch.take_unmatched();
            if !entry.decorations.is_empty() {
                let mut matched = batch.active_set();
                if let Some(unmatched) = &unmatched {
                    matched.subtract(unmatched);
                }
                entry.decorations.apply(&mut batch, &matched);
            }
        }
        batch.set_active(None);
        entry.metrics.busy.inc_by(started.elapsed().as_secs_f64());

        self.settle_acts(
            &entry.id,
            &entry.metrics,
            &entry.outputs.named,
            &entry.outputs.rejected,
            Some(transform),
            &mut batch,
            &ack,
        );
        entry.metrics.sent.inc_by(batch.live_count() as u64);
        self.tap(transform, TapPort::Default, &batch);
        self.emit(&entry.outputs.default, batch, ack);
    }

    /// Sends a batch along each of these edges.
    pub(crate) fn emit(&mut self, edges: &[Edge], mut batch: Batch, ack: Ack) {
        if batch.live_count() == 0 || edges.is_empty() {
            // Nothing is left of it here, or nobody reads this output (which is counted where it was sent).
            return ack.resolve();
        }
        let Some((last, others)) = edges.split_last() else { return ack.resolve() };
        for edge in others {
            let shared = batch.share();
            self.enter(edge, shared, ack.clone());
        }
        self.enter(last, batch, ack);
    }

    fn enter(&mut self, edge: &Edge, mut batch: Batch, ack: Ack) {
        if let Some(branch) = edge.branch {
            batch.map_ids(|id| id.on_branch(branch));
        }
        match edge.to {
            Reader::Transform(transform) => self.run_transform(transform, batch, ack),
            Reader::Sink(_) if self.tap.is_some() => ack.resolve(),
            Reader::Sink(sink) => self.encode(sink, &mut batch, ack),
        }
    }

    fn encode(&mut self, sink: usize, batch: &mut Batch, ack: Ack) {
        self.at.enter(Kind::Sink, sink);
        let graph = Arc::clone(&self.graph);
        let entry = &graph.sinks[sink];
        let metrics = &entry.metrics.component;
        let started = Instant::now();
        let rows = batch.live_count();
        metrics.received.inc_by(rows as u64);
        metrics.in_flight.add(rows as i64);
        let mut body = Body::with_buffer(self.pool.take(), rows);
        entry.sink.encode(batch, &mut body);
        body.reject_overflowed(batch);
        if entry.sink.rejects() {
            body.keep(batch);
        }
        let rejected = body.take_rejected();
        assert_eq!(body.rows() + rejected.len(), rows, "a sink encodes or rejects every row");
        metrics.busy.inc_by(started.elapsed().as_secs_f64());
        if !rejected.is_empty() {
            metrics.in_flight.sub(rejected.len() as i64);
            let rows: Vec<usize> = rejected.iter().map(|(row, _)| *row).collect();
            let reasons = rejected.into_iter().map(|(_, reject)| reject.into());
            let letters = self.letters(&entry.id, metrics, batch.pick(&rows), reasons.collect());
            self.emit(&entry.rejected, letters, ack.clone());
        }
        if body.rows() == 0 {
            return ack.resolve();
        }
        let pool = Arc::clone(&self.pool);
        let segment = body.finish(|buffer| pool.share(buffer)).with_origin(self.origin.clone()).with_ack(ack);
        self.out.push((sink, segment));
    }

    /// Does what a component decided about single rows.
    #[allow(clippy::too_many_arguments)]
    fn settle_acts(
        &mut self,
        id: &ComponentId,
        metrics: &ComponentMetrics,
        named: &[Vec<Edge>],
        rejected: &[Edge],
        transform: Option<usize>,
        batch: &mut Batch,
        ack: &Ack,
    ) {
        let acts = batch.take_acts();
        if acts.is_empty() {
            return;
        }
        let mut letters: Vec<(usize, Reject)> = Vec::new();
        let mut sent = 0;
        let mut sent_rows: Option<BitSet> = None;
        for act in acts {
            match act {
                Act::Discard { reason, rows } => metrics.discarded(reason, rows.count() as u64),
                Act::Reject(row, reject) => letters.push((row, reject)),
                Act::Send { output, rows } => {
                    sent += rows.count();
                    match &mut sent_rows {
                        Some(all) => all.unite(&rows),
                        None => sent_rows = Some(rows.clone()),
                    }
                    let branch = batch.share_rows(rows);
                    if let Some(transform) = transform {
                        self.tap(transform, TapPort::Named(output), &branch);
                    }
                    let edges = named.get(output).map_or(&[][..], Vec::as_slice);
                    if edges.is_empty() && self.tap.is_none() {
                        metrics.discarded("unread_output", branch.live_count() as u64);
                    } else {
                        metrics.sent.inc_by(branch.live_count() as u64);
                    }
                    self.emit(edges, branch, ack.clone());
                }
            }
        }
        if let Some(rows) = sent_rows {
            metrics.created.inc_by((sent - rows.count()) as u64);
        }
        if !letters.is_empty() {
            let rows: Vec<usize> = letters.iter().map(|(row, _)| *row).collect();
            let reasons = letters.into_iter().map(|(_, reject)| reject.into()).collect();
            let letters = self.letters(id, metrics, batch.pick(&rows), reasons);
            if let Some(transform) = transform {
                self.tap(transform, TapPort::Rejected, &letters);
            }
            self.emit(rejected, letters, ack.clone());
        }
    }

    /// Dead letters: each event as it was, and why it is here. Counts them.
    pub(crate) fn letters(
        &self,
        id: &ComponentId,
        metrics: &ComponentMetrics,
        mut batch: Batch,
        reasons: Vec<Rejection>,
    ) -> Batch {
        for why in &reasons {
            metrics.rejected(&why.reason, 1);
        }
        letter::mark(&mut batch, id, reasons, self.origin.as_ref(), self.clock.now_ms());
        batch
    }

    fn tap(&mut self, transform: usize, port: TapPort, batch: &Batch) {
        if let Some(tap) = &mut self.tap {
            tap(transform, port, batch);
        }
    }
}

// === impl At ===

impl At {
    pub(crate) fn component(&self) -> &ComponentId {
        match *self.component.lock().unwrap_or_else(PoisonError::into_inner) {
            (Kind::Source, index) => &self.graph.sources[index].id,
            (Kind::Transform, index) => &self.graph.transforms[index].id,
            (Kind::Sink, index) => &self.graph.sinks[index].id,
        }
    }

    fn enter(&self, kind: Kind, index: usize) {
        *self.component.lock().unwrap_or_else(PoisonError::into_inner) = (kind, index);
    }
}
