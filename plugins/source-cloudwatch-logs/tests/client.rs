//! AWS's own client against the simulated service over HTTP: requests, replies and refusals as they are on the wire.
//!
//! The client takes its credentials from the environment, which a test must not change for its neighbours. So each test
//! here serves, and runs its other half, an ignored test, in a process of its own with the environment for it.

use std::process::Command;

use flowstone_aws::sdk::{Client, Role, Session, SessionSettings};
use flowstone_aws::{
    ApiError, ErrorKind, FilterRequest, FlowLog, GroupsRequest, LogGroupName, LogsApi as _, Operation,
    StreamFilter,
};
use flowstone_testkit::cloudwatch::{
    Behaviour, Clock, Fault, FlowTraffic, ServerOptions, SimulatedLogs, SimulatedServer,
};

const MINUTE: i64 = 60_000;
const BEGIN: i64 = 1_800_000_000_000;
const EVENTS: usize = 24_000;

/// Twenty minutes of flow logs, all arrived, at a time that is not this machine's.
fn serve() -> (SimulatedLogs, SimulatedServer) {
    let behaviour = Behaviour {
        per_second: Some(f64::INFINITY),
        empty_pages: 0.2,
        short_pages: 0.2,
        ..Behaviour::default()
    };
    let service = SimulatedLogs::new(behaviour);
    let traffic = FlowTraffic { per_second: 20.0, ..FlowTraffic::default() };
    service.create_made_group("/vpc/flow", traffic.stream_names(), traffic.made(BEGIN, BEGIN + 20 * MINUTE));
    let flow_log = FlowLog {
        id: "fl-1".to_owned(),
        format: "${version} ${srcaddr}".to_owned(),
        aggregation_s: 60,
        created_ms: Some(BEGIN),
    };
    service.set_flow_logs("/vpc/flow", vec![flow_log]);
    (0..60).for_each(|number| service.create_group(&format!("/other/{number:02}"), BEGIN, []));
    let options = ServerOptions { clock: Clock::at(BEGIN + 1440 * MINUTE), ..ServerOptions::default() };
    let server = SimulatedServer::with(&service, options).unwrap();
    (service, server)
}

/// Runs the other half of a test.
fn run(server: &SimulatedServer, half: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", half, "--ignored", "--nocapture"])
        .envs(server.environment())
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said[0].contains("1 passed"), "{half}: {}{}", said[0], said[1]);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn request(token: Option<String>) -> FilterRequest {
    FilterRequest {
        group: LogGroupName::own("/vpc/flow"),
        start_ms: BEGIN,
        end_ms: BEGIN + 20 * MINUTE - 1,
        streams: StreamFilter::All,
        pattern: String::new(),
        token,
    }
}

#[test]
fn all_that_is_asked_is_answered() {
    let (service, server) = serve();
    run(&server, "client_reads");
    assert_eq!(service.calls().events, EVENTS as u64);
    assert_eq!(service.calls().failed, 0);
}

