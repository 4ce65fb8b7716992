//! Puts the index template in place at start: where none is, or one of ours that nobody has changed. What somebody else
//! wrote is never changed, unless that is asked for, and none is installed that would push aside or mix with it.

use flowstone_core::Verdict;
use reqwest::Method;
use serde_json::Value;

use crate::client::{Answer, Call, Connection};
use crate::mapping::{self, DATA_STREAM_PRIORITY};
use crate::operator::Operator;
use crate::options::Coverage;
use crate::server::{Server, TemplateDialect};
use crate::verdict::judge_admin;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is installed now.
    Installed,
    /// It is installed in place of another: an older one of ours, or whatever was there.
    Renewed,
    /// It is there, or another one of this name that is not ours to change.
    Present,
    /// One of ours is there that somebody has changed.
    Changed,
    /// Another template covers the same indices: its name.
    Covered(String),
}

/// A template to put in place.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) coverage: &'a Coverage,
    pub(crate) template: Value,
    /// Whether it is ours, and not a file of the user's.
    pub(crate) ours: bool,
    /// Whatever is there is replaced.
    pub(crate) overwrite: bool,
    pub(crate) data_stream: bool,
}

/// Puts it in place. The error is a verdict to wait on.
pub(crate) async fn ensure(
    connection: &Connection,
    server: &Server,
    wanted: Wanted<'_>,
) -> Result<Outcome, Verdict> {
    let Wanted { coverage, template, ours, overwrite, data_stream } = wanted;
    let dialect = server.template_dialect();
    let path = [api(dialect), coverage.name.as_str()];
    let found = connection.call(Method::GET, Call { path: &path, ..Call::default() }).await?;
    let there = match found.status {
        200 => Some(found_template(&found.body, dialect, &coverage.name)),
        404 => None,
        _ => return Err(judge_admin(&found, Operator::TemplateRefused)),
    };
    if let Some(there) = &there {
        let is_the_same = mapping::hash(there) == mapping::hash(&template);
        // One for other indices is somebody's who uses the same name.
        let same_indices = there["index_patterns"] == template["index_patterns"];
        match Mark::of(there).filter(|_| ours && same_indices) {
            _ if is_the_same => return Ok(Outcome::Present),
            _ if overwrite => {}
            None => return Ok(Outcome::Present),
            Some(mark) if mark.hash != mapping::hash(there) => return Ok(Outcome::Changed),
            Some(mark) if mark.version > version(env!("CARGO_PKG_VERSION")) => return Ok(Outcome::Present),
            Some(_) => {}
        }
    } else if !overwrite
        && let Some(other) = other_cover(connection, dialect, &coverage.pattern, data_stream).await?
    {
        return Ok(Outcome::Covered(other));
    }
    // `create`: one that somebody puts there at this moment is not overwritten either.
    let create: &[(&str, &str)] = if there.is_none() && !overwrite { &[("create", "true")] } else { &[] };
    let body = Some(("application/json", vec![template.to_string().into()]));
    let put =
        connection.call(Method::PUT, Call { path: &path, query: create, body, ..Call::default() }).await?;
    match put.status {
        200 if there.is_some() => Ok(Outcome::Renewed),
        200 => Ok(Outcome::Installed),
        400 if says(&put, "already exists") => Ok(Outcome::Present),
        400 if says(&put, "same priority") => Ok(Outcome::Covered("one of the same priority".to_owned())),
        _ => Err(judge_admin(&put, Operator::TemplateRefused)),
    }
}

fn api(dialect: TemplateDialect) -> &'static str {
    if dialect == TemplateDialect::Composable { "_index_template" } else { "_template" }
}

/// The template in the reply to a question for it.
fn found_template(body: &[u8], dialect: TemplateDialect, name: &str) -> Value {
    let mut reply: Value = serde_json::from_slice(body).unwrap_or_default();
    let found = match dialect {
        TemplateDialect::Composable => reply.pointer_mut("/index_templates/0/index_template"),
        TemplateDialect::Legacy | TemplateDialect::LegacyTyped => reply.get_mut(name),
    };
    found.map(Value::take).unwrap_or_default()
}

/// What we write into our templates.
struct Mark {
    version: [u64; 3],
    /// Of what was written then.
    hash: String,
}

