//! One of everything, on a store that refuses a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fido_relay_proto::http::{CardAttestation, OpenedPairing, PushService, PushTarget, Scope};
use fido_relay_proto::{Binding, CardId, ClientId, DeviceId, PlainText, Username, WebhookId};
use fido_relay_rig::phone::DeviceKey;
use serde_json::{Value, json};

use crate::app::clients::Credential;
use crate::app::clients::{ClientChange, NewClient, PublicKey};
use crate::app::pairings::{NewDevice, PairingSecret};
use crate::app::*;
use crate::backends::embedded::{MemoryStore, SystemClock};
use crate::backends::webhook_http::{WebhookHttp, WebhookHttpSettings};
use crate::ports::{BoxFuture, Bucket, Card, CardEvents, DueRecord, Duty, Revision, Stored};
use crate::security::encryption::Encryptor;

use super::{AllBut, over};

/// A store in memory that refuses one commit.
#[derive(Debug)]
pub(super) struct Refusing {
    store: MemoryStore,
    /// Commits before the one that is refused.
    pub(super) left: AtomicUsize,
}

impl Refusing {
    pub(super) fn refuse_after(&self, commits: usize) {
        self.left.store(commits, Ordering::Relaxed);
    }

    /// All records but the journal's.
    pub(super) async fn records(&self) -> Vec<(Bucket, String, Stored)> {
        let mut records = Vec::new();
        for bucket in Bucket::ALL.into_iter().filter(|bucket| *bucket != Bucket::Journal) {
            for (key, stored) in self.store.list(bucket, "").await.unwrap() {
                records.push((bucket, key, stored));
            }
        }
        records
    }
}

impl Store for Refusing {
    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        self.store.load(bucket, key)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            let refused = Err(StoreError::Unavailable("told to refuse".to_owned()));
            return Box::pin(std::future::ready(refused));
        }
        self.store.commit(batch)
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        self.store.list(bucket, prefix)
    }

    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        self.store.due(duty, until, after, limit)
    }
}

/// Ada's one card, as long as its record is there.
#[derive(Debug)]
struct OneCard(Arc<Refusing>);

const CARD: CardId = CardId::from_bytes([4; 32]);

impl Cards for OneCard {
    fn of_user<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a Username,
    ) -> BoxFuture<'a, Result<Vec<Card>, StoreError>> {
        Box::pin(async move {
            let card = |_| Card {
                id: CARD,
                record: "card".into(),
                registered_at: UnixMillis(1),
                last_used_at: None,
                aaguid: None,
                model: None,
                claimed: false,
                attestation: CardAttestation::None,
                can_verify_user: true,
            };
            let found = self.0.load(Bucket::Credentials, "card").await?;
            Ok(found.map(card).into_iter().collect())
        })
    }

    fn removal<'a>(
        &'a self,
        _: &'a TenantId,
        record: &'a str,
    ) -> BoxFuture<'a, Result<Option<Batch>, StoreError>> {
        Box::pin(async move {
            let found = self.0.load(Bucket::Credentials, record).await?;
            let removal =
                |found: Stored| Batch::new().remove(Bucket::Credentials, record, found.revision);
            Ok(found.map(removal))
        })
    }

    fn retire_name<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a Username,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What is done, and the events that must come of it.
