//! A source's task without workers and sinks: what it does when a source fails, hangs or must read again.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use flowstone_core::event::{Batch, Page, RowId, StrRef};
use flowstone_core::{Ack, Health, Kind, Metrics, SourceBatch, StateDir};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::supervise::{Stage, supervise};

/// What a call comes to; when a list is at its end, its last entry again.
#[derive(Clone, Copy)]
enum Does {
    Works,
    Fails,
    FailsForGood,
    Panics,
    Hangs,
    WorksAfter(Duration),
}

#[derive(Default)]
struct Fake {
    start: VecDeque<Does>,
    next: VecDeque<Does>,
    commit: VecDeque<Does>,
    rewind: VecDeque<Does>,
    /// The batch that comes next.
    at: u64,
    /// So many are left out between one and the next.
    leaves_out: u64,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    commits: AtomicUsize,
    rewinds: AtomicUsize,
    committed: Mutex<Vec<u64>>,
}

async fn act(does: &mut VecDeque<Does>) -> Result<(), SourceError> {
    let now = does.front().copied().unwrap_or(Does::Works);
    if does.len() > 1 {
        does.pop_front();
    }
    match now {
        Does::Works => Ok(()),
        Does::Fails => Err(SourceError::new("read", "no; say yes")),
        Does::FailsForGood => Err(SourceError::fatal("read", "never; say yes")),
        Does::Panics => panic!("a bug"),
        Does::Hangs => pending().await,
        Does::WorksAfter(time) => {
            sleep(time).await;
            Ok(())
        }
    }
}

#[async_trait]
impl Source for Fake {
    async fn start(&mut self, _cx: &mut SourceCx) -> Result<(), SourceError> {
        act(&mut self.start).await
    }

    async fn next(&mut self, _cx: &mut SourceCx) -> Result<Next, SourceError> {
        act(&mut self.next).await?;
        self.at += 1 + if self.at > 0 { self.leaves_out } else { 0 };
        let line = StrRef { page: 0, offset: 0, len: 4 };
        let batch =
            Batch::of_lines(Page::from_text("line".to_owned()), vec![line], vec![RowId::default()], 0);
        Ok(Next::Batch(SourceBatch {
            batch,
            from: self.at - 1,
            position: Position { partition: "fake".into(), value: self.at },
            bytes: 4,
        }))
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        self.calls.commits.fetch_add(1, Ordering::SeqCst);
        act(&mut self.commit).await?;
        self.calls.committed.lock().unwrap().extend(positions.iter().map(|position| position.value));
        Ok(())
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        self.calls.rewinds.fetch_add(1, Ordering::SeqCst);
        act(&mut self.rewind).await?;
        self.at = position.value - 1;
        Ok(())
    }
}

/// An intake at work, and all that it is joined to.
struct World {
    ended: JoinHandle<Option<SourceEnd>>,
    jobs: mpsc::Receiver<Job>,
    phase: watch::Sender<Phase>,
    failed: mpsc::Receiver<Failure>,
    health: Health,
    lag: Lag,
    budget: Arc<Budget>,
    calls: Arc<Calls>,
}

fn id() -> ComponentId {
    ComponentId { name: "in".into(), kind: Kind::Source, type_name: "fake" }
}

fn world(fake: Fake, stays: bool) -> World {
    let health = Health::default();
    let mut cx = SourceCx::alone(id(), StateDir::new("/nowhere".into()));
    cx.health = health.of(&id());
    cx.max_bytes = 1024;
    let budget = Budget::new(8 << 10, Metrics::new());
    let (jobs_in, jobs) = mpsc::channel(1);
    let (phase, phase_seen) = watch::channel(Phase::Run);
    let (failures, failed) = mpsc::channel(8);
    let (lag, calls) = (Lag::default(), Arc::clone(&fake.calls));
    let intake = Intake {
        index: 0,
        id: id(),
        source: Box::new(fake),
        cx,
        budget: Arc::clone(&budget),
        jobs: Some(jobs_in),
        phase: phase_seen,
        failures: failures.clone(),
        lag: lag.clone(),
        stays,
    };
    let stage = Stage { name: "intake", component: id() };
    let ended = tokio::spawn(supervise(failures, || stage, intake.run()));
    World { ended, jobs, phase, failed, health, lag, budget, calls }
}

