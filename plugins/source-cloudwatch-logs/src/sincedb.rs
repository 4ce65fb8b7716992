//! Where Logstash's `cloudwatch_logs` input stopped: its *sincedb*, read as Logstash itself reads it.
//!
//! The file has a line `LOG-GROUP POSITION` for each log group. The position is the time of the event handled last,
//! plus one millisecond; Logstash asks for nothing before it again. (Source: logstash-input-cloudwatch_logs 1.0.3,
//! `_sincedb_open` and `_sincedb_write`; what it made of odd files was recorded from it.)
//!
//! # Where reading starts
//!
//! A position is no promise that everything before it was read. What CloudWatch ingested late, with a time before the
//! position, was never asked for, and neither was what shared the millisecond of a page's last event. So this source
//! starts at the position **minus `late_window`** ([`Sincedb::begins_at`]), and finds what Logstash missed within that
//! time; what Logstash missed before is left to `flowstone backfill`.
//!
//! What Logstash did deliver of that stretch is delivered a second time, and nothing can tell: the file names no events,
//! and documents written by Logstash have other `_id`s (random ones, unless its output set `document_id`). Where that
//! matters, stop Logstash, let it drain, and delete from its indices what has an `@timestamp` in that stretch and the
//! `cloudwatch_logs.log_group`, before flowstone is started.
//!
//! # Odd files
//!
//! Logstash writes the file in place **without cutting it off**: a text that is shorter than the one before leaves the
//! end of the older one behind, as `02309000` or as `s 1551002309000`, the rest of a name and a whole position. And it
//! takes every line: one that is no entry is to it a group of that name at position 0. All of these are kept as Logstash
//! keeps them, since only the groups that are read are asked for and no rest of a name is likely to be one, and each
//! is reported as a [`Strange`].
#![expect(clippy::disallowed_methods, reason = "read once, before the first request")]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

/// The positions of log groups, and what was odd about the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sincedb {
    positions: BTreeMap<String, i64>,
    /// Lines that are no plain entry, in their order.
    pub strange: Vec<Strange>,
}

/// A line that is no plain entry: where, what stands there, and what it was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strange {
    /// Its number, from 1.
    pub line: usize,
    /// What stands there, without the line's end.
    pub text: String,
    /// What is odd about it.
    pub why: Why,
}

/// What is odd about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// One word: the rest of an older, longer text, or a line that was cut. To Logstash, a group at position 0.
    NoPosition,
    /// More than a name and a number. To Logstash, a group of the first word at the number that the rest begins with, or at
    /// 0; so it reads a name with a space in it.
    NotANumber {
        /// The position that Logstash takes.
        taken: i64,
    },
    /// A position that no event has: before 2001, and not 0, or after 2286. The number was cut, or written by hand.
    Implausible,
    /// A second line for the same group, which Logstash prefers.
    Repeated {
        /// The position of the line before.
        before: i64,
    },
    /// Not UTF-8; the bytes that are none were replaced.
    NotText,
}

/// Milliseconds since the epoch have 13 digits from 2001-09-09 on; CloudWatch Logs is from 2014.
const THIRTEEN_DIGITS: Range<i64> = 1_000_000_000_000..10_000_000_000_000;
/// So much of a line is shown.
const SHOWN: usize = 80;

// === impl Sincedb ===

