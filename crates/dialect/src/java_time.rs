//! Date patterns in the letters of java.time, which Logstash 8 takes in double braces: `%{{yyyy-MM-dd}}`. Printed in
//! UTC and English.
//!
//! The letters look like Joda's and are not: `Y` is the week-based year (weeks of the United States, as Java has them
//! in an English locale), `u` the year, `X` an offset. Only printing is needed.

use crate::ExprError;
use crate::calendar::{DAYS, MONTHS, push_padded, us_week_of};
use flowstone_core::event::Civil;

/// A java.time pattern, read once.
#[derive(Clone, Debug)]
pub(crate) struct JavaDateFormat {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug)]
enum Token {
    Literal(String),
    Field {
        letter: char,
        count: usize,
        /// Its first byte within the pattern.
        at: usize,
    },
}

/// Each letter and how often it may stand in a row.
const LETTERS: &[(char, usize)] = &[
    ('G', 5),
    ('u', 19),
    ('y', 19),
    ('Y', 19),
    ('D', 3),
    ('M', 5),
    ('L', 5),
    ('d', 2),
    ('Q', 5),
    ('q', 5),
    ('w', 2),
    ('W', 1),
    ('E', 5),
    ('e', 5),
    ('c', 5),
    ('a', 1),
    ('h', 2),
    ('H', 2),
    ('k', 2),
    ('K', 2),
    ('m', 2),
    ('s', 2),
    ('S', 9),
    ('A', 19),
    ('n', 19),
    ('N', 19),
    ('V', 2),
    ('z', 4),
    ('O', 4),
    ('X', 5),
    ('x', 5),
    ('Z', 5),
];

// === impl JavaDateFormat ===

impl JavaDateFormat {
    /// Reads a pattern. A letter that means nothing or stands too often is an error at its place, a quote that is not
    /// closed too.
    pub(crate) fn parse(pattern: &str) -> Result<Self, ExprError> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(first) = pattern[at..].chars().next() {
            let start = at;
            if first == '\'' {
                let Some(text) = quoted(&pattern[at..]) else {
                    return Err(ExprError::new(
                        "a quote is not closed",
                        "expected `'`",
                        start,
                        pattern.len(),
                    ));
                };
                at += text.len() + 2;
                tokens.push(Token::Literal(if text.is_empty() {
                    "'".to_owned()
                } else {
                    text.replace("''", "'")
                }));
                continue;
            }
            at += pattern[at..].chars().take_while(|c| *c == first).map(char::len_utf8).sum::<usize>();
            match first {
                // Optional sections are always printed.
                '[' | ']' => {}
                '{' | '}' | '#' => {
                    return Err(ExprError::new(
                        format!("`{first}` is reserved in a java.time pattern"),
                        "put it in single quotes",
                        start,
                        at,
                    ));
                }
                letter if letter.is_ascii_alphabetic() => {
                    let count = at - start;
                    check_letter(letter, count)
                        .map_err(|(message, label)| ExprError::new(message, label, start, at))?;
                    tokens.push(Token::Field { letter, count, at: start });
                }
                _ => tokens.push(Token::Literal(pattern[start..at].to_owned())),
            }
        }
        Ok(Self { tokens })
    }

    /// The letters with how often each stands in a row, and where.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (char, usize, usize)> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Literal(_) => None,
            Token::Field { letter, count, at } => Some((*letter, *count, *at)),
        })
    }

    /// Appends the instant `millis` (milliseconds since the epoch) in UTC and English.
    pub(crate) fn format(&self, millis: i64, out: &mut String) {
        let time = Civil::from_millis(millis);
        for token in &self.tokens {
            match token {
                Token::Literal(text) => out.push_str(text),
                Token::Field { letter, count, .. } => push_field(*letter, *count, &time, out),
            }
        }
    }

    /// See [`crate::DateFormat::window_ms`].
    pub(crate) fn window_ms(&self) -> i64 {
        let window = |token: &Token| match token {
            Token::Literal(_) => i64::MAX,
            Token::Field { letter, .. } => match letter {
                'S' | 'A' | 'n' | 'N' => 1,
                's' => 1000,
                'm' => 60_000,
                'h' | 'H' | 'k' | 'K' => 3_600_000,
                'a' => 43_200_000,
                'V' | 'z' | 'O' | 'X' | 'x' | 'Z' => i64::MAX,
                _ => 86_400_000,
            },
        };
        self.tokens.iter().map(window).min().unwrap_or(i64::MAX)
    }
}

