//! The commands beside `run`: what they print, and how they end.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{binary, pipe};

const TOPOLOGY: &str = r#"
[sources.in]
type = "stdin"

[transforms.ok]
type = "filter"
inputs = ["in"]
condition = '"OK" in [message]'

[transforms.flow]
type = "vpcflow"
inputs = ["ok"]

[sinks.out]
type = "console"
inputs = ["flow"]
encoding = "json"

[sinks.dead]
type = "blackhole"
inputs = ["in.rejected", "ok.rejected", "flow.rejected", "out.rejected"]
"#;

/// Runs a command over `flowstone.toml` in a folder of its own.
fn flowstone(arguments: &[&str], config: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    pipe(arguments, folder.path(), b"")
}

#[test]
fn validate_says_what_a_sound_configuration_is_made_of() {
    let (code, output, _) = flowstone(&["validate", "-c", "flowstone.toml"], TOPOLOGY);
    assert_eq!(
        (code, output.as_str()),
        (0, "flowstone.toml is valid: 1 source, 2 transforms, 2 sinks, 0 tests\n")
    );
}

#[test]
fn validate_warns_of_letters_of_a_date_that_cannot_be_meant() {
    let config = TOPOLOGY.replace(
        "[transforms.flow]\ntype = \"vpcflow\"\n",
        "[transforms.flow]\ntype = \"date\"\nmatch = [\"t\", \"ISO8601\", \"yyyy-mm-dd HH:mm\", \"MMM d hh:mm\"]\n",
    );
    let (code, output, log) = flowstone(&["validate", "-c", "flowstone.toml"], &config);
    assert_eq!(code, 0, "{log}");
    let said = output + &log;
    for part in ["`m` is the minute", "flowstone.toml:12:32", "an hour of twelve", "flowstone.toml:12:53"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    assert_eq!(said.matches("date-letters").count(), 2, "{said}");
}

#[test]
fn validate_says_what_was_expected_where_a_value_is_nearly_right() {
    let elasticsearch = |options: &str| {
        let sink =
            format!("[sinks.es]\ntype = \"elasticsearch\"\ninputs = [\"flow\"]\nindex = \"x\"\n{options}\n");
        format!("{TOPOLOGY}{sink}")
    };
    for (config, message, label) in [
        (format!("waiting_max = -1\n{TOPOLOGY}"), "-1 is no size", "expected a size such as"),
        (format!("shutdown_timeout = \"25\"\n{TOPOLOGY}"), "\"25\" is no duration", "the unit is missing"),
        (
            elasticsearch("server = \"opensearch-9\""),
            "is not a choice here",
            "did you mean \"opensearch-3\"?",
        ),
        (
            elasticsearch("server = \"elasticsearch-5\""),
            "is not a choice here",
            "did you mean \"elasticsearch-6\"?",
        ),
    ] {
        let (code, _, log) = flowstone(&["validate", "-c", "flowstone.toml"], &config);
        assert_eq!(code, 78, "{log}");
        assert!(log.contains(message) && log.contains(label), "{message}, {label} in\n{log}");
    }
}

#[test]
fn validate_makes_no_folder_and_opens_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let config = format!(
        "data_dir = \"state\"\n[sources.in]\ntype = \"file\"\npaths = [\"*.log\"]\n[sinks.es]\ntype = \"elasticsearch\"\n\
         inputs = [\"in\"]\nhosts = [\"http://{}\"]\nindex = \"x\"\n",
        listener.local_addr().unwrap()
    );
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    let (code, _, log) = pipe(&["validate", "-c", "flowstone.toml"], folder.path(), b"");
    assert_eq!(code, 0, "{log}");
    assert!(!folder.path().join("state").exists());
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody connected");
}

#[test]
fn validate_with_connect_says_which_server_cannot_be_reached() {
    let port = support::free_port();
    let config = TOPOLOGY.replace(
        "[sinks.dead]\ntype = \"blackhole\"",
        &format!(
            "[sinks.dead]\ntype = \"elasticsearch\"\nhosts = [\"http://127.0.0.1:{port}\"]\nindex = \"x\""
        ),
    );
    let (code, output, log) = flowstone(&["validate", "--connect", "-c", "flowstone.toml"], &config);
    assert_eq!(code, 1, "{log}");
    assert!(output.contains("sink `dead` (elasticsearch): "), "{output}");
    assert!(output.contains("sink `out` (console): reached\n"), "{output}");
}

