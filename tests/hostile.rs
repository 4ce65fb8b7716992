//! Input that nobody would send on purpose: clear errors, no panic, nothing lost, memory within bounds.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use flowstone_testkit::http::Reply;
use serde_json::{Value, json};
use support::{Flowstone, binary, bulk_server, flow_lines, peak_kb, pipe, run_piped};

const CONFIG: &str = r#"
data_dir = "state"

[sources.in]
type = "stdin"

[transforms.flow]
type = "vpcflow"
inputs = ["in"]

[sinks.out]
type = "console"
inputs = ["flow"]

[sinks.dead]
type = "file"
inputs = ["in.rejected", "flow.rejected"]
path = "dead.ndjson"
"#;

fn letters(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("dead.ndjson")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a dead letter is one line of JSON")).collect()
}

/// Lines that are nearly records, and lines that are nothing like them.
fn hostile_lines() -> Vec<Vec<u8>> {
    let good = flow_lines(1).remove(0);
    let words: Vec<&str> = good.split(' ').collect();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for (field, _) in words.iter().enumerate() {
        for bad in [
            "-1",
            "99999999999999999999999",
            "x",
            "\u{0}",
            "\"",
            "\\",
            "{}",
            "\u{feff}2",
            "%{x}",
            "é",
            "1e9",
            "0x10",
        ] {
            let mut spoilt: Vec<&str> = words.clone();
            spoilt[field] = bad;
            lines.push(spoilt.join(" ").into_bytes());
        }
        let mut missing = words.clone();
        missing.remove(field);
        lines.push(missing.join(" ").into_bytes());
        let mut doubled = words.clone();
        doubled.insert(field, words[field]);
        lines.push(doubled.join(" ").into_bytes());
    }
    let mut state = 7_u64;
    while lines.len() < 1000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (state >> 40) as usize % 300;
        let mut random = state;
        let line: Vec<u8> = (0..length)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random as u8
            })
            // A line end would make two lines of one.
            .filter(|byte| !matches!(byte, b'\n' | b'\r'))
            .collect();
        lines.push(line);
    }
    lines
}

#[test]
fn a_thousand_hostile_lines_are_documents_or_dead_letters_every_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flowstone.toml"), CONFIG).unwrap();
    let lines = hostile_lines();
    let empty = lines.iter().filter(|line| line.iter().all(u8::is_ascii_whitespace)).count();
    let mut input = lines.join(&b'\n');
    input.push(b'\n');
    let (code, output, log) = pipe(&["run", "-c", "flowstone.toml"], folder.path(), &input);
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let documents: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let letters = letters(folder.path());
    assert_eq!(documents.len() + letters.len() + empty, lines.len());
    for letter in &letters {
        assert!(letter["message"].is_string(), "{letter}");
        assert!(letter["rejected"]["reason"].is_string(), "{letter}");
        assert!(!letter["rejected"]["detail"].as_str().unwrap().is_empty(), "{letter}");
    }
    assert!(letters.len() > 500);
}

#[test]
fn a_line_of_100_megabytes_is_rejected_with_its_beginning_and_never_held() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flowstone.toml"), CONFIG).unwrap();
    let good = flow_lines(2);
    let mut child = run_piped(folder.path());
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", good[0]).unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    let mut peak = 0;
    for _ in 0..100 {
        stdin.write_all(&megabyte).unwrap();
        peak = peak_kb(child.id()).unwrap();
    }
    writeln!(stdin, "\n{}", good[1]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2, "the lines around it arrive");
    assert!(peak < 60_000, "{peak} KB while a line of 100 MB passed");
    let letters = letters(folder.path());
    assert_eq!(letters.len(), 1);
    let message = letters[0]["message"].as_str().unwrap();
    let end = "x".repeat(64 << 10);
    assert!(message.starts_with(&end) && message.ends_with(&end), "both ends are kept");
    assert!(message.contains(" bytes left out ") && message.len() < (128 << 10) + 100, "{}", message.len());
    let detail = letters[0]["rejected"]["detail"].as_str().unwrap();
    assert!(detail.contains("104857600"), "{detail}");
}

/// Lines of JSON with `keys` keys that no other line has.
fn lines_of_own_keys(lines: usize, keys: usize) -> String {
    let line = |line: usize| {
        let members: Vec<String> = (0..keys).map(|key| format!("\"k{line}_{key:05}\":1")).collect();
        format!("{{{}}}\n", members.join(","))
    };
    (0..lines).map(line).collect()
}

