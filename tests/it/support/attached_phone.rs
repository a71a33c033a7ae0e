//! A phone without a socket on a [`BareRelay`]: what it is shown is read from its mailbox, and its
//! frames go straight to the relay.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay::app::ceremonies::DeviceIdentity;
use fido_relay::app::devices::Device;
use fido_relay::delivery::{Connection, ConnectionAction};
use fido_relay::security::random;
use fido_relay_proto::device::{
    Ack, AckOf, Answer, Claim, Decline, DeclineReason, FrameErrorCode, Offer,
};
use fido_relay_proto::{CeremonyId, ConnectionId, DeviceFrame, DeviceId, PlainText, RelayFrame};
use serde_json::value::RawValue;

use crate::support::actions::{add_device, device};
use crate::support::bare_relay::BareRelay;

/// Longer than an opening waits before it is shown, and a report before it is stored. With tokio's
/// time paused it takes none.
const SETTLES: Duration = Duration::from_millis(200);

/// A paired phone, connected.
pub(crate) struct AttachedPhone {
    device: Device,
    connection: Arc<Connection>,
}

impl AttachedPhone {
    /// A new phone of this user's.
    pub(crate) async fn pair(relay: &BareRelay, username: &str) -> Self {
        let device = device(username);
        add_device(&*relay.store, &device).await;
        Self::attach(relay, device).await
    }

    pub(crate) async fn attach(relay: &BareRelay, device: Device) -> Self {
        Self::attach_at(relay, device, None).await
    }

    async fn attach_at(relay: &BareRelay, device: Device, address: Option<IpAddr>) -> Self {
        let Device { id, tenant, username, .. } = device.clone();
        let owner = DeviceIdentity { device: id, tenant, username };
        let connection = Connection::new(ConnectionId::from_bytes(random::bytes()), owner);
        let connection = match address {
            Some(address) => connection.at(address),
            None => connection,
        };
        let connection = Arc::new(connection);
        for key in relay.relay.delivery.attach(&connection, &device.jwk).await {
            relay.relay.delivery.show_again(&key, &connection).await;
        }
        Self { device, connection }
    }

    /// A new phone of this user's at this address.
    pub(crate) async fn pair_at(relay: &BareRelay, username: &str, address: IpAddr) -> Self {
        let device = device(username);
        add_device(&*relay.store, &device).await;
        Self::attach_at(relay, device, Some(address)).await
    }

    /// The same phone on a new socket; the old one has died.
    pub(crate) async fn reconnects(self, relay: &BareRelay) -> Self {
        relay.relay.delivery.detach(&self.connection);
        Self::attach(relay, self.device).await
    }

    /// Its socket dies.
    pub(crate) fn leaves(self, relay: &BareRelay) -> Device {
        relay.relay.delivery.detach(&self.connection);
        self.device
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.device.id
    }

    /// What it was shown since, once everything has settled. It acknowledges nothing.
    pub(crate) async fn sees(&self, relay: &BareRelay) -> Vec<RelayFrame> {
        tokio::time::sleep(SETTLES).await;
        let mut seen = Vec::new();
        while let ConnectionAction::Write(outgoing) = self.connection.next() {
            if let Some(ceremony) = outgoing.sent {
                relay.relay.delivery.sent(&self.connection, ceremony).await;
            }
            seen.push(RelayFrame::decode(&outgoing.text).unwrap());
        }
        seen
    }

    /// The offers among what it was shown since; it acknowledges them.
    pub(crate) async fn offers(&self, relay: &BareRelay) -> Vec<Offer> {
        let mut offers = Vec::new();
        for frame in self.sees(relay).await {
            if let RelayFrame::Offer(offer) = frame {
                self.acks(relay, offer.ceremony_id).await;
                offers.push(*offer);
            }
        }
        offers
    }

    pub(crate) async fn acks(&self, relay: &BareRelay, ceremony_id: CeremonyId) {
        let ack = DeviceFrame::Ack(Ack { ceremony_id, of: AckOf::Offer });
        assert!(self.sends(relay, ack).await.is_none());
    }

    pub(crate) async fn sends(&self, relay: &BareRelay, frame: DeviceFrame) -> Option<RelayFrame> {
        relay.relay.delivery.receive(&self.connection, frame).await
    }

    pub(crate) async fn types(
        &self,
        relay: &BareRelay,
        ceremony_id: Option<CeremonyId>,
        code: &str,
        claim_id: Option<&str>,
    ) -> Option<RelayFrame> {
        let claim_id = claim_id.map(|id| PlainText::new(id).unwrap());
        let claim = Claim { ceremony_id, code: code.to_owned(), claim_id };
        self.sends(relay, DeviceFrame::Claim(claim)).await
    }

    /// Types a code without a prompt; what it previews.
    pub(crate) async fn previews(&self, relay: &BareRelay, code: &str) -> Offer {
        match self.types(relay, None, code, None).await {
            Some(RelayFrame::Offer(offer)) => *offer,
            other => panic!("no preview: {other:?}"),
        }
    }

    /// Types a code without a prompt, confirms what it shows, and uses the card.
    pub(crate) async fn signs_in_by(&self, relay: &BareRelay, code: &str) -> CeremonyId {
        let offer = self.previews(relay, code).await;
        self.acks(relay, offer.ceremony_id).await;
        self.answers(relay, offer.ceremony_id, code).await;
        offer.ceremony_id
    }

    /// Types the code of a prompt that it has, and uses the card.
    pub(crate) async fn answers(&self, relay: &BareRelay, id: CeremonyId, code: &str) {
        assert!(self.types(relay, Some(id), code, None).await.is_none());
        let attempt = loop {
            let frames = self.sees(relay).await;
            let challenge = frames.iter().find_map(|frame| match frame {
                RelayFrame::Challenge(challenge) if challenge.offer.ceremony_id == id => {
                    Some(challenge.attempt)
                }
                _ => None,
            });
            if let Some(attempt) = challenge {
                break attempt;
            }
        };
        let credential = RawValue::from_string("{}".to_owned()).unwrap();
        let answer = Answer { ceremony_id: id, attempt, credential };
        let accepted = self.sends(relay, DeviceFrame::Answer(answer)).await;
        assert!(matches!(accepted, Some(RelayFrame::Accepted { .. })), "{accepted:?}");
        self.sees(relay).await;
    }

    pub(crate) async fn declines(&self, relay: &BareRelay, id: Option<CeremonyId>) {
        let decline = Decline { ceremony_id: id, reason: DeclineReason::NotMe };
        assert!(self.sends(relay, DeviceFrame::Decline(decline)).await.is_none());
    }
}

/// The code of an error frame.
pub(crate) fn refused(frame: Option<RelayFrame>) -> FrameErrorCode {
    match frame {
        Some(RelayFrame::Error { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}
