//! The users' cards: removing one so that it stays removed, also when the store is put back to an
//! earlier state, and committing what a card's answer outside of ceremonies means.

use fido_relay_proto::{CardId, TenantId, Username};

pub use crate::ports::Card;

use super::devices::{ended_early, with_card_notice};
use super::{Actor, App, RACES, RevokeError, committed};
use crate::ports::{
    Batch, BoxFuture, CardEvents, Cards, Notice, Revocation, Revoked, SecurityEvent,
    SecurityEventKind, Store, StoreError,
};

/// The FIDO2 server keeps the cards itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cards are listed and removed at the FIDO2 server itself: it is not the built-in one")]
pub struct CardsElsewhere;

/// The cards, where the built-in FIDO2 server keeps them.
pub fn kept_here(app: &App) -> Result<&dyn Cards, CardsElsewhere> {
    app.cards.as_deref().ok_or(CardsElsewhere)
}

/// Removes a user's card for good. The list of revocations comes first, as with devices
/// ([`devices::revoke`]). Once begun it runs to its end, whatever becomes of the caller.
///
/// # Errors
/// [`RevokeError`].
pub async fn remove(
    app: &App,
    actor: &Actor,
    username: &Username,
    id: CardId,
) -> Result<(), RevokeError> {
    let (app, actor, username) = (app.clone(), actor.clone(), username.clone());
    let tasks = app.tasks.clone();
    let removed = tasks.run_detached(async move { remove_now(&app, &actor, username, id).await });
    removed.await.unwrap_or_else(|| Err(ended_early().into()))
}

async fn remove_now(
    app: &App,
    actor: &Actor,
    username: Username,
    id: CardId,
) -> Result<(), RevokeError> {
    let cards = kept_here(app).map_err(|_| RevokeError::NotFound)?;
    let (tenant, at) = (&actor.tenant, app.clock.now());
    let known = cards.of_user(tenant, &username).await?;
    let Some(card) = known.into_iter().find(|card| card.id == id) else {
        return Err(RevokeError::NotFound);
    };
    let what = Revoked::Card(card.record.clone());
    app.revocations.record(Revocation { tenant: tenant.clone(), what, at }).await?;
    let client_id = actor.client_id();
    let what =
        SecurityEventKind::CardRemoved { card_id: id, username: username.clone(), client_id };
    let event = actor.event(at, what);
    if !remove_listed(&*app.store, cards, tenant, &card.record, Some(&event)).await? {
        return Err(RevokeError::NotFound);
    }
    tracing::info!(card = %id, "card removed");
    app.bus.publish(Notice::News(tenant.clone(), username)).await;
    Ok(())
}

/// Brings the store to what the list of revocations says of a card, with the event's entry of the
/// journal and the user's news of it. Says whether the card was there.
///
/// # Errors
/// The store's.
pub async fn remove_listed(
    store: &dyn Store,
    cards: &dyn Cards,
    tenant: &TenantId,
    record: &str,
    event: Option<&SecurityEvent>,
) -> Result<bool, StoreError> {
    for _ in 0..RACES {
        let Some(mut batch) = cards.removal(tenant, record).await? else { return Ok(false) };
        if let Some(event) = event {
            batch = with_card_notice(store, batch.entry(event.entry()), event).await?;
        }
        if committed(store, batch).await? {
            return Ok(true);
        }
    }
    Err(StoreError::too_many_races())
}

impl CardEvents for App {
    fn commit(
        &self,
        changes: Batch,
        event: SecurityEvent,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let changes = changes.entry(event.entry());
            self.store.commit(with_card_notice(&*self.store, changes, &event).await?).await?;
            if let SecurityEventKind::CardRegistered { username, .. } = event.what {
                self.bus.publish(Notice::News(event.tenant, username)).await;
            }
            Ok(())
        })
    }
}
