//! `ISO8601`: Joda-Time's `dateTimeParser`, then four patterns with a blank between date and time.
//!
//! Dates are `2019`, `2019-02`, `2019-02-24`, `2019-055` and `2019-W08-7`; a `T` and a time may follow, down to a
//! fraction of hours, minutes or seconds, and a zone. The time may also stand alone behind its `T`.

use flowstone_core::event::parse_iso_millis;
use flowstone_dialect::DateFormat;

use crate::bucket::Bucket;
use crate::calendar::Field;
use crate::pattern::{Pattern, Surroundings, fraction, literal_len, number, offset_or_z};

/// The readers of all forms.
#[derive(Clone, Debug)]
pub(crate) struct Iso8601 {
    /// With a blank; here milliseconds are required. With the character in front of them.
    with_blank: Vec<(char, Pattern)>,
}

const WITH_BLANK: [(char, &str); 4] = [
    ('.', "yyyy-MM-dd HH:mm:ss.SSSZ"),
    ('.', "yyyy-MM-dd HH:mm:ss.SSS"),
    (',', "yyyy-MM-dd HH:mm:ss,SSSZ"),
    (',', "yyyy-MM-dd HH:mm:ss,SSS"),
];

// === impl Iso8601 ===

impl Iso8601 {
    pub(crate) fn new() -> Self {
        let pattern = |(separator, text)| {
            let format = DateFormat::parse(text).ok()?;
            Some((separator, Pattern::new(text, &format)))
        };
        Self { with_blank: WITH_BLANK.into_iter().filter_map(pattern).collect() }
    }

    /// Calls `accept` with the bucket of each form that the text has, until it gives something.
    pub(crate) fn read<T>(
        &self,
        text: &str,
        around: Surroundings<'_>,
        bucket: &mut Bucket,
        accept: impl Fn(&Bucket) -> Option<T>,
    ) -> Option<T> {
        // No form of one kind has a blank, and every form of the other.
        if !text.contains(' ') {
            return (date_time(text, bucket)? == text.len()).then(|| accept(bucket)).flatten();
        }
        self.with_blank.iter().filter(|(separator, _)| text.contains(*separator)).find_map(|(_, pattern)| {
            bucket.clear();
            pattern.read(text, around, bucket).then(|| accept(bucket)).flatten()
        })
    }
}

/// The instant of the form that nearly every text has, `2019-02-24T09:58:29.123Z`; nothing where it has another.
#[inline]
pub(crate) fn usual(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    // Up to nine digits of a fraction.
    let longest = if matches!(bytes.last()?, b'Z' | b'z') { 30 } else { 34 };
    if bytes.len() > longest || bytes.get(10)? != &b'T' {
        return None;
    }
    parse_iso_millis(text)
}

/// `T` time [zone] | date [`T` [time] [zone]]: how much of the text that is.
fn date_time(text: &str, bucket: &mut Bucket) -> Option<usize> {
    if let Some(t) = literal_len(text, "T") {
        let time = t + time(&text[t..], bucket)?;
        return Some(time + zone(&text[time..], bucket));
    }
    let mut at = date(text, bucket)?;
    if let Some(t) = literal_len(&text[at..], "T") {
        at += t;
        at += time(&text[at..], bucket).unwrap_or(0);
        at += zone(&text[at..], bucket);
    }
    Some(at)
}

/// The form of a date that takes the most of the text; the first of two that take the same.
fn date(text: &str, bucket: &mut Bucket) -> Option<usize> {
    let before = bucket.count();
    let mut longest = calendar_date(text, bucket)?;
    // Year, month and day are more than the other forms can make of such a text.
    if bucket.count() == before + 3 {
        return Some(longest);
    }
    for form in [week_date, ordinal_date] {
        let mut read = Bucket::default();
        if let Some(len) = form(text, &mut read).filter(|len| *len > longest) {
            *bucket = read;
            longest = len;
        }
    }
    Some(longest)
}

/// `2019`, `2019-02`, `2019-02-24`.
fn calendar_date(text: &str, bucket: &mut Bucket) -> Option<usize> {
    let mut at = field(text, "", Field::Year, 9, bucket)?;
    if let Some(month) = field(&text[at..], "-", Field::Month, 2, bucket) {
        at += month;
        at += field(&text[at..], "-", Field::Day, 2, bucket).unwrap_or(0);
    }
    Some(at)
}

/// `2019-W08`, `2019-W08-7`.
fn week_date(text: &str, bucket: &mut Bucket) -> Option<usize> {
    let mut at = field(text, "", Field::WeekYear, 9, bucket)?;
    at += field(&text[at..], "-W", Field::Week, 2, bucket)?;
    at += field(&text[at..], "-", Field::Weekday, 1, bucket).unwrap_or(0);
    Some(at)
}

/// `2019-055`.
fn ordinal_date(text: &str, bucket: &mut Bucket) -> Option<usize> {
    let at = field(text, "", Field::Year, 9, bucket)?;
    Some(at + field(&text[at..], "-", Field::DayOfYear, 3, bucket)?)
}

