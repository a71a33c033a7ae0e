//! The fault knobs as options of the command line.

use fido_relay_proto::device::{CardErrorCode, DeclineReason};

use crate::phone::{DropAt, Faults, SecondAnswer};

/// The names of the points.
const MOMENTS: [(&str, DropAt); 9] = [
    ("offer-received", DropAt::OfferReceived),
    ("offer-acked", DropAt::OfferAcked),
    ("claim-sent", DropAt::ClaimSent),
    ("challenge-received", DropAt::ChallengeReceived),
    ("challenge-acked", DropAt::ChallengeAcked),
    ("card-present", DropAt::CardPresent),
    ("answer-sent", DropAt::AnswerSent),
    ("accepted", DropAt::Accepted),
    ("closed", DropAt::Closed),
];

/// The faults to simulate.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Faults")]
pub(super) struct FaultArgs {
    /// Decline everything
    #[arg(long, conflicts_with = "not_me")]
    decline: bool,
    /// Say "that was not me" to everything
    #[arg(long)]
    not_me: bool,
    /// Type this many wrong codes before the right one
    #[arg(long, value_name = "N", default_value_t = 0)]
    wrong_codes: u8,
    /// Fail the card with this number (600-617) before it works; 600: lost tag, 602: no credential,
    /// 608: wrong PIN. May be repeated
    #[arg(long, value_name = "NUMBER", value_parser = card_error)]
    card_error: Vec<CardErrorCode>,
    /// Never hold the card to the phone
    #[arg(long)]
    withhold_card: bool,
    /// Acknowledge nothing
    #[arg(long)]
    withhold_acks: bool,
    /// Send the answer twice, with the `same` or with `different` bytes
    #[arg(long, value_name = "HOW", value_parser = second_answer)]
    answer_twice: Option<SecondAnswer>,
    /// Break the socket once at this moment: offer-received, offer-acked, claim-sent,
    /// challenge-received, challenge-acked, card-present, answer-sent, accepted, closed. May be
    /// given several times
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    drop_at: Vec<DropAt>,
}

impl FaultArgs {
    /// Whether they decide every prompt, so that no code is typed.
    pub(super) fn decides(&self) -> bool {
        self.decline || self.not_me
    }

    pub(super) fn faults(&self) -> Faults {
        Faults {
            decline: if self.not_me {
                Some(DeclineReason::NotMe)
            } else {
                self.decline.then_some(DeclineReason::Declined)
            },
            wrong_codes: self.wrong_codes,
            card_errors: self.card_error.clone(),
            withhold_card: self.withhold_card,
            withhold_acks: self.withhold_acks,
            second_answer: self.answer_twice,
            drop_at: self.drop_at.clone(),
        }
    }
}

fn card_error(text: &str) -> Result<CardErrorCode, String> {
    text.parse().map_err(|_| {
        "a card error is a number from 600 to 617, already_registered or pin_not_set".to_owned()
    })
}

fn second_answer(text: &str) -> Result<SecondAnswer, String> {
    match text {
        "same" => Ok(SecondAnswer::Same),
        "different" => Ok(SecondAnswer::Different),
        _ => Err("either same or different".to_owned()),
    }
}

fn moment(text: &str) -> Result<DropAt, String> {
    let known = MOMENTS.iter().find(|(name, _)| *name == text);
    known.map(|(_, moment)| *moment).ok_or_else(|| {
        let names: Vec<_> = MOMENTS.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    })
}
