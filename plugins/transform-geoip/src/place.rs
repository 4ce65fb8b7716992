//! Putting what was found into the events: as one column where nothing is in the way, member by member where the
//! target is an object already, and row by row where neither will do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use flowstone_core::event::{Batch, BitSet, Column, Map, ObjectText, Objects, Page, Path, StrRef, Value};

use crate::cache::{Entries, NamedPart, Part};
use crate::look::Row;
use crate::render::Layout;
use crate::transform::Plan;

/// What was found for a batch.
pub(crate) struct Findings<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) entries: Entries,
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
    findings.rows.iter().for_each(|row| failed.insert_if(row.number(), !row.looked.is_found()));
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
    let has_ip = findings.rows.iter().any(|row| row.looked.has_ip());
    let entries = &findings.entries;
    let ip = has_ip.then_some(&plan.ip);
    let mut objects = Objects::of_shelf(batch.len(), ip, entries.shelf().clone());
    entries.own().iter().for_each(|object| {
        objects.add(object.clone());
    });
    let nothing = objects.add(plan.nothing.clone());
    let mut is_empty = true;
    for row in findings.rows.iter().filter(|row| row.looked.is_text()) {
        let number = if row.looked.is_found() { row.looked.number() } else { nothing };
        let own = if row.looked.has_ip() { row.own } else { StrRef::ABSENT };
        objects.set(row.number(), number, own);
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

/// The members of an entry; the columns of those that are objects, and its numbers in them.
type Member<'a> = (Cow<'a, [NamedPart]>, Vec<(usize, u32)>);

fn members(plan: &Plan, findings: &Findings<'_>, batch: &mut Batch) {
    let rows = batch.len();
    let mut columns = Columns { objects: Vec::new(), singles: Vec::new(), ip: None };
    // For each entry that was found its members, the columns of its objects, and its number in them.
    let mut found: HashMap<u32, Member<'_>, foldhash::fast::FixedState> = HashMap::default();
    for row in findings.rows {
        if !row.looked.is_found() {
            continue;
        }
        let (parts, objects) = found.entry(row.looked.number()).or_insert_with(|| {
            let parts = findings.entries.parts(row.looked.number());
            let objects = columns.add(&parts, rows);
            (parts, objects)
        });
        for (column, object) in objects.iter() {
            columns.objects[*column].1.set(row.number(), *object, StrRef::ABSENT);
        }
        for (name, part) in parts.iter() {
            if let Part::Single(value) = part {
                columns.single(name, rows)[row.number()] = Some(value.clone());
            }
        }
        if row.looked.has_ip() {
            columns.ip.get_or_insert_with(|| vec![StrRef::ABSENT; rows])[row.number()] = row.own;
        }
    }
    let at = |name: &str| plan.target.child(name);
    let mut filled: Vec<(Path, Column)> = Vec::new();
    filled.extend(columns.ip.map(|cells| (at(&plan.ip), Column::Str(cells))));
    filled.extend(columns.objects.into_iter().map(|(name, objects)| (at(&name), Column::Objects(objects))));
    filled.extend(columns.singles.into_iter().map(|(name, cells)| (at(&name), Column::Any(cells))));
    let failed = batch.overlay(filled);
    debug_assert!(failed.is_empty(), "there are no columns above the target: {failed:?}");
    for row in findings.rows {
        if row.looked.is_text() && !row.looked.is_found() && !has_member(batch, row.number(), &plan.target) {
            batch.set(row.number(), &plan.target, Value::object()).ok();
        }
    }
}

fn has_member(batch: &Batch, row: usize, target: &Path) -> bool {
    let mut fields = batch.schema().fields().iter().enumerate();
    fields.any(|(index, field)| field.is_within(target) && batch.column(index).is_present(row))
}

// === impl Columns ===

impl Columns {
    fn add(&mut self, parts: &[NamedPart], rows: usize) -> Vec<(usize, u32)> {
        let mut numbers = Vec::new();
        for (name, part) in parts {
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
    for row in findings.rows.iter().filter(|row| row.looked.is_text()) {
        let old = batch.get(row.number(), &plan.target).filter(|old| *old != Value::Null);
        let is_found = row.looked.is_found();
        let new = match old {
            old if is_found => {
                let object = findings.entries.object(row.looked.number());
                let object = object.map(ObjectText::to_map).unwrap_or_default();
                let ip =
                    row.looked.has_ip().then(|| (Arc::clone(&plan.ip), Value::from(batch.text(row.own))));
                let found: Map = ip.into_iter().chain(object).collect();
                let depth = if plan.layout == Layout::Ecs { usize::MAX } else { 0 };
                united(old.unwrap_or_else(Value::object), found, depth)
            }
            None => Some(Value::object()),
            Some(_) => continue,
        };
        if new.is_none_or(|new| batch.set(row.number(), &plan.target, new).is_err()) && is_found {
            failed.push(row.number());
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