impl Sincedb {
    /// Reads the file. Its errors name it and say what was expected.
    pub fn read(path: &Path) -> Result<Self, String> {
        let content = std::fs::read(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "expected the file that Logstash's option `sincedb_path` names; unset, it is \
                     `PATH.DATA/plugins/inputs/cloudwatch_logs/.sincedb_` and the MD5 of the groups' names"
                }
                _ => "expected a file that flowstone may read",
            };
            format!("cannot import the sincedb {}: {error}; {hint}", path.display())
        })?;
        Ok(Self::parse(&content))
    }

    /// Takes the content of a file apart. Every content is one: what is odd is in `strange`.
    pub fn parse(content: &[u8]) -> Self {
        let mut sincedb = Self::default();
        for (index, bytes) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(bytes);
            let is_text = std::str::from_utf8(bytes).is_ok();
            let words = line.trim_matches(is_space);
            // A blank line is a group without a name to Logstash, which AWS does not have.
            if words.is_empty() {
                continue;
            }
            let (group, rest) = words.split_once(is_space).unwrap_or((words, ""));
            let rest = rest.trim_start_matches(is_space);
            let position = to_i(rest);
            let before = sincedb.positions.insert(group.to_owned(), position);
            let why = if !is_text {
                Some(Why::NotText)
            } else if rest.is_empty() {
                Some(Why::NoPosition)
            } else if rest.parse() != Ok(position) {
                Some(Why::NotANumber { taken: position })
            } else if position != 0 && !THIRTEEN_DIGITS.contains(&position) {
                Some(Why::Implausible)
            } else {
                before.map(|before| Why::Repeated { before })
            };
            if let Some(why) = why {
                let text = words.chars().take(SHOWN).collect();
                sincedb.strange.push(Strange { line: index + 1, text, why });
            }
        }
        sincedb
    }

    /// The time up to which Logstash has read this log group, in milliseconds since the epoch: at which it would go on.
    pub fn position(&self, group: &str) -> Option<i64> {
        self.positions.get(group).copied()
    }

    /// The first event time to read of this log group, in milliseconds since the epoch; `None` if the file does not name
    /// it. `late_window_ms` before the position, and never later than that before now: Logstash can be told to wait for
    /// a time to come, but what is written until then is not to be lost.
    pub fn begins_at(&self, group: &str, late_window_ms: i64, now_ms: i64) -> Option<i64> {
        let position = self.position(group)?;
        Some(position.min(now_ms).saturating_sub(late_window_ms).max(0))
    }

    /// The log groups that the file names, and their positions, sorted by name. Rests of older texts are among them.
    pub fn positions(&self) -> impl Iterator<Item = (&str, i64)> {
        self.positions.iter().map(|(group, position)| (&**group, *position))
    }
}

// === impl Strange ===

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, why } = self;
        let group = text.split(is_space).next().unwrap_or_default();
        write!(f, "line {line}, {text:?}: ")?;
        match why {
            Why::NoPosition => write!(
                f,
                "expected `LOG-GROUP POSITION`; it is the rest of an older text or a line that was cut, and to \
                 Logstash a group {group:?} that is read from the beginning"
            ),
            Why::NotANumber { taken } => write!(
                f,
                "expected a number of milliseconds after the first space; Logstash takes it for a group {group:?} \
                 at {taken}"
            ),
            Why::Implausible => {
                write!(f, "expected a time of 13 digits, in milliseconds since 1970; it is taken as it is")
            }
            Why::Repeated { before } => write!(
                f,
                "{group:?} was at {before} in a line before; the last line counts, as it does for Logstash"
            ),
            Why::NotText => write!(f, "expected UTF-8"),
        }
    }
}

// === helpers ===

