//! What must not be shown: where the values of secret options stand in the files, and what those values are, so that
//! neither an excerpt nor a message can hold them, whether written out, as a default, or from a variable.

use std::ops::Range;

use flowstone_core::shown::{self, MASK, forms_of};
use flowstone_core::{Node, NodeKind, OptionSpec, Span, Table, nearest};

use crate::variables::Variables;

/// Secret places and texts of one configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    spans: Vec<Span>,
    /// What the secrets are.
    texts: Vec<String>,
    /// What may stand in a text of each. Longest first, so that no part of one is left over when a shorter one was replaced.
    values: Vec<String>,
    /// Files that were not wholly understood: there, the words in front of a `=` decide too.
    pub(crate) guessed_files: Vec<usize>,
}

/// Parts of names that are given to secrets everywhere.
const TELLING: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "credential",
    "authorization",
];

// === impl Secrets ===

impl Secrets {
    /// Hides the secret options of a table: those that `specs` says, and those that a mistyped or unknown name may
    /// have meant. `all_known` says that `specs` has every option there is.
    pub(crate) fn hide_options(&mut self, table: &Table, specs: &[&OptionSpec], all_known: bool) {
        let has_secrets = specs.iter().any(|spec| spec.secret);
        for (key, entry) in &table.entries {
            let node = &entry.value;
            match specs.iter().find(|spec| spec.name == key) {
                Some(spec) if spec.secret => self.hide(node),
                Some(spec) if !spec.fields.is_empty() => {
                    let fields: Vec<&OptionSpec> = spec.fields.iter().collect();
                    for table in tables_of(node) {
                        self.hide_options(table, &fields, true);
                    }
                }
                Some(_) => {}
                None if sounds_secret(key) => self.hide(node),
                // `key = "..."` beside a known `password`: nobody needs to see its value to see the mistake.
                None if all_known && has_secrets && holds_text(node) => self.spans.push(node.span),
                None => tables_of(node).for_each(|table| self.hide_options(table, &[], false)),
            }
        }
    }

    fn hide(&mut self, node: &Node) {
        self.spans.push(node.span);
        self.keep_from_messages(node);
    }

    fn keep_from_messages(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::String(text) => self.add_value(text),
            NodeKind::Array(items) => items.iter().for_each(|item| self.keep_from_messages(item)),
            NodeKind::Table(table) => {
                table.entries.values().for_each(|entry| self.keep_from_messages(&entry.value))
            }
            _ => {}
        }
    }

    fn add_value(&mut self, text: &str) {
        if !text.is_empty() && !self.texts.iter().any(|known| known == text) {
            self.texts.push(text.to_owned());
        }
        for value in forms_of(text) {
            if !self.values.contains(&value) {
                self.values.push(value);
            }
        }
        self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    /// Hides what variables gave to secret options, and what variables with telling names gave to any. From now on no log
    /// and no answer of this process has any of what is known.
    pub(crate) fn hide_variables(&mut self, variables: &Variables) {
        for used in &variables.used {
            let in_secret = self.spans.iter().any(|span| {
                span.file == used.node.file && span.start <= used.node.start && used.node.end <= span.end
            });
            if in_secret || sounds_secret(&used.name) {
                self.add_value(&used.value);
            }
        }
        self.texts.iter().for_each(|text| shown::hide(text));
    }

    /// Hides the passwords of URLs, whatever the option is called that has one.
    pub(crate) fn hide_urls(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::String(text) => {
                url_passwords(text).into_iter().for_each(|range| self.add_value(&text[range]));
            }
            NodeKind::Array(items) => items.iter().for_each(|item| self.hide_urls(item)),
            NodeKind::Table(table) => table.entries.values().for_each(|entry| self.hide_urls(&entry.value)),
            _ => {}
        }
    }

    /// The parts of a line that must not be shown, ascending and apart. `line_start` is its place in the file.
    pub(crate) fn masked(&self, file: usize, line_start: usize, line: &str) -> Vec<Range<usize>> {
        let line_end = line_start + line.len();
        let mut ranges: Vec<Range<usize>> = self
            .spans
            .iter()
            .filter(|span| span.file == file && span.start < line_end && line_start < span.end)
            .map(|span| span.start.saturating_sub(line_start)..span.end.min(line_end) - line_start)
            .collect();
        ranges.extend(self.values.iter().flat_map(|value| occurrences(line, value)));
        ranges.extend(url_passwords(line));
        let guessed = self.guessed_files.contains(&file).then(|| behind_telling_names(line)).flatten();
        // An old password stands beside the new one more often than an explanation does.
        if let Some(comment) = comment_of(line)
            && (!ranges.is_empty() || guessed.is_some() || tells(&line[comment.clone()]))
        {
            ranges.push(comment);
        }
        ranges.extend(guessed);
        ranges.sort_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        apart
    }

    /// A message without secrets.
    pub(crate) fn scrub(&self, message: &str) -> String {
        let mut scrubbed = message.to_owned();
        for value in &self.values {
            for range in occurrences(&scrubbed, value).into_iter().rev() {
                scrubbed.replace_range(range, MASK);
            }
        }
        for range in url_passwords(&scrubbed).into_iter().rev() {
            scrubbed.replace_range(range, MASK);
        }
        scrubbed
    }
}

/// Whether a name is one that people give to secrets, or nearly.
fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    TELLING.iter().any(|word| name.contains(word))
        || ["pwd", "pass", "pw"].contains(&name.as_str())
        || (name.len() >= 6
            && nearest(&name, TELLING).is_some_and(|word| word.len().abs_diff(name.len()) <= 2))
}

