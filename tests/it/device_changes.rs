//! What becomes of a device after its pairing: another name, another key, a new proof each hour,
//! and news of the user's other devices.

use std::time::Duration;

use fido_relay_proto::device::{KEY_POSSESSION_TYP, KEY_ROTATION_TYP, KeyClaims, NoticeEvent};
use fido_relay_proto::http::{DeviceList, DeviceView, RotatedDeviceKey};
use fido_relay_proto::{DeviceId, RelayFrame};
use fido_relay_rig::phone::{
    self, DeviceKey, Faults, Paired, PairingError, PhoneEvent, StopReason,
};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::fixture::Fixture;
use crate::support::relay::{TestRelay, http};
use crate::support::wire_phone::WirePhone;

async fn names(fixture: &Fixture, username: &str) -> Vec<Option<String>> {
    let path = format!("/v1/users/{username}/devices");
    let list: DeviceList = fixture.initiator.get(&path).await.json().await.unwrap();
    let name = |device: DeviceView| device.name.map(|name| name.to_string());
    list.devices.into_iter().map(name).collect()
}

#[tokio::test]
async fn a_device_can_be_renamed_for_as_long_as_it_is_one() {
    let fixture = Fixture::new().await;
    let path = format!("/v1/devices/{}", fixture.ada.device_id);
    assert_eq!(names(&fixture, "ada").await, [None]);
    for name in ["Ada's old phone", "Ada's old phone", "Das Telefon im Büro"] {
        let response = fixture.initiator.patch(&path, &json!({ "name": name })).await;
        assert_eq!(response.status(), 200);
        let device: DeviceView = response.json().await.unwrap();
        assert_eq!(device.device_id, fixture.ada.device_id);
        assert_eq!(names(&fixture, "ada").await, [Some(name.to_owned())]);
    }
    for body in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": null }),
        json!({ "name": "x".repeat(65) }),
        json!({ "name": "two\nlines" }),
        json!({ "name": "ada\u{202E}" }),
        json!({ "name": "x", "platform": "ios" }),
    ] {
        let response = fixture.initiator.patch(&path, &body).await;
        assert_eq!(response.status(), 400, "{body}");
    }
    assert_eq!(names(&fixture, "ada").await, [Some("Das Telefon im Büro".to_owned())]);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    let gone = fixture.initiator.patch(&path, &json!({ "name": "Ghost" })).await;
    assert_eq!(gone.status(), 404);
    for id in ["dev_AAAAAAAAAAAAAAAAAAAAAA", "nothing"] {
        let path = format!("/v1/devices/{id}");
        let never = fixture.initiator.patch(&path, &json!({ "name": "Ghost" })).await;
        assert_eq!(never.status(), 404, "{id}");
    }
}

/// What an app posts to take another key.
struct Exchange {
    url: String,
    device_id: DeviceId,
    old: DeviceKey,
    new: DeviceKey,
    iat: i64,
}

impl Exchange {
    fn new(relay: &TestRelay, paired: &Paired, new: &DeviceKey) -> Self {
        Self {
            url: format!("{}/v1/device/key", relay.url()),
            device_id: paired.device_id,
            old: paired.key.clone(),
            new: new.clone(),
            iat: now_s(relay),
        }
    }

    fn claims(&self) -> KeyClaims {
        KeyClaims {
            aud: self.url.clone(),
            device_id: self.device_id,
            old_jkt: self.old.thumbprint(),
            new_jkt: self.new.thumbprint(),
            iat: u64::try_from(self.iat).unwrap(),
        }
    }

    fn body(&self) -> Value {
        json!({
            "new_jwk": self.new.jwk(),
            "old_proof": self.old.sign(KEY_ROTATION_TYP, &self.claims()).unwrap(),
            "new_proof": self.new.sign(KEY_POSSESSION_TYP, &self.claims()).unwrap(),
        })
    }
}

fn now_s(relay: &TestRelay) -> i64 {
    i64::try_from(relay.running.relay().dependencies().clock.now().as_secs()).unwrap()
}

