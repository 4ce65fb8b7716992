//! Lines of JSON objects as columns, and how large a table of them may become.

use std::sync::Arc;

use indexmap::IndexMap;
use simd_json::{Buffers, Node, StaticNode, Tape};

use super::{LinesCut, push_lossy};
use flowstone_core::event::{
    ABSENT_FLOAT_BITS, ABSENT_INT, Batch, Column, METADATA, Page, Path, Reject, RowId, StrRef, TIMESTAMP,
    Value, parse_iso_millis,
};
use flowstone_core::json::value_of;

/// The tag of an event whose JSON has an `@timestamp` that is no RFC 3339 text; Logstash's name for it.
const TIMESTAMP_TAG: &str = "_timestampparsefailure";
/// Where such a value is kept, as in Logstash.
const TIMESTAMP_FALLBACK: &str = "_@timestamp";
/// A batch of JSON objects ends where its table would have more cells or weigh more than this: lines that all have
/// other members would otherwise make one of gigabytes. A single line is a batch whatever it weighs.
const MAX_CELLS: usize = 1 << 18;
const MAX_TABLE: usize = 4 << 20;
/// What a column weighs beside its cells: itself, its name, its places in the schema and in the plan.
const COLUMN: usize = 512;
/// What was needed for a longer line is given back: each open file has a decoder.
const MAX_KEPT_LINE: usize = 64 << 10;

/// What reading a line needs, kept for the next one.
pub(crate) struct JsonBuffers {
    buffers: Buffers,
    tape: Tape<'static>,
    line: Vec<u8>,
}

/// Lines of JSON objects as columns, before there is a batch.
#[derive(Default)]
pub(super) struct JsonRows {
    /// How many lines were taken.
    pub(super) rows: usize,
    fields: Fields,
    metadata: Fields,
    times: Vec<i64>,
    /// The text of all string cells.
    text: String,
    refused: Vec<(usize, Reject)>,
    empty: Vec<usize>,
    bad_times: Vec<usize>,
    unreadable: Vec<usize>,
}

/// One member's cells, as long as the last row that has it; shorter than the batch means absent.
enum Cells {
    Bool(Vec<u8>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Str(Vec<StrRef>),
    Any(Vec<Option<Value>>),
}

/// Marks an absent cell of [`Column::Bool`].
const ABSENT_BOOL: u8 = 2;

// === impl JsonBuffers ===

impl JsonBuffers {
    pub(super) fn new() -> Self {
        Self { buffers: Buffers::default(), tape: Tape::null(), line: Vec::new() }
    }
}

// === impl JsonRows ===

impl JsonRows {
    pub(super) fn read(cut: &LinesCut, json: &mut JsonBuffers, read_at: i64) -> Self {
        let mut rows = Self::default();
        let mut long = cut.long.iter().peekable();
        for row in 0..cut.rows() {
            rows.times.push(read_at);
            let bytes = cut.bytes_of(row);
            if long.next_if(|long| long.row == row).is_some() {
                rows.push_message(row, bytes);
            } else if bytes.iter().all(u8::is_ascii_whitespace) {
                rows.empty.push(row);
            } else if !rows.push_line(row, bytes, json) {
                rows.times.pop();
                break;
            }
            rows.rows += 1;
        }
        rows
    }

    /// Takes one line; `false` if it would make the table too large and must begin the next batch.
    fn push_line(&mut self, row: usize, bytes: &[u8], json: &mut JsonBuffers) -> bool {
        // A copy, because simd-json unescapes in place and a refused line must still be whole.
        json.line.clear();
        let mut lossy = false;
        match std::str::from_utf8(bytes) {
            Ok(_) => json.line.extend_from_slice(bytes),
            Err(_) => {
                let mut text = String::with_capacity(bytes.len());
                lossy = push_lossy(bytes, &mut text);
                json.line.extend_from_slice(text.as_bytes());
            }
        }
        let mut tape = std::mem::replace(&mut json.tape, Tape::null()).reset();
        let taken = match simd_json::fill_tape(&mut json.line, &mut json.buffers, &mut tape) {
            Err(error) => {
                self.refuse(row, bytes, "invalid_json", format!("the line is no JSON: {error}"));
                true
            }
            Ok(()) => match tape.0.first() {
                Some(Node::Object { len, .. }) => {
                    let metadata = Metadata::of(&tape.0);
                    // Most lines fit even if all their members were new.
                    let columns = len + metadata.nodes;
                    let weight = columns * (COLUMN + (row + 1) * size_of::<StrRef>());
                    let fits = row == 0
                        || self.leaves_room(columns, weight, row)
                        || self.would_leave_room(&tape.0, row);
                    if fits {
                        self.push_object(row, bytes, &tape.0, &metadata);
                        if lossy {
                            self.unreadable.push(row);
                        }
                    }
                    fits
                }
                _ => {
                    let detail = "the line is JSON, but no object".to_owned();
                    self.refuse(row, bytes, "json_not_an_object", detail);
                    true
                }
            },
        };
        if bytes.len() > MAX_KEPT_LINE {
            *json = JsonBuffers::new();
        } else {
            json.tape = tape.reset();
        }
        taken
    }

