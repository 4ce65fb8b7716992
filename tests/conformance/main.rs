//! Logstash's behaviour as data: recorded cases run through flowstone's own conditions, templates, fields and
//! transforms, and compared with what Logstash made of them.
//!
//! The cases are no part of the project. They are read from `FLOWSTONE_CASES` (by default `../shared/cases`, from the
//! workspace root), the databases that some need from `FLOWSTONE_GEO` (`../shared/geo/cases`). `cargo test --test
//! conformance` prints for each file how many cases pass, for each deliberate difference (`rules.rs`) how many cases
//! fall under it, and what was left out and why. A case that gives Logstash's answer although a rule excuses it fails
//! the run. `cargo test --test conformance -- grok` runs the files and the cases whose names hold `grok`.
#![allow(clippy::print_stdout)] // the figures are what this test is for

mod expressions;
mod filters;
mod logstash;
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

// The plugins register themselves.
use flowstone as _;
use flowstone_core::Kind;
use flowstone_testkit::cases::{self, Case, Outcome};
use rules::RULES;

/// A file of cases.
struct File {
    name: &'static str,
    run: fn(&Case) -> Outcome,
    /// The transforms that it is about: a program built without them leaves it out.
    transforms: &'static [&'static str],
    needs_databases: bool,
}

const fn file(name: &'static str, run: fn(&Case) -> Outcome, transforms: &'static [&'static str]) -> File {
    File { name, run, transforms, needs_databases: false }
}

const FILES: &[File] = &[
    file("conditionals", expressions::conditional, &["mutate"]),
    file("sprintf", expressions::sprintf, &[]),
    file("field_reference", expressions::field_reference, &[]),
    file("json_wire", expressions::json_wire, &[]),
    file("grok", |case| filters::one("grok", case), &["grok"]),
    file("patterns-core", |case| filters::one("grok", case), &["grok"]),
    file("date", |case| filters::one("date", case), &["date"]),
    file("mutate", |case| filters::one("mutate", case), &["mutate"]),
    File { needs_databases: true, ..file("geoip", |case| filters::one("geoip", case), &["geoip"]) },
    File {
        needs_databases: true,
        ..file("seed_pipeline", filters::seed_pipeline, &["grok", "date", "geoip", "mutate"])
    },
];

/// Files of the same folder that are not run here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("config_grammar", "it is about reading Logstash's configuration files, which flowstone does not do"),
    (
        "config_values",
        "it is about the types of options in Logstash's configuration files; flowstone's are TOML's",
    ),
    (
        "cloudwatch_input",
        "the source keeps a ledger in place of the sincedb and asks otherwise; its own tests hold it",
    ),
    ("es_output", "a dialogue of Logstash's own over HTTP; the sink's tests hold its classes of answers"),
];

/// What became of one case.
enum Verdict {
    Passed,
    /// It differs as the rule of this number promises.
    Excused(usize),
    Failed(String),
}

/// What became of all of them.
#[derive(Default)]
struct Report {
    run: usize,
    excused: Vec<usize>,
    failures: Vec<String>,
}

fn main() -> ExitCode {
    flowstone::install_crypto();
    let wanted: Option<String> = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let report = match folder("FLOWSTONE_CASES", "cases") {
        Ok(Some(folder)) => run(&folder, wanted.as_deref()),
        Ok(None) => {
            println!("conformance: left out: no folder of cases (FLOWSTONE_CASES names one)");
            return ExitCode::SUCCESS;
        }
        Err(error) => Report { failures: vec![error], ..Report::default() },
    };
    for (rule, count) in RULES.iter().zip(&report.excused).filter(|(_, count)| **count > 0) {
        println!("conformance: {} differs {count} times by rule `{}`: {}", rule.file, rule.name, rule.reason);
    }
    for failure in &report.failures {
        println!("conformance: FAILED {failure}");
    }
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A folder of shared files: where the variable says, or beside the workspace; `None` if it is not there by default.
/// A relative path starts at the workspace root.
pub(crate) fn folder(variable: &str, by_default: &str) -> Result<Option<PathBuf>, String> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let named = std::env::var_os(variable);
    let path = match &named {
        Some(path) => root.join(path),
        None => root.join("../shared").join(by_default),
    };
    match (path.is_dir(), named) {
        (true, _) => Ok(Some(path)),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(format!("{variable} names {}, which is no folder", path.display())),
    }
}

