//! The whole program, measured from outside, beside the hand-written floor: `cargo bench --bench end_to_end`.
//!
//! The program is built as `dist` builds it. The unit is CPU-seconds (user + system of the whole process) per million
//! input lines, for wall time on a shared machine says little. 2,000,000 generated lines go through file, filter,
//! `vpcflow` and the Elasticsearch sink into a server that answers and counts; `floor` does the same work by hand on
//! one thread without validation, retry or acknowledgements, in the same minutes. Three runs each, the median is
//! printed; of each run 10,000 documents are compared with a slow rendering by serde_json that shares nothing with
//! flowstone.
//!
//! The tools (`gen`, `nullbulk`, `floor`) come from `../shared/bench`, or ready-built from `FLOWSTONE_BENCH_TOOLS`.
//! `FLOWSTONE_CITY_DB=FILE` adds the rows with GeoIP. `FLOWSTONE_BENCH_LINES` and `FLOWSTONE_BENCH_RUNS` change the size.
//!
//! The second table is `grok` instead of `vpcflow`, on the seed's pattern and on others, with the factor to what Vector's
//! `parse_grok` costs on the seed's (14.4).
//!
//! The last row is a day of a busy log group, 10,000,000 events (`FLOWSTONE_BENCH_EVENTS`), read by `flowstone backfill`
//! out of testkit's CloudWatch Logs over HTTP, at the service's quota, into the same server. Every event is counted; the
//! peak of memory must stay under 100 MB and the checkpoint under 1 MB a second.
#![allow(clippy::print_stdout)] // a table for people is what this is for

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flowstone_aws::FlowLog;
use flowstone_testkit::cloudwatch::{Behaviour, FlowTraffic, ServerOptions, SimulatedLogs, SimulatedServer};
use flowstone_testkit::http::Client;
use flowstone_testkit::mmdb::logstash_object;
use serde_json::{Value, json};
use support::{binary, expected_document, free_port};

/// What one run of a program cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu_seconds: f64,
    peak_mb: f64,
    /// What it wrote to files in its busiest second, in thousands of bytes.
    written_kb: f64,
}

struct Bench {
    tools: PathBuf,
    folder: tempfile::TempDir,
    lines: usize,
    runs: usize,
}

fn main() {
    let Some(tools) = tools() else {
        println!("left out: the bench tools are neither in FLOWSTONE_BENCH_TOOLS nor in ../shared/bench");
        return;
    };
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let bench = Bench {
        tools,
        folder: tempfile::tempdir().expect("a folder for temporary files"),
        lines: number("FLOWSTONE_BENCH_LINES", 2_000_000),
        runs: number("FLOWSTONE_BENCH_RUNS", 3),
    };
    let clean = bench.generate("clean.log", false);
    let dirty = bench.generate("malformed.log", true);
    println!("{} lines, median of {} runs, CPU-seconds per million lines\n", bench.lines, bench.runs);
    println!("| what | CPU-s/M | x floor | peak MB |");
    println!("|---|---|---|---|");
    let floor = bench.row("floor", None, || bench.floor(&clean, None));
    bench.row("flowstone: file, filter, vpcflow, elasticsearch", Some(floor), || {
        bench.flowstone(&clean, Kind::Plain)
    });
    bench.row("the same, 1 % malformed lines", Some(floor), || bench.flowstone(&dirty, Kind::Plain));
    match std::env::var_os("FLOWSTONE_CITY_DB").map(PathBuf::from) {
        Some(database) => {
            let floor = bench.row("floor with GeoIP, cached", None, || bench.floor(&clean, Some(&database)));
            let kind = || Kind::GeoIp(fs::canonicalize(&database).expect("the database is there"));
            bench.row("flowstone with geoip on both addresses", Some(floor), || {
                bench.flowstone(&clean, kind())
            });
        }
        None => println!("\nleft out: the rows with GeoIP (FLOWSTONE_CITY_DB is not set)"),
    }
    bench.grok_rows(&clean);
    bench.backfill(number("FLOWSTONE_BENCH_EVENTS", 10_000_000));
}

