//! A server that goes away while an answer of it is still on its way: what that answer says of it is not believed.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{Builder, Lines, Scripted};
use flowstone_core::event::{Batch, RowId};
use flowstone_core::{Body, Request, Sink, SinkLimits, Verdict, Verdicts};
use flowstone_engine::{Outcome, RunOptions, run};
use tokio::sync::watch;

/// Refuses the first request, takes the second a moment later, and is away from then on.
struct Leaves {
    like: Scripted,
    /// A row of the first request, and whether the second one came.
    seen: Mutex<(Option<RowId>, bool)>,
}

#[async_trait]
impl Sink for Leaves {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        self.like.encode(batch, body);
    }

    async fn send(&self, request: &Request) -> Verdicts {
        let row = request.each_row().next().map(|(segment, row)| segment.id(row));
        let takes = {
            let mut seen = self.seen.lock().unwrap();
            let first = *seen.0.get_or_insert(row.unwrap());
            row != Some(first) && !std::mem::replace(&mut seen.1, true)
        };
        if takes {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return Verdicts::All(Verdict::Delivered);
        }
        // Long enough for the second one to be on its way.
        tokio::time::sleep(Duration::from_millis(30)).await;
        Verdicts::All(Verdict::busy("connection", "refused"))
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { max_rows: 10, ..self.like.limits() }
    }
}

fn readyz(at: SocketAddr) -> String {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_outage_is_told_although_an_answer_came_after_the_first_refusal() {
    // Two requests: nothing but the first is left to tell.
    let (lines, _) = Lines::new(20, 10);
    let sink = Leaves { like: Scripted::accepting(), seen: Mutex::default() };
    let mut builder = Builder::new().source("in", lines).sink("out", &["in"], sink);
    builder.topology.settings.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    let (listens, listening) = mpsc::channel();
    let (stop, stopped) = watch::channel(false);
    let options = RunOptions {
        signals: false,
        stop: Some(stopped),
        listening: Some(Box::new(move |at| listens.send(at).unwrap())),
        ..RunOptions::default()
    };
    let Builder { topology, folder: _folder } = builder;
    let running = std::thread::spawn(move || run(topology, options));
    let at = listening.recv_timeout(Duration::from_secs(60)).unwrap();
    let begun = Instant::now();
    while !readyz(at).contains("refused: connection") {
        assert!(begun.elapsed() < Duration::from_secs(30), "an outage without a word: {}", readyz(at));
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.send(true).unwrap();
    assert_eq!(running.join().unwrap(), Outcome::Undelivered);
}
