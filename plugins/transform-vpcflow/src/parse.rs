//! Lines to columns: 64 rows at a time, first all edges of their values, then field by field.
//!
//! Field by field because a column's values are alike: the processor guesses their lengths right, and a column is
//! appended to without a look at its capacity for each cell. Whatever does not fit is only marked here and looked at
//! again in [`crate::judge`], which need not be fast.

use flowstone_event::{ABSENT_INT, Batch, BitSet, Column, StrRef};

use crate::candidates::{Candidates, Choice};
use crate::number::parse_i64;
use crate::scan::{self, SLACK};

/// How many rows are worked on at once: their edges (8 bytes a value) stay in the first-level cache.
const WINDOW: usize = 64;

/// What the lines of a batch hold: one column for each of [`Candidates::fields`], absent in every row that was not
/// asked for or does not parse.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The columns.
    pub(crate) cells: Vec<Cells>,
    /// Rows that do not parse, ascending.
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

/// Room for the edges of a window, kept from batch to batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    edges: Vec<u32>,
}

/// Rows `base..base + lines.len()`, at most [`WINDOW`], whose lines lie in one page.
struct Window<'a> {
    base: usize,
    lines: &'a [StrRef],
    /// A bit for every row of the window that is to be parsed.
    wanted: u64,
    /// The number of their page and its text.
    page: (u32, &'a str),
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
            let (wanted, page, len) = next_window(lines, rows, base);
            let window = Window {
                base,
                lines: &lines[base..base + len],
                wanted,
                page: (page, batch.pages().get(page as usize).map_or("", |page| page.as_str())),
            };
            parsed.window(candidates, &window, scratch);
            base += len;
        }
        parsed
    }

    fn window(&mut self, candidates: &Candidates, window: &Window<'_>, scratch: &mut Scratch) {
        if window.wanted == 0 {
            self.cells.iter_mut().for_each(|cells| cells.skip(window.lines.len()));
            return;
        }
        let stride = 2 * candidates.most_values() + SLACK;
        scratch.edges.resize(WINDOW * stride, 0);
        let edges = &mut scratch.edges[..window.lines.len() * stride];
        let (page, text) = window.page;
        let bytes = text.as_bytes();
        let mut bad = 0;
        let mut chosen = [0; WINDOW];
        for (row, (line, edges)) in window.lines.iter().zip(edges.chunks_exact_mut(stride)).enumerate() {
            if window.wanted >> row & 1 == 1 {
                let start = line.offset as usize;
                let found = scan::edges(bytes, start, start + line.len as usize, edges) / 2;
                match candidates.choose(text, &edges[..stride - SLACK], found) {
                    Choice::One(candidate) => {
                        chosen[row] = candidate;
                        continue;
                    }
                    Choice::None | Choice::Several => bad |= 1 << row,
                }
            }
            // An empty value counts as absent.
            edges.fill(0);
        }
        let rows = Rows { bytes, page, edges, stride };
        let uniform = chosen[..window.lines.len()].iter().all(|candidate| *candidate == chosen[0]);
        for (field, cells) in self.cells.iter_mut().enumerate() {
            let place = candidates.place(chosen[0], field);
            bad |= match cells {
                _ if !uniform => cells.extend_mixed(&rows, |row| candidates.place(chosen[row], field)),
                Cells::Text(cells) => match place {
                    Some(place) => rows.texts(place, cells),
                    None => pad(cells, rows.len(), StrRef::ABSENT),
                },
                Cells::Integer(cells) => match place {
                    Some(place) => rows.integers(place, cells),
                    None => pad(cells, rows.len(), ABSENT_INT),
                },
            };
        }
        while bad != 0 {
            let row = window.base + bad.trailing_zeros() as usize;
            self.blank(row);
            self.bad.push(row);
            bad &= bad - 1;
        }
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

    fn skip(&mut self, rows: usize) {
        match self {
            Self::Text(cells) => pad(cells, rows, StrRef::ABSENT),
            Self::Integer(cells) => pad(cells, rows, ABSENT_INT),
        };
    }

    /// Appends a cell for every row, each from a place of its own; gives the rows whose value is no number.
    fn extend_mixed(&mut self, rows: &Rows<'_>, place: impl Fn(usize) -> Option<usize>) -> u64 {
        let mut bad = 0;
        for (row, edges) in rows.edges.chunks_exact(rows.stride).enumerate() {
            let place = place(row);
            match self {
                Self::Text(cells) => {
                    cells.push(place.map_or(StrRef::ABSENT, |place| rows.text(edges, place)))
                }
                Self::Integer(cells) => {
                    let number = place.map_or(Some(ABSENT_INT), |place| rows.integer(edges, place));
                    cells.push(number.unwrap_or(ABSENT_INT));
                    bad |= u64::from(number.is_none()) << row;
                }
            }
        }
        bad
    }
}

fn pad<T: Clone>(cells: &mut Vec<T>, rows: usize, absent: T) -> u64 {
    cells.resize(cells.len() + rows, absent);
    0
}

/// The edges of a window's rows, `stride` of them for each.
struct Rows<'a> {
    bytes: &'a [u8],
    page: u32,
    edges: &'a [u32],
    stride: usize,
}

// === impl Rows ===

impl Rows<'_> {
    fn len(&self) -> usize {
        self.edges.len() / self.stride
    }

    /// Appends the text at `place` of every row.
    fn texts(&self, place: usize, cells: &mut Vec<StrRef>) -> u64 {
        cells.extend(self.edges.chunks_exact(self.stride).map(|edges| self.text(edges, place)));
        0
    }

    /// Appends the number at `place` of every row; gives the rows whose value is none.
    fn integers(&self, place: usize, cells: &mut Vec<i64>) -> u64 {
        let mut bad = 0;
        cells.extend(self.edges.chunks_exact(self.stride).enumerate().map(|(row, edges)| {
            self.integer(edges, place).unwrap_or_else(|| {
                bad |= 1 << row;
                ABSENT_INT
            })
        }));
        bad
    }

    #[inline]
    fn text(&self, edges: &[u32], place: usize) -> StrRef {
        let (offset, end) = (edges[2 * place], edges[2 * place + 1]);
        let len = end - offset;
        if len <= 1 && self.is_absent(offset, end) {
            StrRef::ABSENT
        } else {
            StrRef { page: self.page, offset, len }
        }
    }

    #[inline]
    fn integer(&self, edges: &[u32], place: usize) -> Option<i64> {
        let (start, end) = (edges[2 * place], edges[2 * place + 1]);
        // A number first: asking for `-` first is a branch that one-digit numbers make hard to guess.
        if start < end
            && let Some(number) = parse_i64(self.bytes, start as usize, end as usize)
        {
            return Some(number);
        }
        self.is_absent(start, end).then_some(ABSENT_INT)
    }

    /// Whether the value stands for none: `-`, or the empty value of a row that is not parsed.
    #[inline]
    fn is_absent(&self, start: u32, end: u32) -> bool {
        start == end || (end - start == 1 && self.bytes[start as usize] == b'-')
    }
}
