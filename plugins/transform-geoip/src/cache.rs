//! What was worked out before: objects by the places of their records, shared by all transforms that ask the same of
//! the same files, and what became of addresses, for each thread by itself.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use flowstone_core::event::{ObjectText, Value};

/// How many databases one transform may ask.
pub(crate) const MOST_DATABASES: usize = 4;

/// What the databases say of an address, but for the address itself.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) object: ObjectText,
    /// Whether the address belongs to the object.
    pub(crate) has_ip: bool,
    parts: OnceLock<Box<[NamedPart]>>,
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Object(ObjectText),
    Single(Value),
}

/// A member with its name.
pub(crate) type NamedPart = (Arc<str>, Part);

/// An entry, or that nothing is known.
pub(crate) type Known = Option<Arc<Entry>>;

/// Which records: of each database that is asked its number, which is not 0, and the place of the record in it plus
/// one; 0 where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [(u32, u32); MOST_DATABASES]);

/// Entries by the records they were made of: a fixed number of them. One that nobody has asked for lately makes room
/// for a new one, and a new one is kept when it is asked for the second time: most are asked for once in a life.
#[derive(Debug)]
pub(crate) struct Records {
    sets: Box<[Shelf]>,
    /// By hash: whether it was asked for before.
    asked: Box<[AtomicU64]>,
    /// How many bits of it are set.
    count: AtomicUsize,
}

/// A set, and a number that may be read without the lock: who reads it some time before has the set at hand then.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shelf {
    near: AtomicU64,
    set: Mutex<Set>,
}

/// A few entries whose keys fall together; `next` is the one that makes room next, unless it was asked for.
#[derive(Debug, Default)]
struct Set {
    entries: [Option<Kept>; WAYS],
    next: usize,
}

#[derive(Debug)]
struct Kept {
    key: Key,
    known: Known,
    was_asked_for: bool,
}

const WAYS: usize = 4;

/// What became of addresses: as many as fit, each in the one place where it can be.
#[derive(Debug)]
pub(crate) struct Addresses {
    slots: Box<[Slot]>,
    /// The databases that were asked.
    numbers: Vec<u32>,
    /// Which batch is worked on.
    batch: u32,
}

/// An address; what is known of it; and its number in the batch that met it last. 32 bytes, so that no two lines of
/// memory are waited for.
#[derive(Clone, Debug, Default)]
struct Slot {
    ip: u128,
    known: Known,
    number: u32,
    batch: u32,
}

/// The batch of a slot that holds nothing.
const EMPTY: u32 = 0;
/// The batch of a slot whose entry has no number yet.
const UNNUMBERED: u32 = 1;

/// Addresses that a thread remembers. In flow logs half of all are of its own network, and of the others a few come
/// again and again; 16,384 of them take half a megabyte.
const SLOT_BITS: u32 = 14;

/// All records that are kept, by what was asked of which files.
static KEPT: Mutex<Vec<(String, Weak<Records>)>> = Mutex::new(Vec::new());

// === impl Entry ===

impl Entry {
    pub(crate) fn new(object: ObjectText, has_ip: bool) -> Self {
        Self { object, has_ip, parts: OnceLock::new() }
    }

    /// The members of the object, made when they are asked for first.
    pub(crate) fn parts(&self) -> &[NamedPart] {
        self.parts.get_or_init(|| {
            let part = |(name, part): (String, Option<ObjectText>)| {
                let name: Arc<str> = name.into();
                let part = match part {
                    Some(object) => Part::Object(object),
                    None => Part::Single(self.object.get(std::slice::from_ref(&name))?),
                };
                Some((name, part))
            };
            self.object.parts().into_iter().filter_map(part).collect()
        })
    }
}

// === impl Records ===

