//! Components: from `[sinks.es]` to a built sink. Each table's `type` is looked up among the linked plugins, its
//! options are read and checked, and the plugin builds itself; all that is wrong is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use flowstone_core::{
    Build, BuildCx, BuildError, Built, Clock, ComponentId, Diagnostic, Diagnostics, Entry, Kind, Node,
    OptionSpec, OptionType, Plugin, Severity, Sink, Source, Span, Table, Transform, metric_problems, nearest,
    options, plugins,
};
use flowstone_dialect::{Condition, Decorations};

use crate::StandardPlugin;
use crate::files::unplaced;
use crate::{parse, place};

/// The tables that hold components.
pub(crate) const SECTIONS: [(&str, Kind); 3] =
    [("sources", Kind::Source), ("transforms", Kind::Transform), ("sinks", Kind::Sink)];

/// What the engine calls its own sink for unread `rejected` ports, in metrics and logs.
const RESERVED_NAME: &str = "rejected";

/// `type`, which every component has.
pub(crate) const TYPE_SPEC: OptionSpec = OptionSpec {
    name: "type",
    type_name: "string",
    doc: "Which plugin.",
    default: None,
    secret: false,
    fields: &[],
};

options! {
    /// What transforms and sinks have in common.
    pub(crate) struct ReaderOptions {
        /// What it reads: names of sources and transforms, `NAME.rejected` for the dead letters of any component,
        /// `NAME.output` for a named output.
        inputs: Vec<Reference>,
    }
}

options! {
    /// What transforms have in common, beside what they read and the decorations.
    pub(crate) struct WhenOptions {
        /// Only events for which this condition holds are handed to the transform; the others pass untouched.
        when: Option<Condition> = None,
    }
}

/// A component's name and output as written in `inputs`, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A component as far as it could be made out.
pub(crate) struct Component {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// The name in the header.
    pub(crate) key_span: Span,
    pub(crate) inputs: Vec<Reference>,
    /// Names of its outputs beside the default one; unknown where it could not be built.
    pub(crate) outputs: Option<Vec<String>>,
    pub(crate) when: Option<Condition>,
    pub(crate) decorations: Decorations,
    pub(crate) plugin: Option<&'static Plugin>,
    pub(crate) built: Option<BuiltComponent>,
}

/// What a plugin made.
pub(crate) enum BuiltComponent {
    Source(Box<dyn Source>),
    Transform(Box<dyn Transform>),
    Sink(Arc<dyn Sink>),
}

/// What components are built with.
pub(crate) struct BuildOptions<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) standard_plugins: &'a [StandardPlugin],
}

impl OptionType for Reference {
    const TYPE: &'static str = "string";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        String::read(node, diagnostics).map(|text| Self { text, span: node.span })
    }

    fn show(&self) -> String {
        self.text.show()
    }
}

/// The options that every component of a kind has, beside those of its plugin.
pub(crate) fn common_options(kind: Kind) -> Vec<&'static OptionSpec> {
    let mut specs = vec![&TYPE_SPEC];
    if kind != Kind::Source {
        specs.extend(ReaderOptions::SPECS);
    }
    if kind == Kind::Transform {
        specs.extend(WhenOptions::SPECS);
        specs.extend(Decorations::SPECS);
    }
    specs
}

/// Reads and builds every component; says where a plugin panicked instead (a bug, not a mistake of the user's).
pub(crate) fn read_all(
    root: &Table,
    options: &BuildOptions<'_>,
    diagnostics: &mut Diagnostics,
) -> (Vec<Component>, bool) {
    diagnostics.extend(plugins_of_one_name(&plugins()));
    diagnostics.extend(metric_problems(plugins()).into_iter().map(|(plugin, problem)| {
        let of = format!("a bug in the plugin `{}`", plugin.crate_name);
        unplaced("plugin-metric", format!("{} `{}`: {problem}", plugin.kind(), plugin.type_name)).help(of)
    }));
    let mut components: Vec<Component> = Vec::new();
    let mut panicked = false;
    for (section, kind) in SECTIONS {
        let Some(entry) = root.entries.get(section) else { continue };
        let Some(tables) = entry.value.as_table() else {
            entry.value.expected(&format!("a table of components: `[{section}.NAME]`"), diagnostics);
            continue;
        };
        for (name, entry) in &tables.entries {
            let Some(component) = read(name, kind, entry, options, &mut panicked, diagnostics) else {
                continue;
            };
            if let Some(known) = components.iter().find(|known| known.name == component.name) {
                diagnostics.push(
                    Diagnostic::error(
                        "defined-twice",
                        format!("two components are called `{name}`"),
                        component.key_span,
                    )
                    .label(format!("a {kind} here"))
                    .also(known.key_span, format!("a {} here", known.kind))
                    .help("give one of them another name: `inputs` and `rejected` could mean either"),
                );
            }
            components.push(component);
        }
    }
    (components, panicked)
}

