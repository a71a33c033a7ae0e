//! Who a key opens for, and for how long.

use std::sync::Arc;

use std::net::IpAddr;

use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, PlainText, TenantId};

use super::*;
use crate::app::tests::{HandClock, over};
use crate::backends::embedded::MemoryStore;
use crate::ports::Store;

const NOW: UnixMillis = UnixMillis(1_000_000);

/// Clients of a store whose time stands still.
#[derive(Clone, Debug)]
struct Stage {
    app: App,
    clock: Arc<HandClock>,
    store: Arc<MemoryStore>,
    clients: Clients,
}

impl std::ops::Deref for Stage {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.clients
    }
}

impl Stage {
    fn set() -> Self {
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(HandClock::at(NOW)));
        let clients = Clients::new(Arc::clone(&store) as Arc<dyn Store>);
        Self { app: over(Arc::clone(&store) as _, Arc::clone(&clock) as _), clock, store, clients }
    }

    async fn create(&self, new: NewClient, ends: Option<UnixMillis>) -> (Client, ApiKey) {
        let actor = Actor::operator(new.tenant.clone(), "ada");
        let (bounds, credential) = (ClientChange::default(), Credential::ApiKey(ends));
        let (id, key) = create(&self.app, &actor, new, &bounds, credential).await.unwrap();
        (self.clients.find(&actor.tenant, id).await.unwrap().unwrap(), key.unwrap())
    }

    async fn add_key(
        &self,
        client: &Client,
        ends: Option<UnixMillis>,
        others_end: Option<UnixMillis>,
    ) -> Result<ApiKey, ClientError> {
        add_key(&self.app, &actor(&client.tenant), client.id, ends, others_end).await
    }
}

fn actor(tenant: &TenantId) -> Actor {
    Actor::operator(tenant.clone(), "ada")
}

fn shop(tenant: &str) -> NewClient {
    NewClient {
        tenant: tenant.parse().unwrap(),
        name: PlainText::new("Shop").unwrap(),
        scopes: vec![Scope::CeremonyRead, Scope::CeremonyAuth, Scope::CeremonyRead],
        bindings: vec![Binding::Code],
    }
}

async fn shop_with_key() -> (Stage, Arc<MemoryStore>, Client, ApiKey) {
    let stage = Stage::set();
    let (client, key) = stage.create(shop("default"), None).await;
    let store = Arc::clone(&stage.store);
    (stage, store, client, key)
}

async fn opens(clients: &Clients, key: &ApiKey, now: UnixMillis) -> bool {
    clients.authenticate(key.expose(), now).await.unwrap().is_some()
}

#[tokio::test]
async fn a_key_opens_for_its_client_with_its_scopes() {
    let (clients, _store, client, key) = shop_with_key().await;
    let found = clients.authenticate(key.expose(), NOW).await.unwrap().unwrap();
    assert_eq!((found.id, &found.tenant), (client.id, &client.tenant));
    assert_eq!(found.scopes, [Scope::CeremonyAuth, Scope::CeremonyRead]);
    assert!(found.has(Scope::CeremonyAuth) && !found.has(Scope::CeremonyReg));
    assert_eq!(found.bindings, [Binding::Code]);
    assert_eq!(found.view().client_id, client.id);
}

#[tokio::test]
async fn a_client_is_parsed_again_only_once_its_record_has_changed() {
    let (clients, _store, client, key) = shop_with_key().await;
    let find = async || clients.authenticate(key.expose(), NOW).await.unwrap();
    let first = find().await.unwrap();
    assert!(Arc::ptr_eq(&first, &find().await.unwrap()));
    let page_origins = Some(vec!["https://shop.example".parse().unwrap()]);
    let change = ClientChange { page_origins, ..ClientChange::default() };
    alter(&clients.app, &actor(&client.tenant), client.id, &change).await.unwrap();
    let second = find().await.unwrap();
    assert!(second.has_page("https://shop.example") && !first.has_page("https://shop.example"));
    assert!(Arc::ptr_eq(&second, &find().await.unwrap()));
    remove(&clients.app, &actor(&client.tenant), client.id).await.unwrap();
    assert_eq!(find().await, None);
}

#[tokio::test]
async fn a_key_that_another_process_ends_opens_nothing_from_then_on() {
    let (clients, _store, client, key) = shop_with_key().await;
    assert!(opens(&clients, &key, NOW).await);
    let change = ClientChange { end_api_keys: true, ..ClientChange::default() };
    alter(&clients.app, &actor(&client.tenant), client.id, &change).await.unwrap();
    assert!(!opens(&clients, &key, NOW).await);
}

