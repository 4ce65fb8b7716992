//! `gsub`: every match of a regular expression replaced, as Ruby's `String#gsub` does it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowstone_core::event::RowView;
use flowstone_dialect::regex::{Budget, GaveUp, Regex};
use flowstone_dialect::{ExprError, Template};

use crate::StepError;

/// How long the substitutions in one text may take.
const TIME: Duration = Duration::from_secs(1);
/// How long a text may become.
const MAX_BYTES: usize = 16 << 20;
/// Needles of events that are kept compiled.
const MAX_KNOWN: usize = 64;

/// One substitution.
#[derive(Clone, Debug)]
pub(crate) struct Substitution {
    needle: Needle,
    replacement: Replacement,
}

#[derive(Clone, Debug)]
enum Needle {
    Fixed(Regex),
    /// Holds `%{...}`: compiled for the event, unless another had the same.
    Template(Template, PatternCache),
}

/// Needles of events, compiled. All workers share them.
#[derive(Clone, Debug, Default)]
struct PatternCache(Arc<Mutex<HashMap<String, Regex>>>);

#[derive(Clone, Debug)]
enum Replacement {
    Fixed(Vec<Piece>),
    /// Holds `%{...}`: what the fields hold is read like the rest, backslashes included.
    Template(Template),
}

/// A piece of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `\0` to `\9`, `\&`.
    Group(usize),
    /// `\k<name>`.
    Named(String),
    /// `` \` ``: what stands before the match.
    Before,
    /// `\'`: what stands behind it.
    Behind,
}

// === impl Substitution ===

impl Substitution {
    /// Reads both texts. The error says which of the three elements it is about: 1 the needle, 2 the replacement.
    pub(crate) fn new(needle: &str, replacement: &str) -> Result<Self, (usize, ExprError)> {
        let template = |text: &str, element| {
            let template = Template::parse(text).map_err(|error| (element, error))?;
            Ok(template.literal().is_none().then_some(template))
        };
        let needle = match template(needle, 1)? {
            Some(template) => Needle::Template(template, PatternCache::default()),
            None => Needle::Fixed(Regex::new(needle).map_err(|error| (1, error.into()))?),
        };
        let replacement = match template(replacement, 2)? {
            Some(template) => Replacement::Template(template),
            None => Replacement::Fixed(pieces(replacement)),
        };
        Ok(Self { needle, replacement })
    }

    /// Whether it is the same in every event.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!((&self.needle, &self.replacement), (Needle::Fixed(_), Replacement::Fixed(_)))
    }

    /// Writes the changed text; `false` where nothing matches.
    pub(crate) fn apply(&self, text: &str, row: RowView<'_>, out: &mut String) -> Result<bool, StepError> {
        let compiled;
        let regex = match &self.needle {
            Needle::Fixed(regex) => regex,
            Needle::Template(template, known) => {
                compiled = known.get(rendered(template, row))?;
                &compiled
            }
        };
        let read;
        let replacement = match &self.replacement {
            Replacement::Fixed(pieces) => pieces,
            Replacement::Template(template) => {
                read = pieces(&rendered(template, row));
                &read
            }
        };
        replace_all(regex, text, replacement, out)
    }
}

// === impl PatternCache ===

impl PatternCache {
    fn get(&self, needle: String) -> Result<Regex, StepError> {
        if let Some(regex) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&needle) {
            return Ok(regex.clone());
        }
        let regex = Regex::from_event(&needle).map_err(|error| {
            let shown: String = needle.chars().take(100).collect();
            StepError::new(format!("gsub: {} in `{shown}`", error.message))
        })?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(needle, regex.clone());
        Ok(regex)
    }
}

fn rendered(template: &Template, row: RowView<'_>) -> String {
    let mut text = String::new();
    template.render(row, &mut text);
    text
}

