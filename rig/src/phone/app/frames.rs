//! Frames that the app sends, each with the event that tells of it, and how a phone misbehaves.

use fido_relay_proto::device::{Answer, Card, CardErrorCode, CardEvent, Decline, DeclineReason};
use fido_relay_proto::{CeremonyId, DeviceFrame};
use serde_json::value::RawValue;

use super::Act;
use crate::phone::event::PhoneEvent;

pub(super) fn send_answer(answer: &Answer, acts: &mut Vec<Act>) {
    let (ceremony_id, attempt) = (answer.ceremony_id, answer.attempt);
    acts.push(Act::Send(DeviceFrame::Answer(answer.clone())));
    acts.push(Act::Tell(PhoneEvent::Answered { ceremony_id, attempt }));
}

pub(super) fn send_decline(
    ceremony_id: Option<CeremonyId>,
    reason: DeclineReason,
    acts: &mut Vec<Act>,
) {
    acts.push(Act::Send(DeviceFrame::Decline(Decline { ceremony_id, reason })));
    acts.push(Act::Tell(PhoneEvent::Declined { ceremony_id, reason }));
}

pub(super) fn send_card(
    ceremony_id: CeremonyId,
    error: Option<CardErrorCode>,
    acts: &mut Vec<Act>,
) {
    let event = if error.is_some() { CardEvent::Error } else { CardEvent::Present };
    acts.push(Act::Send(DeviceFrame::Card(Card { ceremony_id, event, code: error })));
    acts.push(Act::Tell(PhoneEvent::Card { ceremony_id, error }));
}

/// Tag lost, unknown, signature failed and transmit failed: the person may simply tap again. A
/// wrong PIN is not among them, for the card counts the tries.
pub(super) fn worth_another_tap(error: CardErrorCode) -> bool {
    matches!(error.number(), Some(600 | 601 | 604 | 607))
}

/// The code with another last digit.
pub(super) fn mistyped(code: &str) -> String {
    let mut digits: Vec<char> = code.chars().collect();
    let last = digits.pop().and_then(|c| c.to_digit(10)).unwrap_or(0);
    digits.push(char::from_digit((last + 1) % 10, 10).unwrap_or('0'));
    digits.into_iter().collect()
}

/// The same JSON object with a blank more in it.
pub(super) fn in_other_bytes(credential: &RawValue) -> Box<RawValue> {
    let text = credential.get().replacen('{', "{ ", 1);
    RawValue::from_string(text).unwrap_or_else(|_| credential.to_owned())
}
