//! What `mutate` costs per event: whole columns, and row by row under a `when`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowstone_core::event::{Batch, BitSet, Column, Page, Path, RowId, StrRef};
use flowstone_core::{
    Build, BuildCx, Clock, ComponentId, Diagnostics, Kind, Metrics, NodeKind, Transform, TransformCx, find,
};
use flowstone_testkit::cases::node_of;
use serde_json::json;
use transform_mutate as _;

const ROWS: usize = 4096;

fn mutate(c: &mut Criterion) {
    let mut group = c.benchmark_group("mutate");
    group.throughput(Throughput::Elements(ROWS as u64));
    let cases = [
        ("rename", json!({ "rename": { "action": "event" } })),
        ("copy", json!({ "copy": { "action": "event" } })),
        ("replace with text", json!({ "replace": { "action": "ACCEPT" } })),
        ("replace with a template", json!({ "replace": { "action": "%{bytes}" } })),
        ("convert to integer", json!({ "convert": { "bytes": "integer" } })),
        ("lowercase", json!({ "lowercase": ["action"] })),
        ("gsub", json!({ "gsub": ["action", "CC", "cc"] })),
        ("split", json!({ "split": { "action": "C" } })),
    ];
    for (name, config) in cases {
        let transform = build(&config);
        group.bench_function(name, |b| run(b, &*transform, None));
    }
    let transform = build(&json!({ "rename": { "action": "event" } }));
    let mut every_second = BitSet::none(ROWS);
    (0..ROWS).step_by(2).for_each(|row| every_second.insert(row));
    group.bench_function("rename in every second row", |b| run(b, &*transform, Some(&every_second)));
    group.finish();
}

fn run(b: &mut criterion::Bencher<'_>, transform: &dyn Transform, active: Option<&BitSet>) {
    let metrics = Metrics::new();
    let component = metrics.component(&id());
    let mut transform = transform.fork();
    let mut original = flows();
    b.iter_batched(
        || original.share(),
        |mut batch| {
            batch.set_active(active.cloned());
            transform.apply(&mut batch, &mut TransformCx::new(&component, Clock::Fixed(0)));
            black_box(batch)
        },
        BatchSize::LargeInput,
    );
}

/// A batch with two columns of text.
fn flows() -> Batch {
    let mut text = String::new();
    let mut columns = [Vec::new(), Vec::new()];
    for row in 0..ROWS {
        for (column, word) in
            columns.iter_mut().zip([["ACCEPT", "REJECT"][row % 2].to_owned(), (row * 77).to_string()])
        {
            column.push(StrRef { page: 0, offset: text.len() as u32, len: word.len() as u32 });
            text.push_str(&word);
        }
    }
    let mut batch = Batch::new((0..ROWS).map(|row| RowId::of(&row.to_le_bytes())).collect());
    batch.push_page(Page::from_text(text));
    let [action, bytes] = columns;
    batch.put_columns(vec![
        (Path::top("action"), Column::Str(action)),
        (Path::top("bytes"), Column::Str(bytes)),
    ]);
    batch
}

fn id() -> ComponentId {
    ComponentId { name: "mutate".into(), kind: Kind::Transform, type_name: "mutate" }
}

fn build(config: &serde_json::Value) -> Box<dyn Transform> {
    let plugin = find(Kind::Transform, "mutate").expect("the plugin is linked");
    let (Build::Transform(make), NodeKind::Table(table)) = (plugin.build, node_of(config).kind) else {
        panic!("mutate is a transform and its configuration a table")
    };
    let cx = BuildCx { id: id(), data_dir: std::path::PathBuf::new(), clock: Clock::System };
    make(&table, &cx, &mut Diagnostics::new()).expect("it can be built").expect("its options are right")
}

criterion_group!(benches, mutate);
criterion_main!(benches);
