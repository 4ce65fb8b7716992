//! Dates by a Joda-Time pattern (`yyyy-MM-dd HH:mm:ss`): the pattern read once, texts read by it.
//!
//! Lenient where Joda-Time is: numbers may have fewer digits than the pattern, literal text and names may be in
//! another case, but nothing may stand before or behind.

use flowstone_dialect::{DateFormat, DateToken};

use crate::bucket::Bucket;
use crate::calendar::Field;
use crate::names::LocaleNames;
use crate::offset::parse_offset;
use crate::zone::{ABBREVIATIONS, Zone};

/// A pattern, ready to read texts.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    elements: Vec<Element>,
    /// Whether the letters `y` or `Y` stand anywhere in it; otherwise the year is guessed.
    pub(crate) has_year: bool,
    /// Whether the letter `Z` stands anywhere in it.
    pub(crate) has_zone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Literal(String),
    Number {
        field: Field,
        max_digits: usize,
        signed: bool,
    },
    /// `yy`: two digits mean a year near now; a sign or another number of digits the year itself, where no number
    /// follows in the pattern.
    TwoDigitYear {
        field: Field,
        lenient: bool,
    },
    Name {
        field: Field,
        /// Whether the pattern goes on with a dot, which is then no part of the name.
        before_dot: bool,
    },
    Fraction {
        digits: usize,
    },
    Offset,
    ZoneName,
    ZoneId,
}

/// What reading a text depends on beside the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// The names of months and days.
    pub(crate) names: &'a LocaleNames,
    /// The year now, for `yy`.
    pub(crate) year: i64,
    /// The year of the ISO week now, for `xx`.
    pub(crate) week_year: i64,
}

// === impl Pattern ===

impl Pattern {
    /// Makes a reader of a pattern, whose text is `text`.
    pub(crate) fn new(text: &str, format: &DateFormat) -> Self {
        let tokens = format.tokens();
        let elements = (0..tokens.len()).map(|at| element(&tokens[at], tokens.get(at + 1))).collect();
        Self { elements, has_year: text.contains(['y', 'Y']), has_zone: text.contains('Z') }
    }

    /// Reads the whole of `text` into the bucket; `false` when it does not match.
    pub(crate) fn read(&self, text: &str, around: Surroundings<'_>, bucket: &mut Bucket) -> bool {
        let mut at = 0;
        for element in &self.elements {
            match element.read(&text[at..], around, bucket) {
                Some(len) => at += len,
                None => return false,
            }
        }
        at == text.len()
    }
}

/// The element of a token; a number directly behind a year limits the year's digits.
fn element(token: &DateToken, next: Option<&DateToken>) -> Element {
    let (letter, count) = match token {
        DateToken::Literal(text) => return Element::Literal(text.clone()),
        DateToken::Field { letter, count, .. } => (*letter, *count),
    };
    let before_dot = matches!(next, Some(DateToken::Literal(text)) if text.starts_with('.'));
    let name = |field| Element::Name { field, before_dot };
    let number_follows = next.is_some_and(is_number);
    let number = |field, max_digits: usize| Element::Number {
        field,
        max_digits: max_digits.max(count),
        signed: false,
    };
    let year = |field, signed| match (count, number_follows) {
        (2, follows) => {
            Element::TwoDigitYear { field: if signed { field } else { Field::Year }, lenient: !follows }
        }
        (count, true) => Element::Number { field, max_digits: count, signed },
        (count, false) => Element::Number { field, max_digits: count.max(9), signed },
    };
    match letter {
        'G' => name(Field::Era),
        'C' => Element::Number { field: Field::Century, max_digits: count, signed: true },
        'Y' => year(Field::YearOfEra, false),
        'y' => year(Field::Year, true),
        'x' => year(Field::WeekYear, true),
        'M' if count >= 3 => name(Field::Month),
        'M' => number(Field::Month, 2),
        'w' => number(Field::Week, 2),
        'D' => number(Field::DayOfYear, 3),
        'd' => number(Field::Day, 2),
        'e' => number(Field::Weekday, 1),
        'E' => name(Field::Weekday),
        'a' => name(Field::Halfday),
        'h' => number(Field::ClockHourOfHalfday, 2),
        'H' => number(Field::Hour, 2),
        'k' => number(Field::ClockHour, 2),
        'K' => number(Field::HourOfHalfday, 2),
        'm' => number(Field::Minute, 2),
        's' => number(Field::Second, 2),
        'S' => Element::Fraction { digits: count.min(18) },
        'z' => Element::ZoneName,
        'Z' if count <= 2 => Element::Offset,
        'Z' => Element::ZoneId,
        // `DateFormat` knows no other letters.
        other => Element::Literal(other.to_string().repeat(count)),
    }
}

