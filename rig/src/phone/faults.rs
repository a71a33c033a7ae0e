//! Knobs that make a phone misbehave in ways that real phones, cards and people do.

use fido_relay_proto::device::{CardErrorCode, DeclineReason};

/// A moment at which the phone's socket breaks, without a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropAt {
    /// An offer was read and not acknowledged.
    OfferReceived,
    /// An offer was acknowledged.
    OfferAcked,
    /// A code was sent.
    ClaimSent,
    /// A challenge was read and not acknowledged.
    ChallengeReceived,
    /// A challenge was acknowledged.
    ChallengeAcked,
    /// The card was reported present and has not signed yet.
    CardPresent,
    /// The answer was sent and its acceptance not read.
    AnswerSent,
    /// The acceptance was read.
    Accepted,
    /// The end was read and not acknowledged.
    Closed,
}

/// What is sent right after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondAnswer {
    /// The same bytes.
    Same,
    /// The same JSON value in other bytes.
    Different,
}

/// What goes wrong. The default is nothing. All but `drop_at` apply to every ceremony anew.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Say no to every prompt, without asking the person.
    pub decline: Option<DeclineReason>,
    /// So many wrong codes before the one that the person types.
    pub wrong_codes: u8,
    /// Errors of the card, in this order, before it works. One that no further tap can mend ends
    /// the phone's part.
    pub card_errors: Vec<CardErrorCode>,
    /// Never hold the card to the phone by itself; a decision through the handle still does.
    pub withhold_card: bool,
    /// Acknowledge nothing. The relay then gives no challenge where a code is needed.
    pub withhold_acks: bool,
    /// Send the answer twice.
    pub second_answer: Option<SecondAnswer>,
    /// Break the socket at these moments, each once.
    pub drop_at: Vec<DropAt>,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The card leaves the field once (600), and works at the second tap.
    #[must_use]
    pub fn tag_lost() -> Self {
        Self::card_error(600)
    }

    /// The card refuses the PIN (608).
    #[must_use]
    pub fn wrong_pin() -> Self {
        Self::card_error(608)
    }

    /// The card holds no credential (602).
    #[must_use]
    pub fn no_credential() -> Self {
        Self::card_error(602)
    }

    /// The card fails once with this number; one outside of 600 to 617 is nothing.
    #[must_use]
    pub fn card_error(number: u16) -> Self {
        Self { card_errors: CardErrorCode::new(number).into_iter().collect(), ..Self::default() }
    }

    /// The person says no.
    #[must_use]
    pub fn declines(reason: DeclineReason) -> Self {
        Self { decline: Some(reason), ..Self::default() }
    }

    /// The socket breaks at these moments.
    #[must_use]
    pub fn drops(at: &[DropAt]) -> Self {
        Self { drop_at: at.to_vec(), ..Self::default() }
    }
}
