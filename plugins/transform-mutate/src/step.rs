//! One step of a `mutate`: what it does to one event, and how it does the same to whole columns where it can.

use std::sync::Arc;

use flowstone_core::event::{Batch, Column, Map, Path, RowView, TIMESTAMP, Value};
use flowstone_dialect::Template;

use crate::change::Change;
use crate::{FieldName, StepError};

/// One step. Field references that hold no `%{...}` are read once.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Text for a field that is null.
    Coerce(Path, Template),
    /// A new name.
    Rename(FieldName, FieldName),
    /// Text for a field that exists.
    Update(Path, Template),
    /// Text for a field.
    Replace(Path, Template),
    /// A new value made of the old one.
    Change(Path, Change),
    /// Other fields appended.
    Merge(Path, Vec<Path>),
    /// A copy under another name.
    Copy(Path, Path),
}

// === impl Step ===

impl Step {
    /// Does the step for every row at once, if that can be done without a look at each row. The caller has made sure
    /// that every live row is active and that none has failed.
    pub(crate) fn apply_to_columns(&self, batch: &mut Batch) -> bool {
        match self {
            Self::Rename(FieldName::Fixed(old), FieldName::Fixed(new)) => {
                new.as_str() != TIMESTAMP && batch.move_columns(old, new, false)
            }
            Self::Copy(from, to) => {
                to.as_str() != TIMESTAMP && !has_nulls(batch, from) && batch.move_columns(from, to, true)
            }
            Self::Replace(path, template) => {
                let Some(text) = template.literal() else { return false };
                if path.names().len() > 1 || path.as_str() == TIMESTAMP {
                    return false;
                }
                let column = Column::Const(Value::from(text));
                batch.drop_columns(path);
                batch.put_columns(vec![(path.clone(), column)]);
                true
            }
            Self::Change(path, change) => path.as_str() != TIMESTAMP && change.apply_to_column(batch, path),
            _ => false,
        }
    }

    /// Does the step for one row.
    pub(crate) fn apply_to_row(&self, batch: &mut Batch, row: usize) -> Result<(), StepError> {
        match self {
            Self::Coerce(path, template) => {
                if batch.get(row, path) == Some(Value::Null) {
                    set_rendered(batch, row, path, template)?;
                }
            }
            Self::Rename(old, new) => {
                let (old, new) = (path_of(old, batch.row(row))?, path_of(new, batch.row(row))?);
                if let Some(value) = batch.remove(row, &old) {
                    set(batch, row, &new, value)?;
                }
            }
            Self::Update(path, template) => {
                if batch.has(row, path) {
                    set_rendered(batch, row, path, template)?;
                }
            }
            Self::Replace(path, template) => set_rendered(batch, row, path, template)?,
            Self::Change(path, change) => {
                if let Some(value) = batch.get(row, path)
                    && let Some(changed) = change.apply(value, batch.row(row))?
                {
                    set(batch, row, path, changed)?;
                }
            }
            Self::Merge(target, sources) => merge(batch, row, target, sources)?,
            Self::Copy(from, to) => match batch.get(row, from) {
                None | Some(Value::Null) => {}
                Some(value) => set(batch, row, to, value)?,
            },
        }
        Ok(())
    }
}

/// Whether some row has null at `path`: nulls are renamed, but not copied.
fn has_nulls(batch: &Batch, path: &Path) -> bool {
    match batch.column_of(path) {
        Some(Column::Any(cells)) => cells.contains(&Some(Value::Null)),
        Some(Column::Const(value)) => *value == Value::Null,
        _ => false,
    }
}

fn path_of(name: &FieldName, row: RowView<'_>) -> Result<Path, StepError> {
    match name {
        FieldName::Fixed(path) => Ok(path.clone()),
        FieldName::Template(template) => {
            let mut text = String::new();
            template.render(row, &mut text);
            Path::parse(&text)
                .map_err(|error| StepError::new(format!("`{text}` is no field reference: {error}")))
        }
    }
}

fn set_rendered(batch: &mut Batch, row: usize, path: &Path, template: &Template) -> Result<(), StepError> {
    let mut text = String::new();
    template.render(batch.row(row), &mut text);
    if path.as_str() == TIMESTAMP {
        return set(batch, row, path, Value::from(text));
    }
    batch.set_str(row, path, &text).map_err(|error| StepError::new(error.to_string()))
}

/// Sets a field; `@timestamp` takes nothing but a timestamp, as in Logstash.
fn set(batch: &mut Batch, row: usize, path: &Path, value: Value) -> Result<(), StepError> {
    if path.as_str() == TIMESTAMP && !matches!(value, Value::Time(_)) {
        return Err(StepError::new(format!(
            "`@timestamp` takes a timestamp, not a value of type {}",
            value.kind()
        )));
    }
    batch.set(row, path, value).map_err(|error| StepError::new(error.to_string()))
}

/// Objects are united, everything else is appended. The target is read once: a list or an object grows with each
/// source, anything else becomes a list of itself and the *last* source, as in Logstash.
fn merge(batch: &mut Batch, row: usize, target: &Path, sources: &[Path]) -> Result<(), StepError> {
    let mut value = batch.get(row, target);
    for source in sources {
        let added = batch.get(row, source);
        let merged = match (&mut value, added) {
            (Some(Value::Object(into)), Some(Value::Object(added))) => {
                into.extend(added);
                Value::Object(Map::clone(into))
            }
            // An object and something else: Logstash logs an error and goes on.
            (Some(Value::Object(_)), _) | (_, Some(Value::Object(_))) => continue,
            (Some(Value::Array(into)), added) => {
                into.extend(list_of(added));
                Value::Array(into.clone())
            }
            (scalar, added) => {
                let mut list = list_of(scalar.clone());
                list.extend(list_of(added));
                Value::Array(list)
            }
        };
        set(batch, row, target, merged)?;
    }
    Ok(())
}

/// Ruby's `Array(value)`.
fn list_of(value: Option<Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(single) => vec![single],
    }
}

/// The column that holds `path` in every row that has it; none where a row may have it inside an object's column.
pub(crate) fn own_column<'a>(batch: &'a Batch, path: &Path) -> Option<&'a Column> {
    let names: &[Arc<str>] = path.names();
    let above = |field: &Path| field.names().len() < names.len() && path.is_within(field);
    if names.len() > 1 && batch.schema().fields().iter().any(above) {
        return None;
    }
    batch.column_of(path)
}
