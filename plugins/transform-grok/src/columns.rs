//! Captures as whole columns: the way for patterns whose fields are new to the batch. Text becomes references into the
//! page of the line, so that nothing is copied and the number of allocations does not depend on the rows.

use flowstone_core::event::{ABSENT_FLOAT_BITS, ABSENT_INT, Batch, Column, Path, StrRef, Value};
use flowstone_dialect::regex::Scratch;
use flowstone_dialect::{to_f, to_i};

use crate::names::Convert;
use crate::pattern::{Capture, Pattern};
use crate::transform::Source;

/// Where each capture of each pattern goes.
#[derive(Debug)]
pub(crate) struct Layout {
    fields: Vec<Field>,
    /// By pattern, in the order of all patterns; then by capture: the number of its field.
    of_captures: Vec<Box<[usize]>>,
}

#[derive(Debug)]
struct Field {
    path: Path,
    convert: Convert,
    /// Every capture of it replaces what is there.
    overwrites: bool,
}

/// The columns of a batch while they are filled.
pub(crate) struct Columns<'l> {
    layout: &'l Layout,
    cells: Vec<Cells>,
    used: Vec<bool>,
}

enum Cells {
    Text(Vec<StrRef>),
    Int(Vec<i64>),
    Float(Vec<f64>),
}

/// A row whose captures do not fit whole columns: it is done alone.
pub(crate) struct Alone;

// === impl Layout ===

impl Layout {
    /// The layout, if whole columns can hold what the patterns capture: no field lies within another, none is read by
    /// a later match, each is of one kind.
    pub(crate) fn new(sources: &[Source], keep_empty: bool) -> Option<Self> {
        let mut fields: Vec<Field> = Vec::new();
        let mut of_captures = Vec::new();
        for pattern in sources.iter().flat_map(|source| &source.patterns) {
            let mut numbers = Vec::with_capacity(pattern.captures().len());
            for Capture { field, convert, overwrites, .. } in pattern.captures() {
                let known = fields.iter().position(|known| known.path == *field);
                numbers.push(known.unwrap_or(fields.len()));
                match known {
                    None => {
                        fields.push(Field { path: field.clone(), convert: *convert, overwrites: *overwrites })
                    }
                    Some(known) if fields[known].convert != *convert => return None,
                    Some(_) => {}
                }
            }
            of_captures.push(numbers.into());
        }
        let related = |a: &Path, b: &Path| a.is_within(b) || b.is_within(a);
        let own_kind = [Path::tags(), Path::timestamp()];
        for (index, Field { path, .. }) in fields.iter().enumerate() {
            if fields[..index].iter().any(|other| related(path, &other.path))
                || own_kind.iter().any(|other| related(path, other))
                || sources.iter().skip(1).any(|source| related(path, &source.path))
            {
                return None;
            }
        }
        // Null has no place in a column of text.
        (!keep_empty).then_some(Self { fields, of_captures })
    }

    /// Columns to fill for this batch; `None` where a field is there already and has to be merged.
    pub(crate) fn columns(&self, batch: &Batch) -> Option<Columns<'_>> {
        let rows = batch.len();
        let mut cells = Vec::with_capacity(self.fields.len());
        for Field { path, convert, overwrites } in &self.fields {
            let mut there = None;
            for (index, known) in batch.schema().fields().iter().enumerate() {
                let column = batch.column(index);
                if matches!(column, Column::Absent) || !(known.is_within(path) || path.is_within(known)) {
                    continue;
                }
                if known != path || !*overwrites {
                    return None;
                }
                there = Some(column);
            }
            cells.push(match (convert, there) {
                (Convert::Text, None) => Cells::Text(vec![StrRef::ABSENT; rows]),
                (Convert::Text, Some(Column::Str(cells))) => Cells::Text(cells.clone()),
                (Convert::Int, None) => Cells::Int(vec![ABSENT_INT; rows]),
                (Convert::Float, None) => Cells::Float(vec![f64::from_bits(ABSENT_FLOAT_BITS); rows]),
                _ => return None,
            });
        }
        Some(Columns { layout: self, used: vec![false; cells.len()], cells })
    }
}

// === impl Columns ===

impl Columns<'_> {
    /// Writes what pattern `number` captured in the text at `place`. On `Alone` the row is as if untouched.
    pub(crate) fn write(
        &mut self,
        number: usize,
        pattern: &Pattern,
        scratch: &Scratch,
        row: usize,
        place: StrRef,
        text: &str,
    ) -> Result<(), Alone> {
        for (capture, &field) in pattern.captures().iter().zip(&self.layout.of_captures[number]) {
            let Some((start, end)) = scratch.group(capture.group) else { continue };
            if start == end {
                continue;
            }
            match &mut self.cells[field] {
                Cells::Text(cells) => {
                    // A second capture of one name makes a list; where it replaces, the last one counts.
                    if !cells[row].is_absent() && !capture.overwrites {
                        return Err(Alone);
                    }
                    cells[row] = StrRef { page: place.page, offset: place.offset + start, len: end - start };
                }
                Cells::Int(cells) => {
                    if cells[row] != ABSENT_INT {
                        return Err(Alone);
                    }
                    let text = &text[start as usize..end as usize];
                    cells[row] = match Convert::plain_int(text.as_bytes()) {
                        Some(value) => value,
                        None => match to_i(text) {
                            Value::Int(value) if value != ABSENT_INT => value,
                            _ => return Err(Alone),
                        },
                    };
                }
                Cells::Float(cells) => {
                    if cells[row].to_bits() != ABSENT_FLOAT_BITS {
                        return Err(Alone);
                    }
                    let text = &text[start as usize..end as usize];
                    cells[row] = match Convert::plain_int(text.as_bytes()) {
                        // Minus zero is a float of its own.
                        Some(0) if text.starts_with('-') => -0.0,
                        Some(value) => value as f64,
                        None => to_f(text),
                    };
                }
            }
            self.used[field] = true;
        }
        Ok(())
    }

    /// Takes back what was written to `row`.
    pub(crate) fn clear(&mut self, row: usize, batch: &Batch) {
        for (cells, field) in self.cells.iter_mut().zip(&self.layout.fields) {
            match cells {
                Cells::Text(cells) => {
                    cells[row] = match batch.column_of(&field.path) {
                        Some(Column::Str(old)) => old[row],
                        _ => StrRef::ABSENT,
                    };
                }
                Cells::Int(cells) => cells[row] = ABSENT_INT,
                Cells::Float(cells) => cells[row] = f64::from_bits(ABSENT_FLOAT_BITS),
            }
        }
    }

    /// The columns that hold anything.
    pub(crate) fn finish(self) -> Vec<(Path, Column)> {
        let filled = self.cells.into_iter().zip(&self.layout.fields).zip(self.used).filter(|(_, used)| *used);
        filled
            .map(|((cells, field), _)| {
                let column = match cells {
                    Cells::Text(cells) => Column::Str(cells),
                    Cells::Int(cells) => Column::Int(cells),
                    Cells::Float(cells) => Column::Float(cells),
                };
                (field.path.clone(), column)
            })
            .collect()
    }
}
