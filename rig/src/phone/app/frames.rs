//! The frames that the app sends, each with its event, and how faults alter them.

use fido_relay_proto::device::{Answer, Card, CardErrorCode, CardEvent, Decline, DeclineReason};
use fido_relay_proto::{CeremonyId, DeviceFrame};
use serde_json::value::RawValue;

use super::Effect;
use crate::phone::event::PhoneEvent;

pub(super) fn send_answer(answer: &Answer, effects: &mut Vec<Effect>) {
    let (ceremony_id, attempt) = (answer.ceremony_id, answer.attempt);
    effects.push(Effect::Send(DeviceFrame::Answer(answer.clone())));
    effects.push(Effect::Emit(PhoneEvent::Answered { ceremony_id, attempt }));
}

pub(super) fn send_decline(
    ceremony_id: Option<CeremonyId>,
    reason: DeclineReason,
    effects: &mut Vec<Effect>,
) {
    effects.push(Effect::Send(DeviceFrame::Decline(Decline { ceremony_id, reason })));
    effects.push(Effect::Emit(PhoneEvent::Declined { ceremony_id, reason }));
}

pub(super) fn send_card(
    ceremony_id: CeremonyId,
    error: Option<CardErrorCode>,
    effects: &mut Vec<Effect>,
) {
    let event = if error.is_some() { CardEvent::Error } else { CardEvent::Present };
    effects.push(Effect::Send(DeviceFrame::Card(Card { ceremony_id, event, code: error })));
    effects.push(Effect::Emit(PhoneEvent::Card { ceremony_id, error }));
}

/// Whether another tap may help: tag lost, unknown, signature failed, transmit failed. A wrong PIN is
/// not among them, as the card counts tries.
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

/// The same JSON object with one more blank.
pub(super) fn in_other_bytes(credential: &RawValue) -> Box<RawValue> {
    let text = credential.get().replacen('{', "{ ", 1);
    RawValue::from_string(text).unwrap_or_else(|_| credential.to_owned())
}
