//! The simulated CloudWatch Logs over HTTP: what AWS's clients see.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flowstone_aws::{ApiError, ErrorKind, EventKey, FlowLog, Operation};
use flowstone_testkit::cloudwatch::{
    Behaviour, Clock, Fault, FlowTraffic, ServerOptions, SimulatedEvent, SimulatedLogs, SimulatedServer,
};
use flowstone_testkit::http::{Client, Response};
use serde_json::{Value as Json, json};

const MINUTE: i64 = 60_000;
const BEGIN: i64 = 1_800_000_000_000;

/// A caller with a key of its own, or with a session's.
struct Caller {
    client: Client,
    access_key: String,
    token: Option<String>,
    region: String,
}

impl Caller {
    fn new(server: &SimulatedServer) -> Self {
        let client = Client::new(&server.url()).unwrap().timeout(Duration::from_secs(10));
        Self { client, access_key: "AKIA1".to_owned(), token: None, region: "eu-west-1".to_owned() }
    }

    fn send(&self, service: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/20270115/{}/{service}/aws4_request, SignedHeaders=host;x-amz-date, \
             Signature={}",
            self.access_key,
            self.region,
            "0".repeat(64)
        );
        let mut all = vec![("Authorization", authorization.as_str()), ("X-Amz-Date", "20270115T080000Z")];
        all.extend(self.token.as_deref().map(|token| ("X-Amz-Security-Token", token)));
        all.extend(headers);
        self.client.request("POST", "/", &all, body.as_bytes()).unwrap()
    }

    fn logs(&self, operation: &str, body: &Json) -> Response {
        let target = format!("Logs_20140328.{operation}");
        let headers = [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1")];
        self.send("logs", &headers, &body.to_string())
    }

    fn query(&self, service: &str, form: &str) -> Response {
        self.send(service, &[("Content-Type", "application/x-www-form-urlencoded")], form)
    }

    /// A call of this operation that would succeed.
    fn call(&self, operation: Operation) -> Response {
        match operation {
            Operation::FilterLogEvents => {
                self.logs("FilterLogEvents", &json!({ "logGroupName": "/vpc/flow" }))
            }
            Operation::DescribeLogGroups => self.logs("DescribeLogGroups", &json!({})),
            Operation::DescribeFlowLogs => self.query("ec2", FLOW_LOGS),
            Operation::GetMetricData => self.query("monitoring", &metric_form(BEGIN, BEGIN + MINUTE, 60)),
            Operation::GetCallerIdentity => self.query("sts", "Action=GetCallerIdentity&Version=2011-06-15"),
            Operation::AssumeRole => self.query("sts", ASSUME_ROLE),
        }
    }

    /// All events that the service gives for a request, and how many pages they took.
    fn read(&self, request: &Json) -> (Vec<Json>, usize) {
        let (mut request, mut events, mut pages) = (request.clone(), Vec::new(), 0);
        loop {
            let mut page = self.logs("FilterLogEvents", &request).ok().json();
            pages += 1;
            events.append(page["events"].as_array_mut().unwrap());
            match page["nextToken"].take() {
                Json::Null => return (events, pages),
                token => request["nextToken"] = token,
            }
        }
    }
}

const OPERATIONS: [Operation; 6] = [
    Operation::FilterLogEvents,
    Operation::DescribeLogGroups,
    Operation::DescribeFlowLogs,
    Operation::GetMetricData,
    Operation::GetCallerIdentity,
    Operation::AssumeRole,
];
const FLOW_LOGS: &str = "Action=DescribeFlowLogs&Version=2016-11-15&Filter.1.Name=log-group-name\
                         &Filter.1.Value.1=%2Fvpc%2Fflow";
const ASSUME_ROLE: &str = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=flowstone\
                           &RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fa%2Freader";

