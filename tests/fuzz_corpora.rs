//! The fuzz targets' corpora as ordinary tests: what `fuzz/` found, and the inputs that reach most of the code, go
//! through the very functions that libFuzzer calls.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// A corpus is read by people and run at every commit; libFuzzer's own, of thousands, stay where it ran.
const MOST_FILES: usize = 60;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_every_corpus_passes_its_target() {
    let mut failed = Vec::new();
    for (name, target) in targets::TARGETS {
        let files = files(&corpora().join(name));
        assert!((1..=MOST_FILES).contains(&files.len()), "{name} has {} files", files.len());
        for file in files {
            let input = fs::read(&file).expect("a file");
            // The panic's own message is printed as it happens.
            if catch_unwind(|| target(&input)).is_err() {
                failed.push(file);
            }
        }
    }
    assert_eq!(failed, Vec::<PathBuf>::new());
}

#[test]
fn each_target_has_a_corpus_and_a_binary() {
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in [corpora(), corpora().join("../fuzz_targets")] {
        let found: BTreeSet<String> =
            files(&folder).iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
        assert_eq!(found, targets, "{}", folder.display());
    }
}
