//! What push services learn: every byte that leaves the relay for each of the three while a ceremony
//! full of recognisable words wakes a user's devices. None of the words may be among them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fido_relay_proto::DeviceId;
use fido_relay_proto::http::{PushService, PushTarget};
use serde_json::json;

use super::far::{Far, Received};
use super::scene::{PROJECT, Scene, TEXT, apns_target, fcm_target, target};
use super::webpush::{AUTH, POINT};
use crate::support::actions::{add_device, device};
use crate::support::child::ChildProcess;
use crate::support::needs;
use crate::support::relay::TestRelay;

const USER: &str = "canary-user@harbour.example";

async fn pair(relay: &TestRelay, push: PushTarget) -> DeviceId {
    let mut device = device(USER);
    device.push = Some(push);
    add_device(&*relay.running.relay().dependencies().store, &device).await;
    device.id
}

#[tokio::test]
async fn no_byte_for_a_push_service_tells_of_the_ceremony() {
    let scene = Scene::new();
    let (apns, fcm) = (Far::start(&scene.authority).await, Far::start(&scene.authority).await);
    let webpush = Far::plain().await;
    let relay = TestRelay::start_with(|config| {
        config.tenant.rp_id = "canary-rp.example".to_owned();
        config.push.after = Duration::ZERO;
        scene.configure_webpush(config, &webpush);
        scene.configure_fcm(config, &fcm);
        scene.configure_apns(config, &apns);
    })
    .await;
    let python = needs::python_with("http_ece", "what a Web Push message says");
    let mut library = python.map(|python| ChildProcess::script(&python, "tests/push/decrypt.py"));
    let keys = match &mut library {
        Some(library) => Some(library.asks(&json!({})).await),
        None => None,
    };
    let key = |name: &str, other: &str| {
        keys.as_ref().map_or(other.to_owned(), |keys| keys[name].as_str().unwrap().to_owned())
    };
    let (point, auth) = (key("p256dh", POINT), key("auth", AUTH));
    let endpoint = format!("{}/endpoint", webpush.url);
    let to = target(PushService::Webpush, &endpoint, None, Some((&point, &auth)));
    let mut words = vec![USER.to_owned(), "canary".to_owned(), "harbour".to_owned()];
    for push in [to, apns_target(), fcm_target()] {
        words.push(pair(&relay, push).await.to_string());
    }
    let initiator = relay.initiator().await;
    let order = json!({
        "type": "approval", "username": USER, "message": "Canary-message",
        "transaction": {
            "title": "Canary-title",
            "fields": [{ "label": "Canary-label", "value": "Canary-value" }],
        },
        "context": { "ip": "203.0.113.77", "location": "Canary-place" },
    });
    let opened = initiator.open(&order).await;
    words.extend(["203.0.113.77", "Example Bank", &opened.id.to_string()].map(str::to_owned));
    let far_ends = [Arc::new(apns), Arc::new(fcm), Arc::new(webpush)];
    let mut all: Vec<Received> = Vec::new();
    for (far, requests) in far_ends.iter().zip([1, 2, 1]) {
        all.extend(far.until(requests).await);
    }
    assert_eq!(all.len(), 4);
    let mut bytes: Vec<String> = all.iter().map(Received::every_byte).collect();
    if let Some(library) = &mut library {
        let body = STANDARD.encode(&far_ends[2].received()[0].body);
        let text =
            library.asks(&json!({ "body": body })).await["text"].as_str().unwrap().to_owned();
        assert!(text.contains(TEXT));
        bytes.push(text);
    }
    assert!(bytes.iter().any(|text| text.contains(PROJECT) && text.contains(TEXT)), "it is read");
    for text in &bytes {
        let text = text.to_lowercase();
        for word in &words {
            assert!(!text.contains(&word.to_lowercase()), "{word} is in {text}");
        }
    }
}
