//! Looking up the addresses of a batch: for each row what its field holds and what the databases say of it.
//!
//! Each step is taken for all rows before the next one: a step is a look into a table or a tree that is in no cache,
//! and those of all rows wait for memory together.

use std::net::IpAddr;
use std::sync::Arc;

use flowstone_core::event::{Batch, Column, ObjectText, ObjectWriter, StrRef, Value};

use crate::address::{Address, plain_v4};
use crate::cache::{Entries, Key, Known, MOST_DATABASES, V6Places};
use crate::database::Database;
use crate::record::KnownPlaces;
use crate::render::Facts;
use crate::transform::Plan;

/// What became of an address: one number, so that hardly anything that is done with it takes a branch. Whether an
/// address of a flow log is found cannot be foretold: those of the own network never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked(u32);

/// A row, and what became of its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    row: u32,
    pub(crate) looked: Looked,
    /// The text of the address.
    pub(crate) own: StrRef,
}

/// How often each came, by [`Looked::outcome`].
pub(crate) type Counts = [u64; 5];

/// What a thread remembers of the databases it asked.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    v6_places: V6Places,
    known_places: Vec<KnownPlaces>,
}

/// A batch's addresses being looked up.
pub(crate) struct Look<'a> {
    plan: &'a Plan,
    databases: &'a [Arc<Database>],
    v6_places: &'a mut V6Places,
    /// By database.
    known_places: &'a mut [KnownPlaces],
    /// What the rows found.
    pub(crate) entries: Entries,
    /// Texts of addresses that the batch does not have so; its page comes behind those of the batch.
    pub(crate) texts: String,
    text_page: u32,
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// Which of the rows has which address, by kind.
    v4_at: Vec<u32>,
    v6_at: Vec<u32>,
    /// Writes what records say.
    writer: ObjectWriter,
    pub(crate) counts: Counts,
    /// Records that cannot be read.
    pub(crate) damaged: u64,
}

