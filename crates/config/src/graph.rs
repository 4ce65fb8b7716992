//! How components are joined: what `inputs` mean, and what is wrong with the whole: unknown names, circles, outputs
//! that nobody reads, two components that claim one file or port.

use std::collections::HashMap;
use std::path::Path;

use flowstone_core::{Diagnostic, Diagnostics, Kind, Span, nearest};

use crate::components::{BuiltComponent, Component, Reference};
use crate::files::unplaced;
use crate::topology::{Output, Port};

/// The output of a `route` that takes the rows which went to none of its named ones. It is its default output.
const UNMATCHED: &str = "_unmatched";
const REJECTED: &str = "rejected";

/// A link: the reading component's number, the port it reads, where that is written.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) reader: usize,
    pub(crate) port: Port,
    pub(crate) from: usize,
    pub(crate) span: Span,
}

/// Every link that means something; what does not is told.
pub(crate) fn links(components: &[Component], diagnostics: &mut Diagnostics) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for (reader, component) in components.iter().enumerate() {
        let described = format!("{} `{}`", component.kind, component.name);
        for reference in &component.inputs {
            let place = format!("the inputs of {described}");
            let Some((from, port)) = resolve(reference, components, &place, diagnostics) else { continue };
            // Of a component that could not be built the outputs are not known, nor whether two names mean one.
            let known = components[from].outputs.is_some();
            let same = |link: &&Link| known && link.reader == reader && link.port == port;
            if let Some(twice) = links.iter().find(same) {
                let message = format!("{described} reads `{}` twice", reference.text);
                diagnostics.push(
                    Diagnostic::error("input-twice", message, reference.span)
                        .label("every event would come twice")
                        .also(twice.span, "first here"),
                );
            } else {
                links.push(Link { reader, port, from, span: reference.span });
            }
        }
    }
    links
}

/// What a reference means: the component's number and its port. `place` is where it stands, for the message.
pub(crate) fn resolve(
    reference: &Reference,
    components: &[Component],
    place: &str,
    diagnostics: &mut Diagnostics,
) -> Option<(usize, Port)> {
    let text = reference.text.as_str();
    let (name, output) = text.split_once('.').map_or((text, None), |(name, output)| (name, Some(output)));
    let mut refuse = |message: String, expected: &[String], near: Option<String>| {
        let label = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if expected.is_empty() => "there is nothing to read from".to_owned(),
            None => format!("expected one of {}", expected.join(", ")),
        };
        let message = format!("{message}, in {place}");
        diagnostics.push(Diagnostic::error("unknown-input", message, reference.span).label(label));
        None
    };
    let Some(from) = components.iter().position(|component| &*component.name == name) else {
        let readable = components.iter().filter(|component| component.kind != Kind::Sink || output.is_some());
        let names: Vec<String> = readable.map(|component| component.name.to_string()).collect();
        let suffix = output.map(|output| format!(".{output}")).unwrap_or_default();
        let near = nearest(name, names.iter().map(String::as_str)).map(|name| format!("{name}{suffix}"));
        return refuse(format!("no component is called `{name}`"), &names, near);
    };
    let component = &components[from];
    let (kind, outputs) = (component.kind, component.outputs.as_deref());
    let named = outputs.unwrap_or_default();
    let expected = output_names(component);
    let output = match output {
        Some(REJECTED) => Output::Rejected,
        None if kind == Kind::Sink => {
            return refuse(format!("sink `{name}` gives no events on"), &expected, None);
        }
        // With a `when`, the events that it leaves out go on by the default output.
        None if named.is_empty() || component.when.is_some() => Output::Default,
        None => return refuse(format!("{kind} `{name}` has several outputs"), &expected, None),
        Some(output) => match named.iter().position(|known| known == output) {
            Some(number) => Output::Named(number),
            None if output == UNMATCHED && !named.is_empty() => Output::Default,
            // It could not be built, so that its outputs are not known; that was told already.
            None if outputs.is_none() && nearest(output, [REJECTED]).is_none() => Output::Default,
            None => {
                let near = nearest(text, expected.iter().map(String::as_str)).map(str::to_owned);
                return refuse(format!("{kind} `{name}` has no output `{output}`"), &expected, near);
            }
        },
    };
    Some((from, Port { component: component.name.clone(), output }))
}

