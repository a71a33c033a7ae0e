//! The signals that stop a process, for commands that must clean up.

#[cfg(unix)]
use std::io::IsTerminal as _;

/// The signal that asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: Ctrl-C.
    Interrupt,
    Terminate,
    /// SIGHUP, when the terminal of the process was closed.
    Hangup,
}

impl Stop {
    /// The exit code of a process that this signal ended, as shells have it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 128 + 1,
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

/// Once made, none of these signals ends the process by itself. SIGHUP counts only if the terminal of
/// the process was closed.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    had_terminal: bool,
}

#[cfg(unix)]
impl Signals {
    /// # Errors
    /// If the operating system takes no handler.
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            had_terminal: std::io::stdin().is_terminal(),
        })
    }

    /// The next signal. Cancel safe.
    pub async fn next(&mut self) -> Stop {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Terminate,
                _ = self.interrupt.recv() => return Stop::Interrupt,
                _ = self.hangup.recv() => {
                    if self.had_terminal && !std::io::stdin().is_terminal() {
                        return Stop::Hangup;
                    }
                }
            }
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// # Errors
    /// If the operating system takes no handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub async fn next(&mut self) -> Stop {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Stop::Interrupt
    }
}
