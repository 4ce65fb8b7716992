//! The lines of a bulk request: `{"create":{"_index":"...","_id":"..."}}` and the document behind each.

use flowstone_core::Body;
use flowstone_core::event::{Batch, EncodeOptions, Reject, RowId, write_json_str};
use flowstone_dialect::{BoundTemplate, Destinations, Template};

use crate::index_name::{self, missing_field};
use crate::options::{BulkOperation, IdMode, VersionType};

/// How rows become lines.
#[derive(Debug)]
pub(crate) struct Encoder {
    index: Template,
    action: ActionOptions,
    document: EncodeOptions,
}

/// What a line says beside the index.
#[derive(Clone, Debug)]
pub(crate) struct ActionOptions {
    /// What is done with the document.
    pub(crate) operation: BulkOperation,
    /// Where its id comes from.
    pub(crate) id: IdMode,
    /// What the shard is chosen by.
    pub(crate) routing: Option<Template>,
    /// The document's version.
    pub(crate) version: Option<Template>,
    /// Which versions are stored.
    pub(crate) version_type: VersionType,
    /// Whether the index is a data stream, which takes nothing but `create`.
    pub(crate) data_stream: bool,
}

/// Where rows of one index go.
#[derive(Debug)]
struct Destination {
    /// The index's number in the body.
    key: u32,
    /// The action line up to the id, or whole where the server chooses that.
    action: Vec<u8>,
}

/// What a line says that differs from row to row, looked up in one batch.
struct Fields<'a> {
    options: &'a ActionOptions,
    id: Option<BoundTemplate<'a>>,
    routing: Option<BoundTemplate<'a>>,
    version: Option<BoundTemplate<'a>>,
    text: String,
}

/// Elasticsearch takes no longer ones.
const LONGEST_ID: usize = 512;

// === impl ActionOptions ===

impl ActionOptions {
    /// The word of the action line.
    fn word(&self) -> &'static str {
        match (self.operation, &self.id) {
            // Elasticsearch 6 wants an id for `create`.
            (BulkOperation::Create, IdMode::Auto) if !self.data_stream => "index",
            (BulkOperation::Create, _) => "create",
            (BulkOperation::Index, _) => "index",
            (BulkOperation::Update, _) => "update",
        }
    }

    /// Whether nothing but the record's own id differs from row to row.
    fn is_plain(&self) -> bool {
        let named = self.routing.is_some() || self.version.is_some();
        !named && self.operation != BulkOperation::Update && !matches!(self.id, IdMode::Template(_))
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    fn of(options: &'a ActionOptions, batch: &'a Batch) -> Self {
        let bind = |template: &'a Template| template.bind(batch);
        let id = match &options.id {
            IdMode::Template(template) => Some(bind(template)),
            IdMode::Deterministic | IdMode::Auto => None,
        };
        let (routing, version) = (options.routing.as_ref().map(bind), options.version.as_ref().map(bind));
        Self { options, id, routing, version, text: String::new() }
    }

    /// The rest of a row's action line, behind the index.
    fn rest_of_line(&mut self, row: usize, id: RowId) -> Result<Vec<u8>, Reject> {
        let mut line = Vec::with_capacity(128);
        match &self.id {
            Some(template) => {
                render("id", template, row, &mut self.text)?;
                if self.text.len() > LONGEST_ID {
                    let detail = format!(
                        "the id has {} bytes, and {LONGEST_ID} at most can be stored",
                        self.text.len()
                    );
                    return Err(Reject::new("id", detail));
                }
                line.extend_from_slice(b",\"_id\":");
                write_json_str(&self.text, &mut line);
            }
            None if matches!(self.options.id, IdMode::Deterministic) => {
                line.extend_from_slice(b",\"_id\":\"");
                id.write_text(&mut line);
                line.push(b'"');
            }
            None => {}
        }
        if let Some(template) = &self.routing {
            render("routing", template, row, &mut self.text)?;
            line.extend_from_slice(b",\"routing\":");
            write_json_str(&self.text, &mut line);
        }
        if let Some(template) = &self.version {
            render("version", template, row, &mut self.text)?;
            let Ok(version) = self.text.parse::<u64>() else {
                return Err(Reject::new(
                    "version",
                    format!("`{}` is no version: expected a whole number", self.text),
                ));
            };
            let kind = self.options.version_type.word();
            line.extend_from_slice(format!(",\"version\":{version},\"version_type\":\"{kind}\"").as_bytes());
        }
        if self.options.operation == BulkOperation::Update {
            // Another writer may have been at the document in between.
            line.extend_from_slice(b",\"retry_on_conflict\":3");
        }
        line.extend_from_slice(b"}}\n");
        Ok(line)
    }
}

/// A row's text for one of the options; every field that it names must be there.
fn render(
    option: &'static str,
    template: &BoundTemplate<'_>,
    row: usize,
    text: &mut String,
) -> Result<(), Reject> {
    text.clear();
    template.render(row, text);
    match missing_field(text) {
        Some(field) => Err(Reject::new(option, format!("the event has no `{field}`"))),
        None if text.is_empty() => Err(Reject::new(option, format!("`{option}` is empty for this event"))),
        None => Ok(()),
    }
}

