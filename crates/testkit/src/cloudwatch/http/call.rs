//! A request understood: which operation of which service it calls, with which parameters, and who signed it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use flowstone_aws::Operation;
use serde_json::Value as Json;

use super::refusal::Refusal;
use crate::http::Request;

/// One call of an operation.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) parameters: Parameters,
    /// The `Authorization` header, taken apart.
    pub(super) signature: Option<Signature>,
    /// The session token that came with it.
    pub(super) session_token: Option<String>,
    /// `X-Amz-Date`.
    pub(super) signed_at: Option<String>,
    request_id: String,
}

/// What is asked for.
pub(super) enum Parameters {
    /// A JSON object.
    Json(Json),
    /// The query protocol's pairs.
    Query(BTreeMap<String, String>),
}

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=.., Signature=..`, but for the
/// last two, which are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) access_key: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// How a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// CloudWatch Logs.
    Json,
    /// CloudWatch and STS: XML in reply to a form, with the service's namespace.
    Query { namespace: &'static str },
    /// EC2: the same with errors of its own form.
    Ec2,
}

/// Why a request is no [`Call`].
pub(super) enum Unreadable {
    /// It names no operation: not an AWS request at all.
    NoOperation,
    /// It names an operation that is not here, or its body cannot be read.
    Unknown(Protocol, Refusal),
}

const TARGET: &str = "Logs_20140328.";
const STS: Protocol = Protocol::Query { namespace: "https://sts.amazonaws.com/doc/2011-06-15/" };
const CLOUDWATCH: Protocol = Protocol::Query { namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/" };

// === impl Call ===

impl Call {
    /// Reads a request.
    pub(super) fn read(request: &Request) -> Result<Self, Unreadable> {
        let (operation, parameters) = match request.header("x-amz-target") {
            Some(target) => read_json(target, &request.text())?,
            None => read_query(request)?,
        };
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            operation,
            parameters,
            signature: request.header("authorization").and_then(Signature::parse),
            session_token: request.header("x-amz-security-token").map(str::to_owned),
            signed_at: request.header("x-amz-date").map(str::to_owned),
            request_id: format!("51310000-0000-4000-8000-{number:012x}"),
        })
    }

    /// How its service speaks.
    pub(super) fn protocol(&self) -> Protocol {
        match self.operation {
            Operation::FilterLogEvents | Operation::DescribeLogGroups => Protocol::Json,
            Operation::DescribeFlowLogs => Protocol::Ec2,
            Operation::GetMetricData => CLOUDWATCH,
            Operation::GetCallerIdentity | Operation::AssumeRole => STS,
        }
    }

    /// The name of its service in a signature's scope.
    pub(super) fn service(&self) -> &'static str {
        match self.operation {
            Operation::FilterLogEvents | Operation::DescribeLogGroups => "logs",
            Operation::DescribeFlowLogs => "ec2",
            Operation::GetMetricData => "monitoring",
            Operation::GetCallerIdentity | Operation::AssumeRole => "sts",
        }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// A member of the JSON object; null if there is none.
    pub(super) fn json(&self, name: &str) -> &Json {
        match &self.parameters {
            Parameters::Json(object) => &object[name],
            Parameters::Query(_) => &Json::Null,
        }
    }

    /// A pair of the form.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        match &self.parameters {
            Parameters::Json(_) => None,
            Parameters::Query(pairs) => pairs.get(name).map(String::as_str),
        }
    }

    /// The pairs `PREFIX.1`, `PREFIX.2`, .. up to the first that is missing.
    pub(super) fn query_list(&self, prefix: &str) -> impl Iterator<Item = &str> {
        (1..).map_while(move |number| self.query(&format!("{prefix}.{number}")))
    }
}

// === impl Signature ===

impl Signature {
    fn parse(header: &str) -> Option<Self> {
        let parts = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| parts.split(',').find_map(|part| part.trim().strip_prefix(name));
        let scope: Vec<&str> = part("Credential=")?.split('/').collect();
        let [access_key, _date, region, service, "aws4_request"] = scope[..] else { return None };
        part("SignedHeaders=").filter(|headers| headers.split(';').any(|name| name == "host"))?;
        part("Signature=").filter(|hex| hex.len() == 64)?;
        Some(Self {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }
}

// === impl Protocol ===

impl Protocol {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Query { .. } => "text/xml",
            Self::Ec2 => "text/xml;charset=UTF-8",
        }
    }

    pub(super) fn request_id_header(self) -> &'static str {
        match self {
            Self::Json | Self::Query { .. } => "x-amzn-RequestId",
            Self::Ec2 => "x-amzn-requestid",
        }
    }
}

// === helpers ===

fn read_json(target: &str, body: &str) -> Result<(Operation, Parameters), Unreadable> {
    let operation = match target.strip_prefix(TARGET) {
        Some("FilterLogEvents") => Operation::FilterLogEvents,
        Some("DescribeLogGroups") => Operation::DescribeLogGroups,
        _ => {
            let refusal = Refusal::new(400, "UnknownOperationException", String::new());
            return Err(Unreadable::Unknown(Protocol::Json, refusal));
        }
    };
    match serde_json::from_str(body) {
        Ok(object @ Json::Object(_)) => Ok((operation, Parameters::Json(object))),
        _ => {
            let refusal = Refusal::new(400, "SerializationException", String::new());
            Err(Unreadable::Unknown(Protocol::Json, refusal))
        }
    }
}

fn read_query(request: &Request) -> Result<(Operation, Parameters), Unreadable> {
    let in_path = request.path.split_once('?').map_or("", |(_, query)| query);
    let body = request.text();
    let pairs: BTreeMap<String, String> =
        [in_path, &body].into_iter().flat_map(|form| form.trim().split('&')).filter_map(read_pair).collect();
    let Some(action) = pairs.get("Action") else { return Err(Unreadable::NoOperation) };
    let (operation, version, protocol) = match action.as_str() {
        "DescribeFlowLogs" => (Operation::DescribeFlowLogs, "2016-11-15", Protocol::Ec2),
        "GetMetricData" => (Operation::GetMetricData, "2010-08-01", CLOUDWATCH),
        "GetCallerIdentity" => (Operation::GetCallerIdentity, "2011-06-15", STS),
        "AssumeRole" => (Operation::AssumeRole, "2011-06-15", STS),
        _ => return Err(invalid_action(STS, action, pairs.get("Version"))),
    };
    match pairs.get("Version") {
        Some(given) if given == version => Ok((operation, Parameters::Query(pairs))),
        given => Err(invalid_action(protocol, action, given)),
    }
}

fn invalid_action(protocol: Protocol, action: &str, version: Option<&String>) -> Unreadable {
    let version = version.map_or("NO_VERSION_SPECIFIED", String::as_str);
    let message = format!("Could not find operation {action} for version {version}");
    Unreadable::Unknown(protocol, Refusal::new(400, "InvalidAction", message))
}

/// `name=value` of a form, unescaped.
fn read_pair(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=')?;
    Some((unescape(name), unescape(value)))
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = || std::str::from_utf8(behind.get(..2)?).ok();
        match (first, hex().and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_unescaped() {
        assert_eq!(
            read_pair("Filter.1.Value.1=%2Fvpc%2Fa+b%zz"),
            Some(("Filter.1.Value.1".into(), "/vpc/a b%zz".into()))
        );
        assert_eq!(unescape("%C3%A9%"), "é%");
    }

    #[test]
    fn only_a_whole_signature_counts() {
        let signature = "a".repeat(64);
        let header = |credential: &str, headers: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"
            )
        };
        let good = header("AKIA1/20261128/eu-west-1/logs/aws4_request", "host;x-amz-date");
        let parsed = Signature::parse(&good).unwrap();
        assert_eq!((&*parsed.access_key, &*parsed.region, &*parsed.service), ("AKIA1", "eu-west-1", "logs"));
        for bad in [
            header("AKIA1/20261128/eu-west-1/logs", "host"),
            header("AKIA1/20261128/eu-west-1/logs/aws4_request", "x-amz-date"),
            good[..good.len() - 1].to_owned(),
            good.replace("AWS4-HMAC-SHA256", "Bearer"),
        ] {
            assert_eq!(Signature::parse(&bad), None, "{bad}");
        }
    }
}