enum Kind {
    Plain,
    GeoIp(PathBuf),
}

impl Bench {
    fn row(&self, what: &str, floor: Option<f64>, run: impl Fn() -> Cost) -> f64 {
        let (median, peak) = self.median(run);
        let ratio = floor.map_or_else(|| "1.00".to_owned(), |floor| format!("{:.2}", median / floor));
        println!("| {what} | {median:.3} | {ratio} | {peak:.0} |");
        median
    }

    /// The median of CPU-seconds per million lines, and the highest peak.
    fn median(&self, run: impl Fn() -> Cost) -> (f64, f64) {
        let mut costs: Vec<Cost> = (0..self.runs).map(|_| run()).collect();
        costs.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
        let median = costs[costs.len() / 2].cpu_seconds * 1e6 / self.lines as f64;
        (median, costs.iter().map(|cost| cost.peak_mb).fold(0.0, f64::max))
    }

    /// `gen`'s lines; every hundredth spoilt if `malformed`.
    fn generate(&self, name: &str, malformed: bool) -> PathBuf {
        let path = self.folder.path().join(name);
        let made = self.folder.path().join("generated");
        run(Command::new(self.tools.join("gen")).args([&self.lines.to_string(), "42"]).arg(&made));
        if !malformed {
            fs::rename(&made, &path).expect("a file can be renamed");
            return path;
        }
        let mut out = BufWriter::new(fs::File::create(&path).expect("a file can be made"));
        for (number, line) in BufReader::new(fs::File::open(&made).expect("just made")).lines().enumerate() {
            let line = line.expect("text");
            let spoilt = match number % 300 {
                0 => line.replacen(' ', " x ", 3),
                100 => line.replace("OK", "OK OK"),
                200 => format!("{} OK", &line[..line.len() / 2]),
                _ => line,
            };
            writeln!(out, "{spoilt}").expect("room on the disk");
        }
        out.flush().expect("room on the disk");
        fs::remove_file(made).expect("just made");
        path
    }

    fn floor(&self, lines: &Path, database: Option<&Path>) -> Cost {
        let server = NullBulk::start(&self.tools, None);
        let mut command = Command::new(self.tools.join("floor"));
        command.arg(lines).args(["bulk", &server.address]);
        if let Some(database) = database {
            command.arg(database).args(["5000", "cache"]);
        }
        measure(command.stdout(Stdio::null()))
    }

    fn flowstone(&self, lines: &Path, kind: Kind) -> Cost {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let sample = folder.path().join("sample");
        let server = NullBulk::start(&self.tools, Some(&sample));
        let (geoip, last) = match &kind {
            Kind::Plain => (String::new(), "flow"),
            Kind::GeoIp(database) => {
                let transform = |name: &str, input: &str, source: &str, target: &str| {
                    format!(
                        "[transforms.{name}]\ntype = \"geoip\"\ninputs = [\"{input}\"]\ndatabase = \"{}\"\n\
                         source = \"{source}\"\ntarget = \"{target}\"\ntag_on_failure = [\"{target}_lookup_failure\"]\n\n",
                        database.display()
                    )
                };
                let both = transform("src", "flow", "srcaddr", "src_geoip")
                    + &transform("dst", "src", "dstaddr", "dst_geoip");
                (both, "dst")
            }
        };
        let config = format!(
            r#"
data_dir = "state"

[sources.in]
type = "file"
paths = ["{lines}"]
follow = false

[transforms.ok]
type = "filter"
inputs = ["in"]
condition = '"OK" in [message]'

[transforms.flow]
type = "vpcflow"
inputs = ["ok"]

{geoip}
[sinks.es]
type = "elasticsearch"
inputs = ["{last}"]
hosts = ["http://{address}"]
index = "vpcflowlogs-%{{+YYYY.MM.dd}}"

[sinks.dead]
type = "file"
inputs = ["in.rejected", "ok.rejected", "flow.rejected", "es.rejected"]
path = "dead-%{{+YYYY-MM-dd}}.ndjson"
"#,
            lines = lines.display(),
            address = server.address
        );
        fs::write(folder.path().join("flowstone.toml"), config).expect("room on the disk");
        let mut command = Command::new(binary());
        command.args(["run", "-c", "flowstone.toml"]).current_dir(folder.path()).stdin(Stdio::null());
        let cost = measure(&mut command);
        server.check(lines, &sample, &kind);
        cost
    }
}

