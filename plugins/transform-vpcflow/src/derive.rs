//! Columns that are made from others, row by row: words for numbers, addresses that are addresses, lists.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use flowstone_core::event::{ABSENT_INT, ABSENT_TAGS, Batch, BitSet, Column, Page, StrRef, Value};

use crate::community_id::community_id;
use crate::parse::Cells;
use crate::protocols::PROTOCOLS;

/// The names of the bits of `tcp-flags`, the lowest first.
const TCP_FLAGS: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

/// The columns of a batch's lines, to make others from. Rows that did not parse get nothing.
pub(crate) struct Fields<'a> {
    pub(crate) cells: &'a [Cells],
    pub(crate) parsed: &'a BitSet,
    pub(crate) words: Words,
}

/// The page of words that every batch shares, as a page of one batch.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    page: u32,
}

/// Every word that derived fields use, each once, in one text: cells refer to it and nothing is copied.
struct Vocabulary {
    page: Page,
    words: Vec<(&'static str, StrRef)>,
    protocols: [StrRef; 256],
    decimals: [StrRef; 256],
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);

const WORDS: [&str; 10] =
    ["aws", "event", "success", "failure", "accept", "reject", "ipv4", "ipv6", "ecs", "container"];

// === impl Vocabulary ===

impl Vocabulary {
    fn new() -> Self {
        let mut text = String::new();
        let mut add = |word: &str| {
            let place = StrRef { page: 0, offset: text.len() as u32, len: word.len() as u32 };
            text.push_str(word);
            if word.is_empty() { StrRef::ABSENT } else { place }
        };
        let words = WORDS.iter().map(|word| (*word, add(word))).collect();
        let protocols = PROTOCOLS.map(&mut add);
        let decimals = std::array::from_fn(|number| add(&number.to_string()));
        Self { page: Page::from_text(text), words, protocols, decimals }
    }
}

// === impl Words ===

impl Words {
    pub(crate) fn put_into(batch: &mut Batch) -> Self {
        Self { page: batch.push_page(VOCABULARY.page.clone()) }
    }

    fn word(self, word: &str) -> StrRef {
        VOCABULARY
            .words
            .iter()
            .find(|(known, _)| *known == word)
            .map_or(StrRef::ABSENT, |(_, place)| self.here(*place))
    }

    fn here(self, place: StrRef) -> StrRef {
        if place.is_absent() { place } else { StrRef { page: self.page, ..place } }
    }
}

// === impl Fields ===

impl Fields<'_> {
    /// Every row of the batch, parsed or not.
    pub(crate) fn rows(&self) -> std::ops::Range<usize> {
        0..self.parsed.len()
    }

    /// Whether `row` has a value in the column `field`.
    pub(crate) fn has(&self, field: Option<usize>, row: usize) -> bool {
        field.is_some_and(|field| match &self.cells[field] {
            Cells::Text(cells) => !cells[row].is_absent(),
            Cells::Integer(cells) => cells[row] != ABSENT_INT,
        })
    }

    /// The numbers of the column `field`.
    pub(crate) fn integers(&self, field: Option<usize>) -> Option<&[i64]> {
        match &self.cells[field?] {
            Cells::Integer(cells) => Some(cells),
            Cells::Text(_) => None,
        }
    }

    fn texts(&self, field: Option<usize>) -> Option<&[StrRef]> {
        match &self.cells[field?] {
            Cells::Text(cells) => Some(cells),
            Cells::Integer(_) => None,
        }
    }

    /// A column of texts: what `each` gives for the rows that parsed.
    fn column(&self, mut each: impl FnMut(usize) -> StrRef) -> Column {
        let cells = self.rows().map(|row| if self.parsed.contains(row) { each(row) } else { StrRef::ABSENT });
        Column::Str(cells.collect())
    }

    /// `word` where `holds`.
    pub(crate) fn words_where(&self, word: &str, holds: impl Fn(usize) -> bool) -> Column {
        self.words([word], |row| holds(row).then_some(0))
    }

    /// One of `words` by its number, or nothing.
    pub(crate) fn words<const N: usize>(
        &self,
        words: [&str; N],
        which: impl Fn(usize) -> Option<usize>,
    ) -> Column {
        let words = words.map(|word| self.words.word(word));
        self.column(|row| which(row).map_or(StrRef::ABSENT, |word| words[word]))
    }

    /// One of `lists` by its number, or nothing.
    pub(crate) fn lists(
        &self,
        batch: &mut Batch,
        lists: &[&[&str]],
        which: impl Fn(usize) -> Option<usize>,
    ) -> Column {
        let lists: Vec<u32> = lists
            .iter()
            .map(|list| batch.tag_list(&list.iter().map(|word| Arc::from(*word)).collect::<Vec<_>>()))
            .collect();
        let cells = self.rows().map(|row| {
            let list = self.parsed.contains(row).then(|| which(row)).flatten();
            list.map_or(ABSENT_TAGS, |list| lists[list])
        });
        Column::Tags(cells.collect())
    }

