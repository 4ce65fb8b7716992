//! What the targets share: plugins built from the registry, batches of lines, and documents as serde_json reads them.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use flowstone_core::event::{Act, Batch, EncodeOptions};
use flowstone_core::{
    Build, BuildCx, BuildError, Clock, ComponentId, ComponentMetrics, Entry, Kind, Metrics, Node, NodeKind,
    Span, Table, Transform, TransformCx, find,
};
use serde_json::Value;

/// When it is, for everything that asks: 2023-11-14T22:13:20Z.
pub const NOW: i64 = 1_700_000_000_000;

/// The processor's time that an input of some kilobytes may take. Only what grows without bounds takes that long,
/// sanitizer included.
const LIMIT: Duration = Duration::from_secs(20);

/// An option's value.
pub fn text(value: &str) -> NodeKind {
    NodeKind::String(value.to_owned())
}

/// A list of texts.
pub fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> NodeKind {
    NodeKind::Array(values.into_iter().map(|value| node(text(value))).collect())
}

/// A table of options.
pub fn table(entries: impl IntoIterator<Item = (&'static str, NodeKind)>) -> Table {
    let entries = entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Entry { key_span: Span::default(), value: node(value) }));
    Table { span: Span::default(), entries: entries.collect() }
}

fn node(kind: NodeKind) -> Node {
    Node { span: Span::default(), text_start: None, from_variable: false, kind }
}

/// The transform of this type, or the errors with which it refuses its options.
pub fn transform(type_name: &'static str, options: &Table) -> Result<Box<dyn Transform>, Vec<BuildError>> {
    let id = ComponentId { name: type_name.into(), kind: Kind::Transform, type_name };
    let cx = BuildCx { id, data_dir: PathBuf::new(), clock: Clock::Fixed(NOW) };
    let Some(Build::Transform(make)) = find(Kind::Transform, type_name).map(|plugin| plugin.build) else {
        panic!("{type_name} is registered")
    };
    let mut diagnostics = Vec::new();
    match make(options, &cx, &mut diagnostics) {
        Ok(Some(transform)) => Ok(transform),
        Ok(None) => {
            assert!(!diagnostics.is_empty(), "options that are not taken say why");
            Err(Vec::new())
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a component that is not built says why");
            Err(errors)
        }
    }
}

/// The place that an error points at is one within its text.
pub fn assert_place(text: &str, start: usize, end: usize) {
    assert!(start <= end, "{start}..{end} in {text:?}");
    assert!(text.get(start..end).is_some(), "{start}..{end} is no place in {text:?}");
}

/// A batch of `message`s in one page, as a source makes it.
pub fn batch_of(lines: &[&str]) -> Batch {
    super::batches::lines(lines, NOW)
}

/// Runs a batch through a transform.
pub fn apply(transform: &mut dyn Transform, batch: &mut Batch) {
    static METRICS: LazyLock<ComponentMetrics> = LazyLock::new(|| {
        Metrics::new().component(&ComponentId {
            name: "fuzz".into(),
            kind: Kind::Transform,
            type_name: "fuzz",
        })
    });
    transform.apply(batch, &mut TransformCx::new(&METRICS, Clock::Fixed(NOW)));
}

/// What became of a row.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Document(Value),
    Rejected(String),
    Discarded(&'static str),
}

/// What became of each row; no row gets lost, or two fates.
pub fn outcomes(batch: &mut Batch) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> =
        (0..batch.len()).map(|row| Outcome::Document(document(batch, row))).collect();
    let mut live = vec![true; batch.len()];
    for act in batch.take_acts() {
        match act {
            Act::Discard { reason, rows } => {
                for row in rows.iter() {
                    assert!(std::mem::take(&mut live[row]), "row {row} goes twice");
                    outcomes[row] = Outcome::Discarded(reason);
                }
            }
            Act::Reject(row, reject) => {
                assert!(std::mem::take(&mut live[row]), "row {row} goes twice");
                outcomes[row] = Outcome::Rejected(reject.reason.into_owned());
            }
            Act::Send { .. } => panic!("nothing here has named outputs"),
        }
    }
    for (row, live) in live.into_iter().enumerate() {
        assert_eq!(batch.is_live(row), live, "row {row}");
    }
    outcomes
}

/// A row as it is written, read by serde_json.
pub fn document(batch: &Batch, row: usize) -> Value {
    let mut out = Vec::new();
    batch.write_json(row, EncodeOptions::default(), &mut out);
    assert!(!out.contains(&b'\n'), "a document is one line: {}", String::from_utf8_lossy(&out));
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

/// Does it, and panics if it took as long as only a runaway does.
pub fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let start = time_spent();
    let done = work();
    let took = time_spent().saturating_sub(start);
    assert!(took < LIMIT, "it took {took:?}");
    done
}

/// What this thread has had of a processor, where Linux says it: a fuzzer runs when nobody else does. Elsewhere, the
/// time that passes.
fn time_spent() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = spent.as_deref().and_then(|spent| spent.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// What stands before the first `separator` and what behind; all of it and nothing where there is none.
pub fn split<'a>(text: &'a str, separator: &str) -> (&'a str, &'a str) {
    text.split_once(separator).unwrap_or((text, ""))
}

/// The first byte, of which each bit is a choice, and the rest as text.
pub fn flags_and_text(data: &[u8]) -> Option<(u8, &str)> {
    let (flags, rest) = data.split_first()?;
    Some((*flags, std::str::from_utf8(rest).ok()?))
}
