//! The rows of a request by what became of them: by row, by destination, or as a whole. What is refused says by that
//! what it is about.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{Rejection, Verdict, Verdicts};
use indexmap::{IndexMap, IndexSet};

use super::units::{Clock, Unit, push_row};
use super::waiting::{Refused, Why};

/// The rows of a request by what became of them.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) settled: Vec<Unit>,
    pub(super) duplicates: usize,
    pub(super) closed: bool,
    pub(super) split: Vec<Unit>,
    pub(super) split_why: (Cow<'static, str>, String),
    pub(super) rejected: Vec<(Unit, Rejection)>,
    /// The request was refused as a whole. In an ordered sink also: rows of it, behind which the others wait.
    pub(super) whole: Option<Whole>,
    /// Rows that were refused one by one, by destination, and whether they failed.
    pub(super) refused: IndexMap<Arc<str>, (Refused, bool)>,
    /// How many destinations the request had, if rows of it were refused.
    pub(super) destinations: usize,
}

/// Rows that were refused together.
pub(super) struct Whole {
    pub(super) units: Vec<Unit>,
    pub(super) why: Why,
    pub(super) after: Option<Duration>,
    /// The server failed and does not say why.
    pub(super) failed: bool,
}

/// A refusal: why, for how long, and whether the server failed.
type Refusal = (Why, Option<Duration>, bool);

// === impl Sorted ===

impl Sorted {
    pub(super) fn of(units: Vec<Unit>, verdicts: Verdicts, ordered: bool, clock: &Clock) -> Self {
        let mut sorted = Self::default();
        match verdicts {
            Verdicts::All(verdict) => sorted.all(units, verdict, clock),
            Verdicts::Rows(verdicts) => {
                let mut verdicts = verdicts.into_iter();
                for unit in &units {
                    for row in unit.rows.iter() {
                        if let Some(verdict) = verdicts.next() {
                            sorted.row(unit, row, verdict, ordered);
                        }
                    }
                }
                sorted.look_at_destinations(&units);
            }
        }
        sorted
    }

    /// The same verdict for all rows.
    fn all(&mut self, units: Vec<Unit>, verdict: Verdict, clock: &Clock) {
        match verdict {
            Verdict::Delivered => self.settled = units,
            Verdict::Duplicate => {
                self.duplicates = super::units::count(&units);
                self.settled = units;
            }
            Verdict::Closed => (self.closed, self.settled) = (true, units),
            Verdict::Split { reason, detail } => (self.split_why, self.split) = ((reason, detail), units),
            Verdict::Reject(why) => {
                self.rejected = units.into_iter().map(|unit| (unit, (*why).clone())).collect();
            }
            verdict => {
                let (why, after, failed) = refusal(verdict);
                let waits_for_somebody = why.what_to_do.is_some();
                let since =
                    |unit: Unit| if waits_for_somebody { unit.waiting_since(clock.now_ms()) } else { unit };
                let units = units.into_iter().map(since).collect();
                self.whole = Some(Whole { units, why, after, failed });
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
                let (why, after, failed) = refusal(verdict);
                let (units, longest) = if ordered {
                    // They wait where they are, or later ones would overtake them.
                    let whole = Whole { units: Vec::new(), why, after, failed };
                    let whole = self.whole.get_or_insert(whole);
                    (&mut whole.units, &mut whole.after)
                } else {
                    let key = unit.segment.key(row);
                    let (refused, all_failed) = self.refused.entry(Arc::clone(key)).or_insert_with(|| {
                        let key = Arc::clone(key);
                        (Refused { key, units: Vec::new(), why, after, takes_others: false }, failed)
                    });
                    // One that says why it refuses rows is believed.
                    *all_failed &= failed;
                    (&mut refused.units, &mut refused.after)
                };
                *longest = (*longest).max(after);
                push_row(units, unit, row);
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
                if let Some((refused, _)) = self.refused.get_mut(unit.segment.key(row)) {
                    refused.takes_others = true;
                }
            }
        }
        let keys: IndexSet<&Arc<str>> =
            units.iter().flat_map(|unit| unit.rows.iter().map(|row| unit.segment.key(row))).collect();
        self.destinations = keys.len();
    }
}

// === impl Whole ===

impl Whole {
    /// Its rows, which leave their place, by destination. `takes_others`: other rows were taken meanwhile.
    pub(super) fn by_destination(&mut self, takes_others: bool) -> Vec<Refused> {
        let mut refused: IndexMap<Arc<str>, Vec<Unit>> = IndexMap::new();
        for unit in std::mem::take(&mut self.units) {
            for row in unit.rows.iter() {
                let key = Arc::clone(unit.segment.key(row));
                push_row(refused.entry(key).or_default(), &unit, row);
            }
        }
        let one =
            |(key, units)| Refused { key, units, why: self.why.clone(), after: self.after, takes_others };
        refused.into_iter().map(one).collect()
    }
}

fn refusal(verdict: Verdict) -> Refusal {
    let passes = |reason, detail| Why { reason, detail, what_to_do: None };
    match verdict {
        Verdict::Busy { reason, detail, after } => (passes(reason, detail), after, false),
        Verdict::Failed { reason, detail, after } => (passes(reason, detail), after, true),
        Verdict::Blocked { reason, detail, what_to_do } => {
            (Why { reason, detail, what_to_do: Some(what_to_do) }, None, false)
        }
        other => (passes("verdict".into(), format!("{other:?}")), None, false),
    }
}
