//! The HTTP endpoint over the reloads of a process: it moves with `[metrics] listen`, and before anything else does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use flowstone_core::{ComponentId, Health, Kind, Metrics};
use flowstone_http::{Limits, Listener, Server};
use tracing::{error, info};

use crate::http;

type Listening = Box<dyn Fn(SocketAddr) + Send>;

/// The endpoint, if there is to be one, and what it serves.
pub(crate) struct Serving {
    endpoint: Option<Server>,
    metrics: Metrics,
    health: Health,
    listening: Option<Listening>,
}

/// A listener that was closed may hold its port for a moment.
const HAND_OVER: Duration = Duration::from_millis(50);
const HAND_OVER_TRIES: usize = 20;

// === impl Serving ===

impl Serving {
    pub(crate) fn new(metrics: Metrics, health: Health, listening: Option<Listening>) -> Self {
        Self { endpoint: None, metrics, health, listening }
    }

    /// Moves to `address`. Where that cannot be had nothing changes, and the error says what to do.
    pub(crate) async fn listen_on(&mut self, address: Option<SocketAddr>) -> Result<(), String> {
        let old = self.endpoint.as_ref().map(Server::asked);
        let Some(address) = address.filter(|address| Some(*address) != old) else {
            if address.is_none() {
                self.endpoint = None;
            }
            return Ok(());
        };
        let mut started = self.start(address);
        // All addresses and one of them are the same port: it is handed over.
        if let (Err(error), Some(old)) = (&started, old)
            && error.kind() == io::ErrorKind::AddrInUse
            && old.port() == address.port()
        {
            self.endpoint = None;
            started = self.start_when_free(address).await;
            if started.is_err() {
                self.endpoint = self.start_when_free(old).await.ok();
                if self.endpoint.is_none() {
                    error!(address = %old, "the metrics endpoint cannot go on where it was");
                }
            }
        }
        let endpoint = started.map_err(|error| {
            format!("cannot serve metrics on {address}: {error}; choose another `[metrics] listen`")
        })?;
        info!(address = %endpoint.address(), "metrics endpoint listens");
        if let Some(report) = &self.listening {
            report(endpoint.address());
        }
        self.endpoint = Some(endpoint);
        Ok(())
    }

    /// Waits until the endpoint fails, which only a bug makes happen; which component that is. Cancel-safe.
    pub(crate) async fn failed(&mut self) -> ComponentId {
        let Some(endpoint) = &mut self.endpoint else { return std::future::pending().await };
        endpoint.ended().await;
        self.endpoint = None;
        let component = ComponentId { name: "metrics".into(), kind: Kind::Sink, type_name: "endpoint" };
        error!(%component, stage = "service", "a component panicked; the run ends, and what is undelivered is read again");
        component
    }

    fn start(&self, address: SocketAddr) -> io::Result<Server> {
        let routes = http::routes(self.metrics.clone(), self.health.clone());
        Listener::bind(address)?.serve(Limits::default(), routes)
    }

    async fn start_when_free(&self, address: SocketAddr) -> io::Result<Server> {
        let mut tries = 1..HAND_OVER_TRIES;
        loop {
            match self.start(address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries.next().is_some() => {
                    tokio::time::sleep(HAND_OVER).await;
                }
                started => return started,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    async fn answers(address: SocketAddr) -> bool {
        tokio::net::TcpStream::connect(address).await.is_ok()
    }

    #[tokio::test]
    async fn an_address_that_is_taken_leaves_the_endpoint_where_it_was_and_a_port_of_its_own_is_handed_over()
    {
        let reported: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let log = Arc::clone(&reported);
        let listening: Listening = Box::new(move |address| log.lock().unwrap().push(address));
        let mut serving = Serving::new(Metrics::new(), Health::default(), Some(listening));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let one: SocketAddr = free.local_addr().unwrap();
        drop(free);
        serving.listen_on(Some(one)).await.unwrap();
        assert!(answers(one).await);

        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let problem = serving.listen_on(Some(taken.local_addr().unwrap())).await.unwrap_err();
        assert!(problem.contains("choose another `[metrics] listen`"), "{problem}");
        assert!(answers(one).await, "it goes on where it was");

        serving.listen_on(Some(one)).await.unwrap();
        assert_eq!(*reported.lock().unwrap(), [one], "what stays as it is is not begun anew");

        // The same place by another name, where there is IPv6: the port is ours already.
        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", one.port()).parse().unwrap();
        if std::net::TcpListener::bind("[::ffff:127.0.0.1]:0").is_ok() {
            serving.listen_on(Some(mapped)).await.unwrap();
            assert!(answers(one).await);
            assert_eq!(*reported.lock().unwrap(), [one, mapped]);
        }
        serving.listen_on(None).await.unwrap();
        assert!(serving.endpoint.is_none());
    }
}
