//! Options: a spanned tree of TOML values, how each type reads it, and the table of an option's name, type, default
//! and description that the reference, the checks and the plugin all share.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use crate::event::Path;

/// A stretch of a configuration file in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Which file, in the order they were given.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

/// A TOML value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value, quotes included.
    pub span: Span,
    /// Where a string's text begins, when the file spells it without escapes, so that a byte of the value is a byte
    /// of the file. Unset for strings with escapes or variables.
    pub text_start: Option<usize>,
    /// Whether the string was one whole `${VAR}`: it may then fill a number or a boolean.
    pub from_variable: bool,
    /// The value.
    pub kind: NodeKind,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum NodeKind {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A TOML table in the order of the file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    /// The header (`[sinks.es]`) or the braces.
    pub span: Span,
    /// Keys with their values.
    pub entries: IndexMap<String, Entry>,
}

/// A key of a [`Table`] and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; the topology runs.
    Warning,
    /// The topology cannot run.
    Error,
}

/// One thing to say about a configuration: where, what was expected, what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable name in kebab case: `unknown-option`.
    pub code: &'static str,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// Where; `None` when it is about no place in a file.
    pub span: Option<Span>,
    /// A few words beside the caret: what was expected, the nearest name.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to it, each with its words: where a name was first used, the links of a cycle.
    pub also: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span: Some(span),
            label: String::new(),
            help: None,
            also: Vec::new(),
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, span) }
    }

    /// With words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a line that says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place that belongs to it.
    #[must_use]
    pub fn also(mut self, span: Span, words: impl Into<String>) -> Self {
        self.also.push((span, words.into()));
        self
    }
}

/// Everything found so far; a configuration is read to its end and all problems are told at once.
pub type Diagnostics = Vec<Diagnostic>;

/// The name among `known` that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .map(|(distance, name)| {
            // `flush_secs` for `flush_interval`: far in letters, but the same first word.
            let shared = wrong.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
            (if shared >= 5 { distance.min(2) } else { distance }, name)
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2.max(wrong.len() / 3))
        .map(|(_, name)| name)
}

// === impl Node ===

impl Node {
    /// The value's type as a message says it.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::String(_) => "a string",
            NodeKind::Integer(_) => "an integer",
            NodeKind::Float(_) => "a float",
            NodeKind::Boolean(_) => "a boolean",
            NodeKind::Datetime(_) => "a date-time",
            NodeKind::Array(_) => "an array",
            NodeKind::Table(_) => "a table",
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            NodeKind::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The stretch of the file that holds bytes `start..end` of this string's text; the whole value where the text
    /// is spelled with escapes or comes from a variable.
    pub fn span_within(&self, start: usize, end: usize) -> Span {
        match self.text_start {
            Some(text) => Span { file: self.span.file, start: text + start, end: text + end.max(start + 1) },
            None => self.span,
        }
    }

    /// Says that this value is not of the expected type.
    pub fn expected(&self, expected: &str, diagnostics: &mut Diagnostics) {
        diagnostics.push(
            Diagnostic::error(
                "wrong-type",
                format!("expected {expected}, found {}", self.kind_name()),
                self.span,
            )
            .label(format!("expected {expected}")),
        );
    }

    /// Says that this value is of the right type but means nothing.
    pub fn invalid(
        &self,
        message: impl Into<String>,
        expected: impl Into<String>,
        diagnostics: &mut Diagnostics,
    ) {
        diagnostics.push(Diagnostic::error("invalid-value", message, self.span).label(expected));
    }
}

impl Table {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Says which keys are neither in `known` nor in `more`.
    pub fn refuse_unknown(
        &self,
        component: &str,
        known: &[OptionSpec],
        more: &[&str],
        diagnostics: &mut Diagnostics,
    ) {
        for (key, entry) in &self.entries {
            let names = || known.iter().map(|spec| spec.name).chain(more.iter().copied());
            if names().any(|name| name == key) {
                continue;
            }
            let error = Diagnostic::error(
                "unknown-option",
                format!("unknown option `{key}` in {component}"),
                entry.key_span,
            );
            diagnostics.push(match nearest(key, names()) {
                Some(name) => error.label(format!("did you mean `{name}`?")),
                None => error.label(format!("expected one of {}", names().collect::<Vec<_>>().join(", "))),
            });
        }
    }
}

