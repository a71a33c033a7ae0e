//! Pairing: a one-time token becomes a device, once, for the holder of the key that it names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::TypedCode;
use fido_relay_proto::http::Platform;
use fido_relay_rig::phone::{self, DeviceKey, PairingError};
use futures::StreamExt as _;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::fixture::Fixture;
use crate::support::relay::{Initiator, TestRelay, http};
use crate::support::wire_phone::WirePhone;

async fn token(initiator: &Initiator, username: &str) -> String {
    initiator.pairing(username).await.pairing_token
}

/// The body that an app sends whose person typed this.
fn typed_body(relay: &TestRelay, key: &DeviceKey, typed: &str) -> Value {
    let url = format!("{}/v1/devices", relay.url());
    let code: TypedCode = typed.parse().unwrap();
    json!({
        "typed_code": typed, "jwk": key.jwk(), "platform": Platform::Other,
        "proof": key.pairing_proof(&url, code.as_str()).unwrap(),
    })
}

/// The code with another last character.
fn mistyped(code: &str) -> String {
    let (head, last) = code.split_at(code.len() - 1);
    format!("{head}{}", if last == "0" { '2' } else { '0' })
}

async fn devices_of(initiator: &Initiator, username: &str) -> usize {
    let path = format!("/v1/users/{username}/devices");
    let list: Value = initiator.get(&path).await.json().await.unwrap();
    list["devices"].as_array().unwrap().len()
}

/// The body that an app sends.
fn body(relay: &TestRelay, key: &DeviceKey, token: &str) -> Value {
    let url = format!("{}/v1/devices", relay.url());
    json!({
        "pairing_token": token, "jwk": key.jwk(), "platform": Platform::Other,
        "proof": key.pairing_proof(&url, token).unwrap(),
    })
}

async fn pair(relay: &TestRelay, body: &Value) -> Response {
    http().post(format!("{}/v1/devices", relay.url())).json(body).send().await.unwrap()
}

#[track_caller]
fn code(problem: &Value) -> &str {
    problem["code"].as_str().unwrap()
}

