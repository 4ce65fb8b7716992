//! From what the SDK, the network or a reply says to an [`ApiError`] that says what helps, and no secret.

use std::error::Error;
use std::io;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use flowstone_core::shown;

use super::endpoint::Endpoint;
use super::http;
use crate::{ApiError, ErrorKind, Operation};

/// A request that failed, as far as its error needs it.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    /// Where it went.
    pub(super) endpoint: &'a Endpoint,
    /// Whether it carried a page token.
    pub(super) had_token: bool,
    /// Whether this endpoint has ever answered: then its region exists.
    pub(super) reached: bool,
    /// What it was signed with, to keep it out of messages.
    pub(super) credentials: &'a Credentials,
}

// === impl Call ===

impl Call<'_> {
    /// The error of a request through the SDK.
    pub(super) fn of_sdk<E>(&self, error: &SdkError<E, HttpResponse>) -> ApiError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            // A good status with a text that is no answer is a `ServiceError`, too.
            SdkError::ServiceError(refusal) if refusal.raw().status().is_success() => {
                self.unreadable(&said(error))
            }
            SdkError::ServiceError(refusal) => {
                let (code, message) = (refusal.err().code(), refusal.err().message());
                let status = refusal.raw().status().as_u16();
                self.refused(status, code.unwrap_or_default(), message.unwrap_or_default())
            }
            SdkError::ResponseError(reply) if !reply.raw().status().is_success() => {
                self.refused(reply.raw().status().as_u16(), "", "")
            }
            SdkError::ResponseError(_) => self.unreadable(&said(error)),
            SdkError::TimeoutError(_) => self.late(),
            SdkError::DispatchFailure(failure) => {
                match (cause::<ApiError>(error), failure.as_connector_error()) {
                    (Some(of_credentials), _) => self.of_credentials(of_credentials),
                    (None, Some(e)) => self.of_connector(e),
                    (None, None) => self.error(ErrorKind::Unavailable, &said(error)),
                }
            }
            _ => match cause::<ApiError>(error) {
                Some(of_credentials) => self.of_credentials(of_credentials),
                None => self.error(ErrorKind::Invalid, &said(error)),
            },
        }
    }

    /// The error of a role that was not given.
    pub(super) fn of_assume_role(&self, error: &CredentialsError) -> ApiError {
        match cause::<SdkError<AssumeRoleError, HttpResponse>>(error) {
            Some(refusal) => self.of_sdk(refusal),
            None => of_credentials(self.operation, error),
        }
    }

    /// The error of a request that brought no reply.
    pub(super) fn of_connector(&self, error: &ConnectorError) -> ApiError {
        let said = said(error);
        let url = &self.endpoint.url;
        if error.is_timeout() {
            return self.error(ErrorKind::Unavailable, &format!("{url} does not answer: {said}"));
        }
        // EAI_AGAIN, of glibc and of musl: the resolver does not know.
        let no_name = said.contains("failed to lookup address information")
            && !said.contains("Temporary failure")
            && !said.contains("Try again");
        if no_name && self.endpoint.witness.is_some() && !self.reached {
            return self.error(ErrorKind::WrongRegion, &format!("there is no host for {url}: {said}"));
        }
        self.error(ErrorKind::Unavailable, &format!("{url} cannot be reached: {said}"))
    }

    /// Confirms an error that says that the region does not exist: where no name of AWS's can be resolved, the network
    /// or the resolver is missing, not the region.
    pub(super) async fn confirmed(&self, mut error: ApiError) -> ApiError {
        if let (ErrorKind::WrongRegion, "", Some(witness)) =
            (error.kind, &*error.code, &self.endpoint.witness)
        {
            let found = tokio::time::timeout(http::CONNECT, tokio::net::lookup_host((&**witness, 443))).await;
            if !matches!(found, Ok(Ok(_))) {
                error.kind = ErrorKind::Unavailable;
                error.message.push_str("; nor is there one for ");
                error.message.push_str(witness);
            }
        }
        error
    }

    /// The error of a reply with a status beyond 299.
    pub(super) fn refused(&self, status: u16, code: &str, message: &str) -> ApiError {
        if !code.is_empty() || status == 429 {
            return ApiError::of_reply(self.operation, status, code, &self.clean(message), self.had_token);
        }
        // AWS's refusals have a code: this is a proxy's or a gateway's.
        let url = &self.endpoint.url;
        let message = format!("the answer of {url} with HTTP status {status} is not AWS's; check proxies");
        self.error(ErrorKind::Unavailable, &message)
    }

    /// The error of a good reply that is not what the API promises, or not all of it.
    pub(super) fn unreadable(&self, why: &str) -> ApiError {
        let message = format!("the answer of {} cannot be read: {why}", self.endpoint.url);
        self.error(ErrorKind::Unavailable, &message)
    }

    /// The error of a request whose time is over.
    pub(super) fn late(&self) -> ApiError {
        let message = format!("{} did not answer in time", self.endpoint.url);
        self.error(ErrorKind::Unavailable, &message)
    }

    fn error(&self, kind: ErrorKind, message: &str) -> ApiError {
        ApiError::new(self.operation, kind, "", self.clean(message))
    }

    /// An error in getting credentials that came through the SDK.
    fn of_credentials(&self, error: &ApiError) -> ApiError {
        let operation = match error.operation {
            Operation::AssumeRole => Operation::AssumeRole,
            _ => self.operation,
        };
        ApiError { operation, ..error.clone() }
    }

    /// The message without what it was signed with.
    fn clean(&self, message: &str) -> String {
        let secrets = [Some(self.credentials.secret_access_key()), self.credentials.session_token()];
        without(message, secrets.into_iter().flatten())
    }
}

