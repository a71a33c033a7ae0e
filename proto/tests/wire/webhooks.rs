//! Webhooks as they go over the wire: what an initiator manages them by, and what is sent.

use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, DeliveryState, DeliveryView,
    RotateWebhook, TestedWebhook, WebhookBody, WebhookEvent, WebhookFailure, WebhookKeyView,
    WebhookNews, WebhookScheme, WebhookState, WebhookView,
};
use fido_relay_proto::{CeremonyType, EventId, Outcome, Reason, WebhookId};
use insta::assert_snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::samples::{CARD, CEREMONY, DEVICE, text};

const WEBHOOK: WebhookId = WebhookId::from_bytes([0x55; 16]);
const EVENT: EventId = EventId::from_bytes([0x66; 16]);
const AT: &str = "2026-01-31T12:00:00.000Z";

fn wire<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &T) -> String {
    let json = serde_json::to_string(body).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), body);
    json
}

fn created() -> CreatedWebhook {
    CreatedWebhook {
        webhook: WebhookView {
            id: WEBHOOK,
            url: "https://shop.example/hooks".to_owned(),
            events: WebhookEvent::ALL.to_vec(),
            state: WebhookState::Gone,
            keys: vec![WebhookKeyView {
                scheme: WebhookScheme::V1a,
                public_key: Some("whpk_AAAA".to_owned()),
                created_at: AT.to_owned(),
                ends_at: Some(AT.to_owned()),
            }],
            created_at: AT.to_owned(),
        },
        secret: Some("whsec_canary".to_owned()),
    }
}

#[test]
fn the_management_of_webhooks_has_not_changed() {
    assert_snapshot!(wire(&created()), @r#"{"id":"whk_VVVVVVVVVVVVVVVVVVVVVQ","url":"https://shop.example/hooks","events":["ceremony.closed","device.paired","device.revoked","card.registered","card.removed","card.clone_suspected","user.not_me"],"state":"gone","keys":[{"scheme":"v1a","public_key":"whpk_AAAA","created_at":"2026-01-31T12:00:00.000Z","ends_at":"2026-01-31T12:00:00.000Z"}],"created_at":"2026-01-31T12:00:00.000Z","secret":"whsec_canary"}"#);
    let least: CreateWebhook = serde_json::from_str(r#"{"url":"https://a.example/"}"#).unwrap();
    assert_snapshot!(wire(&least), @r#"{"url":"https://a.example/","events":["ceremony.closed"],"schemes":["v1a"]}"#);
    let change: ChangeWebhook = serde_json::from_str(r#"{"events":["user.not_me"]}"#).unwrap();
    assert_snapshot!(wire(&change), @r#"{"events":["user.not_me"]}"#);
    let rotate: RotateWebhook = serde_json::from_str(r#"{"scheme":"v1"}"#).unwrap();
    assert_snapshot!(wire(&rotate), @r#"{"scheme":"v1","old_lives_s":86400}"#);
    let delivery = DeliveryView {
        id: EVENT,
        event: WebhookEvent::UserNotMe,
        at: AT.to_owned(),
        state: DeliveryState::Dead,
        attempts: 18,
        failure: Some(WebhookFailure::Status),
        status: Some(500),
    };
    let list = DeliveryList { deliveries: vec![delivery], next: Some(EVENT) };
    assert_snapshot!(wire(&list), @r#"{"deliveries":[{"id":"msg_ZmZmZmZmZmZmZmZmZmZmZg","event":"user.not_me","at":"2026-01-31T12:00:00.000Z","state":"dead","attempts":18,"failure":"status","status":500}],"next":"msg_ZmZmZmZmZmZmZmZmZmZmZg"}"#);
    let tested = TestedWebhook {
        delivered: false,
        status: None,
        failure: Some(WebhookFailure::Unreachable),
    };
    assert_snapshot!(wire(&tested), @r#"{"delivered":false,"failure":"unreachable"}"#);
}

#[test]
fn what_is_sent_has_not_changed() {
    let body = |news| wire(&WebhookBody { news, timestamp: AT.to_owned() });
    let closed = WebhookNews::CeremonyClosed {
        id: CEREMONY,
        ceremony_type: CeremonyType::Approval,
        outcome: Outcome::Failed,
        reason: Some(Reason::PinFailed),
        seq: 7,
    };
    assert_snapshot!(body(closed), @r#"{"type":"ceremony.closed","data":{"id":"cer_EREREREREREREREREREREQ","type":"approval","outcome":"failed","reason":"pin_failed","seq":7},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
    let paired = WebhookNews::DevicePaired { id: DEVICE, username: text("ada") };
    assert_snapshot!(body(paired), @r#"{"type":"device.paired","data":{"id":"dev_IiIiIiIiIiIiIiIiIiIiIg","username":"ada"},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
    let revoked = WebhookNews::DeviceRevoked { id: DEVICE, username: text("ada") };
    assert_snapshot!(body(revoked), @r#"{"type":"device.revoked","data":{"id":"dev_IiIiIiIiIiIiIiIiIiIiIg","username":"ada"},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
    let registered = WebhookNews::CardRegistered { id: CARD, username: text("ada") };
    assert_snapshot!(body(registered), @r#"{"type":"card.registered","data":{"id":"ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY","username":"ada"},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
    let removed = WebhookNews::CardRemoved { id: CARD, username: text("ada") };
    assert_snapshot!(body(removed), @r#"{"type":"card.removed","data":{"id":"ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY","username":"ada"},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
    let not_me = WebhookNews::UserNotMe { id: CEREMONY, username: text("ada") };
    assert_snapshot!(body(not_me), @r#"{"type":"user.not_me","data":{"id":"cer_EREREREREREREREREREREQ","username":"ada"},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
    assert_snapshot!(body(WebhookNews::Test { id: WEBHOOK }), @r#"{"type":"webhook.test","data":{"id":"whk_VVVVVVVVVVVVVVVVVVVVVQ"},"timestamp":"2026-01-31T12:00:00.000Z"}"#);
}

#[test]
fn every_name_is_read_back_and_no_other_is() {
    for event in WebhookEvent::ALL {
        assert_eq!(event.as_str().parse(), Ok(event));
        assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
    }
    assert!("webhook.test".parse::<WebhookEvent>().is_err(), "nobody subscribes to a test");
    for (name, scheme) in [("v1a", WebhookScheme::V1a), ("v1", WebhookScheme::V1)] {
        assert_eq!(name.parse(), Ok(scheme));
        assert_eq!(serde_json::to_value(scheme).unwrap(), name);
    }
    for unknown in [r#"{"url":"u","secret":"s"}"#, r#"{"url":"u","events":["*"]}"#, "{}"] {
        assert!(serde_json::from_str::<CreateWebhook>(unknown).is_err(), "{unknown}");
    }
    assert!(!format!("{:?}", created()).contains("canary"));
}
