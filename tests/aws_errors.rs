//! What people meet when AWS says no: which component, what is missing, and what to do, in one line, with the policy
//! statement where a permission is missing; and never a secret.

mod support;

use std::process::Command;
use std::time::Duration;

use flowstone_aws::Operation;
use flowstone_testkit::cloudwatch::{Behaviour, Fault, FlowTraffic, SimulatedLogs, SimulatedServer};
use flowstone_testkit::http::Client;
use support::{Flowstone, binary, free_port, metric_of, peak_kb};

const SECRET: &str = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "IQoJb3JpZ2luX2VjEXAMPLESESSIONTOKEN";

/// An account with `/vpc/flow`, which holds ten minutes of flow logs, all of which have arrived.
fn serve() -> (SimulatedLogs, SimulatedServer) {
    let service = SimulatedLogs::new(Behaviour { per_second: Some(f64::INFINITY), ..Behaviour::default() });
    let server = SimulatedServer::start(&service);
    let traffic = FlowTraffic { per_second: 10.0, ..FlowTraffic::default() };
    let from_ms = server.now_ms() / 60_000 * 60_000 - 8 * 3_600_000;
    service.create_made_group("/vpc/flow", traffic.stream_names(), traffic.made(from_ms, from_ms + 600_000));
    (service, server)
}

struct Case<'a> {
    folder: &'a std::path::Path,
    server: &'a SimulatedServer,
    options: &'a str,
    port: u16,
}

impl Case<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let config = format!(
            "data_dir = \"state\"\n[sources.vpc]\ntype = \"cloudwatch_logs\"\n{}\n[sinks.out]\ntype = \"blackhole\"\n\
             inputs = [\"vpc\"]\n[metrics]\nlisten = \"127.0.0.1:{}\"\n",
            self.options, self.port
        );
        std::fs::write(self.folder.join("flowstone.toml"), config).unwrap();
        let mut command = Command::new(binary());
        command.args(["--log-level", "trace"]).args(arguments).args(["-c", "flowstone.toml"]);
        command.current_dir(self.folder).env_remove("AWS_PROFILE").env_remove("FLOWSTONE_LOG");
        command.envs(self.server.environment());
        command.env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_SESSION_TOKEN", SESSION);
        command
    }

    /// What `validate --connect` says, after a look that it keeps secrets; and that it fails.
    fn refusal(&self, prepare: impl FnOnce(&mut Command)) -> String {
        let mut command = self.command(&["validate", "--connect"]);
        prepare(&mut command);
        let output = command.output().unwrap();
        let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_secret_free(&format!("{said}{log}"));
        assert_eq!(output.status.code(), Some(1), "{said}{log}");
        let line = said.lines().find(|line| line.starts_with("source `vpc` (cloudwatch_logs): "));
        line.unwrap_or_else(|| panic!("nothing is said of the source: {said}")).to_owned()
    }
}

fn sent(port: u16) -> f64 {
    metric_of(port, "flowstone_component_sent_events_total", "component_id=\"vpc\"")
}

#[track_caller]
fn assert_secret_free(text: &str) {
    for secret in [SECRET, SESSION, "Signature="] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is in the log");
    }
}

#[test]
fn every_refusal_says_what_is_missing_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, server) = serve();
    let of_group = r#"{"Effect":"Allow","Action":"logs:FilterLogEvents","Resource":"arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/flow:*"}"#;
    let listing = r#"{"Effect":"Allow","Action":"logs:DescribeLogGroups","#;
    let assume =
        r#"{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::210987654321:role/reader"}"#;
    let plain = "log_groups = [\"/vpc/flow\"]";
    let glob = "log_groups = [\"/vpc/*\"]";
    let role =
        "log_groups = [\"/vpc/flow\"]\naccounts = [{ role_arn = \"arn:aws:iam::210987654321:role/reader\" }]";
    use Operation::*;
    // Credentials that are no good are so for every service.
    let unknown = [GetCallerIdentity, DescribeLogGroups, FilterLogEvents].map(|of| (of, Fault::UnknownKey));
    let wrong = unknown.map(|(of, _)| (of, Fault::WrongSecret));
    let expired = unknown.map(|(of, _)| (of, Fault::ExpiredToken));
    let skewed = unknown.map(|(of, _)| (of, Fault::ClockSkew));
    // The options, what fails, what is said of it.
    type Row<'a> = (&'a str, &'a [(Operation, Fault)], &'a [&'a str]);
    let cases: [Row<'_>; 9] = [
        (
            plain,
            &[(FilterLogEvents, Fault::Denied)],
            &["logs:FilterLogEvents failed (access_denied)", of_group],
        ),
        (
            glob,
            &[(DescribeLogGroups, Fault::Denied)],
            &["logs:DescribeLogGroups failed (access_denied)", listing],
        ),
        (role, &[(AssumeRole, Fault::Denied)], &["sts:AssumeRole failed (access_denied)", assume]),
        (plain, &unknown, &["no_credentials", "AWS_ACCESS_KEY_ID"]),
        (plain, &wrong, &["no_credentials", "AWS_SECRET_ACCESS_KEY"]),
        (plain, &expired, &["expired_credentials", "aws sso login"]),
        (plain, &[(FilterLogEvents, Fault::ExpiredToken)], &["expired_credentials", "renew"]),
        (plain, &skewed, &["clock_skew", "timedatectl"]),
        (
            "log_groups = [\"/vpc/flwo\"]",
            &[],
            &["not_found", "there is no log group `/vpc/flwo` in region eu-west-1 of account 123456789012"],
        ),
    ];
    for (options, faults, expect) in cases {
        let faults = faults.to_vec();
        server.inject(move |operation, _| {
            faults.iter().find(|(of, _)| *of == operation).map(|(_, fault)| *fault)
        });
        let case = Case { folder: folder.path(), server: &server, options, port: free_port() };
        let said = case.refusal(|_| {});
        for part in expect {
            assert!(said.contains(part), "expected {part:?} in {said}");
        }
    }
}

