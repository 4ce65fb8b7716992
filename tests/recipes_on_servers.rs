//! The recipes that stand for a Logstash pipeline, on real nodes: documents, mapping, one index a day.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flowstone_testkit::mmdb::Mmdb;
use flowstone_testkit::servers::{self, Installed, Node};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use support::{Flowstone, binary, expected_document, flow_lines, free_port, index_of, iso};

fn main() {
    let tests: Vec<Trial> = servers::all()
        .iter()
        .map(|spec| servers::trial("the_recipes_write_what_logstash_would", spec, recipes))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

const LINES: usize = 3000;
/// What the database knows: about a quarter of the destinations of [`flow_lines`].
const KNOWN: [&str; 3] = ["20.0.0.0/8", "64.0.0.0/4", "100.0.0.0/9"];

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
    let source = text.find("[sources.in]").expect("the source");
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

// --- what Logstash would have written, rendered by hand

fn database() -> Mmdb {
    let name = |text: &str| json!({ "en": text });
    let record = json!({
        "city": { "names": name("Boxford") },
        "continent": { "code": "EU", "names": name("Europe") },
        "country": { "iso_code": "GB", "names": name("United Kingdom") },
        "location": { "latitude": 51.75, "longitude": -1.25, "time_zone": "Europe/London" },
        "postal": { "code": "OX1" },
        "subdivisions": [{ "iso_code": "WBK", "names": name("West Berkshire") }],
    });
    let mut database = Mmdb::new("GeoLite2-City");
    for network in KNOWN {
        database.insert(network, &record);
    }
    database
}

/// The object of an address, and whether there is something in it.
fn place(address: &str) -> (Value, bool) {
    let mut octets = address.split('.').map(|octet| octet.parse::<u8>().expect("an octet"));
    let (first, second) = (octets.next().expect("an octet"), octets.next().expect("an octet"));
    if first != 20 && first >> 4 != 4 && (first != 100 || second >= 128) {
        return (json!({}), false);
    }
    let object = json!({
        "ip": address, "city_name": "Boxford", "continent_code": "EU",
        "country_code2": "GB", "country_code3": "GB", "country_name": "United Kingdom",
        "region_code": "WBK", "region_name": "West Berkshire", "postal_code": "OX1",
        "timezone": "Europe/London", "latitude": 51.75, "longitude": -1.25,
        "location": { "lat": 51.75, "lon": -1.25 },
    });
    (object, true)
}

fn locate(document: &mut Value) {
    let mut tags = Vec::new();
    for (source, target) in [("srcaddr", "src_geoip"), ("dstaddr", "dst_geoip")] {
        let (object, found) = place(document[source].as_str().expect("an address"));
        document[target] = object;
        if !found {
            tags.push(format!("{target}_lookup_failure"));
        }
    }
    if !tags.is_empty() {
        document["tags"] = json!(tags);
    }
}

fn vpcflow_document(line: &str) -> Value {
    let mut document = expected_document(line);
    for (from, to) in [("start", "start_time"), ("end", "end_time")] {
        let time = document.as_object_mut().expect("an object").remove(from).expect("a time");
        document[to] = json!(iso(time.as_i64().expect("a number")));
    }
    locate(&mut document);
    document
}

fn seed_document(line: &str) -> Value {
    let mut document = vpcflow_document(line);
    document["message"] = json!(line);
    document["@version"] = json!("1");
    for name in ["version", "srcport", "dstport", "protocol"] {
        document[name] = json!(document[name].to_string());
    }
    for name in ["packets", "bytes"] {
        document[name] = json!(document[name].as_f64().expect("a number"));
    }
    document
}
