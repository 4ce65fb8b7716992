//! The transform: which rows have a date, what instants they mean, and one column that holds them.

use std::collections::HashMap;
use std::sync::Arc;

use flowstone_core::event::{ABSENT_INT, Batch, BitSet, Cell, Column, Path};
use flowstone_core::{Transform, TransformCx};
use flowstone_dialect::{BoundTemplate, Template};

use crate::bucket::Bucket;
use crate::format::{Around, CalendarFormat, Format, Now};
use crate::names::LocaleNames;
use crate::zone::Zone;

/// What a `date` does, shared by its forks.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The field that is read.
    pub(crate) source: Path,
    /// At least one; in the order in which they are tried.
    pub(crate) formats: Vec<Format>,
    /// The field that becomes the instant.
    pub(crate) target: Path,
    /// The zone of dates that name none.
    pub(crate) zone: ZoneOption,
    /// The names of months and days.
    pub(crate) names: LocaleNames,
    /// The tags of an event whose date no format fits.
    pub(crate) tags_on_failure: Vec<Arc<str>>,
    /// The zone by which it is this year and this month.
    pub(crate) machine: Zone,
}

/// `timezone`.
#[derive(Clone, Debug)]
pub(crate) enum ZoneOption {
    /// The same for every event.
    Fixed(Zone),
    /// The one that each event names.
    OfEvent(Template),
}

/// The transform.
pub(crate) struct Date {
    spec: Arc<Spec>,
    reader: Reader,
}

/// Reads texts; keeps what need not be made anew for each.
#[derive(Default)]
struct Reader {
    bucket: Bucket,
    zones: Zones,
    /// One for each format: lines that follow one another often have the same date.
    last: Vec<Last>,
}

/// The text that a format read last in this batch, and what it made of it.
#[derive(Clone, Default)]
struct Last {
    text: String,
    zone: usize,
    instant: Option<i64>,
    is_set: bool,
}

/// Zones by the names that events give, known ones and those that are none.
#[derive(Default)]
struct Zones {
    by_name: HashMap<String, usize>,
    /// The zone of number `first` and those behind it: a number never means another zone.
    zones: Vec<Option<Zone>>,
    first: usize,
    /// The name of the row before and the number of its zone.
    last: Option<(String, usize)>,
    name: String,
}

/// Names of zones that are kept; events may give any text as one.
const MAX_ZONES: usize = 1024;

/// What became of the rows.
struct Read {
    /// By row; [`ABSENT_INT`] where there is none.
    instants: Vec<i64>,
    /// Rows with a date that no format fits.
    failed: BitSet,
    /// Rows that stay as they are.
    without: BitSet,
}

// === impl Date ===

impl Date {
    pub(crate) fn new(spec: Spec) -> Self {
        Self { spec: Arc::new(spec), reader: Reader::default() }
    }
}

impl Transform for Date {
    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>) {
        let spec = Arc::clone(&self.spec);
        let mut read = self.reader.read(&spec, batch, cx.now_ms());
        write(&spec.target, batch, &mut read);
        let failures = read.failed.count() as u64;
        if failures > 0 {
            batch.tag_rows(&read.failed, &spec.tags_on_failure);
            cx.metrics().error("date", failures);
        }
        [&read.failed, &read.without].into_iter().for_each(|rows| batch.rows_not_matched(rows));
    }

    /// An event without the field keeps the time at which it was read: whether there are such events, only the
    /// pipeline's author knows.
    fn dates(&self) -> bool {
        self.spec.target == Path::timestamp()
    }

    fn rejects(&self) -> bool {
        false
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Self { spec: Arc::clone(&self.spec), reader: Reader::default() })
    }
}

// === impl Reader ===

