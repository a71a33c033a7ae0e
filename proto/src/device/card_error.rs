//! Why a card failed, in the numbers of the vendor's SDK and two names that it lacks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::FrameError;
use crate::number;

/// Why a card failed: a number of the card SDK (600 to 617), or a name where the SDK has no number.
/// Both are values of the same `code` member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "CardErrorText", try_from = "CardErrorText")]
pub struct CardErrorCode(u16);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CardErrorText {
    Number(#[serde(deserialize_with = "number::any")] u16),
    Name(String),
}

impl CardErrorCode {
    /// `already_registered`: the card holds a credential of the options' `excludeCredentials`
    /// (CTAP2 status 0x19).
    pub const ALREADY_REGISTERED: Self = Self(1);
    /// `pin_not_set`: user verification is required and the card has no PIN (CTAP2 status 0x35).
    pub const PIN_NOT_SET: Self = Self(2);
    /// 601: anything that has no number of its own.
    pub const UNKNOWN: Self = Self(601);
    /// 602: none of the wanted credentials is on the card.
    pub const NO_CREDENTIALS: Self = Self(602);
    /// 603: the card has credentials for this relying party, but not this user's.
    pub const USER_NOT_ON_CARD: Self = Self(603);
    /// 604: the key could not sign.
    pub const SIGNATURE_FAILED: Self = Self(604);
    /// 606: no room for the new key.
    pub const KEY_STORE_FULL: Self = Self(606);
    /// 607: the way to the card failed.
    pub const TRANSMIT_FAILED: Self = Self(607);
    /// 609: no key of any wanted algorithm could be made.
    pub const NO_PUBLIC_KEY: Self = Self(609);

    const NAMES: [(Self, &str); 2] =
        [(Self::ALREADY_REGISTERED, "already_registered"), (Self::PIN_NOT_SET, "pin_not_set")];

    /// The code of a number.
    ///
    /// # Errors
    /// [`FrameError::Invalid`] outside of 600 to 617.
    pub fn new(number: u16) -> Result<Self, FrameError> {
        if (600..=617).contains(&number) { Ok(Self(number)) } else { Err(FrameError::Invalid) }
    }

    /// The SDK's number; `None` for a code with a name.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        self.name().is_none().then_some(self.0)
    }

    fn name(self) -> Option<&'static str> {
        Self::NAMES.into_iter().find(|(code, _)| *code == self).map(|(_, name)| name)
    }
}

impl fmt::Display for CardErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl std::error::Error for CardErrorCode {}

impl std::str::FromStr for CardErrorCode {
    type Err = FrameError;

    fn from_str(text: &str) -> Result<Self, FrameError> {
        let named = Self::NAMES.into_iter().find(|(_, name)| *name == text).map(|(code, _)| code);
        let numbered = || text.parse().ok().and_then(|number| Self::new(number).ok());
        named.or_else(numbered).ok_or(FrameError::Invalid)
    }
}

impl TryFrom<CardErrorText> for CardErrorCode {
    type Error = FrameError;

    fn try_from(text: CardErrorText) -> Result<Self, FrameError> {
        match text {
            CardErrorText::Number(number) => Self::new(number),
            // A number in quotes is not a number.
            CardErrorText::Name(name) => match name.parse::<Self>()? {
                code if code.name().is_some() => Ok(code),
                _ => Err(FrameError::Invalid),
            },
        }
    }
}

impl From<CardErrorCode> for CardErrorText {
    fn from(code: CardErrorCode) -> Self {
        match code.name() {
            Some(name) => Self::Name(name.to_owned()),
            None => Self::Number(code.0),
        }
    }
}
