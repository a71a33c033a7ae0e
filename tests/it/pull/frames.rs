//! The socket's frames in hostile hands, sent as bodies: read by the same parser under the same
//! limits, and whatever they are, every answer is one that the protocol has.

use fido_relay_proto::device::{Ack, AckOf, Answer, Claim, FrameError, FrameErrorCode};
use fido_relay_proto::limits::{FRAME_AFTER_AUTH, JSON_DEPTH, JSON_KEYS};
use fido_relay_proto::{AttemptId, CeremonyId, DeviceFrame, RelayFrame, shape};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{opens, phone, relay};
use crate::frames::generator::Generator;
use crate::support::pull_phone::{LOOK, heard};
use crate::support::wire_phone::WirePhone;

/// Bodies that are sent: each costs a signature and a request.
const BODIES: usize = 600;

#[tokio::test]
async fn whatever_the_body_it_is_read_as_on_the_socket() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let opened = opens(&initiator, "registration").await;
    phone.offered(opened.id).await;
    let path = format!("{LOOK}/{}/card", opened.id);
    let mut generator = Generator::new(11, Some(opened.id));
    let (mut invalid, mut unknown, mut misplaced, mut taken) = (0, 0, 0, 0);
    for _ in 0..BODIES {
        let Ok(body) = String::from_utf8(generator.frame()) else { continue };
        if body.is_empty() {
            continue;
        }
        let response = phone.post(&path, &body).await;
        let status = response.status().as_u16();
        if body.len() > FRAME_AFTER_AUTH {
            assert_eq!(status, 413);
            continue;
        }
        let shaped = shape::check(body.as_bytes(), JSON_DEPTH, JSON_KEYS);
        let read = match shaped {
            Ok(()) => DeviceFrame::decode(&body),
            Err(_) => Err(FrameError::Invalid),
        };
        match read {
            Err(error) => {
                let (expected, count) = match error {
                    FrameError::Invalid => (FrameErrorCode::InvalidFrame, &mut invalid),
                    FrameError::UnknownType => (FrameErrorCode::UnknownType, &mut unknown),
                };
                *count += 1;
                let (status, frame) = heard(response).await;
                let Some(RelayFrame::Error { code, .. }) = frame else { panic!("{body}") };
                assert_eq!((status, code), (400, expected), "{body}");
            }
            Ok(DeviceFrame::Card(card)) if card.ceremony_id == opened.id => {
                taken += 1;
                // Who has no challenge says nothing that counts.
                assert!([204, 409].contains(&status), "{status} {body}");
            }
            Ok(_) => {
                misplaced += 1;
                assert_eq!(status, 400, "{body}");
                let problem: Value = response.json().await.unwrap();
                assert_eq!(problem["code"], "invalid_request");
            }
        }
    }
    assert!(invalid > 100 && misplaced > 20 && taken > 1, "{invalid} {misplaced} {taken}");
    assert!(unknown < invalid);
    assert!(initiator.read(opened.id).await.phase == fido_relay_proto::Phase::Offered);
}

#[tokio::test]
async fn a_frame_is_of_the_type_and_ceremony_of_its_path() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let id = opens(&initiator, "registration").await.id;
    let other = CeremonyId::from_bytes([7; 16]);
    let (claim, decline) = ("/v1/device/claim".to_owned(), "/v1/device/decline".to_owned());
    let of = |act: &str| format!("{LOOK}/{id}/{act}");
    let ack = json!({ "type": "ack", "ceremony_id": id, "of": "offer" });
    let misplaced = [
        (of("claim"), ack.clone()),
        (of("ack"), json!({ "type": "ack", "ceremony_id": other, "of": "offer" })),
        (of("claim"), json!({ "type": "claim", "code": "123456" })),
        (of("decline"), json!({ "type": "decline", "reason": "not_me" })),
        (of("ack"), json!({ "type": "ping", "id": "x" })),
        (of("ack"), json!({ "type": "auth", "proof": "e30.e30.c2ln" })),
        (claim.clone(), json!({ "type": "claim", "ceremony_id": id, "code": "123456" })),
        (claim, json!({ "type": "decline", "reason": "not_me" })),
        (decline, json!({ "type": "decline", "ceremony_id": id, "reason": "not_me" })),
    ];
    for (path, body) in misplaced {
        let response = phone.post(&path, &body.to_string()).await;
        assert_eq!(response.status(), 400, "{path} {body}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "invalid_request", "{path} {body}");
        assert!(problem["detail"].as_str().unwrap().starts_with('/'), "{problem}");
    }
    for path in [of("offer"), of("auth"), format!("{LOOK}/cer_x/ack"), format!("{LOOK}/x/ack")] {
        assert_eq!(phone.post(&path, &ack.to_string()).await.status(), 404, "{path}");
    }
    assert_eq!(phone.post(&of("ack"), &ack.to_string()).await.status(), 204);
}