    /// The text of `row` in the column `field`.
    pub(crate) fn text<'b>(&self, batch: &'b Batch, field: Option<usize>, row: usize) -> Option<&'b str> {
        let place = self.texts(field)?[row];
        (!place.is_absent()).then(|| batch.text(place))
    }

    /// The texts of the column `field` in lower case.
    pub(crate) fn lower_case(&self, batch: &mut Batch, field: Option<usize>) -> Column {
        let Some(places) = self.texts(field) else { return Column::Absent };
        let [accept, reject] = ["accept", "reject"].map(|word| self.words.word(word));
        self.column(|row| match places[row] {
            StrRef::ABSENT => StrRef::ABSENT,
            place => match batch.text(place) {
                "ACCEPT" => accept,
                "REJECT" => reject,
                other => {
                    let lower = other.to_lowercase();
                    batch.push_text(&lower)
                }
            },
        })
    }

    /// The texts of the column `field` where `holds`.
    pub(crate) fn texts_where(&self, field: Option<usize>, holds: impl Fn(usize) -> bool) -> Column {
        let Some(places) = self.texts(field) else { return Column::Absent };
        self.column(|row| if holds(row) { places[row] } else { StrRef::ABSENT })
    }

    /// The addresses in the column `field`, none where the text is no address.
    pub(crate) fn addresses(&self, batch: &Batch, field: Option<usize>) -> Vec<Option<IpAddr>> {
        self.rows().map(|row| self.text(batch, field, row)?.parse().ok()).collect()
    }

    /// The numbers of the column `field` as text.
    pub(crate) fn decimals(&self, batch: &mut Batch, field: Option<usize>) -> Column {
        let Some(numbers) = self.integers(field) else { return Column::Absent };
        self.column(|row| match numbers[row] {
            ABSENT_INT => StrRef::ABSENT,
            number => match usize::try_from(number).ok().and_then(|number| VOCABULARY.decimals.get(number)) {
                Some(place) => self.words.here(*place),
                None => batch.push_text(&number.to_string()),
            },
        })
    }

    /// The names of the protocols in the column `field`; none for a number without one.
    pub(crate) fn protocol_names(&self, field: Option<usize>) -> Column {
        let Some(numbers) = self.integers(field) else { return Column::Absent };
        self.column(|row| {
            let name = usize::try_from(numbers[row]).ok().and_then(|number| VOCABULARY.protocols.get(number));
            name.map_or(StrRef::ABSENT, |place| self.words.here(*place))
        })
    }

    /// The Community IDs of the flows between `ends`.
    pub(crate) fn community_ids(
        &self,
        batch: &mut Batch,
        protocol: Option<usize>,
        ends: [&[Option<IpAddr>]; 2],
        ports: [Option<usize>; 2],
    ) -> Column {
        let Some(protocols) = self.integers(protocol) else { return Column::Absent };
        let port = |end: usize, row: usize| u16::try_from(self.integers(ports[end])?[row]).ok();
        let id = |row: usize| {
            let [source, destination] =
                [0, 1].map(|end| ends[end][row].map(|address| (address, port(end, row))));
            community_id(u8::try_from(protocols[row]).ok()?, source?, destination?)
        };
        self.column(|row| match id(row) {
            Some(id) => batch.push_text(&String::from_utf8_lossy(&id)),
            None => StrRef::ABSENT,
        })
    }

    /// The names of the bits set in the column `field`; nothing where none is.
    pub(crate) fn flags(&self, batch: &mut Batch, field: Option<usize>) -> Column {
        let Some(numbers) = self.integers(field) else { return Column::Absent };
        let mut lists = [ABSENT_TAGS; 1 << TCP_FLAGS.len()];
        let cells = self.rows().map(|row| {
            let bits = if numbers[row] == ABSENT_INT { 0 } else { numbers[row] as usize % lists.len() };
            if bits != 0 && lists[bits] == ABSENT_TAGS {
                let names = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
                lists[bits] = batch.tag_list(&names.map(|(_, name)| Arc::from(*name)).collect::<Vec<_>>());
            }
            lists[bits]
        });
        Column::Tags(cells.collect())
    }

    /// Every address of a row, each once: a list of its own, and so the one thing here that allocates for every row.
    pub(crate) fn related(
        &self,
        batch: &Batch,
        addresses: [(Option<usize>, &[Option<IpAddr>]); 4],
    ) -> Column {
        let list = |row: usize| {
            let mut texts: Vec<&str> = Vec::with_capacity(addresses.len());
            for (field, parsed) in addresses {
                if let Some(text) = self.text(batch, field, row)
                    && parsed[row].is_some()
                    && !texts.contains(&text)
                {
                    texts.push(text);
                }
            }
            (!texts.is_empty()).then(|| Value::from(texts))
        };
        Column::Any(self.rows().map(list).collect())
    }
}
