//! Reads bracket expressions and the escapes that stand for one character or a class of them.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use crate::charset;
use crate::cursor::Cursor;
use crate::error::PatternError;
use crate::names::nearest;
use crate::parse::Flags;

/// What an escape stands for.
pub(crate) enum Escape {
    /// One character.
    Char(char),
    /// One of several.
    Class(ClassUnicode),
}

/// Bracket expressions within one another; a guard for the stack.
const MAX_DEPTH: usize = 50;

/// Reads a bracket expression behind its `[`.
pub(crate) fn bracket(cursor: &mut Cursor<'_>, flags: Flags) -> Result<ClassUnicode, PatternError> {
    nested(cursor, flags, 0)
}

fn nested(cursor: &mut Cursor<'_>, flags: Flags, depth: usize) -> Result<ClassUnicode, PatternError> {
    let open = cursor.at - 1;
    if depth > MAX_DEPTH {
        return Err(cursor.error(
            open,
            open + 1,
            "brackets are nested too deeply",
            format!("at most {MAX_DEPTH}"),
        ));
    }
    let negated = cursor.eat("^");
    let mut whole: Option<ClassUnicode> = None;
    let mut class = ClassUnicode::empty();
    let mut first = true;
    loop {
        let at = cursor.at;
        let Some(c) = cursor.peek() else {
            return Err(cursor.error(
                open,
                open + 1,
                "a bracket expression is not closed",
                "expected a `]` for this",
            ));
        };
        // A `]` in the first place is a plain one, where another follows.
        if c == ']' && !(first && cursor.rest()[1..].contains(']')) {
            cursor.at += 1;
            break;
        }
        first = false;
        if cursor.eat("&&") {
            fold(&mut class, flags);
            intersect(&mut whole, std::mem::replace(&mut class, ClassUnicode::empty()));
            continue;
        }
        match item(cursor, flags, depth)? {
            Escape::Class(inner) => class.union(&inner),
            Escape::Char(low) => {
                let behind = cursor.at;
                let high = range_end(cursor)?.unwrap_or(low);
                if high < low {
                    let message = format!("the range `{}` is empty", &cursor.text[at..cursor.at]);
                    return Err(cursor.error(
                        behind,
                        cursor.at,
                        message,
                        "expected the smaller character first",
                    ));
                }
                class.push(ClassUnicodeRange::new(low, high));
            }
        }
    }
    fold(&mut class, flags);
    intersect(&mut whole, class);
    let mut class = whole.unwrap_or_else(ClassUnicode::empty);
    if class.ranges().is_empty() && !negated {
        return Err(cursor.error(
            open,
            cursor.at,
            "the bracket expression is empty",
            "expected at least one character",
        ));
    }
    if negated {
        class.negate();
    }
    Ok(class)
}

fn fold(class: &mut ClassUnicode, flags: Flags) {
    if flags.ignore_case {
        class.case_fold_simple();
    }
}

fn intersect(whole: &mut Option<ClassUnicode>, class: ClassUnicode) {
    match whole {
        Some(whole) => whole.intersect(&class),
        None => *whole = Some(class),
    }
}

/// One element of a bracket expression, without the range that may follow.
fn item(cursor: &mut Cursor<'_>, flags: Flags, depth: usize) -> Result<Escape, PatternError> {
    if cursor.rest().starts_with("[:")
        && let Some(class) = posix(cursor)?
    {
        return Ok(Escape::Class(class));
    }
    match cursor.next() {
        Some('[') => Ok(Escape::Class(nested(cursor, flags, depth + 1)?)),
        Some('\\') => {
            if cursor.peek() == Some('b') {
                cursor.at += 1;
                return Ok(Escape::Char('\u{8}'));
            }
            escape(cursor)
        }
        Some(c) => Ok(Escape::Char(c)),
        None => Ok(Escape::Class(ClassUnicode::empty())),
    }
}

/// The upper end of a range, if a `-` and a single character follow. Anything else leaves the `-` a plain one.
fn range_end(cursor: &mut Cursor<'_>) -> Result<Option<char>, PatternError> {
    let save = cursor.at;
    if !cursor.eat("-") {
        return Ok(None);
    }
    let high = match cursor.peek() {
        None | Some(']' | '[') => None,
        Some('&') if cursor.rest().starts_with("&&") => None,
        Some('\\') => {
            cursor.at += 1;
            match escape(cursor)? {
                Escape::Char(high) => Some(high),
                Escape::Class(_) => None,
            }
        }
        Some(_) => cursor.next(),
    };
    if high.is_none() {
        cursor.at = save;
    }
    Ok(high)
}

