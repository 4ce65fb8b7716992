//! The search tree of a database: which record an address has. The format is that of MaxMind's specification 2.0:
//! a node is two numbers of 24, 28 or 32 bits, each another node, "no record", or an offset in the data section.
//!
//! A tree of real size (14.8 million nodes, 103 MB) fits into no processor cache, so a walk is a dozen cache misses. Hence
//! a table replaces the first 16 or 18 steps of an IPv4 address, the walks of several addresses are interleaved so that
//! their misses overlap, and the offsets that were found are cached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A database's bytes, shared by the tree and the reader of records.
#[derive(Clone)]
pub(crate) struct Bytes(Arc<Vec<u8>>);

/// The tree.
pub(crate) struct Tree {
    bytes: Bytes,
    size: NodeSize,
    /// How many nodes there are. A lower number is a node, this number is "no record", a higher one is an offset.
    pub(crate) nodes: u32,
    /// The data section, as a range of the bytes.
    data: std::ops::Range<usize>,
    has_v6: bool,
    /// The number that the first bits of an IPv4 address lead to.
    v4: Box<[u32]>,
    /// How many bits the table covers.
    v4_bits: u32,
    /// A direct-mapped cache of lookups: the IPv4 address in the upper half, below it its record's offset plus two (1 for
    /// no record, 0 for an empty slot). A slot is one number, so any thread may write it at any time.
    cache: Box<[AtomicU64]>,
}

/// The size of a node's two numbers; the value is the bytes of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeSize {
    Bits24 = 6,
    Bits28 = 7,
    Bits32 = 8,
}

/// How many zero bytes separate the tree from the data.
const SEPARATOR: u32 = 16;
/// How many walks are interleaved: about as many cache misses as a core can have outstanding.
const LANES: usize = 16;
/// A tree with more nodes has a table for 18 bits (1 MB), a smaller one for 16. A table for 20 bits (4 MB) would save 1 to
/// 3 % of a run's CPU, but with it the peak of memory was 45 MiB above the database, and the goal is 40.
const MANY_NODES: u32 = 1_000_000;
/// The cache has 65,536 slots in half a megabyte: room for most of the 60,000 addresses that a busy network talks to
/// again and again.
const CACHE_BITS: u32 = 16;

// === impl Bytes ===

impl Bytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for Bytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

// === impl Tree ===

impl Tree {
    /// The tree of a database with these metadata. `data_end` is where the data section ends at the latest. Every node
    /// is verified; the error names the first one that leads nowhere.
    pub(crate) fn new(
        bytes: Bytes,
        nodes: u32,
        record_size: u16,
        ip_version: u16,
        data_end: usize,
    ) -> Result<Self, String> {
        let size = match record_size {
            24 => NodeSize::Bits24,
            28 => NodeSize::Bits28,
            32 => NodeSize::Bits32,
            other => return Err(format!("its tree has numbers of {other} bits, expected 24, 28 or 32")),
        };
        let data_start = nodes as usize * size as usize + SEPARATOR as usize;
        let data = data_end.checked_sub(data_start).and_then(|length| u32::try_from(length).ok());
        let data = data.ok_or_else(|| format!("its {nodes} nodes reach beyond the end of the file"))?;
        let separator = &bytes.as_ref()[data_start - SEPARATOR as usize..data_start];
        if separator.iter().any(|byte| *byte != 0) {
            return Err(format!("behind its {nodes} nodes there is something else than the data"));
        }
        let cache = (0..1 << CACHE_BITS).map(|_| AtomicU64::new(0)).collect();
        let (v4, section, has_v6) = (Box::default(), data_start..data_end, ip_version == 6);
        let mut tree = Self { bytes, size, nodes, data: section, has_v6, v4, v4_bits: 0, cache };
        tree.verify(data)?;
        tree.make_table(if nodes > MANY_NODES { 18 } else { 16 });
        Ok(tree)
    }

