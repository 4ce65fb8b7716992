//! What EC2, CloudWatch and STS answer: XML.

use std::fmt::Write as _;

use flowstone_aws::{FlowLog, MinuteCount};
use flowstone_event::{format_iso_millis, parse_iso_millis};

use super::call::Call;
use super::refusal::{Refusal, escape_xml};
use super::sessions::Caller;
use crate::cloudwatch::SimulatedLogs;

/// `DescribeFlowLogs`, with EC2's filter `log-group-name` and its pages; other filters are refused.
pub(super) fn describe_flow_logs(service: &SimulatedLogs, call: &Call) -> Result<String, Refusal> {
    let (account, region) = service.place();
    let mut wanted: Option<Vec<&str>> = None;
    for number in 1.. {
        let Some(name) = call.query(&format!("Filter.{number}.Name")) else { break };
        if name != "log-group-name" {
            let message = format!("The filter '{name}' is invalid");
            return Err(Refusal::new(400, "InvalidParameterValue", message));
        }
        wanted = Some(call.query_list(&format!("Filter.{number}.Value")).collect());
    }
    let mut found: Vec<(String, FlowLog)> = Vec::new();
    for group in service.group_names() {
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&group.as_str())) {
            let flow_logs = service
                .describe_flow_logs(&group)
                .map_err(|error| Refusal::of_error(error, call, &account, &region))?;
            found.extend(flow_logs.into_iter().map(|flow_log| (group.clone(), flow_log)));
        }
    }
    let number = |name: &str, by_default: usize| match call.query(name).map(str::parse) {
        None => Ok(by_default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => {
            Err(Refusal::new(400, "InvalidParameterValue", format!("The value of {name} is no number")))
        }
    };
    let (from, limit) = (number("NextToken", 0)?, number("MaxResults", 1000)?);
    let mut body = String::from("    <flowLogSet>\n");
    for (group, flow_log) in found.iter().skip(from).take(limit) {
        write_flow_log(group, flow_log, &account, &mut body);
    }
    body.push_str("    </flowLogSet>\n");
    if found.len() > from.saturating_add(limit) {
        let _ = writeln!(body, "    <nextToken>{}</nextToken>", from + limit);
    }
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeFlowLogsResponse \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n    <requestId>{}</requestId>\n{body}\
         </DescribeFlowLogsResponse>",
        call.request_id()
    ))
}

fn write_flow_log(group: &str, flow_log: &FlowLog, account: &str, body: &mut String) {
    body.push_str("        <item>\n");
    let mut member = |name: &str, value: &str| {
        let _ = writeln!(body, "            <{name}>{}</{name}>", escape_xml(value));
    };
    if let Some(created_ms) = flow_log.created_ms {
        member("creationTime", &format_iso_millis(created_ms));
    }
    member("deliverLogsPermissionArn", &format!("arn:aws:iam::{account}:role/flow-logs"));
    member("deliverLogsStatus", "SUCCESS");
    member("flowLogId", &flow_log.id);
    member("flowLogStatus", "ACTIVE");
    member("logDestinationType", "cloud-watch-logs");
    member("logFormat", &flow_log.format);
    member("logGroupName", group);
    member("maxAggregationInterval", &flow_log.aggregation_s.to_string());
    member("resourceId", "vpc-0123456789abcdef0");
    member("trafficType", "ALL");
    body.push_str("            <tagSet/>\n        </item>\n");
}

