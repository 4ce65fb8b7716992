//! The simulated service: one account and region, told at each call what time it is.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flowstone_aws::{
    ApiError, ErrorKind, FilterPage, FilterRequest, FlowLog, GroupsPage, GroupsRequest, LogEvent, LogGroup,
    MinuteCount, Operation, quota_per_second,
};

use super::events::{Events, MadeEvents, SimulatedEvent};

mod page;

pub use page::{Maze, MazeKind};

pub(super) use page::PageEvent;

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
    /// Where the pages of `FilterLogEvents` lead nowhere.
    pub maze: Option<Maze>,
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
    silent: HashSet<Operation>,
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
            maze: None,
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
            silent: HashSet::new(),
            random,
            tokens: 0.0,
            refilled_ms: None,
            calls: Calls::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes a log group with these streams; the events name them by number.
    pub fn create_group(&self, name: &str, created_ms: i64, streams: impl IntoIterator<Item = String>) {
        let about = LogGroup { name: name.to_owned(), created_ms: Some(created_ms), ..LogGroup::default() };
        let group = Group {
            about,
            streams: streams.into_iter().collect(),
            events: Events::kept(),
            flow_logs: Vec::new(),
        };
        self.lock().groups.insert(name.to_owned(), group);
    }

    /// Deletes a log group with its events.
    pub fn delete_group(&self, name: &str) {
        self.lock().groups.remove(name);
    }

    /// Makes a log group whose events are made when they are read.
    pub fn create_made_group(
        &self,
        name: &str,
        streams: impl IntoIterator<Item = String>,
        events: MadeEvents,
    ) {
        self.create_group(name, events.from_ms, streams);
        self.group(name, |group| group.events = Events::made(events));
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

    /// Gives the permission for an operation back.
    pub fn permit(&self, operation: Operation) {
        self.lock().denied.remove(&operation);
    }

    /// From now on calls of an operation get no answer, or an answer again.
    pub fn silence(&self, operation: Operation, silent: bool) {
        let mut state = self.lock();
        if silent {
            state.silent.insert(operation);
        } else {
            state.silent.remove(&operation);
        }
    }

    /// Whether calls of an operation get no answer.
    pub(super) fn is_silent(&self, operation: Operation) -> bool {
        self.lock().silent.contains(&operation)
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

    /// How many events have a time from `start_ms` to `end_ms` (inclusive), visible or not.
    pub fn count_events(&self, group: &str, start_ms: i64, end_ms: i64) -> u64 {
        self.group(group, |group| group.events.count(start_ms, end_ms))
    }

    /// `FilterLogEvents` at `now_ms`.
    pub fn filter_log_events(&self, now_ms: i64, request: &FilterRequest) -> Result<FilterPage, ApiError> {
        let mut events = Vec::new();
        let next_token = self.page(now_ms, request, usize::MAX, &mut |event| {
            events.push(LogEvent {
                timestamp: event.key.timestamp(),
                ingestion_time: event.key.ingestion(),
                message: event.message.to_owned(),
                log_stream: event.stream.to_owned(),
                event_id: event.key.to_decimal(),
            });
        })?;
        Ok(FilterPage { events, next_token, asked_at_ms: Some(now_ms.div_euclid(1000) * 1000) })
    }

    /// The same, with the events given one by one, at most `limit` of them; returns the next token.
    pub(super) fn page(
        &self,
        now_ms: i64,
        request: &FilterRequest,
        limit: usize,
        each: &mut dyn FnMut(PageEvent<'_>),
    ) -> Result<Option<String>, ApiError> {
        let mut state = self.lock();
        let mut events = 0;
        let page = state.filter(now_ms, request, limit, &mut |event| {
            events += 1;
            each(event);
        });
        match &page {
            Ok(_) => {
                state.calls.pages += 1;
                state.calls.events += events;
            }
            Err(error) if error.kind == ErrorKind::Throttled => state.calls.throttled += 1,
            Err(_) => state.calls.failed += 1,
        }
        page
    }

    /// `DescribeLogGroups`, 50 groups a page.
    pub fn describe_log_groups(&self, request: &GroupsRequest) -> Result<GroupsPage, ApiError> {
        self.groups(request, 50)
    }

    /// The same, with at most `limit` groups a page.
    pub(super) fn groups(&self, request: &GroupsRequest, limit: usize) -> Result<GroupsPage, ApiError> {
        let state = self.lock();
        state.allowed(Operation::DescribeLogGroups)?;
        let after = request.token.as_deref().unwrap_or_default();
        let mut found = state.groups.values().filter(|group| {
            group.about.name.starts_with(&request.prefix)
                && (after.is_empty() || group.about.name.as_str() > after)
        });
        let account = Some(state.behaviour.account.clone());
        let about = |group: &Group| LogGroup { account: account.clone(), ..group.about.clone() };
        let groups: Vec<LogGroup> = found.by_ref().take(limit).map(about).collect();
        let next_token = found.next().and(groups.last()).map(|last| last.name.clone());
        Ok(GroupsPage { groups, next_token })
    }

    /// Whether the policy allows an operation.
    pub(super) fn allow(&self, operation: Operation) -> Result<(), ApiError> {
        self.lock().allowed(operation)
    }

    /// The names of all log groups, in order.
    pub(super) fn group_names(&self) -> Vec<String> {
        self.lock().groups.keys().cloned().collect()
    }

    /// The account and the region.
    pub(super) fn place(&self) -> (String, String) {
        let behaviour = &self.lock().behaviour;
        (behaviour.account.clone(), behaviour.region.clone())
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
        let mut periods: BTreeMap<i64, u64> = BTreeMap::new();
        let to_ms = to_ms.min(now_ms);
        // The last period may begin just before `to_ms`.
        for (minute, events) in group.events.taken_in(from_ms, to_ms.saturating_add(period_ms)) {
            let period = minute.div_euclid(period_ms) * period_ms;
            if (from_ms..to_ms).contains(&period) && period + period_ms <= now_ms {
                *periods.entry(period).or_default() += events;
            }
        }
        Ok(periods.into_iter().map(|(minute_ms, events)| MinuteCount { minute_ms, events }).collect())
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

#[cfg(test)]
mod tests {
    use flowstone_aws::{EventKey, LogGroupName, StreamFilter};

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
        let events = MadeEvents {
            from_ms: 1000,
            to_ms: 61_000,
            block_ms: 1000,
            latest_ms: 5000,
            make: Arc::new(make),
        };
        made.create_made_group("made", ["eni-1-all".to_owned()], events);
        let kept = service((1..61).flat_map(|block| make(block * 1000)).collect(), |it| it.page_events = 7);
        let read = |service: &SimulatedLogs, group: &str| {
            let (mut token, mut seen) = (None, Vec::new());
            loop {
                let request = FilterRequest { group: LogGroupName::own(group), ..ask(3_250, 40_449, token) };
                let page = service.filter_log_events(100_000, &request).unwrap();
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
        for (start, end) in [(3_250, 40_449), (0, 100_000), (60_950, 60_950), (61_000, 99_000)] {
            assert_eq!(made.count_events("made", start, end), kept.count_events("g", start, end), "{start}");
        }
        assert_eq!(made.count_events("made", 0, 100_000), 600);
        let counts = |service: &SimulatedLogs, group: &str| {
            service.incoming_log_events(i64::MAX, group, 0, 120_000, 60).unwrap()
        };
        assert_eq!(counts(&made, "made"), counts(&kept, "g"));
        assert_eq!(counts(&made, "made").iter().map(|minute| minute.events).sum::<u64>(), 600);
    }

    #[test]
    fn a_group_that_goes_on_for_ever_is_read_up_to_now() {
        let make = |block: i64| vec![event(block, block + 10, 1, block + 10)];
        let events =
            MadeEvents { from_ms: 0, to_ms: i64::MAX, block_ms: 60_000, latest_ms: 10, make: Arc::new(make) };
        let service = service(Vec::new(), |_| {});
        service.create_made_group("g", ["eni-1-all".to_owned()], events);
        let page = service.filter_log_events(120_009, &ask(0, i64::MAX, None)).unwrap();
        assert_eq!((times(&page), page.next_token), (vec![0, 60_000], None));
        let counts = service.incoming_log_events(180_000, "g", 0, i64::MAX, 60).unwrap();
        assert_eq!(counts.iter().map(|count| count.events).sum::<u64>(), 3);
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