fn read(
    name: &str,
    kind: Kind,
    entry: &Entry,
    options: &BuildOptions<'_>,
    panicked: &mut bool,
    diagnostics: &mut Diagnostics,
) -> Option<Component> {
    let Some(table) = entry.value.as_table() else {
        let message = format!("{kind} `{name}` is no table");
        diagnostics.push(
            Diagnostic::error("wrong-type", message, entry.key_span)
                .label(format!("expected `[{kind}s.NAME]` with a `type`")),
        );
        return None;
    };
    check_name(name, kind, entry.key_span, diagnostics);
    let before = diagnostics.len();
    let inputs = if kind == Kind::Source {
        None
    } else {
        ReaderOptions::read(table, diagnostics).map(|options| options.inputs)
    };
    if let (Some([]), Some(node)) = (inputs.as_deref(), table.get("inputs")) {
        node.invalid(
            format!("{kind} `{name}` reads nothing"),
            "expected the name of a source or transform",
            diagnostics,
        );
    }
    let mut component = Component {
        name: name.into(),
        kind,
        key_span: entry.key_span,
        inputs: inputs.unwrap_or_default(),
        outputs: if kind == Kind::Transform { None } else { Some(Vec::new()) },
        when: None,
        decorations: Decorations::default(),
        plugin: plugin_of(name, kind, table, options.standard_plugins, diagnostics),
        built: None,
    };
    if kind == Kind::Transform {
        component.when = WhenOptions::read(table, diagnostics).and_then(|options| options.when);
        component.decorations = Decorations::read(table, diagnostics).unwrap_or_default();
    }
    let Some(plugin) = component.plugin else { return Some(component) };
    let id = ComponentId { name: component.name.clone(), kind, type_name: plugin.type_name };
    refuse_unknown_options(table, &id, plugin, diagnostics);
    let cx = BuildCx { id: id.clone(), data_dir: options.data_dir.to_owned(), clock: Clock::System };
    let built = catch_unwind(AssertUnwindSafe(|| match build(plugin, table, &cx, diagnostics) {
        Ok(None) => Err(errors_of_the_rest(plugin, table, &cx, &diagnostics[before..])),
        built => built,
    }));
    table.report_misspelt_once(before, diagnostics);
    for diagnostic in &mut diagnostics[before..] {
        // An option that is not there has no place of its own; the header says whose it is.
        if diagnostic.code == "missing-option" && diagnostic.span == Some(table.span) {
            diagnostic.message.push_str(&format!(" in {id}"));
            diagnostic.help.get_or_insert_with(|| explain(plugin));
        }
    }
    match built {
        Ok(Ok(Some(built))) => {
            if let BuiltComponent::Transform(transform) = &built {
                component.outputs = Some(transform.outputs());
            }
            component.built = Some(built);
        }
        Ok(Ok(None)) => {}
        Ok(Err(errors)) => {
            let described = id.to_string();
            diagnostics.extend(
                errors.into_iter().map(|error| place::of_build_error(error, table, table.span, &described)),
            );
        }
        Err(_) => {
            *panicked = true;
            diagnostics.push(
                Diagnostic::error("bug", format!("{id} panicked while it was built"), entry.key_span)
                    .label(format!("a bug in the plugin `{}`", plugin.crate_name)),
            );
        }
    }
    if component.outputs.is_none() && has_one_output(plugin, &cx) {
        component.outputs = Some(Vec::new());
    }
    Some(component)
}

