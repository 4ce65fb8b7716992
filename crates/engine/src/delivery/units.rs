//! Rows of an encoded batch, and who is told when they are settled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowstone_core::event::RowId;
use flowstone_core::{Ack, RowSpan, Rows, Segment};
use tokio::time::Instant;

use crate::budget::{Budget, Permit};

/// What a batch of rows takes beside its bytes: itself, its handle on the source, its place in a queue.
const OVERHEAD: usize = 320;
/// What a row takes beside its bytes: its id and where it lies.
const ROW_OVERHEAD: usize = size_of::<RowId>() + size_of::<RowSpan>();

/// An encoded batch and how many of its rows are not settled yet. Dropped with rows left it leaves its ack
/// unresolved, and the source reads the batch again.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) segment: Arc<Segment>,
    left: AtomicUsize,
    ack: Mutex<Option<Ack>>,
    /// The memory of the segment, returned when nobody needs it any more.
    held: Permit,
    /// Made for rows that wait: it has nothing else in it.
    apart: bool,
}

/// Rows of one encoded batch that travel together.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) encoded: Arc<Encoded>,
    pub(crate) rows: Rows,
    /// Since when they have been waiting, if they are, by [`Clock`].
    pub(crate) since: Option<i64>,
    /// How often they failed while others were taken.
    pub(crate) tries: u32,
}

/// Milliseconds since 1970 that do not jump: what waits is as old after a restart as it was before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begun: Instant,
    begun_ms: i64,
}

// === impl Clock ===

impl Clock {
    pub(crate) fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begun: Instant::now(), begun_ms: i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX) }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.begun_ms.saturating_add(millis(self.begun.elapsed()))
    }
}

/// A duration in milliseconds, as far as they go.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// === impl Encoded ===

impl Encoded {
    /// `rows` more rows are delivered, rejected into a dead letter of their own, or discarded.
    pub(crate) fn settle(&self, rows: usize) {
        let before = self.left.fetch_sub(rows, Ordering::AcqRel);
        debug_assert!(before >= rows, "no row is settled twice");
        if before == rows
            && let Some(ack) = self.ack.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            ack.resolve();
        }
    }

    /// A handle on the batch for rows that go on elsewhere.
    pub(crate) fn ack(&self) -> Ack {
        self.ack.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(Ack::detached)
    }
}

// === impl Unit ===

impl Unit {
    /// All rows of a batch, with the memory that it takes.
    pub(crate) fn of(segment: Segment, ack: Ack, held: Permit) -> Self {
        let rows = segment.rows();
        let encoded = Encoded {
            segment: Arc::new(segment),
            left: AtomicUsize::new(rows),
            ack: Mutex::new(Some(ack)),
            held,
            apart: false,
        };
        Self { encoded: Arc::new(encoded), rows: Rows::Range(0, rows as u32), since: None, tries: 0 }
    }

    /// All rows of a batch that has nothing in it but rows that wait; it is charged what it weighs.
    pub(crate) fn apart_of(segment: Segment, ack: Ack, budget: &Arc<Budget>) -> Self {
        let held = budget.charge(segment.memory_bytes() + OVERHEAD + segment.rows() * ROW_OVERHEAD);
        let mut unit = Self::of(segment, ack, held);
        if let Some(encoded) = Arc::get_mut(&mut unit.encoded) {
            encoded.apart = true;
        }
        unit
    }

    /// The same rows without the others of their batch, which they would hold in memory while they wait.
    #[must_use]
    pub(crate) fn apart(self, budget: &Arc<Budget>) -> Self {
        let encoded = &self.encoded;
        if encoded.apart && self.rows.len() == encoded.segment.rows() {
            return self;
        }
        let copy = Self::apart_of(encoded.segment.copy_rows(&self.rows), encoded.ack(), budget);
        encoded.settle(self.rows.len());
        Self { since: self.since, tries: self.tries, ..copy }
    }

    /// What it holds in memory while it waits.
    pub(crate) fn weight(&self) -> usize {
        self.encoded.held.bytes()
    }

    /// Some rows of the same batch as `self`.
    pub(crate) fn with_rows(&self, rows: Rows) -> Self {
        Self { encoded: Arc::clone(&self.encoded), rows, since: self.since, tries: self.tries }
    }

