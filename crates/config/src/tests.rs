//! Configurations and what is said about them: each mistake with its file, line, caret and advice.

mod at_once;
mod graph;
mod scenarios;
mod shown;

use proptest::prelude::*;

use super::*;

const STANDARD: &[StandardPlugin] =
    &[StandardPlugin { kind: Kind::Sink, type_name: "elsewhere", feature: "sink-elsewhere" }];

/// A topology in which nothing is wrong, for a mistake to be put in front of it.
const SOUND: &str = r#"
[sources.in]
type = "lines"
paths = ["a.log"]

[sinks.out]
type = "store"
inputs = ["in"]

[sinks.dead]
type = "store"
inputs = ["in.rejected", "out.rejected"]
"#;

fn environment(name: &str) -> Option<String> {
    Some(
        match name {
            "PORT" => "9200",
            "WORD" => "word",
            "ES_PASSWORD" => "hunter2-from-env",
            "EMPTY" => "",
            _ => return None,
        }
        .to_owned(),
    )
}

fn load_texts(texts: &[(&str, &str)]) -> Loaded {
    let inputs: Vec<ConfigInput> = texts
        .iter()
        .map(|(name, text)| ConfigInput::Text { name: (*name).to_owned(), text: (*text).to_owned() })
        .collect();
    load(&inputs, &environment, &LoadOptions { data_dir: None, standard_plugins: STANDARD })
}

/// Loads a text and compares what is said about it, but for the warning about unread rejected events.
#[track_caller]
fn check(text: &str, expect: &str) {
    check_files(&[("x.toml", text)], expect);
}

#[track_caller]
fn check_files(texts: &[(&str, &str)], expect: &str) {
    let mut loaded = load_texts(texts);
    loaded.diagnostics.retain(|diagnostic| diagnostic.code != "unread-rejected");
    let rendered = loaded.render(false);
    let trimmed = |text: &str| text.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&rendered), trimmed(expect), "\n{rendered}");
}

#[track_caller]
fn codes(text: &str, expect: &[&str]) {
    let loaded = load_texts(&[("x.toml", text)]);
    let found: Vec<&str> =
        loaded.diagnostics.iter().map(|d| d.code).filter(|code| *code != "unread-rejected").collect();
    assert_eq!(found, expect, "{}", loaded.render(false));
}

#[test]
fn a_sound_configuration_is_built_and_nothing_is_said() {
    let loaded = load_texts(&[("x.toml", &format!("memory = \"8MiB\"\nbatch.max_rows = 10\n{SOUND}"))]);
    let topology = loaded.topology.as_ref().unwrap();
    assert_eq!(topology.settings.memory, 8 << 20);
    assert_eq!(topology.settings.batch_rows, 10);
    assert_eq!(topology.settings.batch_bytes, 1 << 20);
    assert!(topology.settings.workers >= 1);
    assert_eq!(topology.sources[0].id.to_string(), "source `in` (lines)");
    let port = |component: &str, output| Port { component: component.into(), output };
    assert_eq!(topology.sinks[0].inputs, [port("in", Output::Default)]);
    assert_eq!(topology.sinks[1].inputs, [port("in", Output::Rejected), port("out", Output::Rejected)]);
    let mut loaded = loaded;
    loaded.diagnostics.clear();
    assert_eq!(loaded.render(false), "");
}

#[test]
fn the_data_folder_of_the_command_line_counts() {
    let text = format!("data_dir = \"/a\"\n{SOUND}");
    let inputs = [ConfigInput::Text { name: "x".into(), text }];
    let options = LoadOptions { data_dir: Some("/b".into()), ..LoadOptions::default() };
    let loaded = load(&inputs, &environment, &options);
    assert_eq!(loaded.topology.unwrap().settings.data_dir, PathBuf::from("/b"));
}

#[test]
fn an_unknown_option_is_shown_as_the_design_shows_it() {
    check(
        r#"
[sources.in]
type = "lines"
paths = ["a.log"]
[sinks.es]
type = "store"
inputs = ["in"]
# comment
flush_secs = 5
"#,
        r#"
error[unknown-option]: unknown option `flush_secs` in sink `es` (store)
 --> x.toml:9:1
9 | flush_secs = 5
  | ^^^^^^^^^^ did you mean `flush_interval`?
  = help: `flowstone explain store` lists its options

1 error
"#,
    );
}

