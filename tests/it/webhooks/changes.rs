//! An endpoint that is changed, and one that is removed, over HTTP.

use fido_relay::ports::Bucket;
use fido_relay_proto::Binding;
use fido_relay_proto::http::Scope;
use fido_relay_proto::webhook::WebhookView;
use serde_json::{Value, json};

use super::receiver::{Dies, Receiver};
use super::{close_one, register};
use crate::support::relay::{Initiator, TestRelay};

async fn patch(initiator: &Initiator, id: &str, body: &Value) -> reqwest::Response {
    let url = format!("{}/v1/webhooks/{id}", initiator.url);
    let request = initiator.http.patch(url).bearer_auth(&initiator.key).json(body);
    request.send().await.unwrap()
}

/// Records of webhooks that the store has.
async fn records(relay: &TestRelay) -> usize {
    let mut records = 0;
    for bucket in [Bucket::Webhooks, Bucket::Outbox, Bucket::Delivered] {
        records += relay.running.relay().dependencies().store.list(bucket, "").await.unwrap().len();
    }
    records
}

#[tokio::test]
async fn a_changed_endpoint_is_told_at_its_new_place_what_waits_and_what_comes() {
    let receiver = Receiver::start().await;
    receiver.answers(503);
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let made = register(&initiator, &json!({ "url": receiver.url() })).await;
    close_one(&initiator).await;
    receiver.until(1).await;
    receiver.answers(204);
    let url = receiver.url().replace("/hook", "/new");
    let order = json!({ "url": url, "events": ["ceremony.closed", "user.not_me"] });
    let id = made.webhook.id.to_string();
    for _ in 0..2 {
        let response = patch(&initiator, &id, &order).await;
        assert_eq!(response.status(), 200);
        let changed: WebhookView = response.json().await.unwrap();
        assert_eq!((&changed.url, changed.events.len()), (&url, 2));
        assert_eq!((changed.keys, changed.created_at), {
            let before = made.webhook.clone();
            (before.keys, before.created_at)
        });
    }
    close_one(&initiator).await;
    let moved = receiver.until_those(2, |received| received.path == "/new").await;
    assert_ne!(moved[0].header("webhook-id"), moved[1].header("webhook-id"));
}

#[tokio::test]
async fn a_change_is_refused_by_the_rules_of_registering() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let url = receiver.url();
    let made = register(&initiator, &json!({ "url": url })).await;
    let id = made.webhook.id.to_string();
    for (body, status, detail) in [
        (json!({}), 422, "/url, /events: give at least one"),
        (json!({ "url": "https://example.com/" }), 422, "webhooks.allowed_hosts"),
        (json!({ "url": url.replace("https", "http") }), 422, "must be https"),
        (json!({ "url": "https://user@localhost/" }), 422, "normal form"),
        (json!({ "events": [] }), 422, "at least one"),
        (json!({ "events": ["user.not_me", "user.not_me"] }), 422, "none twice"),
        (json!({ "events": ["ceremony.opened"] }), 400, "/events/0: one of ceremony.closed, "),
        (json!({ "schemes": ["v1"] }), 400, "unknown field; known: url, events"),
    ] {
        let response = patch(&initiator, &id, &body).await;
        assert_eq!(response.status(), status, "{body}");
        let problem: Value = response.json().await.unwrap();
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{body}: {told}");
    }
    let few = relay.initiator_with(vec![Scope::WebhookAdmin], vec![Binding::Code]).await;
    let own = register(&few, &json!({ "url": url })).await.webhook.id.to_string();
    let devices = patch(&few, &own, &json!({ "events": ["device.paired"] })).await;
    assert_eq!(devices.status(), 403, "devices are told to who may list them");
    let unchanged: WebhookView =
        initiator.get(&format!("/v1/webhooks/{id}")).await.json().await.unwrap();
    assert_eq!(unchanged, made.webhook);
}

#[tokio::test]
async fn a_deleted_endpoint_leaves_no_record_not_even_of_a_delivery_under_way() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let made = register(&initiator, &json!({ "url": receiver.url() })).await;
    close_one(&initiator).await;
    receiver.until(1).await;
    // The next two are taken and never answered: they are under way for the sender's ten seconds.
    receiver.dies([Dies::Never, Dies::Never]);
    close_one(&initiator).await;
    close_one(&initiator).await;
    receiver.until(3).await;
    assert!(records(&relay).await >= 3);
    let path = format!("/v1/webhooks/{}", made.webhook.id);
    assert_eq!(initiator.delete(&path).await.status(), 204);
    assert_eq!(records(&relay).await, 0);
    assert_eq!(initiator.delete(&path).await.status(), 404);
    close_one(&initiator).await;
    let relay = relay.restart().await;
    assert_eq!(records(&relay).await, 0);
    assert_eq!(relay.running.app().webhooks.as_ref().unwrap().figures().waiting, 0);
    assert_eq!(receiver.received().len(), 3, "nothing was sent to it again");
}
