//! A user's cards: what is told of them, the limit, and a removed one, at begin and at completion.

use fido_relay_proto::http::{CardAttestation, Requirement, UpstreamOptions};
use fido_relay_proto::{CeremonyType, Reason, TenantId, Username};
use fido_relay_rig::softcard::SoftCard;

use super::super::credentials::{Credentials, PER_USER};
use super::bench::{Bench, make, sign};
use crate::core::ceremony::Verdict;
use crate::ports::Store as _;
use crate::ports::{Card, Cards, SecurityEventKind};

const REGISTRATION: CeremonyType = CeremonyType::Registration;
const AUTHENTICATION: CeremonyType = CeremonyType::Authentication;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn credentials(bench: &Bench) -> Credentials {
    Credentials::new(bench.store.clone(), TenantId::default())
}

async fn cards(bench: &Bench, username: &str) -> Vec<Card> {
    let username = Username::new(username).unwrap();
    Cards::of_user(&credentials(bench), &TenantId::default(), &username).await.unwrap()
}

async fn remove(bench: &Bench, card: &Card) -> bool {
    let removal = credentials(bench).removal(&TenantId::default(), &card.record).await.unwrap();
    match removal {
        Some(removal) => bench.store.commit(removal).await.is_ok(),
        None => false,
    }
}

#[tokio::test]
async fn a_card_tells_when_it_was_registered_and_used_and_whether_it_asks_for_a_pin() {
    let bench = Bench::new();
    assert_eq!(cards(&bench, "ada").await, []);
    let mut card = SoftCard::new().with_user_verification(false);
    let weak = UpstreamOptions {
        user_verification: Some(Requirement::Preferred),
        ..UpstreamOptions::default()
    };
    let begun = bench.begin(REGISTRATION, "ada", weak).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();
    let verdict = bench.complete(REGISTRATION, &begun, &answer).await;
    let Verdict::Approved(made) = verdict else { panic!("{verdict:?}") };
    let registered = crate::ports::Clock::now(&*bench.clock);
    let told = cards(&bench, "ada").await.remove(0);
    assert_eq!(told.id.to_string(), made.cred_hash);
    assert_eq!((told.registered_at, told.last_used_at), (registered, None));
    assert_eq!(told.aaguid, Some(*b"fido-relay card\0"));
    assert_eq!((told.model, told.attestation), (None, CardAttestation::None));
    assert!(!told.can_verify_user);

    bench.clock.advance(1000);
    let mut card = card.with_user_verification(true);
    assert!(matches!(bench.authenticate(&mut card, "ada").await, Verdict::Approved(_)));
    let told = cards(&bench, "ada").await.remove(0);
    assert_eq!(told.last_used_at, Some(registered.plus_millis(1000)));
    assert!(told.can_verify_user, "a PIN was set since");

    let username = Username::new("ada").unwrap();
    let other: TenantId = "other".parse().unwrap();
    let of_others = Cards::of_user(&credentials(&bench), &other, &username).await.unwrap();
    assert_eq!(of_others, [], "another tenant's user of the same name");
}

/// The time of use costs a card without a counter one write a day.
#[tokio::test]
async fn the_use_of_a_card_that_does_not_count_is_written_once_a_day() {
    let bench = Bench::new();
    let mut card = SoftCard::new().with_sign_count(false);
    assert!(matches!(bench.register(&mut card, "ada").await, Verdict::Approved(_)));
    let mut writes = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            assert!(matches!(bench.authenticate(&mut card, "ada").await, Verdict::Approved(_)));
            writes.push(bench.store.writes());
        }
        bench.clock.advance(DAY_MS);
    }
    writes.dedup();
    assert_eq!(writes.len(), 3);
}

#[tokio::test]
async fn the_limit_of_cards_is_told_before_the_card_is_touched_and_removing_one_makes_room() {
    let bench = Bench::new();
    let begin = || bench.begin(REGISTRATION, "ada", UpstreamOptions::default());
    for _ in 1..PER_USER {
        assert!(matches!(bench.register(&mut SoftCard::new(), "ada").await, Verdict::Approved(_)));
    }
    // Two at the same time at the limit: the second has no place at its end.
    let (one, two) = (begin().await.unwrap(), begin().await.unwrap());
    let answers = [&one, &two].map(|begun| make(&mut SoftCard::new(), "ada", begun).unwrap());
    let verdict = bench.complete(REGISTRATION, &one, &answers[0]).await;
    assert!(matches!(verdict, Verdict::Approved(_)));
    assert_eq!(
        bench.complete(REGISTRATION, &two, &answers[1]).await,
        Verdict::Rejected(Reason::UpstreamRejected)
    );

    assert_eq!(begin().await.unwrap_err().reason, Reason::CardLimit);
    assert!(matches!(bench.register(&mut SoftCard::new(), "bob").await, Verdict::Approved(_)));
    let ada = cards(&bench, "ada").await;
    assert_eq!(ada.len(), PER_USER);
    assert!(remove(&bench, &ada[7]).await);
    assert!(matches!(bench.register(&mut SoftCard::new(), "ada").await, Verdict::Approved(_)));
}

