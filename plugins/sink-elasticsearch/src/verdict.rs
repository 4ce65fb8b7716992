//! What a reply to a bulk request means for its rows. A pure function: `error.type` decides, the status only where
//! the type is unknown, because a full cluster, a closed index and a document that does not fit all come as 400.

use std::time::Duration;

use flowstone_core::{Rejection, Verdict, Verdicts, shown};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use simd_json::prelude::*;
use simd_json::tape;

use crate::client::Answer;
use crate::operator::Operator;
use crate::signing;

/// Judges the reply to a bulk request of `rows` rows. Parses `body` in place.
pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &mut [u8], rows: usize) -> Verdicts {
    if says_no_errors(status, headers, body) {
        return Verdicts::All(Verdict::Delivered);
    }
    let beginning = excerpt(body);
    let Ok(tape) = simd_json::to_tape(body) else {
        return Verdicts::All(judge_foreign(status, headers, &beginning));
    };
    let reply = tape.as_value();
    if !(200..300).contains(&status) {
        return Verdicts::All(match reply.get("error") {
            Some(error) => judge_whole(status, &ErrorObject::read(error), retry_after(headers)),
            None => judge_foreign(status, headers, &beginning),
        });
    }
    match reply.get("errors").and_then(|errors| errors.as_bool()) {
        Some(false) => Verdicts::All(Verdict::Delivered),
        Some(true) => judge_items(reply.get("items").and_then(|items| items.as_array()), rows),
        None => Verdicts::All(Verdict::busy("bad_reply", format!("a reply without `errors`: {beginning}"))),
    }
}

/// Whether a reply says in its first bytes that every row was stored, and its end is marked by its length or its
/// chunks, so that a reply that has arrived without an error is whole: the items need not be read.
pub(crate) fn says_no_errors(status: u16, headers: &HeaderMap, body: &[u8]) -> bool {
    const WORD: &[u8] = b"\"errors\":false";
    let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    if !framed || !(200..300).contains(&status) || body.first() != Some(&b'{') {
        return false;
    }
    // Before it stand at most `took` and `ingest_took`: nothing that nests.
    let head = &body[1..body.len().min(96)];
    let Some(at) = head.windows(WORD.len()).position(|window| window == WORD) else { return false };
    let ends = matches!(head.get(at + WORD.len()), Some(b',' | b'}'));
    ends && !head[..at].iter().any(|byte| matches!(byte, b'{' | b'[' | b'\\'))
}

/// An error object: of the whole request or of one item.
struct ErrorObject<'a> {
    kind: &'a str,
    reason: &'a str,
    /// The chain of `caused_by`, outermost first.
    causes: Vec<(&'a str, &'a str)>,
    /// Whether an ingest processor raised it (`header.processor_type`).
    in_pipeline: bool,
}

// === impl ErrorObject ===

impl<'a> ErrorObject<'a> {
    fn read(error: tape::Value<'_, 'a>) -> Self {
        // Old replies give a bare text: `{"error":"Content-Type header [text/plain] is not supported"}`.
        if let Some(reason) = error.into_string() {
            return Self { kind: "", reason, causes: Vec::new(), in_pipeline: false };
        }
        let (kind, reason) = Self::texts(error);
        let mut causes = Vec::new();
        let mut cause = error.get("caused_by");
        while let (Some(inner), 0..8) = (cause, causes.len()) {
            causes.push(Self::texts(inner));
            cause = inner.get("caused_by");
        }
        Self { kind, reason, causes, in_pipeline: error.get("header").is_some() }
    }

    fn texts(error: tape::Value<'_, 'a>) -> (&'a str, &'a str) {
        let text = |key: &str| error.get(key).and_then(|value| value.into_string()).unwrap_or_default();
        // A list of blocks or of what is invalid ends with a semicolon, and so does what is said before what to do.
        (text("type"), text("reason").trim_end_matches(';'))
    }

