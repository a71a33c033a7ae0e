//! The cards that are registered with the FIDO2 server, where it keeps them for the relay.

use fido_relay_proto::http::CardAttestation;
use fido_relay_proto::{CardId, TenantId, UnixMillis, Username};
use futures::future::BoxFuture;

use super::batch::Batch;
use super::security_event::SecurityEvent;
use super::stored::StoreError;

/// One card of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    pub id: CardId,
    /// Its record's name, by which the list of revocations has it: `A-Z a-z 0-9 . _ -`.
    pub record: Box<str>,
    /// When it was registered.
    pub registered_at: UnixMillis,
    /// When it was last used, up to a day late; none: not yet.
    pub last_used_at: Option<UnixMillis>,
    /// The model's AAGUID; none: the card does not say.
    pub aaguid: Option<[u8; 16]>,
    /// The model's name, if it is known.
    pub model: Option<String>,
    /// Whether only the card says which model it is: no verified attestation names it.
    pub claimed: bool,
    /// How far its attestation was verified.
    pub attestation: CardAttestation,
    /// Whether it has verified its user, at registration or since.
    pub can_verify_user: bool,
}

/// A FIDO2 server's cards.
pub trait Cards: Send + Sync + std::fmt::Debug {
    /// A user's cards, oldest first; none of a user who is not known.
    fn of_user<'a>(
        &'a self,
        tenant: &'a TenantId,
        username: &'a Username,
    ) -> BoxFuture<'a, Result<Vec<Card>, StoreError>>;

    /// The change that removes a card by [`Card::record`]; none: it is not there. Once it is
    /// committed no ceremony succeeds with the card, also none that began before. The card belongs
    /// in the list of revocations first.
    fn removal<'a>(
        &'a self,
        tenant: &'a TenantId,
        record: &'a str,
    ) -> BoxFuture<'a, Result<Option<Batch>, StoreError>>;

    /// Parts the name from the person who had it: registrations that began before fail, and later
    /// ones get another user handle. Removes no card.
    fn retire_name<'a>(
        &'a self,
        tenant: &'a TenantId,
        username: &'a Username,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Commits what a FIDO2 server makes of a card outside of ceremonies.
pub trait CardEvents: Send + Sync + std::fmt::Debug {
    /// Commits the server's own changes, if any, with the event's entry of the journal and what it
    /// means for the user's devices.
    fn commit(&self, changes: Batch, event: SecurityEvent)
    -> BoxFuture<'_, Result<(), StoreError>>;
}
