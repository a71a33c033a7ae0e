//! Codes that the person types: into a prompt, or where none asks. The relay finds the ceremony by
//! the code; if it is not that of the prompt, it shows who asks, and the person confirms.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::{Claim, FrameErrorCode, Offer};
use fido_relay_proto::{CeremonyId, DeviceFrame, PlainText};

use super::frames::mistyped;
use super::{Act, App, Stage};
use crate::phone::event::PhoneEvent;
use crate::phone::faults::DropAt;
use fido_relay_kit::random;

/// Seconds that a code which was typed alone may wait for its answer: pages show a code for about
/// as long.
const TYPED_S: u64 = 120;

/// A code as it was sent.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) code: String,
    /// The same in every repetition, so that the relay counts it once.
    pub(super) claim_id: Option<PlainText<64>>,
}

impl Sent {
    fn is_answered_by(&self, claim_id: Option<&PlainText<64>>) -> bool {
        claim_id.is_some() && self.claim_id.as_ref() == claim_id
    }
}

/// Names claims: no two of this app's runs use a name twice.
pub(super) struct Claims {
    run: String,
    made: u64,
}

impl Default for Claims {
    fn default() -> Self {
        Self { run: URL_SAFE_NO_PAD.encode(random::bytes::<9>()), made: 0 }
    }
}

impl Claims {
    fn of(&mut self, code: String) -> Sent {
        self.made += 1;
        Sent { code, claim_id: PlainText::new(&format!("{}.{}", self.run, self.made)).ok() }
    }
}

impl App {
    /// The person typed a code where no prompt asks for one.
    pub(in crate::phone) fn typed_alone(&mut self, code: String) -> Vec<Act> {
        let mut acts = vec![Act::WakeIn(None, TYPED_S)];
        self.typed = Some(self.claims.of(code));
        self.claim_alone(&mut acts);
        acts
    }

    pub(super) fn claim_alone(&mut self, acts: &mut Vec<Act>) {
        if let Some(typed) = self.typed.clone() {
            self.claim(None, typed, acts);
        }
    }

    /// On a new socket: nothing asks for a code that was typed alone, or for a ceremony that such a
    /// code has found.
    pub(super) fn claim_again(&mut self, acts: &mut Vec<Act>) {
        self.claim_alone(acts);
        let found = self.prompts.iter().filter(|(_, prompt)| prompt.found_by.is_some());
        let sent: Vec<_> = found
            .filter_map(|(id, prompt)| match &prompt.stage {
                Stage::Agreed { sent: Some(sent), .. } => Some((*id, sent.clone())),
                Stage::Asked
                | Stage::Agreed { sent: None, .. }
                | Stage::AtCard
                | Stage::Answered { .. }
                | Stage::Declined(_) => None,
            })
            .collect();
        for (id, sent) in sent {
            self.claim(Some(id), sent, acts);
        }
    }

    /// The relay shows the ceremony that a typed code has found.
    pub(super) fn previewed(&mut self, offer: Offer, acts: &mut Vec<Act>) {
        let id = offer.ceremony_id;
        let claim_id = offer.preview.as_ref().and_then(|preview| preview.claim_id.clone());
        let mut code = None;
        let mut typed_into = None;
        if let Some(typed) = self.typed.take_if(|sent| sent.is_answered_by(claim_id.as_ref())) {
            code = Some(typed.code);
        } else {
            for (prompt_id, prompt) in &mut self.prompts {
                if let Stage::Agreed { sent: Some(sent), .. } = &prompt.stage
                    && sent.is_answered_by(claim_id.as_ref())
                {
                    code = Some(sent.code.clone());
                    typed_into = Some(*prompt_id);
                }
            }
        }
        if typed_into == Some(id) {
            // It is the prompt's own, which the relay did not know to be on the screen.
            if !self.faults.withhold_acks {
                self.repeat(id, acts);
            }
            return;
        }
        match self.prompts.get_mut(&id) {
            None => self.show(offer, None, acts),
            Some(prompt) if matches!(prompt.stage, Stage::Asked) => prompt.offer = offer,
            Some(_) => {
                if code.is_some() {
                    self.repeat(id, acts);
                }
                code = None;
            }
        }
        if let Some(prompt) = self.prompts.get_mut(&id)
            && matches!(prompt.stage, Stage::Asked)
        {
            prompt.found_by = code;
            self.ask(id, acts);
        }
        if let Some(other) = typed_into {
            self.ask_again(other, acts);
        }
    }