impl Reader {
    fn read(&mut self, spec: &Spec, batch: &Batch, now_ms: i64) -> Read {
        let rows = batch.len();
        let mut read = Read {
            instants: vec![ABSENT_INT; rows],
            failed: BitSet::none(rows),
            without: BitSet::none(rows),
        };
        self.last.resize(spec.formats.len(), Last::default());
        self.last.iter_mut().for_each(|last| last.is_set = false);
        let now = Now::at(now_ms, &spec.machine);
        let zone_of_row = match &spec.zone {
            ZoneOption::Fixed(_) => None,
            ZoneOption::OfEvent(template) => Some(template.bind(batch)),
        };
        let mut settle = |reader: &mut Self, row: usize, cell: Cell<'_>| {
            let instant = match cell {
                Cell::Absent | Cell::Null => return read.without.insert(row),
                Cell::Str(text) => reader.text(spec, now, zone_of_row.as_ref(), row, text),
                Cell::Int(value) => spec.formats.iter().find_map(|format| format.of_int(value)),
                Cell::Float(value) => spec.formats.iter().find_map(|format| format.of_float(value)),
                // Lists, objects, booleans, instants.
                _ => None,
            };
            match instant.filter(|instant| *instant != ABSENT_INT) {
                Some(instant) => read.instants[row] = instant,
                None => read.failed.insert(row),
            }
        };
        match own_column(batch, &spec.source) {
            Some(index) => batch.active_rows().for_each(|row| settle(self, row, batch.cell(index, row))),
            None => batch.active_rows().for_each(|row| {
                let value = batch.get(row, &spec.source);
                settle(self, row, value.as_ref().map_or(Cell::Absent, Cell::of));
            }),
        }
        read
    }

    #[inline]
    fn text(
        &mut self,
        spec: &Spec,
        now: Now,
        zone_of_row: Option<&BoundTemplate<'_>>,
        row: usize,
        text: &str,
    ) -> Option<i64> {
        spec.formats.iter().enumerate().find_map(|(number, format)| {
            format.of_text(text, |format| self.calendar(spec, now, zone_of_row, row, (number, format), text))
        })
    }

    fn calendar(
        &mut self,
        spec: &Spec,
        now: Now,
        zone_of_row: Option<&BoundTemplate<'_>>,
        row: usize,
        (number, format): (usize, &CalendarFormat),
        text: &str,
    ) -> Option<i64> {
        let zone_number = zone_of_row.map_or(0, |template| self.zones.number(template, row));
        let last = &mut self.last[number];
        if last.is_set && last.zone == zone_number && last.text == text {
            return last.instant;
        }
        let zone = match &spec.zone {
            ZoneOption::Fixed(zone) => Some(zone),
            ZoneOption::OfEvent(_) => self.zones.get(zone_number),
        };
        let instant = zone.and_then(|zone| {
            format.instant(text, Around { names: &spec.names, zone, now }, &mut self.bucket)
        });
        last.text.clear();
        last.text.push_str(text);
        (last.zone, last.instant, last.is_set) = (zone_number, instant, true);
        instant
    }
}

// === impl Zones ===

impl Zones {
    fn get(&self, number: usize) -> Option<&Zone> {
        self.zones.get(number.checked_sub(self.first)?)?.as_ref()
    }

    /// The number of the zone that a row names.
    fn number(&mut self, template: &BoundTemplate<'_>, row: usize) -> usize {
        self.name.clear();
        template.render(row, &mut self.name);
        if let Some((name, number)) = &self.last
            && *name == self.name
        {
            return *number;
        }
        let number = match self.by_name.get(&self.name) {
            Some(number) => *number,
            None => {
                if self.zones.len() >= MAX_ZONES {
                    self.first += self.zones.len();
                    self.by_name.clear();
                    self.zones.clear();
                }
                let next = self.first + self.zones.len();
                self.zones.push(Zone::find(&self.name));
                self.by_name.insert(self.name.clone(), next);
                next
            }
        };
        let (last, last_number) = self.last.get_or_insert_default();
        last.clone_from(&self.name);
        *last_number = number;
        number
    }
}

/// The column that holds `path` in every row that has it; none where a row may have it within an object or spread over
/// other columns.
fn own_column(batch: &Batch, path: &Path) -> Option<usize> {
    if batch.has_relatives(path) { None } else { batch.schema().position(path) }
}

/// Puts the instants where they belong. One that has no place there, because something that is no object stands in the
/// way, fails.
fn write(target: &Path, batch: &mut Batch, read: &mut Read) {
    if read.instants.iter().all(|instant| *instant == ABSENT_INT) {
        return;
    }
    let instants = Column::Time(std::mem::take(&mut read.instants));
    for (row, error) in batch.overlay(vec![(target.clone(), instants)]) {
        tracing::debug!(%error, "an instant has no place");
        read.failed.insert(row);
    }
}