    /// Fills the table for so many bits of an IPv4 address, level by level, so that the misses of one level overlap.
    pub(crate) fn make_table(&mut self, bits: u32) {
        let mut table = vec![0; 1 << bits];
        table[0] = (0..if self.has_v6 { 96 } else { 0 }).fold(0, |node, _| self.step(node, 0));
        for known in (0..bits).map(|bits| 1 << bits) {
            // From the end, so that no entry is overwritten before it is read.
            for at in (0..known).rev() {
                let number = table[at];
                table[2 * at] = self.step(number, 0);
                table[2 * at + 1] = self.step(number, 1);
            }
        }
        (self.v4, self.v4_bits) = (table.into(), bits);
    }

    /// Verifies all nodes in one pass, in their order.
    fn verify(&self, data: u32) -> Result<(), String> {
        let nodes = self.nodes;
        let first = nodes.saturating_add(SEPARATOR);
        let is_good = |number: u32| (number <= nodes) | (number.wrapping_sub(first) < data);
        // A node is read as eight bytes; those of the last one reach into the separator.
        let all = &self.bytes.as_ref()[..self.data.start];
        let bad = match self.size {
            NodeSize::Bits24 => {
                first_bad(all, nodes, 6, is_good, |node| [node >> 40, node >> 16 & 0xff_ffff])
            }
            NodeSize::Bits28 => first_bad(all, nodes, 7, is_good, |node| {
                [node >> 40 | (node >> 36 & 15) << 24, node >> 8 & 0xfff_ffff]
            }),
            NodeSize::Bits32 => first_bad(all, nodes, 8, is_good, |node| [node >> 32, node & 0xffff_ffff]),
        };
        match bad {
            Some(node) => Err(format!("node {node} of its tree leads to no place in the data")),
            None => Ok(()),
        }
    }

    /// The offsets of the records of IPv4 addresses, plus one; 0 where there is none.
    pub(crate) fn find_v4(&self, addresses: &[u32], offsets: &mut [u32]) {
        let mut missed: Vec<u32> = vec![0; addresses.len()];
        let mut count = 0;
        // No branch on what the cache holds, so that the misses of all addresses overlap.
        for (at, (address, offset)) in addresses.iter().zip(offsets.iter_mut()).enumerate() {
            let slot = self.cache[slot_of(*address)].load(Ordering::Relaxed);
            *offset = (slot as u32).wrapping_sub(1);
            let is_cached = ((slot >> 32) as u32 == *address) & (slot as u32 != EMPTY);
            missed[count] = at as u32;
            count += usize::from(!is_cached);
        }
        for missed in missed[..count].chunks(LANES) {
            let mut lanes = [(0, 0u32, 0u32); LANES];
            for (lane, at) in lanes.iter_mut().zip(missed) {
                let address = addresses[*at as usize];
                let first = self.v4[(address >> (32 - self.v4_bits)) as usize];
                *lane = (*at as usize, address << self.v4_bits, first);
            }
            self.walk(&mut lanes[..missed.len()], addresses, offsets);
        }
    }

    /// Interleaves the walks of several addresses. A lane is an address's index, its bits that are left, and its number.
    fn walk(&self, lanes: &mut [(usize, u32, u32)], addresses: &[u32], offsets: &mut [u32]) {
        match self.size {
            NodeSize::Bits24 => self.walk_by(lanes, child_24),
            NodeSize::Bits28 => self.walk_by(lanes, child_28),
            NodeSize::Bits32 => self.walk_by(lanes, child_32),
        }
        for (at, _, number) in lanes {
            let offset = self.offset(*number).map_or(0, |offset| offset + 1);
            offsets[*at] = offset;
            let address = addresses[*at];
            self.cache[slot_of(address)]
                .store(u64::from(address) << 32 | u64::from(offset + 1), Ordering::Relaxed);
        }
    }

