//! Which account is read, where STS does not say: reading goes on, and ids stay what they are.

use std::collections::BTreeMap;

use flowstone_aws::Operation;
use flowstone_core::Source as _;
use flowstone_core::event::RowId;

use crate::rig::{BEGIN, HOUR, MINUTE, Read, Rig, SECOND, event};

const ACCOUNT: &str = "123456789012";

fn put(rig: &Rig, begin_ms: i64, request: u64) {
    rig.service.put("/vpc/flow", (0..60).map(|n| event(begin_ms + n * SECOND, MINUTE, request + n as u64)));
}

/// A world in which STS and whoever else could tell the account do not.
fn nobody_tells(rig: &Rig, sts_hangs: bool) {
    rig.service.deny(Operation::DescribeLogGroups);
    match sts_hangs {
        true => rig.service.silence(Operation::GetCallerIdentity, true),
        false => rig.service.deny(Operation::GetCallerIdentity),
    }
}

fn sts_answers(rig: &Rig) {
    rig.service.silence(Operation::GetCallerIdentity, false);
    rig.service.permit(Operation::GetCallerIdentity);
}

fn ids(rig: &Rig) -> BTreeMap<String, RowId> {
    rig.documents.iter().map(|(event_id, (id, _))| (event_id.clone(), *id)).collect()
}

/// The ids of these events where STS answers.
async fn ids_with_sts() -> BTreeMap<String, RowId> {
    let mut rig = Rig::new();
    put(&rig, BEGIN, 0);
    rig.start().await;
    rig.read_until(BEGIN + HOUR).await;
    rig.assert_all_sent(1);
    assert!(rig.accounts.len() == 60 && rig.accounts.values().all(|account| account == ACCOUNT));
    ids(&rig)
}

