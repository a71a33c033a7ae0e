//! The rules of a ceremony as phones meet them on the wire: codes, turns, answers, ends. What the
//! core promises in its own tests is held here against frames, several sockets and a FIDO2 server
//! that counts.

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::core::ceremony::Event;
use fido_relay_proto::device::{AckOf, Challenge, DeclineReason, FrameErrorCode};
use fido_relay_proto::http::{OpenedCeremony, Status};
use fido_relay_proto::{
    AttemptId, CeremonyId, NodeId, Outcome, Phase, Reason, RelayFrame, TenantId,
};
use serde_json::json;

use crate::support::accepting_server::{CREDENTIAL, begins, completions};
use crate::support::fixture::Fixture;
use crate::support::wire_phone::WirePhone;

/// Another sequence of digits than the page shows.
fn wrong(opened: &OpenedCeremony) -> String {
    let right: u32 = opened.code.as_ref().unwrap().parse().unwrap();
    format!("{:06}", (right + 1) % 1_000_000)
}

/// Ada's phone with the challenge of the fixture's open ceremony.
async fn challenged(fixture: &Fixture) -> (WirePhone, Challenge) {
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    phone.claim(fixture.open.id, fixture.open.code.as_ref().unwrap()).await;
    let challenge = phone.challenge().await;
    (phone, challenge)
}

/// A second phone of the same user, shown the open ceremony.
async fn second(fixture: &Fixture) -> WirePhone {
    let paired = fixture.relay.pair(&fixture.initiator, "ada").await;
    let mut second = WirePhone::connect(paired).await;
    assert_eq!(second.offer().await.ceremony_id, fixture.open.id);
    second
}

async fn outcome(fixture: &Fixture, id: CeremonyId) -> (Status, Option<Reason>) {
    let view = fixture.initiator.outcome(id).await;
    (view.status, view.reason)
}

#[tokio::test]
async fn three_wrong_codes_close_it_and_each_is_told_how_many_are_left() {
    let fixture = Fixture::new().await;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    for left in ["2 tries left", "1 try left", "0 tries left"] {
        phone.claim(fixture.open.id, &wrong(&fixture.open)).await;
        loop {
            match phone.next().await {
                RelayFrame::Error { code, message, ceremony_id, .. } => {
                    assert_eq!(code, FrameErrorCode::WrongCode);
                    assert_eq!(ceremony_id, Some(fixture.open.id));
                    assert!(message.contains(left), "{message}");
                    break;
                }
                // The last one also takes the prompt down, and may do so first.
                RelayFrame::Closed { .. } => assert!(left.starts_with('0')),
                other => panic!("{other:?}"),
            }
        }
    }
    let end = outcome(&fixture, fixture.open.id).await;
    assert_eq!(end, (Status::Ended(Outcome::Failed), Some(Reason::WrongCode)));
    // The right one comes too late.
    let mut again = WirePhone::connect(fixture.ada.clone()).await;
    again.claim(fixture.open.id, fixture.open.code.as_ref().unwrap()).await;
    let refused = (FrameErrorCode::AlreadyClosed, Some(fixture.open.id));
    assert_eq!(again.refused().await, refused);
    assert_eq!(begins(&fixture.upstream), 0, "no challenge was ever made");
}

