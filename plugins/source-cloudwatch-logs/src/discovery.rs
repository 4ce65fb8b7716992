//! Which log groups there are, and what EC2 knows of the flow logs that write to them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flowstone_aws::{
    ApiError, ErrorKind, FlowLog, Governor, Governors, GroupsRequest, LogGroup, LogGroupName, LogsApi,
    Operation,
};

use crate::clock::ServiceClock;
use crate::sites::Site;

/// A log group that was named or found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The site, by number.
    pub(crate) site: usize,
    /// Its name.
    pub(crate) name: LogGroupName,
    /// What a listing said of it.
    pub(crate) about: LogGroup,
}

/// What there is to ask: groups that are new, and those whose flow logs may have changed.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    known: HashSet<(usize, LogGroupName)>,
    /// When each site's groups are listed next.
    list_at: Vec<i64>,
    /// Whether each site's groups were ever listed.
    listed: Vec<bool>,
    /// Groups of which EC2 is to be asked, and when.
    waiting: VecDeque<(i64, Question)>,
    asking: usize,
    /// Of those, questions about groups that are not read yet.
    asking_new: usize,
    /// Sites that do not allow the question, and until when it is not asked.
    refused: Vec<Option<i64>>,
}

/// A question about a group's flow logs.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The group.
    pub(crate) found: Found,
    /// Its partition, when it is read already.
    pub(crate) partition: Option<usize>,
    /// How often it was asked in vain.
    attempts: u32,
}

/// What EC2 says of the flow logs of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowFacts {
    /// Their format, where they have but one, and the event time from which on it holds.
    pub(crate) format: Option<(String, i64)>,
    /// The longest aggregation interval, in seconds.
    pub(crate) aggregation_s: Option<u32>,
}

/// What is to be done with a question.
pub(crate) enum Next {
    /// EC2 is to be asked.
    Ask(Question),
    /// It cannot be asked: the group is read without.
    Without(Question),
}

/// Log groups are listed this often.
const LIST_EVERY_MS: i64 = 300_000;
/// After a listing that failed.
pub(crate) const LIST_AGAIN_MS: i64 = 30_000;
/// Flow logs are asked for this often, and more seldom where there are more than a hundred groups: they are deleted and
/// made anew with other formats, and until that is known their records are dead letters.
const DESCRIBE_EVERY_MS: i64 = 120_000;
const DESCRIBE_EACH_MS: i64 = 1200;
/// Where the question is refused it is asked again after this time.
const REFUSED_FOR_MS: i64 = 900_000;
/// Questions in flight at most; EC2 allows some twenty a second.
const ASKING_AT_MOST: usize = 8;
/// A new group waits for so many answers: without the format its first records could not be parsed.
const ATTEMPTS: u32 = 3;
const ATTEMPT_AFTER_MS: i64 = 2000;

/// Pages of one listing at most: AWS allows a million groups, and gives 50 on a page.
const PAGES_AT_MOST: usize = 20_000;
/// Pages in a row that may bring nothing new.
const IN_VAIN_AT_MOST: usize = 100;
/// Requests of a listing that may be throttled in a row.
const THROTTLED_AT_MOST: usize = 30;

// === impl Found ===

impl Found {
    /// Whether the other is the same group at the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.site, &self.name) == (other.site, &other.name)
    }
}

// === impl Discovery ===

impl Discovery {
    /// Nothing is known of this many sites yet.
    pub(crate) fn new(sites: usize) -> Self {
        Self {
            list_at: vec![i64::MIN; sites],
            listed: vec![false; sites],
            refused: vec![None; sites],
            ..Self::default()
        }
    }

    /// A group was named or found; nothing happens if it is known.
    pub(crate) fn found(&mut self, found: Found, now_ms: i64) {
        if self.known.insert((found.site, found.name.clone())) {
            self.waiting.push_back((now_ms, Question { found, partition: None, attempts: 0 }));
        }
    }

    /// A group is gone: it is new if it is found again.
    pub(crate) fn forget(&mut self, site: usize, name: &LogGroupName) {
        self.known.remove(&(site, name.clone()));
        self.waiting.retain(|(_, question)| {
            (question.found.site, &question.found.name) != (site, name) || question.partition.is_none()
        });
    }

    /// The next site whose groups are to be listed.
    pub(crate) fn next_listing(&mut self, now_ms: i64) -> Option<usize> {
        let site = self.list_at.iter().position(|&at| is_due(at, now_ms, LIST_EVERY_MS))?;
        self.list_at[site] = i64::MAX;
        Some(site)
    }

    /// A listing ended.
    pub(crate) fn listed(&mut self, site: usize, succeeded: bool, now_ms: i64) {
        self.listed[site] |= succeeded;
        self.list_at[site] = now_ms + if succeeded { LIST_EVERY_MS } else { LIST_AGAIN_MS };
    }

