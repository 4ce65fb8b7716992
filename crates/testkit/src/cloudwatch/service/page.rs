//! One page of `FilterLogEvents`: which events are on it, and the token that goes on behind it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;

use flowstone_aws::{ApiError, EventKey, FilterRequest, Operation, StreamFilter};

use super::{Group, State};
use crate::cloudwatch::traffic::write_flow_line;

/// Requests of which the pages lead nowhere, and in which way.
#[derive(Clone, Debug)]
pub struct Maze {
    /// The way.
    pub kind: MazeKind,
    /// The log group.
    pub group: String,
    /// Requests that touch this stretch of event time, in milliseconds, are concerned.
    pub stretch: (i64, i64),
}

/// In which way pages lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MazeKind {
    /// The last page has an empty token, which is refused when it is used.
    EmptyToken,
    /// Every reply is the first page, with one and the same token.
    SameToken,
    /// Every page leads to another one, and is empty.
    EmptyPages,
    /// Two tokens take turns, and so do their pages.
    Circle,
    /// The first page leads on, and its token is refused.
    RefusedToken,
}

/// An event on a page, while the page is made.
pub(in crate::cloudwatch) struct PageEvent<'a> {
    pub(in crate::cloudwatch) key: EventKey,
    pub(in crate::cloudwatch) stream: &'a str,
    pub(in crate::cloudwatch) message: &'a str,
    /// The message was made by [`write_flow_line`]: digits, letters, dots and spaces.
    pub(in crate::cloudwatch) is_flow_line: bool,
}

// === impl State ===

