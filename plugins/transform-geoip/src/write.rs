//! Writing what was found into the events: as one column where the target is absent, member by member where it is an
//! object, and row by row where neither is possible.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use flowstone_core::event::{Batch, BitSet, Column, Map, ObjectText, Objects, Page, Path, StrRef, Value};

use crate::cache::{Entries, NamedPart, Part};
use crate::look::Row;
use crate::render::Layout;
use crate::transform::Settings;

/// What was found for a batch.
pub(crate) struct Findings<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) entries: Entries,
    /// The text of the batch's next page.
    pub(crate) texts: String,
}

/// How the target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    /// No row has anything there.
    Whole,
    /// Rows have members of it, none of them a member that is written here as a whole.
    Members,
    /// Anything may be there.
    Rows,
}

/// The members of the ECS layout, the address aside.
const MEMBERS: [&str; 5] = ["geo", "as", "mmdb", "ip_traits", "domain"];

/// Writes the findings, and gives the rows that failed.
pub(crate) fn write(settings: &Settings, mut findings: Findings<'_>, batch: &mut Batch) -> BitSet {
    if !findings.texts.is_empty() {
        batch.push_page(Page::from_text(std::mem::take(&mut findings.texts)));
    }
    let mut failed = BitSet::none(batch.len());
    findings.rows.iter().for_each(|row| failed.insert_if(row.number(), !row.looked.is_found()));
    match strategy(settings, batch) {
        Strategy::Whole => whole(settings, &findings, batch),
        Strategy::Members => members(settings, &findings, batch),
        Strategy::Rows => rows(settings, &findings, batch).into_iter().for_each(|row| failed.insert(row)),
    }
    failed
}

fn strategy(settings: &Settings, batch: &Batch) -> Strategy {
    let target = &settings.target;
    let fields = batch.schema().fields().iter().enumerate();
    let there =
        fields.filter(|(index, _)| !matches!(batch.column(*index), Column::Absent)).map(|(_, field)| field);
    let mut strategy = Strategy::Whole;
    for field in there {
        if field.is_within(target) {
            let below = &field.names()[target.names().len()..];
            match below.first() {
                Some(name) if settings.layout == Layout::Ecs && !MEMBERS.contains(&&**name) => {
                    strategy = Strategy::Members
                }
                _ => return Strategy::Rows,
            }
        } else if target.is_within(field) {
            return Strategy::Rows;
        }
    }
    strategy
}

fn whole(settings: &Settings, findings: &Findings<'_>, batch: &mut Batch) {
    let has_ip = findings.rows.iter().any(|row| row.looked.has_ip());
    let entries = &findings.entries;
    let ip = has_ip.then_some(&settings.ip);
    let mut objects = Objects::in_arena(batch.len(), ip, entries.arena().clone());
    entries.own().iter().for_each(|object| {
        objects.add(object.clone());
    });
    let nothing = objects.add(settings.nothing.clone());
    let mut is_empty = true;
    for row in findings.rows.iter().filter(|row| row.looked.is_text()) {
        let number = if row.looked.is_found() { row.looked.number() } else { nothing };
        let own = if row.looked.has_ip() { row.own } else { StrRef::ABSENT };
        objects.set(row.number(), number, own);
        is_empty = false;
    }
    if !is_empty {
        batch.put_columns(vec![(settings.target.clone(), Column::Objects(objects))]);
    }
}

/// Columns of members, made when the first row has one.
struct Columns {
    objects: Vec<(Arc<str>, Objects)>,
    singles: Vec<(Arc<str>, Vec<Option<Value>>)>,
    ip: Option<Vec<StrRef>>,
}

/// The members of an entry, and for those that are objects the column and the number in it.
type Member<'a> = (Cow<'a, [NamedPart]>, Vec<(usize, u32)>);

fn members(settings: &Settings, findings: &Findings<'_>, batch: &mut Batch) {
    let rows = batch.len();
    let mut columns = Columns { objects: Vec::new(), singles: Vec::new(), ip: None };
    // By the number of the entry.
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
    let at = |name: &str| settings.target.child(name);
    let mut filled: Vec<(Path, Column)> = Vec::new();
    filled.extend(columns.ip.map(|cells| (at(&settings.ip), Column::Str(cells))));
    filled.extend(columns.objects.into_iter().map(|(name, objects)| (at(&name), Column::Objects(objects))));
    filled.extend(columns.singles.into_iter().map(|(name, cells)| (at(&name), Column::Any(cells))));
    let failed = batch.overlay(filled);
    debug_assert!(failed.is_empty(), "there are no columns above the target: {failed:?}");
    for row in findings.rows {
        if row.looked.is_text()
            && !row.looked.is_found()
            && !has_member(batch, row.number(), &settings.target)
        {
            batch.set(row.number(), &settings.target, Value::object()).ok();
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

/// Gives the rows in which the target, or what it is within, is no object; they stay as they were.
fn rows(settings: &Settings, findings: &Findings<'_>, batch: &mut Batch) -> Vec<usize> {
    let mut failed = Vec::new();
    for row in findings.rows.iter().filter(|row| row.looked.is_text()) {
        let old = batch.get(row.number(), &settings.target).filter(|old| *old != Value::Null);
        let is_found = row.looked.is_found();
        let new = match old {
            old if is_found => {
                let object = findings.entries.object(row.looked.number());
                let object = object.map(ObjectText::to_map).unwrap_or_default();
                let ip =
                    row.looked.has_ip().then(|| (Arc::clone(&settings.ip), Value::from(batch.text(row.own))));
                let found: Map = ip.into_iter().chain(object).collect();
                let depth = if settings.layout == Layout::Ecs { usize::MAX } else { 0 };
                united(old.unwrap_or_else(Value::object), found, depth)
            }
            None => Some(Value::object()),
            Some(_) => continue,
        };
        if new.is_none_or(|new| batch.set(row.number(), &settings.target, new).is_err()) && is_found {
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
