//! Standard output of the commands that print. A reader that goes away (`flowstone list | head -1`) has seen enough:
//! the command ends as if it had printed everything.

use std::io::{self, ErrorKind, Write};

use crate::exit::Exit;

/// Prints `text` and ends.
pub(crate) fn print(text: &str) -> Exit {
    print_and(text, Exit::Done)
}

/// Prints `text` and ends as said.
pub(crate) fn print_and(text: &str, exit: Exit) -> Exit {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
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
    writeln!(io::stderr().lock(), "flowstone: {message}").ok();
}
