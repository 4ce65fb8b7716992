//! The body of a reply as it arrives, within bounds that the other end cannot move: long texts are cut short on the way,
//! and what stays long is an error.

/// Texts beyond this are cut: enough of a reason to act on. In a long reply all texts but the first ones are cut shorter,
/// for thousands of rows that failed mostly failed alike.
const TEXT: usize = 512;
const SHORT_TEXT: usize = 48;
/// A body with so many bytes is a long one.
pub(crate) const LONG: usize = 256 << 10;
/// A reply has no more bytes than these, whatever is kept of it.
const MOST_READ: usize = 64 << 20;

/// How much a reply may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Bytes that are kept.
    bytes: usize,
    /// Values, each of which takes more memory when it is parsed than in the text.
    values: usize,
    /// Whether texts may be cut.
    cuts: bool,
}

/// A body that grows within its bound.
#[derive(Debug)]
pub(crate) struct Reply {
    body: Vec<u8>,
    bound: Bound,
    read: usize,
    values: usize,
    /// Where in a text the last byte was; `None` outside of one.
    text: Option<Text>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Text {
    length: usize,
    /// Bytes that belong to an escape that has begun.
    escape: u8,
    cut: bool,
}

/// The other end says more than there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

// === impl Bound ===

impl Bound {
    /// For the reply to a bulk request of so many rows: each item is a few words.
    pub(crate) fn of_rows(rows: usize) -> Self {
        let bytes = rows.saturating_mul(384).saturating_add(2 * LONG);
        Self { bytes, values: rows.saturating_mul(48).saturating_add(4096), cuts: true }
    }

    /// For the replies to administrative requests: lists of templates are the longest.
    pub(crate) fn of_admin() -> Self {
        Self { bytes: 4 << 20, values: 1 << 18, cuts: false }
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn new(bound: Bound) -> Self {
        Self { body: Vec::new(), bound, read: 0, values: 0, text: None }
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// So many bytes came that nobody needs.
    pub(crate) fn skip(&mut self, bytes: usize) -> Result<(), TooLong> {
        self.read = self.read.saturating_add(bytes);
        if self.read > MOST_READ { Err(TooLong) } else { Ok(()) }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        self.skip(chunk.len())?;
        for &byte in chunk {
            if self.keeps(byte) {
                self.body.push(byte);
            }
        }
        let fits = self.body.len() <= self.bound.bytes && self.values <= self.bound.values;
        if fits { Ok(()) } else { Err(TooLong) }
    }

    /// Whether this byte is kept: it is not when it lies in a text behind the place where that was cut.
    fn keeps(&mut self, byte: u8) -> bool {
        let longest = if self.body.len() < LONG { TEXT } else { SHORT_TEXT };
        let Some(text) = &mut self.text else {
            match byte {
                b'"' => self.text = Some(Text::default()),
                b',' | b':' | b'[' | b'{' => self.values += 1,
                _ => {}
            }
            return true;
        };
        if text.escape > 0 {
            // `\uXXXX` has four more.
            text.escape = if text.escape == 1 && byte == b'u' { 5 } else { text.escape - 1 };
            text.escape -= u8::from(text.escape == 5);
        } else if byte == b'"' {
            self.text = None;
            return true;
        } else {
            // No character is cut in two, nor a pair of escapes that make up one.
            let begins = byte & 0xc0 != 0x80;
            text.cut |=
                self.bound.cuts && begins && text.length >= longest && !ends_in_half_a_pair(&self.body);
            text.escape = u8::from(byte == b'\\');
        }
        text.length += 1;
        !text.cut
    }
}

fn ends_in_half_a_pair(body: &[u8]) -> bool {
    matches!(body, [.., b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str, rows: usize, chunk: usize) -> Result<Vec<u8>, TooLong> {
        let mut reply = Reply::new(Bound::of_rows(rows));
        for chunk in text.as_bytes().chunks(chunk) {
            reply.push(chunk)?;
            // Vec doubles.
            assert!(reply.body.capacity() <= 2 * (Bound::of_rows(rows).bytes + chunk.len()));
        }
        Ok(reply.into_body())
    }

    fn failed(rows: usize, reason: &str) -> String {
        let item = json!({"create": {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": reason,
            "caused_by": {"type": "illegal_argument_exception", "reason": reason}}}});
        json!({"errors": true, "items": vec![item; rows]}).to_string()
    }

    #[test]
    fn what_is_short_is_kept_as_it_is_however_it_is_cut_into_chunks() {
        let text = failed(3, "a \"quoted\" \\ text, [with] {brackets}: \u{e9}\u{1f600}");
        for chunk in [1, 2, 3, 7, 1000] {
            assert_eq!(read(&text, 3, chunk).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn long_reasons_are_cut_and_the_reply_is_still_json() {
        let raw = r#"{"a":"#.to_owned() + "\"" + &r"\ud83d\ude00\n\\".repeat(300) + r#"","b":1}"#;
        for length in 500..530 {
            for filler in ["x", "\u{e9}", "\u{1f600}", "\\", "\""] {
                let reason = "y".repeat(length) + &filler.repeat(40_000 / filler.len());
                let kept = read(&failed(100, &reason), 1000, 4096).unwrap();
                let value: Value = serde_json::from_slice(&kept).unwrap();
                let reason = value["items"][99]["create"]["error"]["reason"].as_str().unwrap();
                assert!((48..600).contains(&reason.len()) && reason.starts_with('y'), "{}", reason.len());
            }
        }
        for pad in 0..20 {
            let raw = raw.replacen("\\ud", &format!("{}\\ud", "p".repeat(pad)), 1);
            let kept = read(&raw, 1, 11).unwrap();
            assert!(kept.len() < 600);
            assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap()["b"], 1);
        }
    }

    #[test]
    fn a_request_of_which_every_row_failed_is_understood() {
        let text = failed(10_000, &"failed to parse field [x] of type [ip] in document with id".repeat(5));
        assert!(text.len() > 6 << 20);
        let kept = read(&text, 10_000, 1 << 14).unwrap();
        assert!(kept.len() < 4 << 20, "{}", kept.len());
        let value: Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(value["items"].as_array().unwrap().len(), 10_000);
    }

    #[test]
    fn a_reply_that_is_only_long_is_an_error_before_it_is_large() {
        let long = "x".repeat(60 << 20);
        for text in [
            long.as_str(),
            &" ".repeat(60 << 20),
            &"[".repeat(1 << 20),
            &"1,".repeat(1 << 20),
            &failed(20_000, "r"),
        ] {
            assert_eq!(read(text, 100, 1 << 14), Err(TooLong), "{}", &text[..10]);
        }
        let mut endless = Reply::new(Bound::of_rows(1));
        assert!(
            (0..1 << 20)
                .any(|_| endless.push(b"\"a text that never ends, and is cut all the while").is_err())
        );
    }
}
