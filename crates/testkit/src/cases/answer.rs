//! What flowstone makes of a case, and how that is compared with the case's answer.

use std::collections::BTreeSet;

use flowstone_event::{Batch, Path, Value};
use serde_json::Value as Json;

use super::values::{at, json_of};
use super::{ANY_INSTANT, Case, Failure};

/// What flowstone makes of a case.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A value: of a condition, a template, a field.
    Result {
        /// The value.
        value: Json,
        /// How many comparisons on the way could not be made and were false for that.
        incomparable: u64,
    },
    /// An event behind the filters.
    Document(Document),
    /// Refused at start.
    Refused(String),
    /// Not possible with this event.
    Failed(String),
    /// flowstone contradicts itself, or the case cannot be run: never right.
    Broken(String),
}

/// An event behind the filters.
#[derive(Clone, Debug)]
pub struct Document {
    /// The event.
    pub value: Value,
    /// The event as JSON, `@metadata` included.
    pub event: Json,
    /// The event as a sink writes it.
    pub line: String,
    /// What an operation on the event gave back.
    pub returned: Option<Json>,
    /// How many comparisons on the way could not be made and were false for that.
    pub incomparable: u64,
}

// === impl Document ===

impl Document {
    /// What a row of a batch holds.
    ///
    /// # Panics
    /// If the line that a sink would write is not what the event holds.
    pub fn of(batch: &Batch, row: usize) -> Self {
        let value = batch.to_value(row);
        let event = json_of(&value);
        let mut line = Vec::new();
        batch.write_json(row, Default::default(), &mut line);
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut written: Json = serde_json::from_str(&line).unwrap_or(Json::Null);
        if let (Json::Object(written), Some(metadata)) = (&mut written, event.get("@metadata")) {
            written.insert("@metadata".to_owned(), metadata.clone());
        }
        assert_eq!(written, event, "what is written is what the event holds");
        Self { value, event, line, returned: None, incomparable: 0 }
    }

    /// The error says in which company this document became another than `expected`.
    pub(super) fn must_be(&self, expected: &Self, company: &str) -> Result<(), String> {
        // The order of the fields depends on the neighbours and does not count.
        match self.value == expected.value {
            true => Ok(()),
            false => Err(format!("{company}: {}, but expected {}", self.event, expected.event)),
        }
    }

    fn timestamps(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        find_timestamps(&self.value, None, &mut found);
        found
    }
}

fn find_timestamps(value: &Value, path: Option<&Path>, found: &mut BTreeSet<String>) {
    match (value, path) {
        (Value::Time(_), Some(path)) => {
            found.insert(path.as_str().to_owned());
        }
        (Value::Object(map), _) => {
            for (name, value) in map {
                let path = path.map_or_else(|| Path::top(name), |path| path.child(name));
                find_timestamps(value, Some(&path), found);
            }
        }
        _ => {}
    }
}

// === impl Case ===

impl Case {
    /// What differs between an outcome and the answer of the case.
    pub fn difference(&self, outcome: &Outcome) -> Option<String> {
        let expected = self.expected();
        match (outcome, self.failure()) {
            (Outcome::Refused(_), Some(Failure::AtStart)) | (Outcome::Failed(_), Some(Failure::AtEvent)) => {
                None
            }
            (Outcome::Refused(why), _) => Some(format!("refused: {why}")),
            (Outcome::Failed(why), _) => Some(format!("failed: {why}")),
            (Outcome::Broken(why), _) => Some(why.clone()),
            (Outcome::Document(document), Some(failure)) => {
                Some(format!("became {}, expected a failure: {failure:?}", document.event))
            }
            (Outcome::Document(document), None) => self.document_difference(document),
            (Outcome::Result { value, .. }, failure) => {
                let answer = expected.get("json_text").unwrap_or(&expected["result"]);
                match failure {
                    Some(failure) => Some(format!("gave {value}, expected a failure: {failure:?}")),
                    None => (value != answer).then(|| format!("gave {value}, expected {answer}")),
                }
            }
        }
    }