    /// The next question that is due.
    pub(crate) fn next_question(&mut self, now_ms: i64) -> Option<Next> {
        if self.asking >= ASKING_AT_MOST {
            return None;
        }
        let every_ms = self.describe_every_ms();
        let place = self.waiting.iter().position(|(at, _)| is_due(*at, now_ms, every_ms))?;
        let (_, question) = self.waiting.remove(place)?;
        let Found { site, name, .. } = &question.found;
        let refused = self.refused[*site].is_some_and(|until| now_ms < until);
        // The flow logs of another account are known to that account only.
        if refused || name.foreign_arn.is_some() {
            return Some(Next::Without(question));
        }
        self.asking += 1;
        self.asking_new += usize::from(question.partition.is_none());
        Some(Next::Ask(question))
    }

    /// EC2 answered or not. Gives the facts, or nothing when it is asked again.
    pub(crate) fn answered(
        &mut self,
        question: &Question,
        answer: &Result<Vec<FlowLog>, ApiError>,
        now_ms: i64,
    ) -> Option<FlowFacts> {
        self.asking -= 1;
        self.asking_new -= usize::from(question.partition.is_none());
        let error = match answer {
            Ok(flow_logs) => return Some(FlowFacts::of(flow_logs)),
            Err(error) => error,
        };
        // To be throttled is to be asked to wait, however often.
        let tries = u32::from(error.kind != ErrorKind::Throttled);
        let again = Question { attempts: question.attempts + tries, ..question.clone() };
        if error.kind.passes() && again.attempts < ATTEMPTS {
            self.waiting.push_back((now_ms + ATTEMPT_AFTER_MS, again));
            return None;
        }
        if error.kind == ErrorKind::AccessDenied {
            self.refused[question.found.site] = Some(now_ms + REFUSED_FOR_MS);
        }
        Some(FlowFacts::default())
    }

    /// A group is read: its flow logs are asked for again after a while.
    pub(crate) fn is_read(&mut self, found: Found, partition: usize, now_ms: i64) {
        let question = Question { found, partition: Some(partition), attempts: 0 };
        self.waiting.push_back((now_ms + self.describe_every_ms(), question));
    }

    fn describe_every_ms(&self) -> i64 {
        DESCRIBE_EVERY_MS.max(DESCRIBE_EACH_MS * self.known.len() as i64)
    }

    /// When there is something to do, if no answer comes before. `lists` says whether groups are looked for at all.
    pub(crate) fn wakes_at(&self, lists: bool) -> Option<i64> {
        let listings = self.list_at.iter().copied().filter(|&at| lists && at != i64::MAX);
        let questions = self.waiting.iter().map(|(at, _)| *at).filter(|_| self.asking < ASKING_AT_MOST);
        listings.chain(questions).min()
    }

    /// Whether each site was listed once, if they are, and no group waits to be read.
    pub(crate) fn knows_all(&self, lists: bool) -> bool {
        let new = self.waiting.iter().any(|(_, question)| question.partition.is_none());
        (!lists || self.listed.iter().all(|&listed| listed)) && self.asking_new == 0 && !new
    }
}

/// Whether it is time. A time further ahead than it can be comes from a clock that was wrong.
fn is_due(at: i64, now_ms: i64, at_most_ms: i64) -> bool {
    at <= now_ms || at != i64::MAX && at > now_ms + at_most_ms
}

// === impl FlowFacts ===

impl FlowFacts {
    fn of(flow_logs: &[FlowLog]) -> Self {
        let mut formats: Vec<&str> = flow_logs.iter().map(|log| &*log.format).collect();
        formats.sort_unstable();
        formats.dedup();
        let since_ms = flow_logs.iter().map(|log| log.created_ms.unwrap_or(i64::MIN)).min();
        Self {
            format: match formats[..] {
                [format] if !format.is_empty() => Some((format.to_owned(), since_ms.unwrap_or(i64::MIN))),
                // Of several, nobody can say which a record has.
                _ => None,
            },
            aggregation_s: flow_logs.iter().map(|log| log.aggregation_s).filter(|&s| s > 0).max(),
        }
    }
}

/// A share of a site's quotas, for requests that are no pages: they wait for their turn.
#[derive(Clone)]
pub(crate) struct Quota {
    account: Arc<str>,
    region: Arc<str>,
    governors: Governors,
    share: f64,
    clock: ServiceClock,
}

impl Quota {
    /// The quota of a site.
    pub(crate) fn of(site: &Site, governors: &Governors, share: f64, clock: &ServiceClock) -> Self {
        Self {
            account: Arc::clone(&site.account),
            region: Arc::clone(&site.region),
            governors: governors.clone(),
            share,
            clock: clock.clone(),
        }
    }

    /// Waits until there is a request of this kind to be had.
    pub(crate) async fn take(&self, operation: Operation) {
        let Self { account, region, governors, share, clock } = self;
        let take = |one: &mut Governor| one.take(clock.now_ms());
        while let Err(later) = governors.with(account, region, operation, *share, take) {
            let wait = later.saturating_sub(clock.now_ms()).clamp(1, 1000);
            tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
        }
    }

    /// Says how the request was answered.
    pub(crate) fn answered<T>(&self, operation: Operation, reply: &Result<T, ApiError>) {
        let throttled = matches!(reply, Err(error) if error.kind == ErrorKind::Throttled);
        let (now_ms, jitter) = (self.clock.now_ms(), throttled.then(fastrand::f64));
        let Self { account, region, governors, share, .. } = self;
        governors.with(account, region, operation, *share, |one| one.answered(now_ms, jitter));
    }
}

