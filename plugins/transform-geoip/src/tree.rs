//! The search tree of a database: which record an address has. The format is that of MaxMind's specification 2.0:
//! nodes of two numbers of 24, 28 or 32 bits, each another node, nothing, or a place in the data section behind.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A database's bytes, shared by the tree and the reader of records.
#[derive(Clone)]
pub(crate) struct Bytes(Arc<Vec<u8>>);

/// The tree.
pub(crate) struct Tree {
    bytes: Bytes,
    size: NodeSize,
    /// Numbers below it are nodes, it itself is "nothing", and above are places in the data.
    nodes: u32,
    /// Length of the data section.
    data: u32,
    /// Where IPv4 addresses begin: the root, or what lies 96 zero bits below it.
    v4: u32,
    has_v6: bool,
}

/// What [`Tree::addresses`] knows of the nodes it has been to.
struct Walk {
    /// How many nodes stand one below the other from each node on; 0 while that is not known.
    heights: Vec<u8>,
    places: HashSet<u32, foldhash::fast::RandomState>,
    addresses: Vec<IpAddr>,
}

/// How long a node is: two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeSize {
    Bits24,
    Bits28,
    Bits32,
}

/// Zero bytes between tree and data.
const SEPARATOR: u32 = 16;

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
    /// The tree of a database whose metadata say this. `data_end` is where the data section ends at the latest.
    /// Every number of every node is looked at: the error says which one leads nowhere.
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
        let data_start = nodes as usize * size.bytes() + SEPARATOR as usize;
        let data = data_end.checked_sub(data_start).and_then(|length| u32::try_from(length).ok());
        let data = data.ok_or_else(|| format!("its {nodes} nodes reach beyond the end of the file"))?;
        let separator = &bytes.as_ref()[data_start - SEPARATOR as usize..data_start];
        if separator.iter().any(|byte| *byte != 0) {
            return Err(format!("behind its {nodes} nodes there is something else than the data"));
        }
        let mut tree = Self { bytes, size, nodes, data, v4: 0, has_v6: ip_version == 6 };
        tree.look_over()?;
        if tree.has_v6 {
            tree.v4 = (0..96).fold(0, |node, _| if node < nodes { tree.child(node, 0) } else { node });
        }
        Ok(tree)
    }

    /// One pass through all nodes in their order, some 2 ns each.
    fn look_over(&self) -> Result<(), String> {
        let last = u64::from(self.nodes) + u64::from(SEPARATOR) + u64::from(self.data);
        for node in 0..self.nodes {
            for bit in 0..2 {
                let number = self.child(node, bit);
                let is_place = number > self.nodes;
                let is_in_data = number >= self.nodes + SEPARATOR && u64::from(number) < last;
                if is_place && !is_in_data {
                    return Err(format!("node {node} of its tree leads to no place in the data ({number})"));
                }
            }
        }
        Ok(())
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes
    }

    /// For each place in the data that the tree leads to, one address whose way ends there. Each node is looked at
    /// once, however many ways lead through it. The error says that a way has no end.
    pub(crate) fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        let mut walk =
            Walk { heights: vec![0; self.nodes as usize], places: HashSet::default(), addresses: Vec::new() };
        self.walk(0, 0, 0, &mut walk)?;
        Ok(walk.addresses)
    }

    /// Goes on at `number`, to which the first `depth` bits of `address` lead; gives how many nodes stand one below
    /// the other from there on.
    fn walk(&self, number: u32, address: u128, depth: u32, walk: &mut Walk) -> Result<u32, String> {
        if number >= self.nodes {
            if number > self.nodes && walk.places.insert(number) {
                walk.addresses.push(match self.has_v6 {
                    true => Ipv6Addr::from(address).into(),
                    false => Ipv4Addr::from((address >> 96) as u32).into(),
                });
            }
            return Ok(0);
        }
        let bits = if self.has_v6 { 128 } else { 32 };
        let known = u32::from(walk.heights[number as usize]);
        if depth + known.max(1) > bits {
            return Err(format!("its tree leads in circles, or deeper than an address of {bits} bits"));
        }
        if known > 0 {
            return Ok(known);
        }
        let left = self.walk(self.child(number, 0), address, depth + 1, walk)?;
        let right = self.walk(self.child(number, 1), address | 1 << (127 - depth), depth + 1, walk)?;
        let height = left.max(right) + 1;
        walk.heights[number as usize] = height as u8;
        Ok(height)
    }

    /// Where the record of an IPv4 address lies in the data.
    #[inline]
    pub(crate) fn find_v4(&self, address: u32) -> Option<u32> {
        let mut node = self.v4;
        let mut bits = address;
        for _ in 0..32 {
            if node >= self.nodes {
                break;
            }
            node = self.child(node, bits >> 31);
            bits <<= 1;
        }
        self.place(node)
    }

    /// Where the record of an IPv6 address lies in the data.
    pub(crate) fn find_v6(&self, address: u128) -> Option<u32> {
        if !self.has_v6 {
            return None;
        }
        let mut node = 0;
        let mut bits = address;
        for _ in 0..128 {
            if node >= self.nodes {
                break;
            }
            node = self.child(node, (bits >> 127) as u32);
            bits <<= 1;
        }
        self.place(node)
    }

    /// The place that a number means; a node that is left when the address is at its end means nothing.
    #[inline]
    fn place(&self, number: u32) -> Option<u32> {
        number.checked_sub(self.nodes)?.checked_sub(SEPARATOR)
    }

    #[inline]
    fn child(&self, node: u32, bit: u32) -> u32 {
        let start = node as usize * self.size.bytes();
        let bit = bit as usize;
        let bytes = self.bytes.as_ref();
        match self.size {
            NodeSize::Bits24 => {
                let number = &bytes[start + 3 * bit..][..3];
                u32::from_be_bytes([0, number[0], number[1], number[2]])
            }
            NodeSize::Bits28 => {
                let node = &bytes[start..][..7];
                let high = if bit == 0 { node[3] >> 4 } else { node[3] & 15 };
                u32::from_be_bytes([high, node[4 * bit], node[4 * bit + 1], node[4 * bit + 2]])
            }
            NodeSize::Bits32 => {
                let number = &bytes[start + 4 * bit..][..4];
                u32::from_be_bytes([number[0], number[1], number[2], number[3]])
            }
        }
    }
}

// === impl NodeSize ===

impl NodeSize {
    #[inline]
    const fn bytes(self) -> usize {
        match self {
            Self::Bits24 => 6,
            Self::Bits28 => 7,
            Self::Bits32 => 8,
        }
    }
}