/// What Ruby's `split(" ")` splits at.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// Ruby's `String#to_i`: the number that the text begins with, single underscores between digits allowed; otherwise 0.
fn to_i(text: &str) -> i64 {
    let (is_negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut number: i64 = 0;
    let mut after_digit = false;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(i64::from(byte - b'0')),
            b'_' if after_digit => {}
            _ => break,
        }
        after_digit = byte != b'_';
    }
    if is_negative { -number } else { number }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn positions(content: &str) -> Vec<(String, i64)> {
        let sincedb = Sincedb::parse(content.as_bytes());
        sincedb.positions().map(|(group, position)| (group.to_owned(), position)).collect()
    }

    fn strange(content: &str) -> Vec<(usize, Why)> {
        Sincedb::parse(content.as_bytes()).strange.into_iter().map(|one| (one.line, one.why)).collect()
    }

    #[test]
    fn plain_files_are_read_without_a_word() {
        let content = "/vpc/a 1551002309001\n/vpc/b 0\n/vpc/c 1551002400000\n";
        let expect = [("/vpc/a", 1_551_002_309_001), ("/vpc/b", 0), ("/vpc/c", 1_551_002_400_000)];
        assert_eq!(positions(content), expect.map(|(group, position)| (group.to_owned(), position)));
        assert_eq!(strange(content), []);
        assert_eq!(strange(&content.replace('\n', "\r\n")), []);
        assert_eq!(positions(""), []);
    }

    #[test]
    fn every_line_is_taken_as_logstash_takes_it_and_what_is_odd_is_told() {
        let whole = 1_551_002_309_001;
        for (content, group, position, why) in [
            ("g", "g", 0, Some(Why::NoPosition)),
            ("g \n", "g", 0, Some(Why::NoPosition)),
            ("02309000\n", "02309000", 0, Some(Why::NoPosition)),
            ("my group 55\n", "my", 0, Some(Why::NotANumber { taken: 0 })),
            ("g 1551002309001 and more\n", "g", whole, Some(Why::NotANumber { taken: whole })),
            ("g 1551002309001x\n", "g", whole, Some(Why::NotANumber { taken: whole })),
            ("g 1_551_002_309_001\n", "g", whole, Some(Why::NotANumber { taken: whole })),
            ("g 1__5\n", "g", 1, Some(Why::NotANumber { taken: 1 })),
            ("g _1\n", "g", 0, Some(Why::NotANumber { taken: 0 })),
            ("g 0x1f\n", "g", 0, Some(Why::NotANumber { taken: 0 })),
            ("g +1551002309001\n", "g", whole, None),
            (" \t g \t 1551002309001 \n", "g", whole, None),
            ("g 15510\n", "g", 15_510, Some(Why::Implausible)),
            ("g -5\n", "g", -5, Some(Why::Implausible)),
            ("g 15510023090010\n", "g", 15_510_023_090_010, Some(Why::Implausible)),
            ("g 99999999999999999999\n", "g", i64::MAX, Some(Why::NotANumber { taken: i64::MAX })),
        ] {
            assert_eq!(positions(content), [(group.to_owned(), position)], "{content:?}");
            let expect: Vec<(usize, Why)> = why.into_iter().map(|why| (1, why)).collect();
            assert_eq!(strange(content), expect, "{content:?}");
        }
    }

    #[test]
    fn the_rest_of_an_older_text_changes_no_group_that_is_read() {
        // What stood there before was longer by eight bytes, by a line, or by a line and a half.
        for (rest, told) in [
            ("02309000\n", vec![(2, Why::NoPosition)]),
            ("logs 1551002309000\n", vec![]),
            ("09000\nother 1551002309000\n", vec![(2, Why::NoPosition)]),
        ] {
            let content = format!("/vpc/flow 1551002400001\n{rest}");
            let sincedb = Sincedb::parse(content.as_bytes());
            assert_eq!(sincedb.position("/vpc/flow"), Some(1_551_002_400_001));
            assert_eq!(strange(&content), told, "{rest:?}");
        }
        let twice = "/vpc/flow 1551002400001\n/vpc/flow 1551002309000\n";
        assert_eq!(positions(twice), [("/vpc/flow".to_owned(), 1_551_002_309_000)], "as Logstash has it");
        assert_eq!(strange(twice), [(2, Why::Repeated { before: 1_551_002_400_001 })]);
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_own_line_only() {
        let sincedb = Sincedb::parse(b"a 1551002309001\n\xff\xfe 3\nb 1551002309002");
        assert_eq!(
            (sincedb.position("a"), sincedb.position("b")),
            (Some(1_551_002_309_001), Some(1_551_002_309_002))
        );
        assert_eq!(sincedb.strange.len(), 1);
        assert_eq!((sincedb.strange[0].line, &sincedb.strange[0].why), (2, &Why::NotText));
    }

    #[test]
    fn reading_starts_a_late_window_before_the_position() {
        let now = 1_551_002_400_000;
        let sincedb = Sincedb::parse(b"a 1551002309001\nb 0\nc 1551009999999\nd -5\n");
        let begins = |group: &str| sincedb.begins_at(group, 1_800_000, now);
        assert_eq!(begins("a"), Some(1_551_000_509_001));
        assert_eq!(begins("b"), Some(0));
        assert_eq!(begins("c"), Some(now - 1_800_000), "a position that lies ahead");
        assert_eq!(begins("d"), Some(0), "AWS refuses times before 1970");
        assert_eq!(begins("e"), None);
    }

    #[test]
    fn what_is_odd_is_told_with_its_line_and_what_was_expected() {
        let sincedb = Sincedb::parse(b"a 1551002309001\nmy group 55\n\n309000\n");
        let told: Vec<String> = sincedb.strange.iter().map(Strange::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2, \"my group 55\": expected a number of milliseconds after the first space; Logstash takes it \
                 for a group \"my\" at 0",
                "line 4, \"309000\": expected `LOG-GROUP POSITION`; it is the rest of an older text or a line that was \
                 cut, and to Logstash a group \"309000\" that is read from the beginning",
            ]
        );
        let missing = Sincedb::read(Path::new("/nowhere/.sincedb")).unwrap_err();
        assert!(missing.starts_with("cannot import the sincedb /nowhere/.sincedb: "), "{missing}");
        assert!(
            missing.contains("expected the file that Logstash's option `sincedb_path` names"),
            "{missing}"
        );
    }

    /// The cases recorded from Logstash: where it went on, given a file, and what it wrote.
    #[test]
    fn logstash_goes_on_from_the_positions_that_are_read_here() {
        let folder = std::env::var_os("FLOWSTONE_SHARED").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            std::path::PathBuf::from,
        );
        let path = folder.join("cases/cloudwatch_input.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return eprintln!("left out: the cases recorded from Logstash are not in {}", path.display());
        };
        let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
        let (mut read, mut written) = (0, 0);
        for case in &cases {
            let id = case["id"].as_str().unwrap();
            if let Some(initial) = case["initial_sincedb"].as_str() {
                let sincedb = Sincedb::parse(initial.as_bytes());
                let call = &case["expect"]["api_calls"][0]["params"];
                let group = call["log_group_name"].as_str().unwrap();
                let starts = call["start_time"].as_i64().unwrap();
                // A group that the file does not name starts at the beginning, which is what these cases ask for.
                assert_eq!(sincedb.position(group).unwrap_or(0), starts, "{id}: {initial:?}");
                read += 1;
            }
            // What Logstash wrote is what it would go on from.
            for content in case["expect"]["sincedb_after_each_write"].as_array().into_iter().flatten() {
                let content = content.as_str().unwrap();
                let sincedb = Sincedb::parse(content.as_bytes());
                for group in groups_of(case) {
                    let line = content.lines().rfind(|line| line.starts_with(&format!("{group} ")));
                    let position = line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok());
                    if !group.contains(' ') {
                        assert_eq!(sincedb.position(&group), position, "{id}: {content:?}");
                    }
                }
                written += 1;
            }
        }
        assert!(read >= 9 && written >= 30, "{read} files to read and {written} that were written");
    }

    fn groups_of(case: &Json) -> Vec<String> {
        let calls = case["expect"]["api_calls"].as_array().into_iter().flatten();
        let mut groups: Vec<String> =
            calls.filter_map(|call| call["params"]["log_group_name"].as_str().map(str::to_owned)).collect();
        groups.sort();
        groups.dedup();
        groups
    }
}
