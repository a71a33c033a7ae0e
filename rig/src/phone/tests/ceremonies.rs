//! One ceremony after another, with everything that can go wrong at the phone.

use std::sync::Arc;

use fido_relay_proto::device::{AckOf, Challenge, DeclineReason, FrameErrorCode, Offer};
use fido_relay_proto::{DeviceFrame, Outcome, RelayFrame};

use super::relay::{Line, ScriptedRelay, Stage, a_challenge, an_offer, credential};
use crate::phone::app::{App, Effect};
use crate::phone::{Codes, Decision, DropAt, Faults, PhoneEvent, SecondAnswer, Waits};

/// Offers and takes the right code.
async fn claim(line: &mut Line, offer: &Offer) {
    line.offer(offer).await;
    assert_eq!(line.acked(AckOf::Offer).await, offer.ceremony_id);
    assert_eq!(line.claimed().await, "271828");
}

/// Shows the challenge of an offer, which the phone acknowledges.
async fn challenged(line: &mut Line, offer: &Offer) -> Challenge {
    let challenge = a_challenge(offer);
    line.challenge(&challenge).await;
    line.acked(AckOf::Challenge).await;
    challenge
}

/// A relay, its phone that knows the code and misbehaves so, and an offer that it has claimed.
async fn claimed(faults: Faults) -> (ScriptedRelay, Stage, Line, Offer) {
    let relay = ScriptedRelay::new().await;
    let (stage, offer) = relay.phone_with_code(faults);
    let mut line = relay.welcomed().await;
    claim(&mut line, &offer).await;
    (relay, stage, line, offer)
}

async fn sees_accepted(stage: &mut Stage) {
    stage
        .sees("the acceptance", |event| matches!(event, PhoneEvent::Accepted { .. }).then_some(()))
        .await;
}

