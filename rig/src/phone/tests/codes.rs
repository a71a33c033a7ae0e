//! The code is the address: typed alone, typed under another ceremony's prompt, sent again.

use std::sync::{Arc, Mutex};

use fido_relay_proto::device::{
    AckOf, Claim, DeclineReason, FrameErrorCode, Notice, NoticeEvent, Offer,
};
use fido_relay_proto::{CeremonyId, DeviceFrame, NoticeId, RelayFrame};
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::relay::{Line, ScriptedRelay, Stage, a_challenge, an_offer, credential, soon};
use crate::phone::{Decision, DropAt, Faults, Person, PhoneEvent, PromptRequest, Waits};

/// Passes on what they are asked, and leaves the decision to the test.
struct Passes(Mutex<mpsc::Sender<PromptRequest>>);

impl Person for Passes {
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision> {
        self.0.lock().unwrap().try_send(ask).unwrap();
        Box::pin(std::future::pending())
    }
}

/// A phone, its relay, and what its person is asked.
struct Scene {
    relay: ScriptedRelay,
    stage: Stage,
    asks: mpsc::Receiver<PromptRequest>,
}

impl Scene {
    async fn new(faults: Faults) -> (Self, Line) {
        let relay = ScriptedRelay::new().await;
        let (passes, asks) = mpsc::channel(64);
        let stage = relay.phone(Arc::new(Passes(Mutex::new(passes))), faults);
        let line = relay.welcomed().await;
        (Self { relay, stage, asks }, line)
    }

    async fn asked(&mut self) -> PromptRequest {
        soon("a question", self.asks.recv()).await.unwrap()
    }

    async fn refusal(&mut self) -> (FrameErrorCode, Option<CeremonyId>) {
        let refusal = |event| {
            let PhoneEvent::Refused { code, ceremony_id, .. } = event else { return None };
            Some((code, ceremony_id))
        };
        self.stage.sees("the refusal", refusal).await
    }
}

/// Shows what the code found, up to the question of the person.
async fn previewed(
    scene: &mut Scene,
    line: &mut Line,
    offer: &Offer,
    claim: &Claim,
) -> PromptRequest {
    line.preview(offer, claim).await;
    assert_eq!(line.acked(AckOf::Offer).await, offer.ceremony_id);
    scene.asked().await
}

#[tokio::test]
async fn a_code_typed_alone_previews_and_is_taken_up_once_the_person_confirms() {
    let (mut scene, mut line) = Scene::new(Faults::none()).await;
    scene.stage.handle.type_code("271828").await;
    let first = line.claim().await;
    assert_eq!((first.ceremony_id, first.code.as_str()), (None, "271828"));
    let offer = an_offer(6);
    let ask = previewed(&mut scene, &mut line, &offer, &first).await;
    assert_eq!(ask.offer.ceremony_id, offer.ceremony_id);
    assert!(ask.offer.preview.is_some() && !ask.again, "the person sees that a code found it");
    assert_eq!(ask.offer.code_length, 0, "and need not type it again");
    scene.stage.handle.decide(offer.ceremony_id, Decision::HoldCard).await;
    let second = line.claim().await;
    assert_eq!((second.ceremony_id, second.code), (Some(offer.ceremony_id), first.code));
    assert!(second.claim_id.is_some() && second.claim_id != first.claim_id);
    let challenge = a_challenge(&offer);
    line.challenge(&challenge).await;
    line.acked(AckOf::Challenge).await;
    assert_eq!(line.card().await, None);
    assert_eq!(line.answered().await, (challenge.attempt, credential(1)));
}

#[tokio::test]
async fn nothing_is_claimed_when_the_person_says_no_to_what_their_code_found() {
    let (mut scene, mut line) = Scene::new(Faults::none()).await;
    scene.stage.handle.type_code("271828").await;
    let claim = line.claim().await;
    let offer = an_offer(6);
    previewed(&mut scene, &mut line, &offer, &claim).await;
    scene.stage.handle.decide(offer.ceremony_id, Decision::NotMe).await;
    let DeviceFrame::Decline(no) = line.frame().await else { panic!() };
    assert_eq!((no.ceremony_id, no.reason), (Some(offer.ceremony_id), DeclineReason::NotMe));
}

