//! `tags`: a column of numbers into a table of interned lists, because nearly every record gets the same few tags.

use std::sync::Arc;

use crate::column::ABSENT_TAGS;
use crate::{Batch, BitSet, Cell, Column, Path, Value};

impl Batch {
    /// A number for a list of tags, for columns made by hand.
    pub fn tag_list(&mut self, tags: &[Arc<str>]) -> u32 {
        if let Some(known) = self.tag_lists.iter().position(|list| **list == *tags) {
            return known as u32;
        }
        let lists = Arc::make_mut(&mut self.tag_lists);
        lists.push(tags.into());
        (lists.len() - 1) as u32
    }

    /// Adds a tag to `row` as Logstash's `event.tag` does: `tags` becomes a list if it is a single value, and a tag
    /// that is there is not added twice.
    pub fn tag(&mut self, row: usize, tag: &Arc<str>) {
        let path = Path::tags();
        let index = self.column_for(&path);
        let list = match self.cell(index, row) {
            Cell::Absent => match self.assemble(row, &path) {
                Some(object) => vec![object, Value::Str(Arc::clone(tag))],
                None => return self.store_tags(index, row, std::slice::from_ref(tag)),
            },
            Cell::Tags(tags) => {
                if tags.contains(tag) {
                    return;
                }
                let tags: Vec<Arc<str>> = tags.iter().chain([tag]).cloned().collect();
                return self.store_tags(index, row, &tags);
            }
            cell => {
                let mut list = match cell.to_value() {
                    Some(Value::Array(items)) => items,
                    Some(single) if single == Value::Str(Arc::clone(tag)) => return,
                    Some(single) => vec![single],
                    None => Vec::new(),
                };
                if list.contains(&Value::Str(Arc::clone(tag))) {
                    return;
                }
                list.push(Value::Str(Arc::clone(tag)));
                list
            }
        };
        self.clear_below(row, &path);
        self.store(index, row, Value::Array(list));
    }

    /// Adds `tags` to each of `rows` as [`Batch::tag`] does, at the cost of a number per row.
    pub fn tag_rows(&mut self, rows: &BitSet, tags: &[Arc<str>]) {
        let mut once: Vec<Arc<str>> = Vec::with_capacity(tags.len());
        for tag in tags {
            if !once.contains(tag) {
                once.push(Arc::clone(tag));
            }
        }
        if once.is_empty() || rows.count() == 0 {
            return;
        }
        let path = Path::tags();
        let fields = self.schema.fields().iter().enumerate();
        let mut within = fields.filter(|(_, field)| field.is_within(&path));
        let are_lists = within.all(|(index, field)| {
            *field == path && matches!(*self.columns[index], Column::Absent | Column::Tags(_))
        });
        if !are_lists {
            for row in rows.iter() {
                once.iter().for_each(|tag| self.tag(row, tag));
            }
            return;
        }
        let add = |list: &mut Vec<Arc<str>>| {
            for tag in &once {
                if !list.contains(tag) {
                    list.push(Arc::clone(tag));
                }
            }
        };
        self.map_tags(rows, Some(&once), add, |_| {});
    }

    fn store_tags(&mut self, index: usize, row: usize, tags: &[Arc<str>]) {
        self.store(index, row, Value::Array(tags.iter().map(|tag| Value::Str(Arc::clone(tag))).collect()));
    }

    /// Adds tags to each of `rows` as the filter option `add_tag` does: `tags` becomes a list, and a tag that is
    /// there is added again.
    pub fn append_tags(&mut self, rows: &BitSet, tags: &[Arc<str>]) {
        if tags.is_empty() || rows.count() == 0 {
            return;
        }
        self.map_tags(
            rows,
            Some(tags),
            |list| list.extend_from_slice(tags),
            |list| list.extend(tags.iter().map(|tag| Value::Str(Arc::clone(tag)))),
        );
    }

    /// Takes every copy of `tags` out of each of `rows` that has tags at all; what is left is a list, if an empty one.
    pub fn remove_tags(&mut self, rows: &BitSet, tags: &[Arc<str>]) {
        if tags.is_empty() || !self.schema.fields().iter().any(|field| field.is_within(&Path::tags())) {
            return;
        }
        let is_kept =
            |value: &Value| !value.as_str().is_some_and(|text| tags.iter().any(|tag| **tag == *text));
        self.map_tags(rows, None, |list| list.retain(|tag| !tags.contains(tag)), |list| list.retain(is_kept));
    }