pub(super) const ACTS: [(Act, &[&str]); 24] = [
    (Act::OpenPairing, &["pairing_opened"]),
    (Act::Pair, &["device_paired"]),
    (Act::LastWrongCode, &["pairing_voided"]),
    (Act::VoidPairings, &["pairing_voided"]),
    (Act::Rename, &["device_renamed"]),
    (Act::RotateDeviceKey, &["device_key_rotated"]),
    (Act::RevokeDevice, &["device_revoked"]),
    (Act::SetPush, &["push_set"]),
    (Act::MovePush, &["push_removed", "push_set"]),
    (Act::PairWithPush, &["device_paired", "push_removed", "push_set"]),
    (Act::CreateClient, &["client_made"]),
    (Act::CreateClientWithKeyPair, &["client_made"]),
    (Act::RotateApiKey, &["client_key_made"]),
    (Act::EndApiKeys, &["client_changed"]),
    (Act::AddPublicKey, &["client_key_made"]),
    (Act::RemovePublicKey, &["client_key_removed"]),
    (Act::RemoveClient, &["client_removed", "webhook_removed"]),
    (Act::RegisterWebhook, &["webhook_made"]),
    (Act::RemoveWebhook, &["webhook_removed"]),
    (Act::UnlockUser, &["prompts_unlocked"]),
    (Act::UnlockOwnPrompts, &["prompts_unlocked"]),
    (Act::RemoveCard, &["card_removed"]),
    (Act::RegisterCard, &["card_registered"]),
    (Act::SuspectClone, &["clone_suspected"]),
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    OpenPairing,
    Pair,
    LastWrongCode,
    VoidPairings,
    Rename,
    RotateDeviceKey,
    RevokeDevice,
    /// Of an address that no device has.
    SetPush,
    /// Of the first device's address by the second.
    MovePush,
    /// With the first device's address.
    PairWithPush,
    CreateClient,
    CreateClientWithKeyPair,
    RotateApiKey,
    EndApiKeys,
    AddPublicKey,
    RemovePublicKey,
    RemoveClient,
    RegisterWebhook,
    RemoveWebhook,
    UnlockUser,
    UnlockOwnPrompts,
    RemoveCard,
    RegisterCard,
    SuspectClone,
}

impl Act {
    /// Whether a device or a client does it.
    pub(super) fn is_not_the_operators(self) -> bool {
        matches!(
            self,
            Self::Pair
                | Self::LastWrongCode
                | Self::Rename
                | Self::UnlockOwnPrompts
                | Self::RotateDeviceKey
                | Self::SetPush
                | Self::MovePush
                | Self::PairWithPush
                | Self::RegisterCard
                | Self::SuspectClone
        )
    }
}

/// One of everything: ada has two devices, one with a push address, a card and an open pairing whose code was typed wrong four
/// times; a client has two API keys, a public key and a webhook.
pub(super) struct Stage {
    pub(super) app: App,
    pub(super) store: Arc<Refusing>,
    pub(super) actor: Actor,
    pub(super) ada: Username,
    pairing: OpenedPairing,
    pub(super) device: DeviceId,
    key: DeviceKey,
    client: ClientId,
    webhook: WebhookId,
}

pub(super) const AUDIENCE: &str = "https://relay.example/v1/device/key";

impl Stage {
    pub(super) async fn set() -> Self {
        let left = AtomicUsize::new(usize::MAX);
        let store = Arc::new(Refusing { store: MemoryStore::new(), left });
        let (dyn_store, clock) = (Arc::clone(&store) as Arc<dyn Store>, Arc::new(SystemClock));
        let sender = WebhookHttp::new(WebhookHttpSettings {
            allowed_hosts: Vec::new(),
            allowed_ports: Vec::new(),
            allowed_networks: Vec::new(),
            ca_file: None,
            allow_loopback_http: false,
        });
        let (sealer, sender) = (Encryptor::new(&[7; 32]).unwrap(), Arc::new(sender.unwrap()));
        let webhooks = Webhooks::at_rest(Arc::clone(&dyn_store), sealer, clock.clone(), sender);
        let app = App {
            cards: Some(Arc::new(OneCard(Arc::clone(&store)))),
            webhooks: Some(webhooks),
            push: Some(Arc::new(AllBut("foreign"))),
            ..over(dyn_store, clock)
        };
        let actor = Actor::operator(TenantId::default(), "ada");
        let ada = Username::new("ada").unwrap();
        let key = DeviceKey::generate().unwrap();
        let mut device = None;
        for key in [&DeviceKey::generate().unwrap(), &key] {
            let token = pairings::open(&app, &actor, &ada).await.unwrap().pairing_token;
            let secret = PairingSecret::Token(&token);
            let found = pairings::look(&*store, secret, app.clock.now()).await.unwrap();
            let (jwk, platform) = (key.jwk().clone(), fido_relay_proto::http::Platform::Other);
            let push = device.is_none().then(address);
            let phone = NewDevice { jwk, name: None, platform, push };
            device = Some(pairings::redeem(&app, &found, phone).await.unwrap().id);
        }
        let pairing = pairings::open(&app, &actor, &ada).await.unwrap();
        let (bounds, credential) = (ClientChange::default(), Credential::ApiKey(None));
        let made = clients::create(&app, &actor, shop(), &bounds, credential).await.unwrap();
        clients::add_key(&app, &actor, made.0, None, None).await.unwrap();
        clients::add_public_key(&app, &actor, made.0, &public_key("first")).await.unwrap();
        store.save(Bucket::Credentials, "card", Revision::ABSENT, Vec::new()).await.unwrap();
        let webhook = WebhookId::from_bytes([0; 16]);
        let device = device.unwrap();
        let mut stage =
            Self { app, store, actor, ada, pairing, device, key, client: made.0, webhook };
        for _ in 0..4 {
            stage.act(Act::LastWrongCode).await.unwrap();
        }
        stage.act(Act::RegisterWebhook).await.unwrap();
        let tenant = TenantId::default();
        let webhooks = stage.app.webhooks.as_ref().unwrap();
        stage.webhook = webhooks.list(&tenant, stage.client).await.unwrap()[0].id;
        stage
    }

