//! No heap allocation per event: a run of two million lines makes hardly more allocations than one of one million, and
//! more rows per batch do not mean more allocations per batch.
//!
//! The whole pipeline runs in this process under a counting allocator; the server it writes to is a child process,
//! so that only flowstone's own allocations count.

#![allow(clippy::print_stdout)] // its own harness, and the address that the server tells

mod support;

use std::alloc::System;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flowstone_engine::{Outcome, RunOptions, run};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::flow_lines;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The first argument of this very program when it is to be the server.
const SERVER: &str = "--bulk-server";

fn main() {
    if std::env::args().nth(1).is_some_and(|argument| argument == SERVER) {
        serve();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start();
    flowstone::install_crypto();
    // The first run pays for what is made once: threads, regular expressions, the connection.
    allocations(folder.path(), &server.url, 100_000, 4096);

    let million = allocations(folder.path(), &server.url, 1_000_000, 4096);
    let two_million = allocations(folder.path(), &server.url, 2_000_000, 4096);
    let per_line = (two_million as f64 - million as f64) / 1e6;
    eprintln!(
        "allocations: {million} for 1,000,000 lines, {two_million} for 2,000,000: {per_line:.4} a line"
    );
    assert!(per_line <= 0.05, "{per_line} allocations a line, at most 0.05 expected");

    let per_batch = |rows: usize| {
        let (few, many) = (400_000, 800_000);
        let difference = allocations(folder.path(), &server.url, many, rows) as f64
            - allocations(folder.path(), &server.url, few, rows) as f64;
        difference / ((many - few) as f64 / rows as f64)
    };
    let (small, large) = (per_batch(1024), per_batch(4096));
    eprintln!("allocations per batch: {small:.1} of 1,024 rows, {large:.1} of 4,096 rows");
    assert!(large <= small * 1.25 + 5.0, "{large} allocations for 4,096 rows, {small} for 1,024");
    println!("test no_allocation_per_event ... ok\n\n1 passed, 0 failed");
}

/// How many allocations a run over so many lines makes.
fn allocations(folder: &Path, server: &str, lines: usize, batch_rows: usize) -> usize {
    let input = folder.join("flow.log");
    write_lines(&input, lines);
    std::fs::remove_dir_all(folder.join("state")).ok();
    let config = format!(
        r#"
data_dir = "{folder}/state"
batch.max_rows = {batch_rows}

[sources.in]
type = "file"
paths = ["{input}"]
follow = false

[transforms.ok]
type = "filter"
inputs = ["in"]
condition = '"OK" in [message]'

[transforms.flow]
type = "vpcflow"
inputs = ["ok"]

[sinks.es]
type = "elasticsearch"
inputs = ["flow"]
hosts = ["{server}"]
index = "vpcflowlogs-%{{+YYYY.MM.dd}}"
"#,
        folder = folder.display(),
        input = input.display()
    );
    let path = folder.join("flowstone.toml");
    std::fs::write(&path, config).expect("room on the disk");
    let topology = flowstone::load_topology(&path).expect("a valid configuration");
    let before = ALLOCATOR.stats();
    let outcome = run(topology, RunOptions { signals: false, ..RunOptions::default() });
    let stats = ALLOCATOR.stats();
    assert_eq!(outcome, Outcome::Finished);
    (stats.allocations + stats.reallocations) - (before.allocations + before.reallocations)
}

/// The same 100,000 lines over and over: their places in the file tell them apart.
fn write_lines(path: &Path, count: usize) {
    let lines = flow_lines(100_000.min(count));
    let mut file = BufWriter::new(File::create(path).expect("room on the disk"));
    for line in lines.iter().cycle().take(count) {
        writeln!(file, "{line}").expect("room on the disk");
    }
    file.flush().expect("room on the disk");
}

// --- the server

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(SERVER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("its address");
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn serve() -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || connection(stream).ok());
        }
    });
    // Ends with the test, in whatever way that ends.
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).ok();
    std::process::exit(0);
}

fn connection(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut length, mut bulk, mut first) = (0, false, true);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if std::mem::replace(&mut first, false) {
                bulk = line.contains("_bulk");
            }
            let header = line.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            assert!(!header.starts_with("transfer-encoding"), "bodies come with their length");
            if header.is_empty() {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let body = if bulk { r#"{"took":1,"errors":false}"# } else { r#"{"version":{"number":"7.17.0"}}"# };
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}
