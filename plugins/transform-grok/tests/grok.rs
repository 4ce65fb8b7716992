//! What grok makes of events: where captures go, what a failure leaves, what the options change. The patterns of the
//! library and of the regular expressions have recorded cases (`tests/conformance`).

use std::time::{Duration, Instant};

use flowstone_testkit::cases::Case;
use serde_json::{Value as Json, json};
use transform_grok as _;

/// Runs `config` on `input` in every company that an event may have.
fn check(config: Json, input: Json, expect: Json) {
    let case = json!({ "id": "grok", "config": config, "input": input, "match": "exact", "expect": expect });
    if let Err(difference) = Case(case).check("grok") {
        panic!("{difference}");
    }
}

/// Builds `config`, which must fail, and gives the error.
fn error_of(config: Json) -> String {
    let case = json!({ "id": "error", "config": config, "input": {}, "match": "exact", "expect": {} });
    Case(case).check("grok").expect_err("the configuration is refused")
}

#[test]
fn a_capture_goes_where_nothing_is_or_beside_text_and_lists() {
    let config = |overwrite: &[&str]| json!({ "match": { "m": "%{WORD:f}" }, "overwrite": overwrite });
    for (existing, beside) in [
        (json!(null), json!("new")),
        (json!("old"), json!(["old", "new"])),
        (json!(""), json!(["", "new"])),
        (json!(["a", 1]), json!(["a", 1, "new"])),
        (json!([]), json!(["new"])),
        // What is neither text nor a list keeps its place.
        (json!(7), json!(7)),
        (json!(7.5), json!(7.5)),
        (json!(false), json!(false)),
        (json!({ "k": 1 }), json!({ "k": 1 })),
    ] {
        let input = json!({ "m": "new", "f": existing });
        check(config(&[]), input.clone(), json!({ "m": "new", "f": beside }));
        check(config(&["f"]), input, json!({ "m": "new", "f": "new" }));
    }
    check(config(&["m"]), json!({ "m": "new" }), json!({ "m": "new", "f": "new" }));
}

#[test]
fn a_capture_finds_its_place_below_objects_and_never_below_text() {
    let config = |reference: &str| json!({ "match": { "m": format!("%{{WORD:{reference}}}") } });
    check(config("[a][b]"), json!({ "m": "x" }), json!({ "m": "x", "a": { "b": "x" } }));
    check(
        config("[a][b]"),
        json!({ "m": "x", "a": { "c": 1 } }),
        json!({ "m": "x", "a": { "c": 1, "b": "x" } }),
    );
    check(config("a.b"), json!({ "m": "x" }), json!({ "m": "x", "a.b": "x" }));
    check(config("m"), json!({ "m": "x y" }), json!({ "m": ["x y", "x"] }));
    check(config("tags"), json!({ "m": "x", "tags": ["t"] }), json!({ "m": "x", "tags": ["t", "x"] }));
    check(
        config("[a][b]"),
        json!({ "m": "x", "a": "text" }),
        json!({ "m": "x", "a": "text", "tags": ["_grokparsefailure"] }),
    );
    let config = json!({ "match": { "m": "%{WORD:a} %{WORD:[b][c]}" }, "target": "[t][u]" });
    check(
        config,
        json!({ "m": "x y" }),
        json!({ "m": "x y", "t": { "u": { "a": "x", "b": { "c": "y" } } } }),
    );
}

#[test]
fn a_type_makes_a_number_as_ruby_would() {
    for (capture, text, number) in [
        ("int", "12", json!(12)),
        ("int", "-0", json!(0)),
        ("int", "007", json!(7)),
        ("int", "1_000", json!(1000)),
        ("int", "12abc", json!(12)),
        ("int", "-", json!(0)),
        ("int", "1.9", json!(1)),
        ("int", "9223372036854775808", json!(9_223_372_036_854_775_808_u64)),
        ("float", "6", json!(6.0)),
        ("float", "1e3", json!(1000.0)),
        ("float", ".5", json!(0.5)),
        ("float", "abc", json!(0.0)),
        ("float", "1e400", json!("Infinity")),
    ] {
        let config = json!({ "match": { "m": format!("^%{{NOTSPACE:n:{capture}}}$") } });
        check(config, json!({ "m": text }), json!({ "m": text, "n": number }));
    }
    let config = json!({ "match": { "m": "^(?<n:count:int>\\d+)(?<word>[a-z]*)" } });
    check(config, json!({ "m": "12ab" }), json!({ "m": "12ab", "count": 12, "word": "ab" }));
}

