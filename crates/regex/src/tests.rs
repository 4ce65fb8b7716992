//! The engines against one another: on random patterns and lines, each gives what plain backtracking gives.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use crate::ast::{Assert, Expression, Node};
use crate::backtrack;
use crate::budget::{Budget, GaveUp};
use crate::dfa::Fuel;
use crate::fast;
use crate::fast_run::{Answer, Tries};
use crate::lazy_dfa::{Candidate, LazyDfa};
use crate::linear::{Linear, approximation, regular};
use crate::machine::Machine;
use crate::names::{Definitions, NameError};
use crate::parse::{Bounds, Syntax, parse};
use crate::simplify::simplify;

/// The groups of a match, or none; nothing where it took too long.
type Outcome = Option<Option<Vec<u32>>>;

struct Engines {
    plain: backtrack::Program,
    backtracking: backtrack::Program,
    linear: Option<Linear>,
    /// The same for where the whole match lies.
    exact: Option<Linear>,
    prefilter: Option<LazyDfa>,
    /// What matches wherever the expression does.
    approximation: Option<LazyDfa>,
    groups: usize,
    has_line_start: bool,
    fast: Option<crate::fast_run::Program>,
}

/// The patterns that grok is shipped with, as far as these tests name them.
struct Shipped(HashMap<&'static str, Arc<str>>);

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    let files = [
        include_str!("../../../plugins/transform-grok/patterns/common/base"),
        include_str!("../../../plugins/transform-grok/patterns/common/dates"),
        include_str!("../../../plugins/transform-grok/patterns/common/hosts"),
    ];
    let lines = files.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#'));
    let definition =
        |line: &'static str| line.split_once(' ').map(|(name, text)| (name, text.trim_start().into()));
    Shipped(lines.filter_map(definition).collect())
});

impl Definitions for Shipped {
    fn get(&self, name: &str) -> Option<Arc<str>> {
        self.0.get(name).map(Arc::clone)
    }

    fn all(&self) -> Vec<&str> {
        self.0.keys().copied().collect()
    }

    fn check(&self, _group: &str) -> Result<(), NameError> {
        Ok(())
    }
}

impl Engines {
    fn new(pattern: &str) -> Option<Self> {
        let expression =
            parse(pattern, Syntax::Grok { names: &*SHIPPED, named_only: true }, &Bounds::CONFIGURED).ok()?;
        let fuel = Fuel::new();
        let root = simplify(&expression.root, &fuel);
        let linear = |exact| {
            let hir = regular(&root, exact, usize::MAX)?;
            Linear::new(&hir, expression.groups.len())
        };
        Some(Self {
            plain: backtrack::Program::new(&expression, false),
            linear: linear(false),
            exact: linear(true),
            prefilter: regular(&root, true, usize::MAX).as_ref().and_then(LazyDfa::new),
            approximation: approximation(&root, usize::MAX).as_ref().and_then(LazyDfa::new),
            groups: expression.groups.len(),
            has_line_start: root.any(&|node| matches!(node, Node::Assert(Assert::LineStart))),
            fast: fast::compile(&root, &expression, &fuel),
            backtracking: backtrack::Program::new(&Expression { root, groups: expression.groups }, true),
        })
    }

    fn backtrack(program: &backtrack::Program, text: &str) -> Outcome {
        let mut slots = Vec::new();
        let mut budget = Budget::time(Some(Duration::from_millis(20)));
        match program.search(text, 0, &mut slots, &mut Machine::default(), &mut budget) {
            Ok(found) => Some(found.then_some(slots)),
            Err(GaveUp) => None,
        }
    }

    /// Panics where an engine disagrees with the plain one. Whether the fast one was conclusive.
    fn agree(&self, pattern: &str, text: &str) -> bool {
        let Some(expected) = Self::backtrack(&self.plain, text) else { return true };
        if let Some(ours) = Self::backtrack(&self.backtracking, text) {
            assert_eq!(ours, expected, "backtracking with proofs: {pattern:?} on {text:?}");
        }
        // Where a newline ends the text, automata are not asked.
        if self.has_line_start && text.ends_with('\n') {
            return false;
        }
        let mut slots = Vec::new();
        let groups = |slots: &[u32]| slots[..self.groups * 2].to_vec();
        if let Some(linear) = &self.linear {
            let found = linear.search(text, 0, &mut slots, &mut linear.cache());
            let expected = expected.as_deref().map(groups);
            assert_eq!(found.then(|| groups(&slots)), expected, "linear: {pattern:?} on {text:?}");
        }
        if let Some(exact) = &self.exact {
            let found = exact.search(text, 0, &mut slots, &mut exact.cache());
            assert_eq!(found.then(|| slots.clone()), expected, "linear, exact: {pattern:?} on {text:?}");
        }
        let whole = expected.as_deref().and_then(|slots| slots.last_chunk());
        let whole = whole.map(|&[start, end]| start as usize..end as usize);
        let seen = |prefilter: &LazyDfa| prefilter.find(text, 0, &mut Budget::time(None)).expect("no limit");
        match self.prefilter.as_ref().map(seen) {
            None | Some(Candidate::Inconclusive) => {}
            Some(Candidate::Nowhere) => assert_eq!(None, whole, "prefilter: {pattern:?} on {text:?}"),
            Some(Candidate::At(range)) => {
                assert_eq!(Some(range), whole, "prefilter: {pattern:?} on {text:?}")
            }
        }
        match (self.approximation.as_ref().map(seen), whole) {
            (Some(Candidate::Nowhere), found) => {
                assert_eq!(None, found, "approximation: {pattern:?} on {text:?}")
            }
            (Some(Candidate::At(range)), Some(found)) => {
                assert!(range.start <= found.start, "approximation: {pattern:?} on {text:?}");
            }
            _ => {}
        }
        let Some(fast) = &self.fast else { return false };
        let expected = expected.as_deref().map(groups);
        match fast.search(text, &mut slots, &mut Tries::default(), &mut Budget::time(None)).expect("no limit")
        {
            Answer::Match => assert_eq!(Some(slots), expected, "fast: {pattern:?} on {text:?}"),
            Answer::NoMatch => assert_eq!(None, expected, "fast: {pattern:?} on {text:?}"),
            Answer::Inconclusive => return false,
        }
        true
    }
}

