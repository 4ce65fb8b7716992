//! A server on a loopback port, and clients that behave and that do not.

use std::future::ready;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use flowstone_http::{Bytes, Limits, Listener, Method, Request, Routes, Server, StatusCode, text};

/// More than anything here takes; a test that waits so long fails.
const LONG: Duration = Duration::from_secs(20);

fn routes() -> Routes {
    Routes::new()
        .first("/healthz", |_| ready(text(StatusCode::OK, "ok\n")))
        .get("/large", |_| ready(text(StatusCode::OK, Bytes::from(vec![b'x'; 8 << 20]))))
        .get("/panic", |_| async { panic!("on purpose") })
        .get("/slow", |_| async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            text(StatusCode::OK, "slow\n")
        })
        .get("/never", |_| std::future::pending())
        .route(Method::POST, "/echo", |request: Request| async {
            match request.into_body().read().await {
                Ok(body) => text(StatusCode::OK, body),
                Err(error) => error.response(),
            }
        })
        .route(Method::POST, "/little", |mut request: Request| async {
            request.body_mut().limit(4);
            match request.into_body().read().await {
                Ok(body) => text(StatusCode::OK, body),
                Err(error) => error.response(),
            }
        })
}

fn start(limits: Limits) -> Server {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listener.serve(limits, routes()).unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// What a connection gets from now to its end, cut or not.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("the connection is still open after {LONG:?}")
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// One request on a connection of its own, and all that is answered.
fn ask(server: &Server, request: &str) -> String {
    let mut stream = connect(server);
    stream.write_all(request.as_bytes()).ok();
    rest(&mut stream)
}

fn get(server: &Server, path: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
}

/// A liveness probe, as a kubelet makes one: a connection of its own, a second of patience.
fn probe(server: &Server) {
    let mut stream = TcpStream::connect_timeout(&server.address(), LONG).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
}

fn small_times() -> Limits {
    let short = Duration::from_millis(300);
    Limits { header_time: short, body_time: short, write_time: short, idle_time: short, ..Limits::default() }
}

#[test]
fn a_path_has_its_methods_and_every_other_one_is_told_which() {
    let server = start(Limits::default());
    for (method, path, status, has) in [
        ("GET", "/healthz", 200, "\r\n\r\nok\n"),
        ("HEAD", "/healthz", 200, "content-length: 3\r\n"),
        ("POST", "/healthz", 405, "allow: GET, HEAD\r\n"),
        ("DELETE", "/healthz", 405, "only GET, HEAD here\n"),
        ("OPTIONS", "/large", 405, "allow: GET, HEAD\r\n"),
        ("BREW", "/large", 405, "allow: GET, HEAD\r\n"),
        ("GET", "/echo", 405, "allow: POST\r\n"),
        ("GET", "/", 404, "not found; there is /healthz, "),
        ("GET", "/healthz/", 404, "content-type: text/plain; charset=utf-8\r\n"),
        ("POST", "/%2e%2e/etc/passwd", 404, "not found"),
    ] {
        let answer =
            ask(&server, &format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains(has), "{method} {path}: {answer}");
        if method == "HEAD" {
            assert!(answer.ends_with("\r\n\r\n"), "a body: {answer}");
        }
    }
}

#[test]
fn an_address_is_taken_before_it_is_served_and_free_after_the_server_is_closed() {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.address();
    assert_eq!(Listener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    let mut early = TcpStream::connect(address).unwrap();
    early.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let server = listener.serve(Limits::default(), routes()).unwrap();
    assert_eq!(server.address(), address);
    assert!(rest(&mut early).ends_with("ok\n"), "a connection from before is answered");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(server.close(LONG));
    Listener::bind(address).unwrap();
}

#[test]
fn a_server_that_closes_answers_the_request_under_way_and_no_other() {
    let server = start(Limits::default());
    let mut idle = connect(&server);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 16]).unwrap();
    let mut slow = connect(&server);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut never = connect(&server);
    never.write_all(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    sleep(Duration::from_millis(200));
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(server.close(Duration::from_secs(3)));
    let took = begun.elapsed();
    assert!((Duration::from_secs(3)..LONG).contains(&took), "the one that never ends is cut: {took:?}");
    assert!(rest(&mut slow).ends_with("slow\n"));
    rest(&mut idle);
    assert_eq!(rest(&mut never), "");
}

#[test]
fn forty_slow_loris_connections_do_not_silence_the_health() {
    let server = start(Limits::default());
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(&server);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nX-Slow: ").unwrap();
        held.push(stream);
    }
    for _ in 0..10 {
        probe(&server);
        for stream in &mut held {
            stream.write_all(b"x").ok();
        }
    }
}

#[test]
fn connections_that_come_again_whenever_they_are_cut_do_not_silence_the_health() {
    let server = start(Limits::default());
    let address = server.address();
    let end = Instant::now() + Duration::from_secs(3);
    let loris: Vec<_> = (0..64)
        .map(|_| {
            thread::spawn(move || {
                while Instant::now() < end {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    stream.write_all(b"GET /").ok();
                    // Until it is cut.
                    while Instant::now() < end
                        && matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
                    {}
                    sleep(Duration::from_millis(20));
                }
            })
        })
        .collect();
    let mut probes = 0;
    while Instant::now() < end {
        probe(&server);
        probes += 1;
        sleep(Duration::from_millis(100));
    }
    assert!(probes > 0);
    loris.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn clients_that_pipeline_and_never_read_do_not_silence_the_health_and_are_cut() {
    let server = start(Limits { write_time: Duration::from_secs(2), ..Limits::default() });
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(&server);
        stream.write_all("GET /large HTTP/1.1\r\nHost: h\r\n\r\n".repeat(50).as_bytes()).ok();
        held.push(stream);
    }
    for _ in 0..5 {
        probe(&server);
    }
    // Somebody who reads nothing for the time to write gets no more than what was under way.
    sleep(Duration::from_secs(4));
    let mut last = held.pop().unwrap();
    let got = rest(&mut last).len();
    assert!(got < 8 << 20, "cut in the middle of the first response: {got}");
}

