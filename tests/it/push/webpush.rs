//! Web Push end to end: a real push service and its subscriptions, a library that decrypts, and what
//! endpoints answer. The claims of the VAPID token are judged here, which receivers leave out.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fido_relay::ports::{Push as _, PushFailure};
use fido_relay_proto::http::{PushService, PushTarget};
use jsonwebtoken::Algorithm;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::far::{Answer, Far, Received};
use super::scene::{START, Scene, TEXT, WAKE, claims, sent, target};
use crate::support::authority::put;
use crate::support::child::ChildProcess;
use crate::support::needs;
use crate::support::relay::http;

/// Of RFC 8291 appendix A.
pub(super) const POINT: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
pub(super) const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

pub(super) fn endpoint(url: &str) -> PushTarget {
    target(PushService::Webpush, url, None, Some((POINT, AUTH)))
}

/// The token and the key of an `Authorization`, whose signature is good.
fn vapid(received: &Received, key: &KeyPair) -> (String, Value) {
    let header = received.header("authorization").strip_prefix("vapid ").unwrap();
    let (token, public) = header.split_once(", ").unwrap();
    let (token, public) = (token.strip_prefix("t=").unwrap(), public.strip_prefix("k=").unwrap());
    assert_eq!(public, URL_SAFE_NO_PAD.encode(key.der_bytes()));
    (token.to_owned(), claims(token, Algorithm::ES256, key).0)
}

