//! The options every transform has: `add_field`, `remove_field`, `add_tag`, `remove_tag`.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::Template;
use flowstone_core::event::{Batch, BitSet, Column, Path, StrRef, TIMESTAMP, Value, java_f64};
use flowstone_core::{Diagnostic, Diagnostics, Node, NodeKind, OptionSpec, OptionType, Table};

flowstone_core::options! {
    /// What happens to the rows to which a transform applied, in Logstash's order: `add_field`, `remove_field`,
    /// `add_tag`, `remove_tag`.
    pub(crate) struct DecorateOptions {
        /// Fields to add where the transform applied; names and values may hold `%{field}`. A value is always text,
        /// numbers too, and a field that exists becomes a list.
        pub(crate) add_field: IndexMap<String, Vec<AddedText>> = IndexMap::new(),
        /// Fields to remove where the transform applied; names may hold `%{field}`.
        pub(crate) remove_field: Vec<Template> = Vec::new(),
        /// Tags to add where the transform applied; they may hold `%{field}`. A tag that is there is added again.
        pub(crate) add_tag: Vec<Template> = Vec::new(),
        /// Tags to remove where the transform applied, every copy; they may hold `%{field}`.
        pub(crate) remove_tag: Vec<Template> = Vec::new(),
    }
}

/// The tag of an event to which a field could not be added: its name lies below something that is no object, or it
/// is `@timestamp`, which holds nothing but an instant. Logstash stops there.
const ADD_FIELD_ERROR: &str = "_add_field_error";

/// The four options, parsed.
#[derive(Clone, Debug, Default)]
pub struct Decorations {
    add_field: Vec<(Name, Vec<Template>)>,
    remove_field: Vec<Name>,
    add_tag: Vec<Template>,
    remove_tag: Vec<Template>,
}

/// The name of a field: resolved at start, or rendered for each event.
#[derive(Clone, Debug)]
enum Name {
    Fixed(Path),
    Rendered(Template),
}

/// What a field is given: text, whatever the configuration says.
#[derive(Clone, Debug)]
pub(crate) struct AddedText(Template);

// === impl AddedText ===

impl OptionType for AddedText {
    const TYPE: &'static str = Template::TYPE;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = match &node.kind {
            NodeKind::Integer(value) => value.to_string(),
            NodeKind::Float(value) => java_f64(*value),
            NodeKind::Boolean(value) => value.to_string(),
            _ => return Template::read(node, diagnostics).map(Self),
        };
        let node = Node { kind: NodeKind::String(text), text_start: None, ..node.clone() };
        Template::read(&node, diagnostics).map(Self)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

// === impl Decorations ===

impl Decorations {
    /// The four options, for the check for unknown names and for the reference.
    pub const SPECS: &'static [OptionSpec] = DecorateOptions::SPECS;

    /// Reads them out of a transform's table.
    pub fn read(table: &Table, diagnostics: &mut Diagnostics) -> Option<Self> {
        let options = DecorateOptions::read(table, diagnostics);
        // Names are checked even where something else is wrong, so that all is said at once.
        let add_names = read_added_names(table, diagnostics);
        let remove_field = read_removed_names(table, diagnostics);
        let options = options?;
        let added_texts =
            options.add_field.into_values().map(|texts| texts.into_iter().map(|text| text.0).collect());
        Some(Self {
            add_field: add_names?.into_iter().zip(added_texts).collect(),
            remove_field: remove_field?,
            add_tag: options.add_tag,
            remove_tag: options.remove_tag,
        })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.add_field.is_empty()
            && self.remove_field.is_empty()
            && self.add_tag.is_empty()
            && self.remove_tag.is_empty()
    }

    /// Decorates `rows`.
    pub fn apply(&self, batch: &mut Batch, rows: &BitSet) {
        if rows.count() == 0 {
            return;
        }
        for (name, values) in &self.add_field {
            for value in values {
                name.each_path(batch, rows, |batch, path, rows| add_field(batch, path, value, rows));
            }
        }
        for name in &self.remove_field {
            name.each_path(batch, rows, |batch, path, rows| batch.remove_from(rows, path));
        }
        match literals(&self.add_tag) {
            Some(tags) => batch.append_tags(rows, &tags),
            None => change_tags(batch, rows, &self.add_tag, true),
        }
        match literals(&self.remove_tag) {
            Some(tags) => batch.remove_tags(rows, &tags),
            None => change_tags(batch, rows, &self.remove_tag, false),
        }
    }
}

