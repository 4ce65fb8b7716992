//! Rows of an encoded batch that travel together through a sink's loop: cut to the size of requests, halved, kept apart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowstone_core::event::RowId;
use flowstone_core::{RowSpan, Rows, Segment};
use tokio::time::Instant;

use crate::budget::Budget;

/// What a batch of rows takes beside its bytes: itself, its handle on the source, its place in a queue.
const OVERHEAD: usize = 320;
/// What a row takes beside its bytes: its id and where it lies.
const ROW_OVERHEAD: usize = size_of::<RowId>() + size_of::<RowSpan>();

/// Rows of one encoded batch that travel together.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) segment: Arc<Segment>,
    pub(crate) rows: Rows,
    /// Since when they have been waiting, if they are, by [`SteadyClock`].
    pub(crate) since: Option<i64>,
    /// How often they failed while others were taken.
    pub(crate) tries: u32,
    /// What its segment takes in memory, if it was made for rows that wait and has nothing else in it.
    pub(crate) weight: usize,
}

/// Milliseconds since 1970 that do not jump: what waits is as old after a restart as it was before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SteadyClock {
    begun: Instant,
    begun_ms: i64,
}

// === impl SteadyClock ===

impl SteadyClock {
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

// === impl Unit ===

impl Unit {
    /// All rows of a batch.
    pub(crate) fn of(segment: Segment) -> Self {
        let rows = Rows::Range(0, segment.rows() as u32);
        Self { segment: Arc::new(segment), rows, since: None, tries: 0, weight: 0 }
    }

    /// All rows of a batch that has nothing in it but rows that wait; it is charged what it weighs.
    pub(crate) fn apart_of(mut segment: Segment, budget: &Arc<Budget>) -> Self {
        let weight = segment.memory_bytes() + OVERHEAD + segment.rows() * ROW_OVERHEAD;
        segment.hold(budget.charge(weight));
        Self { weight, ..Self::of(segment) }
    }

    /// The same rows without the others of their batch, which they would hold in memory while they wait.
    #[must_use]
    pub(crate) fn apart(self, budget: &Arc<Budget>) -> Self {
        if self.weight > 0 && self.rows.len() == self.segment.rows() {
            return self;
        }
        let copy = self.segment.copy_rows(&self.rows).with_ack(self.segment.ack());
        let copy = Self { since: self.since, tries: self.tries, ..Self::apart_of(copy, budget) };
        self.settle();
        copy
    }

    /// Its rows are delivered, rejected into dead letters, or kept elsewhere.
    pub(crate) fn settle(&self) {
        self.segment.settle(self.rows.len());
    }

    /// Some rows of the same batch as `self`.
    pub(crate) fn with_rows(&self, rows: Rows) -> Self {
        Self { segment: Arc::clone(&self.segment), rows, ..*self }
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
        self.segment.byte_len(&self.rows)
    }

    /// Cuts off the first rows: as many as fit, and at least one. `None` when all fit.
    pub(crate) fn cut(&mut self, max_bytes: usize, max_rows: usize) -> Option<Self> {
        if self.byte_len() <= max_bytes && self.rows.len() <= max_rows {
            return None;
        }
        let mut bytes = 0;
        let mut fits = 0;
        for row in self.rows.iter() {
            let span = self.segment.span(row);
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
        && Arc::ptr_eq(&last.segment, &of.segment)
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
    use std::sync::Mutex;

    use flowstone_core::{Ack, Body};

    use super::*;

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
        Unit::of(body.finish(bytes::Bytes::from))
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
        let ack = Ack::new(move |outcome| log.lock().unwrap().push(outcome), ());
        let unit = Unit::of(body.finish(bytes::Bytes::from).with_ack(ack));
        unit.segment.settle(2);
        assert!(seen.lock().unwrap().is_empty());
        unit.segment.settle(1);
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
        let ack = Ack::new(move |outcome| log.lock().unwrap().push(outcome), ());
        let mut segment = body.finish(bytes::Bytes::from).with_ack(ack);
        segment.hold(budget.charge(segment.bytes().len()));
        let unit = Unit::of(segment);
        let few = unit.with_rows(Rows::List(vec![3, 700])).apart(&budget);
        unit.segment.settle(998);
        drop(unit);
        assert!((800..2000).contains(&metrics.memory_used.get()), "{}", metrics.memory_used.get());
        assert_eq!(few.weight as i64, metrics.memory_used.get());
        assert!(seen.lock().unwrap().is_empty(), "two rows of the batch wait");
        let same = few.apart(&budget);
        same.segment.settle(2);
        drop(same);
        assert_eq!(*seen.lock().unwrap(), [flowstone_core::AckOutcome::Settled]);
        assert_eq!(metrics.memory_used.get(), 0);
    }
}