impl Records {
    /// Room for this many, or more if somebody else asks the same and wanted more.
    pub(crate) fn shared(asked: String, room: usize) -> Arc<Self> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, records)| records.strong_count() > 0);
        let known =
            kept.iter().filter(|(other, _)| *other == asked).filter_map(|(_, records)| records.upgrade());
        if let Some(known) =
            known.max_by_key(|records| records.room()).filter(|records| records.room() >= room)
        {
            return known;
        }
        let records = Arc::new(Self::new(room));
        kept.push((asked, Arc::downgrade(&records)));
        records
    }

    fn new(room: usize) -> Self {
        Self {
            sets: (0..room.div_ceil(WAYS)).map(|_| Shelf::default()).collect(),
            asked: (0..room.next_power_of_two().div_ceil(8)).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
        }
    }

    fn room(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// What was worked out for these records.
    pub(crate) fn get(&self, key: &Key) -> Option<Known> {
        let mut set = self.set(key.hash());
        let kept = set.entries.iter_mut().flatten().find(|kept| kept.key == *key)?;
        kept.was_asked_for = true;
        Some(kept.known.clone())
    }

    /// Keeps it, if it was asked for before.
    pub(crate) fn put(&self, key: Key, known: Known) {
        let hash = key.hash();
        if !self.is_asked_for_again(hash) {
            return;
        }
        let mut set = self.set(hash);
        while let next = set.next
            && let Some(kept) = &mut set.entries[next]
            && kept.was_asked_for
        {
            kept.was_asked_for = false;
            set.next = (next + 1) % WAYS;
        }
        let next = set.next;
        set.entries[next] = Some(Kept { key, known, was_asked_for: false });
        set.next = (next + 1) % WAYS;
    }

    /// Whether a key of this hash was asked for before. When half of the bits are set, all are forgotten.
    fn is_asked_for_again(&self, hash: u64) -> bool {
        let bits = self.asked.len() as u64 * 64;
        let bit = (hash >> 20) % bits;
        let mask = 1 << (bit % 64);
        let was_set = self.asked[(bit / 64) as usize].fetch_or(mask, Ordering::Relaxed) & mask != 0;
        if !was_set && self.count.fetch_add(1, Ordering::Relaxed) as u64 > bits / 2 {
            self.count.store(0, Ordering::Relaxed);
            self.asked.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
            self.asked[(bit / 64) as usize].fetch_or(mask, Ordering::Relaxed);
        }
        was_set
    }

    fn set(&self, hash: u64) -> std::sync::MutexGuard<'_, Set> {
        self.shelf(hash).set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self, hash: u64) -> &Shelf {
        let number = (u64::from(hash as u32) * self.sets.len() as u64) >> 32;
        &self.sets[number as usize]
    }

    /// Has what is known of these records fetched, all at once.
    pub(crate) fn fetch(&self, keys: impl Iterator<Item = Key>) {
        let near = |key: Key| self.shelf(key.hash()).near.load(Ordering::Relaxed);
        std::hint::black_box(keys.fold(0, |sum, key| sum ^ near(key)));
    }
}

// === impl Key ===

impl Key {
    fn hash(&self) -> u64 {
        // Databases that are not asked have the number 0, and stand behind those that are.
        let asked = self.0.iter().take_while(|(number, _)| *number != 0);
        asked.fold(0, |hash, (number, place)| mix(hash ^ u64::from(*number) << 32 ^ u64::from(*place)))
    }
}

// === impl Addresses ===

impl Default for Addresses {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); 1 << SLOT_BITS].into(), numbers: Vec::new(), batch: UNNUMBERED }
    }
}

impl Addresses {
    /// A new batch begins, and these databases are asked: what others said is forgotten.
    pub(crate) fn begin(&mut self, numbers: impl Iterator<Item = u32> + Clone) {
        let is_last = self.batch == u32::MAX;
        self.batch = if is_last { UNNUMBERED + 1 } else { self.batch + 1 };
        if is_last || !self.numbers.iter().copied().eq(numbers.clone()) {
            self.numbers = numbers.collect();
            self.slots.fill(Slot::default());
        }
    }

    /// What an address is known by: the number its entry has in this batch, which `number` gives if it has none yet,
    /// or that there is nothing to know of it. `None` for an address that is not remembered.
    #[inline]
    pub(crate) fn known(&mut self, ip: u128, number: impl FnOnce(&Arc<Entry>) -> u32) -> Option<Option<u32>> {
        let slot = &mut self.slots[place_of(ip)];
        if slot.ip != ip || slot.batch == EMPTY {
            return None;
        }
        let Some(entry) = &slot.known else { return Some(None) };
        if slot.batch != self.batch {
            slot.number = number(entry);
            slot.batch = self.batch;
        }
        Some(Some(slot.number))
    }

