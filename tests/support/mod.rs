//! What the whole-binary tests share: the program as a child process, flow-log lines of our own making, and an
//! independent slow rendering of the document that each line must become.
#![allow(dead_code)] // each test file uses its part

pub(crate) mod documents;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flowstone_testkit::http::{Client, FakeServer, Reply, Request};
use serde_json::{Map, Value, json};

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_flowstone"))
}

/// A running flowstone; killed when dropped.
pub(crate) struct Flowstone {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Flowstone {
    /// `flowstone run -c CONFIG` in `folder`.
    pub(crate) fn run(folder: &Path, config: &str) -> Self {
        let path = folder.join("flowstone.toml");
        std::fs::write(&path, config).expect("the configuration can be written");
        let mut command = Command::new(binary());
        command.args(["run", "-c"]).arg(&path).current_dir(folder);
        Self::start(command)
    }

    /// Starts a prepared command; its standard error is collected.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("flowstone starts");
        let log: Arc<Mutex<String>> = Arc::default();
        let stderr = child.stderr.take().expect("piped");
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().expect("not poisoned");
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Sends a signal by its name (`TERM`, `HUP`).
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end; fails the test if that does not come.
    #[track_caller]
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < end, "still running after {within:?}; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end and expects exit code 0.
    #[track_caller]
    pub(crate) fn finish(&mut self, within: Duration) {
        let status = self.wait(within);
        assert!(status.success(), "{status}; its log:\n{}", self.log());
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// What it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// Waits for what must come while it runs; its log tells why it does not.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, within: Duration, is_so: impl Fn() -> bool) {
        let end = Instant::now() + within;
        while !is_so() {
            assert!(!self.ended() && Instant::now() < end, "never: {what}; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until its log contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, text: &str, within: Duration) {
        let end = Instant::now() + within;
        while !self.log().contains(text) {
            assert!(!self.ended() && Instant::now() < end, "no {text:?} in its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Flowstone {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command to its end with this standard input: exit code, standard output, standard error.
pub(crate) fn pipe(arguments: &[&str], folder: &Path, input: &[u8]) -> (i32, String, String) {
    use std::io::Write;
    let mut child = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("flowstone starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
    let mut stderr = child.stderr.take().expect("piped");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).ok();
        text
    });
    let mut output = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut output).expect("standard output is UTF-8");
    let status = child.wait().expect("it ends");
    writer.join().ok();
    (status.code().unwrap_or(-1), output, errors.join().expect("a reader"))
}

/// `flowstone run -c flowstone.toml` in `folder`, for a test that feeds or reads it piece by piece.
pub(crate) fn run_piped(folder: &Path) -> Child {
    Command::new(binary())
        .args(["run", "-c", "flowstone.toml"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("flowstone starts")
}

/// The most memory that a process ever had; of one that has ended nothing is known.
pub(crate) fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.split_whitespace().next()?.parse().ok()
}

/// An Elasticsearch of which only the answers to bulk requests matter.
pub(crate) fn bulk_server(answer: impl Fn(&Request) -> Reply + Send + 'static) -> FakeServer {
    FakeServer::start(move |request| match request.path_only() {
        "/" => Reply::json(200, r#"{"version":{"number":"7.17.0"}}"#),
        _ if request.is_bulk() => answer(request),
        _ => Reply::json(200, r#"{"acknowledged":true}"#),
    })
}

/// The answer to a bulk request of which every row is taken.
pub(crate) fn taken() -> Reply {
    Reply::json(200, r#"{"took":1,"errors":false}"#)
}

/// A port of 127.0.0.1 that is free at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// The sum of a metric over all its labels, from the endpoint on this port; 0 while it does not answer.
pub(crate) fn metric(port: u16, name: &str) -> f64 {
    metric_of(port, name, "")
}

/// [`metric`] of those with this text among their labels.
pub(crate) fn metric_of(port: u16, name: &str, label: &str) -> f64 {
    let Ok(client) = Client::new(&format!("http://127.0.0.1:{port}")) else { return 0.0 };
    let Ok(reply) = client.request("GET", "/metrics", &[], b"") else { return 0.0 };
    let lines = reply
        .body
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter(|line| line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The conservation law, from the endpoint: received + created = sent + discarded + rejected + in flight.
#[track_caller]
pub(crate) fn assert_conserved(port: u16) {
    let client = Client::new(&format!("http://127.0.0.1:{port}")).expect("an address");
    let text = client.get("/metrics").ok().body;
    let mut sums: std::collections::BTreeMap<String, [f64; 2]> = Default::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let side = match name {
            "flowstone_component_received_events_total" | "flowstone_component_created_events_total" => 0,
            "flowstone_component_sent_events_total"
            | "flowstone_component_discarded_events_total"
            | "flowstone_component_rejected_events_total"
            | "flowstone_component_events_in_flight" => 1,
            _ => continue,
        };
        let component = rest.split("component_type").next().expect("labels").to_owned();
        let value: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a value");
        sums.entry(component).or_default()[side] += value;
    }
    assert!(!sums.is_empty(), "components were counted:\n{text}");
    for (component, [came, went]) in sums {
        assert_eq!(came, went, "{component}: received + created = sent + discarded + rejected + in flight");
    }
}

/// Version 2 flow-log lines, deterministic, no two alike: accepted and rejected flows of three days.
pub(crate) fn flow_lines(count: usize) -> Vec<String> {
    // 2026-05-30T00:00:00Z and on, so that three daily indices come about.
    flow_lines_of(count, 0, 1_780_099_200, 3 * 86_400)
}

/// Lines like those of [`flow_lines`], with interfaces numbered from `first`, that begin in the `span_s` seconds from
/// `from_s` on (seconds since the epoch), ascending.
pub(crate) fn flow_lines_of(count: usize, first: u64, from_s: u64, span_s: u64) -> Vec<String> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    (0..count)
        .map(|number| {
            let start = from_s + (number as u64 * span_s) / count as u64;
            let (packets, action) = (1 + random(5000), if random(7) == 0 { "REJECT" } else { "ACCEPT" });
            format!(
                "2 {} eni-{:017x} 10.{}.{}.{} {}.{}.{}.{} {} {} {} {packets} {} {start} {} {action} OK",
                123_456_789_000 + random(4),
                first + number as u64,
                random(4),
                random(256),
                1 + random(254),
                11 + random(150),
                random(256),
                random(256),
                1 + random(254),
                1024 + random(64_000),
                [443, 80, 22, 53, 3306][random(5) as usize],
                [6, 17][random(2) as usize],
                packets * (40 + random(1400)),
                start + 1 + random(600),
            )
        })
        .collect()
}

/// What a version 2 line becomes with AWS's field names: split at blanks, typed by the table of AWS's documentation.
/// Nothing of flowstone is used for it.
pub(crate) fn expected_document(line: &str) -> Value {
    const NAMES: [&str; 14] = [
        "version",
        "account-id",
        "interface-id",
        "srcaddr",
        "dstaddr",
        "srcport",
        "dstport",
        "protocol",
        "packets",
        "bytes",
        "start",
        "end",
        "action",
        "log-status",
    ];
    const TEXTS: [&str; 6] = ["account-id", "interface-id", "srcaddr", "dstaddr", "action", "log-status"];
    let mut document = Map::new();
    for (name, word) in NAMES.iter().zip(line.split_whitespace()) {
        let value = match word {
            "-" => continue,
            word if TEXTS.contains(name) => json!(word),
            word => json!(word.parse::<i64>().expect("a number")),
        };
        document.insert((*name).to_owned(), value);
    }
    let start = document["start"].as_i64().expect("a start");
    document.insert("@timestamp".to_owned(), json!(iso(start)));
    Value::Object(document)
}

/// Seconds since the epoch as `2026-05-30T00:00:00.000Z`, by counting days.
pub(crate) fn iso(seconds: i64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!(
        "{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        month + 1,
        days + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The daily index of a line.
pub(crate) fn index_of(document: &Value) -> String {
    let day = &document["@timestamp"].as_str().expect("a timestamp")[..10];
    format!("vpcflowlogs-{}", day.replace('-', "."))
}

/// `../shared`, or `None` (said in one line) where the folder is absent.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("FLOWSTONE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = base.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("left out what needs {}: the folder is absent", path.display());
    None
}
