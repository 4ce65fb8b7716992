//! This reader beside `maxminddb`: every address has the same record, whatever database it is looked up in.
//!
//! The databases are some made here, all of the shared folder (`FLOWSTONE_SHARED`), and one of real size
//! (`FLOWSTONE_CITY_DB`). The addresses are random ones and those at the boundaries of networks.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use flowstone_mmdb::{AreaCache, Database, Record};
use flowstone_testkit::mmdb::{Mmdb, city};
use maxminddb::{Reader, WithinOptions};
use serde_json::{Value as Json, json};

/// How many random addresses of each kind are looked up in a database.
const RANDOM: usize = 20_000;
/// A database with more nodes is sampled: the boundaries of about so many networks are looked up.
const MOST_NETWORKS: usize = 20_000;

/// A database, open in both readers.
struct Pair<'a> {
    name: &'a str,
    database: Database,
    reader: Reader<Vec<u8>>,
    areas: AreaCache,
    /// The offsets of the records that were compared.
    compared: HashSet<usize>,
    found: usize,
}

/// What was compared in some databases.
#[derive(Debug, Default)]
struct Tally {
    databases: usize,
    addresses: usize,
    /// Addresses with a record.
    found: usize,
    records: usize,
}

// === impl Pair ===

impl Pair<'_> {
    fn compare_all(&mut self, tally: &mut Tally) {
        let (v4, v6) = addresses(&self.reader);
        // The second time the offsets come out of the cache.
        for _ in 0..2 {
            let mut offsets = vec![u32::MAX; v4.len()];
            self.database.find_v4(&v4, &mut offsets);
            v4.iter().zip(offsets).for_each(|(ip, offset)| self.compare(Ipv4Addr::from(*ip).into(), offset));
        }
        for ip in &v6 {
            self.compare(Ipv6Addr::from(*ip).into(), self.database.find_v6(*ip));
        }
        tally.databases += 1;
        tally.addresses += 2 * v4.len() + v6.len();
        tally.found += self.found;
        tally.records += self.compared.len();
    }

    /// `found` is the offset that this reader found, plus one.
    fn compare(&mut self, ip: IpAddr, found: u32) {
        let name = self.name;
        let offset = found.checked_sub(1);
        // `maxminddb` refuses to look for an IPv6 address in a database without any.
        let result = match self.reader.lookup(ip) {
            Err(_) if ip.is_ipv6() && self.reader.metadata().ip_version == 4 => {
                return assert_eq!(offset, None, "{ip} in {name}");
            }
            result => result.unwrap(),
        };
        assert_eq!(offset.map(|offset| offset as usize), result.offset(), "{ip} in {name}");
        let Some(offset) = offset else { return };
        self.found += 1;
        if self.compared.insert(offset as usize) {
            let record = self.database.record(offset, &mut self.areas).unwrap();
            let json: Json = result.decode().unwrap().unwrap();
            assert_eq!(record, expected(&json), "{ip} in {name}: {json}");
        }
    }
}

/// Addresses to look up: random ones, the first and the last ones of all, and those on both sides of the boundaries of
/// networks, with and without a record.
fn addresses(reader: &Reader<Vec<u8>>) -> (Vec<u32>, Vec<u128>) {
    let mut random = fastrand::Rng::with_seed(11);
    let mut v4 = vec![0, 1, u32::MAX - 1, u32::MAX];
    let mut v6 = vec![0, 1, u128::MAX - 1, u128::MAX];
    v4.extend((0..RANDOM).map(|_| random.u32(..)));
    v6.extend((0..RANDOM).map(|_| random.u128(..)));
    v6.extend((0..RANDOM).map(|_| 0x2000 << 112 | random.u128(..) >> 3));
    let stride = (reader.metadata().node_count as usize / MOST_NETWORKS).max(1);
    let options = WithinOptions::default().include_networks_without_data().include_aliased_networks();
    for network in reader.networks(options).unwrap().step_by(stride) {
        let network = network.unwrap().network().unwrap();
        match (network.ip(), u32::from(network.prefix())) {
            (IpAddr::V4(first), prefix) => {
                let first = u32::from(first);
                let last = first | u32::MAX.checked_shr(prefix).unwrap_or(0);
                v4.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1)]);
            }
            (IpAddr::V6(first), prefix) => {
                let first = u128::from(first);
                let last = first | u128::MAX.checked_shr(prefix).unwrap_or(0);
                v6.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1)]);
            }
        }
    }
    // IPv4 addresses as IPv6 has them: in `::/96`, mapped, and in 6to4.
    for ip in v4.iter().map(|ip| u128::from(*ip)) {
        v6.extend([ip, 0xffff << 32 | ip, 0x2002 << 112 | ip << 80]);
    }
    (v4, v6)
}

