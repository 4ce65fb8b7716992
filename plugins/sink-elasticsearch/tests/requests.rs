//! What goes over the wire for each option, and what comes of each way in which a server can fail to answer; against
//! a server of the testkit that says what it is told to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flowstone_core::{Request, Rows, Verdict, Verdicts};
use flowstone_testkit::http::{self, FakeServer, Reply};
use flowstone_testkit::sinks::{TestSink, events, request, sink};
use serde_json::{Value, json};
use sink_elasticsearch as _;

/// A server of this version that takes everything; `more` answers first.
fn server(
    number: &str,
    mut more: impl FnMut(&http::Request) -> Option<Reply> + Send + 'static,
) -> FakeServer {
    let root = match number.strip_prefix("opensearch ") {
        Some(number) => json!({"version": {"number": number, "distribution": "opensearch"}}),
        None => json!({"version": {"number": number}}),
    };
    FakeServer::start(move |request| {
        if let Some(reply) = more(request) {
            return reply;
        }
        match (request.method.as_str(), request.path_only()) {
            ("GET", "/") => Reply::json(200, &root),
            ("PUT", _) => Reply::json(200, r#"{"acknowledged":true}"#),
            _ if request.is_bulk() => Reply::json(200, r#"{"errors":false}"#),
            _ => Reply::json(404, "{}"),
        }
    })
}

fn healthy() -> FakeServer {
    server("8.19.21", |_| None)
}

/// The sink with these options beside `hosts` and `index`.
fn to(server: &FakeServer, more: Value) -> TestSink {
    let mut options = json!({"hosts": [server.url()], "index": "flow-%{+YYYY.MM.dd}"});
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    sink("elasticsearch", &options).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn one() -> flowstone_core::event::Batch {
    events(0, &[json!({"@timestamp": "2019-02-24T09:58:29.000Z", "srcaddr": "10.0.0.1"})])
}

fn many(count: usize) -> flowstone_core::event::Batch {
    let documents: Vec<Value> =
        (0..count).map(|n| json!({"@timestamp": "2019-02-24T09:58:29.000Z", "n": n})).collect();
    events(0, &documents)
}

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Busy { reason, .. } | Verdict::Failed { reason, .. } | Verdict::Blocked { reason, .. } => {
            reason
        }
        other => panic!("{other:?}"),
    }
}

// --- what is sent

#[tokio::test]
async fn a_bulk_request_creates_documents_under_deterministic_ids() {
    let server = healthy();
    let sink = to(&server, json!({}));
    sink.open().await.unwrap();
    let batch = one();
    assert_eq!(sink.deliver(&batch).await, [Verdict::Delivered]);
    let bulk = &server.bulks()[0];
    assert_eq!((bulk.method.as_str(), bulk.path_only()), ("POST", "/_bulk"));
    assert_eq!(bulk.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(bulk.header("content-length"), Some(bulk.body.len().to_string().as_str()));
    assert_eq!(bulk.header("transfer-encoding"), None);
    assert_eq!(bulk.header("authorization"), None);
    assert_eq!(
        bulk.ndjson(),
        [
            json!({"create": {"_index": "flow-2019.02.24", "_id": batch.id(0).to_string()}}),
            json!({"@timestamp": "2019-02-24T09:58:29.000Z", "srcaddr": "10.0.0.1"}),
        ]
    );
    // The query asks for what decides, and tells the server to give up before we do.
    let query = bulk.path.split_once('?').unwrap().1;
    assert!(
        query.starts_with("filter_path=errors%2Citems.*.status") || query.starts_with("filter_path=errors"),
        "{query}"
    );
    assert!(query.contains("&timeout=30000ms"), "{query}");
}

#[tokio::test]
async fn each_option_is_seen_in_the_request() {
    let text =
        |name: &'static str| move |bulk: &http::Request| bulk.header(name).unwrap_or_default().to_owned();
    let path = |bulk: &http::Request| bulk.path.clone();
    let body = |bulk: &http::Request| bulk.text();
    type Look = Box<dyn Fn(&http::Request) -> String>;
    let cases: Vec<(Value, Look, &str)> = vec![
        (json!({"user": "joe", "password": "pa:ss"}), Box::new(text("authorization")), "Basic am9lOnBhOnNz"),
        (
            json!({"api_key": "VnVhQ2ZHY0JDZGJrUW0="}),
            Box::new(text("authorization")),
            "ApiKey VnVhQ2ZHY0JDZGJrUW0=",
        ),
        (json!({"api_key": "id:secret"}), Box::new(text("authorization")), "ApiKey aWQ6c2VjcmV0"),
        (json!({"headers": {"X-Found-Cluster": "abc"}}), Box::new(text("x-found-cluster")), "abc"),
        (json!({"headers": {"Authorization": "Bearer t"}}), Box::new(text("authorization")), "Bearer t"),
        (json!({"compression": "gzip"}), Box::new(text("content-encoding")), "gzip"),
        (json!({"compression": "gzip"}), Box::new(body), "\"srcaddr\":\"10.0.0.1\""),
        (json!({"compression": "none"}), Box::new(body), "\"srcaddr\":\"10.0.0.1\""),
        (json!({"pipeline": "geo & co"}), Box::new(path), "&pipeline=geo%20%26%20co"),
        (json!({"request_timeout": "10s"}), Box::new(path), "&timeout=5000ms"),
        (json!({"id": "auto"}), Box::new(body), "{\"index\":{\"_index\":\"flow-2019.02.24\"}}\n"),
        (json!({"version_field": true}), Box::new(body), "\"@version\":\"1\""),
        (json!({"index": "flow-%{srcaddr}"}), Box::new(body), "\"_index\":\"flow-10.0.0.1\""),
    ];
    for (options, look, expect) in cases {
        let server = healthy();
        let sink = to(&server, options.clone());
        sink.open().await.unwrap();
        assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered]);
        let found = look(&server.bulks()[0]);
        assert!(found.contains(expect), "{options}: {found}");
        // Who we are is said at start, too.
        if expect.starts_with("Basic") || expect.starts_with("ApiKey") || expect.starts_with("Bearer") {
            assert!(server.requests().iter().all(|request| request.header("authorization") == Some(expect)));
        }
    }
}