/// `GetMetricData` for any number of sums of `AWS/Logs IncomingLogEvents`; other metrics have no data, as CloudWatch
/// answers for a metric that it does not know.
pub(super) fn get_metric_data(service: &SimulatedLogs, call: &Call, now_ms: i64) -> Result<String, Refusal> {
    let (account, region) = service.place();
    let missing =
        |name: &str| Refusal::new(400, "MissingParameter", format!("The parameter {name} is required."));
    let time = |name: &str| {
        let text = call.query(name).ok_or_else(|| missing(name))?;
        parse_iso_millis(text).ok_or_else(|| {
            Refusal::new(400, "MalformedInput", format!("timestamp must follow ISO8601: {text}"))
        })
    };
    let (start_ms, end_ms) = (time("StartTime")?, time("EndTime")?);
    if start_ms >= end_ms {
        let message = "The parameter EndTime must be greater than StartTime.".to_owned();
        return Err(Refusal::new(400, "ValidationError", message));
    }
    let descending = call.query("ScanBy") != Some("TimestampAscending");
    let mut results = String::new();
    for number in 1.. {
        let prefix = format!("MetricDataQueries.member.{number}");
        let Some(id) = call.query(&format!("{prefix}.Id")) else { break };
        let stat = |name: &str| call.query(&format!("{prefix}.MetricStat.{name}"));
        let period_s = match stat("Period").map(str::parse::<u32>) {
            Some(Ok(seconds)) if seconds > 0 && seconds % 60 == 0 => seconds,
            _ => {
                let message = format!("The parameter {prefix}.MetricStat.Period must be a multiple of 60.");
                return Err(Refusal::new(400, "ValidationError", message));
            }
        };
        let dimension = |part: &str| stat(&format!("Metric.Dimensions.member.1.{part}"));
        let known = stat("Metric.Namespace") == Some("AWS/Logs")
            && stat("Metric.MetricName") == Some("IncomingLogEvents")
            && stat("Stat") == Some("Sum")
            && dimension("Name") == Some("LogGroupName")
            && stat("Metric.Dimensions.member.2.Name").is_none();
        let mut points = match dimension("Value").filter(|_| known) {
            Some(group) => {
                // CloudWatch rounds a start down to where a period begins.
                let period_ms = i64::from(period_s) * 1000;
                let start_ms = start_ms.div_euclid(period_ms) * period_ms;
                service
                    .incoming_log_events(now_ms, group, start_ms, end_ms, period_s)
                    .map_err(|error| Refusal::of_error(error, call, &account, &region))?
            }
            None => Vec::new(),
        };
        if descending {
            points.reverse();
        }
        write_metric(id, stat("Metric.MetricName").unwrap_or_default(), &points, &mut results);
    }
    if results.is_empty() {
        return Err(missing("MetricDataQueries"));
    }
    let body = format!("    <Messages/>\n    <MetricDataResults>\n{results}    </MetricDataResults>\n");
    Ok(response(call, "http://monitoring.amazonaws.com/doc/2010-08-01/", &body))
}

fn write_metric(id: &str, label: &str, points: &[MinuteCount], results: &mut String) {
    let _ = write!(
        results,
        "      <member>\n        <Id>{}</Id>\n        <Label>{}</Label>\n        <StatusCode>Complete</StatusCode>\n",
        escape_xml(id),
        escape_xml(label)
    );
    results.push_str("        <Timestamps>\n");
    for point in points {
        // Points lie at full minutes.
        let at = format_iso_millis(point.minute_ms).replace(".000Z", "Z");
        let _ = writeln!(results, "          <member>{at}</member>");
    }
    results.push_str("        </Timestamps>\n        <Values>\n");
    for point in points {
        let _ = writeln!(results, "          <member>{}.0</member>", point.events);
    }
    results.push_str("        </Values>\n      </member>\n");
}

/// `GetCallerIdentity`.
pub(super) fn get_caller_identity(
    service: &SimulatedLogs,
    call: &Call,
    caller: &Caller,
) -> Result<String, Refusal> {
    service.allow(call.operation).map_err(|error| {
        let (account, region) = service.place();
        Refusal::of_error(error, call, &account, &region)
    })?;
    let Caller { account, arn, user_id } = caller;
    let body = format!(
        "    <Arn>{}</Arn>\n    <UserId>{}</UserId>\n    <Account>{account}</Account>\n",
        escape_xml(arn),
        escape_xml(user_id)
    );
    Ok(response(call, "https://sts.amazonaws.com/doc/2011-06-15/", &body))
}

/// A reply of the query protocol around its result.
pub(super) fn response(call: &Call, namespace: &str, result: &str) -> String {
    let name = call.operation.name();
    format!(
        "<{name}Response xmlns=\"{namespace}\">\n  <{name}Result>\n{result}  </{name}Result>\n  <ResponseMetadata>\n    \
         <RequestId>{}</RequestId>\n  </ResponseMetadata>\n</{name}Response>\n",
        call.request_id()
    )
}
