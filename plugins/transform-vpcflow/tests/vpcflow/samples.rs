//! Real lines and lines at the edges from `$FLOWSTONE_SHARED/samples`, which say themselves what they must become.

use serde_json::Value;
use transform_vpcflow::{FieldNames, VpcflowOptions};

use crate::{Outcome, outcomes, with_format};

/// The cases of a file, or nothing when it is not there.
fn cases(file: &str) -> Option<Vec<Value>> {
    let shared = std::env::var("FLOWSTONE_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let path = std::path::Path::new(&shared).join("samples").join(file);
    match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).unwrap()),
        Err(error) => {
            eprintln!("left out: {} ({error})", path.display());
            None
        }
    }
}

/// What a case says, without the fields that must be absent.
fn expected(typed: &Value) -> Value {
    let fields = typed.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn check(file: &str) {
    let mut checked = 0;
    for case in cases(file).unwrap_or_default() {
        let (id, line) = (case["id"].as_str().unwrap(), case["line"].as_str().unwrap());
        if case["typed"].is_null() {
            // A JSON object, which is a matter of the source's `decoding`.
            assert_eq!(id, "r050");
            continue;
        }
        checked += 1;
        let format = case["format"].as_str().unwrap();
        let options = VpcflowOptions { names: FieldNames::Snake, ..with_format(format) };
        let outcome = outcomes(&options, &[line]).remove(0);
        match outcome {
            Outcome::Discarded(reason) if line.is_empty() => assert_eq!(reason, "empty_line", "{id}"),
            Outcome::Discarded(reason) if line == format => assert_eq!(reason, "header_line", "{id}"),
            Outcome::Rejected(reject) => {
                assert!(case["typed"].get("_error").is_some(), "{id}: {reject:?}");
                assert_eq!(reject.reason, "field_count", "{id}");
            }
            Outcome::Document(mut document) => {
                let seconds = |name: &str| case["typed"].get(name).and_then(Value::as_i64);
                let timestamp = document.as_object_mut().unwrap().remove("@timestamp").unwrap();
                if let Some(start) = seconds("start") {
                    let millis = if start > 100_000_000_000 { start } else { start * 1000 };
                    assert_eq!(timestamp, flowstone_core::event::format_iso_millis(millis), "{id}");
                }
                assert_eq!(document, expected(&case["typed"]), "{id}");
            }
            outcome => panic!("{id}: {outcome:?}"),
        }
    }
    assert!(checked == 0 || checked >= 35, "{file} has only {checked} cases");
}

#[test]
fn every_real_line_becomes_what_its_source_says() {
    check("real-lines.json");
}

#[test]
fn every_line_at_the_edges_becomes_what_its_source_says() {
    check("edge-cases.json");
}

#[test]
fn community_ids_are_those_that_elastic_computed() {
    let mut checked = 0;
    for case in cases("real-lines.json").unwrap_or_default() {
        let Some(expect) = case.pointer("/expected/network/community_id") else { continue };
        let options =
            VpcflowOptions { names: FieldNames::Ecs, ..with_format(case["format"].as_str().unwrap()) };
        let document = crate::parsed(&options, case["line"].as_str().unwrap());
        assert_eq!(document["network"]["community_id"], *expect, "{}", case["id"]);
        checked += 1;
    }
    assert!(checked == 0 || checked >= 4, "only {checked} cases");
}

#[test]
fn a_file_with_a_header_is_read_by_it() {
    let shared = std::env::var("FLOWSTONE_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let path = std::path::Path::new(&shared).join("samples/s3-file-with-header-v3.log");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return eprintln!("left out: {}", path.display());
    };
    let lines: Vec<&str> = text.lines().collect();
    let outcomes = outcomes(&with_format(lines[0]), &lines);
    assert_eq!(outcomes[0], Outcome::Discarded("header_line"));
    let Outcome::Document(first) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(first["srcport"], 443);
    assert_eq!(first["vpc-id"], "vpc-0461a061");
    assert_eq!(first["@timestamp"], "2019-09-12T14:59:27.000Z");
}
