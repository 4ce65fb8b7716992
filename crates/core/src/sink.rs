//! Sinks: where records go. Two halves: encoding on CPU threads, sending on the I/O runtime.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use indexmap::IndexSet;

use crate::event::{Batch, EncodeOptions, Map, Reject, RowId};
use crate::kept::{self, Kept, Origin};
use crate::{
    Ack, Clock, ComponentHealth, ComponentId, Health, Metrics, SinkMetrics, StateDir, Tasks, Verdict,
    Verdicts,
};

/// Delivers records. It encodes, sends one request and classifies the outcome; batching, retries, backoff,
/// concurrency, dead letters and metrics are the engine's.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Writes every live row of the batch into the body ([`Body::row`]), in their order; a row it cannot encode is
    /// [`Body::reject`]ed. Where the documents are the events as JSON it says so ([`Body::json`]). Runs on CPU threads,
    /// several at once.
    fn encode(&self, batch: &Batch, body: &mut Body);

    /// Called until it succeeds, before the first [`Sink::send`]: finds the server's version, installs a template,
    /// opens a file. [`Verdict::Busy`] and [`Verdict::Blocked`] mean: say so, wait, try again. What of `cx` it needs
    /// later it keeps a clone of.
    async fn open(&self, _cx: &SinkCx) -> Result<(), Verdict> {
        Ok(())
    }

    /// Sends one request and says what became of its rows. Never retries.
    async fn send(&self, request: &Request) -> Verdicts;

    /// Everything is delivered and the run ends (or the topology is replaced): close files.
    async fn close(&self) {}

    /// How the engine should batch and pace requests.
    fn limits(&self) -> SinkLimits {
        SinkLimits::default()
    }

    /// What this component alone may use; see [`SourceTraits::claims`](crate::SourceTraits::claims).
    fn claims(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it may ever reject an event. Where it may, a `rejected` port that nobody reads is warned about.
    fn rejects(&self) -> bool {
        true
    }

    /// Can its server be reached (`validate --connect`)? The error says what is missing and what to do.
    async fn probe(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What a sink may use while it runs.
#[derive(Clone, Debug)]
pub struct SinkCx {
    /// Which component this is.
    pub id: ComponentId,
    /// A folder of its own.
    pub state: StateDir,
    /// Its metrics.
    pub metrics: SinkMetrics,
    /// What `/readyz` says of it. The engine reports what [`Sink::open`] and [`Sink::send`] answer.
    pub health: ComponentHealth,
    /// The time.
    pub clock: Clock,
    /// The engine's; see [`SinkCx::spawn`].
    pub tasks: Tasks,
}

// === impl SinkCx ===

impl SinkCx {
    /// A context outside of a run, for tests and tools: metrics and health of its own.
    pub fn alone(id: ComponentId, state: StateDir) -> Self {
        Self {
            metrics: Metrics::new().sink(&id),
            health: Health::default().of(&id),
            id,
            state,
            clock: Clock::System,
            tasks: Tasks::default(),
        }
    }

    /// Runs `work` beside the sink, on the I/O runtime: it renews a token, merges files. A panic of it ends the run as the
    /// sink's own would; when the sink was closed, the task is dropped at its next `await` and waited for.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }
}

/// How the engine batches and paces a sink's requests.
#[derive(Clone, Copy, Debug)]
pub struct SinkLimits {
    /// A request has at most this many bytes, unless a single row is larger.
    pub max_bytes: usize,
    /// A request has at most this many rows.
    pub max_rows: usize,
    /// How long rows may wait for others to share a request.
    pub flush_interval: Duration,
    /// At most this many requests at once; the engine finds the best number below it. 1 keeps the order.
    pub max_concurrency: usize,
    /// Give each source's records in its order.
    pub ordered: bool,
    /// Rows that wait for longer, blocked or refused while others are taken, go to the `rejected` port; `None` keeps
    /// them for ever. Without effect where `ordered` is set: there rows wait in place, and later ones behind them.
    pub blocked_for: Option<Duration>,
    /// So often a row may fail ([`Verdict::Failed`]) while other rows of its destination are taken; then it goes to the
    /// `rejected` port. Without effect where `ordered` is set.
    pub max_tries_alone: u32,
}

impl Default for SinkLimits {
    fn default() -> Self {
        Self {
            max_bytes: 4 << 20,
            max_rows: usize::MAX,
            flush_interval: Duration::from_secs(1),
            max_concurrency: 1,
            ordered: true,
            blocked_for: None,
            max_tries_alone: 20,
        }
    }
}

/// Where a row lies in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSpan {
    /// First byte.
    pub start: u32,
    /// First byte of the JSON document itself (behind an action line).
    pub document: u32,
    /// The byte behind the last one.
    pub end: u32,
    /// Number of the row's key (its index, its file) in [`Segment::key`].
    pub key: u32,
}

/// A body has at most this many bytes, for [`RowSpan`] counts them in 32 bits.
const MAX_BODY: usize = if cfg!(test) { 1 << 20 } else { u32::MAX as usize };

/// A batch being encoded for one sink.
#[derive(Debug, Default)]
pub struct Body {
    buffer: Vec<u8>,
    spans: Vec<RowSpan>,
    ids: Vec<RowId>,
    keys: IndexSet<Arc<str>>,
    rejected: Vec<(usize, Reject)>,
    documents: Option<EncodeOptions>,
    kept: Option<Kept>,
    overflowed: Vec<RowId>,
}

impl Body {
    /// An empty body that reuses `buffer`'s memory.
    pub fn with_buffer(mut buffer: Vec<u8>, rows: usize) -> Self {
        buffer.clear();
        Self { buffer, spans: Vec::with_capacity(rows), ids: Vec::with_capacity(rows), ..Self::default() }
    }

    /// The number of a key: the destination that rows share (an index, a file). Blocked rows wait per key.
    pub fn key(&mut self, key: &str) -> u32 {
        if let Some(known) = self.keys.get_index_of(key) {
            return known as u32;
        }
        self.keys.insert_full(Arc::from(key)).0 as u32
    }

    /// Appends one row: `write` fills the buffer and gives the place where the JSON document begins in it.
    pub fn row(&mut self, id: RowId, key: u32, write: impl FnOnce(&mut Vec<u8>) -> usize) {
        let start = self.buffer.len();
        let document = write(&mut self.buffer);
        if self.buffer.len() > MAX_BODY {
            self.buffer.truncate(start);
            self.overflowed.push(id);
            return;
        }
        debug_assert!((start..=self.buffer.len()).contains(&document), "the document begins within the row");
        self.spans.push(RowSpan {
            start: start as u32,
            document: document as u32,
            end: self.buffer.len() as u32,
            key,
        });
        self.ids.push(id);
    }

    /// Every document is the event as [`Batch::json_rows`] writes it with these options, and a row that is rejected later
    /// is read back from it. Without this the engine keeps the events themselves until they are settled.
    pub fn json(&mut self, options: EncodeOptions) {
        self.documents = Some(options);
    }

    /// This row of the batch cannot be encoded: it goes to the sink's `rejected` port.
    pub fn reject(&mut self, row: usize, reject: Reject) {
        self.rejected.push((row, reject));
    }

    /// How many rows were encoded.
    pub fn rows(&self) -> usize {
        self.spans.len()
    }

    /// The rows that could not be encoded.
    pub fn take_rejected(&mut self) -> Vec<(usize, Reject)> {
        std::mem::take(&mut self.rejected)
    }

    /// Keeps of the batch that was encoded what its documents do not tell, so that [`Segment::event`] is the event as it
    /// was. The engine's.
    pub fn keep(&mut self, batch: &mut Batch) {
        self.kept = Some(Kept::of(batch, self.documents, &self.ids));
    }

    /// Rejects the rows that found no room: a body has at most 4 GiB. The engine's, before [`Body::keep`].
    pub fn reject_overflowed(&mut self, batch: &Batch) {
        for id in std::mem::take(&mut self.overflowed) {
            let detail = "the documents of its batch have more than 4 GiB; set a lower `batch.max_rows`";
            let row = batch.live_rows().find(|&row| batch.id(row) == id);
            self.rejected.extend(row.map(|row| (row, Reject::new("too_large", detail))));
        }
    }

    /// The finished body; the engine's.
    pub fn finish(self, wrap: impl FnOnce(Vec<u8>) -> Bytes) -> Segment {
        let keys = self.keys.into_iter().collect();
        Segment::of_parts(wrap(self.buffer), self.spans, self.ids, keys, self.kept, None)
    }
}

/// An encoded batch, and how many of its rows are not settled yet. Dropped with rows left it leaves its ack unresolved,
/// and the source reads the batch again.
#[derive(Debug)]
pub struct Segment {
    bytes: Bytes,
    spans: Vec<RowSpan>,
    ids: Vec<RowId>,
    keys: Vec<Arc<str>>,
    kept: Option<Kept>,
    origin: Option<Origin>,
    left: AtomicUsize,
    ack: Mutex<Option<Ack>>,
    /// Its share of the memory budget.
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl Segment {
    pub(crate) fn of_parts(
        bytes: Bytes,
        spans: Vec<RowSpan>,
        ids: Vec<RowId>,
        keys: Vec<Arc<str>>,
        kept: Option<Kept>,
        origin: Option<Origin>,
    ) -> Self {
        let left = AtomicUsize::new(spans.len());
        Self { bytes, spans, ids, keys, kept, origin, left, ack: Mutex::default(), held: None }
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.spans.len()
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many bytes these rows take.
    pub fn byte_len(&self, rows: &Rows) -> usize {
        match rows {
            Rows::Range(start, end) if start < end => {
                (self.spans[*end as usize - 1].end - self.spans[*start as usize].start) as usize
            }
            rows => rows.iter().map(|row| (self.spans[row].end - self.spans[row].start) as usize).sum(),
        }
    }

    /// All keys of its rows.
    pub fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// Where row `row` lies.
    pub fn span(&self, row: usize) -> RowSpan {
        self.spans[row]
    }

    /// Row `row`'s id.
    pub fn id(&self, row: usize) -> RowId {
        self.ids[row]
    }

    /// The key (index, file) of row `row`.
    pub fn key(&self, row: usize) -> &Arc<str> {
        &self.keys[self.spans[row].key as usize]
    }

    /// The JSON document of row `row`.
    pub fn document(&self, row: usize) -> &[u8] {
        let span = self.spans[row];
        &self.bytes[span.document as usize..span.end as usize]
    }

    /// The event of row `row` as it was when it was encoded, `[@metadata]` and types of values included.
    pub fn event(&self, row: usize) -> Map {
        match &self.kept {
            Some(kept) => kept.event(row, self.document(row)),
            None => kept::read(self.document(row)),
        }
    }

    /// The same rows, which came from there.
    #[must_use]
    pub fn with_origin(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    /// The same rows; when the last of them is settled, `ack` is resolved. The engine's.
    #[must_use]
    pub fn with_ack(mut self, ack: Ack) -> Self {
        self.ack = Mutex::new(Some(ack));
        self
    }

    /// A handle on the batch for rows that go on elsewhere. The engine's.
    pub fn ack(&self) -> Ack {
        self.ack.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(Ack::detached)
    }

    /// `rows` more rows are delivered, rejected into a dead letter of their own, or discarded. The engine's: a sink says
    /// what became of rows by its verdicts.
    pub fn settle(&self, rows: usize) {
        let before = self.left.fetch_sub(rows, Ordering::AcqRel);
        debug_assert!(before >= rows, "no row is settled twice");
        if before == rows
            && let Some(ack) = self.ack.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            ack.resolve();
        }
    }

    /// Drops `permit` when nobody needs the rows any more. The engine's.
    pub fn hold(&mut self, permit: impl Any + Send + Sync) {
        self.held = Some(Box::new(permit));
    }

    /// Whether its memory is accounted for.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Where its rows came from; `None` for rows made out of nothing.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Bytes held: the encoded rows and what is kept beside them.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.kept.as_ref().map_or(0, Kept::memory_bytes)
    }

    /// These rows in a segment of their own, which holds nothing of this one, its ack and its memory neither.
    #[must_use]
    pub fn copy_rows(&self, rows: &Rows) -> Self {
        let mut bytes = Vec::with_capacity(self.byte_len(rows));
        let mut keys: IndexSet<Arc<str>> = IndexSet::new();
        let mut spans = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            let span = self.spans[row];
            let start = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[span.start as usize..span.end as usize]);
            spans.push(RowSpan {
                start,
                document: start + (span.document - span.start),
                end: bytes.len() as u32,
                key: keys.insert_full(Arc::clone(self.key(row))).0 as u32,
            });
        }
        let ids = rows.iter().map(|row| self.ids[row]).collect();
        let kept = self.kept.as_ref().map(|kept| kept.pick(rows.iter()));
        Self::of_parts(bytes.into(), spans, ids, keys.into_iter().collect(), kept, self.origin.clone())
    }
}

