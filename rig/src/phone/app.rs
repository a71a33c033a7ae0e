//! The app without its socket, pure: what it shows, what the person and the card have said, and
//! what it keeps to send again. Frames, decisions and card results go in, acts come out.
//!
//! It must not know sockets, clocks or tasks; that a frame was lost it learns from the relay
//! sending something again.

mod codes;
mod frames;

use std::collections::{HashMap, HashSet, VecDeque};

use fido_relay_proto::device::{
    Ack, AckOf, Answer, CardErrorCode, Challenge, DeclineReason, Offer,
};
use fido_relay_proto::{AttemptId, CeremonyId, DeviceFrame, NoticeId, RelayFrame};
use serde_json::value::RawValue;

use self::codes::{Claims, Sent};
use self::frames::{in_other_bytes, send_answer, send_card, send_decline, worth_another_tap};
use super::event::PhoneEvent;
use super::faults::{DropAt, Faults, SecondAnswer};
use super::person::{Ask, Decision};

/// Seconds after a prompt's time in which its end may still come: an answer under verification
/// outlives the deadline.
const GRACE_S: u64 = 15;

/// What the app wants done, in this order.
#[derive(Debug)]
pub(super) enum Act {
    /// Send this; without a socket it is lost, and the app knows how to do without it.
    Send(DeviceFrame),
    /// Tell whoever watches.
    Tell(PhoneEvent),
    /// Ask the person.
    Ask(Box<Ask>),
    /// Let the card sign, and give the result to [`App::signed`].
    UseCard(Box<Challenge>),
    /// Call [`App::retry`] in a moment: the relay could not take the frame. Without a ceremony it is
    /// about the code that was typed alone.
    RetrySoon(Option<CeremonyId>),
    /// Call [`App::timed_out`] after this many seconds, unless the prompt is taken down before. The
    /// last one for a ceremony counts, and the last one for codes typed alone.
    WakeIn(Option<CeremonyId>, u64),
    /// The prompt is gone: nobody need decide or wake any more.
    TakeDown(CeremonyId),
    /// Break the socket.
    Drop,
}

/// How far the person and the card are with one prompt.
enum Stage {
    /// The person decides.
    Asked,
    /// The person agreed. With a code, `sent` is what the relay was told last and `held` the right
    /// one while a wrong one is tried first.
    Agreed { sent: Option<Sent>, held: Option<String> },
    /// The card's turn.
    AtCard,
    /// The card signed. Kept until the prompt is taken down.
    Answered { answer: Answer, accepted: bool, sent_on: u64 },
    /// The person said no.
    Declined(DeclineReason),
}

/// One ceremony on the screen.
struct Prompt {
    offer: Offer,
    challenge: Option<Box<Challenge>>,
    stage: Stage,
    /// The code that found it where no prompt, or that of another ceremony, asked for it: the
    /// person confirms, and need not type it again.
    found_by: Option<String>,
    /// Whether the person was asked before.
    asked: bool,
    wrong_codes: u8,
    wrong_codes_to_type: u8,
    card_errors: VecDeque<CardErrorCode>,
}

/// The app.
pub(super) struct App {
    faults: Faults,
    prompts: HashMap<CeremonyId, Prompt>,
    /// Notices that were shown.
    noticed: HashSet<NoticeId>,
    claims: Claims,
    /// A code that was typed where no prompt asked for it, until it is answered.
    typed: Option<Sent>,
    /// Counts the sockets, so that an answer is repeated once on each.
    connection: u64,
}

impl App {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            prompts: HashMap::new(),
            noticed: HashSet::new(),
            claims: Claims::default(),
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

    /// A new socket was welcomed, or the app woke: what the relay may not have yet, and does not ask for by sending
    /// the prompt again, goes out first.
    pub(super) fn connected(&mut self) -> Vec<Act> {
        self.connection += 1;
        let mut acts = Vec::new();
        self.claim_again(&mut acts);
        for prompt in self.prompts.values_mut() {
            if let Stage::Answered { answer, accepted: false, sent_on } = &mut prompt.stage {
                *sent_on = self.connection;
                send_answer(answer, &mut acts);
            }
        }
        acts
    }

