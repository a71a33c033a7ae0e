//! Texts for the customer about an outcome: what happened, and what to do.
//!
//! No text depends on a card error: the phone shows it to the card holder, while the page may be open
//! on another person's screen.

use fido_relay_proto::{CeremonyType, Outcome, Reason};
use serde::Serialize;

use super::request::Settlement;

/// A text for the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserMessage {
    /// What happened, in a few words.
    pub headline: &'static str,
    pub detail: &'static str,
    /// Empty when there is nothing to do.
    pub advice: &'static str,
}

const fn message(
    headline: &'static str,
    detail: &'static str,
    advice: &'static str,
) -> UserMessage {
    UserMessage { headline, detail, advice }
}

/// The text for an outcome that the backend has read from the relay.
#[must_use]
pub fn of(ceremony_type: CeremonyType, outcome: Outcome, reason: Option<Reason>) -> UserMessage {
    let registers = ceremony_type == CeremonyType::Registration;
    match outcome {
        Outcome::Succeeded => success(ceremony_type),
        Outcome::Denied => match reason {
            Some(Reason::NotMe) => message(
                "Reported on your phone",
                "“That was not me” was answered on the phone. Nothing was done.",
                "If it was you, start again: this page then says when the phone rings again. If it \
                 was not you who started this, close the page and call the bank.",
            ),
            Some(_) | None => message(
                "Declined on your phone",
                "“No” was answered on the phone. Nothing was done.",
                "If that was a mistake, start again.",
            ),
        },
        Outcome::Rejected | Outcome::Failed
            if registers && reason == Some(Reason::AlreadyRegistered) =>
        {
            message(
                "This card is registered already",
                "Nothing was changed: the card signs you in as before.",
                "Use it to sign in, or register another card.",
            )
        }
        Outcome::Rejected if registers => message(
            "The card was not accepted",
            "Your card answered, but the answer did not pass the check. Nothing was registered.",
            "Repeat with the same card, which may hold an unused key now, or take another card.",
        ),
        Outcome::Rejected => message(
            "The card was not accepted",
            "Your card answered, but it is not the card that is registered for you.",
            "Use the card that you registered here, and start again.",
        ),
        Outcome::Failed => failure(ceremony_type, reason),
        Outcome::Expired => message(
            "Time ran out",
            "This was not finished on the phone in time. Nothing was done.",
            "Take the phone and the card, and start again.",
        ),
        Outcome::Cancelled => {
            message("Cancelled", "You stopped this before it was finished. Nothing was done.", "")
        }
        Outcome::Indeterminate if registers => message(
            "Not confirmed",
            "Your card answered, but the connection broke before the answer was confirmed. \
             The card may be registered or not.",
            "Sign in with it to find out, before you register it again.",
        ),
        Outcome::Indeterminate => message(
            "Not confirmed",
            "Your card answered, but the connection broke before the answer was confirmed. \
             We treat it as not approved.",
            "Wait a moment, and start again.",
        ),
    }
}

/// The text for a proven success, by its effect.
#[must_use]
pub fn settled(settled: &Settlement) -> UserMessage {
    match settled {
        Settlement::Registered => success(CeremonyType::Registration),
        Settlement::SignedIn(_) => success(CeremonyType::Authentication),
        Settlement::Paid => success(CeremonyType::Approval),
        Settlement::PaidBefore => message(
            "Payment approved",
            "It had been approved before, in another tab. The bank makes it once.",
            "",
        ),
        Settlement::SignedOut => message(
            "Not approved",
            "Your card confirmed it, but you were signed out by then. The payment was not made.",
            "Sign in, and approve it then.",
        ),
    }
}

/// The text for a success without a valid token, which must not look like a success.
#[must_use]
pub fn unproven() -> UserMessage {
    message(
        "Not confirmed",
        "The relay reports a success, but its signed result did not pass the bank's check. \
         We treat it as not approved.",
        "Start again; if it happens again, tell the bank.",
    )
}

