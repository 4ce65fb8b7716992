//! The fields of a date that a text can give, set one by one on a local time, as Joda-Time's ISO chronology does it.
//!
//! A local time is milliseconds since 1970-01-01T00:00:00 by the clock on the wall. Years are proleptic Gregorian, 1 BC
//! being 0.

use flowstone_core::event::Civil;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const HALFDAY: i64 = 12 * HOUR;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// Lengths that only order fields: a 12th of a mean year, a mean year.
const MONTH: i64 = YEAR / 12;
const YEAR: i64 = 31_556_952_000;
const CENTURY: i64 = 100 * YEAR;
/// No length at all: the range of a year.
const UNBOUNDED: i64 = i64::MAX;

/// Years beyond these do not fit into 64 bits of milliseconds.
const MAX_YEAR: i64 = 292_000_000;

/// A field of a date or a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// 0 before Christ, 1 after.
    Era,
    /// 20 for 2019.
    Century,
    /// Counted from 1 in either era.
    YearOfEra,
    /// The year to which the ISO week belongs.
    WeekYear,
    /// 0 is 1 BC.
    Year,
    /// 1 to 12.
    Month,
    /// ISO week, 1 to 53.
    Week,
    /// 1 to 366.
    DayOfYear,
    /// 1 to 31.
    Day,
    /// 1 for Monday to 7.
    Weekday,
    /// 0 for AM, 1 for PM.
    Halfday,
    /// 0 to 23.
    Hour,
    /// 1 to 24, 24 being midnight.
    ClockHour,
    /// 0 to 11.
    HourOfHalfday,
    /// 1 to 12, 12 being midnight or noon.
    ClockHourOfHalfday,
    /// 0 to 59.
    Minute,
    /// 0 to 59.
    Second,
    /// Milliseconds within a second.
    MillisOfSecond,
    /// Milliseconds within a minute: its fraction in ISO 8601's `09:58.5`.
    MillisOfMinute,
    /// Milliseconds within an hour.
    MillisOfHour,
}

// === impl Field ===

impl Field {
    /// The length within which the field repeats and the length of its unit: fields are set from long to short.
    pub(crate) fn lengths(self) -> (i64, i64) {
        match self {
            Self::Era => (UNBOUNDED, UNBOUNDED),
            Self::Century => (UNBOUNDED, CENTURY),
            Self::YearOfEra | Self::WeekYear | Self::Year => (UNBOUNDED, YEAR),
            Self::Month => (YEAR, MONTH),
            Self::Week => (YEAR, WEEK),
            Self::DayOfYear => (YEAR, DAY),
            Self::Day => (MONTH, DAY),
            Self::Weekday => (WEEK, DAY),
            Self::Halfday => (DAY, HALFDAY),
            Self::Hour | Self::ClockHour => (DAY, HOUR),
            Self::HourOfHalfday | Self::ClockHourOfHalfday => (HALFDAY, HOUR),
            Self::Minute => (HOUR, MINUTE),
            Self::Second => (MINUTE, SECOND),
            Self::MillisOfSecond => (SECOND, 1),
            Self::MillisOfMinute => (MINUTE, 1),
            Self::MillisOfHour => (HOUR, 1),
        }
    }

    /// Whether a date that begins with this field has no year.
    pub(crate) fn needs_year(self) -> bool {
        (DAY..=MONTH).contains(&self.lengths().1)
    }