/// Lists the groups of a site whose names begin with these prefixes.
pub(crate) async fn list(
    api: Arc<dyn LogsApi>,
    prefixes: Vec<String>,
    quota: Quota,
) -> Result<Vec<LogGroup>, ApiError> {
    const OPERATION: Operation = Operation::DescribeLogGroups;
    let endless = |why: &str| Err(ApiError::new(OPERATION, ErrorKind::NoProgress, "", why));
    let mut groups: BTreeMap<String, LogGroup> = BTreeMap::new();
    for prefix in prefixes {
        let mut request = GroupsRequest { prefix, token: None };
        let (mut pages, mut in_vain, mut throttled) = (0, 0, 0);
        loop {
            quota.take(OPERATION).await;
            let page = api.describe_log_groups(&request).await;
            quota.answered(OPERATION, &page);
            throttled = match &page {
                Err(error) if error.kind == ErrorKind::Throttled => throttled + 1,
                _ => 0,
            };
            if (1..THROTTLED_AT_MOST).contains(&throttled) {
                continue;
            }
            let page = page?;
            let before = groups.len();
            groups.extend(page.groups.into_iter().map(|group| (group.name.clone(), group)));
            in_vain = if groups.len() > before { 0 } else { in_vain + 1 };
            pages += 1;
            // An empty token is none.
            let token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
            if token == request.token || in_vain >= IN_VAIN_AT_MOST {
                return endless("page after page names no other group, and there is always a next one");
            }
            if pages >= PAGES_AT_MOST {
                return endless("there are more than a million log groups, which AWS does not allow");
            }
            request.token = token;
        }
    }
    Ok(groups.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use flowstone_aws::{FilterPage, FilterRequest, GroupsPage, MinuteCount};

    use super::*;

    type Pages = dyn FnMut(&GroupsRequest) -> Result<GroupsPage, ApiError> + Send;

    /// A service that does nothing but list.
    struct Lists(Mutex<(u32, Box<Pages>)>);

    #[async_trait]
    impl LogsApi for Lists {
        async fn describe_log_groups(&self, request: &GroupsRequest) -> Result<GroupsPage, ApiError> {
            let (asked, pages) = &mut *self.0.lock().unwrap();
            *asked += 1;
            pages(request)
        }

        async fn filter_log_events(&self, _request: &FilterRequest) -> Result<FilterPage, ApiError> {
            unreachable!()
        }

        async fn describe_flow_logs(&self, _log_group: &str) -> Result<Vec<FlowLog>, ApiError> {
            unreachable!()
        }

        async fn incoming_log_events(
            &self,
            _log_group: &str,
            _from_ms: i64,
            _to_ms: i64,
            _period_s: u32,
        ) -> Result<Vec<MinuteCount>, ApiError> {
            unreachable!()
        }

        async fn account_id(&self) -> Result<String, ApiError> {
            unreachable!()
        }
    }

    /// What a listing gives, and how many pages it asked for.
    async fn listed(
        pages: impl FnMut(&GroupsRequest) -> Result<GroupsPage, ApiError> + Send + 'static,
    ) -> (Result<usize, ErrorKind>, u32) {
        let api = Arc::new(Lists(Mutex::new((0, Box::new(pages)))));
        let begun = tokio::time::Instant::now();
        let clock = ServiceClock::new(Arc::new(move || begun.elapsed().as_millis() as i64));
        let governors = Governors::default();
        let quota = Quota { account: "1".into(), region: "eu-west-1".into(), governors, share: 0.8, clock };
        let found = list(Arc::clone(&api) as _, vec!["/vpc/".to_owned()], quota).await;
        let asked = api.0.lock().unwrap().0;
        (found.map(|groups| groups.len()).map_err(|error| error.kind), asked)
    }

    fn page(name: &str, token: Option<&str>) -> Result<GroupsPage, ApiError> {
        let group = LogGroup { name: name.to_owned(), ..LogGroup::default() };
        Ok(GroupsPage { groups: vec![group], next_token: token.map(str::to_owned) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_ends_whatever_its_pages_lead_to() {
        let mut number = 0;
        let mut next = move || {
            number += 1;
            number.to_string()
        };
        assert_eq!(listed(|_| page("/vpc/a", Some(""))).await, (Ok(1), 1), "an empty token is none");
        let same = listed(|_| page("/vpc/a", Some("same"))).await;
        assert_eq!(same, (Err(ErrorKind::NoProgress), 2));
        let endless = listed(move |_| page("/vpc/a", Some(&next()))).await;
        assert_eq!(endless, (Err(ErrorKind::NoProgress), 101));
        let throttled = |_: &GroupsRequest| {
            Err(ApiError::new(Operation::DescribeLogGroups, ErrorKind::Throttled, "ThrottlingException", ""))
        };
        assert_eq!(listed(throttled).await, (Err(ErrorKind::Throttled), THROTTLED_AT_MOST as u32));
    }
}
