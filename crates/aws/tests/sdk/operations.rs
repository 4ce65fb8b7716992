//! What each operation sends, and what it makes of a good answer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::date_time::{DateTime, Format};
use flowstone_aws::{
    ErrorKind, FilterPage, FilterRequest, FlowLog, GroupsPage, GroupsRequest, LogEvent, LogGroup,
    LogGroupName, LogsApi as _, MinuteCount, StreamFilter,
};
use flowstone_testkit::http::{FakeServer, Reply, Request};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{KEY, REGION, SECRET, TOKEN, block_on, client, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("a_page_of_events_is_asked_for_and_read", a_page_of_events),
        trial("streams_patterns_tokens_and_foreign_groups_reach_the_service", what_is_asked_for),
        trial("the_time_of_asking_is_the_services_and_never_too_late", the_time_of_asking),
        trial("a_page_without_events_may_have_a_token", a_page_without_events),
        trial("log_groups_come_page_by_page", log_groups),
        trial("flow_logs_are_read_to_the_last_page", flow_logs),
        trial("minutes_are_read_to_the_last_page_and_only_those_asked_for", minutes),
        trial("an_account_is_told", an_account),
        trial("a_request_of_our_own_is_signed_as_it_is_sent", signed),
        trial("a_page_that_names_itself_as_the_next_ends_the_reading", an_endless_page),
        trial("pages_without_end_are_given_up_after_a_bounded_number", pages_without_end),
    ]
}

pub(crate) fn a_request() -> FilterRequest {
    FilterRequest {
        group: LogGroupName::own("/vpc/flow"),
        start_ms: 1_000,
        end_ms: 1_999,
        streams: StreamFilter::All,
        pattern: String::new(),
        token: None,
    }
}

pub(crate) fn amz_json(status: u16, body: impl ToString) -> Reply {
    Reply::new(status).header("Content-Type", "application/x-amz-json-1.1").body(body.to_string())
}

pub(crate) fn xml(status: u16, body: &str) -> Reply {
    Reply::new(status).header("Content-Type", "text/xml;charset=UTF-8").body(body)
}

fn a_page_of_events() {
    let server = FakeServer::start(|_| {
        let events = json!([
            {"eventId": "1", "ingestionTime": 1700, "logStreamName": "eni-1-all", "message": "2 1 \u{e9}", "timestamp": 1500},
            {"eventId": "2", "ingestionTime": 1701, "logStreamName": "eni-2-all", "message": "", "timestamp": 1500},
        ]);
        amz_json(200, json!({"events": events, "nextToken": "b/19", "searchedLogStreams": []}))
            .header("Date", "Sat, 28 Nov 2026 04:00:00 GMT")
    });
    let page = block_on(async { client(&server.url()).await.filter_log_events(&a_request()).await }).unwrap();
    let event = |id: &str, ingestion_time, stream: &str, message: &str| LogEvent {
        timestamp: 1500,
        ingestion_time,
        message: message.to_owned(),
        log_stream: stream.to_owned(),
        event_id: id.to_owned(),
    };
    assert_eq!(page.events, [event("1", 1700, "eni-1-all", "2 1 \u{e9}"), event("2", 1701, "eni-2-all", "")]);
    assert_eq!(page.next_token.as_deref(), Some("b/19"));

    let [request] = &server.requests()[..] else { panic!("one request, not {}", server.requests().len()) };
    assert_eq!(request.header("x-amz-target"), Some("Logs_20140328.FilterLogEvents"));
    let authorization = request.header("authorization").unwrap();
    let credential = format!("AWS4-HMAC-SHA256 Credential={KEY}/");
    assert!(authorization.starts_with(&credential), "{authorization}");
    assert!(authorization.contains(&format!("/{REGION}/logs/aws4_request")), "{authorization}");
    assert_eq!(request.header("x-amz-security-token"), Some(TOKEN));
    let agent = request.header("user-agent").unwrap();
    assert!(agent.contains("app/flowstone"), "{agent}");
    let asked = json!({
        "logGroupName": "/vpc/flow", "startTime": 1000, "endTime": 1999, "limit": 10_000, "interleaved": true,
    });
    assert_eq!(request.json(), asked);
}

