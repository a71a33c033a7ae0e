//! Proofs of requests that prove nothing: the socket's, and those that only a request can have.
//! Whatever is wrong, the answer is the same to the byte but for its nonce.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::security::pull_proof::PullProofs;
use fido_relay::security::random;
use fido_relay_proto::DeviceId;
use fido_relay_proto::device::PULL_TYP;
use fido_relay_rig::phone::DeviceKey;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{fast, phone, relay};
use crate::device_proofs::{Cast, forgeries, good};
use crate::support::pull_phone::{LOOK, PullPhone};
use crate::support::relay::{TestRelay, http};

/// SHA-256 of an empty body, as a request without one has it.
const NOTHING: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

fn of_pull(cast: &Cast, nonce: &str) -> Value {
    json!({
        "aud": cast.aud, "htm": "GET", "htu": format!("{}{LOOK}", cast.aud), "nonce": nonce,
        "device_id": cast.paired.device_id, "iat": 1_700_000_000_u64,
        "jti": URL_SAFE_NO_PAD.encode(random::bytes::<16>()), "body_sha256": NOTHING,
    })
}

async fn cast(relay: &TestRelay) -> (Cast, PullPhone) {
    let initiator = relay.initiator().await;
    let phone = phone(relay, &initiator, "ada").await;
    let revoked = relay.pair(&initiator, "ada").await;
    let path = format!("/v1/devices/{}", revoked.device_id);
    assert_eq!(initiator.delete(&path).await.status(), 204);
    let cast = Cast {
        paired: phone.paired.clone(),
        foreign: relay.pair(&initiator, "bob").await,
        second: relay.pair(&initiator, "ada").await,
        revoked,
        stranger: DeviceKey::generate().unwrap(),
        // Of another process, and of an earlier life of this one: no nonce of a request is spent.
        used_nonce: PullProofs::default().nonce(),
        other_nonce: PullProofs::default().nonce(),
        host: relay.url().strip_prefix("http://").unwrap().to_owned(),
        typ: PULL_TYP,
        aud: relay.url(),
        claims: of_pull,
    };
    (cast, phone)
}

/// All of an answer that could differ: status, headers and body, without nonce and date.
async fn told(response: Response) -> (u16, BTreeMap<String, String>, String) {
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut headers: BTreeMap<_, _> = headers.collect();
    let nonce = headers.remove("dpop-nonce").expect("every answer has a nonce");
    assert!(nonce.len() >= 32, "{nonce}");
    headers.remove("date");
    (status, headers, response.text().await.unwrap())
}

#[tokio::test]
async fn every_bad_proof_gets_the_same_401_with_a_nonce() {
    let relay = relay().await;
    let (cast, phone) = cast(&relay).await;
    let plain = http().get(format!("{}{LOOK}", relay.url())).send().await.unwrap();
    let refused = told(plain).await;
    assert_eq!(refused.0, 401);
    assert_eq!(refused.1["www-authenticate"], r#"DPoP error="use_dpop_nonce""#);
    assert_eq!(refused.1["content-type"], "application/problem+json");
    assert!(refused.2.contains("proof_refused"), "{}", refused.2);
    let look = (&Method::GET, LOOK);
    // No header can carry a line break, nor an end of blanks.
    let fits = |proof: &String| !proof.contains('\n') && !proof.ends_with(' ');
    let mut accepted = Vec::new();
    for (name, make) in &forgeries() {
        phone.ask_by(look, "", "x").await;
        let proof = make(&cast, &phone.nonce());
        if fits(&proof) && told(phone.ask_by(look, "", &proof).await).await != refused {
            accepted.push(*name);
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    let heard = phone.ask_by(look, "", &good(&cast, &phone.nonce())).await;
    assert_eq!(heard.status(), 200, "the same hands, writing the good one, are let in");
}

#[tokio::test]
async fn a_proof_is_for_one_request_of_one_relay() {
    let relay = relay().await;
    let (_, phone) = cast(&relay).await;
    let path = "/v1/device/claim";
    let body = json!({ "type": "claim", "code": "000000", "claim_id": "a" }).to_string();
    let ask = (&Method::POST, path);
    assert_eq!(phone.post(path, &body).await.status(), 422, "a code of nobody");
    let wrong = [
        ("aud", json!("https://evil.example")),
        ("aud", json!(format!("{}/", phone.url))),
        ("aud", json!(format!("{}{path}", phone.url))),
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("htu", json!(format!("{}/v1/device/decline", phone.url))),
        ("htu", json!(format!("{}{path}?x", phone.url))),
        ("htu", json!(format!("{}{path}/", phone.url))),
        ("htu", json!(format!("https://evil.example{path}"))),
        ("body_sha256", json!(NOTHING)),
        ("body_sha256", json!("")),
        ("jti", json!("short")),
        ("jti", json!("a".repeat(65))),
        ("nonce", json!("")),
        ("nonce", json!(PullProofs::default().nonce())),
        ("device_id", json!(DeviceId::from_bytes([9; 16]))),
    ];
    for (claim, value) in wrong {
        let mut claims = phone.claims(&Method::POST, path, &body);
        claims[claim] = value.clone();
        assert_eq!(phone.ask(ask, &body, &claims).await.status(), 401, "{claim} {value}");
    }
    // On loopback the relay has other names, and any of them counts.
    let alias = phone.url.replace("127.0.0.1", "localhost");
    let mut claims = phone.claims(&Method::POST, path, &body);
    (claims["aud"], claims["htu"]) = (json!(alias), json!(format!("{alias}{path}")));
    assert_eq!(phone.ask(ask, &body, &claims).await.status(), 422);
    // Another body under the proof of this one.
    let claims = phone.claims(&Method::POST, path, &body);
    let other = body.replace("000000", "111111");
    assert_eq!(phone.ask(ask, &other, &claims).await.status(), 401);
}

#[tokio::test]
async fn a_proof_is_taken_once_however_many_send_it() {
    let relay = relay().await;
    let (_, phone) = cast(&relay).await;
    phone.pull("").await;
    let claims = phone.claims(&Method::GET, LOOK, "");
    let asks = (0..20).map(|_| phone.ask((&Method::GET, LOOK), "", &claims));
    let answers = futures::future::join_all(asks).await;
    let taken = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(taken, 1);
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status().as_u16())));
}

