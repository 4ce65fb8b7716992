//! Every kind of failure, by what helps; no secret in a message; no second try.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use flowstone_aws::{ApiError, ErrorKind, FilterRequest, GroupsRequest, LogsApi as _, Operation};
use flowstone_testkit::http::{FakeServer, Reply};
use libtest_mimic::Trial;
use serde_json::json;

use super::operations::{a_request, amz_json, xml};
use super::{Probe, SECRET, TOKEN, block_on, client, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("a_refusal_of_cloudwatch_logs_is_classified_and_not_tried_again", refusals_in_json),
        trial("a_refusal_of_the_query_protocol_is_classified_and_not_tried_again", refusals_in_xml),
        trial("an_answer_that_cannot_be_read_is_trouble_on_the_way", unreadable),
        trial("a_service_that_is_not_there_is_unavailable_and_named", unreachable),
        trial("no_answer_within_twenty_seconds_is_the_end_of_a_request", late),
        trial("no_secret_gets_into_a_message", no_secrets),
        trial("a_reply_is_read_up_to_a_bound_and_said_of_it_is_one_short_line", huge_replies),
        trial("a_proxy_of_the_environment_is_used_and_excepted", proxies),
    ]
}

/// Calls all operations once, in the order of [`Operation`], but for AssumeRole.
async fn all(url: &str) -> Vec<ApiError> {
    let client = client(url).await;
    vec![
        client.filter_log_events(&a_request()).await.unwrap_err(),
        client.describe_log_groups(&GroupsRequest::default()).await.unwrap_err(),
        client.describe_flow_logs("/vpc/flow").await.unwrap_err(),
        client.incoming_log_events("/vpc/flow", 0, 60_000, 60).await.unwrap_err(),
        client.account_id().await.unwrap_err(),
    ]
}

const OPERATIONS: [Operation; 5] = [
    Operation::FilterLogEvents,
    Operation::DescribeLogGroups,
    Operation::DescribeFlowLogs,
    Operation::GetMetricData,
    Operation::GetCallerIdentity,
];

fn refusals_in_json() {
    use ErrorKind::*;
    let skew = "Signature expired: 20261128T030000Z is now earlier than 20261128T035500Z (20261128T040000Z - 5 min.)";
    for (status, code, message, token, expect) in [
        (400, "ThrottlingException", "Rate exceeded", None, Throttled),
        (400, "LimitExceededException", "", None, Throttled),
        (400, "InvalidParameterException", "The specified nextToken is invalid.", Some("t"), BadToken),
        (400, "InvalidParameterException", "1 validation error detected", None, Invalid),
        (400, "ResourceNotFoundException", "The specified log group does not exist.", None, NotFound),
        (
            400,
            "AccessDeniedException",
            "User: x is not authorized to perform: logs:FilterLogEvents",
            None,
            AccessDenied,
        ),
        (
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            None,
            NoCredentials,
        ),
        (
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            None,
            ExpiredCredentials,
        ),
        (
            403,
            "InvalidSignatureException",
            "The request signature we calculated does not match",
            None,
            NoCredentials,
        ),
        (403, "InvalidSignatureException", skew, None, ClockSkew),
        (403, "RequestTimeTooSkewed", "", None, ClockSkew),
        (403, "OptInRequired", "", None, WrongRegion),
        (503, "ServiceUnavailableException", "", None, Unavailable),
        (500, "InternalFailure", "", None, Unavailable),
    ] {
        let body = json!({"__type": format!("com.amazonaws.logs#{code}"), "message": message});
        let server = FakeServer::start(move |_| amz_json(status, &body));
        let request = FilterRequest { token: token.map(str::to_owned), ..a_request() };
        let error =
            block_on(async { client(&server.url()).await.filter_log_events(&request).await }).unwrap_err();
        assert_eq!(error, ApiError::new(Operation::FilterLogEvents, expect, code, message), "{code}");
        assert_eq!(server.requests().len(), 1, "{code}");
    }
}

