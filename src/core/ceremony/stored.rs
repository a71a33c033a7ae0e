//! Decodes stored ceremonies: those of this version, and those of earlier ones with `progress` in
//! place of a history.

use fido_relay_proto::device::CardEvent;
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{Reason, SameNetwork, Step, UnixMillis};
use serde::{Deserialize, Deserializer};

use super::fact::{Fact, FactKind, ProgressEntry};
use super::state::{Ceremony, Request, State};

/// A record of any version.
#[derive(Deserialize)]
struct StoredCeremony {
    request: Request,
    #[serde(default, rename = "silent")]
    suppressed: bool,
    #[serde(default)]
    same_network: Option<SameNetwork>,
    #[serde(default)]
    history: Vec<Fact>,
    /// In records of earlier versions: the public steps, without devices and details.
    #[serde(default)]
    progress: Vec<ProgressEntry>,
    state: State,
}

impl<'de> Deserialize<'de> for Ceremony {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredCeremony::deserialize(deserializer)?;
        let history = if stored.history.is_empty() { history_of(&stored) } else { stored.history };
        Ok(Self {
            request: stored.request,
            suppressed: stored.suppressed,
            same_network: stored.same_network,
            history,
            state: stored.state,
        })
    }
}

/// The history of an earlier version's record. It stored wrong codes as a number and the suppression
/// as a flag; they get the time of the last step.
fn history_of(stored: &StoredCeremony) -> Vec<Fact> {
    let fact = |at, kind| Fact { at, device: None, kind };
    let wrong_codes = match &stored.state {
        State::Offered { wrong_codes, .. } => *wrong_codes,
        State::Closed(closed) if closed.reason == Some(Reason::WrongCode) => CODE_ATTEMPTS,
        State::Preparing { .. }
        | State::Challenged(_)
        | State::Verifying { .. }
        | State::Closed(_) => 0,
    };
    let last = stored.progress.last().map_or(stored.request.opened_at, |entry| entry.at);
    let mut internal: Vec<_> =
        (1..=wrong_codes).map(|nth| fact(last, FactKind::WrongCode { nth })).collect();
    if stored.suppressed {
        internal.push(fact(last, FactKind::Suppressed { why: None }));
    }
    let steps = stored.progress.iter().filter_map(|entry| step(stored, entry.step, entry.at));
    let (mut history, end): (Vec<_>, Vec<_>) =
        steps.partition(|fact| fact.kind.step() != Some(Step::Closed));
    history.extend(internal);
    history.extend(end);
    history
}

fn step(stored: &StoredCeremony, step: Step, at: UnixMillis) -> Option<Fact> {
    let accepted = match &stored.state {
        State::Verifying { challenge, answer, digest, by, .. } => {
            Some((challenge.attempt, answer.device, *digest, Some(*by)))
        }
        State::Closed(closed) => {
            closed.accepted.map(|(attempt, device, digest)| (attempt, device, digest, None))
        }
        State::Offered { .. } | State::Preparing { .. } | State::Challenged(_) => None,
    };
    let (claimer, attempt) = match &stored.state {
        State::Offered { .. } => (None, None),
        State::Preparing { device, .. } => (*device, None),
        State::Challenged(challenge) | State::Verifying { challenge, .. } => {
            (challenge.device, Some(challenge.attempt))
        }
        State::Closed(_) => (None, accepted.map(|(attempt, ..)| attempt)),
    };
    let (device, kind) = match step {
        Step::Opened => (stored.request.device_id, FactKind::Opened),
        Step::Sent => (None, FactKind::Sent),
        Step::Woken => (None, FactKind::Woken),
        Step::Delivered => (None, FactKind::Delivered),
        // With a code, only the device that typed it can have answered.
        Step::Claimed => (claimer.or(accepted.map(|(_, device, ..)| device)), FactKind::Claimed),
        Step::Challenged => (claimer, FactKind::Challenged { attempt }),
        Step::Card => (claimer, FactKind::Card { event: CardEvent::Present, code: None }),
        Step::Verifying => {
            let (attempt, device, digest, by) = accepted?;
            (Some(device), FactKind::Answered { attempt, digest, by })
        }
        Step::Closed => {
            let State::Closed(closed) = &stored.state else { return None };
            let (outcome, reason) = (closed.outcome, closed.reason);
            (accepted.map(|(_, device, ..)| device), FactKind::Closed { outcome, reason })
        }
    };
    Some(Fact { at, device, kind })
}
