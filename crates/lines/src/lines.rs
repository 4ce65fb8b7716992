//! Lines: a stream of bytes cut at its newlines into batches, without a copy and without an allocation per line.
//!
//! A source reads into [`Lines::fill`] and takes [`Lines::batch`]es out. The bytes that it read become the batch's
//! page; a row is a place in it. What one reading leaves of an unfinished line is put in front of the next one.
//!
//! Two things are no content: NULs where a line begins (the hole that a truncated file has when its writer goes on at
//! its old place), and a UTF-8 byte order mark where the stream does. A line begins behind them.

use std::io;

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr_iter};
use xxhash_rust::xxh3::xxh3_128;

use crate::cut::LinesCut;
use crate::decode::Decoder;
use flowstone_core::event::{Batch, RowId, StrRef};
use flowstone_core::{BuildError, ByteSize, SourceCx};

/// Of a line over `max_line_bytes` at most this much of its beginning is kept, and as much of its end.
pub const LONG_LINE_HEAD: usize = 64 << 10;

/// What a stream of UTF-8 text may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line may not be allowed to be longer than this; the text of a batch is addressed with 32 bits.
const MAX_LINE_LIMIT: u64 = 256 << 20;

/// More batches than the memory for events in flight has room for are not in flight.
const MOST_FULL: usize = 16;
/// A reading asks for at least this much, so that a line longer than all before it costs few system calls.
const MIN_READ: usize = 64 << 10;

/// A reading asks for this much beyond the expected size of a batch: lines vary in length.
const READ_SLACK: usize = 8 << 10;

flowstone_core::choices! {
    /// What a line is.
    pub enum Decoding {
        /// The event's `message`.
        Text = "text",
        /// A JSON object that becomes the event's fields.
        Json = "json",
    }
}

/// How lines are cut and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub struct LineOptions {
    /// A longer line, newline not counted, is rejected.
    pub max_line_bytes: usize,
    /// What a line is.
    pub decoding: Decoding,
}

/// Row ids for the lines of one stream.
///
/// An id is the 128-bit xxh3 of the line's bytes, combined with the stream's seed and the line's offset in the
/// stream. It depends on nothing else: not on how the stream was cut into batches, nor on when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineIds {
    seed: u128,
}

/// Cuts a stream of bytes into batches of lines.
#[derive(Debug)]
pub struct Lines {
    options: LineOptions,
    decoder: Decoder,
    /// What was read and not handed out. Begins at the start of a line.
    rest: Bytes,
    /// Buffers that were read full, and of which batches may hold parts: one that nobody holds any more is read into
    /// again. Of 22,000 page faults in two million lines this saves all but a few hundred, and their pages of zeros.
    full: Vec<Bytes>,
    /// Where in the stream the first line that was not handed out begins: that of `long` if there is one, else `rest`.
    offset: u64,
    /// A line that is too long to hold: its head and its last bytes, while the remainder is skipped. With it, unless it
    /// is complete, `rest` is empty.
    long: Option<Skipped>,
    /// Bytes per line of the last batch, to read about as much as a batch takes.
    line_bytes: usize,
}

/// Some lines as a batch, and where they stand in the stream.
#[derive(Debug)]
pub struct LineBatch {
    /// One row per line. Lines that are refused are rejected in it.
    pub batch: Batch,
    /// Where the first line begins: behind the NULs that may stand between it and the end of the batch before.
    pub start: u64,
    /// The byte behind the last line and its newline.
    pub end: u64,
    /// The lines as they were read, line ends included, but for a long line at the start that was not held.
    pub raw: Bytes,
}

#[derive(Debug)]
struct Skipped {
    head: Vec<u8>,
    /// The last bytes of what came behind the head: one more than is kept, which may be a carriage return.
    tail: Vec<u8>,
    /// Bytes in the stream so far, the newline included once it is found.
    span: u64,
    /// Bytes that belong to the line.
    length: u64,
    complete: bool,
}

