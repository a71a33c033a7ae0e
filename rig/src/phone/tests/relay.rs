//! The scripted relay and the other stage properties: a card that counts, prompts to show.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::device::{
    AckOf, Auth, CardErrorCode, Challenge, Claim, FrameErrorCode, Offer, Preview, SocketLimits,
};
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;
use fido_relay_proto::{
    AttemptId, CeremonyId, CeremonyType, ConnectionId, DeviceFrame, DeviceId, DisplayName, Outcome,
    PlainText, RelayFrame, Username,
};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::phone::{
    Backoff, Card, Codes, DeviceKey, Faults, Paired, Person, Phone, PhoneEvent, PhoneHandle,
};

/// No test waits longer for anything; it is no measure of time.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("waited in vain for {what}")
    };
    value
}

/// A card whose answers are numbered, so that a second signature shows.
#[derive(Debug, Default)]
pub(super) struct CountingCard {
    signatures: AtomicUsize,
    pub(super) errors: Mutex<VecDeque<u16>>,
}

impl CountingCard {
    pub(super) fn signatures(&self) -> usize {
        self.signatures.load(Ordering::SeqCst)
    }
}

/// An answer whose blanks and order must survive.
pub(super) fn credential(number: usize) -> String {
    format!(r#"{{"type":"public-key",  "id":"{number}", "response":{{ "b":1,"a":2}}}}"#)
}

impl Card for CountingCard {
    fn sign(&self, _challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return Err(CardErrorCode::new(error).unwrap());
        }
        let number = self.signatures.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(RawValue::from_string(credential(number)).unwrap())
    }
}

pub(super) fn an_offer(code_length: u8) -> Offer {
    Offer {
        ceremony_id: CeremonyId::from_bytes(random::bytes()),
        ceremony_type: CeremonyType::Authentication,
        client_name: PlainText::new("Example Bank").unwrap(),
        rp_id: "example.com".to_owned(),
        username: Username::new("ada").unwrap(),
        display_name: DisplayName::new("Ada").unwrap(),
        message: None,
        transaction: None,
        context: None,
        code_length,
        preview: None,
        expires_in: 120,
    }
}

pub(super) fn a_challenge(offer: &Offer) -> Challenge {
    Challenge {
        offer: offer.clone(),
        attempt: AttemptId::from_bytes(random::bytes()),
        challenge: "Y2hhbGxlbmdl".to_owned(),
        origin: "https://example.com".to_owned(),
        public_key: RawValue::from_string(r#"{"rpId":"example.com"}"#.to_owned()).unwrap(),
    }
}

/// The relay's end of one phone.
pub(super) struct Line(WebSocketStream<TcpStream>);

impl Line {
    /// What is sent to a phone that has just gone is lost, as it would be on any network.
    pub(super) async fn send(&mut self, frame: &RelayFrame) {
        let _ = self.0.send(Message::text(frame.encode())).await;
    }

    pub(super) async fn raw_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(super) async fn offer(&mut self, offer: &Offer) {
        self.send(&RelayFrame::Offer(Box::new(offer.clone()))).await;
    }

    pub(super) async fn challenge(&mut self, challenge: &Challenge) {
        self.send(&RelayFrame::Challenge(Box::new(challenge.clone()))).await;
    }

    pub(super) async fn accept(&mut self, challenge: &Challenge) {
        let (ceremony_id, attempt) = (challenge.offer.ceremony_id, challenge.attempt);
        self.send(&RelayFrame::Accepted { ceremony_id, attempt }).await;
    }

    pub(super) async fn end(&mut self, ceremony_id: CeremonyId, outcome: Outcome) {
        self.send(&RelayFrame::Closed { ceremony_id, outcome, reason: None }).await;
    }

    /// Shows what the code of this claim has found.
    pub(super) async fn preview(&mut self, offer: &Offer, claim: &Claim) {
        let preview = Preview {
            by_code: true,
            rang: false,
            known_browser: false,
            after_not_me: false,
            claim_id: claim.claim_id.clone(),
        };
        self.offer(&Offer { preview: Some(preview), ..offer.clone() }).await;
    }

    pub(super) async fn refuse(&mut self, ceremony_id: CeremonyId, code: FrameErrorCode) {
        self.error(code, Some(ceremony_id), None).await;
    }

    pub(super) async fn refuse_claim(&mut self, claim: &Claim, code: FrameErrorCode) {
        self.error(code, claim.ceremony_id, claim.claim_id.clone()).await;
    }

    pub(super) async fn error(
        &mut self,
        code: FrameErrorCode,
        ceremony_id: Option<CeremonyId>,
        claim_id: Option<PlainText<64>>,
    ) {
        let (message, retryable) = ("no".to_owned(), code.is_retryable());
        self.send(&RelayFrame::Error { code, message, retryable, ceremony_id, claim_id }).await;
    }

    pub(super) async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.0.close(Some(frame)).await.unwrap();
    }

    /// The next text as it came; `None` once the phone is gone.
    pub(super) async fn text(&mut self) -> Option<String> {
        match soon("a frame from the phone", self.0.next()).await {
            Some(Ok(Message::Text(text))) => Some(text.as_str().to_owned()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(other)) => panic!("an app sends no {other:?}"),
        }
    }

    pub(super) async fn frame(&mut self) -> DeviceFrame {
        DeviceFrame::decode(&self.text().await.expect("the phone is gone")).unwrap()
    }

    pub(super) async fn acked(&mut self, of: AckOf) -> CeremonyId {
        let frame = self.frame().await;
        let DeviceFrame::Ack(ack) = frame else { panic!("no ack of {of:?} but {frame:?}") };
        assert_eq!(ack.of, of);
        ack.ceremony_id
    }

    pub(super) async fn claim(&mut self) -> Claim {
        let frame = self.frame().await;
        let DeviceFrame::Claim(claim) = frame else { panic!("no claim but {frame:?}") };
        claim
    }

    pub(super) async fn claimed(&mut self) -> String {
        self.claim().await.code
    }

    /// The card's number, `None` for `present`.
    pub(super) async fn card(&mut self) -> Option<u16> {
        let frame = self.frame().await;
        let DeviceFrame::Card(card) = frame else { panic!("no card event but {frame:?}") };
        card.code.and_then(CardErrorCode::number)
    }

    /// The answer's attempt and bytes.
    pub(super) async fn answered(&mut self) -> (AttemptId, String) {
        let frame = self.frame().await;
        let DeviceFrame::Answer(answer) = frame else { panic!("no answer but {frame:?}") };
        (answer.attempt, answer.credential.get().to_owned())
    }

    pub(super) async fn is_gone(&mut self) -> bool {
        self.text().await.is_none()
    }
}

