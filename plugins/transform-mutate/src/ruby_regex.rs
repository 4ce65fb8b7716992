//! Ruby's regular expressions on the fancy-regex engine, which runs what needs no backtracking in linear time.
//!
//! The engine's Oniguruma mode covers most of the syntax. Translated here is what Ruby reads differently: `(?m)` lets
//! the dot match a newline (`^` and `$` are always limits of lines), `\d`, `\w` and `\s` are ASCII, POSIX brackets
//! are Unicode, and `--` and `~~` in a class are two characters.

use fancy_regex::{Error, Regex, RegexBuilder};
use flowstone_core::ExprError;

/// How often the engine may go back in one search before it gives up: a fraction of a second.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// Compiles a Ruby regular expression. The error points into `pattern`.
pub(crate) fn compile(pattern: &str) -> Result<Regex, ExprError> {
    let translated = Translation::of(pattern);
    RegexBuilder::new(&translated.text)
        .multi_line(true)
        .oniguruma_mode(true)
        .ignore_numbered_groups_when_named_groups_exist(true)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|error| describe(&error, pattern, &translated))
}

fn describe(error: &Error, pattern: &str, translated: &Translation) -> ExprError {
    let (start, end) = match error {
        Error::ParseError(at, _) => {
            let start = translated.source_of(*at).min(pattern.len());
            let len = pattern[start..].chars().next().map_or(1, char::len_utf8);
            (start, start + len)
        }
        _ => (0, pattern.len()),
    };
    ExprError {
        message: format!("`{pattern}` is no regular expression"),
        label: error.to_string().replace('\n', " "),
        start,
        end,
    }
}

/// A pattern in the engine's syntax, and where each piece of it comes from.
struct Translation {
    text: String,
    /// (byte of the translation, byte of the source) of each piece, ascending.
    places: Vec<(usize, usize)>,
    /// Inside a character class: whether a `-` after what was just read would begin a range.
    range_may_begin: bool,
}

const CLASS_ESCAPES: [(char, &str); 4] =
    [('d', "0-9"), ('w', "a-zA-Z0-9_"), ('s', r" \t\n\r\f\x0B"), ('h', "0-9a-fA-F")];

/// POSIX brackets and Ruby's property names: by Unicode's properties, `xdigit` apart.
const PROPERTIES: [(&str, &str); 15] = [
    ("alnum", r"\p{Alphabetic}\p{M}\p{Nd}"),
    ("alpha", r"\p{Alphabetic}"),
    ("ascii", r"\x00-\x7F"),
    ("blank", r"\p{Zs}\t"),
    ("cntrl", r"\p{Cc}"),
    ("digit", r"\p{Nd}"),
    ("graph", r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}"),
    ("lower", r"\p{Lowercase}"),
    ("print", r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Zs}"),
    ("punct", r"\p{P}$+<=>^`|\~"),
    ("space", r"\p{White_Space}"),
    ("upper", r"\p{Uppercase}"),
    ("word", r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}"),
    ("xdigit", "0-9a-fA-F"),
    ("any", r"\x00-\x{10FFFF}"),
];

// === impl Translation ===

impl Translation {
    fn of(pattern: &str) -> Self {
        let mut translation = Self {
            text: String::with_capacity(pattern.len() + 16),
            places: Vec::new(),
            range_may_begin: false,
        };
        let mut at = 0;
        let mut depth = 0_usize;
        while at < pattern.len() {
            translation.places.push((translation.text.len(), at));
            let rest = &pattern[at..];
            at += match (depth, rest.starts_with('[')) {
                (0, false) => translation.outside(rest),
                (0, true) => translation.open_class(rest, &mut depth),
                _ => translation.in_class(rest, &mut depth),
            };
        }
        translation
    }

    fn open_class(&mut self, rest: &str, depth: &mut usize) -> usize {
        *depth += 1;
        let negated = rest[1..].starts_with('^');
        self.text.push_str(if negated { "[^" } else { "[" });
        // A bracket that closes at once is a character of the class.
        let skip = 1 + usize::from(negated);
        let literal = rest[skip..].starts_with(']');
        self.text.push_str(if literal { r"\]" } else { "" });
        self.range_may_begin = literal;
        skip + usize::from(literal)
    }

    /// Translates the piece at the start of `rest`, outside character classes, and gives its length.
    fn outside(&mut self, rest: &str) -> usize {
        if let Some(escape) = rest.strip_prefix('\\').and_then(|escaped| escaped.chars().next()) {
            return self.escape(rest, escape, false);
        }
        if let Some(flags) = rest.strip_prefix("(?")
            && let Some(end) = flags.find([':', ')'])
            && !flags[..end].is_empty()
            && flags[..end].bytes().all(|flag| b"imxadu-".contains(&flag))
        {
            self.flags(&flags[..end], flags.as_bytes()[end] == b':');
            return 2 + end + 1;
        }
        self.copy(rest)
    }

