//! Options and databases that are refused, and what the user is told.

use std::path::{Path as FilePath, PathBuf};

use flowstone_testkit::cases::Case;
use flowstone_testkit::mmdb::Mmdb;
use serde_json::json;

use crate::Files;

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
