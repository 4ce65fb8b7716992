//! The client against moto, which answers as AWS does: what goes in comes out, page by page, account by account.
//!
//! The keys have to come from the environment, which a process cannot change for itself: it runs itself again. All
//! tests share one server and have groups of their own in it.

use std::collections::HashMap;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowstone_aws::sdk::{Client, Role, Session, SessionSettings};
use flowstone_aws::{
    ErrorKind, FilterRequest, GroupsRequest, LogGroupName, LogsApi as _, Operation, StreamFilter,
};
use flowstone_testkit::http::{FakeServer, Reply};
use flowstone_testkit::moto::{self, ACCESS_KEY};
use flowstone_testkit::servers::{self, Installed, Node};
use flowstone_testkit::sigv4::Verifier;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;

const REGION: &str = "eu-west-1";
/// What moto takes for the account of keys that it did not make.
const ACCOUNT: &str = "123456789012";

fn main() -> ExitCode {
    if std::env::var("AWS_ACCESS_KEY_ID").as_deref() != Ok(ACCESS_KEY) {
        let mut tests = Command::new(std::env::current_exe().expect("a path to this program"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy") {
                tests.env_remove(name);
            }
        }
        tests
            .args(std::env::args_os().skip(1))
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", "x");
        return if tests.status().expect("this program again").success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let moto = servers::moto();
    // One server for all tests; it ends with the last of them.
    let shared: Arc<Mutex<Option<Arc<Node>>>> = Arc::default();
    let trial = |name: &str, test: fn(&Moto) -> Result<(), Failed>| {
        let shared = Arc::clone(&shared);
        servers::trial(name, moto, move |installed| test(&Moto { node: node(&shared, installed)? }))
    };
    let tests: Vec<Trial> = vec![
        trial("events_come_back_as_they_were_put", events),
        trial("a_page_ends_at_its_limit_and_the_next_goes_on", pages),
        trial("a_missing_group_is_not_found", missing),
        trial("groups_come_fifty_by_fifty", groups),
        trial("a_flow_log_is_found_by_its_group", flow_logs),
        trial("a_group_without_traffic_has_no_minutes", no_minutes),
        trial("minutes_of_a_metric_are_counted", minutes),
        trial("a_role_sees_its_own_account", role),
        trial("regions_are_apart", regions),
        servers::trial("botocores_signatures_are_what_the_verifier_takes", moto, botocore),
    ];
    let code = libtest_mimic::run(&Arguments::from_args(), tests).exit_code();
    drop(shared);
    code
}

fn node(shared: &Mutex<Option<Arc<Node>>>, installed: &Installed) -> Result<Arc<Node>, Failed> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(node) = &*shared {
        return Ok(Arc::clone(node));
    }
    let node = Arc::new(installed.start(&[])?);
    *shared = Some(Arc::clone(&node));
    Ok(node)
}

// === the server, and what is put into it past our client ===

struct Moto {
    node: Arc<Node>,
}

impl Moto {
    async fn client(&self) -> Client {
        Client::new(&self.session(None).await, REGION)
    }

    async fn session(&self, role: Option<Role>) -> Session {
        let settings = SessionSettings {
            region: Some(REGION.to_owned()),
            endpoint: Some(self.node.url()),
            role,
            ..SessionSettings::default()
        };
        Session::load(&settings).await.expect("a session")
    }

