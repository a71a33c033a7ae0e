//! The card's answers, taken apart by hand.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use fido_relay_webauthn::{EDDSA, ES256, RS256};
use serde_json::{Value, json};

use super::*;

const RP_ID: &str = "example.org";

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn prompt<'a>(username: &'a str, options: &'a RawValue) -> Prompt<'a> {
    Prompt {
        rp_id: RP_ID,
        origin: "https://example.org",
        challenge: "Y2hhbGxlbmdl",
        username,
        display_name: "Ada",
        public_key: options,
    }
}

fn register(card: &mut SoftCard, username: &str, options: &Value) -> Result<Value, CardErrorCode> {
    let answer = card.register(&prompt(username, &raw(options)))?;
    Ok(serde_json::from_str(&answer).unwrap())
}

fn authenticate(
    card: &mut SoftCard,
    username: &str,
    options: &Value,
) -> Result<Value, CardErrorCode> {
    let answer = card.authenticate(&prompt(username, &raw(options)))?;
    Ok(serde_json::from_str(&answer).unwrap())
}

fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn signed(response: &Value) -> Vec<u8> {
    let hash = digest(&SHA256, &bytes(&response["clientDataJSON"]));
    [&bytes(&response["authenticatorData"]), hash.as_ref()].concat()
}

