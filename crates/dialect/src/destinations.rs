//! Where each row of a batch goes, for a sink whose index or path is a [`Template`].
//!
//! Rendering a name for every row would cost more than encoding it. A name is rendered once per window of `@timestamp`
//! in which it cannot change (a day, for a daily index), and what a sink derives from it is made once per name.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use crate::Template;
use flowstone_core::event::{ABSENT_INT, Batch, Cell, Column, TIMESTAMP};

/// The destinations of one batch's rows: one `T` for each name that the template gives.
pub struct Destinations<'a, T> {
    template: &'a Template,
    batch: &'a Batch,
    timestamps: Timestamps<'a>,
    needs_time: bool,
    made: Vec<T>,
    by_name: HashMap<String, usize, RandomState>,
    /// The destination of the row before, and for which instants it holds.
    last: usize,
    window: Range<i64>,
    name: String,
}

/// The column `@timestamp`.
enum Timestamps<'a> {
    Column(&'a [i64]),
    Cells(usize),
    Missing,
}

// === impl Destinations ===

impl<'a, T> Destinations<'a, T> {
    /// The destinations that `template` gives to the rows of `batch`.
    pub fn new(template: &'a Template, batch: &'a Batch) -> Self {
        let timestamps = match batch.schema().position_of(TIMESTAMP) {
            None => Timestamps::Missing,
            Some(index) => match batch.column(index) {
                Column::Time(cells) => Timestamps::Column(cells),
                _ => Timestamps::Cells(index),
            },
        };
        let dated = template.window_ms().is_some() || template.text().contains("%{+");
        Self {
            template,
            batch,
            timestamps,
            needs_time: template.literal().is_none() && dated,
            made: Vec::new(),
            by_name: HashMap::default(),
            last: 0,
            window: 0..0,
            name: String::new(),
        }
    }

    /// Where `row` goes; `make` derives it from a name that no row before had. `None`: the name is one of a day, and
    /// the row has no `@timestamp`.
    #[inline]
    pub fn of(&mut self, row: usize, make: impl FnOnce(&str) -> T) -> Option<&T> {
        let at = match self.time(row) {
            Some(at) => at,
            None if self.needs_time => return None,
            None => 0,
        };
        if !self.window.contains(&at) {
            self.place(row, at, make);
        }
        Some(&self.made[self.last])
    }

    fn place(&mut self, row: usize, at: i64, make: impl FnOnce(&str) -> T) {
        self.name.clear();
        self.template.render(self.batch.row(row), &mut self.name);
        self.last = match self.by_name.get(&self.name) {
            Some(&known) => known,
            None => {
                self.made.push(make(&self.name));
                self.by_name.insert(self.name.clone(), self.made.len() - 1);
                self.made.len() - 1
            }
        };
        // Without a window the name depends on a field, and the next row renders again.
        self.window = self.template.window_ms().map_or(0..0, |length| window(at, length));
    }

    #[inline]
    fn time(&self, row: usize) -> Option<i64> {
        match self.timestamps {
            Timestamps::Column(cells) => Some(cells[row]).filter(|&at| at != ABSENT_INT),
            Timestamps::Cells(index) => match self.batch.cell(index, row) {
                Cell::Time(at) => Some(at),
                _ => None,
            },
            Timestamps::Missing => None,
        }
    }
}

/// The aligned window of this length around an instant.
fn window(at: i64, length: i64) -> Range<i64> {
    if length == i64::MAX {
        return i64::MIN..i64::MAX;
    }
    let start = at - at.rem_euclid(length);
    start..start.saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowstone_core::event::{Path, RowId, Value};

    const DAY: i64 = 86_400_000;

    fn batch(times: Vec<i64>) -> Batch {
        let mut batch = Batch::new(times.iter().map(|time| RowId::of(&time.to_be_bytes())).collect());
        batch.put_columns(vec![(Path::timestamp(), Column::Time(times))]);
        batch
    }

    fn names(template: &str, batch: &Batch) -> (Vec<Option<String>>, usize) {
        let template = Template::parse(template).unwrap();
        let mut destinations = Destinations::new(&template, batch);
        let mut made = 0;
        let names = (0..batch.len())
            .map(|row| {
                destinations
                    .of(row, |name| {
                        made += 1;
                        name.to_owned()
                    })
                    .cloned()
            })
            .collect();
        (names, made)
    }

    #[test]
    fn a_daily_name_is_made_once_a_day_whatever_the_order() {
        let batch = batch(vec![0, DAY - 1, DAY, 1, -1, ABSENT_INT, DAY + 1]);
        let (names, made) = names("x-%{+YYYY.MM.dd}", &batch);
        let expect = ["1970.01.01", "1970.01.01", "1970.01.02", "1970.01.01", "1969.12.31", "", "1970.01.02"];
        let expect = expect.map(|day| (!day.is_empty()).then(|| format!("x-{day}")));
        assert_eq!((names.as_slice(), made), (&expect[..], 3));
    }

    #[test]
    fn a_name_that_does_not_vary_needs_no_time() {
        let mut batch = batch(vec![0, 1]);
        batch.drop_columns(&Path::timestamp());
        assert_eq!(names("flow", &batch), (vec![Some("flow".to_owned()); 2], 1));
    }

    #[test]
    fn a_name_made_of_a_field_follows_it_row_by_row() {
        let mut batch = batch(vec![0, 1, 2]);
        for (row, account) in ["a", "b", "a"].into_iter().enumerate() {
            batch.row_mut(row).set("account", account).unwrap();
        }
        let (names, made) = names("flow-%{account}-%{+YYYY}", &batch);
        let expect = ["flow-a-1970", "flow-b-1970", "flow-a-1970"].map(|name| Some(name.to_owned()));
        assert_eq!((names.as_slice(), made), (&expect[..], 2));
    }

    #[test]
    fn a_timestamp_that_all_rows_share_counts_and_a_text_does_not() {
        for (value, expect) in
            [(Value::Time(DAY), Some("x-02".to_owned())), (Value::from("1970-01-02"), None)]
        {
            let mut batch = batch(vec![0]);
            batch.put_columns(vec![(Path::timestamp(), Column::Const(value))]);
            assert_eq!(names("x-%{+dd}", &batch).0, [expect]);
        }
    }
}
