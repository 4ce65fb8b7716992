//! Rows before their request: those that wait for others to share it, and those that came before their turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use flowstone_core::{Segment, SinkLimits};
use tokio::time::Instant;

use super::units::{Unit, take_request};
use crate::backoff::instant_after;

/// Rows that wait for others to share a request.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) units: VecDeque<Unit>,
    pub(super) bytes: usize,
    pub(super) rows: usize,
    pub(super) flush_at: Option<Instant>,
}

/// Puts the batches of each source back into its order.
#[derive(Default)]
pub(super) struct Order {
    pub(super) next: HashMap<usize, u64>,
    pub(super) early: BTreeMap<(usize, u64), Vec<Segment>>,
}

// === impl Pending ===

impl Pending {
    pub(super) fn push(&mut self, unit: Option<Unit>, flush_interval: Duration) {
        let Some(unit) = unit else { return };
        self.bytes += unit.byte_len();
        self.rows += unit.rows.len();
        let flush_at = instant_after(flush_interval);
        self.flush_at = Some(self.flush_at.map_or(flush_at, |earlier| earlier.min(flush_at)));
        self.units.push_back(unit);
    }

    pub(super) fn take_request(&mut self, limits: &SinkLimits) -> Vec<Unit> {
        let units = take_request(&mut self.units, limits.max_bytes, limits.max_rows);
        for unit in &units {
            self.bytes -= unit.byte_len();
            self.rows -= unit.rows.len();
        }
        if self.units.is_empty() {
            self.flush_at = None;
        }
        units
    }
}

// === impl Order ===

impl Order {
    pub(super) fn take_next(&mut self, source: usize) -> Option<Vec<Segment>> {
        let next = self.next.entry(source).or_insert(0);
        let segments = self.early.remove(&(source, *next))?;
        *next += 1;
        Some(segments)
    }
}
