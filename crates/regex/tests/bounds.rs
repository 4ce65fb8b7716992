//! Whatever the pattern and the text: compiling ends soon, and matching within its budget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowstone_regex::{Budget, Definitions, GaveUp, Matcher, NameError, Regex, Scratch};

/// A machine on which much else runs may take so many times longer than an idle one.
const PATIENCE: u32 = 20;

/// No names at all.
struct Nameless;

impl Definitions for Nameless {
    fn get(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn all(&self) -> Vec<&str> {
        Vec::new()
    }

    fn check(&self, _group: &str) -> Result<(), NameError> {
        Ok(())
    }
}

fn grok(pattern: &str) -> Matcher {
    Matcher::grok(pattern, &Nameless, true).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

/// What a search comes to and how long it takes.
fn search(matcher: &Matcher, text: &str, limit: Duration) -> (Result<bool, GaveUp>, Duration) {
    let begun = Instant::now();
    let found = matcher.search(text, &mut Scratch::default(), &mut Budget::time(Some(limit)));
    (found, begun.elapsed())
}

fn megabyte(of: &str) -> String {
    of.repeat((1 << 20) / of.len())
}

/// Lines of a megabyte that a pattern may go through again and again.
fn hostile() -> Vec<String> {
    let mut lines: Vec<String> =
        ["a", "a.", "\0", "\"", "[", "(", "1", "1.", "%{", " ", "é", "a b ", "\\\"", "\n", "0:", "-"]
            .into_iter()
            .map(megabyte)
            .collect();
    lines.push(megabyte("a") + "\n");
    lines.push(megabyte("é") + "@b");
    lines
}

#[test]
fn what_has_no_choice_to_take_back_is_decided_in_linear_time() {
    // Each takes minutes where every place is read to the end: the local part of an address, words up to something
    // that never comes, a quoted text that is not closed.
    for pattern in [
        r"[a-zA-Z][a-zA-Z0-9_.+=:-]+@\b(?:[0-9A-Za-z][0-9A-Za-z-]{0,62})(?:\.(?:[0-9A-Za-z][0-9A-Za-z-]{0,62}))*",
        r"[a-z]+[a-z.]*x",
        r"\S+ \S+=",
        r".*foo.*bar",
        r".*?=.*?;",
        r#"a[^"]*"[^"]*"b"#,
        r"(?:[a1\[\x00]+[.b ]?)+!",
        r"(.*a){30}!",
        r"^(?:\w+\.)*\w+:$",
    ] {
        let matcher = grok(pattern);
        for line in hostile() {
            let (found, took) = search(&matcher, &line, Duration::from_secs(100));
            let start: String = line.chars().take(8).collect();
            assert_eq!(found, Ok(false), "{pattern} on {start:?}");
            assert!(took < PATIENCE * Duration::from_secs(1), "{pattern} on {start:?} took {took:?}");
        }
    }
}

#[test]
fn groups_of_a_match_in_a_long_text_are_those_of_a_short_one() {
    let matcher = grok(r"(?<key>[a-z]+)=(?<value>[a-z]+);(?<rest>.*)$");
    let line = megabyte("a.") + "key=value;" + &megabyte("b");
    let mut scratch = Scratch::default();
    let mut budget = Budget::time(Some(Duration::from_secs(100)));
    assert_eq!(matcher.search(&line, &mut scratch, &mut budget), Ok(true));
    let group = |number: usize| scratch.group(number).map(|(start, end)| &line[start as usize..end as usize]);
    assert_eq!((group(0), group(1)), (Some("key"), Some("value")));
    assert_eq!(group(2).map(str::len), Some(1 << 20));
}

#[test]
fn what_goes_astray_is_given_up_when_the_time_is_over() {
    const LIMIT: Duration = Duration::from_millis(500);
    for pattern in [
        r"^(?<a>(?:x+)+)+y\k<a>$",
        r"^(?=(?:x+)+y)",
        r"(?>(?:x*)*)x(?<a>x*)\k<a>y",
        r"(?<a>x*)x\k<a>\k<a>y",
        r"(?i)(?<a>x*)X\k<a>y",
        r"(?<=x{5000})(?<a>y?)\k<a>z",
        r"(?:(?<a>x)|x)*\k<a>y",
    ] {
        let matcher = grok(pattern);
        // What the pattern asks for is there, but not where it has to be.
        for line in [megabyte("x"), megabyte("x") + "#yz"] {
            let (found, took) = search(&matcher, &line, LIMIT);
            assert_ne!(found, Ok(true), "{pattern}");
            assert!(took < LIMIT + PATIENCE * LIMIT / 10, "{pattern} took {took:?}");
        }
    }
    // The first of them has nothing but its time to end it.
    let line = "x".repeat(50) + "yz";
    let (found, took) = search(&grok(r"^(?<a>(?:x+)+)+y\k<a>$"), &line, LIMIT);
    assert_eq!(found, Err(GaveUp));
    assert!(took >= LIMIT, "{took:?}");
}

#[test]
fn a_test_and_a_search_without_a_clock_end_by_their_steps() {
    for pattern in [
        r"^(a|a|aa)+\1[b-d]$",
        r"(?=(?:a+)+b)c",
        r"(?<!a{3000}b)(a*)\1\1c",
        r"[a-z]+[a-z.]*x",
        r"(?<![.])(?:a.)+(?!a)x",
        r"\b(?:é|a.)+\b!",
        r"(?m)(?:.*,)*;",
    ] {
        let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for line in hostile() {
            let begun = Instant::now();
            let start: String = line.chars().take(8).collect();
            assert_ne!(regex.is_match(&line), Some(true), "{pattern} on {start:?}");
            let took = begun.elapsed();
            assert!(took < PATIENCE * Duration::from_secs(1), "{pattern} on {start:?} took {took:?}");
        }
    }
}

#[test]
fn every_pattern_is_compiled_or_refused_soon() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        open.repeat(times) + inner + &close.repeat(times)
    };
    let words: Vec<String> = (0..9000).map(|number| format!("w{number}")).collect();
    for pattern in [
        format!("a{}", "*".repeat(60_000)),
        format!("a{}", "{2}".repeat(20_000)),
        format!("a{}", "{1,9}".repeat(150)),
        nested("(", "a", ")", 60_000),
        nested("(", "a", ")", 150),
        nested("(?>", "a|ab", ")", 150),
        nested("(?:", "a?", "b){1,9}", 150),
        nested("(?:a|", "b", ")*", 150),
        nested("[", "a", "]", 20_000),
        "(?i)".repeat(15_000),
        "(a{1000}){1000}".to_owned(),
        "((a{1,1000}){1,1000}b){1,900}".to_owned(),
        "(?:){100000}{100000}".to_owned(),
        // The length of what stands behind was looked for twice at each level.
        format!("(?<={})", nested("(?:", "a", "|b)", 100)),
        format!("(?<!{})", nested("(", "(?:ab|cd)", "|ef)", 100)),
        r"\p{L}".repeat(10_000),
        r"(?i)\p{L}{1,900}\P{Lu}{1,900}".repeat(20),
        "[[:alpha:][:^digit:]&&[^a]]".repeat(2000),
        r"(?>[a-z]+[0-9]*|[a-z0-9]+x|\d{3,9})".repeat(1500),
        r"(?>(?:[a-z]{1,60}\.){1,60}[a-z]{1,60}\b)".repeat(200),
        words.join("|"),
        format!("(?<n>{})\\k<n>", words.join("|")),
        format!("(?i:{})+x", words.join("|")),
        "(?:a?){60}a{60}".to_owned(),
        "%{A}".repeat(15_000),
        "%{A=%{A}}%{B=%{A}%{A}}%{B}".to_owned(),
        "[:".repeat(30_000),
        "(?<n>a)".repeat(9000),
        "(?#".repeat(20_000),
        "x".repeat(70_000),
        format!(".{{{}}}", 100_000),
    ] {
        let begun = Instant::now();
        let one = Matcher::grok(&pattern, &Nameless, true).is_ok();
        let other = Regex::new(&pattern).is_ok();
        let took = begun.elapsed();
        let start: String = pattern.chars().take(40).collect();
        assert!(took < PATIENCE * Duration::from_secs(3), "{start} took {took:?} ({one}, {other})");
        let begun = Instant::now();
        Regex::from_event(&pattern).ok();
        assert!(begun.elapsed() < PATIENCE * Duration::from_millis(50), "{start}: {:?}", begun.elapsed());
    }
}
