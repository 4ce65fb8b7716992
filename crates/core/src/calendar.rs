//! What date patterns ask of a calendar: English names, weekdays, days of the year and weeks.

use crate::event::Civil;

/// English month names.
pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// English day names, Monday first as in ISO 8601.
pub(crate) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// 1 for Monday to 7 for Sunday.
pub(crate) fn weekday(time: &Civil) -> u8 {
    ((time.epoch_day + 3).rem_euclid(7) + 1) as u8
}

/// 1 for the first of January.
pub(crate) fn day_of_year(time: &Civil) -> u16 {
    const BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_day = u16::from(is_leap(time.year) && time.month > 2);
    BEFORE[usize::from(time.month) - 1] + leap_day + u16::from(time.day)
}

/// The ISO week: its year and its number.
pub(crate) fn week_of(time: &Civil) -> (i64, u8) {
    let week = (i64::from(day_of_year(time)) - i64::from(weekday(time)) + 10) / 7;
    if week < 1 {
        (time.year - 1, weeks_in(time.year - 1))
    } else if week > i64::from(weeks_in(time.year)) {
        (time.year + 1, 1)
    } else {
        (time.year, week as u8)
    }
}

pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// 52, or 53 where the year begins or ends with a Thursday.
fn weeks_in(year: i64) -> u8 {
    // The weekday of the last of December, Sunday being 0.
    let last =
        |year: i64| (year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)).rem_euclid(7);
    52 + u8::from(last(year) == 4 || last(year - 1) == 3)
}

/// The week as the United States count it, and Java in an English locale: weeks begin on Sunday and belong to the
/// year of their Saturday. Its year and its number.
pub(crate) fn us_week_of(time: &Civil) -> (i64, u16) {
    let from_sunday = i64::from(weekday(time)) % 7;
    let day = i64::from(day_of_year(time));
    let year_days = 365 + i64::from(is_leap(time.year));
    if day + 6 - from_sunday > year_days {
        return (time.year + 1, 1);
    }
    // How far the first of January stands behind its Sunday.
    let first = (from_sunday - (day - 1)).rem_euclid(7);
    (time.year, ((day - 1 + first) / 7 + 1) as u16)
}

/// A number with at least `width` digits; a minus stands before the zeros.
pub(crate) fn push_padded(value: i64, width: usize, out: &mut String) {
    // Months, days, hours: nearly every number of a date.
    if width == 2 && (0..100).contains(&value) {
        let digit = |digit: i64| char::from(b'0' + digit as u8);
        out.push(digit(value / 10));
        out.push(digit(value % 10));
        return;
    }
    if value < 0 {
        out.push('-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs());
    out.extend(std::iter::repeat_n('0', width.saturating_sub(digits.len())));
    out.push_str(digits);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weeks_of_the_united_states_begin_on_sunday() {
        for (year, month, day, expect) in [
            (2019, 2, 23, (2019, 8)),
            (2019, 2, 24, (2019, 9)),
            (2019, 12, 28, (2019, 52)),
            (2019, 12, 29, (2020, 1)),
            (2021, 1, 1, (2021, 1)),
            (2021, 1, 3, (2021, 2)),
            (2022, 12, 31, (2022, 53)),
            (2000, 12, 31, (2001, 1)),
        ] {
            let time = Civil::from_millis(Civil::to_millis(year, month, day, 0, 0, 0, 0));
            assert_eq!(us_week_of(&time), expect, "{year}-{month}-{day}");
        }
    }

    proptest! {
        #[test]
        fn weeks_and_days_agree_with_jiff(millis in -60_000_000_000_000i64..60_000_000_000_000) {
            let date = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_millisecond(millis).unwrap()).date();
            let week = date.iso_week_date();
            let time = Civil::from_millis(millis);
            prop_assert_eq!(week_of(&time), (i64::from(week.year()), week.week() as u8));
            prop_assert_eq!(weekday(&time), week.weekday().to_monday_one_offset() as u8);
            prop_assert_eq!(day_of_year(&time), date.day_of_year() as u16);
        }
    }
}
