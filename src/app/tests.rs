//! Every act happens whole with one entry of the journal, or not at all.

mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fido_relay_proto::http::PushTarget;
use fido_relay_rig::phone::DeviceKey;
use serde_json::{Value, json};

use self::stage::{ACTS, AUDIENCE, Act, Stage};
use super::*;
use crate::backends::embedded::{LocalBus, RevocationList};
use crate::ports::{BoxFuture, Position, PushFailure, Unpushable, Wake};

/// A clock that stands until it is set.
#[derive(Debug)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn at(now: UnixMillis) -> Self {
        Self(AtomicU64::new(now.0))
    }

    pub(super) fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

/// Takes every address but those of this app.
#[derive(Debug)]
pub(super) struct AllBut(pub(super) &'static str);

impl Push for AllBut {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable> {
        let is_refused = target.app.as_ref().is_some_and(|app| app.as_str() == self.0);
        if is_refused { Err(Unpushable("not served here")) } else { Ok(()) }
    }

    fn wake(&self, _: Wake) -> BoxFuture<'_, Result<(), PushFailure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Acts on a store, without cards and webhooks.
pub(super) fn over(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> App {
    App {
        store,
        clock,
        bus: Arc::new(LocalBus::with_room(1)),
        revocations: Arc::new(RevocationList::in_memory()),
        cards: None,
        push: None,
        webhooks: None,
        prompts: Policy::default(),
        public_url: "https://relay.example".to_owned(),
        tasks: Tasks::default(),
    }
}

/// All entries of a journal.
pub(super) async fn entries(store: &dyn Store) -> Vec<Value> {
    let rows = store.journal(Position::default(), usize::MAX).await.unwrap();
    let entries = rows.iter().flat_map(|row| &row.entries);
    entries.map(|entry| serde_json::from_str(entry).unwrap()).collect()
}

fn named(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_act_is_one_commit_that_happens_whole_with_its_entry_or_not_at_all() {
    for (act, events) in ACTS {
        // With its only commit refused nothing has happened, and it can be done again.
        let stage = Stage::set().await;
        let (before, told) = (stage.store.records().await, entries(&*stage.store).await.len());
        stage.store.refuse_after(0);
        let refused = stage.act(act).await;
        assert!(refused.is_err(), "{act:?}");
        assert_eq!(stage.store.records().await, before, "{act:?}");
        assert_eq!(entries(&*stage.store).await.len(), told, "{act:?}");
        stage.act(act).await.unwrap();
        assert_eq!(named(&entries(&*stage.store).await[told..]), events, "{act:?} again");

        // With the second one refused it is whole: there is no second one.
        let stage = Stage::set().await;
        stage.store.refuse_after(1);
        stage.act(act).await.unwrap();
        assert_eq!(stage.store.left.load(Ordering::Relaxed), 0, "{act:?} is one commit");
        assert_ne!(stage.store.records().await.len(), 0);
        let entries = entries(&*stage.store).await.split_off(told);
        assert_eq!(named(&entries), events, "{act:?}");
        let operator = if act.is_not_the_operators() { Value::Null } else { json!("ada") };
        assert!(entries.iter().all(|entry| entry["operator"] == operator), "{act:?}: {entries:?}");
    }
}

#[tokio::test]
async fn a_users_removal_that_is_refused_anywhere_is_finished_by_the_next_with_each_entry_once() {
    let events =
        ["pairing_voided", "card_removed", "device_revoked", "device_revoked", "user_removed"];
    for refused in 0..=events.len() {
        let stage = Stage::set().await;
        let told = entries(&*stage.store).await.len();
        stage.store.refuse_after(refused);
        let removed = users::remove(&stage.app, &stage.actor, &stage.ada).await;
        assert_eq!(removed.is_err(), refused < events.len(), "{refused}");
        if removed.is_err() {
            let so_far = entries(&*stage.store).await.split_off(told);
            assert_eq!(named(&so_far), events[..refused]);
            users::remove(&stage.app, &stage.actor, &stage.ada).await.unwrap();
        }
        assert_eq!(named(&entries(&*stage.store).await[told..]), events, "{refused}");
    }
}

/// The sixth device of a user is refused before anything is written: the pairing stays open.
#[tokio::test]
async fn a_pairing_for_a_user_with_too_many_devices_is_not_used_up() {
    let stage = Stage::set().await;
    for _ in 2..devices::DEVICES_PER_USER {
        let pairing = pairings::open(&stage.app, &stage.actor, &stage.ada).await.unwrap();
        let key = DeviceKey::generate().unwrap();
        let order = json!({
            "pairing_token": pairing.pairing_token, "jwk": key.jwk(), "platform": "other",
            "proof": key.pairing_proof(AUDIENCE, &pairing.pairing_token).unwrap(),
        });
        let order = serde_json::from_value(order).unwrap();
        pairings::pair(&stage.app, order, &[AUDIENCE.to_owned()]).await.unwrap();
    }
    let before = stage.store.records().await;
    assert!(stage.act(Act::Pair).await.unwrap_err().contains("revoke one first"));
    assert_eq!(stage.store.records().await, before);
    devices::revoke(&stage.app, &stage.actor, stage.device).await.unwrap();
    stage.act(Act::Pair).await.unwrap();
}

#[test]
fn an_operators_name_is_plain_and_short() {
    let named = |name: &str| {
        let actor = Actor::operator(TenantId::default(), name);
        actor.operator_name().unwrap().to_owned()
    };
    assert_eq!(named("ada lovelace"), "ada lovelace");
    assert_eq!(named("a\u{202e}d\na\u{7f}"), "ada");
    assert_eq!(named(&"a".repeat(65)), "a".repeat(64));
    for nothing in ["", "  ", "\n", "\u{e4}"] {
        assert_eq!(named(nothing), "unnamed");
    }
}
