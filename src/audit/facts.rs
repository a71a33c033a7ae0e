//! What is written of a ceremony: which steps it has made, and the entry for each.
//!
//! A ceremony's record tells every step that it has made, so what is missing in the log is a
//! difference of two sets, whoever asks: after a change, after a crash, after a full disk. What only
//! the event itself knew (which phone acknowledged, which error the card gave) is written when the
//! event is at hand, and left out otherwise. No code, challenge, ticket, cookie or answer is part of
//! an entry.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::CardErrorCode;
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ClientId, DeviceId, NodeId, Outcome, Reason,
    Step, TenantId, UnixMillis, Username,
};
use serde::Serialize;

use crate::ceremony::{Ceremony, Event, Request, State};
use crate::rfc3339;
use crate::security::receipt::Receipt;
use crate::security::record::RecordSigner;

/// A set of things that can be written of a ceremony, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps(u16);

/// Every thing that can be written, in the order in which they can happen: its bit is its place.
const NAMES: [&str; 11] = [
    "opened",
    "sent",
    "delivered",
    "wrong_code",
    "wrong_code",
    "wrong_code",
    "claimed",
    "challenged",
    "card",
    "answered",
    "closed",
];
const WRONG_CODE: u8 = 3;

impl Steps {
    /// Entries that a ceremony can have.
    pub(super) const MOST: usize = NAMES.len();

    /// Whether it is in the set.
    fn has(self, bit: u8) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// Whether the end is among them.
    pub(super) fn are_over(self) -> bool {
        self.has(bit(Step::Closed))
    }

    fn insert(&mut self, bit: u8) {
        self.0 |= 1 << bit;
    }

    /// Both sets together.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What an entry of this event says was written; `nth` counts wrong codes, from 1.
    pub(super) fn of(event: &str, nth: Option<u8>) -> Option<Self> {
        let mut place = NAMES.iter().position(|name| *name == event)?;
        if place == usize::from(WRONG_CODE) {
            place += usize::from(nth?.checked_sub(1)?);
        }
        NAMES.get(place).filter(|name| **name == event).map(|_| Self(1 << place))
    }
}

fn bit(step: Step) -> u8 {
    match step {
        Step::Opened => 0,
        Step::Sent => 1,
        Step::Delivered => 2,
        Step::Claimed => 6,
        Step::Challenged => 7,
        Step::Card => 8,
        Step::Verifying => 9,
        Step::Closed => 10,
    }
}

/// How entries are made.
#[derive(Debug)]
pub struct Writing {
    /// Signs receipts.
    pub signer: RecordSigner,
    /// Whether a receipt is written into the entry of its ceremony's end.
    pub receipts: bool,
}

#[derive(Serialize)]
pub(super) struct Entry<'a> {
    pub(super) event: &'static str,
    tenant: &'a TenantId,
    ceremony: CeremonyId,
    client: ClientId,
    user: &'a Username,
    /// When it happened.
    at: String,
    /// Written later than it happened, from the stored record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) recovered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<DeviceId>,
    #[serde(flatten)]
    pub(super) more: More<'a>,
}

impl<'a> Entry<'a> {
    /// An entry of this ceremony, as yet without a device and details.
    pub(super) fn new(event: &'static str, request: &'a Request, at: UnixMillis) -> Self {
        Self {
            event,
            tenant: &request.tenant,
            ceremony: request.id,
            client: request.client_id,
            user: &request.username,
            at: rfc3339::format(at),
            recovered: false,
            device: None,
            more: More::Nothing {},
        }
    }

