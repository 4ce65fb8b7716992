//! Databases of every make, and damaged ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use serde_json::json;

use flowstone_testkit::mmdb::{Mmdb, city};

use super::*;

fn small() -> Mmdb {
    Mmdb::new("GeoLite2-City")
        .with("1.0.0.0/8", city("Wide", ("GB", "United Kingdom"), ("A", "Alpha"), [1.0, 2.0]))
        .with("1.2.3.0/24", city("Narrow", ("JP", "Japan"), ("B", "Beta"), [3.0, 4.0]))
        .with("2001:db8::/32", city("Six", ("US", "United States"), ("C", "Gamma"), [5.0, 6.0]))
}

fn read(database: &Database, offset: u32) -> Result<Record<'_>, Damaged> {
    database.record(offset, &mut AreaCache::default())
}

fn offset_of(database: &Database, ip: IpAddr) -> Option<u32> {
    match ip {
        IpAddr::V4(ip) => {
            let mut found = [0];
            database.find_v4(&[ip.into()], &mut found);
            found[0].checked_sub(1)
        }
        IpAddr::V6(ip) => database.find_v6(ip.into()).checked_sub(1),
    }
}

fn name_of(database: &Database, ip: &str) -> Option<String> {
    let ip = ip.parse().unwrap();
    let offset = offset_of(database, ip)?;
    read(database, offset).unwrap().city_name.map(str::to_owned)
}

/// The error; a database is not printed.
fn refused(bytes: Vec<u8>) -> String {
    Database::from_bytes(bytes).err().expect("it is refused")
}

#[test]
fn trees_with_numbers_of_each_size_are_read() {
    for bits in [24, 28, 32] {
        let database = Database::from_bytes(small().record_size(bits).bytes()).unwrap();
        for (ip, name) in [
            ("1.2.2.255", Some("Wide")),
            ("1.2.3.4", Some("Narrow")),
            ("1.2.4.0", Some("Wide")),
            ("2.0.0.0", None),
            ("::1.2.3.4", Some("Narrow")),
            ("2001:db8::1", Some("Six")),
            ("2001:db9::1", None),
        ] {
            assert_eq!(name_of(&database, ip).as_deref(), name, "{ip} with {bits} bits");
        }
    }
}

#[test]
fn a_database_of_ipv4_has_no_ipv6() {
    let database = Database::from_bytes(
        Mmdb::new("GeoLite2-City")
            .v4_only()
            .with("1.2.3.0/24", city("Four", ("", ""), ("", ""), [1.0, 2.0]))
            .bytes(),
    )
    .unwrap();
    assert_eq!(name_of(&database, "1.2.3.4").as_deref(), Some("Four"));
    assert_eq!(name_of(&database, "1.2.4.4"), None);
    assert_eq!(name_of(&database, "::1.2.3.4"), None);
    assert_eq!(database.network("1.2.3.4".parse().unwrap()).unwrap(), ("1.2.3.0".parse().unwrap(), 24));
}

#[test]
fn what_is_damaged_is_refused_with_what_is_wrong() {
    let whole = small().bytes();
    let marker = last_position(METADATA_MARKER, &whole).unwrap();
    let changed = |place: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[place..place + bytes.len()].copy_from_slice(bytes);
        file
    };
    let nodes = Database::from_bytes(whole.clone()).unwrap().tree.nodes;
    let with_nodes = |nodes: u32| {
        let place = last_position(b"node_count", &whole).unwrap() + b"node_count".len();
        let length = usize::from(whole[place] & 31);
        changed(place + 1, &nodes.to_be_bytes()[4 - length..])
    };
    for (file, words) in [
        (Vec::new(), "metadata"),
        (b"PK\x03\x04 an archive".to_vec(), "metadata"),
        (whole[..marker].to_vec(), "metadata"),
        (whole[..whole.len() - 5].to_vec(), ""),
        // A node fewer, and a node stands where zeros must; a node more, and data do.
        (with_nodes(nodes - 1), "nodes there is something else"),
        (with_nodes(nodes + 1), "nodes there is something else"),
        // The first node leads to a place far behind the file.
        (changed(0, &[0x7f, 0xff, 0xff]), "leads to no place in the data"),
    ] {
        let error = refused(file);
        assert!(error.contains(words), "{words} does not stand in {error}");
    }
    // A double of three bytes, found because records are tried.
    let place = whole.windows(2).position(|pair| pair == [0x68, 0x3f]).expect("a double");
    let error = refused(changed(place, &[0x63]));
    assert!(error.contains("a record cannot be read"), "{error}");
}

