//! What `geoip` makes of addresses, field by field, on databases written for it: outcomes, kinds, schemas, layouts,
//! several databases, and targets that are there already.

use std::path::{Path as FilePath, PathBuf};

use flowstone_testkit::cases::Case;
use flowstone_testkit::mmdb::{Mmdb, city};
use serde_json::{Value as Json, json};
use transform_geoip as _;

/// A folder with a database of each kind.
struct Files(tempfile::TempDir);

const BOXFORD: &str = "2.125.160.216";

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        let boxford = || city("Boxford", ("GB", "United Kingdom"), ("WBK", "West Berkshire"), [51.75, -1.25]);
        let plain = |name: &str| json!({ "names": { "en": name } });
        files.write(
            "city",
            Mmdb::new("GeoLite2-City")
                .with("2.125.160.0/24", boxford())
                .with(
                    "2001:218::/32",
                    json!({ "country": { "iso_code": "JP" }, "location": { "latitude": 35.5, "longitude": 139 } }),
                )
                .with(
                    "5.5.5.0/24",
                    json!({ "country": { "iso_code": "FR" }, "city": plain("Nowhere"), "subdivisions": [] }),
                )
                .with("6.6.6.0/24", json!({ "location": { "latitude": 1.5 } }))
                .with("7.7.7.0/24", json!({})),
        );
        files.write(
            "country",
            Mmdb::new("GeoLite2-Country").with(
                "2.125.160.0/24",
                json!({ "continent": { "code": "EU", "names": { "en": "Europe" } }, "country": { "iso_code": "GB", "names": { "en": "United Kingdom" } } }),
            ),
        );
        files.write(
            "asn",
            Mmdb::new("GeoLite2-ASN")
                .with(
                    "2.125.0.0/16",
                    json!({ "autonomous_system_number": 5607, "autonomous_system_organization": "Sky UK \"Limited\"" }),
                )
                .with("2600:6000::/24", json!({ "autonomous_system_number": 237 })),
        );
        files.write(
            "isp",
            Mmdb::new("GeoIP2-ISP").with(
                "2.125.0.0/16",
                json!({ "autonomous_system_number": 5607, "autonomous_system_organization": "Sky", "isp": "Sky Broadband", "organization": "Sky plc" }),
            ),
        );
        files
            .write("domain", Mmdb::new("GeoIP2-Domain").with("2.125.0.0/16", json!({ "domain": "sky.com" })));
        files.write(
            "anonymous",
            Mmdb::new("GeoIP2-Anonymous-IP")
                .with("2.125.0.0/16", json!({ "is_anonymous": true, "is_tor_exit_node": true })),
        );
        files.write(
            "enterprise",
            Mmdb::new("GeoIP2-Enterprise").with(
                "2.125.160.0/20",
                json!({
                    "city": plain("Boxford"), "continent": plain("Europe"),
                    "country": { "iso_code": "GB", "names": { "en": "United Kingdom" } },
                    "location": { "latitude": 51.75, "longitude": -1.25, "time_zone": "Europe/London" },
                    "subdivisions": [{ "iso_code": "WBK", "names": { "en": "West Berkshire" } }],
                    "traits": { "autonomous_system_number": 5607, "autonomous_system_organization": "Sky", "is_anonymous_vpn": true },
                }),
            ),
        );
        let flat = |numbers: Json| {
            json!({
                "city": "Boxford", "country_code": "GB", "latitude": numbers[0], "longitude": numbers[1],
                "postcode": "OX1", "state1": "England", "state2": "", "timezone": "Europe/London",
            })
        };
        files.write("flat", Mmdb::new("city ipvAll").with("2.125.160.0/24", flat(json!([51.75, -1.25]))));
        files.write(
            "flat-short",
            Mmdb::new("city ipv4")
                .short_floats()
                .v4_only()
                .with("2.125.160.0/24", flat(json!([51.5142, -0.0931]))),
        );
        files.write(
            "flat-text",
            Mmdb::new("city ipv4").v4_only().with("2.125.160.0/24", flat(json!(["51.5142", "-0.0931"]))),
        );
        files.write(
            "flat-country",
            Mmdb::new("country ipv4").with("2.125.160.0/24", json!({ "country_code": "GB" })),
        );
        files.write(
            "flat-asn",
            Mmdb::new("asn ipv4").with(
                "2.125.160.0/24",
                json!({ "autonomous_system_number": 5607, "autonomous_system_organization": "Sky" }),
            ),
        );
        files
    }

    fn write(&self, name: &str, database: Mmdb) {
        std::fs::write(self.path(name), database.bytes()).expect("room on the disk");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.mmdb"))
    }

    /// Options with the names of databases as paths; `source` is `ip` unless said.
    fn options(&self, mut options: Json) -> Json {
        let full = |name: &Json| Json::from(self.path(name.as_str().expect("a name")).display().to_string());
        if let Some(database) = options.get_mut("database") {
            *database = match &database {
                Json::Array(names) => names.iter().map(full).collect(),
                name => full(name),
            };
        }
        options.as_object_mut().expect("a table").entry("source").or_insert("ip".into());
        options
    }

    /// Runs `options` on `input`, alone, in a batch of equal events, among strangers and beside events that must not
    /// change.
    fn check(&self, options: Json, input: Json, expect: Json) {
        let options = self.options(options);
        let id = format!("{options} on {input}");
        let case =
            Case(json!({ "id": id, "config": options, "input": input, "match": "exact", "expect": expect }));
        if let Err(difference) = case.check("geoip") {
            panic!("{difference}");
        }
    }

    /// What the user is told of options that are refused.
    fn error_of(&self, options: Json) -> String {
        let case = Case(
            json!({ "id": "error", "config": self.options(options), "input": {}, "match": "exact", "expect": {} }),
        );
        case.check("geoip").expect_err("the configuration is refused")
    }
}

