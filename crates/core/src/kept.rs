//! What is kept of events while they are in flight as documents, so that one that is rejected is still the event as it
//! was. For JSON that is little: `[@metadata]` and times; for what cannot be read back it is all of the batch.

use std::sync::Arc;

use crate::event::{ABSENT_FLOAT_BITS, Batch, BitSet, Column, EncodeOptions, Map, RowId, VERSION, Value};
use crate::{Position, parse_json};

/// Where a batch came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source's name.
    pub source: Arc<str>,
    /// Where its partition stands when the batch is delivered.
    pub position: Position,
}

/// The part of encoded events that their documents do not tell.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The live rows are the encoded ones, in their order.
    pub(crate) batch: Batch,
    /// How documents are read back; `None` where the batch holds all of each event.
    pub(crate) documents: Option<EncodeOptions>,
}

// === impl Kept ===

impl Kept {
    /// What must be kept of a batch, of which the rows with these ids were encoded in their order, as JSON with these
    /// options or (`None`) as anything.
    pub(crate) fn of(batch: &mut Batch, documents: Option<EncodeOptions>, ids: &[RowId]) -> Self {
        let mut kept = match documents.filter(|_| can_be_read_back(batch)) {
            Some(options) => {
                let kept = batch.share_columns(|path, column| {
                    path.is_metadata()
                        || matches!(column, Column::Time(_) | Column::Const(Value::Time(_)))
                        || (options.version_field && path.as_str() == VERSION)
                });
                Self { batch: kept, documents: Some(options) }
            }
            None => Self { batch: batch.share(), documents: None },
        };
        if kept.batch.live_count() != ids.len() {
            kept.retain(ids);
        }
        debug_assert!(
            kept.rows().map(|row| batch.id(row)).eq(ids.iter().copied()),
            "rows are encoded in their order"
        );
        kept
    }

    /// Lets go of live rows that have no document.
    fn retain(&mut self, ids: &[RowId]) {
        let mut ids = ids.iter().copied().peekable();
        let mut encoded = BitSet::none(self.batch.len());
        for row in self.batch.live_rows() {
            if ids.next_if_eq(&self.batch.id(row)).is_some() {
                encoded.insert(row);
            }
        }
        self.batch.retain(encoded);
    }

    /// What is kept of each row, in the order of their documents.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> + '_ {
        self.rows().map(|row| self.batch.to_value(row))
    }

    /// The rows in the order of their documents.
    fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.batch.live_rows()
    }

    /// Only these documents' rows, by their places among the documents.
    pub(crate) fn pick(&self, places: impl Iterator<Item = usize>) -> Self {
        let rows: Vec<usize> = self.rows().collect();
        let rows: Vec<usize> = places.map(|place| rows[place]).collect();
        Self { batch: self.batch.pick(&rows), documents: self.documents }
    }

    /// The event whose document is the `place`-th.
    pub(crate) fn event(&self, place: usize, document: &[u8]) -> Map {
        let kept = self.rows().nth(place).map(|row| self.batch.to_value(row));
        let Some(Value::Object(kept)) = kept else { return read(document) };
        let Some(options) = self.documents else { return kept };
        let mut event = read(document);
        if options.version_field && !kept.contains_key(VERSION) {
            event.shift_remove(VERSION);
        }
        lay_over(&mut event, kept);
        event
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.batch.memory_bytes()
    }
}

/// The event that a document alone tells of; what is no JSON object is kept as a message.
pub(crate) fn read(document: &[u8]) -> Map {
    match parse_json(&mut document.to_vec()) {
        Ok(Value::Object(event)) => event,
        _ => {
            let text = Value::from(String::from_utf8_lossy(document).trim_end());
            Map::from_iter([("message".into(), text)])
        }
    }
}

fn lay_over(event: &mut Map, kept: Map) {
    for (name, value) in kept {
        match (event.get_mut(&name), value) {
            (Some(Value::Object(below)), Value::Object(value)) => lay_over(below, value),
            (_, value) => {
                event.insert(name, value);
            }
        }
    }
}

/// Whether JSON documents tell everything but times in columns of their own.
fn can_be_read_back(batch: &Batch) -> bool {
    (0..batch.schema().fields().len()).all(|index| match batch.column(index) {
        // JSON has no word for infinities.
        Column::Float(cells) => cells
            .iter()
            .fold(true, |all, cell| all & (cell.is_finite() | (cell.to_bits() == ABSENT_FLOAT_BITS))),
        Column::Const(Value::Time(_)) => true,
        Column::Const(value) => is_told(value),
        Column::Any(_) if batch.schema().fields()[index].is_metadata() => true,
        Column::Any(cells) => cells.iter().flatten().all(is_told),
        _ => true,
    })
}

