//! The lines of a bulk request: `{"create":{"_index":"...","_id":"..."}}` and the document behind each.

use flowstone_core::Body;
use flowstone_core::event::{Batch, EncodeOptions, Reject};
use flowstone_dialect::{Destinations, Template};

use crate::index_name;
use crate::options::IdMode;

/// How rows become lines.
#[derive(Debug)]
pub(crate) struct Encoder {
    index: Template,
    id: IdMode,
    document: EncodeOptions,
}

/// Where rows of one index go.
#[derive(Debug)]
struct Target {
    /// The index's number in the body.
    key: u32,
    /// The action line up to the id.
    action: Vec<u8>,
}

// === impl Encoder ===

impl Encoder {
    pub(crate) fn new(index: Template, id: IdMode, version_field: bool) -> Self {
        Self { index, id, document: EncodeOptions { version_field } }
    }

    /// Writes every live row of the batch.
    pub(crate) fn encode(&self, batch: &Batch, body: &mut Body) {
        let mut indices = Destinations::new(&self.index, batch);
        let mut documents = batch.json_rows(self.document);
        body.json(self.document);
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
            body.row(id, target.key, |out| {
                out.extend_from_slice(&target.action);
                if self.id == IdMode::Deterministic {
                    id.write_text(out);
                    out.extend_from_slice(b"\"}}\n");
                }
                let document = out.len();
                documents.write(row, out);
                out.push(b'\n');
                document
            });
        }
    }

    fn target(&self, name: &str, body: &mut Body) -> Result<Target, Reject> {
        if let Err(why) = index_name::check(name) {
            return Err(Reject::new("index_name", format!("`{name}` can name no index: {why}")));
        }
        // A name that passed the check holds nothing that JSON escapes.
        let action = match self.id {
            IdMode::Deterministic => format!("{{\"create\":{{\"_index\":\"{name}\",\"_id\":\""),
            // Not `create`: Elasticsearch 6 wants an id for that.
            IdMode::Auto => format!("{{\"index\":{{\"_index\":\"{name}\"}}}}\n"),
        };
        Ok(Target { key: body.key(name), action: action.into_bytes() })
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

    fn encoder(index: &str) -> Encoder {
        Encoder::new(Template::parse(index).unwrap(), IdMode::Deterministic, false)
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
        let encoder = Encoder::new(Template::parse("flow").unwrap(), IdMode::Auto, true);
        let (body, _) = encode(&encoder, &batch(vec![0]));
        let expect = "{\"index\":{\"_index\":\"flow\"}}\n{\"@timestamp\":\"1970-01-01T00:00:00.000Z\",\"@version\":\"1\"}\n";
        assert_eq!(std::str::from_utf8(body.finish(Into::into).bytes()).unwrap(), expect);
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
}
