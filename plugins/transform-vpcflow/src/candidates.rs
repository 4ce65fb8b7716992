//! Candidate formats: which one a line has, by the number of its values and then by what they look like.

use crate::format::{Format, FormatField, is_header};
use crate::scan::{record_behind_time, values};

/// One format, or several among which each line chooses.
#[derive(Debug)]
pub(crate) struct Candidates {
    formats: Vec<Format>,
    /// The fields of all formats, each once, in the order in which the formats bring them.
    fields: Vec<FormatField>,
    /// For each format, which of `fields` each value of a line holds.
    pub(crate) columns: Vec<Vec<usize>>,
    /// A line may have more values than its format has fields.
    pub(crate) extra_fields: bool,
    /// The values of a header line would pass for a record's, because no format has a field of numbers.
    headers_pass: bool,
}

/// Which format a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This one.
    One(usize),
    /// None of the candidates.
    None,
    /// More than one, and nothing tells which.
    Several,
}

// === impl Candidates ===

impl Candidates {
    /// Candidates out of these formats; repeated ones count once.
    pub(crate) fn new(formats: Vec<Format>, extra_fields: bool) -> Self {
        let mut kept: Vec<Format> = Vec::with_capacity(formats.len());
        for format in formats {
            if !kept.contains(&format) {
                kept.push(format);
            }
        }
        let mut fields: Vec<FormatField> = Vec::new();
        for field in kept.iter().flat_map(|format| &format.fields) {
            if !fields.contains(field) {
                fields.push(field.clone());
            }
        }
        let column = |field: &FormatField| fields.iter().position(|it| it == field);
        let columns = kept.iter().map(|format| format.fields.iter().filter_map(column).collect()).collect();
        let headers_pass = kept.iter().any(|format| !format.fields.iter().any(FormatField::is_integer));
        Self { formats: kept, fields, columns, extra_fields, headers_pass }
    }

    /// The formats.
    pub(crate) fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// The fields of all formats, each once.
    pub(crate) fn fields(&self) -> &[FormatField] {
        &self.fields
    }

    /// The column of the field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| &*field.name == name)
    }

    /// The number of fields, where there is but one format and so only the number of a line's values is asked for;
    /// [`Candidates::fields`] are then that format's, in its order.
    pub(crate) fn taken_at_its_word(&self) -> Option<usize> {
        (self.formats.len() == 1 && !self.headers_pass).then_some(self.fields.len())
    }

    /// Whether a line with `count` values has what a format of so many `fields` asks for.
    #[inline]
    pub(crate) fn has_enough(&self, fields: usize, count: usize) -> bool {
        count == fields || (self.extra_fields && count > fields)
    }

    /// Whether `line` is the header line of one of the formats.
    pub(crate) fn is_header(&self, line: &str) -> bool {
        self.formats.iter().any(|format| format.is_header(line))
    }

    /// A line of `count` values without the time that a CloudWatch export puts in front of each. A format that has
    /// room for a first value like it keeps it.
    pub(crate) fn record<'a>(&self, line: &'a str, count: usize) -> &'a str {
        let Some(record) = record_behind_time(line.as_bytes()) else { return line };
        let keeps = |format: &Format| {
            let fields = format.fields.len();
            let exact = fields == count && (self.formats.len() == 1 || format.fits(values(line)));
            exact || (format.fields[0].known.is_none() && self.has_enough(fields, count))
        };
        if self.formats.iter().any(keeps) { line } else { &line[record..] }
    }

    /// Which format a line with these `count` values has.
    ///
    /// A single format is taken at its word. Among several, each value must look like its field, because the line may
    /// also be of a format that nobody listed: of a flow log that was deleted and made anew.
    pub(crate) fn choose<'a>(&self, values: impl Iterator<Item = &'a str> + Clone, count: usize) -> Choice {
        let is_own = |format: &Format| format.fields.len() == count && format.is_header_of(values.clone());
        if self.headers_pass && (self.formats.iter().any(is_own) || is_header(values.clone())) {
            return Choice::None;
        }
        let single = self.formats.len() == 1;
        let fitting = |fields: usize| {
            let mut fitting = self.formats.iter().enumerate().filter(|(_, format)| {
                format.fields.len() == fields && (single || format.fits(values.clone()))
            });
            match (fitting.next(), fitting.next()) {
                (None, _) => Choice::None,
                (Some((index, _)), None) => Choice::One(index),
                (Some(_), Some(_)) => Choice::Several,
            }
        };
        let exact = fitting(count);
        if exact != Choice::None || !self.extra_fields {
            return exact;
        }
        let longest = self.formats.iter().map(|format| format.fields.len()).max().unwrap_or(0);
        // The longest format that fits: a shorter one would take a part of the line for the whole.
        (1..count.min(longest + 1))
            .rev()
            .map(fitting)
            .find(|choice| *choice != Choice::None)
            .unwrap_or(Choice::None)
    }
}
