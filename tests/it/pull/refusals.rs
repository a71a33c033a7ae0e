//! Requests that are refused for what they are as requests, and a store that does not answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fido_relay_proto::device::AckOf;
use reqwest::Method;
use serde_json::{Value, json};

use super::{fast, opens, phone, relay};
use crate::support::pull_phone::LOOK;
use crate::support::relay::{TestRelay, http};
use crate::support::stub_relay::Switchable;

#[tokio::test]
async fn without_its_store_the_relay_lets_nobody_in_and_says_when_to_come_back() {
    let store = Arc::new(Switchable::default());
    let relay = TestRelay::start_on(Arc::clone(&store) as _, fast).await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let opened = opens(&initiator, "registration").await;
    phone.offered(opened.id).await;
    store.is_down.store(true, Ordering::Relaxed);
    let ack = json!({ "type": "ack", "ceremony_id": opened.id, "of": "offer" }).to_string();
    for (method, path, body) in [
        (Method::GET, LOOK.to_owned(), ""),
        (Method::POST, format!("{LOOK}/{}/ack", opened.id), ack.as_str()),
        (Method::PUT, "/v1/device/push".to_owned(), r#"{"push":null}"#),
    ] {
        let answer = phone.send(&method, &path, body).await;
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        assert!(answer.headers().contains_key("dpop-nonce"), "{path}");
    }
    store.is_down.store(false, Ordering::Relaxed);
    phone.acks(opened.id, AckOf::Offer).await;
}

#[tokio::test]
async fn a_body_has_its_type_its_size_and_no_encoding() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    phone.pull("").await;
    let path = "/v1/device/claim";
    let large = json!({ "type": "claim", "code": "1".repeat(33 * 1024) }).to_string();
    let answer = phone.post(path, &large).await;
    assert_eq!(answer.status(), 413);
    assert!(answer.headers().contains_key("dpop-nonce"));
    let body = r#"{"type":"claim","code":"1"}"#;
    let bad = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    for (name, value) in bad {
        let claims = phone.claims(&Method::POST, path, body);
        let proof = phone.paired.key.sign(fido_relay_proto::device::PULL_TYP, &claims).unwrap();
        let request = http()
            .post(format!("{}{path}", relay.url()))
            .header("Authorization", format!("DPoP {proof}"))
            .header(name, value);
        let request = if name == "content-type" {
            request
        } else {
            request.header("content-type", "application/json")
        };
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{name}");
        assert!(answer.headers().contains_key("dpop-nonce"), "{name}");
    }
    // Two proofs are none, and another scheme is none.
    let claims = phone.claims(&Method::GET, LOOK, "");
    let proof = phone.paired.key.sign(fido_relay_proto::device::PULL_TYP, &claims).unwrap();
    let url = format!("{}{LOOK}", relay.url());
    let other = http().get(&url).bearer_auth(&proof).send().await.unwrap();
    assert_eq!(other.status(), 401);
    assert_eq!(http().get(&url).bearer_auth(&initiator.key).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_look_has_the_query_that_it_has() {
    let relay = relay().await;
    let phone = phone(&relay, &relay.initiator().await, "ada").await;
    let id = "cer_AAAAAAAAAAAAAAAAAAAAAA";
    let seventeen = [id; 17].join(",");
    for query in [
        "wait=x".to_owned(),
        "wait=-1".to_owned(),
        "shown=x".to_owned(),
        format!("shown={id},"),
        format!("shown={seventeen}"),
        format!("since={}", "a".repeat(65)),
        "more=1".to_owned(),
    ] {
        let answer = phone.send(&Method::GET, &format!("{LOOK}?{query}"), "").await;
        assert_eq!(answer.status(), 400, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().starts_with("query"), "{problem}");
    }
    let sixteen = [id; 16].join(",");
    let pulled = phone.pull(&format!("wait=99&since=none&shown={sixteen}")).await;
    assert_eq!(pulled.frames.len(), 16, "what is of nobody is taken down: {pulled:?}");
}