impl State {
    /// Gives the events of the page one by one, at most `limit` of them, and returns the next token.
    pub(super) fn filter(
        &mut self,
        now_ms: i64,
        request: &FilterRequest,
        limit: usize,
        each: &mut dyn FnMut(PageEvent<'_>),
    ) -> Result<Option<String>, ApiError> {
        let operation = Operation::FilterLogEvents;
        let had_token = request.token.is_some();
        let refuse = |status, code: &str, message: &str| {
            Err(ApiError::of_reply(operation, status, code, message, had_token))
        };
        if !self.within_quota(now_ms) || self.random.f64() < self.behaviour.throttled {
            return refuse(400, "ThrottlingException", "Rate exceeded");
        }
        if self.random.f64() < self.behaviour.unavailable {
            return refuse(503, "ServiceUnavailableException", "The service cannot complete the request.");
        }
        self.allowed(operation)?;
        if request.start_ms < 0 || request.end_ms < request.start_ms {
            return refuse(400, "InvalidParameterException", "End time should not be less than start time.");
        }
        let maze = self.behaviour.maze.as_ref().filter(|maze| maze.concerns(request)).map(|maze| maze.kind);
        let given = request.token.as_deref();
        match (maze, given) {
            (Some(MazeKind::EmptyPages), _) => {
                return Ok(Some(format!("empty-{:x}", self.random.u64(..))));
            }
            (Some(MazeKind::EmptyToken), Some("")) => {
                let message = "Value at 'nextToken' failed to satisfy constraint: Member must have length greater \
                               than or equal to 1";
                return refuse(400, "InvalidParameterException", message);
            }
            (Some(MazeKind::RefusedToken), Some(_)) => {
                return refuse(400, "InvalidParameterException", "The specified nextToken is invalid.");
            }
            _ => {}
        }
        // In a circle every token leads to the first page.
        let given = given.filter(|_| !matches!(maze, Some(MazeKind::SameToken | MazeKind::Circle)));
        let chain = chain_of(request);
        let after = match given.map(|token| read_token(token, chain, now_ms, self.behaviour.token_life_ms)) {
            None => None,
            Some(Some(after)) => after,
            Some(None) => {
                return refuse(400, "InvalidParameterException", "The specified nextToken is invalid.");
            }
        };
        let empty = self.random.f64() < self.behaviour.empty_pages;
        let short = self.random.f64() < self.behaviour.short_pages;
        let drawn = if short {
            self.random.usize(1..=self.behaviour.page_events)
        } else {
            self.behaviour.page_events
        };
        let limit = limit.min(drawn);
        let Some(group) = self.groups.get_mut(&request.group.name) else {
            return refuse(400, "ResourceNotFoundException", "The specified log group does not exist.");
        };
        if empty {
            return Ok(Some(write_token(chain, now_ms, after)));
        }
        let (mut count, mut bytes, mut last, mut more) = (0, 0, after, false);
        let mut line = String::new();
        let Group { events, streams, .. } = group;
        let end_ms = request.end_ms.min(events.seen_until(now_ms));
        events.visit(request.start_ms, end_ms, after, |event| {
            let stream = &streams[event.stream as usize];
            if event.visible_ms > now_ms || !wanted(&request.streams, stream) {
                return ControlFlow::Continue(());
            }
            let message = match &event.message {
                Some(text) => text,
                None => {
                    line.clear();
                    write_flow_line(event.key, stream, &mut line);
                    line.as_str()
                }
            };
            if !request.pattern.is_empty() && !message.contains(&request.pattern) {
                return ControlFlow::Continue(());
            }
            if count == limit || bytes + message.len() + EVENT_OVERHEAD > self.behaviour.page_bytes {
                more = true;
                return ControlFlow::Break(());
            }
            count += 1;
            bytes += message.len() + EVENT_OVERHEAD;
            last = Some(event.key);
            each(PageEvent { key: event.key, stream, message, is_flow_line: event.message.is_none() });
            ControlFlow::Continue(())
        });
        let token = match maze {
            Some(MazeKind::SameToken | MazeKind::RefusedToken) => Some("same".to_owned()),
            Some(MazeKind::Circle) if request.token.as_deref() == Some("left") => Some("right".to_owned()),
            Some(MazeKind::Circle) => Some("left".to_owned()),
            Some(MazeKind::EmptyToken) if !more => Some(String::new()),
            _ => more.then(|| write_token(chain, now_ms, last)),
        };
        Ok(token)
    }
}

impl Maze {
    fn concerns(&self, request: &FilterRequest) -> bool {
        let (from_ms, to_ms) = self.stretch;
        request.group.name == self.group && request.start_ms < to_ms && request.end_ms >= from_ms
    }
}

/// What an event counts besides its text, as in `PutLogEvents`.
const EVENT_OVERHEAD: usize = 26;

fn wanted(filter: &StreamFilter, stream: &str) -> bool {
    match filter {
        StreamFilter::All => true,
        StreamFilter::Prefix(prefix) => stream.starts_with(prefix.as_str()),
        StreamFilter::Names(names) => names.iter().any(|name| name == stream),
    }
}

/// What a token is bound to: every parameter of the request but the token itself.
fn chain_of(request: &FilterRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&request.group, request.start_ms, request.end_ms, &request.pattern, format!("{:?}", request.streams))
        .hash(&mut hasher);
    hasher.finish()
}

fn write_token(chain: u64, now_ms: i64, after: Option<EventKey>) -> String {
    match after {
        Some(key) => {
            let (request, index) = (key.request(), key.index());
            format!("{chain:x}/{now_ms}/{}/{}/{request}/{index}", key.timestamp(), key.ingestion())
        }
        None => format!("{chain:x}/{now_ms}"),
    }
}

/// The place a token stands for: `None` for a token of another request, one too old, or none of ours.
fn read_token(token: &str, chain: u64, now_ms: i64, life_ms: i64) -> Option<Option<EventKey>> {
    let mut parts = token.split('/');
    let fits = u64::from_str_radix(parts.next()?, 16).ok()? == chain
        && now_ms - parts.next()?.parse::<i64>().ok()? < life_ms;
    if !fits {
        return None;
    }
    let Some(timestamp) = parts.next() else { return Some(None) };
    let (timestamp, ingestion) = (timestamp.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Some(EventKey::new(timestamp, ingestion, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)))
}