/// A nonce is of the process that gave it: after a restart an app repeats once.
#[tokio::test]
async fn a_nonce_does_not_outlive_its_process() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    phone.pull("").await;
    let relay = relay.restart().await;
    let claims = phone.claims(&Method::GET, LOOK, "");
    assert_eq!(phone.ask((&Method::GET, LOOK), "", &claims).await.status(), 401);
    assert_eq!(relay.url(), phone.url);
    phone.pull("").await;
}

#[tokio::test]
async fn a_device_has_its_frames_a_second_and_failures_are_the_address_s() {
    let relay = TestRelay::start_with(|config| {
        (config.limits.frames_per_s, config.limits.frames_burst) = (1, 3);
    })
    .await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let other = super::phone(&relay, &initiator, "bob").await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(phone.send(&Method::GET, LOOK, "").await);
    }
    assert_eq!(answers[0].status(), 200);
    let slow = answers.iter().find(|answer| answer.status() == 429).expect("its burst is over");
    assert!(
        slow.headers().contains_key("retry-after") && slow.headers().contains_key("dpop-nonce")
    );
    assert_eq!(other.send(&Method::GET, LOOK, "").await.status(), 200, "another has its own");

    let relay = TestRelay::start_with(|config| {
        fast(config);
        (config.limits.rates.attempts_per_s, config.limits.rates.attempts_burst) = (1, 30);
    })
    .await;
    let phone = super::phone(&relay, &relay.initiator().await, "ada").await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(phone.ask_by((&Method::GET, LOOK), "", "x.y.z").await.status().as_u16());
    }
    assert!(statuses.starts_with(&[401]) && statuses.ends_with(&[429]), "{statuses:?}");
    phone.pull("").await;
}

#[tokio::test]
async fn pages_call_where_the_operator_lists_them_and_read_the_nonce() {
    const LISTED: &str = "https://app.example.com";
    let relay =
        TestRelay::start_with(|config| config.device_origins = vec![LISTED.to_owned()]).await;
    let url = format!("{}/v1/device/claim", relay.url());
    for (origin, is_listed) in [(LISTED, true), ("https://evil.example", false)] {
        let preflight = http()
            .request(Method::OPTIONS, &url)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type");
        let preflight = preflight.send().await.unwrap();
        let answer = http().post(&url).header("Origin", origin).send().await.unwrap();
        let head = |answer: &Response, name: &str| {
            answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(preflight.status(), if is_listed { 204 } else { 403 });
        assert_eq!(answer.status(), if is_listed { 401 } else { 403 });
        let named = is_listed.then(|| origin.to_owned());
        for answer in [&preflight, &answer] {
            assert_eq!(head(answer, "access-control-allow-origin"), named);
        }
        let asked = head(&preflight, "access-control-allow-headers");
        assert_eq!(asked, is_listed.then(|| "Authorization, Content-Type".to_owned()));
        let read = head(&answer, "access-control-expose-headers");
        assert_eq!(read, is_listed.then(|| "DPoP-Nonce, Retry-After".to_owned()));
        assert!(head(&answer, "dpop-nonce").is_some());
    }
}
