//! Where credentials, regions and endpoints come from, and how roles are assumed.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_smithy_types::DateTime;
use flowstone_aws::sdk::{Client, Role, Session, SessionSettings};
use flowstone_aws::{ErrorKind, GroupsRequest, LogsApi as _, Operation};
use flowstone_testkit::http::{FakeServer, Reply, Request};
use libtest_mimic::Trial;
use serde_json::json;
use tempfile::TempDir;

use super::operations::{amz_json, form, xml};
use super::{KEY, Probe, REGION, SECRET, TOKEN, block_on, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("no_credentials_anywhere_is_an_error_of_the_first_request", none),
        trial("a_profile_goes_before_the_environment", a_profile),
        trial("a_profile_that_does_not_exist_has_no_credentials", no_profile),
        trial("a_session_of_identity_center_that_was_not_begun_has_expired", identity_center),
        trial("an_instance_gives_its_role_and_its_region_and_is_asked_past_proxies", an_instance),
        trial("a_task_gives_its_role_past_proxies", a_task),
        trial("a_pods_token_is_changed_into_its_role", a_pod),
        trial("a_role_of_a_profile_is_assumed_and_its_refusal_is_one_of_assume_role", a_role_of_a_profile),
        trial("a_region_comes_from_the_settings_the_environment_or_the_profile", regions),
        trial("an_endpoint_comes_from_the_settings_the_service_or_all_services", endpoints),
        trial("a_role_is_assumed_once_for_many_requests", a_role),
        trial("a_role_that_is_not_given_is_an_error_of_assume_role", no_role),
        trial("credentials_that_were_refused_are_read_anew", read_anew),
        trial("credentials_are_renewed_before_their_end_and_used_until_it", renewed),
        trial("settings_that_cannot_be_right_are_refused_at_once", wrong_settings),
        trial("an_external_id_is_not_shown", not_shown),
    ]
}

const ROLE: &str = "arn:aws:iam::210987654321:role/reader";
const SECRET_OF_ROLE: &str = "secretoftherole+/0123456789";
const TOKEN_OF_ROLE: &str = "tokenoftherole==";

/// Log groups that are none, so that a request succeeds.
fn no_groups() -> FakeServer {
    FakeServer::start(|_| amz_json(200, r#"{"logGroups":[]}"#))
}

/// The access key that a request was signed with.
fn key(request: &Request) -> String {
    let authorization = request.header("authorization").expect("a signature");
    let (_, rest) = authorization.split_once("Credential=").expect("a credential");
    rest.split('/').next().expect("a key").to_owned()
}

/// A folder with the shared files, and the probe that reads them.
fn files(config: &str, credentials: &str) -> (TempDir, Probe) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config"), config).unwrap();
    fs::write(folder.path().join("credentials"), credentials).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let probe = Probe::default()
        .env("AWS_CONFIG_FILE", path("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", path("credentials"))
        .env("HOME", folder.path().display());
    (folder, probe)
}

fn none() {
    let server = no_groups();
    let said = Probe::default().env("SET_ENDPOINT", server.url()).ask("groups");
    assert!(said.contains("NoCredentials") && said.contains("DescribeLogGroups"), "{said}");
    assert_eq!(server.requests().len(), 0);
}

fn a_profile() {
    let (_folder, probe) = files(
        "[profile other]\nregion = us-west-2\n",
        "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = x\n\
         [other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = y\n",
    );
    let server = no_groups();
    let probe = probe.env("SET_ENDPOINT", server.url());
    assert!(probe.ask("groups").starts_with("Ok("));
    let probe = probe.keys();
    assert!(probe.ask("groups").starts_with("Ok("));
    let probe = probe.env("SET_PROFILE", "other");
    assert!(probe.ask("groups").starts_with("Ok("));
    let keys: Vec<_> = server.requests().iter().map(key).collect();
    assert_eq!(keys, ["AKIDDEFAULT", KEY, "AKIDOTHER"]);
}

fn no_profile() {
    let server = no_groups();
    let said =
        Probe::default().keys().env("SET_ENDPOINT", server.url()).env("SET_PROFILE", "nobody").ask("groups");
    assert!(said.contains("NoCredentials") && said.contains("nobody"), "{said}");
}

fn identity_center() {
    let (_folder, probe) = files(
        "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = reader\nregion = eu-west-1\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n",
        "",
    );
    let said = probe.env("SET_ENDPOINT", "http://127.0.0.1:1").ask("groups");
    assert!(said.contains("ExpiredCredentials"), "{said}");
}

fn an_instance() {
    let instance = FakeServer::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => {
            Reply::new(200).header("x-aws-ec2-metadata-token-ttl-seconds", "21600").body("t")
        }
        (_, "/latest/meta-data/placement/region") => Reply::new(200).body("ap-south-1"),
        (_, path) if path.trim_end_matches('/').ends_with("reader") => Reply::json(
            200,
            json!({
                "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-28T04:00:00Z", "AccessKeyId": "AKIDINSTANCE",
                "SecretAccessKey": "x", "Token": "y", "Expiration": "2099-11-28T04:00:00Z", "AccountId": "123456789012",
            }),
        ),
        (_, path) if path.contains("security-credentials") => Reply::new(200).body("reader"),
        _ => Reply::new(404),
    });
    let server = no_groups();
    let probe = Probe::default()
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url())
        .env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", server.url())
        .env("HTTP_PROXY", server.url());
    let said = probe.ask("groups");
    assert!(said.starts_with("Ok("), "{said}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(key(&requests[0]), "AKIDINSTANCE");
    assert!(requests[0].header("authorization").unwrap().contains("/ap-south-1/logs/"));

    // With keys in the environment nobody waits for an instance that may not be there.
    let asked = instance.requests().len();
    assert_eq!(probe.keys().ask("region").trim(), "None");
    assert_eq!(instance.requests().len(), asked);
}