#[tokio::test]
async fn a_code_typed_under_another_prompt_previews_its_own_and_that_prompt_asks_again() {
    let (mut scene, mut line) = Scene::new(Faults::none()).await;
    let (others, own) = (an_offer(6), an_offer(6));
    line.offer(&others).await;
    line.acked(AckOf::Offer).await;
    scene.asked().await;
    let typed = Decision::Code("271828".to_owned());
    scene.stage.handle.decide(others.ceremony_id, typed).await;
    let claim = line.claim().await;
    assert_eq!(claim.ceremony_id, Some(others.ceremony_id));
    let ask = previewed(&mut scene, &mut line, &own, &claim).await;
    assert_eq!((ask.offer.ceremony_id, ask.offer.code_length), (own.ceremony_id, 0));
    let ask = scene.asked().await;
    assert_eq!((ask.offer.ceremony_id, ask.offer.code_length), (others.ceremony_id, 6));
    assert!(ask.again && ask.wrong_codes == 0);
    // It forgot the code: offered anew, it sends none.
    line.offer(&others).await;
    line.acked(AckOf::Offer).await;
    scene.stage.handle.decide(own.ceremony_id, Decision::HoldCard).await;
    let second = line.claim().await;
    assert_eq!((second.ceremony_id, second.code.as_str()), (Some(own.ceremony_id), "271828"));
}

#[tokio::test]
async fn a_preview_of_the_prompt_that_the_code_was_typed_into_is_claimed_without_a_question() {
    let (mut scene, mut line) = Scene::new(Faults::drops(&[DropAt::OfferAcked])).await;
    let offer = an_offer(6);
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    scene.asked().await;
    let mut line = scene.relay.welcomed().await;
    // Before the relay has shown it on this socket.
    let typed = Decision::Code("271828".to_owned());
    scene.stage.handle.decide(offer.ceremony_id, typed).await;
    let claim = line.claim().await;
    line.preview(&offer, &claim).await;
    assert_eq!(line.acked(AckOf::Offer).await, offer.ceremony_id);
    let again = line.claim().await;
    assert_eq!((again.ceremony_id, again.claim_id), (claim.ceremony_id, claim.claim_id));
    assert!(scene.asks.try_recv().is_err(), "the person was asked before");
}

#[tokio::test]
async fn a_claim_that_was_lost_is_repeated_under_its_id_and_a_new_one_has_another() {
    let (mut scene, mut line) = Scene::new(Faults::drops(&[DropAt::ClaimSent])).await;
    scene.stage.handle.type_code("271828").await;
    let lost = line.claim().await;
    assert!(line.is_gone().await);
    let mut line = scene.relay.welcomed().await;
    let again = line.claim().await;
    assert_eq!((again.ceremony_id, &again.code), (None, &lost.code));
    assert_eq!(again.claim_id, lost.claim_id);
    // The confirmation as well: the relay does not show a preview again by itself.
    let offer = an_offer(6);
    previewed(&mut scene, &mut line, &offer, &again).await;
    scene.stage.handle.decide(offer.ceremony_id, Decision::HoldCard).await;
    let confirmed = line.claim().await;
    line.close(1012).await;
    let mut line = scene.relay.welcomed().await;
    let again = line.claim().await;
    assert_eq!(again.ceremony_id, confirmed.ceremony_id);
    assert_eq!(again.claim_id, confirmed.claim_id);
    assert!(again.claim_id.is_some() && again.claim_id != lost.claim_id);
}

#[tokio::test]
async fn every_refusal_of_a_code_typed_alone_is_told_and_the_code_forgotten() {
    for code in [
        FrameErrorCode::WrongCode,
        FrameErrorCode::CodeMalformed,
        FrameErrorCode::OtherDevice,
        FrameErrorCode::CodeAmbiguous,
        FrameErrorCode::TooManyCodes,
        FrameErrorCode::DeviceLocked,
    ] {
        let (mut scene, mut line) = Scene::new(Faults::none()).await;
        scene.stage.handle.type_code("271828").await;
        let claim = line.claim().await;
        line.refuse_claim(&claim, code).await;
        assert_eq!(scene.refusal().await, (code, None));
        line.close(1012).await;
        let mut line = scene.relay.welcomed().await;
        scene.stage.handle.type_code("314159").await;
        assert_eq!(line.claimed().await, "314159", "{code:?}: the first is not sent again");
    }
}

