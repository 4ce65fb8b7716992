//! The names of eras, months, weekdays and half-days by which a text can give them, in the languages that Java knows.
//!
//! As in Joda-Time a name may be written as the language writes it, in small letters or in capitals, long or short, and
//! the longest that fits counts.

use crate::calendar::Field;

/// The names of every locale; see the file's head.
const LOCALES: &str = include_str!("../locales.tsv");

/// The names of one locale.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    eras: NameSet,
    months: NameSet,
    weekdays: NameSet,
    halfdays: NameSet,
}

/// Names and what they mean, by their first byte and then from long to short.
#[derive(Clone, Debug, Default)]
struct NameSet(Vec<(Box<str>, i64)>);

/// How letters change their case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Casing {
    Usual,
    /// `i` and `İ`, `ı` and `I`, as in Turkish.
    Dotted,
}

// === impl Names ===

impl Names {
    /// English, the locale where none is given.
    pub(crate) fn english() -> Self {
        Self::of("en").unwrap_or_default()
    }

    /// The names of a locale by its BCP 47 tag (`fr`, `de-AT`; an underscore does as well). A region or script that
    /// has no names of its own has those of its language; a language that nobody knows has none.
    pub(crate) fn of(locale: &str) -> Option<Self> {
        let tag = locale.replace('_', "-").to_lowercase();
        let mut tag = match tag.split_once('-') {
            Some((language, rest)) => format!("{}-{rest}", today(language)),
            None => today(&tag).to_owned(),
        };
        loop {
            if let Some((_, names)) = locales().find(|(known, _)| known.eq_ignore_ascii_case(&tag)) {
                let language = tag.split('-').next().unwrap_or_default();
                return Some(Self::read_line(language, names));
            }
            tag.truncate(tag.rfind('-')?);
        }
    }

    /// The tag that was probably meant.
    pub(crate) fn nearest(locale: &str) -> Option<&'static str> {
        flowstone_core::nearest(locale, locales().map(|(tag, _)| tag))
    }

    fn read_line(language: &str, line: &str) -> Self {
        let casing = if matches!(language, "tr" | "az") { Casing::Dotted } else { Casing::Usual };
        let mut columns = line.split('\t').map(|column| column.split('|').collect::<Vec<_>>());
        let mut next = || columns.next().unwrap_or_default();
        let (mut eras, months, short_months, weekdays, short_weekdays, halfdays) =
            (NameSet::new(&next(), &[], 0, casing), next(), next(), next(), next(), next());
        if language == "en" {
            eras.add("BCE", 0, casing);
            eras.add("CE", 1, casing);
            eras.sort();
        }
        Self {
            eras,
            months: NameSet::new(&months, &short_months, 1, casing),
            weekdays: NameSet::new(&weekdays, &short_weekdays, 1, casing),
            halfdays: NameSet::new(&halfdays, &[], 0, casing),
        }
    }

    /// The value that a name at the start of `text` gives to a field, and the name's length.
    #[inline]
    pub(crate) fn read(&self, field: Field, text: &str) -> Option<(i64, usize)> {
        match field {
            Field::Era => self.eras.read(text),
            Field::Month => self.months.read(text),
            Field::Weekday => self.weekdays.read(text),
            Field::Halfday => self.halfdays.read(text),
            _ => None,
        }
    }
}

// === impl NameSet ===

impl NameSet {
    /// The first name of each list means `first`, the next one more. Where a long and a short name are the same, the
    /// short one counts.
    fn new(long: &[&str], short: &[&str], first: i64, casing: Casing) -> Self {
        let mut set = Self::default();
        // A short name that is longer than all long ones is never looked for.
        let longest = long.iter().map(|name| name.encode_utf16().count()).max().unwrap_or(0);
        for name_list in [short, long] {
            for (name, value) in name_list.iter().zip(first..) {
                if name.encode_utf16().count() <= longest {
                    set.add(name, value, casing);
                }
            }
        }
        set.sort();
        set
    }

    fn add(&mut self, name: &str, value: i64, casing: Casing) {
        for spelling in [name.to_owned(), casing.lower(name), casing.upper(name)] {
            if !spelling.is_empty() && !self.0.iter().any(|(known, _)| **known == *spelling) {
                self.0.push((spelling.into(), value));
            }
        }
    }