#[test]
fn everything_that_is_wrong_with_names_and_types_is_told_at_once() {
    check(
        r#"
memry = "1GiB"
workers = 0
metrics.listen = "localhost"
[sources.in]
type = "lines"
follow = "yes"
decoding = "jason"
[sources."a.b"]
type = "pass"
[transforms.t]
type = "pas"
inputs = "inn"
[sinks.es]
inputs = []
[sinks.other]
type = "elsewhere"
inputs = ["es", "t.out", "in.rejectd"]
"#,
        r#"
error[unknown-option]: unknown option `memry` in the configuration
 --> x.toml:2:1
2 | memry = "1GiB"
  | ^^^^^ did you mean `memory`?
  = help: `flowstone explain settings` lists what stands outside of components

error[invalid-value]: 0 is out of range
 --> x.toml:3:11
3 | workers = 0
  |           ^ expected 1 to 1024

error[invalid-value]: "localhost" is no address to listen on
 --> x.toml:4:18
4 | metrics.listen = "localhost"
  |                  ^^^^^^^^^^^ expected an IP address and a port such as "127.0.0.1:9598" or "[::]:9598"

error[missing-option]: option `paths` is missing in source `in` (lines)
 --> x.toml:5:1
5 | [sources.in]
  | ^^^^^^^^^^^^ expected `paths = ` (list of strings)
  = help: `flowstone explain lines` lists its options

error[wrong-type]: expected `true` or `false`, found a string
 --> x.toml:7:10
7 | follow = "yes"
  |          ^^^^^ expected `true` or `false`

error[invalid-value]: "jason" is not a choice here
 --> x.toml:8:12
8 | decoding = "jason"
  |            ^^^^^^^ did you mean "json"? (one of "text" | "json")

error[component-name]: `a.b` cannot name a source
 --> x.toml:9:10
9 | [sources."a.b"]
  |          ^^^^^ expected letters, digits, `_` and `-`, at most 64

error[unknown-type]: unknown source type `pass` in source `a.b`
  --> x.toml:10:8
10 | type = "pass"
   |        ^^^^^^ `pass` is a transform
   = help: put it under `[transforms.a.b]`, or use one of lines

error[unknown-type]: unknown transform type `pas` in transform `t`
  --> x.toml:12:8
12 | type = "pas"
   |        ^^^^^ did you mean `pass`?
   = help: `flowstone list` says what there is

error[unknown-input]: no component is called `inn`, in the inputs of transform `t`
  --> x.toml:13:10
13 | inputs = "inn"
   |          ^^^^^ did you mean `in`?

error[missing-option]: sink `es` has no `type`
  --> x.toml:14:1
14 | [sinks.es]
   | ^^^^^^^^^^ expected one of store
   = help: `flowstone list` says what each is

error[invalid-value]: sink `es` reads nothing
  --> x.toml:15:10
15 | inputs = []
   |          ^^ expected the name of a source or transform

error[unknown-type]: unknown sink type `elsewhere` in sink `other`
  --> x.toml:17:8
17 | type = "elsewhere"
   |        ^^^^^^^^^^^ is not in this build
   = help: build flowstone with the cargo feature `sink-elsewhere`, or without `--no-default-features`

error[unknown-input]: sink `es` gives no events on, in the inputs of sink `other`
  --> x.toml:18:11
18 | inputs = ["es", "t.out", "in.rejectd"]
   |           ^^^^ expected one of es.rejected

error[unknown-input]: source `in` has no output `rejectd`, in the inputs of sink `other`
  --> x.toml:18:26
18 | inputs = ["es", "t.out", "in.rejectd"]
   |                          ^^^^^^^^^^^^ did you mean `in.rejected`?

15 errors
"#,
    );
}

#[test]
fn a_configuration_with_eleven_mistakes_reports_eleven() {
    let loaded = load_texts(&[(
        "x.toml",
        r#"
wrokers = 2
memory = "lots"
[sources.in]
type = "lines"
paths = ["${ABSENT}"]
follow = 1
[transforms.t]
type = "pass"
inputs = ["in", "nobody"]
patterns = ["good", "a bad one"]
[transforms.alone]
type = "pass"
inputs = ["t"]
[sinks.es]
type = "store"
inputs = ["t"]
flush_interval = "soon"
hosts = ["http://a", "ftp://b"]
port = 70000
[[tests]]
name = "t"
insert_at = "tt"
inputs = []
"#,
    )]);
    let errors: Vec<&str> =
        loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).map(|d| d.code).collect();
    assert_eq!(
        errors,
        [
            "unknown-option",    // wrokers
            "invalid-value",     // memory
            "missing-variable",  // ${ABSENT}
            "wrong-type",        // follow
            "unknown-input",     // nobody
            "invalid-option",    // the bad pattern
            "unread-output",     // alone
            "invalid-value",     // flush_interval
            "invalid-option",    // the host that is no URL
            "invalid-value",     // port
            "unknown-component", // insert_at
        ],
        "{}",
        loaded.render(false)
    );
    assert!(loaded.has_errors());
}

