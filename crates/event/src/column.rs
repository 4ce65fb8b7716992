//! One field of all rows of a batch.

use std::sync::Arc;

use crate::{ObjectCell, Objects, Value};

/// The place of a string cell's text: a page of its batch, an offset and a length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrRef {
    /// Index of the page within the batch; [`StrRef::ABSENT`] has `u32::MAX`.
    pub page: u32,
    /// First byte within the page.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl StrRef {
    /// The cell that is not there.
    pub const ABSENT: Self = Self { page: u32::MAX, offset: 0, len: 0 };

    /// Whether the cell is not there.
    #[inline]
    pub fn is_absent(self) -> bool {
        self.page == u32::MAX
    }
}

/// The integer that marks an absent cell of [`Column::Int`] and [`Column::Time`]. A real `i64::MIN` is stored as
/// [`Column::Any`], so nothing is mistaken for absence.
pub const ABSENT_INT: i64 = i64::MIN;
/// The bits of the (otherwise unused) NaN that marks an absent cell of [`Column::Float`].
pub const ABSENT_FLOAT_BITS: u64 = 0xfff8_dead_dead_dead;
/// Marks an absent cell of [`Column::Bool`].
const ABSENT_BOOL: u8 = 2;
/// The number that marks an absent cell of [`Column::Tags`].
pub const ABSENT_TAGS: u32 = u32::MAX;

/// One field's values, row by row. The typed kinds cost 1 to 12 bytes a row and no allocation; [`Column::Any`] holds
/// whatever does not fit them.
#[derive(Clone, Debug)]
pub enum Column {
    /// No row has the field.
    Absent,
    /// Every row has this value (a file's path, a log group).
    Const(Value),
    /// 0 false, 1 true, 2 absent.
    Bool(Vec<u8>),
    /// Integers; [`ABSENT_INT`] is absent.
    Int(Vec<i64>),
    /// Instants in milliseconds since the epoch; [`ABSENT_INT`] is absent.
    Time(Vec<i64>),
    /// Floats; the NaN with [`ABSENT_FLOAT_BITS`] is absent.
    Float(Vec<f64>),
    /// References into the batch's pages.
    Str(Vec<StrRef>),
    /// Numbers into the batch's table of tag lists.
    Tags(Vec<u32>),
    /// Objects that rows share, but for a text of their own (what a database knows of an address).
    Objects(Objects),
    /// Any value.
    Any(Vec<Option<Value>>),
}

/// One cell as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// The row does not have the field.
    Absent,
    /// JSON null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Milliseconds since the epoch.
    Time(i64),
    /// Text.
    Str(&'a str),
    /// A list of texts.
    Tags(&'a [Arc<str>]),
    /// An object that other rows may share; [`Cell::Any`] holds those that stand alone.
    Object(ObjectCell<'a>),
    /// A list, an object or an integer beyond 64 bits.
    Any(&'a Value),
}

impl<'a> Cell<'a> {
    /// The cell of a value.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(v) => Self::Bool(*v),
            Value::Int(v) => Self::Int(*v),
            Value::Float(v) => Self::Float(*v),
            Value::Time(v) => Self::Time(*v),
            Value::Str(v) => Self::Str(v),
            Value::BigInt(_) | Value::Array(_) | Value::Object(_) => Self::Any(value),
        }
    }

    /// The cell as a value of its own; `None` when absent.
    pub fn to_value(self) -> Option<Value> {
        Some(match self {
            Self::Absent => return None,
            Self::Null => Value::Null,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Float(v) => Value::Float(v),
            Self::Time(v) => Value::Time(v),
            Self::Str(v) => Value::Str(v.into()),
            Self::Tags(tags) => Value::Array(tags.iter().map(|tag| Value::Str(Arc::clone(tag))).collect()),
            Self::Object(object) => object.to_value(),
            Self::Any(v) => v.clone(),
        })
    }

    /// Whether the row does not have the field.
    pub fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The text of a string cell.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }
}

// === impl Column ===

impl Column {
    /// Whether `row` has a value.
    #[inline]
    pub fn is_present(&self, row: usize) -> bool {
        match self {
            Self::Absent => false,
            Self::Const(_) => true,
            Self::Bool(cells) => cells[row] != ABSENT_BOOL,
            Self::Int(cells) | Self::Time(cells) => cells[row] != ABSENT_INT,
            Self::Float(cells) => cells[row].to_bits() != ABSENT_FLOAT_BITS,
            Self::Str(cells) => !cells[row].is_absent(),
            Self::Tags(cells) => cells[row] != ABSENT_TAGS,
            Self::Objects(objects) => objects.is_present(row),
            Self::Any(cells) => cells[row].is_some(),
        }
    }

    /// Makes `row` absent.
    pub(crate) fn clear(&mut self, row: usize, rows: usize) {
        match self {
            Self::Absent => {}
            Self::Const(value) => {
                let value = std::mem::replace(value, Value::Null);
                *self = Self::Any(vec![Some(value); rows]);
                self.clear(row, rows);
            }
            Self::Bool(cells) => cells[row] = ABSENT_BOOL,
            Self::Int(cells) | Self::Time(cells) => cells[row] = ABSENT_INT,
            Self::Float(cells) => cells[row] = f64::from_bits(ABSENT_FLOAT_BITS),
            Self::Str(cells) => cells[row] = StrRef::ABSENT,
            Self::Tags(cells) => cells[row] = ABSENT_TAGS,
            Self::Objects(objects) => objects.clear(row),
            Self::Any(cells) => cells[row] = None,
        }
    }

