//! `[[tests]]`, and the reference generated from options.

use flowstone_core::{MetricKind, MetricSpec};

use super::*;

#[test]
fn tests_are_read_with_whole_events_and_a_fixed_time() {
    let loaded = load_texts(&[(
        "x.toml",
        &format!(
            r#"{SOUND}
[transforms.t]
type = "pass"
inputs = ["in"]
[sinks.more]
type = "store"
inputs = ["t"]

[[tests]]
name = "lines and events"
insert_at = "t"
inputs = ["a line", {{ message = "an event", "@timestamp" = "2019-02-24T09:58:29.007Z", n = 1, f = 6.0 }}]
clock = 2020-01-01T00:00:00Z
no_outputs_from = ["t.rejected"]
[[tests.outputs]]
extract_from = "t"
documents = [{{ a = [true, 2019-02-24T09:58:29Z] }}, '{{"a":null}}']
conditions = ["[a] == 1"]
"#
        ),
    )]);
    assert!(!loaded.has_errors(), "{}", loaded.render(false));
    let json = |value: &flowstone_core::event::Value| {
        let mut out = Vec::new();
        flowstone_core::event::write_json_value(value, &mut out);
        String::from_utf8(out).unwrap()
    };
    let test = &loaded.tests[0];
    assert_eq!(
        test.inputs.iter().map(json).collect::<Vec<_>>(),
        [r#""a line""#, r#"{"message":"an event","@timestamp":"2019-02-24T09:58:29.007Z","n":1,"f":6.0}"#,]
    );
    assert_eq!((&*test.insert_at, test.clock), ("t", Some(1_577_836_800_000)));
    let documents = test.outputs[0].documents.as_ref().unwrap();
    assert_eq!(
        documents.iter().map(json).collect::<Vec<_>>(),
        [r#"{"a":[true,"2019-02-24T09:58:29.000Z"]}"#, r#"{"a":null}"#]
    );
    assert_eq!(test.outputs[0].conditions.len(), 1);
    assert_eq!(test.no_outputs_from, [Port { component: "t".into(), output: Output::Rejected }]);
}

#[test]
fn tests_that_could_not_show_anything_are_refused() {
    let base = format!(
        "{SOUND}[transforms.t]\ntype='pass'\ninputs=['in']\n[transforms.u]\ntype='pass'\ninputs=['t']\n\
         [sinks.more]\ntype='store'\ninputs=['u']\n[[tests]]\nname='n'\ninputs=['l']\n"
    );
    for (test, expect) in [
        ("insert_at='t'", &["empty-test"][..]),
        ("insert_at='in'\nno_outputs_from=['t']", &["unknown-component"]),
        ("insert_at='tt'\nno_outputs_from=['t']", &["unknown-component"]),
        ("insert_at='u'\nno_outputs_from=['t']", &["unreachable-output"]),
        ("insert_at='t'\nno_outputs_from=['uu']", &["unknown-input"]),
        ("insert_at='t'\nno_outputs_from=['more.rejected']", &["unknown-component"]),
        ("insert_at='t'\noutputs=[{ extract_from='u' }]", &["empty-test"]),
        ("insert_at='t'\noutputs=[{ extract_from='u', documents=['nope'] }]", &["invalid-value"]),
        ("insert_at='t'\noutputs=[{ extract_from='u', documents=['1'] }]", &["invalid-value"]),
        ("insert_at='t'\noutputs=[{ extract_from='u', docs=[] }]", &["empty-test", "unknown-option"]),
        ("insert_at='t'\nclock='yesterday'\nno_outputs_from=['u']", &["invalid-value"]),
        (
            "insert_at='t'\nno_outputs_from=['u']\n[[tests]]\nname='n'\ninputs=['l']\ninsert_at='t'\nno_outputs_from=['u']",
            &["defined-twice"],
        ),
    ] {
        codes(&format!("{base}{test}\n"), expect);
    }
}

#[test]
fn a_plugins_documentation_is_checked() {
    for plugin in flowstone_core::plugins() {
        assert_eq!(check_plugin(plugin), Vec::<String>::new(), "{}", plugin.type_name);
    }
    static BAD: flowstone_core::Plugin = flowstone_core::Plugin {
        type_name: "store",
        crate_name: "here",
        summary: "Ends with a stop.",
        options: &[OptionSpec {
            name: "inputs",
            type_name: "string",
            doc: " x",
            default: None,
            secret: false,
            fields: &[],
        }],
        metrics: &[
            MetricSpec { name: "rows", help: "rows that came", kind: MetricKind::Counter, labels: &[] },
            MetricSpec {
                name: "component_errors_total",
                help: "errors",
                kind: MetricKind::Counter,
                labels: &[],
            },
            MetricSpec { name: "level", help: "", kind: MetricKind::Gauge, labels: &["a b"] },
        ],
        example: "hoost = 1",
        build: flowstone_core::Build::Sink(|_, _, _| Ok(None)),
    };
    let problems = check_plugin(&BAD);
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

#[test]
fn the_reference_has_every_option_with_its_default() {
    let plugin = flowstone_core::find(Kind::Sink, "store").unwrap();
    let reference = explain_plugin(plugin);
    for line in [
        "sink `store`: keeps events",
        "type = \"store\"",
        "password = \"${ES_PASSWORD}\"",
        "  hosts: list of strings, default [\"http://127.0.0.1:9200\"]",
        "      Where the servers are.",
        "  password: string, secret, unset by default",
        "  tls.ca_file: string, unset by default",
        "  inputs: list of strings, required",
    ] {
        assert!(reference.lines().any(|found| found == line), "{line}\n{reference}");
    }
    let settings = explain_settings();
    for line in [
        "  memory: size in bytes, default \"12MiB\"",
        "  batch.max_rows: integer, default 4096",
        "  outputs[].extract_from: string, required",
    ] {
        assert!(settings.lines().any(|found| found == line), "{line}\n{settings}");
    }
}
