//! Whether the run is healthy and ready, and why not: `/readyz`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use flowstone_core::ComponentId;

/// What keeps the run from being ready, component by component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    reasons: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Health {
    /// The component cannot do its work now.
    pub(crate) fn not_ready(&self, id: &ComponentId, reason: impl Into<String>) {
        self.lock().insert(id.to_string(), reason.into());
    }

    /// The component does its work.
    pub(crate) fn ready(&self, id: &ComponentId) {
        self.lock().remove(&id.to_string());
    }

    /// Forgets what was said about components of a topology that is gone.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// One line for each component that is not ready; empty when all are.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.lock().iter().map(|(component, reason)| format!("{component}: {reason}")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
