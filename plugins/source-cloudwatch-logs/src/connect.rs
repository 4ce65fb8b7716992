//! How accounts are entered: the real AWS, or a simulated one in tests.

use std::sync::Arc;

use async_trait::async_trait;
use flowstone_aws::{ApiError, LogsApi};

use crate::options::AccountPlan;

/// A way into accounts.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Enters an account. Its credentials need not be tried yet.
    async fn enter(&self, account: &AccountPlan) -> Result<Box<dyn Account>, ApiError>;
}

/// An account that was entered.
pub trait Account: Send + Sync {
    /// The region that the environment or the profile names.
    fn default_region(&self) -> Option<String>;

    /// CloudWatch Logs in a region of this account.
    fn logs(&self, region: &str) -> Arc<dyn LogsApi>;
}