    /// `(?m-i:` with Ruby's meaning of `m`. `a`, `d` and `u` choose between kinds of `\d` and are dropped.
    fn flags(&mut self, flags: &str, group: bool) {
        let flags: String = flags
            .chars()
            .filter(|flag| !"adu".contains(*flag))
            .map(|flag| if flag == 'm' { 's' } else { flag })
            .collect();
        let nothing = flags.trim_end_matches('-').is_empty();
        self.text.push_str(match (nothing, group) {
            (true, true) => "(?:",
            (true, false) => "(?:)",
            (false, _) => "(?",
        });
        if !nothing {
            self.text.push_str(flags.trim_end_matches('-'));
            self.text.push(if group { ':' } else { ')' });
        }
    }

    /// Translates the piece at the start of `rest`, inside a character class, and gives its length.
    fn in_class(&mut self, rest: &str, depth: &mut usize) -> usize {
        if let Some(posix) = rest.strip_prefix("[:")
            && let Some(end) = posix.find(":]")
            && let (negated, name) = negation(&posix[..end])
            && let Some(property) = property(name)
        {
            self.property(property, negated, true);
            return 2 + end + 2;
        }
        let mut chars = rest.chars();
        match (chars.next(), chars.next()) {
            (Some('['), _) => self.open_class(rest, depth),
            (Some(']'), _) => {
                *depth -= 1;
                self.text.push(']');
                self.range_may_begin = false;
                1
            }
            (Some('\\'), Some(escape)) => self.escape(rest, escape, true),
            (Some('&'), Some('&')) => {
                self.text.push_str("&&");
                self.range_may_begin = false;
                2
            }
            (Some('-'), Some(end)) if self.range_may_begin && !matches!(end, ']' | '[') => {
                self.text.push('-');
                let len = match end {
                    '\\' => self.in_class(&rest[1..], depth),
                    end => self.literal(end),
                };
                self.range_may_begin = false;
                1 + len
            }
            (Some(c), _) => self.literal(c),
            (None, _) => 0,
        }
    }

    /// A character of a class that means itself: `--` and `~~` are operators in the engine's classes, and it would
    /// skip blanks and comments there in extended mode.
    fn literal(&mut self, c: char) -> usize {
        self.range_may_begin = true;
        match c {
            ' ' => self.text.push_str(r"\x20"),
            '-' | '~' | '#' | '&' | '[' => {
                self.text.push('\\');
                self.text.push(c);
            }
            c => self.text.push(c),
        }
        c.len_utf8()
    }

