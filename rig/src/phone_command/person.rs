//! People behind a phone on the command line: one at the terminal, and two that a script plays.

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fido_relay_proto::device::Offer;
use fido_relay_proto::limits::CODE_DIGITS;
use fido_relay_proto::{CeremonyId, typed_digits};
use futures::future::BoxFuture;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::screen::Screen;
use super::show;
use crate::phone::{Ask, Decision, Person};

/// Between two numbers of the count.
const SECOND: Duration = Duration::from_secs(1);
/// How often a file is looked at for a code.
const LOOK: Duration = Duration::from_millis(200);

/// The lines of an input; one prompt reads at a time. `None` is the end.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: Arc<Mutex<mpsc::Receiver<Option<String>>>>,
    input: Input,
}

/// Whether more can be typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    /// The input has ended, and every line of it was read.
    ended: CancellationToken,
    /// A prompt waits for a line that cannot come.
    starved: CancellationToken,
}

impl Input {
    /// Waits until nothing more can be typed, and something should be: for a prompt, or, while no
    /// ceremony is under way, for the next one.
    pub(super) async fn closed(&self, idle: bool) {
        tokio::select! {
            () = self.starved.cancelled() => {}
            () = self.ended.cancelled(), if idle => {}
        }
    }
}

impl Lines {
    /// Standard input. A thread of its own reads it: a read cannot be called back, and the
    /// runtime would wait for it at the end. What a file or a pipe says waits for its prompt.
    /// What a person types while there is none is lost, so that it answers no later one.
    pub(super) fn stdin() -> Self {
        let (lines, queue) = mpsc::channel(1);
        let read = Self::new(queue);
        let ended = read.input.ended.clone();
        let is_person = std::io::stdin().is_terminal();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let gone = if is_person {
                    matches!(lines.try_send(Some(line)), Err(TrySendError::Closed(_)))
                } else {
                    lines.blocking_send(Some(line)).is_err()
                };
                if gone {
                    return;
                }
            }
            if is_person {
                ended.cancel();
            }
            // The queue holds one: once the end is in it, the last line has been taken out.
            if lines.blocking_send(None).is_ok() {
                ended.cancel();
            }
        });
        read
    }

    pub(super) fn new(queue: mpsc::Receiver<Option<String>>) -> Self {
        Self { queue: Arc::new(Mutex::new(queue)), input: Input::default() }
    }
}

/// Somebody who reads the prompt and types.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    lines: Lines,
    screen: Arc<Screen>,
    /// Whether it shows every prompt and asks for every step. If not, it takes each line for a
    /// code, and holds the card to whatever needs none.
    asks: bool,
    /// When the prompts that it has seen end: what is asked again has less time left than it came
    /// with.
    ends: Arc<std::sync::Mutex<HashMap<CeremonyId, Instant>>>,
    /// How many prompts wait for a line.
    asking: watch::Sender<usize>,
}

/// A prompt that waits for a line.
struct Asking(watch::Sender<usize>);

impl Asking {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// What a person types while no prompt asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// The code of a page.
    Code(String),
    /// That the prompts which were held back were not theirs.
    NotMe,
}

impl Terminal {
    pub(super) fn new(lines: Lines, screen: Arc<Screen>, asks: bool) -> Self {
        Self { lines, screen, asks, ends: Arc::default(), asking: watch::Sender::new(0) }
    }

    #[cfg(test)]
    pub(super) fn screen(&self) -> &Screen {
        &self.screen
    }

    pub(super) fn input(&self) -> Input {
        self.lines.input.clone()
    }

    /// What the person types while no prompt asks; `None` once nothing more can come. Off a terminal
    /// lines wait for their prompt.
    pub(super) async fn unasked(&self) -> Option<Unasked> {
        if !self.asks || !self.screen.is_terminal() {
            return None;
        }
        let mut asking = self.asking.subscribe();
        loop {
            asking.wait_for(|count| *count == 0).await.ok()?;
            let mut queue = self.lines.queue.lock().await;
            let line = tokio::select! {
                biased;
                _ = asking.wait_for(|count| *count > 0) => continue,
                line = queue.recv() => line.flatten()?,
            };
            match (read(&line, CODE_DIGITS), line.trim()) {
                (Some(Decision::Code(code)), _) => return Some(Unasked::Code(code)),
                (Some(Decision::NotMe), _) => return Some(Unasked::NotMe),
                (_, "") => {}
                (Some(Decision::Decline | Decision::HoldCard | Decision::Ignore) | None, _) => {
                    self.screen.say(show::NO_PROMPT);
                }
            }
        }
    }

    fn ends_at(&self, offer: &Offer) -> Instant {
        let now = Instant::now();
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|id, end| *end > now || *id == offer.ceremony_id);
        let end = now + Duration::from_secs(offer.expires_in);
        *ends.entry(offer.ceremony_id).or_insert(end)
    }

    /// One more line, with the time left counted down in front of it on a terminal.
    async fn line(
        &self,
        queue: &mut mpsc::Receiver<Option<String>>,
        end: Instant,
    ) -> Option<String> {
        let counting = self.asks.then(|| self.screen.counting(left(end)));
        loop {
            tokio::select! {
                line = queue.recv() => return line.flatten(),
                () = tokio::time::sleep(SECOND) => {
                    if let Some(counting) = &counting {
                        counting.show(left(end));
                    }
                }
            }
        }
    }
}

/// Whole seconds until then.
fn left(end: Instant) -> u64 {
    end.saturating_duration_since(Instant::now()).as_secs()
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
        let code_length = ask.offer.code_length;
        if !self.asks && code_length == 0 {
            return Box::pin(std::future::ready(Decision::HoldCard));
        }
        let (this, end) = (self.clone(), self.ends_at(&ask.offer));
        let asking = Asking::new(&self.asking);
        Box::pin(async move {
            let _asking = asking;
            let mut queue = this.lines.queue.lock().await;
            if this.screen.is_terminal() {
                // Typed before there was a question.
                while let Ok(Some(_)) = queue.try_recv() {}
            }
            if this.asks {
                let left = (!this.screen.is_terminal()).then(|| left(end));
                this.screen.say(&show::question(&ask, left));
            }
            loop {
                let Some(line) = this.line(&mut queue, end).await else {
                    this.lines.input.starved.cancel();
                    return Decision::Ignore;
                };
                match read(&line, code_length) {
                    Some(decision) => return decision,
                    None => this.screen.say(&show::not_understood(code_length)),
                }
            }
        })
    }
}

/// Types one code whenever a code is asked for, but not a second time into the same prompt, and
/// confirms what it finds.
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
            Ask { offer, .. } if offer.code_length == 0 => Decision::HoldCard,
            Ask { again: true, .. } => Decision::Ignore,
            Ask { .. } => self.0.clone(),
        };
        Box::pin(std::future::ready(decision))
    }
}

/// Types the first line of a file, as soon as there is one, and confirms what it finds.
#[derive(Clone, Debug)]
pub(super) struct FromFile(PathBuf);

impl FromFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Person for FromFile {
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision> {
        if ask.offer.code_length == 0 {
            return Box::pin(std::future::ready(Decision::HoldCard));
        }
        if ask.again {
            return Box::pin(std::future::ready(Decision::Ignore));
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
