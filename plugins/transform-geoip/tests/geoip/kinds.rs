//! What each kind of database says, alone and beside others.

use serde_json::json;

use crate::{BOXFORD, Files, boxford, boxford_geo, with};

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