fn a_task() {
    let task = FakeServer::start(|request| match request.path.as_str() {
        "/credentials" => Reply::json(
            200,
            json!({
                "AccessKeyId": "AKIDTASK", "SecretAccessKey": "x", "Token": "y", "Expiration": "2099-11-28T04:00:00Z",
            }),
        ),
        _ => Reply::new(404),
    });
    let server = no_groups();
    let said = Probe::default()
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/credentials", task.url()))
        .env("AWS_REGION", REGION)
        .env("AWS_ENDPOINT_URL", server.url())
        .env("HTTP_PROXY", server.url())
        .ask("groups");
    assert!(said.starts_with("Ok("), "{said}");
    let keys: Vec<_> = server.requests().iter().map(key).collect();
    assert_eq!(keys, ["AKIDTASK"]);
}

/// A service that gives roles, and log groups (none) to who has one.
fn giver_of_roles() -> FakeServer {
    FakeServer::start(|request| match request.header("x-amz-target") {
        Some(_) => amz_json(200, r#"{"logGroups":[]}"#),
        None => {
            let with_token = request.text().contains("WithWebIdentity");
            let action = if with_token { "AssumeRoleWithWebIdentity" } else { "AssumeRole" };
            given(action, "AKIDROLE", "2099-01-01T00:00:00Z")
        }
    })
}

fn a_pod() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "a.token.of.the.pod").unwrap();
    let server = giver_of_roles();
    let probe = Probe::default()
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.display())
        .env("AWS_ROLE_ARN", ROLE)
        .env("AWS_ROLE_SESSION_NAME", "pod")
        .env("AWS_REGION", REGION)
        .env("AWS_ENDPOINT_URL", server.url());
    let said = probe.ask("groups");
    assert!(said.starts_with("Ok("), "{said}");
    let requests = server.requests();
    let form = form(&requests[0]);
    assert!(form.contains(&("Action".to_owned(), "AssumeRoleWithWebIdentity".to_owned())), "{form:?}");
    assert!(form.contains(&("WebIdentityToken".to_owned(), "a.token.of.the.pod".to_owned())), "{form:?}");
    assert_eq!(key(&requests[1]), "AKIDROLE");

    let refusal = "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>Token expired</Message></Error></ErrorResponse>";
    let server = FakeServer::start(move |_| xml(400, refusal));
    let said = probe.env("AWS_ENDPOINT_URL", server.url()).ask("groups");
    assert!(said.contains("AssumeRole") && said.contains("ExpiredCredentials"), "{said}");
    assert!(!said.contains("a.token.of.the.pod"), "{said}");
}

