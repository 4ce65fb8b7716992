//! A stretch of the past, read once.

use flowstone_core::{Source, SourceError};
use flowstone_testkit::cloudwatch::Behaviour;

use crate::rig::{BEGIN, HOUR, Read, Rig, event};

/// Ten hours of one event every three seconds, of which three hours are asked for.
fn rig() -> Rig {
    let rig = Rig::with(Behaviour { page_events: 300, ..Behaviour::default() });
    rig.service.put("/vpc/flow", (0..12_000).map(|n| event(BEGIN - 12 * HOUR + n * 3000, 0, n as u64)));
    rig
}

/// The error that a started backfill ends with; what it gives before that must be as expected.
async fn error_of(rig: &mut Rig, expected: fn(&Read) -> bool) -> SourceError {
    loop {
        match rig.next_until(BEGIN + HOUR).await {
            Err(error) => return error,
            Ok(read) => assert!(expected(&read), "it is not done"),
        }
    }
}

const FROM: i64 = BEGIN - 10 * HOUR;
const TO: i64 = BEGIN - 7 * HOUR;

#[tokio::test(start_paused = true)]
async fn a_backfill_reads_its_stretch_once_and_ends() {
    let mut rig = rig();
    let mut source = rig.source();
    let backfill = source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    assert!(rig.read_until(BEGIN + HOUR).await, "it ends");
    assert_eq!(rig.sent.len(), 3600);
    assert!(rig.sent.values().all(|&times| times == 1));
    let progress = backfill.progress();
    assert_eq!((progress.events, progress.expected, progress.share), (3600, Some(3600), 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_was_stopped_goes_on_where_it_was() {
    let mut rig = rig();
    let mut source = rig.source();
    source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    while rig.sent.len() < 1500 {
        rig.deliver_next(BEGIN + HOUR).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    rig.deliver_next(BEGIN + HOUR).await;
    let before = rig.service.calls().events;
    let mut source = rig.source();
    let backfill = source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    assert!(rig.read_until(BEGIN + HOUR).await);
    assert_eq!(rig.sent.len(), 3600);
    assert!(rig.sent.values().all(|&times| times == 1), "nothing is sent twice");
    let read = rig.service.calls().events - before;
    assert!(read < 3000, "{read} events were read after the stop");
    assert_eq!(backfill.progress().share, 1.0);
    // Once more there is nothing left to do.
    let mut source = rig.source();
    source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    assert!(rig.read_until(BEGIN + 2 * HOUR).await);
    assert_eq!(rig.sent.values().sum::<u32>(), 3600);
}

#[tokio::test(start_paused = true)]
async fn what_may_still_come_in_is_not_backfilled() {
    let mut source = rig().source();
    let told = source.backfill(FROM, BEGIN).err().unwrap();
    assert!(told.contains("may still come in") && told.contains("flowstone run"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_estimate_counts_events_and_requests_and_reads_none() {
    let rig = rig();
    let mut source = rig.source();
    let estimate = source.backfill(FROM, TO).unwrap().estimate().await.unwrap();
    assert_eq!(estimate.events, [("123456789012/eu-west-1//vpc/flow".to_owned(), Ok(3600))]);
    assert!((1..=3).contains(&estimate.cost.0));
    assert_eq!((estimate.noun, estimate.cost.1), ("log group", "requests"));
    assert_eq!(rig.service.calls().pages, 0);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_read_ends_a_backfill_with_what_to_do() {
    let mut rig = rig();
    rig.service.deny(flowstone_aws::Operation::FilterLogEvents);
    let mut source = rig.source();
    source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    let error = error_of(&mut rig, |read| matches!(read, Read::Nothing)).await;
    assert!(error.fatal && error.message.contains("logs:FilterLogEvents"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backfill_of_yesterday_waits_for_no_sweep() {
    let mut rig = rig();
    let mut source = rig.source();
    source.backfill(FROM, BEGIN - 2 * HOUR).unwrap();
    rig.start_with(source).await;
    assert!(rig.read_until(BEGIN + HOUR).await);
    assert_eq!(rig.sent.len(), 9600);
}

#[tokio::test(start_paused = true)]
async fn groups_that_cannot_be_listed_end_a_backfill_instead_of_being_left_out() {
    let mut rig = rig();
    rig.options.log_groups.push("/eks/*".to_owned());
    rig.service.deny(flowstone_aws::Operation::DescribeLogGroups);
    let mut source = rig.source();
    source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    let error = error_of(&mut rig, |read| !matches!(read, Read::End)).await;
    assert!(error.fatal && error.message.contains("logs:DescribeLogGroups"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_one_of_two_regions_lacks_is_no_reason_to_wait() {
    let mut rig = rig();
    rig.options.regions = vec!["us-east-1".to_owned(), "eu-west-1".to_owned()];
    let mut source = rig.source();
    let backfill = source.backfill(FROM, TO).unwrap();
    rig.start_with(source).await;
    assert!(rig.read_until(BEGIN + HOUR).await);
    assert_eq!((rig.sent.len(), backfill.progress().share), (3600, 1.0));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_end_a_backfill_at_its_start() {
    let mut rig = rig();
    rig.entry_is_refused = true;
    let mut source = rig.source();
    source.backfill(FROM, TO).unwrap();
    let error = rig.refused_at_start(source).await;
    assert!(error.fatal && error.message.contains("sts:AssumeRole"), "{error:?}");
    assert!(!rig.refused_at_start(rig.source()).await.fatal, "live reading waits until it is mended");
}
