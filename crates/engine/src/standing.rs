//! What is reported of a source: whether it is ready, and how far it is behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowstone_core::{ComponentHealth, SourceError};
use tokio::time::Instant;

/// A source that has read nothing for this long because of errors is not ready.
const NOT_READY_AFTER: Duration = Duration::from_secs(10);

/// Whether one source does its work, as its task sees it.
pub(crate) struct Standing {
    health: ComponentHealth,
    has_read: bool,
    failing: Option<Failing>,
}

/// Reading fails.
struct Failing {
    since: Instant,
    problem: String,
    reported: bool,
}

/// Since when the oldest record that is due has been waiting, if one is. Set by the source's task, read by whoever
/// shows it, also while the task stands still.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lag(Arc<Mutex<Option<Instant>>>);

// === impl Standing ===

impl Standing {
    /// Of a source that has not started: it is not ready.
    pub(crate) fn new(health: ComponentHealth) -> Self {
        health.not_ready("start", "not started yet");
        Self { health, has_read: false, failing: None }
    }

    pub(crate) fn start_failed(&self, problem: &SourceError) {
        self.health.not_ready("start", shown(problem));
    }

    pub(crate) fn started(&self) {
        self.health.ready("start");
    }

    /// Reading failed. The first time of all that is reported at once: a source that has never read anything may be
    /// set up wrong. Later it may pass.
    pub(crate) fn read_failed(&mut self, problem: &SourceError) {
        let now = Instant::now();
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: now,
            problem: String::new(),
            reported: false,
        });
        failing.problem = shown(problem);
        if failing.reported || !self.has_read || failing.since.elapsed() >= NOT_READY_AFTER {
            failing.report(&self.health);
        }
    }

    /// Reading succeeded, be it that there was nothing to read.
    pub(crate) fn has_read(&mut self) {
        self.has_read = true;
        // What the source itself has reported of its reading is its own to take back.
        if self.failing.take().is_some_and(|failing| failing.reported) {
            self.health.ready("read");
        }
    }

    /// When reading will have failed for so long that it must be reported.
    pub(crate) fn report_at(&self) -> Option<Instant> {
        self.failing
            .as_ref()
            .filter(|failing| !failing.reported)
            .and_then(|failing| failing.since.checked_add(NOT_READY_AFTER))
    }

    /// That time has come.
    pub(crate) fn report(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.report(&self.health);
        }
    }

    /// Since when reading has been failing.
    pub(crate) fn failing_since(&self) -> Option<Instant> {
        self.failing.as_ref().map(|failing| failing.since)
    }

    pub(crate) fn commit_failed(&self, problem: &SourceError) {
        self.health.not_ready("commit", shown(problem));
    }

    pub(crate) fn committed(&self) {
        self.health.ready("commit");
    }

    /// The source cannot go on: until a reload or a restart that stays so.
    pub(crate) fn failed_for_good(&mut self, problem: &SourceError) {
        self.health.ready("start");
        self.has_read();
        let text = shown(problem);
        self.health.not_ready(
            "failed",
            format!("{text}; the source does not go on: mend this, then reload (SIGHUP) or restart"),
        );
    }
}

fn shown(problem: &SourceError) -> String {
    format!("{}: {}", problem.reason, problem.message)
}

impl Failing {
    fn report(&mut self, health: &ComponentHealth) {
        health.not_ready("read", self.problem.clone());
        self.reported = true;
    }
}

// === impl Lag ===

impl Lag {
    pub(crate) fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    pub(crate) fn seconds(&self) -> f64 {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::{ComponentId, Health, Kind};

    use super::*;

    fn standing() -> (Standing, Health) {
        let health = Health::default();
        let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "fake" };
        (Standing::new(health.of(&id)), health)
    }

    fn problem() -> SourceError {
        SourceError::new("access_denied", "no permission for /vpc/flow; grant logs:FilterLogEvents")
    }

    #[test]
    fn a_source_is_ready_once_it_has_started() {
        let (standing, health) = standing();
        assert_eq!(health.problems(), ["source `in` (fake): start: not started yet"]);
        standing.start_failed(&problem());
        assert_eq!(
            health.problems(),
            [
                "source `in` (fake): start: access_denied: no permission for /vpc/flow; grant logs:FilterLogEvents"
            ]
        );
        standing.started();
        assert!(health.problems().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_read_that_fails_is_reported_at_once_a_later_one_after_ten_seconds_and_a_success_takes_it_back()
     {
        let (mut standing, health) = standing();
        standing.started();
        standing.read_failed(&problem());
        assert!(health.problems()[0].starts_with("source `in` (fake): read: access_denied: "));
        standing.has_read();
        assert!(health.problems().is_empty());

        standing.read_failed(&problem());
        assert!(health.problems().is_empty(), "it may pass");
        let report_at = standing.report_at().expect("it is reported in time");
        tokio::time::sleep_until(report_at).await;
        standing.report();
        assert_eq!(health.problems().len(), 1);
        assert_eq!(standing.report_at(), None);
        standing.has_read();
        assert!(health.problems().is_empty());
    }

    #[test]
    fn what_a_source_itself_reports_of_its_reading_stays() {
        let (mut standing, health) = standing();
        standing.started();
        standing.health.not_ready("read", "one of several log groups is refused");
        standing.has_read();
        assert_eq!(health.problems().len(), 1);
    }

    #[test]
    fn a_source_that_failed_for_good_stays_not_ready_and_says_what_to_do() {
        let (mut standing, health) = standing();
        standing.failed_for_good(&problem());
        let [problem] = &health.problems()[..] else { panic!("one problem") };
        assert!(problem.starts_with("source `in` (fake): failed: access_denied: "), "{problem}");
        assert!(problem.contains("reload (SIGHUP)"), "{problem}");
    }
}