    /// A column of the kind that suits `value`, every row absent. Strings and tags are the batch's to place.
    pub(crate) fn absent_like(value: &Value, rows: usize) -> Self {
        match value {
            Value::Bool(_) => Self::Bool(vec![ABSENT_BOOL; rows]),
            Value::Int(v) if *v != ABSENT_INT => Self::Int(vec![ABSENT_INT; rows]),
            Value::Time(v) if *v != ABSENT_INT => Self::Time(vec![ABSENT_INT; rows]),
            Value::Float(_) => Self::Float(vec![f64::from_bits(ABSENT_FLOAT_BITS); rows]),
            Value::Str(_) => Self::Str(vec![StrRef::ABSENT; rows]),
            _ => Self::Any(vec![None; rows]),
        }
    }

    /// Stores a value that fits the column's kind; otherwise gives it back.
    pub(crate) fn store(&mut self, row: usize, value: Value) -> Result<(), Value> {
        match (self, value) {
            (Self::Bool(cells), Value::Bool(v)) => cells[row] = u8::from(v),
            (Self::Int(cells), Value::Int(v)) | (Self::Time(cells), Value::Time(v)) if v != ABSENT_INT => {
                cells[row] = v
            }
            (Self::Float(cells), Value::Float(v)) => cells[row] = if v.is_nan() { f64::NAN } else { v },
            (Self::Any(cells), value) => cells[row] = Some(value),
            (_, value) => return Err(value),
        }
        Ok(())
    }

    /// This column with the cells of `below` where its own are absent; itself when the two are of different kinds.
    pub(crate) fn over(mut self, below: &Self) -> Result<Self, Self> {
        fn fill<T: Copy>(cells: &mut [T], is_absent: impl Fn(&T) -> bool, below: impl Fn(usize) -> T) {
            for (row, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| is_absent(cell)) {
                *cell = below(row);
            }
        }
        match (&mut self, below) {
            (_, Self::Absent) | (Self::Const(_), _) => {}
            (Self::Absent, _) => return Ok(below.clone()),
            (Self::Bool(cells), Self::Bool(below)) => {
                fill(cells, |cell| *cell == ABSENT_BOOL, |row| below[row])
            }
            (Self::Int(cells), Self::Int(below)) | (Self::Time(cells), Self::Time(below)) => {
                fill(cells, |cell| *cell == ABSENT_INT, |row| below[row]);
            }
            (Self::Int(cells), Self::Const(Value::Int(below)))
            | (Self::Time(cells), Self::Const(Value::Time(below)))
                if *below != ABSENT_INT =>
            {
                fill(cells, |cell| *cell == ABSENT_INT, |_| *below);
            }
            (Self::Float(cells), Self::Float(below)) => {
                fill(cells, |cell| cell.to_bits() == ABSENT_FLOAT_BITS, |row| below[row]);
            }
            (Self::Str(cells), Self::Str(below)) => fill(cells, |cell| cell.is_absent(), |row| below[row]),
            (Self::Tags(cells), Self::Tags(below)) => {
                fill(cells, |cell| *cell == ABSENT_TAGS, |row| below[row])
            }
            _ => return Err(self),
        }
        Ok(self)
    }

    /// The rows of `pick`, in its order.
    pub(crate) fn gather(&self, pick: &[usize]) -> Self {
        fn of<T: Clone>(cells: &[T], pick: &[usize]) -> Vec<T> {
            pick.iter().map(|&row| cells[row].clone()).collect()
        }
        match self {
            Self::Absent => Self::Absent,
            Self::Const(value) => Self::Const(value.clone()),
            Self::Bool(cells) => Self::Bool(of(cells, pick)),
            Self::Int(cells) => Self::Int(of(cells, pick)),
            Self::Time(cells) => Self::Time(of(cells, pick)),
            Self::Float(cells) => Self::Float(of(cells, pick)),
            Self::Str(cells) => Self::Str(of(cells, pick)),
            Self::Tags(cells) => Self::Tags(of(cells, pick)),
            Self::Objects(objects) => Self::Objects(objects.gather(pick)),
            Self::Any(cells) => Self::Any(of(cells, pick)),
        }
    }

    /// Bytes held, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Const(value) => 32 + value.heap_bytes(),
            Self::Bool(cells) => cells.capacity(),
            Self::Int(cells) | Self::Time(cells) => cells.capacity() * 8,
            Self::Float(cells) => cells.capacity() * 8,
            Self::Str(cells) => cells.capacity() * 12,
            Self::Tags(cells) => cells.capacity() * 4,
            Self::Objects(objects) => objects.memory_bytes(),
            Self::Any(cells) => {
                cells.capacity() * size_of::<Option<Value>>()
                    + cells.iter().flatten().map(Value::heap_bytes).sum::<usize>()
            }
        }
    }

    /// The places in the batch's pages that the column refers to.
    pub(crate) fn places(&self) -> &[StrRef] {
        match self {
            Self::Str(cells) => cells,
            Self::Objects(Objects { own: Some(member), .. }) => &member.cells,
            _ => &[],
        }
    }

    /// The same, to change.
    pub(crate) fn places_mut(&mut self) -> &mut [StrRef] {
        match self {
            Self::Str(cells) => cells,
            Self::Objects(Objects { own: Some(member), .. }) => &mut member.cells,
            _ => &mut [],
        }
    }
}
