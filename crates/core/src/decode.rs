//! From lines to a batch: as text, or as the JSON objects they hold.

mod objects;

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use self::objects::{JsonBuffers, JsonRows};
use crate::Decoding;
use crate::event::{Batch, Page, Reject, RowId, StrRef};

/// The tag of an event in whose text something that is no UTF-8 was replaced by U+FFFD.
pub const INVALID_UTF8_TAG: &str = "_invalid_utf8";
/// Lines that were cut and not decoded yet.
#[derive(Debug, Default)]
pub(crate) struct LinesCut {
    /// The lines with their line ends: page 0.
    pub(crate) text: Bytes,
    /// One place per row; page 1 is `head`.
    pub(crate) places: Vec<StrRef>,
    /// The head of a long line that stands before `text` and was not held.
    pub(crate) head: Bytes,
    /// How many bytes of the stream that line takes.
    pub(crate) head_span: u64,
    /// The rows that are only the head of a line.
    pub(crate) long: Vec<LongLine>,
}

/// A row that is only the head of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongLine {
    pub(crate) row: usize,
    pub(crate) length: u64,
}

/// Makes batches of lines; keeps its buffers from one to the next.
pub(crate) enum Decoder {
    Text,
    Json(Box<JsonBuffers>),
}

// === impl LinesCut ===

impl LinesCut {
    pub(crate) fn rows(&self) -> usize {
        self.places.len()
    }

    /// The bytes of a row.
    #[inline]
    pub(crate) fn bytes_of(&self, row: usize) -> &[u8] {
        let place = self.places[row];
        let page = if place.page == 0 { &self.text } else { &self.head };
        &page[place.offset as usize..(place.offset + place.len) as usize]
    }

    /// Where the row's line begins in the stream, if the first row's line begins at `start`.
    #[inline]
    pub(crate) fn start_of(&self, row: usize, start: u64) -> u64 {
        match self.places[row] {
            StrRef { page: 0, offset, .. } => start + self.head_span + u64::from(offset),
            _ => start,
        }
    }

    /// The byte behind the last line.
    pub(crate) fn end(&self, start: u64) -> u64 {
        start + self.head_span + self.text.len() as u64
    }

    /// Leaves only the first `rows` lines.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if let Some(place) = self.places.get(rows) {
            self.text.truncate(place.offset as usize);
            self.places.truncate(rows);
            self.long.retain(|long| long.row < rows);
        }
    }
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
            Decoding::Json => Self::Json(Box::new(JsonBuffers::new())),
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
        let ids = (0..cut.rows()).map(|row| id(cut.start_of(row, start), cut.bytes_of(row))).collect();
        for long in &cut.long {
            let whole = whole_chars(cut.bytes_of(long.row));
            cut.places[long.row].len = whole as u32;
        }
        let rows = cut.rows();
        let details: Vec<(usize, String)> =
            cut.long.iter().map(|long| (long.row, long.detail(cut, start, origin))).collect();
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

// === impl LongLine ===

impl LongLine {
    fn detail(&self, cut: &LinesCut, start: u64, origin: &str) -> String {
        format!(
            "the line at offset {} of {origin} is {} bytes long, more than `max_line_bytes` allows; its first {} are kept",
            cut.start_of(self.row, start),
            self.length,
            cut.places[self.row].len
        )
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
    let mut head = None;
    if let Some(first) = places.first_mut().filter(|place| place.page == 1) {
        let mut text = String::new();
        if push_lossy(&cut.head[..first.len as usize], &mut text) {
            unreadable.push(0);
        }
        first.len = text.len() as u32;
        head = Some(Page::from_text(text));
    }
    let mut batch = Batch::of_lines(page, places, ids, read_at);
    if let Some(head) = head {
        batch.push_page(head);
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

/// The length of `bytes` without a character that was cut off at its end.
fn whole_chars(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let needs = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if needs > back + 1 { bytes.len() - back - 1 } else { bytes.len() };
    }
    bytes.len()
}
