//! `[[tests]]`: unit tests of a configuration, run without sources, sinks and a wall clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flowstone_config::{ExpectedOutput, Output, Port, Topology, UnitTest};
use flowstone_core::event::{
    Batch, METADATA, Map, RowId, TIMESTAMP, Value, format_iso_millis, parse_iso_millis, write_json_value,
};
use flowstone_core::{Ack, Clock, Metrics};

use crate::graph::Graph;
use crate::pool::BufferPool;
use crate::runner::{Runner, TapPort};

/// What became of one `[[tests]]` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReport {
    /// The test's name.
    pub name: String,
    /// What was not as expected, one text each; empty when the test passed.
    pub failures: Vec<String>,
}

/// What "now" is where a test does not say: a test never depends on the time of day.
const DEFAULT_CLOCK_MS: i64 = 0;

/// The events that left each output.
type Seen = HashMap<(usize, TapPort), Vec<Value>>;

/// Runs the tests, each with transforms of its own.
pub fn run_tests(topology: Topology, tests: &[UnitTest]) -> Vec<TestReport> {
    let (graph, owned) = Graph::of(topology, &Metrics::new());
    let graph = Arc::new(graph);
    let transform_named = |name: &str| graph.transforms.iter().position(|entry| *entry.id.name == *name);
    let mut reports = Vec::new();
    for test in tests {
        let clock = Clock::Fixed(test.clock.unwrap_or(DEFAULT_CLOCK_MS));
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let log = Arc::clone(&seen);
        let tap = move |transform: usize, port: TapPort, batch: &Batch| {
            let mut seen = log.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry((transform, port))
                .or_default()
                .extend(batch.live_rows().map(|row| batch.to_value(row)));
        };
        let mut runner = Runner::new(Arc::clone(&graph), &owned.transforms, clock, BufferPool::new(0));
        runner.tap = Some(Box::new(tap));
        let Some(insert_at) = transform_named(&test.insert_at) else { continue };
        runner.run_transform(insert_at, inputs(test, clock), Ack::detached());
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let events_at = |port: &Port| {
            let key = (transform_named(&port.component)?, tap_port(port));
            seen.get(&key).map(Vec::as_slice)
        };
        let mut failures = Vec::new();
        for expected in &test.outputs {
            let events = events_at(&expected.extract_from).unwrap_or_default();
            check_output(expected, &show_port(&graph, &expected.extract_from), events, &mut failures);
        }
        for port in &test.no_outputs_from {
            if let Some(first) = events_at(port).and_then(<[Value]>::first) {
                let port = show_port(&graph, port);
                failures.push(format!("expected nothing from `{port}`, found {}", json(&document(first))));
            }
        }
        reports.push(TestReport { name: test.name.clone(), failures });
    }
    reports
}

fn inputs(test: &UnitTest, clock: Clock) -> Batch {
    let mut events = Vec::new();
    for (index, input) in test.inputs.iter().enumerate() {
        let mut event = match input {
            Value::Object(fields) => fields.clone(),
            line => Map::from_iter([(Arc::from("message"), line.clone())]),
        };
        let time = event.entry(TIMESTAMP.into()).or_insert(Value::Time(clock.now_ms()));
        if let Some(millis) = time.as_str().and_then(parse_iso_millis) {
            *time = Value::Time(millis);
        }
        events.push((RowId::of(&index.to_be_bytes()), event));
    }
    Batch::of_events(events)
}

fn tap_port(port: &Port) -> TapPort {
    match port.output {
        Output::Default => TapPort::Default,
        Output::Rejected => TapPort::Rejected,
        Output::Named(index) => TapPort::Named(index),
    }
}

fn show_port(graph: &Graph, port: &Port) -> String {
    let name = &port.component;
    match port.output {
        Output::Default => name.to_string(),
        Output::Rejected => format!("{name}.rejected"),
        Output::Named(index) => {
            let entry = graph.transforms.iter().find(|entry| entry.id.name == *name);
            let output = entry.and_then(|entry| entry.output_names.get(index));
            format!("{name}.{}", output.map_or("?", String::as_str))
        }
    }
}

fn check_output(expected: &ExpectedOutput, port: &str, events: &[Value], failures: &mut Vec<String>) {
    if let Some(documents) = &expected.documents {
        if documents.len() != events.len() {
            let found: Vec<String> =
                events.iter().map(|event| format!("\n    {}", json(&document(event)))).collect();
            failures.push(format!(
                "expected {} documents from `{port}`, found {}{}",
                documents.len(),
                events.len(),
                found.concat()
            ));
        }
        for (number, (wanted, event)) in documents.iter().zip(events).enumerate() {
            let mut differences = Vec::new();
            differ("", &document(wanted), &document(event), &mut differences);
            if !differences.is_empty() {
                let differences: String = differences.iter().map(|line| format!("\n    {line}")).collect();
                failures.push(format!("document {} from `{port}` differs:{differences}", number + 1));
            }
        }
    }
    for condition in &expected.conditions {
        let fields = events.iter().filter_map(|event| match event {
            Value::Object(fields) => Some((RowId::default(), fields.clone())),
            _ => None,
        });
        let batch = Batch::of_events(fields.collect());
        if !batch.live_rows().any(|row| condition.holds(batch.row(row))) {
            let found: Vec<String> = events.iter().map(|event| format!("\n    {}", json(event))).collect();
            failures.push(format!(
                "no event from `{port}` satisfies `{}`; {} came{}",
                condition.text(),
                events.len(),
                found.concat()
            ));
        }
    }
}

/// The event as a sink would write it: without metadata, timestamps as text.
fn document(event: &Value) -> Value {
    match event {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(name, _)| &***name != METADATA)
                .map(|(name, value)| (Arc::clone(name), document(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(document).collect()),
        Value::Time(millis) => Value::from(format_iso_millis(*millis)),
        other => other.clone(),
    }
}

/// Says field by field where two documents differ.
fn differ(at: &str, wanted: &Value, found: &Value, differences: &mut Vec<String>) {
    let (Value::Object(wanted_fields), Value::Object(found_fields)) = (wanted, found) else {
        if wanted != found {
            differences.push(format!("{at}: expected {}, found {}", json(wanted), json(found)));
        }
        return;
    };
    for (name, value) in wanted_fields {
        let field = format!("{at}[{name}]");
        match found_fields.get(name) {
            Some(other) => differ(&field, value, other, differences),
            None => differences.push(format!("{field}: expected {}, found nothing", json(value))),
        }
    }
    for (name, value) in found_fields.iter().filter(|(name, _)| !wanted_fields.contains_key(*name)) {
        differences.push(format!("{at}[{name}]: expected nothing, found {}", json(value)));
    }
}

fn json(value: &Value) -> String {
    let mut text = Vec::new();
    write_json_value(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_field() {
        let value = |text: &str| flowstone_core::parse_json(&mut text.as_bytes().to_vec()).unwrap();
        let mut differences = Vec::new();
        let (wanted, found) =
            (value(r#"{"a":{"b":1},"c":"x","d":1}"#), value(r#"{"a":{"b":1.0},"d":1,"e":[]}"#));
        differ("", &wanted, &found, &mut differences);
        assert_eq!(
            differences,
            [
                "[a][b]: expected 1, found 1.0",
                "[c]: expected \"x\", found nothing",
                "[e]: expected nothing, found []"
            ]
        );
    }
}
