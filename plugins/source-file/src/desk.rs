//! The thread that a source works on: it does one thing after the other as the source asks, so that the runtime's threads
//! never wait for a disk. Calls that may not return at all are made by yet another thread ([`crate::hands`]).

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use flowstone_core::{Position, SourceBatch, SourceCx, SourceError, StateDir};
use tokio::sync::{mpsc as answers, oneshot};
use tokio::time::Instant;

use crate::state;
use crate::watch::{Progress, Watch};

/// Work on one request ends after about this time, to let others come.
const STRETCH: Duration = Duration::from_millis(5);
/// How often a finite run looks for a file that cannot be read before it gives up.
const FINITE_LOOKS: usize = 4;

/// What a source asks for.
pub(crate) enum Request {
    Start(SourceCx, Instant, oneshot::Sender<Result<(), SourceError>>),
    /// A batch; with `look` after a look at the file system.
    Next {
        cx: SourceCx,
        now: Instant,
        look: bool,
    },
    Commit(Vec<Position>, oneshot::Sender<Result<(), SourceError>>),
    Rewind(Position, Instant, oneshot::Sender<()>),
}

/// What [`Request::Next`] came to.
pub(crate) struct Answer {
    pub(crate) came: Came,
    /// How long the look took.
    pub(crate) looked: Option<Duration>,
}

// One per batch, moved a few times: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Came {
    Batch(SourceBatch),
    /// There is more to do.
    Busy,
    /// Nothing can be done before the next look; with `true` that is due.
    Nothing(bool),
    /// A finite run has read all there is, or all that can be read.
    End(Result<(), SourceError>),
    Error(SourceError),
}

/// The source's end of the thread.
#[derive(Debug)]
pub(crate) struct Desk {
    requests: mpsc::Sender<Request>,
    pub(crate) answers: answers::UnboundedReceiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// Whether the state may be written: no longer once the source is gone, for the next one then reads it.
    may_save: Arc<Mutex<bool>>,
}

/// The thread's own.
struct Clerk {
    watch: Watch,
    skip_present: bool,
    state: StateDir,
    /// As of the last request.
    cx: SourceCx,
    may_save: Arc<Mutex<bool>>,
    /// Something is delivered that the state file does not say yet.
    dirty: bool,
}

// === impl Desk ===

impl Desk {
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
        let clerk = Clerk { watch, skip_present, state, cx, may_save: Arc::clone(&may_save), dirty: false };
        let work = move || clerk.work(&inbox, &outbox);
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(work)?;
        Ok(Self { requests, answers, thread: Some(thread), may_save })
    }

    pub(crate) fn ask(&self, request: Request) {
        // If nobody is there to take it, nobody answers.
        let _ = self.requests.send(request);
    }

    /// Nobody answers.
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

impl Drop for Desk {
    fn drop(&mut self) {
        // Waits for a write that is under way.
        *self.may_save.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

// === impl Clerk ===

impl Clerk {
    fn work(mut self, inbox: &mpsc::Receiver<Request>, outbox: &answers::UnboundedSender<Answer>) {
        // Whoever asked and does not want to know any more is gone.
        while let Ok(request) = inbox.recv() {
            match request {
                Request::Start(cx, now, reply) => drop(reply.send(self.start(cx, now))),
                Request::Next { cx, now, look } => {
                    self.cx = cx;
                    drop(outbox.send(self.next(now, look)));
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

    fn next(&mut self, now: Instant, look: bool) -> Answer {
        let started = Clock::now();
        let looked = look.then(|| {
            self.watch.look(&self.cx, now);
            if self.watch.looks() == 1 && !self.watch.has_files() {
                tracing::warn!(paths = self.watch.listing().describe(), component = %self.cx.id.name, "no file matches `paths` yet");
            }
            started.elapsed()
        });
        let came = self.go_on(now).unwrap_or_else(Came::Error);
        Answer { came, looked }
    }

    fn go_on(&mut self, now: Instant) -> Result<Came, SourceError> {
        let started = Clock::now();
        loop {
            // An identity is in the state before the first record that bears it leaves.
            if self.watch.unsaved {
                self.save()?;
            }
            match self.watch.step(&self.cx, now) {
                Progress::Batch(batch) => return Ok(Came::Batch(batch)),
                Progress::More if started.elapsed() < STRETCH => {}
                Progress::More => return Ok(Came::Busy),
                Progress::Nothing => break,
            }
        }
        if self.watch.look_again {
            return Ok(Came::Nothing(true));
        }
        let hopeless = self.watch.looks() >= FINITE_LOOKS;
        if self.watch.is_done() && (hopeless || self.watch.troubles().is_empty()) {
            self.watch.tell_unread(&self.cx, now, true);
            return Ok(Came::End(self.end()));
        }
        Ok(Came::Nothing(false))
    }

    /// What a finite run ends with.
    fn end(&self) -> Result<(), SourceError> {
        let missing = self.watch.missing().iter();
        let missing = missing.map(|path| format!("{} is not there; correct `paths`", path.display()));
        let troubles: Vec<String> = self.watch.troubles().into_iter().cloned().chain(missing).collect();
        if troubles.is_empty() {
            return Ok(());
        }
        let more =
            if troubles.len() > 5 { format!("; and {} more", troubles.len() - 5) } else { String::new() };
        let shown = troubles[..troubles.len().min(5)].join("; ");
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
        state::save(&self.state, self.watch.identities(), self.watch.records())
            .map_err(|message| SourceError::new("checkpoint", message))?;
        self.watch.unsaved = false;
        self.dirty = false;
        Ok(())
    }
}