/// What is known of an option without reading a file: one place for its name, type, default and description.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key.
    pub name: &'static str,
    /// The type as the reference says it: `duration`, `list of strings`.
    pub type_name: &'static str,
    /// What it does, in Markdown.
    pub doc: &'static str,
    /// The default as TOML (empty: unset); `None` means required.
    pub default: Option<fn() -> String>,
    /// Whether the value must never be shown.
    pub secret: bool,
    /// The options within, when the value is a table of options (`tls.ca_file`).
    pub fields: &'static [OptionSpec],
}

impl OptionSpec {
    /// The key of a field whose name is a word of Rust's: `r#match` is `match`.
    #[doc(hidden)]
    pub const fn plain_name(field: &'static str) -> &'static str {
        match field.as_bytes() {
            [b'r', b'#', ..] => field.split_at(2).1,
            _ => field,
        }
    }
}

/// A type that an option can have.
pub trait OptionType: Sized {
    /// The type as the reference says it.
    const TYPE: &'static str;
    /// Whether the value must never be shown, not even in a diagnostic's excerpt.
    const SECRET: bool = false;
    /// The options within, when the value is a table of options (`tls.ca_file`).
    const FIELDS: &'static [OptionSpec] = &[];

    /// Reads the value; on failure says why and gives `None`.
    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self>;

    /// The value as TOML; empty for "unset".
    fn show(&self) -> String;
}

/// Text that is never shown: passwords, API keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A size in bytes, written as a number or as `"512KiB"`, `"8MiB"`, `"10MB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The size as an index or a capacity.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

// === impl OptionType ===

fn quote(text: &str) -> String {
    if text.contains(['"', '\\']) && !text.contains('\'') { format!("'{text}'") } else { format!("{text:?}") }
}

impl OptionType for String {
    const TYPE: &'static str = "string";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.as_str().map(str::to_owned);
        if text.is_none() {
            node.expected("a string", diagnostics);
        }
        text
    }

    fn show(&self) -> String {
        quote(self)
    }
}

impl OptionType for Secret {
    const TYPE: &'static str = "string, secret";
    const SECRET: bool = true;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        String::read(node, diagnostics).map(Self)
    }

    fn show(&self) -> String {
        "\"***\"".to_owned()
    }
}

impl OptionType for PathBuf {
    const TYPE: &'static str = "path";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        String::read(node, diagnostics).map(Self::from)
    }

    fn show(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

impl OptionType for Path {
    const TYPE: &'static str = "field reference";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = String::read(node, diagnostics)?;
        Self::parse(&text)
            .map_err(|error| {
                diagnostics.push(
                    Diagnostic::error(
                        "field-reference",
                        format!("`{text}` is no field reference"),
                        node.span_within(error.offset, error.offset + 1),
                    )
                    .label(error.message),
                );
            })
            .ok()
    }

    fn show(&self) -> String {
        quote(self.as_str())
    }
}

impl OptionType for bool {
    const TYPE: &'static str = "boolean";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Boolean(value) => return Some(*value),
            NodeKind::String(text) if node.from_variable => {
                if let Ok(value) = text.parse() {
                    return Some(value);
                }
            }
            _ => {}
        }
        node.expected("`true` or `false`", diagnostics);
        None
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl OptionType for $type {
            const TYPE: &'static str = "integer";

            fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
                let range = || format!("an integer from {} to {}", Self::MIN, Self::MAX);
                let value = match &node.kind {
                    NodeKind::Integer(value) => *value,
                    NodeKind::String(text) if node.from_variable => match text.parse() {
                        Ok(value) => value,
                        Err(_) => {
                            node.invalid(format!("the variable holds {text:?}"), format!("expected {}", range()), diagnostics);
                            return None;
                        }
                    },
                    _ => {
                        node.expected("an integer", diagnostics);
                        return None;
                    }
                };
                let fits = Self::try_from(value).ok();
                if fits.is_none() {
                    node.invalid(format!("{value} is out of range"), format!("expected {}", range()), diagnostics);
                }
                fits
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
integers!(u8, u16, u32, u64, usize, i64);

impl OptionType for f64 {
    const TYPE: &'static str = "number";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Integer(value) => return Some(*value as Self),
            NodeKind::Float(value) if value.is_finite() => return Some(*value),
            NodeKind::String(text) if node.from_variable => {
                if let Some(value) = text.parse::<Self>().ok().filter(|value| value.is_finite()) {
                    return Some(value);
                }
            }
            _ => {}
        }
        node.expected("a number", diagnostics);
        None
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number in front of a unit, for durations and sizes.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..split].parse().ok()?, text[split..].trim()))
}

