//! The reference, generated from the options' own definitions: what `flowstone list` and `flowstone explain` print,
//! and the check that a plugin's part of it is complete and true.

use std::fmt::Write as _;

use flowstone_core::{Kind, MetricSpec, OptionSpec, Plugin, metric_problems, plugins};

use crate::components::common_options;
use crate::scenarios::TestOptions;
use crate::settings::TopLevel;
use crate::{ConfigInput, LoadOptions, load};

/// Every linked plugin with its one line, by kind.
pub fn list_plugins() -> String {
    let mut out = String::new();
    let linked = plugins();
    let width = linked.iter().map(|plugin| plugin.type_name.len()).max().unwrap_or(0);
    for kind in [Kind::Source, Kind::Transform, Kind::Sink] {
        writeln!(out, "{kind}s").ok();
        for plugin in linked.iter().filter(|plugin| plugin.kind() == kind) {
            writeln!(out, "  {:width$}  {}", plugin.type_name, plugin.summary).ok();
        }
        out.push('\n');
    }
    out
}

/// The reference of one plugin: an example, its options, those that all components of its kind have, and its metrics.
pub fn explain_plugin(plugin: &Plugin) -> String {
    let kind = plugin.kind();
    let mut out = format!("{kind} `{}`: {}\n\n", plugin.type_name, plugin.summary);
    write!(out, "[{kind}s.NAME]\ntype = \"{}\"\n", plugin.type_name).ok();
    if kind != Kind::Source {
        out.push_str("inputs = [\"OTHER\"]\n");
    }
    let example = plugin.example.trim();
    if !example.is_empty() {
        writeln!(out, "{example}").ok();
    }
    out.push_str("\nOptions\n\n");
    if plugin.options.is_empty() {
        out.push_str("  It has none of its own.\n\n");
    }
    write_options(plugin.options.iter(), "", &mut out);
    writeln!(out, "Options of every {kind}\n").ok();
    write_options(common_options(kind).into_iter(), "", &mut out);
    if !plugin.metrics.is_empty() {
        writeln!(out, "Metrics beside those of every {kind}\n").ok();
        plugin.metrics.iter().for_each(|metric| write_metric(metric, &mut out));
    }
    out
}

/// The reference of what stands outside of components: the top level, and `[[tests]]`.
pub fn explain_settings() -> String {
    let mut out = "The top level of a configuration, and `[[tests]]`\n\nTop level\n\n".to_owned();
    write_options(TopLevel::SPECS.iter(), "", &mut out);
    out.push_str("Each `[[tests]]`\n\n");
    write_options(TestOptions::SPECS.iter(), "", &mut out);
    out
}

/// What is wrong with a plugin's own documentation: an option, a metric or the plugin without a word on it, a metric's
/// name that is none, or an example that does not load. For tests.
pub fn check_plugin(plugin: &Plugin) -> Vec<String> {
    let mut problems = Vec::new();
    if plugin.summary.trim().is_empty() || plugin.summary.ends_with('.') {
        problems.push(format!("the summary {:?} is no line without a full stop", plugin.summary));
    }
    check_docs(plugin.options, "", &mut problems);
    // Whether a name means something else elsewhere shows beside all others.
    let of_metrics =
        metric_problems(plugins().into_iter().filter(|other| !std::ptr::eq(*other, plugin)).chain([plugin]));
    problems.extend(
        of_metrics.into_iter().filter(|(whose, _)| std::ptr::eq(*whose, plugin)).map(|(_, problem)| problem),
    );
    for common in common_options(plugin.kind()) {
        if plugin.options.iter().any(|option| option.name == common.name) {
            problems.push(format!("`{}` is an option of every {}", common.name, plugin.kind()));
        }
    }
    problems.extend(example_problems(plugin));
    problems
}

fn check_docs(options: &[OptionSpec], prefix: &str, problems: &mut Vec<String>) {
    for option in options {
        if option.doc.trim().len() < 10 {
            problems.push(format!("option `{prefix}{}` says nothing of what it does", option.name));
        }
        check_docs(option.fields, &format!("{prefix}{}.", option.name), problems);
    }
}

/// What loading says of the plugin's example, put into a topology of itself and the simplest others.
fn example_problems(plugin: &Plugin) -> Vec<String> {
    let kind = plugin.kind();
    let own = format!("[{kind}s.example]\ntype = \"{}\"\n", plugin.type_name);
    let inputs = if kind == Kind::Source { "" } else { "inputs = [\"other\"]\n" };
    let text = format!("{own}{inputs}{}\n", plugin.example);
    let input = ConfigInput::Text { name: format!("example of {}", plugin.type_name), text };
    let loaded = load(&[input], &|_| Some("variable".to_owned()), &LoadOptions::default());
    // The example stands alone: what only a whole topology and its files can give is not its business.
    let of_others = [
        "incomplete",
        "unread-output",
        "unread-rejected",
        "unknown-input",
        "index-by-reading-time",
        "missing-file",
    ];
    let own = loaded.diagnostics.iter().filter(|diagnostic| !of_others.contains(&diagnostic.code));
    own.map(|diagnostic| {
        format!("its example: {}: {} {}", diagnostic.code, diagnostic.message, diagnostic.label)
    })
    .collect()
}

fn write_metric(metric: &MetricSpec, out: &mut String) {
    let labels =
        if metric.labels.is_empty() { String::new() } else { format!("{{{}}}", metric.labels.join(",")) };
    writeln!(out, "  flowstone_{}{labels}: {}\n      {}\n", metric.name, metric.kind, metric.help).ok();
}

fn write_options<'a>(options: impl Iterator<Item = &'a OptionSpec>, prefix: &str, out: &mut String) {
    for option in options {
        let name = format!("{prefix}{}", option.name);
        // A table of options is told by what is in it.
        let is_list = option.type_name.starts_with("list");
        if option.fields.is_empty() || is_list {
            let default = match option.default {
                None => "required".to_owned(),
                Some(default) => match default() {
                    text if text.is_empty() => "unset by default".to_owned(),
                    text => format!("default {text}"),
                },
            };
            writeln!(out, "  {name}: {}, {default}", option.type_name).ok();
            for line in option.doc.lines() {
                writeln!(out, "      {}", line.trim()).ok();
            }
            out.push('\n');
        }
        let prefix = if is_list { format!("{name}[].") } else { format!("{name}.") };
        write_options(option.fields.iter(), &prefix, out);
    }
}
