//! What happened in a simulated world, in the order in which it happened. The checker knows
//! nothing else.

use fido_relay::core::ceremony::{Ceremony, Verdict};
use fido_relay_proto::{AttemptId, CeremonyId, ClientId, DeviceId, Outcome, UnixMillis, Username};

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A node starts.
    Started { life: u32 },
    /// An initiator was told that its ceremony is open, by the record that it was given.
    Opened { ceremony: CeremonyId, by: ClientId, of: ClientId },
    /// An initiator read a ceremony; it asked when this many events had happened.
    Read { ceremony: CeremonyId, outcome: Option<Outcome>, found: bool, asked: usize },
    /// A ceremony's record was written or removed: the truth.
    Wrote { life: u32, at: UnixMillis, key: String, record: Option<Vec<u8>> },
    /// The FIDO2 server made a challenge.
    Begun { username: Username, session: String, challenge: String },
    /// The FIDO2 server got an answer.
    Asked { session: String, credential: String },
    /// What it found; whether the relay heard it.
    Said { session: String, verdict: Verdict, lost: bool },
    /// A FIDO2 server on the relay's own store was asked about an answer; asking has no effect.
    Judged { session: String, verdict: Verdict },
    /// A device was about to send a code.
    Claiming { ceremony: CeremonyId, device: DeviceId, right: bool },
    /// A device was written a challenge.
    Challenged { ceremony: CeremonyId, device: DeviceId, challenge: String },
    /// A device learned the end.
    ToldClosed { ceremony: CeremonyId, outcome: Outcome },
    /// A device's answer was acknowledged.
    Accepted { ceremony: CeremonyId, device: DeviceId, attempt: AttemptId, credential: String },
    /// Everything open is taken up and nothing is wrong any more; `fresh`: since the last start.
    Healed { fresh: bool },
    /// A device that came back after the healing shows this of a ceremony that is open.
    Shows { ceremony: CeremonyId, device: DeviceId, prompt: &'static str, at: UnixMillis },
    /// Every deadline has passed since the healing.
    Rested,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wrote { life, at, record: Some(record), .. } => {
                let ceremony: Ceremony =
                    serde_json::from_slice(record).map_err(|_| std::fmt::Error)?;
                let Ceremony { request, state, .. } = ceremony;
                let (id, left) =
                    (request.id, request.deadline.0.cast_signed() - at.0.cast_signed());
                write!(f, "{} {id} (life {life}, {left} ms left): {state:?}", at.0)
            }
            other => write!(f, "{other:?}"),
        }
    }
}
