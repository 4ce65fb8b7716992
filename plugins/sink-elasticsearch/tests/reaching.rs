//! How a server is reached: by Cloud ID, through a proxy, by a pinned certificate; who we say that we are, also when a file
//! that says it changes; hosts that are away; and what is asked of servers that delete old indices.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowstone_core::{Verdict, shown};
use flowstone_testkit::http::{FakeServer, Reply, Request};
use flowstone_testkit::sinks::{TestSink, events, sink};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sink_elasticsearch as _;

fn root() -> Reply {
    Reply::json(200, json!({"version": {"number": "8.19.21"}}))
}

/// A server that takes everything that `refuse` does not answer.
fn server(mut refuse: impl FnMut(&Request) -> Option<Reply> + Send + 'static) -> FakeServer {
    FakeServer::start(move |request| {
        if let Some(reply) = refuse(request) {
            return reply;
        }
        match request.method.as_str() {
            "GET" if request.path.ends_with('/') => root(),
            "PUT" => Reply::json(200, r#"{"acknowledged":true}"#),
            _ if request.is_bulk() => Reply::json(200, r#"{"errors":false}"#),
            _ => Reply::json(404, "{}"),
        }
    })
}

fn to(url: &str, more: Value) -> TestSink {
    let mut options = json!({"hosts": [url], "index": "flow", "template": "none"});
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    if options["hosts"].is_null() {
        options.as_object_mut().unwrap().remove("hosts");
    }
    sink("elasticsearch", &options).unwrap_or_else(|errors| panic!("{errors:?}"))
}

async fn deliver(sink: &TestSink, number: usize) -> Verdict {
    let event = json!({"@timestamp": "2019-02-24T09:58:29.000Z"});
    sink.deliver(&events(number, &[event])).await.remove(0)
}

// --- who we are

#[tokio::test]
async fn a_secret_in_a_file_is_read_again_when_it_changes_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (option, before, after) in [
        ("password_file", "Basic am9lOmZpcnN0LXNlY3JldA==", "Basic am9lOnNlY29uZC1zZWNyZXQ="),
        ("api_key_file", "ApiKey first-secret", "ApiKey second-secret"),
        ("token_file", "Bearer first-secret", "Bearer second-secret"),
    ] {
        let good = Arc::new(std::sync::Mutex::new(before));
        let known = Arc::clone(&good);
        let server = server(move |request| {
            let said = request.header("authorization").unwrap_or("nothing").to_owned();
            (said != *known.lock().unwrap()).then(|| {
                Reply::json(
                    401,
                    json!({"error": {"type": "security_exception", "reason": said}, "status": 401}),
                )
            })
        });
        let path = folder.path().join(option);
        std::fs::write(&path, "first-secret\n").unwrap();
        let mut options = json!({option: path});
        if option == "password_file" {
            options["user"] = "joe".into();
        }
        let sink = to(&server.url(), options);
        assert_eq!(deliver(&sink, 1).await, Verdict::Delivered, "{option}");
        *good.lock().unwrap() = after;
        let verdict = deliver(&sink, 2).await;
        let Verdict::Blocked { reason, detail, .. } = &verdict else { panic!("{option}: {verdict:?}") };
        assert_eq!(reason, "credentials");
        let shown = shown::scrub(detail);
        assert!(!shown.contains("first-secret") && !shown.contains("am9l"), "{shown}");
        std::fs::write(&path, "second-secret").unwrap();
        assert_eq!(deliver(&sink, 3).await, Verdict::Delivered, "{option}");
    }
    let sink = to("http://127.0.0.1:1", json!({"token_file": folder.path().join("missing")}));
    let verdict = deliver(&sink, 4).await;
    assert!(matches!(&verdict, Verdict::Blocked { reason, .. } if reason == "credentials"), "{verdict:?}");
}

// --- the way

#[tokio::test]
async fn a_proxy_is_gone_through_and_told_who_we_are() {
    let proxy = server(|_| None);
    let with_user = proxy.url().replace("http://", "http://joe:hunter2-of-proxies@");
    let sink = to("http://es.example.com:9200", json!({"proxy": with_user}));
    assert_eq!(deliver(&sink, 1).await, Verdict::Delivered);
    let bulk = &proxy.bulks()[0];
    assert!(bulk.path.starts_with("http://es.example.com:9200/_bulk"), "{}", bulk.path);
    assert_eq!(bulk.header("proxy-authorization"), Some("Basic am9lOmh1bnRlcjItb2YtcHJveGllcw=="));
    assert_eq!(shown::scrub("hunter2-of-proxies"), "***");
}

#[tokio::test]
async fn a_host_whose_gateway_says_that_it_is_away_is_left_out() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let away = server(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(Reply::new(503).body("<html>no server is available</html>"))
    });
    let there = server(|_| None);
    let sink = to("x", json!({"hosts": [away.url(), there.url()], "server": "elasticsearch-8"}));
    let mut delivered = 0;
    for number in 0..10 {
        delivered += usize::from(deliver(&sink, number).await == Verdict::Delivered);
    }
    assert_eq!((asked.load(Ordering::Relaxed), delivered), (1, 9));
}

