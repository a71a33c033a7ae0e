//! Prompts and events as text for a terminal.

use fido_relay_proto::device::{CardErrorCode, DeclineReason, FrameErrorCode, NoticeEvent, Offer};
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{CeremonyType, WireName};

use crate::command::counted;
use crate::phone::{PhoneEvent, PromptRequest, StopReason, isolated};

/// A prompt with its question; `left` are the seconds left, where there is no countdown.
pub(super) fn question(ask: &PromptRequest, left: Option<u64>) -> String {
    let mut text = offer(&ask.offer, left);
    if ask.wrong_codes > 0 {
        let left = usize::from(CODE_ATTEMPTS.saturating_sub(ask.wrong_codes));
        text.push_str(&format!("\n  Wrong code: {} left.", counted(left, "try", "tries")));
    }
    text.push('\n');
    text.push_str(&match ask.offer.code_length {
        0 if ask.offer.preview.is_some() => {
            "Did you open this page yourself, to do this? [Enter = yes, n = no, x = this was not me]"
                .to_owned()
        }
        0 => "Hold the card to the phone? [Enter = yes, n = no, x = this was not me]".to_owned(),
        digits => format!(
            "Type the {digits}-digit code that the page shows. [n = no, x = this was not me]"
        ),
    });
    text
}

/// The reply to a line that is neither a code nor a choice.
pub(super) fn not_understood(code_length: u8) -> String {
    match code_length {
        0 => "Not understood. Press Enter to go on, or type n or x.".to_owned(),
        digits => format!("Not understood. Type the {digits} digits, or n or x."),
    }
}

/// The reply to such a line without a prompt.
pub(super) const NO_PROMPT: &str = "Not understood. No prompt is open: type the 6 digits that a \
                                    page shows, or x if you did not cause the prompts that were \
                                    held back.";

/// The prompt of an event, unless it repeats a known one.
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

/// All that the person should see before agreeing: who asks for what, and from where.
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
    if let Some(preview) = &offer.preview {
        line(
            "Found by",
            if preview.rang {
                "the code that you typed; it was also shown to your phones"
            } else {
                "the code that you typed; it rang on no phone"
            },
        );
        line(
            "Known",
            if preview.known_browser {
                "you have signed in with this browser before"
            } else {
                "you have not signed in with this browser before"
            },
        );
    }
    if let Some(left) = left {
        line("Time left", &format!("{left} s"));
    }
    if offer.preview.as_ref().is_some_and(|preview| preview.after_not_me) {
        text.push_str(
            "\n  You said \"not me\" a short while ago: if you did not just open this page yourself, \
             press x.",
        );
    }
    text
}

/// What the person can do about an outcome's reason.
pub(super) fn advice(reason: &str) -> &'static str {
    match reason {
        "pin_not_set" => " Set a PIN in the bank's app first.",
        "already_registered" => " This card is registered already: use it to sign in.",
        "clone_suspected" => " Call the bank before this card is used again.",
        "card_limit" => " Remove a card that is no longer used.",
        _ => "",
    }
}

/// What the person can do about a refused code.
fn refusal_advice(code: FrameErrorCode) -> &'static str {
    match code {
        FrameErrorCode::OtherDevice => " Type it on that one.",
        FrameErrorCode::CodeAmbiguous => " Start again at the page: it will show another code.",
        FrameErrorCode::TooManyCodes => " Another phone of yours still accepts codes.",
        FrameErrorCode::DeviceLocked => {
            " Have the operator unlock it (fido-relay user unlock), or pair this phone again."
        }
        FrameErrorCode::InvalidFrame
        | FrameErrorCode::UnknownType
        | FrameErrorCode::UnknownCeremony
        | FrameErrorCode::CodeMalformed
        | FrameErrorCode::WrongCode
        | FrameErrorCode::ClaimedElsewhere
        | FrameErrorCode::NotChallenged
        | FrameErrorCode::AlreadyAnswered
        | FrameErrorCode::AlreadyClosed
        | FrameErrorCode::SlowDown
        | FrameErrorCode::Unavailable => "",
    }
}

