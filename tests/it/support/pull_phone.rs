//! A device that holds no socket, one request at a time: what the relay answers is the test's to
//! look at.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::security::random;
use fido_relay_proto::device::{Ack, AckOf, Answer, Card, CardEvent, Challenge, Claim, PULL_TYP};
use fido_relay_proto::http::Pulled;
use fido_relay_proto::{CeremonyId, DeviceFrame, RelayFrame};
use fido_relay_rig::phone::Paired;
use fido_relay_rig::softcard::SoftCard;
use reqwest::{Method, Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::relay::{TestRelay, http, tap};

/// Of ceremonies; what a test asks for is below it.
pub(crate) const LOOK: &str = "/v1/device/ceremonies";

/// A paired device without a socket.
pub(crate) struct PullPhone {
    pub(crate) paired: Paired,
    /// The relay's base URL.
    pub(crate) url: String,
    http: reqwest::Client,
    nonce: Mutex<String>,
}

/// What a frame was answered with.
pub(crate) type Heard = (u16, Option<RelayFrame>);

impl PullPhone {
    pub(crate) fn new(relay: &TestRelay, paired: Paired) -> Self {
        Self { paired, url: relay.url(), http: http(), nonce: Mutex::default() }
    }

    /// The claims of a good proof of a request now.
    pub(crate) fn claims(&self, method: &Method, path: &str, body: &str) -> Value {
        let path = path.split('?').next().unwrap();
        json!({
            "aud": self.url, "htm": method.as_str(), "htu": format!("{}{path}", self.url),
            "device_id": self.paired.device_id, "iat": 1_700_000_000_u64,
            "jti": URL_SAFE_NO_PAD.encode(random::bytes::<16>()), "nonce": self.nonce(),
            "body_sha256": URL_SAFE_NO_PAD.encode(digest(&SHA256, body.as_bytes())),
        })
    }

    pub(crate) fn nonce(&self) -> String {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks under a proof of these claims, and notes the nonce of the answer.
    pub(crate) async fn ask(
        &self,
        (method, path): (&Method, &str),
        body: &str,
        claims: &Value,
    ) -> Response {
        let proof = self.paired.key.sign(PULL_TYP, claims).unwrap();
        self.ask_by((method, path), body, &proof).await
    }

    /// Asks under this proof.
    pub(crate) async fn ask_by(
        &self,
        (method, path): (&Method, &str),
        body: &str,
        proof: &str,
    ) -> Response {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        let value = [b"DPoP ", proof.as_bytes()].concat();
        let value = reqwest::header::HeaderValue::from_bytes(&value).unwrap();
        request = request.header("Authorization", value);
        if !body.is_empty() {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let nonce = response.headers().get("dpop-nonce").expect("every answer has a nonce");
        let nonce = nonce.to_str().unwrap().to_owned();
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = nonce;
        response
    }

    /// Asks as an app does: again once with the nonce that a refusal gave.
    pub(crate) async fn send(&self, method: &Method, path: &str, body: &str) -> Response {
        let first = self.ask((method, path), body, &self.claims(method, path, body)).await;
        if first.status() != StatusCode::UNAUTHORIZED {
            return first;
        }
        self.ask((method, path), body, &self.claims(method, path, body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Response {
        self.send(&Method::POST, path, body).await
    }

    /// What it is given; `query` without its mark.
    pub(crate) async fn pull(&self, query: &str) -> Pulled {
        let response = self.send(&Method::GET, &format!("{LOOK}?{query}"), "").await;
        assert_eq!(response.status(), 200);
        Pulled::decode(&response.text().await.unwrap()).unwrap()
    }

    /// Pulls until a frame is what is waited for; `shown` is what the app shows.
    pub(crate) async fn until<T>(
        &self,
        shown: &[CeremonyId],
        fits: impl Fn(&RelayFrame) -> Option<T>,
    ) -> T {
        let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
        let shown = shown.join(",");
        let mut pulled = self.pull(&format!("shown={shown}")).await;
        for _ in 0..20 {
            if let Some(found) = pulled.frames.iter().find_map(&fits) {
                return found;
            }
            let query = format!("wait=20&since={}&shown={shown}", pulled.state);
            pulled = self.pull(&query).await;
        }
        panic!("it did not come: {:?}", pulled.frames);
    }

    pub(crate) async fn challenge(&self, id: CeremonyId) -> Challenge {
        let fits = |frame: &RelayFrame| match frame {
            RelayFrame::Challenge(challenge) if challenge.offer.ceremony_id == id => {
                Some(Challenge::clone(challenge))
            }
            _ => None,
        };
        self.until(&[id], fits).await
    }

    pub(crate) async fn offered(&self, id: CeremonyId) {
        let fits = |frame: &RelayFrame| match frame {
            RelayFrame::Offer(offer) if offer.ceremony_id == id => Some(()),
            _ => None,
        };
        self.until(&[id], fits).await;
    }

    /// The outcome of a ceremony that it shows.
    pub(crate) async fn closed(&self, id: CeremonyId) -> fido_relay_proto::Outcome {
        let fits = |frame: &RelayFrame| match frame {
            RelayFrame::Closed { ceremony_id, outcome, .. } if *ceremony_id == id => Some(*outcome),
            _ => None,
        };
        self.until(&[id], fits).await
    }

    /// Says a frame where it belongs.
    pub(crate) async fn says(&self, frame: &DeviceFrame) -> Heard {
        let text = frame.encode();
        let kind: Value = serde_json::from_str(&text).unwrap();
        let act = kind["type"].as_str().unwrap();
        let path = match frame.ceremony_id() {
            Some(id) => format!("{LOOK}/{id}/{act}"),
            None => format!("/v1/device/{act}"),
        };
        heard(self.post(&path, &text).await).await
    }

    pub(crate) async fn acks(&self, ceremony_id: CeremonyId, of: AckOf) {
        let heard = self.says(&DeviceFrame::Ack(Ack { ceremony_id, of })).await;
        assert!(matches!(heard, (204, None)), "{heard:?}");
    }

    pub(crate) async fn types(&self, ceremony_id: Option<CeremonyId>, code: &str) -> Heard {
        let claim = Claim { ceremony_id, code: code.to_owned(), claim_id: None };
        self.says(&DeviceFrame::Claim(claim)).await
    }

    /// Has the card answer a challenge, and gives what is sent.
    pub(crate) async fn taps(&self, card: &mut SoftCard, challenge: &Challenge) -> DeviceFrame {
        let ceremony_id = challenge.offer.ceremony_id;
        self.acks(ceremony_id, AckOf::Challenge).await;
        let card_is_there =
            DeviceFrame::Card(Card { ceremony_id, event: CardEvent::Present, code: None });
        assert!(matches!(self.says(&card_is_there).await, (204, None)));
        let credential = RawValue::from_string(tap(card, challenge).unwrap()).unwrap();
        DeviceFrame::Answer(Answer { ceremony_id, attempt: challenge.attempt, credential })
    }
}

/// An answer as status and frame; a problem is no frame.
pub(crate) async fn heard(response: Response) -> Heard {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    let frame = match kind.as_deref() {
        Some("application/json") => Some(RelayFrame::decode(&text).unwrap()),
        Some("application/problem+json") => None,
        None => {
            assert_eq!((status, text.as_str()), (204, ""));
            None
        }
        Some(other) => panic!("{other}"),
    };
    (status, frame)
}