    /// A frame came. Those about the socket itself are not the app's.
    pub(super) fn frame(&mut self, frame: RelayFrame) -> Vec<Act> {
        match frame {
            RelayFrame::Offer(offer) => self.offered(*offer),
            RelayFrame::Challenge(challenge) => self.challenged(challenge),
            RelayFrame::Accepted { ceremony_id, attempt } => self.accepted(ceremony_id, attempt),
            RelayFrame::Closed { ceremony_id, outcome, reason } => {
                let mut acts = Vec::new();
                self.breaks(DropAt::Closed, &mut acts);
                self.acknowledge(ceremony_id, AckOf::Closed, &mut acts);
                self.prompts.remove(&ceremony_id);
                acts.push(Act::TakeDown(ceremony_id));
                acts.push(Act::Tell(PhoneEvent::Closed { ceremony_id, outcome, reason }));
                acts
            }
            RelayFrame::Error { code, message, ceremony_id, claim_id, .. } => {
                let mut acts = vec![Act::Tell(PhoneEvent::Refused { code, message, ceremony_id })];
                match ceremony_id {
                    Some(id) => self.refused(id, code, claim_id.as_ref(), &mut acts),
                    None => self.refused_alone(code, claim_id.as_ref(), &mut acts),
                }
                acts
            }
            RelayFrame::Notice(notice) => {
                // It comes again with every socket; the person sees it once.
                let news = self.noticed.insert(notice.notice_id);
                news.then_some(Act::Tell(PhoneEvent::Noticed(notice))).into_iter().collect()
            }
            RelayFrame::Hello { .. }
            | RelayFrame::Welcome { .. }
            | RelayFrame::Reauth { .. }
            | RelayFrame::Pong(_)
            | RelayFrame::Goaway { .. } => Vec::new(),
        }
    }

    fn offered(&mut self, offer: Offer) -> Vec<Act> {
        let id = offer.ceremony_id;
        let again = self.prompts.contains_key(&id);
        let mut acts =
            vec![Act::Tell(PhoneEvent::Offered { offer: Box::new(offer.clone()), again })];
        self.breaks(DropAt::OfferReceived, &mut acts);
        self.acknowledge(id, AckOf::Offer, &mut acts);
        self.breaks(DropAt::OfferAcked, &mut acts);
        if offer.preview.is_some() {
            self.previewed(offer, &mut acts);
            return acts;
        }
        match self.prompts.get_mut(&id) {
            None => {
                self.show(offer, None, &mut acts);
                self.ask(id, &mut acts);
            }
            // The relay offers what it has not been told: tell it again.
            Some(_) => self.repeat(id, &mut acts),
        }
        acts
    }

    fn challenged(&mut self, challenge: Box<Challenge>) -> Vec<Act> {
        let id = challenge.offer.ceremony_id;
        let known = self.prompts.get(&id);
        let again = known.is_some_and(|prompt| {
            prompt.challenge.as_ref().is_some_and(|known| known.attempt == challenge.attempt)
        });
        let mut acts =
            vec![Act::Tell(PhoneEvent::Challenged { challenge: challenge.clone(), again })];
        self.breaks(DropAt::ChallengeReceived, &mut acts);
        self.acknowledge(id, AckOf::Challenge, &mut acts);
        self.breaks(DropAt::ChallengeAcked, &mut acts);
        let Some(prompt) = self.prompts.get_mut(&id) else {
            // No code was needed, or the app was started anew since: the person has to agree.
            self.show(challenge.offer.clone(), Some(challenge), &mut acts);
            self.ask(id, &mut acts);
            return acts;
        };
        if again {
            // The same attempt is the same prompt: neither another question nor another signature.
            self.repeat(id, &mut acts);
            return acts;
        }
        prompt.offer = challenge.offer.clone();
        prompt.challenge = Some(challenge);
        match prompt.stage {
            Stage::Asked => {}
            Stage::Declined(_) => self.repeat(id, &mut acts),
            Stage::Agreed { .. } | Stage::AtCard | Stage::Answered { .. } => {
                self.hold_card(id, &mut acts);
            }
        }
        acts
    }

