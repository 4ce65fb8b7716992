//! Tests of [`Lines`]: what a batch holds must not depend on how the stream came in.

#[path = "lines_no_content_tests.rs"]
mod no_content;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::INVALID_UTF8_TAG;
use flowstone_core::event::{Act, Cell, Path, Value, write_json_value};
use flowstone_core::{Clock, ComponentId, Kind, StateDir};

const NOW: i64 = 1_700_000_000_123;

fn cx(max_rows: usize, max_bytes: usize) -> SourceCx {
    let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "test" };
    let state = StateDir::new("unused".into());
    SourceCx { max_rows, max_bytes, clock: Clock::Fixed(NOW), ..SourceCx::alone(id, state) }
}

/// A row as a reader sees it: live rows are their document, others begin with what became of them.
type Seen = (RowId, String);

struct Reading {
    rows: Vec<Seen>,
    /// Start and end of each batch.
    stretches: Vec<(u64, u64)>,
    batches: Vec<Batch>,
}

/// Reads `stream` in parts of these sizes, the last one for all that follows.
fn read(stream: &[u8], parts: &[usize], options: LineOptions, cx: &SourceCx) -> Reading {
    let ids = LineIds::new(7);
    let mut lines = Lines::new(options, 0);
    let mut reading = Reading { rows: Vec::new(), stretches: Vec::new(), batches: Vec::new() };
    let mut rest = stream;
    let mut sizes = parts.iter().chain(std::iter::repeat(parts.last().unwrap_or(&usize::MAX)));
    loop {
        let part = rest.len().min(*sizes.next().unwrap());
        let count = lines.fill(part, |buffer| {
            buffer.extend_from_slice(&rest[..part]);
            Ok(())
        });
        assert_eq!(count.unwrap(), part);
        rest = &rest[part..];
        let ends = rest.is_empty();
        while let Some(mut taken) = lines.batch(cx, "x.log", ends, |offset, line| ids.id(offset, line)) {
            let acts = taken.batch.take_acts();
            let mut fate: BTreeMap<usize, String> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Reject(row, reject) => {
                        fate.insert(row, format!("{}: {} | ", reject.reason, reject.detail));
                    }
                    Act::Discard { reason, rows } => {
                        fate.extend(rows.iter().map(|row| (row, format!("{reason} | "))));
                    }
                    Act::Send { .. } => panic!("lines go nowhere else"),
                }
            }
            for row in 0..taken.batch.len() {
                assert_eq!(taken.batch.is_live(row), !fate.contains_key(&row));
                let mut text = fate.remove(&row).unwrap_or_default().into_bytes();
                write_json_value(&taken.batch.to_value(row), &mut text);
                reading.rows.push((taken.batch.id(row), String::from_utf8(text).unwrap()));
            }
            reading.stretches.push((taken.start, taken.end));
            reading.batches.push(taken.batch);
        }
        if ends {
            return reading;
        }
    }
}

fn text(max_line_bytes: usize) -> LineOptions {
    LineOptions { max_line_bytes, decoding: Decoding::Text }
}

fn json() -> LineOptions {
    LineOptions { max_line_bytes: 1 << 20, decoding: Decoding::Json }
}

fn messages(stream: &[u8], options: LineOptions) -> Vec<String> {
    let reading = read(stream, &[usize::MAX], options, &cx(4096, 1 << 20));
    reading
        .batches
        .iter()
        .flat_map(|batch| (0..batch.len()).map(|row| batch.row(row).str("message").unwrap().to_owned()))
        .collect()
}

#[test]
fn lines_end_at_newlines_and_a_carriage_return_before_one_goes_away() {
    for (stream, expect) in [
        ("", vec![]),
        ("\n", vec![""]),
        ("a", vec!["a"]),
        ("a\nb\n", vec!["a", "b"]),
        ("a\r\n\r\nb\r", vec!["a", "", "b\r"]),
        ("a\rb\n\n\nc", vec!["a\rb", "", "", "c"]),
        ("\r\n\r\n", vec!["", ""]),
    ] {
        assert_eq!(messages(stream.as_bytes(), text(100)), expect, "{stream:?}");
    }
}

