//! What leaves for people (logs, `/readyz`, `/metrics`, dead letters, what commands print): nothing in it that a terminal
//! would obey, and no secret, whoever says it.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flowstone::core::shown::is_command;
use flowstone_testkit::http::{Client, FakeServer, Reply, Request};
use support::{Flowstone, binary, flow_lines, free_port, pipe};

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "h/nter2 \"quoted\"";
const PASSWORD_IN_URL: &str = "s3cr%2Ft";
const TOKEN: &str = "tok-7b1f";
/// Clears the screen, sets the clipboard, forges a line, turns the direction of writing.
const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]52;c;eA==\u{7}\r\n2026-01-01T00:00:00Z ERROR forged \u{9b}2J\u{202e}\u{7f}";

/// What a proxy says that tells all it was told.
fn echo(request: &Request) -> String {
    let authorization = request.header("authorization").unwrap_or("nothing");
    let encoded = "h%2Fnter2%20%22quoted%22";
    format!("{HOSTILE} refused: {authorization}, password {PASSWORD} or http://joe:{encoded}@h/, {TOKEN}")
}

fn error(status: u16, kind: &str, request: &Request) -> Reply {
    let reason = serde_json::json!({"error": {"type": kind, "reason": echo(request)}, "status": status});
    Reply::json(status, reason)
}

/// One that refuses to say what it is until it is known, and then every document.
fn echoing_server(known: Arc<AtomicBool>) -> FakeServer {
    FakeServer::start(move |request| {
        if !known.load(Ordering::Relaxed) {
            return error(401, "security_exception", request);
        }
        if !request.is_bulk() {
            return Reply::json(200, r#"{"version":{"number":"7.17.0"}}"#);
        }
        let refused = serde_json::json!({"create": {"_index": "x", "status": 400,
            "error": {"type": format!("type of {TOKEN} {HOSTILE}"), "reason": echo(request)}}});
        let items = vec![refused; request.ndjson().len() / 2];
        Reply::json(200, serde_json::json!({"took": 1, "errors": true, "items": items}))
    })
}

fn config(server: &str, port: u16) -> String {
    format!(
        r#"
data_dir = "state"
[metrics]
listen = "127.0.0.1:{port}"
[sources.in]
type = "file"
paths = ["*.log"]
[sinks.es]
type = "elasticsearch"
inputs = ["in"]
hosts = ["{server}"]
index = "x"
user = "joe"
password = "${{ES_PASSWORD}}"
headers = {{ X-Token = "{TOKEN}" }}
"#
    )
}

fn assert_no_secret(what: &str, text: &str) {
    // The third is how `joe:` and the password begin in base64.
    for secret in ["h/nter2", "h%2Fnter2", "am9lOmgv", TOKEN, "quoted"] {
        assert!(!text.contains(secret), "{what} has {secret:?}:\n{text}");
    }
}

fn assert_obeyable_by_nobody(what: &str, text: &str) {
    let command = text.chars().find(|c| is_command(*c) && !matches!(c, '\n' | '\t'));
    assert_eq!(command, None, "{what}:\n{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "a forged line:\n{text}");
}

#[test]
fn a_server_that_says_back_what_it_was_told_puts_no_secret_anywhere() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let known = Arc::new(AtomicBool::new(false));
        let server = echoing_server(Arc::clone(&known));
        let port = free_port();
        fs::write(folder.path().join("flowstone.toml"), config(&server.url(), port)).unwrap();
        fs::write(folder.path().join("a.log"), flow_lines(3).join("\n") + "\n").unwrap();
        let mut command = Command::new(binary());
        command.args(["--log-format", format, "--log-level", "debug", "run", "-c", "flowstone.toml"]);
        command.current_dir(folder.path()).env("ES_PASSWORD", PASSWORD);
        let mut running = Flowstone::start(command);
        let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
        running.wait_for_log("metrics endpoint listens", SOON);
        // The first answers keep the sink from being ready, and /readyz says why.
        let end = Instant::now() + SOON;
        let readiness = loop {
            let answer = client.get("/readyz");
            if answer.status == 503 && answer.body.contains("401") {
                break answer.body;
            }
            assert!(Instant::now() < end, "/readyz does not say why: {}", running.log());
            std::thread::sleep(Duration::from_millis(50));
        };
        known.store(true, Ordering::Relaxed);
        let letters = folder.path().join("state/rejected/es.ndjson");
        running.wait_until("three letters", SOON, || {
            fs::read_to_string(&letters).is_ok_and(|text| text.lines().count() >= 3)
        });
        let metrics = client.get("/metrics").ok().body;
        running.signal("TERM");
        running.finish(SOON);
        let letters = fs::read_to_string(&letters).unwrap();
        assert!(readiness.contains("es") && readiness.contains("***"), "{readiness}");
        assert!(letters.contains("***"), "{letters}");
        let log = running.log();
        assert!(log.contains("***"), "{log}");
        for (what, text) in
            [("the log", &log), ("/readyz", &readiness), ("/metrics", &metrics), ("the letters", &letters)]
        {
            assert_no_secret(what, text);
        }
        for (what, text) in [("the log", &log), ("/readyz", &readiness), ("/metrics", &metrics)] {
            assert_obeyable_by_nobody(what, text);
        }
    }
}

