//! `flowstone validate --connect`: whether everything that the source needs is within reach and allowed.

use std::sync::Arc;

use flowstone_aws::{FilterRequest, Governors};

use crate::clock::ServiceClock;
use crate::connect::Connect;
use crate::discovery;
use crate::options::Plan;
use crate::sites::{self, Site};

/// A page of the last minute of each named group is asked for, and a listing where groups must be looked for. The first
/// refusal is told, with what to do.
pub(crate) async fn probe(plan: &Plan, connect: &dyn Connect, clock: &ServiceClock) -> Result<(), String> {
    for site in sites::enter(plan, connect).await.map_err(|error| error.message)? {
        let Site { account, region, api, .. } = &site;
        for group in plan.groups.named(site.place()) {
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
            if let Some(error) = refused {
                return Err(site.told(&error, &name));
            }
        }
        let prefixes = plan.groups.prefixes();
        if !prefixes.is_empty() {
            let listing = discovery::list(
                Arc::clone(api),
                (Arc::clone(account), Arc::clone(region)),
                prefixes,
                Governors::of_process(),
                plan.quota_share,
                clock.clone(),
            );
            let groups = listing.await.map_err(|error| site.told(&error, ""))?;
            if !groups.iter().any(|group| plan.groups.matches(&group.name)) {
                return Err(format!(
                    "no log group in region {region} of account {account} is one of `log_groups` or `log_group_prefix`; \
                     there are {} that begin so",
                    groups.len()
                ));
            }
        }
    }
    Ok(())
}
