//! The demo's card holder: reads the code off the page, types it into the phone, and has a drawer
//! full of cards. And what the phone tells, as lines for the terminal.

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
use super::narrate::{Narrator, Who};
use super::visitor::VISITOR;
use crate::phone::{Ask, Card, Decision, Person, PhoneEvent, isolated};
use crate::softcard::SoftCard;

/// How long the page may take to show a code after the phone has shown the offer.
const PAGE_LIMIT: Duration = Duration::from_secs(5);
/// The pause where nobody looks: just enough to tell the steps apart.
const BRISK: Duration = Duration::from_millis(150);
/// Lines typed ahead in the terminal.
const TYPED_AHEAD: usize = 8;

/// Where the person takes the code from.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Reads it off the page after this pause, as nobody is there to type it; where the page is
    /// the demo's own visitor, who needs no time to look, after a short one.
    ReadsPage(Duration),
    /// Is the one at the terminal.
    AsksTerminal,
}

/// The card holder. Clones are the same person.
#[derive(Clone, Debug)]
pub struct CardHolder {
    bank: Bank,
    manner: Manner,
    terminal: Option<Terminal>,
}

impl CardHolder {
    /// The customer of this bank.
    #[must_use]
    pub fn new(bank: Bank, manner: Manner) -> Self {
        let terminal = matches!(manner, Manner::AsksTerminal).then(Terminal::open);
        Self { bank, manner, terminal }
    }

    async fn decide_on(self, ask: Ask) -> Decision {
        let id = ask.offer.ceremony_id;
        let page = self.bank.code_on_page(id, PAGE_LIMIT).await;
        let narrator = self.bank.narrator();
        for line in offer_lines(&ask.offer) {
            narrator.now(id, Who::Phone, &line);
        }
        match (&self.manner, &self.terminal) {
            (Manner::AsksTerminal, Some(terminal)) => terminal.ask(&ask, narrator).await,
            (Manner::ReadsPage(pause), _) => {
                let by_script = ask.offer.context.as_ref().is_some_and(|context| {
                    context.location.as_ref().is_some_and(|place| place.as_str() == VISITOR)
                });
                tokio::time::sleep(if by_script { BRISK } else { *pause }).await;
                page.map_or(Decision::Ignore, |code| Decision::Code(typed(&code)))
            }
            (Manner::AsksTerminal, None) => Decision::Ignore,
        }
    }
}

fn typed(code: &SecretString) -> String {
    code.expose_secret().to_owned()
}

impl Person for CardHolder {
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision> {
        Box::pin(self.clone().decide_on(ask))
    }
}

/// What the app shows.
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

/// The keyboard. One thread reads it, because a read of a terminal cannot be taken back.
#[derive(Clone, Debug)]
struct Terminal {
    lines: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
}

impl Terminal {
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

    async fn ask(&self, ask: &Ask, narrator: &Narrator) -> Decision {
        let mut lines = self.lines.lock().await;
        let wrong = if ask.wrong_codes > 0 { "That was not the code. " } else { "" };
        narrator.question(&format!("{wrong}Code, or n (no), or x (this was not me): "));
        let Some(typed) = lines.recv().await else {
            narrator.plain("            Standard input is closed: nothing can be typed.");
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

/// A drawer of software cards: every registration takes a new one, and whoever signs in takes out
/// the one that fits.
#[derive(Debug, Default)]
pub struct Drawer {
    cards: Mutex<Vec<Mutex<SoftCard>>>,
}

impl Card for Drawer {
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
                // Says the same as a card that was never registered.
                Mutex::new(SoftCard::new()).sign(challenge)
            }
        }
    }
}

/// Tells what the phone tells and the ladder does not, until the phone is gone.
pub async fn tell(bank: Bank, mut events: mpsc::Receiver<PhoneEvent>) {
    while let Some(event) = events.recv().await {
        let Some((id, text)) = line(&event) else { continue };
        // The page may hear of its ceremony a moment after the phone does.
        let _ = bank.code_on_page(id, PAGE_LIMIT).await;
        bank.narrator().now(id, Who::Phone, &text);
    }
}

fn line(event: &PhoneEvent) -> Option<(CeremonyId, String)> {
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
