//! Shared text that string cells point into.

use bytes::Bytes;
use bytestring::ByteString;

/// UTF-8 text shared by the string cells of a batch, and whether any of it needs escaping in JSON.
#[derive(Clone, Debug)]
pub struct Page {
    text: Text,
    clean: bool,
}

#[derive(Clone, Debug)]
enum Text {
    Shared(ByteString),
    Scratch(String),
}

/// Whether `text` holds a byte that JSON must escape (`"`, `\`, U+0000 to U+001F).
///
/// A long text in one pass without a branch per byte, so that the compiler uses vector instructions; a short one, such
/// as a field's name or a country's, eight bytes at once.
#[inline]
pub fn needs_escape(text: &[u8]) -> bool {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if text.len() <= 16 => escapes_in(*first) | escapes_in(*last),
        (None, _) => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some([a, b, c, d]), Some([e, f, g, h])) => escapes_in([*a, *b, *c, *d, *e, *f, *g, *h]),
            _ => text.iter().any(|byte| must_be_escaped(*byte)),
        },
        _ => text.iter().fold(false, |found, &byte| found | must_be_escaped(byte)),
    }
}

/// Whether JSON must escape it.
#[inline]
pub(crate) fn must_be_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Whether one of these bytes is below 0x20, `"` or `\`: a byte below `n` is the only one that `byte - n` borrows for,
/// unless one before it has.
#[inline]
fn escapes_in(bytes: [u8; 8]) -> bool {
    const EACH: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(bytes);
    let [quote, backslash] = [b'"', b'\\'].map(|byte| (word ^ (EACH * u64::from(byte))).wrapping_sub(EACH));
    (word.wrapping_sub(EACH * 0x20) | quote | backslash) & !word & (EACH * 0x80) != 0
}

impl Page {
    /// A page over `bytes`, or the bytes back if they are not UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Bytes> {
        match ByteString::try_from(bytes.clone()) {
            Ok(text) => Ok(Self::from_text(text)),
            Err(_) => Err(bytes),
        }
    }

    /// A page over `text`.
    pub fn from_text(text: impl Into<ByteString>) -> Self {
        let text = text.into();
        let clean = !needs_escape(text.as_bytes());
        Self { text: Text::Shared(text), clean }
    }

    /// A page of lines: a newline between cells does not count as something to escape, because no cell spans it.
    /// The caller promises that no string cell that points into this page contains a newline.
    pub fn of_lines(text: impl Into<ByteString>) -> Self {
        let text = text.into();
        let dirty = text
            .as_bytes()
            .iter()
            .fold(false, |found, &byte| found | (must_be_escaped(byte) & (byte != b'\n')));
        Self { text: Text::Shared(text), clean: !dirty }
    }

    /// [`Page::of_lines`] over `bytes`, or the bytes back if they are not UTF-8.
    pub fn of_lines_in(bytes: Bytes) -> Result<Self, Bytes> {
        match ByteString::try_from(bytes.clone()) {
            Ok(text) => Ok(Self::of_lines(text)),
            Err(_) => Err(bytes),
        }
    }

    /// An empty page that grows.
    pub(crate) fn scratch() -> Self {
        Self { text: Text::Scratch(String::new()), clean: true }
    }

    /// Appends to a scratch page and gives the offset and the length, or `None` if this page does not grow (any more).
    pub(crate) fn push(&mut self, text: &str) -> Option<(u32, u32)> {
        let Text::Scratch(page) = &mut self.text else { return None };
        let offset = u32::try_from(page.len()).ok()?;
        let len = u32::try_from(text.len()).ok()?;
        offset.checked_add(len)?;
        page.push_str(text);
        self.clean = self.clean && !needs_escape(text.as_bytes());
        Some((offset, len))
    }

    /// Makes a scratch page shareable without a copy of its text on each clone.
    pub(crate) fn freeze(&mut self) {
        if let Text::Scratch(page) = &mut self.text {
            self.text = Text::Shared(ByteString::from(std::mem::take(page)));
        }
    }

    /// The whole text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.text {
            Text::Shared(text) => text,
            Text::Scratch(text) => text,
        }
    }

    /// Whether nothing in the page needs escaping in JSON.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.clean
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_must_be_escaped_is_found(text in "[ -~]{0,40}|\\PC{0,20}|[ !\"#\\[\\\\\\]\u{1f}\u{7f}\u{80}\u{ff}]{0,20}", place in any::<prop::sample::Index>(), byte in 0u8..) {
            let mut text = text.into_bytes();
            let must = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            prop_assert_eq!(needs_escape(&text), text.iter().any(must));
            if !text.is_empty() {
                let place = place.index(text.len());
                text[place] = byte;
            }
            prop_assert_eq!(needs_escape(&text), text.iter().any(must), "{:?}", text);
        }
    }
}
