//! Regular expressions in Ruby's syntax (Oniguruma), as Logstash's conditions, grok patterns and `gsub` have them.
//!
//! The pattern is rewritten into the syntax of the `regex` crate, which matches in linear time; what that crate
//! cannot do (look-around, atomic groups, possessive quantifiers, back-references) goes to `fancy-regex`, which
//! backtracks within a bound.
//!
//! What differs in the rewriting: `^` and `$` are per line, `(?m)` lets the dot match a newline, `\d`, `\s`, `\w` and
//! `\h` are ASCII while `\b` and POSIX brackets know Unicode, `{` that begins no quantifier is text.

use std::ops::Range;
use std::sync::Arc;

use crate::ExprError;

/// How often `fancy-regex` may step back in one match before it gives up.
const BACKTRACK_LIMIT: usize = 1_000_000;
/// How deep groups and brackets may nest.
const MAX_DEPTH: usize = 200;

/// A compiled regular expression in Ruby's syntax.
#[derive(Clone, Debug)]
pub struct RubyRegex {
    engine: Engine,
    /// The engine's numbers of the groups that Ruby counts: the whole match, then all or, where some have names,
    /// those.
    groups: Arc<[usize]>,
}

/// A search that took too many steps and was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySteps;

impl std::fmt::Display for TooManySteps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a regular expression took more than {BACKTRACK_LIMIT} steps")
    }
}

impl std::error::Error for TooManySteps {}

#[derive(Clone, Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// A pattern rewritten for Rust's engines; both are to be built with `multi_line(true)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RustPattern {
    /// The pattern.
    pub text: String,
    /// Whether it needs `fancy-regex`.
    pub backtracks: bool,
    /// Whether a `^` stands in it. Ruby's does not match behind a newline that ends the text, Rust's does.
    has_line_start: bool,
}

// === impl RubyRegex ===

impl RubyRegex {
    /// Compiles a pattern; the dot does not match a newline unless `(?m)` says so.
    pub fn new(pattern: &str) -> Result<Self, ExprError> {
        let rust = translate(pattern, false)?;
        let refuse =
            |error: String| ExprError::new("the regular expression cannot be used", error, 0, pattern.len());
        if !rust.backtracks {
            let linear = regex::RegexBuilder::new(&rust.text)
                .multi_line(true)
                .build()
                .map_err(|error| refuse(last_line(&error.to_string())))?;
            if !(rust.has_line_start && linear.is_match_at("\n", 1)) {
                let groups = counted(linear.capture_names());
                return Ok(Self { engine: Engine::Linear(linear), groups });
            }
        }
        let exact = translate(pattern, true)?;
        let backtracking = fancy_regex::RegexBuilder::new(&exact.text)
            .multi_line(true)
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| refuse(last_line(&error.to_string())))?;
        let groups = counted(backtracking.capture_names());
        Ok(Self { engine: Engine::Backtracking(Box::new(backtracking)), groups })
    }

    /// Whether it matches anywhere in `text`; `None` when that took too many steps to find out.
    pub fn is_match(&self, text: &str) -> Option<bool> {
        match &self.engine {
            Engine::Linear(regex) => Some(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).ok(),
        }
    }

    /// Where the first match lies that begins at byte `from` of `text` or behind it.
    pub fn find_at(&self, text: &str, from: usize) -> Result<Option<Range<usize>>, TooManySteps> {
        match &self.engine {
            Engine::Linear(regex) => Ok(regex.find_at(text, from).map(|found| found.range())),
            Engine::Backtracking(regex) => {
                let found = regex.find_from_pos(text, from).map_err(|_| TooManySteps)?;
                Ok(found.map(|found| found.range()))
            }
        }
    }

    /// [`RubyRegex::find_at`] with the groups, the whole match being group 0; nothing for a group that took no part.
    /// Beside groups with names, those without do not count, as in Ruby.
    pub fn groups_at(
        &self,
        text: &str,
        from: usize,
    ) -> Result<Option<Vec<Option<Range<usize>>>>, TooManySteps> {
        let groups = self.groups.iter();
        match &self.engine {
            Engine::Linear(regex) => Ok(regex
                .captures_at(text, from)
                .map(|found| groups.map(|&group| found.get(group).map(|part| part.range())).collect())),
            Engine::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, from).map_err(|_| TooManySteps)?;
                Ok(found
                    .map(|found| groups.map(|&group| found.get(group).map(|part| part.range())).collect()))
            }
        }
    }

    /// The number of the group with this name in [`RubyRegex::groups_at`]; of several, the last.
    pub fn group_number(&self, name: &str) -> Option<usize> {
        let name = group_name(name);
        let is_named = |found: Option<&str>| found == Some(name.as_str());
        let in_engine = match &self.engine {
            Engine::Linear(regex) => {
                regex.capture_names().enumerate().filter(|(_, found)| is_named(*found)).last()
            }
            Engine::Backtracking(regex) => {
                regex.capture_names().enumerate().filter(|(_, found)| is_named(*found)).last()
            }
        };
        let (in_engine, _) = in_engine?;
        self.groups.iter().position(|&group| group == in_engine)
    }
}