#[tokio::test]
async fn whatever_is_wrong_with_token_or_proof_the_answer_is_the_same() {
    let fixture = Fixture::new().await;
    let (relay, key) = (&fixture.relay, DeviceKey::generate().unwrap());
    let other = DeviceKey::generate().unwrap();
    let (token, second) =
        (token(&fixture.initiator, "bob").await, token(&fixture.initiator, "eve").await);
    let url = format!("{}/v1/devices", relay.url());
    let good = body(relay, &key, &token);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let proof = |claims: Value| json!(key.sign("fido-relay-pairing+jwt", &claims).unwrap());
    let hash = {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        URL_SAFE_NO_PAD.encode(digest)
    };
    let jkt = key.thumbprint();
    let socket_proof = key.auth_proof(&relay.socket_url(), &token, fixture.ada.device_id).unwrap();
    let mut off_curve = serde_json::to_value(key.jwk()).unwrap();
    off_curve["y"] = off_curve["x"].clone();
    let mut other_curve = serde_json::to_value(key.jwk()).unwrap();
    other_curve["crv"] = json!("P-384");
    let zero = URL_SAFE_NO_PAD.encode([0; 32]);
    let bad = [
        with("pairing_token", json!("")),
        with("pairing_token", json!(second)),
        with("pairing_token", json!(token.to_lowercase())),
        with("pairing_token", json!(format!("{token} "))),
        with("pairing_token", json!(&token[..42])),
        with("pairing_token", json!("../../devices/x")),
        with("proof", json!("")),
        with("proof", json!("a.b.c")),
        with("proof", json!(socket_proof)),
        with("proof", json!(other.pairing_proof(&url, &token).unwrap())),
        with("proof", json!(key.pairing_proof(&url, &second).unwrap())),
        with("proof", json!(key.pairing_proof("http://evil.example/v1/devices", &token).unwrap())),
        with("proof", json!(key.pairing_proof(&relay.socket_url(), &token).unwrap())),
        with("proof", proof(json!({ "aud": url, "token_hash": hash, "iat": 1 }))),
        with("proof", proof(json!({ "aud": url, "token_hash": token, "jkt": jkt, "iat": 1 }))),
        with(
            "proof",
            proof(json!({ "aud": url, "token_hash": hash, "jkt": other.thumbprint(), "iat": 1 })),
        ),
        with("proof", proof(json!({ "aud": [url], "token_hash": hash, "jkt": jkt, "iat": 1 }))),
        with("jwk", json!(other.jwk())),
        with("jwk", off_curve),
        with("jwk", other_curve),
        with("jwk", json!({ "kty": "EC", "crv": "P-256", "x": zero, "y": zero })),
        with("jwk", json!({ "kty": "EC", "crv": "P-256", "x": "", "y": "" })),
        with("jwk", json!({ "kty": "RSA", "crv": "P-256", "x": "AQAB", "y": "AQAB" })),
    ];
    let mut answers = std::collections::BTreeSet::new();
    for body in &bad {
        let response = pair(relay, body).await;
        assert_eq!(response.status(), 401, "{body}");
        answers.insert(response.text().await.unwrap());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let problem: Value = serde_json::from_str(answers.first().unwrap()).unwrap();
    assert_eq!(code(&problem), "proof_refused");
    // None of this used the token up.
    assert_eq!(pair(relay, &good).await.status(), 201);
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_token_is_good_once() {
    let fixture = Fixture::new().await;
    let token = token(&fixture.initiator, "bob").await;
    let (first, second) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    assert_eq!(pair(&fixture.relay, &body(&fixture.relay, &first, &token)).await.status(), 201);
    for key in [&first, &second] {
        let response = pair(&fixture.relay, &body(&fixture.relay, key, &token)).await;
        assert_eq!(response.status(), 410);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(code(&problem), "gone");
        assert!(!problem.to_string().contains(&token));
    }
    let devices: Value = fixture.initiator.get("/v1/users/bob/devices").await.json().await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn voided_pairings_make_no_device_by_link_or_code() {
    let fixture = Fixture::new().await;
    let bobs = [fixture.initiator.pairing("bob").await, fixture.initiator.pairing("bob").await];
    let evas = token(&fixture.initiator, "eva").await;
    let key = DeviceKey::generate().unwrap();
    // A wrong code has cost a try: the record is another one than when it was made.
    let wrong = typed_body(&fixture.relay, &key, &mistyped(&bobs[0].typed_code));
    assert_eq!(pair(&fixture.relay, &wrong).await.status(), 401);
    for _ in 0..2 {
        assert_eq!(fixture.initiator.delete("/v1/users/bob/pairings").await.status(), 204);
    }
    assert_eq!(fixture.initiator.delete("/v1/users/unknown/pairings").await.status(), 204);
    for pairing in &bobs {
        let by_link = body(&fixture.relay, &key, &pairing.pairing_token);
        let by_code = typed_body(&fixture.relay, &key, &pairing.typed_code);
        for order in [by_link, by_code] {
            assert_eq!(pair(&fixture.relay, &order).await.status(), 401);
        }
    }
    assert_eq!(devices_of(&fixture.initiator, "bob").await, 0);
    let another_users = body(&fixture.relay, &key, &evas);
    assert_eq!(pair(&fixture.relay, &another_users).await.status(), 201);
    // What is opened afterwards is good.
    let again = body(&fixture.relay, &key, &token(&fixture.initiator, "bob").await);
    assert_eq!(pair(&fixture.relay, &again).await.status(), 201);
}

#[tokio::test]
async fn of_a_hundred_that_use_a_token_at_once_one_becomes_the_device() {
    let fixture = Fixture::new().await;
    let token = token(&fixture.initiator, "bob").await;
    let tries = (0..100).map(|_| async {
        let body = body(&fixture.relay, &DeviceKey::generate().unwrap(), &token);
        pair(&fixture.relay, &body).await.status().as_u16()
    });
    let tries = futures::future::join_all(tries).await;
    let count = |status| tries.iter().filter(|got| **got == status).count();
    assert_eq!((count(201), count(410)), (1, 99), "{tries:?}");
    assert_eq!(devices_of(&fixture.initiator, "bob").await, 1);
}

/// Typed codes are also limited by address, so that not all hundred are looked at.
#[tokio::test]
async fn of_a_hundred_that_use_token_and_typed_code_at_once_one_becomes_the_device() {
    let fixture = Fixture::new().await;
    let pairing = fixture.initiator.pairing("bob").await;
    let tries = (0..100).map(|n| {
        let (relay, pairing) = (&fixture.relay, &pairing);
        async move {
            let key = DeviceKey::generate().unwrap();
            let body = if n % 10 == 0 {
                body(relay, &key, &pairing.pairing_token)
            } else {
                typed_body(relay, &key, &pairing.typed_code)
            };
            pair(relay, &body).await.status().as_u16()
        }
    });
    let tries = futures::future::join_all(tries).await;
    let count = |status| tries.iter().filter(|got| **got == status).count();
    assert_eq!(count(201), 1, "{tries:?}");
    assert_eq!(count(201) + count(410) + count(429), 100, "{tries:?}");
    assert!(count(410) >= 20, "{tries:?}");
    assert_eq!(devices_of(&fixture.initiator, "bob").await, 1);
}

#[tokio::test]
async fn a_person_may_type_the_code_in_place_of_scanning() {
    let fixture = Fixture::new().await;
    let pairing = fixture.initiator.pairing("bob").await;
    let client = phone::PairingClient::new().unwrap();
    let (url, key) = (fixture.relay.url().parse().unwrap(), DeviceKey::generate().unwrap());
    let code: TypedCode = pairing.typed_code.to_lowercase().replace('-', " ").parse().unwrap();
    let paired = client.pair_typed(&url, &code, None, key).await.unwrap();
    WirePhone::connect(paired).await.hears_nothing().await;
    // One use uses up both.
    let key = DeviceKey::generate().unwrap();
    for body in [
        body(&fixture.relay, &key, &pairing.pairing_token),
        typed_body(&fixture.relay, &key, &pairing.typed_code),
    ] {
        assert_eq!(pair(&fixture.relay, &body).await.status(), 410);
    }
    assert_eq!(devices_of(&fixture.initiator, "bob").await, 1);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_typed_code_the_answer_is_that_of_a_wrong_token() {
    let fixture = Fixture::new().await;
    let (relay, key) = (&fixture.relay, DeviceKey::generate().unwrap());
    let pairing = fixture.initiator.pairing("bob").await;
    let right = &pairing.typed_code;
    let good = typed_body(relay, &key, right);
    let with = |typed: &str| {
        let mut body = good.clone();
        body["typed_code"] = json!(typed);
        body
    };
    let url = format!("{}/v1/devices", relay.url());
    let mut as_shown = good.clone();
    as_shown["proof"] = json!(key.pairing_proof(&url, right).unwrap());
    let mut of_the_token = good.clone();
    of_the_token["proof"] = json!(key.pairing_proof(&url, &pairing.pairing_token).unwrap());
    let mut as_token = body(relay, &key, &pairing.pairing_token);
    as_token["pairing_token"] = json!(right);
    let bad = [
        with(""),
        with("0000000000"),
        with("UUUUU-UUUUU"),
        with(&right[..10]),
        with(&format!("{right}0")),
        with(&pairing.pairing_token),
        with("../../../../.."),
        with(&mistyped(right)),
        typed_body(relay, &key, &mistyped(right)),
        as_shown,
        of_the_token,
        as_token,
        body(relay, &key, "no such token"),
    ];
    let mut answers = std::collections::BTreeSet::new();
    for body in &bad {
        let response = pair(relay, body).await;
        assert_eq!(response.status(), 401, "{body}");
        answers.insert(response.text().await.unwrap());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(pair(relay, &good).await.status(), 201, "two wrong ones are forgiven");
}

#[tokio::test]
async fn a_pairing_names_one_secret_and_not_none_or_two() {
    let fixture = Fixture::new().await;
    let pairing = fixture.initiator.pairing("bob").await;
    let key = DeviceKey::generate().unwrap();
    let mut both = body(&fixture.relay, &key, &pairing.pairing_token);
    both["typed_code"] = json!(pairing.typed_code);
    let mut none = both.clone();
    none.as_object_mut().unwrap().retain(|name, _| name != "typed_code" && name != "pairing_token");
    for body in [both, none] {
        let response = pair(&fixture.relay, &body).await;
        assert_eq!(response.status(), 400);
        assert_eq!(code(&response.json().await.unwrap()), "invalid_request");
    }
    assert_eq!(devices_of(&fixture.initiator, "bob").await, 0);
}

#[tokio::test]
async fn a_thousand_attackers_at_the_typed_code_get_one_answer_and_no_device() {
    let fixture = Fixture::new().await;
    let (relay, key) = (&fixture.relay, DeviceKey::generate().unwrap());
    let pairing = fixture.initiator.pairing("bob").await;
    let plain: TypedCode = pairing.typed_code.parse().unwrap();
    let good = typed_body(relay, &key, &pairing.typed_code);
    // They know the locator, which is the worst case, and guess at the rest.
    let attackers = (0..1_000_u32).map(|n| {
        let (plain, good, http) = (&plain, &good, &fixture.initiator.http);
        async move {
            let guess = TypedCode::from_random([0, 0, 0, 0, 0, 0, n as u8, (n >> 5) as u8, 0, 7]);
            let guess = format!("{}{}", plain.locator(), &guess.as_str()[4..]);
            if guess == plain.as_str() {
                return (401, String::new());
            }
            let mut body = good.clone();
            body["typed_code"] = json!(guess);
            let url = format!("{}/v1/devices", relay.url());
            let response = http.post(url).json(&body).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    });
    let answers: std::collections::BTreeMap<_, _> =
        futures::stream::iter(attackers).buffer_unordered(50).collect().await;
    let statuses: Vec<_> = answers.keys().copied().collect();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!(answers.contains_key(&401), "some were looked at");
    // Five were enough: the pairing is void, the token too, which no limit by address holds back.
    let token = pair(relay, &body(relay, &key, &pairing.pairing_token)).await;
    assert_eq!(token.status(), 401);
    assert_eq!(devices_of(&fixture.initiator, "bob").await, 0);
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_sixth_device_is_refused_until_one_is_revoked() {
    let fixture = Fixture::new().await;
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(fixture.relay.pair(&fixture.initiator, "bob").await);
    }
    let sixth = async || {
        let token = token(&fixture.initiator, "bob").await;
        let url = fixture.relay.url().parse().unwrap();
        phone::pair(&url, &token, None, DeviceKey::generate().unwrap()).await
    };
    match sixth().await {
        Err(PairingError::Refused { status, problem, .. }) => {
            assert_eq!(status, 422);
            assert!(problem.unwrap().detail.unwrap().contains("revoke one first"));
        }
        other => panic!("{other:?}"),
    }
    // Who was there stays.
    WirePhone::connect(devices[0].clone()).await.hears_nothing().await;
    let path = format!("/v1/devices/{}", devices[4].device_id);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    let sixth = sixth().await.unwrap();
    WirePhone::connect(sixth).await.hears_nothing().await;
}