/// What the relay says of a frame does not depend on the road.
#[tokio::test]
async fn both_roads_refuse_the_same_frames_with_the_same_codes() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let (pulling, wired) =
        (phone(&relay, &initiator, "ada").await, phone(&relay, &initiator, "ada").await);
    let third = phone(&relay, &initiator, "ada").await;
    let mut order = super::order("registration");
    let over = opens(&initiator, "registration").await;
    initiator.delete(&format!("/v1/ceremonies/{}", over.id)).await;
    order["device_id"] = json!(third.paired.device_id);
    let theirs = initiator.open(&order).await;
    let taken = opens(&initiator, "registration").await;
    third.offered(taken.id).await;
    third.acks(taken.id, AckOf::Offer).await;
    let code = taken.code.clone().unwrap();
    assert_eq!(third.types(Some(taken.id), &code).await.0, 204);
    let open = opens(&initiator, "registration").await;

    let claim = |ceremony_id, code: &str| {
        DeviceFrame::Claim(Claim { ceremony_id, code: code.to_owned(), claim_id: None })
    };
    let answer = |ceremony_id| {
        let credential = RawValue::from_string("{}".to_owned()).unwrap();
        let attempt = AttemptId::from_bytes([5; 16]);
        DeviceFrame::Answer(Answer { ceremony_id, attempt, credential })
    };
    let nowhere = CeremonyId::from_bytes([9; 16]);
    let theirs_code = theirs.code.clone().unwrap();
    let wrong = if theirs_code == "000000" || code == "000000" { "000001" } else { "000000" };
    let ack = DeviceFrame::Ack(Ack { ceremony_id: nowhere, of: AckOf::Offer });
    let table = [
        (ack, 404, FrameErrorCode::UnknownCeremony),
        (claim(Some(nowhere), "123456"), 404, FrameErrorCode::UnknownCeremony),
        (claim(None, "12345"), 422, FrameErrorCode::CodeMalformed),
        (claim(None, wrong), 422, FrameErrorCode::WrongCode),
        (claim(None, &theirs_code), 409, FrameErrorCode::OtherDevice),
        (claim(Some(taken.id), &code), 409, FrameErrorCode::ClaimedElsewhere),
        (claim(Some(over.id), "123456"), 409, FrameErrorCode::AlreadyClosed),
        (answer(over.id), 409, FrameErrorCode::AlreadyClosed),
        (answer(open.id), 409, FrameErrorCode::NotChallenged),
    ];
    let mut socket = WirePhone::connect(wired.paired.clone()).await;
    for (frame, status, expected) in table {
        let (answered, said) = pulling.says(&frame).await;
        let Some(RelayFrame::Error { code: by_pull, ceremony_id, .. }) = said else {
            panic!("{answered} {said:?} to {frame:?}")
        };
        assert_eq!((answered, by_pull), (status, expected), "{frame:?}");
        socket.send(frame.clone()).await;
        let by_socket = loop {
            match socket.next().await {
                RelayFrame::Error { code, ceremony_id, .. } => break (code, ceremony_id),
                RelayFrame::Offer(_) => {}
                other => panic!("{other:?} to {frame:?}"),
            }
        };
        assert_eq!(by_socket, (by_pull, ceremony_id), "{frame:?}");
    }
}
