//! What the phone shows, as text for a terminal.

use fido_relay_proto::CeremonyType;
use fido_relay_proto::device::{DeclineReason, NoticeEvent, Offer};

use crate::phone::{Ask, PhoneEvent};

/// A prompt with its question.
pub(super) fn question(ask: &Ask) -> String {
    let mut text = offer(&ask.offer);
    if ask.wrong_codes > 0 {
        text.push_str("\n  The relay refused that code.");
    }
    match ask.offer.code_length {
        0 => text.push_str("\nHold the card to the phone? [Enter = yes, n = no, x = not me]"),
        digits => {
            text.push_str("\nType the ");
            text.push_str(&digits.to_string());
            text.push_str("-digit code that the page shows. [n = no, x = not me]");
        }
    }
    text
}

/// The prompt that an event puts on the screen for the first time.
pub(super) fn prompt(event: &PhoneEvent) -> Option<String> {
    if let PhoneEvent::Offered { offer: shown, again: false } = event {
        Some(offer(shown))
    } else if let PhoneEvent::Challenged { challenge, again: false } = event {
        (challenge.offer.code_length == 0).then(|| offer(&challenge.offer))
    } else {
        None
    }
}

/// Who asks for what, from where: everything that the person should see before agreeing.
fn offer(offer: &Offer) -> String {
    let asks = match offer.ceremony_type {
        CeremonyType::Registration => "wants to register this card for",
        CeremonyType::Authentication => "asks you to sign in at",
        CeremonyType::Approval => "asks for your approval at",
    };
    // The relying party id is the one text of an offer that comes unchecked.
    let rp_id: String = offer.rp_id.chars().filter(|c| !c.is_control()).collect();
    let mut text = format!("\n{} {asks} {rp_id}", offer.client_name);
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!("\n  {label:<10} {value}"));
    };
    line("Account", &format!("{} ({})", offer.username, offer.display_name));
    if let Some(message) = &offer.message {
        line("Message", message.as_str());
    }
    if let Some(transaction) = &offer.transaction {
        line("Approve", transaction.title.as_str());
        for field in &transaction.fields {
            line("", &format!("{}: {}", field.label, field.value));
        }
    }
    if let Some(context) = &offer.context {
        let parts = [
            context.user_agent.as_ref().map(ToString::to_string),
            context.ip.as_ref().map(|ip| format!("address {ip}")),
            context.location.as_ref().map(|place| format!("near {place}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            line("Browser", &parts.join(", "));
        }
    }
    line("Time left", &format!("{} s", offer.expires_in));
    text
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
            let name = notice.name.as_ref().map_or("another phone", |name| name.as_str());
            let what = match notice.event {
                NoticeEvent::DevicePaired => "was paired with your account",
                NoticeEvent::DeviceKeyRotated => "has a new key",
            };
            format!("Notice: {name} ({}) {what}, {} s ago.", notice.device_id, notice.ago_s)
        }
        PhoneEvent::KeyRotated => "The device has a new key.".to_owned(),
        PhoneEvent::KeyKept { why } => format!("The device keeps its key: {why}."),
        PhoneEvent::Card { ceremony_id, error: None } => format!("{ceremony_id}: card present."),
        PhoneEvent::Card { ceremony_id, error: Some(number) } => {
            format!("{ceremony_id}: card error {number}.")
        }
        PhoneEvent::Answered { ceremony_id, .. } => format!("{ceremony_id}: answer sent."),
        PhoneEvent::Accepted { ceremony_id, .. } => format!("{ceremony_id}: answer stored."),
        PhoneEvent::Declined { ceremony_id, reason } => {
            let reason = match reason {
                DeclineReason::Declined => "no",
                DeclineReason::NotMe => "not me",
            };
            format!("{ceremony_id}: said {reason}.")
        }
        PhoneEvent::Closed { ceremony_id, outcome, reason } => {
            let outcome = format!("{outcome:?}").to_lowercase();
            match reason {
                Some(reason) => format!("{ceremony_id}: {outcome} ({reason})."),
                None => format!("{ceremony_id}: {outcome}."),
            }
        }
        PhoneEvent::TimedOut { ceremony_id } => {
            format!("{ceremony_id}: time is up; the relay did not tell how it ended.")
        }
        PhoneEvent::Refused { code, message, ceremony_id } => {
            let about = ceremony_id.map_or_else(|| "A frame".to_owned(), |id| id.to_string());
            let message: String = message.chars().filter(|c| !c.is_control()).collect();
            format!("{about}: refused with {code:?}: {message}")
        }
        PhoneEvent::GoingAway { reconnect_in_ms } => {
            format!("The relay asks to connect again in {reconnect_in_ms} ms.")
        }
        PhoneEvent::Disconnected { why, .. } => format!("Disconnected: {why}."),
        PhoneEvent::Waiting { ms } => format!("Connecting again in {ms} ms."),
        PhoneEvent::Stopped(why) => format!("Stopped: {why}."),
    })
}
