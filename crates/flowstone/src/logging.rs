//! Logs go to standard error: as text for people, or as one JSON object a line. Whatever is logged, known secrets are
//! left out, and a line is a line: what a terminal would obey is escaped.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use flowstone_core::shown::{printable, printable_json, scrub};
use indicatif::ProgressBar;
use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
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
    let layer = tracing_subscriber::fmt::layer();
    let started = match format {
        LogFormat::Text => {
            let layer = layer.with_writer(move || Stderr(format)).with_ansi(colour()).with_target(false);
            subscriber.with(layer.fmt_fields(debug_fn(write_field).delimited(" "))).try_init()
        }
        LogFormat::Json => {
            subscriber.with(layer.with_writer(move || Stderr(format)).json().flatten_event(true)).try_init()
        }
    };
    started.map_err(|error| format!("cannot start logging: {error}"))
}

/// A field of a line of text: its value has no second line and no command, however it was logged.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = printable(&value);
    match field.name() {
        "message" => out.write_str(&value),
        name if out.has_ansi_escapes() => write!(out, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        name => write!(out, "{name}={value}"),
    }
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

/// Standard error, which a progress bar may be drawn on. It is given whole lines.
struct Stderr(LogFormat);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let line = fit_line(&line, self.0);
        match DRAWN.get() {
            Some(bar) => bar.suspend(|| io::stderr().write_all(line.as_bytes()))?,
            None => io::stderr().write_all(line.as_bytes())?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line as it is written. Of a line of text the fields are escaped already, and the colours are ours; JSON escapes by
/// itself what is below U+0020.
fn fit_line(line: &str, format: LogFormat) -> Cow<'_, str> {
    let line = scrub(line);
    match format {
        LogFormat::Text => line,
        LogFormat::Json => Cow::Owned(printable_json(&line).into_owned()),
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
    use std::sync::{Arc, Mutex};

    use tracing::error;

    use super::*;

    /// What becomes of the lines that `log` logs.
    fn logged(format: LogFormat, ansi: bool, log: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).without_time();
        let registry = tracing_subscriber::registry();
        match format {
            LogFormat::Text => {
                let layer = layer.with_ansi(ansi).with_target(false);
                let layer = layer.fmt_fields(debug_fn(write_field).delimited(" "));
                tracing::subscriber::with_default(registry.with(layer), log);
            }
            LogFormat::Json => {
                tracing::subscriber::with_default(registry.with(layer.json().flatten_event(true)), log);
            }
        }
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        fit_line(&lines, format).into_owned()
    }

    /// A file's name, an action, a server's words: each logged in each way there is.
    fn log_hostile() {
        let name = "a\u{1b}]52;c;eA==\u{7}\n2026 ERROR forged\u{9b}2J\u{202e}\u{7f} hunter2-of-logs";
        let wrong = io::Error::other(name);
        error!(path = %name, text = name, debug = ?name, error = %wrong, dyn_error = &wrong as &dyn std::error::Error, "said {name}");
    }

    #[test]
    fn a_line_of_the_log_holds_no_command_and_no_secret_however_a_field_is_logged() {
        flowstone_core::shown::hide("hunter2-of-logs");
        for (format, ansi) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let mut lines = logged(format, ansi, log_hostile);
            assert_eq!(lines.pop(), Some('\n'));
            assert!(!lines.contains("hunter2"), "{lines:?}");
            assert_eq!(lines.matches("***").count(), 6, "{lines:?}");
            // Our own colours are all that is left.
            for colour in ["\x1b[0m", "\x1b[2m", "\x1b[3m", "\x1b[31m"] {
                assert!(ansi || !lines.contains(colour));
                lines = lines.replace(colour, "");
            }
            assert!(!lines.contains(flowstone_core::shown::is_command), "{lines:?}");
        }
    }

    #[test]
    fn a_line_without_anything_odd_is_as_it_was() {
        let log = || error!(component = "es", count = 3, reason = ?"x", detail = %"a b", "rows are refused");
        let line = logged(LogFormat::Text, false, log);
        assert_eq!(line, "ERROR rows are refused component=\"es\" count=3 reason=\"x\" detail=a b\n");
        let line = logged(LogFormat::Text, true, log);
        assert!(line.contains("rows are refused \x1b[3mcomponent\x1b[0m\x1b[2m=\x1b[0m\"es\" "), "{line:?}");
    }

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