fn a_role_of_a_profile() {
    let config =
        format!("[profile reader]\nrole_arn = {ROLE}\nsource_profile = default\nregion = {REGION}\n");
    let (_folder, probe) =
        files(&config, "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = x\n");
    let probe = probe.env("SET_PROFILE", "reader");
    let server = giver_of_roles();
    let said = probe.env("AWS_ENDPOINT_URL", server.url()).ask("groups");
    assert!(said.starts_with("Ok("), "{said}");
    let keys: Vec<_> = server.requests().iter().map(key).collect();
    assert_eq!(keys, ["AKIDDEFAULT", "AKIDROLE"]);

    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you. The Canonical String for this request should have been 'x-amz-security-token:hidden'</Message></Error></ErrorResponse>";
    let server = FakeServer::start(move |_| xml(403, refusal));
    let (_folder, probe) =
        files(&config, "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = x\n");
    let said = probe.env("SET_PROFILE", "reader").env("AWS_ENDPOINT_URL", server.url()).ask("groups");
    assert!(
        said.contains("AssumeRole") && said.contains("AccessDenied") && said.contains("not you"),
        "{said}"
    );
    assert!(!said.contains("hidden"), "{said}");
}

fn regions() {
    let (_folder, probe) = files("[default]\nregion = eu-north-1\n[profile other]\nregion = sa-east-1\n", "");
    let region = |probe: &Probe| probe.ask("region").trim().to_owned();
    assert_eq!(region(&Probe::default().keys()), "None");
    assert_eq!(region(&probe), "Some(\"eu-north-1\")");
    let probe = probe.env("SET_PROFILE", "other");
    assert_eq!(region(&probe), "Some(\"sa-east-1\")");
    let probe = probe.env("AWS_DEFAULT_REGION", "us-east-2");
    assert_eq!(region(&probe), "Some(\"us-east-2\")");
    let probe = probe.env("AWS_REGION", "us-west-1");
    assert_eq!(region(&probe), "Some(\"us-west-1\")");
    assert_eq!(region(&probe.env("SET_REGION", "cn-north-1")), "Some(\"cn-north-1\")");
}

fn endpoints() {
    let server = |name: &'static str| {
        let refusal = format!(r#"{{"__type":"AccessDeniedException","message":"I am {name}"}}"#);
        let error = format!("<E><Error><Code>AccessDenied</Code><Message>I am {name}</Message></Error></E>");
        FakeServer::start(move |request| match request.header("x-amz-target") {
            Some(_) => amz_json(400, &refusal),
            None => xml(403, &error),
        })
    };
    let [all, logs, ec2, monitoring, sts, set] =
        ["all", "logs", "ec2", "monitoring", "sts", "set"].map(server);
    let asks = |probe: &Probe, expect: [&str; 4]| {
        for (what, name) in ["groups", "flow logs", "minutes", "account"].into_iter().zip(expect) {
            let said = probe.ask(what);
            assert!(said.contains(&format!("I am {name}\"")), "{what}: {said}");
        }
    };
    let probe =
        Probe::default().keys().env("AWS_REGION", REGION).env("AWS_ENDPOINT_URL", format!("{}/", all.url()));
    asks(&probe, ["all"; 4]);
    let probe = probe
        .env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.url())
        .env("AWS_ENDPOINT_URL_EC2", ec2.url())
        .env("AWS_ENDPOINT_URL_CLOUDWATCH", monitoring.url())
        .env("AWS_ENDPOINT_URL_STS", sts.url());
    asks(&probe, ["logs", "ec2", "monitoring", "sts"]);
    asks(&probe.env("SET_ENDPOINT", set.url()), ["set"; 4]);
}

fn assumed(key: &str, end: &str) -> Reply {
    given("AssumeRole", key, end)
}

