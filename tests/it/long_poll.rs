//! Watching a ceremony: what a backend and a page see of it, when they are woken, and the signed
//! result that only the backend gets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::CeremonyId;
use fido_relay_proto::http::{CeremonyView, OpenedCeremony};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::accepting_server::CREDENTIAL;
use crate::support::fixture::Fixture;
use crate::support::relay::Initiator;
use crate::support::wire_phone::WirePhone;

/// Longer than an answer takes that is not held back.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn watch(initiator: &Initiator, id: CeremonyId, query: &str, bearer: &str) -> (u16, Value) {
    let url = format!("{}/v1/ceremonies/{id}?{query}", initiator.url);
    let response = initiator.http.get(url).bearer_auth(bearer).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A ceremony of this order that Ada's phone brings to success.
async fn succeed(fixture: &Fixture, order: &Value) -> OpenedCeremony {
    let opened = fixture.initiator.open(order).await;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    let mut shown = [phone.offer().await.ceremony_id, phone.offer().await.ceremony_id];
    shown.sort_unstable();
    assert!(shown.contains(&opened.id));
    phone.claim(opened.id, opened.code.as_ref().unwrap()).await;
    let challenge = phone.challenge().await;
    phone.answer(opened.id, challenge.attempt, CREDENTIAL).await;
    fixture.initiator.outcome(opened.id).await;
    opened
}

#[tokio::test]
async fn a_wait_without_news_ends_with_what_stands() {
    let fixture = Fixture::new().await;
    let seq = fixture.initiator.read(fixture.open.id).await.seq;
    for bearer in [&fixture.initiator.key, &fixture.open.ticket] {
        let started = Instant::now();
        let query = format!("wait=1&since={seq}");
        let (status, view) = watch(&fixture.initiator, fixture.open.id, &query, bearer).await;
        assert_eq!((status, &view["status"]), (200, &json!("pending")));
        assert!(started.elapsed() >= Duration::from_secs(1), "it was held");
    }
    // Without `since` the wait is for what comes next; with an old one there is news already.
    let read =
        watch(&fixture.initiator, fixture.open.id, "wait=55&since=0", &fixture.initiator.key);
    assert_eq!(timeout(AT_ONCE, read).await.unwrap().0, 200);
}

#[tokio::test]
async fn every_watcher_is_woken_by_a_change() {
    let fixture = Fixture::with(|config| config.limits.watchers_per_ceremony = 20).await;
    let (id, key, ticket) = (fixture.open.id, &fixture.initiator.key, &fixture.open.ticket);
    let watchers = (0..20).map(|number| {
        let bearer = if number % 2 == 0 { key } else { ticket };
        watch(&fixture.initiator, id, "wait=55&since=10", bearer)
    });
    let cancel = async {
        // Some wait by now and some will come later: both must hear of it.
        tokio::task::yield_now().await;
        fixture.initiator.delete(&format!("/v1/ceremonies/{id}")).await
    };
    let all = futures::future::join(futures::future::join_all(watchers), cancel);
    let (views, cancelled) = timeout(AT_ONCE, all).await.expect("nobody waits to the end");
    assert_eq!(cancelled.status(), 200);
    for (status, view) in views {
        assert_eq!((status, &view["status"]), (200, &json!("cancelled")));
    }
    let relay = fixture.relay.running.relay();
    let key = fido_relay::app::ceremonies::CeremonyKey { tenant: Default::default(), id };
    assert!(relay.ceremonies.load(&key).await.unwrap().unwrap().closed().is_some());
}

