//! A relay with one ceremony at a time, moved step by step by the test.

use fido_relay::app::ceremonies::{CeremonyKey, CeremonySnapshot};
use fido_relay::app::clients::Clients;
use fido_relay::app::keys;
use fido_relay::config::Config;
use fido_relay::core::ceremony::{Event, State};
use fido_relay::security::random;
use fido_relay::security::ticket::Tickets;
use fido_relay_proto::device::{AckOf, CardErrorCode, CardEvent, DeclineReason};
use fido_relay_proto::http::OpenCeremony;
use fido_relay_proto::{AttemptId, Binding, CeremonyId, DeviceId, NodeId, Step, TenantId};
use serde_json::json;
use serde_json::value::RawValue;

use crate::support::accepting_server::{accepted_answer, is_completion, upstream_at};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

pub(super) const DEVICE: DeviceId = DeviceId::from_bytes([9; 16]);

/// How a ceremony is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plot {
    Succeeds,
    Rejected,
    Unknown,
    Declined,
    NotMe,
    WrongCodes,
    CardFails,
    Expires,
    Cancelled,
}

impl Plot {
    pub(super) const ALL: [Self; 9] = [
        Self::Succeeds,
        Self::Rejected,
        Self::Unknown,
        Self::Declined,
        Self::NotMe,
        Self::WrongCodes,
        Self::CardFails,
        Self::Expires,
        Self::Cancelled,
    ];
}

pub(super) struct Stage {
    pub(super) relay: TestRelay,
    pub(super) initiator: Initiator,
    upstream: ScriptedUpstream,
}

/// A ceremony and who may watch it.
pub(super) struct Opened {
    pub(super) id: CeremonyId,
    pub(super) ticket: String,
    code: Option<String>,
}

