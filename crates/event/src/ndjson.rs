//! Events as JSON, one document a line.
//!
//! Field names cost nothing per row: a schema carries a plan of literal fragments (`,"srcaddr":`), each written with
//! its comma, and the first comma of an object is overwritten with its brace.

use crate::{Batch, Cell, Column, Path, Value, format_java_f64, push_iso_millis};

/// What a document looks like beside its fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodeOptions {
    /// Writes `"@version":"1"` into documents that have no such field, as Logstash does.
    pub version_field: bool,
}

/// The steps that write one document of a schema.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    has_version: bool,
    /// Deeper than [`MAX_DEPTH`]: written from an assembled object instead.
    deep: bool,
}

/// How many objects a document nests before the plan gives way to the slow road.
const MAX_DEPTH: usize = 16;

#[derive(Debug)]
enum Step {
    /// Writes a column's cell if it is present, behind `,"name":`.
    Leaf { column: usize, fragment: Box<[u8]> },
    /// Begins an object, behind `,"name":`.
    Open(Box<[u8]>),
    /// Ends an object; one without members was none and is taken back.
    Close,
}

impl Plan {
    pub(crate) fn of(fields: &[Path]) -> Self {
        let mut order: Vec<usize> = (0..fields.len()).filter(|&index| !fields[index].is_metadata()).collect();
        // Members of one object must stand together; otherwise the order of the columns is kept.
        let mut steps = Vec::new();
        Self::object(fields, &mut order, 0, &mut steps);
        Self {
            steps,
            has_version: fields.iter().any(|field| field.as_str() == crate::VERSION),
            deep: fields.iter().any(|field| field.names().len() > MAX_DEPTH),
        }
    }

    fn object(fields: &[Path], members: &mut Vec<usize>, depth: usize, steps: &mut Vec<Step>) {
        while !members.is_empty() {
            let first = members[0];
            let name = fields[first].names()[depth].clone();
            let mut fragment = vec![b','];
            write_json_str(&name, &mut fragment);
            fragment.push(b':');
            let (mut group, rest): (Vec<usize>, Vec<usize>) =
                members.iter().partition(|&&index| fields[index].names()[depth] == name);
            *members = rest;
            if let Some(at) = group.iter().position(|&index| fields[index].names().len() == depth + 1) {
                steps.push(Step::Leaf { column: group.remove(at), fragment: fragment.clone().into() });
            }
            if !group.is_empty() {
                steps.push(Step::Open(fragment.into()));
                Self::object(fields, &mut group, depth + 1, steps);
                steps.push(Step::Close);
            }
        }
    }
}

impl Batch {
    /// Appends `row` as one JSON object without a newline.
    pub fn write_json(&self, row: usize, options: EncodeOptions, out: &mut Vec<u8>) {
        let plan = self.schema().plan();
        if plan.deep {
            return self.write_deep(row, options, out);
        }
        let start = out.len();
        // Where each open object's fragment begins and where its members begin.
        let mut open = [(0, 0); MAX_DEPTH];
        let mut depth = 0;
        for step in &plan.steps {
            match step {
                Step::Leaf { column, fragment } => self.write_leaf(*column, row, fragment, out),
                Step::Open(fragment) => {
                    open[depth] = (out.len(), out.len() + fragment.len());
                    out.extend_from_slice(fragment);
                    depth += 1;
                }
                Step::Close => {
                    depth -= 1;
                    let (before, members) = open[depth];
                    if out.len() == members {
                        out.truncate(before);
                    } else {
                        out[members] = b'{';
                        out.push(b'}');
                    }
                }
            }
        }
        if options.version_field && !self.version_present(plan, row) {
            out.extend_from_slice(b",\"@version\":\"1\"");
        }
        if out.len() == start {
            out.extend_from_slice(b"{}");
        } else {
            out[start] = b'{';
            out.push(b'}');
        }
    }

    fn write_deep(&self, row: usize, options: EncodeOptions, out: &mut Vec<u8>) {
        let mut document = self.to_value(row);
        if let Value::Object(map) = &mut document {
            map.shift_remove(crate::METADATA);
            if options.version_field {
                map.entry(crate::VERSION.into()).or_insert_with(|| Value::from("1"));
            }
        }
        write_json_value(&document, out);
    }

    fn version_present(&self, plan: &Plan, row: usize) -> bool {
        plan.has_version
            && self
                .schema()
                .position_of(crate::VERSION)
                .is_some_and(|index| self.column(index).is_present(row))
    }

    #[inline]
    fn write_leaf(&self, column: usize, row: usize, fragment: &[u8], out: &mut Vec<u8>) {
        match self.column(column) {
            Column::Str(cells) => {
                let place = cells[row];
                if place.is_absent() {
                    return;
                }
                out.extend_from_slice(fragment);
                let page = &self.pages()[place.page as usize];
                let text = self.text(place);
                if page.is_clean() {
                    out.push(b'"');
                    out.extend_from_slice(text.as_bytes());
                    out.push(b'"');
                } else {
                    write_json_str(text, out);
                }
            }
            Column::Int(cells) => {
                let value = cells[row];
                if value == crate::ABSENT_INT {
                    return;
                }
                out.extend_from_slice(fragment);
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            _ => {
                let cell = self.cell(column, row);
                if cell.is_absent() {
                    return;
                }
                out.extend_from_slice(fragment);
                write_cell(cell, out);
            }
        }
    }
}

fn write_cell(cell: Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Absent | Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Cell::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
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
        Cell::Any(value) => write_json_value(value, out),
    }
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
        scalar => write_cell(Cell::of(scalar), out),
    }
}

/// Appends a JSON string with its quotes. Only `"`, `\` and U+0000 to U+001F are escaped (Jackson's default).
pub fn write_json_str(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
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
    out.push(b'"');
}
