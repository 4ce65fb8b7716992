//! Date letters that are legal and hardly meant: `mm` where a month belongs, `DD` for the day of the month, the calendar
//! year beside a week. What is named or read by them is wrong only on some days or in part, so that nobody notices.

use crate::ExprError;
use crate::java_time::JavaDateFormat;
use crate::joda::{DateFormat, DateToken};

/// One letter of a date pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter {
    /// Joda's letter for what it means, whichever dialect it is written in.
    meaning: char,
    count: usize,
    /// Its first byte in the template.
    at: usize,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// `%{+...}`
    Joda,
    /// `%{{...}}`
    Java,
}

// === impl Letter ===

impl Letter {
    /// The letters of a pattern that begins at byte `start`.
    pub(crate) fn of_joda(format: &DateFormat, start: usize) -> Vec<Self> {
        let letter = |token: &DateToken| match token {
            DateToken::Literal(_) => None,
            DateToken::Field { letter, count, at } => {
                Some(Self { meaning: *letter, count: *count, at: start + at, dialect: Dialect::Joda })
            }
        };
        format.tokens().iter().filter_map(letter).collect()
    }

    /// The letters of a pattern that begins at byte `start`.
    pub(crate) fn of_java(format: &JavaDateFormat, start: usize) -> Vec<Self> {
        let letter = |(letter, count, at)| {
            let meaning = match letter {
                // The week year, and what Joda does not have or has for another thing.
                'Y' => 'x',
                'u' => 'y',
                'L' => 'M',
                'W' => 'w',
                'x' | 'X' | 'O' | 'V' => 'Z',
                'A' | 'n' | 'N' => 'S',
                'c' => 'e',
                other => other,
            };
            Self { meaning, count, at: start + at, dialect: Dialect::Java }
        };
        format.fields().map(letter).collect()
    }

    fn warning(self, message: &str, meant: &str) -> ExprError {
        let label = format!("did you mean {meant}?");
        ExprError::new(message, label, self.at, self.at + self.count)
    }
}

