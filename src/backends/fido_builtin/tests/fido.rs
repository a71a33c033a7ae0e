//! The relay's interface: whole ceremonies with a card, the store's part in them, and what becomes
//! of them when the store fails.

use std::sync::atomic::Ordering;

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::device::CardErrorCode;
use fido_relay_proto::http::{
    Algorithm, Attachment, Attestation, Requirement, Transaction, TransactionField, UpstreamOptions,
};
use fido_relay_proto::{CeremonyType, PlainText, Reason};
use fido_relay_rig::softcard::{AttestationStyle, SoftCard};
use fido_relay_webauthn::{Bytes, bytes};
use serde_json::{Value, json};

use super::super::challenge::for_transaction;
use super::super::server::{BuiltinFido, BuiltinFidoSettings};
use super::ORIGIN;
use super::bench::{Bench, make, raw, request, sign};
use crate::core::ceremony::{Begun, TxBinding, UpstreamSession, Verdict, VerifiedAnswer};
use crate::encoding::sha256_base64url;
use crate::ports::Fido as _;

const REGISTRATION: CeremonyType = CeremonyType::Registration;
const AUTHENTICATION: CeremonyType = CeremonyType::Authentication;

fn public_key(begun: &Begun) -> Value {
    serde_json::from_str(begun.public_key.get()).unwrap()
}

fn approval(verdict: Verdict) -> VerifiedAnswer {
    let Verdict::Approved(approval) = verdict else { panic!("not approved: {verdict:?}") };
    approval
}

fn transaction(amount: &str) -> Transaction {
    Transaction {
        title: PlainText::new("Payment to Ada").unwrap(),
        fields: vec![TransactionField {
            label: PlainText::new("Amount").unwrap(),
            value: PlainText::new(amount).unwrap(),
        }],
    }
}

#[tokio::test]
async fn a_card_of_each_algorithm_and_style_registers_and_signs_in() {
    for algorithm in
        [Algorithm::Es256, Algorithm::Eddsa, Algorithm::Es384, Algorithm::Ps256, Algorithm::Rs256]
    {
        for style in
            [AttestationStyle::None, AttestationStyle::PackedSelf, AttestationStyle::BareSignature]
        {
            let bench = Bench::new();
            let mut card = SoftCard::new().with_attestation(style);
            let options =
                UpstreamOptions { algorithms: Some(vec![algorithm]), ..UpstreamOptions::default() };
            let begun = bench.begin(REGISTRATION, "ada", options).await.unwrap();
            let answer = make(&mut card, "ada", &begun).unwrap();
            let made = approval(bench.complete(REGISTRATION, &begun, &answer).await);
            let id: Value = serde_json::from_str(answer.get()).unwrap();
            let id = bytes(id["rawId"].as_str().unwrap()).unwrap();
            assert_eq!(
                made,
                VerifiedAnswer {
                    cred_hash: sha256_base64url(&id),
                    user_verified: Some(true),
                    evidence: None
                }
            );
            for _ in 0..2 {
                let used = approval(bench.authenticate(&mut card, "ada").await);
                assert_eq!(used, made);
            }
        }
    }
}

