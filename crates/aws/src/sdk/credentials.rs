//! Credentials: by AWS's default chain or through a role, held until shortly before they end.
//!
//! The SDK has a cache of its own for each client. This one serves the SDK's requests and ours alike, says what went
//! wrong as an [`ApiError`], and can be told to [forget](Credentials::forget): after a refusal the files and the
//! environment's services are read anew, so that `aws sso login` or a new key helps without a restart.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, imds};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_types::SdkConfig;
use flowstone_core::shown;
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::fault::{self, Call};
use super::http;
use crate::{ApiError, ErrorKind, Operation};

/// Credentials are renewed this long before they end, so that their provider may be down for as long.
const BEFORE_END: Duration = Duration::from_secs(300);
/// A failed renewal is retried after this time, while the credentials held are still good.
const AGAIN: Duration = Duration::from_secs(30);
/// How long loading may take: the chain asks several services one after the other.
const LOAD: Duration = Duration::from_secs(45);
/// How long the instance's metadata service may take for one answer; it is on this machine.
const INSTANCE: Duration = Duration::from_secs(1);

/// A role of another account, or of the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Role {
    /// `arn:aws:iam::123456789012:role/reader`.
    pub arn: String,
    /// The external id that the role's trust policy asks for.
    pub external_id: Option<String>,
    /// The session's name, which the account's audit log shows: 2 to 64 letters, digits and `_=,.@-`.
    pub session_name: String,
}

/// Loads the credentials before any role.
pub(super) struct Chain {
    profile: Option<String>,
    timeouts: TimeoutConfig,
}

/// The credentials of one session.
pub(super) struct Credentials {
    chain: Chain,
    /// Of the services that the chain asks.
    region: Region,
    role: Option<AssumedRole>,
    held: Mutex<Option<Held>>,
}

/// A role, and who is asked for it.
pub(super) struct AssumedRole {
    pub(super) role: Role,
    /// The service that is asked, with its region.
    pub(super) sts: SdkConfig,
    /// Where that is, for messages.
    pub(super) endpoint: Endpoint,
}

struct Held {
    credentials: aws_credential_types::Credentials,
    /// `None` for those that do not end.
    renew_at: Option<SystemTime>,
}

// === impl Role ===

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role")
            .field("arn", &self.arn)
            .field("external_id", &self.external_id.as_ref().map(|_| "..."))
            .field("session_name", &self.session_name)
            .finish()
    }
}

// === impl Chain ===

impl Chain {
    pub(super) fn new(profile: Option<String>, timeouts: TimeoutConfig) -> Self {
        Self { profile, timeouts }
    }

    /// What providers are made with. Each is made anew when it is needed, for a provider reads files only once.
    pub(super) fn provider(&self, region: Option<Region>) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_region(region)
            .with_http_client(http::client())
            .with_retry_config(RetryConfig::disabled())
            .with_timeout_config(self.timeouts.clone())
    }

    /// The instance's metadata service.
    pub(super) fn instance(&self) -> imds::Client {
        // One retry: the answer depends on this machine alone, and the default of three with their pauses delays every
        // start outside of an instance.
        imds::Client::builder()
            .configure(&self.provider(None))
            .max_attempts(2)
            .connect_timeout(INSTANCE)
            .read_timeout(INSTANCE)
            .build()
    }

    /// Adds to an error where credentials were looked for, which the SDK does not say.
    fn explain(&self, mut error: ApiError) -> ApiError {
        if !error.code.is_empty() {
            return error; // said by a service that was found
        }
        let place = match &self.profile {
            Some(profile) => format!("profile `{profile}`"),
            None if error.kind == ErrorKind::NoCredentials => {
                "environment, shared files, web identity, task and instance".to_owned()
            }
            None => return error,
        };
        error.message = format!("{place}: {}", error.message);
        error
    }

    async fn load(&self, region: Region) -> Result<aws_credential_types::Credentials, CredentialsError> {
        let config = self.provider(Some(region.clone()));
        match &self.profile {
            Some(profile) => {
                let builder = ProfileFileCredentialsProvider::builder().configure(&config);
                builder.profile_name(profile).build().provide_credentials().await
            }
            None => {
                let builder = DefaultCredentialsChain::builder().configure(config).region(region);
                builder.imds_client(self.instance()).build().await.provide_credentials().await
            }
        }
    }
}

