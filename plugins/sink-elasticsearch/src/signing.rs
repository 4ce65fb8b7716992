//! Amazon OpenSearch Service and Serverless: requests that are signed, and what their refusals mean.

use std::fmt::Write as _;

use bytes::Bytes;
use flowstone_aws::sdk::{Role, SessionSettings, Signed, Signer, Unsigned};
use flowstone_aws::{ApiError, Arn, ErrorKind};
use flowstone_core::{BuildError, Verdict, blocking};
use reqwest::{Method, Url};
use ring::digest::{Context, SHA256};
use tokio::sync::OnceCell;

use crate::options::{AwsOptions, AwsService};

/// Signs the requests of one connection.
#[derive(Debug)]
pub(crate) struct Signing {
    service: AwsService,
    settings: SessionSettings,
    /// Set with the first request: until then nothing is read, and nobody asked.
    signer: OnceCell<Signer>,
}

/// What the audit log of an account calls flowstone's sessions.
const SESSION_NAME: &str = "flowstone";

/// A body up to this size is hashed where it stands: some 30 us.
const HASHED_AT_ONCE: usize = 64 << 10;

// === impl Signing ===

impl Signing {
    /// Signs as the options say. Without a region the hosts' names tell it, and then the environment.
    pub(crate) fn new(options: &AwsOptions, hosts: &[String]) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        if let Some(arn) = &options.role_arn
            && !Arn::parse(arn).is_some_and(|arn| arn.is_role())
        {
            errors.push(
                BuildError::option("auth.aws.role_arn", format!("`{arn}` is no role"))
                    .label("expected `arn:aws:iam::ACCOUNT:role/NAME`"),
            );
        }
        if options.external_id.is_some() && options.role_arn.is_none() {
            let error =
                BuildError::option("auth.aws.external_id", "`external_id` needs `role_arn` beside it");
            errors.push(error.help("it is part of taking on a role"));
        }
        let named: Vec<String> = hosts.iter().filter_map(|host| region_of(host)).collect();
        if let (None, [first, ..]) = (&options.region, &named[..])
            && named.iter().any(|other| other != first)
        {
            let error = BuildError::option("hosts", "the hosts are in several regions");
            errors.push(error.help("give each region a sink of its own"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let role = options.role_arn.as_ref().map(|arn| Role {
            arn: arn.clone(),
            external_id: options.external_id.as_ref().map(|id| id.expose().to_owned()),
            session_name: SESSION_NAME.to_owned(),
        });
        let region = options.region.clone().or_else(|| named.into_iter().next());
        let settings = SessionSettings { region, endpoint: None, profile: options.profile.clone(), role };
        Ok(Self { service: options.service, settings, signer: OnceCell::new() })
    }

    /// The service.
    pub(crate) fn service(&self) -> AwsService {
        self.service
    }

    /// Headers that sign a request. The error is a verdict on all of it.
    pub(crate) async fn sign(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[Bytes],
    ) -> Result<Signed, Verdict> {
        let body_sha256 = sha256(body).await;
        let signer = self
            .signer
            .get_or_try_init(|| Signer::load(&self.settings, self.service.signing_name()))
            .await
            .map_err(|error| without_credentials(&error))?;
        let unsigned = Unsigned { method: method.as_str(), url: url.as_str(), headers, body_sha256 };
        signer.sign(unsigned).await.map_err(|error| without_credentials(&error))
    }

    /// The server refused this signature: credentials are read anew for the next one.
    pub(crate) async fn refused(&self, signed: &Signed) {
        if let Some(signer) = self.signer.get() {
            signer.refused(signed).await;
        }
    }
}

impl AwsService {
    /// As signatures name it.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::Aoss => "aoss",
        }
    }
}

/// The region that a host of AWS's names: `NAME.REGION.es.amazonaws.com`, `ID.REGION.aoss.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let name = host.rsplit("://").next()?.split([':', '/']).next()?;
    let parts: Vec<&str> = name.split('.').collect();
    let service = parts.iter().position(|part| matches!(*part, "es" | "aoss"))?;
    let suffix = parts[service + 1..].join(".");
    let is_aws = matches!(&*suffix, "amazonaws.com" | "amazonaws.com.cn");
    (is_aws && service >= 2).then(|| parts[service - 1].to_owned())
}

/// SHA-256 of the chunks as one, in hexadecimal digits. A large body is hashed beside the threads that drive the network.
async fn sha256(chunks: &[Bytes]) -> String {
    let hash = |chunks: &[Bytes]| {
        let mut hash = Context::new(&SHA256);
        chunks.iter().for_each(|chunk| hash.update(chunk));
        hash.finish().as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").ok();
            text
        })
    };
    if chunks.iter().map(Bytes::len).sum::<usize>() <= HASHED_AT_ONCE {
        return hash(chunks);
    }
    let chunks = chunks.to_vec();
    blocking(move || hash(&chunks)).await
}

