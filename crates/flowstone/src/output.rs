//! Standard output of the commands that print. A reader that goes away (`flowstone list | head -1`) has seen enough:
//! the command ends as if it had printed everything. Names and servers' words are in it: nothing a terminal would obey
//! is printed, and no known secret.

use std::io::{self, ErrorKind, Write};

use flowstone_core::shown::{printable_lines, scrub};

use crate::exit::Exit;

/// Prints `text` and ends.
pub(crate) fn print(text: &str) -> Exit {
    print_and(text, Exit::Done)
}

/// Prints `text` and ends as said.
pub(crate) fn print_and(text: &str, exit: Exit) -> Exit {
    let mut stdout = io::stdout().lock();
    let text = scrub(text);
    match stdout.write_all(printable_lines(&text).as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => exit,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::Failed
        }
    }
}

/// One line on standard error. Nothing can be done where even that fails.
pub(crate) fn complain(message: &str) {
    writeln!(io::stderr().lock(), "flowstone: {}", printable_lines(&scrub(message))).ok();
}