/// Ruby finds an empty match right behind another match: `"baac".gsub(/a*/, "-")` is `-b--c-`.
fn replace_all(
    regex: &Regex,
    text: &str,
    replacement: &[Piece],
    out: &mut String,
) -> Result<bool, StepError> {
    let gave_up = |error: GaveUp| StepError::new(format!("gsub: {error}"));
    let mut budget = Budget::time(Some(TIME));
    let mut from = 0;
    let mut copied = 0;
    let mut changed = false;
    while from <= text.len() {
        let whole = if let [Piece::Text(new)] = replacement {
            let Some(whole) = regex.find_at(text, from, &mut budget).map_err(gave_up)? else { break };
            out.push_str(&text[copied..whole.start]);
            out.push_str(new);
            whole
        } else {
            let Some(groups) = regex.groups_at(text, from, &mut budget).map_err(gave_up)? else { break };
            let Some(Some(whole)) = groups.first().cloned() else { break };
            out.push_str(&text[copied..whole.start]);
            expand(replacement, regex, &groups, text, out);
            whole
        };
        if out.len() > MAX_BYTES {
            return Err(StepError::new(format!("gsub: the text would be longer than {MAX_BYTES} bytes")));
        }
        changed = true;
        copied = whole.end;
        from = if whole.is_empty() {
            whole.end + text[whole.end..].chars().next().map_or(1, char::len_utf8)
        } else {
            whole.end
        };
    }
    out.push_str(&text[copied..]);
    Ok(changed)
}

fn expand(
    replacement: &[Piece],
    regex: &Regex,
    groups: &[Option<Range<usize>>],
    text: &str,
    out: &mut String,
) {
    let group = |number: usize| groups.get(number).cloned().flatten().unwrap_or(0..0);
    for piece in replacement {
        out.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Group(number) => &text[group(*number)],
            Piece::Named(name) => &text[regex.group_number(name).map_or(0..0, group)],
            Piece::Before => &text[..group(0).start],
            Piece::Behind => &text[group(0).end..],
        });
    }
}