impl Mark {
    fn of(template: &Value) -> Option<Self> {
        let mappings = &template["mappings"];
        let typed =
            mappings.as_object().and_then(|types| types.values().next()).map(|mapping| &mapping["_meta"]);
        let places = [Some(&template["_meta"]), Some(&mappings["_meta"]), typed];
        let mark =
            places.into_iter().flatten().map(|meta| &meta["flowstone"]).find(|mark| mark.is_object())?;
        Some(Self { version: version(mark["version"].as_str()?), hash: mark["hash"].as_str()?.to_owned() })
    }
}

/// The numbers of a version, `0.1.0`.
fn version(text: &str) -> [u64; 3] {
    let mut numbers = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

/// A field that a template of the server maps as the seed's did: `lat` or `lon` itself as a `geo_point`. It is accepted, and
/// then refuses every document that has one. The template's name and the field.
pub(crate) async fn coordinate_as_point(
    connection: &Connection,
    server: &Server,
    pattern: &str,
) -> Result<Option<(String, String)>, Verdict> {
    for (name, template) in all(connection, server.template_dialect(), None).await? {
        let inner = template.get("template").unwrap_or(&template);
        if covers(&template, pattern)
            && let Some(field) = bad_point("", &inner["mappings"])
        {
            return Ok(Some((name, field)));
        }
    }
    Ok(None)
}

fn bad_point(path: &str, mapping: &Value) -> Option<String> {
    for (name, value) in mapping.as_object()? {
        let path = match &**name {
            "properties" => path.to_owned(),
            name if path.is_empty() => name.to_owned(),
            name => format!("{path}.{name}"),
        };
        if matches!(&**name, "lat" | "lon") && value["type"] == "geo_point" {
            return Some(path);
        }
        if let Some(field) = bad_point(&path, value) {
            return Some(field);
        }
    }
    None
}

/// The name of another template for some of the same indices. A catch-all is none: it sets shards or replicas and
/// says nothing about flow logs. Nor is, for a data stream, one that ours goes before.
async fn other_cover(
    connection: &Connection,
    dialect: TemplateDialect,
    pattern: &str,
    data_stream: bool,
) -> Result<Option<String>, Verdict> {
    let what = ["index_patterns", "index_patterns,index_templates.index_template.priority"];
    let known = all(connection, dialect, Some(what[usize::from(data_stream)])).await?;
    let goes_before = |template: &Value| {
        data_stream && template["priority"].as_u64().is_some_and(|priority| priority < DATA_STREAM_PRIORITY)
    };
    let found = known.into_iter().find(|(_, template)| covers(template, pattern) && !goes_before(template));
    Ok(found.map(|(name, _)| name))
}

fn covers(template: &Value, pattern: &str) -> bool {
    let patterns = template["index_patterns"].as_array().into_iter().flatten().filter_map(Value::as_str);
    patterns.filter(|other| other.chars().any(|c| c != '*')).any(|other| overlap(pattern, other))
}

/// All templates with their names; `what` of each, or all of it.
async fn all(
    connection: &Connection,
    dialect: TemplateDialect,
    what: Option<&str>,
) -> Result<Vec<(String, Value)>, Verdict> {
    let legacy = list(connection, "_template", what.map(|_| "*.index_patterns"), dialect).await?;
    let legacy =
        legacy.as_object().into_iter().flatten().map(|(name, template)| (name.clone(), template.clone()));
    let mut known: Vec<(String, Value)> = legacy.collect();
    if dialect == TemplateDialect::Composable {
        let filter = what.map(|what| format!("index_templates.name,index_templates.index_template.{what}"));
        let composable = list(connection, "_index_template", filter.as_deref(), dialect).await?;
        known.extend(
            composable["index_templates"].as_array().into_iter().flatten().filter_map(|entry| {
                Some((entry["name"].as_str()?.to_owned(), entry["index_template"].clone()))
            }),
        );
    }
    Ok(known)
}

async fn list(
    connection: &Connection,
    api: &str,
    filter: Option<&str>,
    dialect: TemplateDialect,
) -> Result<Value, Verdict> {
    // A serverless one has composable templates and no others.
    let may_be_gone = api == "_template" && dialect == TemplateDialect::Composable;
    let query: Vec<(&str, &str)> = filter.map(|filter| ("filter_path", filter)).into_iter().collect();
    let answer =
        connection.call(Method::GET, Call { path: &[api], query: &query, ..Call::default() }).await?;
    match answer.status {
        200 => Ok(serde_json::from_slice(&answer.body).unwrap_or_default()),
        404 => Ok(Value::Null),
        400 | 405 | 410 if may_be_gone => Ok(Value::Null),
        _ => Err(judge_admin(&answer, Operator::TemplateRefused)),
    }
}

fn says(answer: &Answer, words: &str) -> bool {
    String::from_utf8_lossy(&answer.body).contains(words)
}

/// Whether some name fits both patterns, in which `*` stands for any text.
fn overlap(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // fits[j]: the patterns from here on and from j on have a name in common.
    let rest_is_stars = |rest: &[char]| rest.iter().all(|&c| c == '*');
    let mut fits: Vec<bool> = (0..=b.len()).map(|j| rest_is_stars(&b[j..])).collect();
    for i in (0..a.len()).rev() {
        let below = fits.clone();
        fits[b.len()] = rest_is_stars(&a[i..]);
        for j in (0..b.len()).rev() {
            fits[j] = match (a[i], b[j]) {
                ('*', _) | (_, '*') => below[j] || fits[j + 1],
                (x, y) => x == y && below[j + 1],
            };
        }
    }
    fits[0]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_coordinate_that_is_mapped_as_a_point_is_found_wherever_it_stands() {
        let bad = json!({"properties": {"g": {"properties": {"location": {"properties": {
            "lat": {"type": "geo_point"}, "lon": {"type": "geo_point"}
        }}}}}});
        assert_eq!(bad_point("", &bad).as_deref(), Some("g.location.lat"));
        let typed = json!({"doc": bad});
        assert!(bad_point("", &typed).unwrap().ends_with("g.location.lat"));
        let good = json!({"properties": {"g": {"properties": {"location": {"type": "geo_point"}, "lat": {"type": "float"}}}}});
        assert_eq!(bad_point("", &good), None);
    }

    #[test]
    fn a_reply_of_another_form_holds_no_template() {
        for body in ["", "{}", "null", "[]", r#"{"index_templates":[]}"#, r#"{"errors":false}"#, "<html>"] {
            for dialect in [TemplateDialect::Composable, TemplateDialect::Legacy] {
                assert_eq!(found_template(body.as_bytes(), dialect, "flow"), Value::Null, "{body}");
            }
        }
    }

    #[test]
    fn our_mark_is_found_in_each_dialect() {
        let meta = json!({"flowstone": {"version": "0.2.10", "hash": "abc"}});
        for template in [
            json!({"_meta": meta, "template": {}}),
            json!({"mappings": {"_meta": meta}}),
            json!({"mappings": {"doc": {"_meta": meta}}}),
        ] {
            let mark = Mark::of(&template).unwrap();
            assert_eq!((mark.version, mark.hash.as_str()), ([0, 2, 10], "abc"));
        }
        assert!(Mark::of(&json!({"_meta": {"description": "mine"}, "mappings": {}})).is_none());
        assert!(version("0.10.0") > version("0.9.9"));
    }

    #[test]
    fn patterns_overlap_when_some_name_fits_both() {
        for (a, b, expect) in [
            ("vpcflowlogs-*", "vpcflowlogs-*", true),
            ("vpcflowlogs-*", "vpcflowlogs-2019*", true),
            ("vpcflowlogs-*", "vpc*", true),
            ("vpcflowlogs-*", "*logs-x", true),
            ("vpcflowlogs-*", "*", true),
            ("vpcflowlogs-*", "vpcflowlogs", false),
            ("vpcflowlogs-*", "logstash-*", false),
            ("vpcflowlogs", "vpcflowlogs", true),
            ("a*b*c", "abbc*c", true),
            ("a*b", "a*c", false),
            ("*-flow-*", "prod-flow", false),
            ("*-flow-*", "prod-flow-1", true),
            ("", "", true),
            ("", "*", true),
            ("", "a", false),
        ] {
            assert_eq!(overlap(a, b), expect, "{a} {b}");
            assert_eq!(overlap(b, a), expect, "{b} {a}");
        }
    }
}