#[test]
fn options_become_limits() {
    let server = healthy();
    let options = json!({
        "batch": {"max_bytes": "8MiB", "max_rows": 500}, "flush_interval": "5s", "max_concurrency": 3,
        "blocked_for": "24h",
        "max_tries_alone": 7,
    });
    let limits = to(&server, options).limits();
    assert_eq!((limits.max_bytes, limits.max_rows, limits.max_concurrency), (8 << 20, 500, 3));
    assert_eq!(limits.flush_interval, Duration::from_secs(5));
    assert_eq!((limits.blocked_for, limits.max_tries_alone), (Some(Duration::from_secs(86_400)), 7));
    assert!(!limits.ordered);
    let limits = to(&server, json!({})).limits();
    assert_eq!((limits.max_bytes, limits.max_rows, limits.blocked_for), (4 << 20, 10_000, None));
}

#[tokio::test]
async fn only_the_rows_of_the_request_are_sent_however_they_lie() {
    let server = healthy();
    let sink = to(&server, json!({}));
    let (segment, _) = sink.encode(&many(3000));
    // Long neighbouring pieces go out as they are, short ones joined; the server sees the same.
    for rows in [
        (0..3000).collect::<Vec<u32>>(),
        (0..3000).filter(|row| row % 2 == 0).collect(),
        (0..3000).filter(|row| row % 500 != 0).collect(),
        vec![2999],
    ] {
        let parts = [Rows::List(rows.clone()), Rows::Range(7, 8)].map(|rows| (Arc::clone(&segment), rows));
        let request = Request::new(parts.into());
        assert_eq!(sink.send(&request).await, Verdicts::All(Verdict::Delivered));
        let bulk = server.bulks().pop().unwrap();
        assert_eq!(bulk.header("content-length"), Some(request.byte_len().to_string().as_str()));
        let sent: Vec<u32> =
            bulk.ndjson().iter().filter_map(|line| line["n"].as_u64()).map(|n| n as u32).collect();
        assert_eq!(sent, [rows, vec![7]].concat());
    }
}

// --- versions