impl OptionType for Duration {
    const TYPE: &'static str = "duration";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str =
            "a duration such as \"500ms\", \"5s\", \"2m\", \"1h\" or \"1d\", of at most 100 years";
        let Some(text) = node.as_str() else {
            node.expected(EXPECTED, diagnostics);
            return None;
        };
        let duration = parse_duration(text);
        if duration.is_none() {
            node.invalid(format!("{text:?} is no duration"), format!("expected {EXPECTED}"), diagnostics);
        }
        duration
    }

    fn show(&self) -> String {
        quote(&show_duration(*self))
    }
}

/// A longer duration is a slip of the pen, and no clock could be set to its end: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads a duration as the configuration spells it: `500ms`, `5s`, `2m`, `1.5h`, `1d`; at most a hundred years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * factor).ok().filter(|duration| *duration <= LONGEST)
}

/// A duration in the spelling of the configuration: `500ms`, `5s`, `2m`, `1h`, `1d`.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

impl OptionType for ByteSize {
    const TYPE: &'static str = "size in bytes";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str = "a size such as \"512KiB\", \"8MiB\", \"10MB\" or a number of bytes";
        let text = match &node.kind {
            NodeKind::Integer(value) if *value >= 0 => return Some(Self(*value as u64)),
            NodeKind::String(text) => text,
            _ => {
                node.expected(EXPECTED, diagnostics);
                return None;
            }
        };
        let size = number_and_unit(text).and_then(|(number, unit)| {
            let factor: u64 = match unit.to_ascii_lowercase().as_str() {
                "" | "b" => 1,
                "kb" => 1000,
                "kib" | "k" => 1 << 10,
                "mb" => 1_000_000,
                "mib" | "m" => 1 << 20,
                "gb" => 1_000_000_000,
                "gib" | "g" => 1 << 30,
                _ => return None,
            };
            Some(Self((number * factor as f64) as u64))
        });
        if size.is_none() {
            node.invalid(format!("{text:?} is no size"), format!("expected {EXPECTED}"), diagnostics);
        }
        size
    }

    fn show(&self) -> String {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return quote(&format!("{}{unit}", self.0 / size));
            }
        }
        self.0.to_string()
    }
}

impl<T: OptionType> OptionType for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const SECRET: bool = T::SECRET;
    const FIELDS: &'static [OptionSpec] = T::FIELDS;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::read(node, diagnostics).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

impl<T: OptionType> OptionType for Vec<T> {
    const TYPE: &'static str = const {
        match T::TYPE.as_bytes() {
            b"string" => "list of strings",
            b"field reference" => "list of field references",
            b"path" => "list of paths",
            b"table" => "list of tables",
            b"duration" => "list of durations",
            _ => "list",
        }
    };
    const SECRET: bool = T::SECRET;
    const FIELDS: &'static [OptionSpec] = T::FIELDS;

    /// A single value is a list of one, as Logstash has it.
    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.kind {
            NodeKind::Array(items) => {
                let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, diagnostics)).collect();
                read.into_iter().collect()
            }
            NodeKind::Table(_) => {
                node.expected(&format!("a {}", Self::TYPE), diagnostics);
                None
            }
            _ => T::read(node, diagnostics).map(|item| vec![item]),
        }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

impl<T: OptionType> OptionType for IndexMap<String, T> {
    const TYPE: &'static str = "table";
    const SECRET: bool = T::SECRET;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(table) = node.as_table() else {
            node.expected("a table such as { name = \"value\" }", diagnostics);
            return None;
        };
        let read: Vec<(String, Option<T>)> = table
            .entries
            .iter()
            .map(|(key, entry)| (key.clone(), T::read(&entry.value, diagnostics)))
            .collect();
        read.into_iter().map(|(key, value)| Some((key, value?))).collect()
    }

    fn show(&self) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        let entries: Vec<String> =
            self.iter().map(|(key, value)| format!("{} = {}", quote(key), value.show())).collect();
        format!("{{ {} }}", entries.join(", "))
    }
}

