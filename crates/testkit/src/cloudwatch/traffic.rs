//! Events as late as those of VPC Flow Logs.

use flowstone_aws::EventKey;

use super::events::SimulatedEvent;

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

    /// The events with a time in `from_ms..to_ms`, sorted by key.
    pub fn events(&self, from_ms: i64, to_ms: i64) -> Vec<SimulatedEvent> {
        let mut random =
            fastrand::Rng::with_seed(self.seed ^ (from_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let count = ((to_ms - from_ms) as f64 / 1000.0 * self.per_second).round() as usize;
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
        let ingestion = window_end + (60_000.0 * (0.6 * normal(random)).exp()) as i64 + straggling;
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

/// A flow-log line of the default format that the key alone decides.
pub fn flow_line(key: EventKey, stream: &str) -> String {
    let interface = stream.strip_suffix("-all").unwrap_or(stream);
    let (bits, start) = (key.request() ^ u64::from(key.index()), key.timestamp() / 1000);
    format!(
        "2 123456789012 {interface} 10.{}.{}.{} 10.0.{}.{} {} 443 6 {} {} {start} {} ACCEPT OK",
        bits & 255,
        bits >> 8 & 255,
        bits >> 16 & 255,
        bits >> 24 & 255,
        bits >> 32 & 255,
        1024 + (bits >> 40 & 0x7fff),
        1 + (bits >> 55 & 31),
        40 + (bits >> 50 & 0xfff),
        start + 60,
    )
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
    fn the_same_stretch_is_made_the_same_way_twice() {
        let traffic = FlowTraffic::default();
        assert_eq!(traffic.events(60_000, 120_000), traffic.events(60_000, 120_000));
        assert_ne!(traffic.events(60_000, 120_000)[0], traffic.events(120_000, 180_000)[0]);
    }
}
