//! The app as a pure state machine: prompts on the screen, the person's decisions, and the answers
//! that are kept until the relay has them. Frames, decisions and card results go in, effects come
//! out.
//!
//! It must not know sockets, clocks or tasks. A lost frame shows by what the relay sends again.

mod codes;
mod frames;

use std::collections::{HashMap, HashSet, VecDeque};

use fido_relay_proto::device::{
    Ack, AckOf, Answer, CardErrorCode, Challenge, DeclineReason, Offer,
};
use fido_relay_proto::{AttemptId, CeremonyId, DeviceFrame, NoticeId, RelayFrame};
use serde_json::value::RawValue;

use self::codes::{ClaimIds, SentClaim};
use self::frames::{in_other_bytes, send_answer, send_card, send_decline, worth_another_tap};
use super::event::PhoneEvent;
use super::faults::{DropAt, Faults, SecondAnswer};
use super::person::{Decision, PromptRequest};

/// Seconds after a prompt's deadline in which `closed` may still come: a verification that has begun
/// outlives the deadline.
const GRACE_S: u64 = 15;

/// What the runtime does for the app, in this order.
#[derive(Debug)]
pub(super) enum Effect {
    /// Without a connection the frame is lost; the app sends again what matters.
    Send(DeviceFrame),
    Emit(PhoneEvent),
    Ask(Box<PromptRequest>),
    /// Have the card sign; the result goes to [`App::signed`].
    UseCard(Box<Challenge>),
    /// Call [`App::retry`] after a pause: the relay could not take the frame. `None` is the code that
    /// was typed without a prompt.
    RetrySoon(Option<CeremonyId>),
    /// Call [`App::timed_out`] after this many seconds, unless the prompt is dismissed before. A new
    /// timer replaces the one of the same ceremony, or of the same code without a prompt.
    SetTimer(Option<CeremonyId>, u64),
    /// Drop the prompt's pending decision and timer.
    Dismiss(CeremonyId),
    BreakSocket,
}

/// How far person and card have come with a prompt.
enum PromptStage {
    Asked,
    /// The person agreed. With a code, `sent` is the last claim, and `held` the right code while the
    /// fault of wrong codes is played.
    Agreed {
        sent: Option<SentClaim>,
        held: Option<String>,
    },
    AtCard,
    /// The card signed; the answer is kept until the prompt is dismissed.
    Answered {
        answer: Answer,
        accepted: bool,
        sent_on: u64,
    },
    Declined(DeclineReason),
}

/// One ceremony on the screen.
struct PromptState {
    offer: Offer,
    challenge: Option<Box<Challenge>>,
    stage: PromptStage,
    /// The code that found this ceremony although it was typed without a prompt or into another
    /// one: the person confirms and does not type it again.
    found_by: Option<String>,
    /// Whether the person was asked before.
    asked: bool,
    wrong_codes: u8,
    wrong_codes_to_type: u8,
    card_errors: VecDeque<CardErrorCode>,
}

/// State of the app between two sockets and across them.
pub(super) struct App {
    faults: Faults,
    prompts: HashMap<CeremonyId, PromptState>,
    /// Notices already shown: each comes again with every socket.
    noticed: HashSet<NoticeId>,
    claims: ClaimIds,
    /// The code that was typed without a prompt, until the relay answers it.
    typed: Option<SentClaim>,
    /// Counts connections: an answer is repeated once on each.
    connection: u64,
}

