//! What was read of a date so far, and the time that it makes.

use crate::calendar::{self, Field};
use crate::zone::Zone;

/// Fields and a zone in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket {
    fields: Vec<(Field, i64)>,
    /// Read as an offset; it counts more than a zone's name, wherever it stands.
    offset: Option<Zone>,
    named: Option<Zone>,
}

const YEAR: u16 = 1;
const MONTH: u16 = 1 << 1;
const DAY: u16 = 1 << 2;
const WEEKDAY: u16 = 1 << 3;
const HALFDAY: u16 = 1 << 4;
const HOUR: u16 = 1 << 5;
const MINUTE: u16 = 1 << 6;
const SECOND: u16 = 1 << 7;
const MILLIS: u16 = 1 << 8;

/// The fields are not just those of a calendar date and a time of day, each once.
struct NotPlain;

// === impl Bucket ===

impl Bucket {
    /// Empties it for another text.
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        (self.offset, self.named) = (None, None);
    }

    /// Keeps the value of a field.
    pub(crate) fn save(&mut self, field: Field, value: i64) {
        self.fields.push((field, value));
    }

    /// Keeps the offset from UTC that the text gives, in milliseconds.
    pub(crate) fn save_offset(&mut self, offset: i64) {
        self.offset = Some(Zone::Fixed(offset));
    }

    /// Keeps the zone that the text names.
    pub(crate) fn save_zone(&mut self, zone: Zone) {
        self.named = Some(zone);
    }

    /// How many fields were read.
    pub(crate) fn count(&self) -> usize {
        self.fields.len()
    }

    /// The zone of the text, if it gives any.
    pub(crate) fn zone(&self) -> Option<&Zone> {
        self.offset.as_ref().or(self.named.as_ref())
    }

    /// The local time that the fields make, `default_year` standing in where a month, week or day has no year. Nothing
    /// when a field is out of its range.
    ///
    /// Fields are set from long to short, each cutting off what is below it, and then once more without cutting: a
    /// weekday moves the date within its week, the month of a week year counts in the calendar year.
    pub(crate) fn local(&self, default_year: i64) -> Option<i64> {
        match self.plain_local(default_year) {
            Ok(local) => local,
            Err(NotPlain) => self.any_local(default_year),
        }
    }

    /// [`Bucket::local`] for a calendar date, a weekday and a time of day, each given once: no field cuts into what
    /// another says, so that their order does not count.
    fn plain_local(&self, default_year: i64) -> Result<Option<i64>, NotPlain> {
        let mut found = 0_u16;
        let mut year = 1970;
        let (mut month, mut day) = (1, 1);
        let (mut hour, mut minute, mut second, mut millis) = (0, 0, 0, 0);
        let (mut halfday, mut weekday) = (0, 0);
        for &(field, value) in &self.fields {
            let (slot, value, bit) = match field {
                Field::Year => (&mut year, value, YEAR),
                // Without an era it is the year itself.
                Field::YearOfEra if value > 0 => (&mut year, value, YEAR),
                Field::Month => (&mut month, value, MONTH),
                Field::Day => (&mut day, value, DAY),
                Field::Weekday if (1..8).contains(&value) => (&mut weekday, value, WEEKDAY),
                Field::Hour => (&mut hour, value, HOUR | HALFDAY),
                Field::Halfday => (&mut halfday, value, HALFDAY),
                Field::ClockHourOfHalfday if (1..13).contains(&value) => (&mut hour, value % 12, HOUR),
                Field::Minute => (&mut minute, value, MINUTE),
                Field::Second => (&mut second, value, SECOND),
                Field::MillisOfSecond => (&mut millis, value, MILLIS),
                _ => return Err(NotPlain),
            };
            if found & bit != 0 {
                return Err(NotPlain);
            }
            found |= bit;
            *slot = value;
        }
        if found & YEAR == 0 && found & (MONTH | DAY) != 0 {
            year = default_year;
        }
        let local = calendar::instant([year, month, day, hour + 12 * halfday, minute, second, millis]);
        if found & WEEKDAY == 0 {
            return Ok(local);
        }
        // Without a month and a day the weekday moves the year as well.
        if found & (MONTH | DAY) != MONTH | DAY {
            return Err(NotPlain);
        }
        Ok(local.and_then(|local| Field::Weekday.set(local, weekday)))
    }

    fn any_local(&self, default_year: i64) -> Option<i64> {
        let mut fields = self.fields.clone();
        let long_first = |(field, _): &(Field, i64)| {
            let (range, unit) = field.lengths();
            (std::cmp::Reverse(range), std::cmp::Reverse(unit))
        };
        fields.sort_by_key(long_first);
        if fields.first().is_some_and(|(field, _)| field.needs_year()) {
            fields.push((Field::Year, default_year));
            fields.sort_by_key(long_first);
        }
        let mut local = 0;
        for (field, value) in &fields {
            local = field.floor(field.set(local, *value)?);
        }
        for (field, value) in &fields {
            local = field.set(local, *value)?;
        }
        match fields.last() {
            Some((field, _)) => Some(field.floor(local)),
            None => Some(local),
        }
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::format_iso_millis;

    use super::*;

    fn check(fields: &[(Field, i64)], expect: Option<&str>) {
        let mut bucket = Bucket::default();
        fields.iter().for_each(|&(field, value)| bucket.save(field, value));
        assert_eq!(bucket.local(2016).map(format_iso_millis).as_deref(), expect, "{fields:?}");
    }

    #[test]
    fn fields_in_any_order_make_one_time() {
        check(
            &[
                (Field::Second, 29),
                (Field::Day, 24),
                (Field::Year, 2019),
                (Field::Month, 2),
                (Field::Hour, 9),
            ],
            Some("2019-02-24T09:00:29.000Z"),
        );
        check(&[(Field::Day, 29), (Field::Month, 2)], Some("2016-02-29T00:00:00.000Z"));
        check(&[(Field::Hour, 9)], Some("1970-01-01T09:00:00.000Z"));
        check(&[(Field::Year, 2019), (Field::Month, 2), (Field::Day, 30)], None);
        check(&[], Some("1970-01-01T00:00:00.000Z"));
    }

    #[test]
    fn a_wrong_weekday_moves_the_date_within_its_week() {
        check(
            &[(Field::Weekday, 1), (Field::Month, 2), (Field::Day, 24), (Field::Year, 2019)],
            Some("2019-02-18T00:00:00.000Z"),
        );
    }

    #[test]
    fn a_week_year_beside_months_is_taken_for_the_year() {
        check(
            &[(Field::WeekYear, 2019), (Field::Month, 2), (Field::Day, 24)],
            Some("2019-02-24T00:00:00.000Z"),
        );
        check(
            &[(Field::WeekYear, 2019), (Field::Week, 8), (Field::Weekday, 7)],
            Some("2019-02-24T00:00:00.000Z"),
        );
    }

    #[test]
    fn years_before_christ_are_counted_backwards() {
        check(
            &[(Field::YearOfEra, 44), (Field::Era, 0), (Field::Month, 3)],
            Some("-0043-03-01T00:00:00.000Z"),
        );
    }

    #[test]
    fn half_days_and_their_hours() {
        check(&[(Field::ClockHourOfHalfday, 12), (Field::Halfday, 1)], Some("1970-01-01T12:00:00.000Z"));
        check(&[(Field::ClockHourOfHalfday, 12), (Field::Halfday, 0)], Some("1970-01-01T00:00:00.000Z"));
    }
}
