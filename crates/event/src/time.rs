//! Instants as text: `2019-02-24T09:58:29.000Z`, the one form in which documents carry time.

/// A UTC calendar date (proleptic Gregorian) and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1 BC being 0.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999.
    pub millis: u16,
    /// Days since 1970-01-01.
    pub epoch_day: i64,
}

const DAY_MS: i64 = 86_400_000;

impl Civil {
    /// Whether the year has a 29th of February.
    pub fn is_leap(year: i64) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    /// 28 to 31; of a month from 1 to 12.
    pub fn days_in_month(year: i64, month: i64) -> i64 {
        match month {
            2 => 28 + i64::from(Self::is_leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// 1 for Monday to 7 for Sunday.
    pub fn weekday(&self) -> u8 {
        ((self.epoch_day + 3).rem_euclid(7) + 1) as u8
    }

    /// 1 for the first of January.
    pub fn day_of_year(&self) -> u16 {
        const BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap_day = u16::from(Self::is_leap(self.year) && self.month > 2);
        BEFORE[usize::from(self.month) - 1] + leap_day + u16::from(self.day)
    }

    /// The ISO 8601 week: its year and its number.
    pub fn iso_week(&self) -> (i64, u8) {
        let week = (i64::from(self.day_of_year()) - i64::from(self.weekday()) + 10) / 7;
        if week < 1 {
            (self.year - 1, Self::iso_weeks_in(self.year - 1))
        } else if week > i64::from(Self::iso_weeks_in(self.year)) {
            (self.year + 1, 1)
        } else {
            (self.year, week as u8)
        }
    }

    /// How many ISO 8601 weeks a year has: 52, or 53 where it begins or ends with a Thursday.
    pub fn iso_weeks_in(year: i64) -> u8 {
        // The weekday of the last of December, Sunday being 0.
        let last = |year: i64| {
            (year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)).rem_euclid(7)
        };
        52 + u8::from(last(year) == 4 || last(year - 1) == 3)
    }

    /// The UTC date and time of an instant in milliseconds since the epoch. Howard Hinnant's `civil_from_days`.
    pub fn from_millis(millis: i64) -> Self {
        let epoch_day = millis.div_euclid(DAY_MS);
        let of_day = millis.rem_euclid(DAY_MS);
        let z = epoch_day + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = (doy - (153 * mp + 2) / 5 + 1) as u8;
        let month = if mp < 10 { mp + 3 } else { mp - 9 } as u8;
        let year = yoe + era * 400 + i64::from(month <= 2);
        let seconds = of_day / 1000;
        Self {
            year,
            month,
            day,
            hour: (seconds / 3600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
            millis: (of_day % 1000) as u16,
            epoch_day,
        }
    }

    /// The instant in milliseconds since the epoch. Howard Hinnant's `days_from_civil`.
    pub fn to_millis(year: i64, month: u8, day: u8, hour: u8, minute: u8, second: u8, millis: u16) -> i64 {
        let y = if month <= 2 { year - 1 } else { year };
        let era = y.div_euclid(400);
        let yoe = y.rem_euclid(400);
        let mp = (i64::from(month) + 9) % 12;
        let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let days = era * 146_097 + doe - 719_468;
        days * DAY_MS
            + ((i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second)) * 1000
            + i64::from(millis)
    }
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// The 24 characters of [`push_iso_millis`] for years 0 to 9999.
fn iso24(civil: &Civil) -> [u8; 24] {
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let year = civil.year as usize;
    let mut pair = |at: usize, value: usize| out[at..at + 2].copy_from_slice(&PAIRS[value]);
    pair(0, year / 100);
    pair(2, year % 100);
    pair(5, usize::from(civil.month));
    pair(8, usize::from(civil.day));
    pair(11, usize::from(civil.hour));
    pair(14, usize::from(civil.minute));
    pair(17, usize::from(civil.second));
    pair(20, usize::from(civil.millis / 10));
    out[22] = b'0' + (civil.millis % 10) as u8;
    out
}

/// Appends the instant `millis` as `2019-02-24T09:58:29.000Z` (always three digits of milliseconds, as Logstash).
pub fn push_iso_millis(millis: i64, out: &mut Vec<u8>) {
    let civil = Civil::from_millis(millis);
    if (0..=9999).contains(&civil.year) {
        return out.extend_from_slice(&iso24(&civil));
    }
    let text = format!(
        "{:+05}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second, civil.millis
    );
    out.extend_from_slice(text.as_bytes());
}

/// [`push_iso_millis`] as a string.
pub fn format_iso_millis(millis: i64) -> String {
    let mut out = Vec::with_capacity(24);
    push_iso_millis(millis, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM|-HHMM)`, RFC 3339, as milliseconds since the epoch; a fraction is
/// cut to three digits. Anything else, and a day that does not exist, is `None`.
pub fn parse_iso_millis(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, expect: &[u8]| bytes.get(at).is_some_and(|byte| expect.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let is_day = (1..=12).contains(&month) && (1..=Civil::days_in_month(year, month)).contains(&day);
    if !is_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if is(at, b".,") {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..3 {
            millis = millis * 10 + if place < digits { i64::from(bytes[at + 1 + place] - b'0') } else { 0 };
        }
        at += 1 + digits;
    }
    let offset_minutes = if is(at, b"Zz") && bytes.len() == at + 1 {
        0
    } else if is(at, b"+-") {
        let colon = usize::from(is(at + 3, b":"));
        let (hours, minutes) = (number(at + 1, 2)?, number(at + 3 + colon, 2)?);
        if bytes.len() != at + 5 + colon || hours > 23 || minutes > 59 {
            return None;
        }
        (hours * 60 + minutes) * if is(at, b"-") { -1 } else { 1 }
    } else {
        return None;
    };
    let local =
        Civil::to_millis(year, month as u8, day as u8, hour as u8, minute as u8, second as u8, millis as u16);
    Some(local - offset_minutes * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_with_three_digits_and_z() {
        for (millis, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_551_002_309_007, "2019-02-24T09:58:29.007Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (253_402_300_800_000, "+10000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(format_iso_millis(millis), expect);
        }
    }

    #[test]
    fn rfc3339_is_read_and_nothing_else() {
        assert_eq!(parse_iso_millis("2019-02-24T09:58:29.007Z"), Some(1_551_002_309_007));
        assert_eq!(parse_iso_millis("2019-02-24T09:58:29.1239Z"), Some(1_551_002_309_123));
        assert_eq!(parse_iso_millis("2019-02-24T00:58:29-09:00"), Some(1_551_002_309_000));
        for text in [
            "",
            "2019-02-24",
            "2019-02-30T00:00:00Z",
            "2019-02-24T09:58:29",
            "2019-02-24T09:58:29.Z",
            "2019-13-01T00:00:00Z",
        ] {
            assert_eq!(parse_iso_millis(text), None, "{text}");
        }
    }

    #[test]
    fn civil_and_millis_are_inverse() {
        for millis in (-90_000_000_000_000i64..90_000_000_000_000).step_by(86_399_999_999) {
            let c = Civil::from_millis(millis);
            assert_eq!(
                Civil::to_millis(c.year, c.month, c.day, c.hour, c.minute, c.second, c.millis),
                millis
            );
        }
    }
}