impl Stage {
    pub(super) async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    /// With a FIDO2 server that does what the card's answer says.
    pub(super) async fn set_with(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = ScriptedUpstream::listening(|number, request| {
            let says = |word: &str| is_completion(request) && request.body.contains(word);
            if says("Rejected") {
                Reply::Answer(Answer::json(200, r#"{"status":"failed","errorMessage":"no"}"#))
            } else if says("Unknown") {
                Reply::HangUp
            } else {
                Reply::Answer(accepted_answer(number, request))
            }
        });
        let agree = upstream_at(&upstream.url());
        let relay = TestRelay::start_with(|config| {
            agree(config);
            change(config);
        })
        .await;
        let initiator = relay.initiator().await;
        Self { relay, initiator, upstream }
    }

    pub(super) async fn restart(self) -> Self {
        let Self { relay, initiator, upstream } = self;
        Self { relay: relay.restart().await, initiator, upstream }
    }

    /// Opens one that lives for this long and shows its pages every step.
    pub(super) async fn open(&self, binding: Binding, life_ms: u64) -> Opened {
        self.open_for("ada", binding, life_ms, Some(true)).await
    }

    /// The same for another user, with or without the steps that tell presence. `None`: as an
    /// earlier version stored it.
    pub(super) async fn open_for(
        &self,
        username: &str,
        binding: Binding,
        life_ms: u64,
        show_delivery: Option<bool>,
    ) -> Opened {
        let me: serde_json::Value =
            self.initiator.get("/v1/clients/self").await.json().await.unwrap();
        let id = serde_json::from_value(me["client_id"].clone()).unwrap();
        let body = json!({ "type": "authentication", "username": username, "binding": binding });
        let body: OpenCeremony = serde_json::from_value(body).unwrap();
        let relay = self.relay.running.relay();
        let world = relay.dependencies();
        let clients = Clients::new(world.store.clone());
        let client = clients.find(&TenantId::default(), id).await.unwrap().unwrap();
        let mut order = relay.ceremonies.request(&client, body, None, "localhost").unwrap();
        order.request.deadline = order.request.opened_at.plus_millis(life_ms);
        order.request.show_delivery = show_delivery;
        let CeremonySnapshot { id, tenant, code, .. } = relay.ceremonies.open(order).await.unwrap();
        let keys = keys::load_or_make(&*world.store, &world.encryptor).await.unwrap();
        let ticket = Tickets::new(&keys).issue(&tenant, id);
        Opened { id, ticket, code: code.map(|code| code.0) }
    }

    pub(super) async fn drive(&self, id: CeremonyId, event: Event) {
        let key = CeremonyKey { tenant: TenantId::default(), id };
        self.relay.running.relay().ceremonies.advance(&key, event).await.unwrap();
    }

    /// The steps that the record has.
    pub(super) async fn progress(&self, id: CeremonyId) -> Vec<Step> {
        let key = CeremonyKey { tenant: TenantId::default(), id };
        let ceremony = self.relay.running.relay().ceremonies.load(&key).await.unwrap().unwrap();
        ceremony.progress().map(|entry| entry.step).collect()
    }

    /// Waits for the challenge.
    pub(super) async fn challenged(&self, id: CeremonyId) -> AttemptId {
        let key = CeremonyKey { tenant: TenantId::default(), id };
        let relay = self.relay.running.relay();
        let mut watch = relay.delivery.watch(&key);
        loop {
            let ceremony = relay.ceremonies.load(&key).await.unwrap().unwrap();
            if let State::Challenged(challenge) = &ceremony.state {
                return challenge.attempt;
            }
            watch.changed().await;
        }
    }

    pub(super) async fn claim(&self, opened: &Opened, right: bool) {
        let wrong = || "no code".to_owned();
        let code = opened.code.clone().filter(|_| right).unwrap_or_else(wrong);
        let attempt = AttemptId::from_bytes(random::bytes());
        self.drive(opened.id, Event::Claim { device: DEVICE, attempt, code, same_network: None })
            .await;
    }

    /// The card's answer, in which the FIDO2 server reads what it is to say.
    pub(super) async fn answer(&self, id: CeremonyId, plot: Plot) {
        let attempt = self.challenged(id).await;
        let credential = json!({
            "id": "AQIDBA", "rawId": "AQIDBA", "type": "public-key",
            "response": { "plot": format!("{plot:?}") },
        });
        let credential = RawValue::from_string(credential.to_string()).unwrap();
        let by = NodeId::from_bytes([1; 16]);
        let digest = [3; 32];
        let answer = Event::Answer { device: DEVICE, attempt, credential, digest, by };
        self.drive(id, answer).await;
    }

    /// Every step up to the challenge, one after the other, with something done after each.
    pub(super) async fn to_the_card(&self, opened: &Opened) {
        self.drive(opened.id, Event::Sent { device: DEVICE }).await;
        self.drive(opened.id, Event::Acked { device: DEVICE, of: AckOf::Offer }).await;
        self.claim(opened, true).await;
        self.challenged(opened.id).await;
        let (event, code) = (CardEvent::Present, None);
        self.drive(opened.id, Event::Card { device: DEVICE, event, code }).await;
    }

    /// Plays it to its end.
    pub(super) async fn play(&self, opened: &Opened, plot: Plot) {
        let id = opened.id;
        match plot {
            Plot::Succeeds | Plot::Rejected | Plot::Unknown => {
                self.to_the_card(opened).await;
                self.answer(id, plot).await;
            }
            Plot::Declined | Plot::NotMe => {
                let reason = if plot == Plot::NotMe {
                    DeclineReason::NotMe
                } else {
                    DeclineReason::Declined
                };
                self.drive(id, Event::Decline { device: DEVICE, reason }).await;
            }
            Plot::WrongCodes => {
                for _ in 0..3 {
                    self.claim(opened, false).await;
                }
            }
            Plot::CardFails => {
                self.to_the_card(opened).await;
                let (event, code) = (CardEvent::Error, CardErrorCode::new(609).ok());
                self.drive(id, Event::Card { device: DEVICE, event, code }).await;
            }
            Plot::Cancelled => self.drive(id, Event::Cancel).await,
            Plot::Expires => {}
        }
    }
}
