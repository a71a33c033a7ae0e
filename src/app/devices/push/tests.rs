//! An address belongs to one device, whatever happens to either.

use std::sync::Arc;

use fido_relay_proto::http::{Platform, PushService};
use fido_relay_proto::{PlainText, Username};
use fido_relay_rig::phone::DeviceKey;
use futures::future::join_all;

use super::*;
use crate::app::devices::{add, load, revoke};
use crate::app::tests::{AllBut, HandClock, entries, over};
use crate::app::{Actor, users};
use crate::backends::embedded::MemoryStore;
use crate::core::prompt_limits::CodeAttempts;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

struct Scene {
    app: App,
    store: Arc<MemoryStore>,
}

fn target(token: &str) -> PushTarget {
    let token = PlainText::new(token).unwrap();
    PushTarget { service: PushService::Fcm, token, app: None, keys: None }
}

impl Scene {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let app = over(Arc::clone(&store) as _, Arc::new(HandClock::at(NOW)));
        Self { app: App { push: Some(Arc::new(AllBut("foreign"))), ..app }, store }
    }

    async fn paired(&self, byte: u8, username: &str, push: Option<PushTarget>) -> DeviceId {
        let id = DeviceId::from_bytes([byte; 16]);
        let device = Device {
            id,
            tenant: TenantId::default(),
            username: Username::new(username).unwrap(),
            jwk: DeviceKey::generate().unwrap().jwk().clone(),
            name: None,
            platform: Platform::Other,
            push,
            push_removed: None,
            paired_at: NOW,
            revoked_at: None,
            rotated: None,
            tries: CodeAttempts::default(),
        };
        let batch = add(&*self.store, Batch::new(), &device).await.unwrap().unwrap();
        self.store.commit(batch).await.unwrap();
        id
    }

    async fn set(&self, id: DeviceId, push: Option<PushTarget>) -> Result<(), SetPushError> {
        set_push(&self.app, &TenantId::default(), id, push).await
    }

    async fn device(&self, id: DeviceId) -> Device {
        load(&*self.store, &TenantId::default(), id).await.unwrap().unwrap()
    }

    /// How many addresses are some device's.
    async fn held(&self) -> usize {
        self.store.list(Bucket::PushAddresses, "").await.unwrap().len()
    }

    async fn events(&self) -> Vec<String> {
        let said = |entry: &serde_json::Value| {
            let part = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let words = [part("event"), part("service"), part("why")];
            words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        entries(&*self.store).await.iter().map(said).collect()
    }
}

#[tokio::test]
async fn an_address_that_another_device_sets_is_moved_with_an_entry_for_each() {
    let scene = Scene::new();
    let one = scene.paired(1, "ada", Some(target("t"))).await;
    let two = scene.paired(2, "bob", None).await;
    scene.set(two, Some(target("t"))).await.unwrap();
    assert_eq!(scene.device(two).await.push, Some(target("t")));
    let lost = scene.device(one).await;
    assert_eq!((lost.push.clone(), lost.push_removed), (None, Some(NOW)));
    assert!(lost.push_notice().is_some());
    let events = ["push_set fcm", "push_removed moved", "push_set fcm"];
    assert_eq!(scene.events().await, events);
    // By pairing too: the app was installed anew.
    let three = scene.paired(3, "ada", Some(target("t"))).await;
    assert_eq!(scene.device(two).await.push, None);
    assert_eq!(scene.device(three).await.push, Some(target("t")));
    assert_eq!(scene.held().await, 1);
    // What was another's before is free to be set by the one that lost it, and its notice is gone.
    scene.set(one, Some(target("u"))).await.unwrap();
    assert!(scene.device(one).await.push_notice().is_none());
}

#[tokio::test]
async fn a_device_has_one_address_and_the_same_again_changes_nothing() {
    let scene = Scene::new();
    let one = scene.paired(1, "ada", None).await;
    scene.set(one, Some(target("t"))).await.unwrap();
    scene.set(one, Some(target("t"))).await.unwrap();
    assert_eq!(scene.events().await, ["push_set fcm"]);
    scene.set(one, Some(target("u"))).await.unwrap();
    assert_eq!(scene.held().await, 1);
    // The same token under other details is the same address.
    let named = PushTarget { app: Some(PlainText::new("project").unwrap()), ..target("u") };
    scene.set(one, Some(named.clone())).await.unwrap();
    assert_eq!((scene.held().await, scene.device(one).await.push), (1, Some(named)));
    scene.set(one, None).await.unwrap();
    scene.set(one, None).await.unwrap();
    assert_eq!(scene.held().await, 0);
    assert_eq!(scene.events().await.last().unwrap(), "push_removed asked");
    assert_eq!(scene.device(one).await.push_notice(), None, "it knows");
}

