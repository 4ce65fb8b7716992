//! The signals that a run listens to.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What somebody wants of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
}

/// From now on a write beyond `ulimit -f` fails with an error, which is reported like that of a full disk; before, it
/// ends the process without a word.
///
/// # Errors
/// When no signal can be listened to.
pub fn survive_file_size_limit() -> io::Result<()> {
    // The same number on Linux, the BSDs and macOS; on MIPS it is SIGCONT, where being told changes nothing.
    const SIGXFSZ: SignalKind = SignalKind::from_raw(25);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    // What listens may go: the signal is caught for as long as the process lives.
    signal(SIGXFSZ).map(drop)
}

/// The streams of signals.
pub(crate) struct Signals {
    unix: Option<Unix>,
    stop: Option<watch::Receiver<bool>>,
}

struct Unix {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

// === impl Signals ===

impl Signals {
    pub(crate) fn new(listen: bool, stop: Option<watch::Receiver<bool>>) -> io::Result<Self> {
        let unix = if listen {
            Some(Unix {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                reload: signal(SignalKind::hangup())?,
            })
        } else {
            None
        };
        Ok(Self { unix, stop })
    }

    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        let Self { unix, stop } = self;
        let asked = async {
            match stop {
                Some(receiver) => {
                    let asked = receiver.wait_for(|stop| *stop).await.is_ok();
                    // Once is enough; a sender that is gone asks for nothing any more.
                    *stop = None;
                    if !asked {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        let signalled = async {
            match unix {
                Some(unix) => tokio::select! {
                    _ = unix.terminate.recv() => Signal::Terminate,
                    _ = unix.interrupt.recv() => Signal::Terminate,
                    _ = unix.reload.recv() => Signal::Reload,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asked => Signal::Terminate,
            signal = signalled => signal,
        }
    }
}
