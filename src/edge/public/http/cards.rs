//! A user's cards: list, remove a lost one.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::CardList;
use fido_relay_proto::{CardId, ProblemCode, Username};

use crate::app::{Actor, cards};
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::AuthenticatedClient;
use crate::edge::segment::Segment;
use crate::edge::views;

/// `GET /v1/users/{username}/cards`.
pub(in crate::edge) async fn list(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(username): Segment,
) -> Result<Json<CardList>, ProblemResponse> {
    caller.require_route_scope()?;
    let cards = cards::kept_here(edge.app())?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let cards = cards.of_user(&caller.client.tenant, &username).await?;
    Ok(Json(CardList { cards: cards.iter().map(views::card).collect() }))
}

/// `DELETE /v1/users/{username}/cards/{id}`.
pub(in crate::edge) async fn remove(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, ProblemResponse> {
    caller.require_route_scope()?;
    cards::kept_here(edge.app())?;
    let Path((username, id)) = path.map_err(|_| ProblemCode::NotFound)?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let id: CardId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    cards::remove(edge.app(), &Actor::client(&caller.client), &username, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
