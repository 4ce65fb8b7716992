//! How the services say no: each trouble's status, code and text, in the form of the service that is asked. The texts
//! are AWS's own as they stand in bug reports; what flowstone makes of them is what tests are about.

use flowstone_aws::{ApiError, ErrorKind, Operation};

use super::call::{Call, Protocol};
use super::clock::{amz_date, parse_amz_date};
use crate::http::Reply;

/// What a call can be made to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One request too many.
    Throttled,
    /// The policy does not allow the operation.
    Denied,
    /// The session behind the credentials has ended.
    ExpiredToken,
    /// The access key does not exist.
    UnknownKey,
    /// The secret is not that of the access key.
    WrongSecret,
    /// The request was signed twenty minutes ago, by the service's clock.
    ClockSkew,
    /// The service cannot answer now: 503.
    Unavailable,
    /// The service failed: 500.
    Internal,
    /// A refusal whose message has 40 MB.
    Huge,
    /// The connection is closed without an answer.
    HangUp,
    /// No answer ever comes.
    Never,
}

/// A call refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: String,
    message: String,
}

const SKEW_MS: i64 = 20 * 60_000;
const SKEW_ALLOWED_MS: i64 = 5 * 60_000;

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: String) -> Self {
        Self { status, code: code.to_owned(), message }
    }

    /// What this fault looks like to this call. Faults of the connection have no look; they are 500 here.
    pub(super) fn of(fault: Fault, call: &Call, account: &str, region: &str) -> Self {
        let protocol = call.protocol();
        let (status, code, message): (u16, &str, String) = match (fault, protocol) {
            (Fault::Throttled, Protocol::Json) => (400, "ThrottlingException", "Rate exceeded".into()),
            (Fault::Throttled, Protocol::Query { .. }) => (400, "Throttling", "Rate exceeded".into()),
            (Fault::Throttled, Protocol::Ec2) => {
                (503, "RequestLimitExceeded", "Request limit exceeded.".into())
            }
            (Fault::Denied, protocol) => denied(protocol, call, account, region),
            (Fault::ExpiredToken, Protocol::Json) => (400, "ExpiredTokenException", EXPIRED.into()),
            (Fault::ExpiredToken, Protocol::Query { .. }) => (403, "ExpiredToken", EXPIRED.into()),
            (Fault::ExpiredToken, Protocol::Ec2) => (400, "RequestExpired", "Request has expired.".into()),
            (Fault::UnknownKey, Protocol::Json) => (400, "UnrecognizedClientException", UNKNOWN_KEY.into()),
            (Fault::UnknownKey, Protocol::Query { .. }) => (403, "InvalidClientTokenId", UNKNOWN_KEY.into()),
            // EC2 does not tell one from the other.
            (Fault::UnknownKey | Fault::WrongSecret | Fault::ClockSkew, Protocol::Ec2) => {
                (401, "AuthFailure", "AWS was not able to validate the provided access credentials".into())
            }
            (Fault::WrongSecret, protocol) => {
                (bad_signature(protocol).0, bad_signature(protocol).1, MISMATCH.into())
            }
            (Fault::ClockSkew, protocol) => {
                (bad_signature(protocol).0, bad_signature(protocol).1, skewed(call))
            }
            (Fault::Unavailable, Protocol::Json) => {
                (503, "ServiceUnavailableException", "The service cannot complete the request.".into())
            }
            (Fault::Unavailable, Protocol::Query { .. }) => {
                (503, "ServiceUnavailable", "Service Unavailable".into())
            }
            (Fault::Unavailable, Protocol::Ec2) => {
                (503, "Unavailable", "The server is overloaded and can't handle the request.".into())
            }
            (Fault::Huge, _) => (400, "AccessDeniedException", "no ".repeat(40_000_000 / 3)),
            (Fault::Internal | Fault::HangUp | Fault::Never, Protocol::Ec2) => {
                (500, "InternalError", "An internal error has occurred".into())
            }
            (Fault::Internal | Fault::HangUp | Fault::Never, _) => {
                (500, "InternalFailure", "We encountered an internal error. Please try again.".into())
            }
        };
        Self::new(status, code, message)
    }

    /// What an error of the simulation looks like to this call.
    pub(super) fn of_error(error: ApiError, call: &Call, account: &str, region: &str) -> Self {
        match error.kind {
            ErrorKind::Throttled => Self::of(Fault::Throttled, call, account, region),
            ErrorKind::AccessDenied => Self::of(Fault::Denied, call, account, region),
            ErrorKind::Unavailable => Self::of(Fault::Unavailable, call, account, region),
            _ => Self::new(400, &error.code, error.message),
        }
    }

    /// No signature, or none that can be read.
    pub(super) fn unsigned(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Json => {
                Self::new(400, "MissingAuthenticationTokenException", "Missing Authentication Token".into())
            }
            Protocol::Query { .. } => {
                Self::new(403, "MissingAuthenticationToken", "Request is missing Authentication Token".into())
            }
            Protocol::Ec2 => Self::new(
                401,
                "AuthFailure",
                "AWS was not able to validate the provided access credentials".into(),
            ),
        }
    }

    /// A signature for another service or region than the one that is asked.
    pub(super) fn wrong_scope(protocol: Protocol, message: String) -> Self {
        let (status, code) = bad_signature(protocol);
        Self::new(status, code, message)
    }

    /// The reply in the service's form.
    pub(super) fn reply(&self, protocol: Protocol) -> Reply {
        const REQUEST_ID: &str = "51310000-0000-4000-8000-000000000000";
        let Self { status, code, message } = self;
        let body = match protocol {
            Protocol::Json => {
                let mut body = serde_json::json!({ "__type": code });
                if !message.is_empty() {
                    // Logs says `message`; what comes from the layer before it says `Message`.
                    let name = if code == "AccessDeniedException" { "Message" } else { "message" };
                    body[name] = message.as_str().into();
                }
                body.to_string()
            }
            Protocol::Query { namespace } => format!(
                "<ErrorResponse xmlns=\"{namespace}\">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{code}</Code>\n    \
                 <Message>{}</Message>\n  </Error>\n  <RequestId>{REQUEST_ID}</RequestId>\n</ErrorResponse>\n",
                escape_xml(message)
            ),
            Protocol::Ec2 => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{}\
                 </Message></Error></Errors><RequestID>{REQUEST_ID}</RequestID></Response>",
                escape_xml(message)
            ),
        };
        Reply::new(*status)
            .header("Content-Type", protocol.content_type())
            .header(protocol.request_id_header(), REQUEST_ID)
            .body(body)
    }
}

