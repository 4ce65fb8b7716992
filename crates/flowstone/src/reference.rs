//! `flowstone explain`: the reference of what is linked, generated from the options' own definitions.

use flowstone_core::{nearest, plugins};

use crate::exit::Exit;
use crate::output;
use crate::plugins::STANDARD_PLUGINS;

/// The name under which the options outside of components are explained.
const SETTINGS: &str = "settings";

/// Explains every plugin of this name (a source and a sink may share one), or lists what there is.
pub(crate) fn explain(type_name: Option<&str>) -> Exit {
    let Some(type_name) = type_name else {
        let more = format!(
            "`flowstone explain TYPE` explains one; `flowstone explain {SETTINGS}` what is outside of components\n"
        );
        return output::print(&(flowstone_config::list_plugins() + &more));
    };
    if type_name == SETTINGS {
        return output::print(&flowstone_config::explain_settings());
    }
    let linked = plugins();
    let meant: Vec<String> = linked
        .iter()
        .filter(|plugin| plugin.type_name == type_name)
        .map(|plugin| flowstone_config::explain_plugin(plugin))
        .collect();
    if meant.is_empty() {
        let names = linked.iter().map(|plugin| plugin.type_name).chain([SETTINGS]);
        let left_out = STANDARD_PLUGINS.iter().find(|plugin| plugin.type_name == type_name);
        output::complain(&match (left_out, nearest(type_name, names)) {
            (Some(plugin), _) => format!(
                "the {} `{type_name}` is not in this build; build flowstone with the cargo feature `{}`",
                plugin.kind, plugin.feature
            ),
            (None, Some(name)) => format!("no plugin is called `{type_name}`; did you mean `{name}`?"),
            (None, None) => {
                format!("no plugin is called `{type_name}`; `flowstone list` says what this build has")
            }
        });
        return Exit::Configuration;
    }
    output::print(&meant.join("\n"))
}
