//! What the phone shows, as text for a terminal.

use fido_relay_proto::device::{CardErrorCode, DeclineReason, NoticeEvent, Offer};
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{CeremonyType, WireName};

use crate::cli::counted;
use crate::phone::{Ask, PhoneEvent, Stopped, isolated};

/// A prompt with its question; `left` is the time left in seconds, where it is not counted down.
pub(super) fn question(ask: &Ask, left: Option<u64>) -> String {
    let mut text = offer(&ask.offer, left);
    if ask.wrong_codes > 0 {
        let left = usize::from(CODE_ATTEMPTS.saturating_sub(ask.wrong_codes));
        text.push_str(&format!("\n  Wrong code: {} left.", counted(left, "try", "tries")));
    }
    text.push('\n');
    text.push_str(&match ask.offer.code_length {
        0 => "Hold the card to the phone? [Enter = yes, n = no, x = this was not me]".to_owned(),
        digits => format!(
            "Type the {digits}-digit code that the page shows. [n = no, x = this was not me]"
        ),
    });
    text
}

/// The answer to a line that is neither a code nor a choice.
pub(super) fn not_understood(code_length: u8) -> String {
    match code_length {
        0 => "Not understood. Press Enter to hold the card, or type n or x.".to_owned(),
        digits => format!("Not understood. Type the {digits} digits, or n or x."),
    }
}

/// The prompt that an event puts on the screen for the first time.
pub(super) fn prompt(event: &PhoneEvent) -> Option<String> {
    if let PhoneEvent::Offered { offer: shown, again: false } = event {
        Some(offer(shown, Some(shown.expires_in)))
    } else if let PhoneEvent::Challenged { challenge, again: false } = event {
        let shown = &challenge.offer;
        (shown.code_length == 0).then(|| offer(shown, Some(shown.expires_in)))
    } else {
        None
    }
}

/// Who asks for what, from where: everything that the person should see before agreeing.
fn offer(offer: &Offer, left: Option<u64>) -> String {
    let asks = match offer.ceremony_type {
        CeremonyType::Registration => "wants to register this card for",
        CeremonyType::Authentication => "asks you to sign in at",
        CeremonyType::Approval => "asks for your approval at",
    };
    let mut text =
        format!("\n{} {asks} {}", isolated(offer.client_name.as_str()), isolated(&offer.rp_id));
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!("\n  {label:<10} {value}"));
    };
    let (username, display_name) = (offer.username.as_str(), offer.display_name.as_str());
    line("Account", &format!("{} ({})", isolated(username), isolated(display_name)));
    if let Some(message) = &offer.message {
        line("Message", &isolated(message.as_str()));
    }
    if let Some(transaction) = &offer.transaction {
        line("Approve", &isolated(transaction.title.as_str()));
        for field in &transaction.fields {
            let (label, value) = (field.label.as_str(), field.value.as_str());
            line("", &format!("{}: {}", isolated(label), isolated(value)));
        }
    }
    if let Some(context) = &offer.context {
        let parts = [
            context.user_agent.as_deref().map(isolated),
            context.ip.as_ref().map(|ip| format!("address {}", isolated(ip.as_str()))),
            context.location.as_ref().map(|place| format!("near {}", isolated(place.as_str()))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            line("Browser", &parts.join(", "));
        }
    }
    if let Some(left) = left {
        line("Time left", &format!("{left} s"));
    }
    text
}

/// What a person can do about the reason of an end.
pub(super) fn advice(reason: &str) -> &'static str {
    match reason {
        "pin_not_set" => " Set a PIN in the bank's app first.",
        "already_registered" => " This card is registered already: use it to sign in.",
        "clone_suspected" => " Call the bank before this card is used again.",
        "card_limit" => " Have a card removed that is no longer used.",
        _ => "",
    }
}

/// What to do about an end that is not the person's will.
pub(super) fn remedy(why: Stopped) -> &'static str {
    match why {
        Stopped::Told => "",
        Stopped::Replaced => "; end the other phone that uses this state file",
        Stopped::Revoked => "; pair again with --pair LINK",
        Stopped::TooOld => "; use the fido-relay of the relay's own version",
        Stopped::Unknown => {
            "; pair again with --pair LINK. Its data directory may be a new one, or the URL another \
             relay's"
        }
    }
}