/// `[:name:]` or `[:^name:]`; a `[:` that does not end so is something else.
fn posix(cursor: &mut Cursor<'_>) -> Result<Option<ClassUnicode>, PatternError> {
    let start = cursor.at;
    let Some(end) = cursor.rest().find(":]") else { return Ok(None) };
    let inside = &cursor.rest()[2..end.max(2)];
    let (negated, name) = inside.strip_prefix('^').map_or((false, inside), |name| (true, name));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        return Ok(None);
    }
    let Some(class) = charset::CLASS_NAMES.contains(&name).then(|| charset::named_class(name)).flatten()
    else {
        return Err(unknown_class(cursor, start, start + end + 2, name));
    };
    cursor.at = start + end + 2;
    Ok(Some(if negated { charset::negated(class) } else { class }))
}

fn unknown_class(cursor: &Cursor<'_>, start: usize, end: usize, name: &str) -> PatternError {
    let label = match nearest(name, charset::CLASS_NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "expected a class such as `alpha`, `digit`, `space`, or a Unicode property".to_owned(),
    };
    cursor.error(start, end, format!("no class is called `{name}`"), label)
}

/// Reads an escape behind its `\`. Letters that mean nothing stand for themselves, as in Oniguruma.
pub(crate) fn escape(cursor: &mut Cursor<'_>) -> Result<Escape, PatternError> {
    let start = cursor.at - 1;
    let Some(c) = cursor.next() else {
        return Err(cursor.error(
            start,
            start + 1,
            "a `\\` at the end means nothing",
            "expected `\\\\` for a plain one",
        ));
    };
    if let Some(class) = charset::perl_class(c) {
        return Ok(Escape::Class(class));
    }
    let code = match c {
        't' => 0x09,
        'n' => 0x0a,
        'v' => 0x0b,
        'f' => 0x0c,
        'r' => 0x0d,
        'a' => 0x07,
        'e' => 0x1b,
        '0'..='7' => {
            cursor.at -= 1;
            u32::from_str_radix(cursor.digits(8, 3), 8).unwrap_or(u32::MAX)
        }
        'x' | 'u' if cursor.eat("{") => {
            let code = u32::from_str_radix(cursor.digits(16, 8), 16).unwrap_or(u32::MAX);
            if !cursor.eat("}") {
                return Err(cursor.error(
                    start,
                    cursor.at,
                    format!("a `\\{c}{{` is not closed"),
                    "expected hexadecimal digits and `}`",
                ));
            }
            code
        }
        // Without a digit it is the character 0. Beyond ASCII a byte is no character of its own.
        'x' => match u32::from_str_radix(cursor.digits(16, 2), 16).unwrap_or(0) {
            byte @ 0x80.. => {
                let label = "expected the character itself, or `\\u` and four digits";
                let message = format!("`\\x{byte:x}` is a byte, and no character of its own");
                return Err(cursor.error(start, cursor.at, message, label));
            }
            code => code,
        },
        'u' => {
            let digits = cursor.digits(16, 4);
            if digits.len() == 4 { u32::from_str_radix(digits, 16).unwrap_or(u32::MAX) } else { u32::MAX }
        }
        'p' | 'P' if cursor.peek() == Some('{') => {
            return property(cursor, start, c == 'P').map(Escape::Class);
        }
        'c' => control(cursor.next()),
        'C' if cursor.eat("-") => control(cursor.next()),
        'M' if cursor.peek() == Some('-') => u32::MAX,
        c => return Ok(Escape::Char(c)),
    };
    match char::from_u32(code) {
        Some(c) => Ok(Escape::Char(c)),
        None => {
            let message = format!("`{}` is no character", &cursor.text[start..cursor.at]);
            Err(cursor.error(start, cursor.at, message, "expected the number of a Unicode character"))
        }
    }
}

fn control(c: Option<char>) -> u32 {
    match c {
        Some('?') => 0x7f,
        Some(c) if c.is_ascii() => u32::from(c) & 0x1f,
        _ => u32::MAX,
    }
}

/// `{name}` or `{^name}` behind `\p`.
fn property(cursor: &mut Cursor<'_>, start: usize, negated: bool) -> Result<ClassUnicode, PatternError> {
    let Some(end) = cursor.rest().find('}') else {
        return Err(cursor.error(start, cursor.at, "a `\\p{` is not closed", "expected `}`"));
    };
    let inside = cursor.rest()[1..end].to_owned();
    let (inverse, name) = inside.strip_prefix('^').map_or((false, inside.as_str()), |name| (true, name));
    let Some(class) = charset::named_class(name) else {
        return Err(unknown_class(cursor, start, cursor.at + end + 1, name));
    };
    cursor.at += end + 1;
    Ok(if negated != inverse { charset::negated(class) } else { class })
}
