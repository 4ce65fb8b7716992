//! The names that CloudWatch Logs gives to events, as keys that sort like its replies.

use xxhash_rust::xxh3::xxh3_128;

use crate::LogEvent;

/// What identifies an event within its log group: 192 bits that sort as `FilterLogEvents` orders events (time,
/// ingestion, request, index).
///
/// CloudWatch's `eventId` is such a number in decimal: timestamp in milliseconds (48 bits), ingestion time (64),
/// request (64), index within it (16). That is not documented; it was found out on real ids (`event-id-decoding.json`
/// in the samples). So it is used only where the times within agree with the event's own; any other id becomes a hash
/// in the place of request and index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey([u64; 3]);

impl EventKey {
    /// The key of an event.
    pub fn of(event: &LogEvent) -> Self {
        match parse_decimal(&event.event_id).map(Self) {
            Some(key) if key.timestamp() == event.timestamp && key.ingestion() == event.ingestion_time => key,
            _ => {
                let mut bytes = Vec::with_capacity(event.event_id.len() + event.log_stream.len() + 1);
                bytes.extend_from_slice(event.log_stream.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(event.event_id.as_bytes());
                let hash = xxh3_128(&bytes);
                Self::new(event.timestamp, event.ingestion_time, (hash >> 16) as u64, hash as u16)
            }
        }
    }

    /// A key of these parts. Times before 1970 and beyond 48 bits are cut to that.
    pub fn new(timestamp: i64, ingestion: i64, request: u64, index: u16) -> Self {
        let (timestamp, ingestion) = (timestamp.clamp(0, (1 << 48) - 1) as u64, ingestion.max(0) as u64);
        Self([
            timestamp << 16 | ingestion >> 48,
            ingestion << 16 | request >> 48,
            request << 16 | u64::from(index),
        ])
    }

    /// The event's own time in milliseconds since the epoch.
    #[inline]
    pub fn timestamp(self) -> i64 {
        (self.0[0] >> 16) as i64
    }

    /// When CloudWatch ingested it, in milliseconds since the epoch.
    #[inline]
    pub fn ingestion(self) -> i64 {
        ((self.0[0] << 48) | (self.0[1] >> 16)) as i64
    }

    /// Which PutLogEvents request brought it.
    pub fn request(self) -> u64 {
        (self.0[1] << 48) | (self.0[2] >> 16)
    }

    /// Its place within that request.
    pub fn index(self) -> u16 {
        self.0[2] as u16
    }

    /// The key as 24 bytes, which sort as the key does.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The id as CloudWatch writes it: 56 digits for the times of our century.
    pub fn to_decimal(self) -> String {
        // Division of 192 bits by 10^18, three words at a time.
        const CHUNK: u128 = 1_000_000_000_000_000_000;
        let mut words = self.0;
        let mut chunks = Vec::with_capacity(4);
        while words != [0; 3] {
            let mut rest: u128 = 0;
            for word in &mut words {
                let value = rest << 64 | u128::from(*word);
                *word = (value / CHUNK) as u64;
                rest = value % CHUNK;
            }
            chunks.push(rest as u64);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:018}"));
        }
        text
    }
}

