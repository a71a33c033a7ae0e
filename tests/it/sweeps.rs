//! The store does not grow without bound: each walk of the sweeper removes what is dead at its
//! moment, and the file of a relay that is equally busy every day keeps its size.
//!
//! A small number of ceremonies is part of the suite. `RETENTION_CEREMONIES=200000` in the
//! environment opens so many:
//! `RETENTION_CEREMONIES=200000 cargo test --test it sweeps:: -- --nocapture`.

use std::sync::Arc;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::app::pairings::{self, NewDevice, PairingSecret};
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::core::ceremony::Event;
use fido_relay::ports::{Bucket, Clock as _, Revision};
use fido_relay_proto::http::Platform;
use fido_relay_proto::{Binding, DeviceId, NodeId, Outcome, Username};
use futures::{StreamExt as _, stream};

use crate::store_files::small;
use crate::support::actions::{app_of, operator};
use crate::support::bare_relay::BareRelay;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Days that pass, and walks of the sweeper in each.
const DAYS: usize = 8;
const WALKS: usize = 4;
/// Ceremonies that are open at once under load.
const AT_ONCE: usize = 200;

fn ceremonies() -> usize {
    let text = std::env::var_os("RETENTION_CEREMONIES").map(|text| text.into_string().unwrap());
    text.map_or(6_000, |text| text.parse().expect("RETENTION_CEREMONIES is a number"))
}