    /// Type, reason and causes in one line.
    fn line(&self) -> String {
        let mut line = if self.kind.is_empty() { String::new() } else { format!("{}: ", self.kind) };
        line.push_str(self.reason);
        for (kind, reason) in &self.causes {
            line.push_str(&format!("; caused by {kind}: {reason}"));
        }
        truncate(&mut line, 2000);
        line
    }

    /// Reason and causes, for a dead letter that names the type by itself.
    fn detail(&self) -> String {
        let mut detail = self.reason.to_owned();
        for (kind, reason) in &self.causes {
            detail.push_str(&format!("; caused by {kind}: {reason}"));
        }
        truncate(&mut detail, 2000);
        detail
    }

    fn says(&self, text: &str) -> bool {
        self.reason.contains(text) || self.causes.iter().any(|(_, reason)| reason.contains(text))
    }
}

/// What an error's type says by itself, for a whole request as for an item. `None`: the status decides.
fn judge_type(failure: &ErrorObject<'_>) -> Option<Verdict> {
    let operator = |case: Operator| Some(case.blocked(failure.line()));
    let busy = |reason: &'static str| Some(Verdict::busy(reason, failure.line()));
    match failure.kind {
        "es_rejected_execution_exception" | "rejected_execution_exception" => busy("too_many_requests"),
        "circuit_breaking_exception" => busy("circuit_breaker"),
        // What passes by itself: shards that move or start, a master being elected, a node that leaves, an index that
        // another request has just created.
        "unavailable_shards_exception"
        | "no_shard_available_action_exception"
        | "index_shard_not_started_exception"
        | "index_shard_closed_exception"
        | "illegal_index_shard_state_exception"
        | "shard_not_in_primary_mode_exception"
        | "shard_not_found_exception"
        | "primary_shard_not_allocated_exception"
        | "retry_on_primary_exception"
        | "retry_on_replica_exception"
        | "already_closed_exception"
        | "engine_closed_exception"
        | "cluster_manager_not_discovered_exception"
        | "master_not_discovered_exception"
        | "not_cluster_manager_exception"
        | "not_master_exception"
        | "failed_to_commit_cluster_state_exception"
        | "process_cluster_event_timeout_exception"
        | "timeout_exception"
        | "elasticsearch_timeout_exception"
        | "opensearch_timeout_exception"
        | "receive_timeout_transport_exception"
        | "connect_transport_exception"
        | "node_closed_exception"
        | "node_disconnected_exception"
        | "node_not_connected_exception"
        | "node_shutting_down_exception"
        | "resource_already_exists_exception"
        | "index_already_exists_exception" => busy("unavailable"),
        "cluster_block_exception" => Some(judge_block(failure)),
        "index_closed_exception" => operator(Operator::IndexClosed),
        "index_not_found_exception" => operator(Operator::IndexMissing),
        "validation_exception" if failure.says("shards") && failure.says("maximum") => {
            operator(Operator::ShardLimit)
        }
        "validation_exception" => operator(Operator::IndexNotCreatable),
        "mapper_parsing_exception" if failure.reason.starts_with("Failed to parse mapping") => {
            operator(Operator::IndexNotCreatable)
        }
        "illegal_argument_exception" | "action_request_validation_exception"
            if failure.says("no write index is defined for alias") =>
        {
            operator(Operator::NoWriteIndex)
        }
        "illegal_argument_exception"
            if failure.says("pipeline with id [") && failure.says("does not exist") =>
        {
            operator(Operator::PipelineMissing)
        }
        "illegal_argument_exception" if failure.says("Document ID is not supported") => {
            operator(Operator::NoIds)
        }
        _ => None,
    }
}

/// A block on an index or the whole cluster, told apart by its number: `FORBIDDEN/8/index write (api)`.
fn judge_block(failure: &ErrorObject<'_>) -> Verdict {
    // The words before the number differ by version (`TOO_MANY_REQUESTS/12` since 7.x); the numbers never did.
    let numbered = |number: &str| failure.reason.contains(number);
    let case = if numbered("/12/") {
        Operator::DiskFull
    } else if numbered("/8/") {
        Operator::IndexWriteBlocked
    } else if numbered("/5/") {
        Operator::IndexReadOnly
    } else if numbered("/4/") {
        Operator::IndexClosed
    } else if numbered("/6/") || numbered("/13/") {
        Operator::ClusterReadOnly
    } else if numbered("/10/") {
        Operator::CreateIndexBlocked
    } else if numbered("SERVICE_UNAVAILABLE/") {
        // 1: state not recovered yet; 2: no master.
        return Verdict::busy("unavailable", failure.line());
    } else {
        Operator::IndexBlocked
    };
    case.blocked(failure.line())
}

