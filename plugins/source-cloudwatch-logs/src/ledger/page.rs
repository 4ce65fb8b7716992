//! Replies: which events of a page are new, and what a failed request means.

use std::collections::HashSet;
use std::sync::Arc;

use flowstone_aws::{ErrorKind, EventKey, FilterPage, LogEvent};

use super::rule::{Rule, broken};
use super::scan::{InFlightBatch, Scan, Ticket};
use super::settle::note_delivered;
use super::slice::{Recheck, minute_of};
use super::{Chunk, ChunkLimits, Extent, Ledger};

/// So many refused tokens of a chain that cannot be made shorter, and it is given up.
const REFUSED_AT_MOST: u32 = 5;

// === impl Ledger ===

impl Ledger {
    /// Takes a page and gives its new events in chunks. `asked_ms` is when the request was sent, by the caller's idea of
    /// the service's clock, for replies without a `Date`. Each chunk takes the next number.
    pub fn page(
        &mut self,
        ticket: Ticket,
        page: FilterPage,
        asked_ms: i64,
        limits: ChunkLimits,
        number: &mut u64,
    ) -> Vec<Chunk> {
        let rules = &self.rules;
        let current =
            |scan: &&mut Scan| scan.attempt == ticket.attempt || broken(Rule::StaleRepliesAreIgnored);
        let Some(scan) = self.scans.get_mut(&ticket.scan).filter(current) else { return Vec::new() };
        self.counts.pages += 1;
        scan.in_flight = false;
        scan.pages += 1;
        if scan.watermark.is_none() || broken(Rule::FirstPageSetsWatermark) {
            scan.watermark = Some(page.asked_at_ms.unwrap_or(asked_ms));
        }
        // An empty token is none: AWS never gives one, and refuses it.
        let token = page.next_token.filter(|token| !token.is_empty());
        scan.ended = token.is_none() || page.events.is_empty() && broken(Rule::EmptyPagesGoOn);
        let (is_empty, mut reached) = (page.events.is_empty(), scan.reached);
        let mut chunker = Chunker { limits, bytes: 0, chunks: Vec::new() };
        let mut fresh: Option<HashSet<EventKey>> = None;
        let mut slice_range = (0, 0);
        for event in page.events {
            let key = EventKey::of(&event);
            let time = key.timestamp();
            if time != event.timestamp || !(scan.from..scan.to).contains(&time) {
                self.counts.outside += 1;
                continue;
            }
            reached = reached.max(Some(key));
            scan.ordered = scan.ordered && scan.last.is_none_or(|last| last <= key);
            if !scan.ordered && fresh.is_none() {
                // From here on an event may repeat one of this page, which no batch in flight holds yet.
                fresh = Some(chunker.chunks.iter().flat_map(|chunk| chunk.keys.iter().copied()).collect());
            }
            let seen_here =
                scan.last == Some(key) || fresh.as_ref().is_some_and(|fresh| fresh.contains(&key));
            let repeated = seen_here || scan.has_in_flight(key) && !broken(Rule::InFlightIsKnown);
            scan.last = Some(key);
            if !(slice_range.0..slice_range.1).contains(&time) {
                slice_range = self
                    .slices
                    .range(..=time)
                    .next_back()
                    .map_or((0, 0), |(_, slice)| (slice.start, slice.end));
            }
            let slice = if (slice_range.0..slice_range.1).contains(&time) {
                self.slices.get_mut(&slice_range.0)
            } else {
                None
            };
            if let Some(slice) = slice {
                if let Recheck::Count(minutes) = &mut slice.recheck
                    && let Ok(at) = minutes.0.binary_search_by_key(&minute_of(key), |entry| entry.0)
                    && !repeated
                {
                    minutes.0[at].1 += 1;
                }
                if !repeated && slice.has(key, rules) {
                    match slice.facts.ids.contains(key) {
                        true => self.counts.duplicates += 1,
                        false => self.counts.by_rule += 1,
                    }
                    continue;
                }
            }
            if repeated {
                self.counts.duplicates += 1;
                continue;
            }
            self.counts.fresh += 1;
            scan.newest = scan.newest.max(Some(key));
            if let Some(fresh) = &mut fresh {
                fresh.insert(key);
            }
            chunker.push(event, key);
        }
        scan.note_page(reached, is_empty, token);
        let mut chunks = Vec::with_capacity(chunker.chunks.len());
        for Pending { events, keys } in chunker.chunks {
            let keys: Arc<[EventKey]> = keys.into();
            scan.batches.push_back(InFlightBatch::new(*number, Arc::clone(&keys)));
            chunks.push(Chunk { scan: ticket.scan, number: *number, events, keys });
            *number += 1;
        }
        if let Some(last) = scan.last.filter(|_| broken(Rule::RangeIsFrozen)) {
            scan.from = last.timestamp() + 1;
        }
        if broken(Rule::IdsAreDelivered) {
            let keys: Vec<EventKey> =
                scan.batches.iter().flat_map(|batch| batch.keys.iter().copied()).collect();
            note_delivered(&mut self.slices, &mut self.lateness, &mut self.changes, &keys);
        }
        if scan.is_complete() {
            self.advance(ticket.scan);
        }
        chunks
    }