    pub(super) async fn act(&self, act: Act) -> Result<(), String> {
        let Self { app, actor, ada, client, device, .. } = self;
        let webhooks = app.webhooks.as_ref().unwrap();
        match act {
            Act::OpenPairing => said(pairings::open(app, actor, ada).await),
            Act::Pair | Act::PairWithPush => {
                let key = DeviceKey::generate().unwrap();
                let token = &self.pairing.pairing_token;
                let order = json!({
                    "pairing_token": token, "jwk": key.jwk(), "platform": "other",
                    "proof": key.pairing_proof(AUDIENCE, token).unwrap(),
                });
                let order = if matches!(act, Act::Pair) { order } else { with(order, &address()) };
                let order = serde_json::from_value(order).unwrap();
                said(pairings::pair(app, order, &[AUDIENCE.to_owned()]).await)
            }
            Act::LastWrongCode => {
                let (head, last) = self.pairing.typed_code.split_at(10);
                let wrong = format!("{head}{}", if last == "0" { '2' } else { '0' });
                let looked =
                    pairings::look(&*app.store, PairingSecret::Typed(&wrong), app.clock.now());
                let refused = looked.await.unwrap_err();
                if matches!(refused, pairings::PairingError::Unknown) {
                    Ok(())
                } else {
                    Err(refused.to_string())
                }
            }
            Act::VoidPairings => said(pairings::void_of(app, actor, ada).await),
            Act::Rename => {
                let by = clients_record(app, *client).await;
                let name = PlainText::new("Pocket").unwrap();
                said(devices::rename(app, &by, *device, name).await)
            }
            Act::RotateDeviceKey => {
                let next = DeviceKey::generate().unwrap();
                let proofs = self.key.rotation_proofs(&next, AUDIENCE, *device).unwrap();
                let (old_proof, new_proof) = proofs;
                let order = json!({
                    "new_jwk": next.jwk(), "old_proof": old_proof, "new_proof": new_proof,
                });
                let order = serde_json::from_value(order).unwrap();
                let tenant = TenantId::default();
                let audiences = [AUDIENCE.to_owned()];
                let rotated = devices::rotate_key(app, &tenant, &order, &audiences).await;
                said(rotated.map(Option::unwrap))
            }
            Act::SetPush | Act::MovePush => {
                let token = PlainText::new("another").unwrap();
                let moved = matches!(act, Act::MovePush);
                let push = if moved { address() } else { PushTarget { token, ..address() } };
                said(devices::set_push(app, &actor.tenant, *device, Some(push)).await)
            }
            Act::RevokeDevice => said(devices::revoke(app, actor, *device).await),
            Act::CreateClient | Act::CreateClientWithKeyPair => {
                let credential = if matches!(act, Act::CreateClient) {
                    Credential::ApiKey(None)
                } else {
                    Credential::PublicKey(public_key("first"))
                };
                let bounds = ClientChange {
                    allow_from: Some(vec!["10.0.0.0/8".parse().unwrap()]),
                    ..ClientChange::default()
                };
                said(clients::create(app, actor, shop(), &bounds, credential).await)
            }
            Act::RotateApiKey => {
                let others_end = Some(app.clock.now().plus_secs(60));
                said(clients::add_key(app, actor, *client, None, others_end).await)
            }
            Act::EndApiKeys => {
                let change = ClientChange { end_api_keys: true, ..ClientChange::default() };
                said(clients::alter(app, actor, *client, &change).await)
            }
            Act::AddPublicKey => {
                said(clients::add_public_key(app, actor, *client, &public_key("second")).await)
            }
            Act::RemovePublicKey => {
                said(clients::remove_public_key(app, actor, *client, "first").await)
            }
            Act::RemoveClient => said(clients::remove(app, actor, *client).await),
            Act::RegisterWebhook => {
                let order = json!({
                    "url": "https://shop.example/hook", "events": ["device.paired"],
                    "schemes": ["v1"],
                });
                let order = serde_json::from_value(order).unwrap();
                let whose = (&actor.tenant, *client);
                said(webhooks.register(whose, order, actor.operator_name()).await)
            }
            Act::RemoveWebhook => {
                let endpoint = webhooks.load(&actor.tenant, *client, self.webhook).await.unwrap();
                said(webhooks.remove(&endpoint, actor.operator_name()).await)
            }
            Act::UnlockUser => said(users::unlock(app, actor, ada).await),
            Act::UnlockOwnPrompts => {
                let by = clients_record(app, *client).await;
                said(users::unlock_own(app, &by, ada).await)
            }
            Act::RemoveCard => said(cards::remove(app, actor, ada, CARD).await),
            Act::RegisterCard | Act::SuspectClone => {
                let (card_id, username) = (CardId::from_bytes([5; 32]), ada.clone());
                let (changes, what) = if matches!(act, Act::RegisterCard) {
                    let place = (Bucket::Credentials, "another", Revision::ABSENT);
                    let changes = Batch::new().put(place.0, place.1, place.2, Vec::new());
                    (changes, SecurityEventKind::CardRegistered { card_id, username })
                } else {
                    (Batch::new(), SecurityEventKind::CloneSuspected { card_id, username })
                };
                let event = SecurityEvent::new(actor.tenant.clone(), app.clock.now(), what);
                said(CardEvents::commit(app, changes, event).await)
            }
        }
    }
}

/// The push address of ada's first device.
fn address() -> PushTarget {
    let token = PlainText::new("registration-token").unwrap();
    PushTarget { service: PushService::Fcm, token, app: None, keys: None }
}

fn with(mut order: Value, push: &PushTarget) -> Value {
    order["push"] = json!(push);
    order
}

fn said<T, E: ToString>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

pub(super) fn shop() -> NewClient {
    NewClient {
        tenant: TenantId::default(),
        name: PlainText::new("Shop").unwrap(),
        scopes: vec![Scope::CeremonyAuth],
        bindings: vec![Binding::Code],
    }
}

/// A public key; no test here verifies a signature.
pub(super) fn public_key(kid: &str) -> PublicKey {
    let jwk = DeviceKey::generate().unwrap().jwk().clone();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    (jwk["kid"], jwk["alg"]) = (json!(kid), json!("ES256"));
    PublicKey::from_jwk(&jwk, UnixMillis(1)).unwrap()
}

async fn clients_record(app: &App, id: ClientId) -> Client {
    let clients = crate::app::clients::Clients::new(Arc::clone(&app.store));
    clients.find(&TenantId::default(), id).await.unwrap().unwrap()
}
