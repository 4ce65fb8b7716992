//! Two caches: objects by the records they were made of, shared by all transforms that ask the same of the same files, and
//! the offsets of the records of IPv6 addresses, for each thread by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use flowstone_core::event::{ObjectArena, ObjectText, Value, prefetch};

/// How many databases one transform may ask.
pub(crate) const MOST_DATABASES: usize = 4;

/// What an object was made of: by database the offset of the record plus one, 0 where there is none; or the address, if
/// the object tells its network.
pub(crate) type Key = [u32; MOST_DATABASES];

/// What is cached for a key: what the databases say, without the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
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

/// A cache of objects in two generations. When the current generation is full, it becomes the previous one, and a new one
/// begins; objects that are asked for again are promoted into it, and the others are dropped with the previous generation.
/// So nothing that a batch refers to changes, and reading takes no lock.
#[derive(Debug)]
pub(crate) struct ObjectCache {
    /// How many objects a generation has room for.
    room: usize,
    /// The current one and the previous one.
    generations: Mutex<[Option<Arc<Generation>>; 2]>,
}

/// An arena of objects, and its index.
#[derive(Debug)]
struct Generation {
    /// The databases that were asked. An offset means nothing in another one.
    numbers: Vec<u32>,
    arena: ObjectArena,
    /// How many numbers were handed out.
    used: AtomicU32,
    /// Set-associative, [`WAYS`] slots to a set: the tag of a key in the upper half, a [`Cached`] as its code in the lower
    /// one. A slot is one number, so any thread may read and write it at any time.
    index: Box<[AtomicU64]>,
    /// The keys by number; empty if the tag is the whole key.
    keys: Box<[OnceLock<Key>]>,
    /// The members of the objects by number, made when they are first asked for.
    parts: OnceLock<Box<[OnceLock<Parts>]>>,
}

/// The objects of one batch: those of the current generation, and with the numbers above, the batch's own, for which there
/// was no room.
pub(crate) struct Entries {
    current: Arc<Generation>,
    previous: Option<Arc<Generation>>,
    own: Vec<ObjectText>,
    /// What is cached for the keys for which there was no room.
    overflow: HashMap<Key, Cached, foldhash::fast::FixedState>,
}

/// A direct-mapped cache of the offsets of records by IPv6 address. A walk to one takes some forty cache misses.
#[derive(Debug, Default)]
pub(crate) struct V6Cache {
    /// Allocated for the first address.
    slots: Box<[(u128, Key)]>,
    /// The databases that were asked.
    numbers: Vec<u32>,
}

/// A set is one cache line.
const WAYS: usize = 8;
/// The code in an empty slot.
const EMPTY: u32 = 0;
/// The first offset in a slot without an address.
const UNUSED: u32 = u32::MAX;
/// The IPv6 cache of a thread has 4,096 slots, which take 128 KiB.
const V6_BITS: u32 = 12;

/// All caches, by what is asked of which files.
static CACHES: Mutex<Vec<(String, Weak<ObjectCache>)>> = Mutex::new(Vec::new());

// === impl Cached ===

impl Cached {
    /// As the lower half of a slot.
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

// === impl ObjectCache ===

impl ObjectCache {
    /// The cache for what is asked, with room for this many objects, or more if another transform wanted more.
    pub(crate) fn shared(asked: String, room: usize) -> Arc<Self> {
        let mut caches = CACHES.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|(_, cache)| cache.strong_count() > 0);
        let same =
            caches.iter().filter(|(other, _)| *other == asked).filter_map(|(_, cache)| cache.upgrade());
        let new = Self::new(room);
        if let Some(open) = same.max_by_key(|open| open.room).filter(|open| open.room >= new.room) {
            return open;
        }
        let new = Arc::new(new);
        caches.push((asked, Arc::downgrade(&new)));
        new
    }

    fn new(room: usize) -> Self {
        // A number must fit into a code.
        let room = room.div_ceil(2).clamp(1, 1 << 29);
        Self { room, generations: Mutex::new([None, None]) }
    }

    /// The objects for a batch for which these databases are asked. `by_address`: the keys are addresses.
    pub(crate) fn begin(&self, numbers: impl Iterator<Item = u32> + Clone, by_address: bool) -> Entries {
        let mut both = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let current = both[0].take().filter(|current| current.numbers.iter().copied().eq(numbers.clone()));
        let (current, previous) = match current {
            Some(current) if !current.is_full() => (current, both[1].take()),
            full => {
                let numbers: Vec<u32> = numbers.collect();
                (Arc::new(Generation::new(self.room, numbers, by_address)), full)
            }
        };
        *both = [Some(Arc::clone(&current)), previous.clone()];
        Entries { current, previous, own: Vec::new(), overflow: HashMap::default() }
    }
}

// === impl Generation ===

impl Generation {
    fn new(room: usize, numbers: Vec<u32>, by_address: bool) -> Self {
        let is_tag = numbers.len() == 1 && !by_address;
        let slots = (room * 2).next_power_of_two().max(WAYS);
        Self {
            numbers,
            arena: ObjectArena::new(room),
            used: AtomicU32::new(0),
            index: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            keys: (0..if is_tag { 0 } else { room }).map(|_| OnceLock::new()).collect(),
            parts: OnceLock::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) as usize >= self.arena.room()
    }

    /// The tag of a key, and its set of the index.
    #[inline]
    fn tag(&self, key: &Key) -> (u32, &[AtomicU64]) {
        let [a, b, c, d] = key.map(u64::from);
        let is_tag = self.keys.is_empty();
        let hash = if is_tag { mix(a) } else { mix(mix(a << 32 | b) ^ (c << 32 | d)) };
        let set = (hash as usize & (self.index.len() - 1)) & !(WAYS - 1);
        (if is_tag { key[0] } else { (hash >> 32) as u32 }, &self.index[set..set + WAYS])
    }

