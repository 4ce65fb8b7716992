//! Looking up the addresses of a batch: for each row what its field holds and what the databases say of it.

use std::net::IpAddr;
use std::sync::Arc;

use flowstone_core::event::{Batch, Column, StrRef, Value};

use crate::address::{Address, plain_v4};
use crate::cache::{Addresses, Entry, Key, Known, MOST_DATABASES};
use crate::database::Database;
use crate::render::Facts;
use crate::transform::Plan;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// There is no address to look up: nothing, null or blanks.
    Missing,
    /// What is there is neither text nor a list of texts.
    Unusable,
    /// A text that is no address.
    NoAddress,
    /// An address of which no database says anything.
    Unknown,
    /// The number of an entry, and the text of the address.
    Found(u32, StrRef),
}

/// How often each came.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) missing: u64,
    pub(crate) unusable: u64,
    pub(crate) no_address: u64,
    pub(crate) unknown: u64,
    pub(crate) found: u64,
    /// Records that cannot be read.
    pub(crate) damaged: u64,
}

/// A batch's addresses being looked up.
pub(crate) struct Look<'a> {
    plan: &'a Plan,
    databases: &'a [Arc<Database>],
    addresses: &'a mut Addresses,
    /// What the rows found, each once or a few times.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Texts of addresses that the batch does not have so; its page comes behind those of the batch.
    pub(crate) texts: String,
    text_page: u32,
    /// Rows whose address nobody has met lately.
    pending: Vec<Pending>,
    pub(crate) counts: Counts,
}

/// A row that waits for its address to be looked up.
struct Pending {
    /// Which of the rows that are looked up.
    at: usize,
    /// The address as one number.
    ip: u128,
    own: StrRef,
    /// By database: the place of the record plus one.
    places: [u32; MOST_DATABASES],
}

/// No database has a record.
const NOWHERE: [u32; MOST_DATABASES] = [0; MOST_DATABASES];

// === impl Look ===

