//! Looking up the addresses of a batch: for each row what its field holds and what the databases say of it.

use std::net::IpAddr;
use std::sync::Arc;

use flowstone_core::event::{Batch, Column, StrRef, Value};

use crate::address::{Address, plain_v4};
use crate::cache::{Addresses, Entry, Key, Known};
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
    pub(crate) counts: Counts,
}

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
            counts: Counts::default(),
        }
    }

    /// Looks up every active row; gives them in their order.
    pub(crate) fn rows(&mut self, batch: &Batch) -> Vec<(usize, Looked)> {
        let cells = match batch.column_of(&self.plan.source) {
            Some(Column::Str(cells)) => Some(cells.as_slice()),
            _ => None,
        };
        let mut rows = Vec::with_capacity(batch.len());
        for row in batch.active_rows() {
            let looked = match cells.map(|cells| cells[row]) {
                Some(place) if !place.is_absent() => self.text(batch.text(place), Some(place)),
                _ => self.value(batch.get(row, &self.plan.source)),
            };
            *self.counts.of(looked) += 1;
            rows.push((row, looked));
        }
        rows
    }

    fn value(&mut self, value: Option<Value>) -> Looked {
        match value {
            None | Some(Value::Null) => Looked::Missing,
            Some(Value::Str(text)) => self.text(&text, None),
            // Of a list the first element counts.
            Some(Value::Array(items)) => match items.first() {
                Some(Value::Str(text)) => self.text(text, None),
                _ => Looked::Unusable,
            },
            Some(_) => Looked::Unusable,
        }
    }

    /// `place` is that of the text within the batch.
    #[inline]
    fn text(&mut self, text: &str, place: Option<StrRef>) -> Looked {
        let (address, own) = match (plain_v4(text.as_bytes()), place) {
            (Some(v4), place) => (IpAddr::V4(v4.into()), place),
            (None, _) => match Address::parse(text) {
                Some(address) => {
                    let start = self.texts.len();
                    address.write(&mut self.texts);
                    let written = &self.texts[start..];
                    let own = match place.filter(|_| *written == *text) {
                        Some(place) => {
                            self.texts.truncate(start);
                            place
                        }
                        None => self.text_from(start),
                    };
                    (address.ip, Some(own))
                }
                None if text.bytes().all(|byte| byte <= b' ') => return Looked::Missing,
                None => return Looked::NoAddress,
            },
        };
        match self.number(address) {
            None => Looked::Unknown,
            Some(number) => {
                let own = own.unwrap_or_else(|| {
                    let start = self.texts.len();
                    self.texts.push_str(text);
                    self.text_from(start)
                });
                Looked::Found(number, own)
            }
        }
    }

    fn text_from(&self, start: usize) -> StrRef {
        let (offset, len) = (start as u32, (self.texts.len() - start) as u32);
        StrRef { page: self.text_page, offset, len }
    }

    /// The number of the entry of an address.
    #[inline]
    fn number(&mut self, ip: IpAddr) -> Option<u32> {
        let key = match ip {
            // No IPv6 address that is looked up is a mapped one.
            IpAddr::V4(ip) => 0xffff << 32 | u128::from(u32::from(ip)),
            IpAddr::V6(ip) => ip.into(),
        };
        let (slot, _) = self.addresses.slot(key);
        if !slot.is_filled || slot.ip != key {
            let known = self.look_up(ip);
            self.addresses.slot(key).0.fill(key, known);
        }
        let (slot, batch) = self.addresses.slot(key);
        slot.number_in(batch, |entry| {
            self.entries.push(Arc::clone(entry));
            self.entries.len() as u32 - 1
        })
    }

    fn look_up(&mut self, ip: IpAddr) -> Known {
        let mut key = Key::default();
        let mut is_known = false;
        for (database, key) in self.databases.iter().zip(&mut key.0) {
            if let Some(place) = database.find(ip) {
                is_known = true;
                *key = (database.number, place + 1);
            }
        }
        if !is_known {
            return None;
        }
        // The network is that of the address: records of several networks are not told apart by their places.
        if self.plan.tells_network() {
            return self.decode(ip, &key);
        }
        if let Some(known) = self.plan.records.get(&key) {
            return known;
        }
        let known = self.decode(ip, &key);
        self.plan.records.put(key, known.clone());
        known
    }

    #[cold]
    fn decode(&mut self, ip: IpAddr, key: &Key) -> Known {
        let mut facts = Facts::default();
        let networks: Vec<Option<String>> = match self.plan.tells_network() {
            true => self.databases.iter().map(|database| database.network(ip).ok()).collect(),
            false => Vec::new(),
        };
        for (number, database) in self.databases.iter().enumerate().filter(|(number, _)| key.0[*number].1 > 0)
        {
            match database.record(ip) {
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
