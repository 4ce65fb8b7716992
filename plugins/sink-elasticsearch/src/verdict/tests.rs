use std::collections::HashSet;
use std::path::PathBuf;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::*;
use crate::server::{Server, TemplateDialect};

/// A verdict in one word or two: `delivered`, `busy too_many_requests`, `reject mapper_parsing_exception`.
fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered => "delivered".to_owned(),
        Verdict::Duplicate => "duplicate".to_owned(),
        Verdict::Busy { reason, .. } => format!("busy {reason}"),
        Verdict::Failed { reason, .. } => format!("failed {reason}"),
        Verdict::Blocked { reason, .. } => format!("blocked {reason}"),
        Verdict::Split { reason, .. } => format!("split {reason}"),
        Verdict::Reject(rejection) => format!("reject {}", rejection.reason),
        Verdict::Closed => "closed".to_owned(),
    }
}

/// Verdicts in one line: one for all rows, or one per row with `, ` between.
fn words(verdicts: &Verdicts) -> String {
    match verdicts {
        Verdicts::All(verdict) => format!("all {}", word(verdict)),
        Verdicts::Rows(rows) => rows.iter().map(word).collect::<Vec<_>>().join(", "),
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let read = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    };
    pairs.iter().map(read).collect()
}

fn judge(status: u16, more: &[(&str, &str)], body: &str, rows: usize) -> Verdicts {
    let length = body.len().to_string();
    let mut headers = headers(more);
    headers.insert(CONTENT_LENGTH, length.parse().unwrap());
    classify(status, &headers, &mut body.as_bytes().to_vec(), rows)
}

#[track_caller]
fn check(status: u16, body: &str, rows: usize, expect: &str) {
    assert_eq!(words(&judge(status, &[], body, rows)), expect, "{status} {body}");
}

