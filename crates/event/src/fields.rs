//! Single fields of single rows: how a batch gets, sets and removes along a path, whether the path is a column of
//! its own, lies inside a value or is spread over several columns.

use std::sync::Arc;

use crate::column::ABSENT_TAGS;
use crate::value::index_of;
use crate::{Batch, BitSet, Cell, Column, Map, Path, RowId, StrRef, Value};

/// A field cannot be set there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetError {
    /// The path that was to be set.
    pub path: Path,
    /// The part of it that holds something without fields.
    pub holder: Path,
    /// What it holds: `string`, `integer`.
    pub kind: &'static str,
}

impl std::fmt::Display for SetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cannot set `{}`: `{}` holds a value of type {}, not an object",
            self.path, self.holder, self.kind
        )
    }
}

impl std::error::Error for SetError {}

// === impl Batch ===

impl Batch {
    /// A batch of whole events, each with its id.
    pub fn of_events(events: Vec<(RowId, Map)>) -> Self {
        let mut batch = Self::new(events.iter().map(|(id, _)| *id).collect());
        for (row, (_, fields)) in events.into_iter().enumerate() {
            for (name, value) in fields {
                batch.set_top(row, &Path::top(&name), value);
            }
        }
        batch
    }

    /// Sets a field of one name in `row`: nothing can stand in its way.
    pub fn set_top(&mut self, row: usize, field: &Path, value: impl Into<Value>) {
        debug_assert_eq!(field.names().len(), 1, "a field of one name");
        if let Err(error) = self.set(row, field, value) {
            unreachable!("a field of one name can always be set: {error}");
        }
    }

    /// The value of `path` in `row`, assembled from everything below it if it is an object spread over columns.
    pub fn get(&self, row: usize, path: &Path) -> Option<Value> {
        if let Some(index) = self.schema.position(path) {
            let cell = self.cell(index, row);
            if !cell.is_absent() {
                return cell.to_value();
            }
        }
        let names = path.names();
        for depth in 1..names.len() {
            if let Some(index) = self.position_of_names(&names[..depth]) {
                match self.cell(index, row) {
                    Cell::Absent => {}
                    Cell::Any(value) => return value.descend(&names[depth..]).cloned(),
                    Cell::Object(object) => return object.get(&names[depth..]),
                    Cell::Tags(tags) if names.len() == depth + 1 => {
                        let tag = &tags[index_of(&names[depth], tags.len())?];
                        return Some(Value::Str(Arc::clone(tag)));
                    }
                    _ => return None,
                }
            }
        }
        self.assemble(row, path)
    }

    /// Whether `row` has anything at `path`.
    pub fn has(&self, row: usize, path: &Path) -> bool {
        self.get(row, path).is_some()
    }

    fn position_of_names(&self, names: &[Arc<str>]) -> Option<usize> {
        self.schema.fields().iter().position(|field| field.names() == names)
    }

    pub(crate) fn assemble(&self, row: usize, path: &Path) -> Option<Value> {
        let mut found = None;
        if !self.schema.is_deeper_than(path.names().len()) {
            return found;
        }
        for (index, field) in self.schema.fields().iter().enumerate() {
            if field.names().len() > path.names().len() && field.is_within(path) {
                let Some(value) = self.cell(index, row).to_value() else { continue };
                let object = found.get_or_insert_with(Value::object);
                insert_below(object, &field.names()[path.names().len()..], value);
            }
        }
        found
    }

    /// Sets `path` in `row`. Objects on the way are made; a number addresses a list element, past the end fills with
    /// null. A name below a string, a number or null cannot be set.
    pub fn set(&mut self, row: usize, path: &Path, value: impl Into<Value>) -> Result<(), SetError> {
        let value = value.into();
        let names = path.names();
        for depth in 1..names.len() {
            let Some(index) = self.position_of_names(&names[..depth]) else { continue };
            let holder = match self.cell(index, row) {
                Cell::Absent => continue,
                cell => cell.to_value(),
            };
            let mut holder = holder.unwrap_or(Value::Null);
            if let Err(kind) = set_below(&mut holder, &names[depth..], value) {
                return Err(SetError { path: path.clone(), holder: Path::new(&names[..depth]), kind });
            }
            self.store(index, row, holder);
            return Ok(());
        }
        self.clear_below(row, path);
        let index = self.column_for(path);
        self.store(index, row, value);
        Ok(())
    }