fn boxford() -> Json {
    json!({
        "ip": BOXFORD, "city_name": "Boxford", "continent_code": "EU", "country_code2": "GB", "country_code3": "GB",
        "country_name": "United Kingdom", "region_name": "West Berkshire", "region_code": "WBK", "postal_code": "OX1",
        "timezone": "Europe/London", "location": { "lat": 51.75, "lon": -1.25 }, "latitude": 51.75,
        "longitude": -1.25, "dma_code": 819,
    })
}

fn boxford_geo() -> Json {
    json!({
        "city_name": "Boxford", "continent_code": "EU", "country_iso_code": "GB", "country_name": "United Kingdom",
        "region_name": "West Berkshire", "region_iso_code": "GB-WBK", "postal_code": "OX1",
        "timezone": "Europe/London", "location": { "lat": 51.75, "lon": -1.25 },
    })
}

/// `input` and more members.
fn with(input: &Json, more: Json) -> Json {
    let members = input.as_object().into_iter().chain(more.as_object()).flatten();
    Json::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}

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
fn each_kind_says_what_is_usual_for_it_in_both_layouts() {
    let files = Files::new();
    let place = json!({ "city_name": "Boxford", "continent_name": "Europe", "country_name": "United Kingdom", "region_name": "West Berkshire", "region_iso_code": "GB-WBK", "location": { "lat": 51.75, "lon": -1.25 } });
    let flags = json!({ "anonymous": true, "anonymous_vpn": false, "hosting_provider": false, "public_proxy": false, "residential_proxy": false, "tor_exit_node": true });
    for (database, legacy, ecs) in [
        ("city", boxford(), json!({ "ip": BOXFORD, "geo": boxford_geo(), "mmdb": { "dma_code": 819 } })),
        (
            "country",
            json!({ "ip": BOXFORD, "country_code2": "GB", "country_name": "United Kingdom", "continent_name": "Europe" }),
            json!({ "ip": BOXFORD, "geo": { "country_iso_code": "GB", "country_name": "United Kingdom", "continent_name": "Europe" } }),
        ),
        (
            "asn",
            json!({ "ip": BOXFORD, "asn": 5607, "as_org": "Sky UK \"Limited\"" }),
            json!({ "ip": BOXFORD, "as": { "number": 5607, "organization": { "name": "Sky UK \"Limited\"" } } }),
        ),
        (
            "isp",
            json!({ "ip": BOXFORD, "asn": 5607, "as_org": "Sky", "isp": "Sky Broadband", "organization": "Sky plc" }),
            json!({ "ip": BOXFORD, "as": { "number": 5607, "organization": { "name": "Sky" } }, "mmdb": { "isp": "Sky Broadband", "organization": "Sky plc" } }),
        ),
        ("domain", json!({ "domain": "sky.com" }), json!({ "domain": "sky.com" })),
        ("anonymous", flags.clone(), json!({ "ip_traits": flags })),
        (
            "enterprise",
            with(&place, json!({ "ip": BOXFORD, "country_code2": "GB" })),
            json!({ "ip": BOXFORD, "geo": with(&place, json!({ "country_iso_code": "GB" })) }),
        ),
        (
            "flat",
            json!({ "ip": BOXFORD, "city_name": "Boxford", "country_code2": "GB", "country_code3": "GB", "region_name": "England", "postal_code": "OX1", "timezone": "Europe/London", "location": { "lat": 51.75, "lon": -1.25 }, "latitude": 51.75, "longitude": -1.25 }),
            json!({ "ip": BOXFORD, "geo": { "city_name": "Boxford", "country_iso_code": "GB", "region_name": "England", "postal_code": "OX1", "timezone": "Europe/London", "location": { "lat": 51.75, "lon": -1.25 } } }),
        ),
        (
            "flat-country",
            json!({ "ip": BOXFORD, "country_code2": "GB" }),
            json!({ "ip": BOXFORD, "geo": { "country_iso_code": "GB" } }),
        ),
        (
            "flat-asn",
            json!({ "ip": BOXFORD, "asn": 5607, "as_org": "Sky" }),
            json!({ "ip": BOXFORD, "as": { "number": 5607, "organization": { "name": "Sky" } } }),
        ),
    ] {
        let input = json!({ "ip": BOXFORD });
        files.check(json!({ "database": database }), input.clone(), with(&input, json!({ "geoip": legacy })));
        for version in ["v1", "v8"] {
            files.check(
                json!({ "database": database, "target": "t", "ecs_compatibility": version }),
                input.clone(),
                with(&input, json!({ "t": ecs })),
            );
            // Into an object that is there, of which the source is a member.
            let input = json!({ "client": { "ip": BOXFORD, "port": 443 } });
            files.check(
                json!({ "database": database, "source": "[client][ip]", "ecs_compatibility": version }),
                input.clone(),
                json!({ "client": with(&input["client"], ecs.clone()) }),
            );
        }
    }
}

