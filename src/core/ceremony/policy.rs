//! Fixed policies of the core, each with its reason.

use fido_relay_proto::Reason;
use fido_relay_proto::device::CardErrorCode;

/// How long an answer may be under verification before the ceremony closes as indeterminate, in
/// milliseconds. Longer than the limit of a completion call (10 s) and its storing, so that it
/// fires only if the node that made the call has ended.
pub const COMPLETION_LIMIT_MS: u64 = 20_000;

/// The reason for which a card error closes the ceremony; `None` leaves it open for another tap.
///
/// A card locks after a few wrong PINs, so the relay never prompts again after one by itself: the
/// person starts again.
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
