//! The address by which a device is woken, and the notice once it is lost.

use std::sync::Arc;

use fido_relay::app::App;
use fido_relay::app::devices;
use fido_relay::ports::{BoxFuture, Push, PushFailure, Unpushable, Wake};
use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::http::{PushService, PushTarget};
use fido_relay_proto::{DeviceId, PlainText, RelayFrame, TenantId};
use reqwest::Method;
use serde_json::{Value, json};

use super::{phone, relay};
use crate::support::actions::events;
use crate::support::pull_phone::PullPhone;
use crate::support::relay::TestRelay;
use crate::support::wire_phone::WirePhone;

/// Takes every address, and wakes no device.
#[derive(Debug)]
struct Willing;

impl Push for Willing {
    fn permits(&self, _: &PushTarget) -> Result<(), Unpushable> {
        Ok(())
    }

    fn wake(&self, _: Wake) -> BoxFuture<'_, Result<(), PushFailure>> {
        Box::pin(std::future::ready(Err(PushFailure::Unserved)))
    }
}

fn target(token: &str) -> PushTarget {
    let token = PlainText::new(token).unwrap();
    PushTarget { service: PushService::Fcm, token, app: None, keys: None }
}

async fn sets(relay: &TestRelay, id: DeviceId, token: &str) {
    let app = App { push: Some(Arc::new(Willing)), ..relay.running.app().clone() };
    devices::set_push(&app, &TenantId::default(), id, Some(target(token))).await.unwrap();
}

/// Notices that a pull brings of the device's own address.
async fn lost(phone: &PullPhone) -> Vec<Value> {
    let pulled = phone.pull("").await;
    let own = pulled.frames.iter().filter_map(|frame| match frame {
        RelayFrame::Notice(notice) if notice.event == NoticeEvent::PushRemoved => {
            Some(json!(notice.notice_id))
        }
        _ => None,
    });
    own.collect()
}

#[tokio::test]
async fn a_device_hears_on_both_roads_that_its_address_is_gone_until_it_sets_one() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (one, two) =
        (phone(&relay, &initiator, "ada").await, phone(&relay, &initiator, "bob").await);
    sets(&relay, one.paired.device_id, "t").await;
    assert!(lost(&one).await.is_empty());
    // The app was installed anew and paired with another user.
    sets(&relay, two.paired.device_id, "t").await;
    let told = lost(&one).await;
    assert_eq!(told.len(), 1);
    assert_eq!(lost(&one).await, told, "the same notice");
    assert!(lost(&two).await.is_empty());
    let mut socket = WirePhone::connect(one.paired.clone()).await;
    let notice = socket.notice().await;
    assert_eq!(
        (notice.event, json!(notice.notice_id)),
        (NoticeEvent::PushRemoved, told[0].clone())
    );
    assert!(notice.device_id.is_none());
    sets(&relay, one.paired.device_id, "u").await;
    assert!(lost(&one).await.is_empty());
    let mut socket = WirePhone::connect(one.paired.clone()).await;
    socket.hears_nothing().await;
    let store = &relay.running.relay().dependencies().store;
    let forgotten = (one.paired.device_id, relay.running.app().clock.now());
    let tenant = TenantId::default();
    devices::forget_push(&**store, &tenant, forgotten.0, &target("u"), forgotten.1).await.unwrap();
    assert_eq!(lost(&one).await.len(), 1);
    let said: Vec<_> = events(&**store).await;
    let of = |name: &str| said.iter().filter(|event| event["event"] == name).count();
    assert_eq!((of("push_set"), of("push_removed")), (3, 2));
}

#[tokio::test]
async fn without_a_push_service_no_address_is_set() {
    let relay = relay().await;
    let phone = phone(&relay, &relay.initiator().await, "ada").await;
    let path = "/v1/device/push";
    let order = json!({ "push": { "service": "fcm", "token": "t" } });
    let answer = phone.send(&Method::PUT, path, &order.to_string()).await;
    assert_eq!(answer.status(), 501);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "not_supported");
    let removed = phone.send(&Method::PUT, path, &json!({ "push": null }).to_string()).await;
    assert_eq!(removed.status(), 204);
    for body in [
        json!({}),
        json!({ "push": [] }),
        json!({ "push": { "service": "pigeon", "token": "t" } }),
        json!({ "push": { "service": "fcm" } }),
        json!({ "push": { "service": "fcm", "token": "t", "more": 1 } }),
    ] {
        let answer = phone.send(&Method::PUT, path, &body.to_string()).await;
        assert_eq!(answer.status(), 400, "{body}");
    }
}