#[tokio::test]
async fn the_users_other_phones_hear_that_one_was_revoked() {
    let fixture = Fixture::new().await;
    // Nothing is open for Bob.
    let paired = fixture.relay.pair(&fixture.initiator, "bob").await;
    let mut phone = WirePhone::connect(paired.clone()).await;
    let tablet = fixture.relay.pair(&fixture.initiator, "bob").await;
    assert_eq!(phone.notice().await.event, NoticeEvent::DevicePaired);
    let path = format!("/v1/devices/{}", tablet.device_id);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    let notice = phone.notice().await;
    assert_eq!(notice.event, NoticeEvent::DeviceRevoked);
    assert_eq!(notice.device_id, Some(tablet.device_id));
    // And the one that is left hears nothing of its own end, nor does the next one of what was before.
    let path = format!("/v1/devices/{}", paired.device_id);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    assert_eq!(phone.end().await.0, Some(4403));
    let next = fixture.relay.pair(&fixture.initiator, "bob").await;
    let mut next = WirePhone::connect(next).await;
    next.hears_nothing().await;
}

async fn post(relay: &TestRelay, body: &Value) -> Response {
    http().post(format!("{}/v1/device/key", relay.url())).json(body).send().await.unwrap()
}

/// The close code that this key gets for its proof, if it gets one.
async fn welcomed(paired: &Paired) -> Result<(), Option<u16>> {
    let mut socket = phone::wire::Socket::connect(&paired.socket_url).await.unwrap();
    let welcome = socket.authenticate(&paired.key, paired.device_id).await;
    welcome.map(drop).map_err(|end| end.code())
}

#[tokio::test]
async fn after_a_rotation_the_new_key_counts_and_the_old_one_authenticates_nothing() {
    let fixture = Fixture::new().await;
    let (relay, old) = (&fixture.relay, &fixture.ada);
    let key = DeviceKey::generate().unwrap();
    let new = phone::rotate_key(old, &key).await.unwrap();
    assert_eq!(new.device_id, old.device_id);
    assert_eq!(welcomed(old).await, Err(Some(4401)));
    assert_eq!(welcomed(&new).await, Ok(()));
    // The answer may have been lost: the same again gets the same, and changes nothing.
    let again = Exchange::new(relay, old, &key).body();
    for _ in 0..3 {
        let response = post(relay, &again).await;
        assert_eq!(response.status(), 200);
        let answer: RotatedDeviceKey = response.json().await.unwrap();
        assert_eq!((answer.device_id, answer.jkt), (old.device_id, key.thumbprint()));
    }
    assert_eq!(welcomed(&new).await, Ok(()));
    // The old key can rotate to no other key any more.
    let thief = DeviceKey::generate().unwrap();
    let stolen = post(relay, &Exchange::new(relay, old, &thief).body()).await;
    assert_eq!(stolen.status(), 401);
    assert_eq!(welcomed(&new).await, Ok(()));
    // It outlives a restart.
    let scene_relay = fixture.relay.restart().await;
    assert_eq!(welcomed(old).await, Err(Some(4401)));
    assert_eq!(welcomed(&new).await, Ok(()));
    drop(scene_relay);
}

