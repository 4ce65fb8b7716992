//! What becomes of an event: by the value of its source, by what its target holds, and by what it is asked afterwards.

use serde_json::{Value as Json, json};

use crate::{BOXFORD, Files, boxford, boxford_geo, with};

#[test]
fn each_value_of_the_source_has_its_outcome() {
    let files = Files::new();
    let options = json!({ "database": "city" });
    let tags = json!(["_geoip_lookup_failure"]);
    for (ip, outcome) in [
        (json!(BOXFORD), json!({ "geoip": boxford() })),
        (json!([BOXFORD, "5.5.5.5"]), json!({ "geoip": boxford() })),
        (json!("::ffff:2.125.160.216"), json!({ "geoip": boxford() })),
        (json!("02.125.160.216"), json!({ "geoip": boxford() })),
        (
            json!("::2.125.160.216"),
            json!({ "geoip": with(&boxford(), json!({ "ip": "0:0:0:0:0:0:27d:a0d8" })) }),
        ),
        (
            json!("2001:218::1"),
            json!({ "geoip": { "ip": "2001:218:0:0:0:0:0:1", "country_code2": "JP", "country_code3": "JP", "location": { "lat": 35.5, "lon": 139.0 }, "latitude": 35.5, "longitude": 139.0 } }),
        ),
        (json!("6.6.6.1"), json!({ "geoip": { "ip": "6.6.6.1", "latitude": 1.5 } })),
        // Nothing to look up.
        (Json::Null, json!({ "tags": tags })),
        (json!(""), json!({ "tags": tags })),
        (json!(" \t"), json!({ "tags": tags })),
        // Not in the database, or without coordinates.
        (json!("10.0.0.1"), json!({ "geoip": {}, "tags": tags })),
        (json!("::1"), json!({ "geoip": {}, "tags": tags })),
        (json!("5.5.5.5"), json!({ "geoip": {}, "tags": tags })),
        (json!("7.7.7.7"), json!({ "geoip": {}, "tags": tags })),
        // No address.
        (json!("-"), json!({ "geoip": {}, "tags": tags })),
        (json!("2.125.160.216:80"), json!({ "geoip": {}, "tags": tags })),
        (json!(" 2.125.160.216"), json!({ "geoip": {}, "tags": tags })),
        (json!("example.com"), json!({ "geoip": {}, "tags": tags })),
        // The original stops at these.
        (json!([]), json!({ "tags": tags })),
        (json!([7]), json!({ "tags": tags })),
        (json!({ "a": 1 }), json!({ "tags": tags })),
        (json!(7), json!({ "tags": tags })),
        (json!(true), json!({ "tags": tags })),
    ] {
        let input = json!({ "ip": ip });
        files.check(options.clone(), input.clone(), with(&input, outcome));
    }
    files.check(options, json!({ "x": 1 }), json!({ "x": 1, "tags": tags }));
}

#[test]
fn what_the_target_holds_already_stays_or_is_united() {
    let files = Files::new();
    let tags = json!(["_geoip_lookup_failure"]);
    for (options, input, outcome) in [
        (
            json!({}),
            json!({ "geoip": { "old": 1, "city_name": "?" } }),
            json!({ "geoip": with(&boxford(), json!({ "old": 1 })) }),
        ),
        (json!({}), json!({ "geoip": { "location": { "z": 1 } } }), json!({ "geoip": boxford() })),
        (json!({}), json!({ "geoip": null }), json!({ "geoip": boxford() })),
        (json!({}), json!({ "geoip": "scalar" }), json!({ "geoip": "scalar", "tags": tags })),
        (json!({}), json!({ "geoip": [1] }), json!({ "geoip": [1], "tags": tags })),
        (
            json!({ "target": "[a][b]" }),
            json!({ "a": { "c": 1 } }),
            json!({ "a": { "c": 1, "b": boxford() } }),
        ),
        (json!({ "target": "[a][b]" }), json!({ "a": "scalar" }), json!({ "a": "scalar", "tags": tags })),
        (
            json!({ "target": "t", "ecs_compatibility": "v1" }),
            json!({ "t": { "geo": { "old": 1, "location": { "z": 1 } }, "x": 2 } }),
            json!({ "t": { "ip": BOXFORD, "x": 2, "geo": with(&boxford_geo(), json!({ "old": 1 })), "mmdb": { "dma_code": 819 } } }),
        ),
        (
            json!({ "target": "t", "ecs_compatibility": "v1" }),
            json!({ "t": { "geo": "scalar" } }),
            json!({ "t": { "geo": "scalar" }, "tags": tags }),
        ),
        (
            json!({ "target": "t", "ecs_compatibility": "v1" }),
            json!({ "t": { "x": 2 } }),
            json!({ "t": { "ip": BOXFORD, "x": 2, "geo": boxford_geo(), "mmdb": { "dma_code": 819 } } }),
        ),
    ] {
        let options = with(&options, json!({ "database": "city" }));
        let input = with(&json!({ "ip": BOXFORD }), input);
        files.check(options, input.clone(), with(&input, outcome));
    }
    for (options, input, outcome) in [
        (json!({}), json!({ "geoip": { "old": 1 } }), json!({})),
        (json!({}), json!({ "geoip": "scalar" }), json!({})),
        (json!({}), json!({ "geoip": null }), json!({ "geoip": {} })),
        (json!({ "target": "[a][b]" }), json!({ "a": "scalar" }), json!({})),
        (json!({ "target": "[a][b]" }), json!({ "a": { "c": 1 } }), json!({ "a": { "c": 1, "b": {} } })),
        (json!({ "target": "t", "ecs_compatibility": "v1" }), json!({ "t": { "x": 2 } }), json!({})),
        (json!({ "target": "t", "ecs_compatibility": "v8" }), json!({}), json!({ "t": {} })),
    ] {
        let options = with(&options, json!({ "database": "city" }));
        let input = with(&json!({ "ip": "10.0.0.1" }), input);
        files.check(options, input.clone(), with(&with(&input, outcome), json!({ "tags": tags })));
    }
}

