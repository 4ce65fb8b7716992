//! An address that is bound, and the server that answers there.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use crate::Routes;

/// An address that is taken and not served yet: connections wait.
#[derive(Debug)]
pub struct Listener {
    asked: SocketAddr,
    address: SocketAddr,
    listener: std::net::TcpListener,
}

/// A server at work; ends when dropped.
#[derive(Debug)]
pub struct Server {
    asked: SocketAddr,
    address: SocketAddr,
    /// Dropped, it ends the thread.
    _stop: watch::Sender<()>,
}

// === impl Listener ===

impl Listener {
    /// Takes `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { asked: address, address: listener.local_addr()?, listener })
    }

    /// Where it listens: what was asked for, but for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers connections, on a thread of its own: what blocks the rest of the program does not silence it, nor do
    /// its clients take the I/O threads' time.
    pub fn serve(self, routes: Routes) -> io::Result<Server> {
        let (stop, stopped) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || runtime.block_on(serve(listener, Arc::new(routes), stopped)))?;
        Ok(Server { asked: self.asked, address: self.address, _stop: stop })
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
}

async fn serve(listener: tokio::net::TcpListener, routes: Arc<Routes>, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            _ = stopped.changed() => return,
        };
        let routes = Arc::clone(&routes);
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let routes = Arc::clone(&routes);
                async move { Ok::<_, Infallible>(routes.answer(request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                debug!(%error, "a connection ended early");
            }
        });
    }
}