    pub(super) fn body(&self) -> Option<String> {
        serde_json::to_string(self)
            .inspect_err(|error| tracing::error!(%error, "an audit entry has no JSON form"))
            .ok()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum More<'a> {
    Nothing {},
    Opened {
        #[serde(rename = "type")]
        ceremony_type: CeremonyType,
        binding: Binding,
        rp_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        context_sha256: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tx_sha256: Option<String>,
        deadline: String,
    },
    WrongCode {
        nth: u8,
    },
    Challenged {
        attempt: AttemptId,
    },
    Card {
        card_code: CardErrorCode,
    },
    Answered {
        attempt: AttemptId,
        answer_sha256: String,
        /// Who has it completed: stored in the same commit as the answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        completed_by: Option<NodeId>,
    },
    Closed {
        outcome: Outcome,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt_sha256: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<String>,
    },
}

/// What the record holds that `known` lacks: the bodies of new entries in their order, and the
/// set with them.
pub(super) fn missing(
    ceremony: &Ceremony,
    cause: Option<&Event>,
    known: Steps,
    recovered: bool,
    writing: &Writing,
) -> (Vec<String>, Steps) {
    let mut made = Made { ceremony, cause, recovered, writing, known, bodies: Vec::new() };
    let wrong = wrong_codes(ceremony);
    let steps: Vec<_> = ceremony.progress().collect();
    let last = steps.last().map_or(ceremony.request.opened_at, |entry| entry.at);
    for entry in &steps {
        if matches!(entry.step, Step::Claimed | Step::Closed) {
            made.wrong_codes(wrong, entry.at);
        }
        made.step(entry.step, entry.at);
    }
    made.wrong_codes(wrong, last);
    (made.bodies, made.known)
}

/// How many wrong codes the record still tells of.
fn wrong_codes(ceremony: &Ceremony) -> u8 {
    match &ceremony.state {
        State::Offered { wrong_codes, .. } => *wrong_codes,
        State::Closed(closed) if closed.reason == Some(Reason::WrongCode) => CODE_ATTEMPTS,
        State::Preparing { .. }
        | State::Challenged(_)
        | State::Verifying { .. }
        | State::Closed(_) => 0,
    }
}

struct Made<'a> {
    ceremony: &'a Ceremony,
    cause: Option<&'a Event>,
    recovered: bool,
    writing: &'a Writing,
    known: Steps,
    bodies: Vec<String>,
}

impl<'a> Made<'a> {
    fn wrong_codes(&mut self, count: u8, at: UnixMillis) {
        for nth in 1..=count.min(CODE_ATTEMPTS) {
            let device = match self.cause {
                Some(Event::Claim { device, .. }) if nth == count => Some(*device),
                Some(_) | None => None,
            };
            self.write(WRONG_CODE + nth - 1, at, device, More::WrongCode { nth });
        }
    }

    fn step(&mut self, step: Step, at: UnixMillis) {
        if self.known.has(bit(step)) {
            return;
        }
        let (device, more) = match step {
            Step::Opened => (self.ceremony.request.device_id, opened(&self.ceremony.request)),
            Step::Sent => (self.sent_to(), More::Nothing {}),
            Step::Delivered => (self.acked_by(), More::Nothing {}),
            Step::Claimed => (self.holder(), More::Nothing {}),
            Step::Challenged => {
                let attempt = self.attempt();
                (
                    self.holder(),
                    attempt.map_or(More::Nothing {}, |attempt| More::Challenged { attempt }),
                )
            }
            Step::Card => self.card(),
            Step::Verifying => (self.holder(), self.answered()),
            Step::Closed => {
                let more = self
                    .ceremony
                    .closed()
                    .map(|end| closed(self.ceremony, end.outcome, end.reason, self.writing));
                (self.closed_by(), more.unwrap_or(More::Nothing {}))
            }
        };
        self.write(bit(step), at, device, more);
    }

    fn write(&mut self, bit: u8, at: UnixMillis, device: Option<DeviceId>, more: More<'_>) {
        if self.known.has(bit) {
            return;
        }
        self.known.insert(bit);
        let (event, recovered) = (NAMES[usize::from(bit)], self.recovered);
        let entry = Entry::new(event, &self.ceremony.request, at);
        self.bodies.extend(Entry { recovered, device, more, ..entry }.body());
    }