fn metric_form(from_ms: i64, to_ms: i64, period_s: i64) -> String {
    let iso = |ms: i64| flowstone_event::format_iso_millis(ms).replace(':', "%3A");
    format!(
        "Action=GetMetricData&Version=2010-08-01&StartTime={}&EndTime={}&ScanBy=TimestampAscending\
         &MetricDataQueries.member.1.Id=m1&MetricDataQueries.member.1.MetricStat.Stat=Sum\
         &MetricDataQueries.member.1.MetricStat.Period={period_s}\
         &MetricDataQueries.member.1.MetricStat.Metric.Namespace=AWS%2FLogs\
         &MetricDataQueries.member.1.MetricStat.Metric.MetricName=IncomingLogEvents\
         &MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Name=LogGroupName\
         &MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Value=%2Fvpc%2Fflow",
        iso(from_ms),
        iso(to_ms)
    )
}

/// What stands between the first `<name>` and its end.
fn tag<'a>(xml: &'a str, name: &str) -> &'a str {
    let from = xml.find(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    let xml = &xml[from + name.len() + 2..];
    &xml[..xml.find(&format!("</{name}>")).unwrap()]
}

fn unthrottled() -> Behaviour {
    Behaviour { per_second: Some(f64::INFINITY), ..Behaviour::default() }
}

/// A service with ten minutes of generated flow logs, 600 events a minute, all of them arrived.
fn generated(behaviour: Behaviour) -> (SimulatedLogs, SimulatedServer) {
    let service = SimulatedLogs::new(behaviour);
    let traffic = FlowTraffic { per_second: 10.0, ..FlowTraffic::default() };
    service.create_made_group("/vpc/flow", traffic.stream_names(), traffic.made(BEGIN, BEGIN + 10 * MINUTE));
    let flow_log = FlowLog {
        id: "fl-1".to_owned(),
        format: "${version} ${srcaddr}".to_owned(),
        aggregation_s: 60,
        created_ms: Some(BEGIN),
    };
    service.set_flow_logs("/vpc/flow", vec![flow_log]);
    let options = ServerOptions { clock: Clock::at(BEGIN + 1440 * MINUTE), ..ServerOptions::default() };
    let server = SimulatedServer::with(&service, options).unwrap();
    (service, server)
}

/// A service with these messages, one a millisecond.
fn kept(messages: &[&str]) -> (SimulatedLogs, SimulatedServer) {
    let service = SimulatedLogs::new(unthrottled());
    service.create_group("g", 5, ["s \"1\"".to_owned()]);
    let event = |(at, message): (usize, &&str)| SimulatedEvent {
        key: EventKey::new(BEGIN + at as i64, BEGIN + 1000, 7, at as u16),
        visible_ms: 0,
        stream: 0,
        message: Some((*message).into()),
    };
    service.put("g", messages.iter().enumerate().map(event));
    let server = SimulatedServer::start(&service);
    (service, server)
}

#[test]
fn every_event_comes_once_page_by_page() {
    let (service, server) = generated(Behaviour { empty_pages: 0.3, short_pages: 0.3, ..unthrottled() });
    let caller = Caller::new(&server);
    let (events, pages) = caller.read(&json!({ "logGroupName": "/vpc/flow", "limit": 500 }));
    let expected = service.all_events("/vpc/flow", 0, i64::MAX);
    assert_eq!((events.len(), expected.len()), (6000, 6000));
    for (event, expected) in events.iter().zip(&expected) {
        assert_eq!(event["eventId"], expected.key.to_decimal());
        assert_eq!(event["timestamp"], expected.key.timestamp());
        assert_eq!(event["ingestionTime"], expected.key.ingestion());
        let stream = event["logStreamName"].as_str().unwrap();
        let line = event["message"].as_str().unwrap();
        assert!(
            line.starts_with(&format!("2 123456789012 {} 10.", stream.trim_end_matches("-all"))),
            "{line}"
        );
    }
    assert!(pages > 13, "{pages}");
    assert_eq!(server.count(Operation::FilterLogEvents), pages as u64);
    assert_eq!(service.calls().pages, pages as u64);
}

