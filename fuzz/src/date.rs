//! Date formats and the texts they read: refused with a place in the format, or an instant or a tag for every text.

use flowstone_core::event::{Batch, parse_iso_millis};
use flowstone_core::{DateFormat, Table, Transform};
use serde_json::Value;
use transform_date as _;

use super::support::{
    apply, assert_place, batch_of, document, in_time, split, table, text, texts, transform,
};

const FAILURE_TAG: &str = "_dateparsefailure";

/// A format, a time zone (none if empty), a language (none if empty) and the texts to read, a line each.
pub fn date(data: &[u8]) {
    let Ok(rest) = std::str::from_utf8(data) else { return };
    let (format, rest) = split(rest, "\n");
    let (zone, rest) = split(rest, "\n");
    let (locale, lines) = split(rest, "\n");
    in_time(|| {
        assert_prints(format);
        read(format, &options(format, zone, locale), &lines.split('\n').collect::<Vec<_>>());
    });
}

fn options(format: &str, zone: &str, locale: &str) -> Table {
    let mut options = vec![
        ("match", texts(["message", format])),
        ("target", text("instant")),
        // The machine's own would make it another test on every machine.
        ("timezone", text(if zone.is_empty() { "UTC" } else { zone })),
    ];
    options.extend((!locale.is_empty()).then(|| ("locale", text(locale))));
    table(options)
}

/// The format as `%{+format}` has it: of every instant there is a text.
fn assert_prints(format: &str) {
    match DateFormat::parse(format) {
        Ok(format) => {
            for millis in
                [0, -1, 1_551_002_309_007, 253_402_300_800_000, -62_135_596_800_001, i64::MAX, i64::MIN + 1]
            {
                format.format(millis, &mut String::new());
            }
            assert!(format.window_ms() > 0);
        }
        Err(error) => assert_place(format, error.start, error.end),
    }
}

fn read(format: &str, options: &Table, lines: &[&str]) {
    let mut date = match transform("date", options) {
        Ok(date) => date,
        Err(errors) => {
            for error in errors.iter().filter(|error| error.option == "match") {
                error.within.iter().for_each(|(start, end)| assert_place(format, *start, *end));
            }
            return;
        }
    };
    let together = instants(&mut *date, lines);
    let mut fork = date.fork();
    for (line, together) in lines.iter().zip(together) {
        assert_eq!(instants(&mut *fork, &[line]), [together], "alone and among others: {line:?}");
        if format == "UNIX"
            && (1..=10).contains(&line.len())
            && line.bytes().all(|byte| byte.is_ascii_digit())
        {
            assert_eq!(together, line.parse().ok().map(|seconds: i64| seconds * 1000), "{line:?}");
        }
        if let ("ISO8601", Some(expect)) = (format, strict_iso(line)) {
            assert_eq!(together, Some(expect), "{line:?}");
        }
    }
}

/// RFC 3339 with everything in it, as core reads it, is ISO 8601.
fn strict_iso(line: &str) -> Option<i64> {
    let is_plain = line.as_bytes().get(10) == Some(&b'T') && line.ends_with('Z');
    parse_iso_millis(line).filter(|_| is_plain)
}

/// The instant of each text in milliseconds; none where the event has the tag instead.
fn instants(date: &mut dyn Transform, lines: &[&str]) -> Vec<Option<i64>> {
    let mut batch: Batch = batch_of(lines);
    apply(date, &mut batch);
    let unmatched = batch.take_unmatched();
    (0..lines.len())
        .map(|row| {
            let document = document(&batch, row);
            assert_eq!(document["message"], lines[row]);
            let is_tagged = document["tags"] == Value::from(vec![FAILURE_TAG]);
            assert_eq!(unmatched.as_ref().is_some_and(|rows| rows.contains(row)), is_tagged);
            let instant = batch.row(row).time("instant");
            assert_eq!(instant.is_none(), is_tagged, "{document}");
            instant
        })
        .collect()
}
