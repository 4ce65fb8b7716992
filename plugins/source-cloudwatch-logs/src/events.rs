//! From CloudWatch's events to a batch.

use std::collections::HashMap;

use flowstone_aws::{EventKey, LogEvent};
use flowstone_core::event::{Batch, Column, METADATA, Page, Path, RowId, StrRef, Value};
use flowstone_core::{Position, SourceBatch};

/// What all events of a log group have in common.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// What tells the ids of this group's events from those of all others.
    seed: [u8; 16],
    group: Value,
    /// `None` while it is not known.
    pub(crate) account: Option<Value>,
    region: Value,
    /// The flow logs' format, and the event time from which on it holds.
    pub(crate) format: Option<(Value, i64)>,
}

/// Where the fields of an event go: those that Logstash's `cloudwatch_logs` input sets.
const FIELDS: &str = "cloudwatch_logs";

// === impl Origin ===

impl Origin {
    /// The log group `group` in a region, named after `owner` for good, and of this account as far as it is known.
    pub(crate) fn new(owner: &str, account: Option<&str>, region: &str, group: &str) -> Self {
        Self {
            seed: RowId::of(format!("{owner}/{region}/{group}").as_bytes()).0,
            group: group.into(),
            account: account.map(Value::from),
            region: region.into(),
            format: None,
        }
    }

    /// The row id of an event: the same whenever and through whichever source it is read, so that the sink knows it.
    fn id(&self, key: EventKey) -> RowId {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&self.seed);
        bytes[16..].copy_from_slice(&key.to_bytes());
        RowId::of(&bytes)
    }

    /// The events as a batch.
    pub(crate) fn batch(
        &self,
        events: &[LogEvent],
        keys: &[EventKey],
        from: u64,
        position: Position,
    ) -> SourceBatch {
        let bytes: usize = events.iter().map(|event| event.message.len()).sum();
        let mut messages = Text::with_capacity(0, bytes + events.len(), events.len());
        let mut names = Text::with_capacity(1, events.len() * 56, 2 * events.len());
        let mut streams: HashMap<&str, StrRef> = HashMap::new();
        let (mut stream_of, mut id_of) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for event in events {
            messages.push(&event.message);
            // A page of flow logs repeats the names of a few dozen network interfaces.
            let stream = *streams.entry(&event.log_stream).or_insert_with(|| names.place(&event.log_stream));
            stream_of.push(stream);
            id_of.push(names.place(&event.event_id));
        }
        // A newline between lines needs no escape, one within a message does.
        let lines = !events.iter().any(|event| event.message.contains('\n'));
        let page = if lines { Page::of_lines(messages.text) } else { Page::from_text(messages.text) };
        let ids = keys.iter().map(|&key| self.id(key)).collect();
        let mut batch = Batch::of_lines(page, messages.places, ids, 0);
        batch.push_page(Page::from_text(names.text));
        let field = |name: &str| Path::new([FIELDS, name]);
        let metadata = |name: &str| Path::new([METADATA, FIELDS, name]);
        let mut columns = vec![
            (Path::timestamp(), Column::Time(events.iter().map(|event| event.timestamp).collect())),
            (field("log_group"), Column::Const(self.group.clone())),
            (field("log_stream"), Column::Str(stream_of)),
            (field("event_id"), Column::Str(id_of)),
            (
                field("ingestion_time"),
                Column::Time(events.iter().map(|event| event.ingestion_time).collect()),
            ),
            (metadata("region"), Column::Const(self.region.clone())),
        ];
        columns.extend(
            self.account.iter().map(|account| (metadata("account_id"), Column::Const(account.clone()))),
        );
        columns.extend(self.format_column(&mut batch, events));
        batch.put_columns(columns);
        SourceBatch { batch, from, position, bytes }
    }

    fn format_column(&self, batch: &mut Batch, events: &[LogEvent]) -> Option<(Path, Column)> {
        let (format, since_ms) = self.format.as_ref()?;
        let path = Path::new([METADATA, "flow_log_format"]);
        let known = events.iter().filter(|event| event.timestamp >= *since_ms).count();
        if known == events.len() {
            return Some((path, Column::Const(format.clone())));
        }
        let Value::Str(text) = format else { return None };
        let place = batch.push_text(text);
        let of = |event: &LogEvent| if event.timestamp >= *since_ms { place } else { StrRef::ABSENT };
        Some((path, Column::Str(events.iter().map(of).collect())))
    }
}

/// A page in the making.
struct Text {
    page: u32,
    text: String,
    places: Vec<StrRef>,
}

impl Text {
    fn with_capacity(page: u32, bytes: usize, places: usize) -> Self {
        Self { page, text: String::with_capacity(bytes), places: Vec::with_capacity(places) }
    }

    fn place(&mut self, text: &str) -> StrRef {
        let place = StrRef { page: self.page, offset: self.text.len() as u32, len: text.len() as u32 };
        self.text.push_str(text);
        place
    }