    #[inline]
    fn walk_by(&self, lanes: &mut [(usize, u32, u32)], child: impl Fn(&[u8], u32, u32) -> u32) {
        let bytes = self.bytes.as_ref();
        for _ in self.v4_bits..32 {
            let mut is_done = true;
            for (_, bits, number) in lanes.iter_mut() {
                if *number < self.nodes {
                    *number = child(bytes, *number, *bits >> 31);
                    *bits <<= 1;
                    is_done = false;
                }
            }
            if is_done {
                return;
            }
        }
    }

    /// The offset of the record of an IPv6 address, plus one; 0 if there is none.
    pub(crate) fn find_v6(&self, address: u128) -> u32 {
        if !self.has_v6 {
            return 0;
        }
        let mut number = 0;
        let mut bits = address;
        for _ in 0..128 {
            if number >= self.nodes {
                break;
            }
            number = self.step(number, (bits >> 127) as u32);
            bits <<= 1;
        }
        self.offset(number).map_or(0, |offset| offset + 1)
    }

    /// The data section.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes.as_ref()[self.data.clone()]
    }

    /// The offsets in all nodes, in the nodes' order; most come several times.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u32> {
        (0..self.nodes).flat_map(|node| [0, 1].map(|bit| self.offset(self.step(node, bit)))).flatten()
    }

    /// The offset that a number means. A node at which the address ends means no record.
    #[inline]
    fn offset(&self, number: u32) -> Option<u32> {
        number.checked_sub(self.nodes)?.checked_sub(SEPARATOR)
    }

    fn step(&self, number: u32, bit: u32) -> u32 {
        let bytes = self.bytes.as_ref();
        match self.size {
            _ if number >= self.nodes => number,
            NodeSize::Bits24 => child_24(bytes, number, bit),
            NodeSize::Bits28 => child_28(bytes, number, bit),
            NodeSize::Bits32 => child_32(bytes, number, bit),
        }
    }
}

/// The first node with a number that is not good. `both` takes a node's numbers out of eight bytes that begin with it.
/// There is one branch for a stretch of nodes, not for each.
#[inline]
fn first_bad(
    all: &[u8],
    count: u32,
    length: usize,
    is_good: impl Fn(u32) -> bool,
    both: impl Fn(u64) -> [u64; 2],
) -> Option<usize> {
    const STRETCH: usize = 256;
    let count = count as usize;
    let is_good_node = |node: &[u8]| {
        let [left, right] = both(u64::from_be_bytes(node.try_into().unwrap_or_default()));
        is_good(left as u32) & is_good(right as u32)
    };
    let is_bad_stretch = |first: &usize| {
        let end = count.min(first + STRETCH);
        let nodes = all[first * length..(end - 1) * length + 8].windows(8).step_by(length);
        !nodes.fold(true, |all_good, node| all_good & is_good_node(node))
    };
    let stretch = (0..count).step_by(STRETCH).find(is_bad_stretch)?;
    (stretch..count).find(|node| !is_good_node(&all[node * length..][..8]))
}

/// The lower half of an empty slot.
const EMPTY: u32 = 0;

#[inline]
fn slot_of(address: u32) -> usize {
    (address.wrapping_mul(0x9e37_79b9) >> (32 - CACHE_BITS)) as usize
}

#[inline]
fn child_24(bytes: &[u8], node: u32, bit: u32) -> u32 {
    let number = &bytes[node as usize * 6 + bit as usize * 3..][..3];
    u32::from_be_bytes([0, number[0], number[1], number[2]])
}

#[inline]
fn child_28(bytes: &[u8], node: u32, bit: u32) -> u32 {
    let node = &bytes[node as usize * 7..][..7];
    let at = bit as usize * 4;
    let high = node[3] >> (4 - bit * 4) & 15;
    u32::from_be_bytes([high, node[at], node[at + 1], node[at + 2]])
}

#[inline]
fn child_32(bytes: &[u8], node: u32, bit: u32) -> u32 {
    let number = &bytes[node as usize * 8 + bit as usize * 4..][..4];
    u32::from_be_bytes([number[0], number[1], number[2], number[3]])
}