/// The verdict on all rows when the request as a whole was refused in Elasticsearch's own words.
fn judge_whole(status: u16, failure: &ErrorObject<'_>, after: Option<Duration>) -> Verdict {
    if let Some(verdict) = judge_type(failure) {
        return with_after(verdict, after);
    }
    match status {
        401 => Operator::Credentials.blocked(failure.line()),
        403 => Operator::Privileges.blocked(failure.line()),
        413 => Verdict::split("too_large", failure.line()),
        400 if is_out_of_step(failure) => Verdict::busy("out_of_step", failure.line()),
        400 if is_our_fault(failure) => Operator::NotUnderstood.blocked(failure.line()),
        400 => Verdict::split(label(failure, "request_refused"), failure.line()),
        // 6.8 answers a malformed action line with 500: one of ours, found by halving as with 400.
        500 if failure.kind == "json_e_o_f_exception" || failure.kind == "json_parse_exception" => {
            Verdict::split(label(failure, "request_refused"), failure.line())
        }
        404..=406 | 415 => Operator::NotUnderstood.blocked(failure.line()),
        408 | 429 | 500.. => with_after(not_now(status, failure.line()), after),
        _ => Operator::NotUnderstood.blocked(failure.line()),
    }
}

/// The server took the rest of a request that it had refused as too large for the next one on that connection
/// (6.8.23 behind a 413, once in some hundred). It is not about this request, which is sent again; as the words of
/// Netty's decoder are about a request line, no document can have caused them.
fn is_out_of_step(failure: &ErrorObject<'_>) -> bool {
    failure.kind == "illegal_argument_exception"
        && ["text is empty (possibly HTTP/0.9)", "invalid version format"]
            .iter()
            .any(|words| failure.reason.starts_with(words))
}

/// Requests that no document can spoil: wrong for every row alike, so that halving would reject them all.
fn is_our_fault(failure: &ErrorObject<'_>) -> bool {
    [
        "type is missing",
        "unknown parameter [_type]",
        "unrecognized parameter",
        "no handler found for uri",
        "must be terminated by a newline",
        "request body is required",
        "no requests added",
    ]
    .iter()
    .any(|words| failure.reason.contains(words))
}

/// A reply that is not JSON, or JSON without an error: from something between us and the server, or cut short.
fn judge_foreign(status: u16, headers: &HeaderMap, beginning: &str) -> Verdict {
    let said = format!("status {status}: {beginning}");
    match status {
        200..=299 => Verdict::busy("bad_reply", format!("a reply that is no JSON or not whole: {beginning}")),
        300..=399 => Operator::Redirected.blocked(said),
        401 => Operator::Credentials.blocked(said),
        403 => Operator::Privileges.blocked(said),
        404 => Operator::WrongPath.blocked(said),
        413 => Verdict::split("too_large", said),
        408 | 429 | 500.. => with_after(not_now(status, said), retry_after(headers)),
        _ => Operator::RefusedInFront.blocked(said),
    }
}

/// The verdict on an administrative request (`GET /`, a template) that was not answered as hoped; `otherwise` where
/// the status says nothing more general.
pub(crate) fn judge_admin(answer: &Answer, otherwise: Operator) -> Verdict {
    let said = format!("{}: status {}: {}", answer.host, answer.status, excerpt(&answer.body));
    let mut verdict = match answer.status {
        300..=399 => Operator::Redirected.blocked(said),
        401 => Operator::Credentials.blocked(said),
        403 => Operator::Privileges.blocked(said),
        408 | 429 | 500.. => with_after(not_now(answer.status, said), retry_after(&answer.headers)),
        _ => otherwise.blocked(said),
    };
    if let Some(service) = answer.signed {
        signing::explain(service, &mut verdict);
    }
    verdict
}

