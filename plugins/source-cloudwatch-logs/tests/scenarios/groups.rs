//! Several log groups: found by globs, missing, and what EC2 says of their flow logs.

use flowstone_aws::{FlowLog, Operation};
use flowstone_core::Source;
use source_cloudwatch_logs::options::AccountOptions;

use crate::rig::{BEGIN, HOUR, MINUTE, Rig, SECOND, event};

fn put(rig: &Rig, group: &str, begin_ms: i64, request: u64) {
    rig.service.put(group, (0..60).map(|n| event(begin_ms + n * SECOND, MINUTE, request + n as u64)));
}

#[tokio::test(start_paused = true)]
async fn a_glob_finds_groups_that_are_made_later() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/*".to_owned()];
    rig.service.create_group("/other", BEGIN, ["s".to_owned()]);
    put(&rig, "/vpc/flow", BEGIN, 0);
    put(&rig, "/other", BEGIN, 1000);
    rig.start().await;
    rig.read_until(BEGIN + 30 * MINUTE).await;
    rig.service.create_group("/vpc/later", BEGIN + 30 * MINUTE, ["s".to_owned()]);
    put(&rig, "/vpc/later", BEGIN + 30 * MINUTE, 2000);
    rig.read_until(BEGIN + 2 * HOUR).await;
    assert_eq!(rig.sent.len(), 120);
    let groups: Vec<&str> =
        rig.documents.values().map(|(_, d)| d["cloudwatch_logs"]["log_group"].as_str().unwrap()).collect();
    assert_eq!(groups.iter().filter(|&&group| group == "/vpc/later").count(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_missing_holds_up_no_other_and_is_read_once_it_is_there() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/flow".to_owned(), "/vpc/missing".to_owned()];
    put(&rig, "/vpc/flow", BEGIN, 0);
    rig.start().await;
    rig.read_until(BEGIN + 30 * MINUTE).await;
    rig.assert_all_sent(1);
    assert!(rig.metric("component_errors_total", "not_found") > 0.0);
    let asked = rig.metric("component_errors_total", "not_found");
    assert!(asked < 90.0, "{asked} requests in half an hour");
    rig.service.create_group("/vpc/missing", BEGIN, ["s".to_owned()]);
    put(&rig, "/vpc/missing", BEGIN + 20 * MINUTE, 5000);
    rig.read_until(BEGIN + 2 * HOUR).await;
    assert_eq!(rig.sent.len(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_busy_group_does_not_starve_a_quiet_one() {
    let mut rig =
        Rig::with(flowstone_testkit::cloudwatch::Behaviour { page_events: 100, ..Default::default() });
    rig.options.log_groups = vec!["/vpc/flow".to_owned(), "/vpc/quiet".to_owned()];
    rig.service.create_group("/vpc/quiet", BEGIN, ["s".to_owned()]);
    // More than the quota of 8 pages a second can ever read.
    rig.service.put("/vpc/flow", (0..2_000_000).map(|n| event(BEGIN + n / 2, 10 * SECOND, n as u64)));
    put(&rig, "/vpc/quiet", BEGIN, 3_000_000);
    rig.start().await;
    rig.read_until(BEGIN + 8 * MINUTE).await;
    let quiet = rig.documents.values().filter(|(_, d)| d["cloudwatch_logs"]["log_group"] == "/vpc/quiet");
    assert_eq!(quiet.count(), 60);
}

#[tokio::test(start_paused = true)]
async fn flow_logs_tell_their_format_and_how_late_records_may_be() {
    let mut rig = Rig::new();
    rig.options.sweeps = Vec::new();
    let flow_log = FlowLog {
        id: "fl-1".to_owned(),
        format: "${version} ${srcaddr}".to_owned(),
        aggregation_s: 600,
        created_ms: Some(BEGIN + 30 * SECOND),
    };
    rig.service.set_flow_logs("/vpc/flow", vec![flow_log]);
    put(&rig, "/vpc/flow", BEGIN, 0);
    // 55 minutes late: within six times the interval, beyond the half hour of one of a minute.
    rig.service.put("/vpc/flow", [event(BEGIN + 40 * SECOND, 55 * MINUTE, 9000)]);
    rig.options.audit = false;
    rig.start().await;
    rig.read_until(BEGIN + 3 * HOUR).await;
    rig.assert_all_sent(1);
    assert_eq!(rig.formats.len(), 31, "those of before the flow log was made may have another format");
    assert!(rig.formats.values().all(|format| format == "${version} ${srcaddr}"));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_asked_costs_no_event() {
    let mut rig = Rig::new();
    for operation in [Operation::DescribeFlowLogs, Operation::GetMetricData, Operation::DescribeLogGroups] {
        rig.service.deny(operation);
    }
    put(&rig, "/vpc/flow", BEGIN, 0);
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR).await;
    rig.assert_all_sent(1);
    assert!(rig.metric("aws_requests_total", "GetMetricData") <= 1.0, "it is not asked again");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_looked_for_in_every_region_and_read_where_it_is() {
    let mut rig = Rig::new();
    rig.options.regions = vec!["eu-west-1".to_owned(), "us-east-1".to_owned()];
    put(&rig, "/vpc/flow", BEGIN, 0);
    assert_eq!(rig.source().probe().await, Ok(()), "one region has it");
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR).await;
    rig.assert_all_sent(1);
    // The same name in another region is another group.
    rig.elsewhere.create_group("/vpc/flow", BEGIN, ["s".to_owned()]);
    rig.elsewhere.put("/vpc/flow", (0..60).map(|n| event(BEGIN + 9 * HOUR + n * SECOND, MINUTE, n as u64)));
    rig.read_until(BEGIN + 18 * HOUR).await;
    assert_eq!(rig.sent.len(), 120);
    rig.options.log_groups = vec!["/vpc/nowhere".to_owned()];
    let told = rig.source().probe().await.unwrap_err();
    assert!(told.contains("there is no log group `/vpc/nowhere`"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_entered_twice_is_refused_before_anything_is_read() {
    let mut rig = Rig::new();
    let account = |role: Option<&str>| AccountOptions {
        role_arn: role.map(str::to_owned),
        ..AccountOptions::defaults()
    };
    // The credentials' own account, and a role of it.
    rig.options.accounts = vec![account(None), account(Some("arn:aws:iam::123456789012:role/reader"))];
    let told = rig.source().probe().await.unwrap_err();
    assert!(told.contains("account 123456789012 is read twice in region eu-west-1"), "{told}");
}
