//! What `date` makes of events: which values are dates, what a failure leaves, where the instant goes, what the options
//! change. How single texts are read stands beside the readers; `answers.tsv` holds what Joda-Time says.

use flowstone_testkit::cases::Case;
use serde_json::{Value as Json, json};
use transform_date as _;

/// 2019-02-24T09:58:29Z.
const T: &str = "2019-02-24T09:58:29.000Z";
const BEFORE: &str = "2000-01-01T00:00:00.000Z";

/// Runs `config` on `input` at `clock` in every company that an event may have.
fn check_at(clock: Option<&str>, config: &Json, input: &Json, expect: &Json) {
    let mut case =
        json!({ "id": "date", "config": config, "input": input, "match": "exact", "expect": expect });
    if let Some(clock) = clock {
        case["clock"] = clock.into();
    }
    if let Err(difference) = Case(case).check("date") {
        panic!("{difference}");
    }
}

fn check(config: Json, input: Json, expect: Json) {
    check_at(None, &config, &input, &expect);
}

/// `t` read by `formats` in UTC, and the `@timestamp` that comes out; nothing where no format fits.
fn check_value(formats: &[&str], value: Json, expect: Option<&str>) {
    let words: Vec<&str> = ["t"].iter().chain(formats).copied().collect();
    let config = json!({ "match": words, "timezone": "UTC" });
    let input = json!({ "t": value, "@timestamp": BEFORE });
    match expect {
        Some(instant) => check(config, input, json!({ "t": value, "@timestamp": instant })),
        None => {
            check(config, input, json!({ "t": value, "@timestamp": BEFORE, "tags": ["_dateparsefailure"] }))
        }
    }
}

/// Builds `config`, which must fail, and gives the error.
fn error_of(config: Json) -> String {
    let case = json!({ "id": "error", "config": config, "input": {}, "match": "exact", "expect": {} });
    Case(case).check("date").expect_err("the configuration is refused")
}

#[test]
fn seconds_are_read_from_text_integers_and_floats() {
    for (value, expect) in [
        (json!("1551002309"), Some(T)),
        (json!("1551002309.5"), Some("2019-02-24T09:58:29.500Z")),
        (json!("1551002309.123456"), Some("2019-02-24T09:58:29.123Z")),
        (json!(1_551_002_309), Some(T)),
        (json!(1_551_002_309.75), Some("2019-02-24T09:58:29.750Z")),
        (json!(1_478_207_457.456), Some("2016-11-03T21:10:57.456Z")),
        // A float is cut: 1.001 times 1000 is a little less than 1001.
        (json!(1.001), Some("1970-01-01T00:00:01.000Z")),
        (json!(-1), Some("1969-12-31T23:59:59.000Z")),
        (json!(-1.5), Some("1969-12-31T23:59:58.500Z")),
        (json!("-1.5"), Some("1969-12-31T23:59:59.500Z")),
        (json!("+5"), Some("1970-01-01T00:00:05.000Z")),
        (json!("１５５１００２３０９"), Some(T)),
        (json!(2_147_483_647), Some("2038-01-19T03:14:07.000Z")),
        (json!(2_147_483_648_u64), None),
        (json!(2_147_483_648.0), None),
        (json!("2147483648"), None),
        (json!("1551002309."), None),
        (json!("1551002309 "), None),
        (json!("1e9"), None),
        (json!("0x5"), None),
        (json!("-"), None),
        (json!(""), None),
    ] {
        check_value(&["UNIX"], value, expect);
    }
}

#[test]
fn milliseconds_have_no_upper_limit() {
    for (value, expect) in [
        (json!("1551002309123"), Some("2019-02-24T09:58:29.123Z")),
        (json!(1_551_002_309_123_i64), Some("2019-02-24T09:58:29.123Z")),
        (json!(456.9), Some("1970-01-01T00:00:00.456Z")),
        (json!("99999999999999"), Some("5138-11-16T09:46:39.999Z")),
        (json!("-1"), Some("1969-12-31T23:59:59.999Z")),
        (json!("1551002309.5"), None),
        (json!("x"), None),
    ] {
        check_value(&["UNIX_MS"], value, expect);
    }
}

#[test]
fn only_text_is_a_date_on_the_calendar() {
    for format in ["ISO8601", "yyyy", "TAI64N"] {
        check_value(&[format], json!(2019), None);
        check_value(&[format], json!(2019.5), None);
    }
    check_value(&["TAI64N"], json!("@4000000050d506482dbdf024"), Some("2012-12-22T01:00:46.767Z"));
    check_value(&["TAI64N"], json!("@40000000"), None);
}

