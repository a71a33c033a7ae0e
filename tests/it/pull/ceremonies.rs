//! Whole ceremonies without a socket, and the ways in which two devices, two roads or a restart meet
//! in one.

use fido_relay::config::Config;
use fido_relay_proto::device::{AckOf, Answer, Decline, DeclineReason, FrameErrorCode, Offer};
use fido_relay_proto::http::{OpenedCeremony, Status};
use fido_relay_proto::{DeviceFrame, Outcome, RelayFrame};
use fido_relay_rig::softcard::SoftCard;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use serde_json::value::RawValue;

use super::{fast, opens, order, phone, relay};
use crate::support::pull_phone::{Heard, LOOK, PullPhone};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::wire_phone::WirePhone;

/// The error that an answer is.
#[track_caller]
fn refused(heard: Heard) -> (u16, FrameErrorCode) {
    match heard {
        (status, Some(RelayFrame::Error { code, .. })) => (status, code),
        other => panic!("no error: {other:?}"),
    }
}

#[track_caller]
fn previewed(heard: Heard) -> Offer {
    match heard {
        (200, Some(RelayFrame::Offer(offer))) => *offer,
        other => panic!("no preview: {other:?}"),
    }
}

/// From the offer to the end, by pulling alone.
async fn through(phone: &PullPhone, card: &mut SoftCard, opened: &OpenedCeremony) -> Outcome {
    let id = opened.id;
    if let Some(code) = &opened.code {
        phone.offered(id).await;
        phone.acks(id, AckOf::Offer).await;
        let claimed = phone.types(Some(id), code).await;
        assert!(matches!(claimed, (204, None)), "{claimed:?}");
    }
    let challenge = phone.challenge(id).await;
    let answer = phone.taps(card, &challenge).await;
    let accepted = phone.says(&answer).await;
    assert!(matches!(accepted, (200, Some(RelayFrame::Accepted { .. }))), "{accepted:?}");
    let outcome = phone.closed(id).await;
    phone.acks(id, AckOf::Closed).await;
    outcome
}

async fn succeeded(initiator: &Initiator, opened: &OpenedCeremony) {
    let view = initiator.outcome(opened.id).await;
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn registration_sign_in_and_approval_need_no_socket() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (phone, mut card) = (phone(&relay, &initiator, "ada").await, SoftCard::default());
    for kind in ["registration", "authentication", "approval"] {
        let opened = opens(&initiator, kind).await;
        assert_eq!(through(&phone, &mut card, &opened).await, Outcome::Succeeded, "{kind}");
        succeeded(&initiator, &opened).await;
        let view = initiator.read(opened.id).await;
        let steps: Vec<_> = view.progress.iter().map(|entry| entry.step).collect();
        for step in ["sent", "delivered", "claimed", "card", "closed"] {
            let step = serde_json::from_value(json!(step)).unwrap();
            assert!(steps.contains(&step), "{kind}: {steps:?}");
        }
    }
    assert!(relay.running.relay().delivery.registry().is_empty(), "no device had a socket");
}

#[tokio::test]
async fn without_a_code_the_challenge_is_pulled_at_once() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (phone, mut card) = (phone(&relay, &initiator, "ada").await, SoftCard::default());
    let mut order = order("registration");
    order["binding"] = json!("none");
    let opened = initiator.open(&order).await;
    assert!(opened.code.is_none());
    assert_eq!(through(&phone, &mut card, &opened).await, Outcome::Succeeded);
}

#[tokio::test]
async fn a_code_alone_shows_what_it_is_for_and_is_confirmed() {
    let relay = TestRelay::start_with(|config| {
        fast(config);
        config.prompts = Config::default().prompts;
    })
    .await;
    let initiator = relay.initiator().await;
    let (phone, mut card) = (phone(&relay, &initiator, "ada").await, SoftCard::default());
    let ringing = opens(&initiator, "registration").await;
    let silent = opens(&initiator, "registration").await;
    phone.offered(ringing.id).await;
    let pulled = phone.pull("").await;
    assert_eq!(pulled.frames.len(), 1, "what does not ring is not listed: {pulled:?}");
    let code = silent.code.as_deref().unwrap();
    let preview = previewed(phone.types(None, code).await);
    assert_eq!(preview.ceremony_id, silent.id);
    assert!(preview.preview.is_some_and(|preview| preview.by_code && !preview.rang));
    phone.acks(silent.id, AckOf::Offer).await;
    assert!(matches!(phone.types(Some(silent.id), code).await, (204, None)));
    let challenge = phone.challenge(silent.id).await;
    let answer = phone.taps(&mut card, &challenge).await;
    assert_eq!(phone.says(&answer).await.0, 200);
    assert_eq!(phone.closed(silent.id).await, Outcome::Succeeded);
}

