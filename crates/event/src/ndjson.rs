//! Events as JSON, one document a line.
//!
//! Field names cost nothing per row: a schema carries a plan of literal fragments (`,"srcaddr":`), each written with
//! its comma, and the first comma of an object is overwritten with its brace.

use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::out::{Fragment, Out, SHORT};
use crate::page::must_be_escaped;
use crate::{
    ABSENT_INT, Batch, Cell, Column, Digits, ObjectText, Objects, Path, StrRef, Value, format_iso_millis,
    format_java_f64, needs_escape, prefetch, push_iso_millis,
};

/// What a document looks like beside its fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodeOptions {
    /// Writes `"@version":"1"` into documents that have no such field, as Logstash does.
    pub version_field: bool,
}

/// The steps that write one document of a schema.
#[derive(Debug)]
pub(crate) struct DocumentLayout {
    steps: Vec<Step>,
    has_version: bool,
    /// Deeper than [`MAX_DEPTH`]: written from an assembled object instead.
    deep: bool,
}

/// How many objects a document nests before it is written by the slow path.
const MAX_DEPTH: usize = 16;

#[derive(Debug)]
enum Step {
    /// Writes a column's cell if it is present, behind `,"name":"`, of which the last quote is for texts.
    Leaf { column: usize, fragment: Box<[u8]> },
    /// Begins an object, behind `,"name":` (the fragment's last quote is left out).
    Open(Box<[u8]>),
    /// Ends an object; one without members is removed.
    Close,
}

impl DocumentLayout {
    pub(crate) fn of(fields: &[Path]) -> Self {
        let order: Vec<usize> = (0..fields.len()).filter(|&index| !fields[index].is_metadata()).collect();
        let mut steps = Vec::with_capacity(order.len());
        Self::object(fields, &order, 0, &mut steps);
        Self {
            steps,
            has_version: fields.iter().any(|field| field.as_str() == crate::VERSION),
            deep: fields.iter().any(|field| field.names().len() > MAX_DEPTH),
        }
    }

    fn object(fields: &[Path], members: &[usize], depth: usize, steps: &mut Vec<Step>) {
        // Members of one object must stand together; otherwise the order of the columns is kept.
        let mut groups: IndexMap<&str, Vec<usize>, RandomState> = IndexMap::default();
        for &index in members {
            groups.entry(&fields[index].names()[depth]).or_default().push(index);
        }
        for (name, mut group) in groups {
            let mut fragment = Vec::with_capacity(name.len() + 5);
            fragment.push(b',');
            write_json_str(name, &mut fragment);
            fragment.extend_from_slice(b":\"");
            if let Some(at) = group.iter().position(|&index| fields[index].names().len() == depth + 1) {
                steps.push(Step::Leaf { column: group.remove(at), fragment: fragment.clone().into() });
            }
            if !group.is_empty() {
                steps.push(Step::Open(fragment.into()));
                Self::object(fields, &group, depth + 1, steps);
                steps.push(Step::Close);
            }
        }
    }
}

/// Writes rows of one batch as JSON documents: what is the same for every row is looked up once.
pub struct JsonRows<'a> {
    batch: &'a Batch,
    options: EncodeOptions,
    plan: &'a DocumentLayout,
    ops: Vec<Op<'a>>,
    pages: Vec<(&'a [u8], bool)>,
    date: Date,
    /// Room for a row.
    room: usize,
    /// The row after the last one that was written.
    next: usize,
    /// The first row whose objects were not prefetched.
    ahead: usize,
}

/// A step bound to the column of a batch. A fragment ends in the quote that begins a text.
enum Op<'a> {
    Str {
        cells: &'a [StrRef],
        fragment: Fragment,
    },
    Int {
        cells: &'a [i64],
        fragment: Fragment,
    },
    Time {
        cells: &'a [i64],
        fragment: Fragment,
    },
    /// `texts`: each list of tags as it is written.
    Tags {
        cells: &'a [u32],
        texts: Vec<Vec<u8>>,
        fragment: Fragment,
    },
    /// `opening` is the fragment, followed by the name of the member that each row has for itself.
    Objects {
        objects: &'a Objects,
        fragment: Fragment,
        opening: Fragment,
    },
    Other {
        column: usize,
        fragment: Fragment,
    },
    Open(Fragment),
    Close,
}