    /// Past our client.
    fn inside(&self) -> moto::Moto<'_> {
        moto::Moto::new(&self.node, REGION)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

fn request(group: &str, start_ms: i64, end_ms: i64) -> FilterRequest {
    FilterRequest {
        group: LogGroupName::own(group),
        start_ms,
        end_ms,
        streams: StreamFilter::All,
        pattern: String::new(),
        token: None,
    }
}

// === tests ===

fn events(moto: &Moto) -> Result<(), Failed> {
    let group = "/events";
    moto.inside().make_group(group, &["eni-1-all", "eni-2-all"]);
    let at = now_ms() - 60_000;
    moto.inside().put(group, "eni-1-all", &[(at, "first \u{e9}".to_owned()), (at + 2, "third".to_owned())]);
    moto.inside().put(group, "eni-2-all", &[(at + 1, "second".to_owned()), (at + 3, "beyond".to_owned())]);
    block_on(async {
        let client = moto.client().await;
        let page = client.filter_log_events(&request(group, at, at + 2)).await?;
        let found: Vec<_> = page
            .events
            .iter()
            .map(|e| (e.timestamp - at, e.message.as_str(), e.log_stream.as_str()))
            .collect();
        let expect =
            [(0, "first \u{e9}", "eni-1-all"), (1, "second", "eni-2-all"), (2, "third", "eni-1-all")];
        assert_eq!(found, expect);
        assert_eq!(page.next_token, None);
        assert!(page.events.iter().all(|e| e.event_id.parse::<u64>().is_ok()), "moto counts its events");
        assert!(page.events.iter().all(|e| (at..=now_ms()).contains(&e.ingestion_time)));
        let asked_at = page.asked_at_ms.expect("a Date");
        assert!((now_ms() - 30_000..=now_ms()).contains(&asked_at), "{asked_at}");

        let names = StreamFilter::Names(vec!["eni-2-all".to_owned()]);
        let page =
            client.filter_log_events(&FilterRequest { streams: names, ..request(group, at, at + 2) }).await?;
        assert_eq!(page.events.len(), 1);
        let pattern = FilterRequest { pattern: "third".to_owned(), ..request(group, at, at + 9) };
        assert_eq!(client.filter_log_events(&pattern).await?.events.len(), 1);
        Ok(())
    })
}

fn pages(moto: &Moto) -> Result<(), Failed> {
    const EVENTS: usize = 10_500;
    let group = "/pages";
    moto.inside().make_group(group, &["eni-1-all"]);
    let at = now_ms() - 60_000;
    let events: Vec<(i64, String)> = (0..EVENTS).map(|n| (at + n as i64, format!("2 {n}"))).collect();
    for batch in events.chunks(5_000) {
        moto.inside().put(group, "eni-1-all", batch);
    }
    block_on(async {
        let client = moto.client().await;
        let first = client.filter_log_events(&request(group, at, at + 60_000)).await?;
        assert_eq!(first.events.len(), 10_000);
        assert!(first.next_token.is_some());
        let rest = FilterRequest { token: first.next_token, ..request(group, at, at + 60_000) };
        let second = client.filter_log_events(&rest).await?;
        assert_eq!(second.next_token, None);
        let messages: Vec<_> =
            first.events.iter().chain(&second.events).map(|e| e.message.as_str()).collect();
        assert_eq!(messages.len(), EVENTS);
        assert!(messages.iter().enumerate().all(|(n, message)| *message == format!("2 {n}")), "in order");
        Ok(())
    })
}

fn missing(moto: &Moto) -> Result<(), Failed> {
    let error = block_on(async { moto.client().await.filter_log_events(&request("/missing", 0, 1)).await });
    let error = error.expect_err("no such group");
    assert_eq!((error.operation, error.kind), (Operation::FilterLogEvents, ErrorKind::NotFound), "{error}");
    assert_eq!(error.code, "ResourceNotFoundException");
    Ok(())
}

fn groups(moto: &Moto) -> Result<(), Failed> {
    for n in 0..60 {
        moto.inside().make_group(&format!("/groups/{n:02}"), &[]);
    }
    moto.inside().logs("PutRetentionPolicy", json!({"logGroupName": "/groups/07", "retentionInDays": 14}));
    block_on(async {
        let client = moto.client().await;
        let mut request = GroupsRequest { prefix: "/groups/".to_owned(), token: None };
        let first = client.describe_log_groups(&request).await?;
        assert_eq!(first.groups.len(), 50);
        request.token = first.next_token;
        assert!(request.token.is_some());
        let second = client.describe_log_groups(&request).await?;
        assert_eq!(second.next_token, None);
        let groups: Vec<_> = first.groups.iter().chain(&second.groups).collect();
        for (n, group) in groups.iter().enumerate() {
            assert_eq!(group.name, format!("/groups/{n:02}"));
            assert_eq!(group.retention_days, (n == 7).then_some(14));
            assert!(group.created_ms.is_some_and(|ms| (now_ms() - 600_000..=now_ms()).contains(&ms)));
        }
        assert_eq!(groups.len(), 60);
        Ok(())
    })
}

fn flow_logs(moto: &Moto) -> Result<(), Failed> {
    let (group, format) = ("/flow-logs", "${version} ${account-id} ${tcp-flags}");
    moto.inside().make_group(group, &[]);
    moto.inside().make_group("/flow-logs/other", &[]);
    let vpc = moto
        .inside()
        .query("ec2", &[("Action", "CreateVpc"), ("Version", "2016-11-15"), ("CidrBlock", "10.9.0.0/16")]);
    let vpc = between(&vpc, "<vpcId>", "</vpcId>");
    let role = moto.inside().query(
        "iam",
        &[
            ("Action", "CreateRole"),
            ("Version", "2010-05-08"),
            ("RoleName", "flow-logs"),
            ("AssumeRolePolicyDocument", r#"{"Version":"2012-10-17","Statement":[]}"#),
        ],
    );
    let role = between(&role, "<Arn>", "</Arn>");
    for (group, more) in
        [(group, &[("LogFormat", format), ("MaxAggregationInterval", "60")][..]), ("/flow-logs/other", &[])]
    {
        let mut form = vec![
            ("Action", "CreateFlowLogs"),
            ("Version", "2016-11-15"),
            ("ResourceType", "VPC"),
            ("ResourceId.1", vpc),
            ("TrafficType", "ALL"),
            ("LogGroupName", group),
            ("DeliverLogsPermissionArn", role),
        ];
        form.extend(more);
        moto.inside().query("ec2", &form);
    }
    block_on(async {
        let client = moto.client().await;
        let found = client.describe_flow_logs(group).await?;
        let [flow_log] = &found[..] else { panic!("one, not {found:?}") };
        assert!(flow_log.id.starts_with("fl-"), "{flow_log:?}");
        assert_eq!((flow_log.format.as_str(), flow_log.aggregation_s), (format, 60));
        assert!(flow_log.created_ms.is_some_and(|ms| (now_ms() - 600_000..=now_ms() + 1_000).contains(&ms)));
        let other = client.describe_flow_logs("/flow-logs/other").await?;
        assert_eq!(other.len(), 1);
        assert_eq!(other[0].aggregation_s, 600);
        assert!(other[0].format.starts_with("${version} ${account-id}"), "{other:?}");
        assert_eq!(client.describe_flow_logs("/missing").await?, []);
        Ok(())
    })
}

fn no_minutes(moto: &Moto) -> Result<(), Failed> {
    let now = now_ms();
    let minutes = block_on(async {
        moto.client().await.incoming_log_events("/missing", now - 3_600_000, now, 60).await
    });
    assert_eq!(minutes?, []);
    Ok(())
}

fn minutes(moto: &Moto) -> Result<(), Failed> {
    let minute = now_ms() / 60_000 * 60_000 - 600_000;
    for (offset_s, count) in [(0, "2"), (30, "3"), (60, "1000")] {
        let time = UNIX_EPOCH + Duration::from_secs((minute / 1000 + offset_s) as u64);
        let time = aws_smithy_types::DateTime::from(time);
        moto.inside().query(
            "monitoring",
            &[
                ("Action", "PutMetricData"),
                ("Version", "2010-08-01"),
                ("Namespace", "AWS/Logs"),
                ("MetricData.member.1.MetricName", "IncomingLogEvents"),
                ("MetricData.member.1.Dimensions.member.1.Name", "LogGroupName"),
                ("MetricData.member.1.Dimensions.member.1.Value", "/minutes"),
                ("MetricData.member.1.Timestamp", &time.to_string()),
                ("MetricData.member.1.Value", count),
            ],
        );
    }
    let found = block_on(async {
        moto.client().await.incoming_log_events("/minutes", minute, minute + 180_000, 60).await
    })?;
    let found: Vec<_> = found.iter().map(|count| (count.minute_ms - minute, count.events)).collect();
    assert_eq!(found, [(0, 5), (60_000, 1000)]);
    Ok(())
}

fn role(moto: &Moto) -> Result<(), Failed> {
    moto.inside().make_group("/role/of-our-account", &[]);
    let other = "210987654321";
    let role = Role {
        arn: format!("arn:aws:iam::{other}:role/reader"),
        external_id: Some("of our contract".to_owned()),
        session_name: "flowstone".to_owned(),
    };
    block_on(async {
        let ours = moto.client().await;
        let theirs = Client::new(&moto.session(Some(role)).await, REGION);
        assert_eq!(ours.account_id().await?, ACCOUNT);
        assert_eq!(theirs.account_id().await?, other);
        let request = GroupsRequest { prefix: "/role/".to_owned(), token: None };
        assert_eq!(ours.describe_log_groups(&request).await?.groups.len(), 1);
        assert_eq!(theirs.describe_log_groups(&request).await?.groups, []);
        Ok(())
    })
}

fn regions(moto: &Moto) -> Result<(), Failed> {
    moto.inside().make_group("/regions", &[]);
    block_on(async {
        let session = moto.session(None).await;
        let request = GroupsRequest { prefix: "/regions".to_owned(), token: None };
        for (region, expect) in [(REGION, 1), ("us-west-2", 0)] {
            let client = Client::new(&session, region);
            assert_eq!(
                client.describe_log_groups(&request).await?.groups.len(),
                expect,
                "{}",
                client.region()
            );
        }
        Ok(())
    })
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end} in {text}")).0
}

/// Signs with botocore, which moto stands on, and sends over HTTP: (service, method, path, body), tampered or not.
const BOTOCORE: &str = r#"
import http.client, sys
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

host = sys.argv[1]
for service, token in (("es", None), ("aoss", "to/k+en==")):
    for method, path, body in (
        ("GET", "/", b""),
        ("HEAD", "/_index_template/flow", b""),
        ("POST", "/_bulk?filter_path=errors%2Citems.%2A.status&timeout=30000ms", b'{"create":{}}\n{}\n' * 1000),
        ("PUT", "/flow-%C3%B6%20%28a%29/_doc/x%2By", b"{}"),
        ("POST", "/%3Cflow-%7Bnow%2Fd%7D%3E/_bulk?pipeline=geo%20%26%20co~&b=2&a=1&a=0", b"\x1f\x8b\x00"),
    ):
        request = AWSRequest(method, "http://" + host + path, data=body, headers={"content-type": "application/json"})
        if service == "aoss":
            request.headers["X-Amz-Content-SHA256"] = __import__("hashlib").sha256(body).hexdigest()
        SigV4Auth(Credentials("AKIDMOTO", "se/cr+et", token), service, "eu-west-1").add_auth(request)
        for change, expected in ((b"", 200), (b"x", 403)):
            connection = http.client.HTTPConnection(host)
            connection.request(method, path, body + change, dict(request.headers.items()))
            status = connection.getresponse().status
            connection.close()
            assert status == expected, (service, method, path, change, status)
print("all as expected")
"#;

fn botocore(installed: &Installed) -> Result<(), Failed> {
    let now = || now_ms() / 1000;
    let verifiers = ["es", "aoss"].map(|service| Verifier {
        keys: HashMap::from([(ACCESS_KEY.to_owned(), "se/cr+et".to_owned())]),
        region: REGION.to_owned(),
        service: service.to_owned(),
        now,
    });
    let server = FakeServer::start(move |request| {
        let refused =
            verifiers.iter().filter_map(|verifier| verifier.verify(request).err()).collect::<Vec<_>>();
        if refused.len() < verifiers.len() { Reply::new(200) } else { refused[0].clone() }
    });
    let url = server.url();
    let host = url.strip_prefix("http://").expect("plain HTTP");
    let output = Command::new(installed.program()).args(["-c", BOTOCORE, host]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    Ok(())
}
