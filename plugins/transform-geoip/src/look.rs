//! Looking up the addresses of a batch: for each row what its field holds and what the databases say of it.
//!
//! Each step is taken for all rows before the next one: a step is a lookup in a table or a tree that fits into no
//! processor cache, and the misses of all rows overlap.

use std::net::IpAddr;
use std::sync::Arc;

use flowstone_core::event::{Batch, Column, ObjectText, ObjectWriter, StrRef, Value};
use flowstone_mmdb::AreaCache;

use crate::address::{Address, plain_v4};
use crate::cache::{Cached, Entries, Key, MOST_DATABASES, V6Cache};
use crate::database::Database;
use crate::render::Facts;
use crate::transform::Settings;

/// The outcome of a lookup, as one number, so that hardly anything that is done with it takes a branch. A branch on
/// whether an address of a flow log is found mispredicts: private ones never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked(u32);

/// A row, and the outcome of its lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    row: u32,
    pub(crate) looked: Looked,
    /// The text of the address.
    pub(crate) own: StrRef,
}

/// How many rows had each outcome, by [`Looked::outcome`].
pub(crate) type Counts = [u64; 5];

/// What a thread caches of the databases that it asks.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    v6_cache: V6Cache,
    /// By database.
    areas: Vec<AreaCache>,
}

/// The lookup of a batch's addresses.
pub(crate) struct Look<'a> {
    settings: &'a Settings,
    databases: &'a [Arc<Database>],
    caches: &'a mut Caches,
    /// The objects that the rows found.
    pub(crate) entries: Entries,
    /// Texts of addresses that are not in the batch; their page comes behind those of the batch.
    pub(crate) texts: String,
    text_page: u32,
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// The rows of the addresses.
    v4_at: Vec<u32>,
    v6_at: Vec<u32>,
    /// Writes the objects.
    writer: ObjectWriter,
    pub(crate) counts: Counts,
    /// Records that cannot be read.
    pub(crate) damaged: u64,
}

/// The outcomes as the metric names them.
pub(crate) const OUTCOMES: [&str; 5] = ["missing", "not_text", "not_an_address", "not_found", "found"];
/// The key where no database has a record.
const NOWHERE: Key = [0; MOST_DATABASES];

// === impl Row ===

impl Row {
    /// Which row of the batch it is.
    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.row as usize
    }
}

// === impl Look ===

impl<'a> Look<'a> {
    pub(crate) fn new(
        settings: &'a Settings,
        databases: &'a [Arc<Database>],
        caches: &'a mut Caches,
        batch: &Batch,
    ) -> Self {
        let numbers = databases.iter().map(|database| database.mmdb.number());
        caches.v6_cache.begin(numbers.clone());
        caches.areas.resize_with(databases.len(), AreaCache::default);
        Self {
            settings,
            databases,
            caches,
            entries: settings.cache.begin(numbers, settings.tells_network()),
            texts: String::new(),
            text_page: batch.pages().len() as u32,
            v4: Vec::with_capacity(batch.len()),
            v6: Vec::new(),
            v4_at: Vec::with_capacity(batch.len()),
            v6_at: Vec::new(),
            writer: ObjectWriter::default(),
            counts: Counts::default(),
            damaged: 0,
        }
    }

    /// Looks up every active row, in their order.
    pub(crate) fn rows(&mut self, batch: &Batch, rows: &mut Vec<Row>) {
        let cells = match batch.column_of(&self.settings.source) {
            Some(Column::Str(cells)) => Some(cells.as_slice()),
            _ => None,
        };
        rows.clear();
        for row in batch.active_rows() {
            let (looked, own) = match cells.map(|cells| cells[row]) {
                Some(cell) if !cell.is_absent() => self.text(batch.text(cell), Some(cell), rows.len()),
                _ => self.value(batch.get(row, &self.settings.source), rows.len()),
            };
            rows.push(Row { row: row as u32, looked, own });
        }
        self.look_up(rows);
        rows.iter().for_each(|row| self.counts[row.looked.outcome()] += 1);
    }

