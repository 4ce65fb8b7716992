//! The command line: what can be said, and who does it.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use flowstone_core::Kind;

use crate::exit::Exit;
use crate::loading::Configuration;
use crate::logging::{self, LogFormat};
use crate::{backfill, connect, diagram, output, reference, run, scaffold, scenarios};

/// VPC Flow Logs into Elasticsearch, and a stream processor made of plugins.
#[derive(Debug, Parser)]
#[command(name = "flowstone", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// How much to log: error, warn, info, debug, trace, or directives such as `info,flowstone_engine=debug`
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", env = "FLOWSTONE_LOG")]
    log_level: String,

    /// How log lines on standard error are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a topology until its sources end or a signal comes
    Run(Files),
    /// Read a stretch of the past once; the same command goes on where it was stopped
    Backfill {
        #[command(flatten)]
        files: Files,
        /// The time of the first events: RFC 3339, or a day (UTC)
        #[arg(long, value_name = "TIME", value_parser = backfill::parse_time)]
        from: i64,
        /// The time behind the last events
        #[arg(long, value_name = "TIME", value_parser = backfill::parse_time)]
        to: i64,
        /// The source to read, if there are several that have a past
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Say how many events there are, and what requests and time they take; read none
        #[arg(long)]
        dry_run: bool,
    },
    /// Check a configuration as `run` would, without running it
    Validate {
        #[command(flatten)]
        files: Files,
        /// Also reach for every server that a component needs
        #[arg(long)]
        connect: bool,
    },
    /// Run the `[[tests]]` of a configuration
    Test(Files),
    /// List the plugins in this build
    List,
    /// Explain a plugin's options, or `settings` for those outside of components
    Explain {
        /// The plugin, as in `type = `; without it, what there is to explain
        #[arg(value_name = "TYPE")]
        type_name: Option<String>,
    },
    /// Draw the topology
    Graph {
        #[command(flatten)]
        files: Files,
        /// The language of the drawing
        #[arg(long, default_value = "mermaid")]
        format: diagram::Format,
    },
    /// Write the completions of a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the skeleton of something new
    #[command(subcommand)]
    New(New),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct Files {
    /// A TOML file, a folder of them, or `-` for standard input; several are one configuration
    #[arg(short, long, required = true, value_name = "FILE")]
    config: Vec<PathBuf>,

    /// Where checkpoints are kept; counts instead of `data_dir` in the file
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum New {
    /// A plugin crate with its test, and a custom build of flowstone that carries it
    Plugin {
        /// Its name in `type = `, such as `shout`
        name: String,
        /// What kind of component it makes
        #[arg(long, default_value = "transform", value_parser = kinds())]
        kind: Kind,
        /// Where to put the crate's folder
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        path: PathBuf,
        /// A checkout of flowstone to build against; the default is the one this program was built from
        #[arg(long, value_name = "FOLDER")]
        flowstone: Option<PathBuf>,
    },
}

/// Does what the command line says.
pub(crate) fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            advise(&mut error);
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            error.print().ok();
            return if asked { Exit::Done } else { Exit::Configuration };
        }
    };
    if let Err(error) = logging::start(&cli.log_level, cli.log_format) {
        output::complain(&error);
        return Exit::Configuration;
    }
    match cli.command {
        Command::Run(files) => with(files, |configuration| run::run(configuration, cli.log_format)),
        Command::Backfill { files, from, to, source, dry_run } => {
            let request = backfill::Request { from_ms: from, to_ms: to, source, dry_run };
            with(files, |configuration| backfill::run(&configuration, &request))
        }
        Command::Validate { files, connect } => {
            with(files, |configuration| connect::validate(&configuration, connect))
        }
        Command::Test(files) => with(files, |configuration| scenarios::test(&configuration)),
        Command::Graph { files, format } => {
            with(files, |configuration| diagram::draw(&configuration, format))
        }
        Command::List => output::print(&flowstone_config::list_plugins()),
        Command::Explain { type_name } => reference::explain(type_name.as_deref()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flowstone", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
        Command::New(New::Plugin { name, kind, path, flowstone }) => {
            scaffold::plugin(&name, kind, &path, flowstone)
        }
    }
}

/// Tells who names a configuration without `-c` how to.
fn advise(error: &mut clap::Error) {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && argument.ends_with(".toml")
    {
        let advice = format!("name a configuration with `-c {argument}`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
}

/// Reads a kind of plugin.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    let kinds = [
        (Kind::Source, "Reads records"),
        (Kind::Transform, "Rewrites events"),
        (Kind::Sink, "Delivers events"),
    ];
    PossibleValuesParser::new(kinds.map(|(kind, help)| PossibleValue::new(kind.as_str()).help(help))).try_map(
        move |name| {
            kinds.map(|(kind, _)| kind).into_iter().find(|kind| kind.as_str() == name).ok_or("no kind")
        },
    )
}

fn with(files: Files, command: impl FnOnce(Configuration) -> Exit) -> Exit {
    match Configuration::new(&files.config, files.data_dir) {
        Ok(configuration) => command(configuration),
        Err(error) => {
            output::complain(&format!("cannot read the configuration from standard input: {error}"));
            Exit::Configuration
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