// === helpers ===

const EXPIRED: &str = "The security token included in the request is expired";
const UNKNOWN_KEY: &str = "The security token included in the request is invalid.";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

fn bad_signature(protocol: Protocol) -> (u16, &'static str) {
    match protocol {
        Protocol::Json => (400, "InvalidSignatureException"),
        Protocol::Query { .. } => (403, "SignatureDoesNotMatch"),
        Protocol::Ec2 => (401, "AuthFailure"),
    }
}

fn skewed(call: &Call) -> String {
    let signed_at = call.signed_at.as_deref().unwrap_or("20260101T000000Z");
    let now = parse_amz_date(signed_at).unwrap_or_default() + SKEW_MS;
    let (now, earliest) = (amz_date(now), amz_date(now - SKEW_ALLOWED_MS));
    format!("Signature expired: {signed_at} is now earlier than {earliest} ({now} - 5 min.)")
}

fn denied(protocol: Protocol, call: &Call, account: &str, region: &str) -> (u16, &'static str, String) {
    let action = call.operation.action();
    let user = format!("User: arn:aws:iam::{account}:user/flowstone is not authorized to perform: {action}");
    let why = format!("because no identity-based policy allows the {action} action");
    let groups = format!("arn:aws:logs:{region}:{account}:log-group:");
    match (protocol, call.operation) {
        (_, Operation::FilterLogEvents) => {
            let group = call.json("logGroupName").as_str().unwrap_or_default();
            (400, "AccessDeniedException", format!("{user} on resource: {groups}{group}:log-stream: {why}"))
        }
        (Protocol::Json, _) => {
            (400, "AccessDeniedException", format!("{user} on resource: {groups}:log-stream: {why}"))
        }
        (Protocol::Ec2, _) => (
            403,
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {user} {why}"),
        ),
        (Protocol::Query { .. }, Operation::AssumeRole) => (
            403,
            "AccessDenied",
            format!("{user} on resource: {}", call.query("RoleArn").unwrap_or_default()),
        ),
        (Protocol::Query { .. }, _) => (403, "AccessDenied", format!("{user} {why}")),
    }
}

/// Text as XML has it between tags.
pub(super) fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
