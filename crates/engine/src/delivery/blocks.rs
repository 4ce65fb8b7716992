//! Rows that wait as they lie on disk: blocks with a length and a checksum, found whatever lies between them.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use flowstone_core::Segment;
use xxhash_rust::xxh3::Xxh3;

use super::units::{Unit, count};

/// A block: these four bytes, a mark, the length of what follows the head, its checksum.
pub(super) const MAGIC: [u8; 4] = *b"\xf5\x9bBK";
pub(super) const HEAD: usize = 4 + 1 + 4 + 8;
/// Where in the head the mark is, and what it says when all rows of the block are taken. The checksum leaves it out.
pub(super) const MARK: u64 = 4;
pub(super) const TAKEN: u8 = 1;

/// What a block begins with.
pub(super) struct Preface {
    pub(super) key: Arc<str>,
    pub(super) rows: u32,
    pub(super) since: i64,
}

// === impl Preface ===

impl Preface {
    /// Enough bytes for every preface: the longest key, and what stands beside it.
    const LONGEST: usize = u16::MAX as usize + 14;

    fn read(from: &mut &[u8]) -> Option<Self> {
        let length = from.try_get_u16_le().ok()? as usize;
        let key = std::str::from_utf8(from.get(..length)?).ok()?.into();
        from.advance(length);
        Some(Self { key, rows: from.try_get_u32_le().ok()?, since: from.try_get_i64_le().ok()? })
    }
}

pub(super) fn newest(units: &[Unit]) -> i64 {
    units.iter().filter_map(|unit| unit.since).max().unwrap_or_default()
}

/// Rows of one destination as they lie on disk.
pub(super) fn frame(key: &str, units: &[Unit]) -> Bytes {
    let mut frame = vec![0; HEAD];
    let key = &key[..key.floor_char_boundary(u16::MAX as usize)];
    frame.extend_from_slice(&(key.len() as u16).to_le_bytes());
    frame.extend_from_slice(key.as_bytes());
    frame.extend_from_slice(&(count(units) as u32).to_le_bytes());
    frame.extend_from_slice(&newest(units).to_le_bytes());
    for unit in units {
        frame.extend_from_slice(&unit.since.unwrap_or_default().to_le_bytes());
        frame.extend_from_slice(&unit.tries.to_le_bytes());
        let at = frame.len();
        frame.extend_from_slice(&[0; 4]);
        let segment = &unit.segment;
        if unit.rows.len() == segment.rows() {
            segment.write_to(&mut frame);
        } else {
            segment.copy_rows(&unit.rows).write_to(&mut frame);
        }
        let length = (frame.len() - at - 4) as u32;
        frame[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    let length = ((frame.len() - HEAD) as u32).to_le_bytes();
    let mut hash = Xxh3::new();
    hash.update(&length);
    hash.update(&frame[HEAD..]);
    let head = &mut frame[..HEAD];
    head[..4].copy_from_slice(&MAGIC);
    head[5..9].copy_from_slice(&length);
    head[9..].copy_from_slice(&hash.digest().to_le_bytes());
    frame.into()
}

/// Mark, length and checksum of a block.
pub(super) fn head(bytes: &[u8]) -> Option<(u8, [u8; 4], u64)> {
    let mut rest = bytes.get(..HEAD)?.strip_prefix(&MAGIC)?;
    let mark = rest.get_u8();
    let mut length = [0; 4];
    rest.copy_to_slice(&mut length);
    Some((mark, length, rest.get_u64_le()))
}

pub(super) fn is_whole(frame: &[u8]) -> bool {
    let Some((_, length, checksum)) = head(frame) else { return false };
    let mut hash = Xxh3::new();
    hash.update(&length);
    hash.update(&frame[HEAD..]);
    u32::from_le_bytes(length) as usize == frame.len() - HEAD && hash.digest() == checksum
}

/// The length, the mark and the preface of the block at this place, if it is whole. Holds little of it in memory.
pub(super) fn whole_block(file: &File, at: u64, end: u64) -> io::Result<Option<(u64, u8, Preface)>> {
    let mut bytes = [0; HEAD];
    if end - at < HEAD as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut bytes, at)?;
    let Some((mark, length, checksum)) = head(&bytes) else { return Ok(None) };
    let rest = u64::from(u32::from_le_bytes(length));
    if rest > end - at - HEAD as u64 {
        return Ok(None);
    }
    let mut hash = Xxh3::new();
    hash.update(&length);
    let mut preface = Vec::new();
    let mut chunk = [0; 1 << 14];
    let mut done = 0;
    while done < rest {
        let some = (rest - done).min(chunk.len() as u64) as usize;
        file.read_exact_at(&mut chunk[..some], at + HEAD as u64 + done)?;
        hash.update(&chunk[..some]);
        let missing = Preface::LONGEST.saturating_sub(preface.len());
        preface.extend_from_slice(&chunk[..some.min(missing)]);
        done += some as u64;
    }
    let preface = Preface::read(&mut preface.as_slice()).filter(|_| hash.digest() == checksum);
    Ok(preface.map(|preface| (HEAD as u64 + rest, mark, preface)))
}

/// Where the next whole block begins, from `at` on.
pub(super) fn next_block(file: &File, at: u64, end: u64) -> io::Result<Option<u64>> {
    let mut reader = BufReader::new(file.try_clone()?);
    reader.seek(SeekFrom::Start(at))?;
    let mut matched = 0;
    for (offset, byte) in reader.bytes().enumerate() {
        let byte = byte?;
        matched = if byte == MAGIC[matched] { matched + 1 } else { usize::from(byte == MAGIC[0]) };
        if matched == MAGIC.len() {
            matched = 0;
            let begin = at + offset as u64 + 1 - MAGIC.len() as u64;
            if whole_block(file, begin, end)?.is_some() {
                return Ok(Some(begin));
            }
        }
    }
    Ok(None)
}

/// The rows of a whole block: since when they wait, how often they failed, and themselves.
pub(super) fn units_of(frame: &[u8]) -> Option<Vec<(i64, u32, Segment)>> {
    let mut rest = frame.get(HEAD..)?;
    Preface::read(&mut rest)?;
    let mut units = Vec::new();
    while rest.has_remaining() {
        let (since, tries) = (rest.try_get_i64_le().ok()?, rest.try_get_u32_le().ok()?);
        let length = rest.try_get_u32_le().ok()? as usize;
        units.push((since, tries, Segment::read_from(rest.get(..length)?)?));
        rest.advance(length);
    }
    Some(units)
}