/// The record that this reader must make of what `maxminddb` decodes.
fn expected(json: &Json) -> Record<'_> {
    let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| json.pointer(pointer));
    let text =
        |pointers: &[&str]| pointers.iter().find_map(|pointer| json.pointer(pointer).and_then(Json::as_str));
    let float = |pointers: &[&str]| first(pointers).and_then(Json::as_f64);
    let trait_of = |name: &str| first(&[&format!("/traits/{name}"), &format!("/{name}")]);
    let flag =
        |name: &str| trait_of(name).is_some_and(|flag| *flag == true || flag.as_u64().is_some_and(|n| n > 0));
    let words = |name: &str| trait_of(name).and_then(Json::as_str);
    let last = json["subdivisions"].as_array().and_then(|all| all.last());
    let region = |pointer: &str| last.and_then(|last| last.pointer(pointer)).and_then(Json::as_str);
    Record {
        city_name: text(&["/city/names/en", "/city"]),
        continent_code: text(&["/continent/code"]),
        continent_name: text(&["/continent/names/en"]),
        country_code: text(&["/country/iso_code", "/country_code"]),
        country_name: text(&["/country/names/en"]),
        region_code: region("/iso_code"),
        region_name: region("/names/en").or_else(|| text(&["/state1"])),
        postal_code: text(&["/postal/code", "/postcode"]),
        timezone: text(&["/location/time_zone", "/timezone"]),
        latitude: float(&["/location/latitude", "/latitude"]),
        longitude: float(&["/location/longitude", "/longitude"]),
        dma_code: first(&["/location/metro_code"]).and_then(Json::as_u64),
        autonomous_system_number: trait_of("autonomous_system_number").and_then(Json::as_u64),
        autonomous_system_organization: words("autonomous_system_organization"),
        isp: words("isp"),
        organization: words("organization"),
        domain: words("domain"),
        is_anonymous: flag("is_anonymous"),
        is_anonymous_vpn: flag("is_anonymous_vpn"),
        is_hosting_provider: flag("is_hosting_provider"),
        is_public_proxy: flag("is_public_proxy"),
        is_residential_proxy: flag("is_residential_proxy"),
        is_tor_exit_node: flag("is_tor_exit_node"),
    }
}

/// Compares the two readers on a database; gives the error if this reader refuses it.
fn compare(name: &str, bytes: Vec<u8>, tally: &mut Tally) -> Result<(), String> {
    let database = Database::from_bytes(bytes.clone())?;
    let reader = Reader::from_source(bytes).unwrap();
    let (areas, compared) = (AreaCache::default(), HashSet::new());
    Pair { name, database, reader, areas, compared, found: 0 }.compare_all(tally);
    Ok(())
}

