//! Every recipe in `config/` loads without a word to say about it, and its own `[[tests]]` pass.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::pipe;

fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut recipes: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    recipes.sort();
    recipes
}

#[test]
fn each_recipe_is_valid_and_passes_its_own_tests() {
    let recipes = recipes();
    assert!(recipes.len() >= 2, "the recipes were found");
    let folder = tempfile::tempdir().unwrap();
    for recipe in recipes {
        let recipe = recipe.to_str().unwrap();
        let (code, output, log) = pipe(&["validate", "-c", recipe], folder.path(), b"");
        assert_eq!((code, log.as_str()), (0, ""), "{recipe}\n{output}");
        let (code, output, log) = pipe(&["test", "-c", recipe], folder.path(), b"");
        assert_eq!(code, 0, "{recipe}\n{output}{log}");
        assert!(!output.contains("has no `[[tests]]`"), "{recipe} carries tests");
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "checking a recipe leaves nothing behind");
}