/// Which rows of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// From the first to before the last: all of a segment, or a stretch of it.
    Range(u32, u32),
    /// These, ascending: what is left after some were settled.
    List(Vec<u32>),
}

/// Rows to send in one request: slices of encoded batches. A retry of some rows slices bytes and encodes nothing.
#[derive(Clone, Debug, Default)]
pub struct Request {
    parts: Vec<(Arc<Segment>, Rows)>,
}

// === impl Rows ===

impl Rows {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(start, end) => (end - start) as usize,
            Self::List(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row numbers.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let (range, list) = match self {
            Self::Range(start, end) => (*start..*end, &[][..]),
            Self::List(rows) => (0..0, rows.as_slice()),
        };
        range.chain(list.iter().copied()).map(|row| row as usize)
    }
}

// === impl Request ===

impl Request {
    /// A request of these rows of these segments.
    pub fn new(parts: Vec<(Arc<Segment>, Rows)>) -> Self {
        Self { parts }
    }

    /// A request of all rows of one segment.
    pub fn of(segment: Segment) -> Self {
        let rows = Rows::Range(0, segment.rows() as u32);
        Self { parts: vec![(Arc::new(segment), rows)] }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// How many bytes.
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(|(segment, rows)| segment.byte_len(rows)).sum()
    }

