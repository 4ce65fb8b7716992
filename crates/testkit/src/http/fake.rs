//! A scriptable HTTP server: a closure from request to reply, and a record of all requests.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{Reply, Request};
use super::wire::{Background, Wire, send};

/// A server on a free port of 127.0.0.1 that answers as a test says, until it is dropped.
///
/// ```
/// use flowstone_testkit::http::{Client, FakeServer, Reply};
/// let server = FakeServer::start(|request| match request.path_only() {
///     "/" => Reply::json(200, r#"{"version":{"number":"8.19.21"}}"#),
///     _ if request.is_bulk() => Reply::json(200, r#"{"errors":false,"took":1,"items":[]}"#).chunked(),
///     _ => Reply::new(404),
/// });
/// let client = Client::new(&server.url()).unwrap();
/// assert_eq!(client.get("/").json()["version"]["number"], "8.19.21");
/// assert_eq!(server.requests()[0].path, "/");
/// ```
pub struct FakeServer {
    background: Background,
    requests: Arc<Mutex<Vec<Request>>>,
}

type Handler = Box<dyn FnMut(&Request) -> Reply + Send>;

// === impl FakeServer ===

impl FakeServer {
    /// Starts a server that answers each request with what `handler` makes of it. One request at a time is in
    /// the handler; to answer late return [`Reply::delay`] instead of sleeping. A handler that panics closes
    /// the connection.
    pub fn start(handler: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        let background = Background::serve("fake-server", 0, move |wire| {
            connection(wire, Arc::clone(&record), Arc::clone(&handler))
        })
        .expect("a free port on 127.0.0.1 and a thread");
        Self { background, requests }
    }

    /// Starts a server that gives these replies in their order, and the last of them for ever after.
    pub fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "expected a script of at least one reply");
        Self::start(move |_| match replies.len() {
            1 => replies[0].clone(),
            _ => replies.pop_front().expect("more than one"),
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.background.addr)
    }

    /// All requests so far, in the order in which they had arrived whole.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// All bulk requests so far.
    pub fn bulks(&self) -> Vec<Request> {
        lock(&self.requests).iter().filter(|request| request.is_bulk()).cloned().collect()
    }
}

async fn connection(
    mut wire: Wire,
    record: Arc<Mutex<Vec<Request>>>,
    handler: Arc<Mutex<Handler>>,
) -> io::Result<()> {
    while let Some((request, message)) = wire.request().await? {
        lock(&record).push(request.clone());
        let reply = lock(&handler)(&request);
        if !send(&mut wire, &reply, &request.method, || ()).await? || message.last {
            break;
        }
    }
    Ok(())
}

/// A handler or a test that panicked has said so; what it left behind is still of use.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::http::Client;

    use super::*;

    #[test]
    fn a_request_is_recorded_with_its_body_and_answered_by_the_closure() {
        let server = FakeServer::start(|request| Reply::json(200, request.text()));
        let client = Client::new(&server.url()).unwrap();
        let reply = client.post("/_bulk?x=y", "{\"index\":{}}\n{\"a\":1}\n");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, "{\"index\":{}}\n{\"a\":1}\n");
        let requests = server.bulks();
        assert_eq!(requests[0].method, "POST");
        assert_eq!(requests[0].path, "/_bulk?x=y");
        assert_eq!(requests[0].ndjson()[1]["a"], 1);
    }

    #[test]
    fn a_chunked_reply_reads_as_the_same_text() {
        let long = "x".repeat(5000);
        let body = long.clone();
        let server = FakeServer::start(move |_| Reply::new(200).body(body.clone()).chunked());
        assert_eq!(Client::new(&server.url()).unwrap().get("/").body, long);
    }

    #[test]
    fn a_script_goes_on_with_its_last_reply() {
        let server = FakeServer::script([Reply::busy(), Reply::new(200)]);
        let client = Client::new(&server.url()).unwrap();
        let statuses: Vec<u16> = (0..3).map(|_| client.get("/").status).collect();
        assert_eq!(statuses, [429, 200, 200]);
    }

    #[test]
    fn a_hang_up_a_cut_and_silence_are_errors_of_the_client() {
        let server = FakeServer::start(|request| match request.path.as_str() {
            "/hang-up" => Reply::hang_up(),
            "/cut" => Reply::new(200).body("twelve bytes").cut(6),
            "/cut-chunks" => Reply::new(200).body("twelve bytes").chunked().cut(6),
            _ => Reply::never(),
        });
        let client = Client::new(&server.url()).unwrap().timeout(Duration::from_millis(200));
        for path in ["/hang-up", "/cut", "/cut-chunks", "/never"] {
            assert!(client.request("GET", path, &[], b"").is_err(), "{path}");
        }
    }

    #[test]
    fn a_delayed_reply_comes_late_and_does_not_hold_up_others() {
        let server = FakeServer::start(|request| match request.path.as_str() {
            "/late" => Reply::new(200).delay(Duration::from_millis(300)),
            _ => Reply::new(200),
        });
        let client = Client::new(&server.url()).unwrap();
        let get = |path| {
            client.get(path);
            Instant::now()
        };
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| get("/late"));
            let soon = get("/");
            let late = late.join().unwrap();
            assert!(soon < late && late - begin >= Duration::from_millis(300));
        });
    }
}