#[tokio::test]
async fn a_rotation_that_was_overtaken_cannot_be_used_again() {
    let fixture = Fixture::new().await;
    let (relay, first) = (&fixture.relay, &fixture.ada);
    let key = DeviceKey::generate().unwrap();
    // First to second and back again; then the request that led to the second is repeated.
    let mut there = Exchange::new(relay, first, &key);
    there.iat -= 100;
    let there = there.body();
    assert_eq!(post(relay, &there).await.status(), 200);
    let second = Paired { key, ..first.clone() };
    let back = Exchange::new(relay, &second, &first.key).body();
    assert_eq!(post(relay, &back).await.status(), 200);
    assert_eq!(post(relay, &there).await.status(), 401);
    assert_eq!(welcomed(&second).await, Err(Some(4401)));
    assert_eq!(welcomed(first).await, Ok(()));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_rotation_the_answer_is_the_same_and_the_key_stays() {
    let fixture = Fixture::new().await;
    let (relay, ada) = (&fixture.relay, &fixture.ada);
    let (key, other) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    let bob = relay.pair(&fixture.initiator, "bob").await;
    let revoked = relay.pair(&fixture.initiator, "bob").await;
    let path = format!("/v1/devices/{}", revoked.device_id);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    let good = || Exchange::new(relay, ada, &key);
    let with = |change: &dyn Fn(&mut Exchange)| {
        let mut exchange = good();
        change(&mut exchange);
        exchange.body()
    };
    let body = |name: &str, value: Value| {
        let mut body = good().body();
        body[name] = value;
        body
    };
    let claims = |change: &dyn Fn(&mut Value)| {
        let mut claims = serde_json::to_value(good().claims()).unwrap();
        change(&mut claims);
        claims
    };
    let signed = |old: Value, new: Value| {
        json!({
            "new_jwk": key.jwk(),
            "old_proof": ada.key.sign(KEY_ROTATION_TYP, &old).unwrap(),
            "new_proof": key.sign(KEY_POSSESSION_TYP, &new).unwrap(),
        })
    };
    let both = |claims: Value| signed(claims.clone(), claims);
    let old = good().claims();
    let bad = [
        ("too old", with(&|exchange| exchange.iat -= 400)),
        ("from the future", with(&|exchange| exchange.iat += 400)),
        (
            "another relay",
            with(&|exchange| exchange.url = "https://evil.example/v1/device/key".into()),
        ),
        ("another path", with(&|exchange| exchange.url = format!("{}/v1/devices", relay.url()))),
        ("another's device", with(&|exchange| exchange.device_id = bob.device_id)),
        ("no device", with(&|exchange| exchange.device_id = DeviceId::from_bytes([9; 16]))),
        ("a revoked device", Exchange::new(relay, &revoked, &key).body()),
        ("another's old key", with(&|exchange| exchange.old = bob.key.clone())),
        ("the same key", with(&|exchange| exchange.new = ada.key.clone())),
        ("a key that is not shown to be there", {
            let mut body = good().body();
            body["new_jwk"] = json!(other.jwk());
            body
        }),
        ("the new proof by the old key", {
            let proof = ada.key.sign(KEY_POSSESSION_TYP, &old).unwrap();
            body("new_proof", json!(proof))
        }),
        ("the old proof by the new key", {
            let proof = key.sign(KEY_ROTATION_TYP, &old).unwrap();
            body("old_proof", json!(proof))
        }),
        ("the proofs exchanged", {
            let mut body = good().body();
            let (old, new) = (body["old_proof"].clone(), body["new_proof"].clone());
            (body["old_proof"], body["new_proof"]) = (new, old);
            body
        }),
        ("one proof for both", body("new_proof", good().body()["old_proof"].clone())),
        ("an old proof of another typ", {
            let proof = ada.key.sign("fido-relay-device+jwt", &old).unwrap();
            body("old_proof", json!(proof))
        }),
        ("a new proof of another typ", {
            let proof = key.sign("fido-relay-pairing+jwt", &old).unwrap();
            body("new_proof", json!(proof))
        }),
        ("two that say different things", {
            signed(claims(&|_| {}), claims(&|claims| claims["iat"] = json!(good().iat - 1)))
        }),
        ("another old thumbprint", both(claims(&|c| c["old_jkt"] = json!(other.thumbprint())))),
        ("another new thumbprint", both(claims(&|c| c["new_jkt"] = json!(other.thumbprint())))),
        ("no time", both(claims(&|c| drop(c.as_object_mut().unwrap().remove("iat"))))),
        ("a negative time", both(claims(&|c| c["iat"] = json!(-1)))),
        ("no old proof", body("old_proof", json!(""))),
        ("no new proof", body("new_proof", json!("a.b.c"))),
        ("a key off the curve", {
            let mut jwk = serde_json::to_value(key.jwk()).unwrap();
            jwk["y"] = jwk["x"].clone();
            body("new_jwk", jwk)
        }),
    ];
    let mut answers = std::collections::BTreeSet::new();
    for (name, body) in &bad {
        let response = post(relay, body).await;
        assert_eq!(response.status(), 401, "{name}");
        answers.insert(response.text().await.unwrap());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers.first().unwrap().contains("proof_refused"));
    assert_eq!(welcomed(ada).await, Ok(()));
    assert_eq!(post(relay, &good().body()).await.status(), 200, "and the good one is good");
}

#[tokio::test]
async fn of_two_keys_at_once_one_takes_the_place_of_the_old_one() {
    let fixture = Fixture::new().await;
    let keys: Vec<_> = (0..20).map(|_| DeviceKey::generate().unwrap()).collect();
    let tries = keys.iter().map(|key| async {
        let body = Exchange::new(&fixture.relay, &fixture.ada, key).body();
        post(&fixture.relay, &body).await.status().as_u16()
    });
    let tries = futures::future::join_all(tries).await;
    assert_eq!(tries.iter().filter(|status| **status == 200).count(), 1, "{tries:?}");
    assert_eq!(tries.iter().filter(|status| **status == 401).count(), 19, "{tries:?}");
    let won = tries.iter().position(|status| *status == 200).unwrap();
    let new = Paired { key: keys[won].clone(), ..fixture.ada.clone() };
    assert_eq!(welcomed(&new).await, Ok(()));
}

/// The whole way, by the simulated phone: the running socket is asked for a proof at once.
#[tokio::test]
async fn a_phone_that_takes_a_new_key_signs_again_on_its_running_socket_and_comes_back_with_it() {
    let fixture = Fixture::new().await;
    let relay = &fixture.relay;
    let mut phone = relay.connect(fixture.ada.clone(), Faults::none()).await;
    phone.handle.rotate_key().await;
    phone.until(|event| matches!(event, PhoneEvent::KeyRotated)).await;
    phone.until(|event| matches!(event, PhoneEvent::Reauthenticated)).await;
    assert_eq!(welcomed(&fixture.ada).await, Err(Some(4401)), "the old key counts no more");
    // The proof was good: the same socket still carries a ceremony to its end.
    let order = json!({ "type": "authentication", "username": "ada" });
    let opened = fixture.initiator.open(&order).await;
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_id == opened.id);
    phone.until(offered).await;
    phone.handle.break_socket().await;
    phone.until(|event| matches!(event, PhoneEvent::Connected { .. })).await;
}