    fn sent_to(&self) -> Option<DeviceId> {
        match self.cause {
            Some(Event::Sent { device }) => Some(*device),
            Some(_) | None => None,
        }
    }

    fn acked_by(&self) -> Option<DeviceId> {
        match self.cause {
            Some(Event::Acked { device, .. }) => Some(*device),
            Some(_) | None => None,
        }
    }

    fn card(&self) -> (Option<DeviceId>, More<'a>) {
        match self.cause {
            Some(Event::Card { device, code, .. }) => {
                let more = code.map_or(More::Nothing {}, |code| More::Card { card_code: code });
                (Some(*device), more)
            }
            Some(_) | None => (self.holder(), More::Nothing {}),
        }
    }

    /// Whose code was right, or whose answer was accepted.
    fn holder(&self) -> Option<DeviceId> {
        match &self.ceremony.state {
            State::Offered { .. } => None,
            State::Preparing { device, .. } => *device,
            State::Challenged(challenge) => challenge.device,
            State::Verifying { answer, .. } => Some(answer.device),
            State::Closed(closed) => closed.accepted.map(|(_, device, _)| device),
        }
    }

    fn attempt(&self) -> Option<AttemptId> {
        match &self.ceremony.state {
            State::Offered { .. } => None,
            State::Preparing { attempt, .. } => Some(*attempt),
            State::Challenged(challenge) | State::Verifying { challenge, .. } => {
                Some(challenge.attempt)
            }
            State::Closed(closed) => closed.accepted.map(|(attempt, ..)| attempt),
        }
    }

    fn answered(&self) -> More<'a> {
        let told = match &self.ceremony.state {
            State::Verifying { challenge, digest, by, .. } => {
                Some((challenge.attempt, *digest, Some(*by)))
            }
            State::Closed(closed) => {
                closed.accepted.map(|(attempt, _, digest)| (attempt, digest, None))
            }
            State::Offered { .. } | State::Preparing { .. } | State::Challenged(_) => None,
        };
        told.map_or(More::Nothing {}, |(attempt, digest, by)| answered(attempt, digest, by))
    }

    fn closed_by(&self) -> Option<DeviceId> {
        match self.cause {
            Some(Event::Decline { device, .. }) => Some(*device),
            Some(_) | None => self.holder(),
        }
    }
}

pub(super) fn opened(request: &Request) -> More<'_> {
    More::Opened {
        ceremony_type: request.ceremony_type,
        binding: request.binding,
        rp_id: &request.rp_id,
        context_sha256: request.context.as_ref().and_then(canonical_sha256),
        tx_sha256: request.transaction.as_ref().and_then(canonical_sha256),
        deadline: rfc3339::format(request.deadline),
    }
}

pub(super) fn answered(
    attempt: AttemptId,
    digest: [u8; 32],
    completed_by: Option<NodeId>,
) -> More<'static> {
    More::Answered { attempt, answer_sha256: URL_SAFE_NO_PAD.encode(digest), completed_by }
}

/// `ceremony` is the one that ended, for its receipt.
pub(super) fn closed(
    ceremony: &Ceremony,
    outcome: Outcome,
    reason: Option<Reason>,
    writing: &Writing,
) -> More<'static> {
    let receipt = Receipt::of(writing.signer.issuer(), ceremony);
    let whole = receipt.as_ref().filter(|_| writing.receipts);
    More::Closed {
        outcome,
        reason,
        receipt_sha256: receipt.as_ref().and_then(Receipt::payload_sha256),
        receipt: whole.and_then(|receipt| receipt.sign(&writing.signer)),
    }
}

/// SHA-256 of a value's canonical JSON (RFC 8785).
fn canonical_sha256<T: Serialize>(value: &T) -> Option<String> {
    let canonical = serde_json_canonicalizer::to_vec(value).ok()?;
    Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &canonical)))
}