/// As on the socket: no challenge goes to a device whose app does not have the offer.
#[tokio::test]
async fn a_device_that_did_not_acknowledge_gets_the_preview_and_no_challenge() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let opened = opens(&initiator, "registration").await;
    let code = opened.code.as_deref().unwrap();
    phone.offered(opened.id).await;
    let preview = previewed(phone.types(Some(opened.id), code).await);
    assert_eq!(preview.ceremony_id, opened.id);
    let listed = phone.pull("").await;
    assert!(!listed.frames.iter().any(|frame| matches!(frame, RelayFrame::Challenge(_))));
    phone.acks(opened.id, AckOf::Offer).await;
    assert!(matches!(phone.types(Some(opened.id), code).await, (204, None)));
    phone.challenge(opened.id).await;
}

#[tokio::test]
async fn wrong_codes_count_the_same_on_both_roads() {
    let relay = TestRelay::start_with(|config| {
        fast(config);
        config.prompts.wrong_codes_per_day = 4;
    })
    .await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let opened = opens(&initiator, "registration").await;
    let wrong = if opened.code.as_deref() == Some("000000") { "000001" } else { "000000" };
    phone.offered(opened.id).await;
    phone.acks(opened.id, AckOf::Offer).await;
    assert_eq!(
        refused(phone.types(Some(opened.id), wrong).await),
        (422, FrameErrorCode::WrongCode)
    );
    let mut socket = WirePhone::connect(phone.paired.clone()).await;
    socket.offer().await;
    socket.claim(opened.id, wrong).await;
    assert_eq!(socket.refused().await.0, FrameErrorCode::WrongCode);
    assert_eq!(
        refused(phone.types(Some(opened.id), wrong).await),
        (422, FrameErrorCode::WrongCode)
    );
    assert_eq!(phone.closed(opened.id).await, Outcome::Failed, "the third for a prompt");
    assert_eq!(refused(phone.types(None, wrong).await).0, 422);
    let spent = phone.post("/v1/device/claim", r#"{"type":"claim","code":"000000"}"#).await;
    assert_eq!(spent.status(), 429);
    assert!(spent.headers().contains_key("retry-after"));
    assert!(spent.text().await.unwrap().contains("too_many_codes"));
}

#[tokio::test]
async fn the_same_answer_a_hundred_times_is_accepted_and_verified_once() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (phone, mut card) = (phone(&relay, &initiator, "ada").await, SoftCard::default());
    let opened = opens(&initiator, "registration").await;
    phone.offered(opened.id).await;
    phone.acks(opened.id, AckOf::Offer).await;
    phone.types(Some(opened.id), opened.code.as_deref().unwrap()).await;
    let challenge = phone.challenge(opened.id).await;
    let answer = phone.taps(&mut card, &challenge).await;
    let answers = join_all((0..100).map(|_| phone.says(&answer))).await;
    for heard in answers {
        assert!(matches!(heard, (200, Some(RelayFrame::Accepted { .. }))), "{heard:?}");
    }
    let credential = RawValue::from_string("{}".to_owned()).unwrap();
    let other = Answer { ceremony_id: opened.id, attempt: challenge.attempt, credential };
    let (status, code) = refused(phone.says(&DeviceFrame::Answer(other)).await);
    assert_eq!(status, 409);
    let late = [FrameErrorCode::AlreadyAnswered, FrameErrorCode::AlreadyClosed];
    assert!(late.contains(&code), "{code:?}");
    succeeded(&initiator, &opened).await;
}

