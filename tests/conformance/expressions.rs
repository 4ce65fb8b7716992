//! The cases that need no transform: conditions, `%{field}` templates, field references, the spelling of JSON.

use std::sync::Arc;

use flowstone_core::event::{Batch, BitSet, Path, RowId, Value, parse_iso_millis, write_json_value};
use flowstone_dialect::{Condition, Template, to_f, to_i};
use flowstone_testkit::cases::{Case, Document, Outcome, json_of, value_of};
use serde_json::Value as Json;

use crate::filters;

/// `condition` on an event, or a whole `config_text`.
pub(crate) fn conditional(case: &Case) -> Outcome {
    if case.get("config_text").is_string() {
        return filters::config_text(case);
    }
    let condition = match Condition::parse(case.text("condition")) {
        Ok(condition) => condition,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let value = condition.holds(case.batch(1).row(0));
    // More rows than fit into a word of the set.
    let selection = condition.select(&case.batch(70), &BitSet::all(70));
    let expected = if value { BitSet::all(70) } else { BitSet::none(70) };
    if selection.rows != expected {
        return Outcome::Broken(format!("{value} for one row, {:?} for 70 equal ones", selection.rows));
    }
    Outcome::Result { value: Json::from(value), incomparable: selection.incomparable }
}

/// A template rendered for an event.
pub(crate) fn sprintf(case: &Case) -> Outcome {
    let template = match Template::parse(case.option("template").as_str().unwrap_or_default()) {
        Ok(template) => template,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let batch = case.batch(2);
    let (mut text, mut bound) = (String::new(), String::new());
    template.render(batch.row(1), &mut text);
    template.bind(&batch).render(1, &mut bound);
    match text == bound {
        true => result(Json::from(text)),
        false => Outcome::Broken(format!("{text:?} for a row, {bound:?} bound to its batch")),
    }
}

/// `get`, `include`, `set`, `remove`, `tag` on one reference.
pub(crate) fn field_reference(case: &Case) -> Outcome {
    let mut batch = Batch::new(vec![RowId::of(b"one")]);
    for (name, value) in case.get("input").as_object().into_iter().flatten() {
        // The original reads the names of a document as references.
        if let Err(error) = batch.set(0, &reference(name), value_of(value)) {
            return Outcome::Broken(error.to_string());
        }
    }
    let path = reference(case.option("ref").as_str().unwrap_or_default());
    let given = case.option("value");
    let returned = match case.option("op").as_str() {
        Some("get") => return result(json_or_null(batch.get(0, &path))),
        Some("include") => return result(Json::from(batch.has(0, &path))),
        Some("set") => match batch.set(0, &path, value_of(given)) {
            Ok(()) => Json::Null,
            Err(error) => return Outcome::Failed(error.to_string()),
        },
        Some("remove") => json_or_null(batch.remove(0, &path)),
        Some("tag") => {
            batch.tag(0, &Arc::from(given.as_str().unwrap_or_default()));
            Json::Null
        }
        other => return Outcome::Broken(format!("no such operation: {other:?}")),
    };
    Outcome::Document(Document { returned: Some(returned), ..Document::of(&batch, 0) })
}

/// How a value is spelled in JSON, to the byte.
pub(crate) fn json_wire(case: &Case) -> Outcome {
    let input = case.get("input");
    let text = |name: &str| input[name].as_str();
    let value = match (text("grok_text"), text("coercion"), text("string"), text("timestamp")) {
        (Some(captured), Some("int"), ..) => to_i(captured),
        (Some(captured), Some("float"), ..) => Value::Float(to_f(captured)),
        (_, _, Some(string), _) => Value::from(string),
        (.., Some(text)) => match instant(text) {
            Some(millis) => Value::Time(millis),
            None => return Outcome::Broken(format!("{text} is no instant")),
        },
        _ => value_of(&input["value"]),
    };
    let mut alone = Vec::new();
    write_json_value(&value, &mut alone);
    // In a column of its kind too.
    let mut batch = Batch::new(vec![RowId::of(b"one")]);
    if let Err(error) = batch.set(0, &Path::top("v"), value) {
        return Outcome::Broken(error.to_string());
    }
    let mut line = Vec::new();
    batch.write_json(0, Default::default(), &mut line);
    let (alone, line) = (String::from_utf8_lossy(&alone), String::from_utf8_lossy(&line));
    match line == format!("{{\"v\":{alone}}}") {
        true => result(Json::from(alone)),
        false => Outcome::Broken(format!("{alone} alone, {line} in an event")),
    }
}

/// What a case calls an instant: RFC 3339, a year beyond 9999 with its sign, or seconds since the epoch.
fn instant(text: &str) -> Option<i64> {
    if let Some(seconds) = text.strip_suffix(" epoch seconds") {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        return Some(whole.parse::<i64>().ok()? * 1000 + millis);
    }
    let Some((year, rest)) = text.strip_prefix('+').and_then(|text| text.split_once('-')) else {
        return parse_iso_millis(text);
    };
    // The calendar is the same again every 400 years.
    let year: i64 = year.parse().ok()?;
    let cycles = (year - 2000).div_euclid(400);
    let known = parse_iso_millis(&format!("{:04}-{rest}", year - cycles * 400))?;
    Some(known + cycles * 146_097 * 86_400_000)
}

fn result(value: Json) -> Outcome {
    Outcome::Result { value, incomparable: 0 }
}

fn reference(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|_| Path::parse_lenient(text))
}

fn json_or_null(value: Option<Value>) -> Json {
    value.as_ref().map_or(Json::Null, json_of)
}
