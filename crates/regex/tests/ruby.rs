//! Ruby's expressions as conditions and `gsub` have them.

use flowstone_regex::{Budget, GaveUp, Regex};
use proptest::prelude::*;

fn check(pattern: &str, text: &str, expect: bool) {
    let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
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
        // At most three octal digits, the leading 0 among them.
        (r"^\x41\u0042\u{43}\101\0101$", "ABCA\u{8}1", true),
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
    let regex = Regex::new(r"^(a|a|aa)+\1[b-d]$").unwrap();
    // Without a letter that it may end with there is surely no match.
    assert_eq!(regex.is_match(&"a".repeat(60)), Some(false));
    let text = "a".repeat(60) + "!b";
    assert_eq!(regex.is_match(&text), None);
    assert_eq!(regex.find_at(&text, 0, &mut Budget::steps(62)), Err(GaveUp));
}

#[test]
fn matches_and_groups_are_found_from_a_place_on() {
    let mut budget = Budget::time(None);
    for look_behind in ["", "(?<=.|^)"] {
        let regex = Regex::new(&format!("{look_behind}(a)(x)?(b)")).unwrap();
        assert_eq!(regex.find_at("ab ab", 1, &mut budget), Ok(Some(3..5)));
        assert_eq!(regex.find_at("ab ab", 4, &mut budget), Ok(None));
        assert_eq!(
            regex.groups_at("ab ab", 1, &mut budget),
            Ok(Some(vec![Some(3..5), Some(3..4), None, Some(4..5)]))
        );
        let named = Regex::new(&format!("{look_behind}(a)(?<n-1>b)")).unwrap();
        assert_eq!(named.groups_at("ab", 0, &mut budget), Ok(Some(vec![Some(0..2), Some(1..2)])));
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
        let error = Regex::new(pattern).expect_err(pattern);
        assert_eq!(error.start, start, "{pattern}: {error}");
    }
}

proptest! {
    #[test]
    fn no_pattern_makes_it_panic(pattern in r"[\\\[\](){}^$.|*+?<>=!:#&~a-c0-9wdpkux' é-]{0,16}", text in ".{0,8}") {
        if let Ok(regex) = Regex::new(&pattern) {
            regex.is_match(&text);
        }
    }

    #[test]
    fn an_escaped_text_matches_itself(text in "[ -~é\n]{0,20}") {
        let pattern: String = text.chars().flat_map(|c| {
            let escape = c.is_ascii_punctuation().then_some('\\');
            escape.into_iter().chain([c])
        }).collect();
        prop_assert_eq!(Regex::new(&pattern).unwrap().is_match(&text), Some(true));
    }
}