/// A relay that listens and does what the test says.
pub(super) struct ScriptedRelay {
    listener: TcpListener,
    pub(super) key: DeviceKey,
    pub(super) device_id: DeviceId,
    pub(super) tasks: Tasks,
}

impl ScriptedRelay {
    pub(super) async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            key: DeviceKey::generate().unwrap(),
            device_id: DeviceId::from_bytes(random::bytes()),
            tasks: Tasks::default(),
        }
    }

    pub(super) fn socket_url(&self) -> String {
        format!("ws://{}/v1/device/socket", self.listener.local_addr().unwrap())
    }

    pub(super) fn paired(&self) -> Paired {
        Paired { device_id: self.device_id, socket_url: self.socket_url(), key: self.key.clone() }
    }

    pub(super) async fn raw(&self) -> TcpStream {
        soon("a connection", self.listener.accept()).await.unwrap().0
    }

    /// Takes the next socket, before any frame.
    #[expect(clippy::result_large_err, reason = "the library's callback is made like that")]
    pub(super) async fn upgraded(&self) -> Line {
        let stream = self.raw().await;
        let agree = |request: &Request, mut response: Response| {
            let wanted = request.headers().get("sec-websocket-protocol").unwrap();
            assert_eq!(wanted, DEVICE_SUBPROTOCOL);
            response.headers_mut().insert("sec-websocket-protocol", wanted.clone());
            Ok(response)
        };
        Line(soon("the upgrade", accept_hdr_async(stream, agree)).await.unwrap())
    }

    /// Takes the next socket up to the phone's proof.
    pub(super) async fn proven(&self, nonce: &str) -> (Line, String) {
        let mut line = self.upgraded().await;
        line.send(&RelayFrame::Hello { nonce: nonce.to_owned(), auth_within_s: 10 }).await;
        let frame = line.frame().await;
        let DeviceFrame::Auth(Auth { proof }) = frame else { panic!("no proof but {frame:?}") };
        (line, proof)
    }

    /// Takes the next socket and welcomes it.
    pub(super) async fn welcomed(&self) -> Line {
        let (mut line, _) = self.proven("nonce").await;
        let limits = SocketLimits { frame_bytes: 32_768, frames_per_s: 10, burst: 30 };
        line.send(&RelayFrame::Welcome {
            connection_id: ConnectionId::from_bytes(random::bytes()),
            heartbeat_s: 25,
            reauth_in_s: 3600,
            limits,
        })
        .await;
        line
    }

    pub(super) fn phone(&self, person: Arc<dyn Person>, faults: Faults) -> Stage {
        let card = Arc::new(CountingCard::default());
        let backoff = Backoff { base: Duration::from_millis(2), cap: Duration::from_millis(20) };
        let (handle, events) = Phone::new(self.paired(), card.clone(), person)
            .with_faults(faults)
            .with_backoff(backoff)
            .connect(&self.tasks);
        Stage { handle, events, card }
    }

    /// A phone whose person knows the code of every page, and a prompt for it.
    pub(super) fn phone_with_code(&self, faults: Faults) -> (Stage, Offer) {
        let offer = an_offer(6);
        let codes = Codes::default();
        codes.provide(offer.ceremony_id, "271828");
        (self.phone(Arc::new(codes), faults), offer)
    }
}

/// The phone's side of a test.
pub(super) struct Stage {
    pub(super) handle: PhoneHandle,
    pub(super) events: mpsc::Receiver<PhoneEvent>,
    pub(super) card: Arc<CountingCard>,
}

impl Stage {
    /// Waits for the event that `pick` knows, and drops those before it.
    pub(super) async fn sees<T>(
        &mut self,
        what: &str,
        pick: impl Fn(PhoneEvent) -> Option<T>,
    ) -> T {
        loop {
            let event = soon(what, self.events.recv()).await;
            let event = event.unwrap_or_else(|| panic!("the phone ended before {what}"));
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    }
}
