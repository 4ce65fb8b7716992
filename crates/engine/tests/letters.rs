//! Dead letters: the event as it was, whoever rejected it, and enough beside it to send it again.

mod common;

use std::fs;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};

use flowstone_config::Topology;
use flowstone_core::event::{Batch, EncodeOptions, Row, Value};
use flowstone_core::{Body, Request, Sink, SinkLimits, Verdict, Verdicts};
use flowstone_engine::{Outcome, RunOptions, run};
use serde_json::{Value as Json, json};

use self::common::{Builder, Each, Lines, line_id};

/// Takes nothing, writes documents as it is told, and keeps the events that it was given.
struct Sinkhole {
    write: Write,
    verdict: Verdict,
    seen: Arc<Mutex<Vec<Value>>>,
}

#[derive(Clone, Copy)]
enum Write {
    /// With `@version`, as Elasticsearch and Logstash have it.
    Json,
    /// The message alone.
    Text,
}

impl Sinkhole {
    fn new(write: Write, verdict: Verdict) -> Self {
        Self { write, verdict, seen: Arc::default() }
    }
}

#[async_trait::async_trait]
impl Sink for Sinkhole {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let options = EncodeOptions { version_field: true };
        if matches!(self.write, Write::Json) {
            body.json(options);
        }
        let key = body.key("hole");
        for row in batch.live_rows() {
            self.seen.lock().unwrap().push(batch.to_value(row));
            body.row(batch.id(row), key, |buffer| {
                buffer.extend_from_slice(b"action\n");
                let start = buffer.len();
                match self.write {
                    Write::Json => batch.write_json(row, options, buffer),
                    Write::Text => {
                        buffer.extend_from_slice(batch.row(row).str("message").unwrap().as_bytes());
                    }
                }
                start
            });
        }
    }

    async fn send(&self, _request: &Request) -> Verdicts {
        Verdicts::All(self.verdict.clone())
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { flush_interval: std::time::Duration::from_millis(5), ..SinkLimits::default() }
    }
}

fn dress(row: &mut Row<'_>) {
    row.set("@timestamp", Value::Time(1_551_002_309_000)).unwrap();
    row.set("[@metadata][tenant]", "acme").unwrap();
    row.set("[@metadata][since]", Value::Time(0)).unwrap();
    row.set("[event][start]", Value::Time(1_000)).unwrap();
    row.set("[event][looks]", "1970-01-01T00:00:01.000Z").unwrap();
    row.set("rate", 6.0).unwrap();
    row.set("count", 6).unwrap();
    row.set("huge", Value::BigInt("123456789012345678901234567890".into())).unwrap();
    row.set("lost", Value::Null).unwrap();
    row.set("mixed", Value::Array(vec![Value::Time(5), Value::Float(f64::INFINITY), Value::Int(1)])).unwrap();
    row.set("rejected", "by the firewall").unwrap();
}

fn run_it(builder: Builder) -> tempfile::TempDir {
    let Builder { topology, folder } = builder;
    let topology: Topology = topology;
    let outcome = run(topology, RunOptions { signals: false, ..RunOptions::default() });
    assert_eq!(outcome, Outcome::Finished);
    folder
}

fn letters(folder: &FilePath, name: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder.join("rejected").join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// What differs from one who rejects to another.
fn without_the_rejecter(mut letter: Json) -> Json {
    let story = letter["rejected"].as_object_mut().unwrap();
    for member in ["component", "type", "reason", "detail", "time", "status", "index"] {
        story.shift_remove(member);
    }
    letter
}

#[test]
fn a_letter_is_the_event_as_it_was_whoever_rejected_it() {
    let no = || Verdict::reject("mapper_parsing_exception", "no");
    let (lines, _) = Lines::new(3, 2);
    let folder = run_it(
        Builder::new()
            .source("in", lines)
            .transform("dressed", &["in"], Each(dress))
            .transform("port", &["dressed"], Each(|row| row.reject("no", "no")))
            .sink("json", &["dressed"], Sinkhole::new(Write::Json, no()))
            .sink("text", &["dressed"], Sinkhole::new(Write::Text, no()))
            .sink("split", &["dressed"], Sinkhole::new(Write::Json, Verdict::split("too_large", "no"))),
    );
    let of = |name: &str| -> Vec<Json> {
        letters(folder.path(), name).into_iter().map(without_the_rejecter).collect()
    };
    let expected = of("port.ndjson");
    assert_eq!(expected.len(), 3);
    for sink in ["json.ndjson", "text.ndjson", "split.ndjson"] {
        assert_eq!(of(sink), expected, "{sink}");
    }
    let text = fs::read_to_string(folder.path().join("rejected/json.ndjson")).unwrap();
    assert!(
        text.contains(r#""rate":6.0,"#) && text.contains(r#""huge":123456789012345678901234567890,"#),
        "{text}"
    );
    let letter = &expected[2];
    assert_eq!(letter["message"], "line 2");
    assert_eq!(letter.get("@version"), None, "what only the document had is not in the letter");
    assert_eq!(
        letter["rejected"],
        json!({
            "v": 1,
            "id": line_id(2).to_string(),
            "source": "in", "partition": "lines", "position": 3,
            "metadata": {"tenant": "acme", "since": "1970-01-01T00:00:00.000Z"},
            "types": {"[@metadata][since]": "time", "[event][start]": "time", "[mixed][0]": "time", "[mixed][1]": "float"},
            "before": "by the firewall",
        })
    );
}

#[test]
fn a_letter_on_its_way_has_the_metadata_and_the_types_of_its_event() {
    let hole = Sinkhole::new(Write::Json, Verdict::reject("no", "no"));
    let reader = Sinkhole::new(Write::Json, Verdict::Delivered);
    let (sent, seen) = (Arc::clone(&hole.seen), Arc::clone(&reader.seen));
    let (lines, _) = Lines::new(1, 1);
    run_it(
        Builder::new()
            .source("in", lines)
            .transform("dressed", &["in"], Each(dress))
            .sink("hole", &["dressed"], hole)
            .sink("reader", &["hole.rejected"], reader),
    );
    let strip = |value: &Value| match value {
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .filter(|(name, _)| &***name != "rejected")
                .map(|field| format!("{field:?}"))
                .collect();
            fields.sort();
            fields
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(strip(&seen.lock().unwrap()[0]), strip(&sent.lock().unwrap()[0]));
}

#[test]
fn a_letter_that_is_refused_again_keeps_its_first_story() {
    let (lines, _) = Lines::new(1, 1);
    let folder = run_it(
        Builder::new()
            .source("in", lines)
            .sink("first", &["in"], Sinkhole::new(Write::Json, Verdict::reject("one", "no")))
            .sink("second", &["first.rejected"], Sinkhole::new(Write::Text, Verdict::reject("two", "no"))),
    );
    let story = &letters(folder.path(), "second.ndjson")[0]["rejected"];
    assert_eq!((&story["reason"], &story["before"]["reason"]), (&json!("two"), &json!("one")));
    assert_eq!((&story["before"]["v"], &story["before"]["component"]), (&json!(1), &json!("first")));
    assert_eq!(story["id"], line_id(0).to_string());
}
