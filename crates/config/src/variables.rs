//! Environment variables in string values: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`; `$${` is a literal `${`.
//!
//! Only values of strings are looked at, after the file was parsed, so whatever a variable holds, it cannot add a key,
//! close a quote or change the document's shape in any other way. Names are upper case: `${account-id}`, as AWS writes
//! the fields of a flow log, stays as it is.

use flowstone_core::{Diagnostic, Diagnostics, Node, NodeKind, Span, Table};

/// What the variables of a configuration were found to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    /// Each use: the value it stands in, the variable's name and what it gave.
    pub(crate) used: Vec<Use>,
    /// Values that could not be made out, so that what follows from that is not told as well.
    pub(crate) unresolved: Vec<Span>,
}

/// A use of a variable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Use {
    pub(crate) node: Span,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Where the values of variables come from.
pub(crate) type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// How deep defaults may hold variables with defaults: a bound for the recursion, not for people.
const MAX_DEPTH: usize = 16;

/// Fills in the variables of every string in the table.
pub(crate) fn interpolate(
    table: &mut Table,
    environment: &Environment<'_>,
    variables: &mut Variables,
    diagnostics: &mut Diagnostics,
) {
    for entry in table.entries.values_mut() {
        interpolate_node(&mut entry.value, environment, variables, diagnostics);
    }
}

fn interpolate_node(
    node: &mut Node,
    environment: &Environment<'_>,
    variables: &mut Variables,
    diagnostics: &mut Diagnostics,
) {
    match &mut node.kind {
        NodeKind::Table(table) => interpolate(table, environment, variables, diagnostics),
        NodeKind::Array(items) => {
            for item in items {
                interpolate_node(item, environment, variables, diagnostics);
            }
        }
        NodeKind::String(text) if text.contains("${") => {
            let mut expansion = Expansion { environment, used: Vec::new(), problems: Vec::new() };
            let mut expanded = String::with_capacity(text.len());
            expansion.expand(text, 0, 0, &mut expanded);
            let whole = is_whole_variable(text);
            let Expansion { used, problems, .. } = expansion;
            for problem in &problems {
                diagnostics.push(problem.diagnostic(node));
                if !matches!(problem.kind, ProblemKind::Odd { .. }) {
                    variables.unresolved.push(node.span);
                }
            }
            let changed = node.as_str() != Some(&expanded);
            variables.used.extend(used.into_iter().map(|(name, value)| Use { node: node.span, name, value }));
            if changed || whole {
                node.text_start = None;
                node.from_variable = whole;
                node.kind = NodeKind::String(expanded);
            }
        }
        _ => {}
    }
}

struct Expansion<'a> {
    environment: &'a Environment<'a>,
    used: Vec<(String, String)>,
    problems: Vec<Problem>,
}

/// Something wrong at these bytes of the text.
struct Problem {
    start: usize,
    end: usize,
    kind: ProblemKind,
}

enum ProblemKind {
    Missing {
        name: String,
        message: Option<String>,
    },
    Unclosed,
    TooDeep,
    /// Upper case, but no form that is known: left as it is.
    Odd {
        text: String,
        name: String,
    },
}

/// A variable at the start of a text.
enum Reference<'t> {
    Plain { name: &'t str, len: usize },
    Default { name: &'t str, default: &'t str, default_at: usize, len: usize },
    Required { name: &'t str, message: &'t str, len: usize },
    Unclosed { name: &'t str },
    Odd { name: &'t str, len: usize },
}

// === impl Expansion ===

impl Expansion<'_> {
    /// Appends `text` with its variables filled in; `offset` is where `text` stands within the whole value.
    fn expand(&mut self, text: &str, offset: usize, depth: usize, out: &mut String) {
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let at = offset + (text.len() - rest.len()) + dollar;
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$${") {
                out.push_str("${");
                rest = after;
                continue;
            }
            let Some(reference) = reference(rest) else {
                out.push('$');
                rest = &rest[1..];
                continue;
            };
            let len = self.fill(&reference, rest, at, depth, out);
            rest = &rest[len..];
        }
        out.push_str(rest);
    }

    /// Appends what a reference stands for and gives its length.
    fn fill(
        &mut self,
        reference: &Reference<'_>,
        rest: &str,
        at: usize,
        depth: usize,
        out: &mut String,
    ) -> usize {
        match *reference {
            Reference::Plain { name, len } => {
                match self.look_up(name) {
                    Some(value) => out.push_str(&value),
                    None => self.missing(name, None, at, len),
                }
                len
            }
            Reference::Required { name, message, len } => {
                match self.look_up(name).filter(|value| !value.is_empty()) {
                    Some(value) => out.push_str(&value),
                    None => self.missing(name, Some(message), at, len),
                }
                len
            }
            Reference::Default { name, default, default_at, len } => {
                match self.look_up(name).filter(|value| !value.is_empty()) {
                    Some(value) => out.push_str(&value),
                    None if depth < MAX_DEPTH => self.expand(default, at + default_at, depth + 1, out),
                    None => {
                        self.problems.push(Problem { start: at, end: at + len, kind: ProblemKind::TooDeep })
                    }
                }
                len
            }
            Reference::Unclosed { name } => {
                let end = at + 2 + name.len();
                self.problems.push(Problem { start: at, end, kind: ProblemKind::Unclosed });
                out.push_str(rest);
                rest.len()
            }
            Reference::Odd { name, len } => {
                let text = rest[..len].to_owned();
                out.push_str(&text);
                let kind = ProblemKind::Odd { text, name: name.to_owned() };
                self.problems.push(Problem { start: at, end: at + len, kind });
                len
            }
        }
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let value = (self.environment)(name)?;
        self.used.push((name.to_owned(), value.clone()));
        Some(value)
    }

    fn missing(&mut self, name: &str, message: Option<&str>, start: usize, len: usize) {
        let message = message.map(str::to_owned).filter(|message| !message.is_empty());
        let kind = ProblemKind::Missing { name: name.to_owned(), message };
        self.problems.push(Problem { start, end: start + len, kind });
    }
}

