//! Options: the table of an option's name, type, default and description that the reference, the checks and the plugin
//! all share, and the macros that make it.

use crate::{Diagnostics, Node};

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
                let before = diagnostics.len();
                table.refuse_unknown("this table", Self::SPECS, &[], diagnostics);
                let read = Self::read(table, diagnostics);
                table.report_misspelt_once(before, diagnostics);
                read
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
