//! What was worked out before: objects by the records they were made of, shared by all transforms that ask the same of
//! the same files, and where the records of IPv6 addresses lie, for each thread by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use flowstone_core::event::{ObjectShelf, ObjectText, Value};

/// How many databases one transform may ask.
pub(crate) const MOST_DATABASES: usize = 4;

/// What an object was made of: of each database that is asked the place of the record in it plus one, 0 where it has
/// none; or the address, where the object tells its network.
pub(crate) type Key = [u32; MOST_DATABASES];

/// What the databases say, but for the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing that was asked for.
    Nothing,
    /// An object by its number, and whether the address belongs to it.
    Object { number: u32, has_ip: bool },
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Object(ObjectText),
    Single(Value),
}

/// A member with its name.
pub(crate) type NamedPart = (Arc<str>, Part);

/// The members of an object.
type Parts = Box<[NamedPart]>;

/// Objects by what they were made of: as many as there is room for. They stand on two shelves. When the one in use is
/// full, it becomes the other one, and what is asked for again is taken over from there: what nobody asked for is gone
/// after that. So nothing that a batch refers to changes, and reading takes no lock.
#[derive(Debug)]
pub(crate) struct Records {
    /// How many objects stand on each shelf.
    room: usize,
    /// The shelf in use, and the one before it.
    kept: Mutex<[Option<Arc<Kept>>; 2]>,
}

/// A shelf, and what stands on it.
#[derive(Debug)]
struct Kept {
    /// The databases that were asked: what is known of records of others is not known of theirs.
    numbers: Vec<u32>,
    shelf: ObjectShelf,
    /// How many numbers were given.
    used: AtomicU32,
    /// By hash, in groups of [`WAYS`]: the tag of a key above its number and what is known. One number each, so that
    /// any thread may read and write at any time.
    index: Box<[AtomicU64]>,
    /// The keys by number; none where the tag is the whole key.
    keys: Box<[OnceLock<Key>]>,
    /// The members of the objects by number, made when somebody asks for the first time.
    parts: OnceLock<Box<[OnceLock<Parts>]>>,
}

/// The objects at the hand of one batch: those of the shelf in use, and behind them its own, for which there was no
/// room. Their numbers follow one another.
pub(crate) struct Entries {
    kept: Arc<Kept>,
    before: Option<Arc<Kept>>,
    own: Vec<ObjectText>,
    known: HashMap<Key, Known, foldhash::fast::FixedState>,
}

/// Where the records of IPv6 addresses lie: as many as fit, each in the one place where it can be. A walk to one goes
/// down forty nodes, each of which is waited for.
#[derive(Debug, Default)]
pub(crate) struct V6Places {
    /// Made for the first address.
    slots: Box<[(u128, Key)]>,
    /// The databases that were asked.
    numbers: Vec<u32>,
}

/// A line of memory.
const WAYS: usize = 8;
/// Nothing was written here.
const EMPTY: u32 = 0;
/// The places of a slot that holds no address.
const UNWRITTEN: u32 = u32::MAX;
/// IPv6 addresses that a thread remembers: 4,096 of them take 128 KiB.
const V6_BITS: u32 = 12;

/// All records that are kept, by what was asked of which files.
static KEPT: Mutex<Vec<(String, Weak<Records>)>> = Mutex::new(Vec::new());

// === impl Known ===

impl Known {
    /// What an index says of a number.
    fn code(self, number: u32) -> u32 {
        let what = match self {
            Self::Nothing => 1,
            Self::Object { has_ip: false, .. } => 2,
            Self::Object { has_ip: true, .. } => 3,
        };
        number << 2 | what
    }

    #[inline]
    fn of(code: u32) -> Self {
        match code & 3 {
            1 => Self::Nothing,
            what => Self::Object { number: code >> 2, has_ip: what == 3 },
        }
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
        let records = Self::new(room);
        if let Some(known) = known.max_by_key(|known| known.room).filter(|known| known.room >= records.room) {
            return known;
        }
        let records = Arc::new(records);
        kept.push((asked, Arc::downgrade(&records)));
        records
    }

    fn new(room: usize) -> Self {
        // A number must fit above what is known.
        let room = room.div_ceil(2).clamp(1, 1 << 29);
        Self { room, kept: Mutex::new([None, None]) }
    }

