//! APNs over real HTTP/2 and TLS: what Apple is sent, byte for byte, and what each of its documented
//! answers comes to.

use std::sync::Arc;

use axum::http::Version;
use fido_relay::ports::{Push as _, PushFailure};
use fido_relay_proto::http::PushService;
use jsonwebtoken::Algorithm;
use rcgen::KeyPair;
use serde_json::json;

use super::far::{Answer, Far};
use super::scene::{DEVICE, START, Scene, TEXT, TOPIC, WAKE, apns_target, claims, sent, target};
use crate::support::authority::put;

fn reason(status: u16, reason: &str) -> Answer {
    Answer::json(status, &json!({ "reason": reason }))
}

#[tokio::test]
async fn apple_is_sent_what_it_documents_over_one_connection_of_http_2() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_apns(&far).await;
    sent(&services, apns_target(), 90).await.unwrap();
    let other = target(PushService::Apns, DEVICE, Some("com.example.other"), None);
    sent(&services, other, 1).await.unwrap();
    let received = far.received();
    let [first, second] = &received[..] else { panic!("{received:?}") };
    assert_eq!(first.version, Version::HTTP_2);
    assert_eq!(far.connections(), 1);
    assert_eq!(first.path, format!("/3/device/{DEVICE}"));
    assert_eq!(first.header("apns-topic"), TOPIC);
    assert_eq!(second.header("apns-topic"), "com.example.other");
    for (name, value) in [
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-collapse-id", "fido-relay"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    let until: u64 = first.header("apns-expiration").parse().unwrap();
    assert!((START + 89..=START + 90).contains(&until), "{until}");
    let expected = json!({
        "aps": {
            "alert": { "body": TEXT },
            "sound": "default",
            "mutable-content": 1,
            "interruption-level": "time-sensitive",
        },
        "wake": WAKE,
    });
    assert_eq!(first.json(), expected);
    let token = first.header("authorization").strip_prefix("bearer ").unwrap();
    let (claims, header) = claims(token, Algorithm::ES256, &scene.ec);
    assert_eq!(claims, json!({ "iss": "TEAM567890", "iat": START }));
    assert_eq!((&header["kid"], &header["alg"]), (&json!("KEY4567890"), &json!("ES256")));
}

#[tokio::test]
async fn a_provider_token_is_used_for_fifty_minutes_and_renewed_where_apple_calls_it_old() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_apns(&far).await;
    for minutes in [0, 21, 28, 2] {
        scene.clock.forward(minutes * 60);
        sent(&services, apns_target(), 90).await.unwrap();
    }
    far.next([reason(403, "ExpiredProviderToken")]);
    sent(&services, apns_target(), 90).await.unwrap();
    far.next([reason(403, "ExpiredProviderToken"), reason(403, "ExpiredProviderToken")]);
    assert_eq!(sent(&services, apns_target(), 90).await, Err(PushFailure::Refused));
    let received = far.received();
    let tokens: Vec<_> = received.iter().map(|one| one.header("authorization")).collect();
    assert_eq!(tokens[0], tokens[1]);
    assert_eq!(tokens[0], tokens[2], "49 minutes old");
    assert_ne!(tokens[2], tokens[3], "51 minutes old");
    assert_eq!(tokens[3], tokens[4]);
    assert_ne!(tokens[4], tokens[5], "called old");
    assert_eq!(tokens.len(), 8, "a second word that it is old is the last");
}

