//! The date in the name of an index or a file: a warning where it can depend on when a record was read, and where it
//! makes a new one every minute. After a crash around midnight a record that is dated by its reading would be read again
//! into the next day's index, where its id is unknown: a second document.

use flowstone_core::{Diagnostic, Diagnostics, Kind, Node, Table};
use flowstone_dialect::Template;

use crate::components::{BuiltComponent, Component};
use crate::graph::Link;
use crate::topology::Output;

/// Warns about each sink whose `index` holds a date and that some event reaches which nothing dated.
///
/// The option's name decides which sinks are meant: a file's name may change with the day as well, but a file does
/// not recognise a record by its id anyway, and promises at least once.
pub(crate) fn check(root: &Table, components: &[Component], links: &[Link], diagnostics: &mut Diagnostics) {
    let dates = |number: usize| {
        components[number].built.as_ref().is_some_and(|built| is_dated_by(built, &components[number]))
    };
    // Ports that carry events which nothing dated: found by going on from the sources until nothing is added.
    let mut undated: Vec<bool> = vec![false; components.len()];
    let mut undated_in: Vec<bool> =
        components.iter().map(|component| component.kind == Kind::Source).collect();
    loop {
        let before = (undated.clone(), undated_in.clone());
        for number in 0..components.len() {
            undated[number] = undated_in[number] && !dates(number);
        }
        for link in links {
            // A rejected event is the event as it came: not dated by who rejected it.
            let carries = if link.port.output == Output::Rejected { &undated_in } else { &undated };
            undated_in[link.reader] |= carries[link.from];
        }
        if before == (undated.clone(), undated_in.clone()) {
            break;
        }
    }
    for (number, component) in components.iter().enumerate() {
        if component.kind == Kind::Sink
            && undated_in[number]
            && let Some(index) = dated_index(root, &component.name)
        {
            let message =
                format!("the index of sink `{}` can depend on when a record was read", component.name);
            diagnostics.push(
                Diagnostic::warning("index-by-reading-time", message, index.span)
                    .label("read again after midnight, a record would be a second document")
                    .help("take `@timestamp` from the record on every way to this sink: `vpcflow`, or `date` without `when`"),
            );
        }
    }
}

/// Warns about each sink that makes a new index or file every minute. Beside a letter that is told already it says
/// nothing: minutes were hardly meant then.
pub(crate) fn check_pace(root: &Table, diagnostics: &mut Diagnostics) {
    let sinks = root.get("sinks").and_then(Node::as_table).map(|sinks| &sinks.entries);
    for (name, entry) in sinks.into_iter().flatten() {
        for (option, what) in [("index", "index"), ("path", "file")] {
            let Some(node) = entry.value.as_table().and_then(|sink| sink.get(option)) else { continue };
            let Some(text) = node.as_str() else { continue };
            let Ok(template) = Template::parse(text) else { continue };
            if template.has_minutes() && Template::warnings(text).is_empty() {
                let message = format!("sink `{name}` makes a new {what} every minute or more often");
                diagnostics.push(
                    Diagnostic::warning("new-every-minute", message, node.span)
                        .label("expected days, or hours (`HH`) at the finest"),
                );
            }
        }
    }
}

fn is_dated_by(built: &BuiltComponent, component: &Component) -> bool {
    match built {
        BuiltComponent::Source(source) => source.traits().dates,
        BuiltComponent::Transform(transform) => transform.dates() && component.when.is_none(),
        BuiltComponent::Sink(_) => false,
    }
}

fn dated_index<'t>(root: &'t Table, sink: &str) -> Option<&'t Node> {
    let index = root.get("sinks")?.as_table()?.get(sink)?.as_table()?.get("index")?;
    index.as_str().is_some_and(|text| text.contains("%{+")).then_some(index)
}
