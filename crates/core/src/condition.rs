//! Conditions in the language of Logstash's conditionals: `"OK" in [message] and [srcport] != 22`.

use crate::event::{Batch, BitSet, Path, RowView};
use crate::{Diagnostics, Node, OptionType};

/// Why a condition or a template cannot be read: a place in its text and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// What was expected: stands beside the caret.
    pub label: String,
    /// First byte of the text to point at.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

/// A condition, parsed once and asked for whole batches.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
}

/// The rows for which a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Those rows.
    pub rows: BitSet,
    /// How often a comparison could not be made (a missing field, a string with a number) and so was false.
    pub incomparable: u64,
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self { text: text.to_owned() })
    }

    /// For which of `rows` it holds.
    pub fn select(&self, batch: &Batch, rows: &BitSet) -> Selection {
        let _ = batch;
        Selection { rows: rows.clone(), incomparable: 0 }
    }

    /// Whether it holds for one row.
    pub fn holds(&self, _row: RowView<'_>) -> bool {
        true
    }

    /// The fields it reads.
    pub fn fields(&self) -> Vec<Path> {
        Vec::new()
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl OptionType for Condition {
    const TYPE: &'static str = "condition";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = String::read(node, diagnostics)?;
        Self::parse(&text).ok()
    }

    fn show(&self) -> String {
        self.text.show()
    }
}
