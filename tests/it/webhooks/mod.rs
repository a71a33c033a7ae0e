//! Webhooks from end to end: a relay, a backend's endpoint over https, and the official library
//! of Standard Webhooks on the receiving side.

mod changes;
mod cuts;
pub(crate) mod receiver;

use fido_relay::ports::Bucket;
use fido_relay_proto::http::Scope;
use fido_relay_proto::webhook::{CreatedWebhook, DeliveryList, TestedWebhook, WebhookList};
use fido_relay_proto::{Binding, CeremonyId};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::child::run_with;
use crate::support::metric_samples::MetricSamples;
use crate::support::needs;
use crate::support::relay::{Initiator, TestRelay};
use receiver::{Received, Receiver};

pub(crate) async fn register(initiator: &Initiator, body: &Value) -> CreatedWebhook {
    let response = initiator.post("/v1/webhooks", body).await;
    assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    response.json().await.unwrap()
}

/// Opens a ceremony and cancels it.
async fn close_one(initiator: &Initiator) -> CeremonyId {
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let cancelled = initiator.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    assert!(cancelled.status().is_success());
    opened.id
}

async fn dead_or_waiting(initiator: &Initiator, made: &CreatedWebhook) -> DeliveryList {
    let path = format!("/v1/webhooks/{}/deliveries", made.webhook.id);
    initiator.get(&path).await.json().await.unwrap()
}

/// What the official library in Python parsed out of what arrived.
async fn officially_verified(
    python: &std::path::Path,
    made: &CreatedWebhook,
    received: &Received,
) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/webhooks/verify.py");
    let public_key = made.webhook.keys.iter().find_map(|key| key.public_key.clone());
    let line = json!({
        "secret": made.secret,
        "public_key": public_key,
        "headers": received.headers,
        "body": received.body,
    });
    run_with(Command::new(python).arg(script), &format!("{line}\n")).await.json()
}

#[tokio::test]
async fn the_official_library_takes_what_a_backend_is_sent_over_https() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let order = json!({ "url": receiver.url(), "schemes": ["v1a", "v1"] });
    let made = register(&initiator, &order).await;
    assert!(made.secret.as_ref().unwrap().starts_with("whsec_"));
    let ceremony = close_one(&initiator).await;
    let received = receiver.until(1).await.remove(0);
    assert_eq!(received.path, "/hook");
    let expected =
        json!({ "id": ceremony, "type": "authentication", "outcome": "cancelled", "seq": 60 });
    assert_eq!(received.json()["type"], "ceremony.closed");
    assert_eq!(received.json()["data"], expected);

    let webhook = standardwebhooks::Webhook::new(made.secret.as_ref().unwrap()).unwrap();
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, received.header(name).parse().unwrap());
    }
    webhook.verify(received.body.as_bytes(), &headers).unwrap();
    let what = "the official standardwebhooks library in Python";
    let Some(python) = needs::python_with("standardwebhooks", what) else { return };
    let parsed = officially_verified(&python, &made, &received).await;
    assert_eq!(parsed, received.json());
}

#[tokio::test]
async fn a_relay_that_restarts_before_the_endpoint_is_well_delivers_afterwards() {
    let receiver = Receiver::start().await;
    receiver.answers(503);
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let made = register(&initiator, &json!({ "url": receiver.url() })).await;
    close_one(&initiator).await;
    receiver.until(1).await;
    let relay = relay.restart().await;
    receiver.answers(200);
    let received = receiver.until(2).await;
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(received[0].body, received[1].body);
    while relay.running.app().webhooks.as_ref().unwrap().figures().delivered == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(dead_or_waiting(&initiator, &made).await.deliveries, []);
}

#[tokio::test]
async fn another_clients_webhook_is_not_found_and_nothing_tells_it_from_none() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let (owner, other) = (relay.initiator().await, relay.initiator().await);
    let made = register(&owner, &json!({ "url": receiver.url() })).await;
    let (foreign, none) = (made.webhook.id.to_string(), "whk_AAAAAAAAAAAAAAAAAAAAAA");
    let event = "msg_AAAAAAAAAAAAAAAAAAAAAA";
    for (method, path, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(json!({ "events": ["user.not_me"] }))),
        ("DELETE", "", None),
        ("POST", "/secrets", Some(json!({ "scheme": "v1" }))),
        ("POST", "/enable", None),
        ("POST", "/test", None),
        ("GET", "/deliveries?state=dead", None),
        ("POST", &format!("/deliveries/{event}/resend"), None),
    ] {
        let mut said = Vec::new();
        for id in [foreign.as_str(), none, "nonsense"] {
            let url = format!("{}/v1/webhooks/{id}{path}", other.url);
            let request = other.http.request(method.parse().unwrap(), url).bearer_auth(&other.key);
            let request = body.iter().fold(request, reqwest::RequestBuilder::json);
            let response = request.send().await.unwrap();
            said.push((response.status().as_u16(), response.bytes().await.unwrap()));
        }
        assert_eq!(said[0].0, 404, "{method} {path}");
        assert!(said.iter().all(|one| *one == said[0]), "{method} {path}");
    }
    let list: WebhookList = other.get("/v1/webhooks").await.json().await.unwrap();
    assert_eq!(list.webhooks, []);
    let list: WebhookList = owner.get("/v1/webhooks").await.json().await.unwrap();
    assert_eq!(list.webhooks, std::slice::from_ref(&made.webhook), "nothing of this did anything");
    close_one(&other).await;
    close_one(&owner).await;
    receiver.until(1).await;
    assert_eq!(receiver.received().len(), 1, "each is told of its own ceremonies alone");
}