/// Why a request could not be signed.
fn without_credentials(error: &ApiError) -> Verdict {
    let help = match error.kind {
        ErrorKind::Throttled | ErrorKind::Unavailable => {
            return Verdict::busy("aws_credentials", error.message.clone());
        }
        ErrorKind::WrongRegion => "set `region` in `auth.aws`, or AWS_REGION",
        ErrorKind::AccessDenied => {
            "allow sts:AssumeRole to these credentials, and let the role's trust policy name them (and the external id)"
        }
        ErrorKind::ExpiredCredentials => {
            "renew the session, as with `aws sso login`; flowstone goes on by itself then"
        }
        ErrorKind::ClockSkew => "set the clock of this machine",
        _ => {
            "give flowstone credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, `profile` in `auth.aws`, or a role \
             of the instance, the task or the service account"
        }
    };
    Verdict::blocked("aws_credentials", error.message.clone(), help)
}

/// What a refusal (401, 403) of a signed request means, put in place of what an unsigned one would mean.
pub(crate) fn explain(service: AwsService, verdict: &mut Verdict) {
    let Verdict::Blocked { reason, detail, help } = verdict else { return };
    if !matches!(&**reason, "privileges" | "credentials") {
        return;
    }
    let (word, text) = remedy(service, detail);
    (*reason, *help) = (word.into(), text.into());
}

fn remedy(service: AwsService, said: &str) -> (&'static str, &'static str) {
    let says = |words: &str| said.contains(words);
    if says("Signature expired") || says("not yet current") {
        return ("clock", "set the clock of this machine: a signature is good for five minutes");
    }
    if says("scoped to a valid region") {
        return ("aws_region", "name the region of the domain or collection: `region` in `auth.aws`");
    }
    if says("scoped to correct service") {
        return (
            "aws_service",
            "name the service in `auth.aws`: service = \"es\" for a domain, \"aoss\" for a Serverless collection",
        );
    }
    if says("security token") || says("signature we calculated") || says("InvalidClientTokenId") {
        return (
            "credentials",
            "AWS does not know the key, or its secret is another one: check the credentials that flowstone finds first \
             (environment, profile, role); they are read anew with each attempt",
        );
    }
    match service {
        AwsService::Es => (
            "privileges",
            "let the identity's policy or the domain's access policy allow es:ESHttpPost, es:ESHttpGet and es:ESHttpPut \
             on the domain; with fine-grained access control also map the role to one with `indices:data/write/bulk*`, \
             `create_index` and `indices:admin/index_template/*`",
        ),
        AwsService::Aoss => (
            "privileges",
            "three policies must allow it: the identity's aoss:APIAccessAll on the collection, a data access policy with \
             aoss:CreateIndex, aoss:DescribeIndex and aoss:WriteDocument for this role, and a network policy for where \
             flowstone runs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_awss_names_its_region() {
        for (host, region) in [
            ("https://search-logs-abc.eu-west-1.es.amazonaws.com", Some("eu-west-1")),
            ("https://abc123.us-east-1.aoss.amazonaws.com:443/x", Some("us-east-1")),
            ("search-logs.cn-north-1.es.amazonaws.com.cn", Some("cn-north-1")),
            ("https://logs.example.com", None),
            ("https://es.amazonaws.com", None),
            ("https://eu-west-1.es.example.com", None),
        ] {
            assert_eq!(region_of(host).as_deref(), region, "{host}");
        }
    }

    #[test]
    fn each_refusal_says_what_is_missing() {
        for (service, said, reason, help) in [
            (
                AwsService::Es,
                r#"status 403: {"Message":"User: anonymous is not authorized to perform: es:ESHttpPost"}"#,
                "privileges",
                "es:ESHttpPost",
            ),
            (
                AwsService::Aoss,
                r#"status 403: {"error":{"reason":"403 Forbidden"}}"#,
                "privileges",
                "aoss:APIAccessAll",
            ),
            (AwsService::Es, "Signature expired: 20261201T120000Z is now earlier than", "clock", "clock"),
            (
                AwsService::Es,
                "Credential should be scoped to a valid region, not 'x'",
                "aws_region",
                "`region`",
            ),
            (
                AwsService::Aoss,
                "Credential should be scoped to correct service: 'es'.",
                "aws_service",
                "\"es\"",
            ),
            (
                AwsService::Es,
                "The security token included in the request is invalid",
                "credentials",
                "read anew",
            ),
        ] {
            let mut verdict = Verdict::blocked("privileges", said, "generic");
            explain(service, &mut verdict);
            let Verdict::Blocked { reason: word, help: text, .. } = &verdict else { panic!("{verdict:?}") };
            assert!(**word == *reason && text.contains(help), "{said}: {word} {text}");
        }
        let mut other = Verdict::blocked("disk_full", "x", "y");
        explain(AwsService::Es, &mut other);
        assert_eq!(other, Verdict::blocked("disk_full", "x", "y"));
    }

    #[tokio::test]
    async fn a_body_in_pieces_has_one_hash() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, "abc"
        assert_eq!(sha256(&[Bytes::from("a"), Bytes::from("bc")]).await, known);
        let large = vec![b'x'; HASHED_AT_ONCE + 1];
        let (one, other) = large.split_at(7);
        let split = [Bytes::copy_from_slice(one), Bytes::copy_from_slice(other)];
        assert_eq!(sha256(&split).await, sha256(&[Bytes::from(large)]).await);
    }
}
