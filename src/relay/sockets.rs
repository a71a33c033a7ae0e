//! What device sockets ask of the relay: come, go, and bring frames. The loop over a real socket
//! is the edge's.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::device::{AckOf, Decline, DeclineReason, DeviceFrame, FrameErrorCode};
use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{CeremonyId, DeviceId, NodeId, Phase, RelayFrame};

use super::claims::{Refused, of_drive, wrong};
use super::connection::{Connection, Owner, Shown};
use super::contact::Contact;
use super::{CeremonyKey, DriveError, Relay, news};
use crate::app::devices;
use crate::core::ceremony::{Ceremony, Event, Refusal, Reply};
use crate::core::session::CloseReason;
use crate::fault_point::{self, Point};

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
        let store = &*self.dependencies().store;
        match devices::load(store, &owner.tenant, owner.device).await {
            Ok(Some(device)) => {
                if device.jwk != *proven_by {
                    connection.renew();
                }
                if let Some(notice) = news::own(&device, self.dependencies().clock.now()) {
                    connection.send(&notice, None);
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
    ///
    /// A prompt that it took along unacknowledged, and that no other socket here has, reached no
    /// phone.
    pub fn detach(&self, connection: &Connection) {
        let owner = connection.owner();
        self.registry().remove(owner.device, connection.id());
        for id in connection.unacked() {
            let (relay, owner) = (self.clone(), owner.clone());
            self.dependencies()
                .tasks
                .spawn_untraced(async move { relay.note_lost(&owner, id).await });
        }
    }

    async fn note_lost(&self, owner: &Owner, id: CeremonyId) {
        let key = CeremonyKey { tenant: owner.tenant.clone(), id };
        let lost = async {
            let loaded = self.load(&key).await;
            let loaded = loaded.map_err(|error| DriveError::Unavailable(error.to_string()))?;
            let Some(ceremony) = loaded else { return Ok(()) };
            let phones = self.phones_of(&ceremony).await;
            if phones.iter().all(|phone| phone.shown(id).is_none()) {
                self.drive_soon(&key, Event::Lost { device: owner.device }).await?;
            }
            Ok::<(), DriveError>(())
        };
        if let Err(error) = lost.await {
            tracing::debug!(ceremony = %id, %error, "a lost prompt was not noted");
        }
    }

    /// An offer or challenge of this ceremony was written to the socket.
    pub async fn sent(&self, connection: &Connection, ceremony: CeremonyId) {
        self.note_sent(connection.owner(), ceremony).await;
    }

    /// A prompt left for this device, by whatever road.
    pub(super) async fn note_sent(&self, owner: &Owner, ceremony: CeremonyId) {
        let device = owner.device;
        let key = CeremonyKey { tenant: owner.tenant.clone(), id: ceremony };
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
        self.receive_of(connection.into(), frame).await
    }

    /// [`Relay::receive`], over whatever road the frame came.
    pub(super) async fn receive_of(
        &self,
        contact: Contact<'_>,
        frame: DeviceFrame,
    ) -> Option<RelayFrame> {
        if let DeviceFrame::Decline(Decline { ceremony_id: None, reason }) = &frame {
            return self.decline_held(contact.owner, *reason).await;
        }
        if let DeviceFrame::Claim(claim) = frame {
            self.claim(contact, claim).await
        } else {
            let ceremony_id = frame.ceremony_id()?;
            let taken = self.take_frame(contact, ceremony_id, frame).await;
            taken.unwrap_or_else(|refused| Some(refused.frame(Some(ceremony_id), None)))
        }
    }

    async fn take_frame(
        &self,
        contact: Contact<'_>,
        ceremony_id: CeremonyId,
        frame: DeviceFrame,
    ) -> Result<Option<RelayFrame>, Refused> {
        let ceremony = self.own(contact.owner, ceremony_id).await?;
        if matches!(frame, DeviceFrame::Answer(_)) {
            fault_point::reached(Point::AnswerReceived);
        }
        let is_preview = self.is_preview(contact, &ceremony);
        let device = contact.owner.device;
        let Some(event) = event_of(device, is_preview, frame, self.node.id) else {
            return Ok(None);
        };
        if let (Event::Acked { .. } | Event::Previewed { .. }, Some(socket)) =
            (&event, contact.socket)
        {
            socket.acked(ceremony_id);
        }
        let driven = self.drive_soon(&CeremonyKey::from(&*ceremony), event).await;
        let driven = driven.map_err(of_drive)?;
        match driven.reply {
            Reply::Done | Reply::Ignored => Ok(None),
            Reply::Accepted { attempt } => {
                // The first time the end is news to all, and shown with the notice of it.
                if !driven.changed
                    && let Some(socket) = contact.socket
                {
                    self.show_end(&driven.ceremony, socket);
                }
                Ok(Some(RelayFrame::Accepted { ceremony_id, attempt }))
            }
            Reply::Refused(refusal) => Err(refused(refusal)),
        }
    }

    /// Whether what the device has of a ceremony is the preview that a typed code gave: its own
    /// affair until its person confirms.
    fn is_preview(&self, contact: Contact<'_>, ceremony: &Ceremony) -> bool {
        match contact.shown(ceremony.request.id) {
            Some(shown) => shown == Shown::Preview,
            None => ceremony.is_unclaimed() && !self.is_for(ceremony, contact.owner),
        }
    }

    /// The person said no to prompts that were held back.
    async fn decline_held(&self, by: &Owner, reason: DeclineReason) -> Option<RelayFrame> {
        let refused: Refused = match reason {
            DeclineReason::Declined => FrameErrorCode::InvalidFrame.into(),
            DeclineReason::NotMe => self.mute_strangers(by).await.err()?.into(),
        };
        Some(refused.frame(None, None))
    }
}

fn event_of(device: DeviceId, is_preview: bool, frame: DeviceFrame, by: NodeId) -> Option<Event> {
    Some(match frame {
        // A code says itself which ceremony it is for: see `claims`.
        DeviceFrame::Auth(_) | DeviceFrame::Ping(_) | DeviceFrame::Claim(_) => return None,
        DeviceFrame::Ack(ack) if is_preview && ack.of != AckOf::Closed => {
            Event::Previewed { device }
        }
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

/// The answer to a device whose event was refused.
pub(super) fn refused(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::WrongCode { left } => wrong(left.into(), ""),
        Refusal::ClaimedElsewhere => FrameErrorCode::ClaimedElsewhere.into(),
        Refusal::NotChallenged => FrameErrorCode::NotChallenged.into(),
        Refusal::AlreadyAnswered => FrameErrorCode::AlreadyAnswered.into(),
        Refusal::AlreadyClosed => FrameErrorCode::AlreadyClosed.into(),
    }
}