#[tokio::test]
async fn what_may_not_be_registered_is_refused_with_its_reason() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let url = receiver.url();
    for (body, status, detail) in [
        (json!({ "url": "https://example.com/" }), 422, "webhooks.allowed_hosts"),
        (json!({ "url": url.replace("https", "http") }), 422, "must be https"),
        (json!({ "url": "https://localhost/" , "events": [] }), 422, "at least one"),
        (json!({ "url": url, "schemes": ["v1", "v1"] }), 422, "none twice"),
        (json!({ "url": "https://localhost:1/" }), 422, "port"),
        (json!({ "url": "https://user@localhost/" }), 422, "normal form"),
        (
            json!({ "url": url, "events": ["ceremony.opened"] }),
            400,
            "/events/0: one of ceremony.closed, ",
        ),
        (json!({ "url": url, "secret": "mine" }), 400, "unknown field; known: url, "),
    ] {
        let response = initiator.post("/v1/webhooks", &body).await;
        assert_eq!(response.status(), status, "{body}");
        let problem: Value = response.json().await.unwrap();
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{body}: {told}");
    }
    let few = vec![Scope::WebhookAdmin];
    let without = relay.initiator_with(few, vec![Binding::Code]).await;
    let order = json!({ "url": url, "events": ["device.paired"] });
    let refused = without.post("/v1/webhooks", &order).await;
    assert_eq!(refused.status(), 403, "devices are told to who may list them");
    for _ in 0..fido_relay::app::webhooks::ENDPOINTS {
        register(&initiator, &json!({ "url": url })).await;
    }
    let response = initiator.post("/v1/webhooks", &json!({ "url": url })).await;
    assert_eq!(response.status(), 422);
}

#[tokio::test]
async fn a_test_tells_whether_an_endpoint_would_be_reached() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let distrusting = TestRelay::start_with(|config| receiver.allow_distrusted(config)).await;
    let walled = TestRelay::start_with(|config| {
        receiver.allow(config);
        config.webhooks.allowed_networks.clear();
    })
    .await;
    for (relay, status, expected) in [
        (&relay, 200, json!({ "delivered": true, "status": 200 })),
        (&relay, 500, json!({ "delivered": false, "status": 500, "failure": "status" })),
        (&relay, 307, json!({ "delivered": false, "status": 307, "failure": "status" })),
        (&distrusting, 200, json!({ "delivered": false, "failure": "unreachable" })),
        (&walled, 200, json!({ "delivered": false, "failure": "forbidden" })),
    ] {
        receiver.answers(status);
        let before = receiver.received().len();
        let initiator = relay.initiator().await;
        let made = register(&initiator, &json!({ "url": receiver.url() })).await;
        let path = format!("/v1/webhooks/{}/test", made.webhook.id);
        let tested: TestedWebhook = initiator.post(&path, &json!({})).await.json().await.unwrap();
        assert_eq!(serde_json::to_value(tested).unwrap(), expected);
        let arrived = receiver.received().len() - before;
        assert_eq!(arrived, usize::from(expected.get("status").is_some()));
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_lies_nowhere_readable() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let order = json!({ "url": receiver.url(), "schemes": ["v1"] });
    let made = register(&initiator, &order).await;
    let secret = made.secret.clone().unwrap();
    let path = format!("/v1/webhooks/{}", made.webhook.id);
    let rotated = initiator.post(&format!("{path}/secrets"), &json!({ "scheme": "v1" })).await;
    let rotated: CreatedWebhook = rotated.json().await.unwrap();
    assert_ne!(rotated.secret.as_ref(), Some(&secret));
    assert!(rotated.webhook.keys[0].ends_at.is_some());
    let shown = initiator.get(&path).await.text().await.unwrap();
    let listed = initiator.get("/v1/webhooks").await.text().await.unwrap();
    let world = relay.running.relay().dependencies();
    let mut stored = String::new();
    for (_, record) in world.store.list(Bucket::Webhooks, "").await.unwrap() {
        stored.push_str(&String::from_utf8(record.value).unwrap());
    }
    assert!(stored.contains(&receiver.url()));
    for secret in [secret, rotated.secret.clone().unwrap()] {
        let bare = secret.strip_prefix("whsec_").unwrap();
        for text in [&shown, &listed, &stored, &format!("{made:?}{rotated:?}")] {
            assert!(!text.contains(bare));
        }
    }
}

#[tokio::test]
async fn the_figures_tell_how_deliveries_fare() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| {
        receiver.allow(config);
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let initiator = relay.initiator().await;
    register(&initiator, &json!({ "url": receiver.url() })).await;
    close_one(&initiator).await;
    receiver.until(1).await;
    receiver.answers(503);
    close_one(&initiator).await;
    receiver.until(2).await;
    while relay.running.app().webhooks.as_ref().unwrap().figures().failed == 0 {
        tokio::task::yield_now().await;
    }
    let url = format!("http://{}/metrics", relay.running.admin_address().unwrap());
    let text = initiator.http.get(url).send().await.unwrap().text().await.unwrap();
    let figures = MetricSamples::read(&text);
    let figure = |name: &str| figures.sum(&format!("fido_relay_{name}"), &[]);
    assert_eq!(figure("webhooks_delivered_total"), 1.0);
    // A retry may have come before this look: its pause is drawn from zero on.
    assert!(figure("webhook_failures_total") >= 1.0);
    assert_eq!(figure("webhooks_dead_total"), 0.0);
    assert_eq!(figure("webhooks_waiting"), 1.0);
    assert_eq!(figure("webhook_circuits_open"), 0.0);
    assert!(figure("webhooks_overdue_seconds") < 60.0);
}
