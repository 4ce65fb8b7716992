//! Finding the place in a file that an option's dotted name means, so that a plugin can point at an option without
//! knowing where or how it was written.

use flowstone_core::{BuildError, Diagnostic, Node, NodeKind, Span, Table};

/// The value of a dotted name: `tls.ca_file`. A key that holds dots itself (`add_field."[a.b]"`) is found too.
pub(crate) fn node_of<'t>(table: &'t Table, name: &str) -> Option<&'t Node> {
    if let Some(node) = table.get(name) {
        return Some(node);
    }
    name.match_indices('.')
        .find_map(|(dot, _)| node_of(table.get(&name[..dot])?.as_table()?, &name[dot + 1..]))
}

/// Whether a place in a file is this value's or that of something within it.
pub(crate) fn holds(node: &Node, place: Span) -> bool {
    let span = node.span;
    let within = |span: Span| span.file == place.file && span.start <= place.start && place.end <= span.end;
    within(span)
        || match &node.kind {
            NodeKind::Array(items) => items.iter().any(|item| holds(item, place)),
            NodeKind::Table(table) => {
                within(table.span)
                    || table
                        .entries
                        .values()
                        .any(|entry| within(entry.key_span) || holds(&entry.value, place))
            }
            _ => false,
        }
}

/// A plugin's error about its options, at the option it is about; at the component's header if the file does not
/// set the option.
pub(crate) fn of_build_error(error: BuildError, table: &Table, header: Span, component: &str) -> Diagnostic {
    let node = node_of(table, &error.option);
    let node = node.map(|node| match (&node.kind, error.index) {
        (NodeKind::Array(items), Some(index)) => items.get(index).unwrap_or(node),
        _ => node,
    });
    let span = match (node, error.within) {
        (Some(node), Some((start, end))) => node.span_within(start, end),
        (Some(node), None) => node.span,
        (None, _) => header,
    };
    let message = if node.is_some() {
        error.message
    } else if error.option.is_empty() {
        format!("{component}: {}", error.message)
    } else {
        format!("option `{}` of {component}: {}", error.option, error.message)
    };
    let code = if error.file_is_missing { "missing-file" } else { "invalid-option" };
    Diagnostic { help: error.help, ..Diagnostic::error(code, message, span).label(error.label) }
}
