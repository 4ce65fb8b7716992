//! Values in the data section of a database, read where they lie: MaxMind's specification 2.0, as much of it as records
//! use.
//!
//! `maxminddb` 0.32 cannot decode at an offset that was kept: `LookupResult::offset` tells an offset, but no function
//! takes one. A `LookupResult` decodes without another walk, but only the library's own walk makes one, and it borrows the
//! reader, so no cache beside the reader can keep it. A test compares what the two read.

use std::str;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// A value reaches beyond the end of the data.
    Cut,
    /// A record has too many values.
    TooMany,
    /// A pointer leads to a pointer.
    PointerToPointer,
    /// A text is not UTF-8.
    NotUtf8,
    /// Something else stands where a text must.
    NoText,
    /// A number has an impossible length.
    NumberLength,
    /// Something else stands where a number must.
    NoNumber,
    /// A flag is neither yes nor no.
    Flag,
    /// Something else stands where a map must.
    NoMap,
    /// Something else stands where a list must.
    NoList,
    /// A value is of no known type.
    Type,
    /// Values nest too deep.
    Depth,
}

impl std::error::Error for Damaged {}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cut => "a value reaches beyond the end of the data",
            Self::TooMany => "a record has too many values",
            Self::PointerToPointer => "a pointer leads to a pointer",
            Self::NotUtf8 => "a text is not UTF-8",
            Self::NoText => "something else stands where a text must",
            Self::NumberLength => "a number has an impossible length",
            Self::NoNumber => "something else stands where a number must",
            Self::Flag => "a flag is neither yes nor no",
            Self::NoMap => "something else stands where a map must",
            Self::NoList => "something else stands where a list must",
            Self::Type => "a value is of no known type",
            Self::Depth => "values nest too deep",
        })
    }
}

/// Reads value after value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    /// How many more members and items may be read.
    left: u32,
}

/// The head of a value: its type and its length (members of a map, items of a list, bytes). Of a pointer the length is
/// the offset it points at.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    length: usize,
}

const POINTER: u8 = 1;
const TEXT: u8 = 2;
const DOUBLE: u8 = 3;
const BYTES: u8 = 4;
const U16: u8 = 5;
const U32: u8 = 6;
const MAP: u8 = 7;
const I32: u8 = 8;
const U64: u8 = 9;
const U128: u8 = 10;
const LIST: u8 = 11;
const FLAG: u8 = 14;
const FLOAT: u8 = 15;

/// Values nest no deeper.
const MOST_DEPTH: u32 = 64;
/// A record has no more members and items, those it points at included; MaxMind's Enterprise records have some hundred. A
/// few hundred bytes of maps that point at maps could otherwise be read for years.
const MOST_VALUES: u32 = 4096;

/// What is added to a pointer, by how many bytes it has.
const POINTER_BASES: [u64; 4] = [0, 2048, 526_336, 0];

