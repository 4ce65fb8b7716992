//! The program with the standard plugins; everything is in the library.

fn main() -> std::process::ExitCode {
    flowstone::main()
}
