//! What the phone prints: lines, and on a terminal a count of the seconds left, in front of what the
//! person types.

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Standard output, or a test's.
pub(super) struct Screen {
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The seconds in the line that the cursor is in.
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
        Arc::new(Self { terminal, state: Mutex::new(State { out, counting: None }) })
    }

    /// Whether lines can be redrawn.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints lines, above the count where there is one.
    pub(super) fn say(&self, lines: &str) {
        self.with(|state| match state.counting {
            Some(left) => format!("\r\x1b[K{lines}\n{}", count(left)),
            None => format!("{lines}\n"),
        });
    }

    /// Counts down from these seconds until what is given is dropped. Off a terminal it shows
    /// nothing.
    pub(super) fn counting(self: &Arc<Self>, left: u64) -> Counting {
        if self.terminal {
            self.with(|state| {
                state.counting = Some(left);
                count(left)
            });
        }
        Counting(Arc::clone(self))
    }

    /// A terminal that is gone stops nothing.
    fn with(&self, text: impl FnOnce(&mut State) -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text(&mut state);
        let _ = state.out.write_all(text.as_bytes()).and_then(|()| state.out.flush());
    }
}

/// A count that is on the screen.
#[derive(Debug)]
pub(super) struct Counting(Arc<Screen>);

impl Counting {
    /// Shows another number in the same place; what the person has typed behind it stays.
    pub(super) fn show(&self, left: u64) {
        if self.0.terminal {
            self.0.with(|state| {
                state.counting = Some(left);
                format!("\x1b7\r{}\x1b8", count(left))
            });
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if self.0.terminal {
            self.0.with(|state| {
                state.counting = None;
                "\r\x1b[K".to_owned()
            });
        }
    }
}

/// As wide for every number: what follows must not move.
fn count(left: u64) -> String {
    format!("{left:>4} s left > ")
}
