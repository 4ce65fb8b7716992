//! The transform: finds each row's line and format, has the lines parsed, and puts the columns into the batch.

use std::collections::HashMap;
use std::sync::Arc;

use flowstone_core::event::{BitSet, Column, METADATA, Reject, StrRef};
use flowstone_core::prelude::*;

use crate::candidates::Candidates;
use crate::format::{Format, FormatError};
use crate::judge::{Judgement, judge};
use crate::names::{FieldNames, Naming, TimestampFrom};
use crate::parse::{Cells, Parsed, Scratch};
use crate::{ExtraFields, VpcflowOptions, read_formats};

metrics! {
    /// What it counts beside what every transform counts.
    pub(crate) struct VpcflowMetrics {
        /// records that say that AWS skipped some
        skipdata: counter "vpcflow_skipdata_total",
    }
}

/// Parses flow log lines.
#[derive(Clone, Debug)]
pub struct Vpcflow {
    settings: Settings,
    /// What lines are read by whose source does not know their format.
    default: Arc<Layout>,
    /// What the sources of other records said, by their words.
    stated: HashMap<Box<str>, Result<Arc<Layout>, FormatError>>,
    /// `[@metadata][flow_log_format]`.
    stated_at: Path,
    scratch: Scratch,
}

#[derive(Clone, Debug)]
struct Settings {
    names: FieldNames,
    timestamp: TimestampFrom,
    extra_fields: bool,
    keep_message: bool,
    source: Path,
}

/// Formats and what their columns are called.
#[derive(Debug)]
struct Layout {
    candidates: Candidates,
    naming: Naming,
    /// Paths above those that are written to: a value that is no object there would be in the way.
    above: Vec<Path>,
}

/// Rows that are read by one layout.
struct Group {
    layout: Result<Arc<Layout>, FormatError>,
    rows: BitSet,
}

/// A source may state many formats in its life; beyond this many, all are read anew.
const STATED_FORMATS_KEPT: usize = 256;

// === impl Vpcflow ===

impl Vpcflow {
    /// The transform of these options, or everything that is wrong with them.
    pub fn new(options: &VpcflowOptions) -> Result<Self, Vec<BuildError>> {
        let formats = read_formats(options)?;
        let settings = Settings {
            names: options.names,
            timestamp: options.timestamp.unwrap_or(match options.names {
                FieldNames::Ecs => TimestampFrom::End,
                FieldNames::Aws | FieldNames::Snake => TimestampFrom::Start,
            }),
            extra_fields: options.extra_fields == ExtraFields::Ignore,
            keep_message: options.keep_message,
            source: options.source.clone(),
        };
        Ok(Self {
            default: Arc::new(Layout::new(formats, &settings)),
            settings,
            stated: HashMap::new(),
            stated_at: Path::new([METADATA, "flow_log_format"]),
            scratch: Scratch::default(),
        })
    }

    /// The layout that a source states, one format a line.
    fn stated(&mut self, text: &str) -> Result<Arc<Layout>, FormatError> {
        if let Some(known) = self.stated.get(text) {
            return known.clone();
        }
        let formats: Result<Vec<Format>, FormatError> = text.lines().map(Format::parse).collect();
        let layout = match formats {
            Ok(formats) if formats.is_empty() => Format::parse(text).map(|_| Arc::clone(&self.default)),
            Ok(formats) => Ok(Arc::new(Layout::new(formats, &self.settings))),
            Err(error) => Err(error),
        };
        if self.stated.len() >= STATED_FORMATS_KEPT {
            self.stated.clear();
        }
        self.stated.insert(text.into(), layout.clone());
        layout
    }