#[test]
fn a_name_that_captures_several_times_makes_a_list() {
    let config = json!({ "match": { "m": "%{INT:n} %{INT:n} %{INT:n}" } });
    check(config, json!({ "m": "1 2 3" }), json!({ "m": "1 2 3", "n": ["1", "2", "3"] }));
    // Of the alternatives only the one that matched has something to write.
    let config = json!({ "match": { "m": "^(?:a=%{INT:n}|b=%{WORD:n})" } });
    check(config.clone(), json!({ "m": "a=1" }), json!({ "m": "a=1", "n": "1" }));
    check(config, json!({ "m": "b=x" }), json!({ "m": "b=x", "n": "x" }));
}

#[test]
fn what_took_no_part_or_is_empty_is_kept_only_when_asked_for() {
    let config = |keep: bool| json!({ "match": { "m": "^%{WORD:a}(?: %{WORD:b})?,%{DATA:c}$" }, "keep_empty_captures": keep });
    check(config(false), json!({ "m": "x," }), json!({ "m": "x,", "a": "x" }));
    check(config(true), json!({ "m": "x," }), json!({ "m": "x,", "a": "x", "b": null, "c": "" }));
    check(config(true), json!({ "m": "x y,z" }), json!({ "m": "x y,z", "a": "x", "b": "y", "c": "z" }));
}

#[test]
fn unnamed_patterns_become_fields_only_when_asked_for() {
    let config = |named_only: bool| json!({ "match": { "m": "%{WORD} %{INT:n} (\\w+)" }, "named_captures_only": named_only });
    check(config(true), json!({ "m": "x 1 y" }), json!({ "m": "x 1 y", "n": "1" }));
    check(config(false), json!({ "m": "x 1 y" }), json!({ "m": "x 1 y", "WORD": "x", "n": "1" }));
}

#[test]
fn the_first_pattern_that_matches_ends_it_unless_all_are_wanted() {
    let config = |break_on_match: bool| {
        json!({
            "match": { "m": ["^a=%{INT:a}", "^%{DATA:key}=", "=%{INT:value}$"], "o": "%{WORD:other}" },
            "break_on_match": break_on_match,
            "add_tag": "done"
        })
    };
    let input = json!({ "m": "a=1", "o": "x" });
    check(config(true), input.clone(), json!({ "m": "a=1", "o": "x", "a": "1", "tags": ["done"] }));
    check(
        config(false),
        input,
        json!({ "m": "a=1", "o": "x", "a": "1", "key": "a", "value": "1", "other": "x", "tags": ["done"] }),
    );
    check(
        config(true),
        json!({ "m": "nothing", "o": "x" }),
        json!({ "m": "nothing", "o": "x", "other": "x", "tags": ["done"] }),
    );
}

#[test]
fn without_break_on_match_a_field_is_judged_by_its_last_pattern() {
    let config = json!({ "match": { "m": ["^%{WORD:w}", "^%{INT:n}$"] }, "break_on_match": false });
    check(config, json!({ "m": "x" }), json!({ "m": "x", "w": "x", "tags": ["_grokparsefailure"] }));
}

#[test]
fn what_does_not_match_is_tagged_and_not_decorated() {
    let config = json!({
        "match": { "m": "^%{INT:n}$" },
        "tag_on_failure": ["bad", "_grokparsefailure"],
        "add_tag": "done",
        "add_field": { "x": "y" },
        "remove_field": "m"
    });
    check(config.clone(), json!({ "m": "1" }), json!({ "n": "1", "x": "y", "tags": ["done"] }));
    check(config.clone(), json!({ "m": "a" }), json!({ "m": "a", "tags": ["bad", "_grokparsefailure"] }));
    check(config.clone(), json!({}), json!({ "tags": ["bad", "_grokparsefailure"] }));
    // A tag is not added twice.
    check(
        config,
        json!({ "m": "a", "tags": ["bad"] }),
        json!({ "m": "a", "tags": ["bad", "_grokparsefailure"] }),
    );
    let silent = json!({ "match": { "m": "^%{INT:n}$" }, "tag_on_failure": [] });
    check(silent, json!({ "m": "a" }), json!({ "m": "a" }));
}

#[test]
fn a_source_is_read_as_text_whatever_it_is() {
    let config = json!({ "match": { "m": "^%{GREEDYDATA:t}$" } });
    for (source, text) in
        [(json!(12), "12"), (json!(6.0), "6.0"), (json!(true), "true"), (json!(["one"]), "one")]
    {
        check(config.clone(), json!({ "m": source }), json!({ "m": source, "t": text }));
    }
    // Every element of a list is tried, and one that matches is enough.
    let config = json!({ "match": { "m": "^%{INT:n}$" } });
    check(config.clone(), json!({ "m": ["x", "1", 2] }), json!({ "m": ["x", "1", 2], "n": ["1", "2"] }));
    check(config, json!({ "m": ["x"] }), json!({ "m": ["x"], "tags": ["_grokparsefailure"] }));
    // A field that is not there is the empty text.
    let config = json!({ "match": { "m": "^(?<t>.*)$" }, "keep_empty_captures": true });
    check(config, json!({}), json!({ "t": "" }));
}

