//! The client-direct interface, called as by a program that was written for the vendor's server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use fido_relay_rig::softcard::{AttestationStyle, Prompt, SoftCard};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::server::BuiltinFidoSettings;
use super::bench::{Bench, settings};
use super::{ORIGIN, RP_ID};
use crate::ports::{
    Batch, BoxFuture, CardEvents, Certify as _, CertifyCall, CertifyReply, CertifyStep,
    SecurityEvent, SecurityEventKind, StoreError,
};

use CertifyStep::{AssertionOptions, AssertionResult, AttestationOptions, AttestationResult};

async fn call(bench: &Bench, step: CertifyStep, cookie: Option<&str>, body: &str) -> CertifyReply {
    let call =
        CertifyCall { step, cookie: cookie.map(str::to_owned), body: body.as_bytes().to_vec() };
    bench.server.call(call).await
}

fn body(reply: &CertifyReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// The cookie as a client would send it back.
fn cookie(reply: &CertifyReply) -> String {
    reply.set_cookies[0].split(';').next().unwrap().to_owned()
}

fn begin_body(username: &str) -> String {
    json!({"username": username, "rpId": RP_ID}).to_string()
}

/// The card's answer to the options of a begin reply.
fn answer(card: &mut SoftCard, username: &str, reply: &CertifyReply, register: bool) -> String {
    let options = body(reply);
    let object: Box<RawValue> = serde_json::value::to_raw_value(&options).unwrap();
    let prompt = Prompt {
        rp_id: RP_ID,
        origin: ORIGIN,
        challenge: options["challenge"].as_str().unwrap(),
        username,
        display_name: username,
        public_key: &object,
    };
    if register { card.register(&prompt) } else { card.authenticate(&prompt) }.unwrap()
}

async fn register(bench: &Bench, card: &mut SoftCard, username: &str) -> CertifyReply {
    let begun = call(bench, AttestationOptions, None, &begin_body(username)).await;
    let answer = answer(card, username, &begun, true);
    call(bench, AttestationResult, Some(&cookie(&begun)), &answer).await
}

/// Keeps what it is to commit, and does not commit it.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(Vec<String>, SecurityEventKind)>>);

impl CardEvents for Kept {
    fn commit(
        &self,
        changes: Batch,
        event: SecurityEvent,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let keys = changes.changes().iter().map(|change| change.key.to_string()).collect();
        self.0.lock().unwrap().push((keys, event.what));
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn what_happens_to_a_card_is_handed_over_with_the_changes_that_it_makes() {
    let kept = Arc::new(Kept::default());
    let events = Some(Arc::clone(&kept) as Arc<dyn CardEvents>);
    let bench = Bench::with(BuiltinFidoSettings { events, ..settings() });
    let mut card = SoftCard::new();
    assert_eq!(register(&bench, &mut card, "ada").await.status, 200);
    assert_eq!(bench.store.keys(), [""; 0], "nothing is committed beside it");
    let told = kept.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    let (keys, what) = &told[0];
    assert!(keys.iter().any(|key| key.starts_with("default.u.")), "{keys:?}");
    assert!(
        matches!(what, SecurityEventKind::CardRegistered { username, .. } if username.as_str() == "ada")
    );
}

#[tokio::test]
async fn the_vendors_python_sample_registers_and_signs_in() {
    let bench = Bench::new();
    let mut card = SoftCard::new().with_attestation(AttestationStyle::BareSignature);
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    assert_eq!(begun.status, 200);
    let options = body(&begun);
    assert_eq!(options["status"], "ok");
    assert_eq!(options["errorMessage"], "");
    assert_eq!(options["responseCode"], 200);
    assert!(options["statuscode"].is_string());
    assert_eq!(options["user"]["displayName"], "ada", "the username, since nothing else was said");
    assert_eq!(options["rp"]["id"], RP_ID);
    let answered = answer(&mut card, "ada", &begun, true);
    let done = call(&bench, AttestationResult, Some(&cookie(&begun)), &answered).await;
    assert_eq!((done.status, &body(&done)["status"]), (200, &json!("ok")));

    let begun = call(&bench, AssertionOptions, None, &begin_body("ada")).await;
    assert_eq!(body(&begun)["rpId"], RP_ID);
    assert_eq!(body(&begun)["allowCredentials"].as_array().unwrap().len(), 1);
    let answered = answer(&mut card, "ada", &begun, false);
    let done = call(&bench, AssertionResult, Some(&cookie(&begun)), &answered).await;
    assert_eq!((done.status, &body(&done)["status"]), (200, &json!("ok")));
}

#[tokio::test]
async fn the_session_cookie_stays_on_its_path_and_away_from_scripts() {
    let bench = Bench::new();
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let set = &begun.set_cookies[0];
    for attribute in ["Path=/fidoapi", "HttpOnly", "SameSite=Strict", "Max-Age=120"] {
        assert!(set.split("; ").any(|one| one == attribute), "{attribute}");
    }
    assert!(!set.contains("Secure"));
    let mut settings = super::bench::settings();
    settings.secure_cookies = true;
    let begun = call(&Bench::with(settings), AttestationOptions, None, &begin_body("ada")).await;
    assert!(begun.set_cookies[0].ends_with("; Secure"));
}

#[tokio::test]
async fn a_session_is_good_for_one_result_whatever_comes_of_it() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let answered = answer(&mut card, "ada", &begun, true);
    let cookie = cookie(&begun);
    let malformed = call(&bench, AttestationResult, Some(&cookie), "{}").await;
    assert_eq!((malformed.status, &body(&malformed)["status"]), (400, &json!("failed")));
    let late = call(&bench, AttestationResult, Some(&cookie), &answered).await;
    assert_eq!(late.status, 408);
}

#[tokio::test]
async fn an_unknown_expired_missing_or_other_session_is_e0024r() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let answered = answer(&mut card, "ada", &begun, true);
    let live = cookie(&begun);
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let of_another_kind = cookie(&begun);
    let mut replies = vec![
        call(&bench, AttestationResult, None, &answered).await,
        call(&bench, AttestationResult, Some(""), &answered).await,
        call(&bench, AttestationResult, Some("fido_session=guess"), &answered).await,
        call(&bench, AttestationResult, Some(&live.replace('=', "x=")), &answered).await,
        call(&bench, AssertionResult, Some(&of_another_kind), &answered).await,
    ];
    bench.clock.advance(120_000);
    replies.push(call(&bench, AttestationResult, Some(&live), &answered).await);
    for reply in &replies {
        assert_eq!(reply.status, 408);
        let body = body(reply);
        assert_eq!(body["status"], "false");
        assert_eq!(body["statuscode"], "E0024R");
        assert!(body["errorMessage"].as_str().unwrap().contains("E0024R"));
    }
}

#[tokio::test]
async fn a_session_lasts_two_minutes_and_is_found_among_other_cookies() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let answered = answer(&mut card, "ada", &begun, true);
    bench.clock.advance(119_999);
    let header = format!("theme=dark; fido_session=old; {}; lang=en", cookie(&begun));
    let done = call(&bench, AttestationResult, Some(&header), &answered).await;
    assert_eq!(done.status, 200);
}

