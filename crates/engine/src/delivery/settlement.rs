//! What became of the rows of a request: by row, by destination, or as a whole. What is refused says by that what it is
//! about.

use std::borrow::Cow;
use std::sync::Arc;

use flowstone_core::{Rejection, Verdict, Verdicts};
use indexmap::{IndexMap, IndexSet};

use super::units::{SteadyClock, Unit, count, push_row};
use super::waiting::{Refused, Why};

/// What became of the rows of a request: after one try, or after the last, which leaves none but those in `refused`.
#[derive(Default)]
pub(super) struct Settlement {
    /// The destinations that the request tried.
    pub(super) probed: Vec<Arc<str>>,
    pub(super) settled: Vec<Unit>,
    pub(super) duplicates: usize,
    pub(super) closed: bool,
    pub(super) split: Vec<Unit>,
    pub(super) split_why: (Cow<'static, str>, String),
    pub(super) rejected: Vec<(Unit, Rejection)>,
    /// The request was refused as a whole. In an ordered sink also: rows of it, behind which the others wait.
    pub(super) whole: Option<Refused>,
    /// Rows that were refused one by one, by destination.
    pub(super) refused: IndexMap<Arc<str>, Refused>,
    /// How many destinations the request had, if rows of it were refused.
    pub(super) destinations: usize,
}

// === impl Settlement ===

impl Settlement {
    pub(super) fn of(units: Vec<Unit>, verdicts: Verdicts, ordered: bool, clock: &SteadyClock) -> Self {
        let mut settlement = Self::default();
        match verdicts {
            Verdicts::All(verdict) => settlement.all(units, verdict, clock),
            Verdicts::Rows(verdicts) => {
                let mut verdicts = verdicts.into_iter();
                for unit in &units {
                    for row in unit.rows.iter() {
                        if let Some(verdict) = verdicts.next() {
                            settlement.row(unit, row, verdict, ordered);
                        }
                    }
                }
                settlement.look_at_destinations(&units);
            }
        }
        settlement
    }

    /// The same verdict for all rows.
    fn all(&mut self, units: Vec<Unit>, verdict: Verdict, clock: &SteadyClock) {
        match verdict {
            Verdict::Delivered => self.settled = units,
            Verdict::Duplicate => {
                self.duplicates = count(&units);
                self.settled = units;
            }
            Verdict::Closed => (self.closed, self.settled) = (true, units),
            Verdict::Split { reason, detail } => (self.split_why, self.split) = ((reason, detail), units),
            Verdict::Reject(why) => {
                self.rejected = units.into_iter().map(|unit| (unit, (*why).clone())).collect();
            }
            verdict => {
                let mut whole = Refused::by(verdict);
                let is_blocked = whole.why.help.is_some();
                let since = |unit: Unit| if is_blocked { unit.waiting_since(clock.now_ms()) } else { unit };
                whole.units = units.into_iter().map(since).collect();
                self.whole = Some(whole);
            }
        }
    }

    fn row(&mut self, unit: &Unit, row: usize, verdict: Verdict, ordered: bool) {
        match verdict {
            Verdict::Delivered | Verdict::Closed => {
                self.closed |= verdict == Verdict::Closed;
                push_row(&mut self.settled, unit, row);
            }
            Verdict::Duplicate => {
                self.duplicates += 1;
                push_row(&mut self.settled, unit, row);
            }
            Verdict::Split { reason, detail } => {
                self.split_why = (reason, detail);
                push_row(&mut self.split, unit, row);
            }
            Verdict::Reject(why) => {
                let mut units = Vec::new();
                push_row(&mut units, unit, row);
                self.rejected.extend(units.into_iter().map(|unit| (unit, (*why).clone())));
            }
            verdict => {
                let refusal = Refused::by(verdict);
                let (after, failed) = (refusal.after, refusal.failed);
                let refused = if ordered {
                    // They wait where they are, or later ones would overtake them.
                    self.whole.get_or_insert(refusal)
                } else {
                    self.refused.entry(Arc::clone(unit.segment.key(row))).or_insert(refusal)
                };
                // One that says why it refuses rows is believed.
                refused.failed &= failed;
                refused.after = refused.after.max(after);
                push_row(&mut refused.units, unit, row);
            }
        }
    }

    /// Which destinations took other rows than those that they refused.
    fn look_at_destinations(&mut self, units: &[Unit]) {
        if self.refused.is_empty() {
            return;
        }
        let taken = self.settled.iter().chain(self.rejected.iter().map(|(unit, _)| unit));
        for unit in taken {
            for row in unit.rows.iter() {
                if let Some(refused) = self.refused.get_mut(unit.segment.key(row)) {
                    refused.takes_others = true;
                }
            }
        }
        let keys: IndexSet<&Arc<str>> =
            units.iter().flat_map(|unit| unit.rows.iter().map(|row| unit.segment.key(row))).collect();
        self.destinations = keys.len();
    }

    /// Adds refused rows; those of one destination are one refusal, whenever in the request they were refused.
    pub(super) fn refuse(&mut self, key: Arc<str>, refused: Refused) {
        if let Some(first) = self.refused.get_mut(&key) {
            first.units.extend(refused.units);
            first.takes_others |= refused.takes_others;
        } else {
            self.refused.insert(key, refused);
        }
    }
}

// === impl Refused ===

impl Refused {
    /// A refusal, of no rows yet.
    pub(super) fn by(verdict: Verdict) -> Self {
        let (reason, detail, help, after, failed) = match verdict {
            Verdict::Busy { reason, detail, after } => (reason, detail, None, after, false),
            Verdict::Failed { reason, detail, after } => (reason, detail, None, after, true),
            Verdict::Blocked { reason, detail, help } => (reason, detail, Some(help), None, false),
            other => ("verdict".into(), format!("{other:?}"), None, None, false),
        };
        let why = Why { reason, detail, help };
        Self { units: Vec::new(), why, after, failed, takes_others: false }
    }

    /// The same rows by destination. `takes_others`: other rows were taken meanwhile.
    pub(super) fn by_destination(&self, takes_others: bool) -> IndexMap<Arc<str>, Self> {
        let mut refused: IndexMap<Arc<str>, Self> = IndexMap::new();
        for unit in &self.units {
            for row in unit.rows.iter() {
                let entry = refused.entry(Arc::clone(unit.segment.key(row)));
                let of_key = entry.or_insert_with(|| Self {
                    units: Vec::new(),
                    why: self.why.clone(),
                    takes_others,
                    ..*self
                });
                push_row(&mut of_key.units, unit, row);
            }
        }
        refused
    }
}