/// A day's date as the text of an instant, and the instants for which it holds.
type Date = ([u8; SHORT], std::ops::Range<i64>);

const DAY_MS: i64 = 86_400_000;
/// `2024-02-29T23:59:59.999Z`
const ISO_LENGTH: usize = 24;
/// Room for a row that is made ahead is filled with zeros first.
const MOST_ROOM: usize = 16 << 10;
/// How many rows are prefetched at a time. Their objects, of some 300 bytes, take a fraction of a core's L1 cache (32 KiB
/// and more).
const ROWS_AHEAD: usize = 16;

// === impl Batch ===

impl Batch {
    /// What writes rows of this batch as JSON.
    pub fn json_rows(&self, options: EncodeOptions) -> JsonRows<'_> {
        let plan = self.schema().plan();
        let mut ops = Vec::with_capacity(plan.steps.len());
        ops.extend(plan.steps.iter().filter_map(|step| op_of(step, self)));
        JsonRows {
            batch: self,
            options,
            plan,
            ops,
            pages: self.pages().iter().map(|page| (page.as_str().as_bytes(), page.is_clean())).collect(),
            date: ([0; SHORT], 0..0),
            room: 0,
            // A caller that writes a single row prefetches no others.
            next: usize::MAX,
            ahead: 0,
        }
    }

    /// Appends `row` as one JSON object without a newline. For many rows of a batch see [`Batch::json_rows`].
    pub fn write_json(&self, row: usize, options: EncodeOptions, out: &mut Vec<u8>) {
        self.json_rows(options).write(row, out);
    }
}

// === impl JsonRows ===

impl JsonRows<'_> {
    /// Appends `row` as one JSON object without a newline.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        if self.plan.deep {
            return self.write_deep(row, out);
        }
        if row >= self.next && row >= self.ahead {
            self.ahead = self.prefetch(row);
        }
        self.next = row + 1;
        let start = out.len();
        let mut out = Out::new(out, self.room);
        // Where each open object's fragment begins and where its members begin.
        let mut open = [(0, 0); MAX_DEPTH];
        let mut depth = 0;
        for op in &self.ops {
            match op {
                Op::Str { cells, fragment } => {
                    let place = cells[row];
                    let Some(page) = self.pages.get(place.page as usize) else { continue };
                    push_text(fragment, *page, place, &mut out);
                }
                Op::Int { cells, fragment } => {
                    let value = cells[row];
                    if value != ABSENT_INT {
                        out.int(fragment, value);
                    }
                }
                Op::Time { cells, fragment } => {
                    let millis = cells[row];
                    if millis != ABSENT_INT {
                        if !self.date.1.contains(&millis) {
                            self.date = day_of(millis);
                        }
                        push_time(fragment, &self.date, millis, &mut out);
                    }
                }
                Op::Tags { cells, texts, fragment } => {
                    if let Some(text) = texts.get(cells[row] as usize) {
                        out.fragment(fragment);
                        out.push(text);
                    }
                }
                Op::Objects { objects, fragment, opening } => {
                    let Some((shared, own)) = objects.at(row) else { continue };
                    let Some(page) = self.pages.get(own.page as usize) else {
                        out.fragment(fragment);
                        out.push(shared.as_str().as_bytes());
                        continue;
                    };
                    push_text(opening, *page, own, &mut out);
                    if !shared.is_empty() {
                        out.byte(b',');
                    }
                    out.push(&shared.as_str().as_bytes()[1..]);
                }
                Op::Other { column, fragment } => {
                    let cell = self.batch.cell(*column, row);
                    if !cell.is_absent() {
                        out.fragment(fragment);
                        out.with(|out| write_json_cell(cell, out));
                    }
                }
                Op::Open(fragment) => {
                    open[depth] = (out.len(), out.len() + fragment.bytes().len());
                    out.fragment(fragment);
                    depth += 1;
                }
                Op::Close => {
                    depth -= 1;
                    let (before, members) = open[depth];
                    if out.len() == members {
                        out.truncate(before);
                    } else {
                        out.put(members, b'{');
                        out.byte(b'}');
                    }
                }
            }
        }
        if self.options.version_field && !self.version_present(row) {
            out.push(b",\"@version\":\"1\"");
        }
        if out.len() == start {
            out.push(b"{}");
        } else {
            out.put(start, b'{');
            out.byte(b'}');
        }
        // The rows of a batch have about the same length; a giant one must not set the room of the next ones.
        self.room = (out.len() - start + 2 * SHORT).min(MOST_ROOM);
        out.finish();
    }

    /// Prefetches the objects of some rows, this one first, and gives the row behind them. The objects are scattered over
    /// the memory: prefetching takes a sixth off what such a document costs to write.
    fn prefetch(&self, row: usize) -> usize {
        let end = self.batch.len().min(row + ROWS_AHEAD);
        let objects = self.ops.iter().filter_map(|op| match op {
            Op::Objects { objects, .. } => Some(*objects),
            _ => None,
        });
        for objects in objects {
            let lines = |row: usize| objects.at(row).map_or(0, |(shared, _)| lines_of(shared));
            prefetch((row..end).map(lines));
        }
        end
    }

    fn write_deep(&self, row: usize, out: &mut Vec<u8>) {
        let mut document = self.batch.to_value(row);
        if let Value::Object(map) = &mut document {
            map.shift_remove(crate::METADATA);
            if self.options.version_field {
                map.entry(crate::VERSION.into()).or_insert_with(|| Value::from("1"));
            }
        }
        write_json_value(&document, out);
    }

    fn version_present(&self, row: usize) -> bool {
        let version = || self.batch.schema().position_of(crate::VERSION);
        self.plan.has_version && version().is_some_and(|index| self.batch.column(index).is_present(row))
    }
}