/// Which of the engine's groups Ruby counts.
fn counted<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Arc<[usize]> {
    let names: Vec<Option<&str>> = names.collect();
    let some_named = names.iter().any(Option::is_some);
    (0..names.len()).filter(|&group| group == 0 || !some_named || names[group].is_some()).collect()
}

/// The message of an error that shows the pattern first.
fn last_line(message: &str) -> String {
    let line = message.trim_end().lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Rewrites a Ruby pattern. With `exact_line_start`, `^` is spelled with look-around so that it is Ruby's to the
/// letter; such a pattern backtracks.
pub fn translate(pattern: &str, exact_line_start: bool) -> Result<RustPattern, ExprError> {
    let mut translator = Translator {
        pattern,
        at: 0,
        out: String::with_capacity(pattern.len() + 16),
        backtracks: false,
        has_line_start: false,
        exact_line_start,
        captures: 0,
        groups: vec![Group { at: 0, extended: false }],
    };
    translator.run()?;
    Ok(RustPattern {
        backtracks: translator.backtracks || (exact_line_start && translator.has_line_start),
        has_line_start: translator.has_line_start,
        text: translator.out,
    })
}

struct Translator<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
    backtracks: bool,
    has_line_start: bool,
    exact_line_start: bool,
    /// How many groups that capture have begun.
    captures: usize,
    /// The open groups, the whole pattern first.
    groups: Vec<Group>,
}

/// An open group: where it began, and whether blanks are ignored in it (`(?x)`).
#[derive(Clone, Copy)]
struct Group {
    at: usize,
    extended: bool,
}

