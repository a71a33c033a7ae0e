//! The phone's output: lines, and on a terminal a countdown in front of the person's input.

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Standard output, or a test's buffer.
pub(super) struct Screen {
    terminal: bool,
    state: Mutex<ScreenState>,
}

struct ScreenState {
    out: Box<dyn Write + Send>,
    /// The countdown in the cursor's line.
    counting: Option<u64>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Screen {
    pub(super) fn stdout() -> Arc<Self> {
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        Self::on(Box::new(std::io::stdout()), terminal)
    }

    pub(super) fn on(out: Box<dyn Write + Send>, terminal: bool) -> Arc<Self> {
        Arc::new(Self { terminal, state: Mutex::new(ScreenState { out, counting: None }) })
    }

    /// Whether lines can be redrawn and input is typed.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints lines, above a countdown.
    pub(super) fn say(&self, lines: &str) {
        self.with(|state| match state.counting {
            Some(left) => format!("\r\x1b[K{lines}\n{}", count(left)),
            None => format!("{lines}\n"),
        });
    }

    /// Shows a countdown until the guard is dropped; nothing where this is no terminal.
    pub(super) fn counting(self: &Arc<Self>, left: u64) -> Countdown {
        if self.terminal {
            self.with(|state| {
                state.counting = Some(left);
                count(left)
            });
        }
        Countdown(Arc::clone(self))
    }

    /// A failed write is ignored: the phone goes on without its terminal.
    fn with(&self, text: impl FnOnce(&mut ScreenState) -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text(&mut state);
        let _ = state.out.write_all(text.as_bytes()).and_then(|()| state.out.flush());
    }
}

/// A countdown on the screen.
#[derive(Debug)]
pub(super) struct Countdown(Arc<Screen>);

impl Countdown {
    /// Updates the number in place and keeps the typed text after it.
    pub(super) fn show(&self, left: u64) {
        if self.0.terminal {
            self.0.with(|state| {
                state.counting = Some(left);
                format!("\x1b7\r{}\x1b8", count(left))
            });
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        if self.0.terminal {
            self.0.with(|state| {
                state.counting = None;
                "\r\x1b[K".to_owned()
            });
        }
    }
}

/// Of constant width, so that what follows does not move.
fn count(left: u64) -> String {
    format!("{left:>4} s left > ")
}
