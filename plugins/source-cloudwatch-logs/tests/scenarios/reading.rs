//! Events late and in disorder, restarts, lost batches, throttling, audits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flowstone_core::Source;
use flowstone_testkit::cloudwatch::{Behaviour, FlowTraffic, SimulatedEvent};
use source_cloudwatch_logs::options::StartPosition;

use crate::rig::{BEGIN, HOUR, MINUTE, Read, Rig, SECOND, event};

/// Flow logs, ten a second.
fn traffic() -> FlowTraffic {
    FlowTraffic { per_second: 10.0, ..FlowTraffic::default() }
}

/// A world in which an hour of them is written.
fn rig_with_traffic(behaviour: Behaviour) -> Rig {
    let rig = Rig::with(behaviour);
    rig.service.create_group("/vpc/flow", BEGIN, traffic().stream_names());
    rig.service.put("/vpc/flow", traffic().events(BEGIN, BEGIN + HOUR));
    rig
}

#[tokio::test(start_paused = true)]
async fn late_events_are_delivered_once() {
    let mut rig = rig_with_traffic(Behaviour::default());
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR).await;
    rig.assert_all_sent(1);
    assert!(rig.metric("source_duplicates_total", "") > 36_000.0, "each is met some four times");
    assert_eq!(rig.metric("source_event_lateness_seconds_count", ""), 36_000.0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_only_what_was_not_committed() {
    let mut rig = rig_with_traffic(Behaviour::default());
    rig.start().await;
    rig.read_until(BEGIN + 20 * MINUTE).await;
    let before = rig.sent.len();
    assert!(before > 5000, "{before}");
    // The next batch is delivered, and the process killed before its commit.
    let uncommitted = loop {
        if let Read::Batch(events, _) = rig.next_until(BEGIN + HOUR).await.unwrap() {
            break events;
        }
    };
    let repeated = uncommitted.len();
    rig.store(uncommitted);
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR).await;
    rig.assert_all_sent(2);
    assert_eq!(rig.sent.values().filter(|&&times| times == 2).count(), repeated);
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_long_past_repeats_nothing() {
    let mut rig = Rig::with(Behaviour { page_events: 500, ..Behaviour::default() });
    let past = FlowTraffic { visible_within_ms: 0, ..traffic() };
    rig.service.create_group("/vpc/flow", BEGIN - 10 * HOUR, past.stream_names());
    rig.service.put("/vpc/flow", past.events(BEGIN - 10 * HOUR, BEGIN - 8 * HOUR));
    rig.start().await;
    for _ in 0..30 {
        rig.deliver_next(BEGIN + HOUR).await;
    }
    // A checkpoint is written every second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.deliver_next(BEGIN + HOUR).await;
    rig.start().await;
    rig.read_until(BEGIN + HOUR).await;
    rig.assert_all_sent(1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_not_delivered_is_given_out_again() {
    let mut rig = Rig::new();
    rig.service.put("/vpc/flow", (0..100).map(|n| event(BEGIN - HOUR + n * SECOND, MINUTE, n as u64)));
    rig.start().await;
    let mut lost = false;
    while rig.now_ms() < BEGIN + 9 * HOUR {
        if let Read::Batch(events, position) = rig.next_until(BEGIN + 9 * HOUR).await.unwrap() {
            if lost {
                rig.store(events);
                rig.commit(position).await;
            } else {
                rig.rewind(&position).await;
                lost = true;
            }
        }
    }
    rig.assert_all_sent(1);
}

#[tokio::test(start_paused = true)]
async fn two_of_three_calls_throttled_are_read_on_without_stalling() {
    let mut rig = Rig::with(Behaviour { throttled: 0.67, page_events: 1000, ..Behaviour::default() });
    rig.service.put("/vpc/flow", (0..100_000).map(|n| event(BEGIN - 12 * HOUR + n * 300, 0, n as u64)));
    rig.start().await;
    let mut pages_by_minute = Vec::new();
    for minute in 1..=4 {
        let before = rig.service.calls().pages;
        rig.read_until(BEGIN + minute * MINUTE).await;
        pages_by_minute.push(rig.service.calls().pages - before);
    }
    assert!(pages_by_minute.iter().all(|&pages| pages >= 25), "{pages_by_minute:?}");
    rig.read_until(BEGIN + 9 * HOUR).await;
    rig.assert_all_sent(1);
}

#[tokio::test(start_paused = true)]
async fn a_service_in_trouble_costs_nothing_but_time() {
    let mut rig = rig_with_traffic(Behaviour {
        unavailable: 0.3,
        empty_pages: 0.3,
        short_pages: 0.3,
        token_life_ms: 20_000,
        page_events: 300,
        ..Behaviour::default()
    });
    rig.start().await;
    rig.read_until(BEGIN + 12 * HOUR).await;
    rig.assert_all_sent(1);
    assert!(rig.metric("component_errors_total", "unavailable") > 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_audit_finds_what_became_visible_too_late_and_tells_what_came_later_than_every_sweep() {
    let mut rig = Rig::new();
    rig.options.sweeps = Vec::new();
    rig.options.late_window = Some(Duration::from_secs(1800));
    rig.service.put("/vpc/flow", (0..600).map(|n| event(BEGIN + n * SECOND, MINUTE, n as u64)));
    // Two were ingested at once and shown after half an hour and more: after the last read of their slice.
    let hidden = (0..2).map(|n| event(BEGIN + n * SECOND, MINUTE, 1000 + n as u64));
    rig.service
        .put("/vpc/flow", hidden.map(|event| SimulatedEvent { visible_ms: BEGIN + 38 * MINUTE, ..event }));
    // Three are five hours late.
    let late: Vec<_> = (0..3).map(|n| event(BEGIN + n * SECOND, 5 * HOUR, 2000 + n as u64)).collect();
    rig.service.put("/vpc/flow", late.clone());
    rig.start().await;
    rig.read_until(BEGIN + 9 * HOUR).await;
    assert_eq!(rig.metric("source_missing_events_total", "found"), 5.0);
    assert_eq!(rig.metric("source_missing_events_total", "lost"), 3.0);
    assert_eq!(rig.sent.len(), 602);
    assert!(late.iter().all(|event| !rig.sent.contains_key(&event.key.to_decimal())));
}

#[tokio::test(start_paused = true)]
async fn reading_begins_where_it_is_told() {
    for (start, expect) in [
        (StartPosition::Beginning, 4),
        (StartPosition::Before(Duration::from_secs(7200)), 2),
        (StartPosition::End, 1),
        (StartPosition::At(BEGIN - 4 * HOUR), 3),
    ] {
        let mut rig = Rig::new();
        rig.options.start_position = start;
        let times = [BEGIN - 24 * HOUR, BEGIN - 3 * HOUR, BEGIN - HOUR, BEGIN + 10 * MINUTE];
        rig.service.put("/vpc/flow", times.map(|time| event(time, MINUTE, time as u64)));
        rig.start().await;
        // A restart later on begins nowhere else.
        rig.read_until(BEGIN + 5 * MINUTE).await;
        rig.start().await;
        rig.read_until(BEGIN + 2 * HOUR).await;
        assert_eq!(rig.sent.len(), expect, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_clock_is_wrong_reads_as_others_do() {
    let mut pages = Vec::new();
    for wrong_by in [0, 4 * MINUTE, -4 * MINUTE, 2 * HOUR] {
        let mut rig = rig_with_traffic(Behaviour::default());
        rig.wrong_by.store(wrong_by, Ordering::Relaxed);
        rig.options.start_position = StartPosition::At(BEGIN);
        rig.start().await;
        rig.read_until(BEGIN + 9 * HOUR).await;
        rig.assert_all_sent(1);
        pages.push(rig.service.calls().pages);
    }
    assert!(pages.iter().all(|&count| count.abs_diff(pages[0]) < pages[0] / 10), "{pages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_reads_on() {
    let mut rig = rig_with_traffic(Behaviour::default());
    rig.start().await;
    rig.read_until(BEGIN + 20 * MINUTE).await;
    let before = rig.sent.len();
    // For an hour nothing runs, its clock neither.
    tokio::time::advance(Duration::from_secs(3600)).await;
    rig.wrong_by.store(-HOUR, Ordering::Relaxed);
    rig.read_until(BEGIN + 90 * MINUTE).await;
    assert!(rig.sent.len() > before + 3000, "{before} and then {}", rig.sent.len());
    rig.start().await;
    rig.read_until(BEGIN + 12 * HOUR).await;
    rig.assert_all_sent(1);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_are_told_with_what_to_do() {
    let rig = Rig::new();
    rig.service.deny(flowstone_aws::Operation::FilterLogEvents);
    let told = rig.source().probe().await.unwrap_err();
    assert!(
        told.contains("logs:FilterLogEvents failed (access_denied)")
            && told.contains(
                r#"{"Effect":"Allow","Action":"logs:FilterLogEvents","Resource":"arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/flow:*"}"#
            ),
        "{told}"
    );
}
