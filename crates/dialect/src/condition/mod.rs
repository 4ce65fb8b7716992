//! Conditions in the language of Logstash's conditionals: `"OK" in [message] and [srcport] != 22`.
//!
//! The grammar and the answers are those of Logstash's Java execution engine (the default from 7.0). Where that
//! engine throws while it runs, because a comparison cannot be made, the answer here is false and counted.

mod eval;
mod lexer;
mod parser;

use crate::ExprError;
use flowstone_core::event::{Batch, BitSet, Path, RowView};
use flowstone_core::{Diagnostic, Diagnostics, Node, OptionType};

use eval::Expr;

/// A condition, parsed once and asked for whole batches.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    expr: Expr,
    warnings: Vec<ExprError>,
}

/// The rows for which a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Those rows.
    pub rows: BitSet,
    /// How often a comparison could not be made (a missing field, a string with a number) and so was false.
    pub incomparable: u64,
}

// === impl Condition ===

impl Condition {
    /// Reads a condition. What Logstash refuses at start is refused here, and so is a function call: Logstash
    /// ignores a function's name, which makes `not ([a])` mean `[a]`.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let (expr, warnings) = parser::parse(text)?;
        Ok(Self { text: text.to_owned(), expr, warnings })
    }

    /// For which of `rows` it holds.
    pub fn select(&self, batch: &Batch, rows: &BitSet) -> Selection {
        let mut incomparable = 0;
        let rows = self.expr.select(batch, rows, &mut incomparable);
        Selection { rows, incomparable }
    }

    /// Whether it holds for one row.
    pub fn holds(&self, row: RowView<'_>) -> bool {
        self.expr.holds(row)
    }

    /// The fields it reads, each once, in the order of the text.
    pub fn fields(&self) -> Vec<Path> {
        let mut fields = Vec::new();
        self.expr.visit_fields(&mut |path| {
            if !fields.contains(path) {
                fields.push(path.clone());
            }
        });
        fields
    }

    /// What is allowed, but hardly meant: `["x"]` is the field named `"x"`, not a list of one.
    pub fn warnings(&self) -> &[ExprError] {
        &self.warnings
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
        let condition =
            Self::parse(&text).map_err(|error| error.report("condition", node, diagnostics)).ok()?;
        for warning in &condition.warnings {
            let span = node.span_within(warning.start, warning.end);
            diagnostics.push(Diagnostic::warning("condition", &warning.message, span).label(&warning.label));
        }
        Some(condition)
    }

    fn show(&self) -> String {
        self.text.show()
    }
}

#[cfg(test)]
mod tests;