    /// Segment and row number of each row, in order. The verdicts answer in the same order.
    pub fn each_row(&self) -> impl Iterator<Item = (&Arc<Segment>, usize)> {
        self.parts.iter().flat_map(|(segment, rows)| rows.iter().map(move |row| (segment, row)))
    }

    /// The bytes of all rows, neighbouring rows joined, without a copy.
    pub fn chunks(&self) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        for (segment, rows) in &self.parts {
            let mut open: Option<(usize, usize)> = None;
            let mut add = |start: usize, end: usize| match &mut open {
                Some((_, last)) if *last == start => *last = end,
                _ => chunks
                    .extend(open.replace((start, end)).map(|(start, end)| segment.bytes.slice(start..end))),
            };
            match rows {
                Rows::Range(start, end) if start < end => {
                    let first = segment.spans[*start as usize];
                    let last = segment.spans[*end as usize - 1];
                    add(first.start as usize, last.end as usize);
                }
                rows => {
                    for row in rows.iter() {
                        add(segment.spans[row].start as usize, segment.spans[row].end as usize);
                    }
                }
            }
            chunks.extend(open.map(|(start, end)| segment.bytes.slice(start..end)));
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(rows: u8, bytes: usize) -> Body {
        let mut body = Body::default();
        for row in 0..rows {
            let key = body.key(if row % 2 == 0 { "even" } else { "odd" });
            body.row(RowId::of(&[row]), key, |buffer| {
                buffer.extend_from_slice(b"head");
                let document = buffer.len();
                buffer.resize(document + bytes, row);
                document
            });
        }
        body
    }

    #[test]
    fn copied_rows_are_the_same_rows_and_weigh_what_they_are() {
        let whole = body(10, 50).finish(Bytes::from);
        let copy = whole.copy_rows(&Rows::List(vec![2, 5]));
        assert_eq!(copy.rows(), 2);
        for (row, of) in [(0, 2), (1, 5)] {
            assert_eq!((copy.id(row), copy.key(row)), (whole.id(of), whole.key(of)));
            assert_eq!(copy.document(row), whole.document(of));
            assert!(Arc::ptr_eq(copy.key(row), whole.key(of)), "a name is kept once");
        }
        assert_eq!(copy.bytes().len(), 2 * 54);
        assert!(copy.memory_bytes() < whole.memory_bytes() / 4);
    }

    #[test]
    fn a_row_beyond_what_a_body_can_count_is_given_back_and_spoils_no_other() {
        let mut body = body(6, 300 << 10);
        assert_eq!(body.rows(), 3);
        let batch = Batch::new((0..6).map(|row: u8| RowId::of(&[row])).collect());
        body.reject_overflowed(&batch);
        let rejected: Vec<usize> = body.take_rejected().into_iter().map(|(row, _)| row).collect();
        assert_eq!(rejected, [3, 4, 5]);
        let key = body.key("even");
        body.row(RowId::of(b"small"), key, |buffer| buffer.len());
        let segment = body.finish(Bytes::from);
        assert_eq!(segment.rows(), 4);
        assert!(segment.document(2) == [2; 300 << 10]);
    }
}
