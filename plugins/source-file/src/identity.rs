//! Which file is which: by what is in it, not by its name or inode, and never the same identity twice.
//!
//! # What an id must do
//!
//! A record's id is a hash of its file's seed, its offset in the uncompressed stream and its bytes ([`LineIds`]). A
//! sink creates documents under these ids, and takes "exists already" (409) for "delivered before". So
//!
//! * the same record read again, after a crash, under another name or out of a `.gz`, must get the same id: the seed
//!   belongs to the content and moves with it;
//! * another record must never get that id, even if it has the same bytes at the same offset: otherwise a file that
//!   was truncated and written anew with the same first lines would lose them to a 409 that nobody sees.
//!
//! Neither name nor inode can carry that: names rotate, inodes are used again at once, truncation keeps both. The
//! content alone cannot either, as the second point shows. Hence a seed of two parts, [`FileId`]:
//!
//! 1. The *birth hash*: a hash of the first bytes up to the end of the first record ([`birth_hash`]). It exists before
//!    the first record can be handed out, growth does not change it, and the same file read by a flowstone that has
//!    lost its state gets it again, so that its records are recognised. A header line alone is no identity (every S3
//!    file has the same): the first record behind it belongs to it.
//! 2. The *generation*: how many files with this birth hash there were before. A file that was rewritten begins
//!    generation 1. It is counted from the files in the state; a file is forgotten only after `floor` was raised above
//!    its generation, so no pair is ever given out a second time ([`crate::state::State::new_id`]).
//!
//! The pair is written to the state *before* the first record of a file leaves the source. From then on nothing about
//! the file needs to be guessed again: a replay finds the same seed there.
//!
//! # Recognising content
//!
//! * [`Head`]: hash of the first 4 KiB, or of fewer bytes with their number while the file is shorter; compared as a
//!   prefix and extended as the file grows, so that a growing line changes nothing.
//! * [`Checkpoint`]: a position with a digest of every line before it and a hash of the bytes right before it.
//!
//! The file that is open, or has the inode from the state, is checked by head and checkpoint at each look. A file with a
//! new inode takes over an identity only if *everything that was read* of the old one stands at its beginning: its
//! lines are read again, silently, and the digests compared. See [`crate::new_file`] for who is asked.

use std::sync::Arc;

use flowstone_core::event::RowId;
use flowstone_lines::{LineIds, flow_log_format};
use memchr::memchr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::reader::Beginning;

/// The head of a file: this many bytes.
pub(crate) const HEAD_BYTES: usize = 4096;

/// How many bytes before a position are remembered.
pub(crate) const ANCHOR_BYTES: usize = 256;

/// How many bytes of a head are kept for comparing with a shorter file.
const PREFIX_BYTES: usize = 256;

/// The identity of a file's content, never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    /// Hash of the beginning, up to the end of the first record.
    pub(crate) birth: u128,
    /// Tells files with the same beginning apart.
    pub(crate) generation: u64,
}

/// What is known of the beginning of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// How many bytes were hashed, at most [`HEAD_BYTES`].
    pub(crate) len: usize,
    pub(crate) hash: u64,
    /// The first of these bytes; empty if only the hash is known.
    prefix: Box<[u8]>,
}

/// A position in a file's stream, and evidence of what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The byte behind the last line.
    pub(crate) offset: u64,
    /// Digest of the ids of all lines before it.
    pub(crate) digest: u64,
    /// How many bytes right before it are hashed in `anchor`.
    pub(crate) anchor_len: usize,
    pub(crate) anchor: u64,
}

// === impl FileId ===

impl FileId {
    /// Names the file in positions and in the state: 32 hexadecimal digits, a dot, the generation.
    pub(crate) fn key(self) -> Arc<str> {
        format!("{:032x}.{}", self.birth, self.generation).into()
    }

    /// The id that `key` names.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (birth, generation) = key.split_once('.')?;
        Some(Self { birth: u128::from_str_radix(birth, 16).ok()?, generation: generation.parse().ok()? })
    }

    /// The ids of its lines.
    pub(crate) fn line_ids(self) -> LineIds {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.birth.to_le_bytes());
        bytes[16..].copy_from_slice(&self.generation.to_le_bytes());
        LineIds::new(xxh3_128(&bytes))
    }
}