#[tokio::test]
async fn a_wrong_answer_is_401_and_stores_nothing() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let first = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let second = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let answered = answer(&mut card, "ada", &first, true);
    let refused = call(&bench, AttestationResult, Some(&cookie(&second)), &answered).await;
    assert_eq!((refused.status, &body(&refused)["status"]), (401, &json!("failed")));
    assert!(bench.store.keys().is_empty());
}

#[tokio::test]
async fn a_user_without_account_is_403() {
    let bench = Bench::new();
    assert_eq!(register(&bench, &mut SoftCard::new(), "ada").await.status, 200);
    let reply = call(&bench, AssertionOptions, None, &begin_body("bob")).await;
    assert_eq!((reply.status, &body(&reply)["status"]), (403, &json!("failed")));
    assert!(reply.set_cookies.is_empty());
}

#[tokio::test]
async fn malformed_begin_bodies_are_400_and_not_echoed() {
    let bench = Bench::new();
    let long = "x".repeat(256);
    for text in [
        String::new(),
        "canary".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({"username": ""}).to_string(),
        json!({"username": 7}).to_string(),
        json!({"username": long}).to_string(),
        json!({"username": "ada\u{202e}canary"}).to_string(),
        json!({"username": "ada", "displayName": long}).to_string(),
        json!({"username": "ada", "displayName": ["canary"]}).to_string(),
        json!({"username": "ada", "rpId": "canary.example"}).to_string(),
        json!({"username": "ada", "userVerification": "canary"}).to_string(),
        json!({"username": "ada", "attestation": 1}).to_string(),
        json!({"username": "ada", "algorithms": "es256"}).to_string(),
        json!({"username": "ada", "algorithms": ["canary"]}).to_string(),
        json!({"username": "ada", "extensions": ["canary"]}).to_string(),
    ] {
        for step in [AttestationOptions, AssertionOptions] {
            let reply = call(&bench, step, None, &text).await;
            assert_eq!(reply.status, 400, "{text}");
            assert_eq!(body(&reply)["status"], "failed");
            assert!(!String::from_utf8(reply.body).unwrap().contains("canary"));
        }
    }
}

