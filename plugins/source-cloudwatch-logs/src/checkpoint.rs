//! The journal of a running source: written every second, tried again where it cannot be, and what is said of that.

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::{SourceCx, StateDir, show_duration};

use crate::journal::Journal;
use crate::ledger::{Ledger, Restored};

/// The checkpoint of a running source.
pub(crate) struct Checkpoint {
    journal: Journal,
    dir: StateDir,
    cx: SourceCx,
    due_ms: i64,
    /// Writes that failed since one succeeded.
    failed: u32,
}

/// It is written this often.
pub(crate) const EVERY_MS: i64 = 1000;
/// The longest time between two tries.
const RETRY_AT_MOST_MS: i64 = 30_000;

// === impl Checkpoint ===

impl Checkpoint {
    /// The checkpoint kept in `dir`. What is said of it is said through `cx`.
    pub(crate) fn new(journal: Journal, dir: StateDir, cx: &SourceCx) -> Self {
        Self { journal, dir, cx: cx.clone(), due_ms: i64::MIN, failed: 0 }
    }

    /// What is known of a log group, if it was read before.
    pub(crate) fn take(&mut self, partition: &str) -> Option<Restored> {
        self.journal.take(partition)
    }

    /// Keeps for a while what is known of a log group that is gone.
    pub(crate) fn keep(&mut self, partition: &str, known: Restored, now_ms: i64) {
        self.journal.keep(partition, known, now_ms);
    }

    /// Whether it is time to write. A time further ahead than it can be comes from a clock that has been set back since.
    pub(crate) fn is_due(&self, now_ms: i64) -> bool {
        now_ms >= self.due_ms || now_ms < self.due_ms.saturating_sub(RETRY_AT_MOST_MS + EVERY_MS)
    }

    /// Writes what the ledgers have to say. What cannot be written is tried again at the same place, later and later; an
    /// operator hears of it once, and once more when it is over, and meanwhile the source is not ready.
    pub(crate) fn flush(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) {
        let Self { cx, .. } = self;
        match self.journal.flush(ledgers, now_ms) {
            Ok(()) => {
                if self.failed > 0 {
                    let path = self.dir.path().display().to_string();
                    tracing::info!(component = %cx.id, path, failed = self.failed, "the checkpoint is written again");
                    cx.health.ready("checkpoint");
                }
                self.failed = 0;
                self.due_ms = now_ms + EVERY_MS;
            }
            Err(error) => {
                let retry_ms = (EVERY_MS << self.failed.min(5)).min(RETRY_AT_MOST_MS);
                self.due_ms = now_ms + retry_ms;
                self.failed = self.failed.saturating_add(1);
                cx.metrics.component.error("checkpoint", 1);
                let problem = format!(
                    "cannot write the checkpoint in {}: {error}; what is not in it is read again after a restart: make \
                     room or give flowstone the right to write there",
                    self.dir.path().display()
                );
                if self.failed == 1 {
                    let retry_in = show_duration(Duration::from_millis(retry_ms.unsigned_abs()));
                    tracing::error!(component = %cx.id, error = problem, retry_in, "checkpoint failed, retrying");
                }
                cx.health.not_ready("checkpoint", problem);
            }
        }
    }

    /// Writes all that the ledgers have to say: the source ends.
    pub(crate) fn finish(&mut self, ledgers: &mut [(&Arc<str>, &mut Ledger)], now_ms: i64) {
        if let Err(error) = self.journal.finish(ledgers, now_ms) {
            let path = self.dir.path().display().to_string();
            tracing::error!(component = %self.cx.id, path, %error, "the checkpoint could not be written; what it lacks is read again");
        }
    }
}
