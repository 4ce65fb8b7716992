//! The names of eras, months, weekdays and half-days by which a text can give them, in the languages that Java knows.
//!
//! As in Joda-Time a name may be written as the language writes it, in small letters or in capitals, long or short, and
//! the longest that fits counts. Which names Java has for a language depends on its version; here all of them are read,
//! and what is shorter than the whole name with a dot behind it or without.

use crate::calendar::Field;

/// The names of every locale; see the file's head.
const LOCALES: &str = include_str!("../locales.tsv");

/// The names of one locale.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocaleNames {
    eras: NameSet,
    months: NameSet,
    weekdays: NameSet,
    halfdays: NameSet,
}

/// Names and what they mean, by their first byte and then from long to short.
#[derive(Clone, Debug, Default)]
struct NameSet {
    names: Vec<Name>,
    /// Where the names begin that begin with each byte, and where the last ones end.
    starts: Vec<u16>,
}

/// One spelling of a name.
#[derive(Clone, Debug)]
struct Name {
    /// Without the dot behind it.
    text: Box<str>,
    value: i64,
    /// Whether a dot may stand behind it.
    dot: bool,
}

/// How letters change their case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Casing {
    Usual,
    /// `i` and `İ`, `ı` and `I`, as in Turkish.
    Dotted,
}

// === impl LocaleNames ===

impl LocaleNames {
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
        let mut eras = NameSet::new(&next(), 0, casing);
        if language == "en" {
            eras.add("BCE", 0, false, casing);
            eras.add("CE", 1, false, casing);
            eras.sort();
        }
        let (months, weekdays) = (next(), next());
        Self {
            eras,
            months: NameSet::with_short_forms(&months, casing),
            weekdays: NameSet::with_short_forms(&weekdays, casing),
            halfdays: NameSet::new(&next(), 0, casing),
        }
    }

    /// The value that a name at the start of `text` gives to a field, and the name's length. A dot that the text needs
    /// for itself, because one stands `before_dot` in the pattern, is no part of the name.
    #[inline]
    pub(crate) fn read(&self, field: Field, text: &str, before_dot: bool) -> Option<(i64, usize)> {
        match field {
            Field::Era => self.eras.read(text, before_dot),
            Field::Month => self.months.read(text, before_dot),
            Field::Weekday => self.weekdays.read(text, before_dot),
            Field::Halfday => self.halfdays.read(text, before_dot),
            _ => None,
        }
    }
}

// === impl NameSet ===

impl NameSet {
    /// The names of the first value mean `first`, those of the next one more; `=` stands between names of one value.
    fn new(values: &[&str], first: i64, casing: Casing) -> Self {
        let mut set = Self::default();
        for (names, value) in values.iter().zip(first..) {
            for name in names.split('=') {
                set.add(name.trim_end_matches('.'), value, name.ends_with('.'), casing);
            }
        }
        set.sort();
        set
    }

    /// The same for months and weekdays, counted from 1, which are abbreviated in ways that no table has: with a dot
    /// that it does not show, and by their first three letters where only one of them begins so.
    fn with_short_forms(values: &[&str], casing: Casing) -> Self {
        let mut set = Self::new(values, 1, casing);
        let length = |name: &str| name.trim_end_matches('.').chars().count();
        let whole =
            |names: &&str| names.split('=').max_by_key(|name| length(name)).unwrap_or_default().to_owned();
        let whole: Vec<String> = values.iter().map(whole).collect();
        for (number, name) in whole.iter().enumerate() {
            let value = number as i64 + 1;
            for known in set.names.iter_mut().filter(|known| known.value == value) {
                known.dot |= length(&known.text) < length(name);
            }
            let Some(short) = three_letters(name) else { continue };
            let begins_so = |other: &&String| casing.lower(other).starts_with(&casing.lower(short));
            if whole.iter().filter(begins_so).count() == 1 {
                set.add(short, value, true, casing);
            }
        }
        set.sort();
        set
    }