    /// Sets the field; nothing when `value` is out of its range.
    pub(crate) fn set(self, local: i64, value: i64) -> Option<i64> {
        let civil = Civil::from_millis(local);
        let within = |first: i64, last: i64| (first..=last).contains(&value).then_some(());
        match self {
            Self::Era => {
                within(0, 1)?;
                if (civil.year > 0) == (value == 1) { Some(local) } else { set_year(local, -civil.year) }
            }
            Self::Century => {
                within(0, MAX_YEAR / 100)?;
                let year = value * 100 + civil.year.abs() % 100;
                set_year(local, if civil.year < 0 { -year } else { year })
            }
            Self::YearOfEra => {
                within(1, MAX_YEAR)?;
                set_year(local, if civil.year <= 0 { 1 - value } else { value })
            }
            Self::WeekYear => set_week_year(local, value),
            Self::Year => set_year(local, value),
            Self::Month => {
                within(1, 12)?;
                let day = i64::from(civil.day).min(Civil::days_in_month(civil.year, value));
                Some(date(civil.year, value, day) + local.rem_euclid(DAY))
            }
            Self::Week => {
                let (year, week) = civil.iso_week();
                within(1, if value > 52 { Civil::iso_weeks_in(year).into() } else { 52 })?;
                Some(local + (value - i64::from(week)) * WEEK)
            }
            Self::DayOfYear => {
                within(1, if Civil::is_leap(civil.year) { 366 } else { 365 })?;
                Some(date(civil.year, 1, 1) + (value - 1) * DAY + local.rem_euclid(DAY))
            }
            Self::Day => {
                within(1, Civil::days_in_month(civil.year, i64::from(civil.month)))?;
                Some(local + (value - i64::from(civil.day)) * DAY)
            }
            Self::Weekday => {
                within(1, 7)?;
                Some(local + (value - i64::from(civil.weekday())) * DAY)
            }
            Self::ClockHour => within(1, 24).and_then(|()| Self::Hour.set(local, value % 24)),
            Self::ClockHourOfHalfday => {
                within(1, 12).and_then(|()| Self::HourOfHalfday.set(local, value % 12))
            }
            Self::Halfday
            | Self::Hour
            | Self::HourOfHalfday
            | Self::Minute
            | Self::Second
            | Self::MillisOfSecond
            | Self::MillisOfMinute
            | Self::MillisOfHour => {
                let (range, unit) = self.lengths();
                within(0, range / unit - 1)?;
                let now = local.rem_euclid(range) / unit;
                Some(local + (value - now) * unit)
            }
        }
    }

    /// The beginning of the field's unit: of the year, of the month, of the hour.
    pub(crate) fn floor(self, local: i64) -> i64 {
        let civil = Civil::from_millis(local);
        match self {
            Self::Era if civil.year > 0 => date(1, 1, 1),
            Self::Era => date(-MAX_YEAR, 1, 1),
            Self::Century => date(civil.year / 100 * 100, 1, 1),
            Self::YearOfEra | Self::Year => date(civil.year, 1, 1),
            Self::WeekYear => first_week_of(civil.iso_week().0),
            Self::Month => date(civil.year, i64::from(civil.month), 1),
            Self::Week => (civil.epoch_day + 1 - i64::from(civil.weekday())) * DAY,
            _ => {
                let unit = self.lengths().1;
                local.div_euclid(unit) * unit
            }
        }
    }
}

/// The same day of another year; after the 28th of February the day of the *year* follows the leap day, so that the
/// 29th becomes the 28th.
pub(crate) fn set_year(local: i64, year: i64) -> Option<i64> {
    if !(-MAX_YEAR..=MAX_YEAR).contains(&year) {
        return None;
    }
    let civil = Civil::from_millis(local);
    let (month, day) = match (civil.month, civil.day) {
        (2, 29) if !Civil::is_leap(year) => (2, 28),
        (month, day) => (i64::from(month), i64::from(day)),
    };
    Some(date(year, month, day) + local.rem_euclid(DAY))
}

/// The same weekday of the same week of another week year; a week 53 that is not there becomes 52.
fn set_week_year(local: i64, year: i64) -> Option<i64> {
    if !(-MAX_YEAR..=MAX_YEAR).contains(&year) {
        return None;
    }
    let civil = Civil::from_millis(local);
    let week = i64::from(civil.iso_week().1.min(Civil::iso_weeks_in(year)));
    let weekday = i64::from(civil.weekday());
    Some(first_week_of(year) + (week - 1) * WEEK + (weekday - 1) * DAY + local.rem_euclid(DAY))
}

