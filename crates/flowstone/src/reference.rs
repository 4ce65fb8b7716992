//! `flowstone explain`: the reference of what is linked, generated from the options' own definitions.

use flowstone_core::{nearest, plugins};

use crate::exit::Exit;
use crate::output;

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
        let advice = match nearest(type_name, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "`flowstone list` says what this build has".to_owned(),
        };
        output::complain(&format!("no plugin is called `{type_name}`; {advice}"));
        return Exit::Configuration;
    }
    output::print(&meant.join("\n"))
}
