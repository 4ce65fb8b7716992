//! Lines of JSON in shapes that a peer chooses: what they take of memory is known, bounded and given back, and their
//! time grows with their length alone.

use std::alloc::System;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flowstone_core::event::{Batch, EncodeOptions, RowId};
use flowstone_core::{Clock, ComponentId, Kind, SourceCx, StateDir};
use flowstone_lines::{Decoding, LineOptions, Lines};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What stays behind when everything is dropped: schemas that are kept for the next batch.
const KEPT: usize = 12 << 20;
/// The table of a batch of several lines, names and values included, with what one line may add to it.
const TABLE: usize = 12 << 20;
/// One line alone: at most so many bytes for each of its own. The worst is a list of numbers of one digit.
const PER_BYTE: usize = 80;

/// The allocator counts for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    // What `realloc` grew or shrank is counted by itself.
    (stats.bytes_allocated as isize - stats.bytes_deallocated as isize) as usize
}

/// Hands each batch of `text` to `each`, with what was held before it was made.
fn batches(text: &str, mut each: impl FnMut(Batch, usize)) {
    let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "test" };
    let cx = SourceCx {
        max_rows: 4096,
        max_bytes: 1 << 20,
        clock: Clock::Fixed(0),
        ..SourceCx::alone(id, StateDir::new("unused".into()))
    };
    let options = LineOptions { max_line_bytes: 4 << 20, decoding: Decoding::Json };
    let mut lines = Lines::new(options, 0);
    let filled = lines.fill(text.len(), |buffer| {
        buffer.extend_from_slice(text.as_bytes());
        Ok(())
    });
    assert_eq!(filled.unwrap(), text.len());
    loop {
        let before = held();
        let Some(taken) = lines.batch(&cx, "x.log", true, |_, _| RowId::default()) else { return };
        each(taken.batch, before);
    }
}

/// A line of `keys` keys of its own.
fn wide(line: usize, keys: usize) -> String {
    let mut text = String::from("{");
    for key in 0..keys {
        write!(text, "{}\"k{line:03}_{key:05}\":1", if key > 0 { "," } else { "" }).unwrap();
    }
    text + "}\n"
}

fn shapes() -> Vec<(&'static str, String)> {
    let member = |value: &str| format!("{{\"a\":{value}}}\n");
    let list = |item: &str, count: usize| member(&format!("[{}]", vec![item; count].join(",")));
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let typed = |line: usize| ["1", "\"x\"", "true", "1.5", "null", "[]", "{\"b\":1}"][line % 7];
    vec![
        ("lines of 70,000 keys of their own", lines(5, &|line| wide(line, 70_000))),
        ("lines of 50 keys of their own", lines(20_000, &|line| wide(line, 50))),
        ("lines of one key of their own", lines(20_000, &|line| format!("{{\"k{line}\":1}}\n"))),
        (
            "lines of one key of their own and any value",
            lines(20_000, &|line| format!("{{\"k{line}\":[]}}\n")),
        ),
        (
            "members that change their types",
            lines(20_000, &|line| {
                let members: Vec<String> =
                    (0..10).map(|key| format!("\"k{key}\":{}", typed(line * 3 + key))).collect();
                format!("{{{}}}\n", members.join(","))
            }),
        ),
        (
            "metadata of keys of their own",
            lines(400, &|line| format!("{{\"@metadata\":{}}}\n", wide(line, 500).trim())),
        ),
        ("a list of 400,000 numbers", list("0", 400_000)),
        ("a list of 100,000 texts", list("\"x\"", 100_000)),
        ("a list of 200,000 lists", list("[]", 200_000)),
        ("a list of 200,000 objects", list("{}", 200_000)),
        ("many small lists", lines(20_000, &|_| list("0", 20))),
        ("objects 1,000 deep", lines(100, &|_| member(&("{\"b\":".repeat(1000) + "1" + &"}".repeat(1000))))),
        ("an object of 60,000 members below", member(wide(0, 60_000).trim())),
        ("a key of 1 MB", format!("{{\"{}\":1}}\n", "k".repeat(1 << 20))),
        ("a text of 1 MB", member(&format!("\"{}\"", "\\n".repeat(1 << 19)))),
        ("a key 100,000 times", format!("{{{}}}\n", vec!["\"a\":1"; 100_000].join(","))),
        (
            "a key 50,000 times with other types",
            format!("{{{}}}\n", vec!["\"a\":1,\"a\":\"x\",\"a\":[1]"; 20_000].join(",")),
        ),
        (
            "100,000 tags",
            format!("{{\"tags\":[{}],\"@timestamp\":\"no\"}}\n", vec!["\"t\""; 100_000].join(",")),
        ),
        ("100,000 bad timestamps", format!("{{{}}}\n", vec!["\"@timestamp\":1"; 50_000].join(","))),
    ]
}

#[test]
fn a_batch_knows_what_it_holds_and_gives_it_back() {
    let _alone = alone();
    for (shape, text) in shapes() {
        let longest = text.lines().map(str::len).max().unwrap_or_default();
        let before_all = held();
        batches(&text, |batch, before| {
            let really = held().saturating_sub(before);
            let counted = batch.memory_bytes();
            assert!(
                really <= counted + counted / 2 + (256 << 10),
                "{shape}: {really} bytes held by {} rows, {counted} counted",
                batch.len()
            );
            let most = if batch.len() == 1 { (PER_BYTE * longest).max(TABLE) } else { TABLE + (1 << 20) };
            assert!(really <= most, "{shape}: {really} bytes held by {} rows", batch.len());
            let mut out = Vec::new();
            let mut rows = batch.json_rows(EncodeOptions::default());
            (0..batch.len()).for_each(|row| rows.write(row, &mut out));
        });
        let kept = held().saturating_sub(before_all);
        assert!(kept <= KEPT, "{shape}: {kept} bytes stay behind");
    }
}

/// The least time of several that a text takes to be read and written again.
fn time_of(text: &str) -> Duration {
    let once = || {
        let begun = Instant::now();
        batches(text, |batch, _| {
            let mut out = Vec::new();
            let mut rows = batch.json_rows(EncodeOptions::default());
            (0..batch.len()).for_each(|row| rows.write(row, &mut out));
            std::hint::black_box(out);
        });
        begun.elapsed()
    };
    (0..7).map(|_| once()).min().unwrap_or_default()
}

#[test]
fn twice_the_keys_take_about_twice_the_time() {
    let _alone = alone();
    let nested = |keys: usize| format!("{{\"a\":{}}}\n", wide(0, keys).trim());
    let metadata = |keys: usize| format!("{{\"@metadata\":{}}}\n", wide(0, keys).trim());
    for (what, shape) in [
        ("keys", &(|keys| wide(0, keys)) as &dyn Fn(usize) -> String),
        ("nested keys", &nested),
        ("metadata", &metadata),
    ] {
        let (half, whole) = (time_of(&shape(20_000)), time_of(&shape(40_000)));
        // Quadratic would be four times; this leaves room for caches and neighbours.
        assert!(
            whole < half * 3 + Duration::from_millis(20),
            "{what}: {half:?} for 20,000, {whole:?} for 40,000"
        );
        assert!(whole < Duration::from_secs(2), "{what}: {whole:?}");
    }
}