    fn accepted(&mut self, ceremony_id: CeremonyId, attempt: AttemptId) -> Vec<Act> {
        let mut acts = vec![Act::Tell(PhoneEvent::Accepted { ceremony_id, attempt })];
        if let Some(prompt) = self.prompts.get_mut(&ceremony_id)
            && let Stage::Answered { answer, accepted, .. } = &mut prompt.stage
            && answer.attempt == attempt
        {
            *accepted = true;
        }
        self.breaks(DropAt::Accepted, &mut acts);
        acts
    }

    /// The person decided.
    pub(super) fn decided(&mut self, id: CeremonyId, decision: Decision) -> Vec<Act> {
        let mut acts = Vec::new();
        match decision {
            Decision::Code(code) => self.agrees(id, Some(code), &mut acts),
            Decision::HoldCard => self.agrees(id, None, &mut acts),
            Decision::Decline => self.declines(id, DeclineReason::Declined, &mut acts),
            Decision::NotMe => self.declines(id, DeclineReason::NotMe, &mut acts),
            Decision::Ignore => {}
        }
        acts
    }

    fn agrees(&mut self, id: CeremonyId, code: Option<String>, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let needs_code = prompt.offer.code_length > 0;
        match (&mut prompt.stage, code) {
            (Stage::Asked, _) if prompt.challenge.is_some() => self.hold_card(id, acts),
            (Stage::Asked, None) if prompt.found_by.is_some() => self.confirm(id, acts),
            (Stage::Asked | Stage::Agreed { .. }, Some(code)) if needs_code => {
                self.type_code(id, code, acts);
            }
            (Stage::Asked, _) if !needs_code => {
                prompt.stage = Stage::Agreed { sent: None, held: None };
            }
            (Stage::AtCard, None) => self.touch(id, acts),
            (
                Stage::Asked
                | Stage::Agreed { .. }
                | Stage::AtCard
                | Stage::Answered { .. }
                | Stage::Declined(_),
                _,
            ) => {}
        }
    }

    fn declines(&mut self, id: CeremonyId, reason: DeclineReason, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        match prompt.stage {
            // What the card has signed stays signed; the "no" is told all the same.
            Stage::Answered { .. } => {}
            Stage::Asked | Stage::Agreed { .. } | Stage::AtCard | Stage::Declined(_) => {
                prompt.stage = Stage::Declined(reason);
            }
        }
        send_decline(Some(id), reason, acts);
    }

    /// The person did not ask for the prompts that were held back.
    pub(super) fn held_were_not_me(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        send_decline(None, DeclineReason::NotMe, &mut acts);
        acts
    }

    /// The person holds the card to the phone by themselves, unless a fault keeps them from it.
    fn hold_card(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        if let Some(prompt) = self.prompts.get_mut(&id) {
            prompt.stage = Stage::AtCard;
        }
        if !self.faults.withhold_card {
            self.touch(id, acts);
        }
    }

    fn touch(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let Some(challenge) = prompt.challenge.clone() else { return };
        send_card(id, None, acts);
        while let Some(error) = prompt.card_errors.pop_front() {
            send_card(id, Some(error), acts);
            if !worth_another_tap(error) {
                return;
            }
            send_card(id, None, acts);
        }
        self.breaks(DropAt::CardPresent, acts);
        acts.push(Act::UseCard(challenge));
    }

    /// The card answered a challenge, or failed. After a failure the person may tap again, by
    /// their own decision.
    pub(super) fn signed(
        &mut self,
        challenge: &Challenge,
        result: Result<Box<RawValue>, CardErrorCode>,
    ) -> Vec<Act> {
        let ceremony_id = challenge.offer.ceremony_id;
        let mut acts = Vec::new();
        let credential = match result {
            Ok(credential) => credential,
            Err(error) => {
                send_card(ceremony_id, Some(error), &mut acts);
                return acts;
            }
        };
        let answer = Answer { ceremony_id, attempt: challenge.attempt, credential };
        send_answer(&answer, &mut acts);
        match self.faults.second_answer {
            None => {}
            Some(SecondAnswer::Same) => send_answer(&answer, &mut acts),
            Some(SecondAnswer::Different) => {
                let credential = in_other_bytes(&answer.credential);
                send_answer(&Answer { credential, ..answer.clone() }, &mut acts);
            }
        }
        if let Some(prompt) = self.prompts.get_mut(&ceremony_id) {
            let sent_on = self.connection;
            prompt.stage = Stage::Answered { answer, accepted: false, sent_on };
        }
        self.breaks(DropAt::AnswerSent, &mut acts);
        acts
    }