#[test]
fn what_is_neither_text_nor_a_number_is_no_date() {
    for format in ["UNIX", "UNIX_MS", "ISO8601", "yyyy", "TAI64N"] {
        for value in [
            json!(true),
            json!([]),
            json!(["1551002309", "2019"]),
            json!([1_551_002_309]),
            json!({ "at": 1 }),
            json!(18_446_744_073_709_551_615_u64),
        ] {
            check_value(&[format], value, None);
        }
    }
    // An instant that is there already is no text either.
    check(
        json!({ "match": ["@timestamp", "ISO8601"], "target": "x" }),
        json!({ "@timestamp": BEFORE }),
        json!({ "@timestamp": BEFORE, "tags": ["_dateparsefailure"] }),
    );
}

#[test]
fn an_event_without_the_field_stays_as_it_is() {
    let config = || json!({ "match": ["t", "UNIX"], "add_tag": ["dated"], "remove_field": ["x"] });
    for input in [json!({ "x": 1 }), json!({ "x": 1, "t": null })] {
        check(config(), input.clone(), input);
    }
    check(json!({ "match": ["[a][b]", "UNIX"] }), json!({ "a": "text" }), json!({ "a": "text" }));
}

#[test]
fn formats_are_tried_in_order_and_the_first_that_fits_counts() {
    for (formats, value, expect) in [
        (&["UNIX_MS", "UNIX"][..], json!("1551002309"), Some("1970-01-18T22:50:02.309Z")),
        (&["UNIX", "UNIX_MS"], json!("1551002309123"), Some("2019-02-24T09:58:29.123Z")),
        (&["UNIX", "ISO8601", "yyyy/MM/dd"], json!("2019/02/24"), Some("2019-02-24T00:00:00.000Z")),
        (&["ISO8601", "UNIX"], json!(1_551_002_309), Some(T)),
        (&["ISO8601", "UNIX"], json!("2019"), Some("2019-01-01T00:00:00.000Z")),
        (&["dd.MM.yyyy", "MM/dd/yyyy"], json!("2019-02-24"), None),
    ] {
        check_value(formats, value, expect);
    }
}

#[test]
fn the_instant_goes_where_target_says() {
    let config = |target: &str| json!({ "match": ["t", "UNIX"], "target": target });
    let t = "1551002309";
    check(config("start_time"), json!({ "t": t }), json!({ "t": t, "start_time": T }));
    check(config("start_time"), json!({ "t": t, "start_time": "old" }), json!({ "t": t, "start_time": T }));
    check(
        config("start_time"),
        json!({ "t": t, "start_time": { "a": 1 } }),
        json!({ "t": t, "start_time": T }),
    );
    check(config("[a][b]"), json!({ "t": t }), json!({ "t": t, "a": { "b": T } }));
    check(config("[a][b]"), json!({ "t": t, "a": { "c": 1 } }), json!({ "t": t, "a": { "c": 1, "b": T } }));
    check(config("t"), json!({ "t": t }), json!({ "t": T }));
    check(config("[@metadata][ts]"), json!({ "t": t }), json!({ "t": t, "@metadata": { "ts": T } }));
    // Text has no fields: Logstash stops there, here it is a failure.
    check(
        config("[a][b]"),
        json!({ "t": t, "a": "text" }),
        json!({ "t": t, "a": "text", "tags": ["_dateparsefailure"] }),
    );
}

#[test]
fn the_source_may_lie_within_objects_and_lists() {
    for source in ["[n][t]", "[l][0]", "[l][-1]"] {
        let input = json!({ "n": { "t": "1551002309" }, "l": ["1551002309"] });
        let mut expect = input.clone();
        expect["@timestamp"] = T.into();
        check(json!({ "match": [source, "UNIX"] }), input, expect);
    }
}

#[test]
fn decorations_come_to_events_that_matched_and_tags_to_those_that_did_not() {
    let config = || {
        json!({
            "match": ["t", "UNIX"], "add_field": { "year": "%{+YYYY}" }, "add_tag": ["dated"],
            "remove_field": ["t"], "remove_tag": ["raw"], "tag_on_failure": ["a", "b", "a"],
        })
    };
    check(
        config(),
        json!({ "t": "1551002309", "tags": ["raw"] }),
        json!({ "@timestamp": T, "year": "2019", "tags": ["dated"] }),
    );
    check(config(), json!({ "t": "x", "tags": ["raw"] }), json!({ "t": "x", "tags": ["raw", "a", "b"] }));
    check(json!({ "match": ["t", "UNIX"], "tag_on_failure": [] }), json!({ "t": "x" }), json!({ "t": "x" }));
}

