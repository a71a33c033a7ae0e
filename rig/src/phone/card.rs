//! The phone's card reader: the trait of a card, and the software cards that implement it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use fido_relay_proto::CeremonyType;
use fido_relay_proto::device::{CardErrorCode, Challenge};
use serde_json::value::RawValue;

use super::saved::PhoneState;
use crate::softcard::{Prompt, SoftCard};

/// A card that can be held to the phone.
pub trait Card: Send + Sync {
    /// Makes a credential (registration) or signs with one, and returns the credential's JSON. Called
    /// once for every attempt that the card has not answered.
    ///
    /// # Errors
    /// The card's error.
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode>;
}

impl Card for Mutex<SoftCard> {
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        sign(&mut self.lock().unwrap_or_else(PoisonError::into_inner), challenge)
    }
}

fn sign(card: &mut SoftCard, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
    let offer = &challenge.offer;
    let prompt = Prompt {
        rp_id: &offer.rp_id,
        origin: &challenge.origin,
        challenge: &challenge.challenge,
        username: offer.username.as_str(),
        display_name: offer.display_name.as_str(),
        public_key: &challenge.public_key,
    };
    let answer = match offer.ceremony_type {
        CeremonyType::Registration => card.register(&prompt),
        CeremonyType::Authentication | CeremonyType::Approval => card.authenticate(&prompt),
    };
    answer.and_then(|text| RawValue::from_string(text).map_err(|_| CardErrorCode::UNKNOWN))
}

/// A software card whose contents are saved in a phone's state file after every use.
#[derive(Debug)]
pub struct StoredCard {
    path: PathBuf,
    contents: Mutex<(SoftCard, PhoneState)>,
}

impl StoredCard {
    /// The card of this state, saved to `path` from now on.
    #[must_use]
    pub fn new(card: SoftCard, state: PhoneState, path: PathBuf) -> Self {
        Self { path, contents: Mutex::new((card, state)) }
    }
}

impl Card for StoredCard {
    /// Fails with 607 if the card's contents cannot be saved: an answer whose credential or counter
    /// is lost at the next start would lock the person out.
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let (card, state) = &mut *contents;
        let answer = sign(card, challenge)?;
        state.card = Some(card.to_json().map_err(|_| CardErrorCode::TRANSMIT_FAILED)?);
        if let Err(error) = state.save(&self.path) {
            tracing::error!(%error, "the card's contents could not be stored");
            return Err(CardErrorCode::TRANSMIT_FAILED);
        }
        Ok(answer)
    }
}
