//! A blocking client of eighty lines: one connection per request, for tests that ask a node what it holds.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::Value;

use super::message::Headers;
use super::wire::find;

/// A client of one server. It speaks plain HTTP, without redirects, proxies or compression.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`, also the `Host` header.
    authority: String,
    /// What stands before every path, without a slash at its end.
    prefix: String,
    timeout: Duration,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body, as text.
    pub body: String,
}

// === impl Client ===

impl Client {
    /// A client for `http://HOST:PORT[/PREFIX]`.
    pub fn new(url: &str) -> io::Result<Self> {
        let rest = url.strip_prefix("http://").filter(|rest| !rest.contains('@')).ok_or_else(|| {
            let message = format!("{url}: expected http://HOST:PORT, without TLS and without credentials");
            io::Error::new(ErrorKind::InvalidInput, message)
        })?;
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let mut authority = authority.to_owned();
        let port = authority.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            authority.push_str(":80");
        }
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { authority, prefix, timeout: Duration::from_secs(120) })
    }

    /// Sets how long a silence may last; 60 seconds if not set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server's address, as [`Client::new`] took it.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.prefix)
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.authority.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?)
    }

    /// `GET`. Like all verbs here it panics when no whole reply comes; [`Client::request`] does not.
    pub fn get(&self, path: &str) -> Response {
        self.must("GET", path, "")
    }

    /// `POST`; a body with a line end at its end is sent as NDJSON, another as JSON.
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.must("POST", path, body)
    }

    /// `PUT`; the body as in [`Client::post`].
    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.must("PUT", path, body)
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Response {
        self.must("DELETE", path, "")
    }

    fn must(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
        let body = body.as_ref();
        let headers: &[_] = match body.last() {
            None => &[],
            Some(b'\n') => &[("Content-Type", "application/x-ndjson")],
            Some(_) => &[("Content-Type", "application/json")],
        };
        self.request(method, path, headers, body)
            .unwrap_or_else(|e| panic!("{method} {}{path}: {e}", self.url()))
    }

    /// Any request, with these headers besides `Host`, `Content-Length` and `Connection`.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&self.address()?, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let mut bytes = format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\n", self.prefix, self.authority);
        for (name, value) in headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        // A server may answer (413) and close before it has read all: the reply counts, not the broken pipe.
        let written = stream.write_all(&bytes);
        let mut reply = Vec::new();
        let read = stream.read_to_end(&mut reply);
        let response = Response::parse(&reply, method);
        response.ok_or_else(|| match (written, read) {
            (Err(e), _) | (_, Err(e)) => e,
            _ => io::Error::new(ErrorKind::UnexpectedEof, format!("{} bytes of a reply", reply.len())),
        })
    }
}

// === impl Response ===

impl Response {
    /// The body as JSON. Panics when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }

    /// Itself when the status is 2xx. Panics with the body if not.
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "expected a 2xx, got {} {}", self.status, self.body);
        self
    }

    /// `None` when the bytes are not a whole reply.
    fn parse(bytes: &[u8], method: &str) -> Option<Self> {
        let at = find(bytes, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..at]).ok()?;
        let status = head.split(' ').nth(1)?.trim().parse().ok()?;
        let headers = Headers::of_head(head);
        let body = &bytes[at + 4..];
        let body = if headers.has_word("transfer-encoding", "chunked") {
            dechunk(body)?
        } else {
            let length = headers.get("content-length").and_then(|l| l.parse().ok());
            match length.filter(|_| method != "HEAD") {
                Some(length) => body.get(..length)?.to_vec(),
                None => body.to_vec(),
            }
        };
        Some(Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}
