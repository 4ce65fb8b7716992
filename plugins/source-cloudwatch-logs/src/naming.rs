//! Which account the log groups of the credentials' own account are named after, in the ids of their events and in the
//! checkpoint: decided before anything is read, kept beside the checkpoint, and never decided again for the same groups.
//!
//! Ids must stay what they are when STS answers one day and not the next. So groups that were read while no account was
//! known keep the name `unknown`, also once it is known; and where one is known from before, it counts until another
//! one is certain.

use std::sync::Arc;

use flowstone_core::StateDir;
use serde_json::json;

use crate::journal::Journal;

/// What the own account's groups are named after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    /// The account that was known last.
    last: Option<String>,
    /// Groups were read while none was known.
    nameless: bool,
    /// The account that they turned out to belong to.
    nameless_is: Option<String>,
}

/// What groups are named after while their account is not known.
pub(crate) const UNKNOWN: &str = "unknown";
const FILE: &str = "account";
const VERSION: i64 = 1;

// === impl Naming ===

impl Naming {
    /// What is kept in `state`. Where nothing is, but a checkpoint (of a flowstone that asked STS at every start), the
    /// account is the one that its groups are named after. `others` are accounts whose groups are named after them in
    /// any case. The error says what to do.
    pub(crate) fn load(state: &StateDir, others: &[String]) -> Result<Self, String> {
        let path = state.path().join(FILE);
        let help = "restore it, or remove it and set `account_id`";
        let broken = |why: String| format!("{} {why}; {help}", path.display());
        let Some(text) = state.load(FILE).map_err(|error| broken(format!("cannot be read ({error})")))?
        else {
            let last = Self::of_journal(state, others)?;
            return Ok(Self { last, ..Self::default() });
        };
        let fields: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| broken(format!("is damaged ({error})")))?;
        match fields.get("v").and_then(serde_json::Value::as_i64) {
            Some(VERSION) => {}
            found => {
                let found = found.map_or("none".to_owned(), |found| found.to_string());
                return Err(format!(
                    "{} has version {found}, this flowstone knows version {VERSION}; use the flowstone that wrote it",
                    path.display()
                ));
            }
        }
        let text = |name: &str| fields.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let nameless = fields.get("nameless").and_then(serde_json::Value::as_bool);
        Ok(Self {
            last: text("last"),
            nameless: nameless.ok_or_else(|| broken("is damaged (a field is missing)".to_owned()))?,
            nameless_is: text("nameless_is"),
        })
    }

    fn of_journal(state: &StateDir, others: &[String]) -> Result<Option<String>, String> {
        let (journal, _) = Journal::open(state, "", 0)?;
        let mut accounts: Vec<&str> =
            journal.partitions().filter_map(|name| Some(name.split_once('/')?.0)).collect();
        accounts.retain(|&account| account != UNKNOWN && !others.iter().any(|other| other == account));
        accounts.sort_unstable();
        accounts.dedup();
        Ok(match accounts[..] {
            [account] => Some(account.to_owned()),
            _ => None,
        })
    }

    /// Keeps it, if it has changed since it was `before`.
    pub(crate) fn save(&self, state: &StateDir, before: &Self) -> std::io::Result<()> {
        if self == before && state.load(FILE)?.is_some() {
            return Ok(());
        }
        let Self { last, nameless, nameless_is } = self;
        let text = json!({ "v": VERSION, "last": last, "nameless": nameless, "nameless_is": nameless_is });
        state.save(FILE, format!("{text}\n").as_bytes())
    }

    /// The account that was known last.
    pub(crate) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// What the groups are named after, if this is what is known of their account.
    pub(crate) fn name_of(&mut self, known: Option<&str>) -> Arc<str> {
        let account = match known.or(self.last.as_deref()) {
            Some(account) => account.to_owned(),
            None => {
                self.nameless = true;
                return UNKNOWN.into();
            }
        };
        self.last = Some(account.clone());
        if self.nameless && *self.nameless_is.get_or_insert_with(|| account.clone()) == account {
            return UNKNOWN.into();
        }
        account.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "111111111111";
    const B: &str = "222222222222";

    #[test]
    fn a_name_stays_what_it_is_whatever_is_known_later() {
        // What is known at each start, and what groups are named after.
        type Starts<'a> = &'a [(Option<&'a str>, &'a str)];
        let histories: [Starts<'_>; 4] = [
            &[(Some(A), A), (None, A), (Some(A), A)],
            &[(None, UNKNOWN), (Some(A), UNKNOWN), (None, UNKNOWN), (Some(A), UNKNOWN)],
            // Other credentials are another account's groups.
            &[(Some(A), A), (Some(B), B), (None, B), (Some(A), A)],
            &[(None, UNKNOWN), (Some(A), UNKNOWN), (Some(B), B), (None, B), (Some(A), UNKNOWN)],
        ];
        for history in histories {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDir::new(folder.path().to_owned());
            for (known, name) in history {
                let before = Naming::load(&state, &[]).unwrap();
                let mut naming = before.clone();
                assert_eq!(&*naming.name_of(*known), *name, "{history:?}");
                naming.save(&state, &before).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().to_owned());
        for (text, told) in [
            ("{\"v\":2}", "account has version 2, this flowstone knows version 1"),
            ("{\"v\":1}", "is damaged (a field is missing)"),
            ("x", "is damaged (expected"),
        ] {
            state.save(FILE, text.as_bytes()).unwrap();
            let error = Naming::load(&state, &[]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