#[tokio::test]
async fn a_ceremony_with_a_code_runs_from_offer_to_end() {
    let (_relay, mut stage, mut line, offer) = claimed(Faults::none()).await;
    let challenge = challenged(&mut line, &offer).await;
    assert_eq!(line.card().await, None);
    // Byte for byte, blanks included.
    assert_eq!(line.answered().await, (challenge.attempt, credential(1)));
    line.accept(&challenge).await;
    sees_accepted(&mut stage).await;
    line.end(offer.ceremony_id, Outcome::Succeeded).await;
    assert_eq!(line.acked(AckOf::Closed).await, offer.ceremony_id);
    let outcome = stage
        .sees("the end", |event| {
            if let PhoneEvent::Closed { outcome, .. } = event { Some(outcome) } else { None }
        })
        .await;
    assert_eq!(outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn without_a_code_the_person_only_holds_the_card() {
    let relay = ScriptedRelay::new().await;
    let stage = relay.phone(Arc::new(Codes::default()), Faults::none());
    let mut line = relay.welcomed().await;
    let challenge = challenged(&mut line, &an_offer(0)).await;
    assert_eq!(line.card().await, None);
    assert_eq!(line.answered().await.0, challenge.attempt);
    assert_eq!(stage.card.signatures(), 1);
}

#[tokio::test]
async fn nothing_is_signed_before_the_person_agrees() {
    let relay = ScriptedRelay::new().await;
    let mut stage = relay.phone(Arc::new(Waits), Faults::none());
    let mut line = relay.welcomed().await;
    let challenge = challenged(&mut line, &an_offer(0)).await;
    stage
        .sees("the challenge", |event| {
            matches!(event, PhoneEvent::Challenged { again: false, .. }).then_some(())
        })
        .await;
    assert_eq!(stage.card.signatures(), 0);
    stage.handle.decide(challenge.offer.ceremony_id, Decision::HoldCard).await;
    assert_eq!(line.card().await, None);
    assert_eq!(line.answered().await.0, challenge.attempt);
}

#[tokio::test]
async fn the_same_attempt_is_signed_once_and_another_anew() {
    let (_relay, stage, mut line, offer) = claimed(Faults::none()).await;
    let challenge = challenged(&mut line, &offer).await;
    assert_eq!(line.card().await, None);
    line.answered().await;
    line.challenge(&challenge).await;
    // On the same socket the answer is on its way already: an ack, and nothing more.
    line.acked(AckOf::Challenge).await;
    let another = challenged(&mut line, &offer).await;
    assert_eq!(line.card().await, None);
    assert_eq!(line.answered().await, (another.attempt, credential(2)));
    assert_eq!(stage.card.signatures(), 2);
}

#[tokio::test]
async fn an_answer_is_repeated_byte_for_byte_on_every_socket_until_it_is_accepted() {
    let (relay, mut stage, mut line, offer) = claimed(Faults::drops(&[DropAt::AnswerSent])).await;
    let challenge = challenged(&mut line, &offer).await;
    assert_eq!(line.card().await, None);
    let first = line.answered().await;
    assert!(line.is_gone().await);

    let mut line = relay.welcomed().await;
    assert_eq!(line.answered().await, first);
    // The relay may ask again before it has read the answer.
    line.challenge(&challenge).await;
    line.acked(AckOf::Challenge).await;
    line.close(1012).await;

    let mut line = relay.welcomed().await;
    assert_eq!(line.answered().await, first);
    line.accept(&challenge).await;
    sees_accepted(&mut stage).await;
    line.close(1012).await;

    let mut line = relay.welcomed().await;
    line.end(offer.ceremony_id, Outcome::Succeeded).await;
    line.acked(AckOf::Closed).await;
    assert_eq!(stage.card.signatures(), 1);
}

#[tokio::test]
async fn a_claim_that_was_lost_is_repeated_when_the_offer_comes_again() {
    let (relay, mut stage, mut line, offer) = claimed(Faults::drops(&[DropAt::ClaimSent])).await;
    assert!(line.is_gone().await);
    let mut line = relay.welcomed().await;
    claim(&mut line, &offer).await;
    let agains = [false, true];
    for expected in agains {
        let again = stage
            .sees("the offer", |event| {
                if let PhoneEvent::Offered { again, .. } = event { Some(again) } else { None }
            })
            .await;
        assert_eq!(again, expected);
    }
}

#[tokio::test]
async fn the_socket_breaks_at_every_named_moment_and_the_ceremony_still_ends() {
    for at in [
        DropAt::OfferReceived,
        DropAt::OfferAcked,
        DropAt::ClaimSent,
        DropAt::ChallengeReceived,
        DropAt::ChallengeAcked,
        DropAt::CardPresent,
        DropAt::AnswerSent,
        DropAt::Accepted,
        DropAt::Closed,
    ] {
        let relay = ScriptedRelay::new().await;
        let (stage, offer) = relay.phone_with_code(Faults::drops(&[at]));
        let challenge = a_challenge(&offer);
        let mut sockets = 0;
        let (mut claimed, mut answered) = (false, Vec::new());
        'sockets: loop {
            let mut line = relay.welcomed().await;
            sockets += 1;
            // A relay without memory of what it sent: what is open is sent on every socket.
            if !claimed {
                line.offer(&offer).await;
            } else if answered.is_empty() {
                line.challenge(&challenge).await;
            } else {
                line.accept(&challenge).await;
                line.end(offer.ceremony_id, Outcome::Succeeded).await;
            }
            while let Some(text) = line.text().await {
                match DeviceFrame::decode(&text).unwrap() {
                    DeviceFrame::Claim(claim) => {
                        assert_eq!(claim.code, "271828");
                        claimed = true;
                        line.challenge(&challenge).await;
                    }
                    DeviceFrame::Answer(answer) => {
                        answered.push(answer.credential.get().to_owned());
                        line.accept(&challenge).await;
                        line.end(offer.ceremony_id, Outcome::Succeeded).await;
                    }
                    DeviceFrame::Ack(ack) if ack.of == AckOf::Closed => break 'sockets,
                    DeviceFrame::Ack(_) | DeviceFrame::Card(_) => {}
                    other @ (DeviceFrame::Auth(_)
                    | DeviceFrame::Decline(_)
                    | DeviceFrame::Ping(_)) => panic!("unexpected {other:?} after {at:?}"),
                }
            }
        }
        assert_eq!(sockets, 2, "{at:?} breaks the socket once");
        assert!(answered.iter().all(|bytes| *bytes == credential(1)), "{at:?}");
        assert_eq!(stage.card.signatures(), 1, "{at:?}");
    }
}

#[tokio::test]
async fn wrong_codes_come_before_the_right_one() {
    let relay = ScriptedRelay::new().await;
    let (_stage, offer) = relay.phone_with_code(Faults { wrong_codes: 2, ..Faults::none() });
    let mut line = relay.welcomed().await;
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    for _ in 0..2 {
        assert_eq!(line.claimed().await, "271829");
        line.refuse(offer.ceremony_id, FrameErrorCode::WrongCode).await;
    }
    assert_eq!(line.claimed().await, "271828");
}

#[tokio::test]
async fn a_refused_code_is_asked_for_again() {
    let relay = ScriptedRelay::new().await;
    let codes = Codes::default();
    let _stage = relay.phone(Arc::new(codes.clone()), Faults::none());
    let mut line = relay.welcomed().await;
    let offer = an_offer(6);
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    codes.provide(offer.ceremony_id, "111111");
    assert_eq!(line.claimed().await, "111111");
    line.refuse(offer.ceremony_id, FrameErrorCode::WrongCode).await;
    codes.provide(offer.ceremony_id, "222222");
    assert_eq!(line.claimed().await, "222222");
}

#[tokio::test]
async fn what_the_relay_could_not_take_is_sent_again() {
    let (_relay, stage, mut line, offer) = claimed(Faults::none()).await;
    line.refuse(offer.ceremony_id, FrameErrorCode::Unavailable).await;
    assert_eq!(line.claimed().await, "271828");
    challenged(&mut line, &offer).await;
    assert_eq!(line.card().await, None);
    let first = line.answered().await;
    line.refuse(offer.ceremony_id, FrameErrorCode::Unavailable).await;
    assert_eq!(line.answered().await, first);
    assert_eq!(stage.card.signatures(), 1);
}

#[tokio::test]
async fn a_lost_tag_is_told_and_tapped_again() {
    let (_relay, _stage, mut line, offer) = claimed(Faults::tag_lost()).await;
    challenged(&mut line, &offer).await;
    let taps = [line.card().await, line.card().await, line.card().await];
    assert_eq!(taps, [None, Some(600), None]);
    assert_eq!(line.answered().await.1, credential(1));
}

#[tokio::test]
async fn a_wrong_pin_or_a_missing_credential_is_not_tapped_again() {
    for (faults, number) in [(Faults::wrong_pin(), 608), (Faults::no_credential(), 602)] {
        let (_relay, stage, mut line, offer) = claimed(faults).await;
        challenged(&mut line, &offer).await;
        assert_eq!([line.card().await, line.card().await], [None, Some(number)]);
        line.end(offer.ceremony_id, Outcome::Failed).await;
        line.acked(AckOf::Closed).await;
        assert_eq!(stage.card.signatures(), 0);
    }
}

#[tokio::test]
async fn an_error_of_the_card_itself_is_told_and_left_to_the_person() {
    let relay = ScriptedRelay::new().await;
    let (stage, offer) = relay.phone_with_code(Faults::none());
    stage.card.errors.lock().unwrap().push_back(607);
    let mut line = relay.welcomed().await;
    claim(&mut line, &offer).await;
    challenged(&mut line, &offer).await;
    assert_eq!([line.card().await, line.card().await], [None, Some(607)]);
    stage.handle.decide(offer.ceremony_id, Decision::HoldCard).await;
    assert_eq!(line.card().await, None);
    assert_eq!(line.answered().await.1, credential(1));
}

#[tokio::test]
async fn a_withheld_card_waits_for_the_script() {
    let (_relay, stage, mut line, offer) =
        claimed(Faults { withhold_card: true, ..Faults::none() }).await;
    challenged(&mut line, &offer).await;
    stage.handle.decide(offer.ceremony_id, Decision::NotMe).await;
    let DeviceFrame::Decline(no) = line.frame().await else { panic!() };
    assert_eq!(no.reason, DeclineReason::NotMe);
    assert_eq!(stage.card.signatures(), 0);
}

#[tokio::test]
async fn a_no_is_told_without_asking_and_told_again_when_asked_again() {
    for reason in [DeclineReason::Declined, DeclineReason::NotMe] {
        let relay = ScriptedRelay::new().await;
        let stage = relay.phone(Arc::new(Waits), Faults::declines(reason));
        let mut line = relay.welcomed().await;
        let offer = an_offer(6);
        for _ in 0..2 {
            line.offer(&offer).await;
            line.acked(AckOf::Offer).await;
            let DeviceFrame::Decline(no) = line.frame().await else { panic!() };
            assert_eq!((no.ceremony_id, no.reason), (Some(offer.ceremony_id), reason));
        }
        assert_eq!(stage.card.signatures(), 0);
    }
}

#[tokio::test]
async fn an_answer_can_be_sent_twice_in_the_same_or_in_other_bytes() {
    for second in [SecondAnswer::Same, SecondAnswer::Different] {
        let faults = Faults { second_answer: Some(second), ..Faults::none() };
        let (relay, stage, mut line, offer) = claimed(faults).await;
        challenged(&mut line, &offer).await;
        assert_eq!(line.card().await, None);
        let (first, again) = (line.answered().await.1, line.answered().await.1);
        assert_eq!(first == again, second == SecondAnswer::Same);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&first), read(&again));
        // What is repeated later is the first.
        line.close(1012).await;
        let mut line = relay.welcomed().await;
        assert_eq!(line.answered().await.1, first);
        assert_eq!(stage.card.signatures(), 1);
    }
}