fn run(folder: &std::path::Path, wanted: Option<&str>) -> Report {
    let mut report = Report { excused: vec![0; RULES.len()], ..Report::default() };
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| name.contains(wanted));
    for file in FILES {
        let path = folder.join(format!("{}.json", file.name));
        match missing(file).or_else(|| (!path.is_file()).then(|| format!("no {}", path.display()))) {
            Some(_) if !is_wanted(file.name) => {}
            Some(missing) => println!("conformance: {} left out: {missing}", file.name),
            None => match cases::read(&path) {
                Ok(cases) => report.run_file(file, &cases, wanted),
                Err(error) => report.failures.push(error),
            },
        }
    }
    for (name, why) in ELSEWHERE.iter().filter(|(name, _)| is_wanted(name)) {
        println!("conformance: {name} is not run here: {why}");
    }
    if report.run == 0 {
        report.failures.push(format!("no case was run from {}", folder.display()));
    }
    report
}

/// What a file needs and this run does not have.
fn missing(file: &File) -> Option<String> {
    if let Some(name) =
        file.transforms.iter().find(|name| flowstone_core::find(Kind::Transform, name).is_none())
    {
        return Some(format!("this program has no transform `{name}`"));
    }
    match folder("FLOWSTONE_GEO", "geo/cases") {
        Ok(None) if file.needs_databases => {
            Some("no folder of databases (FLOWSTONE_GEO names one)".to_owned())
        }
        Err(error) if file.needs_databases => Some(error),
        _ => None,
    }
}

// === impl Report ===

impl Report {
    fn run_file(&mut self, file: &File, cases: &[Case], wanted: Option<&str>) {
        let is_wanted = |case: &&Case| {
            wanted.is_none_or(|wanted| file.name.contains(wanted) || case.id().contains(wanted))
        };
        let cases: Vec<&Case> = cases.iter().filter(is_wanted).collect();
        if cases.is_empty() {
            return;
        }
        let mut passed = 0;
        for case in &cases {
            match judge(file, case) {
                Verdict::Passed => passed += 1,
                Verdict::Excused(rule) => self.excused[rule] += 1,
                Verdict::Failed(why) => self.failures.push(format!("{}: {why}", case.id())),
            }
        }
        self.run += cases.len();
        println!("conformance: {} passed {passed} of {}", file.name, cases.len());
    }
}

fn judge(file: &File, case: &Case) -> Verdict {
    let outcome = match std::panic::catch_unwind(|| (file.run)(case)) {
        Ok(outcome) => outcome,
        Err(_) => return Verdict::Failed(format!("a panic\n  {}", case.show())),
    };
    let rule = RULES.iter().position(|rule| rule.file == file.name && (rule.applies)(case));
    match (case.difference(&outcome), rule.map(|index| (index, &RULES[index]))) {
        (None, None) => Verdict::Passed,
        (None, Some((_, rule))) => {
            Verdict::Failed(format!("gives Logstash's answer although rule `{}` excuses it", rule.name))
        }
        (Some(_), Some((index, rule))) if (rule.holds)(case, &outcome) => Verdict::Excused(index),
        (Some(difference), Some((_, rule))) => Verdict::Failed(format!(
            "{difference}\n  which is not what rule `{}` promises: {}\n  {}",
            rule.name,
            rule.reason,
            case.show()
        )),
        (Some(difference), None) => Verdict::Failed(format!("{difference}\n  {}", case.show())),
    }
}