impl Problem {
    fn diagnostic(&self, node: &Node) -> Diagnostic {
        let span = node.span_within(self.start, self.end);
        match &self.kind {
            ProblemKind::Missing { name, message: None } => {
                Diagnostic::error("missing-variable", format!("the environment variable `{name}` is not set"), span)
                    .label("no value and no default")
                    .help(format!("set it, or give a default: `${{{name}:-...}}`"))
            }
            ProblemKind::Missing { name, message: Some(message) } => {
                let text = format!("the environment variable `{name}` is not set: {message}");
                Diagnostic::error("missing-variable", text, span).label("required here").help(format!("set `{name}`"))
            }
            ProblemKind::Unclosed => {
                Diagnostic::error("variable", "a variable is not closed", span).label("expected a `}` after it")
            }
            ProblemKind::TooDeep => {
                Diagnostic::error("variable", "defaults hold defaults more than 16 deep", span).label("expected fewer")
            }
            ProblemKind::Odd { text, name } => {
                Diagnostic::warning("variable", format!("`{text}` is left as it is"), span)
                    .label("no form of a variable")
                    .help(format!("write `${{{name}}}`, `${{{name}:-default}}` or `${{{name}:?message}}`; `$${{` is a literal `${{`"))
            }
        }
    }
}

/// The variable that `text` begins with; nothing for other text, `${account-id}` included.
fn reference(text: &str) -> Option<Reference<'_>> {
    let inner = text.strip_prefix("${")?;
    let name_len =
        inner.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
    let (name, tail) = inner.split_at(name_len);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if tail.starts_with('}') {
        return Some(Reference::Plain { name, len: name.len() + 3 });
    }
    let operator = tail.get(..2).filter(|operator| [":-", ":?"].contains(operator));
    let Some(operator) = operator else {
        // `${FOO-bar}` is probably meant to be a variable; `${Foo}` and `${A b` are not.
        let close =
            tail.find('}').filter(|_| !tail.starts_with(|c: char| c.is_alphabetic() || c.is_whitespace()))?;
        return Some(Reference::Odd { name, len: 2 + name.len() + close + 1 });
    };
    let operand_at = 2 + name.len() + operator.len();
    let Some(close) = matching_brace(&text[operand_at..]) else { return Some(Reference::Unclosed { name }) };
    let operand = &text[operand_at..operand_at + close];
    let len = operand_at + close + 1;
    Some(match operator {
        ":-" => Reference::Default { name, default: operand, default_at: operand_at, len },
        _ => Reference::Required { name, message: operand, len },
    })
}

