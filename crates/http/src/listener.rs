//! An address that is bound, and the server that answers there.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::activity::Activity;
use crate::connection::Terms;
use crate::table::Table;
use crate::{Limits, Routes};

/// An address that is taken and not served yet: connections wait.
#[derive(Debug)]
pub struct Listener {
    asked: SocketAddr,
    address: SocketAddr,
    listener: std::net::TcpListener,
}

/// A server at work. Dropped, it ends at once.
#[derive(Debug)]
pub struct Server {
    asked: SocketAddr,
    address: SocketAddr,
    stop: watch::Sender<Duration>,
    ended: oneshot::Receiver<()>,
}

/// How many connections without room are told so at once; the oldest goes for the newest.
const CROWDED: usize = 32;
/// How long such a one may take to send its request, and to take the answer.
const CROWDED_TIME: Duration = Duration::from_secs(1);
/// How long accepting rests after an error: doubled from the first to the last.
const FIRST_REST: Duration = Duration::from_millis(10);
const LAST_REST: Duration = Duration::from_secs(1);

/// A server's connections.
struct Serving {
    routes: Arc<Routes>,
    limits: Limits,
    tasks: JoinSet<()>,
    table: Table,
    crowded: VecDeque<AbortHandle>,
    ending: watch::Sender<()>,
}

// === impl Listener ===

impl Listener {
    /// Takes `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { asked: address, address: listener.local_addr()?, listener })
    }

    /// What it was asked to listen on.
    pub fn asked(&self) -> SocketAddr {
        self.asked
    }

    /// Where it listens: what was asked for, but for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers connections, on a thread of its own: what blocks the rest of the program does not silence it, nor do
    /// its clients take the I/O threads' time.
    pub fn serve(self, limits: Limits, routes: Routes) -> io::Result<Server> {
        let (stop, stopped) = watch::channel(Duration::ZERO);
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(self.listener)?
        };
        let serving = Serving::new(limits, routes);
        thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(serving.run(listener, stopped));
            // The connections' sockets are closed with the runtime.
            drop(runtime);
            end.send(()).ok();
        })?;
        Ok(Server { asked: self.asked, address: self.address, stop, ended })
    }
}

// === impl Server ===

impl Server {
    /// What it was asked to listen on.
    pub fn asked(&self) -> SocketAddr {
        self.asked
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it serves no more, which without [`Server::close`] only a bug makes happen. Cancel-safe; not to be
    /// called again once it has come to its end.
    pub async fn ended(&mut self) {
        (&mut self.ended).await.ok();
    }

    /// Takes no more connections, lets requests under way be answered within this time, and ends.
    pub async fn close(self, within: Duration) {
        self.stop.send_replace(within);
        self.ended.await.ok();
    }
}

// === impl Serving ===

impl Serving {
    fn new(limits: Limits, routes: Routes) -> Self {
        Self {
            routes: Arc::new(routes),
            limits,
            tasks: JoinSet::new(),
            table: Table::default(),
            crowded: VecDeque::new(),
            ending: watch::Sender::new(()),
        }
    }

    async fn run(mut self, listener: TcpListener, mut stopped: watch::Receiver<Duration>) {
        let mut rest = FIRST_REST;
        let mut rested = Instant::now();
        loop {
            let accept = async {
                sleep_until(rested).await;
                listener.accept().await
            };
            tokio::select! {
                accepted = accept => match accepted {
                    Ok((stream, peer)) => {
                        rest = FIRST_REST;
                        self.accept(stream, peer);
                    }
                    // The client is gone again.
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        if rest == FIRST_REST {
                            warn!(%error, "the HTTP server cannot accept connections; it tries on");
                        }
                        self.table.end_any();
                        rested = Instant::now().checked_add(rest).unwrap_or(rested);
                        rest = (rest * 2).min(LAST_REST);
                    }
                },
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.table.remove(match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    });
                }
                stop = stopped.changed() => {
                    drop(listener);
                    if stop.is_ok() {
                        let within = *stopped.borrow();
                        self.end(within).await;
                    }
                    return;
                }
            }
        }
    }

    fn accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Answers are whole when they are written.
        stream.set_nodelay(true).ok();
        let room = self.table.make_room(peer.ip(), &self.limits);
        let activity = Activity::new();
        let mut limits = self.limits;
        if !room {
            debug!(%peer, "no room for a connection");
            limits = Limits {
                header_time: CROWDED_TIME,
                body_time: CROWDED_TIME,
                write_time: CROWDED_TIME,
                idle_time: CROWDED_TIME,
                ..limits
            };
        }
        let terms = Terms {
            routes: Arc::clone(&self.routes),
            limits,
            activity: Arc::clone(&activity),
            crowded: !room,
            ending: self.ending.subscribe(),
        };
        let task = self.tasks.spawn(terms.serve(stream));
        if room {
            self.table.insert(peer.ip(), activity, task);
            return;
        }
        self.crowded.retain(|task| !task.is_finished());
        if self.crowded.len() >= CROWDED
            && let Some(oldest) = self.crowded.pop_front()
        {
            oldest.abort();
        }
        self.crowded.push_back(task);
    }

    async fn end(&mut self, within: Duration) {
        self.ending.send_replace(());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(within, all).await.is_err() {
            debug!(?within, "requests that were not answered in time are cut");
        }
    }
}

/// Whether an error of `accept` is that of the connection that was to be accepted, so that the next one may follow.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable
    )
}