    /// Adds a name as it is written, in small letters, in capitals and with one capital. What means something else
    /// already keeps its meaning.
    fn add(&mut self, name: &str, value: i64, dot: bool, casing: Casing) {
        let (lower, upper) = (casing.lower(name), casing.upper(name));
        for spelling in [name.to_owned(), casing.capitalized(name), lower, upper] {
            match self.names.iter_mut().find(|known| *known.text == *spelling) {
                Some(known) => known.dot |= dot && known.value == value,
                None if spelling.is_empty() => {}
                None => self.names.push(Name { text: spelling.into(), value, dot }),
            }
        }
    }

    fn sort(&mut self) {
        self.names.sort_by_key(|name| (name.text.as_bytes()[0], std::cmp::Reverse(name.text.len())));
        let before =
            |byte: usize| self.names.partition_point(|name| usize::from(name.text.as_bytes()[0]) < byte);
        self.starts = (0..=256).map(|byte| before(byte) as u16).collect();
    }

    fn read(&self, text: &str, before_dot: bool) -> Option<(i64, usize)> {
        let first = usize::from(*text.as_bytes().first()?);
        let same_letter = usize::from(*self.starts.get(first)?)..usize::from(*self.starts.get(first + 1)?);
        let name = self.names[same_letter].iter().find(|name| text.starts_with(&*name.text))?;
        let behind = &text[name.text.len()..];
        let dot = name.dot && behind.starts_with(if before_dot { ".." } else { "." });
        Some((name.value, name.text.len() + usize::from(dot)))
    }
}

/// The first three letters of a longer name, in the alphabets that abbreviate so: Latin, Greek, Cyrillic.
fn three_letters(name: &str) -> Option<&str> {
    let (end, _) = name.char_indices().nth(3)?;
    let short = &name[..end];
    short.chars().all(|letter| letter.is_alphabetic() && letter < '\u{530}').then_some(short)
}

// === impl Casing ===

impl Casing {
    fn lower(self, name: &str) -> String {
        match self {
            Self::Usual => name.to_lowercase(),
            Self::Dotted => name.replace('I', "ı").replace('İ', "i").to_lowercase(),
        }
    }