#[test]
fn validate_and_its_probes_say_no_secret_and_nothing_to_obey() {
    let folder = tempfile::tempdir().unwrap();
    let server = FakeServer::start(|request| error(403, "security_exception", request));
    fs::write(folder.path().join("flowstone.toml"), config(&server.url(), free_port())).unwrap();
    let mut command = Command::new(binary());
    command.args(["validate", "--connect", "-c", "flowstone.toml"]);
    let output = command.current_dir(folder.path()).env("ES_PASSWORD", PASSWORD).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("sink `es`"), "{text}");
    assert_no_secret("validate --connect", &text);
    assert_obeyable_by_nobody("validate --connect", &text);
}

#[test]
fn excerpts_of_a_hostile_configuration_are_shown_without_its_commands_and_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let name = "a\u{1b}[2J\n2026-01-01T00:00:00Z ERROR.toml";
    let text = format!(
        "[sources.in]\ntype = \"stdin\"\nmistaken = 1 # the token is {TOKEN}\n\
         [sinks.out]\ntype = \"console\"\ninputs = [\"in\", \"{}\"]\nencoding = \"\u{9b}2J\u{202e}\"\n\
         [sinks.es]\ntype = \"elasticsearch\"\ninputs = [\"in\"]\nindex = \"x\"\nhosts = [\"http://joe:{PASSWORD_IN_URL}@h:9200\"]\n\
         password = 5 # it was {TOKEN}\n",
        "\\u001B]0;x\\u0007",
    );
    fs::write(folder.path().join(name), text).unwrap();
    for arguments in
        [&["validate", "-c", name][..], &["graph", "-c", name], &["run", "-c", name], &["test", "-c", name]]
    {
        let (code, output, log) = pipe(arguments, folder.path(), b"");
        assert_ne!(code, 0);
        assert!(log.contains("mistaken"), "{log}");
        let all = output + &log;
        assert_no_secret("the diagnostics", &all);
        assert!(!all.contains(PASSWORD_IN_URL), "{all}");
        assert_obeyable_by_nobody("the diagnostics", &all);
    }
}

#[test]
fn a_files_name_makes_no_line_of_its_own_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let name = "a\u{1b}]0;x\u{7}\n2026-01-01T00:00:00Z ERROR forged\u{202e}.gz";
    // The head of a member and nothing that can be unpacked.
    fs::write(folder.path().join(name), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff").unwrap();
    let config = "data_dir = \"state\"\n[sources.in]\ntype = \"file\"\npaths = [\"*.gz\"]\nfollow = false\n\
                  [sinks.out]\ntype = \"console\"\ninputs = [\"in\"]\n";
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    for format in ["text", "json"] {
        let arguments = ["--log-format", format, "--log-level", "debug", "run", "-c", "flowstone.toml"];
        let (_, _, log) = pipe(&arguments, folder.path(), b"");
        assert!(log.contains("forged"), "{log}");
        assert_obeyable_by_nobody("the log", &log);
        fs::remove_dir_all(folder.path().join("state")).ok();
    }
}

#[test]
fn a_record_that_says_commands_is_shown_escaped_by_pretty() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[sources.in]\ntype = \"stdin\"\ndecoding = \"json\"\n[sinks.out]\ntype = \"console\"\ninputs = [\"in\"]\nencoding = \"pretty\"\n";
    fs::write(Path::new(folder.path()).join("flowstone.toml"), config).unwrap();
    let event = serde_json::json!({"srcaddr": HOSTILE, "dstaddr": HOSTILE, "action": HOSTILE, "interface-id": HOSTILE});
    let other = serde_json::json!({HOSTILE: [HOSTILE]});
    let (code, output, log) =
        pipe(&["run", "-c", "flowstone.toml"], folder.path(), format!("{event}\n{other}\n").as_bytes());
    assert_eq!(code, 0, "{log}");
    assert!(output.contains("forged"), "{output}");
    assert_obeyable_by_nobody("pretty", &output);
}
