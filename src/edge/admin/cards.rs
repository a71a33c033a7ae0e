//! The operator's side of cards: which a user has, removing a lost one, and removing all that a
//! user has.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::CardView;
use fido_relay_proto::{CardId, Problem, ProblemCode, Username};

use super::Admin;
use super::devices::{self, Revoking, Whose};
use crate::edge::http::cards::{kept, view};
use crate::edge::http::fields::QueryOf;
use crate::edge::http::refusal::Refusal;
use crate::ports::Happening;
use crate::relay::cards::{self, Removal};
use crate::relay::{self, RevokeError};
use crate::security::pairing;

/// `GET /cards?username=…`: oldest first.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    QueryOf(Whose { username }): QueryOf<Whose>,
) -> Result<Json<Vec<CardView>>, Refusal> {
    let cards = kept(admin.cards.as_ref())?.of_user(&admin.tenant, &username).await?;
    Ok(Json(cards.iter().map(view).collect()))
}

/// `DELETE /cards/{id}?username=…`.
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    QueryOf(Whose { username }): QueryOf<Whose>,
) -> Result<StatusCode, Refusal> {
    kept(admin.cards.as_ref())?;
    let none = || Problem::new(ProblemCode::NotFound).with_detail("there is no such card");
    let id: CardId = id.parse().map_err(|_| Refusal::from(none()))?;
    match remove_one(&admin, &username, id).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(RevokeError::NotFound) => Err(none().into()),
        Err(RevokeError::Store(error)) => Err(error.into()),
    }
}

async fn remove_one(admin: &Admin, username: &Username, id: CardId) -> Result<(), RevokeError> {
    let Some(cards) = &admin.cards else { return Err(RevokeError::NotFound) };
    match &admin.revoking {
        Revoking::Running(relay) => {
            relay.remove_card((&admin.tenant, username), id, None).await?;
        }
        Revoking::AtRest(list) => {
            let (tenant, username) = (admin.tenant.clone(), username.clone());
            let removal = Removal { tenant, username, id, by: None, at: admin.clock.now() };
            cards::remove(&**cards, &**list, &*admin.store, removal).await?;
        }
    }
    tracing::info!(card = %id, "card removed by the operator");
    Ok(())
}

/// `DELETE /users?username=…`: open ceremonies, pairings, cards, devices and the user handle. The name comes first: what is
/// registered from then on is the next user's. Interrupted, it is to be repeated.
pub(super) async fn remove_user(
    State(admin): State<Arc<Admin>>,
    QueryOf(Whose { username }): QueryOf<Whose>,
) -> Result<StatusCode, Refusal> {
    let gone = |removed: Result<(), RevokeError>| match removed {
        Ok(()) | Err(RevokeError::NotFound) => Ok(()),
        Err(RevokeError::Store(error)) => Err(error),
    };
    if let Revoking::Running(relay) = &admin.revoking {
        relay.cancel_all_of(&admin.tenant, &username).await?;
    }
    pairing::void_of(&*admin.store, &admin.tenant, &username).await?;
    if let Some(cards) = &admin.cards {
        cards.retire_name(&admin.tenant, &username).await?;
        for card in cards.of_user(&admin.tenant, &username).await? {
            gone(remove_one(&admin, &username, card.id).await)?;
        }
    }
    for device in relay::devices::of_user(&*admin.store, &admin.tenant, &username).await? {
        gone(devices::revoke_one(&admin, device).await)?;
    }
    tracing::info!("a user was removed by the operator");
    admin.noted(admin.clock.now(), Happening::UserRemoved { username }).await;
    Ok(StatusCode::NO_CONTENT)
}
