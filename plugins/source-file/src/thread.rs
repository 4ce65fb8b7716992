//! The thread that a source works on, one request after the other, so that the runtime's threads never wait for a disk.
//! Calls that may never return are made by a second thread ([`crate::calls`]).

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use flowstone_core::{Position, SourceBatch, SourceCx, SourceError, StateDir};
use tokio::sync::{mpsc as answers, oneshot};
use tokio::time::Instant;

use crate::state;
use crate::watch::{Progress, Watch};

/// Work on one request ends after about this time, so that others get their turn.
const STRETCH: Duration = Duration::from_millis(5);
/// How often a finite run looks for a file that cannot be read before it gives up.
const FINITE_SCANS: usize = 4;

/// What a source asks for.
pub(crate) enum Request {
    Start(SourceCx, Instant, oneshot::Sender<Result<(), SourceError>>),
    /// A batch; with `scan` after a look at the file system.
    Next {
        cx: SourceCx,
        now: Instant,
        scan: bool,
    },
    Commit(Vec<Position>, oneshot::Sender<Result<(), SourceError>>),
    Rewind(Position, Instant, oneshot::Sender<()>),
}

/// The answer to [`Request::Next`].
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// How long the scan took.
    pub(crate) scan_took: Option<Duration>,
}

// One per batch, moved a few times: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Outcome {
    Batch(SourceBatch),
    /// There is more to do.
    Busy,
    /// Nothing can be done before the next look; with `true` that is due.
    Nothing(bool),
    /// A finite run has read all there is, or all that can be read.
    End(Result<(), SourceError>),
    Error(SourceError),
}

/// The source's handle on the thread.
#[derive(Debug)]
pub(crate) struct SourceThread {
    requests: mpsc::Sender<Request>,
    pub(crate) answers: answers::UnboundedReceiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// Whether the state may be written: no longer once the source is gone, for the next one then reads it.
    may_save: Arc<Mutex<bool>>,
}

/// What runs on the thread.
struct Worker {
    watch: Watch,
    skip_present: bool,
    state: StateDir,
    /// As of the last request.
    cx: SourceCx,
    may_save: Arc<Mutex<bool>>,
    /// More is delivered than the state file says.
    dirty: bool,
}

// === impl SourceThread ===

impl SourceThread {
    /// Starts the thread.
    pub(crate) fn new(
        watch: Watch,
        skip_present: bool,
        state: StateDir,
        cx: SourceCx,
    ) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel();
        let (outbox, answers) = answers::unbounded_channel();
        let may_save = Arc::new(Mutex::new(true));
        let worker = Worker { watch, skip_present, state, cx, may_save: Arc::clone(&may_save), dirty: false };
        let work = move || worker.work(&inbox, &outbox);
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(work)?;
        Ok(Self { requests, answers, thread: Some(thread), may_save })
    }

    pub(crate) fn ask(&self, request: Request) {
        // Where the thread has ended, waiting for the answer fails.
        let _ = self.requests.send(request);
    }

    /// The error of a thread that has ended.
    ///
    /// # Panics
    /// As the thread did.
    pub(crate) fn gone(&mut self) -> SourceError {
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        SourceError::fatal("read", "the thread that reads files has ended")
    }
}

impl Drop for SourceThread {
    fn drop(&mut self) {
        // Waits for the end of a write.
        *self.may_save.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

// === impl Worker ===

impl Worker {
    fn work(mut self, inbox: &mpsc::Receiver<Request>, outbox: &answers::UnboundedSender<Answer>) {
        // A reply that nobody waits for is dropped.
        while let Ok(request) = inbox.recv() {
            match request {
                Request::Start(cx, now, reply) => drop(reply.send(self.start(cx, now))),
                Request::Next { cx, now, scan } => {
                    self.cx = cx;
                    drop(outbox.send(self.next(now, scan)));
                }
                Request::Commit(positions, reply) => drop(reply.send(self.commit(&positions))),
                Request::Rewind(position, now, reply) => {
                    self.watch.rewind(&self.cx, &position.partition, position.value, now);
                    let _ = reply.send(());
                }
            }
        }
    }

    fn start(&mut self, cx: SourceCx, now: Instant) -> Result<(), SourceError> {
        self.cx = cx;
        let state = state::load(&self.state).map_err(|message| SourceError::fatal("checkpoint", message))?;
        self.watch.resume(state, self.skip_present, now);
        Ok(())
    }

    fn next(&mut self, now: Instant, scan: bool) -> Answer {
        let started = Clock::now();
        let scan_took = scan.then(|| {
            self.watch.scan(&self.cx, now);
            if self.watch.scans == 1 && !self.watch.has_files() {
                tracing::warn!(paths = self.watch.listing.describe(), component = %self.cx.id.name, "no file matches `paths` yet");
            }
            started.elapsed()
        });
        let outcome = self.go_on(now).unwrap_or_else(Outcome::Error);
        Answer { outcome, scan_took }
    }

    fn go_on(&mut self, now: Instant) -> Result<Outcome, SourceError> {
        let started = Clock::now();
        loop {
            // An identity is in the state before the first record that bears it leaves.
            if self.watch.unsaved {
                self.save()?;
            }
            match self.watch.step(&self.cx, now) {
                Progress::Batch(batch) => return Ok(Outcome::Batch(batch)),
                Progress::More if started.elapsed() < STRETCH => {}
                Progress::More => return Ok(Outcome::Busy),
                Progress::Nothing => break,
            }
        }
        if self.watch.scan_again {
            return Ok(Outcome::Nothing(true));
        }
        let hopeless = self.watch.scans >= FINITE_SCANS;
        if self.watch.is_done() && (hopeless || self.watch.errors().is_empty()) {
            self.watch.report_unread(&self.cx, now, true);
            return Ok(Outcome::End(self.end()));
        }
        Ok(Outcome::Nothing(false))
    }

    /// What a finite run ends with.
    fn end(&self) -> Result<(), SourceError> {
        let missing = self.watch.missing.iter();
        let missing = missing.map(|path| format!("{} is not there; correct `paths`", path.display()));
        let errors: Vec<String> = self.watch.errors().into_iter().cloned().chain(missing).collect();
        if errors.is_empty() {
            return Ok(());
        }
        let more = if errors.len() > 5 { format!("; and {} more", errors.len() - 5) } else { String::new() };
        let shown = errors[..errors.len().min(5)].join("; ");
        Err(SourceError::fatal("unreadable", format!("not everything could be read: {shown}{more}")))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        for position in positions {
            if let Some(tail) = self.watch.tail(&position.partition) {
                self.dirty |= tail.commit(position.value);
            }
        }
        if self.dirty { self.save() } else { Ok(()) }
    }

    fn save(&mut self) -> Result<(), SourceError> {
        let may_save = self.may_save.lock().unwrap_or_else(PoisonError::into_inner);
        if !*may_save {
            return Err(SourceError::fatal("checkpoint", "the source was stopped"));
        }
        state::save(&self.state, &self.watch.identities, self.watch.records())
            .map_err(|message| SourceError::new("checkpoint", message))?;
        self.watch.unsaved = false;
        self.dirty = false;
        Ok(())
    }
}
