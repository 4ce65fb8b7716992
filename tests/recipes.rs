//! Every recipe in `config/` loads without a word to say about it, and its own `[[tests]]` pass.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flowstone_testkit::mmdb::Mmdb;
use support::binary;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn recipes() -> Vec<PathBuf> {
    let entries = fs::read_dir(config()).unwrap().map(|entry| entry.unwrap().path());
    let mut recipes: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    recipes.sort();
    recipes
}

#[test]
fn each_recipe_is_valid_and_passes_its_own_tests() {
    let recipes = recipes();
    assert!(recipes.len() >= 5, "the recipes were found");
    let folder = tempfile::tempdir().unwrap();
    let database = tempfile::NamedTempFile::new().unwrap();
    fs::write(database.path(), Mmdb::new("GeoLite2-City").bytes()).unwrap();
    for recipe in recipes {
        let flowstone = |command: &str| {
            let output = Command::new(binary())
                .args(["--log-level", "warn", command, "-c"])
                .arg(&recipe)
                .current_dir(folder.path())
                .env("GEOIP_DATABASE", database.path())
                .env("FLOW_LOG_GROUP", "/vpc/flow")
                .env("PATTERNS_DIR", config().join("patterns"))
                .output()
                .unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let (code, output, log) = flowstone("validate");
        assert_eq!(code, Some(0), "{}\n{output}{log}", recipe.display());
        assert_eq!(log, "", "{}\n{output}", recipe.display());
        let (code, output, log) = flowstone("test");
        assert_eq!(code, Some(0), "{}\n{output}{log}", recipe.display());
        assert!(!output.contains("has no `[[tests]]`"), "{} carries tests", recipe.display());
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "checking a recipe leaves nothing behind");
}
