//! What fields are called in the document: as AWS spells them, in snake case, or by the Elastic Common Schema.

use flowstone_core::choices;
use flowstone_core::event::{ABSENT_INT, Batch, BitSet, Column, Path};

use crate::candidates::Candidates;
use crate::ecs::Ecs;
use crate::parse::Cells;

choices! {
    /// What the fields are called.
    pub enum FieldNames {
        /// As AWS spells them: `account-id`.
        Aws = "aws",
        /// With underscores, as Athena and Parquet have them: `account_id`.
        Snake = "snake",
        /// By the Elastic Common Schema: `cloud.account.id`; what it has no name for is `aws.vpcflow.*`.
        Ecs = "ecs",
    }
}

choices! {
    /// Where an event's `@timestamp` comes from.
    pub enum TimestampFrom {
        /// When the first packet of the flow was seen.
        Start = "start",
        /// When the last packet of the flow was seen.
        End = "end",
        /// Nowhere: `@timestamp` stays as it is.
        None = "none",
    }
}

/// The names of the columns of some [`Candidates`], made once.
#[derive(Debug)]
pub(crate) struct Naming {
    style: Style,
    timestamp: Option<usize>,
}

#[derive(Debug)]
enum Style {
    /// One column for each field, under these names.
    Plain(Vec<Path>),
    Ecs(Box<Ecs>),
}

// === impl Naming ===

impl Naming {
    pub(crate) fn new(candidates: &Candidates, names: FieldNames, timestamp: TimestampFrom) -> Self {
        let plain = |rename: fn(&str) -> String| {
            Style::Plain(candidates.fields().iter().map(|field| Path::top(&rename(&field.name))).collect())
        };
        Self {
            style: match names {
                FieldNames::Aws => plain(str::to_owned),
                FieldNames::Snake => plain(snake),
                FieldNames::Ecs => Style::Ecs(Box::new(Ecs::new(candidates))),
            },
            timestamp: match timestamp {
                TimestampFrom::Start => candidates.field("start"),
                TimestampFrom::End => candidates.field("end"),
                TimestampFrom::None => None,
            },
        }
    }

    /// Every path that may be written to.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match &self.style {
            Style::Plain(paths) => paths.iter().collect(),
            Style::Ecs(ecs) => ecs.paths(),
        }
    }

    /// The columns of the document. `cells` are those of the candidates' fields, present in the rows `parsed`; texts
    /// that are not in the lines are put into pages of `batch`.
    pub(crate) fn columns(
        &self,
        cells: Vec<Cells>,
        parsed: &BitSet,
        batch: &mut Batch,
    ) -> Vec<(Path, Column)> {
        let timestamp = match self.timestamp.map(|field| &cells[field]) {
            Some(Cells::Integer(epochs)) => Some((Path::timestamp(), times(epochs))),
            _ => None,
        };
        let mut columns = match &self.style {
            Style::Plain(paths) => {
                paths.iter().cloned().zip(cells.into_iter().map(Cells::into_column)).collect()
            }
            Style::Ecs(ecs) => ecs.columns(cells, parsed, batch),
        };
        columns.extend(timestamp);
        columns
    }
}

/// A name with underscores: `account_id`.
pub(crate) fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// Instants out of AWS's epochs. They are seconds, but milliseconds have been seen (in SKIPDATA records of 2017); what
/// would be after the year 5138 as seconds is taken as milliseconds.
pub(crate) fn times(epochs: &[i64]) -> Column {
    const LAST_SECOND: u64 = 100_000_000_000;
    let millis = |&epoch: &i64| match epoch {
        ABSENT_INT => ABSENT_INT,
        seconds if seconds.unsigned_abs() <= LAST_SECOND => seconds * 1000,
        millis => millis,
    };
    Column::Time(epochs.iter().map(millis).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_seconds_unless_they_are_too_large() {
        let cases = [
            (1_418_530_010, 1_418_530_010_000),
            (1_512_564_058_000, 1_512_564_058_000),
            (100_000_000_000, 100_000_000_000_000),
            (100_000_000_001, 100_000_000_001),
            (0, 0),
            (-1, -1000),
            (i64::MAX, i64::MAX),
            (-i64::MAX, -i64::MAX),
            (ABSENT_INT, ABSENT_INT),
        ];
        let Column::Time(found) = times(&cases.map(|(epoch, _)| epoch)) else { panic!() };
        assert_eq!(found, cases.map(|(_, millis)| millis));
    }
}
