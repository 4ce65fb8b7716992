//! The simulated service: one account and region, told at each call what time it is.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flowstone_aws::{
    ApiError, ErrorKind, EventKey, FilterPage, FilterRequest, FlowLog, GroupsPage, GroupsRequest, LogEvent,
    LogGroup, MinuteCount, Operation, StreamFilter, quota_per_second,
};

use super::events::{Events, SimulatedEvent};
use super::traffic::flow_line;

/// How the simulated service behaves. The default is AWS in eu-west-1 on a good day.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The account the credentials belong to.
    pub account: String,
    /// The region, which decides the quota.
    pub region: String,
    /// Events on a page at most.
    pub page_events: usize,
    /// Bytes on a page at most: text and 26 for each event.
    pub page_bytes: usize,
    /// `FilterLogEvents` a second; `None` is AWS's quota for the region, infinity switches throttling off.
    pub per_second: Option<f64>,
    /// How long a page token lives, in milliseconds.
    pub token_life_ms: i64,
    /// The share of replies that are empty although there is more.
    pub empty_pages: f64,
    /// The share of pages that end early.
    pub short_pages: f64,
    /// The share of calls that are throttled whatever the rate.
    pub throttled: f64,
    /// The share of calls that fail with 503.
    pub unavailable: f64,
    /// Seed of all chance.
    pub seed: u64,
}

/// What the service was asked and what it gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// `FilterLogEvents` that were answered with a page.
    pub pages: u64,
    /// Events on those pages, those read twice included.
    pub events: u64,
    /// Calls refused as one too many.
    pub throttled: u64,
    /// Calls refused for another reason.
    pub failed: u64,
}

/// A simulated CloudWatch Logs of one account and region. Clones share it.
#[derive(Clone)]
pub struct SimulatedLogs {
    state: Arc<Mutex<State>>,
}

struct State {
    behaviour: Behaviour,
    groups: BTreeMap<String, Group>,
    denied: HashSet<Operation>,
    random: fastrand::Rng,
    tokens: f64,
    refilled_ms: Option<i64>,
    calls: Calls,
}

struct Group {
    about: LogGroup,
    streams: Vec<String>,
    events: Events,
    flow_logs: Vec<FlowLog>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            page_events: 10_000,
            page_bytes: 1 << 20,
            per_second: None,
            token_life_ms: 24 * 3_600_000,
            empty_pages: 0.0,
            short_pages: 0.0,
            throttled: 0.0,
            unavailable: 0.0,
            seed: 1,
        }
    }
}

// === impl SimulatedLogs ===