/// What Vector 0.57 costs with `parse_grok` on the seed's pattern, in CPU-seconds per million lines (README.md).
const VECTOR_PARSE_GROK: f64 = 14.4;

const SEED_PATTERN: &str = "%{NUMBER:version} %{NOTSPACE:account-id} %{NOTSPACE:interface-id} %{IP:srcaddr} \
    %{IP:dstaddr} %{NOTSPACE:srcport} %{NOTSPACE:dstport} %{NOTSPACE:protocol} %{NUMBER:packets:float} \
    %{NUMBER:bytes:float} %{NOTSPACE:start} %{NOTSPACE:end} %{NOTSPACE:action} %{NOTSPACE:log-status}";

const TWENTY_COLUMNS: &str = "%{WORD:verdict} %{INT:first:int} %{INT:last:int} %{IP:client} %{NONNEGINT:client_port:int} \
    %{IP:server} %{NONNEGINT:server_port:int} %{NOTSPACE:vpc} %{NOTSPACE:subnet} %{NOTSPACE:instance} %{NOTSPACE:eni} \
    %{WORD:family} %{NUMBER:octets:int} %{NUMBER:frames:int} %{NONNEGINT:flags:int} %{NOTSPACE:region} \
    %{NOTSPACE:zone} (?:-|%{NOTSPACE:service}) %{WORD:direction} %{NOTSPACE:status}";

const VERSION_5_REST: &str = " %{NOTSPACE:vpc-id} %{NOTSPACE:subnet-id} %{NOTSPACE:instance-id} %{NOTSPACE:tcp-flags} \
    %{NOTSPACE:type} %{IP:pkt-srcaddr} %{IP:pkt-dstaddr} %{NOTSPACE:region} %{NOTSPACE:az-id} \
    %{NOTSPACE:sublocation-type} %{NOTSPACE:sublocation-id} %{NOTSPACE:pkt-src-aws-service} \
    %{NOTSPACE:pkt-dst-aws-service} %{NOTSPACE:flow-direction} %{NOTSPACE:traffic-path}";

impl Bench {
    /// `grok` on several patterns, each on lines of its own.
    fn grok_rows(&self, clean: &Path) {
        println!("\n| `grok` instead of `vpcflow` | CPU-s/M | Vector's 14.4 / this | peak MB |");
        println!("|---|---|---|---|");
        let version_5 = format!("{SEED_PATTERN}{VERSION_5_REST}");
        let seed = |_: usize, line: &str| line.to_owned();
        type Line = fn(usize, &str) -> String;
        let rows: [(&str, &str, Line); 4] = [
            ("the seed's pattern", SEED_PATTERN, seed),
            ("the same, one line in ten does not match", SEED_PATTERN, |number, line| match number % 10 {
                3 => format!("{} - - - - - - - - - - NODATA", &line[..20]),
                _ => line.to_owned(),
            }),
            ("20 columns, other names and order", TWENTY_COLUMNS, twenty_columns),
            ("version 5, 29 columns", &version_5, version_5_line),
        ];
        for (name, pattern, line) in rows {
            let path = self.folder.path().join("grok.log");
            let mut out = BufWriter::new(fs::File::create(&path).expect("a file can be made"));
            let lines =
                BufReader::new(fs::File::open(clean).expect("the lines")).lines().map_while(Result::ok);
            for (number, text) in lines.enumerate() {
                writeln!(out, "{}", line(number, &text)).expect("room on the disk");
            }
            out.flush().expect("room on the disk");
            let (median, peak) = self.median(|| self.grok(&path, pattern));
            println!("| {name} | {median:.3} | {:.1} | {peak:.0} |", VECTOR_PARSE_GROK / median);
        }
    }

