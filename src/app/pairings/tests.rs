//! What typed codes bear: guessing, by however many.

use std::sync::Arc;

use futures::future::join_all;

use super::*;
use crate::app::tests::{HandClock, entries, over};
use crate::backends::embedded::MemoryStore;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn app(store: &Arc<MemoryStore>) -> App {
    over(Arc::clone(store) as _, Arc::new(HandClock::at(NOW)))
}

async fn opened(store: &Arc<MemoryStore>) -> OpenedPairing {
    let operator = Actor::operator(TenantId::default(), "ada");
    open(&app(store), &operator, &Username::new("ada").unwrap()).await.unwrap()
}

async fn redeemed(store: &Arc<MemoryStore>, found: &FoundPairing) -> Result<Device, PairingError> {
    let jwk = fido_relay_rig::phone::DeviceKey::generate().unwrap().jwk().clone();
    let phone = NewDevice { jwk, name: None, platform: Platform::Other, push: None };
    redeem(&app(store), found, phone).await
}

async fn voidings(store: &MemoryStore) -> usize {
    entries(store).await.iter().filter(|entry| entry["event"] == "pairing_voided").count()
}

async fn look_at(store: &MemoryStore, typed: &str) -> Result<FoundPairing, PairingError> {
    look(store, PairingSecret::Typed(typed), NOW).await
}

/// The n-th code of this pairing's locator that is not its own.
fn wrong(right: &str, n: usize) -> String {
    let plain: TypedCode = right.parse().unwrap();
    let mut guesses = (0_u32..).map(|guess| {
        let mut bytes = [0; 10];
        for (at, byte) in bytes.iter_mut().enumerate().skip(4) {
            *byte = u8::try_from(guess >> (5 * (at - 4)) & 31).unwrap();
        }
        let guess = TypedCode::from_random(bytes);
        format!("{}{}", plain.locator(), &guess.as_str()[4..])
    });
    guesses.by_ref().filter(|guess| guess != plain.as_str()).nth(n).unwrap()
}

/// Wrong codes that the one pairing of this store has been charged with.
async fn tries_spent(store: &MemoryStore) -> u8 {
    let mut spent = Vec::new();
    for (_, stored) in store.list(Bucket::Pairings, "").await.unwrap() {
        match records::parse(&stored).unwrap() {
            PairingRecord::Open(pairing) => spent.push(TRIES - pairing.typed.unwrap().tries_left),
            PairingRecord::Void { .. } => spent.push(TRIES),
            PairingRecord::Used { .. } | PairingRecord::Located { .. } => {}
        }
    }
    assert_eq!(spent.len(), 1);
    spent[0]
}

#[tokio::test]
async fn a_typed_code_is_found_in_any_spelling_and_names_its_plain_form() {
    let store = Arc::new(MemoryStore::default());
    let pairing = opened(&store).await;
    let plain: TypedCode = pairing.typed_code.parse().unwrap();
    let lower = pairing.typed_code.to_lowercase().replace('-', " ").replace('1', "l");
    for spelling in [pairing.typed_code.as_str(), plain.as_str(), &lower] {
        let found = look_at(&store, spelling).await.unwrap();
        assert_eq!(found.hash, token_hash(plain.as_str()));
        assert_eq!(found.pairing.username.as_str(), "ada");
    }
    assert_eq!(tries_spent(&store).await, 0);
    let late = NOW.plus_secs(LIFETIME_S);
    let found = look(&*store, PairingSecret::Typed(plain.as_str()), late).await;
    assert!(matches!(found, Err(PairingError::Unknown)));
}

#[tokio::test]
async fn four_wrong_codes_are_forgiven_and_the_fifth_voids_the_pairing_token_and_all() {
    let store = Arc::new(MemoryStore::default());
    let pairing = opened(&store).await;
    for n in 0..4 {
        let looked = look_at(&store, &wrong(&pairing.typed_code, n)).await;
        assert!(matches!(looked, Err(PairingError::Unknown)), "{looked:?}");
        assert!(look_at(&store, &pairing.typed_code).await.is_ok());
    }
    let looked = look_at(&store, &wrong(&pairing.typed_code, 4)).await;
    assert!(matches!(looked, Err(PairingError::Unknown)), "{looked:?}");
    assert_eq!(voidings(&store).await, 1);
    let looked = look_at(&store, &pairing.typed_code).await;
    assert!(matches!(looked, Err(PairingError::Unknown)), "{looked:?}");
    let looked = look(&*store, PairingSecret::Token(&pairing.pairing_token), NOW).await;
    assert!(matches!(looked, Err(PairingError::Unknown)), "{looked:?}");
}