fn what_is_asked_for() {
    let server = FakeServer::start(|_| amz_json(200, r#"{"events":[]}"#));
    let arn = "arn:aws:logs:eu-west-1:210987654321:log-group:/vpc/flow";
    let foreign = LogGroupName { name: "/vpc/flow".to_owned(), foreign_arn: Some(arn.to_owned()) };
    let names = vec!["eni-1-all".to_owned(), "eni-2-all".to_owned()];
    let cases = [
        (
            FilterRequest { group: foreign, ..a_request() },
            json!({"logGroupIdentifier": arn, "logGroupName": null}),
        ),
        (
            FilterRequest { streams: StreamFilter::Prefix("eni-0".to_owned()), ..a_request() },
            json!({"logStreamNamePrefix": "eni-0", "logStreamNames": null}),
        ),
        (
            FilterRequest { streams: StreamFilter::Names(names.clone()), ..a_request() },
            json!({"logStreamNames": names, "logStreamNamePrefix": null}),
        ),
        (FilterRequest { pattern: "REJECT".to_owned(), ..a_request() }, json!({"filterPattern": "REJECT"})),
        (FilterRequest { token: Some("b/19".to_owned()), ..a_request() }, json!({"nextToken": "b/19"})),
    ];
    for (n, (request, expect)) in cases.iter().enumerate() {
        let page = block_on(async { client(&server.url()).await.filter_log_events(request).await });
        assert_eq!(page.unwrap().events, []);
        let sent = server.requests()[n].json();
        for (name, value) in expect.as_object().unwrap() {
            assert_eq!(sent.get(name).unwrap_or(&Value::Null), value, "{name} of {request:?}");
        }
    }
}

fn the_time_of_asking() {
    const DATE: i64 = 1_795_838_400_000; // Sat, 28 Nov 2026 04:00:00 GMT
    let delay = Duration::from_millis(300);
    let server = FakeServer::start(move |request| {
        let reply = amz_json(200, r#"{"events":[]}"#);
        match request.json()["nextToken"].as_str() {
            None => reply.header("Date", "Sat, 28 Nov 2026 04:00:00 GMT").delay(delay),
            Some("undated") => reply,
            _ => reply.header("Date", "yesterday"),
        }
    });
    block_on(async {
        let client = client(&server.url()).await;
        let at = client.filter_log_events(&a_request()).await.unwrap().asked_at_ms.unwrap();
        assert!((DATE - 5_000..DATE - 300).contains(&at), "{at}");
        for token in ["undated", "unreadable"] {
            let request = FilterRequest { token: Some(token.to_owned()), ..a_request() };
            assert_eq!(client.filter_log_events(&request).await.unwrap().asked_at_ms, None, "{token}");
        }
    });
}

fn a_page_without_events() {
    let reply = |body: &str| amz_json(200, body).header("x-amzn-RequestId", "r");
    let server = FakeServer::script([reply(r#"{"nextToken":"more"}"#), reply("{}")]);
    block_on(async {
        let client = client(&server.url()).await;
        let page = client.filter_log_events(&a_request()).await.unwrap();
        assert_eq!(page, FilterPage { next_token: Some("more".to_owned()), ..FilterPage::default() });
        assert_eq!(client.filter_log_events(&a_request()).await.unwrap(), FilterPage::default());
    });
}

fn log_groups() {
    let server = FakeServer::script([
        amz_json(
            200,
            json!({"logGroups": [{"logGroupName": "/a", "arn": "arn:aws:logs:eu-west-1:123456789012:log-group:/a:*", "creationTime": 7, "retentionInDays": 30}], "nextToken": "t"}),
        ),
        amz_json(200, json!({"logGroups": [{"logGroupName": "/b"}]})),
    ]);
    block_on(async {
        let client = client(&server.url()).await;
        let first = client.describe_log_groups(&GroupsRequest::default()).await.unwrap();
        let group = LogGroup {
            name: "/a".to_owned(),
            account: Some("123456789012".to_owned()),
            created_ms: Some(7),
            retention_days: Some(30),
        };
        assert_eq!(first, GroupsPage { groups: vec![group], next_token: Some("t".to_owned()) });
        let request = GroupsRequest { prefix: "/".to_owned(), token: first.next_token };
        let second = client.describe_log_groups(&request).await.unwrap();
        let group = LogGroup { name: "/b".to_owned(), ..LogGroup::default() };
        assert_eq!(second, GroupsPage { groups: vec![group], next_token: None });
    });
    let requests = server.requests();
    assert_eq!(requests[0].json(), json!({"limit": 50}));
    assert_eq!(requests[1].json(), json!({"limit": 50, "logGroupNamePrefix": "/", "nextToken": "t"}));
}

/// The parameters of a form, unescaped.
pub(crate) fn form(request: &Request) -> Vec<(String, String)> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

fn value<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn flow_logs() {
    let page = |id: &str, more: &str, token: &str| {
        xml(
            200,
            &format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeFlowLogsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                 <requestId>r</requestId><flowLogSet><item><flowLogId>{id}</flowLogId>\
                 <logFormat>${{version}} ${{a&amp;b}}</logFormat><tagSet><item><key>flowLogId</key><value>x</value></item></tagSet>\
                 <creationTime>2026-11-28T04:00:00.250Z</creationTime>{more}</item></flowLogSet>{token}</DescribeFlowLogsResponse>"
            ),
        )
    };
    let server = FakeServer::script([
        page("fl-1", "<maxAggregationInterval>60</maxAggregationInterval>", "<nextToken>t+/=</nextToken>"),
        page("fl-2", "", "<nextToken/>"),
    ]);
    let found = block_on(async { client(&server.url()).await.describe_flow_logs("/vpc/flow & more").await });
    let flow_log = |id: &str, aggregation_s| FlowLog {
        id: id.to_owned(),
        format: "${version} ${a&b}".to_owned(),
        aggregation_s,
        created_ms: Some(1_795_838_400_250),
    };
    assert_eq!(found.unwrap(), [flow_log("fl-1", 60), flow_log("fl-2", 600)]);

    let forms: Vec<_> = server.requests().iter().map(form).collect();
    assert_eq!(forms.len(), 2);
    for (name, expect) in [
        ("Action", "DescribeFlowLogs"),
        ("Version", "2016-11-15"),
        ("Filter.1.Name", "log-group-name"),
        ("Filter.1.Value.1", "/vpc/flow & more"),
        ("MaxResults", "1000"),
    ] {
        assert_eq!(value(&forms[0], name), Some(expect));
        assert_eq!(value(&forms[1], name), Some(expect));
    }
    assert_eq!(value(&forms[0], "NextToken"), None);
    assert_eq!(value(&forms[1], "NextToken"), Some("t+/="));
}

fn minutes() {
    let page = |results: &str, rest: &str| {
        xml(
            200,
            &format!(
                "<GetMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><GetMetricDataResult>\
                 <Messages/><MetricDataResults><member><Id>events</Id><Label>IncomingLogEvents</Label>{results}</member>\
                 </MetricDataResults>{rest}</GetMetricDataResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
                 </GetMetricDataResponse>"
            ),
        )
    };
    let server = FakeServer::script([
        page(
            "<Timestamps><member>1969-12-31T23:59:00Z</member><member>1970-01-01T00:00:00Z</member></Timestamps>\
             <Values><member>9.0</member><member>1.2345E4</member></Values><StatusCode>PartialData</StatusCode>",
            "<NextToken>t</NextToken>",
        ),
        page(
            "<Timestamps><member>1970-01-01T00:01:00+00:00</member><member>1970-01-01T00:02:00Z</member></Timestamps>\
             <Values><member>3</member><member>4.0</member></Values><StatusCode>Complete</StatusCode>",
            "",
        ),
        page("<Timestamps/><Values/><StatusCode>Complete</StatusCode>", ""),
    ]);
    block_on(async {
        let client = client(&server.url()).await;
        let found = client.incoming_log_events("/vpc/flow", 0, 120_000, 60).await.unwrap();
        let minute = |minute_ms, events| MinuteCount { minute_ms, events };
        assert_eq!(found, [minute(0, 12_345), minute(60_000, 3)]);
        assert_eq!(client.incoming_log_events("/vpc/flow", 0, 120_000, 60).await.unwrap(), []);
    });
    let forms: Vec<_> = server.requests().iter().map(form).collect();
    let metric = "MetricDataQueries.member.1.MetricStat";
    for (name, expect) in [
        ("Action", "GetMetricData"),
        ("Version", "2010-08-01"),
        ("StartTime", "1970-01-01T00:00:00Z"),
        ("EndTime", "1970-01-01T00:02:00Z"),
        ("MaxDatapoints", "100800"),
        (&format!("{metric}.Metric.Namespace"), "AWS/Logs"),
        (&format!("{metric}.Metric.MetricName"), "IncomingLogEvents"),
        (&format!("{metric}.Metric.Dimensions.member.1.Name"), "LogGroupName"),
        (&format!("{metric}.Metric.Dimensions.member.1.Value"), "/vpc/flow"),
        (&format!("{metric}.Period"), "60"),
        (&format!("{metric}.Stat"), "Sum"),
    ] {
        assert_eq!(value(&forms[0], name), Some(expect), "{name}");
    }
    assert_eq!(value(&forms[1], "NextToken"), Some("t"));
}

fn an_account() {
    let server = FakeServer::start(|_| {
        xml(
            200,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::123456789012:user/x</Arn><UserId>u</UserId><Account>123456789012</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>",
        )
    });
    let account = block_on(async { client(&server.url()).await.account_id().await });
    assert_eq!(account.unwrap(), "123456789012");
}

/// Signs what has arrived once more: host, headers and body must be those that were signed.
fn signed() {
    let server = FakeServer::start(|_| xml(200, "<DescribeFlowLogsResponse/>"));
    let found = block_on(async { client(&server.url()).await.describe_flow_logs("/vpc/flow").await });
    assert_eq!(found.unwrap(), []);
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/"));
    let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("{name} is missing"));

    let date = header("x-amz-date"); // 20261128T040000Z
    let (day, time) = (&date[..8], &date[9..15]);
    let text =
        format!("{}-{}-{}T{}:{}:{}Z", &day[..4], &day[4..6], &day[6..], &time[..2], &time[2..4], &time[4..]);
    let time = SystemTime::try_from(DateTime::from_str(&text, Format::DateTime).unwrap()).unwrap();
    let identity = Credentials::new(KEY, SECRET, Some(TOKEN.to_owned()), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("ec2")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let url = format!("http://{}/", header("host"));
    let headers = [("content-type", header("content-type"))];
    let body = SignableBody::Bytes(&request.body);
    let again = SignableRequest::new("POST", url, headers.into_iter(), body).unwrap();
    let (instructions, _) = sign(again, &params).unwrap().into_parts();
    let expect: Vec<_> = instructions.headers().collect();
    for (name, value) in expect {
        assert_eq!(header(name), value, "{name}");
    }
}

fn an_endless_page() {
    let server = FakeServer::start(|_| {
        xml(200, "<DescribeFlowLogsResponse><flowLogSet/><nextToken>t</nextToken></DescribeFlowLogsResponse>")
    });
    let error =
        block_on(async { client(&server.url()).await.describe_flow_logs("/vpc/flow").await }).unwrap_err();
    assert!(error.message.contains("next page"), "{error}");
    assert_eq!(error.kind, ErrorKind::NoProgress);
    assert_eq!(server.requests().len(), 2);
}

fn pages_without_end() {
    let number = AtomicU32::new(0);
    let server = FakeServer::start(move |request| {
        let token = format!("token-{}", number.fetch_add(1, Ordering::Relaxed));
        match value(&form(request), "Action") {
            Some("DescribeFlowLogs") => xml(
                200,
                &format!(
                    "<DescribeFlowLogsResponse><flowLogSet/><nextToken>{token}</nextToken></DescribeFlowLogsResponse>"
                ),
            ),
            _ => xml(
                200,
                &format!(
                    "<GetMetricDataResponse><GetMetricDataResult><NextToken>{token}</NextToken></GetMetricDataResult></GetMetricDataResponse>"
                ),
            ),
        }
    });
    block_on(async {
        let client = client(&server.url()).await;
        for error in [
            client.describe_flow_logs("/vpc/flow").await.unwrap_err(),
            client.incoming_log_events("/vpc/flow", 0, 60_000, 60).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::NoProgress, "{error}");
            assert!(error.message.contains("no end after 100 pages"), "{error}");
        }
    });
    assert_eq!(server.requests().len(), 200);
}