#[test]
fn ranges_streams_and_patterns_choose_events() {
    let (service, server) = generated(unthrottled());
    let caller = Caller::new(&server);
    let ask = |more: Json| {
        let mut request =
            json!({ "logGroupIdentifier": "arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/flow" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        caller.read(&request).0
    };
    let (from, to) = (BEGIN + MINUTE, BEGIN + 2 * MINUTE);
    let both_ends = ask(json!({ "startTime": from, "endTime": to, "interleaved": true }));
    assert_eq!(both_ends.len() as u64, service.count_events("/vpc/flow", from, to));
    assert!(both_ends.len() > 600, "the second at the end is in it");
    let names: Vec<String> = ask(json!({ "logStreamNames": ["eni-00000000000000007-all"] }))
        .iter()
        .map(|event| event["logStreamName"].to_string())
        .collect();
    assert!(!names.is_empty() && names.iter().all(|name| name == "\"eni-00000000000000007-all\""));
    assert_eq!(ask(json!({ "logStreamNamePrefix": "eni-00000000000000007" })).len(), names.len());
    assert_eq!(ask(json!({ "filterPattern": "eni-00000000000000007 " })).len(), names.len());
}

#[test]
fn any_text_comes_as_it_is() {
    let texts = ["", "\"quoted\" \\ back", "a\u{0}b\r\n\t\u{1f}", "ünïcödé \u{1F600} \u{2028}"];
    let (_service, server) = kept(&texts);
    let (events, _) = Caller::new(&server).read(&json!({ "logGroupName": "g" }));
    let read: Vec<&str> = events.iter().map(|event| event["message"].as_str().unwrap()).collect();
    assert_eq!(read, texts);
    assert_eq!(events[0]["logStreamName"], "s \"1\"");
}

#[test]
fn a_token_is_good_for_the_request_it_came_from() {
    let (_service, server) = kept(&["a", "b", "c"]);
    let caller = Caller::new(&server);
    let first = caller.logs("FilterLogEvents", &json!({ "logGroupName": "g", "limit": 2 })).ok().json();
    assert_eq!(first["events"].as_array().unwrap().len(), 2);
    let token = &first["nextToken"];
    let second =
        caller.logs("FilterLogEvents", &json!({ "logGroupName": "g", "nextToken": token })).ok().json();
    assert_eq!(second["events"][0]["message"], "c");
    let other = json!({ "logGroupName": "g", "nextToken": token, "startTime": BEGIN });
    let refused = caller.logs("FilterLogEvents", &other);
    assert_eq!((refused.status, refused.json()["__type"].as_str()), (400, Some("InvalidParameterException")));
    assert_eq!(refused.json()["message"], "The specified nextToken is invalid.");
}

#[test]
fn what_the_service_would_refuse_is_refused() {
    let (_service, server) = kept(&["a"]);
    let caller = Caller::new(&server);
    for (request, code) in [
        (json!({ "logGroupName": "other" }), "ResourceNotFoundException"),
        (json!({}), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "logGroupIdentifier": "g" }), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "limit": 10_001 }), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "limit": 0 }), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "startTime": -5 }), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "startTime": 6, "endTime": 5 }), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "startTime": "6" }), "InvalidParameterException"),
        (json!({ "logGroupName": "g", "logStreamNames": [] }), "InvalidParameterException"),
        (
            json!({ "logGroupName": "g", "logStreamNames": ["s"], "logStreamNamePrefix": "s" }),
            "InvalidParameterException",
        ),
        (json!({ "logGroupName": "g", "startFromHead": false }), "InvalidParameterException"),
    ] {
        let refused = caller.logs("FilterLogEvents", &request);
        assert_eq!((refused.status, refused.json()["__type"].as_str()), (400, Some(code)), "{request}");
    }
    assert_eq!(caller.logs("PutLogEvents", &json!({})).json()["__type"], "UnknownOperationException");
    assert_eq!(
        tag(&caller.query("sts", "Action=GetFederationToken&Version=2011-06-15").body, "Code"),
        "InvalidAction"
    );
    assert_eq!(
        tag(&caller.query("ec2", "Action=DescribeFlowLogs&Version=2014-01-01").body, "Code"),
        "InvalidAction"
    );
    assert_eq!(caller.client.get("/").status, 404);
}