#[tokio::test]
async fn a_code_that_finds_no_pairing_costs_none_a_try() {
    let store = Arc::new(MemoryStore::default());
    let pairing = opened(&store).await;
    let locator = pairing.typed_code.parse::<TypedCode>().unwrap().locator().to_owned();
    for n in 0..1_000 {
        let code = TypedCode::from_random(random::bytes());
        if code.locator() != locator {
            let looked = look_at(&store, code.as_str()).await;
            assert!(matches!(looked, Err(PairingError::Unknown)), "{n}: {looked:?}");
        }
    }
    assert_eq!(tries_spent(&store).await, 0);
}

#[tokio::test]
async fn one_use_uses_up_both_secrets_and_only_their_holder_learns_of_it() {
    for by_code in [false, true] {
        let store = Arc::new(MemoryStore::default());
        let pairing = opened(&store).await;
        let (token, code) = (
            PairingSecret::Token(&pairing.pairing_token),
            PairingSecret::Typed(&pairing.typed_code),
        );
        let found = look(&*store, if by_code { code } else { token }, NOW).await.unwrap();
        let again = look(&*store, token, NOW).await.unwrap();
        redeemed(&store, &found).await.unwrap();
        assert!(matches!(redeemed(&store, &again).await, Err(PairingError::Used)));
        for secret in [token, code] {
            assert!(matches!(look(&*store, secret, NOW).await, Err(PairingError::Used)));
        }
        let looked = look_at(&store, &wrong(&pairing.typed_code, 0)).await;
        assert!(matches!(looked, Err(PairingError::Unknown)), "{looked:?}");
    }
}

/// The worst case: all of them know the locator, and all come at once.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_attackers_guesses_five_count_whatever_their_rate() {
    let store = Arc::new(MemoryStore::default());
    let pairing = opened(&store).await;
    let attackers = (0..1_000).map(|n| {
        let (store, guess) = (Arc::clone(&store), wrong(&pairing.typed_code, n));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            assert!(runtime.block_on(look_at(&store, &guess)).is_err());
        })
    });
    join_all(attackers).await.into_iter().for_each(Result::unwrap);
    assert_eq!(voidings(&store).await, 1, "one of them was the fifth");
    assert_eq!(tries_spent(&store).await, TRIES);
    // Had the right one been the sixth or the thousandth guess, it would have come too late.
    let looked = look_at(&store, &pairing.typed_code).await;
    assert!(matches!(looked, Err(PairingError::Unknown)), "{looked:?}");
}

/// Of so many drawn at random, some would meet.
#[tokio::test]
async fn no_locator_is_given_twice() {
    let store = Arc::new(MemoryStore::default());
    let mut locators = std::collections::HashSet::new();
    for _ in 0..2_000 {
        let code: TypedCode = opened(&store).await.typed_code.parse().unwrap();
        assert!(locators.insert(code.locator().to_owned()), "{}", code.locator());
    }
}

#[tokio::test]
async fn the_two_records_of_a_pairing_die_together() {
    let store = Arc::new(MemoryStore::default());
    let pairing = opened(&store).await;
    let dies = NOW.plus_secs(2 * LIFETIME_S);
    for used in [false, true] {
        let records = store.list(Bucket::Pairings, "").await.unwrap();
        assert_eq!(records.len(), 2);
        for (key, stored) in records {
            assert_eq!(stored.due, Some(Due::removal(dies)), "{key}, used: {used}");
        }
        let found = look(&*store, PairingSecret::Token(&pairing.pairing_token), NOW).await;
        if let Ok(found) = found {
            redeemed(&store, &found).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_pairing_of_a_version_without_typed_codes_is_still_good() {
    let store = Arc::new(MemoryStore::default());
    let record = format!(
        r#"{{"open":{{"tenant":"default","username":"ada","expires_at":{}}}}}"#,
        NOW.plus_secs(60).0
    );
    let key = token_hash("token");
    store.save(Bucket::Pairings, &key, Revision::ABSENT, record.into_bytes()).await.unwrap();
    let found = look(&*store, PairingSecret::Token("token"), NOW).await.unwrap();
    redeemed(&store, &found).await.unwrap();
    let looked = look(&*store, PairingSecret::Token("token"), NOW).await;
    assert!(matches!(looked, Err(PairingError::Used)));
}