#[test]
fn decorations_come_where_something_was_found_and_tags_where_not() {
    let files = Files::new();
    let options = json!({
        "database": "country", "tag_on_failure": ["f1", "f2"], "add_tag": ["hit"], "remove_field": ["ip", "[geoip][ip]"],
        "add_field": { "c": "%{[geoip][country_code2]}", "whole": "%{geoip}" },
    });
    files.check(
        options.clone(),
        json!({ "ip": BOXFORD }),
        json!({
            "c": "GB", "tags": ["hit"], "geoip": { "country_code2": "GB", "country_name": "United Kingdom", "continent_name": "Europe" },
            "whole": r#"{"ip":"2.125.160.216","continent_name":"Europe","country_code2":"GB","country_name":"United Kingdom"}"#,
        }),
    );
    files.check(
        options,
        json!({ "ip": "10.0.0.1", "tags": ["f2", "x"] }),
        json!({ "ip": "10.0.0.1", "geoip": {}, "tags": ["f2", "x", "f1"] }),
    );
    files.check(
        json!({ "database": "country", "tag_on_failure": [] }),
        json!({ "ip": "-" }),
        json!({ "ip": "-", "geoip": {} }),
    );
}

/// What was found is shared between events; nobody who reads or changes it can tell.
#[test]
fn conditions_templates_and_later_transforms_see_plain_objects() {
    use flowstone_core::event::{Batch, BitSet, Path, RowId};
    use flowstone_core::{Clock, ComponentId, Kind, Metrics, TransformCx};
    use flowstone_dialect::{Condition, Template};
    use flowstone_testkit::cases::build;

    let files = Files::new();
    let addresses = [BOXFORD, "10.0.0.1", BOXFORD, "2.125.160.1", "2001:218::1", "-"];
    let new = || Batch::new((0..addresses.len()).map(|row| RowId::of(&row.to_le_bytes())).collect());
    let mut shared = new();
    for (row, ip) in addresses.iter().enumerate() {
        shared.set(row, &Path::top("ip"), *ip).unwrap();
    }
    let metrics = Metrics::new();
    let id = ComponentId { name: "g".into(), kind: Kind::Transform, type_name: "geoip" };
    for target in ["geoip", "other"] {
        let options = files.options(json!({ "database": "city", "target": target }));
        let (mut transform, _) = build("geoip", &options).unwrap();
        transform.apply(&mut shared, &mut TransformCx::new(&metrics.component(&id), Clock::System));
    }
    let mut plain = new();
    for row in 0..addresses.len() {
        let flowstone_core::event::Value::Object(fields) = shared.to_value(row) else { panic!("an object") };
        fields.into_iter().for_each(|(name, value)| plain.set(row, &Path::top(&name), value).unwrap());
    }
    let all = BitSet::all(addresses.len());
    for (condition, rows) in [
        (r#"[geoip]"#, &[0, 1, 2, 3, 4, 5][..]),
        (r#"[geoip][ip]"#, &[0, 2, 3, 4]),
        (r#"[geoip][country_name] == "United Kingdom""#, &[0, 2, 3]),
        (r#"[geoip][location][lat] > 40"#, &[0, 2, 3]),
        (r#"[geoip][dma_code] == 819"#, &[0, 2, 3]),
        (r#"[geoip][city_name] =~ "^Box""#, &[0, 2, 3]),
        (r#"[geoip][country_code2] in ["JP", "FR"]"#, &[4]),
        (r#"[geoip] == [other]"#, &[0, 1, 2, 3, 4, 5]),
        (r#"[geoip] == [ip]"#, &[]),
        (r#"[geoip] in [other]"#, &[]),
        (r#""ip" in [geoip]"#, &[]),
        (r#"[geoip] in ["a", "b"]"#, &[]),
        (r#"[geoip] > 5"#, &[]),
    ] {
        let parsed = Condition::parse(condition).unwrap();
        for batch in [&shared, &plain] {
            assert_eq!(parsed.select(batch, &all).rows.iter().collect::<Vec<_>>(), rows, "{condition}");
        }
    }
    for template in ["%{[geoip][city_name]}", "%{[geoip][location]}", "%{geoip}", "%{[geoip][nothing]}"] {
        let template = Template::parse(template).unwrap();
        for row in 0..addresses.len() {
            let [mut a, mut b] = [String::new(), String::new()];
            template.render(shared.row(row), &mut a);
            template.bind(&plain).render(row, &mut b);
            assert_eq!(a, b);
        }
    }
    // A second look-up into the same target, and a member that goes.
    for batch in [&mut shared, &mut plain] {
        let (mut transform, _) = build("geoip", &files.options(json!({ "database": "asn" }))).unwrap();
        transform.apply(batch, &mut TransformCx::new(&metrics.component(&id), Clock::System));
        batch.remove_from(&all, &Path::parse("[geoip][latitude]").unwrap());
        batch.set(1, &Path::parse("[geoip][mine]").unwrap(), 1).unwrap();
    }
    for row in 0..addresses.len() {
        assert_eq!(shared.to_value(row), plain.to_value(row));
    }
    let document = flowstone_testkit::cases::json_of(&shared.to_value(0));
    assert_eq!(document.pointer("/geoip/asn"), Some(&json!(5607)));
    assert_eq!(document.pointer("/geoip/latitude"), None);
}