#[test]
fn json_with_keys_without_end_stays_within_bounds() {
    const JSON: &str = r#"
data_dir = "state"
memory = "12MiB"

[sources.in]
type = "stdin"
decoding = "json"

[sinks.none]
type = "blackhole"
inputs = ["in"]

[sinks.out]
type = "console"
inputs = ["in"]
"#;
    // A line of a megabyte may weigh 40 MB while it is in columns, and each worker may hold one; what is in flight
    // beyond them is within `memory`.
    for (lines, keys, most_kb) in [(70, 70_000, 220_000), (20_000, 50, 60_000), (20_000, 1, 50_000)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("flowstone.toml"), JSON).unwrap();
        let mut child = run_piped(folder.path());
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            stdin.write_all(lines_of_own_keys(lines, keys).as_bytes()).unwrap();
        });
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut documents, mut peak) = (String::new(), 0, 0);
        while output.read_line(&mut line).unwrap() > 0 {
            documents += 1;
            assert_eq!(line.matches("\"k").count(), keys);
            line.clear();
            if documents % (lines / 70) == 0 {
                peak = peak_kb(child.id()).unwrap_or(peak);
            }
        }
        writer.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(documents, lines);
        assert!(peak < most_kb, "{peak} KB for {lines} lines of {keys} keys of their own");
    }
}

#[test]
fn a_binary_file_passes_through_as_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("type = \"stdin\"", "type = \"file\"\npaths = [\"binary\"]\nfollow = false");
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    let content = fs::read(binary()).unwrap();
    let content = &content[..content.len().min(4 << 20)];
    fs::write(folder.path().join("binary"), content).unwrap();
    let lines = content.split(|&byte| byte == b'\n').count() - usize::from(content.ends_with(b"\n"));
    let (code, output, log) = pipe(&["run", "-c", "flowstone.toml"], folder.path(), b"");
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let blank = content
        .split(|&byte| byte == b'\n')
        .take(lines)
        .filter(|line| String::from_utf8_lossy(line).trim_start_matches('\0').trim_ascii().is_empty())
        .count();
    assert_eq!(output, "");
    let letters = letters(folder.path());
    assert_eq!(letters.len() + blank, lines, "every line is there");
    assert!(letters.iter().any(|letter| letter["tags"][0] == "_invalid_utf8"));
}

/// Whatever a server answers, and to as many requests as there are at once, the memory that it takes is bounded: by
/// `memory`, and by what the sink says of replies.
#[test]
fn replies_of_a_hostile_server_do_not_fill_the_memory() {
    let long = "r".repeat(40_000);
    let failed = |rows: usize| {
        let error = json!({"type": "mapper_parsing_exception", "reason": long});
        json!({"errors": true, "items": vec![json!({"create": {"status": 400, "error": error}}); rows]})
            .to_string()
    };
    let cases: Vec<(&str, Reply)> = vec![
        ("60 MB that say nothing", Reply::json(200, "x".repeat(60 << 20))),
        (
            "60 MB in chunks",
            Reply::json(200, format!("{{\"errors\":true,\"a\":\"{}", "x".repeat(60 << 20))).chunked(),
        ),
        ("values without end", Reply::json(200, "1,".repeat(30 << 20))),
        ("1,000 items with reasons of 40 kB", Reply::json(200, failed(1000))),
        (
            "a refusal with a reason of 40 kB",
            Reply::json(400, json!({"error": {"type": "t", "reason": long}, "status": 400})),
        ),
        (
            "all is well, and 60 MB more",
            Reply::json(200, format!("{{\"errors\":false,\"a\":\"{}\"}}", "x".repeat(60 << 20))),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flow.log"), flow_lines(20_000).join("\n") + "\n").unwrap();
    for (name, reply) in cases {
        let server = bulk_server(move |_| reply.clone());
        let config = format!(
            r#"
[sources.in]
type = "file"
paths = ["flow.log"]
follow = true
[transforms.flow]
type = "vpcflow"
inputs = ["in"]
[sinks.es]
type = "elasticsearch"
inputs = ["flow"]
hosts = ["{}"]
index = "flow"
template = "none"
batch.max_rows = 1000
flush_interval = "10ms"
"#,
            server.url()
        );
        fs::remove_dir_all(folder.path().join("flowstone-data")).ok();
        let running = Flowstone::run(folder.path(), &config);
        let end = Instant::now() + Duration::from_secs(60);
        while server.bulks().len() < 12 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let peak = peak_kb(running.pid()).unwrap();
        eprintln!("{name}: {peak} KB after {} requests", server.bulks().len());
        assert!(!server.bulks().is_empty(), "{name}:\n{}", running.log());
        assert!(peak < 90_000, "{name}: {peak} KB");
        running.kill();
    }
}