#[test]
fn a_plugins_own_errors_stand_at_the_option_the_element_and_the_byte() {
    check(
        r#"
[sources.in]
type = "lines"
paths = ["a.log"]
[transforms.t]
type = "pass"
inputs = ["in"]
patterns = [
  "good",
  'this is bad',
]
[sinks.out]
type = "store"
inputs = ["t"]
hosts = ["http://a", "b"]
tls.ca_file = ""
[sinks.late]
type = "store"
inputs = ["t"]
port = 1
"#,
        r#"
error[invalid-option]: a bad pattern
  --> x.toml:10:12
10 |   'this is bad',
   |            ^^^ expected a good one

error[invalid-option]: `b` is no URL
  --> x.toml:15:22
15 | hosts = ["http://a", "b"]
   |                      ^^^ expected http://...

error[invalid-option]: the name is empty
  --> x.toml:16:15
16 | tls.ca_file = ""
   |               ^^
   = help: leave it out

error[invalid-option]: sink `late` (store): cannot be had today
  --> x.toml:17:1
17 | [sinks.late]
   | ^^^^^^^^^^^^

4 errors
"#,
    );
}

#[test]
fn several_files_are_one_and_what_two_of_them_say_is_an_error_with_both_places() {
    check_files(
        &[
            (
                "a.toml",
                "data_dir = \"/a\"\nbatch.max_rows = 1\n[sources.in]\ntype = \"lines\"\npaths = []\n[[tests]]\n",
            ),
            (
                "b.toml",
                "data_dir = \"/b\"\nbatch.max_rows = 2\n[sinks.out]\ntype = \"store\"\ninputs = [\"in\"]\n",
            ),
            ("c.toml", "[sinks.out]\ntype = \"store\"\n[sinks.in]\ntype = \"store\"\ninputs = [\"in\"]\n"),
        ],
        r#"
error[missing-option]: option `name` is missing
 --> a.toml:6:1
6 | [[tests]]
  | ^^^^^^^^^ expected `name = ` (string)

error[missing-option]: option `insert_at` is missing
 --> a.toml:6:1
6 | [[tests]]
  | ^^^^^^^^^ expected `insert_at = ` (string)

error[missing-option]: option `inputs` is missing
 --> a.toml:6:1
6 | [[tests]]
  | ^^^^^^^^^ expected `inputs = ` (list)

error[defined-twice]: `data_dir` is defined in two places
 --> b.toml:1:1
1 | data_dir = "/b"
  | ^^^^^^^^ defined again here
 ::: a.toml:1:1
1 | data_dir = "/a"
  | -------- first defined here
  = help: keep one of them, or give the second another name

error[defined-twice]: `batch.max_rows` is defined in two places
 --> b.toml:2:7
2 | batch.max_rows = 2
  |       ^^^^^^^^ defined again here
 ::: a.toml:2:7
2 | batch.max_rows = 1
  |       -------- first defined here
  = help: keep one of them, or give the second another name

error[defined-twice]: sink `out` is defined in two places
 --> c.toml:1:8
1 | [sinks.out]
  |        ^^^ defined again here
 ::: b.toml:3:8
3 | [sinks.out]
  |        --- first defined here
  = help: keep one of them, or give the second another name

error[defined-twice]: two components are called `in`
 --> c.toml:3:8
3 | [sinks.in]
  |        ^^ a sink here
 ::: a.toml:3:10
3 | [sources.in]
  |          -- a source here
  = help: give one of them another name: `inputs` and `rejected` could mean either

7 errors
"#,
    );
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    for (settings, place) in [
        ("memory = '2MiB'", 10),
        ("batch.max_bytes = '8MiB'", 19),
        ("memory = '32MiB'\nbatch = { max_bytes = '16MiB' }", 10),
        ("batch.max_bytes = '100MiB'", 19),
        ("batch.max_rows = 0", 18),
        ("workers = 1025", 11),
        ("shutdown_timeout = 5", 20),
        ("data_dir = 5", 12),
        ("metrics.listen = ':9598'", 18),
    ] {
        let loaded = load_texts(&[("x", &format!("{settings}{SOUND}"))]);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{settings}");
        assert_eq!(errors[0].span.unwrap().start + 1, place, "{settings}");
    }
    for settings in ["memory = '4MiB'", "batch.max_bytes = '3MiB'", "workers = 3\nshutdown_timeout = '1m'"] {
        assert!(load_texts(&[("x", &format!("{settings}{SOUND}"))]).topology.is_some(), "{settings}");
    }
}