fn refusals_in_xml() {
    use ErrorKind::*;
    for (status, code, message, expect) in [
        (503, "RequestLimitExceeded", "Request limit exceeded.", Throttled),
        (400, "Throttling", "Rate exceeded", Throttled),
        (403, "UnauthorizedOperation", "You are not authorized to perform this operation.", AccessDenied),
        (403, "AccessDenied", "User: x is not authorized to perform: cloudwatch:GetMetricData", AccessDenied),
        (401, "AuthFailure", "AWS was not able to validate the provided access credentials", NoCredentials),
        (
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
            NoCredentials,
        ),
        (400, "RequestExpired", "Request has expired.", ExpiredCredentials),
        (403, "ExpiredToken", "The security token included in the request is expired", ExpiredCredentials),
        (403, "SignatureDoesNotMatch", "Signature not yet current: 2026 is still later than 2025", ClockSkew),
        (401, "OptInRequired", "You are not subscribed to this service.", WrongRegion),
        (400, "InvalidParameterValue", "a & b", Invalid),
        (500, "InternalError", "", Unavailable),
    ] {
        let message_in_xml = message.replace('&', "&amp;");
        let error = format!("<Error><Code>{code}</Code><Message>{message_in_xml}</Message></Error>");
        let of_ec2 = format!("<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>");
        let of_others = format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>");
        let server = FakeServer::start(move |request| match request.text().contains("DescribeFlowLogs") {
            true => xml(status, &of_ec2),
            false => xml(status, &of_others),
        });
        let errors = block_on(all(&server.url()));
        for (error, operation) in errors[2..].iter().zip(&OPERATIONS[2..]) {
            assert_eq!(*error, ApiError::new(*operation, expect, code, message), "{code}");
        }
        assert_eq!(server.requests().len(), OPERATIONS.len(), "{code}");
    }
}

fn unreadable() {
    let html = "<html><head><title>502</title></head><body>a gateway & more</body>";
    for (what, reply) in [
        ("a page of a gateway", Reply::new(502).body(html)),
        ("a page of a proxy", Reply::new(403).body(html)),
        ("nothing", Reply::new(200)),
        ("a page of a captive portal", Reply::new(200).body(html)),
        ("half an answer", amz_json(200, r#"{"events":[]}"#).cut(5)),
        ("no answer", Reply::hang_up()),
    ] {
        let server = FakeServer::start(move |_| reply.clone());
        for (error, operation) in block_on(all(&server.url())).iter().zip(OPERATIONS) {
            assert_eq!((error.operation, error.kind), (operation, ErrorKind::Unavailable), "{what}: {error}");
            assert!(error.message.contains(&server.url()), "{what}: {error}");
        }
    }
    let uneven = "<GetMetricDataResponse><GetMetricDataResult><MetricDataResults><member><Timestamps>\
                  <member>1970-01-01T00:00:00Z</member></Timestamps><Values/></member></MetricDataResults>\
                  </GetMetricDataResult></GetMetricDataResponse>";
    let forbidden = "<GetMetricDataResponse><GetMetricDataResult><MetricDataResults><member><StatusCode>Forbidden</StatusCode>\
                     </member></MetricDataResults></GetMetricDataResult></GetMetricDataResponse>";
    for (body, kind) in [(uneven, ErrorKind::Unavailable), (forbidden, ErrorKind::AccessDenied)] {
        let server = FakeServer::start(move |_| xml(200, body));
        let minutes = block_on(async {
            client(&server.url()).await.incoming_log_events("/vpc/flow", 0, 60_000, 60).await
        });
        assert_eq!(minutes.unwrap_err().kind, kind, "{body}");
    }
}

fn unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(); // and closed again
    let url = format!("http://127.0.0.1:{port}");
    for (error, operation) in block_on(all(&url)).iter().zip(OPERATIONS) {
        assert_eq!((error.operation, error.kind), (operation, ErrorKind::Unavailable), "{error}");
        assert!(error.message.contains(&url) && error.message.contains("refused"), "{error}");
    }
}

fn late() {
    let server = FakeServer::start(|_| Reply::never());
    let begin = Instant::now();
    let (of_sdk, of_ours) = block_on(async {
        let client = client(&server.url()).await;
        let request = a_request();
        tokio::join!(client.filter_log_events(&request), client.describe_flow_logs("/vpc/flow"))
    });
    let took = begin.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(40)).contains(&took), "{took:?}");
    for error in [of_sdk.unwrap_err(), of_ours.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains(&server.url()), "{error}");
    }
    assert_eq!(server.requests().len(), 2);
}

