//! `[[tests]]`: unit tests of the configuration itself, with Vector's names. Lines or whole events are given to a
//! transform, and what comes out of it or of any transform behind it is compared.

use std::sync::Arc;

use flowstone_core::event::{Map, TIMESTAMP, Value, parse_iso_millis};
use flowstone_core::{Diagnostic, Diagnostics, Kind, Node, NodeKind, OptionType, Table, options, parse_json};
use flowstone_dialect::Condition;

use crate::components::{Component, Reference};
use crate::graph::{self, Link};
use crate::topology::{ExpectedOutput, Port, UnitTest};

options! {
    /// A `[[tests]]` entry.
    pub(crate) struct TestOptions {
        /// What the test shows, as a sentence.
        name: String,
        /// The transform that the inputs are given to.
        insert_at: Reference,
        /// The events: a line (`message`, with `@timestamp` at the `clock`) or a table of fields.
        inputs: Vec<Input>,
        /// What time it is while the test runs, in RFC 3339. Unset: 1970-01-01T00:00:00Z, whatever the day.
        clock: Option<Instant> = None,
        /// What must come out, and where.
        outputs: Vec<OutputOptions> = Vec::new(),
        /// Outputs that nothing may come out of.
        no_outputs_from: Vec<Reference> = Vec::new(),
    }
}

options! {
    /// A `[[tests.outputs]]` entry.
    pub(crate) struct OutputOptions {
        /// The output: `flow`, `flow.rejected`, `by_action.accepted`.
        extract_from: Reference,
        /// All events that must come out there, in order and whole: tables, or JSON in strings.
        documents: Option<Vec<Document>> = None,
        /// Conditions, each of which must hold for some event.
        conditions: Vec<Condition> = Vec::new(),
    }
}

/// An instant in milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
struct Instant(i64);

/// An event to give in: a line, or an object.
#[derive(Clone, Debug)]
struct Input(Value);

/// An event that must come out.
#[derive(Clone, Debug)]
struct Document(Value);

/// Reads all tests. Only names of components that exist pass; `links` say what can come out where.
pub(crate) fn read(
    root: &Table,
    components: &[Component],
    links: &[Link],
    diagnostics: &mut Diagnostics,
) -> Vec<UnitTest> {
    let Some(node) = root.get("tests") else { return Vec::new() };
    let NodeKind::Array(entries) = &node.kind else {
        node.expected("a list of tables: `[[tests]]`", diagnostics);
        return Vec::new();
    };
    let reader = Reader { components, links };
    let mut tests: Vec<(UnitTest, &Node)> = Vec::new();
    for entry in entries {
        let Some(table) = entry.as_table() else {
            entry.expected("a table: `[[tests]]`", diagnostics);
            continue;
        };
        let before = diagnostics.len();
        table.refuse_unknown("this test", TestOptions::SPECS, &[], diagnostics);
        let read = TestOptions::read(table, diagnostics);
        table.report_misspelt_once(before, diagnostics);
        let Some(options) = read else { continue };
        let name = table.get("name").unwrap_or(entry);
        if let Some((_, first)) = tests.iter().find(|(test, _)| test.name == options.name) {
            diagnostics.push(
                Diagnostic::error(
                    "defined-twice",
                    format!("two tests are called {:?}", options.name),
                    name.span,
                )
                .also(first.span, "first here"),
            );
        }
        tests.extend(reader.test(options, entry, diagnostics).map(|test| (test, name)));
    }
    tests.into_iter().map(|(test, _)| test).collect()
}

struct Reader<'a> {
    components: &'a [Component],
    links: &'a [Link],
}

// === impl Reader ===

