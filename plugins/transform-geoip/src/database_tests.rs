//! Databases of every make, and damaged ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Mmdb, city};

fn small() -> Mmdb {
    Mmdb::new("GeoLite2-City")
        .with("1.0.0.0/8", city("Wide", ("GB", "United Kingdom"), ("A", "Alpha"), [1.0, 2.0]))
        .with("1.2.3.0/24", city("Narrow", ("JP", "Japan"), ("B", "Beta"), [3.0, 4.0]))
        .with("2001:db8::/32", city("Six", ("US", "United States"), ("C", "Gamma"), [5.0, 6.0]))
}

fn name_of(database: &Database, ip: &str) -> Option<String> {
    let ip = ip.parse().unwrap();
    database.find(ip)?;
    database.record(ip).unwrap().city_name.map(str::to_owned)
}

/// The error; a database is not printed.
fn refused(bytes: Vec<u8>) -> String {
    Database::of(bytes).err().expect("it is refused")
}

#[test]
fn trees_with_numbers_of_each_size_are_read() {
    for bits in [24, 28, 32] {
        let database = Database::of(small().record_size(bits).bytes()).unwrap();
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
    let database = Database::of(
        Mmdb::new("GeoLite2-City")
            .v4_only()
            .with("1.2.3.0/24", city("Four", ("", ""), ("", ""), [1.0, 2.0]))
            .bytes(),
    )
    .unwrap();
    assert_eq!(name_of(&database, "1.2.3.4").as_deref(), Some("Four"));
    assert_eq!(name_of(&database, "1.2.4.4"), None);
    assert_eq!(name_of(&database, "::1.2.3.4"), None);
    assert_eq!(database.network("1.2.3.4".parse().unwrap()).unwrap(), "1.2.3.0/24");
}

#[test]
fn what_is_damaged_is_refused_with_what_is_wrong() {
    let whole = small().bytes();
    let marker = last_place_of(METADATA_MARKER, &whole).unwrap();
    let changed = |place: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[place..place + bytes.len()].copy_from_slice(bytes);
        file
    };
    let after = |text: &[u8], bytes: &[u8]| changed(last_place_of(text, &whole).unwrap() + text.len(), bytes);
    let nodes = Database::of(whole.clone()).unwrap().tree.nodes();
    let with_nodes = |nodes: u32| {
        let place = last_place_of(b"node_count", &whole).unwrap() + b"node_count".len();
        let length = usize::from(whole[place] & 31);
        changed(place + 1, &nodes.to_be_bytes()[4 - length..])
    };
    for (file, words) in [
        (Vec::new(), "metadata"),
        (b"PK\x03\x04 an archive".to_vec(), "metadata"),
        (whole[..marker].to_vec(), "metadata"),
        (whole[..whole.len() - 5].to_vec(), ""),
        (after(b"GeoLite2-", b"What"), "its type is \"GeoLite2-What\", expected one of City"),
        // A node fewer, and a node stands where zeros must; a node more, and data do.
        (with_nodes(nodes - 1), "nodes there is something else"),
        (with_nodes(nodes + 1), "nodes there is something else"),
        // The first node leads to a place far behind the file.
        (changed(0, &[0x7f, 0xff, 0xff]), "leads to no place in the data"),
        // The first node leads to itself.
        (changed(0, &[0, 0, 0]), "its tree leads in circles"),
        (Mmdb::new("GeoLite2-City").ladder(129).bytes(), "deeper than an address of 128 bits"),
        (Mmdb::new("GeoLite2-City").v4_only().ladder(33).bytes(), "deeper than an address of 32 bits"),
    ] {
        let error = refused(file);
        assert!(error.contains(words), "{words} does not stand in {error}");
    }
    // A double of three bytes, found because records are tried.
    let place = whole.windows(2).position(|pair| pair == [0x68, 0x3f]).expect("a double");
    let error = refused(changed(place, &[0x63]));
    assert!(error.contains("a record cannot be read"), "{error}");
}

/// All ways at once would take until the end of days.
#[test]
fn a_tree_of_very_many_ways_is_looked_over_at_once() {
    let database = Database::of(Mmdb::new("GeoLite2-City").ladder(128).bytes()).unwrap();
    assert_eq!(name_of(&database, "1.2.3.4"), None);
    assert_eq!(name_of(&database, "ffff::1"), None);
}

#[test]
fn a_record_of_another_shape_is_refused() {
    for record in [json!("text"), json!({ "city": [1] }), json!({ "location": { "latitude": true } })] {
        let error = refused(Mmdb::new("GeoLite2-City").with("1.0.0.0/8", record.clone()).bytes());
        assert!(error.contains("a record cannot be read"), "{record}: {error}");
    }
    let odd =
        json!({ "unknown": { "deep": [1, "x"] }, "city": { "names": { "de": "x" } }, "subdivisions": [] });
    let database = Database::of(Mmdb::new("GeoLite2-City").with("1.0.0.0/8", odd).bytes()).unwrap();
    assert_eq!(database.record("1.0.0.0".parse().unwrap()).unwrap(), Record::default());
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
        if let Ok(database) = Database::of(file) {
            for number in 0..=255u8 {
                let addresses = [
                    IpAddr::V4(Ipv4Addr::new(number, 2, 3, 4)),
                    IpAddr::V4(Ipv4Addr::new(1, 2, number, 4)),
                    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, 1)),
                ];
                for ip in addresses {
                    if database.find(ip).is_some() {
                        database.record(ip).ok();
                        database.network(ip).ok();
                    }
                }
            }
        }
    }

    #[test]
    fn the_tree_finds_what_the_reader_of_records_finds(seed in any::<u64>(), bits in prop::sample::select(vec![24, 28, 32])) {
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
        let database = Database::of(made.bytes()).unwrap();
        for number in 0..300 {
            let ip = if number % 3 == 0 { IpAddr::V6(random.u128(..).into()) } else { IpAddr::V4(random.u32(..).into()) };
            let found = database.records.lookup(ip).unwrap().offset();
            prop_assert_eq!(database.find(ip).map(|place| place as usize), found, "{}", ip);
        }
    }
}
