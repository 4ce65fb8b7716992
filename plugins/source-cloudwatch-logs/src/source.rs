//! The source as the engine sees it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use flowstone_aws::{Arn, Governors};
use flowstone_core::event::{format_iso_millis, parse_iso_millis};
use flowstone_core::{
    Backfill, BuildCx, ComponentId, Next, Position, Source, SourceCx, SourceError, SourceTraits, StateDir,
};

use crate::backfill::Stretch;
use crate::checkpoint::Checkpoint;
use crate::clock::{LocalClock, ServiceClock};
use crate::connect::Connect;
use crate::journal::Journal;
use crate::naming::Naming;
use crate::options::Plan;
use crate::running::{Mode, Parts, Running};
use crate::sincedb::Sincedb;
use crate::sites::Site;
use crate::{backfill, probe, sites};

/// Reads CloudWatch Logs.
pub struct CloudwatchLogs {
    plan: Arc<Plan>,
    connect: Arc<dyn Connect>,
    clock: LocalClock,
    governors: Governors,
    mode: Mode,
    state: StateDir,
    /// The folder of live reading, which a backfill reads beside.
    live: StateDir,
    running: Option<Running>,
}

/// The file that says when the source was started first.
const FIRST_START: &str = "first-start";

// === impl CloudwatchLogs ===

impl CloudwatchLogs {
    /// A source that reads what `plan` says.
    pub fn new(plan: Plan, connect: Arc<dyn Connect>, clock: LocalClock, cx: &BuildCx) -> Self {
        Self {
            plan: Arc::new(plan),
            connect,
            clock,
            governors: Governors::of_process(),
            mode: Mode::Live,
            state: cx.state_dir(),
            live: cx.state_dir(),
            running: None,
        }
    }

    /// With budgets of requests of its own, for tests that run several worlds in one process.
    #[must_use]
    pub fn with_governors(mut self, governors: Governors) -> Self {
        self.governors = governors;
        self
    }

    fn first_start(&self, now_ms: i64) -> Result<i64, SourceError> {
        let path = self.state.path().join(FIRST_START);
        let broken = |error: String| {
            SourceError::fatal("checkpoint", format!("cannot read {}: {error}", path.display()))
        };
        if let Some(content) = self.state.load(FIRST_START).map_err(|error| broken(error.to_string()))? {
            let text = String::from_utf8_lossy(&content);
            return parse_iso_millis(text.trim())
                .ok_or_else(|| broken(format!("{:?} is no time; expected RFC 3339", text.trim())));
        }
        let text = format!("{}\n", format_iso_millis(now_ms));
        self.state.save(FIRST_START, text.as_bytes()).map_err(|error| unwritten(&path, &error))?;
        Ok(now_ms)
    }

    /// What the own account's groups are named after: for live reading and backfills alike, or the ids of their events
    /// would differ.
    fn naming(&self) -> Result<Naming, String> {
        let mut others = self.plan.groups.accounts();
        let roles = self.plan.accounts.iter().filter_map(|account| Arn::parse(account.role.as_deref()?));
        others.extend(roles.map(|arn| arn.account.to_owned()));
        Naming::load(&self.live, &others)
    }

