//! What a connection waits for, seen from outside, and the time-outs of its reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::{Body, Bytes, Limits};

/// What a connection waits for. Shared by its I/O, its handler and the table of connections.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When a byte went either way, or the response was ready.
    moved: Instant,
    /// A handler makes the response.
    working: bool,
    /// The client takes no byte of the response.
    stalled: bool,
    /// How many requests began.
    requests: usize,
}

/// A handler works as long as this lives.
pub(crate) struct Working(Arc<Activity>);

/// A response's body: while it is not at its end, its handler works.
pub(crate) struct WorkingBody {
    body: Body,
    working: Option<Working>,
}

/// A stream whose client must send a head in time and take what is written.
pub(crate) struct Watched<T> {
    stream: T,
    limits: Limits,
    activity: Arc<Activity>,
    /// The end of the time for a request's head, and how many requests were before it.
    head: Option<(usize, Pin<Box<Sleep>>)>,
    /// The end of the time in which the client must take a byte.
    write: Option<Pin<Box<Sleep>>>,
}

// === impl Activity ===

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { moved: Instant::now(), working: false, stalled: false, requests: 0 };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Since when the connection waits for its client; `None` while its client waits for us.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.stalled || !state.working).then_some(state.moved)
    }

    /// A request's head is here. The number of requests with this one.
    pub(crate) fn begin(self: &Arc<Self>) -> (Working, usize) {
        let mut state = self.lock();
        state.working = true;
        state.requests += 1;
        (Working(Arc::clone(self)), state.requests)
    }

    fn moved(&self) {
        self.lock().moved = Instant::now();
    }

    fn stalled(&self, stalled: bool) {
        let mut state = self.lock();
        state.stalled = stalled;
        if !stalled {
            state.moved = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Working ===

impl Working {
    /// The body that its handler has begun.
    pub(crate) fn with(self, body: Body) -> WorkingBody {
        WorkingBody { body, working: Some(self) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.working = false;
        state.moved = Instant::now();
    }
}

// === impl WorkingBody ===

impl hyper::body::Body for WorkingBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.working = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Watched ===

impl<T> Watched<T> {
    pub(crate) fn new(stream: T, limits: Limits, activity: Arc<Activity>) -> Self {
        Self { stream, limits, activity, head: None, write: None }
    }

    /// The client must go on with the head it has begun.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let (working, requests) = {
            let state = self.activity.lock();
            (state.working, state.requests)
        };
        match &mut self.head {
            Some((before, sleep)) if !working && *before == requests => {
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready(timed_out("the client did not send its request in time"))
            }
            _ => {
                self.head = None;
                Poll::Pending
            }
        }
    }

    fn note_read(&mut self) {
        let (working, requests) = {
            let mut state = self.activity.lock();
            state.moved = Instant::now();
            (state.working, state.requests)
        };
        if !working && self.head.as_ref().is_none_or(|(before, _)| *before != requests) {
            self.head = Some((requests, Box::pin(sleep(self.limits.header_time))));
        }
    }

    /// The client must take what is written.
    fn note_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.write.take().is_some() {
                self.activity.stalled(false);
            } else {
                self.activity.moved();
            }
            return written;
        }
        let time = self.limits.write_time;
        if self.write.is_none() {
            self.activity.stalled(true);
        }
        let sleep = self.write.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the client does not take the response")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.poll_head(cx).map(Err),
            ready => {
                if buffer.filled().len() > before {
                    self.note_read();
                }
                ready
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