/// A socket that the old key authenticated is closed within the time that a proof may take.
#[tokio::test]
async fn a_socket_that_cannot_sign_with_the_new_key_is_closed() {
    let fixture = Fixture::new().await;
    let mut thief = WirePhone::connect(fixture.ada.clone()).await;
    thief.offer().await;
    let key = DeviceKey::generate().unwrap();
    phone::rotate_key(&fixture.ada, &key).await.unwrap();
    let RelayFrame::Reauth { nonce, .. } = thief.next().await else { panic!("no reauth") };
    let paired = thief.paired.clone();
    thief.socket.prove(&paired.key, paired.device_id, &nonce).await.unwrap();
    assert_eq!(thief.end().await, (Some(4401), "reauth_failed".to_owned()));
}

fn hourly(config: &mut fido_relay::config::Config) {
    // An hour in this test.
    config.limits.auth_lifetime = Duration::from_secs(2);
}

#[tokio::test]
async fn each_hour_the_device_signs_again_in_place_and_the_socket_stays() {
    let fixture = Fixture::with(hourly).await;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    let offer = phone.offer().await;
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..3 {
        let RelayFrame::Reauth { nonce, auth_within_s } = phone.next().await else {
            panic!("no reauth")
        };
        assert!(nonces.insert(nonce.clone()), "a nonce is asked for once");
        assert_eq!(auth_within_s, 1);
        let paired = phone.paired.clone();
        phone.socket.prove(&paired.key, paired.device_id, &nonce).await.unwrap();
        phone.hears_nothing().await;
    }
    // Nothing is shown twice for it, and what was shown can still be answered.
    phone.claim(offer.ceremony_id, fixture.open.code.as_ref().unwrap()).await;
    assert_eq!(phone.challenge().await.offer.ceremony_id, offer.ceremony_id);
}

/// A proof for this device and nonce that is not theirs.
type Forgery<'a> = dyn Fn(&Paired, &str) -> String + 'a;

