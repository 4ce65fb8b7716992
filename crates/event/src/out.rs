//! A text that is written piece by piece into reserved room: short pieces are copied as whole registers, without a call,
//! and the next piece overwrites the excess.
//!
//! A document of a flow log is some eighteen names and values of a few bytes each. Appending them to a vector one by one
//! checks the capacity and stores the length for each: 2,000 instructions a document, of which this saves 500 (callgrind,
//! the bench's pipeline without GeoIP).

/// Most names and texts are no longer, and so many bytes are copied by two instructions.
pub(crate) const SHORT: usize = 32;
/// The longest integer is `-9223372036854775808`; the last eight of its digits may be written where fewer are.
const INT: usize = 28;
/// Room that is made when there is none.
const MORE: usize = 512;

/// Appends to a vector; [`Out::finish`] takes back the room that was not needed.
pub(crate) struct Out<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the text ends.
    at: usize,
}

/// A piece that is written again and again, padded for copies of a fixed length.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    bytes: Box<[u8]>,
    /// The beginning, behind it zeros.
    padded: [u8; SHORT],
}

/// The text of an integer.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    room: [u8; INT],
    length: usize,
}

// === impl Out ===

impl<'a> Out<'a> {
    /// Appends to these bytes, with so much room to begin with.
    pub(crate) fn new(bytes: &'a mut Vec<u8>, room: usize) -> Self {
        let at = bytes.len();
        bytes.resize(at + room, 0);
        Self { bytes, at }
    }

    /// Takes back the room that is left.
    pub(crate) fn finish(self) {
        self.bytes.truncate(self.at);
    }

    /// How long all of it is.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.at
    }

    /// Drops what was written from an offset on.
    pub(crate) fn truncate(&mut self, at: usize) {
        self.at = self.at.min(at);
    }

    /// Writes over a byte.
    pub(crate) fn put(&mut self, at: usize, byte: u8) {
        self.bytes[at] = byte;
    }

    /// The bytes behind the text, to write to.
    #[inline(always)]
    fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        if self.bytes.get(self.at..).is_none_or(|room| room.len() < N) {
            self.grow(N);
        }
        let room = self.bytes.get_mut(self.at..).and_then(|room| room.first_chunk_mut());
        room.unwrap_or_else(|| unreachable!("room was made"))
    }

    /// Appends a byte.
    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) {
        *self.room() = [byte];
        self.at += 1;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, room: usize) {
        self.bytes.resize(self.at + room + MORE, 0);
    }

    /// Appends bytes.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.bytes.len() < self.at + bytes.len() {
            self.grow(bytes.len());
        }
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// Appends what a function appends to the vector.
    #[inline(never)]
    pub(crate) fn with(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.truncate(self.at);
        append(self.bytes);
        self.at = self.bytes.len();
    }

    /// Appends a fragment.
    #[inline(always)]
    pub(crate) fn fragment(&mut self, fragment: &Fragment) {
        if fragment.bytes.len() > SHORT {
            return self.push(&fragment.bytes);
        }
        *self.room() = fragment.padded;
        self.at += fragment.bytes.len();
    }

    /// Appends a fragment, the first `length` of some bytes and `end`.
    #[inline(always)]
    pub(crate) fn short(&mut self, fragment: &Fragment, bytes: &[u8; SHORT], length: usize, end: u8) {
        let before = fragment.bytes.len();
        if before > SHORT || length > SHORT {
            self.push(&fragment.bytes);
            self.push(&bytes[..length]);
            return self.byte(end);
        }
        let room = self.room::<{ 2 * SHORT + 1 }>();
        room[..SHORT].copy_from_slice(&fragment.padded);
        room[before..before + SHORT].copy_from_slice(bytes);
        room[before + length] = end;
        self.at += before + length + 1;
    }

    /// Appends a fragment and an integer.
    #[inline(always)]
    pub(crate) fn int(&mut self, fragment: &Fragment, value: i64) {
        let before = fragment.bytes.len();
        if before > SHORT {
            self.push(&fragment.bytes);
            let length = write_int(value, self.room());
            self.at += length;
            return;
        }
        let room = self.room::<{ SHORT + INT }>();
        room[..SHORT].copy_from_slice(&fragment.padded);
        if let Some(room) = room[before..].first_chunk_mut() {
            self.at += before + write_int(value, room);
        }
    }
}

// === impl Fragment ===