/// Whether a transform of this type has its default output alone: one that could not be built hides then no mistake of
/// those that read it. A type whose example has named outputs may have any.
fn has_one_output(plugin: &Plugin, cx: &BuildCx) -> bool {
    let example = parse::parse(plugin.example, 0, &mut Diagnostics::new()).table;
    match build(plugin, &example, cx, &mut Diagnostics::new()) {
        Ok(Some(BuiltComponent::Transform(transform))) => transform.outputs().is_empty(),
        _ => false,
    }
}

fn build(
    plugin: &Plugin,
    table: &Table,
    cx: &BuildCx,
    diagnostics: &mut Diagnostics,
) -> Result<Option<BuiltComponent>, Vec<BuildError>> {
    fn wrap<T>(
        built: Built<T>,
        wrap: fn(T) -> BuiltComponent,
    ) -> Result<Option<BuiltComponent>, Vec<BuildError>> {
        built.map(|built| built.map(wrap))
    }
    match plugin.build {
        Build::Source(build) => wrap(build(table, cx, diagnostics), BuiltComponent::Source),
        Build::Transform(build) => wrap(build(table, cx, diagnostics), BuiltComponent::Transform),
        Build::Sink(build) => wrap(build(table, cx, diagnostics), |sink| BuiltComponent::Sink(sink.into())),
    }
}

/// What the plugin's own checks have to say where it was not built because some options could not be read. They look
/// at all options together, so they are given the ones that could be read, and for those that must be there the
/// example's. What they say of other options than the user's, or in view of one that was left out, does not count.
fn errors_of_the_rest(plugin: &Plugin, table: &Table, cx: &BuildCx, said: &[Diagnostic]) -> Vec<BuildError> {
    let mut rest = table.clone();
    rest.entries.retain(|_, entry| {
        let mut errors = said.iter().filter(|said| said.severity == Severity::Error);
        !errors.any(|said| said.span.is_some_and(|span| place::holds(&entry.value, span)))
    });
    let kept: Vec<String> = rest.entries.keys().cloned().collect();
    let mut example = parse::parse(plugin.example, table.span.file, &mut Diagnostics::new()).table;
    for required in plugin.options.iter().filter(|spec| spec.default.is_none()) {
        if !kept.iter().any(|key| key == required.name)
            && let Some(entry) = example.entries.shift_remove(required.name)
        {
            rest.entries.insert(required.name.to_owned(), entry);
        }
    }
    let Err(errors) = build(plugin, &rest, cx, &mut Diagnostics::new()) else { return Vec::new() };
    let is_kept = |option: &str| {
        let within = |key: &String| {
            option.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        kept.iter().any(within)
    };
    // An option that nobody gave is none that was left out, unless it must be there.
    let given = table.entries.keys().map(String::as_str);
    let required = plugin.options.iter().filter(|spec| spec.default.is_none()).map(|spec| spec.name);
    let left_out: Vec<String> = given
        .chain(required)
        .filter(|name| !kept.iter().any(|key| key == name))
        .map(|name| format!("`{name}`"))
        .collect();
    let in_view_of_others = |error: &BuildError| {
        let texts = [error.message.as_str(), &error.label, error.help.as_deref().unwrap_or_default()];
        left_out.iter().any(|name| texts.iter().any(|text| text.contains(name)))
    };
    errors.into_iter().filter(|error| is_kept(&error.option) && !in_view_of_others(error)).collect()
}

/// The plugin that a table's `type` names.
fn plugin_of(
    component: &str,
    kind: Kind,
    table: &Table,
    standard: &[StandardPlugin],
    diagnostics: &mut Diagnostics,
) -> Option<&'static Plugin> {
    let linked = plugins();
    let names: Vec<&str> =
        linked.iter().filter(|plugin| plugin.kind() == kind).map(|plugin| plugin.type_name).collect();
    let one_of = || format!("expected one of {}", names.join(", "));
    let Some(node) = table.get("type") else {
        let is_option = |key: &str| {
            let of_plugins = linked.iter().flat_map(|plugin| plugin.options);
            of_plugins.chain(common_options(kind)).any(|spec| spec.name == key)
        };
        let misspelt =
            table.entries.iter().find(|(key, _)| !is_option(key) && nearest(key, ["type"]).is_some());
        if let Some((key, entry)) = misspelt {
            let message = format!("unknown option `{key}` in {kind} `{component}`");
            let error = Diagnostic::error("unknown-option", message, entry.key_span);
            diagnostics.push(error.label("did you mean `type`?"));
            return None;
        }
        diagnostics.push(
            Diagnostic::error("missing-option", format!("{kind} `{component}` has no `type`"), table.span)
                .label(one_of())
                .help("`flowstone list` says what each is"),
        );
        return None;
    };
    let type_name = String::read(node, diagnostics)?;
    if let Some(plugin) = linked.iter().find(|plugin| plugin.kind() == kind && plugin.type_name == type_name)
    {
        return Some(plugin);
    }
    let error = Diagnostic::error(
        "unknown-type",
        format!("unknown {kind} type `{type_name}` in {kind} `{component}`"),
        node.span,
    );
    let other_kind = linked.iter().find(|plugin| plugin.type_name == type_name).map(|plugin| plugin.kind());
    let left_out = standard.iter().find(|known| known.kind == kind && known.type_name == type_name);
    diagnostics.push(if let Some(left_out) = left_out {
        error.label("is not in this build").help(format!(
            "build flowstone with the cargo feature `{}`, or without `--no-default-features`",
            left_out.feature
        ))
    } else if let Some(other) = other_kind {
        error
            .label(format!("`{type_name}` is a {other}"))
            .help(format!("put it under `[{other}s.{component}]`, or use one of {}", names.join(", ")))
    } else if let Some(name) = nearest(&type_name, names.iter().copied()) {
        error.label(format!("did you mean `{name}`?")).help("`flowstone list` says what there is")
    } else {
        error
            .label(one_of())
            .help("`flowstone list` says what each is; a plugin of your own must be linked into this program")
    });
    None
}