/// Declares a struct of options: each field's name, type, default and description in one place.
///
/// A field without a default is required. `Option<T> = None` may be left out of the file. The struct gets
/// `SPECS: &[OptionSpec]`, `read(&Table, ...)` and, where every option has a default, `defaults()`. It is an option
/// type itself, so that options nest: `tls: TlsOptions = TlsOptions::defaults()` reads `tls.ca_file = "..."`.
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $fvis:vis $field:ident : $type:ty $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $($(#[doc = $doc])+ $fvis $field: $type,)*
        }

        impl $name {
            /// Name, type, default and description of each option.
            #[allow(unused_variables, dead_code)]
            $vis const SPECS: &'static [$crate::OptionSpec] = &[
                $($crate::OptionSpec {
                    name: $crate::OptionSpec::plain_name(stringify!($field)),
                    type_name: <$type as $crate::OptionType>::TYPE,
                    doc: concat!($($doc, "\n"),+),
                    default: $crate::options!(@default_text $type $(, $default)?),
                    secret: <$type as $crate::OptionType>::SECRET,
                    fields: <$type as $crate::OptionType>::FIELDS,
                },)*
            ];

            /// Every option at its default.
            ///
            /// # Panics
            /// If an option is required, which the first use in any test shows.
            #[allow(dead_code, clippy::expect_used)]
            $vis fn defaults() -> Self {
                Self::read(&$crate::Table::default(), &mut $crate::Diagnostics::new()).expect("every option has a default")
            }

            /// Reads the options out of a table, says everything that is wrong with them, and ignores other keys.
            #[allow(unused_variables, dead_code, unused_mut)]
            $vis fn read(table: &$crate::Table, diagnostics: &mut $crate::Diagnostics) -> Option<Self> {
                $(
                    let $field: Option<$type> = match table.get($crate::OptionSpec::plain_name(stringify!($field))) {
                        Some(node) => <$type as $crate::OptionType>::read(node, diagnostics),
                        None => $crate::options!(@default_value table, diagnostics, $field, $type $(, $default)?),
                    };
                )*
                Some(Self { $($field: $field?,)* })
            }
        }

        impl $crate::OptionType for $name {
            const TYPE: &'static str = "table";
            const FIELDS: &'static [$crate::OptionSpec] = Self::SPECS;

            fn read(node: &$crate::Node, diagnostics: &mut $crate::Diagnostics) -> Option<Self> {
                let Some(table) = node.as_table() else {
                    node.expected("a table of options", diagnostics);
                    return None;
                };
                table.refuse_unknown("this table", Self::SPECS, &[], diagnostics);
                Self::read(table, diagnostics)
            }

            fn show(&self) -> String {
                let shown: Vec<(&str, String)> = vec![$(($crate::OptionSpec::plain_name(stringify!($field)), $crate::OptionType::show(&self.$field)),)*];
                let set = shown.iter().filter(|(_, value)| !value.is_empty());
                let set: Vec<String> = set.map(|(name, value)| format!("{name} = {value}")).collect();
                format!("{{ {} }}", set.join(", "))
            }
        }
    };
    (@default_text $type:ty, $default:expr) => {
        Some(|| {
            let value: $type = $default;
            <$type as $crate::OptionType>::show(&value)
        })
    };
    (@default_text $type:ty) => { None };
    (@default_value $table:ident, $diagnostics:ident, $field:ident, $type:ty, $default:expr) => { Some($default) };
    (@default_value $table:ident, $diagnostics:ident, $field:ident, $type:ty) => {{
        $diagnostics.push(
            $crate::Diagnostic::error(
                "missing-option",
                format!("option `{}` is missing", $crate::OptionSpec::plain_name(stringify!($field))),
                $table.span,
            )
            .label(format!(
                "expected `{} = ` ({})",
                $crate::OptionSpec::plain_name(stringify!($field)),
                <$type as $crate::OptionType>::TYPE
            )),
        );
        None
    }};
}

/// Declares an enum whose values are words in the configuration.
#[macro_export]
macro_rules! choices {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $crate::OptionType for $name {
            const TYPE: &'static str = $crate::choices!(@list $($word)+);

            fn read(node: &$crate::Node, diagnostics: &mut $crate::Diagnostics) -> Option<Self> {
                let words = [$($word),+];
                match node.as_str() {
                    $(Some($word) => Some(Self::$variant),)+
                    Some(other) => {
                        let label = match $crate::nearest(other, words) {
                            Some(word) => format!("did you mean {word:?}? (one of {})", Self::TYPE),
                            None => format!("expected one of {}", Self::TYPE),
                        };
                        node.invalid(format!("{other:?} is not a choice here"), label, diagnostics);
                        None
                    }
                    None => {
                        node.expected(&format!("one of {}", Self::TYPE), diagnostics);
                        None
                    }
                }
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => format!("{:?}", $word),)+ }
            }
        }
    };
    (@list $first:literal $($rest:literal)*) => { concat!("\"", $first, "\"" $(, " | \"", $rest, "\"")*) };
}
