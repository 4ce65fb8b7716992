//! How components are joined, and what is said where they are not joined well.

use super::*;

#[test]
fn circles_are_told_with_all_their_components() {
    check(
        r#"
[sources.in]
type = "lines"
paths = ["a.log"]
[transforms.a]
type = "pass"
inputs = ["in", "c"]
[transforms.b]
type = "pass"
inputs = ["a"]
[transforms.c]
type = "pass"
inputs = ["b"]
[sinks.out]
type = "store"
inputs = ["c", "out.rejected"]
"#,
        r#"
error[circle]: components feed one another in a circle: `a` -> `b` -> `c` -> `a`
 --> x.toml:7:17
7 | inputs = ["in", "c"]
  |                 ^^^ an event could go round for ever

error[circle]: sink `out` reads itself
  --> x.toml:16:16
16 | inputs = ["c", "out.rejected"]
   |                ^^^^^^^^^^^^^^ an event could go round for ever

2 errors
"#,
    );
}

#[test]
fn an_output_that_nobody_reads_is_an_error_and_an_unmatched_one_a_warning() {
    check(
        r#"
[sources.in]
type = "lines"
paths = ["a.log"]
[sources.idle]
type = "lines"
paths = ["b.log"]
[transforms.by]
type = "split"
inputs = ["in"]
outputs = ["yes", "no"]
[sinks.out]
type = "store"
inputs = ["by.yes", "by.yes"]
"#,
        r#"
error[unread-output]: nothing reads source `idle`
 --> x.toml:5:10
5 | [sources.idle]
  |          ^^^^ its events would go nowhere
  = help: put "idle" into the `inputs` of a transform or sink, or remove it

error[unread-output]: nothing reads `by.no`
 --> x.toml:8:13
8 | [transforms.by]
  |             ^^ its events would go nowhere
  = help: put "by.no" into the `inputs` of a transform or sink, or remove the output

warning[unread-output]: nothing reads `by._unmatched`
 --> x.toml:8:13
8 | [transforms.by]
  |             ^^ events that match no output are discarded and counted

error[input-twice]: sink `out` reads `by.yes` twice
  --> x.toml:14:21
14 | inputs = ["by.yes", "by.yes"]
   |                     ^^^^^^^^ every event would come twice
  ::: x.toml:14:11
14 | inputs = ["by.yes", "by.yes"]
   |           -------- first here

3 errors, 1 warning
"#,
    );
}

#[test]
fn named_outputs_are_read_by_name() {
    let text = |input: &str| {
        format!(
            "[sources.in]\ntype = 'lines'\npaths = []\n[transforms.by]\ntype = 'split'\ninputs = ['in']\noutputs = ['yes', 'no']\n\
             [sinks.out]\ntype = 'store'\ninputs = ['by.yes', 'by.no', {input}]\n"
        )
    };
    for (input, output) in [("'by._unmatched'", Output::Default), ("'by.rejected'", Output::Rejected)] {
        let loaded = load_texts(&[("x", &text(input))]);
        let topology = loaded.topology.as_ref().unwrap();
        let read: Vec<Output> = topology.sinks[0].inputs.iter().map(|port| port.output.clone()).collect();
        assert_eq!(read, [Output::Named(0), Output::Named(1), output]);
        assert_eq!(topology.transforms[0].outputs, ["yes", "no"]);
    }
    let loaded = load_texts(&[("x", &text("'by'"))]);
    assert!(loaded.render(false).contains("expected one of by.yes, by.no, by._unmatched, by.rejected"));
}

#[test]
fn a_mistyped_input_does_not_make_the_one_that_was_meant_unread() {
    let text = "[sources.in]\ntype = 'lines'\npaths = []\n[transforms.t]\ntype = 'pass'\ninputs = ['inn']\n\
                [sinks.out]\ntype = 'store'\ninputs = ['t']\n[sinks.dead]\ntype = 'store'\ninputs = ['t.rejectd', 'out.rejected']\n";
    codes(text, &["unknown-input", "unknown-input"]);
    codes(&text.replace("'inn'", "'other'"), &["unread-output", "unknown-input", "unknown-input"]);
}

#[test]
fn of_a_transform_that_was_not_built_only_what_is_certain_is_told() {
    check(
        r#"
[sources.in]
type = "lines"
paths = ["a.log"]
[transforms.by]
type = "split"
inputs = ["in"]
output = ["yes", "no"]
[sinks.out]
type = "store"
inputs = ["by.yes", "by.no"]
[sinks.dead]
type = "store"
inputs = ["by.rejectd"]
"#,
        r#"
error[unknown-option]: unknown option `output` in transform `by` (split)
 --> x.toml:8:1
8 | output = ["yes", "no"]
  | ^^^^^^ did you mean `outputs`?
  = help: `flowstone explain split` lists its options

error[unknown-input]: transform `by` has no output `rejectd`, in the inputs of sink `dead`
  --> x.toml:14:11
14 | inputs = ["by.rejectd"]
   |           ^^^^^^^^^^^^ did you mean `by.rejected`?

2 errors
"#,
    );
}

