//! AWS itself.

use std::sync::Arc;

use async_trait::async_trait;
use flowstone_aws::sdk::{Client, Role, Session, SessionSettings};
use flowstone_aws::{ApiError, LogsApi};

use crate::connect::{Account, Connect};
use crate::options::{AccountPlan, Plan};

/// Enters accounts with AWS's default chain of credentials.
#[derive(Clone, Debug)]
pub struct Aws {
    profile: Option<String>,
    endpoint: Option<String>,
}

/// What the audit log of an account calls flowstone's sessions.
const SESSION_NAME: &str = "flowstone";

// === impl Aws ===

impl Aws {
    /// As the options say.
    pub fn new(plan: &Plan) -> Self {
        Self { profile: plan.profile.clone(), endpoint: plan.endpoint.clone() }
    }
}

#[async_trait]
impl Connect for Aws {
    async fn enter(&self, account: &AccountPlan) -> Result<Box<dyn Account>, ApiError> {
        let role = account.role.as_ref().map(|arn| Role {
            arn: arn.clone(),
            external_id: account.external_id.as_ref().map(|id| id.expose().to_owned()),
            session_name: SESSION_NAME.to_owned(),
        });
        let settings = SessionSettings {
            region: account.regions.first().cloned(),
            endpoint: self.endpoint.clone(),
            profile: self.profile.clone(),
            role,
        };
        Ok(Box::new(Entered(Session::load(&settings).await?)))
    }
}

struct Entered(Session);

impl Account for Entered {
    fn default_region(&self) -> Option<String> {
        self.0.region().map(str::to_owned)
    }

    fn logs(&self, region: &str) -> Arc<dyn LogsApi> {
        Arc::new(Client::new(&self.0, region))
    }
}