/// The local time of a calendar date and a time of day: year, month, day, hour, minute, second, millisecond. Nothing
/// when one of them is out of its range.
pub(crate) fn instant([year, month, day, hour, minute, second, millis]: [i64; 7]) -> Option<i64> {
    let is_date = (-MAX_YEAR..=MAX_YEAR).contains(&year)
        && (1..=12).contains(&month)
        && (1..=Civil::days_in_month(year, month)).contains(&day);
    let is_time = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..1000).contains(&millis);
    (is_date && is_time)
        .then(|| date(year, month, day) + hour * HOUR + minute * MINUTE + second * SECOND + millis)
}

fn date(year: i64, month: i64, day: i64) -> i64 {
    Civil::to_millis(year, month as u8, day as u8, 0, 0, 0, 0)
}

/// The Monday of the week with the 4th of January.
fn first_week_of(year: i64) -> i64 {
    let fourth = date(year, 1, 4);
    fourth - (i64::from(Civil::from_millis(fourth).weekday()) - 1) * DAY
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{format_iso_millis, parse_iso_millis};

    use super::*;

    fn check(field: Field, local: &str, value: i64, expect: Option<&str>) {
        let local = parse_iso_millis(&format!("{local}Z")).unwrap();
        let set = field.set(local, value).map(format_iso_millis);
        assert_eq!(set, expect.map(|text| format!("{text}.000Z")), "{field:?} = {value}");
    }

    #[test]
    fn fields_are_set_as_joda_does() {
        for (field, local, value, expect) in [
            (Field::Year, "2000-02-29T01:00:00", 2019, Some("2019-02-28T01:00:00")),
            (Field::Year, "2019-03-01T01:00:00", 2020, Some("2020-03-01T01:00:00")),
            (Field::Month, "2019-01-31T01:00:00", 2, Some("2019-02-28T01:00:00")),
            (Field::Month, "2019-01-31T01:00:00", 13, None),
            (Field::Day, "2019-02-01T00:00:00", 29, None),
            (Field::Day, "2020-02-01T00:00:00", 29, Some("2020-02-29T00:00:00")),
            (Field::DayOfYear, "2019-06-01T00:00:00", 55, Some("2019-02-24T00:00:00")),
            (Field::DayOfYear, "2019-06-01T00:00:00", 366, None),
            (Field::Weekday, "2019-02-24T00:00:00", 1, Some("2019-02-18T00:00:00")),
            (Field::Week, "2019-01-01T00:00:00", 8, Some("2019-02-19T00:00:00")),
            (Field::Week, "2019-01-01T00:00:00", 53, None),
            (Field::Week, "2020-01-02T00:00:00", 53, Some("2020-12-31T00:00:00")),
            (Field::WeekYear, "2020-12-31T00:00:00", 2019, Some("2019-12-26T00:00:00")),
            (Field::Hour, "2019-02-24T05:06:07", 24, None),
            (Field::ClockHour, "2019-02-24T05:06:07", 24, Some("2019-02-24T00:06:07")),
            (Field::ClockHourOfHalfday, "2019-02-24T15:00:00", 12, Some("2019-02-24T12:00:00")),
            (Field::Halfday, "2019-02-24T05:00:00", 1, Some("2019-02-24T17:00:00")),
            (Field::Century, "2019-02-24T00:00:00", 18, Some("1819-02-24T00:00:00")),
            (Field::Second, "2019-02-24T00:00:00", 60, None),
        ] {
            check(field, local, value, expect);
        }
    }

    #[test]
    fn weeks_agree_with_jiff() {
        for day in (-400_000..400_000).step_by(11) {
            let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(day);
            let expect = date.iso_week_date();
            let local = day * DAY;
            let civil = Civil::from_millis(local);
            assert_eq!(civil.iso_week(), (i64::from(expect.year()), expect.week() as u8), "{date}");
            assert_eq!(civil.weekday(), expect.weekday().to_monday_one_offset() as u8, "{date}");
        }
    }

    #[test]
    fn far_years_do_not_overflow() {
        for year in [MAX_YEAR, -MAX_YEAR] {
            let local = set_year(0, year).unwrap();
            for field in [Field::Month, Field::Week, Field::WeekYear, Field::Era, Field::Century] {
                field.floor(local);
                field.set(local, 1);
            }
        }
        assert_eq!(set_year(0, MAX_YEAR + 1), None);
    }
}