#[tokio::test]
async fn the_options_object_carries_the_initiators_wishes() {
    let bench = Bench::new();
    let options = UpstreamOptions {
        user_verification: Some(Requirement::Required),
        attestation: Some(Attestation::Direct),
        attachment: Some(Attachment::CrossPlatform),
        algorithms: Some(vec![Algorithm::Eddsa, Algorithm::Es256]),
        discoverable_credential: Some(Requirement::Required),
        rp_id: None,
    };
    let begun = bench.begin(REGISTRATION, "ada", options).await.unwrap();
    let object = public_key(&begun);
    assert_eq!(object["rp"], json!({"id": "example.org", "name": "Example"}));
    assert_eq!(object["user"]["name"], "ada");
    assert_eq!(object["user"]["displayName"], "Ada Lovelace");
    assert_eq!(bytes(object["user"]["id"].as_str().unwrap()).unwrap().len(), 32);
    assert_eq!(object["challenge"], begun.challenge);
    assert_eq!(bytes(&begun.challenge).unwrap().len(), 32);
    assert_eq!(object["timeout"], 60_000);
    assert_eq!(object["attestation"], "direct");
    let parameters = json!([{"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -7}]);
    assert_eq!(object["pubKeyCredParams"], parameters);
    assert_eq!(
        object["authenticatorSelection"],
        json!({
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": "required",
            "authenticatorAttachment": "cross-platform",
        })
    );
    assert_eq!(begun.origin, "https://example.org");
}

#[tokio::test]
async fn challenges_are_never_the_same_twice() {
    let bench = Bench::new();
    let begin = || bench.begin(REGISTRATION, "ada", UpstreamOptions::default());
    let (one, two) = (begin().await.unwrap(), begin().await.unwrap());
    assert_ne!(one.challenge, two.challenge);
}

#[tokio::test]
async fn a_ceremony_survives_a_restart_between_its_two_calls() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();
    let restarted = bench.another_server();
    approval(bench.complete_at(&restarted, REGISTRATION, &begun, &answer).await);
    approval(bench.authenticate(&mut card, "ada").await);
}

#[tokio::test]
async fn a_second_registration_excludes_the_first_card_and_keeps_the_user_handle() {
    let bench = Bench::new();
    let (mut first, mut second) = (SoftCard::new(), SoftCard::new());
    approval(bench.register(&mut first, "ada").await);
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    assert_eq!(public_key(&begun)["excludeCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(make(&mut first, "ada", &begun).err(), Some(CardErrorCode::ALREADY_REGISTERED));
    let answer = make(&mut second, "ada", &begun).unwrap();
    approval(bench.complete(REGISTRATION, &begun, &answer).await);
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    assert_eq!(public_key(&begun)["excludeCredentials"].as_array().unwrap().len(), 2);
    approval(bench.authenticate(&mut first, "ada").await);
    approval(bench.authenticate(&mut second, "ada").await);
}

#[tokio::test]
async fn an_authentication_allows_the_users_credentials_and_no_others() {
    let bench = Bench::new();
    let (mut ada, mut bob) = (SoftCard::new(), SoftCard::new());
    approval(bench.register(&mut ada, "ada").await);
    approval(bench.register(&mut bob, "bob").await);
    let begun = bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default()).await.unwrap();
    assert_eq!(public_key(&begun)["allowCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(public_key(&begun)["rpId"], "example.org");
    assert_eq!(sign(&mut bob, "bob", &begun).err(), Some(CardErrorCode::NO_CREDENTIALS));

    // A card that answers all the same: bob's own, honest answer to ada's challenge.
    let mut object = public_key(&begun);
    object["allowCredentials"] = json!([]);
    let begun = Begun { public_key: raw(object.to_string()), ..begun };
    let answer = sign(&mut bob, "bob", &begun).unwrap();
    assert_eq!(
        bench.complete(AUTHENTICATION, &begun, &answer).await,
        Verdict::Rejected(Reason::UpstreamRejected)
    );
    approval(bench.authenticate(&mut bob, "bob").await);
}

#[tokio::test]
async fn a_discoverable_authentication_has_no_list_and_still_knows_its_user() {
    let bench = Bench::new();
    let (mut ada, mut bob) = (SoftCard::new(), SoftCard::new());
    approval(bench.register(&mut ada, "ada").await);
    approval(bench.register(&mut bob, "bob").await);
    let options = UpstreamOptions {
        discoverable_credential: Some(Requirement::Required),
        ..UpstreamOptions::default()
    };
    let begun = bench.begin(AUTHENTICATION, "ada", options).await.unwrap();
    assert_eq!(public_key(&begun)["allowCredentials"], json!([]));
    let strange = sign(&mut bob, "bob", &begun).unwrap();
    assert_eq!(
        bench.complete(AUTHENTICATION, &begun, &strange).await,
        Verdict::Rejected(Reason::UpstreamRejected)
    );
    let own = sign(&mut ada, "ada", &begun).unwrap();
    approval(bench.complete(AUTHENTICATION, &begun, &own).await);
}

#[tokio::test]
async fn required_user_verification_refuses_a_card_that_did_not_verify() {
    let bench = Bench::new();
    let mut card = SoftCard::new().with_user_verification(false);
    let weak = UpstreamOptions {
        user_verification: Some(Requirement::Preferred),
        ..UpstreamOptions::default()
    };
    let begun = bench.begin(REGISTRATION, "ada", weak).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();
    let made = approval(bench.complete(REGISTRATION, &begun, &answer).await);
    assert_eq!(made.user_verified, Some(false));
    for ceremony_type in [REGISTRATION, AUTHENTICATION] {
        let begun = bench.begin(ceremony_type, "ada", UpstreamOptions::default()).await.unwrap();
        let object = public_key(&begun);
        let wish = object.get("authenticatorSelection").unwrap_or(&object);
        assert_eq!(wish["userVerification"], "required");
        // The phone hides the requirement from the card.
        let begun = Begun { public_key: raw("{}".to_owned()), ..begun };
        let answer = match ceremony_type {
            CeremonyType::Registration => {
                make(&mut SoftCard::new().with_user_verification(false), "ada", &begun)
            }
            CeremonyType::Authentication | CeremonyType::Approval => sign(&mut card, "ada", &begun),
        };
        let verdict = bench.complete(ceremony_type, &begun, &answer.unwrap()).await;
        assert_eq!(verdict, Verdict::Rejected(Reason::PinNotSet));
    }
}

#[tokio::test]
async fn an_approvals_challenge_covers_the_transaction() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    approval(bench.register(&mut card, "ada").await);
    let wanted = transaction("120.00 EUR");
    let begin = || {
        let options = UpstreamOptions::default();
        request(CeremonyType::Approval, "ada", options, Some(wanted.clone()))
    };
    let begun = bench.server.begin(begin()).await.unwrap();
    assert_eq!(begun.tx_binding, TxBinding::Card);
    let session: Value = serde_json::from_str(&begun.session.0).unwrap();
    let nonce = bytes(session["transaction_nonce"].as_str().unwrap()).unwrap();
    let nonce: [u8; 32] = nonce.try_into().unwrap();
    let challenge = bytes(&begun.challenge).unwrap();

    // Once more by the formula itself, in canonical JSON written by hand.
    let canonical =
        br#"{"fields":[{"label":"Amount","value":"120.00 EUR"}],"title":"Payment to Ada"}"#;
    let sha256 = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
    let covered = [b"fido-relay/tx/v1".as_slice(), &nonce, &sha256(canonical)].concat();
    assert_eq!(challenge, sha256(&covered));
    assert_ne!(for_transaction(&nonce, &transaction("921.00 EUR")).unwrap(), challenge[..]);

    let answer = sign(&mut card, "ada", &begun).unwrap();
    approval(bench.complete(CeremonyType::Approval, &begun, &answer).await);
    let again = bench.server.begin(begin()).await.unwrap();
    assert_ne!(again.challenge, begun.challenge, "the nonce is fresh");
}

#[tokio::test]
async fn without_a_transaction_nothing_is_said_to_be_covered() {
    let bench = Bench::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    assert_eq!(begun.tx_binding, TxBinding::Relay);
}

#[tokio::test]
async fn an_answer_to_another_challenge_is_rejected() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    approval(bench.register(&mut card, "ada").await);
    let one = bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default()).await.unwrap();
    let two = bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = sign(&mut card, "ada", &one).unwrap();
    assert_eq!(
        bench.complete(AUTHENTICATION, &two, &answer).await,
        Verdict::Rejected(Reason::UpstreamRejected)
    );
    approval(bench.complete(AUTHENTICATION, &one, &answer).await);
}

#[tokio::test]
async fn step_24_the_counter_is_stored_and_a_copy_of_the_card_refused() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    approval(bench.register(&mut card, "ada").await);
    let mut copy = SoftCard::from_json(card.to_json().unwrap().get()).unwrap();
    for _ in 0..2 {
        approval(bench.authenticate(&mut card, "ada").await);
    }
    assert!(!matches!(bench.authenticate(&mut copy, "ada").await, Verdict::Approved(_)));
}

#[tokio::test]
async fn the_same_answer_is_good_once() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();
    approval(bench.complete(REGISTRATION, &begun, &answer).await);
    assert_eq!(
        bench.complete(REGISTRATION, &begun, &answer).await,
        Verdict::Rejected(Reason::AlreadyRegistered)
    );

    let begun = bench.begin(AUTHENTICATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = sign(&mut card, "ada", &begun).unwrap();
    approval(bench.complete(AUTHENTICATION, &begun, &answer).await);
    assert_eq!(
        bench.complete(AUTHENTICATION, &begun, &answer).await,
        Verdict::Rejected(Reason::CloneSuspected)
    );
}

#[tokio::test]
async fn step_26_a_credential_id_belongs_to_one_user_of_the_tenant() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let ada = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = make(&mut card, "ada", &ada).unwrap();
    approval(bench.complete(REGISTRATION, &ada, &answer).await);

    // Bob takes ada's credential and binds it to his own challenge: attestation `none` has no
    // signature that would stop him.
    let bob = bench.begin(REGISTRATION, "bob", UpstreamOptions::default()).await.unwrap();
    let mut stolen: Value = serde_json::from_str(answer.get()).unwrap();
    let client_data = json!({
        "type": "webauthn.create", "challenge": bob.challenge, "origin": bob.origin,
    });
    stolen["response"]["clientDataJSON"] = json!(Bytes(client_data.to_string().into_bytes()));
    let stolen = raw(stolen.to_string());
    assert_eq!(
        bench.complete(REGISTRATION, &bob, &stolen).await,
        Verdict::Rejected(Reason::AlreadyRegistered)
    );
    let refused = bench.begin(AUTHENTICATION, "bob", UpstreamOptions::default()).await;
    assert!(refused.is_err(), "bob has no account");
    approval(bench.authenticate(&mut card, "ada").await);
}

