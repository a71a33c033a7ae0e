//! `Idempotency-Key`: a backend that is not sure whether its open arrived sends it again.

use std::collections::HashSet;

use fido_relay_proto::http::OpenedCeremony;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::fixture::Fixture;
use crate::support::relay::Initiator;

async fn open(initiator: &Initiator, key: &str, body: &Value) -> Response {
    let request = initiator.http.post(format!("{}/v1/ceremonies", initiator.url));
    let request = request.bearer_auth(&initiator.key).header("Idempotency-Key", key).json(body);
    request.send().await.unwrap()
}

async fn opened(initiator: &Initiator, key: &str, body: &Value) -> OpenedCeremony {
    let response = open(initiator, key, body).await;
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let opened: OpenedCeremony = response.json().await.unwrap();
    assert_eq!(location, format!("/v1/ceremonies/{}", opened.id));
    opened
}

fn order(username: &str) -> Value {
    json!({ "type": "authentication", "username": username })
}

#[tokio::test]
async fn the_same_order_again_is_the_same_ceremony_with_its_code_and_ticket() {
    let fixture = Fixture::new().await;
    let first = opened(&fixture.initiator, "order-1", &order("bob")).await;
    for _ in 0..3 {
        let again = opened(&fixture.initiator, "order-1", &order("bob")).await;
        assert_eq!(again.id, first.id);
        assert_eq!(again.code, first.code);
        assert_eq!(again.ticket, first.ticket);
    }
    let other = opened(&fixture.initiator, "order-2", &order("bob")).await;
    assert_ne!(other.id, first.id);
    // Also when it has long ended: the answer is its present state, and nothing opens anew.
    let path = format!("/v1/ceremonies/{}", first.id);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 200);
    let ended = opened(&fixture.initiator, "order-1", &order("bob")).await;
    assert_eq!((ended.id, ended.code), (first.id, None));
    assert_eq!(serde_json::to_value(ended.status).unwrap(), "cancelled");
}

#[tokio::test]
async fn the_same_key_with_any_other_body_is_refused_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let first = opened(&fixture.initiator, "order-1", &order("bob")).await;
    let mut longer = order("bob");
    longer["timeout_s"] = json!(60);
    for body in [order("eve"), longer] {
        let response = open(&fixture.initiator, "order-1", &body).await;
        assert_eq!(response.status(), 422);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "idempotency_mismatch");
    }
    let again = opened(&fixture.initiator, "order-1", &order("bob")).await;
    assert_eq!((again.id, again.code), (first.id, first.code));
}

#[tokio::test]
async fn fifty_at_once_open_one_ceremony() {
    let fixture = Fixture::new().await;
    let body = order("bob");
    let all = (0..50).map(|_| opened(&fixture.initiator, "storm", &body));
    let all = futures::future::join_all(all).await;
    let different: HashSet<_> =
        all.iter().map(|one| (one.id, one.code.clone(), one.ticket.clone())).collect();
    assert_eq!(different.len(), 1, "{different:?}");
}

#[tokio::test]
async fn another_clients_key_of_the_same_name_is_another() {
    let fixture = Fixture::new().await;
    let other = fixture.relay.initiator().await;
    let mine = opened(&fixture.initiator, "order-1", &order("bob")).await;
    let theirs = opened(&other, "order-1", &order("eve")).await;
    assert_ne!(mine.id, theirs.id);
    assert_eq!(fixture.initiator.get(&format!("/v1/ceremonies/{}", theirs.id)).await.status(), 404);
}

/// A crash between the key and the ceremony must not leave a key that opens nothing.
#[tokio::test]
async fn the_key_outlives_a_restart() {
    let fixture = Fixture::new().await;
    let first = opened(&fixture.initiator, "order-1", &order("bob")).await;
    let Fixture { relay, initiator, upstream: _upstream, .. } = fixture;
    let _relay = relay.restart().await;
    let again = opened(&initiator, "order-1", &order("bob")).await;
    assert_eq!((again.id, again.code, again.ticket), (first.id, first.code, first.ticket));
}