    /// Sets `path` in `row` to text, without an allocation of its own.
    pub fn set_str(&mut self, row: usize, path: &Path, text: &str) -> Result<(), SetError> {
        if path.names().len() > 1 {
            return self.set(row, path, text);
        }
        self.clear_below(row, path);
        let index = self.column_for(path);
        if matches!(*self.columns[index], Column::Absent) {
            self.columns[index] = Arc::new(Column::Str(vec![StrRef::ABSENT; self.rows]));
        }
        if matches!(*self.columns[index], Column::Str(_)) {
            let place = self.push_text(text);
            if let Column::Str(cells) = Arc::make_mut(&mut self.columns[index]) {
                cells[row] = place;
            }
        } else {
            self.store(index, row, Value::from(text));
        }
        Ok(())
    }

    /// Makes columns for these paths, without a value yet, so that setting each of many fields does not make a schema.
    pub fn make_columns(&mut self, paths: &[Path]) {
        self.schema = self.schema.with(paths);
        self.columns.resize_with(self.schema.fields().len(), || Arc::new(Column::Absent));
    }

    pub(crate) fn column_for(&mut self, path: &Path) -> usize {
        if let Some(index) = self.schema.position(path) {
            return index;
        }
        self.schema = self.schema.with(std::slice::from_ref(path));
        self.columns.push(Arc::new(Column::Absent));
        self.columns.len() - 1
    }

    pub(crate) fn store(&mut self, index: usize, row: usize, value: Value) {
        let rows = self.rows;
        if let Value::Str(text) = &value
            && matches!(*self.columns[index], Column::Absent | Column::Str(_))
        {
            let place = self.push_text(text);
            let column = Arc::make_mut(&mut self.columns[index]);
            if matches!(column, Column::Absent) {
                *column = Column::Str(vec![StrRef::ABSENT; rows]);
            }
            if let Column::Str(cells) = column {
                cells[row] = place;
            }
            return;
        }
        if let Value::Array(items) = &value
            && matches!(*self.columns[index], Column::Absent | Column::Tags(_))
            && let Some(tags) = items
                .iter()
                .map(|item| if let Value::Str(tag) = item { Some(Arc::clone(tag)) } else { None })
                .collect::<Option<Vec<_>>>()
            && self.tag_lists.len() < 256
        {
            let list = self.tag_list(&tags);
            let column = Arc::make_mut(&mut self.columns[index]);
            if matches!(column, Column::Absent) {
                *column = Column::Tags(vec![ABSENT_TAGS; rows]);
            }
            if let Column::Tags(cells) = column {
                cells[row] = list;
            }
            return;
        }
        let column = Arc::make_mut(&mut self.columns[index]);
        if matches!(column, Column::Absent) {
            *column = Column::absent_like(&value, rows);
        }
        if let Err(value) = column.store(row, value) {
            // The one way a column changes its kind: the other rows keep their types inside `Any`.
            let mut cells: Vec<Option<Value>> =
                (0..rows).map(|row| self.cell(index, row).to_value()).collect();
            cells[row] = Some(value);
            self.columns[index] = Arc::new(Column::Any(cells));
        }
    }

    fn clear_cell(&mut self, index: usize, row: usize) {
        if self.columns[index].is_present(row) {
            Arc::make_mut(&mut self.columns[index]).clear(row, self.rows);
        }
    }

    pub(crate) fn clear_below(&mut self, row: usize, path: &Path) {
        if !self.schema.is_deeper_than(path.names().len()) {
            return;
        }
        let below = |field: &Path| field.names().len() > path.names().len() && field.is_within(path);
        for index in 0..self.columns.len() {
            if below(&self.schema.fields()[index]) {
                self.clear_cell(index, row);
            }
        }
    }