/// The text between the quotes at the beginning; two quotes in it stand for one.
fn quoted(text: &str) -> Option<&str> {
    let inner = &text[1..];
    let bytes = inner.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        match bytes[end] {
            // The empty quote is a quote itself.
            b'\'' if end > 0 && bytes.get(end + 1) == Some(&b'\'') => end += 2,
            b'\'' => return Some(&inner[..end]),
            _ => end += 1,
        }
    }
    None
}

fn check_letter(letter: char, count: usize) -> Result<(), (String, String)> {
    let Some((_, most)) = LETTERS.iter().find(|(known, _)| *known == letter) else {
        return Err((
            format!("`{letter}` is no letter of a java.time pattern here"),
            "expected a letter such as `yyyy-MM-dd HH:mm:ss.SSS`, or text in single quotes".to_owned(),
        ));
    };
    let is_refused = count > *most || (letter == 'c' && count == 2) || (letter == 'V' && count != 2);
    let is_odd_offset = letter == 'O' && count != 1 && count != 4;
    if is_refused || is_odd_offset {
        return Err((
            format!("`{letter}` cannot stand {count} times in a row"),
            format!("at most {most} times"),
        ));
    }
    Ok(())
}

fn push_field(letter: char, count: usize, time: &Civil, out: &mut String) {
    let hour = i64::from(time.hour);
    let second_of_day = (hour * 60 + i64::from(time.minute)) * 60 + i64::from(time.second);
    let milli_of_day = second_of_day * 1000 + i64::from(time.millis);
    match letter {
        'G' => out.push_str(match (count, time.year > 0) {
            (4, true) => "Anno Domini",
            (4, false) => "Before Christ",
            (5, true) => "A",
            (5, false) => "B",
            (_, true) => "AD",
            (_, false) => "BC",
        }),
        'u' => push_year(time.year, count, out),
        'y' => push_year(if time.year > 0 { time.year } else { 1 - time.year }, count, out),
        'Y' => push_year(us_week_of(time).0, count, out),
        'D' => push_padded(i64::from(time.day_of_year()), count, out),
        'M' | 'L' => match count {
            1 | 2 => push_padded(i64::from(time.month), count, out),
            _ => push_name(MONTHS[usize::from(time.month) - 1], count, out),
        },
        'd' => push_padded(i64::from(time.day), count, out),
        'Q' | 'q' => {
            let quarter = usize::from((time.month - 1) / 3);
            match count {
                1 | 2 => push_padded(quarter as i64 + 1, count, out),
                3 => out.push_str(["Q1", "Q2", "Q3", "Q4"][quarter]),
                4 => out.push_str(["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"][quarter]),
                _ => out.push_str(["1", "2", "3", "4"][quarter]),
            }
        }
        'w' => push_padded(i64::from(us_week_of(time).1), count, out),
        'W' => {
            // The week of the month whose first week holds the first day.
            let from_sunday = i64::from(time.weekday()) % 7;
            let first = (from_sunday - (i64::from(time.day) - 1)).rem_euclid(7);
            push_padded((i64::from(time.day) - 1 + first) / 7 + 1, count, out);
        }
        'e' | 'c' if count <= 2 => push_padded(i64::from(time.weekday()) % 7 + 1, count, out),
        'E' | 'e' | 'c' => push_name(DAYS[usize::from(time.weekday()) - 1], count.max(3), out),
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'h' => push_padded((hour + 11) % 12 + 1, count, out),
        'H' => push_padded(hour, count, out),
        'k' => push_padded((hour + 23) % 24 + 1, count, out),
        'K' => push_padded(hour % 12, count, out),
        'm' => push_padded(i64::from(time.minute), count, out),
        's' => push_padded(i64::from(time.second), count, out),
        'S' => {
            let digits = [time.millis / 100, time.millis / 10 % 10, time.millis % 10];
            let digits = digits.map(|digit| char::from(b'0' + digit as u8));
            out.extend(digits.into_iter().chain(std::iter::repeat('0')).take(count));
        }
        'A' => push_padded(milli_of_day, count, out),
        'n' => push_padded(i64::from(time.millis) * 1_000_000, count, out),
        'N' => push_padded(milli_of_day * 1_000_000, count, out),
        'O' => out.push_str("GMT"),
        'x' => out.push_str(match count {
            1 => "+00",
            2 | 4 => "+0000",
            _ => "+00:00",
        }),
        'Z' if count <= 3 => out.push_str("+0000"),
        'Z' if count == 4 => out.push_str("GMT"),
        // `V`, `z`, `X` and `ZZZZZ`.
        _ => out.push('Z'),
    }
}