    fn document_difference(&self, document: &Document) -> Option<String> {
        let mut expected = self.expected();
        if let Some(returned) = &document.returned {
            if let Some(answer) = expected.get("result").filter(|answer| *answer != returned) {
                return Some(format!("gave back {returned}, expected {answer}"));
            }
            expected = &expected["event"];
        }
        let mut event = document.event.clone();
        if let Json::Object(members) = &mut event {
            // The engine adds one and never writes the other.
            members.shift_remove("@version");
            if expected.get("@metadata").is_none() {
                members.shift_remove("@metadata");
            }
        }
        let is_subset = self.get("match") == "subset";
        for (name, answer) in
            expected.as_object().into_iter().flatten().filter(|(name, _)| *name != "@version")
        {
            let found = event.get(name);
            let is_same =
                found.is_some_and(|found| if is_subset { holds(found, answer) } else { found == answer });
            if !is_same {
                return Some(format!("`{name}` is {}, expected {answer}", found.unwrap_or(&Json::Null)));
            }
        }
        if !is_subset {
            let is_expected = |name: &str| expected.get(name).is_some() || name == "@timestamp";
            let unexpected = event.as_object().into_iter().flatten().find(|(name, _)| !is_expected(name));
            if let Some((name, value)) = unexpected {
                return Some(format!("`{name}` is {value}, expected nothing"));
            }
        }
        self.timestamp_difference(expected, document)
            .or_else(|| self.presence_difference(document))
            .or_else(|| self.spelling_difference(document))
    }

    fn timestamp_difference(&self, expected: &Json, document: &Document) -> Option<String> {
        // A case that says nothing of `@timestamp` left it as it was, or took it away.
        let was = match self.get("input").get("@timestamp") {
            Some(given) => given.clone(),
            None => Json::from(ANY_INSTANT),
        };
        let found = document.event.get("@timestamp");
        let is_fixed = self.get("match") == "exact" || self.get("timestamp_unchanged") == true;
        let is_as_it_was = match found {
            Some(found) => *found == was,
            None => self.get("no_timestamp") == true || self.takes_timestamp_away(),
        };
        if expected.get("@timestamp").is_none() && is_fixed && document.returned.is_none() && !is_as_it_was {
            return Some(format!("`@timestamp` became {}", found.unwrap_or(&Json::Null)));
        }
        let mut given: BTreeSet<String> =
            self.references("timestamps").iter().map(|path| path.as_str().to_owned()).collect();
        if given.is_empty() {
            return None;
        }
        let found = document.timestamps();
        // It is always one, whether listed or not.
        if found.contains("@timestamp") {
            given.insert("@timestamp".to_owned());
        }
        (found != given).then(|| format!("timestamps are {found:?}, expected {given:?}"))
    }

    fn takes_timestamp_away(&self) -> bool {
        let removed = self.option("remove_field");
        removed == "@timestamp"
            || removed.as_array().is_some_and(|names| names.iter().any(|name| name == "@timestamp"))
            || self.option("rename").get("@timestamp").is_some()
            || self.text("config_text").contains("\"@timestamp\"")
    }

    fn presence_difference(&self, document: &Document) -> Option<String> {
        for path in self.references("absent") {
            if let Some(value) = at(&document.event, &path) {
                return Some(format!("{} is {value}, expected nothing", path.as_str()));
            }
        }
        for path in self.references("present") {
            if at(&document.event, &path).is_none() {
                return Some(format!("{} is missing", path.as_str()));
            }
        }
        match self.0.get("tags") {
            Some(tags) if self.get("head").is_null() && document.event["tags"] != *tags => {
                Some(format!("tags are {}, expected {tags}", document.event["tags"]))
            }
            _ => None,
        }
    }

    fn spelling_difference(&self, document: &Document) -> Option<String> {
        let spellings = self.get("json_numbers").as_object().into_iter().flatten();
        for (name, spelling) in spellings {
            let member = format!("\"{name}\":{}", spelling.as_str().unwrap_or_default());
            if ![",", "}"].iter().any(|end| document.line.contains(&format!("{member}{end}"))) {
                return Some(format!("{member} does not stand in {}", document.line));
            }
        }
        None
    }
}

/// Whether `found` has everything that `part` has.
fn holds(found: &Json, part: &Json) -> bool {
    match (found, part) {
        (Json::Object(found), Json::Object(part)) => {
            part.iter().all(|(name, value)| found.get(name).is_some_and(|found| holds(found, value)))
        }
        _ => found == part,
    }
}
