//! The standard set of patterns against what its documentation promises, in both spellings of field names: which fields
//! each pattern gives, and what lines as the programs write them become.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use flowstone_testkit::cases::{Case, Outcome, Step, run};
use serde_json::{Value as Json, json};
use transform_grok as _;

/// Set, pattern, fields; see the file's head.
const FIELDS: &str = include_str!("fields.tsv");

/// Two lines a case: set, pattern and text, in which `\t` is a tab; then the fields that it gives.
const LINES: &str = include_str!("lines.txt");

#[test]
fn each_pattern_gives_the_fields_that_it_promises() {
    let sets = ["legacy", "ecs"].map(|set| (set, library(set)));
    let mut count = 0;
    for line in FIELDS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [set, pattern, fields] = columns[..] else { panic!("{line}") };
        let (_, library) = sets.iter().find(|(name, _)| *name == set).unwrap();
        let mut found = BTreeSet::new();
        fields_of(library, pattern, &mut found);
        let promised: BTreeSet<String> = fields.split(' ').map(str::to_owned).collect();
        assert_eq!(found, promised, "{pattern} of {set}");
        count += 1;
    }
    assert!(count > 300, "{count}");
}

#[test]
fn lines_as_the_programs_write_them_become_what_is_promised() {
    let cases: Vec<&str> = LINES.lines().filter(|line| !line.starts_with('#')).collect();
    let wrong = cases.chunks_exact(2).filter_map(|case| {
        let mut words = case[0].splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (set, pattern, line) = (next(), next(), next().replace("\\t", "\t"));
        let promised: Json =
            serde_json::from_str(case[1]).unwrap_or_else(|error| panic!("{error}: {}", case[1]));
        let found = becomes(set, pattern, &line);
        (found != promised).then(|| format!("{pattern} of {set}\n  gave {found}\n  not  {promised}"))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
    assert!(cases.len() > 150, "{}", cases.len());
}

/// The fields that a line gives which is a pattern's from beginning to end.
fn becomes(set: &str, pattern: &str, line: &str) -> Json {
    let mode = if set == "ecs" { "v1" } else { "disabled" };
    let config = json!({ "match": { "line": format!("^%{{{pattern}}}$") }, "ecs_compatibility": mode });
    let case = Case(json!({ "id": pattern, "config": config, "input": { "line": line } }));
    let step = Step::filter("grok", case.get("config")).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let Outcome::Document(document) = run(&case, &mut [step]) else { panic!("{pattern} of {set}") };
    let mut event = document.event;
    if let Some(fields) = event.as_object_mut() {
        fields.retain(|name, _| name != "line" && name != "@timestamp");
    }
    event
}

/// The texts of a set by their names.
fn library(set: &str) -> BTreeMap<String, String> {
    let patterns = Path::new(env!("CARGO_MANIFEST_DIR")).join("patterns");
    let mut library = BTreeMap::new();
    for folder in ["common", set] {
        for file in fs::read_dir(patterns.join(folder)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let pairs = lines.filter_map(|line| line.split_once(' '));
            library.extend(pairs.map(|(name, text)| (name.to_owned(), text.to_owned())));
        }
    }
    library
}

/// The fields of a pattern and of those that it names, each with its type if it has one.
fn fields_of(library: &BTreeMap<String, String>, pattern: &str, fields: &mut BTreeSet<String>) {
    let text = library.get(pattern).unwrap_or_else(|| panic!("no pattern is called {pattern}"));
    for reference in text.split("%{").skip(1) {
        let reference = reference.split('}').next().unwrap_or_default();
        let (name, field) = reference.split_once(':').unwrap_or((reference, ""));
        fields.extend((!field.is_empty()).then(|| field.to_owned()));
        fields_of(library, name, fields);
    }
    // `(?<=` and `(?<!` look behind.
    let groups = text.split("(?<").skip(1).filter(|group| !group.starts_with(['=', '!']));
    fields.extend(groups.filter_map(|group| Some(group.split_once('>')?.0.to_owned())));
}