fn is_number(token: &DateToken) -> bool {
    match token {
        DateToken::Field { letter: 'M', count, .. } => *count <= 2,
        DateToken::Field { letter, .. } => "CxyYdhHmsSeDwkK".contains(*letter),
        DateToken::Literal(_) => false,
    }
}

// === impl Element ===

impl Element {
    /// Reads the element at the start of `text` and gives its length.
    fn read(&self, text: &str, around: Surroundings<'_>, bucket: &mut Bucket) -> Option<usize> {
        match self {
            Self::Literal(literal) => literal_len(text, literal),
            Self::Number { field, max_digits, signed } => {
                let (value, len) = number(text, *max_digits, *signed)?;
                bucket.save(*field, value);
                Some(len)
            }
            Self::TwoDigitYear { field, lenient } => {
                let now = if *field == Field::WeekYear { around.week_year } else { around.year };
                let (year, len) = two_digit_year(text, *lenient, now - 30)?;
                bucket.save(*field, year);
                Some(len)
            }
            Self::Name { field, before_dot } => {
                let (value, len) = around.names.read(*field, text, *before_dot)?;
                bucket.save(*field, value);
                Some(len)
            }
            Self::Fraction { digits } => {
                let (millis, len) = fraction(text, *digits, 1000)?;
                bucket.save(Field::MillisOfSecond, millis);
                Some(len)
            }
            Self::Offset => {
                let (offset, len) = offset_or_z(text)?;
                bucket.save_offset(offset);
                Some(len)
            }
            Self::ZoneName => {
                let fits = |(name, _): &&(&str, &str)| text.starts_with(name);
                let (name, zone) = ABBREVIATIONS.iter().filter(fits).max_by_key(|(name, _)| name.len())?;
                bucket.save_zone(Zone::find(zone)?);
                Some(name.len())
            }
            Self::ZoneId => {
                let (zone, len) = Zone::at_start_of(text)?;
                bucket.save_zone(zone);
                Some(len)
            }
        }
    }
}

/// `Z` in either case or an offset, in milliseconds.
pub(crate) fn offset_or_z(text: &str) -> Option<(i64, usize)> {
    if text.starts_with(['Z', 'z']) { Some((0, 1)) } else { parse_offset(text) }
}

/// The length of `literal` at the start of `text`, in whatever case.
#[inline]
pub(crate) fn literal_len(text: &str, literal: &str) -> Option<usize> {
    if text.as_bytes().starts_with(literal.as_bytes()) {
        return Some(literal.len());
    }
    let mut found = text.chars();
    for expected in literal.chars() {
        if !is_same_letter(found.next()?, expected) {
            return None;
        }
    }
    Some(text.len() - found.as_str().len())
}

fn is_same_letter(a: char, b: char) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(&b);
    }
    a == b || a.to_uppercase().eq(b.to_uppercase()) || a.to_lowercase().eq(b.to_lowercase())
}

/// Up to `max_digits` digits, at least one, behind an optional sign that does not count; a single digit has no sign.
#[inline]
pub(crate) fn number(text: &str, max_digits: usize, signed: bool) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    let sign = usize::from(signed && max_digits > 1 && matches!(bytes.first(), Some(b'+' | b'-')));
    let mut value = 0_i64;
    let mut digits = 0;
    for byte in bytes[sign..].iter().take(max_digits).take_while(|byte| byte.is_ascii_digit()) {
        value = value * 10 + i64::from(byte - b'0');
        digits += 1;
        // Java's `int`.
        if value > i64::from(i32::MAX) {
            return None;
        }
    }
    if digits == 0 {
        return None;
    }
    Some((if sign == 1 && bytes[0] == b'-' { -value } else { value }, sign + digits))
}

/// A year of two digits is the one from 50 years before the pivot to 49 behind it.
fn two_digit_year(text: &str, lenient: bool, pivot: i64) -> Option<(i64, usize)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if lenient && digits != 2 {
        return number(text, usize::MAX, true);
    }
    let year: i64 = text.get(..2).filter(|_| digits >= 2)?.parse().ok()?;
    let low = pivot - 50;
    Some((low + (year - low).rem_euclid(100), 2))
}