    /// Sends what the relay could not take before.
    pub(super) fn retry(&mut self, id: Option<CeremonyId>) -> Vec<Act> {
        let mut acts = Vec::new();
        let Some(id) = id else {
            self.claim_alone(&mut acts);
            return acts;
        };
        if let Some(prompt) = self.prompts.get_mut(&id)
            && let Stage::Answered { sent_on, .. } = &mut prompt.stage
        {
            *sent_on = 0;
        }
        self.repeat(id, &mut acts);
        acts
    }

    /// Says again what the person and the card have said, the answer once on each socket.
    fn repeat(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        match &mut prompt.stage {
            Stage::Agreed { sent: Some(sent), .. } => {
                let sent = sent.clone();
                self.claim(Some(id), sent, acts);
            }
            Stage::Answered { answer, sent_on, .. } if *sent_on != self.connection => {
                *sent_on = self.connection;
                send_answer(answer, acts);
            }
            Stage::Declined(reason) => send_decline(Some(id), *reason, acts),
            Stage::Asked | Stage::Agreed { .. } | Stage::AtCard | Stage::Answered { .. } => {}
        }
    }

    /// Time is up. After a reconnect the relay sends what is open and not what has ended since, so
    /// a prompt may be left over. A code that was typed alone is not sent to a page that is gone.
    pub(super) fn timed_out(&mut self, ceremony_id: Option<CeremonyId>) -> Vec<Act> {
        let told = Act::Tell(PhoneEvent::TimedOut { ceremony_id });
        match ceremony_id {
            None => self.typed.take().map(|_| told).into_iter().collect(),
            Some(id) if self.prompts.remove(&id).is_some() => vec![Act::TakeDown(id), told],
            Some(_) => Vec::new(),
        }
    }

    fn show(&mut self, offer: Offer, challenge: Option<Box<Challenge>>, acts: &mut Vec<Act>) {
        let ends_in = offer.expires_in.saturating_add(GRACE_S);
        acts.push(Act::WakeIn(Some(offer.ceremony_id), ends_in));
        let prompt = Prompt {
            challenge,
            stage: Stage::Asked,
            found_by: None,
            asked: false,
            wrong_codes: 0,
            wrong_codes_to_type: self.faults.wrong_codes,
            card_errors: self.faults.card_errors.iter().copied().collect(),
            offer,
        };
        self.prompts.insert(prompt.offer.ceremony_id, prompt);
    }

    fn ask(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        if let Some(reason) = self.faults.decline {
            self.declines(id, reason, acts);
        } else if let Some(prompt) = self.prompts.get_mut(&id) {
            let mut offer = prompt.offer.clone();
            if prompt.challenge.is_some() || prompt.found_by.is_some() {
                // Whatever code it takes has been typed.
                offer.code_length = 0;
            }
            let again = std::mem::replace(&mut prompt.asked, true);
            let ask = Ask { offer, wrong_codes: prompt.wrong_codes, again };
            acts.push(Act::Ask(Box::new(ask)));
        }
    }

    fn acknowledge(&self, ceremony_id: CeremonyId, of: AckOf, acts: &mut Vec<Act>) {
        if !self.faults.withhold_acks {
            acts.push(Act::Send(DeviceFrame::Ack(Ack { ceremony_id, of })));
        }
    }

    /// Breaks the socket if a fault says so, once.
    fn breaks(&mut self, at: DropAt, acts: &mut Vec<Act>) {
        if let Some(index) = self.faults.drop_at.iter().position(|one| *one == at) {
            self.faults.drop_at.remove(index);
            acts.push(Act::Drop);
        }
    }
}