#[tokio::test]
async fn each_version_is_spoken_to_in_its_own_dialect() {
    for (number, document_type, bulk_path, template_path) in [
        ("6.8.23", json!({}), "/flow/doc/_bulk", "/_template/flow"),
        ("6.8.23", json!({"document_type": "_doc"}), "/flow/_doc/_bulk", "/_template/flow"),
        ("7.7.1", json!({}), "/_bulk", "/_template/flow"),
        ("7.10.2", json!({}), "/_bulk", "/_index_template/flow"),
        ("7.17.9", json!({"document_type": "flow log"}), "/flow/flow%20log/_bulk", "/_index_template/flow"),
        ("8.19.21", json!({"document_type": "flow"}), "/_bulk", "/_index_template/flow"),
        ("9.5.3", json!({}), "/_bulk", "/_index_template/flow"),
        ("opensearch 2.19.1", json!({"document_type": "flow"}), "/_bulk", "/_index_template/flow"),
        ("opensearch 7.10.2", json!({}), "/_bulk", "/_index_template/flow"),
    ] {
        let server = server(number, |_| None);
        let sink = to(&server, document_type);
        sink.open().await.unwrap();
        assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered]);
        let requests = server.requests();
        let put = requests.iter().find(|request| request.method == "PUT").expect("a template");
        assert_eq!(
            (put.path.as_str(), put.json()["index_patterns"].clone()),
            (format!("{template_path}?create=true").as_str(), json!(["flow-*"])),
            "{number}"
        );
        assert_eq!(server.bulks()[0].path_only(), bulk_path, "{number}");
        // No row names a type: the same encoded rows suit every version.
        assert!(!server.bulks()[0].text().contains("_type"), "{number}");
    }
}

#[tokio::test]
async fn a_server_that_is_upgraded_under_way_is_asked_again_who_it_is() {
    let upgraded = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&upgraded);
    let server = server("8.19.21", move |request| match (now.load(Ordering::SeqCst), request.path_only()) {
        (false, "/") => Some(Reply::json(200, r#"{"version":{"number":"6.8.23"}}"#)),
        (true, "/flow/doc/_bulk") => Some(Reply::json(
            400,
            r#"{"error":"no handler found for uri [/flow/doc/_bulk] and method [POST]"}"#,
        )),
        _ => None,
    });
    let sink = to(&server, json!({}));
    sink.open().await.unwrap();
    assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered]);
    upgraded.store(true, Ordering::SeqCst);
    assert_eq!(reason(&sink.deliver(&one()).await[0]), "not_understood");
    assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered]);
    let paths: Vec<String> = server.bulks().iter().map(|bulk| bulk.path_only().to_owned()).collect();
    assert_eq!(paths, ["/flow/doc/_bulk", "/flow/doc/_bulk", "/_bulk"]);
}

// --- templates