fn judge_items(items: Option<tape::Array<'_, '_>>, rows: usize) -> Verdicts {
    let count = items.as_ref().map_or(0, tape::Array::len);
    let Some(items) = items.filter(|_| count == rows) else {
        let detail = format!("{rows} rows were sent, and the reply has {count} items: none of them counts");
        return Verdicts::All(Verdict::busy("wrong_item_count", detail));
    };
    Verdicts::Rows(items.iter().map(judge_item).collect())
}

/// The verdict on one item, `{"create":{"status":201}}`.
fn judge_item(item: tape::Value<'_, '_>) -> Verdict {
    let (operation, outcome) = item.as_object().and_then(|object| object.iter().next()).unzip();
    let status = outcome.and_then(|outcome| outcome.get("status")).and_then(|status| status.as_u16());
    let (Some(outcome), Some(status)) = (outcome, status) else {
        return Verdict::busy("bad_reply", "an item without a status");
    };
    let Some(error) = outcome.get("error") else {
        return match status {
            200..=299 => Verdict::Delivered,
            _ => Verdict::busy("bad_reply", format!("an item with status {status} and without an error")),
        };
    };
    let failure = ErrorObject::read(error);
    if status == 409 && failure.kind == "version_conflict_engine_exception" {
        // An update lost against another one; anything else is there already, or a newer version of it.
        return match operation {
            Some("update") => Verdict::busy("version_conflict", failure.line()),
            _ => Verdict::Duplicate,
        };
    }
    if let Some(verdict) = judge_type(&failure) {
        return verdict;
    }
    match status {
        401 => Operator::Credentials.blocked(failure.line()),
        403 => Operator::Privileges.blocked(failure.line()),
        400 => reject(status, &failure, "refused"),
        413 => Verdict::split("too_large", failure.line()),
        // 7.x wraps what a processor of an ingest pipeline raises into a 500.
        500 if failure.in_pipeline => reject(status, &failure, "pipeline_failed"),
        404 => Operator::IndexMissing.blocked(failure.line()),
        409 => Verdict::busy("conflict", failure.line()),
        408 | 429 | 500.. => not_now(status, failure.line()),
        _ => Operator::NotUnderstood.blocked(failure.line()),
    }
}

fn reject(status: u16, failure: &ErrorObject<'_>, otherwise: &'static str) -> Verdict {
    Verdict::Reject(Box::new(Rejection {
        reason: label(failure, otherwise).into(),
        detail: failure.detail(),
        status: Some(status),
        index: None,
    }))
}

/// The error's type as a metric label; a bounded one, whatever the server sends.
fn label(failure: &ErrorObject<'_>, otherwise: &'static str) -> String {
    let plain = failure.kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if plain && (1..=64).contains(&failure.kind.len()) {
        failure.kind.to_owned()
    } else {
        otherwise.to_owned()
    }
}

/// A status that passes by itself; what it means is not known where the server itself does not know.
fn not_now(status: u16, said: String) -> Verdict {
    match status {
        429 => Verdict::busy("too_many_requests", said),
        502..=504 => Verdict::busy("unavailable", said),
        408 => Verdict::busy("timeout", said),
        _ => Verdict::failed("server_error", said),
    }
}

fn with_after(mut verdict: Verdict, wish: Option<Duration>) -> Verdict {
    if let Verdict::Busy { after, .. } | Verdict::Failed { after, .. } = &mut verdict {
        *after = wish;
    }
    verdict
}

/// `Retry-After` in seconds; its other form, a date, needs clocks that agree and is not sent by these servers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The beginning of a body, for a message.
fn excerpt(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]).into_owned();
    truncate(&mut text, 300);
    text
}

fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        // Half a secret would be known to nobody.
        *text = shown::scrub(text).into_owned();
        text.truncate(text.floor_char_boundary(max));
        text.push_str(" ...");
    }
}

#[cfg(test)]
mod tests;