    /// Which rows are read by which layout.
    fn groups(&mut self, batch: &Batch, active: &BitSet) -> Vec<Group> {
        let states = |field: &Path| field.is_within(&self.stated_at) || self.stated_at.is_within(field);
        if !batch.schema().fields().iter().any(states) {
            return vec![Group { layout: Ok(Arc::clone(&self.default)), rows: active.clone() }];
        }
        if let Some(Column::Const(value)) = batch.column_of(&self.stated_at) {
            let layout = self.layout_of(Some(value));
            return vec![Group { layout, rows: active.clone() }];
        }
        // Sources state one format for a whole batch, so this is the rare road: batches put together from others.
        let mut groups: Vec<(Option<Value>, BitSet)> = Vec::new();
        for row in active.iter() {
            let value = batch.get(row, &self.stated_at);
            let index = groups.iter().position(|(known, _)| *known == value).unwrap_or_else(|| {
                groups.push((value, BitSet::none(active.len())));
                groups.len() - 1
            });
            groups[index].1.insert(row);
        }
        groups
            .into_iter()
            .map(|(value, rows)| Group { layout: self.layout_of(value.as_ref()), rows })
            .collect()
    }

    fn layout_of(&mut self, stated: Option<&Value>) -> Result<Arc<Layout>, FormatError> {
        match stated {
            None => Ok(Arc::clone(&self.default)),
            Some(Value::Str(text)) => self.stated(text),
            Some(Value::Array(formats)) => {
                let texts: Vec<&str> =
                    formats.iter().map(|format| format.as_str().unwrap_or_default()).collect();
                self.stated(&texts.join("\n"))
            }
            Some(other) => {
                let message = format!("a format is text, found a value of type {}", other.kind());
                Err(FormatError { message, start: 0, end: 0 })
            }
        }
    }

    /// The lines of the rows where the column of the source field is not simply one of texts; absent where a row has
    /// no text there.
    fn gathered_lines(&self, batch: &mut Batch, active: &BitSet) -> Option<Vec<StrRef>> {
        if let Some(Column::Str(_)) = batch.column_of(&self.settings.source) {
            return None;
        }
        let mut lines = vec![StrRef::ABSENT; batch.len()];
        for row in active.iter() {
            if let Some(Value::Str(text)) = batch.get(row, &self.settings.source) {
                lines[row] = batch.push_text(&text);
            }
        }
        Some(lines)
    }

    /// Why `row`, which did not parse, did not.
    fn judge(&self, batch: &Batch, row: usize, line: StrRef, layout: &Layout) -> Judgement {
        if !line.is_absent() {
            return judge(&layout.candidates, batch.text(line));
        }
        let source = &self.settings.source;
        Judgement::Reject(match batch.get(row, source) {
            None => Reject::new(
                "missing_field",
                format!("there is no field `{source}`, expected one with the line"),
            ),
            Some(value) => {
                Reject::new("not_text", format!("`{source}` is of type {}, expected text", value.kind()))
            }
        })
    }

    /// Takes the lines of `rows` out of their documents.
    fn remove_lines(&self, batch: &mut Batch, rows: &BitSet) {
        let source = &self.settings.source;
        let mut others = batch.live_set();
        others.subtract(rows);
        let top = source.names().len() == 1;
        if top && others.count() == 0 {
            return batch.drop_columns(source);
        }
        match batch.column_of(source) {
            Some(Column::Str(lines)) if top => {
                let mut lines = lines.clone();
                rows.iter().for_each(|row| lines[row] = StrRef::ABSENT);
                batch.put_columns(vec![(source.clone(), Column::Str(lines))]);
            }
            _ => rows.iter().for_each(|row| {
                batch.remove(row, source);
            }),
        }
    }
}

