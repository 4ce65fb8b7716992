//! The conformance cases of grok and of the pattern library, read at run time from the shared folder: what Logstash
//! made of them, this transform makes of them too, but for the differences listed below with their reasons.

use std::path::{Path, PathBuf};

use flowstone_core::event::{Batch, BitSet, Column, Path as Field, RowId, Value, format_iso_millis};
use flowstone_core::{
    Build, BuildCx, Clock, ComponentId, Decorations, Entry, Kind, Metrics, Node, NodeKind, Span, Table, Transform, TransformCx,
    find, parse_json,
};
use transform_grok as _;

/// Where a case may give another answer than Logstash, and why that is better.
struct Difference {
    applies: fn(&Value) -> bool,
    reason: &'static str,
    holds: fn(&Result<Value, Vec<String>>) -> bool,
}

const DIFFERENCES: [Difference; 2] = [
    Difference {
        applies: |case| types_of(case).any(|name| !matches!(name, "int" | "float")),
        reason: "Logstash ignores a type it does not know, and the value stays text; flowstone refuses it at start",
        holds: |outcome| matches!(outcome, Err(errors) if errors.iter().any(|error| error.contains("unknown type"))),
    },
    Difference {
        applies: |case| text(case, &["expect", "tags", "0"]) == Some("_groktimeout"),
        reason: "a pattern that sends Logstash's engine astray is matched in linear time here, so that there is an answer",
        holds: |outcome| matches!(outcome, Ok(document) if at(document, &["tags"]).is_none()),
    },
];

fn shared() -> PathBuf {
    std::env::var_os("FLOWSTONE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from)
}

fn at<'v>(value: &'v Value, names: &[&str]) -> Option<&'v Value> {
    let names: Vec<_> = names.iter().map(|name| std::sync::Arc::from(*name)).collect();
    value.descend(&names)
}

fn text<'v>(value: &'v Value, names: &[&str]) -> Option<&'v str> {
    at(value, names).and_then(Value::as_str)
}

/// The types that a case's patterns give their captures: `%{NAME:field:type}`.
fn types_of(case: &Value) -> impl Iterator<Item = &str> {
    let mut patterns = Vec::new();
    strings(at(case, &["config", "match"]).unwrap_or(&Value::Null), &mut patterns);
    patterns.into_iter().flat_map(|pattern| {
        pattern.split("%{").skip(1).filter_map(|rest| rest.split('}').next()?.split(':').nth(2)).filter(|name| !name.is_empty())
    })
}

fn strings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::Str(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(map) => map.values().for_each(|item| strings(item, out)),
        _ => {}
    }
}

/// A JSON value as a configuration file would hold it.
fn node(key: &str, value: &Value, files: &Path) -> Node {
    let kind = match value {
        // The cases were recorded from files in which booleans may be quoted.
        Value::Str(text) if matches!(&**text, "true" | "false") => NodeKind::Boolean(&**text == "true"),
        Value::Str(text) if key == "patterns_dir" => NodeKind::String(files.join(&**text).display().to_string()),
        Value::Str(text) => NodeKind::String(text.to_string()),
        Value::Int(number) => NodeKind::Integer(*number),
        Value::Float(number) => NodeKind::Float(*number),
        Value::Bool(flag) => NodeKind::Boolean(*flag),
        Value::Array(items) => NodeKind::Array(items.iter().map(|item| node(key, item, files)).collect()),
        Value::Object(map) => NodeKind::Table(table(map.iter().map(|(name, item)| (&**name, node(key, item, files))))),
        other => panic!("{key} = {other:?}"),
    };
    Node { span: Span::default(), text_start: None, from_variable: false, kind }
}

fn table<'k>(entries: impl Iterator<Item = (&'k str, Node)>) -> Table {
    let entries = entries.map(|(key, value)| (key.to_owned(), Entry { key_span: Span::default(), value }));
    Table { span: Span::default(), entries: entries.collect() }
}

fn build(config: &Table) -> Result<Box<dyn Transform>, Vec<String>> {
    let Some(plugin) = find(Kind::Transform, "grok") else { panic!("grok is registered") };
    let Build::Transform(make) = plugin.build else { panic!("grok is a transform") };
    let id = ComponentId { name: "grok".into(), kind: Kind::Transform, type_name: "grok" };
    let cx = BuildCx { id, data_dir: PathBuf::new(), clock: Clock::Fixed(0) };
    let mut diagnostics = Vec::new();
    match make(config, &cx, &mut diagnostics) {
        Ok(Some(transform)) => Ok(transform),
        Ok(None) => Err(diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()),
        Err(errors) => Err(errors.into_iter().map(|error| format!("{} ({})", error.message, error.label)).collect()),
    }
}

const TIME: i64 = 1_551_002_309_000;