#[tokio::test]
async fn what_is_closed_is_answered_at_once_however_long_one_would_wait() {
    let fixture = Fixture::new().await;
    let id = fixture.open.id;
    assert_eq!(fixture.initiator.delete(&format!("/v1/ceremonies/{id}")).await.status(), 200);
    let seq = fixture.initiator.read(id).await.seq;
    for since in [0, seq, seq + 100] {
        let query = format!("wait=55&since={since}");
        let read = watch(&fixture.initiator, id, &query, &fixture.open.ticket);
        assert_eq!(timeout(AT_ONCE, read).await.unwrap().1["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_page_sees_where_it_stands_and_nothing_of_whom() {
    let fixture = Fixture::new().await;
    let opened = succeed(
        &fixture,
        &json!({ "type": "authentication", "username": "ada", "client_nonce": "n-1" }),
    )
    .await;
    let (_, page) = watch(&fixture.initiator, opened.id, "", &opened.ticket).await;
    let mut fields: Vec<_> = page.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["expires_in", "id", "phase", "progress", "seq", "status", "type"]);
    assert_eq!(page["status"], "succeeded");
    let text = page.to_string();
    for secret in ["ada", "dev_", "cli_", "eyJ", "n-1"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let steps: Vec<_> =
        page["progress"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
    assert_eq!(steps, ["opened", "claimed", "challenged", "verifying", "closed"]);
}

#[tokio::test]
async fn a_ticket_is_good_for_its_ceremony_alone_and_a_forged_one_for_none() {
    let fixture = Fixture::new().await;
    let other =
        fixture.initiator.open(&json!({ "type": "authentication", "username": "bob" })).await;
    let ticket = &fixture.open.ticket;
    assert_eq!(watch(&fixture.initiator, fixture.open.id, "", ticket).await.0, 200);
    let (status, problem) = watch(&fixture.initiator, other.id, "", ticket).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));

    let bytes = URL_SAFE_NO_PAD.decode(ticket.strip_prefix("tkt_").unwrap()).unwrap();
    let encode = |bytes: &[u8]| format!("tkt_{}", URL_SAFE_NO_PAD.encode(bytes));
    let mut forged: Vec<String> = (0..bytes.len())
        .map(|at| {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            encode(&changed)
        })
        .collect();
    let others = URL_SAFE_NO_PAD.decode(other.ticket.strip_prefix("tkt_").unwrap()).unwrap();
    forged.push(encode(&[&bytes[..32], &others[32..]].concat()));
    forged.push(encode(&[&[0; 32], &bytes[32..]].concat()));
    forged.push(encode(&bytes[32..]));
    forged.push(encode(&[&bytes[..], b"x"].concat()));
    forged.push(format!("{ticket}="));
    forged.push(ticket.replace("tkt_", "rk_"));
    for forged in forged {
        let (status, problem) = watch(&fixture.initiator, fixture.open.id, "", &forged).await;
        assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")), "{forged}");
    }
}

/// What a backend does with a result token.
fn verify(token: &str, jwks: &JwkSet, iss: &str, aud: &str) -> Result<Value, String> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    if header.typ.as_deref() != Some("ceremony-result+jwt") {
        return Err("typ".to_owned());
    }
    let key = jwks.find(&header.kid.ok_or("kid")?).ok_or("no such key")?;
    let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[iss]);
    validation.set_audience(&[aud]);
    validation.leeway = 0;
    jsonwebtoken::decode::<Value>(token, &key, &validation)
        .map(|token| token.claims)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_result_is_signed_with_every_claim_and_verifies_with_the_published_key() {
    let fixture = Fixture::new().await;
    let transaction = json!({
        "title": "Pay \u{20ac}", "fields": [{ "label": "To", "value": "Bob" }],
    });
    let order = json!({
        "type": "approval", "username": "ada", "client_nonce": "nonce-1", "transaction": transaction,
    });
    let opened = succeed(&fixture, &order).await;
    let view = fixture.initiator.read(opened.id).await;
    let jwks: JwkSet = fixture.initiator.get("/.well-known/jwks.json").await.json().await.unwrap();
    let whoami: Value = fixture.initiator.get("/v1/clients/self").await.json().await.unwrap();
    let (iss, aud) = (fixture.relay.url(), whoami["client_id"].as_str().unwrap().to_owned());
    let token = view.result.unwrap();
    let claims = verify(&token, &jwks, &iss, &aud).unwrap();

    let canonical = r#"{"fields":[{"label":"To","value":"Bob"}],"title":"Pay €"}"#;
    let sha256 = |text: &[u8]| {
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text))
    };
    let expected = json!({
        "iss": iss, "aud": aud, "sub": "ada", "jti": opened.id,
        "iat": claims["iat"], "exp": claims["iat"].as_u64().unwrap() + 60,
        "auth_time": claims["auth_time"],
        "client_nonce": "nonce-1", "ceremony_type": "approval", "outcome": "succeeded",
        "binding": "code", "amr": claims["amr"], "tx_hash": sha256(canonical.as_bytes()),
        "tx_binding": "relay", "cred_hash": sha256(&[1, 2, 3, 4]),
        "device_id": fixture.ada.device_id,
    });
    assert_eq!(claims, expected);
    assert!(claims["auth_time"].as_u64() <= claims["iat"].as_u64());
    let methods: Vec<_> = claims["amr"].as_array().unwrap().iter().collect();
    assert!(methods.contains(&&json!("pop")), "{methods:?}");
    assert!(!methods.contains(&&json!("pin")), "nobody said that the PIN was asked: {methods:?}");

    // Another relay's or another client's token, and any change to this one, is none.
    assert!(verify(&token, &jwks, "http://evil.example", &aud).is_err());
    assert!(verify(&token, &jwks, &iss, "cli_AAAAAAAAAAAAAAAAAAAAAA").is_err());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        change(&mut claims);
        URL_SAFE_NO_PAD.encode(claims.to_string())
    };
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"ceremony-result+jwt"}"#);
    let later = altered(&|claims| claims["exp"] = json!(u32::MAX));
    let eve = altered(&|claims| claims["sub"] = json!("eve"));
    let forged = [
        format!("{header}.{later}.{signature}"),
        format!("{header}.{eve}.{signature}"),
        format!("{none}.{payload}."),
        format!("{none}.{eve}."),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
    ];
    for forged in forged {
        assert!(verify(&forged, &jwks, &iss, &aud).is_err(), "{forged}");
    }
}

#[tokio::test]
async fn there_is_a_result_only_for_what_succeeded_and_only_for_its_opener() {
    let fixture = Fixture::new().await;
    let pending: CeremonyView = fixture.initiator.read(fixture.open.id).await;
    assert_eq!(pending.result, None);
    let opened = succeed(&fixture, &json!({ "type": "authentication", "username": "ada" })).await;
    let first = fixture.initiator.read(opened.id).await.result.unwrap();
    assert!(fixture.initiator.outcome(opened.id).await.result.is_some());
    let path = format!("/v1/ceremonies/{}", fixture.open.id);
    let cancelled: CeremonyView = fixture.initiator.delete(&path).await.json().await.unwrap();
    assert_eq!(cancelled.result, None);
    assert_eq!(fixture.initiator.read(fixture.open.id).await.result, None);
    let other = fixture.relay.initiator().await;
    let foreign = other.get(&format!("/v1/ceremonies/{}", opened.id)).await;
    assert_eq!(foreign.status(), 404);
    assert!(!foreign.text().await.unwrap().contains(&first[..20]));
}