/// `09`, `09:58`, `09:58:29`, the last of them with a fraction behind a point or a comma.
fn time(text: &str, bucket: &mut Bucket) -> Option<usize> {
    let mut at = field(text, "", Field::Hour, 2, bucket)?;
    let mut unit = (Field::MillisOfHour, 3_600_000);
    for (next, smaller) in
        [(Field::Minute, (Field::MillisOfMinute, 60_000)), (Field::Second, (Field::MillisOfSecond, 1000))]
    {
        let Some(len) = field(&text[at..], ":", next, 2, bucket) else { break };
        at += len;
        unit = smaller;
    }
    if let Some(digits) = text[at..].strip_prefix(['.', ','])
        && let Some((millis, len)) = fraction(digits, 9, unit.1)
    {
        bucket.save(unit.0, millis);
        at += 1 + len;
    }
    Some(at)
}

fn zone(text: &str, bucket: &mut Bucket) -> usize {
    match offset_or_z(text) {
        Some((offset, len)) => {
            bucket.save_offset(offset);
            len
        }
        None => 0,
    }
}

/// `prefix` and a number; years may have a sign.
fn field(text: &str, prefix: &str, field: Field, max_digits: usize, bucket: &mut Bucket) -> Option<usize> {
    let start = literal_len(text, prefix)?;
    let signed = matches!(field, Field::Year | Field::WeekYear);
    let (value, len) = number(&text[start..], max_digits, signed)?;
    bucket.save(field, value);
    Some(start + len)
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::format_iso_millis;

    use super::*;
    use crate::names::LocaleNames;
    use crate::zone::Zone;

    fn read(text: &str) -> Option<String> {
        let names = LocaleNames::english();
        let around = Surroundings { names: &names, year: 2019, week_year: 2019 };
        let instant = |bucket: &Bucket| {
            let local = bucket.local(2000)?;
            bucket.zone().unwrap_or(&Zone::UTC).instant_of(local)
        };
        let read = Iso8601::new().read(text, around, &mut Bucket::default(), instant);
        if let Some(usual) = usual(text) {
            assert_eq!(read, Some(usual), "{text}");
        }
        read.map(format_iso_millis)
    }

    #[test]
    fn every_form_of_joda_is_read_and_nothing_else() {
        for (text, expect) in [
            ("2019", Some("2019-01-01T00:00:00.000Z")),
            ("2019-02", Some("2019-02-01T00:00:00.000Z")),
            ("2019-02-24", Some("2019-02-24T00:00:00.000Z")),
            ("2019-2-4", Some("2019-02-04T00:00:00.000Z")),
            ("2019-055", Some("2019-02-24T00:00:00.000Z")),
            ("2019-W08", Some("2019-02-18T00:00:00.000Z")),
            ("2019-W08-7", Some("2019-02-24T00:00:00.000Z")),
            ("2019-W08-7T09:58Z", Some("2019-02-24T09:58:00.000Z")),
            ("2019-055T09", Some("2019-02-24T09:00:00.000Z")),
            ("2019-02-24T", Some("2019-02-24T00:00:00.000Z")),
            ("2019-02-24TZ", Some("2019-02-24T00:00:00.000Z")),
            ("2019-02-24T09Z", Some("2019-02-24T09:00:00.000Z")),
            ("2019-02-24T09.5Z", Some("2019-02-24T09:30:00.000Z")),
            ("2019-02-24T09:58,5Z", Some("2019-02-24T09:58:30.000Z")),
            ("2019-02-24t09:58:29z", Some("2019-02-24T09:58:29.000Z")),
            ("2019-02-24T09:58:29.1239", Some("2019-02-24T09:58:29.123Z")),
            ("2019-02-24T18:58:29.123456789+09:00", Some("2019-02-24T09:58:29.123Z")),
            ("2019-02-24T18:58:29+09", Some("2019-02-24T09:58:29.000Z")),
            ("T09:58", Some("1970-01-01T09:58:00.000Z")),
            ("-0044-03-15", Some("-0044-03-15T00:00:00.000Z")),
            ("2019-02-24 09:58:29.123Z", Some("2019-02-24T09:58:29.123Z")),
            ("2019-02-24 09:58:29,123+0900", Some("2019-02-24T00:58:29.123Z")),
            ("2019-02-24 09:58:29,1", Some("2019-02-24T09:58:29.100Z")),
            ("2019-02-24 09:58:29", None),
            ("2019-02-24T24:00:00Z", None),
            ("2019-02-24T09:58:29.", None),
            ("2019-02-24T09:58:29.1234567890", None),
            ("2019-02-24T09:58:29.1234567890z", None),
            ("2019-02-24T09:58:29.1234567890+0900", None),
            ("2019-02-24Z", None),
            ("2019-02-30", None),
            ("2019-366", None),
            ("2019-W53", None),
            ("20190224T095829Z", None),
            ("bad", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), expect, "{text}");
        }
    }
}