#[test]
fn an_event_is_message_and_time_of_reading_and_nothing_else() {
    let reading = read(b"a \"b\"\n", &[usize::MAX], text(100), &cx(10, 1000));
    assert_eq!(reading.rows[0].1, r#"{"message":"a \"b\"","@timestamp":"2023-11-14T22:13:20.123Z"}"#);
}

#[test]
fn an_unfinished_line_waits_for_its_newline_unless_the_stream_ends() {
    let cx = cx(10, 1000);
    let ids = LineIds::new(0);
    let mut lines = Lines::new(text(100), 40);
    let push = |lines: &mut Lines, bytes: &[u8]| {
        lines
            .fill(10, |buffer| {
                buffer.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap()
    };
    let next = |lines: &mut Lines, ends| lines.batch(&cx, "x", ends, |offset, line| ids.id(offset, line));
    push(&mut lines, b"one\ntw");
    let first = next(&mut lines, false).unwrap();
    assert_eq!((first.start, first.end, first.batch.len()), (40, 44, 1));
    assert!(next(&mut lines, false).is_none());
    push(&mut lines, b"o");
    assert!(next(&mut lines, false).is_none());
    assert_eq!((lines.offset(), lines.end()), (44, 47));
    assert_eq!(push(&mut lines, b""), 0);
    let last = next(&mut lines, true).unwrap();
    assert_eq!((last.start, last.end), (44, 47));
    assert_eq!(last.batch.row(0).str("message"), Some("two"));
    assert_eq!(last.batch.id(0), ids.id(44, b"two"));
    assert!(next(&mut lines, true).is_none());
}

#[test]
fn what_was_read_before_an_error_is_kept() {
    let mut lines = Lines::new(text(100), 0);
    let error = lines.fill(10, |buffer| {
        buffer.extend_from_slice(b"a\nb");
        Err(io::Error::other("torn"))
    });
    assert_eq!(error.unwrap_err().to_string(), "torn");
    assert_eq!(lines.end(), 3);
    let taken = lines.batch(&cx(10, 1000), "x", false, |_, line| RowId::of(line)).unwrap();
    assert_eq!(taken.batch.row(0).str("message"), Some("a"));
}

#[test]
fn an_unfinished_line_longer_than_a_batch_asks_for_more_until_it_ends() {
    let stream = [&b"y".repeat(700_000)[..], b"\nz\n"].concat();
    for cx in [cx(2, 1 << 20), cx(4096, 1000)] {
        let mut lines = Lines::new(text(1 << 20), 0);
        let mut rest = &stream[..];
        let mut readings = 0;
        let taken = loop {
            if let Some(taken) = lines.batch(&cx, "x", false, |_, line| RowId::of(line)) {
                break taken;
            }
            let room = lines.room(&cx);
            assert!(room > 0, "{} bytes are no whole line, and nothing is to be read", lines.end());
            let part = rest.len().min(room);
            lines
                .fill(room, |buffer| {
                    buffer.extend_from_slice(&rest[..part]);
                    Ok(())
                })
                .unwrap();
            rest = &rest[part..];
            readings += 1;
        };
        assert_eq!(taken.batch.row(0).str("message").map(str::len), Some(700_000));
        assert!(readings < 10, "{readings} readings");
    }
}

#[test]
fn a_batch_keeps_to_the_limits_but_always_holds_a_line() {
    let stream = "0123456\n".repeat(10);
    for (max_rows, max_bytes, expect) in [
        (4, 1000, vec![(0, 32), (32, 64), (64, 80)]),
        (100, 24, vec![(0, 24), (24, 48), (48, 72), (72, 80)]),
        (100, 25, vec![(0, 24), (24, 48), (48, 72), (72, 80)]),
        (100, 1, (0..10).map(|line| (line * 8, line * 8 + 8)).collect()),
    ] {
        let reading = read(stream.as_bytes(), &[usize::MAX], text(100), &cx(max_rows, max_bytes));
        assert_eq!(reading.stretches, expect, "{max_rows} rows, {max_bytes} bytes");
    }
}

#[test]
fn a_line_over_the_limit_is_rejected_with_both_of_its_ends_its_place_and_its_length() {
    let long: String = (0..30_000).map(|number| format!("{number:05} ")).collect();
    let stream = format!("a\n{long}\r\nb\n{long}");
    for parts in [&[usize::MAX][..], &[1000], &[2, 70_000, 3]] {
        let reading = read(stream.as_bytes(), parts, text(70_000), &cx(10, 1 << 20));
        let rows: Vec<&str> = reading.rows.iter().map(|(_, row)| row.as_str()).collect();
        assert_eq!(rows.len(), 4);
        for (row, offset) in [(1, 2), (3, 180_006)] {
            assert!(
                rows[row].starts_with(&format!(
                    "line_too_long: the line at offset {offset} of x.log is 180000 bytes long, more than \
                     `max_line_bytes` allows; its first and last bytes are kept, 48928 between them are not | "
                )),
                "{}",
                &rows[row][..200]
            );
            let kept = format!(
                "{{\"message\":\"{} [... 48928 bytes left out ...] {}\",",
                &long[..LONG_LINE_HEAD],
                &long[long.len() - LONG_LINE_HEAD..]
            );
            assert!(rows[row].contains(&kept));
        }
        assert!(rows[0].starts_with("{\"message\":\"a\"") && rows[2].starts_with("{\"message\":\"b\""));
        // The id is that of the first 64 KiB, as it always was.
        assert_eq!(reading.rows[1].0, LineIds::new(7).id(2, &long.as_bytes()[..LONG_LINE_HEAD]));
    }
}

#[test]
fn junk_before_a_record_does_not_hide_the_record_in_the_rejected_line() {
    for junk in [3, 100, 200_000, 3 << 20] {
        let stream = [&vec![b'#'; junk][..], b"2 the record\n3 another\n"].concat();
        for parts in [&[usize::MAX][..], &[1000]] {
            let reading = read(&stream, parts, text(10), &cx(10, 1 << 20));
            assert!(reading.rows[0].1.starts_with("line_too_long"));
            let message = reading.batches[0].row(0).str("message").unwrap();
            assert!(message.ends_with("the record"), "{junk}: {message}");
        }
    }
}

#[test]
fn a_line_of_exactly_the_limit_is_taken_whole_whatever_its_line_end() {
    for end in ["\n", "\r\n", ""] {
        let stream = format!("{}{end}", "x".repeat(50));
        for part in [1, 50, 51, 52] {
            let reading = read(stream.as_bytes(), &[part], text(50), &cx(10, 1000));
            assert_eq!(reading.rows.len(), 1);
            assert!(reading.rows[0].1.starts_with('{'), "{end:?} {part}: {}", reading.rows[0].1);
        }
        let reading = read(format!("x{stream}").as_bytes(), &[1], text(50), &cx(10, 1000));
        assert!(reading.rows[0].1.starts_with("line_too_long"), "{}", reading.rows[0].1);
    }
}

#[test]
fn skipping_a_long_line_holds_no_more_than_its_ends() {
    let mut lines = Lines::new(text(1 << 20), 0);
    for _ in 0..100 {
        lines
            .fill(1 << 20, |buffer| {
                buffer.resize(buffer.len() + (1 << 20), b'x');
                Ok(())
            })
            .unwrap();
        assert!(lines.batch(&cx(10, 1 << 20), "x", false, |_, line| RowId::of(line)).is_none());
        let held = lines.long.as_ref().map_or(0, |long| long.head.capacity() + long.tail.capacity());
        assert!(lines.rest.len() <= (1 << 20) + 1 && held <= 4 * LONG_LINE_HEAD, "{held} bytes");
    }
    assert!(lines.rest.is_empty());
    let taken = lines.batch(&cx(10, 1 << 20), "x", true, |_, line| RowId::of(line)).unwrap();
    assert_eq!((taken.start, taken.end), (0, 100 << 20));
}

#[test]
fn what_is_no_utf_8_becomes_a_replacement_character_with_a_tag_in_just_that_row() {
    let stream = b"good \xc3\xa9\nbad \xff\xfe!\nagain good\n\xe2\x82";
    let reading = read(stream, &[usize::MAX], text(100), &cx(10, 1000));
    let batch = &reading.batches[0];
    let seen: Vec<(&str, bool)> = (0..batch.len())
        .map(|row| {
            let tags = batch.row(row).cell("tags");
            let tagged = matches!(tags, Cell::Tags(tags) if &*tags[0] == INVALID_UTF8_TAG);
            (batch.row(row).str("message").unwrap(), tagged)
        })
        .collect();
    assert_eq!(
        seen,
        [("good é", false), ("bad \u{fffd}\u{fffd}!", true), ("again good", false), ("\u{fffd}", true)]
    );
    // The id is that of the bytes themselves.
    assert_eq!(batch.id(1), LineIds::new(7).id(8, b"bad \xff\xfe!"));
}

#[test]
fn what_is_kept_of_a_long_line_does_not_end_or_begin_within_a_character() {
    let stream = "é".repeat(40_000);
    for part in [usize::MAX, 999] {
        let reading = read(stream.as_bytes(), &[part], text(1001), &cx(10, 1 << 20));
        let end = "é".repeat(500);
        let kept = format!("{end} [... 78000 bytes left out ...] {end}");
        assert_eq!(reading.batches[0].row(0).str("message"), Some(kept.as_str()));
        assert!(reading.batches[0].row(0).get("tags").is_none());
    }
}

#[test]
fn json_objects_become_fields() {
    let at = "\"@timestamp\":\"2023-11-14T22:13:20.123Z\"";
    for (line, expect) in [
        (r#"{"a":1,"b":{"c":[1,2.5,null]}}"#, format!(r#"{{{at},"a":1,"b":{{"c":[1,2.5,null]}}}}"#)),
        (
            r#"{"@timestamp":"2024-02-29T10:00:00+01:00","t":true}"#,
            r#"{"@timestamp":"2024-02-29T09:00:00.000Z","t":true}"#.to_owned(),
        ),
        (
            r#"{"@timestamp":17,"x":"\u00e9\n"}"#,
            format!(r#"{{{at},"_@timestamp":17,"x":"é\n","tags":["_timestampparsefailure"]}}"#),
        ),
        (r#"{"@metadata":{"k":"v"},"a":""}"#, format!(r#"{{{at},"a":"","@metadata":{{"k":"v"}}}}"#)),
        (r#"{"a":1,"a":"two"}"#, format!(r#"{{{at},"a":"two"}}"#)),
        (
            r#"{"i":-9223372036854775808,"u":18446744073709551615,"n":null}"#,
            format!(r#"{{{at},"i":-9223372036854775808,"u":18446744073709551615,"n":null}}"#),
        ),
        ("{}", format!("{{{at}}}")),
        ("", format!("empty_line | {{{at}}}")),
        (" \t", format!("empty_line | {{{at}}}")),
        ("[1]", format!(r#"json_not_an_object: the line is JSON, but no object | {{{at},"message":"[1]"}}"#)),
        (
            r#"{"@metadata":"x"}"#,
            format!(
                r#"json_metadata: `@metadata` in the line is no object | {{{at},"message":"{{\"@metadata\":\"x\"}}"}}"#
            ),
        ),
    ] {
        let reading = read(line.as_bytes(), &[usize::MAX], json(), &cx(10, 1000));
        let seen = reading.rows.first().map_or("", |(_, row)| row);
        let expect = if line.is_empty() { String::new() } else { expect };
        assert_eq!(seen, expect, "{line}");
    }
}

#[test]
fn a_line_that_is_no_json_is_rejected_whole() {
    for line in [r#"{"a":"b\u00e9\n""#, "{\"a\":01}", "nul", "{\"a\":1} {}", "{\"a\":\"\u{1}\"}"] {
        let stream = format!("{{\"ok\":1}}\n{line}\n{{\"ok\":2}}\n");
        let reading = read(stream.as_bytes(), &[usize::MAX], json(), &cx(10, 1000));
        assert!(
            reading.rows[1].1.starts_with("invalid_json: the line is no JSON: "),
            "{}",
            reading.rows[1].1
        );
        assert_eq!(reading.batches[0].row(1).str("message"), Some(line));
        assert_eq!(reading.batches[0].row(2).i64("ok"), Some(2));
        assert!(reading.batches[0].row(0).get("message").is_none());
    }
}

#[test]
fn a_member_of_several_types_keeps_the_type_of_each_row() {
    let values = ["1", "\"x\"", "null", "2.5", "true", "[{}]", "-7"];
    for first in 0..values.len() {
        let order: Vec<&str> = values.iter().cycle().skip(first).take(values.len()).copied().collect();
        let stream: String = order.iter().map(|value| format!("{{\"v\":{value}}}\n{{}}\n")).collect();
        let reading = read(stream.as_bytes(), &[usize::MAX], json(), &cx(100, 1 << 20));
        let seen: Vec<String> = (0..order.len() * 2)
            .map(|row| {
                let mut out = Vec::new();
                if let Some(value) = reading.batches[0].row(row).get("v") {
                    write_json_value(&value, &mut out);
                }
                String::from_utf8(out).unwrap()
            })
            .collect();
        assert_eq!(seen, order.iter().flat_map(|value| [*value, ""]).collect::<Vec<_>>());
    }
}

#[test]
fn json_that_is_no_utf_8_is_read_with_a_tag() {
    let reading = read(b"{\"a\":\"x\xff\"}\n\xff\n", &[usize::MAX], json(), &cx(10, 1000));
    assert!(
        reading.rows[0].1.ends_with("\"a\":\"x\u{fffd}\",\"tags\":[\"_invalid_utf8\"]}"),
        "{}",
        reading.rows[0].1
    );
    assert!(reading.rows[1].1.starts_with("invalid_json") && reading.rows[1].1.contains("_invalid_utf8"));
}

#[test]
fn json_lines_that_all_have_other_members_make_small_tables() {
    let mut stream = String::new();
    for line in 0..400 {
        let members: Vec<String> = (0..50).map(|member| format!("\"k{line}_{member}\":{member}")).collect();
        stream.push_str(&format!("{{{}}}\n", members.join(",")));
    }
    let reading = read(stream.as_bytes(), &[usize::MAX], json(), &cx(4096, 1 << 20));
    assert_eq!(reading.rows.len(), 400);
    assert!(reading.batches.len() > 1);
    for batch in &reading.batches {
        assert!(batch.len() * batch.schema().fields().len() <= (1 << 18) + batch.len());
    }
    assert_eq!(reading.batches.last().map(|batch| batch.row(batch.len() - 1).i64("k399_49")), Some(Some(49)));
    let ids: std::collections::BTreeSet<RowId> = reading.rows.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 400);
}

#[test]
fn an_object_of_a_hundred_thousand_members_and_a_deep_one_are_read_or_refused_quickly() {
    let wide: Vec<String> = (0..100_000).map(|member| format!("\"{member}\":0")).collect();
    let stream = format!("{{{}}}\n{{\"a\":{}\n", wide.join(","), "[".repeat(500_000));
    let options = LineOptions { max_line_bytes: 4 << 20, decoding: Decoding::Json };
    let reading = read(stream.as_bytes(), &[usize::MAX], options, &cx(10, 4 << 20));
    assert_eq!(reading.batches[0].row(0).i64("99999"), Some(0));
    assert!(reading.rows[1].1.starts_with("invalid_json"));
}

#[test]
fn ids_tell_streams_offsets_and_texts_apart() {
    let base = LineIds::new(1).id(5, b"x");
    assert_eq!(base, LineIds::new(1).id(5, b"x"));
    for other in [
        LineIds::new(2).id(5, b"x"),
        LineIds::new(1 << 64 | 1).id(5, b"x"),
        LineIds::new(1).id(6, b"x"),
        LineIds::new(1).id(5, b"y"),
        LineIds::new(1).id(5, b""),
    ] {
        assert_ne!(base, other);
    }
    let ids = LineIds::new(99);
    let same_line: std::collections::BTreeSet<RowId> =
        (0..100_000).map(|offset| ids.id(offset, b"same")).collect();
    assert_eq!(same_line.len(), 100_000);
}

proptest! {
    /// Parts, limits and batches change nothing: same rows, same ids, and the stretches join without a gap.
    #[test]
    fn rows_and_ids_do_not_depend_on_how_the_stream_is_cut(
        pieces in prop::collection::vec(
            prop_oneof![
                Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"\r".to_vec()), Just(vec![0xff]),
                Just(b"\0".to_vec()), Just(b"\0\0\n".to_vec()), Just(b"\xef\xbb\xbf".to_vec()),
                Just("é".as_bytes().to_vec()), Just(b"{\"a\":1}\n".to_vec()), Just(b"{\"b\":\"c\"}\n".to_vec()),
                "[a-z]{0,30}".prop_map(String::into_bytes),
            ], 0..60),
        parts in prop::collection::vec(1_usize..40, 1..8),
        max_rows in 1_usize..6,
        max_bytes in 1_usize..100,
        max_line_bytes in 1_usize..40,
        as_json in any::<bool>(),
    ) {
        let stream = pieces.concat();
        let options = LineOptions {
            max_line_bytes,
            decoding: if as_json { Decoding::Json } else { Decoding::Text },
        };
        let whole = read(&stream, &[usize::MAX], options, &cx(10_000, 1 << 20));
        let parted = read(&stream, &parts, options, &cx(max_rows, max_bytes));
        prop_assert_eq!(&whole.rows, &parted.rows);
        let mut at = 0;
        for (start, end) in parted.stretches {
            let between = &stream[at as usize..start as usize];
            prop_assert!(between.iter().all(|byte| *byte == 0) || (at == 0 && between.starts_with(BYTE_ORDER_MARK)));
            at = end;
        }
        let behind = &stream[at as usize..];
        prop_assert!(behind.iter().all(|byte| *byte == 0) || (at == 0 && behind.starts_with(BYTE_ORDER_MARK)));

        // Skimming sees the same lines.
        let ids = LineIds::new(7);
        let mut seen = Vec::new();
        let mut lines = Lines::new(options, 0);
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let part = rest.len().min(parts[0]);
            lines.fill(part, |buffer| { buffer.extend_from_slice(&rest[..part]); Ok(()) }).unwrap();
            rest = &rest[part..];
            lines.skim(u64::MAX, rest.is_empty(), |offset, line| seen.push(ids.id(offset, line)));
        }
        prop_assert_eq!(seen, whole.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    }

    /// A reading that begins at the start of any line gives the same rows from there on.
    #[test]
    fn a_reading_from_the_middle_gives_the_same_ids(
        lines_of in prop::collection::vec("[a-z]{0,8}", 1..30),
        from in any::<prop::sample::Index>(),
    ) {
        let stream = lines_of.iter().map(|line| format!("{line}\n")).collect::<String>();
        let first = from.index(lines_of.len());
        let offset: usize = lines_of[..first].iter().map(|line| line.len() + 1).sum();
        let whole = read(stream.as_bytes(), &[usize::MAX], text(100), &cx(1000, 1 << 20));
        let ids = LineIds::new(7);
        let mut lines = Lines::new(text(100), offset as u64);
        lines.fill(stream.len(), |buffer| { buffer.extend_from_slice(&stream.as_bytes()[offset..]); Ok(()) }).unwrap();
        let taken = lines.batch(&cx(1000, 1 << 20), "x", false, |offset, line| ids.id(offset, line)).unwrap();
        for row in 0..taken.batch.len() {
            prop_assert_eq!(taken.batch.id(row), whole.rows[first + row].0);
            prop_assert_eq!(taken.batch.get(row, &flowstone_core::event::Path::message()), Some(Value::from(lines_of[first + row].as_str())));
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p flowstone-lines -- --ignored --nocapture nanoseconds"]
fn nanoseconds_per_line() {
    let line = b"2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK\n";
    let stream: Vec<u8> = line.iter().copied().cycle().take(line.len() * 1_000_000).collect();
    let (cx, ids) = (cx(4096, 1 << 20), LineIds::new(7));
    for _ in 0..5 {
        let mut lines = Lines::new(text(1 << 20), 0);
        let (mut at, mut rows, mut batches) = (0, 0, 0);
        let started = std::time::Instant::now();
        loop {
            let room = lines.room(&cx).min(stream.len() - at);
            if room > 0 {
                lines
                    .fill(room, |buffer| {
                        buffer.extend_from_slice(&stream[at..at + room]);
                        Ok(())
                    })
                    .unwrap();
                at += room;
            }
            let Some(taken) = lines.batch(&cx, "x", at == stream.len(), |offset, line| ids.id(offset, line))
            else {
                break;
            };
            rows += taken.batch.len();
            batches += 1;
        }
        let nanos = started.elapsed().as_nanos() as f64 / rows as f64;
        eprintln!("{rows} lines in {batches} batches: {nanos:.1} ns per line");
    }
}

#[test]
fn a_buffer_is_read_into_again_when_no_batch_holds_it() {
    let options = LineOptions { max_line_bytes: 100, decoding: Decoding::Text };
    let mut lines = Lines::new(options, 0);
    let cx = cx(usize::MAX, usize::MAX);
    let text = "some line\n".repeat(10_000).into_bytes();
    let read = |lines: &mut Lines| {
        let mut place = 0;
        let fill = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(&text);
            place = buffer.as_ptr().addr();
            Ok(())
        };
        assert_eq!(lines.fill(text.len(), fill).unwrap(), text.len());
        let taken = lines.batch(&cx, "test", false, |_, line| RowId::of(line)).unwrap();
        (place, taken)
    };
    let (first, held) = read(&mut lines);
    let (second, taken) = read(&mut lines);
    assert_ne!(first, second, "a batch holds the first one");
    drop(taken);
    let (third, taken) = read(&mut lines);
    assert_eq!(third, second, "nobody holds the second one");
    assert_eq!(held.batch.get(9999, &Path::message()), Some(Value::from("some line")));
    drop((held, taken));
    assert_eq!(lines.full.len(), 2);
    lines.fill(10, |_| Ok(())).unwrap();
    assert!(lines.full.is_empty(), "at its end a stream holds no buffers");
}
