//! Persons of the command line: one at the terminal, and two for scripts.

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
use crate::phone::{Decision, Person, PromptRequest};

const SECOND: Duration = Duration::from_secs(1);
/// Interval at which a file is read for a code.
const LOOK: Duration = Duration::from_millis(200);

/// The lines of an input, read by one prompt at a time; `None` is the end.
#[derive(Clone, Debug)]
pub(super) struct InputLines {
    queue: Arc<Mutex<mpsc::Receiver<Option<String>>>>,
    input: InputState,
}

/// Whether the input has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct InputState {
    /// The input has ended and all of its lines were read.
    ended: CancellationToken,
    /// A prompt waits for a line after the end.
    starved: CancellationToken,
}

impl InputState {
    /// Waits until the input has ended and more of it is needed: by a prompt, or, if `idle`, by the
    /// next ceremony.
    pub(super) async fn closed(&self, idle: bool) {
        tokio::select! {
            () = self.starved.cancelled() => {}
            () = self.ended.cancelled(), if idle => {}
        }
    }
}

impl InputLines {
    /// Standard input, read by a thread of its own: a read cannot be cancelled, and the runtime would
    /// wait for it at shutdown. Lines of a file or pipe wait for their prompt; a line of a terminal
    /// without one is dropped, so that it answers no later one.
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
            // The queue holds one: once it holds the end, the last line has been read.
            if lines.blocking_send(None).is_ok() {
                ended.cancel();
            }
        });
        read
    }

    pub(super) fn new(queue: mpsc::Receiver<Option<String>>) -> Self {
        Self { queue: Arc::new(Mutex::new(queue)), input: InputState::default() }
    }
}

/// A person at standard input.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    lines: InputLines,
    screen: Arc<Screen>,
    /// Whether every prompt is shown and every step is asked for. Otherwise each line is a code, and
    /// prompts that need none are agreed to.
    asks: bool,
    /// When known prompts end: a prompt that is repeated has less time left than its offer says.
    ends: Arc<std::sync::Mutex<HashMap<CeremonyId, Instant>>>,
    /// Prompts that wait for a line.
    asking: watch::Sender<usize>,
}

/// Counts a prompt that waits for a line until it is dropped.
struct PendingQuestion(watch::Sender<usize>);

impl PendingQuestion {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for PendingQuestion {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Input without a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnpromptedInput {
    Code(String),
    /// About the prompts that were held back.
    NotMe,
}

impl Terminal {
    pub(super) fn new(lines: InputLines, screen: Arc<Screen>, asks: bool) -> Self {
        Self { lines, screen, asks, ends: Arc::default(), asking: watch::Sender::new(0) }
    }

    #[cfg(test)]
    pub(super) fn screen(&self) -> &Screen {
        &self.screen
    }

    pub(super) fn input(&self) -> InputState {
        self.lines.input.clone()
    }

    /// The next input without a prompt; `None` at the end, and where the input is no terminal, as its
    /// lines wait for their prompt.
    pub(super) async fn unprompted(&self) -> Option<UnpromptedInput> {
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
                (Some(Decision::Code(code)), _) => return Some(UnpromptedInput::Code(code)),
                (Some(Decision::NotMe), _) => return Some(UnpromptedInput::NotMe),
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

    /// One more line; on a terminal with a countdown in front of it.
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

fn left(end: Instant) -> u64 {
    end.saturating_duration_since(Instant::now()).as_secs()
}

/// The decision of a typed line; `None` if it is not understood.
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
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision> {
        let code_length = ask.offer.code_length;
        if !self.asks && code_length == 0 {
            return Box::pin(std::future::ready(Decision::HoldCard));
        }
        let (this, end) = (self.clone(), self.ends_at(&ask.offer));
        let asking = PendingQuestion::new(&self.asking);
        Box::pin(async move {
            let _asking = asking;
            let mut queue = this.lines.queue.lock().await;
            if this.screen.is_terminal() {
                // Typed before the question.
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

/// Types one code into every prompt, once each, and confirms what it finds.
#[derive(Clone, Debug)]
pub(super) struct FixedCode(Decision);

impl FixedCode {
    pub(super) fn new(code: String) -> Self {
        Self(Decision::Code(code))
    }
}

impl Person for FixedCode {
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision> {
        let decision = match ask {
            PromptRequest { offer, .. } if offer.code_length == 0 => Decision::HoldCard,
            PromptRequest { again: true, .. } => Decision::Ignore,
            PromptRequest { .. } => self.0.clone(),
        };
        Box::pin(std::future::ready(decision))
    }
}

/// Types the first line of a file as soon as there is one, and confirms what it finds.
#[derive(Clone, Debug)]
pub(super) struct CodeFile(PathBuf);

impl CodeFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Person for CodeFile {
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision> {
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
                // A thread of its own: a named pipe blocks until it is written to, and the runtime
                // would wait for it.
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
