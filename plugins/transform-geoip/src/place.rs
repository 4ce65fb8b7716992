//! Putting what was found into the events: as one column where nothing is in the way, member by member where the
//! target is an object already, and row by row where neither will do.

use std::sync::Arc;

use flowstone_core::event::{Batch, BitSet, Column, Map, Objects, Page, Path, StrRef, Value};

use crate::cache::{Entry, Part};
use crate::look::Looked;
use crate::render::Layout;
use crate::transform::Plan;

/// What was found for a batch.
pub(crate) struct Findings<'a> {
    pub(crate) rows: &'a [(usize, Looked)],
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The text of the page that comes next.
    pub(crate) texts: String,
}

/// How the target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// No row has anything there.
    Whole,
    /// Rows have members of it, none of them a member that is written here whole.
    Members,
    /// Anything may be there.
    Rows,
}

/// The members of the ECS layout, the address aside.
const MEMBERS: [&str; 5] = ["geo", "as", "mmdb", "ip_traits", "domain"];

/// Writes it, and gives the rows that failed.
pub(crate) fn place(plan: &Plan, mut findings: Findings<'_>, batch: &mut Batch) -> BitSet {
    if !findings.texts.is_empty() {
        batch.push_page(Page::from_text(std::mem::take(&mut findings.texts)));
    }
    let mut failed = BitSet::none(batch.len());
    let is_found = |looked: &Looked| matches!(looked, Looked::Found(..));
    findings.rows.iter().filter(|(_, looked)| !is_found(looked)).for_each(|(row, _)| failed.insert(*row));
    match way(plan, batch) {
        Way::Whole => whole(plan, &findings, batch),
        Way::Members => members(plan, &findings, batch),
        Way::Rows => rows(plan, &findings, batch).into_iter().for_each(|row| failed.insert(row)),
    }
    failed
}

fn way(plan: &Plan, batch: &Batch) -> Way {
    let target = &plan.target;
    let fields = batch.schema().fields().iter().enumerate();
    let there =
        fields.filter(|(index, _)| !matches!(batch.column(*index), Column::Absent)).map(|(_, field)| field);
    let mut way = Way::Whole;
    for field in there {
        if field.is_within(target) {
            let below = &field.names()[target.names().len()..];
            match below.first() {
                Some(name) if plan.layout == Layout::Ecs && !MEMBERS.contains(&&**name) => way = Way::Members,
                _ => return Way::Rows,
            }
        } else if target.is_within(field) {
            return Way::Rows;
        }
    }
    way
}

fn whole(plan: &Plan, findings: &Findings<'_>, batch: &mut Batch) {
    let has_ip = findings.entries.iter().any(|entry| entry.has_ip);
    let mut objects = Objects::new(batch.len(), has_ip.then_some(&plan.ip));
    findings.entries.iter().for_each(|entry| {
        objects.add(entry.object.clone());
    });
    let nothing = objects.add(plan.nothing.clone());
    let mut is_empty = true;
    for (row, looked) in findings.rows {
        match looked {
            Looked::Missing | Looked::Unusable => continue,
            Looked::NoAddress | Looked::Unknown => objects.set(*row, nothing, StrRef::ABSENT),
            Looked::Found(number, own) => {
                let has_ip = findings.entries[*number as usize].has_ip;
                objects.set(*row, *number, if has_ip { *own } else { StrRef::ABSENT });
            }
        }
        is_empty = false;
    }
    if !is_empty {
        batch.put_columns(vec![(plan.target.clone(), Column::Objects(objects))]);
    }
}

/// Columns of members, made as they turn up.
struct Columns {
    objects: Vec<(Arc<str>, Objects)>,
    singles: Vec<(Arc<str>, Vec<Option<Value>>)>,
    ip: Option<Vec<StrRef>>,
}

