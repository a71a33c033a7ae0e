//! The main job: a real relay, a real socket, a card, a FIDO2 server, to the outcome.

use fido_relay_proto::http::Status;
use fido_relay_proto::{Outcome, Phase, Step};
use serde_json::json;

use crate::support::relay::TestRelay;

#[tokio::test]
async fn a_card_is_registered_and_signs_in_and_approves() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let transaction = json!({ "title": "Payment", "fields": [
        { "label": "To", "value": "Grace" }, { "label": "Amount", "value": "120.00 EUR" } ] });
    for body in [
        json!({ "type": "registration", "username": "ada" }),
        json!({ "type": "authentication", "username": "ada" }),
        json!({ "type": "approval", "username": "ada", "transaction": transaction }),
    ] {
        let opened = bank.open(&body).await;
        assert_eq!((opened.status, opened.phase), (Status::Pending, Phase::Offered));
        phone.types(&opened);
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{closed:?}");
        assert!(closed.result.is_some());
        let steps: Vec<Step> = closed.progress.iter().map(|entry| entry.step).collect();
        for step in [Step::Opened, Step::Sent, Step::Delivered, Step::Claimed] {
            assert!(steps.contains(&step), "{step:?} in {steps:?}");
        }
        for step in [Step::Challenged, Step::Card, Step::Verifying, Step::Closed] {
            assert!(steps.contains(&step), "{step:?} in {steps:?}");
        }
        assert_eq!(steps.first(), Some(&Step::Opened));
        assert_eq!(steps.last(), Some(&Step::Closed));
    }
}

#[tokio::test]
async fn without_a_code_the_challenge_goes_straight_to_the_phone() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let _phone = relay.phone(&bank, "ada").await;
    for kind in ["registration", "authentication"] {
        let opened =
            bank.open(&json!({ "type": kind, "username": "ada", "binding": "none" })).await;
        assert_eq!(opened.code, None);
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{closed:?}");
    }
}

#[tokio::test]
async fn a_ceremony_that_was_open_goes_on_after_a_restart() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let opened = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    let relay = relay.restart().await;
    let phone = relay.connect(paired, fido_relay_rig::phone::Faults::none()).await;
    phone.types(&opened);
    let closed = bank.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{closed:?}");
}
