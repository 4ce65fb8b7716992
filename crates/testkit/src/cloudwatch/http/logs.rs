//! What CloudWatch Logs answers: JSON, a page of events written event by event into one buffer.

use flowstone_aws::{Arn, EventKey, FilterRequest, GroupsRequest, LogGroup, LogGroupName, StreamFilter};
use flowstone_event::{Digits, write_json_str};
use serde_json::{Value as Json, json};

use super::call::Call;
use super::refusal::Refusal;
use crate::cloudwatch::SimulatedLogs;

/// Groups on a page at most, and by default.
const GROUPS: usize = 50;

/// `FilterLogEvents`.
pub(super) fn filter_log_events(
    service: &SimulatedLogs,
    call: &Call,
    now_ms: i64,
) -> Result<Vec<u8>, Refusal> {
    let (request, limit) = read_filter(call)?;
    let mut body = Vec::with_capacity(64 << 10);
    body.extend_from_slice(br#"{"events":["#);
    let mut is_first = true;
    let page = service.page(now_ms, &request, limit, &mut |event| {
        body.extend_from_slice(if is_first { br#"{"eventId":""# } else { br#",{"eventId":""# });
        is_first = false;
        write_event_id(event.key, &mut body);
        body.extend_from_slice(br#"","ingestionTime":"#);
        body.extend_from_slice(Digits::of(event.key.ingestion()).as_bytes());
        body.extend_from_slice(br#","logStreamName":"#);
        write_json_str(event.stream, &mut body);
        body.extend_from_slice(br#","message":"#);
        if event.is_flow_line {
            body.push(b'"');
            body.extend_from_slice(event.message.as_bytes());
            body.push(b'"');
        } else {
            write_json_str(event.message, &mut body);
        }
        body.extend_from_slice(br#","timestamp":"#);
        body.extend_from_slice(Digits::of(event.key.timestamp()).as_bytes());
        body.push(b'}');
    });
    let (account, region) = service.place();
    let next_token = page.map_err(|error| Refusal::of_error(error, call, &account, &region))?;
    body.push(b']');
    if let Some(token) = next_token {
        body.extend_from_slice(br#","nextToken":"#);
        write_json_str(&token, &mut body);
    }
    body.extend_from_slice(br#","searchedLogStreams":[]}"#);
    Ok(body)
}

/// What is asked for, and for how many events at most. What the service does not know or the simulation does not do is
/// refused, so that no test relies on it.
fn read_filter(call: &Call) -> Result<(FilterRequest, usize), Refusal> {
    let mut limit = FilterRequest::LIMIT as usize;
    for (name, value) in members(call) {
        match name.as_str() {
            "logGroupName"
            | "logGroupIdentifier"
            | "startTime"
            | "endTime"
            | "filterPattern"
            | "nextToken"
            | "logStreamNames"
            | "logStreamNamePrefix" => {}
            // Deprecated: events always come in one order.
            "interleaved" => {}
            // Nothing here is masked.
            "unmask" => {}
            "startFromHead" if *value == true => {}
            "limit" => limit = read_limit(value, FilterRequest::LIMIT as usize)?,
            other => return Err(invalid(format!("the simulation does not know `{other}` = {value}"))),
        }
    }
    let text = |name: &str| call.json(name).as_str();
    let group = match (text("logGroupName"), text("logGroupIdentifier")) {
        (Some(name), None) => LogGroupName::own(name),
        (None, Some(identifier)) => match Arn::parse(identifier) {
            None => LogGroupName::own(identifier),
            Some(arn) => {
                let name = arn.log_group().ok_or_else(|| invalid("Invalid log group ARN".to_owned()))?;
                LogGroupName { name: name.to_owned(), foreign_arn: Some(identifier.to_owned()) }
            }
        },
        _ => {
            let message = "LogGroup name and log group ARN are mutually exclusive parameters.";
            return Err(invalid(message.to_owned()));
        }
    };
    let streams = match (call.json("logStreamNames"), text("logStreamNamePrefix")) {
        (Json::Null, None) => StreamFilter::All,
        (Json::Null, Some(prefix)) => StreamFilter::Prefix(prefix.to_owned()),
        (Json::Array(names), None) if (1..=100).contains(&names.len()) => {
            StreamFilter::Names(names.iter().filter_map(Json::as_str).map(str::to_owned).collect())
        }
        (Json::Array(_), None) => {
            return Err(invalid(
                "1 validation error detected: Value at 'logStreamNames' failed to satisfy constraint: \
                                Member must have length between 1 and 100"
                    .to_owned(),
            ));
        }
        _ => {
            return Err(invalid("Log stream names and prefix are mutually exclusive parameters.".to_owned()));
        }
    };
    let time = |name: &str, by_default: i64| match call.json(name) {
        Json::Null => Ok(by_default),
        value => value.as_i64().ok_or_else(|| invalid(format!("{name} is no number: {value}"))),
    };
    let request = FilterRequest {
        group,
        start_ms: time("startTime", 0)?,
        end_ms: time("endTime", i64::MAX)?,
        streams,
        pattern: text("filterPattern").unwrap_or_default().to_owned(),
        token: text("nextToken").map(str::to_owned),
    };
    Ok((request, limit))
}

/// `DescribeLogGroups`.
pub(super) fn describe_log_groups(service: &SimulatedLogs, call: &Call) -> Result<Vec<u8>, Refusal> {
    let mut limit = GROUPS;
    for (name, value) in members(call) {
        match name.as_str() {
            "logGroupNamePrefix" | "nextToken" => {}
            "limit" => limit = read_limit(value, GROUPS)?,
            other => return Err(invalid(format!("the simulation does not know `{other}` = {value}"))),
        }
    }
    let text = |name: &str| call.json(name).as_str().map(str::to_owned);
    let request =
        GroupsRequest { prefix: text("logGroupNamePrefix").unwrap_or_default(), token: text("nextToken") };
    let (account, region) = service.place();
    let page =
        service.groups(&request, limit).map_err(|error| Refusal::of_error(error, call, &account, &region))?;
    let group = |group: &LogGroup| {
        let arn = format!("arn:aws:logs:{region}:{account}:log-group:{}", group.name);
        let mut about = json!({
            "arn": format!("{arn}:*"),
            "logGroupArn": arn,
            "logGroupClass": "STANDARD",
            "logGroupName": group.name,
            "metricFilterCount": 0,
            "storedBytes": 0,
        });
        if let Some(created_ms) = group.created_ms {
            about["creationTime"] = created_ms.into();
        }
        if let Some(days) = group.retention_days {
            about["retentionInDays"] = days.into();
        }
        about
    };
    let mut body = json!({ "logGroups": page.groups.iter().map(group).collect::<Vec<_>>() });
    if let Some(token) = page.next_token {
        body["nextToken"] = token.into();
    }
    Ok(body.to_string().into_bytes())
}

// === helpers ===

fn members(call: &Call) -> impl Iterator<Item = (&String, &Json)> {
    let all = match &call.parameters {
        super::call::Parameters::Json(Json::Object(members)) => Some(members),
        _ => None,
    };
    // The SDK leaves absent members out; others may write them as null.
    all.into_iter().flatten().filter(|(_, value)| !value.is_null())
}

fn read_limit(value: &Json, most: usize) -> Result<usize, Refusal> {
    match value.as_u64() {
        Some(limit) if limit >= 1 && limit <= most as u64 => Ok(limit as usize),
        _ => Err(invalid(format!(
            "1 validation error detected: Value '{value}' at 'limit' failed to satisfy constraint: Member must have \
             value between 1 and {most}"
        ))),
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(400, "InvalidParameterException", message)
}

/// Appends what [`EventKey::to_decimal`] gives. Half words, because a machine divides 64 bits by a constant in a few
/// nanoseconds and 128 bits in many, and a page has ten thousand ids.
fn write_event_id(key: EventKey, out: &mut Vec<u8>) {
    const CHUNK: u64 = 1_000_000_000;
    let bytes = key.to_bytes();
    let mut halves = [0u64; 6];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *half = u64::from(u32::from_be_bytes(*bytes));
    }
    // 2^192 has 58 digits.
    let mut digits = [b'0'; 63];
    let mut end = digits.len();
    while halves != [0; 6] {
        let mut rest = 0;
        for half in &mut halves {
            let value = rest << 32 | *half;
            *half = value / CHUNK;
            rest = value % CHUNK;
        }
        for digit in digits[end - 9..end].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        end -= 9;
    }
    let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len() - 1);
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_the_client_reads_them() {
        for key in [
            EventKey::new(1_766_067_498_000, 1_766_067_550_765, 0x4235_3991_0ae1_b75c, 8),
            EventKey::new(0, 0, 0, 0),
            EventKey::new(0, 0, 0, 10),
            EventKey::new(i64::MAX, i64::MAX, u64::MAX, u16::MAX),
        ] {
            let mut id = Vec::new();
            write_event_id(key, &mut id);
            assert_eq!(String::from_utf8(id).unwrap(), key.to_decimal());
        }
    }
}
