//! Cases recorded from Logstash's own code, run through a transform: each as a batch of one row, as a batch of equal
//! rows (whole columns), and with every second row inactive (those rows must not change).
//!
//! The cases are read at run time from `$FLOWSTONE_SHARED` (by default the folder `shared` beside the workspace) and
//! are no part of the project; where they are absent, [`cases`] says so and gives none.

use std::path::PathBuf;

use flowstone_core::{
    Build, BuildCx, Clock, ComponentId, Decorations, Diagnostics, Entry, Kind, Metrics, Node, NodeKind, Span,
    Table, Transform, TransformCx,
};
use flowstone_event::{Batch, BitSet, Map, Path, RowId, Value, format_iso_millis, parse_iso_millis};
use serde_json::Value as Json;

/// The `@timestamp` of an event whose case gives none: 2020-09-13T12:26:40.123Z.
const T: i64 = 1_600_000_000_123;

/// One recorded case.
#[derive(Clone, Debug)]
pub struct Case(pub Json);

/// What flowstone is meant to do otherwise than the original, and why.
#[derive(Clone, Copy)]
pub struct Difference {
    /// Why flowstone is better there.
    pub reason: &'static str,
    /// Which cases it is about.
    pub applies: fn(&Case) -> bool,
    /// Whether flowstone did what it is meant to do: with the document, or with the error at start.
    pub holds: fn(&Case, Result<&Json, &str>) -> bool,
}

impl std::fmt::Debug for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason)
    }
}

