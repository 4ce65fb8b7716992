//! What the ledger promises, checked over random worlds: lateness, throttles, refused tokens, lost batches, crashes at
//! any instant and restarts. And the proof that the check sees: it fails for every rule that is broken on purpose.

#[allow(dead_code)] // the bench uses the rest
#[path = "support/simulation.rs"]
mod simulation;

use std::collections::{HashMap, HashSet};

use flowstone_aws::EventKey;
use flowstone_testkit::cloudwatch::{Behaviour, SimulatedLogs};
use proptest::prelude::*;

use simulation::{Setup, World, event};
use source_cloudwatch_logs::ledger::{ChunkLimits, Restored, Rule, Rules, Stage, breaking};
use source_cloudwatch_logs::planner::{Limits, Partition};

const BEGIN: i64 = 1_800_000_000_000;
const MINUTE: i64 = 60_000;

/// A world with all that can go wrong, decided by a number.
struct Scenario {
    world: World,
    rules: Rules,
    crashes: u32,
    random: fastrand::Rng,
    ends_ms: i64,
}

impl Scenario {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let late_window_ms = random.i64(5..=15) * MINUTE;
        let sweeps_ms = match random.u8(0..3) {
            0 => vec![],
            1 => vec![late_window_ms + random.i64(5..=40) * MINUTE],
            _ => vec![late_window_ms + 10 * MINUTE, late_window_ms + 70 * MINUTE],
        };
        let rules = Rules {
            late_window_ms,
            visibility_margin_ms: random.i64(20..=180) * 1000,
            sweeps_ms,
            poll_interval_ms: random.bool().then_some(20_000),
            audit: random.bool(),
            parallel_history: random.usize(1..=4),
            ..Rules::default()
        };
        let behaviour = Behaviour {
            page_events: random.usize(3..=300),
            per_second: random.bool().then_some(f64::INFINITY),
            token_life_ms: random.i64(20_000..=600_000),
            empty_pages: random.f64() * 0.3,
            short_pages: random.f64() * 0.3,
            throttled: random.f64() * 0.3,
            unavailable: random.f64() * 0.05,
            seed,
            ..Behaviour::default()
        };
        let service = SimulatedLogs::new(behaviour);
        let groups: Vec<String> = (0..random.usize(1..=3)).map(|number| format!("/vpc/{number}")).collect();
        let lasts_ms = random.i64(5..=40) * MINUTE;
        let mut latest = BEGIN;
        for group in &groups {
            service.create_group(group, 0, ["eni-1-all".to_owned()]);
            let events = if random.bool() { random.usize(0..=40) } else { random.usize(0..=1500) };
            // Few distinct times, so that many events share one.
            let step = [250, 250, 2000, 10_000][random.usize(..4)];
            let events = (0..events).map(|number| {
                let time =
                    BEGIN + random.i64(0..lasts_ms / step) * step + [0, 0, 0, step - 1][random.usize(..4)];
                let ingestion = time + lateness(&rules, &mut random);
                let visible = ingestion + visibility(&rules, &mut random);
                latest = latest.max(visible);
                event(time, ingestion, visible, number as u64)
            });
            service.put(group, events.collect::<Vec<_>>());
        }
        let reach = rules.reach_ms();
        let setup = Setup {
            rules: rules.clone(),
            groups,
            from_ms: BEGIN - reach - 10 * MINUTE,
            until_ms: None,
            limits: Limits {
                chunk: ChunkLimits { rows: random.usize(1..=200), bytes: 1 << 20 },
                in_flight: random.usize(1..=6),
                ready: random.usize(1..=12),
                id_bytes: if random.bool() { 1000 } else { 64 << 20 },
                quota_share: 0.8,
            },
            latency_ms: random.i64(1..=3000),
            delivery_ms: random.i64(1..=20_000),
            lost_batches: if random.bool() { 0.0 } else { random.f64() * 0.1 },
            seed,
        };
        let starts_ms = BEGIN + random.i64(-10 * MINUTE..=lasts_ms * 2);
        let world = World::new(setup, service, starts_ms);
        let ends_ms =
            latest.max(BEGIN + lasts_ms).max(starts_ms) + reach + rules.visibility_margin_ms + 150 * MINUTE;
        Self { world, rules, crashes: random.u32(0..=6), random, ends_ms }
    }

    fn guaranteed(&self, key: EventKey, visible_ms: i64) -> bool {
        key.ingestion() - key.timestamp() <= self.rules.reach_ms()
            && visible_ms - key.ingestion() <= self.rules.visibility_margin_ms
    }

    /// Runs the world to its end, crashing now and then, and says what was promised and not kept.
    fn check(mut self) -> Result<(), String> {
        for _ in 0..self.crashes {
            for _ in 0..self.random.usize(0..6000) {
                if self.world.now_ms < self.ends_ms {
                    self.world.step(self.ends_ms);
                }
            }
            self.world.crash(self.random.i64(1000..30 * MINUTE));
            self.check_checkpoint()?;
        }
        self.world.run(self.ends_ms);
        // A quota that is too small for all of this takes longer, but not for ever.
        while !self.is_audited() && self.world.now_ms < self.ends_ms + 48 * 60 * MINUTE {
            self.world.run(self.world.now_ms + 30 * MINUTE);
        }
        if let Some(error) = &self.world.unexpected {
            return Err(format!("a request failed that should not: {error:?}"));
        }
        self.check_checkpoint()?;
        self.check_deliveries()?;
        self.check_audit()?;
        match self.world.written.values().max() {
            Some(&most) if most > 1_000_000 => Err(format!("{most} bytes of checkpoint in a second")),
            _ => Ok(()),
        }
    }

    fn is_audited(&self) -> bool {
        let audited = |it: &Partition| {
            it.ledger.audited_to().is_none_or(|audited| audited > self.ends_ms - 150 * MINUTE)
        };
        self.world.planner().partitions().iter().all(audited)
    }

    /// The checkpoint is never past undelivered data.
    fn check_checkpoint(&self) -> Result<(), String> {
        for (name, known) in self.world.restored() {
            let group: usize =
                name.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default();
            for (key, visible_ms) in self.world.events(group) {
                let claimed = claims(&known, key, visible_ms, self.rules.visibility_margin_ms)
                    || is_done(&known, key) && self.guaranteed(key, visible_ms);
                if claimed && !self.world.sent.contains_key(&(group, key)) {
                    return Err(format!("the checkpoint of {name} is past {key:?}, which was not delivered"));
                }
            }
        }
        Ok(())
    }

    fn check_deliveries(&self) -> Result<(), String> {
        for group in 0..self.world.planner().partitions().len() {
            let mut all: Vec<_> = self.world.events(group).collect();
            all.sort();
            for (key, visible_ms) in all {
                let sent = self.world.sent.get(&(group, key)).copied().unwrap_or(0);
                if sent == 0 && self.guaranteed(key, visible_ms) {
                    return Err(format!("{key:?} was visible at {visible_ms} and never delivered"));
                }
                let may_repeat = self.world.may_repeat.get(&(group, key)).copied().unwrap_or(0);
                if sent > 1 + may_repeat {
                    return Err(format!(
                        "{key:?} was sent {sent} times and may be repeated {may_repeat} times"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The audit reports exactly the minutes in which events were not delivered, and exactly how many.
    fn check_audit(&self) -> Result<(), String> {
        if !self.rules.audit {
            return Ok(());
        }
        let mut reported: HashSet<(usize, i64)> = HashSet::new();
        for &(group, finding, truth) in &self.world.findings {
            // A crash while a minute was delivered again leaves the count of before, and the audit begins anew.
            let again = finding.stage == Stage::Missing && !reported.insert((group, finding.minute_ms));
            let is_true = (finding.expected, finding.delivered) == truth
                || again && finding.expected == truth.0 && finding.delivered < truth.1;
            if !is_true {
                return Err(format!("{finding:?} of group {group}, but the truth was {truth:?}"));
            }
        }
        for &(group, minute, (there, delivered)) in &self.world.audited_minutes {
            if delivered < there && !reported.contains(&(group, minute)) {
                return Err(format!(
                    "{} events of minute {minute} of group {group} are missing unnoticed",
                    there - delivered
                ));
            }
        }
        let lost: HashMap<(usize, i64), u64> = (self.world.findings.iter())
            .filter(|(_, finding, _)| finding.stage == Stage::Lost)
            .map(|(group, finding, _)| ((*group, finding.minute_ms), finding.expected - finding.delivered))
            .collect();
        let mut never: HashMap<(usize, i64), u64> = HashMap::new();
        for group in 0..self.world.planner().partitions().len() {
            for (key, _) in
                self.world.events(group).filter(|(key, _)| !self.world.sent.contains_key(&(group, *key)))
            {
                *never.entry((group, key.ingestion() / MINUTE * MINUTE)).or_default() += 1;
            }
        }
        match never.iter().find(|(minute, events)| lost.get(*minute) != Some(*events)) {
            Some((minute, events)) => Err(format!(
                "{events} events of {minute:?} are lost, but the audit says {:?}",
                lost.get(minute)
            )),
            None => Ok(()),
        }
    }
}

/// Whether the checkpoint says that this event was delivered.
fn claims(known: &Restored, key: EventKey, visible_ms: i64, margin_ms: i64) -> bool {
    let slice =
        known.slices.range(..=key.timestamp()).next_back().filter(|(_, (end, _))| key.timestamp() < *end);
    slice.is_some_and(|(_, (_, facts))| {
        facts.ids.contains(key)
            || facts
                .watermark
                .is_some_and(|watermark| visible_ms <= watermark && visible_ms - key.ingestion() <= margin_ms)
    })
}

fn is_done(known: &Restored, key: EventKey) -> bool {
    known.done.iter().any(|(start, end)| (start..end).contains(&key.timestamp()))
}

/// Most events are early, some as late as any promise reaches, a few later.
fn lateness(rules: &Rules, random: &mut fastrand::Rng) -> i64 {
    match random.u8(0..100) {
        0..70 => random.i64(0..rules.late_window_ms / 4),
        70..85 => random.i64(0..=rules.late_window_ms),
        85..87 => rules.late_window_ms,
        87..90 => rules.reach_ms().min(rules.late_window_ms + random.i64(0..=2 * MINUTE)),
        90..95 => random.i64(0..=rules.reach_ms()),
        95..98 => rules.reach_ms(),
        _ => random.i64(rules.reach_ms()..2 * rules.reach_ms()),
    }
}

fn visibility(rules: &Rules, random: &mut fastrand::Rng) -> i64 {
    match random.u8(0..100) {
        0..70 => random.i64(0..=2000),
        70..90 => random.i64(0..=rules.visibility_margin_ms),
        90..97 => rules.visibility_margin_ms,
        _ => random.i64(rules.visibility_margin_ms..10 * rules.visibility_margin_ms),
    }
}

proptest! {
    // `PROPTEST_CASES=5000` for a long run. There is nothing to shrink in a number that decides everything.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(10),
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_event_within_the_promise_is_delivered_once_whatever_goes_wrong(seed in any::<u64>()) {
        if let Err(broken) = Scenario::new(seed).check() {
            prop_assert!(false, "{}", broken);
        }
    }
}

/// Each rule, and the number of a world in which breaking it is noticed.
const NOTICED: [(Rule, u64); 19] = [
    (Rule::RangeIsFrozen, 5),
    (Rule::EmptyPagesGoOn, 2),
    (Rule::LastMillisecondIsRead, 1),
    (Rule::FirstPageSetsWatermark, 2),
    (Rule::InFlightIsKnown, 7),
    (Rule::DeliveredIsKnown, 1),
    (Rule::IngestionRuleKeepsMargin, 2),
    (Rule::YoungIdsAreKept, 2),
    (Rule::SealWaits, 20),
    (Rule::SweepWaits, 1),
    (Rule::ScanWaitsForDelivery, 1),
    (Rule::IdsAreDelivered, 7),
    (Rule::LostIsReadAgain, 7),
    (Rule::RefusedTokenRestarts, 115),
    (Rule::StaleRepliesAreIgnored, 152),
    (Rule::UnknownIsUnread, 8),
    (Rule::HistoryWaitsForDelivery, 73),
    (Rule::BoundaryStaysOpen, 23),
    (Rule::MergedTakesEarlierWatermark, 34),
];

#[test]
fn the_check_fails_for_every_rule_that_is_broken_on_purpose() {
    for (rule, noticed) in NOTICED {
        assert_eq!(Scenario::new(noticed).check(), Ok(()), "nothing is broken in world {noticed}");
        // After a change to the ledger or the world another one may show it.
        let seeds = std::iter::once(noticed).chain(0..200);
        let broken = breaking(rule, || seeds.into_iter().any(|seed| Scenario::new(seed).check().is_err()));
        assert!(broken, "{rule:?} is broken and nobody notices");
    }
}
