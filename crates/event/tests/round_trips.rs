//! Whatever is done to a batch, by rows or by whole columns, its rows read back as a plain object per row would, and
//! its documents are that object as JSON.

use std::sync::Arc;

use flowstone_event::{
    Batch, BitSet, Column, EncodeOptions, Map, Path, RowId, StrRef, Value, format_iso_millis,
};
use proptest::prelude::*;

const ROWS: usize = 5;
const PATHS: [&str; 9] =
    ["a", "b", "[o][x]", "[o][y]", "[o][deep][z]", "o", "[o][deep]", "tags", "[@metadata][k]"];

#[derive(Clone, Debug)]
enum Step {
    Set(usize, usize, Value),
    SetText(usize, usize, String),
    Remove(usize, usize),
    Tag(usize, String),
    /// A whole column laid over the batch; cells that are `None` leave their rows alone.
    Overlay(usize, Vec<Option<Value>>),
    RemoveFrom(Vec<bool>, usize),
    /// Go on with a sharing copy; the original must stay as it is.
    Share,
    Pick(Vec<usize>),
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        Just(Value::Int(i64::MIN)),
        any::<f64>().prop_map(Value::Float),
        Just(Value::Float(f64::from_bits(0xfff8_dead_dead_dead))),
        "[1-9][0-9]{19,24}".prop_map(|digits| Value::BigInt(digits.into())),
        (-62_135_596_800_000_i64..253_402_300_799_999).prop_map(Value::Time),
        ".{0,12}".prop_map(Value::from),
        "[\\PC\\x00-\\x1f\"\\\\]{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec(("[xyz]|deep", inner), 0..3).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (Arc::from(name), value)).collect())
            }),
        ]
    })
}

/// Cells of one kind, so that the column is a typed one.
fn cells() -> impl Strategy<Value = Vec<Option<Value>>> {
    let of = |value: BoxedStrategy<Value>| prop::collection::vec(prop::option::of(value), ROWS);
    prop_oneof![
        of(any::<bool>().prop_map(Value::Bool).boxed()),
        of((-9_i64..9).prop_map(Value::Int).boxed()),
        of((-9.0..9.0).prop_map(Value::Float).boxed()),
        of((0_i64..9_000_000_000_000).prop_map(Value::Time).boxed()),
        of("\\PC{0,6}".prop_map(Value::from).boxed()),
        of(values().boxed()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = 0..ROWS;
    let path = 0..PATHS.len();
    prop::collection::vec(
        prop_oneof![
            6 => (row.clone(), path.clone(), values()).prop_map(|(row, path, value)| Step::Set(row, path, value)),
            3 => (row.clone(), path.clone(), "\\PC{0,9}").prop_map(|(row, path, text)| Step::SetText(row, path, text)),
            3 => (row.clone(), path.clone()).prop_map(|(row, path)| Step::Remove(row, path)),
            2 => (row.clone(), "[t-v]").prop_map(|(row, tag)| Step::Tag(row, tag)),
            3 => (path.clone(), cells()).prop_map(|(path, cells)| Step::Overlay(path, cells)),
            1 => (prop::collection::vec(any::<bool>(), ROWS), path).prop_map(|(rows, path)| Step::RemoveFrom(rows, path)),
            1 => Just(Step::Share),
            1 => prop::collection::vec(row, ROWS).prop_map(Step::Pick),
        ],
        0..40,
    )
}

// --- the model: an object per row

/// Sets as a nested map does; `false` where something that holds no fields is in the way.
fn set(here: &mut Value, names: &[Arc<str>], value: Value) -> bool {
    let Some((name, rest)) = names.split_first() else {
        *here = value;
        return true;
    };
    match here {
        Value::Object(map) => match map.get_mut(name) {
            Some(below) => set(below, rest, value),
            None => {
                let mut below = Value::object();
                assert!(set(&mut below, rest, value), "nothing is in the way of what is new");
                map.insert(Arc::clone(name), below);
                true
            }
        },
        // A name addresses nothing in a list.
        Value::Array(_) => true,
        _ => false,
    }
}

fn remove(here: &mut Value, names: &[Arc<str>]) {
    let Value::Object(map) = here else { return };
    match names {
        [] => {}
        [name] => drop(map.shift_remove(name)),
        [name, rest @ ..] => map.get_mut(name).into_iter().for_each(|below| remove(below, rest)),
    }
}

fn tag(row: &mut Value, tag: &str) {
    let Value::Object(map) = row else { return };
    if map.get("tags") == Some(&Value::from(tag)) {
        return; // Logstash leaves the one tag a text
    }
    let old = map.entry("tags".into()).or_insert(Value::Array(Vec::new()));
    let mut list = match std::mem::replace(old, Value::Null) {
        Value::Array(list) => list,
        scalar => vec![scalar],
    };
    if !list.contains(&Value::from(tag)) {
        list.push(Value::from(tag));
    }
    *old = Value::Array(list);
}

fn column(batch: &mut Batch, cells: &[Option<Value>]) -> Column {
    let kinds: Vec<_> = cells.iter().flatten().map(std::mem::discriminant).collect();
    let alike = kinds.windows(2).all(|pair| pair[0] == pair[1]);
    match cells.iter().flatten().next() {
        None => Column::Absent,
        Some(Value::Str(_)) if alike => {
            let mut place = |cell: &Option<Value>| match cell {
                Some(Value::Str(text)) => batch.push_text(text),
                _ => StrRef::ABSENT,
            };
            Column::Str(cells.iter().map(&mut place).collect())
        }
        Some(Value::Time(_)) if alike => {
            let time = |cell: &Option<Value>| match cell {
                Some(Value::Time(millis)) => *millis,
                _ => flowstone_event::ABSENT_INT,
            };
            Column::Time(cells.iter().map(time).collect())
        }
        _ => Column::Any(cells.to_vec()),
    }
}

// --- JSON, written the slow way

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::BigInt(digits) => serde_json::from_str(digits).expect("digits"),
        Value::Float(value) if value.is_nan() => "NaN".into(),
        Value::Float(value) if value.is_infinite() => {
            if *value > 0.0 { "Infinity" } else { "-Infinity" }.into()
        }
        Value::Float(value) => (*value).into(),
        Value::Time(millis) => format_iso_millis(*millis).into(),
        Value::Str(text) => (**text).into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Object(map) => map.iter().map(|(name, value)| (name.to_string(), json(value))).collect(),
    }
}