/// The place of the `}` that closes an operand which may hold `${...}` itself.
fn matching_brace(operand: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in operand.bytes().enumerate() {
        match byte {
            b'{' if operand[..at].ends_with('$') => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether the string is one variable and nothing beside it.
fn is_whole_variable(text: &str) -> bool {
    match reference(text) {
        Some(
            Reference::Plain { len, .. } | Reference::Default { len, .. } | Reference::Required { len, .. },
        ) => len == text.len(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::parse;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "HOST" => "es1",
            "EMPTY" => "",
            "_X1" => "x",
            "TRICK" => "\"\na = ${HOST} $${HOST}",
            _ => return None,
        };
        Some(value.to_owned())
    }

    /// The value of `a` after interpolation, whether it may fill other types, and what was said.
    fn interpolated(value: &str) -> (String, bool, Vec<String>) {
        let mut diagnostics = Vec::new();
        let mut table = parse(&format!("a = '''{value}'''"), 0, &mut diagnostics).table;
        interpolate(&mut table, &environment, &mut Variables::default(), &mut diagnostics);
        let node = table.get("a").unwrap();
        let said = diagnostics
            .iter()
            .map(|d| format!("{}-{} {}", d.span.unwrap().start - 7, d.span.unwrap().end - 7, d.message));
        (node.as_str().unwrap().to_owned(), node.from_variable, said.collect())
    }

    #[test]
    fn variables_are_filled_in() {
        for (value, expect, whole) in [
            ("plain $5 {x} $", "plain $5 {x} $", false),
            ("${HOST}", "es1", true),
            ("http://${HOST}:9200", "http://es1:9200", false),
            ("${HOST}${_X1}", "es1x", false),
            ("${EMPTY}", "", true),
            ("${EMPTY:-d}", "d", true),
            ("${ABSENT:-}", "", true),
            ("${ABSENT:-${HOST}}", "es1", true),
            ("${ABSENT:-${version} ${account-id} ${ABSENT:-x}}!", "${version} ${account-id} x!", false),
            ("${HOST:?needed}", "es1", true),
            ("${TRICK}", "\"\na = ${HOST} $${HOST}", true),
        ] {
            assert_eq!(interpolated(value), (expect.to_owned(), whole, Vec::new()), "{value}");
        }
    }

    #[test]
    fn what_is_no_variable_stays() {
        for value in [
            "${account-id}",
            "${version} ${tcp-flags}",
            "${Host}",
            "${9X}",
            "${}",
            "${",
            "$",
            "${HOST",
            "${A b}",
            "%{[a]}",
        ] {
            assert_eq!(interpolated(value), (value.to_owned(), false, Vec::new()), "{value}");
        }
        assert_eq!(
            interpolated("$${HOST} $${account-id} $$"),
            ("${HOST} ${account-id} $$".to_owned(), false, Vec::new())
        );
    }

    #[test]
    fn what_is_wrong_with_a_variable_is_said_at_its_place() {
        for (value, expect) in [
            ("x ${ABSENT}", "2-11 the environment variable `ABSENT` is not set"),
            ("${ABSENT:?the cluster}", "0-22 the environment variable `ABSENT` is not set: the cluster"),
            ("${EMPTY:?}", "0-10 the environment variable `EMPTY` is not set"),
            ("${ABSENT:-${NEITHER}}", "10-20 the environment variable `NEITHER` is not set"),
            ("a ${HOST:-x", "2-8 a variable is not closed"),
            ("${HOST-x}", "0-9 `${HOST-x}` is left as it is"),
            ("${HOST:+x}", "0-10 `${HOST:+x}` is left as it is"),
        ] {
            assert_eq!(interpolated(value).2, [expect], "{value}");
        }
    }

    #[test]
    fn endless_defaults_are_refused_and_not_followed() {
        let value = format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000));
        assert!(interpolated(&value).2[0].ends_with("defaults hold defaults more than 16 deep"));
    }

    /// The shape: everything of a tree but the text of its strings.
    fn shape(node: &NodeKind) -> String {
        match node {
            NodeKind::String(_) => "string".to_owned(),
            NodeKind::Array(items) => items.iter().map(|item| format!("[{}]", shape(&item.kind))).collect(),
            NodeKind::Table(table) => table
                .entries
                .iter()
                .map(|(key, entry)| format!("{{{key}:{}}}", shape(&entry.value.kind)))
                .collect(),
            other => format!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn interpolation_cannot_change_the_shape(values in prop::collection::vec(".*|[\"'\\[\\]{}=#\\n$A]*", 3)) {
            let text = "[\"t.${A}\"]\nx = \"${A} ${B:-${C}}\"\ny = ['${B}', { z = \"\"\"${C:?m}\"\"\" }, 1]\n";
            let mut diagnostics = Vec::new();
            let mut table = parse(text, 0, &mut diagnostics).table;
            let before = shape(&NodeKind::Table(table.clone()));
            let environment = |name: &str| values.get(usize::from(name.as_bytes()[0] - b'A')).cloned();
            interpolate(&mut table, &environment, &mut Variables::default(), &mut diagnostics);
            prop_assert_eq!(before, shape(&NodeKind::Table(table)));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "([${}:?-]|A|é|b|\\PC){0,40}") {
            let mut node = Node { span: Span::default(), text_start: Some(0), from_variable: false, kind: NodeKind::String(text) };
            interpolate_node(&mut node, &environment, &mut Variables::default(), &mut Vec::new());
        }
    }
}