impl Fragment {
    pub(crate) fn of(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        let mut padded = [0; SHORT];
        padded.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        Self { bytes, padded }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends it to a vector.
    #[inline]
    pub(crate) fn push_to(&self, out: &mut Vec<u8>) {
        if self.bytes.len() > SHORT {
            return out.extend_from_slice(&self.bytes);
        }
        let end = out.len() + self.bytes.len();
        out.extend_from_slice(&self.padded);
        out.truncate(end);
    }
}

// === impl Digits ===

impl Digits {
    /// Writes a number.
    #[inline]
    pub fn of(value: i64) -> Self {
        let mut room = [0; INT];
        let length = write_int(value, &mut room);
        Self { room, length }
    }

    /// The text as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Eight digits are written at once.
const EIGHT: u64 = 100_000_000;
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// Writes an integer and gives its length. Eight digits are worked out side by side in one number, and the zeros in
/// front are shifted out: numbers of flow logs have one to ten digits, so a branch on how many mispredicts.
#[inline(always)]
fn write_int(value: i64, room: &mut [u8; INT]) -> usize {
    let number = value.unsigned_abs();
    room[0] = b'-';
    let at = usize::from(value < 0);
    if number < EIGHT { at + write_first(number, at, room) } else { write_long(number, at, room) }
}

#[inline]
fn write_long(number: u64, mut at: usize, room: &mut [u8; INT]) -> usize {
    let (high, low) = (number / EIGHT, number % EIGHT);
    if high < EIGHT {
        at += write_first(high, at, room);
    } else {
        at += write_first(high / EIGHT, at, room);
        room[at..at + 8].copy_from_slice(&(digits(high % EIGHT) | ZEROS).to_le_bytes());
        at += 8;
    }
    room[at..at + 8].copy_from_slice(&(digits(low) | ZEROS).to_le_bytes());
    at + 8
}

/// Writes a number without zeros in front, and gives its length.
#[inline(always)]
fn write_first(number: u64, at: usize, room: &mut [u8; INT]) -> usize {
    let digits = digits(number);
    // Of 0 one is left.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    room[at..at + 8].copy_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
    8 - zeros as usize
}

/// The digits of a number below [`EIGHT`], the first one in the lowest byte: first two numbers of four digits, then four
/// of two, then eight of one. The products are the quotients for numbers of so many digits.
#[inline(always)]
fn digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = (fours * 10_486) >> 20 & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = (twos * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_have_their_digits(value in any::<i64>(), shift in 0u32..64) {
            prop_assert_eq!((digits(value.unsigned_abs() % EIGHT) | ZEROS).to_le_bytes().to_vec(), format!("{:08}", value.unsigned_abs() % EIGHT).into_bytes());
            for value in [value >> shift, -(value >> shift).saturating_abs(), i64::MIN, i64::MAX, 0, -1, 10i64.pow(shift % 19), 10i64.pow(shift % 19) - 1] {
                let mut bytes = Vec::new();
                let mut out = Out::new(&mut bytes, 0);
                out.int(&Fragment::of(*b"x:"), value);
                out.finish();
                prop_assert_eq!(String::from_utf8(bytes).unwrap(), format!("x:{value}"));
                prop_assert_eq!(Digits::of(value).as_bytes().to_vec(), value.to_string().into_bytes());
            }
        }

        #[test]
        fn pieces_of_any_length_follow_one_another(pieces in prop::collection::vec(("[a-z]{0,70}", "[0-9]{0,32}", 0u8..4), 0..40), room in 0usize..400) {
            let mut expected = "before".to_owned();
            let mut bytes = expected.clone().into_bytes();
            let mut out = Out::new(&mut bytes, room);
            for (piece, short, how) in &pieces {
                let fragment = Fragment::of(piece.as_bytes());
                expected += piece;
                match how {
                    0 => out.fragment(&fragment),
                    1 => {
                        let mut padded = [b'#'; SHORT];
                        padded[..short.len()].copy_from_slice(short.as_bytes());
                        out.short(&fragment, &padded, short.len(), b'!');
                        expected += short;
                        expected.push('!');
                    }
                    2 => out.with(|bytes| bytes.extend_from_slice(piece.as_bytes())),
                    _ => out.push(piece.as_bytes()),
                }
                prop_assert_eq!(out.len(), expected.len());
            }
            out.finish();
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
    }
}
