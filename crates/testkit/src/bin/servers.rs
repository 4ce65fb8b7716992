//! `flowstone-servers`: prepares and runs the servers of the tests, for CI and by hand.

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Instant;

use flowstone_testkit::servers::{self, ServerSpec};

const USAGE: &str = "\
usage: flowstone-servers list                             the servers that there are
       flowstone-servers prepare [NAME ..]                download and lay out these, or all but es717
       flowstone-servers run NAME PORT [setting=value ..] run one on 127.0.0.1:PORT until standard input closes";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) =
        args.split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    let done = match command {
        "list" => list(),
        "prepare" => prepare(rest),
        "run" => run(rest),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(code) => code,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn list() -> Result<ExitCode, String> {
    for spec in usual() {
        say(&format!("{spec}, {}", spec.needs));
    }
    Ok(ExitCode::SUCCESS)
}

/// The servers of the tests that CI runs.
fn usual() -> impl Iterator<Item = &'static ServerSpec> {
    servers::all().iter().chain([servers::moto()])
}

fn prepare(names: &[String]) -> Result<ExitCode, String> {
    let specs: Vec<&ServerSpec> = match names {
        [] => usual().collect(),
        names => names.iter().map(|name| known(name)).collect::<Result<_, _>>()?,
    };
    let mut code = ExitCode::SUCCESS;
    for spec in specs {
        let begin = Instant::now();
        match servers::available(spec) {
            Ok(_) => say(&format!("{spec} is ready ({:.1} s)", begin.elapsed().as_secs_f32())),
            Err(missing) => {
                say(&missing.to_string());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn run(args: &[String]) -> Result<ExitCode, String> {
    let [name, port, settings @ ..] = args else { return Err(USAGE.to_owned()) };
    let port = port.parse().map_err(|_| format!("expected a port, got {port}"))?;
    let installed = servers::available(known(name)?).map_err(|missing| missing.to_string())?;
    let status = installed.run(port, settings).map_err(|e| e.to_string())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn known(name: &str) -> Result<&'static ServerSpec, String> {
    servers::by_name(name)
        .ok_or_else(|| format!("no server is called {name}; there are es6 es7 es717 es8 es9 moto os2 os3"))
}

fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}