#[tokio::test]
async fn what_is_no_code_costs_no_try_and_a_code_counts_in_any_script() {
    let fixture = Fixture::new().await;
    let id = fixture.open.id;
    let right = fixture.open.code.clone().unwrap();
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    let malformed =
        ["", " ", "12345", "1234567", "12345a", "１２３４５", "code 123456", &right[..5]];
    for code in malformed {
        phone.claim(id, code).await;
        assert_eq!(phone.refused().await, (FrameErrorCode::CodeMalformed, Some(id)), "{code:?}");
    }
    // No try was lost to eight of them: a wrong one is the first, whatever its script.
    let in_arabic = |code: &str| -> String {
        code.bytes().map(|digit| char::from_u32(0x660 + u32::from(digit - b'0')).unwrap()).collect()
    };
    phone.claim(id, &in_arabic(&wrong(&fixture.open))).await;
    match phone.next().await {
        RelayFrame::Error { code, message, .. } => {
            assert_eq!(code, FrameErrorCode::WrongCode);
            assert!(message.contains("2 tries left"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(begins(&fixture.upstream), 0);
    phone.claim(id, &format!("{}-{}", &right[..3], in_arabic(&right[3..]))).await;
    phone.challenge().await;
}

#[tokio::test]
async fn nothing_but_the_right_code_releases_the_challenge() {
    let fixture = Fixture::new().await;
    let id = fixture.open.id;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    phone.ack(id, AckOf::Offer).await;
    phone.ack(id, AckOf::Challenge).await;
    phone.card_error(id, 600).await;
    assert_eq!(phone.refused().await, (FrameErrorCode::NotChallenged, Some(id)));
    phone.answer(id, AttemptId::from_bytes([1; 16]), CREDENTIAL).await;
    assert_eq!(phone.refused().await, (FrameErrorCode::NotChallenged, Some(id)));
    phone.claim(id, &wrong(&fixture.open)).await;
    assert_eq!(phone.refused().await, (FrameErrorCode::WrongCode, Some(id)));
    let mut phone = phone.again().await;
    assert_eq!(phone.offer().await.code_length, 6);
    phone.hears_nothing().await;
    assert_eq!(fixture.upstream.received().len(), 0, "the FIDO2 server was never asked");
    assert_eq!(fixture.initiator.read(id).await.phase, Phase::Offered);
    drop(phone);
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn the_phone_that_gave_the_code_has_it_and_the_others_are_told() {
    let fixture = Fixture::new().await;
    let id = fixture.open.id;
    let mut other = second(&fixture).await;
    let (mut phone, challenge) = challenged(&fixture).await;
    let elsewhere = (FrameErrorCode::ClaimedElsewhere, Some(id));
    assert_eq!(other.refused().await, elsewhere, "its prompt goes");
    other.claim(id, fixture.open.code.as_ref().unwrap()).await;
    assert_eq!(other.refused().await, elsewhere);
    other.decline(id, DeclineReason::Declined).await;
    assert_eq!(other.refused().await, elsewhere);
    for attempt in [challenge.attempt, AttemptId::from_bytes([3; 16])] {
        other.answer(id, attempt, CREDENTIAL).await;
        assert_eq!(other.refused().await, (FrameErrorCode::NotChallenged, Some(id)));
    }
    other.card_error(id, 608).await;
    assert_eq!(other.refused().await, (FrameErrorCode::NotChallenged, Some(id)));
    let mut other = other.again().await;
    other.hears_nothing().await;
    phone.answer(id, challenge.attempt, CREDENTIAL).await;
    let end = outcome(&fixture, id).await;
    assert_eq!(end, (Status::Ended(Outcome::Succeeded), None));
    other.hears_nothing().await;
}

#[tokio::test]
async fn a_ceremony_for_one_device_is_shown_to_no_other() {
    let fixture = Fixture::new().await;
    let mut other = second(&fixture).await;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    let order =
        json!({ "type": "authentication", "username": "ada", "device_id": fixture.ada.device_id });
    let only = fixture.initiator.open(&order).await;
    assert_eq!(phone.offer().await.ceremony_id, only.id);
    other.claim(only.id, only.code.as_ref().unwrap()).await;
    assert_eq!(other.refused().await, (FrameErrorCode::UnknownCeremony, Some(only.id)));
    other.decline(only.id, DeclineReason::NotMe).await;
    assert_eq!(other.refused().await, (FrameErrorCode::UnknownCeremony, Some(only.id)));
    phone.claim(only.id, only.code.as_ref().unwrap()).await;
    let challenge = phone.challenge().await;
    phone.answer(only.id, challenge.attempt, CREDENTIAL).await;
    let end = outcome(&fixture, only.id).await;
    assert_eq!(end, (Status::Ended(Outcome::Succeeded), None));
    other.hears_nothing().await;
    let mut other = other.again().await;
    assert_eq!(other.offer().await.ceremony_id, fixture.open.id, "only what is for all");
    other.hears_nothing().await;
}

#[tokio::test]
async fn the_answer_is_taken_once_and_the_same_bytes_are_acknowledged_every_time() {
    let fixture = Fixture::new().await;
    let id = fixture.open.id;
    let (mut phone, challenge) = challenged(&fixture).await;
    let mut acknowledged = 0;
    // More than one socket can bring within its budget of frames, on one socket after the other.
    for _ in 0..5 {
        for _ in 0..20 {
            phone.answer(id, challenge.attempt, CREDENTIAL).await;
        }
        let before = acknowledged;
        while acknowledged < before + 20 {
            match phone.next().await {
                RelayFrame::Accepted { ceremony_id, attempt } => {
                    assert_eq!((ceremony_id, attempt), (id, challenge.attempt));
                    acknowledged += 1;
                }
                RelayFrame::Closed { outcome, .. } => assert_eq!(outcome, Outcome::Succeeded),
                other => panic!("{other:?}"),
            }
        }
        phone = phone.again().await;
    }
    assert_eq!(acknowledged, 100);
    let other_bytes = CREDENTIAL.replacen(':', ": ", 1);
    phone.answer(id, challenge.attempt, &other_bytes).await;
    let refused = loop {
        match phone.next().await {
            RelayFrame::Error { code, .. } => break code,
            RelayFrame::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused, FrameErrorCode::AlreadyClosed);
    assert_eq!(completions(&fixture.upstream), 1);
    let end = outcome(&fixture, id).await;
    assert_eq!(end, (Status::Ended(Outcome::Succeeded), None));
}

#[tokio::test]
async fn a_hundred_copies_at_once_are_one_completion() {
    let fixture = Fixture::new().await;
    let (phone, challenge) = challenged(&fixture).await;
    let key = CeremonyKey { tenant: TenantId::default(), id: fixture.open.id };
    let device = phone.paired.device_id;
    let event = Event::Answer {
        device,
        attempt: challenge.attempt,
        credential: serde_json::from_str(CREDENTIAL).unwrap(),
        digest: [7; 32],
        by: NodeId::from_bytes([1; 16]),
    };
    let relay = fixture.relay.running.relay();
    let copies = (0..100).map(|_| relay.ceremonies.advance(&key, event.clone()));
    for advanced in futures::future::join_all(copies).await {
        let reply = format!("{:?}", advanced.unwrap().reply);
        assert!(reply.contains("Accepted"), "{reply}");
    }
    let end = outcome(&fixture, fixture.open.id).await;
    assert_eq!(end, (Status::Ended(Outcome::Succeeded), None));
    assert_eq!(completions(&fixture.upstream), 1);
}

#[tokio::test]
async fn without_a_code_the_first_stored_answer_wins_and_the_other_phone_is_told() {
    let fixture = Fixture::new().await;
    let mut other = second(&fixture).await;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    let order = json!({ "type": "authentication", "username": "ada", "binding": "none" });
    let opened = fixture.initiator.open(&order).await;
    assert_eq!(opened.code, None);
    let (mine, theirs) = (phone.challenge().await, other.challenge().await);
    assert_eq!(mine.attempt, theirs.attempt, "one challenge for all of them");
    phone.answer(opened.id, mine.attempt, CREDENTIAL).await;
    other.answer(opened.id, theirs.attempt, CREDENTIAL).await;
    let (mut accepted, mut told) = (0, 0);
    for phone in [&mut phone, &mut other] {
        loop {
            match phone.next().await {
                RelayFrame::Accepted { .. } => accepted += 1,
                RelayFrame::Error { code, .. } => {
                    told += u32::from(code != FrameErrorCode::ClaimedElsewhere);
                }
                RelayFrame::Closed { outcome, .. } => {
                    assert_eq!(outcome, Outcome::Succeeded);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        // Whichever answer came second may have been looked at after the end.
        phone.socket.send_text(r#"{"type":"no_such_frame"}"#).await.unwrap();
        loop {
            match phone.next().await {
                RelayFrame::Error { code: FrameErrorCode::UnknownType, .. } => break,
                RelayFrame::Accepted { .. } => accepted += 1,
                RelayFrame::Error { .. } => told += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((accepted, told), (1, 1));
    assert_eq!(completions(&fixture.upstream), 1);
}

#[tokio::test]
async fn every_card_error_ends_as_its_number_says() {
    let fixture = Fixture::new().await;
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    phone.offer().await;
    for number in 600..=617 {
        let order = json!({ "type": "authentication", "username": "ada", "binding": "none" });
        let opened = fixture.initiator.open(&order).await;
        let challenge = phone.challenge().await;
        phone.card_error(opened.id, number).await;
        let reason = match number {
            600 | 601 | 604 | 607 => {
                // Worth another tap: it goes on.
                phone.answer(opened.id, challenge.attempt, CREDENTIAL).await;
                phone.accepted().await;
                None
            }
            608 => Some(Reason::PinFailed),
            602 | 603 => Some(Reason::NoCredential),
            606 => Some(Reason::CardFull),
            other => Some(Reason::Card(other)),
        };
        let ends = if reason.is_some() { Outcome::Failed } else { Outcome::Succeeded };
        assert_eq!(phone.closed().await, (opened.id, ends, reason), "{number}");
        assert_eq!(outcome(&fixture, opened.id).await, (Status::Ended(ends), reason), "{number}");
        // Reported to the backend by its number; a page learns that it failed and no more.
        let url = format!("{}/v1/ceremonies/{}", fixture.initiator.url, opened.id);
        let by_ticket = fixture.initiator.http.get(url).bearer_auth(&opened.ticket);
        let page: serde_json::Value = by_ticket.send().await.unwrap().json().await.unwrap();
        assert_eq!(page.get("reason"), None, "{number}: {page}");
        assert_eq!(page["status"], if reason.is_some() { "failed" } else { "succeeded" });
    }
}

#[tokio::test]
async fn a_no_in_each_phase_is_a_no() {
    for reason in [DeclineReason::Declined, DeclineReason::NotMe] {
        for with_challenge in [false, true] {
            let fixture = Fixture::new().await;
            let mut phone = if with_challenge {
                challenged(&fixture).await.0
            } else {
                let mut phone = WirePhone::connect(fixture.ada.clone()).await;
                phone.offer().await;
                phone
            };
            phone.decline(fixture.open.id, reason).await;
            let expected = match reason {
                DeclineReason::Declined => Reason::Declined,
                DeclineReason::NotMe => Reason::NotMe,
            };
            let closed = (fixture.open.id, Outcome::Denied, Some(expected));
            assert_eq!(phone.closed().await, closed);
            phone.decline(fixture.open.id, reason).await;
            assert_eq!(phone.refused().await.0, FrameErrorCode::AlreadyClosed);
            assert_eq!(completions(&fixture.upstream), 0);
        }
    }
}

#[tokio::test]
async fn a_cancelled_ceremony_takes_no_answer() {
    let fixture = Fixture::new().await;
    let id = fixture.open.id;
    let (mut phone, challenge) = challenged(&fixture).await;
    let cancelled = fixture.initiator.delete(&format!("/v1/ceremonies/{id}")).await;
    assert_eq!(cancelled.status(), 200);
    assert_eq!(phone.closed().await, (id, Outcome::Cancelled, None));
    phone.answer(id, challenge.attempt, CREDENTIAL).await;
    assert_eq!(phone.refused().await, (FrameErrorCode::AlreadyClosed, Some(id)));
    phone.claim(id, fixture.open.code.as_ref().unwrap()).await;
    assert_eq!(phone.refused().await, (FrameErrorCode::AlreadyClosed, Some(id)));
    phone.ack(id, AckOf::Closed).await;
    phone.hears_nothing().await;
    assert_eq!(completions(&fixture.upstream), 0);
    assert_eq!(outcome(&fixture, id).await.0, Status::Ended(Outcome::Cancelled));
}
