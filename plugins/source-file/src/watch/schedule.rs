//! Whose turn it is to be read, and how many files are open.

use std::sync::Arc;

use flowstone_core::{SourceBatch, SourceCx};
use tokio::time::Instant;

use super::{Watch, no_answer};
use crate::tail::{FileStatus, Step, Tail};

/// How many files are open at once, as long as others can be closed.
const MAX_OPEN: usize = 500;
/// After so many batches of one file it is the next one's turn.
const TURN_BATCHES: usize = 32;

/// What reading came to.
// One per step, moved once: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Progress {
    Batch(SourceBatch),
    /// Something was done; there may be more to do.
    More,
    /// Nothing can be done before the next look.
    Nothing,
}

// === impl Watch ===

impl Watch {
    /// Queues the files that have something to read, oldest first.
    pub(super) fn enqueue(&mut self, now: Instant) {
        let options = self.options;
        let Self { tails, call_thread, .. } = self;
        let mut ready: Vec<&mut Tail> = tails
            .values_mut()
            .filter(|tail| !tail.queued && tail.wants_reading(&options, now))
            .filter(|tail| !call_thread.is_hung(tail.stat.dev))
            .collect();
        ready.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
        for tail in ready {
            tail.queued = true;
            self.queue.push_back(Arc::clone(&tail.key));
        }
    }

    /// Does a little: one step of a proof or of reading.
    pub(crate) fn step(&mut self, cx: &SourceCx, now: Instant) -> Progress {
        if self.prove(cx, now) {
            return Progress::More;
        }
        let Some(key) = self.queue.front().cloned() else {
            if self.options.follow {
                return Progress::Nothing;
            }
            // New files may have waited for what was read meanwhile.
            self.decide_new_files(cx, now);
            self.enqueue(now);
            return if self.is_done() { Progress::Nothing } else { Progress::More };
        };
        let Some(tail) = self.tails.get_mut(&key) else {
            self.queue.pop_front();
            return Progress::More;
        };
        if !tail.is_open() {
            self.make_room(now);
        }
        let Some(tail) = self.tails.get_mut(&key) else { return Progress::More };
        let step = match tail.step(cx, &self.options, now) {
            Step::Work(work) => match self.call_thread.run(tail.stat.dev, move || work.perform()) {
                Ok(done) => tail.finish(done, cx, &self.options, now),
                Err(late) => {
                    tail.wait_for(late);
                    Step::Failed(no_answer())
                }
            },
            step => step,
        };
        if let Step::Batch(batch) = step {
            self.turn += 1;
            if self.turn >= TURN_BATCHES {
                self.turn = 0;
                self.queue.rotate_left(1);
                // Files that are half read stay open, so among very many it is the turn of those.
                if self.open_files() >= MAX_OPEN
                    && let Some(next) = self.queue.iter().position(|key| self.tails[key].is_open())
                {
                    self.queue.rotate_left(next);
                }
            }
            return Progress::Batch(batch);
        }
        if let Step::More = step {
            return Progress::More;
        }
        self.turn = 0;
        tail.queued = false;
        self.queue.pop_front();
        match step {
            Step::Replaced => {
                tail.replace(now);
                self.scan_again = true;
            }
            Step::Failed(error) => {
                let path = tail.path.clone();
                self.report_error(cx, &path, &error);
            }
            _ if tail.is_late() => {}
            _ => {
                if tail.has_new_garbage() {
                    tracing::warn!(path = %tail.path.display(), component = %cx.id.name, "what follows the last member of a gzip file is no gzip and is passed over");
                    cx.metrics.component.error("gzip_trailing", 1);
                }
                let path = tail.path.clone();
                self.errors.remove(&path);
            }
        }
        Progress::More
    }

    /// The stretch of `key` that ends at `offset` is to be given out again.
    pub(crate) fn rewind(&mut self, cx: &SourceCx, key: &str, offset: u64, now: Instant) {
        let Some(tail) = self.tails.get_mut(key) else { return };
        let work = tail.rewind(offset, &self.options);
        let reopened = work.map(|work| self.call_thread.run(tail.stat.dev, move || work.perform()));
        match reopened {
            Some(Ok(done)) => drop(tail.finish(done, cx, &self.options, now)),
            Some(Err(late)) => tail.wait_for(late),
            None => {}
        }
        // Through the open file or by its name.
        if tail.is_open() || tail.status == FileStatus::Present {
            if !tail.queued && !tail.is_late() {
                tail.queued = true;
                self.queue.push_back(Arc::clone(&tail.key));
            }
        } else {
            tracing::error!(
                path = %tail.path.display(), component = %cx.id.name, offset,
                "lines that were not delivered cannot be read again: their file was overwritten or deleted"
            );
            cx.metrics.component.error("lost", 1);
        }
    }

    /// Before another file is opened: closes the one that has been quiet for longest if many are open.
    fn make_room(&mut self, now: Instant) {
        if self.open_files() < MAX_OPEN {
            return;
        }
        let idle = |tail: &&mut Tail| {
            tail.is_open() && !tail.queued && !tail.is_late() && tail.status == FileStatus::Present
        };
        // A file with batches in flight goes last: a rewind opens it by its name, which may lead elsewhere by then.
        let quiet = |tail: &&mut Tail| (!tail.has_in_flight(), now.duration_since(tail.grown));
        if let Some(tail) = self.tails.values_mut().filter(idle).max_by_key(quiet) {
            tail.close();
        }
    }

    fn open_files(&self) -> usize {
        self.tails.values().filter(|tail| tail.is_open()).count()
    }
}