fn members(plan: &Plan, findings: &Findings<'_>, batch: &mut Batch) {
    let rows = batch.len();
    let mut columns = Columns { objects: Vec::new(), singles: Vec::new(), ip: None };
    // For each entry the columns of its objects, and its number in them.
    let numbers: Vec<Vec<(usize, u32)>> =
        findings.entries.iter().map(|entry| columns.add(entry, rows)).collect();
    for (row, looked) in findings.rows {
        let Looked::Found(number, own) = looked else { continue };
        for (column, object) in &numbers[*number as usize] {
            columns.objects[*column].1.set(*row, *object, StrRef::ABSENT);
        }
        let entry = &findings.entries[*number as usize];
        for (name, part) in entry.parts() {
            if let Part::Single(value) = part {
                columns.single(name, rows)[*row] = Some(value.clone());
            }
        }
        if entry.has_ip {
            columns.ip.get_or_insert_with(|| vec![StrRef::ABSENT; rows])[*row] = *own;
        }
    }
    let at = |name: &str| plan.target.child(name);
    let mut filled: Vec<(Path, Column)> = Vec::new();
    filled.extend(columns.ip.map(|cells| (at(&plan.ip), Column::Str(cells))));
    filled.extend(columns.objects.into_iter().map(|(name, objects)| (at(&name), Column::Objects(objects))));
    filled.extend(columns.singles.into_iter().map(|(name, cells)| (at(&name), Column::Any(cells))));
    let failed = batch.overlay(filled);
    debug_assert!(failed.is_empty(), "there are no columns above the target: {failed:?}");
    for (row, looked) in findings.rows {
        if matches!(looked, Looked::NoAddress | Looked::Unknown) && !has_member(batch, *row, &plan.target) {
            batch.set(*row, &plan.target, Value::object()).ok();
        }
    }
}

fn has_member(batch: &Batch, row: usize, target: &Path) -> bool {
    let mut fields = batch.schema().fields().iter().enumerate();
    fields.any(|(index, field)| field.is_within(target) && batch.column(index).is_present(row))
}

// === impl Columns ===

impl Columns {
    fn add(&mut self, entry: &Entry, rows: usize) -> Vec<(usize, u32)> {
        let mut numbers = Vec::new();
        for (name, part) in entry.parts() {
            let Part::Object(object) = part else { continue };
            let column = self.objects.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                self.objects.push((Arc::clone(name), Objects::new(rows, None)));
                self.objects.len() - 1
            });
            numbers.push((column, self.objects[column].1.add(object.clone())));
        }
        numbers
    }

    fn single(&mut self, name: &Arc<str>, rows: usize) -> &mut Vec<Option<Value>> {
        let known = self.singles.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            self.singles.push((Arc::clone(name), vec![None; rows]));
            self.singles.len() - 1
        });
        &mut self.singles[index].1
    }
}

/// Gives the rows in which something that is no object stands in the way; they stay as they were.
fn rows(plan: &Plan, findings: &Findings<'_>, batch: &mut Batch) -> Vec<usize> {
    let mut failed = Vec::new();
    for (row, looked) in findings.rows {
        let old = match looked {
            Looked::Missing | Looked::Unusable => continue,
            _ => batch.get(*row, &plan.target).filter(|old| *old != Value::Null),
        };
        let new = match (looked, old) {
            (Looked::Found(number, own), old) => {
                let entry = &findings.entries[*number as usize];
                let ip = entry.has_ip.then(|| (Arc::clone(&plan.ip), Value::from(batch.text(*own))));
                let found: Map = ip.into_iter().chain(entry.object.to_map()).collect();
                let depth = if plan.layout == Layout::Ecs { usize::MAX } else { 0 };
                united(old.unwrap_or_else(Value::object), found, depth)
            }
            (_, None) => Some(Value::object()),
            (_, Some(_)) => continue,
        };
        if new.is_none_or(|new| batch.set(*row, &plan.target, new).is_err())
            && matches!(looked, Looked::Found(..))
        {
            failed.push(*row);
        }
    }
    failed
}

/// The object with these members set in it, those of objects `depth` levels below one by one; `None` if something
/// else than an object stands where one must be.
fn united(object: Value, members: Map, depth: usize) -> Option<Value> {
    let Value::Object(mut object) = object else { return None };
    for (name, value) in members {
        let value = match (value, object.get(&name)) {
            (Value::Object(members), Some(old)) if depth > 0 && *name != *"location" => {
                united(old.clone(), members, depth - 1)?
            }
            (value, _) => value,
        };
        object.insert(name, value);
    }
    Some(Value::Object(object))
}
