//! A connection seen as a row of HTTP/1.1 messages, and the thread that serves such connections.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::message::{Ending, Headers, Reply, Request};

/// A connection, with what was read from it and not yet used.
pub(crate) struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// A message as it came: its bytes, and what they mean.
pub(crate) struct Message {
    /// Head and body, with their framing.
    pub(crate) raw: Vec<u8>,
    /// Start line, headers, and the empty line.
    pub(crate) head: String,
    pub(crate) headers: Headers,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// The connection ends with this message.
    pub(crate) last: bool,
}

/// A thread with a runtime of its own, so that a test may be blocking or asynchronous; it ends with its owner.
pub(crate) struct Background {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

enum Framing {
    Nothing,
    Length(usize),
    Chunked,
    ToTheEnd,
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, ahead: Vec::new() }
    }

    /// The next request with the message it came as, or `None` when the client has closed between two.
    pub(crate) async fn request(&mut self) -> io::Result<Option<(Request, Message)>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let headers = Headers::of_head(&head);
        let mut start = head.lines().next().unwrap_or_default().split(' ');
        let (Some(method), Some(path)) = (start.next(), start.next()) else {
            return Err(bad("a request line without a method and a path"));
        };
        if headers.has_word("expect", "100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let framing = match framing(&headers)? {
            Framing::ToTheEnd => Framing::Nothing, // only a reply may end with its connection
            known => known,
        };
        let (method, path) = (method.to_owned(), path.to_owned());
        let message = self.rest(head, headers, framing).await?;
        let request = Request { method, path, headers: message.headers.clone(), body: message.body.clone() };
        Ok(Some((request, message)))
    }

    /// The reply to a request of this method, and its status. Interim replies (1xx) are skipped.
    pub(crate) async fn reply(&mut self, method: &str) -> io::Result<(u16, Message)> {
        loop {
            let head = self.head().await?.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
            let headers = Headers::of_head(&head);
            let status = head.split(' ').nth(1).and_then(|s| s.trim().parse().ok());
            let status: u16 = status.ok_or_else(|| bad("a status line without a status"))?;
            if (100..200).contains(&status) {
                continue;
            }
            let framing = match status {
                204 | 304 => Framing::Nothing,
                _ if method == "HEAD" => Framing::Nothing,
                _ => framing(&headers)?,
            };
            return Ok((status, self.rest(head, headers, framing).await?));
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Resolves when the other side has closed; what it sends meanwhile is kept.
    pub(crate) async fn closed(&mut self) {
        while let Ok(1..) = self.stream.read_buf(&mut self.ahead).await {}
    }

    /// Whether the other side has already closed, or said something nobody asked for.
    pub(crate) fn is_stale(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Closes with a reset, not with an orderly end.
    pub(crate) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.ahead).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                let head = self.ahead.drain(..at + 4).collect();
                return String::from_utf8(head).map(Some).map_err(|_| bad("a head that is not UTF-8"));
            }
            match self.more().await {
                Err(e) if e.kind() == ErrorKind::UnexpectedEof && self.ahead.is_empty() => return Ok(None),
                other => other?,
            }
        }
    }

    async fn rest(&mut self, head: String, headers: Headers, framing: Framing) -> io::Result<Message> {
        let mut raw = head.clone().into_bytes();
        let mut last = headers.has_word("connection", "close");
        let mut body = Vec::new();
        match framing {
            Framing::Nothing => {}
            Framing::Length(length) => {
                self.take(length, &mut body).await?;
                raw.extend_from_slice(&body);
            }
            Framing::Chunked => loop {
                let size_line = self.line(&mut raw).await?;
                let size = size_line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| bad("a chunk without a size"))?;
                if size == 0 {
                    while !self.line(&mut raw).await?.is_empty() {} // trailers
                    break;
                }
                let from = body.len();
                self.take(size, &mut body).await?;
                raw.extend_from_slice(&body[from..]);
                self.line(&mut raw).await?;
            },
            Framing::ToTheEnd => {
                self.closed().await;
                body.append(&mut self.ahead);
                raw.extend_from_slice(&body);
                last = true;
            }
        }
        Ok(Message { raw, head, headers, body, last })
    }

    async fn take(&mut self, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        while self.ahead.len() < length {
            self.more().await?;
        }
        into.extend(self.ahead.drain(..length));
        Ok(())
    }

    /// A line without its end, which `raw` keeps.
    async fn line(&mut self, raw: &mut Vec<u8>) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let from = raw.len();
                raw.extend(self.ahead.drain(..at + 2));
                return Ok(String::from_utf8_lossy(&raw[from..raw.len() - 2]).into_owned());
            }
            self.more().await?;
        }
    }
}

/// Sends a reply in its manner; true when the connection goes on after it. `about_to` is called just before the
/// first byte, so that whoever reads the reply finds it done.
pub(crate) async fn send(
    wire: &mut Wire,
    reply: &Reply,
    method: &str,
    about_to: impl FnOnce(),
) -> io::Result<bool> {
    if !reply.delay.is_zero() {
        tokio::select! {
            () = wire.closed() => return Ok(false),
            () = tokio::time::sleep(reply.delay) => {}
        }
    }
    match reply.ending {
        Ending::HangUp => return Ok(false),
        Ending::Never => {
            wire.closed().await;
            return Ok(false);
        }
        Ending::KeepAlive | Ending::Close | Ending::Cut(_) => {}
    }
    about_to();
    wire.write(&reply.to_bytes(method == "HEAD")).await?;
    Ok(reply.ending == Ending::KeepAlive)
}

// === impl Background ===

impl Background {
    /// Listens on this port of 127.0.0.1 (0 takes a free one) and serves each connection with a task of its own.
    pub(crate) fn serve<S, F>(name: &str, port: u16, serve: S) -> io::Result<Self>
    where
        S: Fn(Wire) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                let accept = async {
                    let listener = TcpListener::from_std(listener)?;
                    loop {
                        let (stream, _) = listener.accept().await?;
                        // A connection that breaks is what these tests are about, and its record says so.
                        tokio::spawn(serve(Wire::new(stream)));
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    _ended = accept => { let _: io::Result<()> = _ended; }
                }
            });
        })?;
        Ok(Self { addr, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === helpers ===

fn framing(headers: &Headers) -> io::Result<Framing> {
    if headers.has_word("transfer-encoding", "chunked") {
        return Ok(Framing::Chunked);
    }
    match headers.get("content-length") {
        Some(length) => length.parse().map(Framing::Length).map_err(|_| bad("a content-length of no number")),
        None => Ok(Framing::ToTheEnd),
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