/// Two letters cut the year to two digits; four and more mark a year that needs more digits with a plus.
fn push_year(year: i64, count: usize, out: &mut String) {
    if count == 2 {
        return push_padded(year.rem_euclid(100), 2, out);
    }
    if count >= 4 && year.unsigned_abs().to_string().len() > count && year > 0 {
        out.push('+');
    }
    push_padded(year, count, out);
}

/// Three letters of a name, all of it, or its first.
fn push_name(name: &str, count: usize, out: &mut String) {
    out.push_str(match count {
        4 => name,
        5 => &name[..1],
        _ => &name[..3],
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, millis: i64, expect: &str) {
        let mut out = String::new();
        JavaDateFormat::parse(pattern).unwrap().format(millis, &mut out);
        assert_eq!(out, expect, "{pattern}");
    }

    #[test]
    fn every_letter_prints_as_java_does() {
        // 2019-02-24T09:58:29.007Z, a Sunday.
        for (pattern, expect) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2019-02-24T09:58:29.007Z"),
            ("YYYY-'W'ww-e", "2019-W09-1"),
            ("uuuu uu u", "2019 19 2019"),
            ("DDD D", "055 55"),
            ("M MM MMM MMMM MMMMM LLL", "2 02 Feb February F Feb"),
            ("Q QQ QQQ QQQQ QQQQQ", "1 01 Q1 1st quarter 1"),
            ("E EEE EEEE EEEEE eee c", "Sun Sun Sunday S Sun 1"),
            ("W", "5"),
            ("h K k a", "9 9 9 AM"),
            ("S SSSSSS n", "0 007000 7000000"),
            ("A N", "35909007 35909007000000"),
            ("VV z O X x xx xxx Z ZZZZ ZZZZZ", "Z Z GMT Z +00 +0000 +00:00 +0000 GMT Z"),
            ("G GGGG", "AD Anno Domini"),
            ("''yyyy[' o''clock']", "'2019 o'clock"),
        ] {
            check(pattern, 1_551_002_309_007, expect);
        }
        check("YYYY-ww yyyy", 1_577_836_799_999, "2020-01 2019");
    }

    #[test]
    fn what_java_refuses_is_refused_at_its_place() {
        for (pattern, start, end) in [
            ("yyyy-tt", 5, 7),
            ("ddd", 0, 3),
            ("yyyy'T", 4, 6),
            ("{", 0, 1),
            ("V", 0, 1),
            ("cc", 0, 2),
            ("OO", 0, 2),
        ] {
            let error = JavaDateFormat::parse(pattern).unwrap_err();
            assert_eq!((error.start, error.end), (start, end), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(pattern in "[a-zA-Z'\\[\\]{}# é]{0,12}", millis in any::<i64>()) {
            if let Ok(format) = JavaDateFormat::parse(&pattern) {
                format.format(millis, &mut String::new());
            }
        }
    }
}
