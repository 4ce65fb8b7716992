//! From lines to a batch: as text, or as the JSON objects they hold.

use std::sync::Arc;

use bytestring::ByteString;
use indexmap::IndexMap;
use simd_json::{Buffers, Node, StaticNode, Tape};

use crate::Decoding;
use crate::cut::LinesCut;
use crate::event::{
    ABSENT_FLOAT_BITS, ABSENT_INT, Batch, Column, METADATA, Page, Path, Reject, RowId, StrRef, TIMESTAMP,
    Value, parse_iso_millis,
};
use crate::json::value_of;

/// The tag of an event in whose text something that is no UTF-8 was replaced by U+FFFD.
pub const INVALID_UTF8_TAG: &str = "_invalid_utf8";
/// The tag of an event whose JSON has an `@timestamp` that is no RFC 3339 text; Logstash's name for it.
const TIMESTAMP_TAG: &str = "_timestampparsefailure";
/// Where such a value is kept, as in Logstash.
const TIMESTAMP_FALLBACK: &str = "_@timestamp";
/// A batch of JSON objects ends where rows times fields exceed this: lines that all have other members would
/// otherwise make a table of gigabytes.
const MAX_CELLS: usize = 1 << 18;

/// Makes batches of lines; keeps its buffers from one to the next.
pub(crate) enum Decoder {
    Text,
    Json(Box<JsonBuffers>),
}

pub(crate) struct JsonBuffers {
    buffers: Buffers,
    tape: Tape<'static>,
    line: Vec<u8>,
}

// === impl Decoder ===

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Text) { "Text" } else { "Json" })
    }
}

impl Decoder {
    pub(crate) fn new(decoding: Decoding) -> Self {
        match decoding {
            Decoding::Text => Self::Text,
            Decoding::Json => Self::Json(Box::new(JsonBuffers {
                buffers: Buffers::default(),
                tape: Tape::null(),
                line: Vec::new(),
            })),
        }
    }

    /// A batch of the first rows of `cut`, which begins at `start` in the stream, and how many rows that are: all,
    /// unless JSON objects differ too much. `id` gets a line's offset and bytes.
    pub(crate) fn batch(
        &mut self,
        cut: &mut LinesCut,
        start: u64,
        read_at: i64,
        origin: &str,
        id: impl Fn(u64, &[u8]) -> RowId,
    ) -> (Batch, usize) {
        let json = match self {
            Self::Text => None,
            Self::Json(buffers) => Some(JsonRows::read(cut, buffers, read_at)),
        };
        if let Some(json) = &json {
            cut.truncate(json.rows);
        }
        let ids = (0..cut.rows()).map(|row| id(cut.start_of(row, start), cut.id_bytes(row))).collect();
        let rows = cut.rows();
        let details: Vec<(usize, String)> =
            cut.long.iter().map(|long| (long.row, long.detail(start, origin))).collect();
        let (mut batch, unreadable) = match json {
            None => text_batch(cut, ids, read_at),
            Some(json) => json.batch(cut, ids, read_at),
        };
        if !unreadable.is_empty() {
            let tag: Arc<str> = INVALID_UTF8_TAG.into();
            for row in unreadable {
                batch.tag(row, &tag);
            }
        }
        for (row, detail) in details {
            batch.reject(row, Reject::new("line_too_long", detail));
        }
        (batch, rows)
    }
}

/// The batch of `message`s, and the rows in which something was no UTF-8.
fn text_batch(cut: &mut LinesCut, ids: Vec<RowId>, read_at: i64) -> (Batch, Vec<usize>) {
    let mut places = std::mem::take(&mut cut.places);
    let mut unreadable = Vec::new();
    // One check for the whole page; only a page in which something is wrong is looked at line by line.
    let page = match ByteString::try_from(cut.text.clone()) {
        Ok(text) => Page::of_lines(text),
        Err(_) => {
            let mut text = String::with_capacity(cut.text.len() + cut.text.len() / 8);
            for (row, place) in places.iter_mut().enumerate().filter(|(_, place)| place.page == 0) {
                let line = &cut.text[place.offset as usize..(place.offset + place.len) as usize];
                let offset = text.len();
                if push_lossy(line, &mut text) {
                    unreadable.push(row);
                }
                *place = StrRef { page: 0, offset: offset as u32, len: (text.len() - offset) as u32 };
            }
            Page::from_text(text)
        }
    };
    let mut kept = String::with_capacity(cut.kept.len());
    for long in &cut.long {
        let place = &mut places[long.row];
        let line = &cut.kept[place.offset as usize..(place.offset + place.len) as usize];
        let offset = kept.len();
        if push_lossy(line, &mut kept) {
            unreadable.push(long.row);
        }
        *place = StrRef { page: 1, offset: offset as u32, len: (kept.len() - offset) as u32 };
    }
    let mut batch = Batch::of_lines(page, places, ids, read_at);
    if !cut.long.is_empty() {
        batch.push_page(Page::from_text(kept));
    }
    (batch, unreadable)
}