impl<'a> Look<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        databases: &'a [Arc<Database>],
        addresses: &'a mut Addresses,
        batch: &Batch,
    ) -> Self {
        addresses.begin(databases.iter().map(|database| database.number));
        Self {
            plan,
            databases,
            addresses,
            entries: Vec::new(),
            texts: String::new(),
            text_page: batch.pages().len() as u32,
            pending: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Looks up every active row, in their order.
    pub(crate) fn rows(&mut self, batch: &Batch, rows: &mut Vec<(usize, Looked)>) {
        let cells = match batch.column_of(&self.plan.source) {
            Some(Column::Str(cells)) => Some(cells.as_slice()),
            _ => None,
        };
        rows.clear();
        for row in batch.active_rows() {
            let looked = match cells.map(|cells| cells[row]) {
                Some(place) if !place.is_absent() => self.text(batch.text(place), Some(place), rows.len()),
                _ => self.value(batch.get(row, &self.plan.source), rows.len()),
            };
            rows.push((row, looked));
        }
        self.look_up_pending();
        for number in 0..self.pending.len() {
            let Pending { at, ip, own, places } = self.pending[number];
            let known = self.known(ip, own).unwrap_or_else(|| {
                // It made room for another address of this batch.
                let known = self.look_up(places, ip);
                self.addresses.put(ip, known);
                self.known(ip, own).unwrap_or(Looked::Unknown)
            });
            rows[at].1 = known;
        }
        rows.iter().for_each(|(_, looked)| *self.counts.of(*looked) += 1);
    }

    fn value(&mut self, value: Option<Value>, at: usize) -> Looked {
        match value {
            None | Some(Value::Null) => Looked::Missing,
            Some(Value::Str(text)) => self.text(&text, None, at),
            // Of a list the first element counts.
            Some(Value::Array(items)) => match items.first() {
                Some(Value::Str(text)) => self.text(text, None, at),
                _ => Looked::Unusable,
            },
            Some(_) => Looked::Unusable,
        }
    }

    /// `place` is that of the text within the batch.
    #[inline]
    fn text(&mut self, text: &str, place: Option<StrRef>, at: usize) -> Looked {
        let (ip, own) = match (plain_v4(text.as_bytes()), place) {
            (Some(v4), Some(place)) => (key_of_v4(v4), place),
            (plain, place) => match plain.map_or_else(|| Address::parse(text), |v4| Some(Address::v4(v4))) {
                Some(address) => (key_of(address.ip), self.own_text(text, address, place)),
                None if text.bytes().all(|byte| byte <= b' ') => return Looked::Missing,
                None => return Looked::NoAddress,
            },
        };
        self.known(ip, own).unwrap_or_else(|| {
            self.pending.push(Pending { at, ip, own, places: NOWHERE });
            Looked::Unknown
        })
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

    /// What an address found that is remembered; `None` if it is not.
    #[inline]
    fn known(&mut self, ip: u128, own: StrRef) -> Option<Looked> {
        let entries = &mut self.entries;
        let number = self.addresses.known(ip, |entry| {
            entries.push(Arc::clone(entry));
            entries.len() as u32 - 1
        })?;
        Some(number.map_or(Looked::Unknown, |number| Looked::Found(number, own)))
    }

    /// Finds out and remembers what is known of the addresses of all rows that wait. Each step is taken for all of
    /// them before the next one, so that they wait for memory together.
    fn look_up_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let v4: Vec<u32> = self.pending.iter().filter_map(|pending| v4_of(pending.ip)).collect();
        let mut places = vec![0; v4.len()];
        for (number, database) in self.databases.iter().enumerate() {
            database.find_v4(&v4, &mut places);
            let mut places_of_v4 = places.iter();
            for pending in &mut self.pending {
                pending.places[number] = match v4_of(pending.ip) {
                    Some(_) => places_of_v4.next().copied().unwrap_or_default(),
                    None => database.find_v6(pending.ip),
                };
            }
        }
        let records = Arc::clone(&self.plan.records);
        records.fetch(self.pending.iter().map(|pending| self.key_of(&pending.places)));
        let mut unknown: Vec<usize> = Vec::new();
        for (number, pending) in self.pending.iter().enumerate() {
            let known = match pending.places {
                NOWHERE => Some(None),
                _ if self.plan.tells_network() => None,
                places => records.get(&self.key_of(&places)),
            };
            match known {
                Some(known) => self.addresses.put(pending.ip, known),
                None => unknown.push(number),
            }
        }
        for (number, database) in self.databases.iter().enumerate() {
            let places = unknown.iter().map(|pending| self.pending[*pending].places[number]);
            database.fetch(places.filter_map(|place| place.checked_sub(1)));
        }
        for number in unknown {
            let Pending { ip, places, .. } = self.pending[number];
            let known = self.look_up(places, ip);
            self.addresses.put(ip, known);
        }
    }

    fn key_of(&self, places: &[u32; MOST_DATABASES]) -> Key {
        let mut key = Key::default();
        for ((database, place), key) in self.databases.iter().zip(places).zip(&mut key.0) {
            *key = (database.number, *place);
        }
        key
    }

    /// What the databases say of an address whose records lie at these places.
    fn look_up(&mut self, places: [u32; MOST_DATABASES], ip: u128) -> Known {
        if places == NOWHERE {
            return None;
        }
        let key = self.key_of(&places);
        // The network is that of the address: records of several networks are not told apart by their places.
        if self.plan.tells_network() {
            return self.decode(ip_of(ip), &key);
        }
        // Another row may have had it in the meantime.
        if let Some(known) = self.plan.records.get(&key) {
            return known;
        }
        let known = self.decode(ip_of(ip), &key);
        self.plan.records.put(key, known.clone());
        known
    }

    fn decode(&mut self, ip: IpAddr, key: &Key) -> Known {
        let networks: Vec<Option<String>> = match self.plan.tells_network() {
            true => self.databases.iter().map(|database| database.network(ip).ok()).collect(),
            false => Vec::new(),
        };
        let mut facts = Facts::default();
        for (number, database) in self.databases.iter().enumerate().filter(|(number, _)| key.0[*number].1 > 0)
        {
            match database.record(key.0[number].1 - 1) {
                Ok(record) => {
                    let wanted = self.plan.wanted(database.kind);
                    let network = networks.get(number).and_then(Option::as_deref);
                    facts.add(database.kind, wanted, &record, network);
                }
                Err(error) => {
                    self.counts.damaged += 1;
                    tracing::debug!(%ip, %error, "a record of a geoip database cannot be read");
                }
            }
        }
        (!facts.is_empty()).then(|| Arc::new(Entry::new(facts.render(self.plan.layout), facts.has_ip())))
    }
}

/// An address as one number. IPv4 is mapped: no IPv6 address that is looked up is a mapped one.
#[inline]
fn key_of_v4(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

fn key_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => key_of_v4(ip.into()),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[inline]
fn v4_of(key: u128) -> Option<u32> {
    (key >> 32 == 0xffff).then_some(key as u32)
}

fn ip_of(key: u128) -> IpAddr {
    match v4_of(key) {
        Some(address) => IpAddr::V4(address.into()),
        None => IpAddr::V6(key.into()),
    }
}

// === impl Counts ===

impl Counts {
    fn of(&mut self, looked: Looked) -> &mut u64 {
        match looked {
            Looked::Missing => &mut self.missing,
            Looked::Unusable => &mut self.unusable,
            Looked::NoAddress => &mut self.no_address,
            Looked::Unknown => &mut self.unknown,
            Looked::Found(..) => &mut self.found,
        }
    }
}
