//! The app without its socket, pure: what it shows, what the person and the card have said, and
//! what it keeps to send again. Frames, decisions and card results go in, acts come out.
//!
//! It must not know sockets, clocks or tasks; that a frame was lost it learns from the relay
//! sending something again.

use std::collections::{HashMap, HashSet, VecDeque};

use fido_relay_proto::device::{
    Ack, AckOf, Answer, Card, CardErrorCode, CardEvent, Challenge, Claim, Decline, DeclineReason,
    FrameErrorCode, Offer,
};
use fido_relay_proto::{AttemptId, CeremonyId, DeviceFrame, NoticeId, RelayFrame};
use serde_json::value::RawValue;

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
    /// Call [`App::retry`] in a moment: the relay could not take the frame.
    RetrySoon(CeremonyId),
    /// Call [`App::timed_out`] after this many seconds, unless the prompt is taken down before.
    WakeIn(CeremonyId, u64),
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
    Agreed { sent: Option<String>, held: Option<String> },
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
    /// Counts the sockets, so that an answer is repeated once on each.
    connection: u64,
}

impl App {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, prompts: HashMap::new(), noticed: HashSet::new(), connection: 0 }
    }

    /// A new socket was welcomed: what the relay may not have yet goes out first.
    pub(super) fn connected(&mut self) -> Vec<Act> {
        self.connection += 1;
        let mut acts = Vec::new();
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
            RelayFrame::Error { code, message, ceremony_id, .. } => {
                let mut acts = vec![Act::Tell(PhoneEvent::Refused { code, message, ceremony_id })];
                match ceremony_id {
                    Some(id) => self.refused(id, code, &mut acts),
                    // Not looked at: it may have been about any of them.
                    None if code.is_retryable() => {
                        acts.extend(self.prompts.keys().copied().map(Act::RetrySoon));
                    }
                    None => {}
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

    fn refused(&mut self, id: CeremonyId, code: FrameErrorCode, acts: &mut Vec<Act>) {
        match code {
            FrameErrorCode::WrongCode | FrameErrorCode::CodeMalformed => {
                self.wrong_code(id, acts);
            }
            FrameErrorCode::ClaimedElsewhere
            | FrameErrorCode::AlreadyClosed
            | FrameErrorCode::UnknownCeremony => {
                if self.prompts.remove(&id).is_some() {
                    acts.push(Act::TakeDown(id));
                }
            }
            FrameErrorCode::SlowDown | FrameErrorCode::Unavailable => {
                acts.push(Act::RetrySoon(id));
            }
            // The prompt stays; its code, which was for another one, is not typed again.
            FrameErrorCode::OtherCeremony => {
                if let Some(prompt) = self.prompts.get_mut(&id) {
                    prompt.stage = Stage::Asked;
                }
            }
            // Sent again it would be refused again; what stands will be told by other frames.
            FrameErrorCode::InvalidFrame
            | FrameErrorCode::UnknownType
            | FrameErrorCode::TooManyCodes
            | FrameErrorCode::NotChallenged
            | FrameErrorCode::AlreadyAnswered => {}
        }
    }

    fn wrong_code(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let Stage::Agreed { held, .. } = &mut prompt.stage else { return };
        match held.take() {
            Some(right) => self.type_code(id, right, acts),
            None => {
                prompt.wrong_codes += 1;
                prompt.stage = Stage::Asked;
                self.ask(id, acts);
            }
        }
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
        send_decline(id, reason, acts);
    }

    fn type_code(&mut self, id: CeremonyId, right: String, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let (code, held) = match prompt.wrong_codes_to_type.checked_sub(1) {
            Some(left) => {
                prompt.wrong_codes_to_type = left;
                (mistyped(&right), Some(right))
            }
            None => (right, None),
        };
        prompt.stage = Stage::Agreed { sent: Some(code.clone()), held };
        self.claim(id, code, acts);
    }

    fn claim(&mut self, ceremony_id: CeremonyId, code: String, acts: &mut Vec<Act>) {
        acts.push(Act::Send(DeviceFrame::Claim(Claim { ceremony_id, code })));
        acts.push(Act::Tell(PhoneEvent::Claimed { ceremony_id }));
        self.breaks(DropAt::ClaimSent, acts);
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
    pub(super) fn retry(&mut self, id: CeremonyId) -> Vec<Act> {
        let mut acts = Vec::new();
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
            Stage::Agreed { sent: Some(code), .. } => {
                let code = code.clone();
                self.claim(id, code, acts);
            }
            Stage::Answered { answer, sent_on, .. } if *sent_on != self.connection => {
                *sent_on = self.connection;
                send_answer(answer, acts);
            }
            Stage::Declined(reason) => send_decline(id, *reason, acts),
            Stage::Asked | Stage::Agreed { .. } | Stage::AtCard | Stage::Answered { .. } => {}
        }
    }

    /// Time is up. After a reconnect the relay sends what is open and not what has ended since, so
    /// a prompt may be left over.
    pub(super) fn timed_out(&mut self, ceremony_id: CeremonyId) -> Vec<Act> {
        if self.prompts.remove(&ceremony_id).is_none() {
            return Vec::new();
        }
        vec![Act::TakeDown(ceremony_id), Act::Tell(PhoneEvent::TimedOut { ceremony_id })]
    }

    fn show(&mut self, offer: Offer, challenge: Option<Box<Challenge>>, acts: &mut Vec<Act>) {
        acts.push(Act::WakeIn(offer.ceremony_id, offer.expires_in.saturating_add(GRACE_S)));
        let prompt = Prompt {
            challenge,
            stage: Stage::Asked,
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
        } else if let Some(prompt) = self.prompts.get(&id) {
            let mut offer = prompt.offer.clone();
            if prompt.challenge.is_some() {
                // The challenge is here: whatever code it took has been given.
                offer.code_length = 0;
            }
            acts.push(Act::Ask(Box::new(Ask { offer, wrong_codes: prompt.wrong_codes })));
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

fn send_answer(answer: &Answer, acts: &mut Vec<Act>) {
    let (ceremony_id, attempt) = (answer.ceremony_id, answer.attempt);
    acts.push(Act::Send(DeviceFrame::Answer(answer.clone())));
    acts.push(Act::Tell(PhoneEvent::Answered { ceremony_id, attempt }));
}

fn send_decline(ceremony_id: CeremonyId, reason: DeclineReason, acts: &mut Vec<Act>) {
    acts.push(Act::Send(DeviceFrame::Decline(Decline { ceremony_id, reason })));
    acts.push(Act::Tell(PhoneEvent::Declined { ceremony_id, reason }));
}

fn send_card(ceremony_id: CeremonyId, error: Option<CardErrorCode>, acts: &mut Vec<Act>) {
    let event = if error.is_some() { CardEvent::Error } else { CardEvent::Present };
    acts.push(Act::Send(DeviceFrame::Card(Card { ceremony_id, event, code: error })));
    acts.push(Act::Tell(PhoneEvent::Card { ceremony_id, error }));
}

/// Tag lost, unknown, signature failed and transmit failed: the person may simply tap again. A
/// wrong PIN is not among them, for the card counts the tries.
fn worth_another_tap(error: CardErrorCode) -> bool {
    matches!(error.number(), Some(600 | 601 | 604 | 607))
}

/// The code with another last digit.
fn mistyped(code: &str) -> String {
    let mut digits: Vec<char> = code.chars().collect();
    let last = digits.pop().and_then(|c| c.to_digit(10)).unwrap_or(0);
    digits.push(char::from_digit((last + 1) % 10, 10).unwrap_or('0'));
    digits.into_iter().collect()
}

/// The same JSON object with a blank more in it.
fn in_other_bytes(credential: &RawValue) -> Box<RawValue> {
    let text = credential.get().replacen('{', "{ ", 1);
    RawValue::from_string(text).unwrap_or_else(|_| credential.to_owned())
}
