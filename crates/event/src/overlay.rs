//! Many fields of many rows at once: how a transform that fills columns writes them without asking what was there.

use crate::{Batch, Column, Path, SetError};

impl Batch {
    /// Sets fields column by column: every present cell replaces what its row has at that path, as [`Batch::set`]
    /// does, and an absent cell leaves its row alone. So a transform that runs with a `when`, or rejects some rows,
    /// simply leaves their cells absent. New fields come in the order of `columns`.
    ///
    /// A column is replaced as a whole if no row has a field above or below its path, or a value of another kind that an
    /// absent cell would leave; if not, it is set row by row. Gives the rows in which a field could not be set.
    pub fn overlay(&mut self, columns: Vec<(Path, Column)>) -> Vec<(usize, SetError)> {
        let mut whole = Vec::with_capacity(columns.len());
        let mut by_row = Vec::new();
        for (path, column) in columns {
            match self.beneath(&path, column) {
                Ok(column) => whole.push((path, column)),
                Err(column) => {
                    if self.schema().position(&path).is_none() {
                        whole.push((path.clone(), Column::Absent));
                    }
                    by_row.push((path, column));
                }
            }
        }
        self.put_columns(whole);
        let mut failed = Vec::new();
        for (path, column) in by_row {
            for row in 0..self.len() {
                if let Some(value) = self.cell_in(&column, row).to_value()
                    && let Err(error) = self.set(row, &path, value)
                {
                    failed.push((row, error));
                }
            }
        }
        failed
    }

    /// `column` with what the batch has at `path` in its absent cells; the column back when that needs a look at
    /// each row.
    fn beneath(&self, path: &Path, column: Column) -> Result<Column, Column> {
        if self.has_relatives(path) {
            return Err(column);
        }
        let Some(old) = self.column_of(path) else { return Ok(column) };
        let is_full = |column: &Column| (0..self.len()).all(|row| column.is_present(row));
        column.over(old).or_else(|column| if is_full(&column) { Ok(column) } else { Err(column) })
    }

    /// Whether a column above or below `path` holds anything, so that a row may have the field within an object or
    /// spread over other columns.
    pub fn has_relatives(&self, path: &Path) -> bool {
        self.schema().fields().iter().enumerate().any(|(index, field)| {
            field != path
                && (field.is_within(path) || path.is_within(field))
                && !matches!(self.column(index), Column::Absent)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ABSENT_INT, RowId, StrRef, Value};

    fn batch(rows: u8) -> Batch {
        Batch::new((0..rows).map(|row| RowId::of(&[row])).collect())
    }

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    fn ints(cells: &[Option<i64>]) -> Column {
        Column::Int(cells.iter().map(|cell| cell.unwrap_or(ABSENT_INT)).collect())
    }

    /// The batch's documents, one per row.
    fn documents(batch: &Batch) -> Vec<String> {
        (0..batch.len())
            .map(|row| {
                let mut out = Vec::new();
                batch.write_json(row, Default::default(), &mut out);
                String::from_utf8(out).unwrap()
            })
            .collect()
    }

    #[test]
    fn present_cells_replace_and_absent_ones_leave_what_is_there() {
        let mut batch = batch(3);
        batch.put_columns(vec![(path("a"), ints(&[Some(1), Some(2), None]))]);
        assert_eq!(
            batch.overlay(vec![
                (path("a"), ints(&[None, Some(9), None])),
                (path("b"), ints(&[Some(5), None, None]))
            ]),
            []
        );
        assert_eq!(documents(&batch), [r#"{"a":1,"b":5}"#, r#"{"a":9}"#, "{}"]);
    }

    #[test]
    fn a_value_that_all_rows_share_is_kept_by_the_rows_left_alone() {
        let mut batch = batch(2);
        batch.put_columns(vec![
            (path("t"), Column::Const(Value::Time(1000))),
            (path("s"), Column::Const("old".into())),
        ]);
        let new = batch.push_text("new");
        batch.overlay(vec![
            (path("t"), Column::Time(vec![ABSENT_INT, 2000])),
            (path("s"), Column::Str(vec![new, StrRef::ABSENT])),
        ]);
        assert_eq!(
            documents(&batch),
            [
                r#"{"t":"1970-01-01T00:00:01.000Z","s":"new"}"#,
                r#"{"t":"1970-01-01T00:00:02.000Z","s":"old"}"#
            ]
        );
        assert!(matches!(batch.column_of(&path("t")), Some(Column::Time(_))), "times stay times");
    }

    #[test]
    fn columns_of_another_kind_keep_the_types_of_both() {
        let mut batch = batch(2);
        batch.set(0, &path("a"), "text").unwrap();
        batch.overlay(vec![(path("a"), ints(&[None, Some(7)])), (path("z"), ints(&[None, Some(8)]))]);
        assert_eq!(documents(&batch), [r#"{"a":"text"}"#, r#"{"a":7,"z":8}"#]);
    }

    #[test]
    fn objects_give_way_and_what_is_no_object_is_reported() {
        let mut batch = batch(3);
        batch.set(0, &path("[a][b]"), 1).unwrap();
        batch.set(1, &path("[a][b]"), 1).unwrap();
        batch.set(1, &path("c"), "no object").unwrap();
        let failed = batch.overlay(vec![
            (path("a"), ints(&[Some(5), None, None])),
            (path("[c][d]"), ints(&[None, Some(6), Some(6)])),
        ]);
        assert_eq!(
            failed.iter().map(|(row, error)| (*row, error.holder.as_str())).collect::<Vec<_>>(),
            [(1, "c")]
        );
        assert_eq!(documents(&batch), [r#"{"a":5}"#, r#"{"a":{"b":1},"c":"no object"}"#, r#"{"c":{"d":6}}"#]);
    }
}