/// The birth hash of a file with this head: of everything up to the end of its first record, but no more than the
/// head. `None` while that end is not there; with `complete` the file ends where `head` ends and its last line needs
/// no newline. `headers` says whether the first line may be a header.
pub(crate) fn birth_hash(head: &[u8], complete: bool, headers: bool) -> Option<u128> {
    let end_of_line = |from: usize| memchr(b'\n', &head[from..]).map(|newline| from + newline + 1);
    let first = end_of_line(0);
    let record = match first {
        Some(end) if headers && flow_log_format(text_of(&head[..end])).is_some() => end_of_line(end),
        other => other,
    };
    let end = match record {
        Some(end) => end,
        None if head.len() >= HEAD_BYTES || (complete && !head.is_empty()) => head.len(),
        None => return None,
    };
    Some(xxh3_128(&head[..end.min(HEAD_BYTES)]))
}

/// The format that a file's header line names, if its first line is one. With `complete` the line needs no newline.
pub(crate) fn header_of(head: &[u8], complete: bool) -> Option<Arc<str>> {
    let end = memchr(b'\n', head).or(complete.then_some(head.len()))?;
    flow_log_format(text_of(&head[..end])).map(Arc::from)
}

/// A file's first bytes without a byte order mark.
fn text_of(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)
}

// === impl Head ===

impl Head {
    /// The head of a file that begins with `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(HEAD_BYTES)];
        Self { len: bytes.len(), hash: xxh3_64(bytes), prefix: bytes[..bytes.len().min(PREFIX_BYTES)].into() }
    }

    /// A head of which only the hash is known.
    pub(crate) fn from_hash(len: usize, hash: u64) -> Self {
        Self { len, hash, prefix: Box::default() }
    }

    /// Whether a file with this beginning begins with this head.
    pub(crate) fn begins(&self, beginning: &Beginning) -> bool {
        // The hash of the whole beginning is there already; most files have heads of the same length.
        match beginning.bytes.get(..self.len) {
            Some(_) if self.len == beginning.head.len => self.hash == beginning.head.hash,
            Some(bytes) => bytes.starts_with(&self.prefix) && xxh3_64(bytes) == self.hash,
            None => false,
        }
    }

    /// Whether one of the two, this head and a file with this beginning, may be the beginning of the other.
    pub(crate) fn agrees(&self, beginning: &Beginning) -> bool {
        if beginning.head.len >= self.len {
            return self.begins(beginning);
        }
        let compared = self.prefix.len().min(beginning.head.len);
        self.prefix[..compared] == beginning.bytes[..compared]
    }

    /// Whether both are the same bytes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.len, self.hash) == (other.len, other.hash)
    }
}

// === impl Checkpoint ===

impl Checkpoint {
    /// The start of reading, where nothing was read.
    pub(crate) fn start(offset: u64) -> Self {
        Self { offset, digest: 0, anchor_len: 0, anchor: xxh3_64(b"") }
    }

    /// The checkpoint behind a batch that ends at `offset`, with the ids of its lines and the bytes it was made of.
    pub(crate) fn after(self, offset: u64, ids: impl Iterator<Item = RowId>, raw: &[u8]) -> Self {
        let last = &raw[raw.len().saturating_sub(ANCHOR_BYTES)..];
        Self {
            offset,
            digest: ids.fold(self.digest, digest_line),
            anchor_len: last.len(),
            anchor: xxh3_64(last),
        }
    }

    /// The same lines, with bytes behind them that are no line, up to `offset`; `last` are the last of all.
    pub(crate) fn moved_to(self, offset: u64, last: &[u8]) -> Self {
        Self { offset, anchor_len: last.len(), anchor: xxh3_64(last), ..self }
    }

    /// Whether `before`, the bytes right before the offset, are those that were there.
    pub(crate) fn fits(&self, before: &[u8]) -> bool {
        before.len() == self.anchor_len && xxh3_64(before) == self.anchor
    }
}

