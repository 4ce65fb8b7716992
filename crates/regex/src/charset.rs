//! Sets of characters: how patterns say them, and the two forms in which the matchers ask for them (a bit per ASCII
//! character with ranges beyond, and a bit per byte).

use std::sync::{Arc, LazyLock};

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// A set of characters. ASCII, which is nearly all of a log line, costs one bit test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CharSet {
    ascii: u128,
    wide: Wide,
}

/// The members beyond ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wide {
    /// There are none.
    None,
    /// All of them: `\S`, `[^"]`, the dot.
    All,
    /// These ranges, ascending, ends included.
    Ranges(Arc<[(char, char)]>),
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct ByteSet([u64; 4]);

// === impl CharSet ===

impl CharSet {
    /// The set of a class.
    pub(crate) fn of(class: &ClassUnicode) -> Self {
        let mut ascii = 0;
        let mut wide: Vec<(char, char)> = Vec::new();
        for range in class.ranges() {
            for code in u32::from(range.start())..=u32::from(range.end()).min(0x7f) {
                ascii |= 1 << code;
            }
            if range.end() >= '\u{80}' {
                wide.push((range.start().max('\u{80}'), range.end()));
            }
        }
        let wide = match &wide[..] {
            [] => Wide::None,
            [('\u{80}', '\u{10ffff}')] => Wide::All,
            // Between them lie the surrogates, which are no characters.
            [('\u{80}', '\u{d7ff}'), ('\u{e000}', '\u{10ffff}')] => Wide::All,
            _ => Wide::Ranges(wide.into()),
        };
        Self { ascii, wide }
    }

    /// The set of one character.
    pub(crate) fn one(c: char) -> Self {
        Self::of(&ClassUnicode::new([ClassUnicodeRange::new(c, c)]))
    }

    /// The same set as a class of the regular expression library.
    pub(crate) fn to_class(&self) -> ClassUnicode {
        let mut class = ClassUnicode::empty();
        for code in (0..128u8).filter(|code| self.ascii >> code & 1 == 1) {
            class.push(ClassUnicodeRange::new(char::from(code), char::from(code)));
        }
        match &self.wide {
            Wide::None => {}
            Wide::All => class.push(ClassUnicodeRange::new('\u{80}', char::MAX)),
            Wide::Ranges(ranges) => {
                ranges.iter().for_each(|&(start, end)| class.push(ClassUnicodeRange::new(start, end)));
            }
        }
        class
    }

    /// Whether `c` is in the set.
    #[inline]
    pub(crate) fn contains(&self, c: char) -> bool {
        if c.is_ascii() {
            return self.ascii >> (c as u32) & 1 == 1;
        }
        match &self.wide {
            Wide::None => false,
            Wide::All => true,
            Wide::Ranges(ranges) => {
                let at = ranges.partition_point(|&(_, end)| end < c);
                ranges.get(at).is_some_and(|&(start, _)| start <= c)
            }
        }
    }

    /// The members beyond ASCII.
    pub(crate) fn wide(&self) -> &Wide {
        &self.wide
    }

    /// Whether membership of a character follows from any one of its bytes: all or nothing beyond ASCII.
    pub(crate) fn is_bytewise(&self) -> bool {
        !matches!(self.wide, Wide::Ranges(_))
    }

    /// The bytes that only members begin and end with.
    pub(crate) fn certain_bytes(&self) -> ByteSet {
        let ascii = self.first_bytes().intersection(ByteSet::range(0, 0x7f));
        if self.wide == Wide::All { ascii.union(ByteSet::beyond_ascii()) } else { ascii }
    }

    /// The bytes that any member begins with.
    pub(crate) fn first_bytes(&self) -> ByteSet {
        self.bytes(|c| c.encode_utf8(&mut [0; 4]).as_bytes()[0])
    }

