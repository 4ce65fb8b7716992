//! Date formats and the texts they read: refused with a place in the format, or an instant or a tag for every text.

use flowstone_core::event::{Batch, parse_iso_millis};
use flowstone_core::{Table, Transform};
use flowstone_dialect::DateFormat;
use serde_json::Value;
use transform_date as _;

use super::support::{
    apply, assert_place, batch_of, document, flags_and_text, in_time, split, table, text, texts, transform,
};

const FAILURE_TAG: &str = "_dateparsefailure";

/// Zones of every kind: fixed, with a winter and a summer of an hour or half of one, and the one that the text names.
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "+09:00",
    "-00:44:30",
    "%{message}",
];
/// Languages with letters of one byte, of two and of three, right to left, and with a region.
const LOCALES: [&str; 8] = ["en", "fr", "de-AT", "ja", "ar", "ru", "vi", "el"];

/// A byte that chooses a zone and a language, a format up to the end of the line, and the texts to read, a line each.
pub fn date(data: &[u8]) {
    let Some((choice, rest)) = flags_and_text(data) else { return };
    let (format, lines) = split(rest, "\n");
    let zone = ZONES[usize::from(choice & 7)];
    let locale = LOCALES[usize::from(choice >> 3 & 7)];
    let options = table([
        ("match", texts(["message", format])),
        ("target", text("instant")),
        ("timezone", text(zone)),
        ("locale", text(locale)),
    ]);
    in_time(|| {
        assert_prints(format);
        read(format, &options, &lines.split('\n').collect::<Vec<_>>());
    });
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
        if format == "UNIX" && (1..=9).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_digit())
        {
            assert_eq!(together, line.parse().ok().map(|seconds: i64| seconds * 1000), "{line:?}");
        }
        if let ("ISO8601", Some(expect)) = (format, strict_iso(line)) {
            assert_eq!(together, Some(expect), "{line:?}");
        }
    }
}

/// RFC 3339 with everything in it, as core reads it, is ISO 8601, of a fraction up to its nine digits.
fn strict_iso(line: &str) -> Option<i64> {
    let is_plain = line.as_bytes().get(10) == Some(&b'T') && line.ends_with('Z');
    parse_iso_millis(line).filter(|_| is_plain && line.len() <= "2019-02-24T09:58:29.123456789Z".len())
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
