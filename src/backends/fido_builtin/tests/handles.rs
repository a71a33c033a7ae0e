//! The user handle: the same for a user from the first begin on, another one for the next user of
//! the name, and the username's bytes from cards that know no other.

use fido_relay_proto::http::{Requirement, UpstreamOptions};
use fido_relay_proto::{CeremonyType, Reason, TenantId, Username};
use fido_relay_rig::softcard::SoftCard;
use fido_relay_webauthn::Bytes;
use serde_json::{Value, json};

use super::super::credentials::Credentials;
use super::bench::{Bench, make, raw, settings, sign};
use crate::core::ceremony::Verdict;
use crate::ports::Cards;
use crate::ports::Store as _;

const REGISTRATION: CeremonyType = CeremonyType::Registration;
const AUTHENTICATION: CeremonyType = CeremonyType::Authentication;

async fn offered_handle(bench: &Bench, username: &str) -> String {
    let begun = bench.begin(REGISTRATION, username, UpstreamOptions::default()).await.unwrap();
    let options: Value = serde_json::from_str(begun.public_key.get()).unwrap();
    options["user"]["id"].as_str().unwrap().to_owned()
}

async fn retire(bench: &Bench, username: &str) {
    let tenant = TenantId::default();
    let cards = Credentials::new(bench.store.clone(), tenant.clone());
    let username = Username::new(username).unwrap();
    cards.retire_name(&tenant, &username).await.unwrap();
    for card in Cards::of_user(&cards, &tenant, &username).await.unwrap() {
        let removal = cards.removal(&tenant, &card.record).await.unwrap().unwrap();
        bench.store.commit(removal).await.unwrap();
    }
}

#[tokio::test]
async fn ten_begins_of_a_new_user_show_one_handle_that_names_nobody() {
    let bench = Bench::new();
    let first = offered_handle(&bench, "ada").await;
    assert_eq!(fido_relay_webauthn::bytes(&first).unwrap().len(), 32);
    for _ in 1..10 {
        assert_eq!(offered_handle(&bench, "ada").await, first);
    }
    assert!(bench.store.keys().is_empty(), "beginning stores nothing");
    assert_ne!(offered_handle(&bench, "bob").await, first);
    assert_ne!(offered_handle(&Bench::new(), "ada").await, first, "another installation's key");
}

#[tokio::test]
async fn ten_uncompleted_registrations_leave_one_credential_on_the_card() {
    let bench = Bench::new();
    for mut card in [SoftCard::new(), SoftCard::new().with_username_as_user_handle()] {
        for _ in 0..10 {
            let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
            make(&mut card, "ada", &begun).unwrap();
        }
        assert_eq!(card.credential_count(), 1);
    }
}

#[tokio::test]
async fn a_reused_name_gets_another_handle_and_no_registration_from_before() {
    let bench = Bench::new();
    let before = offered_handle(&bench, "ada").await;
    let (mut old, mut late) = (SoftCard::new(), SoftCard::new());
    assert!(matches!(bench.register(&mut old, "ada").await, Verdict::Approved(_)));
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = make(&mut late, "ada", &begun).unwrap();
    retire(&bench, "ada").await;
    assert_eq!(bench.complete(REGISTRATION, &begun, &answer).await, Verdict::SessionLost);
    let refused = bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default()).await;
    assert!(refused.is_err(), "the next ada has no card yet");
    assert_ne!(offered_handle(&bench, "ada").await, before);
    assert!(matches!(bench.register(&mut SoftCard::new(), "ada").await, Verdict::Approved(_)));
}

/// Handles were random once.
#[tokio::test]
async fn a_user_with_a_card_of_before_keeps_its_handle() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let mut begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let random = Bytes(vec![7; 32]).text();
    let derived = offered_handle(&bench, "ada").await;
    begun.session.0 = begun.session.0.replace(&derived, &random);
    begun.public_key = raw(begun.public_key.get().replace(&derived, &random));
    let answer = make(&mut card, "ada", &begun).unwrap();
    let verdict = bench.complete(REGISTRATION, &begun, &answer).await;
    assert!(matches!(verdict, Verdict::Approved(_)));
    assert_eq!(offered_handle(&bench, "ada").await, random);
    assert!(matches!(bench.authenticate(&mut card, "ada").await, Verdict::Approved(_)));
}

/// Signs in without a list, so that the card returns a handle of its own choice.
async fn discoverable(bench: &Bench, card: &mut SoftCard, handle: Option<&[u8]>) -> Verdict {
    let options = UpstreamOptions {
        discoverable_credential: Some(Requirement::Required),
        ..UpstreamOptions::default()
    };
    let begun = bench.begin(AUTHENTICATION, "ada", options).await.unwrap();
    let answer = sign(card, "ada", &begun).unwrap();
    let mut answer: Value = serde_json::from_str(answer.get()).unwrap();
    if let Some(handle) = handle {
        answer["response"]["userHandle"] = json!(Bytes(handle.to_vec()));
    }
    bench.complete(AUTHENTICATION, &begun, &raw(answer.to_string())).await
}

#[tokio::test]
async fn a_card_that_returns_the_username_as_handle_signs_in_and_with_another_name_does_not() {
    let bench = Bench::new();
    let mut card = SoftCard::new().with_username_as_user_handle();
    assert!(matches!(bench.register(&mut card, "ada").await, Verdict::Approved(_)));
    assert!(matches!(bench.register(&mut SoftCard::new(), "bob").await, Verdict::Approved(_)));
    assert!(matches!(discoverable(&bench, &mut card, None).await, Verdict::Approved(_)));
    for wrong in [&b"bob"[..], b"ad", b"ada ", b"Ada", b"ada\0", &[0x61; 64]] {
        let verdict = discoverable(&bench, &mut card, Some(wrong)).await;
        assert_eq!(verdict, Verdict::Rejected(Reason::UpstreamRejected), "{wrong:?}");
    }
    assert!(matches!(discoverable(&bench, &mut card, Some(b"ada")).await, Verdict::Approved(_)));
}

#[tokio::test]
async fn without_the_setting_the_username_is_no_handle() {
    let mut strict = settings();
    strict.username_as_user_handle = false;
    let bench = Bench::with(strict);
    let mut card = SoftCard::new().with_username_as_user_handle();
    assert!(matches!(bench.register(&mut card, "ada").await, Verdict::Approved(_)));
    assert_eq!(
        discoverable(&bench, &mut card, None).await,
        Verdict::Rejected(Reason::UpstreamRejected)
    );
}

#[tokio::test]
async fn a_username_of_more_than_64_bytes_is_no_handle() {
    let bench = Bench::new();
    for (length, fits) in [(64, true), (65, false)] {
        let name = "a".repeat(length);
        let mut card = SoftCard::new().with_username_as_user_handle();
        assert!(matches!(bench.register(&mut card, &name).await, Verdict::Approved(_)));
        let verdict = bench.authenticate(&mut card, &name).await;
        assert_eq!(matches!(verdict, Verdict::Approved(_)), fits, "{length}");
    }
}