fn run(case: &Value, files: &Path) -> Result<Value, Vec<String>> {
    let empty = Value::object();
    let Some(Value::Object(options)) = at(case, &["config"]) else { panic!("a case has a config") };
    let mut config = table(options.iter().map(|(key, value)| (&**key, node(key, value, files))));
    if let Some(Value::Object(pattern_files)) = at(case, &["pattern_files"]) {
        for (name, content) in pattern_files {
            let path = files.join(&**name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.as_str().unwrap()).unwrap();
        }
        if pattern_files.keys().any(|name| name.starts_with("LOGSTASH_HOME/")) {
            let home = Node { kind: NodeKind::String(files.join("LOGSTASH_HOME/patterns").display().to_string()), ..node("", &Value::Int(0), files) };
            let given = config.entries.shift_remove("patterns_dir").map(|entry| entry.value);
            let mut places = vec![home];
            match given {
                Some(Node { kind: NodeKind::Array(more), .. }) => places.extend(more),
                Some(single) => places.push(single),
                None => {}
            }
            let value = Node { kind: NodeKind::Array(places), ..node("", &Value::Int(0), files) };
            config.entries.insert("patterns_dir".to_owned(), Entry { key_span: Span::default(), value });
        }
    }
    let decorations = Decorations::read(&config, &mut Vec::new()).expect("the common options are well-formed");
    for key in ["add_field", "remove_field", "add_tag", "remove_tag", "id"] {
        config.entries.shift_remove(key);
    }
    let mut transform = build(&config)?;

    // Three rows of the same event, so that whole columns are written; the middle one is checked. A second run of
    // only the middle row, the others inactive, must give the same and leave the others alone.
    let input = at(case, &["input"]).unwrap_or(&empty);
    let mut documents = Vec::new();
    for alone in [false, true] {
        let mut batch = Batch::new((0..3).map(|number| RowId::from_u128(number)).collect());
        batch.put_columns(vec![(Field::timestamp(), Column::Const(Value::Time(TIME)))]);
        let Value::Object(fields) = input else { panic!("an event is an object") };
        for row in 0..3 {
            for (name, value) in fields {
                batch.set(row, &Field::top(name), value.clone()).unwrap();
            }
        }
        let before = batch.to_value(0);
        if alone {
            let mut only = BitSet::none(3);
            only.insert(1);
            batch.set_active(Some(only));
        }
        let id = ComponentId { name: "grok".into(), kind: Kind::Transform, type_name: "grok" };
        let metrics = Metrics::new().component(&id);
        transform.apply(&mut batch, &mut TransformCx::new(&metrics, Clock::Fixed(0)));
        let mut matched = batch.active_set();
        if let Some(unmatched) = batch.take_unmatched() {
            matched.subtract(&unmatched);
        }
        decorations.apply(&mut batch, &matched);
        if alone {
            assert_eq!(batch.to_value(0), before, "an inactive row is left alone");
        } else {
            assert_eq!(batch.to_value(0), batch.to_value(1));
        }
        documents.push(batch.to_value(1));
    }
    assert_eq!(documents[0], documents[1], "whole columns and single rows give the same");
    Ok(documents.remove(0))
}

/// Whether a document is what the case says; timestamps and infinities are text in the cases.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Time(millis), Value::Str(text)) => format_iso_millis(*millis) == **text,
        (Value::Float(number), Value::Str(text)) if number.is_infinite() => {
            **text == *if *number > 0.0 { "Infinity" } else { "-Infinity" }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, value)| theirs.get(name).is_some_and(|other| same(value, other)))
        }
        _ => ours == theirs,
    }
}

fn check(file: &str) {
    let path = shared().join("cases").join(file);
    let Ok(mut text_of_file) = std::fs::read(&path) else {
        eprintln!("left out: {} is not there", path.display());
        return;
    };
    let Ok(Value::Array(cases)) = parse_json(&mut text_of_file) else { panic!("{} is a list", path.display()) };
    assert!(cases.len() > 200, "the whole file was read");
    let mut failures = Vec::new();
    for case in &cases {
        let name = text(case, &["id"]).unwrap_or("?");
        let files = tempfile::tempdir().unwrap();
        let outcome = run(case, files.path());
        if let Some(difference) = DIFFERENCES.iter().find(|difference| (difference.applies)(case)) {
            if !(difference.holds)(&outcome) {
                failures.push(format!("{name}: not as the difference says: {}\n  {outcome:?}", difference.reason));
            }
            continue;
        }
        let expected = at(case, &["head", "expect"]).or(at(case, &["expect"]));
        let refused = at(case, &["head", "error"]).or(at(case, &["error"])).is_some();
        match (&outcome, expected) {
            (Err(_), _) if refused => {}
            (Ok(document), Some(expected)) => {
                let mut expected = expected.clone();
                if let Value::Object(map) = &mut expected {
                    map.entry("@timestamp".into()).or_insert(Value::Time(TIME));
                }
                if !same(document, &expected) {
                    failures.push(format!("{name}\n  config   {:?}\n  expected {expected:?}\n  got      {document:?}", at(case, &["config"])));
                }
            }
            _ => failures.push(format!("{name}\n  config   {:?}\n  got      {outcome:?}", at(case, &["config"]))),
        }
    }
    assert!(failures.is_empty(), "{} of {} cases of {file} fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_recorded_case_of_grok_gives_logstashs_document() {
    check("grok.json");
}

#[test]
fn every_recorded_case_of_the_pattern_library_gives_logstashs_document() {
    check("patterns-core.json");
}
