//! The cases of filters: one filter with its options, or a whole filter section.

use std::path::Path as FilePath;

use flowstone_core::event::{Batch, Path, RowId, Value};
use flowstone_core::{Kind, OptionSpec};
use flowstone_dialect::{Condition, Decorations, Template};
use flowstone_testkit::cases::{Case, Outcome, Step, run};
use serde_json::{Map, Value as Json};

use crate::logstash::{self, Branch, Statement};

/// A case with the options of one filter.
pub(crate) fn one(name: &str, case: &Case) -> Outcome {
    let options = case.get("config").clone();
    run_section(&[Statement::Plugin { name: name.to_owned(), options }], case)
}

/// A case with a whole filter section.
pub(crate) fn config_text(case: &Case) -> Outcome {
    match logstash::filters(case.text("config_text")) {
        Ok(statements) => run_section(&statements, case),
        Err(error) => Outcome::Broken(format!("the configuration cannot be read: {error}")),
    }
}

/// The seed's configuration, and the index that its output names.
pub(crate) fn seed_pipeline(case: &Case) -> Outcome {
    let outcome = config_text(case);
    let Outcome::Document(document) = &outcome else { return outcome };
    match index_of(&document.value) {
        Ok(index) if case.get("index") == index.as_str() => outcome,
        Ok(index) => Outcome::Broken(format!("the index is {index}, expected {}", case.get("index"))),
        Err(error) => Outcome::Broken(error),
    }
}

fn index_of(event: &Value) -> Result<String, String> {
    let template = Template::parse("vpcflowlogs-%{+YYYY.MM.dd}").map_err(|error| error.to_string())?;
    let mut batch = Batch::new(vec![RowId::of(b"one")]);
    if let Value::Object(fields) = event {
        for (name, value) in fields {
            batch.set(0, &Path::top(name), value.clone()).map_err(|error| error.to_string())?;
        }
    }
    let mut index = String::new();
    template.render(batch.row(0), &mut index);
    Ok(index)
}

fn run_section(statements: &[Statement], case: &Case) -> Outcome {
    let files = match tempfile::tempdir() {
        Ok(files) => files,
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    for (name, text) in case.get("pattern_files").as_object().into_iter().flatten() {
        let path = files.path().join(name);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = written.and_then(|()| std::fs::write(&path, text.as_str().unwrap_or_default())) {
            return Outcome::Broken(format!("{}: {error}", path.display()));
        }
    }
    match steps(statements, files.path()) {
        Ok(mut steps) => run(case, &mut steps),
        Err(outcome) => outcome,
    }
}

fn steps(statements: &[Statement], files: &FilePath) -> Result<Vec<Step>, Outcome> {
    let step = |statement: &Statement| match statement {
        Statement::Plugin { name, options } => {
            let options = as_ours(name, options, files)?;
            Step::filter(name, &options).map_err(Outcome::Refused)
        }
        Statement::If(branches) => {
            let branch = |Branch { condition, body }: &Branch| {
                let condition = condition.as_deref().map(Condition::parse).transpose();
                Ok((condition.map_err(|error| Outcome::Refused(error.to_string()))?, steps(body, files)?))
            };
            branches.iter().map(branch).collect::<Result<_, _>>().map(Step::Branches)
        }
    };
    statements.iter().map(step).collect()
}

/// Options of Logstash's that say nothing about what a filter does.
const WITHOUT_EFFECT: [&str; 3] = ["id", "enable_metric", "periodic_flush"];

/// Logstash's options as flowstone's: a configuration file of Logstash's has quoted booleans and numbers, tables as
/// flat lists, and these cases have paths relative to a folder of their own.
fn as_ours(name: &str, options: &Json, files: &FilePath) -> Result<Json, Outcome> {
    let plugin = flowstone_core::find(Kind::Transform, name);
    let plugin = plugin.ok_or_else(|| Outcome::Refused(format!("no transform `{name}`")))?;
    let specs: Vec<&OptionSpec> = plugin.options.iter().chain(Decorations::SPECS).collect();
    let mut ours = Map::new();
    for (option, value) in options.as_object().into_iter().flatten() {
        if WITHOUT_EFFECT.contains(&option.as_str()) {
            continue;
        }
        let type_name = specs.iter().find(|spec| spec.name == option).map_or("", |spec| spec.type_name);
        let value = match (option.as_str(), type_name, value) {
            ("patterns_dir", ..) => in_folder(value, files),
            ("database", ..) => match crate::folder("FLOWSTONE_GEO", "geo/cases") {
                Ok(Some(folder)) => in_folder(value, &folder),
                _ => return Err(Outcome::Broken("no folder of databases".to_owned())),
            },
            (_, "boolean", Json::String(text)) if text == "true" || text == "false" => {
                Json::from(text == "true")
            }
            (_, "integer", Json::String(text)) => {
                text.parse::<i64>().map_or_else(|_| value.clone(), Json::from)
            }
            (_, "table", Json::Array(items)) => pairs(items),
            _ => value.clone(),
        };
        ours.insert(option.clone(), value);
    }
    // The cases were recorded on a machine in UTC; this one may be anywhere.
    if name == "date" && !ours.contains_key("timezone") {
        ours.insert("timezone".to_owned(), Json::from("UTC"));
    }
    // Logstash reads the patterns of its own folder before those of `patterns_dir`.
    let home = files.join("LOGSTASH_HOME/patterns");
    if name == "grok" && home.is_dir() {
        let home = Json::from(home.display().to_string());
        let given = ours.shift_remove("patterns_dir").into_iter().flat_map(|given| match given {
            Json::Array(items) => items,
            single => vec![single],
        });
        ours.insert("patterns_dir".to_owned(), std::iter::once(home).chain(given).collect());
    }
    Ok(Json::Object(ours))
}

fn in_folder(value: &Json, folder: &FilePath) -> Json {
    match value {
        Json::String(path) => Json::from(folder.join(path).display().to_string()),
        Json::Array(items) => items.iter().map(|item| in_folder(item, folder)).collect(),
        other => other.clone(),
    }
}

/// `["a", 1, "b", 2]` as a table.
fn pairs(items: &[Json]) -> Json {
    let pairs = items.chunks(2).filter_map(|pair| match pair {
        [Json::String(name), value] => Some((name.clone(), value.clone())),
        _ => None,
    });
    Json::Object(pairs.collect())
}