#[test]
fn a_mistake_on_the_command_line_is_one_of_configuration() {
    for arguments in [
        &["run"][..],
        &["fly"],
        &["run", "-c", "x.toml", "--log-level", "flowstone=loud"],
        &["run", "flowstone.toml"],
        &["explain", "elasticsaerch"],
    ] {
        let (code, output, log) = flowstone(arguments, "");
        assert_eq!((code, output.as_str()), (78, ""), "{arguments:?}\n{log}");
        assert!(!log.is_empty());
    }
    let (_, _, log) = flowstone(&["run", "flowstone.toml"], "");
    assert!(log.contains("`-c flowstone.toml`"), "{log}");
    let (_, _, log) = flowstone(&["explain", "elasticsaerch"], "");
    assert!(log.contains("did you mean `elasticsearch`?"), "{log}");
    let (code, output, _) = flowstone(&["--help"], "");
    assert!(code == 0 && output.contains("validate"), "{output}");
}

#[test]
fn several_files_and_folders_are_one_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (transforms, rest) = TOPOLOGY.split_at(TOPOLOGY.find("[sinks.out]").unwrap());
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("conf.d/a.toml"), rest).unwrap();
    let (code, output, log) =
        pipe(&["validate", "-c", "-", "-c", "conf.d"], folder.path(), transforms.as_bytes());
    assert_eq!(code, 0, "{log}");
    assert!(output.starts_with("<standard input>, conf.d is valid"), "{output}");
    fs::write(folder.path().join("conf.d/b.toml"), rest).unwrap();
    let (code, _, log) = pipe(&["validate", "-c", "-", "-c", "conf.d"], folder.path(), transforms.as_bytes());
    assert_eq!(code, 78);
    assert!(
        log.contains("sink `out` is defined in two places") && log.contains("conf.d/a.toml:1:8"),
        "{log}"
    );
}

#[test]
fn logs_in_json_hold_the_diagnostics_too_and_no_secret() {
    let config = TOPOLOGY.replace("encoding = \"json\"", "encoding = \"jsn\"\npassword = \"hunter2\"");
    let (code, _, log) = flowstone(&["run", "-c", "flowstone.toml", "--log-format", "json"], &config);
    assert_eq!(code, 78);
    for line in log.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["level"].is_string());
    }
    assert!(log.contains("did you mean") && !log.contains("hunter2"), "{log}");
}

#[test]
fn config_tests_pass_or_say_field_by_field_what_differs() {
    let test = |bytes: u64| {
        format!(
            r#"{TOPOLOGY}
[[tests]]
name = "accepted traffic is typed"
insert_at = "ok"
inputs = ["2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"]
no_outputs_from = ["flow.rejected"]
[[tests.outputs]]
extract_from = "flow"
conditions = ["[action] == 'ACCEPT' and [bytes] == {bytes}"]

[[tests]]
name = "a line of noise is rejected whole"
insert_at = "flow"
inputs = ["noise"]
no_outputs_from = ["flow"]
[[tests.outputs]]
extract_from = "flow.rejected"
conditions = ["[message] == 'noise'"]
"#
        )
    };
    let (code, output, log) = flowstone(&["test", "-c", "flowstone.toml"], &test(4249));
    assert_eq!(code, 0, "{output}{log}");
    assert!(output.ends_with("\n2 passed, 0 failed\n"), "{output}");
    let (code, output, _) = flowstone(&["test", "-c", "flowstone.toml"], &test(1));
    assert_eq!(code, 1);
    assert!(
        output.contains("FAILED: accepted traffic is typed") && output.ends_with("\n1 passed, 1 failed\n"),
        "{output}"
    );
}

#[test]
fn the_lists_name_every_plugin_and_explain_has_its_options() {
    let (code, list, _) = flowstone(&["list"], "");
    assert_eq!(code, 0);
    for plugin in flowstone::STANDARD_PLUGINS {
        assert!(
            list.lines().any(|line| line.trim_start().starts_with(plugin.type_name)),
            "{}\n{list}",
            plugin.type_name
        );
        let (code, reference, _) = flowstone(&["explain", plugin.type_name], "");
        assert_eq!(code, 0);
        assert!(reference.contains(&format!("{} `{}`", plugin.kind, plugin.type_name)), "{reference}");
    }
    let (_, file, _) = flowstone(&["explain", "file"], "");
    assert!(
        file.contains("source `file`") && file.contains("sink `file`"),
        "a name may have two kinds: {file}"
    );
    let (_, settings, _) = flowstone(&["explain", "settings"], "");
    assert!(settings.contains("shutdown_timeout: duration, default \"25s\""), "{settings}");
}