#[tokio::test]
async fn an_unknown_key_opens_nothing() {
    let (clients, _store, ..) = shop_with_key().await;
    assert!(!opens(&clients, &ApiKey::generate(), NOW).await);
}

#[tokio::test]
async fn a_text_that_is_no_key_opens_nothing() {
    let (clients, _store, _, key) = shop_with_key().await;
    let key = key.expose();
    let body = key.strip_prefix("rk_").unwrap();
    let texts = [
        String::new(),
        "rk_".to_owned(),
        body.to_owned(),
        format!("RK_{body}"),
        format!("{key}="),
        format!("{key} "),
        format!(" {key}"),
        key[..key.len() - 1].to_owned(),
        format!("{key}A"),
        format!("rk_{}", "ä".repeat(43)),
        format!("rk_{}", "A".repeat(10_000)),
    ];
    for text in texts {
        assert_eq!(clients.authenticate(&text, NOW).await, Ok(None), "{text:?}");
    }
}

#[tokio::test]
async fn a_key_ends_when_it_was_said_to_end() {
    let clients = Stage::set();
    let end = NOW.plus_secs(60);
    let (_, key) = clients.create(shop("default"), Some(end)).await;
    assert!(opens(&clients, &key, UnixMillis(end.0 - 1)).await);
    assert!(!opens(&clients, &key, end).await);
}

#[tokio::test]
async fn a_removed_client_is_gone_with_all_its_keys() {
    let (clients, store, client, key) = shop_with_key().await;
    let by = actor(&client.tenant);
    remove(&clients.app, &by, client.id).await.unwrap();
    assert!(!opens(&clients, &key, NOW).await);
    assert_eq!(clients.list(&client.tenant).await, Ok(Vec::new()));
    assert_eq!(remove(&clients.app, &by, client.id).await, Err(ClientError::NotFound));
    let again = clients.add_key(&client, None, None).await;
    assert_eq!(again, Err(ClientError::NotFound));
    assert_eq!(store.list(Bucket::ApiKeys, "").await, Ok(Vec::new()), "a pointer was left");
}

#[tokio::test]
async fn at_most_two_keys_live_and_an_ended_one_makes_room() {
    let (clients, store, client, first) = shop_with_key().await;
    let add = |end| clients.add_key(&client, end, None);
    let later = NOW.plus_secs(10);
    let second = add(Some(later)).await.unwrap();
    assert_eq!(add(None).await, Err(ClientError::TooManyKeys));
    clients.clock.set(later);
    let third = add(None).await.unwrap();
    assert!(opens(&clients, &first, later).await);
    assert!(!opens(&clients, &second, later).await);
    assert!(opens(&clients, &third, later).await);
    assert_eq!(store.list(Bucket::ApiKeys, "").await.unwrap().len(), 2, "a pointer was left");
}

#[tokio::test]
async fn rotating_lets_the_newest_old_key_live_a_while_and_ends_older_ones() {
    let (clients, _store, client, first) = shop_with_key().await;
    let end = NOW.plus_secs(3600);
    let rotate = || clients.add_key(&client, None, Some(end));
    let second = rotate().await.unwrap();
    assert!(opens(&clients, &first, NOW).await && opens(&clients, &second, NOW).await);
    assert!(!opens(&clients, &first, end).await && opens(&clients, &second, end).await);
    let third = rotate().await.unwrap();
    assert!(!opens(&clients, &first, NOW).await, "an older key lives on");
    assert!(opens(&clients, &second, NOW).await && opens(&clients, &third, NOW).await);
}

#[tokio::test]
async fn rotating_never_prolongs_a_key() {
    let clients = Stage::set();
    let soon = NOW.plus_secs(5);
    let (client, key) = clients.create(shop("default"), Some(soon)).await;
    let late = Some(NOW.plus_secs(3600));
    clients.add_key(&client, None, late).await.unwrap();
    assert!(!opens(&clients, &key, soon).await);
}

#[tokio::test]
async fn tenants_do_not_see_one_anothers_clients() {
    let clients = Stage::set();
    let (ours, _) = clients.create(shop("a"), None).await;
    clients.create(shop("a-b"), None).await;
    assert_eq!(clients.list(&ours.tenant).await, Ok(vec![ours.clone()]));
    let theirs = actor(&"a-b".parse().unwrap());
    assert_eq!(remove(&clients.app, &theirs, ours.id).await, Err(ClientError::NotFound));
}

#[tokio::test]
async fn keys_made_at_the_same_time_are_never_more_than_two() {
    let clients = Stage::set();
    let (client, _) = clients.create(shop("default"), None).await;
    let adds = (0..8).map(|_| clients.add_key(&client, None, None));
    let results = futures::future::join_all(adds).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), LIVE_KEYS - 1);
    for key in results.iter().flatten() {
        assert!(opens(&clients, key, NOW).await);
    }
}