fn op_of<'a>(step: &'a Step, batch: &'a Batch) -> Option<Op<'a>> {
    Some(match step {
        Step::Open(fragment) => Op::Open(Fragment::of(without_quote(fragment))),
        Step::Close => Op::Close,
        Step::Leaf { column, fragment } => match batch.column(*column) {
            Column::Absent => return None,
            Column::Str(cells) => Op::Str { cells, fragment: Fragment::of(&**fragment) },
            Column::Int(cells) => Op::Int { cells, fragment: Fragment::of(without_quote(fragment)) },
            Column::Time(cells) => Op::Time { cells, fragment: Fragment::of(&**fragment) },
            Column::Tags(cells) => {
                let text = |tags: &Arc<[Arc<str>]>| {
                    let mut text = Vec::new();
                    write_json_cell(Cell::Tags(tags), &mut text);
                    text
                };
                let texts = batch.tag_lists.iter().map(text).collect();
                Op::Tags { cells, texts, fragment: Fragment::of(without_quote(fragment)) }
            }
            Column::Objects(objects) => {
                let fragment = without_quote(fragment);
                let mut opening = fragment.to_vec();
                if let Some(member) = &objects.own {
                    opening.push(b'{');
                    write_json_str(&member.name, &mut opening);
                    opening.extend_from_slice(b":\"");
                }
                Op::Objects { objects, fragment: Fragment::of(fragment), opening: Fragment::of(opening) }
            }
            _ => Op::Other { column: *column, fragment: Fragment::of(without_quote(fragment)) },
        },
    })
}

/// Appends a fragment and a text of a page. The fragment ends in the quote that begins the text; a page is clean if
/// nothing in it needs an escape.
#[inline(always)]
fn push_text(fragment: &Fragment, (page, clean): (&[u8], bool), place: StrRef, out: &mut Out<'_>) {
    let (offset, len) = (place.offset as usize, place.len as usize);
    match page.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(short) if clean && len <= SHORT => out.short(fragment, short, len, b'"'),
        _ => push_other_text(fragment, &page[offset..offset + len], clean, out),
    }
}