/// The error of credentials that the chain does not give.
pub(super) fn of_credentials(operation: Operation, error: &CredentialsError) -> ApiError {
    let said = without(&said(error), []);
    // A profile or a pod may assume a role, too.
    let refused = refused_role::<AssumeRoleError>(error)
        .or_else(|| refused_role::<AssumeRoleWithWebIdentityError>(error));
    if let Some(refused) = refused {
        return refused;
    }
    let kind = match error {
        CredentialsError::CredentialsNotLoaded(_) => ErrorKind::NoCredentials,
        CredentialsError::ProviderTimedOut(_) => ErrorKind::Unavailable,
        _ if cause::<ConnectorError>(error).is_some() || said.contains("timed out") => ErrorKind::Unavailable,
        // The SDK has no types for these: a session of IAM Identity Center that has ended, or was never begun.
        _ if ["SSO token", "UnauthorizedException", "ExpiredToken"]
            .iter()
            .any(|word| said.contains(word)) =>
        {
            ErrorKind::ExpiredCredentials
        }
        _ => ErrorKind::NoCredentials,
    };
    ApiError::new(operation, kind, "", said)
}

/// The error of a role that STS refused, within a chain of credentials.
fn refused_role<E>(error: &CredentialsError) -> Option<ApiError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(SdkError::ServiceError(refusal)) = cause::<SdkError<E, HttpResponse>>(error) else {
        return None;
    };
    let (code, message) = (refusal.err().code()?, refusal.err().message().unwrap_or_default());
    let status = refusal.raw().status().as_u16();
    Some(ApiError::of_reply(Operation::AssumeRole, status, code, &without(message, []), false))
}

// === helpers ===

/// The message without these secrets and without what may hold others: a refused signature is explained
/// with the signature and with the whole canonical request, session token included.
fn without<'a>(message: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    // Scrubbed before it is cut: half a secret is not recognised.
    let mut message = shown::scrub(message).into_owned();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        message = message.replace(secret, "...");
    }
    for sentence in ["The Canonical String for this request", "Encoded authorization failure message"] {
        if let Some(begin) = message.find(sentence) {
            message.truncate(begin);
        }
    }
    let mut cleaned = String::with_capacity(message.len());
    for word in message.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            cleaned.push_str("...");
            cleaned.push_str(&word[digits.len()..]);
        } else {
            cleaned.push_str(word);
        }
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// The first error of this type in the chain of causes.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // The source of an `io::Error` is the source of what it holds.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// What the chain of causes says, from the outside in, each thing once.
fn said(error: &(dyn Error + 'static)) -> String {
    let mut said = String::new();
    for error in causes(error) {
        let text = error.to_string();
        if !said.contains(&text) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&text);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_wrong_if_its_host_has_no_name_though_others_have() {
        use ErrorKind::{Unavailable, WrongRegion};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lookup = "failed to lookup address information: ";
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let (no_name, known, unknown) =
            ("Name or service not known", Some("localhost"), Some("nowhere.invalid"));
        for (said, witness, reached, kind) in [
            (no_name, known, false, WrongRegion),
            ("Name does not resolve", known, false, WrongRegion), // musl
            ("Temporary failure in name resolution", known, false, Unavailable),
            ("Try again", known, false, Unavailable), // musl
            (no_name, known, true, Unavailable),
            (no_name, unknown, false, Unavailable),
            (no_name, None, false, Unavailable),
        ] {
            let url = "https://logs.xx-nowhere-1.amazonaws.com".to_owned();
            let endpoint = Endpoint { url, witness: witness.map(str::to_owned) };
            let operation = Operation::FilterLogEvents;
            let call =
                Call { operation, endpoint: &endpoint, had_token: false, reached, credentials: &credentials };
            let error =
                call.of_connector(&ConnectorError::io(io::Error::other(format!("{lookup}{said}")).into()));
            let error = runtime.block_on(call.confirmed(error));
            assert_eq!(error.kind, kind, "{witness:?} {error}");
            assert!(error.message.contains(&endpoint.url) && error.message.contains(said), "{error}");
        }
        // What AWS says itself needs no witness.
        let endpoint = Endpoint { url: String::new(), witness: Some("nowhere.invalid".to_owned()) };
        let operation = Operation::FilterLogEvents;
        let call = Call {
            operation,
            endpoint: &endpoint,
            had_token: false,
            reached: false,
            credentials: &credentials,
        };
        let error = runtime.block_on(call.confirmed(call.refused(403, "OptInRequired", "")));
        assert_eq!(error.kind, WrongRegion);
    }
}