/// Everything that is wrong with the graph as a whole, beside names.
pub(crate) fn check(
    components: &[Component],
    links: &[Link],
    data_dir: &Path,
    files: &str,
    diagnostics: &mut Diagnostics,
) {
    check_presence(components, files, diagnostics);
    check_circles(components, links, diagnostics);
    check_unread(components, links, data_dir, diagnostics);
    check_claims(components, diagnostics);
}

fn check_presence(components: &[Component], files: &str, diagnostics: &mut Diagnostics) {
    for (kind, what) in [(Kind::Source, "nothing is read"), (Kind::Sink, "nothing is delivered")] {
        if !components.iter().any(|component| component.kind == kind) {
            diagnostics.push(
                unplaced("incomplete", format!("{files} configures no {kind}, so {what}")).help(format!(
                    "add a `[{kind}s.NAME]` with a `type`; `flowstone list` says which there are"
                )),
            );
        }
    }
}

/// Circles: each is told once, with all its components.
fn check_circles(components: &[Component], links: &[Link], diagnostics: &mut Diagnostics) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Never,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::Never; components.len()];
    for start in 0..components.len() {
        // The path from `start`: each component with the links that lead on from it and are not yet followed.
        let mut path: Vec<(usize, Vec<&Link>)> = Vec::new();
        let onward = |from: usize| links.iter().filter(|link| link.from == from).rev().collect::<Vec<_>>();
        if seen[start] == Seen::Never {
            seen[start] = Seen::OnPath;
            path.push((start, onward(start)));
        }
        while let Some((here, following)) = path.last_mut() {
            let Some(link) = following.pop() else {
                seen[*here] = Seen::Done;
                path.pop();
                continue;
            };
            match seen[link.reader] {
                Seen::Done => {}
                Seen::Never => {
                    seen[link.reader] = Seen::OnPath;
                    path.push((link.reader, onward(link.reader)));
                }
                Seen::OnPath => {
                    let first = path.iter().position(|(number, _)| *number == link.reader).unwrap_or(0);
                    let around: Vec<usize> = path[first..].iter().map(|(number, _)| *number).collect();
                    diagnostics.push(circle(&around, link, components));
                }
            }
        }
    }
}

fn circle(around: &[usize], closing: &Link, components: &[Component]) -> Diagnostic {
    let name = |number: &usize| format!("`{}`", components[*number].name);
    let names: Vec<String> = around.iter().chain(around.first()).map(name).collect();
    let message = match around {
        [_] => format!("{} {} reads itself", components[around[0]].kind, names[0]),
        _ => format!("components feed one another in a circle: {}", names.join(" -> ")),
    };
    Diagnostic::error("circle", message, closing.span).label("an event could go round for ever")
}

