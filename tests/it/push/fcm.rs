//! FCM HTTP v1 over real TLS: the grant, the message, and what each of its error codes comes to.

use axum::http::Version;
use fido_relay::backends::push::{FcmSettings, PushSettings, PushSettingsError};
use fido_relay::ports::{Push as _, PushFailure};
use fido_relay_proto::http::PushService;
use jsonwebtoken::Algorithm;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::far::{Answer, Far, Received};
use super::scene::{PROJECT, START, Scene, TEXT, WAKE, claims, fcm_target, sent, target};

fn error(status: u16, code: &str) -> Answer {
    let details = json!([
        { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [] },
        { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code },
    ]);
    Answer::json(
        status,
        &json!({ "error": { "code": status, "message": "m", "details": details } }),
    )
}

fn sends(far: &Far) -> Vec<Received> {
    far.at("/v1/projects/")
}

/// The assertion that asked for an access token.
fn assertion(received: &Received, key: &KeyPair) -> Value {
    assert_eq!(received.header("content-type"), "application/x-www-form-urlencoded");
    let form: Vec<_> = url::form_urlencoded::parse(&received.body).into_owned().collect();
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!((form[0].0.as_str(), form[1].0.as_str()), ("grant_type", "assertion"));
    let (claims, header) = claims(&form[1].1, Algorithm::RS256, key);
    assert_eq!(header["kid"], "key-1");
    claims
}

#[tokio::test]
async fn google_is_sent_what_it_documents_with_a_token_of_the_service_account() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_fcm(&far).await;
    sent(&services, fcm_target(), 90).await.unwrap();
    sent(&services, fcm_target(), 90).await.unwrap();
    let granted = far.at("/token");
    assert_eq!(granted.len(), 1, "one token for all calls");
    let expected = json!({
        "iss": format!("relay@{PROJECT}.iam.gserviceaccount.com"),
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": format!("{}/token", far.url),
        "iat": START,
        "exp": START + 3_600,
    });
    assert_eq!(assertion(&granted[0], &scene.rsa), expected);
    let received = &sends(&far)[0];
    assert_eq!(received.version, Version::HTTP_2);
    assert_eq!(received.path, format!("/v1/projects/{PROJECT}/messages:send"));
    assert_eq!(received.header("authorization"), "Bearer access-1");
    let mut message = received.json();
    let ttl = message["message"]["android"]["ttl"].take();
    assert!(["89s", "90s"].contains(&ttl.as_str().unwrap()), "{ttl}");
    let expected = json!({ "message": {
        "token": "registration:token_1",
        "notification": { "body": TEXT },
        "data": { "wake": WAKE },
        "android": {
            "priority": "HIGH",
            "ttl": null,
            "collapse_key": "fido-relay",
            "notification": { "channel_id": "sign-in" },
        },
    } });
    assert_eq!(message, expected);
}

#[tokio::test]
async fn an_access_token_is_renewed_before_its_end_and_once_where_google_does_not_take_it() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_fcm(&far).await;
    for seconds in [0, 3_299, 2] {
        scene.clock.forward(seconds);
        sent(&services, fcm_target(), 90).await.unwrap();
    }
    assert_eq!(far.at("/token").len(), 2, "five minutes before its end");
    far.next([Answer::status(401)]);
    sent(&services, fcm_target(), 90).await.unwrap();
    assert_eq!(far.at("/token").len(), 3);
    far.next([Answer::status(401), Answer::status(401)]);
    assert_eq!(sent(&services, fcm_target(), 90).await, Err(PushFailure::Refused));
    assert_eq!((far.at("/token").len(), sends(&far).len()), (4, 7));
}

