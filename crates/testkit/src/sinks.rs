//! A sink as a test drives it: built from its options, given events, asked what became of them. What the engine adds
//! (retries, batching, dead letters) is not here.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use flowstone_core::{
    Body, Build, BuildCx, Clock, ComponentId, Diagnostics, Kind, NodeKind, Request, Rows, Segment, Sink,
    SinkCx, Verdict, Verdicts,
};
use flowstone_event::{Batch, Path, Reject, RowId, Value, parse_iso_millis};
use serde_json::Value as Json;

use crate::cases::{node_of, value_of};

/// A sink that was built; derefs to it.
pub struct TestSink {
    sink: Arc<dyn Sink>,
    cx: SinkCx,
}

/// Builds the sink `type_name`, which the test links, from its options. The error has a line per problem,
/// `OPTION: MESSAGE`.
pub fn sink(type_name: &str, options: &Json) -> Result<TestSink, Vec<String>> {
    let plugin = flowstone_core::find(Kind::Sink, type_name)
        .ok_or_else(|| vec![format!("no sink {type_name} is linked into this test")])?;
    let (NodeKind::Table(table), Build::Sink(make)) = (node_of(options).kind, plugin.build) else {
        return Err(vec![format!("{options} is no table, or {type_name} no sink")]);
    };
    let mut diagnostics = Diagnostics::new();
    table.refuse_unknown(type_name, plugin.options, &[], &mut diagnostics);
    let cx = BuildCx {
        id: ComponentId { name: type_name.into(), kind: Kind::Sink, type_name: plugin.type_name },
        data_dir: PathBuf::new(),
        clock: Clock::System,
    };
    let made = make(&table, &cx, &mut diagnostics).map_err(|errors| {
        errors.iter().map(|error| format!("{}: {}", error.option, error.message)).collect::<Vec<_>>()
    })?;
    match made {
        Some(sink) if diagnostics.is_empty() => {
            let cx = SinkCx::alone(cx.id.clone(), cx.state_dir());
            Ok(TestSink { sink: Arc::from(sink), cx })
        }
        _ => Err(diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()),
    }
}

/// Events of these documents, in their order. A `@timestamp` of text becomes a timestamp; the ids follow from `first`
/// and the place in the list, so that the same call makes the same events again.
///
/// # Panics
/// If a document is no object.
#[allow(clippy::expect_used)]
pub fn events(first: usize, documents: &[Json]) -> Batch {
    let mut batch =
        Batch::new((first..first + documents.len()).map(|number| RowId::of(&number.to_be_bytes())).collect());
    for (row, document) in documents.iter().enumerate() {
        for (name, value) in document.as_object().expect("an event is an object") {
            let value = match value.as_str().and_then(parse_iso_millis) {
                Some(millis) if name == "@timestamp" => Value::Time(millis),
                _ => value_of(value),
            };
            batch.set(row, &Path::top(name), value).expect("a name at the top can be set");
        }
    }
    batch
}

/// A request of all rows of an encoded batch.
pub fn request(segment: &Arc<Segment>) -> Request {
    Request::new(vec![(Arc::clone(segment), Rows::Range(0, segment.rows() as u32))])
}

// === impl TestSink ===

impl TestSink {
    /// Opens it in a context of its own.
    pub async fn open(&self) -> Result<(), Verdict> {
        self.sink.open(&self.cx).await
    }

    /// Encodes a batch; beside it the rows that could not be.
    pub fn encode(&self, batch: &Batch) -> (Arc<Segment>, Vec<(usize, Reject)>) {
        let mut body = Body::default();
        self.sink.encode(batch, &mut body);
        let rejected = body.take_rejected();
        (Arc::new(body.finish(Into::into)), rejected)
    }

    /// Encodes a batch, sends it in one request and gives the verdict on each row.
    ///
    /// # Panics
    /// If a row cannot be encoded, or the sink gives more or fewer verdicts than rows.
    pub async fn deliver(&self, batch: &Batch) -> Vec<Verdict> {
        let (segment, rejected) = self.encode(batch);
        assert_eq!(rejected, [], "every row can be encoded");
        match self.sink.send(&request(&segment)).await {
            Verdicts::All(verdict) => vec![verdict; segment.rows()],
            Verdicts::Rows(verdicts) => {
                assert_eq!(verdicts.len(), segment.rows(), "one verdict per row");
                verdicts
            }
        }
    }
}

impl Deref for TestSink {
    type Target = dyn Sink;

    fn deref(&self) -> &Self::Target {
        &*self.sink
    }
}