/// A server with the certificate of `tls/` and `sends` of its chain, that answers each request as Elasticsearch does.
fn tls_server(sends: usize) -> String {
    let pem = |name: &str| {
        std::fs::read(format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a fixture")
    };
    let chain: Vec<_> = ["server.pem", "ca.pem"][..sends]
        .iter()
        .map(|name| CertificateDer::from_pem_slice(&pem(name)).expect("PEM"))
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("server.key")).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a good configuration");
            let mut tls = rustls::StreamOwned::new(session, stream);
            std::thread::spawn(move || {
                let mut request = [0; 16 << 10];
                while let Ok(read) = tls.read(&mut request)
                    && read > 0
                {
                    let body = r#"{"errors":false}"#;
                    write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok();
                }
            });
        }
    });
    url
}

const CA: &str =
    "8F:CE:5D:61:C8:41:7C:5D:49:48:3D:C1:45:A9:82:B3:56:EE:DC:03:FC:FF:71:84:98:31:5D:95:38:24:61:45";
const SERVER: &str =
    "A9:F2:A1:35:00:B6:CE:DB:D5:57:D9:3A:73:27:D5:74:40:FC:EE:25:3F:85:78:D1:B7:93:DA:4E:5E:D0:9E:15";

#[tokio::test]
async fn a_pinned_certificate_is_trusted_and_no_other() {
    let named = |more: Value| json!({"server": "elasticsearch-8", "tls": more});
    let (alone, with_authority) = (tls_server(1), tls_server(2));
    let plain = SERVER.replace(':', "").to_lowercase();
    for (url, fingerprint, trusted) in [
        (&alone, SERVER, true),
        (&alone, &*plain, true),
        (&with_authority, SERVER, true),
        (&with_authority, CA, true),
        // An authority that the server does not send cannot be known by its fingerprint.
        (&alone, CA, false),
        (&alone, &*"00".repeat(32), false),
    ] {
        let sink = to(url, named(json!({"fingerprint": fingerprint})));
        let verdict = deliver(&sink, 1).await;
        assert_eq!(verdict == Verdict::Delivered, trusted, "{url} {fingerprint}: {verdict:?}");
    }
    // The name is checked where an authority is pinned.
    let by_name = with_authority.replace("127.0.0.1", "localhost");
    let verdict = deliver(&to(&by_name, named(json!({"fingerprint": CA}))), 2).await;
    let Verdict::Busy { detail, .. } = &verdict else { panic!("{verdict:?}") };
    assert!(detail.to_lowercase().contains("certificate"), "{detail}");
    let untrusted = deliver(&to(&alone, named(json!({}))), 3).await;
    assert!(matches!(untrusted, Verdict::Busy { .. }), "{untrusted:?}");
}