impl App {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            prompts: HashMap::new(),
            noticed: HashSet::new(),
            claims: ClaimIds::default(),
            typed: None,
            connection: 0,
        }
    }

    /// Whether nothing is on the screen and no code waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        self.prompts.is_empty() && self.typed.is_none()
    }

    /// The ceremonies on the screen, always in the same order.
    pub(super) fn shown(&self) -> Vec<CeremonyId> {
        let mut shown: Vec<_> = self.prompts.keys().copied().collect();
        shown.sort_unstable();
        shown
    }

    /// Begins a connection, by a socket or by a wake. Sends what the relay may lack and does not ask
    /// for by repeating the prompt.
    pub(super) fn connected(&mut self) -> Vec<Effect> {
        self.connection += 1;
        let mut effects = Vec::new();
        self.claim_again(&mut effects);
        for prompt in self.prompts.values_mut() {
            if let PromptStage::Answered { answer, accepted: false, sent_on } = &mut prompt.stage {
                *sent_on = self.connection;
                send_answer(answer, &mut effects);
            }
        }
        effects
    }

    /// Takes a frame of a ceremony; frames about the socket itself have no effect here.
    pub(super) fn frame(&mut self, frame: RelayFrame) -> Vec<Effect> {
        match frame {
            RelayFrame::Offer(offer) => self.offered(*offer),
            RelayFrame::Challenge(challenge) => self.challenged(challenge),
            RelayFrame::Accepted { ceremony_id, attempt } => self.accepted(ceremony_id, attempt),
            RelayFrame::Closed { ceremony_id, outcome, reason } => {
                let mut effects = Vec::new();
                self.drop_at(DropAt::Closed, &mut effects);
                self.acknowledge(ceremony_id, AckOf::Closed, &mut effects);
                self.prompts.remove(&ceremony_id);
                effects.push(Effect::Dismiss(ceremony_id));
                effects.push(Effect::Emit(PhoneEvent::Closed { ceremony_id, outcome, reason }));
                effects
            }
            RelayFrame::Error { code, message, ceremony_id, claim_id, .. } => {
                let mut effects =
                    vec![Effect::Emit(PhoneEvent::Refused { code, message, ceremony_id })];
                match ceremony_id {
                    Some(id) => self.refused(id, code, claim_id.as_ref(), &mut effects),
                    None => self.refused_alone(code, claim_id.as_ref(), &mut effects),
                }
                effects
            }
            RelayFrame::Notice(notice) => {
                let news = self.noticed.insert(notice.notice_id);
                news.then_some(Effect::Emit(PhoneEvent::Noticed(notice))).into_iter().collect()
            }
            RelayFrame::Hello { .. }
            | RelayFrame::Welcome { .. }
            | RelayFrame::Reauth { .. }
            | RelayFrame::Pong(_)
            | RelayFrame::Goaway { .. } => Vec::new(),
        }
    }

    fn offered(&mut self, offer: Offer) -> Vec<Effect> {
        let id = offer.ceremony_id;
        let again = self.prompts.contains_key(&id);
        let mut effects =
            vec![Effect::Emit(PhoneEvent::Offered { offer: Box::new(offer.clone()), again })];
        self.drop_at(DropAt::OfferReceived, &mut effects);
        self.acknowledge(id, AckOf::Offer, &mut effects);
        self.drop_at(DropAt::OfferAcked, &mut effects);
        if offer.preview.is_some() {
            self.previewed(offer, &mut effects);
            return effects;
        }
        match self.prompts.get_mut(&id) {
            None => {
                self.show(offer, None, &mut effects);
                self.ask(id, &mut effects);
            }
            // The relay repeats an offer whose claim or "no" it does not have.
            Some(_) => self.repeat(id, &mut effects),
        }
        effects
    }

    fn challenged(&mut self, challenge: Box<Challenge>) -> Vec<Effect> {
        let id = challenge.offer.ceremony_id;
        let known = self.prompts.get(&id);
        let again = known.is_some_and(|prompt| {
            prompt.challenge.as_ref().is_some_and(|known| known.attempt == challenge.attempt)
        });
        let mut effects =
            vec![Effect::Emit(PhoneEvent::Challenged { challenge: challenge.clone(), again })];
        self.drop_at(DropAt::ChallengeReceived, &mut effects);
        self.acknowledge(id, AckOf::Challenge, &mut effects);
        self.drop_at(DropAt::ChallengeAcked, &mut effects);
        let Some(prompt) = self.prompts.get_mut(&id) else {
            // No code was needed, or the app has restarted: the person has yet to agree.
            self.show(challenge.offer.clone(), Some(challenge), &mut effects);
            self.ask(id, &mut effects);
            return effects;
        };
        if again {
            // The same attempt is the same prompt: neither another question nor another signature.
            self.repeat(id, &mut effects);
            return effects;
        }
        prompt.offer = challenge.offer.clone();
        prompt.challenge = Some(challenge);
        match prompt.stage {
            PromptStage::Asked => {}
            PromptStage::Declined(_) => self.repeat(id, &mut effects),
            PromptStage::Agreed { .. } | PromptStage::AtCard | PromptStage::Answered { .. } => {
                self.hold_card(id, &mut effects);
            }
        }
        effects
    }

    fn accepted(&mut self, ceremony_id: CeremonyId, attempt: AttemptId) -> Vec<Effect> {
        let mut effects = vec![Effect::Emit(PhoneEvent::Accepted { ceremony_id, attempt })];
        if let Some(prompt) = self.prompts.get_mut(&ceremony_id)
            && let PromptStage::Answered { answer, accepted, .. } = &mut prompt.stage
            && answer.attempt == attempt
        {
            *accepted = true;
        }
        self.drop_at(DropAt::Accepted, &mut effects);
        effects
    }

    pub(super) fn decided(&mut self, id: CeremonyId, decision: Decision) -> Vec<Effect> {
        let mut effects = Vec::new();
        match decision {
            Decision::Code(code) => self.agrees(id, Some(code), &mut effects),
            Decision::HoldCard => self.agrees(id, None, &mut effects),
            Decision::Decline => self.declines(id, DeclineReason::Declined, &mut effects),
            Decision::NotMe => self.declines(id, DeclineReason::NotMe, &mut effects),
            Decision::Ignore => {}
        }
        effects
    }

    fn agrees(&mut self, id: CeremonyId, code: Option<String>, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let needs_code = prompt.offer.code_length > 0;
        match (&mut prompt.stage, code) {
            (PromptStage::Asked, _) if prompt.challenge.is_some() => self.hold_card(id, effects),
            (PromptStage::Asked, None) if prompt.found_by.is_some() => self.confirm(id, effects),
            (PromptStage::Asked | PromptStage::Agreed { .. }, Some(code)) if needs_code => {
                self.type_code(id, code, effects);
            }
            (PromptStage::Asked, _) if !needs_code => {
                prompt.stage = PromptStage::Agreed { sent: None, held: None };
            }
            (PromptStage::AtCard, None) => self.touch(id, effects),
            (
                PromptStage::Asked
                | PromptStage::Agreed { .. }
                | PromptStage::AtCard
                | PromptStage::Answered { .. }
                | PromptStage::Declined(_),
                _,
            ) => {}
        }
    }

    fn declines(&mut self, id: CeremonyId, reason: DeclineReason, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        match prompt.stage {
            // The answer stays; the relay decides which of the two counts.
            PromptStage::Answered { .. } => {}
            PromptStage::Asked
            | PromptStage::Agreed { .. }
            | PromptStage::AtCard
            | PromptStage::Declined(_) => {
                prompt.stage = PromptStage::Declined(reason);
            }
        }
        send_decline(Some(id), reason, effects);
    }

    /// Reports the prompts that were held back as "not me".
    pub(super) fn held_were_not_me(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        send_decline(None, DeclineReason::NotMe, &mut effects);
        effects
    }

    /// Holds the card to the phone, unless [`Faults::withhold_card`].
    fn hold_card(&mut self, id: CeremonyId, effects: &mut Vec<Effect>) {
        if let Some(prompt) = self.prompts.get_mut(&id) {
            prompt.stage = PromptStage::AtCard;
        }
        if !self.faults.withhold_card {
            self.touch(id, effects);
        }
    }

    fn touch(&mut self, id: CeremonyId, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let Some(challenge) = prompt.challenge.clone() else { return };
        send_card(id, None, effects);
        while let Some(error) = prompt.card_errors.pop_front() {
            send_card(id, Some(error), effects);
            if !worth_another_tap(error) {
                return;
            }
            send_card(id, None, effects);
        }
        self.drop_at(DropAt::CardPresent, effects);
        effects.push(Effect::UseCard(challenge));
    }

    /// Takes the card's result. After a failure another tap needs another decision.
    pub(super) fn signed(
        &mut self,
        challenge: &Challenge,
        result: Result<Box<RawValue>, CardErrorCode>,
    ) -> Vec<Effect> {
        let ceremony_id = challenge.offer.ceremony_id;
        let mut effects = Vec::new();
        let credential = match result {
            Ok(credential) => credential,
            Err(error) => {
                send_card(ceremony_id, Some(error), &mut effects);
                return effects;
            }
        };
        let answer = Answer { ceremony_id, attempt: challenge.attempt, credential };
        send_answer(&answer, &mut effects);
        match self.faults.second_answer {
            None => {}
            Some(SecondAnswer::Same) => send_answer(&answer, &mut effects),
            Some(SecondAnswer::Different) => {
                let credential = in_other_bytes(&answer.credential);
                send_answer(&Answer { credential, ..answer.clone() }, &mut effects);
            }
        }
        if let Some(prompt) = self.prompts.get_mut(&ceremony_id) {
            let sent_on = self.connection;
            prompt.stage = PromptStage::Answered { answer, accepted: false, sent_on };
        }
        self.drop_at(DropAt::AnswerSent, &mut effects);
        effects
    }

    /// Sends again what the relay could not take.
    pub(super) fn retry(&mut self, id: Option<CeremonyId>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(id) = id else {
            self.claim_alone(&mut effects);
            return effects;
        };
        if let Some(prompt) = self.prompts.get_mut(&id)
            && let PromptStage::Answered { sent_on, .. } = &mut prompt.stage
        {
            *sent_on = 0;
        }
        self.repeat(id, &mut effects);
        effects
    }

    /// Repeats the claim, the "no" or the answer; the answer once on each connection.
    fn repeat(&mut self, id: CeremonyId, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        match &mut prompt.stage {
            PromptStage::Agreed { sent: Some(sent), .. } => {
                let sent = sent.clone();
                self.claim(Some(id), sent, effects);
            }
            PromptStage::Answered { answer, sent_on, .. } if *sent_on != self.connection => {
                *sent_on = self.connection;
                send_answer(answer, effects);
            }
            PromptStage::Declined(reason) => send_decline(Some(id), *reason, effects),
            PromptStage::Asked
            | PromptStage::Agreed { .. }
            | PromptStage::AtCard
            | PromptStage::Answered { .. } => {}
        }
    }

    /// Dismisses a prompt whose time is up: after a reconnect the relay does not say what has ended
    /// meanwhile. A code without a prompt is given up, as its page is gone by then.
    pub(super) fn timed_out(&mut self, ceremony_id: Option<CeremonyId>) -> Vec<Effect> {
        let event = Effect::Emit(PhoneEvent::TimedOut { ceremony_id });
        match ceremony_id {
            None => self.typed.take().map(|_| event).into_iter().collect(),
            Some(id) if self.prompts.remove(&id).is_some() => vec![Effect::Dismiss(id), event],
            Some(_) => Vec::new(),
        }
    }

    fn show(&mut self, offer: Offer, challenge: Option<Box<Challenge>>, effects: &mut Vec<Effect>) {
        let ends_in = offer.expires_in.saturating_add(GRACE_S);
        effects.push(Effect::SetTimer(Some(offer.ceremony_id), ends_in));
        let prompt = PromptState {
            challenge,
            stage: PromptStage::Asked,
            found_by: None,
            asked: false,
            wrong_codes: 0,
            wrong_codes_to_type: self.faults.wrong_codes,
            card_errors: self.faults.card_errors.iter().copied().collect(),
            offer,
        };
        self.prompts.insert(prompt.offer.ceremony_id, prompt);
    }

    fn ask(&mut self, id: CeremonyId, effects: &mut Vec<Effect>) {
        if let Some(reason) = self.faults.decline {
            self.declines(id, reason, effects);
        } else if let Some(prompt) = self.prompts.get_mut(&id) {
            let mut offer = prompt.offer.clone();
            if prompt.challenge.is_some() || prompt.found_by.is_some() {
                // Its code has been typed.
                offer.code_length = 0;
            }
            let again = std::mem::replace(&mut prompt.asked, true);
            let ask = PromptRequest { offer, wrong_codes: prompt.wrong_codes, again };
            effects.push(Effect::Ask(Box::new(ask)));
        }
    }

    fn acknowledge(&self, ceremony_id: CeremonyId, of: AckOf, effects: &mut Vec<Effect>) {
        if !self.faults.withhold_acks {
            effects.push(Effect::Send(DeviceFrame::Ack(Ack { ceremony_id, of })));
        }
    }

    /// Breaks the socket at this point if a fault asks for it, once.
    fn drop_at(&mut self, at: DropAt, effects: &mut Vec<Effect>) {
        if let Some(index) = self.faults.drop_at.iter().position(|one| *one == at) {
            self.faults.drop_at.remove(index);
            effects.push(Effect::BreakSocket);
        }
    }
}
