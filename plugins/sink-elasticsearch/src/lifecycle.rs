//! When indices are deleted: `retention`, told to the server in the words that it knows.

use std::time::Duration;

use flowstone_core::Verdict;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Call, Connection};
use crate::operator::Operator;
use crate::options::Coverage;
use crate::server::Lifecycle;
use crate::verdict::judge_admin;

/// A new index is begun when one is so large, or so old; Elastic's and OpenSearch's own advice for shards of logs.
const LARGEST: &str = "50gb";
const OLDEST: &str = "7d";

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is told, or was before.
    Told,
    /// A policy of this name is there that is not ours, or that somebody has changed.
    NotOurs,
    /// The server knows no such thing: what it said.
    Unknown(String),
}

/// Puts the policy in place that `lifecycle` needs. The error is a verdict to wait on.
pub(crate) async fn ensure(
    connection: &Connection,
    lifecycle: Lifecycle,
    coverage: &Coverage,
    data_stream: bool,
    retention: Duration,
) -> Result<Outcome, Verdict> {
    let (api, policy) = match lifecycle {
        // Its template says it all.
        Lifecycle::DataStream => return Ok(Outcome::Told),
        Lifecycle::Ilm => (&["_ilm", "policy"][..], ilm(data_stream, retention)),
        Lifecycle::Ism => {
            (&["_plugins", "_ism", "policies"][..], ism(&coverage.pattern, data_stream, retention))
        }
    };
    let mut path = api.to_vec();
    path.push(&coverage.name);
    let found = connection.call(Method::GET, Call { path: &path, ..Call::default() }).await?;
    let mut query: Vec<(&str, String)> = Vec::new();
    match found.status {
        404 if is_missing(&found) => {}
        400 | 404 | 405 => return Ok(Outcome::Unknown(said(&found))),
        200 => {
            let found: Value = serde_json::from_slice(&found.body).unwrap_or_default();
            let there = match lifecycle {
                Lifecycle::Ism => &found["policy"],
                _ => &found[coverage.name.as_str()]["policy"],
            };
            if retention_of(there).is_some() && retention_of(there) == retention_of(&policy["policy"]) {
                return Ok(Outcome::Told);
            }
            if !is_ours(there) {
                return Ok(Outcome::NotOurs);
            }
            if lifecycle == Lifecycle::Ism {
                query.push(("if_seq_no", found["_seq_no"].to_string()));
                query.push(("if_primary_term", found["_primary_term"].to_string()));
            }
        }
        _ => return Err(refused(&found)),
    }
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = Some(("application/json", vec![policy.to_string().into()]));
    let put =
        connection.call(Method::PUT, Call { path: &path, query: &query, body, ..Call::default() }).await?;
    match put.status {
        200 | 201 => Ok(Outcome::Told),
        // Another flowstone was at it at the same moment.
        409 => Ok(Outcome::Told),
        _ => Err(refused(&put)),
    }
}

/// Why a policy cannot be put in place: another privilege than those for writing may be missing.
fn refused(answer: &Answer) -> Verdict {
    match answer.status {
        403 => Operator::PolicyRefused.blocked(format!("{}: {}", answer.host, said(answer))),
        _ => judge_admin(answer, Operator::PolicyRefused),
    }
}

/// A time as the servers write it: `30d`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        days if days % 86_400 == 0 => format!("{}d", days / 86_400),
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        seconds => format!("{seconds}s"),
    }
}

/// Index lifecycle management: the age of an index counts from its rollover, and from its making where it has none.
fn ilm(data_stream: bool, retention: Duration) -> Value {
    let rollover =
        if data_stream { json!({"rollover": {"max_size": LARGEST, "max_age": OLDEST}}) } else { json!({}) };
    json!({"policy": {"phases": {
        "hot": {"actions": rollover},
        "delete": {"min_age": span(retention), "actions": {"delete": {}}},
    }}})
}

/// Index state management.
fn ism(pattern: &str, data_stream: bool, retention: Duration) -> Value {
    // The age of an index counts from its making, and that of what is in it from its rollover.
    let age = if data_stream { "min_rollover_age" } else { "min_index_age" };
    let rollover = if data_stream {
        json!([{"rollover": {"min_size": LARGEST, "min_index_age": OLDEST}}])
    } else {
        json!([])
    };
    json!({"policy": {
        "description": DESCRIPTION,
        "default_state": "hot",
        "states": [
            {
                "name": "hot",
                "actions": rollover,
                "transitions": [{"state_name": "delete", "conditions": {age: span(retention)}}],
            },
            {"name": "delete", "actions": [{"delete": {}}], "transitions": []},
        ],
        "ism_template": [{"index_patterns": [pattern], "priority": 100}],
    }})
}

const DESCRIPTION: &str = "VPC flow logs are deleted after a while, written by flowstone";

/// How old indices become by a policy of this form.
fn retention_of(policy: &Value) -> Option<&str> {
    let ilm = policy["phases"]["delete"]["min_age"].as_str();
    let conditions = policy["states"][0]["transitions"][0]["conditions"].as_object();
    ilm.or_else(|| conditions?.values().next()?.as_str())
}

/// Whether a policy has our form: an ILM policy has no place for a word of ours before 7.16.
fn is_ours(policy: &Value) -> bool {
    if let Some(phases) = policy["phases"].as_object() {
        let names: Vec<&str> = phases.keys().map(String::as_str).collect();
        let rollover = &policy["phases"]["hot"]["actions"]["rollover"];
        return names.iter().all(|name| matches!(*name, "hot" | "delete"))
            && (rollover.is_null() || rollover["max_age"] == OLDEST);
    }
    policy["description"] == DESCRIPTION
}

/// Whether it is the policy that is missing, and not the way to it.
fn is_missing(answer: &Answer) -> bool {
    let body = String::from_utf8_lossy(&answer.body);
    ["resource_not_found_exception", "Policy not found", "status_exception"]
        .iter()
        .any(|word| body.contains(word))
}

fn said(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    format!("status {}: {}", answer.status, text.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_in_their_largest_whole_unit() {
        for (seconds, text) in [(30 * 86_400, "30d"), (36 * 3600, "36h"), (5400, "5400s")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn policies_have_the_documented_form() {
        let month = Duration::from_secs(30 * 86_400);
        assert_eq!(
            ilm(true, month),
            json!({"policy": {"phases": {
                "hot": {"actions": {"rollover": {"max_size": "50gb", "max_age": "7d"}}},
                "delete": {"min_age": "30d", "actions": {"delete": {}}},
            }}})
        );
        assert_eq!(ilm(false, month)["policy"]["phases"]["hot"]["actions"], json!({}));
        let ism = ism("flow-*", false, month);
        assert_eq!(retention_of(&ism["policy"]), Some("30d"));
        assert_eq!(ism["policy"]["ism_template"][0]["index_patterns"], json!(["flow-*"]));
        assert!(is_ours(&ism["policy"]) && is_ours(&ilm(true, month)["policy"]));
        let theirs = json!({"phases": {"hot": {}, "warm": {}, "delete": {"min_age": "30d"}}});
        assert!(!is_ours(&theirs) && !is_ours(&json!({"description": "mine", "states": []})));
    }
}
