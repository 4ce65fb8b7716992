//! The recipes that stand for a Logstash pipeline, on real nodes: documents, mapping, one index a day.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flowstone_testkit::servers::{self, Installed, Node};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use support::documents::{database, seed_document, vpcflow_document};
use support::{Flowstone, binary, flow_lines, free_port, index_of};

fn main() {
    let tests: Vec<Trial> = servers::all()
        .iter()
        .map(|spec| servers::trial("the_recipes_write_what_logstash_would", spec, recipes))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

const LINES: usize = 3000;

fn recipes(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    recipe(&node, "seed.toml", seed_document)?;
    recipe(&node, "vpcflow.toml", vpcflow_document)
}

fn recipe(node: &Node, name: &str, document: fn(&str) -> Value) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let lines = flow_lines(LINES);
    fs::create_dir(folder.path().join("flow"))?;
    // The last line has no traffic.
    let silent = "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA";
    fs::write(folder.path().join("flow/a.log"), lines.join("\n") + "\n" + silent + "\n")?;
    fs::write(folder.path().join("city.mmdb"), database().bytes())?;
    fs::write(folder.path().join("flowstone.toml"), here(name))?;

    let mut command = Command::new(binary());
    command.args(["run", "-c", "flowstone.toml"]).current_dir(folder.path());
    command.env("GEOIP_DATABASE", "city.mmdb").env("ELASTICSEARCH_URL", node.url());
    command.env("PATTERNS_DIR", workspace().join("config/patterns"));
    Flowstone::start(command).finish(Duration::from_secs(120));

    let mut expected: BTreeMap<String, Value> = BTreeMap::new();
    for line in &lines {
        let document = document(line);
        expected.insert(document["interface-id"].as_str().expect("a text").to_owned(), document);
    }
    let (mut days, mut indices) = (BTreeSet::new(), BTreeSet::new());
    for found in node.documents("vpcflowlogs-*") {
        indices.insert(found.index.clone());
        let Some(interface) = found.source["interface-id"].as_str() else {
            // The seed's pipeline stores a record without traffic as it was read.
            assert_eq!((name, &found.source["message"]), ("seed.toml", &json!(silent)));
            assert_eq!(found.source["@version"], "1");
            continue;
        };
        let wanted = expected.remove(interface).unwrap_or_else(|| panic!("{interface} is there twice"));
        assert_eq!(found.source, wanted);
        assert_eq!(found.index, index_of(&wanted));
        days.insert(found.index);
    }
    assert!(expected.is_empty(), "{} records are missing", expected.len());
    assert_eq!(days.len(), 3, "one index a day: {days:?}");

    let mapping = node.get("/vpcflowlogs-*/_mapping").ok().body;
    for part in [
        r#""srcaddr":{"type":"ip""#,
        r#""@timestamp":{"type":"date""#,
        r#""start_time":{"type":"date""#,
        r#""location":{"type":"geo_point""#,
    ] {
        assert!(mapping.contains(part), "the mapping lacks {part}: {mapping}");
    }
    let dead: Vec<_> = fs::read_dir(folder.path().join("state"))?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("dead"))
        .collect();
    assert!(dead.is_empty(), "nothing is rejected: {dead:?}");
    // The next recipe finds the node as this one did, but for the template.
    for index in indices {
        node.delete(&format!("/{index}")).ok();
    }
    Ok(())
}

fn workspace() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The recipe with this machine's places, reading files once: `cloudwatch.rs` runs it as it is.
fn here(name: &str) -> String {
    let mut text = fs::read_to_string(workspace().join("config").join(name)).expect("the recipe");
    let (pipeline, _) = text.split_once("[[tests]]").expect("a recipe has tests");
    text = pipeline.to_owned();
    let source = text.find("\n[sources.in]").expect("the source") + 1;
    let behind = source + text[source..].find("\n\n").expect("an empty line behind it");
    text.replace_range(
        source..behind,
        "[sources.in]\ntype = \"file\"\nfollow = false\npaths = [\"flow/*.log\"]",
    );
    for (from, to) in [
        ("\"/var/lib/flowstone", "\"state".to_owned()),
        ("127.0.0.1:9598", format!("127.0.0.1:{}", free_port())),
    ] {
        assert!(text.contains(from), "{name} says {from}");
        text = text.replace(from, &to);
    }
    text
}
