//! A new value made of the old one: `convert`, `gsub`, upper and lower case, `strip`, `split`, `join`.

use std::sync::Arc;

use flowstone_core::event::{ABSENT_INT, Batch, Column, Path, RowView, StrRef, Value};

use crate::convert::Conversion;
use crate::gsub::Substitution;
use crate::step::own_column;
use crate::{StepError, text};

/// How a value changes.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Another type.
    Convert(Conversion),
    /// Matches of a regular expression replaced.
    Gsub(Arc<Substitution>),
    /// Another case.
    Text(fn(&str, &mut String)),
    /// Without white space at the ends.
    Strip,
    /// Cut into a list.
    Split(String),
    /// A list made into text.
    Join(String),
}

// === impl Change ===

impl Change {
    /// The new value, or nothing where this change leaves such a value alone.
    pub(crate) fn apply(&self, value: Value, row: RowView<'_>) -> Result<Option<Value>, StepError> {
        match (self, value) {
            (Self::Convert(conversion), value) => conversion.apply(value).map(Some),
            (Self::Split(separator), Value::Str(text)) => {
                Ok(Some(Value::Array(text::split(&text, separator))))
            }
            (Self::Join(separator), Value::Array(items)) => {
                Ok(Some(Value::from(text::join(&items, separator))))
            }
            (Self::Split(_) | Self::Join(_), _) => Ok(None),
            (_, Value::Str(text)) => {
                let mut out = String::new();
                Ok(self.change_text(&text, row, &mut out)?.then(|| Value::from(out)))
            }
            (_, Value::Array(items)) => {
                let changed = items.into_iter().map(|item| self.change_item(item, row));
                changed.collect::<Result<Vec<_>, _>>().map(|items| Some(Value::Array(items)))
            }
            _ => Ok(None),
        }
    }

    fn change_item(&self, item: Value, row: RowView<'_>) -> Result<Value, StepError> {
        match (self, item) {
            (_, Value::Str(text)) => {
                let mut out = String::new();
                Ok(if self.change_text(&text, row, &mut out)? { Value::from(out) } else { Value::Str(text) })
            }
            (Self::Strip, other) => Err(StepError::new(format!(
                "a list with an element of type {} cannot be stripped",
                other.kind()
            ))),
            (_, other) => Ok(other),
        }
    }

    /// Writes the changed text; `false` leaves it as it is.
    fn change_text(&self, text: &str, row: RowView<'_>, out: &mut String) -> Result<bool, StepError> {
        match self {
            Self::Text(change) => {
                change(text, out);
                Ok(out != text)
            }
            Self::Strip => {
                out.push_str(text::strip(text));
                Ok(out.len() != text.len())
            }
            Self::Gsub(substitution) => substitution.apply(text, row, out),
            Self::Convert(_) | Self::Split(_) | Self::Join(_) => Ok(false),
        }
    }

    /// Changes a column of text in one pass, if there is one and nothing can fail or depend on other fields.
    pub(crate) fn apply_to_column(&self, batch: &mut Batch, path: &Path) -> bool {
        let Some(Column::Str(cells)) = own_column(batch, path) else { return false };
        if let Self::Convert(conversion) = self {
            let Some(column) = convert_cells(*conversion, cells, batch) else { return false };
            batch.put_columns(vec![(path.clone(), column)]);
            return true;
        }
        let same_for_all_rows = match self {
            Self::Gsub(substitution) => substitution.is_fixed(),
            Self::Text(_) | Self::Strip => true,
            _ => false,
        };
        if !same_for_all_rows {
            return false;
        }
        let mut cells = cells.clone();
        let mut out = String::new();
        for (row, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| !cell.is_absent()) {
            out.clear();
            match self.change_text(batch.text(*cell), batch.row(row), &mut out) {
                Ok(false) => {}
                Ok(true) => *cell = batch.push_text(&out),
                // Row by row, so that only this row fails.
                Err(_) => return false,
            }
        }
        batch.put_columns(vec![(path.clone(), Column::Str(cells))]);
        true
    }
}

/// A column of numbers; none where a value does not fit one.
fn convert_cells(conversion: Conversion, cells: &[StrRef], batch: &Batch) -> Option<Column> {
    let texts = cells.iter().map(|&place| (!place.is_absent()).then(|| batch.text(place)));
    match conversion {
        Conversion::String => Some(Column::Str(cells.to_vec())),
        Conversion::Integer | Conversion::IntegerEu => {
            let number = |text: Option<&str>| match text.map(|text| conversion.text(text)) {
                None => Some(ABSENT_INT),
                Some(Some(Value::Int(value))) if value != ABSENT_INT => Some(value),
                Some(_) => None,
            };
            texts.map(number).collect::<Option<Vec<_>>>().map(Column::Int)
        }
        Conversion::Float | Conversion::FloatEu => {
            let number = |text: Option<&str>| match text.map(|text| conversion.text(text)) {
                None => Some(f64::from_bits(flowstone_core::event::ABSENT_FLOAT_BITS)),
                Some(Some(Value::Float(value))) => Some(value),
                Some(_) => None,
            };
            texts.map(number).collect::<Option<Vec<_>>>().map(Column::Float)
        }
        Conversion::Boolean => None,
    }
}