    /// The same rows, waiting since `now` if they were not before.
    #[must_use]
    pub(crate) fn waiting_since(mut self, now: i64) -> Self {
        self.since.get_or_insert(now);
        self
    }

    /// Takes one row out, the `number`-th of these.
    pub(crate) fn take_row(&mut self, number: usize) -> Self {
        let mut rows: Vec<u32> = self.rows.iter().map(|row| row as u32).collect();
        let row = rows.remove(number.min(rows.len() - 1));
        self.rows = Rows::List(rows);
        self.with_rows(Rows::List(vec![row]))
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.encoded.segment.byte_len(&self.rows)
    }

    /// Cuts off the first rows: as many as fit, and at least one. `None` when all fit.
    pub(crate) fn cut(&mut self, max_bytes: usize, max_rows: usize) -> Option<Self> {
        if self.byte_len() <= max_bytes && self.rows.len() <= max_rows {
            return None;
        }
        let mut bytes = 0;
        let mut fits = 0;
        for row in self.rows.iter() {
            let span = self.encoded.segment.span(row);
            bytes += (span.end - span.start) as usize;
            if fits > 0 && (bytes > max_bytes || fits >= max_rows) {
                break;
            }
            fits += 1;
        }
        if fits == self.rows.len() {
            return None;
        }
        let (first, rest) = split_rows(&self.rows, fits);
        self.rows = rest;
        Some(self.with_rows(first))
    }
}

/// Adds one row to a list of units, in the order in which rows come.
pub(crate) fn push_row(units: &mut Vec<Unit>, of: &Unit, row: usize) {
    if let Some(last) = units.last_mut()
        && Arc::ptr_eq(&last.encoded, &of.encoded)
        && let Rows::List(rows) = &mut last.rows
    {
        return rows.push(row as u32);
    }
    units.push(of.with_rows(Rows::List(vec![row as u32])));
}

/// How many rows these are.
pub(crate) fn count(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.rows.len()).sum()
}

/// The first half of the rows and the second one.
pub(crate) fn halve(units: Vec<Unit>) -> (Vec<Unit>, Vec<Unit>) {
    let half = count(&units) / 2;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for unit in units {
        let room = half - taken;
        if unit.rows.len() <= room {
            taken += unit.rows.len();
            first.push(unit);
        } else if room == 0 {
            second.push(unit);
        } else {
            let (head, tail) = split_rows(&unit.rows, room);
            first.push(unit.with_rows(head));
            second.push(unit.with_rows(tail));
            taken = half;
        }
    }
    (first, second)
}

/// Takes rows for one request: at least one, at most `max_rows`, and not more than `max_bytes` unless a single row is
/// larger.
pub(crate) fn take_request(from: &mut VecDeque<Unit>, max_bytes: usize, max_rows: usize) -> Vec<Unit> {
    let mut taken = Vec::new();
    let (mut bytes, mut rows) = (0, 0);
    while let Some(unit) = from.front_mut() {
        let full = bytes >= max_bytes || rows >= max_rows;
        if full && !taken.is_empty() {
            break;
        }
        let length = unit.byte_len();
        if bytes + length <= max_bytes && rows + unit.rows.len() <= max_rows {
            bytes += length;
            rows += unit.rows.len();
            taken.extend(from.pop_front());
            continue;
        }
        // A batch that would fit a request of its own is not cut to fill up this one.
        if !taken.is_empty() && (length <= max_bytes && unit.rows.len() <= max_rows) {
            break;
        }
        match unit.cut(max_bytes.saturating_sub(bytes), max_rows.saturating_sub(rows).max(1)) {
            Some(first) => taken.push(first),
            None => taken.extend(from.pop_front()),
        }
        break;
    }
    taken
}

