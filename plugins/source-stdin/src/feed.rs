//! A thread that reads a stream, for reading standard input blocks, and what it has read.

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TryRecvError};

/// What is read.
pub(crate) type Input = Box<dyn Read + Send>;

/// A reading asks for this much. What one gives is handed on at once, however little it is.
const CHUNK: usize = 256 << 10;

/// So many chunks wait at most; then the thread does, and with it whoever writes into the pipe.
const CHUNKS_AHEAD: usize = 2;

/// A stream of bytes, read by a thread of its own.
#[derive(Debug)]
pub(crate) struct Feed {
    chunks: Receiver<io::Result<Bytes>>,
    /// What was read once and is to be read again, before anything else.
    again: VecDeque<Bytes>,
    /// Where in the stream the first byte stands that comes next.
    pub(crate) offset: u64,
    /// What the ids of its lines begin with.
    pub(crate) seed: u128,
    at_end: bool,
    /// Why the stream ended, if not by its end.
    pub(crate) error: Option<io::Error>,
}

// === impl Feed ===

impl Feed {
    /// Starts the thread.
    pub(crate) fn new(input: Input, seed: u128) -> io::Result<Self> {
        let (sender, chunks) = channel(CHUNKS_AHEAD);
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || pump(input, &sender))?;
        Ok(Self { chunks, again: VecDeque::new(), offset: 0, seed, at_end: false, error: None })
    }

    /// What is here without waiting.
    pub(crate) fn ready(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.again.pop_front() {
            return Some(chunk);
        }
        match self.chunks.try_recv() {
            Ok(chunk) => self.note(Some(chunk)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.note(None),
        }
    }

    /// Waits for more; nothing at the end. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.again.pop_front() {
            return Some(chunk);
        }
        let chunk = self.chunks.recv().await;
        self.note(chunk)
    }

    fn note(&mut self, chunk: Option<io::Result<Bytes>>) -> Option<Bytes> {
        match chunk {
            Some(Ok(chunk)) => return Some(chunk),
            Some(Err(error)) => self.error = Some(error),
            None => {}
        }
        self.at_end = true;
        None
    }

    /// Whether nothing more will come.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at_end && self.again.is_empty()
    }

    /// These come again, in this order, before anything else.
    pub(crate) fn put_back(&mut self, chunks: impl DoubleEndedIterator<Item = Bytes>) {
        for chunk in chunks.rev().filter(|chunk| !chunk.is_empty()) {
            self.again.push_front(chunk);
        }
    }
}

fn pump(mut input: Input, sender: &Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        // Nobody listens when the run has ended.
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}
