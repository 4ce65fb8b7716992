//! A proxy in front of a node that misbehaves on demand: what a real node will not do when asked.
//!
//! A [`ChaosProxy`] passes everything through, byte for byte, until a [`Rule`] says otherwise. Rules come and go
//! while it runs. It sees whole messages, never half of one, so a test knows what the server had processed when
//! the client lost its reply. Every request is recorded ([`ChaosProxy::requests`]).
//!
//! ```no_run
//! use std::time::Duration;
//! use flowstone_testkit::chaos::{ChaosProxy, Fault, Rule};
//!
//! let proxy = ChaosProxy::start("http://127.0.0.1:9200").unwrap();
//! proxy.rule(Rule::bulk(Fault::Hold));
//! // start the program against proxy.url(), then
//! assert!(proxy.wait_until(Duration::from_secs(10), |now| now.held == 1));
//! // ... the server has the documents, the program does not know it: kill the program here
//! proxy.clear();
//! ```

mod fault;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use self::fault::Refused;
pub use self::fault::{Edit, Fault, Rule};
use crate::http::{Background, Client, Ending, Message, Reply, Request, Wire, send};

/// A proxy on a free port of 127.0.0.1, until it is dropped.
pub struct ChaosProxy {
    background: Background,
    shared: Arc<Shared>,
}

/// What happens in the proxy at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Requests that have arrived whole, from the beginning.
    pub arrived: usize,
    /// Requests without a whole reply; one that is held or never answered counts while its client is there.
    pub in_flight: usize,
    /// Replies of the server that are being held or delayed: the server has processed these requests.
    pub held: usize,
}

/// A request that has passed, and what became of it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The request, its body empty after [`ChaosProxy::forget_bodies`].
    pub request: Request,
    /// When it had arrived whole.
    pub at: Instant,
    /// The status that the server answered; `None`: it did not see the request or gave no whole reply.
    pub server_status: Option<u16>,
    /// The status of the whole reply that was written to the client's connection; `None`: there was none.
    pub client_status: Option<u16>,
}

struct Shared {
    state: Mutex<State>,
    release: Notify,
}

struct State {
    upstream: SocketAddr,
    refuse: bool,
    /// How often the rules were cleared: a reply of before is not held after.
    clears: usize,
    forget_bodies: bool,
    rules: Vec<Rule>,
    now: Now,
    requests: Vec<Recorded>,
}

/// Counts something in [`Now`] as long as it lives.
struct Counted<'a> {
    shared: &'a Shared,
    field: fn(&mut Now) -> &mut usize,
}

// === impl ChaosProxy ===

