//! What one event costs, by format: epoch seconds as text, integers and floats, ISO 8601, patterns with and without
//! names, a zone with clock changes, a zone from the event, formats tried in vain, and a missing field. Every date
//! differs from the one before; `one date` is 4096 times the same.
//!
//! `cargo bench -p transform-date`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowstone_core::event::{Batch, Column, Path, RowId, Value};
use flowstone_core::{Clock, ComponentId, Kind, Metrics, TransformCx};
use flowstone_dialect::DateFormat;
use flowstone_testkit::cases::build;
use serde_json::{Value as Json, json};
use transform_date as _;

const ROWS: usize = 4096;
/// 2019-02-24T09:58:29Z.
const START: i64 = 1_551_002_309;

fn seconds(row: usize) -> i64 {
    START + row as i64 * 17
}

/// The instant of a row in a Joda-Time pattern, in UTC.
fn printed(pattern: &str) -> impl Fn(usize) -> Value {
    let format = DateFormat::parse(pattern).expect("a pattern");
    move |row| {
        let mut text = String::new();
        format.format(seconds(row) * 1000 + row as i64 % 1000, &mut text);
        text.into()
    }
}

fn batch(value: &dyn Fn(usize) -> Value) -> Batch {
    let mut batch = Batch::new((0..ROWS as u128).map(RowId::from_u128).collect());
    batch.put_columns(vec![(Path::timestamp(), Column::Const(Value::Time(0)))]);
    for row in 0..ROWS {
        batch.set(row, &Path::top("t"), value(row)).expect("a place");
        batch.set(row, &Path::top("tz"), "America/New_York").expect("a place");
    }
    batch
}

fn bench(criterion: &mut Criterion) {
    const ISO: &str = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";
    const LOCAL: &str = "yyyy-MM-dd HH:mm:ss";
    const HTTP: &str = "dd/MMM/yyyy:HH:mm:ss Z";
    const SYSLOG: &str = "MMM dd HH:mm:ss";
    let text = |row: usize| Value::from(seconds(row).to_string());
    let utc = |formats: &[&str]| {
        let words: Vec<&str> = ["t"].iter().chain(formats).copied().collect();
        json!({ "match": words, "timezone": "UTC" })
    };
    let in_zone = |format: &str, zone: &str| json!({ "match": ["t", format], "timezone": zone });
    let mut group = criterion.benchmark_group("date");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut run = |name: &str, config: Json, value: &dyn Fn(usize) -> Value, failures: usize| {
        let (mut transform, _) = build("date", &config).expect("good options");
        let id = ComponentId { name: "date".into(), kind: Kind::Transform, type_name: "date" };
        let metrics = Metrics::new().component(&id);
        let cx = || TransformCx::new(&metrics, Clock::Fixed(START * 1000));
        let mut events = batch(value);
        let mut probe = events.share();
        transform.apply(&mut probe, &mut cx());
        assert_eq!(probe.take_unmatched().map_or(0, |rows| rows.count()), failures, "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || events.share(),
                |batch| transform.apply(batch, &mut cx()),
                BatchSize::SmallInput,
            );
        });
    };
    run("UNIX, text", utc(&["UNIX"]), &text, 0);
    run("UNIX, integers", utc(&["UNIX"]), &|row| Value::Int(seconds(row)), 0);
    run("UNIX, floats", utc(&["UNIX"]), &|row| Value::Float(seconds(row) as f64 + 0.5), 0);
    run("UNIX, text with a fraction", utc(&["UNIX"]), &|row| format!("{}.123", seconds(row)).into(), 0);
    run("UNIX_MS, text", utc(&["UNIX_MS"]), &|row| format!("{}123", seconds(row)).into(), 0);
    run("TAI64N", utc(&["TAI64N"]), &|row| format!("@{:016x}2dbdf024", (1_u64 << 62) + row as u64).into(), 0);
    run("ISO8601", utc(&["ISO8601"]), &printed(ISO), 0);
    run("ISO8601, New York", in_zone("ISO8601", "America/New_York"), &printed("yyyy-MM-dd'T'HH:mm:ss"), 0);
    run("ISO8601 with a blank", utc(&["ISO8601"]), &printed("yyyy-MM-dd HH:mm:ss,SSS"), 0);
    run(LOCAL, utc(&[LOCAL]), &printed(LOCAL), 0);
    run("yyyy-MM-dd HH:mm:ss, New York", in_zone(LOCAL, "America/New_York"), &printed(LOCAL), 0);
    run("yyyy-MM-dd HH:mm:ss, zone of the event", in_zone(LOCAL, "%{tz}"), &printed(LOCAL), 0);
    run("yyyy-MM-dd HH:mm:ss, one date", utc(&[LOCAL]), &|_| "2019-02-24 09:58:29".into(), 0);
    run(HTTP, utc(&[HTTP]), &printed(HTTP), 0);
    run(SYSLOG, utc(&[SYSLOG]), &printed(SYSLOG), 0);
    run(
        "EEE MMM dd HH:mm:ss yyyy",
        utc(&["EEE MMM dd HH:mm:ss yyyy"]),
        &printed("EEE MMM dd HH:mm:ss yyyy"),
        0,
    );
    run("the last of four formats", utc(&["ISO8601", LOCAL, SYSLOG, HTTP]), &printed(HTTP), 0);
    run("no format fits", utc(&["ISO8601", LOCAL]), &printed(HTTP), ROWS);
    run("no such field", json!({ "match": ["missing", "UNIX"] }), &text, ROWS);
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
