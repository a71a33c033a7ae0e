//! Revoked stays revoked: when the bus loses the notice, and when the store is put back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::ceremonies::DeviceIdentity;
use fido_relay::app::devices::{self, Device};
use fido_relay::app::{Actor, App, RevokeError};
use fido_relay::backends::embedded::{FileStore, MemoryStore, RevocationList};
use fido_relay::core::session::CloseReason;
use fido_relay::delivery::{Connection, ConnectionAction};
use fido_relay::node::{Dependencies, Relay};
use fido_relay::ports::{
    Batch, BoxFuture, Bucket, Bus, Notice, Revision, Revocations, Revoked, Store, StoreError,
    records,
};
use fido_relay::security::random;
use fido_relay::serve::{REVOCATIONS_FILE, STORE_FILE};
use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{ConnectionId, DeviceId, TenantId};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::actions::{add_device, app_of, device, events, operator};
use crate::support::bare_relay::BareRelay;
use crate::support::faulty_store::{Faults, FaultyStore, refused};
use crate::support::raw_socket::{RawSocket, text};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::wire_phone::WirePhone;

#[tokio::test]
async fn a_restored_backup_does_not_bring_a_revoked_device_back() {
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let (lost, kept) = (relay.pair(&initiator, "ada").await, relay.pair(&initiator, "ada").await);
    let (running, directory) = relay.stop().await;
    let (store, backup) = (directory.path().join(STORE_FILE), directory.path().join("backup"));
    std::fs::copy(&store, &backup).unwrap();

    let relay = TestRelay::start_again(&running, directory).await;
    let initiator = Initiator { url: relay.url(), ..initiator };
    let mut phone = WirePhone::connect(lost.clone()).await;
    let path = format!("/v1/devices/{}", lost.device_id);
    assert_eq!(initiator.delete(&path).await.status(), 204);
    assert_eq!(phone.end().await, (Some(4403), "revoked".to_owned()));

    let (running, directory) = relay.stop().await;
    std::fs::copy(&backup, &store).unwrap();
    let relay = TestRelay::start_again(&running, directory).await;
    // As unknown as one that never was.
    let mut socket = RawSocket::upgraded(&relay.url()).await;
    let nonce = socket.hello().await;
    let proof = lost.key.auth_proof(&lost.socket_url, &nonce, lost.device_id).unwrap();
    socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
    assert_eq!(socket.closes().await, (4401, "unauthenticated".to_owned()));
    assert_eq!(initiator.delete(&path).await.status(), 404);
    WirePhone::connect(kept).await.hears_nothing().await;
}

/// What makes the difference is the list, and it is no more than that.
#[tokio::test]
async fn with_the_list_put_back_too_the_device_is_back() {
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let lost = relay.pair(&initiator, "ada").await;
    let (running, directory) = relay.stop().await;
    let (store, backup) = (directory.path().join(STORE_FILE), directory.path().join("backup"));
    std::fs::copy(&store, &backup).unwrap();
    let relay = TestRelay::start_again(&running, directory).await;
    let path = format!("/v1/devices/{}", lost.device_id);
    let initiator = Initiator { url: relay.url(), ..initiator };
    assert_eq!(initiator.delete(&path).await.status(), 204);
    let (running, directory) = relay.stop().await;
    std::fs::copy(&backup, &store).unwrap();
    std::fs::remove_file(directory.path().join(REVOCATIONS_FILE)).unwrap();
    let _relay = TestRelay::start_again(&running, directory).await;
    WirePhone::connect(lost).await.hears_nothing().await;
}

#[tokio::test]
async fn a_relay_whose_list_is_damaged_does_not_start() {
    let relay = TestRelay::start().await;
    let (config, directory) = relay.stop().await;
    std::fs::write(directory.path().join(REVOCATIONS_FILE), "not a revocation\n").unwrap();
    let listener = fido_relay::serve::bind(&config).unwrap();
    let error = fido_relay::serve::start(config, listener).await.unwrap_err();
    assert!(error.to_string().contains("line 1 of"), "{error}");
    // Nothing holds the store.
    FileStore::open(&directory.path().join(STORE_FILE), &[]).unwrap();
}

/// A bus that loses everything.
#[derive(Debug, Default)]
struct DeafBus {
    lost: AtomicUsize,
    sender: Mutex<Option<mpsc::Sender<Notice>>>,
}

impl Bus for DeafBus {
    fn publish(&self, _: Notice) -> BoxFuture<'_, ()> {
        self.lost.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }

    fn feed(&self) -> Option<mpsc::Receiver<Notice>> {
        let (sender, receiver) = mpsc::channel(1);
        *self.sender.lock().unwrap() = Some(sender);
        Some(receiver)
    }
}

/// Refuses so many writes of devices.
#[derive(Debug, Default)]
struct Stubborn {
    refusals: AtomicUsize,
}

impl Faults for Stubborn {
    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        let refuses = batch.changes().iter().any(|change| change.bucket == Bucket::Devices)
            && self
                .refusals
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok();
        if refuses {
            Box::pin(std::future::ready(refused("on purpose")))
        } else {
            store.commit(batch)
        }
    }
}

/// A public key; no test here verifies a signature.
fn key(x: &str) -> P256Jwk {
    let [kty, crv, x, y] = ["EC", "P-256", x, "y"].map(str::to_owned);
    P256Jwk { kty, crv, x, y }
}

/// Two nodes on one store and one list, with a bus between them that carries nothing.
struct Deaf {
    nodes: [Relay; 2],
    bus: Arc<DeafBus>,
    store: Arc<FaultyStore<Stubborn>>,
    list: Arc<RevocationList>,
}