// === impl LineOptions ===

impl LineOptions {
    /// Options out of a component's configuration; the error points at `max_line_bytes`.
    pub fn new(max_line_bytes: ByteSize, decoding: Decoding) -> Result<Self, BuildError> {
        if (1..=MAX_LINE_LIMIT).contains(&max_line_bytes.0) {
            return Ok(Self { max_line_bytes: max_line_bytes.as_usize(), decoding });
        }
        Err(BuildError::option("max_line_bytes", format!("a line of at most {} bytes", max_line_bytes.0))
            .label("expected 1 byte to 256MiB"))
    }
}

// === impl LineIds ===

impl LineIds {
    /// Ids for the stream that `seed` names.
    pub fn new(seed: u128) -> Self {
        Self { seed }
    }

    /// The id of the line with these bytes (without its line end) that begins at `offset`.
    ///
    /// For one stream and one text, different offsets give different ids: each half is mixed by a bijection.
    #[inline]
    pub fn id(&self, offset: u64, line: &[u8]) -> RowId {
        let low = mix(self.seed as u64 ^ offset);
        let high = mix((self.seed >> 64) as u64 ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        RowId::from_u128(xxh3_128(line) ^ (u128::from(high) << 64 | u128::from(low)))
    }
}

/// The finaliser of splitmix64: a bijection in which every bit of the input moves every bit of the output.
#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// === impl Lines ===

impl Lines {
    /// Lines of a stream of which the next byte, the first of a line, stands at `offset`.
    pub fn new(options: LineOptions, offset: u64) -> Self {
        let decoder = Decoder::new(options.decoding);
        Self { options, decoder, rest: Bytes::new(), full: Vec::new(), offset, long: None, line_bytes: 128 }
    }

    /// Where the first line that was not handed out begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next byte that is read stands in the stream.
    pub fn end(&self) -> u64 {
        self.offset + self.long.as_ref().map_or(0, |long| long.span) + self.rest.len() as u64
    }

    /// What was read and not handed out, without the part of a long line that was skipped already.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Whether [`Lines::pass_nuls`] may be called: no byte is held, and no line waits to be handed out.
    pub fn may_pass_nuls(&self) -> bool {
        self.rest.is_empty() && self.long.as_ref().is_none_or(|long| !long.complete)
    }

    /// The stream's next `count` bytes are NULs and need not be read. Where a line begins they are no content, and of
    /// a line that is too long to hold they are a part.
    pub fn pass_nuls(&mut self, count: u64) {
        debug_assert!(self.may_pass_nuls(), "bytes before the hole are not handed out");
        let most = self.kept_bytes() + 1;
        match &mut self.long {
            None => self.offset += count,
            Some(long) => {
                let nuls = vec![0; most.min(usize::try_from(count).unwrap_or(most))];
                long.push(&nuls, most);
                long.length += count - nuls.len() as u64;
                long.span += count - nuls.len() as u64;
            }
        }
    }

    /// How many bytes to read so that the next batch is full; 0 if enough is here.
    pub fn room(&self, cx: &SourceCx) -> usize {
        let batch = cx.max_rows.saturating_mul(self.line_bytes).min(cx.max_bytes);
        if self.rest.len() < batch {
            return (batch - self.rest.len() + READ_SLACK).max(MIN_READ);
        }
        match memchr(b'\n', &self.rest) {
            Some(_) => 0,
            // One unfinished line, longer than a batch: as much again, so that it is not copied once per reading.
            None => self.rest.len().min(self.options.max_line_bytes).max(MIN_READ),
        }
    }