#[test]
fn without_credentials_or_a_region_it_says_where_they_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, server) = serve();
    let options = "log_groups = [\"/vpc/flow\"]";
    let case = Case { folder: folder.path(), server: &server, options, port: free_port() };
    let said = case.refusal(|command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("AWS_SESSION_TOKEN");
    });
    assert!(said.contains("no_credentials") && said.contains("AWS_PROFILE"), "{said}");
    let said = case.refusal(|command| {
        command.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
    });
    assert!(said.contains("region = \"eu-west-1\"") && said.contains("AWS_REGION"), "{said}");
}

#[test]
fn a_permission_that_no_event_needs_is_told_once_and_all_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (service, server) = serve();
    server.inject(|operation, _| {
        matches!(operation, Operation::DescribeFlowLogs | Operation::GetMetricData).then_some(Fault::Denied)
    });
    let options = "log_groups = [\"/vpc/flow\"]\nstart_position = \"-9h\"";
    let port = free_port();
    let case = Case { folder: folder.path(), server: &server, options, port };
    let mut flowstone = Flowstone::start(case.command(&["run"]));
    flowstone.wait_until("all events", Duration::from_secs(60), || sent(port) >= 6000.0);
    assert!(service.calls().events >= 6000);
    flowstone.signal("TERM");
    flowstone.finish(Duration::from_secs(20));
    let log = flowstone.log();
    assert_secret_free(&log);
    let told: Vec<&str> = log.lines().filter(|line| line.contains("ec2:DescribeFlowLogs failed")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("INFO") && told[0].contains("ec2:DescribeFlowLogs\\\",\\\"Resource"),
        "{told:?}"
    );
}

#[test]
fn a_permission_that_is_given_later_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, server) = serve();
    server.inject(|operation, _| (operation == Operation::FilterLogEvents).then_some(Fault::Denied));
    let options = "log_groups = [\"/vpc/flow\"]\nstart_position = \"-9h\"";
    let port = free_port();
    let case = Case { folder: folder.path(), server: &server, options, port };
    let mut flowstone = Flowstone::start(case.command(&["run"]));
    flowstone.wait_for_log("AWS refuses a request", Duration::from_secs(30));
    server.inject(|_, _| None);
    flowstone.wait_for_log("AWS answers FilterLogEvents again", Duration::from_secs(60));
    flowstone.wait_until("all events", Duration::from_secs(60), || sent(port) >= 6000.0);
    flowstone.signal("TERM");
    flowstone.finish(Duration::from_secs(20));
    let log = flowstone.log();
    assert_eq!(log.matches("AWS refuses a request").count(), 1, "it is told once");
}

