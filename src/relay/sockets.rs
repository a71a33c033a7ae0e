//! What device sockets ask of the relay: come, go, and bring frames. The loop over a real socket
//! is the edge's.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::device::{DeviceFrame, FrameErrorCode};
use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{CeremonyId, NodeId, Phase, RelayFrame, typed_digits};

use super::claims::ClaimError;
use super::connection::Connection;
use super::{CeremonyKey, DriveError, Relay};
use crate::app::devices;
use crate::ceremony::{Event, Refusal, Reply};
use crate::fault_point::{self, Point};
use crate::session::CloseReason;

impl Relay {
    /// A device has authenticated: takes its socket in, and gives what is open for it, each to be
    /// shown by [`Relay::show_again`]. Registered first, so that nothing falls between the two.
    ///
    /// A revocation or a key rotation between the proof and the registration found no socket here
    /// to close or to renew, so the device is loaded once more: a device that is gone is closed, a
    /// device whose key is no longer `proven_by` has to sign with the new one.
    pub async fn attach(
        &self,
        connection: &Arc<Connection>,
        proven_by: &P256Jwk,
    ) -> Vec<CeremonyKey> {
        self.registry().insert(Arc::clone(connection));
        let owner = connection.owner();
        let store = &*self.world().store;
        match devices::load(store, &owner.tenant, owner.device).await {
            Ok(Some(device)) => {
                if device.jwk != *proven_by {
                    connection.renew();
                }
                match devices::news(store, &owner.tenant, &owner.username).await {
                    Ok(news) => self.tell(&device, &news, connection),
                    // They are told with the next socket.
                    Err(error) => tracing::warn!(%error, "a device could not be told the news"),
                }
                self.open_for(connection)
            }
            Ok(None) => {
                connection.close(CloseReason::Revoked);
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, "a device could not be looked up");
                connection.close(CloseReason::Overload);
                Vec::new()
            }
        }
    }

    /// A socket is gone. A newer one of the same device stays.
    pub fn detach(&self, connection: &Connection) {
        self.registry().remove(connection.owner().device, connection.id());
    }

    /// An offer or challenge of this ceremony was written to the socket.
    pub async fn sent(&self, connection: &Connection, ceremony: CeremonyId) {
        let device = connection.owner().device;
        let key = CeremonyKey { tenant: connection.owner().tenant.clone(), id: ceremony };
        match self.drive_soon(&key, Event::Sent { device }).await {
            Ok(driven) => match driven.ceremony.phase() {
                Phase::Offered => fault_point::reached(Point::Offered),
                Phase::Challenged => fault_point::reached(Point::ChallengeSent),
                Phase::Preparing | Phase::Verifying | Phase::Closed => {}
            },
            Err(error) => tracing::debug!(%ceremony, %error, "a step was not noted"),
        }
    }

    /// A frame about a ceremony came in: gives what to answer, if anything.
    pub async fn receive(&self, connection: &Connection, frame: DeviceFrame) -> Option<RelayFrame> {
        let ceremony_id = frame.ceremony_id()?;
        let owner = connection.owner();
        let key = CeremonyKey { tenant: owner.tenant.clone(), id: ceremony_id };
        // Somebody else's ceremony and one that does not exist look the same.
        let copy = match self.node.copies.get(&key) {
            Some(copy) => Ok(Some(copy)),
            None => self.read(&key).await,
        };
        let own = match copy {
            Ok(Some(copy)) => {
                let request = &copy.stored.request;
                request.username == owner.username
                    && request.device_id.is_none_or(|only| only == owner.device)
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(ceremony = %key.id, %error, "a frame could not be looked at");
                return Some(error_frame(FrameErrorCode::Unavailable, ceremony_id));
            }
        };
        if !own {
            return Some(error_frame(FrameErrorCode::UnknownCeremony, ceremony_id));
        }
        if matches!(frame, DeviceFrame::Answer(_)) {
            fault_point::reached(Point::AnswerReceived);
        }
        let driven = if let DeviceFrame::Claim(claim) = frame {
            let Some(code) = typed_digits::code(&claim.code) else {
                return Some(error_frame(FrameErrorCode::CodeMalformed, ceremony_id));
            };
            match self.claim(connection, &key, code).await {
                Ok(driven) => Ok(driven),
                Err(ClaimError::Spent) => {
                    return Some(error_frame(FrameErrorCode::TooManyCodes, ceremony_id));
                }
                Err(ClaimError::Drive(error)) => Err(error),
            }
        } else {
            self.drive_soon(&key, event_of(connection, frame, self.node.id)?).await
        };
        match driven {
            Ok(driven) => {
                // The first time the end is news to all, and shown with the notice of it.
                if matches!(driven.reply, Reply::Accepted { .. }) && !driven.changed {
                    self.show_end(&driven.ceremony, connection);
                }
                if driven.ceremony.request.id != ceremony_id {
                    return Some(error_frame(FrameErrorCode::OtherCeremony, ceremony_id));
                }
                reply_frame(driven.reply, ceremony_id)
            }
            Err(DriveError::NotFound) => {
                Some(error_frame(FrameErrorCode::UnknownCeremony, ceremony_id))
            }
            Err(error @ DriveError::Unavailable(_)) => {
                tracing::warn!(ceremony = %key.id, %error, "a frame could not be stored");
                Some(error_frame(FrameErrorCode::Unavailable, ceremony_id))
            }
        }
    }
}

