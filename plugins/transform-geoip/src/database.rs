//! One database in memory: read whole, looked over before it is used, asked for addresses.
//!
//! It is read, not mapped: a file that is written over while it is mapped changes under its reader's hands.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use maxminddb::{MaxMindDbError, Reader};

use crate::address::write_ip;
use crate::kind::{KINDS, Kind};
use crate::record::Record;
use crate::tree::{Bytes, Tree};

/// A database.
pub(crate) struct Database {
    tree: Tree,
    records: Reader<Bytes>,
    pub(crate) kind: Kind,
    /// Which of all that this program has read: what is known of records of another is not known of this one's.
    pub(crate) number: u32,
}

/// Why a file is no database to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenError {
    /// What is wrong, in lower case without a full stop.
    pub(crate) message: String,
    /// Whether the file is simply not there.
    pub(crate) is_missing: bool,
}

/// Databases with more nodes are looked over by samples.
const NODES_LOOKED_OVER: u32 = 200_000;
/// How many samples of each kind of address.
const SAMPLES: u32 = 4096;
const METADATA_MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

// === impl Database ===

impl Database {
    /// Reads a file and looks it over.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let bytes = fs::read(path).map_err(|error| OpenError {
            is_missing: error.kind() == std::io::ErrorKind::NotFound,
            message: format!("{} cannot be read: {error}", path.display()),
        })?;
        Self::of(bytes).map_err(|message| OpenError {
            message: format!("{} is no usable database: {message}", path.display()),
            is_missing: false,
        })
    }

    /// A database of these bytes. The error says what is wrong with them.
    pub(crate) fn of(bytes: Vec<u8>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let bytes = Bytes::new(bytes);
        let records = Reader::from_source(bytes.clone()).map_err(|error| error.to_string())?;
        let about = records.metadata();
        let database_type = &about.database_type;
        let kind = Kind::of_type(database_type)
            .ok_or_else(|| format!("its type is {database_type:?}, expected one of {KINDS}"))?;
        let data_end = last_place_of(METADATA_MARKER, bytes.as_ref()).unwrap_or_default();
        let tree = Tree::new(bytes, about.node_count, about.record_size, about.ip_version, data_end)?;
        let database = Self { tree, records, kind, number: NUMBER.fetch_add(1, Ordering::Relaxed) };
        database.look_over()?;
        Ok(database)
    }

    /// Records can be read: all of them, or those of addresses in even distances where there are very many. What is
    /// damaged beyond that is found when it is asked for.
    fn look_over(&self) -> Result<(), String> {
        let damaged = |error: MaxMindDbError| format!("a record cannot be read: {error}");
        if self.tree.nodes() > NODES_LOOKED_OVER {
            for sample in 0..SAMPLES {
                let v4 = sample * (u32::MAX / SAMPLES);
                let v6 = 0x2000 << 112 | u128::from(sample) << (125 - SAMPLES.ilog2());
                for ip in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                    if self.find(ip).is_some() {
                        self.record(ip).map_err(damaged)?;
                    }
                }
            }
            return Ok(());
        }
        for ip in self.tree.addresses()? {
            self.record(ip).map_err(damaged)?;
        }
        Ok(())
    }

    /// Where the record of an address lies in the data; `None` if there is none.
    #[inline]
    pub(crate) fn find(&self, ip: IpAddr) -> Option<u32> {
        match ip {
            IpAddr::V4(ip) => self.tree.find_v4(ip.into()),
            IpAddr::V6(ip) => self.tree.find_v6(ip.into()),
        }
    }

    /// The record of an address that has one.
    pub(crate) fn record(&self, ip: IpAddr) -> Result<Record<'_>, MaxMindDbError> {
        Ok(self.records.lookup(ip)?.decode()?.unwrap_or_default())
    }

    /// The network of addresses that share the record of this one, as Java writes it.
    pub(crate) fn network(&self, ip: IpAddr) -> Result<String, MaxMindDbError> {
        let network = self.records.lookup(ip)?.network()?;
        let mut text = String::new();
        write_ip(network.ip(), &mut text);
        Ok(format!("{text}/{}", network.prefix()))
    }
}

fn last_place_of(needle: &[u8], bytes: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|window| window == needle)
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