#[inline(never)]
fn push_other_text(fragment: &Fragment, text: &[u8], clean: bool, out: &mut Out<'_>) {
    out.push(fragment.bytes());
    if clean {
        out.push(text);
    } else {
        out.with(|out| write_escaped(text, out));
    }
    out.byte(b'"');
}

/// Appends an instant as a text, behind a fragment that ends in the quote that begins it.
#[inline]
fn push_time(fragment: &Fragment, (date, day): &Date, millis: i64, out: &mut Out<'_>) {
    if day.is_empty() {
        out.push(fragment.bytes());
        out.with(|out| push_iso_millis(millis, out));
        return out.byte(b'"');
    }
    let mut text = *date;
    write_time_of_day(millis - day.start, &mut text);
    out.short(fragment, &text, ISO_LENGTH, b'"');
}

fn without_quote(fragment: &[u8]) -> &[u8] {
    &fragment[..fragment.len() - 1]
}

/// The date of an instant's day, and the instants of that day. The range is empty for years that do not have four digits:
/// the first and the last of them have no midnight in 64 bits.
fn day_of(millis: i64) -> Date {
    let mut text = [0; SHORT];
    let written = format_iso_millis(millis);
    if written.len() != ISO_LENGTH {
        return (text, 0..0);
    }
    text[..ISO_LENGTH].copy_from_slice(written.as_bytes());
    let midnight = millis.div_euclid(DAY_MS) * DAY_MS;
    (text, midnight..midnight + DAY_MS)
}

/// Writes `HH:MM:SS.mmm` over that of another instant of the day.
#[inline]
fn write_time_of_day(since_midnight: i64, text: &mut [u8; SHORT]) {
    let millis = since_midnight as u32;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (minutes, second) = (seconds / 60, seconds % 60);
    let mut pair = |at: usize, value: u32| {
        text[at] = b'0' + (value / 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    };
    pair(11, minutes / 60);
    pair(14, minutes % 60);
    pair(17, second);
    pair(20, millis / 10);
    text[22] = b'0' + (millis % 10) as u8;
}

/// Appends a cell as JSON; an absent one is null.
pub fn write_json_cell(cell: Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Absent | Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Cell::Int(value) => out.extend_from_slice(Digits::of(value).as_bytes()),
        Cell::Float(value) if value.is_finite() => format_java_f64(value, out),
        Cell::Float(value) => {
            out.push(b'"');
            format_java_f64(value, out);
            out.push(b'"');
        }
        Cell::Time(millis) => {
            out.push(b'"');
            push_iso_millis(millis, out);
            out.push(b'"');
        }
        Cell::Str(text) => write_json_str(text, out),
        Cell::Tags(tags) => {
            out.push(b'[');
            for (index, tag) in tags.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json_str(tag, out);
            }
            out.push(b']');
        }
        Cell::Object(object) => match object.own {
            Some((name, text)) => {
                out.push(b'{');
                write_json_str(name, out);
                out.push(b':');
                write_json_str(text, out);
                if !object.shared.is_empty() {
                    out.push(b',');
                }
                out.extend_from_slice(&object.shared.as_str().as_bytes()[1..]);
            }
            None => out.extend_from_slice(object.shared.as_str().as_bytes()),
        },
        Cell::Any(value) => write_json_value(value, out),
    }
}

/// A byte of each second line of memory that an object lies in, of the first six: lines are fetched in pairs.
#[inline]
fn lines_of(object: &ObjectText) -> u8 {
    let text = object.as_str().as_bytes();
    let byte = |at: usize| text.get(at).copied().unwrap_or_default();
    byte(0) ^ byte(128) ^ byte(256)
}

/// Appends a value as JSON, spelled as Logstash's Jackson does.
pub fn write_json_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::BigInt(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json_str(key, out);
                out.push(b':');
                write_json_value(value, out);
            }
            out.push(b'}');
        }
        scalar => write_json_cell(Cell::of(scalar), out),
    }
}

/// Appends a JSON string with its quotes. Only `"`, `\` and U+0000 to U+001F are escaped (Jackson's default).
pub fn write_json_str(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends text with what must be escaped in a JSON string escaped.
fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    if !needs_escape(text) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| must_be_escaped(byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            byte => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