    fn sort(&mut self) {
        self.0.sort_by_key(|(name, _)| (name.as_bytes()[0], std::cmp::Reverse(name.len())));
    }

    fn read(&self, text: &str) -> Option<(i64, usize)> {
        let first = *text.as_bytes().first()?;
        let from = self.0.partition_point(|(name, _)| name.as_bytes()[0] < first);
        let same_letter = self.0[from..].iter().take_while(|(name, _)| name.as_bytes()[0] == first);
        let (name, value) = { same_letter }.find(|(name, _)| text.starts_with(&**name))?;
        Some((*value, name.len()))
    }
}

// === impl Casing ===

impl Casing {
    fn lower(self, name: &str) -> String {
        match self {
            Self::Usual => name.to_lowercase(),
            Self::Dotted => name.replace('I', "ı").replace('İ', "i").to_lowercase(),
        }
    }

    fn upper(self, name: &str) -> String {
        match self {
            Self::Usual => name.to_uppercase(),
            Self::Dotted => name.replace('i', "İ").to_uppercase(),
        }
    }
}

/// Tags and the rest of their lines.
fn locales() -> impl Iterator<Item = (&'static str, &'static str)> {
    LOCALES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

/// The code that a language has today.
fn today(language: &str) -> &str {
    match language {
        "iw" => "he",
        "in" => "id",
        "ji" => "yi",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_long_and_short_and_in_three_spellings() {
        for (locale, field, text, expect) in [
            ("en", Field::Month, "February", Some((2, 8))),
            ("en", Field::Month, "Feb 24", Some((2, 3))),
            ("en", Field::Month, "FEBRUARY", Some((2, 8))),
            ("en", Field::Month, "febx", Some((2, 3))),
            ("en", Field::Month, "fEB", None),
            ("en", Field::Month, "Mai", None),
            ("en", Field::Month, "", None),
            ("en", Field::Weekday, "Sunday", Some((7, 6))),
            ("en", Field::Halfday, "pm", Some((1, 2))),
            ("en", Field::Era, "BCE", Some((0, 3))),
            ("en", Field::Era, "AD", Some((1, 2))),
            ("en", Field::Day, "1", None),
            ("fr-FR", Field::Month, "juillet", Some((7, 7))),
            ("fr_FR", Field::Month, "juil. 1789", Some((7, 5))),
            ("FR", Field::Month, "FÉVRIER", Some((2, 8))),
            ("fr-XX-whatever", Field::Weekday, "dim.", Some((7, 4))),
            ("de", Field::Month, "Januar", Some((1, 6))),
            ("de-AT", Field::Month, "Jänner", Some((1, 7))),
            ("de", Field::Month, "Jänner", None),
            ("en-GB", Field::Month, "Sept", Some((9, 4))),
            ("ja", Field::Month, "12月", Some((12, 5))),
            ("ja", Field::Month, "2月", Some((2, 4))),
            ("tr", Field::Month, "KASIM", Some((11, 5))),
            ("tr", Field::Month, "kasım", Some((11, 6))),
            ("tr", Field::Month, "HAZİRAN", Some((6, 8))),
            ("iw", Field::Month, "מאי", Some((5, 6))),
        ] {
            let read = Names::of(locale).unwrap().read(field, text);
            assert_eq!(read, expect, "{text:?} in {locale}");
        }
    }

    #[test]
    fn every_line_of_the_table_has_all_its_names() {
        let mut count = 0;
        for (tag, line) in locales() {
            let columns: Vec<usize> = line.split('\t').map(|column| column.split('|').count()).collect();
            assert_eq!(columns, [2, 12, 12, 7, 7, 2], "{tag}");
            count += 1;
        }
        assert!(count > 300, "{count} locales");
    }

    #[test]
    fn a_language_that_nobody_knows_has_no_names() {
        for locale in ["xx", "", "english", "-", "qqq-FR"] {
            assert!(Names::of(locale).is_none(), "{locale}");
        }
        assert_eq!(Names::nearest("de-ATT"), Some("de-AT"));
    }
}