    /// Removes `path` and everything below it from `row` and gives what was there. An object that loses its last
    /// member stays as `{}`.
    pub fn remove(&mut self, row: usize, path: &Path) -> Option<Value> {
        let removed = self.get(row, path)?;
        let names = path.names();
        for depth in 1..names.len() {
            let Some(index) = self.position_of_names(&names[..depth]) else { continue };
            let Some(mut holder) = self.cell(index, row).to_value() else { continue };
            remove_below(&mut holder, &names[depth..]);
            self.store(index, row, holder);
            return Some(removed);
        }
        self.clear_below(row, path);
        if let Some(index) = self.schema.position(path) {
            self.clear_cell(index, row);
        }
        if let Some(parent) = path.parent()
            && !self.has(row, &parent)
        {
            let index = self.column_for(&parent);
            self.store(index, row, Value::object());
        }
        Some(removed)
    }

    /// Removes `path` and everything below it from each of `rows`, as [`Batch::remove`] does, without putting together
    /// what was there.
    pub fn remove_from(&mut self, rows: &BitSet, path: &Path) {
        if path.names().len() > 1 {
            for row in rows.iter() {
                self.remove(row, path);
            }
        } else if rows.count() == self.rows {
            self.drop_columns(path);
        } else {
            for index in 0..self.columns.len() {
                if self.schema.fields()[index].is_within(path) {
                    rows.iter().for_each(|row| self.clear_cell(index, row));
                }
            }
        }
    }

    /// The whole row as an object, `[@metadata]` included: for tests, the row face's `to_value` and dead letters.
    pub fn to_value(&self, row: usize) -> Value {
        let mut document = Value::object();
        let fields = self.schema.fields();
        // Shorter paths first, so that a parent is set before its children; a stable sort keeps the columns' order.
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|&index| fields[index].names().len());
        for index in order {
            if let Some(value) = self.cell(index, row).to_value() {
                insert_below(&mut document, fields[index].names(), value);
            }
        }
        document
    }
}

fn insert_below(object: &mut Value, names: &[Arc<str>], value: Value) {
    let Value::Object(map) = object else { return };
    match names {
        [] => {}
        [name] => {
            map.insert(Arc::clone(name), value);
        }
        [name, rest @ ..] => {
            insert_below(map.entry(Arc::clone(name)).or_insert_with(Value::object), rest, value)
        }
    }
}

/// Sets `names` below `holder`; the error is the kind of what cannot hold fields.
fn set_below(holder: &mut Value, names: &[Arc<str>], value: Value) -> Result<(), &'static str> {
    let Some((name, rest)) = names.split_first() else {
        *holder = value;
        return Ok(());
    };
    match holder {
        Value::Object(map) => {
            if rest.is_empty() {
                map.insert(Arc::clone(name), value);
                return Ok(());
            }
            set_below(map.entry(Arc::clone(name)).or_insert_with(Value::object), rest, value)
        }
        Value::Array(items) => {
            // A name that is no number addresses nothing in a list: Logstash leaves the event as it is.
            let Ok(number) = name.parse::<i64>() else { return Ok(()) };
            let index = match (usize::try_from(number), index_of(name, items.len())) {
                (_, Some(index)) => index,
                // A far index would fill memory with nulls.
                (Ok(past_end), None) if past_end < 65_536 => {
                    items.resize(past_end + 1, Value::Null);
                    past_end
                }
                _ => return Err("array"),
            };
            if rest.is_empty() {
                items[index] = value;
                return Ok(());
            }
            if items[index] == Value::Null {
                items[index] = Value::object();
            }
            set_below(&mut items[index], rest, value)
        }
        other => Err(other.kind()),
    }
}

fn remove_below(holder: &mut Value, names: &[Arc<str>]) {
    let Some((name, rest)) = names.split_first() else { return };
    match holder {
        Value::Object(map) if rest.is_empty() => {
            map.shift_remove(&**name);
        }
        Value::Object(map) => {
            if let Some(below) = map.get_mut(&**name) {
                remove_below(below, rest);
            }
        }
        Value::Array(items) => {
            if let Some(index) = index_of(name, items.len()) {
                if rest.is_empty() {
                    items.remove(index);
                } else {
                    remove_below(&mut items[index], rest);
                }
            }
        }
        _ => {}
    }
}
