//! Lines as they were cut out of a stream, before they are decoded: the places of the short ones in the bytes that
//! were read, and both ends of those that are too long.

use bytes::Bytes;

use flowstone_core::event::StrRef;

/// Lines that were cut and not decoded yet.
#[derive(Debug, Default)]
pub(crate) struct LinesCut {
    /// The lines with their line ends: page 0.
    pub(crate) text: Bytes,
    /// One place per row; page 1 is `kept`.
    pub(crate) places: Vec<StrRef>,
    /// What is kept of the lines that are too long, one behind the other.
    pub(crate) kept: Vec<u8>,
    /// How many bytes of the stream a long line takes that stands before `text` and was not held.
    pub(crate) long_span: u64,
    /// The rows that are lines over the limit.
    pub(crate) long: Vec<LongLine>,
}

/// A row that is a line over the limit.
#[derive(Clone, Debug)]
pub(crate) struct LongLine {
    pub(crate) row: usize,
    /// Where it begins behind the start of the first row's line.
    pub(crate) start: u64,
    /// Its first bytes, of which its id is made.
    pub(crate) head: Bytes,
    pub(crate) length: u64,
    /// How many bytes of it are not kept.
    pub(crate) left_out: u64,
}

// === impl LinesCut ===

impl LinesCut {
    pub(crate) fn rows(&self) -> usize {
        self.places.len()
    }

    /// The bytes of a row; of a long line what is kept.
    #[inline]
    pub(crate) fn bytes_of(&self, row: usize) -> &[u8] {
        let place = self.places[row];
        let page = if place.page == 0 { &self.text[..] } else { &self.kept };
        &page[place.offset as usize..(place.offset + place.len) as usize]
    }

    /// The bytes that a row's id is made of.
    #[inline]
    pub(crate) fn id_bytes(&self, row: usize) -> &[u8] {
        match self.places[row].page {
            0 => self.bytes_of(row),
            _ => self.long_line(row).map_or(b"", |long| &long.head),
        }
    }

    /// Where the row's line begins in the stream, if the first row's line begins at `start`.
    #[inline]
    pub(crate) fn start_of(&self, row: usize, start: u64) -> u64 {
        match self.places[row] {
            StrRef { page: 0, offset, .. } => start + self.long_span + u64::from(offset),
            _ => start + self.long_line(row).map_or(0, |long| long.start),
        }
    }

    fn long_line(&self, row: usize) -> Option<&LongLine> {
        self.long.binary_search_by_key(&row, |long| long.row).ok().map(|at| &self.long[at])
    }

    /// The byte behind the last line.
    pub(crate) fn end(&self, start: u64) -> u64 {
        start + self.long_span + self.text.len() as u64
    }

    /// Leaves only the first `rows` lines.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows < self.places.len() {
            self.text.truncate(self.start_of(rows, 0).saturating_sub(self.long_span) as usize);
            self.places.truncate(rows);
            self.long.retain(|long| long.row < rows);
        }
    }

    /// Adds a line that is too long: `tail` is what is held of what follows its `head`.
    pub(crate) fn push_long(&mut self, start: u64, head: Bytes, tail: &[u8], length: u64) {
        let offset = self.kept.len();
        let mut left_out = length - head.len() as u64 - tail.len() as u64;
        if left_out == 0 {
            self.kept.extend_from_slice(&head);
            self.kept.extend_from_slice(tail);
        } else {
            let (first, last) = (&head[..whole_chars(&head)], from_whole_char(tail));
            left_out = length - first.len() as u64 - last.len() as u64;
            self.kept.extend_from_slice(first);
            self.kept.extend_from_slice(format!(" [... {left_out} bytes left out ...] ").as_bytes());
            self.kept.extend_from_slice(last);
        }
        self.long.push(LongLine { row: self.places.len(), start, head, length, left_out });
        let len = self.kept.len() - offset;
        self.places.push(StrRef { page: 1, offset: offset as u32, len: len as u32 });
    }
}

// === impl LongLine ===

impl LongLine {
    pub(crate) fn detail(&self, start: u64, origin: &str) -> String {
        let kept = match self.left_out {
            0 => "it is kept whole".to_owned(),
            left_out => format!("its first and last bytes are kept, {left_out} between them are not"),
        };
        format!(
            "the line at offset {} of {origin} is {} bytes long, more than `max_line_bytes` allows; {kept}",
            start + self.start,
            self.length,
        )
    }
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

/// `bytes` without what remains of a character that was cut off before it.
fn from_whole_char(bytes: &[u8]) -> &[u8] {
    let rest = bytes.iter().take(3).take_while(|byte| (0x80..=0xbf).contains(*byte)).count();
    &bytes[rest..]
}