// === impl Encoder ===

impl Encoder {
    pub(crate) fn new(index: Template, action: ActionOptions, version_field: bool) -> Self {
        Self { index, action, document: EncodeOptions { version_field } }
    }

    /// Writes every live row of the batch.
    pub(crate) fn encode(&self, batch: &Batch, body: &mut Body) {
        let mut indices = Destinations::new(&self.index, batch);
        let mut documents = batch.json_rows(self.document);
        let updates = self.action.operation == BulkOperation::Update;
        if !updates {
            body.json(self.document);
        }
        let mut fields = (!self.action.is_plain()).then(|| Fields::of(&self.action, batch));
        for row in batch.live_rows() {
            let target = match indices.of(row, |name| self.target(name, body)) {
                Some(Ok(target)) => target,
                Some(Err(reject)) => {
                    body.reject(row, reject.clone());
                    continue;
                }
                None => {
                    let detail = "the index is named by the day of @timestamp, which the event does not have";
                    body.reject(row, Reject::new("no_timestamp", detail));
                    continue;
                }
            };
            let id = batch.id(row);
            let rest = match &mut fields {
                None => None,
                Some(fields) => match fields.rest_of_line(row, id) {
                    Ok(rest) => Some(rest),
                    Err(reject) => {
                        body.reject(row, reject);
                        continue;
                    }
                },
            };
            body.row(id, target.key, |out| {
                out.extend_from_slice(&target.action);
                match &rest {
                    Some(rest) => out.extend_from_slice(rest),
                    None if matches!(self.action.id, IdMode::Deterministic) => {
                        id.write_text(out);
                        out.extend_from_slice(b"\"}}\n");
                    }
                    None => {}
                }
                let mut document = out.len();
                if updates {
                    out.extend_from_slice(b"{\"doc_as_upsert\":true,\"doc\":");
                    document = out.len();
                    documents.write(row, out);
                    out.extend_from_slice(b"}\n");
                } else {
                    documents.write(row, out);
                    out.push(b'\n');
                }
                document
            });
        }
    }

