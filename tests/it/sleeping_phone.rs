//! The simulated phone without a socket against the real relay and its Web Push: it sleeps, is
//! woken, pulls, and brings the ceremony to its end; and the command that does so.

use std::sync::{Arc, Mutex};

use fido_relay::config::push::WebPush;
use fido_relay_proto::http::Status;
use fido_relay_proto::{Outcome, Step};
use fido_relay_rig::demo::vapid_key;
use fido_relay_rig::phone::{
    Codes, DeviceKey, Faults, PairingClient, Phone, PhoneEvent, PullClient, PushReceiver,
    WakeChannel,
};
use fido_relay_rig::softcard::SoftCard;
use serde_json::json;

use crate::phone::DROPS;
use crate::support::child::{ChildProcess, fido_relay, run};
use crate::support::relay::{Initiator, TestPhone, TestRelay};

/// A relay that wakes phones of this machine at once.
async fn waking() -> TestRelay {
    TestRelay::start_with(|config| {
        let key_file = config.data_dir.join("vapid.pem");
        vapid_key::write(&key_file, &DeviceKey::generate().unwrap()).unwrap();
        config.push.after = std::time::Duration::ZERO;
        config.push.webpush = Some(WebPush {
            key_file,
            contact: "mailto:ops@example.com".to_owned(),
            allow_loopback_http: true,
        });
    })
    .await
}

async fn asleep(relay: &TestRelay, bank: &Initiator, faults: Faults) -> TestPhone {
    let paired = relay.pair(bank, "ada").await;
    let tasks = relay.running.tasks();
    let subscription = PushReceiver::listen(tasks).await.unwrap().subscribe().unwrap();
    let client = PullClient::from(&PairingClient::new().unwrap());
    let codes = Codes::default();
    let card = Arc::new(Mutex::new(SoftCard::new()));
    let (handle, events) = Phone::new(paired, card, Arc::new(codes.clone()))
        .with_faults(faults)
        .asleep(WakeChannel { subscription, client })
        .connect(tasks);
    let mut phone = TestPhone { handle, events, codes };
    phone.until(|event| matches!(event, PhoneEvent::Asleep)).await;
    phone
}

#[tokio::test]
async fn a_sleeping_phone_is_woken_answers_by_http_and_sleeps_again() {
    let relay = waking().await;
    let bank = relay.initiator().await;
    let mut phone = asleep(&relay, &bank, Faults::none()).await;
    for kind in ["registration", "authentication"] {
        let opened = bank.open(&json!({ "type": kind, "username": "ada" })).await;
        phone.until(|event| matches!(event, PhoneEvent::Woken { .. })).await;
        phone.types(&opened);
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{kind}: {closed:?}");
        let steps: Vec<_> = closed.progress.iter().map(|made| made.step).collect();
        assert!(steps.contains(&Step::Woken) && steps.contains(&Step::Delivered), "{steps:?}");
        phone.until(|event| matches!(event, PhoneEvent::Asleep)).await;
    }
}

#[tokio::test]
async fn a_sleeping_phone_that_breaks_off_at_any_moment_still_comes_to_the_end() {
    for at in DROPS {
        let relay = waking().await;
        let bank = relay.initiator().await;
        let phone = asleep(&relay, &bank, Faults::drops(&[at])).await;
        let opened = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
        phone.types(&opened);
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{at:?}: {closed:?}");
    }
}

#[tokio::test]
async fn the_command_sleeps_tells_that_it_is_woken_and_ends_with_its_ceremony() {
    let relay = waking().await;
    let bank = relay.initiator().await;
    let pairing = bank.pairing("ada").await;
    let directory = tempfile::tempdir().unwrap();
    let codes = directory.path().join("code");
    let mut command = fido_relay(&["phone", "--asleep", "--once", "--pair", &pairing.uri]);
    command.arg("--code-from").arg(&codes).arg("--state").arg(directory.path().join("phone.json"));
    let mut child = ChildProcess::start(&mut command);
    child.prints("Asleep").await;
    let opened = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    child.prints("Woken by push").await;
    std::fs::write(&codes, opened.code.clone().unwrap()).unwrap();
    child.prints("succeeded").await;
    child.exit().await.stdout();
}

#[tokio::test]
async fn the_command_says_what_to_do_where_the_relay_wakes_nobody() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let pairing = bank.pairing("ada").await;
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["phone", "--asleep", "--code", "271828", "--pair", &pairing.uri, "--state"];
    let mut command = fido_relay(&arguments);
    let complaint = run(command.arg(directory.path().join("phone.json"))).await.with_code(1);
    assert!(complaint.contains("push.webpush.key_file"), "{complaint}");
}
