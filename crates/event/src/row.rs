//! The row face: one event, field by field.

use std::sync::Arc;

use crate::{Batch, Cell, Path, Reject, RowId, SetError, Value};

/// One event to read. Field names are references: `message`, `[src_geoip][country_code2]`.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    batch: &'a Batch,
    row: usize,
}

/// One event to read, change and judge. What a transform does not touch stays as it is.
#[derive(Debug)]
pub struct Row<'a> {
    batch: &'a mut Batch,
    row: usize,
}

// === impl RowView ===

impl<'a> RowView<'a> {
    pub(crate) fn new(batch: &'a Batch, row: usize) -> Self {
        Self { batch, row }
    }

    /// The row's id.
    pub fn id(self) -> RowId {
        self.batch.id(self.row)
    }

    /// The text of a string field; `None` when it is absent or no string.
    pub fn str(self, field: &str) -> Option<&'a str> {
        self.cell(field).as_str()
    }

    /// The number of an integer field.
    pub fn i64(self, field: &str) -> Option<i64> {
        match self.cell(field) {
            Cell::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The number of an integer field that is not negative.
    pub fn u64(self, field: &str) -> Option<u64> {
        self.i64(field).and_then(|value| u64::try_from(value).ok())
    }

    /// The number of a float or integer field.
    pub fn f64(self, field: &str) -> Option<f64> {
        match self.cell(field) {
            Cell::Float(value) => Some(value),
            Cell::Int(value) => Some(value as f64),
            _ => None,
        }
    }

    /// The instant of a timestamp field in milliseconds since the epoch.
    pub fn time(self, field: &str) -> Option<i64> {
        match self.cell(field) {
            Cell::Time(value) => Some(value),
            _ => None,
        }
    }

    /// The cell of a field that is a column of its own; absent for objects spread over columns (see [`RowView::get`]).
    pub fn cell(self, field: &str) -> Cell<'a> {
        match self.batch.schema().position_of(field) {
            Some(index) => self.batch.cell(index, self.row),
            None => match Path::parse(field).ok().and_then(|path| self.batch.schema().position(&path)) {
                Some(index) => self.batch.cell(index, self.row),
                None => Cell::Absent,
            },
        }
    }

    /// The cell of a path that is a column of its own.
    pub fn cell_at(self, path: &Path) -> Cell<'a> {
        self.batch.schema().position(path).map_or(Cell::Absent, |index| self.batch.cell(index, self.row))
    }

    /// A field's value, objects and list elements included. A text that is no reference names nothing.
    pub fn get(self, field: &str) -> Option<Value> {
        self.get_path(&Path::parse(field).ok()?)
    }

    /// The value at `path`.
    pub fn get_path(self, path: &Path) -> Option<Value> {
        self.batch.get(self.row, path)
    }

    /// Whether the event has the field (null counts).
    pub fn has(self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// The whole event as an object.
    pub fn to_value(self) -> Value {
        self.batch.to_value(self.row)
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    pub(crate) fn new(batch: &'a mut Batch, row: usize) -> Self {
        Self { batch, row }
    }

    /// The same row, to read.
    pub fn view(&self) -> RowView<'_> {
        RowView { batch: self.batch, row: self.row }
    }

    /// The row's number within its batch.
    pub fn index(&self) -> usize {
        self.row
    }

    /// The row's id.
    pub fn id(&self) -> RowId {
        self.batch.id(self.row)
    }

    /// The text of a string field; `None` when it is absent or no string.
    pub fn str(&self, field: &str) -> Option<&str> {
        self.view().str(field)
    }

    /// The number of an integer field.
    pub fn i64(&self, field: &str) -> Option<i64> {
        self.view().i64(field)
    }

    /// The number of an integer field that is not negative.
    pub fn u64(&self, field: &str) -> Option<u64> {
        self.view().u64(field)
    }

    /// The number of a float or integer field.
    pub fn f64(&self, field: &str) -> Option<f64> {
        self.view().f64(field)
    }

    /// The instant of a timestamp field in milliseconds since the epoch.
    pub fn time(&self, field: &str) -> Option<i64> {
        self.view().time(field)
    }

    /// A field's value, objects and list elements included.
    pub fn get(&self, field: &str) -> Option<Value> {
        self.view().get(field)
    }

    /// Whether the event has the field (null counts).
    pub fn has(&self, field: &str) -> bool {
        self.view().has(field)
    }

    /// Sets a field; fails where something that is no object stands in the way.
    pub fn set(&mut self, field: &str, value: impl Into<Value>) -> Result<(), SetError> {
        self.batch.set(self.row, &reference(field), value)
    }

    /// Sets the field at `path`.
    pub fn set_path(&mut self, path: &Path, value: impl Into<Value>) -> Result<(), SetError> {
        self.batch.set(self.row, path, value)
    }

    /// Removes a field and everything below it, and gives what was there.
    pub fn remove(&mut self, field: &str) -> Option<Value> {
        self.batch.remove(self.row, &reference(field))
    }

    /// Adds a tag once.
    pub fn tag(&mut self, tag: &str) {
        self.batch.tag(self.row, &Arc::from(tag));
    }

    /// Sends the event, whole, to the component's `rejected` port.
    pub fn reject(&mut self, reason: &'static str, detail: impl Into<String>) {
        self.batch.reject(self.row, Reject::new(reason, detail));
    }

    /// Drops the event on purpose; `reason` is counted.
    pub fn discard(&mut self, reason: &'static str) {
        self.batch.discard(self.row, reason);
    }

    /// The transform did not apply to this event: no `add_field`, `add_tag`, `remove_field`, `remove_tag` for it.
    pub fn not_matched(&mut self) {
        self.batch.not_matched(self.row);
    }
}

fn reference(field: &str) -> Path {
    Path::parse(field).unwrap_or_else(|_| Path::parse_lenient(field))
}
