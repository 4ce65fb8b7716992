//! Which log groups are read: from when, under which name, and until when.

use std::collections::HashSet;
use std::sync::Arc;

use flowstone_aws::{Arn, LogGroup, LogGroupName};

use super::{Done, IN_FLIGHT_AT_MOST, Mode, Read, Running};
use crate::backfill;
use crate::discovery::{FlowFacts, Found, Question};
use crate::events::Origin;
use crate::ledger::{Ledger, Rules};
use crate::options::late_window_of;
use crate::planner::Scope;
use crate::sites::Site;

/// The day on which CloudWatch Logs began: there is nothing older.
const BEGINNING_MS: i64 = 1_404_950_400_000;
const DAY_MS: i64 = 86_400_000;

// === impl Running ===

impl Running {
    pub(super) fn find_named(&mut self) {
        let now_ms = self.clock.now_ms();
        for (number, site) in self.sites.iter().enumerate() {
            for name in site.named(&self.plan.groups) {
                let about = LogGroup { name: name.name.clone(), ..LogGroup::default() };
                self.discovery.found(Found { site: number, name, about }, now_ms);
            }
        }
    }

    /// What EC2 says of a group, or that it says nothing: from now on the group is read.
    pub(super) fn learn(&mut self, question: Question, facts: FlowFacts, now_ms: i64) {
        let Question { found, partition, .. } = question;
        // A group may be gone by now, and its number another one's.
        let is_read = |partition: usize| {
            !self.planner.partitions()[partition].was_let_go() && self.reads[partition].found.is(&found)
        };
        if partition.is_some_and(|partition| !is_read(partition)) {
            return;
        }
        let partition = partition.unwrap_or_else(|| self.admit(&found, now_ms));
        // What EC2 does not say any more may still hold: a permission was removed, or EC2 is in trouble.
        if facts.format.is_some() || facts.aggregation_s.is_some() {
            self.reads[partition].origin.format =
                facts.format.map(|(format, since_ms)| (format.into(), since_ms));
            if self.plan.late_window.is_none() {
                let late_window_ms = late_window_of(facts.aggregation_s);
                self.planner.ledger_mut(partition).set_late_window(late_window_ms);
            }
        }
        self.discovery.is_read(found, partition, now_ms);
    }

    fn admit(&mut self, found: &Found, now_ms: i64) -> usize {
        let Found { site: number, name, about } = found;
        let site = &self.sites[*number];
        let foreign = name.foreign_arn.as_deref().and_then(Arn::parse).map(|arn| arn.account);
        let account = foreign.or(site.known.as_deref());
        // A group that was named by its ARN is its account's whatever is known of the others.
        let by_arn = account.filter(|account| {
            foreign.is_some() || self.plan.groups.has_arn(account, &site.region, &name.name)
        });
        let owner = by_arn.unwrap_or(&site.account);
        let partition: Arc<str> = format!("{owner}/{}/{}", site.region, name.name).into();
        if let Some(known) = self.planner.find(&partition) {
            return known;
        }
        let rules = Rules {
            // The metric of another account's group is in that account.
            audit: self.plan.rules.audit && name.foreign_arn.is_none() && self.is_live(),
            // What may still be ingested is left to live reading.
            sweeps_ms: if self.is_live() { self.plan.rules.sweeps_ms.clone() } else { Vec::new() },
            live: self.is_live(),
            parallel_history: if self.is_live() { 4 } else { IN_FLIGHT_AT_MOST },
            ..self.plan.rules.clone()
        };
        let (until_ms, begins_at) = match &self.mode {
            Mode::Live => (None, self.begins_at(*number, about, now_ms)),
            Mode::Backfill(stretch) => (Some(stretch.to_ms), stretch.from_ms),
        };
        let known = self.checkpoint.take(&partition);
        let is_new = known.is_none();
        let ledger = match known {
            Some(known) => Ledger::restore(rules, until_ms, known, now_ms),
            None => Ledger::new(rules, begins_at, until_ms),
        };
        tracing::info!(
            component = %self.cx.id,
            account = owner,
            region = &*site.region,
            log_group = name.name,
            begins_at = is_new.then(|| flowstone_core::event::format_iso_millis(begins_at)),
            "{}",
            if is_new { "a log group is read from now on" } else { "a log group is read on" }
        );
        if let Mode::Backfill(stretch) = &self.mode {
            let (site, name, times) = (site.clone(), name.clone(), (stretch.from_ms, stretch.to_ms));
            self.spawn(async move {
                Done::Expected { events: backfill::expected(&site, &name, times, now_ms).await }
            });
        }
        let read =
            Read { origin: Origin::new(owner, account, &site.region, &name.name), found: found.clone() };
        let scope = Scope {
            name: partition,
            account: Arc::clone(&site.account),
            region: Arc::clone(&site.region),
            group: name.clone(),
            streams: self.plan.streams.clone(),
            pattern: self.plan.pattern.clone(),
        };
        let number = self.planner.add(scope, ledger);
        match self.reads.get_mut(number) {
            Some(free) => *free = read,
            None => self.reads.push(read),
        }
        number
    }

    /// Groups that were found once are gone when they cannot be read and are listed no more. Those that were named are
    /// looked for as long as they are named.
    pub(super) fn let_go_of(&mut self, site: usize, listed: &[LogGroup], now_ms: i64) {
        if !self.is_live() {
            return;
        }
        let named: HashSet<LogGroupName> = self.sites[site].named(&self.plan.groups).into_iter().collect();
        let listed: HashSet<&str> = listed.iter().map(|group| &*group.name).collect();
        for number in 0..self.reads.len() {
            let partition = &self.planner.partitions()[number];
            let Found { name, .. } = &self.reads[number].found;
            let missing = partition.missing_since().is_some() && !listed.contains(&*name.name);
            if self.reads[number].found.site != site || !missing || named.contains(name) {
                continue;
            }
            let (partition, name) = (Arc::clone(&partition.scope.name), name.clone());
            // Something of it may still be in flight: then the next listing will do.
            let Some(known) = self.planner.let_go(number) else { continue };
            self.checkpoint.keep(&partition, known, now_ms);
            self.discovery.forget(site, &name);
            self.notices.forget(&self.sites[site], &name.name);
            let Site { account, region, .. } = &self.sites[site];
            tracing::info!(component = %self.cx.id, %account, %region, log_group = name.name, "a log group is gone; what is known of it is kept for a while");
        }
    }

    fn begins_at(&self, site: usize, about: &LogGroup, now_ms: i64) -> i64 {
        // Whatever a listing says, nothing that is there or will be is before that.
        let days = about.retention_days.filter(|&days| days > 0);
        let kept = days.map_or(i64::MIN, |days| now_ms - i64::from(days) * DAY_MS);
        // Events may be two weeks older than the group that they are put into.
        let created = about
            .created_ms
            .map_or(i64::MIN, |created_ms| created_ms.min(now_ms).saturating_sub(14 * DAY_MS));
        let oldest = BEGINNING_MS.max(kept).max(created);
        // The plan's window: the group's own is not known yet, and is not longer.
        let late_window_ms = self.plan.rules.late_window_ms;
        let imported = self.sincedb.as_ref().filter(|_| site == 0);
        match imported.and_then(|sincedb| sincedb.begins_at(&about.name, late_window_ms, now_ms)) {
            Some(begins_at) => begins_at.max(oldest),
            None => self.plan.start.begins_at(self.first_start_ms, oldest),
        }
    }
}
