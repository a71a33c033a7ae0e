//! A user's cards as the operator manages them: list, and remove a lost one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::CardView;
use fido_relay_proto::{CardId, Problem, ProblemCode};

use super::devices::UserQuery;
use super::{Admin, Operator};
use crate::app::{RevokeError, cards};
use crate::edge::fields::QueryOf;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::views;

/// `GET /cards?username=…`: oldest first.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    QueryOf(UserQuery { username }): QueryOf<UserQuery>,
) -> Result<Json<Vec<CardView>>, ProblemResponse> {
    let cards = cards::kept_here(&admin.app)?.of_user(&admin.tenant, &username).await?;
    Ok(Json(cards.iter().map(views::card).collect()))
}

/// `DELETE /cards/{id}?username=…`.
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    Path(id): Path<String>,
    QueryOf(UserQuery { username }): QueryOf<UserQuery>,
) -> Result<StatusCode, ProblemResponse> {
    cards::kept_here(&admin.app)?;
    let none = || Problem::new(ProblemCode::NotFound).with_detail("there is no such card");
    let id: CardId = id.parse().map_err(|_| ProblemResponse::from(none()))?;
    match cards::remove(&admin.app, &actor, &username, id).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(RevokeError::NotFound) => Err(none().into()),
        Err(RevokeError::Store(error)) => Err(error.into()),
    }
}
