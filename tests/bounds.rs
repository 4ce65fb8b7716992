//! Hostile input to every expression, pattern, template and decoder ends within its bound: no line, however long, costs
//! more than some seconds of a processor, and none makes a panic.

use std::time::{Duration, Instant};

// The plugins register themselves.
use flowstone as _;
use flowstone::core::event::Batch;
use flowstone::core::{Clock, ComponentId, Kind, Metrics, TransformCx, parse_json};
use flowstone::dialect::{Condition, DateFormat, Template};
use flowstone_testkit::{batches, cases};
use serde_json::{Value as Json, json};

/// What this may cost, compiling included. Only what grows faster than the line takes so long.
const LIMIT: Duration = Duration::from_secs(20);

/// Lines of so many bytes: of one letter, of what looks like the beginning of something, of nothing.
fn lines(bytes: usize) -> Vec<String> {
    let parts = [
        "a",
        "a.",
        "\0",
        "\"",
        "\\\"",
        "[",
        "]",
        "(",
        "{",
        "}",
        "1",
        "1.",
        "-1,",
        "0:",
        "%{",
        "%{a}",
        "%{[",
        " ",
        "\t",
        "é",
        "\u{feff}",
        "a=",
        "a b ",
        "Jan ",
        "2019-02-24T09:58:29.",
        "<1>",
        "/a?b&",
        "{\"a\":",
        "[{\"a\":[",
    ];
    parts.iter().map(|part| part.repeat(bytes / part.len())).collect()
}

/// Does it, and panics if it takes as long as only a runaway does.
fn in_time<T>(what: &dyn std::fmt::Display, work: impl FnOnce() -> T) -> T {
    let (begun, spent) = (Instant::now(), time_spent());
    let done = work();
    let took =
        time_spent().zip(spent).map_or_else(|| begun.elapsed(), |(now, then)| now.saturating_sub(then));
    assert!(took < LIMIT, "{what} took {took:?}");
    done
}

/// What this thread has had of a processor, where Linux says it: other tests run beside this one.
fn time_spent() -> Option<Duration> {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    spent.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn start_of(line: &str) -> String {
    line.chars().take(12).collect()
}

/// Runs every line through a transform, each in a batch of its own and in three fields.
fn run(type_name: &str, options: &Json) {
    let (mut transform, _) = in_time(&format!("building {type_name} {options}"), || {
        cases::build(type_name, options).unwrap_or_else(|error| panic!("{error}"))
    });
    for line in &lines(1 << 20) {
        in_time(&format!("{type_name} {options} on {:?}", start_of(line)), || {
            let metrics = Metrics::new().component(&ComponentId {
                name: "tested".into(),
                kind: Kind::Transform,
                type_name: "tested",
            });
            let mut batch: Batch = batches::lines(&[line.as_str()], 0);
            transform.apply(&mut batch, &mut TransformCx::new(&metrics, Clock::Fixed(0)));
        });
    }
}

#[test]
fn grok_ends_in_time() {
    for pattern in [
        "%{EMAILADDRESS:e} %{URI:u} %{IPV6:i}",
        "%{COMBINEDAPACHELOG}",
        "%{SYSLOGLINE}",
        "%{QS:q}%{NUMBER:n}%{GREEDYDATA:g}#",
        "%{DATA:a} %{DATA:b} %{DATA:c}#$",
        "^(?<a>(?:\\w+\\.?)+)+#\\k<a>",
        "(?<=a.)(?<w>\\b\\w+\\b)(?!\\.)#",
    ] {
        run("grok", &json!({ "match": { "message": pattern }, "timeout_millis": 50 }));
    }
}

#[test]
fn mutate_ends_in_time() {
    for options in [
        json!({ "gsub": ["message", "a(?:.*z)?", "b"] }),
        json!({ "gsub": ["message", "(?<=a)\\.|(.)\\1{3}", "\\`\\'"] }),
        json!({ "gsub": ["message", "", "x"] }),
        json!({ "gsub": ["message", "%{message}", "%{message}"] }),
        json!({ "gsub": ["message", "^|$|\\b|\\B", "\\0-"] }),
        json!({ "split": { "message": "a" } }),
        json!({ "split": { "message": "" } }),
        json!({ "convert": { "message": "integer" } }),
        json!({ "convert": { "message": "float" } }),
        json!({ "convert": { "message": "float_eu" } }),
        json!({ "convert": { "message": "boolean" } }),
        json!({ "replace": { "message": "%{message}%{message}" } }),
        json!({ "rename": { "message": "%{message}" } }),
        json!({ "uppercase": "message", "capitalize": "message", "strip": "message" }),
    ] {
        run("mutate", &options);
    }
}

#[test]
fn date_ends_in_time() {
    for format in [
        "ISO8601",
        "UNIX",
        "UNIX_MS",
        "TAI64N",
        "yyyy-MM-dd HH:mm:ss.SSS",
        "MMM d yyyy",
        "EEEE, dd-MMMM-yy z",
    ] {
        for locale in ["en", "de", "ja"] {
            run("date", &json!({ "match": ["message", format], "locale": locale, "timezone": "%{message}" }));
        }
    }
}

#[test]
fn vpcflow_and_geoip_like_lines_end_in_time() {
    run("vpcflow", &json!({}));
}

#[test]
fn conditions_end_in_time() {
    for text in [
        "[message] =~ /[a-z]+[a-z.]*x/",
        "[message] =~ /^(a|a|aa|.)+\\1[b-d]$/",
        "[message] =~ /(?<![.])(?:a.)+(?!a)x/",
        "[message] =~ /\\b(?:é|a.)+\\b!/",
        "[message] !~ /(?m)(?:.*,)*;/",
        "\"ax\" in [message]",
        "[message] in [\"a\", \"b\"]",
        "[message] > \"a\" and [message] < 7",
        "[message] == [message] or [message] in [message]",
    ] {
        let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for line in lines(1 << 20) {
            in_time(&format!("{text} on {:?}", start_of(&line)), || {
                let batch = batches::lines(&[line.as_str()], 0);
                let rows = condition.select(&batch, &batch.live_set());
                assert_eq!(rows.rows.contains(0), condition.holds(batch.row(0)));
            });
        }
    }
}

#[test]
fn what_stands_in_the_configuration_is_read_or_refused_in_time() {
    for line in lines(1 << 20) {
        let start = start_of(&line);
        in_time(&format!("a condition {start:?}"), || Condition::parse(&line).is_ok());
        in_time(&format!("a condition in parentheses {start:?}"), || {
            Condition::parse(&format!("[a] == \"{line}\"")).is_ok()
        });
        in_time(&format!("a template {start:?}"), || {
            let Ok(template) = Template::parse(&line) else { return };
            let batch = batches::lines(&["x"], 0);
            template.render(batch.row(0), &mut String::new());
        });
        in_time(&format!("a date's format {start:?}"), || DateFormat::parse(&line).is_ok());
        in_time(&format!("JSON {start:?}"), || parse_json(&mut line.clone().into_bytes()).is_ok());
        for (type_name, options) in [
            ("grok", json!({ "match": { "message": line } })),
            ("date", json!({ "match": ["message", line] })),
            ("mutate", json!({ "gsub": ["message", line, line] })),
            ("mutate", json!({ "rename": { "message": line } })),
        ] {
            in_time(&format!("{type_name} with {start:?}"), || cases::build(type_name, &options).is_ok());
        }
    }
}