#[tokio::test]
async fn a_removed_card_is_refused_at_begin_and_at_the_end_of_what_had_begun() {
    for counts in [true, false] {
        let bench = Bench::new();
        let mut lost = SoftCard::new().with_sign_count(counts);
        let begin = || bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default());
        let registration =
            bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
        let made = make(&mut lost, "ada", &registration).unwrap();
        let verdict = bench.complete(REGISTRATION, &registration, &made).await;
        assert!(matches!(verdict, Verdict::Approved(_)));
        assert!(matches!(bench.authenticate(&mut lost, "ada").await, Verdict::Approved(_)));
        let begun = begin().await.unwrap();
        let answer = sign(&mut lost, "ada", &begun).unwrap();
        let card = cards(&bench, "ada").await.remove(0);
        assert!(remove(&bench, &card).await);
        assert!(!remove(&bench, &card).await, "once");
        assert_eq!(
            bench.complete(AUTHENTICATION, &begun, &answer).await,
            Verdict::Rejected(Reason::UpstreamRejected)
        );
        assert_eq!(begin().await.unwrap_err().reason, Reason::NoCredential);
        // Its id is not registered again either.
        let verdict = bench.complete(REGISTRATION, &registration, &made).await;
        assert_eq!(verdict, Verdict::Rejected(Reason::AlreadyRegistered));
    }
}

/// Whatever the completion has read already when the removal is acknowledged.
#[tokio::test]
async fn no_completion_succeeds_after_a_removal_that_it_raced_with() {
    for counts in [true, false] {
        for reads in 1..=2 {
            let bench = Bench::new();
            let mut lost = SoftCard::new().with_sign_count(counts);
            assert!(matches!(bench.register(&mut lost, "ada").await, Verdict::Approved(_)));
            assert!(matches!(bench.authenticate(&mut lost, "ada").await, Verdict::Approved(_)));
            let options = UpstreamOptions::default();
            let begun = bench.begin(AUTHENTICATION, "ada", options).await.unwrap();
            let answer = sign(&mut lost, "ada", &begun).unwrap();
            let key = format!("default.u.{}", cards(&bench, "ada").await[0].record);
            bench.store.remove_after_reads(reads, &key);
            let verdict = bench.complete(AUTHENTICATION, &begun, &answer).await;
            // A card that counts is read once and written; another is read twice.
            let done_before = reads == 2;
            assert_eq!(matches!(verdict, Verdict::Approved(_)), done_before, "{counts} {reads}");
        }
    }
}

#[tokio::test]
async fn a_registration_and_a_suspected_clone_are_told_once_each() {
    let bench = Bench::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let mut card = SoftCard::new();
    let answer = make(&mut card, "ada", &begun).unwrap();
    assert!(matches!(bench.complete(REGISTRATION, &begun, &answer).await, Verdict::Approved(_)));
    assert_eq!(
        bench.complete(REGISTRATION, &begun, &answer).await,
        Verdict::Rejected(Reason::AlreadyRegistered)
    );
    let begun = bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = sign(&mut card, "ada", &begun).unwrap();
    assert!(matches!(bench.complete(AUTHENTICATION, &begun, &answer).await, Verdict::Approved(_)));
    assert_eq!(
        bench.complete(AUTHENTICATION, &begun, &answer).await,
        Verdict::Rejected(Reason::CloneSuspected)
    );
    let (card_id, username) = (cards(&bench, "ada").await[0].id, Username::new("ada").unwrap());
    let registered = SecurityEventKind::CardRegistered { card_id, username: username.clone() };
    let suspected = SecurityEventKind::CloneSuspected { card_id, username };
    assert_eq!(*bench.heard.lock().unwrap(), [registered, suspected]);
}