/// Reads a decimal number below 2^192; `None` for anything else.
fn parse_decimal(text: &str) -> Option<[u64; 3]> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > 58 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut words = [0u64; 3];
    // Eighteen digits at a time fit a word, so that the long multiplication runs four times and not 56.
    let first = match digits.len() % 18 {
        0 => 18,
        rest => rest,
    };
    let (head, tail) = digits.split_at(first);
    for chunk in std::iter::once(head).chain(tail.chunks(18)) {
        let scale = 10u128.pow(chunk.len() as u32);
        let mut carry = chunk.iter().fold(0u128, |number, digit| number * 10 + u128::from(digit - b'0'));
        for word in words.iter_mut().rev() {
            let value = u128::from(*word) * scale + carry;
            *word = value as u64;
            carry = value >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(words)
}

impl std::fmt::Debug for EventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "EventKey({}/{}/{:016x}/{})",
            self.timestamp(),
            self.ingestion(),
            self.request(),
            self.index()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published rows: Elastic's seed document, AWS's subscription example, a real VPC record.
    const REAL: [(&str, i64, i64, u64, u16); 4] = [
        (
            "31953106606966983378809025079804211143289615424298221568",
            1_432_826_855_000,
            1_432_827_365_364,
            0x665b_a04f_6ad6_2181,
            0,
        ),
        (
            "31953106606966983378809025079804211143289615424298221569",
            1_432_826_855_000,
            1_432_827_365_364,
            0x665b_a04f_6ad6_2181,
            1,
        ),
        (
            "39384621276304490890087930508712664639416808858493648904",
            1_766_067_498_000,
            1_766_067_550_765,
            0x4235_3991_0ae1_b75c,
            8,
        ),
        (
            "39384622012229082441598494221604847884366691451211808768",
            1_766_067_531_000,
            1_766_067_585_683,
            0x6e5a_da7c_ba27_d857,
            0,
        ),
    ];

    fn event(id: &str, timestamp: i64, ingestion_time: i64) -> LogEvent {
        LogEvent {
            timestamp,
            ingestion_time,
            event_id: id.to_owned(),
            log_stream: "eni-1-all".to_owned(),
            ..LogEvent::default()
        }
    }

    #[test]
    fn real_ids_are_taken_apart_and_put_together() {
        for (id, timestamp, ingestion, request, index) in REAL {
            let key = EventKey::of(&event(id, timestamp, ingestion));
            assert_eq!(
                (key.timestamp(), key.ingestion(), key.request(), key.index()),
                (timestamp, ingestion, request, index)
            );
            assert_eq!(key, EventKey::new(timestamp, ingestion, request, index));
            assert_eq!(key.to_decimal(), id);
        }
    }

    #[test]
    fn the_layout_is_not_trusted_where_it_disagrees_with_the_event() {
        let (id, timestamp, ingestion, request, _) = REAL[0];
        for other in [event(id, timestamp + 1, ingestion), event(id, timestamp, ingestion + 1)] {
            let key = EventKey::of(&other);
            assert_eq!((key.timestamp(), key.ingestion()), (other.timestamp, other.ingestion_time));
            assert_ne!(key.request(), request);
        }
    }

    #[test]
    fn ids_of_any_kind_differ_by_id_and_stream() {
        let counter = |id: &str, stream: &str| {
            EventKey::of(&LogEvent { log_stream: stream.to_owned(), ..event(id, 5, 6) })
        };
        let keys = [
            counter("0", "a"),
            counter("1", "a"),
            counter("0", "b"),
            counter("", "a"),
            counter("x", "a"),
            counter(&"9".repeat(58), "a"),
            counter(&"9".repeat(80), "a"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!((key.timestamp(), key.ingestion()), (5, 6));
            assert!(!keys[..index].contains(key), "{key:?}");
        }
    }

    #[test]
    fn keys_and_their_bytes_sort_by_time_ingestion_request_and_index() {
        let sorted = [
            EventKey::new(1, 9, 9, 9),
            EventKey::new(2, 1, 9, 9),
            EventKey::new(2, 2, 1, 9),
            EventKey::new(2, 2, 2, 1),
            EventKey::new(2, 2, 2, 2),
            EventKey::new(1 << 47, i64::MAX, u64::MAX, u16::MAX),
        ];
        assert!(sorted.is_sorted() && sorted.map(EventKey::to_bytes).is_sorted());
        for key in sorted {
            assert_eq!(parse_decimal(&key.to_decimal()).map(EventKey), Some(key));
        }
    }

    #[test]
    fn numbers_beyond_192_bits_are_refused() {
        let largest = EventKey([u64::MAX; 3]).to_decimal();
        assert_eq!(largest, "6277101735386680763835789423207666416102355444464034512895");
        assert_eq!(parse_decimal(&largest), Some([u64::MAX; 3]));
        assert_eq!(parse_decimal("6277101735386680763835789423207666416102355444464034512896"), None);
        assert_eq!(parse_decimal("12a"), None);
    }
}
