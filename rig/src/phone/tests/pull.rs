//! A phone that sleeps, against a relay whose HTTP answers are a script: what it asks when, and that
//! it is the same app as over a socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::device::{AckOf, Answer, Claim, FrameErrorCode, PULL_TYP, PullClaims};
use fido_relay_proto::http::{PushTarget, SetPush};
use fido_relay_proto::{CeremonyId, DeviceFrame, DeviceId, Outcome, RelayFrame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::proofs::verified;
use super::relay::{CountingCard, a_challenge, an_offer, credential, soon};
use crate::phone::receiver::seal;
use crate::phone::{
    Backoff, Codes, DeviceKey, Faults, Paired, PairingClient, Phone, PhoneEvent, PhoneHandle,
    PullClient, PushReceiver, StopReason, WakeChannel,
};

/// One request of the phone, whose proof holds.
struct Asked {
    what: String,
    query: String,
    body: String,
    nonce: String,
    reply: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Asked {
    fn answers(self, status: u16, nonce: &str, kind: &str, body: String) {
        let response = Response::builder()
            .status(status)
            .header("dpop-nonce", nonce)
            .header("content-type", kind)
            .body(Full::new(Bytes::from(body)));
        // A phone that asks something else by now hears nothing of it.
        let _ = self.reply.send(response.unwrap());
    }

    fn nothing(self) {
        self.answers(204, "n", "text/plain", String::new());
    }

    fn frame(self, status: u16, frame: &RelayFrame) {
        self.answers(status, "n", "application/json", frame.encode());
    }

    fn pulled(self, state: &str, frames: &[RelayFrame]) {
        let frames: Vec<_> = frames.iter().map(RelayFrame::encode).collect();
        let body = format!(r#"{{"frames":[{}],"state":"{state}"}}"#, frames.join(","));
        self.answers(200, "n", "application/json", body);
    }

    fn refused(self, status: u16, nonce: &str) {
        let kind = "application/problem+json";
        self.answers(status, nonce, kind, r#"{"title":"no"}"#.to_owned());
    }

    fn is_for(&self, id: CeremonyId, verb: &str) -> bool {
        self.what == format!("POST /v1/device/ceremonies/{id}/{verb}")
    }

    fn device_frame(&self) -> DeviceFrame {
        DeviceFrame::decode(&self.body).unwrap()
    }
}

/// A relay that answers what the test says, and a phone that sleeps in front of it.
struct Night {
    asked: mpsc::Receiver<Asked>,
    events: mpsc::Receiver<PhoneEvent>,
    handle: PhoneHandle,
    card: Arc<CountingCard>,
    codes: Codes,
    target: PushTarget,
    tasks: Tasks,
}

impl Night {
    async fn falls(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let key = DeviceKey::generate().unwrap();
        let device_id = DeviceId::from_bytes(random::bytes());
        let (requests, asked) = mpsc::channel(16);
        let tasks = Tasks::default();
        let expects = Arc::new((base.clone(), key.clone(), device_id, requests));
        let connections = tasks.clone();
        tasks.spawn("scripted relay", async move {
            while let Some(Ok((stream, _))) =
                connections.stopping().run_until_cancelled(listener.accept()).await
            {
                let expects = Arc::clone(&expects);
                let service = service_fn(move |request| {
                    let expects = Arc::clone(&expects);
                    async move { Ok::<_, Infallible>(asks(request, &expects).await) }
                });
                let stopping = connections.stopping().clone();
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn_untraced(async move {
                    let _ = stopping.run_until_cancelled(serving).await;
                });
            }
        });
        let receiver = PushReceiver::listen(&tasks).await.unwrap();
        let subscription = receiver.subscribe().unwrap();
        let target = subscription.target().clone();
        let (card, codes) = (Arc::new(CountingCard::default()), Codes::default());
        let socket_url = format!("{}/v1/device/socket", base.replacen("http", "ws", 1));
        let paired = Paired { device_id, socket_url, key };
        let client = PullClient::from(&PairingClient::new().unwrap());
        let backoff = Backoff { base: Duration::from_millis(2), cap: Duration::from_millis(20) };
        let (handle, events) = Phone::new(paired, card.clone(), Arc::new(codes.clone()))
            .with_faults(faults)
            .with_backoff(backoff)
            .asleep(WakeChannel { subscription, client })
            .connect(&tasks);
        Self { asked, events, handle, card, codes, target, tasks }
    }

    /// A phone whose address the relay has, and which sleeps.
    async fn fell(faults: Faults) -> Self {
        let mut night = Self::falls(faults).await;
        night.next("PUT /v1/device/push").await.nothing();
        night.look().await.pulled("s0", &[]);
        night.wait_for("that it sleeps", |event| matches!(event, PhoneEvent::Asleep)).await;
        night
    }

    /// The next request, which must be this one.
    async fn next(&mut self, what: &str) -> Asked {
        let asked = soon(what, self.asked.recv()).await.unwrap();
        assert_eq!(asked.what, what, "with {}", asked.body);
        asked
    }

    async fn look(&mut self) -> Asked {
        self.next("GET /v1/device/ceremonies").await
    }

    async fn of(&mut self, id: CeremonyId, verb: &str) -> Asked {
        self.next(&format!("POST /v1/device/ceremonies/{id}/{verb}")).await
    }

    /// What is said about a ceremony while a look is held or about to be asked for, and that look.
    async fn meanwhile(&mut self, id: CeremonyId, verb: &str) -> (Option<Asked>, Asked) {
        let first = soon(verb, self.asked.recv()).await.unwrap();
        if first.is_for(id, verb) {
            return (None, first);
        }
        assert_eq!(first.what, "GET /v1/device/ceremonies");
        (Some(first), self.of(id, verb).await)
    }

    async fn acked(&mut self, id: CeremonyId, of: AckOf) {
        let asked = self.of(id, "ack").await;
        let DeviceFrame::Ack(ack) = asked.device_frame() else { panic!("no ack") };
        assert_eq!(ack.of, of);
        asked.nothing();
    }

    /// Waits for the event that fits.
    async fn wait_for(&mut self, what: &str, fits: impl Fn(&PhoneEvent) -> bool) -> PhoneEvent {
        loop {
            let event = soon(what, self.events.recv()).await;
            let event = event.unwrap_or_else(|| panic!("the phone ended before {what}"));
            if fits(&event) {
                return event;
            }
        }
    }

    async fn wakes(&self, text: &str) {
        let keys = self.target.keys.as_ref().unwrap();
        let sealed = seal(keys.p256dh.as_str(), keys.auth.as_str(), text.as_bytes());
        let client = fido_relay_kit::trust::http_client().no_proxy().build().unwrap();
        let request = client.post(self.target.token.as_str()).body(sealed);
        let request = request.header("TTL", "60").header("Content-Encoding", "aes128gcm");
        assert_eq!(request.send().await.unwrap().status(), 201);
    }

    async fn ends(self) {
        self.handle.stop();
        assert!(self.tasks.stop(Duration::from_secs(5)).await);
    }
}

/// Holds the proof to the request, and asks the test what to say.
async fn asks(
    request: Request<Incoming>,
    (base, key, device_id, requests): &(String, DeviceKey, DeviceId, mpsc::Sender<Asked>),
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let proof = parts.headers["authorization"].to_str().unwrap().strip_prefix("DPoP ").unwrap();
    let claims: PullClaims = verified(proof, PULL_TYP, key.jwk());
    assert_eq!((&claims.aud, claims.device_id), (base, *device_id));
    assert_eq!(claims.htm, parts.method.as_str());
    assert_eq!(claims.htu, format!("{base}{}", parts.uri.path()));
    assert_eq!(claims.body_sha256, URL_SAFE_NO_PAD.encode(digest(&SHA256, &body)));
    assert!((16..=64).contains(&claims.jti.len()));
    let (reply, said) = oneshot::channel();
    let asked = Asked {
        what: format!("{} {}", parts.method, parts.uri.path()),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        nonce: claims.nonce,
        reply,
    };
    requests.send(asked).await.unwrap();
    said.await.unwrap_or_else(|_| Response::builder().status(500).body(Full::default()).unwrap())
}

const WAKE: &str = r#"{"wake":"w1","body":"Open the app."}"#;

#[tokio::test]
async fn a_phone_sets_its_address_sleeps_and_goes_through_a_ceremony_once_it_is_woken() {
    let mut night = Night::falls(Faults::none()).await;
    let set = night.next("PUT /v1/device/push").await;
    let SetPush { push } = serde_json::from_str(&set.body).unwrap();
    assert_eq!(push.unwrap(), night.target);
    set.nothing();
    let look = night.look().await;
    assert_eq!(look.query, "wait=0");
    look.pulled("s0", &[]);
    night.wait_for("that it sleeps", |event| matches!(event, PhoneEvent::Asleep)).await;

    let offer = an_offer(6);
    let id = offer.ceremony_id;
    night.codes.provide(id, "271828");
    night.wakes(WAKE).await;
    let woken = night.wait_for("a wake", |event| matches!(event, PhoneEvent::Woken { .. })).await;
    let PhoneEvent::Woken { wake, body } = woken else { unreachable!() };
    assert_eq!((wake.as_str(), body.as_str()), ("w1", "Open the app."));
    let look = night.look().await;
    assert_eq!((look.query.as_str(), look.nonce.as_str()), ("wait=0", "n"));
    look.pulled("s1", &[RelayFrame::Offer(Box::new(offer.clone()))]);
    night.acked(id, AckOf::Offer).await;
    // The person types while the relay holds the next look.
    let (held, claimed) = night.meanwhile(id, "claim").await;
    let DeviceFrame::Claim(Claim { code, .. }) = claimed.device_frame() else { panic!() };
    assert_eq!(code, "271828");
    claimed.nothing();
    let held = match held {
        Some(held) => held,
        None => night.look().await,
    };
    assert_eq!(held.query, format!("wait=25&since=s1&shown={id}"));
    let challenge = a_challenge(&offer);
    held.pulled("s2", &[RelayFrame::Challenge(Box::new(challenge.clone()))]);
    night.acked(id, AckOf::Challenge).await;
    night.of(id, "card").await.nothing();
    let answered = night.of(id, "answer").await;
    assert!(answered.body.contains(&credential(1)), "byte for byte: {}", answered.body);
    answered.frame(200, &RelayFrame::Accepted { ceremony_id: id, attempt: challenge.attempt });
    let closed = RelayFrame::Closed { ceremony_id: id, outcome: Outcome::Succeeded, reason: None };
    night.look().await.pulled("s3", &[closed]);
    night.acked(id, AckOf::Closed).await;
    night.wait_for("that it sleeps again", |event| matches!(event, PhoneEvent::Asleep)).await;
    assert_eq!(night.card.signatures(), 1);
    night.ends().await;
}

#[tokio::test]
async fn what_is_no_wake_wakes_nothing() {
    let mut night = Night::fell(Faults::none()).await;
    for text in ["", "{}", r#"{"wake":"w1"}"#, "not JSON"] {
        night.wakes(text).await;
    }
    night.wakes(WAKE).await;
    // The first look is that of the one wake.
    night.wait_for("a wake", |event| matches!(event, PhoneEvent::Woken { .. })).await;
    night.look().await.pulled("s1", &[]);
    night.wait_for("that it sleeps", |event| matches!(event, PhoneEvent::Asleep)).await;
    assert!(night.asked.try_recv().is_err());
    night.ends().await;
}

#[tokio::test]
async fn a_refused_proof_is_signed_anew_with_the_nonce_that_came_with_the_refusal() {
    let mut night = Night::falls(Faults::none()).await;
    let first = night.next("PUT /v1/device/push").await;
    assert_eq!(first.nonce, "");
    first.refused(401, "n1");
    let again = night.next("PUT /v1/device/push").await;
    assert_eq!(again.nonce, "n1");
    again.nothing();
    night.look().await.pulled("s0", &[]);
    night.ends().await;
}

#[tokio::test]
async fn a_device_that_the_relay_does_not_know_stops_after_five_refusals() {
    let mut night = Night::falls(Faults::none()).await;
    for refusal in 0..5 {
        night.next("PUT /v1/device/push").await.refused(401, &format!("n{refusal}"));
        night.next("PUT /v1/device/push").await.refused(401, &format!("m{refusal}"));
    }
    let stopped = night.wait_for("its end", |event| matches!(event, PhoneEvent::Stopped(_))).await;
    assert!(matches!(stopped, PhoneEvent::Stopped(StopReason::Unknown)), "{stopped:?}");
    night.ends().await;
}

#[tokio::test]
async fn a_relay_that_wakes_nobody_is_no_place_to_sleep() {
    for status in [404, 422, 501] {
        let mut night = Night::falls(Faults::none()).await;
        night.next("PUT /v1/device/push").await.refused(status, "n");
        let stopped =
            night.wait_for("its end", |event| matches!(event, PhoneEvent::Stopped(_))).await;
        assert!(matches!(stopped, PhoneEvent::Stopped(StopReason::NoPush)), "{stopped:?}");
        night.ends().await;
    }
}

#[tokio::test]
async fn an_error_frame_is_heard_whatever_its_status() {
    let mut night = Night::fell(Faults { wrong_codes: 1, ..Faults::none() }).await;
    let offer = an_offer(6);
    let id = offer.ceremony_id;
    night.codes.provide(id, "271828");
    night.wakes(WAKE).await;
    night.look().await.pulled("s1", &[RelayFrame::Offer(Box::new(offer))]);
    night.acked(id, AckOf::Offer).await;
    let (_held, claimed) = night.meanwhile(id, "claim").await;
    let DeviceFrame::Claim(wrong) = claimed.device_frame() else { panic!() };
    assert_ne!(wrong.code, "271828");
    let error = RelayFrame::Error {
        code: FrameErrorCode::WrongCode,
        message: "no".to_owned(),
        retryable: false,
        ceremony_id: Some(id),
        claim_id: wrong.claim_id,
    };
    claimed.frame(422, &error);
    let (_look, right) = night.meanwhile(id, "claim").await;
    let DeviceFrame::Claim(Claim { code, .. }) = right.device_frame() else { panic!() };
    assert_eq!(code, "271828");
    right.nothing();
    night.ends().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_sent_again_and_the_card_signs_once() {
    let mut night = Night::fell(Faults::none()).await;
    let offer = an_offer(0);
    let (id, challenge) = (offer.ceremony_id, a_challenge(&offer));
    night.codes.provide(id, "unused");
    night.wakes(WAKE).await;
    night.look().await.pulled("s1", &[RelayFrame::Challenge(Box::new(challenge.clone()))]);
    night.acked(id, AckOf::Challenge).await;
    let mut answers = Vec::new();
    let mut held = Vec::new();
    while answers.len() < 2 {
        let asked = soon("an answer", night.asked.recv()).await.unwrap();
        if asked.is_for(id, "answer") {
            let DeviceFrame::Answer(Answer { credential, .. }) = asked.device_frame() else {
                panic!()
            };
            answers.push(credential.get().to_owned());
            // The first one is not taken.
            if answers.len() == 1 { asked.refused(503, "n") } else { asked.nothing() }
        } else if asked.what.starts_with("GET") {
            held.push(asked);
        } else {
            asked.nothing();
        }
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(night.card.signatures(), 1);
    night.ends().await;
}

#[tokio::test]
async fn a_code_that_is_typed_while_the_phone_sleeps_goes_out_at_once() {
    let mut night = Night::fell(Faults::none()).await;
    night.handle.type_code("271828").await;
    let claimed = night.next("POST /v1/device/claim").await;
    let DeviceFrame::Claim(claim) = claimed.device_frame() else { panic!() };
    assert_eq!((claim.ceremony_id, claim.code.as_str()), (None, "271828"));
    let error = RelayFrame::Error {
        code: FrameErrorCode::WrongCode,
        message: "no".to_owned(),
        retryable: false,
        ceremony_id: None,
        claim_id: claim.claim_id,
    };
    claimed.frame(422, &error);
    night.wait_for("the refusal", |event| matches!(event, PhoneEvent::Refused { .. })).await;
    night.ends().await;
}