#[tokio::test(start_paused = true)]
async fn the_account_comes_from_wherever_it_is_known_and_ids_are_those_with_sts() {
    let expect = ids_with_sts().await;
    let arn = format!("arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/vpc/flow");
    type Change<'a> = Box<dyn Fn(&mut Rig) + 'a>;
    let cases: [(&str, Change<'_>); 4] = [
        ("a listing", Box::new(|rig| rig.service.permit(Operation::DescribeLogGroups))),
        ("the option", Box::new(|rig| rig.options.account_id = Some(ACCOUNT.to_owned()))),
        ("an ARN", Box::new(|rig| rig.options.log_groups = vec![arn.clone()])),
        (
            "a listing by a glob",
            Box::new(|rig| {
                rig.service.permit(Operation::DescribeLogGroups);
                rig.options.log_groups = vec!["/vpc/*".to_owned()];
            }),
        ),
    ];
    for (from, change) in cases {
        for sts_hangs in [true, false] {
            let mut rig = Rig::new();
            nobody_tells(&rig, sts_hangs);
            change(&mut rig);
            put(&rig, BEGIN, 0);
            rig.start().await;
            rig.read_until(BEGIN + HOUR).await;
            rig.assert_all_sent(1);
            assert_eq!(ids(&rig), expect, "{from}, sts hangs: {sts_hangs}");
            assert_eq!(rig.problems(), "", "{from}");
            assert!(rig.accounts.values().all(|account| account == ACCOUNT), "{from}");
            // Later STS answers, and nothing changes: `store` looks at each id that comes again.
            sts_answers(&rig);
            rig.start().await;
            put(&rig, BEGIN + HOUR, 1000);
            rig.read_until(BEGIN + 2 * HOUR).await;
            rig.assert_all_sent(1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_without_an_account_keeps_its_ids_when_one_is_known() {
    let with_sts = ids_with_sts().await;
    for sts_hangs in [true, false] {
        let mut rig = Rig::new();
        nobody_tells(&rig, sts_hangs);
        put(&rig, BEGIN, 0);
        rig.start().await;
        // Delivered, and killed before the commit.
        let uncommitted = loop {
            if let Read::Batch(events, _) = rig.next_until(BEGIN + HOUR).await.unwrap() {
                break events;
            }
        };
        let repeated = uncommitted.len();
        rig.store(uncommitted);
        assert!(rig.accounts.is_empty(), "nobody knows it");
        sts_answers(&rig);
        rig.service.permit(Operation::DescribeLogGroups);
        rig.start().await;
        put(&rig, BEGIN + 10 * MINUTE, 1000);
        rig.read_until(BEGIN + 2 * HOUR).await;
        rig.assert_all_sent(2);
        assert_eq!(rig.sent.values().filter(|&&times| times == 2).count(), repeated);
        assert_eq!(rig.accounts.len(), 120, "the label is right once it is known");
        let ids = ids(&rig);
        assert!(with_sts.iter().all(|(event_id, id)| ids[event_id] != *id), "named without the account");
        // A group that is found later is named as its neighbours, and another start changes nothing.
        rig.service.silence(Operation::GetCallerIdentity, true);
        rig.start().await;
        put(&rig, BEGIN + 2 * HOUR, 2000);
        rig.read_until(BEGIN + 4 * HOUR).await;
        assert_eq!((rig.sent.len(), rig.accounts.len()), (180, 180));
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_known_before_counts_while_sts_does_not_answer() {
    let expect = ids_with_sts().await;
    let mut rig = Rig::new();
    put(&rig, BEGIN, 0);
    rig.start().await;
    rig.deliver_next(BEGIN + 90 * SECOND).await;
    // As a flowstone leaves it that asked STS at every start: a checkpoint and nothing else.
    rig.start().await;
    std::fs::remove_file(rig.state().join("account")).unwrap();
    nobody_tells(&rig, true);
    rig.start().await;
    rig.read_until(BEGIN + HOUR).await;
    rig.assert_all_sent(1);
    assert_eq!(ids(&rig), expect);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_becomes_known_while_reading_is_a_label_from_then_on() {
    let mut rig = Rig::new();
    nobody_tells(&rig, true);
    put(&rig, BEGIN, 0);
    rig.start().await;
    rig.read_until(BEGIN + 5 * MINUTE).await;
    assert_eq!((rig.sent.len(), rig.accounts.len()), (60, 0));
    sts_answers(&rig);
    put(&rig, BEGIN + 20 * MINUTE, 1000);
    rig.read_until(BEGIN + 2 * HOUR).await;
    rig.assert_all_sent(1);
    assert_eq!(rig.accounts.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_no_good_for_reading_either_are_waited_for_and_decide_nothing() {
    let rig = Rig::new();
    nobody_tells(&rig, false);
    rig.service.behave(|behaviour| behaviour.unavailable = 1.0);
    rig.service.permit(Operation::DescribeLogGroups);
    rig.service.silence(Operation::DescribeLogGroups, false);
    rig.service.deny(Operation::DescribeLogGroups);
    let error = rig.refused_at_start(rig.source()).await;
    assert!(!error.fatal && error.message.contains("logs:FilterLogEvents failed (unavailable)"), "{error:?}");
    assert!(!rig.state().join("account").exists());
}

#[tokio::test(start_paused = true)]
async fn a_backfill_names_events_as_live_reading_does() {
    let mut rig = Rig::new();
    nobody_tells(&rig, true);
    put(&rig, BEGIN - 12 * HOUR, 0);
    rig.start().await;
    rig.read_until(BEGIN + 10 * MINUTE).await;
    rig.assert_all_sent(1);
    sts_answers(&rig);
    rig.service.permit(Operation::DescribeLogGroups);
    let mut source = rig.source();
    source.backfill(BEGIN - 13 * HOUR, BEGIN - 11 * HOUR).unwrap();
    // `store` looks at the ids.
    let folder = tempfile::tempdir().unwrap();
    rig.start_in(source, folder.path().to_owned()).await;
    assert!(rig.read_until(BEGIN + 2 * HOUR).await, "it ends");
    assert!(rig.sent.len() == 60 && rig.sent.values().all(|&times| times == 2));
}
