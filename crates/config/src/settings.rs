//! The options that belong to no component: `data_dir`, `memory`, `workers`, `[batch]`, `[metrics]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use flowstone_core::{ByteSize, Diagnostics, Node, OptionType, Table, options};

use crate::topology::Settings;

options! {
    /// The top level of a configuration.
    pub(crate) struct TopLevel {
        /// Where checkpoints, and rejected events that nothing reads, are kept. Made and locked only when some
        /// component keeps state there; `--data-dir` overrides it.
        data_dir: PathBuf = "./flowstone-data".into(),
        /// The budget for events in flight: nothing is read while so many bytes wait to be delivered.
        memory: ByteSize = ByteSize(12 << 20),
        /// Events that a destination does not take (a closed index, one whose shards are away) while others go on wait in
        /// memory, up to a quarter of `memory`, and then in `<data_dir>/waiting/SINK.log`: at most this much for each sink.
        /// With the file full the sink takes no more events until some of them are taken.
        waiting_max: BoundedSize<1_048_576, 1_125_899_906_842_624> = BoundedSize(ByteSize(1 << 30)),
        /// CPU threads for transforms and encoding. Unset: as many as the machine has cores.
        workers: Option<Bounded<1, 1024>> = None,
        /// How long a stop or a reload may take to deliver what is in flight; what is left then is read again. Kubernetes
        /// gives 30 s by default, and a component that does not answer takes two more.
        shutdown_timeout: Duration = Duration::from_secs(25),
        /// How many events travel together.
        batch: BatchOptions = BatchOptions::defaults(),
        /// Prometheus metrics and health.
        metrics: MetricsOptions = MetricsOptions::defaults(),
    }
}

options! {
    /// How many events travel together.
    pub(crate) struct BatchOptions {
        /// At most this many events in a batch.
        max_rows: Bounded<1, 1_048_576> = Bounded(4096),
        /// At most about this many bytes of text in a batch.
        max_bytes: BoundedSize<1024, 67_108_864> = BoundedSize(ByteSize(1 << 20)),
    }
}

options! {
    /// Prometheus metrics and health.
    pub(crate) struct MetricsOptions {
        /// Where `/metrics`, `/healthz` and `/readyz` are served, such as `"127.0.0.1:9598"`. Unset: nowhere.
        listen: Option<ListenAddress> = None,
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress(SocketAddr);

impl OptionType for ListenAddress {
    const TYPE: &'static str = "address";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str = "an IP address and a port such as \"127.0.0.1:9598\" or \"[::]:9598\"";
        let text = String::read(node, diagnostics)?;
        let address = text.parse().ok().map(Self);
        if address.is_none() {
            node.invalid(
                format!("{text:?} is no address to listen on"),
                format!("expected {EXPECTED}"),
                diagnostics,
            );
        }
        address
    }

    fn show(&self) -> String {
        self.0.to_string().show()
    }
}

/// A number within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounded<const MIN: usize, const MAX: usize>(usize);

impl<const MIN: usize, const MAX: usize> OptionType for Bounded<MIN, MAX> {
    const TYPE: &'static str = "integer";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let number = usize::read(node, diagnostics)?;
        if !(MIN..=MAX).contains(&number) {
            node.invalid(
                format!("{number} is out of range"),
                format!("expected {MIN} to {MAX}"),
                diagnostics,
            );
            return None;
        }
        Some(Self(number))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// A size within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoundedSize<const MIN: u64, const MAX: u64>(ByteSize);

impl<const MIN: u64, const MAX: u64> OptionType for BoundedSize<MIN, MAX> {
    const TYPE: &'static str = ByteSize::TYPE;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let size = ByteSize::read(node, diagnostics)?;
        if !(MIN..=MAX).contains(&size.0) {
            let expected = format!("expected {} to {}", ByteSize(MIN).show(), ByteSize(MAX).show());
            node.invalid(format!("{} is out of range", size.show()), expected, diagnostics);
            return None;
        }
        Some(Self(size))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// Reads and checks the top level. `data_dir` counts instead of the file's.
pub(crate) fn read(
    root: &Table,
    data_dir: Option<PathBuf>,
    diagnostics: &mut Diagnostics,
) -> Option<Settings> {
    let options = TopLevel::read(root, diagnostics)?;
    let (memory, batch) = (options.memory, options.batch.max_bytes.0);
    let least = ByteSize((4 * batch.0).max(1 << 20));
    if memory < least {
        // One of them is set in the file: the defaults go together.
        let node = root.get("memory").or_else(|| crate::place::node_of(root, "batch.max_bytes"))?;
        node.invalid(
            format!("`memory` of {} does not hold four batches of {}", memory.show(), batch.show()),
            format!("expected a `memory` of at least {}", least.show()),
            diagnostics,
        );
        return None;
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Some(Settings {
        data_dir: data_dir.unwrap_or(options.data_dir),
        memory: memory.as_usize(),
        waiting_max: options.waiting_max.0.0,
        workers: options.workers.map_or_else(cores, |workers| workers.0),
        batch_rows: options.batch.max_rows.0,
        batch_bytes: batch.as_usize(),
        shutdown_timeout: options.shutdown_timeout,
        metrics_listen: options.metrics.listen.map(|address| address.0),
    })
}
