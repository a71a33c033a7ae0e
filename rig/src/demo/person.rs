//! The demo's card holder, who types the page's code into the phone, and their cards; and the phone's
//! events as lines of the demo's output.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fido_relay_proto::device::{CardErrorCode, Challenge, Offer};
use fido_relay_proto::http::TransactionField;
use fido_relay_proto::{CeremonyId, CeremonyType};
use futures::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::bank::Bank;
use super::narrate::{Narrator, Party};
use super::visitor::VISITOR;
use crate::phone::{Card, Decision, Person, PhoneEvent, PromptRequest, isolated};
use crate::softcard::SoftCard;

/// Limit for the page's code after the phone has the offer.
const PAGE_LIMIT: Duration = Duration::from_secs(5);
/// Pause before the code is typed for a scripted visitor: enough to tell the steps apart.
const BRISK: Duration = Duration::from_millis(150);
/// Lines that may be typed ahead.
const TYPED_AHEAD: usize = 8;

/// Where the card holder takes the code from.
#[derive(Clone, Debug)]
pub enum CodeSource {
    /// From the page, after this pause; after a short one if the page is the scripted visitor's.
    Page(Duration),
    /// From the person at the terminal.
    Terminal,
}

/// The bank's customer at the phone.
#[derive(Clone, Debug)]
pub struct CardHolder {
    bank: Bank,
    code_source: CodeSource,
    keyboard: Option<Keyboard>,
}

impl CardHolder {
    #[must_use]
    pub fn new(bank: Bank, code_source: CodeSource) -> Self {
        let keyboard = matches!(code_source, CodeSource::Terminal).then(Keyboard::open);
        Self { bank, code_source, keyboard }
    }

    async fn decide_on(self, ask: PromptRequest) -> Decision {
        let id = ask.offer.ceremony_id;
        let page = self.bank.code_on_page(id, PAGE_LIMIT).await;
        let narrator = self.bank.narrator();
        for line in offer_lines(&ask.offer) {
            narrator.now(id, Party::Phone, &line);
        }
        match (&self.code_source, &self.keyboard) {
            (CodeSource::Terminal, Some(keyboard)) => keyboard.ask(&ask, narrator).await,
            (CodeSource::Page(pause), _) => {
                let by_script = ask.offer.context.as_ref().is_some_and(|context| {
                    context.location.as_ref().is_some_and(|place| place.as_str() == VISITOR)
                });
                tokio::time::sleep(if by_script { BRISK } else { *pause }).await;
                page.map_or(Decision::Ignore, |code| Decision::Code(typed(&code)))
            }
            (CodeSource::Terminal, None) => Decision::Ignore,
        }
    }
}

fn typed(code: &SecretString) -> String {
    code.expose_secret().to_owned()
}

impl Person for CardHolder {
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision> {
        Box::pin(self.clone().decide_on(ask))
    }
}

fn offer_lines(offer: &Offer) -> Vec<String> {
    let what = match offer.ceremony_type {
        CeremonyType::Registration => "to register a card",
        CeremonyType::Authentication => "to sign in",
        CeremonyType::Approval => "to approve:",
    };
    let mut lines = vec![format!(
        "shows       {} asks {} {what}",
        isolated(offer.client_name.as_str()),
        isolated(offer.username.as_str())
    )];
    if let Some(transaction) = &offer.transaction {
        lines.push(format!("            {}", isolated(transaction.title.as_str())));
        let field = |field: &TransactionField| {
            let (label, value) = (isolated(field.label.as_str()), isolated(field.value.as_str()));
            format!("            {label:<10} {value}")
        };
        lines.extend(transaction.fields.iter().map(field));
    }
    lines
}

/// Standard input, read by a thread of its own, as a read cannot be cancelled.
#[derive(Clone, Debug)]
struct Keyboard {
    lines: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
}

impl Keyboard {
    fn open() -> Self {
        let (typed, lines) = mpsc::channel(TYPED_AHEAD);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if typed.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines: Arc::new(tokio::sync::Mutex::new(lines)) }
    }

    async fn ask(&self, ask: &PromptRequest, narrator: &Narrator) -> Decision {
        let mut lines = self.lines.lock().await;
        let wrong = if ask.wrong_codes > 0 { "That was not the code. " } else { "" };
        narrator.question(&format!("{wrong}Code, or n (no), or x (this was not me): "));
        let Some(typed) = lines.recv().await else {
            narrator.plain("            Standard input is closed: no code can be typed.");
            return Decision::Ignore;
        };
        narrator.answered();
        match typed.trim() {
            "n" | "no" => Decision::Decline,
            "x" => Decision::NotMe,
            code => Decision::Code(code.to_owned()),
        }
    }
}

/// Software cards: every registration uses a new one, and other ceremonies the one that fits.
#[derive(Debug, Default)]
pub struct CardSet {
    cards: Mutex<Vec<Mutex<SoftCard>>>,
}

impl Card for CardSet {
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        match challenge.offer.ceremony_type {
            CeremonyType::Registration => {
                let card = Mutex::new(SoftCard::new());
                let answer = card.sign(challenge)?;
                cards.push(card);
                Ok(answer)
            }
            CeremonyType::Authentication | CeremonyType::Approval => {
                for card in cards.iter().rev() {
                    if let Ok(answer) = card.sign(challenge) {
                        return Ok(answer);
                    }
                }
                // The error of a card without credentials.
                Mutex::new(SoftCard::new()).sign(challenge)
            }
        }
    }
}

/// Narrates the phone's events that are no steps of the ceremony, until the phone ends.
pub async fn narrate_events(bank: Bank, mut events: mpsc::Receiver<PhoneEvent>) {
    while let Some(event) = events.recv().await {
        let Some((id, text)) = event_line(&event) else { continue };
        // The event may come before the bank knows of the ceremony.
        let _ = bank.code_on_page(id, PAGE_LIMIT).await;
        bank.narrator().now(id, Party::Phone, &text);
    }
}

fn event_line(event: &PhoneEvent) -> Option<(CeremonyId, String)> {
    match event {
        PhoneEvent::Card { ceremony_id, error: Some(code) } => {
            Some((*ceremony_id, format!("card        error {code}")))
        }
        PhoneEvent::Refused { message, ceremony_id: Some(id), .. } => {
            Some((*id, format!("refused     {message}")))
        }
        PhoneEvent::Declined { ceremony_id: Some(id), .. } => {
            Some((*id, "declines    the person says no".to_owned()))
        }
        PhoneEvent::Connected { .. }
        | PhoneEvent::Asleep
        | PhoneEvent::Woken { .. }
        | PhoneEvent::Reauthenticated
        | PhoneEvent::Noticed(_)
        | PhoneEvent::KeyRotated
        | PhoneEvent::KeyKept { .. }
        | PhoneEvent::Offered { .. }
        | PhoneEvent::Claimed { .. }
        | PhoneEvent::Challenged { .. }
        | PhoneEvent::Card { error: None, .. }
        | PhoneEvent::Answered { .. }
        | PhoneEvent::Accepted { .. }
        | PhoneEvent::Closed { .. }
        | PhoneEvent::TimedOut { .. }
        | PhoneEvent::Refused { ceremony_id: None, .. }
        | PhoneEvent::Declined { ceremony_id: None, .. }
        | PhoneEvent::GoingAway { .. }
        | PhoneEvent::Disconnected { .. }
        | PhoneEvent::Waiting { .. }
        | PhoneEvent::Stopped(_) => None,
    }
}
