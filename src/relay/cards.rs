//! Removing a card so that it stays removed, also when the store is put back to an earlier state:
//! the list of revocations comes first, as with devices ([`super::revocations`]).

use fido_relay_proto::{CardId, ClientId, TenantId, UnixMillis, Username};

use super::{Relay, RevokeError};
use crate::ports::{
    Batch, Cards, Happening, Revocation, Revocations, Revoked, SecurityEvent, Store, StoreError,
};

/// Which card is removed, by whom and when.
#[derive(Clone, Debug)]
pub struct Removal {
    pub tenant: TenantId,
    pub username: Username,
    pub id: CardId,
    /// The initiator that asked for it; none: the operator.
    pub by: Option<ClientId>,
    pub at: UnixMillis,
}

/// Removes a card for good, with or without a relay that runs.
///
/// # Errors
/// [`RevokeError`].
pub async fn remove(
    cards: &dyn Cards,
    revocations: &dyn Revocations,
    store: &dyn Store,
    removal: Removal,
) -> Result<(), RevokeError> {
    let Removal { tenant, username, id, by, at } = removal;
    let known = cards.of_user(&tenant, &username).await?;
    let Some(card) = known.into_iter().find(|card| card.id == id) else {
        return Err(RevokeError::NotFound);
    };
    let what = Revoked::Card(card.record.clone());
    revocations.record(Revocation { tenant: tenant.clone(), what, at }).await?;
    // Without one there: the follower of the list was faster.
    cards.remove(&tenant, &card.record).await?;
    let what = Happening::CardRemoved { card_id: id, username, client_id: by };
    let entry = SecurityEvent::new(tenant, at, what).entry();
    store.commit(Batch::new().entry(entry)).await?;
    Ok(())
}

impl Relay {
    /// Removes a user's card for good; `by` is the initiator that asked for it, none the operator.
    /// Once begun it runs to its end, whatever becomes of the caller.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn remove_card(
        &self,
        (tenant, username): (&TenantId, &Username),
        id: CardId,
        by: Option<ClientId>,
    ) -> Result<(), RevokeError> {
        let world = self.world().clone();
        let Some(cards) = world.cards else { return Err(RevokeError::NotFound) };
        let (tenant, username, at) = (tenant.clone(), username.clone(), world.clock.now());
        let removal = Removal { tenant, username, id, by, at };
        self.to_the_end(async move {
            remove(&*cards, &*world.revocations, &*world.store, removal).await
        })
        .await
        .unwrap_or_else(|| Err(StoreError::Unavailable("a task ended early".to_owned()).into()))
    }
}