    /// Reads on: `read` appends up to `room` bytes of the stream to the buffer it is given. Gives how many it
    /// appended, none at the end of the stream. What it appended before an error is kept.
    pub fn fill(
        &mut self,
        room: usize,
        read: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let carried = self.rest.len();
        let mut buffer = self.buffer(carried + room);
        buffer.extend_from_slice(&self.rest);
        let outcome = read(&mut buffer);
        let count = buffer.len() - carried;
        // A few new lines must not hold a buffer for thousands, and a stream that is read to its end holds none.
        let is_full = buffer.len() >= buffer.capacity() / 2;
        if count == 0 || !is_full {
            self.full.clear();
        }
        if count > 0 {
            if !is_full {
                buffer.shrink_to_fit();
            }
            self.rest = Bytes::from(buffer);
            if is_full && self.full.len() < MOST_FULL {
                self.full.push(self.rest.clone());
            }
            self.skip_no_content();
            self.skip_long_line();
        }
        outcome.map(|()| count)
    }

    /// A buffer with this much room.
    fn buffer(&mut self, room: usize) -> Vec<u8> {
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
        let free = self.full.iter().position(Bytes::is_unique).map(|at| self.full.swap_remove(at));
        let mut buffer = match free.map(Bytes::try_into_mut) {
            Some(Ok(mut bytes)) => {
                bytes.clear();
                Vec::from(bytes)
            }
            _ => Vec::new(),
        };
        buffer.reserve(room);
        buffer
    }

    /// The next lines, at most `cx.max_rows` and about `cx.max_bytes`. With `ends` the stream ends where reading
    /// stands, and an unfinished last line is a line. `id` gives a row's id from the line's offset and bytes, and
    /// `origin` says where the lines come from if one must be rejected.
    pub fn batch(
        &mut self,
        cx: &SourceCx,
        origin: &str,
        ends: bool,
        id: impl Fn(u64, &[u8]) -> RowId,
    ) -> Option<LineBatch> {
        let mut cut = self.cut(cx.max_rows, cx.max_bytes, ends)?;
        let start = self.offset;
        let (batch, rows) = self.decoder.batch(&mut cut, start, cx.clock.now_ms(), origin, id);
        let end = cut.end(start);
        self.line_bytes = ((end - start) as usize / rows.max(1)).max(1);
        self.advance(end);
        Some(LineBatch { batch, start, end, raw: cut.text })
    }

    /// Passes lines without making events of them, up to the offset `until`: `each` sees what [`Lines::batch`] would
    /// have given `id`.
    pub fn skim(&mut self, until: u64, ends: bool, mut each: impl FnMut(u64, &[u8])) {
        while self.offset < until
            && let Some(mut cut) = self.cut(usize::MAX, usize::MAX, ends)
        {
            let start = self.offset;
            cut.truncate((0..cut.rows()).take_while(|&row| cut.start_of(row, start) < until).count());
            for row in 0..cut.rows() {
                each(cut.start_of(row, start), cut.id_bytes(row));
            }
            self.advance(cut.end(start));
        }
    }

    fn cut(&self, max_rows: usize, max_bytes: usize, ends: bool) -> Option<LinesCut> {
        let text = &self.rest[..];
        let window = &text[..text.len().min(max_bytes)];
        let expected = memchr_iter(b'\n', window).count().min(max_rows) + 2;
        let mut cut = LinesCut { places: Vec::with_capacity(expected), ..LinesCut::default() };
        let kept = self.kept_bytes();
        match &self.long {
            Some(long) if long.complete || ends => {
                let tail = &long.tail[long.tail.len().saturating_sub(kept)..];
                cut.push_long(0, Bytes::from(long.head.clone()), tail, long.length);
                cut.long_span = long.span;
            }
            Some(_) => return None,
            None => {}
        }
        let max_line = self.options.max_line_bytes;
        let push = |cut: &mut LinesCut, start: usize, end: usize| {
            let len = end - start;
            if len > max_line {
                let head = self.rest.slice(start..start + kept);
                let tail = &text[(end - kept).max(start + kept)..end];
                cut.push_long(cut.long_span + start as u64, head, tail, len as u64);
            } else {
                cut.places.push(StrRef { page: 0, offset: start as u32, len: len as u32 });
            }
        };
        let mut start = 0;
        let mut full = false;
        for newline in memchr_iter(b'\n', text) {
            full = cut.places.len() == max_rows || (newline >= max_bytes && !cut.places.is_empty());
            if full {
                break;
            }
            if text[start] == 0 {
                start += nuls_at_start(&text[start..newline]);
            }
            let return_before = newline > start && text[newline - 1] == b'\r';
            push(&mut cut, start, newline - usize::from(return_before));
            start = newline + 1;
        }
        if ends && !full && start < text.len() && cut.places.len() < max_rows {
            start += nuls_at_start(&text[start..]);
            if start < text.len() {
                push(&mut cut, start, text.len());
                start = text.len();
            }
        }
        cut.text = self.rest.slice(..start);
        (!cut.places.is_empty()).then_some(cut)
    }