    fn value(&mut self, value: Option<Value>, at: usize) -> (Looked, StrRef) {
        let looked = match value {
            None | Some(Value::Null) => Looked::MISSING,
            Some(Value::Str(text)) => return self.text(&text, None, at),
            // Of a list the first element counts.
            Some(Value::Array(items)) => match items.first() {
                Some(Value::Str(text)) => return self.text(text, None, at),
                _ => Looked::UNUSABLE,
            },
            Some(_) => Looked::UNUSABLE,
        };
        (looked, StrRef::ABSENT)
    }

    /// `cell` is the text's own, if it is in the batch. An address is [`Looked::UNKNOWN`] until it is looked up.
    #[inline]
    fn text(&mut self, text: &str, cell: Option<StrRef>, at: usize) -> (Looked, StrRef) {
        if let (Some(v4), Some(cell)) = (plain_v4(text.as_bytes()), cell) {
            self.v4.push(v4);
            self.v4_at.push(at as u32);
            return (Looked::UNKNOWN, cell);
        }
        self.other_text(text, cell, at)
    }

    fn other_text(&mut self, text: &str, cell: Option<StrRef>, at: usize) -> (Looked, StrRef) {
        match Address::parse(text) {
            Some(address) => {
                match address.ip {
                    IpAddr::V4(ip) => {
                        self.v4.push(ip.into());
                        self.v4_at.push(at as u32);
                    }
                    IpAddr::V6(ip) => {
                        self.v6.push(ip.into());
                        self.v6_at.push(at as u32);
                    }
                }
                (Looked::UNKNOWN, self.own_text(text, address, cell))
            }
            None if text.bytes().all(|byte| byte <= b' ') => (Looked::MISSING, StrRef::ABSENT),
            None => (Looked::NO_ADDRESS, StrRef::ABSENT),
        }
    }

    /// The cell of the text that an address is written as.
    fn own_text(&mut self, text: &str, address: Address, cell: Option<StrRef>) -> StrRef {
        let start = self.texts.len();
        address.write(&mut self.texts);
        match cell.filter(|_| self.texts[start..] == *text) {
            Some(cell) => {
                self.texts.truncate(start);
                cell
            }
            None => {
                StrRef { page: self.text_page, offset: start as u32, len: (self.texts.len() - start) as u32 }
            }
        }
    }

    fn look_up(&mut self, rows: &mut [Row]) {
        let (v4, v6) = (std::mem::take(&mut self.v4), std::mem::take(&mut self.v6));
        let (v4_at, v6_at) = (std::mem::take(&mut self.v4_at), std::mem::take(&mut self.v6_at));
        if let [database] = self.databases {
            // Without a table of keys.
            let mut offsets = vec![0; v4.len()];
            database.mmdb.find_v4(&v4, &mut offsets);
            self.objects(|at| [offsets[at], 0, 0, 0], |at| key_of_v4(v4[at]), &v4_at, rows);
        } else {
            let mut keys = vec![NOWHERE; v4.len()];
            let mut offsets = vec![0; v4.len()];
            for (number, database) in self.databases.iter().enumerate() {
                database.mmdb.find_v4(&v4, &mut offsets);
                keys.iter_mut().zip(&offsets).for_each(|(key, offset)| key[number] = *offset);
            }
            self.objects(|at| keys[at], |at| key_of_v4(v4[at]), &v4_at, rows);
        }
        let databases = self.databases;
        let find = |ip: u128| {
            let mut key = NOWHERE;
            databases.iter().zip(&mut key).for_each(|(database, offset)| *offset = database.mmdb.find_v6(ip));
            key
        };
        let keys: Vec<Key> = v6.iter().map(|ip| self.caches.v6_cache.get(*ip, || find(*ip))).collect();
        self.objects(|at| keys[at], |at| v6[at], &v6_at, rows);
    }

