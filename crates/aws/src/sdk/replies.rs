//! The replies of the query protocol, read from their XML.

use aws_smithy_types::date_time::{DateTime, Format};
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};

use crate::{FlowLog, MinuteCount};

/// One page of `DescribeFlowLogs`.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct FlowLogsPage {
    pub(super) flow_logs: Vec<FlowLog>,
    pub(super) next_token: Option<String>,
}

/// One page of `GetMetricData` for one metric.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct MetricPage {
    pub(super) minutes: Vec<MinuteCount>,
    /// `Complete`, `PartialData` (more comes with the next page), `InternalError`, `Forbidden`.
    pub(super) status: String,
    pub(super) next_token: Option<String>,
}

/// Reads a page of `DescribeFlowLogs`.
pub(super) fn flow_logs(text: &str) -> Result<FlowLogsPage, XmlDecodeError> {
    let mut document = Document::new(text);
    let mut root = root(&mut document, "DescribeFlowLogsResponse")?;
    let mut page = FlowLogsPage::default();
    while let Some(mut tag) = root.next_tag() {
        match tag.start_el().local() {
            "flowLogSet" => {
                while let Some(mut item) = tag.next_tag() {
                    page.flow_logs.push(flow_log(&mut item)?);
                }
            }
            "nextToken" => page.next_token = token(&mut tag)?,
            _ => {}
        }
    }
    Ok(page)
}

fn flow_log(item: &mut ScopedDecoder<'_, '_>) -> Result<FlowLog, XmlDecodeError> {
    // 600 seconds is what a flow log has that was made without a choice.
    let mut flow_log = FlowLog { aggregation_s: 600, ..FlowLog::default() };
    while let Some(mut tag) = item.next_tag() {
        match tag.start_el().local() {
            "flowLogId" => flow_log.id = try_data(&mut tag)?.into_owned(),
            "logFormat" => flow_log.format = try_data(&mut tag)?.into_owned(),
            "maxAggregationInterval" => flow_log.aggregation_s = number(&mut tag)?,
            "creationTime" => flow_log.created_ms = Some(time(&mut tag)?),
            _ => {}
        }
    }
    Ok(flow_log)
}

/// Reads a page of `GetMetricData`.
pub(super) fn metric(text: &str) -> Result<MetricPage, XmlDecodeError> {
    let mut document = Document::new(text);
    let mut root = root(&mut document, "GetMetricDataResponse")?;
    let mut page = MetricPage::default();
    while let Some(mut result) = root.next_tag() {
        if result.start_el().local() != "GetMetricDataResult" {
            continue;
        }
        while let Some(mut tag) = result.next_tag() {
            match tag.start_el().local() {
                "MetricDataResults" => {
                    while let Some(mut member) = tag.next_tag() {
                        metric_result(&mut member, &mut page)?;
                    }
                }
                "NextToken" => page.next_token = token(&mut tag)?,
                _ => {}
            }
        }
    }
    Ok(page)
}

fn metric_result(member: &mut ScopedDecoder<'_, '_>, page: &mut MetricPage) -> Result<(), XmlDecodeError> {
    let (mut times, mut values) = (Vec::new(), Vec::<f64>::new());
    while let Some(mut tag) = member.next_tag() {
        match tag.start_el().local() {
            "Timestamps" => {
                while let Some(mut one) = tag.next_tag() {
                    times.push(time(&mut one)?);
                }
            }
            "Values" => {
                while let Some(mut one) = tag.next_tag() {
                    values.push(number(&mut one)?);
                }
            }
            "StatusCode" => page.status = try_data(&mut tag)?.into_owned(),
            _ => {}
        }
    }
    if times.len() != values.len() {
        let message = format!("{} timestamps but {} values", times.len(), values.len());
        return Err(XmlDecodeError::custom(message));
    }
    // A count is written as a decimal fraction: `42.0`.
    let minute = |(minute_ms, events): (i64, f64)| MinuteCount { minute_ms, events: events.round() as u64 };
    page.minutes.extend(times.into_iter().zip(values).map(minute));
    Ok(())
}

/// The code and the message of a refusal, empty where the text has none: `Response/Errors/Error` of EC2,
/// `ErrorResponse/Error` of the others.
pub(super) fn refusal(text: &str) -> (String, String) {
    let mut document = Document::new(text);
    let mut found = (String::new(), String::new());
    if let Ok(mut root) = document.root_element() {
        find_refusal(&mut root, &mut found);
    }
    found
}

fn find_refusal(element: &mut ScopedDecoder<'_, '_>, found: &mut (String, String)) {
    while let Some(mut tag) = element.next_tag() {
        match tag.start_el().local() {
            "Code" => found.0 = try_data(&mut tag).unwrap_or_default().into_owned(),
            "Message" => found.1 = try_data(&mut tag).unwrap_or_default().into_owned(),
            "Errors" | "Error" => find_refusal(&mut tag, found),
            _ => {}
        }
    }
}

/// The root element, if it is this one: a gateway's page is XML, too, and must not pass for an empty answer.
fn root<'inp, 'a>(
    document: &'a mut Document<'inp>,
    name: &str,
) -> Result<ScopedDecoder<'inp, 'a>, XmlDecodeError> {
    let root = document.root_element()?;
    if root.start_el().local() != name {
        let message = format!("expected <{name}>, got <{}>", root.start_el().local());
        return Err(XmlDecodeError::custom(message));
    }
    Ok(root)
}

// === values ===

fn token(tag: &mut ScopedDecoder<'_, '_>) -> Result<Option<String>, XmlDecodeError> {
    let token = try_data(tag)?;
    Ok((!token.is_empty()).then(|| token.into_owned()))
}

fn number<T: std::str::FromStr>(tag: &mut ScopedDecoder<'_, '_>) -> Result<T, XmlDecodeError> {
    let text = try_data(tag)?;
    text.trim().parse().map_err(|_| XmlDecodeError::custom(format!("expected a number, got `{text}`")))
}

/// Milliseconds since the epoch.
fn time(tag: &mut ScopedDecoder<'_, '_>) -> Result<i64, XmlDecodeError> {
    let text = try_data(tag)?;
    let time =
        DateTime::from_str(text.trim(), Format::DateTimeWithOffset).map_err(XmlDecodeError::unhandled)?;
    time.to_millis().map_err(XmlDecodeError::unhandled)
}