    /// Whether the table stays small enough with this row and columns of this number and weight more.
    fn leaves_room(&self, columns: usize, weight: usize, row: usize) -> bool {
        let all = self.fields.members.len() + self.metadata.members.len() + columns;
        all * (row + 1) <= MAX_CELLS
            && self.fields.weight(row + 1) + self.metadata.weight(row + 1) + weight <= MAX_TABLE
    }

    /// The same, of the object on the tape: only what is new counts.
    fn would_leave_room(&self, tape: &[Node<'_>], row: usize) -> bool {
        let (mut columns, mut weight) = (0, 0);
        let mut count = |fields: &Fields, key: &str, value: &Node<'_>| {
            if !fields.members.contains_key(key) {
                columns += 1;
                weight += COLUMN + (row + 1) * cell_size(value);
            }
        };
        for (key, value) in Members::of(tape) {
            if key == METADATA {
                Members::of(value).for_each(|(key, value)| count(&self.metadata, key, &value[0]));
            } else {
                count(&self.fields, key, &value[0]);
            }
        }
        self.leaves_room(columns, weight, row)
    }

    fn push_object(&mut self, row: usize, bytes: &[u8], tape: &[Node<'_>], metadata: &Metadata) {
        if !metadata.is_object {
            let detail = "`@metadata` in the line is no object".to_owned();
            return self.refuse(row, bytes, "json_metadata", detail);
        }
        for (key, value) in Members::of(tape) {
            match (key, &value[0]) {
                (METADATA, _) => {
                    for (key, value) in Members::of(value) {
                        self.metadata.push(&mut self.text, row, key, value);
                    }
                }
                (TIMESTAMP, Node::String(text)) if parse_iso_millis(text).is_some() => {
                    self.times[row] = parse_iso_millis(text).unwrap_or(self.times[row]);
                }
                (TIMESTAMP, _) => {
                    self.fields.push(&mut self.text, row, TIMESTAMP_FALLBACK, value);
                    self.bad_times.push(row);
                }
                _ => self.fields.push(&mut self.text, row, key, value),
            }
        }
    }

    fn refuse(&mut self, row: usize, bytes: &[u8], reason: &'static str, detail: String) {
        self.push_message(row, bytes);
        self.refused.push((row, Reject::new(reason, detail)));
    }

    /// Keeps the line itself, whole.
    fn push_message(&mut self, row: usize, bytes: &[u8]) {
        let offset = self.text.len();
        if push_lossy(bytes, &mut self.text) {
            self.unreadable.push(row);
        }
        let place = StrRef { page: 0, offset: offset as u32, len: (self.text.len() - offset) as u32 };
        self.fields.put("message", |cells| cells.put_str(row, place, &self.text));
    }

    pub(super) fn batch(self, cut: &LinesCut, ids: Vec<RowId>, read_at: i64) -> (Batch, Vec<usize>) {
        let rows = cut.rows();
        let mut batch = Batch::new(ids);
        batch.push_page(Page::from_text(self.text));
        let time = if self.times.iter().all(|time| *time == read_at) {
            Column::Const(Value::Time(read_at))
        } else {
            Column::Time(self.times)
        };
        let fields =
            self.fields.members.into_iter().map(|(key, cells)| (Path::new([key]), cells.column(rows)));
        let below = self
            .metadata
            .members
            .into_iter()
            .map(|(key, cells)| (Path::new([METADATA, &*key]), cells.column(rows)));
        batch.put_columns([(Path::timestamp(), time)].into_iter().chain(fields).chain(below).collect());
        if !self.bad_times.is_empty() {
            let tag: Arc<str> = TIMESTAMP_TAG.into();
            for row in self.bad_times {
                batch.tag(row, &tag);
            }
        }
        for row in self.empty {
            batch.discard(row, "empty_line");
        }
        for (row, reject) in self.refused {
            batch.reject(row, reject);
        }
        (batch, self.unreadable)
    }
}

/// The members of the objects so far.
#[derive(Default)]
struct Fields {
    members: IndexMap<Arc<str>, Cells, foldhash::fast::RandomState>,
    /// The sizes of one cell of each.
    row: usize,
    /// What their values hold outside of their cells.
    heap: usize,
}

// === impl Fields ===

impl Fields {
    /// What a table of so many rows weighs.
    fn weight(&self, rows: usize) -> usize {
        self.members.len() * COLUMN + rows * self.row + self.heap
    }