    /// With a capital at the start.
    fn capitalized(self, name: &str) -> String {
        let end = name.chars().next().map_or(0, char::len_utf8);
        self.upper(&name[..end]) + &name[end..]
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
            let read = LocaleNames::of(locale).unwrap().read(field, text, false);
            assert_eq!(read, expect, "{text:?} in {locale}");
        }
    }

    #[test]
    fn every_line_of_the_table_has_all_its_names() {
        let mut count = 0;
        for (tag, line) in locales() {
            let columns: Vec<usize> = line.split('\t').map(|column| column.split('|').count()).collect();
            assert_eq!(columns, [2, 12, 7, 2], "{tag}");
            assert!(line.split(['\t', '|', '=']).all(|name| !name.is_empty()), "{tag}");
            count += 1;
        }
        assert!(count > 300, "{count} locales");
    }

    #[test]
    fn names_of_every_version_of_java_are_read_with_a_dot_and_without() {
        for (locale, names) in [
            // Java 8 and later, then what people write.
            ("en-GB", "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
            ("en-GB", "Jan. Feb. Mar. Apr. May Jun. Jul. Aug. Sept. Oct. Nov. Dec."),
            ("en-AU", "Jan Feb Mar Apr May June July Aug Sep Oct Nov Dec"),
            ("en-CA", "Jan Feb Mar Apr May Jun Jul Aug Sep. Oct Nov Dec"),
            ("de", "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez"),
            ("de", "Jan. Feb. Mär Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez."),
            ("de-AT", "Jän Feb Mär. Apr Mai Jun. Jul. Aug Sep. Okt Nov Dez"),
            ("fr", "jan fév mars avr mai juin juil août sept oct nov déc"),
            ("fr", "janv. févr. mars avr. mai juin juil. aoû. sept. oct. nov. déc."),
            ("fr", "Janvier Février Mars Avril Mai Juin Juillet Août Septembre Octobre Novembre Décembre"),
            ("fr-CA", "janv févr mars avr mai juin juill. août sept. oct nov déc"),
            ("es", "ene feb mar abr may jun jul ago sep oct nov dic"),
            ("es", "ene. feb. mar. abr. may. jun. jul. ago. sept. oct. nov. dic."),
            ("pt-BR", "Janeiro Fev mar. Abril mai jun jul ago set out nov dez"),
            ("nl", "jan feb mrt apr mei jun jul aug sep okt nov dec"),
            ("ru", "янв фев мар апр мая июн июл авг сен окт ноя дек"),
            ("ru", "Январь февраль Март апреля май июнь июль августа сент. октябрь нояб. декабрь"),
            ("cs", "ledna úno březen dub květen červen července srp září říjen lis prosinec"),
            ("ja", "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月"),
            ("ja", "1 2 3 4 5 6 7 8 9 10 11 12"),
        ] {
            let known = LocaleNames::of(locale).unwrap();
            for (name, month) in names.split(' ').zip(1..) {
                assert_eq!(
                    known.read(Field::Month, name, false),
                    Some((month, name.len())),
                    "{name} in {locale}"
                );
            }
        }
        let french = LocaleNames::of("fr").unwrap();
        for (name, day) in ["lun", "mar.", "mercredi", "Jeu", "VEN.", "sam", "dim."].into_iter().zip(1..) {
            assert_eq!(french.read(Field::Weekday, name, false), Some((day, name.len())), "{name}");
        }
        // Whole names take no dot, and what could be two months is none.
        let english = LocaleNames::english();
        assert_eq!(english.read(Field::Month, "May.", false), Some((5, 3)));
        assert_eq!(english.read(Field::Month, "January.", false), Some((1, 7)));
        assert_eq!(french.read(Field::Month, "jui", false), None);
    }

    #[test]
    fn a_dot_of_the_pattern_is_no_part_of_a_name() {
        let german = LocaleNames::of("de").unwrap();
        for (text, alone, before_dot) in
            [("Sep.2026", 4, 3), ("Sep..2026", 4, 4), ("Sept.", 5, 4), ("Sep 2026", 3, 3), ("Mai.", 3, 3)]
        {
            let len = |before_dot| german.read(Field::Month, text, before_dot).unwrap().1;
            assert_eq!((len(false), len(true)), (alone, before_dot), "{text}");
        }
    }

    #[test]
    fn no_name_means_two_things_in_one_language() {
        for (tag, line) in locales() {
            let casing = if matches!(tag, "tr" | "az") { Casing::Dotted } else { Casing::Usual };
            for column in line.split('\t') {
                let mut meant: Vec<(String, usize)> = Vec::new();
                for (value, names) in column.split('|').enumerate() {
                    for name in names.split('=') {
                        let folded = casing.lower(&casing.upper(name.trim_end_matches('.')));
                        let other = meant.iter().find(|(known, other)| *known == folded && *other != value);
                        assert_eq!(other, None, "{name} in {tag}");
                        meant.push((folded, value));
                    }
                }
            }
            // So each is read as what the table says, in each spelling, with its dot.
            let names = LocaleNames::of(tag).unwrap();
            let fields = [Field::Era, Field::Month, Field::Weekday, Field::Halfday];
            for ((column, field), first) in line.split('\t').zip(fields).zip([0, 1, 1, 0]) {
                for (values, value) in column.split('|').zip(first..) {
                    for name in values.split('=') {
                        for spelling in [name.to_owned(), casing.capitalized(name)] {
                            let read = names.read(field, &spelling, false);
                            assert_eq!(read, Some((value, spelling.len())), "{spelling} in {tag}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_language_that_nobody_knows_has_no_names() {
        for locale in ["xx", "", "english", "-", "qqq-FR"] {
            assert!(LocaleNames::of(locale).is_none(), "{locale}");
        }
        assert_eq!(LocaleNames::nearest("de-ATT"), Some("de-AT"));
    }
}