#[test]
fn a_whole_variable_may_fill_a_number_and_a_part_of_a_string_may_not() {
    let text = |port: &str| format!("{SOUND}port = {port}\n");
    assert!(load_texts(&[("x", &text("\"${PORT}\""))]).topology.is_some());
    assert!(load_texts(&[("x", &text("\"${ABSENT:-9300}\""))]).topology.is_some());
    codes(&text("\"1${PORT}\""), &["wrong-type"]);
    codes(&text("\"${WORD}\""), &["invalid-value"]);
    codes(&text("\"9200\""), &["wrong-type"]);
}

#[test]
fn a_variable_that_is_not_set_is_told_once_and_nothing_that_follows_from_it() {
    check(
        &format!(
            "{SOUND}hosts = [\"http://a\", \"${{ES_HOST}}\"]\nport = \"${{ES_PORT:?the port of the cluster}}\"\n"
        ),
        r#"
error[missing-variable]: the environment variable `ES_HOST` is not set
  --> x.toml:13:23
13 | hosts = ["http://a", "${ES_HOST}"]
   |                       ^^^^^^^^^^ no value and no default
   = help: set it, or give a default: `${ES_HOST:-...}`

error[missing-variable]: the environment variable `ES_PORT` is not set: the port of the cluster
  --> x.toml:14:9
14 | port = "${ES_PORT:?the port of the cluster}"
   |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ required here
   = help: set `ES_PORT`

2 errors
"#,
    );
}

#[test]
fn syntax_errors_are_told_with_what_can_be_told_beside_them() {
    check(
        "[sources.in]\ntype = lines\npaths = [\"a.log\"]\nfolow = true\n[sinks.out]\ntype = \"store\"\ninputs = [\"in\"\n",
        r#"
error[syntax]: this is no value
 --> x.toml:2:8
2 | type = lines
  |        ^^^^^ expected quotes around a string

error[unknown-option]: unknown option `folow` in source `in` (lines)
 --> x.toml:4:1
4 | folow = true
  | ^^^^^ did you mean `follow`?
  = help: `flowstone explain lines` lists its options

error[syntax]: unclosed array
 --> x.toml:7:15
7 | inputs = ["in"
  |               ^ expected `]`

3 errors
"#,
    );
}

#[test]
fn a_plugin_that_panics_is_named_and_told_apart_from_a_mistake() {
    let text = format!("{SOUND}[transforms.t]\ntype = 'pass'\ninputs = ['in']\npanic = true\n");
    let loaded = load_texts(&[("x.toml", &text)]);
    assert!(loaded.panicked && loaded.has_errors());
    assert!(loaded.render(false).contains("error[bug]: transform `t` (pass) panicked while it was built"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        load_texts(&[("x", &text)]).render(true);
    }

    /// Pieces of real configurations in any order: deeper than noise gets.
    #[test]
    fn shuffled_configurations_never_panic(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "[sources.in]\n", "[sinks.out]\n", "[transforms.t]\n", "[[tests]]\n", "[[tests.outputs]]\n", "type = \"lines\"\n",
                "type = 'store'\n", "type = 'pass'\n", "type = 'split'\n", "inputs = ['in', 't']\n", "inputs = 'out.rejected'\n", "outputs = ['a']\n",
                "password = '''é\n", "'''\n", "\"", "=", "[", "]", "{", "}", "\r\n", "name = 1\n", "insert_at = 't'\n", "paths = ['${PORT}']\n",
                "patterns = [\"bad\", 'é bad', \"\\t bad\"]\n", "tls.key = 1\n", "tls = { key = '${ABSENT}', x = 'y' }\n", "\u{feff}", "#é\n", ".",
            ]),
            0..24,
        ),
    ) {
        load_texts(&[("x", &pieces.concat()), ("y", &pieces.concat())]).render(false);
    }
}