fn refuse_unknown_options(table: &Table, id: &ComponentId, plugin: &Plugin, diagnostics: &mut Diagnostics) {
    let common: Vec<&str> = common_options(id.kind).iter().map(|spec| spec.name).collect();
    let before = diagnostics.len();
    table.refuse_unknown(&id.to_string(), plugin.options, &common, diagnostics);
    for diagnostic in &mut diagnostics[before..] {
        diagnostic.help = Some(explain(plugin));
    }
}

fn explain(plugin: &Plugin) -> String {
    format!("`flowstone explain {}` lists its options", plugin.type_name)
}

/// A name is part of `NAME.rejected`, of file names and of metric labels.
fn check_name(name: &str, kind: Kind, span: Span, diagnostics: &mut Diagnostics) {
    let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let label = if !sound || name.len() > 64 {
        "expected letters, digits, `_` and `-`, at most 64"
    } else if name == RESERVED_NAME {
        "the name of the sink that keeps rejected events which nothing reads"
    } else {
        return;
    };
    diagnostics.push(
        Diagnostic::error("component-name", format!("`{name}` cannot name a {kind}"), span).label(label),
    );
}

/// Two linked plugins of one kind that claim one name: which of them a `type` means would be left to chance.
fn plugins_of_one_name(linked: &[&Plugin]) -> Vec<Diagnostic> {
    // `plugins()` sorts by kind and name, so that equal names are neighbours.
    let pairs = linked
        .windows(2)
        .filter(|pair| pair[0].kind() == pair[1].kind() && pair[0].type_name == pair[1].type_name);
    pairs
        .map(|pair| {
            unplaced(
                "plugins-of-one-name",
                format!(
                    "two plugins are called {} `{}`: one from the crate `{}`, one from the crate `{}`",
                    pair[0].kind(),
                    pair[0].type_name,
                    pair[0].crate_name,
                    pair[1].crate_name
                ),
            )
            .help("leave one of the crates out of this build, or rename the plugin")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_plugins_of_one_name_are_refused_with_both_crates() {
        let plugin = |type_name, crate_name| Plugin {
            type_name,
            crate_name,
            summary: "",
            options: &[],
            metrics: &[],
            example: "",
            build: Build::Sink(|_, _, _| Ok(None)),
        };
        let (a, b, c) = (plugin("shout", "one"), plugin("shout", "two"), plugin("whisper", "one"));
        assert_eq!(plugins_of_one_name(&[&a, &c]), []);
        let found = plugins_of_one_name(&[&a, &b, &c]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].message,
            "two plugins are called sink `shout`: one from the crate `one`, one from the crate `two`"
        );
    }
}