/// One item that failed, in a bulk reply of its own.
#[track_caller]
fn check_item(status: u16, error: &str, expect: &str) {
    check(
        200,
        &format!(r#"{{"errors":true,"items":[{{"create":{{"status":{status},"error":{error}}}}}]}}"#),
        1,
        expect,
    );
}

#[track_caller]
fn check_whole(status: u16, error: &str, expect: &str) {
    check(status, &format!(r#"{{"error":{error},"status":{status}}}"#), 3, expect);
}

// --- every recorded case

/// What each recorded bulk reply means; `None` for the requests that are none. `major` is 6 to 9, or 1 for OpenSearch.
fn expectation(case: &str, major: u32) -> Option<&'static str> {
    let typeless = major == 1 || major >= 8;
    Some(match case {
        "bulk into it: location {lat,lon} as numbers" if major == 8 || major == 9 => {
            "reject document_parsing_exception"
        }
        "bulk into it: location {lat,lon} as numbers" => "reject mapper_parsing_exception",
        "bulk create, index created by template" | "gzip body" | "data stream: create" if major != 6 => {
            "all delivered"
        }
        "bulk create, index created by template" | "gzip body" => "all delivered",
        "bulk create, duplicate id" => "duplicate, delivered",
        "bulk index, same id again" | "bulk index, no id" | "filter_path, all good" => "all delivered",
        "bulk without _type" if major == 6 => "all blocked not_understood",
        "bulk without _type" => "all delivered",
        "bulk with _type _doc" if typeless => "all blocked not_understood",
        "bulk with _type _doc" => "all delivered",
        "bulk with _type doc into an index of another type (the failure in the seed)" if typeless => {
            "all blocked not_understood"
        }
        "bulk with _type doc into an index of another type (the failure in the seed)" => {
            "reject illegal_argument_exception"
        }
        "partial: bad ip, bad date, bad long, bad geo_point among good" => match major {
            8 | 9 => {
                "delivered, reject document_parsing_exception, reject document_parsing_exception, \
                 reject document_parsing_exception, reject document_parsing_exception, delivered"
            }
            _ => {
                "delivered, reject mapper_parsing_exception, reject mapper_parsing_exception, \
                 reject mapper_parsing_exception, reject mapper_parsing_exception, delivered"
            }
        },
        "object where a scalar is mapped" if major == 8 || major == 9 => "reject document_parsing_exception",
        "object where a scalar is mapped" => "reject mapper_parsing_exception",
        "malformed document JSON in one row" => match major {
            8 | 9 => "delivered, reject document_parsing_exception, delivered",
            _ => "delivered, reject mapper_parsing_exception, delivered",
        },
        // Wrong for one row only: halving finds it.
        "malformed action line" => "all split *",
        "unknown action" if major == 6 || major == 7 => "all blocked not_understood",
        "unknown action" => "all split illegal_argument_exception",
        "no newline at the end" | "wrong content type" | "empty body" => "all blocked not_understood",
        "bad index name" => "reject invalid_index_name_exception, delivered",
        "id of 513 bytes" => "all split action_request_validation_exception",
        "filter_path" if major == 8 || major == 9 => "delivered, reject document_parsing_exception",
        "filter_path" => "delivered, reject mapper_parsing_exception",
        "missing pipeline" => "blocked pipeline_missing",
        "require_alias" if major == 6 => "all blocked not_understood",
        "require_alias" => "blocked index_missing",
        "bulk into a write-blocked index" => "blocked index_write_blocked",
        "bulk into a flood-stage index" => "blocked disk_full",
        "bulk into a closed index" => "blocked index_closed",
        "bulk into a missing index, auto-create off" => "blocked index_missing",
        "bulk into an alias of two indices" if major == 6 => "all blocked no_write_index",
        "bulk into an alias of two indices" => "blocked no_write_index",
        "field limit exceeded" => match major {
            6 | 1 => "reject illegal_argument_exception",
            7 => "reject *",
            _ => "reject document_parsing_exception",
        },
        "max shards per node: new index" if major == 6 => "all delivered",
        "max shards per node: new index" => "blocked shard_limit",
        "data stream: create"
        | "data stream: same id again"
        | "data stream: index op refused"
        | "data stream: no @timestamp"
            if major == 6 =>
        {
            "all blocked not_understood"
        }
        "data stream: same id again" => "duplicate",
        "data stream: index op refused" | "data stream: no @timestamp" if major == 7 => "all delivered",
        "data stream: index op refused" => "reject illegal_argument_exception",
        "data stream: no @timestamp" if major == 1 => "reject mapper_parsing_exception",
        "data stream: no @timestamp" => "reject document_parsing_exception",
        _ => return None,
    })
}

fn recorded() -> Option<Vec<(String, Vec<Value>)>> {
    let shared = std::env::var_os("FLOWSTONE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let Ok(folder) = std::fs::read_dir(shared.join("samples/bulk-replies")) else {
        eprintln!("left out: {} has no recorded bulk replies", shared.display());
        return None;
    };
    let mut files = Vec::new();
    for entry in folder {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        files.push((
            path.file_stem().unwrap().to_str().unwrap().to_owned(),
            serde_json::from_slice(&text).unwrap(),
        ));
    }
    Some(files)
}

#[test]
fn every_recorded_reply_of_a_real_node_is_judged_as_the_design_says() {
    let Some(files) = recorded() else { return };
    assert_eq!(files.len(), 7, "Elasticsearch 6, 7 (twice), 8, 9, OpenSearch 2, 3");
    let mut judged = 0;
    let mut others: HashSet<String> = HashSet::new();
    for (name, cases) in &files {
        let elastic = name.strip_prefix("es-").and_then(|version| version.split('.').next()?.parse().ok());
        for case in cases {
            let title = case["case"].as_str().unwrap();
            let Some(expect) = expectation(title, elastic.unwrap_or(1)) else {
                others.insert(title.to_owned());
                continue;
            };
            let body = case["request"]["body"].as_str().unwrap_or_default();
            let rows =
                body.lines().filter(|line| line.starts_with("{\"create\"") || line.starts_with("{\"index\""));
            let pairs: Vec<(&str, &str)> = case["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
                .collect();
            let status = case["status"].as_u64().unwrap() as u16;
            let verdicts = judge(status, &pairs, &case["reply"].to_string(), rows.count());
            let found = words(&verdicts);
            let holds = match expect.split_once('*') {
                Some((beginning, _)) => found.starts_with(beginning),
                None => found == expect,
            };
            assert!(holds, "{name}: {title}: expected {expect}, found {found}: {verdicts:?}");
            judged += 1;
        }
    }
    assert!(judged >= 7 * 30, "{judged}");
    // Everything else is no bulk request. A new case must be given its verdict above or its place here.
    let mut others: Vec<&str> = others.iter().map(String::as_str).collect();
    others.sort_unstable();
    assert_eq!(
        others,
        [
            "auto-create off",
            "block read_only_allow_delete (disk flood stage)",
            "block writes",
            "bulk into an alias without write index", // sets up the alias
            "close index",
            "cluster health",
            "component template",
            "composable template",
            "composable template for a data stream",
            "count",
            "field limit: settings",
            "legacy template, geo_point mistake of the seed (location.lat as geo_point)",
            "legacy template, mapping under a type",
            "legacy template, typed, include_type_name=true",
            "legacy template, typeless mapping",
            "legacy template, typeless, include_type_name=false",
            "mapping read back",
            "max shards: set",
            "root",
            "unknown path",
        ]
    );
}

#[test]
fn every_recorded_node_accepts_the_template_dialect_that_its_root_leads_to() {
    let Some(files) = recorded() else { return };
    for (name, cases) in &files {
        let case = |title: &str| cases.iter().find(|case| case["case"] == title).unwrap();
        let server = Server::of_root(case("root")["reply"].to_string().as_bytes()).unwrap();
        let put = match server.template_dialect() {
            TemplateDialect::LegacyTyped => "legacy template, mapping under a type",
            TemplateDialect::Legacy => "legacy template, typeless mapping",
            TemplateDialect::Composable => "composable template",
        };
        assert_eq!(case(put)["status"], 200, "{name}: {server}");
    }
}

// --- every rule, by fixtures of our own

#[test]
fn a_reply_without_errors_settles_every_row_unread() {
    for body in [
        r#"{"errors":false}"#,
        r#"{"errors":false,"took":3,"items":[{"create":{"status":201}}]}"#,
        r#"{"took":3,"errors":false,"items":"#,
        r#"{"took":3,"ingest_took":1,"errors":false,"items":[]}"#,
    ] {
        check(200, body, 5, "all delivered");
    }
}

#[test]
fn an_unframed_reply_must_be_whole_json() {
    let unframed = |body: &str| words(&classify(200, &HeaderMap::new(), &mut body.as_bytes().to_vec(), 1));
    assert_eq!(unframed(r#"{"errors":false,"items":[{"create":{"status":201}}]}"#), "all delivered");
    assert_eq!(unframed(r#"{"errors":false,"items":[{"create":"#), "all busy bad_reply");
}

#[test]
fn the_word_errors_counts_only_at_the_top_and_in_the_head() {
    for (body, expect) in [
        (
            r#"{"errors":true,"items":[{"create":{"status":400,"error":{"type":"x","reason":"\"errors\":false,"}}}]}"#,
            "reject x",
        ),
        (r#"{"x":{"errors":false},"errors":true,"items":[{"create":{"status":201}}]}"#, "delivered"),
        (r#"{"errors":falsehood}"#, "all busy bad_reply"),
        (r#"["errors":false]"#, "all busy bad_reply"),
    ] {
        check(200, body, 1, expect);
    }
    check(503, r#"{"errors":false}"#, 1, "all busy unavailable");
}

#[test]
fn a_reply_that_does_not_add_up_settles_nothing() {
    let ok = r#"{"create":{"status":201}}"#;
    for (items, rows, expect) in [
        (format!("[{ok}]"), 2, "all busy wrong_item_count"),
        (format!("[{ok},{ok},{ok}]"), 2, "all busy wrong_item_count"),
        ("[]".to_owned(), 2, "all busy wrong_item_count"),
        ("{}".to_owned(), 2, "all busy wrong_item_count"),
        (format!("[{ok},{ok}]"), 2, "delivered, delivered"),
        (format!("[{ok},{{}}]"), 2, "delivered, busy bad_reply"),
        (format!("[{ok},1]"), 2, "delivered, busy bad_reply"),
        (format!("[{ok},{{\"create\":{{\"status\":500}}}}]"), 2, "delivered, busy bad_reply"),
    ] {
        check(200, &format!(r#"{{"errors":true,"items":{items}}}"#), rows, expect);
    }
    for body in [
        "",
        "{",
        "<html>ok</html>",
        "null",
        "{}",
        r#"{"acknowledged":true}"#,
        r#"{"errors":true}"#,
        "\u{fffd}",
    ] {
        let found = words(&judge(200, &[], body, 1));
        assert!(found.starts_with("all busy "), "{body}: {found}");
    }
}

#[test]
fn what_passes_by_itself_is_busy() {
    for (status, kind, expect) in [
        (429, "es_rejected_execution_exception", "too_many_requests"),
        (429, "rejected_execution_exception", "too_many_requests"),
        (429, "circuit_breaking_exception", "circuit_breaker"),
        (503, "circuit_breaking_exception", "circuit_breaker"),
        (503, "unavailable_shards_exception", "unavailable"),
        (503, "master_not_discovered_exception", "unavailable"),
        (503, "cluster_manager_not_discovered_exception", "unavailable"),
        (503, "process_cluster_event_timeout_exception", "unavailable"),
        (500, "node_closed_exception", "unavailable"),
        (400, "resource_already_exists_exception", "unavailable"),
        (429, "something_new", "too_many_requests"),
        (502, "something_new", "unavailable"),
        (503, "something_new", "unavailable"),
        (504, "something_new", "unavailable"),
    ] {
        let error = format!(r#"{{"type":"{kind}","reason":"r"}}"#);
        check_item(status, &error, &format!("busy {expect}"));
        check_whole(status, &error, &format!("all busy {expect}"));
    }
    // It may be about the row: the engine finds out.
    for status in [500, 501, 507] {
        let error = r#"{"type":"null_pointer_exception","reason":"r"}"#;
        check_item(status, error, "failed server_error");
        check_whole(status, error, "all failed server_error");
    }
    let starting = r#"{"type":"cluster_block_exception","reason":"blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];"}"#;
    check_item(503, starting, "busy unavailable");
    check_whole(503, starting, "all busy unavailable");
    check_item(409, r#"{"type":"something_new","reason":"r"}"#, "busy conflict");
}

#[test]
fn retry_after_is_handed_on() {
    let error = r#"{"error":{"type":"circuit_breaking_exception","reason":"r"},"status":429}"#;
    for (body, value, expect) in
        [(error, "7", Some(7)), ("slow down", " 7 ", Some(7)), (error, "Wed, 21 Oct 2026 07:28:00 GMT", None)]
    {
        let Verdicts::All(Verdict::Busy { after, .. }) = judge(429, &[("retry-after", value)], body, 1)
        else {
            panic!("{body} is busy")
        };
        assert_eq!(after, expect.map(Duration::from_secs), "{value}");
    }
}

#[test]
fn what_somebody_must_put_right_is_blocked() {
    for (status, kind, reason, expect) in [
        (
            403,
            "cluster_block_exception",
            "blocked by: [FORBIDDEN/8/index write (api)];",
            "index_write_blocked",
        ),
        (
            403,
            "cluster_block_exception",
            "blocked by: [FORBIDDEN/5/index read-only (api)];",
            "index_read_only",
        ),
        (
            403,
            "cluster_block_exception",
            "blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];",
            "disk_full",
        ),
        (
            429,
            "cluster_block_exception",
            "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded];",
            "disk_full",
        ),
        (
            403,
            "cluster_block_exception",
            "blocked by: [FORBIDDEN/6/cluster read-only (api)];",
            "cluster_read_only",
        ),
        (
            403,
            "cluster_block_exception",
            "blocked by: [FORBIDDEN/10/cluster create-index blocked (api)];",
            "create_index_blocked",
        ),
        (403, "cluster_block_exception", "blocked by: [FORBIDDEN/4/index closed];", "index_closed"),
        (403, "cluster_block_exception", "blocked by: [FORBIDDEN/99/something new];", "index_blocked"),
        (400, "index_closed_exception", "closed", "index_closed"),
        (404, "index_not_found_exception", "no such index [x]", "index_missing"),
        (400, "illegal_argument_exception", "no write index is defined for alias [x].", "no_write_index"),
        (400, "illegal_argument_exception", "pipeline with id [x] does not exist", "pipeline_missing"),
        (
            400,
            "validation_exception",
            "this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open;",
            "shard_limit",
        ),
        (400, "validation_exception", "index.number_of_replicas must be 0", "index_not_creatable"),
        (
            400,
            "mapper_parsing_exception",
            "Failed to parse mapping [_doc]: analyzer [x] not found",
            "index_not_creatable",
        ),
        (401, "security_exception", "missing authentication credentials", "credentials"),
        (403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized", "privileges"),
        (403, "something_new", "no", "privileges"),
    ] {
        let error = format!(r#"{{"type":"{kind}","reason":"{reason}"}}"#);
        check_item(status, &error, &format!("blocked {expect}"));
        check_whole(status, &error, &format!("all blocked {expect}"));
    }
}

#[test]
fn a_document_that_does_not_fit_is_rejected_with_all_that_was_said() {
    for (kind, reason) in [
        ("mapper_parsing_exception", "failed to parse field [srcaddr] of type [ip]"),
        ("document_parsing_exception", "[1:55] failed to parse field [srcaddr] of type [ip]"),
        (
            "strict_dynamic_mapping_exception",
            "mapping set to strict, dynamic introduction of [x] is not allowed",
        ),
        ("invalid_index_name_exception", "Invalid index name [X], must be lowercase"),
        ("illegal_argument_exception", "mapper [srcaddr] cannot be changed from type [ip] to [text]"),
        (
            "illegal_argument_exception",
            "Rejecting mapping update as the final mapping would have more than 1 type",
        ),
        ("illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
        ("something_new", "no"),
    ] {
        check_item(400, &format!(r#"{{"type":"{kind}","reason":"{reason}"}}"#), &format!("reject {kind}"));
    }
    let error = r#"{"type":"mapper_parsing_exception","reason":"failed to parse field [srcaddr]",
        "caused_by":{"type":"illegal_argument_exception","reason":"'x' is not an IP string literal.",
        "caused_by":{"type":"inner","reason":"why"}}}"#;
    let body = format!(r#"{{"errors":true,"items":[{{"create":{{"status":400,"error":{error}}}}}]}}"#);
    let Verdicts::Rows(rows) = judge(200, &[], &body, 1) else { panic!("one verdict per row") };
    let Verdict::Reject(rejection) = &rows[0] else { panic!("{rows:?}") };
    assert_eq!(
        **rejection,
        Rejection {
            reason: "mapper_parsing_exception".into(),
            detail: "failed to parse field [srcaddr]; caused by illegal_argument_exception: 'x' is not an IP string \
                     literal.; caused by inner: why"
                .to_owned(),
            status: Some(400),
            index: None,
        }
    );
}

#[test]
fn a_failing_ingest_pipeline_rejects_its_document() {
    let cause = r#""caused_by":{"type":"illegal_argument_exception","reason":"field [x] not present"}"#;
    let error = format!(
        r#"{{"type":"exception","reason":"java.lang.IllegalArgumentException: ...",{cause},"header":{{"processor_type":"set"}}}}"#
    );
    check_item(500, &error, "reject exception");
    check_item(
        400,
        r#"{"type":"ingest_processor_exception","reason":"x"}"#,
        "reject ingest_processor_exception",
    );
}

#[test]
fn what_is_too_large_or_refused_as_a_whole_is_split() {
    check(413, "", 3, "all split too_large");
    check(413, "<html>too large</html>", 3, "all split too_large");
    check_whole(413, r#"{"type":"x","reason":"y"}"#, "all split too_large");
    check_item(413, r#"{"type":"x","reason":"y"}"#, "split too_large");
    for kind in ["action_request_validation_exception", "illegal_argument_exception", "parse_exception"] {
        check_whole(400, &format!(r#"{{"type":"{kind}","reason":"row 7"}}"#), &format!("all split {kind}"));
    }
    check_whole(
        500,
        r#"{"type":"json_e_o_f_exception","reason":"Unexpected end"}"#,
        "all split json_e_o_f_exception",
    );
    check_whole(400, r#"{"type":"No Label!","reason":"x"}"#, "all split request_refused");
}

#[test]
fn the_rest_of_another_request_taken_for_this_one_is_not_held_against_it() {
    for reason in ["text is empty (possibly HTTP/0.9)", "invalid version format: {\\\"A\\\":1}"] {
        check_whole(
            400,
            &format!(r#"{{"type":"illegal_argument_exception","reason":"{reason}"}}"#),
            "all busy out_of_step",
        );
    }
}

#[test]
fn a_request_that_is_wrong_for_every_row_alike_rejects_none() {
    for (status, reason) in [
        (400, "Validation Failed: 1: type is missing;2: type is missing;"),
        (400, "Action/metadata line [1] contains an unknown parameter [_type]"),
        (400, "request [/_bulk] contains unrecognized parameter: [timeout]"),
        (400, "no handler found for uri [/x/doc/_bulk] and method [POST]"),
        (400, "The bulk request must be terminated by a newline [\\\\n]"),
        (400, "request body is required"),
        (405, "Incorrect HTTP method for uri [/x/doc/_bulk] and method [POST]"),
        (406, "Content-Type header [text/plain] is not supported"),
    ] {
        check_whole(
            status,
            &format!(r#"{{"type":"any","reason":"{reason}"}}"#),
            "all blocked not_understood",
        );
        check_whole(status, &format!(r#""{reason}""#), "all blocked not_understood");
    }
}

#[test]
fn a_reply_of_something_in_front_of_the_server_is_told_apart() {
    for (status, expect) in [
        (301, "blocked redirected"),
        (400, "blocked refused_in_front"),
        (401, "blocked credentials"),
        (403, "blocked privileges"),
        (404, "blocked wrong_path"),
        (408, "busy timeout"),
        (413, "split too_large"),
        (418, "blocked refused_in_front"),
        (429, "busy too_many_requests"),
        (500, "failed server_error"),
        (502, "busy unavailable"),
        (503, "busy unavailable"),
        (504, "busy unavailable"),
    ] {
        check(status, "<html>sorry</html>", 3, &format!("all {expect}"));
        check(status, "", 3, &format!("all {expect}"));
        // AWS speaks JSON of its own.
        check(status, r#"{"message":"sorry"}"#, 3, &format!("all {expect}"));
    }
}

#[test]
fn a_second_write_of_the_same_id_is_a_duplicate_and_nothing_else_is() {
    let conflict = r#"{"type":"version_conflict_engine_exception","reason":"[a]: version conflict, document already exists"}"#;
    check_item(409, conflict, "duplicate");
    check_whole(409, conflict, "all blocked not_understood");
}

#[test]
fn messages_are_bounded() {
    let long = "ü".repeat(5000);
    check_item(400, &format!(r#"{{"type":"x","reason":"{long}"}}"#), "reject x");
    let Verdicts::All(Verdict::Blocked { detail, .. }) = judge(401, &[], &long, 1) else { panic!("blocked") };
    assert!(detail.len() < 400, "{}", detail.len());
}

#[test]
fn a_servers_words_end_without_their_semicolon_for_what_to_do_follows_behind_one() {
    for reason in ["index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded];", "Failed: 1: shards;"]
    {
        let error = format!(r#"{{"type":"cluster_block_exception","reason":"{reason}"}}"#);
        let body = format!(r#"{{"errors":true,"items":[{{"create":{{"status":429,"error":{error}}}}}]}}"#);
        let Verdicts::Rows(rows) = judge(200, &[], &body, 1) else { panic!("one verdict per row") };
        let [Verdict::Blocked { detail, .. }] = &*rows else { panic!("{rows:?}") };
        assert!(detail.ends_with(reason.trim_end_matches(';')), "{detail}");
    }
}
