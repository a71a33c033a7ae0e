//! Faults of phones, cards and people, to be switched on one by one.

use fido_relay_proto::device::{CardErrorCode, DeclineReason};

/// The point at which the phone's socket breaks, without a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropAt {
    /// Before its acknowledgement.
    OfferReceived,
    OfferAcked,
    ClaimSent,
    /// Before its acknowledgement.
    ChallengeReceived,
    ChallengeAcked,
    /// Before the card signs.
    CardPresent,
    /// Before its acceptance.
    AnswerSent,
    Accepted,
    /// Before its acknowledgement.
    Closed,
}

/// A second answer, sent right after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondAnswer {
    Same,
    /// The same JSON value in other bytes.
    Different,
}

/// What goes wrong; by default nothing. All but `drop_at` apply to every ceremony.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Decline every prompt without asking the person.
    pub decline: Option<DeclineReason>,
    /// How many wrong codes are claimed before the one that the person types.
    pub wrong_codes: u8,
    /// Card errors, in this order, before the card works. After one that another tap cannot mend,
    /// the card is not used again.
    pub card_errors: Vec<CardErrorCode>,
    /// Hold the card to the phone only by a decision through the handle.
    pub withhold_card: bool,
    /// Acknowledge nothing. The relay then gives no challenge where a code is needed.
    pub withhold_acks: bool,
    pub second_answer: Option<SecondAnswer>,
    /// Break the socket at these points, each once.
    pub drop_at: Vec<DropAt>,
}

impl Faults {
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

    /// The card fails once with this number; numbers outside of 600 to 617 are ignored.
    #[must_use]
    pub fn card_error(number: u16) -> Self {
        Self { card_errors: CardErrorCode::new(number).into_iter().collect(), ..Self::default() }
    }

    #[must_use]
    pub fn declines(reason: DeclineReason) -> Self {
        Self { decline: Some(reason), ..Self::default() }
    }

    #[must_use]
    pub fn drops(at: &[DropAt]) -> Self {
        Self { drop_at: at.to_vec(), ..Self::default() }
    }
}
