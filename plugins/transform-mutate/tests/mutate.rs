//! What the recorded cases leave open: failures, odd names, and what a configuration may not say.

use flowstone_testkit::cases::Case;
use serde_json::{Value as Json, json};
use transform_mutate as _;

/// Runs `config` on `input`, alone, in a batch of equal events and beside events that must not change.
fn check(config: Json, input: Json, expect: Json) {
    let case = Case(
        json!({ "id": config.to_string(), "config": config, "input": input, "match": "exact", "expect": expect }),
    );
    if let Err(difference) = case.check("mutate") {
        panic!("{difference}");
    }
}

/// Builds `config`, which must fail, and gives the error.
fn error_of(config: Json) -> String {
    let case = Case(json!({ "id": "error", "config": config, "input": {}, "match": "exact", "expect": {} }));
    case.check("mutate").expect_err("the configuration is refused")
}

#[test]
fn a_step_that_fails_is_tagged_and_ends_the_event_there() {
    for (config, input, expect) in [
        (
            json!({ "strip": ["f"], "join": { "f": "-" }, "add_tag": ["done"] }),
            json!({ "f": ["a ", 1] }),
            json!({ "f": ["a ", 1], "tags": ["_mutate_error"] }),
        ),
        (
            json!({ "convert": { "f": "integer" }, "copy": { "f": "g" } }),
            json!({ "f": [{ "a": 1 }], "tags": ["x"] }),
            json!({ "f": [{ "a": 1 }], "tags": ["x", "_mutate_error"] }),
        ),
        (
            json!({ "replace": { "[a][b]": "x" }, "tag_on_failure": "odd" }),
            json!({ "a": "text" }),
            json!({ "a": "text", "tags": ["odd"] }),
        ),
        (
            json!({ "gsub": ["f", "%{needle}", ""] }),
            json!({ "f": "a(b", "needle": "(" }),
            json!({ "f": "a(b", "needle": "(", "tags": ["_mutate_error"] }),
        ),
        (
            json!({ "rename": { "f": "%{name}" } }),
            json!({ "f": 1, "name": "[a" }),
            json!({ "f": 1, "name": "[a", "tags": ["_mutate_error"] }),
        ),
        (
            json!({ "copy": { "f": "@timestamp" } }),
            json!({ "f": "2019-02-24T09:58:29.000Z" }),
            json!({ "f": "2019-02-24T09:58:29.000Z", "tags": ["_mutate_error"] }),
        ),
    ] {
        check(config, input, expect);
    }
}

#[test]
fn one_event_that_fails_does_not_hold_up_its_neighbours() {
    use flowstone_core::event::{Batch, Path, RowId, Value};
    use flowstone_core::{Clock, ComponentId, Kind, Metrics, TransformCx};
    use flowstone_testkit::cases::{Document, build};

    let config = json!({ "convert": { "f": "integer" }, "rename": { "f": "g" }, "uppercase": ["h"] });
    let (mut transform, _) = build("mutate", &config).unwrap();
    let mut batch = Batch::new((0..3_u8).map(|row| RowId::of(&[row])).collect());
    for row in 0..3 {
        let value = if row == 1 { Value::Array(vec![Value::object()]) } else { Value::from("7") };
        batch.set(row, &Path::top("g"), value).unwrap();
        batch.set(row, &Path::top("h"), "h").unwrap();
    }
    let id = ComponentId { name: "m".into(), kind: Kind::Transform, type_name: "mutate" };
    let metrics = Metrics::new();
    let component = metrics.component(&id);
    let (mut second, _) =
        build("mutate", &json!({ "convert": { "g": "integer" }, "uppercase": ["h"] })).unwrap();
    for transform in [&mut transform, &mut second] {
        transform.apply(&mut batch, &mut TransformCx::new(&component, Clock::Fixed(0)));
    }
    assert_eq!(Document::of(&batch, 0).event, json!({ "g": 7, "h": "H" }));
    assert_eq!(Document::of(&batch, 1).event, json!({ "g": [{}], "h": "H", "tags": ["_mutate_error"] }));
    assert_eq!(Document::of(&batch, 2).event, json!({ "g": 7, "h": "H" }));
    assert_eq!(batch.take_unmatched().unwrap().iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn columns_keep_their_values_through_renames_and_copies() {
    for (config, input, expect) in [
        (json!({ "rename": { "a": "b", "b": "c" } }), json!({ "a": 1, "b": 2 }), json!({ "c": 1 })),
        (json!({ "rename": { "[a][b]": "c" } }), json!({ "a": { "b": 1 } }), json!({ "a": {}, "c": 1 })),
        (
            json!({ "rename": { "a": "[b][c]" } }),
            json!({ "a": { "x": [1] } }),
            json!({ "b": { "c": { "x": [1] } } }),
        ),
        (json!({ "copy": { "a": "b" } }), json!({ "a": null }), json!({ "a": null })),
        (json!({ "copy": { "a": "a" } }), json!({ "a": 1 }), json!({ "a": 1 })),
        (json!({ "replace": { "a": "x" } }), json!({ "a": { "b": 1 } }), json!({ "a": "x" })),
        (json!({ "merge": { "d": "a" } }), json!({}), json!({ "d": [] })),
        (
            json!({ "merge": { "d": ["a", "b"] } }),
            json!({ "d": { "x": 1 }, "a": { "y": 2 }, "b": 3 }),
            json!({ "d": { "x": 1, "y": 2 }, "a": { "y": 2 }, "b": 3 }),
        ),
        (
            json!({ "convert": { "a": "integer" } }),
            json!({ "a": "-9223372036854775808" }),
            json!({ "a": i64::MIN }),
        ),
        (json!({ "lowercase": ["tags"] }), json!({ "tags": ["A", "b"] }), json!({ "tags": ["a", "b"] })),
        (json!({ "coerce": { "a": 5 } }), json!({ "b": 1 }), json!({ "b": 1 })),
        (
            json!({ "rename": { "@timestamp": "t" } }),
            json!({ "@timestamp": "2019-02-24T09:58:29.000Z" }),
            json!({ "t": "2019-02-24T09:58:29.000Z" }),
        ),
    ] {
        check(config, input, expect);
    }
}

#[test]
fn what_a_configuration_may_not_say_is_refused_at_its_place() {
    for (config, part) in [
        (json!({ "convert": { "f": "integers" } }), "did you mean"),
        (json!({ "convert": { "f[": "integer" } }), "no field reference"),
        (json!({ "gsub": ["f", "a"] }), "index: Some(0)"),
        (json!({ "gsub": ["f", "a", "b", "f", "(", "b"] }), "index: Some(4)"),
        (json!({ "gsub": ["[f", "a", "b"] }), "index: Some(0)"),
        (json!({ "rename": { "a": ["b"] } }), "expected a string"),
        (json!({ "uppercase": ["a]"] }), "no field reference"),
        (json!({ "uppercases": ["a"] }), "did you mean `uppercase`"),
    ] {
        let error = error_of(config.clone());
        assert!(error.contains(part), "{config}: {error}");
    }
}
