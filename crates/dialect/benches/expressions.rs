//! What conditions, templates and decorations cost per row of a full batch: `cargo bench -p flowstone-dialect`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowstone_core::event::{Batch, BitSet, Column, Page, Path, RowId, StrRef};
use flowstone_core::{Diagnostics, Entry, Node, NodeKind, Span, Table};
use flowstone_dialect::{Condition, Decorations, Template};

const ROWS: usize = 4096;

/// Flow log lines, one in twenty of them NODATA, with a few columns parsed.
fn batch() -> Batch {
    let mut text = String::new();
    let mut lines = Vec::with_capacity(ROWS);
    for row in 0..ROWS {
        let start = text.len();
        let tail = if row % 20 == 0 {
            "- - - - - - - 1551002309 1551002365 - NODATA".to_owned()
        } else {
            format!(
                "172.31.6.{} 203.0.113.{} {} 443 6 {row} {} 1551002309 1551002365 {} OK",
                row % 256,
                row % 251,
                32_768 + row % 28_000,
                row * 40,
                if row % 3 == 0 { "REJECT" } else { "ACCEPT" }
            )
        };
        text.push_str(&format!("2 123456789010 eni-0a1b2c3d4e5f6{:04x} {tail}", row % 7));
        lines.push(StrRef { page: 0, offset: start as u32, len: (text.len() - start) as u32 });
        text.push('\n');
    }
    let ids = (0..ROWS).map(|row| RowId::of(&row.to_be_bytes())).collect();
    let mut batch = Batch::of_lines(Page::of_lines(text), lines, ids, 1_551_002_309_000);
    let words = ["ACCEPT", "REJECT", "ACCEPT"].map(|word| batch.push_text(word));
    batch.put_columns(vec![
        (Path::top("action"), Column::Str((0..ROWS).map(|row| words[row % 3]).collect())),
        (Path::top("srcport"), Column::Int((0..ROWS as i64).map(|row| row * 7 % 65_536).collect())),
    ]);
    batch
}

fn conditions(criterion: &mut Criterion) {
    let batch = batch();
    let rows = BitSet::all(ROWS);
    let mut group = criterion.benchmark_group("condition");
    group.throughput(Throughput::Elements(ROWS as u64));
    for text in [
        r#""OK" in [message]"#,
        r#"[action] == "ACCEPT""#,
        r#"[action] in ["ACCEPT", "REJECT"]"#,
        "[srcport] > 1024",
        r#""OK" in [message] and [action] == "REJECT" and [srcport] != 22"#,
        "[message] =~ / OK$/",
        r#"[missing] == "x""#,
    ] {
        let condition = Condition::parse(text).expect("the condition is valid");
        group.bench_function(text, |bencher| {
            bencher.iter(|| black_box(&condition).select(black_box(&batch), black_box(&rows)));
        });
    }
    group.finish();
}

fn templates(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("template");
    group.throughput(Throughput::Elements(ROWS as u64));
    for text in ["vpcflowlogs-%{+YYYY.MM.dd}", "%{action}-%{srcport}"] {
        let template = Template::parse(text).expect("the template is valid");
        group.bench_function(text, |bencher| {
            let mut out = String::new();
            bencher.iter(|| {
                let bound = template.bind(&batch);
                for row in 0..ROWS {
                    out.clear();
                    bound.render(row, &mut out);
                    black_box(&out);
                }
            });
        });
    }
    group.finish();
}

fn decorations(criterion: &mut Criterion) {
    let text = |text: &str| Node {
        span: Span::default(),
        text_start: None,
        from_variable: false,
        kind: NodeKind::String(text.to_owned()),
    };
    let table = |entries: Vec<(&str, Node)>| Table {
        span: Span::default(),
        entries: entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Entry { key_span: Span::default(), value }))
            .collect(),
    };
    let mut added = text("");
    added.kind = NodeKind::Table(table(vec![("source", text("vpc"))]));
    let options = table(vec![("add_field", added), ("add_tag", text("flow"))]);
    let decorations = Decorations::read(&options, &mut Diagnostics::new()).expect("the options are valid");
    let mut batch = batch();
    let rows = BitSet::all(ROWS);
    let mut group = criterion.benchmark_group("decorations");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("add_field and add_tag, literal", |bencher| {
        bencher.iter_batched(
            || batch.share(),
            |mut batch| decorations.apply(&mut batch, &rows),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, conditions, templates, decorations);
criterion_main!(benches);
