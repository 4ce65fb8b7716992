//! Which account is read, where nobody could tell at the start.

use std::sync::Arc;

use super::{Done, Running};
use crate::sites;

// === impl Running ===

impl Running {
    /// Asks STS once more, where it did not say at the start which account is read.
    pub(super) fn identify(&mut self, now_ms: i64) {
        if now_ms < self.identify_at || !self.is_live() {
            return;
        }
        self.identify_at = i64::MAX;
        let Some(site) = self.sites.iter().find(|site| site.is_own() && !site.certain) else { return };
        let api = Arc::clone(&site.api);
        self.spawn(async move { Done::Identified { reply: api.account_id().await } });
    }

    /// It became known which account the credentials' own one is. Its groups keep the names they have.
    pub(super) fn identified(&mut self, account: &str, now_ms: i64) {
        let own = || self.sites.iter().filter(|site| site.is_own());
        if !sites::is_number(account) || own().all(|site| site.certain) {
            return;
        }
        if let Some(other) = own().find_map(|site| site.known.as_deref()).filter(|&known| known != account) {
            tracing::warn!(component = %self.cx.id, account, taken_for = other, "the credentials are those of another account than before: restart flowstone to read its log groups as its own");
            return;
        }
        tracing::info!(component = %self.cx.id, account, "the account is known from now on");
        let (naming, state) = &mut self.naming;
        let before = naming.clone();
        naming.name_of(Some(account));
        if let Err(error) = naming.save(state, &before) {
            // It is known again at the next start, or then.
            tracing::debug!(component = %self.cx.id, %error, at = now_ms, "the account could not be kept");
        }
        for site in self.sites.iter_mut().filter(|site| site.is_own()) {
            (site.known, site.certain) = (Some(account.into()), true);
        }
        for read in &mut self.reads {
            if read.found.name.foreign_arn.is_none() && self.sites[read.found.site].is_own() {
                read.origin.account = Some(account.into());
            }
        }
    }
}
