//! Cases of what Logstash does: events, the filters they go through, and what comes out. Each is run as the engine
//! runs batches: alone, among equal events (whole columns), among strangers (columns of mixed kinds) and with
//! inactive neighbours that must not change.
//!
//! Recorded cases are read at run time from a folder outside the project (`tests/conformance` runs all of them);
//! plugins write cases of their own in the same form and [`Case::check`] them.

mod answer;
mod steps;
mod values;

use std::path::Path as FilePath;

use flowstone_event::{BitSet, Path, RowId, Value, parse_iso_millis};
use serde_json::Value as Json;

pub use answer::{Document, Outcome};
pub use steps::{Step, build, run};
pub use values::{at, json_of, node_of, value_of};

/// The `@timestamp` of an event whose case gives none.
pub const ANY_INSTANT: &str = "2020-09-13T12:26:40.123Z";

/// One case, as a JSON object.
///
/// `config` (a filter's options), `input` (the event), `match` (`exact`, `subset`), `expect` (the document) are what
/// a case of one's own needs; `clock`, `absent`, `present`, `timestamps`, `tags`, `json_numbers`, `error` and `head`
/// (what the newer generation does, if anything else) say more.
#[derive(Clone, Debug)]
pub struct Case(pub Json);

/// How the original fails where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does not start.
    AtStart,
    /// An exception stops the pipeline at an event.
    AtEvent,
}

/// Reads a file of cases.
pub fn read(path: &FilePath) -> Result<Vec<Case>, String> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
    let cases: Vec<Json> = serde_json::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
    if cases.is_empty() {
        return Err(format!("{place}: expected a list with at least one case"));
    }
    in_full(cases).map_err(|error| format!("{place}: {error}"))
}

/// A case whose configuration is `as in ID` gets that of the case `ID`, its pattern files included.
fn in_full(cases: Vec<Json>) -> Result<Vec<Case>, String> {
    let completed = cases.iter().map(|case| {
        let mut case = case.clone();
        if let Some(id) = case["config_text"].as_str().and_then(|text| text.strip_prefix("as in ")) {
            let model = cases.iter().find(|other| other["id"] == id);
            let model = model.ok_or_else(|| format!("{} is as {id}, which is not there", case["id"]))?;
            for name in ["config_text", "pattern_files"] {
                if let Some(member) = model.get(name) {
                    case[name] = member.clone();
                }
            }
        }
        Ok(Case(case))
    });
    completed.collect()
}

// === impl Case ===

impl Case {
    /// Its name.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// A member; null if there is none.
    pub fn get(&self, name: &str) -> &Json {
        &self.0[name]
    }

    /// A member that is text; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// An option of its configuration.
    pub fn option(&self, name: &str) -> &Json {
        &self.0["config"][name]
    }

    /// The answer: that of the newer generation where the case has one.
    pub fn expected(&self) -> &Json {
        let head = &self.0["head"];
        match (head.is_null(), head["expect"].is_null()) {
            (true, _) => &self.0["expect"],
            (false, true) => head,
            (false, false) => &head["expect"],
        }
    }

    /// How the original fails, if it does.
    pub fn failure(&self) -> Option<Failure> {
        match self.expected()["result"]["error"].as_str() {
            Some("config") => return Some(Failure::AtStart),
            Some(_) => return Some(Failure::AtEvent),
            None => {}
        }
        let error = &self.0["error"];
        match (error.is_null() || !self.0["head"]["expect"].is_null(), error["phase"] == "register") {
            (true, _) => None,
            (false, true) => Some(Failure::AtStart),
            (false, false) => Some(Failure::AtEvent),
        }
    }

    /// What to show of a case that fails: everything but where it comes from.
    pub fn show(&self) -> String {
        let mut shown = self.0.clone();
        if let Json::Object(members) = &mut shown {
            for name in ["id", "kind", "source", "desc", "applies_to"] {
                members.shift_remove(name);
            }
        }
        shown.to_string()
    }

    /// Runs it through the transform `type_name` with its `config` and says what differs from its answer.
    pub fn check(&self, type_name: &str) -> Result<(), String> {
        let outcome = match Step::filter(type_name, self.get("config")) {
            Ok(step) => run(self, &mut [step]),
            Err(error) => Outcome::Refused(error),
        };
        match self.difference(&outcome) {
            None => Ok(()),
            Some(difference) => Err(format!("{}: {difference}\n  {}", self.id(), self.show())),
        }
    }

    /// A batch of `rows` times the case's event. `@timestamp` is [`ANY_INSTANT`] where the case gives none, and absent
    /// where it has `no_timestamp`.
    ///
    /// # Panics
    /// If the event of the case is none.
    pub fn batch(&self, rows: usize) -> flowstone_event::Batch {
        let mut batch =
            flowstone_event::Batch::new((0..rows).map(|row| RowId::of(&row.to_le_bytes())).collect());
        let event = self.event();
        for row in BitSet::all(rows).iter() {
            values::set_event(&mut batch, row, &event);
        }
        batch
    }

    /// The event that goes in.
    fn event(&self) -> Vec<(Path, Value)> {
        let input = self.get("input");
        let mut event = Vec::new();
        if self.get("no_timestamp") != true {
            let given = input["@timestamp"].as_str().unwrap_or(ANY_INSTANT);
            let millis = parse_iso_millis(given);
            event.push((Path::timestamp(), millis.map_or_else(|| Value::from(given), Value::Time)));
        }
        for (name, value) in input.as_object().into_iter().flatten() {
            if name != "@timestamp" {
                event.push((Path::top(name), value_of(value)));
            }
        }
        // What the case calls a timestamp and what comes out as it went in was one before.
        for path in self.references("timestamps") {
            if let Some(given) = at(input, &path).filter(|given| at(self.expected(), &path) == Some(given))
                && let Some(millis) = given.as_str().and_then(parse_iso_millis)
            {
                event.push((path, Value::Time(millis)));
            }
        }
        event
    }

    fn references(&self, name: &str) -> Vec<Path> {
        let references = self.0[name].as_array().into_iter().flatten().filter_map(Json::as_str);
        references
            .map(|reference| Path::parse(reference).unwrap_or_else(|_| Path::parse_lenient(reference)))
            .collect()
    }
}
