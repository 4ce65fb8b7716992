//! What a row costs in the functions that every flow log passes: `cargo bench --bench hot`.
//!
//! `condition` keeps the lines with OK, `parse` makes fourteen typed columns of them, `encode` writes documents, `ack`
//! is the bookkeeping of a batch from its departure to the position that may be committed. Throughput is rows, so the
//! time of one row is 1 s / `elem/s`; the filters have benches of their own (`cargo bench -p transform-grok`).

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowstone::core::event::{Batch, BitSet, EncodeOptions};
use flowstone::core::{Clock, ComponentId, Kind, Metrics, Transform, TransformCx};
use flowstone::dialect::Condition;
use flowstone::engine::bench::AckBench;
use flowstone_testkit::{batches, cases};
use serde_json::json;

const ROWS: usize = 4096;

/// Lines of the default format, one in twenty without traffic.
fn batch() -> Batch {
    let line = |row: usize| {
        let start = 1_551_002_309 + row / 50;
        let tail = if row.is_multiple_of(20) {
            format!("- - - - - - - {start} {} - NODATA", start + 60)
        } else {
            format!(
                "172.31.{}.{} 203.0.113.{} {} 443 6 {} {} {start} {} {} OK",
                row % 16,
                row % 256,
                row % 251,
                32_768 + row % 28_000,
                1 + row % 300,
                40 + row * 977,
                start + 60,
                if row.is_multiple_of(3) { "REJECT" } else { "ACCEPT" }
            )
        };
        format!("2 123456789010 eni-0a1b2c3d4e5f6{:04x} {tail}", row % 700)
    };
    batches::lines(&(0..ROWS).map(line).collect::<Vec<_>>(), 1_551_002_309_000)
}

fn hot(criterion: &mut Criterion) {
    let id = ComponentId { name: "flow".into(), kind: Kind::Transform, type_name: "vpcflow" };
    let metrics = Metrics::new().component(&id);
    let apply = |transform: &mut Box<dyn Transform>, batch: &mut Batch| {
        transform.apply(batch, &mut TransformCx::new(&metrics, Clock::Fixed(0)));
    };
    let mut lines = batch();
    let (mut transform, _) = cases::build("vpcflow", &json!({})).expect("it is in the default build");
    let mut parsed = lines.share();
    apply(&mut transform, &mut parsed);

    let mut group = criterion.benchmark_group("hot");
    group.throughput(Throughput::Elements(ROWS as u64));

    let condition = Condition::parse(r#""OK" in [message]"#).expect("the seed's condition");
    let all = BitSet::all(ROWS);
    assert_eq!(condition.select(&lines, &all).rows.count(), ROWS - ROWS.div_ceil(20));
    group.bench_function("condition", |b| {
        b.iter(|| condition.select(black_box(&lines), black_box(&all)));
    });

    group.bench_function("parse", |b| {
        b.iter_batched_ref(|| lines.share(), |batch| apply(&mut transform, batch), BatchSize::SmallInput);
    });

    let mut out = Vec::with_capacity(ROWS * 512);
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            let mut rows = parsed.json_rows(EncodeOptions::default());
            for row in 0..ROWS {
                rows.write(row, &mut out);
                out.push(b'\n');
            }
            black_box(&out);
        });
    });
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), ROWS, "a document for each row");
    group.finish();

    let mut group = criterion.benchmark_group("ack");
    for sinks in [1, 3] {
        let mut round = AckBench::new();
        const BATCHES: usize = 64;
        assert_eq!(round.run(BATCHES, sinks), BATCHES, "every batch is settled");
        group.throughput(Throughput::Elements(BATCHES as u64));
        group.bench_function(format!("a batch to {sinks} sinks"), |b| b.iter(|| round.run(BATCHES, sinks)));
    }
    group.finish();
}

criterion_group!(benches, hot);
criterion_main!(benches);