/// Pieces of patterns; groups are named so that they keep text.
fn pattern() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "1", " ", "-", "\\.", "é", ":", "\"", "ab", "1a"]),
        8 => prop::sample::select(vec![
            "\\w", "\\d", "\\s", "\\S", ".", "[ab]", "[^a]", "[^ ]", "[^\"]", "[a-z1]", "[[:alpha:]]", "(?-m:.)", "[0-9]", "\\W", "[é1]",
        ]),
        4 => prop::sample::select(vec!["^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z"]),
        3 => prop::sample::select(vec![
            "(?<![0-9])", "(?![0-9])", "(?<=a)", "(?=b)", "(?<!\\\\)", "(?!a)", "(?=[^1])", "(?<![^ ])", "(?=ab)", "(?<!a1)",
        ]),
        6 => prop::sample::select(vec![
            "%{NUMBER:n}", "%{INT:i}", "%{WORD:w}", "%{NOTSPACE:s}", "%{DATA:d}", "%{GREEDYDATA:g}", "%{SPACE:p}", "%{POSINT:o}",
            "%{QS:q}", "%{IPV4:v}", "%{MONTHDAY:m}", "%{USERNAME:u}", "(?>[a-z]+)", "(?>a|ab)", "(?>\\d\\d)", "\\d++", "[ab]*+",
            "(?>\\\\.|[^\\\\\"]+)+", "(?>[+-]?\\d+(?:\\.\\d+)?)", "%{HOSTNAME:h}", "%{BASE16NUM:x}",
        ]),
        1 => prop::sample::select(vec!["(?i)A", "(?i:aB)", "\\h", "\\R", "(?x: a b )", "\\k<n>"]),
    ]
    .prop_map(str::to_owned);
    atom.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..5).prop_map(|parts| parts.concat()),
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            3 => (inner.clone(), prop::sample::select(vec!["*", "+", "?", "{1,2}", "{2}", "*?", "+?", "??", "{0,3}", "{2,}"]))
                .prop_map(|(part, often)| format!("(?:{part}){often}")),
            2 => inner.clone().prop_map(|part| format!("(?<n>{part})")),
            2 => (inner.clone(), prop::sample::select(vec!["*", "+", "?"])).prop_map(|(part, often)| format!("(?<m>{part}){often}")),
            1 => inner.clone().prop_map(|part| format!("(?>{part})")),
            1 => inner.prop_map(|part| format!("(?:{part})++")),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "1", " ", "-", ".", "é", ":", "\"", "ab", "12", "1.5", "10.0.0.1", "\n", "a1", "  ",
        "\"x\"", "\\", "中", "-7", "aB", "z.a",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|parts| parts.concat())
}

/// Columns between separators, as logs have them.
fn columns() -> impl Strategy<Value = (String, Vec<String>)> {
    let column = prop::sample::select(vec![
        "%{NUMBER:a}",
        "%{NOTSPACE:b}",
        "%{IP:c}",
        "%{INT:d}",
        "%{WORD:e}",
        "%{DATA:f}",
        "(?:-|%{NUMBER:g})",
        "\\[%{DATA:h}\\]",
        "%{QS:i}",
        "%{TIMESTAMP_ISO8601:j}",
        "(?:%{POSINT:k}|-)?",
        "%{HOSTNAME:l}",
        "%{IPORHOST:o}",
        "%{BASE10NUM:p}(?:ms)?",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "-",
        "10.0.0.1",
        "fe80::1%eth0",
        "::1",
        "abc",
        "[x y]",
        "\"q\"",
        "2019-02-24T09:58:29Z",
        "eni-1",
        "1.5",
        "12ms",
        "a.b-c",
        "",
        "::ffff:10.1.2.3",
        "1.2.3.4.5",
    ]);
    let values = prop::collection::vec(value.prop_map(str::to_owned), 0..8);
    let separator = prop::sample::select(vec![" ", "\\t", ",", " +"]);
    (prop::collection::vec(column, 1..6), separator, prop::collection::vec(values, 1..6)).prop_map(
        |(columns, separator, lines)| {
            let between = match separator {
                "\\t" => "\t",
                "," => ",",
                _ => " ",
            };
            (columns.join(separator), lines.into_iter().map(|values| values.join(between)).collect())
        },
    )
}

/// Some thousand patterns; more with `PROPTEST_CASES`.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig { cases: if asked { default.cases } else { 2000 }, max_shrink_iters: 20_000, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engines_agree_on_random_patterns(pattern in pattern(), lines in prop::collection::vec(line(), 1..8)) {
        if let Some(engines) = Engines::new(&pattern) {
            lines.iter().for_each(|line| { engines.agree(&pattern, line); });
        }
    }

    #[test]
    fn engines_agree_on_columns((pattern, lines) in columns()) {
        let engines = Engines::new(&pattern).expect("columns are patterns");
        lines.iter().for_each(|line| { engines.agree(&pattern, line); });
    }
}