    /// The bytes that any member ends with.
    pub(crate) fn last_bytes(&self) -> ByteSet {
        let mut set = ByteSet::ascii(self.ascii);
        if self.wide != Wide::None {
            set = set.union(ByteSet::range(0x80, 0xbf));
        }
        set
    }

    /// Every byte that occurs in a member.
    pub(crate) fn all_bytes(&self) -> ByteSet {
        let mut set = self.first_bytes();
        if self.wide != Wide::None {
            set = set.union(ByteSet::range(0x80, 0xff));
        }
        set
    }

    fn bytes(&self, of: impl Fn(char) -> u8) -> ByteSet {
        let mut set = ByteSet::ascii(self.ascii);
        match &self.wide {
            Wide::None => {}
            Wide::All => set = set.union(ByteSet::range(0xc2, 0xf4)),
            Wide::Ranges(ranges) => {
                for &(start, end) in ranges.iter() {
                    set = set.union(ByteSet::range(of(start), of(end)));
                }
            }
        }
        set
    }
}

// === impl ByteSet ===

impl ByteSet {
    /// Nothing.
    pub(crate) const NONE: Self = Self([0; 4]);
    /// Every byte.
    pub(crate) const ALL: Self = Self([u64::MAX; 4]);

    fn ascii(bits: u128) -> Self {
        Self([bits as u64, (bits >> 64) as u64, 0, 0])
    }

    /// `first..=last`.
    pub(crate) fn range(first: u8, last: u8) -> Self {
        let mut set = Self::NONE;
        (first..=last).for_each(|byte| set.insert(byte));
        set
    }

    /// One byte.
    pub(crate) fn one(byte: u8) -> Self {
        Self::range(byte, byte)
    }

    /// The bytes of ASCII word characters.
    pub(crate) fn ascii_word() -> Self {
        Self::range(b'0', b'9')
            .union(Self::range(b'A', b'Z'))
            .union(Self::range(b'a', b'z'))
            .union(Self::one(b'_'))
    }

    /// The bytes that only occur in characters beyond ASCII.
    pub(crate) fn beyond_ascii() -> Self {
        Self::range(0x80, 0xff)
    }

    pub(crate) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    #[inline]
    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    #[must_use]
    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    #[must_use]
    pub(crate) fn complement(self) -> Self {
        Self(std::array::from_fn(|word| !self.0[word]))
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    pub(crate) fn is_within(self, other: Self) -> bool {
        self.intersection(other.complement()).is_empty()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..=255u8).filter(move |&byte| self.contains(byte))
    }

    /// The set as a table to index by a byte.
    pub(crate) fn table(self) -> Box<[bool; 256]> {
        let mut table = Box::new([false; 256]);
        self.iter().for_each(|byte| table[usize::from(byte)] = true);
        table
    }
}

// === the classes that patterns name ===

fn class_of(expression: &str) -> ClassUnicode {
    match regex_syntax::Parser::new().parse(expression).map(|hir| hir.into_kind()) {
        Ok(HirKind::Class(Class::Unicode(class))) => class,
        Ok(HirKind::Literal(literal)) => {
            let text = String::from_utf8_lossy(&literal.0).into_owned();
            ClassUnicode::new(text.chars().map(|c| ClassUnicodeRange::new(c, c)))
        }
        _ => ClassUnicode::empty(),
    }
}

/// A class of these ranges.
pub(crate) fn ranges(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|&(start, end)| ClassUnicodeRange::new(start, end)))
}

/// `\d`, `\w`, `\s`, `\h`: ASCII, as Ruby has them.
pub(crate) fn perl_class(letter: char) -> Option<ClassUnicode> {
    let class = match letter.to_ascii_lowercase() {
        'd' => ranges(&[('0', '9')]),
        'w' => ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        's' => ranges(&[('\t', '\r'), (' ', ' ')]),
        'h' => ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        _ => return None,
    };
    Some(if letter.is_ascii_uppercase() { negated(class) } else { class })
}