/// Every reason of "Handling notification responses from APNs".
#[tokio::test]
async fn each_documented_reason_comes_to_what_it_means() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_apns(&far).await;
    let (gone, refused) = (Err(PushFailure::Gone), Err(PushFailure::Refused));
    // `Ok`: it is tried again, and taken.
    let again = Ok(());
    let reasons = [
        (400, "BadCollapseId", refused),
        (400, "BadDeviceToken", gone),
        (400, "BadExpirationDate", refused),
        (400, "BadMessageId", refused),
        (400, "BadPriority", refused),
        (400, "BadTopic", refused),
        (400, "DeviceTokenNotForTopic", gone),
        (400, "DuplicateHeaders", refused),
        (400, "IdleTimeout", again),
        (400, "InvalidPushType", refused),
        (400, "MissingDeviceToken", refused),
        (400, "MissingTopic", refused),
        (400, "PayloadEmpty", refused),
        (400, "TopicDisallowed", refused),
        (403, "BadCertificate", refused),
        (403, "BadCertificateEnvironment", refused),
        (403, "BadEnvironmentKeyIdInToken", refused),
        (403, "ExpiredProviderToken", again),
        (403, "Forbidden", refused),
        (403, "InvalidProviderToken", refused),
        (403, "MissingProviderToken", refused),
        (403, "UnrelatedKeyIdInToken", refused),
        (404, "BadPath", refused),
        (405, "MethodNotAllowed", refused),
        (410, "ExpiredToken", gone),
        (410, "Unregistered", gone),
        (413, "PayloadTooLarge", refused),
        (429, "TooManyProviderTokenUpdates", again),
        (429, "TooManyRequests", again),
        (500, "InternalServerError", again),
        (503, "ServiceUnavailable", again),
        (503, "Shutdown", again),
        // What is not documented goes by its status.
        (410, "SomethingNew", gone),
        (400, "SomethingNew", refused),
        (502, "SomethingNew", again),
    ];
    assert!(reasons.len() >= 32);
    for (status, name, expected) in reasons {
        let before = far.received().len();
        far.next([reason(status, name)]);
        assert_eq!(sent(&services, apns_target(), 30).await, expected, "{status} {name}");
        let calls = far.received().len() - before;
        assert_eq!(calls, if expected.is_ok() { 2 } else { 1 }, "{status} {name}");
    }
    far.next([Answer::Status(418, None, "<html>".to_owned())]);
    assert_eq!(sent(&services, apns_target(), 30).await, refused);
}

#[tokio::test]
async fn a_new_key_file_counts_at_the_next_call_and_a_broken_one_changes_nothing() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_apns(&far).await;
    sent(&services, apns_target(), 30).await.unwrap();
    put(scene.path(), "key.p8", "-----BEGIN PRIVATE KEY-----\nbroken");
    sent(&services, apns_target(), 30).await.unwrap();
    std::fs::remove_file(scene.path().join("key.p8")).unwrap();
    sent(&services, apns_target(), 30).await.unwrap();
    let next = KeyPair::generate().unwrap();
    put(scene.path(), "key.p8", &format!("{}\n", next.serialize_pem()));
    sent(&services, apns_target(), 30).await.unwrap();
    let received = far.received();
    let tokens: Vec<_> = received.iter().map(|one| one.header("authorization")).collect();
    assert_eq!((tokens[0], tokens[0]), (tokens[1], tokens[2]));
    let token = tokens[3].strip_prefix("bearer ").unwrap();
    assert_eq!(claims(token, Algorithm::ES256, &next).0["iss"], "TEAM567890");
}

#[tokio::test]
async fn an_address_is_hexadecimal_of_a_topic_that_is_configured() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = Arc::new(scene.with_apns(&far).await);
    let apns = |token: &str, app| target(PushService::Apns, token, app, None);
    for right in [apns(DEVICE, None), apns(&DEVICE.to_uppercase(), Some(TOPIC)), apns("ab", None)] {
        assert_eq!(services.permits(&right), Ok(()));
    }
    let long = "a".repeat(202);
    for wrong in [
        apns("abc", None),
        apns("xy", None),
        apns("../../x", None),
        apns(&long, None),
        apns(DEVICE, Some("com.example.unknown")),
        target(PushService::Apns, DEVICE, None, Some(("AAAA", "AAAA"))),
        target(PushService::Fcm, "token", None, None),
        target(PushService::Webpush, "https://push.example.com/", None, Some(("A", "A"))),
    ] {
        assert!(services.permits(&wrong).is_err(), "{:?}", wrong.token);
    }
    let unserved = target(PushService::Apns, DEVICE, Some("com.example.unknown"), None);
    assert_eq!(sent(&services, unserved, 9).await, Err(PushFailure::Unserved));
    let none = target(PushService::Fcm, "token", None, None);
    assert_eq!(sent(&services, none, 9).await, Err(PushFailure::Unserved));
    assert_eq!(far.received().len(), 0);
}
