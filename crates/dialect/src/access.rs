//! Fields that are read row after row: looked up once per batch, then taken from their column.

use flowstone_core::event::{Batch, Cell, METADATA, Path, VERSION, Value};

/// Where a batch holds a field.
pub(crate) enum Access<'a> {
    /// No row has it.
    Nowhere { path: &'a Path },
    /// In a column of its own and nowhere else.
    Column { index: usize, path: &'a Path },
    /// Inside a value, spread over several columns, or here so and there so.
    Scattered { index: Option<usize>, path: &'a Path },
}

impl<'a> Access<'a> {
    /// Looks a field up in a batch's columns.
    pub(crate) fn of(batch: &Batch, path: &'a Path) -> Self {
        let index = batch.schema().position(path);
        let names = path.names();
        // Columns above or below the path may hold the field in some rows.
        let elsewhere = batch.schema().fields().iter().any(|field| {
            let shared = field.names().len().min(names.len());
            field.names().len() != names.len() && field.names()[..shared] == names[..shared]
        });
        match index {
            Some(index) if !elsewhere => Self::Column { index, path },
            None if !elsewhere => Self::Nowhere { path },
            index => Self::Scattered { index, path },
        }
    }

    /// The field of one row.
    pub(crate) fn held<'b>(&self, batch: &'b Batch, row: usize) -> Held<'b> {
        match *self {
            Self::Nowhere { path } => Held::of(Cell::Absent, || None, path),
            Self::Column { index, path } => Held::of(batch.cell(index, row), || None, path),
            Self::Scattered { index, path } => {
                let cell = index.map_or(Cell::Absent, |index| batch.cell(index, row));
                Held::of(cell, || batch.get(row, path), path)
            }
        }
    }
}

/// A field of one row: a cell of the batch, or a value put together for the question.
pub(crate) enum Held<'a> {
    Cell(Cell<'a>),
    Value(Value),
}

impl<'a> Held<'a> {
    /// `cell`, or where it is absent `otherwise`. Two fields every event has: `[@metadata]`, an object if only an
    /// empty one, and `[@version]`, which is `1`.
    pub(crate) fn of(cell: Cell<'a>, otherwise: impl FnOnce() -> Option<Value>, path: &Path) -> Self {
        if !cell.is_absent() {
            return Self::Cell(cell);
        }
        match otherwise() {
            Some(value) => Self::Value(value),
            None if path.as_str() == VERSION => Self::Cell(Cell::Str("1")),
            None if path.as_str() == METADATA => Self::Value(Value::object()),
            None => Self::Cell(Cell::Absent),
        }
    }

    /// It as a cell to look at.
    pub(crate) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Cell(cell) => *cell,
            Self::Value(value) => Cell::of(value),
        }
    }
}