    #[inline]
    fn find(&self, key: &Key) -> Option<Cached> {
        let (tag, set) = self.tag(key);
        // Acquire: the object was put into the arena before its slot was written.
        let words = set.iter().map(|slot| slot.load(Ordering::Acquire));
        let is_tag = |word: u64| (word >> 32) as u32 == tag;
        let code = if self.keys.is_empty() {
            // All slots, for a branch on which one it is mispredicts.
            words.fold(EMPTY, |code, word| if is_tag(word) { word as u32 } else { code })
        } else {
            let mut words = words.take_while(|word| *word as u32 != EMPTY);
            words
                .find(|word| is_tag(*word) && self.has_key(*word as u32 >> 2, key))
                .map_or(EMPTY, |word| word as u32)
        };
        (code != EMPTY).then(|| Cached::of(code))
    }

    #[inline]
    fn has_key(&self, number: u32, key: &Key) -> bool {
        self.keys[number as usize].get() == Some(key)
    }

    /// Caches an object, or that there is none; gives it back if there is no room.
    fn put(
        &self,
        key: &Key,
        object: Option<(ObjectText, bool)>,
    ) -> Result<Cached, Option<(ObjectText, bool)>> {
        if self.is_full() {
            return Err(object);
        }
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        if number as usize >= self.arena.room() {
            return Err(object);
        }
        let cached = match object {
            Some((object, has_ip)) => {
                self.arena.put(number, object).map_err(|object| Some((object, has_ip)))?;
                Cached::Object { number, has_ip }
            }
            None => Cached::Nothing,
        };
        self.keys.get(number as usize).into_iter().for_each(|slot| slot.set(*key).unwrap_or_default());
        let (tag, set) = self.tag(key);
        let is_free = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) as u32 == EMPTY;
        let slot = set.iter().find(is_free).unwrap_or(&set[number as usize % WAYS]);
        slot.store(u64::from(tag) << 32 | u64::from(cached.code(number)), Ordering::Release);
        Ok(cached)
    }

    fn parts(&self, number: u32) -> Option<&[NamedPart]> {
        let object = self.arena.get(number)?;
        let all = self.parts.get_or_init(|| (0..self.arena.room()).map(|_| OnceLock::new()).collect());
        Some(all.get(number as usize)?.get_or_init(|| parts_of(object)))
    }
}

// === impl Entries ===

impl Entries {
    /// What is cached for this key.
    #[inline]
    pub(crate) fn find(&self, key: &Key) -> Option<Cached> {
        match self.current.find(key) {
            None if !self.overflow.is_empty() => self.overflow.get(key).copied(),
            cached => cached,
        }
    }

    /// Prefetches the objects of these keys that are in the previous generation.
    pub(crate) fn prefetch(&self, keys: impl Iterator<Item = Key>) {
        let Some(previous) = &self.previous else { return };
        let first = |key: Key| match previous.find(&key)? {
            Cached::Nothing => None,
            Cached::Object { number, .. } => previous.arena.get(number)?.as_str().as_bytes().first().copied(),
        };
        prefetch(keys.filter_map(first));
    }

    /// Promotes what the previous generation has for this key.
    pub(crate) fn promote(&mut self, key: &Key) -> Option<Cached> {
        let previous = self.previous.as_ref()?;
        let object = match previous.find(key)? {
            Cached::Nothing => None,
            Cached::Object { number, has_ip } => Some((previous.arena.get(number)?.clone(), has_ip)),
        };
        Some(self.put(key, object))
    }

    /// Caches an object, and whether the address belongs to it; or that there is none.
    pub(crate) fn put(&mut self, key: &Key, object: Option<(ObjectText, bool)>) -> Cached {
        let cached = match self.current.put(key, object) {
            Ok(cached) => return cached,
            Err(None) => Cached::Nothing,
            Err(Some((object, has_ip))) => {
                self.own.push(object);
                let number = (self.current.arena.room() + self.own.len() - 1) as u32;
                Cached::Object { number, has_ip }
            }
        };
        self.overflow.insert(*key, cached);
        cached
    }

    /// The arena with the objects of the lowest numbers.
    pub(crate) fn arena(&self) -> &ObjectArena {
        &self.current.arena
    }

    /// The objects with the numbers above.
    pub(crate) fn own(&self) -> &[ObjectText] {
        &self.own
    }

    /// The object of a number.
    pub(crate) fn object(&self, number: u32) -> Option<&ObjectText> {
        match (number as usize).checked_sub(self.current.arena.room()) {
            None => self.current.arena.get(number),
            Some(number) => self.own.get(number),
        }
    }

    /// Its members.
    pub(crate) fn parts(&self, number: u32) -> std::borrow::Cow<'_, [NamedPart]> {
        match self.current.parts(number) {
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

// === impl V6Cache ===

impl V6Cache {
    /// Empties the cache if it is of other databases.
    pub(crate) fn begin(&mut self, numbers: impl Iterator<Item = u32> + Clone) {
        if !self.numbers.iter().copied().eq(numbers.clone()) {
            self.numbers = numbers.collect();
            self.slots = Box::default();
        }
    }

    /// The offsets for an address; `find` looks them up if they are not cached.
    pub(crate) fn get(&mut self, ip: u128, find: impl FnOnce() -> Key) -> Key {
        if self.slots.is_empty() {
            self.slots = vec![(0, [UNUSED; MOST_DATABASES]); 1 << V6_BITS].into();
        }
        let slot = &mut self.slots[(mix(ip as u64 ^ mix((ip >> 64) as u64)) >> (64 - V6_BITS)) as usize];
        if slot.0 != ip || slot.1[0] == UNUSED {
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