#[tokio::test]
async fn each_error_code_comes_to_what_it_means() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_fcm(&far).await;
    let (gone, refused) = (Err(PushFailure::Gone), Err(PushFailure::Refused));
    for (status, code, expected) in [
        (404, "UNREGISTERED", gone),
        (403, "SENDER_ID_MISMATCH", refused),
        (400, "INVALID_ARGUMENT", refused),
        (401, "THIRD_PARTY_AUTH_ERROR", refused),
        (503, "UNAVAILABLE", Ok(())),
        (500, "INTERNAL", Ok(())),
        // Without a code that is known the status counts, and a 404 is no word about an address.
        (404, "SOMETHING_NEW", refused),
        (403, "SOMETHING_NEW", refused),
        (502, "SOMETHING_NEW", Ok(())),
    ] {
        let before = sends(&far).len();
        far.next([error(status, code)]);
        assert_eq!(sent(&services, fcm_target(), 30).await, expected, "{status} {code}");
        let calls = sends(&far).len() - before;
        assert_eq!(calls, if expected.is_ok() { 2 } else { 1 }, "{status} {code}");
    }
    // A quota names its pause, or it is a minute, which is longer than this wake lives.
    far.next([error(429, "QUOTA_EXCEEDED")]);
    assert_eq!(sent(&services, fcm_target(), 30).await, Err(PushFailure::Late));
    let Answer::Status(status, _, body) = error(429, "QUOTA_EXCEEDED") else { unreachable!() };
    far.next([Answer::Status(status, Some(1), body)]);
    assert_eq!(sent(&services, fcm_target(), 30).await, Ok(()));
    let calls = sends(&far);
    let [.., limited, taken] = &calls[..] else { panic!() };
    assert!(taken.at - limited.at >= std::time::Duration::from_secs(1), "as it asked");
    assert_eq!(far.at("/token").len(), 1);
}

#[tokio::test]
async fn an_account_that_google_refuses_is_not_a_service_that_fails() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_fcm(&far).await;
    for _ in 0..10 {
        far.next_token(Answer::json(400, &json!({ "error": "invalid_grant" })));
        assert_eq!(sent(&services, fcm_target(), 30).await, Err(PushFailure::Refused));
    }
    assert_eq!(sends(&far).len(), 0);
    far.next_token(Answer::status(503));
    assert_eq!(sent(&services, fcm_target(), 30).await, Ok(()), "tried again");
    assert_eq!(far.at("/token").len(), 12);
}

#[tokio::test]
async fn each_project_has_its_own_account_and_a_replaced_file_counts_at_once() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let fcm = scene.fcm(&far);
    scene.put_account("other.json", &far, "other-app", &scene.rsa);
    let service_accounts = vec![scene.path().join("account.json"), scene.path().join("other.json")];
    let fcm = FcmSettings { service_accounts, ..fcm };
    let services =
        scene.services(PushSettings { fcm: Some(fcm.clone()), ..scene.settings() }).await;
    let to = |app| target(PushService::Fcm, "t", Some(app), None);
    assert_eq!(services.permits(&to("other-app")), Ok(()));
    assert!(services.permits(&to("unknown")).is_err());
    assert!(services.permits(&target(PushService::Fcm, "a b", None, None)).is_err());
    let keys = target(PushService::Fcm, "t", None, Some(("A", "A")));
    assert!(services.permits(&keys).is_err());
    sent(&services, to("other-app"), 30).await.unwrap();
    sent(&services, to(PROJECT), 30).await.unwrap();
    assert_eq!(sent(&services, to("unknown"), 30).await, Err(PushFailure::Unserved));
    let paths: Vec<_> = sends(&far).into_iter().map(|one| one.path).collect();
    let path = |project: &str| format!("/v1/projects/{project}/messages:send");
    assert_eq!(paths, [path("other-app"), path(PROJECT)]);

    let next = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    scene.put_account("other.json", &far, "other-app", &next);
    sent(&services, to("other-app"), 30).await.unwrap();
    let granted = far.at("/token");
    assert_eq!(granted.len(), 3);
    assert_eq!(assertion(&granted[2], &next)["iat"], START);

    scene.put_account("other.json", &far, PROJECT, &next);
    let settings = PushSettings { fcm: Some(fcm), ..scene.settings() };
    let sender = std::sync::Arc::new(
        fido_relay::backends::webhook_http::WebhookHttp::new(Default::default()).unwrap(),
    );
    let clock = std::sync::Arc::clone(&scene.clock) as _;
    let twice = fido_relay::backends::push::PushServices::new(&settings, sender, clock).await;
    let Err(PushSettingsError::File(key, says)) = twice else { panic!() };
    assert_eq!(key, "push.fcm.service_accounts");
    assert!(says.ends_with("another file has the same project"), "{says}");
}
