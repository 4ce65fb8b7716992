//! `flowstone validate --connect`: whether all that reading needs is within reach and allowed. The audit
//! and the formats, which reading does without, are not tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowstone_aws::{ErrorKind, FilterRequest, Governors};

use crate::clock::ServiceClock;
use crate::connect::Connect;
use crate::discovery::{self, Quota};
use crate::naming::Naming;
use crate::options::Plan;
use crate::sites::{self, Site};

/// A page of the last minute of each named group is asked for, and a listing where groups must be looked for. The first
/// refusal is reported, with what to do.
pub(crate) async fn probe(
    plan: &Plan,
    connect: &dyn Connect,
    mut naming: Naming,
    clock: &ServiceClock,
) -> Result<(), String> {
    let sites = sites::enter(plan, connect, &mut naming).await.map_err(|refused| refused.message)?;
    // With several sites it is enough that a group is in one of them.
    let mut missing: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for site in &sites {
        let Site { account, region, api, .. } = site;
        for group in site.named(&plan.groups) {
            let now_ms = clock.now_ms();
            let name = group.name.clone();
            let request = FilterRequest {
                group,
                start_ms: now_ms - 60_000,
                end_ms: now_ms,
                streams: plan.streams.clone(),
                pattern: plan.pattern.clone(),
                token: None,
            };
            let refused = api.filter_log_events(&request).await.err().filter(|error| !error.kind.passes());
            match refused {
                Some(error) if error.kind == ErrorKind::NotFound => {
                    let entry = missing.entry(name.clone()).or_insert((0, site.explain(&error, &name)));
                    entry.0 += 1;
                }
                Some(error) => return Err(site.explain(&error, &name)),
                None => {}
            }
        }
        let prefixes = plan.groups.prefixes();
        if !prefixes.is_empty() {
            let quota = Quota::of(site, &Governors::of_process(), plan.quota_share, clock);
            let listing = discovery::list(Arc::clone(api), prefixes.to_vec(), quota);
            let groups = listing.await.map_err(|error| site.explain(&error, ""))?;
            if sites.len() == 1 && !groups.iter().any(|group| plan.groups.matches(&group.name)) {
                return Err(format!(
                    "no log group in region {region} of account {account} is one of `log_groups` or `log_group_prefix`; \
                     there are {} that begin so",
                    groups.len()
                ));
            }
        }
    }
    let nowhere = |(sites_without, _): &&(usize, String)| *sites_without == sites.len();
    missing.values().find(nowhere).map_or(Ok(()), |(_, refusal)| Err(refusal.clone()))
}