#[tokio::test]
async fn a_push_service_with_subscriptions_takes_a_wake_and_its_app_reads_it() {
    let Some(node) = needs::push_receiver("a real receiver of Web Push") else { return };
    let mut service = ChildProcess::script(&node, "tests/push/receiver.mjs");
    let url = service.asks(&json!({})).await["url"].as_str().unwrap().to_owned();
    let scene = Scene::new();
    let services = scene.with_webpush().await;
    let application_server_key = URL_SAFE_NO_PAD.encode(scene.ec.der_bytes());
    let post = async |path: &str, body: Value| {
        let request = http().post(format!("{url}{path}")).json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let order =
        json!({ "userVisibleOnly": "true", "applicationServerKey": application_server_key });
    let subscribed = post("/subscribe", order).await["data"].clone();
    let text = |field: &Value| field.as_str().unwrap().to_owned();
    let keys = (text(&subscribed["keys"]["p256dh"]), text(&subscribed["keys"]["auth"]));
    let to = target(
        PushService::Webpush,
        subscribed["endpoint"].as_str().unwrap(),
        None,
        Some((&keys.0, &keys.1)),
    );
    assert_eq!(services.permits(&to), Ok(()));
    assert_eq!(sent(&services, to.clone(), 30).await, Ok(()));
    let hash = text(&subscribed["clientHash"]);
    let got = post("/get-notifications", json!({ "clientHash": hash })).await;
    let message: Value =
        serde_json::from_str(got["data"]["messages"][0].as_str().unwrap()).unwrap();
    assert_eq!(message, json!({ "wake": WAKE, "body": TEXT }));

    put(scene.path(), "key.p8", &KeyPair::generate().unwrap().serialize_pem());
    let wrong = sent(&services, to.clone(), 30).await;
    assert_eq!(wrong, Err(PushFailure::Refused), "of another application server");
    put(scene.path(), "key.p8", &format!("{}\n", scene.ec.serialize_pem()));
    let expire = http().post(format!("{url}/expire-subscription/{hash}"));
    assert_eq!(expire.send().await.unwrap().status(), 200);
    assert_eq!(sent(&services, to, 30).await, Err(PushFailure::Gone));
}

/// A subscription whose keys the library has made.
async fn decryptor(python: &Path) -> (ChildProcess, String, String) {
    let mut library = ChildProcess::script(python, "tests/push/decrypt.py");
    let keys = library.asks(&json!({})).await;
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let (point, auth) = (text("p256dh"), text("auth"));
    (library, point, auth)
}

#[tokio::test]
async fn another_library_decrypts_what_an_endpoint_is_sent() {
    let what = "http_ece, which decrypts Web Push";
    let Some(python) = needs::python_with("http_ece", what) else { return };
    let (mut library, point, auth) = decryptor(&python).await;
    let (scene, far) = (Scene::new(), Far::plain().await);
    let services = scene.with_webpush().await;
    let url = format!("{}/some/endpoint", far.url);
    let to = target(PushService::Webpush, &url, None, Some((&point, &auth)));
    sent(&services, to, 30).await.unwrap();
    let body = STANDARD.encode(&far.received()[0].body);
    let read = library.asks(&json!({ "body": body })).await;
    assert_eq!(read["length"], 16 + 4 + 1 + 65 + 512 + 16);
    let message: Value = serde_json::from_str(read["text"].as_str().unwrap()).unwrap();
    assert_eq!(message, json!({ "wake": WAKE, "body": TEXT }));
}

#[tokio::test]
async fn an_endpoint_is_sent_the_headers_of_the_rfcs_and_a_token_for_its_origin_alone() {
    let (scene, far, other) = (Scene::new(), Far::plain().await, Far::plain().await);
    let services = scene.with_webpush().await;
    sent(&services, endpoint(&format!("{}/one", far.url)), 90).await.unwrap();
    sent(&services, endpoint(&format!("{}/two?x=1", far.url)), 90).await.unwrap();
    sent(&services, endpoint(&format!("{}/three", other.url)), 90).await.unwrap();
    let received = far.received();
    let ttl: u64 = received[0].header("ttl").parse().unwrap();
    assert!((89..=90).contains(&ttl), "{ttl}");
    for (name, value) in [
        ("urgency", "high"),
        ("topic", "fido-relay"),
        ("content-encoding", "aes128gcm"),
        ("content-type", "application/octet-stream"),
    ] {
        assert_eq!(received[0].header(name), value, "{name}");
    }
    assert_ne!(received[0].body[..16], received[1].body[..16], "a salt of its own");
    let (token, said) = vapid(&received[0], &scene.ec);
    let day = 24 * 60 * 60;
    let exp = said["exp"].as_u64().unwrap();
    assert!(exp > START && exp <= START + day, "{exp}");
    assert_eq!(said["aud"], far.url, "scheme, host and port of the endpoint");
    assert_eq!(said["sub"], "mailto:ops@example.com");
    assert_eq!(vapid(&received[1], &scene.ec).0, token, "one for the origin");
    assert_eq!(vapid(&other.received()[0], &scene.ec).1["aud"], other.url);

    for (hours, is_same) in [(5, true), (2, false)] {
        scene.clock.forward(hours * 60 * 60);
        sent(&services, endpoint(&format!("{}/one", far.url)), 90).await.unwrap();
        let received = far.received();
        let (newest, said) = vapid(received.last().unwrap(), &scene.ec);
        assert_eq!(newest == token, is_same, "{hours}");
        let now = START + if is_same { 5 } else { 7 } * 60 * 60;
        assert!(said["exp"].as_u64().unwrap() > now, "good for a while still");
    }
    let next = KeyPair::generate().unwrap();
    put(scene.path(), "key.p8", &format!("{}\n", next.serialize_pem()));
    sent(&services, endpoint(&format!("{}/one", far.url)), 90).await.unwrap();
    vapid(far.received().last().unwrap(), &next);
}

#[tokio::test]
async fn each_answer_of_an_endpoint_comes_to_what_it_means() {
    let (scene, far) = (Scene::new(), Far::plain().await);
    let services = scene.with_webpush().await;
    let url = format!("{}/endpoint", far.url);
    let (gone, refused) = (Err(PushFailure::Gone), Err(PushFailure::Refused));
    for (status, expected, calls) in [
        (200, Ok(()), 1),
        (201, Ok(()), 1),
        (202, Ok(()), 1),
        (204, refused, 1),
        (301, refused, 1),
        (400, refused, 1),
        (401, refused, 1),
        (403, refused, 1),
        (404, gone, 1),
        (410, gone, 1),
        (413, refused, 1),
        (429, Ok(()), 2),
        (500, Ok(()), 2),
        (502, Ok(()), 2),
        (503, Ok(()), 2),
    ] {
        let before = far.received().len();
        far.next([Answer::status(status)]);
        assert_eq!(sent(&services, endpoint(&url), 30).await, expected, "{status}");
        assert_eq!(far.received().len() - before, calls, "{status}");
    }
}

#[tokio::test]
async fn only_a_receivers_keys_and_a_url_that_may_be_called_are_taken() {
    let scene = Scene::new();
    let services = scene.with_webpush().await;
    let to = |url: &str| endpoint(url);
    for right in ["https://push.example.com/wpush/v2/token", "http://127.0.0.1:9/x"] {
        assert_eq!(services.permits(&to(right)), Ok(()), "{right}");
    }
    for wrong in [
        "http://push.example.com/",
        "https://push.example.com:8443/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://user@push.example.com/",
        "https://PUSH.example.com/",
        "https://push.example.com/#f",
        "file:///etc/passwd",
        "nonsense",
    ] {
        assert!(services.permits(&to(wrong)).is_err(), "{wrong}");
        let refused = sent(&services, to(wrong), 9).await;
        assert_eq!(refused, Err(PushFailure::Refused), "{wrong}");
    }
    let url = "https://push.example.com/x";
    let app = target(PushService::Webpush, url, Some("app"), Some((POINT, AUTH)));
    let no_keys = target(PushService::Webpush, url, None, None);
    let off_curve = format!("{}A", &POINT[..POINT.len() - 1]);
    let wrong_point = target(PushService::Webpush, url, None, Some((&off_curve, AUTH)));
    let wrong_auth = target(PushService::Webpush, url, None, Some((POINT, "AAAA")));
    for wrong in [app, no_keys, wrong_point, wrong_auth] {
        assert!(services.permits(&wrong).is_err());
    }
}
