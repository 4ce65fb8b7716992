//! Logs go to standard error: as text for people, or as one JSON object a line.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use indicatif::ProgressBar;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging. `level` is a level or directives (`info,flowstone_engine=debug`).
pub(crate) fn start(level: &str, format: LogFormat) -> Result<(), String> {
    let subscriber = tracing_subscriber::registry().with(filter(level)?).with(filter_fn(keeps_secrets));
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Stderr);
    let started = match format {
        LogFormat::Text => subscriber.with(layer.with_ansi(colour()).with_target(false)).try_init(),
        LogFormat::Json => subscriber.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| format!("cannot start logging: {error}"))
}

/// AWS's SDK writes whole requests at `debug` and `trace`, session tokens and signatures among their headers. Whatever
/// level is asked for, those are not logged.
fn keeps_secrets(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("aws_") || *metadata.level() <= Level::INFO
}

/// From now on lines are written above this bar instead of through it.
pub(crate) fn draw_above(bar: &ProgressBar) {
    DRAWN.set(bar.clone()).ok();
}

static DRAWN: OnceLock<ProgressBar> = OnceLock::new();

/// Standard error, which a progress bar may be drawn on.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match DRAWN.get() {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let refused = |problem: &str| {
        format!(
            "`--log-level {level}`: {problem}; expected off, error, warn, info, debug, trace or directives such as `info,flowstone_engine=debug`"
        )
    };
    // A word alone could also be a module's name, all of whose events are meant and nobody else's: `--log-level loud`
    // would be silence.
    for word in level.split(',').filter(|word| !word.contains(['=', '[', ':'])) {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(refused(&format!("`{word}` is no level")));
        }
    }
    EnvFilter::builder().parse(level).map_err(|error| refused(&error.to_string()))
}

/// Whether standard error shows colours: on a terminal, unless `NO_COLOR` (no-color.org) is set.
pub(crate) fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_instead_of_meaning_silence() {
        for level in ["info", "WARN", "off", "info,flowstone_engine=debug", "warn,source_file::tail=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["loud", "info,loud", "", "info,flowstone=loud"] {
            let refused = filter(level).unwrap_err();
            assert!(refused.contains("expected off, error"), "{refused}");
        }
    }
}
