//! flowstone with plugins of one's own: name them, and run.

use example_shout as _;
use example_ticks as _;
use example_wire as _;
fn main() -> std::process::ExitCode {
    flowstone::main()
}