/// Waits until `/readyz` says all of this; with nothing to say, until it is ready.
#[track_caller]
fn wait_for_readyz(port: u16, flowstone: &mut Flowstone, expect: &[&str]) -> String {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        let reply = client.ok().and_then(|client| client.request("GET", "/readyz", &[], b"").ok());
        if let Some(reply) = reply {
            let status = if expect.is_empty() { 200 } else { 503 };
            if reply.status == status && expect.iter().all(|part| reply.body.contains(part)) {
                return reply.body;
            }
            let late = std::time::Instant::now() > end;
            assert!(!late, "expected {expect:?}, got {} {}\n{}", reply.status, reply.body, flowstone.log());
        }
        assert!(!flowstone.ended() && std::time::Instant::now() < end, "{}", flowstone.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn readyz_names_the_group_the_kind_and_what_to_do_until_the_first_success() {
    let (_service, server) = serve();
    let group = "log group `/vpc/flow` in region eu-west-1 of account 123456789012";
    let statement = "\"Action\":\"logs:FilterLogEvents\"";
    use Operation::FilterLogEvents;
    for (fault, expect) in [
        (Fault::Denied, &["read: ", group, "(access_denied)", statement][..]),
        (Fault::ExpiredToken, &["read: ", "eu-west-1", "(expired_credentials)", "aws sso login"]),
        (Fault::HangUp, &["read: ", "eu-west-1", "(unavailable)", "check the network"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        server.inject(move |operation, _| (operation == FilterLogEvents).then_some(fault));
        let options = "log_groups = [\"/vpc/flow\"]\nstart_position = \"-9h\"";
        let port = free_port();
        let case = Case { folder: folder.path(), server: &server, options, port };
        let mut flowstone = Flowstone::start(case.command(&["run"]));
        let said = wait_for_readyz(port, &mut flowstone, expect);
        assert_secret_free(&said);
        server.inject(|_, _| None);
        wait_for_readyz(port, &mut flowstone, &[]);
        flowstone.signal("TERM");
        flowstone.finish(Duration::from_secs(20));
    }
}

#[test]
fn reading_needs_the_logs_api_alone() {
    let (service, server) = serve();
    // STS never answers, as where a VPC has no endpoint for it; and nothing else is allowed.
    server.inject(|operation, _| match operation {
        Operation::FilterLogEvents => None,
        Operation::GetCallerIdentity => Some(Fault::Never),
        _ => Some(Fault::Denied),
    });
    let folder = tempfile::tempdir().unwrap();
    let options = "log_groups = [\"/vpc/flow\"]\nstart_position = \"-9h\"";
    let port = free_port();
    let case = Case { folder: folder.path(), server: &server, options, port };
    let mut flowstone = Flowstone::start(case.command(&["run"]));
    flowstone.wait_until("all events", Duration::from_secs(90), || sent(port) >= 6000.0);
    assert!(service.calls().events >= 6000);
    wait_for_readyz(port, &mut flowstone, &[]);
    flowstone.signal("TERM");
    flowstone.finish(Duration::from_secs(20));
    assert!(flowstone.log().contains("set `account_id`"), "{}", flowstone.log());
}

#[test]
fn a_giant_of_a_refusal_is_one_short_line_and_little_memory() {
    let (_service, server) = serve();
    server.inject(|operation, _| (operation == Operation::FilterLogEvents).then_some(Fault::Huge));
    let folder = tempfile::tempdir().unwrap();
    let options = "log_groups = [\"/vpc/flow\"]";
    let port = free_port();
    let case = Case { folder: folder.path(), server: &server, options, port };
    let mut command = case.command(&["run"]);
    command.args(["--log-level", "info"]);
    let mut flowstone = Flowstone::start(command);
    let said = wait_for_readyz(port, &mut flowstone, &["(unavailable)"]);
    let asked = server.count(Operation::FilterLogEvents);
    while server.count(Operation::FilterLogEvents) < asked + 3 {
        assert!(!flowstone.ended(), "{}", flowstone.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let peak = peak_kb(flowstone.pid()).unwrap();
    assert!(peak < 100_000, "{peak} kB for a refusal of 40 MB");
    let log = flowstone.log();
    assert!(said.len() < 2000 && log.lines().all(|line| line.len() < 3000), "{said}{log}");
}

#[test]
fn a_checkpoint_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (_service, server) = serve();
    let folder = tempfile::tempdir().unwrap();
    let options = "log_groups = [\"/vpc/flow\"]\nstart_position = \"-9h\"";
    let port = free_port();
    let case = Case { folder: folder.path(), server: &server, options, port };
    let mut flowstone = Flowstone::start(case.command(&["run"]));
    wait_for_readyz(port, &mut flowstone, &[]);
    while metric_of(port, "flowstone_component_sent_events_total", "component_id=\"vpc\"") < 6000.0 {
        assert!(!flowstone.ended(), "{}", flowstone.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    flowstone.signal("TERM");
    flowstone.finish(Duration::from_secs(20));
    let find = || -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![folder.path().join("state")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ledger-")) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    };
    let files = find();
    let [file] = &files[..] else { panic!("{files:?}") };
    // As a later flowstone begins its file.
    let newer = file.with_file_name("ledger-00000099.log");
    std::fs::write(&newer, "491d1b1d1e0dec37 {\"v\":2}\n").unwrap();
    let before = find();
    let mut flowstone = Flowstone::start(case.command(&["run"]));
    let status = flowstone.wait(Duration::from_secs(60));
    let log = flowstone.log();
    assert!(!status.success() && log.contains("version 2, this flowstone knows version 1"), "{log}");
    assert!(log.contains("use the flowstone that wrote it"), "{log}");
    assert_eq!(find(), before, "nothing is deleted, renamed or begun");
}
