//! The actors outside the relay: a FIDO2 server that accepts everything and can withhold an answer,
//! a phone with a card, an initiator, and its watchers. Each writes into the history what it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::fault_point::Point;
use fido_relay::tasks::Tasks;
use fido_relay_proto::device::{CardErrorCode, Challenge};
use fido_relay_proto::http::{CeremonyView, OpenedCeremony, Status};
use fido_relay_proto::{CeremonyId, CeremonyType};
use fido_relay_rig::phone::{
    self, Backoff, Card, Codes, PairingClient, Phone, PhoneEvent, PullClient, WakeChannel,
};
use reqwest::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::history::{PATIENCE, Recorder, Seen};
use super::place::Place;
use crate::support::accepting_server::{accepted_answer, is_completion};
use crate::support::child_relay::pair;
use crate::support::relay::{self, http};
use crate::support::scripted_upstream::{Received, Reply, ScriptedUpstream};
use crate::watch::roads::{Ended, Road, Told, Watching, told};
use crate::webhooks::register;

/// A FIDO2 server that agrees; at the two points in flight it never answers the first such call.
pub(super) fn server(recorder: &Recorder, killed_at: Option<Point>) -> ScriptedUpstream {
    let recorder = recorder.clone();
    let held = AtomicBool::new(false);
    let holds = move |point| killed_at == Some(point) && !held.swap(true, Ordering::Relaxed);
    ScriptedUpstream::listening(move |number, request| {
        let answer = accepted_answer(number, request);
        let held = if is_completion(request) {
            let held = holds(Point::CompletionInFlight);
            recorder.write(completed(request, !held));
            held
        } else {
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            let challenge = body["challenge"].as_str().unwrap().to_owned();
            recorder.write(Seen::Begun { session: format!("session=s{number}"), challenge });
            holds(Point::BeginInFlight)
        };
        if held { Reply::Hang } else { Reply::Answer(answer) }
    })
}

fn completed(request: &Received, said_ok: bool) -> Seen {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let client_data = body["response"]["clientDataJSON"].as_str().unwrap();
    let client_data: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(client_data).unwrap()).unwrap();
    let challenge = client_data["challenge"].as_str().unwrap().to_owned();
    let session = request.all("cookie").join("; ");
    Seen::Completed { session, challenge, said_ok }
}

/// Signs nothing: the server that agrees looks at the challenge alone.
struct StubCard;

impl Card for StubCard {
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        let client_data =
            json!({ "challenge": challenge.challenge, "origin": challenge.origin }).to_string();
        let credential = json!({
            "id": "AQIDBA",
            "rawId": "AQIDBA",
            "type": "public-key",
            "response": { "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data) },
        });
        Ok(RawValue::from_string(credential.to_string()).unwrap())
    }
}

/// The initiator's backend, and its watchers.
pub(super) struct Initiator {
    backend: relay::Initiator,
    recorder: Recorder,
}

impl Initiator {
    pub(super) fn new(place: &Place, key: String, recorder: &Recorder) -> Self {
        let backend = relay::Initiator { url: place.url(), key, http: http() };
        Self { backend, recorder: recorder.clone() }
    }

    /// The same backend without the connections to the relay that was killed.
    pub(super) fn again(self) -> Self {
        Self { backend: relay::Initiator { http: http(), ..self.backend }, ..self }
    }

    /// Registers its webhook endpoint.
    pub(super) async fn has_webhooks(&self, endpoint: &str) {
        register(&self.backend, &json!({ "url": endpoint })).await;
    }

