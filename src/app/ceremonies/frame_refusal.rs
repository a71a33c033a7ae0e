//! Why a device's frame was refused, and the error frame that says so.

use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::{CeremonyId, PlainText, RelayFrame};

use super::AdvanceError;
use crate::core::ceremony::Refusal;
use crate::core::prompt_limits::AttemptsExhausted;
use crate::ports::StoreError;

/// Why a frame was not taken.
pub(crate) struct FrameRefusal {
    code: FrameErrorCode,
    /// In place of the code's own sentence.
    message: Option<String>,
}

impl FrameRefusal {
    /// A wrong code, with the number of tries left.
    pub(super) fn wrong_code(left: usize, of: &str) -> Self {
        let tries = if left == 1 { "try" } else { "tries" };
        let message = Some(format!("wrong code, {left} {tries} left{of}"));
        Self { code: FrameErrorCode::WrongCode, message }
    }

    pub(crate) fn code(&self) -> FrameErrorCode {
        self.code
    }

    /// The frame that tells the device.
    pub(crate) fn frame(
        self,
        ceremony_id: Option<CeremonyId>,
        claim_id: Option<PlainText<64>>,
    ) -> RelayFrame {
        let Self { code, message } = self;
        RelayFrame::Error {
            code,
            message: message.unwrap_or_else(|| code.message().to_owned()),
            retryable: code.is_retryable(),
            ceremony_id,
            claim_id,
        }
    }
}

impl From<FrameErrorCode> for FrameRefusal {
    fn from(code: FrameErrorCode) -> Self {
        Self { code, message: None }
    }
}

impl From<StoreError> for FrameRefusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a device frame could not be processed");
        FrameErrorCode::Unavailable.into()
    }
}

impl From<AdvanceError> for FrameRefusal {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::NotFound => FrameErrorCode::UnknownCeremony.into(),
            AdvanceError::Unavailable(error) => {
                tracing::warn!(error, "a device's step could not be stored");
                FrameErrorCode::Unavailable.into()
            }
        }
    }
}

impl From<AttemptsExhausted> for FrameRefusal {
    fn from(blocked: AttemptsExhausted) -> Self {
        match blocked {
            AttemptsExhausted::Today => FrameErrorCode::TooManyCodes.into(),
            AttemptsExhausted::Locked => FrameErrorCode::DeviceLocked.into(),
        }
    }
}

impl From<Refusal> for FrameRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongCode { left } => Self::wrong_code(left.into(), ""),
            Refusal::ClaimedElsewhere => FrameErrorCode::ClaimedElsewhere.into(),
            Refusal::NotChallenged => FrameErrorCode::NotChallenged.into(),
            Refusal::AlreadyAnswered => FrameErrorCode::AlreadyAnswered.into(),
            Refusal::AlreadyClosed => FrameErrorCode::AlreadyClosed.into(),
        }
    }
}