    /// Gives rows the objects of their addresses, of which the records have these offsets.
    fn objects(
        &mut self,
        offsets: impl Fn(usize) -> Key,
        ip: impl Fn(usize) -> u128,
        rows_at: &[u32],
        rows: &mut [Row],
    ) {
        // Several networks may share a record, so where the network is told, the key is the address.
        let by_address = self.settings.tells_network();
        let key_of = |at: usize| if by_address { quarters(ip(at)) } else { offsets(at) };
        let mut missed = vec![0; rows_at.len()];
        let mut count = 0;
        for (at, row) in rows_at.iter().enumerate() {
            let has_record = offsets(at) != NOWHERE;
            let cached = self.entries.find(&key_of(at)).filter(|_| has_record);
            rows[*row as usize].looked = cached.map_or(Looked::UNKNOWN, Looked::from);
            missed[count] = at as u32;
            count += usize::from(cached.is_none() & has_record);
        }
        let missed = missed[..count].iter().map(|at| *at as usize);
        self.entries.prefetch(missed.clone().map(key_of));
        for (number, database) in self.databases.iter().enumerate() {
            database.prefetch(missed.clone().filter_map(|at| offsets(at)[number].checked_sub(1)));
        }
        for at in missed {
            let key = key_of(at);
            // A row before may have cached it.
            let cached = self.entries.find(&key).or_else(|| self.entries.promote(&key));
            let cached = cached.unwrap_or_else(|| {
                let object = self.decode(ip_of(ip(at)), &offsets(at));
                self.entries.put(&key, object)
            });
            rows[rows_at[at] as usize].looked = cached.into();
        }
    }

    /// What the databases say of an address, of which the records have these offsets, and whether the address belongs to
    /// it.
    fn decode(&mut self, ip: IpAddr, offsets: &Key) -> Option<(ObjectText, bool)> {
        let networks: Vec<Option<String>> = match self.settings.tells_network() {
            true => self.databases.iter().map(|database| database.network(ip)).collect(),
            false => Vec::new(),
        };
        let mut facts = Facts::default();
        for (number, database) in self.databases.iter().enumerate() {
            let Some(offset) = offsets[number].checked_sub(1) else { continue };
            match database.mmdb.record(offset, &mut self.caches.areas[number]) {
                Ok(record) => {
                    let wanted = self.settings.wanted(database.kind);
                    let network = networks.get(number).and_then(Option::as_deref);
                    facts.add(database.kind, wanted, &record, network);
                }
                Err(error) => {
                    self.damaged += 1;
                    tracing::debug!(%ip, %error, "a record of a geoip database cannot be read");
                }
            }
        }
        (!facts.is_empty()).then(|| (facts.render(self.settings.layout, &mut self.writer), facts.has_ip()))
    }
}

/// An IPv4 address as one number: mapped, which no IPv6 address is that is looked up.
#[inline]
fn key_of_v4(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

/// As four numbers.
fn quarters(key: u128) -> Key {
    [96, 64, 32, 0].map(|bits| (key >> bits) as u32)
}

fn ip_of(key: u128) -> IpAddr {
    if key >> 32 == 0xffff { IpAddr::V4((key as u32).into()) } else { IpAddr::V6(key.into()) }
}

// === impl Looked ===

impl Looked {
    /// There is no address to look up: nothing, null or blanks.
    pub(crate) const MISSING: Self = Self(0);
    /// What is there is neither text nor a list of texts.
    pub(crate) const UNUSABLE: Self = Self(1 << 2);
    /// A text that is no address.
    pub(crate) const NO_ADDRESS: Self = Self(2 << 2);
    /// An address of which no database says anything.
    pub(crate) const UNKNOWN: Self = Self(3 << 2);

    /// An entry of this number, and whether the address belongs to it.
    #[inline]
    fn entry(number: u32, has_ip: bool) -> Self {
        Self(number << 2 | 2 | u32::from(has_ip))
    }

    /// Whether an entry was found.
    #[inline]
    pub(crate) fn is_found(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether an entry was found that the address belongs to.
    #[inline]
    pub(crate) fn has_ip(self) -> bool {
        self.0 & 1 != 0
    }

    /// The number of the entry that was found.
    #[inline]
    pub(crate) fn number(self) -> u32 {
        self.0 >> 2
    }

    /// Whether there was a text to look up.
    #[inline]
    pub(crate) fn is_text(self) -> bool {
        self.is_found() | (self.0 >= Self::NO_ADDRESS.0)
    }

    /// Its index in [`OUTCOMES`].
    #[inline]
    fn outcome(self) -> usize {
        (if self.is_found() { 4 } else { self.0 >> 2 }) as usize
    }
}

impl From<Cached> for Looked {
    #[inline]
    fn from(cached: Cached) -> Self {
        match cached {
            Cached::Nothing => Self::UNKNOWN,
            Cached::Object { number, has_ip } => Self::entry(number, has_ip),
        }
    }
}