impl Reader<'_> {
    fn test(&self, options: TestOptions, entry: &Node, diagnostics: &mut Diagnostics) -> Option<UnitTest> {
        let start = self.insert_at(&options.insert_at, diagnostics)?;
        if options.outputs.is_empty() && options.no_outputs_from.is_empty() {
            diagnostics.push(
                Diagnostic::error(
                    "empty-test",
                    format!("the test {:?} expects nothing", options.name),
                    entry.span,
                )
                .label("expected `[[tests.outputs]]` or `no_outputs_from`"),
            );
        }
        let mut outputs = Vec::new();
        for output in options.outputs {
            let extract_from = self.port(&output.extract_from, start, diagnostics);
            if output.documents.is_none() && output.conditions.is_empty() {
                diagnostics.push(
                    Diagnostic::error(
                        "empty-test",
                        "this output says nothing of what must come out",
                        output.extract_from.span,
                    )
                    .label("expected `documents` or `conditions` beside it"),
                );
            }
            let documents =
                output.documents.map(|documents| documents.into_iter().map(|document| document.0).collect());
            outputs.extend(extract_from.map(|extract_from| ExpectedOutput {
                extract_from,
                documents,
                conditions: output.conditions,
            }));
        }
        let no_outputs_from = options
            .no_outputs_from
            .iter()
            .filter_map(|reference| self.port(reference, start, diagnostics))
            .collect();
        Some(UnitTest {
            name: options.name,
            insert_at: self.components[start].name.clone(),
            inputs: options.inputs.into_iter().map(|input| input.0).collect(),
            clock: options.clock.map(|clock| clock.0),
            outputs,
            no_outputs_from,
        })
    }

    /// The number of the transform to begin at.
    fn insert_at(&self, reference: &Reference, diagnostics: &mut Diagnostics) -> Option<usize> {
        let name = &reference.text;
        let transforms =
            || self.components.iter().filter(|component| component.kind == Kind::Transform).map(|c| &*c.name);
        let found = self.components.iter().position(|component| *component.name == **name);
        if let Some(number) = found.filter(|&number| self.components[number].kind == Kind::Transform) {
            return Some(number);
        }
        let message = match found {
            Some(number) => {
                format!("`{name}` is a {}: a test begins at a transform", self.components[number].kind)
            }
            None => format!("no transform is called `{name}`"),
        };
        let label = match flowstone_core::nearest(name, transforms()) {
            Some(near) if found.is_none() => format!("did you mean `{near}`?"),
            _ => format!("expected one of {}", transforms().collect::<Vec<_>>().join(", ")),
        };
        diagnostics.push(Diagnostic::error("unknown-component", message, reference.span).label(label));
        None
    }

    /// The port that a reference means, if anything from `start` can come out of it.
    fn port(&self, reference: &Reference, start: usize, diagnostics: &mut Diagnostics) -> Option<Port> {
        let (number, port) = graph::resolve(reference, self.components, "a test", diagnostics)?;
        let (component, text) = (&self.components[number], &reference.text);
        if component.kind != Kind::Transform {
            let message = format!("`{text}` belongs to a {}, which does not run in a test", component.kind);
            diagnostics.push(
                Diagnostic::error("unknown-component", message, reference.span)
                    .label("expected a transform's output"),
            );
            return None;
        }
        if !self.reached_from(start).contains(&number) {
            let message =
                format!("nothing given to `{}` can come out of `{text}`", self.components[start].name);
            diagnostics.push(
                Diagnostic::error("unreachable-output", message, reference.span)
                    .label("expected a transform behind it"),
            );
            return None;
        }
        Some(port)
    }

    fn reached_from(&self, start: usize) -> Vec<usize> {
        let mut reached = vec![start];
        let mut next = 0;
        while let Some(&here) = reached.get(next) {
            for link in self.links.iter().filter(|link| link.from == here) {
                if !reached.contains(&link.reader) {
                    reached.push(link.reader);
                }
            }
            next += 1;
        }
        reached
    }
}

// === impl Input, Document, Instant ===

impl OptionType for Input {
    const TYPE: &'static str = "line or table";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::String(line) => Some(Self(Value::from(line.as_str()))),
            NodeKind::Table(table) => {
                let mut event = map(table);
                // Written in quotes or not, the event's own time is a time.
                if let Some(time) = event.get_mut(TIMESTAMP)
                    && let Some(millis) = time.as_str().and_then(parse_iso_millis)
                {
                    *time = Value::Time(millis);
                }
                Some(Self(Value::Object(event)))
            }
            _ => {
                node.expected("a line or a table of fields", diagnostics);
                None
            }
        }
    }

    fn show(&self) -> String {
        match &self.0 {
            Value::Str(line) => line.to_string().show(),
            _ => "{ .. }".to_owned(),
        }
    }
}

impl OptionType for Document {
    const TYPE: &'static str = "table or JSON";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Table(table) => Some(Self(Value::Object(map(table)))),
            NodeKind::String(json) => match parse_json(&mut json.clone().into_bytes()) {
                Ok(value @ Value::Object(_)) => Some(Self(value)),
                Ok(other) => {
                    node.invalid(
                        format!("a document is an object, not {}", other.kind()),
                        "expected `{...}`",
                        diagnostics,
                    );
                    None
                }
                Err(error) => {
                    node.invalid("this document is no JSON", error, diagnostics);
                    None
                }
            },
            _ => {
                node.expected("a table of fields, or JSON in a string", diagnostics);
                None
            }
        }
    }

    fn show(&self) -> String {
        "{ .. }".to_owned()
    }
}

impl OptionType for Instant {
    const TYPE: &'static str = "date-time";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let (NodeKind::String(text) | NodeKind::Datetime(text)) = &node.kind else {
            node.expected("a date-time such as 2019-02-24T09:58:29Z", diagnostics);
            return None;
        };
        let millis = parse_iso_millis(text).map(Self);
        if millis.is_none() {
            node.invalid(
                format!("{text:?} is no date-time"),
                "expected one such as 2019-02-24T09:58:29Z",
                diagnostics,
            );
        }
        millis
    }

    fn show(&self) -> String {
        flowstone_core::event::format_iso_millis(self.0)
    }
}

fn map(table: &Table) -> Map {
    table.entries.iter().map(|(key, entry)| (Arc::from(key.as_str()), value(&entry.value))).collect()
}

/// A TOML value as an event's. A date-time with an offset is an instant; a local one has no instant and stays text.
fn value(node: &Node) -> Value {
    match &node.kind {
        NodeKind::String(text) => Value::from(text.as_str()),
        NodeKind::Integer(number) => Value::Int(*number),
        NodeKind::Float(number) => Value::Float(*number),
        NodeKind::Boolean(value) => Value::Bool(*value),
        NodeKind::Datetime(text) => {
            parse_iso_millis(text).map_or_else(|| Value::from(text.as_str()), Value::Time)
        }
        NodeKind::Array(items) => Value::Array(items.iter().map(value).collect()),
        NodeKind::Table(table) => Value::Object(map(table)),
    }
}
