//! People behind a phone on the command line: one at the terminal, and two that a script plays.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::typed_digits;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{say, show};
use crate::phone::{Ask, Decision, Person};

/// How often a file is looked at for a code.
const LOOK: Duration = Duration::from_millis(200);

/// The lines of an input; one prompt reads at a time.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Mutex<mpsc::Receiver<String>>>);

impl Lines {
    /// Standard input. A thread of its own reads it: a read cannot be called back, and the
    /// runtime would wait for it at the end.
    pub(super) fn stdin() -> Self {
        let (lines, read) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if lines.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Self::new(read)
    }

    pub(super) fn new(lines: mpsc::Receiver<String>) -> Self {
        Self(Arc::new(Mutex::new(lines)))
    }
}

/// Somebody who reads the prompt and types.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    lines: Lines,
    asks: bool,
}

impl Terminal {
    /// Shows every prompt and asks for every step.
    pub(super) fn asking(lines: Lines) -> Self {
        Self { lines, asks: true }
    }

    /// Takes each line for a code, and holds the card to whatever needs none.
    pub(super) fn silent(lines: Lines) -> Self {
        Self { lines, asks: false }
    }
}

/// What a typed line means; `None` if it means nothing here.
fn read(line: &str, code_length: u8) -> Option<Decision> {
    let word: String = line.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    match word.to_lowercase().as_str() {
        "n" | "no" => Some(Decision::Decline),
        "x" | "notme" => Some(Decision::NotMe),
        "" | "y" | "yes" if code_length == 0 => Some(Decision::HoldCard),
        _ if code_length > 0 => typed_digits::code(line).map(Decision::Code),
        _ => None,
    }
}

impl Person for Terminal {
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision> {
        let Self { lines: Lines(lines), asks } = self.clone();
        let code_length = ask.offer.code_length;
        if !asks && code_length == 0 {
            return Box::pin(std::future::ready(Decision::HoldCard));
        }
        Box::pin(async move {
            let mut lines = lines.lock().await;
            loop {
                if asks {
                    say(&show::question(&ask));
                }
                match lines.recv().await.map(|line| read(&line, code_length)) {
                    Some(Some(decision)) => return decision,
                    Some(None) => say("That was none of it."),
                    // Nobody is there any more.
                    None => return Decision::Ignore,
                }
            }
        })
    }
}

/// Types one code whenever a code is asked for, but not a second time after a refusal.
#[derive(Clone, Debug)]
pub(super) struct Types(Decision);

impl Types {
    pub(super) fn new(code: String) -> Self {
        Self(Decision::Code(code))
    }
}

impl Person for Types {
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision> {
        let decision = match ask {
            Ask { wrong_codes: 1.., .. } => Decision::Ignore,
            Ask { offer, .. } if offer.code_length == 0 => Decision::HoldCard,
            Ask { .. } => self.0.clone(),
        };
        Box::pin(std::future::ready(decision))
    }
}

/// Types the first line of a file, as soon as there is one.
#[derive(Clone, Debug)]
pub(super) struct FromFile(PathBuf);

impl FromFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Person for FromFile {
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision> {
        if ask.wrong_codes > 0 {
            return Box::pin(std::future::ready(Decision::Ignore));
        }
        if ask.offer.code_length == 0 {
            return Box::pin(std::future::ready(Decision::HoldCard));
        }
        let path = self.0.clone();
        Box::pin(async move {
            loop {
                let path = path.clone();
                let (read, text) = oneshot::channel();
                // A named pipe blocks until somebody writes, and the runtime would wait for it.
                std::thread::spawn(move || read.send(std::fs::read_to_string(path)));
                let text = text.await.ok().and_then(Result::ok).unwrap_or_default();
                match text.lines().next().map(str::trim) {
                    Some(code) if !code.is_empty() => return Decision::Code(code.to_owned()),
                    Some(_) | None => tokio::time::sleep(LOOK).await,
                }
            }
        })
    }
}
