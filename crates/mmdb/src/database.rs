//! A database in memory: verified when it is opened, then asked for the offsets of records and for the records.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use maxminddb::{MaxMindDbError, Reader};

use crate::data::{Cursor, Damaged};
use crate::record::{AreaCache, Record};
use crate::tree::{Bytes, Tree};

/// A database. Its records are named by their offsets in the data section.
pub struct Database {
    tree: Tree,
    /// Reads the metadata and the networks.
    reader: Reader<Bytes>,
    number: u32,
}

/// Of a database with more nodes only samples of the records are read when it is opened.
const MOST_NODES_READ: u32 = 200_000;
/// How many samples of each kind of address.
const SAMPLES: u32 = 2048;
const METADATA_MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

// === impl Database ===

impl Database {
    /// The database of these bytes. The error says what is wrong with them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let bytes = Bytes::new(bytes);
        let reader = Reader::from_source(bytes.clone()).map_err(|error| error.to_string())?;
        let about = reader.metadata();
        let data_end = last_position(METADATA_MARKER, bytes.as_ref()).unwrap_or_default();
        let tree = Tree::new(bytes, about.node_count, about.record_size, about.ip_version, data_end)?;
        let database = Self { tree, reader, number: NUMBER.fetch_add(1, Ordering::Relaxed) };
        database.verify()?;
        Ok(database)
    }

    /// Reads all records, or of a big database those of addresses at even distances. A damaged record that is not among
    /// them is an error when it is looked up.
    fn verify(&self) -> Result<(), String> {
        let mut offsets: Vec<u32> = if self.tree.nodes > MOST_NODES_READ {
            let v4: Vec<u32> = (0..SAMPLES).map(|sample| sample * (u32::MAX / SAMPLES)).collect();
            let v6 = |sample| 0x2000 << 112 | u128::from(sample) << (125 - SAMPLES.ilog2());
            let mut found = vec![0; v4.len()];
            self.find_v4(&v4, &mut found);
            found.extend((0..SAMPLES).map(|sample| self.find_v6(v6(sample))));
            found.into_iter().filter_map(|found| found.checked_sub(1)).collect()
        } else {
            self.tree.offsets().collect()
        };
        offsets.sort_unstable();
        offsets.dedup();
        let mut areas = AreaCache::default();
        let read = offsets.into_iter().try_for_each(|offset| self.record(offset, &mut areas).map(drop));
        read.map_err(|error| format!("a record cannot be read: {error}"))
    }

    /// The type that the metadata name, such as `GeoLite2-City`.
    pub fn database_type(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// The number of this database among all that the process has opened, from 1 on. An offset of another database
    /// means nothing here.
    #[inline]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The offsets of the records of IPv4 addresses, plus one; 0 where there is none.
    pub fn find_v4(&self, addresses: &[u32], offsets: &mut [u32]) {
        self.tree.find_v4(addresses, offsets);
    }

    /// The offset of the record of an IPv6 address, plus one; 0 if there is none.
    pub fn find_v6(&self, address: u128) -> u32 {
        self.tree.find_v6(address)
    }

    /// The data section.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.tree.data()
    }

    /// The offset of the value of a record's first member, if the record points at it. In a database of cities that is
    /// the city.
    #[inline]
    pub fn first_pointer(&self, offset: u32) -> Option<usize> {
        Cursor::new(self.data(), offset).first_pointer()
    }

    /// The record at an offset.
    pub fn record(&self, offset: u32, areas: &mut AreaCache) -> Result<Record<'_>, Damaged> {
        areas.begin(self.number);
        Record::read(self.data(), offset, areas)
    }

    /// The network of addresses that share the record of this one: its first address and the length of its prefix.
    pub fn network(&self, ip: IpAddr) -> Result<(IpAddr, u8), MaxMindDbError> {
        let network = self.reader.lookup(ip)?.network()?;
        Ok((network.ip(), network.prefix()))
    }
}

fn last_position(needle: &[u8], bytes: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|window| window == needle)
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
