//! Real Elasticsearch and OpenSearch nodes: the sample records arrive as documents, and no trouble that a node can
//! make loses a record, writes one twice or puts one among the dead letters that does not belong there.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use flowstone_testkit::chaos::{ChaosProxy, Fault, Rule};
use flowstone_testkit::http::Client;
use flowstone_testkit::servers::{self, Installed, Node, Product};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use support::{Flowstone, assert_conserved, expected_document, flow_lines, free_port, index_of, iso, shared};

fn main() {
    let tests: Vec<Trial> = servers::all()
        .iter()
        .flat_map(|spec| {
            [
                servers::trial("sample_records_arrive", spec, sample_records_arrive),
                servers::trial("trouble_loses_nothing", spec, trouble_loses_nothing),
                servers::trial("no_server_at_start_is_waited_for", spec, no_server_at_start),
                servers::trial("a_red_index_does_not_stop_the_others", spec, red_index),
            ]
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// The README's topology, with the places of this test.
fn config(hosts: &str, index: &str, metrics: u16, follow: bool) -> String {
    format!(
        r#"
data_dir = "state-{index}"

[metrics]
listen = "127.0.0.1:{metrics}"

[sources.in]
type = "file"
paths = ["*.log"]
follow = {follow}

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
hosts = ["{hosts}"]
index = "{index}-%{{+YYYY.MM.dd}}"
flush_interval = "50ms"
batch.max_rows = 1000

[sinks.dead]
type = "file"
inputs = ["in.rejected", "ok.rejected", "flow.rejected", "es.rejected"]
path = "dead-{index}.ndjson"
"#
    )
}

// --- the samples

/// Every record of `real-lines.json` that has the default format, through the contract's topology.
fn sample_records_arrive(server: &Installed) -> Result<(), Failed> {
    let Some(path) = shared("samples/real-lines.json") else { return Ok(()) };
    let samples: Vec<Value> = serde_json::from_slice(&fs::read(path)?)?;
    let mut wanted: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut text = String::new();
    for sample in &samples {
        let Some(line) = sample["line"].as_str() else { continue };
        let typed = &sample["typed"];
        let default_format = line.split_whitespace().count() == 14 && typed["version"] == 2;
        if !default_format || !line.contains("OK") || typed.get("_error").is_some() {
            continue;
        }
        let Some(start) = typed["start"].as_i64().filter(|start| *start < 100_000_000_000) else { continue };
        text.push_str(line);
        text.push('\n');
        let mut document: serde_json::Map<String, Value> = typed
            .as_object()
            .expect("a map")
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.replace('_', "-"), value.clone()))
            .collect();
        document.insert("@timestamp".to_owned(), json!(iso(start)));
        let document = Value::Object(document);
        wanted.entry(index_of(&document)).or_default().push(document);
    }
    assert!(
        wanted.values().map(Vec::len).sum::<usize>() >= 10,
        "there are sample records of the default format"
    );

    let node = server.start(&[])?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("samples.log"), &text)?;
    let port = free_port();
    Flowstone::run(folder.path(), &config(&node.url(), "vpcflowlogs", port, false))
        .finish(Duration::from_secs(60));
    for (index, documents) in wanted {
        let mut found: Vec<Value> =
            node.documents(&index).into_iter().map(|document| document.source).collect();
        assert_eq!(found.len(), documents.len(), "{index}");
        for document in documents {
            let at = found.iter().position(|other| *other == document);
            let at = at.unwrap_or_else(|| panic!("{index} lacks {document}; it has {found:?}"));
            found.swap_remove(at);
        }
    }
    let mapping = node.get("/vpcflowlogs-*/_mapping").ok().body;
    for part in [r#""srcaddr":{"type":"ip""#, r#""@timestamp":{"type":"date""#, r#""bytes":{"type":"#] {
        assert!(mapping.contains(part), "the template's mapping lacks {part}: {mapping}");
    }
    Ok(())
}

// --- trouble

const LINES: usize = 20_000;

struct Trouble {
    name: &'static str,
    /// What goes wrong before the run, for the index of the second day.
    begin: fn(&Node, &str),
    /// What somebody does about it.
    end: fn(&Node, &str),
}