impl Name {
    fn of(template: Template) -> Result<Self, flowstone_core::event::PathError> {
        match template.literal() {
            Some(text) => Path::parse(text).map(Self::Fixed),
            None => Ok(Self::Rendered(template)),
        }
    }

    /// Calls `each` with the rows of each path this name means: all at once, or row by row.
    fn each_path(&self, batch: &mut Batch, rows: &BitSet, mut each: impl FnMut(&mut Batch, &Path, &BitSet)) {
        match self {
            Self::Fixed(path) => each(batch, path, rows),
            Self::Rendered(template) => {
                let mut text = String::new();
                let mut one = BitSet::none(batch.len());
                for row in rows.iter() {
                    text.clear();
                    template.render(batch.row(row), &mut text);
                    one.insert(row);
                    each(batch, &Path::parse(&text).unwrap_or_else(|_| Path::parse_lenient(&text)), &one);
                    one.remove(row);
                }
            }
        }
    }
}

fn read_added_names(table: &Table, diagnostics: &mut Diagnostics) -> Option<Vec<Name>> {
    let Some(added) = table.get("add_field").and_then(|node| node.as_table()) else {
        return Some(Vec::new());
    };
    let mut names = Vec::new();
    for (key, entry) in &added.entries {
        let refuse = |diagnostics: &mut Diagnostics, code, message: String, label: String| {
            diagnostics.push(Diagnostic::error(code, message, entry.key_span).label(label));
        };
        match Template::parse(key) {
            Err(error) => refuse(diagnostics, "template", error.message, error.label),
            Ok(template) => match Name::of(template) {
                Ok(name) => names.push(name),
                Err(error) => {
                    refuse(
                        diagnostics,
                        "field-reference",
                        format!("`{key}` is no field reference"),
                        error.message,
                    );
                }
            },
        }
    }
    (names.len() == added.entries.len()).then_some(names)
}

fn read_removed_names(table: &Table, diagnostics: &mut Diagnostics) -> Option<Vec<Name>> {
    let Some(node) = table.get("remove_field") else { return Some(Vec::new()) };
    let nodes = match &node.kind {
        NodeKind::Array(items) => items.iter().collect(),
        _ => vec![node],
    };
    let mut names = Vec::new();
    for node in &nodes {
        // A text that is no template, or no text, has been reported.
        let Some(template) = node.as_str().and_then(|text| Template::parse(text).ok()) else { continue };
        let text = template.text().to_owned();
        match Name::of(template) {
            Ok(name) => names.push(name),
            Err(error) => diagnostics.push(
                Diagnostic::error(
                    "field-reference",
                    format!("`{text}` is no field reference"),
                    node.span_within(error.offset, error.offset + 1),
                )
                .label(error.message),
            ),
        }
    }
    (names.len() == nodes.len()).then_some(names)
}

/// The texts of templates in which nothing varies; `None` if one does.
fn literals(templates: &[Template]) -> Option<Vec<Arc<str>>> {
    templates.iter().map(|template| template.literal().map(Arc::from)).collect()
}

/// Adds one value to one field of `rows`.
fn add_field(batch: &mut Batch, path: &Path, value: &Template, rows: &BitSet) {
    if path.as_str() == TIMESTAMP {
        return tag_errors(batch, rows.iter());
    }
    let is_near = |field: &Path| field.is_within(path) || path.is_within(field);
    let taken = if *path == Path::tags() {
        // Tags are a list from the first on.
        rows.clone()
    } else if batch.schema().fields().iter().any(is_near) {
        rows.filter(|row| batch.has(row, path))
    } else {
        BitSet::none(rows.len())
    };
    let mut failed = Vec::new();
    let mut text = String::new();
    for row in taken.iter() {
        text.clear();
        value.render(batch.row(row), &mut text);
        let mut list = batch.get(row, path).unwrap_or(Value::Null).into_list();
        list.push(Value::from(&*text));
        if batch.set(row, path, Value::Array(list)).is_err() {
            failed.push(row);
        }
    }
    let mut free = rows.clone();
    free.subtract(&taken);
    if free.count() > 0 {
        let column = rendered_column(batch, value, &free);
        failed.extend(batch.overlay(vec![(path.clone(), column)]).into_iter().map(|(row, _)| row));
    }
    tag_errors(batch, failed.into_iter());
}