    /// The person confirms what their code has found.
    pub(super) fn confirm(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let Some(code) = prompt.found_by.clone() else { return };
        let sent = self.claims.of(code);
        prompt.stage = Stage::Agreed { sent: Some(sent.clone()), held: None };
        self.claim(Some(id), sent, acts);
    }

    /// The person typed a code into a prompt.
    pub(super) fn type_code(&mut self, id: CeremonyId, right: String, acts: &mut Vec<Act>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let (code, held) = match prompt.wrong_codes_to_type.checked_sub(1) {
            Some(left) => {
                prompt.wrong_codes_to_type = left;
                (mistyped(&right), Some(right))
            }
            None => (right, None),
        };
        let sent = self.claims.of(code);
        prompt.stage = Stage::Agreed { sent: Some(sent.clone()), held };
        self.claim(Some(id), sent, acts);
    }

    pub(super) fn claim(
        &mut self,
        ceremony_id: Option<CeremonyId>,
        Sent { code, claim_id }: Sent,
        acts: &mut Vec<Act>,
    ) {
        acts.push(Act::Send(DeviceFrame::Claim(Claim { ceremony_id, code, claim_id })));
        acts.push(Act::Tell(PhoneEvent::Claimed { ceremony_id }));
        self.breaks(DropAt::ClaimSent, acts);
    }

    /// A frame about a ceremony was refused.
    pub(super) fn refused(
        &mut self,
        id: CeremonyId,
        code: FrameErrorCode,
        claim_id: Option<&PlainText<64>>,
        acts: &mut Vec<Act>,
    ) {
        match code {
            FrameErrorCode::WrongCode
            | FrameErrorCode::CodeMalformed
            | FrameErrorCode::OtherDevice
            | FrameErrorCode::CodeAmbiguous
            | FrameErrorCode::TooManyCodes
            | FrameErrorCode::DeviceLocked => self.code_refused(id, code, claim_id, acts),
            FrameErrorCode::ClaimedElsewhere
            | FrameErrorCode::AlreadyClosed
            | FrameErrorCode::UnknownCeremony => {
                if self.prompts.remove(&id).is_some() {
                    acts.push(Act::TakeDown(id));
                }
            }
            FrameErrorCode::SlowDown | FrameErrorCode::Unavailable => {
                acts.push(Act::RetrySoon(Some(id)));
            }
            // Sent again it would be refused again; other frames say how the ceremony is.
            FrameErrorCode::InvalidFrame
            | FrameErrorCode::UnknownType
            | FrameErrorCode::NotChallenged
            | FrameErrorCode::AlreadyAnswered => {}
        }
    }

    /// A frame without a ceremony was refused: a code that was typed alone, or any frame that the
    /// relay did not look at.
    pub(super) fn refused_alone(
        &mut self,
        code: FrameErrorCode,
        claim_id: Option<&PlainText<64>>,
        acts: &mut Vec<Act>,
    ) {
        let is_typed = |typed: &mut Sent| claim_id.is_none() || typed.is_answered_by(claim_id);
        if !code.is_retryable() {
            self.typed.take_if(is_typed);
            return;
        }
        if claim_id.is_none() {
            acts.extend(self.prompts.keys().copied().map(Some).map(Act::RetrySoon));
        }
        if self.typed.as_mut().is_some_and(is_typed) {
            acts.push(Act::RetrySoon(None));
        }
    }

    fn code_refused(
        &mut self,
        id: CeremonyId,
        code: FrameErrorCode,
        claim_id: Option<&PlainText<64>>,
        acts: &mut Vec<Act>,
    ) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let Stage::Agreed { sent, held } = &mut prompt.stage else { return };
        let is_current = sent.as_ref().is_some_and(|sent| sent.is_answered_by(claim_id));
        if claim_id.is_some() && !is_current {
            // Another code was typed since.
            return;
        }
        match held.take() {
            Some(right) => self.type_code(id, right, acts),
            None => {
                prompt.wrong_codes += u8::from(code == FrameErrorCode::WrongCode);
                self.ask_again(id, acts);
            }
        }
    }

    /// The code was not for this prompt, which is still open.
    fn ask_again(&mut self, id: CeremonyId, acts: &mut Vec<Act>) {
        if let Some(prompt) = self.prompts.get_mut(&id) {
            prompt.stage = Stage::Asked;
            prompt.found_by = None;
            self.ask(id, acts);
        }
    }
}