#[test]
fn what_cannot_be_reached_is_said_before_anything_is_started() {
    for (options, expect) in [
        (json!({"cloud_id": "no id"}), "cloud_id: this is no Cloud ID"),
        (
            json!({"cloud_id": "x:Zm91bmQuaW8kYWJjJGRlZg==", "hosts": "x"}),
            "cloud_id: both `hosts` and `cloud_id` are given",
        ),
        (json!({"proxy": "proxy:3128"}), "proxy: this is no URL of a proxy"),
        (
            json!({"token": "x", "headers": {"Authorization": "y"}}),
            "headers: there are two ways to identify ourselves",
        ),
        (
            json!({"token": "x", "auth": {"aws": {"service": "es"}}}),
            "auth.aws: there are two ways to identify ourselves",
        ),
        (json!({"auth": {"aws": {"service": "es", "role_arn": "me"}}}), "auth.aws.role_arn: `me` is no role"),
        (
            json!({"hosts": ["https://a.eu-west-1.es.amazonaws.com", "https://b.us-east-1.es.amazonaws.com"],
                "auth": {"aws": {"service": "es"}}}),
            "hosts: the hosts are in several regions",
        ),
        (
            json!({"hosts": "https://x", "tls": {"fingerprint": "ab"}}),
            "tls.fingerprint: this is no fingerprint of a certificate",
        ),
        (json!({"template": "overwritten"}), "\"overwritten\" is not a choice here"),
        (json!({"id": "same"}), "\"same\" would be the id of every event"),
        (json!({"operation": "update", "id": "auto"}), "operation: `update` needs an id that is known"),
        (json!({"version": "%{v}"}), "version: `version` needs `operation = \"index\"`"),
        (json!({"parameters": {"timeout": "1s"}}), "parameters: `timeout` is flowstone's own"),
        (json!({"data_stream": {}}), "data_stream: both `index` and `data_stream` are given"),
        (
            json!({"template": "none", "shards": 2}),
            "shards: `shards` is part of our template, which is not installed",
        ),
        (
            json!({"server": "opensearch-2", "index_mode": "logsdb"}),
            "index_mode: opensearch-2 has no index mode for logs",
        ),
        (json!({"index": "flow-%{+YYYY}", "retention": "1m"}), "retention: `retention` is out of range"),
        (
            json!({"retention": "30d"}),
            "retention: `retention` would delete the index as a whole, with what is new in it",
        ),
        (
            json!({"index": "flow-%{+YYYY}", "retention": "30d", "auth": {"aws": {"service": "aoss"}}}),
            "retention: OpenSearch Serverless has no life cycles of indices",
        ),
    ] {
        let mut all = json!({"index": "flow"});
        for (name, value) in options.as_object().unwrap() {
            all[name] = value.clone();
        }
        let found = sink("elasticsearch", &all).err().unwrap_or_default();
        assert_eq!(found, [expect], "{options}");
    }
    let stream = json!({"data_stream": {"dataset": "a-b"}});
    let found = sink("elasticsearch", &stream).err().unwrap();
    assert_eq!(found, ["data_stream.dataset: \"a-b\" is no part of a data stream's name"]);
    let cloud =
        json!({"index": "x", "cloud_id": "name:ZXUtd2VzdC0xLmF3cy5mb3VuZC5pbyRhYmMkZGVm", "api_key": "k"});
    assert!(sink("elasticsearch", &cloud).is_ok());
}

// --- life cycles, on servers that have them (these nodes of ours have none): the requests in their documented form