/// A column with the template's text in each of `rows` and nothing in the others.
fn rendered_column(batch: &mut Batch, template: &Template, rows: &BitSet) -> Column {
    let mut places = vec![StrRef::ABSENT; batch.len()];
    if let Some(text) = template.literal() {
        let place = batch.push_text(text);
        rows.iter().for_each(|row| places[row] = place);
        return Column::Str(places);
    }
    let mut text = String::new();
    let mut ends = Vec::with_capacity(rows.count());
    let bound = template.bind(batch);
    for row in rows.iter() {
        bound.render(row, &mut text);
        ends.push((row, text.len()));
    }
    let mut start = 0;
    for (row, end) in ends {
        places[row] = batch.push_text(&text[start..end]);
        start = end;
    }
    Column::Str(places)
}

fn tag_errors(batch: &mut Batch, rows: impl Iterator<Item = usize>) {
    let mut tag = None;
    for row in rows {
        batch.tag(row, tag.get_or_insert_with(|| Arc::from(ADD_FIELD_ERROR)));
    }
}

/// `add_tag` (`adds`) or `remove_tag` where a tag has to be rendered for each event.
fn change_tags(batch: &mut Batch, rows: &BitSet, templates: &[Template], adds: bool) {
    let path = Path::tags();
    let mut text = String::new();
    for row in rows.iter() {
        let mut list = match batch.get(row, &path) {
            None | Some(Value::Null | Value::Bool(false)) if !adds => continue,
            value => value.unwrap_or(Value::Null).into_list(),
        };
        for template in templates {
            text.clear();
            template.render(batch.row(row), &mut text);
            if adds {
                list.push(Value::from(&*text));
            } else {
                list.retain(|tag| tag.as_str() != Some(&*text));
            }
        }
        // A top-level field can always be set.
        batch.set(row, &path, Value::Array(list)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowstone_core::event::RowId;
    use flowstone_core::{Entry, Span, parse_json};

    fn node(value: &Value) -> Node {
        let kind = match value {
            Value::Str(text) => NodeKind::String(text.to_string()),
            Value::Array(items) => NodeKind::Array(items.iter().map(node).collect()),
            Value::Object(map) => NodeKind::Table(table(map.iter().map(|(key, value)| (&**key, value)))),
            Value::Int(number) => NodeKind::Integer(*number),
            Value::Bool(flag) => NodeKind::Boolean(*flag),
            other => panic!("{other:?}"),
        };
        Node { span: Span { file: 0, start: 10, end: 20 }, text_start: Some(100), from_variable: false, kind }
    }

    fn table<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>) -> Table {
        let key_span = Span { file: 0, start: 1, end: 2 };
        let entries =
            entries.map(|(key, value)| (key.to_owned(), Entry { key_span, value: node(value) })).collect();
        Table { span: Span::default(), entries }
    }

    fn read(options: &str) -> (Option<Decorations>, Diagnostics) {
        let Ok(Value::Object(map)) = parse_json(&mut options.as_bytes().to_vec()) else {
            panic!("{options}")
        };
        let mut diagnostics = Diagnostics::new();
        let read =
            Decorations::read(&table(map.iter().map(|(key, value)| (&**key, value))), &mut diagnostics);
        (read, diagnostics)
    }

    fn batch(events: &[&str]) -> Batch {
        let mut batch = Batch::new((0..events.len()).map(|row| RowId::of(&row.to_be_bytes())).collect());
        for (row, event) in events.iter().enumerate() {
            let Ok(Value::Object(fields)) = parse_json(&mut event.as_bytes().to_vec()) else {
                panic!("{event}")
            };
            for (name, value) in fields {
                let value = if name.starts_with('@') { Value::Time(0) } else { value };
                batch.set(row, &Path::top(&name), value).unwrap();
            }
        }
        batch
    }

    fn document(batch: &Batch, row: usize) -> serde_json::Value {
        let mut out = Vec::new();
        batch.write_json(row, Default::default(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    /// Decorates an event alone, among others, and as the one row of three that is given.
    fn check(options: &str, event: &str, expect: &str) {
        let (decorations, diagnostics) = read(options);
        assert_eq!(diagnostics, [], "{options}");
        let decorations = decorations.unwrap();
        for others in [&[][..], &[r#"{"other":1}"#, event], &[r#"{"tags":"t","a":[1],"n":{"x":{}}}"#]] {
            let mut events = vec![event];
            events.extend(others);
            let mut all = batch(&events);
            decorations.apply(&mut all, &BitSet::all(events.len()));
            let expect: serde_json::Value = serde_json::from_str(expect).unwrap();
            assert_eq!(document(&all, 0), expect, "{options} on {event}, all rows");
            let mut one = batch(&events);
            let before: Vec<_> = (1..events.len()).map(|row| document(&one, row)).collect();
            let mut rows = BitSet::none(events.len());
            rows.insert(0);
            decorations.apply(&mut one, &rows);
            assert_eq!(document(&one, 0), expect, "{options} on {event}, one row");
            let after: Vec<_> = (1..events.len()).map(|row| document(&one, row)).collect();
            assert_eq!(before, after, "{options}: rows that are not given stay as they are");
        }
    }

    #[test]
    fn added_fields_are_texts_and_append_to_what_is_there() {
        for (options, event, expect) in [
            (r#"{"add_field":{"a":"x"}}"#, "{}", r#"{"a":"x"}"#),
            (r#"{"add_field":{"a":"x"}}"#, r#"{"a":1}"#, r#"{"a":[1,"x"]}"#),
            (r#"{"add_field":{"a":"x"}}"#, r#"{"a":null}"#, r#"{"a":["x"]}"#),
            (r#"{"add_field":{"a":"x"}}"#, r#"{"a":{"k":1}}"#, r#"{"a":[["k",1],"x"]}"#),
            (r#"{"add_field":{"a":["x","y"]}}"#, "{}", r#"{"a":["x","y"]}"#),
            (r#"{"add_field":{"a":["x","y","z"]}}"#, r#"{"b":1}"#, r#"{"b":1,"a":["x","y","z"]}"#),
            (r#"{"add_field":{"[n][m]":"x"}}"#, "{}", r#"{"n":{"m":"x"}}"#),
            (r#"{"add_field":{"[n][m]":"x"}}"#, r#"{"n":{"k":1}}"#, r#"{"n":{"k":1,"m":"x"}}"#),
            (r#"{"add_field":{"a":"%{b}-%{nope}"}}"#, r#"{"b":2.0}"#, r#"{"b":2.0,"a":"2.0-%{nope}"}"#),
            (r#"{"add_field":{"%{b}":"x","c":"%{k}"}}"#, r#"{"b":"k"}"#, r#"{"b":"k","k":"x","c":"x"}"#),
            (r#"{"add_field":{"%{b}":"x"}}"#, r#"{"b":"[n][m]"}"#, r#"{"b":"[n][m]","n":{"m":"x"}}"#),
            (r#"{"add_field":{"a":5,"b":[true,"x"]}}"#, "{}", r#"{"a":"5","b":["true","x"]}"#),
            (r#"{"add_field":{"tags":"x"}}"#, "{}", r#"{"tags":["x"]}"#),
            (r#"{"add_field":{"tags":"%{b}"}}"#, r#"{"b":"y","tags":"x"}"#, r#"{"b":"y","tags":["x","y"]}"#),
        ] {
            check(options, event, expect);
        }
    }

    #[test]
    fn fields_that_cannot_be_added_tag_the_event() {
        for (options, event, expect) in [
            (
                r#"{"add_field":{"[s][x]":"y"}}"#,
                r#"{"s":"text"}"#,
                r#"{"s":"text","tags":["_add_field_error"]}"#,
            ),
            (
                r#"{"add_field":{"@timestamp":"y"}}"#,
                r#"{"@timestamp":0}"#,
                r#"{"@timestamp":"1970-01-01T00:00:00.000Z","tags":["_add_field_error"]}"#,
            ),
        ] {
            check(options, event, expect);
        }
    }

    #[test]
    fn removed_fields_go_with_everything_below_them() {
        for (options, event, expect) in [
            (r#"{"remove_field":["a","nope"]}"#, r#"{"a":{"b":1},"c":2}"#, r#"{"c":2}"#),
            (r#"{"remove_field":"[n][m]"}"#, r#"{"n":{"m":1,"k":2}}"#, r#"{"n":{"k":2}}"#),
            (r#"{"remove_field":"[n][m]"}"#, r#"{"n":{"m":1}}"#, r#"{"n":{}}"#),
            (r#"{"remove_field":"%{b}"}"#, r#"{"b":"c","c":1}"#, r#"{"b":"c"}"#),
            (r#"{"remove_field":"@timestamp"}"#, r#"{"@timestamp":0}"#, "{}"),
        ] {
            check(options, event, expect);
        }
    }

    #[test]
    fn tags_are_added_again_and_removed_in_every_copy() {
        for (options, event, expect) in [
            (r#"{"add_tag":"x"}"#, "{}", r#"{"tags":["x"]}"#),
            (r#"{"add_tag":["x","y"]}"#, r#"{"tags":["x"]}"#, r#"{"tags":["x","x","y"]}"#),
            (r#"{"add_tag":"x"}"#, r#"{"tags":"t"}"#, r#"{"tags":["t","x"]}"#),
            (r#"{"add_tag":["x","%{b}"]}"#, r#"{"b":1}"#, r#"{"b":1,"tags":["x","1"]}"#),
            (r#"{"remove_tag":"x"}"#, r#"{"tags":["x","y","x"]}"#, r#"{"tags":["y"]}"#),
            (r#"{"remove_tag":"x"}"#, r#"{"tags":["x"]}"#, r#"{"tags":[]}"#),
            (r#"{"remove_tag":"x"}"#, r#"{"tags":"t"}"#, r#"{"tags":["t"]}"#),
            (r#"{"remove_tag":"x"}"#, "{}", "{}"),
            (r#"{"remove_tag":["%{b}"]}"#, r#"{"b":"x","tags":["x","z"]}"#, r#"{"b":"x","tags":["z"]}"#),
            (r#"{"remove_tag":["%{b}"]}"#, r#"{"b":"x"}"#, r#"{"b":"x"}"#),
        ] {
            check(options, event, expect);
        }
    }

    #[test]
    fn the_four_happen_in_logstashs_order() {
        check(
            r#"{"remove_tag":"t","add_tag":["t","%{a}"],"remove_field":"b","add_field":{"a":"%{b}"}}"#,
            r#"{"b":"x"}"#,
            r#"{"a":"x","tags":["x"]}"#,
        );
    }

    #[test]
    fn mistakes_are_all_told_at_their_places() {
        for (options, code, start) in [
            (r#"{"add_field":{"a[b":"x"}}"#, "field-reference", 1),
            (r#"{"add_field":{"%{+Q}":"x"}}"#, "template", 1),
            (r#"{"add_field":{"a":"%{+Q}"}}"#, "template", 103),
            (r#"{"remove_field":["[a]b"]}"#, "field-reference", 103),
            (r#"{"add_tag":[7]}"#, "wrong-type", 10),
            (r#"{"remove_tag":"%{+T}"}"#, "template", 103),
        ] {
            let (read, diagnostics) = read(options);
            assert!(read.is_none(), "{options}");
            let [diagnostic] = &diagnostics[..] else { panic!("{options}: {diagnostics:?}") };
            assert_eq!((diagnostic.code, diagnostic.span.unwrap().start), (code, start), "{options}");
        }
        assert_eq!(
            read(r#"{"add_field":{"a[b":"%{+Q}"},"remove_field":["[a"],"add_tag":"%{+T}"}"#).1.len(),
            4
        );
        assert!(read("{}").0.unwrap().is_empty());
    }
}
