//! The frames by which a device is shown a ceremony.

use fido_relay_proto::device::{Challenge, FrameErrorCode, Offer, Preview};
use fido_relay_proto::limits::CODE_DIGITS;
use fido_relay_proto::{Binding, DeviceId, RelayFrame, UnixMillis};

use crate::app::ceremonies::FrameRefusal;
use crate::core::ceremony::{Ceremony, Prompt};

/// The frame that gives a device a ceremony's state; none: there is nothing to send.
pub(super) fn frame_for(
    ceremony: &Ceremony,
    device: DeviceId,
    now: UnixMillis,
) -> Option<RelayFrame> {
    let ceremony_id = ceremony.request.id;
    Some(match ceremony.prompt_for(device) {
        Prompt::Nothing | Prompt::Wait => return None,
        Prompt::Offer => RelayFrame::Offer(Box::new(offer(ceremony, None, now))),
        Prompt::Challenge(challenge) => RelayFrame::Challenge(Box::new(Challenge {
            offer: offer(ceremony, None, now),
            attempt: challenge.attempt,
            challenge: challenge.challenge.clone(),
            origin: challenge.origin.clone(),
            public_key: challenge.public_key.clone(),
        })),
        Prompt::Elsewhere => {
            FrameRefusal::from(FrameErrorCode::ClaimedElsewhere).frame(Some(ceremony_id), None)
        }
        Prompt::Closed(closed) => {
            let (outcome, reason) = (closed.outcome, closed.reason);
            RelayFrame::Closed { ceremony_id, outcome, reason }
        }
    })
}

/// What a device's person is asked; `preview` if a typed code found the ceremony.
pub(super) fn offer(ceremony: &Ceremony, preview: Option<Preview>, now: UnixMillis) -> Offer {
    let request = &ceremony.request;
    Offer {
        ceremony_id: request.id,
        ceremony_type: request.ceremony_type,
        client_name: request.client_name.clone(),
        rp_id: request.rp_id.clone(),
        username: request.username.clone(),
        display_name: request.display_name.clone(),
        message: request.message.clone(),
        transaction: request.transaction.clone(),
        context: request.context.clone(),
        code_length: match request.binding {
            Binding::Code => CODE_DIGITS,
            Binding::None => 0,
        },
        expires_in: request.deadline.secs_left(now),
        preview,
    }
}