    /// A request failed. Says whether the ledger handles it: it asks for the page again with the same parameters, or
    /// restarts the chain because its token is not valid any more.
    pub fn failed(&mut self, ticket: Ticket, kind: ErrorKind) -> bool {
        let Some(scan) = self.scans.get_mut(&ticket.scan).filter(|scan| scan.attempt == ticket.attempt)
        else {
            return true;
        };
        scan.in_flight = false;
        match kind {
            ErrorKind::BadToken if broken(Rule::RefusedTokenRestarts) => {
                scan.ended = true;
                if scan.is_complete() {
                    self.advance(ticket.scan);
                }
                true
            }
            ErrorKind::BadToken if scan.token.is_some() => {
                self.counts.restarts += 1;
                let shortened = self.restart(ticket.scan, Extent::FirstHalf);
                let Some(scan) = self.scans.get_mut(&ticket.scan).filter(|_| !shortened) else { return true };
                // Old tokens expire. Those of a short chain are young: the service refuses them for another reason.
                scan.refused += 1;
                scan.refused < REFUSED_AT_MOST
            }
            ErrorKind::Throttled | ErrorKind::Unavailable => true,
            _ => false,
        }
    }

    /// Restarts a scan over the slices that it still reads: all of them, or only the first half when a chain over all
    /// outlived its tokens. Says whether the scan is shorter now.
    pub(super) fn restart(&mut self, number: u64, extent: Extent) -> bool {
        let Some(scan) = self.scans.get_mut(&number) else { return false };
        let mut reads = Vec::new();
        for (_, slice) in self.slices.range_mut(scan.from..scan.to).filter(|(_, slice)| slice.reading) {
            reads.push((slice.start, slice.end));
            if let Recheck::Count(minutes) = &mut slice.recheck {
                minutes.0.iter_mut().for_each(|entry| entry.1 = 0);
            }
        }
        let last = match extent {
            Extent::All => reads.len().saturating_sub(1),
            Extent::FirstHalf => (reads.len() / 2).saturating_sub(1),
        };
        let from = reads.first().map_or(scan.from, |&(start, _)| start);
        let (before, to) = (scan.to, reads.get(last).map_or(scan.to, |&(_, end)| end));
        scan.restart(from, to);
        to < before
    }
}

/// Events of one chunk while a page is split.
struct Pending {
    events: Vec<LogEvent>,
    keys: Vec<EventKey>,
}

struct Chunker {
    limits: ChunkLimits,
    bytes: usize,
    chunks: Vec<Pending>,
}

impl Chunker {
    fn push(&mut self, event: LogEvent, key: EventKey) {
        let full = self.chunks.last().is_none_or(|chunk| {
            chunk.events.len() >= self.limits.rows || self.bytes + event.message.len() > self.limits.bytes
        });
        if full {
            self.bytes = 0;
            self.chunks.push(Pending { events: Vec::new(), keys: Vec::new() });
        }
        self.bytes += event.message.len();
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.events.push(event);
            chunk.keys.push(key);
        }
    }
}
