//! Asks a host which server it is. One that does not say (a gateway, OpenSearch Serverless, a user who may not ask) is
//! told from something else altogether by how it answers a bulk request without rows.

use bytes::Bytes;
use flowstone_core::Verdict;
use reqwest::Method;
use serde_json::Value;

use crate::client::{Answer, Call, Connection};
use crate::operator::Operator;
use crate::server::{NotOurs, Server};
use crate::verdict::judge_admin;

/// What a server is that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The server.
    pub(crate) server: Server,
    /// What stood in place of an answer, when the server is only assumed.
    pub(crate) unsaid: Option<String>,
}

/// Asks one of the hosts with `GET /`, and where that is not answered with a bulk request.
pub(crate) async fn ask(connection: &Connection) -> Result<Asked, Verdict> {
    let answer = connection.call(Method::GET, Call::default()).await?;
    let refusal = match answer.status {
        200 => match Server::of_root(&answer.body) {
            Ok(server) => return Ok(Asked { server, unsaid: None }),
            Err(NotOurs::TooOld(what)) => {
                return Err(Operator::TooOld.blocked(format!("{}: {what}", answer.host)));
            }
            Err(NotOurs::Unknown(what)) => Operator::NotAServer.blocked(format!("{}: {what}", answer.host)),
        },
        // It says where to go.
        300..=399 => return Err(judge_admin(&answer, Operator::NotAServer)),
        _ => judge_admin(&answer, Operator::NotAServer),
    };
    let Verdict::Blocked { detail, .. } = &refusal else { return Err(refusal) };
    if takes_bulk_requests(connection).await? {
        return Ok(Asked { unsaid: Some(detail.to_string()), server: Server::assumed() });
    }
    Err(refusal)
}

/// Whether a host answers a bulk request without rows as a server does: it refuses it in its own words. The error is
/// what a server says that does not let us, or is busy.
pub(crate) async fn takes_bulk_requests(connection: &Connection) -> Result<bool, Verdict> {
    let body = Some(("application/x-ndjson", vec![Bytes::from_static(b"\n")]));
    let call = Call { path: &["_bulk"], body, ..Call::default() };
    judge_bulk(&connection.call(Method::POST, call).await?)
}

fn judge_bulk(answer: &Answer) -> Result<bool, Verdict> {
    let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match answer.status {
        408 | 429 | 500.. => Err(judge_admin(answer, Operator::NotAServer)),
        // AWS's gateway says `message`. A page of something else is no word of a server's.
        401 | 403 if ["error", "message", "Message"].iter().any(|name| !reply[name].is_null()) => {
            Err(judge_admin(answer, Operator::NotAServer))
        }
        200..=299 => Ok(reply["errors"].is_boolean()),
        400 => {
            Ok(reply["error"]["type"].is_string() || (reply["error"].is_string() && reply["status"] == 400))
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Url;
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn a_server_is_known_by_how_it_refuses_a_bulk_request_without_rows() {
        // What Elasticsearch 6.8 to 9 and OpenSearch 2 and 3 say.
        let empty = r#"{"error":{"root_cause":[{"type":"action_request_validation_exception","reason":"Validation Failed: 1: no requests added;"}],"type":"action_request_validation_exception","reason":"Validation Failed: 1: no requests added;"},"status":400}"#;
        for (status, body, expect) in [
            (400, empty, Ok(true)),
            (
                400,
                r#"{"error":{"type":"parse_exception","reason":"request body is required"},"status":400}"#,
                Ok(true),
            ),
            (400, r#"{"error":"request body is required","status":400}"#, Ok(true)),
            (200, r#"{"took":0,"errors":false,"items":[]}"#, Ok(true)),
            (403, r#"{"error":{"type":"security_exception","reason":"no"},"status":403}"#, Err("privileges")),
            (
                403,
                r#"{"Message":"User: anonymous is not authorized to perform: es:ESHttpPost"}"#,
                Err("privileges"),
            ),
            (
                401,
                r#"{"error":{"type":"security_exception","reason":"no"},"status":401}"#,
                Err("credentials"),
            ),
            (429, "", Err("too_many_requests")),
            (503, "<html>", Err("unavailable")),
            // Something else.
            (404, "", Ok(false)),
            (404, r#"{"error":"Not Found","status":404}"#, Ok(false)),
            (405, r#"{"error":"Incorrect HTTP method","status":405}"#, Ok(false)),
            (400, r#"{"error":"bad request"}"#, Ok(false)),
            (400, "<html>The plain HTTP request was sent to HTTPS port</html>", Ok(false)),
            (200, "<html>", Ok(false)),
            (200, r#"{"ok":true}"#, Ok(false)),
            (200, "", Ok(false)),
            (403, "<html>", Ok(false)),
            (302, "", Ok(false)),
        ] {
            let host = Url::parse("http://es1:9200/").unwrap();
            let body = body.as_bytes().to_vec();
            let answer = Answer { status, headers: HeaderMap::new(), body, host, signed: None, _turn: None };
            let judged = judge_bulk(&answer);
            let found = match &judged {
                Ok(takes) => Ok(*takes),
                Err(Verdict::Blocked { reason, .. } | Verdict::Busy { reason, .. }) => Err(&**reason),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found, expect, "{status} {}", String::from_utf8_lossy(&answer.body));
        }
    }
}