#[test]
#[ignore = "a half of all_that_is_asked_is_answered"]
fn client_reads() {
    block_on(async {
        let session = Session::load(&SessionSettings::default()).await.unwrap();
        let client = Client::new(&session, "eu-west-1");
        assert_eq!(client.account_id().await.unwrap(), "123456789012");

        let (mut token, mut keys) = (None, Vec::new());
        loop {
            let page = client.filter_log_events(&request(token)).await.unwrap();
            let asked_at_ms = page.asked_at_ms.unwrap();
            // Earlier by what a call may take and a `Date` is cut by, never later.
            assert!((-2000..60_000).contains(&(asked_at_ms - BEGIN - 1440 * MINUTE)), "{asked_at_ms}");
            keys.extend(page.events.iter().map(flowstone_aws::EventKey::of));
            assert!(page.events.iter().all(|event| event.message.starts_with("2 123456789012 eni-")));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        assert!(keys.len() == EVENTS && keys.is_sorted());
        keys.dedup();
        assert_eq!(keys.len(), EVENTS);

        let (mut groups, mut listing) = (Vec::new(), GroupsRequest::default());
        loop {
            let page = client.describe_log_groups(&listing).await.unwrap();
            groups.extend(page.groups);
            listing.token = page.next_token;
            if listing.token.is_none() {
                break;
            }
        }
        assert_eq!(
            (groups.len(), groups[60].name.as_str(), groups[60].created_ms),
            (61, "/vpc/flow", Some(BEGIN))
        );

        let flow_logs = client.describe_flow_logs("/vpc/flow").await.unwrap();
        let [flow_log] = &flow_logs[..] else { panic!("{flow_logs:?}") };
        assert_eq!((flow_log.format.as_str(), flow_log.aggregation_s), ("${version} ${srcaddr}", 60));
        assert_eq!(flow_log.created_ms, Some(BEGIN));

        for period_s in [60, 300] {
            let counts = client
                .incoming_log_events("/vpc/flow", BEGIN, BEGIN + 1440 * MINUTE, period_s)
                .await
                .unwrap();
            assert!(counts.is_sorted_by_key(|count| count.minute_ms));
            assert_eq!(counts.iter().map(|count| count.events).sum::<u64>(), EVENTS as u64);
        }

        let role = Role {
            arn: "arn:aws:iam::210987654321:role/reader".to_owned(),
            external_id: Some("x".to_owned()),
            session_name: "flowstone".to_owned(),
        };
        let settings = SessionSettings { role: Some(role), ..SessionSettings::default() };
        let client = Client::new(&Session::load(&settings).await.unwrap(), "eu-west-1");
        assert_eq!(client.account_id().await.unwrap(), "210987654321");
        assert_eq!(client.describe_flow_logs("/vpc/flow").await.unwrap(), flow_logs);
    });
}

#[test]
fn a_huge_refusal_takes_little_memory_and_is_a_short_text() {
    let (_service, server) = serve();
    server.inject(|_, _| Some(Fault::Huge));
    run(&server, "client_meets_a_giant");
}

#[test]
#[ignore = "a half of a_huge_refusal_takes_little_memory_and_is_a_short_text"]
fn client_meets_a_giant() {
    // The most memory that this process ever had, in kB.
    let peak = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    block_on(async {
        let client = Client::new(&Session::load(&SessionSettings::default()).await.unwrap(), "eu-west-1");
        let before = peak();
        for _ in 0..3 {
            let errors = [
                client.filter_log_events(&request(None)).await.map(drop).unwrap_err(),
                client.describe_flow_logs("/vpc/flow").await.map(drop).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
            }
        }
        let grown = peak() - before;
        assert!(grown < 16 << 10, "{grown} kB for refusals of 40 MB");
    });
}

/// What the client is made to meet, in this order for each operation, and what it must understand. EC2 says the same of
/// a wrong clock and of wrong credentials.
const FAULTS: [(Fault, ErrorKind, ErrorKind); 9] = [
    (Fault::Throttled, ErrorKind::Throttled, ErrorKind::Throttled),
    (Fault::Denied, ErrorKind::AccessDenied, ErrorKind::AccessDenied),
    (Fault::ExpiredToken, ErrorKind::ExpiredCredentials, ErrorKind::ExpiredCredentials),
    (Fault::UnknownKey, ErrorKind::NoCredentials, ErrorKind::NoCredentials),
    (Fault::WrongSecret, ErrorKind::NoCredentials, ErrorKind::NoCredentials),
    (Fault::ClockSkew, ErrorKind::ClockSkew, ErrorKind::NoCredentials),
    (Fault::Unavailable, ErrorKind::Unavailable, ErrorKind::Unavailable),
    (Fault::Internal, ErrorKind::Unavailable, ErrorKind::Unavailable),
    (Fault::HangUp, ErrorKind::Unavailable, ErrorKind::Unavailable),
];

const OPERATIONS: [Operation; 5] = [
    Operation::FilterLogEvents,
    Operation::DescribeLogGroups,
    Operation::DescribeFlowLogs,
    Operation::GetMetricData,
    Operation::GetCallerIdentity,
];

#[test]
fn every_refusal_is_understood_and_nothing_is_sent_twice() {
    let (_service, server) = serve();
    server.inject(|_, number| FAULTS.get(number as usize).map(|fault| fault.0));
    run(&server, "client_is_refused");
    for operation in OPERATIONS {
        assert_eq!(server.count(operation), FAULTS.len() as u64 + 1, "{operation}");
    }
}

#[test]
#[ignore = "a half of every_refusal_is_understood_and_nothing_is_sent_twice"]
fn client_is_refused() {
    block_on(async {
        let client = Client::new(&Session::load(&SessionSettings::default()).await.unwrap(), "eu-west-1");
        for operation in OPERATIONS {
            for (fault, expect, of_ec2) in FAULTS {
                let error: ApiError = match operation {
                    Operation::FilterLogEvents => client.filter_log_events(&request(None)).await.map(drop),
                    Operation::DescribeLogGroups => {
                        client.describe_log_groups(&GroupsRequest::default()).await.map(drop)
                    }
                    Operation::DescribeFlowLogs => client.describe_flow_logs("/vpc/flow").await.map(drop),
                    Operation::GetMetricData => {
                        client.incoming_log_events("/vpc/flow", BEGIN, BEGIN + MINUTE, 60).await.map(drop)
                    }
                    Operation::GetCallerIdentity | Operation::AssumeRole => {
                        client.account_id().await.map(drop)
                    }
                }
                .unwrap_err();
                let expect = if operation == Operation::DescribeFlowLogs { of_ec2 } else { expect };
                assert_eq!(error.kind, expect, "{fault:?}: {error}");
                assert_eq!(error.operation, operation, "{fault:?}: {error}");
            }
        }
        // And then all is well again.
        client.filter_log_events(&request(None)).await.unwrap();
        client.describe_log_groups(&GroupsRequest::default()).await.unwrap();
        client.describe_flow_logs("/vpc/flow").await.unwrap();
        client.incoming_log_events("/vpc/flow", BEGIN, BEGIN + MINUTE, 60).await.unwrap();
        client.account_id().await.unwrap();
    });
}