/// Whether JSON tells a value by itself.
fn is_told(value: &Value) -> bool {
    match value {
        // Integers of more than 64 bits are not read.
        Value::Time(_) | Value::BigInt(_) => false,
        Value::Float(value) => value.is_finite(),
        Value::Array(items) => items.iter().all(is_told),
        Value::Object(members) => members.values().all(is_told),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{ObjectText, Objects, Path, Reject, StrRef};
    use crate::{Body, Position, Rows, Segment};

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Float),
            prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0]).prop_map(Value::Float),
            (-100_000_000_000i64..10_000_000_000_000).prop_map(Value::Time),
            "(2024-02-29T23:59:59.999Z|1|[a-z\"\n\u{0}\u{e9}]{0,5})".prop_map(Value::from),
            Just(Value::BigInt("123456789012345678901234567890".into())),
        ];
        scalar.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::vec(("[a-c]", inner), 0..3).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
                }),
            ]
        })
    }

    fn path() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "@timestamp",
            "@version",
            "[@metadata][tenant]",
            "[@metadata][n][m]",
            "message",
            "n",
            "[event][start]",
            "[event][end]",
        ])
    }

    proptest! {
        #[test]
        fn an_event_that_comes_back_is_what_it_was(
            cells in prop::collection::vec((0usize..5, path(), value()), 0..20),
            constant in prop::option::of((path(), value())),
            place in any::<f64>(),
            (json, version_field) in any::<(bool, bool)>(),
            (dead, rejected) in (prop::collection::btree_set(0usize..5, 0..3), prop::collection::btree_set(0usize..5, 0..3)),
        ) {
            let mut batch = Batch::new((0..5u8).map(|row| RowId::of(&[row])).collect());
            batch.put_columns(constant.map(|(path, value)| (Path::parse(path).unwrap(), Column::Const(value))).into_iter().collect());
            for (row, path, value) in cells {
                batch.set(row, &Path::parse(path).unwrap(), value).ok();
            }
            let mut objects = Objects::new(5, None);
            let shared = objects.add(ObjectText::of(&Map::from_iter([("lat".into(), Value::Float(place))])));
            objects.set(1, shared, StrRef::ABSENT);
            batch.put_columns(vec![(Path::top("geo"), Column::Objects(objects))]);
            dead.iter().for_each(|&row| batch.discard(row, "test"));
            let options = EncodeOptions { version_field };
            let mut body = Body::default();
            if json {
                body.json(options);
            }
            let key = body.key("k");
            let rejected: BTreeSet<usize> = rejected.difference(&dead).copied().collect();
            let encoded: Vec<usize> = batch.live_rows().filter(|row| !rejected.contains(row)).collect();
            for row in 0..5 {
                if rejected.contains(&row) {
                    body.reject(row, Reject::new("test", ""));
                } else if batch.is_live(row) {
                    body.row(batch.id(row), key, |out| {
                        out.extend_from_slice(b"action\n");
                        let document = out.len();
                        if json { batch.write_json(row, options, out) } else { out.extend_from_slice(b"text") }
                        out.push(b'\n');
                        document
                    });
                }
            }
            body.keep(&mut batch);
            let origin = Origin { source: "in".into(), position: Position { partition: "p".into(), value: 7 } };
            let segment = body.finish(Into::into).with_origin(version_field.then_some(origin));
            // A NaN equals nothing, so the texts are compared.
            let told = |value: Value| format!("{value:?}");
            let sorted = |event: Map| {
                let mut event: Vec<_> = event.into_iter().map(|(name, value)| (name, told(ordered(value)))).collect();
                event.sort();
                event
            };
            let expected: Vec<_> = encoded.iter().map(|&row| match batch.to_value(row) {
                Value::Object(event) => sorted(event),
                _ => unreachable!(),
            }).collect();
            for (place, expected) in expected.iter().enumerate() {
                prop_assert_eq!(&sorted(segment.event(place)), expected);
            }
            let few: Vec<u32> = (0..encoded.len() as u32).filter(|place| place % 2 == 1).collect();
            let copy = segment.copy_rows(&Rows::List(few.clone()));
            for (place, &row) in few.iter().enumerate() {
                prop_assert_eq!(&sorted(copy.event(place)), &expected[row as usize]);
                prop_assert_eq!(copy.id(place), segment.id(row as usize));
                prop_assert_eq!(copy.document(place), segment.document(row as usize));
            }
            let mut stored = Vec::new();
            copy.write_to(&mut stored);
            let again = Segment::read_from(&stored).unwrap();
            prop_assert_eq!((again.rows(), again.bytes(), again.keys()), (copy.rows(), copy.bytes(), copy.keys()));
            prop_assert_eq!(again.origin(), segment.origin());
            for place in 0..copy.rows() {
                prop_assert_eq!(sorted(again.event(place)), sorted(copy.event(place)));
                prop_assert_eq!((again.id(place), again.span(place)), (copy.id(place), copy.span(place)));
            }
            for end in 0..stored.len() {
                prop_assert!(Segment::read_from(&stored[..end]).is_none());
            }
        }
    }

    /// The same value with its members by name, for the order of columns is not the order of members.
    fn ordered(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut members: Vec<_> =
                    map.into_iter().map(|(name, value)| (name, ordered(value))).collect();
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                Value::Object(members.into_iter().collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
            other => other,
        }
    }

    #[test]
    fn a_copy_of_few_rows_holds_no_more_than_they_need() {
        let mut batch = Batch::new((0..4096u32).map(|row| RowId::of(&row.to_be_bytes())).collect());
        for row in 0..4096 {
            batch.row_mut(row).set("[@metadata][tenant]", format!("tenant-{row}")).unwrap();
            batch.row_mut(row).set("message", "x".repeat(100)).unwrap();
        }
        let mut body = Body::default();
        body.json(EncodeOptions::default());
        let key = body.key("k");
        let mut documents = batch.json_rows(EncodeOptions::default());
        for row in 0..4096 {
            body.row(batch.id(row), key, |out| {
                let start = out.len();
                documents.write(row, out);
                start
            });
        }
        drop(documents);
        body.keep(&mut batch);
        let segment = body.finish(Into::into);
        let without_text = segment.memory_bytes() - segment.bytes().len();
        assert!(without_text < 4096 * 60, "the messages are not kept: {without_text}");
        let copy = segment.copy_rows(&Rows::List(vec![7, 4000]));
        assert!(copy.memory_bytes() < 2048, "{}", copy.memory_bytes());
        assert_eq!(Value::Object(copy.event(1)), batch.to_value(4000));
    }
}
