//! Puts the index template in place at start, unless one is there: nothing that somebody else wrote is ever changed,
//! and none is installed that would push aside or mix with somebody else's.

use flowstone_core::Verdict;
use reqwest::Method;
use serde_json::Value;

use crate::client::{Answer, Call, Connection};
use crate::mapping;
use crate::operator::Operator;
use crate::options::Coverage;
use crate::server::{Server, TemplateDialect};
use crate::verdict::judge_admin;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is installed now.
    Installed,
    /// One of this name was there.
    Present,
    /// Another template covers the same indices: its name.
    Covered(String),
}

/// Installs the template for `coverage` if it is missing. The error is a verdict to wait on.
pub(crate) async fn ensure(
    connection: &Connection,
    server: &Server,
    coverage: &Coverage,
    document_type: &str,
) -> Result<Outcome, Verdict> {
    let dialect = server.template_dialect();
    let api = if dialect == TemplateDialect::Composable { "_index_template" } else { "_template" };
    let path = [api, coverage.name.as_str()];
    let found = connection.call(Method::GET, Call { path: &path, ..Call::default() }).await?;
    match found.status {
        200 => return Ok(Outcome::Present),
        404 => {}
        _ => return Err(judge_admin(&found, Operator::TemplateRefused)),
    }
    if let Some(other) = other_cover(connection, dialect, &coverage.pattern).await? {
        return Ok(Outcome::Covered(other));
    }
    let template = mapping::template(dialect, &coverage.pattern, document_type);
    // `create`: one that somebody puts there at this moment is not overwritten either.
    let call = Call {
        path: &path,
        query: &[("create", "true")],
        body: Some(("application/json", vec![template.to_string().into()])),
        ..Call::default()
    };
    let put = connection.call(Method::PUT, call).await?;
    match put.status {
        200 => Ok(Outcome::Installed),
        400 if says(&put, "already exists") => Ok(Outcome::Present),
        400 if says(&put, "same priority") => Ok(Outcome::Covered("one of the same priority".to_owned())),
        _ => Err(judge_admin(&put, Operator::TemplateRefused)),
    }
}

/// The name of another template for some of the same indices. A catch-all is none: it sets shards or replicas and
/// says nothing about flow logs.
async fn other_cover(
    connection: &Connection,
    dialect: TemplateDialect,
    pattern: &str,
) -> Result<Option<String>, Verdict> {
    let legacy = list(connection, "_template", "*.index_patterns", dialect).await?;
    let legacy =
        legacy.as_object().into_iter().flatten().map(|(name, template)| (name.clone(), template.clone()));
    let mut known: Vec<(String, Value)> = legacy.collect();
    if dialect == TemplateDialect::Composable {
        let filter = "index_templates.name,index_templates.index_template.index_patterns";
        let composable = list(connection, "_index_template", filter, dialect).await?;
        known.extend(
            composable["index_templates"].as_array().into_iter().flatten().filter_map(|entry| {
                Some((entry["name"].as_str()?.to_owned(), entry["index_template"].clone()))
            }),
        );
    }
    let covers = |template: &Value| {
        let patterns = template["index_patterns"].as_array().into_iter().flatten().filter_map(Value::as_str);
        patterns.filter(|other| other.chars().any(|c| c != '*')).any(|other| overlap(pattern, other))
    };
    Ok(known.into_iter().find(|(_, template)| covers(template)).map(|(name, _)| name))
}

async fn list(
    connection: &Connection,
    api: &str,
    filter: &str,
    dialect: TemplateDialect,
) -> Result<Value, Verdict> {
    // A serverless one has composable templates and no others.
    let may_be_gone = api == "_template" && dialect == TemplateDialect::Composable;
    let call = Call { path: &[api], query: &[("filter_path", filter)], ..Call::default() };
    let answer = connection.call(Method::GET, call).await?;
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
    use super::*;

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
