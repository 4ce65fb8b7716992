//! The plugins linked into this program. Each registers itself where it is defined; nothing lists them by hand.

use crate::{BuildCx, BuildError, Diagnostics, Kind, MetricSpec, OptionSpec, Sink, Source, Table, Transform};

/// A plugin as the registry knows it, built at compile time by `register_source!` and its siblings.
#[derive(Debug)]
pub struct Plugin {
    /// The name in `type = `.
    pub type_name: &'static str,
    /// The crate that brings it, for the message when two bring one name.
    pub crate_name: &'static str,
    /// One line, in lower case.
    pub summary: &'static str,
    /// Its own options (those common to all components of a kind stand with the engine).
    pub options: &'static [OptionSpec],
    /// Its own metrics.
    pub metrics: &'static [MetricSpec],
    /// The body of a table as a user would write it, without `type` and `inputs`; tested.
    pub example: &'static str,
    /// Makes one.
    pub build: Build,
}

/// How a plugin is made from its table. `Ok(None)` means that the diagnostics say what is wrong with the options.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, clippy::type_complexity)]
pub enum Build {
    Source(fn(&Table, &BuildCx, &mut Diagnostics) -> Built<Box<dyn Source>>),
    Transform(fn(&Table, &BuildCx, &mut Diagnostics) -> Built<Box<dyn Transform>>),
    Sink(fn(&Table, &BuildCx, &mut Diagnostics) -> Built<Box<dyn Sink>>),
}

/// A component, or why there is none.
pub type Built<T> = Result<Option<T>, Vec<BuildError>>;

inventory::collect!(Plugin);

impl Plugin {
    /// What kind of component it makes.
    pub fn kind(&self) -> Kind {
        match self.build {
            Build::Source(_) => Kind::Source,
            Build::Transform(_) => Kind::Transform,
            Build::Sink(_) => Kind::Sink,
        }
    }
}

/// Every plugin linked into this program, by kind and name.
pub fn plugins() -> Vec<&'static Plugin> {
    let mut plugins: Vec<&Plugin> = inventory::iter::<Plugin>.into_iter().collect();
    plugins.sort_by_key(|plugin| (plugin.kind(), plugin.type_name, plugin.crate_name));
    plugins
}

/// The plugin of this kind and name.
pub fn find(kind: Kind, type_name: &str) -> Option<&'static Plugin> {
    inventory::iter::<Plugin>
        .into_iter()
        .find(|plugin| plugin.kind() == kind && plugin.type_name == type_name)
}

/// Registers a transform: `register_transform! { "name", summary: .., options: .., metrics: .., example: .., build:
/// |options, cx| .. }`; `metrics` only if it has some of its own.
/// `build` gives `Result<Box<dyn Transform>, Vec<BuildError>>`: everything that is wrong, at once.
#[macro_export]
macro_rules! register_transform {
    ($($body:tt)*) => { $crate::register_plugin! { Transform, Transform, $($body)* } };
}

/// Registers a source; see [`register_transform!`].
#[macro_export]
macro_rules! register_source {
    ($($body:tt)*) => { $crate::register_plugin! { Source, Source, $($body)* } };
}

/// Registers a sink; see [`register_transform!`].
#[macro_export]
macro_rules! register_sink {
    ($($body:tt)*) => { $crate::register_plugin! { Sink, Sink, $($body)* } };
}

#[doc(hidden)]
#[macro_export]
macro_rules! register_plugin {
    (
        $variant:ident, $trait:ident, $name:literal,
        summary: $summary:expr,
        options: $options:ty,
        $(metrics: $metrics:ty,)?
        example: $example:expr,
        build: $build:expr $(,)?
    ) => {
        $crate::private::inventory::submit! {
            $crate::Plugin {
                type_name: $name,
                crate_name: env!("CARGO_PKG_NAME"),
                summary: $summary,
                options: <$options>::SPECS,
                metrics: $crate::register_plugin!(@metrics $($metrics)?),
                example: $example,
                build: $crate::Build::$variant(|table, cx, diagnostics| {
                    let Some(options) = <$options>::read(table, diagnostics) else { return Ok(None) };
                    let build: fn($options, &$crate::BuildCx) -> Result<Box<dyn $crate::$trait>, Vec<$crate::BuildError>> = $build;
                    build(options, cx).map(Some)
                }),
            }
        }
    };
    (@metrics) => { &[] };
    (@metrics $metrics:ty) => { <$metrics as $crate::PluginMetrics>::SPECS };
}