/// What is odd about the letters of one template, taken together: a path may have a pattern for each folder.
pub(crate) fn warnings(letters: &[Letter]) -> Vec<ExprError> {
    let has = |wanted: &str| letters.iter().any(|letter| wanted.contains(letter.meaning));
    let has_day_of_year = letters.iter().any(|letter| letter.meaning == 'D' && letter.count >= 3);
    let mut warnings = Vec::new();
    for (index, &letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| letters[index].meaning);
        let behind_time = |units: &str| before.is_some_and(|before| units.contains(before));
        let week_year = if letter.dialect == Dialect::Joda { "`xxxx`" } else { "`YYYY`" };
        let calendar_year = if letter.dialect == Dialect::Joda { "`YYYY`" } else { "`yyyy`" };
        warnings.extend(match letter.meaning {
            'm' if has("yYxdD") && !has("Mw") && !has_day_of_year && !behind_time("HkhK") => {
                Some(letter.warning("`m` is the minute", "`MM`, the month"))
            }
            'M' if behind_time("HkhK") && letter.count < 3 && !has("m") => {
                Some(letter.warning("`M` is the month", "`mm`, the minute"))
            }
            'D' if has("M") || letter.count < 3 => {
                Some(letter.warning("`D` is the day of the year", "`dd`, the day of the month"))
            }
            'S' if behind_time("m") && !has("s") => {
                Some(letter.warning("`S` is the fraction of a second", "`ss`, the second"))
            }
            'y' | 'Y' if has("w") && !has("xMdD") => {
                let message = "a calendar year beside a week is wrong around New Year";
                Some(letter.warning(message, &format!("{week_year}, the year of the week")))
            }
            'x' if has("MdD") && !has("yYw") => {
                let message = "the year of the week beside a month or day is wrong around New Year";
                Some(letter.warning(message, &format!("{calendar_year}, the calendar year")))
            }
            'h' | 'K' if !has("a") => {
                Some(letter.warning("an hour of twelve without `a` means two hours of the day", "`HH`"))
            }
            _ => None,
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::Template;

    #[test]
    fn letters_that_cannot_be_meant_are_told_at_their_place() {
        for (template, found) in [
            // Joda's dialect: `Y` is the year of the era, `x` that of the week.
            (
                "docs-%{+YYYY.MM.DD}",
                &["DD: `D` is the day of the year; did you mean `dd`, the day of the month?"][..],
            ),
            (
                "docs-%{+yyyy.DD}",
                &["DD: `D` is the day of the year; did you mean `dd`, the day of the month?"],
            ),
            ("docs-%{+yyyy.mm.dd}", &["mm: `m` is the minute; did you mean `MM`, the month?"]),
            ("docs-%{+xxxx.mm}", &["mm: `m` is the minute; did you mean `MM`, the month?"]),
            ("docs-%{+yyyy.mm.dd.HH}", &["mm: `m` is the minute; did you mean `MM`, the month?"]),
            ("%{env}/%{+YYYY}/%{+mm}/%{+dd}.log", &["mm: `m` is the minute; did you mean `MM`, the month?"]),
            (
                "docs-%{+yyyy.mm.DD}",
                &[
                    "mm: `m` is the minute; did you mean `MM`, the month?",
                    "DD: `D` is the day of the year; did you mean `dd`, the day of the month?",
                ],
            ),
            (
                "docs-%{+YYYY.ww}",
                &[
                    "YYYY: a calendar year beside a week is wrong around New Year; did you mean `xxxx`, the year of the \
                   week?",
                ],
            ),
            (
                "docs-%{+yy}w%{+w}",
                &[
                    "yy: a calendar year beside a week is wrong around New Year; did you mean `xxxx`, the year of the \
                   week?",
                ],
            ),
            (
                "docs-%{+xxxx.MM.dd}",
                &[
                    "xxxx: the year of the week beside a month or day is wrong around New Year; did you mean `YYYY`, the \
                   calendar year?",
                ],
            ),
            (
                "docs-%{+YYYY.MM.dd.hh}",
                &["hh: an hour of twelve without `a` means two hours of the day; did you mean `HH`?"],
            ),
            ("%{+YYYY-MM-dd HH:MM}", &["MM: `M` is the month; did you mean `mm`, the minute?"]),
            ("%{+HH:mm:SS}", &["SS: `S` is the fraction of a second; did you mean `ss`, the second?"]),
            // java.time's: `Y` is the year of the week.
            (
                "docs-%{{YYYY.MM.dd}}",
                &[
                    "YYYY: the year of the week beside a month or day is wrong around New Year; did you mean `yyyy`, the \
                   calendar year?",
                ],
            ),
            (
                "docs-%{{uuuu.ww}}",
                &[
                    "uuuu: a calendar year beside a week is wrong around New Year; did you mean `YYYY`, the year of the \
                   week?",
                ],
            ),
            ("docs-%{{yyyy.mm.dd}}", &["mm: `m` is the minute; did you mean `MM`, the month?"]),
        ] {
            let warnings = Template::warnings(template);
            let told: Vec<String> = warnings
                .iter()
                .map(|it| format!("{}: {}; {}", &template[it.start..it.end], it.message, it.label))
                .collect();
            assert_eq!(told, found, "{template}");
            assert!(Template::parse(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn letters_that_can_be_meant_are_left_in_peace() {
        for template in [
            "vpcflowlogs-%{+YYYY.MM.dd}",
            "%{+yyyy.MM.dd}",
            "%{+YYYY.MM}",
            "%{+xxxx.ww}",
            "%{+xxxx-'W'ww-e}",
            "%{+YYYY.DDD}",
            "%{+YYYY.MM.dd.HH}",
            "%{+YYYY.MM.dd.hha}",
            "%{+YYYY-MM-dd'T'HH:mm:ss.SSS'Z'}",
            "%{+HH:mm}",
            "%{+HH-MMM}",
            "%{+dd HH:mm}",
            "%{+mm}",
            "%{+YYYY.MM.dd}-week-%{+xxxx.ww}",
            "%{+YYYY.MM.dd}.%{+ww}",
            "%{{yyyy.MM.dd}}",
            "%{{YYYY.ww}}",
            "%{{yyyy-DDD}}",
            "%{{yyyy-MM-dd'T'HH:mm:ssXXX}}",
            "%{+'ddmm'YYYY}",
            "%{mm}-%{[yyyy][DD]}",
            "%{+%s}",
            "plain mm",
            "",
        ] {
            assert!(
                Template::warnings(template).is_empty(),
                "{template}: {:?}",
                Template::warnings(template)
            );
        }
    }

    #[test]
    fn a_pattern_that_dates_are_read_by_is_judged_alike() {
        for (pattern, found) in [
            ("yyyy-mm-dd HH:mm:ss", &["mm"][..]),
            ("yyyy-MM-DD", &["DD"]),
            ("HH:MM:SS", &["MM"]),
            ("YYYY-MM-dd hh:mm:ss", &["hh"]),
            ("xxxx-MM-dd", &["xxxx"]),
            ("YYYY 'W'ww", &["YYYY"]),
            ("dd/MMM/yyyy:HH:mm:ss Z", &[]),
            ("MMM  d HH:mm:ss", &[]),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", &[]),
            ("MM/dd/yy hh:mm:ss a", &[]),
            ("yyyyDDDHHmmss", &[]),
            ("xxxx-'W'ww-e", &[]),
        ] {
            let warnings = crate::DateFormat::parse(pattern).unwrap().warnings();
            let told: Vec<&str> = warnings.iter().map(|it| &pattern[it.start..it.end]).collect();
            assert_eq!(told, found, "{pattern}: {warnings:?}");
        }
    }

    #[test]
    fn a_name_that_is_new_every_minute_is_known() {
        for (template, expect) in [
            ("x-%{+YYYY.MM.dd.HH}", false),
            ("x-%{a}", false),
            ("x", false),
            ("%{a}-%{+HH.mm}", true),
            ("%{a}-%{+ss}", true),
            ("%{+%s}", true),
            ("%{{yyyy.mm.dd}}", true),
        ] {
            assert_eq!(Template::parse(template).unwrap().has_minutes(), expect, "{template}");
        }
    }
}