#[tokio::test]
async fn of_many_registrations_of_one_id_at_the_same_time_one_succeeds() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();
    let verdicts =
        futures::future::join_all((0..20).map(|_| bench.complete(REGISTRATION, &begun, &answer)))
            .await;
    let approved = verdicts.iter().filter(|one| matches!(one, Verdict::Approved(_))).count();
    assert_eq!(approved, 1);
    assert_eq!(bench.store.keys().len(), 3, "one record, one claim, and the user's own");
}

#[tokio::test]
async fn a_failing_store_is_never_an_unknown_outcome() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let options = UpstreamOptions::default;
    let begun = bench.begin(REGISTRATION, "ada", options()).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();

    bench.store.unwritable.store(true, Ordering::SeqCst);
    assert_eq!(bench.complete(REGISTRATION, &begun, &answer).await, Verdict::Full);
    assert!(bench.store.keys().is_empty(), "nothing was stored");
    bench.store.unwritable.store(false, Ordering::SeqCst);
    approval(bench.complete(REGISTRATION, &begun, &answer).await);

    let begun = bench.begin(AUTHENTICATION, "ada", options()).await.unwrap();
    let answer = sign(&mut card, "ada", &begun).unwrap();
    bench.store.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(bench.complete(AUTHENTICATION, &begun, &answer).await, Verdict::NotAsked);
    let fault = bench.begin(AUTHENTICATION, "ada", options()).await.unwrap_err();
    assert_eq!(fault.reason, Reason::UpstreamUnavailable);
    bench.store.unreadable.store(false, Ordering::SeqCst);
    bench.store.unwritable.store(true, Ordering::SeqCst);
    assert_eq!(bench.complete(AUTHENTICATION, &begun, &answer).await, Verdict::Full);
    bench.store.unwritable.store(false, Ordering::SeqCst);
    approval(bench.complete(AUTHENTICATION, &begun, &answer).await);
}