#[tokio::test]
async fn unknown_members_and_both_spellings_are_taken() {
    let bench = Bench::new();
    let vendor = json!({
        "username": "ada", "displayName": "Ada", "rpId": RP_ID, "keypair": {"model": "x"},
        "userVerification": "required", "attestation": "direct", "attachment": "cross-platform",
        "algorithms": ["ES512", "RS256", "es256"], "discoverable_credential": "required",
        "later": true,
    });
    let alliance = json!({
        "username": "ada", "displayName": "Ada", "rp": {"id": RP_ID}, "attestation": "direct",
        "algorithms": ["rs256", "es256"],
        "authenticatorSelection": {
            "userVerification": "required", "requireResidentKey": true,
            "authenticatorAttachment": "cross-platform",
        },
    });
    for request in [vendor, alliance] {
        let reply = call(&bench, AttestationOptions, None, &request.to_string()).await;
        let options = body(&reply);
        assert_eq!(reply.status, 200, "{options}");
        assert_eq!(options["user"]["displayName"], "Ada");
        assert_eq!(options["attestation"], "direct");
        let parameters =
            json!([{"type": "public-key", "alg": -257}, {"type": "public-key", "alg": -7}]);
        assert_eq!(options["pubKeyCredParams"], parameters);
        assert_eq!(
            options["authenticatorSelection"],
            json!({
                "residentKey": "required", "requireResidentKey": true,
                "userVerification": "required", "authenticatorAttachment": "cross-platform",
            })
        );
    }
}

#[tokio::test]
async fn an_empty_rp_id_is_none() {
    let bench = Bench::new();
    let body = json!({"username": "ada", "displayName": "", "rpId": ""}).to_string();
    assert_eq!(call(&bench, AttestationOptions, None, &body).await.status, 200);
}

#[tokio::test]
async fn a_call_asks_for_less_than_user_verification_only_where_the_operator_allows_it() {
    let begin = json!({"username": "ada", "userVerification": "discouraged"}).to_string();
    for (allowed, wish, status) in [(false, "required", 401), (true, "discouraged", 200)] {
        let bench = Bench::with(BuiltinFidoSettings { uv_weaken: allowed, ..settings() });
        let mut reply = call(&bench, AttestationOptions, None, &begin).await;
        let mut options = body(&reply);
        assert_eq!(options["authenticatorSelection"]["userVerification"], wish);
        // The phone hides the requirement from a card without a PIN.
        options["authenticatorSelection"] = json!({});
        let cookie = cookie(&reply);
        reply.body = options.to_string().into_bytes();
        let mut card = SoftCard::new().with_user_verification(false);
        let answered = answer(&mut card, "ada", &reply, true);
        let result = call(&bench, AttestationResult, Some(&cookie), &answered).await;
        assert_eq!(result.status, status, "{}", body(&result));
    }
}

