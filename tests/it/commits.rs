//! What a sign-in costs in commits and reads of its record, and that a step which waits for the
//! next commit is neither shown before it nor lost by another write.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::ceremonies::{CeremonyKey, DeviceIdentity};
use fido_relay::app::devices::Device;
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::core::ceremony::{Ceremony, Event, FactKind, State};
use fido_relay::delivery::Connection;
use fido_relay::ports::{Batch, BoxFuture, Bucket, Revision, Store, StoreError, Stored, records};
use fido_relay_proto::device::{
    Ack, AckOf, Answer, Card, CardEvent, Claim, DeviceFrame, FrameErrorCode,
};
use fido_relay_proto::{
    AttemptId, Binding, ConnectionId, DeviceId, Outcome, Phase, RelayFrame, TenantId, Username,
};

use crate::support::actions::{add_device, device};
use crate::support::bare_relay::BareRelay;
use crate::support::faulty_store::{Faults, FaultyStore, refused};

const PHONE: DeviceId = DeviceId::from_bytes([1; 16]);

/// Counts what is done to ceremonies, and can refuse.
#[derive(Debug, Default)]
struct Watched {
    is_shared: bool,
    refuses: AtomicBool,
    loads: AtomicUsize,
    /// The facts that each commit of a ceremony added.
    commits: Mutex<Vec<Vec<&'static str>>>,
}

type WatchedStore = FaultyStore<Watched>;

impl WatchedStore {
    fn shared() -> Self {
        Self::new(MemoryStore::new(), Watched { is_shared: true, ..Watched::default() })
    }

    async fn stored(&self, key: &CeremonyKey) -> (Ceremony, Revision) {
        let stored = self.store.load(Bucket::Ceremonies, &key.to_string()).await.unwrap().unwrap();
        (records::parse(&stored).unwrap(), stored.revision)
    }

    fn commits(&self) -> Vec<Vec<&'static str>> {
        self.commits.lock().unwrap().clone()
    }
}

fn name(kind: &FactKind) -> &'static str {
    match kind {
        FactKind::Opened => "opened",
        FactKind::Sent => "sent",
        FactKind::Lost => "lost",
        FactKind::Woken => "woken",
        FactKind::Delivered => "delivered",
        FactKind::Previewed => "previewed",
        FactKind::WrongCode { .. } => "wrong_code",
        FactKind::Claimed => "claimed",
        FactKind::Challenged { .. } => "challenged",
        FactKind::Card { .. } => "card",
        FactKind::Answered { .. } => "answered",
        FactKind::Suppressed { .. } => "suppressed",
        FactKind::Closed { .. } => "closed",
    }
}

impl Faults for Watched {
    fn is_exclusive(&self) -> bool {
        !self.is_shared
    }

    fn load(&self, bucket: Bucket, _: &str) -> Result<Option<Stored>, StoreError> {
        if bucket == Bucket::Ceremonies {
            self.loads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(None)
    }

    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        Box::pin(async move {
            if self.refuses.load(Ordering::Relaxed) {
                return refused("switched off");
            }
            let mut added = None;
            for change in batch.changes().iter().filter(|it| it.bucket == Bucket::Ceremonies) {
                let fido_relay::ports::Write::Put { value, .. } = &change.write else { continue };
                let before = store.load(change.bucket, &change.key).await?;
                let known = before
                    .map_or(0, |stored| records::parse::<Ceremony>(&stored).unwrap().history.len());
                let ceremony: Ceremony = records::decode(value).unwrap();
                added = Some(ceremony.history[known..].iter().map(|it| name(&it.kind)).collect());
            }
            let revision = store.commit(batch).await?;
            self.commits.lock().unwrap().extend(added);
            Ok(revision)
        })
    }
}

/// Ada's phone.
async fn phone(store: &dyn Store) -> Connection {
    add_device(store, &Device { id: PHONE, ..device("ada") }).await;
    let username = Username::new("ada").unwrap();
    let owner = DeviceIdentity { device: PHONE, tenant: TenantId::default(), username };
    Connection::new(ConnectionId::from_bytes([1; 16]), owner)
}

fn code_of(ceremony: &Ceremony) -> Option<String> {
    match &ceremony.state {
        State::Offered { code, .. } => Some(code.0.clone()),
        _ => None,
    }
}

