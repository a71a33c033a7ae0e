//! What a completion means for a card is one commit with the ceremony's end: the FIDO2 server's own
//! records, the entry of the journal, and the news for the user's devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::app::devices::{self, UserKey};
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::core::ceremony::{Event, Verdict, VerifiedAnswer};
use fido_relay::ports::{
    Batch, BoxFuture, Bucket, Completion, Revision, SecurityEventKind, Store, StoreError,
};
use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::{Binding, CardId, DeviceId, NodeId, Outcome, Reason, TenantId, Username};

use crate::support::actions::{add_device, device, events};
use crate::support::bare_relay::BareRelay;
use crate::support::faulty_store::{Faults, FaultyStore};

const CARD: CardId = CardId::from_bytes([4; 32]);

/// Another write of a user comes before the first one that ends a ceremony.
#[derive(Debug, Default)]
struct Overtaking {
    has_overtaken: AtomicBool,
}

impl Faults for Overtaking {
    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        Box::pin(async move {
            let changes = |bucket| batch.changes().iter().find(|change| change.bucket == bucket);
            if changes(Bucket::Ceremonies).is_some()
                && let Some(user) = changes(Bucket::Users)
                && !self.has_overtaken.swap(true, Ordering::Relaxed)
            {
                let now = store.load(user.bucket, &user.key).await?.unwrap();
                store.save(user.bucket, &user.key, now.revision, now.value).await?;
            }
            store.commit(batch).await
        })
    }
}

async fn ends(relay: &BareRelay, completion: Completion) -> CeremonyKey {
    *relay.fido.says.lock().unwrap() = Some(completion);
    // Only a server on the relay's own store has records and events of its own.
    relay.fido.is_local.store(true, Ordering::Relaxed);
    let key = relay.open(Binding::None, None).await;
    let attempt = relay.challenged(&key).await;
    let event = Event::Answer {
        device: DeviceId::from_bytes([1; 16]),
        attempt,
        credential: serde_json::from_str("{}").unwrap(),
        digest: [1; 32],
        by: NodeId::from_bytes([1; 16]),
    };
    relay.relay.ceremonies.advance(&key, event).await.unwrap();
    relay.until(&key, |ceremony| ceremony.closed().map(drop)).await;
    key
}

async fn revision(store: &dyn Store, bucket: Bucket, key: &str) -> Revision {
    store.load(bucket, key).await.unwrap().unwrap().revision
}

#[tokio::test]
async fn a_registered_card_its_news_and_its_entry_are_one_commit_with_the_ceremonys_end() {
    let relay = BareRelay::start(Arc::new(FaultyStore::<Overtaking>::default())).await;
    let (tenant, ada) = (TenantId::default(), Username::new("ada").unwrap());
    add_device(&*relay.store, &device("ada")).await;
    let approval =
        VerifiedAnswer { cred_hash: "A".repeat(43), user_verified: None, evidence: None };
    let completion = Completion {
        verdict: Verdict::Approved(approval),
        records: Batch::new().put(Bucket::Credentials, "card", Revision::ABSENT, Vec::new()),
        event: Some(SecurityEventKind::CardRegistered { card_id: CARD, username: ada.clone() }),
    };
    let key = ends(&relay, completion).await;
    // Its first end met another write of the user's record, and was handed in again.
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 2);

    let end = revision(&*relay.store, Bucket::Ceremonies, &key.to_string()).await;
    let user = UserKey::new(&tenant, &ada);
    assert_eq!(revision(&*relay.store, Bucket::Credentials, "card").await, end);
    assert_eq!(revision(&*relay.store, Bucket::Users, user.as_str()).await, end);
    let news = devices::notices_of_user(&*relay.store, &tenant, &ada).await.unwrap();
    let news: Vec<_> = news.iter().map(|news| (news.event, news.card)).collect();
    assert_eq!(news, [(NoticeEvent::CardRegistered, Some(CARD))]);
    let told = events(&*relay.store).await;
    let told: Vec<_> = told.iter().filter(|told| told["event"] == "card_registered").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["card_id"], CARD.to_string());
    assert_eq!(told[0]["username"], "ada");
}

#[tokio::test]
async fn a_suspected_copy_is_an_entry_where_nothing_else_of_the_server_is_written() {
    let relay = BareRelay::start(Arc::new(MemoryStore::default())).await;
    let ada = Username::new("ada").unwrap();
    let completion = Completion {
        verdict: Verdict::Rejected(Reason::CloneSuspected),
        records: Batch::new(),
        event: Some(SecurityEventKind::CloneSuspected { card_id: CARD, username: ada }),
    };
    let key = ends(&relay, completion).await;
    let outcome = relay.until(&key, |ceremony| Some(ceremony.closed()?.outcome)).await;
    assert_eq!(outcome, Outcome::Rejected);
    let told = events(&*relay.store).await;
    let told: Vec<_> = told.iter().filter(|told| told["event"] == "clone_suspected").collect();
    assert_eq!(told.len(), 1, "{told:?}");
}