/// Adds a line to a digest of lines. The ids are hashes already; the order counts.
#[inline]
pub(crate) fn digest_line(digest: u64, id: RowId) -> u64 {
    let id = u128::from_be_bytes(id.0);
    (digest.rotate_left(23) ^ id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add((id >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::Stat;

    #[test]
    fn a_file_is_born_with_its_first_record_and_growth_does_not_change_it() {
        let header = "version account-id srcaddr\n";
        for (head, complete, headers, expect) in [
            ("", false, true, None),
            ("", true, true, None),
            ("one", false, true, None),
            ("one", true, true, Some("one")),
            ("one\n", false, true, Some("one\n")),
            ("one\ntwo\nthree", false, true, Some("one\n")),
            (header, false, true, None),
            (header, true, true, Some(header)),
            (header, false, false, Some(header)),
        ] {
            let birth = birth_hash(head.as_bytes(), complete, headers);
            assert_eq!(birth, expect.map(|bytes| xxh3_128(bytes.as_bytes())), "{head:?}");
        }
        let two = [header, "2 1 10.0.0.1\n", "2 1 10.0.0.2\n"].concat();
        let one = &two[..header.len() + 13];
        assert_eq!(birth_hash(one.as_bytes(), false, true), birth_hash(two.as_bytes(), false, true));
        let long = "x".repeat(HEAD_BYTES);
        assert_eq!(birth_hash(long.as_bytes(), false, true), Some(xxh3_128(long.as_bytes())));
        assert_eq!(birth_hash(&long.as_bytes()[1..], false, true), None);
    }

    #[test]
    fn generations_have_ids_of_their_own() {
        let first = FileId { birth: 1, generation: 0 };
        let second = FileId { birth: 1, generation: 1 };
        assert_ne!(first.line_ids().id(0, b"same"), second.line_ids().id(0, b"same"));
        assert_eq!(FileId::from_key(&second.key()), Some(second));
        for key in ["", "1", "x.1", "1.x"] {
            assert_eq!(FileId::from_key(key), None, "{key:?}");
        }
    }

    fn beginning(bytes: &[u8]) -> Beginning {
        let bytes = bytes[..bytes.len().min(HEAD_BYTES)].to_vec();
        let stat = Stat { dev: 0, ino: 0, size: 0, modified: 0, born: None };
        Beginning {
            head: Head::of(&bytes),
            bytes,
            whole: false,
            gzip: false,
            stat,
            folder: None,
            broken: None,
        }
    }

    #[test]
    fn a_head_is_compared_as_a_prefix() {
        let content: Vec<u8> = (0..10_000_u32).map(|byte| (byte % 251) as u8).collect();
        let head = Head::of(&content[..1000]);
        for (length, begins) in [(10_000, true), (1000, true), (999, false), (10, false), (0, false)] {
            assert_eq!(head.begins(&beginning(&content[..length])), begins, "{length}");
            assert!(head.agrees(&beginning(&content[..length])), "{length}");
        }
        let mut other = content.clone();
        other[10] += 1;
        for length in [10_000, 1000, 20] {
            assert!(!head.begins(&beginning(&other[..length])), "{length}");
            assert!(!head.agrees(&beginning(&other[..length])), "{length}");
        }
        assert_eq!(Head::of(&content).len, HEAD_BYTES);
        assert!(Head::from_hash(head.len, head.hash).begins(&beginning(&content)));
    }

    #[test]
    fn a_digest_depends_on_every_line_and_on_the_order() {
        let ids = LineIds::new(3);
        let digest = |lines: &[(u64, &[u8])]| {
            lines.iter().map(|(offset, line)| ids.id(*offset, line)).fold(0, digest_line)
        };
        let base = digest(&[(0, b"a"), (2, b"b")]);
        for other in [
            digest(&[(2, b"b"), (0, b"a")]),
            digest(&[(0, b"a")]),
            digest(&[(0, b"a"), (2, b"c")]),
            digest(&[(0, b"a"), (3, b"b")]),
        ] {
            assert_ne!(base, other);
        }
    }
}