impl ChaosProxy {
    /// Starts a proxy in front of `http://HOST:PORT`.
    pub fn start(upstream: &str) -> io::Result<Self> {
        let state = State {
            upstream: address(upstream)?,
            refuse: false,
            clears: 0,
            forget_bodies: false,
            rules: Vec::new(),
            now: Now::default(),
            requests: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), release: Notify::new() });
        let serving = Arc::clone(&shared);
        let background = Background::serve("chaos-proxy", 0, move |wire| {
            let shared = Arc::clone(&serving);
            async move { connection(&shared, wire).await }
        })?;
        Ok(Self { background, shared })
    }

    /// `http://127.0.0.1:PORT`, for the client under test.
    pub fn url(&self) -> String {
        format!("http://{}", self.background.addr)
    }

    /// Adds a rule, behind those that are there.
    pub fn rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Takes all rules away, accepts connections again and lets held and delayed replies go: from now on
    /// everything passes through. Connections under [`Reply::never`] stay silent.
    pub fn clear(&self) {
        {
            let mut state = self.shared.lock();
            state.rules.clear();
            state.clears += 1;
            state.refuse = false;
        }
        self.release();
    }

    /// Lets the replies go that are being held or delayed now; rules stay, so later ones are held again.
    pub fn release(&self) {
        self.shared.release.notify_waiters();
    }

    /// When on: resets new connections at once, and open ones at their next request.
    pub fn refuse(&self, on: bool) {
        self.shared.lock().refuse = on;
    }

    /// Goes on with another server, from the next request on.
    pub fn redirect(&self, upstream: &str) -> io::Result<()> {
        let upstream = address(upstream)?;
        self.shared.lock().upstream = upstream;
        Ok(())
    }

    /// Records requests without their bodies from now on, for tests of many megabytes.
    pub fn forget_bodies(&self) {
        self.shared.lock().forget_bodies = true;
    }

    /// All requests so far, in the order in which they had arrived.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// All bulk requests so far.
    pub fn bulks(&self) -> Vec<Recorded> {
        self.shared.lock().requests.iter().filter(|r| r.request.is_bulk()).cloned().collect()
    }

    /// What happens now.
    pub fn now(&self) -> Now {
        self.shared.lock().now
    }

    /// Blocks until this is so, and says whether it came to be within the time. Not for asynchronous tests, whose
    /// other tasks would wait as well: see [`ChaosProxy::until`].
    #[must_use]
    pub fn wait_until(&self, within: Duration, is_so: impl Fn(Now) -> bool) -> bool {
        let end = Instant::now() + within;
        loop {
            if is_so(self.now()) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// [`ChaosProxy::wait_until`] for asynchronous tests, on any tokio runtime with a timer.
    #[must_use]
    pub async fn until(&self, within: Duration, is_so: impl Fn(Now) -> bool) -> bool {
        let poll = async {
            while !is_so(self.now()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(within, poll).await.is_ok()
    }
}

/// One client's connection, and one to the server at most.
async fn connection(shared: &Shared, mut client: Wire) -> io::Result<()> {
    if shared.lock().refuse {
        client.reset();
        return Ok(());
    }
    let mut server: Option<(SocketAddr, Wire)> = None;
    while let Some((request, message)) = client.request().await? {
        if shared.lock().refuse {
            client.reset();
            return Ok(());
        }
        let (record, clears, fault) = shared.arrived(&request);
        let in_flight = shared.count(|now| &mut now.in_flight);
        let refused = match &fault {
            Some(Fault::Answer(reply)) => {
                let whole = matches!(reply.ending, Ending::KeepAlive | Ending::Close);
                let about_to = || shared.replied(record, whole.then_some(reply.status), in_flight);
                if !send(&mut client, reply, &request.method, about_to).await? || message.last {
                    return Ok(());
                }
                continue;
            }
            Some(Fault::RefuseItems { refuse, of }) => Refused::split(&request, *refuse, *of),
            _ => None,
        };

        let forward = match &refused {
            Some(refused) if refused.kept.is_empty() => None,
            Some(refused) => Some(reframed(&message.head, &refused.kept)),
            None if message.headers.get("expect").is_some() => Some(reframed(&message.head, &message.body)),
            None => Some(message.raw),
        };
        let mut reply = None;
        if let Some(forward) = forward {
            let upstream = shared.lock().upstream;
            let (_, wire) = match server.take() {
                Some(open) if open.0 == upstream && !open.1.is_stale() => server.insert(open),
                _ => server.insert((upstream, Wire::new(TcpStream::connect(upstream).await?))),
            };
            // A server may answer (413) and close before it has read all: its reply counts, not the broken pipe.
            // A client that is gone makes no difference: the server would have had its request all the same.
            let _ = wire.write(&forward).await;
            let answered = wire.reply(&request.method).await?;
            shared.lock().requests[record].server_status = Some(answered.0);
            reply = Some(answered);
        }
        let (status, mut answer) = match reply {
            Some((status, reply)) => (status, reply),
            None => (200, Message::of(&Reply::json(200, json!({"took": 0, "errors": true, "items": []})))),
        };
        if let Some(refused) = refused {
            answer.edit(|reply| refused.put_back(reply));
        }

        match &fault {
            Some(fault @ (Fault::Delay(_) | Fault::Hold)) => {
                let released = shared.release.notified();
                tokio::pin!(released);
                released.as_mut().enable(); // before the count says so: a release in between must not be missed
                let _held = shared.count(|now| &mut now.held);
                let time = async {
                    match fault {
                        Fault::Delay(time) => tokio::time::sleep(*time).await,
                        _ => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = client.closed() => return Ok(()),
                    () = released => {}
                    () = time => {}
                    () = std::future::ready(()), if shared.lock().clears != clears => {}
                }
            }
            Some(Fault::LoseReply) => return Ok(()),
            Some(Fault::Cut(after)) => {
                let end = (answer.head.len() + after).min(answer.raw.len());
                client.write(&answer.raw[..end]).await?;
                return Ok(());
            }
            Some(Fault::Edit(Edit(edit))) => answer.edit(|reply| edit(reply)),
            Some(Fault::Answer(_) | Fault::RefuseItems { .. }) | None => {}
        }
        shared.replied(record, Some(status), in_flight);
        client.write(&answer.raw).await?;
        if message.last || answer.last {
            return Ok(());
        }
    }
    Ok(())
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request, and finds what to do to it: where the record is, `clears`, and the fault.
    fn arrived(&self, request: &Request) -> (usize, usize, Option<Fault>) {
        let mut state = self.lock();
        state.now.arrived += 1;
        let fault = state.rules.iter_mut().find_map(|rule| rule.take(request));
        let mut request = request.clone();
        if state.forget_bodies {
            request.body = Vec::new();
        }
        let recorded = Recorded { request, at: Instant::now(), server_status: None, client_status: None };
        state.requests.push(recorded);
        (state.requests.len() - 1, state.clears, fault)
    }

    /// Called before the reply's first byte is written: a client that has it finds it recorded.
    fn replied(&self, record: usize, status: Option<u16>, in_flight: Counted<'_>) {
        drop(in_flight);
        self.lock().requests[record].client_status = status;
    }

    fn count(&self, field: fn(&mut Now) -> &mut usize) -> Counted<'_> {
        *field(&mut self.lock().now) += 1;
        Counted { shared: self, field }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *(self.field)(&mut self.shared.lock().now) -= 1;
    }
}

// === impl Message ===

impl Message {
    fn of(reply: &Reply) -> Self {
        let raw = reply.to_bytes(false);
        let head = String::from_utf8_lossy(&raw[..raw.len() - reply.body.len()]).into_owned();
        let headers = crate::http::Headers::of_head(&head);
        Self { raw, head, headers, body: reply.body.clone(), last: false }
    }

    /// Changes a JSON body; any other stays as it is.
    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let plain = crate::http::plain(&self.headers, &self.body);
        if let Ok(mut value) = serde_json::from_slice::<Value>(&plain) {
            edit(&mut value);
            self.body = value.to_string().into_bytes();
            self.raw = reframed(&self.head, &self.body);
        }
    }
}

/// A message with this head and another body, by its length and uncompressed.
fn reframed(head: &str, body: &[u8]) -> Vec<u8> {
    const GONE: [&str; 4] = ["content-length", "transfer-encoding", "content-encoding", "expect"];
    let stays = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        !line.is_empty() && !GONE.contains(&name.as_str())
    };
    let mut bytes = Vec::new();
    for line in head.lines().filter(stays) {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn address(url: &str) -> io::Result<SocketAddr> {
    Client::new(url)?.address()
}

#[cfg(test)]
mod tests;
