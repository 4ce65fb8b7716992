//! Whether the components of a run can do their work, and why not: what `/readyz` answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ComponentId;
use crate::shown::fit_to_show;

/// What keeps a run from being ready, component by component and subject by subject.
#[derive(Clone, Debug, Default)]
pub struct Health {
    problems: Arc<Mutex<BTreeMap<(String, &'static str), String>>>,
}

/// The part of a run's [`Health`] that one component reports.
#[derive(Clone, Debug)]
pub struct ComponentHealth {
    component: String,
    health: Health,
}

// === impl Health ===

impl Health {
    /// What one component reports with.
    pub fn of(&self, id: &ComponentId) -> ComponentHealth {
        ComponentHealth { component: id.to_string(), health: self.clone() }
    }

    /// Forgets what was reported by components of a topology that is gone.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// One line for each problem: component, subject, what is wrong and what to do, fit to show. Empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        self.lock()
            .iter()
            .map(|((component, subject), problem)| fit_to_show(&format!("{component}: {subject}: {problem}")))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, &'static str), String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ComponentHealth ===

impl ComponentHealth {
    /// The component cannot do its work now. `subject` is one word for the part of it that fails (`open`, `read`,
    /// `checkpoint`); `problem` says what is wrong and what to do, in lower case without a full stop. A later problem
    /// of the same subject takes the place of the one before.
    pub fn not_ready(&self, subject: &'static str, problem: impl Into<String>) {
        self.health.lock().insert((self.component.clone(), subject), problem.into());
    }

    /// This part of its work succeeds; other subjects stay as they are.
    pub fn ready(&self, subject: &'static str) {
        self.health.lock().remove(&(self.component.clone(), subject));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn a_subject_that_succeeds_leaves_the_other_subjects_problems_standing() {
        let health = Health::default();
        let id = ComponentId { kind: Kind::Source, name: "in".into(), type_name: "file" };
        let source = health.of(&id);
        source.not_ready("read", "one");
        source.not_ready("read", "two");
        source.not_ready("checkpoint", "disk full");
        assert_eq!(health.problems(), [format!("{id}: checkpoint: disk full"), format!("{id}: read: two")]);
        source.ready("read");
        assert_eq!(health.problems(), [format!("{id}: checkpoint: disk full")]);
        health.clear();
        assert!(health.problems().is_empty());
        crate::shown::hide("hunter2-of-health");
        source.not_ready("read", "the server says \u{1b}[2J\nhunter2-of-health");
        assert_eq!(health.problems(), [format!("{id}: read: the server says \\u{{1b}}[2J\\n***")]);
    }
}