/// What STS answers to `action`.
fn given(action: &str, key: &str, end: &str) -> Reply {
    xml(
        200,
        &format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><AssumedRoleUser>\
             <Arn>arn:aws:sts::210987654321:assumed-role/reader/flowstone</Arn><AssumedRoleId>AROA:flowstone</AssumedRoleId>\
             </AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{SECRET_OF_ROLE}</SecretAccessKey>\
             <SessionToken>{TOKEN_OF_ROLE}</SessionToken><Expiration>{end}</Expiration></Credentials></{action}Result>\
             </{action}Response>"
        ),
    )
}

fn with_role(server: &FakeServer, region: Option<&str>) -> SessionSettings {
    let external_id = Some("of our contract".to_owned());
    SessionSettings {
        endpoint: Some(server.url()),
        region: region.map(str::to_owned),
        role: Some(Role { arn: ROLE.to_owned(), external_id, session_name: "flowstone-vpc".to_owned() }),
        ..SessionSettings::default()
    }
}

fn a_role() {
    let server = FakeServer::start(|request| match request.header("x-amz-target") {
        Some(_) => amz_json(200, r#"{"logGroups":[]}"#),
        None if request.text().contains("Action=AssumeRole") => assumed("AKIDROLE", "2099-01-01T00:00:00Z"),
        None => xml(200, "<DescribeFlowLogsResponse/>"),
    });
    block_on(async {
        let session = Session::load(&with_role(&server, None)).await.unwrap();
        assert_eq!(session.region(), None);
        let (one, other) = (Client::new(&session, REGION), Client::new(&session.clone(), "us-west-2"));
        let request = GroupsRequest::default();
        let (a, b, c) = tokio::join!(
            one.describe_log_groups(&request),
            other.describe_log_groups(&request),
            one.describe_flow_logs("/vpc/flow")
        );
        assert_eq!((a.is_ok(), b.is_ok(), c), (true, true, Ok(Vec::new())));
    });
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let form = form(&requests[0]);
    for (name, value) in [
        ("Action", "AssumeRole"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "flowstone-vpc"),
        ("ExternalId", "of our contract"),
    ] {
        assert!(form.contains(&(name.to_owned(), value.to_owned())), "{name}: {form:?}");
    }
    assert_eq!(key(&requests[0]), KEY);
    assert!(requests[0].header("authorization").unwrap().contains("/us-east-1/sts/"));
    for request in &requests[1..] {
        assert_eq!(key(request), "AKIDROLE");
        assert_eq!(request.header("x-amz-security-token"), Some(TOKEN_OF_ROLE));
    }
}

fn no_role() {
    use ErrorKind::*;
    let said =
        "User: arn:aws:iam::123456789012:user/x is not authorized to perform: sts:AssumeRole on resource: y";
    for (status, code, message, kind) in [
        (403, "AccessDenied", said.to_owned(), AccessDenied),
        (403, "ExpiredToken", format!("The token {TOKEN} is expired"), ExpiredCredentials),
        (403, "InvalidClientTokenId", String::new(), NoCredentials),
        (403, "SignatureDoesNotMatch", "Signature expired: x is now earlier than y".to_owned(), ClockSkew),
        (403, "RegionDisabledException", "STS is not activated in this region".to_owned(), WrongRegion),
        (400, "Throttling", "Rate exceeded".to_owned(), Throttled),
        (503, "ServiceUnavailable", String::new(), Unavailable),
    ] {
        let body = format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        );
        let server = FakeServer::start(move |_| xml(status, &body));
        let error = block_on(async {
            let client =
                Client::new(&Session::load(&with_role(&server, Some(REGION))).await.unwrap(), REGION);
            client.describe_log_groups(&GroupsRequest::default()).await.unwrap_err()
        });
        assert_eq!(
            (error.operation, error.kind, error.code.as_str()),
            (Operation::AssumeRole, kind, code),
            "{error}"
        );
        assert!(!format!("{error:?}").contains(TOKEN), "{error:?}");
        assert_eq!(server.requests().len(), 1, "{code}");
    }
    // Nobody there, and nobody to ask as.
    let error = block_on(async {
        let server = FakeServer::start(|_| Reply::hang_up());
        let client = Client::new(&Session::load(&with_role(&server, Some(REGION))).await.unwrap(), REGION);
        client.describe_flow_logs("/vpc/flow").await.unwrap_err()
    });
    assert_eq!((error.operation, error.kind), (Operation::AssumeRole, Unavailable), "{error}");
    let said = Probe::default().env("SET_ENDPOINT", "http://127.0.0.1:1").env("SET_ROLE", ROLE).ask("groups");
    assert!(said.contains("AssumeRole") && said.contains("NoCredentials"), "{said}");
}

