//! A device on its socket, one frame at a time: what the simulated phone does by itself is here
//! the test's to do, or to do wrong.

use std::time::Duration;

use fido_relay_proto::device::{
    Ack, AckOf, Answer, Card, CardErrorCode, CardEvent, Challenge, Claim, Decline, DeclineReason,
    FrameErrorCode, Notice, Offer,
};
use fido_relay_proto::{
    AttemptId, CeremonyId, DeviceFrame, Outcome, PlainText, Reason, RelayFrame,
};
use fido_relay_rig::phone::Paired;
use fido_relay_rig::phone::wire::{Socket, SocketEnd};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::canary::suite;

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A paired device with an authenticated socket.
#[derive(Debug)]
pub(crate) struct WirePhone {
    pub(crate) paired: Paired,
    pub(crate) socket: Socket,
    /// Offers that came and that it did not say to have.
    unacked: Vec<CeremonyId>,
}

impl WirePhone {
    pub(crate) async fn connect(paired: Paired) -> Self {
        let mut socket = Socket::connect(&paired.socket_url).await.unwrap();
        socket.authenticate(&paired.key, paired.device_id).await.unwrap();
        Self::on(paired, socket)
    }

    /// On a socket of the test's own making.
    pub(crate) fn on(paired: Paired, socket: Socket) -> Self {
        Self { paired, socket, unacked: Vec::new() }
    }

    /// The same device on a new socket; the old one breaks.
    pub(crate) async fn again(self) -> Self {
        Self::connect(self.paired).await
    }

    /// The next frame that is no notice: those come whenever a user has more than one device.
    pub(crate) async fn next(&mut self) -> RelayFrame {
        loop {
            match self.any().await {
                RelayFrame::Notice(_) => {}
                other => return other,
            }
        }
    }

    async fn any(&mut self) -> RelayFrame {
        let next = timeout(PATIENCE, self.socket.next_frame()).await;
        let next = next.expect("the relay says something").unwrap();
        if let RelayFrame::Offer(offer) = &next {
            self.unacked.push(offer.ceremony_id);
        }
        next
    }

    pub(crate) async fn notice(&mut self) -> Notice {
        match self.any().await {
            RelayFrame::Notice(notice) => *notice,
            other => panic!("not a notice: {other:?}"),
        }
    }

    pub(crate) async fn offer(&mut self) -> Offer {
        match self.next().await {
            RelayFrame::Offer(offer) => *offer,
            other => panic!("not an offer: {other:?}"),
        }
    }

    pub(crate) async fn challenge(&mut self) -> Challenge {
        match self.next().await {
            RelayFrame::Challenge(challenge) => {
                // Some tests' FIDO2 servers have a word for it that says what it is.
                if challenge.challenge.len() >= 22 {
                    suite::made(&challenge.challenge);
                }
                *challenge
            }
            other => panic!("not a challenge: {other:?}"),
        }
    }

    pub(crate) async fn accepted(&mut self) -> (CeremonyId, AttemptId) {
        match self.next().await {
            RelayFrame::Accepted { ceremony_id, attempt } => (ceremony_id, attempt),
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) -> (CeremonyId, Outcome, Option<Reason>) {
        match self.next().await {
            RelayFrame::Closed { ceremony_id, outcome, reason } => (ceremony_id, outcome, reason),
            other => panic!("not closed: {other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self) -> (FrameErrorCode, Option<CeremonyId>) {
        match self.next().await {
            RelayFrame::Error { code, ceremony_id, .. } => (code, ceremony_id),
            other => panic!("not an error: {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: DeviceFrame) {
        self.socket.send(&frame).await.unwrap();
    }

    /// Has what it was offered, and types a code into it.
    pub(crate) async fn claim(&mut self, ceremony_id: CeremonyId, code: &str) {
        if self.unacked.contains(&ceremony_id) {
            self.ack(ceremony_id, AckOf::Offer).await;
        }
        self.claim_as(Some(ceremony_id), code, None).await;
    }

    /// Types a code, into a prompt or into none.
    pub(crate) async fn claim_as(
        &mut self,
        ceremony_id: Option<CeremonyId>,
        code: &str,
        claim_id: Option<&str>,
    ) {
        let (code, claim_id) = (code.to_owned(), claim_id.map(|id| PlainText::new(id).unwrap()));
        self.send(DeviceFrame::Claim(Claim { ceremony_id, code, claim_id })).await;
    }

    pub(crate) async fn ack(&mut self, ceremony_id: CeremonyId, of: AckOf) {
        self.unacked.retain(|unacked| *unacked != ceremony_id);
        self.send(DeviceFrame::Ack(Ack { ceremony_id, of })).await;
    }

    pub(crate) async fn card_error(&mut self, ceremony_id: CeremonyId, number: u16) {
        let code = Some(CardErrorCode::new(number).unwrap());
        self.send(DeviceFrame::Card(Card { ceremony_id, event: CardEvent::Error, code })).await;
    }

    pub(crate) async fn decline(&mut self, ceremony_id: CeremonyId, reason: DeclineReason) {
        self.send(DeviceFrame::Decline(Decline { ceremony_id: Some(ceremony_id), reason })).await;
    }

    pub(crate) async fn answer(&mut self, ceremony_id: CeremonyId, attempt: AttemptId, text: &str) {
        let credential = RawValue::from_string(text.to_owned()).unwrap();
        self.send(DeviceFrame::Answer(Answer { ceremony_id, attempt, credential })).await;
    }

    /// Nothing waits to be read: the answer to a frame that every state refuses comes next.
    pub(crate) async fn hears_nothing(&mut self) {
        self.socket.send_text(r#"{"type":"no_such_frame"}"#).await.unwrap();
        assert_eq!(self.refused().await, (FrameErrorCode::UnknownType, None));
    }

    /// The end of the socket, with nothing before it.
    pub(crate) async fn end(&mut self) -> (Option<u16>, String) {
        loop {
            match timeout(PATIENCE, self.socket.next_frame()).await.expect("the socket ends") {
                Ok(RelayFrame::Notice(_)) => {}
                Err(SocketEnd::Closed { code, reason }) => return (code, reason),
                other => panic!("not closed: {other:?}"),
            }
        }
    }
}
