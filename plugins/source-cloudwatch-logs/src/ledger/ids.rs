//! The set of events of a slice that are delivered.

use flowstone_aws::EventKey;

/// A sorted set of event keys: 24 bytes each in memory, some 4 to 13 in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(Vec<EventKey>);

impl Ids {
    /// Whether the event is in the set.
    pub fn contains(&self, key: EventKey) -> bool {
        self.0.binary_search(&key).is_ok()
    }

    /// How many events are in the set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<EventKey>()
    }

    /// Adds events, which may come in any order and twice.
    pub fn extend(&mut self, keys: impl IntoIterator<Item = EventKey>) {
        let before = self.0.len();
        self.0.extend(keys);
        // The sort merges two sorted runs in linear time.
        if !self.0[before.saturating_sub(1)..].is_sorted() {
            self.0.sort();
        }
        self.0.dedup();
    }

    /// Keeps only events ingested after this time.
    pub fn keep_younger_than(&mut self, ingestion: i64) {
        self.0.retain(|key| key.ingestion() > ingestion);
        self.0.shrink_to_fit();
    }

    /// The keys, ascending.
    pub fn iter(&self) -> impl Iterator<Item = EventKey> + '_ {
        self.0.iter().copied()
    }
}

/// Appends keys to `out`, each as the difference to the one before: time, ingestion, and the request only where it
/// changes.
pub fn encode(keys: impl IntoIterator<Item = EventKey>, out: &mut Vec<u8>) {
    let mut before = EventKey::new(0, 0, 0, 0);
    for key in keys {
        write_number(zigzag(key.timestamp() - before.timestamp()), out);
        write_number(zigzag(key.ingestion() - before.ingestion()), out);
        let same = key.request() == before.request();
        write_number(u64::from(key.index()) << 1 | u64::from(same), out);
        if !same {
            out.extend_from_slice(&key.request().to_le_bytes());
        }
        before = key;
    }
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<EventKey>> {
    let (mut keys, mut before) = (Vec::new(), EventKey::new(0, 0, 0, 0));
    while !bytes.is_empty() {
        let timestamp = before.timestamp().checked_add(unzigzag(read_number(&mut bytes)?))?;
        let ingestion = before.ingestion().checked_add(unzigzag(read_number(&mut bytes)?))?;
        let index_and_same = read_number(&mut bytes)?;
        let request = if index_and_same & 1 == 1 {
            before.request()
        } else {
            let (request, rest) = bytes.split_first_chunk::<8>()?;
            bytes = rest;
            u64::from_le_bytes(*request)
        };
        before = EventKey::new(timestamp, ingestion, request, u16::try_from(index_and_same >> 1).ok()?);
        keys.push(before);
    }
    Some(keys)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn write_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(timestamp: i64, ingestion: i64, request: u64, index: u16) -> EventKey {
        EventKey::new(timestamp, ingestion, request, index)
    }

    #[test]
    fn events_are_found_whatever_the_order_they_came_in() {
        let keys: Vec<EventKey> = (0..200).map(|n| key(n * 7 % 50, n, 3, 0)).collect();
        let mut ids = Ids::default();
        ids.extend(keys[100..].iter().copied());
        ids.extend(keys.iter().copied());
        assert_eq!(ids.len(), 200);
        assert!(keys.iter().all(|&key| ids.contains(key)) && !ids.contains(key(1, 1, 1, 1)));
        ids.keep_younger_than(150);
        assert_eq!(ids.len(), 49);
    }

    #[test]
    fn events_of_one_request_take_four_bytes_each() {
        let mut bytes = Vec::new();
        encode(
            (0..1000).map(|n| key(1_766_067_498_000 + n / 10 * 1000, 1_766_067_550_765, 7, n as u16)),
            &mut bytes,
        );
        assert!(bytes.len() < 5 * 1000, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn keys_survive_the_checkpoint(parts in prop::collection::vec((0i64..1 << 48, 0i64..i64::MAX / 4, 0u64..3, any::<u16>()), 0..50)) {
            let keys: Vec<EventKey> = parts.into_iter().map(|(t, i, r, x)| key(t, i, r * (u64::MAX / 2), x)).collect();
            let mut bytes = Vec::new();
            encode(keys.iter().copied(), &mut bytes);
            prop_assert_eq!(decode(&bytes), Some(keys));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }
}