const TROUBLES: [Trouble; 4] = [
    Trouble {
        name: "blocked",
        begin: |node, index| {
            node.put(&format!("/{index}"), "").ok();
            node.put(&format!("/{index}/_settings"), r#"{"index.blocks.write":true}"#).ok();
        },
        end: |node, index| {
            node.put(&format!("/{index}/_settings"), r#"{"index.blocks.write":false}"#).ok();
        },
    },
    Trouble {
        name: "closed",
        begin: |node, index| {
            node.put(&format!("/{index}"), "").ok();
            node.post(&format!("/{index}/_close"), "").ok();
        },
        end: |node, index| {
            node.post(&format!("/{index}/_open"), "").ok();
        },
    },
    Trouble {
        name: "shards",
        begin: |node, _| {
            node.put("/_cluster/settings", r#"{"transient":{"cluster.max_shards_per_node":1}}"#).ok();
        },
        end: |node, _| {
            node.put("/_cluster/settings", r#"{"transient":{"cluster.max_shards_per_node":null}}"#).ok();
        },
    },
    Trouble {
        name: "autocreate",
        begin: |node, _| {
            node.put("/_cluster/settings", r#"{"transient":{"action.auto_create_index":"false"}}"#).ok();
        },
        end: |node, _| {
            node.put("/_cluster/settings", r#"{"transient":{"action.auto_create_index":null}}"#).ok();
        },
    },
];

fn trouble_loses_nothing(server: &Installed) -> Result<(), Failed> {
    let mut node = server.start(&[])?;
    let folder = tempfile::tempdir()?;
    let lines = flow_lines(LINES);
    fs::write(folder.path().join("flow.log"), lines.join("\n") + "\n")?;
    killed_and_restarted(&mut node, folder.path(), &lines)?;
    for trouble in TROUBLES {
        // Elasticsearch 6 has the setting and only warns when the limit is passed.
        if trouble.name == "shards"
            && server.spec().product == Product::Elasticsearch
            && server.spec().major() == 6
        {
            continue;
        }
        let index = format!("t-{}", trouble.name);
        let day = &index_of(&expected_document(&lines[LINES / 2]))["vpcflowlogs".len()..].to_owned();
        (trouble.begin)(&node, &format!("{index}{day}"));
        let port = free_port();
        let mut running = Flowstone::run(folder.path(), &config(&node.url(), &index, port, false));
        running.wait_for_log("until somebody acts", Duration::from_secs(60));
        wait_for_status(port, 503);
        // Rows that have somewhere to go go there all the same.
        if matches!(trouble.name, "blocked" | "closed") {
            let free = lines
                .iter()
                .filter(|line| !index_of(&expected_document(line)).ends_with(day.as_str()))
                .count();
            wait_for_count(&node, &format!("{index}-*,-{index}{day}"), free as u64);
        }
        (trouble.end)(&node, &format!("{index}{day}"));
        running.finish(Duration::from_secs(120));
        assert_exactly_once(&node, &index, &lines, trouble.name);
        assert!(
            !folder.path().join(format!("dead-{index}.ndjson")).exists(),
            "{}: nothing is rejected",
            trouble.name
        );
    }
    Ok(())
}

fn killed_and_restarted(node: &mut Node, folder: &Path, lines: &[String]) -> Result<(), Failed> {
    let proxy = ChaosProxy::start(&node.url())?;
    proxy.forget_bodies();
    // In so many requests, each answered so late, that it cannot end before it was asked how it is.
    proxy.rule(Rule::bulk(Fault::Delay(Duration::from_millis(200))));
    let port = free_port();
    let small = config(&proxy.url(), "t-killed", port, false).replace("max_rows = 1000", "max_rows = 250");
    let mut running = Flowstone::run(folder, &small);
    running.wait_until("a tenth", Duration::from_secs(60), || node.count("t-killed-*") >= LINES as u64 / 10);
    node.kill();
    running.wait_for_log("refused for now", Duration::from_secs(30));
    wait_for_status(port, 503);
    node.restart()?;
    wait_for_status(port, 200);
    assert_conserved(port);
    running.finish(Duration::from_secs(120));
    assert_exactly_once(node, "t-killed", lines, "killed and restarted");
    assert!(!folder.join("dead-t-killed.ndjson").exists(), "nothing is rejected");
    Ok(())
}

fn no_server_at_start(server: &Installed) -> Result<(), Failed> {
    let mut node = server.start(&[])?;
    let folder = tempfile::tempdir()?;
    let lines = flow_lines(1000);
    fs::write(folder.path().join("flow.log"), lines.join("\n") + "\n")?;
    node.kill();
    let port = free_port();
    let mut running = Flowstone::run(folder.path(), &config(&node.url(), "late", port, false));
    running.wait_for_log("sink cannot be opened; retrying", Duration::from_secs(30));
    wait_for_status(port, 503);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        running.log().matches("sink cannot be opened; retrying").count(),
        1,
        "said once:\n{}",
        running.log()
    );
    node.restart()?;
    running.finish(Duration::from_secs(60));
    assert_exactly_once(&node, "late", &lines, "late");
    Ok(())
}

// --- helpers

/// Waits until `/readyz` answers so.
#[track_caller]
fn wait_for_status(port: u16, status: u16) {
    let client = Client::new(&format!("http://127.0.0.1:{port}")).expect("an address");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = client.request("GET", "/readyz", &[], b"");
        if answer.as_ref().is_ok_and(|reply| reply.status == status) {
            return;
        }
        assert!(Instant::now() < end, "/readyz never answered {status}, last {answer:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn wait_for_count(node: &Node, index: &str, count: u64) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        node.post("/_refresh", "");
        let reply = node.get(&format!("/{index}/_count?ignore_unavailable=true&expand_wildcards=open"));
        let found = if reply.status == 200 { reply.json()["count"].as_u64() } else { None };
        if found == Some(count) {
            return;
        }
        assert!(
            Instant::now() < end,
            "expected {count} documents in {index}, found {found:?}: {}",
            reply.body
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn assert_exactly_once(node: &Node, index: &str, lines: &[String], what: &str) {
    let mut expected: HashMap<String, Value> = HashMap::new();
    for line in lines {
        let document = expected_document(line);
        expected.insert(document["interface-id"].as_str().expect("a text").to_owned(), document);
    }
    let documents = node.documents(&format!("{index}-*"));
    assert_eq!(documents.len(), lines.len(), "{what}: documents");
    for document in documents {
        let interface = document.source["interface-id"].as_str().expect("a text");
        let wanted =
            expected.remove(interface).unwrap_or_else(|| panic!("{what}: {interface} is there twice"));
        assert_eq!(document.source, wanted, "{what}");
        assert_eq!(document.index, index_of(&wanted).replace("vpcflowlogs", index), "{what}");
    }
}

// --- a red index

/// An index whose shard is nowhere: its rows wait, on disk over a restart, and those of other indices are stored.
fn red_index(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let folder = tempfile::tempdir()?;
    let lines = flow_lines(LINES);
    fs::write(folder.path().join("flow.log"), lines.join("\n") + "\n")?;
    let red = index_of(&expected_document(&lines[LINES / 2])).replace("vpcflowlogs", "t-red");
    let nowhere =
        r#"{"settings":{"index.routing.allocation.require._name":"nosuch","index.number_of_replicas":0}}"#;
    node.put(&format!("/{red}?wait_for_active_shards=0"), nowhere).ok();
    let port = free_port();
    let config = config(&node.url(), "t-red", port, true)
        .replace("flush_interval", "request_timeout = \"4s\"\nflush_interval");
    let mut running = Flowstone::run(folder.path(), &config);
    let day = red["t-red".len()..].to_owned();
    let free = lines.iter().filter(|line| !index_of(&expected_document(line)).ends_with(&day)).count();
    wait_for_count(&node, &format!("t-red-*,-{red}"), free as u64);
    wait_for_status(port, 503);
    assert_conserved(port);
    running.signal("TERM");
    // Nobody waits for the shard: the rows are on disk.
    assert!(running.wait(Duration::from_secs(60)).success(), "{}", running.log());

    let mut running = Flowstone::run(folder.path(), &config);
    running.wait_for_log("rows of an earlier run wait on disk", Duration::from_secs(30));
    let anywhere = r#"{"index.routing.allocation.require._name":null}"#;
    node.put(&format!("/{red}/_settings"), anywhere).ok();
    wait_for_count(&node, "t-red-*", LINES as u64);
    wait_for_status(port, 200);
    running.signal("TERM");
    assert!(running.wait(Duration::from_secs(60)).success(), "{}", running.log());
    assert_exactly_once(&node, "t-red", &lines, "red");
    assert!(!folder.path().join("dead-t-red.ndjson").exists(), "nothing is rejected");
    Ok(())
}