    fn target(&self, name: &str, body: &mut Body) -> Result<Destination, Reject> {
        if let Err(why) = index_name::check(name) {
            return Err(Reject::new("index_name", format!("`{name}` can name no index: {why}")));
        }
        // A name that passed the check holds nothing that JSON escapes.
        let mut action = format!("{{\"{}\":{{\"_index\":\"{name}\"", self.action.word());
        if self.action.is_plain() {
            action.push_str(match self.action.id {
                IdMode::Deterministic => ",\"_id\":\"",
                _ => "}}\n",
            });
        }
        Ok(Destination { key: body.key(name), action: action.into_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{Column, Path, RowId};
    use serde_json::Value as Json;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn batch(times: Vec<i64>) -> Batch {
        let mut batch = Batch::new((0..times.len()).map(|n| RowId::of(&n.to_be_bytes())).collect());
        batch.put_columns(vec![(Path::timestamp(), Column::Time(times))]);
        batch
    }

    fn encode(encoder: &Encoder, batch: &Batch) -> (Body, Vec<(usize, Reject)>) {
        let mut body = Body::default();
        encoder.encode(batch, &mut body);
        let rejected = body.take_rejected();
        (body, rejected)
    }

    fn plain() -> ActionOptions {
        ActionOptions {
            operation: BulkOperation::Create,
            id: IdMode::Deterministic,
            routing: None,
            version: None,
            version_type: VersionType::External,
            data_stream: false,
        }
    }

    fn encoder(index: &str) -> Encoder {
        Encoder::new(Template::parse(index).unwrap(), plain(), false)
    }

    #[test]
    fn each_row_is_an_action_with_its_index_and_id_and_its_document() {
        let mut batch = batch(vec![0, DAY, 1]);
        batch.row_mut(0).set("srcaddr", "10.0.0.1").unwrap();
        batch.discard(2, "test");
        let (body, rejected) = encode(&encoder("flow-%{+YYYY.MM.dd}"), &batch);
        assert_eq!(rejected, []);
        let segment = body.finish(Into::into);
        let expect = format!(
            "{{\"create\":{{\"_index\":\"flow-1970.01.01\",\"_id\":\"{}\"}}}}\n\
             {{\"@timestamp\":\"1970-01-01T00:00:00.000Z\",\"srcaddr\":\"10.0.0.1\"}}\n\
             {{\"create\":{{\"_index\":\"flow-1970.01.02\",\"_id\":\"{}\"}}}}\n\
             {{\"@timestamp\":\"1970-01-02T00:00:00.000Z\"}}\n",
            batch.id(0),
            batch.id(1),
        );
        assert_eq!(std::str::from_utf8(segment.bytes()).unwrap(), expect);
        assert_eq!((&**segment.key(0), &**segment.key(1)), ("flow-1970.01.01", "flow-1970.01.02"));
        let document: Json = serde_json::from_slice(segment.document(0)).unwrap();
        assert_eq!(document["srcaddr"], "10.0.0.1");
    }

    #[test]
    fn automatic_ids_leave_the_id_to_the_server() {
        for (data_stream, word) in [(false, "index"), (true, "create")] {
            let action = ActionOptions { id: IdMode::Auto, data_stream, ..plain() };
            let encoder = Encoder::new(Template::parse("flow").unwrap(), action, true);
            let (body, _) = encode(&encoder, &batch(vec![0]));
            let expect = format!(
                "{{\"{word}\":{{\"_index\":\"flow\"}}}}\n\
                 {{\"@timestamp\":\"1970-01-01T00:00:00.000Z\",\"@version\":\"1\"}}\n"
            );
            assert_eq!(std::str::from_utf8(body.finish(Into::into).bytes()).unwrap(), expect);
        }
    }

    #[test]
    fn a_row_whose_index_cannot_be_named_is_rejected_and_the_others_are_not() {
        let mut batch = batch(vec![0, 0, 0, flowstone_core::event::ABSENT_INT, 0]);
        for (row, action) in [(0, "accept"), (1, "ACCEPT"), (4, "accept")] {
            batch.row_mut(row).set("action", action).unwrap();
        }
        let (body, rejected) = encode(&encoder("flow-%{action}"), &batch);
        assert_eq!(body.rows(), 2);
        let reasons: Vec<_> =
            rejected.iter().map(|(row, reject)| (*row, &*reject.reason, &*reject.detail)).collect();
        assert_eq!(
            reasons,
            [
                (1, "index_name", "`flow-ACCEPT` can name no index: an index name must be in lower case"),
                (2, "index_name", "`flow-%{action}` can name no index: the event has no `%{action}`"),
                (3, "index_name", "`flow-%{action}` can name no index: the event has no `%{action}`"),
            ]
        );
        let (body, rejected) = encode(&encoder("flow-%{+YYYY}"), &batch);
        assert_eq!((body.rows(), rejected[0].0, &*rejected[0].1.reason), (4, 3, "no_timestamp"));
    }

    #[test]
    fn ids_routing_and_versions_come_from_fields_and_updates_hold_the_document() {
        let template = |text: &str| Template::parse(text).unwrap();
        let mut batch = batch(vec![0, 1, 2, 3, 4]);
        for (row, name) in [(0, "a\"b"), (1, "c"), (3, "d"), (4, &"x".repeat(513))] {
            batch.row_mut(row).set("name", name).unwrap();
        }
        for (row, version) in [(0, 7), (1, 8), (2, 9), (4, 10)] {
            batch.row_mut(row).set("v", version).unwrap();
        }
        let action = ActionOptions {
            operation: BulkOperation::Index,
            id: IdMode::Template(template("%{name}")),
            routing: Some(template("r%{v}")),
            version: Some(template("%{v}")),
            version_type: VersionType::ExternalGte,
            ..plain()
        };
        let (body, rejected) = encode(&Encoder::new(template("flow"), action.clone(), false), &batch);
        let segment = body.finish(Into::into);
        let lines: Vec<&str> = std::str::from_utf8(segment.bytes()).unwrap().lines().collect();
        let parsed: Json = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(
            parsed,
            serde_json::json!({"index": {
                "_index": "flow", "_id": "a\"b", "routing": "r7", "version": 7, "version_type": "external_gte"
            }})
        );
        let document: Json = serde_json::from_slice(segment.document(1)).unwrap();
        assert_eq!(document["name"], "c");
        let reasons: Vec<_> =
            rejected.iter().map(|(row, reject)| (*row, &*reject.reason, &*reject.detail)).collect();
        assert_eq!(
            reasons,
            [
                (2, "id", "the event has no `%{name}`"),
                (3, "routing", "the event has no `%{v}`"),
                (4, "id", "the id has 513 bytes, and 512 at most can be stored"),
            ]
        );

        let action = ActionOptions {
            operation: BulkOperation::Update,
            id: IdMode::Deterministic,
            routing: None,
            version: None,
            ..action
        };
        let (body, rejected) = encode(&Encoder::new(template("flow"), action, false), &batch);
        assert_eq!(rejected, []);
        let segment = body.finish(Into::into);
        let lines: Vec<Json> = std::str::from_utf8(segment.bytes())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let id = batch.id(1).to_string();
        assert_eq!(
            lines[2],
            serde_json::json!({"update": {"_index": "flow", "_id": id, "retry_on_conflict": 3}})
        );
        assert_eq!((&lines[3]["doc_as_upsert"], &lines[3]["doc"]["name"]), (&true.into(), &"c".into()));
    }

    #[test]
    fn a_version_that_is_no_number_is_rejected() {
        let mut batch = batch(vec![0]);
        batch.row_mut(0).set("v", "new").unwrap();
        let action = ActionOptions {
            operation: BulkOperation::Index,
            version: Some(Template::parse("%{v}").unwrap()),
            ..plain()
        };
        let (_, rejected) = encode(&Encoder::new(Template::parse("flow").unwrap(), action, false), &batch);
        assert_eq!(&*rejected[0].1.detail, "`new` is no version: expected a whole number");
    }
}
