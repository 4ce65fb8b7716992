//! The options every transform has: `add_field`, `remove_field`, `add_tag`, `remove_tag`.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::event::{Batch, BitSet, Column, Path, StrRef, TIMESTAMP, Value};
use crate::{Diagnostic, Diagnostics, OptionSpec, Table, Template};

crate::options! {
    /// What happens to the rows to which a transform applied, in Logstash's order: `add_field`, `remove_field`,
    /// `add_tag`, `remove_tag`.
    pub(crate) struct DecorateOptions {
        /// Fields to add where the transform applied; names and values may hold `%{field}`. A field that exists
        /// becomes a list.
        pub(crate) add_field: IndexMap<String, Vec<Template>> = IndexMap::new(),
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
        Some(Self {
            add_field: add_names?.into_iter().zip(options.add_field.into_values()).collect(),
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
    fn of(template: Template) -> Result<Self, crate::event::PathError> {
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
        crate::NodeKind::Array(items) => items.iter().collect(),
        _ => vec![node],
    };
    let mut names = Vec::new();
    for node in &nodes {
        // A text that is no template, or no text, has been reported.
        let template = Template::parse(node.as_str()?).ok()?;
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
    let taken = if batch.schema().fields().iter().any(is_near) {
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
    for row in rows.iter() {
        text.clear();
        template.render(batch.row(row), &mut text);
        places[row] = batch.push_text(&text);
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