#[test]
fn log_groups_come_fifty_a_page_with_their_arns() {
    let service = SimulatedLogs::new(unthrottled());
    (0..120).for_each(|number| service.create_group(&format!("/p/{number:03}"), 5, []));
    service.create_group("/q", 5, []);
    let server = SimulatedServer::start(&service);
    let caller = Caller::new(&server);
    let (mut request, mut names, mut sizes) =
        (json!({ "logGroupNamePrefix": "/p/" }), Vec::new(), Vec::new());
    loop {
        let mut page = caller.logs("DescribeLogGroups", &request).ok().json();
        let groups = page["logGroups"].as_array().unwrap();
        sizes.push(groups.len());
        names.extend(groups.iter().map(|group| group["logGroupName"].as_str().unwrap().to_owned()));
        assert_eq!(groups[0]["creationTime"], 5);
        let arn =
            format!("arn:aws:logs:eu-west-1:123456789012:log-group:{}", names[names.len() - groups.len()]);
        assert_eq!(groups[0]["logGroupArn"], arn);
        assert_eq!(groups[0]["arn"], format!("{arn}:*"));
        match page["nextToken"].take() {
            Json::Null => break,
            token => request["nextToken"] = token,
        }
    }
    assert_eq!(sizes, [50, 50, 20]);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 120);
}

/// The code and the message of an error, in whatever form the service has it.
fn error_of(response: &Response) -> (String, String) {
    if response.body.starts_with('<') {
        return (tag(&response.body, "Code").to_owned(), tag(&response.body, "Message").to_owned());
    }
    let body = response.json();
    let message = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    (body["__type"].as_str().unwrap().to_owned(), message.to_owned())
}

#[test]
fn every_fault_is_understood_from_the_reply_of_every_service() {
    let (_service, server) = generated(unthrottled());
    let caller = Caller::new(&server);
    for (fault, kind) in [
        (Fault::Throttled, ErrorKind::Throttled),
        (Fault::Denied, ErrorKind::AccessDenied),
        (Fault::ExpiredToken, ErrorKind::ExpiredCredentials),
        (Fault::UnknownKey, ErrorKind::NoCredentials),
        (Fault::WrongSecret, ErrorKind::NoCredentials),
        (Fault::ClockSkew, ErrorKind::ClockSkew),
        (Fault::Unavailable, ErrorKind::Unavailable),
        (Fault::Internal, ErrorKind::Unavailable),
    ] {
        server.inject(move |_, _| Some(fault));
        for operation in OPERATIONS {
            let refused = caller.call(operation);
            let (code, message) = error_of(&refused);
            let error = ApiError::of_reply(operation, refused.status, &code, &message, false);
            // EC2 does not say that it is the clock.
            let ec2 = operation == Operation::DescribeFlowLogs && fault == Fault::ClockSkew;
            let expected = if ec2 { ErrorKind::NoCredentials } else { kind };
            assert_eq!(error.kind, expected, "{fault:?} of {operation}: {} {code} {message}", refused.status);
            assert!(refused.headers.get("date").is_some());
        }
    }
    server.inject(|_, _| Some(Fault::ClockSkew));
    assert_eq!(
        error_of(&caller.call(Operation::FilterLogEvents)).1,
        "Signature expired: 20270115T080000Z is now earlier than 20270115T081500Z (20270115T082000Z - 5 min.)"
    );
    server.inject(|_, _| Some(Fault::HangUp));
    assert!(
        caller
            .client
            .request("POST", "/", &[("X-Amz-Target", "Logs_20140328.DescribeLogGroups")], b"{}")
            .is_err()
    );
    server.inject(|_, _| None);
    for operation in OPERATIONS {
        caller.call(operation).ok();
    }
}

