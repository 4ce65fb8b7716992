//! A request as it was received, and a reply to send: plain values without a connection.

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Duration;

use serde_json::{Value, json};

/// Names and values of a message's headers, in their order; names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// A request that has been received whole.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The target as it was sent, with its query.
    pub path: String,
    /// The headers.
    pub headers: Headers,
    /// The body: without the framing of chunks, compressed if it came so (see [`Request::text`]).
    pub body: Vec<u8>,
}

/// A reply to send, and how to misbehave while sending it.
///
/// ```
/// use flowstone_testkit::http::Reply;
/// let busy = Reply::json(429, r#"{"error":{"type":"circuit_breaking_exception"},"status":429}"#)
///     .header("Retry-After", "1");
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) delay: Duration,
    pub(crate) chunked: bool,
    pub(crate) ending: Ending,
}

/// What happens to the connection with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Sent whole; the connection stays open.
    KeepAlive,
    /// Sent whole, with `Connection: close`.
    Close,
    /// So many bytes of the body, then the connection is closed without a word.
    Cut(usize),
    /// Not one byte; the connection is closed.
    HangUp,
    /// Not one byte; the connection stays open until the client gives up.
    Never,
}

// === impl Headers ===

impl Headers {
    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The headers of a head (start line, headers, empty line); lines without a colon are skipped.
    pub(crate) fn of_head(head: &str) -> Self {
        let pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// Whether a header that is a list, as `Connection` is, has this word.
    pub(crate) fn has_word(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|list| list.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    }
}

// === impl Request ===

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The path without its query.
    pub fn path_only(&self) -> &str {
        self.path.split_once('?').map_or(&self.path, |(path, _)| path)
    }

    /// Whether this is a bulk request, to an index or to none.
    pub fn is_bulk(&self) -> bool {
        self.path_only() == "/_bulk" || self.path_only().ends_with("/_bulk")
    }

    /// The body as text, uncompressed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&plain(&self.headers, &self.body)).into_owned()
    }

    /// The body as JSON. Panics when it is none: in a test that is the failure to report.
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{} {}: {e}: {text}", self.method, self.path))
    }

    /// The body's lines as JSON. Panics as [`Request::json`] does.
    pub fn ndjson(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|e| panic!("{} {}: {e}: {line}", self.method, self.path))
        };
        self.text().lines().filter(|line| !line.is_empty()).map(parse).collect()
    }
}

/// A body without its compression; one that cannot be uncompressed stays as it is.
pub(crate) fn plain(headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match headers.get("content-encoding") {
        Some("gzip") if flate2::read::MultiGzDecoder::new(body).read_to_end(&mut out).is_ok() => out,
        _ => body.to_vec(),
    }
}

// === impl Reply ===

impl Reply {
    /// A reply with this status and an empty body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Headers::default(),
            body: Vec::new(),
            delay: Duration::ZERO,
            chunked: false,
            ending: Ending::KeepAlive,
        }
    }

    /// A reply of JSON, as text or as a [`Value`].
    pub fn json(status: u16, body: impl ToString) -> Self {
        Self::new(status).header("Content-Type", "application/json").body(body.to_string())
    }

    /// No reply: the connection is closed after the request.
    pub fn hang_up() -> Self {
        Self { ending: Ending::HangUp, ..Self::new(0) }
    }

    /// No reply, ever: the connection stays open.
    pub fn never() -> Self {
        Self { ending: Ending::Never, ..Self::new(0) }
    }

    /// What Elasticsearch answers to a request beyond `http.max_content_length`: 413, an empty body, a closed
    /// connection.
    pub fn too_large() -> Self {
        Self::new(413).close()
    }

    /// What Elasticsearch answers to a whole bulk request when its indexing pressure is too high.
    pub fn busy() -> Self {
        let error = json!({
            "type": "es_rejected_execution_exception",
            "reason": "rejected execution of coordinating operation [coordinating_and_primary_bytes=0, \
                       replica_bytes=0, all_bytes=0, coordinating_operation_bytes=2048, \
                       max_coordinating_and_primary_bytes=1024]",
        });
        let (kind, reason) = (&error["type"], &error["reason"]);
        Self::json(
            429,
            json!({"error": {"root_cause": [error], "type": kind, "reason": reason}, "status": 429}),
        )
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits so long before the reply is sent.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body in chunks, as Elasticsearch 8 and later do, and not by its length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Closes the connection after the reply, and says so.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.ending = Ending::Close;
        self
    }

    /// Closes the connection after so many bytes of the body, having announced all of them.
    #[must_use]
    pub fn cut(mut self, after: usize) -> Self {
        self.ending = Ending::Cut(after);
        self
    }

    /// The head and the body as they go over the wire; `bodiless` in reply to `HEAD`.
    pub(crate) fn to_bytes(&self, bodiless: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in self.headers.iter() {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.chunked {
            head.push_str("transfer-encoding: chunked\r\n");
        } else {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        if self.ending == Ending::Close {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        let cut = if let Ending::Cut(after) = self.ending { after } else { usize::MAX };
        let body = &self.body[..self.body.len().min(cut)];
        match (bodiless, self.chunked) {
            (true, _) => {}
            (false, false) => bytes.extend_from_slice(body),
            (false, true) => {
                for chunk in body.chunks(1024) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                if cut == usize::MAX {
                    bytes.extend_from_slice(b"0\r\n\r\n");
                }
            }
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
