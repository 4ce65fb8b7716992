//! From lines to a batch: as text, or as the JSON objects they hold.

mod objects;

use std::sync::Arc;

use self::objects::{JsonBuffers, JsonRows};
use crate::Decoding;
use crate::cut::LinesCut;
use flowstone_core::event::{Batch, Page, Reject, RowId, StrRef};

/// The tag of an event in whose text something that is no UTF-8 was replaced by U+FFFD.
pub const INVALID_UTF8_TAG: &str = "_invalid_utf8";

/// Makes batches of lines; keeps its buffers from one to the next.
pub(crate) enum Decoder {
    Text,
    Json(Box<JsonBuffers>),
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
    let page = match Page::of_lines_in(cut.text.clone()) {
        Ok(page) => page,
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