#[test]
fn faults_are_chosen_by_operation_and_by_number() {
    let (service, server) = generated(unthrottled());
    let caller = Caller::new(&server);
    server.inject(|operation, number| match operation {
        Operation::FilterLogEvents if number % 3 != 2 => Some(Fault::Throttled),
        Operation::GetMetricData => Some(Fault::Denied),
        _ => None,
    });
    let statuses: Vec<u16> = (0..6).map(|_| caller.call(Operation::FilterLogEvents).status).collect();
    assert_eq!(statuses, [400, 400, 200, 400, 400, 200]);
    assert_eq!(caller.call(Operation::GetMetricData).status, 403);
    assert_eq!(caller.call(Operation::DescribeLogGroups).status, 200);
    assert_eq!((server.count(Operation::FilterLogEvents), service.calls().pages), (6, 2));
    // What is denied at the service itself has the form of each service too.
    server.inject(|_, _| None);
    for operation in OPERATIONS {
        service.deny(operation);
        let refused = caller.call(operation);
        let (code, message) = error_of(&refused);
        assert_eq!(
            ApiError::of_reply(operation, refused.status, &code, &message, false).kind,
            ErrorKind::AccessDenied
        );
        assert!(message.contains(operation.action()), "{message}");
    }
}

#[test]
fn more_calls_than_the_quota_are_throttled() {
    let (service, server) = generated(Behaviour { per_second: Some(5.0), ..Behaviour::default() });
    let caller = Caller::new(&server);
    let begin = Instant::now();
    let mut answered = 0;
    while begin.elapsed() < Duration::from_millis(1200) {
        answered += u32::from(caller.call(Operation::FilterLogEvents).status == 200);
    }
    // Five at once and five a second.
    let at_most = 6 + (begin.elapsed().as_secs_f64() * 5.0) as u32;
    assert!((10..=at_most).contains(&answered), "{answered}");
    assert!(service.calls().throttled > 0);
}

#[test]
fn only_requests_signed_for_the_service_and_its_region_are_answered() {
    let (_service, server) = generated(unthrottled());
    let mut caller = Caller::new(&server);
    let unsigned = caller
        .client
        .request("POST", "/", &[("X-Amz-Target", "Logs_20140328.DescribeLogGroups")], b"{}")
        .unwrap();
    assert_eq!(error_of(&unsigned).0, "MissingAuthenticationTokenException");
    let unsigned = caller.client.request("POST", "/", &[], FLOW_LOGS.as_bytes()).unwrap();
    assert_eq!((unsigned.status, error_of(&unsigned).0.as_str()), (401, "AuthFailure"));
    let wrong = caller.query("cloudwatch", &metric_form(BEGIN, BEGIN + MINUTE, 60));
    assert_eq!(error_of(&wrong).1, "Credential should be scoped to correct service: 'monitoring'.");
    caller.region = "us-east-1".to_owned();
    assert_eq!(error_of(&caller.call(Operation::FilterLogEvents)).0, "InvalidSignatureException");
    assert_eq!(caller.call(Operation::GetCallerIdentity).status, 200, "STS is also signed as us-east-1");
}

#[test]
fn flow_logs_are_found_by_the_name_of_their_group() {
    let (service, server) = generated(unthrottled());
    service.create_group("/other", 0, []);
    let flow_log = |id: &str| FlowLog {
        id: id.to_owned(),
        format: "<&>".to_owned(),
        aggregation_s: 600,
        created_ms: None,
    };
    service.set_flow_logs("/other", vec![flow_log("fl-2"), flow_log("fl-3")]);
    let caller = Caller::new(&server);
    let one = caller.query("ec2", FLOW_LOGS).ok().body;
    assert!(
        one.starts_with("<?xml") && one.contains("xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\""),
        "{one}"
    );
    for (name, value) in [
        ("flowLogId", "fl-1"),
        ("logFormat", "${version} ${srcaddr}"),
        ("maxAggregationInterval", "60"),
        ("logGroupName", "/vpc/flow"),
        ("creationTime", "2027-01-15T08:00:00.000Z"),
    ] {
        assert_eq!(tag(&one, name), value);
    }
    assert!(!one.contains("fl-2") && !one.contains("nextToken"));
    let all = "Action=DescribeFlowLogs&Version=2016-11-15&MaxResults=2";
    let first = caller.query("ec2", all).ok().body;
    assert!(first.contains("fl-2") && first.contains("&lt;&amp;&gt;"), "in the order of the groups: {first}");
    let rest = caller.query("ec2", &format!("{all}&NextToken={}", tag(&first, "nextToken"))).ok().body;
    assert_eq!((tag(&rest, "flowLogId"), rest.contains("nextToken")), ("fl-1", false));
    let filter = "Action=DescribeFlowLogs&Version=2016-11-15&Filter.1.Name=resource-id&Filter.1.Value.1=x";
    assert_eq!(error_of(&caller.query("ec2", filter)).0, "InvalidParameterValue");
}