async fn succeed(relay: &BareRelay, key: &CeremonyKey) {
    let attempt = relay.challenged(key).await;
    // About as much as a card's answer.
    let credential = format!(r#"{{"id":"{}"}}"#, "A".repeat(900));
    let event = Event::Answer {
        device: DeviceId::from_bytes([1; 16]),
        attempt,
        credential: serde_json::from_str(&credential).unwrap(),
        digest: [1; 32],
        by: NodeId::from_bytes([1; 16]),
    };
    relay.relay.ceremonies.advance(key, event).await.unwrap();
    let outcome = relay.until(key, |ceremony| Some(ceremony.closed()?.outcome)).await;
    assert_eq!(outcome, Outcome::Succeeded);
}

/// From the order to the end: every second one succeeds, the others are cancelled.
async fn live(relay: &BareRelay, nth: usize) {
    let (idempotency, user) = (format!("order-{nth}"), format!("user-{nth}"));
    if nth.is_multiple_of(2) {
        let key = relay.open_for(&user, Binding::None, Some(&idempotency)).await;
        succeed(relay, &key).await;
    } else {
        let key = relay.open_for(&user, Binding::Code, Some(&idempotency)).await;
        relay.relay.ceremonies.advance(&key, Event::Cancel).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_grows_by_one_step_at_most_from_the_second_to_the_eighth_equal_day() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.redb");
    // Its file grows with what is brought into it: often, so that few ceremonies will do.
    let store = Arc::new(small(&path));
    let relay = BareRelay::start(store).await;
    let each_walk = ceremonies() / (DAYS * WALKS);
    let mut sizes = Vec::new();
    for walk in 0..DAYS * WALKS {
        let first = walk * each_walk;
        stream::iter(first..first + each_walk)
            .for_each_concurrent(AT_ONCE, |nth| live(&relay, nth))
            .await;
        relay.clock.forward(DAY_MS / WALKS as u64);
        relay.relay.sweep().await.unwrap();
        // What was opened a day before the walk and earlier is gone.
        let kept = each_walk * (walk + 1).min(WALKS - 1);
        assert_eq!(relay.count(Bucket::Ceremonies).await, kept, "walk {walk}");
        assert_eq!(relay.count(Bucket::Idempotency).await, kept, "walk {walk}");
        if (walk + 1) % WALKS == 0 {
            sizes.push(std::fs::metadata(&path).unwrap().len());
        }
    }
    let per_day = each_walk * WALKS;
    eprintln!("{per_day} ceremonies a day; bytes of the file after each day: {sizes:?}");
    // The file grows by doubling. If anything stayed, it would be four times as large.
    assert!(sizes[DAYS - 1] <= 2 * sizes[1], "{sizes:?}");
}

#[tokio::test]
async fn a_closed_ceremony_and_its_idempotency_key_go_after_a_day_and_not_a_moment_before() {
    let relay = BareRelay::start(Arc::new(MemoryStore::default())).await;
    let key = relay.open(Binding::None, Some("order-1")).await;
    succeed(&relay, &key).await;
    relay.clock.forward(DAY_MS - 1);
    assert_eq!(relay.relay.sweep().await, Ok(0));
    let kept = relay.relay.ceremonies.load(&key).await.unwrap().expect("its day is not over");
    assert_eq!(kept.closed().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(relay.open(Binding::None, Some("order-1")).await, key, "the same order");
    relay.clock.forward(1);
    // With the user's prompt state.
    assert_eq!(relay.relay.sweep().await, Ok(3));
    assert!(relay.relay.ceremonies.load(&key).await.unwrap().is_none());
    assert_eq!(relay.count(Bucket::Idempotency).await, 0);
}

/// More of them than one page of the index holds, and in front of everything else.
#[tokio::test]
async fn a_record_that_cannot_be_read_is_due_for_nothing_and_is_kept() {
    const UNREADABLE: usize = 300;
    let relay = BareRelay::start(Arc::new(MemoryStore::default())).await;
    let buckets = [Bucket::Ceremonies, Bucket::Idempotency, Bucket::Pairings];
    for bucket in buckets {
        for nth in 0..UNREADABLE {
            let (key, value) = (format!("-{nth}"), b"{\"from\":\"elsewhere\"}".to_vec());
            relay.store.save(bucket, &key, Revision::ABSENT, value).await.unwrap();
        }
    }
    let key = relay.open(Binding::None, Some("order-1")).await;
    succeed(&relay, &key).await;
    let ada = Username::new("ada").unwrap();
    pairings::open(&app_of(relay.relay.dependencies()), &operator(), &ada).await.unwrap();
    for bucket in buckets {
        // A pairing is found by its token and by its typed code.
        let readable = if bucket == Bucket::Pairings { 2 } else { 1 };
        assert_eq!(relay.count(bucket).await, UNREADABLE + readable, "{bucket:?}");
    }
    relay.clock.forward(DAY_MS);
    relay.relay.sweep().await.unwrap();
    for bucket in buckets {
        let left = relay.store.list(bucket, "").await.unwrap();
        assert_eq!(left.len(), UNREADABLE, "{bucket:?}");
        assert!(left.iter().all(|(key, _)| key.starts_with('-')), "{bucket:?}");
    }
}

#[tokio::test]
async fn a_pairing_token_used_or_not_is_swept_within_half_an_hour() {
    let relay = BareRelay::start(Arc::new(MemoryStore::default())).await;
    let (app, ada) = (app_of(relay.relay.dependencies()), Username::new("ada").unwrap());
    let open = async || pairings::open(&app, &operator(), &ada).await.unwrap().pairing_token;
    open().await;
    let used = open().await;
    relay.clock.forward(pairings::LIFETIME_S * 1000 - 1);
    let now = relay.clock.now();
    let found = pairings::look(&*relay.store, PairingSecret::Token(&used), now).await.unwrap();
    let jwk = fido_relay_rig::phone::DeviceKey::generate().unwrap().jwk().clone();
    let phone = NewDevice { jwk, name: None, platform: Platform::Other, push: None };
    pairings::redeem(&app, &found, phone).await.unwrap();
    relay.relay.sweep().await.unwrap();
    // Each is stored under its token and under its typed code's locator.
    assert_eq!(relay.count(Bucket::Pairings).await, 4);
    relay.clock.forward(20 * 60 * 1000);
    assert_eq!(relay.relay.sweep().await, Ok(4));
    assert_eq!(relay.count(Bucket::Pairings).await, 0);
}
