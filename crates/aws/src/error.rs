//! Errors of AWS's API, classified by what helps: waiting, a permission, other credentials, another region.

use std::fmt;

/// An API operation that flowstone uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Reads events.
    FilterLogEvents,
    /// Finds log groups.
    DescribeLogGroups,
    /// Gives a flow log's format and aggregation interval.
    DescribeFlowLogs,
    /// Gives how many events a log group ingested.
    GetMetricData,
    /// Gives the account of the credentials.
    GetCallerIdentity,
    /// Takes on another account's role.
    AssumeRole,
}

/// Why a call failed, by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Too many requests: less of them, later.
    Throttled,
    /// The page token is not valid (any more): restart the scan.
    BadToken,
    /// The service or the network fails: later.
    Unavailable,
    /// There is no such log group in this account and region.
    NotFound,
    /// The credentials lack a permission.
    AccessDenied,
    /// No credentials were found, or AWS does not know them.
    NoCredentials,
    /// The session behind the credentials has ended.
    ExpiredCredentials,
    /// The machine's clock is wrong: the signature is refused.
    ClockSkew,
    /// The region does not exist or is not enabled for the account.
    WrongRegion,
    /// The request itself was refused; sending it again is pointless.
    Invalid,
    /// No answer makes progress: pages without an end, or a token that is refused whenever it is used.
    NoProgress,
}

/// Why a call to AWS failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Which call.
    pub operation: Operation,
    /// What helps.
    pub kind: ErrorKind,
    /// The service's own word for it (`AccessDeniedException`), empty where there was no answer.
    pub code: String,
    /// The message.
    pub message: String,
}

/// The longest message that is kept, in characters. What is longer is what AWS appends for machines: an encoded
/// authorization failure, a canonical request.
const LONGEST_MESSAGE: usize = 600;
/// The longest code that is kept; AWS's have up to some forty characters.
const LONGEST_CODE: usize = 100;

// === impl Operation ===

