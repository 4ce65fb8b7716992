//! A scan: one chain of pages over a stretch of event time, and its batches in flight.

use std::collections::VecDeque;
use std::sync::Arc;

use flowstone_aws::EventKey;

use super::rule::{Rule, broken};

/// How urgent a read is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Fresh events, and the reads that fetch the late ones.
    Hot,
    /// The last read before a slice is sealed.
    Seal,
    /// Reads of sealed slices.
    Sweep,
    /// The past: what was written before the start, or while nobody read.
    History,
}

impl Class {
    /// All, most urgent first.
    pub const ALL: [Self; 4] = [Self::Hot, Self::Seal, Self::Sweep, Self::History];
}

/// Which request a reply belongs to. A reply to an attempt before a restart is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub(super) scan: u64,
    pub(super) attempt: u32,
}

impl Ticket {
    /// The number of the scan within its partition.
    pub fn scan(self) -> u64 {
        self.scan
    }
}

/// So many points of [`Scan::note_page`] make a scan stalled. With empty pages and a usual quota of 8 a second that is
/// two minutes.
const STALLED_AT_MOST: u32 = 1000;

/// One chain of pages. Its range is fixed while a token lives.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) class: Class,
    /// First millisecond of the request.
    pub(super) from: i64,
    /// The millisecond behind the last one of the request.
    pub(super) to: i64,
    /// The millisecond behind the last one of the slices that are this scan's until it is over.
    pub(super) holds_to: i64,
    pub(super) attempt: u32,
    pub(super) token: Option<String>,
    pub(super) in_flight: bool,
    pub(super) ended: bool,
    /// A time of the service's clock before it answered the first page.
    pub(super) watermark: Option<i64>,
    pub(super) pages: u32,
    /// Events have come in order so far.
    pub(super) ordered: bool,
    /// The last event of this attempt.
    pub(super) last: Option<EventKey>,
    /// The greatest event ever emitted.
    pub(super) newest: Option<EventKey>,
    /// The greatest event of this attempt.
    pub(super) reached: Option<EventKey>,
    /// Points for pages without progress: see [`Scan::note_page`].
    pub(super) stalled: u32,
    /// Tokens refused in chains that cannot be made shorter.
    pub(super) refused: u32,
    /// Since when it is given up: it counts for nothing, and ends once its batches in flight are delivered.
    pub(super) given_up: Option<i64>,
    /// In order.
    pub(super) batches: VecDeque<InFlightBatch>,
}

/// A batch that was emitted and is not delivered yet.
#[derive(Debug)]
pub(super) struct InFlightBatch {
    pub(super) number: u64,
    pub(super) keys: Arc<[EventKey]>,
    sorted: bool,
}

impl InFlightBatch {
    pub(super) fn new(number: u64, keys: Arc<[EventKey]>) -> Self {
        let sorted = keys.is_sorted();
        Self { number, keys, sorted }
    }

    fn contains(&self, key: EventKey) -> bool {
        if self.sorted { self.keys.binary_search(&key).is_ok() } else { self.keys.contains(&key) }
    }
}

impl Scan {
    pub(super) fn new(class: Class, from: i64, to: i64) -> Self {
        Self {
            class,
            from,
            to,
            holds_to: to,
            attempt: 0,
            token: None,
            in_flight: false,
            ended: false,
            watermark: None,
            pages: 0,
            ordered: true,
            last: None,
            newest: None,
            reached: None,
            stalled: 0,
            refused: 0,
            given_up: None,
            batches: VecDeque::new(),
        }
    }

    /// Restarts the chain over `from..to`. Batches in flight stay known, so that no event is emitted twice.
    pub(super) fn restart(&mut self, from: i64, to: i64) {
        self.from = from;
        self.to = to;
        self.attempt += 1;
        self.token = None;
        self.in_flight = false;
        self.ended = false;
        self.watermark = None;
        self.ordered = true;
        self.last = None;
        self.reached = None;
        self.stalled = 0;
        self.given_up = None;
    }

    /// Notes how far a page has come and which page is next. A page with events beyond all before it is progress. Any
    /// other page costs one point if it is empty (AWS may search long for what a filter pattern matches), ten if it
    /// repeats events, and a third of [`STALLED_AT_MOST`] if its token leads to itself.
    pub(super) fn note_page(&mut self, reached: Option<EventKey>, is_empty: bool, token: Option<String>) {
        if reached > self.reached {
            self.reached = reached;
            self.stalled = 0;
        } else {
            let leads_to_itself = token.is_some() && token == self.token;
            self.stalled += match is_empty {
                _ if leads_to_itself => STALLED_AT_MOST / 3 + 1,
                true => 1,
                false => 10,
            };
        }
        self.token = token;
    }

    /// This chain of pages brings nothing new.
    pub(super) fn is_stalled(&self) -> bool {
        !self.ended && self.stalled >= STALLED_AT_MOST
    }

    /// Whether the event is in flight.
    pub(super) fn has_in_flight(&self, key: EventKey) -> bool {
        // Nearly all events come in order and once: each is greater than all before it.
        self.newest.is_some_and(|newest| key <= newest)
            && self.batches.iter().any(|batch| batch.contains(key))
    }

    /// A request for a page can be sent now.
    pub(super) fn wants_page(&self) -> bool {
        !self.in_flight && !self.ended
    }

    /// Everything it found is delivered.
    pub(super) fn is_complete(&self) -> bool {
        self.ended && (self.batches.is_empty() || broken(Rule::ScanWaitsForDelivery))
    }
}