impl Translator<'_> {
    fn rest(&self) -> &str {
        &self.pattern[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn error(&self, start: usize, message: &str, label: &str) -> ExprError {
        ExprError::new(message, label, start, self.at.max(start))
    }

    fn run(&mut self) -> Result<(), ExprError> {
        while let Some(next) = self.next() {
            let start = self.at - next.len_utf8();
            match next {
                '\\' => self.escape(start)?,
                '[' => self.class(start, 0)?,
                '(' => self.group(start)?,
                ')' => {
                    if self.groups.len() == 1 {
                        return Err(self.error(
                            start,
                            "a `)` too many",
                            "nothing is open here; write `\\)` for the text",
                        ));
                    }
                    self.groups.pop();
                    self.out.push(')');
                }
                '*' | '+' | '?' => {
                    self.out.push(next);
                    if self.eat("+") {
                        self.backtracks = true;
                        self.out.push('+');
                    } else if self.eat("?") {
                        self.out.push('?');
                    }
                }
                '{' => self.interval(),
                '}' => self.out.push_str("\\}"),
                '^' => {
                    self.has_line_start = true;
                    self.out.push_str(if self.exact_line_start { r"(?:\A|(?<=\n)(?!\z))" } else { "^" });
                }
                blank if self.is_extended() && blank.is_ascii_whitespace() => {}
                '#' if self.is_extended() => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                other => self.out.push(other),
            }
        }
        match self.groups.pop() {
            Some(open) if !self.groups.is_empty() => Err(ExprError::new(
                "a group is not closed",
                "expected `)` for this one",
                open.at,
                open.at + 1,
            )),
            _ => Ok(()),
        }
    }

    fn is_extended(&self) -> bool {
        self.groups.last().is_some_and(|group| group.extended)
    }

    /// `{2}`, `{2,}`, `{,3}`, `{2,3}` are quantifiers; any other brace is text.
    fn interval(&mut self) {
        let rest = self.rest();
        let Some(end) = rest.find('}') else { return self.out.push_str("\\{") };
        let (low, high) = rest[..end].split_once(',').unwrap_or((&rest[..end], &rest[..end]));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !(are_digits(low) && are_digits(high)) || (low.is_empty() && high.is_empty()) {
            return self.out.push_str("\\{");
        }
        let quantifier = format!("{{{}{}", if low.is_empty() { "0" } else { low }, &rest[low.len()..=end]);
        self.at += end + 1;
        self.out.push_str(&quantifier);
        if self.eat("?") {
            self.out.push('?');
        }
    }

    /// What follows `(`.
    fn group(&mut self, start: usize) -> Result<(), ExprError> {
        if self.groups.len() > MAX_DEPTH {
            return Err(self.error(start, "groups nest too deep", "at most 200 levels"));
        }
        let inherited = self.is_extended();
        if !self.eat("?") {
            self.captures += 1;
            self.out.push('(');
            self.groups.push(Group { at: start, extended: inherited });
            return Ok(());
        }
        if self.eat("#") {
            self.at += self.rest().find(')').map_or(self.rest().len(), |end| end + 1);
            return Ok(());
        }
        for opening in [":", "=", "!", ">", "<=", "<!"] {
            if self.eat(opening) {
                self.backtracks |= opening != ":";
                self.out.push_str("(?");
                self.out.push_str(opening);
                self.groups.push(Group { at: start, extended: inherited });
                return Ok(());
            }
        }
        for (open, close) in [("<", '>'), ("'", '\'')] {
            if self.eat(open) {
                let Some(end) = self.rest().find(close) else {
                    return Err(self.error(start, "a group's name is not closed", "expected `(?<name>...)`"));
                };
                let name = group_name(&self.rest()[..end]);
                self.at += end + 1;
                self.captures += 1;
                self.out.push_str(&format!("(?<{name}>"));
                self.groups.push(Group { at: start, extended: inherited });
                return Ok(());
            }
        }
        self.flags(start, inherited)
    }

    /// `(?mix-mix)` and `(?mix-mix:...)`. Ruby's `m` is Rust's `s`; blanks of `x` are left out here.
    fn flags(&mut self, start: usize, inherited: bool) -> Result<(), ExprError> {
        let mut extended = inherited;
        let mut on = true;
        let (mut set, mut unset) = (String::new(), String::new());
        loop {
            match self.next() {
                Some('-') => on = false,
                Some('x') => extended = on,
                Some(flag @ ('m' | 'i')) => {
                    let flag = if flag == 'm' { 's' } else { 'i' };
                    if on { set.push(flag) } else { unset.push(flag) }
                }
                Some(end @ (')' | ':')) => {
                    if !unset.is_empty() {
                        set.push('-');
                    }
                    let flags = format!("{set}{unset}");
                    match (end, flags.is_empty()) {
                        (':', _) => {
                            self.out.push_str(&format!("(?{flags}:"));
                            self.groups.push(Group { at: start, extended });
                        }
                        (_, true) => self.set_extended(extended),
                        (_, false) => {
                            self.out.push_str(&format!("(?{flags})"));
                            self.set_extended(extended);
                        }
                    }
                    return Ok(());
                }
                _ => {
                    return Err(self.error(
                        start,
                        "this kind of group is not supported",
                        "expected `(?:`, `(?=`, `(?!`, `(?<=`, `(?<!`, `(?>`, `(?<name>` or flags among `m`, `i`, `x`",
                    ));
                }
            }
        }
    }

    fn set_extended(&mut self, extended: bool) {
        if let Some(innermost) = self.groups.last_mut() {
            innermost.extended = extended;
        }
    }

    /// What follows a backslash outside brackets.
    fn escape(&mut self, start: usize) -> Result<(), ExprError> {
        let Some(next) = self.next() else {
            return Err(self.error(start, "the pattern ends with a backslash", "write `\\\\` for the text"));
        };
        match next {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' => {
                let negated = if next.is_ascii_uppercase() { "^" } else { "" };
                self.out.push_str(&format!("[{negated}{}]", shorthand(next)));
            }
            'A' | 'z' | 'b' | 'B' => {
                self.out.push('\\');
                self.out.push(next);
            }
            'Z' => {
                self.backtracks = true;
                self.out.push_str(r"(?=\n?\z)");
            }
            'R' => self.out.push_str(r"(?:\r\n|[\n-\r\u{85}\u{2028}\u{2029}])"),
            'K' => {
                self.backtracks = true;
                self.out.push_str(r"\K");
            }
            'G' | 'X' | 'g' => {
                return Err(self.error(
                    start,
                    &format!("`\\{next}` is not supported"),
                    "write it another way",
                ));
            }
            'k' => {
                let (open, close) = if self.eat("'") { ("'", '\'') } else { ("<", '>') };
                if open == "<" && !self.eat("<") {
                    return Err(self.error(start, "a back-reference without a name", "expected `\\k<name>`"));
                }
                let Some(end) = self.rest().find(close) else {
                    return Err(self.error(start, "a back-reference without an end", "expected `\\k<name>`"));
                };
                let name = &self.rest()[..end];
                let reference = if name.parse::<i32>().is_ok() { name.to_owned() } else { group_name(name) };
                self.at += end + 1;
                self.backtracks = true;
                self.out.push_str(&format!("\\k<{reference}>"));
            }
            '1'..='9' => {
                let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
                let number = &self.pattern[start + 1..self.at + digits];
                let is_reference =
                    digits == 0 || number.parse::<usize>().is_ok_and(|number| number <= self.captures);
                if is_reference || !next.is_digit(8) {
                    self.at += digits;
                    self.backtracks = true;
                    self.out.push_str(&format!("(?:\\{number})"));
                } else {
                    self.at -= 1;
                    let literal = self.literal_escape(start, '0')?;
                    push_literal(literal, &mut self.out);
                }
            }
            'p' | 'P' => {
                let class = self.property(start, next == 'P')?;
                self.out.push_str(&class);
            }
            _ => {
                let literal = self.literal_escape(start, next)?;
                push_literal(literal, &mut self.out);
            }
        }
        Ok(())
    }

    /// `\n`, `\x41`, `\u3042`, `\cA`, `\012` and every escaped character that stands for itself.
    fn literal_escape(&mut self, start: usize, next: char) -> Result<char, ExprError> {
        let number = |translator: &mut Self, radix: u32, most: usize| {
            let rest = translator.rest();
            let len = rest.chars().take(most).take_while(|c| c.is_digit(radix)).count();
            let value = u32::from_str_radix(&rest[..len], radix).unwrap_or(0);
            translator.at += len;
            value
        };
        let code = match next {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'f' => return Ok('\u{c}'),
            'v' => return Ok('\u{b}'),
            'a' => return Ok('\u{7}'),
            'e' => return Ok('\u{1b}'),
            '0' => number(self, 8, 3),
            'c' => match self.next() {
                Some(control) if control.is_ascii() => u32::from(control) & 0x1f,
                _ => return Err(self.error(start, "`\\c` without a character", "expected `\\cA`")),
            },
            'x' if self.rest().starts_with('{') => self.braced(start)?,
            'x' => {
                let byte = number(self, 16, 2);
                if byte > 0x7f {
                    return Err(self.error(
                        start,
                        "a byte that is no character of its own",
                        "write the character itself, or `\\u` and four digits",
                    ));
                }
                byte
            }
            'u' if self.rest().starts_with('{') => self.braced(start)?,
            'u' => number(self, 16, 4),
            other => return Ok(other),
        };
        char::from_u32(code)
            .ok_or_else(|| self.error(start, "no such character", "expected a Unicode scalar value"))
    }

    fn braced(&mut self, start: usize) -> Result<u32, ExprError> {
        let rest = &self.rest()[1..];
        let end = rest.find('}');
        let code = end.and_then(|end| u32::from_str_radix(rest[..end].trim(), 16).ok());
        match (end, code) {
            (Some(end), Some(code)) => {
                self.at += end + 2;
                Ok(code)
            }
            _ => Err(self.error(start, "no such character", "expected hexadecimal digits in braces")),
        }
    }

    /// `\p{Alpha}`, `\p{^Alpha}`, `\P{Alpha}`: a bracket for the names POSIX has too, else what Unicode calls so.
    fn property(&mut self, start: usize, negated: bool) -> Result<String, ExprError> {
        let rest = self.rest();
        let inner = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(name, _)| name);
        let Some(name) = inner.map(str::to_owned) else {
            return Err(self.error(start, "a property without a name", "expected `\\p{Alpha}`"));
        };
        self.at += name.len() + 2;
        let (name, caret) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (&*name, false),
        };
        let negated = negated != caret;
        Ok(match posix(&name.to_ascii_lowercase()) {
            Some(class) => format!("[{}{class}]", if negated { "^" } else { "" }),
            None => format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }),
        })
    }

    /// What follows `[`, up to its `]`.
    fn class(&mut self, start: usize, depth: usize) -> Result<(), ExprError> {
        if depth > MAX_DEPTH {
            return Err(self.error(start, "brackets nest too deep", "at most 200 levels"));
        }
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut first = true;
        // The character that a `-` could make a range of.
        let mut low: Option<char> = None;
        loop {
            let item_start = self.at;
            let Some(next) = self.next() else {
                return Err(self.error(start, "a bracket is not closed", "expected `]`"));
            };
            let was_first = std::mem::take(&mut first);
            match next {
                ']' if !was_first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest().starts_with(':') && self.posix_bracket() => low = None,
                '[' => {
                    self.class(item_start, depth + 1)?;
                    low = None;
                }
                '&' if self.eat("&") => {
                    self.out.push_str("&&");
                    low = None;
                }
                '-' if low.is_some() && !self.rest().starts_with(']') && !self.ends_range_early() => {
                    let high = self.next().unwrap_or('-');
                    let high = if high == '\\' { self.class_char(item_start)? } else { high };
                    if low > Some(high) {
                        return Err(self.error(
                            item_start,
                            "an empty range in brackets",
                            "expected low-high",
                        ));
                    }
                    self.out.push('-');
                    push_class_literal(high, &mut self.out);
                    low = None;
                }
                '\\' => low = self.class_escape(item_start)?,
                literal => {
                    push_class_literal(literal, &mut self.out);
                    low = Some(literal);
                }
            }
        }
    }

    /// Whether what follows a `-` cannot end a range, so that the `-` is text: `[a-\d]`, `[a-[b]]`.
    fn ends_range_early(&self) -> bool {
        let mut ahead = self.rest().chars();
        match ahead.next() {
            Some('[') | None => true,
            Some('\\') => ahead.next().is_none_or(|c| "dDwWsShHpPR".contains(c)),
            Some('&') => ahead.next() == Some('&'),
            Some(_) => false,
        }
    }

    /// An escape in brackets; gives the character if it is a single one.
    fn class_escape(&mut self, start: usize) -> Result<Option<char>, ExprError> {
        let Some(kind) = self.rest().chars().next() else {
            return Err(self.error(start, "a bracket is not closed", "expected `]`"));
        };
        match kind {
            'd' | 'w' | 's' | 'h' => {
                self.at += 1;
                self.out.push_str(shorthand(kind));
                Ok(None)
            }
            'D' | 'W' | 'S' | 'H' => {
                self.at += 1;
                self.out.push_str(&format!("[^{}]", shorthand(kind)));
                Ok(None)
            }
            'p' | 'P' => {
                self.at += 1;
                let class = self.property(start, kind == 'P')?;
                self.out.push_str(&class);
                Ok(None)
            }
            'R' => {
                self.at += 1;
                self.out.push_str(r"\n\r");
                Ok(None)
            }
            _ => {
                let literal = self.class_char(start)?;
                push_class_literal(literal, &mut self.out);
                Ok(Some(literal))
            }
        }
    }

    /// The character behind a backslash in brackets.
    fn class_char(&mut self, start: usize) -> Result<char, ExprError> {
        match self.next() {
            None => Err(self.error(start, "a bracket is not closed", "expected `]`")),
            Some('b') => Ok('\u{8}'),
            Some(octal @ '1'..='7') => {
                self.at -= octal.len_utf8();
                self.literal_escape(start, '0')
            }
            Some(next) => self.literal_escape(start, next),
        }
    }

    /// `[:alpha:]` or `[:^alpha:]` behind the `[`; moves only if it is one.
    fn posix_bracket(&mut self) -> bool {
        let Some((name, _)) = self.rest()[1..].split_once(":]") else { return false };
        let (bare, negated) = match name.strip_prefix('^') {
            Some(bare) => (bare, "^"),
            None => (name, ""),
        };
        let Some(class) = posix(bare) else { return false };
        let bracket = format!("[{negated}{class}]");
        self.at += name.len() + 3;
        self.out.push_str(&bracket);
        true
    }
}

