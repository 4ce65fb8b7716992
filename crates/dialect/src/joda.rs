//! Date patterns in the letters of Joda-Time, as Logstash's `%{+YYYY.MM.dd}` and `date` filter have them: read once,
//! printed in UTC and English.
//!
//! The letters and their widths are those of Joda's `DateTimeFormat`. They are not java.time's: `Y` is the year of
//! era (java.time: the week-based year), `x` the year of the ISO week.

use crate::ExprError;
use crate::calendar::{DAYS, MONTHS, push_padded};
use crate::date_letters::{self, Letter};
use flowstone_core::event::Civil;

/// A Joda-Time pattern, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat {
    tokens: Vec<DateToken>,
}

/// One piece of a pattern, for those who print and for those who parse dates by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DateToken {
    /// A letter of the pattern and how often it stands there in a row (`YYYY` is four times `Y`).
    Field {
        /// One of `GCYxwyeEDMdaKhHkmsSzZ`.
        letter: char,
        /// How often, at least once.
        count: usize,
        /// Its first byte within the pattern.
        at: usize,
    },
    /// Text that stands for itself; quotes are resolved (`'T'` is `T`, `''` is `'`).
    Literal(String),
}

/// The letters that mean something, with what they mean.
const LETTERS: &str = "GCYxwyeEDMdaKhHkmsSzZ";

// === impl DateFormat ===

impl DateFormat {
    /// Reads a pattern. A letter that means nothing is an error at its place, an empty pattern too; a quote that is
    /// not closed quotes to the end, as in Joda.
    pub fn parse(pattern: &str) -> Result<Self, ExprError> {
        if pattern.is_empty() {
            return Err(ExprError::new(
                "an empty date pattern",
                "expected letters such as `YYYY.MM.dd`",
                0,
                0,
            ));
        }
        let mut tokens = Vec::new();
        let mut rest = pattern.char_indices().peekable();
        while let Some(&(at, letter)) = rest.peek() {
            if !letter.is_ascii_alphabetic() {
                tokens.push(DateToken::Literal(literal(&mut rest)));
                continue;
            }
            let mut count = 0;
            while rest.next_if(|(_, next)| *next == letter).is_some() {
                count += 1;
            }
            if !LETTERS.contains(letter) {
                return Err(ExprError::new(
                    format!("`{letter}` is no letter of a date pattern"),
                    format!("expected one of {LETTERS}, or text in single quotes"),
                    at,
                    at + count,
                ));
            }
            tokens.push(DateToken::Field { letter, count, at });
        }
        Ok(Self { tokens })
    }

    /// Letters that mean something, but hardly what was meant: `mm` where a month belongs.
    pub fn warnings(&self) -> Vec<ExprError> {
        date_letters::warnings(&Letter::of_joda(self, 0))
    }

    /// The pieces in order.
    pub fn tokens(&self) -> &[DateToken] {
        &self.tokens
    }

    /// Appends the instant `millis` (milliseconds since the epoch) in UTC and English.
    pub fn format(&self, millis: i64, out: &mut String) {
        let time = Civil::from_millis(millis);
        for token in &self.tokens {
            match token {
                DateToken::Literal(text) => out.push_str(text),
                DateToken::Field { letter, count, .. } => push_field(*letter, *count, &time, out),
            }
        }
    }

    /// The length in milliseconds of the aligned UTC windows within which the text is the same: a day for
    /// `YYYY.MM.dd` and for everything coarser, `i64::MAX` for a pattern that shows no time at all.
    pub fn window_ms(&self) -> i64 {
        let window = |token: &DateToken| match token {
            DateToken::Literal(_) => i64::MAX,
            DateToken::Field { letter, .. } => match letter {
                'S' => 1,
                's' => 1000,
                'm' => 60_000,
                'h' | 'H' | 'k' | 'K' => 3_600_000,
                'a' => 43_200_000,
                'z' | 'Z' => i64::MAX,
                _ => 86_400_000,
            },
        };
        self.tokens.iter().map(window).min().unwrap_or(i64::MAX)
    }
}