#[test]
fn a_number_that_leads_nowhere_is_found_in_whatever_node_it_is() {
    // By size of a number: how long a node is, and the bits that make each of its numbers too high.
    for (bits, length, too_high) in
        [(24, 6, [(0, 0x80), (3, 0x80)]), (28, 7, [(3, 0x80), (3, 0x08)]), (32, 8, [(0, 0x80), (4, 0x80)])]
    {
        let mut random = fastrand::Rng::with_seed(5);
        let mut made = Mmdb::new("GeoLite2-City").record_size(bits);
        for _ in 0..20 {
            made.insert(&format!("{}/128", Ipv6Addr::from(random.u128(..))), &json!({ "city": "One" }));
        }
        let bytes = made.bytes();
        let nodes = Database::from_bytes(bytes.clone()).unwrap().tree.nodes as usize;
        assert!(nodes > 600);
        for node in [0, 1, 255, 256, 257, 511, 512, nodes - 2, nodes - 1] {
            for (at, bit) in too_high {
                let mut file = bytes.clone();
                file[node * length + at] |= bit;
                let expected = format!("node {node} of its tree leads to no place in the data");
                assert_eq!(refused(file), expected, "{bits} bits");
            }
        }
    }
}

/// All ways at once would take until the end of days.
#[test]
fn a_tree_of_very_many_ways_is_looked_over_at_once() {
    let database = Database::from_bytes(Mmdb::new("GeoLite2-City").ladder(128).bytes()).unwrap();
    assert_eq!(name_of(&database, "1.2.3.4"), None);
    assert_eq!(name_of(&database, "ffff::1"), None);
}

/// 28 times the same list of 28 times the same place with 28 times the same names: half a million values in 418 bytes.
/// Another level or two, and nobody would live to see the end.
#[test]
fn a_record_that_points_at_itself_over_and_over_is_given_up() {
    let mut data = b"\x45names\x4csubdivisions\x41x".to_vec();
    let [names, subdivisions, x] = [0u16, 6, 19];
    let point = |place: u16| [0x20 | (place >> 8) as u8, place as u8];
    let mut level = |head: &[u8], members: &[u16]| {
        let place = data.len() as u16;
        data.extend(head);
        (0..28).flat_map(|_| members).for_each(|member| data.extend(point(*member)));
        place
    };
    let languages = level(&[0xfc], &[x, x]);
    let place = level(&[0xfc], &[names, languages]);
    let list = level(&[28, 4], &[place]);
    let record = level(&[0xfc], &[subdivisions, list]);
    assert_eq!(Record::read(&data, record.into(), &mut AreaCache::default()).err(), Some(Damaged::TooMany));
}

#[test]
fn a_record_of_another_shape_is_refused() {
    for record in [json!("text"), json!({ "city": [1] }), json!({ "location": { "latitude": true } })] {
        let error = refused(Mmdb::new("GeoLite2-City").with("1.0.0.0/8", record.clone()).bytes());
        assert!(error.contains("a record cannot be read"), "{record}: {error}");
    }
    let odd =
        json!({ "unknown": { "deep": [1, "x"] }, "city": { "names": { "de": "x" } }, "subdivisions": [] });
    let database = Database::from_bytes(Mmdb::new("GeoLite2-City").with("1.0.0.0/8", odd).bytes()).unwrap();
    assert_eq!(
        read(&database, offset_of(&database, "1.0.0.0".parse().unwrap()).unwrap()).unwrap(),
        Record::default()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_damaged_byte_makes_nobody_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut file = small().bytes();
        let place = place.index(file.len());
        file[place] = byte;
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(database) = Database::from_bytes(file) {
            for number in 0..=255u8 {
                let addresses = [
                    IpAddr::V4(Ipv4Addr::new(number, 2, 3, 4)),
                    IpAddr::V4(Ipv4Addr::new(1, 2, number, 4)),
                    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, 1)),
                ];
                for ip in addresses {
                    if let Some(offset) = offset_of(&database, ip) {
                        read(&database, offset).ok();
                        database.network(ip).ok();
                    }
                }
            }
        }
    }

    #[test]
    fn the_tree_finds_what_maxminddb_finds(seed in any::<u64>(), bits in prop::sample::select(vec![24, 28, 32])) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut made = Mmdb::new("GeoLite2-City").record_size(bits);
        for number in 0..60 {
            let record = json!({ "city": format!("City {number}") });
            if number % 3 == 0 {
                made.insert(&format!("{}/{}", Ipv6Addr::from(random.u128(..)), random.u8(1..=128)), &record);
            } else {
                made.insert(&format!("{}/{}", Ipv4Addr::from(random.u32(..)), random.u8(1..=32)), &record);
            }
        }
        let mut database = Database::from_bytes(made.bytes()).unwrap();
        database.tree.make_table(if random.bool() { 16 } else { 20 });
        // Some come twice: the second time they are in the cache.
        let addresses: Vec<u32> = (0..300).map(|number| if number % 4 == 3 { 77 } else { random.u32(..) }).collect();
        let expected = |ip: IpAddr| database.reader.lookup(ip).unwrap().offset().map_or(0, |offset| offset as u32 + 1);
        for _ in 0..2 {
            let mut offsets = vec![9; addresses.len()];
            database.find_v4(&addresses, &mut offsets);
            for (address, offset) in addresses.iter().zip(offsets) {
                prop_assert_eq!(offset, expected(IpAddr::V4((*address).into())), "{}", address);
            }
        }
        for _ in 0..100 {
            let address = random.u128(..);
            prop_assert_eq!(database.find_v6(address), expected(IpAddr::V6(address.into())), "{}", address);
        }
    }
}
