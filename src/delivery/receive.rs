//! Frames of devices, from a socket or by pull: each becomes an event of its ceremony.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::device::{
    AckOf, Claim, Decline, DeclineReason, DeviceFrame, FrameErrorCode, Offer, Preview,
};
use fido_relay_proto::{CeremonyId, DeviceId, NodeId, RelayFrame, WireName};

use super::Delivery;
use super::connection::{Connection, Shown};
use super::frame_source::FrameSource;
use super::frames::offer;
use crate::app::ceremonies::{CeremonyKey, ClaimOutcome, DeviceIdentity, FrameRefusal};
use crate::core::ceremony::{Ceremony, Event, Reply};
use crate::fault_point::{self, Point};

impl Delivery {
    /// A frame about a ceremony came over a socket: gives what to answer, if anything.
    pub async fn receive(&self, connection: &Connection, frame: DeviceFrame) -> Option<RelayFrame> {
        self.receive_from(connection.into(), frame).await
    }

    /// A frame came by an HTTP request: gives what a socket would answer, if anything.
    pub async fn receive_pulled(
        &self,
        identity: &DeviceIdentity,
        address: IpAddr,
        frame: DeviceFrame,
    ) -> Option<RelayFrame> {
        let source = FrameSource { identity, address: Some(address), socket: None };
        self.receive_from(source, frame).await
    }

    async fn receive_from(
        &self,
        source: FrameSource<'_>,
        frame: DeviceFrame,
    ) -> Option<RelayFrame> {
        match frame {
            DeviceFrame::Decline(Decline { ceremony_id: None, reason }) => {
                self.decline_held(source.identity, reason).await
            }
            DeviceFrame::Claim(claim) => self.receive_claim(source, claim).await,
            frame @ (DeviceFrame::Auth(_)
            | DeviceFrame::Ack(_)
            | DeviceFrame::Card(_)
            | DeviceFrame::Answer(_)
            | DeviceFrame::Decline(_)
            | DeviceFrame::Ping(_)) => {
                let ceremony_id = frame.ceremony_id()?;
                let reply = self.receive_event(source, ceremony_id, frame).await;
                reply.unwrap_or_else(|refusal| Some(refusal.frame(Some(ceremony_id), None)))
            }
        }
    }

    async fn receive_event(
        &self,
        source: FrameSource<'_>,
        ceremony_id: CeremonyId,
        frame: DeviceFrame,
    ) -> Result<Option<RelayFrame>, FrameRefusal> {
        let ceremony = self.ceremonies().answerable(source.identity, ceremony_id).await?;
        if matches!(frame, DeviceFrame::Answer(_)) {
            fault_point::reached(Point::AnswerReceived);
        }
        let is_preview = self.is_preview(source, &ceremony);
        let (device, by) = (source.identity.device, self.ceremonies().node());
        let Some(event) = event_of(device, is_preview, frame, by) else {
            return Ok(None);
        };
        if let (Event::Acked { .. } | Event::Previewed { .. }, Some(socket)) =
            (&event, source.socket)
        {
            socket.acked(ceremony_id);
        }
        let advanced =
            self.ceremonies().advance_soon(&CeremonyKey::from(&*ceremony), event).await?;
        match advanced.reply {
            Reply::Done | Reply::Ignored => Ok(None),
            Reply::Accepted { attempt } => {
                // The first time, the notice of the end shows it.
                if !advanced.changed
                    && let Some(socket) = source.socket
                {
                    self.show_end(&advanced.ceremony, socket);
                }
                Ok(Some(RelayFrame::Accepted { ceremony_id, attempt }))
            }
            Reply::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Whether what the device has of a ceremony is the preview that a typed code gave, which no
    /// other device sees until its person confirms.
    fn is_preview(&self, source: FrameSource<'_>, ceremony: &Ceremony) -> bool {
        match source.shown(ceremony.request.id) {
            Some(shown) => shown == Shown::Preview,
            None => ceremony.is_unclaimed() && !self.is_prompt_of(ceremony, source.identity),
        }
    }

    /// The answer to a claim; none: it is taken, and a challenge follows.
    async fn receive_claim(&self, source: FrameSource<'_>, claim: Claim) -> Option<RelayFrame> {
        let answer = self.claim(source, &claim).await;
        self.dependencies().counts.claim(&match &answer {
            Ok(None) => "claimed".to_owned(),
            Ok(Some(_)) => "preview".to_owned(),
            Err(refusal) => WireName(refusal.code()).to_string(),
        });
        match answer {
            Ok(offer) => offer.map(RelayFrame::Offer),
            Err(refusal) => Some(refusal.frame(claim.ceremony_id, claim.claim_id)),
        }
    }

    async fn claim(
        &self,
        source: FrameSource<'_>,
        claim: &Claim,
    ) -> Result<Option<Box<Offer>>, FrameRefusal> {
        match self.ceremonies().claim(source.identity, source.address, claim).await? {
            ClaimOutcome::Claimed => Ok(None),
            ClaimOutcome::Repeated(ceremony) => {
                if let Some(socket) = source.socket {
                    let id = ceremony.request.id;
                    socket.unshow(id);
                    socket.show(id, Shown::Wait);
                    self.show(&ceremony, socket);
                }
                Ok(None)
            }
            ClaimOutcome::Preview(ceremony, preview) => {
                self.show_preview(source, &ceremony, preview).await.map(Some)
            }
        }
    }

    /// Shows who asks and what for, on this device alone.
    async fn show_preview(
        &self,
        source: FrameSource<'_>,
        ceremony: &Ceremony,
        preview: Preview,
    ) -> Result<Box<Offer>, FrameRefusal> {
        let id = ceremony.request.id;
        let before = source.shown(id);
        if before != Some(Shown::Offer) {
            source.show(id, Shown::Preview);
        }
        let now = self.ceremonies().newest(&CeremonyKey::from(ceremony)).await?;
        if now.is_none_or(|now| now.latest().closed().is_some()) {
            // What the app showed before, the end itself takes down.
            if before.is_none() {
                source.unshow(id);
            }
            return Err(FrameErrorCode::AlreadyClosed.into());
        }
        Ok(Box::new(offer(ceremony, Some(preview), self.dependencies().clock.now())))
    }

    /// The person said no to prompts that were held back.
    async fn decline_held(&self, by: &DeviceIdentity, reason: DeclineReason) -> Option<RelayFrame> {
        let refusal: FrameRefusal = match reason {
            DeclineReason::Declined => FrameErrorCode::InvalidFrame.into(),
            DeclineReason::NotMe => self.ceremonies().mute_strangers(by).await.err()?.into(),
        };
        Some(refusal.frame(None, None))
    }
}

fn event_of(device: DeviceId, is_preview: bool, frame: DeviceFrame, by: NodeId) -> Option<Event> {
    Some(match frame {
        // The code of a claim says itself which ceremony it is for.
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