    fn grok(&self, lines: &Path, pattern: &str) -> Cost {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let sample = folder.path().join("sample");
        let server = NullBulk::start(&self.tools, Some(&sample));
        let config = format!(
            r#"
data_dir = "state"

[sources.in]
type = "file"
paths = ["{lines}"]
follow = false

[transforms.grok]
type = "grok"
inputs = ["in"]
match = {{ message = '{pattern}' }}

[sinks.es]
type = "elasticsearch"
inputs = ["grok"]
hosts = ["http://{address}"]
index = "vpcflowlogs"
"#,
            lines = lines.display(),
            address = server.address
        );
        fs::write(folder.path().join("flowstone.toml"), config).expect("room on the disk");
        let mut command = Command::new(binary());
        command.args(["--log-level", "error", "run", "-c", "flowstone.toml"]);
        let cost = measure(command.current_dir(folder.path()).stdin(Stdio::null()));
        let stored = BTreeMap::from([("vpcflowlogs".to_owned(), self.lines as u64)]);
        assert_eq!(server.indices(), stored, "every line is a document");
        // What was matched has its fields, and what was not has the tag.
        let text = fs::read_to_string(sample).expect("the first bodies");
        let documents = || text.lines().filter(|line| line.contains("\"message\":"));
        let failed = documents().filter(|line| line.contains("_grokparsefailure")).count();
        let silent = |line: &&str| line.contains("NODATA") || line.contains("SKIPDATA");
        let expected = documents().filter(silent).count();
        assert!(documents().count() > 1000);
        assert_eq!(failed, expected);
        assert!(
            documents().filter(|line| line.contains("eni-") && line.matches("\":").count() > 14).count()
                > 1000
        );
        cost
    }
}

/// The record as a line of another make: twenty columns.
fn twenty_columns(_: usize, line: &str) -> String {
    let f: Vec<&str> = line.split(' ').collect();
    format!(
        "{} {} {} {} {} {} {} vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 {} IPv4 {} {} 3 \
         us-east-1 use1-az4 - egress {}",
        f[12], f[10], f[11], f[3], f[5], f[4], f[6], f[2], f[9], f[8], f[13]
    )
}

/// The record as one of version 5.
fn version_5_line(_: usize, line: &str) -> String {
    let f: Vec<&str> = line.split(' ').collect();
    format!(
        "5{} vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 3 IPv4 {} {} us-east-1 use1-az4 - - \
         AMAZON - egress 8",
        &line[1..],
        f[3],
        f[4]
    )
}

const DAY_MS: i64 = 86_400_000;
/// 2026-05-30T00:00:00Z.
const BUSY_DAY_MS: i64 = 1_780_099_200_000;

