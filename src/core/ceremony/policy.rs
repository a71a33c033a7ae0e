//! The core's own rules of thumb, each with its reason.

use fido_relay_proto::Reason;
use fido_relay_proto::device::CardErrorCode;

/// How long an answer may be under verification before its fate counts as unknown, in
/// milliseconds. Longer than the limit of a completion call (10 s) and its storing, so that it
/// fires only when whoever made the call is gone.
pub const COMPLETION_LIMIT_MS: u64 = 20_000;

/// What a card error means for the ceremony: `None` leaves it open for another tap.
///
/// PIN tries are scarce (a card locks after a few), so a wrong PIN is never answered by another
/// prompt of the relay's own accord: the person starts again.
pub(super) fn closes_with(code: CardErrorCode) -> Option<Reason> {
    match code.number() {
        Some(600 | 601 | 604 | 607) => None,
        Some(608) => Some(Reason::PinFailed),
        Some(602 | 603) => Some(Reason::NoCredential),
        Some(606) => Some(Reason::CardFull),
        Some(other) => Some(Reason::Card(other)),
        None if code == CardErrorCode::PIN_NOT_SET => Some(Reason::PinNotSet),
        None => Some(Reason::AlreadyRegistered),
    }
}