/// The class of a POSIX bracket `[:name:]` or of `\p{name}`; Unicode-aware, as in Oniguruma. Names of scripts and
/// categories are known as well.
pub(crate) fn named_class(name: &str) -> Option<ClassUnicode> {
    let plain: String =
        name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).collect::<String>().to_lowercase();
    let expression = match plain.as_str() {
        "alpha" => r"\p{Alphabetic}",
        "digit" => r"\p{Nd}",
        "alnum" => r"[\p{Alphabetic}\p{Nd}]",
        "upper" => r"\p{Uppercase}",
        "lower" => r"\p{Lowercase}",
        "space" => r"\p{White_Space}",
        "blank" => r"[\p{Zs}\t]",
        "cntrl" => r"\p{Cc}",
        "punct" => r"[\p{P}$+<=>^`|~]",
        "graph" => r"[^\p{White_Space}\p{Cc}\p{Cn}\p{Cs}]",
        "print" => r"[\p{Zs}[^\p{White_Space}\p{Cc}\p{Cn}\p{Cs}]]",
        "xdigit" => "[0-9A-Fa-f]",
        "word" => r"\w",
        "ascii" => r"[\x00-\x7f]",
        "any" => r"(?s:.)",
        _ => {
            let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '-' | '=');
            if name.is_empty() || !name.chars().all(letters) {
                return None;
            }
            let expression = format!(r"\p{{{name}}}");
            return regex_syntax::Parser::new().parse(&expression).is_ok().then(|| class_of(&expression));
        }
    };
    Some(class_of(expression))
}

/// The names that [`named_class`] knows without asking the Unicode tables, for the nearest one in a message.
pub(crate) const CLASS_NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// Everything that is not in `class`.
pub(crate) fn negated(mut class: ClassUnicode) -> ClassUnicode {
    class.negate();
    class
}

/// Every character.
pub(crate) fn any() -> ClassUnicode {
    ranges(&[('\0', char::MAX)])
}

/// Whether `c` counts as part of a word for `\b`, which is Unicode-aware although `\w` is not.
#[inline]
pub(crate) fn is_word(c: char) -> bool {
    static WORD: LazyLock<CharSet> = LazyLock::new(|| CharSet::of(&class_of(r"\w")));
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { WORD.contains(c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_their_class_holds() {
        for (class, inside, outside) in [
            (perl_class('s').unwrap(), " \t\n\u{b}\u{c}\r", "a\u{a0}é"),
            (perl_class('S').unwrap(), "aé\u{a0}", " \n"),
            (named_class("alpha").unwrap(), "aéČ中", "1_ "),
            (named_class("space").unwrap(), " \u{a0}", "a"),
            (named_class("Greek").unwrap(), "α", "a"),
            (named_class("punct").unwrap(), "!-_$|", "a1 "),
        ] {
            let set = CharSet::of(&class);
            assert!(inside.chars().all(|c| set.contains(c)), "{inside:?} in {set:?}");
            assert!(!outside.chars().any(|c| set.contains(c)), "{outside:?} not in {set:?}");
            assert_eq!(CharSet::of(&set.to_class()), set);
            for c in inside.chars() {
                let bytes = c.to_string().into_bytes();
                assert!(set.first_bytes().contains(bytes[0]));
                assert!(set.last_bytes().contains(bytes[bytes.len() - 1]));
                assert!(bytes.iter().all(|&byte| set.all_bytes().contains(byte)));
            }
        }
    }

    #[test]
    fn all_beyond_ascii_is_seen_as_all() {
        assert_eq!(*CharSet::of(&any()).wide(), Wide::All);
        assert_eq!(*CharSet::of(&perl_class('D').unwrap()).wide(), Wide::All);
        assert!(!CharSet::of(&named_class("alpha").unwrap()).is_bytewise());
    }

    #[test]
    fn a_name_that_nobody_knows_is_no_class() {
        assert_eq!(named_class("nope"), None);
        assert_eq!(named_class("a}b"), None);
    }
}
