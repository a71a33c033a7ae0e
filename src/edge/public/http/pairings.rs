//! Pairings: one-time tokens by which a phone becomes a user's device.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::{OpenPairing, OpenedPairing};
use fido_relay_proto::{ProblemCode, Username};

use crate::app::{Actor, pairings};
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::body::JsonBody;
use crate::edge::public::extract::caller::AuthenticatedClient;
use crate::edge::segment::Segment;

/// `POST /v1/pairings`.
pub(in crate::edge) async fn open(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    JsonBody { value, .. }: JsonBody<OpenPairing>,
) -> Result<(StatusCode, Json<OpenedPairing>), ProblemResponse> {
    caller.require_route_scope()?;
    let actor = Actor::client(&caller.client);
    let opened = pairings::open(edge.app(), &actor, &value.username).await?;
    Ok((StatusCode::CREATED, Json(opened)))
}

/// `DELETE /v1/users/{username}/pairings`.
pub(in crate::edge) async fn void(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(username): Segment,
) -> Result<StatusCode, ProblemResponse> {
    caller.require_route_scope()?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    pairings::void_of(edge.app(), &Actor::client(&caller.client), &username).await?;
    Ok(StatusCode::NO_CONTENT)
}