#[tokio::test]
async fn what_is_not_served_here_is_refused_at_the_beginning() {
    let bench = Bench::new();
    let refused = |mutate: fn(&mut crate::ports::BeginRequest)| {
        let mut request = request(REGISTRATION, "ada", UpstreamOptions::default(), None);
        mutate(&mut request);
        bench.server.begin(request)
    };
    let rp = refused(|request| request.rp_id = "example.com".to_owned()).await.unwrap_err();
    assert_eq!(rp.reason, Reason::UpstreamRejected);
    let tenant = refused(|request| request.tenant = "other".parse().unwrap()).await.unwrap_err();
    assert_eq!(tenant.reason, Reason::UpstreamRejected);
    let nobody = bench.begin(AUTHENTICATION, "nobody", UpstreamOptions::default()).await;
    assert_eq!(nobody.unwrap_err().reason, Reason::NoCredential);
}

#[tokio::test]
async fn credentials_belong_to_the_rp_id_that_they_were_made_for() {
    let bench = Bench::new();
    approval(bench.register(&mut SoftCard::new(), "ada").await);
    let moved = BuiltinFidoSettings::new("login.example.org", "Example", ORIGIN);
    let server = BuiltinFido::new(bench.store.clone(), bench.clock.clone(), moved);
    let mut request = request(AUTHENTICATION, "ada", UpstreamOptions::default(), None);
    request.rp_id = "login.example.org".to_owned();
    assert_eq!(server.begin(request.clone()).await.unwrap_err().reason, Reason::NoCredential);
    request.ceremony_type = REGISTRATION;
    let begun = server.begin(request).await.unwrap();
    assert_eq!(public_key(&begun)["rp"]["id"], "login.example.org");
    assert_eq!(public_key(&begun)["excludeCredentials"], json!([]));
}

