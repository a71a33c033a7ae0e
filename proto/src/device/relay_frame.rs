//! Decoding the relay's frames, which only a phone does.

use super::{
    AttemptId, CeremonyId, ConnectionId, Deserialize, FrameError, FrameErrorCode, Outcome,
    PlainText, Reason, RelayFrame, SocketLimits, body, tag,
};

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
    auth_within_s: u64,
}

#[derive(Deserialize)]
struct Welcome {
    connection_id: ConnectionId,
    heartbeat_s: u64,
    reauth_in_s: u64,
    limits: SocketLimits,
}

#[derive(Deserialize)]
struct Accepted {
    ceremony_id: CeremonyId,
    attempt: AttemptId,
}

#[derive(Deserialize)]
struct Closed {
    ceremony_id: CeremonyId,
    outcome: Outcome,
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Error {
    code: FrameErrorCode,
    message: String,
    retryable: bool,
    ceremony_id: Option<CeremonyId>,
    claim_id: Option<PlainText<64>>,
}

#[derive(Deserialize)]
struct Goaway {
    reconnect_in_ms: u64,
}

pub(super) fn decode(text: &str) -> Result<RelayFrame, FrameError> {
    Ok(match &*tag(text)? {
        "hello" => {
            let Nonce { nonce, auth_within_s } = body(text)?;
            RelayFrame::Hello { nonce, auth_within_s }
        }
        "welcome" => {
            let Welcome { connection_id, heartbeat_s, reauth_in_s, limits } = body(text)?;
            RelayFrame::Welcome { connection_id, heartbeat_s, reauth_in_s, limits }
        }
        "offer" => RelayFrame::Offer(body(text)?),
        "challenge" => RelayFrame::Challenge(challenge(text)?),
        "accepted" => {
            let Accepted { ceremony_id, attempt } = body(text)?;
            RelayFrame::Accepted { ceremony_id, attempt }
        }
        "closed" => {
            let Closed { ceremony_id, outcome, reason } = body(text)?;
            RelayFrame::Closed { ceremony_id, outcome, reason }
        }
        "error" => {
            let Error { code, message, retryable, ceremony_id, claim_id } = body(text)?;
            RelayFrame::Error { code, message, retryable, ceremony_id, claim_id }
        }
        "reauth" => {
            let Nonce { nonce, auth_within_s } = body(text)?;
            RelayFrame::Reauth { nonce, auth_within_s }
        }
        "notice" => RelayFrame::Notice(body(text)?),
        "pong" => RelayFrame::Pong(body(text)?),
        "goaway" => {
            let Goaway { reconnect_in_ms } = body(text)?;
            RelayFrame::Goaway { reconnect_in_ms }
        }
        _ => return Err(FrameError::UnknownType),
    })
}

/// `flatten` buffers like an internal tag does, so the two halves are read one by one.
fn challenge(text: &str) -> Result<Box<super::Challenge>, FrameError> {
    #[derive(Deserialize)]
    struct Rest {
        attempt: AttemptId,
        challenge: String,
        origin: String,
        public_key: Box<super::RawValue>,
    }
    let Rest { attempt, challenge, origin, public_key } = body(text)?;
    let offer = body(text)?;
    Ok(Box::new(super::Challenge { offer, attempt, challenge, origin, public_key }))
}