impl Deaf {
    async fn start() -> Self {
        let bare = BareRelay::start(Arc::new(MemoryStore::default())).await;
        let (bus, store) =
            (Arc::new(DeafBus::default()), Arc::new(FaultyStore::<Stubborn>::default()));
        let list = Arc::new(RevocationList::in_memory());
        let node = || {
            let world = Dependencies {
                store: Arc::clone(&store) as Arc<dyn Store>,
                revocations: Arc::clone(&list) as Arc<dyn Revocations>,
                bus: Arc::clone(&bus) as Arc<dyn Bus>,
                ..bare.relay.dependencies().clone()
            };
            Relay::start(world, crate::support::patient())
        };
        let nodes = [node(), node()];
        for node in &nodes {
            node.ceremonies.recovered().await;
            node.revocations_applied().await;
        }
        Self { nodes, bus, store, list }
    }

    fn app(&self) -> App {
        app_of(self.nodes[0].dependencies())
    }

    async fn paired(&self) -> DeviceIdentity {
        let device = Device { jwk: key("x"), ..device("ada") };
        add_device(&*self.store, &device).await;
        DeviceIdentity { device: device.id, tenant: device.tenant, username: device.username }
    }

    /// A socket of this device on the second node.
    async fn connects(&self, owner: &DeviceIdentity) -> Arc<Connection> {
        let id = ConnectionId::from_bytes(random::bytes());
        let connection = Arc::new(Connection::new(id, owner.clone()));
        self.nodes[1].delivery.attach(&connection, &key("x")).await;
        assert!(matches!(connection.next(), ConnectionAction::Idle));
        connection
    }
}

/// How long the connection stays open.
async fn closes(connection: &Connection) -> (CloseReason, Duration) {
    let began = tokio::time::Instant::now();
    loop {
        match connection.next() {
            ConnectionAction::Close(reason) => return (reason, began.elapsed()),
            ConnectionAction::Idle => connection.woken().await,
            ConnectionAction::Write(_) | ConnectionAction::Renew => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_socket_closes_within_five_seconds_on_every_node_though_the_bus_loses_the_notice()
{
    let deaf = Deaf::start().await;
    for wait in [0, 700, 1_999, 3_600_000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let owner = deaf.paired().await;
        let connection = deaf.connects(&owner).await;
        let before = deaf.bus.lost.load(Ordering::Relaxed);
        devices::revoke(&deaf.app(), &operator(), owner.device).await.unwrap();
        assert!(deaf.bus.lost.load(Ordering::Relaxed) > before, "it was published, and lost");
        let (reason, took) = closes(&connection).await;
        assert_eq!(reason, CloseReason::Revoked);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_the_store_refused_is_applied_as_soon_as_it_can_be() {
    let deaf = Deaf::start().await;
    let owner = deaf.paired().await;
    let connection = deaf.connects(&owner).await;
    deaf.store.refusals.store(3, Ordering::Relaxed);
    let refused = devices::revoke(&deaf.app(), &operator(), owner.device).await;
    assert!(matches!(refused, Err(RevokeError::Store(_))), "{refused:?}");
    let (reason, took) = closes(&connection).await;
    assert_eq!(reason, CloseReason::Revoked);
    assert!(took < Duration::from_secs(10), "{took:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let found = devices::load(&*deaf.store, &owner.tenant, owner.device).await.unwrap();
    assert!(found.is_none());
    let told = events(&*deaf.store).await;
    assert_eq!(told.len(), 1, "by one of the nodes: {told:?}");
    assert_eq!(told[0]["event"], "device_revoked");
    assert_eq!(told[0]["device_id"], owner.device.to_string());
    let again = devices::revoke(&deaf.app(), &operator(), owner.device).await;
    assert!(matches!(again, Err(RevokeError::NotFound)), "{again:?}");
}

/// The proof was verified with a key that another node has replaced before the socket was
/// registered: the notice of it found no socket to renew.
#[tokio::test(start_paused = true)]
async fn a_socket_registered_after_its_key_was_rotated_has_to_sign_with_the_new_key() {
    let deaf = Deaf::start().await;
    let owner = deaf.paired().await;
    let place = format!("{}.{}", owner.tenant, owner.device);
    let found = records::load::<Device>(&*deaf.store, Bucket::Devices, &place).await.unwrap();
    let (device, revision) = found.unwrap();
    let rotated = Device { jwk: key("new"), ..device };
    records::save(&*deaf.store, Bucket::Devices, &place, revision, &rotated).await.unwrap();
    let attach = async |proven_by: &str| {
        let id = ConnectionId::from_bytes(random::bytes());
        let connection = Arc::new(Connection::new(id, owner.clone()));
        deaf.nodes[1].delivery.attach(&connection, &key(proven_by)).await;
        connection.next()
    };
    assert!(matches!(attach("x").await, ConnectionAction::Renew));
    assert!(matches!(attach("new").await, ConnectionAction::Idle));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_not_written_down() {
    let deaf = Deaf::start().await;
    let nobody = DeviceId::from_bytes([9; 16]);
    let revoked = devices::revoke(&deaf.app(), &operator(), nobody).await;
    assert!(matches!(revoked, Err(RevokeError::NotFound)), "{revoked:?}");
    let owner = deaf.paired().await;
    let elsewhere: TenantId = "another".parse().unwrap();
    let elsewhere = Actor::operator(elsewhere, "tester");
    let revoked = devices::revoke(&deaf.app(), &elsewhere, owner.device).await;
    assert!(matches!(revoked, Err(RevokeError::NotFound)), "{revoked:?}");
    assert_eq!(deaf.list.after(0, 9).await.unwrap(), []);
    devices::revoke(&deaf.app(), &operator(), owner.device).await.unwrap();
    let listed = deaf.list.after(0, 9).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|(_, listed)| listed.what).collect();
    assert_eq!(listed, [Revoked::Device(owner.device)]);
}
