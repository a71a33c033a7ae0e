//! What a relay writes of its ceremonies.

use fido_relay_proto::device::DeclineReason;
use fido_relay_proto::http::Status;
use fido_relay_proto::{Outcome, RelayFrame};
use serde_json::{Value, json};

use super::{files, lines, trail, verify};
use crate::support::relay::TestRelay;

fn entries(directory: &std::path::Path) -> Vec<Value> {
    lines(directory).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_log_tells_who_asked_who_answered_and_how_it_ended_and_no_secret() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let transaction =
        json!({ "title": "Payment", "fields": [{ "label": "To", "value": "Grace" }] });
    let jwks: Value = bank.get("/.well-known/jwks.json").await.json().await.unwrap();
    let mut secrets = vec![bank.key.clone()];
    let mut ids = Vec::new();
    for body in [
        json!({ "type": "registration", "username": "ada" }),
        json!({ "type": "authentication", "username": "ada" }),
        json!({ "type": "approval", "username": "ada", "transaction": transaction }),
    ] {
        let opened = bank.open(&body).await;
        phone.types(&opened);
        secrets.push(format!("\"{}\"", opened.code.clone().unwrap()));
        secrets.push(opened.ticket.clone());
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{closed:?}");
        secrets.push(closed.result.unwrap());
        ids.push(opened.id);
    }
    let denied = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    bank.delete(&format!("/v1/ceremonies/{}", denied.id)).await;
    let mut stored = Vec::new();
    for id in &ids {
        let key = fido_relay::app::ceremonies::CeremonyKey { tenant: Default::default(), id: *id };
        stored.push(relay.running.relay().ceremonies.load(&key).await.unwrap().unwrap());
    }
    let directory = fido_relay::serve::audit_dir(relay.running.config());
    let kept = relay.stop().await;

    let report = verify(&directory, &serde_json::from_value(jwks).unwrap(), None).unwrap();
    assert_eq!(report.checkpoints, 1, "one at the orderly stop");
    assert_eq!(report.checkpoint.unwrap().seq, report.last - 1, "it covers everything");
    for ceremony in &stored {
        trail::assert_complete(&directory, ceremony);
    }
    let entries = entries(&directory);
    let of = |id: String, event: &str| {
        let fits = |entry: &&Value| entry["ceremony"] == id.as_str() && entry["event"] == event;
        entries.iter().find(fits).unwrap_or_else(|| panic!("no {event} of {id}")).clone()
    };
    for id in &ids {
        for event in ["sent", "delivered", "claimed", "card", "answered"] {
            assert!(of(id.to_string(), event)["device"].is_string(), "{event}");
        }
        assert_eq!(of(id.to_string(), "closed")["outcome"], "succeeded");
        assert_eq!(of(id.to_string(), "opened")["user"], "ada");
    }
    assert!(of(ids[2].to_string(), "opened")["tx_sha256"].is_string());
    assert_eq!(of(denied.id.to_string(), "closed")["outcome"], "cancelled");
    assert!(entries.iter().any(|entry| entry["event"] == "device_paired"));
    assert_eq!(entries.first().unwrap()["event"], "started");

    let text = lines(&directory).join("\n");
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret}");
    }
    for word in ["challenge\":", "signature", "clientDataJSON", "Grace"] {
        assert!(!text.contains(word), "{word}");
    }
    #[cfg(unix)]
    for file in files(&directory) {
        let mode = std::fs::metadata(file).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    }
    drop(kept);
}

#[tokio::test]
async fn wrong_codes_and_the_alarm_are_told_with_the_device() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let ada = relay.pair(&bank, "ada").await;
    let mut phone = crate::support::wire_phone::WirePhone::connect(ada.clone()).await;
    let opened = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let wrong = if opened.code.as_deref() == Some("000000") { "000001" } else { "000000" };
    assert_eq!(phone.offer().await.ceremony_id, opened.id);
    for _ in 0..3 {
        phone.claim(opened.id, wrong).await;
    }
    bank.outcome(opened.id).await;
    let second = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let offered = |frame: RelayFrame| match frame {
        RelayFrame::Offer(offer) => offer.ceremony_id == second.id,
        _ => false,
    };
    while !offered(phone.next().await) {}
    phone.decline(second.id, DeclineReason::NotMe).await;
    bank.outcome(second.id).await;
    let directory = fido_relay::serve::audit_dir(relay.running.config());
    let _kept = relay.stop().await;
    let entries = entries(&directory);
    let device = ada.device_id.to_string();
    let wrong: Vec<_> = entries.iter().filter(|entry| entry["event"] == "wrong_code").collect();
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
    for (nth, entry) in (1..).zip(&wrong) {
        assert_eq!((&entry["nth"], &entry["device"]), (&json!(nth), &json!(device)));
    }
    let alarm = entries.iter().find(|entry| entry["event"] == "not_me").unwrap();
    assert_eq!(alarm["device_id"], device);
    let closed = |entry: &&Value| {
        entry["event"] == "closed" && entry["ceremony"] == second.id.to_string().as_str()
    };
    assert_eq!(entries.iter().find(closed).unwrap()["reason"], "not_me");
}
