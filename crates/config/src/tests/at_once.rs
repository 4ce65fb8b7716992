//! Everything that is wrong is said at once, and each thing once; and what is legal and hardly meant is warned about.

use super::*;

/// The codes and the messages about a sink with these options.
fn said_of_store(options: &str) -> Vec<(&'static str, String)> {
    let text = format!(
        "[sources.in]\ntype = 'lines'\npaths = ['a.log']\n[sinks.out]\ntype = 'store'\ninputs = ['in']\n{options}"
    );
    let loaded = load_texts(&[("x.toml", &text)]);
    let said = loaded.diagnostics.into_iter().filter(|said| said.code != "unread-rejected");
    said.map(|said| (said.code, said.message)).collect()
}

#[test]
fn what_a_plugin_checks_is_told_beside_an_option_that_cannot_be_read() {
    let no_url = ("invalid-option", "`not a url` is no URL".to_owned());
    for (options, also) in [
        ("flush_interval = 'soon'", ("invalid-value", "\"soon\" is no duration")),
        ("port = 'http'", ("wrong-type", "expected an integer, found a string")),
        ("tls = { ca_file = 1 }", ("wrong-type", "expected a string, found an integer")),
        ("tls.caFile = 'x'", ("unknown-option", "unknown option `caFile` in this table")),
        ("[sinks.out.tls]\nca_file = 1", ("wrong-type", "expected a string, found an integer")),
    ] {
        let mut said = said_of_store(&format!("hosts = ['not a url']\n{options}"));
        said.sort();
        let mut expect = vec![no_url.clone(), (also.0, also.1.to_owned())];
        expect.sort();
        assert_eq!(said, expect, "{options}");
    }
    // An option that must be there and is not takes no part, and what is at its place comes from the example.
    check(
        r#"
[sources.in]
type = "lines"
follow = 1
[transforms.t]
type = "pass"
inputs = ["in"]
patterns = ["bad"]
when = "["
[sinks.out]
type = "store"
inputs = ["t"]
"#,
        r#"
error[missing-option]: option `paths` is missing in source `in` (lines)
 --> x.toml:2:1
2 | [sources.in]
  | ^^^^^^^^^^^^ expected `paths = ` (list of strings)
  = help: `flowstone explain lines` lists its options

error[wrong-type]: expected `true` or `false`, found an integer
 --> x.toml:4:10
4 | follow = 1
  |          ^ expected `true` or `false`

error[invalid-option]: a bad pattern
 --> x.toml:8:14
8 | patterns = ["bad"]
  |              ^^^ expected a good one

error[condition]: the condition ends too early
 --> x.toml:9:10
9 | when = "["
  |          ^ expected a string, a number or `]`

4 errors
"#,
    );
}

#[test]
fn what_only_follows_from_an_option_that_cannot_be_read_is_not_told() {
    // The password is there, but is no text: that is all.
    let said = said_of_store("user = 'joe'\npassword = 5");
    assert_eq!(said, [("wrong-type", "expected a string, found an integer".to_owned())]);
    // One that is not there at all is missed beside any other mistake.
    let mut said = said_of_store("user = 'joe'\nflush_interval = 'soon'");
    said.sort();
    let missed = ("invalid-option", "`user` has no `password`".to_owned());
    assert_eq!(said, [missed, ("invalid-value", "\"soon\" is no duration".to_owned())]);
    // Without the other mistake it counts.
    assert_eq!(said_of_store("user = 'joe'"), [("invalid-option", "`user` has no `password`".to_owned())]);
    // And what the component as a whole objects to is said when its options can be read.
    assert_eq!(said_of_store("port = 1\nhosts = 5").len(), 1);
}

#[test]
fn a_misspelt_name_that_must_be_there_is_told_once() {
    let sink = "[sinks.out]\ntype = 'store'\ninputs = ['in']\n";
    for (text, expect) in [
        (format!("[sources.in]\ntype = 'lines'\npath = ['a.log']\n{sink}"), "paths"),
        (format!("[sources.in]\ntpye = 'lines'\npaths = ['a.log']\n{sink}"), "type"),
        (
            "[sources.in]\ntype = 'lines'\npaths = ['a.log']\n[sinks.out]\ntype = 'store'\ninput = ['in']\n"
                .to_owned(),
            "inputs",
        ),
        (
            format!(
                "[sources.in]\ntype = 'lines'\npaths = ['a.log']\n{sink}[[tests]]\nnmae = 'x'\ninsert_at = 'out'\ninputs = []\n"
            ),
            "name",
        ),
    ] {
        let loaded = load_texts(&[("x.toml", &text)]);
        let of_spelling = loaded
            .diagnostics
            .iter()
            .filter(|said| ["unknown-option", "missing-option"].contains(&said.code));
        let said: Vec<(&str, &str)> = of_spelling.map(|said| (said.code, said.label.as_str())).collect();
        assert_eq!(
            said,
            [("unknown-option", format!("did you mean `{expect}`?").as_str())],
            "{}",
            loaded.render(false)
        );
    }
    // One that is missing beside one that is misspelt is told as well.
    let text = "[transforms.t]\ntype = 'split'\ninput = ['in']\n";
    let loaded = load_texts(&[("x.toml", text)]);
    let missing: Vec<&str> = loaded
        .diagnostics
        .iter()
        .filter(|said| said.code == "missing-option")
        .map(|said| said.message.as_str())
        .collect();
    assert_eq!(missing, ["option `outputs` is missing in transform `t` (split)"]);
}

