//! flowstone's configuration: TOML files become a checked and built [`Topology`], or every reason why they do not.
//!
//! [`load`] reads files, fills in `${VAR}`, joins several files, looks up each component's plugin, reads its options,
//! builds it, and checks how the components are joined. It tells all problems at once ([`Loaded::render`]) and opens
//! no socket and spawns nothing.

mod components;
mod dating;
mod files;
mod graph;
mod merge;
mod parse;
mod place;
mod reference;
mod render;
mod scenarios;
mod secrets;
mod settings;
mod topology;
mod variables;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use flowstone_core::{ComponentId, Diagnostics, Kind, OptionSpec, Severity, Span, Table};

use crate::components::{BuildOptions, BuiltComponent, Component, SECTIONS};
use crate::files::Files;
use crate::graph::Link;
use crate::secrets::Secrets;
use crate::variables::Variables;

pub use crate::files::ConfigInput;
pub use crate::reference::{check_plugin, explain_plugin, explain_settings, list_plugins};
pub use crate::topology::{
    ExpectedOutput, Output, Port, Settings, SinkNode, SourceNode, Topology, TransformNode, UnitTest,
};

/// A plugin that comes with flowstone, linked into this program or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardPlugin {
    /// What kind of component it makes.
    pub kind: Kind,
    /// The name in `type = `.
    pub type_name: &'static str,
    /// The cargo feature that links it.
    pub feature: &'static str,
}

/// What the command line adds to the files.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `--data-dir`: counts instead of `data_dir` in the files.
    pub data_dir: Option<PathBuf>,
    /// The plugins that flowstone comes with, so that a message can tell one that was left out of this build from one
    /// that does not exist.
    pub standard_plugins: &'static [StandardPlugin],
}

/// What a configuration was found to be.
pub struct Loaded {
    /// What to run; only if nothing is wrong.
    pub topology: Option<Topology>,
    /// The `[[tests]]`, as far as they are sound.
    pub tests: Vec<UnitTest>,
    /// Everything there is to say, in the order of the files.
    pub diagnostics: Diagnostics,
    /// A plugin panicked while it was built: a bug, not a mistake in the configuration.
    pub panicked: bool,
    files: Files,
    secrets: Secrets,
}

/// Loads a configuration: reads, checks and builds all of it. `environment` gives the values of `${VAR}`.
///
/// Opens no socket and spawns nothing; reads only the files of the configuration and those that plugins read while
/// they are built (a database, a pattern file).
pub fn load(
    inputs: &[ConfigInput],
    environment: &dyn Fn(&str) -> Option<String>,
    options: &LoadOptions,
) -> Loaded {
    let mut diagnostics = Diagnostics::new();
    let mut secrets = Secrets::default();
    let mut variables = Variables::default();

    let files = Files::read(inputs, &mut diagnostics);
    let mut complete = diagnostics.is_empty();
    let mut trees = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let mut parsed = parse::parse(&file.text, number, &mut diagnostics);
        if !parsed.complete {
            complete = false;
            secrets.guessed_files.push(number);
        }
        variables::interpolate(&mut parsed.table, environment, &mut variables, &mut diagnostics);
        hide_secrets(&parsed.table, &mut secrets);
        trees.push(parsed.table);
    }
    secrets.hide_variables(&variables);
    let root = merge::merge(trees, &mut diagnostics);

    let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).chain(["tests"]).collect();
    let before = diagnostics.len();
    root.refuse_unknown("the configuration", settings::TopLevel::SPECS, &sections, &mut diagnostics);
    for diagnostic in &mut diagnostics[before..] {
        diagnostic.help =
            Some("`flowstone explain settings` lists what stands outside of components".to_owned());
    }
    let settings = settings::read(&root, options.data_dir.clone(), &mut diagnostics);
    let data_dir = settings
        .as_ref()
        .map_or_else(|| PathBuf::from("./flowstone-data"), |settings| settings.data_dir.clone());
    let build = BuildOptions { data_dir: &data_dir, standard_plugins: options.standard_plugins };
    let (components, panicked) = components::read_all(&root, &build, &mut diagnostics);
    let links = graph::links(&components, &mut diagnostics);
    let names = if inputs.is_empty() { "the configuration".to_owned() } else { files.names() };
    graph::check(&components, &links, &data_dir, &names, &mut diagnostics);
    dating::check(&root, &components, &links, &mut diagnostics);
    dating::check_pace(&root, &mut diagnostics);
    let tests = scenarios::read(&root, &components, &links, &mut diagnostics);

    leave_out_consequences(&mut diagnostics, complete, &variables.unresolved);
    let sound = diagnostics.iter().all(|diagnostic| diagnostic.severity < Severity::Error);
    let topology =
        settings.filter(|_| sound && complete).and_then(|settings| assemble(settings, components, &links));
    Loaded { topology, tests, diagnostics, panicked, files, secrets }
}

// === impl Loaded ===