fn event_of(connection: &Connection, frame: DeviceFrame, by: NodeId) -> Option<Event> {
    let device = connection.owner().device;
    Some(match frame {
        // A code says itself which ceremony it is for: see `claims`.
        DeviceFrame::Auth(_) | DeviceFrame::Ping(_) | DeviceFrame::Claim(_) => return None,
        DeviceFrame::Ack(ack) => Event::Acked { device, of: ack.of },
        DeviceFrame::Card(card) => Event::Card { device, event: card.event, code: card.code },
        DeviceFrame::Answer(answer) => {
            let mut hash = [0; 32];
            let bytes = answer.credential.get().as_bytes();
            hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
            Event::Answer {
                device,
                attempt: answer.attempt,
                credential: answer.credential,
                digest: hash,
                by,
            }
        }
        DeviceFrame::Decline(decline) => Event::Decline { device, reason: decline.reason },
    })
}

fn reply_frame(reply: Reply, ceremony_id: CeremonyId) -> Option<RelayFrame> {
    let refusal = match reply {
        Reply::Done | Reply::Ignored => return None,
        Reply::Accepted { attempt } => return Some(RelayFrame::Accepted { ceremony_id, attempt }),
        Reply::Refused(refusal) => refusal,
    };
    let code = match refusal {
        Refusal::WrongCode { left } => {
            return Some(RelayFrame::Error {
                code: FrameErrorCode::WrongCode,
                message: format!(
                    "wrong code, {left} {} left",
                    if left == 1 { "try" } else { "tries" }
                ),
                retryable: false,
                ceremony_id: Some(ceremony_id),
            });
        }
        Refusal::ClaimedElsewhere => FrameErrorCode::ClaimedElsewhere,
        Refusal::NotChallenged => FrameErrorCode::NotChallenged,
        Refusal::AlreadyAnswered => FrameErrorCode::AlreadyAnswered,
        Refusal::AlreadyClosed => FrameErrorCode::AlreadyClosed,
    };
    Some(error_frame(code, ceremony_id))
}

fn error_frame(code: FrameErrorCode, ceremony_id: CeremonyId) -> RelayFrame {
    RelayFrame::Error {
        code,
        message: code.message().to_owned(),
        retryable: code.is_retryable(),
        ceremony_id: Some(ceremony_id),
    }
}