    /// Where Logstash stopped, if that is to count. While nothing is read yet, the file must be there; afterwards it
    /// counts for groups that are found later, and Logstash and its files may be gone.
    fn sincedb(&self, nothing_is_read: bool, id: &ComponentId) -> Result<Option<Sincedb>, SourceError> {
        let Some(path) = self.plan.sincedb.as_ref().filter(|_| matches!(self.mode, Mode::Live)) else {
            return Ok(None);
        };
        match Sincedb::read(path) {
            Ok(sincedb) => {
                for strange in sincedb.strange.iter().filter(|_| nothing_is_read) {
                    tracing::warn!(component = %id, file = %path.display(), line = %strange, "a line of the sincedb is odd");
                }
                Ok(Some(sincedb))
            }
            Err(error) if nothing_is_read => Err(SourceError::fatal("sincedb", error)),
            Err(error) => {
                tracing::info!(component = %id, error, "the sincedb is gone; it counts for no log group any more");
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl Source for CloudwatchLogs {
    async fn start(&mut self, cx: &mut SourceCx) -> Result<(), SourceError> {
        // A backfill has a folder of its own, which the source did not know when it was built.
        self.state = cx.state.clone();
        let clock = ServiceClock::new(Arc::clone(&self.clock));
        let now_ms = clock.now_ms();
        let broken = |error: String| SourceError::fatal("checkpoint", error);
        // Before anything is asked or written: what another version wrote is left as it is.
        let (journal, report) = Journal::open(&self.state, &cx.id.name, now_ms).map_err(broken)?;
        let before = self.naming().map_err(broken)?;
        let mut naming = before.clone();
        let sites = sites::enter(&self.plan, &*self.connect, &mut naming).await.map_err(|refused| {
            // Live reading waits until somebody mends it; a backfill would wait for ever, in a script where nobody looks.
            let fatal = refused.fatal || matches!(self.mode, Mode::Backfill(_)) && !refused.passes;
            SourceError { fatal, ..SourceError::new(refused.reason, refused.message) }
        })?;
        let first_start_ms = self.first_start(now_ms)?;
        // Names are saved before the first event uses one.
        if sites.iter().any(Site::is_own) {
            naming.save(&self.live, &before).map_err(|error| unwritten(self.live.path(), &error))?;
        }
        if let Some(last) = before.last().filter(|&last| naming.last() != Some(last)) {
            tracing::warn!(component = %cx.id, before = last, now = naming.last(), "the account is another one than before: its log groups are read from their beginning");
        }
        if report.unterminated > 0 {
            tracing::debug!(component = %cx.id, files = report.unterminated, "the checkpoint ends in the middle of a line, as after a crash");
        }
        if report.damaged > 0 {
            cx.metrics.component.error("checkpoint_damaged", report.damaged as u64);
            tracing::warn!(component = %cx.id, lines = report.damaged, "lines of the checkpoint are damaged; what they were about is read again: look after the disk");
        }
        let parts = Parts {
            plan: Arc::clone(&self.plan),
            mode: self.mode.clone(),
            sites,
            checkpoint: Checkpoint::new(journal, self.state.clone(), cx),
            naming: (naming, self.live.clone()),
            governors: self.governors.clone(),
            clock,
            first_start_ms,
            sincedb: self.sincedb(report.entries == 0, &cx.id)?,
        };
        self.running = Some(Running::new(parts, cx));
        Ok(())
    }

    async fn next(&mut self, _cx: &mut SourceCx) -> Result<Next, SourceError> {
        let Some(running) = &mut self.running else { return Ok(Next::End) };
        Ok(running.next().await?.map_or(Next::End, Next::Batch))
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        if let Some(running) = &mut self.running {
            running.commit(positions);
        }
        Ok(())
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        if let Some(running) = &mut self.running {
            running.rewind(position);
        }
        Ok(())
    }

    fn traits(&self) -> SourceTraits {
        let claims = vec![format!("folder {}", self.state.path().display())];
        SourceTraits { claims, dates: true, keeps_state: true, rejects: false, ..SourceTraits::default() }
    }

    fn check_state(&self, state: &StateDir) -> Result<(), String> {
        Journal::open(state, "", 0).map(drop)
    }

    fn backfill(&mut self, from_ms: i64, to_ms: i64) -> Result<Box<dyn Backfill>, String> {
        let settled_ms =
            (self.clock)() - self.plan.rules.late_window_ms - self.plan.rules.visibility_margin_ms;
        if to_ms > settled_ms {
            return Err(format!(
                "events of after {} may still come in: end the backfill there or earlier, and leave the rest to \
                 `flowstone run`",
                format_iso_millis(settled_ms)
            ));
        }
        let stretch = Stretch::new(from_ms, to_ms);
        self.mode = Mode::Backfill(stretch.clone());
        Ok(Box::new(backfill::Estimator {
            plan: Arc::clone(&self.plan),
            connect: Arc::clone(&self.connect),
            governors: self.governors.clone(),
            clock: ServiceClock::new(Arc::clone(&self.clock)),
            stretch,
            naming: self.naming()?,
        }))
    }

    async fn probe(&mut self) -> Result<(), String> {
        let clock = ServiceClock::new(Arc::clone(&self.clock));
        probe::probe(&self.plan, &*self.connect, self.naming()?, &clock).await
    }
}

/// An error that passes when there is room.
fn unwritten(path: &Path, error: &std::io::Error) -> SourceError {
    let message = format!(
        "cannot write into {}: {error}; make room or give flowstone the right to write there",
        path.display()
    );
    SourceError::new("checkpoint", message)
}