#[test]
fn a_zone_in_the_text_counts_before_the_option() {
    for (format, text, expect) in [
        ("yyyy-MM-dd HH:mm:ss", "2019-02-24 04:58:29", T),
        ("yyyy-MM-dd HH:mm:ss", "2019-07-24 05:58:29", "2019-07-24T09:58:29.000Z"),
        // When clocks go back, the earlier of two.
        ("yyyy-MM-dd HH:mm:ss", "2019-11-03 01:30:00", "2019-11-03T05:30:00.000Z"),
        ("yyyy-MM-dd HH:mm:ss Z", "2019-02-24 18:58:29 +0900", T),
        ("yyyy-MM-dd HH:mm:ss ZZZ", "2019-02-24 18:58:29 Asia/Tokyo", T),
        ("ISO8601", "2019-02-24T04:58:29", T),
        ("ISO8601", "2019-02-24T09:58:29Z", T),
        ("ISO8601", "2019-02-24 18:58:29,000+0900", T),
        ("UNIX", "1551002309", T),
    ] {
        let config = json!({ "match": ["t", format], "timezone": "America/New_York" });
        check(config, json!({ "t": text }), json!({ "t": text, "@timestamp": expect }));
        let config = json!({ "match": ["t", format], "timezone": "America/%{city}" });
        let input = json!({ "t": text, "city": "New_York" });
        check(config, input, json!({ "t": text, "city": "New_York", "@timestamp": expect }));
    }
    let skipped = json!({ "t": "2019-03-10 02:30:00" });
    check(
        json!({ "match": ["t", "yyyy-MM-dd HH:mm:ss"], "timezone": "America/New_York" }),
        skipped,
        json!({ "t": "2019-03-10 02:30:00", "tags": ["_dateparsefailure"] }),
    );
}

#[test]
fn an_event_that_names_no_known_zone_fails_where_a_zone_is_needed() {
    for tz in [json!("Nowhere/Bad"), json!(""), json!(null), json!(7), json!("asia/tokyo")] {
        for format in ["ISO8601", "yyyy-MM-dd", "yyyy-MM-dd Z"] {
            let config = json!({ "match": ["t", format], "timezone": "%{tz}" });
            let input = json!({ "t": "2019-02-24", "tz": tz });
            check(config, input, json!({ "t": "2019-02-24", "tz": tz, "tags": ["_dateparsefailure"] }));
        }
        let config = json!({ "match": ["t", "UNIX"], "timezone": "%{tz}" });
        check(
            config,
            json!({ "t": 0, "tz": tz }),
            json!({ "t": 0, "tz": tz, "@timestamp": "1970-01-01T00:00:00.000Z" }),
        );
    }
}

#[test]
fn a_date_without_a_year_is_of_the_year_nearest_around_new_year() {
    for (clock, format, text, expect) in [
        ("2019-06-01T00:00:00Z", "MMM dd HH:mm:ss", "Feb 24 09:58:29", Some(T)),
        ("2019-02-01T00:00:00Z", "MMM dd HH:mm:ss", "Feb 24 09:58:29", Some(T)),
        ("2014-01-01T00:30:50Z", "MMM dd HH:mm:ss", "Dec 31 23:59:00", Some("2013-12-31T23:59:00.000Z")),
        ("2013-12-31T15:59:50Z", "MMM dd HH:mm:ss", "Jan 01 01:00:00", Some("2014-01-01T01:00:00.000Z")),
        ("2013-12-31T15:59:50Z", "MMM dd HH:mm:ss", "Dec 01 01:00:00", Some("2013-12-01T01:00:00.000Z")),
        ("2019-06-01T00:00:00Z", "MMM dd HH:mm:ss", "Feb 29 00:00:00", None),
        ("2020-06-01T00:00:00Z", "MMM dd HH:mm:ss", "Feb 29 00:00:00", Some("2020-02-29T00:00:00.000Z")),
        (
            "2026-11-23T12:00:00Z",
            "EEE MMM dd HH:mm:ss",
            "Sun Jun 02 20:38:03",
            Some("2026-06-07T20:38:03.000Z"),
        ),
        ("2019-06-01T00:00:00Z", "HH:mm", "09:58", Some("2019-01-01T09:58:00.000Z")),
        ("2019-06-01T00:00:00Z", "MM-dd Z", "02-24 +0900", Some("2019-02-23T15:00:00.000Z")),
        // The year of the text's own instant is not asked: the month in UTC is December, and it is January.
        ("2019-01-05T00:00:00Z", "MM-dd Z", "01-01 +0900", Some("2018-12-31T15:00:00.000Z")),
    ] {
        let config = json!({ "match": ["t", format], "timezone": "UTC", "locale": "en" });
        let input = json!({ "t": text });
        let expect = match expect {
            Some(instant) => json!({ "t": text, "@timestamp": instant }),
            None => json!({ "t": text, "tags": ["_dateparsefailure"] }),
        };
        check_at(Some(clock), &config, &input, &expect);
    }
}

