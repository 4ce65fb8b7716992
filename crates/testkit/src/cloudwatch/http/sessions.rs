//! Who signs: the account's own key, or a session of a role that was assumed here.

use std::collections::HashMap;
use std::sync::Mutex;

use flowstone_aws::{Arn, Operation};
use flowstone_event::format_iso_millis;

use super::call::Call;
use super::clock::wall_ms;
use super::lock;
use super::query::response;
use super::refusal::{Fault, Refusal, escape_xml};
use crate::cloudwatch::SimulatedLogs;

/// The sessions that `AssumeRole` gave out.
#[derive(Default)]
pub(super) struct Sessions {
    by_key: Mutex<HashMap<String, Session>>,
}

struct Session {
    token: String,
    account: String,
    /// `ROLE/SESSION-NAME`.
    name: String,
    /// In the time of this machine, as the client reckons: it must not depend on the service's clock.
    expires_ms: i64,
}

/// Who called.
pub(super) struct Caller {
    pub(super) account: String,
    pub(super) arn: String,
    pub(super) user_id: String,
}

// === impl Sessions ===

impl Sessions {
    /// Who signed the call, if it is signed as it must be.
    pub(super) fn check(&self, call: &Call, account: &str, region: &str) -> Result<Caller, Refusal> {
        let protocol = call.protocol();
        let Some(signature) = &call.signature else { return Err(Refusal::unsigned(protocol)) };
        if signature.service != call.service() {
            let message = format!("Credential should be scoped to correct service: '{}'.", call.service());
            return Err(Refusal::wrong_scope(protocol, message));
        }
        // STS has an endpoint that is signed as us-east-1 wherever one is.
        let any_region = matches!(call.operation, Operation::GetCallerIdentity | Operation::AssumeRole);
        if signature.region != region && !any_region {
            let message = "Credential should be scoped to a valid region.".to_owned();
            return Err(Refusal::wrong_scope(protocol, message));
        }
        let refuse = |fault| Err(Refusal::of(fault, call, account, region));
        match lock(&self.by_key).get(&signature.access_key) {
            None if signature.access_key.starts_with("ASIA") => refuse(Fault::UnknownKey),
            None => Ok(Caller {
                account: account.to_owned(),
                arn: format!("arn:aws:iam::{account}:user/flowstone"),
                user_id: "AIDASIMULATED0000000".to_owned(),
            }),
            Some(session) if call.session_token.as_ref() != Some(&session.token) => refuse(Fault::UnknownKey),
            Some(session) if session.expires_ms <= wall_ms() => refuse(Fault::ExpiredToken),
            Some(session) => Ok(Caller {
                account: session.account.clone(),
                arn: format!("arn:aws:sts::{}:assumed-role/{}", session.account, session.name),
                user_id: format!(
                    "AROASIMULATED0000000:{}",
                    session.name.rsplit('/').next().unwrap_or_default()
                ),
            }),
        }
    }

    /// `AssumeRole`: every role may be assumed, whatever its account; it sees the same log groups.
    pub(super) fn assume_role(&self, service: &SimulatedLogs, call: &Call) -> Result<String, Refusal> {
        if let Err(error) = service.allow(call.operation) {
            let (account, region) = service.place();
            return Err(Refusal::of_error(error, call, &account, &region));
        }
        let invalid = |message: String| Refusal::new(400, "ValidationError", message);
        let role = call.query("RoleArn").unwrap_or_default();
        let Some(arn) = Arn::parse(role).filter(Arn::is_role) else {
            return Err(invalid(format!("{role} is invalid")));
        };
        let Some(session_name) = call.query("RoleSessionName").filter(|name| name.len() >= 2) else {
            return Err(invalid(
                "1 validation error detected: Value null at 'roleSessionName' failed to satisfy \
                                constraint: Member must not be null"
                    .to_owned(),
            ));
        };
        let seconds = match call.query("DurationSeconds").map(str::parse::<i64>) {
            None => 3600,
            Some(Ok(seconds @ 900..=43_200)) => seconds,
            Some(_) => {
                return Err(invalid(
                    "1 validation error detected: Value at 'durationSeconds' failed to satisfy \
                                    constraint: Member must have value between 900 and 43200"
                        .to_owned(),
                ));
            }
        };
        let role_name = arn.resource.rsplit('/').next().unwrap_or_default();
        let name = format!("{role_name}/{session_name}");
        let assumed = format!("arn:aws:sts::{}:assumed-role/{name}", arn.account);
        let expires_ms = wall_ms() + seconds * 1000;
        let mut sessions = lock(&self.by_key);
        let number = sessions.len() + 1;
        let (key, token) =
            (format!("ASIASIMULATED{number:07}"), format!("simulated//session+token{number}=="));
        let body = format!(
            "    <AssumedRoleUser>\n      <AssumedRoleId>AROASIMULATED0000000:{}</AssumedRoleId>\n      \
             <Arn>{}</Arn>\n    </AssumedRoleUser>\n    <Credentials>\n      <AccessKeyId>{key}</AccessKeyId>\n      \
             <SecretAccessKey>simulated/secret+{number}</SecretAccessKey>\n      \
             <SessionToken>{token}</SessionToken>\n      <Expiration>{}</Expiration>\n    </Credentials>\n",
            escape_xml(session_name),
            escape_xml(&assumed),
            // Whole seconds, as STS has it.
            format_iso_millis(expires_ms).replace(&format!(".{:03}Z", expires_ms % 1000), "Z"),
        );
        sessions.insert(key, Session { token, account: arn.account.to_owned(), name, expires_ms });
        Ok(response(call, "https://sts.amazonaws.com/doc/2011-06-15/", &body))
    }
}