#[tokio::test]
async fn a_dead_address_is_forgotten_unless_another_was_set() {
    let (scene, tenant) = (Scene::new(), TenantId::default());
    let one = scene.paired(1, "ada", Some(target("t"))).await;
    scene.set(one, Some(target("u"))).await.unwrap();
    let forget = |token: &'static str| {
        let (store, tenant) = (Arc::clone(&scene.store), tenant.clone());
        async move { forget_push(&*store, &tenant, one, &target(token), NOW).await.unwrap() }
    };
    assert!(!forget("t").await, "it has another");
    assert!(forget("u").await && !forget("u").await);
    assert_eq!(scene.held().await, 0);
    assert_eq!(scene.events().await, ["push_set fcm", "push_set fcm", "push_removed gone"]);
    let notice = scene.device(one).await.push_notice();
    assert_eq!(notice.map(|(_, at)| at), Some(NOW));
    // Another device may have it now, and the notice is there until there is an address.
    let two = scene.paired(2, "bob", Some(target("u"))).await;
    assert_eq!(scene.device(two).await.push, Some(target("u")));
    assert_eq!(scene.device(one).await.push_notice(), notice);
}

#[tokio::test]
async fn revoking_a_device_or_removing_its_user_frees_the_address() {
    let (scene, actor) = (Scene::new(), Actor::operator(TenantId::default(), "tester"));
    let one = scene.paired(1, "ada", Some(target("t"))).await;
    scene.paired(2, "bob", Some(target("u"))).await;
    let before = revoke(&scene.app, &actor, one).await.unwrap();
    assert_eq!((before.push, scene.held().await), (Some(target("t")), 1));
    users::remove(&scene.app, &actor, &Username::new("bob").unwrap()).await.unwrap();
    assert_eq!(scene.held().await, 0);
    assert_eq!(scene.set(one, Some(target("t"))).await, Err(SetPushError::NotFound));
    assert_eq!(scene.held().await, 0);
}

#[tokio::test]
async fn many_that_set_one_address_at_once_leave_one_holder() {
    let scene = Scene::new();
    let mut ids = Vec::new();
    for byte in 1..=20 {
        ids.push(scene.paired(byte, &format!("user{byte}"), None).await);
    }
    for set in join_all(ids.iter().map(|id| scene.set(*id, Some(target("t"))))).await {
        set.unwrap();
    }
    let mut holders = 0;
    for id in ids {
        let device = scene.device(id).await;
        holders += usize::from(device.push.is_some());
        assert!(device.push.is_some() != device.push_removed.is_some());
    }
    assert_eq!((holders, scene.held().await), (1, 1));
}

#[tokio::test]
async fn what_is_not_served_is_not_set() {
    let scene = Scene::new();
    let one = scene.paired(1, "ada", Some(target("t"))).await;
    let foreign = PushTarget { app: Some(PlainText::new("foreign").unwrap()), ..target("u") };
    let refused = scene.set(one, Some(foreign)).await.unwrap_err();
    assert_eq!(refused.to_string(), "not served here");
    let without = App { push: None, ..scene.app.clone() };
    let refused = set_push(&without, &TenantId::default(), one, Some(target("u"))).await;
    assert_eq!(refused, Err(SetPushError::NotSupported));
    assert_eq!(scene.device(one).await.push, Some(target("t")));
    // A person who signs out is not kept in the list by an operator who has switched push off.
    set_push(&without, &TenantId::default(), one, None).await.unwrap();
    assert_eq!(scene.device(one).await.push, None);
}

#[tokio::test]
async fn a_token_of_apples_is_the_same_in_either_case() {
    let scene = Scene::new();
    let apple = |token: &str| Some(PushTarget { service: PushService::Apns, ..target(token) });
    let one = scene.paired(1, "ada", apple("00FC13")).await;
    let other = scene.paired(2, "bob", apple("00fc13")).await;
    assert_eq!(scene.device(one).await.push, None, "moved");
    assert_eq!(scene.device(other).await.push, apple("00fc13"));
    assert_eq!(scene.held().await, 1);
}
