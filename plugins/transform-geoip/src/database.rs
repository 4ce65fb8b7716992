//! One database in memory: read whole, looked over before it is used, asked for addresses.
//!
//! It is read, not mapped: a file that is written over while it is mapped changes under its reader's hands.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use maxminddb::{MaxMindDbError, Reader};

use crate::address::write_ip;
use crate::data::{Cursor, Damaged};
use crate::kind::{KINDS, Kind};
use crate::record::{KnownPlaces, Record};
use crate::tree::{Bytes, Tree};

/// A database.
pub(crate) struct Database {
    tree: Tree,
    reader: Reader<Bytes>,
    pub(crate) kind: Kind,
    /// Which of all that this program has read, from 1 on: what is known of records of another is not known of this one's.
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
const SAMPLES: u32 = 2048;
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
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let bytes = Bytes::new(bytes);
        let reader = Reader::from_source(bytes.clone()).map_err(|error| error.to_string())?;
        let about = reader.metadata();
        let database_type = &about.database_type;
        let kind = Kind::of_type(database_type)
            .ok_or_else(|| format!("its type is {database_type:?}, expected one of {KINDS}"))?;
        let data_end = last_place_of(METADATA_MARKER, bytes.as_ref()).unwrap_or_default();
        let tree = Tree::new(bytes, about.node_count, about.record_size, about.ip_version, data_end)?;
        let database = Self { tree, reader, kind, number: NUMBER.fetch_add(1, Ordering::Relaxed) };
        database.look_over()?;
        Ok(database)
    }

    /// Records can be read: all of them, or those of addresses in even distances where there are very many. What is
    /// damaged beyond that is found when it is asked for.
    fn look_over(&self) -> Result<(), String> {
        let mut known = KnownPlaces::default();
        let mut check = |place: u32| match self.record(place, &mut known) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("a record cannot be read: {error}")),
        };
        if self.tree.nodes() > NODES_LOOKED_OVER {
            for sample in 0..SAMPLES {
                let v4 = sample * (u32::MAX / SAMPLES);
                let v6 = 0x2000 << 112 | u128::from(sample) << (125 - SAMPLES.ilog2());
                for place in [self.find_one_v4(v4), self.find_v6(v6)] {
                    place.checked_sub(1).map_or(Ok(()), &mut check)?;
                }
            }
            return Ok(());
        }
        let mut places: Vec<u32> = self.tree.places().collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().try_for_each(check)
    }

    /// Where the records of IPv4 addresses lie in the data, plus one; 0 where there is none.
    pub(crate) fn find_v4(&self, addresses: &[u32], places: &mut [u32]) {
        self.tree.find_v4(addresses, places);
    }

    /// Where the record of an IPv6 address lies in the data, plus one; 0 if there is none.
    pub(crate) fn find_v6(&self, address: u128) -> u32 {
        self.tree.find_v6(address)
    }

    fn find_one_v4(&self, address: u32) -> u32 {
        let mut place = [0];
        self.find_v4(&[address], &mut place);
        place[0]
    }

    /// Has records fetched, all at once: first they themselves, then what their first members point at, which is the
    /// city in a database of cities. What else they point at is shared by very many and is at hand.
    pub(crate) fn fetch(&self, places: impl Iterator<Item = u32> + Clone) {
        let data = self.tree.data();
        let byte = |place: usize| data.get(place).copied().unwrap_or_default();
        let lines = places.clone().flat_map(|place| [0, 64].map(|line| byte(place as usize + line)));
        std::hint::black_box(lines.fold(0, |sum: u8, byte| sum ^ byte));
        let members = places.filter_map(|place| Cursor::new(data, place).first_pointer());
        std::hint::black_box(members.fold(0, |sum: u8, place| sum ^ byte(place)));
    }

    /// The record at a place. `known` is for this database and no other.
    pub(crate) fn record(&self, place: u32, known: &mut KnownPlaces) -> Result<Record<'_>, Damaged> {
        Record::read(self.tree.data(), place, known)
    }

    /// The network of addresses that share the record of this one, as Java writes it.
    pub(crate) fn network(&self, ip: IpAddr) -> Result<String, MaxMindDbError> {
        let network = self.reader.lookup(ip)?.network()?;
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