impl World {
    async fn job(&mut self) -> Job {
        self.jobs.recv().await.expect("a batch comes")
    }

    async fn deliver(&mut self) {
        let Job { ack, permit, .. } = self.job().await;
        drop(permit);
        Ack::resolve(ack);
    }
}

const A_WHILE: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_while_it_goes_back_is_a_bug_of_its_own() {
    let mut world = world(Fake { rewind: [Does::Panics].into(), ..Fake::default() }, false);
    drop(world.job().await);
    assert_eq!(world.failed.recv().await, Some(Failure::Bug(id())));
    assert_eq!(world.ended.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_seen_inside_a_commit_and_a_rewind_that_hang() {
    for (fake, deliver) in [
        (Fake { rewind: [Does::Hangs].into(), ..Fake::default() }, false),
        (Fake { commit: [Does::Hangs].into(), ..Fake::default() }, true),
    ] {
        let mut world = world(fake, false);
        if deliver {
            world.deliver().await;
        } else {
            drop(world.job().await);
        }
        sleep(A_WHILE).await;
        world.phase.send_replace(Phase::Drain);
        sleep(Duration::from_secs(20)).await;
        assert!(!world.ended.is_finished(), "what is in flight may end while there is time");
        world.phase.send_replace(Phase::Stop);
        let stopped = Instant::now();
        assert_eq!(world.ended.await.unwrap(), Some(SourceEnd::Undelivered));
        assert!(stopped.elapsed() <= LAST_COMMIT, "{:?}", stopped.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_or_a_drain_is_seen_inside_a_start_that_hangs() {
    for phase in [Phase::Drain, Phase::Stop] {
        let world = world(Fake { start: [Does::Hangs].into(), ..Fake::default() }, false);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(world.health.problems(), ["source `in` (fake): start: not started yet"]);
        assert!(world.lag.seconds() >= 3.0, "what it does not read is due");
        world.phase.send_replace(phase);
        assert_eq!(world.ended.await.unwrap(), Some(SourceEnd::Delivered));
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_is_tried_again_with_backoff_and_a_stop_does_not_wait_for_it() {
    let mut world = world(Fake { commit: [Does::Fails].into(), ..Fake::default() }, false);
    world.deliver().await;
    sleep(A_WHILE).await;
    world.phase.send_replace(Phase::Drain);
    sleep(Duration::from_secs(60)).await;
    assert!(world.health.problems()[0].contains(": commit: read: no; say yes"));
    let commits = world.calls.commits.load(Ordering::SeqCst);
    assert!((3..60).contains(&commits), "{commits}");
    world.phase.send_replace(Phase::Stop);
    let stopped = Instant::now();
    assert_eq!(world.ended.await.unwrap(), Some(SourceEnd::Undelivered));
    assert!(stopped.elapsed() < A_WHILE, "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stretch_that_fails_again_and_again_is_not_replayed_in_a_hot_loop() {
    let mut world = world(Fake::default(), false);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        tokio::time::timeout(Duration::from_secs(60), world.jobs.recv()).await.ok();
    }
    let rewinds = world.calls.rewinds.load(Ordering::SeqCst);
    assert!((3..60).contains(&rewinds), "{rewinds} in a minute");
    assert!(world.lag.seconds() > 30.0, "it is not delivered all the while: {}", world.lag.seconds());
    // Once it arrives all is well, and the next one that fails waits no longer than the first did.
    world.deliver().await;
    sleep(Duration::from_secs(2)).await;
    drop(world.job().await);
    let failed = Instant::now();
    world.deliver().await;
    assert!(failed.elapsed() < Duration::from_secs(1), "{:?}", failed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn in_a_run_that_ends_nothing_is_read_again_and_the_end_says_so() {
    let mut world = world(Fake::default(), false);
    let job = world.job().await;
    world.phase.send_replace(Phase::Drain);
    let drained = world.jobs.recv();
    drop(job);
    // What waited to be handed on still comes.
    if let Some(Job { ack, .. }) = drained.await {
        Ack::resolve(ack);
    }
    assert_eq!(world.ended.await.unwrap(), Some(SourceEnd::Undelivered));
    assert_eq!(world.calls.rewinds.load(Ordering::SeqCst), 0);
    assert!(world.calls.committed.lock().unwrap().is_empty(), "nothing beyond what was not delivered");
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_reading_fails_is_not_ready_and_behind_until_it_succeeds() {
    let mut next = VecDeque::from([Does::Fails; 4]);
    next.push_back(Does::Works);
    let mut world = world(Fake { next, ..Fake::default() }, false);
    sleep(A_WHILE / 100).await;
    assert!(
        world.health.problems()[0].contains(": read: read: no; say yes"),
        "a first read is reported at once"
    );
    let began = Instant::now();
    world.deliver().await;
    assert!(began.elapsed() >= A_WHILE, "it backed off");
    sleep(A_WHILE / 100).await;
    assert!(world.health.problems().is_empty(), "{:?}", world.health.problems());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_read_before_is_not_ready_after_ten_seconds_of_errors() {
    let next = VecDeque::from([Does::Works, Does::Fails]);
    let mut world = world(Fake { next, ..Fake::default() }, false);
    world.deliver().await;
    sleep(Duration::from_secs(9)).await;
    assert!(world.health.problems().is_empty(), "it may pass: {:?}", world.health.problems());
    assert!(world.lag.seconds() > 8.0);
    sleep(Duration::from_secs(2)).await;
    assert!(
        world.health.problems()[0].contains("source `in` (fake): read: "),
        "{:?}",
        world.health.problems()
    );
}

#[tokio::test(start_paused = true)]
async fn the_lag_grows_while_a_batch_is_not_delivered_and_while_there_is_no_memory_to_read_with() {
    let next = VecDeque::from([Does::Works, Does::Hangs]);
    let mut slow = world(Fake { next, ..Fake::default() }, false);
    let Job { ack, permit, .. } = slow.job().await;
    sleep(Duration::from_secs(5)).await;
    assert!((4.9..5.2).contains(&slow.lag.seconds()), "{}", slow.lag.seconds());
    drop(permit);
    ack.resolve();
    sleep(A_WHILE).await;
    assert_eq!(slow.lag.seconds(), 0.0);

    let mut short = world(Fake { start: [Does::WorksAfter(A_WHILE)].into(), ..Fake::default() }, false);
    let others = short.budget.acquire(8 << 10).await;
    sleep(Duration::from_secs(5)).await;
    assert!((4.8..5.2).contains(&short.lag.seconds()), "{}", short.lag.seconds());
    drop(others);
    short.deliver().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_came_when_its_memory_was_lent_to_others_counts_and_is_handed_on() {
    let next = VecDeque::from([Does::WorksAfter(Duration::from_secs(1)), Does::Hangs]);
    let mut world = world(Fake { next, ..Fake::default() }, false);
    let job = world.job().await;
    assert!(!job.permit.is_empty());
    assert_eq!(job.batch.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_started_after_a_reload_waits_for_the_next_one_and_holds_up_nobody() {
    let never = || Fake { start: [Does::FailsForGood].into(), ..Fake::default() };
    let failed = || Some(SourceEnd::Failed("source `in` (fake): never; say yes".to_owned()));
    assert_eq!(world(never(), false).ended.await.unwrap(), failed());

    let mut stays = world(never(), true);
    assert!(stays.jobs.recv().await.is_none(), "the workers may end");
    sleep(Duration::from_secs(100)).await;
    assert!(!stays.ended.is_finished());
    assert!(stays.health.problems()[0].contains(": failed: read: never; say yes"), "{:?}", stays.health);
    stays.phase.send_replace(Phase::Drain);
    assert_eq!(stays.ended.await.unwrap(), failed());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_leaves_something_out_is_a_bug_and_nothing_behind_the_gap_is_handed_on_or_committed() {
    let mut world = world(Fake { leaves_out: 1, ..Fake::default() }, false);
    world.deliver().await;
    assert_eq!(world.failed.recv().await, Some(Failure::Bug(id())));
    assert!(world.jobs.recv().await.is_none(), "what follows the gap is not handed on");
    assert_eq!(world.ended.await.unwrap(), Some(SourceEnd::Undelivered));
    assert_eq!(*world.calls.committed.lock().unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn workers_that_are_gone_are_a_bug_that_is_reported() {
    let mut world = world(Fake::default(), false);
    world.jobs.close();
    assert_eq!(world.failed.recv().await, Some(Failure::Gone(id())));
}