    /// What is at hand for a batch of which these databases are asked. `by_address`: the keys are addresses.
    pub(crate) fn begin(&self, numbers: impl Iterator<Item = u32> + Clone, by_address: bool) -> Entries {
        let mut both = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let current = both[0].take().filter(|kept| kept.numbers.iter().copied().eq(numbers.clone()));
        let (kept, before) = match current {
            Some(kept) if !kept.is_full() => (kept, both[1].take()),
            full => {
                let numbers: Vec<u32> = numbers.collect();
                (Arc::new(Kept::new(self.room, numbers, by_address)), full)
            }
        };
        *both = [Some(Arc::clone(&kept)), before.clone()];
        Entries { kept, before, own: Vec::new(), known: HashMap::default() }
    }
}

// === impl Kept ===

impl Kept {
    fn new(room: usize, numbers: Vec<u32>, by_address: bool) -> Self {
        let is_tag = numbers.len() == 1 && !by_address;
        let slots = (room * 2).next_power_of_two().max(WAYS);
        Self {
            numbers,
            shelf: ObjectShelf::new(room),
            used: AtomicU32::new(0),
            index: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            keys: (0..if is_tag { 0 } else { room }).map(|_| OnceLock::new()).collect(),
            parts: OnceLock::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) as usize >= self.shelf.room()
    }

    /// The tag of a key, and the group of the index where it is.
    #[inline]
    fn tag(&self, key: &Key) -> (u32, &[AtomicU64]) {
        let [a, b, c, d] = key.map(u64::from);
        let is_tag = self.keys.is_empty();
        let hash = if is_tag { mix(a) } else { mix(mix(a << 32 | b) ^ (c << 32 | d)) };
        let group = (hash as usize & (self.index.len() - 1)) & !(WAYS - 1);
        (if is_tag { key[0] } else { (hash >> 32) as u32 }, &self.index[group..group + WAYS])
    }

    #[inline]
    fn find(&self, key: &Key) -> Option<Known> {
        let (tag, group) = self.tag(key);
        // The object was put up before what is read here was written.
        let words = group.iter().map(|slot| slot.load(Ordering::Acquire));
        let is_tag = |word: u64| (word >> 32) as u32 == tag;
        let code = if self.keys.is_empty() {
            // All of them, for a branch on which one it is cannot be foretold.
            words.fold(EMPTY, |code, word| if is_tag(word) { word as u32 } else { code })
        } else {
            let mut words = words.take_while(|word| *word as u32 != EMPTY);
            words
                .find(|word| is_tag(*word) && self.has_key(*word as u32 >> 2, key))
                .map_or(EMPTY, |word| word as u32)
        };
        (code != EMPTY).then(|| Known::of(code))
    }

    #[inline]
    fn has_key(&self, number: u32, key: &Key) -> bool {
        self.keys[number as usize].get() == Some(key)
    }

    /// Keeps what is known; gives it back if there is no room.
    fn put(
        &self,
        key: &Key,
        object: Option<(ObjectText, bool)>,
    ) -> Result<Known, Option<(ObjectText, bool)>> {
        if self.is_full() {
            return Err(object);
        }
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        if number as usize >= self.shelf.room() {
            return Err(object);
        }
        let known = match object {
            Some((object, has_ip)) => {
                self.shelf.put(number, object).map_err(|object| Some((object, has_ip)))?;
                Known::Object { number, has_ip }
            }
            None => Known::Nothing,
        };
        self.keys.get(number as usize).into_iter().for_each(|place| place.set(*key).unwrap_or_default());
        let (tag, group) = self.tag(key);
        let is_free = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) as u32 == EMPTY;
        let slot = group.iter().find(is_free).unwrap_or(&group[number as usize % WAYS]);
        slot.store(u64::from(tag) << 32 | u64::from(known.code(number)), Ordering::Release);
        Ok(known)
    }

    fn parts(&self, number: u32) -> Option<&[NamedPart]> {
        let object = self.shelf.get(number)?;
        let all = self.parts.get_or_init(|| (0..self.shelf.room()).map(|_| OnceLock::new()).collect());
        Some(all.get(number as usize)?.get_or_init(|| parts_of(object)))
    }
}

