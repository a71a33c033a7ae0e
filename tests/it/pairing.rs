//! Pairing: a one-time token becomes a device, once, for whoever holds the key that it names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::phone::{self, DeviceKey, PairingError};
use fido_relay_proto::http::{OpenedPairing, Platform};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::relay::{Initiator, TestRelay, http};
use crate::support::scene::Scene;
use crate::support::wire_phone::WirePhone;

async fn token(initiator: &Initiator, username: &str) -> String {
    let response = initiator.post("/v1/pairings", &json!({ "username": username })).await;
    assert_eq!(response.status(), 201);
    response.json::<OpenedPairing>().await.unwrap().pairing_token
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
    let scene = Scene::set().await;
    let (relay, key) = (&scene.relay, DeviceKey::generate().unwrap());
    let other = DeviceKey::generate().unwrap();
    let (token, second) =
        (token(&scene.initiator, "bob").await, token(&scene.initiator, "eve").await);
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
    let socket_proof = key.auth_proof(&relay.socket_url(), &token, scene.ada.device_id).unwrap();
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
    scene.the_open_ceremony_still_completes().await;
}

#[tokio::test]
async fn a_token_is_good_once() {
    let scene = Scene::set().await;
    let token = token(&scene.initiator, "bob").await;
    let (first, second) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    assert_eq!(pair(&scene.relay, &body(&scene.relay, &first, &token)).await.status(), 201);
    for key in [&first, &second] {
        let response = pair(&scene.relay, &body(&scene.relay, key, &token)).await;
        assert_eq!(response.status(), 410);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(code(&problem), "gone");
        assert!(!problem.to_string().contains(&token));
    }
    let devices: Value = scene.initiator.get("/v1/users/bob/devices").await.json().await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn of_fifty_that_use_a_token_at_once_one_becomes_the_device() {
    let scene = Scene::set().await;
    let token = token(&scene.initiator, "bob").await;
    let tries = (0..50).map(|_| async {
        let key = DeviceKey::generate().unwrap();
        let body = body(&scene.relay, &key, &token);
        (pair(&scene.relay, &body).await.status().as_u16(), key)
    });
    let tries = futures::future::join_all(tries).await;
    let count = |status| tries.iter().filter(|(got, _)| *got == status).count();
    assert_eq!((count(201), count(410)), (1, 49));
    let devices: Value = scene.initiator.get("/v1/users/bob/devices").await.json().await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_sixth_device_is_refused_until_one_is_revoked() {
    let scene = Scene::set().await;
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(scene.relay.pair(&scene.initiator, "bob").await);
    }
    let sixth = async || {
        let token = token(&scene.initiator, "bob").await;
        let url = scene.relay.url().parse().unwrap();
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
    assert_eq!(scene.initiator.delete(&path).await.status(), 204);
    let sixth = sixth().await.unwrap();
    WirePhone::connect(sixth).await.hears_nothing().await;
}
