//! What `geoip` makes of addresses, field by field, on databases written for it: outcomes, kinds, schemas, layouts,
//! several databases, and targets that are there already.

mod kinds;
mod outcomes;
mod refused;

use std::path::PathBuf;

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