/// The folder of shared files, if there is one.
pub fn shared() -> Option<PathBuf> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let folder = std::env::var_os("FLOWSTONE_SHARED").map_or_else(default, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// The cases of one file (`date.json`).
///
/// # Panics
/// If the file is there and cannot be read: a test that silently ran nothing would prove nothing.
#[allow(clippy::expect_used, clippy::print_stdout)]
pub fn cases(file: &str) -> Vec<Case> {
    let Some(path) = shared().map(|shared| shared.join("cases").join(file)) else {
        println!("left out: no shared folder with {file} (set FLOWSTONE_SHARED)");
        return Vec::new();
    };
    let text = std::fs::read_to_string(&path).expect("the case file can be read");
    let cases: Vec<Json> = serde_json::from_str(&text).expect("the case file is a list");
    cases.into_iter().map(Case).collect()
}

// === impl Case ===

impl Case {
    /// Its name.
    pub fn id(&self) -> &str {
        self.0["id"].as_str().unwrap_or_default()
    }

    /// An option of its configuration.
    pub fn option(&self, name: &str) -> &Json {
        &self.0["config"][name]
    }

    /// Whether the original stops the whole pipeline in the middle of an event and its newer generation does not say
    /// otherwise.
    pub fn throws(&self) -> bool {
        self.0["error"]["phase"] == "filter" && self.0["head"].is_null()
    }

    /// Runs it through the transform `type_name`, whose options `adapt` may change before, and says what differs from
    /// what was recorded or from what `differences` ask for.
    pub fn check(
        &self,
        type_name: &str,
        adapt: impl Fn(&mut Json),
        differences: &[Difference],
    ) -> Result<(), String> {
        let mut config = self.0["config"].clone();
        adapt(&mut config);
        let outcome = self.run(type_name, &config);
        let outcome = outcome.as_ref().map_err(String::as_str);
        if let Some(difference) = differences.iter().find(|difference| (difference.applies)(self)) {
            return match (difference.holds)(self, outcome) {
                true => Ok(()),
                false => Err(format!("{}: {} does not hold: {outcome:?}", self.id(), difference.reason)),
            };
        }
        match (self.expects_error(), outcome) {
            (true, Err(_)) => Ok(()),
            (true, Ok(document)) => Err(format!("{}: expected an error at start, got {document}", self.id())),
            (false, Err(error)) => Err(format!("{}: {error}", self.id())),
            (false, Ok(document)) => self
                .compare(document)
                .map_err(|difference| format!("{}: {difference}\n  of {}", self.id(), self.0)),
        }
    }

    fn expects_error(&self) -> bool {
        !self.0["error"].is_null() && self.0["head"]["expect"].is_null()
    }

    /// The document of the last generation.
    fn expected(&self) -> &Json {
        let head = &self.0["head"]["expect"];
        if head.is_null() { &self.0["expect"] } else { head }
    }

    fn run(&self, type_name: &str, config: &Json) -> Result<Json, String> {
        let (mut transform, decorations) = build(type_name, config)?;
        let clock = self.0["clock"].as_str().and_then(parse_iso_millis).map_or(Clock::System, Clock::Fixed);
        let mut run = |rows: usize, active: Option<BitSet>| -> Result<Vec<Json>, String> {
            let mut batch = self.batch(rows)?;
            let before: Vec<Json> = (0..rows).map(|row| document(&batch, row)).collect();
            batch.set_active(active.clone());
            let metrics = Metrics::new();
            let id = ComponentId { name: type_name.into(), kind: Kind::Transform, type_name: "tested" };
            let component = metrics.component(&id);
            transform.apply(&mut batch, &mut TransformCx::new(&component, clock));
            let mut matched = batch.active_set();
            if let Some(unmatched) = batch.take_unmatched() {
                matched.subtract(&unmatched);
            }
            decorations.apply(&mut batch, &matched);
            let after: Vec<Json> = (0..rows).map(|row| document(&batch, row)).collect();
            for row in (0..rows).filter(|row| active.as_ref().is_some_and(|active| !active.contains(*row))) {
                if before[row] != after[row] {
                    return Err(format!("row {row} is inactive and became {}", after[row]));
                }
            }
            Ok(after)
        };
        let single = run(1, None)?.remove(0);
        let mut every_second = BitSet::none(5);
        [1, 3].into_iter().for_each(|row| every_second.insert(row));
        for (row, document) in run(5, None)?.into_iter().enumerate() {
            if document != single {
                return Err(format!("row {row} of 5 became {document}, alone it became {single}"));
            }
        }
        let some = run(5, Some(every_second))?;
        for row in [1, 3] {
            if some[row] != single {
                return Err(format!("active row {row} became {}, alone it became {single}", some[row]));
            }
        }
        Ok(single)
    }

    fn batch(&self, rows: usize) -> Result<Batch, String> {
        let mut batch = Batch::new((0..rows).map(|row| RowId::of(&row.to_le_bytes())).collect());
        for row in 0..rows {
            batch.set(row, &Path::timestamp(), Value::Time(T)).map_err(|error| error.to_string())?;
            for (name, value) in self.0["input"].as_object().into_iter().flatten() {
                let value = match value.as_str().and_then(parse_iso_millis) {
                    Some(millis) if name == "@timestamp" => Value::Time(millis),
                    _ => value_of(value),
                };
                batch.set(row, &Path::top(name), value).map_err(|error| error.to_string())?;
            }
        }
        Ok(batch)
    }

    fn compare(&self, document: &Json) -> Result<(), String> {
        let expected = self.expected();
        let Some(members) = document.as_object() else { return Err(format!("no object: {document}")) };
        for (name, value) in expected.as_object().into_iter().flatten() {
            let equal = members.get(name).is_some_and(|found| match self.0["match"] == "subset" {
                true => contains(found, value),
                false => found == value,
            });
            if !equal {
                return Err(format!(
                    "`{name}` is {}, expected {value}",
                    members.get(name).unwrap_or(&Json::Null)
                ));
            }
        }
        if self.0["match"] != "subset" {
            let unexpected =
                |name: &str| expected.get(name).is_none() && name != "@timestamp" && name != "@version";
            if let Some((name, value)) = members.iter().find(|(name, _)| unexpected(name)) {
                return Err(format!("`{name}` is {value}, expected nothing"));
            }
            let given =
                self.0["input"]["@timestamp"].as_str().map_or_else(|| format_iso_millis(T), str::to_owned);
            if expected.get("@timestamp").is_none()
                && members.get("@timestamp").is_some_and(|found| *found != given)
            {
                return Err(format!("`@timestamp` is {}, expected {given}", members["@timestamp"]));
            }
        }
        for reference in self.0["absent"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if let Some(value) = at(document, reference) {
                return Err(format!("{reference} is {value}, expected nothing"));
            }
        }
        for reference in self.0["present"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if at(document, reference).is_none() {
                return Err(format!("{reference} is missing"));
            }
        }
        Ok(())
    }
}

/// Whether `found` has everything that `part` has.
fn contains(found: &Json, part: &Json) -> bool {
    match (found, part) {
        (Json::Object(found), Json::Object(part)) => {
            part.iter().all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value)))
        }
        _ => found == part,
    }
}