#[tokio::test]
async fn a_template_that_is_there_is_left_alone() {
    let puts =
        |server: &FakeServer| server.requests().iter().filter(|request| request.method == "PUT").count();
    let list = |api: &'static str, body: &'static str| {
        move |request: &http::Request| {
            let asked = request.method == "GET" && request.path_only() == format!("/{api}");
            asked.then(|| Reply::json(200, body))
        }
    };
    // Of our name; of another name and for the same indices, legacy or composable; a catch-all, which covers nothing.
    let present = server("8.19.21", |request| {
        (request.path_only() == "/_index_template/flow")
            .then(|| Reply::json(200, r#"{"index_templates":[{}]}"#))
    });
    let legacy = server("8.19.21", list("_template", r#"{"mine":{"index_patterns":["x","flow-2*"]}}"#));
    let other = r#"{"index_templates":[{"name":"mine","index_template":{"index_patterns":["fl*"]}}]}"#;
    let composable = server("9.5.3", list("_index_template", other));
    let old = server("6.8.23", list("_template", r#"{"mine":{"index_patterns":["flow-*"]}}"#));
    let catch_all = server(
        "6.8.23",
        list("_template", r#"{"all":{"index_patterns":["*"]},"no":{"index_patterns":["logstash-*"]}}"#),
    );
    for (server, expect) in [(present, 0), (legacy, 0), (composable, 0), (old, 0), (catch_all, 1)] {
        to(&server, json!({})).open().await.unwrap();
        assert_eq!(puts(&server), expect, "{:?}", server.requests());
    }
    // `template = "none"` does not even look.
    let server = healthy();
    to(&server, json!({"template": "none"})).open().await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_template_that_somebody_else_installs_at_this_moment_is_fine() {
    for error in [
        "index_template [flow] already exists",
        "index template [flow] has index patterns [flow-*] matching patterns from existing templates [x] that have the same priority [10]",
    ] {
        let server = server("8.19.21", move |request| {
            (request.method == "PUT").then(|| {
                Reply::json(400, json!({"error": {"type": "illegal_argument_exception", "reason": error}}))
            })
        });
        to(&server, json!({})).open().await.unwrap();
    }
}

#[tokio::test]
async fn name_and_pattern_of_the_template_follow_from_the_index() {
    for (options, name, pattern) in [
        (json!({"index": "vpcflowlogs-%{+YYYY.MM.dd}"}), "vpcflowlogs", "vpcflowlogs-*"),
        (json!({"index": "flow"}), "flow", "flow"),
        (json!({"index": "%{env}-flow-%{+YYYY}"}), "flowstone", "*-flow-*"),
        (json!({"index": "a-%{x}%{y}-b"}), "a", "a-*-b"),
        (json!({"index": "a-%{x}", "template_name": "mine"}), "mine", "a-*"),
    ] {
        let server = healthy();
        to(&server, options.clone()).open().await.unwrap();
        let put = server.requests().into_iter().find(|request| request.method == "PUT").unwrap();
        assert_eq!(put.path_only(), format!("/_index_template/{name}"), "{options}");
        assert_eq!(put.json()["index_patterns"], json!([pattern]), "{options}");
    }
}

// --- at start

#[tokio::test]
async fn what_stands_in_the_way_at_start_is_told_apart() {
    let forbidden =
        || Some(Reply::json(403, r#"{"error":{"type":"security_exception","reason":"no"},"status":403}"#));
    for (at, reply, expect) in [
        ("GET /", Some(Reply::json(401, "{}")), "credentials"),
        ("GET /", forbidden(), "privileges"),
        ("GET /", Some(Reply::new(404)), "not_a_server"),
        ("GET /", Some(Reply::new(200).body("<html>")), "not_a_server"),
        ("GET /", Some(Reply::new(302)), "redirected"),
        ("GET /", Some(Reply::json(200, r#"{"version":{"number":"5.6.16"}}"#)), "too_old"),
        ("GET /", Some(Reply::new(503)), "unavailable"),
        ("GET /", Some(Reply::hang_up()), "connection"),
        ("GET /", Some(Reply::never()), "timeout"),
        ("GET /_index_template/flow", forbidden(), "privileges"),
        ("GET /_template", forbidden(), "privileges"),
        ("PUT /_index_template/flow", forbidden(), "privileges"),
        (
            "PUT /_index_template/flow",
            Some(Reply::json(400, r#"{"error":{"type":"x","reason":"y"}}"#)),
            "template_refused",
        ),
        ("PUT /_index_template/flow", Some(Reply::new(503)), "unavailable"),
    ] {
        let answer = reply.clone();
        let server = server("8.19.21", move |request| {
            let is_it = format!("{} {}", request.method, request.path_only()) == at;
            // Bulk requests are answered as `GET /` is: what takes them would be taken for a server.
            if is_it || (at == "GET /" && request.is_bulk()) { answer.clone() } else { None }
        });
        let sink = to(&server, json!({"request_timeout": "300ms"}));
        let verdict = sink.open().await.unwrap_err();
        assert_eq!(reason(&verdict), expect, "{at} {reply:?}: {verdict:?}");
        if at == "GET /" {
            let probe = sink.probe().await.unwrap_err();
            assert!(probe.contains(&server.url()), "{probe}");
        }
    }
    let server = healthy();
    to(&server, json!({})).probe().await.unwrap();
    assert!(server.requests().iter().all(|request| request.method == "GET"), "a probe changes nothing");
}

// --- replies

#[tokio::test]
async fn a_reply_that_does_not_come_whole_settles_nothing() {
    let all_well = r#"{"errors":false,"items":[]}"#;
    for (reply, expect) in [
        (Reply::hang_up(), "connection"),
        (Reply::never(), "timeout"),
        (Reply::json(200, all_well).delay(Duration::from_secs(5)), "timeout"),
        (Reply::json(200, all_well).cut(20), "connection"),
        (Reply::json(200, all_well).chunked().cut(20), "connection"),
        (Reply::json(200, r#"{"errors":true,"items":[{"create":{"status":201}}]}"#), "wrong_item_count"),
        (Reply::json(200, "{"), "bad_reply"),
        (Reply::busy(), "too_many_requests"),
    ] {
        let answer = reply.clone();
        let server = server("8.19.21", move |request| request.is_bulk().then(|| answer.clone()));
        let sink = to(&server, json!({"request_timeout": "300ms"}));
        for verdict in sink.deliver(&many(2)).await {
            assert_eq!(reason(&verdict), expect, "{reply:?}: {verdict:?}");
        }
        assert_eq!(server.bulks().len(), 1, "a sink never retries");
    }
}

#[tokio::test]
async fn a_long_reply_without_errors_is_not_kept() {
    // 200 bytes per item, as a server answers that does not know `filter_path`.
    let items = vec![r#"{"create":{"_index":"x","_id":"y","status":201}}"#; 50_000].join(",");
    for reply in [
        Reply::json(200, format!("{{\"errors\":false,\"items\":[{items}]}}")),
        Reply::json(200, format!("{{\"took\":30,\"errors\":false,\"items\":[{items}]}}")).chunked(),
        Reply::json(200, format!("{{\"took\":30,\"errors\":true,\"items\":[{items}]}}")),
    ] {
        let server = server("8.19.21", move |request| request.is_bulk().then(|| reply.clone()));
        let verdicts = to(&server, json!({})).deliver(&many(50_000)).await;
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Delivered));
    }
}

#[tokio::test]
async fn rows_get_their_own_verdicts_and_rejected_ones_their_index() {
    let server = server("8.19.21", |request| {
        request.is_bulk().then(|| {
            Reply::json(
                200,
                r#"{"errors":true,"items":[{"create":{"status":201}},
                {"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"exists"}}},
                {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}},
                {"create":{"status":400,"error":{"type":"index_closed_exception","reason":"closed"}}},
                {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:2] bad"}}}]}"#,
            )
        })
    });
    let verdicts = to(&server, json!({})).deliver(&many(5)).await;
    assert_eq!(verdicts[..2], [Verdict::Delivered, Verdict::Duplicate]);
    assert_eq!((reason(&verdicts[2]), reason(&verdicts[3])), ("too_many_requests", "index_closed"));
    let Verdict::Reject(rejection) = &verdicts[4] else { panic!("{verdicts:?}") };
    assert_eq!(rejection.reason, "document_parsing_exception");
    assert_eq!((rejection.status, rejection.index.as_deref()), (Some(400), Some("flow-2019.02.24")));
}

// --- several hosts

#[tokio::test]
async fn requests_go_round_and_a_dead_host_is_left_out() {
    let (a, b) = (healthy(), healthy());
    let dead = {
        let gone = healthy();
        gone.url()
    };
    let hosts = json!([a.url(), dead, b.url()]);
    let sink = sink("elasticsearch", &json!({"hosts": hosts, "index": "flow", "template": "none"})).unwrap();
    while sink.open().await.is_err() {}
    let mut busy = 0;
    for _ in 0..12 {
        match &sink.deliver(&one()).await[0] {
            Verdict::Delivered => {}
            verdict => {
                assert_eq!(reason(verdict), "connection");
                busy += 1;
            }
        }
    }
    // The dead one is tried once and then rests.
    assert!(busy <= 1, "{busy}");
    let (to_a, to_b) = (a.bulks().len(), b.bulks().len());
    assert_eq!(to_a + to_b, 12 - busy);
    assert!(to_a >= 4 && to_b >= 4, "{to_a} {to_b}");
}

#[tokio::test]
async fn a_single_host_is_tried_however_often_it_failed() {
    let up = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&up);
    let server = server("8.19.21", move |_| (!now.load(Ordering::SeqCst)).then(Reply::hang_up));
    let sink = to(&server, json!({}));
    for _ in 0..3 {
        assert_eq!(reason(&sink.open().await.unwrap_err()), "connection");
    }
    up.store(true, Ordering::SeqCst);
    sink.open().await.unwrap();
}

#[tokio::test]
async fn a_path_prefix_stands_before_every_path() {
    let server = FakeServer::start(|request| match request.path_only() {
        "/es" | "/es/" => Reply::json(200, r#"{"version":{"number":"8.19.21"}}"#),
        "/es/_bulk" => Reply::json(200, r#"{"errors":false}"#),
        _ => Reply::new(404),
    });
    let hosts = format!("{}/es", server.url());
    let sink = sink("elasticsearch", &json!({"hosts": hosts, "index": "flow", "template": "none"})).unwrap();
    sink.open().await.unwrap();
    assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered]);
}

// --- options that are wrong

#[test]
fn everything_wrong_with_the_options_is_said_at_once() {
    for (options, expect) in [
        (json!({}), &["index: neither `index` nor `data_stream` says where to"][..]),
        (json!({"index": "Flow-%{+YYYY}"}), &["index: `Flow-%{+YYYY}` can name no index"]),
        (json!({"index": "Flow-%{x}"}), &["index: `Flow-%{x}` can name no index"]),
        (json!({"index": "_x"}), &["index: `_x` can name no index"]),
        (json!({"index": "%{x}"}), &["index: a template for `%{x}` would cover every index of the server"]),
        (json!({"index": "x", "hosts": []}), &["hosts: `hosts` is empty"]),
        (
            json!({"index": "x", "hosts": ["ftp://x"]}),
            &["hosts: `ftp://x` is no URL of a server: `ftp` is neither http nor https"],
        ),
        (json!({"index": "x", "user": "joe"}), &["user: `user` has no `password`"]),
        (json!({"index": "x", "password": "p"}), &["password: `password` has no `user`"]),
        (
            json!({"index": "x", "user": "joe", "password": "p", "api_key": "k"}),
            &["api_key: both `password` and `api_key` are given"],
        ),
        (json!({"index": "x", "headers": {"a b": "c"}}), &["headers: `a b` is no name of a header"]),
        (
            json!({"index": "x", "headers": {"a": "c\n"}}),
            &["headers: the value of `a` cannot be sent in a header"],
        ),
        (
            json!({"index": "x", "api_key": "k", "headers": {"authorization": "c"}}),
            &["headers: there are two ways to identify ourselves"],
        ),
        (
            json!({"index": "x", "tls": {"verify": false}}),
            &["tls: `tls` is set, but no host begins with `https://`"],
        ),
        (
            json!({"index": "x", "hosts": "https://x", "tls": {"client_key": "/x"}}),
            &["tls.client_key: `client_key` needs `client_cert` beside it"],
        ),
        (json!({"index": "x", "pipeline": ""}), &["pipeline: `pipeline` is empty"]),
        (json!({"index": "x", "server": "elasticsearch-5"}), &["\"elasticsearch-5\" is not a choice here"]),
        (json!({"index": "x", "hots": []}), &["unknown option `hots` in elasticsearch"]),
        (
            json!({
                "index": "X", "hosts": [], "user": "joe", "max_concurrency": 0, "request_timeout": "1ms",
                "batch": {"max_bytes": 5, "max_rows": 0},
            }),
            &[
                "index: `X` can name no index",
                "batch.max_bytes: `batch.max_bytes` is out of range",
                "batch.max_rows: `batch.max_rows` is out of range",
                "max_concurrency: `max_concurrency` is out of range",
                "request_timeout: `request_timeout` is out of range",
                "hosts: `hosts` is empty",
                "user: `user` has no `password`",
            ],
        ),
    ] {
        let found = sink("elasticsearch", &options).err().unwrap_or_default();
        assert_eq!(found, expect, "{options}");
    }
    let missing = json!({"index": "x", "hosts": "https://x", "tls": {"ca_file": "/no/such.pem"}});
    let found = sink("elasticsearch", &missing).err().unwrap();
    assert!(found[0].starts_with("tls.ca_file: cannot use /no/such.pem: "), "{found:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "no certificate").unwrap();
    let empty = json!({"index": "x", "hosts": "https://x", "tls": {"ca_file": path}});
    let found = sink("elasticsearch", &empty).err().unwrap();
    assert!(found[0].ends_with("it holds no certificate"), "{found:?}");
}

#[tokio::test]
async fn a_request_of_a_whole_segment_copies_nothing() {
    let server = healthy();
    let sink = to(&server, json!({}));
    let (segment, _) = sink.encode(&many(10));
    let chunks = request(&segment).chunks();
    assert_eq!((chunks.len(), chunks[0].as_ptr()), (1, segment.bytes().as_ptr()));
    assert_eq!(sink.send(&request(&segment)).await, Verdicts::All(Verdict::Delivered));
}
