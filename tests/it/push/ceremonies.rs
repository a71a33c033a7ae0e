//! Whole ceremonies of a phone that sleeps: each of the three services wakes it, it pulls, and the
//! card's answer goes by HTTP. What a service is sent, and the decryption of Web Push, are judged by
//! the tests beside this one.

use std::time::Duration;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::config::Config;
use fido_relay::core::ceremony::FactKind;
use fido_relay_proto::device::AckOf;
use fido_relay_proto::http::PushTarget;
use fido_relay_proto::{CeremonyId, Outcome, RelayFrame, Step, TenantId};
use fido_relay_rig::softcard::SoftCard;
use reqwest::Method;
use serde_json::json;

use super::far::Far;
use super::scene::{Scene, apns_target, fcm_target};
use super::webpush::endpoint;
use crate::pull::{fast, opens};
use crate::support::pull_phone::PullPhone;
use crate::support::relay::TestRelay;

/// Three ceremonies of one phone, each begun by a wake; `wakes` is where the service takes them.
async fn woken_by(
    far: Far,
    target: PushTarget,
    wakes: &str,
    configure: impl FnOnce(&mut Config, &Far),
) {
    let relay = TestRelay::start_with(|config| {
        fast(config);
        config.push.after = Duration::ZERO;
        configure(config, &far);
    })
    .await;
    let initiator = relay.initiator().await;
    let phone = PullPhone::new(&relay, relay.pair(&initiator, "ada").await);
    let order = json!({ "push": target }).to_string();
    assert_eq!(phone.send(&Method::PUT, "/v1/device/push", &order).await.status(), 204);
    let mut card = SoftCard::default();
    for (nth, kind) in ["registration", "authentication", "approval"].into_iter().enumerate() {
        let opened = opens(&initiator, kind).await;
        let id = opened.id;
        let mut requests = 0;
        while far.at(wakes).len() <= nth {
            requests = far.until(requests + 1).await.len();
        }
        is_noted(&relay, id).await;
        phone.offered(id).await;
        phone.acks(id, AckOf::Offer).await;
        let claimed = phone.types(Some(id), &opened.code.unwrap()).await;
        assert!(matches!(claimed, (204, None)), "{claimed:?}");
        let challenge = phone.challenge(id).await;
        let answer = phone.taps(&mut card, &challenge).await;
        let accepted = phone.says(&answer).await;
        assert!(matches!(accepted, (200, Some(RelayFrame::Accepted { .. }))), "{accepted:?}");
        assert_eq!(phone.closed(id).await, Outcome::Succeeded, "{kind}");
        let view = initiator.read(id).await;
        assert!(view.progress.iter().any(|entry| entry.step == Step::Woken), "{kind}");
        assert_eq!(far.at(wakes).len(), nth + 1, "one wake for each");
    }
    assert!(relay.running.relay().delivery.registry().is_empty(), "no device had a socket");
}

/// Waits until the service's answer has become a fact: an end that comes first leaves none.
async fn is_noted(relay: &TestRelay, id: CeremonyId) {
    let (relay, tenant) = (relay.running.relay(), TenantId::default());
    let key = CeremonyKey { tenant, id };
    let mut watch = relay.delivery.watch(&key);
    let woken = async || {
        let ceremony = relay.ceremonies.load(&key).await.unwrap().unwrap();
        ceremony.history.iter().any(|fact| fact.kind == FactKind::Woken)
    };
    while !woken().await {
        watch.changed().await;
    }
}

#[tokio::test]
async fn a_sleeping_phone_registers_signs_in_and_approves_by_web_push() {
    let (scene, far) = (Scene::new(), Far::plain().await);
    let target = endpoint(&format!("{}/endpoint", far.url));
    woken_by(far, target, "/endpoint", |config, far| scene.configure_webpush(config, far)).await;
}

#[tokio::test]
async fn a_sleeping_phone_registers_signs_in_and_approves_by_fcm() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let configure = |config: &mut Config, far: &Far| scene.configure_fcm(config, far);
    woken_by(far, fcm_target(), "/v1/projects/", configure).await;
}

#[tokio::test]
async fn a_sleeping_phone_registers_signs_in_and_approves_by_apns() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let configure = |config: &mut Config, far: &Far| scene.configure_apns(config, far);
    woken_by(far, apns_target(), "/3/device/", configure).await;
}