/// A server of this version that has no policy yet, or `there`.
fn with_policies(root: Value, api: &'static str, there: Option<Value>) -> FakeServer {
    FakeServer::start(move |request| match (request.method.as_str(), request.path_only()) {
        ("GET", "/") => Reply::json(200, &root),
        ("GET", path) if path.starts_with(api) => match &there {
            Some(policy) => Reply::json(200, policy),
            None => {
                Reply::json(404, json!({"error": {"type": "resource_not_found_exception"}, "status": 404}))
            }
        },
        ("PUT", _) => Reply::json(200, r#"{"acknowledged":true}"#),
        _ => Reply::json(404, "{}"),
    })
}

fn puts(server: &FakeServer) -> Vec<(String, Value)> {
    let puts = server.requests().into_iter().filter(|request| request.method == "PUT");
    puts.map(|request| (request.path.clone(), request.json())).collect()
}

#[tokio::test]
async fn retention_is_told_to_ilm_and_named_in_the_template() {
    let elastic = || json!({"version": {"number": "8.19.21"}});
    let options = json!({"index": "flow-%{+YYYY}", "template": "install", "retention": "30d"});
    let server = with_policies(elastic(), "/_ilm/policy/", None);
    to(&server.url(), options.clone()).open().await.unwrap();
    let puts_made = puts(&server);
    assert_eq!(puts_made[0].0, "/_ilm/policy/flow");
    assert_eq!(
        puts_made[0].1["policy"]["phases"]["delete"],
        json!({"min_age": "396d", "actions": {"delete": {}}})
    );
    assert_eq!(puts_made[1].1["template"]["settings"]["index"]["lifecycle"]["name"], "flow");
    // The same again, another time, and one that is not ours.
    for (phases, written) in [
        (json!({"hot": {"actions": {}}, "delete": {"min_age": "396d", "actions": {"delete": {}}}}), false),
        (json!({"hot": {"actions": {}}, "delete": {"min_age": "7d", "actions": {"delete": {}}}}), true),
        (json!({"hot": {}, "warm": {}, "delete": {"min_age": "7d"}}), false),
    ] {
        let there = json!({"flow": {"version": 1, "policy": {"phases": phases}}});
        let server = with_policies(elastic(), "/_ilm/policy/", Some(there));
        to(&server.url(), options.clone()).open().await.unwrap();
        let policy = puts(&server).iter().any(|(path, _)| path == "/_ilm/policy/flow");
        assert_eq!(policy, written, "{phases}");
    }
}

#[tokio::test]
async fn retention_is_told_to_ism_by_its_number() {
    let open = json!({"version": {"number": "2.19.1", "distribution": "opensearch"}});
    let options =
        json!({"hosts": null, "index": null, "data_stream": {}, "template": "install", "retention": "30d"});
    let with = |server: &FakeServer| {
        let mut options = options.clone();
        options["hosts"] = json!([server.url()]);
        options.as_object_mut().unwrap().remove("index");
        sink("elasticsearch", &options).unwrap_or_else(|errors| panic!("{errors:?}"))
    };
    let server = with_policies(open.clone(), "/_plugins/_ism/policies/", None);
    with(&server).open().await.unwrap();
    let first = puts(&server);
    assert_eq!(first[0].0, "/_plugins/_ism/policies/logs-aws.vpcflow-default");
    let states = &first[0].1["policy"]["states"];
    assert_eq!(states[0]["transitions"][0]["conditions"]["min_rollover_age"], "30d");
    assert_eq!(states[0]["actions"][0]["rollover"]["min_size"], "50gb");
    let mut older = first[0].1.clone();
    older["policy"]["states"][0]["transitions"][0]["conditions"]["min_rollover_age"] = "7d".into();
    (older["_seq_no"], older["_primary_term"]) = (12.into(), 3.into());
    let server = with_policies(open, "/_plugins/_ism/policies/", Some(older));
    with(&server).open().await.unwrap();
    assert!(puts(&server)[0].0.ends_with("?if_seq_no=12&if_primary_term=3"), "{:?}", puts(&server)[0].0);
}

#[tokio::test]
async fn who_may_write_and_set_no_policy_is_told_which_privilege_is_missing() {
    let server = server(|request| {
        let said = r#"{"error":{"type":"security_exception","reason":"action [cluster:admin/ilm/get] is unauthorized"},"status":403}"#;
        request.path.starts_with("/_ilm").then(|| Reply::json(403, said))
    });
    let options = json!({"index": "flow-%{+YYYY.MM}", "retention": "30d", "template": "install"});
    let Verdict::Blocked { reason, detail, help } = to(&server.url(), options).open().await.unwrap_err()
    else {
        panic!("blocked")
    };
    assert_eq!(reason, "policy_refused");
    assert!(detail.contains("admin/ilm/get") && help.contains("manage_ilm"), "{detail}; {help}");
}

#[tokio::test]
async fn a_server_without_life_cycles_takes_events_all_the_same() {
    let server = server(|request| {
        let asked = request.path.starts_with("/_ilm");
        asked.then(|| Reply::json(400, json!({"error": "no handler found for uri [/_ilm/policy/flow]"})))
    });
    let sink =
        to(&server.url(), json!({"index": "flow-%{+YYYY.MM.dd}", "retention": "30d", "template": "install"}));
    sink.open().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        assert_eq!(deliver(&sink, 1).await, Verdict::Delivered);
    })
    .await
    .unwrap();
    let template = puts(&server).pop().unwrap().1;
    assert!(template["template"]["settings"]["index"]["lifecycle"].is_null());
}
