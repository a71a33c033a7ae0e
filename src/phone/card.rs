//! The phone's reader: what it asks of a card.

use fido_relay_proto::device::{CardErrorCode, Challenge};
use serde_json::value::RawValue;

/// A card that can be held to the phone.
pub trait Card: Send + Sync {
    /// Makes a credential (registration) or signs with one, and gives the credential's JSON. It
    /// is called once for every attempt that the card has not yet answered.
    ///
    /// # Errors
    /// The card's own number.
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode>;
}