    /// Remembers an address.
    pub(crate) fn put(&mut self, ip: u128, known: Known) {
        self.slots[place_of(ip)] = Slot { ip, known, number: 0, batch: UNNUMBERED };
    }
}

#[inline]
fn place_of(ip: u128) -> usize {
    (mix(ip as u64 ^ (ip >> 64) as u64) >> (64 - SLOT_BITS)) as usize
}

/// Spreads bits: the upper half of a product, folded down (the constant is that of splitmix64).
#[inline]
fn mix(bits: u64) -> u64 {
    let product = u128::from(bits) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: u32) -> Key {
        let mut key = Key::default();
        key.0[0] = (7, place);
        key
    }

    #[test]
    fn records_are_kept_up_to_the_room_there_is_and_old_ones_make_way() {
        let records = Records::new(64);
        let entry = |place: u32| {
            let object = ObjectText::of(&[("n".into(), Value::Int(place.into()))].into_iter().collect());
            Some(Arc::new(Entry::new(object, true)))
        };
        records.put(key(5), entry(5));
        assert!(records.get(&key(5)).is_none(), "it was asked for once");
        for place in 0..1000 {
            records.put(key(place), entry(place));
            records.put(key(place), entry(place));
            assert!(records.get(&key(place)).is_some(), "the newest is there");
        }
        let kept: Vec<u32> = (0..1000).filter(|place| records.get(&key(*place)).is_some()).collect();
        assert!(kept.len() <= 64 && kept.len() >= 48, "{} are kept", kept.len());
        for place in kept {
            let entry = records.get(&key(place)).flatten().unwrap();
            assert_eq!(entry.object.as_str(), format!("{{\"n\":{place}}}"));
        }
    }

    #[test]
    fn there_may_be_room_for_one() {
        for room in 1..9 {
            let records = Records::new(room);
            records.put(key(5), None);
            records.put(key(5), None);
            assert!(records.get(&key(5)).is_some(), "room for {room}");
        }
    }

    #[test]
    fn what_is_asked_for_stays_where_others_come_and_go() {
        let records = Records::new(256);
        for round in 0..2000 {
            for place in 0..30 {
                if records.get(&key(place)).is_none() {
                    records.put(key(place), None);
                }
            }
            records.put(key(1000 + round), None);
            records.put(key(1000 + round), None);
        }
        let there = (0..30).filter(|place| records.get(&key(*place)).is_some()).count();
        assert!(there >= 25, "{there} of 30");
    }

    #[test]
    fn those_who_ask_the_same_share_what_is_kept() {
        let one = Records::shared("the same".to_owned(), 100);
        assert!(Arc::ptr_eq(&one, &Records::shared("the same".to_owned(), 100)));
        assert!(!Arc::ptr_eq(&one, &Records::shared("another".to_owned(), 100)));
        let more = Records::shared("the same".to_owned(), 1000);
        assert!(more.room() >= 1000);
    }

    #[test]
    fn an_entry_has_one_number_in_each_batch() {
        assert_eq!(size_of::<Slot>(), 32);
        let mut addresses = Addresses::default();
        addresses.begin([1].into_iter());
        addresses.put(7, Some(Arc::new(Entry::new(ObjectText::empty(), true))));
        assert_eq!(addresses.known(7, |_| 3), Some(Some(3)));
        assert_eq!(addresses.known(7, |_| 4), Some(Some(3)));
        addresses.begin([1].into_iter());
        assert_eq!(addresses.known(7, |_| 5), Some(Some(5)));
        addresses.batch = u32::MAX;
        addresses.begin([1].into_iter());
        assert_eq!(addresses.known(7, |_| 6), None, "numbers of batches begin anew, and so does all else");
    }

    #[test]
    fn addresses_of_other_databases_are_forgotten() {
        let mut addresses = Addresses::default();
        addresses.begin([1].into_iter());
        let nobody = |_: &Arc<Entry>| unreachable!("it has no entry");
        assert_eq!(addresses.known(0, nobody), None, "an empty slot is no address");
        addresses.put(5, None);
        addresses.begin([1].into_iter());
        assert_eq!(addresses.known(5, nobody), Some(None));
        addresses.begin([2].into_iter());
        assert_eq!(addresses.known(5, nobody), None);
    }
}