#[test]
fn the_mistakes_of_two_components_and_of_the_settings_are_told_together() {
    codes(
        "memory = 'lots'\n[sources.in]\ntype = 'lines'\npath = 'a'\n[transforms.t]\ntype = 'pass'\ninputs = ['in']\n\
         patterns = ['bad', 'bad']\nadd_tag = '%{+TT}'\n[sinks.out]\ntype = 'store'\ninputs = ['t']\nhosts = ['x', 'y']\n\
         port = 'z'\n",
        &[
            "invalid-value",
            "unknown-option",
            "invalid-option",
            "invalid-option",
            "template",
            "invalid-option",
            "invalid-option",
            "wrong-type",
        ],
    );
}

#[test]
fn date_letters_that_cannot_be_meant_are_warned_about_and_run() {
    let text = |name: &str, value: &str| {
        format!(
            "[sources.in]\ntype = 'lines'\ndated = true\npaths = ['a.log']\n[transforms.t]\ntype = 'pass'\ninputs = ['in']\n\
             add_field = {{ day = '{}' }}\n[sinks.out]\ntype = 'store'\ninputs = ['t']\n{}",
            if name == "add_field" { value } else { "" },
            if name == "add_field" { String::new() } else { format!("{name} = '{value}'") },
        )
    };
    for (name, value, expect) in [
        ("index", "docs-%{+YYYY.MM.DD}", &[("date-letters", "DD")][..]),
        ("index", "docs-%{+YYYY.ww}", &[("date-letters", "YYYY")]),
        ("index", "docs-%{+yyyy.mm.dd}", &[("date-letters", "mm")]),
        ("index", "docs-%{+yyyy.mm.DD}", &[("date-letters", "mm"), ("date-letters", "DD")]),
        ("index", "docs-%{+YYYY.MM.dd.HH.mm}", &[("new-every-minute", "docs-%{+YYYY.MM.dd.HH.mm}")]),
        ("index", "docs-%{env}-%{+%s}", &[("new-every-minute", "docs-%{env}-%{+%s}")]),
        ("path", "o/%{+YYYY}/%{+mm}/%{+dd}.ndjson", &[("date-letters", "mm")]),
        ("path", "o/%{+HH:mm:ss}.ndjson", &[("new-every-minute", "o/%{+HH:mm:ss}.ndjson")]),
        ("add_field", "%{+yyyy.mm.dd}", &[("date-letters", "mm")]),
        ("add_field", "%{+HH:mm:ss}", &[]),
        ("index", "vpcflowlogs-%{+YYYY.MM.dd}", &[]),
        ("index", "docs-%{+xxxx.ww}", &[]),
        ("path", "o/%{+YYYY-MM-dd}/%{+HH}.ndjson", &[]),
    ] {
        let text = text(name, value);
        let loaded = load_texts(&[("x.toml", &text)]);
        let warnings = ["date-letters", "new-every-minute"];
        let said: Vec<(&str, &str)> = loaded
            .diagnostics
            .iter()
            .filter(|said| warnings.contains(&said.code))
            .map(|said| {
                let span = said.span.unwrap();
                (said.code, text[span.start..span.end].trim_matches('\''))
            })
            .collect();
        assert_eq!(said, expect, "{name} = {value}: {}", loaded.render(false));
        assert!(!loaded.has_errors(), "{}", loaded.render(false));
    }
}

#[test]
fn a_transform_that_cannot_be_built_hides_no_mistake_of_those_that_read_it() {
    let text = "[sources.in]\ntype = 'lines'\npaths = ['a.log']\n[transforms.t]\ntype = 'pass'\ninputs = ['in']\n\
                patterns = 1\n[sinks.out]\ntype = 'store'\nhosts = ['http://es:9200']\ninputs = ['t.nope']\n";
    let mut said: Vec<_> = load_texts(&[("x.toml", text)])
        .diagnostics
        .into_iter()
        .filter(|said| said.severity == Severity::Error)
        .map(|said| said.message)
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "expected a string, found an integer",
            "transform `t` has no output `nope`, in the inputs of sink `out`"
        ]
    );
}