impl SimulatedLogs {
    /// A service without log groups.
    pub fn new(behaviour: Behaviour) -> Self {
        let random = fastrand::Rng::with_seed(behaviour.seed);
        let state = State {
            behaviour,
            groups: BTreeMap::new(),
            denied: HashSet::new(),
            random,
            tokens: 0.0,
            refilled_ms: None,
            calls: Calls::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes a log group with these streams; the events name them by number.
    pub fn create_group(&self, name: &str, created_ms: i64, streams: impl IntoIterator<Item = String>) {
        let about = LogGroup { name: name.to_owned(), created_ms: Some(created_ms), retention_days: None };
        let group = Group {
            about,
            streams: streams.into_iter().collect(),
            events: Events::kept(),
            flow_logs: Vec::new(),
        };
        self.lock().groups.insert(name.to_owned(), group);
    }

    /// Makes a log group whose events from `from_ms` to `to_ms` are made when they are read, `block_ms` at a time:
    /// `make` gives all events with a time in the block that begins there, sorted by key.
    pub fn create_made_group(
        &self,
        name: &str,
        streams: impl IntoIterator<Item = String>,
        (from_ms, to_ms, block_ms): (i64, i64, i64),
        make: impl Fn(i64) -> Vec<SimulatedEvent> + Send + Sync + 'static,
    ) {
        self.create_group(name, from_ms, streams);
        let events =
            Events::Made { from_ms, to_ms, block_ms, make: Arc::new(make), recent: Default::default() };
        self.group(name, |group| group.events = events);
    }

    /// Puts events into a log group. Each is seen from its own `visible_ms` on.
    ///
    /// # Panics
    /// If there is no such group, or its events are made when they are read.
    pub fn put(&self, group: &str, events: impl IntoIterator<Item = SimulatedEvent>) {
        self.group(group, |group| group.events.put(events));
    }

    /// Says which flow logs write to a log group.
    pub fn set_flow_logs(&self, group: &str, flow_logs: Vec<FlowLog>) {
        self.group(group, |group| group.flow_logs = flow_logs);
    }

    /// Takes the permission for an operation away.
    pub fn deny(&self, operation: Operation) {
        self.lock().denied.insert(operation);
    }

    /// Changes how the service behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.lock().behaviour);
    }

    /// What was asked and given so far.
    pub fn calls(&self) -> Calls {
        self.lock().calls
    }

    /// Every event with a time from `start_ms` to `end_ms` (inclusive), visible or not: what there is to deliver.
    pub fn all_events(&self, group: &str, start_ms: i64, end_ms: i64) -> Vec<SimulatedEvent> {
        let mut found = Vec::new();
        self.group(group, |group| {
            group.events.visit(start_ms, end_ms, None, |event| {
                found.push(event.clone());
                ControlFlow::Continue(())
            });
        });
        found
    }

    /// `FilterLogEvents` at `now_ms`.
    pub fn filter_log_events(&self, now_ms: i64, request: &FilterRequest) -> Result<FilterPage, ApiError> {
        let mut state = self.lock();
        let page = state.filter(now_ms, request);
        match &page {
            Ok(page) => {
                state.calls.pages += 1;
                state.calls.events += page.events.len() as u64;
            }
            Err(error) if error.kind == ErrorKind::Throttled => state.calls.throttled += 1,
            Err(_) => state.calls.failed += 1,
        }
        page
    }

    /// `DescribeLogGroups`, 50 groups a page.
    pub fn describe_log_groups(&self, request: &GroupsRequest) -> Result<GroupsPage, ApiError> {
        let state = self.lock();
        state.allowed(Operation::DescribeLogGroups)?;
        let after = request.token.as_deref().unwrap_or_default();
        let mut found = state.groups.values().filter(|group| {
            group.about.name.starts_with(&request.prefix)
                && (after.is_empty() || group.about.name.as_str() > after)
        });
        let groups: Vec<LogGroup> = found.by_ref().take(50).map(|group| group.about.clone()).collect();
        let next_token = found.next().and(groups.last()).map(|last| last.name.clone());
        Ok(GroupsPage { groups, next_token })
    }

    /// `DescribeFlowLogs` for one log group.
    pub fn describe_flow_logs(&self, group: &str) -> Result<Vec<FlowLog>, ApiError> {
        let state = self.lock();
        state.allowed(Operation::DescribeFlowLogs)?;
        Ok(state.groups.get(group).map(|group| group.flow_logs.clone()).unwrap_or_default())
    }

    /// The metric `IncomingLogEvents`: minutes that are over, whether their events are visible or not.
    pub fn incoming_log_events(
        &self,
        now_ms: i64,
        group: &str,
        from_ms: i64,
        to_ms: i64,
        period_s: u32,
    ) -> Result<Vec<MinuteCount>, ApiError> {
        let period_ms = i64::from(period_s) * 1000;
        let mut state = self.lock();
        state.allowed(Operation::GetMetricData)?;
        let Some(group) = state.groups.get_mut(group) else { return Ok(Vec::new()) };
        let mut minutes: BTreeMap<i64, u64> = BTreeMap::new();
        // An event may be up to 14 days older than its ingestion, and up to two hours younger.
        group.events.visit(from_ms - 14 * 86_400_000, to_ms + 2 * 3_600_000, None, |event| {
            let minute = event.key.ingestion().div_euclid(period_ms) * period_ms;
            if (from_ms..to_ms).contains(&minute) && minute + period_ms <= now_ms {
                *minutes.entry(minute).or_default() += 1;
            }
            ControlFlow::Continue(())
        });
        Ok(minutes.into_iter().map(|(minute_ms, events)| MinuteCount { minute_ms, events }).collect())
    }

    /// The account the credentials belong to.
    pub fn account_id(&self) -> Result<String, ApiError> {
        let state = self.lock();
        state.allowed(Operation::GetCallerIdentity)?;
        Ok(state.behaviour.account.clone())
    }

    fn group<T>(&self, name: &str, each: impl FnOnce(&mut Group) -> T) -> T {
        let mut state = self.lock();
        each(state.groups.get_mut(name).unwrap_or_else(|| panic!("there is no simulated log group `{name}`")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn allowed(&self, operation: Operation) -> Result<(), ApiError> {
        if self.denied.contains(&operation) {
            let message = format!("User is not authorized to perform: {}", operation.action());
            return Err(ApiError::of_reply(operation, 400, "AccessDeniedException", &message, false));
        }
        Ok(())
    }

    fn filter(&mut self, now_ms: i64, request: &FilterRequest) -> Result<FilterPage, ApiError> {
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
        let chain = chain_of(request);
        let after = match request
            .token
            .as_deref()
            .map(|token| read_token(token, chain, now_ms, self.behaviour.token_life_ms))
        {
            None => None,
            Some(Some(after)) => after,
            Some(None) => {
                return refuse(400, "InvalidParameterException", "The specified nextToken is invalid.");
            }
        };
        let empty = self.random.f64() < self.behaviour.empty_pages;
        let short = self.random.f64() < self.behaviour.short_pages;
        let limit = if short {
            self.random.usize(1..=self.behaviour.page_events)
        } else {
            self.behaviour.page_events
        };
        let Some(group) = self.groups.get_mut(&request.group.name) else {
            return refuse(400, "ResourceNotFoundException", "The specified log group does not exist.");
        };
        let mut page =
            FilterPage { asked_at_ms: Some(now_ms.div_euclid(1000) * 1000), ..FilterPage::default() };
        if empty {
            page.next_token = Some(write_token(chain, now_ms, after));
            return Ok(page);
        }
        let (mut bytes, mut last, mut more) = (0, after, false);
        let Group { events, streams, .. } = group;
        events.visit(request.start_ms, request.end_ms, after, |event| {
            let stream = &streams[event.stream as usize];
            if event.visible_ms > now_ms || !wanted(&request.streams, stream) {
                return ControlFlow::Continue(());
            }
            let message = match &event.message {
                Some(text) => text.clone().into_string(),
                None => flow_line(event.key, stream),
            };
            if !message.contains(&request.pattern) {
                return ControlFlow::Continue(());
            }
            if page.events.len() == limit || bytes + message.len() + 26 > self.behaviour.page_bytes {
                more = true;
                return ControlFlow::Break(());
            }
            bytes += message.len() + 26;
            last = Some(event.key);
            page.events.push(LogEvent {
                timestamp: event.key.timestamp(),
                ingestion_time: event.key.ingestion(),
                message,
                log_stream: stream.clone(),
                event_id: event.key.to_decimal(),
            });
            ControlFlow::Continue(())
        });
        if more {
            page.next_token = Some(write_token(chain, now_ms, last));
        }
        Ok(page)
    }

    fn within_quota(&mut self, now_ms: i64) -> bool {
        let rate = self
            .behaviour
            .per_second
            .unwrap_or_else(|| quota_per_second(Operation::FilterLogEvents, &self.behaviour.region));
        if rate.is_infinite() {
            return true;
        }
        // One second's worth may come at once.
        let seconds =
            self.refilled_ms.map_or(f64::INFINITY, |before| (now_ms - before).max(0) as f64 / 1000.0);
        self.refilled_ms = Some(now_ms);
        self.tokens = (self.tokens + seconds * rate).min(rate);
        let within = self.tokens >= 1.0;
        if within {
            self.tokens -= 1.0;
        }
        within
    }
}

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

#[cfg(test)]
mod tests {
    use flowstone_aws::LogGroupName;

    use super::*;

    fn event(timestamp: i64, ingestion: i64, request: u64, visible_ms: i64) -> SimulatedEvent {
        SimulatedEvent {
            key: EventKey::new(timestamp, ingestion, request, 0),
            visible_ms,
            stream: 0,
            message: None,
        }
    }

    fn service(events: Vec<SimulatedEvent>, change: impl FnOnce(&mut Behaviour)) -> SimulatedLogs {
        let mut behaviour = Behaviour { per_second: Some(f64::INFINITY), ..Behaviour::default() };
        change(&mut behaviour);
        let service = SimulatedLogs::new(behaviour);
        service.create_group("g", 0, ["eni-1-all".to_owned()]);
        service.put("g", events);
        service
    }

    fn ask(start_ms: i64, end_ms: i64, token: Option<String>) -> FilterRequest {
        FilterRequest {
            group: LogGroupName::own("g"),
            start_ms,
            end_ms,
            streams: StreamFilter::All,
            pattern: String::new(),
            token,
        }
    }

    fn times(page: &FilterPage) -> Vec<i64> {
        page.events.iter().map(|event| event.timestamp).collect()
    }

    #[test]
    fn both_ends_of_the_range_are_inclusive_and_events_come_in_order() {
        let service = service(
            vec![
                event(30, 5, 1, 0),
                event(10, 9, 1, 0),
                event(20, 9, 1, 0),
                event(20, 5, 2, 0),
                event(31, 5, 1, 0),
            ],
            |_| {},
        );
        let page = service.filter_log_events(100, &ask(10, 30, None)).unwrap();
        assert_eq!(times(&page), [10, 20, 20, 30]);
        assert_eq!((page.events[1].ingestion_time, page.next_token), (5, None));
    }

    #[test]
    fn events_are_seen_from_when_they_are_visible() {
        let service = service(vec![event(10, 20, 1, 500), event(11, 20, 2, 400)], |_| {});
        assert_eq!(times(&service.filter_log_events(399, &ask(0, 99, None)).unwrap()), Vec::<i64>::new());
        assert_eq!(times(&service.filter_log_events(400, &ask(0, 99, None)).unwrap()), [11]);
        assert_eq!(times(&service.filter_log_events(500, &ask(0, 99, None)).unwrap()), [10, 11]);
    }

    #[test]
    fn pages_end_at_their_limit_and_tokens_go_on_behind_it() {
        let service =
            service((0..25).map(|at| event(at, 100, at as u64, 0)).collect(), |it| it.page_events = 10);
        let (mut token, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = service.filter_log_events(100, &ask(0, 99, token)).unwrap();
            seen.extend(times(&page));
            pages += 1;
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!((seen, pages), ((0..25).collect(), 3));
        assert_eq!(service.calls(), Calls { pages: 3, events: 25, throttled: 0, failed: 0 });
    }

    #[test]
    fn a_megabyte_ends_a_page_too() {
        let long = |at| SimulatedEvent { message: Some("x".repeat(400_000).into()), ..event(at, 0, 0, 0) };
        let service = service((0..3).map(long).collect(), |_| {});
        let page = service.filter_log_events(0, &ask(0, 9, None)).unwrap();
        assert_eq!(times(&page), [0, 1]);
        assert!(page.next_token.is_some());
    }

    #[test]
    fn a_token_is_bound_to_its_request_and_dies() {
        let service = service((0..5).map(|at| event(at, 0, 0, 0)).collect(), |it| {
            it.page_events = 1;
            it.token_life_ms = 1000;
        });
        let token = service.filter_log_events(0, &ask(0, 9, None)).unwrap().next_token;
        let kind = |now, start| {
            service.filter_log_events(now, &ask(start, 9, token.clone())).map_err(|error| error.kind)
        };
        assert!(kind(999, 0).is_ok());
        assert_eq!(kind(1000, 0), Err(ErrorKind::BadToken));
        assert_eq!(kind(10, 1), Err(ErrorKind::BadToken), "another start");
    }

    #[test]
    fn empty_pages_have_a_token_and_lose_nothing() {
        let service = service((0..50).map(|at| event(at, 0, 0, 0)).collect(), |it| {
            (it.page_events, it.empty_pages, it.short_pages) = (7, 0.5, 0.5);
        });
        let (mut token, mut seen, mut empty) = (None, Vec::new(), 0);
        loop {
            let page = service.filter_log_events(0, &ask(0, 99, token)).unwrap();
            empty += usize::from(page.events.is_empty() && page.next_token.is_some());
            seen.extend(times(&page));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        assert!(empty > 3, "{empty}");
    }

    #[test]
    fn more_requests_than_the_quota_are_throttled() {
        let service = service(Vec::new(), |it| it.per_second = None);
        let answered =
            (0..3000).filter(|&now| service.filter_log_events(now, &ask(0, 9, None)).is_ok()).count();
        assert!((38..=41).contains(&answered), "10 at once and 10 a second for three seconds: {answered}");
        assert_eq!(service.calls().throttled, 3000 - answered as u64);
    }

    #[test]
    fn made_blocks_read_as_kept_events_do() {
        let make = |block: i64| {
            (0..10).map(|at| event(block + at * 100, block + 5000, at as u64, 0)).collect::<Vec<_>>()
        };
        let made = service(Vec::new(), |it| it.page_events = 7);
        made.create_made_group("made", ["eni-1-all".to_owned()], (1000, 61_000, 1000), make);
        let kept = service((1..61).flat_map(|block| make(block * 1000)).collect(), |it| it.page_events = 7);
        let read = |service: &SimulatedLogs, group: &str| {
            let (mut token, mut seen) = (None, Vec::new());
            loop {
                let request = FilterRequest { group: LogGroupName::own(group), ..ask(3_250, 40_449, token) };
                let page = service.filter_log_events(0, &request).unwrap();
                seen.extend(page.events);
                token = page.next_token;
                if token.is_none() {
                    return seen;
                }
            }
        };
        let seen = read(&made, "made");
        assert_eq!(seen.len(), 372);
        assert!(seen == read(&kept, "g"));
    }

    #[test]
    fn the_metric_counts_by_ingestion_minute_whether_visible_or_not() {
        let service = service(
            vec![event(0, 59_999, 0, i64::MAX), event(1, 60_000, 0, 0), event(2, 60_001, 0, 0)],
            |_| {},
        );
        let counts = |now| service.incoming_log_events(now, "g", 0, 3_600_000, 60).unwrap();
        assert_eq!(counts(119_999), [MinuteCount { minute_ms: 0, events: 1 }]);
        assert_eq!(counts(120_000)[1], MinuteCount { minute_ms: 60_000, events: 2 });
    }

    #[test]
    fn groups_come_fifty_a_page() {
        let service = service(Vec::new(), |_| {});
        (0..120).for_each(|number| service.create_group(&format!("p{number:03}"), 0, []));
        let (mut request, mut sizes) = (GroupsRequest { prefix: "p".to_owned(), token: None }, Vec::new());
        loop {
            let page = service.describe_log_groups(&request).unwrap();
            sizes.push(page.groups.len());
            request.token = page.next_token;
            if request.token.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [50, 50, 20]);
    }
}
