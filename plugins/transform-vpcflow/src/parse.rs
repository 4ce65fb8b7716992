//! Lines to columns: 64 rows at a time, first the places of all their values, then field by field.
//!
//! Field by field because a column's values are alike: the processor guesses their lengths right, and a column is
//! appended to without a look at its capacity for each cell. Whatever does not fit is only marked here and looked at
//! again in [`crate::judge`], which need not be fast.

use flowstone_core::event::{ABSENT_INT, Batch, BitSet, Column, StrRef};

use crate::candidates::{Candidates, Choice};
use crate::number::{any_integer, short_integer};
use crate::scan::{SLACK, ends, values};

/// How many rows are worked on at once: the places of their values stay in the first-level cache.
const WINDOW: usize = 64;

/// What the lines of a batch hold: one column for each of [`Candidates::fields`], absent in every row that was not
/// asked for or does not parse.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The columns.
    pub(crate) cells: Vec<Cells>,
    /// Rows that do not parse, in no order.
    pub(crate) bad: Vec<usize>,
}

/// A column in the making.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cells {
    /// References into the page of the lines.
    Text(Vec<StrRef>),
    /// Integers.
    Integer(Vec<i64>),
}

/// Room for the places of a window's values, kept from batch to batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    places: Vec<u32>,
}

/// Rows `base..base + lines.len()`, at most [`WINDOW`], whose lines lie in one page.
struct Window<'a> {
    base: usize,
    lines: &'a [StrRef],
    /// A bit for every row of the window that is to be parsed.
    wanted: u64,
    page: Page<'a>,
}

/// A page of lines and its number.
#[derive(Clone, Copy)]
struct Page<'a> {
    number: u32,
    text: &'a str,
}

// === impl Parsed ===

impl Parsed {
    /// Parses the `rows` of `lines`, each a place in the pages of `batch`.
    pub(crate) fn of(
        candidates: &Candidates,
        batch: &Batch,
        lines: &[StrRef],
        rows: &BitSet,
        scratch: &mut Scratch,
    ) -> Self {
        let cells =
            candidates.fields().iter().map(|field| Cells::with_capacity(field.is_integer(), lines.len()));
        let mut parsed = Self { cells: cells.collect(), bad: Vec::new() };
        let mut base = 0;
        while base < lines.len() {
            let (wanted, number, len) = next_window(lines, rows, base);
            let text = batch.pages().get(number as usize).map_or("", |page| page.as_str());
            let window =
                Window { base, lines: &lines[base..base + len], wanted, page: Page { number, text } };
            match candidates.taken_at_its_word() {
                Some(fields) if wanted != 0 => parsed.by_field(candidates, fields, &window, scratch),
                _ => {
                    parsed.cells.iter_mut().for_each(|cells| cells.skip(len));
                    parsed.by_row(candidates, &window, wanted);
                }
            }
            base += len;
        }
        parsed
    }

    /// Parses a window whose lines have one format of so many fields.
    fn by_field(
        &mut self,
        candidates: &Candidates,
        fields: usize,
        window: &Window<'_>,
        scratch: &mut Scratch,
    ) {
        // In front of each row's ends, where the value before the first would end.
        let stride = 1 + fields + SLACK;
        scratch.places.resize(WINDOW * stride, 0);
        let places = &mut scratch.places[..window.lines.len() * stride];
        let bytes = window.page.text.as_bytes();
        let (mut bad, mut irregular) = (0u64, 0u64);
        for (row, (line, places)) in window.lines.iter().zip(places.chunks_exact_mut(stride)).enumerate() {
            if window.wanted >> row & 1 == 1 {
                let start = line.offset as usize;
                places[0] = line.offset.wrapping_sub(1);
                match ends(bytes, start, start + line.len as usize, &mut places[1..]) {
                    Some(found) if found == fields => continue,
                    Some(found) if another_count(candidates, fields, found, window.page, line, places) => {
                        continue;
                    }
                    Some(_) => bad |= 1 << row,
                    None => irregular |= 1 << row,
                }
            }
            // Empty values, which count as absent.
            places.iter_mut().zip(0..).for_each(|(place, number)| *place = number);
        }
        for (field, cells) in self.cells.iter_mut().enumerate() {
            let rows =
                places.chunks_exact(stride).map(|places| (places[field].wrapping_add(1), places[field + 1]));
            match cells {
                Cells::Text(cells) => cells.extend(rows.map(|(start, end)| text(window.page, start, end))),
                Cells::Integer(cells) => cells.extend(rows.enumerate().map(|(row, (start, end))| {
                    integer(bytes, start, end).unwrap_or_else(|| {
                        bad |= 1 << row;
                        ABSENT_INT
                    })
                })),
            }
        }
        while bad != 0 {
            self.mark_bad(window.base + bad.trailing_zeros() as usize);
            bad &= bad - 1;
        }
        self.by_row(candidates, window, irregular);
    }

