//! `fido-relay doctor` and push services: a credential that is taken is shown as good without waking
//! anything, and each that is not with its own remedy.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::far::{Answer, Far};
use super::scene::{Scene, TOPIC};
use crate::support::authority::put;
use crate::support::child::{fido_relay, run};

async fn doctor(scene: &Scene, apns: &Far, fcm: &Far) -> String {
    let file = |name: &str| scene.path().join(name).display().to_string();
    let mut doctor = fido_relay(&["doctor"]);
    doctor.current_dir(scene.path()).env_clear();
    doctor
        .env("FIDO_RELAY_LISTEN", "127.0.0.1:0")
        .env("FIDO_RELAY_PUSH__CA_FILE", file("ca.pem"))
        .env("FIDO_RELAY_PUSH__WEBPUSH__KEY_FILE", file("vapid.pem"))
        .env("FIDO_RELAY_PUSH__WEBPUSH__CONTACT", "mailto:ops@example.com")
        .env("FIDO_RELAY_PUSH__FCM__SERVICE_ACCOUNTS", file("account.json"))
        .env("FIDO_RELAY_PUSH__FCM__URL", &fcm.url)
        .env("FIDO_RELAY_PUSH__APNS__KEY_FILE", file("key.p8"))
        .env("FIDO_RELAY_PUSH__APNS__KEY_ID", "KEY4567890")
        .env("FIDO_RELAY_PUSH__APNS__TEAM_ID", "TEAM567890")
        .env("FIDO_RELAY_PUSH__APNS__TOPICS", TOPIC)
        .env("FIDO_RELAY_PUSH__APNS__URL", &apns.url);
    run(&mut doctor).await.out
}

fn close(scene: &Scene) {
    for name in ["vapid.pem", "account.json", "key.p8"] {
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(scene.path().join(name), mode).unwrap();
    }
}

fn bad_token() -> Answer {
    Answer::json(400, &json!({ "reason": "BadDeviceToken" }))
}

fn bad_argument() -> Answer {
    let details = json!([{ "errorCode": "INVALID_ARGUMENT" }]);
    Answer::json(400, &json!({ "error": { "details": details } }))
}

#[tokio::test]
async fn credentials_that_are_taken_are_good_and_nothing_is_woken() {
    let scene = Scene::new();
    let (apns, fcm) = (Far::start(&scene.authority).await, Far::start(&scene.authority).await);
    scene.fcm(&fcm);
    put(scene.path(), "vapid.pem", &scene.ec.serialize_pem());
    close(&scene);
    apns.usually(bad_token());
    fcm.usually(bad_argument());
    let text = doctor(&scene, &apns, &fcm).await;
    assert!(!text.contains("WRONG"), "{text}");
    assert_eq!(text.matches("ok       push: ").count(), 3, "{text}");
    assert!(text.contains("applicationServerKey is B"), "{text}");
    let sends = fcm.at("/v1/projects/");
    assert_eq!(sends[0].json()["validate_only"], true);
    assert_eq!(sends.len(), 1);
    assert!(apns.received()[0].path.ends_with(&"0".repeat(64)));

    let mode = std::fs::Permissions::from_mode(0o604);
    std::fs::set_permissions(scene.path().join("key.p8"), mode).unwrap();
    let text = doctor(&scene, &apns, &fcm).await;
    assert!(text.contains("WRONG    push: every user can access "), "{text}");
}

#[tokio::test]
async fn each_credential_that_is_not_taken_has_its_own_remedy() {
    let scene = Scene::new();
    let (apns, fcm) = (Far::start(&scene.authority).await, Far::start(&scene.authority).await);
    scene.fcm(&fcm);
    put(scene.path(), "vapid.pem", &scene.ec.serialize_pem());
    close(&scene);
    let reason = |status, reason: &str| Answer::json(status, &json!({ "reason": reason }));
    for (answer, found, remedy) in [
        (reason(403, "InvalidProviderToken"), "InvalidProviderToken", "push.apns.key_id"),
        (reason(403, "BadEnvironmentKeyIdInToken"), "BadEnvironment", "push.apns.url"),
        (reason(400, "TopicDisallowed"), "TopicDisallowed", "correct push.apns.topics"),
        (reason(503, "ServiceUnavailable"), "ServiceUnavailable", "status page"),
        (Answer::Cut, "the connection broke off", "let this machine reach"),
        (reason(404, "BadPath"), "BadPath", "look at push.fcm.url"),
    ] {
        apns.usually(answer);
        fcm.usually(bad_argument());
        let text = doctor(&scene, &apns, &fcm).await;
        let (_, wrong) = text.split_once("WRONG    push: APNs").expect(&text);
        let mut lines = wrong.lines();
        assert!(lines.next().unwrap().contains(found), "{found} is not in {text}");
        assert!(lines.next().unwrap().contains(remedy), "{remedy} is not in {text}");
    }
    apns.usually(bad_token());
    for (status, remedy) in [(403, "enable the Firebase Cloud Messaging API"), (503, "status page")]
    {
        fcm.usually(Answer::status(status));
        fcm.next([Answer::status(status)]);
        let text = doctor(&scene, &apns, &fcm).await;
        assert!(text.contains("WRONG    push: FCM does not let project"), "{text}");
        assert!(text.contains(remedy), "{text}");
    }
    fcm.next_token(Answer::json(400, &json!({ "error": "invalid_grant" })));
    let text = doctor(&scene, &apns, &fcm).await;
    assert!(
        text.contains("gives no access token for project example-bank: invalid_grant"),
        "{text}"
    );
    assert!(text.contains("make a new key for the service account"), "{text}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_its_key_and_repeats_nothing() {
    let scene = Scene::new();
    let (apns, fcm) = (Far::start(&scene.authority).await, Far::start(&scene.authority).await);
    scene.fcm(&fcm);
    put(scene.path(), "vapid.pem", &scene.rsa.serialize_pem());
    close(&scene);
    let text = doctor(&scene, &apns, &fcm).await;
    assert!(text.contains("WRONG    push: push.webpush.key_file: "), "{text}");
    assert!(text.contains("holds no private key of the curve P-256"), "{text}");
    put(scene.path(), "vapid.pem", &scene.ec.serialize_pem());
    for (file, key, remedy) in [
        ("account.json", "push.fcm.service_accounts", "as JSON again"),
        ("key.p8", "push.apns.key_file", "the .p8 file as Apple gave it"),
    ] {
        let before = std::fs::read_to_string(scene.path().join(file)).unwrap();
        put(scene.path(), file, "canary-secret");
        let text = doctor(&scene, &apns, &fcm).await;
        assert!(text.contains(&format!("WRONG    push: {key}: ")), "{text}");
        assert!(text.contains(remedy), "{text}");
        assert!(!text.contains("canary-secret"), "{text}");
        put(scene.path(), file, &before);
    }
    assert_eq!((apns.received().len(), fcm.received().len()), (0, 0));
}