#[tokio::test]
async fn extensions_are_passed_on_to_the_client() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let extensions =
        json!({"credProps": true, "credentialProtectionPolicy": "userVerificationOptional"});
    let request = json!({"username": "ada", "extensions": extensions}).to_string();
    let begun = call(&bench, AttestationOptions, None, &request).await;
    assert_eq!(body(&begun)["extensions"], extensions);
    let answered = answer(&mut card, "ada", &begun, true);
    let cookie = cookie(&begun);
    assert_eq!(call(&bench, AttestationResult, Some(&cookie), &answered).await.status, 200);
    let begun = call(&bench, AssertionOptions, None, &request).await;
    assert_eq!(body(&begun)["extensions"], extensions);
    let begun = call(&bench, AssertionOptions, None, &begin_body("ada")).await;
    assert!(body(&begun).get("extensions").is_none());
}

#[tokio::test]
async fn algorithms_that_are_switched_off_are_400() {
    let request = json!({"username": "ada", "algorithms": ["ML-DSA-44"]}).to_string();
    let reply = call(&Bench::new(), AttestationOptions, None, &request).await;
    assert_eq!(reply.status, 400);
    assert_eq!(body(&reply)["status"], "failed");
}

#[tokio::test]
async fn a_store_that_cannot_is_507() {
    let bench = Bench::new();
    let mut card = SoftCard::new();
    let begun = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    let answered = answer(&mut card, "ada", &begun, true);
    bench.store.unwritable.store(true, Ordering::SeqCst);
    let full = call(&bench, AttestationResult, Some(&cookie(&begun)), &answered).await;
    assert_eq!((full.status, &body(&full)["status"]), (507, &json!("failed")));
    bench.store.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(call(&bench, AttestationOptions, None, &begin_body("ada")).await.status, 507);
}

#[tokio::test]
async fn the_limit_of_cards_is_the_callers_to_mend_and_no_507() {
    let bench = Bench::new();
    for _ in 0..20 {
        bench.register(&mut SoftCard::new(), "ada").await;
    }
    let limit = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
    assert_eq!((limit.status, &body(&limit)["status"]), (409, &json!("failed")));
    assert!(body(&limit)["errorMessage"].as_str().unwrap().contains("remove one first"));
}

#[tokio::test]
async fn sessions_are_bounded_and_used_or_expired_ones_make_room() {
    let bench = Bench::new();
    let mut last = None;
    for _ in 0..10_000 {
        let reply = call(&bench, AttestationOptions, None, &begin_body("ada")).await;
        assert_eq!(reply.status, 200);
        last = Some(cookie(&reply));
    }
    let begin =
        || async { call(&bench, AttestationOptions, None, &begin_body("ada")).await.status };
    assert_eq!(begin().await, 507);
    call(&bench, AttestationResult, last.as_deref(), "{}").await;
    assert_eq!(begin().await, 200, "the used one made room");
    assert_eq!(begin().await, 507);
    bench.clock.advance(120_000);
    assert_eq!(begin().await, 200, "the expired ones made room");
}

#[tokio::test]
async fn a_hundred_interleaved_ceremonies_stay_with_their_users() {
    let bench = Bench::new();
    let mut open = Vec::new();
    for number in 0..100 {
        let username = format!("user{number}");
        let begun = call(&bench, AttestationOptions, None, &begin_body(&username)).await;
        open.push((username, begun, SoftCard::new()));
    }
    for (username, begun, card) in open.iter_mut().rev() {
        let answered = answer(card, username, begun, true);
        let done = call(&bench, AttestationResult, Some(&cookie(begun)), &answered).await;
        assert_eq!(done.status, 200);
    }
    assert_eq!(bench.store.keys().len(), 300, "a credential, a claim and the name's epoch each");
}