/// Text up to the next letter outside quotes.
fn literal(rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> String {
    let mut text = String::new();
    let mut quoted = false;
    while let Some(&(_, next)) = rest.peek() {
        if next == '\'' {
            rest.next();
            if rest.next_if(|(_, after)| *after == '\'').is_some() {
                text.push('\'');
            } else {
                quoted = !quoted;
            }
        } else if !quoted && next.is_ascii_alphabetic() {
            break;
        } else {
            rest.next();
            text.push(next);
        }
    }
    text
}

fn push_field(letter: char, count: usize, time: &Civil, out: &mut String) {
    let hour = i64::from(time.hour);
    match letter {
        'G' => out.push_str(if time.year > 0 { "AD" } else { "BC" }),
        // Joda's ISO chronology: the year of era and the century are those of the year without its sign.
        'C' => push_padded(time.year.abs() / 100, count, out),
        'Y' | 'y' | 'x' => {
            let year = match letter {
                'Y' => time.year.abs(),
                'y' => time.year,
                _ => time.iso_week().0,
            };
            push_padded(if count == 2 { year.abs() % 100 } else { year }, count, out);
        }
        'w' => push_padded(i64::from(time.iso_week().1), count, out),
        'e' => push_padded(i64::from(time.weekday()), count, out),
        'E' => push_name(DAYS[usize::from(time.weekday()) - 1], count >= 4, out),
        'D' => push_padded(i64::from(time.day_of_year()), count, out),
        'M' if count >= 3 => push_name(MONTHS[usize::from(time.month) - 1], count >= 4, out),
        'M' => push_padded(i64::from(time.month), count, out),
        'd' => push_padded(i64::from(time.day), count, out),
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'K' => push_padded(hour % 12, count, out),
        'h' => push_padded((hour + 11) % 12 + 1, count, out),
        'H' => push_padded(hour, count, out),
        'k' => push_padded((hour + 23) % 24 + 1, count, out),
        'm' => push_padded(i64::from(time.minute), count, out),
        's' => push_padded(i64::from(time.second), count, out),
        'S' => push_fraction(time.millis, count, out),
        'z' => out.push_str(if count >= 4 { "Coordinated Universal Time" } else { "UTC" }),
        'Z' => out.push_str(match count {
            1 => "+0000",
            2 => "+00:00",
            _ => "UTC",
        }),
        _ => {}
    }
}

/// The first `count` digits of the fraction of a second; Joda scales to at most 18 digits, but pads a zero in full.
fn push_fraction(millis: u16, count: usize, out: &mut String) {
    if millis == 0 {
        out.extend(std::iter::repeat_n('0', count));
        return;
    }
    let digits = [millis / 100, millis / 10 % 10, millis % 10].map(|digit| char::from(b'0' + digit as u8));
    out.extend(digits.into_iter().chain(std::iter::repeat('0')).take(count.min(18)));
}

fn push_name(name: &str, full: bool, out: &mut String) {
    out.push_str(if full { name } else { &name[..3] });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, millis: i64, expect: &str) {
        let mut out = String::new();
        DateFormat::parse(pattern).unwrap().format(millis, &mut out);
        assert_eq!(out, expect, "{pattern}");
    }

    /// 2019-02-24T09:58:29.007Z, a Sunday.
    const SUNDAY: i64 = 1_551_002_309_007;

    #[test]
    fn every_letter_prints_as_joda_does() {
        for (pattern, expect) in [
            ("G", "AD"),
            ("CC", "20"),
            ("YYYY.MM.dd", "2019.02.24"),
            ("yy", "19"),
            ("yyyyyy", "002019"),
            ("xxxx-'W'ww-e", "2019-W08-7"),
            ("xx", "19"),
            ("EEE, EEEE", "Sun, Sunday"),
            ("D DDDD", "55 0055"),
            ("M MM MMM MMMM", "2 02 Feb February"),
            ("a", "AM"),
            ("K h H k", "9 9 9 9"),
            ("HH:mm:ss", "09:58:29"),
            ("S SS SSS SSSSSS", "0 00 007 007000"),
            ("z zzzz Z ZZ ZZZ", "UTC Coordinated Universal Time +0000 +00:00 UTC"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSZ", "2019-02-24T09:58:29.007+0000"),
            ("''", "'"),
            ("'o''clock'", "o'clock"),
            ("'open", "open"),
            ("日dd", "日24"),
        ] {
            check(pattern, SUNDAY, expect);
        }
    }

    #[test]
    fn hours_of_midnight_and_noon() {
        check("K h H k a", 0, "0 12 0 24 AM");
        check("K h H k a", 43_200_000, "0 12 12 12 PM");
    }

    #[test]
    fn week_years_differ_from_years_at_new_year() {
        // 2019-12-31T23:59:59.999Z, 2021-01-03T00:00:00Z
        check("xxxx.ww YYYY.ww", 1_577_836_799_999, "2020.01 2019.01");
        check("xxxx.ww YYYY", 1_609_632_000_000, "2020.53 2021");
    }

    #[test]
    fn times_before_the_epoch_and_before_christ() {
        check("YYYY.MM.dd HH:mm:ss.SSS", -1, "1969.12.31 23:59:59.999");
        // Year 0 is 1 BC; year -5.
        check("G yyyy", Civil::to_millis(-5, 3, 1, 0, 0, 0, 0), "BC -0005");
    }

    #[test]
    fn what_is_no_letter_is_refused_at_its_place() {
        for (pattern, start, end) in [("Q", 0, 1), ("YYYY-TT", 5, 7), ("", 0, 0), ("'T'T", 3, 4)] {
            let error = DateFormat::parse(pattern).unwrap_err();
            assert_eq!((error.start, error.end), (start, end), "{pattern}");
        }
    }

    #[test]
    fn the_window_is_that_of_the_finest_letter() {
        for (pattern, expect) in [
            ("YYYY.MM.dd", 86_400_000),
            ("xxxx.ww", 86_400_000),
            ("YYYY.MM.dd.HH", 3_600_000),
            ("a", 43_200_000),
            ("HH:mm", 60_000),
            ("ss", 1000),
            ("SSS", 1),
            ("'x'Z", i64::MAX),
        ] {
            assert_eq!(DateFormat::parse(pattern).unwrap().window_ms(), expect, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(pattern in ".{0,20}", millis in any::<i64>()) {
            if let Ok(format) = DateFormat::parse(&pattern) {
                format.format(millis, &mut String::new());
            }
        }

        #[test]
        fn the_text_is_the_same_within_a_window(
            pattern in "[GCYxwyeEDMdaKhHkmsSzZ]{1,3}[.]?[YMdHms]{0,3}",
            millis in -4_000_000_000_000i64..4_000_000_000_000,
            offset in 0.0f64..1.0,
        ) {
            let format = DateFormat::parse(&pattern).unwrap();
            let window = format.window_ms();
            prop_assume!(window < i64::MAX);
            let start = millis.div_euclid(window) * window;
            let (mut first, mut other) = (String::new(), String::new());
            format.format(start, &mut first);
            format.format(start + (offset * window as f64) as i64, &mut other);
            prop_assert_eq!(first, other);
        }
    }
}