#[test]
fn a_thousand_idle_connections_do_not_silence_the_health() {
    let server = start(Limits::default());
    let held: Vec<TcpStream> = (0..1000).map(|_| connect(&server)).collect();
    for _ in 0..5 {
        probe(&server);
    }
    drop(held);
}

#[test]
fn without_room_the_health_is_answered_and_the_rest_is_told_to_come_again() {
    let server = start(Limits { connections_per_peer: 4, ..Limits::default() });
    // Nobody here waits for its client, so nobody can make room.
    let mut held: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
    for stream in &mut held {
        stream.write_all(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    }
    sleep(Duration::from_millis(300));
    probe(&server);
    let refused = get(&server, "/slow");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1\r\n"), "{refused}");
    // Those that are refused are bounded too, and none of them waits long.
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(&server)).collect();
    probe(&server);
    let begun = Instant::now();
    for mut stream in crowd {
        rest(&mut stream);
    }
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    held.clear();
}

#[test]
fn the_connection_that_has_waited_longest_makes_room() {
    let server = start(Limits { connections_per_peer: 3, ..Limits::default() });
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        held.push(connect(&server));
        sleep(Duration::from_millis(50));
    }
    // The oldest one does something.
    held[0].write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    held[0].read_exact(&mut [0; 16]).unwrap();
    sleep(Duration::from_millis(50));
    held.push(connect(&server));
    assert_eq!(rest(&mut held[1]), "", "the second one waited longest");
    for index in [0, 2, 3] {
        held[index].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while held[index].read(&mut [0; 64]).map(|read| assert_ne!(read, 0, "{index} was cut")).is_ok() {}
    }
}

#[test]
fn clients_that_are_slow_are_cut() {
    let server = start(small_times());
    for (what, sends) in [
        ("nothing at all", ""),
        ("half a head", "GET /healthz HTTP/1.1\r\nHos"),
        ("half a second head", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nGET /heal"),
        ("no second request", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("half a body", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345"),
        ("half a chunk", "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n1"),
    ] {
        let begun = Instant::now();
        let answer = ask(&server, sends);
        assert!(begun.elapsed() < LONG, "{what}");
        if what.contains("body") || what.contains("chunk") {
            assert!(answer.starts_with("HTTP/1.1 408 "), "{what}: {answer}");
        }
    }
}

#[test]
fn a_byte_now_and_then_does_not_lengthen_the_time_for_a_request() {
    let server = start(Limits { idle_time: LONG * 2, ..small_times() });
    for head in
        ["GET /healthz HTTP/1.1\r\nX: ", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n"]
    {
        let mut stream = connect(&server);
        stream.write_all(head.as_bytes()).unwrap();
        let begun = Instant::now();
        while stream.write_all(b"x").is_ok() {
            assert!(begun.elapsed() < LONG, "still open: {head}");
            sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn heads_and_bodies_have_a_size() {
    let server = start(Limits { body_bytes: 1000, ..Limits::default() });
    let post = |path: &str, more: &str, body: &str| {
        ask(&server, &format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{more}\r\n{body}"))
    };
    let large_header = format!("X: {}\r\n", "x".repeat(17 << 10));
    let many_headers = "X: x\r\n".repeat(200);
    let chunks = format!("3e8\r\n{}\r\n1\r\ny\r\n0\r\n\r\n", "x".repeat(1000));
    for (status, answer) in [
        (431, post("/echo", &large_header, "")),
        (431, post("/echo", &many_headers, "")),
        (200, post("/echo", "Content-Length: 1000\r\n", &"x".repeat(1000))),
        (413, post("/echo", "Content-Length: 1001\r\n", &"x".repeat(1001))),
        (431, post("/echo", "Content-Length: 18446744073709551614\r\n", "")),
        (413, post("/echo", "Transfer-Encoding: chunked\r\n", &chunks)),
        (413, post("/healthz", "Content-Length: 1001\r\n", "")),
        (200, post("/little", "Content-Length: 4\r\n", "1234")),
        (413, post("/little", "Content-Length: 5\r\n", "12345")),
        (413, post("/little", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n0\r\n\r\n")),
        (400, post("/echo", "Content-Length: x\r\n", "")),
        (431, get(&server, &format!("/{}", "x".repeat(70_000)))),
    ] {
        // A head that is still being sent when the server refuses it may cost the client the answer.
        let cut = answer.is_empty() && status == 431;
        assert!(cut || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

#[test]
fn a_connection_ends_after_so_many_requests() {
    let server = start(Limits { requests_per_connection: 3, ..Limits::default() });
    let answer = ask(&server, &"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10));
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    assert_eq!(answer.matches("connection: close\r\n").count(), 1, "{answer}");
}

#[test]
fn a_handler_that_panics_costs_one_answer() {
    let server = start(Limits::default());
    assert!(get(&server, "/panic").starts_with("HTTP/1.1 500 "));
    probe(&server);
}

#[test]
fn a_server_that_is_dropped_is_gone_soon() {
    let server = start(Limits::default());
    let address = server.address();
    let mut held = connect(&server);
    drop(server);
    rest(&mut held);
    let end = Instant::now() + LONG;
    while Listener::bind(address).is_err() {
        assert!(Instant::now() < end, "the address is still taken");
        sleep(Duration::from_millis(20));
    }
}
