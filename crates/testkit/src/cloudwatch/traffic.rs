//! Events as late as those of VPC Flow Logs.

use std::sync::Arc;

use flowstone_aws::EventKey;
use flowstone_event::Digits;

use super::events::{MadeEvents, SimulatedEvent};

/// Makes flow-log events with the lateness that the design's simulation assumes: a record's time is its `start`
/// somewhere in its interface's aggregation window, it is taken in when the window has ended and delivery (log-normal, median 60 s)
/// is over; 0.2 % come 2 to 10 minutes later still and 0.01 % half an hour to three hours.
#[derive(Clone, Debug)]
pub struct FlowTraffic {
    /// `MaxAggregationInterval` in milliseconds.
    pub aggregation_ms: i64,
    /// Events a second.
    pub per_second: f64,
    /// Streams (network interfaces).
    pub streams: u32,
    /// Events become visible at most this long after ingestion, in milliseconds.
    pub visible_within_ms: i64,
    /// Seed of all chance.
    pub seed: u64,
}

impl Default for FlowTraffic {
    fn default() -> Self {
        Self { aggregation_ms: 60_000, per_second: 100.0, streams: 50, visible_within_ms: 5000, seed: 1 }
    }
}

impl FlowTraffic {
    /// The names of the streams.
    pub fn stream_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.streams).map(|number| format!("eni-{number:017x}-all"))
    }

    /// How many events have a time in `from_ms..to_ms`. Stretches that follow on one another add up, so that a day of
    /// a rate that is `n` a day has `n`.
    pub fn count(&self, from_ms: i64, to_ms: i64) -> u64 {
        let before = |ms: i64| (ms as f64 * self.per_second / 1000.0).round();
        (before(to_ms) - before(from_ms)) as u64
    }

    /// All events with a time in `from_ms..to_ms`, both at full minutes, made when they are read: the same ones each
    /// time, and [`FlowTraffic::count`] of them.
    pub fn made(&self, from_ms: i64, to_ms: i64) -> MadeEvents {
        debug_assert!(
            from_ms % 60_000 == 0 && to_ms % 60_000 == 0,
            "a made group begins and ends at full minutes"
        );
        // Some ten thousand events a block: more would take memory, fewer would be made anew for each page.
        let seconds = (10_000.0 / self.per_second).clamp(1.0, 60.0) as i64;
        let seconds = (seconds..=60).find(|seconds| 60 % seconds == 0).unwrap_or(60);
        let (traffic, block_ms) = (self.clone(), seconds * 1000);
        MadeEvents {
            from_ms,
            to_ms,
            block_ms,
            latest_ms: self.aggregation_ms + LATEST_DELIVERY_MS + 1000,
            make: Arc::new(move |block| traffic.events(block, block + block_ms)),
        }
    }

    /// The events with a time in `from_ms..to_ms`, sorted by key.
    pub fn events(&self, from_ms: i64, to_ms: i64) -> Vec<SimulatedEvent> {
        let mut random =
            fastrand::Rng::with_seed(self.seed ^ (from_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let count = self.count(from_ms, to_ms);
        let mut events: Vec<SimulatedEvent> =
            (0..count).map(|_| self.event(random.i64(from_ms..to_ms), &mut random)).collect();
        events.sort_unstable_by_key(|event| event.key);
        events
    }

    fn event(&self, time_ms: i64, random: &mut fastrand::Rng) -> SimulatedEvent {
        let stream = random.u32(..self.streams);
        // Each interface has windows of its own.
        let phase = i64::from(stream) * self.aggregation_ms / i64::from(self.streams);
        let window_end =
            ((time_ms - phase).div_euclid(self.aggregation_ms) + 1) * self.aggregation_ms + phase;
        let chance = random.f64();
        let straggling = if chance < 0.0001 {
            random.i64(1_800_000..10_800_000)
        } else if chance < 0.0021 {
            random.i64(120_000..600_000)
        } else {
            0
        };
        let delivery = (60_000.0 * (0.6 * normal(random)).exp()) as i64 + straggling;
        let ingestion = window_end + delivery.min(LATEST_DELIVERY_MS);
        // Records start at whole seconds.
        let timestamp = time_ms.div_euclid(1000) * 1000;
        SimulatedEvent {
            key: EventKey::new(timestamp, ingestion, random.u64(..), 0),
            visible_ms: ingestion + random.i64(0..=self.visible_within_ms),
            stream,
            message: None,
        }
    }
}

/// Nothing is delivered later than this after the end of its window, so that whoever asks what was taken in within a
/// minute need not look through all of time. The tail that it cuts is one event in many millions.
const LATEST_DELIVERY_MS: i64 = 4 * 3_600_000;

/// A flow-log line of the default format that the key alone decides.
pub fn flow_line(key: EventKey, stream: &str) -> String {
    let mut line = String::new();
    write_flow_line(key, stream, &mut line);
    line
}

/// Appends a [`flow_line`]. By hand: ten thousand lines a page would spend most of their time in `format!`.
pub(super) fn write_flow_line(key: EventKey, stream: &str, line: &mut String) {
    let (bits, start) = (key.request() ^ u64::from(key.index()), key.timestamp() as u64 / 1000);
    line.push_str("2 123456789012 ");
    line.push_str(stream.strip_suffix("-all").unwrap_or(stream));
    for (before, number) in [
        (" 10.", bits & 255),
        (".", bits >> 8 & 255),
        (".", bits >> 16 & 255),
        (" 10.0.", bits >> 24 & 255),
        (".", bits >> 32 & 255),
        (" ", 1024 + (bits >> 40 & 0x7fff)),
        (" 443 6 ", 1 + (bits >> 55 & 31)),
        (" ", 40 + (bits >> 50 & 0xfff)),
        (" ", start),
        (" ", start + 60),
    ] {
        line.push_str(before);
        line.push_str(Digits::of(number as i64).as_str());
    }
    line.push_str(" ACCEPT OK");
}

/// A normally distributed number (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_has_the_quantiles_of_the_design() {
        for (aggregation_ms, expect) in [(60_000, [95.0, 166.0, 287.0]), (600_000, [365.0, 610.0, 710.0])] {
            let traffic = FlowTraffic { aggregation_ms, per_second: 200.0, ..FlowTraffic::default() };
            let events = traffic.events(0, 600_000);
            assert_eq!(events.len(), 120_000);
            let mut late: Vec<i64> =
                events.iter().map(|event| event.key.ingestion() - event.key.timestamp()).collect();
            late.sort_unstable();
            for (quantile, seconds) in [0.5, 0.9, 0.99].into_iter().zip(expect) {
                let found = late[(late.len() as f64 * quantile) as usize] as f64 / 1000.0;
                assert!(
                    (found / seconds - 1.0).abs() < 0.12,
                    "{aggregation_ms} {quantile}: {found} s, expected {seconds} s"
                );
            }
        }
    }

    #[test]
    fn a_line_is_a_record_of_the_default_format() {
        let key = EventKey::new(1_800_000_000_123, 1_800_000_100_000, 0x8765_4321_0fed_cba9, 3);
        assert_eq!(
            flow_line(key, "eni-1-all"),
            "2 123456789012 eni-1 10.170.203.237 10.0.15.33 26947 443 6 15 513 1800000000 1800000060 ACCEPT OK"
        );
    }

    #[test]
    fn a_day_of_a_made_group_has_the_events_that_its_rate_says() {
        let traffic = FlowTraffic { per_second: 10_000_000.0 / 86_400.0, ..FlowTraffic::default() };
        let day = 1_800_014_400_000;
        assert_eq!(traffic.count(day, day + 86_400_000), 10_000_000);
        let made = traffic.made(day, day + 180_000);
        let blocks: Vec<_> =
            (0..180_000 / made.block_ms).map(|n| (made.make)(day + n * made.block_ms)).collect();
        let all: Vec<_> = blocks.concat();
        assert_eq!(all.len() as u64, traffic.count(day, day + 180_000));
        assert!(all.is_sorted_by_key(|event| event.key));
        assert!(all.iter().all(|event| event.key.ingestion() - event.key.timestamp() <= made.latest_ms));
    }

    #[test]
    fn the_same_stretch_is_made_the_same_way_twice() {
        let traffic = FlowTraffic::default();
        assert_eq!(traffic.events(60_000, 120_000), traffic.events(60_000, 120_000));
        assert_ne!(traffic.events(60_000, 120_000)[0], traffic.events(120_000, 180_000)[0]);
    }
}