fn check(batch: &Batch, model: &[Value]) -> Result<(), TestCaseError> {
    for (row, expect) in model.iter().enumerate() {
        let read = batch.row(row).to_value();
        prop_assert_eq!(json(&read), json(expect), "row {}", row);
        for path in PATHS.map(|path| Path::parse(path).expect("a reference")) {
            let wanted = expect.descend(path.names());
            prop_assert_eq!(
                batch.get(row, &path).as_ref().map(json),
                wanted.map(json),
                "row {} {}",
                row,
                path
            );
        }
        let mut document = expect.clone();
        if let Value::Object(map) = &mut document {
            map.shift_remove("@metadata");
        }
        let mut line = Vec::new();
        batch.json_rows(EncodeOptions::default()).write(row, &mut line);
        prop_assert!(!line.contains(&b'\n'), "a document is one line");
        let written: serde_json::Value = serde_json::from_slice(&line)
            .map_err(|e| TestCaseError::fail(format!("{e}: {}", String::from_utf8_lossy(&line))))?;
        prop_assert_eq!(written, json(&document), "row {}", row);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_columns_and_documents_tell_the_same(steps in steps()) {
        let mut batch = Batch::new((0..ROWS as u128).map(RowId::from_u128).collect());
        let mut model = vec![Value::Object(Map::default()); ROWS];
        for step in steps {
            match step {
                Step::Set(row, path, value) => {
                    let path = Path::parse(PATHS[path]).expect("a reference");
                    let fits = set(&mut model[row], path.names(), value.clone());
                    prop_assert_eq!(batch.set(row, &path, value).is_ok(), fits, "{}", path);
                }
                Step::SetText(row, path, text) => {
                    let path = Path::parse(PATHS[path]).expect("a reference");
                    let fits = set(&mut model[row], path.names(), Value::from(text.as_str()));
                    prop_assert_eq!(batch.set_str(row, &path, &text).is_ok(), fits, "{}", path);
                }
                Step::Remove(row, path) => {
                    let path = Path::parse(PATHS[path]).expect("a reference");
                    let there = model[row].descend(path.names()).map(json);
                    remove(&mut model[row], path.names());
                    prop_assert_eq!(batch.remove(row, &path).as_ref().map(json), there);
                }
                Step::Tag(row, text) => {
                    tag(&mut model[row], &text);
                    batch.tag(row, &Arc::from(text));
                }
                Step::Overlay(path, cells) => {
                    let path = Path::parse(PATHS[path]).expect("a reference");
                    let column = column(&mut batch, &cells);
                    let failed: Vec<usize> =
                        batch.overlay(vec![(path.clone(), column)]).into_iter().map(|(row, _)| row).collect();
                    let mut expect = Vec::new();
                    for (row, cell) in cells.into_iter().enumerate() {
                        if let Some(value) = cell && !set(&mut model[row], path.names(), value) {
                            expect.push(row);
                        }
                    }
                    prop_assert_eq!(failed, expect);
                }
                Step::RemoveFrom(rows, path) => {
                    let path = Path::parse(PATHS[path]).expect("a reference");
                    let mut set = BitSet::none(ROWS);
                    for row in (0..ROWS).filter(|&row| rows[row]) {
                        set.insert(row);
                        remove(&mut model[row], path.names());
                    }
                    batch.remove_from(&set, &path);
                }
                Step::Share => {
                    let mut copy = batch.share();
                    copy.set(0, &Path::top("b"), "only here").expect("a top-level field");
                    copy.remove(1, &Path::top("o"));
                    copy.tag(2, &Arc::from("elsewhere"));
                    check(&batch, &model)?;
                    batch = batch.share();
                }
                Step::Pick(rows) => {
                    model = rows.iter().map(|&row| model[row].clone()).collect();
                    batch = batch.pick(&rows);
                }
            }
        }
        check(&batch, &model)?;
    }
}

/// Documents keep a day's date from row to row; days at either end of 64 bits have no midnight.
#[test]
fn instants_at_both_ends_of_64_bits_and_of_a_day_are_written() {
    let instants =
        vec![i64::MAX, 0, 86_399_999, 86_400_000, -1, -62_167_219_200_001, 253_402_300_800_000, i64::MIN + 1];
    let mut batch = Batch::new((0..instants.len() as u128).map(RowId::from_u128).collect());
    batch.put_columns(vec![(Path::top("t"), Column::Time(instants.clone()))]);
    let mut rows = batch.json_rows(EncodeOptions::default());
    for (row, instant) in instants.into_iter().enumerate() {
        let mut document = Vec::new();
        rows.write(row, &mut document);
        let expected = format!("{{\"t\":\"{}\"}}", format_iso_millis(instant));
        assert_eq!(String::from_utf8_lossy(&document), expected, "{instant}");
    }
}