#[test]
fn patterns_come_from_files_and_options_and_later_ones_win() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("a.grok"), "# of our own\n\nKEY [a-z]+\n  INDENTED   x y \nSHADOWED one\n").unwrap();
    std::fs::write(place("b.grok"), "SHADOWED two\n").unwrap();
    std::fs::write(place("b.txt"), "SHADOWED not read\n").unwrap();

    let folder_option = folder.path().display().to_string();
    let config = json!({
        "match": { "m": "%{KEY:k}=%{SHADOWED:v}" },
        "patterns_dir": folder_option,
        "patterns_files_glob": "*.grok"
    });
    check(config, json!({ "m": "a=two" }), json!({ "m": "a=two", "k": "a", "v": "two" }));

    let config = json!({
        "match": { "m": "%{KEY:k}=%{SHADOWED:v}" },
        "patterns_dir": [place("b.grok"), place("a.grok")],
    });
    check(config, json!({ "m": "a=one" }), json!({ "m": "a=one", "k": "a", "v": "one" }));

    let config = json!({
        "match": { "m": "%{KEY:k}=%{SHADOWED:v}" },
        "patterns_dir": [place("*.grok")],
        "pattern_definitions": { "SHADOWED": "%{INT}!" }
    });
    check(config, json!({ "m": "a=3!" }), json!({ "m": "a=3!", "k": "a", "v": "3!" }));
}

#[test]
fn an_inline_definition_is_a_pattern_of_this_place() {
    let config = json!({ "match": { "m": "%{HEX4:h=[0-9a-f]{4}}-%{HEX4:i}" } });
    check(config, json!({ "m": "00ff-beef" }), json!({ "m": "00ff-beef", "h": "00ff", "i": "beef" }));
}

#[test]
fn matching_that_takes_too_long_is_tagged_as_that_alone() {
    // A back reference needs the backtracking engine, and this one has much to try.
    let config = json!({
        "match": { "m": "^(?<a>(?:x+)+)+y\\k<a>$" },
        "timeout_millis": 20,
        "tag_on_timeout": "slow"
    });
    let line = "x".repeat(40) + "yz";
    check(config, json!({ "m": line }), json!({ "m": line, "tags": ["slow"] }));
}

#[test]
fn shipped_patterns_are_done_with_long_lines_in_linear_time() {
    // The first took 85 s for a megabyte and could not be stopped.
    for (pattern, part) in [
        ("%{EMAILADDRESS:e} %{URI:u} %{IPV6:i}", "a."),
        ("%{HOSTNAME:h} %{IP:i}", "a."),
        ("%{QS:q} %{NUMBER:n}#", "\"a\\"),
        ("%{TIMESTAMP_ISO8601:t} %{LOGLEVEL:l}", "2019-02-24T09:58:29"),
        ("%{IPV4:i}#%{IPV6:j}", "1.2.3."),
        ("%{COMBINEDAPACHELOG}", "a "),
        ("%{SYSLOGLINE}", "Mar 16 00:01"),
        ("%{URIPATHPARAM:p}#", "/a?"),
    ] {
        let line = part.repeat((256 << 10) / part.len());
        let begun = Instant::now();
        let config = json!({ "match": { "m": pattern }, "timeout_millis": 60_000 });
        check(config, json!({ "m": line }), json!({ "m": line, "tags": ["_grokparsefailure"] }));
        assert!(begun.elapsed() < Duration::from_secs(200), "{pattern} took {:?}", begun.elapsed());
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    for (config, part) in [
        (json!({ "match": { "m": "%{NUMBR:n}" } }), "NUMBER"),
        (json!({ "match": { "m": "%{NUMBER:n:long}" } }), "unknown type"),
        (json!({ "match": { "m": "(unclosed" } }), "match.m"),
        (json!({ "match": { "m": "%{A}" }, "pattern_definitions": { "A": "%{B}", "B": "%{A}" } }), "A"),
        (json!({ "match": {} }), "nothing to match"),
        (json!({ "match": { "[m": "%{WORD:w}" } }), "no field reference"),
        (json!({ "match": { "m": "%{WORD:w}" }, "patterns_dir": "/nowhere/at/all" }), "patterns_dir"),
        (json!({ "match": { "m": "%{WORD:w}" }, "timeout_scope": "both" }), "timeout_scope"),
        (json!({ "match": { "m": "%{WORD:w}" }, "break_on_mach": true }), "break_on_match"),
    ] {
        let error = error_of(config.clone());
        assert!(error.contains(part), "{config}: {error}");
    }
}

#[test]
fn all_that_is_wrong_with_a_pattern_is_told() {
    let error = error_of(json!({ "match": { "m": "é%{NUMBR:n} %{INT:i} %{ITN} %{WORD:w:long} (unclosed" } }));
    for part in ["`NUMBR`", "`ITN`", "unknown type", "is not closed"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}