fn split_rows(rows: &Rows, at: usize) -> (Rows, Rows) {
    match rows {
        Rows::Range(start, end) => {
            (Rows::Range(*start, start + at as u32), Rows::Range(start + at as u32, *end))
        }
        Rows::List(list) => (Rows::List(list[..at].to_vec()), Rows::List(list[at..].to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::Body;

    use super::*;

    fn budget() -> Arc<Budget> {
        Budget::new(1 << 20, flowstone_core::Metrics::new())
    }

    fn unit(rows: usize, bytes_each: usize) -> Unit {
        let mut body = Body::default();
        let key = body.key("index");
        for row in 0..rows {
            body.row(RowId::of(&row.to_be_bytes()), key, |buffer| {
                let start = buffer.len();
                buffer.resize(start + bytes_each, b'x');
                start
            });
        }
        let segment = body.finish(bytes::Bytes::from);
        let held = budget().charge(segment.bytes().len());
        Unit::of(segment, Ack::detached(), held)
    }

    fn requests(units: Vec<Unit>, max_bytes: usize, max_rows: usize) -> Vec<usize> {
        let mut queue = VecDeque::from(units);
        let mut sizes = Vec::new();
        while !queue.is_empty() {
            sizes.push(count(&take_request(&mut queue, max_bytes, max_rows)));
        }
        sizes
    }

    #[test]
    fn requests_are_as_large_as_allowed_and_no_larger() {
        assert_eq!(requests(vec![unit(3, 10), unit(3, 10)], 60, 100), [6]);
        assert_eq!(
            requests(vec![unit(3, 10), unit(3, 10)], 40, 100),
            [3, 3],
            "a batch is not cut to fill up"
        );
        assert_eq!(requests(vec![unit(10, 10)], 40, 100), [4, 4, 2]);
        assert_eq!(requests(vec![unit(10, 10)], 1000, 3), [3, 3, 3, 1]);
        assert_eq!(requests(vec![unit(2, 100)], 40, 100), [1, 1], "a single row may be larger");
    }

    #[test]
    fn halves_hold_every_row_once() {
        let (first, second) = halve(vec![unit(3, 1), unit(4, 1)]);
        assert_eq!((count(&first), count(&second)), (3, 4));
        let (first, second) = halve(second);
        assert_eq!((count(&first), count(&second)), (2, 2));
        let mut list = Vec::new();
        let of = unit(5, 1);
        [0, 2, 4].iter().for_each(|&row| push_row(&mut list, &of, row));
        let (first, second) = halve(list);
        assert_eq!((&first[0].rows, &second[0].rows), (&Rows::List(vec![0]), &Rows::List(vec![2, 4])));
    }

    #[test]
    fn a_batch_is_settled_with_its_last_row() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let mut body = Body::default();
        let key = body.key("k");
        for row in 0..3u8 {
            body.row(RowId::of(&[row]), key, |buffer| buffer.len());
        }
        let unit = Unit::of(
            body.finish(bytes::Bytes::from),
            Ack::new(move |outcome| log.lock().unwrap().push(outcome), ()),
            budget().charge(0),
        );
        unit.encoded.settle(2);
        assert!(seen.lock().unwrap().is_empty());
        unit.encoded.settle(1);
        assert_eq!(*seen.lock().unwrap(), [flowstone_core::AckOutcome::Settled]);
    }

    #[test]
    fn rows_that_wait_apart_hold_their_own_memory_and_the_batch_waits_for_them() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let mut body = Body::default();
        let key = body.key("k");
        for row in 0..1000u32 {
            body.row(RowId::of(&row.to_be_bytes()), key, |buffer| {
                buffer.resize(buffer.len() + 400, b'x');
                buffer.len() - 400
            });
        }
        let metrics = flowstone_core::Metrics::new();
        let budget = Budget::new(1 << 20, metrics.clone());
        let segment = body.finish(bytes::Bytes::from);
        let held = budget.charge(segment.bytes().len());
        let ack = Ack::new(move |outcome| log.lock().unwrap().push(outcome), ());
        let unit = Unit::of(segment, ack, held);
        let few = unit.with_rows(Rows::List(vec![3, 700])).apart(&budget);
        unit.encoded.settle(998);
        drop(unit);
        assert!((800..2000).contains(&metrics.memory_used.get()), "{}", metrics.memory_used.get());
        assert_eq!(few.weight() as i64, metrics.memory_used.get());
        assert!(seen.lock().unwrap().is_empty(), "two rows of the batch wait");
        let same = few.apart(&budget);
        same.encoded.settle(2);
        drop(same);
        assert_eq!(*seen.lock().unwrap(), [flowstone_core::AckOutcome::Settled]);
        assert_eq!(metrics.memory_used.get(), 0);
    }
}
