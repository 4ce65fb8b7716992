//! Values in the data section of a database, read where they lie: MaxMind's specification 2.0, as much of it as
//! records use. The library decodes by the address only, which is a second walk through the tree, and twice as slow;
//! a test compares the two on records of every kind.

use std::str;

/// What cannot be read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) &'static str);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Reads value after value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    /// How many members and items more may be read.
    left: u32,
}

/// What a value says of itself before it comes: its type and its length (members of a map, items of a list, bytes).
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
/// A record has no more members and items, whatever it points at; those of MaxMind's Enterprise have some hundred. A
/// few hundred bytes of maps that point at maps could otherwise be read for years.
const MOST_VALUES: u32 = 4096;
const CUT: Damaged = Damaged("a value reaches beyond the end of the data");

// === impl Cursor ===

impl<'a> Cursor<'a> {
    /// Before the value at a place.
    pub(crate) fn new(data: &'a [u8], place: u32) -> Self {
        Self { data, at: place as usize, left: MOST_VALUES }
    }

    /// Another member or item comes.
    #[inline]
    fn count(&mut self) -> Result<(), Damaged> {
        self.left = self.left.checked_sub(1).ok_or(Damaged("a record has too many values"))?;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let end = self.at.checked_add(length).ok_or(CUT)?;
        let bytes = self.data.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(bytes)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Damaged> {
        let byte = *self.data.get(self.at).ok_or(CUT)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self, length: usize) -> Result<u64, Damaged> {
        let bytes = self.take(length)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The head of the next value; that of a pointer has the place it leads to as its length.
    #[inline]
    fn head(&mut self) -> Result<Head, Damaged> {
        let control = self.byte()?;
        let (kind, low) = (control >> 5, usize::from(control & 31));
        if kind == POINTER {
            let high = (low & 7) as u64;
            let place = match low >> 3 {
                0 => high << 8 | self.number(1)?,
                1 => (high << 16 | self.number(2)?) + 2048,
                2 => (high << 24 | self.number(3)?) + 526_336,
                _ => self.number(4)?,
            };
            return Ok(Head { kind, length: place as usize });
        }
        let kind = if kind == 0 { self.byte()?.saturating_add(7) } else { kind };
        let length = match low {
            29 => 29 + self.number(1)? as usize,
            30 => 285 + self.number(2)? as usize,
            31 => 65_821 + self.number(3)? as usize,
            length => length,
        };
        Ok(Head { kind, length })
    }

    /// The next value, or the one it points at, read by `read`, which must read all of it.
    #[inline]
    fn value<T>(&mut self, read: impl FnOnce(&mut Self, Head) -> Result<T, Damaged>) -> Result<T, Damaged> {
        let head = self.head()?;
        if head.kind != POINTER {
            return read(self, head);
        }
        let mut there = Self { at: head.length, ..*self };
        match there.head()? {
            Head { kind: POINTER, .. } => Err(Damaged("a pointer leads to a pointer")),
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
        self.value(|cursor, head| match head.kind {
            TEXT => str::from_utf8(cursor.take(head.length)?).map_err(|_| Damaged("a text is not UTF-8")),
            _ => Err(Damaged("something else stands where a text must")),
        })
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
            (U16 | U32 | I32 | U64 | DOUBLE | FLOAT, _) => Err(Damaged("a number has an impossible length")),
            _ => Err(Damaged("something else stands where a number must")),
        }
    }

    /// Yes or no; of a number, whether it is not 0.
    pub(crate) fn flag(&mut self) -> Result<bool, Damaged> {
        self.value(|cursor, head| match (head.kind, head.length) {
            (FLAG, 0 | 1) => Ok(head.length == 1),
            (FLAG, _) => Err(Damaged("a flag is neither yes nor no")),
            _ => Ok(cursor.whole_of(head)? != 0),
        })
    }

    /// A map: `read` is given each name, and must read or skip the value behind it.
    #[inline]
    pub(crate) fn map(
        &mut self,
        mut read: impl FnMut(&'a str, &mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        self.value(|cursor, head| match head.kind {
            MAP => cursor.members(head.length, &mut read),
            _ => Err(Damaged("something else stands where a map must")),
        })
    }

    /// A map, or a text that is given to `text`.
    pub(crate) fn map_or_text(
        &mut self,
        mut read: impl FnMut(&'a str, &mut Self) -> Result<(), Damaged>,
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
        read: &mut impl FnMut(&'a str, &mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        for _ in 0..count {
            self.count()?;
            let name = self.text()?;
            read(name, self)?;
        }
        Ok(())
    }

    /// A list: `read` must read or skip each item.
    pub(crate) fn list(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        self.value(|cursor, head| match head.kind {
            LIST => (0..head.length).try_for_each(|_| {
                cursor.count()?;
                read(cursor)
            }),
            _ => Err(Damaged("something else stands where a list must")),
        })
    }

    /// Steps over a value.
    pub(crate) fn skip(&mut self) -> Result<(), Damaged> {
        self.skip_at(MOST_DEPTH)
    }

    fn skip_at(&mut self, depth: u32) -> Result<(), Damaged> {
        let head = self.head()?;
        let values = match head.kind {
            POINTER | FLAG => return Ok(()),
            TEXT | DOUBLE | BYTES | U16 | U32 | I32 | U64 | U128 | FLOAT => {
                return self.take(head.length).map(|_| ());
            }
            MAP => head.length * 2,
            LIST => head.length,
            _ => return Err(Damaged("a value is of no known type")),
        };
        let depth = depth.checked_sub(1).ok_or(Damaged("values nest too deep"))?;
        (0..values).try_for_each(|_| {
            self.count()?;
            self.skip_at(depth)
        })
    }
}