/// What to do about an end that was not requested.
pub(super) fn remedy(why: StopReason) -> &'static str {
    match why {
        StopReason::Requested => "",
        StopReason::Replaced => "; end the other phone that uses this state file",
        StopReason::Revoked => "; pair again with --pair LINK",
        StopReason::TooOld => "; use the fido-relay of the relay's own version",
        StopReason::Unknown => {
            "; pair again with --pair LINK. Its data directory may be a new one, or the URL another \
             relay's"
        }
        StopReason::NoPush => {
            "; run it without --asleep, or configure the relay for Web Push (push.webpush.key_file, \
             and push.webpush.allow_loopback_http for a receiver on this machine)"
        }
    }
}

/// A duration in seconds with one decimal.
fn wait(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// One line for an event; `None` for repetitions and for what the command's failure says.
pub(super) fn event(event: &PhoneEvent) -> Option<String> {
    Some(match event {
        PhoneEvent::Connected { connection_id } => format!("Connected as {connection_id}."),
        PhoneEvent::Asleep => "Asleep: no connection; a push will wake this phone.".to_owned(),
        PhoneEvent::Woken { wake, body } => {
            format!("Woken by push {}: {}", isolated(wake), isolated(body))
        }
        PhoneEvent::Offered { offer, again: false } => {
            let found = if offer.preview.is_some() { "found by the code" } else { "offered" };
            format!("{}: {found}.", offer.ceremony_id)
        }
        PhoneEvent::Claimed { ceremony_id: Some(id) } => format!("{id}: code sent."),
        PhoneEvent::Claimed { ceremony_id: None } => "The code was sent.".to_owned(),
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
                NoticeEvent::DeviceRevoked => (name, "was removed from your account"),
                NoticeEvent::PromptsHeld => {
                    let (count, since) = (notice.count.unwrap_or(1), notice.since_s.unwrap_or(0));
                    let prompts = counted(
                        usize::try_from(count).unwrap_or(usize::MAX),
                        "prompt was",
                        "prompts were",
                    );
                    return Some(format!(
                        "Notice: {prompts} held back since {since} s ago. If you are at a page now, \
                         type its code; if these were not yours, type x."
                    ));
                }
                NoticeEvent::PushRemoved => {
                    return Some("Notice: the push address was rejected.".to_owned());
                }
                NoticeEvent::PromptsUnlocked => {
                    return Some("Notice: the prompt limits were lifted.".to_owned());
                }
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
        PhoneEvent::Declined { ceremony_id: Some(id), reason } => match reason {
            DeclineReason::Declined => format!("{id}: you said no."),
            DeclineReason::NotMe => format!("{id}: you said that this was not you."),
        },
        PhoneEvent::Declined { ceremony_id: None, .. } => {
            "You said that the prompts that were held back were not yours.".to_owned()
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
        PhoneEvent::TimedOut { ceremony_id: Some(id) } => {
            format!("{id}: time is up; the relay did not say how it ended.")
        }
        PhoneEvent::TimedOut { ceremony_id: None } => {
            "The relay did not answer the code: look at the page, and type it again.".to_owned()
        }
        PhoneEvent::Refused { code, message, ceremony_id } => {
            let about = ceremony_id.map_or_else(|| "The relay".to_owned(), |id| id.to_string());
            // The relay's message of a wrong code holds the tries left.
            let advice = refusal_advice(*code);
            format!("{about}: {} ({}).{advice}", isolated(message), WireName(code))
        }
        PhoneEvent::GoingAway { reconnect_in_ms } => {
            let wait = wait(*reconnect_in_ms);
            format!("The relay stops or is busy: this phone connects again in {wait}.")
        }
        PhoneEvent::Disconnected { why, .. } => format!("Disconnected: {why}."),
        PhoneEvent::Waiting { ms } => format!("Connecting again in {}.", wait(*ms)),
        PhoneEvent::Stopped(StopReason::Requested) => "Stopped.".to_owned(),
        // The command's failure says why.
        PhoneEvent::Stopped(
            StopReason::Replaced
            | StopReason::Revoked
            | StopReason::TooOld
            | StopReason::Unknown
            | StopReason::NoPush,
        ) => return None,
    })
}