    fn push(&mut self, line: &str) {
        let place = self.place(line);
        self.places.push(place);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::EncodeOptions;
    use serde_json::Value as Json;

    use super::*;

    fn event(timestamp: i64, stream: &str, message: &str) -> LogEvent {
        LogEvent {
            timestamp,
            ingestion_time: timestamp + 65_678,
            message: message.to_owned(),
            log_stream: stream.to_owned(),
            event_id: format!("id-{timestamp}"),
        }
    }

    fn batch(origin: &Origin, events: &[LogEvent]) -> SourceBatch {
        let keys: Vec<EventKey> = events.iter().map(EventKey::of).collect();
        origin.batch(events, &keys, 0, Position { partition: "1/eu-west-1//vpc#1".into(), value: 1 })
    }

    fn document(batch: &Batch, row: usize) -> Json {
        let mut out = Vec::new();
        batch.write_json(row, EncodeOptions::default(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_has_the_fields_that_logstash_gives_it() {
        let events = [
            event(1_551_002_309_000, "eni-1-all", "2 1 eni-1 OK"),
            event(1_551_002_309_000, "eni-1-all", "two\nlines"),
        ];
        let found =
            batch(&Origin::new("123456789012", Some("123456789012"), "eu-west-1", "/vpc/flow"), &events);
        assert_eq!(found.bytes, 21);
        assert_eq!(
            document(&found.batch, 0),
            serde_json::json!({
                "@timestamp": "2019-02-24T09:58:29.000Z",
                "message": "2 1 eni-1 OK",
                "cloudwatch_logs": {
                    "log_group": "/vpc/flow",
                    "log_stream": "eni-1-all",
                    "event_id": "id-1551002309000",
                    "ingestion_time": "2019-02-24T09:59:34.678Z",
                },
            })
        );
        assert_eq!(document(&found.batch, 1)["message"], "two\nlines");
    }

    /// All cases recorded from Logstash's plugin: what CloudWatch answered, and the documents that it became.
    #[test]
    fn events_become_the_documents_that_logstash_made_of_them() {
        let folder = std::env::var_os("FLOWSTONE_SHARED").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            std::path::PathBuf::from,
        );
        let path = folder.join("cases/cloudwatch_input.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return eprintln!("left out: the cases recorded from Logstash are not in {}", path.display());
        };
        let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
        let mut checked = 0;
        for case in &cases {
            let mut expected = case["expect"]["events"].as_array().into_iter().flatten();
            for (key, replies) in case["input"]["api_responses"].as_object().into_iter().flatten() {
                let Some(group) = key.strip_prefix("filter:") else { continue };
                let pages = replies.as_array().unwrap().iter();
                let events: Vec<LogEvent> = pages
                    .flat_map(|page| page["events"].as_array().into_iter().flatten())
                    .map(recorded)
                    .collect();
                let found = batch(&Origin::new("123456789012", None, "ap-southeast-1", group), &events);
                for row in 0..events.len() {
                    assert_eq!(Some(&document(&found.batch, row)), expected.next(), "{}", case["id"]);
                    checked += 1;
                }
            }
            assert_eq!(expected.next(), None, "{}", case["id"]);
        }
        assert!(checked >= 20, "{checked} documents");
    }

    /// An event as Ruby's SDK gives it.
    fn recorded(event: &Json) -> LogEvent {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        LogEvent {
            timestamp: event["timestamp"].as_i64().unwrap(),
            ingestion_time: event["ingestion_time"].as_i64().unwrap(),
            message: text("message"),
            log_stream: text("log_stream_name"),
            event_id: text("event_id"),
        }
    }

    #[test]
    fn the_format_is_told_of_records_written_since_the_flow_log_exists() {
        let mut origin = Origin::new("1", Some("1"), "eu-west-1", "g");
        origin.format = Some(("${version} ${srcaddr}".into(), 1000));
        let formats = |events: &[LogEvent]| -> Vec<Option<String>> {
            let batch = batch(&origin, events).batch;
            (0..events.len())
                .map(|row| batch.row(row).str("[@metadata][flow_log_format]").map(str::to_owned))
                .collect()
        };
        let told = Some("${version} ${srcaddr}".to_owned());
        assert_eq!(formats(&[event(1000, "s", "x"), event(2000, "s", "y")]), [told.clone(), told.clone()]);
        assert_eq!(formats(&[event(999, "s", "x"), event(1000, "s", "y")]), [None, told]);
    }

    #[test]
    fn an_id_depends_on_the_group_and_the_event_and_on_nothing_else() {
        let events = [event(1, "s", "x"), event(2, "s", "x")];
        let ids = |origin: &Origin, events: &[LogEvent]| -> Vec<RowId> {
            let batch = batch(origin, events).batch;
            (0..events.len()).map(|row| batch.id(row)).collect()
        };
        let origin = Origin::new("1", Some("1"), "eu-west-1", "g");
        let both = ids(&origin, &events);
        assert_ne!(both[0], both[1]);
        assert_eq!(ids(&origin, &events[1..]), both[1..]);
        assert_ne!(ids(&Origin::new("2", Some("1"), "eu-west-1", "g"), &events), both);
        // What is known of the account later changes nothing.
        let mut later = Origin::new("1", None, "eu-west-1", "g");
        assert_eq!(ids(&later, &events), both);
        later.account = Some("2".into());
        assert_eq!(ids(&later, &events), both);
    }
}