#[test]
fn coordinates_are_the_same_however_they_are_stored() {
    let files = Files::new();
    for database in ["flat-short", "flat-text"] {
        files.check(
            json!({ "database": database, "fields": ["location", "latitude"] }),
            json!({ "ip": BOXFORD }),
            json!({ "ip": BOXFORD, "geoip": { "location": { "lat": 51.5142, "lon": -0.0931 }, "latitude": 51.5142 } }),
        );
        files.check(
            json!({ "database": database }),
            json!({ "ip": "2001:218::1" }),
            json!({ "ip": "2001:218::1", "geoip": {}, "tags": ["_geoip_lookup_failure"] }),
        );
    }
}

#[test]
fn fields_are_those_that_are_asked_for() {
    let files = Files::new();
    let tags = json!(["_geoip_lookup_failure"]);
    for (database, fields, legacy, ecs) in [
        (
            "city",
            json!(["CITY_NAME", "ip"]),
            json!({ "city_name": "Boxford", "ip": BOXFORD }),
            json!({ "geo": { "city_name": "Boxford" }, "ip": BOXFORD }),
        ),
        ("city", json!(["ip"]), json!({ "ip": BOXFORD }), json!({ "ip": BOXFORD })),
        (
            "city",
            json!(["continent_name"]),
            json!({ "continent_name": "Europe" }),
            json!({ "geo": { "continent_name": "Europe" } }),
        ),
        (
            "city",
            json!(["region_code", "region_iso_code"]),
            json!({ "region_code": "WBK", "region_iso_code": "GB-WBK" }),
            json!({ "geo": { "region_code": "WBK", "region_iso_code": "GB-WBK" } }),
        ),
        (
            "city",
            json!(["latitude"]),
            json!({ "latitude": 51.75 }),
            json!({ "geo": { "location": { "lat": 51.75 } } }),
        ),
        (
            "city",
            json!(["longitude"]),
            json!({ "longitude": -1.25 }),
            json!({ "geo": { "location": { "lon": -1.25 } } }),
        ),
        (
            "city",
            json!(["longitude", "location"]),
            json!({ "longitude": -1.25, "location": { "lat": 51.75, "lon": -1.25 } }),
            json!({ "geo": { "location": { "lat": 51.75, "lon": -1.25 } } }),
        ),
        (
            "city",
            json!(["latitude", "longitude"]),
            json!({ "latitude": 51.75, "longitude": -1.25 }),
            json!({ "geo": { "location": { "lat": 51.75, "lon": -1.25 } } }),
        ),
        // The schema has no such field, but the address was found.
        ("city", json!(["country_code3"]), json!({ "country_code3": "GB" }), json!({})),
        (
            "asn",
            json!(["network", "autonomous_system_number"]),
            json!({ "network": "2.125.0.0/16", "asn": 5607 }),
            json!({ "ip_traits": { "network": "2.125.0.0/16" }, "as": { "number": 5607 } }),
        ),
        (
            "enterprise",
            json!(["network", "anonymous_vpn"]),
            json!({ "network": "2.125.160.0/20", "anonymous_vpn": true }),
            json!({ "ip_traits": { "network": "2.125.160.0/20", "anonymous_vpn": true } }),
        ),
        (
            "anonymous",
            json!(["ip", "tor_exit_node"]),
            json!({ "ip": BOXFORD, "tor_exit_node": true }),
            json!({ "ip": BOXFORD, "ip_traits": { "tor_exit_node": true } }),
        ),
    ] {
        let input = json!({ "ip": BOXFORD });
        let options = json!({ "database": database, "fields": fields, "target": "t" });
        files.check(options.clone(), input.clone(), with(&input, json!({ "t": legacy })));
        files.check(
            with(&options, json!({ "ecs_compatibility": "v1" })),
            input.clone(),
            with(&input, json!({ "t": ecs })),
        );
    }
    // No database of this kind says that.
    for (database, fields) in [
        ("city", json!(["network"])),
        ("city", json!(["autonomous_system_number", "domain"])),
        ("country", json!(["continent_code", "country_code3"])),
        ("domain", json!(["ip"])),
        ("anonymous", json!(["country_name"])),
    ] {
        let input = json!({ "ip": BOXFORD });
        files.check(
            json!({ "database": database, "fields": fields }),
            input.clone(),
            with(&input, json!({ "geoip": {}, "tags": tags })),
        );
    }
    files.check(
        json!({ "database": "asn", "fields": ["network"] }),
        json!({ "ip": "2600:6000::1" }),
        json!({ "ip": "2600:6000::1", "geoip": { "network": "2600:6000:0:0:0:0:0:0/24" } }),
    );
}