fn at<'a>(document: &'a Json, reference: &str) -> Option<&'a Json> {
    let path = Path::parse(reference).ok()?;
    path.names().iter().try_fold(document, |value, name| value.get(&**name))
}

/// Builds a transform and the options common to all from a configuration; the error is what the user would be told.
pub fn build(type_name: &str, config: &Json) -> Result<(Box<dyn Transform>, Decorations), String> {
    let plugin = flowstone_core::find(Kind::Transform, type_name)
        .ok_or_else(|| format!("no transform {type_name} is linked into this test"))?;
    let NodeKind::Table(table) = node_of(config).kind else {
        return Err("the configuration is no table".to_owned());
    };
    let mut diagnostics = Diagnostics::new();
    let common: Vec<&str> = Decorations::SPECS.iter().map(|spec| spec.name).collect();
    table.refuse_unknown(type_name, plugin.options, &common, &mut diagnostics);
    let decorations = Decorations::read(&table, &mut diagnostics);
    let Build::Transform(make) = plugin.build else { return Err(format!("{type_name} is no transform")) };
    let cx = BuildCx {
        id: ComponentId { name: type_name.into(), kind: Kind::Transform, type_name: plugin.type_name },
        data_dir: PathBuf::new(),
        clock: Clock::System,
    };
    let made = make(&table, &cx, &mut diagnostics).map_err(|errors| format!("{errors:?}"))?;
    match (made, decorations) {
        (Some(transform), Some(decorations)) if diagnostics.is_empty() => Ok((transform, decorations)),
        _ => Err(format!("{diagnostics:?}")),
    }
}

/// A configuration value as the file would give it.
pub fn node_of(value: &Json) -> Node {
    let kind = match value {
        Json::Null => NodeKind::String(String::new()),
        Json::Bool(value) => NodeKind::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => NodeKind::Integer(value),
            None => NodeKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => NodeKind::String(text.clone()),
        Json::Array(items) => NodeKind::Array(items.iter().map(node_of).collect()),
        Json::Object(members) => {
            let entry = |value| Entry { key_span: Span::default(), value: node_of(value) };
            let entries = members.iter().map(|(name, value)| (name.clone(), entry(value))).collect();
            NodeKind::Table(Table { span: Span::default(), entries })
        }
    };
    Node { span: Span::default(), text_start: None, from_variable: false, kind }
}

/// A JSON value as an event holds it.
pub fn value_of(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.is_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, true) => Value::BigInt(number.to_string().into()),
            (None, false) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        Json::Object(members) => Value::Object(
            members.iter().map(|(name, value)| (name.as_str().into(), value_of(value))).collect::<Map>(),
        ),
    }
}

/// A row of a batch as JSON, `[@metadata]` included.
pub fn document(batch: &Batch, row: usize) -> Json {
    json_of(&batch.to_value(row))
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::BigInt(digits) => serde_json::from_str(digits).unwrap_or(Json::Null),
        Value::Float(value) => {
            serde_json::Number::from_f64(*value).map_or_else(|| Json::from(value.to_string()), Json::Number)
        }
        Value::Time(millis) => Json::from(format_iso_millis(*millis)),
        Value::Str(text) => Json::from(&**text),
        Value::Array(items) => Json::Array(items.iter().map(json_of).collect()),
        Value::Object(map) => {
            Json::Object(map.iter().map(|(name, value)| (name.to_string(), json_of(value))).collect())
        }
    }
}
