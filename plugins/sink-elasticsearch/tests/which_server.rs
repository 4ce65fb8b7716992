//! Which server it is: what a server says, what the option `server` says, and what is done with one that does not say,
//! against servers of the testkit that answer some requests and refuse others.

use flowstone_core::Verdict;
use flowstone_testkit::http::{self, FakeServer, Reply};
use flowstone_testkit::sinks::{TestSink, events, sink};
use serde_json::{Value, json};
use sink_elasticsearch as _;

/// A server of this version that takes everything; `more` answers first.
fn server(
    number: &str,
    mut more: impl FnMut(&http::Request) -> Option<Reply> + Send + 'static,
) -> FakeServer {
    let root = json!({"version": {"number": number}});
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

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Busy { reason, .. } | Verdict::Blocked { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// What every version says to a bulk request without rows.
const NO_ROWS: &str = r#"{"error":{"type":"action_request_validation_exception","reason":"Validation Failed: 1: no requests added;"},"status":400}"#;

/// Ways not to answer `GET /`.
fn unsaid() -> Vec<Reply> {
    let forbidden =
        r#"{"error":{"type":"security_exception","reason":"action [cluster:monitor/main] is unauthorized"}}"#;
    vec![
        Reply::new(404),
        Reply::json(404, "{}"),
        Reply::json(403, forbidden),
        Reply::json(401, forbidden),
        Reply::new(405),
        Reply::new(200),
        Reply::json(200, "{}"),
        Reply::new(200).body("<html>welcome</html>"),
    ]
}

#[tokio::test]
async fn a_server_that_does_not_say_which_it_is_and_takes_bulk_requests_is_written_to() {
    for root in unsaid() {
        for template in ["install", "none"] {
            let answer = root.clone();
            let server = server("-", move |request| match request.path_only() {
                "/" => Some(answer.clone()),
                "/_bulk" if request.body == b"\n" => Some(Reply::json(400, NO_ROWS)),
                _ => None,
            });
            let sink = to(&server, json!({"template": template, "document_type": "flow"}));
            sink.probe().await.unwrap();
            sink.open().await.unwrap();
            assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered], "{root:?}");
            let bulk = server.bulks().pop().unwrap();
            assert_eq!((bulk.path_only(), bulk.ndjson().len()), ("/_bulk", 2), "{root:?}");
            let requests = server.requests();
            let puts: Vec<&str> = requests
                .iter()
                .filter(|request| request.method == "PUT")
                .map(|request| request.path_only())
                .collect();
            assert_eq!(puts, if template == "install" { &["/_index_template/flow"][..] } else { &[] });
            // Once for the probe, once at start, and not for each request.
            let asked = requests.iter().filter(|request| request.path_only() == "/").count();
            assert_eq!(asked, 2, "{root:?}");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_lets_only_bulk_requests_through_gets_no_template_and_all_events() {
    for refused in [400, 401, 403, 404, 405] {
        let gateway = |refused: u16| {
            server("-", move |request| match request.is_bulk() {
                true if request.body == b"\n" => Some(Reply::json(400, NO_ROWS)),
                true => None,
                false => Some(Reply::new(refused)),
            })
        };
        let server = gateway(refused);
        let sink = to(&server, json!({}));
        sink.open().await.unwrap_or_else(|verdict| panic!("{refused}: {verdict:?}"));
        assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered], "{refused}");
        // Where the server is named somebody knows it, and says what to do about templates.
        let server = gateway(refused);
        let sink = to(&server, json!({"server": "opensearch-2"}));
        let Verdict::Blocked { reason, help, .. } = sink.open().await.unwrap_err() else { panic!() };
        assert!(["template_refused", "privileges", "credentials"].contains(&&*reason), "{reason}");
        assert!(&*reason == "credentials" || help.contains("template = \"none\""), "{help}");
        let sink = to(&server, json!({"server": "opensearch-2", "template": "none"}));
        sink.open().await.unwrap();
        assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered], "{refused}");
    }
    // A server that is busy with templates is waited for.
    let server = server("-", |request| match (request.is_bulk(), request.path_only()) {
        (true, _) => Some(Reply::json(400, NO_ROWS)),
        (false, "/") => Some(Reply::new(404)),
        (false, _) => Some(Reply::new(503)),
    });
    assert_eq!(reason(&to(&server, json!({})).open().await.unwrap_err()), "unavailable");
}