/// Up to `max_digits` digits of a fraction of `unit`, cut to whole parts of it.
pub(crate) fn fraction(text: &str, max_digits: usize, unit: i64) -> Option<(i64, usize)> {
    let mut tenths = unit * 10;
    let mut value = 0;
    let mut len = 0;
    for byte in text.bytes().take(max_digits).take_while(u8::is_ascii_digit) {
        tenths /= 10;
        value += i64::from(byte - b'0') * tenths;
        len += 1;
    }
    (len > 0).then_some((value / 10, len))
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::format_iso_millis;

    use super::*;

    /// The local time that `text` means by `pattern` in 2019, in English.
    fn read(pattern: &str, text: &str) -> Option<String> {
        let format = DateFormat::parse(pattern).unwrap();
        let mut bucket = Bucket::default();
        let names = LocaleNames::english();
        let around = Surroundings { names: &names, year: 2019, week_year: 2019 };
        Pattern::new(pattern, &format).read(text, around, &mut bucket).then_some(())?;
        let text = format_iso_millis(bucket.local(2019)?);
        Some(text.trim_end_matches('Z').trim_end_matches(".000").trim_end_matches("T00:00:00").to_owned())
    }

    #[test]
    fn texts_are_read_as_joda_does() {
        for (pattern, text, expect) in [
            ("yyyy-MM-dd HH:mm:ss", "2019-02-24 09:58:29", Some("2019-02-24T09:58:29")),
            ("yyyy-MM-dd HH:mm:ss", "2019-2-4 9:8:9", Some("2019-02-04T09:08:09")),
            ("yyyy-MM-dd HH:mm:ss", "2019-02-24", None),
            ("yyyy-MM-dd", "2019-02-24 ", None),
            ("yyyy-MM-dd", " 2019-02-24", None),
            ("yyyy-MM-dd", "2019-02-30", None),
            ("yyyy-MM-dd", "-2019-02-24", Some("-2019-02-24")),
            ("yyyy-MM-dd", "+2019-02-24", Some("2019-02-24")),
            ("YYYY-MM-dd", "-2019-02-24", None),
            ("yyyyMMdd", "20190224", Some("2019-02-24")),
            ("yyyyMMdd", "2019224", None),
            ("yyMMdd", "190224", Some("2019-02-24")),
            ("yy", "69", Some("1969-01-01")),
            ("yy", "38", Some("2038-01-01")),
            ("yy", "39", Some("1939-01-01")),
            ("yy", "2019", Some("2019-01-01")),
            ("yy", "7", Some("0007-01-01")),
            ("yy", "-07", Some("-0007-01-01")),
            ("dd/MMM/yyyy:HH:mm:ss Z", "24/fEB/2019:09:58:29 +0900", None),
            ("dd/MMM/yyyy:HH:mm:ss Z", "24/feb/2019:09:58:29 +0900", Some("2019-02-24T09:58:29")),
            ("dd/MMM/yyyy", "24/FEBRUARY/2019", Some("2019-02-24")),
            ("dd.MMM.yyyy", "24.Feb.2019", Some("2019-02-24")),
            ("dd.MMM.yyyy", "24.Feb..2019", Some("2019-02-24")),
            ("dd. MMM yyyy", "24. Feb. 2019", Some("2019-02-24")),
            ("MMMM d, yyyy h:mm a", "February 24, 2019 9:58 pm", Some("2019-02-24T21:58:00")),
            ("EEE MMM dd HH:mm:ss yyyy", "Mon Feb 24 09:58:29 2019", Some("2019-02-18T09:58:29")),
            ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2019-02-24t09:58:29.1", Some("2019-02-24T09:58:29.100")),
            ("ss.SSSSSS", "29.123456", Some("1970-01-01T00:00:29.123")),
            ("ss.S", "29.12", None),
            ("yyyy-DDD", "2019-055", Some("2019-02-24")),
            ("xxxx-'W'ww-e", "2019-W08-7", Some("2019-02-24")),
            ("yyyy G", "2019 AD", Some("2019-01-01")),
            ("Y G", "44 BC", Some("-0043-01-01")),
            ("K:mm a", "0:30 PM", Some("1970-01-01T12:30:00")),
            ("k:mm", "24:30", Some("1970-01-01T00:30:00")),
            ("H:mm", "24:30", None),
            ("HH:mm z", "09:58 EST", Some("1970-01-01T09:58:00")),
            ("HH:mm z", "09:58 est", None),
            ("HH:mm ZZZ", "09:58 Asia/Tokyo", Some("1970-01-01T09:58:00")),
            ("HH:mmZZ", "09:58z", Some("1970-01-01T09:58:00")),
            ("'日'dd", "日24", Some("2019-01-24")),
            ("C", "+4", None),
            ("CC", "20", Some("2000-01-01")),
            ("yyyy", "99999999999", None),
        ] {
            assert_eq!(read(pattern, text).as_deref(), expect, "{text:?} by {pattern}");
        }
    }
}