fn no_secrets() {
    let signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    let message = format!(
        "The signature {signature} of {SECRET} with {TOKEN} does not match. The Canonical String for this request should \
         have been 'POST x-amz-security-token:{TOKEN}'"
    );
    let replies = [
        amz_json(403, json!({"__type": "InvalidSignatureException", "message": message})),
        xml(
            403,
            &format!("<E><Error><Code>SignatureDoesNotMatch</Code><Message>{message}</Message></Error></E>"),
        ),
        Reply::new(200).body(message.clone()),
        Reply::hang_up(),
    ];
    for reply in replies {
        let server = FakeServer::start(move |_| reply.clone());
        for error in block_on(all(&server.url())) {
            let text = format!("{error} {error:?}");
            for secret in [SECRET, TOKEN, signature] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
    block_on(async {
        let client = client("http://127.0.0.1:1").await;
        let text = format!("{client:?}");
        assert!(!text.contains(SECRET) && !text.contains(TOKEN), "{text}");
    });
}

fn huge_replies() {
    let refusal = |bytes: usize| {
        let message = "no ".repeat(bytes / 3);
        let json = amz_json(400, json!({"__type": "AccessDeniedException", "Message": message}));
        let text = format!(
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{message}</Message></Error></ErrorResponse>"
        );
        (json, xml(403, &text))
    };
    // Within the bound it is what AWS says, cut; beyond it, no answer of AWS's.
    for (bytes, kind) in [(200 << 10, ErrorKind::AccessDenied), (4 << 20, ErrorKind::Unavailable)] {
        let (json, text) = refusal(bytes);
        let server = FakeServer::start(move |request| match request.header("x-amz-target") {
            Some(_) => json.clone(),
            None => text.clone(),
        });
        for error in block_on(all(&server.url())) {
            assert_eq!(error.kind, kind, "{bytes}: {error}");
            assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
        }
    }
    let padding = " ".repeat(17 << 20);
    let page = format!("{{\"events\":[]{padding}}}");
    let server = FakeServer::start(move |request| match request.header("x-amz-target") {
        Some(_) => amz_json(200, &page).header("x-amzn-RequestId", "r").chunked(),
        None => xml(200, &format!("<DescribeFlowLogsResponse>{padding}</DescribeFlowLogsResponse>")),
    });
    for error in block_on(all(&server.url())) {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("cannot be read"), "{error}");
        assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
    }
}

fn proxies() {
    let proxy = FakeServer::start(|_| Reply::new(403));
    let probe = Probe::default().keys().env("AWS_REGION", "eu-west-1").env("HTTPS_PROXY", proxy.url());
    for what in ["groups", "flow logs"] {
        let said = probe.ask(what);
        assert!(said.contains("Unavailable") && said.contains("eu-west-1.amazonaws.com"), "{said}");
    }
    let requests = proxy.requests();
    let asked: Vec<_> =
        requests.iter().map(|request| (request.method.as_str(), request.path.as_str())).collect();
    assert_eq!(
        asked,
        [("CONNECT", "logs.eu-west-1.amazonaws.com:443"), ("CONNECT", "ec2.eu-west-1.amazonaws.com:443")]
    );

    let service = FakeServer::start(|_| amz_json(200, r#"{"logGroups":[]}"#));
    let said = Probe::default()
        .keys()
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ENDPOINT_URL", service.url())
        .env("HTTP_PROXY", proxy.url())
        .env("NO_PROXY", "127.0.0.1")
        .ask("groups");
    assert!(said.starts_with("Ok("), "{said}");
    assert_eq!(proxy.requests().len(), 2);
}