#[tokio::test]
async fn a_wrong_proof_in_place_ends_the_socket() {
    let fixture = Fixture::with(hourly).await;
    let relay = &fixture.relay;
    let bob = relay.pair(&fixture.initiator, "bob").await;
    let wrong: [(&str, &Forgery<'_>); 5] = [
        ("another key", &|paired, nonce| {
            let key = DeviceKey::generate().unwrap();
            key.auth_proof(&paired.socket_url, nonce, paired.device_id).unwrap()
        }),
        ("another nonce", &|paired, _| {
            paired.key.auth_proof(&paired.socket_url, "bm9uY2U", paired.device_id).unwrap()
        }),
        ("another relay", &|paired, nonce| {
            let url = "wss://evil.example/v1/device/socket";
            paired.key.auth_proof(url, nonce, paired.device_id).unwrap()
        }),
        ("another device of the relay, by its own good key", &|_, nonce| {
            bob.key.auth_proof(&bob.socket_url, nonce, bob.device_id).unwrap()
        }),
        ("nothing", &|_, _| String::new()),
    ];
    for (name, proof) in wrong {
        let mut phone = WirePhone::connect(fixture.ada.clone()).await;
        phone.offer().await;
        let RelayFrame::Reauth { nonce, .. } = phone.next().await else { panic!("no reauth") };
        let proof = proof(&fixture.ada, &nonce);
        let auth = json!({ "type": "auth", "proof": proof }).to_string();
        phone.socket.send_text(auth).await.unwrap();
        assert_eq!(phone.end().await, (Some(4401), "reauth_failed".to_owned()), "{name}");
    }
    let mut silent = WirePhone::connect(fixture.ada.clone()).await;
    silent.offer().await;
    let RelayFrame::Reauth { .. } = silent.next().await else { panic!("no reauth") };
    assert_eq!(silent.end().await, (Some(4401), "reauth_failed".to_owned()));
}

#[tokio::test]
async fn earlier_devices_are_told_of_a_new_one_at_once_or_when_they_come_back() {
    let fixture = Fixture::new().await;
    let relay = &fixture.relay;
    let mut here = WirePhone::connect(fixture.ada.clone()).await;
    here.offer().await;
    let second = relay.pair(&fixture.initiator, "ada").await;
    let notice = here.notice().await;
    assert_eq!(
        (notice.event, notice.device_id),
        (NoticeEvent::DevicePaired, Some(second.device_id))
    );
    assert!(notice.ago_s < 60, "{notice:?}");
    here.hears_nothing().await;
    // The new device gets no notice of itself, and none of what was before it.
    let mut new = WirePhone::connect(second.clone()).await;
    new.offer().await;
    let third = relay.pair(&fixture.initiator, "ada").await;
    for phone in [&mut here, &mut new] {
        let notice = phone.notice().await;
        assert_eq!(notice.device_id, Some(third.device_id));
    }
    // A device that was away gets both notices, each time under the same id.
    let mut told = Vec::new();
    for _ in 0..2 {
        here = here.again().await;
        let (first, second) = (here.notice().await, here.notice().await);
        here.offer().await;
        here.hears_nothing().await;
        told.push((first.notice_id, second.notice_id));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].0, notice.notice_id);
    // A change of another user's device is no notice here.
    relay.pair(&fixture.initiator, "bob").await;
    here.socket.send_text("{}").await.unwrap();
    assert!(matches!(here.next().await, RelayFrame::Error { .. }));
}

#[tokio::test]
async fn earlier_devices_are_told_of_a_new_key_once_however_often_it_is_asked_for() {
    let fixture = Fixture::new().await;
    let second = fixture.relay.pair(&fixture.initiator, "ada").await;
    let mut witness = fixture.relay.connect(second, Faults::none()).await;
    let key = DeviceKey::generate().unwrap();
    let body = Exchange::new(&fixture.relay, &fixture.ada, &key).body();
    for _ in 0..3 {
        assert_eq!(post(&fixture.relay, &body).await.status(), 200);
    }
    let third = fixture.relay.pair(&fixture.initiator, "ada").await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = witness.until(|event| matches!(event, PhoneEvent::Noticed(_))).await;
        let PhoneEvent::Noticed(notice) = event else { unreachable!() };
        told.push((notice.event, notice.device_id));
    }
    let rotated = (NoticeEvent::DeviceKeyRotated, Some(fixture.ada.device_id));
    assert_eq!(told, [rotated, (NoticeEvent::DevicePaired, Some(third.device_id))]);
}

#[tokio::test]
async fn a_key_is_exchanged_with_a_relay_that_answers_and_for_a_device_that_is_paired() {
    let fixture = Fixture::new().await;
    let url = phone::key_url(&fixture.ada.socket_url);
    assert_eq!(url, format!("{}/v1/device/key", fixture.relay.url()));
    let mut nowhere = fixture.ada.clone();
    nowhere.socket_url = "ws://127.0.0.1:1/v1/device/socket".to_owned();
    let lost = phone::rotate_key(&nowhere, &DeviceKey::generate().unwrap()).await;
    assert!(matches!(lost, Err(PairingError::Unreachable(_))), "{lost:?}");
    // A revoked phone learns only that its proof is not accepted.
    let path = format!("/v1/devices/{}", fixture.ada.device_id);
    let mut ada = fixture.relay.connect(fixture.ada.clone(), Faults::none()).await;
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    let stopped = |event: &PhoneEvent| matches!(event, PhoneEvent::Stopped(StopReason::Revoked));
    ada.until(stopped).await;
    let refused = phone::rotate_key(&fixture.ada, &DeviceKey::generate().unwrap()).await;
    assert!(matches!(refused, Err(PairingError::Refused { status: 401, .. })), "{refused:?}");
}
