//! flowstone as a program, in the form of a library: the commands, and the plugins that this build carries.
//!
//! A custom build is a crate that depends on this one and on plugins of its own, with a `main.rs` of two lines:
//!
//! ```ignore
//! use transform_shout as _;
//! fn main() -> std::process::ExitCode { flowstone::main() }
//! ```
//!
//! `flowstone new plugin` writes one. With `default-features = false` and a list of features it carries only the
//! standard plugins it names.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod backfill;
mod cli;
mod connect;
mod diagram;
mod exit;
mod loading;
mod lock;
mod logging;
mod output;
mod plugins;
mod reference;
mod run;
mod scaffold;
mod scenarios;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, catch_unwind, set_hook};
use std::path::Path;
use std::process::{ExitCode, Termination};

use crate::exit::Exit;

pub use flowstone_config as config;
pub use flowstone_core as core;
pub use flowstone_dialect as dialect;
pub use flowstone_engine as engine;
pub use plugins::STANDARD_PLUGINS;

/// Runs the command line: all of flowstone, with whatever plugins are linked.
pub fn main() -> ExitCode {
    install_crypto();
    if let Err(error) = engine::survive_file_size_limit() {
        output::complain(&format!("cannot listen to signals: {error}"));
        return Exit::Failed.report();
    }
    // A panic's message may quote a record.
    set_hook(Box::new(|panic| output::complain(&describe(panic))));
    catch_unwind(cli::run).unwrap_or(Exit::Bug).report()
}

/// Where a thread panicked and why; how it came there if `RUST_BACKTRACE` asks for it.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let mut told = format!("thread `{}` {panic}", thread.name().unwrap_or("unnamed"));
    if backtrace.status() == BacktraceStatus::Captured {
        told += &format!("\n{backtrace}");
    }
    told
}

/// Makes ring the cryptography of every TLS connection. [`main`] does it first thing; a program that uses
/// [`load_topology`] and the engine by itself does it before either.
pub fn install_crypto() {
    // An error means that it was installed before.
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// Loads the configuration in `path` with the environment's variables: what `flowstone run` runs.
///
/// # Errors
/// Everything that is wrong with it, as people read it.
pub fn load_topology(path: &Path) -> Result<config::Topology, String> {
    let configuration =
        loading::Configuration::new(&[path.to_owned()], None).map_err(|error| error.to_string())?;
    let loaded = configuration.load();
    let rendered = loaded.render(false);
    loaded.topology.ok_or(rendered)
}