/// The inside of the bracket that a shorthand class stands for: ASCII, as in Ruby.
fn shorthand(letter: char) -> &'static str {
    match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\x0B\x0C\r\x20",
        _ => "0-9A-Fa-f",
    }
}

/// The inside of the bracket that a POSIX name stands for: Unicode, as in Ruby.
fn posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "alnum" => r"\p{Alphabetic}\p{Nd}",
        "alpha" => r"\p{Alphabetic}",
        "ascii" => r"\x00-\x7F",
        "blank" => r"\p{Zs}\t",
        "cntrl" => r"\p{Cc}",
        "digit" => r"\p{Nd}",
        "graph" => r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}",
        "lower" => r"\p{Lowercase}",
        "print" => r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Zs}",
        "punct" => r"\p{P}$+<=>\^`|\~",
        "space" => r"\p{White_Space}",
        "upper" => r"\p{Uppercase}",
        "xdigit" => "0-9A-Fa-f",
        "word" => r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}",
        _ => return None,
    })
}

/// A group's name in the letters that Rust's engines allow; distinct names stay distinct.
fn group_name(name: &str) -> String {
    let mut out = String::from("g_");
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else {
            out.push_str(&format!("_{:x}_", u32::from(c)));
        }
    }
    out
}

/// A character outside brackets that means itself.
fn push_literal(literal: char, out: &mut String) {
    if literal.is_ascii_punctuation() && !"<>\"'%,/:;=@_`!".contains(literal) {
        out.push('\\');
    }
    out.push(literal);
}

