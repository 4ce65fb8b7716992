//! `flowstone graph`: the topology as a drawing, in Mermaid (which GitHub and many wikis show) or DOT (Graphviz).

use std::fmt::Write as _;

use clap::ValueEnum;
use flowstone_config::{Output, Port, Topology};
use flowstone_core::{ComponentId, Kind};

use crate::exit::Exit;
use crate::loading::{self, Configuration};
use crate::output;

/// The language of the drawing.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Mermaid
    Mermaid,
    /// Graphviz
    Dot,
}

/// Draws the topology, if nothing is wrong with it.
pub(crate) fn draw(configuration: &Configuration, format: Format) -> Exit {
    let loaded = configuration.load();
    loading::tell(&loaded);
    let Some(topology) = &loaded.topology else {
        return if loaded.panicked { Exit::Bug } else { Exit::Configuration };
    };
    output::print(&drawing(&Drawn::of(topology), format))
}

/// What is drawn.
struct Drawn<'a> {
    components: Vec<&'a ComponentId>,
    arrows: Vec<Arrow>,
}

/// From one component (by number) to another; `label` where it is not the default output.
struct Arrow {
    from: usize,
    to: usize,
    label: Option<String>,
    rejected: bool,
}

// === impl Drawn ===

impl<'a> Drawn<'a> {
    fn of(topology: &'a Topology) -> Self {
        let mut components: Vec<&ComponentId> = topology.sources.iter().map(|node| &node.id).collect();
        let mut readers: Vec<(&ComponentId, &[Port])> = Vec::new();
        readers.extend(topology.transforms.iter().map(|node| (&node.id, node.inputs.as_slice())));
        readers.extend(topology.sinks.iter().map(|node| (&node.id, node.inputs.as_slice())));
        components.extend(readers.iter().map(|(id, _)| *id));
        let number = |name: &str| components.iter().position(|id| *id.name == *name);
        let mut arrows = Vec::new();
        for (id, inputs) in &readers {
            for port in *inputs {
                let (Some(from), Some(to)) = (number(&port.component), number(&id.name)) else { continue };
                let transform = topology.transforms.iter().find(|node| node.id.name == port.component);
                let label = match port.output {
                    Output::Rejected => Some("rejected".to_owned()),
                    Output::Named(number) => transform.and_then(|node| node.outputs.get(number).cloned()),
                    Output::Default => {
                        transform.filter(|node| !node.outputs.is_empty()).map(|_| "_unmatched".to_owned())
                    }
                };
                arrows.push(Arrow { from, to, label, rejected: port.output == Output::Rejected });
            }
        }
        Self { components, arrows }
    }
}

fn drawing(drawn: &Drawn<'_>, format: Format) -> String {
    let mut out = String::new();
    match format {
        Format::Mermaid => {
            out.push_str("flowchart LR\n");
            // Names are not used as Mermaid's ids: `end` is a word of its language.
            for (number, id) in drawn.components.iter().enumerate() {
                let (open, close) = match id.kind {
                    Kind::Source => ("([", "])"),
                    Kind::Transform => ("[", "]"),
                    Kind::Sink => ("[(", ")]"),
                };
                writeln!(out, "  c{number}{open}\"{}<br><i>{}</i>\"{close}", id.name, id.type_name).ok();
            }
            for arrow in &drawn.arrows {
                let line = if arrow.rejected { "-.->" } else { "-->" };
                let label =
                    arrow.label.as_ref().map(|label| format!("|\"{}\"|", label.replace('"', "#quot;")));
                let label = label.unwrap_or_default();
                writeln!(out, "  c{} {line}{label} c{}", arrow.from, arrow.to).ok();
            }
        }
        Format::Dot => {
            out.push_str("digraph flowstone {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
            for id in &drawn.components {
                let shape = match id.kind {
                    Kind::Source => "oval",
                    Kind::Transform => "box",
                    Kind::Sink => "cylinder",
                };
                writeln!(out, "  \"{0}\" [shape={shape}, label=\"{0}\\n{1}\"];", id.name, id.type_name).ok();
            }
            for arrow in &drawn.arrows {
                let (from, to) = (&drawn.components[arrow.from].name, &drawn.components[arrow.to].name);
                let style = if arrow.rejected { "dashed" } else { "solid" };
                // A name of an output may hold a quote; one of a component cannot.
                let label =
                    arrow.label.as_deref().unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"");
                writeln!(out, "  \"{from}\" -> \"{to}\" [style={style}, label=\"{label}\"];").ok();
            }
            out.push_str("}\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_and_outputs_are_drawn_in_both_languages() {
        let id = |name: &str, kind, type_name| ComponentId { name: name.into(), kind, type_name };
        let ids = [
            id("end", Kind::Source, "file"),
            id("by", Kind::Transform, "route"),
            id("es", Kind::Sink, "elasticsearch"),
        ];
        let arrow = |from, to, label: Option<&str>, rejected| Arrow {
            from,
            to,
            label: label.map(str::to_owned),
            rejected,
        };
        let arrows = vec![
            arrow(0, 1, None, false),
            arrow(1, 2, Some("a\"b"), false),
            arrow(1, 2, Some("rejected"), true),
        ];
        let drawn = Drawn { components: ids.iter().collect(), arrows };
        assert_eq!(
            drawing(&drawn, Format::Mermaid),
            "flowchart LR\n  c0([\"end<br><i>file</i>\"])\n  c1[\"by<br><i>route</i>\"]\n  c2[(\"es<br><i>elasticsearch</i>\")]\n  \
             c0 --> c1\n  c1 -->|\"a#quot;b\"| c2\n  c1 -.->|\"rejected\"| c2\n"
        );
        let dot = drawing(&drawn, Format::Dot);
        assert!(dot.contains("  \"by\" -> \"es\" [style=solid, label=\"a\\\"b\"];\n"), "{dot}");
        assert!(dot.contains("  \"end\" [shape=oval, label=\"end\\nfile\"];\n"), "{dot}");
        assert!(dot.contains("  \"by\" -> \"es\" [style=dashed, label=\"rejected\"];\n"), "{dot}");
    }
}