    /// Changes the tags of `rows`: `texts` a list of texts, once for all rows that have the same one, `values` any
    /// other. Rows without tags get `none_becomes`.
    fn map_tags(
        &mut self,
        rows: &BitSet,
        none_becomes: Option<&[Arc<str>]>,
        texts: impl Fn(&mut Vec<Arc<str>>),
        values: impl Fn(&mut Vec<Value>),
    ) {
        let path = Path::tags();
        let index = self.column_for(&path);
        let is_alone = !self.schema.fields().iter().any(|field| *field != path && field.is_within(&path));
        let mut numbers = match &*self.columns[index] {
            Column::Absent if is_alone => vec![ABSENT_TAGS; self.rows],
            Column::Tags(numbers) if is_alone => numbers.clone(),
            _ => {
                for row in rows.iter() {
                    let mut list = match self.get(row, &path) {
                        None | Some(Value::Null | Value::Bool(false)) if none_becomes.is_none() => continue,
                        value => value.unwrap_or(Value::Null).into_list(),
                    };
                    values(&mut list);
                    self.clear_below(row, &path);
                    self.store(index, row, Value::Array(list));
                }
                return;
            }
        };
        let new_list = none_becomes.map_or(ABSENT_TAGS, |tags| self.tag_list(tags));
        // Few lists and many rows: what a list becomes is worked out once.
        let mut known: Vec<(u32, u32)> = vec![(ABSENT_TAGS, new_list)];
        for row in rows.iter() {
            let old = numbers[row];
            numbers[row] = match known.iter().find(|(number, _)| *number == old) {
                Some((_, new)) => *new,
                None => {
                    let mut list = self.tag_lists[old as usize].to_vec();
                    texts(&mut list);
                    let new = self.tag_list(&list);
                    known.push((old, new));
                    new
                }
            };
        }
        self.columns[index] = Arc::new(Column::Tags(numbers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowId;

    fn arcs(tags: &[&str]) -> Vec<Arc<str>> {
        tags.iter().map(|tag| Arc::from(*tag)).collect()
    }

    #[test]
    fn many_rows_are_tagged_as_one_is() {
        let values =
            [None, Some(Value::from(vec!["a", "b"])), Some(Value::from("s")), Some(Value::from("a"))];
        for values in [&values[..2], &values[..]] {
            let mut together = batch(values);
            let mut each = batch(values);
            together.tag_rows(&BitSet::all(values.len()), &arcs(&["a", "c", "c"]));
            for row in 0..values.len() {
                arcs(&["a", "c", "c"]).iter().for_each(|tag| each.tag(row, tag));
                assert_eq!(together.to_value(row), each.to_value(row));
            }
        }
    }

    fn batch(tags: &[Option<Value>]) -> Batch {
        let mut batch = Batch::new((0..tags.len()).map(|row| RowId::of(&row.to_be_bytes())).collect());
        for (row, value) in tags.iter().enumerate() {
            if let Some(value) = value {
                batch.set(row, &Path::tags(), value.clone()).unwrap();
            }
        }
        batch
    }

    fn tags(batch: &Batch) -> Vec<Option<Value>> {
        (0..batch.len()).map(|row| batch.get(row, &Path::tags())).collect()
    }

    #[test]
    fn appended_tags_are_not_deduplicated_and_come_to_rows_without_any() {
        let mut batch =
            batch(&[Some(vec!["a"].into()), None, Some(vec!["a"].into()), Some(vec!["b", "a"].into())]);
        let mut rows = BitSet::all(4);
        rows.remove(2);
        batch.append_tags(&rows, &arcs(&["a", "x"]));
        let list = |tags: &[&str]| Some(Value::from(tags.to_vec()));
        assert_eq!(
            tags(&batch),
            [list(&["a", "a", "x"]), list(&["a", "x"]), list(&["a"]), list(&["b", "a", "a", "x"])]
        );
    }

    #[test]
    fn tags_that_are_no_list_become_one() {
        let mut batch = batch(&[Some("a".into()), Some(7.into()), Some(Value::Null), None]);
        batch.append_tags(&BitSet::all(4), &arcs(&["x"]));
        assert_eq!(
            tags(&batch),
            [
                Some(Value::Array(vec!["a".into(), "x".into()])),
                Some(Value::Array(vec![7.into(), "x".into()])),
                Some(Value::Array(vec!["x".into()])),
                Some(Value::Array(vec!["x".into()])),
            ]
        );
    }

    #[test]
    fn removed_tags_leave_a_list_and_rows_without_tags_alone() {
        let mut batch = batch(&[Some(vec!["a", "b", "a"].into()), Some(vec!["a"].into()), None]);
        batch.remove_tags(&BitSet::all(3), &arcs(&["a", "c"]));
        assert_eq!(tags(&batch), [Some(vec!["b"].into()), Some(Value::Array(Vec::new())), None]);
    }
}
