//! Codes that the person types, into a prompt or without one. The relay finds the ceremony by the
//! code; where it is not that of the prompt, the relay sends a preview and the person confirms.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_kit::random;
use fido_relay_proto::device::{Claim, FrameErrorCode, Offer};
use fido_relay_proto::{CeremonyId, DeviceFrame, PlainText};

use super::frames::mistyped;
use super::{App, Effect, PromptStage};
use crate::phone::event::PhoneEvent;
use crate::phone::faults::DropAt;

/// Seconds that a code without a prompt may wait for its answer: as long as a page shows a code.
const TYPED_S: u64 = 120;

/// A code and the id under which it was claimed.
#[derive(Clone)]
pub(super) struct SentClaim {
    pub(super) code: String,
    /// The same in every repetition, so that the relay counts one try.
    pub(super) claim_id: Option<PlainText<64>>,
}

impl SentClaim {
    fn is_answered_by(&self, claim_id: Option<&PlainText<64>>) -> bool {
        claim_id.is_some() && self.claim_id.as_ref() == claim_id
    }
}

/// Makes claim ids that are unique across restarts of the app.
pub(super) struct ClaimIds {
    run: String,
    made: u64,
}

impl Default for ClaimIds {
    fn default() -> Self {
        Self { run: URL_SAFE_NO_PAD.encode(random::bytes::<9>()), made: 0 }
    }
}

impl ClaimIds {
    fn of(&mut self, code: String) -> SentClaim {
        self.made += 1;
        SentClaim { code, claim_id: PlainText::new(&format!("{}.{}", self.run, self.made)).ok() }
    }
}

impl App {
    /// Claims a code that was typed without a prompt.
    pub(in crate::phone) fn typed_alone(&mut self, code: String) -> Vec<Effect> {
        let mut effects = vec![Effect::SetTimer(None, TYPED_S)];
        self.typed = Some(self.claims.of(code));
        self.claim_alone(&mut effects);
        effects
    }

    pub(super) fn claim_alone(&mut self, effects: &mut Vec<Effect>) {
        if let Some(typed) = self.typed.clone() {
            self.claim(None, typed, effects);
        }
    }

    /// Repeats, on a new connection, claims that no offer of the relay asks for: those of a code
    /// without a prompt and of a ceremony that such a code has found.
    pub(super) fn claim_again(&mut self, effects: &mut Vec<Effect>) {
        self.claim_alone(effects);
        let found = self.prompts.iter().filter(|(_, prompt)| prompt.found_by.is_some());
        let sent: Vec<_> = found
            .filter_map(|(id, prompt)| match &prompt.stage {
                PromptStage::Agreed { sent: Some(sent), .. } => Some((*id, sent.clone())),
                PromptStage::Asked
                | PromptStage::Agreed { sent: None, .. }
                | PromptStage::AtCard
                | PromptStage::Answered { .. }
                | PromptStage::Declined(_) => None,
            })
            .collect();
        for (id, sent) in sent {
            self.claim(Some(id), sent, effects);
        }
    }

    /// Shows the ceremony that a typed code has found, and asks for confirmation.
    pub(super) fn previewed(&mut self, offer: Offer, effects: &mut Vec<Effect>) {
        let id = offer.ceremony_id;
        let claim_id = offer.preview.as_ref().and_then(|preview| preview.claim_id.clone());
        let mut code = None;
        let mut typed_into = None;
        if let Some(typed) = self.typed.take_if(|sent| sent.is_answered_by(claim_id.as_ref())) {
            code = Some(typed.code);
        } else {
            for (prompt_id, prompt) in &mut self.prompts {
                if let PromptStage::Agreed { sent: Some(sent), .. } = &prompt.stage
                    && sent.is_answered_by(claim_id.as_ref())
                {
                    code = Some(sent.code.clone());
                    typed_into = Some(*prompt_id);
                }
            }
        }
        if typed_into == Some(id) {
            // The prompt's own ceremony: the relay did not know it to be on the screen.
            if !self.faults.withhold_acks {
                self.repeat(id, effects);
            }
            return;
        }
        match self.prompts.get_mut(&id) {
            None => self.show(offer, None, effects),
            Some(prompt) if matches!(prompt.stage, PromptStage::Asked) => prompt.offer = offer,
            Some(_) => {
                if code.is_some() {
                    self.repeat(id, effects);
                }
                code = None;
            }
        }
        if let Some(prompt) = self.prompts.get_mut(&id)
            && matches!(prompt.stage, PromptStage::Asked)
        {
            prompt.found_by = code;
            self.ask(id, effects);
        }
        if let Some(other) = typed_into {
            self.ask_again(other, effects);
        }
    }