/// What the phone does with an offer: it takes it, and the person types the code.
async fn claim(relay: &BareRelay, key: &CeremonyKey, phone: &Connection) {
    let code = relay.until(key, code_of).await;
    relay.relay.delivery.show_again(key, phone).await;
    relay.relay.delivery.sent(phone, key.id).await;
    let ack = DeviceFrame::Ack(Ack { ceremony_id: key.id, of: AckOf::Offer });
    assert!(relay.relay.delivery.receive(phone, ack).await.is_none());
    let claim = DeviceFrame::Claim(Claim { ceremony_id: Some(key.id), code, claim_id: None });
    assert!(relay.relay.delivery.receive(phone, claim).await.is_none());
}

async fn answer(relay: &BareRelay, key: &CeremonyKey, phone: &Connection, attempt: AttemptId) {
    let card = Card { ceremony_id: key.id, event: CardEvent::Present, code: None };
    assert!(relay.relay.delivery.receive(phone, DeviceFrame::Card(card)).await.is_none());
    let credential = serde_json::from_str(r#"{"id":"mine"}"#).unwrap();
    let answer = DeviceFrame::Answer(Answer { ceremony_id: key.id, attempt, credential });
    let reply = relay.relay.delivery.receive(phone, answer).await;
    assert!(matches!(reply, Some(RelayFrame::Accepted { .. })), "{reply:?}");
}

async fn sign_in(store: &Arc<WatchedStore>, is_local: bool) -> (usize, Vec<Vec<&'static str>>) {
    let relay = BareRelay::start(Arc::clone(store) as Arc<dyn Store>).await;
    relay.fido.is_local.store(is_local, Ordering::Relaxed);
    let (key, phone) = (relay.open(Binding::Code, None).await, phone(&*relay.store).await);
    claim(&relay, &key, &phone).await;
    let attempt = relay.challenged(&key).await;
    answer(&relay, &key, &phone, attempt).await;
    let loads = || store.loads.load(Ordering::Relaxed);
    let by_the_sign_in = loads();
    let outcome = relay.until(&key, |it| it.closed().map(|closed| closed.outcome)).await;
    assert_eq!(outcome, Outcome::Succeeded);
    // Notices are looked at well before steps that wait would be committed.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let until_shown = loads();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(loads(), until_shown, "nothing waits any more");
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 1);
    assert!(relay.relay.dependencies().tasks.stop(Duration::from_secs(20)).await);
    assert_eq!(relay.relay.occupancy().copies, 0, "ended and shown");
    (by_the_sign_in, store.commits())
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_four_commits_and_no_read_where_this_process_alone_writes() {
    let (loads, commits) = sign_in(&Arc::default(), false).await;
    let claimed = vec!["sent", "delivered", "claimed", "challenged"];
    assert_eq!(commits, [vec!["opened"], claimed, vec!["card", "answered"], vec!["closed"]]);
    assert_eq!(loads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_on_the_relays_own_store_is_asked_before_the_answer_is_stored() {
    let (loads, commits) = sign_in(&Arc::default(), true).await;
    let claimed = vec!["sent", "delivered", "claimed", "challenged"];
    assert_eq!(commits, [vec!["opened"], claimed, vec!["card", "answered", "closed"]]);
    assert_eq!(loads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_store_gets_the_same_commits() {
    let (_, commits) = sign_in(&Arc::new(WatchedStore::shared()), false).await;
    assert_eq!(commits.len(), 4, "{commits:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_seen_once_it_is_committed_a_moment_later() {
    let store = Arc::new(WatchedStore::default());
    let relay = BareRelay::start(Arc::clone(&store) as Arc<dyn Store>).await;
    *relay.fido.begins_after.lock().unwrap() = Duration::from_secs(2);
    let (key, phone) = (relay.open(Binding::Code, None).await, phone(&*relay.store).await);
    claim(&relay, &key, &phone).await;
    let view = relay.relay.ceremonies.view(&key).await.unwrap().unwrap();
    assert_eq!((view.phase, view.steps(true).seq()), (Phase::Offered, 10));
    assert_eq!(store.commits().len(), 1);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let view = relay.relay.ceremonies.view(&key).await.unwrap().unwrap();
    assert_eq!((view.phase, view.steps(true).seq()), (Phase::Preparing, 20));
    assert_eq!(store.commits()[1..], [vec!["sent", "delivered", "claimed"]]);
    relay.challenged(&key).await;
    assert_eq!(store.commits().last().unwrap(), &["challenged"]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_code_is_committed_before_it_is_answered() {
    let store = Arc::new(WatchedStore::default());
    let relay = BareRelay::start(Arc::clone(&store) as Arc<dyn Store>).await;
    let (key, phone) = (relay.open(Binding::Code, None).await, phone(&*relay.store).await);
    let right = relay.until(&key, code_of).await;
    relay.relay.delivery.show_again(&key, &phone).await;
    relay.relay.delivery.sent(&phone, key.id).await;
    let code = if right == "000000" { "111111" } else { "000000" }.to_owned();
    let typed = Claim { ceremony_id: Some(key.id), code, claim_id: None };
    let reply = relay.relay.delivery.receive(&phone, DeviceFrame::Claim(typed)).await;
    let refused = |reply: &Option<RelayFrame>| match reply {
        Some(RelayFrame::Error { code, .. }) => Some(*code),
        _ => None,
    };
    assert_eq!(refused(&reply), Some(FrameErrorCode::WrongCode));
    assert_eq!(store.commits()[1..], [vec!["sent", "wrong_code"]]);
    // Where it cannot be stored, nothing is said of it.
    store.refuses.store(true, Ordering::Relaxed);
    let code = if right == "222222" { "333333" } else { "222222" }.to_owned();
    let typed = Claim { ceremony_id: Some(key.id), code, claim_id: None };
    let reply = relay.relay.delivery.receive(&phone, DeviceFrame::Claim(typed)).await;
    assert_eq!(refused(&reply), Some(FrameErrorCode::Unavailable));
    // Nor is a right one taken that could not be stored.
    store.refuses.store(false, Ordering::Relaxed);
    let ack = DeviceFrame::Ack(Ack { ceremony_id: key.id, of: AckOf::Offer });
    assert!(relay.relay.delivery.receive(&phone, ack).await.is_none());
    store.refuses.store(true, Ordering::Relaxed);
    let typed = Claim { ceremony_id: Some(key.id), code: right, claim_id: None };
    let reply = relay.relay.delivery.receive(&phone, DeviceFrame::Claim(typed)).await;
    assert_eq!(refused(&reply), Some(FrameErrorCode::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn steps_that_the_store_refused_are_stored_once_it_takes_them() {
    let store = Arc::new(WatchedStore::default());
    let relay = BareRelay::start(Arc::clone(&store) as Arc<dyn Store>).await;
    let (key, phone) = (relay.open(Binding::Code, None).await, phone(&*relay.store).await);
    let code = relay.until(&key, code_of).await;
    store.refuses.store(true, Ordering::Relaxed);
    relay.relay.delivery.sent(&phone, key.id).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.commits().len(), 1);
    store.refuses.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.commits()[1..], [vec!["sent"]]);
    drop(code);
}

#[tokio::test(start_paused = true)]
async fn steps_that_wait_follow_another_nodes_write_with_their_own_times() {
    let store = Arc::new(WatchedStore::shared());
    let relay = BareRelay::start(Arc::clone(&store) as Arc<dyn Store>).await;
    let (key, phone) = (relay.open(Binding::Code, None).await, phone(&*relay.store).await);
    relay.clock.forward(1_000);
    relay.relay.delivery.sent(&phone, key.id).await;
    // Another node stores a wrong code meanwhile.
    let (mut theirs, revision) = store.stored(&key).await;
    let code = if code_of(&theirs).unwrap() == "000000" { "111111" } else { "000000" }.to_owned();
    let (device, attempt) = (DeviceId::from_bytes([2; 16]), AttemptId::from_bytes([2; 16]));
    let opened_at = theirs.request.opened_at;
    theirs.step(
        opened_at.plus_millis(500),
        Event::Claim { device, attempt, code, same_network: None },
    );
    records::save(&store.store, Bucket::Ceremonies, &key.to_string(), revision, &theirs)
        .await
        .unwrap();
    relay.clock.forward(1_000);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let (stored, _) = store.stored(&key).await;
    let facts: Vec<_> = stored
        .history
        .iter()
        .map(|fact| (name(&fact.kind), fact.at.millis_since(opened_at)))
        .collect();
    assert_eq!(facts, [("opened", 0), ("wrong_code", 500), ("sent", 1_000)]);
}
