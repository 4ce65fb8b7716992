//! Documents in, documents out: what `decoding = "json"` reads and the encoder writes is what serde_json reads.

use std::path::PathBuf;

use flowstone_core::event::{Batch, format_iso_millis, parse_iso_millis};
use flowstone_core::{ByteSize, Clock, ComponentId, Kind, Metrics, SourceCx, SourceMetrics, StateDir};
use flowstone_lines::{Decoding, INVALID_UTF8_TAG, LineIds, LineOptions, Lines};
use serde_json::{Map, Value};

use super::support::{NOW, Outcome, in_time, outcomes};

/// What Logstash calls them.
const TIMESTAMP: &str = "@timestamp";
const BAD_TIMESTAMP: &str = "_@timestamp";
const BAD_TIMESTAMP_TAG: &str = "_timestampparsefailure";

/// Lines as a source reads them: each is the document that serde_json sees, is rejected or, if blank, discarded. And
/// as text each is its very self.
pub fn ndjson(data: &[u8]) {
    // serde_json reads 128 levels.
    if data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100 {
        return;
    }
    in_time(|| {
        // A byte order mark, and NULs where a line begins, are no content.
        let content = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
        let lines = content.split_inclusive(|byte| *byte == b'\n').map(without_nuls);
        let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).map(without_line_end).collect();
        for (line, outcome) in lines.iter().zip(fates(data, Decoding::Json, lines.len())) {
            assert_is_what_the_line_says(line, outcome);
        }
        for (line, outcome) in lines.iter().zip(fates(data, Decoding::Text, lines.len())) {
            let Outcome::Document(document) = outcome else { panic!("a text is never refused: {outcome:?}") };
            assert_eq!(document["message"], String::from_utf8_lossy(line).as_ref());
        }
    });
}

fn fates(data: &[u8], decoding: Decoding, lines: usize) -> Vec<Outcome> {
    let fates: Vec<Outcome> = batches(data, decoding, 16).iter_mut().flat_map(outcomes).collect();
    assert_eq!(fates.len(), lines, "as many rows as lines");
    fates
}

fn without_nuls(line: &[u8]) -> &[u8] {
    &line[line.iter().take_while(|byte| **byte == 0).count()..]
}

fn without_line_end(line: &[u8]) -> &[u8] {
    match line {
        [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
        line => line,
    }
}

fn assert_is_what_the_line_says(line: &[u8], outcome: Outcome) {
    let text = String::from_utf8_lossy(line);
    let read = serde_json::from_str::<Value>(&text);
    let shown = text.escape_debug();
    match (outcome, read) {
        (Outcome::Discarded("empty_line"), _) => {
            assert!(line.iter().all(u8::is_ascii_whitespace), "discarded: {shown}");
        }
        (Outcome::Document(found), Ok(Value::Object(fields))) => {
            // Of a member that stands there twice, perhaps spelled `\u0040timestamp`, the last counts; but an instant
            // is not taken back.
            if text.matches("timestamp").count() + text.matches("\\u00").count() < 2 {
                let expected = expected(fields, text.contains('\u{fffd}'), &found);
                assert_eq!(zeros_alike(found), zeros_alike(expected), "of {shown}");
            }
        }
        (Outcome::Rejected(reason), read) => match (reason.as_str(), read) {
            ("json_not_an_object", Ok(value)) => assert!(!value.is_object(), "no object: {shown}"),
            ("json_metadata", Ok(value)) => {
                assert!(
                    value.get("@metadata").is_some_and(|value| !value.is_object()),
                    "metadata of {shown}"
                );
            }
            ("invalid_json", Err(_)) => {}
            // Integers beyond 64 bits, which serde_json takes for floats.
            ("invalid_json", Ok(_)) => assert!(has_long_number(line), "refused: {shown}"),
            (reason, read) => panic!("rejected as {reason}, but read as {read:?}: {shown}"),
        },
        (found, read) => panic!("{found:?}, but read as {read:?}: {shown}"),
    }
}

/// The document of these members. `found` only says what the tags are where one was added.
fn expected(mut fields: Map<String, Value>, is_lossy: bool, found: &Value) -> Value {
    fields.remove("@metadata");
    let mut tags = Vec::new();
    let time = match fields.remove(TIMESTAMP) {
        None => NOW,
        Some(value) => match value.as_str().and_then(parse_iso_millis) {
            Some(time) => time,
            None => {
                fields.insert(BAD_TIMESTAMP.to_owned(), value);
                tags.push(BAD_TIMESTAMP_TAG);
                NOW
            }
        },
    };
    fields.insert(TIMESTAMP.to_owned(), format_iso_millis(time).into());
    if is_lossy {
        // A text may hold U+FFFD from the start.
        tags.extend(has_tag(found, INVALID_UTF8_TAG).then_some(INVALID_UTF8_TAG));
    }
    if let Some(tag) = tags.first() {
        assert!(has_tag(found, tag), "{tag} in {found}");
        fields.insert("tags".to_owned(), found["tags"].clone());
    }
    Value::Object(fields)
}

/// `-0` is 0 in Java, and -0.0 in serde_json.
fn zeros_alike(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::from(0),
        Value::Array(items) => items.into_iter().map(zeros_alike).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, zeros_alike(value))).collect())
        }
        other => other,
    }
}

fn has_tag(document: &Value, tag: &str) -> bool {
    document["tags"].as_array().is_some_and(|tags| tags.iter().any(|other| other == tag))
}

fn has_long_number(line: &[u8]) -> bool {
    line.chunk_by(|a, b| a.is_ascii_digit() && b.is_ascii_digit()).any(|digits| digits.len() >= 19)
}

/// Reads the bytes as a stream of lines into batches of at most so many rows.
pub fn batches(data: &[u8], decoding: Decoding, max_rows: usize) -> Vec<Batch> {
    thread_local! {
        static METRICS: SourceMetrics = Metrics::new().source(&id());
    }
    let cx = SourceCx {
        metrics: METRICS.with(Clone::clone),
        max_rows,
        clock: Clock::Fixed(NOW),
        ..SourceCx::alone(id(), StateDir::new(PathBuf::new()))
    };
    let options = LineOptions::new(ByteSize(64 << 10), decoding).expect("a limit within the limits");
    let mut lines = Lines::new(options, 0);
    let ids = LineIds::new(0);
    let read = lines.fill(data.len(), |buffer| std::io::Write::write_all(buffer, data));
    assert_eq!(read.ok(), Some(data.len()));
    std::iter::from_fn(|| lines.batch(&cx, "fuzz", true, |offset, line| ids.id(offset, line)))
        .map(|lines| lines.batch)
        .collect()
}

fn id() -> ComponentId {
    ComponentId { name: "fuzz".into(), kind: Kind::Source, type_name: "fuzz" }
}