fn check_unread(components: &[Component], links: &[Link], data_dir: &Path, diagnostics: &mut Diagnostics) {
    let mut unread_rejected: Vec<&Component> = Vec::new();
    for (number, component) in components.iter().enumerate() {
        let is_read =
            |output: &Output| links.iter().any(|link| link.from == number && link.port.output == *output);
        if !is_read(&Output::Rejected) && may_reject(component) && !reads_only_rejected(number, links) {
            unread_rejected.push(component);
        }
        // What was not built has told so; whether its outputs are read says nothing.
        if component.kind == Kind::Sink || component.built.is_none() {
            continue;
        }
        let (kind, name) = (component.kind, &component.name);
        let named = component.outputs.as_deref().unwrap_or_default();
        if (named.is_empty() || component.when.is_some()) && !is_read(&Output::Default) {
            diagnostics.push(
                Diagnostic::error(
                    "unread-output",
                    format!("nothing reads {kind} `{name}`"),
                    component.key_span,
                )
                .label("its events would go nowhere")
                .help(format!("put \"{name}\" into the `inputs` of a transform or sink, or remove it")),
            );
        }
        for (number, output) in named.iter().enumerate() {
            if !is_read(&Output::Named(number)) && output != UNMATCHED {
                diagnostics.push(
                    Diagnostic::error("unread-output", format!("nothing reads `{name}.{output}`"), component.key_span)
                        .label("its events would go nowhere")
                        .help(format!("put \"{name}.{output}\" into the `inputs` of a transform or sink, or remove the output")),
                );
            }
        }
        let unmatched =
            named.iter().position(|output| output == UNMATCHED).map_or(Output::Default, Output::Named);
        if !named.is_empty() && !is_read(&unmatched) {
            diagnostics.push(
                Diagnostic::warning(
                    "unread-output",
                    format!("nothing reads `{name}.{UNMATCHED}`"),
                    component.key_span,
                )
                .label("events that match no output are discarded and counted"),
            );
        }
    }
    if let Some(first) = unread_rejected.first() {
        let ports: Vec<String> =
            unread_rejected.iter().map(|component| format!("`{}.rejected`", component.name)).collect();
        let folder = data_dir.join("rejected");
        diagnostics.push(
            Diagnostic::warning(
                "unread-rejected",
                format!("nothing reads {}", ports.join(", ")),
                first.key_span,
            )
            .label(format!("rejected events go to {}", folder.join("NAME.ndjson").display()))
            .help("read them in a sink of their own: `inputs = [\"NAME.rejected\"]`"),
        );
    }
}

fn check_claims(components: &[Component], diagnostics: &mut Diagnostics) {
    let mut claimed: HashMap<String, &Component> = HashMap::new();
    for component in components {
        let claims = match &component.built {
            Some(BuiltComponent::Source(source)) => source.traits().claims,
            Some(BuiltComponent::Sink(sink)) => sink.claims(),
            Some(BuiltComponent::Transform(_)) | None => Vec::new(),
        };
        for claim in claims {
            if let Some(first) = claimed.get(&claim) {
                let (kind, name) = (component.kind, &component.name);
                let message = format!("{kind} `{name}` and {} `{}` both use {claim}", first.kind, first.name);
                diagnostics.push(
                    Diagnostic::error("claimed-twice", message, component.key_span)
                        .label("only one component can have it")
                        .also(first.key_span, "the other one"),
                );
            } else {
                claimed.insert(claim, component);
            }
        }
    }
}

fn may_reject(component: &Component) -> bool {
    match &component.built {
        Some(BuiltComponent::Source(source)) => source.traits().rejects,
        Some(BuiltComponent::Transform(transform)) => transform.rejects(),
        Some(BuiltComponent::Sink(sink)) => sink.rejects(),
        None => false,
    }
}

/// Whether a component is where dead letters end: if it rejects one itself, the file in the data folder is the place
/// for it, and nothing to warn about.
fn reads_only_rejected(number: usize, links: &[Link]) -> bool {
    let mut read = links.iter().filter(|link| link.reader == number).peekable();
    read.peek().is_some() && read.all(|link| link.port.output == Output::Rejected)
}

/// What can be written in `inputs` for a component.
fn output_names(component: &Component) -> Vec<String> {
    let name = &component.name;
    let named = component.outputs.as_deref().unwrap_or_default();
    let mut names: Vec<String> = named.iter().map(|output| format!("{name}.{output}")).collect();
    if component.kind != Kind::Sink && (names.is_empty() || component.when.is_some()) {
        names.push(name.to_string());
    }
    if !named.is_empty() && !named.iter().any(|output| output == UNMATCHED) {
        names.push(format!("{name}.{UNMATCHED}"));
    }
    names.push(format!("{name}.{REJECTED}"));
    names
}
