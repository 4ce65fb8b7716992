//! Signature Version 4 for services that are spoken to over plain HTTP: Amazon OpenSearch Service and Serverless.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

use super::session::{Session, SessionSettings};
use crate::{ApiError, ErrorKind, Operation};

/// Signs requests to one service in one region with the credentials of a [`Session`].
#[derive(Clone, Debug)]
pub struct Signer {
    session: Session,
    /// As signatures name it: `es`, `aoss`.
    service: &'static str,
    region: String,
}

/// What a signature is over.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// `GET`.
    pub method: &'a str,
    /// As it is sent, its path and query escaped.
    pub url: &'a str,
    /// Headers that are signed beside `host` and those of the signature.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body as it is sent, in hexadecimal digits.
    pub body_sha256: String,
}

/// A signature.
#[derive(Debug)]
pub struct Signed {
    /// Headers to send: `authorization`, `x-amz-date`, `x-amz-content-sha256` and, of credentials that end,
    /// `x-amz-security-token`.
    pub headers: Vec<(String, String)>,
    credentials: Credentials,
}

// === impl Signer ===

impl Signer {
    /// Reads the environment and the shared files as [`Session::load`] does.
    ///
    /// # Errors
    /// What [`Session::load`] says, and [`ErrorKind::WrongRegion`] where no region is set anywhere.
    pub async fn load(settings: &SessionSettings, service: &'static str) -> Result<Self, ApiError> {
        let session = Session::load(settings).await?;
        let Some(region) = session.region().map(str::to_owned) else {
            let message =
                "no region is set: neither in the configuration, nor by AWS_REGION, nor in the profile";
            return Err(ApiError::new(
                Operation::GetCallerIdentity,
                ErrorKind::WrongRegion,
                "",
                message.to_owned(),
            ));
        };
        Ok(Self { session, service, region })
    }

    /// Signs a request as of now. Credentials are obtained when they are needed first and before they end.
    ///
    /// # Errors
    /// Why there are no credentials.
    pub async fn sign(&self, request: Unsigned<'_>) -> Result<Signed, ApiError> {
        let credentials = self.session.credentials().get(Operation::GetCallerIdentity).await?;
        let invalid = |error: String| {
            ApiError::new(
                Operation::GetCallerIdentity,
                ErrorKind::Invalid,
                "",
                format!("cannot sign: {error}"),
            )
        };
        let mut settings = SigningSettings::default();
        // Serverless refuses a request without it, the other service takes it.
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.clone().into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| invalid(error.to_string()))?
            .into();
        let Unsigned { method, url, headers, body_sha256 } = request;
        let body = SignableBody::Precomputed(body_sha256);
        let signed = SignableRequest::new(method, url, headers.iter().copied(), body)
            .and_then(|signable| sign(signable, &params))
            .map_err(|error| invalid(error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        let headers =
            instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Signed { headers, credentials })
    }

    /// The service refused a signature: its credentials are read anew for the next one, in case that they were replaced.
    pub async fn refused(&self, signed: &Signed) {
        self.session.credentials().forget(&signed.credentials).await;
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }
}
