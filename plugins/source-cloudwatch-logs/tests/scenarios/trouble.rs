//! Reading that does not advance, groups that are gone, a checkpoint that cannot be written: what is told, and that
//! everything else goes on.

use flowstone_aws::{EventKey, Operation};
use flowstone_testkit::cloudwatch::{Maze, MazeKind, SimulatedEvent};

use crate::rig::{BEGIN, HOUR, MINUTE, Rig, SECOND, event};

/// Events a minute apart, from two hours before the beginning to two hours after it.
fn put(rig: &Rig, group: &str, request: u64) {
    rig.service
        .put(group, (-120..120).map(|n| event(BEGIN + n * MINUTE, 20 * SECOND, request + (n + 120) as u64)));
}

/// A world with two groups, the first of which has a stretch whose pages lead nowhere.
fn rig_with_maze(kind: MazeKind, stretch: (i64, i64)) -> Rig {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/flow".to_owned(), "/vpc/other".to_owned()];
    rig.service.create_group("/vpc/other", BEGIN - HOUR, ["eni-1-all".to_owned()]);
    put(&rig, "/vpc/flow", 0);
    put(&rig, "/vpc/other", 1000);
    rig.service.behave(|behaviour| {
        behaviour.maze = Some(Maze { kind, group: "/vpc/flow".to_owned(), stretch });
    });
    rig
}

fn sent_of(rig: &Rig, group: &str) -> usize {
    rig.documents.values().filter(|(_, document)| document["cloudwatch_logs"]["log_group"] == group).count()
}

fn requests(rig: &Rig) -> u64 {
    let calls = rig.service.calls();
    calls.pages + calls.failed
}

#[tokio::test(start_paused = true)]
async fn an_empty_token_is_the_end_of_the_pages() {
    let mut rig = rig_with_maze(MazeKind::EmptyToken, (0, i64::MAX));
    rig.start().await;
    rig.read_until(BEGIN + 4 * HOUR).await;
    assert_eq!((sent_of(&rig, "/vpc/flow"), sent_of(&rig, "/vpc/other")), (240, 240));
    assert_eq!((rig.metric("component_errors_total", ""), rig.problems()), (0.0, String::new()));
}