    fn push(&mut self, text: &mut String, row: usize, key: &str, value: &[Node<'_>]) {
        match value[0] {
            Node::String(string) => {
                let place = StrRef { page: 0, offset: text.len() as u32, len: string.len() as u32 };
                text.push_str(string);
                self.put(key, |cells| cells.put_str(row, place, text));
            }
            Node::Static(StaticNode::I64(number)) => self.put(key, |cells| cells.put_int(row, number, text)),
            Node::Static(StaticNode::U64(number)) if i64::try_from(number).is_ok() => {
                self.put(key, |cells| cells.put_int(row, number as i64, text));
            }
            Node::Static(StaticNode::F64(number)) => {
                self.put(key, |cells| cells.put_float(row, number, text));
            }
            Node::Static(StaticNode::Bool(truth)) => self.put(key, |cells| cells.put_bool(row, truth, text)),
            _ => {
                if let Some(value) = value_of(&mut value.iter()) {
                    self.heap += value.heap_bytes();
                    self.put(key, |cells| cells.put_any(row, value, text));
                }
            }
        }
    }

    #[inline]
    fn put(&mut self, key: &str, put: impl FnOnce(&mut Cells)) {
        let index = match self.members.get_index_of(key) {
            Some(index) => index,
            None => self.members.insert_full(Arc::from(key), Cells::Any(Vec::new())).0,
        };
        let cells = &mut self.members[index];
        let before = cells.size();
        put(cells);
        let after = cells.size();
        if before != after {
            self.row += after - before;
            // What was typed became values of their own.
            self.heap += if before > 0 { cells.heap_bytes() } else { 0 };
        }
    }
}

/// The size of the cell that a value gets in a column of its own.
fn cell_size(value: &Node<'_>) -> usize {
    match value {
        Node::String(_) => size_of::<StrRef>(),
        Node::Static(StaticNode::I64(_) | StaticNode::U64(_) | StaticNode::F64(_)) => size_of::<i64>(),
        Node::Static(StaticNode::Bool(_)) => size_of::<u8>(),
        _ => size_of::<Option<Value>>(),
    }
}

// === impl Cells ===

impl Cells {
    /// The size of one; none before the first.
    #[inline]
    fn size(&self) -> usize {
        match self {
            Self::Bool(_) => size_of::<u8>(),
            Self::Int(_) | Self::Float(_) => size_of::<i64>(),
            Self::Str(_) => size_of::<StrRef>(),
            Self::Any(cells) if cells.is_empty() => 0,
            Self::Any(_) => size_of::<Option<Value>>(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Any(cells) => cells.iter().flatten().map(Value::heap_bytes).sum(),
            _ => 0,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Any(cells) if cells.is_empty())
    }

    fn put_bool(&mut self, row: usize, value: bool, text: &str) {
        if self.is_empty() {
            *self = Self::Bool(Vec::new());
        }
        match self {
            Self::Bool(cells) => put(cells, row, ABSENT_BOOL, u8::from(value)),
            _ => self.put_any(row, Value::Bool(value), text),
        }
    }

    fn put_int(&mut self, row: usize, value: i64, text: &str) {
        if self.is_empty() && value != ABSENT_INT {
            *self = Self::Int(Vec::new());
        }
        match self {
            Self::Int(cells) if value != ABSENT_INT => put(cells, row, ABSENT_INT, value),
            _ => self.put_any(row, Value::Int(value), text),
        }
    }

    fn put_float(&mut self, row: usize, value: f64, text: &str) {
        if self.is_empty() {
            *self = Self::Float(Vec::new());
        }
        match self {
            Self::Float(cells) => put(cells, row, f64::from_bits(ABSENT_FLOAT_BITS), value),
            _ => self.put_any(row, Value::Float(value), text),
        }
    }

    fn put_str(&mut self, row: usize, place: StrRef, text: &str) {
        if self.is_empty() {
            *self = Self::Str(Vec::new());
        }
        match self {
            Self::Str(cells) => put(cells, row, StrRef::ABSENT, place),
            _ => self.put_any(row, Value::from(text_at(text, place)), text),
        }
    }

    fn put_any(&mut self, row: usize, value: Value, text: &str) {
        let cells = self.any(text);
        put(cells, row, None, Some(value));
    }

    /// Makes it a column of any values, in which each row keeps its type.
    fn any(&mut self, text: &str) -> &mut Vec<Option<Value>> {
        let values = match std::mem::replace(self, Self::Any(Vec::new())) {
            Self::Any(values) => values,
            Self::Bool(cells) => {
                cells.iter().map(|cell| (*cell != ABSENT_BOOL).then_some(Value::Bool(*cell == 1))).collect()
            }
            Self::Int(cells) => {
                cells.iter().map(|cell| (*cell != ABSENT_INT).then_some(Value::Int(*cell))).collect()
            }
            Self::Float(cells) => cells
                .iter()
                .map(|cell| (cell.to_bits() != ABSENT_FLOAT_BITS).then_some(Value::Float(*cell)))
                .collect(),
            Self::Str(cells) => cells
                .iter()
                .map(|place| (!place.is_absent()).then(|| Value::from(text_at(text, *place))))
                .collect(),
        };
        *self = Self::Any(values);
        match self {
            Self::Any(values) => values,
            _ => unreachable!("it was just made a column of any values"),
        }
    }

    fn column(self, rows: usize) -> Column {
        fn padded<T: Clone>(mut cells: Vec<T>, rows: usize, absent: T) -> Vec<T> {
            cells.resize(rows, absent);
            cells
        }
        match self {
            Self::Bool(cells) => Column::Bool(padded(cells, rows, ABSENT_BOOL)),
            Self::Int(cells) => Column::Int(padded(cells, rows, ABSENT_INT)),
            Self::Float(cells) => Column::Float(padded(cells, rows, f64::from_bits(ABSENT_FLOAT_BITS))),
            Self::Str(cells) => Column::Str(padded(cells, rows, StrRef::ABSENT)),
            Self::Any(cells) => Column::Any(padded(cells, rows, None)),
        }
    }
}

/// Puts a cell at `row`, the last row so far; of a repeated member the last counts.
fn put<T: Clone>(cells: &mut Vec<T>, row: usize, absent: T, value: T) {
    cells.resize(row + 1, absent);
    cells[row] = value;
}

fn text_at(text: &str, place: StrRef) -> &str {
    text.get(place.offset as usize..(place.offset + place.len) as usize).unwrap_or_default()
}

// === impl Metadata ===

/// What an object says of its `@metadata`.
struct Metadata {
    /// How many nodes it takes: at least as many as it has members.
    nodes: usize,
    /// Whether the last one, which counts, is an object, if there is any.
    is_object: bool,
}

impl Metadata {
    fn of(tape: &[Node<'_>]) -> Self {
        let mut metadata = Self { nodes: 0, is_object: true };
        for (_, value) in Members::of(tape).filter(|(key, _)| *key == METADATA) {
            metadata.nodes += value.len();
            metadata.is_object = matches!(value[0], Node::Object { .. });
        }
        metadata
    }
}

// === impl Members ===

/// The members of an object on a tape: each key with the nodes of its value.
struct Members<'a, 'text> {
    nodes: &'a [Node<'text>],
}

impl<'a, 'text> Members<'a, 'text> {
    /// Those of the object at the start of `nodes`; none of anything else.
    fn of(nodes: &'a [Node<'text>]) -> Self {
        match nodes.first() {
            Some(Node::Object { .. }) => Self { nodes: &nodes[1..span(&nodes[0])] },
            _ => Self { nodes: &[] },
        }
    }
}

impl<'a, 'text> Iterator for Members<'a, 'text> {
    type Item = (&'text str, &'a [Node<'text>]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.nodes.split_first()?;
        let (value, rest) = rest.split_at(span(rest.first()?));
        self.nodes = rest;
        match key {
            Node::String(key) => Some((key, value)),
            _ => None,
        }
    }
}

/// How many nodes a value takes, itself included.
fn span(node: &Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
        _ => 1,
    }
}