// === impl Credentials ===

impl Credentials {
    /// Those of the chain, or of a role that the chain's may assume.
    pub(super) fn new(chain: Chain, region: Region, role: Option<AssumedRole>) -> Self {
        Self { chain, region, role, held: Mutex::new(None) }
    }

    /// The credentials to use now, for this operation. Many callers wait for one answer.
    pub(super) async fn get(
        &self,
        operation: Operation,
    ) -> Result<aws_credential_types::Credentials, ApiError> {
        let mut held = self.held.lock().await;
        let now = SystemTime::now();
        if let Some(held) = &*held
            && held.renew_at.is_none_or(|at| now < at)
        {
            return Ok(held.credentials.clone());
        }
        let loaded = match tokio::time::timeout(LOAD, self.load(operation)).await {
            Ok(loaded) => loaded,
            Err(_) => {
                let message = format!("credentials were not given within {} s", LOAD.as_secs());
                Err(ApiError::new(self.operation(operation), ErrorKind::Unavailable, "", message))
            }
        };
        match (loaded, &mut *held) {
            (Ok(credentials), held) => {
                let renew_at = credentials.expiry().map(|end| {
                    // Short ones are used for at least half of their life.
                    let left = end.duration_since(now).unwrap_or_default();
                    end.checked_sub(BEFORE_END.min(left / 2)).unwrap_or(end)
                });
                *held = Some(Held { credentials: credentials.clone(), renew_at });
                Ok(credentials)
            }
            (Err(_), Some(held)) if held.credentials.expiry().is_some_and(|end| now < end) => {
                held.renew_at = held.credentials.expiry().min(now.checked_add(AGAIN));
                Ok(held.credentials.clone())
            }
            (Err(e), _) => Err(e),
        }
    }

    /// Drops these credentials, which were refused, if they are still the ones held.
    pub(super) async fn forget(&self, refused: &aws_credential_types::Credentials) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| held.credentials == *refused) {
            *held = None;
        }
    }

    /// The operation that an error in getting credentials for this one belongs to.
    fn operation(&self, operation: Operation) -> Operation {
        if self.role.is_some() { Operation::AssumeRole } else { operation }
    }

    async fn load(&self, operation: Operation) -> Result<aws_credential_types::Credentials, ApiError> {
        let operation = self.operation(operation);
        let base = self.chain.load(self.region.clone()).await;
        let base = base.map_err(|e| self.chain.explain(fault::of_credentials(operation, &e)))?;
        hide(&base);
        let Some(AssumedRole { role, sts, endpoint }) = &self.role else {
            return Ok(base);
        };
        let builder = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(sts);
        let builder = match &role.external_id {
            Some(id) => builder.external_id(id),
            None => builder,
        };
        let provider = builder.build_from_provider(base.clone()).await;
        let call = Call { operation, endpoint, had_token: false, reached: false, credentials: &base };
        match provider.provide_credentials().await {
            Ok(credentials) => {
                hide(&credentials);
                Ok(credentials)
            }
            Err(e) => Err(call.confirmed(call.of_assume_role(&e)).await),
        }
    }
}

/// Keeps them out of every log, whoever repeats them.
fn hide(credentials: &aws_credential_types::Credentials) {
    shown::hide_passing(credentials.secret_access_key());
    credentials.session_token().into_iter().for_each(shown::hide_passing);
}

impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // A client gets them itself before it asks the SDK, so that this finds them held.
        future::ProvideCredentials::new(async {
            self.get(Operation::GetCallerIdentity).await.map_err(CredentialsError::provider_error)
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("profile", &self.chain.profile).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_left_out_of_whatever_says_them_back() {
        let token = Some("FwoGZXIvYXdzEBc/token+of+a+test==".to_owned());
        let credentials = aws_credential_types::Credentials::new(
            "AKIDTEST",
            "wJalrXUtnFEMI/K7MDENG+test",
            token,
            None,
            "test",
        );
        hide(&credentials);
        let said =
            "AKIDTEST signed with wJalrXUtnFEMI%2FK7MDENG%2Btest and FwoGZXIvYXdzEBc/token+of+a+test==";
        assert_eq!(shown::scrub(said), "AKIDTEST signed with *** and ***");
    }
}
