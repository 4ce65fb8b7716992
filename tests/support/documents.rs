//! What the recipes' pipelines must write for a flow-log line, rendered by hand, and the database that they ask.
#![allow(dead_code)] // each test file uses its part

use flowstone_testkit::mmdb::Mmdb;
use serde_json::{Value, json};

use super::{expected_document, iso};

/// What the database knows: about a quarter of the destinations of [`super::flow_lines`].
const KNOWN: [&str; 3] = ["20.0.0.0/8", "64.0.0.0/4", "100.0.0.0/9"];

/// A City database of one place.
pub(crate) fn database() -> Mmdb {
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

/// What `config/vpcflow.toml` makes of a line.
pub(crate) fn vpcflow_document(line: &str) -> Value {
    let mut document = expected_document(line);
    for (from, to) in [("start", "start_time"), ("end", "end_time")] {
        let time = document.as_object_mut().expect("an object").remove(from).expect("a time");
        document[to] = json!(iso(time.as_i64().expect("a number")));
    }
    locate(&mut document);
    document
}

/// What `config/seed.toml`, and Logstash, makes of a line.
pub(crate) fn seed_document(line: &str) -> Value {
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
