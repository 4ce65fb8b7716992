//! Several files as one configuration: tables are joined, and what two files both say is an error that names both
//! places, since neither order nor silence would tell the reader which of them counts.

use flowstone_core::{Diagnostic, Diagnostics, Entry, NodeKind, Table};
use indexmap::map;

use crate::components::SECTIONS;

/// Joins the trees of all files.
pub(crate) fn merge(tables: impl IntoIterator<Item = Table>, diagnostics: &mut Diagnostics) -> Table {
    let mut tables = tables.into_iter();
    let mut merged = tables.next().unwrap_or_default();
    for table in tables {
        for (key, entry) in table.entries {
            match merged.entries.entry(key) {
                map::Entry::Vacant(vacant) => {
                    vacant.insert(entry);
                }
                map::Entry::Occupied(mut known) => {
                    let key = known.key().clone();
                    join(&key, known.get_mut(), entry, diagnostics);
                }
            }
        }
    }
    merged
}

/// Joins two values of the same top-level key.
fn join(key: &str, known: &mut Entry, new: Entry, diagnostics: &mut Diagnostics) {
    match (&mut known.value.kind, new.value.kind) {
        (NodeKind::Array(tests), NodeKind::Array(more)) if key == "tests" => tests.extend(more),
        (NodeKind::Table(table), NodeKind::Table(more)) => {
            for (name, entry) in more.entries {
                match table.entries.entry(name) {
                    map::Entry::Vacant(vacant) => {
                        vacant.insert(entry);
                    }
                    map::Entry::Occupied(known) => {
                        diagnostics.push(twice(&describe(key, known.key()), &entry, known.get()));
                    }
                }
            }
        }
        (_, kind) => {
            let new = Entry { value: flowstone_core::Node { kind, ..new.value }, ..new };
            diagnostics.push(twice(&format!("`{key}`"), &new, known));
        }
    }
}

fn twice(what: &str, second: &Entry, first: &Entry) -> Diagnostic {
    Diagnostic::error("defined-twice", format!("{what} is defined in two places"), second.key_span)
        .label("defined again here")
        .also(first.key_span, "first defined here")
        .help("keep one of them, or give the second another name")
}

fn describe(section: &str, name: &str) -> String {
    match SECTIONS.iter().find(|(known, _)| *known == section) {
        Some((_, kind)) => format!("{kind} `{name}`"),
        None => format!("`{section}.{name}`"),
    }
}