impl Loaded {
    /// The diagnostics as people read them, without secrets; empty if there is nothing to say.
    pub fn render(&self, colour: bool) -> String {
        render::render(&self.diagnostics, &self.files, &self.secrets, colour)
    }

    /// Whether the configuration cannot run.
    pub fn has_errors(&self) -> bool {
        self.topology.is_none()
    }
}

/// Tells the secret options of a file's components, by what their plugins say.
fn hide_secrets(root: &Table, secrets: &mut Secrets) {
    let linked = flowstone_core::plugins();
    for (key, entry) in &root.entries {
        secrets.hide_urls(&entry.value);
        let section = SECTIONS.iter().find(|(section, _)| section == key);
        let (Some((_, kind)), Some(tables)) = (section, entry.value.as_table()) else { continue };
        for table in tables.entries.values().filter_map(|entry| entry.value.as_table()) {
            let type_name = table.get("type").and_then(|node| node.as_str());
            let of_kind = || linked.iter().filter(|plugin| plugin.kind() == *kind);
            let known = of_kind().find(|plugin| Some(plugin.type_name) == type_name);
            // A mistyped `type` must not show what the right one would have hidden.
            let specs: Vec<&OptionSpec> = match known {
                Some(plugin) => plugin.options.iter().chain(components::common_options(*kind)).collect(),
                None => of_kind()
                    .flat_map(|plugin| plugin.options)
                    .filter(|spec| spec.secret || !spec.fields.is_empty())
                    .collect(),
            };
            secrets.hide_options(table, &specs, known.is_some());
        }
    }
    let top: Vec<&OptionSpec> = settings::TopLevel::SPECS.iter().collect();
    let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).chain(["tests"]).collect();
    let rest = root.entries.iter().filter(|(key, _)| !sections.contains(&key.as_str()));
    let rest =
        Table { span: root.span, entries: rest.map(|(key, entry)| (key.clone(), entry.clone())).collect() };
    secrets.hide_options(&rest, &top, true);
}

/// Leaves out what only follows from something else that was told, and puts the rest in the order of the files.
fn leave_out_consequences(diagnostics: &mut Diagnostics, complete: bool, unresolved: &[Span]) {
    const OF_INCOMPLETE_FILES: [&str; 11] = [
        "missing-option",
        "incomplete",
        "unread-output",
        "unread-rejected",
        "unknown-input",
        "unknown-component",
        "unreachable-output",
        "empty-test",
        "index-by-reading-time",
        "invalid-option",
        "missing-file",
    ];
    // A mistyped name in `inputs` leaves the component unread that was meant.
    let meant: Vec<String> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.code == "unknown-input")
        .filter_map(|diagnostic| {
            Some(diagnostic.label.strip_prefix("did you mean ")?.trim_end_matches('?').to_owned())
        })
        .collect();
    // Of a file that is no text, only what stands before that place was read.
    let cut: Vec<Span> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.code == "not-utf8")
        .filter_map(|diagnostic| diagnostic.span)
        .collect();
    diagnostics.retain(|diagnostic| {
        let unread = ["unread-output", "unread-rejected"].contains(&diagnostic.code);
        if unread && meant.iter().any(|name| diagnostic.message.contains(name)) {
            return false;
        }
        let after =
            |cut: &Span| diagnostic.span.is_some_and(|span| span.file == cut.file && span.end > cut.start);
        if diagnostic.code == "syntax" && cut.iter().any(after) {
            return false;
        }
        let about_unresolved = diagnostic.span.is_some_and(|span| {
            unresolved
                .iter()
                .any(|value| value.file == span.file && value.start <= span.start && span.end <= value.end)
        });
        let told = !about_unresolved || ["missing-variable", "variable"].contains(&diagnostic.code);
        told && (complete || !OF_INCOMPLETE_FILES.contains(&diagnostic.code))
    });
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.map(|span| (span.file, span.start)));
    diagnostics.dedup();
}

/// The parts put together. `None` only where a component is missing, which was told.
fn assemble(settings: Settings, components: Vec<Component>, links: &[Link]) -> Option<Topology> {
    let mut topology = Topology { settings, sources: Vec::new(), transforms: Vec::new(), sinks: Vec::new() };
    for (number, component) in components.into_iter().enumerate() {
        let id = ComponentId {
            name: component.name,
            kind: component.kind,
            type_name: component.plugin?.type_name,
        };
        let inputs =
            links.iter().filter(|link| link.reader == number).map(|link| link.port.clone()).collect();
        match component.built? {
            BuiltComponent::Source(source) => topology.sources.push(SourceNode { id, source }),
            BuiltComponent::Transform(transform) => topology.transforms.push(TransformNode {
                id,
                inputs,
                transform,
                outputs: component.outputs?,
                when: component.when,
                decorations: component.decorations,
            }),
            BuiltComponent::Sink(sink) => topology.sinks.push(SinkNode { id, inputs, sink }),
        }
    }
    Some(topology)
}
