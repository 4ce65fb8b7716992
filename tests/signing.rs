//! Amazon OpenSearch: every request of the whole program is signed so that a server which verifies takes it, and each way
//! in which that fails says what to do.

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowstone_testkit::http::{FakeServer, Reply, Request};
use flowstone_testkit::sigv4::Verifier;
use serde_json::json;
use support::{Flowstone, binary, flow_lines};

const REGION: &str = "eu-west-1";
const KEY: (&str, &str) = ("AKIDFIRST", "secret/of+the=first");
/// A path in front of all others, escaped.
const PREFIX: &str = "/a%20prefix/%C3%BC";
const OTHER: (&str, &str) = ("AKIDSECOND", "secret-of-the-second");

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn verifier(service: &str, (id, secret): (&str, &str)) -> Arc<Mutex<Verifier>> {
    let keys = HashMap::from([(id.to_owned(), secret.to_owned())]);
    Arc::new(Mutex::new(Verifier { keys, region: REGION.into(), service: service.into(), now }))
}

/// A domain, or a collection, that takes what is signed well.
fn server(verifier: &Arc<Mutex<Verifier>>) -> FakeServer {
    let verifier = Arc::clone(verifier);
    FakeServer::start(move |request| {
        let verifier = verifier.lock().unwrap();
        if let Err(refusal) = verifier.verify(request) {
            return refusal;
        }
        let serverless = verifier.service == "aoss";
        match (request.method.as_str(), request.path_only().trim_start_matches(PREFIX)) {
            ("GET", "/") if !serverless => {
                Reply::json(200, json!({"version": {"number": "2.19.1", "distribution": "opensearch"}}))
            }
            ("PUT", path) if path.starts_with("/_index_template/") && !serverless => {
                Reply::json(200, r#"{"acknowledged":true}"#)
            }
            _ if request.is_bulk() => Reply::json(200, r#"{"errors":false}"#),
            _ => Reply::json(404, "{}"),
        }
    })
}

/// A run's folder: lines to read, and a configuration.
fn folder(url: &str, sink: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flow.log"), flow_lines(500).join("\n") + "\n").unwrap();
    let config = format!(
        r#"
[sources.in]
type = "file"
paths = ["flow.log"]
follow = false

[transforms.flow]
type = "vpcflow"
inputs = ["in"]

[sinks.es]
type = "elasticsearch"
inputs = ["flow"]
hosts = ["{url}"]
{sink}
"#
    );
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    folder
}

/// The program, with these keys and nothing else of AWS's around it.
fn flowstone(folder: &Path, arguments: &[&str], key: Option<(&str, &str)>) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .args(["-c", "flowstone.toml"])
        .current_dir(folder)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", folder.join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", folder.join("credentials"));
    if let Some((id, secret)) = key {
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    }
    command
}

fn documents(server: &FakeServer) -> usize {
    server.bulks().iter().map(|bulk| bulk.ndjson().len() / 2).sum()
}

#[test]
fn every_request_is_signed_whatever_stands_in_its_path_its_query_and_its_body() {
    for compression in ["none", "gzip"] {
        let verifier = verifier("es", KEY);
        let server = server(&verifier);
        let sink = format!(
            "index = \"flöw+~(a)-%{{+YYYY.MM.dd}}\"\ntemplate_name = \"t (1)~+*'ö\"\npipeline = \"geo & co~(*)+/ü\"\n\
             compression = \"{compression}\"\nauth.aws = {{ service = \"es\", region = \"{REGION}\" }}"
        );
        let folder = folder(&format!("{}{PREFIX}", server.url()), &sink);
        Flowstone::start(flowstone(folder.path(), &["run"], Some(KEY))).finish(Duration::from_secs(60));
        assert_eq!(documents(&server), 500);
        let requests = server.requests();
        assert!(requests.iter().all(|request| verifier.lock().unwrap().verify(request).is_ok()));
        let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
        assert!(methods.starts_with(&["GET"]) && methods.contains(&"PUT"), "{methods:?}");
        let bulk = &server.bulks()[0];
        assert!(bulk.path.contains("pipeline=geo%20%26%20co~%28%2A%29%2B%2F%C3%BC"), "{}", bulk.path);
        assert_eq!(bulk.header("content-encoding").is_some(), compression == "gzip");
    }
}

#[test]
fn serverless_is_asked_for_nothing_that_it_lacks() {
    let server = server(&verifier("aoss", KEY));
    let sink = format!(
        "index = \"flow\"\nid = \"auto\"\nauth.aws = {{ service = \"aoss\", region = \"{REGION}\" }}"
    );
    let folder = folder(&server.url(), &sink);
    let mut run = Flowstone::start(flowstone(folder.path(), &["run"], Some(KEY)));
    run.finish(Duration::from_secs(60));
    assert_eq!(documents(&server), 500);
    let requests = server.requests();
    assert!(requests.iter().all(Request::is_bulk), "{requests:?}");
    assert!(requests.iter().all(|request| request.header("x-amz-content-sha256").is_some()));
    assert!(run.log().contains("this server has none"), "{}", run.log());
}

