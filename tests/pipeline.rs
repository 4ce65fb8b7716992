//! The program as a user meets it: pipes, exit codes, signals, reload, the metrics endpoint, one process per folder.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use flowstone_testkit::http::{Client, FakeServer, Reply};
use serde_json::Value;
use support::{
    Flowstone, assert_conserved, bulk_server, expected_document, flow_lines, free_port, metric, pipe,
    run_piped, taken,
};

const SOON: Duration = Duration::from_secs(30);

const STDIN_TO_CONSOLE: &str = r#"
[sources.in]
type = "stdin"

[transforms.flow]
type = "vpcflow"
inputs = ["in"]

[sinks.out]
type = "console"
inputs = ["flow"]
encoding = "json"
"#;

fn write(folder: &Path, config: &str) {
    fs::write(folder.join("flowstone.toml"), config).unwrap();
}

fn append_lines(path: &Path, lines: &[String]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn lines_on_standard_input_become_documents_on_standard_output_and_nothing_else() {
    let folder = folder();
    write(folder.path(), STDIN_TO_CONSOLE);
    let lines = flow_lines(10_000);
    let (code, output, log) =
        pipe(&["run", "-c", "flowstone.toml"], folder.path(), (lines.join("\n") + "\n").as_bytes());
    assert_eq!(code, 0, "{log}");
    let documents: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), lines.len());
    for (document, line) in documents.iter().zip(&lines) {
        assert_eq!(*document, expected_document(line), "in the order of the input");
    }
}

#[test]
fn a_configuration_on_standard_input_is_read_too() {
    let folder = folder();
    fs::write(folder.path().join("in.log"), flow_lines(10).join("\n") + "\n").unwrap();
    let config =
        STDIN_TO_CONSOLE.replace("type = \"stdin\"", "type = \"file\"\npaths = [\"in.log\"]\nfollow = false");
    let (code, output, log) = pipe(&["run", "-c", "-"], folder.path(), config.as_bytes());
    assert_eq!((code, output.lines().count()), (0, 10), "{log}");
}

