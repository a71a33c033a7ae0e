//! Prints the events of one phone and ends it: on a signal, after one ceremony, or when standard input
//! is closed and no code can come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_kit::signals::Signals;
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::{CeremonyId, Outcome};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::person::InputState;
use super::screen::Screen;
use super::show;
use crate::command::Failure;
use crate::phone::{PhoneEvent, StopReason};

/// Exit code of `--once` for a ceremony that ended without success.
const NOT_SUCCEEDED: u8 = 3;
/// Exit code of `--once` for a ceremony whose outcome is not known.
const NOT_KNOWN: u8 = 4;

/// How long a connected phone has no prompt before a hint is printed, once.
pub(super) const HINT_AFTER: Duration = Duration::from_secs(20);

pub(super) const HINT: &str = "No prompt has come for a while. Prompts for another user, another \
                               device or another relay do not show here. And a relay that has prompted a \
user often does not ring for some minutes: its log then says \"does not ring\", with the rule and \
the seconds left. The code of a page counts all the same: at a terminal, type it here. See \"Nothing on the phone?\" in docs/initiators.md.";

/// How one phone is watched.
#[derive(Debug)]
pub(super) struct PhoneMonitor {
    pub(super) screen: Arc<Screen>,
    pub(super) input: InputState,
    /// End after one ceremony.
    pub(super) once: bool,
    /// No question shows the prompt, so it is printed.
    pub(super) scripted: bool,
}

impl PhoneMonitor {
    /// Runs until the phone has ended; `stop` ends it.
    ///
    /// # Errors
    /// With `once`, no ceremony or one that did not succeed; without, a phone that the relay refuses.
    pub(super) async fn run(
        self,
        stop: impl Fn(),
        mut events: mpsc::Receiver<PhoneEvent>,
    ) -> Result<(), Failure> {
        let mut signals = Signals::new().map_err(Failure::failed)?;
        let (mut ended, mut stopping) = (Ok(()), false);
        let mut open = HashSet::new();
        let (mut greeted, mut hinted, mut hint) = (false, false, None);
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                () = self.input.closed(open.is_empty()), if !stopping => {
                    self.screen.say(
                        "Standard input is closed, so the phone ends.",
                    );
                    if self.once {
                        let text = "standard input was closed before a ceremony ended";
                        ended = Err(Failure::failed(text));
                    }
                    stopping = true;
                    stop();
                    continue;
                }
                signal = signals.next() => {
                    if stopping {
                        return Err(Failure::stopped(signal));
                    }
                    stopping = true;
                    stop();
                    continue;
                }
                () = sleep_until(hint) => {
                    (hint, hinted) = (None, true);
                    self.screen.say(HINT);
                    continue;
                }
            };
            let Some(event) = event else { return ended };
            if let Some(prompt) = show::prompt(&event).filter(|_| self.scripted) {
                self.screen.say(&prompt);
            }
            if let Some(line) = show::event(&event).filter(|_| self.scripted || !is_asked(&event)) {
                self.screen.say(&line);
            }
            if !greeted && matches!(event, PhoneEvent::Connected { .. } | PhoneEvent::Asleep) {
                self.screen.say("Waiting for a prompt. Ctrl-C ends.");
                greeted = true;
            }
            follow(&event, &mut open);
            // After a refusal or a silence the next prompts may not ring.
            hinted &= !matches!(outcome(&event), Some(outcome) if outcome != Outcome::Succeeded);
            if hinted || !greeted || !open.is_empty() {
                hint = None;
            } else if hint.is_none() {
                hint = Some(Instant::now() + HINT_AFTER);
            }
            if let Some(outcome) = outcome(&event).filter(|_| self.once && !stopping) {
                ended = verdict(outcome);
                stopping = true;
                stop();
            }
            if let PhoneEvent::Stopped(why) = event {
                return match why {
                    StopReason::Requested => ended,
                    StopReason::Replaced
                    | StopReason::Revoked
                    | StopReason::TooOld
                    | StopReason::Unknown
                    | StopReason::NoPush => {
                        Err(Failure::failed(format_args!("{why}{}", show::remedy(why))))
                    }
                };
            }
        }
    }
}

/// Whether the question says it, for a person who is asked.
fn is_asked(event: &PhoneEvent) -> bool {
    matches!(
        event,
        PhoneEvent::Offered { .. }
            | PhoneEvent::Refused { code: FrameErrorCode::WrongCode, ceremony_id: Some(_), .. }
    )
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Keeps the ceremonies that are on the phone's screen.
fn follow(event: &PhoneEvent, open: &mut HashSet<CeremonyId>) {
    if let PhoneEvent::Offered { offer, .. } = event {
        open.insert(offer.ceremony_id);
    } else if let PhoneEvent::Challenged { challenge, .. } = event {
        open.insert(challenge.offer.ceremony_id);
    } else if let PhoneEvent::Closed { ceremony_id, .. }
    | PhoneEvent::TimedOut { ceremony_id: Some(ceremony_id) }
    | PhoneEvent::Refused {
        code:
            FrameErrorCode::ClaimedElsewhere
            | FrameErrorCode::AlreadyClosed
            | FrameErrorCode::UnknownCeremony,
        ceremony_id: Some(ceremony_id),
        ..
    } = event
    {
        open.remove(ceremony_id);
    }
}

/// How a ceremony ended, if this is its end.
fn outcome(event: &PhoneEvent) -> Option<Outcome> {
    if let PhoneEvent::Closed { outcome, .. } = event {
        Some(*outcome)
    } else {
        matches!(event, PhoneEvent::TimedOut { ceremony_id: Some(_) })
            .then_some(Outcome::Indeterminate)
    }
}

/// What `--once` says by its exit code.
fn verdict(outcome: Outcome) -> Result<(), Failure> {
    let (text, code) = match outcome {
        Outcome::Succeeded => return Ok(()),
        Outcome::Denied
        | Outcome::Rejected
        | Outcome::Failed
        | Outcome::Expired
        | Outcome::Cancelled => ("the ceremony did not succeed", NOT_SUCCEEDED),
        Outcome::Indeterminate => ("the outcome of the ceremony is unknown", NOT_KNOWN),
    };
    Err(Failure { text: text.to_owned(), exit_code: code })
}