const fn success(ceremony_type: CeremonyType) -> UserMessage {
    match ceremony_type {
        CeremonyType::Registration => message(
            "Card registered",
            "From now on, this card signs you in and approves your payments.",
            "",
        ),
        CeremonyType::Authentication => message("You are signed in", "Your card confirmed it.", ""),
        CeremonyType::Approval => message(
            "Payment approved",
            "Confirmed with your card, for exactly the lines that are shown here.",
            "",
        ),
    }
}

fn failure(ceremony_type: CeremonyType, reason: Option<Reason>) -> UserMessage {
    let registers = ceremony_type == CeremonyType::Registration;
    match reason {
        Some(Reason::WrongCode) => message(
            "The code was wrong",
            "The code was wrong three times, so it is void now.",
            "Start again and type the new code. The bank never asks you to read it to anyone.",
        ),
        Some(
            Reason::UpstreamRejected
            | Reason::UpstreamUnavailable
            | Reason::UpstreamFull
            | Reason::UpstreamUnknown
            | Reason::SessionExpired
            | Reason::Interrupted,
        ) => message(
            "That did not work",
            "The service that verifies cards did not work.",
            "Try again shortly.",
        ),
        Some(reason) if reason.is_about_card() => message(
            "The card could not do it",
            if registers {
                "Something went wrong between the phone and the card. Nothing was done."
            } else {
                "Something went wrong between the phone and the card, or no card is registered \
                 for you. Nothing was done."
            },
            if registers {
                "Your phone shows the reason; then repeat with the same card."
            } else {
                "Your phone shows the reason. If you have not registered a card yet, do that \
                 first; then start again."
            },
        ),
        Some(_) | None => message(
            "That did not work",
            "This could not be finished. Nothing was done.",
            "Start again.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTCOMES: [Outcome; 7] = [
        Outcome::Succeeded,
        Outcome::Denied,
        Outcome::Rejected,
        Outcome::Failed,
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Indeterminate,
    ];

    #[test]
    fn a_page_is_told_the_same_of_every_card_error() {
        let text = |reason| of(CeremonyType::Authentication, Outcome::Failed, Some(reason));
        for reason in [Reason::NoCredential, Reason::PinNotSet, Reason::CardFull, Reason::Card(613)]
        {
            assert_eq!(text(reason), text(Reason::PinFailed));
        }
    }

    #[test]
    fn only_success_sounds_like_success() {
        for ceremony_type in
            [CeremonyType::Registration, CeremonyType::Authentication, CeremonyType::Approval]
        {
            let success = of(ceremony_type, Outcome::Succeeded, None).headline;
            for outcome in OUTCOMES.into_iter().filter(|outcome| *outcome != Outcome::Succeeded) {
                assert_ne!(of(ceremony_type, outcome, None).headline, success);
            }
            assert_ne!(unproven().headline, success);
        }
    }

    #[test]
    fn every_failure_but_a_cancellation_says_what_to_do() {
        for outcome in OUTCOMES {
            let words = of(CeremonyType::Approval, outcome, None);
            let needs_no_advice = matches!(outcome, Outcome::Succeeded | Outcome::Cancelled);
            assert_eq!(words.advice.is_empty(), needs_no_advice, "{outcome:?}");
        }
    }

    #[test]
    fn a_registration_is_not_advised_to_register_first() {
        let reasons = [Reason::UpstreamUnavailable, Reason::UpstreamRejected, Reason::Interrupted];
        let advice = |outcome, reason| of(CeremonyType::Registration, outcome, reason).advice;
        let failed = reasons.map(|reason| advice(Outcome::Failed, Some(reason)));
        for text in OUTCOMES.map(|outcome| advice(outcome, None)).into_iter().chain(failed) {
            assert!(!text.contains("registered"), "{text}");
        }
        assert!(advice(Outcome::Indeterminate, None).contains("Sign in"));
    }
}