/// Appends `bytes` with U+FFFD for what is no UTF-8, and says whether there was any.
fn push_lossy(bytes: &[u8], text: &mut String) -> bool {
    let mut lossy = false;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            lossy = true;
        }
    }
    lossy
}

// === impl JsonRows ===

/// Lines of JSON objects as columns, before there is a batch.
#[derive(Default)]
struct JsonRows {
    /// How many lines were taken.
    rows: usize,
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

impl JsonRows {
    fn read(cut: &LinesCut, json: &mut JsonBuffers, read_at: i64) -> Self {
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
                    let fits =
                        row == 0 || (self.fields.len() + self.metadata.len() + len) * (row + 1) <= MAX_CELLS;
                    if fits || self.fits(&tape.0, row) {
                        self.push_object(row, bytes, &tape.0);
                        if lossy {
                            self.unreadable.push(row);
                        }
                        true
                    } else {
                        false
                    }
                }
                _ => {
                    let detail = "the line is JSON, but no object".to_owned();
                    self.refuse(row, bytes, "json_not_an_object", detail);
                    true
                }
            },
        };
        json.tape = tape.reset();
        taken
    }

    /// Whether the members of the object on the tape that are new leave the table small enough.
    fn fits(&self, tape: &[Node<'_>], row: usize) -> bool {
        let mut columns = self.fields.len() + self.metadata.len();
        for (key, value) in Members::of(tape) {
            if key == METADATA {
                columns += value.len();
            } else {
                columns += usize::from(!self.fields.contains_key(key));
            }
        }
        columns * (row + 1) <= MAX_CELLS
    }

    fn push_object(&mut self, row: usize, bytes: &[u8], tape: &[Node<'_>]) {
        let metadata = Members::of(tape).filter(|(key, _)| *key == METADATA).last();
        if let Some((_, value)) = metadata
            && !matches!(value[0], Node::Object { .. })
        {
            let detail = "`@metadata` in the line is no object".to_owned();
            return self.refuse(row, bytes, "json_metadata", detail);
        }
        for (key, value) in Members::of(tape) {
            match (key, &value[0]) {
                (METADATA, _) => {
                    for (key, value) in Members::of(value) {
                        push_cell(&mut self.metadata, &mut self.text, row, key, value);
                    }
                }
                (TIMESTAMP, Node::String(text)) if parse_iso_millis(text).is_some() => {
                    self.times[row] = parse_iso_millis(text).unwrap_or(self.times[row]);
                }
                (TIMESTAMP, _) => {
                    push_cell(&mut self.fields, &mut self.text, row, TIMESTAMP_FALLBACK, value);
                    self.bad_times.push(row);
                }
                _ => push_cell(&mut self.fields, &mut self.text, row, key, value),
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
        cells(&mut self.fields, "message").put_str(row, place, &self.text);
    }

    fn batch(self, cut: &LinesCut, ids: Vec<RowId>, read_at: i64) -> (Batch, Vec<usize>) {
        let rows = cut.rows();
        let mut batch = Batch::new(ids);
        batch.push_page(Page::from_text(self.text));
        let time = if self.times.iter().all(|time| *time == read_at) {
            Column::Const(Value::Time(read_at))
        } else {
            Column::Time(self.times)
        };
        let fields = self.fields.into_iter().map(|(key, cells)| (Path::new([key]), cells.column(rows)));
        let below =
            self.metadata.into_iter().map(|(key, cells)| (Path::new([METADATA, &*key]), cells.column(rows)));
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

type Fields = IndexMap<Arc<str>, Cells, foldhash::fast::RandomState>;

fn cells<'a>(fields: &'a mut Fields, key: &str) -> &'a mut Cells {
    let index = match fields.get_index_of(key) {
        Some(index) => index,
        None => fields.insert_full(Arc::from(key), Cells::Any(Vec::new())).0,
    };
    &mut fields[index]
}

fn push_cell(fields: &mut Fields, text: &mut String, row: usize, key: &str, value: &[Node<'_>]) {
    let cells = cells(fields, key);
    match value[0] {
        Node::String(string) => {
            let place = StrRef { page: 0, offset: text.len() as u32, len: string.len() as u32 };
            text.push_str(string);
            cells.put_str(row, place, text);
        }
        Node::Static(StaticNode::I64(number)) => cells.put_int(row, number, text),
        Node::Static(StaticNode::U64(number)) if i64::try_from(number).is_ok() => {
            cells.put_int(row, number as i64, text);
        }
        Node::Static(StaticNode::F64(number)) => cells.put_float(row, number, text),
        Node::Static(StaticNode::Bool(truth)) => cells.put_bool(row, truth, text),
        _ => {
            if let Some(value) = value_of(&mut value.iter()) {
                cells.put_any(row, value, text);
            }
        }
    }
}

// === impl Cells ===

impl Cells {
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