#[tokio::test]
async fn a_session_that_is_none_too_old_or_of_another_kind_is_lost() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let answer = make(&mut card, "ada", &begun).unwrap();
    let nonsense = Begun { session: UpstreamSession("nonsense".to_owned()), ..begun.clone() };
    let lost = Verdict::SessionLost;
    assert_eq!(bench.complete(REGISTRATION, &nonsense, &answer).await, lost);
    assert_eq!(bench.complete(AUTHENTICATION, &begun, &answer).await, lost);
    bench.clock.advance(661_000);
    assert_eq!(bench.complete(REGISTRATION, &begun, &answer).await, lost);
}

#[tokio::test]
async fn an_answer_that_is_no_credential_is_rejected() {
    let bench = Bench::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    for text in ["{}", "[]", "null", "\"text\"", "{\"id\":\"AA\",\"type\":\"public-key\"}"] {
        let verdict = bench.complete(REGISTRATION, &begun, &raw(text.to_owned())).await;
        assert_eq!(verdict, Verdict::Rejected(Reason::UpstreamRejected), "{text}");
    }
}

#[tokio::test]
async fn debug_output_hides_sessions_and_challenges() {
    let bench = Bench::new();
    let begun = bench.begin(REGISTRATION, "ada", UpstreamOptions::default()).await.unwrap();
    let shown = format!("{:?} {:?}", bench.server, begun);
    assert!(!shown.contains(&begun.challenge));
}