    fn escape(&mut self, rest: &str, escape: char, in_class: bool) -> usize {
        let len = 1 + escape.len_utf8();
        self.range_may_begin = false;
        if let Some((_, members)) =
            CLASS_ESCAPES.iter().find(|(name, _)| *name == escape.to_ascii_lowercase())
        {
            match (escape.is_ascii_uppercase(), in_class) {
                (false, true) => self.text.push_str(members),
                (false, false) => self.text.push_str(&format!("[{members}]")),
                (true, _) => self.text.push_str(&format!("[^{members}]")),
            }
            return len;
        }
        if matches!(escape, 'p' | 'P')
            && let Some(braced) = rest[len..].strip_prefix('{')
            && let Some(end) = braced.find('}')
        {
            let (caret, name) = negation(&braced[..end]);
            let negated = caret != (escape == 'P');
            match property(name) {
                Some(members) => self.property(members, negated, in_class),
                None => self.text.push_str(&format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' })),
            }
            return len + 1 + end + 1;
        }
        self.range_may_begin = true;
        let octal: &str =
            &rest[1..][..rest[1..].bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count()];
        if octal.starts_with('0') || (in_class && !octal.is_empty()) {
            let code = u8::from_str_radix(octal, 8).unwrap_or_default();
            self.text.push_str(&format!("\\x{code:02X}"));
            return 1 + octal.len();
        }
        match escape {
            'b' if in_class => self.text.push_str(r"\x08"),
            // The engine knows these outside classes only.
            'e' => self.text.push_str(r"\x1B"),
            'a' => self.text.push_str(r"\x07"),
            'v' => self.text.push_str(r"\x0B"),
            escape if escape.is_ascii_alphanumeric() || escape.is_ascii_punctuation() => {
                self.text.push('\\');
                self.text.push(escape);
            }
            // A backslash before any other character is that character.
            ' ' | '\n' | '\t' => self.text.push_str(&format!("\\x{:02X}", u32::from(escape))),
            escape => self.text.push(escape),
        }
        len
    }

    fn property(&mut self, members: &str, negated: bool, in_class: bool) {
        self.range_may_begin = false;
        let (open, close) = match (negated, in_class) {
            (true, _) => ("[^", "]"),
            (false, false) => ("[", "]"),
            (false, true) => ("", ""),
        };
        self.text.push_str(open);
        self.text.push_str(members);
        self.text.push_str(close);
    }

    fn copy(&mut self, rest: &str) -> usize {
        let len = rest.chars().next().map_or(0, char::len_utf8);
        self.text.push_str(&rest[..len]);
        len
    }

    /// The byte of the source from which the byte `at` of the translation comes.
    fn source_of(&self, at: usize) -> usize {
        let after = self.places.partition_point(|(translated, _)| *translated <= at);
        after.checked_sub(1).map_or(0, |index| self.places[index].1)
    }
}

fn negation(text: &str) -> (bool, &str) {
    text.strip_prefix('^').map_or((false, text), |rest| (true, rest))
}

fn property(name: &str) -> Option<&'static str> {
    PROPERTIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, members)| *members)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of `text` the pattern matches first.
    fn find<'t>(pattern: &str, text: &'t str) -> Option<&'t str> {
        let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error:?}"));
        regex.find(text).unwrap().map(|found| found.as_str())
    }

    #[test]
    fn ruby_means_something_else_by_these() {
        for (pattern, text, expect) in [
            ("a.b", "a\nb", None),
            ("(?m)a.b", "a\nb", Some("a\nb")),
            ("(?m-i:a.b)", "a\nb", Some("a\nb")),
            ("(?mi)A.b", "a\nb", Some("a\nb")),
            ("^b$", "a\nb\nc", Some("b")),
            (r"\Ab", "a\nb", None),
            (r"b\Z", "b\n", Some("b")),
            (r"b\z", "b\n", None),
            (r"\d+", "१२ 34", Some("34")),
            (r"\w+", "é_a", Some("_a")),
            (r"[\w]+", "é_a", Some("_a")),
            (r"\s", "\u{a0} ", Some(" ")),
            (r"[^\s]", " \t\u{a0}", Some("\u{a0}")),
            (r"\h+", "xyz12fG", Some("12f")),
            ("[[:alpha:]]+", "1éa2", Some("éa")),
            ("[[:^alpha:]]+", "é1 2a", Some("1 2")),
            (r"\p{Upper}+", "aÉB", Some("ÉB")),
            (r"\p{^Upper}+", "Éab", Some("ab")),
            ("[+--]+", "a,-b", Some(",-")),
            ("[a-c-e]+", "d-e", Some("-e")),
            ("[-a]+", "b-a", Some("-a")),
            ("[a~~]+", "b~", Some("~")),
            (r"[\w-z]+", "é-z", Some("-z")),
            (r"[\x41-\x43]+", "xABCD", Some("ABC")),
            ("[]a]+", "x]a", Some("]a")),
            ("[^]a]+", "]xa", Some("x")),
            ("[a-c&&b-d]+", "abcd", Some("bc")),
            ("[a[xyz]]+", "bxa", Some("xa")),
            (r"[\b]", "a\u{8}", Some("\u{8}")),
            (r"\033", "\u{1b}", Some("\u{1b}")),
            (r"\e", "\u{1b}", Some("\u{1b}")),
            ("(?x) a [ ] b # comment", "a b", Some("a b")),
            ("a{,2}b", "aaab", Some("aab")),
            ("a{", "a{", Some("a{")),
            (r"(a)\1", "aba a", None),
            (r"(?<n>a)\k<n>", "baa", Some("aa")),
            ("(?<=x)a", "a xa", Some("a")),
            ("(?>a+)ab", "aab", None),
            ("a++b", "aab", Some("aab")),
            (r"\/", "a/b", Some("/")),
            (r"\é", "é", Some("é")),
            ("(?<n>a)(b)", "ab", Some("ab")),
        ] {
            assert_eq!(find(pattern, text), expect, "/{pattern}/ in {text:?}");
        }
    }

    #[test]
    fn unnamed_groups_do_not_count_beside_named_ones() {
        let regex = compile("(a)(?<n>b)").unwrap();
        let captures = regex.captures("ab").unwrap().unwrap();
        assert_eq!(captures.get(1).unwrap().as_str(), "b");
    }

    #[test]
    fn errors_point_into_the_source() {
        for (pattern, start) in [(r"\d(", 2), ("a**(", 3), (r"\w\w)", 4), ("[a", 0)] {
            let error = compile(pattern).unwrap_err();
            assert!(error.start >= start.min(1) && error.end <= pattern.len() + 1, "{pattern}: {error:?}");
        }
    }
}