impl Operation {
    /// Its name, a metric label: `FilterLogEvents`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FilterLogEvents => "FilterLogEvents",
            Self::DescribeLogGroups => "DescribeLogGroups",
            Self::DescribeFlowLogs => "DescribeFlowLogs",
            Self::GetMetricData => "GetMetricData",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::AssumeRole => "AssumeRole",
        }
    }

    /// The action that a policy must allow: `logs:FilterLogEvents`.
    pub fn action(self) -> &'static str {
        match self {
            Self::FilterLogEvents => "logs:FilterLogEvents",
            Self::DescribeLogGroups => "logs:DescribeLogGroups",
            Self::DescribeFlowLogs => "ec2:DescribeFlowLogs",
            Self::GetMetricData => "cloudwatch:GetMetricData",
            Self::GetCallerIdentity => "sts:GetCallerIdentity",
            Self::AssumeRole => "sts:AssumeRole",
        }
    }

    /// The policy statement that allows it, on one line of JSON. `resource` is the log group's name (it may hold `*`)
    /// or the role's ARN; region and account may be `*`.
    pub fn policy_statement(self, region: &str, account: &str, resource: &str) -> String {
        let partition = match region {
            _ if region.starts_with("cn-") => "aws-cn",
            _ if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let resource = match self {
            Self::FilterLogEvents => {
                format!("arn:{partition}:logs:{region}:{account}:log-group:{resource}:*")
            }
            // Listing is allowed for all groups or for none: the action does not know single ones.
            Self::DescribeLogGroups => format!("arn:{partition}:logs:{region}:{account}:log-group:*"),
            Self::AssumeRole => resource.to_owned(),
            Self::DescribeFlowLogs | Self::GetMetricData | Self::GetCallerIdentity => "*".to_owned(),
        };
        format!(r#"{{"Effect":"Allow","Action":"{}","Resource":"{resource}"}}"#, self.action())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// One word, a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::BadToken => "bad_token",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::AccessDenied => "access_denied",
            Self::NoCredentials => "no_credentials",
            Self::ExpiredCredentials => "expired_credentials",
            Self::ClockSkew => "clock_skew",
            Self::WrongRegion => "wrong_region",
            Self::Invalid => "invalid",
            Self::NoProgress => "no_progress",
        }
    }

    /// The kind that an error code of AWS's means. `None` for codes that say nothing by themselves.
    pub fn of_code(code: &str) -> Option<Self> {
        // A code may come with a namespace before it (`com.amazonaws.logs#ThrottlingException`) or a URL behind it.
        let code = code.rsplit('#').next().unwrap_or(code);
        let code = code.split(':').next().unwrap_or(code);
        Some(match code {
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "BandwidthLimitExceeded"
            | "SlowDown"
            | "PriorRequestNotComplete" => Self::Throttled,
            "ResourceNotFoundException" => Self::NotFound,
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "AuthFailure.UnauthorizedOperation" => Self::AccessDenied,
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => {
                Self::ExpiredCredentials
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "AuthFailure"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignature"
            | "NotAuthorized" => Self::NoCredentials,
            "RequestTimeTooSkewed" => Self::ClockSkew,
            "OptInRequired" | "RegionDisabledException" => Self::WrongRegion,
            "InvalidParameterException"
            | "InvalidParameterValue"
            | "ValidationException"
            | "ValidationError"
            | "InvalidOperationException"
            | "UnknownOperationException"
            | "MalformedQueryString" => Self::Invalid,
            "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "InternalFailure"
            | "InternalServerError"
            | "InternalError"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "Unavailable" => Self::Unavailable,
            _ => return None,
        })
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn passes(self) -> bool {
        matches!(self, Self::Throttled | Self::BadToken | Self::Unavailable)
    }
}

// === impl ApiError ===

impl ApiError {
    /// An error of this kind. Code and message come from whoever answers: they are cut to a length that fits a log, and
    /// what stands on several lines (the SDK lists every provider it has tried) is put on one.
    pub fn new(
        operation: Operation,
        kind: ErrorKind,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let (code, message) = (short(code.into(), LONGEST_CODE), short(message.into(), LONGEST_MESSAGE));
        Self { operation, kind, code, message }
    }

    /// The error that a reply of this HTTP status with this code and message means. `had_token` says that the request
    /// carried a page token, which then is the likeliest thing to be invalid.
    pub fn of_reply(operation: Operation, status: u16, code: &str, message: &str, had_token: bool) -> Self {
        let skewed = message.contains("Signature expired") || message.contains("Signature not yet current");
        let kind =
            match ErrorKind::of_code(code) {
                // SigV4 says `InvalidSignatureException` both for a wrong secret and for a wrong clock.
                _ if code.contains("InvalidSignature") || code.contains("SignatureDoesNotMatch") => {
                    if skewed { ErrorKind::ClockSkew } else { ErrorKind::NoCredentials }
                }
                Some(ErrorKind::NoCredentials | ErrorKind::AccessDenied) if skewed => ErrorKind::ClockSkew,
                Some(ErrorKind::Invalid) if had_token => ErrorKind::BadToken,
                Some(kind) => kind,
                None if status == 429 => ErrorKind::Throttled,
                None if status >= 500 => ErrorKind::Unavailable,
                None if status == 403 => ErrorKind::AccessDenied,
                None => ErrorKind::Invalid,
            };
        Self::new(operation, kind, code, message)
    }

    /// What to do about it, with the policy statement where a permission is missing. `resource` as for
    /// [`Operation::policy_statement`].
    pub fn advice(&self, region: &str, account: &str, resource: &str) -> String {
        match self.kind {
            ErrorKind::Throttled => {
                "the account's requests exceed its quota; it is tried again with fewer of them".to_owned()
            }
            ErrorKind::BadToken => "the scan restarts".to_owned(),
            ErrorKind::Unavailable => {
                format!(
                    "it is tried again; check the network to the endpoints of region {region} if this stays"
                )
            }
            ErrorKind::NotFound => format!(
                "there is no log group `{resource}` in region {region} of account {account}; check `log_groups` and `region`"
            ),
            ErrorKind::AccessDenied => format!(
                "add to the policy of the role or user that runs flowstone: {}",
                self.operation.policy_statement(region, account, resource)
            ),
            ErrorKind::NoCredentials => "give credentials as the AWS CLI takes them: AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the instance, task or pod"
                .to_owned(),
            ErrorKind::ExpiredCredentials => {
                "the session has ended: renew it (`aws sso login`), or use a role that \
                 flowstone can renew by itself"
                    .to_owned()
            }
            ErrorKind::ClockSkew => {
                "set this machine's clock: AWS refuses requests that are off by more than five \
                 minutes (`timedatectl set-ntp true`)"
                    .to_owned()
            }
            ErrorKind::WrongRegion => {
                format!(
                    "region `{region}` does not exist or is not enabled for account {account}; check `region`"
                )
            }
            ErrorKind::NoProgress => format!(
                "what was being read counts as unread and is tried again later, the rest is read on; check what \
                 answers for region {region} (a proxy, an emulator) and the filter pattern"
            ),
            ErrorKind::Invalid => {
                "AWS refused the request as it is; check the options that name groups, streams and \
                 the filter pattern"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({})", self.operation.action(), self.kind.as_str())?;
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, ": {}: {}", self.code, self.message),
            (false, true) => write!(f, ": {}", self.code),
            (true, false) => write!(f, ": {}", self.message),
            (true, true) => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}

/// The text on one line, and at most so many characters of it.
fn short(mut text: String, most: usize) -> String {
    if text.contains(char::is_control) {
        text = text.replace(|c: char| c.is_control() && !c.is_whitespace(), " ");
        text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_classified_by_what_helps() {
        use ErrorKind::*;
        let skew = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
        for (status, code, message, had_token, expect) in [
            (400, "ThrottlingException", "Rate exceeded", false, Throttled),
            (400, "com.amazonaws.logs#ThrottlingException", "", true, Throttled),
            (400, "LimitExceededException", "", false, Throttled),
            (429, "", "", false, Throttled),
            (400, "InvalidParameterException", "The specified nextToken is invalid.", true, BadToken),
            (400, "InvalidParameterException", "1 validation error detected", false, Invalid),
            (400, "ResourceNotFoundException", "", false, NotFound),
            (400, "AccessDeniedException", "", false, AccessDenied),
            (403, "UnauthorizedOperation", "", false, AccessDenied),
            (403, "SomethingNew", "", false, AccessDenied),
            (400, "UnrecognizedClientException", "", false, NoCredentials),
            (
                403,
                "InvalidSignatureException",
                "the request signature we calculated does not match",
                false,
                NoCredentials,
            ),
            (403, "InvalidSignatureException", skew, false, ClockSkew),
            (403, "SignatureDoesNotMatch", skew, false, ClockSkew),
            (400, "ExpiredTokenException", "", false, ExpiredCredentials),
            (403, "OptInRequired", "", false, WrongRegion),
            (503, "ServiceUnavailableException", "", true, Unavailable),
            (500, "", "", false, Unavailable),
            (418, "", "", false, Invalid),
        ] {
            let error = ApiError::of_reply(Operation::FilterLogEvents, status, code, message, had_token);
            assert_eq!(error.kind, expect, "{status} {code} {message}");
        }
    }

    #[test]
    fn what_a_peer_says_is_kept_on_one_line_and_cut() {
        let of = |code: &str, message: &str| {
            ApiError::of_reply(Operation::FilterLogEvents, 400, code, message, false)
        };
        assert_eq!(of("", &"\u{e9}".repeat(600)).message, "\u{e9}".repeat(600));
        assert_eq!(of("", &"\u{e9}".repeat(601)).message, format!("{}...", "\u{e9}".repeat(600)));
        assert_eq!(of(&"X".repeat(1000), "").code.len(), 103);
        assert_eq!(of("", "one\n  two\u{1b}[31m\u{7}three").message, "one two [31m three");
    }

    #[test]
    fn every_operation_has_a_policy_statement_that_is_json() {
        use Operation::*;
        for operation in [
            FilterLogEvents,
            DescribeLogGroups,
            DescribeFlowLogs,
            GetMetricData,
            GetCallerIdentity,
            AssumeRole,
        ] {
            let statement = operation.policy_statement("eu-west-1", "123456789012", "/vpc/flow");
            let value: serde_json::Value = serde_json::from_str(&statement).unwrap();
            assert_eq!(value["Action"], operation.action());
            assert_eq!(operation.action().split(':').nth(1), Some(operation.name()));
        }
        assert_eq!(
            FilterLogEvents.policy_statement("eu-west-1", "123456789012", "/vpc/flow"),
            r#"{"Effect":"Allow","Action":"logs:FilterLogEvents","Resource":"arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/flow:*"}"#
        );
    }

    #[test]
    fn a_missing_permission_names_the_statement_that_grants_it() {
        let error =
            ApiError::of_reply(Operation::DescribeFlowLogs, 403, "UnauthorizedOperation", "no", false);
        let advice = error.advice("eu-west-1", "123456789012", "/vpc/flow");
        assert!(advice.contains(r#""Action":"ec2:DescribeFlowLogs""#), "{advice}");
        assert_eq!(
            error.to_string(),
            "ec2:DescribeFlowLogs failed (access_denied): UnauthorizedOperation: no"
        );
    }
}
