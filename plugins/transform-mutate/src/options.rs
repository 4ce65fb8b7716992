//! Options of `mutate`, and the option types that only it needs: fields with a value each, in the file's order.

use flowstone_core::event::{Path, Value};
use flowstone_core::{Diagnostics, Node, NodeKind, OptionType};
use flowstone_dialect::Template;

use crate::convert::Conversion;
use crate::ruby::to_s;

flowstone_core::options! {
    /// What `mutate` does, in the order in which it is done.
    pub struct MutateOptions {
        /// Values for fields that exist and are null: `{ status = "unknown" }`. The value is text and may hold `%{field}`.
        pub coerce: Fields<Text> = Fields::default(),
        /// Fields to rename: `{ old = "new" }`. Both names may hold `%{field}`; what had the new name is replaced.
        pub rename: Renames = Renames::default(),
        /// New text for fields that exist; may hold `%{field}`.
        pub update: Fields<Text> = Fields::default(),
        /// New text for fields, which are made where they do not exist; may hold `%{field}`.
        pub replace: Fields<Text> = Fields::default(),
        /// Fields to convert: `{ bytes = "integer" }`, one of `string`, `integer`, `float`, `integer_eu`, `float_eu`,
        /// `boolean`. Lists are converted element by element; objects and null stay.
        pub convert: Fields<Conversion> = Fields::default(),
        /// Substitutions, three texts each: field, regular expression (Ruby's), replacement (`\1`, `\0`, `\k<name>`).
        /// Expression and replacement may hold `%{field}`.
        pub gsub: Vec<String> = Vec::new(),
        /// Fields whose text becomes upper case.
        pub uppercase: Vec<Path> = Vec::new(),
        /// Fields whose text gets a capital letter first and small ones behind it.
        pub capitalize: Vec<Path> = Vec::new(),
        /// Fields whose text becomes lower case.
        pub lowercase: Vec<Path> = Vec::new(),
        /// Fields whose text loses white space at both ends.
        pub strip: Vec<Path> = Vec::new(),
        /// Fields whose text becomes a list, cut at a separator: `{ names = "," }`. A single blank stands for any
        /// white space.
        pub split: Fields<String> = Fields::default(),
        /// Fields whose list becomes text, with a separator: `{ names = "," }`.
        pub join: Fields<String> = Fields::default(),
        /// Fields to which others are appended: `{ all = ["some", "more"] }`; objects are united.
        pub merge: Fields<Vec<Path>> = Fields::default(),
        /// Fields to copy: `{ from = "to" }`.
        pub copy: Fields<Path> = Fields::default(),
        /// The tag for events in which something could not be done; what comes after it is not done either.
        pub tag_on_failure: String = "_mutate_error".to_owned(),
    }
}

/// A table from field references to values, in the order of the file.
#[derive(Clone, Debug)]
pub struct Fields<T>(pub Vec<(Path, T)>);

/// Text that may hold `%{field}`; numbers, booleans and lists in the file become text as Ruby writes them.
#[derive(Clone, Debug)]
pub struct Text(pub Template);

/// Pairs of an old and a new name, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Renames(pub Vec<(FieldName, FieldName)>);

/// A field by its name, or by a name that each event says.
#[derive(Clone, Debug)]
pub enum FieldName {
    /// Always this field.
    Fixed(Path),
    /// The field whose name comes out of the template.
    Template(Template),
}

// === impl Fields ===

impl<T> Default for Fields<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: OptionType> OptionType for Fields<T> {
    const TYPE: &'static str = "table of fields";
    const SECRET: bool = T::SECRET;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        entries(node, diagnostics, Path::read, T::read).map(Self)
    }

    fn show(&self) -> String {
        show_entries(self.0.iter().map(|(path, value)| (path.show(), value.show())))
    }
}

// === impl Text ===

impl OptionType for Text {
    const TYPE: &'static str = "template";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = match &node.kind {
            NodeKind::String(_) => return Template::read(node, diagnostics).map(Self),
            _ => value_of(node).map(|value| to_s(&value)),
        };
        let Some(text) = text else {
            node.expected("text, a number, a boolean or a list of them", diagnostics);
            return None;
        };
        let node = Node { kind: NodeKind::String(text), text_start: None, ..node.clone() };
        Template::read(&node, diagnostics).map(Self)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

fn value_of(node: &Node) -> Option<Value> {
    Some(match &node.kind {
        NodeKind::String(text) | NodeKind::Datetime(text) => Value::from(text.as_str()),
        NodeKind::Integer(value) => Value::Int(*value),
        NodeKind::Float(value) => Value::Float(*value),
        NodeKind::Boolean(value) => Value::Bool(*value),
        NodeKind::Array(items) => Value::Array(items.iter().map(value_of).collect::<Option<_>>()?),
        NodeKind::Table(_) => return None,
    })
}

// === impl Renames ===

impl OptionType for Renames {
    const TYPE: &'static str = "table of fields";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        entries(node, diagnostics, FieldName::read, FieldName::read).map(Self)
    }

    fn show(&self) -> String {
        show_entries(self.0.iter().map(|(old, new)| (old.show(), new.show())))
    }
}

// === impl FieldName ===

impl OptionType for FieldName {
    const TYPE: &'static str = "field reference";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let template = Template::read(node, diagnostics)?;
        if template.literal().is_some() {
            return Path::read(node, diagnostics).map(Self::Fixed);
        }
        Some(Self::Template(template))
    }

    fn show(&self) -> String {
        match self {
            Self::Fixed(path) => path.show(),
            Self::Template(template) => template.show(),
        }
    }
}

/// Reads a table's keys and values, each with its place in the file, and says everything that is wrong with them.
fn entries<K, V>(
    node: &Node,
    diagnostics: &mut Diagnostics,
    key: impl Fn(&Node, &mut Diagnostics) -> Option<K>,
    value: impl Fn(&Node, &mut Diagnostics) -> Option<V>,
) -> Option<Vec<(K, V)>> {
    let Some(table) = node.as_table() else {
        node.expected("a table such as { field = \"value\" }", diagnostics);
        return None;
    };
    let mut read = Vec::with_capacity(table.entries.len());
    let mut complete = true;
    for (name, entry) in &table.entries {
        let name = Node {
            span: entry.key_span,
            text_start: None,
            from_variable: false,
            kind: NodeKind::String(name.clone()),
        };
        match (key(&name, diagnostics), value(&entry.value, diagnostics)) {
            (Some(name), Some(value)) => read.push((name, value)),
            _ => complete = false,
        }
    }
    complete.then_some(read)
}

fn show_entries(entries: impl Iterator<Item = (String, String)>) -> String {
    let entries: Vec<String> = entries.map(|(key, value)| format!("{key} = {value}")).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}