impl Bench {
    /// A day of `events` events in us-east-1, whose quota is the largest.
    fn backfill(&self, events: usize) {
        let traffic = FlowTraffic { per_second: events as f64 / 86_400.0, ..FlowTraffic::default() };
        let service =
            SimulatedLogs::new(Behaviour { region: "us-east-1".to_owned(), ..Behaviour::default() });
        let made = traffic.made(BUSY_DAY_MS, BUSY_DAY_MS + DAY_MS);
        service.create_made_group("/vpc/flow", traffic.stream_names(), made);
        let flow_log = FlowLog {
            id: "fl-1".to_owned(),
            format: String::new(),
            aggregation_s: 60,
            created_ms: Some(BUSY_DAY_MS),
        };
        service.set_flow_logs("/vpc/flow", vec![flow_log]);
        let options = ServerOptions { latency: Duration::from_millis(100), ..ServerOptions::default() };
        let aws = SimulatedServer::with(&service, options).expect("a free port");
        let server = NullBulk::start(&self.tools, None);
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let config = format!(
            r#"
data_dir = "state"

[sources.in]
type = "cloudwatch_logs"
log_groups = ["/vpc/flow"]

[transforms.flow]
type = "vpcflow"
inputs = ["in"]
remove_field = ["cloudwatch_logs"]

[sinks.es]
type = "elasticsearch"
inputs = ["flow"]
hosts = ["http://{address}"]
index = "vpcflowlogs-%{{+YYYY.MM.dd}}"

[sinks.dead]
type = "file"
inputs = ["flow.rejected", "es.rejected"]
path = "dead-%{{+YYYY-MM-dd}}.ndjson"
"#,
            address = server.address
        );
        fs::write(folder.path().join("flowstone.toml"), config).expect("room on the disk");
        let mut command = Command::new(binary());
        command.args(["backfill", "-c", "flowstone.toml", "--from", "2026-05-30", "--to", "2026-05-31"]);
        command.current_dir(folder.path()).stdin(Stdio::null()).envs(aws.environment());
        let began = Instant::now();
        let cost = measure(&mut command);
        let took = began.elapsed().as_secs_f64();
        let expected = traffic.count(BUSY_DAY_MS, BUSY_DAY_MS + DAY_MS);
        let stored: u64 = server.indices().values().sum();
        assert_eq!(stored, expected, "every event is stored once");
        let pages = service.calls().pages;
        println!(
            "| flowstone backfill: cloudwatch_logs, vpcflow, elasticsearch | {:.3} | | {:.0} |",
            cost.cpu_seconds * 1e6 / expected as f64,
            cost.peak_mb
        );
        println!(
            "\n{expected} events of a day in {took:.0} s with {pages} requests ({:.1} a second); at most {:.0} kB of \
             checkpoint in a second",
            pages as f64 / took,
            cost.written_kb
        );
        assert!(cost.peak_mb < 100.0 && cost.written_kb < 1000.0, "{cost:?}");
    }
}

/// The counting server.
struct NullBulk {
    child: Child,
    address: String,
}