#[test]
fn the_metric_sums_what_was_taken_in() {
    let (service, server) = generated(unthrottled());
    let caller = Caller::new(&server);
    let read = |period_s| {
        let body = caller.query("monitoring", &metric_form(BEGIN, BEGIN + 1440 * MINUTE, period_s)).ok().body;
        assert_eq!(tag(&body, "StatusCode"), "Complete");
        let members = |name: &str| {
            let list = tag(&body, name).split("<member>").skip(1);
            list.map(|part| part[..part.find('<').unwrap()].to_owned()).collect::<Vec<_>>()
        };
        let times: Vec<i64> =
            members("Timestamps").iter().map(|at| flowstone_event::parse_iso_millis(at).unwrap()).collect();
        let sums: Vec<f64> = members("Values").iter().map(|sum| sum.parse().unwrap()).collect();
        assert_eq!(times.len(), sums.len());
        assert!(times.is_sorted() && times.iter().all(|at| at % (period_s * 1000) == 0));
        (times.len(), sums.iter().sum::<f64>())
    };
    let (minutes, sum) = read(60);
    assert_eq!(sum, 6000.0);
    assert_eq!(service.count_events("/vpc/flow", 0, i64::MAX), 6000);
    let (fives, sum) = read(300);
    assert!(sum == 6000.0 && fives < minutes, "{fives} {minutes}");
    let unknown = metric_form(BEGIN, BEGIN + MINUTE, 60).replace("IncomingLogEvents", "Unheard");
    assert_eq!(tag(&caller.query("monitoring", &unknown).ok().body, "Values").trim(), "");
    let backwards = metric_form(BEGIN, BEGIN, 60);
    assert_eq!(error_of(&caller.query("monitoring", &backwards)).0, "ValidationError");
}

#[test]
fn a_role_that_was_assumed_is_who_calls() {
    let (_service, server) = generated(unthrottled());
    let mut caller = Caller::new(&server);
    let own = caller.call(Operation::GetCallerIdentity).ok().body;
    assert_eq!(
        (tag(&own, "Account"), tag(&own, "Arn")),
        ("123456789012", "arn:aws:iam::123456789012:user/flowstone")
    );

    let assumed = caller.call(Operation::AssumeRole).ok().body;
    let arn = "arn:aws:sts::210987654321:assumed-role/reader/flowstone";
    assert_eq!(tag(&assumed, "Arn"), arn);
    let expires = flowstone_event::parse_iso_millis(tag(&assumed, "Expiration")).unwrap();
    let wall = Clock::wall().now_ms();
    assert!((wall + 3_590_000..=wall + 3_600_000).contains(&expires), "{expires}");

    caller.access_key = tag(&assumed, "AccessKeyId").to_owned();
    assert_eq!(
        error_of(&caller.call(Operation::GetCallerIdentity)).0,
        "InvalidClientTokenId",
        "no session token"
    );
    caller.token = Some(tag(&assumed, "SessionToken").to_owned());
    let role = caller.call(Operation::GetCallerIdentity).ok().body;
    assert_eq!((tag(&role, "Account"), tag(&role, "Arn")), ("210987654321", arn));
    caller.call(Operation::FilterLogEvents).ok();
    caller.access_key = "ASIANOBODY".to_owned();
    assert_eq!(error_of(&caller.call(Operation::FilterLogEvents)).0, "UnrecognizedClientException");

    let caller = Caller::new(&server);
    let refused = caller.query("sts", &ASSUME_ROLE.replace("role%2F", "user%2F"));
    assert_eq!(error_of(&refused).0, "ValidationError");
}