/// What the outcomes are called where they are counted.
pub(crate) const OUTCOMES: [&str; 5] = ["missing", "not_text", "not_an_address", "not_found", "found"];
/// No database has a record.
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
        plan: &'a Plan,
        databases: &'a [Arc<Database>],
        memory: &'a mut Memory,
        batch: &Batch,
    ) -> Self {
        let Memory { v6_places, known_places } = memory;
        let numbers = databases.iter().map(|database| database.number);
        v6_places.begin(numbers.clone());
        known_places.resize_with(databases.len(), KnownPlaces::default);
        known_places.iter_mut().zip(numbers.clone()).for_each(|(known, number)| known.begin(number));
        Self {
            plan,
            databases,
            v6_places,
            known_places,
            entries: plan.records.begin(numbers, plan.tells_network()),
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
        let cells = match batch.column_of(&self.plan.source) {
            Some(Column::Str(cells)) => Some(cells.as_slice()),
            _ => None,
        };
        rows.clear();
        for row in batch.active_rows() {
            let (looked, own) = match cells.map(|cells| cells[row]) {
                Some(place) if !place.is_absent() => self.text(batch.text(place), Some(place), rows.len()),
                _ => self.value(batch.get(row, &self.plan.source), rows.len()),
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

    /// `place` is that of the text within the batch. An address is unknown until it is looked up.
    #[inline]
    fn text(&mut self, text: &str, place: Option<StrRef>, at: usize) -> (Looked, StrRef) {
        if let (Some(v4), Some(place)) = (plain_v4(text.as_bytes()), place) {
            self.v4.push(v4);
            self.v4_at.push(at as u32);
            return (Looked::UNKNOWN, place);
        }
        self.other_text(text, place, at)
    }

    fn other_text(&mut self, text: &str, place: Option<StrRef>, at: usize) -> (Looked, StrRef) {
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
                (Looked::UNKNOWN, self.own_text(text, address, place))
            }
            None if text.bytes().all(|byte| byte <= b' ') => (Looked::MISSING, StrRef::ABSENT),
            None => (Looked::NO_ADDRESS, StrRef::ABSENT),
        }
    }

    /// The place of the text that an address is written as.
    fn own_text(&mut self, text: &str, address: Address, place: Option<StrRef>) -> StrRef {
        let start = self.texts.len();
        address.write(&mut self.texts);
        match place.filter(|_| self.texts[start..] == *text) {
            Some(place) => {
                self.texts.truncate(start);
                place
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
            // A table of numbers instead of one of keys.
            let mut places = vec![0; v4.len()];
            database.find_v4(&v4, &mut places);
            self.objects(|at| [places[at], 0, 0, 0], |at| key_of_v4(v4[at]), &v4_at, rows);
        } else {
            let mut keys = vec![NOWHERE; v4.len()];
            let mut places = vec![0; v4.len()];
            for (number, database) in self.databases.iter().enumerate() {
                database.find_v4(&v4, &mut places);
                keys.iter_mut().zip(&places).for_each(|(key, place)| key[number] = *place);
            }
            self.objects(|at| keys[at], |at| key_of_v4(v4[at]), &v4_at, rows);
        }
        let databases = self.databases;
        let find = |ip: u128| {
            let mut key = NOWHERE;
            databases.iter().zip(&mut key).for_each(|(database, place)| *place = database.find_v6(ip));
            key
        };
        let keys: Vec<Key> = v6.iter().map(|ip| self.v6_places.of(*ip, || find(*ip))).collect();
        self.objects(|at| keys[at], |at| v6[at], &v6_at, rows);
    }

    /// Gives rows what is known of the addresses whose records lie at these places.
    fn objects(
        &mut self,
        places: impl Fn(usize) -> Key,
        ip: impl Fn(usize) -> u128,
        rows_at: &[u32],
        rows: &mut [Row],
    ) {
        // The network is that of the address: records of several networks are not told apart by their places.
        let by_address = self.plan.tells_network();
        let key_of = |at: usize| if by_address { quarters(ip(at)) } else { places(at) };
        let mut unknown = vec![0; rows_at.len()];
        let mut count = 0;
        for (at, row) in rows_at.iter().enumerate() {
            let is_somewhere = places(at) != NOWHERE;
            let known = self.entries.find(&key_of(at)).filter(|_| is_somewhere);
            rows[*row as usize].looked = known.map_or(Looked::UNKNOWN, Looked::from);
            unknown[count] = at as u32;
            count += usize::from(known.is_none() & is_somewhere);
        }
        let unknown = unknown[..count].iter().map(|at| *at as usize);
        self.entries.fetch(unknown.clone().map(key_of));
        for (number, database) in self.databases.iter().enumerate() {
            database.fetch(unknown.clone().filter_map(|at| places(at)[number].checked_sub(1)));
        }
        for at in unknown {
            let key = key_of(at);
            // Another row may have had it in the meantime.
            let known = self.entries.find(&key).or_else(|| self.entries.take_over(&key));
            let known = known.unwrap_or_else(|| {
                let object = self.decode(ip_of(ip(at)), &places(at));
                self.entries.put(&key, object)
            });
            rows[rows_at[at] as usize].looked = known.into();
        }
    }

    /// What the databases say of an address whose records lie at these places, and whether the address belongs to it.
    fn decode(&mut self, ip: IpAddr, places: &Key) -> Option<(ObjectText, bool)> {
        let networks: Vec<Option<String>> = match self.plan.tells_network() {
            true => self.databases.iter().map(|database| database.network(ip).ok()).collect(),
            false => Vec::new(),
        };
        let mut facts = Facts::default();
        for (number, database) in self.databases.iter().enumerate() {
            let Some(place) = places[number].checked_sub(1) else { continue };
            match database.record(place, &mut self.known_places[number]) {
                Ok(record) => {
                    let wanted = self.plan.wanted(database.kind);
                    let network = networks.get(number).and_then(Option::as_deref);
                    facts.add(database.kind, wanted, &record, network);
                }
                Err(error) => {
                    self.damaged += 1;
                    tracing::debug!(%ip, %error, "a record of a geoip database cannot be read");
                }
            }
        }
        (!facts.is_empty()).then(|| (facts.render(self.plan.layout, &mut self.writer), facts.has_ip()))
    }
}

/// An address as one number. IPv4 is mapped: no IPv6 address that is looked up is a mapped one.
#[inline]
fn key_of_v4(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

#[inline]
fn v4_of(key: u128) -> Option<u32> {
    (key >> 32 == 0xffff).then_some(key as u32)
}

/// As four numbers.
fn quarters(key: u128) -> Key {
    [96, 64, 32, 0].map(|bits| (key >> bits) as u32)
}

fn ip_of(key: u128) -> IpAddr {
    match v4_of(key) {
        Some(address) => IpAddr::V4(address.into()),
        None => IpAddr::V6(key.into()),
    }
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

    /// Its place among [`OUTCOMES`].
    #[inline]
    fn outcome(self) -> usize {
        (if self.is_found() { 4 } else { self.0 >> 2 }) as usize
    }
}

impl From<Known> for Looked {
    #[inline]
    fn from(known: Known) -> Self {
        match known {
            Known::Nothing => Self::UNKNOWN,
            Known::Object { number, has_ip } => Self::entry(number, has_ip),
        }
    }
}
