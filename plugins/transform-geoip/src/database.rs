//! A database file that `geoip` uses: its kind, and its records by offset.
//!
//! It is read, not mapped: a file that is written over while it is mapped changes under its reader's hands.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use flowstone_core::event::prefetch;
use flowstone_mmdb::Database as Mmdb;

use crate::address::write_ip;
use crate::kind::{KINDS, Kind};

/// A database.
pub(crate) struct Database {
    pub(crate) mmdb: Mmdb,
    pub(crate) kind: Kind,
}

/// Why a file is no database to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenError {
    /// What is wrong, in lower case without a full stop.
    pub(crate) message: String,
    /// Whether the file is simply not there.
    pub(crate) is_missing: bool,
}

// === impl Database ===

impl Database {
    /// Reads a file and verifies it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let bytes = fs::read(path).map_err(|error| OpenError {
            is_missing: error.kind() == std::io::ErrorKind::NotFound,
            message: format!("{} cannot be read: {error}", path.display()),
        })?;
        Self::from_bytes(bytes).map_err(|message| OpenError {
            message: format!("{} is no usable database: {message}", path.display()),
            is_missing: false,
        })
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        let mmdb = Mmdb::from_bytes(bytes)?;
        let database_type = mmdb.database_type();
        let kind = Kind::of_type(database_type)
            .ok_or_else(|| format!("its type is {database_type:?}, expected one of {KINDS}"))?;
        Ok(Self { mmdb, kind })
    }

    /// Prefetches records, then what their first members point at, which is the city in a database of cities. What else
    /// they point at is shared by many records and is in the cache.
    pub(crate) fn prefetch(&self, offsets: impl Iterator<Item = u32> + Clone) {
        let data = self.mmdb.data();
        let byte = |at: usize| data.get(at).copied().unwrap_or_default();
        prefetch(offsets.clone().flat_map(|offset| [0, 64].map(|line| byte(offset as usize + line))));
        prefetch(offsets.filter_map(|offset| self.mmdb.first_pointer(offset)).map(byte));
    }

    /// The network of addresses that share the record of this one, as Java writes it; `None` if it cannot be told.
    pub(crate) fn network(&self, ip: IpAddr) -> Option<String> {
        let (first, prefix) = self.mmdb.network(ip).ok()?;
        let mut text = String::new();
        write_ip(first, &mut text);
        Some(format!("{text}/{prefix}"))
    }
}

#[cfg(test)]
mod tests {
    use flowstone_testkit::mmdb::Mmdb;

    use super::*;

    #[test]
    fn a_database_of_another_type_is_refused_and_its_type_is_named() {
        let error = Database::from_bytes(Mmdb::new("GeoLite2-What").bytes()).err().expect("it is refused");
        assert!(error.contains("its type is \"GeoLite2-What\", expected one of City"), "{error}");
    }

    #[test]
    fn a_network_is_written_as_java_does() {
        let made = Mmdb::new("GeoLite2-City")
            .with("1.2.3.0/24", serde_json::json!({}))
            .with("2001:db8::/32", serde_json::json!({}));
        let database = Database::from_bytes(made.bytes()).unwrap();
        let network = |ip: &str| database.network(ip.parse().unwrap());
        assert_eq!(network("1.2.3.4").as_deref(), Some("1.2.3.0/24"));
        assert_eq!(network("2001:db8::1").as_deref(), Some("2001:db8:0:0:0:0:0:0/32"));
    }
}
