//! One account's credentials and where its services are, read from the environment and the shared files.

use std::fmt;
use std::sync::Arc;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region};
use aws_credential_types::Token;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_cloudwatchlogs::config::IdentityCache;
use aws_types::SdkConfig;

use super::credentials::{AssumedRole, Chain, Credentials, Role};
use super::{endpoint, http};
use crate::{ApiError, Arn, ErrorKind, Operation};

/// Whose credentials, and where they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// The region where none is named otherwise; without it `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, the
    /// instance's.
    pub region: Option<String>,
    /// The URL of every service, for tests and private gateways; without it `AWS_ENDPOINT_URL_CLOUDWATCH_LOGS` (`_EC2`,
    /// `_CLOUDWATCH`, `_STS`), `AWS_ENDPOINT_URL`, the profile's, AWS's own.
    pub endpoint: Option<String>,
    /// The profile of `~/.aws/config` and `~/.aws/credentials` that credentials are taken from, and from nowhere else,
    /// as `aws --profile` does. Without it AWS's default chain: the environment, `AWS_PROFILE`, web identity, the
    /// task's role, the instance's role.
    pub profile: Option<String>,
    /// The role to assume with those credentials.
    pub role: Option<Role>,
}

/// Credentials of one account, obtained at the first request, held, and renewed before they end. Clones share them.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    config: SdkConfig,
    credentials: Arc<Credentials>,
    endpoint: Option<String>,
}

// === impl Session ===

impl Session {
    /// Reads the environment and the shared files. The network is used only if no region is set anywhere: then the
    /// instance's metadata service is asked, unless there are credentials in the environment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a role's ARN or an endpoint that is none. What is wrong with credentials comes with
    /// the first request.
    pub async fn load(settings: &SessionSettings) -> Result<Self, ApiError> {
        check(settings)?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(http::CONNECT)
            .operation_attempt_timeout(http::ATTEMPT)
            .build();
        let chain = Chain::new(settings.profile.clone(), timeouts.clone());
        let region = region(settings, &chain).await;

        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http::client())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled()) // the attempt's time is shorter
            .app_name(AppName::new("flowstone").expect("letters"))
            .identity_cache(IdentityCache::no_cache()) // `Credentials` holds them
            .no_credentials()
            .token_provider(Token::new("", None)) // no service here takes one, and the default asks the instance
            .region(region.clone());
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;

        // Without a region the chain would look for one again, at the instance at last.
        let role_arn = settings.role.as_ref().and_then(|role| Arn::parse(&role.arn));
        let home = endpoint::home_region(role_arn.map_or("aws", |arn| arn.partition));
        let region = region.unwrap_or_else(|| Region::new(home));
        let role = settings.role.clone().map(|role| AssumedRole {
            role,
            endpoint: endpoint::Service::Sts.endpoint(&config, settings.endpoint.as_deref(), region.as_ref()),
            sts: config.to_builder().region(region.clone()).build(),
        });
        let credentials = Arc::new(Credentials::new(chain, region, role));
        let provider: Arc<dyn ProvideCredentials> = Arc::clone(&credentials) as _;
        let provider = SharedCredentialsProvider::new(provider);
        let config = config.into_builder().credentials_provider(provider).build();
        Ok(Self { inner: Arc::new(Inner { config, credentials, endpoint: settings.endpoint.clone() }) })
    }

    /// The region of the settings, or else of the environment, the profile or the instance.
    pub fn region(&self) -> Option<&str> {
        self.inner.config.region().map(Region::as_ref)
    }

    pub(super) fn config(&self) -> &SdkConfig {
        &self.inner.config
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    /// The settings' endpoint.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.inner.endpoint.as_deref()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.inner.endpoint.as_deref();
        f.debug_struct("Session")
            .field("region", &self.region())
            .field("endpoint", &endpoint)
            .finish_non_exhaustive()
    }
}

/// Whether it is the URL of a server, without credentials and query: what [`SessionSettings::endpoint`] takes.
pub fn is_endpoint(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['@', '?', '#', ' ']))
}

fn check(settings: &SessionSettings) -> Result<(), ApiError> {
    let invalid = |operation, message| Err(ApiError::new(operation, ErrorKind::Invalid, "", message));
    if let Some(role) = &settings.role
        && !Arn::parse(&role.arn).is_some_and(|arn| arn.is_role())
    {
        let message = format!("`{}` is no role: expected arn:aws:iam::ACCOUNT:role/NAME", role.arn);
        return invalid(Operation::AssumeRole, message);
    }
    if settings.endpoint.as_deref().is_some_and(|endpoint| !is_endpoint(endpoint)) {
        let message = "the endpoint is no URL: expected https://HOST[:PORT], without credentials and query";
        return invalid(Operation::GetCallerIdentity, message.to_owned());
    }
    Ok(())
}

async fn region(settings: &SessionSettings, chain: &Chain) -> Option<Region> {
    if let Some(region) = &settings.region {
        return Some(Region::new(region.clone()));
    }
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        return Some(region);
    }
    let mut profile = ProfileFileRegionProvider::builder().configure(&chain.provider(None));
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    if let Some(region) = profile.build().region().await {
        return Some(region);
    }
    // Who has keys in the environment is most likely on no instance, and would wait for an address that is not there.
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    ImdsRegionProvider::builder().imds_client(chain.instance()).build().region().await
}
