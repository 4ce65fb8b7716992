//! `flowstone test`: the `[[tests]]` of a configuration.

use std::fmt::Write as _;

use crate::exit::Exit;
use crate::loading::{self, Configuration};
use crate::output;

/// Runs them all, and says of each failing one how what came out differs.
pub(crate) fn test(configuration: &Configuration) -> Exit {
    let loaded = configuration.load();
    loading::tell(&loaded);
    let Some(topology) = loaded.topology else {
        return if loaded.panicked { Exit::Bug } else { Exit::Configuration };
    };
    if loaded.tests.is_empty() {
        return output::print(&format!("{} has no `[[tests]]`\n", configuration.names()));
    }
    let reports = flowstone_engine::run_tests(topology, &loaded.tests);
    let mut out = String::new();
    for report in &reports {
        let word = if report.failures.is_empty() { "ok" } else { "FAILED" };
        writeln!(out, "{word}: {}", report.name).ok();
        for failure in &report.failures {
            writeln!(out, "  {}", failure.replace('\n', "\n  ")).ok();
        }
    }
    let failed = reports.iter().filter(|report| !report.failures.is_empty()).count();
    write!(out, "\n{} passed, {failed} failed\n", reports.len() - failed).ok();
    output::print_and(&out, if failed == 0 { Exit::Done } else { Exit::Failed })
}
