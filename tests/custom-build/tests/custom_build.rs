//! The custom build runs the plugins that were linked into it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

fn run(config: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_custom-build"))
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn linked_plugins_run_beside_standard_ones() {
    let config = r#"
[sources.numbers]
type = "ticks"
until = 3

[transforms.loud]
type = "shout"
inputs = ["numbers"]
field = "tick"
add_field = { seen = "%{tick}" }

[sinks.out]
type = "console"
inputs = ["loud"]
encoding = "json"
"#;
    let (code, output, log) = run(config, &["run", "-c", "flowstone.toml"]);
    assert_eq!(code, 0, "{log}");
    let ticks: Vec<&str> = output.lines().map(|line| &line[..10]).collect();
    assert_eq!(ticks, ["{\"tick\":1,", "{\"tick\":2,", "{\"tick\":3,"], "{output}");
    assert!(
        !output.contains("seen"),
        "a number is no text to write in upper case, so nothing was added: {output}"
    );
}

#[test]
fn linked_plugins_are_listed_and_explained_like_standard_ones() {
    let (_, list, _) = run("", &["list"]);
    for name in ["ticks", "shout", "wire", "stdin", "console"] {
        assert!(list.contains(name), "{list}");
    }
    let (code, reference, _) = run("", &["explain", "wire"]);
    assert!(code == 0 && reference.contains("  address: string, required"), "{reference}");
    let (_, reference, _) = run("", &["explain", "ticks"]);
    let metric =
        "  flowstone_ticks_tens_total: counter\n      numbers given out that can be divided by ten\n";
    assert!(reference.contains(metric), "{reference}");
}

#[test]
fn a_linked_plugins_own_metric_is_served() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        r#"
data_dir = "state"
[metrics]
listen = "127.0.0.1:{port}"
[sources.numbers]
type = "ticks"
until = 25
# It keeps the run alive.
[sources.more]
type = "file"
paths = ["*.log"]
[sinks.out]
type = "blackhole"
inputs = ["numbers", "more"]
"#
    );
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_custom-build"))
        .args(["run", "-c", "flowstone.toml"])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let metrics = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let line = "flowstone_ticks_tens_total{component_id=\"numbers\",component_kind=\"source\",component_type=\"ticks\"} 2\n";
    let begun = Instant::now();
    let mut text = String::new();
    while !text.contains(line) && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
        text = metrics().unwrap_or_default();
    }
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(text.contains(line), "{text}");
}