    /// Claims the ceremony that the code has found.
    pub(super) fn confirm(&mut self, id: CeremonyId, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let Some(code) = prompt.found_by.clone() else { return };
        let sent = self.claims.of(code);
        prompt.stage = PromptStage::Agreed { sent: Some(sent.clone()), held: None };
        self.claim(Some(id), sent, effects);
    }

    /// Claims with the code that was typed into a prompt, or with a wrong one first by a fault.
    pub(super) fn type_code(&mut self, id: CeremonyId, right: String, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let (code, held) = match prompt.wrong_codes_to_type.checked_sub(1) {
            Some(left) => {
                prompt.wrong_codes_to_type = left;
                (mistyped(&right), Some(right))
            }
            None => (right, None),
        };
        let sent = self.claims.of(code);
        prompt.stage = PromptStage::Agreed { sent: Some(sent.clone()), held };
        self.claim(Some(id), sent, effects);
    }

    pub(super) fn claim(
        &mut self,
        ceremony_id: Option<CeremonyId>,
        SentClaim { code, claim_id }: SentClaim,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Send(DeviceFrame::Claim(Claim { ceremony_id, code, claim_id })));
        effects.push(Effect::Emit(PhoneEvent::Claimed { ceremony_id }));
        self.drop_at(DropAt::ClaimSent, effects);
    }

    /// Handles an `error` frame about a ceremony.
    pub(super) fn refused(
        &mut self,
        id: CeremonyId,
        code: FrameErrorCode,
        claim_id: Option<&PlainText<64>>,
        effects: &mut Vec<Effect>,
    ) {
        match code {
            FrameErrorCode::WrongCode
            | FrameErrorCode::CodeMalformed
            | FrameErrorCode::OtherDevice
            | FrameErrorCode::CodeAmbiguous
            | FrameErrorCode::TooManyCodes
            | FrameErrorCode::DeviceLocked => self.code_refused(id, code, claim_id, effects),
            FrameErrorCode::ClaimedElsewhere
            | FrameErrorCode::AlreadyClosed
            | FrameErrorCode::UnknownCeremony => {
                if self.prompts.remove(&id).is_some() {
                    effects.push(Effect::Dismiss(id));
                }
            }
            FrameErrorCode::SlowDown | FrameErrorCode::Unavailable => {
                effects.push(Effect::RetrySoon(Some(id)));
            }
            // A repetition would be refused as well; other frames report the ceremony's state.
            FrameErrorCode::InvalidFrame
            | FrameErrorCode::UnknownType
            | FrameErrorCode::NotChallenged
            | FrameErrorCode::AlreadyAnswered => {}
        }
    }

    /// Handles an `error` frame without a ceremony: about a code without a prompt, or about any frame
    /// that the relay did not read.
    pub(super) fn refused_alone(
        &mut self,
        code: FrameErrorCode,
        claim_id: Option<&PlainText<64>>,
        effects: &mut Vec<Effect>,
    ) {
        let is_typed = |typed: &mut SentClaim| claim_id.is_none() || typed.is_answered_by(claim_id);
        if !code.is_retryable() {
            self.typed.take_if(is_typed);
            return;
        }
        if claim_id.is_none() {
            effects.extend(self.prompts.keys().copied().map(Some).map(Effect::RetrySoon));
        }
        if self.typed.as_mut().is_some_and(is_typed) {
            effects.push(Effect::RetrySoon(None));
        }
    }

    fn code_refused(
        &mut self,
        id: CeremonyId,
        code: FrameErrorCode,
        claim_id: Option<&PlainText<64>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(prompt) = self.prompts.get_mut(&id) else { return };
        let PromptStage::Agreed { sent, held } = &mut prompt.stage else { return };
        let is_current = sent.as_ref().is_some_and(|sent| sent.is_answered_by(claim_id));
        if claim_id.is_some() && !is_current {
            // About an earlier code.
            return;
        }
        match held.take() {
            Some(right) => self.type_code(id, right, effects),
            None => {
                prompt.wrong_codes += u8::from(code == FrameErrorCode::WrongCode);
                self.ask_again(id, effects);
            }
        }
    }

    /// Asks for another code, as the last one was not for this prompt.
    fn ask_again(&mut self, id: CeremonyId, effects: &mut Vec<Effect>) {
        if let Some(prompt) = self.prompts.get_mut(&id) {
            prompt.stage = PromptStage::Asked;
            prompt.found_by = None;
            self.ask(id, effects);
        }
    }
}
