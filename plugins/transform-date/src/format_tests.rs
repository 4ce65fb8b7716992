//! The readers against Joda-Time's own answers, against core's printing of the same patterns, and against jiff.

use flowstone_core::event::format_iso_millis;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use proptest::prelude::*;

use super::*;
use crate::calendar::Field;

/// 2019-02-24T09:58:29Z.
const NOW: i64 = 1_551_002_309_000;

/// The instant of `text` by `format` in `zone`, in English.
fn read(format: &str, zone: &Zone, text: &str) -> Option<i64> {
    let Ok(Format::Calendar(format)) = Format::parse(format) else {
        panic!("{format} is a date on the calendar")
    };
    let names = LocaleNames::english();
    let around = Around { names: &names, zone, now: Now::at(NOW, &Zone::UTC) };
    format.instant(text, around, &mut Bucket::default())
}

#[test]
fn every_answer_is_that_of_joda_time() {
    let mut count = 0;
    for line in include_str!("../tests/answers.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [pattern, locale, zone, now, text, answer] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let Ok(Format::Calendar(format)) = Format::parse(pattern) else { panic!("{pattern}") };
        let names = LocaleNames::of(locale).unwrap();
        let now = Now::at(now.parse().unwrap(), &Zone::UTC);
        let instant = Zone::find(zone).and_then(|zone| {
            format.instant(text, Around { names: &names, zone: &zone, now }, &mut Bucket::default())
        });
        assert_eq!(instant.map_or("-".to_owned(), |millis| millis.to_string()), answer, "{line}");
        count += 1;
    }
    assert!(count > 500, "{count} answers");
}

/// Days, in patterns that say all of it; without a `y` the year would be guessed, as Logstash does.
const DATES: [&str; 10] = [
    "yyyy-MM-dd",
    "dd/MMM/yyyy",
    "EEEE, d MMMM yyyy",
    "MM/dd/yy",
    "yyyyMMdd",
    "YYYY.M.d",
    "yyyy-DDD",
    "xxxx'y'-'W'ww-e",
    "EEE MMM dd yyyy G",
    "'y'xx ww E",
];
/// Times of day.
const TIMES: [&str; 8] = [
    "HH:mm:ss.SSS",
    "HH:mm:ss",
    "h:mm:ss a",
    "K:mm a",
    "kk:mm:ss,S",
    "HHmmss",
    "H 'o''clock'",
    "hh:mm:ss.SSSSSS aa",
];
const ZONES: [&str; 5] = ["", " Z", "ZZ", " ZZZ", " z"];

proptest! {
    #[test]
    fn a_printed_date_is_read_as_the_instant_it_was(
        // 1971 to 2037: in 2019 two digits of a year are enough.
        millis in 31_536_000_000_i64..2_145_916_800_000,
        (date, time, zone) in (0..DATES.len(), 0..TIMES.len(), 0..ZONES.len()),
    ) {
        let pattern = format!("{} {}{}", DATES[date], TIMES[time], ZONES[zone]);
        let format = DateFormat::parse(&pattern).unwrap();
        let mut text = String::new();
        format.format(millis, &mut text);
        let cut = match TIMES[time] {
            "kk:mm:ss,S" => 100,
            "H 'o''clock'" => 3_600_000,
            "K:mm a" => 60_000,
            time if time.contains("SSS") => 1,
            _ => 1000,
        };
        prop_assert_eq!(read(&pattern, &Zone::UTC, &text), Some(millis - millis % cut), "{} by {}", text, pattern);
    }

    #[test]
    fn a_local_time_is_the_instant_that_jiff_says(
        seconds in -4_000_000_000_i64..8_000_000_000,
        name in prop::sample::select(vec![
            "America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca",
            "America/Sao_Paulo", "Pacific/Apia", "Antarctica/Troll", "Europe/Dublin",
        ]),
    ) {
        let text = &format_iso_millis(seconds * 1000)[..19];
        let civil: DateTime = text.parse().unwrap();
        let zone = TimeZone::get(name).unwrap();
        let expect = match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                Some((seconds - i64::from(offset.seconds())) * 1000)
            }
            AmbiguousOffset::Gap { .. } => None,
        };
        let zone = Zone::find(name).unwrap();
        prop_assert_eq!(read("ISO8601", &zone, text), expect);
        prop_assert_eq!(read("yyyy-MM-dd'T'HH:mm:ss", &zone, text), expect);
    }

    #[test]
    fn what_rfc_3339_says_iso_8601_says_too(millis in -60_000_000_000_000_i64..250_000_000_000_000, minutes in -1080..1080_i64) {
        let local = format_iso_millis(millis + minutes * 60_000);
        let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
        let text = format!("{}{sign}{:02}:{:02}", local.trim_end_matches('Z'), minutes / 60, minutes % 60);
        prop_assert_eq!(read("ISO8601", &Zone::UTC, &text), Some(millis), "{}", text);
        prop_assert_eq!(read("yyyy-MM-dd'T'HH:mm:ss.SSSZ", &Zone::UTC, &text), Some(millis), "{}", text);
    }

    #[test]
    fn no_pattern_and_no_text_makes_it_panic(
        pattern in "[GCYxwyeEDMdaKhHkmsSzZ]{1,9}[-T:. ']?[GCYxwyeEDMdaKhHkmsSzZ]{0,9}",
        text in "[-+0-9:. TZaeF]{0,20}|.{0,12}",
    ) {
        for format in [&*pattern, "ISO8601"] {
            if let Ok(Format::Calendar(format)) = Format::parse(format) {
                let (names, zone) = (LocaleNames::english(), Zone::find("America/New_York").unwrap());
                let around = Around { names: &names, zone: &zone, now: Now::at(NOW, &zone) };
                format.instant(&text, around, &mut Bucket::default());
            }
        }
        for format in [Format::Unix, Format::UnixMs, Format::Tai64n] {
            format.of_text(&text, |_| None);
        }
    }

    #[test]
    fn a_plain_date_is_what_setting_field_by_field_makes(
        fields in prop::collection::vec((0..9_usize, -2..62_i64), 0..8),
    ) {
        const FIELDS: [Field; 9] = [
            Field::Year, Field::YearOfEra, Field::Month, Field::Day, Field::Weekday, Field::Hour, Field::Minute,
            Field::Halfday, Field::ClockHourOfHalfday,
        ];
        let mut bucket = Bucket::default();
        for (field, value) in &fields {
            // Most values are in their range.
            let value = if *value < 0 { *value } else { value % [62, 62, 13, 29, 8, 25, 60, 2, 13][*field] };
            bucket.save(FIELDS[*field], value);
        }
        // Changes nothing but the way that is taken.
        let mut by_fields = bucket.clone();
        by_fields.save(Field::MillisOfMinute, 0);
        prop_assert_eq!(bucket.local(2016), by_fields.local(2016), "{:?}", fields);
    }
}
