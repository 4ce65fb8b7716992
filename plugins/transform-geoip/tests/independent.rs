//! Ten thousand addresses, each compared with a rendering that shares nothing with the transform: the whole record as
//! JSON, taken apart by hand. On a database made here, and on the one that `FLOWSTONE_CITY_DB` names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path as FilePath;

use flowstone_core::event::{Batch, Path, RowId};
use flowstone_core::{Clock, ComponentId, Kind, Metrics, TransformCx};
use flowstone_testkit::batches;
use flowstone_testkit::cases::build;
use flowstone_testkit::mmdb::{Mmdb, city, logstash_object};
use serde_json::{Value as Json, json};
use transform_geoip as _;

const ADDRESSES: usize = 10_000;

fn made(folder: &FilePath) -> std::path::PathBuf {
    let mut random = fastrand::Rng::with_seed(4);
    let mut database = Mmdb::new("GeoLite2-City");
    for number in 0..3000 {
        let at =
            [random.i32(-9_000..9_000), random.i32(-18_000..18_000)].map(|value| f64::from(value) / 100.0);
        let mut record = city(
            &format!("Çity \"{}\"", number % 700),
            (["GB", "JP", "US"][number % 3], "Some Country"),
            (&format!("R{}", number % 50), "Region\\one"),
            at,
        );
        let members = record.as_object_mut().unwrap();
        for name in ["city", "subdivisions", "postal", "location", "country", "continent"] {
            if random.u8(0..12) == 0 {
                members.remove(name);
            }
        }
        if let Some(location) = members.get_mut("location").and_then(Json::as_object_mut) {
            for name in ["latitude", "longitude", "time_zone", "metro_code"] {
                if random.u8(0..6) == 0 {
                    location.remove(name);
                }
            }
        }
        if number % 4 == 0 {
            let prefix = Ipv6Addr::from(0x2000 << 112 | random.u128(..) >> 3);
            database.insert(&format!("{prefix}/{}", random.u8(16..64)), &record);
        } else {
            database.insert(&format!("{}/{}", Ipv4Addr::from(random.u32(..)), random.u8(6..30)), &record);
        }
    }
    let path = folder.join("city.mmdb");
    std::fs::write(&path, database.bytes()).unwrap();
    path
}

fn compare(path: &FilePath) {
    let reader = maxminddb::Reader::open_readfile(path).unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    let addresses: Vec<IpAddr> = (0..ADDRESSES)
        .map(|number| match number % 10 {
            0 => IpAddr::V6(Ipv6Addr::from(0x2000 << 112 | random.u128(..) >> 3)),
            1 => IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | random.u32(..) >> 8)),
            _ => IpAddr::V4(random.u32(..).into()),
        })
        .collect();
    let mut known = 0;
    for ecs in [false, true] {
        let version = if ecs { "v1" } else { "disabled" };
        let config = json!({ "source": "ip", "target": "geo", "database": path.display().to_string(), "ecs_compatibility": version, "cache_size": 500 });
        let (mut transform, _) = build("geoip", &config).unwrap();
        let metrics = Metrics::new();
        let id = ComponentId { name: "g".into(), kind: Kind::Transform, type_name: "geoip" };
        let component = metrics.component(&id);
        for addresses in addresses.chunks(3000) {
            let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let mut batch = batches::lines(&texts, 0);
            batch.move_columns(&Path::message(), &Path::top("ip"), false);
            transform.apply(&mut batch, &mut TransformCx::new(&component, Clock::System));
            for (row, ip) in addresses.iter().enumerate() {
                let mut line = Vec::new();
                batch.write_json(row, Default::default(), &mut line);
                let document: Json = serde_json::from_slice(&line).unwrap();
                let record: Option<Json> = reader.lookup(*ip).unwrap().decode().unwrap();
                let expected = record.and_then(|record| logstash_object(&record, *ip, ecs));
                known += usize::from(expected.is_some());
                let tags = match &expected {
                    Some(_) => Json::Null,
                    None => json!(["_geoip_lookup_failure"]),
                };
                assert_eq!(document["geo"], expected.unwrap_or_else(|| json!({})), "{ip}");
                assert_eq!(document["tags"], tags, "{ip}");
            }
        }
        assert!(metrics.render().contains("geoip_lookups_total{"), "look-ups are counted");
    }
    assert!(known > ADDRESSES / 4, "{known} addresses are known");
}

#[test]
fn ten_thousand_addresses_are_what_an_independent_rendering_makes_of_them() {
    let folder = tempfile::tempdir().unwrap();
    compare(&made(folder.path()));
    match std::env::var_os("FLOWSTONE_CITY_DB") {
        Some(path) => compare(FilePath::new(&path)),
        None => eprintln!("left out: a database of real size (FLOWSTONE_CITY_DB names none)"),
    }
}

/// MaxMind's own list of addresses and records.
#[test]
fn records_are_those_that_maxmind_lists() {
    let shared = std::env::var_os("FLOWSTONE_SHARED").map_or_else(
        || FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        std::path::PathBuf::from,
    );
    let list = shared.join("geo/expected.json");
    let Ok(text) = std::fs::read_to_string(&list) else {
        return eprintln!("left out: {} is not there", list.display());
    };
    let list: Json = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (name, database) in list["databases"].as_object().unwrap() {
        let path = shared.join(format!("geo/{name}.mmdb"));
        if !path.is_file() || !name.contains("City") {
            continue;
        }
        let config = json!({ "source": "ip", "target": "geo", "database": path.display().to_string() });
        let (mut transform, _) = build("geoip", &config).unwrap();
        let metrics = Metrics::new();
        let id = ComponentId { name: "g".into(), kind: Kind::Transform, type_name: "geoip" };
        for (ip, found) in database["lookups"].as_object().unwrap() {
            let mut batch = Batch::new(vec![RowId::default()]);
            batch.set(0, &Path::top("ip"), ip.as_str()).unwrap();
            transform.apply(&mut batch, &mut TransformCx::new(&metrics.component(&id), Clock::System));
            let mut line = Vec::new();
            batch.write_json(0, Default::default(), &mut line);
            let document: Json = serde_json::from_slice(&line).unwrap();
            let address: IpAddr = ip.parse().unwrap();
            let expected = logstash_object(&found["record"], address.to_canonical(), false);
            assert_eq!(document["geo"], expected.unwrap_or_else(|| json!({})), "{ip} in {name}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} were compared");
}