/// The last bytes of the data, fewer than eight, and zeros behind them.
#[cold]
fn last_bytes(rest: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    u64::from_be_bytes(bytes)
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    /// A cursor before the value at an offset.
    pub(crate) fn new(data: &'a [u8], offset: u32) -> Self {
        Self { data, at: offset as usize, left: MOST_VALUES }
    }

    /// Counts a member or an item.
    #[inline]
    fn count(&mut self) -> Result<(), Damaged> {
        self.left = self.left.checked_sub(1).ok_or(Damaged::TooMany)?;
        Ok(())
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let end = self.at.checked_add(length).ok_or(Damaged::Cut)?;
        let bytes = self.data.get(self.at..end).ok_or(Damaged::Cut)?;
        self.at = end;
        Ok(bytes)
    }

    /// A number of `length` bytes, eight at most.
    #[inline]
    fn number(&mut self, length: usize) -> Result<u64, Damaged> {
        let word = self.word();
        self.take(length)?;
        Ok(if length == 0 { 0 } else { word >> (64 - 8 * length) })
    }

    /// The next eight bytes; zeros stand for those behind the end.
    #[inline(always)]
    fn word(&self) -> u64 {
        let rest = self.data.get(self.at..).unwrap_or_default();
        rest.first_chunk().map_or_else(|| last_bytes(rest), |bytes| u64::from_be_bytes(*bytes))
    }

    /// The head of the next value. A head beyond the end is noticed when the value is read.
    ///
    /// A record of a city has some sixty heads. A head is taken out of eight bytes that are read at once, without a branch
    /// on the length of a pointer. It is inlined, so that the processor predicts the kind of each member by itself: a
    /// record takes 440 ns; read byte by byte in one function for all it took 530.
    #[inline(always)]
    fn head(&mut self) -> Head {
        let word = self.word();
        let (kind, low) = ((word >> 61) as u8, (word >> 56 & 31) as u32);
        if kind == POINTER {
            let bytes = (low >> 3) + 1;
            self.at += 1 + bytes as usize;
            let high = if bytes < 4 { u64::from(low & 7) << (8 * bytes) } else { 0 };
            let offset = (word << 8 >> (64 - 8 * bytes) | high) + POINTER_BASES[(low >> 3) as usize];
            return Head { kind, length: offset as usize };
        }
        let (kind, bytes) = if kind == 0 { (((word >> 48) as u8).saturating_add(7), 2) } else { (kind, 1) };
        self.at += bytes;
        let behind = word << (8 * bytes);
        let (length, bytes) = match low {
            29 => (29 + (behind >> 56) as usize, 1),
            30 => (285 + (behind >> 48) as usize, 2),
            31 => (65_821 + (behind >> 40) as usize, 3),
            length => (length as usize, 0),
        };
        self.at += bytes;
        Head { kind, length }
    }

    /// The next value, or the one it points at. `read` must read all of it.
    #[inline]
    fn value<T>(&mut self, read: impl FnOnce(&mut Self, Head) -> Result<T, Damaged>) -> Result<T, Damaged> {
        let head = self.head();
        if head.kind != POINTER {
            return read(self, head);
        }
        let mut there = Self { at: head.length, ..*self };
        match there.head() {
            Head { kind: POINTER, .. } => Err(Damaged::PointerToPointer),
            head => {
                let value = read(&mut there, head)?;
                self.left = there.left;
                Ok(value)
            }
        }
    }

    /// Text.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Damaged> {
        str::from_utf8(self.bytes_of_text()?).map_err(|_| Damaged::NotUtf8)
    }

    #[inline(always)]
    fn bytes_of_text(&mut self) -> Result<&'a [u8], Damaged> {
        let head = self.head();
        if head.kind == POINTER {
            let mut there = Self { at: head.length, ..*self };
            let head = there.head();
            return there.bytes_of(head);
        }
        self.bytes_of(head)
    }

    #[inline(always)]
    fn bytes_of(&mut self, head: Head) -> Result<&'a [u8], Damaged> {
        match head.kind {
            TEXT => self.take(head.length),
            POINTER => Err(Damaged::PointerToPointer),
            _ => Err(Damaged::NoText),
        }
    }

    /// A number of any type, or text that is one.
    pub(crate) fn float(&mut self) -> Result<Option<f64>, Damaged> {
        self.value(|cursor, head| {
            Ok(match (head.kind, head.length) {
                (DOUBLE, 8) => Some(f64::from_bits(cursor.number(8)?)),
                // As its decimal digits say: 51.5142, not 51.514198303222656.
                (FLOAT, 4) => f32::from_bits(cursor.number(4)? as u32).to_string().parse().ok(),
                (TEXT, length) => {
                    str::from_utf8(cursor.take(length)?).ok().and_then(|text| text.parse().ok())
                }
                _ => Some(cursor.whole_of(head)? as f64),
            })
        })
    }

    /// A whole number that is not negative, of any type.
    pub(crate) fn whole(&mut self) -> Result<Option<u64>, Damaged> {
        self.value(|cursor, head| cursor.whole_of(head).map(|number| u64::try_from(number).ok()))
    }

    fn whole_of(&mut self, head: Head) -> Result<i128, Damaged> {
        match (head.kind, head.length) {
            (I32, 4) => Ok(i128::from(self.number(4)? as u32 as i32)),
            (U16, 0..=2) | (U32 | I32, 0..=4) | (U64, 0..=8) => Ok(i128::from(self.number(head.length)?)),
            (U16 | U32 | I32 | U64 | DOUBLE | FLOAT, _) => Err(Damaged::NumberLength),
            _ => Err(Damaged::NoNumber),
        }
    }

    /// Yes or no; of a number, whether it is not 0.
    pub(crate) fn flag(&mut self) -> Result<bool, Damaged> {
        self.value(|cursor, head| match (head.kind, head.length) {
            (FLAG, 0 | 1) => Ok(head.length == 1),
            (FLAG, _) => Err(Damaged::Flag),
            _ => Ok(cursor.whole_of(head)? != 0),
        })
    }

    /// A map. `read` is given each name, and must read or skip the value behind it.
    #[inline]
    pub(crate) fn map(
        &mut self,
        mut read: impl FnMut(&'a [u8], &mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        self.value(|cursor, head| match head.kind {
            MAP => cursor.members(head.length, &mut read),
            _ => Err(Damaged::NoMap),
        })
    }

    /// The offset that the next value points at, if it is a pointer.
    #[inline]
    pub(crate) fn pointer(mut self) -> Option<u32> {
        let head = self.head();
        (head.kind == POINTER).then(|| u32::try_from(head.length).ok()).flatten()
    }

    /// The offset of a text of the data, and its length.
    #[inline]
    pub(crate) fn span_of(&self, text: &str) -> (u32, u32) {
        (text.as_ptr().addr().wrapping_sub(self.data.as_ptr().addr()) as u32, text.len() as u32)
    }

    /// The text of this offset and length.
    #[inline]
    pub(crate) fn text_at(&self, (at, length): (u32, u32)) -> Option<&'a str> {
        str::from_utf8(self.data.get(at as usize..)?.get(..length as usize)?).ok()
    }

    /// The offset that the first member of a map points at, if its value is a pointer.
    pub(crate) fn first_pointer(mut self) -> Option<usize> {
        Some(self.head()).filter(|head| head.kind == MAP)?;
        // The name, or a pointer to it.
        self.skip().ok()?;
        Some(self.head()).filter(|head| head.kind == POINTER).map(|head| head.length)
    }

    /// A map, or a text that is given to `text`.
    pub(crate) fn map_or_text(
        &mut self,
        mut read: impl FnMut(&'a [u8], &mut Self) -> Result<(), Damaged>,
        text: impl FnOnce(&'a str),
    ) -> Result<(), Damaged> {
        let mut ahead = *self;
        match ahead.value(|_, head| Ok(head.kind))? {
            TEXT => {
                text(self.text()?);
                Ok(())
            }
            _ => self.map(&mut read),
        }
    }

    fn members(
        &mut self,
        count: usize,
        read: &mut impl FnMut(&'a [u8], &mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        for _ in 0..count {
            self.count()?;
            let name = self.bytes_of_text()?;
            read(name, self)?;
        }
        Ok(())
    }

    /// A list. `read` must read or skip each item.
    pub(crate) fn list(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        self.value(|cursor, head| match head.kind {
            LIST => (0..head.length).try_for_each(|_| {
                cursor.count()?;
                read(cursor)
            }),
            _ => Err(Damaged::NoList),
        })
    }

    /// Skips a value; what it points at is not read.
    pub(crate) fn skip(&mut self) -> Result<(), Damaged> {
        self.skip_at(MOST_DEPTH)
    }

    fn skip_at(&mut self, depth: u32) -> Result<(), Damaged> {
        let head = self.head();
        let values = match head.kind {
            POINTER | FLAG => return Ok(()),
            TEXT | DOUBLE | BYTES | U16 | U32 | I32 | U64 | U128 | FLOAT => {
                return self.take(head.length).map(|_| ());
            }
            MAP => head.length * 2,
            LIST => head.length,
            _ => return Err(Damaged::Type),
        };
        let depth = depth.checked_sub(1).ok_or(Damaged::Depth)?;
        (0..values).try_for_each(|_| {
            self.count()?;
            self.skip_at(depth)
        })
    }
}