#[test]
fn a_configuration_with_mistakes_ends_with_78_and_names_them_all() {
    let folder = folder();
    write(
        folder.path(),
        r#"
[sources.in]
type = "fil"

[transforms.flow]
type = "vpcflow"
inputs = ["inn"]
keep_messages = true

[sinks.out]
type = "elasticsearch"
inputs = ["flow"]
hosts = 5
flush_secs = 5
"#,
    );
    let (code, output, log) = pipe(&["run", "-c", "flowstone.toml"], folder.path(), b"");
    assert_eq!(code, 78);
    assert_eq!(output, "");
    for part in ["fil", "did you mean", "inn", "keep_messages", "flush_secs", "hosts", "flowstone.toml:3:"] {
        assert!(log.contains(part), "{part} in\n{log}");
    }
    let (code, ..) = pipe(&["validate", "-c", "flowstone.toml"], folder.path(), b"");
    assert_eq!(code, 78);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_with_0() {
    let folder = folder();
    write(folder.path(), &STDIN_TO_CONSOLE.replace("type = \"stdin\"", "type = \"demo\""));
    let mut child = run_piped(folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..10 {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap();
    }
    drop(lines);
    let end = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            break;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("still running");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server that takes everything, or nothing while `busy` says so.
fn server_that_is(busy: impl Fn() -> bool + Send + 'static) -> FakeServer {
    bulk_server(move |_| if busy() { Reply::busy() } else { taken() })
}

fn to_server(url: &str, port: u16) -> String {
    format!(
        r#"
data_dir = "state"
shutdown_timeout = "1s"

[metrics]
listen = "127.0.0.1:{port}"

[sources.in]
type = "file"
paths = ["*.log"]

[transforms.flow]
type = "vpcflow"
inputs = ["in"]

[sinks.es]
type = "elasticsearch"
inputs = ["flow"]
hosts = ["{url}"]
index = "vpcflowlogs-%{{+YYYY.MM.dd}}"
flush_interval = "20ms"
"#
    )
}

fn bulk_documents(server: &FakeServer) -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    for request in server.bulks() {
        let lines = request.ndjson();
        for pair in lines.chunks(2) {
            documents.push((pair[0]["create"]["_id"].as_str().unwrap().to_owned(), pair[1].clone()));
        }
    }
    documents
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_stop_delivers_commits_and_a_new_start_goes_on_behind_it() {
    let folder = folder();
    let server = server_that_is(|| false);
    let lines = flow_lines(3000);
    fs::write(folder.path().join("a.log"), lines[..2000].join("\n") + "\n").unwrap();
    let port = free_port();
    let mut running = Flowstone::run(folder.path(), &to_server(&server.url(), port));
    wait_for("2000 documents", || bulk_documents(&server).len() == 2000);
    assert_conserved(port);
    running.signal("TERM");
    running.finish(SOON);
    fs::write(folder.path().join("a.log"), lines.join("\n") + "\n").unwrap();
    let mut running = Flowstone::run(folder.path(), &to_server(&server.url(), port));
    wait_for("3000 documents", || bulk_documents(&server).len() >= 3000);
    running.signal("INT");
    running.finish(SOON);
    let documents = bulk_documents(&server);
    assert_eq!(documents.len(), 3000, "nothing is sent again");
}

#[test]
fn what_cannot_be_delivered_in_time_ends_with_1_and_comes_again_with_the_same_ids() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = folder();
    let busy = Arc::new(AtomicBool::new(true));
    let is_busy = Arc::clone(&busy);
    let server = server_that_is(move || is_busy.load(Ordering::SeqCst));
    let lines = flow_lines(100);
    fs::write(folder.path().join("a.log"), lines.join("\n") + "\n").unwrap();
    let port = free_port();
    let mut running = Flowstone::run(folder.path(), &to_server(&server.url(), port));
    wait_for("a refused request", || !server.bulks().is_empty());
    running.signal("TERM");
    assert_eq!(running.wait(SOON).code(), Some(1), "{}", running.log());
    let refused: Vec<String> = bulk_documents(&server).into_iter().take(100).map(|(id, _)| id).collect();
    busy.store(false, Ordering::SeqCst);
    let before = server.bulks().len();
    let mut running = Flowstone::run(folder.path(), &to_server(&server.url(), port));
    wait_for("the documents", || server.bulks().len() > before);
    running.signal("TERM");
    running.finish(SOON);
    let delivered: Vec<String> =
        bulk_documents(&server).split_off(before * 100).into_iter().map(|(id, _)| id).collect();
    assert_eq!(delivered, refused);
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = folder();
    let server = server_that_is(|| true);
    fs::write(folder.path().join("a.log"), flow_lines(100).join("\n") + "\n").unwrap();
    let config = to_server(&server.url(), free_port())
        .replace("shutdown_timeout = \"1s\"", "shutdown_timeout = \"1h\"");
    let mut running = Flowstone::run(folder.path(), &config);
    wait_for("a refused request", || !server.bulks().is_empty());
    running.signal("TERM");
    running.wait_for_log("a second signal stops at once", SOON);
    running.signal("TERM");
    let asked = Instant::now();
    assert_eq!(running.wait(SOON).code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_hangup_reloads_and_a_bad_file_leaves_the_old_topology_running() {
    let folder = folder();
    let (first, second) = (server_that_is(|| false), server_that_is(|| false));
    let lines = flow_lines(300);
    let append = |range: Range<usize>| append_lines(&folder.path().join("a.log"), &lines[range]);
    append(0..100);
    let port = free_port();
    let mut running = Flowstone::run(folder.path(), &to_server(&first.url(), port));
    wait_for("100 documents at the first", || bulk_documents(&first).len() == 100);

    fs::write(folder.path().join("flowstone.toml"), "[sources.in]\ntype = \"nothing\"\n").unwrap();
    running.signal("HUP");
    running.wait_for_log("the old one goes on", SOON);
    append(100..200);
    wait_for("200 documents at the first", || bulk_documents(&first).len() == 200);

    fs::write(folder.path().join("flowstone.toml"), to_server(&second.url(), port)).unwrap();
    running.signal("HUP");
    running.wait_for_log("takes over", SOON);
    append(200..300);
    wait_for("100 documents at the second", || bulk_documents(&second).len() == 100);
    assert_eq!(bulk_documents(&first).len(), 200, "nothing is delivered twice");
    running.signal("TERM");
    running.finish(SOON);
}

#[test]
fn the_endpoint_serves_metrics_health_and_readiness() {
    let folder = folder();
    let server = server_that_is(|| false);
    fs::write(folder.path().join("a.log"), flow_lines(500).join("\n") + "\nnot a record\n").unwrap();
    let port = free_port();
    let mut running = Flowstone::run(folder.path(), &to_server(&server.url(), port));
    wait_for("500 documents", || metric(port, "flowstone_component_sent_events_total") >= 1501.0);
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    assert_eq!(client.get("/healthz").ok().body, "ok\n");
    assert_eq!(client.get("/readyz").ok().body, "ready\n");
    assert_eq!(client.get("/nothing").status, 404);
    let text = client.get("/metrics").ok().body;
    assert!(text.contains("# HELP flowstone_component_received_events_total "), "{text}");
    assert!(text.contains("flowstone_component_rejected_events_total{component_id=\"flow\""), "{text}");
    assert_conserved(port);
    running.signal("TERM");
    running.finish(SOON);
    let letters = fs::read_to_string(folder.path().join("state/rejected/flow.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(letters.lines().next().unwrap()).unwrap();
    assert_eq!(letter["message"], "not a record");
    assert_eq!(letter["rejected"]["component"], "flow");
}

#[test]
fn one_data_folder_belongs_to_one_process() {
    let folder = folder();
    let server = server_that_is(|| false);
    let config = to_server(&server.url(), free_port());
    fs::write(folder.path().join("a.log"), flow_lines(1).join("\n") + "\n").unwrap();
    let _running = Flowstone::run(folder.path(), &config);
    wait_for("a document", || bulk_documents(&server).len() == 1);
    fs::write(folder.path().join("flowstone.toml"), to_server(&server.url(), free_port())).unwrap();
    let (code, _, log) = pipe(&["run", "-c", "flowstone.toml"], folder.path(), b"");
    assert_ne!(code, 0);
    assert!(log.contains("state"), "{log}");
}

#[test]
fn an_export_is_read_into_a_server_that_does_not_say_which_it_is() {
    let folder = folder();
    let lines = flow_lines(2000);
    // As CreateExportTask writes it: gzip, and the event's time in front of each line.
    let exported: String = lines.iter().map(|line| format!("2026-03-02T07:11:14.000Z {line}\n")).collect();
    let mut export = GzEncoder::new(Vec::new(), Compression::fast());
    export.write_all(exported.as_bytes()).unwrap();
    fs::write(folder.path().join("000000.gz"), export.finish().unwrap()).unwrap();
    let server = FakeServer::start(|request| match (request.is_bulk(), request.body == b"\n") {
        (true, true) => {
            Reply::json(400, r#"{"error":{"type":"action_request_validation_exception"},"status":400}"#)
        }
        (true, false) => Reply::json(200, r#"{"errors":false}"#),
        (false, _) => Reply::new(404),
    });
    let config = format!(
        "[sources.in]\ntype = 'file'\npaths = ['*.gz']\nfollow = false\n[transforms.flow]\ntype = 'vpcflow'\n\
         inputs = ['in']\n[sinks.es]\ntype = 'elasticsearch'\ninputs = ['flow']\nhosts = ['{}']\n\
         index = 'flow-%{{+YYYY.MM.dd}}'\nbatch.max_rows = 100\n",
        server.url()
    );
    let mut flowstone = Flowstone::run(folder.path(), &config);
    flowstone.finish(SOON);
    let bulks = server.bulks();
    let documents: Vec<Value> = bulks
        .iter()
        .flat_map(|bulk| bulk.ndjson())
        .filter(|line| line.get("create").is_none() && !line.is_null())
        .collect();
    assert_eq!(documents.len(), lines.len());
    let sorted = |documents: Vec<Value>| {
        let in_order = |document| serde_json::from_value::<BTreeMap<String, Value>>(document).unwrap();
        let mut texts: Vec<String> = documents.into_iter().map(|it| format!("{:?}", in_order(it))).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(documents), sorted(lines.iter().map(|line| expected_document(line)).collect()));
    let log = flowstone.log();
    assert_eq!(log.matches("the server does not say which it is").count(), 1, "{log}");
    assert_eq!(log.matches("index template not installed").count(), 1, "{log}");
}

/// The configuration of [`to_server`] with another folder for its state.
fn with_state(config: &str, state: &str) -> String {
    config.replace("data_dir = \"state\"", &format!("data_dir = \"{state}\""))
}

fn readiness(port: u16) -> (u16, String) {
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    client.request("GET", "/readyz", &[], b"").map_or((0, String::new()), |reply| (reply.status, reply.body))
}

#[test]
fn a_reload_that_cannot_be_had_changes_nothing_and_one_that_moves_everything_takes_over() {
    let folder = folder();
    let server = server_that_is(|| false);
    let lines = flow_lines(400);
    let log = folder.path().join("a.log");
    // Appended, for a file that is written anew is for a moment one that was truncated.
    let append = |range: Range<usize>| append_lines(&log, &lines[range]);
    let delivered = |count: usize| wait_for("the documents", || bulk_documents(&server).len() >= count);
    append(0..100);
    let (port, next_port) = (free_port(), free_port());
    let config = to_server(&server.url(), port);
    let mut running = Flowstone::run(folder.path(), &config);
    delivered(100);

    // A port that somebody else has, a checkpoint that is damaged, a folder that another process has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let damaged = folder.path().join("damaged/source/in");
    fs::create_dir_all(&damaged).unwrap();
    for file in fs::read_dir(folder.path().join("state/source/in")).unwrap() {
        fs::write(damaged.join(file.unwrap().file_name()), "{not a checkpoint").unwrap();
    }
    fs::create_dir(folder.path().join("locked")).unwrap();
    let locked = fs::File::create(folder.path().join("locked/lock")).unwrap();
    locked.lock().unwrap();
    let unusable = [
        (to_server(&server.url(), taken.local_addr().unwrap().port()), "choose another `[metrics] listen`"),
        (with_state(&config, "damaged"), "is damaged"),
        (with_state(&config, "locked"), "is in use by another flowstone"),
    ];
    for (number, (config, reason)) in unusable.iter().enumerate() {
        write(folder.path(), config);
        running.signal("HUP");
        running.wait_for_log(reason, SOON);
        wait_for("a refusal", || metric(port, "flowstone_reloads_total") == number as f64 + 1.0);
        assert_eq!(running.log().matches("the old one goes on").count(), number + 1, "{}", running.log());
    }
    append(100..200);
    delivered(200);

    // The same folder by another name and the same port: the old topology has them.
    let moved = with_state(&config, "./state");
    write(folder.path(), &moved);
    running.signal("HUP");
    running.wait_for_log("takes over", SOON);
    append(200..300);
    delivered(300);
    assert_eq!(readiness(port), (200, "ready\n".to_owned()));

    // Elsewhere with everything: what was held is given back.
    fs::create_dir_all(folder.path().join("other")).unwrap();
    let copied =
        Command::new("cp").args(["-r", "state/source", "other/"]).current_dir(folder.path()).status();
    assert!(copied.unwrap().success());
    write(folder.path(), &with_state(&to_server(&server.url(), next_port), "other"));
    running.signal("HUP");
    wait_for("the metrics at their new port", || readiness(next_port).0 == 200);
    wait_for("the second take-over", || running.log().matches("takes over").count() == 2);
    assert_eq!(readiness(port).0, 0, "nobody listens there any more");
    append(300..400);
    delivered(400);
    assert_eq!(bulk_documents(&server).len(), 400, "nothing is lost and nothing delivered twice");
    let mut second = Flowstone::run(folder.path(), &config);
    second.wait_for_log("metrics endpoint listens", SOON);
    second.signal("TERM");
    second.finish(SOON);
    running.signal("TERM");
    running.finish(SOON);
}

#[test]
fn a_hangup_during_a_reload_is_not_lost_and_the_newest_configuration_takes_over() {
    let folder = folder();
    let (busy, skipped, newest) =
        (server_that_is(|| true), server_that_is(|| false), server_that_is(|| false));
    fs::write(folder.path().join("a.log"), flow_lines(100).join("\n") + "\n").unwrap();
    let port = free_port();
    let slow = to_server(&busy.url(), port).replace("shutdown_timeout = \"1s\"", "shutdown_timeout = \"5s\"");
    let mut running = Flowstone::run(folder.path(), &slow);
    wait_for("a refused request", || !busy.bulks().is_empty());
    write(folder.path(), &to_server(&skipped.url(), port));
    running.signal("HUP");
    running.wait_for_log("reloading: what was read is delivered first", SOON);
    write(folder.path(), "[sources.in]\ntype = \"nothing\"\n");
    running.signal("HUP");
    running.wait_for_log("the one before it takes over", SOON);
    write(folder.path(), &to_server(&newest.url(), port));
    running.signal("HUP");
    running.wait_for_log("takes over", SOON);
    wait_for("the documents at the newest", || bulk_documents(&newest).len() == 100);
    assert!(skipped.bulks().is_empty(), "what was replaced while it waited is never run");
    running.signal("TERM");
    running.finish(SOON);
}

#[test]
fn a_source_that_fails_for_good_is_not_ready_and_a_reload_that_mends_it_lives() {
    let folder = folder();
    let server = server_that_is(|| false);
    let lines = flow_lines(200);
    fs::create_dir(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("a.log"), lines[..100].join("\n") + "\n").unwrap();
    fs::write(folder.path().join("b/b.log"), lines[100..].join("\n") + "\n").unwrap();
    let port = free_port();
    let config = to_server(&server.url(), port).replace("inputs = [\"in\"]", "inputs = [\"in\", \"more\"]")
        + "[sources.more]\ntype = \"file\"\npaths = [\"b/*.log\"]\n";
    // One run to have a checkpoint that can be damaged.
    let mut running = Flowstone::run(folder.path(), &config);
    wait_for("200 documents", || bulk_documents(&server).len() == 200);
    running.signal("TERM");
    running.finish(SOON);
    let state = folder.path().join("state/source/more");
    let checkpoint = fs::read_dir(&state).unwrap().next().unwrap().unwrap().path();
    let sound = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, "{not a checkpoint").unwrap();

    let mut running = Flowstone::run(folder.path(), &config);
    wait_for("it is not ready", || readiness(port).1.contains("source `more` (file): failed: checkpoint: "));
    let (status, problems) = readiness(port);
    assert_eq!(status, 503);
    assert!(problems.contains("restore it") && problems.contains("reload (SIGHUP)"), "{problems}");
    fs::write(folder.path().join("a.log"), flow_lines(110)[..].join("\n") + "\n").unwrap();
    let before = bulk_documents(&server).len();
    fs::write(&checkpoint, sound).unwrap();
    running.signal("HUP");
    running.wait_for_log("takes over", SOON);
    wait_for("it is ready", || readiness(port).0 == 200);
    let mut file = fs::OpenOptions::new().append(true).open(folder.path().join("b/b.log")).unwrap();
    std::io::Write::write_all(&mut file, (flow_lines(300)[299].clone() + "\n").as_bytes()).unwrap();
    wait_for("a new document", || bulk_documents(&server).len() > before);
    running.signal("TERM");
    running.finish(SOON);
}

#[test]
fn the_lag_of_a_source_that_stands_still_grows_and_is_gone_when_all_is_delivered() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = folder();
    let busy = Arc::new(AtomicBool::new(true));
    let is_busy = Arc::clone(&busy);
    let server = server_that_is(move || is_busy.load(Ordering::SeqCst));
    fs::write(folder.path().join("a.log"), flow_lines(100).join("\n") + "\n").unwrap();
    let port = free_port();
    let mut running = Flowstone::run(folder.path(), &to_server(&server.url(), port));
    wait_for("some lag", || metric(port, "flowstone_source_lag_seconds") >= 2.0);
    busy.store(false, Ordering::SeqCst);
    wait_for("no lag", || metric(port, "flowstone_source_lag_seconds") == 0.0);
    running.signal("TERM");
    running.finish(SOON);
}