#[test]
fn databases_made_here_are_read_as_maxminddb_reads_them() {
    let long = "x".repeat(70_000);
    let odd_records = [
        json!({ "traits": { "isp": long, "domain": "d".repeat(40), "is_anonymous": true, "autonomous_system_number": 4_200_000_000u32 } }),
        json!({ "location": { "latitude": -0.5, "longitude": 7 }, "city": { "names": { "en": "y".repeat(300) } } }),
        json!({ "odd": [[{ "a": [1, 2.5, true, "text"] }]], "isp": "i", "is_tor_exit_node": false }),
        json!({ "city": "Flat", "country_code": "GB", "state1": "England", "postcode": "OX1", "timezone": "Europe/London", "latitude": 51.75, "longitude": -1.25 }),
        json!({}),
    ];
    let mut tally = Tally::default();
    for (bits, v4_only) in [24, 28, 32].into_iter().flat_map(|bits| [(bits, false), (bits, true)]) {
        let mut random = fastrand::Rng::with_seed(bits.into());
        let mut made = Mmdb::new("GeoLite2-City").record_size(bits);
        if v4_only {
            made = made.v4_only();
        }
        for number in 0..400 {
            let record = match odd_records.get(number % 10) {
                Some(odd) => odd.clone(),
                None => {
                    let region = format!("R{}", number % 50);
                    let at = [number as f64 / 10.0, -1.25];
                    city(&format!("City {number}"), ("GB", "United Kingdom"), (&region, "Region"), at)
                }
            };
            if number % 3 == 0 && !v4_only {
                made.insert(&format!("{}/{}", Ipv6Addr::from(random.u128(..)), random.u8(8..=128)), &record);
            } else {
                made.insert(&format!("{}/{}", Ipv4Addr::from(random.u32(..)), random.u8(4..=32)), &record);
            }
        }
        let name = format!("a database of {bits} bits, IPv4 only: {v4_only}");
        compare(&name, made.bytes(), &mut tally).unwrap();
    }
    // More countries and regions than are cached, each in two records.
    let mut shared = Mmdb::new("GeoLite2-City").shared_maps();
    for number in 0..2000u32 {
        let [country, region] = ["C", "R"].map(|kind| format!("{kind}{}", number % 1000));
        let record =
            city(&format!("City {number}"), (&country, "Country"), (&region, "Region"), [1.5, -1.25]);
        shared.insert(&format!("{}/24", Ipv4Addr::from(number << 12)), &record);
    }
    compare("a database of shared maps", shared.bytes(), &mut tally).unwrap();
    // Networks at both ends, and networks of one address.
    let mut ends = Mmdb::new("GeoLite2-City");
    for network in ["0.0.0.0/32", "255.255.255.255/32", "::/128", "::1/128", "8000::/1"] {
        ends.insert(network, &json!({ "city": network }));
    }
    ends.insert(&format!("{}/128", Ipv6Addr::from(u128::MAX)), &json!({ "city": "all ones" }));
    compare("a database of both ends", ends.bytes(), &mut tally).unwrap();
    assert!(tally.databases == 8 && tally.found > 100_000 && tally.records > 2500, "{tally:?}");
}

/// The files of a folder and those below it.
fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push(path);
        }
    }
}

#[test]
fn every_shared_database_is_read_as_maxminddb_reads_it() {
    let shared = std::env::var_os("FLOWSTONE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let folder = shared.join("geo");
    if !folder.is_dir() {
        return eprintln!("left out: MaxMind's test databases are not in {}", folder.display());
    }
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let mut tally = Tally::default();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy();
        let mut bytes = fs::read(&path).unwrap();
        if name.ends_with(".mmdb.gz") {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(&*packed).read_to_end(&mut bytes).unwrap();
        } else if !name.ends_with(".mmdb") {
            continue;
        }
        let is_damaged = ["broken", "invalid"].iter().any(|word| name.to_lowercase().contains(word));
        let compared = compare(&name, bytes, &mut tally);
        assert_eq!(compared.is_err(), is_damaged, "{name}: {compared:?}");
    }
    eprintln!("{tally:?}");
    assert!(tally.databases >= 10 && tally.records > 500, "{tally:?}");
}

#[test]
fn a_database_of_real_size_is_read_as_maxminddb_reads_it() {
    let Some(path) = std::env::var_os("FLOWSTONE_CITY_DB") else {
        return eprintln!("left out: a database of real size (FLOWSTONE_CITY_DB names none)");
    };
    let mut tally = Tally::default();
    compare(&path.to_string_lossy(), fs::read(&path).unwrap(), &mut tally).unwrap();
    eprintln!("{tally:?}");
    assert!(tally.records > 5000, "{tally:?}");
}