/// Reads a replacement. A backslash before anything else than the letters of [`Piece`] stands for itself.
fn pieces(replacement: &str) -> Vec<Piece> {
    let mut read: Vec<Piece> = Vec::new();
    let mut literal = String::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        literal.push_str(&rest[..at]);
        let escaped = &rest[at + 1..];
        let (piece, len) = match escaped.chars().next() {
            Some(digit @ '0'..='9') => (Some(Piece::Group(digit as usize - '0' as usize)), 1),
            Some('&') => (Some(Piece::Group(0)), 1),
            Some('`') => (Some(Piece::Before), 1),
            Some('\'') => (Some(Piece::Behind), 1),
            Some('k') if escaped[1..].starts_with('<') && escaped.contains('>') => {
                let end = escaped.find('>').unwrap_or_default();
                let name = &escaped[2..end];
                let piece = name.parse().map_or_else(|_| Piece::Named(name.to_owned()), Piece::Group);
                (Some(piece), end + 1)
            }
            Some('\\') => {
                literal.push('\\');
                (None, 1)
            }
            _ => {
                literal.push('\\');
                (None, 0)
            }
        };
        if let Some(piece) = piece {
            if !literal.is_empty() {
                read.push(Piece::Text(std::mem::take(&mut literal)));
            }
            read.push(piece);
        }
        rest = &escaped[len..];
    }
    literal.push_str(rest);
    if !literal.is_empty() || read.is_empty() {
        read.push(Piece::Text(literal));
    }
    read
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{Batch, Path, RowId, Value};

    use super::*;

    fn check(needle: &str, replacement: &str, text: &str, expect: &str) {
        let batch = Batch::new(vec![RowId::of(b"row")]);
        let mut out = String::new();
        let substitution = Substitution::new(needle, replacement).unwrap();
        let changed = substitution.apply(text, batch.row(0), &mut out).unwrap();
        assert_eq!(out, expect, "{text:?}.gsub(/{needle}/, {replacement:?})");
        assert_eq!(changed, text != expect || needle == "same", "{text:?} {needle}");
    }

    #[test]
    fn matches_are_replaced_as_ruby_does() {
        for (needle, replacement, text, expect) in [
            ("a", "b", "banana", "bbnbnb"),
            ("a*", "-", "baac", "-b--c-"),
            ("x*", "-", "é", "-é-"),
            ("^", "> ", "a\nb", "> a\n> b"),
            ("b", r"\0\0", "abc", "abbc"),
            ("(b)(c)?", r"[\1\2\3]", "abab", "a[b]a[b]"),
            ("(?<n>b)", r"[\k<n>]", "abc", "a[b]c"),
            ("(b)", r"[\k<1>]", "abc", "a[b]c"),
            ("b", r"\`|\'|\&", "abc", "aa|c|bc"),
            ("b", r"\\0", "abc", r"a\0c"),
            ("(a)(?<n>b)", r"[\1]", "abc", "[b]c"),
            ("b", r"\n\", "abc", r"a\n\c"),
            ("b", r"\k<", "abc", r"a\k<c"),
            ("b", "", "abc", "ac"),
            ("z", "y", "abc", "abc"),
        ] {
            check(needle, replacement, text, expect);
        }
    }

    /// An event whose field `f` is the needle.
    fn with_needle(needle: &str, text: &str) -> Result<String, StepError> {
        let mut batch = Batch::new(vec![RowId::of(b"row")]);
        batch.set(0, &Path::top("f"), Value::from(needle)).unwrap();
        let mut out = String::new();
        Substitution::new("%{f}", "-").unwrap().apply(text, batch.row(0), &mut out).map(|_| out)
    }

    #[test]
    fn a_needle_of_an_event_is_an_expression_that_must_be_small() {
        assert_eq!(with_needle("b+", "abbc").unwrap(), "a-c");
        for needle in [
            "a".repeat(1000),
            "(".repeat(400),
            format!("a{}", "*".repeat(400)),
            r"\p{L}".repeat(20),
            r"[[:alpha:]]".repeat(20),
            "a{100000}{100000}".to_owned(),
        ] {
            let StepError(why) = with_needle(&needle, "a").expect_err(&needle);
            assert!(why.starts_with("gsub: ") && why.len() < 300, "{why}");
        }
    }

    #[test]
    fn a_thousand_needles_of_hostile_events_cost_little_and_few_are_kept() {
        let substitution = Substitution::new("%{f}", "-").unwrap();
        let begun = std::time::Instant::now();
        for number in 0..1000 {
            let mut batch = Batch::new(vec![RowId::of(b"row")]);
            let needle =
                format!(r"(?:\p{{L}}{{1,900}}{number}){{1,900}}[[:alpha:]]+(?i:{})", "x".repeat(300));
            batch.set(0, &Path::top("f"), Value::from(needle)).unwrap();
            let mut out = String::new();
            substitution.apply("abc", batch.row(0), &mut out).unwrap();
            assert_eq!(out, "abc");
        }
        // Some hundred times what it takes where nothing else runs.
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let Needle::Template(_, known) = &substitution.needle else { panic!("a template") };
        assert!(known.0.lock().unwrap().len() <= MAX_KNOWN);
    }

    #[test]
    fn many_matches_that_each_look_at_the_whole_text_are_given_up_in_time() {
        let batch = Batch::new(vec![RowId::of(b"row")]);
        let text = "a".repeat(1 << 20);
        for needle in ["a(?:.*z)?", r"a(?:.*z\b)?", "a(?=.*z)|a"] {
            let begun = std::time::Instant::now();
            let substitution = Substitution::new(needle, "b").unwrap();
            let StepError(why) = substitution.apply(&text, batch.row(0), &mut String::new()).unwrap_err();
            assert!(why.contains("took too long"), "{why}");
            assert!(begun.elapsed() < 10 * TIME, "{needle}: {:?}", begun.elapsed());
        }
    }

    #[test]
    fn a_text_does_not_grow_without_end() {
        let batch = Batch::new(vec![RowId::of(b"row")]);
        let text = "a".repeat(1 << 20);
        let substitution = Substitution::new("a", r"\`").unwrap();
        let mut out = String::new();
        let StepError(why) = substitution.apply(&text, batch.row(0), &mut out).unwrap_err();
        assert!(why.contains("longer than 16777216 bytes"), "{why}");
        assert!(out.len() < MAX_BYTES + (2 << 20));
    }

    #[test]
    fn what_is_no_expression_is_refused_at_its_place() {
        let (element, error) = Substitution::new("a(b", "").unwrap_err();
        assert_eq!(element, 1);
        assert!(error.start <= 3, "{error:?}");
    }
}