#[tokio::test]
async fn a_code_that_was_not_looked_at_is_sent_again() {
    let (scene, mut line) = Scene::new(Faults::none()).await;
    scene.stage.handle.type_code("271828").await;
    let claim = line.claim().await;
    line.refuse_claim(&claim, FrameErrorCode::Unavailable).await;
    assert_eq!(line.claim().await.claim_id, claim.claim_id);
    line.error(FrameErrorCode::SlowDown, None, None).await;
    assert_eq!(line.claim().await.claim_id, claim.claim_id);
}

#[tokio::test]
async fn a_prompt_whose_code_was_refused_asks_again_and_counts_wrong_ones_alone() {
    let (mut scene, mut line) = Scene::new(Faults::none()).await;
    let offer = an_offer(6);
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    scene.asked().await;
    for (code, wrong_codes) in [
        (FrameErrorCode::CodeMalformed, 0),
        (FrameErrorCode::WrongCode, 1),
        (FrameErrorCode::OtherDevice, 1),
        (FrameErrorCode::CodeAmbiguous, 1),
        (FrameErrorCode::TooManyCodes, 1),
        (FrameErrorCode::DeviceLocked, 1),
    ] {
        let typed = Decision::Code("271828".to_owned());
        scene.stage.handle.decide(offer.ceremony_id, typed).await;
        let claim = line.claim().await;
        line.refuse_claim(&claim, code).await;
        assert_eq!(scene.refusal().await, (code, Some(offer.ceremony_id)));
        let ask = scene.asked().await;
        assert_eq!((ask.wrong_codes, ask.again), (wrong_codes, true), "{code:?}");
        assert_eq!(ask.offer.code_length, 6);
    }
}

#[tokio::test]
async fn the_answer_to_an_earlier_code_does_not_refuse_the_one_typed_since() {
    let (mut scene, mut line) = Scene::new(Faults::none()).await;
    let offer = an_offer(6);
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    scene.asked().await;
    let mut claims = Vec::new();
    for code in ["111111", "222222"] {
        scene.stage.handle.decide(offer.ceremony_id, Decision::Code(code.to_owned())).await;
        claims.push(line.claim().await);
    }
    line.refuse_claim(&claims[0], FrameErrorCode::WrongCode).await;
    scene.refusal().await;
    // Offered anew, the second one is said again: it still waits for its answer.
    line.offer(&offer).await;
    line.acked(AckOf::Offer).await;
    assert_eq!(line.claimed().await, "222222");
    assert!(scene.asks.try_recv().is_err());
}

#[tokio::test]
async fn prompts_that_were_held_back_are_told_and_answered_with_not_me() {
    let relay = ScriptedRelay::new().await;
    let mut stage = relay.phone(Arc::new(Waits), Faults::none());
    let mut line = relay.welcomed().await;
    let notice = Notice {
        notice_id: NoticeId::from_bytes([1; 16]),
        event: NoticeEvent::PromptsHeld,
        device_id: None,
        card_id: None,
        name: None,
        platform: None,
        ago_s: 3,
        count: Some(7),
        since_s: Some(60),
    };
    line.send(&RelayFrame::Notice(Box::new(notice))).await;
    let pick = |event| if let PhoneEvent::Noticed(notice) = event { Some(notice) } else { None };
    assert_eq!(stage.sees("the notice", pick).await.count, Some(7));
    stage.handle.report_not_me().await;
    let DeviceFrame::Decline(no) = line.frame().await else { panic!() };
    assert_eq!((no.ceremony_id, no.reason), (None, DeclineReason::NotMe));
}

#[test]
fn a_code_typed_alone_is_not_sent_to_a_page_that_is_gone() {
    use crate::phone::app::{App, Effect};
    let mut app = App::new(Faults::none());
    let effects = app.typed_alone("271828".to_owned());
    assert!(effects.iter().any(|effect| matches!(effect, Effect::SetTimer(None, 120))));
    assert!(
        app.connected().iter().any(|effect| matches!(effect, Effect::Send(DeviceFrame::Claim(_))))
    );
    let effects = app.timed_out(None);
    assert!(matches!(effects[..], [Effect::Emit(PhoneEvent::TimedOut { ceremony_id: None })]));
    assert!(app.timed_out(None).is_empty() && app.connected().is_empty());
}