#[tokio::test]
async fn what_takes_no_bulk_requests_is_no_server_however_it_answers() {
    let page = |status| Reply::new(status).header("content-type", "text/html").body("<html>hello</html>");
    let denied = r#"{"error":{"type":"security_exception","reason":"no"},"status":403}"#;
    for (root, bulk, expect) in [
        (page(200), page(404), "not_a_server"),
        (page(200), page(405), "not_a_server"),
        (page(200), page(200), "not_a_server"),
        (page(200), page(403), "not_a_server"),
        (page(404), page(404), "not_a_server"),
        (Reply::json(200, "{}"), Reply::json(405, r#"{"message":"no"}"#), "not_a_server"),
        (page(403), page(403), "privileges"),
        (page(401), page(401), "credentials"),
        // It is one, and does not let us or cannot now.
        (Reply::new(404), Reply::json(403, denied), "privileges"),
        (Reply::new(404), Reply::json(401, denied), "credentials"),
        (Reply::new(404), Reply::new(503), "unavailable"),
        (Reply::new(404), Reply::hang_up(), "connection"),
    ] {
        let answers = (root.clone(), bulk.clone());
        let server = server("-", move |request| match (request.is_bulk(), request.path_only()) {
            (true, _) => Some(answers.1.clone()),
            (false, "/") => Some(answers.0.clone()),
            _ => None,
        });
        let sink = to(&server, json!({}));
        let verdict = sink.open().await.unwrap_err();
        assert_eq!(reason(&verdict), expect, "{root:?} {bulk:?}: {verdict:?}");
        sink.probe().await.unwrap_err();
    }
}

#[tokio::test]
async fn a_server_that_is_named_is_not_asked() {
    for (name, options, bulk_path, template_path) in [
        ("elasticsearch-6", json!({}), "/flow/doc/_bulk", "/_template/flow"),
        ("elasticsearch-7", json!({}), "/_bulk", "/_index_template/flow"),
        ("elasticsearch-7", json!({"document_type": "log"}), "/flow/log/_bulk", "/_index_template/flow"),
        ("elasticsearch-8", json!({}), "/_bulk", "/_index_template/flow"),
        ("elasticsearch-9", json!({}), "/_bulk", "/_index_template/flow"),
        ("opensearch-1", json!({}), "/_bulk", "/_index_template/flow"),
        ("opensearch-2", json!({"document_type": "log"}), "/_bulk", "/_index_template/flow"),
        ("opensearch-3", json!({}), "/_bulk", "/_index_template/flow"),
    ] {
        // It would say something else.
        let server = server("5.0.0", |request| {
            (request.is_bulk() && request.body == b"\n").then(|| Reply::json(400, NO_ROWS))
        });
        let mut options = options;
        options["server"] = json!(name);
        let sink = to(&server, options);
        sink.open().await.unwrap();
        assert_eq!(sink.deliver(&one()).await, [Verdict::Delivered], "{name}");
        sink.probe().await.unwrap();
        let requests = server.requests();
        assert!(requests.iter().all(|request| request.path_only() != "/"), "{name}");
        assert_eq!(server.bulks()[0].path_only(), bulk_path, "{name}");
        let put = requests.iter().find(|request| request.method == "PUT").unwrap();
        assert_eq!(put.path_only(), template_path, "{name}");
    }
    let elsewhere = FakeServer::start(|_| Reply::new(200).body("<html>"));
    let sink = to(&elsewhere, json!({"server": "opensearch-2", "template": "none"}));
    assert!(sink.probe().await.unwrap_err().contains("_bulk"));
    assert_eq!(reason(&sink.deliver(&one()).await[0]), "bad_reply");
}

#[tokio::test]
async fn a_server_that_has_no_legacy_templates_gets_a_composable_one() {
    for gone in [400, 404, 405, 410] {
        let server = server("8.11.0", move |request| {
            (request.path_only() == "/_template")
                .then(|| Reply::json(gone, r#"{"error":{"type":"api_not_available_exception"}}"#))
        });
        to(&server, json!({})).open().await.unwrap();
        let requests = server.requests();
        assert!(requests.iter().any(|request| request.method == "PUT"), "{gone}");
    }
}