// === impl Entries ===

impl Entries {
    /// What was worked out for this key.
    #[inline]
    pub(crate) fn find(&self, key: &Key) -> Option<Known> {
        match self.kept.find(key) {
            None if !self.known.is_empty() => self.known.get(key).copied(),
            known => known,
        }
    }

    /// Has what stands on the other shelf of these keys fetched, all at once.
    pub(crate) fn fetch(&self, keys: impl Iterator<Item = Key>) {
        let Some(before) = &self.before else { return };
        let first = |key: Key| match before.find(&key)? {
            Known::Nothing => None,
            Known::Object { number, .. } => before.shelf.get(number)?.as_str().as_bytes().first().copied(),
        };
        std::hint::black_box(keys.filter_map(first).fold(0, |sum: u8, byte| sum ^ byte));
    }

    /// What was worked out for this key some time ago and stands on the other shelf: taken over.
    pub(crate) fn take_over(&mut self, key: &Key) -> Option<Known> {
        let before = self.before.as_ref()?;
        let object = match before.find(key)? {
            Known::Nothing => None,
            Known::Object { number, has_ip } => Some((before.shelf.get(number)?.clone(), has_ip)),
        };
        Some(self.put(key, object))
    }

    /// Keeps an object, and whether the address belongs to it; or that there is nothing to tell.
    pub(crate) fn put(&mut self, key: &Key, object: Option<(ObjectText, bool)>) -> Known {
        let known = match self.kept.put(key, object) {
            Ok(known) => return known,
            Err(None) => Known::Nothing,
            Err(Some((object, has_ip))) => {
                self.own.push(object);
                let number = (self.kept.shelf.room() + self.own.len() - 1) as u32;
                Known::Object { number, has_ip }
            }
        };
        self.known.insert(*key, known);
        known
    }

    /// The shelf that has the objects of the first numbers.
    pub(crate) fn shelf(&self) -> &ObjectShelf {
        &self.kept.shelf
    }

    /// The objects of the numbers behind.
    pub(crate) fn own(&self) -> &[ObjectText] {
        &self.own
    }

    /// The object of a number.
    pub(crate) fn object(&self, number: u32) -> Option<&ObjectText> {
        match (number as usize).checked_sub(self.kept.shelf.room()) {
            None => self.kept.shelf.get(number),
            Some(number) => self.own.get(number),
        }
    }

    /// Its members.
    pub(crate) fn parts(&self, number: u32) -> std::borrow::Cow<'_, [NamedPart]> {
        match self.kept.parts(number) {
            Some(parts) => parts.into(),
            None => self.object(number).map_or_else(Vec::new, |object| parts_of(object).into_vec()).into(),
        }
    }
}

fn parts_of(object: &ObjectText) -> Parts {
    let part = |(name, part): (String, Option<ObjectText>)| {
        let name: Arc<str> = name.into();
        let part = match part {
            Some(object) => Part::Object(object),
            None => Part::Single(object.get(std::slice::from_ref(&name))?),
        };
        Some((name, part))
    };
    object.parts().into_iter().filter_map(part).collect()
}

// === impl V6Places ===

impl V6Places {
    /// These databases are asked: what others said is forgotten.
    pub(crate) fn begin(&mut self, numbers: impl Iterator<Item = u32> + Clone) {
        if !self.numbers.iter().copied().eq(numbers.clone()) {
            self.numbers = numbers.collect();
            self.slots = Box::default();
        }
    }

    /// The places of an address; `find` finds them out if they are not remembered.
    pub(crate) fn of(&mut self, ip: u128, find: impl FnOnce() -> Key) -> Key {
        if self.slots.is_empty() {
            self.slots = vec![(0, [UNWRITTEN; MOST_DATABASES]); 1 << V6_BITS].into();
        }
        let slot = &mut self.slots[(mix(ip as u64 ^ mix((ip >> 64) as u64)) >> (64 - V6_BITS)) as usize];
        if slot.0 != ip || slot.1[0] == UNWRITTEN {
            *slot = (ip, find());
        }
        slot.1
    }
}

/// Spreads bits: the upper half of a product, folded down (the constant is that of splitmix64).
#[inline]
fn mix(bits: u64) -> u64 {
    let product = u128::from(bits) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