#[tokio::test]
async fn what_another_device_claimed_is_told_as_such() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (one, two) =
        (phone(&relay, &initiator, "ada").await, phone(&relay, &initiator, "ada").await);
    let opened = opens(&initiator, "registration").await;
    let code = opened.code.as_deref().unwrap();
    for phone in [&one, &two] {
        phone.offered(opened.id).await;
        phone.acks(opened.id, AckOf::Offer).await;
    }
    assert!(matches!(one.types(Some(opened.id), code).await, (204, None)));
    let told = |frame: &RelayFrame| match frame {
        RelayFrame::Error { code, ceremony_id: Some(_), .. } => Some(*code),
        _ => None,
    };
    assert_eq!(two.until(&[opened.id], told).await, FrameErrorCode::ClaimedElsewhere);
    let late = refused(two.types(Some(opened.id), code).await);
    assert_eq!(late, (409, FrameErrorCode::ClaimedElsewhere));
}

#[tokio::test]
async fn a_device_changes_roads_in_the_middle() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (phone, mut card) = (phone(&relay, &initiator, "ada").await, SoftCard::default());
    let opened = opens(&initiator, "registration").await;
    let code = opened.code.as_deref().unwrap();
    // Offered on a socket, typed by pull, challenged on a socket, answered by pull.
    let mut socket = WirePhone::connect(phone.paired.clone()).await;
    assert_eq!(socket.offer().await.ceremony_id, opened.id);
    socket.ack(opened.id, AckOf::Offer).await;
    // A socket that breaks may take the `ack` with it, and a claim without one is shown the offer.
    socket.hears_nothing().await;
    drop(socket);
    assert!(matches!(phone.types(Some(opened.id), code).await, (204, None)));
    let mut socket = WirePhone::connect(phone.paired.clone()).await;
    let challenge = socket.challenge().await;
    let answer = phone.taps(&mut card, &challenge).await;
    assert_eq!(phone.says(&answer).await.0, 200);
    assert_eq!(socket.closed().await.1, Outcome::Succeeded);
    assert_eq!(phone.closed(opened.id).await, Outcome::Succeeded);
}

#[tokio::test]
async fn a_device_that_was_revoked_in_between_is_refused_everything() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let opened = opens(&initiator, "registration").await;
    phone.offered(opened.id).await;
    phone.acks(opened.id, AckOf::Offer).await;
    let path = format!("/v1/devices/{}", phone.paired.device_id);
    assert_eq!(initiator.delete(&path).await.status(), 204);
    assert_eq!(phone.types(Some(opened.id), opened.code.as_deref().unwrap()).await.0, 401);
    assert_eq!(phone.send(&Method::GET, LOOK, "").await.status(), 401);
}

#[tokio::test]
async fn a_ceremony_goes_on_where_it_was_after_a_restart() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (phone, mut card) = (phone(&relay, &initiator, "ada").await, SoftCard::default());
    let opened = opens(&initiator, "registration").await;
    phone.offered(opened.id).await;
    phone.acks(opened.id, AckOf::Offer).await;
    let relay = relay.restart().await;
    assert!(matches!(
        phone.types(Some(opened.id), opened.code.as_deref().unwrap()).await,
        (204, None)
    ));
    let challenge = phone.challenge(opened.id).await;
    let _relay = relay.restart().await;
    let answer = phone.taps(&mut card, &challenge).await;
    assert_eq!(phone.says(&answer).await.0, 200);
    assert_eq!(phone.closed(opened.id).await, Outcome::Succeeded);
}

#[tokio::test]
async fn no_and_not_me_end_a_ceremony() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    for reason in [DeclineReason::Declined, DeclineReason::NotMe] {
        let opened = opens(&initiator, "registration").await;
        phone.offered(opened.id).await;
        let decline = Decline { ceremony_id: Some(opened.id), reason };
        assert_eq!(phone.says(&DeviceFrame::Decline(decline)).await.0, 204);
        assert_eq!(phone.closed(opened.id).await, Outcome::Denied);
    }
    let held = Decline { ceremony_id: None, reason: DeclineReason::NotMe };
    assert_eq!(phone.says(&DeviceFrame::Decline(held)).await.0, 204);
}