#[tokio::test]
async fn neither_the_store_nor_debug_output_holds_the_key() {
    let (clients, store, client, key) = shop_with_key().await;
    let secret = key.expose().strip_prefix("rk_").unwrap();
    let found = clients.authenticate(key.expose(), NOW).await.unwrap().unwrap();
    let printed = format!("{key:?} {found:?} {client:?} {clients:?}");
    assert!(!printed.contains(secret) && !printed.contains(&found.keys[0].hash));
    for bucket in Bucket::ALL {
        for (name, stored) in store.list(bucket, "").await.unwrap() {
            let value = String::from_utf8_lossy(&stored.value).into_owned();
            assert!(!name.contains(secret) && !value.contains(secret), "{bucket:?}/{name}");
        }
    }
}

async fn altered(change: ClientChange) -> Arc<Client> {
    let (clients, _store, client, key) = shop_with_key().await;
    alter(&clients.app, &actor(&client.tenant), client.id, &change).await.unwrap();
    clients.authenticate(key.expose(), NOW).await.unwrap().unwrap()
}

fn networks(texts: &[&str]) -> ClientChange {
    let networks = texts.iter().map(|text| text.parse().unwrap()).collect();
    ClientChange { allow_from: Some(networks), ..ClientChange::default() }
}

#[tokio::test]
async fn a_client_may_call_from_its_networks_alone_and_from_anywhere_without_any() {
    let anywhere = altered(ClientChange::default()).await;
    let listed = altered(networks(&["10.1.2.3/8", "192.0.2.7/32", "2001:db8::/32"])).await;
    let shown: Vec<_> = listed.allow_from.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
    for (address, may) in [
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("::ffff:10.1.2.3", true),
        ("9.255.255.255", false),
        ("11.0.0.0", false),
        ("192.0.2.7", true),
        ("192.0.2.6", false),
        ("192.0.2.8", false),
        ("2001:db8:ffff::1", true),
        ("2001:db9::", false),
        ("::ffff:9.9.9.9", false),
        ("127.0.0.1", false),
        ("::1", false),
        ("::", false),
        // Not v4-mapped: another address.
        ("::10.1.2.3", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(listed.may_call_from(Some(address)), may, "{address}");
        assert!(anywhere.may_call_from(Some(address)), "{address}");
    }
    let v4 = altered(networks(&["0.0.0.0/0"])).await;
    assert!(v4.may_call_from(Some("198.51.100.1".parse().unwrap())));
    assert!(!v4.may_call_from(Some("2001:db8::1".parse().unwrap())));
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name() {
    let (clients, _store, client, _key) = shop_with_key().await;
    let pages = |origins: &[&str]| ClientChange {
        page_origins: Some(origins.iter().map(|origin| origin.parse().unwrap()).collect()),
        ..ClientChange::default()
    };
    let by = actor(&client.tenant);
    let change = async |change| alter(&clients.app, &by, client.id, &change).await;
    change(pages(&["https://b.example", "https://a.example", "https://b.example"])).await.unwrap();
    change(networks(&["10.0.0.0/8"])).await.unwrap();
    let found = clients.find(&client.tenant, client.id).await.unwrap().unwrap();
    assert_eq!(found.view().page_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(found.view().allow_from, ["10.0.0.0/8"]);
    assert_eq!((found.keys.len(), found.scopes), (1, client.scopes.clone()));
    change(networks(&[])).await.unwrap();
    let found = clients.find(&client.tenant, client.id).await.unwrap().unwrap();
    assert!(found.allow_from.is_empty() && found.page_origins.len() == 2);
    let nobody = ClientId::from_bytes([9; 16]);
    let gone = alter(&clients.app, &by, nobody, &ClientChange::default()).await;
    assert_eq!(gone, Err(ClientError::NotFound));
}

#[tokio::test]
async fn a_record_from_before_networks_and_pages_still_opens() {
    let (clients, store, client, key) = shop_with_key().await;
    let place = record_key(&client.tenant, client.id);
    let stored = store.load(Bucket::Clients, &place).await.unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
    let fields = record.as_object_mut().unwrap();
    fields.retain(|name, _| {
        ["id", "tenant", "name", "scopes", "bindings", "created_at", "keys"]
            .contains(&name.as_str())
    });
    let bytes = serde_json::to_vec(&record).unwrap();
    store.save(Bucket::Clients, &place, stored.revision, bytes).await.unwrap();
    assert!(opens(&clients, &key, NOW).await);
}