#[test]
fn the_service_has_a_time_of_its_own() {
    let service = SimulatedLogs::new(unthrottled());
    service.create_group("/vpc/flow", 0, ["s".to_owned()]);
    let event = SimulatedEvent {
        key: EventKey::new(BEGIN, BEGIN, 1, 1),
        visible_ms: BEGIN + 60_000,
        stream: 0,
        message: None,
    };
    service.put("/vpc/flow", [event]);
    let options = ServerOptions { clock: Clock::at(BEGIN).speed(200.0), ..ServerOptions::default() };
    let server = SimulatedServer::with(&service, options).unwrap();
    let caller = Caller::new(&server);
    let first = caller.call(Operation::FilterLogEvents).ok();
    assert!(first.headers.get("date").unwrap().starts_with("Fri, 15 Jan 2027 08:00:"), "{:?}", first.headers);
    assert_eq!(first.json()["events"], json!([]));
    let begin = Instant::now();
    while caller.call(Operation::FilterLogEvents).ok().json()["events"] == json!([]) {
        assert!(begin.elapsed() < Duration::from_secs(10), "a minute passes in 300 ms");
    }
    assert!(server.now_ms() >= BEGIN + 60_000);
}

#[test]
fn a_call_takes_its_latency() {
    let (service, _server) = generated(unthrottled());
    let options = ServerOptions { latency: Duration::from_millis(80), ..ServerOptions::default() };
    let server = SimulatedServer::with(&service, options).unwrap();
    let begin = Instant::now();
    Caller::new(&server).call(Operation::FilterLogEvents).ok();
    assert!(begin.elapsed() >= Duration::from_millis(80));
}

#[test]
fn the_same_generated_group_is_served_the_same_everywhere() {
    let ((_one, first), (_two, second)) = (generated(unthrottled()), generated(unthrottled()));
    let whole = json!({ "logGroupName": "/vpc/flow" });
    let read = Caller::new(&first).read(&whole).0;
    assert!(read == Caller::new(&second).read(&whole).0);
    // Read in another order and in other pieces, it is still the same.
    let later = json!({ "logGroupName": "/vpc/flow", "startTime": BEGIN + 9 * MINUTE, "limit": 7 });
    let tail = Caller::new(&second).read(&later).0;
    assert!(tail.len() == 600 && read.ends_with(&tail));
    let ids: HashSet<String> = read.iter().map(|event| event["eventId"].to_string()).collect();
    assert_eq!(ids.len(), 6000);
}

#[test]
fn the_program_serves_a_day_of_ten_million_events_until_its_input_closes() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_flowstone-cloudwatch"))
        .args(["0", "--group", "/big", "--until", "1788220800000", "--quota", "0", "--streams", "7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let about = lines.next().unwrap();
    assert!(about.contains("/big at http://127.0.0.1:"), "{about}");
    assert!(
        about.ends_with("has 10000000 events from 2026-08-31T00:00:00.000Z to 2026-09-01T00:00:00.000Z"),
        "{about}"
    );
    let endpoint = lines.next().unwrap();
    let url = endpoint.strip_prefix("export AWS_ENDPOINT_URL=").unwrap();
    let client = Client::new(url).unwrap();
    let caller =
        Caller { client, access_key: "AKIA1".to_owned(), token: None, region: "eu-west-1".to_owned() };
    let minute =
        json!({ "logGroupName": "/big", "startTime": 1_788_200_040_000i64, "endTime": 1_788_200_099_999i64 });
    let (events, pages) = caller.read(&minute);
    assert!((6944..=6945).contains(&events.len()), "{}", events.len());
    assert_eq!(pages, 1);
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    assert!(lines.last().unwrap().starts_with("# 1 pages with 694"));

    let refused =
        Command::new(env!("CARGO_BIN_EXE_flowstone-cloudwatch")).args(["0", "--grop", "x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--grop: there is no such option"));
}