/// One after the other: what a service refuses as unknown or expired is not used again.
fn read_anew() {
    static ASSUMED: AtomicUsize = AtomicUsize::new(0);
    let server = FakeServer::start(|request| {
        if request.text().contains("Action=AssumeRole") {
            let number = ASSUMED.fetch_add(1, Ordering::SeqCst);
            return assumed(&format!("AKIDROLE{number}"), "2099-01-01T00:00:00Z");
        }
        match key(request).as_str() {
            "AKIDROLE0" => amz_json(400, r#"{"__type":"ExpiredTokenException","message":"expired"}"#),
            "AKIDROLE1" => amz_json(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
            _ => panic!("a third role"),
        }
    });
    block_on(async {
        let client = Client::new(&Session::load(&with_role(&server, Some(REGION))).await.unwrap(), REGION);
        for kind in [ErrorKind::ExpiredCredentials, ErrorKind::Throttled, ErrorKind::Throttled] {
            let error = client.describe_log_groups(&GroupsRequest::default()).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
        }
    });
    assert_eq!(ASSUMED.load(Ordering::SeqCst), 2);
}

fn renewed() {
    let begin = SystemTime::now();
    let end = DateTime::from(begin + Duration::from_secs(6)).to_string();
    let assumed_once = AtomicUsize::new(0);
    let server = FakeServer::start(move |request| {
        if !request.text().contains("Action=AssumeRole") {
            return amz_json(200, r#"{"logGroups":[]}"#);
        }
        match assumed_once.fetch_add(1, Ordering::SeqCst) {
            0 => assumed("AKIDROLE", &end),
            _ => xml(503, "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>"),
        }
    });
    let assumed = |server: &FakeServer| {
        server.requests().iter().filter(|request| request.header("x-amz-target").is_none()).count()
    };
    block_on(async {
        let client = Client::new(&Session::load(&with_role(&server, Some(REGION))).await.unwrap(), REGION);
        let request = GroupsRequest::default();
        client.describe_log_groups(&request).await.unwrap();
        client.describe_log_groups(&request).await.unwrap();
        assert_eq!(assumed(&server), 1);
        // Half of their life is over: there are no new ones, and these are still good.
        tokio::time::sleep(Duration::from_secs(4)).await;
        client.describe_log_groups(&request).await.unwrap();
        client.describe_log_groups(&request).await.unwrap();
        assert_eq!(assumed(&server), 2);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let error = client.describe_log_groups(&request).await.unwrap_err();
        assert_eq!((error.operation, error.kind), (Operation::AssumeRole, ErrorKind::Unavailable), "{error}");
    });
}

fn wrong_settings() {
    let begin = Instant::now();
    let role = |arn: &str| {
        let role = Role { arn: arn.to_owned(), external_id: None, session_name: "x".to_owned() };
        SessionSettings { role: Some(role), ..SessionSettings::default() }
    };
    let endpoint =
        |url: &str| SessionSettings { endpoint: Some(url.to_owned()), ..SessionSettings::default() };
    for settings in [
        role("reader"),
        role("arn:aws:iam::210987654321:user/x"),
        endpoint("localhost:5000"),
        endpoint("https://"),
        endpoint("https://user:password@host"),
    ] {
        let error = block_on(Session::load(&settings)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{settings:?}");
        assert!(!error.message.contains("password"), "{error}");
    }
    assert!(begin.elapsed().as_secs() < 5, "nothing was asked for");
}

fn not_shown() {
    let server = no_groups();
    let settings = with_role(&server, Some(REGION));
    let session = block_on(Session::load(&settings)).unwrap();
    let text = format!("{settings:?} {session:?} {:?}", Client::new(&session, REGION));
    for secret in ["of our contract", SECRET, TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains(ROLE), "{text}");
}