#[test]
fn graphs_are_drawn_in_mermaid_and_dot() {
    let (code, mermaid, _) = flowstone(&["graph", "-c", "flowstone.toml"], TOPOLOGY);
    assert!(
        code == 0 && mermaid.starts_with("flowchart LR\n") && mermaid.contains("-.->|\"rejected\"|"),
        "{mermaid}"
    );
    let (code, dot, _) = flowstone(&["graph", "--format", "dot", "-c", "flowstone.toml"], TOPOLOGY);
    assert!(code == 0 && dot.contains("\"ok\" -> \"flow\""), "{dot}");
}

#[test]
fn completions_are_written_for_each_shell() {
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef flowstone"), ("fish", "complete -c flowstone")]
    {
        let (code, script, _) = flowstone(&["completions", shell], "");
        assert!(code == 0 && script.contains(sign), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_listing_with_0() {
    let mut child = Command::new(binary())
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_topology_without_state_makes_no_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flowstone.toml"), TOPOLOGY).unwrap();
    let (code, output, log) = pipe(&["run", "-c", "flowstone.toml"], folder.path(), b"no flow log\n");
    assert_eq!((code, output.as_str()), (0, ""), "{log}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["flowstone.toml"]);
}

#[test]
fn a_new_plugin_is_a_crate_and_a_custom_build_of_two_lines_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, word) in
        [("transform", "register_transform!"), ("source", "register_source!"), ("sink", "register_sink!")]
    {
        let (code, output, log) = pipe(&["new", "plugin", "my_own", "--kind", kind], folder.path(), b"");
        assert_eq!(code, 0, "{log}");
        assert!(output.contains(&format!("cd ./{kind}-my-own")), "{output}");
        let read =
            |path: &str| fs::read_to_string(folder.path().join(format!("{kind}-my-own")).join(path)).unwrap();
        assert!(read("src/lib.rs").contains(word));
        assert_eq!(read("flowstone/src/main.rs").lines().count(), 2);
        let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
        let core = manifest["dependencies"]["flowstone-core"]["path"].as_str().unwrap();
        assert!(Path::new(core).join("Cargo.toml").exists(), "{core}");
        read("flowstone/Cargo.toml").parse::<toml::Table>().unwrap();
        let (code, _, log) = pipe(&["new", "plugin", "my_own", "--kind", kind], folder.path(), b"");
        assert!(code == 1 && log.contains("exists"), "{log}");
    }
    let (code, _, log) = pipe(&["new", "plugin", "filter"], folder.path(), b"");
    assert!(code == 78 && log.contains("already"), "{log}");
    let (code, _, log) = pipe(&["new", "plugin", "x", "--flowstone", "."], folder.path(), b"");
    assert!(code == 78 && log.contains("no checkout of flowstone"), "{log}");
}

/// Runs the program where no file may grow beyond this many blocks of the shell's.
fn with_file_size_limit(blocks: u32, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    let program = format!("ulimit -f {blocks}; exec \"$0\" run -c flowstone.toml");
    command.args(["-c", &program]).arg(binary()).current_dir(folder);
    command
}

#[test]
fn a_file_that_may_not_grow_is_told_like_a_full_disk_and_ends_nothing_without_a_word() {
    let config = |sink: &str| {
        format!(
            "data_dir = \"state\"\nshutdown_timeout = \"200ms\"\n[sources.in]\ntype = \"file\"\npaths = [\"in.log\"]\n\
             [sinks.out]\n{sink}\ninputs = [\"in\"]\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |sink: &str| fs::write(folder.path().join("flowstone.toml"), config(sink)).unwrap();
    fs::write(folder.path().join("in.log"), "a line of some length\n".repeat(1000)).unwrap();

    write("type = \"blackhole\"");
    let output = with_file_size_limit(0, folder.path()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert!(log.contains("cannot write to the data folder") && log.contains("File too large"), "{log}");

    write("type = \"file\"\npath = \"out.ndjson\"\nflush_interval = \"20ms\"");
    let mut running = support::Flowstone::start(with_file_size_limit(8, folder.path()));
    let soon = std::time::Duration::from_secs(30);
    running.wait_for_log("File too large", soon);
    running.signal("TERM");
    assert_eq!(running.wait(soon).code(), Some(1), "{}", running.log());
}
