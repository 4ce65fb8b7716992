//! `flowstone validate`: everything that `run` checks before it runs, and with `--connect` a probe of each component's
//! server.

use std::time::Duration;

use flowstone_config::Topology;
use flowstone_core::ComponentId;
use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::exit::Exit;
use crate::loading::{self, Configuration};
use crate::output;

/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks the configuration, and says what it is made of when nothing is wrong.
pub(crate) fn validate(configuration: &Configuration, connect: bool) -> Exit {
    let mut loaded = configuration.load();
    loading::tell(&loaded);
    let Some(topology) = &mut loaded.topology else {
        return if loaded.panicked { Exit::Bug } else { Exit::Configuration };
    };
    let counted = [
        (topology.sources.len(), "source"),
        (topology.transforms.len(), "transform"),
        (topology.sinks.len(), "sink"),
        (loaded.tests.len(), "test"),
    ];
    let counted =
        counted.map(|(number, word)| format!("{number} {word}{}", if number == 1 { "" } else { "s" }));
    let summary = format!("{} is valid: {}\n", configuration.names(), counted.join(", "));
    if !connect {
        return output::print(&summary);
    }
    let (report, all_reached) = match reach(topology) {
        Ok(reached) => reached,
        Err(error) => {
            output::complain(&format!("cannot start what probes need: {error}"));
            return Exit::Failed;
        }
    };
    output::print_and(&(summary + &report), if all_reached { Exit::Done } else { Exit::Failed })
}

/// Probes all components at once, and says of each what it found.
fn reach(topology: &mut Topology) -> std::io::Result<(String, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sources = topology.sources.iter_mut().map(|node| probe(&node.id, node.source.probe()));
    let sinks = topology.sinks.iter().map(|node| probe(&node.id, node.sink.probe()));
    let probes: Vec<BoxFuture<'_, (String, bool)>> = sources.chain(sinks).collect();
    let found = runtime.block_on(join_all(probes));
    // A look-up of a name may still hang in a thread of its own.
    runtime.shutdown_background();
    let report = found.iter().map(|(line, _)| line.as_str()).collect();
    Ok((report, found.iter().all(|(_, reached)| *reached)))
}

fn probe<'a>(id: &'a ComponentId, probe: BoxFuture<'a, Result<(), String>>) -> BoxFuture<'a, (String, bool)> {
    async move {
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(())) => (format!("{id}: reached\n"), true),
            Ok(Err(problem)) => (format!("{id}: {problem}\n"), false),
            Err(_) => (format!("{id}: no answer within {} seconds\n", PROBE_TIMEOUT.as_secs()), false),
        }
    }
    .boxed()
}
