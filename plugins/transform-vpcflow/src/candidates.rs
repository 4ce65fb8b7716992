//! Candidate formats: which one a line has, by the number of its values and then by what they look like.

use crate::format::{Format, FormatField};

/// One format, or several among which each line chooses.
#[derive(Debug)]
pub(crate) struct Candidates {
    formats: Vec<Format>,
    /// The fields of all formats, each once, in the order in which the formats bring them.
    fields: Vec<FormatField>,
    /// For each format and each of `fields`: which value of a line holds it.
    places: Vec<Vec<Option<u16>>>,
    /// A line may have more values than its format has fields.
    extra_fields: bool,
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
        let places = kept
            .iter()
            .map(|format| {
                fields
                    .iter()
                    .map(|field| format.fields.iter().position(|it| it == field).map(|at| at as u16))
                    .collect()
            })
            .collect();
        let headers_pass = kept.iter().any(|format| !format.fields.iter().any(FormatField::is_integer));
        Self { formats: kept, fields, places, extra_fields, headers_pass }
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

    /// Whether a line may have more values than its format has fields.
    pub(crate) fn allow_extra_fields(&self) -> bool {
        self.extra_fields
    }

    /// The most values that a line can use.
    pub(crate) fn most_values(&self) -> usize {
        self.formats.iter().map(|format| format.fields.len()).max().unwrap_or(0)
    }

    /// Which value of a line of `format` holds `field`.
    #[inline]
    pub(crate) fn place(&self, format: usize, field: usize) -> Option<usize> {
        self.places[format][field].map(usize::from)
    }

    /// Whether `line` is the header line of one of the formats.
    pub(crate) fn is_header(&self, line: &str) -> bool {
        self.formats.iter().any(|format| format.is_header(line))
    }

    /// Which format a line with `count` values has; `edges` are places in `page` (see [`crate::scan`]) and hold at
    /// least the values that any format uses.
    ///
    /// A single format is taken at its word: only the count is asked for. Among several, each value must look like
    /// its field, because the line may also be of a format that nobody listed.
    #[inline]
    pub(crate) fn choose(&self, page: &str, edges: &[u32], count: usize) -> Choice {
        if let [format] = self.formats.as_slice()
            && !self.headers_pass
        {
            let fits = count == format.fields.len() || (self.extra_fields && count > format.fields.len());
            return if fits { Choice::One(0) } else { Choice::None };
        }
        let used = count.min(self.most_values());
        let values = edges[..2 * used].chunks_exact(2).map(|edge| &page[edge[0] as usize..edge[1] as usize]);
        self.choose_by_values(values, count)
    }

    /// The same for one format without numbers and for several formats.
    pub(crate) fn choose_by_values<'a>(
        &self,
        values: impl Iterator<Item = &'a str> + Clone,
        count: usize,
    ) -> Choice {
        if self.headers_pass
            && self
                .formats
                .iter()
                .any(|format| format.fields.len() == count && format.is_header_of(values.clone()))
        {
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
        // The longest format that fits: a shorter one would take a part of the line for the whole.
        (1..count.min(self.most_values() + 1))
            .rev()
            .map(fitting)
            .find(|choice| *choice != Choice::None)
            .unwrap_or(Choice::None)
    }
}