/// A time as a person says it.
fn wait(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// One line for what happened; `None` for what the question tells already or nobody needs.
pub(super) fn event(event: &PhoneEvent) -> Option<String> {
    Some(match event {
        PhoneEvent::Connected { connection_id } => format!("Connected as {connection_id}."),
        PhoneEvent::Offered { offer, again: false } => {
            format!("{}: offered.", offer.ceremony_id)
        }
        PhoneEvent::Claimed { ceremony_id } => format!("{ceremony_id}: code sent."),
        PhoneEvent::Challenged { challenge, again: false } => {
            format!("{}: challenge received.", challenge.offer.ceremony_id)
        }
        PhoneEvent::Offered { again: true, .. }
        | PhoneEvent::Challenged { again: true, .. }
        | PhoneEvent::Reauthenticated => return None,
        PhoneEvent::Noticed(notice) => {
            let device = notice.device_id.map(|id| id.to_string());
            let id = device.or(notice.card_id.map(|id| id.to_string())).unwrap_or_default();
            let name = isolated(notice.name.as_ref().map_or("another phone", |name| name.as_str()));
            let (name, what) = match notice.event {
                NoticeEvent::DevicePaired => (name, "was paired with your account"),
                NoticeEvent::DeviceKeyRotated => (name, "has a new key"),
                NoticeEvent::CardRegistered => {
                    ("a card".to_owned(), "was registered for your account")
                }
                NoticeEvent::CardRemoved => ("a card".to_owned(), "was removed from your account"),
            };
            format!("Notice: {name} ({id}) {what}, {} s ago.", notice.ago_s)
        }
        PhoneEvent::KeyRotated => "The device has a new key.".to_owned(),
        PhoneEvent::KeyKept { why } => format!("The device keeps its key: {why}."),
        PhoneEvent::Card { ceremony_id, error: None } => {
            format!("{ceremony_id}: card held to the phone.")
        }
        PhoneEvent::Card { ceremony_id, error: Some(code) } => {
            let known = match code.number() {
                None if *code == CardErrorCode::PIN_NOT_SET => ": set a PIN for it first",
                None => ": it is registered already, so use it to sign in",
                Some(600) => ": it was taken away too soon",
                Some(602) => ": it holds no credential for this account",
                Some(606) => ": it is full",
                Some(608) => ": wrong PIN",
                Some(_) => "",
            };
            format!("{ceremony_id}: the card failed with error {code}{known}.")
        }
        PhoneEvent::Answered { ceremony_id, .. } => {
            format!("{ceremony_id}: the card's answer was sent.")
        }
        PhoneEvent::Accepted { ceremony_id, .. } => {
            format!("{ceremony_id}: the relay has the answer; the FIDO2 server verifies it.")
        }
        PhoneEvent::Declined { ceremony_id, reason: DeclineReason::Declined } => {
            format!("{ceremony_id}: you said no.")
        }
        PhoneEvent::Declined { ceremony_id, reason: DeclineReason::NotMe } => {
            format!("{ceremony_id}: you said that this was not you.")
        }
        PhoneEvent::Closed { ceremony_id, outcome, reason } => {
            let outcome = WireName(outcome);
            match reason {
                Some(reason) => {
                    let advice = advice(&reason.to_string());
                    format!("{ceremony_id}: {outcome} ({reason}).{advice}")
                }
                None => format!("{ceremony_id}: {outcome}."),
            }
        }
        PhoneEvent::TimedOut { ceremony_id } => {
            format!("{ceremony_id}: time is up; the relay did not say how it ended.")
        }
        PhoneEvent::Refused { code, message, ceremony_id } => {
            let about = ceremony_id.map_or_else(|| "The relay".to_owned(), |id| id.to_string());
            // With a wrong code the message says how many tries are left.
            format!("{about}: {} ({}).", isolated(message), WireName(code))
        }
        PhoneEvent::GoingAway { reconnect_in_ms } => {
            let wait = wait(*reconnect_in_ms);
            format!("The relay stops or is busy: this phone connects again in {wait}.")
        }
        PhoneEvent::Disconnected { why, .. } => format!("Disconnected: {why}."),
        PhoneEvent::Waiting { ms } => format!("Connecting again in {}.", wait(*ms)),
        PhoneEvent::Stopped(Stopped::Told) => "Stopped.".to_owned(),
        // The command fails, and says why.
        PhoneEvent::Stopped(
            Stopped::Replaced | Stopped::Revoked | Stopped::TooOld | Stopped::Unknown,
        ) => return None,
    })
}