    /// Pairs Ada's phone, which from now on holds its socket over every kill, or sleeps.
    pub(super) async fn phone(&self, tasks: &Tasks, sleeps: bool) -> Codes {
        let (paired, _) = pair(&self.backend, "ada").await;
        let codes = Codes::default();
        let recorder = self.recorder.clone();
        let pace = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(200) };
        let phone = Phone::new(paired, Arc::new(StubCard), Arc::new(codes.clone()));
        let phone = if sleeps {
            let subscription =
                phone::PushReceiver::listen(tasks).await.unwrap().subscribe().unwrap();
            let client = PullClient::from(&PairingClient::new().unwrap());
            phone.asleep(WakeChannel { subscription, client })
        } else {
            phone
        };
        let (asleep, listens) = watch::channel(false);
        let hears = move |_, event| {
            if matches!(event, PhoneEvent::Asleep) {
                asleep.send_replace(true);
            }
            see(&recorder, event);
        };
        drop(phone.with_backoff(pace).connect_with(tasks, Arc::new(hears)));
        if sleeps {
            // Its address is set now.
            timeout(PATIENCE, listens.clone().wait_for(|asleep| *asleep)).await.unwrap().unwrap();
        }
        codes
    }

    /// Opens the ceremony; the same order again means the same ceremony. `None`: no answer.
    pub(super) async fn open(&self, ceremony_type: CeremonyType) -> Option<OpenedCeremony> {
        let mut body = json!({ "type": ceremony_type, "username": "ada" });
        if ceremony_type == CeremonyType::Approval {
            let fields = json!([{ "label": "To", "value": "Grace" }]);
            body["transaction"] = json!({ "title": "Payment", "fields": fields });
        }
        let relay::Initiator { url, key, http } = &self.backend;
        let response = http
            .post(format!("{url}/v1/ceremonies"))
            .bearer_auth(key)
            .header("Idempotency-Key", "the one order")
            .json(&body)
            .send();
        let response = response.await.ok()?;
        assert_eq!(response.status(), StatusCode::CREATED);
        let opened: OpenedCeremony = response.json().await.ok()?;
        self.recorder.write(Seen::Opened(opened.id));
        Some(opened)
    }

    /// Follows the ceremony, long poll after long poll, until it ends, is not found, or the relay
    /// is gone.
    pub(super) async fn follow(&self, id: CeremonyId) {
        let relay::Initiator { url, key, http } = &self.backend;
        let mut since = 0;
        loop {
            let url = format!("{url}/v1/ceremonies/{id}?wait=30&since={since}");
            let asked = http.get(url).bearer_auth(key).send().await;
            let Ok(response) = asked else { return };
            if response.status() == StatusCode::NOT_FOUND {
                self.recorder.write(Seen::Read(id, None));
                return;
            }
            let Ok(view) = response.json::<CeremonyView>().await else { return };
            self.recorder.write(Seen::Read(id, Some(view.status)));
            if matches!(view.status, Status::Ended(_)) {
                return;
            }
            since = view.seq;
        }
    }
}

impl Initiator {
    /// Watches the ceremony on this road from where it was seen last, until it ends or the relay is
    /// gone.
    pub(super) async fn watch(&self, road: Road, id: CeremonyId) {
        let mut last = self.recorder.last_watched(road);
        let since = last.as_ref().map_or(0, |(seq, ..)| *seq);
        let (backend, key) = (&self.backend, &self.backend.key);
        let is_over =
            |last: &Option<Told>| last.as_ref().is_some_and(|(_, _, _, end)| end.is_some());
        if is_over(&last) {
            return;
        }
        let watching = Watching::try_after(since, road, backend, id, key).await;
        let Some(mut watching) = watching else { return };
        while let Some(event) = watching.next().await {
            let event = told(&event);
            self.recorder.write(Seen::Watched(road, event.clone()));
            last = Some(event);
        }
        assert!(is_over(&last) || watching.ended() == Some(Ended::Broken), "{road:?} just ended");
    }
}

fn see(recorder: &Recorder, event: PhoneEvent) {
    let seen = match event {
        PhoneEvent::Offered { offer, .. } => Seen::Offered(offer.ceremony_id),
        PhoneEvent::Claimed { ceremony_id: Some(ceremony_id) } => Seen::Claimed(ceremony_id),
        PhoneEvent::Challenged { challenge, .. } => Seen::Challenged {
            id: challenge.offer.ceremony_id,
            attempt: challenge.attempt,
            challenge: challenge.challenge,
        },
        PhoneEvent::Answered { ceremony_id: id, attempt } => Seen::Answered { id, attempt },
        PhoneEvent::Accepted { ceremony_id: id, attempt } => Seen::Accepted { id, attempt },
        PhoneEvent::Closed { ceremony_id: id, outcome, .. } => Seen::ToldEnd { id, outcome },
        _ => return,
    };
    recorder.write(seen);
}
