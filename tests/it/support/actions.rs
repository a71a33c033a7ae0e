//! Acts on a store, with or without a relay around it.

use std::sync::Arc;

use fido_relay::app::clients::{self, ClientChange, Credential, NewClient};
use fido_relay::app::devices::{self, Device};
use fido_relay::app::{Actor, App};
use fido_relay::backends::embedded::{LocalBus, RevocationList, SystemClock};
use fido_relay::core::ceremony::{Begun, Request, TxBinding, UpstreamSession};
use fido_relay::core::prompt_limits::{CodeAttempts, Lane, Policy};
use fido_relay::node::Dependencies;
use fido_relay::ports::{Batch, Position, Store};
use fido_relay::security::random;
use fido_relay::tasks::Tasks;
use fido_relay_proto::http::{Platform, UpstreamOptions};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, DeviceId, PlainText, TenantId, UnixMillis,
    Username,
};
use fido_relay_rig::phone::DeviceKey;
use serde_json::Value;
use serde_json::value::RawValue;

/// Acts on a store that no relay has open.
pub(crate) fn app_on(store: Arc<dyn Store>) -> App {
    App {
        store,
        clock: Arc::new(SystemClock),
        bus: Arc::new(LocalBus::with_room(1)),
        revocations: Arc::new(RevocationList::in_memory()),
        cards: None,
        push: None,
        webhooks: None,
        prompts: Policy::default(),
        public_url: "https://relay.example.com".to_owned(),
        tasks: Tasks::default(),
    }
}

/// Acts on what a relay has.
pub(crate) fn app_of(world: &Dependencies) -> App {
    App {
        clock: Arc::clone(&world.clock),
        bus: Arc::clone(&world.bus),
        revocations: Arc::clone(&world.revocations),
        tasks: world.tasks.clone(),
        ..app_on(Arc::clone(&world.store))
    }
}

pub(crate) fn operator() -> Actor {
    Actor::operator(TenantId::default(), "tester")
}

/// A new client, and an API key that does not end.
pub(crate) async fn make_client(app: &App, new: NewClient) -> (ClientId, String) {
    let actor = Actor::operator(new.tenant.clone(), "tester");
    let (bounds, credential) = (ClientChange::default(), Credential::ApiKey(None));
    let (id, key) = clients::create(app, &actor, new, &bounds, credential).await.unwrap();
    (id, key.unwrap().expose().to_owned())
}

/// The stored device of a user's new phone.
pub(crate) fn device(username: &str) -> Device {
    Device {
        id: DeviceId::from_bytes(random::bytes()),
        tenant: TenantId::default(),
        username: Username::new(username).unwrap(),
        jwk: DeviceKey::generate().unwrap().jwk().clone(),
        name: None,
        platform: Platform::Other,
        push: None,
        paired_at: UnixMillis(1_800_000_000_000),
        revoked_at: None,
        push_removed: None,
        rotated: None,
        tries: CodeAttempts::default(),
    }
}

/// A sign-in of Ada's, open from this time on for so long.
pub(crate) fn sign_in_request(opened_at: UnixMillis, life_ms: u64) -> Request {
    Request {
        id: CeremonyId::from_bytes(random::bytes()),
        tenant: TenantId::default(),
        client_id: ClientId::from_bytes([1; 16]),
        client_name: PlainText::new("Example Bank").unwrap(),
        ceremony_type: CeremonyType::Authentication,
        username: Username::new("ada").unwrap(),
        display_name: Username::new("ada").unwrap().into(),
        device_id: None,
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::Password,
        browser: None,
        lane: Lane::default(),
        code_alone: true,
        show_delivery: Some(false),
        rp_id: "example.com".to_owned(),
        options: UpstreamOptions::default(),
        opened_at,
        deadline: opened_at.plus_millis(life_ms),
    }
}

/// A challenge of a FIDO2 server with these options for the card.
pub(crate) fn begun(public_key: &str) -> Begun {
    Begun {
        session: UpstreamSession("session".to_owned()),
        challenge: "Y2hhbGxlbmdl".to_owned(),
        origin: "https://example.com".to_owned(),
        public_key: RawValue::from_string(public_key.to_owned()).unwrap(),
        tx_binding: TxBinding::Relay,
    }
}

pub(crate) async fn add_device(store: &dyn Store, device: &Device) {
    let batch = devices::add(store, Batch::new(), device).await.unwrap().unwrap();
    store.commit(batch).await.unwrap();
}

/// The entries of a journal that name an event, in their order.
pub(crate) async fn events(store: &dyn Store) -> Vec<Value> {
    let rows = store.journal(Position::default(), usize::MAX).await.unwrap();
    let entries = rows.iter().flat_map(|row| &row.entries);
    let entries = entries.map(|entry| serde_json::from_str::<Value>(entry).unwrap());
    entries.filter(|entry| entry["event"].is_string()).collect()
}
