//! The cards that are registered with the FIDO2 server, where it keeps them for the relay.

use fido_relay_proto::http::CardAttestation;
use fido_relay_proto::{CardId, TenantId, UnixMillis, Username};
use futures::future::BoxFuture;

use super::store::StoreError;

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

    /// Removes a card by [`Card::record`] and says whether it was there. After `Ok` no ceremony
    /// succeeds with it, also none that began before. It belongs in the list of revocations first.
    fn remove<'a>(
        &'a self,
        tenant: &'a TenantId,
        record: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Parts the name from the person who had it: registrations that began before fail, and later
    /// ones get another user handle. Removes no card.
    fn retire_name<'a>(
        &'a self,
        tenant: &'a TenantId,
        username: &'a Username,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