#[test]
fn two_components_on_one_file_or_port_are_refused() {
    check(
        r#"
[sources.a]
type = "lines"
paths = ["x.log"]
[sources.b]
type = "lines"
paths = ["y.log", "x.log"]
[sinks.out]
type = "store"
inputs = ["a", "b"]
"#,
        r#"
error[claimed-twice]: source `b` and source `a` both use file x.log
 --> x.toml:5:10
5 | [sources.b]
  |          ^ only one component can have it
 ::: x.toml:2:10
2 | [sources.a]
  |          - the other one

1 error
"#,
    );
}

#[test]
fn a_configuration_without_sources_or_sinks_says_so() {
    check(
        "",
        r#"
error[incomplete]: `x.toml` configures no source, so nothing is read
  = help: add a `[sources.NAME]` with a `type`; `flowstone list` says which there are

error[incomplete]: `x.toml` configures no sink, so nothing is delivered
  = help: add a `[sinks.NAME]` with a `type`; `flowstone list` says which there are

2 errors
"#,
    );
}

#[test]
fn an_index_named_by_the_day_of_reading_is_warned_about() {
    let text = |source: &str, transform: &str, inputs: &str, index: &str| {
        format!(
            "[sources.in]\ntype = 'lines'\npaths = []\n{source}\n[transforms.t]\ntype = 'pass'\ninputs = ['in']\n{transform}\n\
             [transforms.u]\ntype = 'pass'\ninputs = ['t']\n[sinks.out]\ntype = 'store'\ninputs = [{inputs}]\nindex = '{index}'\n"
        )
    };
    let daily = "flow-%{+YYYY.MM.dd}";
    let warned = |source: &str, transform: &str, inputs: &str, index: &str| {
        let loaded = load_texts(&[("x", &text(source, transform, inputs, index))]);
        assert!(loaded.topology.is_some(), "{}", loaded.render(false));
        loaded.diagnostics.iter().any(|diagnostic| diagnostic.code == "index-by-reading-time")
    };
    assert!(warned("", "", "'u'", daily));
    assert!(!warned("", "", "'u'", "flow"));
    assert!(!warned("", "dated = true", "'u'", daily));
    assert!(!warned("dated = true", "", "'u'", daily));
    // Dated only for some events, or by the one who rejected it: not dated.
    assert!(warned("", "dated = true\nwhen = '[a] == 1'", "'u'", daily));
    assert!(warned("", "dated = true", "'u', 't.rejected'", daily));
    assert!(!warned("", "dated = true", "'u', 'u.rejected'", daily));
    assert!(warned("", "dated = true", "'u', 'in.rejected'", daily));
}

#[test]
fn unread_rejected_ports_are_one_warning_that_says_where_their_events_go() {
    let loaded = load_texts(&[("x.toml", &SOUND.replace("\"in.rejected\", \"out.rejected\"", "\"in\""))]);
    assert_eq!(
        loaded.render(false),
        r#"warning[unread-rejected]: nothing reads `in.rejected`, `out.rejected`, `dead.rejected`
 --> x.toml:2:10
2 | [sources.in]
  |          ^^ rejected events go to ./flowstone-data/rejected/NAME.ndjson
  = help: read them in a sink of their own: `inputs = ["NAME.rejected"]`

1 warning
"#
    );
    // A sink of dead letters is where they end, and `split` says that it never rejects.
    let split = "[transforms.by]\ntype = 'split'\ninputs = ['in']\noutputs = ['a', '_unmatched']\n\
                 [sinks.more]\ntype = 'store'\ninputs = ['by.a', 'by._unmatched']\n";
    let sound = SOUND.replace("\"out.rejected\"]", "\"out.rejected\", \"more.rejected\"]");
    assert_eq!(load_texts(&[("x.toml", &format!("{sound}{split}"))]).render(false), "");
}

#[test]
fn what_a_when_leaves_out_of_a_transform_with_named_outputs_must_be_read() {
    let text = |inputs: &str| {
        format!(
            "{SOUND}[transforms.by]\ntype = 'split'\ninputs = ['in']\noutputs = ['a', '_unmatched']\nwhen = '[a] == 1'\n\
             [sinks.more]\ntype = 'store'\ninputs = [{inputs}]\n"
        )
    };
    codes(&text("'by', 'by.a', 'by._unmatched'"), &[]);
    codes(&text("'by.a', 'by._unmatched'"), &["unread-output"]);
}
