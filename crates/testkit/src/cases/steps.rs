//! Filters as the engine runs them on a batch, with their conditions, their decorations and inactive rows.

use std::path::PathBuf;

use flowstone_core::{
    Build, BuildCx, Clock, ComponentId, Diagnostics, Kind, Metrics, NodeKind, Transform, TransformCx,
};
use flowstone_dialect::{Condition, Decorations};
use flowstone_event::{Batch, BitSet, Path, Value, parse_iso_millis};
use serde_json::Value as Json;

use super::values::{node_of, set_event};
use super::{Case, Document, Outcome};

/// A part of a filter section, built.
#[allow(missing_debug_implementations)] // a transform need not be one that can be printed
pub enum Step {
    /// A transform and the options common to all.
    Filter(Box<dyn Transform>, Decorations),
    /// `if`, `else if` and, without a condition, `else`: the first that holds.
    Branches(Vec<(Option<Condition>, Vec<Step>)>),
}

/// Builds a transform and the options common to all from a configuration; the error is what the user would be told.
pub fn build(type_name: &str, config: &Json) -> Result<(Box<dyn Transform>, Decorations), String> {
    let plugin = flowstone_core::find(Kind::Transform, type_name)
        .ok_or_else(|| format!("no transform {type_name} is linked into this test"))?;
    let NodeKind::Table(table) = node_of(config).kind else {
        return Err("the configuration is no table".to_owned());
    };
    let mut diagnostics = Diagnostics::new();
    let common: Vec<&str> = Decorations::SPECS.iter().map(|spec| spec.name).collect();
    table.refuse_unknown(type_name, plugin.options, &common, &mut diagnostics);
    let decorations = Decorations::read(&table, &mut diagnostics);
    let Build::Transform(make) = plugin.build else { return Err(format!("{type_name} is no transform")) };
    let cx = BuildCx {
        id: ComponentId { name: type_name.into(), kind: Kind::Transform, type_name: plugin.type_name },
        data_dir: PathBuf::new(),
        clock: Clock::System,
    };
    let made = make(&table, &cx, &mut diagnostics).map_err(|errors| format!("{errors:?}"))?;
    match (made, decorations) {
        (Some(transform), Some(decorations)) if diagnostics.is_empty() => Ok((transform, decorations)),
        _ => Err(format!("{diagnostics:?}")),
    }
}

// === impl Step ===

impl Step {
    /// One transform, built from its configuration.
    pub fn filter(type_name: &str, config: &Json) -> Result<Self, String> {
        build(type_name, config).map(|(transform, decorations)| Self::Filter(transform, decorations))
    }

    /// Gives how many comparisons of conditions could not be made.
    fn execute(&mut self, batch: &mut Batch, rows: &BitSet, clock: Clock) -> Result<u64, String> {
        let mut incomparable = 0;
        match self {
            Self::Filter(transform, decorations) => {
                batch.set_active((rows.count() < batch.len()).then(|| rows.clone()));
                let id = ComponentId { name: "tested".into(), kind: Kind::Transform, type_name: "tested" };
                transform.apply(batch, &mut TransformCx::new(&Metrics::new().component(&id), clock));
                let acts = batch.take_acts();
                if !acts.is_empty() {
                    return Err(format!("events leave the batch: {acts:?}"));
                }
                let mut matched = batch.active_set();
                if let Some(unmatched) = batch.take_unmatched() {
                    matched.subtract(&unmatched);
                }
                decorations.apply(batch, &matched);
                batch.set_active(None);
            }
            Self::Branches(branches) => {
                let mut left = rows.clone();
                for (condition, body) in branches {
                    let taken = match condition {
                        Some(condition) => {
                            let selection = condition.select(batch, &left);
                            incomparable += selection.incomparable;
                            selection.rows
                        }
                        None => left.clone(),
                    };
                    if taken.count() > 0 {
                        incomparable += execute(body, batch, &taken, clock)?;
                    }
                    left.subtract(&taken);
                }
            }
        }
        Ok(incomparable)
    }
}

fn execute(steps: &mut [Step], batch: &mut Batch, rows: &BitSet, clock: Clock) -> Result<u64, String> {
    steps.iter_mut().map(|step| step.execute(batch, rows, clock)).sum()
}

/// Runs a case's event through `steps`, in all the company that it may have.
pub fn run(case: &Case, steps: &mut [Step]) -> Outcome {
    in_company(case, steps).unwrap_or_else(Outcome::Broken)
}

fn in_company(case: &Case, steps: &mut [Step]) -> Result<Outcome, String> {
    let clock = case.text("clock");
    let clock = parse_iso_millis(clock).map_or(Clock::System, Clock::Fixed);

    let mut alone = case.batch(1);
    let incomparable = execute(steps, &mut alone, &BitSet::all(1), clock)?;
    let alone = Document { incomparable, ..Document::of(&alone, 0) };

    let mut equals = case.batch(5);
    execute(steps, &mut equals, &BitSet::all(5), clock)?;
    for row in 0..5 {
        Document::of(&equals, row).must_be(&alone, "among equals")?;
    }

    let mut inactive = case.batch(5);
    let before = Document::of(&inactive, 0);
    let mut every_second = BitSet::none(5);
    [1, 3].into_iter().for_each(|row| every_second.insert(row));
    execute(steps, &mut inactive, &every_second, clock)?;
    for row in 0..5 {
        let (expected, company) =
            if every_second.contains(row) { (&alone, "active") } else { (&before, "inactive") };
        Document::of(&inactive, row).must_be(expected, company)?;
    }

    let mut strangers = among_strangers(case);
    execute(steps, &mut strangers, &BitSet::all(3), clock)?;
    Document::of(&strangers, 1).must_be(&alone, "among strangers")?;
    Ok(Outcome::Document(alone))
}

/// The case's event between one whose fields are all numbers and one that has nothing.
fn among_strangers(case: &Case) -> Batch {
    let mut batch = case.batch(3);
    let event = case.event();
    for row in [0, 2] {
        for (path, _) in &event {
            batch.remove(row, path);
        }
    }
    let numbers: Vec<(Path, Value)> = event
        .iter()
        .filter(|(path, _)| path.names().len() == 1 && *path != Path::timestamp())
        .map(|(path, _)| (path.clone(), Value::Int(7)))
        .collect();
    set_event(&mut batch, 0, &numbers);
    batch
}
