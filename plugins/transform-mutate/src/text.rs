//! Text to text, text to list and back: case, white space, `split` and `join`.

use flowstone_core::event::Value;

use crate::ruby::to_s;

/// Full Unicode upper case, as Ruby 2.4 and later (`ß` becomes `SS`).
pub(crate) fn uppercase(text: &str, out: &mut String) {
    out.extend(text.chars().flat_map(char::to_uppercase));
}

/// Full Unicode lower case without regard to context, as Ruby: a sigma at the end of a word is `σ`.
pub(crate) fn lowercase(text: &str, out: &mut String) {
    out.extend(text.chars().flat_map(char::to_lowercase));
}

/// The first letter in title case, the others in lower case.
pub(crate) fn capitalize(text: &str, out: &mut String) {
    let mut rest = text.chars();
    if let Some(first) = rest.next() {
        push_title(first, out);
    }
    lowercase(rest.as_str(), out);
}

/// Title case differs from upper case in the digraphs that have a form of their own and where one letter becomes two.
fn push_title(first: char, out: &mut String) {
    match first {
        'Ǆ'..='ǆ' => out.push('ǅ'),
        'Ǉ'..='ǉ' => out.push('ǈ'),
        'Ǌ'..='ǌ' => out.push('ǋ'),
        'Ǳ'..='ǳ' => out.push('ǲ'),
        _ => {
            let mut upper = first.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
    }
}

/// Ruby's `strip`: white space and U+0000 at both ends.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\0' || is_space(c))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// Ruby's `String#split`: empty parts at the end are dropped; a single blank stands for any run of white space and
/// ignores it at the start; no separator at all splits between characters.
pub(crate) fn split(text: &str, separator: &str) -> Vec<Value> {
    let mut parts: Vec<&str> = match separator {
        " " => text.split(is_space).filter(|part| !part.is_empty()).collect(),
        "" => text.split("").filter(|part| !part.is_empty()).collect(),
        separator => text.split(separator).collect(),
    };
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts.into_iter().map(Value::from).collect()
}

/// Ruby's `Array#join`: lists within are flattened, null is nothing.
pub(crate) fn join(items: &[Value], separator: &str) -> String {
    let parts: Vec<String> = items
        .iter()
        .map(|item| match item {
            Value::Array(within) => join(within, separator),
            other => to_s(other),
        })
        .collect();
    parts.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: fn(&str, &mut String), text: &str, expect: &str) {
        let mut out = String::new();
        change(text, &mut out);
        assert_eq!(out, expect, "{text}");
    }

    #[test]
    fn case_follows_unicode_as_ruby_does() {
        check(uppercase, "aé1ß", "AÉ1SS");
        check(lowercase, "AΣ ΟΔΟΣ", "aσ οδοσ");
        check(capitalize, "hello WORLD", "Hello world");
        check(capitalize, "ßA", "Ssa");
        check(capitalize, "ǆA", "ǅa");
        check(capitalize, "", "");
    }

    #[test]
    fn strip_takes_white_space_and_zeros_from_both_ends() {
        assert_eq!(strip(" \t\n\u{b}\u{c}\r\0a b\0 "), "a b");
        assert_eq!(strip("\u{a0}a"), "\u{a0}a");
    }

    #[test]
    fn split_drops_empty_parts_at_the_end() {
        for (text, separator, expect) in [
            ("a,b,,", ",", vec!["a", "b"]),
            (",a", ",", vec!["", "a"]),
            ("", ",", vec![]),
            (",,", ",", vec![]),
            (" a  b ", " ", vec!["a", "b"]),
            ("abc", "", vec!["a", "b", "c"]),
            ("1.2.3", ".", vec!["1", "2", "3"]),
            ("a--b", "--", vec!["a", "b"]),
        ] {
            let expect: Vec<Value> = expect.into_iter().map(Value::from).collect();
            assert_eq!(split(text, separator), expect, "{text:?} at {separator:?}");
        }
    }

    #[test]
    fn join_flattens_lists_within() {
        let within = Value::Array(vec![Value::from("b"), Value::Array(vec![Value::from("c")])]);
        let items = [Value::Int(1), Value::Null, Value::Float(2.5), Value::Bool(true), within];
        assert_eq!(join(&items, "-"), "1--2.5-true-b-c");
        assert_eq!(join(&[], "-"), "");
    }
}
