//! `kill -9` at any time: in the end every line is in Elasticsearch exactly once.
//!
//! The program runs over a file of 200,000 lines and is killed 20 times, each while the index holds between 1 % and
//! 99 % of them and a bulk request is open. One kill falls between the server's reply and the checkpoint. The same
//! with checkpoint and delivery deliberately swapped loses lines, which shows that this test can fail.

mod support;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flowstone_testkit::chaos::{ChaosProxy, Fault, Rule};
use flowstone_testkit::servers::{self, Installed, Node};
use libtest_mimic::{Arguments, Failed};
use support::{Flowstone, expected_document, flow_lines, free_port, index_of, metric};

const LINES: usize = 200_000;
const KILLS: usize = 20;
/// The first argument of this very program when it is to be flowstone with its checkpoints before its deliveries.
const SWAPPED: &str = "--checkpoint-before-delivery";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == SWAPPED) {
        swapped(Path::new(&arguments[2]));
    }
    let Some(spec) = servers::by_name("es7") else { unreachable!("es7 is known") };
    let tests = vec![
        servers::trial("twenty_kills_lose_nothing_and_write_nothing_twice", spec, twenty_kills),
        servers::trial("with_checkpoint_and_delivery_swapped_lines_are_lost", spec, swapped_order_loses),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn config(hosts: &str, metrics: u16) -> String {
    format!(
        r#"
data_dir = "state"
batch.max_rows = 500

[metrics]
listen = "127.0.0.1:{metrics}"

[sources.in]
type = "file"
paths = ["flow.log"]
follow = false

[transforms.flow]
type = "vpcflow"
inputs = ["in"]

[sinks.es]
type = "elasticsearch"
inputs = ["flow"]
hosts = ["{hosts}"]
index = "vpcflowlogs-%{{+YYYY.MM.dd}}"
batch.max_rows = 500
flush_interval = "20ms"

[sinks.dead]
type = "file"
inputs = ["flow.rejected", "es.rejected"]
path = "dead.ndjson"
"#
    )
}

fn twenty_kills(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let proxy = ChaosProxy::start(&node.url())?;
    proxy.forget_bodies();
    let folder = tempfile::tempdir()?;
    let lines = flow_lines(LINES);
    std::fs::write(folder.path().join("flow.log"), lines.join("\n") + "\n")?;

    let (mut met_duplicates, mut before_checkpoint) = (0, 0);
    for kill in 0..KILLS {
        // Replies come late, so that requests are open whenever the kill falls.
        proxy.rule(Rule::bulk(Fault::Delay(Duration::from_millis(20))));
        let port = free_port();
        let mut running = Flowstone::run(folder.path(), &config(&proxy.url(), port));
        let goal = LINES as u64 * (2 + 4 * kill as u64) / 100;
        running.wait_until("its kill", Duration::from_secs(120), || {
            node.count("vpcflowlogs-*") >= goal && proxy.now().in_flight > 0
        });
        let duplicates = metric(port, "flowstone_sink_duplicates_total");
        met_duplicates += usize::from(duplicates > 0.0);
        if kill % 5 == 0 {
            // The server has the rows and its reply is on the way, but no checkpoint can know of it yet.
            proxy.rule(Rule::bulk(Fault::Hold));
            proxy.clear();
            proxy.rule(Rule::bulk(Fault::Hold));
            assert!(proxy.wait_until(Duration::from_secs(30), |now| now.held > 0), "a reply is held");
            before_checkpoint += 1;
        }
        let open = proxy.now().in_flight;
        running.kill();
        proxy.clear();
        let share = node.count("vpcflowlogs-*") as f64 / LINES as f64;
        assert!(open > 0, "a bulk request was open");
        assert!((0.01..0.99).contains(&share), "killed at {share}");
    }
    assert!(met_duplicates >= 5, "only {met_duplicates} restarts met a 409");
    assert!(before_checkpoint >= 1);

    proxy.clear();
    let port = free_port();
    Flowstone::run(folder.path(), &config(&proxy.url(), port)).finish(Duration::from_secs(120));
    assert_exactly_once(&node, &lines);
    assert!(!folder.path().join("dead.ndjson").exists(), "nothing is among the dead letters");
    Ok(())
}

#[track_caller]
fn assert_exactly_once(node: &Node, lines: &[String]) {
    let documents = node.documents("vpcflowlogs-*");
    assert_eq!(documents.len(), lines.len(), "documents");
    let mut expected: HashMap<String, serde_json::Value> = lines
        .iter()
        .map(|line| {
            let document = expected_document(line);
            (document["interface-id"].as_str().expect("a text").to_owned(), document)
        })
        .collect();
    for document in documents {
        let interface = document.source["interface-id"].as_str().expect("a text");
        let wanted = expected.remove(interface).unwrap_or_else(|| panic!("{interface} is there twice"));
        assert_eq!(document.source, wanted);
        assert_eq!(document.index, index_of(&wanted));
    }
    assert!(expected.is_empty());
}

fn swapped_order_loses(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let proxy = ChaosProxy::start(&node.url())?;
    proxy.forget_bodies();
    let folder = tempfile::tempdir()?;
    let lines = flow_lines(LINES / 10);
    std::fs::write(folder.path().join("flow.log"), lines.join("\n") + "\n")?;
    let start = |folder: &Path| {
        let path = folder.join("flowstone.toml");
        std::fs::write(&path, config(&proxy.url(), free_port())).map(|()| {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.arg(SWAPPED).arg(&path).current_dir(folder);
            Flowstone::start(command)
        })
    };
    for _ in 0..3 {
        proxy.rule(Rule::bulk(Fault::never_answer()));
        let running = start(folder.path())?;
        assert!(proxy.wait_until(Duration::from_secs(60), |now| now.in_flight > 0), "{}", running.log());
        // Long enough for the checkpoint, which does not wait for the delivery here.
        std::thread::sleep(Duration::from_millis(1500));
        running.kill();
        proxy.clear();
    }
    start(folder.path())?.finish(Duration::from_secs(120));
    let found: BTreeSet<String> = node
        .documents("vpcflowlogs-*")
        .into_iter()
        .map(|document| document.source["interface-id"].as_str().expect("a text").to_owned())
        .collect();
    assert!(found.len() < lines.len(), "with the order swapped, lines must be missing");
    Ok(())
}

/// flowstone, but for the one thing.
fn swapped(config: &Path) -> ! {
    flowstone::install_crypto();
    let topology = match flowstone::load_topology(config) {
        Ok(topology) => topology,
        Err(problems) => {
            eprintln!("{problems}");
            std::process::exit(78);
        }
    };
    flowstone_engine::COMMIT_BEFORE_DELIVERY.store(true, Ordering::Relaxed);
    let outcome = flowstone_engine::run(topology, flowstone_engine::RunOptions::default());
    std::process::exit(i32::from(outcome != flowstone_engine::Outcome::Finished));
}