/// A character in brackets that means itself.
fn push_class_literal(literal: char, out: &mut String) {
    if "[]^-&~\\#".contains(literal) {
        out.push('\\');
    }
    out.push(literal);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, text: &str, expect: bool) {
        let regex = RubyRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(regex.is_match(text), Some(expect), "{pattern} on {text:?}");
    }

    #[test]
    fn anchors_are_per_line() {
        for (pattern, text, expect) in [
            ("^b", "a\nb", true),
            ("a$", "a\nb", true),
            (r"\Ab", "a\nb", false),
            (r"a\z", "a\n", false),
            (r"a\Z", "a\n", true),
            ("^$", "x", false),
            ("^$", "", true),
            ("^$", "x\n\ny", true),
            // Behind the newline that ends the text there is no line.
            ("^$", "x\n", false),
            (r"^\s*$", "x\n", false),
            ("x$", "x\n", true),
        ] {
            check(pattern, text, expect);
        }
    }

    #[test]
    fn the_dot_and_flags_are_rubys() {
        for (pattern, text, expect) in [
            ("a.b", "a\nb", false),
            ("(?m)a.b", "a\nb", true),
            ("(?m:a.)b", "a\nb", true),
            ("(?m)a(?-m:.)b", "a\nb", false),
            ("(?i)ok", "OK", true),
            ("(?i:o)k", "OK", false),
            ("(?x) a b # comment (\n c", "abc", true),
            ("(?x: a )b c", "ab c", true),
            (r"(?x)a\ b[ ]c", "a b c", true),
            ("a(?#comment)b", "ab", true),
        ] {
            check(pattern, text, expect);
        }
    }

    #[test]
    fn classes_are_ascii_and_posix_brackets_unicode() {
        for (pattern, text, expect) in [
            (r"^\d$", "٣", false),
            (r"^\w$", "é", false),
            (r"^\W$", "é", true),
            (r"^\s$", "\u{a0}", false),
            (r"^\h+$", "fF09", true),
            (r"^[\h_-]+$", "f_-", true),
            (r"^[[:alpha:]]$", "é", true),
            (r"^[[:^alpha:]]$", "é", false),
            (r"^[^[:digit:]]$", "5", false),
            (r"^\p{Alpha}\p{^Digit}\P{Upper}$", "éax", true),
            (r"^\p{Greek}$", "λ", true),
            (r"^[a-c&&[^b]]+$", "ac", true),
            (r"^[a-c&&[^b]]+$", "b", false),
            (r"^[]a]+$", "]a", true),
            (r"^[\w-.]+$", "a-.", true),
            (r"^[a\-z]+$", "b", false),
            (r"^[+--]$", ",", true),
            (r"^[[a][b]]$", "b", true),
            (r"^[\b]$", "\u{8}", true),
            (r"^[~&^#]$", "~", true),
            (r"^[^\]]$", "\n", true),
            (r"\bé", "x é", true),
        ] {
            check(pattern, text, expect);
        }
    }

    #[test]
    fn escapes_and_braces_stand_for_what_ruby_says() {
        for (pattern, text, expect) in [
            (r"a\/b", "a/b", true),
            (r"^\x41\u0042\u{43}\101\0101$", "ABCAA", true),
            (r"\e\a\cA", "\u{1b}\u{7}\u{1}", true),
            (r"\0", "\0", true),
            (r"\<b\>", "<b>", true),
            (r"\y\-\@\ ", "y-@ ", true),
            (r"^\R$", "\r\n", true),
            ("a{2}", "aa", true),
            ("^a{,2}$", "", true),
            ("^a{,2}$", "aaa", false),
            ("a{2,}b", "aaab", true),
            ("a{b}", "a{b}", true),
            ("a{", "a{", true),
            ("{a}", "{a}", true),
            ("a{,}", "a{,}", true),
        ] {
            check(pattern, text, expect);
        }
    }

    #[test]
    fn what_needs_backtracking_works_too() {
        for (pattern, text, expect) in [
            (r"(?<![0-9])10\.", "110.0", false),
            (r"(?<=x)y(?!z)", "xy", true),
            ("(?>a+)ab", "aaab", false),
            ("a++ab", "aaab", false),
            (r"(\w)\1", "hello", true),
            (r"(?<c>\w)\k<c>", "world", false),
            (r"(?<a-b>x)\k<a-b>", "xx", true),
        ] {
            check(pattern, text, expect);
        }
    }

    #[test]
    fn a_match_that_takes_too_long_is_given_up() {
        let regex = RubyRegex::new(r"^(a|a|aa)+\1[b-d]$").unwrap();
        assert_eq!(regex.is_match(&"a".repeat(60)), None);
        assert_eq!(regex.find_at(&"a".repeat(60), 0), Err(TooManySteps));
    }

    #[test]
    fn matches_and_groups_are_found_from_a_place_on() {
        for look_behind in ["", "(?<=.|^)"] {
            let regex = RubyRegex::new(&format!("{look_behind}(a)(x)?(b)")).unwrap();
            assert_eq!(regex.find_at("ab ab", 1), Ok(Some(3..5)));
            assert_eq!(regex.find_at("ab ab", 4), Ok(None));
            assert_eq!(regex.groups_at("ab ab", 1), Ok(Some(vec![Some(3..5), Some(3..4), None, Some(4..5)])));
            let named = RubyRegex::new(&format!("{look_behind}(a)(?<n-1>b)")).unwrap();
            assert_eq!(named.groups_at("ab", 0), Ok(Some(vec![Some(0..2), Some(1..2)])));
            assert_eq!((named.group_number("n-1"), named.group_number("m")), (Some(1), None));
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_its_place() {
        for (pattern, start) in [
            ("(", 0),
            ("a(b(c)", 1),
            ("a)", 1),
            ("[a", 0),
            ("a[[b]", 1),
            (r"a\", 1),
            ("a(?~b)", 1),
            (r"x\G", 1),
            (r"\g<1>", 0),
            (r"a\xff", 1),
            (r"\u{d800}", 0),
            ("[z-a]", 2),
            ("*", 0),
            (r"\p{Nonsense}", 0),
            ("a{100000}{100000}", 0),
        ] {
            let error = RubyRegex::new(pattern).expect_err(pattern);
            assert_eq!(error.start, start, "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in r"[\\\[\](){}^$.|*+?<>=!:#&~a-c0-9wdpkux' é-]{0,16}", text in ".{0,8}") {
            if let Ok(regex) = RubyRegex::new(&pattern) {
                regex.is_match(&text);
            }
        }

        #[test]
        fn an_escaped_text_matches_itself(text in "[ -~é\n]{0,20}") {
            let pattern: String = text.chars().flat_map(|c| {
                let escape = c.is_ascii_punctuation().then_some('\\');
                escape.into_iter().chain([c])
            }).collect();
            prop_assert_eq!(RubyRegex::new(&pattern).unwrap().is_match(&text), Some(true));
        }
    }
}