#[test]
fn a_collection_for_time_series_says_that_it_takes_no_ids() {
    let said = r#"{"errors":true,"items":[{"create":{"_index":"flow","status":400,"error":{"type":"illegal_argument_exception","reason":"Document ID is not supported in create/index operation request"}}}]}"#;
    let server = FakeServer::start(move |_| Reply::json(200, said));
    let sink = format!(
        "index = \"flow\"\nbatch.max_rows = 1\nauth.aws = {{ service = \"aoss\", region = \"{REGION}\" }}"
    );
    let folder = folder(&server.url(), &sink);
    let mut run = Flowstone::start(flowstone(folder.path(), &["run"], Some(KEY)));
    run.wait_for_log("set id = \\\"auto\\\"", Duration::from_secs(60));
}

#[test]
fn what_is_wrong_with_a_signature_is_said_with_what_to_do() {
    let clock: fn() -> i64 = || now() + 3600;
    let es = format!("service = \"es\", region = \"{REGION}\"");
    type Case<'a> = (&'a str, String, Option<(&'a str, &'a str)>, fn() -> i64, &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("es", es.clone(), Some(KEY), clock, &["Signature expired", "set the clock of this machine"]),
        ("es", es.clone(), Some(OTHER), now, &["security token", "check the credentials"]),
        (
            "es",
            es.clone(),
            Some((KEY.0, "wrong")),
            now,
            &["signature we calculated", "check the credentials"],
        ),
        (
            "es",
            "service = \"es\", region = \"us-east-1\"".to_owned(),
            Some(KEY),
            now,
            &["not 'us-east-1'", "name the region"],
        ),
        ("aoss", es.clone(), Some(KEY), now, &["correct service: 'aoss'", "service = \"es\" for a domain"]),
        ("es", es, None, now, &["environment, shared files", "AWS_ACCESS_KEY_ID"]),
    ];
    for (service, auth, key, now, expected) in cases {
        let verifier = verifier(service, KEY);
        verifier.lock().unwrap().now = now;
        let server = server(&verifier);
        let folder = folder(&server.url(), &format!("index = \"flow\"\nauth.aws = {{ {auth} }}"));
        let output = flowstone(folder.path(), &["validate", "--connect"], key).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{expected:?}: {said}");
        assert!(expected.iter().all(|text| said.contains(text)), "{expected:?}: {said}");
        for secret in [KEY.1, OTHER.1] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[test]
fn a_role_is_taken_on_with_its_external_id_and_signs_with_a_token() {
    let sts = FakeServer::start(|_| {
        let credentials = format!(
            "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>a/token+of==</SessionToken>\
             <Expiration>2126-01-01T00:00:00Z</Expiration>",
            OTHER.0, OTHER.1
        );
        let reply = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
             {credentials}</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        );
        Reply::new(200).header("Content-Type", "text/xml").body(reply)
    });
    let server = server(&verifier("es", OTHER));
    let sink = format!(
        "index = \"flow\"\nauth.aws = {{ service = \"es\", region = \"{REGION}\", external_id = \"our-secret-id\", \
         role_arn = \"arn:aws:iam::123456789012:role/writer\" }}"
    );
    let folder = folder(&server.url(), &sink);
    let mut command = flowstone(folder.path(), &["run"], Some(KEY));
    command.env("AWS_ENDPOINT_URL_STS", sts.url());
    let mut run = Flowstone::start(command);
    run.finish(Duration::from_secs(60));
    assert_eq!(documents(&server), 500);
    let asked = sts.requests()[0].text();
    assert!(asked.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fwriter"), "{asked}");
    assert!(asked.contains("ExternalId=our-secret-id"), "{asked}");
    for request in server.requests() {
        let token = request.header("x-amz-security-token");
        assert_eq!(token, Some("a/token+of=="));
        let signed = request.header("authorization").unwrap_or_default();
        assert!(signed.contains("x-amz-security-token"), "{signed}");
    }
    assert!(!run.log().contains("our-secret-id") && !run.log().contains(OTHER.1), "{}", run.log());
}

#[test]
fn keys_that_are_replaced_are_read_anew_without_a_restart() {
    let verifier = verifier("es", KEY);
    let server = server(&verifier);
    let sink = format!("index = \"flow\"\nauth.aws = {{ service = \"es\", region = \"{REGION}\" }}");
    let folder = folder(&server.url(), &sink);
    let config = fs::read_to_string(folder.path().join("flowstone.toml")).unwrap();
    fs::write(folder.path().join("flowstone.toml"), config.replace("follow = false", "")).unwrap();
    let keep = |(id, secret): (&str, &str)| {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        fs::write(folder.path().join("credentials"), text).unwrap();
    };
    keep(KEY);
    let mut run = Flowstone::start(flowstone(folder.path(), &["run"], None));
    run.wait_until("the first lines", Duration::from_secs(60), || documents(&server) >= 500);
    verifier.lock().unwrap().keys = HashMap::from([(OTHER.0.to_owned(), OTHER.1.to_owned())]);
    let more = flow_lines(700)[500..].join("\n") + "\n";
    let path = folder.path().join("flow.log");
    let before = fs::read_to_string(&path).unwrap();
    fs::write(&path, before + &more).unwrap();
    run.wait_for_log("security token included in the request is invalid", Duration::from_secs(60));
    keep(OTHER);
    let good = |request: &Request| verifier.lock().unwrap().verify(request).is_ok();
    run.wait_until("the lines after the change", Duration::from_secs(90), || {
        server.bulks().iter().filter(|bulk| good(bulk)).map(|bulk| bulk.ndjson().len() / 2).sum::<usize>()
            >= 200
    });
    assert!(!run.log().contains(KEY.1) && !run.log().contains(OTHER.1));
}