#[test]
fn of_several_databases_the_first_to_say_something_is_right() {
    let files = Files::new();
    let asn = json!({ "asn": 5607, "as_org": "Sky UK \"Limited\"" });
    let all = json!(["isp", "city", "asn", "domain"]);
    for (database, ip, expect) in [
        (json!(["city", "asn"]), BOXFORD, with(&boxford(), asn.clone())),
        (json!(["asn", "city"]), BOXFORD, with(&boxford(), asn.clone())),
        (json!(["city", "asn"]), "2.125.1.1", with(&asn, json!({ "ip": "2.125.1.1" }))),
        (json!(["city", "asn"]), "6.6.6.1", json!({ "ip": "6.6.6.1", "latitude": 1.5 })),
        (
            all,
            BOXFORD,
            with(
                &boxford(),
                json!({ "asn": 5607, "as_org": "Sky", "isp": "Sky Broadband", "organization": "Sky plc", "domain": "sky.com" }),
            ),
        ),
    ] {
        files.check(
            json!({ "database": database }),
            json!({ "ip": ip }),
            json!({ "ip": ip, "geoip": expect }),
        );
    }
    files.check(
        json!({ "database": ["city", "asn"] }),
        json!({ "ip": "10.0.0.1" }),
        json!({ "ip": "10.0.0.1", "geoip": {}, "tags": ["_geoip_lookup_failure"] }),
    );
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

#[test]
fn options_that_make_no_sense_are_refused_with_what_to_do() {
    let files = Files::new();
    std::fs::write(files.path("text"), "no database").unwrap();
    let whole = std::fs::read(files.path("city")).unwrap();
    std::fs::write(files.path("cut"), &whole[..whole.len() / 2]).unwrap();
    files.write("other", Mmdb::new("GeoIP2-Connection-Type"));
    for (options, words) in [
        (
            json!({}),
            &["there is no database", "db-ip.com", "maxmind.com", "ip-location-db", "database = "][..],
        ),
        (
            json!({ "database": "missing" }),
            &["missing.mmdb", "no such file", "db-ip.com", "file_is_missing: true"],
        ),
        (json!({ "database": "text" }), &["text.mmdb", "no usable database", "get the file again"]),
        (json!({ "database": "cut" }), &["cut.mmdb", "no usable database"]),
        (json!({ "database": "other" }), &["GeoIP2-Connection-Type", "expected one of City"]),
        (json!({ "database": ["city", "missing"] }), &["index: Some(1)"]),
        (json!({ "database": ["city", "asn", "isp", "domain", "country"] }), &["5 databases", "4 at most"]),
        (
            json!({ "database": "city", "fields": ["ip", "nosuch"] }),
            &["no field `nosuch`", "index: Some(1)", "country_code2"],
        ),
        (json!({ "database": "city", "fields": ["asn"] }), &["no field `asn`"]),
        (json!({ "database": "city", "fields": ["cityname"] }), &["did you mean `city_name`?"]),
        (json!({ "database": "city", "cache_size": 0 }), &["room for one record"]),
        (
            json!({ "database": "city", "ecs_compatibility": "v1" }),
            &["`ip` is the `ip` of no object", "target"],
        ),
        (
            json!({ "database": "city", "source": "[a][address]", "ecs_compatibility": "v1" }),
            &["[client][ip]"],
        ),
    ] {
        let error = files.error_of(options.clone());
        for word in words {
            assert!(error.contains(word), "{options}: {word} does not stand in {error}");
        }
    }
    assert!(files.error_of(json!({ "fields": ["x"], "cache_size": 0 })).matches("BuildError {").count() == 3);
}

/// The databases of a folder beside the project, if it is there.
fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("FLOWSTONE_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let folder = folder.join("geo");
    if !folder.is_dir() {
        eprintln!("left out: MaxMind's test databases are not in {}", folder.display());
    }
    folder.is_dir().then_some(folder)
}

#[test]
fn damaged_databases_of_maxmind_are_refused() {
    let Some(folder) = shared() else { return };
    let mut refused = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().to_lowercase();
        if !name.ends_with(".mmdb") || !(name.contains("broken") || name.contains("invalid")) {
            continue;
        }
        let config = json!({ "source": "ip", "database": path.display().to_string() });
        let case = Case(json!({ "id": name, "config": config, "input": {}, "match": "exact", "expect": {} }));
        let error = case.check("geoip").expect_err("it is refused");
        assert!(error.contains("no usable database"), "{error}");
        refused += 1;
    }
    assert!(refused >= 3, "{refused} were found");
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