fn tables_of(node: &Node) -> Box<dyn Iterator<Item = &Table> + '_> {
    match &node.kind {
        NodeKind::Table(table) => Box::new(std::iter::once(table)),
        NodeKind::Array(items) => Box::new(items.iter().flat_map(tables_of)),
        _ => Box::new(std::iter::empty()),
    }
}

fn holds_text(node: &Node) -> bool {
    match &node.kind {
        NodeKind::String(_) => true,
        NodeKind::Array(items) => items.iter().any(holds_text),
        NodeKind::Table(table) => table.entries.values().any(|entry| holds_text(&entry.value)),
        _ => false,
    }
}

/// Where `value` stands in `text`; a very short one only as a word of its own, or nothing would be left to read.
fn occurrences(text: &str, value: &str) -> Vec<Range<usize>> {
    let word = |at: usize| {
        let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !joins(text[..at].chars().next_back()) && !joins(text[at + value.len()..].chars().next())
    };
    let places = text.match_indices(value).map(|(at, _)| at);
    places.filter(|&at| value.len() >= 4 || word(at)).map(|at| at..at + value.len()).collect()
}

/// The passwords of `scheme://user:password@host`.
fn url_passwords(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for (at, separator) in text.match_indices("://") {
        let start = at + separator.len();
        let authority = &text[start..];
        let end =
            authority.find(|c: char| c.is_whitespace() || "/?#\"'`".contains(c)).unwrap_or(authority.len());
        if let Some(host) = authority[..end].rfind('@')
            && let Some(colon) = authority[..host].find(':')
        {
            ranges.push(start + colon + 1..start + host);
        }
    }
    ranges
}

/// What stands behind the `#` of a comment. Quotes are read as in one line; where they do not match, any `#` may be one.
fn comment_of(line: &str) -> Option<Range<usize>> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return Some(at + 1..line.len()),
            (None, '"' | '\'') => quote = Some(c),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !escaped => quote = None,
            _ => {}
        }
        escaped = false;
    }
    quote.and_then(|_| line.find('#')).map(|at| at + 1..line.len())
}

/// Whether a comment has a word that people use for secrets.
fn tells(comment: &str) -> bool {
    comment.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(sounds_secret)
}

/// What stands behind `password = ` and its like, up to the end of the line.
fn behind_telling_names(line: &str) -> Option<Range<usize>> {
    line.match_indices('=').find_map(|(at, _)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let name_start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .map_or(0, |stop| stop + before[stop..].chars().next().map_or(1, char::len_utf8));
        sounds_secret(&before[name_start..]).then_some(at + 1..line.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_recognised_nearly_too() {
        for name in [
            "password",
            "es_password",
            "ES_PASSWORD",
            "api-key",
            "pasword",
            "passwrod",
            "authToken",
            "pw",
            "clientSecret",
        ] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["hosts", "index", "user", "path", "timeout", "format", "compress", "paths", "task"] {
            assert!(!sounds_secret(name), "{name}");
        }
    }

    #[test]
    fn messages_hold_no_secret() {
        let mut secrets = Secrets::default();
        for value in ["hunter2", "hunter2-and-more", "es", "quo\"te"] {
            secrets.add_value(value);
        }
        for (message, expect) in [
            ("\"hunter2\" is no duration", "\"***\" is no duration"),
            ("hunter2-and-more, xhunter2x", "***, x***x"),
            ("sink `es` knows hosts", "sink `***` knows hosts"),
            ("\"quo\\\"te\" is odd", "\"***\" is odd"),
            ("no answer from http://u:p@ss@h:9200/x", "no answer from http://u:***@h:9200/x"),
            ("http://host:9200/a@b", "http://host:9200/a@b"),
        ] {
            assert_eq!(secrets.scrub(message), expect);
        }
    }

    #[test]
    fn a_comment_beside_a_secret_or_about_one_is_not_shown() {
        let mut secrets = Secrets::default();
        // `password = 5`, say, of which the value is secret.
        secrets.spans.push(Span { file: 1, start: 11, end: 12 });
        let masked = |file: usize, line: &str| {
            let mut shown = line.to_owned();
            for range in secrets.masked(file, 0, line).into_iter().rev() {
                shown.replace_range(range, MASK);
            }
            shown
        };
        for (file, line, expect) in [
            (0, "timeout = 5 # the password was hunter2", "timeout = 5 #***"),
            (0, "timeout = 5 # ES_PASSWORD=hunter2", "timeout = 5 #***"),
            (0, "timeout = 5 # seconds", "timeout = 5 # seconds"),
            (0, "index = \"a#token\"", "index = \"a#token\""),
            (0, "index = \"a\\\"#\" # token: x", "index = \"a\\\"#\" #***"),
            (0, "index = 'a\\' # token: x", "index = 'a\\' #***"),
            (0, "index = \"a # token: x", "index = \"a #***"),
            (1, "password = 5 # hunter2", "password = *** #***"),
        ] {
            assert_eq!(masked(file, line), expect);
        }
    }

    #[test]
    fn in_a_broken_file_the_name_in_front_decides() {
        let mut secrets = Secrets::default();
        let masked = |secrets: &Secrets, line: &str| {
            let mut line = line.to_owned();
            for range in secrets.masked(0, 0, &line.clone()).into_iter().rev() {
                line.replace_range(range, MASK);
            }
            line
        };
        assert_eq!(masked(&secrets, "password = \"x"), "password = \"x");
        secrets.guessed_files.push(0);
        for (line, expect) in [
            ("password = \"x", "password =***"),
            ("auth = { user = \"u\", \"api-key\" = \"x\", a = 1", "auth = { user = \"u\", \"api-key\" =***"),
            ("pasword=\"x\" é", "pasword=***"),
            ("é.secret = x", "é.secret =***"),
            ("index = \"x\"", "index = \"x\""),
        ] {
            assert_eq!(masked(&secrets, line), expect);
        }
    }
}