#[test]
fn a_signature_of_each_algorithm_verifies_under_the_registered_key() {
    let algorithms: [(i64, &'static dyn VerificationAlgorithm); 3] =
        [(ES256, &ECDSA_P256_SHA256_ASN1), (EDDSA, &ED25519), (RS256, &RSA_PKCS1_2048_8192_SHA256)];
    for (number, _) in algorithms {
        let mut card = SoftCard::new();
        let options = json!({"pubKeyCredParams": [{"type": "public-key", "alg": number}]});
        register(&mut card, "ada", &options).unwrap();
        let answer = authenticate(&mut card, "ada", &json!({})).unwrap();
        let response = &answer["response"];
        let spki = card.credentials[0].key.spki().unwrap();
        assert_eq!(card.credentials[0].key.algorithm(), number);
        let verifier = algorithms.iter().find(|entry| entry.0 == number).unwrap().1;
        aws_lc_rs::signature::UnparsedPublicKey::new(verifier, spki)
            .verify(&signed(response), &bytes(&response["signature"]))
            .expect("the signature verifies");
    }
}

#[test]
fn the_first_algorithm_that_the_card_knows_is_taken() {
    let mut card = SoftCard::new();
    let options = json!({"pubKeyCredParams": [{"alg": -999}, {"alg": -8}, {"alg": -7}]});
    register(&mut card, "ada", &options).unwrap();
    assert_eq!(card.credentials[0].key.algorithm(), EDDSA);
    let unknown = json!({"pubKeyCredParams": [{"alg": -999}]});
    assert_eq!(register(&mut card, "bob", &unknown), Err(CardErrorCode::NO_PUBLIC_KEY));
}

#[test]
fn client_data_names_type_challenge_and_origin() {
    let mut card = SoftCard::new();
    let made = register(&mut card, "ada", &json!({})).unwrap();
    let used = authenticate(&mut card, "ada", &json!({})).unwrap();
    for (answer, kind) in [(made, "webauthn.create"), (used, "webauthn.get")] {
        let client: Value =
            serde_json::from_slice(&bytes(&answer["response"]["clientDataJSON"])).unwrap();
        assert_eq!(client["type"], kind);
        assert_eq!(client["challenge"], "Y2hhbGxlbmdl");
        assert_eq!(client["origin"], "https://example.org");
    }
}

#[test]
fn the_sign_counter_grows_with_every_use() {
    let mut card = SoftCard::new();
    register(&mut card, "ada", &json!({})).unwrap();
    for expected in 1..4_u32 {
        let answer = authenticate(&mut card, "ada", &json!({})).unwrap();
        let data = bytes(&answer["response"]["authenticatorData"]);
        assert_eq!(data[33..37], expected.to_be_bytes());
    }
}

#[test]
fn a_listed_credential_is_used_and_an_unlisted_one_is_not() {
    let mut card = SoftCard::new();
    let ada = register(&mut card, "ada", &json!({})).unwrap();
    register(&mut card, "bob", &json!({})).unwrap();
    let padded = format!("{}=", ada["id"].as_str().unwrap());
    for options in [
        json!({"allowCredentials": [{"type": "public-key", "id": ada["id"]}]}),
        json!({"publicKey": {"allowCredentials": [{"type": "public-key", "id": padded}]}}),
    ] {
        assert_eq!(authenticate(&mut card, "ada", &options).unwrap()["id"], ada["id"]);
    }
    let strange = json!({"allowCredentials": [{"type": "public-key", "id": "AAAA"}]});
    assert_eq!(authenticate(&mut card, "ada", &strange), Err(CardErrorCode::NO_CREDENTIALS));
}

#[test]
fn an_empty_list_finds_the_user_by_name_and_returns_the_servers_handle() {
    let mut card = SoftCard::new();
    assert_eq!(authenticate(&mut card, "ada", &json!({})), Err(CardErrorCode::NO_CREDENTIALS));
    register(&mut card, "ada", &json!({"user": {"id": "aGFuZGxl"}})).unwrap();
    let answer = authenticate(&mut card, "ada", &json!({"allowCredentials": []})).unwrap();
    assert_eq!(answer["response"]["userHandle"], "aGFuZGxl");
    assert_eq!(authenticate(&mut card, "bob", &json!({})), Err(CardErrorCode::USER_NOT_ON_CARD));
}

#[test]
fn an_excluded_credential_makes_no_second_one() {
    let mut card = SoftCard::new();
    let first = register(&mut card, "ada", &json!({})).unwrap();
    let options = json!({"excludeCredentials": [{"type": "public-key", "id": first["id"]}]});
    assert_eq!(register(&mut card, "ada", &options), Err(CardErrorCode::ALREADY_REGISTERED));
    assert_eq!(card.credential_count(), 1);
}

#[test]
fn the_same_account_registered_again_replaces_its_credential() {
    let mut card = SoftCard::new();
    let first = register(&mut card, "ada", &json!({})).unwrap();
    let second = register(&mut card, "ada", &json!({})).unwrap();
    assert_eq!(card.credential_count(), 1);
    assert_ne!(first["id"], second["id"]);
}

#[test]
fn a_full_card_refuses() {
    let mut card = SoftCard::new();
    for number in 0..CAPACITY {
        register(&mut card, &format!("user{number}"), &json!({})).unwrap();
    }
    assert_eq!(register(&mut card, "one too many", &json!({})), Err(CardErrorCode::KEY_STORE_FULL));
}

#[test]
fn a_card_that_cannot_verify_says_so_and_refuses_where_it_must() {
    let mut card = SoftCard::new().with_user_verification(false);
    let required = json!({"authenticatorSelection": {"userVerification": "required"}});
    assert_eq!(register(&mut card, "ada", &required), Err(CardErrorCode::PIN_NOT_SET));
    register(&mut card, "ada", &json!({})).unwrap();
    let required = json!({"userVerification": "required"});
    assert_eq!(authenticate(&mut card, "ada", &required), Err(CardErrorCode::PIN_NOT_SET));
    let answer = authenticate(&mut card, "ada", &json!({})).unwrap();
    assert_eq!(bytes(&answer["response"]["authenticatorData"])[32], USER_PRESENT);
}

#[test]
fn the_vendor_samples_form_has_a_signature_and_no_attestation_object() {
    let mut card = SoftCard::new().with_attestation(AttestationStyle::BareSignature);
    let answer = register(&mut card, "ada", &json!({})).unwrap();
    let response = &answer["response"];
    assert!(response.get("attestationObject").is_none());
    aws_lc_rs::signature::UnparsedPublicKey::new(
        &ECDSA_P256_SHA256_ASN1,
        card.credentials[0].key.spki().unwrap(),
    )
    .verify(&signed(response), &bytes(&response["signature"]))
    .expect("the signature verifies");
}