#[test]
fn month_and_day_names_are_those_of_the_locale() {
    for (locale, format, text, expect) in [
        ("fr-FR", "dd MMMM yyyy", "14 juillet 1789", "1789-07-14T00:00:00.000Z"),
        ("fr_FR", "dd MMM yyyy", "14 juil. 1789", "1789-07-14T00:00:00.000Z"),
        ("de", "EEEE, d. MMMM yyyy", "Sonntag, 24. Februar 2019", "2019-02-24T00:00:00.000Z"),
        ("de-AT", "d. MMMM yyyy", "1. Jänner 2019", "2019-01-01T00:00:00.000Z"),
        ("es", "d 'de' MMMM 'de' yyyy", "24 de febrero de 2019", "2019-02-24T00:00:00.000Z"),
        ("ja", "yyyy年M月d日EEEE", "2019年2月24日日曜日", "2019-02-24T00:00:00.000Z"),
        ("en-GB", "d MMM yyyy", "24 Sept 2019", "2019-09-24T00:00:00.000Z"),
    ] {
        let config = json!({ "match": ["t", format], "timezone": "UTC", "locale": locale });
        check(config, json!({ "t": text }), json!({ "t": text, "@timestamp": expect }));
    }
    // English without the option, and no other language with it.
    check_value(&["dd MMMM yyyy"], json!("01 September 2014"), Some("2014-09-01T00:00:00.000Z"));
    check_value(&["dd MMMM yyyy"], json!("14 juillet 1789"), None);
}

#[test]
fn what_is_wrong_with_the_options_is_said_at_its_place() {
    for (config, expect) in [
        (json!({ "match": [] }), &["a field and at least one format"][..]),
        (json!({ "match": ["t"] }), &["a field and at least one format"]),
        (json!({}), &["option `match` is missing"]),
        (
            json!({ "match": ["t[", "UNIX"] }),
            &["no field reference", "index: Some(0)", "within: Some((1, 2))"],
        ),
        (
            json!({ "match": ["t", "unix"] }),
            &["`u` is no letter", "index: Some(1)", "within: Some((0, 1))", "write `UNIX`"],
        ),
        (
            json!({ "match": ["t", "UNIX", "yyyy-MM-ddTHH:mm"] }),
            &["`T` is no letter", "index: Some(2)", "within: Some((10, 11))"],
        ),
        (json!({ "match": ["t", ""] }), &["empty date pattern", "index: Some(1)"]),
        (
            json!({ "match": ["t", "UNIX"], "timezone": "Asia/Tokio" }),
            &["`Asia/Tokio` is no time zone", "`Asia/Tokyo`"],
        ),
        (json!({ "match": ["t", "UNIX"], "timezone": "" }), &["`` is no time zone", "expected an IANA name"]),
        (json!({ "match": ["t", "UNIX"], "locale": "xx" }), &["no names are known for `xx`"]),
        (json!({ "match": ["t", "UNIX"], "locales": "fr" }), &["unknown option `locales`", "`locale`"]),
    ] {
        let error = error_of(config.clone());
        for part in expect {
            assert!(error.contains(part), "{config}: {error}");
        }
    }
    // Everything at once.
    let error = error_of(json!({ "match": ["[", "n", "Q"], "timezone": "x", "locale": "x" }));
    for part in
        ["no field reference", "`n` is no letter", "`Q` is no letter", "no time zone", "no names are known"]
    {
        assert!(error.contains(part), "{error}");
    }
}