impl NullBulk {
    fn start(tools: &Path, sample: Option<&Path>) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(tools.join("nullbulk"));
        command.arg(&address).stdout(Stdio::null());
        if let Some(sample) = sample {
            command.env("NULLBULK_SAMPLE", sample).env("NULLBULK_SAMPLE_N", "4");
        }
        let child = command.spawn().expect("nullbulk starts");
        let client = Client::new(&format!("http://{address}")).expect("an address");
        let end = Instant::now() + Duration::from_secs(10);
        while client.request("GET", "/__stats", &[], b"").is_err() {
            assert!(Instant::now() < end, "nullbulk does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }

    /// The documents of each index.
    fn indices(&self) -> BTreeMap<String, u64> {
        let client = Client::new(&format!("http://{}", self.address)).expect("an address");
        let stats = client.get("/__stats").ok().json();
        let indices = stats["indices"].as_object().expect("indices").iter();
        indices.map(|(index, count)| (index.clone(), count.as_u64().expect("a count"))).collect()
    }

    /// Every line that must be a document is one, in its daily index, and the first ones are right field by field.
    fn check(&self, lines: &Path, sample: &Path, kind: &Kind) {
        let mut per_index: BTreeMap<String, u64> = BTreeMap::new();
        let mut by_text: BTreeMap<String, Value> = BTreeMap::new();
        for line in BufReader::new(fs::File::open(lines).expect("the lines")).lines().map_while(Result::ok) {
            if !line.contains("OK")
                || line.split_whitespace().count() != 14
                || line.split_whitespace().any(|word| word == "x")
            {
                continue;
            }
            let start: i64 =
                line.split_whitespace().nth(10).and_then(|word| word.parse().ok()).expect("a start");
            *per_index
                .entry(format!("vpcflowlogs-{}", support::iso(start)[..10].replace('-', ".")))
                .or_default() += 1;
            if by_text.len() < 40_000 {
                let document = expected_document(&line);
                by_text.insert(identity(&document), document);
            }
        }
        assert_eq!(self.indices(), per_index, "documents per index");

        let database = match kind {
            Kind::Plain => None,
            Kind::GeoIp(path) => Some(maxminddb::Reader::open_readfile(path).expect("a database")),
        };
        let text = fs::read_to_string(sample).expect("the first bodies");
        let mut compared = 0;
        for line in text.lines().filter(|line| line.starts_with('{') && !line.starts_with("{\"create\"")) {
            let mut document: Value = serde_json::from_str(line).expect("a document is JSON");
            if let Some(database) = &database {
                let located = take_places(&mut document);
                assert_eq!(located, expected_places(&document, database));
            }
            if let Some(wanted) = by_text.get(&identity(&document)) {
                assert_eq!(document, *wanted);
                compared += 1;
            }
        }
        assert!(compared >= 10_000.min(by_text.len() / 2), "only {compared} documents were compared");
    }
}

/// Takes out what the two `geoip` transforms have written.
fn take_places(document: &mut Value) -> [Option<Value>; 3] {
    let fields = document.as_object_mut().expect("an object");
    ["src_geoip", "dst_geoip", "tags"].map(|name| fields.remove(name))
}

/// The same, rendered the slow way.
fn expected_places(document: &Value, database: &maxminddb::Reader<Vec<u8>>) -> [Option<Value>; 3] {
    let mut tags = Vec::new();
    let mut place = |source: &str, target: &str| {
        let ip = document[source].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
        let record: Option<Value> = database.lookup(ip).and_then(|found| found.decode()).expect("a database");
        let object = record.and_then(|record| logstash_object(&record, ip, false));
        if object.is_none() {
            tags.push(format!("{target}_lookup_failure"));
        }
        Some(object.unwrap_or_else(|| json!({})))
    };
    let places = [place("srcaddr", "src_geoip"), place("dstaddr", "dst_geoip")];
    let [source, destination] = places;
    [source, destination, (!tags.is_empty()).then(|| json!(tags))]
}

/// What tells a line from the others: interface, addresses, ports, counters, times.
fn identity(document: &Value) -> String {
    ["interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "packets", "bytes", "start", "end"]
        .map(|name| document[name].to_string())
        .join(" ")
}

impl Drop for NullBulk {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command to its end: user + system time of the process, and its peak memory.
fn measure(command: &mut Command) -> Cost {
    let before = children_cpu();
    let mut child = command.spawn().expect("the program starts");
    let status_file = format!("/proc/{}/status", child.id());
    let io_file = format!("/proc/{}/io", child.id());
    let mut peak_kb: f64 = 0.0;
    let (mut second, mut written, mut written_kb) = (Instant::now(), 0.0, 0.0f64);
    let status = loop {
        // The high-water mark only rises: what is seen last is the peak but for the final milliseconds.
        if let Ok(text) = fs::read_to_string(&status_file)
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:"))
            && let Some(kb) = line.split_whitespace().nth(1).and_then(|word| word.parse().ok())
        {
            peak_kb = peak_kb.max(kb);
        }
        if second.elapsed() >= Duration::from_secs(1) {
            second = Instant::now();
            let now = written_by(&io_file).unwrap_or(written);
            written_kb = written_kb.max((now - written) / 1000.0);
            written = now;
        }
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
    Cost { cpu_seconds: children_cpu() - before, peak_mb: peak_kb / 1024.0, written_kb }
}

/// Bytes that a process has given to file systems to store (`man 5 proc`: `write_bytes`), in whole pages.
fn written_by(io_file: &str) -> Option<f64> {
    let text = fs::read_to_string(io_file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// User + system seconds of all children that have been waited for (`man 5 proc`: `cutime` and `cstime`, in clock
/// ticks of a hundredth of a second on Linux).
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a command").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(13) + ticks(14)) / 100.0
}

fn tools() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("FLOWSTONE_BENCH_TOOLS") {
        return Some(folder.into());
    }
    let manifest = support::shared("bench/Cargo.toml")?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-tools");
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target));
    Some(target.join("release"))
}

fn run(command: &mut Command) {
    let status = command.status().expect("the tool starts");
    assert!(status.success(), "{command:?}: {status}");
}