impl Transform for Vpcflow {
    /// A format without the field that `timestamp` names dates nothing, but AWS's own formats all have it, and a
    /// header line may bring one that has.
    fn dates(&self) -> bool {
        self.settings.timestamp != TimestampFrom::None
    }

    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>) {
        let active = batch.active_set();
        if active.count() == 0 {
            return;
        }
        let gathered = self.gathered_lines(batch, &active);
        let lines: &[StrRef] = match (&gathered, batch.column_of(&self.settings.source)) {
            (Some(lines), _) => lines,
            (None, Some(Column::Str(lines))) => lines,
            (None, _) => &[],
        };
        let mut judgements: Vec<(usize, Judgement)> = Vec::new();
        let mut parsed_groups: Vec<(Arc<Layout>, Vec<Cells>, BitSet)> = Vec::new();
        let mut skipped = 0;
        for Group { layout, mut rows } in self.groups(batch, &active) {
            let layout = match layout {
                Ok(layout) => layout,
                Err(error) => {
                    let detail = format!("the record's own format is none: {}", error.message);
                    let reject = |row| (row, Judgement::Reject(Reject::new("bad_format", detail.clone())));
                    judgements.extend(rows.iter().map(reject));
                    continue;
                }
            };
            let mut parsed = Parsed::of(&layout.candidates, batch, lines, &rows, &mut self.scratch);
            for &row in &parsed.bad {
                rows.remove(row);
                judgements.push((row, self.judge(batch, row, lines[row], &layout)));
            }
            for (row, reject) in layout.obstructed(batch, &rows, &self.settings) {
                rows.remove(row);
                parsed.blank(row);
                judgements.push((row, Judgement::Reject(reject)));
            }
            skipped += layout.count_skipdata(batch, &parsed.cells);
            parsed_groups.push((layout, parsed.cells, rows));
        }
        if !self.settings.keep_message {
            let mut read = BitSet::none(batch.len());
            parsed_groups.iter().for_each(|(_, _, rows)| read.unite(rows));
            self.remove_lines(batch, &read);
        }
        for (layout, cells, rows) in parsed_groups {
            let columns = layout.naming.columns(cells, &rows, batch);
            let failed = batch.overlay(columns);
            debug_assert!(
                failed.is_empty(),
                "rows with something in the way were rejected before: {failed:?}"
            );
        }
        judgements.sort_unstable_by_key(|(row, _)| *row);
        for (row, judgement) in judgements {
            match judgement {
                Judgement::Discard(reason) => batch.discard(row, reason),
                Judgement::Reject(reject) => batch.reject(row, reject),
            }
        }
        if skipped > 0 {
            cx.metrics().own::<VpcflowMetrics>().skipdata.inc_by(skipped);
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

// === impl Layout ===

impl Layout {
    fn new(formats: Vec<Format>, settings: &Settings) -> Self {
        let candidates = Candidates::new(formats, settings.extra_fields);
        let naming = Naming::new(&candidates, settings.names, settings.timestamp);
        let mut above: Vec<Path> = Vec::new();
        for path in naming.paths() {
            let mut path = path.clone();
            while let Some(parent) = path.parent() {
                if !above.contains(&parent) {
                    above.push(parent.clone());
                }
                path = parent;
            }
        }
        Self { candidates, naming, above }
    }

    /// The rows in which a value that is no object stands where an object must be.
    fn obstructed(&self, batch: &Batch, rows: &BitSet, settings: &Settings) -> Vec<(usize, Reject)> {
        // The line itself makes way.
        let stays = |path: &&Path| settings.keep_message || **path != settings.source;
        let is_column = |path: &&Path| batch.schema().fields().iter().any(|field| path.is_within(field));
        let above: Vec<&Path> = self.above.iter().filter(stays).filter(is_column).collect();
        let mut obstructed = Vec::new();
        for row in rows.iter().take(if above.is_empty() { 0 } else { usize::MAX }) {
            for path in &above {
                match batch.get(row, path) {
                    None | Some(Value::Object(_)) => {}
                    Some(value) => {
                        let kind = value.kind();
                        let detail =
                            format!("`{path}` is of type {kind}, expected an object to put fields into");
                        obstructed.push((row, Reject::new("field_conflict", detail)));
                        break;
                    }
                }
            }
        }
        obstructed
    }

    /// How many records say that AWS skipped others.
    fn count_skipdata(&self, batch: &Batch, cells: &[Cells]) -> u64 {
        match self.candidates.field("log-status").map(|field| &cells[field]) {
            Some(Cells::Text(cells)) => {
                cells.iter().filter(|place| place.len == 8 && batch.text(**place) == "SKIPDATA").count()
                    as u64
            }
            _ => 0,
        }
    }
}
