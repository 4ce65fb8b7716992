//! What a running source reports: counts, lag, and what audits found.

use flowstone_core::BackfillProgress;

use super::{Mode, Running};
use crate::backfill::REQUESTS;
use crate::ledger::{Counts, Finding, Stage};
use crate::planner::Scope;

// === impl Running ===

impl Running {
    pub(super) fn report_counts(&mut self, now_ms: i64) {
        let counts = self.planner.counts();
        let again = |counts: &Counts| counts.duplicates + counts.by_rule;
        self.metrics.duplicates.inc_by(again(&counts) - again(&self.reported));
        self.metrics.outside.inc_by(counts.outside - self.reported.outside);
        self.reported = counts;
        match &self.mode {
            Mode::Live => self.cx.metrics.lag.set(self.planner.lag_ms(now_ms) as f64 / 1000.0),
            Mode::Backfill(stretch) => {
                let whole = (stretch.to_ms - stretch.from_ms) as f64 * self.planner.ledgers().count() as f64;
                let unread: i64 = self.planner.ledgers().map(|ledger| ledger.unread_ms(now_ms)).sum();
                stretch.tell(BackfillProgress {
                    events: counts.fresh,
                    expected: self.expected,
                    cost: (counts.pages, REQUESTS),
                    share: if whole > 0.0 && self.knows_all_groups() {
                        1.0 - unread as f64 / whole
                    } else {
                        0.0
                    },
                });
            }
        }
        let bounded = self.planner.partitions().iter().filter(|one| one.ledger.is_bounded()).count();
        self.metrics.dedupe_margin_mode.set(bounded as i64);
    }

    pub(super) fn report_finding(&self, partition: usize, finding: Finding) {
        let Scope { account, region, group, .. } = &self.planner.partitions()[partition].scope;
        let Finding { minute_ms, expected, delivered, stage } = finding;
        let minute = flowstone_core::event::format_iso_millis(minute_ms);
        let missing = expected.saturating_sub(delivered);
        let (component, log_group) = (&self.cx.id, &*group.name);
        match stage {
            Stage::Missing => {
                self.metrics.missing.with(&["found"]).inc_by(missing);
                tracing::warn!(%component, %account, %region, log_group, minute, expected, delivered, "CloudWatch ingested more events than were read; their slices are read again");
            }
            Stage::Recovered => {
                tracing::info!(%component, %account, %region, log_group, minute, expected, delivered, "missing events were found");
            }
            Stage::Lost => {
                self.metrics.missing.with(&["lost"]).inc_by(missing);
                tracing::error!(%component, %account, %region, log_group, minute, expected, delivered, "events are missing: they are later than `late_window` and the last of `sweeps`, or the metric counts what cannot be read; widen `sweeps`");
            }
        }
    }
}
