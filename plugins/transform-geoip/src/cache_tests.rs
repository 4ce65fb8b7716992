//! What is cached, and what is dropped.

use super::*;

fn key(offset: u32) -> Key {
    [offset, 0, 0, 0]
}

fn object(number: u32) -> ObjectText {
    ObjectText::of(&[("n".into(), Value::Int(number.into()))].into_iter().collect())
}

/// A batch asks for these; those that nobody knows are worked out.
fn ask(objects: &ObjectCache, keys: impl Iterator<Item = Key>) -> (Entries, Vec<Cached>, usize) {
    let mut entries = objects.begin([7].into_iter(), false);
    let mut made = 0;
    let cached = keys
        .map(|key| {
            entries.find(&key).or_else(|| entries.promote(&key)).unwrap_or_else(|| {
                made += 1;
                entries.put(&key, Some((object(key[0]), key[0] % 2 == 0)))
            })
        })
        .collect();
    (entries, cached, made)
}

#[test]
fn each_key_has_its_object_however_little_room_there_is() {
    for room in [1, 2, 3, 10, 64, 1000] {
        let objects = ObjectCache::new(room);
        for batch in 0..20 {
            let keys: Vec<Key> =
                (0..150).map(|number| key(1 + (batch * 37 + number * number) % 200)).collect();
            let (entries, cached, made) = ask(&objects, keys.iter().copied());
            let mut distinct = keys.clone();
            distinct.sort_unstable();
            distinct.dedup();
            // But for the few whose group of the index is full.
            let most = distinct.len() + distinct.len() / 10;
            assert!(made <= most, "what a batch has worked out it does not work out again: {made}, {room}");
            for (key, cached) in keys.iter().zip(cached) {
                let Cached::Object { number, has_ip } = cached else { panic!("{key:?} is {cached:?}") };
                assert_eq!(has_ip, key[0] % 2 == 0);
                assert_eq!(entries.object(number), Some(&object(key[0])), "{room} {batch}");
                assert_eq!(entries.parts(number).len(), 1);
            }
        }
    }
}

#[test]
fn what_is_asked_for_stays_where_others_come_and_go() {
    let objects = ObjectCache::new(400);
    ask(&objects, (1..=30).map(key));
    for round in 0..100 {
        let others = (0..50).map(|number| key(1000 + round * 50 + number));
        let (_, _, made) = ask(&objects, (1..=30).map(key).chain(others));
        assert_eq!(made, 50, "only what nobody has asked for before, in round {round}");
    }
    let (_, _, made) = ask(&objects, (0..100).map(|number| key(1000 + number)));
    assert_eq!(made, 100, "what nobody asks for is gone");
}

#[test]
fn no_more_is_cached_than_there_is_room_for() {
    let objects = ObjectCache::new(64);
    let (entries, ..) = ask(&objects, (1..1000).map(key));
    assert_eq!((entries.arena().room(), entries.own().len()), (32, 999 - 32));
    ask(&objects, (1..1000).map(key));
    let generations = objects.generations.lock().unwrap();
    let there = |generation: &Option<Arc<Generation>>| {
        let arena = &generation.as_ref().unwrap().arena;
        (0..arena.room() as u32).filter(|slot| arena.get(*slot).is_some()).count()
    };
    assert_eq!(generations.each_ref().map(there), [32, 32]);
}

#[test]
fn that_there_is_no_object_is_cached_too() {
    let objects = ObjectCache::new(64);
    let mut entries = objects.begin([7].into_iter(), false);
    assert_eq!(entries.put(&key(5), None), Cached::Nothing);
    assert_eq!(objects.begin([7].into_iter(), false).find(&key(5)), Some(Cached::Nothing));
}

#[test]
fn keys_of_several_databases_and_of_addresses_are_told_apart() {
    for (numbers, by_address) in [(&[7, 8][..], false), (&[7], true)] {
        let objects = ObjectCache::new(2000);
        let mut entries = objects.begin(numbers.iter().copied(), by_address);
        let keys = (0..10).flat_map(|a| (0..10).flat_map(move |b| (0..10).map(move |d| [a, b, 0, d])));
        for (number, key) in keys.clone().enumerate() {
            entries.put(&key, Some((object(number as u32), true)));
        }
        let mut lost = 0;
        for (number, key) in keys.enumerate() {
            match entries.find(&key) {
                Some(Cached::Object { number: found, .. }) => {
                    assert_eq!(entries.object(found), Some(&object(number as u32)));
                }
                Some(Cached::Nothing) => panic!("{key:?} is something"),
                None => lost += 1,
            }
        }
        assert!(lost < 100, "{lost} of 1000 are not found again");
    }
}

#[test]
fn records_of_other_databases_are_forgotten() {
    let objects = ObjectCache::new(64);
    objects.begin([7].into_iter(), false).put(&key(5), Some((object(5), true)));
    assert!(objects.begin([7].into_iter(), false).find(&key(5)).is_some());
    let mut entries = objects.begin([8].into_iter(), false);
    assert_eq!((entries.find(&key(5)), entries.promote(&key(5))), (None, None));
}

#[test]
fn those_who_ask_the_same_share_a_cache() {
    let one = ObjectCache::shared("the same".to_owned(), 100);
    assert!(Arc::ptr_eq(&one, &ObjectCache::shared("the same".to_owned(), 100)));
    assert!(!Arc::ptr_eq(&one, &ObjectCache::shared("another".to_owned(), 100)));
    let more = ObjectCache::shared("the same".to_owned(), 1000);
    assert!(more.room > one.room);
    assert!(Arc::ptr_eq(&more, &ObjectCache::shared("the same".to_owned(), 100)));
}

#[test]
fn offsets_of_addresses_are_looked_up_once_until_other_databases_are_asked() {
    assert_eq!(size_of::<(u128, Key)>(), 32, "two to a cache line");
    let mut cache = V6Cache::default();
    let mut found = 0;
    for (numbers, expected) in [([1], 2), ([1], 2), ([2], 4)] {
        cache.begin(numbers.into_iter());
        for ip in [0, 1 << 64] {
            let offsets = cache.get(ip, || {
                found += 1;
                key(found)
            });
            assert!(offsets[0] > 0);
        }
        assert_eq!(found, expected, "{numbers:?}");
    }
}
