//! What date patterns ask of a calendar beyond [`Civil`]: English names and American weeks; and numbers as they write
//! them.

use flowstone_core::event::{Civil, Digits};

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

/// The week as the United States count it, and Java in an English locale: weeks begin on Sunday and belong to the
/// year of their Saturday. Its year and its number.
pub(crate) fn us_week_of(time: &Civil) -> (i64, u16) {
    let from_sunday = i64::from(time.weekday()) % 7;
    let day = i64::from(time.day_of_year());
    let year_days = 365 + i64::from(Civil::is_leap(time.year));
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
    let digits = Digits::of(value);
    let digits = digits.as_str().trim_start_matches('-');
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
            prop_assert_eq!(time.iso_week(), (i64::from(week.year()), week.week() as u8));
            prop_assert_eq!(time.weekday(), week.weekday().to_monday_one_offset() as u8);
            prop_assert_eq!(time.day_of_year(), date.day_of_year() as u16);
        }
    }
}