#[tokio::test(start_paused = true)]
async fn pages_that_lead_nowhere_are_given_up_and_hold_up_nothing_else() {
    for kind in [MazeKind::SameToken, MazeKind::Circle, MazeKind::EmptyPages, MazeKind::RefusedToken] {
        // A minute of the past, and one that is still to come.
        for stretch in [BEGIN - 30 * MINUTE, BEGIN + 30 * MINUTE] {
            let mut rig = rig_with_maze(kind, (stretch, stretch + MINUTE));
            rig.start().await;
            rig.read_until(BEGIN + 2 * HOUR).await;
            let case = format!("{kind:?} at {}", (stretch - BEGIN) / MINUTE);
            assert_eq!(sent_of(&rig, "/vpc/other"), 239, "{case}");
            assert!(sent_of(&rig, "/vpc/flow") >= 238, "{case}: {}", sent_of(&rig, "/vpc/flow"));
            let given_up = rig.metric("component_errors_total", "no_progress");
            assert!((3.0..60.0).contains(&given_up), "{case}: given up {given_up} times");
            let problems = rig.problems();
            assert!(
                problems.contains("log group `/vpc/flow`")
                    && problems.contains("(no_progress)")
                    && problems.lines().count() == 1,
                "{case}: {problems}"
            );
            assert!(rig.sent.values().all(|&times| times == 1), "{case}: sent twice");
            rig.service.behave(|behaviour| behaviour.maze = None);
            rig.read_until(BEGIN + 5 * HOUR).await;
            rig.assert_all_sent_of(&["/vpc/flow", "/vpc/other"]);
            assert_eq!(rig.problems(), "", "{case}: it is over");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_every_page_leads_nowhere_little_is_asked_and_little_is_held() {
    let mut rig = rig_with_maze(MazeKind::SameToken, (0, i64::MAX));
    rig.options.poll_interval = Some(std::time::Duration::from_secs(10));
    rig.start().await;
    rig.read_until(BEGIN + 12 * HOUR).await;
    assert_eq!(sent_of(&rig, "/vpc/other"), 240);
    let before = requests(&rig);
    let pages_of_other = 12 * 400;
    rig.read_until(BEGIN + 24 * HOUR).await;
    assert!(requests(&rig) - before < 12 * 60 * 5 + pages_of_other * 3, "{}", requests(&rig) - before);
    assert!(rig.problems().contains("(no_progress)"), "{}", rig.problems());
    rig.service.behave(|behaviour| behaviour.maze = None);
    rig.read_until(BEGIN + 30 * HOUR).await;
    rig.assert_all_sent_of(&["/vpc/flow", "/vpc/other"]);
    assert_eq!(rig.problems(), "");
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_first_read_is_refused_is_not_ready_and_its_first_success_makes_it_ready() {
    let mut rig = Rig::new();
    put(&rig, "/vpc/flow", 0);
    rig.service.deny(Operation::FilterLogEvents);
    rig.start().await;
    rig.read_until(BEGIN + 5 * SECOND).await;
    let problems = rig.problems();
    assert!(
        problems.contains("source `vpc` (cloudwatch_logs): read: log group `/vpc/flow` in region eu-west-1")
            || problems.contains("read: log group `/vpc/flow` in region eu-west-1"),
        "{problems}"
    );
    assert!(problems.contains(r#""Action":"logs:FilterLogEvents""#), "{problems}");
    rig.service.permit(Operation::FilterLogEvents);
    rig.read_until(BEGIN + 5 * MINUTE).await;
    assert_eq!(rig.problems(), "");
    // From now on a refusal may pass for a while.
    rig.service.behave(|behaviour| behaviour.unavailable = 1.0);
    let begin = rig.now_ms();
    let mut not_ready_at = None;
    while rig.now_ms() < begin + 5 * MINUTE && not_ready_at.is_none() {
        rig.read_until(rig.now_ms() + SECOND).await;
        not_ready_at = Some(rig.now_ms()).filter(|_| !rig.problems().is_empty());
    }
    let failed_for = rig.metric("component_errors_total", "unavailable");
    assert!(failed_for >= 3.0 && rig.problems().contains("(unavailable)"), "{}", rig.problems());
    rig.service.behave(|behaviour| behaviour.unavailable = 0.0);
    rig.read_until(rig.now_ms() + 5 * MINUTE).await;
    assert_eq!(rig.problems(), "");
}

#[tokio::test(start_paused = true)]
async fn one_of_several_groups_that_is_refused_is_named_and_a_throttled_source_is_not_ready_after_a_while() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/flow".to_owned(), "/vpc/missing".to_owned()];
    put(&rig, "/vpc/flow", 0);
    rig.start().await;
    rig.read_until(BEGIN + 10 * MINUTE).await;
    let problems = rig.problems();
    assert!(problems.contains("`/vpc/missing`") && !problems.contains("`/vpc/flow`"), "{problems}");
    rig.service.create_group("/vpc/missing", BEGIN, ["s".to_owned()]);
    rig.read_until(BEGIN + 20 * MINUTE).await;
    assert_eq!(rig.problems(), "");
    rig.service.behave(|behaviour| behaviour.throttled = 1.0);
    rig.read_until(rig.now_ms() + 50 * SECOND).await;
    assert_eq!(rig.problems(), "", "to be throttled is to be asked to wait");
    rig.read_until(rig.now_ms() + 3 * MINUTE).await;
    assert!(rig.problems().contains("(throttled)"), "{}", rig.problems());
    rig.service.behave(|behaviour| behaviour.throttled = 0.0);
    rig.read_until(rig.now_ms() + 2 * MINUTE).await;
    assert_eq!(rig.problems(), "");
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_is_refused_is_told() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/*".to_owned()];
    put(&rig, "/vpc/flow", 0);
    rig.service.deny(Operation::DescribeLogGroups);
    rig.start().await;
    rig.read_until(BEGIN + 5 * SECOND).await;
    assert!(rig.problems().contains(r#""Action":"logs:DescribeLogGroups""#), "{}", rig.problems());
    rig.service.permit(Operation::DescribeLogGroups);
    rig.read_until(BEGIN + 2 * MINUTE).await;
    assert_eq!(rig.problems(), "");
}

#[tokio::test(start_paused = true)]
async fn a_found_group_that_is_gone_is_let_go_and_read_on_when_it_comes_back() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/*".to_owned()];
    rig.service.create_group("/vpc/short", BEGIN - HOUR, ["s".to_owned()]);
    put(&rig, "/vpc/flow", 0);
    put(&rig, "/vpc/short", 1000);
    rig.start().await;
    rig.read_until(BEGIN + HOUR).await;
    assert!(sent_of(&rig, "/vpc/short") > 150);
    let requests_an_hour = requests(&rig);
    rig.service.delete_group("/vpc/short");
    rig.read_until(BEGIN + HOUR + 8 * MINUTE).await;
    assert_eq!(rig.problems(), "", "nobody has named it");
    let failed = rig.service.calls().failed;
    rig.read_until(BEGIN + 9 * HOUR).await;
    assert_eq!(rig.service.calls().failed, failed, "it is not asked for any more");
    assert!(rig.metric("source_lag_seconds", "") < 300.0);
    assert!(requests(&rig) < 9 * requests_an_hour);
    // Its events would all be new if nothing were known of it: `sent` counts.
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR + MINUTE).await;
    rig.service.create_group("/vpc/short", BEGIN - HOUR, ["s".to_owned()]);
    put(&rig, "/vpc/short", 1000);
    rig.service.put("/vpc/short", [event(BEGIN + 9 * HOUR, MINUTE, 5000)]);
    rig.read_until(BEGIN + 18 * HOUR).await;
    rig.assert_all_sent_of(&["/vpc/flow", "/vpc/short"]);
    assert!(rig.sent.values().all(|&times| times == 1), "what is known of it was kept");
}

#[tokio::test(start_paused = true)]
async fn groups_that_come_and_go_take_the_places_of_those_before_them() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/*".to_owned()];
    put(&rig, "/vpc/flow", 0);
    rig.start().await;
    for number in 0..10_i64 {
        let (name, begin) = (format!("/vpc/{number}"), BEGIN + number * HOUR);
        rig.service.create_group(&name, begin, ["s".to_owned()]);
        rig.service
            .put(&name, (0..10).map(|n| event(begin + n * SECOND, MINUTE, (1000 * number + n) as u64)));
        rig.read_until(begin + 40 * MINUTE).await;
        assert_eq!(sent_of(&rig, &name), 10, "{name}");
        rig.service.delete_group(&name);
        rig.read_until(begin + HOUR).await;
        assert_eq!(rig.problems(), "", "{name}");
    }
    assert!(rig.metric("source_lag_seconds", "") < 300.0);
}

#[tokio::test(start_paused = true)]
async fn a_named_group_that_is_missing_is_asked_for_now_and_then_and_holds_no_lag() {
    let mut rig = Rig::new();
    put(&rig, "/vpc/flow", 0);
    rig.start().await;
    rig.read_until(BEGIN + 10 * MINUTE).await;
    let sent = rig.sent.len();
    // For a short time: nothing is lost, and nothing is sent twice.
    rig.service.delete_group("/vpc/flow");
    rig.read_until(BEGIN + 10 * MINUTE + 12 * SECOND).await;
    rig.service.create_group("/vpc/flow", BEGIN - HOUR, ["s".to_owned()]);
    put(&rig, "/vpc/flow", 0);
    rig.read_until(BEGIN + 20 * MINUTE).await;
    assert!(rig.sent.len() >= sent + 8 && rig.sent.values().all(|&times| times == 1), "{}", rig.sent.len());
    rig.service.delete_group("/vpc/flow");
    rig.read_until(BEGIN + 24 * HOUR).await;
    let before = requests(&rig);
    rig.read_until(BEGIN + 48 * HOUR).await;
    assert!((200..400).contains(&(requests(&rig) - before)), "{} in a day", requests(&rig) - before);
    assert_eq!(rig.metric("source_lag_seconds", ""), 0.0);
    assert!(rig.problems().contains("there is no log group `/vpc/flow`"), "{}", rig.problems());
    rig.service.create_group("/vpc/flow", BEGIN - HOUR, ["s".to_owned()]);
    put(&rig, "/vpc/flow", 0);
    let before = requests(&rig);
    rig.read_until(BEGIN + 49 * HOUR).await;
    rig.assert_all_sent(1);
    assert_eq!(rig.problems(), "");
    // What passed meanwhile is read in long stretches, and not minute by minute.
    assert!(requests(&rig) - before < 400, "{}", requests(&rig) - before);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_written_is_told_counted_and_written_again() {
    let mut rig = Rig::new();
    put(&rig, "/vpc/flow", 0);
    rig.start().await;
    // There is something in its place.
    let in_the_way = rig.state().join("ledger-00000001.log");
    std::fs::create_dir(&in_the_way).unwrap();
    rig.read_until(BEGIN + 10 * MINUTE).await;
    let problems = rig.problems();
    assert!(
        problems.contains("checkpoint: cannot write the checkpoint in")
            && problems.contains("make room or give flowstone the right to write there"),
        "{problems}"
    );
    let failed = rig.metric("component_errors_total", "checkpoint");
    assert!((10.0..40.0).contains(&failed), "{failed} tries in ten minutes");
    assert!(rig.sent.len() > 120, "reading goes on");
    let files = |rig: &Rig| {
        let entries = std::fs::read_dir(rig.state()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("ledger-")).count()
    };
    assert_eq!(files(&rig), 1, "no file for each try");
    // Nothing new comes in, and it is written all the same.
    std::fs::remove_dir(&in_the_way).unwrap();
    rig.read_until(BEGIN + 10 * MINUTE + 40 * SECOND).await;
    assert_eq!((rig.problems(), files(&rig)), (String::new(), 1));
    rig.start().await;
    rig.read_until(BEGIN + 3 * HOUR).await;
    rig.assert_all_sent(1);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_another_version_ends_the_run_and_is_left_as_it_is() {
    let mut rig = Rig::new();
    put(&rig, "/vpc/flow", 0);
    rig.start().await;
    rig.read_until(BEGIN + 10 * MINUTE).await;
    rig.stop();
    let text = r#"{"v":2,"source":"vpc"}"#;
    let line = format!("{:016x} {text}\n", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    let newer = rig.state().join("ledger-00000007.log");
    std::fs::write(&newer, &line).unwrap();
    let error = rig.refused_at_start(rig.source()).await;
    assert!(
        error.fatal
            && error.message.contains("ledger-00000007.log has version 2, this flowstone knows version 1"),
        "{error:?}"
    );
    assert_eq!(std::fs::read_to_string(&newer).unwrap(), line);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_a_peer_names_cannot_lead_astray() {
    let mut rig = Rig::new();
    rig.options.log_groups = vec!["/vpc/*".to_owned()];
    // Made in the year 60,000, and kept for less than nothing.
    rig.service.create_group("/vpc/future", i64::MAX, ["s".to_owned()]);
    rig.service.create_group("/vpc/past", i64::MIN, ["s".to_owned()]);
    put(&rig, "/vpc/flow", 0);
    put(&rig, "/vpc/future", 1000);
    put(&rig, "/vpc/past", 2000);
    let odd = [0, 1, i64::MAX >> 1, i64::MAX].map(|ingestion| SimulatedEvent {
        key: EventKey::new(BEGIN + MINUTE, ingestion, 9000, 0),
        visible_ms: BEGIN + 2 * MINUTE,
        stream: 0,
        message: None,
    });
    rig.service.put("/vpc/flow", odd);
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR).await;
    rig.assert_all_sent_of(&["/vpc/flow", "/vpc/future", "/vpc/past"]);
}