#[tokio::test]
async fn without_acks_the_phone_still_takes_part() {
    let relay = ScriptedRelay::new().await;
    let (_stage, offer) = relay.phone_with_code(Faults { withhold_acks: true, ..Faults::none() });
    let mut line = relay.welcomed().await;
    line.offer(&offer).await;
    assert_eq!(line.claimed().await, "271828");
}

#[tokio::test]
async fn a_person_decides_while_the_phone_is_without_a_socket() {
    let relay = ScriptedRelay::new().await;
    let mut stage = relay.phone(Arc::new(Waits), Faults::drops(&[DropAt::OfferAcked]));
    let mut line = relay.welcomed().await;
    let offer = an_offer(6);
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    stage
        .sees("the break", |event| matches!(event, PhoneEvent::Disconnected { .. }).then_some(()))
        .await;
    stage.handle.decide(offer.ceremony_id, Decision::Code("314159".to_owned())).await;
    stage
        .sees("the claim", |event| matches!(event, PhoneEvent::Claimed { .. }).then_some(()))
        .await;
    // Nothing was at the other end then; the offer brings it out again.
    let mut line = relay.welcomed().await;
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    assert_eq!(line.claimed().await, "314159");
}

#[tokio::test]
async fn a_prompt_that_was_taken_down_takes_no_decision() {
    let relay = ScriptedRelay::new().await;
    let codes = Codes::default();
    let stage = relay.phone(Arc::new(codes.clone()), Faults::none());
    let mut line = relay.welcomed().await;
    let gone = an_offer(6);
    line.offer(&gone).await;
    line.acked(AckOf::Offer).await;
    line.refuse(gone.ceremony_id, FrameErrorCode::ClaimedElsewhere).await;
    line.end(gone.ceremony_id, Outcome::Succeeded).await;
    line.acked(AckOf::Closed).await;
    codes.provide(gone.ceremony_id, "271828");
    stage.handle.decide(gone.ceremony_id, Decision::Code("271828".to_owned())).await;
    // The next frame from the phone is about the next ceremony.
    let next = an_offer(6);
    line.offer(&next).await;
    assert_eq!(line.acked(AckOf::Offer).await, next.ceremony_id);
}

#[tokio::test]
async fn a_prompt_whose_end_was_never_told_is_taken_down_when_its_time_is_up() {
    let offer = an_offer(6);
    let ceremony_id = offer.ceremony_id;
    let mut app = App::new(Faults::none());
    let effects = app.frame(RelayFrame::Offer(Box::new(offer.clone())));
    let alarm = effects.iter().find_map(|effect| match effect {
        Effect::SetTimer(id, seconds) => Some((*id, *seconds)),
        Effect::Send(_)
        | Effect::Emit(_)
        | Effect::Ask(_)
        | Effect::UseCard(_)
        | Effect::RetrySoon(_)
        | Effect::Dismiss(_)
        | Effect::BreakSocket => None,
    });
    assert_eq!(alarm, Some((Some(ceremony_id), offer.expires_in + 15)));
    let effects = app.timed_out(Some(ceremony_id));
    assert!(matches!(effects[..], [Effect::Dismiss(_), Effect::Emit(PhoneEvent::TimedOut { .. })]));
    assert!(app.timed_out(Some(ceremony_id)).is_empty());
    assert!(app.decided(ceremony_id, Decision::Code("271828".to_owned())).is_empty());
}