    /// Parses the `rows` of a window one by one: where lines choose among formats, and where blanks come in runs.
    fn by_row(&mut self, candidates: &Candidates, window: &Window<'_>, mut rows: u64) {
        while rows != 0 {
            let index = rows.trailing_zeros() as usize;
            rows &= rows - 1;
            let line = window.lines[index];
            let row = window.base + index;
            let text = window.page.text.get(line.offset as usize..(line.offset + line.len) as usize);
            if !text.is_some_and(|text| self.row(candidates, row, window.page, text)) {
                self.mark_bad(row);
            }
        }
    }

    /// Fills the cells of one row; whether its line parses.
    fn row(&mut self, candidates: &Candidates, row: usize, page: Page<'_>, line: &str) -> bool {
        let count = values(line).count();
        let record = candidates.record(line, count);
        let count = if record.len() == line.len() { count } else { count - 1 };
        let Choice::One(format) = candidates.choose(values(record), count) else { return false };
        for (value, field) in values(record).zip(&candidates.columns[format]) {
            let start = (value.as_ptr() as usize - page.text.as_ptr() as usize) as u32;
            let end = start + value.len() as u32;
            match &mut self.cells[*field] {
                Cells::Text(cells) => cells[row] = text(page, start, end),
                Cells::Integer(cells) => match integer(page.text.as_bytes(), start, end) {
                    Some(number) => cells[row] = number,
                    None => return false,
                },
            }
        }
        true
    }

    fn mark_bad(&mut self, row: usize) {
        self.blank(row);
        self.bad.push(row);
    }

    /// Makes every cell of `row` absent.
    pub(crate) fn blank(&mut self, row: usize) {
        for cells in &mut self.cells {
            match cells {
                Cells::Text(cells) => cells[row] = StrRef::ABSENT,
                Cells::Integer(cells) => cells[row] = ABSENT_INT,
            }
        }
    }
}

/// Whether a line whose values are not as many as the format's `fields` has what it asks for: where surplus ones are
/// left out, and in an export, whose time is left out of `places`.
#[cold]
#[inline(never)]
fn another_count(
    candidates: &Candidates,
    fields: usize,
    found: usize,
    page: Page<'_>,
    line: &StrRef,
    places: &mut [u32],
) -> bool {
    let (start, end) = (line.offset as usize, (line.offset + line.len) as usize);
    let text = page.text.get(start..end).filter(|_| found > fields);
    if text.is_none_or(|text| candidates.record(text, found).len() == text.len()) {
        return candidates.has_enough(fields, found);
    }
    // Where the time ends is one byte before the record.
    places.copy_within(1..fields + 2, 0);
    candidates.has_enough(fields, found - 1)
}

/// How far the next window goes: which of its rows are wanted, the page of their lines and how many rows it has.
fn next_window(lines: &[StrRef], rows: &BitSet, base: usize) -> (u64, u32, usize) {
    let mut wanted = 0;
    let mut page = None;
    for (row, line) in lines[base..].iter().take(WINDOW).enumerate() {
        if !rows.contains(base + row) {
            continue;
        }
        if *page.get_or_insert(line.page) != line.page {
            return (wanted, page.unwrap_or(line.page), row);
        }
        wanted |= 1 << row;
    }
    (wanted, page.unwrap_or_default(), WINDOW.min(lines.len() - base))
}

// === impl Cells ===

impl Cells {
    fn with_capacity(integer: bool, rows: usize) -> Self {
        if integer { Self::Integer(Vec::with_capacity(rows)) } else { Self::Text(Vec::with_capacity(rows)) }
    }

    /// The finished column.
    pub(crate) fn into_column(self) -> Column {
        match self {
            Self::Text(cells) => Column::Str(cells),
            Self::Integer(cells) => Column::Int(cells),
        }
    }

    /// Appends absent cells for so many rows.
    fn skip(&mut self, rows: usize) {
        match self {
            Self::Text(cells) => cells.resize(cells.len() + rows, StrRef::ABSENT),
            Self::Integer(cells) => cells.resize(cells.len() + rows, ABSENT_INT),
        }
    }
}

/// The cell of a value of text.
#[inline]
fn text(page: Page<'_>, start: u32, end: u32) -> StrRef {
    let len = end - start;
    if len <= 1 && is_absent(page.text.as_bytes(), start, end) {
        return StrRef::ABSENT;
    }
    StrRef { page: page.number, offset: start, len }
}

/// The cell of a value that must be an integer.
#[inline(always)]
fn integer(bytes: &[u8], start: u32, end: u32) -> Option<i64> {
    // A number first: asking for `-` first is a branch that one-digit numbers make hard to guess.
    match short_integer(bytes, start as usize, end as usize) {
        None if is_absent(bytes, start, end) => Some(ABSENT_INT),
        None => any_integer(bytes, start as usize, end as usize),
        number => number,
    }
}

/// Whether a value stands for none: `-`, or the empty value of a row that is not parsed.
#[inline]
fn is_absent(bytes: &[u8], start: u32, end: u32) -> bool {
    start == end || (end - start == 1 && bytes[start as usize] == b'-')
}
