//! How a command ends, in one place.

use std::process::{ExitCode, Termination};

/// How a command ended; the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done = 0,
    /// Not everything could be done: undelivered data remains (it will be read again), a test failed, a server was
    /// not reached.
    Failed = 1,
    /// A bug of flowstone's or of a plugin's (`EX_SOFTWARE` of sysexits.h).
    Bug = 70,
    /// The configuration or the command line is wrong; the same again would not help (`EX_CONFIG` of sysexits.h).
    Configuration = 78,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
