//! What an event costs, its part of the document included: an address that is known from the events before, one that
//! is met for the first time, one of the own network, and the mix of a flow log.
//!
//! `cargo bench -p transform-geoip`; with `FLOWSTONE_CITY_DB=city.mmdb` on a database of real size.
//!
//! On the 144 MB database, on two cores with neighbours (nanoseconds per event, with the document's part): hot 41 + 61,
//! missing 41 + 52, flow log 140 + 78, cold 412 + 92. What two threads cost each other shows in `end_to_end` only.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowstone_core::event::{Batch, Path};
use flowstone_core::{Clock, ComponentId, Kind, Metrics, TransformCx};
use flowstone_testkit::batches;
use flowstone_testkit::cases::build;
use flowstone_testkit::mmdb::{Mmdb, city};
use transform_geoip as _;

const ROWS: usize = 4096;

/// How the addresses of a batch come about.
struct Case {
    name: &'static str,
    address: fn(&mut fastrand::Rng) -> u32,
}

const CASES: [Case; 4] = [
    Case { name: "hot", address: |random| pool(random.u32(0..200)) },
    Case { name: "cold", address: |random| public(random.u32(..)) },
    Case { name: "missing", address: |random| 0x0a00_0000 | random.u32(0..400) },
    Case { name: "flow log", address: flow_log },
];

/// As `../shared/bench/gen` has them: of the two sides of a flow one is always private, and of the other a third is
/// too, half come out of 60,000, a few of them most of the time, and the rest were never seen before.
fn flow_log(random: &mut fastrand::Rng) -> u32 {
    let u = random.f64();
    match random.u32(0..200) {
        0..135 => 0x0a00_0000 | random.u32(0..400),
        135..185 => pool((u * u * u * 60_000.0) as u32),
        _ => public(random.u32(..)),
    }
}

fn pool(number: u32) -> u32 {
    public(number.wrapping_mul(0x9e37_79b9).rotate_left(7) ^ 0x5bd1_e995)
}

/// An address outside of networks that no database knows.
fn public(address: u32) -> u32 {
    match Ipv4Addr::from(address) {
        ip if ip.is_private() || ip.octets()[0] == 0 || ip.octets()[0] >= 224 || ip.octets()[0] == 127 => {
            0x0808_0808
        }
        _ => address,
    }
}

fn batch(case: &Case, random: &mut fastrand::Rng) -> Batch {
    let address = |_| Ipv4Addr::from((case.address)(random)).to_string();
    let mut batch = batches::lines(&(0..ROWS).map(address).collect::<Vec<_>>(), 0);
    batch.move_columns(&Path::message(), &Path::top("srcaddr"), false);
    batch
}

/// A database of a few thousand networks, where none of real size is at hand.
fn small(folder: &std::path::Path) -> PathBuf {
    let mut random = fastrand::Rng::with_seed(1);
    let mut database = Mmdb::new("GeoLite2-City");
    for number in 0..8000u32 {
        let record = city(
            &format!("City {number}"),
            ("GB", "United Kingdom"),
            ("WBK", "West Berkshire"),
            [f64::from(number) / 100.0, -1.25],
        );
        database.insert(&format!("{}/{}", Ipv4Addr::from(random.u32(..)), random.u8(8..24)), &record);
    }
    let path = folder.join("city.mmdb");
    std::fs::write(&path, database.bytes()).expect("room on the disk");
    path
}

fn events(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = std::env::var_os("FLOWSTONE_CITY_DB").map_or_else(|| small(folder.path()), PathBuf::from);
    let config = serde_json::json!({ "source": "srcaddr", "target": "src_geoip", "database": database.display().to_string() });
    let metrics = Metrics::new();
    let id = ComponentId { name: "geoip".into(), kind: Kind::Transform, type_name: "geoip" };
    let component = metrics.component(&id);
    let mut group = c.benchmark_group("geoip");
    group.throughput(Throughput::Elements(ROWS as u64));
    for case in &CASES {
        for is_written in [false, true] {
            let (mut transform, _) = build("geoip", &config).expect("it can be built");
            let mut random = fastrand::Rng::with_seed(7);
            let mut out = Vec::new();
            let name = format!("{}{}", case.name, if is_written { ", written" } else { "" });
            let mut run = |mut batch: Batch| {
                transform.apply(&mut batch, &mut TransformCx::new(&component, Clock::System));
                if is_written {
                    out.clear();
                    let mut rows = batch.json_rows(Default::default());
                    (0..ROWS).for_each(|row| rows.write(row, &mut out));
                }
                batch
            };
            (0..30).for_each(|_| drop(run(batch(case, &mut random))));
            group.bench_function(&name, |bencher| {
                bencher.iter_batched(|| batch(case, &mut random), &mut run, BatchSize::LargeInput)
            });
        }
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