    /// Forgets what lies before the offset `to`, the start of a line.
    fn advance(&mut self, to: u64) {
        let mut forward = to - self.offset;
        if forward > 0
            && let Some(long) = self.long.take()
        {
            forward -= long.span;
        }
        self.rest.advance(forward as usize);
        self.offset = to;
        self.skip_no_content();
        self.skip_long_line();
    }

    /// How much of each end of a long line is kept.
    fn kept_bytes(&self) -> usize {
        self.options.max_line_bytes.min(LONG_LINE_HEAD)
    }

    /// Passes what is no content, where a line begins. It is not held.
    fn skip_no_content(&mut self) {
        if self.long.is_some() {
            return;
        }
        let mark = if self.offset == 0 && self.rest.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let passed = mark + nuls_at_start(&self.rest[mark..]);
        if passed > 0 {
            self.rest.advance(passed);
            self.offset += passed as u64;
            self.let_go_if_empty();
        }
    }

    /// An empty view would keep the whole buffer alive.
    fn let_go_if_empty(&mut self) {
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
    }

    /// Begins or goes on to skip a line that is too long to hold.
    fn skip_long_line(&mut self) {
        if self.long.as_ref().is_some_and(|long| long.complete) {
            return;
        }
        // One byte over the limit may be the carriage return of a line end that is still to come.
        let too_long = self.rest.len() > self.options.max_line_bytes + 1;
        if self.long.is_none() && (!too_long || memchr(b'\n', &self.rest).is_some()) {
            return;
        }
        let kept = self.kept_bytes();
        let newline = memchr(b'\n', &self.rest);
        let part = &self.rest[..newline.unwrap_or(self.rest.len())];
        let passed = part.len() + usize::from(newline.is_some());
        match &mut self.long {
            Some(long) => long.push(part, kept + 1),
            None => {
                let (head, behind) = part.split_at(kept);
                let mut long = Skipped {
                    head: head.to_vec(),
                    tail: Vec::new(),
                    span: kept as u64,
                    length: kept as u64,
                    complete: false,
                };
                long.push(behind, kept + 1);
                self.long = Some(long);
            }
        }
        if newline.is_some()
            && let Some(long) = &mut self.long
        {
            long.end();
        }
        self.rest.advance(passed);
        self.let_go_if_empty();
    }
}

// === impl Skipped ===

impl Skipped {
    /// More of the line; `most` bytes of its end are held.
    fn push(&mut self, part: &[u8], most: usize) {
        self.span += part.len() as u64;
        self.length += part.len() as u64;
        let last = &part[part.len().saturating_sub(most)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(most);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(last);
    }

    /// Its newline was found.
    fn end(&mut self) {
        self.complete = true;
        self.span += 1;
        if self.tail.last() == Some(&b'\r') {
            self.tail.pop();
            self.length -= 1;
        }
    }
}

/// How many NULs `bytes` begins with.
fn nuls_at_start(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
