//! The identity of a row, from its source to the sink.

use xxhash_rust::xxh3::xxh3_128;

/// Sixteen bytes that name one record for ever: the same record read again has the same id, and no other record
/// ever gets it. Sinks use it as the document id, so a replay is recognised and nothing is written twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RowId(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl RowId {
    /// An id from a 128-bit hash.
    pub fn from_u128(hash: u128) -> Self {
        Self(hash.to_be_bytes())
    }

    /// An id from any bytes that identify the record.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_u128(xxh3_128(bytes))
    }

    /// The id of the `ordinal`-th row that a transform makes out of this one. `derive(0)` differs from the parent.
    #[must_use]
    pub fn derive(self, ordinal: u64) -> Self {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.0);
        bytes[16..].copy_from_slice(&ordinal.to_be_bytes());
        Self::of(&bytes)
    }

    /// The id of this row on the path that enters a sink through `branch`; used where two paths from one source
    /// meet in one sink, so that both documents arrive.
    #[must_use]
    pub fn on_branch(self, branch: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.0);
        bytes[16..].copy_from_slice(&branch.to_be_bytes());
        Self::of(&bytes)
    }

    /// Appends the id as 22 characters of base64url without padding (RFC 4648, section 5).
    pub fn write_text(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }

    /// The id as 22 characters of base64url without padding.
    pub fn text(self) -> [u8; 22] {
        let mut out = [0; 22];
        let value = u128::from_be_bytes(self.0);
        for (index, slot) in out.iter_mut().take(21).enumerate() {
            *slot = ALPHABET[(value >> (122 - 6 * index)) as usize & 63];
        }
        out[21] = ALPHABET[(value << 4) as usize & 63];
        out
    }
}

impl std::fmt::Display for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

impl std::fmt::Debug for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_base64url_without_padding() {
        assert_eq!(RowId([0; 16]).to_string(), "A".repeat(22));
        assert_eq!(RowId([0xff; 16]).to_string(), format!("{}w", "_".repeat(21)));
        assert_eq!(RowId(*b"0123456789abcdef").to_string(), "MDEyMzQ1Njc4OWFiY2RlZg");
    }

    #[test]
    fn derived_ids_differ_from_their_parent_and_each_other() {
        let id = RowId::of(b"x");
        assert_ne!(id.derive(0), id);
        assert_ne!(id.derive(0), id.derive(1));
        assert_eq!(id.derive(1), RowId::of(b"x").derive(1));
        assert_ne!(id.on_branch(1), id.on_branch(2));
    }
}
